#!/usr/bin/env python3
"""Time libmagvit against the machine, against PyTorch on the same weights, and as clips grow: Markdown tables.

    bench.py [--parts ceiling,stages,threads,frames,area,peers] [--models models/magvit-small.safetensors,S,B]
             [--precisions f32,bf16,int8] [--threads 2] [--steps N] [--frames 10,100,1000] [--sizes 128,256,512]

make bench BENCH_FLAGS="..." runs it.  The whole takes long: --parts does some of it, and --models with L and
--frames with 10000 are not done unless asked for.  Run it on a quiet machine.  S, B and L are the paper's sizes with random weights, which need PyTorch, as all of
its figures do; without it the others remain.

ceiling   matrix products of oneDNN, one after the other on every thread, for every type: build/tests/checkkernels
          --ceiling.  Rates are multiply-accumulates: the peak is that of the best of some sizes that stay in caches, a
          layer's that of the products of one of B's, 1026 rows by weights of 768x768 (four), 768x3072 and 3072x768.
          Each at its fastest, and on average, as neighbours may use the same processor.  A share is the time that
          the multiplications would take at these rates, each of the type that it is of, over the time of everything.
stages    a window's encoder, one step, its decoder, and the whole, as magvit bench has them, the median of five,
          beside the ceilings on average; and the least of each op, summed (build/tests/checkkernels --model), beside
          the ceilings at their fastest: what the stage takes while no other program is on the same processor, without
          what is not of the models.  Ceilings are measured again before each row of stages.  PyTorch is eager, in
          inference mode, one run to warm up, then the median of five; beside int8 stands PyTorch in bf16.
threads   a window with 1 thread and with 2, 4, ... to all.
frames    magvit run interp on clips of a growing number of frames: time must grow with it, memory must not.
area      the same as pictures grow, cut into tiles.
peers     minterpolate of an ffmpeg that has it, on the same clip.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

if "OPENBLAS_CORETYPE" not in os.environ and os.path.exists("/proc/cpuinfo"):
    with open("/proc/cpuinfo") as f:
        if " avx512f " in f.read():  # OpenBLAS 0.3.21 takes Sapphire Rapids for a Prescott, and PyTorch needs it for float32
            os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"

import numpy as np

try:
    import torch
    from magvit.config import PRESETS
    from magvit.model import Model
except ImportError:
    torch, PRESETS = None, {}

RUNS = 5
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
STAGES = ("encode", "step", "decode", "window")
PARTS = ("ceiling", "stages", "threads", "frames", "area", "peers")
TYPES = {"f32": ("f32",), "bf16": ("bf16",), "int8": ("bf16", "int8")}  # that a precision multiplies


def fail(text):
    sys.exit("bench: " + text)


def run(command):
    p = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if p.returncode:
        fail(f"{' '.join(command)}: exit status {p.returncode}: {p.stdout.strip()}")
    return p.stdout


def head(*columns):
    print("\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))


def row(*columns):
    print("| " + " | ".join(map(str, columns)) + " |", flush=True)


# ---------------------------------------------------------------- the machine

def ceiling(args, precision=None):
    """{type: multiply-accumulates a second: of the peak, at its best and on average, and of a layer, the same}."""
    text = run([os.path.join(os.path.dirname(args.magvit), "tests/checkkernels"), "--ceiling",
                f"--threads={args.threads}"] + ([f"--precision={precision}"] if precision else []))
    number = r" +([\d.]+)"
    found = re.findall(rf"^(\w+){number} GMAC/s, on average{number}; a layer{number}, on average{number};", text, re.M)
    rate = {k: [float(v) * 1e9 for v in values] for k, *values in found}
    if (precision or "f32") not in rate:
        fail("no ceiling: " + text.strip())
    if not precision:
        print(re.search(r"oneDNN [^,]*", text)[0] + f", {args.threads} threads")
        head("ceiling, GMAC/s", "peak", "on average", "a layer", "on average")
        for k, values in rate.items():
            row(k, *(f"{v / 1e9:.0f}" for v in values))
    return rate


def profile(args, path, precision):
    """{stage: {op: multiply-accumulates}}, and {stage: seconds} of its ops, each at its fastest."""
    text = run([os.path.join(os.path.dirname(args.magvit), "tests/checkkernels"), f"--model={path}",
                f"--precision={precision}", f"--threads={args.threads}"])
    macs, least = {}, {}
    for stage, op, gmac, ms in re.findall(r"^(\w+) +(\w+) +([\d.]+) GMAC +([\d.]+) ms", text, re.M):
        if op == "all":
            least[stage] = float(ms) / 1e3
        else:
            macs.setdefault(stage, {})[op] = float(gmac) * 1e9
    return macs, least


def type_of(op, precision, rate):
    """What an op multiplies: doc/SPEED.md."""
    if op == "vq_argmin" or precision == "f32":
        return "f32"
    return "int8" if precision == "int8" and op == "linear" else "bf16" if "bf16" in rate else "f32"


def whole(stages, steps):
    return stages["encode"] + steps * stages["step"] + stages["decode"]


# ---------------------------------------------------------------- stages

def median(call):
    call()
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


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
    return {**out, "window": whole(out, steps)}


def magvit_stages(args, path, precision, threads, steps):
    """Seconds of every stage and of opening, and the memory that was needed at most."""
    text = run([args.magvit, "bench", "--model", path, "--precision", precision, "--threads", str(threads),
                "--steps", str(steps)])
    most = re.search(r"^memory +(.*) at most", text, re.M)
    return {k: float(v) / 1e3 for k, v in re.findall(r"^(\w+) +([\d.]+) ms", text, re.M)}, most[1] if most else "?"


def model_file(name, folder):
    """A model by file or, with random weights, by the paper's name."""
    if os.path.exists(name):
        return name
    if name not in PRESETS:
        fail(f"model {name}: " + ("no such file, and not one of " + ", ".join(PRESETS) if torch else "needs PyTorch"))
    path = os.path.join(folder, name + ".safetensors")
    if not os.path.exists(path):
        torch.manual_seed(0)
        Model(PRESETS[name]).save(path, bf16=True)
    return path


