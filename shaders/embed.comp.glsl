#version 460
/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * Rows of a table by number; numbers outside of it are clamped.
 */

#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x = 256) in;

layout(push_constant, std430) uniform Push {
    Ints ids;
    In x1, x2;
    Floats table, w1;
    Out o;
    uint values, channels;
    int rows;
};

void main()
{
    const uint step = nb_threads();

    for (uint i = thread_index(); i < values; i += step)
        put(o, i, table.v[uint(clamp(ids.v[i / channels], 0, rows - 1)) * channels + i % channels]);
}
