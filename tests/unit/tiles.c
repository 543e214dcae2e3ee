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

/* Tiles in lists beside each other: the frames of a run, one by one, and what is left behind after errors. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libmagvit/video.h"
#include "tests/unit/unit.h"

enum { W = 40, H = 36, IN = 40, FACTOR = 3, OUT = IN * FACTOR + 1 };

/* A model that shifts by what the job's word says; keeps its lists until they are waited for. */
typedef struct Fake {
    MgvJob *list[MGV_STARTED];
    int nb[MGV_STARTED];
    int started;           /* lists on their way */
    int most, jobs, lists; /* jobs in a list, in all */
    int fail_start, fail_finish; /* list that fails, counted from 1 */
    int forgotten;
    int early;             /* frames received while the next window was on its way */
} Fake;

static int make(void *opaque, MgvJob *job)
{
    for (int i = 0; i < 16 * 16 * 16 * 3; i++)
        job->out[i] = MGV_CLAMP(job->clip[i] + (job->word * 37 % 16) / 64.0f, 0, 1);
    return 0;
}

static int start(void *opaque, MgvJob *jobs, int nb)
{
    Fake *f = opaque;

    CU_ASSERT_FATAL(f->started < MGV_STARTED && nb >= 1);
    if (++f->lists == f->fail_start)
        return MAGVIT_ERROR_DEVICE;
    f->list[f->started] = jobs;
    f->nb[f->started++] = nb;
    f->most  = MGV_MAX(f->most, nb);
    f->jobs += nb;
    for (int i = 0; i < nb; i++)
        memset(jobs[i].out, 0, 16 * 16 * 16 * 3 * sizeof(*jobs[i].out)); // not there before finish()
    return 0;
}

static int finish(void *opaque, MgvJob *jobs, int nb)
{
    Fake *f = opaque;
    int ret = 0;

    CU_ASSERT_FATAL(f->started > 0);
    if (!jobs) {
        f->forgotten++;
    } else {
        CU_ASSERT(jobs == f->list[0] && nb == f->nb[0]);
        ret = f->lists - f->started + 1 == f->fail_finish ? MAGVIT_ERROR_DEVICE : 0;
        for (int i = 0; i < nb && !ret; i++)
            make(NULL, &jobs[i]);
    }
    f->list[0] = f->list[1];
    f->nb[0]   = f->nb[1];
    f->started--;
    return ret;
}

/* Gray frames interpolated with tiles of 16x16. @return the last code */
static int run(Fake *f, int batch, int ahead, enum MagvitTask task, uint8_t out[OUT][W * H])
{
    MgvSynth synth = { make, NULL, f, { 16, 16, 16 }, { 4, 2, 2 }, 3, 0, &unit_log };
    MagvitFrame frame = { .duration = 1 };
    MagvitSession *s;
    MagvitParams p;
    uint8_t in[W * H];
    int sent = 0, n = 0, ret;

    if (batch) {
        synth.start  = start;
        synth.finish = finish;
        synth.batch  = batch;
    }
    magvit_default_params(&p, task);
    p.format       = (MagvitFormat){ MAGVIT_MODEL_GRAY, 8, 0, 0, 0, 0 };
    p.width        = W - 12 * (task == MAGVIT_TASK_OUTPAINT);
    p.height       = H;
    p.out_width    = W;
    p.out_height   = H;
    p.time_base    = (MagvitRational){ 1, 25 };
    p.frame_rate   = (MagvitRational){ 25, 1 };
    p.factor       = FACTOR;
    p.scale        = MAGVIT_SCALE_TILE;
    p.tile_overlap = 4;
    p.ahead        = ahead;
    p.x = task == MAGVIT_TASK_INPAINT ? 2 : 6;
    p.y = task == MAGVIT_TASK_INPAINT ? 2 : 0;
    p.w = p.h = 30;
    CU_ASSERT_EQUAL_FATAL(mgv_session_open(&s, &synth, &p), 0);
    frame.stride[0] = W;
    do {
        frame.data[0] = out[n];
        ret = magvit_receive_frame(s, &frame);
        n += ret == 0;
        if (f)
            f->early += ret == 0 && f->started;
        if (ret == MAGVIT_ERR(EAGAIN)) {
            const int shown = sent > 20 && sent < 26 ? 20 : sent; // some are the same

            for (int i = 0; i < W * H; i++)
                in[i] = (uint8_t)(i * 3 + shown * 11);
            frame.scene_cut = task == MAGVIT_TASK_INTERP && sent == 17;
            frame.data[0] = in;
            frame.pts     = sent;
            ret = magvit_send_frame(s, sent++ == IN ? NULL : &frame);
        }
    } while (ret >= 0);
    magvit_session_close(&s);
    return ret;
}

/* Lists of any length, and windows ahead, give the frames of tiles that come one by one. */
static void test_same(void)
{
    static const enum MagvitTask tasks[] = { MAGVIT_TASK_INTERP, MAGVIT_TASK_INPAINT, MAGVIT_TASK_OUTPAINT };
    static uint8_t want[OUT][W * H], got[OUT][W * H];

    for (size_t t = 0; t < MGV_ARRAY_LEN(tasks); t++) {
        memset(want, 0, sizeof(want));
        CU_ASSERT_EQUAL(run(NULL, 0, 0, tasks[t], want), MAGVIT_ERROR_EOF);
        for (int i = 2; i <= 25; i++) {
            const int batch = i / 2, ahead = i % 2;
            Fake f = { { NULL } };

            memset(got, 0, sizeof(got));
            CU_ASSERT_EQUAL(run(&f, batch, ahead, tasks[t], got), MAGVIT_ERROR_EOF);
            CU_ASSERT_EQUAL(f.early > 0, ahead);
            CU_ASSERT_EQUAL(memcmp(got, want, sizeof(got)), 0);
            CU_ASSERT(f.started == 0 && f.forgotten == 0 && f.jobs > 4);
            CU_ASSERT_EQUAL(f.most > 1, batch > 1 && tasks[t] != MAGVIT_TASK_OUTPAINT);
            CU_ASSERT(f.most <= batch);
        }
    }
}

/* A list that cannot begin, or fails, takes the window with it; nothing is left on its way. */
static void test_errors(void)
{
    static uint8_t out[OUT][W * H];

    for (int k = 1; k <= 3; k++) {
        Fake at_start = { .fail_start = k }, at_finish = { .fail_finish = k };

        CU_ASSERT_EQUAL(run(&at_start, 2, 0, MAGVIT_TASK_INTERP, out), MAGVIT_ERROR_DEVICE);
        CU_ASSERT(at_start.started == 0 && at_start.forgotten == (k > 1));
        CU_ASSERT_EQUAL(run(&at_finish, 2, 0, MAGVIT_TASK_INTERP, out), MAGVIT_ERROR_DEVICE);
        CU_ASSERT(at_finish.started == 0 && at_finish.forgotten == 1);
        at_start = (Fake){ .fail_start = k + 8 };
        CU_ASSERT_EQUAL(run(&at_start, 2, 1, MAGVIT_TASK_INPAINT, out), MAGVIT_ERROR_DEVICE);
        CU_ASSERT_EQUAL(at_start.started, 0);
    }
}

CU_ErrorCode add_tiles_suite(void)
{
    static const UnitTest tests[] = {
        { "lists of any length, the same frames", test_same },
        { "errors of lists", test_errors },
        { NULL, NULL }
    };
    return unit_add("tiles", tests);
}
