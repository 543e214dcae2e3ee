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
 * What a device that multiplies in bf16 spends its time with besides products:
 * functions that end in bf16, with the conversion of AVX512_BF16. Elsewhere the
 * plain C of the other files does the same.
 */

#include "kernels/cpu_avx512.h"

#if MGV_AVX512

#include <math.h>

#define TARGET MGV_AVX512_TARGET
#define INLINE MGV_AVX512_INLINE
#define LANES MGV_LANES

int mgv_avx512(void)
{
    return !mgv_cpu_plain && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

INLINE void act_loop(uint16_t *y, const float *x, size_t n, enum MgvAct act)
{
    size_t i = 0;

    for (; i + LANES <= n; i += LANES)
        _mm256_storeu_si256((__m256i *)(y + i), (__m256i)_mm512_cvtneps_pbh(mgv_activate(_mm512_loadu_ps(x + i), act)));
    if (i < n)
        mgv_store_bf16(y + i, mgv_first(n - i), mgv_activate(_mm512_maskz_loadu_ps(mgv_first(n - i), x + i), act));
}

TARGET void mgv_avx512_act(uint16_t *restrict y, const float *restrict x, size_t n, enum MgvAct act)
{
    if (act == MGV_ACT_SILU)
        act_loop(y, x, n, MGV_ACT_SILU);
    else if (act == MGV_ACT_GELU_TANH)
        act_loop(y, x, n, MGV_ACT_GELU_TANH);
    else
        act_loop(y, x, n, MGV_ACT_NONE);
}

TARGET float mgv_avx512_softmax(uint16_t *restrict y, const float *restrict x, int n, float scale)
{
    const __m512 a = _mm512_set1_ps(scale * MGV_LOG2E);
    __m512 top = _mm512_set1_ps(-INFINITY), top2 = top, b, sum = _mm512_setzero_ps(), sum2 = sum;
    int i = 0;

    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        top  = _mm512_max_ps(top, _mm512_loadu_ps(x + i));
        top2 = _mm512_max_ps(top2, _mm512_loadu_ps(x + i + LANES));
    }
    for (; i < n; i += LANES)
        top = _mm512_mask_max_ps(top, mgv_first(n - i), top, _mm512_maskz_loadu_ps(mgv_first(n - i), x + i));
    b = _mm512_set1_ps(_mm512_reduce_max_ps(_mm512_max_ps(top, top2)));
    for (i = 0; i + 2 * LANES <= n; i += 2 * LANES) {
        const __m512 e  = mgv_exp2_bf16(_mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x + i), b), a));
        const __m512 e2 = mgv_exp2_bf16(_mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x + i + LANES), b), a));

        _mm512_storeu_si512(y + i, (__m512i)_mm512_cvtne2ps_pbh(e2, e));
        sum  = _mm512_add_ps(sum, e);
        sum2 = _mm512_add_ps(sum2, e2);
    }
    for (; i < n; i += LANES) {
        const __mmask16 m = mgv_first(n - i);
        const __m512 e = mgv_exp2_bf16(_mm512_mul_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(m, x + i), b), a));

        mgv_store_bf16(y + i, m, e);
        sum = _mm512_mask_add_ps(sum, m, sum, e);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(sum, sum2));
}

INLINE __m512 affine(__m512 x, __m512 offset, __m512 scale, __m512 bias, enum MgvAct act)
{
    return mgv_activate(_mm512_fmadd_ps(_mm512_sub_ps(x, offset), scale, bias), act);
}

/** Lanes m of values from number i on. */
INLINE __m512 load_16(MgvValues x, int64_t i, __mmask16 m, const int bf16)
{
    if (!bf16)
        return _mm512_maskz_loadu_ps(m, x.f32 + i);
    return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, x.bf16 + i)), 16);
}

