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


/* Contexts: finding a model, opening it, and windows through the real plans of the test model. */

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "libmagvit/context.h"
#if CONFIG_ONEDNN
#include "kernels/dnnl.h"
#endif
#include "tests/unit/unit.h"

#define TINY MAGVIT_SOURCE_PATH "/tests/data/tiny.safetensors"
#define KNOWN MAGVIT_SOURCE_PATH "/tests/data/tiny-known.safetensors"

static MagvitSettings settings(const char *model)
{
    MagvitSettings s;

    magvit_default_settings(&s);
    s.model   = model;
    s.backend = MAGVIT_BACKEND_REF;
    s.log     = unit_log;
    return s;
}

static MagvitContext *open_model(const char *path)
{
    MagvitSettings s = settings(path);
    MagvitContext *ctx = NULL;

    CU_ASSERT_EQUAL_FATAL(magvit_open(&ctx, &s), 0);
    return ctx;
}

static void expect_open(const MagvitSettings *s, int want, const char *text)
{
    MagvitContext *ctx;

    unit_log_reset();
    CU_ASSERT_EQUAL(magvit_open(&ctx, s), want);
    CU_ASSERT_PTR_NULL(ctx);
    CU_ASSERT_EQUAL(unit_lines, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, text));
}

static void test_open_errors(void)
{
    MagvitSettings s = settings("/nowhere/x.safetensors");

    expect_open(&s, MAGVIT_ERR(ENOENT), "'/nowhere/x.safetensors', tried /nowhere/x.safetensors");
    s = settings(MAGVIT_SOURCE_PATH "/tests/unit"); // a folder without a model
    expect_open(&s, MAGVIT_ERR(ENOENT), "tests/unit/magvit-small.safetensors");
    s = settings(unit_write("junk.safetensors", "junk", 4));
    expect_open(&s, MAGVIT_ERROR_MODEL, "");
    s = settings(TINY);
    s.threads = 257;
    expect_open(&s, MAGVIT_ERR(EINVAL), "threads is 257, must be in [0,256]");
    s = settings(TINY);
    s.batch = 17;
    expect_open(&s, MAGVIT_ERR(EINVAL), "batch is 17, must be in [0,16]");
    s = settings(TINY);
    s.backend = 9;
    expect_open(&s, MAGVIT_ERR(EINVAL), "backend is 9");
    s = settings(TINY);
    s.precision = 5;
    expect_open(&s, MAGVIT_ERR(EINVAL), "precision is 5, must be in [0,4]");
    s = settings(TINY);
    s.precision = MAGVIT_PRECISION_BF16;
    expect_open(&s, MAGVIT_ERR(ENOTSUP), "precision is bf16, must be auto or f32 for the ref backend");
    s = settings(TINY);
    s.precision = MAGVIT_PRECISION_INT8;
    expect_open(&s, MAGVIT_ERR(ENOTSUP), "precision is int8, must be auto or f32 for the ref backend");
    s = settings(TINY);
    s.precision = MAGVIT_PRECISION_F16;
    expect_open(&s, MAGVIT_ERR(ENOTSUP), "precision is f16, must be auto or f32 for the ref backend");
#if CONFIG_ONEDNN
    s.backend = MAGVIT_BACKEND_CPU;
    expect_open(&s, MAGVIT_ERR(ENOTSUP), "precision is f16, must be auto, f32, bf16 or int8 for the cpu backend");
#endif
}

#if CONFIG_ONEDNN
/* What the processor is best at, and float32: near each other, and the same only where there is no bf16. */
static void test_precision(void)
{
    static float clip[2][16 * 32 * 32 * 3];
    static int32_t codes[4 * 4 * 4];
    double error = 0;
    int bf16 = 0;

    for (size_t i = 0; i < MGV_ARRAY_LEN(codes); i++)
        codes[i] = (int32_t)(i * 7 % 64);
    for (int i = 0; i < 2; i++) {
        MagvitSettings s = settings(TINY);
        MagvitContext *ctx = NULL;
        MagvitInfo info;

        s.backend   = MAGVIT_BACKEND_CPU;
        s.precision = i ? MAGVIT_PRECISION_F32 : MAGVIT_PRECISION_AUTO;
        CU_ASSERT_EQUAL_FATAL(magvit_open(&ctx, &s), 0);
        CU_ASSERT_EQUAL(magvit_get_info(ctx, &info), 0);
        bf16 |= strstr(info.device, ", bf16,") != NULL;
        CU_ASSERT(!i || strstr(info.device, ", f32,"));
        CU_ASSERT_EQUAL(magvit_decode(ctx, codes, clip[i]), 0);
        magvit_close(&ctx);
    }
    for (size_t i = 0; i < MGV_ARRAY_LEN(clip[0]); i++)
        error += fabs(clip[0][i] - clip[1][i]) / MGV_ARRAY_LEN(clip[0]);
    CU_ASSERT(error < 0.01);
    CU_ASSERT_EQUAL(error > 0, bf16);
}
#endif

