"""Clips: decoded once through an ffmpeg pipe, kept as uint8, cropped at random."""
import csv
import os
import struct
import subprocess
import zlib

import numpy as np


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


def decode_clip(path, short=128):
    """All frames [T,H,W,3] uint8, the shorter side scaled to `short`."""
    probe = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries",
                            "stream=width,height", "-of", "csv=p=0:s=x", path],
                           capture_output=True, text=True, check=True).stdout.split("x")
    w, h = int(probe[0]), int(probe[1])
    if w < h:
        w, h = short, round(h * short / w / 2) * 2
    else:
        w, h = round(w * short / h / 2) * 2, short
    raw = subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-vf", f"scale={w}:{h}:flags=area",
                          "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
                         stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, h, w, 3)


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
            a = np.load(npy, mmap_mode="r")
            if a.shape[0] >= min_frames:
                self.clips.append(a)
                self.classes.append(cls)
                self.names.append(name)
        # Long clips of one scene would crowd out the rest: within a class a clip weighs the root of its
        # length, and a class weighs the root of its number of clips.
        seconds = np.array([a.shape[0] for a in self.clips], float) ** 0.5
        cls = np.array(self.classes)
        p = np.zeros(len(cls))
        for c in set(self.classes):
            m = cls == c
            p[m] = seconds[m] / seconds[m].sum() * m.sum() ** 0.5
        self.p = p / p.sum()

    def crop(self, rng, frames, size, max_stride=3, augment=True):
        """A random crop [T,size,size,3] uint8 and the name of its class."""
        index = rng.choice(len(self.clips), p=self.p)
        a = self.clips[index]
        s = int(rng.integers(1, max_stride + 1))
        while (frames - 1) * s >= a.shape[0]:
            s -= 1
        t = rng.integers(0, a.shape[0] - (frames - 1) * s)
        y = rng.integers(0, a.shape[1] - size + 1)
        x = rng.integers(0, a.shape[2] - size + 1)
        c = a[t:t + (frames - 1) * s + 1:s, y:y + size, x:x + size]
        if augment:
            if rng.random() < 0.5:
                c = c[:, :, ::-1]
            if rng.random() < 0.3:
                gain = rng.uniform(0.7, 1.2, 3) * 0.3 + rng.uniform(0.7, 1.2) * 0.7
                c = np.minimum(c * gain.astype(np.float32), 255).astype(np.uint8)
        return np.ascontiguousarray(c), self.classes[index]

    def batch(self, rng, n, frames, size, **kw):
        """[n,T,size,size,3] uint8"""
        return np.stack([self.crop(rng, frames, size, **kw)[0] for _ in range(n)])

    def windows(self, frames, size, step=None):
        """Yield (clip index, [T,size,size,3] uint8): centre crops, whole clips cut in windows."""
        for i, a in enumerate(self.clips):
            y, x = (a.shape[1] - size) // 2, (a.shape[2] - size) // 2
            for t in range(0, a.shape[0] - frames + 1, step or frames):
                yield i, np.ascontiguousarray(a[t:t + frames, y:y + size, x:x + size])


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