/** y = act((x - offset) * scale + bias), one value a column, of values [at,n). */
INLINE void affine_loop(uint16_t *y, MgvValues x, int64_t at, int64_t n, int span, const float *coef, enum MgvAct act,
                        const int bf16)
{
    for (; at < n; at += span) {
        const int len = MGV_MIN(span, n - at);

        for (int k = 0; k < len; k += LANES) {
            const __mmask16 m = mgv_first(len - k);

            mgv_store_bf16(y + at + k, m, affine(load_16(x, at + k, m, bf16), _mm512_maskz_loadu_ps(m, coef + k),
                                                 _mm512_maskz_loadu_ps(m, coef + span + k),
                                                 _mm512_maskz_loadu_ps(m, coef + 2 * span + k), act));
        }
    }
}

/** affine_loop() of whole rows of the usual span: the coefficients stay in registers. */
INLINE void affine_loop_4(uint16_t *y, MgvValues x, int64_t n, const float *coef, enum MgvAct act, const int bf16)
{
    __m512 c[3][4];

    for (int i = 0; i < 12; i++)
        c[i / 4][i % 4] = _mm512_loadu_ps(coef + i * LANES);
    for (int64_t at = 0; at < n; at += 4 * LANES)
        for (int k = 0; k < 4; k++)
            _mm256_storeu_si256((__m256i *)(y + at + k * LANES), (__m256i)_mm512_cvtneps_pbh(
                                affine(load_16(x, at + k * LANES, 0xffff, bf16), c[0][k], c[1][k], c[2][k], act)));
}

INLINE void affine_act(uint16_t *y, MgvValues x, int64_t n, int span, const float *coef, enum MgvAct act, const int bf16)
{
    const int64_t rows = span == 4 * LANES ? n / span * span : 0;

    if (rows) // there need not be so many coefficients
        affine_loop_4(y, x, rows, coef, act, bf16);
    affine_loop(y, x, rows, n, span, coef, act, bf16);
}

INLINE void affine_any(uint16_t *y, MgvValues x, int64_t n, int span, const float *coef, enum MgvAct act, const int bf16)
{
    if (act == MGV_ACT_SILU)
        affine_act(y, x, n, span, coef, MGV_ACT_SILU, bf16);
    else if (act == MGV_ACT_GELU_TANH)
        affine_act(y, x, n, span, coef, MGV_ACT_GELU_TANH, bf16);
    else
        affine_act(y, x, n, span, coef, MGV_ACT_NONE, bf16);
}

TARGET void mgv_avx512_affine(uint16_t *restrict y, MgvValues x, int64_t n, int span, const float *restrict coef,
                              enum MgvAct act)
{
    if (x.bf16)
        affine_any(y, x, n, span, coef, act, 1);
    else
        affine_any(y, x, n, span, coef, act, 0);
}

/* The fence is for the thread that reads what was written. */
TARGET void mgv_avx512_stream(void *restrict y, const void *restrict x, size_t bytes)
{
    const char *from = x;
    char *to = y, *end = to + bytes / 64 * 64;

    for (; to < end; to += 64, from += 64)
        _mm512_stream_si512((__m512i *)to, _mm512_loadu_si512(from));
    memcpy(to, from, bytes % 64);
    _mm_sfence();
}

INLINE void deviate(__m512 *rest, __m512 *squares, __m512 d)
{
    *rest    = _mm512_add_ps(*rest, d);
    *squares = _mm512_fmadd_ps(d, d, *squares);
}

