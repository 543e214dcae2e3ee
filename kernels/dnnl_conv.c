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
 * 3x3x3 convolution by oneDNN on tiles: a band of rows through a span of
 * planes. A tile copies its input with one cell of padding into scratch memory,
 * plane by plane, and convolves each output plane while the three input planes
 * are in second-level cache. oneDNN never pads, so reflection costs what zeros
 * cost. The kernel 1x1x1 is a matrix product.
 */

#include <string.h>

#include "kernels/cpu.h"
#include "kernels/dnnl.h"

/** Three padded planes of a band should take no more than this. */
#define CACHE_BYTES (448 << 10)
/** Tiles to aim for, so that many threads have work and none waits long for the last. */
#define MIN_TILES 32
/** But do not cut work smaller than this many multiply-accumulates. */
#define MIN_TILE_MACS 4e6

typedef struct Conv {
    MgvDnnlRows *rows;          ///< kernel 1; all else is unused
    MgvDnnlPrim *whole, *last;  ///< for a whole band of one plane, and for the last band if it has fewer rows
    void *weights;              ///< in the primitive's layout
    float *bias;
    size_t element;             ///< bytes of a padded value
    int band, nb_bands;         ///< rows of a band
    int span, nb_spans;         ///< planes of a span
    size_t pad_bytes, thread_bytes; ///< of scratch: padded planes; everything for one thread
} Conv;

typedef struct Run {
    const float *in;
    float *out;
} Run;

static void conv3d_unprepare(MgvKernelOp *o)
{
    Conv *c = o->priv;

    if (!c)
        return;
    mgv_dnnl_rows_free(&c->rows);
    mgv_dnnl_free(&c->last);
    mgv_dnnl_free(&c->whole);
    mgv_freep(&c->weights);
    mgv_freep(&c->bias);
    mgv_freep(&o->priv);
}

static int parts(int n, int size)
{
    return (n + size - 1) / size;
}

/** Choose tiles by the shape alone. */
static void choose_tiles(Conv *c, const MgvKernelOp *o)
{
    const MgvShape s = o->in[0];
    const double row = (s.w + 2.0) * s.c * c->element, row_macs = o->op->macs / ((double)s.n * s.t * s.h);

    c->band = MGV_CLAMP((int)(CACHE_BYTES / (3 * row)) - 2, MGV_MIN(4, s.h), s.h);
    c->span = s.t;
    while ((int64_t)s.n * parts(s.t, c->span) * parts(s.h, c->band) < MIN_TILES &&
           row_macs * c->span * c->band > 2 * MIN_TILE_MACS) {
        if (c->span > 4 || (c->span > 1 && c->band <= 4))
            c->span = (c->span + 1) / 2;
        else if (c->band > 1)
            c->band = (c->band + 1) / 2;
        else
            break;
    }
    c->nb_spans = parts(s.t, c->span);
    c->nb_bands = parts(s.h, c->band);
}

/** Tiles and the primitive for whole ones, by which it shows whether oneDNN has fast code for bf16. */
static int declare_kernel3(MgvKernelOp *o)
{
    Conv *c = o->priv;
    const MgvShape s = o->in[0];
    MgvDnnlConv conv = { 1, 0, s.w, s.c, o->out.c, !!o->op->weight[1] };
    int ret;

    /* half the bytes make larger bands */
    c->element = mgv_cpu_is_bf16(o->dev) ? sizeof(uint16_t) : sizeof(float);
    choose_tiles(c, o);
    conv.h = c->band;
    if ((ret = mgv_dnnl_conv(&c->whole, o, &conv, NULL)) < 0)
        return ret;
    if (c->element < sizeof(float) && mgv_dnnl_type(c->whole) == MGV_DNNL_F32) {
        mgv_dnnl_free(&c->whole);
        c->element = sizeof(float);
        choose_tiles(c, o);
        conv.h = c->band;
        ret = mgv_dnnl_conv(&c->whole, o, &conv, NULL);
    }
    o->reads_bf16 = c->element < sizeof(float);
    return ret;
}

static int prepare_kernel3(MgvKernelOp *o, const float *weights)
{
    Conv *c = o->priv;
    const MgvShape s = o->in[0];
    const ptrdiff_t strides[] = { (ptrdiff_t)s.c * 27, 27, 9, 3, 1 };
    MgvDnnlConv conv = { 1, s.h - (c->nb_bands - 1) * c->band, s.w, s.c, o->out.c, !!c->bias };
    size_t prim_bytes = mgv_dnnl_scratch_bytes(c->whole);
    int ret;

    if (conv.h < c->band) {
        if ((ret = mgv_dnnl_conv(&c->last, o, &conv, c->whole)) < 0)
            return ret;
        prim_bytes = MGV_MAX(prim_bytes, mgv_dnnl_scratch_bytes(c->last));
    }
    if ((ret = mgv_dnnl_pack(&c->weights, o, c->whole, weights, strides)) < 0)
        return ret;
    o->weight_bytes += mgv_dnnl_weight_bytes(c->whole);
    c->pad_bytes = MGV_ALIGN_UP((size_t)(c->span + 2) * (c->band + 2) * (s.w + 2) * s.c * c->element, MGV_ALIGNMENT);
    c->thread_bytes = c->pad_bytes + prim_bytes;
    o->scratch_bytes = c->thread_bytes * o->dev->threads;
    return 0;
}