#if CONFIG_ONEDNN
/* Where auto takes bf16. What this processor has, and less, is tests/fate/elsewhere.sh's business. */
static void test_fast_bf16(void)
{
    CU_ASSERT(mgv_dnnl_fast_bf16(1, 1, 1));  // Sapphire Rapids
    CU_ASSERT(mgv_dnnl_fast_bf16(1, 1, 0));
    CU_ASSERT(!mgv_dnnl_fast_bf16(1, 0, 1)); // Cooper Lake
    CU_ASSERT(mgv_dnnl_fast_bf16(1, 0, 0));  // Zen 4
    CU_ASSERT(!mgv_dnnl_fast_bf16(0, 0, 1)); // Cascade Lake
    CU_ASSERT(!mgv_dnnl_fast_bf16(0, 0, 0));
}
#endif

static void test_environment(void)
{
    MagvitSettings s = settings(NULL);
    MagvitContext *ctx = NULL;
    MagvitInfo info;

    setenv("MAGVIT_MODEL_PATH", TINY, 1);
    CU_ASSERT_EQUAL_FATAL(magvit_open(&ctx, &s), 0);
    CU_ASSERT_EQUAL(magvit_get_info(ctx, &info), 0);
    CU_ASSERT_STRING_EQUAL(info.path, TINY);
    CU_ASSERT_STRING_EQUAL(info.backend, "ref");
    CU_ASSERT_EQUAL(strlen(info.sha256), 64);
    CU_ASSERT(info.window[0] == 16 && info.window[2] == 32 && info.latent[1] == 4);
    CU_ASSERT(info.tasks >> MAGVIT_TASK_INTERP & 1);
    CU_ASSERT(info.parameters > 0 && info.weight_bytes > 0 && info.work_bytes > 0);
    magvit_close(&ctx);
    CU_ASSERT_PTR_NULL(ctx);
    magvit_close(&ctx);
    unsetenv("MAGVIT_MODEL_PATH");
}

