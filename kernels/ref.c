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
 * Every op in the plainest C: the specification that other backends are
 * compared with, and the fallback where they have nothing better. Each output
 * element is summed in one fixed order, whatever the number of jobs. Sums are
 * float where they mirror a convolution or matrix product, double where the
 * result would suffer: norm statistics, softmax sums, code distances.
 */

#include <math.h>
#include <string.h>

#include "kernels/host.h"

/** Weights as floats in the order the kernel reads them. */
typedef struct Weights {
    float *w[MGV_MAX_WEIGHT];
    int64_t rows; ///< of a table; the file may be closed when a plan runs
} Weights;

static const float *weight_of(const MgvKernelOp *o, int i)
{
    return ((const Weights *)o->priv)->w[i];
}

static int64_t rows_of(const MgvKernelOp *o)
{
    return ((const Weights *)o->priv)->rows;
}

static void unprepare_weights(MgvKernelOp *o)
{
    Weights *p = o->priv;
    int i;

    for (i = 0; p && i < MGV_MAX_WEIGHT; i++)
        mgv_freep(&p->w[i]);
    mgv_freep(&o->priv);
}

static int no_memory(MgvKernelOp *o)
{
    mgv_err(o->log, "%s: out of memory for weights", o->op->name);
    unprepare_weights(o);
    return MAGVIT_ERR(ENOMEM);
}

/* All weights in file order. */
static int prepare_weights(MgvKernelOp *o)
{
    Weights *p = o->priv = mgv_calloc(1, sizeof(*p));
    int i;

    for (i = 0; p && i < MGV_MAX_WEIGHT; i++) {
        if (!o->op->weight[i])
            continue;
        p->w[i] = mgv_host_weight(o, i);
        if (!p->w[i])
            return no_memory(o);
        o->weight_bytes += (size_t)o->op->weight[i]->elements * sizeof(float);
    }
    if (p && o->op->weight[0])
        p->rows = o->op->weight[0]->dims[0];
    return p ? 0 : no_memory(o);
}

/* First weight from [cout,cin,taps] to [taps,cin,cout], so that the loop over output channels is the innermost. */
static int prepare_matrix(MgvKernelOp *o)
{
    size_t taps = o->op->type == MGV_OP_CONV3D ? (size_t)o->op->u.conv.k * o->op->u.conv.k * o->op->u.conv.k : 1;
    size_t cin = (size_t)o->in[0].c, cout = (size_t)o->out.c, k, i, c;
    float *turned, *file;
    int ret = prepare_weights(o);

    if (ret < 0)
        return ret;
    turned = mgv_calloc(taps * cin * cout, sizeof(float));
    if (!turned)
        return no_memory(o);
    file = ((Weights *)o->priv)->w[0];
    for (k = 0; k < taps; k++)
        for (i = 0; i < cin; i++)
            for (c = 0; c < cout; c++)
                turned[(k * cin + i) * cout + c] = file[(c * cin + i) * taps + k];
    mgv_freep(&((Weights *)o->priv)->w[0]);
    ((Weights *)o->priv)->w[0] = turned;
    o->weight_bytes += taps * cin * cout * sizeof(float) - (size_t)o->op->weight[0]->elements * sizeof(float);
    return 0;
}

/* Part job of nb_jobs of n items. */
static void slice(size_t n, int job, int nb_jobs, size_t *first, size_t *last)
{
    *first = n * (size_t)job / (size_t)nb_jobs;
    *last  = n * ((size_t)job + 1) / (size_t)nb_jobs;
}

static size_t cells(MgvShape s)
{
    return (size_t)s.n * s.t * s.h * s.w;
}

