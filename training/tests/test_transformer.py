"""Run from training/: python3 -m unittest discover -s tests -t ."""
import contextlib
import io
import json
import os
import tempfile
import tomllib
import unittest
from dataclasses import replace
from unittest import mock

import numpy as np
import torch

import ablate
import evaluate
import export
import train_transformer
from magvit import sampler
from magvit.ar import ArTransformer
from magvit.config import Config
from magvit.data import Clips
from magvit.pairs import Pairs, Refresher, cross_entropy, loss_parts, masked_input, weighted_loss
from magvit.tokenizer import Tokenizer
from magvit.transformer import Transformer

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = os.path.join(HERE, "../configs/tiny.toml")


def bools(text):
    return torch.tensor([[c == "1" for c in row] for row in text.split()])


def some_pairs(cfg, clips, per_clip, seed=0):
    """Pairs of random tokens."""
    g, out = np.random.default_rng(seed), Pairs()
    for i in range(clips):
        out.z.append(g.integers(0, cfg.tokenizer.codebook_size, cfg.tokens).astype(np.int16))
        for _ in range(per_clip):
            out.zc.append(g.integers(0, cfg.tokenizer.codebook_size, cfg.tokens).astype(np.int16))
            out.mask.append((g.random(cfg.tokens) < 0.5).astype(np.uint8))
            out.prompt.append(cfg.prompt("FP"))
            out.source.append(i)
            out.kind.append("FP")
    return out


class Losses(unittest.TestCase):
    # Codes 0..9, MASK 99; scores put places 0, 2, 4 and 5 before the others.
    z, zc = torch.tensor([[0, 1, 2, 3, 4, 5]]), torch.tensor([[9, 8, 7, 6, 5, 4]])
    cond, prompt = bools("110010"), torch.tensor([[50, 51]])
    scores = torch.tensor([[0.1, 0.8, 0.2, 0.9, 0.3, 0.4]])

    @staticmethod
    def share(n, of):
        """u with floor(of cos(pi u/2)) = n"""
        return torch.tensor([np.arccos((n + 0.5) / of) * 2 / np.pi], dtype=torch.float32)

    def test_commit(self):
        x, masked = masked_input(self.z, self.zc, self.cond, self.prompt, self.share(4, 6), self.scores, 99)
        self.assertEqual(x.tolist(), [[50, 51, 9, 1, 99, 3, 5, 99]])
        parts = loss_parts(masked, self.cond)
        self.assertTrue(torch.equal(parts["mask"], bools("001001")))
        self.assertTrue(torch.equal(parts["refine"], bools("100010")))
        self.assertTrue(torch.equal(parts["recons"], bools("010100")))

    def test_latent(self):
        """Condition places show the true tokens, and the ratio is one of the others."""
        x, masked = masked_input(self.z, self.zc, self.cond, self.prompt, self.share(2, 3), self.scores, 99, "latent")
        self.assertEqual(x.tolist(), [[50, 51, 0, 1, 99, 3, 4, 99]])
        parts = loss_parts(masked, self.cond)
        self.assertFalse(parts["refine"].any())
        self.assertTrue(torch.equal(parts["mask"], bools("001001")))
        full = masked_input(self.z, self.zc, ~bools("000000"), self.prompt, self.share(2, 3), self.scores, 99, "latent")
        self.assertTrue(torch.equal(full[0][:, 2:], self.z) and not full[1].any())

    def test_weights(self):
        """Mean over the places of each sample, then over samples."""
        each = torch.tensor([[1.0, 2, 3, 4], [10, 20, 30, 40]])
        self.assertAlmostEqual(weighted_loss(each, bools("1100 0001")).item(), (1.5 + 40) / 2, 5)
        self.assertAlmostEqual(weighted_loss(each, bools("1111 0000")).item(), 2.5 / 2, 5)
        logits = torch.randn(2, 3, 5)
        z = torch.tensor([[0, 1, 2], [3, 4, 0]])
        p, e = logits.log_softmax(2), 0.1
        want = -(1 - e) * p.gather(2, z[..., None])[..., 0] - e / 5 * p.sum(2)
        torch.testing.assert_close(cross_entropy(logits, z, e), want)

    def test_objective(self):
        """The switched-on parts alone make the loss."""
        torch.manual_seed(0)
        cfg = Config.load(TINY)
        model = Transformer(cfg).eval()
        batch = some_pairs(cfg, 2, 2).batch(range(4), "cpu")
        seen = {}
        for losses in (["mask"], ["mask", "recons"], ["mask", "refine", "recons"]):
            torch.manual_seed(1)
            c = {**train_transformer.DEFAULTS, "losses": losses, "label_smoothing": 0.0}
            loss, parts = train_transformer.objective(model, batch, cfg.mask_id, c, False)
            seen[len(losses)] = loss.item()
            self.assertEqual(set(parts), {"mask", "refine", "recons"})
        torch.manual_seed(1)
        u, scores = (torch.arange(4) + torch.rand(4)) / 4, torch.rand(4, cfg.tokens)
        x, masked = masked_input(*batch, u, scores, cfg.mask_id)
        with torch.no_grad():
            each = cross_entropy(model(x), batch[0])
        self.assertAlmostEqual(seen[3], each.mean().item(), 4)
        hidden = masked & ~batch[2]
        want = np.mean([e[h].mean().item() if h.any() else 0 for e, h in zip(each, hidden)])
        self.assertAlmostEqual(seen[1], want, 4)
        self.assertNotAlmostEqual(seen[1], seen[2], 4)


