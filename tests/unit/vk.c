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
 * The Vulkan backend beside its kernels, which checkkernels compares: choice of
 * a device, faults at every call, memory, the cache file, tokens. Where there
 * is no driver the tests say so and pass.
 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config.h"
#include "libmagvit/model.h"
#include "tests/unit/unit.h"

#if CONFIG_VULKAN
#include "kernels/vk.h"

#define TINY MAGVIT_SOURCE_PATH "/tests/data/tiny.safetensors"

enum { WINDOWS = 1000 };

static const MagvitLogger errors = { NULL, NULL, MAGVIT_LOG_NONE };

static MgvDevice *open_device(const char *name)
{
    const MgvDeviceSettings s = { name, 0, MAGVIT_PRECISION_F32 };
    MgvDevice *dev = NULL;
    const int ret = mgv_backend_vulkan.open(&dev, &s, &errors);

    if (ret == MAGVIT_ERR(ENOTSUP))
        printf("(no Vulkan driver, not tested) ");
    else
        CU_ASSERT_EQUAL(ret, 0);
    return dev;
}

static void test_devices(void)
{
    const MgvDeviceSettings bad = { "no such device", 0 }, far = { "999", 0 };
    MgvDevice *dev = open_device(NULL);
    MagvitDeviceInfo info;

    if (!dev)
        return;
    mgv_backend_vulkan.close(&dev);
    CU_ASSERT_EQUAL_FATAL(magvit_get_device(MAGVIT_BACKEND_VULKAN, 0, &info, NULL), 0);
    CU_ASSERT(strlen(info.uuid) == 36 && *info.name && *info.driver);
    CU_ASSERT_EQUAL(magvit_get_device(MAGVIT_BACKEND_VULKAN, 999, &info, NULL), MAGVIT_ERR(ENOENT));
    CU_ASSERT_EQUAL(magvit_get_device(MAGVIT_BACKEND_VULKAN, -1, &info, NULL), MAGVIT_ERR(ENOENT));
    CU_ASSERT_EQUAL(magvit_get_device(MAGVIT_BACKEND_REF, 0, &info, NULL), MAGVIT_ERR(ENOTSUP));
    CU_ASSERT_EQUAL(magvit_get_device(MAGVIT_BACKEND_VULKAN, 0, &info, NULL), 0);
    CU_ASSERT_PTR_NOT_NULL(dev = open_device(info.uuid));
    mgv_backend_vulkan.close(&dev);
    CU_ASSERT_PTR_NOT_NULL(dev = open_device("0"));
    CU_ASSERT_PTR_NOT_NULL(strstr(mgv_backend_vulkan.describe(dev), info.name));
    mgv_backend_vulkan.close(&dev);
    info.name[strlen(info.name) / 2] = 0;
    CU_ASSERT_PTR_NOT_NULL(dev = open_device(info.name));
    mgv_backend_vulkan.close(&dev);
    unit_log_reset();
    CU_ASSERT_EQUAL(mgv_backend_vulkan.open(&dev, &bad, &unit_log), MAGVIT_ERR(EINVAL));
    CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, "'no such device'"));
    CU_ASSERT_EQUAL(mgv_backend_vulkan.open(&dev, &far, &unit_log), MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(unit_lines, 2);
}

/* ---- faults ---- */

typedef struct Model {
    MgvSafetensors *st;
    MgvConfig c;
} Model;

/* The tiny model, for clips of 4 frames of 8x8. */
static void open_model(Model *m)
{
    CU_ASSERT_EQUAL_FATAL(mgv_safetensors_open(&m->st, TINY, &errors), 0);
    CU_ASSERT_EQUAL_FATAL(mgv_config_parse(&m->c, m->st, &errors), 0);
    m->c.frames   = 4;
    m->c.height   = m->c.width    = 8;
    m->c.latent_t = m->c.latent_h = m->c.latent_w = 1;
}

static void close_model(Model *m)
{
    mgv_config_uninit(&m->c);
    mgv_safetensors_close(&m->st);
}

