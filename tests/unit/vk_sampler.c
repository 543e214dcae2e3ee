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
 * The decoding loop on a Vulkan device beside that of the host: token for token
 * where the logits are equal, which they are for a transformer that only looks
 * up rows of a table and adds others. Then faults, samples beside each other,
 * and memory. Where there is no driver the tests say so and pass.
 */

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "libmagvit/model.h"
#include "tests/unit/unit.h"

#if CONFIG_VULKAN
#include "kernels/vk.h"

#define TINY MAGVIT_SOURCE_PATH "/tests/data/tiny.safetensors"

enum { TOKENS = 60, CODES = 150, PREFIX = 2, LENGTH = PREFIX + TOKENS, MASK = CODES, ROWS = CODES + 8, SAMPLES = 3, RUNS = 500 };

static const MagvitLogger errors = { NULL, NULL, MAGVIT_LOG_NONE };
static const MgvBackend *const vulkan = &mgv_backend_vulkan;

/** A transformer whose logits are rows of tables, on one backend. */
typedef struct Table {
    const MgvBackend *b;
    MgvDevice *dev;
    MgvPlan *plan;
    MgvExec *exec;
} Table;

/** The same on the host and on the device. */
typedef struct Pair {
    MgvSafetensors *st;
    Table host, device;
} Pair;

/* dev may be NULL: one of its own is opened. */
static int open_table(Table *t, const MgvBackend *b, MgvDevice *dev, int sequences, int doublings,
                      const MgvSafetensors *st)
{
    static const MgvDeviceSettings settings = { NULL, 1 };
    MgvT x;
    int ret;

    *t = (Table){ b };
    RET(mgv_plan_alloc(&t->plan, "table", st, &errors));
    x = mgv_plan_input(t->plan, "ids", (MgvShape){ sequences, 1, 1, LENGTH, 1 }, MGV_I32);
    x = mgv_embed(t->plan, "codes", x);
    x = mgv_add_rows(t->plan, "places", x);
    for (int i = 0; i < doublings; i++)
        x = mgv_add(t->plan, "double", x, x);
    mgv_plan_output(t->plan, "logits", x);
    RET(mgv_plan_finish(t->plan));
    if (!dev)
        RET(b->open(&t->dev, &settings, &errors));
    RET(b->compile(&t->exec, dev ? dev : t->dev, t->plan));
fail:
    return ret;
}

static void close_table(Table *t)
{
    if (!t->b)
        return;
    if (t->exec)
        t->b->free(&t->exec);
    if (t->dev)
        t->b->close(&t->dev);
    mgv_plan_free(&t->plan);
    *t = (Table){ NULL };
}

/* 0 with a word where there is no driver. doublings: of all logits, 130 make them infinite. */
static int open_pair(Pair *p, int doublings)
{
    static const UnitTensor tensors[] = {
        { "codes.weight", { ROWS, CODES } }, { "places.weight", { LENGTH, CODES } }, { NULL }
    };
    int ret;

    CU_ASSERT_EQUAL_FATAL(mgv_safetensors_open(&p->st, unit_weights("tables", tensors, 3), &errors), 0);
    CU_ASSERT_EQUAL_FATAL(open_table(&p->host, &mgv_backend_ref, NULL, 1, doublings, p->st), 0);
    ret = open_table(&p->device, vulkan, NULL, 2 * SAMPLES, doublings, p->st);
    if (ret == MAGVIT_ERR(ENOTSUP))
        printf("(no Vulkan driver, not tested) ");
    else
        CU_ASSERT_EQUAL(ret, 0);
    return ret >= 0;
}

static void close_pair(Pair *p)
{
    close_table(&p->host);
    close_table(&p->device);
    mgv_safetensors_close(&p->st);
}

static MgvLoopShape shape(const Table *t)
{
    return (MgvLoopShape){ NULL, t->exec, NULL, SAMPLES, PREFIX, TOKENS, CODES, MASK };
}

/* Prefixes of a sample: task and class, and the same without condition. */
static void set_prefix(MgvLoopSample *s, int i)
{
    s->prefix[0]  = CODES + 1;
    s->prefix[1]  = CODES + 2 + i;
    s->without[0] = CODES + 6;
    s->without[1] = CODES + 7;
}

/* ---- the host's loop ---- */

