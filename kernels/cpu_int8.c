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
 * 8-bit integers for matrix products. A row of activations is q = x / scale +
 * zero in [0,255]: its range, which always includes 0, is spread over all
 * values, so that what a GELU gives, all but positive, loses no bit. A row of
 * weights is symmetric in [-127,127], because a zero of its own would cost a
 * sum over the activations.
 */

#include <math.h>

#include "kernels/cpu.h"

enum { LANES = 32 };

/** 0 is in the range. nan: 0, or NaN if any value is not finite. */
MGV_CLONES static void find_range(float range[2], float *nan, const float *x, int n)
{
    float lo[LANES] = { 0 }, hi[LANES] = { 0 }, bad[LANES] = { 0 };
    int i = 0;

    for (; i + LANES <= n; i += LANES) {
#pragma omp simd
        for (int k = 0; k < LANES; k++) {
            lo[k] = x[i + k] < lo[k] ? x[i + k] : lo[k];
            hi[k] = x[i + k] > hi[k] ? x[i + k] : hi[k];
            bad[k] += x[i + k] * 0.0f;
        }
    }
    for (; i < n; i++) {
        lo[0] = x[i] < lo[0] ? x[i] : lo[0];
        hi[0] = x[i] > hi[0] ? x[i] : hi[0];
        bad[0] += x[i] * 0.0f;
    }
    for (int half = LANES / 2; half; half /= 2) {
#pragma omp simd
        for (int k = 0; k < half; k++) {
            lo[k] = lo[k + half] < lo[k] ? lo[k + half] : lo[k];
            hi[k] = hi[k + half] > hi[k] ? hi[k + half] : hi[k];
            bad[k] += bad[k + half];
        }
    }
    range[0] = lo[0];
    range[1] = hi[0];
    *nan     = bad[0];
}

/** Values are in the range. */
MGV_CLONES static void round_row(uint8_t *restrict q, const float *restrict x, int n, float inverse, float zero)
{
#pragma omp simd
    for (int i = 0; i < n; i++) {
        const int32_t v = (int32_t)(x[i] * inverse + (zero + 0.5f));

        q[i] = (uint8_t)(v > 255 ? 255 : v);
    }
}

MgvInt8Row mgv_cpu_quantize(uint8_t *restrict q, const float *restrict x, int n)
{
    float range[2], nan, span, inverse, zero;

    find_range(range, &nan, x, n);
    span = range[1] - range[0];
    if (nan != nan || span < MGV_INT8_MIN_RANGE) {
        memset(q, 0, n);
        return (MgvInt8Row){ nan, 0 };
    }
    inverse = 255.0f / span;
    zero    = nearbyintf(-range[0] * inverse);
    round_row(q, x, n, inverse, zero);
    return (MgvInt8Row){ span / 255.0f, (int32_t)zero };
}

MGV_CLONES static void dequantize(float *y, int n, float scale, int32_t zero, const float *restrict columns,
                                  const int32_t *restrict sums, const float *restrict bias)
{
#pragma omp simd
    for (int i = 0; i < n; i++) {
        int32_t v;

        memcpy(&v, &y[i], sizeof(v));
        y[i] = (float)(v - zero * sums[i]) * (scale * columns[i]) + bias[i];
    }
}

void mgv_cpu_dequantize(float *y, int n, MgvInt8Row row, const MgvInt8Columns *c)
{
    dequantize(y, n, row.scale, row.zero, c->scale, c->sum, c->bias);
}

void mgv_int8_free(MgvInt8Columns *c)
{
    mgv_freep(&c->scale);
    mgv_freep(&c->sum);
    mgv_freep(&c->bias);
}

/** @return the scale; NaN, and all values 0, if one is not finite */
static float round_weights(float *w, int n, int32_t *sum)
{
    float most = 0.0f, nan = 0.0f, inverse;

    for (int i = 0; i < n; i++) {
        most = MGV_MAX(most, fabsf(w[i]));
        nan += w[i] * 0.0f;
    }
    inverse = most >= MGV_INT8_MIN_RANGE && nan == nan ? 127.0f / most : 0.0f;
    for (int i = 0; i < n; i++) {
        w[i] = inverse > 0.0f ? nearbyintf(w[i] * inverse) : 0.0f;
        *sum += (int32_t)w[i];
    }
    return most / 127.0f + nan;
}

int mgv_int8_alloc(MgvInt8Columns *c, float *w, const float *bias, int cout, int cin)
{
    c->scale = mgv_calloc(cout, sizeof(*c->scale));
    c->sum   = mgv_calloc(cout, sizeof(*c->sum));
    c->bias  = mgv_calloc(cout, sizeof(*c->bias));
    if (!c->scale || !c->sum || !c->bias) {
        mgv_int8_free(c);
        return MAGVIT_ERR(ENOMEM);
    }
    for (int i = 0; i < cout; i++) {
        c->scale[i] = round_weights(w + (size_t)i * cin, cin, &c->sum[i]);
        c->bias[i]  = bias ? bias[i] : 0.0f;
    }
    return 0;
}
