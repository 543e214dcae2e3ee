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
 * Scenes, duplicates and bad frames: pure functions, and sessions over a
 * synthesiser that gives back what it was told, marked with its random word.
 * What a scene's frames become must not depend on any frame outside of it.
 */

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libmagvit/video.h"
#include "tests/unit/unit.h"

enum { W = 10, H = 6, MAX_FRAMES = 96, MAX_OUT = 640, SLOTS = 16 };

static int fake_run(void *opaque, MgvJob *job)
{
    ++*(int *)opaque;
    for (size_t i = 0; i < SLOTS * 16 * 16 * 3; i++) {
        float v = job->clip[i] + 0.02f + (job->word * 37 % 16) / 64.0f;
        job->out[i] = MGV_CLAMP(v, 0, 1);
    }
    return 0;
}

typedef struct Stream {
    MagvitParams p;
    MagvitFrame in[MAX_FRAMES], out[MAX_OUT];
    uint8_t in_mem[MAX_FRAMES][W * H], out_mem[MAX_OUT][W * H];
    int nb_in, nb_out, jobs;
} Stream;

static Stream *stream_new(int nb)
{
    Stream *s = calloc(1, sizeof(*s));
    uint64_t state = 5;

    magvit_default_params(&s->p, MAGVIT_TASK_INTERP);
    s->p.format     = (MagvitFormat){ MAGVIT_MODEL_GRAY, 8, 0, 0, 0, 0 };
    s->p.width      = W;
    s->p.height     = H;
    s->p.time_base  = (MagvitRational){ 1, 90 };
    s->p.frame_rate = (MagvitRational){ 30, 1 };
    s->nb_in        = nb;
    for (int i = 0; i < nb; i++) {
        for (int k = 0; k < W * H; k++)
            s->in_mem[i][k] = (uint8_t)unit_range(&state, 60, 180);
        s->in[i] = (MagvitFrame){ .data = { s->in_mem[i] }, .stride = { W }, .color = { 2, 2, 0 }, .pts = 3 * i, .duration = 3 };
    }
    return s;
}

/* Frames [begin,end) of the input. */
static void stream_run(Stream *s, int begin, int end)
{
    MgvSynth synth = { fake_run, NULL, &s->jobs, { SLOTS, 16, 16 }, { 4, 2, 2 }, 3, 0, &unit_log };
    MagvitSession *ses;
    int ret;

    s->nb_out = s->jobs = 0;
    s->p.first_index = begin;
    CU_ASSERT_EQUAL_FATAL(mgv_session_open(&ses, &synth, &s->p), 0);
    for (;;) {
        MagvitFrame *out = &s->out[s->nb_out];

        *out = (MagvitFrame){ .data = { s->out_mem[s->nb_out] }, .stride = { W } };
        ret = magvit_receive_frame(ses, out);
        if (ret == 0 && ++s->nb_out == MAX_OUT)
            CU_FAIL_FATAL("too many frames");
        if (ret == MAGVIT_ERR(EAGAIN))
            ret = magvit_send_frame(ses, begin < end ? &s->in[begin++] : NULL);
        if (ret < 0)
            break;
    }
    CU_ASSERT_EQUAL(ret, MAGVIT_ERROR_EOF);
    magvit_session_close(&ses);
}

static int same(const uint8_t *a, const uint8_t *b)
{
    return !memcmp(a, b, W * H);
}

/* ---- equal frames --------------------------------------------------------- */

static MgvPicture *picture(MagvitFormat f, int w, int h)
{
    MgvPicture *p;

    CU_ASSERT_EQUAL_FATAL(mgv_picture_alloc(&p, &f, w, h, 0), 0);
    mgv_picture_clear(p);
    return p;
}

