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


/* Motion between two frames: what moves is found where it is by then, what stands still stays. */

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libmagvit/video.h"
#include "tests/unit/unit.h"

/* A picture of soft blobs, moved by (dx,dy). */
static float *blobs(int w, int h, double dx, double dy)
{
    float *rgb = malloc((size_t)w * h * 3 * sizeof(*rgb)), *v = rgb;

    CU_ASSERT_PTR_NOT_NULL_FATAL(rgb);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++, v += 3) {
            const double px = x - dx, py = y - dy;

            v[0] = (float)(0.5 + 0.25 * sin(px / 3) * cos(py / 5) + 0.2 * sin(px / 17 + py / 11));
            v[1] = (float)(0.5 + 0.25 * cos(px / 4) * sin(py / 3) + 0.2 * cos(px / 23 - py / 13));
            v[2] = 1 - v[0];
        }
    return rgb;
}

static double rms(const float *a, const float *b, int w, int h, int margin)
{
    double sum = 0;
    int n = 0;

    for (int y = margin; y < h - margin; y++)
        for (int x = 3 * margin; x < 3 * (w - margin); x++, n++) {
            const double d = a[(size_t)y * w * 3 + x] - b[(size_t)y * w * 3 + x];
            sum += d * d;
        }
    return sqrt(sum / n);
}

/* Moved as a whole, from one picture to the other by (dx,dy): errors of what is made, and of a blend, halfway. */
static void check_shift(int w, int h, double dx, double dy)
{
    float *a = blobs(w, h, 0, 0), *b = blobs(w, h, dx, dy), *made = malloc((size_t)w * h * 3 * sizeof(*made));
    float *flow = malloc(mgv_motion_floats(w, h) * sizeof(*flow)), *blend = malloc((size_t)w * h * 3 * sizeof(*blend));
    MgvMotion *m;

    CU_ASSERT_EQUAL_FATAL(mgv_motion_alloc(&m, w, h), 0);
    mgv_motion_estimate(m, flow, a, b, NULL);
    for (int i = 1; i < 4; i++) {
        const double phi = i / 4.0;
        float *truth = blobs(w, h, phi * dx, phi * dy);

        mgv_motion_between(m, made, (MgvRect){ 0, 0, w, h }, a, b, flow, phi);
        for (int k = 0; k < w * h * 3; k++)
            blend[k] = (float)(a[k] + (b[k] - a[k]) * phi);
        CU_ASSERT(rms(made, truth, w, h, 16) < 0.0005);
        CU_ASSERT(rms(blend, truth, w, h, 16) > 0.03);
        free(truth);
    }
    mgv_motion_free(&m);
    CU_ASSERT_PTR_NULL(m);
    free(a);
    free(b);
    free(made);
    free(blend);
    free(flow);
}

static void test_shift(void)
{
    check_shift(128, 128, 5, -3);
    check_shift(97, 130, -6.5, 2.25);
    check_shift(1101, 997, 7, 3); /* so large that the flow is coarser than the picture */
}

/* A picture of twice the size moves by the flow that was found in the small one. */
static void test_view(void)
{
    enum { W = 96, H = 80, X = 10, Y = 6 };
    const MgvView view = { 2 * (W - 2 * X), 2 * (H - 2 * Y), X, Y, 0.5, 0.5 };
    const size_t bytes = 3 * sizeof(float) * view.w * view.h;
    float *a = blobs(W, H, 0, 0), *b = blobs(W, H, 4, -2), *src = malloc(bytes), *truth = malloc(bytes);
    float *flow = malloc(mgv_motion_floats(W, H) * sizeof(*flow)), *phase = malloc(mgv_motion_floats(W, H) * sizeof(*flow));
    float *dst[] = { malloc(bytes), malloc(bytes) };
    MgvMotion *m;

    for (int y = 0; y < view.h; y++)
        for (int x = 0; x < view.w; x++)
            for (int c = 0; c < 3; c++) {
                const size_t i = ((size_t)y * view.w + x) * 3 + c;

                src[i]   = (float)(0.5 + 0.4 * sin(x / 5.0 + c) * cos(y / 7.0));
                truth[i] = (float)(0.5 + 0.4 * sin((x - 2 * 3) / 5.0 + c) * cos((y + 3) / 7.0)); // 3/4 of the way
            }
    CU_ASSERT_EQUAL_FATAL(mgv_motion_alloc(&m, W, H), 0);
    mgv_motion_estimate(m, flow, a, b, NULL);
    mgv_motion_phase(m, phase, flow, 0.75, 0, mgv_motion_rows(m));
    mgv_motion_move(m, dst, (const float *[]){ src, truth }, &view, phase, 0.75, 0, view.h);
    CU_ASSERT(rms(dst[0], truth, view.w, view.h, 16) < 0.002);
    mgv_motion_phase(m, phase, flow, 0.25, 0, mgv_motion_rows(m));
    mgv_motion_move(m, dst, (const float *[]){ src, truth }, &view, phase, 0.25, 0, view.h); // and back, by as much
    CU_ASSERT(rms(dst[1], src, view.w, view.h, 16) < 0.002);
    mgv_motion_free(&m);
    free(a);
    free(b);
    free(src);
    free(truth);
    free(flow);
    free(phase);
    free(dst[0]);
    free(dst[1]);
}

