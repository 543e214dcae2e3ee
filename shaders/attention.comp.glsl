#version 460
/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * Softmax(q k^T / sqrt(D)) v by tiles: a workgroup takes BQ queries of one head,
 * BK keys and values at a time, and keeps for each query the greatest score so
 * far and sums relative to it. 16 x 16 threads; thread (tx,ty) has queries
 * ty + 16 i, keys tx + 16 j and values' groups of four tx + 16 j.
 */

#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 0) const uint RQ = 2;
layout(constant_id = 1) const uint RK = 2;
layout(constant_id = 2) const uint D = 64; // channels of a head

layout(push_constant, std430) uniform Push {
    In q, k, v; // [N,W,channels]
    Floats w, bias;
    Out o;
    uint W, channels, heads;
    float scale;
};

const uint BQ = 16 * RQ, BK = 16 * RK;
const uint D4 = (D + 3) / 4, RV = (D4 + 15) / 16, LD = D4 | 1; // rows an odd number of banks apart

shared vec4 queries[BQ * LD];
shared vec4 cells[BK * LD];     // keys, then values
shared float scores[BQ * (BK + 1)], peaks[BQ * 16];

uint sample_head; // first channel of the head of the sample
vec4 sums[RQ][RV];
float peak[RQ], total[RQ];

vec4 load(uint n, In x, uint cell, uint d)
{
    vec4 a = vec4(0);

    for (uint i = 0; i < 4 && cell < W && d + i < D; i++)
        a[i] = get(n, x, sample_head + cell * channels + d + i);
    return a;
}

void load_cells(uint n, In x, uint first)
{
    for (uint i = gl_LocalInvocationIndex; i < BK * D4; i += 256)
        cells[i / D4 * LD + i % D4] = load(n, x, first + i / D4, i % D4 * 4);
}

/* Scores of the tile, and the greatest of each thread's. */
void score(uint tx, uint ty, uint first)
{
    float dot_[RQ][RK];

    for (uint d = 0; d < D4; d++)
        [[unroll]] for (uint i = 0; i < RQ; i++) {
            const vec4 a = queries[(ty + 16 * i) * LD + d];

            [[unroll]] for (uint j = 0; j < RK; j++)
                dot_[i][j] = (d > 0 ? dot_[i][j] : 0.0) + dot(a, cells[(tx + 16 * j) * LD + d]);
        }
    [[unroll]] for (uint i = 0; i < RQ; i++) {
        float most = -3e38;

        [[unroll]] for (uint j = 0; j < RK; j++) {
            const float s = first + tx + 16 * j < W ? dot_[i][j] * scale : -3e38;

            most = max(most, scores[(ty + 16 * i) * (BK + 1) + tx + 16 * j] = s);
        }
        peaks[(ty + 16 * i) * 16 + tx] = most;
    }
}

/* Scores to weights; sums so far are scaled to the new peak. */
void weigh(uint tx, uint ty)
{
    [[unroll]] for (uint i = 0; i < RQ; i++) {
        const uint row = ty + 16 * i;
        float most = peak[i];

        for (uint j = 0; j < 16; j++)
            most = max(most, peaks[row * 16 + j]);
        const float shrink = exponential(peak[i] - most);
        peak[i]   = most;
        total[i] *= shrink;
        [[unroll]] for (uint j = 0; j < RV; j++)
            sums[i][j] *= shrink;
        [[unroll]] for (uint j = row * (BK + 1) + tx; j < row * (BK + 1) + BK; j += 16) {
            scores[j] = scores[j] > -1e38 ? exponential(scores[j] - most) : 0.0;
            total[i] += scores[j];
        }
    }
}

void add_values(uint tx, uint ty)
{
    for (uint n = 0; n < BK; n++)
        [[unroll]] for (uint j = 0; j < RV; j++) {
            const vec4 a = cells[n * LD + min(tx + 16 * j, D4 - 1)];

            [[unroll]] for (uint i = 0; i < RQ; i++)
                sums[i][j] += scores[(ty + 16 * i) * (BK + 1) + n] * a;
        }
}

void store(uint tx, uint ty, uint first)
{
    [[unroll]] for (uint i = 0; i < RQ; i++)
        peaks[(ty + 16 * i) * 16 + tx] = total[i];
    barrier();
    [[unroll]] for (uint i = 0; i < RQ; i++) {
        const uint row = ty + 16 * i;
        float all = 0;

        for (uint j = 0; j < 16; j++)
            all += peaks[row * 16 + j];
        [[unroll]] for (uint d = 0; d < RV * 4; d++)
            if (first + row < W && d / 4 * 64 + tx * 4 + d % 4 < D)
                put(o, sample_head + (first + row) * channels + d / 4 * 64 + tx * 4 + d % 4, sums[i][d / 4][d % 4] / all);
    }
}

void main()
{
    const uint blocks = (W + BQ - 1) / BQ, g = group_index(), first = g % blocks * BQ;
    const uint tx = gl_LocalInvocationIndex % 16, ty = gl_LocalInvocationIndex / 16;

    sample_head = g / blocks / heads * W * channels + g / blocks % heads * D;
    for (uint i = gl_LocalInvocationIndex; i < BQ * D4; i += 256)
        queries[i / D4 * LD + i % D4] = load(0, q, first + i / D4, i % D4 * 4);
    [[unroll]] for (uint i = 0; i < RQ * RV; i++)
        sums[i / RV][i % RV] = vec4(0);
    [[unroll]] for (uint i = 0; i < RQ; i++)
        peak[i] = -3e38, total[i] = 0;
    for (uint key = 0; key < W; key += BK) {
        load_cells(1, k, key);
        barrier();
        score(tx, ty, key);
        barrier();
        weigh(tx, ty);
        load_cells(2, v, key);
        barrier();
        add_values(tx, ty);
        barrier();
    }
    store(tx, ty, first);
}
