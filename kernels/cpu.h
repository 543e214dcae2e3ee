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
 * What the kernels of the cpu backend share that is plain C: vectorisable
 * functions, and a table of the operations that oneDNN is not needed for.
 */

#ifndef MAGVIT_CPU_H
#define MAGVIT_CPU_H

#include <string.h>

#include "kernels/cpu_simd.h"
#include "kernels/host.h"

/** Upper half of the bits, to nearest even. NaN stays NaN. Masks instead of branches, for vector code. */
MGV_INLINE uint16_t mgv_bf16(float x)
{
    uint32_t bits, nan;

    memcpy(&bits, &x, sizeof(bits));
    nan = -(uint32_t)((bits & 0x7fffffff) > 0x7f800000);
    return (uint16_t)(((bits + ((0x7fff + (bits >> 16 & 1)) & ~nan)) | (nan & 0x400000)) >> 16);
}

/** Both activations are x / (1 + exp(u)). 0.5 x (1 + tanh(v)) is x / (1 + exp(-2v)). */
MGV_INLINE float mgv_silu_exponent(float x)
{
    return -x;
}

MGV_INLINE float mgv_gelu_exponent(float x)
{
    return -x * (0x1.988454p0f + 0x1.2444fap-4f * x * x); // -2 sqrt(2/pi) (x + 0.044715 x^3)
}

/** Values in one of two types; the other pointer is NULL. */
typedef struct MgvValues {
    const float *f32;
    const uint16_t *bf16;
} MgvValues;

/** Floats if there are, NULL if there are none. */
MGV_INLINE MgvValues mgv_values(const float *f32, const uint16_t *bf16)
{
    return (MgvValues){ f32, f32 ? NULL : bf16 };
}

/** Those from value n on. */
MGV_INLINE MgvValues mgv_values_at(MgvValues x, int64_t n)
{
    return (MgvValues){ x.f32 ? x.f32 + n : NULL, x.bf16 ? x.bf16 + n : NULL };
}

#if MGV_AVX512
/* Where mgv_avx512_f32() says so. */
void mgv_avx512_act_f32(float *x, size_t n, enum MgvAct act);
/* Where mgv_avx512() says so. */
void mgv_avx512_act(uint16_t *restrict y, const float *restrict x, size_t n, enum MgvAct act);
float mgv_avx512_softmax(uint16_t *restrict y, const float *restrict x, int n, float scale);
/** y = act((x - coef[0]) * coef[1] + coef[2]) over rows of span values, as many of each coefficient, n values in all. */
void mgv_avx512_affine(uint16_t *restrict y, MgvValues x, int64_t n, int span, const float *restrict coef, enum MgvAct act);
/** A row of n values. y: may be x, or NULL; y16: the same in bf16, or NULL */
void mgv_avx512_layer_norm(float *y, uint16_t *y16, const float *x, int n, float eps, const float *restrict scale,
                           const float *restrict bias);
/** Copy past the caches. y: aligned to 64 bytes */
void mgv_avx512_stream(void *restrict y, const void *restrict x, size_t bytes);
/** Mean of each of span columns of rows * span values, sum of differences from it, sum of their squares. */
void mgv_avx512_column_stats(float *restrict stat, MgvValues x, int64_t rows, int span);
#endif

/** First of a job's share of n items. */
MGV_INLINE int64_t mgv_share(int64_t n, int job, int nb_jobs)
{
    return n * job / nb_jobs;
}

/** Log that an op's memory is out. @return MAGVIT_ERR(ENOMEM) */
int mgv_cpu_no_memory(const MgvKernelOp *o);

/** A row of activations in 8 bits: x = scale * (q - zero). scale: NaN if a value was not finite. */
typedef struct MgvInt8Row {
    float scale;
    int32_t zero;
} MgvInt8Row;

/** Weights in 8 bits, one of each a row of them, which is an output channel. */
typedef struct MgvInt8Columns {
    float *scale;
    int32_t *sum; ///< of the integers
    float *bias;  ///< never NULL
} MgvInt8Columns;

/** Rows with a smaller range count as 0: their reciprocal scale would overflow. */
#define MGV_INT8_MIN_RANGE 1e-30f

/** Round n values to q in [0,255]. */
MgvInt8Row mgv_cpu_quantize(uint8_t *restrict q, const float *restrict x, int n);

/** y: n sums of integer products as int32_t, which become floats in place: scaled, with bias. */
void mgv_cpu_dequantize(float *y, int n, MgvInt8Row row, const MgvInt8Columns *c);

