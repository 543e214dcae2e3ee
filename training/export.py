#!/usr/bin/env python3
"""Write a model file from checkpoints.

    export.py --config configs/small.toml --tokenizer RUN/tokenizer.pt [--transformer RUN/transformer.pt]
              --out RUN/model.safetensors [--f32]

The moving-average weights are shipped.  Without --transformer that part keeps its random start, which is
enough to test loading and speed.  Both parts may also come from model files; without --config each brings its own
configuration.
"""
import argparse
from dataclasses import replace

from magvit import checkpoint
from magvit.config import Config
from magvit.model import Model


def main(argv=None):
    ap = argparse.ArgumentParser()
    ap.add_argument("--config")
    ap.add_argument("--tokenizer", required=True)
    ap.add_argument("--transformer")
    ap.add_argument("--out", required=True)
    ap.add_argument("--f32", action="store_true", help="float32 instead of bf16")
    args = ap.parse_args(argv)
    tokenizer, cfg = checkpoint.load(args.tokenizer, "tokenizer")
    if args.transformer:
        own, (transformer, cfg) = cfg.tokenizer, checkpoint.load(args.transformer, "transformer")
        cfg = replace(cfg, tokenizer=own)
    model = Model(Config.load(args.config) if args.config else cfg)
    model.tokenizer.load_state_dict(tokenizer)
    if args.transformer:
        model.transformer.load_state_dict(transformer)
    else:
        model.transformer.init_local(model.tokenizer.quantizer.codebook.weight.detach(), model.cfg.grid)
    model.save(args.out, bf16=not args.f32)
    n = {k: sum(p.numel() for p in getattr(model, k).parameters()) for k in ("tokenizer", "transformer")}
    print(f"{args.out}: {sum(n.values())} parameters ({n})")


if __name__ == "__main__":
    main()