static void test_encode_decode(void)
{
    MagvitContext *ctx = open_model(TINY);
    float *clip = mgv_calloc(16 * 32 * 32, 3 * sizeof(*clip));
    int32_t codes[64], again[64];
    int bad = 0;

    for (int i = 0; i < 16 * 32 * 32 * 3; i++)
        clip[i] = i % 256 / 255.0f;
    CU_ASSERT_EQUAL(magvit_encode(ctx, clip, codes), 0);
    CU_ASSERT_EQUAL(magvit_encode(ctx, clip, again), 0);
    CU_ASSERT(!memcmp(codes, again, sizeof(codes)));
    CU_ASSERT_EQUAL(magvit_decode(ctx, codes, clip), 0);
    for (int i = 0; i < 16 * 32 * 32 * 3; i++)
        bad |= !(clip[i] >= 0 && clip[i] <= 1);
    CU_ASSERT(!bad);
    codes[5] = 1 << 20;
    unit_log_reset();
    CU_ASSERT_EQUAL(magvit_decode(ctx, codes, clip), MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(unit_lines, 1);
    mgv_freep(&clip);
    magvit_close(&ctx);
}

enum { W = 36, H = 20, SIZE = W * H, MAX_OUT = 16 };

static void source(uint8_t in[2][SIZE])
{
    for (int i = 0; i < SIZE; i++) {
        in[0][i] = (uint8_t)(i % W * 6);
        in[1][i] = (uint8_t)(i / W * 12);
    }
}

/* Two gray frames through a session of a task. @return frames, or an error */
static int run(MagvitContext *ctx, const MagvitParams *p, uint8_t out[MAX_OUT][SIZE])
{
    static uint8_t in[2][SIZE];
    MagvitSession *s;
    int sent = 0, n = 0, ret = magvit_session_open(&s, ctx, p);

    source(in);
    while (ret >= 0 && n < MAX_OUT) {
        MagvitFrame f = { .data = { out[n] }, .stride = { W } };

        ret = magvit_receive_frame(s, &f);
        if (ret == 0) {
            n++;
        } else if (ret == MAGVIT_ERR(EAGAIN)) {
            MagvitFrame g = { .data = { in[sent % 2] }, .stride = { W }, .pts = sent, .duration = 1 };
            ret = magvit_send_frame(s, sent < 2 ? &g : NULL);
            sent++;
        }
    }
    magvit_session_close(&s);
    return ret == MAGVIT_ERROR_EOF ? n : ret;
}

static MagvitParams params(enum MagvitTask task)
{
    MagvitParams p;

    magvit_default_params(&p, task);
    p.format     = (MagvitFormat){ MAGVIT_MODEL_GRAY, 8, 0, 0, 0, 0 };
    p.width      = W;
    p.height     = H;
    p.time_base  = (MagvitRational){ 1, 10 };
    p.frame_rate = (MagvitRational){ 10, 1 };
    p.w = p.h    = 9;
    p.steps      = 2;
    p.frames     = 5;
    p.out_width  = W;
    p.out_height = H;
    return p;
}

static void test_sessions(void)
{
    static const int frames[MAGVIT_TASK_NB] = { 4, 7, 2, 2, 5 };
    MagvitContext *ctx = open_model(TINY);
    MagvitInfo info;
    uint8_t a[MAX_OUT][SIZE], b[MAX_OUT][SIZE];

    magvit_get_info(ctx, &info);
    for (int task = 0; task < MAGVIT_TASK_NB; task++) {
        MagvitParams p = params(task);

        unit_log_reset();
        if (!(info.tasks >> task & 1)) {
            CU_ASSERT_EQUAL(run(ctx, &p, a), MAGVIT_ERR(ENOTSUP));
            CU_ASSERT_EQUAL(unit_lines, 1);
            continue;
        }
        CU_ASSERT_EQUAL(run(ctx, &p, a), frames[task]);
        CU_ASSERT_EQUAL(run(ctx, &p, b), frames[task]);
        CU_ASSERT(!memcmp(a, b, (size_t)frames[task] * SIZE)); // same seed, same bytes
        p.guidance = 2;
        CU_ASSERT_EQUAL(run(ctx, &p, b), frames[task]);
        p.guidance = 0;
        p.seed     = 1;
        CU_ASSERT_EQUAL(run(ctx, &p, b), frames[task]);
        if (task != MAGVIT_TASK_OUTPAINT) // whose canvas has no border here
            CU_ASSERT(memcmp(a, b, (size_t)frames[task] * SIZE));
    }
    magvit_close(&ctx);
}

/* The given sample at (x,y) of the output of a repair; NULL: it is to be made. */
static const uint8_t *given(const MagvitParams *p, const uint8_t *in, int x, int y)
{
    if (p->task == MAGVIT_TASK_INPAINT)
        return x < p->x || x >= p->x + p->w || y < p->y || y >= p->y + p->h ? in + y * W + x : NULL;
    x -= p->x;
    y -= p->y;
    return x >= 0 && x < p->width && y >= 0 && y < p->height ? in + y * W + x : NULL;
}

/* Given samples are as they came; others differ somewhere. */
static void check_repair(const MagvitParams *p, uint8_t a[2][SIZE], uint8_t b[2][SIZE])
{
    uint8_t in[2][SIZE];
    int changed = 0, differ = 0;

    source(in);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < SIZE; i++) {
            const uint8_t *g = given(p, in[k], i % W, i / W);

            changed += g && (a[k][i] != *g || b[k][i] != *g);
            differ  += !g && a[k][i] != b[k][i];
        }
    CU_ASSERT_EQUAL(changed, 0);
    CU_ASSERT(differ > 0);
}

/*
 * With fast all frames come, and nothing of it is left for the session after it. Two steps compute every token twice
 * anyway, so that more of them are needed for a difference.
 */
