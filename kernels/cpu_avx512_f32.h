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
 * Products and activations of float32 by AVX-512. Every sum is in one order, whatever is cut how.
 */

#ifndef MAGVIT_CPU_AVX512_F32_H
#define MAGVIT_CPU_AVX512_F32_H

#include "kernels/cpu_avx512.h"

#if MGV_AVX512

/** Rows and columns that are multiplied at once: 28 sums, which leave four registers. */
#define MGV_F32_ROWS    14
#define MGV_F32_COLUMNS 32

typedef __m512 MgvF32Sums[MGV_F32_ROWS][2];

/**
 * c += x . y: rows of x, stride apart, whose n values are step apart, and n rows of one or two vectors, width apart.
 * fetch: NULL or what to bring into second-level cache meanwhile, a vector for each of n
 */
MGV_AVX512_F32_INLINE void mgv_f32_multiply(MgvF32Sums c, const float *x, const int stride, const int step,
                                            const float *y, const int width, int n, const int rows,
                                            const int vectors, const float *fetch)
{
    for (int k = 0; k < n; k++, x += step, y += width) {
        const __m512 y0 = _mm512_loadu_ps(y), y1 = vectors > 1 ? _mm512_loadu_ps(y + MGV_LANES) : y0;

        if (fetch)
            _mm_prefetch(fetch + k * MGV_LANES, _MM_HINT_T1);
#pragma GCC unroll 14
        for (int i = 0; i < rows; i++) {
            const __m512 a = _mm512_set1_ps(x[i * stride]);

            c[i][0] = _mm512_fmadd_ps(a, y0, c[i][0]);
            if (vectors > 1)
                c[i][1] = _mm512_fmadd_ps(a, y1, c[i][1]);
        }
    }
}

MGV_AVX512_F32_INLINE void mgv_f32_clear(MgvF32Sums c)
{
#pragma GCC unroll 28
    for (int i = 0; i < 2 * MGV_F32_ROWS; i++)
        c[i / 2][i % 2] = _mm512_setzero_ps();
}

/** 16 values of n rows, up to 16: the first of each to row 0 of dst, and so on. What is missing is zero. */
MGV_AVX512_F32_INLINE void mgv_f32_transpose(float *dst, const int row, const int width, const float *src,
                                             ptrdiff_t stride, int n)
{
    const __mmask16 m = mgv_first(width);
    __m512 a[MGV_LANES], b[MGV_LANES];

    for (int i = 0; i < MGV_LANES; i++)
        a[i] = i < n ? _mm512_loadu_ps(src + i * stride) : _mm512_setzero_ps();
    for (int i = 0; i < MGV_LANES; i += 2) {
        b[i]     = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < MGV_LANES; i += 4) {
        for (int j = 0; j < 2; j++) {
            const __m512d x = (__m512d)b[i + j], y = (__m512d)b[i + j + 2];

            a[i + 2 * j]     = (__m512)_mm512_unpacklo_pd(x, y);
            a[i + 2 * j + 1] = (__m512)_mm512_unpackhi_pd(x, y);
        }
    }
    for (int j = 0; j < 4; j++) { // of four rows each now: values j, j + 4, j + 8, j + 12
        const __m512 x  = _mm512_shuffle_f32x4(a[j], a[4 + j], 0x88);
        const __m512 y  = _mm512_shuffle_f32x4(a[j], a[4 + j], 0xdd);
        const __m512 x2 = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0x88);
        const __m512 y2 = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0xdd);

        _mm512_mask_storeu_ps(dst + j * row, m, _mm512_shuffle_f32x4(x, x2, 0x88));
        _mm512_mask_storeu_ps(dst + (j + 4) * row, m, _mm512_shuffle_f32x4(y, y2, 0x88));
        _mm512_mask_storeu_ps(dst + (j + 8) * row, m, _mm512_shuffle_f32x4(x, x2, 0xdd));
        _mm512_mask_storeu_ps(dst + (j + 12) * row, m, _mm512_shuffle_f32x4(y, y2, 0xdd));
    }
}

/** x / (1 + 2^u). Powers that count for nothing are kept from becoming denormal numbers, which take microcode. */
MGV_AVX512_F32_INLINE __m512 mgv_f32_gate(__m512 x, __m512 u)
{
    const __m512 most = _mm512_set1_ps(120.0f), least = _mm512_set1_ps(-120.0f);
    const __m512 e = mgv_exp2(_mm512_max_ps(least, _mm512_min_ps(most, u))); // a NaN stays

    return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
}

MGV_AVX512_F32_INLINE __m512 mgv_f32_activate(__m512 x, enum MgvAct act)
{
    if (act == MGV_ACT_SILU)
        return mgv_f32_gate(x, _mm512_mul_ps(x, _mm512_set1_ps(-MGV_LOG2E)));
    if (act == MGV_ACT_GELU_TANH) { // -2 log2(e) sqrt(2/pi) (x + 0.044715 x^3)
        const __m512 a = _mm512_set1_ps(-MGV_LOG2E * 0x1.988454p0f), b = _mm512_set1_ps(-MGV_LOG2E * 0x1.2444fap-4f);

        return mgv_f32_gate(x, _mm512_mul_ps(x, _mm512_fmadd_ps(_mm512_mul_ps(x, x), b, a)));
    }
    return x;
}

#endif /* MGV_AVX512 */

#endif /* MAGVIT_CPU_AVX512_F32_H */
