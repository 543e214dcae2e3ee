#!/usr/bin/env python3
"""Heads of model files of the paper's sizes, and a block of weights to fill them with: for tests/gpu/bench.sh.

    pack.py DIR

Speed does not depend on what the weights are, so a model is its header (DIR/S.head, B.head, L.head, with the bytes of
data in S.size, ..) and the same megabyte of small random numbers (DIR/block) over and over.
"""
import json
import os
import struct
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../training"))
from magvit.config import PRESETS  # noqa: E402
from magvit.model import Model     # noqa: E402


def head(config):
    """Header of a bfloat16 model file, and the bytes of data that follow it."""
    header, offset = {"__metadata__": {k: str(v) for k, v in config.metadata().items()}}, 0
    for name, tensor in sorted(Model(config).tensors().items()):
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [offset, offset + 2 * tensor.size]}
        offset += 2 * tensor.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, offset


if __name__ == "__main__":
    out = sys.argv[1]
    for name, config in PRESETS.items():
        data, size = head(config)
        with open(os.path.join(out, name + ".head"), "wb") as f:
            f.write(data)
        with open(os.path.join(out, name + ".size"), "w") as f:
            f.write(f"{size}\n")
    values = np.random.default_rng(1).normal(0, 0.04, 1 << 19).astype("<f4")
    with open(os.path.join(out, "block"), "wb") as f:
        f.write((values.view("<u4") >> 16).astype("<u2").tobytes())
