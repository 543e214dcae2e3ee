/*
 * This file is part of libmagvit.
 *
 * libmagvit is free software; you can redistribute it and/or
 * modify it under the terms of the GNU Lesser General Public
 * License as published by the Free Software Foundation; either
 * version 2.1 of the License, or (at your option) any later version.
 *
 * libmagvit is distributed in the hope that it will be useful,
 * but WITHOUT ANY WARRANTY; without even the implied warranty of
 * MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU
 * Lesser General Public License for more details.
 *
 * You should have received a copy of the GNU Lesser General Public
 * License along with libmagvit; if not, write to the Free Software
 * Foundation, Inc., 51 Franklin Street, Fifth Floor, Boston, MA 02110-1301 USA
 */

/**
 * @file
 * Draws of codes, and their random numbers. Counter based: every number depends
 * on (seed, window, step, token, code) alone, never on order, threads or how a
 * stream was cut into shards.
 *
 * Philox4x32-10 with key = seed (low, high word) and counter =
 * (token, step, window, lane): lane b holds the noise of codes 4b..4b+3, lane
 * 0xffffffff the noise of the ranking in its first word.
 *
 * Sums are of a fixed number of lanes, so that they are the same whatever
 * vectors a processor has.
 */

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <Random123/philox.h>

#include "libmagvit/model.h"

#define LANES 16
/** Codes whose noise is made at once: LANES blocks of Philox. */
#define GROUP (4 * LANES)
#define LOGIT_MASKED (-1e7f)

void mgv_rng_block(uint32_t out[4], uint64_t seed, uint32_t window, uint32_t step, uint32_t token, uint32_t lane)
{
    const philox4x32_ctr_t ctr = { { token, step, window, lane } };
    const philox4x32_key_t key = { { (uint32_t)seed, (uint32_t)(seed >> 32) } };
    const philox4x32_ctr_t r = philox4x32_R(10, ctr, key);

    memcpy(out, r.v, sizeof(r.v));
}

double mgv_rng_uniform(uint32_t x)
{
    return ((x >> 8) + 0.5) / 16777216.0;
}

float mgv_rng_gumbel(double u)
{
    return (float)-log(-log(u));
}

/**
 * LANES blocks at once, as mgv_rng_block() would give them, one behind the other. Random123 has none that a compiler
 * would make vectors of.
 */
MGV_INLINE void random_words(uint32_t *restrict out, const uint32_t key[2], const uint32_t ctr[4])
{
#pragma omp simd
    for (uint32_t k = 0; k < LANES; k++) {
        uint32_t a = ctr[0], b = ctr[1], c = ctr[2], d = ctr[3] + k, k0 = key[0], k1 = key[1];

        for (int round = 0; round < 10; round++) {
            const uint64_t x = (uint64_t)PHILOX_M4x32_0 * a, y = (uint64_t)PHILOX_M4x32_1 * c;

            a = (uint32_t)(y >> 32) ^ b ^ k0;
            b = (uint32_t)y;
            c = (uint32_t)(x >> 32) ^ d ^ k1;
            d = (uint32_t)x;
            k0 += PHILOX_W32_0;
            k1 += PHILOX_W32_1;
        }
        out[4 * k]     = a;
        out[4 * k + 1] = b;
        out[4 * k + 2] = c;
        out[4 * k + 3] = d;
    }
}

/**
 * Upper bound of the Gumbel noise of x without a logarithm: with v = 1 - u, -ln(-ln(1 - v)) <= -ln v, and the bits of a
 * float, as a number, are at least its logarithm. Not by more than 0.06, and what rounding takes.
 */
MGV_INLINE float gumbel_bound(uint32_t x)
{
    const float v = (float)(int32_t)(0xffffffu - (x >> 8)) + 0.5f; // times 2^24
    int32_t bits;

    memcpy(&bits, &v, sizeof(bits));
    return 0.693148f * (24 + 127 - 0x1p-23f * (float)bits) + 1e-4f;
}

/** The lowest index on ties. */
MGV_CLONES static int argmax(const float *x, int n)
{
    float top = x[0];
    int best = 0;

    for (int j = 0; j < n; j += GROUP) {
        const float t = mgv_greatest(x + j, MGV_MIN(GROUP, n - j));

        best = t > top ? j : best;
        top  = MGV_MAX(t, top);
    }
    while (x[best] != top)
        best++;
    return best;
}

MGV_CLONES static void divide(float *restrict y, const float *restrict x, int n, float by)
{
#pragma omp simd
    for (int j = 0; j < n; j++)
        y[j] = x[j] / by;
}

/**
 * The noise of a group of codes, and what any of them may reach with it. Where none can reach `least`, there is no noise
 * and what is returned is less.
 */
