"""A smooth surface over holes, from the pixels round them: a better start for a decoder than black."""
import torch
import torch.nn.functional as F

SWEEPS = 8  # of relaxation at every resolution; with 16 it is a membrane to 0.1 dB


def _push(v, weight):
    """Halve: weighted means of 2x2 cells, an odd edge alone; a cell is full with one full pixel in it."""
    pad = (0, v.shape[-1] % 2, 0, v.shape[-2] % 2)
    total = 4 * F.avg_pool2d(F.pad(weight, pad), 2)
    mean = 4 * F.avg_pool2d(F.pad(v * weight, pad), 2) / total.clamp_min(1e-20)
    return mean, total.clamp_max(1)


def _double(x, size):
    """To twice the size, less one where that is odd; bilinear, centres of cells at quarters."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)[..., :size[0], :size[1]]


def _relax(x, v, weight):
    for _ in range(SWEEPS):
        p = F.pad(x, (1, 1, 1, 1), mode="replicate")
        near = (p[..., :-2, 1:-1] + p[..., 2:, 1:-1] + p[..., 1:-1, :-2] + p[..., 1:-1, 2:]) / 4
        x = torch.lerp(near, v, weight)
    return x


def fill_frames(frames, known):
    """frames [N,3,H,W], known [N,1,H,W] 0 or 1 -> frames whose other pixels are filled from the known ones."""
    pyramid = [(frames * known, known)]
    while max(pyramid[-1][0].shape[-2:]) > 1:
        pyramid.append(_push(*pyramid[-1]))
    x = pyramid[-1][0]
    for v, weight in reversed(pyramid[:-1]):
        x = _relax(torch.lerp(_double(x, v.shape[-2:]), v, weight), v, weight)
    return x


def fill_holes(clip, known):
    """A condition as a decoder is shown it.  clip V~ [N,3,T,H,W], known [N,T,H,W] 0 or 1 -> [N,3,T,H,W]

    Black padding, as in holes, gives way to a fill of its frame, if anything of that frame is known.
    """
    n, c, t, h, w = clip.shape
    frames = clip.float().transpose(1, 2).reshape(n * t, c, h, w)
    known = known.reshape(n * t, 1, h, w).to(frames.dtype)
    hole = (known == 0) & (frames.amax(1, keepdim=True) == 0)
    chosen = hole.flatten(1).any(1) & (known.flatten(1).amax(1) > 0)
    if not chosen.any():
        return clip
    out = frames.clone()
    out[chosen] = torch.where(hole[chosen], fill_frames(frames[chosen], known[chosen]), frames[chosen])
    return out.view(n, t, c, h, w).transpose(1, 2).to(clip.dtype)
