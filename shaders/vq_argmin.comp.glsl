#version 460
/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * Nearest row of a codebook, the lowest on ties: a workgroup a vector, each
 * thread every 128th row. The codebook is transposed, [channels,rows]. If UNIT
 * its rows have unit length, and what float cuts off is in a second table:
 * nearly parallel vectors differ in their last bits only.
 */

#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "pair.glsl"
#include "sum.glsl"

layout(local_size_x = 128) in;
layout(constant_id = 0) const bool UNIT = false; // compare directions

layout(push_constant, std430) uniform Push {
    In x, x1, x2;
    Floats codes, rest;
    OutInts o;
    uint vectors, channels, rows;
};

shared uint found[128];

float length_scale(uint at)
{
    float square = 0;

    for (uint c = gl_LocalInvocationID.x; c < channels; c += 128)
        square += x.v[at + c] * x.v[at + c];
    return 1.0 / sqrt(max(sum_of_all(square), 1e-12));
}

float difference(uint at, uint i, float scale)
{
    const float value = x.v[at];

    if (!UNIT)
        return value - codes.v[i];
    const vec2 p = product(value, scale);
    return (p.x - codes.v[i]) + (p.y - rest.v[i]);
}

void main()
{
    const uint vector = group_index(), at = vector * channels, tid = gl_LocalInvocationID.x;

    if (vector >= vectors)
        return;
    const float scale = UNIT ? length_scale(at) : 1.0;
    float best = 3.4e38;
    uint code = 0;

    for (uint r = tid; r < rows; r += 128) {
        float distance_ = 0;

        for (uint c = 0; c < channels; c++) {
            const float d = difference(at + c, c * rows + r, scale);

            distance_ += d * d;
        }
        if (distance_ < best) {
            best = distance_;
            code = r;
        }
    }
    barrier();
    part[tid] = best;
    found[tid] = code;
    for (uint half_ = 64; half_ > 0; half_ /= 2) {
        barrier();
        if (tid < half_ && (part[tid + half_] < part[tid] ||
                            part[tid + half_] == part[tid] && found[tid + half_] < found[tid])) {
            part[tid] = part[tid + half_];
            found[tid] = found[tid + half_];
        }
    }
    if (tid == 0)
        o.v[vector] = int(found[0]);
}
