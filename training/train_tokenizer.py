#!/usr/bin/env python3
"""Train the 3D-VQ tokenizer.

    train_tokenizer.py --config configs/bringup.toml --data DIR --val DIR --cache DIR --out DIR --minutes 60

Learning rate and crop size follow the wall clock, so a run ends when it was told to.
An existing checkpoint in --out is resumed.

A short run does not have the time to find out by itself what a code should say: its latents stay on a line
and its codebook is wasted.  So the first part of a run (guided_until) is guided: the encoder learns to
output the principal components of each supervoxel, the codebook is their k-means, and the decoder learns
to invert those codes; linear_start gives both a working initialisation.  After that both are trained end to
end as in the paper.
"""
import argparse
import copy
import math
import os
import time
import tomllib

import numpy as np
import torch
import torch.nn.functional as F

from magvit import linear_start
from magvit.config import TokenizerConfig
from magvit.data import Clips, contact_sheet
from magvit.tokenizer import Tokenizer


def to_pixels(batch, device):
    """[N,T,H,W,3] uint8 -> [N,3,T,H,W] in [0,1]"""
    return torch.tensor(batch).to(device).permute(0, 4, 1, 2, 3).float().div_(255).contiguous()


def to_uint8(x):
    """[N,3,T,H,W] -> [N,T,H,W,3] uint8 numpy"""
    return x.float().clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 4, 1).cpu().numpy()


class CodebookEma:
    """Codebook rows as moving averages of the encoder outputs assigned to them.

    Rows that lose their outputs are moved onto recent outputs: without that a short run collapses
    to a handful of codes.
    """

    def __init__(self, weight, decay):
        self.weight, self.decay = weight, decay
        self.count = torch.ones(weight.shape[0], device=weight.device)
        self.total = weight.detach().clone()
        self.pool = torch.empty(0, weight.shape[1], device=weight.device)

    def init_from(self, v, iterations=10):
        """k-means on encoder outputs v [M,D]."""
        n = self.weight.shape[0]
        c = v[torch.randperm(len(v), device=v.device)[:n]].clone()
        if len(c) < n:
            c = torch.cat([c, c[torch.randint(len(c), (n - len(c),))] + 1e-3 * v.std() * torch.randn(n - len(c), v.shape[1])])
        for _ in range(iterations):
            ids = torch.cdist(v, c).argmin(1)
            k = torch.bincount(ids, minlength=n).float()
            s = torch.zeros_like(c).index_add_(0, ids, v)
            c = torch.where((k > 0)[:, None], s / k.clamp_min(1)[:, None], v[torch.randint(len(v), (n,))])
        self.weight.data.copy_(c)
        self.count.fill_(1.0)
        self.total.copy_(c)

    def update(self, v, ids):
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
        return {"count": self.count, "total": self.total, "pool": self.pool}

    def load_state_dict(self, d):
        self.count, self.total, self.pool = d["count"], d["total"], d["pool"]


