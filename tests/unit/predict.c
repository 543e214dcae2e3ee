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
 * Sessions that continue a stream or make one, over a synthesiser that needs no
 * network: counts, times, what passes, windows.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libmagvit/video.h"
#include "tests/unit/unit.h"

enum { W = 10, H = 8, SIZE = W * H, MAX_IN = 20, MAX_OUT = 64 };

typedef struct Fake {
    int jobs;
    uint32_t last; /* random word of the last job */
} Fake;

/* The condition clip, a little darker. */
static int fake_run(void *opaque, MgvJob *job)
{
    Fake *f = opaque;

    f->jobs++;
    f->last = job->word;
    for (int i = 0; i < 16 * 16 * 16 * 3; i++)
        job->out[i] = job->clip ? job->clip[i] * 0.9f : 0.5f;
    return 0;
}

static MagvitSession *open_session(Fake *f, const MagvitParams *p)
{
    MgvSynth synth = { fake_run, NULL, f, { 16, 16, 16 }, { 4, 2, 2 }, 3, 0, &unit_log };
    MagvitSession *s = NULL;

    *f = (Fake){ 0 };
    CU_ASSERT_EQUAL_FATAL(mgv_session_open(&s, &synth, p), 0);
    return s;
}

static MagvitParams params(enum MagvitTask task)
{
    MagvitParams p;

    magvit_default_params(&p, task);
    p.format     = (MagvitFormat){ MAGVIT_MODEL_GRAY, 8, 0, 0, 0, 0 };
    p.width      = W;
    p.height     = H;
    p.time_base  = (MagvitRational){ 1, 90 };
    p.frame_rate = (MagvitRational){ 30, 1 };
    return p;
}

typedef struct Result {
    int count;
    MagvitFrame f[MAX_OUT];
    uint8_t pixels[MAX_OUT][SIZE];
} Result;

static int next_frame(MagvitSession *s, Result *r)
{
    MagvitFrame *f = &r->f[r->count];

    *f = (MagvitFrame){ .data = { r->pixels[r->count] }, .stride = { W } };
    return magvit_receive_frame(s, f);
}

static uint8_t sample(int frame, int i)
{
    return (uint8_t)(60 + (frame * 31 + i * 7) % 120);
}

/* Send n frames, step apart from begin on, each as soon as it can be, and receive all. */
static void run(MagvitSession *s, int n, int64_t begin, int64_t step, int64_t duration, Result *r)
{
    uint8_t in[SIZE];
    int sent = 0, ret;

    for (r->count = 0; (ret = next_frame(s, r)) != MAGVIT_ERROR_EOF;) {
        MagvitFrame f = { .data = { in }, .stride = { W }, .pts = begin + sent * step, .duration = duration };

        if (ret != MAGVIT_ERR(EAGAIN)) {
            CU_ASSERT_EQUAL_FATAL(ret, 0);
            r->count++;
            CU_ASSERT_FATAL(r->count < MAX_OUT);
            continue;
        }
        CU_ASSERT_EQUAL(r->count, sent); // what came has passed
        for (int i = 0; i < SIZE; i++)
            in[i] = sample(sent, i);
        CU_ASSERT_EQUAL_FATAL(magvit_send_frame(s, sent < n ? &f : NULL), 0);
        sent++;
    }
}

static void check_predicted(const Result *r, int n)
{
    CU_ASSERT_EQUAL(r->count, n + 25);
    for (int i = 0; i < r->count; i++) {
        CU_ASSERT_EQUAL(r->f[i].pts, 3 * i);
        CU_ASSERT_EQUAL(r->f[i].duration, 3);
        CU_ASSERT_EQUAL(r->f[i].generated, i >= n);
        CU_ASSERT_EQUAL(r->f[i].source, MGV_MIN(i, n - 1));
        for (int k = 0; i < n && k < SIZE; k++)
            CU_ASSERT_EQUAL(r->pixels[i][k], sample(i, k));
    }
}

