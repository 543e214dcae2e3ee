#!/usr/bin/env python3
"""Fine-tune the decoder, and the pyramid through which it sees the known pixels of a condition.

    train_decoder.py --config configs/small.toml --model MODEL.safetensors --data DIR --val DIR --cache DIR
                     --perceptual-weights DIR --out RUN --example-minutes 10 --minutes 45

Encoder, codebook and transformer stay as they are, so tokens stay valid.  First examples are made (kept in
--out): random crops, a condition of each, and the tokens that the transformer draws for it in a few passes.
Then the decoder learns to make the crop from drawn tokens and known pixels, from true tokens and known
pixels, and from true tokens alone: to trust pixels near known ones, tokens far from them, and to be a
tokenizer's decoder still.
"""
import argparse
import os
import sys
import time

import numpy as np
import torch

from magvit import linear_start, safetensors
from magvit.config import Config
from magvit.data import Clips, contact_sheet
from magvit.examples import Examples, make_example
from magvit.lpips import Lpips
from magvit.model import Model
from magvit.pairs import WEIGHTS, kinds, make_condition
from magvit.run import Ema, Run, arguments, data_arguments
from magvit.tokenizer import known_input

DEFAULTS = {
    "lr": 3e-4, "known_lr": 3.0, "gate_lr": 15.0,  # pyramid and gate start from nothing: their rates are multiples
    "betas": [0.9, 0.99], "warmup": 0.03, "clip": 1.0, "ema_decay": 0.995, "amp": True,
    "l1": 0.5, "l2": 2.0,
    "perceptual": [0.2, 0.2, 0.2],  # weight of LPIPS in each of the modes below
    "perceptual_frames": 4,       # of each clip, drawn for every step
    "known_weight": 0.1,          # of known pixels in l1 and l2
    "modes": [0.3, 0.15, 0.55],   # shares of true tokens alone, true tokens with pixels, drawn tokens with pixels
    "phases": [[0.7, 64, 4], [1.0, 128, 1]],  # until share of the run, size of crops, their number
    "passes": [2, 3, 4, 6, 8],    # of decoding, for examples
    "linear_start": True,         # the decoder comes from one: its anchor stays as it is
    "val": 24,
}
ALONE, TRUE, DRAWN = range(3)
MODES = ("alone", "true", "drawn")


def load(path, cfg):
    """The configuration's model with the weights of a file, whose decoder may lack the pyramid or the gate."""
    tensors, _ = safetensors.load(path)
    model = Model(cfg)
    weights = {k: torch.from_numpy(v) for k, v in tensors.items()}
    head = "transformer."
    model.transformer.load_state_dict({k[len(head):]: v for k, v in weights.items() if k.startswith(head)})
    keys = model.tokenizer.load_state_dict({k: v for k, v in weights.items() if not k.startswith(head)}, strict=False)
    new = ("decoder.known.", "decoder.gate.")
    missing = [k for k in keys.missing_keys if not k.startswith(new)] + keys.unexpected_keys
    if missing:
        sys.exit(f"{path}: does not fit the configuration: {', '.join(missing)}")
    return model.eval()


def make_examples(examples, model, clips, rng, device, amp, passes, minutes=1e9, count=1 << 40):
    """Fill up with random crops under random conditions, until `count` or for `minutes`."""
    cfg, start = model.cfg, time.time()
    names = kinds(cfg)
    p = np.array([WEIGHTS[k] for k in names])
    for _ in range(examples.open(), count):
        if time.time() - start > minutes * 60:
            break
        video, cls = clips.crop(rng, cfg.frames, cfg.height)
        label = cfg.class_names.index(cls) if cls in cfg.class_names else None
        made, prompt = make_condition(cfg, rng.choice(names, p=p / p.sum()), video.astype(np.float32) / 255, label, rng)
        examples.add(**make_example(model, video, made, prompt, int(rng.choice(passes)), int(rng.integers(1 << 30)),
                                    device, amp))
    return examples.open()


def decode(tokenizer, batch, mode):
    """batch as Examples.read() gives it, stacked; mode [N] -> (pixels [N,3,T,h,w], known [N,1,T,h,w] as it was seen)"""
    _, clip, known, z, drawn = batch
    seen = (mode != ALONE).float().view(-1, 1, 1, 1)
    known = known * seen
    ids = torch.where((mode == DRAWN).view(-1, 1, 1, 1), drawn, z)
    k = known_input(tokenizer.cfg.known_pixels, clip * seen[:, None], known)
    return tokenizer.decoder(tokenizer.quantizer.decode(ids).contiguous(), k).float(), known[:, None]


@torch.no_grad()
def validate(tokenizer, lpips, examples, count, device):
    """{measure of mode: mean}: PSNR over unknown pixels, LPIPS of every fourth frame with known pixels put back;
    pictures [N,T,H,W,3] uint8 of the drawn tokens."""
    out, pictures = {}, []
    for i in range(count):
        batch = [a[None].to(device) for a in examples.read(i)]
        video = batch[0]
        for mode, name in enumerate(MODES):
            y, known = decode(tokenizer, batch, torch.tensor([mode], device=device))
            unknown = (1 - known).sum()
            if not unknown:
                continue
            y = torch.where(known > 0, video, y.clamp(0, 1))
            mse = ((y - video) ** 2).sum() / unknown / 3
            out.setdefault("psnr_" + name, []).append(-10 * torch.log10(mse + 1e-10).item())
            if lpips is not None:
                a, b = (v[0, :, 1::4].transpose(0, 1) for v in (y, video))
                out.setdefault("lpips_" + name, []).append(lpips(a, b).mean().item())
        for v in (video, batch[1], y):
            pictures.append(v[0].mul(255).round().byte().permute(1, 2, 3, 0).cpu().numpy())
    return {k: float(np.mean(v)) for k, v in out.items()}, pictures


