#!/usr/bin/env python3
"""Train the transformer on tokens of a frozen tokenizer.

    train_transformer.py --config configs/bringup.toml --tokenizer RUN/tokenizer.pt --data DIR --val DIR
                         --cache DIR --out RUN --pair-minutes 8 --minutes 45

First encodes a pool of clips and conditions (kept in --out/pairs.pt), then trains by wall clock.
An existing pool and checkpoint in --out are used.
"""
import argparse
import copy
import math
import os
import time
import tomllib

import numpy as np
import torch

from magvit.config import Config
from magvit.data import Clips
from magvit.pairs import WEIGHTS, Pairs, cross_entropy, kinds, masked_input, validate
from magvit.tokenizer import Tokenizer
from magvit.transformer import Transformer


def label_of(cfg, cls):
    return cfg.class_names.index(cls) if cls in cfg.class_names else None


def training_pairs(cfg, tokenizer, clips, count, minutes, rng, device, amp, per_clip=3):
    """Random crops, `per_clip` conditions each, until `count` pairs or `minutes`."""
    pairs, start = Pairs(), time.time()
    names = kinds(cfg)
    p = np.array([WEIGHTS[k] for k in names])
    p /= p.sum()
    while len(pairs.zc) < count and time.time() - start < minutes * 60:
        video, cls = clips.crop(rng, cfg.frames, cfg.height)
        chosen = list(rng.choice(names, per_clip, replace=False, p=p))
        pairs.add(cfg, tokenizer, video, label_of(cfg, cls), chosen, rng, device, amp)
    return pairs


