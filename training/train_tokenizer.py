#!/usr/bin/env python3
"""Train the 3D-VQ tokenizer, or with dims = 2 its layout for single frames.

    train_tokenizer.py --config configs/small.toml --data DIR --val DIR --cache DIR --out DIR --minutes 60

Learning rate, crop size and the start of each loss follow the progress of the run.  See magvit/run.py for time,
checkpoints and log, README.md for the keys of the configuration, whose defaults are the paper's.

A short run does not have the time to find out by itself what a code should say: its latents stay on a line
and its codebook is wasted.  So the first part of such a run (guided_until) is guided: the encoder learns to
output the principal components of each supervoxel, the codebook is their k-means, and the decoder learns
to invert those codes; linear_start gives both a working initialisation.  After that both are trained end
to end as in the paper.
"""
import argparse
import math
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F

from magvit import checkpoint, linear_start, perceptual
from magvit.config import Config
from magvit.data import Clips, Loader, contact_sheet
from magvit.discriminator import Discriminator
from magvit.inflate import inflate
from magvit.losses import Lecam, discriminator_loss, entropy_loss, generator_loss, r1
from magvit.run import Ema, Run, arguments
from magvit.tokenizer import Tokenizer

DEFAULTS = {
    "lr": 1e-4, "betas": [0.0, 0.99], "weight_decay": 0.0, "warmup": 0.002, "clip": math.inf, "ema_decay": 0.999,
    "phases": [[1.0, 128, 8]], "accumulate": 1, "max_stride": 1, "augment": False, "procedural": 0.0,
    "l1": 0.0, "l2": 1.0,
    "perceptual": "none", "perceptual_weight": 0.1, "perceptual_frames": 0,
    "gan": 0.0, "gan_start": 0.0, "gan_channels": 64, "gan_size": 128, "gan_lr": 1e-4,
    "r1": 10.0, "r1_every": 1, "lecam": 0.0,
    "commitment": 0.25, "codebook": "loss", "codebook_weight": 1.0, "codebook_decay": 0.98, "restart_every": 25,
    "entropy": 0.1, "entropy_temperature": 0.01,
    "guided_until": 0.0, "guide_weight": 0.1, "guide_patches": 60000, "linear_start": False,
    "freeze_encoder": False, "amp": False, "checkpoint": False, "channels_last": False, "compile": False,
    "validations": 6,
}


def to_pixels(batch, device):
    """[N,T,H,W,3] uint8 -> [N,3,T,H,W] in [0,1]"""
    return torch.tensor(batch).to(device).permute(0, 4, 1, 2, 3).float().div_(255).contiguous()


def to_uint8(x):
    """[N,3,T,H,W] -> [N,T,H,W,3] uint8 numpy"""
    return x.float().clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 4, 1).cpu().numpy()


def psnr(mse):
    return -10 * math.log10(mse + 1e-10)


def perplexity(counts):
    p = counts / counts.sum().clamp_min(1)
    return torch.exp(-(p * (p + 1e-12).log()).sum())


