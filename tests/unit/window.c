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


/* Placement: windows of frames, output times, tiles. */

#include <errno.h>
#include <math.h>
#include <string.h>

#include "libmagvit/video.h"
#include "tests/unit/unit.h"

/* Every T and factor: the windows show every gap once, and slots are where the factor says. */
static void test_interp(void)
{
    for (int slots = 2; slots <= 32; slots++)
        for (int factor = 1; factor < slots; factor++) {
            int gaps = mgv_window_gaps(slots, factor);

            CU_ASSERT(gaps >= 1 && gaps * factor <= slots - 1);
            for (int64_t index = 0; index < 4; index++) {
                MgvWindow w;
                int64_t want = index * gaps;

                mgv_window_interp(&w, slots, factor, index, 0, 1000);
                CU_ASSERT_EQUAL(w.index, index);
                for (int i = 0; i < slots; i++) {
                    int given = i % factor == 0 && i / factor <= gaps;
                    CU_ASSERT_EQUAL(w.source[i], given ? want++ : -1);
                }
            }
        }
}

static void test_interp_ends(void)
{
    MgvWindow w;

    mgv_window_interp(&w, 16, 3, 2, 11, 13); // frames 10..15 at 0, 3, .. 15
    for (int i = 0; i < 16; i++)
        CU_ASSERT_EQUAL(w.source[i], i % 3 ? -1 : MGV_CLAMP(10 + i / 3, 11, 13));
}

static void test_repair(void)
{
    MgvWindow w;

    mgv_window_repair(&w, 16, 4, 2, 0, 27);
    for (int i = 0; i < 16; i++)
        CU_ASSERT_EQUAL(w.source[i], MGV_MIN(24 + i, 27));
    mgv_window_repair(&w, 16, 4, 2, 30, 100);
    CU_ASSERT_EQUAL(w.source[0], 30);
    CU_ASSERT_EQUAL(w.source[7], 31);
    mgv_window_continue(&w, 16, 5, 3, 50);
    for (int i = 0; i < 16; i++)
        CU_ASSERT_EQUAL(w.source[i], i < 5 ? 45 + i : -1);
}

static MagvitParams interp_params(int num, int den)
{
    MagvitParams p = { .time_base = { 1, 1000 }, .frame_rate = { 30000, 1001 }, .rate = { num, den } };
    return p;
}

