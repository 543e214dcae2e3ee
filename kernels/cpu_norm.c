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
 * Group norm and layer norm. Means and variances are found in two passes over
 * data that stays in cache, with the rounding error of the first pass put right
 * in the second, so that a large offset does no harm; parts are joined in double
 * precision and in a fixed order.
 */

#include <math.h>

#include "kernels/cpu.h"

/* ---- group norm ---- */

/** Floats of one chunk: what first-level cache holds. */
#define CHUNK 6144
/** Shortest loop that is worth its overhead: narrow pixels are taken several at a time. */
#define MIN_SPAN 64

typedef struct GroupNorm {
    float *scale, *bias; ///< weights, [C]
    int span;            ///< floats of a row of whole pixels that loops run over
    int64_t chunk;       ///< floats of a chunk, multiple of span
    int nb_chunks;       ///< of a sample
    size_t stat_floats;  ///< of the statistics of a chunk: sum, rest, squares, each [span]
    size_t affine_floats; ///< of a sample: offset, scale, bias, each [span]
} GroupNorm;

static void group_norm_unprepare(MgvKernelOp *o)
{
    GroupNorm *g = o->priv;

    if (!g)
        return;
    mgv_freep(&g->scale);
    mgv_freep(&g->bias);
    mgv_freep(&o->priv);
}

static int norm_declare(MgvKernelOp *o)
{
    o->writes_bf16 = mgv_cpu_is_bf16(o->dev);
    return 0;
}

static int group_norm_prepare(MgvKernelOp *o)
{
    const int64_t c = o->out.c, sample = (int64_t)o->out.t * o->out.h * o->out.w * c;
    GroupNorm *g = o->priv = mgv_calloc(1, sizeof(*g));

    if (!g || !(g->scale = mgv_host_weight(o, 0)) || !(g->bias = mgv_host_weight(o, 1))) {
        group_norm_unprepare(o);
        return mgv_cpu_no_memory(o);
    }
    g->span = c * ((MIN_SPAN + c - 1) / c);
    g->chunk = MGV_MAX(CHUNK / g->span, 1) * (int64_t)g->span;
    g->nb_chunks = (sample + g->chunk - 1) / g->chunk;
    g->stat_floats = MGV_ALIGN_UP(3 * (size_t)g->span, MGV_ALIGNMENT / sizeof(float));
    g->affine_floats = g->stat_floats;
    o->weight_bytes = 2 * c * sizeof(float);
    o->scratch_bytes = (g->stat_floats * g->nb_chunks + g->affine_floats) * o->out.n * sizeof(float);
    return 0;
}

/**
 * Statistics of n floats, each of the span columns by itself: mean about which
 * the rest was taken, sum of differences from it, sum of their squares.
 */
MGV_CLONES static void column_stats(float *restrict stat, const float *restrict x, int64_t n, int span)
{
    float *restrict mean = stat, *restrict rest = stat + span, *restrict squares = stat + 2 * span;
    const int64_t rows = n / span;
    const int tail = n % span;

    memset(stat, 0, 3 * span * sizeof(*stat));
    for (int64_t i = 0; i < rows; i++) {
#pragma omp simd
        for (int k = 0; k < span; k++)
            mean[k] += x[i * span + k];
    }
    for (int k = 0; k < tail; k++)
        mean[k] += x[rows * span + k];
    for (int k = 0; k < span; k++)
        mean[k] /= MGV_MAX(rows + (k < tail), 1);
    for (int64_t i = 0; i < rows; i++) {
#pragma omp simd
        for (int k = 0; k < span; k++) {
            const float d = x[i * span + k] - mean[k];

            rest[k] += d;
            squares[k] += d * d;
        }
    }
    for (int k = 0; k < tail; k++) {
        const float d = x[rows * span + k] - mean[k];

        rest[k] += d;
        squares[k] += d * d;
    }
}

static void chunk_stats(float *restrict stat, const float *restrict x, int64_t n, int span)
{
#if MGV_AVX512
    if (n % span == 0 && mgv_avx512()) {
        mgv_avx512_column_stats(stat, x, n / span, span);
        return;
    }
#endif
    column_stats(stat, x, n, span);
}