class CodebookEma:
    """Codebook rows as moving averages of the encoder outputs assigned to them.

    Rows that lose their outputs are moved onto recent outputs: without that a short run collapses
    to a handful of codes.  `used` counts recent uses, whoever trains the codebook.
    """

    def __init__(self, weight, decay):
        self.weight, self.decay = weight, decay
        self.count = torch.ones(weight.shape[0], device=weight.device)
        self.used = torch.zeros_like(self.count)
        self.total = weight.detach().clone()
        self.pool = torch.empty(0, weight.shape[1], device=weight.device)

    def note(self, ids):
        self.used.mul_(0.98).add_(torch.bincount(ids, minlength=len(self.used)).float())

    def init_from(self, v, iterations=10):
        """k-means on encoder outputs v [M,D]."""
        n = self.weight.shape[0]
        c = v[torch.randperm(len(v), device=v.device)[:n]].clone()
        if len(c) < n:
            more = torch.randn(n - len(c), v.shape[1], device=v.device)
            c = torch.cat([c, c[torch.randint(len(c), (len(more),), device=v.device)] + 1e-3 * v.std() * more])
        for _ in range(iterations):
            ids = torch.cdist(v, c).argmin(1)
            k = torch.bincount(ids, minlength=n).float()
            s = torch.zeros_like(c).index_add_(0, ids, v)
            c = torch.where((k > 0)[:, None], s / k.clamp_min(1)[:, None], v[torch.randint(len(v), (n,), device=v.device)])
        self.weight.data.copy_(c)
        self.count.fill_(1.0)
        self.total.copy_(c)

    def update(self, v, ids):
        if not torch.isfinite(v).all():
            return
        n = self.weight.shape[0]
        k = torch.bincount(ids, minlength=n).float()
        s = torch.zeros_like(self.total).index_add_(0, ids, v)
        self.count.mul_(self.decay).add_(k, alpha=1 - self.decay)
        self.total.mul_(self.decay).add_(s, alpha=1 - self.decay)
        self.weight.data.copy_(self.total / self.count.clamp_min(1e-4)[:, None])
        self.pool = torch.cat([v[torch.randperm(len(v), device=v.device)[:256]], self.pool])[:8192]

    def restart(self, below=0.03):
        """Move rows used less than `below` of the mean onto recent outputs; returns their number."""
        dead = (self.count < below * self.count.mean()).nonzero()[:, 0]
        if len(dead) and len(self.pool):
            v = self.pool[torch.randint(len(self.pool), (len(dead),), device=self.pool.device)]
            # Half the mean use: enough to survive until it has had its chance.
            self.count[dead] = 0.5 * self.count.mean()
            self.total[dead] = v * self.count[dead][:, None]
            self.weight.data[dead] = v
        return len(dead)

    def state_dict(self):
        return {"count": self.count, "total": self.total, "pool": self.pool, "used": self.used}

    def load_state_dict(self, d):
        for k in ("count", "total", "pool", "used"):
            setattr(self, k, d[k].to(self.weight.device))


class Guide:
    """Principal components of the supervoxels: a linear latent in which distance is pixel error."""

    def __init__(self, factors, dim, device):
        self.factors, self.dim = factors, dim
        self.mean = self.basis = torch.empty(0, device=device)

    def patches(self, x):
        """[N,3,T,H,W] -> [N*t*h*w, 3*ft*fh*fw]"""
        n, c, t, h, w = x.shape
        a, b, d = self.factors
        x = x.reshape(n, c, t // a, a, h // b, b, w // d, d)
        return x.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(-1, c * a * b * d)

    def fit(self, p):
        """p [M,K] patches; scaled so that the components have unit mean square."""
        self.mean = p.mean(0)
        d = (p - self.mean).double()  # eigenvectors in float32 depend on where in memory they are computed
        v = torch.linalg.eigh(d.t() @ d)[1].flip(1)[:, :self.dim]
        self.basis = (v / (d @ v).pow(2).mean().sqrt()).float()

    def project(self, p):
        """[M,K] -> [M,dim]"""
        return (p - self.mean) @ self.basis

    def __call__(self, x):
        """[N,3,T,H,W] -> [N*t*h*w, dim]"""
        return self.project(self.patches(x))

    def state_dict(self):
        return {"mean": self.mean, "basis": self.basis}

    def load_state_dict(self, d):
        self.mean, self.basis = (d[k].to(self.mean.device) for k in ("mean", "basis"))


@torch.no_grad()
def evaluate(model, windows, device, amp=False):
    """Mean PSNR over windows and code perplexity; also the reconstructions [N,T,H,W,3] uint8."""
    each, ids_all, out = [], [], []
    for w in windows:
        x = to_pixels(w[None], device)
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=amp):
            ids = model.encode(x)
            y = model.decode(ids)
        y = y.float().clamp(0, 1)
        each.append(psnr(F.mse_loss(y, x).item()))
        ids_all.append(ids.flatten())
        out.append(to_uint8(y)[0])
    counts = torch.bincount(torch.cat(ids_all), minlength=model.cfg.codebook_size).float()
    return float(np.mean(each)), perplexity(counts).item(), out


