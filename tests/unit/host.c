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

/*
 * The executor and the reference kernels: small cases with results worked out
 * by hand, and that threads, memory and settings behave. Whole networks are
 * the golden tests' business.
 */

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "config.h"
#include "kernels/host.h"
#include "tests/unit/unit.h"
#if CONFIG_OPENMP
#include <omp.h>
#endif

static const UnitTensor tensors[] = {
    { "conv.weight", { 4, 3, 3, 3, 3 } }, { "conv.bias", { 4 } },
    { "point.weight", { 8, 4, 1, 1, 1 } },
    { "norm.weight", { 8 } }, { "norm.bias", { 8 } },
    { "linear.weight", { 8, 8 } }, { "linear.bias", { 8 } },
    { "table.weight", { 6, 8 } }, { "wide.bias", { 6 } },
    { NULL, { 0 } }
};

static MgvSafetensors *open_weights(void)
{
    MgvSafetensors *st = NULL;

    CU_ASSERT_EQUAL_FATAL(mgv_safetensors_open(&st, unit_weights("weights", tensors, 1), &unit_log), 0);
    return st;
}

static MgvDevice *open_device(int threads)
{
    const MgvDeviceSettings s = { NULL, threads, MAGVIT_PRECISION_F32 };
    MgvDevice *dev = NULL;

    CU_ASSERT_EQUAL_FATAL(mgv_host_open(&dev, &s, &unit_log), 0);
    return dev;
}

/** A plan from one input to the tensor x. */
typedef struct Case {
    MgvPlan *p;
    MgvT x;
} Case;

static Case begin(const MgvSafetensors *st, MgvShape shape, enum MgvDType type)
{
    Case c = { NULL, -1 };

    CU_ASSERT_EQUAL_FATAL(mgv_plan_alloc(&c.p, "case", st, &unit_log), 0);
    c.x = mgv_plan_input(c.p, "in", shape, type);
    return c;
}

/* Run the plan whose result is c->x, on two threads, and free it. */
static void finish(Case *c, const void *in, void *out)
{
    MgvDevice *dev = open_device(2);
    MgvPlan *p = c->p;
    MgvExec *exec = NULL;

    mgv_plan_output(p, "out", c->x);
    CU_ASSERT_EQUAL_FATAL(mgv_plan_finish(p), 0);
    CU_ASSERT_EQUAL_FATAL(mgv_host_compile(&exec, dev, p), 0);
    CU_ASSERT_EQUAL(mgv_host_write(exec, p->inputs[0], in, p->tensors[p->inputs[0]].size), 0);
    CU_ASSERT_EQUAL(mgv_host_run(exec), 0);
    CU_ASSERT_EQUAL(mgv_host_read(exec, c->x, out, p->tensors[c->x].size), 0);
    mgv_host_free(&exec);
    mgv_plan_free(&c->p);
    mgv_host_close(&dev);
}

static int near(float a, double b)
{
    return fabs(a - b) <= 1e-6 * fmax(1, fabs(b));
}

/* Model file of one or two tensors with given values. */
static MgvSafetensors *weights_of(const char *header, const float *values, size_t n)
{
    uint8_t buf[2048] = { 0 };
    size_t length = strlen(header);
    MgvSafetensors *st = NULL;

    buf[0] = (uint8_t)length;
    buf[1] = (uint8_t)(length >> 8);
    memcpy(buf + 8, header, length);
    memcpy(buf + 8 + length, values, n * sizeof(*values));
    CU_ASSERT_EQUAL_FATAL(mgv_safetensors_open(&st, unit_write("given", buf, 8 + length + n * sizeof(*values)), &unit_log), 0);
    return st;
}

/* One channel, weight 1 at one tap only: the convolution is a shift, so padding shows directly. */
static void check_shift(enum MgvPad pad, int tap, MgvShape s, const float *in, const float *want)
{
    float w[27] = { 0 }, out[8] = { 0 };
    MgvSafetensors *st;
    Case c;
    size_t i;

    w[tap] = 1;
    st = weights_of("{\"c.weight\":{\"dtype\":\"F32\",\"shape\":[1,1,3,3,3],\"data_offsets\":[0,108]}}", w, 27);
    c = begin(st, s, MGV_F32);
    c.x = mgv_conv3d(c.p, "c", c.x, 1, 3, pad, 0, MGV_ACT_NONE);
    finish(&c, in, out);
    for (i = 0; i < mgv_shape_elements(s); i++)
        CU_ASSERT_EQUAL(out[i], want[i]);
    mgv_safetensors_close(&st);
}