def stages(args, rate, folder):
    if torch:
        torch.set_num_threads(args.threads)
    print(f"\n### A window of {args.steps} steps" + (f", PyTorch {torch.__version__}" if torch else ""))
    head("model", "stage", "GMAC", "precision", "magvit", "of the peak", "of a layer", "least of ops", "of the peak",
         "of a layer", "PyTorch", "PyTorch / magvit")
    memory = []
    for name in args.models.split(","):
        path = model_file(name, folder)
        name = os.path.basename(path).removesuffix(".safetensors")
        model, other = Model.load(path) if torch else None, {}
        for p in args.precisions.split(","):
            if p not in rate:
                row(name, "", "", p, "not on this processor", *[""] * 7)
                continue
            rate.update({k: v for t in TYPES[p] if t in rate for k, v in ceiling(args, t).items()})
            own, most = magvit_stages(args, path, p, args.threads, args.steps)
            ops, least = profile(args, path, p)
            macs = {s: sum(ops[s].values()) for s in ops}
            ideal = [{s: sum(m / rate[type_of(op, p, rate)][k] for op, m in ops[s].items()) for s in ops} for k in range(4)]
            half = p != "f32"
            if torch and half not in other:
                other[half] = torch_stages(model, half, args.steps)
            for s in STAGES:
                m, l, *t = (whole(x, args.steps) if s == "window" else x[s] for x in (macs, least, *ideal))
                peer = (f"{other[half][s] * 1e3:.0f} ms", f"{other[half][s] / own[s]:.2f}") if torch else ("", "")
                row(name, s, f"{m / 1e9:.1f}", p, f"{own[s] * 1e3:.0f} ms", f"{t[1] / own[s]:.2f}",
                    f"{t[3] / own[s]:.2f}", f"{l * 1e3:.0f} ms", f"{t[0] / l:.2f}", f"{t[2] / l:.2f}", *peer)
            memory.append((name, p, f"{own['open'] * 1e3:.0f} ms", most))
    head("model", "precision", "to open it", "memory at most")
    for m in memory:
        row(*m)


def threads(args, path):
    window = int(re.search(r"^window +(\d+)", run([args.magvit, "info", "--model", path]), re.M)[1])
    print("\n### Threads")
    head("threads", *(f"{p}, frames/s" for p in args.precisions.split(",")), "against one")
    base, n = None, 1
    while n <= args.threads:
        seconds = [magvit_stages(args, path, p, n, args.steps)[0]["window"] for p in args.precisions.split(",")]
        base = base or seconds
        row(n, *(f"{window / s:.1f}" for s in seconds), ", ".join(f"{b / s:.2f}" for b, s in zip(base, seconds)))
        n = 2 * n if 2 * n <= args.threads or n == args.threads else args.threads


# ---------------------------------------------------------------- clips