class Guide:
    """Principal components of the supervoxels: a linear latent in which distance is pixel error."""

    def __init__(self, factors, dim):
        self.factors, self.dim = factors, dim

    def patches(self, x):
        """[N,3,T,H,W] -> [N*t*h*w, 3*ft*fh*fw]"""
        n, c, t, h, w = x.shape
        a, b, d = self.factors
        x = x.reshape(n, c, t // a, a, h // b, b, w // d, d)
        return x.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(-1, c * a * b * d)

    def fit(self, p):
        """p [M,K] patches; scaled so that the components have unit mean square."""
        self.mean = p.mean(0)
        _, v = torch.linalg.eigh((p - self.mean).t() @ (p - self.mean))
        self.basis = v.flip(1)[:, :self.dim]
        self.basis = self.basis / ((p - self.mean) @ self.basis).pow(2).mean().sqrt()

    def __call__(self, x):
        """[N,3,T,H,W] -> [N*t*h*w, dim]"""
        return (self.patches(x) - self.mean) @ self.basis

    def state_dict(self):
        return {"mean": self.mean, "basis": self.basis}

    def load_state_dict(self, d):
        self.mean, self.basis = d["mean"], d["basis"]


def entropy_loss(distances, temperature):
    """Mean entropy of softmax(-d/t) minus the entropy of its mean: sharp choices, all codes used."""
    logp = F.log_softmax(-distances / temperature, 1)
    p = logp.exp()
    mean = p.mean(0)
    return -(p * logp).sum(1).mean() + (mean * (mean + 1e-5).log()).sum()


@torch.no_grad()
def evaluate(model, windows, device, amp=False):
    """Mean PSNR over windows and code perplexity; also the reconstructions [N,T,H,W,3] uint8."""
    psnr, ids_all, out = [], [], []
    for w in windows:
        x = to_pixels(w[None], device)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=amp):
            z = model.encoder(x)
            ids = model.quantizer.encode(z)
            y = model.decoder(model.quantizer.decode(ids))
        y = y.float().clamp(0, 1)
        psnr.append(-10 * math.log10(((y - x) ** 2).mean().item() + 1e-10))
        ids_all.append(ids.flatten())
        out.append(to_uint8(y)[0])
    p = torch.bincount(torch.cat(ids_all), minlength=model.cfg.codebook_size).float()
    p = p / p.sum()
    return float(np.mean(psnr)), math.exp(-(p * (p + 1e-12).log()).sum().item()), out


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--config", required=True)
    ap.add_argument("--data", required=True, help="folder of training clips")
    ap.add_argument("--val", help="folder of validation clips")
    ap.add_argument("--cache", required=True, help="folder for decoded clips")
    ap.add_argument("--out", required=True, help="folder for checkpoints and previews")
    ap.add_argument("--minutes", type=float, default=60)
    ap.add_argument("--init", help="start from the averaged weights of this checkpoint, end to end")
    ap.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    with open(args.config, "rb") as f:
        cfg = tomllib.load(f)
    c = cfg["train_tokenizer"]
    dev = args.device
    torch.manual_seed(args.seed)
    os.makedirs(args.out, exist_ok=True)

    model = Tokenizer(TokenizerConfig(**cfg["tokenizer"])).to(dev)
    with torch.no_grad():  # start near mid grey, not at large random colours
        model.decoder.conv_out.weight.mul_(0.1)
        model.decoder.conv_out.bias.fill_(0.45)
    ema = copy.deepcopy(model).eval().requires_grad_(False)
    book = model.quantizer.codebook.weight
    use_ema_book = c["codebook"] == "ema"
    book.requires_grad_(not use_ema_book)
    if c["linear_start"]:
        groups = linear_start.condition(model, c["lr"])
    else:
        groups = [{"params": [p for p in model.parameters() if p.requires_grad], "scale": 1.0}]
    opt = torch.optim.Adam(groups, lr=c["lr"], betas=tuple(c["betas"]))
    codes = CodebookEma(book, c["codebook_decay"])
    guide = Guide(model.cfg.factors(), model.cfg.embedding_dim)
    step, elapsed = 0, 0.0
    ckpt = os.path.join(args.out, "tokenizer.pt")
    if os.path.exists(ckpt):
        s = torch.load(ckpt, map_location=dev)
        model.load_state_dict(s["model"])
        ema.load_state_dict(s["ema"])
        opt.load_state_dict(s["opt"])
        codes.load_state_dict(s["codes"])
        guide.load_state_dict(s["guide"])
        step, elapsed = s["step"], s["elapsed"]
        print(f"resumed at step {step}, {elapsed / 60:.1f} min", flush=True)
    elif args.init:
        s = torch.load(args.init, map_location=dev)
        model.load_state_dict(s["ema"])
        ema.load_state_dict(s["ema"])
        codes.load_state_dict(s["codes"])
        guide.load_state_dict(s["guide"])
        c["guided_until"] = 0
    rng = np.random.default_rng(args.seed + step)

    train = Clips(args.data, os.path.join(args.cache, "train"), cfg["height"], cfg["frames"])
    val = []
    if args.val:
        every = list(Clips(args.val, os.path.join(args.cache, "val"), cfg["height"], cfg["frames"])
                     .windows(cfg["frames"], cfg["height"]))
        val = [w for _, w in every[::max(1, len(every) // 14)]]

    def save():
        torch.save({"model": model.state_dict(), "ema": ema.state_dict(), "opt": opt.state_dict(),
                    "codes": codes.state_dict(), "guide": guide.state_dict(), "step": step, "elapsed": elapsed, "config": cfg}, ckpt + ".tmp")
        os.replace(ckpt + ".tmp", ckpt)

    if step == 0 and c["guided_until"] > 0:
        n = -(-c["guide_patches"] // (guide.patches(torch.zeros(1, 3, cfg["frames"], 64, 64)).shape[0]))
        size = min(64, cfg["height"])
        p = torch.cat([guide.patches(to_pixels(train.batch(rng, 1, cfg["frames"], size), dev))[::2] for _ in range(2 * n)])
        guide.fit(p)
        codes.init_from((p - guide.mean) @ guide.basis, 20)
        a = (p - guide.mean) @ guide.basis
        k = torch.linalg.pinv(guide.basis)
        e = p - guide.mean - book[model.quantizer.distances(a).argmin(1)] @ k
        print(f"guide: {len(p)} patches, psnr of the components {-10 * math.log10((p - guide.mean - a @ k).pow(2).mean()):.2f}, "
              f"of their codes {-10 * math.log10(e.pow(2).mean()):.2f}", flush=True)
        if c["linear_start"]:
            clips = [to_pixels(train.batch(rng, 4, cfg["frames"], size), dev) for _ in range(12)]
            with torch.autocast(dev, dtype=torch.bfloat16, enabled=c["amp"]):
                share = linear_start.init_encoder(model.encoder, clips, guide)
            near = [book[model.quantizer.distances(guide(x)).argmin(1)] for x in clips]
            g = [size // f for f in guide.factors[1:]]
            near = [q.view(4, -1, *g, q.shape[1]).permute(0, 4, 1, 2, 3) for q in near]
            with torch.autocast(dev, dtype=torch.bfloat16, enabled=c["amp"]):
                mse = linear_start.init_decoder(model.decoder, near, clips)
            print(f"linear start: encoder misses {share:.3f} of the variance, decoder psnr {-10 * math.log10(mse):.2f}", flush=True)
        ema.load_state_dict(model.state_dict())

    total = args.minutes * 60
    last = time.time()
    last_log = last_save = last
    last_eval = 0
    log = []
    used = torch.zeros(book.shape[0], device=dev)
    while elapsed < total:
        progress = elapsed / total
        size, batch = next((s, b) for until, s, b in c["phases"] if progress < until)
        lr = c["lr"] * min(1, (step + 1) / c["warmup_steps"]) * 0.5 * (1 + math.cos(math.pi * progress))
        for g in opt.param_groups:
            g["lr"] = lr * g["scale"]
        x = to_pixels(train.batch(rng, batch, cfg["frames"], size), dev)
        with torch.autocast(dev, dtype=torch.bfloat16, enabled=c["amp"]):
            z = model.encoder(x)
        z = z.float()
        v = z.permute(0, 2, 3, 4, 1).reshape(-1, z.shape[1])
        guided = progress < c["guided_until"]
        target = guide(x) if guided else v
        dist = model.quantizer.distances(target if c["entropy"] else target.detach())
        ids = dist.argmin(1)
        q = book[ids]
        if guided:
            loss_q = c["guide_weight"] * F.mse_loss(v, target)
            zq = q.detach()
        else:
            loss_q = c["commitment"] * F.mse_loss(v, q.detach())
            if not use_ema_book:
                loss_q = loss_q + c["codebook_weight"] * F.mse_loss(q, v.detach())
            if c["entropy"]:
                loss_q = loss_q + c["entropy"] * entropy_loss(dist, c["entropy_temperature"])
            zq = v + (q - v).detach()
        used.mul_(0.98).add_(torch.bincount(ids, minlength=len(used)).float())
        zq = zq.view(z.shape[0], *z.shape[2:], z.shape[1]).permute(0, 4, 1, 2, 3)
        with torch.autocast(dev, dtype=torch.bfloat16, enabled=c["amp"]):
            y = model.decoder(zq.contiguous())
        d = y.float() - x
        mse = (d * d).mean()
        loss = c["l1"] * d.abs().mean() + c["l2"] * mse + loss_q
        opt.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], c["clip"])
        if torch.isfinite(norm):
            opt.step()
        if use_ema_book and not guided:
            codes.update(v.detach(), ids)
            if step % c["restart_every"] == 0 and progress < 0.9:
                codes.restart()
        step += 1
        decay = min(c["ema_decay"], (1 + step) / (10 + step))
        with torch.no_grad():
            for a, b in zip(ema.parameters(), model.parameters()):
                a.lerp_(b, 1 - decay)
            if use_ema_book:
                ema.quantizer.codebook.weight.copy_(book)
        now = time.time()
        elapsed += now - last
        last = now
        log.append((mse.item(), loss_q.item(), float(norm)))
        if now - last_log > 20:
            m = np.mean(log, 0)
            p = used / used.sum().clamp_min(1)
            ppl = math.exp(-(p * (p + 1e-12).log()).sum().item())
            print(f"{elapsed / 60:6.2f} min step {step} size {size} psnr {-10 * math.log10(m[0]):.2f} q {m[1]:.4f} "
                  f"grad {m[2]:.2f} perplexity {ppl:.0f} lr {lr:.2e} {len(log) / (now - last_log):.2f} steps/s", flush=True)
            log, last_log = [], now
        if now - last_save > 180:
            save()
            last_save = now
        if val and now - last_eval > 300:
            psnr, ppl, out = evaluate(ema, val, dev, c["amp"])
            print(f"       validation psnr {psnr:.2f} perplexity {ppl:.0f}", flush=True)
            contact_sheet(os.path.join(args.out, "preview.png"),
                          [a for w, o in zip(val[:6], out) for a in (w, o)], 4)
            last_eval = time.time()
    save()
    if val:
        psnr, ppl, _ = evaluate(ema, val, dev)
        print(f"final validation psnr {psnr:.2f} perplexity {ppl:.0f}", flush=True)


if __name__ == "__main__":
    main()