/* Taps are [kt,kh,kw]: tap 12 looks one to the left in W, 14 to the right, 10 up in H, 4 back in T, 22 forth. */
static void test_conv_padding(void)
{
    const MgvShape w3 = { 1, 1, 1, 3, 1 }, h3 = { 1, 1, 3, 1, 1 }, t3 = { 1, 3, 1, 1, 1 }, w2 = { 1, 1, 1, 2, 1 };
    const float in[] = { 1, 2, 3 };

    check_shift(MGV_PAD_ZERO, 12, w3, in, (const float[]){ 0, 1, 2 });
    check_shift(MGV_PAD_ZERO, 14, w3, in, (const float[]){ 2, 3, 0 });
    check_shift(MGV_PAD_ZERO, 10, w3, in, (const float[]){ 0, 0, 0 });
    check_shift(MGV_PAD_REFLECT, 12, w3, in, (const float[]){ 2, 1, 2 });
    check_shift(MGV_PAD_REFLECT, 14, w3, in, (const float[]){ 2, 3, 2 });
    check_shift(MGV_PAD_REFLECT, 10, h3, in, (const float[]){ 2, 1, 2 });
    check_shift(MGV_PAD_REFLECT, 4, t3, in, (const float[]){ 2, 1, 2 });
    check_shift(MGV_PAD_REFLECT, 22, t3, in, (const float[]){ 2, 3, 2 });
    check_shift(MGV_PAD_REFLECT, 12, w2, in, (const float[]){ 2, 1 });
    check_shift(MGV_PAD_REFLECT, 10, w3, in, (const float[]){ 1, 2, 3 }); /* an axis of length 1 replicates */
    check_shift(MGV_PAD_REFLECT, 0, w3, in, (const float[]){ 2, 1, 2 });
}

/* Two samples, two groups of two channels each. */
static void test_group_norm(void)
{
    static const char header[] = "{\"n.weight\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},"
                                 "\"n.bias\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,32]}}";
    const float w[] = { 1, 2, 1, 1, 0, 0.5f, 0, 0 };
    const float in[] = { 1, 3, 5, 5, 1, 3, 5, 5, /* second sample */ 0, 0, 1, 2, 4, 4, 3, 4 };
    MgvSafetensors *st = weights_of(header, w, 8);
    Case c = begin(st, (MgvShape){ 2, 1, 1, 2, 4 }, MGV_F32);
    double r = sqrt(1.25);
    float out[16];

    c.x = mgv_group_norm(c.p, "n", c.x, 2, 1e-12f, MGV_ACT_NONE);
    finish(&c, in, out);
    CU_ASSERT(near(out[0], -1) && near(out[1], 2.5) && near(out[2], 0) && near(out[3], 0));
    CU_ASSERT(near(out[4], -1) && near(out[5], 2.5));
    CU_ASSERT(near(out[8], -1) && near(out[9], -1.5) && near(out[12], 1) && near(out[13], 2.5));
    CU_ASSERT(near(out[10], -1.5 / r) && near(out[11], -0.5 / r) && near(out[14], 0.5 / r) && near(out[15], 1.5 / r));
    mgv_safetensors_close(&st);
}

static void test_linear(void)
{
    static const char header[] = "{\"l.weight\":{\"dtype\":\"F32\",\"shape\":[3,2],\"data_offsets\":[0,24]},"
                                 "\"l.bias\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[24,36]}}";
    const float w[] = { 1, 2, 3, 4, 5, 6, 0.5f, -1, 2 }, in[] = { 1, 1, 2, -1 };
    MgvSafetensors *st = weights_of(header, w, 9);
    Case c = begin(st, (MgvShape){ 1, 1, 1, 2, 2 }, MGV_F32);
    float out[6];

    c.x = mgv_linear(c.p, "l", c.x, 3, MGV_ACT_NONE);
    finish(&c, in, out);
    CU_ASSERT(out[0] == 3.5f && out[1] == 6 && out[2] == 13 && out[3] == 0.5f && out[4] == 1 && out[5] == 6);
    c = begin(st, (MgvShape){ 1, 1, 1, 2, 2 }, MGV_F32);
    c.x = mgv_linear_tied(c.p, "t", c.x, "l.weight", "l.bias", 2);
    finish(&c, in, out);
    CU_ASSERT(out[0] == 3.5f && out[1] == 6 && out[2] == 0.5f && out[3] == 1);
    mgv_safetensors_close(&st);
}