/* Pictures that agree are shown, where they do not what was made stays. */
static void test_agree(void)
{
    enum { W = 64, H = 8 };
    float a[W * H * 3], z[W * H * 3], made[W * H * 3];
    MgvBlend *b;

    for (int i = 0; i < W * H * 3; i++) {
        a[i]    = i / 3 % W < W / 2 ? 0.5f : 0.1f;
        z[i]    = i / 3 % W < W / 2 ? 0.52f : 1;
        made[i] = 0.2f;
    }
    CU_ASSERT_EQUAL_FATAL(mgv_blend_alloc(&b, W, H, NULL), 0);
    mgv_blend_moved(b, made, a, z, 0.5, 4, W, H);
    CU_ASSERT(fabsf(made[0] - 0.51f) < 0.12f && made[0] > 0.3f);
    CU_ASSERT(made[(W - 1) * 3] < 0.21f && made[(W - 1) * 3] >= 0.2f);
    memcpy(z, a, sizeof(z));
    mgv_blend_moved(b, made, a, z, 0.5, 4, W, H);
    for (int i = 0; i < W * H * 3; i++)
        CU_ASSERT(fabsf(made[i] - a[i]) < 1e-6f);
    mgv_blend_free(&b);
}

static void test_still(void)
{
    const int w = 70, h = 33;
    float *a = blobs(w, h, 0, 0), *made = malloc((size_t)w * h * 3 * sizeof(*made));
    float *flow = malloc(mgv_motion_floats(w, h) * sizeof(*flow));
    MgvMotion *m;

    CU_ASSERT_EQUAL_FATAL(mgv_motion_alloc(&m, w, h), 0);
    mgv_motion_estimate(m, flow, a, a, NULL);
    mgv_motion_between(m, made, (MgvRect){ 0, 0, w, h }, a, a, flow, 0.3);
    CU_ASSERT_EQUAL(rms(made, a, w, h, 0), 0);
    mgv_motion_free(&m);
    free(a);
    free(made);
    free(flow);
}

/* Threads take nothing from the result. */
static void test_team(void)
{
    enum { W = 250, H = 190 };
    float *a = blobs(W, H, 0, 0), *b = blobs(W, H, 2, 1);
    float *flow = malloc(mgv_motion_floats(W, H) * sizeof(*flow)), *shared = malloc(mgv_motion_floats(W, H) * sizeof(*flow));
    int calls = 0;
    const MgvTeam team = { unit_share_backwards, (MgvDevice *)&calls };
    MgvMotion *m;

    CU_ASSERT_EQUAL_FATAL(mgv_motion_alloc(&m, W, H), 0);
    mgv_motion_estimate(m, flow, a, b, NULL);
    mgv_motion_estimate(m, shared, a, b, &team);
    CU_ASSERT(calls > 60); // the solver of the finest level alone calls for more
    CU_ASSERT_EQUAL(memcmp(flow, shared, mgv_motion_floats(W, H) * sizeof(*flow)), 0);
    mgv_motion_free(&m);
    free(a);
    free(b);
    free(flow);
    free(shared);
}

