"""A whole model (tokenizer and transformer) and its file."""
import torch
import torch.nn as nn

from . import safetensors
from .config import Config
from .tokenizer import Tokenizer
from .transformer import Transformer


class Model(nn.Module):
    def __init__(self, cfg, dropout=0.0):
        super().__init__()
        self.cfg = cfg
        self.tokenizer = Tokenizer(cfg.tokenizer)
        self.transformer = Transformer(cfg, dropout)

    def tensors(self):
        """{file name: float32 array}; the tokenizer's parts have no common prefix."""
        d = {k: v for k, v in self.tokenizer.state_dict().items()}
        d.update({"transformer." + k: v for k, v in self.transformer.state_dict().items()})
        return {k: v.float().cpu().numpy() for k, v in d.items()}

    def save(self, path, bf16=False, extra=None):
        safetensors.save(path, self.tensors(), {**self.cfg.metadata(), **(extra or {})}, bf16)

    @classmethod
    def load(cls, path):
        """From a model file; names and shapes must match exactly."""
        tensors, metadata = safetensors.load(path)
        m = cls(Config.from_metadata(metadata))
        t = {k: torch.from_numpy(v) for k, v in tensors.items()}
        p = "transformer."
        m.transformer.load_state_dict({k[len(p):]: v for k, v in t.items() if k.startswith(p)})
        m.tokenizer.load_state_dict({k: v for k, v in t.items() if not k.startswith(p)})
        return m.eval()