static void test_same(void)
{
    static const MagvitFormat formats[] = {
        { MAGVIT_MODEL_YUV, 8, 0, 1, 1, 1 }, { MAGVIT_MODEL_YUV, 10, 0, 1, 0, 0 },
        { MAGVIT_MODEL_GBR, 16, 0, 0, 0, 1 }, { MAGVIT_MODEL_GBR, 32, 1, 0, 0, 0 },
    };

    for (size_t i = 0; i < MGV_ARRAY_LEN(formats); i++) {
        const MagvitFormat *f = &formats[i];
        MgvPicture *a = picture(*f, 37, 33), *b = picture(*f, 37, 33);
        int plane = mgv_format_planes(f) - 1, w, h;
        uint8_t *at;

        mgv_format_plane_size(f, plane, 37, 33, &w, &h);
        CU_ASSERT_EQUAL(mgv_picture_same(a, b, 1e-9), 1);
        CU_ASSERT_EQUAL(mgv_picture_same(a, b, 0), 0);
        /* half the scale in the last sample of the last plane, alone in a corner block */
        at = b->data[plane] + (h - 1) * b->stride[plane] + (w - 1) * mgv_format_bytes(f);
        if (f->is_float)
            *(float *)at += 0.5f;
        else if (f->depth == 8)
            *at ^= 128;
        else
            *(uint16_t *)at ^= 1 << (f->depth - 1);
        double n = ((w - 1) % 16 + 1) * ((h - 1) % 16 + 1);
        CU_ASSERT_EQUAL(mgv_picture_same(a, b, 52 / n), 1);
        CU_ASSERT_EQUAL(mgv_picture_same(a, b, 48 / n), 0);
        if (f->is_float) {
            *(float *)at = NAN;
            CU_ASSERT_EQUAL(mgv_picture_same(a, b, 100), 0);
        }
        mgv_picture_free(&a);
        mgv_picture_free(&b);
    }
}

static void test_duplicates(void)
{
    Stream *s = stream_new(16);

    for (int i = 1; i < 16; i++)
        if (i < 4 || i == 9)
            memcpy(s->in_mem[i], s->in_mem[i - 1], W * H);
    s->in_mem[9][5] ^= 1; /* far below the default */
    s->p.factor = 5;
    stream_run(s, 0, 16);
    CU_ASSERT_EQUAL(s->jobs, 4); /* of five windows, the first has nothing to make */
    CU_ASSERT_EQUAL(s->nb_out, 80);
    for (int i = 0; i < 80; i++) {
        int k = i / 5, copy = i % 5 == 0 || k < 3 || k == 8 || k == 15;

        CU_ASSERT_EQUAL(s->out[i].generated, !copy);
        CU_ASSERT_EQUAL(s->out[i].pts, 3 * i);
        CU_ASSERT_EQUAL(s->out[i].duration, 3);
        CU_ASSERT(!copy || same(s->out_mem[i], s->in_mem[k]));
    }
    s->p.factor = 0;
    s->p.rate   = (MagvitRational){ 30 * 17, 1 };
    stream_run(s, 0, 4);
    CU_ASSERT_EQUAL(s->jobs, 0);
    CU_ASSERT_EQUAL(s->nb_out, 4 * 17);
    s->p.factor = 5;
    s->p.dup_threshold = 0;
    stream_run(s, 0, 16);
    CU_ASSERT_EQUAL(s->jobs, 5);
    free(s);
}

/* ---- scenes --------------------------------------------------------------- */

static const MgvPicture *marked(void *opaque, int64_t number)
{
    return (MgvPicture *)opaque + number;
}

static void test_scene(void)
{
    MgvPicture marks[10] = { [3] = { .cut = 1 }, [4] = { .cut = 1 }, [8] = { .cut = 1 } };
    static const int first[10] = { 1, 1, 1, 3, 4, 4, 4, 4, 8, 8 }, last[10] = { 2, 2, 2, 3, 7, 7, 7, 7, 9, 9 };

    for (int at = 1; at < 10; at++) {
        MgvFrames f = { 1, 9, 0, marked, marks };

        mgv_scene(&f, at);
        CU_ASSERT_EQUAL(f.first, first[at]);
        CU_ASSERT_EQUAL(f.last, last[at]);
    }
}

