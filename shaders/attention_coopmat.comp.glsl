#version 460
/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * As attention, by cooperative matrices: channels of a head are a multiple of
 * eight. A subgroup takes M queries, whose matrices stay in registers; all take
 * the same BK keys and values at a time, as float16 in shared memory. Scores go
 * through shared memory to become weights: LANES threads have a query each.
 */

#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "coopmat.glsl"
#extension GL_KHR_shader_subgroup_shuffle : require

layout(local_size_x_id = 0) in; // SUBGROUPS * SIZE
layout(constant_id = 1) const uint D = 64; // channels of a head
layout(constant_id = 2) const uint BK = 32;
layout(constant_id = 3) const uint SUBGROUPS = 4;

layout(push_constant, std430) uniform Push {
    In q, k, v; // [N,W,channels]
    Floats w, bias;
    Out o;
    uint W, channels, heads;
    float scale;
};

const uint BQ = SUBGROUPS * M, STEP = N > K ? N : K, DP = (D + STEP - 1) / STEP * STEP; // D with zeros behind
const uint LD = DP / 8 + 1, LW = BK / 8 + 1, LS = BK / 4 + 1; // rows an odd number of 16 bytes apart
const uint LANES = SIZE / M;

shared uvec4 cells[(BQ > 2 * BK ? BQ : 2 * BK) * LD]; // queries; then keys, values
shared uvec4 weights_[SUBGROUPS * M * LW];
shared vec4 stage[SUBGROUPS * M * LS];

uint sample_head; // first channel of the head of the sample
float peak = -3e38, total = 0; // of the thread's query: greatest score so far, the thread's part of the weights' sum

void load(uint n, In x, uint first, uint rows, uint at)
{
    for (uint i = gl_LocalInvocationID.x; i < rows * (DP / 8); i += SUBGROUPS * SIZE) {
        const uint r = first + i / (DP / 8), d = i % (DP / 8) * 8;

        cells[(at + r - first) * LD + d / 8] = r < W && d < D ? eight(n, x, sample_head + r * channels + d) : uvec4(0);
    }
}

/* Four scores of the thread's query from a key on. */
vec4 scores(uint row, uint column, uint key)
{
    const vec4 s = stage[row * LS + column / 4] * scale;

    return mix(s, vec4(-3e38), greaterThanEqual(uvec4(key + column) + uvec4(0, 1, 2, 3), uvec4(W)));
}

/* Scores in the stage to weights, and in their place what sums so far are to be multiplied by. */
void weigh(uint row, uint part, uint key)
{
    float most = peak;

    [[unroll]] for (uint c = part * 8; c < BK; c += LANES * 8) {
        const vec4 a = max(scores(row, c, key), scores(row, c + 4, key));

        most = max(most, max(max(a.x, a.y), max(a.z, a.w)));
    }
    [[unroll]] for (uint m = 1; m < LANES; m *= 2)
        most = max(most, subgroupShuffleXor(most, m));
    const float shrink = exponential(peak - most);
    peak   = most;
    total *= shrink;
    [[unroll]] for (uint c = part * 8; c < BK; c += LANES * 8) {
        vec4 a[2];

        [[unroll]] for (uint i = 0; i < 8; i++) {
            const float s = scores(row, c + i / 4 * 4, key)[i % 4];

            total += a[i / 4][i % 4] = s > -1e38 ? exponential(s - most) : 0.0;
        }
        weights_[row * LW + c / 8] = uvec4(packHalf2x16(a[0].xy), packHalf2x16(a[0].zw),
                                           packHalf2x16(a[1].xy), packHalf2x16(a[1].zw));
    }
    wait_for_subgroup();
    [[unroll]] for (uint c = part; c < N / 4; c += LANES)
        stage[row * LS + c] = vec4(shrink);
    wait_for_subgroup();
}

void main()
{
    const uint blocks = (W + BQ - 1) / BQ, g = group_index(), first = g % blocks * BQ;
    const uint mine = gl_SubgroupID * M, row = mine + gl_SubgroupInvocationID / LANES, part = gl_SubgroupInvocationID % LANES;
    MatrixA a[DP / K], p;
    MatrixB b;
    Sums sums[DP / N], s;

    sample_head = g / blocks / heads * W * channels + g / blocks % heads * D;
    load(0, q, first, BQ, 0);
    barrier();
    [[unroll]] for (uint i = 0; i < DP / K; i++)
        coopMatLoad(a[i], cells, mine * LD + i * (K / 8), LD, BY_ROW);
    [[unroll]] for (uint j = 0; j < DP / N; j++)
        sums[j] = Sums(0.0);
    for (uint key = 0; key < W; key += BK) {
        barrier();
        load(1, k, key, BK, 0);
        load(2, v, key, BK, BK);
        barrier();
        [[unroll]] for (uint j = 0; j < BK / N; j++) {
            s = Sums(0.0);
            [[unroll]] for (uint i = 0; i < DP / K; i++) {
                coopMatLoad(b, cells, j * N * LD + i * (K / 8), LD, BY_COLUMN);
                s = coopMatMulAdd(a[i], b, s);
            }
            coopMatStore(s, stage, mine * LS + j * (N / 4), LS, BY_ROW);
        }
        wait_for_subgroup();
        weigh(row, part, key);
        coopMatLoad(s, stage, mine * LS, LS, BY_ROW);
        [[unroll]] for (uint j = 0; j < DP / N; j++)
            for (uint i = 0; i < s.length(); i++)
                sums[j][i] *= s[i];
        [[unroll]] for (uint i = 0; i < BK / K; i++) {
            coopMatLoad(p, weights_, mine * LW + i * (K / 8), LW, BY_ROW);
            [[unroll]] for (uint j = 0; j < DP / N; j++) {
                coopMatLoad(b, cells, (BK + i * K) * LD + j * (N / 8), LD, BY_ROW);
                sums[j] = coopMatMulAdd(p, b, sums[j]);
            }
        }
    }
    [[unroll]] for (uint m = 1; m < LANES; m *= 2)
        total += subgroupShuffleXor(total, m);
    [[unroll]] for (uint j = 0; j < DP / N; j++) {
        wait_for_subgroup();
        coopMatStore(sums[j], stage, mine * LS, LS, BY_ROW);
        wait_for_subgroup();
        [[unroll]] for (uint c = part * 4; c < N; c += LANES * 4)
            if (first + row < W && j * N + c < D)
                put4(o, (sample_head + (first + row) * channels + j * N + c) / 4, stage[row * LS + c / 4] / total);
    }
}
