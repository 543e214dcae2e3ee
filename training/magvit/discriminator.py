"""3D StyleGAN-like discriminator of clips: residual blocks that halve T, H and W, then two dense layers."""
import torch
import torch.nn as nn
import torch.nn.functional as F

from .config import TokenizerConfig
from .tokenizer import Conv3d, Pool


def _lrelu(x):
    return F.leaky_relu(x, 0.2)


class Block(nn.Module):
    def __init__(self, cin, cout, cfg):
        super().__init__()
        self.conv1 = Conv3d(cin, cin, 3, True, cfg)
        self.conv2 = Conv3d(cin, cout, 3, True, cfg)
        self.shortcut = Conv3d(cin, cout, 1, False, cfg)
        self.pool = Pool(cfg.dims == 3)

    def forward(self, x):
        y = self.pool(_lrelu(self.conv1(x)))
        y = _lrelu(self.conv2(y))
        return (y + self.shortcut(self.pool(x))) * 0.5 ** 0.5


class Discriminator(nn.Module):
    """Clips [N,3,T,size,size] -> [N].

    T ends as 1 where it is at most size/4, as in the paper; what is left of a longer one is averaged.
    dims 2: single frames; its dense layers are those of the 3D one.
    """

    def __init__(self, channels, size, dims=3):
        super().__init__()
        cfg = TokenizerConfig(padding="zero", dims=dims)
        count = size.bit_length() - 3  # blocks until 4x4 is left
        assert size == 4 << count, "size of the discriminator: a power of two"
        width = [channels, 2 * channels] + [4 * channels] * (count - 1)
        self.conv_in = Conv3d(3, channels, 3, True, cfg)
        self.block = nn.ModuleList(Block(a, b, cfg) for a, b in zip(width, width[1:]))
        self.conv_out = Conv3d(width[-1], width[-1], 3, True, cfg)
        self.dense1 = nn.Linear(16 * width[-1], 4 * channels)
        self.dense2 = nn.Linear(4 * channels, 1)
        for m in (self.dense1, self.dense2):
            nn.init.xavier_uniform_(m.weight)
            nn.init.zeros_(m.bias)

    def forward(self, x):
        x = _lrelu(self.conv_in(x))
        for b in self.block:
            x = b(x)
        x = _lrelu(self.conv_out(x))
        return self.dense2(_lrelu(self.dense1(torch.flatten(x.mean(2), 1))))[:, 0]
