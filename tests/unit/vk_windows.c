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
 * Windows of the tiny model in batches on the Vulkan backend: frames are those
 * of one window at a time, whatever happens, and nothing is left behind. What
 * the queue does is tested in tiles.c. Without a driver the tests say so and pass.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "tests/unit/unit.h"

#if CONFIG_VULKAN
#include "kernels/vk.h"

#define TINY MAGVIT_SOURCE_PATH "/tests/data/tiny.safetensors"

enum { W = 32, OUT_W = 40, H = 32, OUT = 80, FACTOR = 5 };

typedef uint8_t Frames[OUT][OUT_W * H];

static const enum MagvitTask tasks[] = { MAGVIT_TASK_INTERP, MAGVIT_TASK_INPAINT, MAGVIT_TASK_OUTPAINT };
static Frames want[MGV_ARRAY_LEN(tasks)], got;

/* NULL with a word where there is no driver. */
static MagvitContext *open_context(enum MagvitPrecision precision, int batch)
{
    MagvitContext *ctx = NULL;
    MagvitSettings s;
    int ret;

    magvit_default_settings(&s);
    s.model     = TINY;
    s.backend   = MAGVIT_BACKEND_VULKAN;
    s.precision = precision;
    s.batch     = batch;
    s.log       = unit_log;
    ret = magvit_open(&ctx, &s);
    if (ret == MAGVIT_ERR(ENOTSUP))
        printf("(no Vulkan driver, not tested) ");
    else
        CU_ASSERT_EQUAL(ret, 0);
    return ctx;
}

static MagvitParams params(enum MagvitTask task, int ahead)
{
    MagvitParams p;

    magvit_default_params(&p, task);
    p.format     = (MagvitFormat){ MAGVIT_MODEL_GRAY, 8, 0, 0, 0, 0 };
    p.width      = W;
    p.height     = H;
    p.out_width  = OUT_W;
    p.out_height = H;
    p.x          = p.y = task == MAGVIT_TASK_OUTPAINT ? 0 : 8;
    p.w          = p.h = 12;
    p.time_base  = (MagvitRational){ 1, 10 };
    p.frame_rate = (MagvitRational){ 10, 1 };
    p.factor     = FACTOR;
    p.steps      = 2;
    p.ahead      = ahead;
    return p;
}

/* When what happens, by frames received; 0: never. */
typedef struct Events {
    int set; ///< other steps and seed
    int lose, call; ///< the device, at so many calls after
} Events;

/* A frame; a scene begins in the middle of a window. */
static int send(MagvitSession *s, const MagvitParams *p, int number)
{
    const int nb = p->task == MAGVIT_TASK_INTERP ? 13 : 28;
    uint8_t in[W * H];
    MagvitFrame f = { .data = { in }, .stride = { W }, .pts = number, .duration = 1 };

    for (int i = 0; i < W * H; i++)
        in[i] = (uint8_t)(i * 5 + number * 9);
    f.scene_cut = p->task == MAGVIT_TASK_INTERP && number == 8;
    return magvit_send_frame(s, number == nb ? NULL : &f);
}

/* All frames of a stream. @return the last code */
static int run(MagvitContext *ctx, MagvitParams p, const Events *e, Frames out, int *received)
{
    MagvitSession *s = NULL;
    int sent = 0, ret;

    *received = 0;
    memset(out, 0, sizeof(Frames));
    RET(magvit_session_open(&s, ctx, &p));
    for (;;) {
        MagvitFrame f = { .data = { out[*received] }, .stride = { OUT_W } };

        ret = magvit_receive_frame(s, &f);
        if (ret == MAGVIT_ERR(EAGAIN)) {
            RET(send(s, &p, sent++));
            continue;
        }
        RET(ret);
        ++*received;
        if (*received == e->set) {
            p.steps = 3;
            p.seed  = 7;
            RET(magvit_session_set_decoding(s, &p));
        }
        if (*received == e->lose)
            mgv_vk_fail_at = e->call;
    }
fail:
    mgv_vk_fail_at = 0;
    magvit_session_close(&s);
    return ret;
}

/* Batch, windows ahead, transfers. The first configuration says what the others are to give. */
static void check_same(enum MagvitPrecision precision, const int configs[][3], int nb, const Events *e)
{
    for (int i = 0; i < nb; i++) {
        MagvitContext *ctx;

        mgv_vk_transfers = (enum MgvVkTransfers)configs[i][2];
        ctx = open_context(precision, configs[i][0]);
        mgv_vk_transfers = MGV_VK_TRANSFERS_AUTO;

        for (size_t t = 0; ctx && t < MGV_ARRAY_LEN(tasks); t++) {
            int received;

            CU_ASSERT_EQUAL(run(ctx, params(tasks[t], configs[i][1]), e, i ? got : want[t], &received), MAGVIT_ERROR_EOF);
            CU_ASSERT(received > 20);
            CU_ASSERT(!i || !memcmp(got, want[t], sizeof(got)));
        }
        magvit_close(&ctx);
        CU_ASSERT_EQUAL(mgv_vk_allocations, 0);
    }
}