/** Most inputs of a sum: 255 * 128 * inputs must fit 31 bits. */
#define MGV_INT8_MAX_CIN 65536

/** w: [cout,cin], rounded in place to integers in [-127,127]. bias: [cout] or NULL. MAGVIT_ERR(ENOMEM), not logged */
int mgv_int8_alloc(MgvInt8Columns *c, float *w, const float *bias, int cout, int cin);
void mgv_int8_free(MgvInt8Columns *c);

/** y[i] = x[i] in bf16, to nearest even. */
void mgv_cpu_bf16(uint16_t *restrict y, const float *restrict x, size_t n);

/** y[i] = x[i] */
void mgv_cpu_f32(float *restrict y, const uint16_t *restrict x, size_t n);

/** Apply act to n values in place. */
void mgv_cpu_act(float *x, size_t n, enum MgvAct act);

/** y[i] = act(x[i]) in bf16. */
void mgv_cpu_act_bf16(uint16_t *restrict y, const float *restrict x, size_t n, enum MgvAct act);

/** Greatest of n >= 1 values. */
float mgv_cpu_max(const float *x, int n);

/** x[i] = exp((x[i] - max) * scale), scale > 0; y not NULL: there in bf16 instead. @return the sum */
float mgv_cpu_softmax(uint16_t *restrict y, float *restrict x, int n, float scale);

/** Is the device to multiply in bf16 what it does not in 8 bits? */
MGV_INLINE int mgv_cpu_is_bf16(const MgvDevice *dev)
{
    return dev->bf16;
}

/** Is a linear layer to be multiplied in 8 bits? */
MGV_INLINE int mgv_cpu_is_int8(const MgvKernelOp *o)
{
    return o->dev->precision == MAGVIT_PRECISION_INT8 && !o->op->keep16;
}

/** Offset of the first of a sample's tokens in a head of ATTENTION o, heads counted through all samples. */
MGV_INLINE int64_t mgv_cpu_head(const MgvKernelOp *o, int tokens, int head)
{
    const int heads = o->op->u.attention.heads;

    return head / heads * (int64_t)tokens * o->out.c + head % heads * (o->out.c / heads);
}

/** y[i] += x[i] */
void mgv_cpu_add(float *restrict y, const float *restrict x, size_t n);

/** Copy past the caches where the processor can and y is aligned. */
void mgv_cpu_stream(void *restrict y, const void *restrict x, size_t bytes);

/** LAYER_NORM o of rows of x; y may be x. y16: NULL, or for the same in bf16. */
void mgv_cpu_layer_norm(const MgvKernelOp *o, float *y, uint16_t *y16, const float *x, int64_t rows);

/**
 * GROUP_NORM o in parts, for what writes its input or reads its output. Rows of pixels are counted through all planes
 * of all samples; x and y point to the first of those meant.
 */

/** Rows come in multiples of this, and the height is one. */
int mgv_cpu_norm_rows(MgvShape s);
/** Take the statistics of rows of its input to stat, which has o->stat_bytes. */
void mgv_cpu_norm_stats(const MgvKernelOp *o, void *stat, MgvValues x, int64_t row, int rows, int thread);
/** Finish the statistics, after taking them all of x unless o->has_stats. Not in a team. */
void mgv_cpu_norm_measure(const MgvKernelOp *o, void *stat, MgvValues x);
/** Normalise rows, after measuring. y, y16: NULL or for float and bf16. */
void mgv_cpu_norm_apply(const MgvKernelOp *o, float *y, uint16_t *y16, MgvValues x, int64_t row, int rows);

/** Row r of the output of UPSAMPLE o, counted through all planes. y, y16: NULL or for float and bf16. */
void mgv_cpu_upsample_row(const MgvKernelOp *o, float *y, uint16_t *y16, const float *in, int64_t r);

/** Override ADD, ACT, GROUP_NORM, LAYER_NORM, POOL and UPSAMPLE. */
void mgv_cpu_kernels(MgvKernelTable table);

extern const MgvKernel mgv_add_cpu;
extern const MgvKernel mgv_act_cpu;
extern const MgvKernel mgv_group_norm_cpu;
extern const MgvKernel mgv_layer_norm_cpu;
extern const MgvKernel mgv_pool_cpu;
extern const MgvKernel mgv_upsample_cpu;

#endif /* MAGVIT_CPU_H */
