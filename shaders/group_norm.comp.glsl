#version 460
/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * Group norm of [N,cells,channels] in three passes: sums of a block of cells,
 * by channel; mean and scale of each group from them; the values themselves.
 * Everything is taken relative to the group's first value, and sums of squares
 * to the mean of each block, so that large offsets cost no digits.
 */

#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 0) const uint PASS = 0;
layout(constant_id = 1) const uint ACT = 0;

layout(buffer_reference, std430, buffer_reference_align = 8) restrict buffer Pairs { vec2 v[]; };

layout(push_constant, std430) uniform Push {
    In x;
    Pairs parts; // [N,blocks,channels] mean and sum of squares
    Pairs stats; // [N,groups] mean and 1/sqrt(variance + eps)
    Floats w, bias;
    Out o;
    uint samples, cells, channels, groups, blocks, block; // block: cells of one
    float eps;
};

shared vec3 merged[256];

/* Number of values, mean, sum of squared distances from it: of two sets together (Chan, Golub, LeVeque 1979). */
vec3 merge(vec3 a, vec3 b)
{
    const float n = a.x + b.x, d = b.y - a.y;

    return n > 0.0 ? vec3(n, a.y + d * (b.x / n), a.z + b.z + d * d * (a.x * (b.x / n))) : a;
}

float origin(uint n, uint group)
{
    return x.v[n * cells * channels + group * (channels / groups)];
}

uint cells_of(uint b)
{
    return min(block, cells - b * block);
}

/* A thread has one channel of a block. */
void sum_blocks()
{
    const uint c = thread_index() % channels, i = thread_index() / channels, n = i / blocks, b = i % blocks;

    if (n >= samples)
        return;
    const uint at = (n * cells + b * block) * channels + c, count = cells_of(b);
    const float zero = origin(n, c / (channels / groups)), shift = x.v[at] - zero;
    float sum = 0, square = 0;

    for (uint k = 0; k < count; k++) {
        const float d = (x.v[at + k * channels] - zero) - shift;

        sum += d;
        square += d * d;
    }
    parts.v[i * channels + c] = vec2(shift + sum / count, max(square - sum * (sum / count), 0.0));
}

/* A workgroup has one group of one sample. */
void merge_blocks()
{
    const uint g = group_index(), n = g / groups, width = channels / groups, tid = gl_LocalInvocationID.x;
    vec3 mine = vec3(0);

    if (n >= samples)
        return;
    for (uint i = tid; i < blocks * width; i += 256) {
        const uint b = i / width;

        mine = merge(mine, vec3(cells_of(b), parts.v[(n * blocks + b) * channels + g % groups * width + i % width]));
    }
    merged[tid] = mine;
    for (uint half_ = 128; half_ > 0; half_ /= 2) {
        barrier();
        if (tid < half_)
            merged[tid] = merge(merged[tid], merged[tid + half_]);
    }
    if (tid == 0)
        stats.v[g] = vec2(merged[0].y, 1.0 / sqrt(merged[0].z / merged[0].x + eps));
}

void apply()
{
    const uint total = samples * cells * channels, step = nb_threads();

    for (uint i = thread_index(); i < total; i += step) {
        const uint c = i % channels, n = i / (cells * channels), group = c / (channels / groups);
        const vec2 s = stats.v[n * groups + group];

        put(o, i, activate(ACT, ((x.v[i] - origin(n, group)) - s.x) * s.y * w.v[c] + bias.v[c]));
    }
}

void main()
{
    if (PASS == 0)
        sum_blocks();
    else if (PASS == 1)
        merge_blocks();
    else
        apply();
}
