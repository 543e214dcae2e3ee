#version 460
/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * Layer norm over the channels of each row: a workgroup a row, in two passes,
 * mean first.
 */

#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "sum.glsl"

layout(local_size_x = 128) in;

layout(push_constant, std430) uniform Push {
    In x, x1, x2;
    Floats w, bias;
    Out o;
    uint rows, channels;
    float eps;
};

void main()
{
    const uint row = group_index(), at = row * channels, tid = gl_LocalInvocationID.x;

    if (row >= rows)
        return;
    const float zero = x.v[at];
    float sum = 0, square = 0;

    for (uint c = tid; c < channels; c += 128)
        sum += x.v[at + c] - zero;
    const float mean = sum_of_all(sum) / channels;
    for (uint c = tid; c < channels; c += 128) {
        const float d = (x.v[at + c] - zero) - mean;

        square += d * d;
    }
    const float scale = 1.0 / sqrt(sum_of_all(square) / channels + eps);
    for (uint c = tid; c < channels; c += 128)
        put(o, at + c, ((x.v[at + c] - zero) - mean) * scale * w.v[c] + bias.v[c]);
}
