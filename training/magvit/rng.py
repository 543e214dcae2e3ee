"""The sampler's random numbers: Philox4x32-10 (Random123), counter based.

    key     = (seed low 32 bits, seed high 32 bits)
    counter = (token index i, step k, window low 32 bits, lane block b)

Lane block b yields four u32 words: the Gumbel noise of code columns 4b .. 4b+3 of token i.
The choice noise of token i is word 0 of lane block 0xFFFFFFFF.
A word x becomes the uniform u = ((x >> 8) + 0.5) / 2^24 in double: exact, strictly inside (0,1).
Standard Gumbel noise is g = -ln(-ln u) in double, rounded to float32 at the end.
"""
import numpy as np

CHOICE = 0xFFFFFFFF
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox(counter, key):
    """counter: four broadcastable integer arrays, key: two ints -> uint32 [..., 4]"""
    c = [np.asarray(x, np.uint64) for x in counter]
    c = [x.copy() for x in np.broadcast_arrays(*c)]
    k0, k1 = key
    for _ in range(10):
        p0, p1 = _M0 * c[0], _M1 * c[2]
        c = [(p1 >> _SHIFT) ^ c[1] ^ np.uint64(k0), p1 & _LOW, (p0 >> _SHIFT) ^ c[3] ^ np.uint64(k1), p0 & _LOW]
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return np.stack(c, -1).astype(np.uint32)


def uniform(x):
    """uint32 -> float64 strictly inside (0,1)"""
    return ((x >> np.uint32(8)).astype(np.float64) + 0.5) / 2.0 ** 24


def gumbel(x):
    """uint32 -> float32 standard Gumbel noise"""
    return (-np.log(-np.log(uniform(x)))).astype(np.float32)


def _key(seed):
    return seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF


def code_noise(seed, window, step, tokens, codes):
    """Gumbel noise [tokens, codes] float32 of the categorical draw."""
    i = np.arange(tokens)[:, None]
    b = np.arange(-(-codes // 4))[None]
    return gumbel(philox((i, step, window & 0xFFFFFFFF, b), _key(seed)).reshape(tokens, -1)[:, :codes])


def choice_noise(seed, window, step, tokens):
    """Gumbel noise [tokens] float32 of the confidence ranking."""
    return gumbel(philox((np.arange(tokens), step, window & 0xFFFFFFFF, CHOICE), _key(seed))[:, 0])
