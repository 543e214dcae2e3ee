"""The training loop and the tokenizer's recipe.  Run from training/: python3 -m unittest discover -s tests -t ."""
import argparse
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

import numpy as np
import torch

import plot
import train_tokenizer
from magvit import data, losses, perceptual
from magvit.config import TokenizerConfig
from magvit.discriminator import Discriminator
from magvit.inflate import inflate
from magvit.run import Run, arguments, schedule
from magvit.tokenizer import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = """
frames = 8
height = 16
width = 16
[tokenizer]
base_channels = 4
channel_multipliers = [1, 2, 2]
res_blocks = 1
embedding_dim = 4
codebook_size = 16
groups = 2
dims = DIMS
[train_tokenizer]
lr = 1e-3
warmup = 0.1
phases = [[0.5, 8, 4], [1.0, 16, 3]]
accumulate = 2
augment = true
procedural = 0.3
gan = 0.1
gan_start = 0.5
gan_channels = 2
gan_size = 16
r1_every = 2
lecam = 0.1
codebook = "ema"
restart_every = 3
guided_until = 0.2
guide_patches = 200
linear_start = true
checkpoint = true
"""


class Folder(unittest.TestCase):
    """A folder with clips already decoded and a configuration."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name
        os.makedirs(self.path("cache/train"))
        g = np.random.default_rng(0)
        for name in ("a.mp4", "b.mp4"):
            open(self.path(name), "w").close()
            still = g.integers(0, 255, (1, 16, 24, 3), np.uint8)
            np.save(self.path(f"cache/train/{name}.16.npy"), np.concatenate([np.roll(still, k, 2) for k in range(20)]))
        for dims in "32":
            with open(self.path(dims + "d.toml"), "w") as f:
                f.write(CONFIG.replace("DIMS", dims))

    def path(self, name):
        return os.path.join(self.dir, name)

    def arguments(self, out, steps=16, dims=3, *more):
        return ["--config", self.path(f"{dims}d.toml"), "--data", self.dir, "--cache", self.path("cache"), "--out",
                self.path(out), "--steps", str(steps), "--device", "cpu", *more]

    def train(self, *args):
        with contextlib.redirect_stdout(io.StringIO()) as text:
            train_tokenizer.main(self.arguments(*args))
        return text.getvalue()

    def losses(self, out):
        with open(self.path(out + "/log.jsonl")) as f:
            lines = [json.loads(line) for line in f]
        return [{k: v for k, v in line.items() if k != "elapsed"} for line in lines]


class Resume(Folder):
    def test_killed(self):
        """A run killed in its middle and resumed logs what an uninterrupted one does, through every stage."""
        self.train("whole")
        whole = self.losses("whole")
        self.assertEqual([line["step"] for line in whole], list(range(1, 17)))
        for k in ("guide", "commitment", "entropy", "perplexity", "gan", "disc", "r1", "lecam", "disc_grad"):
            self.assertTrue(any(k in line for line in whole), k)
        env = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
        p = subprocess.Popen([sys.executable, "train_tokenizer.py", *self.arguments("killed"), "--save-seconds", "0"],
                             cwd=os.path.join(HERE, ".."), env=env, stdout=subprocess.DEVNULL)
        log = self.path("killed/log.jsonl")
        while p.poll() is None and not (os.path.exists(log) and os.path.getsize(log) > 3000):
            time.sleep(0.01)
        p.send_signal(signal.SIGKILL)
        self.assertEqual(p.wait(), -signal.SIGKILL)
        with open(log, "a") as f:  # what a checkpoint earlier than the end of the log leaves
            f.write('{"run": "tokenizer", "step": 16, "l2": 7}\n{"run": "other", "step": 99}\n{"run": "tok')
        self.assertIn("resumed after step", self.train("killed"))
        resumed = self.losses("killed")
        self.assertIn({"run": "other", "step": 99}, resumed)
        self.assertEqual([line for line in resumed if line["run"] == "tokenizer"], whole)

    def test_seed(self):
        for out in ("a", "b"):
            self.train(out, 4)
        self.train("c", 4, 3, "--seed", "2")
        self.assertEqual(self.losses("a"), self.losses("b"))
        self.assertNotEqual(self.losses("a"), self.losses("c"))


class Loop(Folder):
    def run_for(self, steps):
        ap = argparse.ArgumentParser()
        arguments(ap)
        return Run("x", ap.parse_args(["--config", self.path("3d.toml"), "--out", self.path("out"), "--steps", str(steps)]))

    def test_schedule(self):
        self.assertEqual([schedule(p, 0.2) for p in (0, 0.1, 0.2, 1)], [0, 0.5, 1, 0])
        self.assertAlmostEqual(schedule(0.6, 0.2), 0.5)
        self.assertEqual(schedule(0, 0), 1)

    def test_stop(self):
        """SIGTERM ends the program after the step, with a checkpoint."""
        run = self.run_for(9)
        with self.assertRaises(SystemExit) as end, contextlib.redirect_stdout(io.StringIO()):
            for step in run.steps():
                if step == 2:
                    os.kill(os.getpid(), signal.SIGTERM)
        self.assertEqual(end.exception.code, 128 + signal.SIGTERM)
        self.assertEqual(torch.load(run.path, weights_only=False)["step"], 3)

    def test_not_finite(self):
        run, p = self.run_for(1), torch.nn.Parameter(torch.ones(2))
        opt = torch.optim.SGD([p], 1.0)
        run.descend(opt, (p * float("nan")).sum(), 1.0)
        self.assertEqual((p.tolist(), run.skipped), ([1, 1], 1))
        run.descend(opt, p.sum() * 100, 2 ** 0.5)
        self.assertTrue(torch.allclose(p, torch.zeros(2), atol=1e-6))

    def test_due(self):
        run = self.run_for(10)
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual([s for s in run.steps() if run.due(5)], [2, 4, 6, 8])

    def test_table(self):
        run = self.run_for(1)
        with self.assertRaises(SystemExit):
            run.table("train_tokenizer", {"lr": 1})


class Losses(unittest.TestCase):
    @mock.patch("torch.nn.init.xavier_uniform_", lambda t: t)
    def test_discriminator_size(self):
        for channels, size, want in ((64, 128, 15339457), (128, 128, 61341569), (64, 64, 11734465)):
            self.assertEqual(sum(p.numel() for p in Discriminator(channels, size).parameters()), want)

    def test_discriminator(self):
        d = Discriminator(2, 16)
        self.assertEqual(tuple(d(torch.rand(3, 3, 16, 16, 16)).shape), (3,))
        x = torch.zeros(2, requires_grad=True)
        loss = losses.generator_loss(x) + losses.discriminator_loss(x + 1, x)
        self.assertAlmostEqual(loss.item(), 2 * np.log(2) + np.log1p(np.exp(-1)), 5)

    def test_r1(self):
        """Of w x the gradient is w, of x x / 2 it is x."""
        x, w = torch.randn(4, 3, 2, 2, 2), torch.randn(3, 2, 2, 2)
        self.assertAlmostEqual(losses.r1(lambda v: (v * w).flatten(1).sum(1), x).item(), w.pow(2).sum().item(), 4)
        got = losses.r1(lambda v: (v * v).flatten(1).sum(1) / 2, x)
        self.assertAlmostEqual(got.item(), x.pow(2).sum().item() / 4, 4)
        d = Discriminator(2, 16)
        losses.r1(d, torch.rand(2, 3, 4, 16, 16)).backward()
        self.assertGreater(d.conv_in.weight.grad.abs().max(), 0)

    def test_lecam(self):
        lecam = losses.Lecam(0.9, "cpu")
        self.assertEqual(lecam(torch.tensor([1.0, 3.0]), torch.tensor([-1.0])).item(), 5)  # 2^2 + 1^2, means are 0
        np.testing.assert_allclose(lecam.mean, [0.2, -0.1], rtol=1e-6)
        self.assertAlmostEqual(lecam(torch.tensor([0.4]), torch.tensor([0.5])).item(), 0.25, 6)

    def test_entropy(self):
        """Sharp and even choices of 4 codes: 0 - ln 4; undecided ones: ln 4 - ln 4."""
        self.assertAlmostEqual(losses.entropy_loss(1 - torch.eye(4), 0.01).item(), -np.log(4), 3)
        self.assertAlmostEqual(losses.entropy_loss(torch.ones(5, 4), 0.01).item(), 0, 3)

    def test_resnet50(self):
        """Torchvision's names and shapes give logits, and gradients reach the picture."""
        g = torch.Generator().manual_seed(0)
        tensors = {}

        def conv(name, norm, cout, cin, k):
            tensors[name + ".weight"] = torch.randn(cout, cin, k, k, generator=g) * (2 / (cin * k * k)) ** 0.5
            for leaf, v in (("weight", 0.5), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
                tensors[f"{norm}.{leaf}"] = torch.full((cout,), v)

        conv("conv1", "bn1", 64, 3, 7)
        cin = 64
        for i, blocks in enumerate((3, 4, 6, 3)):
            w = 64 << i
            for j in range(blocks):
                p = f"layer{i + 1}.{j}."
                for n, (cout, c, k) in enumerate(((w, cin, 1), (w, w, 3), (4 * w, w, 1))):
                    conv(f"{p}conv{n + 1}", f"{p}bn{n + 1}", cout, c, k)
                if j == 0:
                    conv(p + "downsample.0", p + "downsample.1", 4 * w, cin, 1)
                cin = 4 * w
        tensors["fc.weight"], tensors["fc.bias"] = torch.randn(1000, 2048, generator=g) * 0.02, torch.zeros(1000)
        learned = sum(v.numel() for k, v in tensors.items() if "running" not in k)
        self.assertEqual(learned, 25557032)  # as published
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "resnet50.pt")
            torch.save(tensors, path)
            net = perceptual.Resnet50(path)
        a, b = torch.rand(2, 1, 3, 1, 32, 32, generator=g)
        b.requires_grad_()
        loss = perceptual.of_clips(net, a, b)
        loss.backward()
        self.assertGreater(loss.item(), 0)
        self.assertGreater(b.grad.abs().max(), 0)
        self.assertEqual(perceptual.of_clips(net, a, a).item(), 0)


