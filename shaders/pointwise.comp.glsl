#version 460
/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * act(a), a + b, or a + rows of a table that repeat for every sample.
 */

#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 0) const uint TERM = 0; // what is added: 0 nothing, 1 a tensor, 2 a table
layout(constant_id = 1) const uint ACT = 0;
layout(constant_id = 2) const bool QUADS = false; // values come in whole groups of four

layout(push_constant, std430) uniform Push {
    In a, b, x2;
    Floats table, w1;
    Out o;
    uint values, period;
};

float term(uint i)
{
    return TERM == 1 ? b.v[i] : TERM == 2 ? table.v[i % period] : 0.0;
}

void main()
{
    const uint step = nb_threads();

    if (QUADS && TERM < 2) {
        for (uint i = thread_index(); i < values / 4; i += step) {
            const vec4 sum = In4(a).v[i] + (TERM == 1 ? In4(b).v[i] : vec4(0));

            put4(o, i, activate(ACT, sum));
        }
        return;
    }
    for (uint i = thread_index(); i < values; i += step)
        put(o, i, activate(ACT, a.v[i] + term(i)));
}
