"""Clips: decoded once, kept as uint8, cropped at random; and clips made by procedure.

Decoding is ffmpeg's, OpenCV's where there is no ffmpeg.  What is drawn depends on the given generator alone.
"""
import csv
import os
import shutil
import struct
import subprocess
import sys
import zlib

import numpy as np
import torch
import torch.nn.functional as F


def list_clips(folder):
    """[(path, class)], sorted by name; the class column of MANIFEST.tsv if there is one."""
    classes = {}
    manifest = os.path.join(folder, "MANIFEST.tsv")
    if os.path.exists(manifest):
        with open(manifest, newline="") as f:
            classes = {r["file"]: r["class"] for r in csv.DictReader(f, delimiter="\t")}
    names = sorted(n for n in os.listdir(folder)
                   if n.lower().endswith((".mp4", ".mkv", ".webm", ".mov", ".avi", ".y4m")))
    return [(os.path.join(folder, n), classes.get(n, "none")) for n in names]


def scaled_size(w, h, short):
    """Even (width, height) whose shorter side is `short`."""
    if w < h:
        return short, round(h * short / w / 2) * 2
    return round(w * short / h / 2) * 2, short


def decode_ffmpeg(path, short):
    probe = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries",
                            "stream=width,height", "-of", "csv=p=0:s=x", path],
                           capture_output=True, text=True, check=True).stdout.split("x")
    w, h = scaled_size(int(probe[0]), int(probe[1]), short)
    raw = subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-vf", f"scale={w}:{h}:flags=area",
                          "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
                         stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, h, w, 3)


def decode_opencv(cv2, path, short):
    video, frames = cv2.VideoCapture(path), []
    while True:
        more, image = video.read()
        if not more:
            break
        size = scaled_size(image.shape[1], image.shape[0], short)
        frames.append(cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB))
    if not frames:
        sys.exit(f"{path}: OpenCV decodes no frame of it")
    return np.stack(frames)


def decode_clip(path, short=128):
    """All frames [T,H,W,3] uint8, the shorter side scaled to `short`."""
    if shutil.which("ffmpeg") and shutil.which("ffprobe"):
        return decode_ffmpeg(path, short)
    try:
        import cv2
    except ImportError:
        sys.exit(f"{path}: decoding needs the programs ffmpeg and ffprobe, or OpenCV for Python (cv2)")
    return decode_opencv(cv2, path, short)


def _uniform(rng, low, high, size=None):
    return torch.as_tensor(rng.uniform(low, high, size), dtype=torch.float32)


def _colours(rng, n, device):
    """[n,3,1,1]: any brightness, mild chroma."""
    return (_uniform(rng, 0.1, 0.9, (n, 1)) + _uniform(rng, -0.2, 0.2, (n, 3))).clamp(0, 1).view(n, 3, 1, 1).to(device)


def _noise(rng, size, device):
    """[1,3,size,size] in [0,1]: three octaves of smooth noise between two colours."""
    octaves = 0
    for cells, weight in ((3, 1.0), (8, 0.5), (21, 0.3)):
        o = _uniform(rng, -1, 1, (1, 1, cells, cells)).to(device)
        octaves = octaves + weight * F.interpolate(o, size=(size, size), mode="bilinear", align_corners=True)
    a, b = _colours(rng, 2, device)
    return torch.lerp(a, b, (0.5 + octaves).clamp(0, 1))


def procedural(rng, frames, size, still=None, device="cpu"):
    """A mild made-up clip [3,T,size,size] in [0,1]: a view gliding over a background, often with shapes before it.

    The background is `still` ([H,W,3] uint8 tensor), smooth noise, or a colour gradient.
    """
    kind = rng.choice(["still", "noise", "gradient"])
    if kind == "still" and still is not None:
        image = still.to(device).permute(2, 0, 1)[None].float() / 255
    elif kind == "gradient":
        corners = _colours(rng, 4, device).view(2, 2, 3).permute(2, 0, 1)[None]
        image = F.interpolate(corners, size=(size, size), mode="bilinear", align_corners=True)
    else:
        image = _noise(rng, 2 * size, device)
    # Window: half width relative to the image, and its centre, both linear in time.
    t = torch.linspace(0, 1, frames)
    zoom = torch.lerp(*_uniform(rng, 0.5, 0.95, 2), t)
    cy, cx = (torch.lerp(*_uniform(rng, -0.4, 0.4, 2), t) for _ in range(2))
    zero = torch.zeros(frames)
    theta = torch.stack([torch.stack([zoom, zero, cx], 1), torch.stack([zero, zoom, cy], 1)], 1).to(device)
    grid = F.affine_grid(theta, (frames, 3, size, size), align_corners=False)
    clip = F.grid_sample(image.expand(frames, -1, -1, -1), grid, padding_mode="reflection", align_corners=False)
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size] * 2, indexing="ij")
    t = t[:, None, None]
    for _ in range(int(rng.integers(0, 4))):
        (y0, x0, ry, rx), (vy, vx) = rng.uniform([0, 0, .05, .05], [1, 1, .3, .3]), rng.uniform(-0.5, 0.5, 2)
        dy, dx = (y - y0 - vy * t).abs() / ry, (x - x0 - vx * t).abs() / rx
        far = torch.maximum(dy, dx) if rng.random() < 0.5 else (dy * dy + dx * dx).sqrt()
        cover = ((1 - far) * min(ry, rx) * size + 0.5).clamp(0, 1).to(device)  # edges are one pixel wide
        clip = torch.lerp(clip, _colours(rng, 1, device).expand_as(clip), cover[:, None])
    return clip.transpose(0, 1).clamp(0, 1)


