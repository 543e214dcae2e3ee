#!/usr/bin/env python3
"""Measure the filters, and the simple ones that do the same jobs, on a folder of clips.

    quality.py --data DIR [--lpips DIR] [--out build/quality] [--write doc/QUALITY.md]

make quality runs it; doc/QUALITY.md says what is measured.  Run it in the build folder.  Every method gets the
same reduced frames, raw yuv444p in BT.601 limited range, and every given sample must come back bit by bit.
Tasks take as many frames as fill whole windows.
"""
import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import numpy as np

from magvit.metrics import psnr, ssim

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BEGIN, END = "<!-- quality:begin -->", "<!-- quality:end -->"
OVERLAP = 4    # frames that windows of holes and borders share
BLANK = np.array([126, 128, 128], np.uint8).reshape(3, 1, 1)    # stands where nothing is given
MINTERPOLATE = "mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1:scd=none"

# family: title, head of the first column, rows
FAMILIES = {
    "tokens": ("Tokenizer alone", "", {"tokens": "encoded and decoded"}),
    "interp": ("Interpolation", "frames kept: every",
               {"interp-2": "2nd", "interp-4": "4th", "interp-8": "8th", "interp-15": "15th"}),
    "hole": ("Holes", "", {"hole-centre": "centre, 1/4 of the picture", "hole-logo": "logo in a corner"}),
    "border": ("Borders", "given", {"border-vertical": "middle columns, half", "border-horizontal": "middle rows, half",
                                    "border-centre": "centre, a quarter"}),
    "predict": ("Prediction", "", {"predict": "15 frames after 1"}),
}
MEASURES = {"psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS"}
# what the committed sheets show: one task after the other, each on another clip
SHEETS = {"interp": ("interp-4", "interp-15"), "hole": ("hole-centre", "hole-logo"),
          "border": ("border-vertical", "border-horizontal", "border-centre"), "predict": ("tokens", "predict")}
SHEET_BYTES = 150_000
CLIP_NAMES = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".y4m")    # as magvit/data.py, which needs PyTorch, has them


class Case(NamedTuple):
    """One task on one clip; frames are [T,3,H,W] uint8."""
    truth: np.ndarray
    given: np.ndarray       # truth where known, BLANK elsewhere
    invented: np.ndarray    # [T,H,W] bool
    made: dict              # method -> frames like truth
    columns: range          # frames of the sheet


def fail(text):
    sys.exit("quality: " + text)


# ---------------------------------------------------------------- frames

def to_rgb(yuv):
    """[T,3,H,W] uint8, BT.601 limited range -> [T,H,W,3] float32 in [0,1]"""
    y = (yuv[:, 0].astype(np.float32) - 16) / 219
    u, v = ((yuv[:, i].astype(np.float32) - 128) / 224 for i in (1, 2))
    return np.stack([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], -1).clip(0, 1)


def hold(given, factor):
    return np.repeat(given, factor, 0)[:(len(given) - 1) * factor + 1]


def blend(given, factor):
    phase = np.arange(factor).reshape(1, -1, 1, 1, 1) / factor
    a = given.astype(np.float64)[:, None]
    mixed = np.round(a[:-1] * (1 - phase) + a[1:] * phase).astype(np.uint8)
    return np.concatenate([mixed.reshape(-1, *given.shape[1:]), given[-1:]])


def check_known(truth, made, invented, name):
    if made.shape != truth.shape:
        fail(f"{name}: frames {made.shape}, expected {truth.shape}")
    known = np.broadcast_to(~invented[:, None], truth.shape)
    changed = np.count_nonzero((made != truth) & known)
    if changed:
        fail(f"{name}: {changed} known samples were changed")


# ---------------------------------------------------------------- programs

def run(args, data=b"", check=True):
    p = subprocess.run(args, input=data, capture_output=True)
    if p.returncode and check:
        fail(" ".join(args) + "\n" + p.stderr.decode(errors="replace")[-2000:])
    return None if p.returncode else p.stdout


