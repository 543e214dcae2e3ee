"""What the trainers share: configuration, clock, learning rate, averages, checkpoints, log.

    arguments(ap)                               --config --out --minutes --steps --device --seed --save-seconds
    r = Run("tokenizer", args)                  makes --out, seeds torch; r.config, r.device, r.rng (NumPy)
    c = r.table("train_tokenizer", DEFAULTS)    the table of the configuration over its defaults
    ema = Ema(model, c["ema_decay"])
    r.keep(model=model, ema=ema, opt=opt)       anything with state_dict() and load_state_dict()
    if not r.resume(): ...                      first start: whatever initialisation needs data
    for _ in r.steps():                         r.step steps are done, r.progress in [0,1]
        r.set_rate(opt, c["lr"], c["warmup"])
        with r.autocast(c["amp"]): ...
        norm = r.descend(opt, loss, c["clip"])  or backward() of one's own, then r.apply(opt, clip)
        ema.update(model, r.step)
        r.log(loss=loss, grad=norm)             numbers or tensors; several calls of a step add up to one line
        if r.due(6): r.log(val_psnr=...)        six times a run
    ...                                         trained to the end, saved

OUT/NAME.pt is written whole or not at all, every --save-seconds, at the end, and on SIGTERM and SIGINT, which
end the program.  It holds every kept state, "step", "elapsed", "config" and the states of the random generators.
All randomness must come from torch and r.rng: then a run of --steps that is killed and resumed continues exactly
as if it had not been (on CUDA as far as its kernels are deterministic).
OUT/log.jsonl has one line for each step: {"run": NAME, "step": steps done, "elapsed": seconds, every number}.
"""
import copy
import json
import math
import os
import signal
import sys
import time
import tomllib

import numpy as np
import torch

REPORT_SECONDS = 15


def arguments(ap):
    ap.add_argument("--config", required=True)
    ap.add_argument("--out", required=True, help="folder for checkpoint, log and previews; a checkpoint in it is resumed")
    end = ap.add_mutually_exclusive_group()
    end.add_argument("--minutes", type=float, default=60, help="length of the run by the clock")
    end.add_argument("--steps", type=int, help="length of the run in steps, instead of --minutes")
    ap.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--save-seconds", type=float, default=120, help="time between checkpoints")


def data_arguments(ap):
    ap.add_argument("--data", required=True, help="folder of training clips")
    ap.add_argument("--val", required=True, help="folder of validation clips")
    ap.add_argument("--cache", required=True, help="folder for decoded clips")


def schedule(progress, warmup):
    """Factor of the learning rate: linear over the first `warmup` of the run, then a half cosine to 0."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


class Ema:
    """Moving average of a module's parameters, itself a module in `model`; faster at the start."""

    def __init__(self, model, decay):
        self.model, self.decay = copy.deepcopy(model).eval().requires_grad_(False), decay

    @torch.no_grad()
    def update(self, model, step):
        decay = min(self.decay, (1 + step) / (10 + step))
        for a, b in zip(self.model.parameters(), model.parameters()):
            a.lerp_(b, 1 - decay)

    def state_dict(self):
        return self.model.state_dict()

    def load_state_dict(self, d):
        self.model.load_state_dict(d)