class Clips:
    """Every clip of a folder, memory-mapped from a cache directory that is filled on first use."""

    def __init__(self, folder, cache, short=128, min_frames=16):
        os.makedirs(cache, exist_ok=True)
        self.clips, self.classes, self.names = [], [], []
        for path, cls in list_clips(folder):
            name = os.path.basename(path)
            npy = os.path.join(cache, f"{name}.{short}.npy")
            if not os.path.exists(npy):
                np.save(npy + ".tmp.npy", decode_clip(path, short))
                os.replace(npy + ".tmp.npy", npy)
            a = np.load(npy, mmap_mode="c")  # as torch wants it: writable, though nothing writes
            if a.shape[0] >= min_frames:
                self.clips.append(a)
                self.classes.append(cls)
                self.names.append(name)
        if not self.clips:
            sys.exit(f"{folder}: no clip of {min_frames} frames")
        # Long clips of one scene would crowd out the rest: within a class a clip weighs the root of its
        # length, and a class weighs the root of its number of clips.
        seconds = np.array([a.shape[0] for a in self.clips], float) ** 0.5
        cls = np.array(self.classes)
        p = np.zeros(len(cls))
        for c in set(self.classes):
            m = cls == c
            p[m] = seconds[m] / seconds[m].sum() * m.sum() ** 0.5
        self.p = p / p.sum()

    def choose(self, rng, frames, size, max_stride=3, augment=True):
        """A random place and change: (clip index, slices of T, H, W, whether to flip, gain [3] or None)."""
        index = rng.choice(len(self.clips), p=self.p)
        shape = self.clips[index].shape
        s = int(rng.integers(1, max_stride + 1))
        while (frames - 1) * s >= shape[0]:
            s -= 1
        t = int(rng.integers(0, shape[0] - (frames - 1) * s))
        y, x = (int(rng.integers(0, n - size + 1)) for n in shape[1:3])
        gain, flip = None, bool(augment and rng.random() < 0.5)
        if augment and rng.random() < 0.3:
            gain = (rng.uniform(0.7, 1.2, 3) * 0.3 + rng.uniform(0.7, 1.2) * 0.7).astype(np.float32)
        return index, (slice(t, t + (frames - 1) * s + 1, s), slice(y, y + size), slice(x, x + size)), flip, gain

    def crop(self, rng, frames, size, max_stride=3, augment=True):
        """A random crop [T,size,size,3] uint8 and the name of its class."""
        index, place, flip, gain = self.choose(rng, frames, size, max_stride, augment)
        c = self.clips[index][place]
        if flip:
            c = c[:, :, ::-1]
        if gain is not None:
            c = np.minimum(c * gain, 255).astype(np.uint8)
        return np.ascontiguousarray(c), self.classes[index]

    def windows(self, frames, size, step=None):
        """Yield (clip index, [T,size,size,3] uint8): centre crops, whole clips cut in windows."""
        for i, a in enumerate(self.clips):
            y, x = (a.shape[1] - size) // 2, (a.shape[2] - size) // 2
            for t in range(0, a.shape[0] - frames + 1, step or frames):
                yield i, np.ascontiguousarray(a[t:t + frames, y:y + size, x:x + size])


class Loader:
    """Batches of random crops on a device, with a share of procedural clips.

    On CUDA the clips are held in its memory where they fit in half of what is free, and are cut there.
    """

    def __init__(self, clips, device, max_stride=3, augment=True, share=0.0):
        self.clips, self.device, self.share = clips, device, share
        self.options = {"max_stride": max_stride, "augment": augment}
        self.tensors = [torch.from_numpy(a) for a in clips.clips]
        if torch.device(device).type == "cuda" and sum(a.nbytes for a in clips.clips) < torch.cuda.mem_get_info()[0] / 2:
            self.tensors = [a.to(device) for a in self.tensors]

    def _one(self, rng, frames, size):
        index, place, flip, gain = self.clips.choose(rng, frames, size, **self.options)
        if self.share and rng.random() < self.share:
            return procedural(rng, frames, size, self.tensors[index][place[0].start], self.device)
        x = self.tensors[index][place].to(self.device).permute(3, 0, 1, 2).float() / 255
        if flip:
            x = x.flip(3)
        if gain is not None:
            x = (x * torch.from_numpy(gain).to(self.device).view(3, 1, 1, 1)).clamp(max=1)
        return x

    def batch(self, rng, n, frames, size):
        """[n,3,T,size,size] in [0,1]"""
        return torch.stack([self._one(rng, frames, size) for _ in range(n)])


def write_png(path, image):
    """image [H,W,3] uint8"""
    h, w, _ = image.shape
    rows = np.concatenate([np.zeros((h, 1), np.uint8), image.reshape(h, -1)], 1).tobytes()

    def chunk(tag, data):
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))

    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0))
                + chunk(b"IDAT", zlib.compress(rows, 6)) + chunk(b"IEND", b""))


def contact_sheet(path, clips, every=3):
    """clips [N,T,H,W,3] uint8 -> one row of every `every`-th frame per clip."""
    write_png(path, np.concatenate([np.concatenate(list(c[::every]), 1) for c in clips], 0))
