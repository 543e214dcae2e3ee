"""Model configurations, presets, and their text form in the model file."""
import tomllib
from dataclasses import dataclass, field

TASKS = ("FP", "FI", "OPC", "OPV", "OPH", "OPD", "IPC", "IPD", "CG", "CFP")


@dataclass
class TokenizerConfig:
    base_channels: int = 64
    channel_multipliers: tuple = (1, 2, 2, 4)
    temporal_downsample: tuple = (1, 1, 0)  # one flag per transition; surplus flags are ignored
    res_blocks: int = 2
    embedding_dim: int = 256
    codebook_size: int = 1024
    padding: str = "reflect"  # reflect (paper) or zero (public configurations)
    groups: int = 32
    norm_eps: float = 1e-6
    latent_normalize: int = 0
    known_pixels: str = "none"  # what the decoder sees of the condition: none (paper), zero, padded, gated
    dims: int = 3  # 2: the layout for single frames, a source for inflation; not a model file's

    def temporal(self):
        """One flag per transition: whether it halves T."""
        return [f * (self.dims - 2) for f in self.temporal_downsample[:len(self.channel_multipliers) - 1]]

    def factors(self):
        """Compression of (T, H, W)."""
        n = len(self.channel_multipliers) - 1
        return 2 ** sum(self.temporal()), 2 ** n, 2 ** n


@dataclass
class TransformerConfig:
    layers: int = 12
    hidden: int = 768
    heads: int = 12
    mlp: int = 3072
    ln_eps: float = 1e-12
    variant: str = "bert"


@dataclass
class SamplerConfig:
    steps: int = 12
    schedule: str = "cosine"
    choice_temperature: float = 4.5
    temperature: float = 1.0


@dataclass
class Config:
    """A whole model.  Vocabulary: codes, classes, the unconditional class, special ids at the end."""
    name: str = "magvit"
    frames: int = 16
    height: int = 128
    width: int = 128
    multi_task: int = 1
    num_classes: int = 0
    class_names: tuple = ()
    inpainting_token: str = "own"
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)

    @property
    def grid(self):
        """Latent grid (t, h, w); odd axes round up, as the pools do."""
        return tuple(-(-n // f) for n, f in zip((self.frames, self.height, self.width), self.tokenizer.factors()))

    @property
    def tokens(self):
        t, h, w = self.grid
        return t * h * w

    @property
    def prefix(self):
        return 2 if self.multi_task else 1

    @property
    def vocab(self):
        return self.tokenizer.codebook_size + self.num_classes + 1 + (16 if self.multi_task else 1)

    @property
    def length(self):
        return self.prefix + self.tokens

    @property
    def mask_id(self):
        return self.vocab - 1

    def class_id(self, label=None):
        """Token of a class; of "no class" for None."""
        return self.tokenizer.codebook_size + (self.num_classes if label is None else label)

    def task_id(self, task):
        """Task token of one of TASKS."""
        inpainting = 7 if self.inpainting_token == "own" else 6
        back = {"CG": 3, "FP": 4, "CFP": 4, "FI": 5, "IPC": inpainting, "IPD": inpainting}.get(task, 6)
        return self.vocab - back

    def prompt(self, task, label=None):
        """Prefix ids: [task][class] or [class]."""
        label = label if task in ("CG", "CFP") else None
        return ([self.task_id(task)] if self.multi_task else []) + [self.class_id(label)]

    @classmethod
    def from_dict(cls, d):
        """From a parsed TOML file; tables that are not part of the model are ignored."""
        top = {k: d[k] for k in ("name", "frames", "height", "width", "multi_task", "num_classes",
                                 "class_names", "inpainting_token") if k in d}
        top["class_names"] = tuple(top.get("class_names", ()))
        tok = {k: tuple(v) if isinstance(v, list) else v for k, v in d.get("tokenizer", {}).items()}
        return cls(**top, tokenizer=TokenizerConfig(**tok),
                   transformer=TransformerConfig(**d.get("transformer", {})),
                   sampler=SamplerConfig(**d.get("sampler", {})))

    @classmethod
    def load(cls, path):
        with open(path, "rb") as f:
            return cls.from_dict(tomllib.load(f))

    def metadata(self):
        """The model file's string attributes."""
        def text(v):
            return ",".join(str(x) for x in v) if isinstance(v, (list, tuple)) else str(v)

        m = {"format": "magvit", "format_version": "1"}
        for k in ("name", "frames", "height", "width", "multi_task", "num_classes", "class_names",
                  "inpainting_token"):
            m[k] = text(getattr(self, k))
        for k, v in vars(self.tokenizer).items():
            if k != "dims":
                m["tokenizer." + k] = text(v)
        n = len(self.tokenizer.channel_multipliers) - 1
        m["tokenizer.temporal_downsample"] = text(self.tokenizer.temporal_downsample[:n])
        for k, v in vars(self.transformer).items():
            m["transformer." + k] = text(v)
        m["transformer.vocab"], m["transformer.length"] = str(self.vocab), str(self.length)
        for k, v in vars(self.sampler).items():
            m["sampler." + k] = text(v)
        return m

    @classmethod
    def from_metadata(cls, m):
        """Inverse of metadata()."""
        def parse(text, like):
            if isinstance(like, tuple):
                parts = text.split(",") if text else []
                return tuple(int(p) for p in parts) if like else tuple(parts)
            return type(like)(text)

        def fill(obj, prefix):
            for k, v in vars(obj).items():
                if prefix + k in m:
                    setattr(obj, k, parse(m[prefix + k], v))
            return obj

        c = fill(cls(), "")
        for part in ("tokenizer", "transformer", "sampler"):
            fill(getattr(c, part), part + ".")
        return c


# The paper's sizes at 128x128, and one below them.
PRESETS = {
    "S": Config(name="magvit-s", tokenizer=TokenizerConfig(base_channels=32),
                transformer=TransformerConfig(layers=12, hidden=384, heads=6, mlp=1536)),
    "B": Config(name="magvit-b"),
    "L": Config(name="magvit-l", tokenizer=TokenizerConfig(base_channels=128),
                transformer=TransformerConfig(layers=24, hidden=1024, heads=16, mlp=4096)),
}
