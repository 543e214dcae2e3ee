#!/usr/bin/env python3
"""The paper's ablations in small: a Markdown table of conditioning and decoding compared.

    ablate.py --config configs/small.toml --tokenizer RUN/tokenizer.pt --pool RUN/pairs.pt --val DIR --cache DIR
              --out DIR [--lpips DIR] [--model FILE] [--parts fp,mix,steps,ar] [--minutes 60 | --steps 400]

fp, mix   conditioning: MaskGIT's latent masking, and COMMIT with its loss parts added one after the other; small
          transformers of the same start, pairs, random numbers and number of steps, on frame prediction, and on
          frame prediction, interpolation, inpainting and outpainting together
steps     decoding: the transformer of --model in --passes passes
ar        decoding: an autoregressive model of the small size, trained for as many steps, against COMMIT in 12 passes

A validation window is measured against the original where pixels are not given: PSNR over those pixels, LPIPS
over the frames that have some.  What is done is kept in --out (ablate.json, weights): a part that is asked for again
is read from there if its settings are the same, and parts can be run one after the other.  --minutes chooses the
number of steps by a short measurement; the first run in --out decides.
"""
import argparse
import json
import os
import sys
import time
import tomllib
from dataclasses import replace

import numpy as np
import torch

import train_transformer
from magvit import checkpoint, cond, generate
from magvit.ar import ArTransformer
from magvit.config import Config
from magvit.data import Clips
from magvit.lpips import Lpips
from magvit.metrics import psnr
from magvit.model import Model
from magvit.pairs import LOSSES, Pairs, cross_entropy, validate
from magvit.run import Ema, schedule
from magvit.tokenizer import Tokenizer
from magvit.transformer import Transformer

VARIANTS = {  # name: settings, and the paper's FVD (frame prediction, eight tasks)
    "latent masking (MaskGIT)": ({"masking": "latent", "losses": ["mask"]}, "74", "151"),
    "COMMIT, L_mask": ({"masking": "commit", "losses": ["mask"]}, "388", "143"),
    "COMMIT, L_mask + L_recons": ({"masking": "commit", "losses": ["mask", "recons"]}, "51", "53"),
    "COMMIT, all three": ({"masking": "commit", "losses": list(LOSSES)}, "48", "33"),
}
REFERENCES = {"padding": "the padded condition itself", "tokenizer": "the original's own tokens, decoded"}
ALL, AR = "COMMIT, all three", "autoregressive"
TASKS = {"fp": ("FP",), "mix": ("FP", "FI", "IPC", "OPV")}
# Kinds of a pool that are trained on, by the task they count as; with --wide also the free ones.
STRICT = {"FP": "FP", "CFP": "FP", "FI": "FI", "IPC": "IPC", "OPV": "OPV"}
WIDE = {**STRICT, "predict": "FP", "interpolate": "FI", "hole": "IPC", "border": "OPV"}


