#!/usr/bin/env python3
"""Draw the curves of a training log.

    plot.py RUN/log.jsonl --out curves.png [--run tokenizer] [--keys l1 psnr val_psnr] [--against elapsed]

One panel for each number: where steps outnumber pixels, pale from the least to the
greatest value in each column, dark their mean.
Prints the last values.  Several logs are drawn over one another, each in its colour.
"""
import argparse
import json
import math

import numpy as np

from magvit.data import write_png

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420, 220, 64, 16, 26, 26
COLOURS = [(0, 0, 0), (200, 30, 30), (20, 90, 200), (20, 140, 60), (160, 90, 0)]
# A glyph is five rows of three pixels, a row is an octal digit.
FONT = dict(zip("0123456789-.+_ABCDEFGHIJKLMNOPQRSTUVWXYZ", (
    "75557 26227 71747 71717 55711 74717 74757 71122 75757 75717 00700 00002 02720 00007 25755 65656 34443 65556 74647 "
    "74644 34553 55755 72227 11152 55655 44447 57755 65555 25552 65644 25573 65655 34216 72222 55557 55552 55775 55255 "
    "55222 71247").split()))


def text(image, x, y, string, scale=2):
    for char in string.upper():
        rows = np.array([[int(d) >> b & 1 for b in (2, 1, 0)] for d in FONT.get(char, "00000")])
        ink = np.kron(rows, np.ones((scale, scale))) > 0
        part = image[y:y + 5 * scale, x:x + 3 * scale]
        part[ink[:part.shape[0], :part.shape[1]]] = 0
        x += 4 * scale


def ticks(low, high, count):
    """Round numbers in [low, high], about `count`."""
    raw = max(high - low, 1e-12) / count
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= raw * 0.999)
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def line(image, x0, y0, x1, y1, colour):
    n = int(max(abs(x1 - x0), abs(y1 - y0))) + 1
    xs, ys = np.rint(np.linspace(x0, x1, n)).astype(int), np.rint(np.linspace(y0, y1, n)).astype(int)
    image[ys, xs] = image[ys + 1, xs] = colour


def panel(title, curves, end):
    """curves: [(x, y)] arrays, x in [0, end] -> [HEIGHT,WIDTH,3] uint8"""
    image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    low, high = min(y.min() for _, y in curves), max(y.max() for _, y in curves)
    many = [y for _, y in curves if len(y) > 50]
    if many:  # a few wild steps must not flatten the rest
        low, high = min(np.quantile(y, 0.002) for y in many), max(np.quantile(y, 0.995) for y in many)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    w, h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def row(v):
        return TOP + np.clip((high - v) / (high - low), 0, 1) * (h - 2)

    for v in ticks(low, high, 5):
        image[int(row(v)), LEFT:LEFT + w] = 225
        label = f"{v:.4g}"
        text(image, max(0, LEFT - 6 - 8 * len(label)), int(row(v)) - 4, label)
    for v in ticks(0, end, 5):
        x, label = LEFT + int(v / end * (w - 1)), f"{v:.4g}"
        image[TOP:TOP + h, x] = 225
        text(image, min(x - 4 * len(label), WIDTH - 8 * len(label)), TOP + h + 8, label)
    image[TOP:TOP + h, LEFT] = image[TOP + h - 1, LEFT:LEFT + w] = 0
    text(image, LEFT, 8, title)
    for (x, y), colour in zip(curves, COLOURS):
        column = LEFT + (x / end * (w - 1)).astype(int)
        if len(y) > w:
            for c in np.unique(column):
                v = y[column == c]
                image[int(row(v.max())):int(row(v.min())) + 1, c] = 255 - (255 - np.array(colour)) // 4
    for (x, y), colour in zip(curves, COLOURS):
        column = LEFT + (x / end * (w - 1)).astype(int)
        at = np.unique(column)
        mean = row(np.array([y[column == c].mean() for c in at]))
        for k in range(max(1, len(at) - 1)):
            n = min(k + 1, len(at) - 1)
            line(image, at[k], mean[k], at[n], mean[n], colour)
    return image


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("logs", nargs="+")
    ap.add_argument("--out", required=True)
    ap.add_argument("--run", help="tokenizer, transformer or decoder; default: the first in the log")
    ap.add_argument("--keys", nargs="+", help="which numbers; default: all")
    ap.add_argument("--against", choices=["step", "elapsed"], default="step")
    args = ap.parse_args()
    runs = []
    for path in args.logs:
        with open(path) as f:
            lines = [json.loads(s) for s in f]
        runs.append([d for d in lines if d["run"] == (args.run or lines[0]["run"])])
    keys = args.keys or list(dict.fromkeys(k for r in runs for d in r for k in d if k not in ("run", "step", "elapsed")))
    panels, end = [], max(d[args.against] for r in runs for d in r)
    for k in keys:
        points = [np.array([(d[args.against], d[k]) for d in r if math.isfinite(d.get(k, math.nan))]) for r in runs]
        points = [p for p in points if len(p)]
        if points:
            panels.append(panel(k, [tuple(p.T) for p in points], end))
            print(f"{k}: " + ", ".join(f"{p[-1, 1]:.4g}" for p in points))
    columns = math.ceil(len(panels) ** 0.5)
    panels += [np.full_like(panels[0], 255)] * (-len(panels) % columns)
    write_png(args.out, np.concatenate([np.concatenate(panels[i:i + columns], 1)
                                        for i in range(0, len(panels), columns)]))


if __name__ == "__main__":
    main()
