#!/usr/bin/env python3
"""Make a model file from checkpoints of the official MAGVIT code (Flax, msgpack), or the other way round.

    convert_flax.py --tokenizer RUN1/checkpoint_37000 --transformer RUN2/checkpoint_74000 --model OUT.safetensors
    convert_flax.py --reverse --model IN.safetensors --tokenizer OUT1 --transformer OUT2

With one of the two checkpoints, the model file holds that half only.  Every parameter of a checkpoint has exactly one
place in the model, and every tensor of the model is filled: anything else is an error that names it.  Sizes are read
off the shapes; what shapes cannot tell is an option.  Arrays are read, turned and written one at a time.
"""
import argparse
import itertools
import json
import math
import mmap
import os
import re
import struct
import sys
from collections import namedtuple

import numpy as np

try:
    import msgpack
except ImportError:
    msgpack = None

from magvit import safetensors
from magvit.config import Config, SamplerConfig, TokenizerConfig

ROOTS = {"tokenizer": ("ema_params",), "transformer": ("params", "optimizer/target")}
CHUNKED = "__msgpack_chunked_array__"
CHUNK_BYTES = 2 ** 30  # Flax splits larger arrays
ARRAY, SCALAR = 1, 3   # codes of msgpack extension types
SEGMENTS = "BertEmbed_0/segment_embeddings/embedding"


class ConvertError(Exception):
    """What is wrong, in one line."""


# An array that is not in memory: read() makes it, float32.
Lazy = namedtuple("Lazy", "shape read")
# A parameter: name and shape in Flax, name and shape in the model file.
Pair = namedtuple("Pair", "flax flax_shape name shape")


# ---- names ----

def _conv(flax, name, cin, cout, kernel=3, bias=False):
    yield Pair(flax + "/kernel", (kernel,) * 3 + (cin, cout), name + ".weight", (cout, cin) + (kernel,) * 3)
    if bias:
        yield Pair(flax + "/bias", (cout,), name + ".bias", (cout,))


def _norm(flax, name, c):
    yield Pair(flax + "/scale", (c,), name + ".weight", (c,))
    yield Pair(flax + "/bias", (c,), name + ".bias", (c,))


def _dense(flax, name, cin, cout):
    """cin and cout are tuples: an axis each, or (heads, head width)."""
    yield Pair(flax + "/kernel", cin + cout, name + ".weight", (math.prod(cout), math.prod(cin)))
    yield Pair(flax + "/bias", cout, name + ".bias", (math.prod(cout),))


def _table(flax, name, *shape):
    yield Pair(flax, shape, name, shape)


def _block(flax, name, cin, cout):
    yield from _norm(flax + "/GroupNorm_0", name + ".norm1", cin)
    yield from _conv(flax + "/Conv_0", name + ".conv1", cin, cout)
    yield from _norm(flax + "/GroupNorm_1", name + ".norm2", cout)
    yield from _conv(flax + "/Conv_1", name + ".conv2", cout, cout)
    if cin != cout:
        yield from _conv(flax + "/Conv_2", name + ".shortcut", cin, cout, kernel=1)


def tokenizer_pairs(cfg):
    """Flax numbers the modules of a kind in the order of their calls, so the decoder counts from its middle on."""
    t = cfg.tokenizer
    widths = [t.base_channels * m for m in t.channel_multipliers]
    top, levels, blocks = widths[-1], len(widths), range(t.res_blocks)
    yield from _table("quantizer/codebook", "quantizer.codebook.weight", t.codebook_size, t.embedding_dim)

    yield from _conv("encoder/Conv_0", "encoder.conv_in", 3, t.base_channels)
    number, c = itertools.count(), t.base_channels
    for i, width in enumerate(widths):
        for j in blocks:
            yield from _block(f"encoder/ResBlock_{next(number)}", f"encoder.down.{i}.block.{j}", c, width)
            c = width
    for j in blocks:
        yield from _block(f"encoder/ResBlock_{next(number)}", f"encoder.mid.{j}", top, top)
    yield from _norm("encoder/GroupNorm_0", "encoder.norm_out", top)
    yield from _conv("encoder/Conv_1", "encoder.conv_out", top, t.embedding_dim, kernel=1, bias=True)

    yield from _conv("decoder/Conv_0", "decoder.conv_in", t.embedding_dim, top, bias=True)
    number, c = itertools.count(), top
    for j in blocks:
        yield from _block(f"decoder/ResBlock_{next(number)}", f"decoder.mid.{j}", top, top)
    for i, width in reversed(list(enumerate(widths))):
        for j in blocks:
            yield from _block(f"decoder/ResBlock_{next(number)}", f"decoder.up.{i}.block.{j}", c, width)
            c = width
        if i:
            yield from _conv(f"decoder/Conv_{levels - i}", f"decoder.up.{i}.conv", c, c, bias=True)
    yield from _norm("decoder/GroupNorm_0", "decoder.norm_out", c)
    yield from _conv(f"decoder/Conv_{levels}", "decoder.conv_out", c, 3, bias=True)


