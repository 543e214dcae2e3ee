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
 * What processor the cpu backend runs on.
 */

#ifndef MAGVIT_CPU_SIMD_H
#define MAGVIT_CPU_SIMD_H

/** Are functions of AVX-512 compiled? They may be called where the functions below say so. */
#if defined(__x86_64__) && defined(__GNUC__)
#define MGV_AVX512 1
#else
#define MGV_AVX512 0
#endif

#if MGV_AVX512
int mgv_avx512_f32(void); ///< is this a processor with AVX-512 F and DQ? Enough for float32
int mgv_avx512(void);     ///< is it one with AVX512_BF16, too?
#endif

/** Test switch, read when a device is opened and while it runs: there is no AVX-512. */
extern int mgv_cpu_plain;

#endif /* MAGVIT_CPU_SIMD_H */
