#!/usr/bin/env python3
"""Write reference outputs for the C tests from a model file.

    dump_golden.py --model tests/data/tiny.safetensors --out tests/golden [--frames 8 --size 16]

tests/golden/README describes the files.  A model whose decoder sees known pixels gives known-*, any other the rest.
"""
import argparse
import copy
import os
import re
from dataclasses import replace

import numpy as np
import torch

from magvit import cond, rng, safetensors, sampler
from magvit.config import TASKS
from magvit.model import Model

COND_ROWS = [0, 7, 8, 16, 23, 24]


def test_clip(t, h, w):
    """[t,h,w,3] float32: smooth colours that move plus a hard-edged pattern, multiples of 1/255."""
    z, y, x, c = np.meshgrid(np.arange(t), np.arange(h), np.arange(w), np.arange(3), indexing="ij")
    v = 128 + 70 * np.sin(0.21 * x + 0.13 * y + 0.3 * z + 2 * c) + 40 * (((x + z) // 4 + y // 4) % 2)
    return (np.clip(np.round(v), 0, 255) / 255).astype(np.float32)


def integer_clip(t, h, w):
    """[t,h,w,3] float32 that a C test can compute: ((7z + 3y + 5x + 11c + z*y*x) mod 256) / 255."""
    z, y, x, c = np.meshgrid(np.arange(t), np.arange(h), np.arange(w), np.arange(3), indexing="ij")
    return (((7 * z + 3 * y + 5 * x + 11 * c + z * y * x) % 256) / np.float32(255)).astype(np.float32)


def record(module, prefix, keep):
    """Forward hooks that collect outputs as {op name: float32 array}; returns (dict, handles)."""
    out, handles = {}, []
    for name, m in module.named_modules():
        full = prefix + name
        if name and keep(full):
            def hook(_, __, y, full=full):
                a = y.detach().float().numpy()
                out[full] = np.ascontiguousarray(a.transpose(0, 2, 3, 4, 1)) if a.ndim == 5 else a
            handles.append(m.register_forward_hook(hook))
    return out, handles


def tokenizer_golden(model, frames, size):
    tok = model.tokenizer

    def keep(name):
        leaf = name.split(".")[-1]
        if leaf in ("encoder", "decoder", "quantizer", "codebook", "block", "mid", "down", "up") or name.count(".") == 0:
            return False
        parts = name.split(".")
        if len(parts) == 3 and parts[1] in ("down", "up"):
            return False  # a level: same as its last op
        full_size = ".down.0." in name or ".up.0." in name or name == "decoder.norm_out"
        if full_size and leaf in ("norm1", "norm2", "norm_out", "conv2", "shortcut"):
            return False
        return name not in ("decoder.up.1.upsample",)

    x = test_clip(frames, size, size)[None]
    v = torch.from_numpy(x).permute(0, 4, 1, 2, 3)
    out, handles = record(tok, "", keep)
    with torch.no_grad():
        z = tok.encoder(v)
        dist = tok.quantizer.distances(z.permute(0, 2, 3, 4, 1).reshape(-1, z.shape[1]))
        ids = tok.quantizer.encode(z)
        y = tok.decode(ids)
    for h in handles:
        h.remove()
    two = dist.topk(2, 1, largest=False).values
    out["input"] = x
    out["quantizer.ids"] = ids.numpy()
    out["quantizer.margin"] = (two[:, 1] - two[:, 0]).view(ids.shape).numpy()
    out["output"] = y.permute(0, 2, 3, 4, 1).numpy()
    # The model's own size, ids only: the clip is integer_clip of the model's dimensions.
    c = model.cfg
    with torch.no_grad():
        w = torch.from_numpy(integer_clip(c.frames, c.height, c.width)[None]).permute(0, 4, 1, 2, 3)
        ids = tok.encode(w)
        y = tok.decode(ids)
    out["native.ids"] = ids.numpy()
    out["native.output_frame_sums"] = y.permute(0, 2, 3, 4, 1).sum((2, 3)).numpy()
    return out


def known_golden(model, kind):
    """The decoder of a gated model with a condition whose padding is black in a hole only, 4x8x12."""
    tok = copy.deepcopy(model.tokenizer)
    if kind != "gated":
        tok.decoder.gate = None
    tok.cfg = replace(tok.cfg, known_pixels=kind)
    given = cond.border(test_clip(4, 8, 12), (1, 6, 2, 9), (2, 2, 3))
    for a in given.clip, given.known:
        a[2:, 2:5, 4:7] = 0
    ids = np.random.default_rng(3).integers(0, tok.cfg.codebook_size, (1, 2, 2, 3))

    # the pyramid, the blocks after a sum, and what comes out
    keep = re.compile(r"decoder\.(known\.\d\.conv[12]|pool\.\d|up\.\d\.block\.\d|conv_out|gate)").fullmatch
    out, handles = record(tok.decoder, "decoder.", keep)
    with torch.no_grad():
        y = tok.decode(torch.from_numpy(ids), torch.from_numpy(given.clip[None]).permute(0, 4, 1, 2, 3),
                       torch.from_numpy(given.known[None]))
    for h in handles:
        h.remove()
    out.update({"clip": given.clip[None], "known": given.known[None], "ids": ids})
    if kind == "gated":
        out["shown"] = np.ascontiguousarray(y.permute(0, 2, 3, 4, 1).numpy())
    return out


def transformer_golden(model):
    c = model.cfg
    g = np.random.default_rng(5)
    visual = g.integers(0, c.tokenizer.codebook_size, c.tokens)
    visual[g.random(c.tokens) < 0.5] = c.mask_id
    ids = np.concatenate([c.prompt("FI"), visual])[None]

    def keep(name):
        parts = name.split(".")
        return not (parts[-1] == "layer" or name.endswith("head"))

    out, handles = record(model.transformer, "transformer.", keep)
    with torch.no_grad():
        logits = model.transformer(torch.from_numpy(ids))
    for h in handles:
        h.remove()
    # The embedding tables are called on a part of the sequence or sliced: their sum is what embeddings_ln reads.
    out = {k: v for k, v in out.items() if "_embeddings" not in k}
    out["ids"] = ids
    out["logits"] = logits.numpy()
    return out


def cond_golden(model):
    """All tasks on integer_clip(16,32,32) with the grid 4x4x4."""
    video, grid = integer_clip(16, 32, 32), (4, 4, 4)
    out = {}

    def put(name, made, task):
        clip, _, mask = made
        out[name + ".rows"] = np.ascontiguousarray(clip[:, COND_ROWS, :, 0])
        out[name + ".sums"] = clip.astype(np.float64).sum((1, 2))
        out[name + ".mask"] = mask
        out[name + ".prompt"] = np.array(model.cfg.prompt(task, 1))

    for task in TASKS:
        put("task." + task, cond.condition(task, video, grid), task)
    for period in (2, 3, 5, 7):
        known = np.zeros(16, bool)
        known[::period] = True
        put(f"interpolate.{period}", cond.interpolate(video, known, grid), "FI")
    known = np.ones((16, 32, 32), bool)
    for k in range(16):
        known[k, 9:20, 3 + k:14 + k] = False
    put("hole", cond.hole(video, known, grid), "IPC")
    put("border", cond.border(video, (5, 27, 0, 21), grid), "OPC")
    out["mask16"] = np.concatenate([cond.condition(t, np.zeros((16, 128, 128, 3), np.float32), (4, 16, 16)).mask[None]
                                    for t in TASKS])
    return out


def sampler_golden(model):
    c = model.cfg
    n, codes, passes = 64, 64, 4
    g = np.random.default_rng(11)
    logits = (2 * g.standard_normal((passes, n, codes))).astype(np.float32)
    cond_mask = (g.random(n) < 0.4).astype(np.int32)
    cond_ids = g.integers(0, codes, n)
    cases = [  # steps, schedule, choice temperature, temperature, seed, window, greedy, condition
        (4, "cosine", 4.5, 1.0, 0, 0, 0, 1), (12, "cosine", 4.5, 1.0, 1, 0, 0, 1),
        (12, "cosine", 4.5, 1.0, (7 << 32) | 9, 3, 0, 0), (8, "linear", 7.5, 0.8, 2, 1, 0, 1),
        (12, "exp", 400.0, 1.0, 3, 0, 0, 1), (6, "log", 1.0, 1.2, 4, 0, 0, 0), (5, "pow2", 0.0, 1.0, 5, 0, 1, 1),
        (1, "cosine", 4.5, 1.0, 6, 0, 0, 1)]
    out = {"logits": logits, "cond.mask": cond_mask, "cond.ids": cond_ids}
    meta = {"mask_id": c.mask_id, "cases": len(cases)}
    for i, (steps, schedule, tc, temp, seed, window, greedy, use) in enumerate(cases):
        trace = []
        ids = sampler.sample(lambda cur, k: logits[k % passes], n, cond_ids, cond_mask * use, c.mask_id, steps,
                             schedule, tc, temp, seed, window, bool(greedy), trace)
        meta[f"case.{i}.schedule"] = schedule
        out[f"case.{i}.int"] = np.array([steps, seed & 0xFFFFFFFF, seed >> 32, window, greedy, use])
        out[f"case.{i}.float"] = np.array([tc, temp], np.float32)
        out[f"case.{i}.drawn"] = np.stack([t[0] for t in trace])
        out[f"case.{i}.cur"] = np.stack([t[1] for t in trace])
        out[f"case.{i}.ids"] = ids
    out["rng.code_noise"] = rng.code_noise((7 << 32) | 9, 3, 2, 5, 10)
    out["rng.choice_noise"] = rng.choice_noise((7 << 32) | 9, 3, 2, 16)
    out["rng.words"] = rng.philox((np.arange(4), 2, 3, 1), (9, 7)).view(np.int32)
    return out, meta


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--model", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--frames", type=int, default=8)
    ap.add_argument("--size", type=int, default=16)
    args = ap.parse_args()
    torch.backends.mkldnn.enabled = False
    model = Model.load(args.model)
    os.makedirs(args.out, exist_ok=True)

    def save(name, tensors, meta=None):
        safetensors.save(os.path.join(args.out, name + ".safetensors"), tensors, meta)

    if model.cfg.tokenizer.known_pixels != "none":
        for kind in ("zero", "padded", "gated"):
            save("known-" + kind, known_golden(model, kind))
        return
    save("tokenizer", tokenizer_golden(model, args.frames, args.size))
    save("transformer", transformer_golden(model))
    save("cond", cond_golden(model))
    save("sampler", *sampler_golden(model))


if __name__ == "__main__":
    main()
