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

/* What a session is said to take, against what it takes; limits; refusal before anything is allocated. */

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmagvit/video.h"
#include "tests/unit/unit.h"

static int echo(void *opaque, MgvJob *job)
{
    if (job->clip)
        memcpy(job->out, job->clip, 16 * 64 * 64 * 3 * sizeof(*job->out));
    return 0;
}

static int start(void *opaque, MgvJob *const *jobs, int nb)
{
    for (int i = 0; i < nb; i++)
        echo(NULL, jobs[i]);
    return 0;
}

static int finish(void *opaque, MgvJob *const *jobs, int nb)
{
    return 0;
}

static const MgvSynth synth = { echo, NULL, NULL, { 16, 64, 64 }, { 4, 8, 8 }, 1, 0, &unit_log };
static const MgvSynth lists = { echo, NULL, NULL, { 16, 64, 64 }, { 4, 8, 8 }, 1, 0, &unit_log, NULL, start, finish, 3 };

static MagvitParams params(enum MagvitTask task, int w, int h)
{
    MagvitParams p;

    magvit_default_params(&p, task);
    p.width      = w;
    p.height     = h;
    p.time_base  = (MagvitRational){ 1, 25 };
    p.frame_rate = (MagvitRational){ 25, 1 };
    p.frames     = 20;
    p.out_width  = w + w / 2;
    p.out_height = h;
    p.x = task == MAGVIT_TASK_OUTPAINT ? w / 4 / 2 * 2 : 8;
    p.w = w / 3;
    p.h = h / 4;
    return p;
}

/* Bytes that the allocator has given out; 0 where it does not tell. */
static int64_t taken(void)
{
#ifdef __GLIBC__
    struct mallinfo2 m = mallinfo2();

    return (int64_t)(m.uordblks + m.hblkhd);
#else
    return 0;
#endif
}

/* Run nb frames through a session. @return the most that it held */
static int64_t run(const MgvSynth *by, MagvitParams p, int nb)
{
    MagvitSession *s;
    MagvitOutput o;
    MagvitFrame in = { .color = { 6, 1, 1 } }, out = { 0 };
    int64_t before, most = 0;
    int ret, sent = 0;
    uint8_t *mem;

    CU_ASSERT_EQUAL_FATAL(mgv_session_open(&s, by, &p), 0);
    magvit_session_output(s, &o);
    mem = calloc((size_t)o.width * o.height, 6);
    for (int i = 0; i < 3; i++) {
        in.data[i]    = mem + i * (size_t)o.width * o.height;
        out.data[i]   = in.data[i] + 3 * (size_t)o.width * o.height;
        in.stride[i]  = out.stride[i] = o.width;
    }
    magvit_session_close(&s);
    before = taken();
    CU_ASSERT_EQUAL_FATAL(mgv_session_open(&s, by, &p), 0);
    while ((ret = magvit_receive_frame(s, &out)) != MAGVIT_ERROR_EOF) {
        CU_ASSERT_FATAL(ret == 0 || ret == MAGVIT_ERR(EAGAIN));
        most = MGV_MAX(most, taken() - before);
        if (ret == 0)
            continue;
        memset(mem, 10 * (sent % 20), (size_t)o.width * o.height * 3); // between equal frames none is made
        in.replace = p.repair && sent % 3 == 1;
        in.pts     = sent++;
        CU_ASSERT_EQUAL_FATAL(magvit_send_frame(s, sent > nb ? NULL : &in), 0);
    }
    magvit_session_close(&s);
    free(mem);
    return most;
}