/* Keys that agree make an average; one key far ahead makes a copy. Two heads of one channel. */
static void test_attention(void)
{
    const float in[] = { 0, 1, 0, 3, 0, 8 };
    Case c = begin(NULL, (MgvShape){ 1, 1, 1, 3, 2 }, MGV_F32);
    double e[3], sum = 0, mean = 0;
    float out[6];
    int i;

    c.x = mgv_attention(c.p, "a", c.x, c.x, c.x, 2);
    finish(&c, in, out);
    for (i = 0; i < 3; i++) {
        e[i] = exp(in[2 * i + 1] - 8.0); /* the first query is 1, d is 1 */
        sum += e[i];
        mean += e[i] * in[2 * i + 1];
    }
    CU_ASSERT(out[0] == 0 && out[2] == 0 && out[4] == 0);
    CU_ASSERT(near(out[1], mean / sum));
    CU_ASSERT(near(out[5], 8));
}

static void test_act(void)
{
    const float in[] = { 0, 1, -1, 20, -20, 100, -100, 0.5f };
    Case c = begin(NULL, (MgvShape){ 1, 1, 1, 1, 8 }, MGV_F32);
    float out[8];

    c.x = mgv_act(c.p, "a", c.x, MGV_ACT_SILU);
    finish(&c, in, out);
    CU_ASSERT(out[0] == 0 && near(out[1], 0.7310585786) && near(out[2], -0.2689414214) && near(out[3], 20));
    CU_ASSERT(near(out[5], 100) && fabsf(out[6]) < 1e-30f);
    c = begin(NULL, (MgvShape){ 1, 1, 1, 1, 8 }, MGV_F32);
    c.x = mgv_act(c.p, "a", c.x, MGV_ACT_GELU_TANH);
    finish(&c, in, out);
    CU_ASSERT(out[0] == 0 && near(out[1], 0.8411919906) && near(out[2], -0.1588080094) && near(out[5], 100));
    CU_ASSERT(out[6] == 0 && near(out[7], 0.3457140221));
}

static void test_resample(void)
{
    const float in[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };
    Case c = begin(NULL, (MgvShape){ 1, 1, 3, 3, 1 }, MGV_F32);
    float out[36];
    int i;

    c.x = mgv_pool(c.p, "p", c.x, 2, 2, 2);
    finish(&c, in, out);
    CU_ASSERT(out[0] == 3 && out[1] == 4.5f && out[2] == 7.5f && out[3] == 9);
    c = begin(NULL, (MgvShape){ 1, 3, 1, 3, 1 }, MGV_F32);
    c.x = mgv_upsample(c.p, "u", c.x, 2, 1, 2);
    finish(&c, in, out);
    for (i = 0; i < 36; i++)
        CU_ASSERT_EQUAL(out[i], in[i / 12 * 3 + i % 6 / 2]);
}

static void test_lookup(void)
{
    static const char header[] = "{\"t.weight\":{\"dtype\":\"F32\",\"shape\":[4,2],\"data_offsets\":[0,32]}}";
    const float table[] = { 3, 4, 1, 0, 1, 0, 0, 9 };
    const int32_t ids[] = { 2, -5, 100, 0 };
    const float in[] = { 1, 0, 30, 40, 0, 5, 2, 2 }, rows[] = { 1, 1, 1, 1, 1, 1, 1, 1 };
    MgvSafetensors *st = weights_of(header, table, 8);
    Case c = begin(st, (MgvShape){ 1, 1, 2, 2, 1 }, MGV_I32);
    int32_t codes[4];
    float out[8];

    c.x = mgv_embed(c.p, "t", c.x);
    finish(&c, ids, out);
    CU_ASSERT(!memcmp(out, (const float[]){ 1, 0, 3, 4, 0, 9, 3, 4 }, sizeof(out)));
    c = begin(st, (MgvShape){ 1, 1, 2, 2, 2 }, MGV_F32);
    c.x = mgv_vq_argmin(c.p, "q", c.x, "t", 0);
    finish(&c, in, codes);
    CU_ASSERT(codes[0] == 1 && codes[1] == 3 && codes[2] == 0 && codes[3] == 0); /* rows 1 and 2 tie, 0 and 1 too */
    c = begin(st, (MgvShape){ 1, 1, 2, 2, 2 }, MGV_F32);
    c.x = mgv_vq_argmin(c.p, "q", c.x, "t", 1);
    finish(&c, in, codes);
    CU_ASSERT(codes[0] == 1 && codes[1] == 0 && codes[2] == 3 && codes[3] == 0);
    c = begin(st, (MgvShape){ 2, 1, 1, 2, 2 }, MGV_F32);
    c.x = mgv_add_rows(c.p, "t", c.x);
    finish(&c, rows, out);
    CU_ASSERT(!memcmp(out, (const float[]){ 4, 5, 2, 1, 4, 5, 2, 1 }, sizeof(out)));
    mgv_safetensors_close(&st);
}

