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


/* Joining made to given pixels: no step at borders, no flicker in time. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libmagvit/video.h"
#include "tests/unit/unit.h"

enum { W = 96, H = 72 };

static float *picture(void)
{
    return mgv_calloc(W * H, 3 * sizeof(float));
}

static void fill(float *p, float r, float g, float b)
{
    for (int i = 0; i < W * H; i++) {
        p[i * 3]     = r;
        p[i * 3 + 1] = g;
        p[i * 3 + 2] = b;
    }
}

/* Weights fall to the edges, and sum to one once divided. */
static void test_tiles(void)
{
    float *sum = picture(), *tile = picture(), weight[W * H] = { 0 };

    for (int i = 0; i < 48 * 40 * 3; i++)
        tile[i] = 0.75f;
    for (int y = -4; y < H; y += 32)
        for (int x = -5; x < W; x += 40)
            mgv_blend_add(sum, weight, W, H, tile, 48, 40, x, y, 8);
    mgv_blend_finish(sum, weight, W * H);
    for (int i = 0; i < W * H; i++) {
        CU_ASSERT(weight[i] > 0);
        CU_ASSERT_DOUBLE_EQUAL(sum[i * 3 + 1], 0.75, 1e-6);
    }
    /* two tiles of different level: a straight line between them */
    memset(sum, 0, W * H * 3 * sizeof(*sum));
    memset(weight, 0, sizeof(weight));
    mgv_blend_add(sum, weight, W, H, tile, 48, 40, 0, 0, 8);
    memset(tile, 0, 48 * 40 * 3 * sizeof(*tile));
    mgv_blend_add(sum, weight, W, H, tile, 48, 40, 40, 0, 8);
    mgv_blend_finish(sum, weight, W * H);
    for (int x = 0; x < 88; x++) {
        double want = x < 40 ? 0.75 : x >= 48 ? 0 : 0.75 * (48 - x - 0.5) / 8;
        CU_ASSERT_DOUBLE_EQUAL(sum[(20 * W + x) * 3], want, 1e-6);
    }
    CU_ASSERT_EQUAL(sum[(50 * W) * 3], 0); // no tile, and no division by 0
    mgv_freep(&sum);
    mgv_freep(&tile);
}

/* Mean of the pixels just inside a hole against the level outside. */
static void check_hole(MgvRect r, float r_off, float g_off, float b_off)
{
    float *made = picture(), *given = picture();
    uint8_t *known = mgv_calloc(W * H, 1);
    MgvBlend *b = NULL;
    double inside[3] = { 0 };
    int n = 0, bad = 0;

    CU_ASSERT_EQUAL_FATAL(mgv_blend_alloc(&b, W, H, NULL), 0);
    fill(given, 0.4f, 0.5f, 0.6f);
    fill(made, 0.4f + r_off, 0.5f + g_off, 0.6f + b_off);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            known[y * W + x] = x < r.x || x >= r.x + r.w || y < r.y || y >= r.y + r.h;
            if (!known[y * W + x]) // what lies under the hole must not count
                given[(y * W + x) * 3] = 1;
        }
    mgv_blend_hole(b, made, given, known, W, H);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            const float *v = made + (y * W + x) * 3;
            /* where it meets something known, not where it meets the picture's own edge */
            int border = (x == r.x && x > 0) || (x == r.x + r.w - 1 && x < W - 1) || (y == r.y && y > 0) ||
                         (y == r.y + r.h - 1 && y < H - 1);

            if (known[y * W + x])
                bad |= memcmp(v, given + (y * W + x) * 3, 3 * sizeof(*v)) != 0;
            else
                bad |= !(fabsf(v[0] - 0.4f) <= fabsf(r_off) + 1e-6f); // never overshoots
            if (known[y * W + x] || !border)
                continue;
            n++;
            for (int c = 0; c < 3; c++)
                inside[c] += v[c];
        }
    CU_ASSERT(!bad && n > 0);
    CU_ASSERT_DOUBLE_EQUAL(inside[0] / n, 0.4, 1 / 255.0);
    CU_ASSERT_DOUBLE_EQUAL(inside[1] / n, 0.5, 1 / 255.0);
    CU_ASSERT_DOUBLE_EQUAL(inside[2] / n, 0.6, 1 / 255.0);
    mgv_blend_free(&b);
    mgv_freep(&made);
    mgv_freep(&given);
    mgv_freep(&known);
}

