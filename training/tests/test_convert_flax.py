"""Run from training/: python3 -m unittest discover -s tests -t .

The checkpoints are made here, names and shapes as the official code gives them, and the reference network works on its
layouts, so neither knows the converter's tables.
"""
import contextlib
import io
import os
import tempfile
import unittest
from unittest import mock

import numpy as np
import torch

import convert_flax
from convert_flax import Lazy
from magvit import safetensors
from magvit.config import PRESETS, Config, TokenizerConfig
from magvit.model import Model

try:
    import msgpack
except ImportError:
    msgpack = None

# (in, out) of the residual blocks, and widths of the upsampling convolutions, of B; L has twice the channels.
B128 = (64, [(64, 64), (64, 64), (64, 128), (128, 128), (128, 128), (128, 128), (128, 256)] + [(256, 256)] * 3,
        [(256, 256)] * 4 + [(256, 128)] + [(128, 128)] * 3 + [(128, 64), (64, 64)], [256, 128, 128])
B64 = (64, [(64, 64), (64, 64), (64, 128), (128, 128), (128, 256)] + [(256, 256)] * 3,
       [(256, 256)] * 4 + [(256, 128), (128, 128), (128, 64), (64, 64)], [256, 128])
SMALL = (4, [(4, 4), (4, 4), (4, 8), (8, 8), (8, 12), (12, 12), (12, 12), (12, 12)],
         [(12, 12)] * 4 + [(12, 8), (8, 8), (8, 4), (4, 4)], [12, 8])


def twice(f, encoder, decoder, ups):
    return 2 * f, [(2 * a, 2 * b) for a, b in encoder], [(2 * a, 2 * b) for a, b in decoder], [2 * c for c in ups]


def tokenizer_shapes(f, encoder, decoder, ups, dim=256, codes=1024):
    """{published name: shape}"""
    s = {"quantizer/codebook": (codes, dim)}
    for part, blocks in (("encoder", encoder), ("decoder", decoder)):
        for n, (a, b) in enumerate(blocks):
            p = f"{part}/ResBlock_{n}/"
            s.update({p + "GroupNorm_0/scale": (a,), p + "GroupNorm_0/bias": (a,), p + "Conv_0/kernel": (3, 3, 3, a, b),
                      p + "GroupNorm_1/scale": (b,), p + "GroupNorm_1/bias": (b,), p + "Conv_1/kernel": (3, 3, 3, b, b)})
            if a != b:
                s[p + "Conv_2/kernel"] = (1, 1, 1, a, b)
        for leaf in ("scale", "bias"):
            s[f"{part}/GroupNorm_0/{leaf}"] = (blocks[-1][1],)
    top = encoder[-1][1]
    s["encoder/Conv_0/kernel"] = (3, 3, 3, 3, f)
    s["encoder/Conv_1/kernel"], s["encoder/Conv_1/bias"] = (1, 1, 1, top, dim), (dim,)
    widths = [(dim, top)] + [(c, c) for c in ups] + [(f, 3)]
    for n, (a, b) in enumerate(widths):
        s[f"decoder/Conv_{n}/kernel"], s[f"decoder/Conv_{n}/bias"] = (3, 3, 3, a, b), (b,)
    return s