/* From nothing to codes. */
static int encode_once(const MgvPlan *p, const float *clip, int32_t *codes)
{
    static const MgvDeviceSettings settings = { NULL, 0, MAGVIT_PRECISION_F32 };
    const MgvBackend *b = &mgv_backend_vulkan;
    const MgvTensorInfo *in = &p->tensors[p->inputs[0]], *out = &p->tensors[p->outputs[0]];
    MgvDevice *dev = NULL;
    MgvExec *exec = NULL;
    int ret;

    RET(b->open(&dev, &settings, &unit_log));
    RET(b->compile(&exec, dev, p));
    RET(b->write(exec, p->inputs[0], clip, in->size));
    RET(b->run(exec));
    RET(b->read(exec, p->outputs[0], codes, out->size));
fail:
    b->free(&exec);
    b->close(&dev);
    return ret;
}

/* A failure of the k-th call, for every k: its code, one line, nothing left behind. */
static void check_faults(const MgvPlan *p, VkResult with, int code, const char *name)
{
    static const float clip[4 * 8 * 8 * 3];
    int32_t codes[1];
    int k, ret = -1;

    for (k = 1; ret < 0 && k < 2000; k++) {
        unit_log_reset();
        mgv_vk_fail_with = with;
        mgv_vk_fail_at   = k;
        ret = encode_once(p, clip, codes);
        mgv_vk_fail_at = 0;
        CU_ASSERT(ret == 0 || ret == code);
        CU_ASSERT(ret == 0 || strstr(unit_line, name));
        CU_ASSERT_EQUAL(mgv_vk_allocations, 0);
    }
    CU_ASSERT(ret == 0 && k > 50);
}

static void test_faults(void)
{
    MgvDevice *dev = open_device(NULL);
    MgvPlan *p;
    Model m;

    if (!dev)
        return;
    mgv_backend_vulkan.close(&dev);
    open_model(&m);
    CU_ASSERT_EQUAL_FATAL(mgv_build_encoder(&p, &m.c, 1, m.st, &errors), 0);
    check_faults(p, VK_ERROR_DEVICE_LOST, MAGVIT_ERROR_DEVICE, "DEVICE_LOST");
    check_faults(p, VK_ERROR_OUT_OF_DEVICE_MEMORY, MAGVIT_ERR(ENOMEM), "OUT_OF_DEVICE_MEMORY");
    mgv_plan_free(&p);
    close_model(&m);
}

/* Interpolation of gray frames without end; the device is lost when the first window has been delivered, at a call after it. */
static int lose_in_the_middle(MagvitContext *ctx, int ahead, int at, int *received)
{
    static uint8_t in[32 * 32], out[32 * 32];
    MagvitSession *s = NULL;
    MagvitParams p;
    int sent = 0, ret;

    magvit_default_params(&p, MAGVIT_TASK_INTERP);
    p.format     = (MagvitFormat){ MAGVIT_MODEL_GRAY, 8, 0, 0, 0, 0 };
    p.width      = p.height = 32;
    p.time_base  = (MagvitRational){ 1, 10 };
    p.frame_rate = (MagvitRational){ 10, 1 };
    p.factor     = 15;
    p.steps      = 1;
    p.ahead      = ahead;
    RET(magvit_session_open(&s, ctx, &p));
    while (sent < 10) {
        MagvitFrame f = { .data = { out }, .stride = { 32 } };

        ret = magvit_receive_frame(s, &f);
        *received += ret == 0;
        if (*received == 16)
            mgv_vk_fail_at = at;
        if (ret == MAGVIT_ERR(EAGAIN)) {
            MagvitFrame g = { .data = { in }, .stride = { 32 }, .pts = sent++, .duration = 1 };

            for (int i = 0; i < 32 * 32; i++)
                in[i] = (uint8_t)(i * 5 + sent * 9); // equal frames would not need the model
            ret = magvit_send_frame(s, &g);
        }
        RET(ret);
    }
fail:
    magvit_session_close(&s);
    return ret;
}