static void test_holes(void)
{
    check_hole((MgvRect){ 30, 20, 32, 32 }, 0.05f, -0.05f, 0.02f);
    check_hole((MgvRect){ 31, 21, 1, 1 }, 0.1f, 0.1f, 0.1f);
    check_hole((MgvRect){ 3, 0, 50, 60 }, -0.08f, 0.03f, 0);
    check_hole((MgvRect){ 0, 0, 20, H }, 0.05f, 0.05f, 0.05f); // a border
    check_hole((MgvRect){ 70, 50, 26, 22 }, 0.06f, 0, -0.06f); // a corner
}

static void test_hole_without_evidence(void)
{
    float *made = picture(), *given = picture();
    uint8_t *known = mgv_calloc(W * H, 1);
    MgvBlend *b = NULL;

    CU_ASSERT_EQUAL_FATAL(mgv_blend_alloc(&b, W, H, NULL), 0);
    fill(made, 0.3f, 1.5f, -0.5f);
    fill(given, 0.9f, 0.9f, 0.9f);
    memset(known, 2, W); // given, but not made: says nothing of the error
    mgv_blend_hole(b, made, given, known, W, H);
    CU_ASSERT_EQUAL(made[0], 0.9f);
    CU_ASSERT_DOUBLE_EQUAL(made[W * 3], 0.3, 1e-6);
    CU_ASSERT_EQUAL(made[W * 3 + 1], 1); // clipped
    CU_ASSERT_EQUAL(made[W * 3 + 2], 0);
    mgv_blend_free(&b);
    mgv_freep(&made);
    mgv_freep(&given);
    mgv_freep(&known);
}

/* Any size down to a pixel stays inside its memory. */
static void test_sizes(void)
{
    static const int sizes[][2] = { { 1, 1 }, { 2, 1 }, { 1, 500 }, { 500, 1 }, { 3, 3 }, { 5, 4 }, { 33, 65 } };

    for (size_t i = 0; i < MGV_ARRAY_LEN(sizes); i++) {
        int w = sizes[i][0], h = sizes[i][1];
        float *made = mgv_calloc((size_t)w * h, 3 * sizeof(*made)), *given = mgv_calloc((size_t)w * h, 3 * sizeof(*given));
        uint8_t *known = mgv_calloc((size_t)w * h, 1);
        MgvAnchor a = { given, given };
        MgvBlend *b = NULL;

        CU_ASSERT_EQUAL_FATAL(mgv_blend_alloc(&b, w, h, NULL), 0);
        known[0] = 1;
        given[0] = 0.5f;
        mgv_blend_hole(b, made, given, known, w, h);
        CU_ASSERT_EQUAL(made[0], 0.5f);
        mgv_blend_time(b, made, &a, &a, 0.5, 8, w, h);
        mgv_blend_time(b, made, &a, NULL, 0, 70, w, h);
        CU_ASSERT_DOUBLE_EQUAL(made[0], 0.5, 1e-5);
        mgv_blend_free(&b);
        mgv_freep(&made);
        mgv_freep(&given);
        mgv_freep(&known);
    }
}

/* A decoder that dims, blurs and flickers: where nothing moves the frame between is the given one. */
static void test_still(void)
{
    float *given = picture(), *made_a = picture(), *made = picture();
    MgvAnchor a = { given, made_a };
    MgvBlend *b = NULL;
    double worst = 0;

    CU_ASSERT_EQUAL_FATAL(mgv_blend_alloc(&b, W, H, NULL), 0);
    for (int i = 0; i < W * H * 3; i++)
        given[i] = 0.5f + (i / 3 % 2 ? 0.1f : -0.1f);
    fill(made_a, 0.45f, 0.45f, 0.45f);
    for (int i = 0; i < W * H * 3; i++)
        made[i] = 0.45f + 0.05f * (float)(i * 7 % 3 - 1);
    mgv_blend_time(b, made, &a, &a, 0.3, 8, W, H);
    for (int i = 0; i < W * H * 3; i++)
        worst = fmax(worst, fabs(made[i] - given[i]));
    CU_ASSERT(worst < 1 / 255.0);
    mgv_blend_free(&b);
    mgv_freep(&given);
    mgv_freep(&made_a);
    mgv_freep(&made);
}