class PoolTest(unittest.TestCase):
    def test_refresh(self):
        cfg = Config.load(TINY)
        pool, g = some_pairs(cfg, 3, 2), np.random.default_rng(0)
        r = Refresher(pool, 0.5, lambda rng, n: some_pairs(cfg, 1, n, int(rng.integers(1000, 2000))))
        before = [z.copy() for z in pool.z], [z.copy() for z in pool.zc]
        for _ in range(2):
            r.used(4, g)
        changed = [not np.array_equal(a, b) for a, b in zip(before[0], pool.z)]
        self.assertEqual(changed, [True, True, False])
        self.assertEqual([not np.array_equal(a, b) for a, b in zip(before[1], pool.zc)], [True] * 4 + [False] * 2)
        other = Refresher(some_pairs(cfg, 3, 2), 0.5, r.make)
        other.load_state_dict(r.state_dict())
        for a, b in zip(pool.batch(range(6), "cpu"), other.pairs.batch(range(6), "cpu")):
            self.assertTrue(torch.equal(a, b))
        self.assertEqual((other.next, other.credit), (2, 0))

    def test_kinds(self):
        cfg = Config.load(TINY)
        pool = some_pairs(cfg, 2, 2)
        pool.kind = ["CFP", "FI", "FP", "OPC"]
        some = pool.of_kinds({"FP": "FP", "CFP": "FP"})
        self.assertEqual((some.kind, some.source), (["FP", "FP"], [0, 1]))
        some.extend(pool)
        self.assertEqual(some.source, [0, 1, 2, 2, 3, 3])


class SamplerTest(unittest.TestCase):
    def test_batch(self):
        """Without noise the batched sampler is the specified one."""
        g = np.random.default_rng(0)
        table = g.standard_normal((3, 64, 16)).astype(np.float32)
        cond, zc = g.random((3, 64)) < 0.5, g.integers(0, 16, (3, 64))

        def logits(cur, i):
            return table[i] + 0.1 * np.roll(cur, 1)[:, None] * table[i][::-1]

        def batch(cur):
            return torch.from_numpy(np.stack([logits(a.numpy(), i) for i, a in enumerate(cur)]))

        got = sampler.sample_batch(batch, torch.from_numpy(zc), torch.from_numpy(cond), 99, 8, choice_temperature=0,
                                   greedy=True)
        for i in range(3):
            want = sampler.sample(lambda cur, k: logits(cur, i), 64, zc[i], cond[i], 99, 8, choice_temperature=0,
                                  greedy=True)
            np.testing.assert_array_equal(got[i], want)

    def test_latent(self):
        """Condition places keep their tokens and are known from the first pass on."""
        zc, cond, seen = torch.randint(0, 16, (2, 64)), torch.rand(2, 64) < 0.5, []

        def logits(cur):
            seen.append((cur == 99).sum(1).tolist())
            return torch.zeros(2, 64, 16)

        ids = sampler.sample_batch(logits, zc, cond, 99, 4, latent=True)
        self.assertTrue(torch.equal(ids[cond], zc[cond]) and (ids < 16).all())
        free = (~cond).sum(1)
        self.assertEqual(seen[0], free.tolist())
        self.assertEqual(seen[1], [int(n * np.cos(np.pi / 8)) for n in free])


