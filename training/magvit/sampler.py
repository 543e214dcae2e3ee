"""COMMIT decoding: K passes, each fixes the most confident tokens.

    cur_i = z~_i where the position is a condition, else MASK; every position starts unknown.
    for k = 0 .. K-1:
      l = logits(cur)                                           float32 [N, codes]
      unknown i: c_i = argmax_j (l_ij / temperature + g_ij)     float32; lowest j on ties
                 (greedy: argmax_j l_ij);   known i: c_i = cur_i
      if k = K-1: return c
      p = (k+1)/K;  n = floor(N * gamma(p)) in double;  n = min(max(n, 1), U-1), U = unknown before this step
      q_i = log_softmax(l_i)[c_i] + T_c * (1-p) * g_i           at temperature 1; known i: +infinity
      the n smallest q stay unknown (ties: lower index first) and are reset to z~_i or MASK;
      all others become known with value c_i and are never drawn again.
    If U <= 1 before the last step, stop and return c.
g_ij and g_i are rng.code_noise and rng.choice_noise of (seed, window, step k).
log_softmax and q are computed in double from the float32 logits and compared in double; T_c*(1-p) is a double.
"""
import math

import numpy as np
import torch

from . import rng


def gamma(schedule, p, tokens):
    """Fraction still masked after progress p in (0,1], clamped to [1e-6, 1].

    schedule: cosine, linear (also uniform), exp, log, pow<E>, or poly:<c_n,...,c_0>.
    """
    if schedule == "cosine":
        r = math.cos(math.pi * p / 2)
    elif schedule in ("linear", "uniform"):
        r = 1 - p
    elif schedule == "exp":
        r = 1 - 2 ** (-math.log2(tokens) * (1 - p))
    elif schedule == "log":
        r = -math.log2(p) / math.log2(tokens)
    elif schedule.startswith("pow"):
        r = 1 - p ** float(schedule[3:])
    elif schedule.startswith("poly:"):
        r = 0.0
        for c in schedule[5:].split(","):
            r = r * p + float(c)
    else:
        raise ValueError(f"unknown schedule {schedule}")
    return min(max(r, 1e-6), 1.0)


def sample(logits_fn, tokens, cond_ids, cond_mask, mask_id, steps=12, schedule="cosine",
           choice_temperature=4.5, temperature=1.0, seed=0, window=0, greedy=False, trace=None):
    """One sequence.

    logits_fn(cur [N] int64, step) -> float32 [N, codes]; cond_ids [N] (ignored where cond_mask is 0).
    trace, if a list, receives (drawn, cur after the step, unknown after the step) per step.
    Returns ids [N] int64.
    """
    start = np.where(np.asarray(cond_mask, bool), cond_ids, mask_id).astype(np.int64)
    cur, unknown = start.copy(), np.ones(tokens, bool)
    for k in range(steps):
        l = np.asarray(logits_fn(cur, k), np.float32)
        if greedy:
            c = l.argmax(1)
        else:
            g = rng.code_noise(seed, window, k, tokens, l.shape[1])
            c = (l / np.float32(temperature) + g).argmax(1)
        c = np.where(unknown, c, cur)
        u = int(unknown.sum())
        if k == steps - 1 or u <= 1:
            if trace is not None:
                trace.append((c, c, np.zeros(tokens, bool)))
            return c
        p = (k + 1) / steps
        n = min(max(math.floor(tokens * gamma(schedule, p, tokens)), 1), u - 1)
        d = l.astype(np.float64)
        m = d.max(1)
        logp = d[np.arange(tokens), c] - m - np.log(np.exp(d - m[:, None]).sum(1))
        q = logp + choice_temperature * (1 - p) * rng.choice_noise(seed, window, k, tokens).astype(np.float64)
        q[~unknown] = np.inf
        stay = np.argsort(q, kind="stable")[:n]
        unknown = np.zeros(tokens, bool)
        unknown[stay] = True
        cur = np.where(unknown, start, c)
        if trace is not None:
            trace.append((c, cur.copy(), unknown.copy()))
    return cur


def _gumbel(like, generator):
    return -torch.empty(like.shape, device=like.device).exponential_(generator=generator).log()


@torch.no_grad()
def sample_batch(logits_fn, zc, cond_mask, mask_id, steps=12, schedule="cosine", choice_temperature=4.5,
                 temperature=1.0, generator=None, greedy=False, latent=False):
    """sample() for a batch, on its device and with torch's random numbers: for measurements.

    logits_fn(cur [N,L]) -> float32 [N,L,codes]; zc [N,L] long, cond_mask [N,L] bool.  Returns ids [N,L].
    latent: MaskGIT's decoding; condition places are known from the start, and N counts the others.
    """
    start = torch.where(cond_mask, zc, torch.full_like(zc, mask_id))
    cur, unknown = start, ~cond_mask if latent else torch.ones_like(cond_mask)
    places = unknown.sum(1)
    for k in range(steps):
        l = logits_fn(cur)
        c = l.argmax(2) if greedy else (l / temperature + _gumbel(l, generator)).argmax(2)
        c = torch.where(unknown, c, cur)
        if k == steps - 1:
            return c
        p = (k + 1) / steps
        n = torch.tensor([math.floor(m * gamma(schedule, p, m)) if m else 0 for m in places.tolist()])
        n = torch.minimum(n.clamp_min(1).to(zc.device), unknown.sum(1) - 1)
        logp = l.log_softmax(2).gather(2, c[..., None])[..., 0]
        q = logp.double() + choice_temperature * (1 - p) * _gumbel(logp, generator)
        rank = q.masked_fill(~unknown, math.inf).sort(dim=1, stable=True).indices.argsort(1)
        unknown = (rank < n[:, None]) & unknown
        cur = torch.where(unknown, start, c)
    return cur
