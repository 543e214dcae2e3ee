"""Autoregressive baseline: a causal pre-LN language model over the same tokens, of the same size.

Sequence: [prompt][condition tokens z~ in raster order][BOS = MASK id][z_0 .. z_(N-2)]; BOS and what follows predict
z_0 .. z_(N-1).  Every place is generated, also a condition's, so decoding takes N steps.
Not part of the model file or the library: it is what the paper compares with.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

from .transformer import Attention, LayerNorm, Mlp, code_features


class Layer(nn.Module):
    def __init__(self, cfg, dropout):
        super().__init__()
        self.attention_ln = LayerNorm(cfg.hidden, cfg.ln_eps)
        self.attention = Attention(cfg.hidden, cfg.heads, dropout)
        self.mlp_ln = LayerNorm(cfg.hidden, cfg.ln_eps)
        self.mlp = Mlp(cfg.hidden, cfg.mlp)
        self.dropout = dropout

    def forward(self, x, block, cache=None, at=0):
        """x [N,n,C] at places at .. at+n of a sequence; block [N|1,1,n,L]: added to the scores of n queries, L keys.

        cache: (keys, values) [N,heads,longest,d]; they are filled in.
        """
        y, a = self.attention_ln(x), self.attention
        n, l, c = y.shape
        q, k, v = (f(y).view(n, l, a.heads, -1).transpose(1, 2) for f in (a.query, a.key, a.value))
        if cache is not None:
            for store, new in zip(cache, (k, v)):
                store[:, :, at:at + l] = new
            k, v = (store[:, :, :at + l] for store in cache)
        w = torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(2, 3) + block, 3)
        y = F.dropout(w, self.dropout, self.training).to(v.dtype) @ v
        y = a.out(y.transpose(1, 2).reshape(n, l, c))
        x = x + F.dropout(y, self.dropout, self.training)
        return x + F.dropout(self.mlp(self.mlp_ln(x)), self.dropout, self.training)


class ArTransformer(nn.Module):
    def __init__(self, cfg, dropout=0.0):
        super().__init__()
        t = cfg.transformer
        self.codes, self.tokens, self.prefix = cfg.tokenizer.codebook_size, cfg.tokens, cfg.prefix
        self.bos, self.dropout = cfg.mask_id, dropout
        self.word_embeddings = nn.Embedding(cfg.vocab, t.hidden)
        # Prompt, condition places, predicted places; the last row is padding's.
        self.position_embeddings = nn.Embedding(cfg.prefix + 2 * cfg.tokens + 1, t.hidden)
        self.layer = nn.ModuleList(Layer(t, dropout) for _ in range(t.layers))
        self.out_ln = LayerNorm(t.hidden, t.ln_eps)
        self.bias = nn.Parameter(torch.zeros(self.codes))
        for m in self.modules():
            if isinstance(m, (nn.Linear, nn.Embedding)):
                nn.init.trunc_normal_(m.weight, std=0.02, a=-0.04, b=0.04)
            if isinstance(m, nn.Linear):
                nn.init.zeros_(m.bias)

    @torch.no_grad()
    def init_codes(self, codebook, frequency):
        """Similar codes start similar, and the output starts at the codes' frequencies."""
        self.word_embeddings.weight[:self.codes] = code_features(codebook, self.word_embeddings.weight.shape[1]) * 0.03
        self.bias.copy_(frequency.log() - frequency.log().mean())

    def start(self, zc, cond_mask, prompt):
        """[prompt][condition][BOS]: (ids [N,S], places [N,S], valid [N,S]); shorter conditions are padded in front."""
        n, most = zc.shape[0], int(cond_mask.sum(1).max())
        order = cond_mask.int().sort(dim=1, stable=True).indices[:, self.tokens - most:]
        valid = cond_mask.gather(1, order)
        pad = self.position_embeddings.num_embeddings - 1
        one = torch.ones(n, 1, dtype=torch.long, device=zc.device)
        ids = torch.cat([prompt, zc.gather(1, order), one * self.bos], 1)
        first = torch.arange(self.prefix, device=zc.device).expand(n, -1)
        places = torch.cat([first, torch.where(valid, order + self.prefix, pad), one * (self.prefix + self.tokens)], 1)
        return ids, places, torch.cat([first >= 0, valid, one > 0], 1)

    def run(self, ids, places, block, caches=None, at=0):
        x = self.word_embeddings(ids) + self.position_embeddings(places)
        x = F.dropout(x, self.dropout, self.training)
        for i, layer in enumerate(self.layer):
            x = layer(x, block, caches and caches[i], at)
        return x

    def head(self, x):
        return F.linear(self.out_ln(x), self.word_embeddings.weight[:self.codes], self.bias)

    def forward(self, z, zc, cond_mask, prompt):
        """Logits [N,tokens,codes] of every token given the condition and the tokens before it."""
        ids, places, valid = self.start(zc, cond_mask, prompt)
        rest = torch.arange(1, self.tokens, device=z.device).expand(len(z), -1)
        ids = torch.cat([ids, z[:, :-1]], 1)
        places = torch.cat([places, rest + self.prefix + self.tokens], 1)
        valid = torch.cat([valid, rest > 0], 1)
        length = ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=z.device).tril()
        block = blocked(causal & valid[:, None, None]) if not valid.all() else blocked(causal[None, None])
        return self.head(self.run(ids, places, block)[:, length - self.tokens:])

    @torch.no_grad()
    def generate(self, zc, cond_mask, prompt, temperature=1.0, generator=None, greedy=False):
        """Draw all tokens in raster order, with a cache of keys and values: ids [N,tokens]."""
        ids, places, valid = self.start(zc, cond_mask, prompt)
        n, s = ids.shape
        a = self.layer[0].attention
        shape = (n, a.heads, s + self.tokens - 1, a.key.weight.shape[0] // a.heads)
        caches = [tuple(torch.zeros(shape, device=zc.device) for _ in range(2)) for _ in self.layer]
        causal = torch.ones(s, s, dtype=torch.bool, device=zc.device).tril()
        x = self.run(ids, places, blocked(causal & valid[:, None, None]), caches)[:, -1:]
        seen = F.pad(blocked(valid[:, None, None]), (0, self.tokens - 1))
        out = []
        for i in range(self.tokens):
            l = self.head(x)[:, 0].float()
            if not greedy:
                l = l / temperature - torch.empty_like(l).exponential_(generator=generator).log()
            out.append(l.argmax(1))
            if i < self.tokens - 1:
                place = torch.full((n, 1), self.prefix + self.tokens + i + 1, device=zc.device)
                x = self.run(out[-1][:, None], place, seen[..., :s + i + 1], caches, s + i)
        return torch.stack(out, 1)


def blocked(allowed):
    """bool -> 0 where allowed, a large negative number elsewhere."""
    return torch.zeros(allowed.shape, device=allowed.device).masked_fill_(~allowed, -1e9)