static void test_predict(void)
{
    Result *r = calloc(1, sizeof(*r));
    MagvitParams p = params(MAGVIT_TASK_PREDICT);

    p.frames = 25;
    for (int n = 1; n <= 20; n++)
        for (p.cond_frames = 1; p.cond_frames <= 15; p.cond_frames += 7) {
            Fake f;
            MagvitSession *s = open_session(&f, &p);
            int given = MGV_MIN(n, p.cond_frames);

            run(s, n, 0, 3, 3, r);
            check_predicted(r, n);
            CU_ASSERT(f.jobs >= (25 + 15 - given) / (16 - given));
            magvit_session_close(&s);
        }
    free(r);
}

/* A rate that the time base cannot hold goes on without drift. */
static void test_predict_times(void)
{
    static const struct { MagvitRational rate, base; int64_t step, k, begin; } cases[] = {
        { { 30000, 1001 }, { 1, 1000 }, 33, 60, 2002 },   // not 60 * 33
        { { 25, 1 },       { 1, 90000 }, 3600, 40, 144000 },
        { { 25, 1 },       { 1, 1000 }, 100, 50, 2000 },  // the rate counts, not the last distance
        { { 25, 1 },       { 1, 10 }, 2, 50, 100 },       // finer than the time base
        { { 0, 1 },        { 1, 1000 }, 41, 50, 2050 },   // unknown: the last distance
    };
    Result *r = calloc(1, sizeof(*r));
    MagvitParams p = params(MAGVIT_TASK_PREDICT);

    p.frames = 60;
    for (size_t c = 0; c < sizeof(cases) / sizeof(*cases); c++) {
        MagvitSession *s;
        Fake f;

        p.frame_rate = cases[c].rate;
        p.time_base  = cases[c].base;
        s = open_session(&f, &p);
        run(s, 3, 1000, cases[c].step, 0, r);
        CU_ASSERT_EQUAL(r->count, 63);
        CU_ASSERT_EQUAL(r->f[2 + cases[c].k].pts, 1000 + 2 * cases[c].step + cases[c].begin);
        for (int i = 3; i < 62; i++)
            CU_ASSERT_EQUAL(r->f[i].pts + r->f[i].duration, r->f[i + 1].pts);
        magvit_session_close(&s);
    }
    free(r);
}

static void test_generate(void)
{
    Result *r = calloc(1, sizeof(*r));
    MagvitParams p = params(MAGVIT_TASK_GENERATE);
    MagvitSession *s;
    Fake f;

    p.frames      = 40;
    p.cond_frames = 4;
    s = open_session(&f, &p);
    run(s, 0, 0, 0, 0, r);
    CU_ASSERT_EQUAL(r->count, 40);
    CU_ASSERT_EQUAL(f.jobs, 3);
    CU_ASSERT_EQUAL(f.last, 2);
    for (int i = 0; i < r->count; i++) {
        CU_ASSERT_EQUAL(r->f[i].pts, i);
        CU_ASSERT_EQUAL(r->f[i].source, -1);
        CU_ASSERT_EQUAL(r->f[i].generated, 1);
    }
    magvit_session_close(&s);

    p.frames = 0;
    s = open_session(&f, &p);
    CU_ASSERT_EQUAL(next_frame(s, r), MAGVIT_ERROR_EOF);
    magvit_session_close(&s);
    free(r);
}

static void test_generate_endless(void)
{
    Result *r = calloc(1, sizeof(*r));
    MagvitParams p = params(MAGVIT_TASK_GENERATE);
    Fake f;
    MagvitSession *s = open_session(&f, &p);

    CU_ASSERT_EQUAL(p.frames, -1);
    r->count = 0;
    for (int i = 0; i < 200; i++) {
        CU_ASSERT_EQUAL(next_frame(s, r), 0);
        CU_ASSERT_EQUAL(r->f[0].pts, i);
    }
    magvit_session_close(&s);
    free(r);
}

CU_ErrorCode add_predict_suite(void)
{
    static const UnitTest tests[] = {
        { "prediction", test_predict },
        { "times of prediction", test_predict_times },
        { "generation", test_generate },
        { "generation without end", test_generate_endless },
        { NULL, NULL }
    };
    return unit_add("predict", tests);
}