typedef struct Host {
    Table *t;
    const MgvLoopSample *s;
    float guidance;
    float logits[LENGTH * CODES], without[LENGTH * CODES];
} Host;

static int table_logits(Host *h, const int32_t *prefix, const int32_t *tokens, int without, float *out)
{
    int32_t ids[LENGTH];
    Table *t = h->t;
    int ret;

    memcpy(ids, prefix, PREFIX * sizeof(*ids));
    for (int i = 0; i < TOKENS; i++)
        ids[PREFIX + i] = tokens[i] < 0 || (without && tokens[i] == h->s->cond[i]) ? MASK : tokens[i];
    RET(t->b->write(t->exec, t->plan->inputs[0], ids, sizeof(ids)));
    RET(t->b->run(t->exec));
    RET(t->b->read(t->exec, t->plan->outputs[0], out, LENGTH * CODES * sizeof(*out)));
fail:
    return ret;
}

static int host_logits(void *opaque, int step, const int32_t *tokens, const uint8_t *unknown, float *logits)
{
    Host *h = opaque;
    int ret;

    (void)unknown;
    RET(table_logits(h, h->s->prefix, tokens, 0, h->logits));
    memcpy(logits, h->logits + PREFIX * CODES, TOKENS * CODES * sizeof(*logits));
    if (h->guidance > 0) {
        RET(table_logits(h, h->s->without, tokens, 1, h->without));
        for (int i = 0; i < TOKENS * CODES; i++)
            logits[i] += h->guidance * (logits[i] - h->without[PREFIX * CODES + i]);
    }
fail:
    return ret;
}

static MgvLoopParams loop_params(const MgvSamplerParams *sp, double guidance, int *masked, double *noise)
{
    return (MgvLoopParams){
        .passes = mgv_sampler_passes(sp, masked, noise), .masked = masked, .noise = noise,
        .temperature = sp->temperature, .top_k = sp->top_k, .top_p = sp->top_p, .guidance = guidance, .seed = sp->seed,
    };
}

static int count(void *opaque)
{
    ++*(int *)opaque;
    return 0;
}

static void set_samples(MgvLoopSample *list, int32_t cond[SAMPLES][TOKENS], int32_t codes[SAMPLES][TOKENS])
{
    for (int i = 0; i < SAMPLES; i++) {
        for (int k = 0; k < TOKENS; k++)
            cond[i][k] = (k + i) % 4 ? -1 : k * 7 % CODES;
        list[i] = (MgvLoopSample){ .cond = cond[i], .window = 40u + i, .codes = codes[i] };
        set_prefix(&list[i], i);
    }
}

/* Tokens that differ. */
static int compare(Pair *p, MgvLoop *loop, MgvSamplerParams sp, double guidance)
{
    static int32_t cond[SAMPLES][TOKENS], codes[SAMPLES][TOKENS], want[TOKENS];
    MgvLoopSample list[SAMPLES];
    int masked[MGV_LOOP_STEPS], steps = 0, differ = 0;
    double noise[MGV_LOOP_STEPS];
    const MgvLoopParams lp = loop_params(&sp, guidance, masked, noise);
    static Host h;

    set_samples(list, cond, codes);
    CU_ASSERT_EQUAL_FATAL(vulkan->loop_start(loop, &lp, list, SAMPLES), 0);
    CU_ASSERT_EQUAL_FATAL(vulkan->loop_finish(loop, list, SAMPLES, count, &steps), 0);
    CU_ASSERT_EQUAL(steps, lp.passes);
    for (int i = 0; i < SAMPLES; i++) {
        h = (Host){ .t = &p->host, .s = &list[i], .guidance = (float)guidance };
        sp.window = list[i].window;
        CU_ASSERT_EQUAL_FATAL(mgv_sampler_run(&sp, cond[i], NULL, host_logits, &h, want), 0);
        for (int k = 0; k < TOKENS; k++)
            differ += codes[i][k] != want[k];
    }
    return differ;
}