class Inflation(Folder):
    def setUp(self):
        super().setUp()
        torch.manual_seed(0)

    def pair(self, padding, **more):
        cfg = {"base_channels": 4, "channel_multipliers": (1, 2, 2), "res_blocks": 1, "embedding_dim": 4,
               "codebook_size": 16, "groups": 2, "padding": padding, **more}
        return Tokenizer(TokenizerConfig(dims=2, **cfg)).eval(), Tokenizer(TokenizerConfig(**cfg)).eval()

    def test_shapes_and_sums(self):
        flat, full = self.pair("zero")
        for how in ("central", "average"):
            state = inflate(flat.state_dict(), full.state_dict(), how)
            for name, v in state.items():
                w = flat.state_dict()[name]
                self.assertEqual(v.shape, full.state_dict()[name].shape)
                if v.shape == w.shape:
                    self.assertTrue(torch.equal(v, w))
                else:
                    self.assertTrue(torch.allclose(v.sum(2), w[:, :, 0]))
                    self.assertEqual(bool((v[:, :, 0] == 0).all()), how == "central")
        with self.assertRaises(ValueError):
            inflate(full.state_dict(), flat.state_dict())

    def test_still_clip(self):
        """Each frame of a clip that stands still passes as by the 2D model, through temporal pools as well."""
        frame = torch.rand(1, 3, 1, 16, 16)
        for padding, how in (("zero", "central"), ("reflect", "central"), ("reflect", "average")):
            flat, full = self.pair(padding)
            full.load_state_dict(inflate(flat.state_dict(), full.state_dict(), how))
            with torch.no_grad():
                want, got = flat.encoder(frame), full.encoder(frame.expand(-1, -1, 8, -1, -1))
                self.assertLess((got - want).abs().max(), 1e-4)
                self.assertLess((full.decoder(got) - flat.decoder(want)).abs().max(), 1e-4)
        flat, full = Discriminator(2, 16, dims=2), Discriminator(2, 16)
        full.load_state_dict(inflate(flat.state_dict(), full.state_dict()))
        self.assertLess((full(frame.expand(-1, -1, 4, -1, -1)) - flat(frame)).abs().max(), 1e-5)

    def test_moving_clip(self):
        """Central kernels and no temporal pool: no frame sees another, but in the norms' statistics."""
        flat, full = self.pair("reflect", temporal_downsample=(0, 0))
        full.load_state_dict(inflate(flat.state_dict(), full.state_dict()))
        clip = torch.rand(1, 3, 4, 16, 16)
        frames = clip.transpose(0, 2).reshape(4, 3, 1, 16, 16)
        with torch.no_grad(), mock.patch("torch.nn.functional.group_norm", lambda x, *a: x):
            got, want = full.encoder(clip), flat.encoder(frames)
            self.assertLess((got[0].transpose(0, 1) - want[:, :, 0]).abs().max(), 1e-4)

    def test_training(self):
        """From frames to clips; and a decoder alone."""
        self.train("flat", 8, 2)
        self.train("full", 2, 3, "--init-2d", self.path("flat/tokenizer.pt"), "--inflate", "average")
        self.assertNotIn("guide", self.losses("full")[0])
        with open(self.path("3d.toml"), "a") as f:
            f.write("freeze_encoder = true\n")
        self.train("decoder", 2, 3, "--init", self.path("full/tokenizer.pt"))
        a, b = (torch.load(self.path(n + "/tokenizer.pt"), weights_only=False) for n in ("full", "decoder"))
        for k, v in a["ema"].items():
            same = torch.equal(v, b["ema"][k]) and torch.equal(v, b["model"][k])
            self.assertEqual(same, not k.startswith("decoder."), k) if v.dim() == 5 else None