def transformer_shapes(layers, hidden, heads, mlp, vocab, length):
    d = hidden // heads
    s = {"BertEmbed_0/word_embeddings/embedding": (vocab, hidden),
         "BertEmbed_0/position_embeddings/embedding": (length, hidden),
         "BertMlmLayer_0/mlm_dense/kernel": (hidden, hidden), "BertMlmLayer_0/mlm_dense/bias": (hidden,),
         "BertMlmLayer_0/mlm_bias/bias": (vocab,)}
    norms = ["BertEmbed_0/embeddings_ln", "BertMlmLayer_0/mlm_ln"]
    for i in range(layers):
        p = f"BertLayer_{i}/BertAttention_0/self_attention/"
        for k in ("query", "key", "value"):
            s[p + k + "/kernel"], s[p + k + "/bias"] = (hidden, heads, d), (heads, d)
        s[p + "out/kernel"], s[p + "out/bias"] = (heads, d, hidden), (hidden,)
        p = f"BertLayer_{i}/BertMlp_0/"
        s[p + "intermediate_output/kernel"], s[p + "intermediate_output/bias"] = (hidden, mlp), (mlp,)
        s[p + "layer_output/kernel"], s[p + "layer_output/bias"] = (mlp, hidden), (hidden,)
        norms += [f"BertLayer_{i}/BertAttention_0/attention_output_ln", p + "layer_output_ln"]
    for p in norms:
        s[p + "/scale"] = s[p + "/bias"] = (hidden,)
    return s


def total(shapes):
    return sum(int(np.prod(s)) for s in shapes.values())


def leaves_of(shapes):
    """Leaves that take no memory: one value, no strides."""
    return {k: Lazy(s, lambda s=s: np.broadcast_to(np.float32(1), s)) for k, s in shapes.items()}


def configure(halves, *options):
    return convert_flax.configure({k: leaves_of(s) for k, s in halves.items()},
                                  convert_flax.parse(["--model", "x", "--tokenizer", "x", *options]))


# A model of half a billion parameters, none of them touched.
@mock.patch("torch.nn.init.trunc_normal_", lambda t, **kw: t)
@mock.patch("torch.nn.init.xavier_uniform_", lambda t: t)
@mock.patch("torch.nn.init.kaiming_uniform_", lambda t, **kw: t)
@mock.patch("torch.nn.init.uniform_", lambda t, *a: t)
@mock.patch("torch.nn.init.normal_", lambda t, *a: t)
class Published(unittest.TestCase):
    """Names, shapes and sizes of the published configurations."""

    def check(self, half, cfg, shapes):
        leaves = leaves_of(shapes)
        pairs = convert_flax.match(convert_flax.PAIRS[half](cfg), leaves)
        model = Model(cfg)
        prefix = "transformer." if half == "transformer" else ""
        want = {prefix + k: tuple(v.shape) for k, v in getattr(model, half).state_dict().items()}
        made = {}
        for p in pairs:
            a = convert_flax.to_model(p, leaves[p.flax].read())
            self.assertEqual(convert_flax.to_flax(p, a).shape, shapes[p.flax])
            self.assertNotIn(p.name, made)
            made[p.name] = a.shape
        self.assertEqual(made, want)

    def test_tokenizer(self):
        for sizes, f, multipliers, leaves, count in (
                (B128, 64, (1, 2, 2, 4), 142, 40579843), (twice(*B128), 128, (1, 2, 2, 4), 142, 157811971),
                (B64, 64, (1, 2, 4), 116, 36596355), (twice(*B64), 128, (1, 2, 4), 116, 141882371)):
            shapes = tokenizer_shapes(*sizes)
            self.assertEqual((len(shapes), total(shapes)), (leaves, count))
            cfg = configure({"tokenizer": shapes})
            t = cfg.tokenizer
            self.assertEqual((t.base_channels, t.channel_multipliers, t.res_blocks), (f, multipliers, 2))
            self.assertEqual((t.embedding_dim, t.codebook_size, t.padding, t.groups), (256, 1024, "zero", 32))
            self.assertEqual(cfg.grid, (4, 16, 16))
            self.check("tokenizer", cfg, shapes)

    def test_transformer(self):
        for preset, multi_task, single in (("B", 87236625, 87301991), ("L", 305480721, 305567847)):
            t = PRESETS[preset].transformer
            sizes = (t.layers, t.hidden, t.heads, t.mlp)
            for vocab, length, count, prompt in ((1041, 1026, multi_task, (1, 0)), (1127, 1025, single, (0, 101))):
                shapes = transformer_shapes(*sizes, vocab, length)
                self.assertEqual(total(shapes), count)
                cfg = configure({"transformer": shapes})
                self.assertEqual((cfg.multi_task, cfg.num_classes), prompt)
                self.assertEqual((cfg.transformer, cfg.vocab, cfg.length), (t, vocab, length))
                self.check("transformer", cfg, shapes)

    def test_web_demo(self):
        """Four blocks a level and a larger codebook, as in H."""
        def four(blocks):
            return [x for a, b in zip(blocks[::2], blocks[1::2]) for x in (a, b, b[1:] * 2, b[1:] * 2)]
        f, encoder, decoder, ups = twice(*B128)
        shapes = tokenizer_shapes(f, four(encoder), four(decoder), ups, 512, 4096)
        t = configure({"tokenizer": shapes}).tokenizer
        self.assertEqual((t.res_blocks, t.embedding_dim, t.codebook_size), (4, 512, 4096))


