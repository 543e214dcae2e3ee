"""Conditions: the padded clip V~, its known pixels and the latent condition mask of every task.

Clips are [T,H,W,3] float32 in [0,1]; latent masks are [t,h,w] uint8, 1 = condition cell.
Rounding is half to even, ranges are half open, divisions of sizes are integer divisions.
The ten tasks follow the paper's formulas; the latent masks of the moving regions are formulas of their
own and not derived from pixels.  Free masks use the paper's rule: a cell is a condition if at least one
of its pixels is known.
"""
from typing import NamedTuple

import numpy as np

from .config import TASKS


class Condition(NamedTuple):
    clip: np.ndarray   # V~ [T,H,W,3] float32
    known: np.ndarray  # [T,H,W] bool, pixels that were given
    mask: np.ndarray   # [t,h,w] uint8, 1 = condition cell


def _moving_edge(count, width):
    """Left edge of a strip of width//2 moving left to right over `count` frames."""
    return [round(k * (width // 2) / max(count - 1, 1)) for k in range(count)]


def cells(known, grid):
    """Pixel mask known [T,H,W] bool -> latent mask [t,h,w] uint8: any pixel known."""
    for axis, n in enumerate(grid):
        size = known.shape[axis]
        step = 2 ** round(np.log2(size / n))  # cells are powers of two; the last may be partial
        known = np.logical_or.reduceat(known, np.arange(0, size, step), axis)
    return known.astype(np.uint8)


def interpolate(video, known, grid):
    """Frames k with known[k] are kept, the rest is linear in time between the known neighbours.

    With known frames a < k < b: V~_k = V_a + (V_b - V_a) * w, w = (k-a)/(b-a), all in float32.
    Before the first and after the last known frame that frame is repeated.
    """
    known = np.asarray(known, bool)
    at = np.flatnonzero(known)
    out = np.empty_like(video)
    for k in range(len(video)):
        a, b = at[at <= k], at[at >= k]
        if known[k] or not len(a) or not len(b):
            out[k] = video[k] if known[k] else video[b[0] if not len(a) else a[-1]]
            continue
        a, b = a[-1], b[0]
        out[k] = video[a] + (video[b] - video[a]) * np.float32((k - a) / (b - a))
    pixels = np.broadcast_to(known[:, None, None], video.shape[:3])
    return Condition(out, pixels, cells(pixels, grid))


def hole(video, known, grid):
    """Pixels outside known [T,H,W] become zero."""
    known = np.asarray(known, bool)
    return Condition(video * known[..., None].astype(np.float32), known, cells(known, grid))


def border(video, rect, grid):
    """Pixels outside rect = (y0, y1, x0, x1) replicate its edge."""
    y0, y1, x0, x1 = rect
    h, w = video.shape[1:3]
    out = video[:, np.clip(np.arange(h), y0, y1 - 1)][:, :, np.clip(np.arange(w), x0, x1 - 1)]
    known = np.zeros(video.shape[:3], bool)
    known[:, y0:y1, x0:x1] = True
    return Condition(np.ascontiguousarray(out), known, cells(known, grid))


def condition(task, video, grid, given=1):
    """Condition of one of TASKS; V~ of CG is black.

    given: leading frames kept by FP and CFP, frames kept at each end by FI.
    """
    assert task in TASKS, task
    n, h, w = video.shape[:3]
    lt, lh, lw = grid
    mask, pixels = np.zeros(grid, np.uint8), np.zeros((n, h, w), bool)
    out = video.copy()
    rows, cols = slice(h // 4, 3 * h // 4), slice(w // 4, 3 * w // 4)
    lrows, lcols = slice(lh // 4, 3 * lh // 4), slice(lw // 4, 3 * lw // 4)
    if task == "CG":
        out[:] = 0
    elif task in ("FP", "CFP"):
        out[given:] = video[given - 1]
        pixels[:given] = True
        mask[:-(-given * lt // n)] = 1
    elif task == "FI":
        known = np.zeros(n, bool)
        known[:given] = known[n - given:] = True
        out, pixels, _ = interpolate(video, known, grid)
        ends = -(-given * lt // n)
        mask[:ends] = mask[lt - ends:] = 1
    elif task == "OPC":
        out, pixels, _ = border(video, (h // 4, 3 * h // 4, w // 4, 3 * w // 4), grid)
        mask[:, lrows, lcols] = 1
    elif task == "OPV":
        out, pixels, _ = border(video, (0, h, w // 4, 3 * w // 4), grid)
        mask[:, :, lcols] = 1
    elif task == "OPH":
        out, pixels, _ = border(video, (h // 4, 3 * h // 4, 0, w), grid)
        mask[:, lrows] = 1
    elif task == "OPD":
        out[:] = 0
        for k, x in enumerate(_moving_edge(n, w)):
            out[k, :, x:x + w // 2] = video[k, :, x:x + w // 2]
            pixels[k, :, x:x + w // 2] = True
        for k, x in enumerate(_moving_edge(lt, lw)):
            mask[k, :, x:x + lw // 2] = 1
    elif task == "IPC":
        out[:, rows, cols] = 0
        pixels[:] = True
        pixels[:, rows, cols] = False
        mask[:] = 1
        mask[:, lrows, lcols] = 0
    elif task == "IPD":
        pixels[:] = True
        mask[:] = 1
        for k, x in enumerate(_moving_edge(n, w)):
            out[k, rows, x:x + w // 2] = 0
            pixels[k, rows, x:x + w // 2] = False
        for k, x in enumerate(_moving_edge(lt, lw)):
            mask[k, lrows, x:x + lw // 2] = 0
    return Condition(out, pixels, mask)


# Prompts of the free conditions: they reuse the task whose padding they share.
FREE = ("interpolate", "hole", "border", "predict")


def free_condition(kind, video, grid, rng):
    """A random free condition for training, and the task whose prompt it takes.

    interpolate: known frames every N in {2,3,4,5,7,15} slots; predict: a few leading frames;
    hole: one to three rectangles, some of them drifting; border: a random kept rectangle.
    """
    n, h, w = video.shape[:3]
    if kind == "interpolate":
        known = np.zeros(n, bool)
        known[::int(rng.choice([2, 3, 4, 5, 7, 15]))] = True
        return interpolate(video, known, grid), "FI"
    if kind == "predict":
        known = np.zeros(n, bool)
        known[:int(rng.choice([2, 4, 5, 8, 12]))] = True
        return interpolate(video, known, grid), "FP"
    if kind == "hole":
        known = np.ones((n, h, w), bool)
        for _ in range(int(rng.integers(1, 4))):
            rh, rw = (int(rng.integers(s // 16, s // 2)) for s in (h, w))
            y, x = rng.integers(0, h - rh), rng.integers(0, w - rw)
            vy, vx = rng.normal(0, h / 64, 2) if rng.random() < 0.4 else (0, 0)
            for k in range(n):
                a, b = int(np.clip(y + vy * k, 0, h - rh)), int(np.clip(x + vx * k, 0, w - rw))
                known[k, a:a + rh, b:b + rw] = False
        return hole(video, known, grid), "IPC"
    assert kind == "border", kind
    y0, x0 = (int(rng.integers(0, s * 3 // 8)) * int(rng.random() < 0.75) for s in (h, w))
    y1, x1 = (s - int(rng.integers(0, s * 3 // 8)) * int(rng.random() < 0.75) for s in (h, w))
    return border(video, (y0, y1, x0, x1), grid), "OPC"
