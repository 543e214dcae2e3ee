"""Perceptual losses of frames: LPIPS, or the distance of a ResNet-50's logits as in the paper.

Weights are not part of this repository; --perceptual-weights names them.
"""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from .lpips import Lpips


class Resnet50(nn.Module):
    """forward(a, b): images [N,3,H,W] in [0,1] -> mean squared difference of the 1000 logits [N].

    path: .npz or .pt with torchvision's parameter names.  Strides lie on the 3x3 convolutions, as where those
    weights are from; batch norms use their stored statistics.  Pixels go in as they are, as in the paper.
    """

    def __init__(self, path):
        super().__init__()
        if path.endswith(".npz"):
            f = np.load(path)
            tensors = {k: torch.from_numpy(f[k]) for k in f.files}
        else:
            tensors = torch.load(path, map_location="cpu")
        for k, v in tensors.items():
            self.register_buffer(k.replace(".", "_"), v)

    def _get(self, name):
        return getattr(self, name.replace(".", "_"))

    def _conv(self, x, conv, norm, stride=1):
        w = self._get(conv + ".weight")
        x = F.conv2d(x, w, stride=stride, padding=w.shape[2] // 2)
        return F.batch_norm(x, *(self._get(f"{norm}.{k}") for k in ("running_mean", "running_var", "weight", "bias")))

    def logits(self, x):
        x = F.interpolate(x, size=(224, 224), mode="bilinear", align_corners=False)
        x = F.max_pool2d(F.relu(self._conv(x, "conv1", "bn1", 2)), 3, 2, 1)
        for i, blocks in enumerate((3, 4, 6, 3)):
            for j in range(blocks):
                p, stride = f"layer{i + 1}.{j}.", 2 if i > 0 and j == 0 else 1
                y = F.relu(self._conv(x, p + "conv1", p + "bn1"))
                y = F.relu(self._conv(y, p + "conv2", p + "bn2", stride))
                y = self._conv(y, p + "conv3", p + "bn3")
                if j == 0:
                    x = self._conv(x, p + "downsample.0", p + "downsample.1", stride)
                x = F.relu(x + y)
        return F.linear(x.mean((2, 3)), self._get("fc.weight"), self._get("fc.bias"))

    def forward(self, a, b):
        return (self.logits(a) - self.logits(b)).float().pow(2).mean(1)


KINDS = {"lpips": Lpips, "resnet50": Resnet50}


def of_clips(distance, a, b, frames=None):
    """Mean of a distance over the frames of clips [N,3,T,H,W]; frames: indices of those to look at."""
    if frames is not None:
        a, b = a[:, :, frames], b[:, :, frames]
    return distance(*(x.transpose(1, 2).flatten(0, 1) for x in (a, b))).float().mean()