# ---- a reference in Flax's layouts: clips are [T,H,W,C] ----

def conv(p, x):
    k = p["kernel"]
    if k.shape[0] == 3:
        x = np.pad(x, [(1, 1)] * 3 + [(0, 0)])
    t, h, w = (n - m + 1 for n, m in zip(x.shape[:3], k.shape))
    y = sum(x[a:a + t, b:b + h, c:c + w] @ k[a, b, c] for a, b, c in np.ndindex(*k.shape[:3]))
    return y + p.get("bias", 0)


def swish_norm(p, x, groups=2):
    g = x.reshape(*x.shape[:3], groups, -1)
    g = (g - g.mean((0, 1, 2, 4), keepdims=True)) / np.sqrt(g.var((0, 1, 2, 4), keepdims=True) + 1e-6)
    x = g.reshape(x.shape) * p["scale"] + p["bias"]
    return x / (1 + np.exp(-x))


def block(p, x):
    y = conv(p["Conv_0"], swish_norm(p["GroupNorm_0"], x))
    y = conv(p["Conv_1"], swish_norm(p["GroupNorm_1"], y))
    return y + (conv(p["Conv_2"], x) if "Conv_2" in p else x)


def encoder(p, x):
    """Three levels of two blocks; time is halved at the second transition only."""
    x = conv(p["Conv_0"], x)
    for n in range(8):
        x = block(p[f"ResBlock_{n}"], x)
        if n in (1, 3):
            t, h, w, c = x.shape
            s = n // 2 + 1
            x = x.reshape(t // s, s, h // 2, 2, w // 2, 2, c).mean((1, 3, 5))
    return conv(p["Conv_1"], swish_norm(p["GroupNorm_0"], x))


def decoder(p, x):
    x = conv(p["Conv_0"], x)
    for n in range(8):
        x = block(p[f"ResBlock_{n}"], x)
        if n in (3, 5):
            x = x.repeat(2 if n == 3 else 1, 0).repeat(2, 1).repeat(2, 2)
            x = conv(p[f"Conv_{n // 2}"], x)
    return conv(p["Conv_3"], swish_norm(p["GroupNorm_0"], x))


def layer_norm(p, x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12) * p["scale"] + p["bias"]


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def gelu(x):
    return x / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x ** 3)))


def bert(p, ids):
    e = p["BertEmbed_0"]
    word = e["word_embeddings"]["embedding"]
    x = layer_norm(e["embeddings_ln"], word[ids] + e["position_embeddings"]["embedding"])
    for i in range(11):
        a, m = p[f"BertLayer_{i}"]["BertAttention_0"], p[f"BertLayer_{i}"]["BertMlp_0"]
        q, k, v = (np.einsum("li,ihd->hld", x, a["self_attention"][n]["kernel"])
                   + a["self_attention"][n]["bias"][:, None] for n in ("query", "key", "value"))
        s = np.exp(np.einsum("hld,hmd->hlm", q, k) / q.shape[2] ** 0.5)
        y = np.einsum("hlm,hmd->lhd", s / s.sum(2, keepdims=True), v)
        out = a["self_attention"]["out"]
        x = layer_norm(a["attention_output_ln"], x + np.einsum("lhd,hdo->lo", y, out["kernel"]) + out["bias"])
        x = layer_norm(m["layer_output_ln"], x + dense(m["layer_output"], gelu(dense(m["intermediate_output"], x))))
    head = p["BertMlmLayer_0"]
    return layer_norm(head["mlm_ln"], gelu(dense(head["mlm_dense"], x))) @ word.T + head["mlm_bias"]["bias"]


