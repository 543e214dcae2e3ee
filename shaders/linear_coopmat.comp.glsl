#version 460
/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * As linear, by cooperative matrices: depth is a multiple of eight.
 */

#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(push_constant, std430) uniform Push {
    PRODUCT
};

uvec4 fetch(uint slot);
void begin(uint slot, uint row);
void advance();

#include "gemm_coopmat.glsl"

uint row_of[SLOTS_A];
uint k = gl_LocalInvocationID.x % EIGHTS * 8;

void begin(uint slot, uint row)
{
    row_of[slot] = row;
}

void advance()
{
    k += BK;
}

uvec4 fetch(uint slot)
{
    return row_of[slot] < rows && k < depth ? eight(0, x, row_of[slot] * depth + k) : uvec4(0);
}

void main()
{
    const uint tiles = (columns + BN - 1) / BN, i = group_index();

    if (i / tiles * BM < rows)
        multiply(i / tiles * BM, i % tiles * BN);
}
