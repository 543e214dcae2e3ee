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
    with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=amp):
        return tokenizer.encode(x).flatten(1).cpu().numpy().astype(np.int16)


def draw_kinds(cfg, rng, count, weights=WEIGHTS):
    """`count` different kinds, as often as their weights say."""
    names = [k for k in kinds(cfg) if weights.get(k)]
    p = np.array([weights[k] for k in names])
    return list(rng.choice(names, min(count, len(names)), replace=False, p=p / p.sum()))


class Pairs:
    """A growing pool, plain numpy."""

    def __init__(self):
        self.z, self.zc, self.mask, self.prompt, self.source, self.kind = [], [], [], [], [], []

    def __len__(self):
        return len(self.zc)

    def of_kinds(self, wanted):
        """Only pairs of some kinds: {kind: the kind they count as}; clips are shared, not copied."""
        out = Pairs()
        out.z = self.z
        for i, k in enumerate(self.kind):
            if k in wanted:
                out.zc.append(self.zc[i])
                out.mask.append(self.mask[i])
                out.prompt.append(self.prompt[i])
                out.source.append(self.source[i])
                out.kind.append(wanted[k])
        return out

    def extend(self, other):
        """Append another pool."""
        self.source += [s + len(self.z) for s in other.source]
        for k in ("z", "zc", "mask", "prompt", "kind"):
            getattr(self, k).extend(getattr(other, k))

    def replace(self, clip, index, new):
        """Put the one clip of `new` and its pairs at place `clip` and at the pairs `index`."""
        self.z[clip] = new.z[0]
        for i, j in zip(index, range(len(new))):
            self.zc[i], self.mask[i], self.prompt[i], self.kind[i] = new.zc[j], new.mask[j], new.prompt[j], new.kind[j]

    def state_dict(self):
        """Packed arrays: a tenth of the objects, an eighth of the mask."""
        return {"z": np.stack(self.z), "zc": np.stack(self.zc), "mask": np.packbits(np.stack(self.mask), axis=1),
                "prompt": np.array(self.prompt), "source": np.array(self.source), "kind": list(self.kind)}

    def load_state_dict(self, d):
        self.z, self.zc = list(d["z"]), list(d["zc"])
        self.mask = list(np.unpackbits(d["mask"], axis=1, count=d["z"].shape[1]))
        self.prompt, self.source, self.kind = d["prompt"].tolist(), d["source"].tolist(), list(d["kind"])

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


class Refresher:
    """Replaces a pool's clips one after the other while it is in use: `share` new pairs for each pair that was used.

    make(rng, count) -> Pairs of one new clip with `count` conditions.
    """

    def __init__(self, pairs, share, make):
        self.pairs, self.share, self.make, self.credit, self.next = pairs, share, make, 0.0, 0
        self.of_clip = [[] for _ in pairs.z]
        for i, s in enumerate(pairs.source):
            self.of_clip[s].append(i)

    def used(self, count, rng):
        """Call after `count` pairs were used."""
        self.credit += self.share * count
        while self.credit >= len(self.of_clip[self.next]):
            index = self.of_clip[self.next]
            if index:
                self.pairs.replace(self.next, index, self.make(rng, len(index)))
            self.credit -= len(index)
            self.next = (self.next + 1) % len(self.of_clip)

    def state_dict(self):
        return {"credit": self.credit, "next": self.next, "pairs": self.pairs.state_dict()}

    def load_state_dict(self, d):
        self.credit, self.next = d["credit"], d["next"]
        self.pairs.load_state_dict(d["pairs"])


LOSSES = ("mask", "refine", "recons")


def masked_input(z, zc, cond_mask, prompt, ratio_u, scores, mask_id, masking="commit"):
    """The transformer's input.  ratio_u [N] in [0,1), scores [N,L] ~ U(0,1).

    Returns (ids [N, prefix+L], masked [N,L] bool).  n = max(1, floor(places cos(pi u/2))) places are masked.
    commit: among all places; a masked one shows z~ if it belongs to the condition, else MASK.
    latent: among the places outside of the condition, whose true tokens are always shown.
    """
    free = torch.full_like(cond_mask, True) if masking == "commit" else ~cond_mask
    count = free.sum(1)
    n = (count * torch.cos(torch.pi / 2 * ratio_u).clamp(1e-6, 1)).floor().long().clamp_min(1)
    scores = scores.masked_fill(~free, 2)
    limit = scores.sort(1).values.gather(1, n[:, None] - 1)
    masked = (scores <= limit) & free
    x = torch.where(masked, torch.where(cond_mask, zc, torch.full_like(z, mask_id)), z)
    return torch.cat([prompt, x], 1), masked


def loss_parts(masked, cond_mask):
    """The three kinds of places: {part: [N,L] bool}, together all places.

    mask: shown as MASK; refine: condition places shown as z~; recons: shown as they are.
    """
    return {"mask": masked & ~cond_mask, "refine": masked & cond_mask, "recons": ~masked}


def cross_entropy(logits, z, smoothing=0.0):
    """Per-position loss [N,L] in nats."""
    return F.cross_entropy(logits.float().flatten(0, 1), z.flatten(), reduction="none",
                           label_smoothing=smoothing).view(z.shape)


def weighted_loss(each, places):
    """Mean over the places of a sample, then over the samples; a sample without places counts as 0."""
    w = places.float()
    return ((each * w).sum(1) / (w.sum(1) + 1e-8)).mean()


@torch.no_grad()
def validate(model, pairs, mask_id, device, amp, batch=8, masking="commit", part=None):
    """Mean loss over masked places, or over those of one part: {kind: nats}, and over all kinds under "mean".

    Mask ratios and scores are fixed by the pair's index, so runs compare.
    """
    out = {}
    for start in range(0, len(pairs.zc), batch):
        index = range(start, min(start + batch, len(pairs.zc)))
        z, zc, m, p = pairs.batch(index, device)
        g = torch.Generator().manual_seed(start)
        u = torch.tensor([(0.5 + 0.618034 * i) % 1 for i in index])
        scores = torch.rand(z.shape, generator=g).to(device)
        ids, places = masked_input(z, zc, m, p, u.to(device), scores, mask_id, masking)
        if part:
            places = loss_parts(places, m)[part]
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=amp):
            logits = model(ids)
        loss = cross_entropy(logits, z)
        for j, i in enumerate(index):
            if places[j].any():
                out.setdefault(pairs.kind[i], []).append(loss[j][places[j]].mean().item())
    out = {k: float(np.mean(v)) for k, v in out.items()}
    out["mean"] = float(np.mean(list(out.values())))
    return out
