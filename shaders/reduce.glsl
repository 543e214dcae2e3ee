/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * More that a workgroup of 128 threads finds out together: needs pair.glsl and
 * sum.glsl.
 */

shared float rest[128];
shared uint found[128];

/* The largest value and the lowest code that has it. */
uint winner(float value, uint code, out float best)
{
    const uint tid = gl_LocalInvocationID.x;

    barrier();
    part[tid] = value;
    found[tid] = code;
    for (uint half_ = 64; half_ > 0; half_ /= 2) {
        barrier();
        if (tid < half_ && (part[tid + half_] > part[tid] ||
                            part[tid + half_] == part[tid] && found[tid + half_] < found[tid])) {
            part[tid] = part[tid + half_];
            found[tid] = found[tid + half_];
        }
    }
    barrier();
    best = part[0];
    return found[0];
}

vec2 pair_of_all(vec2 mine)
{
    const uint tid = gl_LocalInvocationID.x;

    barrier();
    part[tid] = mine.x;
    rest[tid] = mine.y;
    for (uint half_ = 64; half_ > 0; half_ /= 2) {
        barrier();
        if (tid < half_) {
            const vec2 s = add(vec2(part[tid], rest[tid]), vec2(part[tid + half_], rest[tid + half_]));

            part[tid] = s.x;
            rest[tid] = s.y;
        }
    }
    barrier();
    return vec2(part[0], rest[0]);
}