/* Every scene gives what it gives alone, but that its last frame is held until the next one. */
static void check_cuts(Stream *s, Stream *whole, Stream *alone)
{
    int bad = s->nb_out != whole->nb_out, at = 0, begin = 0, i = 0;

    for (i = 0; i < s->nb_out && !bad; i++)
        bad |= s->out[i].pts != whole->out[i].pts || s->out[i].duration != whole->out[i].duration ||
               s->out[i].source != whole->out[i].source;
    while (begin < s->nb_in && !bad) {
        int end = begin + 1;

        while (end < s->nb_in && !s->in[end].scene_cut)
            end++;
        alone->p = s->p;
        stream_run(alone, begin, end);
        for (i = 0; i < alone->nb_out && s->out[at].source < end && !bad; i++, at++) {
            bad |= !same(s->out_mem[at], alone->out_mem[i]) || s->out[at].generated != alone->out[i].generated;
            bad |= s->out[at].window != alone->out[i].window || s->out[at].source != alone->out[i].source + begin;
        }
        for (; at < s->nb_out && s->out[at].source < end && !bad; at++)
            bad |= !same(s->out_mem[at], s->in_mem[end - 1]) || s->out[at].generated;
        begin = end;
    }
    if (bad)
        printf("%d frames, factor %d: output %d of the scene that ends at %d\n", s->nb_in, s->p.factor, i, begin);
    CU_ASSERT(!bad && at == s->nb_out);
}

static void test_cuts(void)
{
    uint64_t state = 11;

    for (int n = 1; n <= 40; n++) {
        Stream *s = stream_new(n), *whole = stream_new(n), *alone = stream_new(n);

        for (int i = 0; i < n; i++)
            s->in[i].scene_cut = unit_range(&state, 0, 5) == 0 || i == n / 2;
        for (int factor = 1; factor <= 15; factor += 1 + n % 4) {
            s->p.factor = whole->p.factor = factor;
            stream_run(s, 0, n);
            stream_run(whole, 0, n);
            CU_ASSERT_EQUAL(s->nb_out, n * factor);
            check_cuts(s, whole, alone);
        }
        s->p.factor = whole->p.factor = 0;
        s->p.rate   = whole->p.rate   = (MagvitRational){ 75, 1 }; /* phases differ from gap to gap */
        stream_run(s, 0, n);
        stream_run(whole, 0, n);
        check_cuts(s, whole, alone);
        free(s);
        free(whole);
        free(alone);
    }
}

/* ---- bad frames ----------------------------------------------------------- */

/* What frame i of a stream must be: -1 made, else the number of the frame that it is a copy of. */
static int expected(const Stream *s, int i)
{
    int begin = i, end = i + 1, before, after;

    if (!s->in[i].replace)
        return i;
    while (begin > 0 && !s->in[begin].scene_cut && s->in[begin - 1].replace)
        begin--;
    while (end < s->nb_in && !s->in[end].scene_cut && s->in[end].replace)
        end++;
    before = begin > 0 && !s->in[begin].scene_cut ? begin - 1 : -1;
    after  = end < s->nb_in && !s->in[end].scene_cut ? end : -1;
    if (before >= 0 && after >= 0 && end - begin <= SLOTS - 2)
        return -1;
    if (before >= 0)
        return before;
    if (after >= 0 && end - begin <= SLOTS - 2)
        return after;
    while (begin > 0 && s->in[begin].replace)
        begin--;
    return s->in[begin].replace ? -2 : begin; /* -2: there is no good frame before, it does not matter much */
}

static void check_repair(Stream *s)
{
    int bad, i;

    stream_run(s, 0, s->nb_in);
    bad = s->nb_out != s->nb_in;
    for (i = 0; i < s->nb_out && !bad; i++) {
        int from = expected(s, i);

        bad |= s->out[i].pts != s->in[i].pts || s->out[i].source != i;
        bad |= s->out[i].duration != (i + 1 < s->nb_in ? s->in[i + 1].pts : s->in[i].pts + 3) - s->in[i].pts;
        bad |= s->out[i].generated != (from == -1) || (s->out[i].window >= 0) != s->out[i].generated;
        bad |= from >= 0 && !same(s->out_mem[i], s->in_mem[from]);
        bad |= from == -1 && same(s->out_mem[i], s->in_mem[i]);
        if (bad)
            printf("%d frames: output %d of %d, expected %d\n", s->nb_in, i, s->nb_out, from);
    }
    CU_ASSERT(!bad);
}