/* Parts of any place equal the whole, beyond the edge its pixels are repeated; the same flow every time. */
static void test_parts(void)
{
    enum { W = 50, H = 40, S = 16 };
    float *a = blobs(W, H, 0, 0), *b = blobs(W, H, 2, 1), *whole = malloc(W * H * 3 * sizeof(*whole)), part[S * S * 3];
    float *flow = malloc(mgv_motion_floats(W, H) * sizeof(*flow)), *again = malloc(mgv_motion_floats(W, H) * sizeof(*flow));
    MgvMotion *m;

    CU_ASSERT_EQUAL_FATAL(mgv_motion_alloc(&m, W, H), 0);
    mgv_motion_estimate(m, flow, a, b, NULL);
    mgv_motion_estimate(m, again, b, a, NULL);
    mgv_motion_estimate(m, again, a, b, NULL);
    CU_ASSERT_EQUAL(memcmp(flow, again, mgv_motion_floats(W, H) * sizeof(*flow)), 0);
    mgv_motion_between(m, whole, (MgvRect){ 0, 0, W, H }, a, b, flow, 0.4);
    for (int y0 = -8; y0 < H; y0 += S)
        for (int x0 = -8; x0 < W; x0 += S) {
            mgv_motion_between(m, part, (MgvRect){ x0, y0, S, S }, a, b, flow, 0.4);
            for (int y = 0; y < S; y++)
                for (int x = 0; x < S; x++) {
                    const int wx = MGV_CLAMP(x0 + x, 0, W - 1), wy = MGV_CLAMP(y0 + y, 0, H - 1);
                    CU_ASSERT_EQUAL(memcmp(part + (y * S + x) * 3, whole + (wy * W + wx) * 3, 3 * sizeof(*part)), 0);
                }
        }
    mgv_motion_free(&m);
    free(a);
    free(b);
    free(whole);
    free(flow);
    free(again);
}

/* Thin, flat and unlike pictures make finite values in [0,1]; no memory is an error. */
static void test_odd(void)
{
    static const int sizes[][2] = { { 1, 1 }, { 2, 1 }, { 1, 90 }, { 300, 2 }, { 15, 17 }, { 16, 16 }, { 31, 64 } };
    uint64_t seed = 7;
    MgvMotion *m;

    for (size_t i = 0; i < MGV_ARRAY_LEN(sizes); i++) {
        const int w = sizes[i][0], h = sizes[i][1], n = w * h * 3;
        float *a = calloc(n, sizeof(*a)), *b = calloc(n, sizeof(*b)), *made = malloc(n * sizeof(*made));
        float *flow = malloc(mgv_motion_floats(w, h) * sizeof(*flow));

        CU_ASSERT_EQUAL_FATAL(mgv_motion_alloc(&m, w, h), 0);
        for (int noise = 0; noise < 2; noise++) {
            for (int k = 0; k < n; k++)
                b[k] = noise ? (float)(unit_rand(&seed) % 256 / 255.0) : 1;
            mgv_motion_estimate(m, flow, a, b, NULL);
            mgv_motion_between(m, made, (MgvRect){ 0, 0, w, h }, a, b, flow, 0.5);
            for (int k = 0; k < n; k++)
                CU_ASSERT(made[k] >= 0 && made[k] <= 1 && (noise || made[k] == 0.5f));
        }
        mgv_motion_free(&m);
        free(a);
        free(b);
        free(made);
        free(flow);
    }
    for (int i = 1; i <= 3; i++) {
        mgv_alloc_fail_at = i;
        CU_ASSERT_EQUAL(mgv_motion_alloc(&m, 64, 64), MAGVIT_ERR(ENOMEM));
        CU_ASSERT_PTR_NULL(m);
    }
    mgv_alloc_fail_at = 0;
}

/* ---- a window ---- */

enum { W0 = 50, H0 = 37, VALUES = W0 * H0 * 3 };

