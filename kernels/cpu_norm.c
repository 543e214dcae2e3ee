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
 * precision and in a fixed order. The parts of group norm are a few rows of
 * pixels, so that what writes its input may take their statistics as it goes,
 * and what reads its output may normalise row by row.
 */

#include <math.h>


#include "kernels/cpu.h"

/* ---- group norm ---- */

/** Floats of one chunk, at most if a row is no longer: what first-level cache holds. */
#define CHUNK 8192
/** Most rows of a chunk. */
#define MAX_ROWS 4
/** Shortest loop that is worth its overhead: narrow pixels are taken several at a time. */
#define MIN_SPAN 64

typedef struct GroupNorm {
    float *scale, *bias; ///< weights, [C]
    float *coefs;        ///< of each sample: offset, scale, bias, each [span]
    float *columns;      ///< of each thread: what mgv_avx512_column_stats() writes; see column_stats()
    double *sums;        ///< [2 * groups]
    int span;            ///< floats of whole pixels that loops run over; a row has a multiple of it
    int rows;            ///< of a chunk
    int64_t chunk;       ///< floats of a chunk
    int nb_chunks;       ///< of a sample
    size_t column_floats, thread_floats; ///< of a sample, and of a thread
} GroupNorm;

static void group_norm_unprepare(MgvKernelOp *o)
{
    GroupNorm *g = o->priv;

    if (!g)
        return;
    mgv_freep(&g->scale);
    mgv_freep(&g->bias);
    mgv_freep(&g->coefs);
    mgv_freep(&g->columns);
    mgv_freep(&g->sums);
    mgv_freep(&o->priv);
}

static int norm_declare(MgvKernelOp *o)
{
    o->writes_bf16 = mgv_cpu_is_bf16(o->dev);
    o->takes_bf16  = o->writes_bf16 && o->op->type == MGV_OP_GROUP_NORM;
    return 0;
}

int mgv_cpu_norm_rows(MgvShape s)
{
    int rows = MAX_ROWS;

    while (rows > 1 && (s.h % rows || (int64_t)rows * s.w * s.c > CHUNK))
        rows /= 2;
    return rows;
}

static int group_norm_prepare(MgvKernelOp *o)
{
    const MgvShape s = o->out;
    const int pixels = (MIN_SPAN + s.c - 1) / s.c, groups = o->op->u.norm.groups;
    GroupNorm *g = o->priv = mgv_calloc(1, sizeof(*g));

    if (!g)
        return mgv_cpu_no_memory(o);
    g->span = s.c * (s.w % pixels ? 1 : pixels);
    g->rows = mgv_cpu_norm_rows(s);
    g->chunk = (int64_t)g->rows * s.w * s.c;
    g->nb_chunks = s.t * (s.h / g->rows);
    g->column_floats = MGV_ALIGN_UP(3 * (size_t)g->span, MGV_ALIGNMENT / sizeof(float));
    g->scale = mgv_host_weight(o, 0);
    g->bias = mgv_host_weight(o, 1);
    g->coefs = mgv_calloc(g->column_floats * s.n, sizeof(*g->coefs));
    g->thread_floats = g->column_floats + (o->in_bf16 ? MGV_ALIGN_UP(g->chunk, MGV_ALIGNMENT / sizeof(float)) : 0);
    g->columns = mgv_calloc(g->thread_floats * o->dev->threads, sizeof(*g->columns));
    g->sums = mgv_calloc(2 * groups, sizeof(*g->sums));
    if (!g->scale || !g->bias || !g->coefs || !g->columns || !g->sums) {
        group_norm_unprepare(o);
        return mgv_cpu_no_memory(o);
    }
    o->weight_bytes = 2 * s.c * sizeof(float);
    o->stat_bytes = (size_t)s.n * g->nb_chunks * 2 * groups * sizeof(double);
    return 0;
}

/**
 * Statistics of each of span columns by itself: mean about which the rest was
 * taken, sum of differences from it, sum of their squares.
 */