/** mgv_avx512_column_stats() of the columns from k on that m says. */
INLINE void stats_16(float *stat, MgvValues x, int64_t rows, int span, int k, __mmask16 m, const int bf16)
{
    const __m512 zero = _mm512_setzero_ps();
    __m512 sum[4] = { zero, zero, zero, zero }, rest[4] = { zero, zero, zero, zero };
    __m512 squares[4] = { zero, zero, zero, zero }, mean;
    int64_t i = 0;

    for (; i + 4 <= rows; i += 4)
        for (int j = 0; j < 4; j++)
            sum[j] = _mm512_add_ps(sum[j], load_16(x, (i + j) * span + k, m, bf16));
    for (; i < rows; i++)
        sum[0] = _mm512_add_ps(sum[0], load_16(x, i * span + k, m, bf16));
    mean = _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3]));
    mean = _mm512_div_ps(mean, _mm512_set1_ps((float)rows));
    for (i = 0; i + 4 <= rows; i += 4)
        for (int j = 0; j < 4; j++)
            deviate(&rest[j], &squares[j], _mm512_sub_ps(load_16(x, (i + j) * span + k, m, bf16), mean));
    for (; i < rows; i++)
        deviate(&rest[0], &squares[0], _mm512_sub_ps(load_16(x, i * span + k, m, bf16), mean));
    for (int j = 1; j < 4; j++) {
        rest[0] = _mm512_add_ps(rest[0], rest[j]);
        squares[0] = _mm512_add_ps(squares[0], squares[j]);
    }
    _mm512_mask_storeu_ps(stat + k, m, mean);
    _mm512_mask_storeu_ps(stat + span + k, m, rest[0]);
    _mm512_mask_storeu_ps(stat + 2 * span + k, m, squares[0]);
}

TARGET void mgv_avx512_column_stats(float *restrict stat, MgvValues x, int64_t rows, int span)
{
    for (int k = 0; k < span; k += LANES) {
        if (x.bf16)
            stats_16(stat, x, rows, span, k, mgv_first(span - k), 1);
        else
            stats_16(stat, x, rows, span, k, mgv_first(span - k), 0);
    }
}

/** The sum of four vectors' lanes. */
INLINE float sum_4(const __m512 v[4])
{
    return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(v[0], v[1]), _mm512_add_ps(v[2], v[3])));
}

TARGET void mgv_avx512_layer_norm(float *y, uint16_t *y16, const float *x, int n, float eps, const float *restrict scale,
                                  const float *restrict bias)
{
    const __m512 zero = _mm512_setzero_ps();
    __m512 sum[4] = { zero, zero, zero, zero }, rest[4] = { zero, zero, zero, zero };
    __m512 squares[4] = { zero, zero, zero, zero }, mean, off, factor;
    int i = 0;

    for (; i + 4 * LANES <= n; i += 4 * LANES)
        for (int j = 0; j < 4; j++)
            sum[j] = _mm512_add_ps(sum[j], _mm512_loadu_ps(x + i + j * LANES));
    for (; i < n; i += LANES)
        sum[0] = _mm512_add_ps(sum[0], _mm512_maskz_loadu_ps(mgv_first(n - i), x + i));
    mean = _mm512_set1_ps(sum_4(sum) / n);
    for (i = 0; i + 4 * LANES <= n; i += 4 * LANES)
        for (int j = 0; j < 4; j++)
            deviate(&rest[j], &squares[j], _mm512_sub_ps(_mm512_loadu_ps(x + i + j * LANES), mean));
    for (; i < n; i += LANES)
        deviate(&rest[0], &squares[0], _mm512_maskz_sub_ps(mgv_first(n - i), _mm512_maskz_loadu_ps(mgv_first(n - i), x + i), mean));
    off    = _mm512_set1_ps(sum_4(rest) / n);
    factor = _mm512_set1_ps(sum_4(squares) / n);
    factor = _mm512_max_ps(zero, _mm512_fnmadd_ps(off, off, factor)); // a NaN stays
    factor = _mm512_div_ps(_mm512_set1_ps(1), _mm512_sqrt_ps(_mm512_add_ps(factor, _mm512_set1_ps(eps))));
    for (i = 0; i < n; i += LANES) {
        const __mmask16 m = mgv_first(n - i);
        __m512 v = _mm512_sub_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(m, x + i), mean), off);

        v = _mm512_fmadd_ps(_mm512_mul_ps(v, factor), _mm512_maskz_loadu_ps(m, scale + i), _mm512_maskz_loadu_ps(m, bias + i));
        if (y)
            _mm512_mask_storeu_ps(y + i, m, v);
        if (y16)
            mgv_store_bf16(y16 + i, m, v);
    }
}

#endif /* MGV_AVX512 */