static void test_lost_device(void)
{
    MagvitContext *ctx = NULL;
    MagvitSettings s;
    MgvDevice *dev = open_device(NULL);
    int received = 0;

    if (!dev)
        return;
    mgv_backend_vulkan.close(&dev);
    magvit_default_settings(&s);
    s.model   = TINY;
    s.backend = MAGVIT_BACKEND_VULKAN;
    s.log     = unit_log;
    CU_ASSERT_EQUAL_FATAL(magvit_open(&ctx, &s), 0);
    mgv_vk_fail_with = VK_ERROR_DEVICE_LOST;
    for (int i = 0; i < 6; i++) {
        unit_log_reset();
        received = 0;
        CU_ASSERT_EQUAL(lose_in_the_middle(ctx, i % 2, 1 + i, &received), MAGVIT_ERROR_DEVICE);
        mgv_vk_fail_at = 0;
        CU_ASSERT(received >= 16);
        CU_ASSERT_EQUAL(unit_lines, 1);
        CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, "DEVICE_LOST"));
    }
    magvit_close(&ctx);
    CU_ASSERT_EQUAL(mgv_vk_allocations, 0);
}

/* ---- memory ---- */

typedef struct Stage {
    MgvPlan *p;
    MgvExec *exec;
    void *in, *out;
} Stage;

static void stage_open(Stage *s, MgvDevice *dev)
{
    CU_ASSERT_EQUAL_FATAL(mgv_backend_vulkan.compile(&s->exec, dev, s->p), 0);
    s->in  = mgv_calloc(1, s->p->tensors[s->p->inputs[0]].size);
    s->out = mgv_calloc(1, s->p->tensors[s->p->outputs[0]].size);
}

static int stage_run(Stage *s)
{
    const MgvBackend *b = &mgv_backend_vulkan;
    int ret;

    RET(b->write(s->exec, s->p->inputs[0], s->in, s->p->tensors[s->p->inputs[0]].size));
    RET(b->run(s->exec));
    RET(b->read(s->exec, s->p->outputs[0], s->out, s->p->tensors[s->p->outputs[0]].size));
fail:
    return ret;
}

static void stage_close(Stage *s)
{
    mgv_backend_vulkan.free(&s->exec);
    mgv_plan_free(&s->p);
    mgv_freep(&s->in);
    mgv_freep(&s->out);
}

/* Encode, one step, decode: the number of allocations stays, and none is left. */
static void test_memory(void)
{
    MgvDevice *dev = open_device(NULL);
    Stage s[3] = { { NULL } };
    long before;
    int failed = 0;
    Model m;

    if (!dev)
        return;
    open_model(&m);
    m.c.layers = 1;
    CU_ASSERT_EQUAL_FATAL(mgv_build_encoder(&s[0].p, &m.c, 1, m.st, &errors), 0);
    CU_ASSERT_EQUAL_FATAL(mgv_build_transformer(&s[1].p, &m.c, 1, m.st, &errors), 0);
    CU_ASSERT_EQUAL_FATAL(mgv_build_decoder(&s[2].p, &m.c, 1, m.st, &errors), 0);
    for (int i = 0; i < 3; i++)
        stage_open(&s[i], dev);
    before = mgv_vk_allocations;
    CU_ASSERT(before >= 9);
    for (int w = 0; w < WINDOWS; w++)
        for (int i = 0; i < 3; i++)
            failed += stage_run(&s[i]) < 0;
    CU_ASSERT_EQUAL(failed, 0);
    CU_ASSERT_EQUAL(mgv_vk_allocations, before);
    for (int i = 0; i < 3; i++)
        stage_close(&s[i]);
    CU_ASSERT_EQUAL(mgv_vk_allocations, 0);
    mgv_backend_vulkan.close(&dev);
    close_model(&m);
}

/* ---- tokens ---- */

typedef struct Sampled {
    const MgvBackend *b;
    const MgvConfig *c;
    MgvPlan *p;
    MgvExec *exec;
    int class_id;
    int32_t *ids;
    float *logits;
} Sampled;