static void test_equal_logits(void)
{
    static const struct {
        const char *schedule;
        int steps;
        double choice, temperature;
        int top_k;
        double top_p, guidance;
    } rows[] = {
        { "cosine",  12, 4.5, 0,     0, 1,    0 },
        { "cosine",  12, 0,   0,     0, 1,    0 },
        { "cosine",  12, 4.5, 1,     0, 1,    0 },
        { "uniform",  1, 4.5, 1,     0, 1,    0 },
        { "exp",      7, 1,   0.1,   0, 1,    0 },
        { "log",      5, 30,  2.7,   0, 1,    0 },
        { "cosine",   6, 4.5, 1,     1, 1,    0 },
        { "cosine",   6, 4.5, 1,    17, 1,    0 },
        { "cosine",   6, 4.5, 0.3, 999, 1,    0 },
        { "cosine",   6, 4.5, 1,     0, 0.9,  0 },
        { "cosine",   6, 4.5, 0.3,   0, 0.35, 0 },
        { "cosine",   6, 4.5, 1,     0, 1e-9, 0 },
        { "cosine",   6, 4.5, 1,     0, 1,    3.3 },
        { "pow2.5",   8, 4.5, 0.7,   0, 0.8,  0.7 },
        { "uniform", 90, 2,   1,     0, 1,    0 }, // more steps than tokens
    };
    MgvLoop *loop = NULL;
    Pair p;

    if (open_pair(&p, 0)) {
        const MgvLoopShape s = shape(&p.device);

        CU_ASSERT_EQUAL_FATAL(vulkan->loop_open(&loop, p.device.dev, &s), 0);
        for (size_t i = 0; i < MGV_ARRAY_LEN(rows); i++) {
            MgvSamplerParams sp = {
                .tokens = TOKENS, .codes = CODES, .steps = rows[i].steps, .choice_temperature = rows[i].choice,
                .temperature = rows[i].temperature, .top_k = rows[i].top_k, .top_p = rows[i].top_p,
                .seed = UINT64_C(0x123456789) * (i + 1),
            };
            int differ;

            CU_ASSERT_EQUAL_FATAL(mgv_schedule_parse(&sp.schedule, rows[i].schedule), 0);
            differ = compare(&p, loop, sp, rows[i].guidance);
            CU_ASSERT_EQUAL(differ, 0);
            if (differ)
                printf("(row %d: %d tokens differ) ", (int)i, differ);
        }
        vulkan->loop_close(&loop);
    }
    close_pair(&p);
}

/* Doubled until they are infinite. */
static void test_not_finite(void)
{
    static int32_t cond[SAMPLES][TOKENS], codes[SAMPLES][TOKENS];
    const MgvSamplerParams sp = { .tokens = TOKENS, .codes = CODES, .steps = 3, .temperature = 1, .top_p = 1 };
    MgvLoopSample list[SAMPLES];
    int masked[MGV_LOOP_STEPS];
    double noise[MGV_LOOP_STEPS];
    const MgvLoopParams lp = loop_params(&sp, 0, masked, noise);
    MgvLoop *loop = NULL;
    Pair p;

    if (open_pair(&p, 130)) {
        const MgvLoopShape s = shape(&p.device);

        set_samples(list, cond, codes);
        CU_ASSERT_EQUAL_FATAL(vulkan->loop_open(&loop, p.device.dev, &s), 0);
        CU_ASSERT_EQUAL(vulkan->loop_start(loop, &lp, list, 1), 0);
        CU_ASSERT_EQUAL(vulkan->loop_finish(loop, list, 1, NULL, NULL), 0);
        CU_ASSERT(list[0].failed);
        vulkan->loop_close(&loop);
    }
    close_pair(&p);
}

/* The row of the mask becomes infinite in a file of tables, of which the first tensor is that of the codes. */
static void spoil_mask(const char *path)
{
    FILE *f = fopen(path, "r+b");
    const float infinite = INFINITY;
    uint64_t header;

    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fread(&header, sizeof(header), 1, f), 1);
    fseek(f, (long)(sizeof(header) + header + (size_t)MASK * CODES * sizeof(infinite)), SEEK_SET);
    CU_ASSERT_EQUAL(fwrite(&infinite, sizeof(infinite), 1, f), 1);
    fclose(f);
}