def random_leaves(shapes, seed):
    """Sorted names, as a checkpoint has them; spreads that keep activations of order one."""
    rng, out = np.random.default_rng(seed), {}
    for k in sorted(shapes):
        s = shapes[k]
        a = rng.standard_normal(s)
        if k.endswith("/kernel"):
            inputs = np.prod(s[:2]) if k.endswith("out/kernel") else np.prod(s[:4]) if len(s) == 5 else s[0]
            a *= inputs ** -0.5
        elif k.endswith("scale"):
            a = 1 + 0.2 * a
        elif k.endswith("bias"):
            a *= 0.2
        out[k] = a.astype(np.float32)
    return out


def nest(leaves):
    tree = {}
    for k in sorted(leaves, key=lambda k: k.split("/")):
        *parents, last = k.split("/")
        node = tree
        for p in parents:
            node = node.setdefault(p, {})
        node[last] = leaves[k]
    return tree


class BFloat16:
    """What an array of that type leaves in a file."""

    def __init__(self, a):
        self.shape, self.bits = a.shape, safetensors._bf16(a)


def flax_bytes(tree, chunk=None):
    """As flax.serialization writes it."""
    def array(shape, dtype, data):
        return msgpack.packb((shape, dtype, data), use_bin_type=True)

    def default(x):
        if isinstance(x, BFloat16):
            return msgpack.ExtType(1, array(x.shape, "bfloat16", x.bits.tobytes()))
        if isinstance(x, np.ndarray):
            return msgpack.ExtType(1, array(x.shape, x.dtype.name, x.tobytes()))
        if isinstance(x, np.generic):
            return msgpack.ExtType(3, array((), x.dtype.name, x.tobytes()))
        if isinstance(x, complex):
            return msgpack.ExtType(2, msgpack.packb((x.real, x.imag)))
        raise TypeError(type(x))

    def split(x):
        if isinstance(x, dict):
            return {k: split(v) for k, v in x.items()}
        if chunk and isinstance(x, np.ndarray) and x.nbytes > chunk:
            n, flat = chunk // x.itemsize, x.reshape(-1)
            parts = [flat[i:i + n] for i in range(0, x.size, n)]
            return {"__msgpack_chunked_array__": True, "shape": {str(i): s for i, s in enumerate(x.shape)},
                    "chunks": {str(i): c for i, c in enumerate(parts)}}
        return x

    return msgpack.packb(split(tree), default=default, strict_types=True)