static void test_fast(void)
{
    static const int frames[MAGVIT_TASK_NB] = { 4, 7, 2, 2, 5 };
    MagvitContext *ctx = open_model(TINY);
    uint8_t a[MAX_OUT][SIZE], b[MAX_OUT][SIZE];

    for (int task = 0; task < MAGVIT_TASK_NB; task++) {
        MagvitParams p = params(task);
        MagvitMemory plain, fast;

        if (task == MAGVIT_TASK_OUTPAINT) {
            p.width  = W - 10;
            p.height = H - 8;
        }
        for (int steps = 2; steps <= 6; steps += 4) {
            p.steps = steps;
            p.fast  = 0;
            CU_ASSERT_EQUAL(run(ctx, &p, a), frames[task]);
            CU_ASSERT_EQUAL(magvit_session_memory(ctx, &p, &plain), 0);
            p.fast  = 1;
            CU_ASSERT_EQUAL(run(ctx, &p, b), frames[task]);
            CU_ASSERT_EQUAL(magvit_session_memory(ctx, &p, &fast), 0);
            CU_ASSERT_EQUAL(!memcmp(a, b, (size_t)frames[task] * SIZE), steps == 2);
            CU_ASSERT(fast.total > plain.total);
            CU_ASSERT(plain.tiles >= 1 && fast.tiles == plain.tiles);
            p.fast  = 0;
            CU_ASSERT_EQUAL(run(ctx, &p, b), frames[task]);
            CU_ASSERT_EQUAL(memcmp(a, b, (size_t)frames[task] * SIZE), 0);
        }
    }
    magvit_close(&ctx);
}

static void test_fast_ignored(void)
{
    MagvitContext *ctx = open_model(TINY);
    MagvitParams p = params(MAGVIT_TASK_INTERP);
    MagvitSession *s;

    p.fast     = 1;
    p.guidance = 2;
    unit_log_reset();
    CU_ASSERT_EQUAL(magvit_session_open(&s, ctx, &p), 0);
    CU_ASSERT_EQUAL(unit_lines, 1);
    CU_ASSERT_STRING_EQUAL(unit_line, "fast is without effect with guidance");
    magvit_session_close(&s);
    magvit_close(&ctx);
}

#if CONFIG_ONEDNN
/* Frames of a window between two in a precision. @return bytes of its weights, or an error: the CPU has not got it */
static int64_t run_in(enum MagvitPrecision precision, int threads, uint8_t out[MAX_OUT][SIZE], int *frames)
{
    MagvitParams p = params(MAGVIT_TASK_INTERP);
    MagvitSettings s = settings(TINY);
    MagvitContext *ctx;
    MagvitInfo info;
    int ret;

    s.backend   = MAGVIT_BACKEND_CPU;
    s.precision = precision;
    s.threads   = threads;
    p.factor    = 4;
    if ((ret = magvit_open(&ctx, &s)) < 0)
        return ret;
    magvit_get_info(ctx, &info);
    CU_ASSERT_EQUAL(strstr(info.device, "int8 and ") != NULL, precision == MAGVIT_PRECISION_INT8);
    *frames = run(ctx, &p, out);
    magvit_close(&ctx);
    return (int64_t)info.weight_bytes;
}

/* 8 bits: smaller weights, given frames as they came, made ones near those of float32, the same with every number of threads. */
static void test_int8(void)
{
    static uint8_t in[2][SIZE], f32[MAX_OUT][SIZE], first[MAX_OUT][SIZE], out[MAX_OUT][SIZE];
    double error = 0;
    int64_t bytes;
    int n, nb;

    unit_log_reset();
    bytes = run_in(MAGVIT_PRECISION_INT8, 1, first, &n);
    if (bytes == MAGVIT_ERR(ENOTSUP)) {
        CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, "precision is int8"));
        puts("\nint8: skipped, this CPU has neither AVX512_VNNI nor AVX_VNNI");
        return;
    }
    CU_ASSERT_FATAL(bytes > 0 && n == 8);
    for (int threads = 2; threads <= 3; threads++) {
        CU_ASSERT_EQUAL(run_in(MAGVIT_PRECISION_INT8, threads, out, &nb), bytes);
        CU_ASSERT_EQUAL(nb, n);
        CU_ASSERT_EQUAL(memcmp(out, first, n * sizeof(*out)), 0);
    }
    CU_ASSERT(run_in(MAGVIT_PRECISION_AUTO, 1, out, &nb) > bytes);
    CU_ASSERT(run_in(MAGVIT_PRECISION_F32, 1, f32, &nb) > bytes);
    CU_ASSERT_EQUAL(nb, n);
    source(in);
    for (int i = 0; i < n; i += 4)
        CU_ASSERT_EQUAL(memcmp(first[i], in[i / 4], SIZE), 0);
    for (int i = 0; i < n * SIZE; i++)
        error += abs(first[i / SIZE][i % SIZE] - f32[i / SIZE][i % SIZE]) / ((double)n * SIZE);
    CU_ASSERT(error < 1); // of 255
}
#endif

