#!/usr/bin/env python3
"""Measure a model file on a folder of clips.

    evaluate.py --model models/magvit-bringup.safetensors --data DIR --cache DIR [--sheet out.png]

Reconstruction PSNR and code perplexity over whole clips (centre crops, windows of the model's length),
cross-entropy at masked positions for every kind of condition, and on request a contact sheet of
generated clips: original, condition, result for interpolation, prediction, hole and border.
"""
import argparse
import os

import numpy as np
import torch

from magvit import cond
from magvit.data import Clips, contact_sheet
from magvit.model import Model
from magvit.pairs import tokens_of, validate
from magvit.sampler import sample
from train_tokenizer import evaluate
from train_transformer import validation_pairs


@torch.no_grad()
def generate(model, made, task, device="cpu", seed=0, steps=None):
    """cond.Condition and its task -> generated clip [T,H,W,3] float32."""
    c, s = model.cfg, model.cfg.sampler
    zc = tokens_of(model.tokenizer, made.clip[None], device, False)[0]
    prompt = c.prompt(task)

    def logits(cur, _):
        ids = torch.from_numpy(np.concatenate([prompt, cur])[None]).to(device)
        return model.transformer(ids)[0].float().cpu().numpy()

    ids = sample(logits, c.tokens, zc, made.mask.ravel(), c.mask_id, steps or s.steps, s.schedule,
                 s.choice_temperature, s.temperature, seed)
    clip = torch.from_numpy(made.clip[None]).permute(0, 4, 1, 2, 3).to(device)
    known = torch.from_numpy(made.known[None].copy()).to(device)
    y = model.tokenizer.decode(torch.from_numpy(ids).view(1, *c.grid).to(device), clip, known)
    return y[0].permute(1, 2, 3, 0).clamp(0, 1).cpu().numpy()


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


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--model", required=True)
    ap.add_argument("--data", required=True)
    ap.add_argument("--cache", required=True)
    ap.add_argument("--sheet")
    ap.add_argument("--every", type=int, default=1, help="use every n-th window for PSNR")
    ap.add_argument("--per-kind", type=int, default=8, help="windows for each kind of condition")
    ap.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = ap.parse_args()
    model = Model.load(args.model).to(args.device)
    c = model.cfg
    clips = Clips(args.data, os.path.join(args.cache, "val"), min(c.height, c.width), c.frames)
    windows = list(clips.windows(c.frames, c.height))
    psnr, perplexity, _ = evaluate(model.tokenizer, [w for _, w in windows[::args.every]], args.device)
    print(f"reconstruction psnr {psnr:.2f} dB, code perplexity {perplexity:.0f}, {len(windows[::args.every])} windows")
    pairs = validation_pairs(c, model.tokenizer, clips, args.per_kind, args.device)
    for kind, nats in validate(model.transformer, pairs, c.mask_id, args.device, False).items():
        print(f"masked cross-entropy {kind:12s} {nats:.3f} nats")
    if args.sheet:
        step = max(1, len(windows) // 8)
        sheet(model, [w for _, w in windows[step // 2::step]][:8], args.sheet, args.device)


if __name__ == "__main__":
    main()
