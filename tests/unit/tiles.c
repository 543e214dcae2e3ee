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

enum { W = 40, H = 36, IN = 40, FACTOR = 3, OUT = 2 * IN * FACTOR }; /* frames, twice after a flush */

/* A model that shifts by the seed and what the job's word says; keeps its lists until they are waited for. */
typedef struct Fake {
    MgvJob *list[MGV_STARTED][MGV_MAX_AHEAD];
    int nb[MGV_STARTED];
    uint64_t with[MGV_STARTED]; /* seed */
    uint64_t seed;
    int started;           /* lists on their way */
    int most, jobs, lists; /* jobs in a list, in all */
    int fail_start, fail_finish; /* list that fails, counted from 1 */
    uint32_t fail_from, fail_to; /* words of jobs that fail by themselves, up to fail_to - 1 */
    int forgotten;
    int early;             /* frames received while another window was on its way */
} Fake;

/* What happens to a session, at a number of frames received; 0: nothing. */
typedef struct Events {
    int set, flush, cancel;
    enum MagvitFallback fallback;
} Events;

static void make(MgvJob *job, uint64_t seed)
{
    for (int i = 0; i < 16 * 16 * 16 * 3; i++)
        job->out[i] = MGV_CLAMP(job->clip[i] + ((job->word + seed) * 37 % 16) / 64.0f, 0, 1);
}

static int fails(const Fake *f, const MgvJob *job)
{
    return job->word >= f->fail_from && job->word < f->fail_to ? MAGVIT_ERROR_DEVICE : 0;
}

static int make_one(void *opaque, MgvJob *job)
{
    Fake *f = opaque;

    f->jobs++;
    if (atomic_load(&job->progress->cancel))
        return MAGVIT_ERR(ECANCELED);
    make(job, f->seed);
    return fails(f, job);
}

static int start(void *opaque, MgvJob *const *jobs, int nb)
{
    Fake *f = opaque;

    CU_ASSERT_FATAL(f->started < MGV_STARTED && nb >= 1);
    if (atomic_load(&jobs[0]->progress->cancel))
        return MAGVIT_ERR(ECANCELED);
    if (++f->lists == f->fail_start)
        return MAGVIT_ERROR_DEVICE;
    memcpy(f->list[f->started], jobs, nb * sizeof(*jobs));
    f->with[f->started] = f->seed;
    f->nb[f->started++] = nb;
    f->most  = MGV_MAX(f->most, nb);
    f->jobs += nb;
    for (int i = 0; i < nb; i++)
        memset(jobs[i]->out, 0, 16 * 16 * 16 * 3 * sizeof(*jobs[i]->out)); // not there before finish()
    return 0;
}

static int finish(void *opaque, MgvJob *const *jobs, int nb)
{
    Fake *f = opaque;
    int ret = 0;

    CU_ASSERT_FATAL(f->started > 0);
    if (!jobs) {
        f->forgotten++;
    } else {
        CU_ASSERT(nb == f->nb[0] && !memcmp(jobs, f->list[0], nb * sizeof(*jobs)));
        ret = f->lists - f->started + 1 == f->fail_finish ? MAGVIT_ERROR_DEVICE : 0;
        if (atomic_load(&jobs[0]->progress->cancel))
            ret = MAGVIT_ERR(ECANCELED);
        for (int i = 0; i < nb && !ret; i++) {
            make(jobs[i], f->with[0]);
            jobs[i]->ret = fails(f, jobs[i]);
        }
    }
    memcpy(f->list[0], f->list[1], sizeof(f->list[0]));
    f->nb[0]   = f->nb[1];
    f->with[0] = f->with[1];
    f->started--;
    return ret;
}

static int set(void *opaque, const MagvitParams *p, int *steps)
{
    ((Fake *)opaque)->seed = p->seed;
    *steps = 3;
    return 0;
}

static MagvitParams params(enum MagvitTask task, int ahead)
{
    MagvitParams p;

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
    return p;
}

static void happen(MagvitSession *s, MagvitParams *p, const Events *e, int received, int *sent)
{
    if (received == e->set) {
        p->seed++;
        CU_ASSERT_EQUAL(magvit_session_set_decoding(s, p), 0);
    }
    if (received == e->flush) {
        magvit_session_flush(s);
        *sent = 0;
    }
    if (received == e->cancel)
        magvit_session_cancel(s);
}