/* A limit is held against what the model then takes, to the byte, in every backend and precision that there is. */
static void test_limit(void)
{
    for (int i = 0; i < 3 * (MAGVIT_PRECISION_F16 + 1); i++) {
        MagvitSettings s = settings(i % 2 ? TINY : KNOWN);
        MagvitContext *ctx;
        int64_t need;

        s.backend   = MAGVIT_BACKEND_REF + i % 3;
        s.precision = i / 3;
        s.batch     = s.backend == MAGVIT_BACKEND_VULKAN ? 2 : 0;
        s.threads   = 2;
        s.log.level = MAGVIT_LOG_ERROR; // a software device warns
        if (magvit_open(&ctx, &s) < 0)
            continue;
        need = mgv_context_bytes(ctx);
        magvit_close(&ctx);
        s.max_memory = need;
        CU_ASSERT_EQUAL_FATAL(magvit_open(&ctx, &s), 0);
        CU_ASSERT_EQUAL(mgv_context_bytes(ctx), need);
        magvit_close(&ctx);
        s.max_memory = need - 1;
        expect_open(&s, MAGVIT_ERR(ENOMEM), "max_memory allows");
        s.describe_only = 1;
        CU_ASSERT_EQUAL(magvit_open(&ctx, &s), 0);
        magvit_close(&ctx);
    }
}

