/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * As gemm.glsl, C = act(scale A B + bias), by cooperative matrices of float16
 * with float sums. A workgroup makes a tile of BM rows and BN columns in steps
 * of BK, a subgroup WM x WN of it. Two steps are in shared memory: while one is
 * multiplied the next is fetched, in eights of float16. B is prepacked
 * [tiles of columns][steps][BN][BK], padded with zeros. The including shader
 * says what A is: begin(slot, row) is called for each row of the tile that a
 * thread fetches, fetch(slot) gives eight values of the slot-th of them, at the
 * thread's place in the step, advance() goes to the next step.
 */

#include "coopmat.glsl"

layout(local_size_x_id = 0) in; // SUBGROUPS * SIZE
layout(constant_id = 1) const uint BM = 64;
layout(constant_id = 2) const uint BN = 64;
layout(constant_id = 3) const uint WM = 32;
layout(constant_id = 4) const uint WN = 32;
layout(constant_id = 5) const uint ACT = 0;
layout(constant_id = 6) const bool BIAS = false;
layout(constant_id = 7) const uint BK = 32;

const uint EIGHTS = BK / 8;
const uint LD = EIGHTS + 1; // rows an odd number of 16 bytes apart
const uint SUBGROUPS = BM / WM * (BN / WN), THREADS = SUBGROUPS * SIZE;
const uint SLOTS_A = (BM * EIGHTS + THREADS - 1) / THREADS, SLOTS_B = (BN * EIGHTS + THREADS - 1) / THREADS;

shared uvec4 tile_a[2 * BM * LD];
shared uvec4 tile_b[2 * BN * LD];
shared vec4 stage[SUBGROUPS * M * N / 4];

uvec4 next_a[SLOTS_A], next_b[SLOTS_B];

void fetch_step(uint at)
{
    const uint tid = gl_LocalInvocationID.x;

    [[unroll]] for (uint s = 0; s < SLOTS_A; s++)
        next_a[s] = fetch(s);
    [[unroll]] for (uint s = 0; s < SLOTS_B; s++)
        if (BN * EIGHTS % THREADS == 0 || tid + s * THREADS < BN * EIGHTS)
            next_b[s] = Eights(b).v[at + tid + s * THREADS];
    advance();
}

void keep_step(uint half_)
{
    [[unroll]] for (uint s = 0; s < SLOTS_A; s++) {
        const uint i = gl_LocalInvocationID.x + s * THREADS;

        if (BM * EIGHTS % THREADS == 0 || i < BM * EIGHTS)
            tile_a[(half_ * BM + i / EIGHTS) * LD + i % EIGHTS] = next_a[s];
    }
    [[unroll]] for (uint s = 0; s < SLOTS_B; s++) {
        const uint i = gl_LocalInvocationID.x + s * THREADS;

        if (BN * EIGHTS % THREADS == 0 || i < BN * EIGHTS)
            tile_b[(half_ * BN + i / EIGHTS) * LD + i % EIGHTS] = next_b[s];
    }
}

/* The subgroup's matrix of sums in the stage to its place. */
void store(uint row, uint column)
{
    for (uint i = gl_SubgroupInvocationID; i < M * N / 4; i += SIZE) {
        const uint r = row + i / (N / 4), first = column + i % (N / 4) * 4;
        vec4 c = stage[gl_SubgroupID * (M * N / 4) + i] * scale;

        [[unroll]] for (uint j = 0; j < 4 && BIAS; j++)
            c[j] += bias.v[min(first + j, columns - 1)];
        c = activate(ACT, c);
        if (r < rows && first < columns && columns % 4 == 0)
            put4(o, (r * columns + first) / 4, c);
        else if (r < rows)
            [[unroll]] for (uint j = 0; j < 4; j++)
                if (first + j < columns)
                    put(o, r * columns + first + j, c[j]);
    }
}

void multiply(uint row, uint column)
{
    const uint tid = gl_LocalInvocationID.x, steps = (depth + BK - 1) / BK, first = column / BN * steps;
    const uint wm = gl_SubgroupID / (BN / WN) * WM, wn = gl_SubgroupID % (BN / WN) * WN;
    Sums acc[WM / M * (WN / N)];
    MatrixA a[WM / M];
    MatrixB q;

    [[unroll]] for (uint i = 0; i < WM / M * (WN / N); i++)
        acc[i] = Sums(0.0);
    [[unroll]] for (uint s = 0; s < SLOTS_A; s++)
        begin(s, row + (tid + s * THREADS) / EIGHTS);
    fetch_step(first * BN * EIGHTS);
    keep_step(0);
    barrier();
    for (uint step = 0; step < steps; step++) {
        if (step + 1 < steps)
            fetch_step((first + step + 1) * BN * EIGHTS);
        [[unroll]] for (uint k = 0; k < BK; k += K) {
            [[unroll]] for (uint i = 0; i < WM / M; i++)
                coopMatLoad(a[i], tile_a, (step % 2 * BM + wm + i * M) * LD + k / 8, LD, BY_ROW);
            [[unroll]] for (uint j = 0; j < WN / N; j++) {
                coopMatLoad(q, tile_b, (step % 2 * BN + wn + j * N) * LD + k / 8, LD, BY_COLUMN);
                [[unroll]] for (uint i = 0; i < WM / M; i++)
                    acc[i * (WN / N) + j] = coopMatMulAdd(a[i], q, acc[i * (WN / N) + j]);
            }
        }
        if (step + 1 < steps)
            keep_step((step + 1) % 2);
        barrier();
    }
    [[unroll]] for (uint i = 0; i < WM / M * (WN / N); i++) {
        coopMatStore(acc[i], stage, gl_SubgroupID * (M * N / 4), N / 4, BY_ROW);
        wait_for_subgroup();
        store(row + wm + i / (WN / N) * M, column + wn + i % (WN / N) * N);
        wait_for_subgroup();
    }
}