static void test_same(void)
{
    static const int configs[][3] = { { 1, 0 }, { 1, 1 }, { 1, 3 }, { 4, 0 }, { 4, 1 }, { 4, 3 }, { 4, -1 } };

    check_same(MAGVIT_PRECISION_F32, configs, MGV_ARRAY_LEN(configs), &(Events){ 0 });
}

static void test_same_half(void)
{
    static const int configs[][3] = { { 1, 0 }, { 4, 7 } };

    check_same(MAGVIT_PRECISION_F16, configs, MGV_ARRAY_LEN(configs), &(Events){ 0 });
}

static void test_transfers(void)
{
    static const int configs[][3] = {
        { 1, 0, MGV_VK_TRANSFERS_WITHIN }, { 1, 1, MGV_VK_TRANSFERS_UP }, { 4, 3, MGV_VK_TRANSFERS_BOTH },
    };

    check_same(MAGVIT_PRECISION_F32, configs, MGV_ARRAY_LEN(configs), &(Events){ .set = 14 });
}

/* Steps and seed change for windows of which none has been received, whichever have begun. */
static void test_set(void)
{
    static const int configs[][3] = { { 1, 0 }, { 2, 3 } };

    check_same(MAGVIT_PRECISION_F32, configs, MGV_ARRAY_LEN(configs), &(Events){ .set = 14 });
}

/* What the backend lacks is ignored with a warning. */
static void test_fast(void)
{
    MagvitContext *ctx = open_context(MAGVIT_PRECISION_F32, 1);
    MagvitParams p = params(MAGVIT_TASK_INTERP, 0);
    const Events none = { 0 };
    int received;

    if (!ctx)
        return;
    CU_ASSERT_EQUAL(run(ctx, p, &none, want[0], &received), MAGVIT_ERROR_EOF);
    unit_log_reset();
    p.fast = 1;
    CU_ASSERT_EQUAL(run(ctx, p, &none, got, &received), MAGVIT_ERROR_EOF);
    CU_ASSERT(unit_lines == 1 && strstr(unit_line, "fast is without effect on this backend"));
    CU_ASSERT_EQUAL(memcmp(got, want[0], sizeof(got)), 0);
    magvit_close(&ctx);
}

/* The device is lost on the way of a batch: one line, frames of windows before it are those of a run that goes well. */
static void check_lost(enum MgvVkTransfers transfers)
{
    MagvitContext *ctx;
    const Events well = { 0 };
    int received;
    long before;

    mgv_vk_transfers = transfers;
    ctx = open_context(MAGVIT_PRECISION_F32, 2);
    mgv_vk_transfers = MGV_VK_TRANSFERS_AUTO;
    if (!ctx)
        return;
    before = mgv_vk_allocations;
    CU_ASSERT_EQUAL(run(ctx, params(MAGVIT_TASK_INTERP, 3), &well, want[0], &received), MAGVIT_ERROR_EOF);
    CU_ASSERT_EQUAL(mgv_vk_allocations, before);
    mgv_vk_fail_with = VK_ERROR_DEVICE_LOST;
    for (int i = 0; i < 6; i++) {
        const Events lost = { .lose = 5 + 12 * (i % 2), .call = 1 + i };

        unit_log_reset();
        CU_ASSERT_EQUAL(run(ctx, params(MAGVIT_TASK_INTERP, 3), &lost, got, &received), MAGVIT_ERROR_DEVICE);
        CU_ASSERT(received >= 15 && received % 15 <= 1); // all of each window
        CU_ASSERT_EQUAL(memcmp(got, want[0], received * sizeof(got[0])), 0);
        CU_ASSERT_EQUAL(unit_lines, 1);
        CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, "DEVICE_LOST"));
        CU_ASSERT_EQUAL(mgv_vk_allocations, before);
    }
    CU_ASSERT_EQUAL(run(ctx, params(MAGVIT_TASK_INTERP, 3), &well, got, &received), MAGVIT_ERROR_EOF);
    CU_ASSERT_EQUAL(memcmp(got, want[0], sizeof(got)), 0);
    magvit_close(&ctx);
    CU_ASSERT_EQUAL(mgv_vk_allocations, 0);
}

static void test_lost(void)
{
    check_lost(MGV_VK_TRANSFERS_AUTO);
    check_lost(MGV_VK_TRANSFERS_BOTH);
}
#endif

CU_ErrorCode add_vk_windows_suite(void)
{
    static const UnitTest tests[] = {
#if CONFIG_VULKAN
        { "windows in batches, the same frames", test_same },
        { "the same with float16", test_same_half },
        { "transfers in queues of their own", test_transfers },
        { "other steps and seed", test_set },
        { "fast is ignored with a warning", test_fast },
        { "device lost on the way of a batch", test_lost },
#endif
        { NULL, NULL }
    };
    return unit_add("vk_windows", tests);
}
