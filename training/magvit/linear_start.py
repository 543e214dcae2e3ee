"""A tokenizer that works before it is trained.

With random weights a short run spends most of its time on finding out that a clip has a brightness and
colours.  Here the trunks start as linear resamplers: the encoder averages, the decoder interpolates
bilinearly, residual branches start small, and one constant channel (the anchor) keeps the group norms from
removing a clip's absolute brightness.  The two output convolutions are then solved by least squares:
the encoder's for the guide's components, the decoder's for the pixels.
Works best with one norm group.

Weights that read a large constant (the anchor, or the offset under the decoder's last swish) act all
together: one Adam step of each is a large step of the sum.  condition() holds those still or slows them.
"""
import torch

from .tokenizer import ResBlock

_ANCHOR = 20.0


def _identity(weight, cout, cin):
    """Centre tap copying channel i to i; the anchor is the last channel of both sides."""
    centre = tuple(k // 2 for k in weight.shape[2:])
    n = min(cin, cout) - 1
    weight[:n].zero_()
    weight[-1].zero_()
    i = torch.arange(n)
    weight[(i, i, *centre)] = 1
    weight[(-1, -1, *centre)] = 1


def _prepare(module, residual):
    for m in module.modules():
        if isinstance(m, ResBlock):
            m.conv2.weight.mul_(residual)
            m.conv1.weight.mul_(1.5)  # swish halves the variance
            m.conv2.weight[-1].zero_()  # nothing is added to the anchor
            if m.shortcut is not None:
                _identity(m.shortcut.weight, *m.shortcut.weight.shape[:2])


def _capture(module, call):
    """Inputs that `module` gets while `call` runs; under the caller's autocast, so its noise is seen."""
    seen = []
    h = module.register_forward_pre_hook(lambda _, a: seen.append(a[0].detach().float()))
    call()
    h.remove()
    return seen[0]


def _solve(features, targets, ridge=0.1):
    """features [M,F], targets [M,O] -> (weights [O,F], bias [O]), ridge relative to the feature variance."""
    features, targets = features.float(), targets.float()
    fm, tm = features.mean(0), targets.mean(0)
    f = (features - fm).double()
    a = f.t() @ f
    a += ridge * a.diagonal().mean() * torch.eye(a.shape[0], dtype=a.dtype, device=a.device)
    w = torch.linalg.solve(a, f.t() @ (targets - tm).double()).t().float()
    return w, tm - (w * fm).sum(1)


def _apply(features, weight, bias):
    return (features.double() @ weight.t().double()).float() + bias


@torch.no_grad()
def init_encoder(encoder, clips, guide):
    """clips: list of [N,3,T,H,W]; solves conv_out for guide(clip).  Returns the unexplained share of variance."""
    _prepare(encoder, 0.5)
    w = encoder.conv_in.weight
    w[:3].zero_()
    w[torch.arange(3), torch.arange(3), w.shape[2] // 2, 1, 1] = 1
    w[-1].zero_()
    # No convolution here has a bias: the first block makes the anchor from a norm's bias.
    b = encoder.down[0].block[0]
    b.norm2.weight[-1] = 0
    b.norm2.bias[-1] = 5
    b.conv2.weight[-1, -1, w.shape[2] // 2, 1, 1] = 4 / 5
    feats = torch.cat([_capture(encoder.conv_out, lambda x=x: encoder(x)).permute(0, 2, 3, 4, 1).flatten(0, 3)
                       for x in clips])
    targets = torch.cat([guide(x) for x in clips]).float()
    weight, bias = _solve(feats, targets)
    encoder.conv_out.weight.copy_(weight.view(encoder.conv_out.weight.shape))
    encoder.conv_out.bias.copy_(bias)
    return ((_apply(feats, weight, bias) - targets).pow(2).sum() / (targets - targets.mean(0)).pow(2).sum()).item()


@torch.no_grad()
def init_decoder(decoder, latents, clips, positions=200000):
    """latents: list of [N,D,t,h,w] for clips [N,3,T,H,W]; solves conv_out for the pixels.  Returns the mean square error."""
    _prepare(decoder, 0.15)
    w = decoder.conv_in.weight
    w.mul_(0.3)
    n = min(w.shape[1], w.shape[0] - 1)
    w[:n].zero_()
    w[-1].zero_()
    w[torch.arange(n), torch.arange(n), w.shape[2] // 2, 1, 1] = 1
    decoder.conv_in.bias[-1] = _ANCHOR
    for level in decoder.up:
        if level.conv is None:
            continue
        taps = [torch.tensor([0.25, 0.5, 0.25] if f == 2 else [0.0, 1.0, 0.0]) for f in level.upsample.factor]
        if w.shape[2] == 1:
            taps[0] = torch.ones(1)
        kernel = (taps[0][:, None, None] * taps[1][:, None] * taps[2]).to(w.device)
        v = level.conv.weight
        v.zero_()
        i = torch.arange(v.shape[0])
        v[i, i] = kernel
    decoder.norm_out.weight.fill_(0.5)  # the nearly linear part of swish
    decoder.norm_out.bias.fill_(2.5)
    out = decoder.conv_out
    edge = w.shape[2] // 2  # a kernel's reach in T
    feats, targets = [], []
    for z, x in zip(latents, clips):
        f = _capture(out, lambda: decoder(z))
        n, c, t, h, width = f.shape
        per = positions // len(clips)
        at = [torch.randint(n, (per,))] + [torch.randint(e, s - e, (per,)) for s, e in ((t, edge), (h, 1), (width, 1))]
        near = [f[at[0], :, at[1] + a, at[2] + b, at[3] + d]
                for a in range(-edge, edge + 1) for b in (-1, 0, 1) for d in (-1, 0, 1)]
        feats.append(torch.stack(near, 2).flatten(1))
        targets.append(x[at[0], :, at[1], at[2], at[3]])
    feats, targets = torch.cat(feats), torch.cat(targets)
    weight, bias = _solve(feats, targets)
    out.weight.copy_(weight.view(out.weight.shape))
    out.bias.copy_(bias)
    return (_apply(feats, weight, bias) - targets).pow(2).mean().item()


def condition(model, lr, slow=0.03):
    """Parameter groups for the optimiser; stops the gradients of trunk weights that read the anchor."""
    def stop(weight):
        mask = torch.ones_like(weight)
        mask[:, -1] = 0
        if weight.requires_grad:
            weight.register_hook(lambda g: g * mask)

    decoder = model.decoder
    for level in decoder.up:
        if level.conv is not None:
            stop(level.conv.weight)
    for m in model.modules():
        if isinstance(m, ResBlock) and m.shortcut is not None:
            stop(m.shortcut.weight)
    late = set(map(id, decoder.conv_out.parameters()))
    wanted = [p for p in model.parameters() if p.requires_grad]
    return [{"params": [p for p in wanted if id(p) not in late], "lr": lr, "scale": 1.0},
            {"params": [p for p in wanted if id(p) in late], "lr": lr, "scale": slow}]