class Balance:
    """Lets a gate's bias follow its weights, so that what they make of the mean input stays.

    The features of a linear start are large constants with small signals on them: every step of the weights
    would open or shut the gate everywhere, and the signals never count.
    """

    def __init__(self, conv):
        self.conv = conv
        conv.register_forward_pre_hook(self.see)

    def see(self, _, args):
        self.mean, self.weight = args[0].detach().float().mean((0, 2, 3, 4)), self.conv.weight.detach().clone()

    @torch.no_grad()
    def step(self):
        self.conv.bias -= ((self.conv.weight - self.weight).sum((2, 3, 4)) @ self.mean)


def main():
    ap = argparse.ArgumentParser()
    arguments(ap)
    ap.add_argument("--model", required=True, help="model file to start from")
    data_arguments(ap)
    ap.add_argument("--perceptual-weights", help="folder of LPIPS weights; without it that loss is left out")
    ap.add_argument("--example-minutes", type=float, default=10)
    args = ap.parse_args()
    run = Run("decoder", args)
    cfg, c, dev = Config.from_dict(run.config), run.table("train_decoder", DEFAULTS), run.device
    if cfg.tokenizer.known_pixels == "none":
        sys.exit(f"{args.config}: known_pixels is none, expected zero, padded or gated")
    cell = cfg.height // cfg.grid[1]
    for _, size, _ in c["phases"]:
        if size % cell or not cell <= size <= min(cfg.height, cfg.width):
            sys.exit(f"{args.config}: a phase has crops of {size}, expected a multiple of {cell} up to "
                     f"{min(cfg.height, cfg.width)}")
    model = load(args.model, cfg).to(dev)
    tokenizer = model.tokenizer
    lpips = Lpips(args.perceptual_weights).to(dev).eval() if args.perceptual_weights else None

    val, train = (Examples(os.path.join(args.out, k), cfg) for k in ("val", "train"))
    for examples, folder, seed, limit in ((val, args.val, 7, {"count": c["val"]}),
                                          (train, args.data, args.seed, {"minutes": args.example_minutes})):
        if examples is val or not examples.open():
            clips = Clips(folder, os.path.join(args.cache, "val" if examples is val else "train"), cfg.height, cfg.frames)
            make_examples(examples, model, clips, np.random.default_rng(seed), dev, c["amp"], c["passes"], **limit)
    n = train.open()
    print(f"{n} examples, {val.open()} for validation", flush=True)

    model.requires_grad_(False)
    decoder = tokenizer.decoder.requires_grad_(True)
    ema = Ema(tokenizer, c["ema_decay"])
    own = {"known_lr": decoder.known, "gate_lr": decoder.gate}
    own = {k: m.requires_grad_(False) for k, m in own.items() if m is not None}  # not among the decoder's groups
    groups = [{"params": [p for p in decoder.parameters() if p.requires_grad]}]
    if c["linear_start"]:
        groups = linear_start.condition(tokenizer, c["lr"])
    groups += [{"params": list(m.requires_grad_(True).parameters()), "scale": c[k]} for k, m in own.items()]
    if c["linear_start"]:
        for level in decoder.known:
            level.conv2.weight.register_hook(lambda g: torch.cat([g[:-1], torch.zeros_like(g[-1:])]))
    opt = torch.optim.Adam(groups, lr=c["lr"], betas=tuple(c["betas"]))
    balance = Balance(decoder.gate) if decoder.gate is not None else None
    run.keep(model=tokenizer, ema=ema, opt=opt)
    run.resume()
    for _ in run.steps():
        run.set_rate(opt, c["lr"], c["warmup"])
        _, size, count = next(p for p in c["phases"] if run.progress < p[0])
        cells = size // cell
        at = [(i, *(int(run.rng.integers(0, s - cells + 1)) for s in cfg.grid[1:])) for i in run.rng.integers(0, n, count)]
        batch = [torch.stack(a).to(dev) for a in zip(*(train.read(*a, cells) for a in at))]
        mode = torch.from_numpy(run.rng.choice(3, count, p=c["modes"])).to(dev)
        video = batch[0]
        with run.autocast(c["amp"]):
            y, known = decode(tokenizer, batch, mode)
        weight = (1 - known) + c["known_weight"] * known
        d = y - video
        l2 = (weight * d * d).sum() / weight.sum() / 3
        loss = c["l1"] * (weight * d.abs()).sum() / weight.sum() / 3 + c["l2"] * l2
        if lpips is not None:
            # Frames of one clip are alike, a few tell.  Known pixels are put back, as in use.
            frames = torch.randperm(cfg.frames)[:c["perceptual_frames"]].to(dev)
            seen = torch.where(known > 0, video, y)
            with run.autocast(c["amp"]):
                distance = lpips(*(v[:, :, frames].transpose(1, 2).flatten(0, 1) for v in (seen, video))).float()
            distance = distance.view(count, -1).mean(1)
            loss = loss + (torch.tensor(c["perceptual"], device=dev)[mode] * distance).mean()
            run.log(lpips=distance.mean())
        norm = run.descend(opt, loss, c["clip"])
        if balance:
            balance.step()
        ema.update(tokenizer, run.step)
        run.log(loss=loss, l2=l2, grad=norm)
        if run.due(8):
            figures, pictures = validate(ema.model, lpips, val, val.open(), dev)
            run.log(**figures)
            contact_sheet(os.path.join(args.out, "preview.png"), pictures[:24], 3)


if __name__ == "__main__":
    main()