static void test_timeline_init(void)
{
    MagvitParams p = interp_params(60000, 1001);
    MgvTimeline tl;

    CU_ASSERT_EQUAL(mgv_timeline_init(&tl, &p, &unit_log), 0);
    CU_ASSERT(tl.by_rate && tl.factor == 2 && tl.time_base.num == 1001 && tl.time_base.den == 60000);
    p.rate = (MagvitRational){ 60, 1 }; // 1001/500: rounded to slots of 1/15
    CU_ASSERT_EQUAL(mgv_timeline_init(&tl, &p, &unit_log), 0);
    CU_ASSERT(tl.by_rate && tl.factor == 15);
    p.rate = (MagvitRational){ 30000, 1001 }; // nothing to do
    CU_ASSERT_EQUAL(mgv_timeline_init(&tl, &p, &unit_log), 0);
    CU_ASSERT(!tl.by_rate && tl.factor == 1 && tl.time_base.den == 1000);
    p.factor = 7;
    CU_ASSERT_EQUAL(mgv_timeline_init(&tl, &p, &unit_log), 0);
    CU_ASSERT(tl.factor == 7 && tl.time_base.den == 7000 && tl.rate.num == 30000 && tl.rate.den == 143);
    p.factor = 0;
    p.frame_rate.num = 0;
    unit_log_reset();
    CU_ASSERT_EQUAL(mgv_timeline_init(&tl, &p, &unit_log), MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(unit_lines, 1);
}

/* 29.97 frames a second in milliseconds, doubled: no output is lost, none is twice, slots are the nearest. */
static void test_timeline_rounded(void)
{
    MagvitParams p = interp_params(60000, 1001);
    MgvTimeline tl;
    int64_t pts, duration, want = 0;
    int slot, slots[3] = { 0 };

    CU_ASSERT_EQUAL(mgv_timeline_init(&tl, &p, &unit_log), 0);
    for (int i = 0; i < 3000; i++) {
        int64_t t0 = (i * 1001LL + 15) / 30, t1 = ((i + 1) * 1001LL + 15) / 30;
        while (mgv_timeline_next(&tl, t0, t1, &slot, &pts, &duration)) {
            CU_ASSERT_EQUAL(pts, want++);
            CU_ASSERT_EQUAL(duration, 1);
            slots[slot]++;
        }
    }
    CU_ASSERT(want >= 5999 && want <= 6001);
    CU_ASSERT(slots[1] >= 2995 && slots[1] <= 3005);
}

/* Negative and huge times. */
static void test_timeline_extremes(void)
{
    static const int64_t starts[] = { -1000000007, -1, 0, 1, INT64_MAX / 64 - 100 };
    MagvitParams p = interp_params(50, 1);
    int64_t pts, duration;
    int slot;

    for (size_t i = 0; i < MGV_ARRAY_LEN(starts); i++) {
        MgvTimeline tl;
        int n = 0;

        CU_ASSERT_EQUAL(mgv_timeline_init(&tl, &p, &unit_log), 0);
        while (mgv_timeline_next(&tl, starts[i], starts[i] + 40, &slot, &pts, &duration)) {
            CU_ASSERT(pts * 20 >= starts[i] && pts * 20 < starts[i] + 40);
            CU_ASSERT(slot >= 0 && slot <= tl.factor);
            n++;
        }
        CU_ASSERT_EQUAL(n, 2);
    }
}

/* ---- tiles ---------------------------------------------------------------- */

static const int window[3] = { 16, 128, 128 };

static MagvitParams tile_params(enum MagvitTask task, enum MagvitScale scale)
{
    MagvitParams p = { .task = task, .scale = scale, .tile_overlap = 32, .format = { MAGVIT_MODEL_YUV, 8, 0, 1, 1, 0 } };
    return p;
}

/* Tiles cover the area without a gap, and lie inside the working picture if it is large enough. */
static void check_cover(const MgvTiling *t)
{
    for (int axis = 0; axis < 2; axis++) {
        const int *at = axis ? t->y : t->x;
        int n = axis ? t->nb_y : t->nb_x, size = axis ? t->work_h : t->work_w;
        int tile = axis ? t->tile_h : t->tile_w, begin = axis ? t->area.y : t->area.x;

        for (int i = 0; i < n; i++) {
            if (i)
                CU_ASSERT(at[i] > at[i - 1] && at[i] <= at[i - 1] + tile);
            if (size >= tile)
                CU_ASSERT(at[i] >= 0 && at[i] + tile <= size);
        }
        CU_ASSERT_EQUAL(begin, MGV_MAX(at[0], 0));
        CU_ASSERT_EQUAL(begin + (axis ? t->area.h : t->area.w), MGV_MIN(at[n - 1] + tile, size));
    }
}

static void test_tiles_cover(void)
{
    static const int tasks[] = { MAGVIT_TASK_INTERP, MAGVIT_TASK_INPAINT, MAGVIT_TASK_OUTPAINT };
    uint64_t state = 5;

    for (int i = 0; i < 3000; i++) {
        MagvitParams p = tile_params(tasks[i % 3], i / 3 % 3);
        int w = unit_range(&state, 1, i % 5 ? 700 : 40), h = unit_range(&state, 1, i % 7 ? 500 : 20);
        MgvRect hole = { unit_range(&state, 0, w - 1), unit_range(&state, 0, h - 1), 1, 1 };
        MgvRect src = { 0, 0, unit_range(&state, 1, w), unit_range(&state, 1, h) };
        MgvTiling t;

        p.tile_overlap = unit_range(&state, 0, 64);
        hole.w = unit_range(&state, 1, w - hole.x);
        hole.h = unit_range(&state, 1, h - hole.y);
        src.x  = unit_range(&state, 0, w - src.w);
        src.y  = unit_range(&state, 0, h - src.h);
        CU_ASSERT_EQUAL_FATAL(mgv_tiling_init(&t, &p, window, w, h, hole, src, mgv_tiling_border(w, h, src)), 0);
        check_cover(&t);
        CU_ASSERT(t.work_w >= 1 && t.work_h >= 1 && t.work_w <= w && t.work_h <= h);
        CU_ASSERT(t.native.x >= 0 && t.native.y >= 0 && t.native.x + t.native.w <= w && t.native.y + t.native.h <= h);
        CU_ASSERT(t.native.x % 2 == 0 && t.native.y % 2 == 0);
        if (p.task == MAGVIT_TASK_INPAINT)
            CU_ASSERT(hole.x >= t.native.x && hole.x + hole.w <= t.native.x + t.native.w &&
                      hole.y >= t.native.y && hole.y + hole.h <= t.native.y + t.native.h);
        mgv_tiling_uninit(&t);
    }
}

static MgvTiling tiles(MagvitParams p, int w, int h, MgvRect hole, MgvRect src)
{
    MgvTiling t;

    CU_ASSERT_EQUAL_FATAL(mgv_tiling_init(&t, &p, window, w, h, hole, src, mgv_tiling_border(w, h, src)), 0);
    check_cover(&t);
    return t;
}

static void expect_tiles(MgvTiling t, int work_w, int work_h, int nb_x, int nb_y)
{
    CU_ASSERT_EQUAL(t.work_w, work_w);
    CU_ASSERT_EQUAL(t.work_h, work_h);
    CU_ASSERT_EQUAL(t.nb_x, nb_x);
    CU_ASSERT_EQUAL(t.nb_y, nb_y);
    mgv_tiling_uninit(&t);
}

static void test_choices(void)
{
    MagvitParams interp = tile_params(MAGVIT_TASK_INTERP, MAGVIT_SCALE_AUTO), full = interp;
    MagvitParams in = tile_params(MAGVIT_TASK_INPAINT, MAGVIT_SCALE_AUTO);
    MagvitParams out = tile_params(MAGVIT_TASK_OUTPAINT, MAGVIT_SCALE_AUTO);
    MgvRect none = { 0 };
    MgvTiling t;

    full.scale = MAGVIT_SCALE_TILE;
    expect_tiles(tiles(interp, 128, 128, none, none), 128, 128, 1, 1);
    expect_tiles(tiles(interp, 224, 224, none, none), 224, 224, 2, 2);
    expect_tiles(tiles(interp, 320, 240, none, none), 171, 128, 2, 1);
    expect_tiles(tiles(interp, 1920, 1080, none, none), 228, 128, 2, 1);
    expect_tiles(tiles(full, 320, 240, none, none), 320, 240, 3, 3);
    expect_tiles(tiles(interp, 1, 1, none, none), 1, 1, 1, 1);

    /* a logo: one window, at full resolution, round its middle */
    t = tiles(in, 1920, 1080, (MgvRect){ 1000, 500, 60, 40 }, none);
    CU_ASSERT(t.x[0] == 1030 - 64 && t.y[0] == 520 - 64);
    expect_tiles(t, 1920, 1080, 1, 1);
    t = tiles(in, 1920, 1080, (MgvRect){ 1860, 20, 50, 30 }, none); // in a corner
    CU_ASSERT(t.x[0] == 1920 - 128 && t.y[0] == 0);
    mgv_tiling_uninit(&t);
    expect_tiles(tiles(in, 1920, 1080, (MgvRect){ 200, 900, 1000, 40 }, none), 1920, 1080, 10, 1); // subtitles
    expect_tiles(tiles(in, 1920, 1080, (MgvRect){ 200, 200, 640, 640 }, none), 192, 108, 1, 1);    // a tenth

    expect_tiles(tiles(out, 448, 256, none, (MgvRect){ 64, 0, 320, 256 }), 448, 256, 5, 3);
    expect_tiles(tiles(out, 640, 256, none, (MgvRect){ 160, 0, 320, 256 }), 256, 102, 3, 1);

    /* what is made of nothing is one window at any size */
    for (int scale = 0; scale <= MAGVIT_SCALE_FIT; scale++) {
        MagvitParams make = tile_params(MAGVIT_TASK_GENERATE, scale);

        expect_tiles(tiles(make, 128, 128, none, none), 128, 128, 1, 1);
        expect_tiles(tiles(make, 1920, 1080, none, none), 128, 72, 1, 1);
        expect_tiles(tiles(make, 64, 256, none, none), 32, 128, 1, 1);
        expect_tiles(tiles(make, 20, 10, none, none), 20, 10, 1, 1);
    }
}

/* Tiles in their order: each shows at least so many pixels that are given or made before, and all is made. */
static void check_order(const MgvTiling *t, MgvRect known, int least)
{
    static uint8_t have[1024][1024];
    int bad = 0, missing = 0, turn[4096] = { 0 };

    CU_ASSERT_FATAL(t->work_w <= 1024 && t->work_h <= 1024 && t->nb_x * t->nb_y <= 4096);
    memset(have, 0, sizeof(have));
    for (int y = known.y; y < known.y + known.h; y++)
        memset(have[y] + known.x, 1, known.w);
    for (int k = 0; k < t->nb_x * t->nb_y; k++) {
        int tile = t->order[k], x0 = t->x[tile % t->nb_x], y0 = t->y[tile / t->nb_x], condition = 0;

        turn[tile]++;
        for (int y = MGV_MAX(y0, 0); y < MGV_MIN(y0 + t->tile_h, t->work_h); y++)
            for (int x = MGV_MAX(x0, 0); x < MGV_MIN(x0 + t->tile_w, t->work_w); x++) {
                condition += have[y][x];
                have[y][x] = 1;
            }
        bad += condition < least;
    }
    for (int i = 0; i < t->nb_x * t->nb_y; i++)
        bad += turn[i] != 1;
    for (int y = 0; y < t->work_h; y++)
        for (int x = 0; x < t->work_w; x++)
            missing += !have[y][x];
    if (bad || missing)
        printf("%dx%d from %d,%d %dx%d: %d tiles without condition, %d pixels without tile\n", t->work_w, t->work_h,
               known.x, known.y, known.w, known.h, bad, missing);
    CU_ASSERT(!bad && !missing);
}

/* Whatever the canvas, no tile is made without a condition. */
static void test_outward(void)
{
    uint64_t state = 11;

    for (int i = 0; i < 300; i++) {
        MagvitParams p = tile_params(MAGVIT_TASK_OUTPAINT, i % 3);
        int w = unit_range(&state, 1, i % 4 ? 1000 : 200), h = unit_range(&state, 1, i % 5 ? 600 : 1000);
        MgvRect src = { 0, 0, unit_range(&state, 1, i % 2 ? w : MGV_MIN(w, 80)), unit_range(&state, 1, h) }, known;
        MgvTiling t;
        double sx, sy;

        p.tile_overlap = unit_range(&state, 0, 64);
        src.x = unit_range(&state, 0, w - src.w);
        src.y = unit_range(&state, 0, h - src.h);
        CU_ASSERT_EQUAL_FATAL(mgv_tiling_init(&t, &p, window, w, h, (MgvRect){ 0, 0, w, h }, src, mgv_tiling_border(w, h, src)), 0);
        sx = (double)t.work_w / w;
        sy = (double)t.work_h / h;
        known.x = (int)ceil(src.x * sx - 1e-6);
        known.y = (int)ceil(src.y * sy - 1e-6);
        known.w = (int)floor((src.x + src.w) * sx + 1e-6) - known.x;
        known.h = (int)floor((src.y + src.h) * sy + 1e-6) - known.y;
        CU_ASSERT(known.w > 0 && known.h > 0);
        check_order(&t, known, 1);
        mgv_tiling_uninit(&t);
    }
}

/* The panorama of the paper: a strip of 64 becomes 384 wide by steps of 32 on either side. */
static void test_panorama(void)
{
    static const int at[] = { 0, 32, 64, 96, 128, 160, 192, 224, 256 }, order[] = { 4, 3, 5, 2, 6, 1, 7, 0, 8 };
    MgvRect src = { 160, 0, 64, 128 };
    MgvTiling t = tiles(tile_params(MAGVIT_TASK_OUTPAINT, MAGVIT_SCALE_TILE), 384, 128, (MgvRect){ 0 }, src);

    CU_ASSERT_FATAL(t.nb_x == 9 && t.nb_y == 1);
    CU_ASSERT(!memcmp(t.x, at, sizeof(at)));
    CU_ASSERT(!memcmp(t.order, order, sizeof(order)));
    check_order(&t, src, 64 * 128);
    mgv_tiling_uninit(&t);
}

static void test_progress(void)
{
    MgvProgress p = { .start = 100, .told = 100 };

    CU_ASSERT_EQUAL(mgv_progress_due(&p, 104.9), 0);
    CU_ASSERT_EQUAL(mgv_progress_due(&p, 105.1), 1);
    CU_ASSERT_EQUAL(mgv_progress_due(&p, 110.0), 0);
    CU_ASSERT_EQUAL(mgv_progress_due(&p, 110.1), 1);
}

CU_ErrorCode add_window_suite(void)
{
    static const UnitTest tests[] = {
        { "interpolation windows", test_interp },
        { "ends of a stream", test_interp_ends },
        { "one-to-one windows", test_repair },
        { "kinds of timeline", test_timeline_init },
        { "rounded times", test_timeline_rounded },
        { "extreme times", test_timeline_extremes },
        { "tiles cover", test_tiles_cover },
        { "choice of scale", test_choices },
        { "tiles go outward", test_outward },
        { "panorama", test_panorama },
        { "lines about a long window", test_progress },
        { NULL, NULL }
    };
    return unit_add("window", tests);
}