class Programs:
    def __init__(self, args, folder):
        self.ffmpeg, self.magvit, self.others, self.folder = args.ffmpeg, args.magvit, args.peers, folder
        self.variants = [""] + [":" + v for v in args.variant]
        if args.model:
            os.environ["MAGVIT_MODEL_PATH"] = os.path.abspath(args.model)
        lines = run([self.magvit, "info"]).decode().splitlines()
        info = {k: v.strip() for k, _, v in (line.partition(" ") for line in lines)}
        words = info["window"].split()
        self.model, self.sha256, self.frames = os.path.basename(info["file"]), info["sha256"], int(words[0])
        self.width, self.height = (int(n) for n in words[3].rstrip(",").split("x"))

    @functools.cache
    def filters(self, program):
        listed = run([program, "-hide_banner", "-filters"], check=False) or b""
        return {w[1] for w in map(str.split, listed.decode().splitlines()) if len(w) > 2}

    def having(self, name):
        """An ffmpeg with that filter: ours has no GPL parts. None where there is none."""
        return next((p for p in (self.ffmpeg, self.others) if name in self.filters(p)), None)

    def raw(self, data, pix_fmt, width, height, graph, program):
        """Raw frames through a filter graph at one frame a second; no conversion may slip in."""
        return np.frombuffer(run([
            program, "-hide_banner", "-v", "error", "-noauto_conversion_filters",
            "-f", "rawvideo", "-pix_fmt", pix_fmt, "-s", f"{width}x{height}", "-framerate", "1", "-i", "-",
            "-vf", f"setparams=colorspace=smpte170m:range=tv,{graph}", "-fps_mode", "passthrough",
            "-f", "rawvideo", "-"], np.ascontiguousarray(data).tobytes()), np.uint8)

    def filter(self, frames, graph, size=None, program=None):
        """size: width and height of the result, if they change"""
        h, w = frames.shape[2:]
        out = self.raw(frames, "yuv444p", w, h, graph, program or self.ffmpeg)
        return out.reshape(-1, 3, *(size[::-1] if size else (h, w)))

    def own(self, name, frames, options, size=None):
        """{column: frames} of a MAGVIT filter, for every variant"""
        return {name + v: self.filter(frames, f"{name}={options}{v}", size) for v in self.variants}

    def peer(self, name, frames, graph):
        """As own(); empty where no ffmpeg has that filter."""
        program = self.having(name)
        return {name: self.filter(frames, graph, program=program)} if program else {}

    def tool(self, frames, commands):
        """Frames through files and runs of the magvit tool; None if one fails."""
        path = [os.path.join(self.folder, str(i) + ".y4m") for i in range(len(commands) + 1)]
        t, _, h, w = frames.shape
        with open(path[0], "wb") as f:
            f.write(b"YUV4MPEG2 W%d H%d F1:1 Ip A1:1 C444 XCOLORRANGE=LIMITED\n" % (w, h))
            f.write(b"".join(b"FRAME\n" + a.tobytes() for a in frames))
        for i, command in enumerate(commands):
            if run([self.magvit, *command, "--quiet", path[i], path[i + 1]], check=False) is None:
                return None
        with open(path[-1], "rb") as f:
            f.readline()
            raw = np.frombuffer(f.read(), np.uint8).reshape(-1, 6 + 3 * h * w)
        return raw[:, 6:].reshape(-1, 3, h, w)

    def decode(self, path, frames):
        """The first frames of a clip: shorter side scaled, centre crop."""
        w, h = self.width, self.height
        graph = (f"scale=w={w}:h={h}:force_original_aspect_ratio=increase:force_divisible_by=2:out_range=tv:"
                 f"out_color_matrix=smpte170m:flags=area+accurate_rnd+full_chroma_inp,format=yuv444p,crop={w}:{h}")
        out = run([self.ffmpeg, "-v", "error", "-nostdin", "-i", path, "-map", "0:v:0", "-frames:v", str(frames),
                   "-fps_mode", "passthrough", "-vf", graph, "-pix_fmt", "yuv444p", "-f", "rawvideo", "-"])
        return np.frombuffer(out, np.uint8).reshape(-1, 3, h, w)


# ---------------------------------------------------------------- tasks

