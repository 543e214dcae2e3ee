/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * Sums over a workgroup of 128 threads.
 */

shared float part[128];

/* Sum over the threads, the same in all. Of calls that follow each other, none overwrites what another still reads. */
float sum_of_all(float mine)
{
    const uint tid = gl_LocalInvocationID.x;

    barrier();
    part[tid] = mine;
    for (uint half_ = 64; half_ > 0; half_ /= 2) {
        barrier();
        if (tid < half_)
            part[tid] += part[tid + half_];
    }
    barrier();
    return part[0];
}