/* A model that is only looked at says the same as one that is opened, and computes nothing. */
static void test_describe_only(void)
{
    MagvitContext *ctx, *whole = open_model(KNOWN);
    MagvitParams p = params(MAGVIT_TASK_INTERP);
    MagvitSettings s;
    MagvitSession *ses;
    MagvitMemory m;
    MagvitInfo a, b;
    float clip = 0;
    int32_t code = 0;

    magvit_default_settings(&s);
    s.model = KNOWN;
    s.log   = unit_log;
    s.describe_only = 1;
    CU_ASSERT_EQUAL_FATAL(magvit_open(&ctx, &s), 0);
    magvit_get_info(ctx, &a);
    magvit_get_info(whole, &b);
    CU_ASSERT_STRING_EQUAL(a.name, b.name);
    CU_ASSERT_STRING_EQUAL(a.classes, b.classes);
    CU_ASSERT_STRING_EQUAL(a.backend, "");
    CU_ASSERT_STRING_EQUAL(a.sha256, "");
    CU_ASSERT(a.tasks == b.tasks && a.parameters == b.parameters && !memcmp(a.window, b.window, sizeof(a.window)));
    CU_ASSERT(!a.weight_bytes && b.weight_bytes);
    CU_ASSERT(a.macs[0] > 0 && a.macs[1] > 0 && a.macs[2] > a.macs[0] && !memcmp(a.macs, b.macs, sizeof(a.macs)));
    unit_log_reset();
    CU_ASSERT_EQUAL(magvit_session_open(&ses, ctx, &p), MAGVIT_ERR(EINVAL));
    CU_ASSERT_PTR_NULL(ses);
    CU_ASSERT_EQUAL(magvit_session_memory(ctx, &p, &m), MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(magvit_encode(ctx, &clip, &code), MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(magvit_decode(ctx, &code, &clip), MAGVIT_ERR(EINVAL));
    CU_ASSERT(unit_lines == 4 && strstr(unit_line, "describe_only"));
    magvit_close(&ctx);
    magvit_close(&whole);
}

/* A decoder that sees the given pixels: it changes what is made, and nothing else. */
static void test_known_pixels(void)
{
    static const int frames[MAGVIT_TASK_NB] = { 4, 7, 2, 2, 5 };
    MagvitContext *ctx = open_model(KNOWN);
    MagvitInfo info;
    uint8_t a[MAX_OUT][SIZE], b[MAX_OUT][SIZE];

    CU_ASSERT_EQUAL(magvit_get_info(ctx, &info), 0);
    CU_ASSERT_STRING_EQUAL(info.known_pixels, "gated");
    for (int task = 0; task < MAGVIT_TASK_NB; task++) {
        MagvitParams p = params(task);

        p.x = p.y = 5;
        if (task == MAGVIT_TASK_OUTPAINT) {
            p.width  = W - 10;
            p.height = H - 8;
        }
        CU_ASSERT_EQUAL(p.known_pixels, 1);
        CU_ASSERT_EQUAL(run(ctx, &p, a), frames[task]);
        p.known_pixels = 0;
        CU_ASSERT_EQUAL(run(ctx, &p, b), frames[task]);
        /* generation is given nothing */
        CU_ASSERT_EQUAL(!memcmp(a, b, (size_t)frames[task] * SIZE), task == MAGVIT_TASK_GENERATE);
        if (task == MAGVIT_TASK_INPAINT || task == MAGVIT_TASK_OUTPAINT)
            check_repair(&p, a, b);
    }
    magvit_close(&ctx);
}

/* What is set while a stream runs holds for the windows after it; what is out of range changes nothing. */
static void test_set_decoding(void)
{
    MagvitContext *ctx = open_model(TINY);
    MagvitParams p = params(MAGVIT_TASK_INTERP), q = p;
    uint8_t in[2][SIZE], out[4][SIZE];
    uint64_t seeds[2][4];
    MagvitSession *s;

    source(in);
    CU_ASSERT_EQUAL_FATAL(magvit_session_open(&s, ctx, &p), 0);
    for (int run = 0; run < 2; run++) {
        int n = 0, sent = 0, ret;

        magvit_session_flush(s);
        while (n < 4) {
            MagvitFrame f = { .data = { out[n] }, .stride = { W } };
            MagvitFrame g = { .data = { in[sent % 2] }, .stride = { W }, .pts = sent, .duration = 1 };

            ret = magvit_receive_frame(s, &f);
            if (ret == MAGVIT_ERR(EAGAIN) && ++sent)
                CU_ASSERT_EQUAL_FATAL(magvit_send_frame(s, sent <= 2 ? &g : NULL), 0)
            else
                CU_ASSERT_EQUAL_FATAL(ret, 0);
            if (ret == 0)
                seeds[run][n++] = f.generated ? f.seed : 100;
        }
        q.steps = 300;
        unit_log_reset();
        CU_ASSERT_EQUAL(magvit_session_set_decoding(s, &q), MAGVIT_ERR(EINVAL));
        CU_ASSERT(unit_lines == 1 && strstr(unit_line, "steps is 300"));
        q.steps = 3;
        q.seed  = 7;
        CU_ASSERT_EQUAL(magvit_session_set_decoding(s, &q), 0);
    }
    CU_ASSERT_EQUAL(seeds[0][1], 0);
    CU_ASSERT_EQUAL(seeds[1][1], 7);
    magvit_session_close(&s);
    magvit_close(&ctx);
}

/* An input that moves over the canvas: its samples lie where each frame says, what is around them is made. */
static void test_moving(void)
{
    MagvitContext *ctx = open_model(TINY);
    MagvitParams p = params(MAGVIT_TASK_OUTPAINT);
    MagvitSession *s;
    uint8_t in[2][SIZE], out[SIZE];
    int ret, sent = 0, n = 0;

    source(in);
    p.width -= 10;
    p.x      = 1000; // not looked at
    p.moving = 1;
    CU_ASSERT_EQUAL_FATAL(magvit_session_open(&s, ctx, &p), 0);
    while (n < 20) {
        MagvitFrame f = { .data = { out }, .stride = { W } };

        ret = magvit_receive_frame(s, &f);
        if (ret == MAGVIT_ERR(EAGAIN)) {
            MagvitFrame g = { .data = { in[sent % 2] }, .stride = { W }, .pts = sent, .duration = 1, .x = sent % 11 };
            CU_ASSERT_EQUAL_FATAL(magvit_send_frame(s, sent < 20 ? &g : NULL), 0);
            sent++;
            continue;
        }
        CU_ASSERT_EQUAL_FATAL(ret, 0);
        CU_ASSERT_EQUAL(f.generated, 1);
        for (int y = 0; y < H; y++)
            CU_ASSERT(!memcmp(out + y * W + n % 11, in[n % 2] + y * W, W - 10));
        n++;
    }
    magvit_session_flush(s);
    unit_log_reset();
    CU_ASSERT_EQUAL(magvit_send_frame(s, &(MagvitFrame){ .data = { in[0] }, .stride = { W }, .x = 11 }), MAGVIT_ERR(EINVAL));
    CU_ASSERT(unit_lines == 1 && strstr(unit_line, "x is 11, must be in [0,10]"));
    magvit_session_close(&s);
    magvit_close(&ctx);
}

static void expect_bad(MagvitContext *ctx, MagvitParams p, const char *text)
{
    MagvitSession *s;

    unit_log_reset();
    CU_ASSERT_EQUAL(magvit_session_open(&s, ctx, &p), MAGVIT_ERR(EINVAL));
    CU_ASSERT_PTR_NULL(s);
    CU_ASSERT_EQUAL(unit_lines, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, text));
}

#define EXPECT_BAD(name, text)                        \
    do {                                              \
        MagvitParams p = params(MAGVIT_TASK_INTERP);  \
        p.name;                                       \
        expect_bad(ctx, p, text);                     \
    } while (0)

static void test_bad_decoding(void)
{
    MagvitContext *ctx = open_model(TINY);

    EXPECT_BAD(steps = 257, "steps is 257, must be in [0,256]");
    EXPECT_BAD(schedule = "line", "'line'");
    EXPECT_BAD(temperature = 0.0 / 0.0, "temperature");
    EXPECT_BAD(top_k = -1, "top_k");
    EXPECT_BAD(top_p = 0, "top_p is 0, must be in (0,1]");
    EXPECT_BAD(guidance = -1, "guidance");
    EXPECT_BAD(fast = 2, "fast is 2, must be 0 or 1");
    EXPECT_BAD(known_pixels = 2, "known_pixels is 2, must be 0 or 1");
    EXPECT_BAD(class_id = 1000, "class_id is 1000");
    EXPECT_BAD(width = 0, "width is 0");
    magvit_close(&ctx);
}

static void test_classes(void)
{
    static const struct { const char *name; int id; } good[] = {
        { "ball", 0 }, { "cube", 1 }, { "cone", 2 }, { "0", 0 }, { "2", 2 },
    };
    static const char *const bad[] = { "", "con", "cones", "ball,cube", "3", "-1", "1x", " " };
    MagvitContext *ctx = open_model(TINY);
    int id;

    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        CU_ASSERT_EQUAL(magvit_find_class(ctx, good[i].name, &id), 0);
        CU_ASSERT_EQUAL(id, good[i].id);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        unit_log_reset();
        CU_ASSERT_EQUAL(magvit_find_class(ctx, bad[i], &id), MAGVIT_ERR(EINVAL));
        CU_ASSERT_EQUAL(unit_lines, 1);
        CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, bad[i]));
        CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, "ball,cube,cone or a number in [0,2]"));
    }
    magvit_close(&ctx);
}

CU_ErrorCode add_magvit_suite(void)
{
    static const UnitTest tests[] = {
        { "models that cannot be opened", test_open_errors },
#if CONFIG_ONEDNN
        { "precision", test_precision },
        { "bf16 of a processor", test_fast_bf16 },
#endif
        { "model of the environment", test_environment },
        { "encode and decode", test_encode_decode },
        { "sessions of all tasks", test_sessions },
        { "fast", test_fast },
        { "fast with guidance", test_fast_ignored },
        { "decoder that sees known pixels", test_known_pixels },
#if CONFIG_ONEDNN
        { "int8", test_int8 },
#endif
        { "limit", test_limit },
        { "a model that is only looked at", test_describe_only },
        { "decoding set while running", test_set_decoding },
        { "input that moves", test_moving },
        { "names and numbers of classes", test_classes },
        { "bad decoding parameters", test_bad_decoding },
        { NULL, NULL }
    };
    return unit_add("magvit", tests);
}
