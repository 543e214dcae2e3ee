#version 460
/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * As conv3d, by cooperative matrices: channels are a multiple of eight.
 */

#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(push_constant, std430) uniform Push {
    PRODUCT
    uint channels;
    int T, H, W;
};

uvec4 fetch(uint slot);
void begin(uint slot, uint row);
void advance();

#include "gemm_coopmat.glsl"

const uint SLOTS = SLOTS_A;

#include "conv3d_place.glsl"

uint from[SLOTS]; // value under the current tap
uint tap = 0, c = gl_LocalInvocationID.x % EIGHTS * 8; // the thread's place in the step: channel c of a tap
bool located = false;

void advance()
{
    c += BK;
    while (c >= channels) {
        c -= channels;
        tap++;
        located = false;
    }
}

uvec4 fetch(uint slot)
{
    if (!located) {
        while (c >= channels) { // of the first step
            c -= channels;
            tap++;
        }
        [[unroll]] for (uint s = 0; s < SLOTS; s++)
            from[s] = tap < uint(EDGE * EDGE * EDGE) ? locate(s, tap) : NOTHING;
        located = true;
    }
    return from[slot] != NOTHING ? eight(0, x, from[slot] + c) : uvec4(0);
}

void main()
{
    const uint tiles = (columns + BN - 1) / BN, i = group_index();

    if (i / tiles * BM < rows)
        multiply(i / tiles * BM, i % tiles * BN);
}
