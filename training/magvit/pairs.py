"""Training examples of the transformer: tokens of real clips and of their conditions.

A pair is (z, z~, M, prompt): tokens of the clip, of its padded condition, the latent condition mask and
the prefix ids.  Many pairs share one clip.
"""
import numpy as np
import torch
import torch.nn.functional as F

from . import cond
from .config import TASKS

# How often each kind of condition is drawn; the filters' own kinds count double or more.
WEIGHTS = {**{t: 1.0 for t in TASKS}, "CG": 0.5, "CFP": 0.5, "interpolate": 4.0, "hole": 2.5, "border": 2.5,
           "predict": 1.5}


def kinds(cfg):
    """The kinds a model is trained on: all; without classes CFP is FP and is left out."""
    return [k for k in WEIGHTS if k != "CFP" or cfg.num_classes]


def make_condition(cfg, kind, video, label, rng):
    """video [T,H,W,3] float32 -> (cond.Condition, prompt ids)"""
    if kind in TASKS:
        made, task = cond.condition(kind, video, cfg.grid), kind
    else:
        made, task = cond.free_condition(kind, video, cfg.grid, rng)
    return made, cfg.prompt(task, label)


@torch.no_grad()
def tokens_of(tokenizer, clips, device, amp):
    """clips [N,T,H,W,3] float32 numpy -> ids [N,t*h*w] int16 numpy"""
    x = torch.from_numpy(clips).to(device).permute(0, 4, 1, 2, 3).contiguous()
    with torch.autocast(device, dtype=torch.bfloat16, enabled=amp):
        return tokenizer.encode(x).flatten(1).cpu().numpy().astype(np.int16)


class Pairs:
    """A growing pool, plain numpy."""

    def __init__(self):
        self.z, self.zc, self.mask, self.prompt, self.source, self.kind = [], [], [], [], [], []

    def add(self, cfg, tokenizer, video, label, chosen, rng, device, amp):
        """One clip [T,H,W,3] uint8 and the conditions in `chosen`."""
        v = video.astype(np.float32) / 255
        made = [make_condition(cfg, k, v, label, rng) for k in chosen]
        ids = tokens_of(tokenizer, np.stack([v] + [m.clip for m, _ in made]), device, amp)
        self.z.append(ids[0])
        for k, (m, prompt), zc in zip(chosen, made, ids[1:]):
            self.zc.append(zc)
            self.mask.append(m.mask.ravel())
            self.prompt.append(prompt)
            self.source.append(len(self.z) - 1)
            self.kind.append(k)

    def batch(self, index, device):
        """Pairs -> (z, z~, M, prompt) long/bool tensors."""
        z = torch.from_numpy(np.stack([self.z[self.source[i]] for i in index])).long()
        zc = torch.from_numpy(np.stack([self.zc[i] for i in index])).long()
        m = torch.from_numpy(np.stack([self.mask[i] for i in index])).bool()
        p = torch.tensor([self.prompt[i] for i in index])
        return tuple(t.to(device) for t in (z, zc, m, p))


def masked_input(z, zc, cond_mask, prompt, ratio_u, scores, mask_id):
    """COMMIT input.  ratio_u [N] in [0,1), scores [N,L] ~ U(0,1).

    Returns (ids [N, prefix+L], masked [N,L] bool).  n = max(1, floor(L cos(pi u/2))) positions are masked.
    """
    length = z.shape[1]
    n = (length * torch.cos(torch.pi / 2 * ratio_u).clamp(1e-6, 1)).floor().long().clamp(1, length)
    limit = scores.sort(1).values.gather(1, n[:, None] - 1)
    masked = scores <= limit
    x = torch.where(masked, torch.where(cond_mask, zc, torch.full_like(z, mask_id)), z)
    return torch.cat([prompt, x], 1), masked


def cross_entropy(logits, z, smoothing=0.0):
    """Per-position loss [N,L] in nats."""
    return F.cross_entropy(logits.float().transpose(1, 2), z, reduction="none", label_smoothing=smoothing)


@torch.no_grad()
def validate(model, pairs, mask_id, device, amp, batch=8):
    """Mean loss over masked positions: {kind: nats}, and over all kinds under "mean".

    Mask ratios and scores are fixed by the pair's index, so runs compare.
    """
    out = {}
    for start in range(0, len(pairs.zc), batch):
        index = range(start, min(start + batch, len(pairs.zc)))
        z, zc, m, p = pairs.batch(index, device)
        g = torch.Generator().manual_seed(start)
        u = torch.tensor([(0.5 + 0.618034 * i) % 1 for i in index])
        ids, masked = masked_input(z, zc, m, p, u.to(device), torch.rand(z.shape, generator=g).to(device), mask_id)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=amp):
            logits = model(ids)
        loss = cross_entropy(logits, z)
        for j, i in enumerate(index):
            out.setdefault(pairs.kind[i], []).append(loss[j][masked[j]].mean().item())
    out = {k: float(np.mean(v)) for k, v in out.items()}
    out["mean"] = float(np.mean(list(out.values())))
    return out
