"""Bidirectional transformer (post-LN BERT) over [task][class][visual tokens].

Module paths are tensor names in the model file and op names in the C library.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


def gelu(x):
    return F.gelu(x, approximate="tanh")


class LayerNorm(nn.LayerNorm):
    """Always float32, whatever the input type."""

    def forward(self, x):
        return super().forward(x.float())


class Attention(nn.Module):
    """Full self-attention; features of head j are columns j*d .. (j+1)*d-1."""

    def __init__(self, hidden, heads, dropout):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(hidden, hidden) for _ in range(4))
        self.heads, self.dropout = heads, dropout

    def forward(self, x):
        n, l, c = x.shape
        q, k, v = (f(x).view(n, l, self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        if hasattr(F, "scaled_dot_product_attention"):
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        else:
            a = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
            y = F.dropout(torch.softmax(a, 3), self.dropout, self.training) @ v
        return self.out(y.transpose(1, 2).reshape(n, l, c))


class Mlp(nn.Module):
    def __init__(self, hidden, width):
        super().__init__()
        self.intermediate = nn.Linear(hidden, width)
        self.output = nn.Linear(width, hidden)

    def forward(self, x):
        return self.output(gelu(self.intermediate(x)))


class Layer(nn.Module):
    def __init__(self, cfg, dropout):
        super().__init__()
        self.attention = Attention(cfg.hidden, cfg.heads, dropout)
        self.attention_ln = LayerNorm(cfg.hidden, cfg.ln_eps)
        self.mlp = Mlp(cfg.hidden, cfg.mlp)
        self.mlp_ln = LayerNorm(cfg.hidden, cfg.ln_eps)
        self.dropout = dropout

    def forward(self, x):
        x = self.attention_ln(x + F.dropout(self.attention(x), self.dropout, self.training))
        return self.mlp_ln(x + F.dropout(self.mlp(x), self.dropout, self.training))


class Head(nn.Module):
    def __init__(self, cfg, vocab):
        super().__init__()
        self.dense = nn.Linear(cfg.hidden, cfg.hidden)
        self.ln = LayerNorm(cfg.hidden, cfg.ln_eps)
        self.bias = nn.Parameter(torch.zeros(vocab))

    def forward(self, x):
        return self.ln(gelu(self.dense(x)))


def code_features(codebook, count, width=1.0):
    """Random Fourier features [N_c,count] of a codebook: products of rows are a Gaussian kernel of the distance."""
    c, g = codebook, torch.Generator().manual_seed(0)
    near = torch.cdist(c, c).topk(4, largest=False).values[:, -1].median()
    phase = torch.randn(c.shape[1], count, generator=g).to(c.device) / (width * near)
    shift = torch.rand(count, generator=g).to(c.device) * 2 * torch.pi
    return (c @ phase + shift).cos() * 2 ** 0.5


class Transformer(nn.Module):
    """cfg is the whole model's Config: vocabulary and length follow from it."""

    def __init__(self, cfg, dropout=0.0):
        super().__init__()
        t = cfg.transformer
        self.prefix, self.codes, self.dropout = cfg.prefix, cfg.tokenizer.codebook_size, dropout
        self.word_embeddings = nn.Embedding(cfg.vocab, t.hidden)
        self.position_embeddings = nn.Embedding(cfg.length, t.hidden)
        self.embeddings_ln = LayerNorm(t.hidden, t.ln_eps)
        self.layer = nn.ModuleList(Layer(t, dropout) for _ in range(t.layers))
        self.head = Head(t, cfg.vocab)
        for m in self.modules():
            if isinstance(m, (nn.Linear, nn.Embedding)):
                nn.init.trunc_normal_(m.weight, std=0.02, a=-0.04, b=0.04)
            if isinstance(m, nn.Linear):
                nn.init.zeros_(m.bias)

    def forward(self, ids):
        """ids [N,L] -> logits [N, tokens, N_c]: visual positions and code columns only."""
        x = self.word_embeddings(ids) + self.position_embeddings.weight[:ids.shape[1]]
        x = F.dropout(self.embeddings_ln(x), self.dropout, self.training)
        for layer in self.layer:
            x = layer(x)
        x = self.head(x[:, self.prefix:])
        return F.linear(x, self.word_embeddings.weight[:self.codes], self.head.bias[:self.codes])

    @torch.no_grad()
    def init_local(self, codebook, grid, frequency=None, std=0.03, mix=0.2, width=1.0):
        """A start that knows the codebook [N_c,D] and the grid (t,h,w), for short runs.

        Embeddings: positions are Fourier features of t, h, w in the first dimensions, codes are random
        Fourier features of the codebook in the others, so similar codes and near places start similar.
        Attention: three of four heads start as kernels over places (same place at other times, neighbours in
        the frame, neighbours in space and time) and pass the code dimensions on.
        Head: passes its input on, so a token predicts itself and its like; frequency [N_c] is the output bias.
        """
        hidden = self.word_embeddings.weight.shape[1]
        t, h, w = grid
        axes = []
        for n, count in ((t, max(1, t - 1)), (h, h // 2), (w, w // 2)):
            angle = torch.arange(n)[:, None] * torch.arange(1, count + 1) * (torch.pi / n)
            axes.append(torch.cat([angle.cos(), angle.sin()], 1) * 2 ** 0.5)
        widths = [a.shape[1] for a in axes]
        places, c = sum(widths), codebook
        pos = torch.zeros(t, h, w, hidden)
        start = 0
        for i, a in enumerate(axes):
            shape = [1, 1, 1, widths[i]]
            shape[i] = grid[i]
            pos[..., start:start + widths[i]] = a.view(shape)
            start += widths[i]
        self.position_embeddings.weight.mul_(0.1)
        self.position_embeddings.weight[self.prefix:] += pos.flatten(0, 2).to(codebook.device) * std

        self.word_embeddings.weight.mul_(0.1)
        self.word_embeddings.weight[:self.codes, places:] = code_features(codebook, hidden - places, width) * std

        # Sharpness of each head along (t, h, w); the last heads keep their random start.
        kernels = [(0.0, 8.0, 8.0), (8.0, 4.0, 4.0), (3.0, 5.0, 5.0)]
        for layer in self.layer:
            att = layer.attention
            d = hidden // att.heads
            if places > d:
                break
            for head, gains in zip(range(att.heads), kernels):
                gain = torch.cat([torch.full((n,), s ** 0.5) for n, s in zip(widths, gains)]).to(c.device)
                rows = torch.arange(places) + head * d
                for lin in (att.query, att.key):
                    lin.weight[head * d:head * d + d].mul_(0.3)
                    lin.weight[rows, torch.arange(places)] += gain * (d / 64) ** 0.25
                n = min(d, (hidden - places) // len(kernels))
                value, source = torch.arange(n) + head * d, torch.arange(n) + places + head * n
                att.value.weight[value, source] += 1
                att.out.weight[source, value] += mix
        self.head.dense.weight.add_(torch.eye(hidden, device=c.device))
        if frequency is not None:
            self.head.bias[:self.codes] = frequency.log() - frequency.log().mean()

    @torch.no_grad()
    def warm_start(self, state, cfg, names=()):
        """Weights of another transformer, also of one with other classes or another prefix.

        cfg: this model's Config; names: the other's class names.  Codes are copied; special ids are matched from
        the end; a class is the other's class of that name, or its "no class".
        """
        rows, places = state["word_embeddings.weight"].shape[0], state["position_embeddings.weight"].shape[0]
        prefix = places - cfg.tokens
        if prefix not in (1, 2):
            raise ValueError(f"{places} positions do not fit the grid {cfg.grid}")
        special = {1: 1, 2: 16}
        none = rows - special[prefix] - 1  # the other's "no class"
        if none < self.codes:
            raise ValueError(f"{rows} words are too few for {self.codes} codes")
        source = torch.full((cfg.vocab,), -1)
        source[:self.codes] = torch.arange(self.codes)
        source[self.codes:cfg.class_id() + 1] = none
        for i, name in enumerate(cfg.class_names):
            if name in names and self.codes + names.index(name) < none:
                source[self.codes + i] = self.codes + names.index(name)
        n = min(special[self.prefix], special[prefix])
        source[cfg.vocab - n:] = torch.arange(rows - n, rows)
        own, new = self.state_dict(), {k: v.clone() for k, v in state.items()}
        for k in ("word_embeddings.weight", "head.bias"):
            new[k] = own[k].clone()
            new[k][source >= 0] = state[k][source[source >= 0]].to(new[k])
        n = min(self.prefix, prefix) + cfg.tokens  # the task's place comes first
        new["position_embeddings.weight"] = own["position_embeddings.weight"].clone()
        new["position_embeddings.weight"][cfg.length - n:] = state["position_embeddings.weight"][places - n:]
        self.load_state_dict(new)
