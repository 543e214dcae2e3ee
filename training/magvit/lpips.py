"""LPIPS v0.1 on SqueezeNet 1.1: a distance of images that follows what people see.

The weights are not part of this repository.  A folder holds `squeezenet1_1.npz` (torchvision's pretrained
network under torchvision's parameter names) and `lpips_squeeze_v0.1.npz` (`lin{i}.model.1.weight`).
"""
import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

# Indices into torchvision's `features`: max pools, the others are Fire modules; features are read after the taps.
_POOL = (2, 5, 8)
_TAPS = (1, 4, 7, 9, 10, 11, 12)


class Lpips(nn.Module):
    """forward(a, b): images [N,3,H,W] in [0,1] -> distances [N]; H and W at least 32."""

    def __init__(self, folder):
        super().__init__()
        net = np.load(os.path.join(folder, "squeezenet1_1.npz"))
        heads = np.load(os.path.join(folder, "lpips_squeeze_v0.1.npz"))
        for k in net.files:
            if k.startswith("features."):
                self.register_buffer(k.replace(".", "_"), torch.from_numpy(net[k]))
        for i in range(len(_TAPS)):
            self.register_buffer(f"lin{i}", torch.from_numpy(heads[f"lin{i}.model.1.weight"]))
        self.register_buffer("shift", torch.tensor([-.030, -.088, -.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([.458, .448, .450]).view(1, 3, 1, 1))

    def _conv(self, name, x, **kw):
        name = "features_" + name
        return F.relu(F.conv2d(x, getattr(self, name + "_weight"), getattr(self, name + "_bias"), **kw))

    def features(self, x):
        """Images in [0,1] -> unit-length features at every tap."""
        x = (2 * x - 1 - self.shift) / self.scale
        x = self._conv("0", x, stride=2)
        out = [x]
        for i in range(2, 13):
            if i in _POOL:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            else:
                s = self._conv(f"{i}_squeeze", x)
                x = torch.cat([self._conv(f"{i}_expand1x1", s), self._conv(f"{i}_expand3x3", s, padding=1)], 1)
            if i in _TAPS:
                out.append(x)
        return [f / (f.pow(2).sum(1, keepdim=True).sqrt() + 1e-10) for f in out]

    def distance(self, p, q):
        """Features of two batches -> distances [N]"""
        d = 0
        for i, (x, y) in enumerate(zip(p, q)):
            d = d + F.conv2d((x - y) ** 2, getattr(self, f"lin{i}")).mean((1, 2, 3))
        return d

    def forward(self, a, b):
        return self.distance(self.features(a), self.features(b))
