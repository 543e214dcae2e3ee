"""3D-VQ tokenizer.

Module paths are tensor names in the model file and op names in the C library,
so renaming an attribute here changes the file format.
Tensors are [N, C, T, H, W] inside the network; pixels are in [0, 1].
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils import checkpoint

from .fill import fill_holes


def reflect_pad1(x, axes=(2, 3, 4)):
    """Pad T, H and W by one cell of reflection (index -1 reads 1); an axis of length 1 replicates."""
    for axis in axes:
        n = x.shape[axis]
        a, b = (1, n - 2) if n > 1 else (0, 0)
        x = torch.cat([x.narrow(axis, a, 1), x, x.narrow(axis, b, 1)], axis)
    return x


class Conv3d(nn.Module):
    """Stride-1 convolution, kernel 1 or 3, padded by reflection or by zeros on T, H and W.

    With two dimensions the kernel has length 1 in T and frames do not see each other.
    """

    def __init__(self, cin, cout, kernel, bias, cfg):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(cout, cin, kernel if cfg.dims == 3 else 1, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(cout)) if bias else None
        self.kernel, self.padding, self.dims = kernel, cfg.padding, cfg.dims
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x):
        if self.kernel == 1:
            return F.conv3d(x, self.weight, self.bias)
        edge = self.dims - 2  # cells of padding on T
        if self.padding == "zero":
            return F.conv3d(x, self.weight, self.bias, padding=(edge, 1, 1))
        if x.device.type == "cuda" and min(x.shape[5 - self.dims:]) > 1:
            return F.conv3d(F.pad(x, (1, 1, 1, 1, edge, edge), mode="reflect"), self.weight, self.bias)
        return F.conv3d(reflect_pad1(x, (2, 3, 4)[3 - self.dims:]), self.weight, self.bias)


class _GroupNormLow(torch.autograd.Function):
    """Group norm of a bf16/f16 tensor: float32 statistics, one multiply-add per element each way.

    Several times faster on a CPU than what autograd makes of the same expression.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, groups, eps):
        n, c = x.shape[:2]
        var, mean = torch.var_mean(x.reshape(n, groups, -1).float(), 2, unbiased=False)
        rstd = torch.rsqrt(var + eps)
        k = c // groups
        mean, rstd = mean.repeat_interleave(k, 1), rstd.repeat_interleave(k, 1)
        scale = weight * rstd
        shift = bias - mean * scale
        ctx.save_for_backward(x, weight, mean, rstd)
        ctx.groups = groups
        s = (n, c, 1, 1, 1)
        return torch.addcmul(shift.to(x.dtype).view(s), x, scale.to(x.dtype).view(s))

    @staticmethod
    def backward(ctx, g):
        x, weight, mean, rstd = ctx.saved_tensors
        n, c = x.shape[:2]
        k = c // ctx.groups
        m = k * x[0, 0].numel()
        sg = g.reshape(n, c, -1).sum(2, dtype=torch.float32)
        sgx = (g * x).reshape(n, c, -1).sum(2, dtype=torch.float32)
        sgh = rstd * (sgx - mean * sg)  # sum of gradient times normalised input

        def group_sum(v):
            return (weight * v).view(n, ctx.groups, k).sum(2).repeat_interleave(k, 1)

        a = weight * rstd
        b = -rstd * rstd * group_sum(sgh) / m
        d = -rstd * group_sum(sg) / m - b * mean
        s = (n, c, 1, 1, 1)
        a, b, d = (v.to(x.dtype).view(s) for v in (a, b, d))
        return torch.addcmul(torch.addcmul(d, x, b), g, a), sgh.sum(0), sg.sum(0), None, None