/* A sample that fails does so alone: the other, in which nothing is masked, gives what it gives by itself. */
static void test_fails_alone(void)
{
    static const UnitTensor tensors[] = {
        { "codes.weight", { ROWS, CODES } }, { "places.weight", { LENGTH, CODES } }, { NULL }
    };
    static int32_t cond[SAMPLES][TOKENS], codes[SAMPLES][TOKENS], want[TOKENS];
    const MgvSamplerParams sp = { .tokens = TOKENS, .codes = CODES, .steps = 3, .temperature = 1, .top_p = 1 };
    const char *path = unit_weights("spoilt", tensors, 3);
    MgvLoopSample list[SAMPLES];
    int masked[MGV_LOOP_STEPS], ret;
    double noise[MGV_LOOP_STEPS];
    const MgvLoopParams lp = loop_params(&sp, 0, masked, noise);
    MgvSafetensors *st;
    MgvLoop *loop = NULL;
    Table t;

    spoil_mask(path);
    CU_ASSERT_EQUAL_FATAL(mgv_safetensors_open(&st, path, &errors), 0);
    ret = open_table(&t, vulkan, NULL, 2 * SAMPLES, 0, st);
    if (ret >= 0) {
        const MgvLoopShape s = shape(&t);

        set_samples(list, cond, codes);
        for (int i = 0; i < TOKENS; i++) {
            cond[0][i] = cond[2][i] = -1;
            cond[1][i] = i;
        }
        CU_ASSERT_EQUAL_FATAL(vulkan->loop_open(&loop, t.dev, &s), 0);
        CU_ASSERT_EQUAL(vulkan->loop_start(loop, &lp, &list[1], 1), 0);
        CU_ASSERT_EQUAL(vulkan->loop_finish(loop, &list[1], 1, NULL, NULL), 0);
        CU_ASSERT_EQUAL(list[1].failed, 0);
        memcpy(want, codes[1], sizeof(want));
        memset(codes, 0, sizeof(codes));
        CU_ASSERT_EQUAL(vulkan->loop_start(loop, &lp, list, SAMPLES), 0);
        CU_ASSERT_EQUAL(vulkan->loop_finish(loop, list, SAMPLES, NULL, NULL), 0);
        CU_ASSERT(list[0].failed && !list[1].failed && list[2].failed);
        CU_ASSERT_EQUAL(memcmp(codes[1], want, sizeof(want)), 0);
        vulkan->loop_close(&loop);
    } else {
        CU_ASSERT_EQUAL(ret, MAGVIT_ERR(ENOTSUP));
    }
    close_table(&t);
    mgv_safetensors_close(&st);
}

static int stop_at_two(void *opaque)
{
    return ++*(int *)opaque == 2 ? MAGVIT_ERR(ECANCELED) : 0;
}

/* Two on their way, the second stopped in the middle: the next is none the worse for it. Then many, and nothing is left. */
static void test_runs(void)
{
    static int32_t cond[2][SAMPLES][TOKENS], codes[2][SAMPLES][TOKENS], want[SAMPLES][TOKENS];
    const MgvSamplerParams sp = { .tokens = TOKENS, .codes = CODES, .steps = 2, .temperature = 1, .top_p = 1 };
    MgvLoopSample list[2][SAMPLES];
    int masked[MGV_LOOP_STEPS], steps = 0, failed = 0;
    double noise[MGV_LOOP_STEPS];
    const MgvLoopParams lp = loop_params(&sp, 0, masked, noise);
    MgvLoop *loop = NULL;
    long before;
    Pair p;

    if (open_pair(&p, 0)) {
        const MgvLoopShape s = shape(&p.device);

        for (int i = 0; i < 2; i++)
            set_samples(list[i], cond[i], codes[i]);
        CU_ASSERT_EQUAL_FATAL(vulkan->loop_open(&loop, p.device.dev, &s), 0);
        CU_ASSERT_EQUAL(vulkan->loop_start(loop, &lp, list[0], SAMPLES), 0);
        CU_ASSERT_EQUAL(vulkan->loop_start(loop, &lp, list[1], SAMPLES), 0);
        CU_ASSERT_EQUAL(vulkan->loop_finish(loop, list[0], SAMPLES, NULL, NULL), 0);
        memcpy(want, codes[0], sizeof(want));
        CU_ASSERT_EQUAL(vulkan->loop_finish(loop, list[1], SAMPLES, stop_at_two, &steps), MAGVIT_ERR(ECANCELED));
        CU_ASSERT_EQUAL(steps, 2);
        CU_ASSERT_EQUAL(vulkan->loop_start(loop, &lp, list[0], 1), 0);
        before = mgv_vk_allocations;
        for (int i = 1; i < RUNS; i++) {
            failed += vulkan->loop_start(loop, &lp, list[i % 2], 1 + i % SAMPLES) < 0;
            failed += vulkan->loop_finish(loop, list[(i - 1) % 2], 1 + (i - 1) % SAMPLES, NULL, NULL) < 0;
            failed += !!memcmp(codes[(i - 1) % 2], want, (1 + (i - 1) % SAMPLES) * sizeof(want[0]));
            memset(codes[(i - 1) % 2], 0, sizeof(codes[0]));
        }
        CU_ASSERT_EQUAL(failed, 0);
        CU_ASSERT_EQUAL(mgv_vk_allocations, before);
        vulkan->loop_close(&loop); // with one on its way
    }
    close_pair(&p);
    CU_ASSERT_EQUAL(mgv_vk_allocations, 0);
}