/** y = (x - offset) * scale + bias with one value a column. */
MGV_CLONES static void affine(float *restrict y, const float *restrict x, int64_t n, int span,
                              const float *restrict coef)
{
    const float *restrict offset = coef, *restrict scale = coef + span, *restrict bias = coef + 2 * span;
    const int64_t rows = n / span;

    for (int64_t i = 0; i < rows; i++) {
#pragma omp simd
        for (int k = 0; k < span; k++)
            y[i * span + k] = (x[i * span + k] - offset[k]) * scale[k] + bias[k];
    }
    for (int k = 0; k < n % span; k++)
        y[rows * span + k] = (x[rows * span + k] - offset[k]) * scale[k] + bias[k];
}

static float act_of(float x, enum MgvAct act)
{
    return act == MGV_ACT_NONE ? x :
           x / (1.0f + mgv_expf(act == MGV_ACT_SILU ? mgv_silu_exponent(x) : mgv_gelu_exponent(x)));
}

/** y = act((x - offset) * scale + bias) in bf16. */
static void affine_bf16(uint16_t *restrict y, const float *restrict x, int64_t n, int span, const float *restrict coef,
                        enum MgvAct act)
{
#if MGV_AVX512
    if (mgv_avx512()) {
        mgv_avx512_affine(y, x, n, span, coef, act);
        return;
    }
#endif
    for (int64_t i = 0; i < n; i++) {
        const int k = i % span;

        y[i] = mgv_bf16(act_of((x[i] - coef[k]) * coef[span + k] + coef[2 * span + k], act));
    }
}

/** Mean and squared deviations of a set that grows by sets of n values. */
typedef struct Moments {
    double n, mean, m2;
} Moments;

static void moments_join(Moments *a, double n, double mean, double m2)
{
    const double total = a->n + n, d = mean - a->mean;

    if (n == 0.0)
        return;
    a->m2 += m2 + d * d * a->n * n / total;
    a->mean += d * n / total;
    a->n = total;
}

/** Join the chunks of sample n and write what affine() needs. */
static void group_coefs(const MgvKernelOp *o, const float *stats, float *coef)
{
    const GroupNorm *g = o->priv;
    const int64_t c = o->out.c, sample = (int64_t)o->out.t * o->out.h * o->out.w * c;
    const int width = c / o->op->u.norm.groups, span = g->span;

    for (int group = 0; group < o->op->u.norm.groups; group++) {
        Moments m = { 0 };
        double rstd;

        for (int i = 0; i < g->nb_chunks; i++) {
            const float *s = stats + i * g->stat_floats;
            const int64_t len = MGV_MIN(g->chunk, sample - i * g->chunk);

            for (int k = group * width; k < span; k += k % c == (group + 1) * width - 1 ? c - width + 1 : 1) {
                const double rows = len / span + (k < len % span);
                const double rest = rows ? s[span + k] / rows : 0.0;

                moments_join(&m, rows, s[k] + rest, s[2 * span + k] - rest * s[span + k]);
            }
        }
        rstd = 1.0 / sqrt(MGV_MAX(m.m2, 0.0) / m.n + o->op->u.norm.eps);
        for (int k = group * width; k < (group + 1) * width; k++) {
            coef[k] = m.mean;
            coef[span + k] = g->scale[k] * rstd;
            coef[2 * span + k] = g->bias[k] - (m.mean - coef[k]) * rstd * g->scale[k];
        }
    }
    for (int part = 0; part < 3; part++)
        for (int k = c; k < span; k++)
            coef[part * span + k] = coef[part * span + k - c];
}