MGV_CLONES static void plain_column_stats(float *restrict stat, const float *restrict x, int64_t rows, int span)
{
    float *restrict mean = stat, *restrict rest = stat + span, *restrict squares = stat + 2 * span;

    memset(stat, 0, 3 * span * sizeof(*stat));
    for (int64_t i = 0; i < rows; i++) {
#pragma omp simd
        for (int k = 0; k < span; k++)
            mean[k] += x[i * span + k];
    }
    for (int k = 0; k < span; k++)
        mean[k] /= rows;
    for (int64_t i = 0; i < rows; i++) {
#pragma omp simd
        for (int k = 0; k < span; k++) {
            const float d = x[i * span + k] - mean[k];

            rest[k] += d;
            squares[k] += d * d;
        }
    }
}

/** stat: of a thread, behind which there is memory for a chunk of floats if x are none */
static void column_stats(const GroupNorm *g, float *stat, MgvValues x)
{
    float *wide = stat + g->column_floats;

#if MGV_AVX512
    if (mgv_avx512()) {
        mgv_avx512_column_stats(stat, x, g->chunk / g->span, g->span);
        return;
    }
#endif
    if (x.bf16)
        mgv_cpu_f32(wide, x.bf16, g->chunk);
    plain_column_stats(stat, x.bf16 ? wide : x.f32, g->chunk / g->span, g->span);
}

/** Of a chunk and a group, by its columns, which have rows values each: mean and sum of squared deviations. */
static void group_moments(const MgvKernelOp *o, double *mean, double *m2, const float *stat, int64_t rows, int group)
{
    const int span = ((const GroupNorm *)o->priv)->span, c = o->out.c, width = c / o->op->u.norm.groups;
    const float *offset = stat + group * width, *rest = offset + span, *squares = rest + span;
    const double inv = 1.0 / rows;

    *mean = *m2 = 0.0;
    for (int at = 0; at < span; at += c)
        for (int k = at; k < at + width; k++)
            *mean += offset[k] + rest[k] * inv;
    *mean /= span / c * width;
    for (int at = 0; at < span; at += c) {
        for (int k = at; k < at + width; k++) {
            const double d = offset[k] + rest[k] * inv - *mean;

            *m2 += squares[k] - rest[k] * (rest[k] * inv) + rows * d * d;
        }
    }
}

/** What stat has of a chunk of all samples' chunks: the means of its groups; behind them their squared deviations. */
static double *moments(const MgvKernelOp *o, double *stat, int64_t chunk)
{
    return stat + chunk * 2 * o->op->u.norm.groups;
}

void mgv_cpu_norm_stats(const MgvKernelOp *o, void *stat, MgvValues x, int64_t row, int rows, int thread)
{
    const GroupNorm *g = o->priv;
    const int groups = o->op->u.norm.groups;
    float *columns = g->columns + thread * g->thread_floats;

    for (int64_t i = row / g->rows; i < (row + rows) / g->rows; i++, x = mgv_values_at(x, g->chunk)) {
        double *m = moments(o, stat, i);

        column_stats(g, columns, x);
        for (int k = 0; k < groups; k++)
            group_moments(o, m + k, m + groups + k, columns, g->chunk / g->span, k);
    }
}

/** y = (x - offset) * scale + bias with one value a column. y: may be x */
MGV_CLONES static void affine(float *y, const float *x, int64_t n, int span, const float *restrict coef)
{
    const float *restrict offset = coef, *restrict scale = coef + span, *restrict bias = coef + 2 * span;

    for (int64_t i = 0; i < n; i += span) {
#pragma omp simd
        for (int k = 0; k < span; k++)
            y[i + k] = (x[i + k] - offset[k]) * scale[k] + bias[k];
    }
}

static float act_of(float x, enum MgvAct act)
{
    return act == MGV_ACT_NONE ? x :
           x / (1.0f + mgv_expf(act == MGV_ACT_SILU ? mgv_silu_exponent(x) : mgv_gelu_exponent(x)));
}

/** y = act((x - offset) * scale + bias) in bf16. */
static void affine_bf16(uint16_t *restrict y, MgvValues x, int64_t n, int span, const float *restrict coef, enum MgvAct act)
{
#if MGV_AVX512
    if (mgv_avx512()) {
        mgv_avx512_affine(y, x, n, span, coef, act);
        return;
    }
#endif
    for (int64_t i = 0; i < n; i++) {
        const int k = i % span;
        float v;

        if (x.bf16)
            mgv_cpu_f32(&v, x.bf16 + i, 1);
        else
            v = x.f32[i];
        y[i] = mgv_bf16(act_of((v - coef[k]) * coef[span + k] + coef[2 * span + k], act));
    }
}