MGV_CLONES static float reach(uint32_t *restrict words, const float *restrict row, const uint32_t key[2],
                              const uint32_t ctr[4], float least)
{
    const float most = gumbel_bound(UINT32_MAX), top = mgv_greatest(row, GROUP);
    float value[GROUP];

    if (top + most < least)
        return top + most;
    random_words(words, key, ctr);
#pragma omp simd
    for (int j = 0; j < GROUP; j++)
        value[j] = row[j] + gumbel_bound(words[j]);
    return mgv_greatest(value, GROUP);
}

MGV_CLONES static int all_finite(const float *x, int n)
{
    uint32_t bad = 0;

#pragma omp simd reduction(|: bad)
    for (int j = 0; j < n; j++) {
        uint32_t bits;
        memcpy(&bits, &x[j], sizeof(bits));
        bad |= (bits & 0x7f800000) == 0x7f800000;
    }
    return !bad;
}

MGV_CLONES static double exp_sum(const float *x, int n, float top)
{
    float sum[LANES] = { 0 };
    double all = 0;
    int j = 0;

    for (; j + LANES <= n; j += LANES) {
#pragma omp simd
        for (int k = 0; k < LANES; k++)
            sum[k] += mgv_expf(x[j + k] - top);
    }
    for (; j < n; j++)
        sum[j % LANES] += mgv_expf(x[j] - top);
    for (int k = 0; k < LANES; k++)
        all += sum[k];
    return all;
}

static int descending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* Logit that the k-th likeliest code has, or at which the cumulative probability first reaches p. */
static float filter_threshold(const MgvSamplerParams *sp, const float *row, float *sorted)
{
    double sum = 0, cumulative = 0;

    memcpy(sorted, row, sp->codes * sizeof(*sorted));
    qsort(sorted, sp->codes, sizeof(*sorted), descending);
    if (sp->top_k > 0)
        return sorted[MGV_MIN(sp->top_k, sp->codes) - 1];
    for (int j = 0; j < sp->codes; j++)
        sum += exp((double)sorted[j] - sorted[0]);
    for (int j = 0; j < sp->codes; j++) {
        cumulative += exp((double)sorted[j] - sorted[0]);
        if (cumulative >= sp->top_p * sum)
            return sorted[j];
    }
    return sorted[sp->codes - 1];
}

/** Room for whole groups. */
static int padded(int codes)
{
    return MGV_ALIGN_UP(codes, GROUP);
}

size_t mgv_draw_scratch(int codes)
{
    return (size_t)2 * padded(codes);
}

/** What noise is added to: logits after temperature and filters. What fills the last group never wins. */
static void temper(const MgvSamplerParams *sp, const float *logits, float *row)
{
    divide(row, logits, sp->codes, (float)sp->temperature);
    if (sp->top_k > 0 || sp->top_p < 1) {
        const float threshold = filter_threshold(sp, row, row + padded(sp->codes));

        for (int j = 0; j < sp->codes; j++)
            if (row[j] < threshold)
                row[j] = LOGIT_MASKED;
    }
    for (int j = sp->codes; j < padded(sp->codes); j++)
        row[j] = -FLT_MAX;
}

/**
 * Categorical draw by the Gumbel trick: argmax of row + noise, lowest code on ties. Codes that the bound of their noise
 * cannot lift to the top are skipped, which changes nothing but the time. likeliest: it comes first, and what it reaches
 * rules most others out.
 */
static int draw_code(const MgvSamplerParams *sp, const float *row, uint32_t step, uint32_t token, int likeliest)
{
    const uint32_t key[2] = { (uint32_t)sp->seed, (uint32_t)(sp->seed >> 32) };
    uint32_t words[GROUP];
    float best_value;
    int best = likeliest;

    mgv_rng_block(words, sp->seed, sp->window, step, token, (uint32_t)best / 4);
    best_value = row[best] + mgv_rng_gumbel(mgv_rng_uniform(words[best % 4]));
    for (int g = 0; g < sp->codes; g += GROUP) {
        const uint32_t ctr[4] = { token, step, sp->window, (uint32_t)g / 4 };

        if (reach(words, row + g, key, ctr, best_value) < best_value)
            continue;
        for (int j = g; j < g + GROUP; j++) {
            float value;

            if (row[j] + gumbel_bound(words[j - g]) < best_value)
                continue;
            value = row[j] + mgv_rng_gumbel(mgv_rng_uniform(words[j - g]));
            if (value > best_value || (value == best_value && j < best)) {
                best_value = value;
                best       = j;
            }
        }
    }
    return best;
}

int mgv_draw(const MgvSamplerParams *sp, const float *logits, uint32_t step, uint32_t token, float *scratch, double *log_p)
{
    int likeliest, code;

    if (!all_finite(logits, sp->codes))
        return MAGVIT_ERROR_DEVICE;
    code = likeliest = argmax(logits, sp->codes);
    if (sp->temperature > 0) {
        temper(sp, logits, scratch);
        code = draw_code(sp, scratch, step, token, likeliest);
    }
    if (log_p)
        *log_p = (double)logits[code] - logits[likeliest] - log(exp_sum(logits, sp->codes, logits[likeliest]));
    return code;
}