def validation_pairs(cfg, tokenizer, clips, per_kind, device, amp=False):
    """`per_kind` windows, evenly spread over the folder, under every kind of condition."""
    pairs, rng = Pairs(), np.random.default_rng(1)
    windows = list(clips.windows(cfg.frames, cfg.height))
    for i, w in windows[::max(1, len(windows) // per_kind)][:per_kind]:
        pairs.add(cfg, tokenizer, w, label_of(cfg, clips.classes[i]), kinds(cfg), rng, device, amp)
    return pairs


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--config", required=True)
    ap.add_argument("--tokenizer", required=True, help="checkpoint of train_tokenizer.py")
    ap.add_argument("--data", required=True)
    ap.add_argument("--val", required=True)
    ap.add_argument("--cache", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--pair-minutes", type=float, default=8)
    ap.add_argument("--minutes", type=float, default=45)
    ap.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    with open(args.config, "rb") as f:
        toml = tomllib.load(f)
    cfg, c, dev = Config.from_dict(toml), toml["train_transformer"], args.device
    torch.manual_seed(args.seed)
    os.makedirs(args.out, exist_ok=True)

    tokenizer = Tokenizer(cfg.tokenizer).to(dev).eval()
    tokenizer.load_state_dict(torch.load(args.tokenizer, map_location=dev)["ema"])
    pool = os.path.join(args.out, "pairs.pt")
    if os.path.exists(pool):
        train, val = torch.load(pool)
    else:
        clips = Clips(args.val, os.path.join(args.cache, "val"), cfg.height, cfg.frames)
        val = validation_pairs(cfg, tokenizer, clips, c["val_pairs"], dev)
        clips = Clips(args.data, os.path.join(args.cache, "train"), cfg.height, cfg.frames)
        train = training_pairs(cfg, tokenizer, clips, c["pairs"], args.pair_minutes,
                               np.random.default_rng(args.seed), dev, c["amp"])
        torch.save((train, val), pool)
    seen = torch.bincount(torch.from_numpy(np.concatenate(train.z)).long(), minlength=cfg.tokenizer.codebook_size)
    prior = (seen.float() + 1) / (seen.sum() + len(seen))
    print(f"{len(train.z)} clips, {len(train.zc)} pairs, {len(val.zc)} validation pairs; "
          f"entropy of single tokens {-(prior * prior.log()).sum():.3f} nats", flush=True)

    model = Transformer(cfg, c["dropout"]).to(dev)
    model.init_local(tokenizer.quantizer.codebook.weight.detach(), cfg.grid, prior.to(dev))
    ema = copy.deepcopy(model).eval().requires_grad_(False)
    kernels = [m.weight for m in model.modules() if isinstance(m, torch.nn.Linear)]
    ids = {id(p) for p in kernels}
    rest = [p for p in model.parameters() if id(p) not in ids]
    opt = torch.optim.AdamW([{"params": kernels, "weight_decay": c["weight_decay"]},
                             {"params": rest, "weight_decay": 0.0}], lr=c["lr"], betas=tuple(c["betas"]))
    step, elapsed = 0, 0.0
    ckpt = os.path.join(args.out, "transformer.pt")
    if os.path.exists(ckpt):
        s = torch.load(ckpt, map_location=dev)
        model.load_state_dict(s["model"])
        ema.load_state_dict(s["ema"])
        opt.load_state_dict(s["opt"])
        step, elapsed = s["step"], s["elapsed"]
        print(f"resumed at step {step}, {elapsed / 60:.1f} min", flush=True)

    def save():
        torch.save({"model": model.state_dict(), "ema": ema.state_dict(), "opt": opt.state_dict(),
                    "step": step, "elapsed": elapsed, "config": toml}, ckpt + ".tmp")
        os.replace(ckpt + ".tmp", ckpt)

    rng = np.random.default_rng(args.seed + step)
    total, batch = args.minutes * 60, c["batch"]
    last = time.time()
    last_log = last_save = last
    last_eval = 0
    log, order = [], []
    while elapsed < total:
        lr = c["lr"] * min(1, (step + 1) / c["warmup_steps"]) * 0.5 * (1 + math.cos(math.pi * elapsed / total))
        for g in opt.param_groups:
            g["lr"] = lr
        if len(order) < batch:
            order = list(rng.permutation(len(train.zc)))
        z, zc, m, p = train.batch([order.pop() for _ in range(batch)], dev)
        # One ratio for each sample, spread evenly over the batch: less noise than one for all.
        u = ((torch.arange(batch) + torch.rand(batch)) / batch).to(dev)
        x, masked = masked_input(z, zc, m, p, u, torch.rand(z.shape).to(dev), cfg.mask_id)
        with torch.autocast(dev, dtype=torch.bfloat16, enabled=c["amp"]):
            logits = model(x)
        each = cross_entropy(logits, z, c["label_smoothing"])
        loss = each.mean()
        opt.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), c["clip"])
        if torch.isfinite(norm):
            opt.step()
        step += 1
        decay = min(c["ema_decay"], (1 + step) / (10 + step))
        with torch.no_grad():
            for a, b in zip(ema.parameters(), model.parameters()):
                a.lerp_(b, 1 - decay)
        now = time.time()
        elapsed += now - last
        last = now
        log.append((loss.item(), each.detach()[masked].mean().item(), float(norm)))
        if now - last_log > 20:
            a = np.mean(log, 0)
            print(f"{elapsed / 60:6.2f} min step {step} loss {a[0]:.3f} masked {a[1]:.3f} grad {a[2]:.2f} "
                  f"lr {lr:.2e} {len(log) * batch / (now - last_log):.2f} sequences/s", flush=True)
            log, last_log = [], now
        if now - last_save > 180:
            save()
            last_save = now
        if now - last_eval > 420:
            r = validate(ema, val, cfg.mask_id, dev, c["amp"])
            print("       validation " + " ".join(f"{k} {v:.3f}" for k, v in r.items()), flush=True)
            last_eval = time.time()
    save()
    r = validate(ema, val, cfg.mask_id, dev, False)
    print("final validation " + " ".join(f"{k} {v:.3f}" for k, v in r.items()), flush=True)


if __name__ == "__main__":
    main()