static int sampled_logits(void *opaque, int step, const int32_t *tokens, const uint8_t *unknown, float *logits)
{
    Sampled *s = opaque;
    const int prefix = mgv_prefix_length(s->c), n = s->c->length - prefix;
    int ret;

    (void)unknown;
    s->ids[0] = mgv_token_prompt(s->c, MGV_PROMPT_CLASS);
    s->ids[prefix - 1] = mgv_token_class(s->c, s->class_id);
    for (int i = 0; i < n; i++)
        s->ids[prefix + i] = tokens[i] < 0 ? mgv_token_mask(s->c) : tokens[i];
    RET(s->b->write(s->exec, s->p->inputs[0], s->ids, s->p->tensors[s->p->inputs[0]].size));
    RET(s->b->run(s->exec));
    RET(s->b->read(s->exec, s->p->outputs[0], s->logits, s->p->tensors[s->p->outputs[0]].size));
    memcpy(logits, s->logits + (size_t)prefix * s->c->codebook_size, (size_t)n * s->c->codebook_size * sizeof(*logits));
fail:
    return ret;
}

/* Greedy tokens of one class on one backend. */
static void sample(const MgvBackend *b, enum MagvitPrecision precision, const Model *m, int class_id, int32_t *out)
{
    const MgvDeviceSettings settings = { NULL, 1, precision };
    const int n = m->c.length - mgv_prefix_length(&m->c);
    const MgvSamplerParams sp = { .tokens = n, .codes = m->c.codebook_size, .steps = 12, .top_p = 1, .seed = 1 };
    Sampled s = { .b = b, .c = &m->c, .class_id = class_id };
    MgvDevice *dev;
    int32_t cond[64];

    CU_ASSERT_FATAL(n <= 64);
    for (int i = 0; i < n; i++)
        cond[i] = i % 5 ? -1 : i * 7 % m->c.codebook_size; // some are given
    CU_ASSERT_EQUAL_FATAL(mgv_build_transformer(&s.p, &m->c, 1, m->st, &errors), 0);
    CU_ASSERT_EQUAL_FATAL(b->open(&dev, &settings, &errors), 0);
    CU_ASSERT_EQUAL_FATAL(b->compile(&s.exec, dev, s.p), 0);
    s.ids    = mgv_calloc(m->c.length, sizeof(*s.ids));
    s.logits = mgv_calloc((size_t)m->c.length * m->c.codebook_size, sizeof(*s.logits));
    CU_ASSERT_EQUAL(mgv_sampler_run(&sp, cond, NULL, sampled_logits, &s, out), 0);
    mgv_freep(&s.ids);
    mgv_freep(&s.logits);
    b->free(&s.exec);
    b->close(&dev);
    mgv_plan_free(&s.p);
}

static MgvDevice *open_half(const MagvitLogger *log)
{
    const MgvDeviceSettings s = { NULL, 0, MAGVIT_PRECISION_F16 };
    MgvDevice *dev = NULL;

    if (mgv_backend_vulkan.open(&dev, &s, log) == MAGVIT_ERR(ENOTSUP))
        printf("(no Vulkan driver with float16, not tested) ");
    return dev;
}

/* The reference's tokens in so many of 100 places: a near tie may fall the other way. */
static void compare_tokens(enum MagvitPrecision precision, int percent)
{
    int32_t want[64], got[64];
    int same = 0, all = 0;
    Model m;

    open_model(&m);
    for (int class_id = 0; class_id < m.c.num_classes; class_id++) {
        sample(&mgv_backend_ref, MAGVIT_PRECISION_F32, &m, class_id, want);
        sample(&mgv_backend_vulkan, precision, &m, class_id, got);
        for (int i = 0; i < m.c.length - mgv_prefix_length(&m.c); i++, all++)
            same += got[i] == want[i];
    }
    CU_ASSERT(all >= 100 && same * 100 >= all * percent);
    close_model(&m);
}

static void test_tokens(void)
{
    MgvDevice *dev = open_device(NULL);

    if (dev)
        compare_tokens(MAGVIT_PRECISION_F32, 99);
    mgv_backend_vulkan.close(&dev);
}

