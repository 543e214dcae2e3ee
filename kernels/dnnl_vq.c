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
 * Nearest codebook row. A matrix product finds the distances in float; those
 * within rounding error of the least are measured again in double precision, so
 * that the answer is that of the reference and ties go to the lowest index.
 */

#include <math.h>
#include <string.h>

#include "kernels/cpu.h"
#include "kernels/dnnl.h"

/** Rows of a tile. */
#define TILE 32
/** Rounding error of a product relative to the lengths of its vectors, with plenty to spare. */
#define MARGIN 4e-5f

typedef struct Vq {
    MgvDnnlPrim *whole, *last; ///< for a whole tile, and for the last one if it has fewer rows
    void *packed;              ///< codebook in the layout of the product
    float *codes;              ///< codebook as in the file
    float *half_squares;       ///< minus half the squared length of each row as the product sees it
    double *scale;             ///< 1 / length of each row, or 1
    float max_length;          ///< of all rows
    int nb_codes, tile, nb_tiles;
    int64_t rows;
    size_t x_bytes, dot_bytes, thread_bytes; ///< of scratch for a thread: vectors; products; everything
} Vq;

static void vq_unprepare(MgvKernelOp *o)
{
    Vq *v = o->priv;

    if (!v)
        return;
    mgv_dnnl_free(&v->last);
    mgv_dnnl_free(&v->whole);
    mgv_freep(&v->packed);
    mgv_freep(&v->codes);
    mgv_freep(&v->half_squares);
    mgv_freep(&v->scale);
    mgv_freep(&o->priv);
}

