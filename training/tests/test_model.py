"""Run from training/: python3 -m unittest discover -s tests -t ."""
import os
import tempfile
import unittest
from dataclasses import replace
from unittest import mock

import numpy as np
import torch

import make_tiny
from magvit import cond, rng, safetensors, sampler
from magvit.fill import fill_holes
from magvit.config import PRESETS, TASKS, Config, TokenizerConfig
from magvit.model import Model
from magvit.pairs import masked_input
from magvit.tokenizer import GroupNorm, Tokenizer, reflect_pad1
from magvit.transformer import Transformer

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = os.path.join(HERE, "../configs/tiny.toml")


def count(module):
    return sum(p.numel() for p in module.parameters())


# Counting needs no random numbers, and drawing half a billion of them is slow.
@mock.patch("torch.nn.init.trunc_normal_", lambda t, **kw: t)
@mock.patch("torch.nn.init.xavier_uniform_", lambda t: t)
@mock.patch("torch.nn.init.kaiming_uniform_", lambda t, **kw: t)
@mock.patch("torch.nn.init.normal_", lambda t, *a: t)
class Sizes(unittest.TestCase):
    """Parameter counts of the published configurations."""

    def test_tokenizer(self):
        self.assertEqual(count(Tokenizer(PRESETS["B"].tokenizer)), 40579843)
        self.assertEqual(count(Tokenizer(PRESETS["L"].tokenizer)), 157811971)
        at64 = TokenizerConfig(channel_multipliers=(1, 2, 4), temporal_downsample=(1, 1, 0))
        self.assertEqual(count(Tokenizer(at64)), 36596355)

    def test_transformer(self):
        for preset, multi_task, single in (("B", 87236625, 87301991), ("L", 305480721, 305567847)):
            t = PRESETS[preset].transformer
            self.assertEqual(count(Transformer(Config(transformer=t))), multi_task)
            self.assertEqual(count(Transformer(Config(transformer=t, multi_task=0, num_classes=101))), single)

    def test_ids(self):
        c = Config(num_classes=174)
        self.assertEqual((c.vocab, c.class_id(), c.mask_id), (1215, 1198, 1214))
        self.assertEqual([c.task_id(t) for t in ("CG", "FP", "FI", "OPC", "IPC")], [1212, 1211, 1210, 1209, 1208])
        self.assertEqual(c.grid, (4, 16, 16))