/* Where much moves, detail of the neighbours is not laid over the frame, but its level is right. */
static void test_moving(void)
{
    float *ga = picture(), *gz = picture(), *ma = picture(), *made = picture();
    MgvAnchor a = { ga, ma }, z = { gz, ma };
    MgvBlend *b = NULL;
    double mean = 0, ripple = 0;

    CU_ASSERT_EQUAL_FATAL(mgv_blend_alloc(&b, W, H, NULL), 0);
    for (int i = 0; i < W * H; i++) // bars of 4 pixels that have moved by 4
        for (int c = 0; c < 3; c++) {
            ga[i * 3 + c] = i % W / 4 % 2 ? 0.9f : 0.1f;
            gz[i * 3 + c] = i % W / 4 % 2 ? 0.1f : 0.9f;
        }
    fill(ma, 0.45f, 0.45f, 0.45f);
    fill(made, 0.45f, 0.45f, 0.45f);
    mgv_blend_time(b, made, &a, &z, 0.25, 8, W, H);
    for (int y = 20; y < 52; y++)
        for (int x = 24; x < 72; x++) {
            mean  += made[(y * W + x) * 3] / (32 * 48);
            ripple = fmax(ripple, fabs(made[(y * W + x) * 3] - 0.5));
        }
    CU_ASSERT_DOUBLE_EQUAL(mean, 0.5, 1 / 255.0);
    CU_ASSERT(ripple < 0.02); // the mixed bars would give 0.2
    mgv_blend_free(&b);
    mgv_freep(&ga);
    mgv_freep(&gz);
    mgv_freep(&ma);
    mgv_freep(&made);
}

/* The mean level runs in a straight line between frames of different level. */
static void test_fade(void)
{
    float *ga = picture(), *gz = picture(), *ma = picture(), *mz = picture(), *made = picture();
    MgvAnchor a = { ga, ma }, z = { gz, mz };
    MgvBlend *b = NULL;

    CU_ASSERT_EQUAL_FATAL(mgv_blend_alloc(&b, W, H, NULL), 0);
    fill(ga, 0.2f, 0.2f, 0.2f);
    fill(gz, 0.6f, 0.6f, 0.6f);
    fill(ma, 0.25f, 0.25f, 0.25f);
    fill(mz, 0.57f, 0.57f, 0.57f);
    for (int i = 1; i < 8; i++) {
        float phi = i / 8.0f, level = 0.25f + phi * 0.32f;

        fill(made, level, level, level);
        mgv_blend_time(b, made, &a, &z, phi, 8, W, H);
        CU_ASSERT_DOUBLE_EQUAL(made[(30 * W + 30) * 3], 0.2 + phi * 0.4, 1e-4);
    }
    mgv_blend_free(&b);
    mgv_freep(&ga);
    mgv_freep(&gz);
    mgv_freep(&ma);
    mgv_freep(&mz);
    mgv_freep(&made);
}

/* Shares of made samples grow with the distance from what is outside of the hole; beyond the picture there is nothing. */
static void test_feather(void)
{
    enum { FEATHER = 4 };
    static const MgvRect r = { 9, 0, 20, 21 }; // open to the top
    static uint8_t mask[W * H];
    static uint16_t near[W * H];
    static float share[W * H];
    const MgvPicture p = { .width = W, .height = H, .mask = mask, .hole = r };
    int bad = 0;

    for (int y = 0; y < r.h; y++)
        memset(mask + y * W + r.x, 1, r.w);
    mask[10 * W + 19] = 0; // and one known pixel in its middle
    mgv_blend_feather(share, near, &p, FEATHER);
    for (int y = 0; y < r.h; y++)
        for (int x = r.x; x < r.x + r.w; x++) {
            int side = MGV_MIN(MGV_MIN(x - r.x + 1, r.x + r.w - x), r.h - y);
            double d = MGV_MIN(side, sqrt((x - 19) * (x - 19) + (y - 10) * (y - 10)));
            bad += fabs(share[y * W + x] - MGV_MIN(d / (FEATHER + 1), 1)) > 1e-6;
        }
    CU_ASSERT_EQUAL(bad, 0);
}