/* ---- faults ---- */

static int run_once(MgvDevice *dev, const MgvSafetensors *st, const MgvLoopParams *lp, MgvLoopSample *list)
{
    MgvLoop *loop = NULL;
    MgvLoopShape s;
    Table t;
    int ret;

    RET(open_table(&t, vulkan, dev, 2 * SAMPLES, 0, st));
    s = shape(&t);
    RET(vulkan->loop_open(&loop, dev, &s));
    RET(vulkan->loop_start(loop, lp, list, 2));
    RET(vulkan->loop_start(loop, lp, list, 1));
    RET(vulkan->loop_finish(loop, list, 2, count, &(int){ 0 }));
    RET(vulkan->loop_finish(loop, list, 1, count, &(int){ 0 }));
fail:
    vulkan->loop_close(&loop);
    close_table(&t);
    return ret;
}

/*
 * A failure of the k-th call, for every k: its code, one line, nothing left behind. The device is opened once, see
 * vk.c for that: it keeps the pipelines, each of which fails once and then is there.
 */
static void check_faults(const MgvSafetensors *st, VkResult with, int code, const char *name)
{
    static const MgvDeviceSettings settings;
    static int32_t cond[SAMPLES][TOKENS], codes[SAMPLES][TOKENS];
    const MgvSamplerParams sp = { .tokens = TOKENS, .codes = CODES, .steps = 3, .temperature = 1, .top_p = 1 };
    MgvLoopSample list[SAMPLES];
    int masked[MGV_LOOP_STEPS], k, ret = -1;
    double noise[MGV_LOOP_STEPS];
    const MgvLoopParams lp = loop_params(&sp, 1, masked, noise);
    MgvDevice *dev;

    CU_ASSERT_EQUAL_FATAL(vulkan->open(&dev, &settings, &unit_log), 0);
    set_samples(list, cond, codes);
    for (k = 1; ret < 0 && k < 2000; k++) {
        unit_log_reset();
        mgv_vk_fail_with = with;
        mgv_vk_fail_at   = k;
        ret = run_once(dev, st, &lp, list);
        mgv_vk_fail_at = 0;
        CU_ASSERT(ret == 0 || ret == code);
        CU_ASSERT(ret == 0 || strstr(unit_line, name));
        CU_ASSERT_EQUAL(mgv_vk_allocations, 0);
    }
    CU_ASSERT(ret == 0 && k > 60);
    vulkan->close(&dev);
}

static void test_faults(void)
{
    Pair p;

    if (open_pair(&p, 0)) {
        close_table(&p.device);
        check_faults(p.st, VK_ERROR_DEVICE_LOST, MAGVIT_ERROR_DEVICE, "DEVICE_LOST");
        check_faults(p.st, VK_ERROR_OUT_OF_DEVICE_MEMORY, MAGVIT_ERR(ENOMEM), "OUT_OF_DEVICE_MEMORY");
    }
    close_pair(&p);
}

/* ---- whole windows ---- */

enum { ENCODER, TRANSFORMER, DECODER, NB_PLANS };

/** A model's three plans on the device, and what goes through them. */
typedef struct Windows {
    MgvSafetensors *st;
    MgvConfig c;
    MgvDevice *dev;
    MgvPlan *plan[NB_PLANS];
    MgvExec *exec[NB_PLANS];
    MgvLoop *loop;
    int tokens;
    size_t values;
} Windows;

