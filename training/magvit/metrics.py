"""Measures of likeness of images, in NumPy.  Images are arrays [...,H,W,3] in [0,1]; LPIPS is in lpips.py."""
import numpy as np

GRAY = np.array([0.2125, 0.7154, 0.0721])
CEILING = 100.0    # dB for equal images, so that means stay finite


def psnr(a, b, mask=None):
    """dB of the mean square error over all values, or over the pixels where mask [...,H,W] is set."""
    d = a.astype(np.float64) - b
    mse = np.mean(np.square(d if mask is None else d[mask]))
    return min(CEILING, -10 * np.log10(max(mse, 1e-30)))


def _smooth(x, kernel):
    """Filter the last two axes, valid region only."""
    n = len(kernel)
    for axis in (-1, -2):
        x = np.moveaxis(x, axis, 0)
        size = x.shape[0] - n + 1
        y = kernel[0] * x[:size]
        for k in range(1, n):
            y += kernel[k] * x[k:k + size]
        x = np.moveaxis(y, 0, axis)
    return x


def ssim(a, b, sigma=1.5, width=11):
    """Structural similarity of the gray images: Gaussian window, valid region -> [...]"""
    r = np.arange(width) - width // 2
    kernel = np.exp(-0.5 * (r / sigma) ** 2)
    kernel /= kernel.sum()
    x, y = a @ GRAY, b @ GRAY
    mx, my = _smooth(x, kernel), _smooth(y, kernel)
    vx, vy = _smooth(x * x, kernel) - mx * mx, _smooth(y * y, kernel) - my * my
    cov = _smooth(x * y, kernel) - mx * my
    c1, c2 = 0.01 ** 2, 0.03 ** 2
    s = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return s.mean((-2, -1))