/* All ops in one plan. Input [1,3,1,6,3], output [1,1,1,6,6]. */
static MgvPlan *all_ops(const MgvSafetensors *st)
{
    MgvPlan *p;
    MgvT x, y;

    CU_ASSERT_EQUAL_FATAL(mgv_plan_alloc(&p, "all", st, &unit_log), 0);
    x = mgv_plan_input(p, "clip", (MgvShape){ 1, 3, 1, 6, 3 }, MGV_F32);
    x = mgv_conv3d(p, "conv", x, 4, 3, MGV_PAD_REFLECT, 1, MGV_ACT_NONE);
    x = mgv_conv3d(p, "point", x, 8, 1, MGV_PAD_ZERO, 0, MGV_ACT_NONE);
    x = mgv_group_norm(p, "norm", x, 4, 1e-6f, MGV_ACT_SILU);
    x = mgv_pool(p, "pool", x, 2, 1, 2);
    x = mgv_pool(p, "pool", x, 2, 1, 1);
    x = mgv_upsample(p, "upsample", x, 1, 1, 2);
    y = mgv_vq_argmin(p, "quantizer", x, "table", 0);
    y = mgv_embed(p, "table", y);
    x = mgv_add(p, "sum", x, y);
    x = mgv_add_rows(p, "table", x);
    y = mgv_linear(p, "linear", x, 8, MGV_ACT_GELU_TANH);
    x = mgv_attention(p, "attention", x, y, y, 2);
    x = mgv_layer_norm(p, "norm", x, 1e-12f);
    x = mgv_act(p, "act", x, MGV_ACT_SILU);
    x = mgv_linear_tied(p, "tied", x, "table.weight", "wide.bias", 6);
    mgv_plan_output(p, "y", x);
    CU_ASSERT_EQUAL_FATAL(mgv_plan_finish(p), 0);
    return p;
}

static int run_all(const MgvBackend *b, MgvExec *exec, const MgvPlan *p, float out[36])
{
    float in[54];
    uint64_t state = 3;
    int i, ret;

    for (i = 0; i < 54; i++)
        in[i] = unit_float(&state);
    RET(b->write(exec, p->inputs[0], in, sizeof(in)));
    RET(b->run(exec));
    RET(b->read(exec, p->outputs[0], out, 36 * sizeof(*out)));
fail:
    return ret;
}