@unittest.skipIf(msgpack is None, "needs python3-msgpack")
class Files(unittest.TestCase):
    """A small model, really written: 3 levels, window of 4 frames of 8x12, ten tasks, two classes."""
    OPTIONS = ["--groups", "2", "--frames", "4", "--height", "8", "--width", "12", "--temporal-downsample", "0,1",
               "--name", "small", "--class-names", "cat,dog", "--steps", "8", "--choice-temperature", "3.5"]

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name
        self.tokenizer = random_leaves(tokenizer_shapes(*SMALL, 6, 20), 0)
        self.transformer = random_leaves(transformer_shapes(11, 12, 3, 20, 20 + 3 + 16, 2 + 2 * 2 * 3), 1)
        self.model = self.path("m.safetensors")

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, tree, chunk=None):
        with open(self.path(name), "wb") as f:
            f.write(flax_bytes(tree, chunk))
        return self.path(name)

    def read(self, path):
        with open(path, "rb") as f:
            return f.read()

    def checkpoints(self, chunk=None):
        step = np.array(74000, np.int32)
        return (self.write("tok", {"global_step": step, "ema_params": nest(self.tokenizer)}, chunk),
                self.write("trf", {"global_step": step, "params": nest(self.transformer)}, chunk))

    def run_main(self, *argv):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            convert_flax.main(list(argv))
        return out.getvalue()

    def convert(self, tokenizer, transformer, *options):
        return self.run_main("--tokenizer", tokenizer, "--transformer", transformer, "--model", self.model,
                             *self.OPTIONS, *options)

    def fails(self, *argv):
        """The one line of an error, after which no file is left."""
        with self.assertRaises(SystemExit) as e:
            self.run_main("--model", self.model, *self.OPTIONS, *argv)
        text = str(e.exception)
        self.assertNotIn("\n", text)
        self.assertFalse([f for f in os.listdir(self.dir) if "m.safetensors" in f])
        return text

    def test_same_network(self):
        self.convert(*self.checkpoints(), "--f32")
        m = Model.load(self.model)
        c = m.cfg
        self.assertEqual((c.name, c.grid, c.multi_task, c.num_classes), ("small", (2, 2, 3), 1, 2))
        self.assertEqual((c.class_names, c.inpainting_token, c.sampler.steps), (("cat", "dog"), "outpainting", 8))
        self.assertEqual((c.transformer.layers, c.transformer.heads, c.transformer.mlp), (11, 3, 20))
        rng = np.random.default_rng(2)
        tree, clip = nest(self.tokenizer), rng.random((4, 8, 12, 3))
        with torch.no_grad():
            z = m.tokenizer.encoder(torch.from_numpy(clip).float().permute(3, 0, 1, 2)[None])
            ids = m.tokenizer.encode(torch.from_numpy(clip).float().permute(3, 0, 1, 2)[None])[0].numpy()
            pixels = m.tokenizer.decode(torch.from_numpy(ids)[None])[0].permute(1, 2, 3, 0).numpy()
        want = encoder(tree["encoder"], clip)
        np.testing.assert_allclose(z[0].permute(1, 2, 3, 0).numpy(), want, atol=2e-4)
        book = tree["quantizer"]["codebook"]
        np.testing.assert_array_equal(ids, ((want[..., None, :] - book) ** 2).sum(-1).argmin(-1))
        np.testing.assert_allclose(pixels, decoder(tree["decoder"], book[ids]), atol=2e-4)
        ids = rng.integers(0, c.vocab, c.length)
        with torch.no_grad():
            logits = m.transformer(torch.from_numpy(ids)[None])[0].numpy()
        np.testing.assert_allclose(logits, bert(nest(self.transformer), ids)[2:, :20], atol=5e-4)

    def test_there_and_back(self):
        for chunk in (None, 1000):
            tok, trf = self.checkpoints(chunk)
            self.convert(tok, trf, "--f32")
            with mock.patch("convert_flax.CHUNK_BYTES", chunk or 2 ** 30):
                self.run_main("--reverse", "--model", self.model, "--tokenizer", tok + "2", "--transformer", trf + "2")
            self.assertEqual(self.read(tok), self.read(tok + "2"))
            self.assertEqual(self.read(trf), self.read(trf + "2"))

    def test_model_file(self):
        """Byte for byte what the exporter writes of the same weights."""
        for options, bf16 in (["--f32"], False), ([], True):
            self.convert(*self.checkpoints(), *options)
            steps = {"training.tokenizer_step": 74000, "training.transformer_step": 74000}
            m = Model.load(self.model)
            m.save(self.path("again"), bf16=bf16, extra=steps)
            self.assertEqual(self.read(self.model), self.read(self.path("again")))
        exact = self.tokenizer["decoder/Conv_3/bias"]
        np.testing.assert_allclose(m.tensors()["decoder.conv_out.bias"], exact, rtol=2 ** -8)

    def test_layouts(self):
        """Whole training states, current and legacy, give the same file; only the wanted weights count."""
        self.convert(*self.checkpoints())
        want = safetensors.load(self.model)
        other, tree = {k: v + 1 for k, v in self.tokenizer.items()}, nest(self.tokenizer)
        state = {"0": {"count": np.int32(7), "mu": nest(other), "nu": nest(other)}, "1": {}}
        rng = np.array([1, 2], np.uint32)
        tok = self.write("tok", {
            "global_step": 74000, "g_opt_state": state, "d_opt_state": {}, "g_model_state": {}, "d_model_state": {},
            "rng": rng, "metadata": {"lecam_ema_real": np.float32(0.5), "lecam_ema_fake": None, "z": 1j},
            "g_params": nest(other), "d_params": {"Conv_0": {"bias": rng}}, "ema_params": tree})
        trf = self.write("trf", {"global_step": np.int32(74000), "opt_state": {}, "params": nest(self.transformer),
                                 "model_state": {}, "rng": rng, "metadata": None})
        legacy_tok = self.write("ltok", {
            "global_step": 74000, "g_optimizer": {"target": nest(other), "state": state}, "d_optimizer": {},
            "generator_state": {}, "discriminator_state": {}, "ema_params": tree, "rng": rng, "metadata": {}})
        legacy_trf = self.write("ltrf", {"global_step": 74000, "optimizer": {
            "state": {"step": 74000, "param_states": nest(other)}, "target": nest(self.transformer)}, "model_state": {}})
        for files in ((tok, trf), (legacy_tok, legacy_trf)):
            os.remove(self.model)
            self.convert(*files)
            tensors, metadata = safetensors.load(self.model)
            self.assertEqual(metadata, want[1])
            for k, v in want[0].items():
                np.testing.assert_array_equal(tensors[k], v)

    def test_bfloat16(self):
        self.convert(*self.checkpoints())
        want = self.read(self.model)
        tok, trf = (nest({k: BFloat16(v) for k, v in leaves.items()}) for leaves in (self.tokenizer, self.transformer))
        self.convert(self.write("tok", {"global_step": 74000, "ema_params": tok}),
                     self.write("trf", {"global_step": 74000, "params": trf}))
        self.assertEqual(self.read(self.model), want)

    def test_halves(self):
        tok, trf = self.checkpoints()
        self.convert(tok, trf)
        whole = safetensors.load(self.model)[0]
        self.run_main("--tokenizer", tok, "--model", self.model, *self.OPTIONS[:-6])
        tensors, metadata = safetensors.load(self.model)
        self.assertEqual(set(tensors), {k for k in whole if not k.startswith("transformer.")})
        self.assertFalse([k for k in metadata if k.startswith("transformer.")])
        self.assertEqual(Config.from_metadata(metadata).tokenizer,
                         TokenizerConfig(base_channels=4, channel_multipliers=(1, 2, 3), temporal_downsample=(0, 1),
                                         embedding_dim=6, codebook_size=20, padding="zero", groups=2))
        self.run_main("--transformer", trf, "--model", self.model, "--codebook-size", "20",
                      "--channel-multipliers", "1,2,3", *self.OPTIONS)
        tensors, metadata = safetensors.load(self.model)
        self.assertEqual(set(tensors), {k for k in whole if k.startswith("transformer.")})
        self.assertEqual((metadata["num_classes"], metadata["transformer.length"]), ("2", "14"))
        self.run_main("--reverse", "--model", self.model, "--transformer", trf + "2")
        os.rename(self.model, self.path("half"))
        with self.assertRaisesRegex(SystemExit, "tensor quantizer.codebook.weight of .* is missing"):
            self.run_main("--reverse", "--model", self.path("half"), "--tokenizer", tok + "2")

    def test_segments(self):
        tok, trf = self.checkpoints()
        self.convert(tok, trf, "--f32")
        want = safetensors.load(self.model)[0]["transformer.position_embeddings.weight"]
        os.remove(self.model)
        table = np.random.default_rng(3).standard_normal((2, 12)).astype(np.float32)
        leaves = {**self.transformer, "BertEmbed_0/segment_embeddings/embedding": table}
        trf = self.write("trf", {"params": nest(leaves)})
        text = self.fails("--tokenizer", tok, "--transformer", trf)
        self.assertIn("BertEmbed_0/segment_embeddings/embedding", text)
        self.convert(tok, trf, "--f32", "--fold-segments")
        got = safetensors.load(self.model)[0]["transformer.position_embeddings.weight"]
        np.testing.assert_array_equal(got, want + table[:1])

    def test_wrong_parameters(self):
        tok, trf = self.checkpoints()
        deep = "BertLayer_10/BertAttention_0/self_attention/out/kernel"
        cases = [("tokenizer", k) for k in ("encoder/Conv_0/kernel", "quantizer/codebook", "decoder/Conv_2/bias",
                                            "encoder/ResBlock_2/Conv_2/kernel", "decoder/ResBlock_6/GroupNorm_1/scale")]
        cases += [("transformer", k) for k in (deep, "BertEmbed_0/embeddings_ln/bias", "BertMlmLayer_0/mlm_bias/bias")]
        for half, k in cases:
            for change in ("missing", "surplus", "shape"):
                leaves, named = dict(getattr(self, half)), k
                if change == "missing":
                    del leaves[k]
                elif change == "surplus":
                    named = k.rsplit("/", 1)[0] + "/extra"
                    leaves[named] = leaves[k]
                else:
                    leaves[k] = leaves[k][None]
                with self.subTest(change=change, name=named):
                    path = self.write("bad", {"ema_params" if half == "tokenizer" else "params": nest(leaves)})
                    files = {"tokenizer": tok, "transformer": trf, half: path}
                    self.assertIn(f"parameter {named}",
                                  self.fails("--tokenizer", files["tokenizer"], "--transformer", files["transformer"]))

    def test_wrong_files(self):
        tok, trf = self.checkpoints()

        def fails(path):
            return self.fails("--tokenizer", path, "--transformer", trf)

        self.assertIn("expected ema_params", fails(trf))
        self.assertIn("is a folder", fails(self.dir))
        self.assertIn("nowhere", fails(self.path("nowhere")))
        with open(self.path("short"), "wb") as f:
            f.write(self.read(tok)[:-100])
        self.assertIn("cut short", fails(self.path("short")))
        for data in (b"", b"PK\3\4 something else", os.urandom(100), b"\x93\1\2\3"):
            with open(self.path("junk"), "wb") as f:
                f.write(data)
            self.assertIn("junk", fails(self.path("junk")))
        tree = {"ema_params": nest({**self.tokenizer, "encoder/Conv_1/bias": np.zeros(6, np.int32)})}
        self.assertIn("encoder/Conv_1/bias", fails(self.write("int", tree)))
        data = flax_bytes({"ema_params": nest(self.tokenizer)}, 1000).replace(b"\xa6chunks", b"\xa6chonks", 1)
        with open(self.path("chunks"), "wb") as f:
            f.write(data)
        self.assertIn("chunks do not make up", fails(self.path("chunks")))

    def test_wrong_options(self):
        files = ("--tokenizer", self.checkpoints()[0], "--transformer", self.checkpoints()[1])
        for option, value, text in (("--frames", "16", "--frames"), ("--groups", "32", "--groups"),
                                    ("--temporal-downsample", "1", "2"), ("--class-names", "cat", "--class-names")):
            self.assertIn(text, self.fails(*files, option, value))
        with mock.patch("convert_flax.msgpack", None):
            self.assertIn("python3-msgpack", self.fails(*files))


if __name__ == "__main__":
    unittest.main()