static void test_repair(void)
{
    uint64_t state = 17;

    for (int round = 0; round < 400; round++) {
        Stream *s = stream_new(1 + round % 60);
        int often = unit_range(&state, 1, 9), stay = unit_range(&state, 0, 19), cuts = unit_range(&state, 4, 40);

        s->p.factor = s->p.repair = 1;
        for (int i = 0; i < s->nb_in; i++) {
            s->in[i].replace   = unit_range(&state, 0, 19) < (i && s->in[i - 1].replace ? stay : often);
            s->in[i].scene_cut = unit_range(&state, 0, cuts) == 0;
            s->in[i].pts      += i > s->nb_in / 2 ? 4 : 0;
        }
        check_repair(s);
        free(s);
    }
}

/* Runs of every length at every place of the grid. */
static void test_repair_runs(void)
{
    for (int begin = 1; begin <= 31; begin += 2)
        for (int nb = 1; nb <= SLOTS; nb++) {
            Stream *s = stream_new(begin + nb + 5);

            s->p.factor = s->p.repair = 1;
            for (int i = begin; i < begin + nb; i++)
                s->in[i].replace = 1;
            unit_log_reset();
            check_repair(s);
            CU_ASSERT_EQUAL(s->jobs, nb <= SLOTS - 2);
            CU_ASSERT_EQUAL(unit_lines, nb > SLOTS - 2);
            CU_ASSERT(nb <= SLOTS - 2 || strstr(unit_line, "more than 14 frames"));
            free(s);
        }
}

/* The samples of a bad frame count for nothing. */
static void test_repair_blind(void)
{
    Stream *a = stream_new(40), *b = stream_new(40);

    a->p.factor = a->p.repair = b->p.factor = b->p.repair = 1;
    for (int i = 3; i < 40; i += 1 + i % 5) {
        a->in[i].replace = b->in[i].replace = 1;
        memset(b->in_mem[i], 255, W * H);
    }
    stream_run(a, 0, 40);
    stream_run(b, 0, 40);
    /* three windows of the grid, and one for frames 30 and 31, which lie across its border */
    CU_ASSERT(a->jobs == 4 && !memcmp(a->out_mem, b->out_mem, 40 * W * H));
    free(a);
    free(b);
}

static void test_repair_frozen(void)
{
    Stream *s = stream_new(20);

    s->p.factor = s->p.repair = 1;
    memcpy(s->in_mem[5], s->in_mem[4], W * H);
    memcpy(s->in_mem[6], s->in_mem[4], W * H);
    memcpy(s->in_mem[10], s->in_mem[11], W * H); /* what a marked frame shows does not make the next one frozen */
    s->in[10].replace = 1;
    stream_run(s, 0, 20);
    for (int i = 0; i < 20; i++)
        CU_ASSERT_EQUAL(s->out[i].generated, i == 5 || i == 6 || i == 10);
    s->p.dup_threshold = 0;
    s->in[10].replace  = 0;
    stream_run(s, 0, 20);
    CU_ASSERT_EQUAL(s->jobs, 0);
    free(s);
}

static void expect_bad(MagvitParams p, const char *text)
{
    int jobs = 0;
    MgvSynth synth = { fake_run, NULL, &jobs, { SLOTS, 16, 16 }, { 4, 2, 2 }, 3, 0, &unit_log };
    MagvitSession *ses;

    unit_log_reset();
    CU_ASSERT_EQUAL(mgv_session_open(&ses, &synth, &p), MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(unit_lines, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, text));
}

static void test_bad_params(void)
{
    Stream *s = stream_new(0);
    MagvitParams p = s->p;

    p.dup_threshold = NAN;
    expect_bad(p, "dup_threshold is nan, must be in [0,100]");
    p.dup_threshold = 101;
    expect_bad(p, "dup_threshold is 101");
    p = s->p;
    p.repair = 1;
    expect_bad(p, "factor is 2, must be in [1,1]");
    p.repair = 2;
    expect_bad(p, "repair is 2");
    free(s);
}

CU_ErrorCode add_scene_suite(void)
{
    static const UnitTest tests[] = {
        { "same", test_same },
        { "duplicates", test_duplicates },
        { "bounds of scenes", test_scene },
        { "cuts, 1..40 frames", test_cuts },
        { "bad frames, random", test_repair },
        { "runs of bad frames", test_repair_runs },
        { "samples of bad frames", test_repair_blind },
        { "frozen frames", test_repair_frozen },
        { "bad parameters", test_bad_params },
        { NULL, NULL }
    };
    return unit_add("scene", tests);
}