static double square(const float *x, int n)
{
    double sum = 0.0;

    for (int i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum;
}

static double unit_scale(const float *x, int n, int normalize)
{
    return normalize ? 1.0 / sqrt(MGV_MAX(square(x, n), 1e-12)) : 1.0;
}

/** Lengths of the rows, and in unit the rows as they are compared. */
static void measure_codes(Vq *v, float *unit, int d, int normalize)
{
    for (int i = 0; i < v->nb_codes; i++) {
        const float *c = v->codes + (size_t)i * d;
        double s;

        v->scale[i] = unit_scale(c, d, normalize);
        for (int k = 0; k < d; k++)
            unit[(size_t)i * d + k] = c[k] * v->scale[i];
        s = square(unit + (size_t)i * d, d);
        v->half_squares[i] = -0.5 * s;
        v->max_length = MGV_MAX(v->max_length, (float)sqrt(s));
    }
}

static int products_init(Vq *v, MgvKernelOp *o, const float *unit)
{
    const int d = o->in[0].c;
    const ptrdiff_t strides[] = { 1, d };
    MgvDnnlMatmul m = { v->tile, v->nb_codes, d, d, v->nb_codes, 1, MGV_DNNL_F32, 0 };
    size_t need;
    int ret = mgv_dnnl_matmul(&v->whole, o, &m, NULL);

    if (ret < 0)
        return ret;
    need = mgv_dnnl_scratch_bytes(v->whole);
    m.m = v->rows - (int64_t)(v->nb_tiles - 1) * v->tile;
    if (m.m < v->tile) {
        if ((ret = mgv_dnnl_matmul(&v->last, o, &m, v->whole)) < 0)
            return ret;
        need = MGV_MAX(need, mgv_dnnl_scratch_bytes(v->last));
    }
    if ((ret = mgv_dnnl_pack(&v->packed, o, v->whole, unit, strides)) < 0)
        return ret;
    v->x_bytes = MGV_ALIGN_UP((size_t)v->tile * d * sizeof(float), MGV_ALIGNMENT);
    v->dot_bytes = MGV_ALIGN_UP((size_t)v->tile * v->nb_codes * sizeof(float), MGV_ALIGNMENT);
    v->thread_bytes = v->x_bytes + v->dot_bytes + need;
    o->scratch_bytes = v->thread_bytes * o->dev->threads;
    o->weight_bytes = mgv_dnnl_weight_bytes(v->whole) +
                      (size_t)v->nb_codes * ((d + 1) * sizeof(float) + sizeof(double));
    return 0;
}

static int vq_prepare(MgvKernelOp *o)
{
    const int d = o->in[0].c;
    Vq *v = o->priv = mgv_calloc(1, sizeof(*v));
    float *unit = NULL;
    int ret;

    if (!v)
        return mgv_cpu_no_memory(o);
    v->rows = mgv_shape_elements(o->out);
    v->tile = MGV_MIN(TILE, v->rows);
    v->nb_tiles = (v->rows + v->tile - 1) / v->tile;
    v->nb_codes = o->op->weight[0]->dims[0];
    v->codes = mgv_host_weight(o, 0);
    v->half_squares = mgv_calloc(v->nb_codes, sizeof(*v->half_squares));
    v->scale = mgv_calloc(v->nb_codes, sizeof(*v->scale));
    unit = mgv_calloc((size_t)v->nb_codes * d, sizeof(*unit));
    if (!v->codes || !v->half_squares || !v->scale || !unit) {
        ret = mgv_cpu_no_memory(o);
    } else {
        measure_codes(v, unit, d, o->op->u.vq.normalize);
        ret = products_init(v, o, unit);
    }
    mgv_freep(&unit);
    if (ret < 0)
        vq_unprepare(o);
    return ret;
}

static double distance(const float *x, double xs, const float *c, double cs, int n)
{
    double sum = 0.0;

    for (int i = 0; i < n; i++)
        sum += (x[i] * xs - c[i] * cs) * (x[i] * xs - c[i] * cs);
    return sum;
}

/** dots: x . c - |c|^2 / 2 for every code, which is greatest where the distance is least. */
static int32_t nearest(const Vq *v, const float *x, double xs, double length, const float *dots, int d)
{
    const float margin = MARGIN * v->max_length * (float)(length + v->max_length);
    const float floor = mgv_cpu_max(dots, v->nb_codes) - margin;
    double best = INFINITY;
    int32_t found = 0;

    for (int i = 0; i < v->nb_codes; i++) {
        double dist;

        if (dots[i] < floor)
            continue;
        dist = distance(x, xs, v->codes + (size_t)i * d, v->scale[i], d);
        if (dist < best) {
            best = dist;
            found = i;
        }
    }
    return found;
}

typedef struct Run {
    const float *x;
    int32_t *out;
} Run;

static int vq_tile(const MgvKernelOp *o, void *arg, int tile, int thread)
{
    const Vq *v = o->priv;
    const Run *run = arg;
    const int d = o->in[0].c, normalize = o->op->u.vq.normalize;
    const int64_t first = (int64_t)tile * v->tile;
    const int n = MGV_MIN(v->tile, v->rows - first);
    const float *x = run->x + first * d, *product_x = x;
    float *unit = (float *)((char *)o->scratch + thread * v->thread_bytes);
    float *dots = (float *)((char *)unit + v->x_bytes);
    double scale[TILE];
    int status;

    for (int i = 0; i < n; i++) {
        scale[i] = unit_scale(x + i * d, d, normalize);
        for (int k = 0; normalize && k < d; k++)
            unit[i * d + k] = x[i * d + k] * scale[i];
    }
    if (normalize)
        product_x = unit;
    status = mgv_dnnl_execute(n < v->tile ? v->last : v->whole, thread, product_x, v->packed, v->half_squares, dots,
                              (char *)dots + v->dot_bytes);
    for (int i = 0; !status && i < n; i++)
        run->out[first + i] = nearest(v, x + i * d, scale[i], sqrt(square(product_x + i * d, d)),
                                      dots + (size_t)i * v->nb_codes, d);
    return status;
}

static int vq_argmin_dnnl(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    const Vq *v = o->priv;
    Run run = { in[0], out };

    (void)job, (void)nb_jobs;
    return mgv_dnnl_tiles(o, "matmul", v->nb_tiles, vq_tile, &run);
}

const MgvKernel mgv_vq_argmin_dnnl = {
    .prepare = vq_prepare, .run = vq_argmin_dnnl, .unprepare = vq_unprepare, .threads_itself = 1,
};
