"""Examples of a fixed tokenizer and transformer at work, on disk: what the decoder is fine-tuned on.

An example is a crop of a clip, a condition made from it, the tokens of the crop and the tokens that the
transformer drew for the condition.  The condition's clip is kept as a decoder is shown it.
"""
import os

import numpy as np
import torch

from .fill import fill_holes
from .pairs import tokens_of
from .sampler import sample

FIELDS = {"video": np.uint8, "clip": np.uint8, "known": np.uint8, "z": np.int16, "drawn": np.int16}


class Examples:
    """One flat file for each field; only appended to, read through memory maps."""

    def __init__(self, folder, cfg):
        os.makedirs(folder, exist_ok=True)
        pixels = cfg.frames * cfg.height * cfg.width
        self.row = {"video": 3 * pixels, "clip": 3 * pixels, "known": -(-pixels // 8), "z": cfg.tokens, "drawn": cfg.tokens}
        self.shape, self.grid = (cfg.frames, cfg.height, cfg.width), cfg.grid
        self.path = {k: os.path.join(folder, k) for k in FIELDS}

    def add(self, **arrays):
        for k, dtype in FIELDS.items():
            with open(self.path[k], "ab") as f:
                f.write(np.ascontiguousarray(arrays[k], dtype).tobytes())

    def open(self):
        """Number of examples; those cut short by a kill do not count."""
        if not all(os.path.exists(p) for p in self.path.values()):
            return 0
        size = {k: self.row[k] * np.dtype(t).itemsize for k, t in FIELDS.items()}
        n = min(os.path.getsize(self.path[k]) // size[k] for k in FIELDS)
        for k in FIELDS:
            os.truncate(self.path[k], n * size[k])
        if n:
            self.data = {k: np.memmap(self.path[k], t, "r", shape=(n, self.row[k])) for k, t in FIELDS.items()}
        return n

    def read(self, i, y=0, x=0, cells=None):
        """A part of `cells` squared latent cells from (y,x) on, all by default.

        Returns tensors: video, clip [3,T,h,w] float in [0,1], known [T,h,w] 0 or 1, z, drawn [t,h,w] ids.
        """
        t, h, w = self.shape
        rows, cols = cells or self.grid[1], cells or self.grid[2]
        sy, sx = h // self.grid[1], w // self.grid[2]
        at = np.s_[:, y * sy:(y + rows) * sy, x * sx:(x + cols) * sx]

        def pixels(k):
            return torch.from_numpy(self.data[k][i].reshape(t, h, w, 3)[at].copy()).permute(3, 0, 1, 2).float() / 255

        def tokens(k):
            return torch.from_numpy(self.data[k][i].reshape(self.grid)[:, y:y + rows, x:x + cols].astype(np.int64))

        known = np.unpackbits(self.data["known"][i])[:t * h * w].reshape(t, h, w)[at].astype(np.float32)
        return pixels("video"), pixels("clip"), torch.from_numpy(known), tokens("z"), tokens("drawn")


@torch.no_grad()
def make_example(model, video, made, prompt, steps, seed, device, amp):
    """Fields of an example: video [T,H,W,3] uint8, its cond.Condition and prompt ids, drawn in `steps` passes."""
    c, s = model.cfg, model.cfg.sampler
    z, zc = tokens_of(model.tokenizer, np.stack([video.astype(np.float32) / 255, made.clip]), device, amp)

    def logits(cur, _):
        ids = torch.from_numpy(np.concatenate([prompt, cur])[None]).to(device)
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=amp):
            return model.transformer(ids)[0].float().cpu().numpy()

    drawn = sample(logits, c.tokens, zc, made.mask.ravel(), c.mask_id, steps, s.schedule, s.choice_temperature,
                   s.temperature, seed)
    clip, known = (torch.from_numpy(np.ascontiguousarray(a)) for a in (made.clip, made.known))
    clip = fill_holes(clip.permute(3, 0, 1, 2)[None], known[None])[0].permute(1, 2, 3, 0).numpy()
    return {"video": video, "clip": np.round(clip * 255), "known": np.packbits(made.known), "z": z, "drawn": drawn}