class Windows:
    """Validation windows of one tokenizer, their conditions, and the measures of what is generated for them."""

    def __init__(self, cfg, tokenizer, videos, lpips, device):
        self.cfg, self.tokenizer, self.lpips, self.device = cfg, tokenizer, lpips, device
        self.videos = [v.astype(np.float32) / 255 for v in videos]
        self.pairs = Pairs()
        rng = np.random.default_rng(0)  # the ten tasks draw nothing
        for v in videos:
            self.pairs.add(cfg, tokenizer, v, None, TASKS["mix"], rng, device, False)

    def index(self, tasks):
        return [i for i, k in enumerate(self.pairs.kind) if k in tasks]

    def measure(self, i, clip):
        """(PSNR, LPIPS or NaN) of a clip made for pair i; None stands for the condition's own padding."""
        video = self.videos[self.pairs.source[i]]
        made = cond.condition(self.pairs.kind[i], video, self.cfg.grid)
        clip = made.clip if clip is None else clip
        frames = ~made.known.all((1, 2))
        if self.lpips is None:
            return psnr(clip, video, ~made.known), float("nan")
        a, b = (torch.from_numpy(x[frames]).permute(0, 3, 1, 2).to(self.device) for x in (clip, video))
        with torch.no_grad():
            return psnr(clip, video, ~made.known), self.lpips(a, b).mean().item()

    def pixels(self, i, ids):
        made = cond.condition(self.pairs.kind[i], self.videos[self.pairs.source[i]], self.cfg.grid)
        with torch.no_grad():
            return generate.to_pixels(self.tokenizer, self.cfg.grid, ids, made, self.device)

    def score(self, tasks, draw):
        """draw(batch as of Pairs.batch, seed) -> ids; {task: [PSNR, LPIPS]} and their means under "mean"."""
        seen = {t: [] for t in tasks}
        index = self.index(tasks)
        for start in range(0, len(index), 4):
            part = index[start:start + 4]
            for i, ids in zip(part, draw(self.pairs.batch(part, self.device), start)):
                seen[self.pairs.kind[i]].append(self.measure(i, self.pixels(i, ids)))
        return self.mean(seen)

    def reference(self, tasks, padding):
        """The same of the padded conditions, or of the originals' own tokens."""
        seen = {t: [] for t in tasks}
        for i in self.index(tasks):
            own = torch.from_numpy(self.pairs.z[self.pairs.source[i]]).long()
            seen[self.pairs.kind[i]].append(self.measure(i, None if padding else self.pixels(i, own)))
        return self.mean(seen)

    def mean(self, seen):
        out = {t: np.mean(v, 0).tolist() for t, v in seen.items()}
        return {**out, "mean": np.mean(list(out.values()), 0).tolist()}

    def seconds(self, draw, tasks=("FP",), count=2):
        """Median time of one window's tokens, one window at a time."""
        times = []
        for i in self.index(tasks)[:count]:
            start = time.time()
            draw(self.pairs.batch([i], self.device), 0)
            times.append(time.time() - start)
        return float(np.median(times))


class Small:
    """The small models: how they are made, trained and decoded.  c: settings that all of them share."""

    def __init__(self, cfg, tokenizer, pool, c, device):
        self.cfg, self.c, self.device, self.book = cfg, c, device, tokenizer.quantizer.codebook.weight.detach()
        kinds = WIDE if c["wide"] else STRICT
        self.pairs = {p: pool.of_kinds({k: t for k, t in kinds.items() if t in tasks}) for p, tasks in TASKS.items()}
        for p in self.pairs.values():
            p.prompt = [cfg.prompt(k) for k in p.kind]  # also where the pool has classes
        self.prior = train_transformer.code_frequencies(pool, cfg.tokenizer.codebook_size).to(device)

    def fresh(self, name):
        torch.manual_seed(self.c["seed"])
        if name == AR:
            model = ArTransformer(self.cfg, self.c["dropout"]).to(self.device)
            model.init_codes(self.book, self.prior)
        else:
            model = Transformer(self.cfg, self.c["dropout"]).to(self.device)
            model.init_local(self.book, self.cfg.grid, self.prior)
        return model

    def loss(self, name, model, batch):
        c = {**self.c, **(VARIANTS[name][0] if name in VARIANTS else {})}
        if name != AR:
            return train_transformer.objective(model, batch, self.cfg.mask_id, c, c["amp"])[0]
        with torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16, enabled=c["amp"]):
            logits = model(*batch)
        return cross_entropy(logits, batch[0], c["label_smoothing"]).mean()

    def train(self, name, part, steps, stop=None):
        """The averaged model after `steps`; stop: how many of them are made."""
        c, pairs, model = self.c, self.pairs[part], self.fresh(name)
        opt, ema = train_transformer.optimizer(model, c), Ema(model, c["ema_decay"])
        order = train_transformer.Order(len(pairs), np.random.default_rng(c["seed"]))
        start = shown = time.time()
        sums = []
        for step in range(steps if stop is None else stop):
            for g in opt.param_groups:
                g["lr"] = c["lr"] * schedule((step + 1) / (steps + 1), c["warmup"])
            loss = self.loss(name, model.train(), pairs.batch(order.draw(c["batch"]), self.device))
            opt.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), c["clip"])
            opt.step()
            ema.update(model, step + 1)
            sums.append(loss.item())
            now = time.time()
            if stop is None and (now - shown > 15 or step == steps - 1):
                print(f"  {part} {name}: step {step + 1} of {steps} loss {np.mean(sums):.3f} "
                      f"{(now - start) / (step + 1) * (steps - step - 1) / 60:.1f} min left", flush=True)
                shown, sums = now, []
        return ema.model

    def draw(self, name, model, **options):
        latent = name in VARIANTS and VARIANTS[name][0]["masking"] == "latent"

        def run(batch, seed):
            z, zc, m, p = batch
            if name == AR:
                g = torch.Generator(self.device).manual_seed(seed)
                return model.generate(zc, m, p, self.cfg.sampler.temperature, g)
            return generate.generate_tokens(model, self.cfg, zc, m, p, self.device, seed, latent=latent, **options)
        return run


