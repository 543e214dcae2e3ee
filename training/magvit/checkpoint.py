"""Weights of one part of a model, from a trainer's checkpoint (its moving averages) or from a model file."""
import torch

from . import safetensors
from .config import Config


def load(path, part):
    """part: tokenizer or transformer -> (state dict on the CPU, the Config that it was made with)."""
    if not path.endswith(".safetensors"):
        s = torch.load(path, map_location="cpu", weights_only=False)
        return s["ema"], Config.from_dict(s["config"])
    tensors, metadata = safetensors.load(path)
    p = "transformer."
    state = {k: torch.from_numpy(v) for k, v in tensors.items() if k.startswith(p) == (part == "transformer")}
    if part == "transformer":
        state = {k[len(p):]: v for k, v in state.items()}
    return state, Config.from_metadata(metadata)