/* batch 0: a model of one job at a time */
static MgvSynth synth_of(Fake *f, int batch)
{
    MgvSynth synth = { make_one, NULL, f, { 16, 16, 16 }, { 4, 2, 2 }, 3, 0, &unit_log, set };

    if (batch) {
        synth.start  = start;
        synth.finish = finish;
        synth.batch  = batch;
    }
    return synth;
}

/* Gray frames through a task with tiles of 16x16. @return the last code */
static int run(Fake *f, int batch, MagvitParams p, const Events *e, uint8_t out[OUT][W * H])
{
    const MgvSynth synth = synth_of(f, batch);
    MagvitFrame frame = { .duration = 1 };
    MagvitSession *s;
    uint8_t in[W * H];
    int sent = 0, n = 0, ret;

    p.fallback = e->fallback;
    CU_ASSERT_EQUAL_FATAL(mgv_session_open(&s, &synth, &p), 0);
    frame.stride[0] = W;
    do {
        frame.data[0] = out[n];
        ret = magvit_receive_frame(s, &frame);
        n += ret == 0;
        f->early += ret == 0 && f->started;
        if (ret == 0)
            happen(s, &p, e, n, &sent);
        if (ret == MAGVIT_ERR(ECANCELED) && e->cancel)
            ret = 0;
        if (ret == MAGVIT_ERR(EAGAIN)) {
            const int shown = sent > 20 && sent < 26 ? 20 : sent; // some are the same

            for (int i = 0; i < W * H; i++)
                in[i] = (uint8_t)(i * 3 + shown * 11);
            frame.scene_cut = p.task == MAGVIT_TASK_INTERP && sent == 17;
            frame.data[0] = in;
            frame.pts     = sent;
            ret = magvit_send_frame(s, sent++ == IN ? NULL : &frame);
        }
    } while (ret >= 0);
    magvit_session_close(&s);
    return ret;
}

static const enum MagvitTask tasks[] = { MAGVIT_TASK_INTERP, MAGVIT_TASK_INPAINT, MAGVIT_TASK_OUTPAINT };
static const Events nothing = { 0 };
static uint8_t want[OUT][W * H], got[OUT][W * H];

/* Lists of any length, and any number of windows ahead, give the frames of tiles that come one by one. */
static void test_same(void)
{
    static const int aheads[] = { 0, 1, 2, 3, 7, MGV_MAX_AHEAD };

    for (size_t t = 0; t < MGV_ARRAY_LEN(tasks); t++) {
        Fake one = { .jobs = 0 };

        memset(want, 0, sizeof(want));
        CU_ASSERT_EQUAL(run(&one, 0, params(tasks[t], 0), &nothing, want), MAGVIT_ERROR_EOF);
        for (int i = 0; i < 6 * 8; i++) {
            const int batch = i / 6, ahead = aheads[i % 6];
            Fake f = { .jobs = 0 };

            memset(got, 0, sizeof(got));
            CU_ASSERT_EQUAL(run(&f, batch, params(tasks[t], ahead), &nothing, got), MAGVIT_ERROR_EOF);
            CU_ASSERT_EQUAL(memcmp(got, want, sizeof(got)), 0);
            CU_ASSERT(f.started == 0 && f.forgotten == 0);
            CU_ASSERT_EQUAL(f.jobs, one.jobs); // none in vain
            CU_ASSERT(f.most <= batch);
            CU_ASSERT_EQUAL(f.most > 1, batch > 1 && (tasks[t] != MAGVIT_TASK_OUTPAINT || ahead > 1));
            if (tasks[t] != MAGVIT_TASK_OUTPAINT || ahead < 7) // all of the stream goes from tile to tile together
                CU_ASSERT_EQUAL(f.early > 0, batch && ahead);
        }
    }
}