class Book:
    """Results by part and name, on disk; only those with the same settings count."""

    def __init__(self, path):
        self.path, self.all = path, {}
        if os.path.exists(path):
            with open(path) as f:
                self.all = json.load(f)

    def get(self, part, name, settings):
        r = self.all.get(f"{part}: {name}")
        return r["result"] if r and r["settings"] == settings else None

    def put(self, part, name, settings, result):
        self.all[f"{part}: {name}"] = {"settings": settings, "result": result}
        with open(self.path + ".tmp", "w") as f:
            json.dump(self.all, f, indent=1)
        os.replace(self.path + ".tmp", self.path)


def choose_steps(small, windows, jobs, minutes):
    """Steps for every job so that training and measuring take `minutes`, by a few steps of both kinds of model."""
    def seconds(name, part):
        small.train(name, part, 100, 1)
        start = time.time()
        small.train(name, part, 100, 3)
        return (time.time() - start) / 3

    each = {n: seconds(n, "mix" if n != AR else "fp") for n in {AR if j == AR else ALL for _, j in jobs}}
    spent = 0.0
    for n in each:
        draw = small.draw(n, small.fresh(n).eval())
        start = time.time()
        windows.score(("FP",), lambda b, s: draw(b, s))
        spent += (time.time() - start) * sum(len(TASKS[p]) for p, j in jobs if (j == AR) == (n == AR)) * 1.1
    total = sum(each[AR if j == AR else ALL] for _, j in jobs)
    steps = max(1, int((minutes * 60 - spent) / total))
    print(f"{', '.join(f'{k}: {v:.2f} s a step' for k, v in each.items())}; measuring {spent / 60:.1f} min; "
          f"{steps} steps for each of {len(jobs)} models", flush=True)
    return steps


def conditioning(small, windows, book, settings, parts, out):
    """Trains and measures what is missing; weights stay in --out."""
    for part, name in parts:
        if book.get(part, name, settings):
            continue
        model = small.train(name, part, settings["steps"])
        number = [*VARIANTS, AR].index(name) + 1
        torch.save(model.state_dict(), os.path.join(out, f"{part}-{number}.pt"))
        draw = small.draw(name, model)
        result = {"score": windows.score(TASKS[part], draw)}
        if name != AR:
            val = windows.pairs.of_kinds({t: t for t in TASKS[part]})
            result["nats"] = validate(model, val, small.cfg.mask_id, small.device, False, 4,
                                      VARIANTS[name][0]["masking"], "mask")["mean"]
        if part == "fp" and name in (ALL, AR):
            result["seconds"] = windows.seconds(draw)
        book.put(part, name, settings, result)
        print(f"{part} {name}: psnr {result['score']['mean'][0]:.2f} lpips {result['score']['mean'][1]:.3f}", flush=True)


def decoding(path, videos, lpips, book, settings, tasks, passes, device):
    """The model of a file in different numbers of passes."""
    model = windows = None
    for k in passes:
        if book.get("steps", str(k), settings):
            continue
        if model is None:
            model = Model.load(path).to(device)
            windows = Windows(model.cfg, model.tokenizer, videos, lpips, device)

        def draw(batch, seed):
            _, zc, m, p = batch
            return generate.generate_tokens(model.transformer, model.cfg, zc, m, p, device, seed, steps=k)
        result = {"score": windows.score(tasks, draw), "seconds": windows.seconds(draw, tasks)}
        book.put("steps", str(k), settings, result)
        print(f"{k} passes: {result['seconds']:.2f} s psnr {result['score']['mean'][0]:.2f} "
              f"lpips {result['score']['mean'][1]:.3f}", flush=True)


def number(x, digits):
    return "-" if x is None or x != x else f"{x:.{digits}f}"


