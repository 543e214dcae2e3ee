#version 460
/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * y = act(x W^T + bias): x [rows,depth], W prepacked [depth,columns].
 */

#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(push_constant, std430) uniform Push {
    PRODUCT
};

vec4 fetch(uint slot, uint k);
void begin(uint slot, uint row);

#include "gemm.glsl"

uint row_of[SLOTS];

void begin(uint slot, uint row)
{
    row_of[slot] = row;
}

vec4 fetch(uint slot, uint k)
{
    vec4 a = vec4(0);

    if (row_of[slot] >= rows)
        return a;
    if (QUADS)
        return k < depth ? get4(0, x, (row_of[slot] * depth + k) / 4) : a;
    [[unroll]] for (uint i = 0; i < 4; i++)
        if (k + i < depth)
            a[i] = get(0, x, row_of[slot] * depth + k + i);
    return a;
}

void main()
{
    const uint tiles = (columns + BN - 1) / BN, i = group_index();

    if (i / tiles * BM < rows)
        multiply(i / tiles * BM, i % tiles * BN);
}
