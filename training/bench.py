#!/usr/bin/env python3
"""Time libmagvit against PyTorch on the same weights, and against the machine: a Markdown table.

    bench.py [--magvit build/magvit] [--models models/magvit-small.safetensors,S,B] [--precisions f32,bf16]
             [--threads 2] [--steps 12]

S, B and L are the paper's sizes with random weights. Rates are multiply-accumulates; the ceiling is PyTorch's
product of two 2048 x 2048 matrices (oneDNN or MKL), the best of the same run and precision. PyTorch is eager, in
inference mode, a median as `magvit bench` takes it: one run to warm up, then five. Run it on a quiet machine.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

from magvit.config import PRESETS
from magvit.model import Model

RUNS = 5
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
STAGES = ("encode", "step", "decode", "window")


def median(call):
    call()
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def ceiling(dtype):
    """Multiply-accumulates a second of a large product."""
    n = 2048
    a, b = (torch.randn(n, n).to(dtype) for _ in range(2))
    out, best, end = torch.empty(n, n, dtype=dtype), 1e9, time.perf_counter() + 2
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        best = min(best, time.perf_counter() - start)
    return n ** 3 / best


def torch_stages(model, bf16, steps):
    """Seconds of encode, step and decode, and of a window: the three, as a window needs them."""
    c = model.cfg
    clip = torch.rand(1, 3, c.frames, c.height, c.width)
    codes = torch.randint(0, c.tokenizer.codebook_size, (1, *c.grid))
    known = torch.zeros(1, c.frames, c.height, c.width)
    known[:, 0] = known[:, -1] = 1
    seen = (clip, known) if c.tokenizer.known_pixels != "none" else ()
    ids = torch.cat([torch.tensor([c.prompt("FI")]), codes.flatten(1)], 1)
    calls = {"encode": lambda: model.tokenizer.encode(clip), "step": lambda: model.transformer(ids),
             "decode": lambda: model.tokenizer.decode(codes, *seen)}
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        out = {k: median(v) for k, v in calls.items()}
    return {**out, "window": out["encode"] + steps * out["step"] + out["decode"]}


def run(command):
    p = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ})
    if p.returncode:
        sys.exit(f"{' '.join(command)}: exit status {p.returncode}: {p.stdout.strip()}")
    return p.stdout


def work(magvit, path, steps):
    """Multiply-accumulates of every stage."""
    text = run([magvit, "info", "--model", path, "--precision", "f32", "--verbose", "--verbose"])
    total = {}
    for name, macs in set(re.findall(r"^magvit: (\S+) .* ([\d.]+) MMAC", text, re.M)):
        part = name.split(".")[0]
        total[part] = total.get(part, 0) + float(macs) * 1e6
    out = {"encode": total["encoder"] + total.get("quantizer", 0), "step": total["transformer"],
           "decode": total["decoder"]}
    return {**out, "window": out["encode"] + steps * out["step"] + out["decode"]}


def magvit_stages(magvit, path, precision, threads, steps):
    text = run([magvit, "bench", "--model", path, "--precision", precision, "--threads", str(threads),
                "--steps", str(steps)])
    out = {k: float(v) / 1e3 for k, v in re.findall(r"^(\w+) +([\d.]+) ms", text, re.M)}
    return out, re.search(r"^memory +(.*) at most", text, re.M)


def model_file(name, folder):
    if name not in PRESETS:
        return name
    torch.manual_seed(0)
    path = os.path.join(folder, name + ".safetensors")
    Model(PRESETS[name]).save(path, bf16=True)
    return path


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--magvit", default=os.path.join(ROOT, "build/magvit"))
    ap.add_argument("--models", default=os.path.join(ROOT, "models/magvit-small.safetensors") + ",S,B")
    ap.add_argument("--precisions", default="f32,bf16")
    ap.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    ap.add_argument("--steps", type=int, default=12)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    rate = {p: ceiling(torch.bfloat16 if p == "bf16" else torch.float32) for p in args.precisions.split(",")}
    print(f"PyTorch {torch.__version__}, {args.threads} threads, {args.steps} steps; ceiling "
          + ", ".join(f"{p} {r / 1e9:.0f} GMAC/s" for p, r in rate.items()) + "\n")
    print("| model | stage | GMAC | precision | magvit | of the ceiling | PyTorch | PyTorch / magvit |")
    print("|---|---|---|---|---|---|---|---|")
    memory = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.models.split(","):
            path = model_file(name, folder)
            name, macs = os.path.basename(path).removesuffix(".safetensors"), work(args.magvit, path, args.steps)
            model = Model.load(path)
            for p in rate:
                own, most = magvit_stages(args.magvit, path, p, args.threads, args.steps)
                other = torch_stages(model, p == "bf16", args.steps)
                memory.append(f"{name} {p}: {most[1] if most else '?'}, {own['open'] * 1e3:.0f} ms")
                for s in STAGES:
                    print(f"| {name} | {s} | {macs[s] / 1e9:.1f} | {p} | {own[s] * 1e3:.0f} ms "
                          f"| {macs[s] / own[s] / rate[p]:.2f} | {other[s] * 1e3:.0f} ms | {other[s] / own[s]:.2f} |",
                          flush=True)
    print("\nPeak memory of `magvit bench`, time to open: " + "; ".join(memory))


if __name__ == "__main__":
    main()