def row(*cells):
    return "| " + " | ".join(cells) + " |\n"


def pair(score):
    return [number(score[0], 2), number(score[1], 3)]


def table(book, settings, shipped, passes, notes):
    """The Markdown text of everything that is in the book with these settings."""
    text = "# Ablations\n\n" + notes
    for part, tasks in TASKS.items():
        results = {n: book.get(part, n, settings) for n in (*REFERENCES, *VARIANTS)}
        if not any(results[n] for n in VARIANTS):
            continue
        many = len(tasks) > 1
        text += "\n## Conditioning, " + ("frame prediction" if not many else "mixed tasks " + ", ".join(tasks)) + "\n\n"
        each = tasks if many else ()
        heads = ["", "PSNR", "LPIPS", "nats", *(t + m for t in each for m in (" PSNR", " LPIPS")), "paper, FVD"]
        text += row(*heads) + row("---", *["---:"] * (len(heads) - 1))
        for n, r in results.items():
            if r:
                per = [c for t in each for c in pair(r["score"][t])]
                text += row(REFERENCES.get(n, n), *pair(r["score"]["mean"]), number(r.get("nats"), 3), *per,
                            VARIANTS[n][1 + many] if n in VARIANTS else "-")
    ar = [(n, book.get("fp", n, settings)) for n in (ALL, AR)]
    steps = [(str(k), book.get("steps", str(k), shipped)) for k in passes] if shipped else []
    if any(r for _, r in ar + steps):
        text += "\n## Decoding\n\n" + row("model", "passes", "seconds a window", "PSNR", "LPIPS")
        text += row("---", "---:", "---:", "---:", "---:")
        for n, r in steps:
            if r:
                name = os.path.basename(shipped["model"])
                text += row(name, n, number(r["seconds"], 2), *pair(r["score"]["mean"]))
        for n, r in ar:
            if r and "seconds" in r:
                passes = settings["passes"] if n == ALL else settings["tokens"]
                text += row("small, " + n, str(passes), number(r["seconds"], 2), *pair(r["score"]["mean"]))
    return text


