#version 460
/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * Mean of blocks of cells, where the last ones may be smaller, or nearest
 * neighbour upsampling.
 */

#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 0) const bool UP = false;
layout(constant_id = 1) const int FT = 2; // factors in time, height, width
layout(constant_id = 2) const int FH = 2;
layout(constant_id = 3) const int FW = 2;

layout(push_constant, std430) uniform Push {
    In x, x1, x2; // [N,T,H,W,channels]
    Floats w, bias;
    Out o;        // [N,OT,OH,OW,channels]
    int channels, T, H, W, OT, OH, OW;
    uint values;  // of o
};

uint cell(int n, ivec3 p)
{
    return uint(((n * T + p.x) * H + p.y) * W + p.z) * channels;
}

float mean(int n, ivec3 p, int c)
{
    const ivec3 first = p * ivec3(FT, FH, FW), last = min(first + ivec3(FT, FH, FW), ivec3(T, H, W));
    float sum = 0;

    for (int t = first.x; t < last.x; t++)
        for (int h = first.y; h < last.y; h++)
            for (int w = first.z; w < last.z; w++)
                sum += x.v[cell(n, ivec3(t, h, w)) + c];
    return sum / float((last.x - first.x) * (last.y - first.y) * (last.z - first.z));
}

void main()
{
    const uint step = nb_threads();

    for (uint i = thread_index(); i < values; i += step) {
        const int c = int(i % channels), at = int(i / channels);
        const ivec3 p = ivec3(at / (OH * OW) % OT, at / OW % OH, at % OW);
        const int n = at / (OT * OH * OW);

        if (UP)
            put(o, i, x.v[cell(n, p / ivec3(FT, FH, FW)) + c]);
        else
            put(o, i, mean(n, p, c));
    }
}
