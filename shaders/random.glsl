/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * The random numbers of libmagvit/sampler.c: the same bits, and the same noise
 * but for a last bit now and then.
 */

#include "pair.glsl"

/* Philox4x32-10 (Salmon et al. 2011). */
uvec4 philox(uvec4 counter, uvec2 key)
{
    for (uint i = 0; i < 10; i++) {
        uint high0, low0, high1, low1;

        umulExtended(0xd2511f53u, counter.x, high0, low0);
        umulExtended(0xcd9e8d57u, counter.z, high1, low1);
        counter = uvec4(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
        key += uvec2(0x9e3779b9u, 0xbb67ae85u);
    }
    return counter;
}

/* Standard Gumbel noise -ln(-ln u) with u = ((x >> 8) + 0.5) / 2^24. */
float gumbel(uint x)
{
    const vec2 u = sum(float(x >> 8), 0.5) / 16777216.0;

    return -logarithm(-logarithm(u)).x;
}