/* Coarse changes from frame to frame are evened out where a hole is, fine ones and what is given are not. */
static void test_steady(void)
{
    enum { T = 6 };
    const size_t pixels = W * H;
    float *made = mgv_calloc(T * pixels, 3 * sizeof(float)), *given = mgv_calloc(T * pixels, 3 * sizeof(float));
    uint8_t *unknown = mgv_calloc(T, pixels);
    double *scratch = mgv_calloc(mgv_blend_steady_scratch(W, H), sizeof(double));
    float before = 0, after = 0;

    for (int t = 0; t < T; t++)
        for (size_t i = 0; i < pixels; i++) {
            int x = i % W, y = (int)(i / W);

            unknown[t * pixels + i] = x > 20 + t && x < 70 + t && y > 10 && y < 60;
            for (int c = 0; c < 3; c++) {
                given[(t * pixels + i) * 3 + c] = 0.4f + 0.1f * c;
                made[(t * pixels + i) * 3 + c]  = 0.4f + 0.1f * c + (t % 2 ? 0.1f : 0) + ((x + y) % 2 ? 0.05f : -0.05f);
            }
        }
    mgv_blend_steady(made, given, unknown, T, W, H, scratch, NULL);
    for (int t = 0; t < T; t++)
        for (size_t i = 0; i < pixels; i++) {
            int x = i % W, y = (int)(i / W);
            float was = 0.4f + (t % 2 ? 0.1f : 0) + ((x + y) % 2 ? 0.05f : -0.05f), is = made[(t * pixels + i) * 3];

            if (!unknown[t * pixels + i]) {
                CU_ASSERT_EQUAL(is, was);
            } else if (x > 40 && x < 60 && y > 25 && y < 45) { // far from the edge
                before = MGV_MAX(before, fabsf(was - 0.45f - ((x + y) % 2 ? 0.05f : -0.05f)));
                after  = MGV_MAX(after, fabsf(is - 0.45f - ((x + y) % 2 ? 0.05f : -0.05f)));
            }
        }
    CU_ASSERT_DOUBLE_EQUAL(before, 0.05, 1e-3);
    CU_ASSERT(after < 0.02);
    free(made);
    free(given);
    free(unknown);
    free(scratch);
}

/* Noise beside a flat border goes, an object stays, and nothing changes beside a textured one but what the shift does. */
static void test_flat_border(void)
{
    enum { N = 48, LO = 12, HI = 36 };
    float made[N * N * 3], given[N * N * 3];
    uint8_t known[N * N];
    uint64_t state = 5;
    MgvBlend *b;

    CU_ASSERT_EQUAL_FATAL(mgv_blend_alloc(&b, N, N, NULL), 0);
    for (int textured = 0; textured < 2; textured++) {
        float worst = 0, object = 0;

        for (int i = 0; i < N * N; i++) {
            const int x = i % N, y = i / N;

            known[i] = x < LO || x >= HI || y < LO || y >= HI;
            for (int c = 0; c < 3; c++) {
                given[i * 3 + c] = 0.5f + (textured ? 0.1f * unit_float(&state) : 0);
                made[i * 3 + c]  = 0.5f + (i % 2 ? 5 : -5) / 255.0f + (x >= 22 && x < 26 && y < 16 ? 0.3f : 0);
            }
        }
        mgv_blend_hole(b, made, given, known, N, N);
        for (int i = 0; i < N * N; i++) {
            const int x = i % N, y = i / N, in_object = x >= 22 && x < 26 && y < 16;

            if (!known[i] && !in_object && (x < LO + 3 || x >= HI - 3) && y >= 20 && y < 28)
                worst = fmaxf(worst, fabsf(made[i * 3] - 0.5f));
            if (!known[i] && in_object && y == 14)
                object = made[i * 3] - 0.5f;
        }
        if (textured) { // two columns beside each other: the shift is the same for both, so is the grain
            const float *row = made + 24 * N * 3;
            CU_ASSERT(fabsf(fabsf(row[(LO + 2) * 3] - row[(LO + 1) * 3]) - 10 / 255.0f) < 0.02f);
        } else {
            CU_ASSERT(worst <= 1 / 255.0f);
            CU_ASSERT(object > 0.15f);
        }
    }
    mgv_blend_free(&b);
}