class GroupNorm(nn.Module):
    """Group norm with statistics over the whole clip, in float32 whatever the input type."""

    def __init__(self, channels, groups, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.groups, self.eps = groups, eps

    def forward(self, x):
        if x.dtype == torch.float32:
            return F.group_norm(x, self.groups, self.weight, self.bias, self.eps)
        with torch.autocast(x.device.type, enabled=False):
            return _GroupNormLow.apply(x, self.weight, self.bias, self.groups, self.eps)


class ResBlock(nn.Module):
    """Pre-activation residual block; a 1x1x1 shortcut of the block input where widths differ."""

    def __init__(self, cin, cout, cfg):
        super().__init__()
        self.norm1 = GroupNorm(cin, cfg.groups, cfg.norm_eps)
        self.conv1 = Conv3d(cin, cout, 3, False, cfg)
        self.norm2 = GroupNorm(cout, cfg.groups, cfg.norm_eps)
        self.conv2 = Conv3d(cout, cout, 3, False, cfg)
        self.shortcut = Conv3d(cin, cout, 1, False, cfg) if cin != cout else None

    def forward(self, x):
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        return y + (x if self.shortcut is None else self.shortcut(x))


class Pool(nn.Module):
    """Average pool, window = stride = (2,2,2) or (1,2,2); odd axes end in a smaller window."""

    def __init__(self, temporal):
        super().__init__()
        self.window = (2 if temporal else 1, 2, 2)

    def forward(self, x):
        n, c, *d = x.shape
        a, b, e = self.window
        extra = [-s % w for s, w in zip(d, self.window)]
        if any(extra):
            pad = (0, extra[2], 0, extra[1], 0, extra[0])
            share = self.forward(F.pad(torch.ones_like(x[:1, :1]), pad))  # of real cells in a window
            return self.forward(F.pad(x, pad)) / share
        t, h, w = d
        return x.reshape(n, c, t // a, a, h // b, b, w // e, e).mean((3, 5, 7))


class Upsample(nn.Module):
    """Nearest neighbour by 2 on (T,H,W) or (H,W)."""

    def __init__(self, temporal):
        super().__init__()
        self.factor = (2 if temporal else 1, 2, 2)

    def forward(self, x):
        n, c, t, h, w = x.shape
        a, b, e = self.factor
        x = x[:, :, :, None, :, None, :, None].expand(n, c, t, a, h, b, w, e)
        return x.reshape(n, c, t * a, h * b, w * e)


class DownLevel(nn.Module):
    def __init__(self, cin, cout, temporal, cfg):
        super().__init__()
        self.block = nn.ModuleList(ResBlock(cin if j == 0 else cout, cout, cfg)
                                   for j in range(cfg.res_blocks))
        self.pool = None if temporal is None else Pool(temporal)

    def forward(self, x):
        for b in self.block:
            x = b(x)
        return x if self.pool is None else self.pool(x)


class UpLevel(nn.Module):
    def __init__(self, cin, cout, temporal, cfg):
        super().__init__()
        self.block = nn.ModuleList(ResBlock(cin if j == 0 else cout, cout, cfg)
                                   for j in range(cfg.res_blocks))
        self.upsample = None if temporal is None else Upsample(temporal)
        self.conv = None if temporal is None else Conv3d(cout, cout, 3, True, cfg)

    def forward(self, x):
        for b in self.block:
            x = b(x)
        return x if self.upsample is None else self.conv(self.upsample(x))


class Levels(nn.Module):
    """What runs through levels; with `checkpoint` their activations are computed again in the backward pass."""

    checkpoint = False

    def through(self, level, x):
        if self.checkpoint and torch.is_grad_enabled():
            return checkpoint.checkpoint(level, x, use_reentrant=False)
        return level(x)


class Encoder(Levels):
    """[N,3,T,H,W] -> [N,D,t,h,w]"""

    def __init__(self, cfg):
        super().__init__()
        ch = [cfg.base_channels * m for m in cfg.channel_multipliers]
        self.conv_in = Conv3d(3, cfg.base_channels, 3, False, cfg)
        flags = cfg.temporal() + [None]
        cin = [cfg.base_channels] + ch[:-1]
        self.down = nn.ModuleList(DownLevel(cin[i], ch[i], flags[i], cfg) for i in range(len(ch)))
        self.mid = nn.ModuleList(ResBlock(ch[-1], ch[-1], cfg) for _ in range(cfg.res_blocks))
        self.norm_out = GroupNorm(ch[-1], cfg.groups, cfg.norm_eps)
        self.conv_out = Conv3d(ch[-1], cfg.embedding_dim, 1, True, cfg)

    def forward(self, x):
        x = self.conv_in(x)
        for level in self.down:
            x = self.through(level, x)
        for b in self.mid:
            x = b(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class KnownLevel(nn.Module):
    """One resolution of the known-pixel pyramid.  Without biases: what sees nothing adds nothing."""

    def __init__(self, cin, width, cout, cfg):
        super().__init__()
        self.conv1 = Conv3d(cin, width, 3, False, cfg)
        self.conv2 = Conv3d(width, cout, 3, False, cfg)
        nn.init.zeros_(self.conv2.weight)  # a new pyramid leaves a trained decoder as it was

    def forward(self, x):
        return self.conv2(F.silu(self.conv1(x)))


class Decoder(Levels):
    """[N,D,t,h,w], known [N,4,T,H,W] or None -> [N,3,T,H,W], not clipped

    known: red, green, blue of the condition and 1 where a pixel is given, see known_input().  A pyramid of
    convolutions brings it down, and every level adds its own to the features that enter it.  A gated decoder
    also says for every pixel how much of the condition's colour shows through, if anything is known at all and
    but for black padding.
    """

    def __init__(self, cfg):
        super().__init__()
        ch = [cfg.base_channels * m for m in cfg.channel_multipliers]
        self.conv_in = Conv3d(cfg.embedding_dim, ch[-1], 3, True, cfg)
        self.mid = nn.ModuleList(ResBlock(ch[-1], ch[-1], cfg) for _ in range(cfg.res_blocks))
        flags = [None] + cfg.temporal()
        cin = ch[1:] + [ch[-1]]
        self.up = nn.ModuleList(UpLevel(cin[i], ch[i], flags[i], cfg) for i in range(len(ch)))
        self.norm_out = GroupNorm(ch[0], cfg.groups, cfg.norm_eps)
        self.conv_out = Conv3d(ch[0], 3, 3, True, cfg)
        if cfg.known_pixels != "none":
            self.known = nn.ModuleList(KnownLevel(4 if i == 0 else cin[i - 1], ch[i], cin[i], cfg)
                                       for i in range(len(ch)))
            self.pool = nn.ModuleList(Pool(f) for f in flags[1:])
        self.gate = Conv3d(ch[0], 1, 3, True, cfg) if cfg.known_pixels == "gated" else None
        if self.gate is not None:  # nearly closed
            nn.init.zeros_(self.gate.weight)
            nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, x, known=None):
        seen, shown = [None] * len(self.up), None
        if known is not None:
            shown = known.float()
            for i, level in enumerate(self.known):
                known = seen[i] = level(known if i == 0 else self.pool[i - 1](known))
        x = self.conv_in(x)
        for b in self.mid:
            x = b(x)
        for level, k in zip(reversed(self.up), reversed(seen)):
            x = self.through(level, x if k is None else x + k)
        x = F.silu(self.norm_out(x))
        y = self.conv_out(x)
        if self.gate is None or shown is None:
            return y
        # Black padding of an unknown pixel, as in holes, says nothing.
        shows = (shown[:, 3:].amax((1, 2, 3, 4), keepdim=True) > 0) & (shown.amax(1, keepdim=True) > 0)
        gate = torch.sigmoid(self.gate(x).float()) * shows
        return torch.lerp(y.float(), shown[:, :3], gate)


def known_input(kind, clip, known):
    """The decoder's view of a condition: clip V~ [N,3,T,H,W], known [N,T,H,W] 0 or 1 -> [N,4,T,H,W].

    kind zero: the padding of unknown pixels is taken away; padded, gated: it is left.  See fill.fill_holes().
    """
    known = known[:, None].to(clip.dtype)
    return torch.cat([clip * known if kind == "zero" else clip, known], 1)


class Quantizer(nn.Module):
    """Nearest codebook row by squared Euclidean distance, float32, lowest index on ties."""

    def __init__(self, cfg):
        super().__init__()
        n, d = cfg.codebook_size, cfg.embedding_dim
        self.codebook = nn.Embedding(n, d)
        nn.init.uniform_(self.codebook.weight, -(3 / n) ** 0.5, (3 / n) ** 0.5)
        self.normalize = cfg.latent_normalize

    def distances(self, v):
        """v [M,D] float32 -> [M,N_c]"""
        c = self.codebook.weight
        if self.normalize:
            v, c = (a * torch.rsqrt((a * a).sum(1, keepdim=True).clamp_min(1e-12)) for a in (v, c))
        with torch.autocast(v.device.type, enabled=False):
            return (v * v).sum(1, keepdim=True) - 2 * v @ c.t() + (c * c).sum(1)

    def encode(self, z):
        """z [N,D,t,h,w] -> ids [N,t,h,w]"""
        n, d, t, h, w = z.shape
        v = z.float().permute(0, 2, 3, 4, 1).reshape(-1, d)
        return self.distances(v).argmin(1).view(n, t, h, w)

    def decode(self, ids):
        """ids [N,t,h,w] -> [N,D,t,h,w]"""
        return self.codebook.weight[ids].permute(0, 4, 1, 2, 3)


class Tokenizer(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.encoder = Encoder(cfg)
        self.quantizer = Quantizer(cfg)
        self.decoder = Decoder(cfg)

    def encode(self, x):
        """Pixels [N,3,T,H,W] -> ids [N,t,h,w]"""
        return self.quantizer.encode(self.encoder(x))

    def decode(self, ids, clip=None, known=None):
        """ids [N,t,h,w], optionally the condition they were made for -> pixels [N,3,T,H,W], not clipped"""
        kind = self.cfg.known_pixels
        seen = None
        if clip is not None and kind != "none":
            seen = known_input(kind, clip if kind == "zero" else fill_holes(clip, known), known)
        return self.decoder(self.quantizer.decode(ids), seen)
