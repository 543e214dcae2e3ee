#!/usr/bin/env python3
"""Train the transformer on tokens of a frozen tokenizer.

    train_transformer.py --config configs/small.toml --tokenizer RUN/tokenizer.pt --data DIR --val DIR
                         --cache DIR --out RUN --pair-minutes 8 --minutes 45

First encodes a pool of clips and conditions (kept in --out/pairs.pt), then trains on it; with `refresh` new clips
take the pool's places all the time, as is right where the tokenizer is fast.  The same command again goes on where
the checkpoint in --out ends.  --out gets log.jsonl, transformer.pt and transformer-STEP.png: for each example the
original, the condition and what the model makes of it.
"""
import argparse
import os
import sys
import time

import numpy as np
import torch

from magvit import checkpoint, cond, generate
from magvit.config import Config
from magvit.data import Clips, contact_sheet
from magvit.pairs import (LOSSES, WEIGHTS, Pairs, Refresher, cross_entropy, draw_kinds, kinds, loss_parts, masked_input,
                          tokens_of, validate, weighted_loss)
from magvit.run import Ema, Run, arguments, data_arguments
from magvit.tokenizer import Tokenizer
from magvit.transformer import Transformer

DEFAULTS = {
    "lr": 1e-4, "betas": [0.9, 0.96], "weight_decay": 0.045, "warmup": 0.05, "clip": 1.0, "dropout": 0.1,
    "label_smoothing": 1e-4, "batch": 256, "ema_decay": 0.999, "amp": True,
    "start": "local",           # local: Transformer.init_local, for short runs; random: the paper's
    "masking": "commit",        # or latent: true tokens at condition places, never masked (MaskGIT)
    "losses": list(LOSSES),     # places that are learned, see loss_parts()
    "kinds": WEIGHTS,           # how often each kind of condition is drawn
    "pairs": 9000, "per_clip": 3, "val_pairs": 5,
    "refresh": -1.0,            # new pairs for each used one; below 0: 0 on a CPU, 0.25 elsewhere
    "validations": 6, "previews": 3,  # in a run
}


def label_of(cfg, cls):
    return cfg.class_names.index(cls) if cls in cfg.class_names else None


def check_classes(cfg, clips):
    """A class without a clip would never be learned, and a wrong name would not be noticed."""
    if cfg.num_classes != len(cfg.class_names):
        sys.exit(f"num_classes is {cfg.num_classes}, but class_names has {len(cfg.class_names)}")
    missing = set(cfg.class_names) - set(clips.classes)
    if missing:
        print(f"no clip of class {', '.join(sorted(missing))}", flush=True)


def clip_pairs(cfg, tokenizer, clips, rng, count, device, amp, weights=WEIGHTS):
    """One random crop under `count` random conditions."""
    pairs = Pairs()
    video, cls = clips.crop(rng, cfg.frames, cfg.height)
    pairs.add(cfg, tokenizer, video, label_of(cfg, cls), draw_kinds(cfg, rng, count, weights), rng, device, amp)
    return pairs


def training_pairs(cfg, tokenizer, clips, count, minutes, rng, device, amp, per_clip=3, weights=WEIGHTS, part=None):
    """Random crops, `per_clip` conditions each, until `count` pairs or `minutes`.

    part: a file that keeps what is done so far; a pool that was interrupted is continued from it.
    """
    pairs, spent = Pairs(), 0.0
    if part and os.path.exists(part):
        pairs, spent, rng.bit_generator.state = torch.load(part, weights_only=False)
    told = saved = time.time()
    start = told - spent
    while len(pairs) < count and time.time() - start < minutes * 60:
        pairs.extend(clip_pairs(cfg, tokenizer, clips, rng, per_clip, device, amp, weights))
        now = time.time()
        if now - told > 15:
            left = min(minutes * 60 - (now - start), (now - start) / len(pairs) * (count - len(pairs)))
            print(f"{len(pairs)} pairs, {max(left, 0) / 60:.1f} min left", flush=True)
            told = now
        if part and now - saved > 60:
            torch.save((pairs, now - start, rng.bit_generator.state), part + ".tmp")
            os.replace(part + ".tmp", part)
            saved = now
    return pairs


