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

layout(push_constant, std430) uniform Push {
    PRODUCT
    uint channels;
    int T, H, W;
};

vec4 fetch(uint slot, uint k);
void begin(uint slot, uint row);

#include "gemm.glsl"

#include "conv3d_place.glsl"

uint from[SLOTS]; // value under the current tap
uint tap_of_from = NOTHING;

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
            a = get4(0, x, (from[slot] + k - tap * channels) / 4);
        return a;
    }
    [[unroll]] for (uint i = 0; i < 4; i++) {
        const uint tap = (k + i) / channels, at = locate(slot, tap);

        if (k + i < depth && at != NOTHING)
            a[i] = get(0, x, at + k + i - tap * channels);
    }
    return a;
}

void main()
{
    const uint tiles = (columns + BN - 1) / BN, i = group_index();

    if (i / tiles * BM < rows)
        multiply(i / tiles * BM, i % tiles * BN);
}