def texture(width, height):
    """Something that moves, is never twice the same and has no cut."""
    rng, y = np.random.default_rng(0), np.zeros((height, width))
    for size in (8, 16, 32):
        cells = rng.random((-(-height // size), -(-width // size)))
        y += np.kron(cells, np.ones((size, size)))[:height, :width]
    return (16 + 73 * y).astype(np.uint8)


def write_clip(pipe, frames, width, height):
    """A stream in 4:2:0. The reader may have given up: its exit status says why."""
    y, grey = texture(width, height), bytes([128]) * (2 * (width // 2) * (height // 2))
    try:
        pipe.write(b"YUV4MPEG2 W%d H%d F25:1 Ip A1:1 C420jpeg\n" % (width, height))
        for i in range(frames):
            pipe.write(b"FRAME\n" + np.roll(y, (i, 2 * i), (0, 1)).tobytes() + grey)
        pipe.close()
    except BrokenPipeError:
        pass


def peak_memory(pid):
    """MiB; 0 where Linux does not tell. A child's rusage would count what this program held before exec."""
    try:
        with open(f"/proc/{pid}/status") as f:
            return int(re.search(r"VmHWM:\s+(\d+)", f.read())[1]) / 1024
    except (OSError, TypeError):
        return 0


def convert(command, frames, width, height):
    """A clip through a program, from stdin to YUV4MPEG2 on stdout: seconds, seconds to the second frame, MiB, frames"""
    start, size = time.perf_counter(), 6 + width * height * 3 // 2
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                                           stderr=log) as p:
        threading.Thread(target=write_clip, args=(p.stdin, frames, width, height), daemon=True).start()
        p.stdout.readline()
        got, first, memory = 0, 0, 0
        while p.stdout.read(size):
            got += 1
            first = time.perf_counter() - start if got == 2 else first
            memory = max(memory, peak_memory(p.pid)) if got % 8 == 1 else memory
        if p.wait():
            log.seek(0)
            fail(f"{' '.join(command)}: exit status {p.returncode}: {log.read().decode(errors='replace')[-500:]}")
    return time.perf_counter() - start, first, memory, got


def interp(args, path, frames, size):
    return convert([args.magvit, "run", "interp", "--model", path, "--threads", str(args.threads), "--steps",
                    str(args.steps), "--scale", "tile", "-", "-"], frames, size, size)


def frames(args, path):
    print("\n### Frames: interp, factor 2, 128x128")
    head("frames in", "frames out", "time", "ms a frame", "frames/s", "first frame made after", "memory at most")
    for n in map(int, args.frames.split(",")):
        seconds, first, memory, out = interp(args, path, n, 128)
        row(n, out, f"{seconds:.1f} s", f"{1e3 * seconds / out:.1f}", f"{out / seconds:.1f}", f"{first:.2f} s",
            f"{memory:.0f} MiB")


def area(args, path):
    print("\n### Area: interp, factor 2, 16 frames in")
    head("size", "time", "frames/s", "megapixels/s", "memory at most")
    for n in map(int, args.sizes.split(",")):
        seconds, _, memory, out = interp(args, path, 16, n)
        row(f"{n}x{n}", f"{seconds:.1f} s", f"{out / seconds:.2f}", f"{out * n * n / seconds / 1e6:.3f}",
            f"{memory:.0f} MiB")


def peers(args, path):
    program = args.ffmpeg
    listed = program and subprocess.run([program, "-hide_banner", "-filters"], stdout=subprocess.PIPE, text=True).stdout
    print("\n### Beside minterpolate: 100 frames, 128x128, twice the rate")
    if not listed or "minterpolate" not in listed:
        print("\nno ffmpeg with minterpolate here")
        return
    head("filter", "frames/s")
    seconds, _, _, out = convert([program, "-v", "error", "-f", "yuv4mpegpipe", "-i", "-", "-vf",
                                  "minterpolate=fps=50:mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1",
                                  "-f", "yuv4mpegpipe", "-"], 100, 128, 128)
    row("minterpolate, bidir, aobmc, vsbmc", f"{out / seconds:.1f}")
    for steps in (4, args.steps):
        args.steps, old = steps, args.steps
        seconds, _, _, out = interp(args, path, 100, 128)
        args.steps = old
        row(f"magvit_interp, {steps} steps", f"{out / seconds:.1f}")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--magvit", default=os.path.join(ROOT, "build/magvit"))
    ap.add_argument("--ffmpeg", default=shutil.which("ffmpeg"), help="for peers")
    ap.add_argument("--parts", default=",".join(PARTS))
    ap.add_argument("--models", default=os.path.join(ROOT, "models/magvit-small.safetensors") + ",S,B",
                    help="the first one is that of all parts but stages")
    ap.add_argument("--precisions", default="f32,bf16,int8")
    ap.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    ap.add_argument("--steps", type=int, default=12)
    ap.add_argument("--frames", default="10,100,1000")
    ap.add_argument("--sizes", default="128,256,512")
    args = ap.parse_args()
    parts = args.parts.split(",")
    if set(parts) - set(PARTS):
        fail(f"--parts {args.parts}: must be some of " + ",".join(PARTS))
    rate = ceiling(args)
    with tempfile.TemporaryDirectory() as folder:
        first = model_file(args.models.split(",")[0], folder)
        if "stages" in parts:
            stages(args, rate, folder)
        args.precisions = ",".join(p for p in args.precisions.split(",") if p in rate)
        for part in (threads, frames, area, peers):
            if part.__name__ in parts:
                part(args, first)


if __name__ == "__main__":
    main()
