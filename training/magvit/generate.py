"""From a condition to a clip: encode, decode tokens in COMMIT's passes, decode pixels."""
import numpy as np
import torch

from .pairs import tokens_of
from .sampler import sample, sample_batch


def to_pixels(tokenizer, grid, ids, made, device):
    """ids [L], cond.Condition -> clip [T,H,W,3] float32 in [0,1]."""
    clip = torch.from_numpy(made.clip[None]).permute(0, 4, 1, 2, 3).to(device)
    known = torch.from_numpy(made.known[None].copy()).to(device)
    y = tokenizer.decode(torch.as_tensor(ids).view(1, *grid).to(device), clip, known)
    return y[0].float().permute(1, 2, 3, 0).clamp(0, 1).cpu().numpy()


@torch.no_grad()
def generate(model, made, task, device="cpu", seed=0, steps=None, label=None):
    """cond.Condition and its task -> generated clip [T,H,W,3] float32, with the library's random numbers."""
    c, s = model.cfg, model.cfg.sampler
    zc = tokens_of(model.tokenizer, made.clip[None], device, False)[0]
    prompt = c.prompt(task, label)

    def logits(cur, _):
        ids = torch.from_numpy(np.concatenate([prompt, cur])[None]).to(device)
        return model.transformer(ids)[0].float().cpu().numpy()

    ids = sample(logits, c.tokens, zc, made.mask.ravel(), c.mask_id, steps or s.steps, s.schedule,
                 s.choice_temperature, s.temperature, seed)
    return to_pixels(model.tokenizer, c.grid, ids, made, device)


@torch.no_grad()
def generate_tokens(transformer, cfg, zc, mask, prompt, device, seed=0, amp=False, latent=False, **options):
    """A batch as in Pairs.batch -> ids [N,L]; options replace those of the configuration's sampler."""
    def logits(cur):
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=amp):
            return transformer(torch.cat([prompt, cur], 1)).float()

    g = torch.Generator(device).manual_seed(seed)
    return sample_batch(logits, zc, mask, cfg.mask_id, generator=g, latent=latent, **{**vars(cfg.sampler), **options})