class TokenizerTest(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)
        self.cfg = Config.load(TINY)

    def test_shapes(self):
        m = Tokenizer(self.cfg.tokenizer).eval()
        with torch.no_grad():
            for t, h, w, grid in ((16, 32, 32, (4, 4, 4)), (8, 16, 24, (2, 2, 3)), (1, 8, 8, (1, 1, 1)),
                                  (5, 17, 16, (2, 3, 2))):
                ids = m.encode(torch.rand(1, 3, t, h, w))
                self.assertEqual(tuple(ids.shape[1:]), grid)
            self.assertEqual(tuple(m.decode(ids).shape), (1, 3, 8, 24, 16))

    def test_known_pixels(self):
        """A new pyramid changes nothing; a trained one sees what is given, and nothing where nothing is."""
        plain = Tokenizer(self.cfg.tokenizer).eval()
        m = Tokenizer(replace(self.cfg.tokenizer, known_pixels="zero")).eval()
        m.load_state_dict(plain.state_dict(), strict=False)
        ids, clip = torch.randint(0, 64, (1, 2, 2, 3)), torch.rand(1, 3, 8, 16, 24)
        known = torch.rand(1, 8, 16, 24) < 0.5
        with torch.no_grad():
            want = plain.decode(ids)
            self.assertTrue(torch.equal(m.decode(ids, clip, known), want))
            for level in m.decoder.known:
                level.conv2.weight.normal_(std=0.1)
            self.assertTrue(torch.equal(m.decode(ids), want))
            self.assertTrue(torch.equal(m.decode(ids, clip, known & False), want))
            seen = m.decode(ids, clip, known)
            self.assertGreater((seen - want).abs().max(), 0.01)
            self.assertTrue(torch.equal(seen, m.decode(ids, clip * known[:, None], known)))

    def test_gate(self):
        """Open it shows the condition, closed the decoder; where nothing is given there is nothing to show."""
        m = Tokenizer(replace(self.cfg.tokenizer, known_pixels="gated")).eval()
        ids, clip, known = torch.randint(0, 64, (1, 2, 2, 3)), torch.rand(1, 3, 8, 16, 24), torch.ones(1, 8, 16, 24)
        with torch.no_grad():
            alone = m.decode(ids)
            for bias, want in ((30.0, clip), (-30.0, alone), (0.0, (clip + alone) / 2)):
                m.decoder.gate.bias.fill_(bias)
                torch.testing.assert_close(m.decode(ids, clip, known), want, atol=1e-5, rtol=0)
            m.decoder.gate.bias.fill_(30.0)
            torch.testing.assert_close(m.decode(ids, clip, known * 0), alone)
            clip[:, :, 3], known[:, 3] = 0, 0  # a frame of which nothing is known: black padding says nothing
            clip[:, :, 4:, :8], known[:, 4:, :8] = 0, 0  # a hole shows its fill
            y, shown = m.decode(ids, clip, known), fill_holes(clip, known)
            self.assertGreater(shown[:, :, 4:, :8].min(), 0.1)
            torch.testing.assert_close(y[:, :, :3], clip[:, :, :3])
            torch.testing.assert_close(y[:, :, 3], alone[:, :, 3])
            torch.testing.assert_close(y[:, :, 4:], shown[:, :, 4:])

    def test_fill(self):
        """Flat stays flat, a ramp goes on as a ramp, known pixels and padding of colour stay."""
        clip = torch.linspace(0.2, 0.8, 33).view(1, 1, 1, 1, 33).expand(1, 3, 2, 21, 33).contiguous()
        clip[:, 1] = 0.5
        known = torch.ones(1, 2, 21, 33)
        known[:, 1, 6:15, 9:24] = 0
        made = fill_holes(clip * known[:, None], known)
        torch.testing.assert_close(made[:, 1], clip[:, 1], atol=1e-6, rtol=0)
        torch.testing.assert_close(made, clip, atol=0.02, rtol=0)
        self.assertTrue(torch.equal(made[:, :, 0], clip[:, :, 0]))
        self.assertTrue(torch.equal(made[:, :, 1, :6], clip[:, :, 1, :6]))
        self.assertTrue(torch.equal(fill_holes(clip, known), clip))

    def test_reflect(self):
        x = torch.arange(3.0).view(1, 1, 1, 1, 3)
        self.assertEqual(reflect_pad1(x)[0, 0, 1, 1].tolist(), [1, 0, 1, 2, 1])
        self.assertEqual(tuple(reflect_pad1(x).shape), (1, 1, 3, 3, 5))

    def test_low_precision_norm(self):
        g = GroupNorm(8, 4, 1e-6)
        with torch.no_grad():
            g.weight.uniform_(0.5, 2)
            g.bias.normal_()
        x = (torch.randn(2, 8, 2, 4, 4) * 2 + 1).bfloat16()
        up = torch.randn(x.shape)
        grads = []
        for dtype in (torch.float32, torch.bfloat16):
            g.zero_grad()
            v = x.to(dtype).requires_grad_()
            g(v).backward(up.to(dtype))
            grads.append((v.grad.float(), g.weight.grad.clone(), g.bias.grad.clone()))
        for a, b in zip(*grads):
            self.assertLess((a - b).abs().max() / a.abs().max(), 0.02)


class FileTest(unittest.TestCase):
    def test_round_trip(self):
        m = make_tiny.make(TINY)
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "m.safetensors")
            m.save(path)
            n = Model.load(path)
            self.assertEqual(n.cfg, m.cfg)
            for k, v in m.tensors().items():
                np.testing.assert_array_equal(v, n.tensors()[k])
            m.save(path, bf16=True)
            tensors, meta = safetensors.load(path)
            self.assertEqual(meta["transformer.vocab"], str(m.cfg.vocab))
            for k, v in m.tensors().items():
                self.assertLessEqual(np.abs(tensors[k] - v).max(), np.abs(v).max() / 256, k)
            with open(path, "rb") as f:
                self.assertEqual(int.from_bytes(f.read(8), "little") % 8, 0)


class CondTest(unittest.TestCase):
    def test_shares(self):
        """Condition shares of the paper's table, at 128x128 and on a small grid."""
        want = (0.25, 0.5, 0.25, 0.5, 0.5, 0.5, 0.75, 0.75, 0, 0.25)
        for size, grid in ((128, (4, 16, 16)), (32, (4, 4, 4))):
            v = np.random.default_rng(0).random((16, size, size, 3), np.float32)
            for task, share in zip(TASKS, want):
                clip, known, mask = cond.condition(task, v, grid)
                self.assertEqual(mask.mean(), share, task)
                self.assertEqual((clip.shape, clip.dtype), (v.shape, np.float32))
                np.testing.assert_array_equal(clip[known], v[known])

    def test_moving_edge(self):
        self.assertEqual(cond._moving_edge(16, 128), [0, 4, 9, 13, 17, 21, 26, 30, 34, 38, 43, 47, 51, 55, 60, 64])
        self.assertEqual(cond._moving_edge(4, 16), [0, 3, 5, 8])

    def test_interpolate(self):
        v = np.random.default_rng(0).random((16, 16, 16, 3), np.float32)
        known = np.zeros(16, bool)
        known[::5] = True
        clip, _, mask = cond.interpolate(v, known, (4, 2, 2))
        np.testing.assert_array_equal(clip[::5], v[::5])
        np.testing.assert_allclose(clip[7], v[5] * 0.6 + v[10] * 0.4, atol=1e-6)
        self.assertTrue(mask.all())
        known[:] = False
        known[[0, 15]] = True
        np.testing.assert_array_equal(cond.interpolate(v, known, (4, 2, 2)).clip, cond.condition("FI", v, (4, 2, 2)).clip)

    def test_free(self):
        v = np.random.default_rng(0).random((16, 32, 32, 3), np.float32)
        g = np.random.default_rng(1)
        for kind in cond.FREE:
            made, task = cond.free_condition(kind, v, (4, 4, 4), g)
            self.assertEqual(made.clip.shape, v.shape)
            np.testing.assert_array_equal(made.clip[made.known], v[made.known])
            self.assertIn(task, TASKS)