static void test_half_tokens(void)
{
    MgvDevice *dev = open_half(&errors);

    if (dev)
        compare_tokens(MAGVIT_PRECISION_F16, 95);
    mgv_backend_vulkan.close(&dev);
}

enum { CLASSES = 3 };

/* Greedy tokens of so many classes from one on, in one run of the device's loop. */
static void sample_in_loop(MgvLoop *loop, const Model *m, int class_id, int nb, int32_t out[][64])
{
    const int prefix = mgv_prefix_length(&m->c), n = m->c.length - prefix;
    const MgvSamplerParams sp = { .tokens = n, .codes = m->c.codebook_size, .steps = 12, .top_p = 1, .seed = 1 };
    int masked[MGV_LOOP_STEPS];
    double noise[MGV_LOOP_STEPS];
    const MgvLoopParams lp = {
        .passes = mgv_sampler_passes(&sp, masked, noise), .masked = masked, .noise = noise, .top_p = 1, .seed = 1,
    };
    MgvLoopSample list[CLASSES];
    int32_t cond[64];

    for (int i = 0; i < n; i++)
        cond[i] = i % 5 ? -1 : i * 7 % m->c.codebook_size; // as sample() has it
    for (int i = 0; i < nb; i++) {
        list[i] = (MgvLoopSample){ .cond = cond, .codes = out[i] };
        list[i].prefix[0] = mgv_token_prompt(&m->c, MGV_PROMPT_CLASS);
        list[i].prefix[prefix - 1] = mgv_token_class(&m->c, class_id + i);
    }
    CU_ASSERT_EQUAL_FATAL(mgv_backend_vulkan.loop_start(loop, &lp, list, nb), 0);
    CU_ASSERT_EQUAL_FATAL(mgv_backend_vulkan.loop_finish(loop, list, nb, NULL, NULL), 0);
}

/* With products of float16 a batch gives the reference's tokens, in 99 of 100 places, and the very ones of single runs. */
static void test_half_loop(void)
{
    const MgvBackend *b = &mgv_backend_vulkan;
    MgvDevice *dev = open_half(&errors);
    static int32_t together[CLASSES][64], alone[CLASSES][64], want[64];
    MgvLoopShape shape = { .samples = CLASSES };
    MgvLoop *loop = NULL;
    MgvPlan *p;
    int same = 0, all = 0;
    Model m;

    if (!dev)
        return;
    open_model(&m);
    CU_ASSERT_FATAL(m.c.num_classes >= CLASSES);
    CU_ASSERT_EQUAL_FATAL(mgv_build_transformer(&p, &m.c, CLASSES, m.st, &errors), 0);
    CU_ASSERT_EQUAL_FATAL(b->compile(&shape.transformer, dev, p), 0);
    shape.prefix = mgv_prefix_length(&m.c);
    shape.tokens = m.c.length - shape.prefix;
    shape.codes  = m.c.codebook_size;
    shape.mask   = mgv_token_mask(&m.c);
    CU_ASSERT_EQUAL_FATAL(b->loop_open(&loop, dev, &shape), 0);
    sample_in_loop(loop, &m, 0, CLASSES, together);
    for (int i = 0; i < CLASSES; i++) {
        sample_in_loop(loop, &m, i, 1, &alone[i]);
        sample(&mgv_backend_ref, MAGVIT_PRECISION_F32, &m, i, want);
        for (int k = 0; k < shape.tokens; k++, all++)
            same += together[i][k] == want[k];
    }
    CU_ASSERT_EQUAL(memcmp(together, alone, sizeof(alone)), 0);
    CU_ASSERT(all >= 100 && same * 100 >= all * 99);
    if (same < all)
        printf("(%d of %d tokens) ", same, all);
    b->loop_close(&loop);
    b->free(&shape.transformer);
    mgv_plan_free(&p);
    b->close(&dev);
    close_model(&m);
}

/* ---- float16 ---- */