/* Twice with a number of threads, the model file closed after compiling. */
static void run_twice(const MgvBackend *b, int threads, float out[2][36])
{
    const MgvDeviceSettings s = { NULL, threads, MAGVIT_PRECISION_F32 };
    MgvSafetensors *st = open_weights();
    MgvPlan *p = all_ops(st);
    size_t weights, work;
    MgvDevice *dev;
    MgvExec *exec;
    int i;

    CU_ASSERT_EQUAL_FATAL(b->open(&dev, &s, &unit_log), 0);
    CU_ASSERT(strlen(b->describe(dev)) > 0);
    CU_ASSERT_EQUAL_FATAL(b->compile(&exec, dev, p), 0);
    mgv_safetensors_close(&st);
    for (i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(run_all(b, exec, p, out[i]), 0);
    b->memory(exec, &weights, &work);
    CU_ASSERT(weights > 0 && work >= p->arena_size);
    b->free(&exec);
    mgv_plan_free(&p);
    b->close(&dev);
}

static int is_host(const MgvBackend *b)
{
    return b->type == MAGVIT_BACKEND_REF || b->type == MAGVIT_BACKEND_CPU;
}

/* The number of threads, and running again, do not change a bit. */
static void test_threads(void)
{
    static const int threads[] = { 1, 2, 3, 7 };
    float first[2][36], out[2][36];
    size_t i, k;

    for (k = 0; mgv_backends[k]; k++)
        for (i = 0; is_host(mgv_backends[k]) && i < MGV_ARRAY_LEN(threads); i++) {
            run_twice(mgv_backends[k], threads[i], i ? out : first);
            CU_ASSERT(!memcmp(first[0], i ? out[0] : first[1], sizeof(*out)));
            CU_ASSERT(!i || !memcmp(first[0], out[1], sizeof(*out)));
        }
}

/* An output larger than caches: channel k is the input times k + 1, exactly. */
static void check_large(const MgvBackend *b, MgvPlan *p, const float *in, float *out, size_t pixels, int channels)
{
    const MgvDeviceSettings s = { NULL, 2, MAGVIT_PRECISION_F32 };
    MgvDevice *dev;
    MgvExec *exec;
    size_t i, wrong = 0;

    CU_ASSERT_EQUAL_FATAL(b->open(&dev, &s, &unit_log), 0);
    CU_ASSERT_EQUAL_FATAL(b->compile(&exec, dev, p), 0);
    CU_ASSERT_EQUAL(b->write(exec, p->inputs[0], in, pixels * sizeof(*in)), 0);
    CU_ASSERT_EQUAL(b->run(exec), 0);
    CU_ASSERT_EQUAL(b->read(exec, p->outputs[0], out, pixels * channels * sizeof(*out)), 0);
    for (i = 0; i < pixels * channels; i++)
        wrong += out[i] != in[i / channels] * (i % channels + 1);
    CU_ASSERT_EQUAL(wrong, 0);
    b->free(&exec);
    b->close(&dev);
}

static void test_large(void)
{
    enum { CHANNELS = 16 };
    const MgvShape shape = { 1, 2, 363, 377, 1 };
    const size_t pixels = mgv_shape_elements(shape);
    float w[27 * CHANNELS] = { 0 }, *in = mgv_calloc(pixels, sizeof(*in));
    float *out = mgv_calloc(pixels, CHANNELS * sizeof(*out));
    MgvSafetensors *st;
    Case c;
    size_t i;

    CU_ASSERT_FATAL(in && out);
    for (i = 0; i < pixels; i++)
        in[i] = (float)(i % 251);
    for (i = 0; i < CHANNELS; i++)
        w[27 * i + 13] = (float)(i + 1);
    st = weights_of("{\"c.weight\":{\"dtype\":\"F32\",\"shape\":[16,1,3,3,3],\"data_offsets\":[0,1728]}}", w,
                    27 * CHANNELS);
    c = begin(st, shape, MGV_F32);
    mgv_plan_output(c.p, "out", mgv_conv3d(c.p, "c", c.x, CHANNELS, 3, MGV_PAD_REFLECT, 0, MGV_ACT_NONE));
    CU_ASSERT_EQUAL_FATAL(mgv_plan_finish(c.p), 0);
    for (i = 0; mgv_backends[i]; i++)
        if (is_host(mgv_backends[i]))
            check_large(mgv_backends[i], c.p, in, out, pixels, CHANNELS);
    mgv_plan_free(&c.p);
    mgv_safetensors_close(&st);
    mgv_freep(&in);
    mgv_freep(&out);
}

typedef struct Tapped {
    int count, stop_at;
} Tapped;

static int tap(void *opaque, const MgvPlan *plan, int op, const void *data)
{
    Tapped *t = opaque;

    CU_ASSERT_EQUAL(op, t->count);
    CU_ASSERT(data && plan->ops[op].name);
    return ++t->count == t->stop_at ? MAGVIT_ERR(ECANCELED) : 0;
}

static void test_tap(void)
{
    MgvSafetensors *st = open_weights();
    MgvDevice *dev = open_device(2);
    MgvPlan *p = all_ops(st);
    Tapped t = { 0, 0 };
    MgvExec *exec;
    float out[36];

    CU_ASSERT_EQUAL_FATAL(mgv_host_compile(&exec, dev, p), 0);
    mgv_host_tap(exec, tap, &t);
    CU_ASSERT_EQUAL(run_all(&mgv_backend_ref, exec, p, out), 0);
    CU_ASSERT_EQUAL(t.count, p->nb_ops);
    t = (Tapped){ 0, 3 };
    CU_ASSERT_EQUAL(run_all(&mgv_backend_ref, exec, p, out), MAGVIT_ERR(ECANCELED));
    CU_ASSERT_EQUAL(t.count, 3);
    mgv_host_tap(exec, NULL, NULL);
    CU_ASSERT_EQUAL(run_all(&mgv_backend_ref, exec, p, out), 0);
    CU_ASSERT_EQUAL(t.count, 3);
    mgv_host_free(&exec);
    CU_ASSERT_PTR_NULL(exec);
    mgv_host_free(&exec);
    mgv_plan_free(&p);
    mgv_host_close(&dev);
    CU_ASSERT_PTR_NULL(dev);
    mgv_host_close(&dev);
    mgv_safetensors_close(&st);
}

static void test_wrong_data(void)
{
    MgvSafetensors *st = open_weights();
    MgvDevice *dev = open_device(1);
    MgvPlan *p = all_ops(st);
    MgvExec *exec;
    float data[64] = { 0 };

    CU_ASSERT_EQUAL_FATAL(mgv_host_compile(&exec, dev, p), 0);
    unit_log_reset();
    CU_ASSERT_EQUAL(mgv_host_write(exec, p->inputs[0], data, 53 * sizeof(float)), MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(mgv_host_write(exec, p->outputs[0], data, 36 * sizeof(float)), MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(mgv_host_write(exec, -1, data, 36 * sizeof(float)), MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(mgv_host_read(exec, p->outputs[0], data, 37 * sizeof(float)), MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(mgv_host_read(exec, p->inputs[0], data, 54 * sizeof(float)), MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(unit_lines, 5);
    mgv_host_free(&exec);
    mgv_plan_free(&p);
    mgv_host_close(&dev);
    mgv_safetensors_close(&st);
}

static int open_and_compile(const MgvBackend *b, MgvDevice **dev, MgvExec **exec, const MgvPlan *p)
{
    const MgvDeviceSettings s = { NULL, 2, MAGVIT_PRECISION_F32 };
    MgvNeed need;
    int ret;

    unit_log_reset();
    RET(b->open(dev, &s, &unit_log));
    RET(b->measure(*dev, p, &need));
    RET(b->compile(exec, *dev, p));
fail:
    return ret;
}

static void check_alloc(const MgvBackend *b, const MgvPlan *p)
{
    int k, ret = -1;

    for (k = 1; k < 600 && ret < 0; k++) {
        MgvDevice *dev = NULL;
        MgvExec *exec  = NULL;

        mgv_alloc_fail_at = k;
        ret = open_and_compile(b, &dev, &exec, p);
        mgv_alloc_fail_at = 0;
        CU_ASSERT(ret == 0 || ret == MAGVIT_ERR(ENOMEM) || (ret == MAGVIT_ERROR_DEVICE && b != &mgv_backend_ref));
        CU_ASSERT_EQUAL(!exec, ret < 0);
        CU_ASSERT_EQUAL(unit_lines, ret < 0);
        if (exec)
            b->free(&exec);
        b->close(&dev);
    }
    CU_ASSERT(ret == 0 && k > 20);
}

static void test_alloc(void)
{
    MgvSafetensors *st = open_weights();
    MgvPlan *p = all_ops(st);
    int i;

    for (i = 0; mgv_backends[i]; i++)
        if (is_host(mgv_backends[i]))
            check_alloc(mgv_backends[i], p);
    mgv_plan_free(&p);
    mgv_safetensors_close(&st);
}

typedef struct Caller {
    MgvDevice *dev;
    const MgvPlan *plan;
    float out[36];
    int ret;
} Caller;

static void *caller_main(void *arg)
{
    Caller *c = arg;
    MgvExec *exec;
    int i;

    c->ret = mgv_host_compile(&exec, c->dev, c->plan);
    for (i = 0; i < 20 && c->ret >= 0; i++)
        c->ret = run_all(&mgv_backend_ref, exec, c->plan, c->out);
    mgv_host_free(&exec);
    return NULL;
}

/* Several programs' threads may share a device, each with its own compiled plan. */
static void test_shared_device(void)
{
    MgvSafetensors *st = open_weights();
    MgvDevice *dev = open_device(2);
    MgvPlan *p = all_ops(st);
    pthread_t thread[3];
    Caller c[3];
    int i;

    for (i = 0; i < 3; i++) {
        c[i] = (Caller){ dev, p, { 0 }, 0 };
        CU_ASSERT_EQUAL_FATAL(pthread_create(&thread[i], NULL, caller_main, &c[i]), 0);
    }
    for (i = 0; i < 3; i++) {
        pthread_join(thread[i], NULL);
        CU_ASSERT_EQUAL(c[i].ret, 0);
        CU_ASSERT(!memcmp(c[0].out, c[i].out, sizeof(c[i].out)));
    }
    mgv_plan_free(&p);
    mgv_host_close(&dev);
    mgv_safetensors_close(&st);
}

static int nested(void *arg)
{
    return 42;
}

static int call_again(void *arg)
{
    return mgv_host_call(arg, nested, NULL);
}

static void test_call(void)
{
    MgvDevice *dev = open_device(1);

    CU_ASSERT_EQUAL(mgv_host_call(dev, call_again, dev), 42);
    CU_ASSERT_PTR_NOT_NULL(strstr(mgv_host_describe(dev), "1 thread"));
    mgv_host_close(&dev);
}

enum { MOST_PARTS = 9, MOST_THREADS = 7 };

/** Who did which part of a piece of work. */
typedef struct Parts {
    MgvDevice *dev;
    atomic_int done[MOST_PARTS];
    atomic_int works[MOST_THREADS]; ///< is the thread in a part?
    atomic_int wrong;
} Parts;

static void do_part(void *arg, int part, int thread)
{
    Parts *p = arg;

    if (thread < 0 || thread >= p->dev->threads || atomic_exchange(&p->works[thread], 1)) {
        atomic_fetch_add(&p->wrong, 1);
        return;
    }
    atomic_fetch_add(&p->done[part], 1);
    atomic_store(&p->works[thread], 0);
}

/* Pieces with few parts and many, one after the other, and some after all threads fell asleep. */
static int share_pieces(void *arg)
{
    const struct timespec long_enough = { 0, 2000000 };
    Parts *p = arg;

    for (int piece = 0; piece < 3000; piece++) {
        const int nb = piece % (MOST_PARTS + 1);

        if (piece % 100 == 99)
            nanosleep(&long_enough, NULL);
        for (int i = 0; i < MOST_PARTS; i++)
            atomic_store(&p->done[i], 0);
        mgv_helpers_share(p->dev, nb, do_part, p);
        for (int i = 0; i < MOST_PARTS; i++)
            atomic_fetch_add(&p->wrong, atomic_load(&p->done[i]) != (i < nb));
    }
    return 0;
}

static void test_helpers(void)
{
    static const int threads[] = { 1, 2, 3, MOST_THREADS };

    for (size_t i = 0; i < MGV_ARRAY_LEN(threads); i++) {
        Parts p = { .dev = open_device(threads[i]) };

        CU_ASSERT_EQUAL(p.dev->threads, threads[i]);
        CU_ASSERT_EQUAL(mgv_host_call(p.dev, share_pieces, &p), 0);
        CU_ASSERT_EQUAL(atomic_load(&p.wrong), 0);
        mgv_host_close(&p.dev);
    }
}

/* What the calling program has set up for OpenMP stays as it was. */
static void test_openmp_settings(void)
{
#if CONFIG_OPENMP
    int dynamic = omp_get_dynamic(), threads = omp_get_max_threads();
    MgvDevice *dev;

    omp_set_dynamic(1);
    omp_set_num_threads(5);
    dev = open_device(2);
    CU_ASSERT_EQUAL(omp_get_dynamic(), 1);
    CU_ASSERT_EQUAL(omp_get_max_threads(), 5);
    mgv_host_close(&dev);
    omp_set_dynamic(dynamic);
    omp_set_num_threads(threads);
#endif
}

CU_ErrorCode add_host_suite(void)
{
    static const UnitTest tests[] = {
        { "conv3d padding", test_conv_padding },
        { "group_norm", test_group_norm },
        { "linear", test_linear },
        { "attention", test_attention },
        { "act", test_act },
        { "pool and upsample", test_resample },
        { "embed, vq_argmin, add_rows", test_lookup },
        { "thread counts", test_threads },
        { "outputs larger than caches", test_large },
        { "tap", test_tap },
        { "wrong data", test_wrong_data },
        { "no memory", test_alloc },
        { "shared device", test_shared_device },
        { "call from the worker", test_call },
        { "helpers", test_helpers },
        { "OpenMP settings", test_openmp_settings },
        { NULL, NULL }
    };

    return unit_add("host", tests);
}
