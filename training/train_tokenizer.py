#!/usr/bin/env python3
"""Train the 3D-VQ tokenizer.

    train_tokenizer.py --config configs/bringup.toml --data DIR --val DIR --cache DIR --out DIR --minutes 60

Learning rate and crop size follow the wall clock, so a run ends when it was told to.
An existing checkpoint in --out is resumed.
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

from magvit.config import TokenizerConfig
from magvit.data import Clips, contact_sheet
from magvit.tokenizer import Tokenizer


def to_pixels(batch, device):
    """[N,T,H,W,3] uint8 -> [N,3,T,H,W] in [0,1]"""
    return torch.from_numpy(batch).to(device).permute(0, 4, 1, 2, 3).float().div_(255).contiguous()


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
    opt = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=c["lr"], betas=tuple(c["betas"]))
    codes = CodebookEma(book, c["codebook_decay"])
    step, elapsed, quantise = 0, 0.0, False
    ckpt = os.path.join(args.out, "tokenizer.pt")
    if os.path.exists(ckpt):
        s = torch.load(ckpt, map_location=dev)
        model.load_state_dict(s["model"])
        ema.load_state_dict(s["ema"])
        opt.load_state_dict(s["opt"])
        codes.load_state_dict(s["codes"])
        step, elapsed, quantise = s["step"], s["elapsed"], s["quantise"]
        print(f"resumed at step {step}, {elapsed / 60:.1f} min", flush=True)
    rng = np.random.default_rng(args.seed + step)

    train = Clips(args.data, os.path.join(args.cache, "train"), cfg["height"], cfg["frames"])
    val = []
    if args.val:
        every = list(Clips(args.val, os.path.join(args.cache, "val"), cfg["height"], cfg["frames"])
                     .windows(cfg["frames"], cfg["height"]))
        val = [w for _, w in every[::max(1, len(every) // 14)]]

    def save():
        torch.save({"model": model.state_dict(), "ema": ema.state_dict(), "opt": opt.state_dict(),
                    "codes": codes.state_dict(), "step": step, "elapsed": elapsed, "quantise": quantise,
                    "config": cfg}, ckpt + ".tmp")
        os.replace(ckpt + ".tmp", ckpt)

    total = args.minutes * 60
    last = time.time()
    last_log = last_save = last_eval = last
    log = []
    used = torch.zeros(book.shape[0], device=dev)
    while elapsed < total:
        progress = elapsed / total
        size, batch = next((s, b) for until, s, b in c["phases"] if progress < until)
        lr = c["lr"] * min(1, (step + 1) / c["warmup_steps"]) * 0.5 * (1 + math.cos(math.pi * progress))
        for g in opt.param_groups:
            g["lr"] = lr
        x = to_pixels(train.batch(rng, batch, cfg["frames"], size), dev)
        with torch.autocast(dev, dtype=torch.bfloat16, enabled=c["amp"]):
            z = model.encoder(x)
        z = z.float()
        loss_q = z.new_zeros(())
        if not quantise and progress >= c["plain_until"]:
            with torch.no_grad(), torch.autocast(dev, dtype=torch.bfloat16, enabled=c["amp"]):
                v = [model.encoder(to_pixels(train.batch(rng, batch, cfg["frames"], size), dev)).float()
                     .permute(0, 2, 3, 4, 1).reshape(-1, z.shape[1]) for _ in range(max(1, 16384 * 8 * 8 // (batch * 4 * size * size)))]
            codes.init_from(torch.cat(v))
            ema.quantizer.load_state_dict(model.quantizer.state_dict())
            quantise = True
        if quantise:
            v = z.permute(0, 2, 3, 4, 1).reshape(-1, z.shape[1])
            dist = model.quantizer.distances(v if c["entropy"] else v.detach())
            ids = dist.argmin(1)
            q = book[ids]
            loss_q = c["commitment"] * F.mse_loss(v, q.detach())
            if not use_ema_book:
                loss_q = loss_q + c["codebook_weight"] * F.mse_loss(q, v.detach())
            if c["entropy"]:
                loss_q = loss_q + c["entropy"] * entropy_loss(dist, c["entropy_temperature"])
            zq = (v + (q - v).detach()).view(z.shape[0], *z.shape[2:], z.shape[1]).permute(0, 4, 1, 2, 3)
            used.mul_(0.98).add_(torch.bincount(ids, minlength=len(used)).float())
        else:
            zq = z
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
        if quantise and use_ema_book:
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