/* 0 where there is no driver. batch: of the plans. */
static int open_windows(Windows *w, int batch)
{
    static const MgvDeviceSettings settings;
    MgvLoopShape s = { .samples = batch };
    int ret;

    *w = (Windows){ NULL };
    CU_ASSERT_EQUAL_FATAL(mgv_safetensors_open(&w->st, TINY, &errors), 0);
    CU_ASSERT_EQUAL_FATAL(mgv_config_parse(&w->c, w->st, &errors), 0);
    w->tokens = w->c.latent_t * w->c.latent_h * w->c.latent_w;
    w->values = (size_t)w->c.frames * w->c.height * w->c.width * 3;
    ret = vulkan->open(&w->dev, &settings, &errors);
    if (ret < 0) {
        printf("(no Vulkan driver, not tested) ");
        return 0;
    }
    CU_ASSERT_EQUAL_FATAL(mgv_build_encoder(&w->plan[ENCODER], &w->c, batch, w->st, &errors), 0);
    CU_ASSERT_EQUAL_FATAL(mgv_build_transformer(&w->plan[TRANSFORMER], &w->c, batch, w->st, &errors), 0);
    CU_ASSERT_EQUAL_FATAL(mgv_build_decoder(&w->plan[DECODER], &w->c, batch, w->st, &errors), 0);
    for (int i = 0; i < NB_PLANS; i++)
        CU_ASSERT_EQUAL_FATAL(vulkan->compile(&w->exec[i], w->dev, w->plan[i]), 0);
    s.encoder     = w->exec[ENCODER];
    s.transformer = w->exec[TRANSFORMER];
    s.decoder     = w->exec[DECODER];
    s.prefix      = mgv_prefix_length(&w->c);
    s.tokens      = w->tokens;
    s.codes       = w->c.codebook_size;
    s.mask        = mgv_token_mask(&w->c);
    CU_ASSERT_EQUAL_FATAL(vulkan->loop_open(&w->loop, w->dev, &s), 0);
    return 1;
}

static void close_windows(Windows *w)
{
    if (w->dev) {
        vulkan->loop_close(&w->loop);
        for (int i = 0; i < NB_PLANS; i++)
            vulkan->free(&w->exec[i]);
        vulkan->close(&w->dev);
    }
    for (int i = 0; i < NB_PLANS; i++)
        mgv_plan_free(&w->plan[i]);
    mgv_config_uninit(&w->c);
    mgv_safetensors_close(&w->st);
}

/* Clips of noise, whose first cells are given, as they come out of runs of n. */
static void make_windows(Windows *w, int n, int32_t *codes, float *out)
{
    const MgvSamplerParams sp = { .tokens = w->tokens, .codes = w->c.codebook_size, .steps = 2, .choice_temperature = 1,
                                  .temperature = 1, .top_p = 1, .seed = 9 };
    float *clip = mgv_calloc(w->values, SAMPLES * sizeof(*clip));
    int32_t *cond = mgv_calloc(w->tokens, sizeof(*cond));
    MgvLoopSample list[SAMPLES];
    int masked[MGV_LOOP_STEPS];
    double noise[MGV_LOOP_STEPS];
    const MgvLoopParams lp = loop_params(&sp, 0, masked, noise);
    uint64_t state = 5;

    for (size_t i = 0; i < w->values * SAMPLES; i++)
        clip[i] = (unit_float(&state) + 1) / 2;
    for (int i = 0; i < w->tokens; i++)
        cond[i] = i < w->tokens / 3 ? MGV_COND_ENCODED : -1;
    for (int i = 0; i < SAMPLES; i++)
        list[i] = (MgvLoopSample){ .clip = clip + i * w->values, .cond = cond, .prefix = { 3, 4 }, .window = (uint32_t)i,
                                   .codes = codes + i * w->tokens, .out = out + i * w->values };
    for (int i = 0; i < SAMPLES; i += n) {
        CU_ASSERT_EQUAL_FATAL(vulkan->loop_start(w->loop, &lp, list + i, n), 0);
        CU_ASSERT_EQUAL_FATAL(vulkan->loop_finish(w->loop, list + i, n, NULL, NULL), 0);
    }
    mgv_freep(&clip);
    mgv_freep(&cond);
}

