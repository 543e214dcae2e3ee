#!/usr/bin/env python3
"""Time PyTorch on a GPU beside libmagvit's Vulkan backend: models of the paper's sizes with random weights.

    torch_cuda.py [--models S,B,L] [--seconds 120] [--device cuda]

A row a model, precision and mode: eager, or compiled, which is left out once half of the time is over. A window is an
encoding, 12 passes of the transformer and a decoding; what comes between them is not counted, and the host waits only
at the end of a stage. Medians of five after two that warm up. Leaves with 77 where there is no PyTorch with CUDA.
"""
import argparse
import contextlib
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
try:
    import torch
    from magvit.config import PRESETS
    from magvit.model import Model
except ImportError as error:
    print(f"no PyTorch to compare with: {error}")
    sys.exit(77)

RUNS, STEPS = 5, 12


def median(call, wait):
    seconds = []
    for i in range(RUNS + 2):
        wait()
        start = time.perf_counter()
        call()
        wait()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[2:])[RUNS // 2]


def stages(model, device):
    """What is timed of a model: calls by name."""
    c = model.cfg
    clip = torch.rand(1, 3, c.frames, c.height, c.width, device=device)
    codes = torch.randint(0, c.tokenizer.codebook_size, (1, *c.grid), device=device)
    known = torch.zeros(1, c.frames, c.height, c.width, device=device)
    known[:, 0] = known[:, -1] = 1
    seen = (clip, known) if c.tokenizer.known_pixels != "none" else ()
    ids = torch.cat([torch.tensor([c.prompt("FI")], device=device), codes.flatten(1)], 1)
    return {"encode": (model.tokenizer.encode, (clip,)), "step": (model.transformer, (ids,)),
            "decode": (model.tokenizer.decode, (codes, *seen))}


def time_model(model, dtype, compiled, device):
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    out = {}
    mixed = contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(device, dtype=dtype)
    with torch.inference_mode(), mixed:
        for name, (fn, args) in stages(model, device).items():
            fn = torch.compile(fn) if compiled else fn
            out[name] = median(lambda: fn(*args), wait)
    return {**out, "window": out["encode"] + STEPS * out["step"] + out["decode"]}


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--models", default="S,B,L")
    ap.add_argument("--seconds", type=float, default=120)
    ap.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    args = ap.parse_args()
    start = time.perf_counter()
    if args.device == "cuda" and not torch.cuda.is_available():
        print(f"PyTorch {torch.__version__} finds no CUDA device: nothing to compare with")
        return 77
    if args.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    print(f"PyTorch {torch.__version__}, {torch.cuda.get_device_name() if args.device == 'cuda' else 'cpu'}, {STEPS} steps")
    dtypes = [torch.float32, torch.bfloat16] + [torch.float16] * (args.device == "cuda")
    modes = [False] + [True] * hasattr(torch, "compile")
    for compiled in modes:
        for name in args.models.split(","):
            model = Model(PRESETS[name]).to(args.device).eval()
            for dtype in dtypes:
                if time.perf_counter() - start > args.seconds * (0.5 if compiled else 0.9):
                    print("time is over: not all rows were measured")
                    return 0
                t = time_model(model, dtype, compiled, args.device)
                print(f"{name:5} {str(dtype)[6:]:9} {'compiled' if compiled else 'eager':8} "
                      + "  ".join(f"{k} {1e3 * v:.2f} ms" for k, v in t.items()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
