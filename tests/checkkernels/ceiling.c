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
 * own. No rounding, no tiles of ours: the ceilings that models are measured
 * against. The peak is the best of some sizes that stay in the caches; the other
 * is that of a layer of model B, whose weights do not.
 */

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "libmagvit/backend.h"
#include "tests/checkkernels/checkkernels.h"

#if CONFIG_ONEDNN

#include "kernels/dnnl.h"

typedef struct Shape {
    int rows, inputs, outputs;
    int times; ///< of a layer that has so many of them, 0: for the peak
} Shape;

/* Processors differ in what they like best. */
static const Shape shapes[] = {
    { 256, 512, 256, 0 }, { 512, 512, 512, 0 }, { 512, 1024, 1024, 0 },
    { 1026, 768, 768, 4 }, { 1026, 768, 3072, 1 }, { 1026, 3072, 768, 1 },
};
#define BATCH_MACS 1e8 ///< between two looks at the clock
#define SECONDS 0.7    ///< a shape
enum { MAX_THREADS = 256 };
/** At their fastest, and on average: neighbours may use the same processor. */
enum { BEST, MEAN, NB_RATES };

typedef struct Product {
    MgvDevice *dev;
    enum MgvDnnlType type;
    Shape shape;
    int batch;
    MgvDnnlPrim *prim;
    void *weights;
    char *memory;              ///< for each thread: x, y, what oneDNN needs
    size_t x_bytes, y_bytes, thread_bytes;
    struct { double best, all; int nb; } batches[MAX_THREADS]; ///< seconds, and how many there were
    double rate[NB_RATES];     ///< multiply-accumulates a second
} Product;

/** Of a type. */
typedef struct Ceiling {
    double peak[NB_RATES];              ///< multiply-accumulates a second
    double layer_macs, layer[NB_RATES]; ///< and of a layer, seconds
} Ceiling;

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
    double seconds;

    (void)o, (void)tile;
    for (int i = 0; i < p->batch; i++) {
        const int status = mgv_dnnl_execute(p->prim, thread, at, p->weights, NULL, at + p->x_bytes,
                                            at + p->x_bytes + p->y_bytes);
        if (status)
            return status;
    }
    seconds = mgv_time() - start;
    p->batches[thread].best = MGV_MIN(p->batches[thread].best, seconds);
    p->batches[thread].all += seconds;
    p->batches[thread].nb++;
    return 0;
}

static int measure_on_worker(void *arg)
{
    Product *p = arg;
    const int rows = p->shape.rows, inputs = p->shape.inputs, outputs = p->shape.outputs;
    const MgvOp op = { .name = "ceiling" };
    const MgvKernelOp o = { .op = &op, .dev = p->dev, .log = &logger };
    const MgvDnnlMatmul m = { rows, outputs, inputs, inputs, outputs, 0, p->type, 0 };
    const ptrdiff_t strides[] = { outputs, 1 };
    float *plain = need(mgv_calloc((size_t)inputs * outputs, sizeof(*plain)));
    const double macs = (double)rows * inputs * outputs;
    int ret = mgv_dnnl_matmul(&p->prim, &o, &m, NULL);

    for (int i = 0; i < inputs * outputs; i++)
        plain[i] = (float)(i * 2654435761u) * 0x1p-31f - 1.0f;
    if (ret >= 0)
        ret = mgv_dnnl_pack(&p->weights, &o, p->prim, plain, strides);
    if (ret >= 0) {
        p->x_bytes = MGV_ALIGN_UP((size_t)rows * inputs * sizeof(float), MGV_ALIGNMENT);
        p->y_bytes = MGV_ALIGN_UP((size_t)rows * outputs * sizeof(float), MGV_ALIGNMENT);
        p->thread_bytes = p->x_bytes + p->y_bytes + mgv_dnnl_scratch_bytes(p->prim);
        p->memory = need(mgv_calloc(p->dev->threads, p->thread_bytes));
        for (int i = 0; i < p->dev->threads; i++)
            fill(p, p->memory + i * p->thread_bytes, p->thread_bytes);
    }
    p->batch = MGV_MAX(1, (int)(BATCH_MACS / macs));
    for (int i = 0; i < p->dev->threads; i++)
        p->batches[i].best = INFINITY;
    for (double end = mgv_time() + SECONDS; ret >= 0 && mgv_time() < end;)
        ret = mgv_dnnl_tiles(&o, "matmul", 4 * p->dev->threads, multiply, p);
    for (int i = 0; i < p->dev->threads; i++) {
        if (!p->batches[i].nb) // it got no processor
            continue;
        p->rate[BEST] += macs * p->batch / p->batches[i].best;
        p->rate[MEAN] += macs * p->batch * p->batches[i].nb / p->batches[i].all;
    }
    mgv_dnnl_free(&p->prim);
    mgv_freep(&p->weights);
    mgv_freep(&p->memory);
    mgv_freep(&plain);
    return ret;
}