class WarmStart(unittest.TestCase):
    def start(self, old, new):
        a, b = Transformer(old), Transformer(new)
        fresh = b.word_embeddings.weight.detach().clone()
        b.warm_start(a.state_dict(), new, old.class_names)
        return a, b, fresh

    def test_classes(self):
        old = Config.load(TINY)  # ball, cube, cone
        new = replace(old, num_classes=4, class_names=("tree", "cone", "ball", "sky"))
        a, b, fresh = self.start(old, new)
        for x, y in ((a.word_embeddings.weight, b.word_embeddings.weight), (a.head.bias, b.head.bias)):
            self.assertTrue(torch.equal(x[:64], y[:64]))
            for i, j in ((0, None), (1, 2), (2, 0), (3, None), (None, None)):
                self.assertTrue(torch.equal(y[new.class_id(i)], x[old.class_id(j)]))
            self.assertTrue(torch.equal(x[-16:], y[-16:]))
        ids = torch.randint(0, 64, (2, 64))
        with torch.no_grad():
            x, y = (m.eval()(torch.cat([torch.tensor([c.prompt("FP")] * 2), ids], 1)) for m, c in ((a, old), (b, new)))
        self.assertTrue(torch.equal(x, y))

    def test_prefix(self):
        """From a single task to many: the unknown task rows stay new."""
        old = replace(Config.load(TINY), multi_task=0, num_classes=0, class_names=())
        new = replace(old, multi_task=1, num_classes=2, class_names=("a", "b"))
        a, b, fresh = self.start(old, new)
        self.assertTrue(torch.equal(b.word_embeddings.weight[-1], a.word_embeddings.weight[-1]))
        self.assertTrue(torch.equal(b.word_embeddings.weight[-16:-1], fresh[-16:-1]))
        self.assertTrue(torch.equal(b.position_embeddings.weight[1:], a.position_embeddings.weight))


class ArTest(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)
        self.cfg = Config.load(TINY)
        self.model = ArTransformer(self.cfg).eval()
        with torch.no_grad():
            for p in self.model.parameters():
                p.add_(torch.randn_like(p) * 0.2)
        self.zc, self.prompt = torch.randint(0, 64, (2, 64)), torch.tensor([self.cfg.prompt("FP"), self.cfg.prompt("CG", 1)])
        self.cond = torch.arange(64).expand(2, -1) < torch.tensor([[16], [5]])

    def test_cache(self):
        """Decoding with the cache is decoding without it; conditions of two lengths in one batch."""
        fast = self.model.generate(self.zc, self.cond, self.prompt, greedy=True)
        slow = torch.zeros_like(fast)
        with torch.no_grad():
            for i in range(64):
                slow[:, i] = self.model(slow, self.zc, self.cond, self.prompt)[:, i].argmax(1)
        self.assertTrue(torch.equal(fast, slow))
        self.assertGreater(len(fast.unique()), 5)
        alone = self.model.generate(self.zc[1:], self.cond[1:], self.prompt[1:], greedy=True)
        self.assertTrue(torch.equal(alone, fast[1:]))

    def test_causal(self):
        z, other = torch.randint(0, 64, (2, 64)), torch.randint(0, 64, (2, 64))
        other[:, :20] = z[:, :20]
        hidden = self.zc.clone()
        hidden[~self.cond] = 1  # not a condition: not seen
        with torch.no_grad():
            a = self.model(z, self.zc, self.cond, self.prompt)
            b = self.model(other, hidden, self.cond, self.prompt)
        torch.testing.assert_close(a[:, :21], b[:, :21])
        self.assertGreater((a[:, 21:] - b[:, 21:]).abs().max(), 0.1)