def arguments(argv):
    ap = argparse.ArgumentParser()
    ap.add_argument("--config", required=True, help="of the tokenizer; the transformer's size comes from the options")
    ap.add_argument("--tokenizer", required=True, help="checkpoint or model file")
    ap.add_argument("--pool", help="pairs of train_transformer.py; without: made from --data in --out")
    ap.add_argument("--data", help="folder of training clips, for a new pool of the four tasks")
    ap.add_argument("--pairs", type=int, default=6000, help="of a new pool")
    ap.add_argument("--pair-minutes", type=float, default=10, help="for a new pool, beside --minutes")
    ap.add_argument("--val", required=True)
    ap.add_argument("--cache", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--lpips", help="folder of LPIPS weights, see magvit/lpips.py")
    ap.add_argument("--model", help="model file for the part steps")
    ap.add_argument("--parts", default="fp,mix,steps,ar")
    end = ap.add_mutually_exclusive_group()
    end.add_argument("--minutes", type=float, default=60)
    end.add_argument("--steps", type=int)
    ap.add_argument("--windows", type=int, default=12, help="validation windows")
    ap.add_argument("--passes", default="4,8,12,24,48", help="of the part steps")
    ap.add_argument("--decode-tasks", default="FP", help="tasks of the part steps")
    ap.add_argument("--layers", type=int, default=4)
    ap.add_argument("--hidden", type=int, default=192)
    ap.add_argument("--heads", type=int, default=4)
    ap.add_argument("--batch", type=int, default=8)
    ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--wide", action="store_true", help="also train on the pool's free conditions of the same tasks")
    ap.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args(argv)
    args.parts, args.passes = args.parts.split(","), [int(k) for k in args.passes.split(",")]
    if set(args.parts) - {"fp", "mix", "steps", "ar"}:
        ap.error("--parts are some of fp, mix, steps, ar")
    if not args.pool and not args.data:
        ap.error("needs --pool or --data")
    return args


def main(argv=None):
    args, begun = arguments(argv), time.time()
    with open(args.config, "rb") as f:
        toml = tomllib.load(f)
    cfg, dev = Config.from_dict(toml), args.device
    cfg = replace(cfg, transformer=replace(cfg.transformer, layers=args.layers, hidden=args.hidden, heads=args.heads,
                                           mlp=4 * args.hidden))
    os.makedirs(args.out, exist_ok=True)
    book = Book(os.path.join(args.out, "ablate.json"))
    tokenizer = Tokenizer(cfg.tokenizer).to(dev).eval()
    tokenizer.load_state_dict(checkpoint.load(args.tokenizer, "tokenizer")[0])
    lpips = Lpips(args.lpips).to(dev).eval() if args.lpips else None

    path = args.pool or os.path.join(args.out, "pairs.pt")
    if not os.path.exists(path):
        clips = Clips(args.data, os.path.join(args.cache, "train"), cfg.height, cfg.frames)
        pool = train_transformer.training_pairs(cfg, tokenizer, clips, args.pairs, args.pair_minutes,
                                                np.random.default_rng(args.seed), dev, toml["train_transformer"]["amp"], 4,
                                                {t: 1.0 for t in TASKS["mix"]})
        torch.save((pool, Pairs()), path)
        begun = time.time()
    pool = torch.load(path, weights_only=False)[0]
    every = list(Clips(args.val, os.path.join(args.cache, "val"), cfg.height, cfg.frames).windows(cfg.frames, cfg.height))
    videos = [w for _, w in every[::max(1, len(every) // args.windows)][:args.windows]]
    windows = Windows(cfg, tokenizer, videos, lpips, dev)

    c = {**train_transformer.DEFAULTS, **toml["train_transformer"], "batch": args.batch, "lr": args.lr, "seed": args.seed,
         "wide": args.wide, "dropout": 0.0, "ema_decay": 0.99, "warmup": 0.05}
    small = Small(cfg, tokenizer, pool, c, dev)
    common = {"windows": len(videos), "val": len(every), "lpips": bool(lpips)}
    shipped = args.model and {**common, "model": args.model, "tasks": args.decode_tasks}
    settings = {**common, "size": [args.layers, args.hidden, args.heads], "batch": args.batch, "lr": args.lr,
                "seed": args.seed, "wide": args.wide, "pairs": [len(small.pairs[p]) for p in TASKS],
                "passes": cfg.sampler.steps, "tokens": cfg.tokens, "temperature": cfg.sampler.temperature}
    if "steps" in args.parts:
        if not args.model:
            sys.exit("the part steps needs --model")
        decoding(args.model, videos, lpips, book, shipped, args.decode_tasks.split(","), args.passes, dev)

    jobs = [(p, n) for p in ("fp", "mix") if p in args.parts for n in VARIANTS]
    jobs += [("fp", n) for n in (ALL, AR) if "ar" in args.parts and ("fp", n) not in jobs]
    settings["steps"] = args.steps or next((r["settings"]["steps"] for k, r in book.all.items()
                                            if {**r["settings"], "steps": 0} == {**settings, "steps": 0}), None)
    if jobs and not settings["steps"]:
        settings["steps"] = choose_steps(small, windows, jobs, args.minutes - (time.time() - begun) / 60)
    for part in {p for p, _ in jobs}:
        for name in REFERENCES:
            if not book.get(part, name, settings):
                book.put(part, name, settings, {"score": windows.reference(TASKS[part], name == "padding")})
    conditioning(small, windows, book, settings, jobs, args.out)

    notes = (f"{len(videos)} validation windows; {cfg.sampler.steps} passes at temperature {cfg.sampler.temperature} where "
             "nothing else is said. PSNR (dB) over the\npixels that are not given, LPIPS over the frames that have such, "
             "both against the original; nats: cross-entropy at\n[MASK] places.\n")
    if settings["steps"]:
        fp, mix = settings["pairs"]
        notes += (f"Small transformers: layers, width and heads {settings['size']}, {settings['steps']} steps of "
                  f"{args.batch} pairs, drawn from\n{fp} pairs of frame prediction "
                  f"or {mix} of the four tasks; seed {args.seed}.\n")
    text = table(book, settings, shipped, args.passes, notes)
    with open(os.path.join(args.out, "ablate.md"), "w") as f:
        f.write(text)
    print(text)
    print(f"{(time.time() - begun) / 60:.1f} min; {os.path.join(args.out, 'ablate.md')}")


if __name__ == "__main__":
    main()