/* Never more, seldom much less, and the same for a stream of any length. */
static void test_need(void)
{
    static const MagvitFormat formats[] = {
        { MAGVIT_MODEL_YUV, 8, 0, 1, 1, 0 }, { MAGVIT_MODEL_GRAY, 8, 0, 0, 0, 0 }, { MAGVIT_MODEL_GBR, 8, 0, 0, 0, 0 }
    };

    for (int task = 0; task < MAGVIT_TASK_NB; task++)
        for (size_t i = 0; i < MGV_ARRAY_LEN(formats); i++)
            for (int scale = i ? MAGVIT_SCALE_FIT : 0; scale <= MAGVIT_SCALE_FIT; scale++) {
                MagvitParams p = params(task, 242, 139);
                MagvitMemory need;
                int64_t most, longer;
                int nb = 20;

                p.format  = formats[i];
                p.scale   = scale;
                p.feather = i == 1 ? 4 : 0;
                if (task == MAGVIT_TASK_INTERP && i == 1) {
                    p.repair = p.factor = 1;
                    nb = 60; // it holds more frames
                }
                CU_ASSERT_EQUAL(mgv_session_memory(&need, &synth, &p), 0);
                CU_ASSERT_EQUAL(need.total, need.model + need.pictures + need.render);
                most   = run(&synth, p, task == MAGVIT_TASK_GENERATE ? 0 : nb);
                longer = scale == MAGVIT_SCALE_FIT ? run(&synth, p, task == MAGVIT_TASK_GENERATE ? 0 : 2 * nb) : most;
                if (!most)
                    continue; // an allocator of another kind
                if (most > need.total || most < 0.85 * need.total || longer > most + most / 50)
                    printf("task %d format %zu scale %d: %lld, %lld bytes taken, %lld said\n", task, i, scale,
                           (long long)most, (long long)longer, (long long)need.total);
                CU_ASSERT(most <= need.total && most >= 0.85 * need.total);
                CU_ASSERT(longer <= most + most / 50);
            }
}

/* The same with windows that begin together, and after a thousand of them. */
static void test_ahead(void)
{
    static const enum MagvitTask tasks[] = { MAGVIT_TASK_INTERP, MAGVIT_TASK_INPAINT, MAGVIT_TASK_OUTPAINT };

    for (size_t i = 0; i < 2 * MGV_ARRAY_LEN(tasks); i++) {
        MagvitParams p = params(tasks[i / 2], i % 2 ? 150 : 60, i % 2 ? 130 : 60);
        MagvitMemory need;
        int64_t most, longer;

        p.ahead  = i % 2 ? 2 : 7;
        p.motion = i > 0; // of a thousand windows it would take long
        CU_ASSERT_EQUAL(mgv_session_memory(&need, &lists, &p), 0);
        most   = run(&lists, p, 160);
        longer = i ? most : run(&lists, p, 7 * 1000);
        if (!most)
            continue;
        if (most > need.total || most < 0.85 * need.total || longer > most + most / 50)
            printf("case %zu: %lld, %lld bytes taken, %lld said\n", i, (long long)most, (long long)longer,
                   (long long)need.total);
        CU_ASSERT(most <= need.total && most >= 0.85 * need.total);
        CU_ASSERT(longer <= most + most / 50);
    }
}

static void test_limit(void)
{
    MagvitParams p = params(MAGVIT_TASK_OUTPAINT, 320, 240);
    MagvitMemory need;
    MagvitSession *s;

    CU_ASSERT_EQUAL(mgv_session_memory(&need, &synth, &p), 0);
    p.max_memory = need.total;
    CU_ASSERT_EQUAL(mgv_session_open(&s, &synth, &p), 0);
    magvit_session_close(&s);
    unit_log_reset();
    p.max_memory = need.total - 1;
    CU_ASSERT_EQUAL(mgv_session_open(&s, &synth, &p), MAGVIT_ERR(ENOMEM));
    CU_ASSERT_PTR_NULL(s);
    CU_ASSERT_EQUAL(unit_lines, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, "max_memory allows"));
    /* the largest pictures there are: a number, not an overflow */
    for (int task = 0; task < MAGVIT_TASK_NB; task++)
        for (int scale = 0; scale <= MAGVIT_SCALE_FIT; scale++) {
            p = params(task, task == MAGVIT_TASK_OUTPAINT ? 16384 : 32768, 32768);
            p.scale      = scale;
            p.out_width  = 32768;
            p.max_memory = 1 << 30;
            CU_ASSERT_EQUAL(mgv_session_memory(&need, &synth, &p), 0);
            CU_ASSERT(need.total > INT64_C(20) << 30 && need.total < INT64_C(2000) << 30);
            unit_log_reset();
            CU_ASSERT_EQUAL(mgv_session_open(&s, &synth, &p), MAGVIT_ERR(ENOMEM));
            CU_ASSERT_EQUAL(unit_lines, 1);
        }
}

CU_ErrorCode add_memory_suite(void)
{
    static const UnitTest tests[] = {
        { "need is what is taken", test_need },
        { "windows ahead", test_ahead },
        { "limit", test_limit },
        { NULL, NULL }
    };
    return unit_add("memory", tests);
}