class Plot(unittest.TestCase):
    def test_panel(self):
        """A curve from corner to corner, within its axes."""
        x = np.arange(1.0, 901)
        image = plot.panel("l1", [(x, x * 1e-3)], 900)
        dark = (image == 0).all(2)
        self.assertEqual(image.shape, (plot.HEIGHT, plot.WIDTH, 3))
        self.assertTrue(dark[plot.TOP:plot.TOP + 4, -plot.RIGHT - 4:].any())
        self.assertFalse(dark[plot.TOP:plot.HEIGHT // 2, plot.LEFT + 1:plot.LEFT + 100].any())
        np.testing.assert_allclose(plot.ticks(0, 0.9, 5), [0, 0.2, 0.4, 0.6, 0.8], atol=1e-12)


class Data(unittest.TestCase):
    def test_procedural(self):
        still = torch.randint(0, 255, (20, 30, 3), dtype=torch.uint8)
        for seed in range(6):
            a, b = (data.procedural(np.random.default_rng(seed), 4, 24, still) for _ in range(2))
            self.assertEqual(tuple(a.shape), (3, 4, 24, 24))
            self.assertTrue(torch.equal(a, b))
            self.assertTrue(a.min() >= 0 and a.max() <= 1)
            self.assertGreater((a[:, 0] - a[:, 3]).abs().max(), 0)

    def test_no_decoder(self):
        with mock.patch("shutil.which", lambda name: None), mock.patch.dict(sys.modules, cv2=None):
            with self.assertRaisesRegex(SystemExit, "ffmpeg.*OpenCV"):
                data.decode_clip("a.mp4")

    def test_opencv(self):
        """The frames of a stand-in for cv2, smaller and in the right order of colours."""
        frames = [np.full((40, 60, 3), (10, 20, 30 + k), np.uint8) for k in range(3)]
        cv2 = mock.Mock(**{"VideoCapture.return_value.read.side_effect": [(True, f) for f in frames] + [(False, None)],
                           "resize": lambda f, size, interpolation: f[:size[1], :size[0]],
                           "cvtColor": lambda f, how: f[..., ::-1]})
        clip = data.decode_opencv(cv2, "a.mp4", 20)
        self.assertEqual((clip.shape, clip[2, 0, 0].tolist()), ((3, 20, 30, 3), [32, 20, 10]))


if __name__ == "__main__":
    unittest.main()