/* Every value comes back; what lies between two goes to the nearer, from the middle to the even one. */
static void test_half(void)
{
    int wrong = 0;

    for (unsigned h = 0; h < 0x7bff; h++) {
        const float x = mgv_vk_from_half((uint16_t)h), next = mgv_vk_from_half((uint16_t)(h + 1)), middle = (x + next) / 2;

        wrong += mgv_vk_to_half(x) != h || mgv_vk_to_half(-x) != (h | 0x8000);
        wrong += mgv_vk_to_half(middle) != h + h % 2;
        wrong += mgv_vk_to_half(nextafterf(middle, 0)) != h || mgv_vk_to_half(nextafterf(middle, 1e6f)) != h + 1;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_EQUAL(mgv_vk_from_half(0x3c00), 1);
    CU_ASSERT_EQUAL(mgv_vk_from_half(0x7bff), 65504);
    CU_ASSERT_EQUAL(mgv_vk_to_half(65504), 0x7bff);
    CU_ASSERT_EQUAL(mgv_vk_to_half(65535), 0x7bff);
    CU_ASSERT_EQUAL(mgv_vk_to_half(1e38f), 0x7bff);
    CU_ASSERT_EQUAL(mgv_vk_to_half(-1e38f), 0xfbff);
    CU_ASSERT_EQUAL(mgv_vk_to_half(1e-30f), 0);
}

/* Of one cell attention gives the value itself: rounded, and the largest for what float16 does not hold. */
static void test_half_range(void)
{
    static const float given[8] = { 1, -1, 65504, 1e6f, -1e38f, 1 + 0x1p-12f, 0x1p-24f, 0 };
    static const float want[8] = { 1, -1, 65504, 65504, -65504, 1, 0x1p-24f, 0 };
    const MgvBackend *b = &mgv_backend_vulkan;
    MgvDevice *dev = open_half(&unit_log);
    const MgvShape shape = { 1, 1, 1, 1, 8 };
    MgvExec *exec = NULL;
    MgvPlan *p = NULL;
    float got[8];
    MgvT x[3], y;

    if (!dev)
        return;
    CU_ASSERT_PTR_NOT_NULL(strstr(b->describe(dev), ", f16"));
    CU_ASSERT_EQUAL_FATAL(mgv_plan_alloc(&p, "range", NULL, &errors), 0);
    for (int i = 0; i < 3; i++)
        x[i] = mgv_plan_input(p, "x", shape, MGV_F32);
    y = mgv_attention(p, "attention", x[0], x[1], x[2], 1);
    mgv_plan_output(p, "y", y);
    CU_ASSERT_EQUAL_FATAL(mgv_plan_finish(p), 0);
    CU_ASSERT_EQUAL_FATAL(b->compile(&exec, dev, p), 0);
    for (int i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(b->write(exec, x[i], i < 2 ? want : given, sizeof(given)), 0);
    CU_ASSERT_EQUAL(b->run(exec), 0);
    CU_ASSERT_EQUAL(b->read(exec, y, got, sizeof(got)), 0);
    for (int i = 0; i < 8; i++)
        CU_ASSERT_EQUAL(got[i], want[i]);
    b->free(&exec);
    mgv_plan_free(&p);
    b->close(&dev);
}

/* Only what products alone read is stored as float16: not inputs, outputs, nor what is also added. */
static void test_half_tensors(void)
{
    const MgvShape shape = { 1, 1, 1, 3, 8 };
    MgvPlan *p = NULL;
    MgvT x, a, c, d, y;

    CU_ASSERT_EQUAL_FATAL(mgv_plan_alloc(&p, "tensors", NULL, &errors), 0);
    x = mgv_plan_input(p, "x", shape, MGV_F32);
    a = mgv_act(p, "a", x, MGV_ACT_SILU);
    c = mgv_act(p, "c", a, MGV_ACT_SILU);
    d = mgv_attention(p, "d", c, a, x, 1);
    y = mgv_attention(p, "y", d, d, d, 1);
    mgv_plan_output(p, "y", y);
    CU_ASSERT_EQUAL_FATAL(mgv_plan_finish(p), 0);
    CU_ASSERT(!mgv_vk_may_be_half(p, x) && !mgv_vk_may_be_half(p, a) && !mgv_vk_may_be_half(p, y));
    CU_ASSERT(mgv_vk_may_be_half(p, c) && mgv_vk_may_be_half(p, d));
    mgv_plan_free(&p);
}

/* Products of bf16 are the cpu backend's. */
static void test_precisions(void)
{
    const MgvDeviceSettings s = { NULL, 0, MAGVIT_PRECISION_BF16 };
    MgvDevice *dev = NULL;

    unit_log_reset();
    CU_ASSERT_EQUAL(mgv_backend_vulkan.open(&dev, &s, &unit_log), MAGVIT_ERR(ENOTSUP));
    CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, "precision is bf16, must be auto, f32 or f16 for the vulkan backend"));
    CU_ASSERT_EQUAL(unit_lines, 1);
}