class Trainer:
    def __init__(self, run, args):
        self.run, self.dev = run, args.device
        c = self.c = run.table("train_tokenizer", DEFAULTS)
        cfg = Config.from_dict(run.config)
        self.frames, self.height = cfg.frames if cfg.tokenizer.dims == 3 else 1, cfg.height
        if c["freeze_encoder"] and not args.init:
            sys.exit("freeze_encoder needs --init")
        if c["gan"] and min(size for until, size, _ in c["phases"] if until > c["gan_start"]) < c["gan_size"]:
            sys.exit("gan_size: larger than the crops from gan_start on")
        model = self.model = Tokenizer(cfg.tokenizer).to(self.dev)
        with torch.no_grad():  # start near mid grey, not at large random colours
            model.decoder.conv_out.weight.mul_(0.1)
            model.decoder.conv_out.bias.fill_(0.45)
        model.encoder.checkpoint = model.decoder.checkpoint = c["checkpoint"]
        self.book = model.quantizer.codebook.weight
        self.book.requires_grad_(c["codebook"] == "loss")
        if c["freeze_encoder"]:
            model.encoder.requires_grad_(False)
            self.book.requires_grad_(False)
        if c["linear_start"]:
            groups = linear_start.condition(model, c["lr"])
        else:
            groups = [{"params": [p for p in model.parameters() if p.requires_grad]}]
        adam = {"betas": tuple(c["betas"]), "weight_decay": c["weight_decay"]}
        self.opt = torch.optim.AdamW(groups, lr=c["lr"], **adam)
        self.ema = Ema(model, c["ema_decay"])
        self.codes = CodebookEma(self.book, c["codebook_decay"])
        self.guide = Guide(cfg.tokenizer.factors(), cfg.tokenizer.embedding_dim, self.dev)
        run.keep(model=model, ema=self.ema, opt=self.opt, codes=self.codes, guide=self.guide)
        self.disc = None
        if c["gan"]:
            self.disc = Discriminator(c["gan_channels"], c["gan_size"], cfg.tokenizer.dims).to(self.dev)
            self.disc_opt = torch.optim.AdamW(self.disc.parameters(), lr=c["gan_lr"], **adam)
            self.lecam = Lecam(c["ema_decay"], self.dev)
            run.keep(disc=self.disc, disc_opt=self.disc_opt, lecam=self.lecam)
        self.distance = None
        if c["perceptual"] != "none":
            if not args.perceptual_weights:
                sys.exit(f"perceptual = {c['perceptual']} needs --perceptual-weights")
            self.distance = perceptual.KINDS[c["perceptual"]](args.perceptual_weights).to(self.dev)
        self.layout = torch.contiguous_format
        if c["channels_last"]:
            self.layout = torch.channels_last_3d
            for m in (model, self.ema.model) + ((self.disc,) if self.disc else ()):
                m.to(memory_format=self.layout)
        # Only what is called is compiled: the modules, whose names are the checkpoint's, stay as they are.
        self.encode, self.decode, self.judge = (
            torch.compile(m) if c["compile"] and m else m for m in (model.encoder, model.decoder, self.disc))

    def start(self, args):
        """Weights to go on from, before the first step of a run."""
        if args.init:
            self.model.load_state_dict(checkpoint.load(args.init, "tokenizer")[0])
        elif args.init_2d:
            flat = torch.load(args.init_2d, map_location="cpu", weights_only=False)
            self.model.load_state_dict(inflate(flat["model"], self.model.state_dict(), args.inflate))
            self.ema.load_state_dict(inflate(flat["ema"], self.ema.state_dict(), args.inflate))
            if self.disc and "disc" in flat:
                self.disc.load_state_dict(inflate(flat["disc"], self.disc.state_dict(), args.inflate))
        elif self.c["guided_until"] > 0:
            self.start_guided()
        if not args.init_2d:
            self.ema.load_state_dict(self.model.state_dict())
        self.codes.total.copy_(self.book.detach())

    @torch.no_grad()
    def start_guided(self):
        c, rng, guide, model = self.c, self.run.rng, self.guide, self.model
        size = min(64, self.height)
        n = -(-c["guide_patches"] // guide.patches(torch.zeros(1, 3, self.frames, size, size)).shape[0])
        p = torch.cat([guide.patches(self.train.batch(rng, 1, self.frames, size))[::2] for _ in range(2 * n)])
        guide.fit(p)
        a = guide.project(p)
        self.codes.init_from(a, 20)
        k = torch.linalg.pinv(guide.basis)
        e = p - guide.mean - self.book[model.quantizer.distances(a).argmin(1)] @ k
        print(f"guide: {len(p)} patches, psnr of the components {psnr((p - guide.mean - a @ k).pow(2).mean().item()):.2f}, "
              f"of their codes {psnr(e.pow(2).mean().item()):.2f}", flush=True)
        if not c["linear_start"]:
            return
        clips = [self.train.batch(rng, 4, self.frames, size) for _ in range(12)]
        with self.run.autocast(c["amp"]):
            share = linear_start.init_encoder(model.encoder, clips, guide)
        near = [self.book[model.quantizer.distances(guide(x)).argmin(1)] for x in clips]
        g = [size // f for f in guide.factors[1:]]
        near = [q.view(4, -1, *g, q.shape[1]).permute(0, 4, 1, 2, 3) for q in near]
        with self.run.autocast(c["amp"]):
            mse = linear_start.init_decoder(model.decoder, near, clips)
        print(f"linear start: encoder misses {share:.3f} of the variance, decoder psnr {psnr(mse):.2f}", flush=True)

    def quantize(self, x):
        """Clips -> (input of the decoder, weighted loss, losses for the log, arguments of codes.update() or None)."""
        c = self.c
        guided = self.run.progress < c["guided_until"]
        with self.run.autocast(c["amp"]), torch.set_grad_enabled(not c["freeze_encoder"]):
            z = self.encode(x)
        z = z.float()
        v = z.permute(0, 2, 3, 4, 1).reshape(-1, z.shape[1])
        target = self.guide(x) if guided else v
        dist = self.model.quantizer.distances(target if c["entropy"] else target.detach())
        ids = dist.argmin(1)
        q = self.book[ids]
        self.codes.note(ids)
        loss, logged, moved = 0.0, {"perplexity": perplexity(self.codes.used)}, None
        if c["freeze_encoder"]:
            zq = q
        elif guided:
            logged["guide"] = F.mse_loss(v, target)
            loss, zq = c["guide_weight"] * logged["guide"], q.detach()
        else:
            logged["commitment"] = F.mse_loss(v, q.detach())
            loss = c["commitment"] * logged["commitment"]
            if c["codebook"] == "loss":
                loss = loss + c["codebook_weight"] * F.mse_loss(q, v.detach())
            else:
                moved = v.detach(), ids
            if c["entropy"]:
                logged["entropy"] = entropy_loss(dist, c["entropy_temperature"])
                loss = loss + c["entropy"] * logged["entropy"]
            zq = v + (q - v).detach()
        zq = zq.view(z.shape[0], *z.shape[2:], z.shape[1]).permute(0, 4, 1, 2, 3)
        return zq.contiguous(memory_format=self.layout), loss, logged, moved

    def reconstruction(self, x, y):
        """Weighted loss and losses for the log."""
        c, d = self.c, y - x
        l1, l2 = d.abs().mean(), d.pow(2).mean()
        loss, logged = c["l1"] * l1 + c["l2"] * l2, {"psnr": -10 * torch.log10(l2.detach() + 1e-10), "l1": l1, "l2": l2}
        if self.distance:
            frames, count = None, c["perceptual_frames"]
            if 0 < count < x.shape[2]:
                frames = torch.from_numpy(self.run.rng.choice(x.shape[2], count, replace=False)).to(x.device)
            with self.run.autocast(c["amp"]):
                logged["perceptual"] = perceptual.of_clips(self.distance, x, y, frames)
            loss = loss + c["perceptual_weight"] * logged["perceptual"]
        return loss, logged

    def window(self, *clips):
        """The same random place of all, as large as the discriminator's input."""
        size = self.c["gan_size"]
        top, left = (int(self.run.rng.integers(0, n - size + 1)) for n in clips[0].shape[3:])
        return [x[..., top:top + size, left:left + size].contiguous(memory_format=self.layout) for x in clips]

    def part(self, x, share):
        """Gradients of both networks from one batch, weighted by `share`; returns the losses for the log."""
        c, run = self.c, self.run
        zq, loss, logged, moved = self.quantize(x)
        with run.autocast(c["amp"]):
            y = self.decode(zq)
        y = y.float()
        more, out = self.reconstruction(x, y)
        loss, logged = loss + more, {**out, **logged}
        gan = self.disc is not None and run.progress >= c["gan_start"]
        if gan:
            real, fake = self.window(x, y)
            self.disc.requires_grad_(False)
            with run.autocast(c["amp"]):
                logged["gan"] = generator_loss(self.judge(fake).float())
            self.disc.requires_grad_(True)
            loss = loss + c["gan"] * logged["gan"]
        (share * loss).backward()
        if moved:  # not before: the gradient needs the codebook as it was
            self.codes.update(*moved)
        if gan:
            with run.autocast(c["amp"]):
                a, b = self.judge(real).float(), self.judge(fake.detach()).float()
            logged["disc"] = loss = discriminator_loss(a, b)
            if c["lecam"]:
                logged["lecam"] = self.lecam(a, b)
                loss = loss + c["lecam"] * logged["lecam"]
            if c["r1"] and run.step % c["r1_every"] == 0:
                logged["r1"] = r1(self.disc, real)
                loss = loss + c["r1"] * c["r1_every"] * logged["r1"]
            (share * loss).backward()
        return logged

    def step(self):
        c, run = self.c, self.run
        size, batch = next((s, b) for until, s, b in c["phases"] if run.progress < until)
        run.set_rate(self.opt, c["lr"], c["warmup"])
        opts = [self.opt]
        if self.disc and run.progress >= c["gan_start"]:
            run.set_rate(self.disc_opt, c["gan_lr"], c["warmup"])
            opts.append(self.disc_opt)
        for o in opts:
            o.zero_grad(set_to_none=True)
        for _ in range(c["accumulate"]):
            x = self.train.batch(run.rng, batch, self.frames, size).contiguous(memory_format=self.layout)
            logged = self.part(x, 1 / c["accumulate"])
        norms = [run.apply(o, c["clip"]) for o in opts]
        if c["codebook"] == "ema" and run.step % c["restart_every"] == 0 and \
                not c["freeze_encoder"] and c["guided_until"] <= run.progress < 0.9:
            self.codes.restart()
        self.ema.update(self.model, run.step)
        if c["codebook"] == "ema":
            self.ema.model.quantizer.codebook.weight.data.copy_(self.book)
        run.log(**logged, **dict(zip(("grad", "disc_grad"), norms)))

    def validate(self, windows, preview):
        """Averaged weights on the validation windows, as numbers for the log."""
        value, used, out = evaluate(self.ema.model, windows, self.dev, self.c["amp"])
        logged = {"val_psnr": value, "val_perplexity": used}
        if self.distance:
            with torch.no_grad():
                logged["val_perceptual"] = float(np.mean([
                    perceptual.of_clips(self.distance, *(to_pixels(a[None], self.dev) for a in pair)).item()
                    for pair in zip(windows, out)]))
        contact_sheet(preview, [a for pair in list(zip(windows, out))[:6] for a in pair], 4)
        return logged


def main(argv=None):
    ap = argparse.ArgumentParser()
    arguments(ap)
    ap.add_argument("--data", required=True, help="folder of training clips")
    ap.add_argument("--val", help="folder of validation clips")
    ap.add_argument("--cache", required=True, help="folder for decoded clips")
    start = ap.add_mutually_exclusive_group()
    start.add_argument("--init", help="start end to end from the averaged weights of this checkpoint or model file")
    start.add_argument("--init-2d", help="start from this checkpoint of a run with dims = 2")
    ap.add_argument("--inflate", choices=["central", "average"], default="central", help="how, for --init-2d")
    ap.add_argument("--perceptual-weights", help="folder (lpips) or file (resnet50)")
    args = ap.parse_args(argv)
    run = Run("tokenizer", args)
    trainer = Trainer(run, args)
    c = trainer.c
    if args.init or args.init_2d:
        c["guided_until"] = 0.0
    clips = Clips(args.data, os.path.join(args.cache, "train"), trainer.height, trainer.frames)
    trainer.train = Loader(clips, args.device, c["max_stride"], c["augment"], c["procedural"])
    windows = []
    if args.val:
        clips = Clips(args.val, os.path.join(args.cache, "val"), trainer.height, trainer.frames)
        every = [w for _, w in clips.windows(trainer.frames, trainer.height, trainer.run.config["frames"])]
        windows = every[::max(1, len(every) // 14)]
    preview = os.path.join(args.out, "preview.png")
    if not run.resume():
        trainer.start(args)
    for _ in run.steps():
        trainer.step()
        if windows and run.due(c["validations"]):
            run.log(**trainer.validate(windows, preview))
    if windows:
        print("final validation " + " ".join(f"{k} {v:.4g}" for k, v in trainer.validate(windows, preview).items()))


if __name__ == "__main__":
    main()
