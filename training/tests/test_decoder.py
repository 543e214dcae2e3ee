"""Examples for the decoder, and the decoder's view of them."""
import os
import tempfile
import unittest
from dataclasses import replace

import numpy as np
import torch

import make_tiny
from magvit import cond
from magvit.examples import FIELDS, Examples, make_example
from magvit.fill import fill_holes
from magvit.model import Model
from train_decoder import ALONE, DRAWN, TRUE, Balance, decode, load

TINY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../configs/tiny.toml")


class DecoderTest(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)
        m = make_tiny.make(TINY)
        self.cfg = replace(m.cfg, tokenizer=replace(m.cfg.tokenizer, known_pixels="padded"))
        self.dir = tempfile.TemporaryDirectory()
        path = os.path.join(self.dir.name, "m.safetensors")
        m.save(path)
        self.model = load(path, self.cfg)
        self.rng = np.random.default_rng(0)

    def tearDown(self):
        self.dir.cleanup()

    def example(self, kind):
        c = self.cfg
        video = self.rng.integers(0, 256, (c.frames, c.height, c.width, 3), dtype=np.uint8)
        made = cond.condition(kind, video.astype(np.float32) / 255, c.grid)
        return video, made, make_example(self.model, video, made, c.prompt(kind), 2, 5, "cpu", False)

    def test_files(self):
        e, made = Examples(self.dir.name + "/e", self.cfg), [self.example(k) for k in ("FI", "OPC", "IPD")]
        self.assertEqual(e.open(), 0)
        for _, _, fields in made:
            e.add(**fields)
        with open(e.path["clip"], "ab") as f:  # as a kill between two fields leaves it
            f.write(b"half")
        self.assertEqual(e.open(), 3)
        for i, (video, m, fields) in enumerate(made):
            v, clip, known, z, drawn = e.read(i)
            np.testing.assert_array_equal((v * 255).round().byte().permute(1, 2, 3, 0), video)
            shown = fill_holes(*(torch.from_numpy(a)[None] for a in (m.clip.transpose(3, 0, 1, 2), m.known.copy())))[0]
            np.testing.assert_allclose(clip, shown, atol=0.5 / 255 + 1e-6)
            np.testing.assert_array_equal(known, m.known)
            np.testing.assert_array_equal(z.flatten(), fields["z"])
            np.testing.assert_array_equal(drawn.flatten(), fields["drawn"])
            sy = self.cfg.height // self.cfg.grid[1]
            part = e.read(i, 1, 2, 2)
            self.assertTrue(torch.equal(part[0], v[:, :, sy:3 * sy, 2 * sy:4 * sy]))
            self.assertTrue(torch.equal(part[2], known[:, sy:3 * sy, 2 * sy:4 * sy]))
            self.assertTrue(torch.equal(part[3], z[:, 1:3, 2:4]))
        self.assertEqual(set(os.listdir(self.dir.name + "/e")), set(FIELDS))

    def test_modes(self):
        """A clip's view depends on its own mode only: tokens alone see no pixel."""
        e = Examples(self.dir.name + "/e", self.cfg)
        e.add(**self.example("IPC")[2])
        e.open()
        batch = [torch.stack([a] * 3) for a in e.read(0)]
        t = self.model.tokenizer
        with torch.no_grad():
            for level in t.decoder.known:
                level.conv2.weight.normal_(std=0.05)
            y, known = decode(t, batch, torch.tensor([ALONE, TRUE, DRAWN]))
            z, drawn = batch[3][:1], batch[4][:1]
            clip, k = batch[1][:1], batch[2][:1]
            for got, want in zip(y, (t.decode(z), t.decode(z, clip, k), t.decode(drawn, clip, k))):
                torch.testing.assert_close(got, want[0], atol=1e-4, rtol=1e-4)
        self.assertEqual(known[0].sum(), 0)
        self.assertTrue(torch.equal(known[1, 0], k[0]))

    def test_load(self):
        """A model file without a pyramid gets one that does nothing yet; any other gap is an error."""
        ids = torch.zeros(1, *self.cfg.grid, dtype=torch.long)
        plain = Model(replace(self.cfg, tokenizer=replace(self.cfg.tokenizer, known_pixels="none")))
        plain.tokenizer.load_state_dict(self.model.tokenizer.state_dict(), strict=False)
        c = self.cfg
        clip, known = torch.rand(1, 3, c.frames, c.height, c.width), torch.ones(1, c.frames, c.height, c.width)
        with torch.no_grad():
            self.assertTrue(torch.equal(self.model.tokenizer.decode(ids, clip, known), plain.tokenizer.decode(ids)))
        path = os.path.join(self.dir.name, "m.safetensors")
        with self.assertRaises(SystemExit):
            load(path, replace(c, tokenizer=replace(c.tokenizer, res_blocks=c.tokenizer.res_blocks + 1)))

    def test_balance(self):
        """A step of the gate's weights leaves what they make of a constant input."""
        conv = torch.nn.Conv3d(3, 1, 3)
        x = torch.tensor([2.0, -1.0, 5.0]).view(1, 3, 1, 1, 1).expand(1, 3, 4, 4, 4)
        balance = Balance(conv)
        before = conv(x).detach()
        with torch.no_grad():
            conv.weight += torch.randn_like(conv.weight)
        balance.step()
        torch.testing.assert_close(conv(x).detach(), before, atol=1e-4, rtol=0)


if __name__ == "__main__":
    unittest.main()