/* A slot as flows make it, part r of its picture and both neighbours, against motion found and followed for it alone. */
static void check_slot(MgvFlows *f, const float *a, const float *z, int slot, double phi)
{
    static float flow[2 * W0 * H0], at_phase[2 * W0 * H0], want[2][VALUES], got[VALUES], moved[2][VALUES];
    const MgvRect r = { -3, 20, 30, 20 };
    const MgvView view = { W0 - 4, H0 - 6, 1.5, 2.5, 1, 1 };
    const size_t part = (size_t)r.w * r.h * 3 * sizeof(*got), whole = (size_t)view.w * view.h * 3 * sizeof(*got);
    const float *const src[] = { a, z };
    float *dst[] = { moved[0], moved[1] }, *wanted[] = { want[0], want[1] };
    MgvMotion *m;

    CU_ASSERT_EQUAL_FATAL(mgv_motion_alloc(&m, W0, H0), 0);
    mgv_motion_estimate(m, flow, a, z, NULL);
    mgv_motion_between(m, want[0], r, a, z, flow, phi);
    mgv_flows_between(f, got, r, slot);
    CU_ASSERT_EQUAL(memcmp(got, want[0], part), 0);
    CU_ASSERT_EQUAL(mgv_flows_move(f, dst, src, &view, slot), 1);
    mgv_motion_phase(m, at_phase, flow, phi, 0, mgv_motion_rows(m));
    mgv_motion_move(m, wanted, src, &view, at_phase, phi, 0, view.h);
    for (int i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(memcmp(moved[i], want[i], whole), 0);
    mgv_motion_free(&m);
}

/* Pictures of a view tell better how they moved than the small ones that the model sees. */
static void test_fine(void)
{
    enum { BY = 4, W = 80, H = 60, VW = BY * W, VH = BY * H };
    static const int row[] = { 0, -1, -1, -1, 1 };
    const size_t values = (size_t)VW * VH * 3;
    const MgvView view = { VW, VH, 0, 0, 1.0 / BY, 1.0 / BY };
    float *clip = mgv_calloc(2 * W * H, 3 * sizeof(*clip)), *v = malloc(5 * values * sizeof(*v));
    float *const truth = v + 2 * values, *dst[] = { v + 3 * values, v + 4 * values };
    MgvFlows *f;

    for (int y = 0; y < VH; y++)
        for (int x = 0; x < VW; x++)
            for (int c = 0; c < 3; c++)
                for (int k = 0; k < 3; k++) { // first, last, and a quarter of the way
                    const double at = x - (k == 2 ? 0.25 : k) * 3.3, down = y + (k == 2 ? 0.25 : k) * 1.7;
                    const double p = 0.5 + 0.15 * sin(at / 23 + c) * cos(down / 19) + 0.2 * sin(at / 2.5) * cos(down / 3.1);

                    v[k * values + ((size_t)y * VW + x) * 3 + c] = (float)p;
                    if (k < 2)
                        clip[(((size_t)k * H + y / BY) * W + x / BY) * 3 + c] += (float)p / (BY * BY);
                }
    CU_ASSERT_EQUAL_FATAL(mgv_flows_alloc(&f, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(mgv_flows_find(f, clip, row, 5, W, H), 0);
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(mgv_flows_move(f, dst, (const float *[]){ v, v + values }, &view, 1), 1);
        CU_ASSERT(rms(dst[0], truth, VW, VH, 16) < 0.001);
        CU_ASSERT(rms(dst[1], truth, VW, VH, 16) < 0.001);
    }
    mgv_flows_free(&f);
    for (int k = 1; k < 12; k++) { // no memory: a line less, no crash
        int ret;

        mgv_alloc_fail_at = k;
        ret = mgv_flows_alloc(&f, NULL);
        if (ret >= 0)
            ret = mgv_flows_find(f, clip, row, 5, W, H);
        if (ret >= 0)
            ret = mgv_flows_move(f, dst, (const float *[]){ v, v + values }, &view, 1);
        CU_ASSERT(ret == MAGVIT_ERR(ENOMEM) || (ret == 1 && k > 8));
        mgv_flows_free(&f);
    }
    mgv_alloc_fail_at = 0;
    mgv_freep(&clip);
    free(v);
}

/* Gaps of a window, between the same frames too: what is not looked for is found to be nothing, bit by bit. */
static void test_gaps(void)
{
    static const int row[] = { -1, 0, -1, -1, 1, 2, -1, 3, -1 }; // two gaps among given frames, ends without one
    static const int picture[][4] = { { 0, 1, 0, 1 }, { 0, 1, 0, 0 }, { 0, 0, 0, 0 } };
    const MgvTeam alone = { unit_share_backwards, NULL }, *team = &alone;
    const float *from[] = { blobs(W0, H0, 0, 0), blobs(W0, H0, 3, -1) };
    float *clip = malloc(4 * VALUES * sizeof(*clip)), same[3];
    MgvFlows *f;

    for (int still = 0; still < 3; still++) {
        for (int i = 0; i < 4; i++)
            memcpy(clip + i * VALUES, from[picture[still][i]], VALUES * sizeof(*clip));
        clip[5] = clip[VALUES + 5] = 1.25f; // resampling leaves such values
        CU_ASSERT_EQUAL_FATAL(mgv_flows_alloc(&f, team), 0);
        CU_ASSERT_EQUAL_FATAL(mgv_flows_find(f, clip, row, 9, W0, H0), 0);
        check_slot(f, clip, clip + VALUES, 2, 1 / 3.);
        check_slot(f, clip, clip + VALUES, 3, 2 / 3.);
        check_slot(f, clip + 2 * VALUES, clip + 3 * VALUES, 6, 0.5);
        for (int i = 0; i < 9; i++) {
            memset(same, 0xff, sizeof(same));
            if (i == 2 || i == 3 || i == 6)
                continue;
            mgv_flows_between(f, same, (MgvRect){ 0, 0, 1, 1 }, i);
            CU_ASSERT(isnan(same[0]));
            CU_ASSERT_EQUAL(mgv_flows_move(f, NULL, NULL, NULL, i), 0);
        }
        mgv_flows_free(&f);
    }
    for (int i = 0; i < 2; i++)
        free((void *)from[i]);
    free(clip);
    for (int i = 1; i <= 5; i++) {
        float two[2 * 3] = { 1 };
        mgv_alloc_fail_at = i;
        CU_ASSERT_EQUAL(mgv_flows_alloc(&f, team) < 0 || mgv_flows_find(f, two, (int[]){ 0, -1, 1 }, 3, 1, 1) < 0, 1);
        mgv_flows_free(&f);
    }
    mgv_alloc_fail_at = 0;
}

/* ---- a session ---- */

enum { SIDE = 64 };

/* A model that gives back what it is shown. */
static int echo(void *opaque, MgvJob *job)
{
    memcpy(job->out, job->clip, 16 * SIDE * SIDE * 3 * sizeof(*job->out));
    return 0;
}

static const MgvSynth synth = { echo, NULL, NULL, { 16, SIDE, SIDE }, { 4, 8, 8 }, 1, 0, &unit_log };

static void put_blobs(uint8_t *gbr, double dx)
{
    float *rgb = blobs(SIDE, SIDE, dx, 0);

    for (int i = 0; i < SIDE * SIDE; i++)
        for (int c = 0; c < 3; c++)
            gbr[c * SIDE * SIDE + i] = (uint8_t)lrint(255 * rgb[i * 3 + (c + 1) % 3]);
    free(rgb);
}

static MagvitFrame frame_of(uint8_t *gbr, int64_t pts)
{
    MagvitFrame f = { .color = { 0, 2, 0 }, .pts = pts, .duration = 1 };

    for (int c = 0; c < 3; c++) {
        f.data[c]   = gbr + c * SIDE * SIDE;
        f.stride[c] = SIDE;
    }
    return f;
}

/* Mean error, of 255, halfway between frames that move by 4 pixels. */
static double session_error(int motion)
{
    static uint8_t in[3 * SIDE * SIDE], out[3 * SIDE * SIDE], truth[3 * SIDE * SIDE];
    MagvitFrame f, made = frame_of(out, 0);
    MagvitParams p;
    MagvitSession *s;
    double sum = 0;
    int n = 0, ret;

    magvit_default_params(&p, MAGVIT_TASK_INTERP);
    p.width      = p.height = SIDE;
    p.format     = (MagvitFormat){ MAGVIT_MODEL_GBR, 8, 0, 0, 0, 0 };
    p.time_base  = (MagvitRational){ 1, 25 };
    p.frame_rate = (MagvitRational){ 25, 1 };
    p.motion     = motion;
    CU_ASSERT_EQUAL_FATAL(mgv_session_open(&s, &synth, &p), 0);
    for (int i = 0; i < 9; i++) {
        put_blobs(in, 4 * i);
        f = frame_of(in, i);
        CU_ASSERT_EQUAL_FATAL(magvit_send_frame(s, &f), 0);
        while ((ret = magvit_receive_frame(s, &made)) >= 0) {
            if (!made.generated)
                continue;
            put_blobs(truth, 2 * made.pts);
            for (int y = 8; y < SIDE - 8; y++)
                for (int x = 8; x < SIDE - 8; x++, n++)
                    sum += abs(out[y * SIDE + x] - truth[y * SIDE + x]);
        }
        CU_ASSERT_EQUAL(ret, MAGVIT_ERR(EAGAIN));
    }
    magvit_session_close(&s);
    CU_ASSERT_FATAL(n > 0);
    return sum / n;
}

static void test_session(void)
{
    MagvitParams p;
    MagvitSession *s;

    CU_ASSERT(session_error(1) < 0.2);
    CU_ASSERT(session_error(0) > 2);
    magvit_default_params(&p, MAGVIT_TASK_INTERP);
    p.width     = p.height = SIDE;
    p.time_base = (MagvitRational){ 1, 25 };
    p.motion    = 2;
    unit_log_reset();
    CU_ASSERT_EQUAL(mgv_session_open(&s, &synth, &p), MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(unit_lines, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, "motion is 2, must be in [0,1]"));
}

CU_ErrorCode add_motion_suite(void)
{
    static const UnitTest tests[] = {
        { "a shift is followed", test_shift },
        { "pictures of another size", test_view },
        { "agreement", test_agree },
        { "still pictures stay", test_still },
        { "parts equal the whole", test_parts },
        { "the same from a team", test_team },
        { "odd pictures", test_odd },
        { "gaps of a window", test_gaps },
        { "motion in larger pictures", test_fine },
        { "a session", test_session },
        { NULL, NULL }
    };
    return unit_add("motion", tests);
}