def validation_pairs(cfg, tokenizer, clips, per_kind, device, amp=False):
    """`per_kind` windows, evenly spread over the folder, under every kind of condition."""
    pairs, rng = Pairs(), np.random.default_rng(1)
    windows = list(clips.windows(cfg.frames, cfg.height))
    for i, w in windows[::max(1, len(windows) // per_kind)][:per_kind]:
        pairs.add(cfg, tokenizer, w, label_of(cfg, clips.classes[i]), kinds(cfg), rng, device, amp)
    return pairs


class Order:
    """Every pair once, in random order, then again."""

    def __init__(self, count, rng):
        self.count, self.rng, self.left = count, rng, []

    def draw(self, n):
        while len(self.left) < n:
            self.left = list(self.rng.permutation(self.count)) + self.left
        return [int(self.left.pop()) for _ in range(n)]

    def state_dict(self):
        return {"left": np.array(self.left, np.int32)}

    def load_state_dict(self, d):
        self.left = list(d["left"])


def objective(model, batch, mask_id, c, amp):
    """batch as of Pairs.batch -> (loss, {"mask", "refine", "recons": mean loss at those places})."""
    z, zc, m, p = batch
    # One ratio for each sample, spread evenly over the batch: less noise than one for all.
    u = ((torch.arange(len(z)) + torch.rand(len(z))) / len(z)).to(z.device)
    x, masked = masked_input(z, zc, m, p, u, torch.rand(z.shape).to(z.device), mask_id, c["masking"])
    with torch.autocast(z.device.type, dtype=torch.bfloat16, enabled=amp):
        logits = model(x)
    each, parts = cross_entropy(logits, z, c["label_smoothing"]), loss_parts(masked, m)
    loss = weighted_loss(each, torch.stack([parts[k] for k in c["losses"]]).any(0))
    with torch.no_grad():
        return loss, {k: (each * v).sum() / v.sum().clamp_min(1) for k, v in parts.items()}


def optimizer(model, c):
    """AdamW; weights of linear layers decay, all else does not."""
    kernels = [m.weight for m in model.modules() if isinstance(m, torch.nn.Linear)]
    ids = {id(p) for p in kernels}
    rest = [p for p in model.parameters() if id(p) not in ids]
    return torch.optim.AdamW([{"params": kernels, "weight_decay": c["weight_decay"]},
                              {"params": rest, "weight_decay": 0.0}], lr=c["lr"], betas=tuple(c["betas"]))


def code_frequencies(pairs, codes):
    """Smoothed shares [codes] of the codes in a pool's clips."""
    seen = torch.bincount(torch.from_numpy(np.concatenate(pairs.z)).long(), minlength=codes)
    return (seen.float() + 1) / (seen.sum() + codes)


def examples(cfg, clips, count=6):
    """[(cond.Condition, task, label, original [T,H,W,3] uint8)] of validation windows, the conditions in turn."""
    windows = list(clips.windows(cfg.frames, cfg.height))
    windows = windows[::max(1, len(windows) // count)][:count]
    known = np.arange(cfg.frames) % 5 == 0
    out = []
    for n, (i, w) in enumerate(windows):
        v, task = w.astype(np.float32) / 255, ("FI", "FP", "IPC", "OPV", "OPD", "CG")[n % 6]
        made = cond.interpolate(v, known, cfg.grid) if task == "FI" else cond.condition(task, v, cfg.grid)
        out.append((made, task, label_of(cfg, clips.classes[i]), w))
    return out


@torch.no_grad()
def preview(path, cfg, tokenizer, transformer, shown, device, amp, latent):
    """Rows of original, condition, result."""
    rows = []
    for made, task, label, original in shown:
        zc = torch.from_numpy(tokens_of(tokenizer, made.clip[None], device, amp)).long().to(device)
        mask = torch.from_numpy(made.mask.reshape(1, -1)).bool().to(device)
        prompt = torch.tensor([cfg.prompt(task, label)], device=device)
        ids = generate.generate_tokens(transformer, cfg, zc, mask, prompt, device, amp=amp, latent=latent)
        y = generate.to_pixels(tokenizer, cfg.grid, ids[0], made, device)
        rows += [original] + [np.round(a * 255).astype(np.uint8) for a in (made.clip, y)]
    contact_sheet(path, rows, 2)


def make_pool(path, cfg, c, tokenizer, clips, val_clips, minutes, seed, device):
    """The pool file's (training pairs, validation pairs); made if it is not there."""
    if not os.path.exists(path):
        val = validation_pairs(cfg, tokenizer, val_clips, c["val_pairs"], device)
        train = training_pairs(cfg, tokenizer, clips, c["pairs"], minutes, np.random.default_rng(seed), device, c["amp"],
                               c["per_clip"], c["kinds"], path + ".part")
        torch.save((train, val), path + ".tmp")
        os.replace(path + ".tmp", path)
        if os.path.exists(path + ".part"):
            os.remove(path + ".part")
    train, val = torch.load(path, weights_only=False)
    if max(map(max, train.prompt)) >= cfg.mask_id or len(train.z[0]) != cfg.tokens:
        sys.exit(f"{path} was made with another configuration")
    return train, val


def main(argv=None):
    ap = argparse.ArgumentParser()
    arguments(ap)
    ap.add_argument("--tokenizer", required=True, help="checkpoint of train_tokenizer.py, or a model file")
    data_arguments(ap)
    ap.add_argument("--pool", help="file of encoded pairs [OUT/pairs.pt]")
    ap.add_argument("--pair-minutes", type=float, default=8, help="at most this long for a new pool")
    ap.add_argument("--init", help="start from this checkpoint or model file; its classes may be others")
    args = ap.parse_args(argv)
    r = Run("transformer", args)
    c, cfg, dev = r.table("train_transformer", DEFAULTS), Config.from_dict(r.config), r.device
    if c["masking"] not in ("commit", "latent") or not c["losses"] or set(c["losses"]) - set(LOSSES):
        sys.exit("[train_transformer]: masking is commit or latent, losses are some of " + ", ".join(LOSSES))

    tokenizer = Tokenizer(cfg.tokenizer).to(dev).eval()
    tokenizer.load_state_dict(checkpoint.load(args.tokenizer, "tokenizer")[0])
    val_clips = Clips(args.val, os.path.join(args.cache, "val"), cfg.height, cfg.frames)
    clips = Clips(args.data, os.path.join(args.cache, "train"), cfg.height, cfg.frames)
    check_classes(cfg, clips)
    train, val = make_pool(args.pool or os.path.join(args.out, "pairs.pt"), cfg, c, tokenizer, clips, val_clips,
                           args.pair_minutes, args.seed, dev)
    prior = code_frequencies(train, cfg.tokenizer.codebook_size)
    print(f"{len(train.z)} clips, {len(train)} pairs, {len(val)} validation pairs; "
          f"entropy of single tokens {-(prior * prior.log()).sum():.3f} nats", flush=True)

    torch.manual_seed(args.seed)
    model = Transformer(cfg, c["dropout"]).to(dev)
    if c["start"] == "local":
        model.init_local(tokenizer.quantizer.codebook.weight.detach(), cfg.grid, prior.to(dev))
    if args.init:
        state, old = checkpoint.load(args.init, "transformer")
        model.warm_start(state, cfg, old.class_names)
    ema, opt, order = Ema(model, c["ema_decay"]), optimizer(model, c), Order(len(train), r.rng)
    r.keep(model=model, ema=ema, opt=opt, order=order)
    share = c["refresh"] if c["refresh"] >= 0 else 0.25 * (dev != "cpu")
    if share:
        refresher = Refresher(train, share,
                              lambda rng, n: clip_pairs(cfg, tokenizer, clips, rng, n, dev, c["amp"], c["kinds"]))
        r.keep(pool=refresher)
    shown = examples(cfg, val_clips)

    def check():
        v = validate(ema.model, val, cfg.mask_id, dev, c["amp"], masking=c["masking"])
        print("       validation " + " ".join(f"{k} {n:.3f}" for k, n in v.items()), flush=True)
        return v["mean"]

    def show():
        preview(os.path.join(args.out, f"transformer-{r.step}.png"), cfg, tokenizer, ema.model, shown, dev, c["amp"],
                c["masking"] == "latent")

    if not r.resume():
        check()
    for _ in r.steps():
        if r.due(c["validations"]):
            r.log(val=check())
        if r.due(c["previews"]):
            show()
        r.set_rate(opt, c["lr"], c["warmup"])
        model.train()
        loss, parts = objective(model, train.batch(order.draw(c["batch"]), dev), cfg.mask_id, c, c["amp"])
        norm = r.descend(opt, loss, c["clip"])
        ema.update(model, r.step)
        r.log(loss=loss, **parts, grad=norm)
        if share:
            refresher.used(c["batch"], r.rng)
    check()
    show()


if __name__ == "__main__":
    main()