static float activate(enum MgvAct act, float x)
{
    switch (act) {
    case MGV_ACT_SILU:
        return x / (1.0f + expf(-x));
    case MGV_ACT_GELU_TANH:
        return 0.5f * x * (1.0f + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
    default:
        return x;
    }
}

/* Source index for position i of an axis of length n; negative: a zero. */
static int padded(int i, int n, enum MgvPad pad)
{
    if (i >= 0 && i < n)
        return i;
    if (pad == MGV_PAD_ZERO)
        return -1;
    if (n == 1)
        return 0;
    return i < 0 ? -i : 2 * (n - 1) - i;
}

/* y[0..cout) += W x, W [cin,cout] */
static void accumulate(float *y, const float *x, const float *w, int cin, int cout)
{
    int i, c;

    for (i = 0; i < cin; i++)
        for (c = 0; c < cout; c++)
            y[c] += x[i] * w[(size_t)i * cout + c];
}

static void set_bias(float *y, const float *bias, int cout)
{
    int c;

    for (c = 0; c < cout; c++)
        y[c] = bias ? bias[c] : 0.0f;
}

/* One output cell. base: first cell of its sample. */
static void conv3d_cell(const MgvKernelOp *o, float *y, const float *base, int t, int h, int w)
{
    const MgvShape s = o->in[0];
    const int k = o->op->u.conv.k, r = k / 2;
    const float *weight = weight_of(o, 0);
    int a, b, c;

    for (a = 0; a < k; a++)
        for (b = 0; b < k; b++)
            for (c = 0; c < k; c++, weight += (size_t)s.c * o->out.c) {
                int st = padded(t + a - r, s.t, o->op->u.conv.pad);
                int sh = padded(h + b - r, s.h, o->op->u.conv.pad);
                int sw = padded(w + c - r, s.w, o->op->u.conv.pad);

                if (st >= 0 && sh >= 0 && sw >= 0)
                    accumulate(y, base + (((size_t)st * s.h + sh) * s.w + sw) * s.c, weight, s.c, o->out.c);
            }
}

static int conv3d_ref(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    const MgvShape s = o->in[0];
    size_t i, last, plane = (size_t)s.h * s.w, sample = plane * s.t;
    int c;

    for (slice(cells(s), job, nb_jobs, &i, &last); i < last; i++) {
        float *y = (float *)out + i * o->out.c;
        const float *base = (const float *)in[0] + i / sample * sample * s.c;

        set_bias(y, weight_of(o, 1), o->out.c);
        conv3d_cell(o, y, base, (int)(i % sample / plane), (int)(i % plane / s.w), (int)(i % s.w));
        for (c = 0; c < o->out.c; c++)
            y[c] = activate(o->op->act, y[c]);
    }
    return 0;
}

/* Mean and 1/sqrt(biased variance + eps) of n rows of c values, rows stride apart. */
static void statistics(const float *x, size_t n, int c, size_t stride, double eps, double *mean, double *scale)
{
    double sum = 0, square = 0;
    size_t i;
    int j;

    for (i = 0; i < n; i++)
        for (j = 0; j < c; j++)
            sum += x[i * stride + j];
    *mean = sum / ((double)n * c);
    for (i = 0; i < n; i++)
        for (j = 0; j < c; j++)
            square += (x[i * stride + j] - *mean) * (x[i * stride + j] - *mean);
    *scale = 1.0 / sqrt(square / ((double)n * c) + eps);
}

/* Normalise channels [first, first + c) of n cells. x and y point at the first cell, w and b at channel 0. */
static void normalize(const MgvKernelOp *o, float *y, const float *x, size_t n, int first, int c)
{
    const float *w = weight_of(o, 0), *b = weight_of(o, 1);
    size_t stride = (size_t)o->out.c, i;
    double mean, scale;
    int j;

    statistics(x + first, n, c, stride, o->op->u.norm.eps, &mean, &scale);
    for (i = 0; i < n; i++)
        for (j = first; j < first + c; j++)
            y[i * stride + j] = activate(o->op->act, (float)((x[i * stride + j] - mean) * scale * w[j] + b[j]));
}

static int group_norm_ref(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    const MgvShape s = o->out;
    size_t groups = (size_t)o->op->u.norm.groups, sample = (size_t)s.t * s.h * s.w, i, last;
    int c = s.c / (int)groups;

    for (slice(s.n * groups, job, nb_jobs, &i, &last); i < last; i++) {
        size_t offset = i / groups * sample * s.c;

        normalize(o, (float *)out + offset, (const float *)in[0] + offset, sample, (int)(i % groups) * c, c);
    }
    return 0;
}

static int layer_norm_ref(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    size_t i, last;

    for (slice(cells(o->out), job, nb_jobs, &i, &last); i < last; i++)
        normalize(o, (float *)out + i * o->out.c, (const float *)in[0] + i * o->out.c, 1, 0, o->out.c);
    return 0;
}

static int linear_ref(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    int cin = o->in[0].c, cout = o->out.c, c;
    size_t i, last;

    for (slice(cells(o->out), job, nb_jobs, &i, &last); i < last; i++) {
        float *y = (float *)out + i * cout;

        set_bias(y, weight_of(o, 1), cout);
        accumulate(y, (const float *)in[0] + i * cin, weight_of(o, 0), cin, cout);
        for (c = 0; c < cout; c++)
            y[c] = activate(o->op->act, y[c]);
    }
    return 0;
}

/* One row of scores for each job. */
static int prepare_attention(MgvKernelOp *o)
{
    o->scratch_bytes = (size_t)o->dev->threads * o->out.w * sizeof(float);
    return 0;
}

/* p[j] = softmax over j of q . k[j] * scale, where k[j] is j * c after k */
static void softmax_row(float *p, const float *q, const float *k, int w, int d, int c, float scale)
{
    float max = -INFINITY;
    double sum = 0;
    int i, j;

    for (j = 0; j < w; j++) {
        float dot = 0;

        for (i = 0; i < d; i++)
            dot += q[i] * k[(size_t)j * c + i];
        p[j] = dot * scale;
        max  = MGV_MAX(max, p[j]);
    }
    for (j = 0; j < w; j++)
        sum += p[j] = expf(p[j] - max);
    for (j = 0; j < w; j++)
        p[j] = (float)(p[j] / sum);
}

static int attention_ref(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    int w = o->out.w, keys = o->in[1].w, c = o->out.c, heads = o->op->u.attention.heads, d = c / heads, j;
    float *p = (float *)o->scratch + (size_t)job * keys;
    size_t i, last;

    mgv_assert(nb_jobs <= o->dev->threads);
    for (slice((size_t)o->out.n * w * heads, job, nb_jobs, &i, &last); i < last; i++) {
        size_t sample = i / heads / w * keys * c, head = i % heads * d, at = i / heads * c + head;
        const float *v = (const float *)in[2] + sample + head;
        float *y = (float *)out + at;

        softmax_row(p, (const float *)in[0] + at, (const float *)in[1] + sample + head, keys, d, c, 1.0f / sqrtf((float)d));
        set_bias(y, NULL, d);
        for (j = 0; j < keys; j++)
            accumulate(y, p + j, v + (size_t)j * c, 1, d);
    }
    return 0;
}

/* The second operand is a tensor, or rows of a table that repeat for every sample. */
static int add_ref(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    const float *a = in[0], *rows = weight_of(o, 0), *b = rows ? rows : in[1];
    size_t n = mgv_shape_elements(o->out), period = rows ? n / (size_t)o->out.n : n, c = o->out.c, i, last;

    for (slice(n, job, nb_jobs, &i, &last); i < last; i++)
        ((float *)out)[i] = a[i] + b[o->rows && rows ? o->rows[i / c] * c + i % c : i % period];
    return 0;
}

static int act_ref(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    size_t i, last;

    for (slice(mgv_shape_elements(o->out), job, nb_jobs, &i, &last); i < last; i++)
        ((float *)out)[i] = activate(o->op->act, ((const float *)in[0])[i]);
    return 0;
}

/* Coordinates of cell i. */
static MgvShape position(MgvShape s, size_t i)
{
    MgvShape p = { .c = 0 };

    p.w = (int)(i % s.w), i /= s.w;
    p.h = (int)(i % s.h), i /= s.h;
    p.t = (int)(i % s.t), i /= s.t;
    p.n = (int)i;
    return p;
}

static size_t cell(MgvShape s, int n, int t, int h, int w)
{
    return (((size_t)n * s.t + t) * s.h + h) * s.w + w;
}

/* Mean of the input cells under output cell p; the last window may reach beyond the edge. */
static void pool_cell(const MgvKernelOp *o, float *y, const float *x, MgvShape p)
{
    const MgvShape s = o->in[0];
    int ft = o->op->u.resample.ft, fh = o->op->u.resample.fh, fw = o->op->u.resample.fw;
    int t, h, w, c, count = 0;

    set_bias(y, NULL, s.c);
    for (t = p.t * ft; t < MGV_MIN((p.t + 1) * ft, s.t); t++)
        for (h = p.h * fh; h < MGV_MIN((p.h + 1) * fh, s.h); h++)
            for (w = p.w * fw; w < MGV_MIN((p.w + 1) * fw, s.w); w++, count++)
                for (c = 0; c < s.c; c++)
                    y[c] += x[cell(s, p.n, t, h, w) * s.c + c];
    for (c = 0; c < s.c; c++)
        y[c] /= (float)count;
}

static int pool_ref(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    size_t i, last;

    for (slice(cells(o->out), job, nb_jobs, &i, &last); i < last; i++)
        pool_cell(o, (float *)out + i * o->out.c, in[0], position(o->out, i));
    return 0;
}

static int upsample_ref(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    size_t i, last, row = (size_t)o->out.c;

    for (slice(cells(o->out), job, nb_jobs, &i, &last); i < last; i++) {
        MgvShape p = position(o->out, i);
        size_t from = cell(o->in[0], p.n, p.t / o->op->u.resample.ft, p.h / o->op->u.resample.fh, p.w / o->op->u.resample.fw);

        memcpy((float *)out + i * row, (const float *)in[0] + from * row, row * sizeof(float));
    }
    return 0;
}

static int embed_ref(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    size_t i, last, row = (size_t)o->out.c;

    for (slice(cells(o->out), job, nb_jobs, &i, &last); i < last; i++) {
        int64_t id = MGV_CLAMP(((const int32_t *)in[0])[i], 0, rows_of(o) - 1);

        memcpy((float *)out + i * row, weight_of(o, 0) + (size_t)id * row, row * sizeof(float));
    }
    return 0;
}

/* 1 / length of x, or 1 where lengths count. */
static double unit_scale(const MgvKernelOp *o, const float *x)
{
    double square = 0;
    int i;

    if (!o->op->u.vq.normalize)
        return 1.0;
    for (i = 0; i < o->in[0].c; i++)
        square += (double)x[i] * x[i];
    return 1.0 / sqrt(MGV_MAX(square, 1e-12));
}

static int32_t nearest_code(const MgvKernelOp *o, const float *x)
{
    int64_t code, codes = rows_of(o);
    double best = INFINITY, xs = unit_scale(o, x);
    int32_t found = 0;
    int i, d = o->in[0].c;

    for (code = 0; code < codes; code++) {
        const float *c = weight_of(o, 0) + (size_t)code * d;
        double cs = unit_scale(o, c), distance = 0;

        for (i = 0; i < d; i++)
            distance += (x[i] * xs - c[i] * cs) * (x[i] * xs - c[i] * cs);
        if (distance < best) {
            best  = distance;
            found = (int32_t)code;
        }
    }
    return found;
}

static int vq_argmin_ref(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    size_t i, last;

    for (slice(cells(o->out), job, nb_jobs, &i, &last); i < last; i++)
        ((int32_t *)out)[i] = nearest_code(o, (const float *)in[0] + i * o->in[0].c);
    return 0;
}

void mgv_ref_kernels(MgvKernelTable table)
{
    static const MgvKernel kernels[MGV_OP_NB] = {
        [MGV_OP_CONV3D]     = { prepare_matrix,    conv3d_ref,     unprepare_weights },
        [MGV_OP_GROUP_NORM] = { prepare_weights,   group_norm_ref, unprepare_weights },
        [MGV_OP_LAYER_NORM] = { prepare_weights,   layer_norm_ref, unprepare_weights },
        [MGV_OP_LINEAR]     = { prepare_matrix,    linear_ref,     unprepare_weights },
        [MGV_OP_ATTENTION]  = { prepare_attention, attention_ref },
        [MGV_OP_ADD]        = { prepare_weights,   add_ref,        unprepare_weights },
        [MGV_OP_ACT]        = { NULL,              act_ref },
        [MGV_OP_POOL]       = { NULL,              pool_ref },
        [MGV_OP_UPSAMPLE]   = { NULL,              upsample_ref },
        [MGV_OP_EMBED]      = { prepare_weights,   embed_ref,      unprepare_weights },
        [MGV_OP_VQ_ARGMIN]  = { prepare_weights,   vq_argmin_ref,  unprepare_weights },
    };

    memcpy(table, kernels, sizeof(kernels));
}
