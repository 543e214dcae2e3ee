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
 * Functions of AVX-512 vectors that kernels share.
 */

#ifndef MAGVIT_AVX512_H
#define MAGVIT_AVX512_H

#include "kernels/cpu.h"

#if MGV_AVX512

#include <immintrin.h>

#define MGV_AVX512_FEATURES "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16" ///< what mgv_avx512() asks for
#define MGV_AVX512_TARGET __attribute__((target(MGV_AVX512_FEATURES)))
#define MGV_AVX512_INLINE static inline __attribute__((always_inline, unused)) MGV_AVX512_TARGET
#define MGV_LANES 16 ///< floats of a vector

/* What float32 alone needs, which mgv_avx512_f32() asks for. */
#define MGV_AVX512_F32_TARGET __attribute__((target("avx512f,avx512dq")))
#define MGV_AVX512_F32_INLINE static inline __attribute__((always_inline, unused)) MGV_AVX512_F32_TARGET

/** All lanes below n, which may be negative. */
MGV_AVX512_F32_INLINE __mmask16 mgv_first(ptrdiff_t n)
{
    return n >= MGV_LANES ? (__mmask16)0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1);
}

MGV_AVX512_INLINE void mgv_store_bf16(uint16_t *y, __mmask16 m, __m512 x)
{
    _mm256_mask_storeu_epi16(y, m, (__m256i)_mm512_cvtneps_pbh(x));
}

/** 2^x: within 1.5e-7 of it. NaN stays NaN. */
MGV_AVX512_F32_INLINE __m512 mgv_exp2(__m512 x)
{
    const __m512 r = _mm512_reduce_ps(x, 9); // what is above the integer below, by which scalef() multiplies
    __m512 p = _mm512_set1_ps(1.87757669e-3f);

    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.98933969e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.58263175e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.40153611e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.93153083e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.99999940e-1f));
    return _mm512_scalef_ps(p, x);
}

/** 2^x on its way to bf16: within 8e-5 of it, a twentieth of what rounding may add. NaN stays NaN. */
MGV_AVX512_INLINE __m512 mgv_exp2_bf16(__m512 x)
{
    const __m512 r = _mm512_reduce_ps(x, 9); // what is above the integer below, by which scalef() multiplies
    __m512 p = _mm512_set1_ps(7.80245212e-2f);

    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.26067155e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.95833541e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.99925218e-1f));
    return _mm512_scalef_ps(p, x);
}

/**
 * x / (1 + 2^u) on its way to bf16: within 7e-5 of it, a thirtieth of what rounding may add. A large u makes the
 * divisor infinite and its inverse 0.
 */
MGV_AVX512_INLINE __m512 mgv_gate(__m512 x, __m512 u)
{
    const __m512 r = _mm512_reduce_ps(u, 9); // what is above the integer below, by which scalef() multiplies
    __m512 p = _mm512_set1_ps(1.35341679e-2f);

    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.20114606e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.41442757e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.93003834e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.00000259f));
    return _mm512_mul_ps(x, _mm512_rcp14_ps(_mm512_add_ps(_mm512_set1_ps(1.0f), _mm512_scalef_ps(p, u))));
}

#define MGV_LOG2E 0x1.715476p0f

MGV_AVX512_INLINE __m512 mgv_activate(__m512 x, enum MgvAct act)
{
    if (act == MGV_ACT_SILU)
        return mgv_gate(x, _mm512_mul_ps(x, _mm512_set1_ps(-MGV_LOG2E)));
    if (act == MGV_ACT_GELU_TANH) { // -2 log2(e) sqrt(2/pi) (x + 0.044715 x^3)
        const __m512 a = _mm512_set1_ps(-MGV_LOG2E * 0x1.988454p0f), b = _mm512_set1_ps(-MGV_LOG2E * 0x1.2444fap-4f);

        const __m512 u = _mm512_mul_ps(x, _mm512_fmadd_ps(_mm512_mul_ps(x, x), b, a));

        return mgv_gate(x, _mm512_max_ps(_mm512_set1_ps(-120.0f), u)); // below scalef() is slow: its result is no normal number
    }
    return x;
}

#endif

#endif /* MAGVIT_AVX512_H */
