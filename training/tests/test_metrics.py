"""Run from training/: python3 -m unittest discover -s tests -t ."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import numpy as np

import quality
from magvit.metrics import CEILING, GRAY, psnr, ssim


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def ssim_by_hand(x, y):
    """One gray patch of 11x11, every term written out."""
    w = np.array([[np.exp(-((i - 5) ** 2 + (j - 5) ** 2) / 4.5) for j in range(11)] for i in range(11)])
    w /= w.sum()
    mx, my = (w * x).sum(), (w * y).sum()
    vx, vy = (w * (x - mx) ** 2).sum(), (w * (y - my) ** 2).sum()
    cov = (w * (x - mx) * (y - my)).sum()
    return (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx ** 2 + my ** 2 + 1e-4) * (vx + vy + 9e-4))


class Psnr(unittest.TestCase):
    def test_values(self):
        a = np.full((2, 4, 4, 3), 0.5)
        self.assertEqual(psnr(a, a), CEILING)
        self.assertAlmostEqual(psnr(a, a + 0.1), 20)
        self.assertAlmostEqual(psnr(np.zeros(3), np.ones(3)), 0)

    def test_mask(self):
        a, mask = np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4), bool)
        b = np.full_like(a, 0.9)
        mask[1, 2:] = True
        b[mask] = 0.01
        self.assertAlmostEqual(psnr(a, b, mask), 40)

    def test_error_is_averaged_before_the_logarithm(self):
        a, b = np.zeros((2, 8)), np.zeros((2, 8))
        b[0] = 0.1
        self.assertAlmostEqual(psnr(a, b), 10 * np.log10(2 / 0.01))


class Ssim(unittest.TestCase):
    def test_same(self):
        a = noise(3, 16, 20, 3)
        np.testing.assert_allclose(ssim(a, a), np.ones(3))

    def test_constants(self):
        a, b = np.full((12, 12, 3), 0.3), np.full((12, 12, 3), 0.6)
        self.assertAlmostEqual(float(ssim(a, b)), (2 * 0.18 + 1e-4) / (0.09 + 0.36 + 1e-4))

    def test_one_patch(self):
        a, b = noise(11, 11, 3), noise(11, 11, 3, seed=1)
        self.assertAlmostEqual(float(ssim(a, b)), ssim_by_hand(a @ GRAY, b @ GRAY))
        self.assertAlmostEqual(float(ssim(a, 1 - a)), ssim_by_hand(a @ GRAY, (1 - a) @ GRAY))

    def test_valid_region(self):
        a, b = noise(13, 12, 3), noise(13, 12, 3, seed=1)
        patches = [ssim_by_hand((a @ GRAY)[i:i + 11, j:j + 11], (b @ GRAY)[i:i + 11, j:j + 11])
                   for i in range(3) for j in range(2)]
        self.assertAlmostEqual(float(ssim(a, b)), np.mean(patches))

    @unittest.skipUnless(shutil.which("ffmpeg"), "needs ffmpeg")
    def test_near_ffmpeg(self):
        """Its windows are flat 8x8 squares, so the two agree roughly."""
        y, x = np.mgrid[:96, :96]
        a = 0.5 + 0.4 * np.sin(x / 1.3) * np.sin(y / 1.7)    # its variance is the same in both windows
        b = np.clip(a + 0.05 * np.random.default_rng(0).standard_normal(a.shape), 0, 1)
        with tempfile.TemporaryDirectory() as folder:
            files = [os.path.join(folder, n) for n in ("a.gray", "b.gray")]
            given = []
            for image, file in zip((a, b), files):
                np.round(image * 255).astype(np.uint8).tofile(file)
                given += ["-f", "rawvideo", "-pix_fmt", "gray", "-s", "96x96", "-i", file]
            p = subprocess.run(["ffmpeg", "-hide_banner", "-nostdin", *given, "-lavfi", "ssim", "-f", "null", "-"],
                               capture_output=True, text=True)
        theirs = re.search(r"SSIM .*All:([0-9.]+)", p.stderr)
        if p.returncode or not theirs:
            self.skipTest("this ffmpeg has no ssim filter")
        ours = ssim(np.repeat(a[..., None], 3, -1), np.repeat(b[..., None], 3, -1))
        self.assertAlmostEqual(float(ours), float(theirs[1]), delta=0.03)


class Program(unittest.TestCase):
    def test_rgb(self):
        """Black, white, gray and the three corners of BT.601, limited range."""
        yuv = np.array([[16, 128, 128], [235, 128, 128], [81, 90, 240], [145, 54, 34], [41, 240, 110]], np.uint8)
        rgb = quality.to_rgb(yuv.reshape(5, 3, 1, 1)).reshape(5, 3)
        np.testing.assert_allclose(rgb, [[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], atol=0.012)

    def test_blend(self):
        given = np.array([0, 100], np.uint8).reshape(2, 1, 1, 1)
        self.assertEqual(quality.blend(given, 4).ravel().tolist(), [0, 25, 50, 75, 100])
        self.assertEqual(quality.hold(given, 4).ravel().tolist(), [0, 0, 0, 0, 100])

    def test_changed_known_sample(self):
        truth = np.zeros((2, 3, 4, 4), np.uint8)
        made, invented = truth.copy(), np.zeros((2, 4, 4), bool)
        invented[:, 1] = True
        made[:, :, 1] = 9
        quality.check_known(truth, made, invented, "x")
        made[1, 2, 3, 3] = 1
        with self.assertRaises(SystemExit):
            quality.check_known(truth, made, invented, "x")

    def test_tables(self):
        rows = [dict(clip=c, task="interp-4", method=m, psnr=p, ssim=s)
                for c, m, p, s in [("a", "magvit_interp", 30.0, 0.9), ("a", "hold", 20.0, 0.95),
                                   ("b", "magvit_interp", 20.0, 0.8), ("b", "hold", 24.0, 0.95)]]
        text = quality.tables(rows)
        self.assertIn("| 4th | **25.00** / .850 | 22.00 / **.950** | 1, 0 of 2 |", text)

    def test_markers(self):
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "q.md")
            with open(file, "w") as f:
                f.write(f"head\n{quality.BEGIN}\nold\n{quality.END}\ntail\n")
            for _ in range(2):
                quality.write_between(file, "new\n")
            with open(file) as f:
                self.assertEqual(f.read(), f"head\n{quality.BEGIN}\nnew\n{quality.END}\ntail\n")


if __name__ == "__main__":
    unittest.main()
