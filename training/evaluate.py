#!/usr/bin/env python3
"""Measure a model file on a folder of clips.

    evaluate.py --model RUN/model.safetensors --data DIR --cache DIR [--lpips DIR] [--sheet out.png]

Reconstruction: PSNR, SSIM and LPIPS of every window (centre crops, the model's length) after encoding and decoding;
how many codes are used, and the perplexity of their shares.  Prediction: cross-entropy at masked places for every
kind of condition.  On request a contact sheet of generated clips: original, condition, result for interpolation,
prediction, hole and border.
"""
import argparse
import json
import os

import numpy as np
import torch

from magvit import cond
from magvit.data import Clips, contact_sheet
from magvit.generate import generate
from magvit.lpips import Lpips
from magvit.metrics import psnr, ssim
from magvit.model import Model
from magvit.pairs import validate
from train_transformer import validation_pairs


@torch.no_grad()
def reconstruction(tokenizer, windows, lpips, device):
    """Windows [T,H,W,3] uint8 -> {psnr, ssim, lpips if given, codes, perplexity}; means over windows."""
    rows, ids = [], []
    for w in windows:
        v = w.astype(np.float32) / 255
        x = torch.from_numpy(v).to(device).permute(3, 0, 1, 2)[None].contiguous()
        ids.append(tokenizer.encode(x))
        y = tokenizer.decode(ids[-1]).float().clamp(0, 1)
        out = y[0].permute(1, 2, 3, 0).cpu().numpy()
        rows.append([psnr(out, v), ssim(out, v).mean()])
        if lpips:
            rows[-1].append(lpips(x[0].transpose(0, 1), y[0].transpose(0, 1)).mean().item())
    p = torch.bincount(torch.cat(ids).flatten(), minlength=tokenizer.cfg.codebook_size).double()
    used, p = int((p > 0).sum()), p / p.sum()
    means = dict(zip(("psnr", "ssim", "lpips"), np.mean(rows, 0).tolist()))
    return {**means, "codes": used, "perplexity": torch.exp(-(p * (p + 1e-12).log()).sum()).item()}


def sheet(model, windows, path, device):
    """Rows: original, condition, result; for each window one of four conditions in turn."""
    rows, c = [], model.cfg
    rect = (c.height // 8, c.height, c.width // 8, c.width * 7 // 8)
    for i, w in enumerate(windows):
        v = w.astype(np.float32) / 255
        known = np.zeros(c.frames, bool)
        known[::5] = True
        made, task = [(cond.interpolate(v, known, c.grid), "FI"), (cond.condition("FP", v, c.grid), "FP"),
                      (cond.condition("IPC", v, c.grid), "IPC"), (cond.border(v, rect, c.grid), "OPC")][i % 4]
        y = generate(model, made, task, device)
        rows += [w] + [np.round(a * 255).astype(np.uint8) for a in (made.clip, y)]
    contact_sheet(path, rows, 2)


def main(argv=None):
    ap = argparse.ArgumentParser()
    ap.add_argument("--model", required=True)
    ap.add_argument("--data", required=True)
    ap.add_argument("--cache", required=True)
    ap.add_argument("--lpips", help="folder of LPIPS weights, see magvit/lpips.py")
    ap.add_argument("--sheet", help="PNG file")
    ap.add_argument("--json", help="file for the numbers")
    ap.add_argument("--every", type=int, default=1, help="reconstruct every n-th window")
    ap.add_argument("--per-kind", type=int, default=8, help="windows for each kind of condition; 0: none")
    ap.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = ap.parse_args(argv)
    model = Model.load(args.model).to(args.device)
    c = model.cfg
    lpips = Lpips(args.lpips).to(args.device).eval() if args.lpips else None
    clips = Clips(args.data, os.path.join(args.cache, "val"), min(c.height, c.width), c.frames)
    windows = [w for _, w in clips.windows(c.frames, c.height)]
    r = {"windows": len(windows[::args.every]),
         **reconstruction(model.tokenizer, windows[::args.every], lpips, args.device)}
    print("reconstruction " + " ".join(f"{k} {r[k]:.{n}f}" for k, n in (("psnr", 2), ("ssim", 3), ("lpips", 3)) if k in r)
          + f", {r['codes']} of {c.tokenizer.codebook_size} codes used, perplexity {r['perplexity']:.0f}, "
          f"{r['windows']} windows", flush=True)
    if args.per_kind:
        pairs = validation_pairs(c, model.tokenizer, clips, args.per_kind, args.device)
        r["nats"] = validate(model.transformer, pairs, c.mask_id, args.device, False)
        for kind, nats in r["nats"].items():
            print(f"masked cross-entropy {kind:12s} {nats:.3f} nats", flush=True)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(r, f, indent=1)
    if args.sheet:
        step = max(1, len(windows) // 8)
        sheet(model, windows[step // 2::step][:8], args.sheet, args.device)


if __name__ == "__main__":
    main()