static int group_norm_cpu(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    const GroupNorm *g = o->priv;
    const int64_t sample = (int64_t)o->out.t * o->out.h * o->out.w * o->out.c;
    const int nb_chunks = g->nb_chunks, all = o->out.n * nb_chunks;
    float *stats = o->scratch, *coefs = stats + g->stat_floats * all;

    (void)job, (void)nb_jobs;
#pragma omp parallel num_threads(o->dev->threads)
    {
#pragma omp for
        for (int i = 0; i < all; i++) {
            const int64_t at = i % nb_chunks * g->chunk;

            chunk_stats(stats + i * g->stat_floats, (const float *)in[0] + i / nb_chunks * sample + at,
                        MGV_MIN(g->chunk, sample - at), g->span);
        }
#pragma omp for
        for (int n = 0; n < o->out.n; n++)
            group_coefs(o, stats + (size_t)n * nb_chunks * g->stat_floats, coefs + n * g->affine_floats);
#pragma omp for
        for (int i = 0; i < all; i++) {
            const int64_t at = i % nb_chunks * g->chunk, len = MGV_MIN(g->chunk, sample - at);
            const float *x = (const float *)in[0] + i / nb_chunks * sample + at;
            const float *coef = coefs + i / nb_chunks * g->affine_floats;

            if (o->out16)
                affine_bf16(o->out16 + i / nb_chunks * sample + at, x, len, g->span, coef, o->op->act);
            if (out) {
                float *y = (float *)out + i / nb_chunks * sample + at;

                affine(y, x, len, g->span, coef);
                mgv_cpu_act(y, len, o->op->act);
            }
        }
    }
    return 0;
}

const MgvKernel mgv_group_norm_cpu = {
    .declare = norm_declare, .prepare = group_norm_prepare, .run = group_norm_cpu, .unprepare = group_norm_unprepare, .threads_itself = 1,
};

/* ---- layer norm ---- */

static void layer_norm_unprepare(MgvKernelOp *o)
{
    float **w = o->priv;

    if (!w)
        return;
    mgv_freep(&w[0]);
    mgv_freep(&w[1]);
    mgv_freep(&o->priv);
}

/** A row of float32, for the threads that are not asked for it. */
static size_t layer_norm_row_bytes(const MgvKernelOp *o)
{
    return MGV_ALIGN_UP(o->out.c * sizeof(float), MGV_ALIGNMENT);
}

static int layer_norm_prepare(MgvKernelOp *o)
{
    float **w = o->priv = mgv_calloc(2, sizeof(*w));

    if (!w || !(w[0] = mgv_host_weight(o, 0)) || !(w[1] = mgv_host_weight(o, 1))) {
        layer_norm_unprepare(o);
        return mgv_cpu_no_memory(o);
    }
    o->weight_bytes = 2 * o->out.c * sizeof(float);
    o->scratch_bytes = o->out_f32 ? 0 : o->dev->threads * layer_norm_row_bytes(o);
    return 0;
}

MGV_CLONES static void layer_norm_row(float *y, const float *x, int n, float eps,
                                      const float *restrict scale, const float *restrict bias)
{
    float sum = 0.0f, rest = 0.0f, squares = 0.0f, mean, rstd;

#pragma omp simd reduction(+: sum)
    for (int i = 0; i < n; i++)
        sum += x[i];
    mean = sum / n;
#pragma omp simd reduction(+: rest, squares)
    for (int i = 0; i < n; i++) {
        const float d = x[i] - mean;

        rest += d;
        squares += d * d;
    }
    rest /= n;
    rstd = 1.0f / sqrtf(MGV_MAX(squares / n - rest * rest, 0.0f) + eps);
#pragma omp simd
    for (int i = 0; i < n; i++)
        y[i] = (x[i] - mean - rest) * rstd * scale[i] + bias[i];
}

void mgv_cpu_layer_norm(const MgvKernelOp *o, float *y, uint16_t *y16, const float *x, int64_t rows)
{
    const int64_t c = o->out.c;
    float *const *w = o->priv;

    for (int64_t i = 0; i < rows; i++) {
        layer_norm_row(y + i * c, x + i * c, c, o->op->u.norm.eps, w[0], w[1]);
        if (y16)
            mgv_cpu_bf16(y16 + i * c, y + i * c, c);
    }
}

static int layer_norm_cpu(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    const int64_t c = o->out.c, rows = mgv_shape_elements(o->out) / c, end = mgv_share(rows, job + 1, nb_jobs);

    for (int64_t i = mgv_share(rows, job, nb_jobs); i < end; i++)
        mgv_cpu_layer_norm(o, out ? (float *)out + i * c : (float *)((char *)o->scratch + job * layer_norm_row_bytes(o)),
                           o->out16 ? o->out16 + i * c : NULL, (const float *)in[0] + i * c, 1);
    return 0;
}

const MgvKernel mgv_layer_norm_cpu = {
    .declare = norm_declare, .prepare = layer_norm_prepare, .run = layer_norm_cpu, .unprepare = layer_norm_unprepare,
};