class SamplerTest(unittest.TestCase):
    def test_philox(self):
        """Known answers of Random123."""
        f = 0xFFFFFFFF
        self.assertEqual([hex(x) for x in rng.philox((0, 0, 0, 0), (0, 0))],
                         ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"])
        self.assertEqual([hex(x) for x in rng.philox((f, f, f, f), (f, f))],
                         ["0x408f276d", "0x41c83b0e", "0xa20bc7c6", "0x6d5451fd"])
        u = rng.uniform(np.array([0, f], np.uint32))
        self.assertTrue(0 < u[0] and u[1] < 1)

    def test_schedule(self):
        """Numbers still masked after each of 12 steps, N = 1024."""
        def left(schedule):
            return [int(1024 * sampler.gamma(schedule, (k + 1) / 12, 1024)) for k in range(11)]
        self.assertEqual(left("cosine"), [1015, 989, 946, 886, 812, 724, 623, 512, 391, 265, 133])
        self.assertEqual(left("linear"), [938, 853, 768, 682, 597, 512, 426, 341, 256, 170, 85])
        self.assertEqual(left("exp"), [1022, 1020, 1018, 1013, 1006, 992, 966, 922, 842, 701, 449])
        self.assertEqual(left("log"), [367, 264, 204, 162, 129, 102, 79, 59, 42, 26, 12])

    def test_loop(self):
        g = np.random.default_rng(0)
        logits = g.standard_normal((64, 16)).astype(np.float32)
        mask = g.random(64) < 0.5
        trace = []
        ids = sampler.sample(lambda cur, k: logits, 64, np.arange(64) % 16, mask, 99, 6, trace=trace)
        unknown = [int(t[2].sum()) for t in trace]
        self.assertEqual(unknown, sorted(unknown, reverse=True))
        self.assertEqual(unknown[-1], 0)
        for (_, cur, left), (_, after, _) in zip(trace, trace[1:]):
            np.testing.assert_array_equal(cur[~left], after[~left])  # fixed means fixed
            self.assertTrue((cur[left & ~mask] == 99).all())
        self.assertTrue((ids < 16).all())
        greedy = sampler.sample(lambda cur, k: logits, 64, ids, mask, 99, 1, greedy=True)
        np.testing.assert_array_equal(greedy, logits.argmax(1))


class MaskTest(unittest.TestCase):
    def test_masked_input(self):
        torch.manual_seed(0)
        z, zc = torch.zeros(2, 64, dtype=torch.long), torch.ones(2, 64, dtype=torch.long)
        m = torch.rand(2, 64) < 0.5
        p = torch.tensor([[7, 8]] * 2)
        x, masked = masked_input(z, zc, m, p, torch.tensor([0.0, 0.5]), torch.rand(2, 64), 9)
        self.assertEqual(masked.sum(1).tolist(), [64, 45])
        self.assertTrue((x[:, :2] == p).all())
        v = x[:, 2:]
        self.assertTrue((v[masked & m] == 1).all() and (v[masked & ~m] == 9).all() and (v[~masked] == 0).all())

    def test_transformer(self):
        c = Config.load(TINY)
        t = Transformer(c).eval()
        with torch.no_grad():
            self.assertEqual(tuple(t(torch.zeros(2, c.length, dtype=torch.long)).shape), (2, 64, 64))

    def test_local_start(self):
        """Condition tokens predict themselves before any training."""
        torch.manual_seed(0)
        c = Config.load(TINY)
        t = Transformer(c).eval()
        book = torch.randn(64, 8)
        t.init_local(book, c.grid, mix=0.0)
        ids = torch.randint(0, 64, (1, 64))
        with torch.no_grad():
            out = t(torch.cat([torch.tensor([c.prompt("FI")]), ids], 1)).argmax(2)
        self.assertGreater((out == ids).float().mean(), 0.8)


if __name__ == "__main__":
    unittest.main()