/* Mean of what lies in the picture up to r cells from (x,y). */
static double box_mean(const float *v, int w, int h, int x, int y, int r)
{
    double sum = 0;
    int n = 0;

    for (int j = MGV_MAX(y - r, 0); j <= MGV_MIN(y + r, h - 1); j++)
        for (int i = MGV_MAX(x - r, 0); i <= MGV_MIN(x + r, w - 1); i++, n++)
            sum += v[j * w + i];
    return sum / n;
}

/* A blur is two means of means, at any size and radius. */
static void test_blur(void)
{
    static const int size[][3] = { { 1, 1, 1 }, { 2, 7, 3 }, { 5, 4, 4 }, { 9, 3, 1 }, { 20, 31, 9 }, { 31, 17, 40 } };
    float src[20 * 31], once[20 * 31], dst[20 * 31], tmp[20 * 31];
    double column[31];
    uint64_t state = 3;

    for (size_t k = 0; k < MGV_ARRAY_LEN(size); k++) {
        const int w = size[k][0], h = size[k][1], r = size[k][2];

        for (int i = 0; i < w * h; i++)
            dst[i] = src[i] = unit_float(&state);
        mgv_blend_blur(dst, dst, tmp, column, w, h, r, NULL);
        for (int i = 0; i < w * h; i++)
            once[i] = (float)box_mean(src, w, h, i % w, i / w, r);
        for (int i = 0; i < w * h; i++)
            CU_ASSERT_DOUBLE_EQUAL(dst[i], box_mean(once, w, h, i % w, i / w, r), 1e-6);
    }
}

/* Pictures large enough for many parts: threads take nothing from the result. */
static void test_team(void)
{
    enum { TW = 410, TH = 290, VALUES = TW * TH * 3 };
    float *v = malloc(6 * VALUES * sizeof(*v)), *one = v + 4 * VALUES, *shared = one + VALUES;
    uint8_t *known = malloc(TW * TH);
    const MgvAnchor a = { v, v + VALUES }, z = { v + 2 * VALUES, v + 3 * VALUES };
    int calls = 0;
    const MgvTeam team = { unit_share_backwards, (MgvDevice *)&calls };
    MgvBlend *b[2];
    uint64_t state = 4;

    for (int i = 0; i < 5 * VALUES; i++)
        v[i] = 0.5f + 0.4f * unit_float(&state);
    memcpy(shared, one, VALUES * sizeof(*one));
    for (int i = 0; i < TW * TH; i++)
        known[i] = i % TW < 100 || i / TW > 250;
    for (int i = 0; i < 2; i++) {
        float *made = i ? shared : one;

        CU_ASSERT_EQUAL_FATAL(mgv_blend_alloc(&b[i], TW, TH, i ? &team : NULL), 0);
        mgv_blend_time(b[i], made, &a, &z, 0.4, 20, TW, TH);
        mgv_blend_moved(b[i], made, a.made, z.made, 0.4, 20, TW, TH);
        mgv_blend_hole(b[i], made, a.given, known, TW, TH);
        mgv_blend_free(&b[i]);
    }
    CU_ASSERT(calls > 20);
    CU_ASSERT_EQUAL(memcmp(one, shared, VALUES * sizeof(*one)), 0);
    free(v);
    free(known);
}

CU_ErrorCode add_blend_suite(void)
{
    static const UnitTest tests[] = {
        { "tiles", test_tiles },
        { "no step at the edge of a hole", test_holes },
        { "no evidence, no correction", test_hole_without_evidence },
        { "any size", test_sizes },
        { "still pictures", test_still },
        { "moving pictures", test_moving },
        { "fades", test_fade },
        { "feather", test_feather },
        { "steady holes", test_steady },
        { "beside flat content", test_flat_border },
        { "blur", test_blur },
        { "the same from a team", test_team },
        { NULL, NULL }
    };
    return unit_add("blend", tests);
}
