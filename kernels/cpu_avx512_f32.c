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
 * What a device that multiplies float32 spends its time with besides products, by AVX-512. Elsewhere the plain C of
 * cpu_pointwise.c does the same.
 */

#include "kernels/cpu_avx512_f32.h"

#if MGV_AVX512

#define TARGET MGV_AVX512_F32_TARGET
#define INLINE MGV_AVX512_F32_INLINE
#define LANES  MGV_LANES

int mgv_avx512_f32(void)
{
    return !mgv_cpu_plain && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
}

INLINE void act_loop(float *x, size_t n, const enum MgvAct act)
{
    size_t i = 0;

    for (; i + LANES <= n; i += LANES)
        _mm512_storeu_ps(x + i, mgv_f32_activate(_mm512_loadu_ps(x + i), act));
    if (i < n) {
        const __mmask16 m = mgv_first(n - i);

        _mm512_mask_storeu_ps(x + i, m, mgv_f32_activate(_mm512_maskz_loadu_ps(m, x + i), act));
    }
}

TARGET void mgv_avx512_act_f32(float *x, size_t n, enum MgvAct act)
{
    if (act == MGV_ACT_SILU)
        act_loop(x, n, MGV_ACT_SILU);
    else if (act == MGV_ACT_GELU_TANH)
        act_loop(x, n, MGV_ACT_GELU_TANH);
}

#endif /* MGV_AVX512 */
