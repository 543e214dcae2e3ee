#version 460
/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * 3-D convolution of stride 1 as a product with an implicit matrix: a row is an
 * output cell, its values are the channels under each tap of the kernel.
 * x [N,T,H,W,channels], W prepacked [taps,channels,columns].
 */

#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(constant_id = 8) const int EDGE = 3;          // of the kernel: 1 or 3
layout(constant_id = 9) const bool REFLECT = false;  // else zeros around

layout(push_constant, std430) uniform Push {
    In x, x1, x2;
    In b;
    Floats bias;
    Out o;
    uint rows, depth, columns, ldb;
    uint channels;
    int T, H, W;
};

vec4 fetch(uint slot, uint k);
void begin(uint slot, uint row);

#include "gemm.glsl"

const uint NOTHING = 0xffffffffu;

ivec3 place[SLOTS]; // t,h,w of the row
uint first[SLOTS];  // first value of the row's sample, NOTHING beyond the last row
uint from[SLOTS];   // value under the current tap
uint tap_of_from = NOTHING;

void begin(uint slot, uint row)
{
    const uint cell = row % uint(T * H * W);

    place[slot] = ivec3(cell / uint(H * W), cell / uint(W) % uint(H), cell % uint(W));
    first[slot] = row < rows ? (row - cell) * channels : NOTHING;
}

/* Where position i of an axis of n is read; negative: a zero. */
int padded(int i, int n)
{
    if (i >= 0 && i < n)
        return i;
    if (!REFLECT)
        return -1;
    return n == 1 ? 0 : i < 0 ? -i : 2 * (n - 1) - i;
}

/* First value of the cell under a tap, or NOTHING. */
uint locate(uint slot, uint tap)
{
    const int r = EDGE / 2, i = int(tap);
    const ivec3 at = place[slot] + ivec3(i / (EDGE * EDGE), i / EDGE % EDGE, i % EDGE) - r;
    const int t = padded(at.x, T), h = padded(at.y, H), w = padded(at.z, W);

    if (first[slot] == NOTHING || min(t, min(h, w)) < 0)
        return NOTHING;
    return first[slot] + uint((t * H + h) * W + w) * channels;
}

vec4 fetch(uint slot, uint k)
{
    vec4 a = vec4(0);

    if (QUADS) {
        const uint tap = k / channels;

        if (tap != tap_of_from) {
            [[unroll]] for (uint s = 0; s < SLOTS; s++)
                from[s] = locate(s, tap);
            tap_of_from = tap;
        }
        if (k < depth && from[slot] != NOTHING)
            a = vec4(In4(x).v[(from[slot] + k - tap * channels) / 4]);
        return a;
    }
    [[unroll]] for (uint i = 0; i < 4; i++) {
        const uint tap = (k + i) / channels, at = locate(slot, tap);

        if (k + i < depth && at != NOTHING)
            a[i] = float(x.v[at + k + i - tap * channels]);
    }
    return a;
}

void main()
{
    const uint tiles = (columns + BN - 1) / BN, i = group_index();

    if (i / tiles * BM < rows)
        multiply(i / tiles * BM, i % tiles * BN);
}