/* ---- cache ---- */

/* A damaged file is as good as none, wherever the damage is. */
static void test_cache(void)
{
    char dir[512], file[1024], data[8192];
    const char *old = getenv("XDG_CACHE_HOME");
    char *kept = old ? mgv_strdup(old) : NULL;
    MgvDevice *dev;
    FILE *f;
    size_t n = 0;

    snprintf(dir, sizeof(dir), "%s", unit_tmp("cache"));
    setenv("XDG_CACHE_HOME", dir, 1);
    dev = open_device(NULL);
    if (dev) {
        const uint32_t spec[] = { 0, 1, 1 };
        VkPipeline pipeline;

        CU_ASSERT_EQUAL(mgv_vk_pipeline(dev, &pipeline, MGV_VK_pointwise, spec, 3), 0);
        n = (size_t)snprintf(file, sizeof(file), "%s/libmagvit/vulkan-%04x-%04x-", dir, dev->properties.vendorID,
                             dev->properties.deviceID);
        for (int i = 0; i < 16; i++)
            n += (size_t)snprintf(file + n, sizeof(file) - n, "%02x", dev->properties.pipelineCacheUUID[i]);
        mgv_backend_vulkan.close(&dev);
        f = fopen(file, "rb");
        CU_ASSERT_PTR_NOT_NULL(f);
        n = f ? fread(data, 1, sizeof(data), f) : 0;
        CU_ASSERT(n > 120);
        if (f)
            fclose(f);
    }
    for (size_t at = 0; at < n; at += n > 150 ? n / 10 : 1) {
        f = fopen(file, "wb");
        data[at] ^= 1;
        fwrite(data, 1, at % 2 ? n : n - 1, f);
        data[at] ^= 1;
        fclose(f);
        CU_ASSERT_PTR_NOT_NULL(dev = open_device(NULL));
        CU_ASSERT_EQUAL(dev ? dev->cache_loaded : 0, 0);
        mgv_backend_vulkan.close(&dev);
    }
    if (kept)
        setenv("XDG_CACHE_HOME", kept, 1);
    else
        unsetenv("XDG_CACHE_HOME");
    mgv_freep(&kept);
}
#endif

static void test_not_built(void)
{
    MagvitDeviceInfo info;

    CU_ASSERT_EQUAL(magvit_get_device(MAGVIT_BACKEND_AUTO, 0, &info, NULL), MAGVIT_ERR(ENOTSUP));
}

CU_ErrorCode add_vk_suite(void)
{
    static const UnitTest tests[] = {
        { "devices of no backend", test_not_built },
#if CONFIG_VULKAN
        { "choice of a device", test_devices },
        { "failure of every call", test_faults },
        { "device lost in mid-stream", test_lost_device },
        { "1000 windows", test_memory },
        { "greedy tokens", test_tokens },
        { "greedy tokens in float16", test_half_tokens },
        { "the same in batches of the decoding loop, as alone", test_half_loop },
        { "float16", test_half },
        { "range of float16", test_half_range },
        { "what is stored as float16", test_half_tensors },
        { "precisions", test_precisions },
        { "cache file", test_cache },
#endif
        { NULL, NULL }
    };
    return unit_add("vk", tests);
}