def transformer_pairs(cfg):
    t = cfg.transformer
    hidden, heads = (t.hidden,), (t.heads, t.hidden // t.heads)
    for part, rows in (("word", cfg.vocab), ("position", cfg.length)):
        yield from _table(f"BertEmbed_0/{part}_embeddings/embedding", f"transformer.{part}_embeddings.weight",
                          rows, t.hidden)
    yield from _norm("BertEmbed_0/embeddings_ln", "transformer.embeddings_ln", t.hidden)
    for i in range(t.layers):
        flax, name = f"BertLayer_{i}/BertAttention_0", f"transformer.layer.{i}"
        for part in ("query", "key", "value"):
            yield from _dense(f"{flax}/self_attention/{part}", f"{name}.attention.{part}", hidden, heads)
        yield from _dense(flax + "/self_attention/out", name + ".attention.out", heads, hidden)
        yield from _norm(flax + "/attention_output_ln", name + ".attention_ln", t.hidden)
        flax = f"BertLayer_{i}/BertMlp_0"
        yield from _dense(flax + "/intermediate_output", name + ".mlp.intermediate", hidden, (t.mlp,))
        yield from _dense(flax + "/layer_output", name + ".mlp.output", (t.mlp,), hidden)
        yield from _norm(flax + "/layer_output_ln", name + ".mlp_ln", t.hidden)
    yield from _dense("BertMlmLayer_0/mlm_dense", "transformer.head.dense", hidden, hidden)
    yield from _norm("BertMlmLayer_0/mlm_ln", "transformer.head.ln", t.hidden)
    yield from _table("BertMlmLayer_0/mlm_bias/bias", "transformer.head.bias", cfg.vocab)


PAIRS = {"tokenizer": tokenizer_pairs, "transformer": transformer_pairs}


def to_model(pair, a):
    """Flax array -> ours: input channels are last but one there and second here."""
    if len(pair.shape) == 5:
        return a.transpose(4, 3, 0, 1, 2)
    if pair.flax.endswith("/kernel"):
        return a.reshape(pair.shape[::-1]).T
    return a.reshape(pair.shape)


def to_flax(pair, a):
    if len(pair.shape) == 5:
        return a.transpose(2, 3, 4, 1, 0)
    return (a.T if pair.flax.endswith("/kernel") else a).reshape(pair.flax_shape)


# ---- configuration ----

def _shape(leaves, name, axes):
    """Shape of a parameter that sizes are read from."""
    if name not in leaves:
        raise ConvertError(f"the checkpoint has no parameter {name}")
    if len(leaves[name].shape) != axes:
        raise ConvertError(f"parameter {name} is {list(leaves[name].shape)}, expected {axes} axes")
    return leaves[name].shape


def _count(leaves, stem):
    """Modules stem0, stem1, ... of a checkpoint, by the highest number."""
    numbers = (re.match(re.escape(stem) + r"(\d+)/", k) for k in leaves)
    return max((int(m[1]) + 1 for m in numbers if m), default=0)


def infer_tokenizer(leaves, t):
    """Fill a TokenizerConfig from the shapes {Flax name: Lazy}."""
    t.base_channels = _shape(leaves, "encoder/Conv_0/kernel", 5)[4]
    t.codebook_size, t.embedding_dim = _shape(leaves, "quantizer/codebook", 2)
    # The decoder has one convolution at its start, one after each upsampling, one at its end.
    levels, blocks = _count(leaves, "decoder/Conv_") - 1, _count(leaves, "encoder/ResBlock_")
    if levels < 1 or not blocks or blocks % (levels + 1):
        raise ConvertError(f"decoder/Conv_* stands for {levels} levels, and the {blocks} of encoder/ResBlock_* "
                           "are not a multiple of one more")
    t.res_blocks = blocks // (levels + 1)
    widths = [_shape(leaves, f"encoder/ResBlock_{i * t.res_blocks}/Conv_0/kernel", 5)[4] for i in range(levels)]
    for i, w in enumerate(widths):
        if w % t.base_channels:
            raise ConvertError(f"encoder/ResBlock_{i * t.res_blocks}/Conv_0/kernel has {w} channels, expected a "
                               f"multiple of {t.base_channels}")
    if t.groups < 1 or t.base_channels % t.groups:
        raise ConvertError(f"{t.base_channels} channels do not make {t.groups} groups (--groups)")
    t.channel_multipliers = tuple(w // t.base_channels for w in widths)


def infer_transformer(leaves, cfg):
    """Fill the transformer and the prompt of a Config whose window and tokenizer are known."""
    t = cfg.transformer
    vocab, t.hidden = _shape(leaves, "BertEmbed_0/word_embeddings/embedding", 2)
    length, _ = _shape(leaves, "BertEmbed_0/position_embeddings/embedding", 2)
    t.layers = _count(leaves, "BertLayer_")
    t.heads = _shape(leaves, "BertLayer_0/BertAttention_0/self_attention/query/kernel", 3)[1]
    t.mlp = _shape(leaves, "BertLayer_0/BertMlp_0/intermediate_output/kernel", 2)[1]
    if t.hidden % t.heads:
        raise ConvertError(f"hidden size {t.hidden} is no multiple of {t.heads} heads")
    prefix, grid = length - cfg.tokens, "x".join(map(str, cfg.grid))
    if prefix not in (1, 2):
        raise ConvertError(f"BertEmbed_0/position_embeddings/embedding has {length} rows, expected the {cfg.tokens} cells "
                           f"of grid {grid} and 1 or 2 (--frames, --height, --width, --temporal-downsample)")
    cfg.multi_task = prefix - 1
    if vocab < cfg.vocab:
        raise ConvertError(f"BertEmbed_0/word_embeddings/embedding has {vocab} rows, expected at least {cfg.vocab} "
                           f"for {cfg.tokenizer.codebook_size} codes")
    cfg.num_classes = vocab - cfg.vocab


def configure(halves, args):
    """Config of the checkpoints {half: leaves}."""
    given = {k: v for k, v in vars(args).items() if v is not None}

    def pick(kind):
        return kind(**{k: given[k] for k in vars(kind()) if k in given})

    cfg = pick(Config)
    cfg.tokenizer, cfg.sampler = pick(TokenizerConfig), pick(SamplerConfig)
    if "tokenizer" in halves:
        infer_tokenizer(halves["tokenizer"], cfg.tokenizer)
    n = len(cfg.tokenizer.channel_multipliers) - 1
    flags = cfg.tokenizer.temporal_downsample
    if len(flags) < n:
        raise ConvertError(f"--temporal-downsample has {len(flags)} flags, expected {n}")
    cfg.tokenizer.temporal_downsample = flags[:n]
    # The published models have a grid of 16x16, whatever their number of levels.
    cfg.height, cfg.width = given.get("height", 16 << n), given.get("width", 16 << n)
    if "transformer" in halves:
        infer_transformer(halves["transformer"], cfg)
        if cfg.class_names and len(cfg.class_names) != cfg.num_classes:
            raise ConvertError(f"--class-names has {len(cfg.class_names)} names, the checkpoint {cfg.num_classes} classes")
    return cfg


def model_metadata(cfg, halves, steps):
    """Attributes of the model file; of half a model only what its checkpoint tells."""
    m = cfg.metadata()
    if "tokenizer" not in halves:
        keep = ("codebook_size", "channel_multipliers", "temporal_downsample")
        m = {k: v for k, v in m.items() if not k.startswith("tokenizer.") or k[10:] in keep}
    if "transformer" not in halves:
        prompt = ("multi_task", "num_classes", "class_names", "inpainting_token")
        m = {k: v for k, v in m.items() if not k.startswith(("transformer.", "sampler.")) and k not in prompt}
    m.update({f"training.{half}_step": str(step) for half, step in steps.items() if step is not None})
    return m


def match(pairs, leaves):
    """Each parameter once, each tensor once, each of the right shape."""
    pairs = list(pairs)
    names = {p.flax for p in pairs}
    for p in pairs:
        if p.flax not in leaves:
            raise ConvertError(f"the checkpoint has no parameter {p.flax}, wanted for {p.name}")
    for k in leaves:
        if k not in names:
            raise ConvertError(f"parameter {k} of the checkpoint has no place in the model")
    for p in pairs:
        if leaves[p.flax].shape != p.flax_shape:
            raise ConvertError(f"parameter {p.flax} is {list(leaves[p.flax].shape)}, expected {list(p.flax_shape)}")
    return pairs


def fold_segments(leaves, fold):
    """Take the segment table out: our transformer has none."""
    table = leaves.pop(SEGMENTS, None)
    if table is None:
        return
    if not fold:
        raise ConvertError(f"parameter {SEGMENTS}: the model has no segments; "
                           "--fold-segments adds row 0 to all positions, and row 1 (masked cells of a condition) is lost")
    k = "BertEmbed_0/position_embeddings/embedding"
    positions = leaves.get(k)
    if positions is None or len(table.shape) != 2 or table.shape[1:] != positions.shape[1:]:
        raise ConvertError(f"parameter {SEGMENTS} is {list(table.shape)} and does not fit {k}")
    leaves[k] = Lazy(positions.shape, lambda: positions.read() + table.read()[:1])


# ---- Flax files ----

def _values(data, dtype):
    """Bytes -> float32"""
    if dtype == "bfloat16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    kind = np.dtype(dtype).newbyteorder("<")
    if kind.kind != "f":
        raise ValueError(f"values are {dtype}")
    return np.frombuffer(data, kind).astype(np.float32)


def _payload(data):
    """(shape, type name, bytes) of an array's extension"""
    shape, dtype, values = msgpack.unpackb(data, raw=True)
    return tuple(shape), dtype.decode(), values


def _array(name, data, start, end, ext):
    """Lazy of the array that lies at start .. end of a mapped file, or a number; ext is its value, which is not kept."""
    head = msgpack.Unpacker(raw=True)
    head.feed(ext.data[:256])
    if head.read_array_header() != 3:
        raise ConvertError(f"{name} is no array of Flax")
    shape = tuple(head.unpack())
    if shape == ():
        _, dtype, values = _payload(ext.data)
        return (_values(values, dtype) if dtype == "bfloat16" else np.frombuffer(values, dtype)).item()

    def read():
        try:
            _, dtype, values = _payload(msgpack.unpackb(memoryview(data)[start:end]).data)
            return _values(values, dtype).reshape(shape)
        except (ValueError, TypeError) as e:
            raise ConvertError(f"parameter {name} cannot be read: {e}") from None

    return Lazy(shape, read)


def _join(name, tree):
    """Lazy of an array in chunks."""
    try:
        shape = tuple(tree["shape"][str(i)] for i in range(len(tree["shape"])))
        chunks = [tree["chunks"][str(i)] for i in range(len(tree["chunks"]))]
        if sum(c.shape[0] for c in chunks) != math.prod(shape):
            raise ValueError
    except (KeyError, TypeError, AttributeError, IndexError, ValueError):
        raise ConvertError(f"parameter {name}: its chunks do not make up its shape") from None

    def read():
        out, at = np.empty(math.prod(shape), np.float32), 0
        for c in chunks:
            out[at:at + c.shape[0]] = c.read()
            at += c.shape[0]
        return out.reshape(shape)

    return Lazy(shape, read)


def _index(unpacker, data, name=""):
    """Tree of a mapped msgpack file with Lazy for its arrays."""
    start = unpacker.tell()
    first = data[start] if start < len(data) else 0
    if first & 0xF0 == 0x80 or first in (0xDE, 0xDF):  # the three forms of a map
        tree = {}
        for _ in range(unpacker.read_map_header()):
            key = unpacker.unpack()
            tree[key] = _index(unpacker, data, f"{name}/{key}" if name else key)
        return _join(name, tree) if CHUNKED in tree else tree
    value = unpacker.unpack()
    if isinstance(value, msgpack.ExtType):
        if value.code in (ARRAY, SCALAR):
            return _array(name, data, start, unpacker.tell(), value)
    return value


def _flatten(tree, name=""):
    for k, v in tree.items():
        path = f"{name}/{k}" if name else k
        if isinstance(v, dict):
            yield from _flatten(v, path)
        elif isinstance(v, Lazy):
            yield path, v
        else:
            raise ConvertError(f"parameter {path} is no array")


def read_checkpoint(path, roots):
    """({Flax name: Lazy} below the first of the roots that is there, global_step or None)"""
    if os.path.isdir(path):
        raise ConvertError(f"{path} is a folder, expected the one file checkpoint_STEP that older Flax writes in it")
    with open(path, "rb") as f:
        try:
            data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
            tree = _index(msgpack.Unpacker(data, raw=False, max_buffer_size=0), data)
            if not isinstance(tree, dict):
                raise ValueError("it does not begin with a map")
        except msgpack.OutOfData:
            raise ConvertError(f"{path} is cut short") from None
        except (ValueError, TypeError, msgpack.UnpackException) as e:
            raise ConvertError(f"{path} is no msgpack file of Flax: {e or type(e).__name__}") from None
    for root in roots:
        node = tree
        for key in root.split("/"):
            node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, dict):
            step = tree.get("global_step")
            return dict(_flatten(node)), step if isinstance(step, int) else None
    raise ConvertError(f"{path} has {', '.join(map(str, tree))}, expected {' or '.join(roots)}")


def _pack_array(packer, a):
    """msgpack of a float32 array, in chunks where Flax makes them."""
    a = np.ascontiguousarray(a, "<f4")
    if a.nbytes <= CHUNK_BYTES:
        yield packer.pack(msgpack.ExtType(ARRAY, msgpack.packb((a.shape, "float32", a.tobytes()))))
        return
    flat, n = a.reshape(-1), max(1, CHUNK_BYTES // 4)
    yield packer.pack_map_header(3)
    yield packer.pack(CHUNKED) + packer.pack(True)
    yield packer.pack("shape") + packer.pack({str(i): s for i, s in enumerate(a.shape)})
    starts = range(0, flat.size, n)
    yield packer.pack("chunks") + packer.pack_map_header(len(starts))
    for i, s in enumerate(starts):
        yield packer.pack(str(i))
        yield from _pack_array(packer, flat[s:s + n])


def _pack(packer, node):
    """msgpack of a tree in pieces; keys are sorted, as JAX leaves them."""
    if isinstance(node, Lazy):
        yield from _pack_array(packer, node.read())
        return
    yield packer.pack_map_header(len(node))
    for k in sorted(node):
        yield packer.pack(k)
        yield from _pack(packer, node[k])


def write_checkpoint(path, root, leaves, step):
    """leaves {Flax name: Lazy}"""
    tree = {}
    for name, leaf in leaves.items():
        *parents, last = name.split("/")
        node = tree
        for p in parents:
            node = node.setdefault(p, {})
        node[last] = leaf
    packer = msgpack.Packer()
    counter = msgpack.ExtType(ARRAY, msgpack.packb(((), "int32", struct.pack("<i", step))))
    with _replacing(path) as f:
        f.write(packer.pack_map_header(2) + packer.pack("global_step") + packer.pack(counter) + packer.pack(root))
        for piece in _pack(packer, tree):
            f.write(piece)


# ---- model files ----

class _replacing:
    """A file that appears under its name when it is complete."""

    def __init__(self, path):
        self.path, self.f = path, open(path + ".part", "wb")

    def __enter__(self):
        return self.f

    def __exit__(self, kind, *_):
        self.f.close()
        if kind:
            os.remove(self.path + ".part")
        else:
            os.replace(self.path + ".part", self.path)


def write_model(path, tensors, metadata, bf16):
    """What safetensors.save writes, from {name: Lazy} and one tensor at a time."""
    header, offset = {"__metadata__": metadata}, 0
    for name in sorted(tensors):
        shape = tensors[name].shape
        end = offset + math.prod(shape) * (2 if bf16 else 4)
        header[name] = {"dtype": "BF16" if bf16 else "F32", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with _replacing(path) as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(tensors):
            a = tensors[name].read()
            f.write((safetensors._bf16(a).astype("<u2") if bf16 else a.astype("<f4")).tobytes())


def read_model(path):
    """({name: Lazy}, metadata)"""
    def lazy(t):
        a, b = (start + x for x in t["data_offsets"])
        dtype = {"F32": "<f4", "F16": "<f2", "BF16": "bfloat16"}[t["dtype"]]
        return Lazy(tuple(t["shape"]), lambda: _values(data[a:b], dtype).reshape(t["shape"]))

    with open(path, "rb") as f:
        try:
            data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
            start = 8 + int.from_bytes(data[:8], "little")
            header = json.loads(data[8:start])
            metadata = header.pop("__metadata__", {})
            return {k: lazy(t) for k, t in header.items()}, metadata
        except (ValueError, KeyError, TypeError) as e:
            raise ConvertError(f"{path} is no model file: {e}") from None


# ---- both ways ----

def forward(args):
    halves, steps = {}, {}
    for half in PAIRS:
        if getattr(args, half + "_file"):
            halves[half], steps[half] = read_checkpoint(getattr(args, half + "_file"), ROOTS[half])
    fold_segments(halves.get("transformer", {}), args.fold_segments)
    cfg = configure(halves, args)
    tensors = {}
    for half, leaves in halves.items():
        for p in match(PAIRS[half](cfg), leaves):
            tensors[p.name] = Lazy(p.shape, lambda p=p, leaf=leaves[p.flax]: to_model(p, leaf.read()))
    metadata = model_metadata(cfg, halves, steps)
    write_model(args.model, tensors, metadata, not args.f32)
    print(f"{args.model}: {' and '.join(halves)}, {sum(math.prod(t.shape) for t in tensors.values())} parameters")
    print("  " + ", ".join(f"{k} {v}" for k, v in metadata.items() if v and not k.startswith(("format", "training."))))


def backward(args):
    tensors, metadata = read_model(args.model)
    cfg = Config.from_metadata(metadata)
    for half in PAIRS:
        path = getattr(args, half + "_file")
        if not path:
            continue
        rest = {k: v for k, v in tensors.items() if k.startswith("transformer.") == (half == "transformer")}
        leaves = {}
        for p in PAIRS[half](cfg):
            t = rest.pop(p.name, None)
            if t is None or t.shape != p.shape:
                raise ConvertError(f"tensor {p.name} of {args.model} is {list(t.shape) if t else 'missing'}, "
                                   f"expected {list(p.shape)}")
            leaves[p.flax] = Lazy(p.flax_shape, lambda p=p, t=t: to_flax(p, t.read()))
        for k in rest:
            raise ConvertError(f"tensor {k} of {args.model} has no place in a checkpoint")
        write_checkpoint(path, ROOTS[half][0], leaves, int(metadata.get(f"training.{half}_step", 0)))
        print(f"{path}: {half}, {sum(math.prod(leaf.shape) for leaf in leaves.values())} parameters")


def numbers(text):
    return tuple(int(x) for x in text.split(","))


def parse(argv=None):
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--model", required=True, help="our model file")
    ap.add_argument("--tokenizer", dest="tokenizer_file", metavar="FILE", help="Flax file of the tokenizer")
    ap.add_argument("--transformer", dest="transformer_file", metavar="FILE", help="Flax file of the transformer")
    ap.add_argument("--reverse", action="store_true", help="from the model file to the Flax files")
    ap.add_argument("--f32", action="store_true", help="float32 instead of bf16 in the model file")
    ap.add_argument("--fold-segments", action="store_true", help="add row 0 of a segment table to the positions")
    g = ap.add_argument_group("what shapes do not tell; without an option, the published configurations")
    g.add_argument("--name", help="of the model, free text")
    g.add_argument("--frames", type=int, help="default 16")
    g.add_argument("--height", type=int, help="default: a grid of 16x16, so 128 with four levels and 64 with three")
    g.add_argument("--width", type=int)
    g.add_argument("--padding", choices=("zero", "reflect"), default="zero", help="default zero; the paper's is reflect")
    g.add_argument("--temporal-downsample", type=numbers, metavar="1,1,0", help="a flag per transition between levels")
    g.add_argument("--groups", type=int, help="of the group norms, default 32")
    g.add_argument("--latent-normalize", type=int, choices=(0, 1))
    g.add_argument("--inpainting-token", choices=("own", "outpainting"), default="outpainting", help="default outpainting")
    g.add_argument("--class-names", type=lambda s: tuple(s.split(",")), metavar="A,B,...")
    g.add_argument("--steps", type=int, help="default of decoding, as are the next three")
    g.add_argument("--schedule")
    g.add_argument("--choice-temperature", type=float)
    g.add_argument("--temperature", type=float)
    g = ap.add_argument_group("for a transformer without its tokenizer")
    g.add_argument("--codebook-size", type=int, help="default 1024")
    g.add_argument("--channel-multipliers", type=numbers, metavar="1,2,2,4", help="their number counts")
    args = ap.parse_args(argv)
    if not args.tokenizer_file and not args.transformer_file:
        ap.error("needs --tokenizer or --transformer or both")
    return args


def main(argv=None):
    args = parse(argv)
    try:
        if msgpack is None:
            raise ConvertError("needs the Python module msgpack (Debian: apt-get install python3-msgpack)")
        (backward if args.reverse else forward)(args)
    except (ConvertError, OSError) as e:
        sys.exit(f"convert_flax: {e}")


if __name__ == "__main__":
    main()