class Programs(unittest.TestCase):
    """The programs on four made-up clips."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        d, g = cls.folder.name, np.random.default_rng(0)
        cfg = Config.load(TINY)
        for part in ("train", "val"):
            os.makedirs(os.path.join(d, "cache", part))
            os.makedirs(os.path.join(d, part))
            with open(os.path.join(d, part, "MANIFEST.tsv"), "w") as f:
                f.write("file\tclass\n" + "".join(f"{i}.mp4\t{c}\n" for i, c in enumerate(("ball", "cube", "cone", "x"))))
            for i in range(4):
                open(os.path.join(d, part, f"{i}.mp4"), "w").close()
                clip = np.repeat(np.repeat(g.integers(0, 256, (24, 4, 4, 3)), 8, 1), 8, 2).astype(np.uint8)
                np.save(os.path.join(d, "cache", part, f"{i}.mp4.32.npy"), clip)
        torch.manual_seed(0)
        with open(TINY, "rb") as f:
            toml = tomllib.load(f)
        torch.save({"ema": Tokenizer(cfg.tokenizer).state_dict(), "config": toml}, os.path.join(d, "tokenizer.pt"))
        with open(TINY) as f:
            text = f.read()
        text = text.replace("pairs = 64", "pairs = 12\nrefresh = 0.5").replace("val_pairs = 2", "val_pairs = 1")
        with open(os.path.join(d, "c.toml"), "w") as f:
            f.write(text)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def train(self, out, *more):
        d = self.folder.name
        args = ["--config", f"{d}/c.toml", "--tokenizer", f"{d}/tokenizer.pt", "--data", f"{d}/train", "--val", f"{d}/val",
                "--cache", f"{d}/cache", "--out", f"{d}/{out}", "--device", "cpu", "--steps", "6", *more]
        self.quiet(train_transformer.main, args)

    def quiet(self, program, args):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            program(args)
        return said.getvalue()

    def losses(self, out):
        with open(f"{self.folder.name}/{out}/log.jsonl") as f:
            lines = [json.loads(line) for line in f]
        self.assertEqual([n["step"] for n in lines], list(range(1, 7)))
        return [(n["loss"], n["mask"], n["refine"], n["recons"], n["grad"]) for n in lines]

    def test_resume(self):
        """Two runs are equal, and so is one that was cut in two."""
        self.train("whole")
        self.train("again")
        want = self.losses("whole")
        self.assertEqual(self.losses("again"), want)
        self.assertEqual(len(set(want)), 6)

        # A signal in the third step ends a run; the same command goes on.
        real, calls = train_transformer.objective, []

        def stop(*a):
            calls.append(0)
            if len(calls) == 3:
                os.kill(os.getpid(), 15)
            return real(*a)

        with mock.patch("train_transformer.objective", stop), self.assertRaises(SystemExit):
            self.train("cut")
        self.train("cut")
        self.assertEqual(self.losses("cut"), want)
        a, b = (torch.load(f"{self.folder.name}/{n}/transformer.pt") for n in ("whole", "cut"))
        for k, v in a["ema"].items():
            self.assertTrue(torch.equal(v, b["ema"][k]), k)
        self.assertTrue(os.path.exists(f"{self.folder.name}/cut/transformer-6.png"))

        # Other weights, other losses.
        self.train("warm", "--init", f"{self.folder.name}/whole/transformer.pt")
        self.assertNotEqual(self.losses("warm")[0], want[0])

    def test_pool(self):
        """A pool that was interrupted becomes the pool that was not."""
        d, cfg = self.folder.name, Config.load(TINY)
        torch.manual_seed(0)
        clips, tokenizer = Clips(f"{d}/train", f"{d}/cache/train", 32, 16), Tokenizer(cfg.tokenizer).eval()

        def pool(count, g, part=None):
            return train_transformer.training_pairs(cfg, tokenizer, clips, count, 1, g, "cpu", False, 3, part=part)

        whole, g = pool(9, np.random.default_rng(5)), np.random.default_rng(5)
        torch.save((pool(3, g), 1.0, g.bit_generator.state), f"{d}/part")
        for a, b in zip(whole.batch(range(9), "cpu"), pool(9, np.random.default_rng(), f"{d}/part").batch(range(9), "cpu")):
            self.assertTrue(torch.equal(a, b))

    def test_measures(self):
        d = self.folder.name
        model = f"{d}/m.safetensors"
        self.quiet(export.main, ["--tokenizer", f"{d}/tokenizer.pt", "--out", model, "--f32"])
        self.quiet(evaluate.main, ["--model", model, "--data", f"{d}/val", "--cache", f"{d}/cache", "--per-kind", "1",
                                   "--json", f"{d}/r.json", "--device", "cpu", "--every", "2"])
        with open(f"{d}/r.json") as f:
            r = json.load(f)
        self.assertEqual(r["windows"], 2)
        self.assertEqual(set(r["nats"]), {*train_transformer.kinds(Config.load(TINY)), "mean"})
        self.assertTrue(1 <= r["perplexity"] <= r["codes"] <= 64 and -1 <= r["ssim"] <= 1)

        args = ["--config", f"{d}/c.toml", "--tokenizer", model, "--data", f"{d}/train", "--val", f"{d}/val", "--cache",
                f"{d}/cache", "--out", f"{d}/ablate", "--pairs", "8", "--windows", "1", "--layers", "1", "--hidden", "32",
                "--heads", "2", "--batch", "2", "--device", "cpu", "--model", model, "--passes", "2,3"]
        self.quiet(ablate.main, args + ["--steps", "2", "--parts", "fp,mix,steps"])
        with mock.patch("ablate.Small.train", side_effect=AssertionError), self.assertRaises(AssertionError):
            self.quiet(ablate.main, args + ["--parts", "ar"])  # only this one is left to be trained
        text = self.quiet(ablate.main, args + ["--parts", "fp,ar", "--minutes", "0.01"])
        rows = [line for line in text.splitlines() if line.startswith("| ")]
        for name, count in (("COMMIT, all three", 2), ("latent masking", 2), ("m.safetensors", 2), ("small, auto", 1)):
            self.assertEqual(sum(line.startswith(f"| {name}") for line in rows), count, name)


if __name__ == "__main__":
    unittest.main()
