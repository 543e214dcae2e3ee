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
 * Elementwise operations and softmax rows in C that compilers turn into vector
 * code.
 */

#include "kernels/cpu.h"

int mgv_cpu_plain;

int mgv_cpu_no_memory(const MgvKernelOp *o)
{
    mgv_err(o->log, "%s: out of memory", o->op->name);
    return MAGVIT_ERR(ENOMEM);
}

MGV_CLONES static void narrow(uint16_t *restrict y, const float *restrict x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        y[i] = mgv_bf16(x[i]);
}

void mgv_cpu_bf16(uint16_t *restrict y, const float *restrict x, size_t n)
{
    mgv_cpu_act_bf16(y, x, n, MGV_ACT_NONE);
}

MGV_CLONES static void widen(float *restrict y, const uint16_t *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)x[i] << 16;

        memcpy(&y[i], &bits, sizeof(bits));
    }
}

void mgv_cpu_f32(float *restrict y, const uint16_t *restrict x, size_t n)
{
    widen(y, x, n);
}

/** Floats between a function and what follows it: compilers make vector code of either, but not of both in one loop. */
#define BLOCK 256
/** Floats that the widest vectors hold. */
#define VECTOR 16

MGV_CLONES static void silu_exponentials(float *restrict e, const float *restrict x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        e[i] = mgv_expf(mgv_silu_exponent(x[i]));
}

MGV_CLONES static void gelu_exponentials(float *restrict e, const float *restrict x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        e[i] = mgv_expf(mgv_gelu_exponent(x[i]));
}

MGV_CLONES static void divide(float *restrict x, const float *restrict e, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        x[i] /= 1.0f + e[i];
}

/* Where the limits of the exponential are in sight, compilers divide once for each case of them: hence two loops. */
static void act_block(float *x, size_t n, enum MgvAct act)
{
    float e[BLOCK];

    if (act == MGV_ACT_SILU)
        silu_exponentials(e, x, n);
    else
        gelu_exponentials(e, x, n);
    divide(x, e, n);
}

/* Whole vectors only: the code for what is left over may round otherwise, and where that is depends on the threads. */
void mgv_cpu_act(float *x, size_t n, enum MgvAct act)
{
    const size_t whole = n / VECTOR * VECTOR;
    float rest[VECTOR] = { 0 };

    if (act == MGV_ACT_NONE)
        return;
#if MGV_AVX512
    if (mgv_avx512_f32()) {
        mgv_avx512_act_f32(x, n, act);
        return;
    }
#endif
    for (size_t i = 0; i < whole; i += BLOCK)
        act_block(x + i, MGV_MIN(whole - i, BLOCK), act);
    if (whole < n) {
        memcpy(rest, x + whole, (n - whole) * sizeof(*x));
        act_block(rest, VECTOR, act);
        memcpy(x + whole, rest, (n - whole) * sizeof(*x));
    }
}

void mgv_cpu_act_bf16(uint16_t *restrict y, const float *restrict x, size_t n, enum MgvAct act)
{
    float block[BLOCK];

#if MGV_AVX512
    if (mgv_avx512()) {
        mgv_avx512_act(y, x, n, act);
        return;
    }
#endif
    for (size_t len; n; n -= len, x += len, y += len) {
        len = MGV_MIN(n, BLOCK);
        memcpy(block, x, len * sizeof(*block));
        mgv_cpu_act(block, len, act);
        narrow(y, block, len);
    }
}

MGV_CLONES static float greatest(const float *x, int n)
{
    return mgv_greatest(x, n);
}

float mgv_cpu_max(const float *x, int n)
{
    return greatest(x, n);
}

MGV_CLONES static float exponentials(float *x, int n, float max, float scale)
{
    float sum = 0.0f;

#pragma omp simd reduction(+: sum)
    for (int i = 0; i < n; i++) {
        x[i] = mgv_expf((x[i] - max) * scale);
        sum += x[i];
    }
    return sum;
}

float mgv_cpu_softmax(uint16_t *restrict y, float *restrict x, int n, float scale)
{
    float all;

#if MGV_AVX512
    if (y && mgv_avx512())
        return mgv_avx512_softmax(y, x, n, scale);
#endif
    all = exponentials(x, n, greatest(x, n), scale);
    if (y)
        narrow(y, x, n);
    return all;
}

MGV_CLONES static void sum(float *restrict out, const float *a, const float *b, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
}

MGV_CLONES static void accumulate(float *restrict y, const float *restrict x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

void mgv_cpu_add(float *restrict y, const float *restrict x, size_t n)
{
    accumulate(y, x, n);
}

void mgv_cpu_stream(void *restrict y, const void *restrict x, size_t bytes)
{
#if MGV_AVX512
    if (mgv_avx512() && (uintptr_t)y % 64 == 0) {
        mgv_avx512_stream(y, x, bytes);
        return;
    }
#endif
    memcpy(y, x, bytes);
}

static int add_prepare(MgvKernelOp *o)
{
    if (!o->op->weight[0])
        return 0;
    o->priv = mgv_host_weight(o, 0);
    if (!o->priv)
        return mgv_cpu_no_memory(o);
    o->weight_bytes = (size_t)o->op->weight[0]->elements * sizeof(float);
    return 0;
}

static void priv_free(MgvKernelOp *o)
{
    mgv_freep(&o->priv);
}

static int add_cpu(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    const int64_t sample = (int64_t)o->out.t * o->out.h * o->out.w * o->out.c, n = o->out.n * sample;
    const int64_t end = mgv_share(n, job + 1, nb_jobs);
    const float *a = in[0];
    float *y = out;

    if (o->rows && o->priv) {
        for (int64_t r = mgv_share(o->out.w, job, nb_jobs); r < mgv_share(o->out.w, job + 1, nb_jobs); r++)
            sum(y + r * o->out.c, a + r * o->out.c, (const float *)o->priv + (int64_t)o->rows[r] * o->out.c, o->out.c);
        return 0;
    }
    for (int64_t i = mgv_share(n, job, nb_jobs), next; i < end; i = next) {
        next = o->priv ? MGV_MIN(end, (i / sample + 1) * sample) : end;
        sum(y + i, a + i, o->priv ? (const float *)o->priv + i % sample : (const float *)in[1] + i, next - i);
    }
    return 0;
}

const MgvKernel mgv_add_cpu = { .prepare = add_prepare, .run = add_cpu, .unprepare = priv_free };

static int act_cpu(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    const int64_t n = mgv_shape_elements(o->out), block = 4096;
    const int64_t end = mgv_share(n, job + 1, nb_jobs);

    for (int64_t i = mgv_share(n, job, nb_jobs), len; i < end; i += len) {
        float *y = (float *)out + i;

        len = MGV_MIN(block, end - i);
        memcpy(y, (const float *)in[0] + i, len * sizeof(*y));
        mgv_cpu_act(y, len, o->op->act);
    }
    return 0;
}

const MgvKernel mgv_act_cpu = { .run = act_cpu };

void mgv_cpu_kernels(MgvKernelTable table)
{
    table[MGV_OP_ADD] = mgv_add_cpu;
    table[MGV_OP_ACT] = mgv_act_cpu;
    table[MGV_OP_GROUP_NORM] = mgv_group_norm_cpu;
    table[MGV_OP_LAYER_NORM] = mgv_layer_norm_cpu;
    table[MGV_OP_POOL] = mgv_pool_cpu;
    table[MGV_OP_UPSAMPLE] = mgv_upsample_cpu;
}
