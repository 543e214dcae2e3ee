"""The part of the safetensors format that libmagvit reads: sorted names, no gaps, F32, BF16, I32."""
import json
import struct

import numpy as np

_SIZE = {"F32": 4, "BF16": 2, "I32": 4}


def _bf16(a):
    """float32 -> bf16 bits, round to nearest even"""
    u = np.ascontiguousarray(a, np.float32).view(np.uint32)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)


def save(path, tensors, metadata=None, bf16=False):
    """tensors {name: float or integer array}; floats as F32 or BF16, integers as I32."""
    header, blobs, offset = {}, [], 0
    if metadata:
        header["__metadata__"] = {k: str(v) for k, v in metadata.items()}
    for name in sorted(tensors):
        a = np.asarray(tensors[name])
        if a.dtype.kind in "iub":
            dtype, data = "I32", a.astype("<i4").tobytes()
        elif bf16:
            dtype, data = "BF16", _bf16(a).astype("<u2").tobytes()
        else:
            dtype, data = "F32", a.astype("<f4").tobytes()
        header[name] = {"dtype": dtype, "shape": list(a.shape), "data_offsets": [offset, offset + len(data)]}
        blobs.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for b in blobs:
            f.write(b)


def load(path):
    """({name: float32 or int32 array}, metadata)"""
    with open(path, "rb") as f:
        n, = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(n))
        data = f.read()
    metadata = header.pop("__metadata__", {})
    out = {}
    for name, t in header.items():
        a, b = t["data_offsets"]
        raw = data[a:b]
        if t["dtype"] == "BF16":
            v = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            v = np.frombuffer(raw, {"F32": "<f4", "I32": "<i4"}[t["dtype"]])
        out[name] = v.reshape(t["shape"]).copy()
    return out, metadata