/* The same with whatever happens between frames: each configuration drops what it has begun, and goes on as one by one. */
static void test_events(void)
{
    static const Events events[] = { { .set = 40 }, { .flush = 33 }, { .cancel = 25 }, { 21, 30, 11 },
                                     { .fallback = MAGVIT_FALLBACK_COPY }, { .fallback = MAGVIT_FALLBACK_BLEND } };

    for (size_t t = 0; t < MGV_ARRAY_LEN(tasks); t++)
        for (size_t k = 0; k < MGV_ARRAY_LEN(events); k++)
            for (int batch = 0; batch <= 4; batch++) {
                const uint32_t from = events[k].fallback ? 14 : 0, to = events[k].fallback ? 22 : 0; // words of jobs
                Fake f = { .fail_from = from, .fail_to = to };

                memset(got, 0, sizeof(got));
                unit_log_reset();
                CU_ASSERT_EQUAL(run(&f, batch, params(tasks[t], batch * 2 - 1), &events[k], got), MAGVIT_ERROR_EOF);
                CU_ASSERT_EQUAL(unit_lines, !!events[k].fallback);
                CU_ASSERT_EQUAL(f.started, 0);
                if (!batch)
                    memcpy(want, got, sizeof(got));
                CU_ASSERT_EQUAL(memcmp(got, want, sizeof(got)), 0);
            }
}

/* A list that cannot begin, or fails, takes its windows with it; nothing is left on its way. */
static void test_errors(void)
{
    for (int k = 1; k <= 3; k++)
        for (int ahead = 0; ahead < 8; ahead += 3) {
            Fake at_start = { .fail_start = k }, at_finish = { .fail_finish = k }, later = { .fail_start = k + 8 };

            CU_ASSERT_EQUAL(run(&at_start, 2, params(MAGVIT_TASK_INTERP, ahead), &nothing, got), MAGVIT_ERROR_DEVICE);
            CU_ASSERT(at_start.started == 0 && at_start.forgotten <= 1);
            CU_ASSERT_EQUAL(run(&at_finish, 2, params(MAGVIT_TASK_INTERP, ahead), &nothing, got), MAGVIT_ERROR_DEVICE);
            CU_ASSERT(at_finish.started == 0 && at_finish.forgotten <= 1);
            CU_ASSERT_EQUAL(run(&later, 2, params(MAGVIT_TASK_INPAINT, ahead), &nothing, got), MAGVIT_ERROR_DEVICE);
            CU_ASSERT_EQUAL(later.started, 0);
        }
}

/* The number of windows ahead that nobody asked for fills two lists, and fits the memory that there may be. */
static void test_automatic(void)
{
    static const struct { int batch, size, most; } cases[] = { { 0, W, 1 }, { 1, 16, 2 }, { 4, 16, 8 }, { 4, W, 2 }, { 16, 16, 8 } };
    MagvitParams p = params(MAGVIT_TASK_INPAINT, -1);
    Fake f = { .jobs = 0 };

    p.tile_overlap = 0;
    for (size_t i = 0; i < MGV_ARRAY_LEN(cases); i++) {
        const MgvSynth synth = synth_of(&f, cases[i].batch);
        MagvitMemory automatic, asked, without;

        p.width = p.height = cases[i].size;
        p.x = p.y = 1;
        p.w = p.h = cases[i].size - 2;
        p.max_memory = 0;
        CU_ASSERT_EQUAL(mgv_session_memory(&automatic, &synth, &p), 0);
        p.ahead = cases[i].most - 1;
        CU_ASSERT_EQUAL(mgv_session_memory(&asked, &synth, &p), 0);
        CU_ASSERT_EQUAL(automatic.total, asked.total);
        p.ahead = 0;
        CU_ASSERT_EQUAL(mgv_session_memory(&without, &synth, &p), 0);
        CU_ASSERT_EQUAL(asked.render, without.render * cases[i].most);
        p.ahead      = -1;
        p.max_memory = automatic.total - 1;
        CU_ASSERT_EQUAL(mgv_session_memory(&asked, &synth, &p), 0);
        CU_ASSERT(cases[i].batch ? asked.total < automatic.total : asked.total == automatic.total);
    }
}

CU_ErrorCode add_tiles_suite(void)
{
    static const UnitTest tests[] = {
        { "lists of any length, the same frames", test_same },
        { "set, flush, cancel, fallback", test_events },
        { "errors of lists", test_errors },
        { "number of windows ahead", test_automatic },
        { NULL, NULL }
    };
    return unit_add("tiles", tests);
}