/* The decoder alone makes the same of the codes. */
static void check_parts(Windows *w, const int32_t *codes, const float *out)
{
    float *got = mgv_calloc(w->values, SAMPLES * sizeof(*got));
    const size_t n = (size_t)SAMPLES * w->tokens * sizeof(*codes);

    CU_ASSERT_EQUAL(vulkan->limit(w->exec[DECODER], SAMPLES), 0);
    CU_ASSERT_EQUAL(vulkan->write(w->exec[DECODER], w->plan[DECODER]->inputs[0], codes, n), 0);
    CU_ASSERT_EQUAL(vulkan->run(w->exec[DECODER]), 0);
    CU_ASSERT_EQUAL(vulkan->read(w->exec[DECODER], w->plan[DECODER]->outputs[0], got, w->values * SAMPLES * sizeof(*got)), 0);
    CU_ASSERT_EQUAL(memcmp(got, out, w->values * SAMPLES * sizeof(*got)), 0);
    mgv_freep(&got);
}

/* A sample is the same bit by bit alone and beside others, in plans for one and for more. */
static void test_batch(void)
{
    static const struct { int batch, n; } rows[] = { { SAMPLES, SAMPLES }, { SAMPLES, 1 }, { 1, 1 } };
    int32_t *codes[MGV_ARRAY_LEN(rows)] = { NULL };
    float *out[MGV_ARRAY_LEN(rows)] = { NULL };
    Windows w;

    for (size_t i = 0; i < MGV_ARRAY_LEN(rows); i++) {
        if (open_windows(&w, rows[i].batch)) {
            codes[i] = mgv_calloc(w.tokens, SAMPLES * sizeof(*codes[i]));
            out[i]   = mgv_calloc(w.values, SAMPLES * sizeof(*out[i]));
            make_windows(&w, rows[i].n, codes[i], out[i]);
            CU_ASSERT(memcmp(out[i], out[i] + w.values, w.values * sizeof(*out[i])));
            CU_ASSERT_EQUAL(memcmp(codes[i], codes[0], SAMPLES * w.tokens * sizeof(*codes[i])), 0);
            CU_ASSERT_EQUAL(memcmp(out[i], out[0], SAMPLES * w.values * sizeof(*out[i])), 0);
            if (!i)
                check_parts(&w, codes[i], out[i]);
        }
        close_windows(&w);
    }
    for (size_t i = 0; i < MGV_ARRAY_LEN(rows); i++) {
        mgv_freep(&codes[i]);
        mgv_freep(&out[i]);
    }
    CU_ASSERT_EQUAL(mgv_vk_allocations, 0);
}
/* ---- transfers ---- */

/* As in queues of their own: one for uploads, or two. All that may go wrong, and nothing else comes out. */
static void test_transfers(void)
{
    static const char *const names[] = { [MGV_VK_TRANSFERS_UP] = ", 1 transfer queue", [MGV_VK_TRANSFERS_BOTH] = ", 2 transfer queues" };

    for (enum MgvVkTransfers t = MGV_VK_TRANSFERS_UP; t <= MGV_VK_TRANSFERS_BOTH; t++) {
        Pair p;

        mgv_vk_transfers = t;
        if (open_pair(&p, 0)) {
            CU_ASSERT_PTR_NOT_NULL(strstr(vulkan->describe(p.device.dev), names[t]));
            close_pair(&p);
            test_runs();
            test_batch();
            if (t == MGV_VK_TRANSFERS_BOTH)
                test_faults();
        }
        close_pair(&p);
        mgv_vk_transfers = MGV_VK_TRANSFERS_AUTO;
    }
}
#endif

CU_ErrorCode add_vk_sampler_suite(void)
{
    static const UnitTest tests[] = {
#if CONFIG_VULKAN
        { "equal logits, equal tokens", test_equal_logits },
        { "logits that are not finite", test_not_finite },
        { "a sample fails alone", test_fails_alone },
        { "1000 windows, two runs at a time", test_runs },
        { "failure of every call of a loop", test_faults },
        { "windows beside each other", test_batch },
#endif
        { NULL, NULL }
    };
    return unit_add("vk_sampler", tests);
}

/* A suite of its own for the validation layer: tests/validation.sh. */
CU_ErrorCode add_vk_transfers_suite(void)
{
    static const UnitTest tests[] = {
#if CONFIG_VULKAN
        { "transfers in queues of their own", test_transfers },
#endif
        { NULL, NULL }
    };
    return unit_add("vk_transfers", tests);
}
