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
 * Average pool and nearest upsample, a row of output at a time.
 */

#include "kernels/cpu.h"

/** y[w,c] += x[w*fw .. ,c] over one row of x, where fw is 1 or 2; wx is its length. */
MGV_CLONES static void gather_row(float *restrict y, const float *restrict x, int wx, int fw, int c)
{
    const int pairs = fw == 2 ? wx / 2 : 0;
    const int64_t rest = (int64_t)(wx - pairs * 2) * c;

    for (int i = 0; i < pairs; i++, x += 2 * c, y += c) {
#pragma omp simd
        for (int k = 0; k < c; k++)
            y[k] += x[k] + x[c + k];
    }
#pragma omp simd
    for (int64_t i = 0; i < rest; i++)
        y[i] += x[i];
}

MGV_CLONES static void scale_row(float *y, int64_t n, float scale)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] *= scale;
}

static int pool_cpu(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    const MgvShape is = o->in[0], os = o->out;
    const int ft = o->op->u.resample.ft, fh = o->op->u.resample.fh, fw = o->op->u.resample.fw;
    const int64_t row = (int64_t)os.w * os.c, rows = (int64_t)os.n * os.t * os.h;
    const int64_t full = (int64_t)(is.w / fw) * os.c; // where the window is whole in W
    const int64_t end = mgv_share(rows, job + 1, nb_jobs);

    for (int64_t r = mgv_share(rows, job, nb_jobs); r < end; r++) {
        const int h = r % os.h, t = r / os.h % os.t, n = r / os.h / os.t;
        const int h1 = MGV_MIN(is.h, (h + 1) * fh), t1 = MGV_MIN(is.t, (t + 1) * ft);
        const int cells = (t1 - t * ft) * (h1 - h * fh);
        float *y = (float *)out + r * row;

        memset(y, 0, row * sizeof(*y));
        for (int i = t * ft; i < t1; i++)
            for (int j = h * fh; j < h1; j++)
                gather_row(y, (const float *)in[0] + (((int64_t)n * is.t + i) * is.h + j) * is.w * is.c, is.w, fw,
                           is.c);
        scale_row(y, full, 1.0f / (cells * fw));
        scale_row(y + full, row - full, 1.0f / cells);
    }
    return 0;
}

const MgvKernel mgv_pool_cpu = { .run = pool_cpu };

MGV_CLONES static void double_pixels(float *restrict y, const float *restrict x, int w, int c)
{
    for (int i = 0; i < w; i++) {
        float *a = y + 2 * (int64_t)i * c;

#pragma omp simd
        for (int k = 0; k < c; k++)
            a[k] = a[c + k] = x[(int64_t)i * c + k];
    }
}

static int upsample_declare(MgvKernelOp *o)
{
    o->writes_bf16 = mgv_cpu_is_bf16(o->dev);
    return 0;
}

/** Input row that output row r repeats. */
static int64_t source_row(const MgvKernelOp *o, int64_t r)
{
    const MgvShape is = o->in[0], os = o->out;
    const int h = r % os.h, t = r / os.h % os.t, n = r / os.h / os.t;

    return ((int64_t)n * is.t + t / o->op->u.resample.ft) * is.h + h / o->op->u.resample.fh;
}

/* Rounded in the upper half of y, then spread from the first pixel on: what is overwritten was read before. */
static void upsample_row_bf16(const MgvKernelOp *o, uint16_t *y, const float *x)
{
    const int w = o->in[0].w, c = o->in[0].c, fw = o->op->u.resample.fw;
    uint16_t *narrow = y + (size_t)(fw - 1) * w * c;

    mgv_cpu_bf16(narrow, x, (size_t)w * c);
    for (int i = 0; i < w && fw == 2; i++) {
        memmove(y + (size_t)2 * i * c, narrow + (size_t)i * c, c * sizeof(*y));
        memcpy(y + (size_t)(2 * i + 1) * c, y + (size_t)2 * i * c, c * sizeof(*y));
    }
}

void mgv_cpu_upsample_row(const MgvKernelOp *o, float *y, uint16_t *y16, const float *in, int64_t r)
{
    const size_t row = (size_t)o->in[0].w * o->in[0].c;
    const float *x = in + source_row(o, r) * row;

    if (y16)
        upsample_row_bf16(o, y16, x);
    if (y && o->op->u.resample.fw == 2)
        double_pixels(y, x, o->in[0].w, o->in[0].c);
    else if (y)
        memcpy(y, x, row * sizeof(*y));
}

static int upsample_cpu(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    const MgvShape s = o->out;
    const int64_t rows = (int64_t)s.n * s.t * s.h, end = mgv_share(rows, job + 1, nb_jobs), row = (int64_t)s.w * s.c;
    int64_t last = -1;

    for (int64_t r = mgv_share(rows, job, nb_jobs); r < end; r++) {
        const int64_t from = source_row(o, r);
        float *y = out ? (float *)out + r * row : NULL;
        uint16_t *y16 = o->out16 ? o->out16 + r * row : NULL;

        if (from != last)
            mgv_cpu_upsample_row(o, y, y16, in[0], r);
        if (y && from == last)
            memcpy(y, y - row, row * sizeof(*y));
        if (y16 && from == last)
            memcpy(y16, y16 - row, row * sizeof(*y16));
        last = from;
    }
    return 0;
}

const MgvKernel mgv_upsample_cpu = { .declare = upsample_declare, .run = upsample_cpu };