/** Join the chunks of sample n, which are of equal size, in their order and write what affine() needs. */
static void group_coefs(const MgvKernelOp *o, double *stat, int n)
{
    const GroupNorm *g = o->priv;
    const int groups = o->op->u.norm.groups, c = o->out.c, width = c / groups, span = g->span;
    float *coef = g->coefs + n * g->column_floats;
    double *mean = g->sums, *m2 = mean + groups;
    const double size = (double)g->chunk / groups, inv = 1.0 / g->nb_chunks;

    memset(mean, 0, 2 * groups * sizeof(*mean));
    for (int i = 0; i < g->nb_chunks; i++)
        for (int k = 0; k < groups; k++)
            mean[k] += moments(o, stat, (int64_t)n * g->nb_chunks + i)[k];
    for (int k = 0; k < groups; k++)
        mean[k] *= inv;
    for (int i = 0; i < g->nb_chunks; i++) {
        const double *m = moments(o, stat, (int64_t)n * g->nb_chunks + i);

        for (int k = 0; k < groups; k++)
            m2[k] += m[groups + k] + (m[k] - mean[k]) * (m[k] - mean[k]) * size;
    }
    for (int k = 0; k < span; k++) {
        const int i = k % c;
        const double rstd = 1.0 / sqrt(MGV_MAX(m2[i / width], 0.0) * inv / size + o->op->u.norm.eps);

        coef[k] = mean[i / width];
        coef[span + k] = g->scale[i] * rstd;
        coef[2 * span + k] = g->bias[i] - (mean[i / width] - coef[k]) * rstd * g->scale[i];
    }
}

typedef struct NormRun {
    const MgvKernelOp *o;
    void *stat;
    MgvValues x;
    float *y;
} NormRun;

static void measure_chunk(void *arg, int i, int thread)
{
    const NormRun *run = arg;
    const GroupNorm *g = run->o->priv;

    mgv_cpu_norm_stats(run->o, run->stat, mgv_values_at(run->x, i * g->chunk), (int64_t)i * g->rows, g->rows, thread);
}

static void apply_chunk(void *arg, int i, int thread)
{
    const NormRun *run = arg;
    const MgvKernelOp *o = run->o;
    const GroupNorm *g = o->priv;
    const int64_t at = i * g->chunk;

    (void)thread;
    mgv_cpu_norm_apply(o, run->y ? run->y + at : NULL, o->out16 ? o->out16 + at : NULL, mgv_values_at(run->x, at),
                       (int64_t)i * g->rows, g->rows);
}

void mgv_cpu_norm_measure(const MgvKernelOp *o, void *stat, MgvValues x)
{
    const GroupNorm *g = o->priv;
    NormRun run = { o, stat, x, NULL };

    if (!o->has_stats)
        mgv_helpers_share(o->dev, o->out.n * g->nb_chunks, measure_chunk, &run);
    for (int n = 0; n < o->out.n; n++)
        group_coefs(o, stat, n);
}

void mgv_cpu_norm_apply(const MgvKernelOp *o, float *y, uint16_t *y16, MgvValues x, int64_t row, int rows)
{
    const GroupNorm *g = o->priv;
    const float *coef = g->coefs + row / (o->out.t * o->out.h) * g->column_floats;
    const int64_t n = (int64_t)rows * o->out.w * o->out.c;

    if (y16)
        affine_bf16(y16, x, n, g->span, coef, o->op->act);
    if (y && x.bf16)
        mgv_cpu_f32(y, x.bf16, n);
    if (y) {
        affine(y, x.bf16 ? y : x.f32, n, g->span, coef);
        mgv_cpu_act(y, n, o->op->act);
    }
}

static int group_norm_cpu(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    const GroupNorm *g = o->priv;
    NormRun run = { o, o->stat, mgv_values(in[0], o->in16[0]), out };

    (void)job, (void)nb_jobs;
    mgv_cpu_norm_measure(o, run.stat, run.x);
    mgv_helpers_share(o->dev, o->out.n * g->nb_chunks, apply_chunk, &run);
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
#if MGV_AVX512
        if (mgv_avx512()) {
            mgv_avx512_layer_norm(y ? y + i * c : NULL, y16 ? y16 + i * c : NULL, x + i * c, c, o->op->u.norm.eps, w[0], w[1]);
            continue;
        }
#endif
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