class Run:
    def __init__(self, name, args):
        with open(args.config, "rb") as f:
            self.config = tomllib.load(f)
        self.name, self.device, self.save_seconds = name, args.device, args.save_seconds
        self.total_steps, self.total_seconds = args.steps, args.minutes * 60
        os.makedirs(args.out, exist_ok=True)
        self.path = os.path.join(args.out, name + ".pt")
        self.log_path = os.path.join(args.out, "log.jsonl")
        torch.manual_seed(args.seed)
        self.rng = np.random.default_rng(args.seed)
        torch.backends.cudnn.benchmark = True
        self.step, self.elapsed, self.skipped, self.before = 0, 0.0, 0, 0.0
        self._kept, self._line, self._lines, self._recent, self._signal = {}, {}, [], [], None

    def table(self, name, defaults):
        """A table of the configuration over its defaults; a key without default is a mistake."""
        given = self.config.get(name, {})
        unknown = sorted(set(given) - set(defaults))
        if unknown:
            sys.exit(f"[{name}]: unknown {', '.join(unknown)}")
        return {**defaults, **given}

    def keep(self, **objects):
        """Objects whose state belongs into the checkpoint, by their name there."""
        self._kept.update(objects)

    @property
    def progress(self):
        """Done share of the run."""
        if self.total_steps is not None:
            return min(1.0, self.step / max(self.total_steps, 1))
        return min(1.0, self.elapsed / max(self.total_seconds, 1e-9))

    def due(self, times):
        """Whether one of `times` even parts of the run ended with the last step."""
        return int(self.progress * times) > int(self.before * times)

    def set_rate(self, opt, lr, warmup):
        """Sets every group to the scheduled rate, times its own "scale" if it has one."""
        for g in opt.param_groups:
            g["lr"] = lr * schedule(self.progress, warmup) * g.get("scale", 1.0)

    def autocast(self, enabled):
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16, enabled=enabled)

    def descend(self, opt, loss, clip):
        """Gradient of a loss and one step; returns the gradient's norm."""
        opt.zero_grad(set_to_none=True)
        loss.backward()
        return self.apply(opt, clip)

    def apply(self, opt, clip):
        """One step of an optimiser by the gradients that are there, cut to the norm `clip`; none if they are not finite."""
        norm = torch.nn.utils.clip_grad_norm_([p for g in opt.param_groups for p in g["params"]], clip)
        if torch.isfinite(norm):
            opt.step()
        else:
            self.skipped += 1
        return norm

    def log(self, **numbers):
        """Numbers of this step; tensors are read only when lines are written, as reading waits for the device."""
        self._line.update((k, v.detach() if torch.is_tensor(v) else v) for k, v in numbers.items())

    def steps(self):
        """Yields until the end of the run; between two yields it keeps the books."""
        old = {s: signal.signal(s, self._on_signal) for s in (signal.SIGTERM, signal.SIGINT)}
        last = saved = reported = time.time()
        try:
            while self.progress < 1:
                yield self.step
                now = time.time()
                self.before = self.progress
                self.step, self.elapsed, last = self.step + 1, self.elapsed + now - last, now
                self._lines.append({"run": self.name, "step": self.step, "elapsed": round(self.elapsed, 3), **self._line})
                self._line = {}
                if now - reported > REPORT_SECONDS or self.progress >= 1:
                    self._flush()
                    self._report(now - reported)
                    reported = now
                if now - saved > self.save_seconds or self._signal:
                    self.save()
                    saved = now
                if self._signal:
                    print(f"stopped by signal {self._signal} after step {self.step}; the same command goes on", flush=True)
                    sys.exit(128 + self._signal)
            self.save()
        finally:
            for s, handler in old.items():
                signal.signal(s, handler)

    def _on_signal(self, number, frame):
        """The first asks for an end after this step, the second ends at once."""
        self._signal = number
        signal.signal(number, signal.SIG_DFL)

    def _flush(self):
        """Lines to the file."""
        if not self._lines:
            return
        for line in self._lines:
            line.update((k, v.item()) for k, v in line.items() if torch.is_tensor(v))
        with open(self.log_path, "a") as f:
            f.writelines(json.dumps(line) + "\n" for line in self._lines)
        self._recent += self._lines
        self._lines = []

    def _report(self, seconds):
        n = len(self._recent)
        keys = dict.fromkeys(k for line in self._recent for k in line if k not in ("run", "step", "elapsed"))
        mean = {k: np.mean([line[k] for line in self._recent if k in line]) for k in keys}
        self._recent = []
        if self.total_steps is None:
            left = self.total_seconds - self.elapsed
        else:
            left = (self.total_steps - self.step) * self.elapsed / self.step
        print(f"step {self.step} " + " ".join(f"{k} {v:.4g}" for k, v in mean.items())
              + (f" skipped {self.skipped}" if self.skipped else "")
              + f" {n / max(seconds, 1e-9):.2f} steps/s {max(left, 0) / 60:.1f} min left", flush=True)

    def save(self):
        self._flush()
        random = {"numpy": self.rng.bit_generator.state, "torch": torch.get_rng_state()}
        if torch.cuda.is_available():
            random["cuda"] = torch.cuda.get_rng_state_all()
        state = {"step": self.step, "elapsed": self.elapsed, "skipped": self.skipped, "before": self.before,
                 "random": random, "config": self.config, **{k: v.state_dict() for k, v in self._kept.items()}}
        torch.save(state, self.path + ".tmp")
        os.replace(self.path + ".tmp", self.path)

    def resume(self):
        """Loads the checkpoint of --out; returns whether there was one.  Log lines after it are taken back."""
        s = {"step": 0}
        if os.path.exists(self.path):
            s = torch.load(self.path, map_location="cpu", weights_only=False)  # our own file; it has NumPy states
        self._truncate_log(s["step"])
        if not os.path.exists(self.path):
            return False
        for k, v in self._kept.items():
            v.load_state_dict(s[k])
        self.step, self.elapsed, self.skipped, self.before = (s[k] for k in ("step", "elapsed", "skipped", "before"))
        self.rng.bit_generator.state = s["random"]["numpy"]
        torch.set_rng_state(s["random"]["torch"])
        if torch.cuda.is_available() and "cuda" in s["random"]:
            torch.cuda.set_rng_state_all(s["random"]["cuda"])
        print(f"resumed after step {self.step}, {self.elapsed / 60:.1f} min", flush=True)
        return True

    def _truncate_log(self, step):
        """Leaves other runs' lines and this one's up to `step`; a line cut short by a kill goes."""
        if not os.path.exists(self.log_path):
            return
        kept = []
        with open(self.log_path) as f:
            for line in f:
                try:
                    d = json.loads(line)
                except ValueError:
                    continue
                if d["run"] != self.name or d["step"] <= step:
                    kept.append(line)
        with open(self.log_path + ".tmp", "w") as f:
            f.writelines(kept)
        os.replace(self.log_path + ".tmp", self.log_path)
