#!/usr/bin/env python3
"""Write a test model: seeded random weights, float32.

    make_tiny.py [--config configs/tiny.toml] --out tests/data/tiny.safetensors
"""
import argparse
import os

import torch

from magvit.config import Config
from magvit.model import Model


def make(config, seed=7):
    """A model whose every tensor matters: norms off 1 and 0, biases off 0, logits of order one."""
    torch.manual_seed(seed)
    m = Model(Config.load(config)).eval()
    with torch.no_grad():
        for name, p in m.named_parameters():
            leaf = name.split(".")[-2:]
            if "norm" in name or "ln." in name:
                p.copy_((1 if leaf[-1] == "weight" else 0) + 0.2 * torch.randn_like(p))
            elif leaf[-1] == "bias":
                p.copy_(0.1 * torch.randn_like(p))
            elif "embeddings" in name:
                p.copy_(0.5 * torch.randn_like(p))
            elif "codebook" in name:
                p.copy_(torch.randn_like(p))
            elif ".known." in name or ".gate." in name:
                p.copy_(torch.randn_like(p) * 2 * p[0].numel() ** -0.5)
            elif name.startswith("transformer"):
                p.copy_(torch.randn_like(p) * p.shape[1] ** -0.5)
        m.tokenizer.decoder.conv_out.weight.mul_(0.1)
        m.tokenizer.decoder.conv_out.bias.add_(0.5)
    return m


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    ap = argparse.ArgumentParser()
    ap.add_argument("--config", default=os.path.join(here, "configs/tiny.toml"))
    ap.add_argument("--out", required=True)
    args = ap.parse_args()
    make(args.config).save(args.out)