/** @return 0, or an error, which is logged */
static int measure(Ceiling *c, MgvDevice *dev, enum MgvDnnlType type)
{
    for (size_t i = 0; i < MGV_ARRAY_LEN(shapes); i++) {
        const Shape *s = &shapes[i];
        const double macs = (double)s->rows * s->inputs * s->outputs * s->times;
        Product p = { .dev = dev, .type = type, .shape = *s };
        const int ret = mgv_host_call(dev, measure_on_worker, &p);

        if (ret < 0)
            return ret;
        for (int k = 0; k < NB_RATES; k++) {
            if (s->times)
                c->layer[k] += macs / p.rate[k];
            else
                c->peak[k] = MGV_MAX(c->peak[k], p.rate[k]);
        }
        c->layer_macs += macs;
    }
    return 0;
}

int print_ceiling(int threads, const char *precision)
{
    static const struct { const char *name; enum MagvitPrecision precision; enum MgvDnnlType type; } types[] = {
        { "f32",  MAGVIT_PRECISION_F32,  MGV_DNNL_F32 },
        { "bf16", MAGVIT_PRECISION_BF16, MGV_DNNL_FASTEST },
        { "int8", MAGVIT_PRECISION_INT8, MGV_DNNL_INT8 },
    };
    int ret = 0, is_type = !precision;

    for (size_t i = 0; i < MGV_ARRAY_LEN(types); i++)
        is_type = is_type || !strcmp(precision, types[i].name);
    if (!is_type) {
        fprintf(stderr, "checkkernels: --precision is \"%s\", expected f32, bf16 or int8\n", precision);
        return -1;
    }
    for (size_t i = 0; i < MGV_ARRAY_LEN(types) && ret >= 0; i++) {
        const MgvDeviceSettings settings = { NULL, threads, types[i].precision };
        const MagvitLogger silent = { NULL, NULL, MAGVIT_LOG_NONE };
        Ceiling c = { 0 };
        MgvDevice *dev;

        if ((precision && strcmp(precision, types[i].name)) || mgv_backend_cpu.open(&dev, &settings, i ? &silent : &logger) < 0)
            continue;
        ret = measure(&c, dev, types[i].type);
        if (ret >= 0)
            printf("%-5s %7.1f GMAC/s, on average %7.1f; a layer %7.1f, on average %7.1f; %s\n", types[i].name,
                   c.peak[BEST] / 1e9, c.peak[MEAN] / 1e9, c.layer_macs / c.layer[BEST] / 1e9,
                   c.layer_macs / c.layer[MEAN] / 1e9, mgv_backend_cpu.describe(dev));
        mgv_backend_cpu.close(&dev);
    }
    return ret;
}

#else

int print_ceiling(int threads, const char *precision)
{
    (void)threads, (void)precision;
    printf("no oneDNN\n");
    return 0;
}

#endif