static int conv3d_declare(MgvKernelOp *o)
{
    int ret = 0;

    o->priv = mgv_calloc(1, sizeof(Conv));
    if (!o->priv)
        return mgv_cpu_no_memory(o);
    o->fuses = 1u << MGV_OP_ADD;
    if (o->op->u.conv.k == 1)
        o->reads_bf16 = o->writes_bf16 = mgv_cpu_is_bf16(o->dev);
    else
        ret = declare_kernel3(o);
    if (ret < 0)
        conv3d_unprepare(o);
    return ret;
}

static int conv3d_prepare(MgvKernelOp *o)
{
    const MgvOp *op = o->op;
    const MgvShape s = o->in[0];
    Conv *c = o->priv;
    float *weights = mgv_host_weight(o, 0);
    int ret;

    if (!weights || (op->weight[1] && !(c->bias = mgv_host_weight(o, 1)))) {
        ret = mgv_cpu_no_memory(o);
    } else if (op->u.conv.k == 1) {
        ret = mgv_dnnl_rows_alloc(&c->rows, o, (int64_t)s.n * s.t * s.h * s.w, s.c, o->out.c, weights, c->bias, 0);
    } else {
        o->weight_bytes = c->bias ? o->out.c * sizeof(float) : 0;
        ret = prepare_kernel3(o, weights);
    }
    mgv_freep(&weights);
    if (ret < 0)
        conv3d_unprepare(o);
    return ret;
}

/** Where cell i of a padded axis comes from; -1: it is zero. */
static int padded(int i, int n, enum MgvPad pad)
{
    if (i >= 0 && i < n)
        return i;
    if (pad == MGV_PAD_ZERO)
        return -1;
    return n == 1 ? 0 : i < 0 ? -i : 2 * (n - 1) - i;
}

/** Copy n values from index at of the input, in the type that the primitive reads. */
static void copy(char *dst, const MgvKernelOp *o, const float *in, size_t at, size_t n)
{
    if (o->in16[0])
        memcpy(dst, o->in16[0] + at, n * sizeof(*o->in16[0]));
    else if (((const Conv *)o->priv)->element < sizeof(float))
        mgv_cpu_bf16((uint16_t *)dst, in + at, n);
    else
        memcpy(dst, in + at, n * sizeof(*in));
}

/** Copy rows [first-1, first+rows+1) of a plane with padding. plane: its number among all samples' planes; < 0: zeros. */
static void pad_plane(char *dst, const MgvKernelOp *o, const float *in, int64_t plane, int first, int rows)
{
    const size_t element = ((const Conv *)o->priv)->element;
    const enum MgvPad pad = o->op->u.conv.pad;
    const int w = o->in[0].w, c = o->in[0].c;
    const int left = padded(-1, w, pad), right = padded(w, w, pad);
    const size_t row = (size_t)w * c, cell = c * element, size = row * element;

    for (int i = -1; i <= rows; i++, dst += size + 2 * cell) {
        const int from = padded(first + i, o->in[0].h, pad);

        if (plane < 0 || from < 0) {
            memset(dst, 0, size + 2 * cell);
            continue;
        }
        copy(dst + cell, o, in, (plane * o->in[0].h + from) * row, row);
        if (left < 0) {
            memset(dst, 0, cell);
            memset(dst + cell + size, 0, cell);
        } else {
            memcpy(dst, dst + cell + left * cell, cell);
            memcpy(dst + cell + size, dst + cell + right * cell, cell);
        }
    }
}

static int conv3d_tile(const MgvKernelOp *o, void *arg, int tile, int thread)
{
    const Conv *c = o->priv;
    const Run *run = arg;
    const MgvShape s = o->in[0];
    const int first = tile % c->nb_bands * c->band, rows = MGV_MIN(c->band, s.h - first);
    const int t0 = tile / c->nb_bands % c->nb_spans * c->span, planes = MGV_MIN(c->span, s.t - t0);
    const int64_t n = tile / c->nb_bands / c->nb_spans;
    const size_t padded_plane = (size_t)(rows + 2) * (s.w + 2) * s.c * c->element;
    const MgvDnnlPrim *prim = rows < c->band ? c->last : c->whole;
    char *scratch = (char *)o->scratch + thread * c->thread_bytes;

    for (int i = 0; i < planes + 2; i++) {
        const int from = padded(t0 + i - 1, s.t, o->op->u.conv.pad);
        char *pad = scratch + i * padded_plane;
        float *y = run->out + (((n * s.t + t0 + i - 2) * s.h + first) * s.w) * o->out.c;
        int status;

        pad_plane(pad, o, run->in, from < 0 ? -1 : n * s.t + from, first, rows);
        if (i < 2)
            continue;
        status = mgv_dnnl_execute(prim, thread, pad - 2 * padded_plane, c->weights, c->bias, y, scratch + c->pad_bytes);
        if (status)
            return status;
        mgv_cpu_act(y, (size_t)rows * s.w * o->out.c, o->op->act);
        if (o->residual)
            mgv_cpu_add(y, o->residual + (y - run->out), (size_t)rows * s.w * o->out.c);
    }
    return 0;
}

static int conv3d_dnnl(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    const Conv *c = o->priv;
    Run run = { in[0], out };

    (void)job, (void)nb_jobs;
    if (c->rows)
        return mgv_dnnl_rows_run(o, c->rows, in[0], out);
    return mgv_dnnl_tiles(o, "convolution", o->in[0].n * c->nb_spans * c->nb_bands, conv3d_tile, &run);
}

const MgvKernel mgv_conv3d_dnnl = {
    .declare = conv3d_declare, .prepare = conv3d_prepare, .run = conv3d_dnnl, .unprepare = conv3d_unprepare, .threads_itself = 1,
};
