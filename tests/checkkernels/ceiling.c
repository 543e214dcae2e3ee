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
 * What the processor can do: products of matrices by oneDNN, each thread its
 * own, the best of some sizes. No rounding, no tiles of ours: the ceiling that
 * models are measured against.
 */

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "libmagvit/backend.h"
#include "tests/checkkernels/checkkernels.h"

#if CONFIG_ONEDNN

#include "kernels/dnnl.h"

/** Processors differ in what they like best. */
static const struct { int rows, inputs, outputs; } shapes[] = {
    { 256, 512, 256 }, { 512, 512, 512 }, { 512, 1024, 1024 },
};
#define BATCH_MACS 1e8 ///< between two looks at the clock
#define SECONDS 0.7    ///< a shape
enum { MAX_THREADS = 256 };

typedef struct Product {
    MgvDevice *dev;
    enum MgvDnnlType type;
    int rows, inputs, outputs, batch;
    MgvDnnlPrim *prim;
    void *weights;
    char *memory;              ///< for each thread: x, y, what oneDNN needs
    size_t x_bytes, y_bytes, thread_bytes;
    double best[MAX_THREADS];  ///< seconds of a batch
    double rate;               ///< multiply-accumulates a second, best so far
} Product;

/**
 * Numbers like those of a model: processors slow down for multipliers whose inputs change many bits, a fifth with AMX,
 * and pages that were never written are all the same one, in cache.
 */
static void fill(const Product *p, char *x, size_t bytes)
{
    uint32_t seed = 1;

    for (size_t i = 0; i + 4 <= bytes; i += 4) {
        const float f = (float)(seed = seed * 1664525 + 1013904223) * 0x1p-31f - 1.0f;
        uint32_t bits;

        memcpy(&bits, &f, sizeof(bits));
        if (p->type == MGV_DNNL_INT8)
            bits = seed ^ seed >> 15;
        else if (p->type != MGV_DNNL_F32) // two of bf16
            bits = (bits & 0xffff0000) | (bits >> 16 ^ 0x8000);
        memcpy(x + i, &bits, sizeof(bits));
    }
}

static int multiply(const MgvKernelOp *o, void *arg, int tile, int thread)
{
    Product *p = arg;
    char *at = p->memory + thread * p->thread_bytes;
    const double start = mgv_time();

    (void)o, (void)tile;
    for (int i = 0; i < p->batch; i++) {
        const int status = mgv_dnnl_execute(p->prim, thread, at, p->weights, NULL, at + p->x_bytes,
                                            at + p->x_bytes + p->y_bytes);
        if (status)
            return status;
    }
    p->best[thread] = MGV_MIN(p->best[thread], mgv_time() - start);
    return 0;
}

static int measure_on_worker(void *arg)
{
    Product *p = arg;
    const MgvOp op = { .name = "ceiling" };
    const MgvKernelOp o = { .op = &op, .dev = p->dev, .log = &logger };
    const MgvDnnlMatmul m = { p->rows, p->outputs, p->inputs, p->inputs, p->outputs, 0, p->type, 0 };
    const ptrdiff_t strides[] = { p->outputs, 1 };
    float *plain = need(mgv_calloc((size_t)p->inputs * p->outputs, sizeof(*plain)));
    double macs = (double)p->rows * p->inputs * p->outputs, sum = 0;
    int ret = mgv_dnnl_matmul(&p->prim, &o, &m, NULL);

    for (int i = 0; i < p->inputs * p->outputs; i++)
        plain[i] = (float)(i * 2654435761u) * 0x1p-31f - 1.0f;
    if (ret >= 0)
        ret = mgv_dnnl_pack(&p->weights, &o, p->prim, plain, strides);
    if (ret >= 0) {
        p->x_bytes = MGV_ALIGN_UP((size_t)p->rows * p->inputs * sizeof(float), MGV_ALIGNMENT);
        p->y_bytes = MGV_ALIGN_UP((size_t)p->rows * p->outputs * sizeof(float), MGV_ALIGNMENT);
        p->thread_bytes = p->x_bytes + p->y_bytes + mgv_dnnl_scratch_bytes(p->prim);
        p->memory = need(mgv_calloc(p->dev->threads, p->thread_bytes));
        for (int i = 0; i < p->dev->threads; i++)
            fill(p, p->memory + i * p->thread_bytes, p->thread_bytes);
    }
    p->batch = MGV_MAX(1, (int)(BATCH_MACS / macs));
    for (int i = 0; i < p->dev->threads; i++)
        p->best[i] = INFINITY;
    for (double end = mgv_time() + SECONDS; ret >= 0 && mgv_time() < end;)
        ret = mgv_dnnl_tiles(&o, "matmul", 4 * p->dev->threads, multiply, p);
    for (int i = 0; i < p->dev->threads; i++)
        sum += macs * p->batch / p->best[i];
    p->rate = MGV_MAX(p->rate, sum);
    mgv_dnnl_free(&p->prim);
    mgv_freep(&p->weights);
    mgv_freep(&p->memory);
    mgv_freep(&plain);
    return ret;
}

int print_ceiling(int threads)
{
    static const struct { const char *name; enum MagvitPrecision precision; enum MgvDnnlType type; } types[] = {
        { "f32",  MAGVIT_PRECISION_F32,  MGV_DNNL_F32 },
        { "bf16", MAGVIT_PRECISION_BF16, MGV_DNNL_FASTEST },
        { "int8", MAGVIT_PRECISION_INT8, MGV_DNNL_INT8 },
    };
    int ret = 0;

    for (size_t i = 0; i < MGV_ARRAY_LEN(types) && ret >= 0; i++) {
        const MgvDeviceSettings settings = { NULL, threads, types[i].precision };
        const MagvitLogger silent = { NULL, NULL, MAGVIT_LOG_NONE };
        Product p = { .type = types[i].type };

        if (mgv_backend_cpu.open(&p.dev, &settings, i ? &silent : &logger) < 0)
            continue;
        for (size_t k = 0; k < MGV_ARRAY_LEN(shapes) && ret >= 0; k++) {
            p.rows    = shapes[k].rows;
            p.inputs  = shapes[k].inputs;
            p.outputs = shapes[k].outputs;
            ret = mgv_host_call(p.dev, measure_on_worker, &p);
        }
        if (ret >= 0)
            printf("%-5s %8.1f GMAC/s, %s\n", types[i].name, p.rate / 1e9, mgv_backend_cpu.describe(p.dev));
        mgv_backend_cpu.close(&p.dev);
    }
    return ret;
}

#else

int print_ceiling(int threads)
{
    (void)threads;
    printf("no oneDNN\n");
    return 0;
}

#endif