def tokens(p, clip, frames):
    n = len(clip) // p.frames * p.frames
    truth = clip[:n]
    made = p.tool(truth, [["encode"], ["decode"]])
    if made is None:
        fail("magvit encode or decode failed")
    return Case(truth, np.broadcast_to(BLANK, truth.shape), np.ones((n, *truth.shape[2:]), bool), {"tokenizer": made},
                range(0, n, 4))


def interp(p, clip, frames, factor):
    gaps, window = (min(frames, len(clip)) - 1) // factor, (p.frames - 1) // factor
    if not gaps:
        return None
    if window:
        gaps = max(gaps // window * window, min(gaps, window))
    n = gaps * factor + 1
    kept = clip[:n:factor]
    truth = clip[:n]
    invented = np.repeat(np.arange(n) % factor > 0, truth[0, 0].size).reshape(n, *truth.shape[2:])
    made = {k: v[:n] for k, v in p.own("magvit_interp", kept, f"factor={factor}").items()}
    made |= {"hold": hold(kept, factor), "blend": blend(kept, factor)}
    for name, graph in [
        ("framerate", f"framerate=fps={factor}:flags=-scd"),
        # the last frame twice: without that the filter drops the last gap; what it makes stays the same
        ("minterpolate", f"tpad=stop=1:stop_mode=clone,minterpolate=fps={factor}:{MINTERPOLATE}"),
    ]:
        made |= {k: v[:n] for k, v in p.peer(name, kept, graph).items()}
    return Case(truth, np.where(invented[:, None], BLANK, truth), invented, made,
                range(0, n, max(1, factor // 8))[:9])


def repair(p, clip, frames, rect, hole):
    """Case without results; rect: x, y, w, h of the hole, or of what is given"""
    x, y, w, h = rect
    n, hop = min(frames, len(clip)), p.frames - OVERLAP
    truth = clip[:max(n - (n - OVERLAP) % hop, min(n, p.frames))]
    inside = np.zeros(truth.shape[2:], bool)
    inside[y:y + h, x:x + w] = True
    invented = np.broadcast_to(inside if hole else ~inside, (len(truth), *inside.shape))
    return Case(truth, np.where(invented[:, None], BLANK, truth), invented, {}, range(0, len(truth), 4))


def removelogo(p, case):
    """It takes yuv420p alone, so every plane goes through as a luma plane."""
    t, c, h, w = case.given.shape
    mask, program = os.path.join(p.folder, "mask.pgm"), p.having("removelogo")
    if not program:
        return {}
    with open(mask, "wb") as f:
        f.write(b"P5\n%d %d\n255\n" % (w, h) + (case.invented[0] * np.uint8(255)).tobytes())
    planes = np.full((t * c, h * w * 3 // 2), 128, np.uint8)
    planes[:, :h * w] = case.given.reshape(t * c, -1)
    out = p.raw(planes, "yuv420p", w, h, "removelogo=" + mask, program)
    return {"removelogo": out.reshape(t * c, -1)[:, :h * w].reshape(t, c, h, w)}


def hole(p, clip, frames, logo):
    w, h = p.width, p.height
    rect = (w // 4, h // 4, w // 2, h // 2)
    if logo:
        rect = (w - (8 + 28) * w // 128, 8 * h // 128, 28 * w // 128, 16 * h // 128)
    case = repair(p, clip, frames, rect, True)
    options = "x={}:y={}:w={}:h={}".format(*rect)
    case.made.update(p.own("magvit_inpaint", case.given, options) | p.peer("delogo", case.given, "delogo=" + options)
                     | removelogo(p, case))
    return case


def border(p, clip, frames, columns, rows):
    """columns, rows: is the middle half of them given, or all?"""
    w, h = p.width, p.height
    x, y = columns * w // 4, rows * h // 4
    gw, gh = w - 2 * x, h - 2 * y
    case = repair(p, clip, frames, (x, y, gw, gh), False)
    given, made = case.truth[:, :, y:y + gh, x:x + gw], case.made
    made |= p.own("magvit_outpaint", given, f"w={w}:h={h}:x={x}:y={y}", (w, h))
    for mode in ("smear", "mirror"):
        made |= {f"fillborders {mode}": v for v in p.peer(
            "fillborders", case.given, f"fillborders=left={x}:right={x}:top={y}:bottom={y}:mode={mode}").values()}
    program = p.having("boxblur")
    if program:
        graph = f"scale={w}:{h}:force_original_aspect_ratio=increase,crop={w}:{h},boxblur={w // 16}"
        made["blurred background"] = np.where(case.invented[:, None], p.filter(given, graph, (w, h), program), case.truth)
    return case


def predict(p, clip, frames):
    n = p.frames
    if len(clip) < n:
        return None
    truth, made = clip[:n], {}
    if "magvit_predict" in p.filters(p.ffmpeg):
        made = p.own("magvit_predict", truth[:1], f"frames={n - 1}")
    else:
        out = p.tool(truth[:1], [["run", "predict", "--frames", str(n - 1)]])
        if out is None:
            return None
        made = {"magvit_predict": out}
    made = {k: v[:n] for k, v in made.items()} | {"hold": np.repeat(truth[:1], n, 0)}
    invented = np.ones((n, *truth.shape[2:]), bool)
    invented[0] = False
    return Case(truth, np.where(invented[:, None], BLANK, truth), invented, made, range(0, n, 2))


TASKS = {
    "tokens": tokens,
    **{f"interp-{n}": functools.partial(interp, factor=n) for n in (2, 4, 8, 15)},
    "hole-centre": functools.partial(hole, logo=False), "hole-logo": functools.partial(hole, logo=True),
    "border-vertical": functools.partial(border, columns=True, rows=False),
    "border-horizontal": functools.partial(border, columns=False, rows=True),
    "border-centre": functools.partial(border, columns=True, rows=True),
    "predict": predict,
}


# ---------------------------------------------------------------- figures

class Scores:
    """Figures of methods against the frames of one clip at a time."""

    def __init__(self, lpips):
        self.net = None
        if lpips:
            import torch
            from magvit.lpips import Lpips
            self.torch, self.net = torch, Lpips(lpips)

    def features(self, rgb):
        with self.torch.no_grad():
            return self.net.features(self.torch.from_numpy(np.ascontiguousarray(rgb.transpose(0, 3, 1, 2))))

    def clip(self, frames):
        self.rgb = to_rgb(frames)
        if self.net:
            self.seen = self.features(self.rgb)

    def measure(self, case, method):
        pick = case.invented.any((1, 2)).nonzero()[0]
        made, truth = to_rgb(case.made[method][pick]), self.rgb[pick]
        row = {"psnr": psnr(truth, made, case.invented[pick]), "ssim": float(ssim(truth, made).mean())}
        if self.net:
            with self.torch.no_grad():
                row["lpips"] = float(self.net.distance([f[pick] for f in self.seen], self.features(made)).mean())
        return row


def better(measure, a, b):
    return a < b if measure == "lpips" else a > b


def best(measure, values):
    """The key of the best of a dict, None of an empty one"""
    return (min if measure == "lpips" else max)(values, key=values.get, default=None)


def number(measure, x):
    return f"{x:.2f}" if measure == "psnr" else f"{x:.3f}".replace("0.", ".", 1)


def table(rows, measures, family):
    title, head, tasks = FAMILIES[family]
    rows = [r for r in rows if r["task"] in tasks]
    methods = list(dict.fromkeys(r["method"] for r in rows))
    peers = [m for m in methods if not m.startswith(("magvit", "tokenizer"))]
    lines = [f"### {title}", "", "| " + " | ".join([head, *methods, *["first in, clips"] * bool(peers)]) + " |",
             "|" + "---|" * (1 + len(methods) + bool(peers))]
    for task, label in tasks.items():
        by = {m: [r for r in rows if r["task"] == task and r["method"] == m] for m in methods}
        if not any(by.values()):
            continue
        mean = {k: {m: float(np.mean([r[k] for r in by[m]])) for m in methods if by[m]} for k in measures}
        shown = {k: {m: number(k, v) for m, v in mean[k].items()} for k in measures}
        top = {k: shown[k][best(k, mean[k])] if peers else None for k in measures}
        cells = [" / ".join(f"**{shown[k][m]}**" if shown[k][m] == top[k] else shown[k][m] for k in measures)
                 if by[m] else "-" for m in methods]
        if peers:
            own = by[methods[0]]
            won = [sum(all(better(k, r[k], q[k]) for m in peers for q in by[m] if q["clip"] == r["clip"]) for r in own)
                   for k in measures]
            cells.append(", ".join(map(str, won)) + f" of {len(own)}")
        lines.append("| " + " | ".join([label, *cells]) + " |")
    return "\n".join(lines) + "\n"


def tables(rows):
    measures = [k for k in MEASURES if k in rows[0]]
    return "\n".join(table(rows, measures, f) for f in FAMILIES if any(r["task"] in FAMILIES[f][2] for r in rows))


def heading(report):
    measures = [MEASURES[k] for k in MEASURES if k in report["rows"][0]]
    variant = "".join(f", variant `{v}`" for v in report["variants"])
    return (f"Model `{report['model']}`, sha256 {report['sha256'][:12]}; {report['clips']}, up to {report['frames']} frames"
            f" of {report['size']} each{variant}. Cells: {' / '.join(measures)}; the best is bold.\n")


def write_between(path, text):
    with open(path, encoding="utf-8") as f:
        old = f.read()
    if BEGIN not in old or END not in old:
        fail(f"{path} has no lines {BEGIN} and {END}")
    with open(path, "w", encoding="utf-8") as f:
        f.write(old[:old.index(BEGIN) + len(BEGIN)] + "\n" + text + old[old.index(END):])


# ---------------------------------------------------------------- sheets

def sheet(case, figures):
    """Rows: original, given, made, made by the best peer; columns: some of the frames."""
    own = next(iter(case.made))
    peer = best("psnr", {m: f["psnr"] for m, f in figures.items() if not m.startswith(("magvit", "tokenizer"))})
    rows = [case.truth, case.given, case.made[own]] + ([case.made[peer]] if peer else [])
    cells = [np.pad(to_rgb(r[list(case.columns)]), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1) for r in rows]
    return np.concatenate([np.concatenate(list(c), 1) for c in cells], 0)


def write_image(ffmpeg, path, image, *options):
    """[H,W,3] in [0,1]"""
    h, w, _ = image.shape
    run([ffmpeg, "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{w}x{h}", "-i", "-", "-frames:v", "1",
         "-update", "1", *options, path], np.round(image * 255).astype(np.uint8).tobytes())


def write_jpeg(ffmpeg, path, sheets):
    width = max(s.shape[1] for s in sheets)
    image = np.concatenate([np.pad(s, ((0, 8), (0, width - s.shape[1]), (0, 0)), constant_values=1) for s in sheets])[:-8]
    for quality in range(2, 32):
        write_image(ffmpeg, path, image, "-q:v", str(quality), "-pix_fmt", "yuvj420p")
        if os.path.getsize(path) < SHEET_BYTES:
            return
    fail(f"{path} is too large")


# ---------------------------------------------------------------- the run

def measure_clip(p, scores, args, name, path, progress):
    """-> rows, {task: sheet}"""
    clip = p.decode(path, -(-args.frames // p.frames) * p.frames)
    if len(clip) < p.frames:
        print(f"{name}: {len(clip)} frames are too few, left out")
        return [], {}
    scores.clip(clip)
    rows, sheets = [], {}
    for task in args.tasks:
        case = TASKS[task](p, clip, args.frames)
        if case:
            figures = {}
            for method, made in case.made.items():
                check_known(case.truth, made, case.invented, f"{name}, {task}, {method}")
                figures[method] = scores.measure(case, method)
                rows.append({"clip": name, "task": task, "method": method} | figures[method])
            sheets[task] = sheet(case, figures)
            write_image(p.ffmpeg, os.path.join(args.out, f"{task}-{name}.png"), sheets[task])
        progress(name, task, case)
    return rows, sheets


def progress_of(clips, tasks):
    started, total, done = time.monotonic(), len(clips) * len(tasks), 0

    def progress(name, task, case):
        nonlocal done
        done += 1
        used = time.monotonic() - started
        state = "left out, not possible" if case is None else "done"
        print(f"[{done}/{total}] {name}: {task} {state}, {used:.0f} s used, about {used / done * (total - done):.0f} s left",
              flush=True)
    return progress


def arguments():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--data", default=os.path.join(ROOT, "samples"), help="folder of clips [the samples]")
    ap.add_argument("--lpips", help="folder of LPIPS weights, see magvit/lpips.py [no LPIPS]")
    ap.add_argument("--model", help="model file [what the tool finds]")
    ap.add_argument("--variant", action="append", default=[], help="one more MAGVIT column with these filter options")
    ap.add_argument("--frames", type=int, default=31, help="of each clip [31]")
    ap.add_argument("--clips", type=int, help="the first N clips only")
    ap.add_argument("--tasks", default="", help="only those that begin with one of these, comma-separated")
    ap.add_argument("--ffmpeg", default="build/ffmpeg/ffmpeg", help="with the MAGVIT filters")
    ap.add_argument("--magvit", default="build/magvit")
    ap.add_argument("--peers", default="ffmpeg", help="ffmpeg for the peers that the first lacks [ffmpeg]")
    ap.add_argument("--out", default="build/quality", help="folder for results.json, tables.md and sheets")
    ap.add_argument("--write", metavar="FILE", help="put the tables between the markers of this file")
    ap.add_argument("--sheets", metavar="DIR", help="write a JPEG sheet for each family of tasks there")
    args = ap.parse_args()
    args.tasks = [t for t in TASKS if t.startswith(tuple(args.tasks.split(",")))]
    if not args.tasks:
        ap.error("no such tasks, there are " + " ".join(TASKS))
    if args.sheets and os.path.realpath(args.data) != os.path.join(os.path.realpath(ROOT), "samples"):
        ap.error("--sheets shows the repository's own samples only, leave --data out")
    return args


def main():
    args = arguments()
    names = [n for n in sorted(os.listdir(args.data)) if n.lower().endswith(CLIP_NAMES)]
    clips = [os.path.join(args.data, n) for n in names[:args.clips]]
    if not clips:
        fail(f"no clips in {args.data}")
    os.makedirs(args.out, exist_ok=True)
    own = os.path.realpath(args.data) == os.path.join(os.path.realpath(ROOT), "samples")
    rows, sheets = [], []
    with tempfile.TemporaryDirectory() as folder:
        p, scores = Programs(args, folder), Scores(args.lpips)
        progress = progress_of(clips, args.tasks)
        for path in clips:
            more, shown = measure_clip(p, scores, args, os.path.splitext(os.path.basename(path))[0], path, progress)
            rows += more
            sheets += [shown] * bool(shown)
            if not rows:
                continue
            nb = len({r["clip"] for r in rows})
            report = {"model": p.model, "sha256": p.sha256, "frames": args.frames, "size": f"{p.width}x{p.height}",
                      "variants": args.variant, "clips": f"{nb} clip{'s' * (nb > 1)}{' of `samples/`' * own}", "rows": rows}
            with open(os.path.join(args.out, "results.json"), "w") as f:
                json.dump(report, f, indent=1)
    if not rows:
        fail("nothing was measured")
    text = heading(report) + "\n" + tables(rows)
    with open(os.path.join(args.out, "tables.md"), "w") as f:
        f.write(text)
    print("\n" + text)
    if args.write and (args.clips or len(args.tasks) < len(TASKS)):
        print(f"{args.write} stays as it is: not all clips and tasks were asked for")
    elif args.write:
        write_between(args.write, text)
    if args.sheets:
        for family, tasks in SHEETS.items():
            shown = [sheets[i % len(sheets)][t] for i, t in enumerate(tasks) if t in sheets[i % len(sheets)]]
            if shown:
                write_jpeg(args.ffmpeg, os.path.join(args.sheets, f"quality-{family}.jpg"), shown)


if __name__ == "__main__":
    main()
