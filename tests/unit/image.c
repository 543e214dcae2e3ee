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


/* Conversion of pictures: every format, odd sizes, matrices; what is not to be written stays. */

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libmagvit/video.h"
#include "tests/unit/unit.h"

/* All formats that the filters take, without alpha. */
static int formats(MagvitFormat *f)
{
    static const int depths[] = { 8, 9, 10, 12, 14, 16 };
    static const int chroma[][2] = { { 0, 0 }, { 1, 0 }, { 1, 1 }, { 0, 1 }, { 2, 0 } };
    int n = 0;

    for (size_t d = 0; d < MGV_ARRAY_LEN(depths); d++) {
        f[n++] = (MagvitFormat){ MAGVIT_MODEL_GRAY, depths[d], 0, 0, 0, 0 };
        f[n++] = (MagvitFormat){ MAGVIT_MODEL_GBR, depths[d], 0, 0, 0, 0 };
        for (size_t c = 0; c < MGV_ARRAY_LEN(chroma); c++)
            f[n++] = (MagvitFormat){ MAGVIT_MODEL_YUV, depths[d], 0, chroma[c][0], chroma[c][1], 0 };
    }
    f[n++] = (MagvitFormat){ MAGVIT_MODEL_GBR, 32, 1, 0, 0, 0 };
    f[n++] = (MagvitFormat){ MAGVIT_MODEL_GRAY, 32, 1, 0, 0, 0 };
    return n;
}

static double sample(const MgvPicture *p, int i, int x, int y)
{
    const uint8_t *row = p->data[i] + y * p->stride[i];

    return p->format.is_float ? ((const float *)row)[x] : p->format.depth > 8 ? ((const uint16_t *)row)[x] : row[x];
}

static void set_sample(MgvPicture *p, int i, int x, int y, double v)
{
    uint8_t *row = p->data[i] + y * p->stride[i];

    if (p->format.is_float)
        ((float *)row)[x] = (float)v;
    else if (p->format.depth > 8)
        ((uint16_t *)row)[x] = (uint16_t)v;
    else
        row[x] = (uint8_t)v;
}

/* A grey ramp of legal values from left to right; chroma is neutral. */
static void set_ramp(MgvPicture *p, int limited)
{
    const MagvitFormat *f = &p->format;
    double unit = f->is_float ? 1 / 255.0 : 1 << (f->depth - 8);
    double lo = limited ? 16 * unit : 0, hi = limited ? 235 * unit : f->is_float ? 1 : (1 << f->depth) - 1;

    for (int i = 0; i < mgv_format_planes(f); i++) {
        int w, h;

        mgv_format_plane_size(f, i, p->width, p->height, &w, &h);
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                double v = p->width > 1 ? lo + (hi - lo) * x / (p->width - 1) : (lo + hi) / 2;
                set_sample(p, i, x, y, f->model == MAGVIT_MODEL_YUV && i ? 128 * unit : f->is_float ? v : floor(v));
            }
    }
}

static double largest_difference(const MgvPicture *a, const MgvPicture *b)
{
    double worst = 0;

    for (int i = 0; i < mgv_format_planes(&a->format); i++) {
        int w, h;

        mgv_format_plane_size(&a->format, i, a->width, a->height, &w, &h);
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++)
                worst = fmax(worst, fabs(sample(a, i, x, y) - sample(b, i, x, y)));
    }
    return worst;
}

static void check_ramp(const MagvitFormat *f, int w, int h, MagvitColor color)
{
    MgvPicture *a = NULL, *b = NULL;
    MgvImage *im = NULL;
    MgvRect all = { 0, 0, w, h };
    float *rgb = calloc((size_t)w * h * 3, sizeof(*rgb));
    double worst;
    int out_of_range = 0, coloured = 0;

    CU_ASSERT_EQUAL_FATAL(mgv_picture_alloc(&a, f, w, h, 0), 0);
    CU_ASSERT_EQUAL_FATAL(mgv_picture_alloc(&b, f, w, h, 0), 0);
    CU_ASSERT_EQUAL_FATAL(mgv_image_alloc(&im, &unit_log, NULL), 0);
    a->color = b->color = color;
    set_ramp(a, color.range == 1 || (!color.range && f->model == MAGVIT_MODEL_YUV));
    CU_ASSERT_EQUAL(mgv_image_load(im, a, all, rgb), 0);
    for (int i = 0; i < w * h; i++) {
        out_of_range |= !(rgb[i * 3] >= 0 && rgb[i * 3] <= 1);
        coloured |= fabsf(rgb[i * 3] - rgb[i * 3 + 1]) > 1e-3f || fabsf(rgb[i * 3] - rgb[i * 3 + 2]) > 1e-3f;
    }
    CU_ASSERT(!out_of_range && !coloured);
    CU_ASSERT_EQUAL(mgv_image_store(im, b, all, rgb, NULL, 0), 0);
    worst = largest_difference(a, b);
    if (worst > (f->is_float ? 1e-5 : 1))
        printf("model %d depth %d chroma %d,%d size %dx%d matrix %d range %d: %g\n", f->model, f->depth,
               f->chroma_w, f->chroma_h, w, h, color.matrix, color.range, worst);
    CU_ASSERT(worst <= (f->is_float ? 1e-5 : 1));
    mgv_picture_free(&a);
    mgv_picture_free(&b);
    mgv_image_free(&im);
    free(rgb);
}

static void test_ramps(void)
{
    static const int sizes[][2] = { { 1, 1 }, { 2, 1 }, { 1, 3 }, { 17, 5 }, { 257, 3 }, { 64, 64 } };
    MagvitFormat f[64];
    int n = formats(f);

    for (int i = 0; i < n; i++)
        for (size_t k = 0; k < MGV_ARRAY_LEN(sizes); k++)
            for (int range = 0; range <= 2; range++)
                check_ramp(&f[i], sizes[k][0], sizes[k][1], (MagvitColor){ i % 2 ? 1 : 5, range, 1 + i % 6 });
}

static void test_matrices(void)
{
    const MagvitFormat f = { MAGVIT_MODEL_YUV, 8, 0, 0, 0, 0 };

    for (int m = 0; m < 20; m++)
        for (int range = 1; range <= 2; range++)
            check_ramp(&f, 33, 2, (MagvitColor){ m, range, 0 });
}

/* Known colours, so that matrix and plane order are right. */
static void test_colours(void)
{
    /* pure red, BT.709, BT.601, limited, 8 bits; ITU-R BT.709 and BT.601 */
    static const struct { int matrix, rows, y, cb, cr; } red[] = {
        { 1, 4, 63, 102, 240 }, { 6, 4, 81, 90, 240 }, { 2, 4, 81, 90, 240 }, { 2, 720, 63, 102, 240 },
    };
    const MagvitFormat yuv = { MAGVIT_MODEL_YUV, 8, 0, 0, 0, 0 }, gbr = { MAGVIT_MODEL_GBR, 8, 0, 0, 0, 0 };
    const float rgb[3] = { 1, 0, 0 };
    MgvPicture *p = NULL;
    MgvImage *im = NULL;
    float back[3];

    for (size_t i = 0; i < MGV_ARRAY_LEN(red); i++) {
        CU_ASSERT_EQUAL_FATAL(mgv_image_alloc(&im, &unit_log, NULL), 0);
        CU_ASSERT_EQUAL_FATAL(mgv_picture_alloc(&p, &yuv, 1, 1, 0), 0);
        p->rows  = red[i].rows;
        p->color = (MagvitColor){ red[i].matrix, 1, 1 };
        unit_log_reset();
        CU_ASSERT_EQUAL(mgv_image_store(im, p, (MgvRect){ 0, 0, 1, 1 }, rgb, NULL, 0), 0);
        CU_ASSERT(abs(p->data[0][0] - red[i].y) <= 1);
        CU_ASSERT(abs(p->data[1][0] - red[i].cb) <= 1);
        CU_ASSERT(abs(p->data[2][0] - red[i].cr) <= 1);
        CU_ASSERT_EQUAL(mgv_image_load(im, p, (MgvRect){ 0, 0, 1, 1 }, back), 0);
        CU_ASSERT(back[0] > 0.98f && back[1] < 0.02f && back[2] < 0.02f);
        CU_ASSERT_EQUAL(unit_lines, red[i].matrix == 2); // one warning, not one a call
        mgv_picture_free(&p);
        mgv_image_free(&im);
    }
    CU_ASSERT_EQUAL_FATAL(mgv_image_alloc(&im, &unit_log, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(mgv_picture_alloc(&p, &gbr, 1, 1, 0), 0);
    CU_ASSERT_EQUAL(mgv_image_store(im, p, (MgvRect){ 0, 0, 1, 1 }, rgb, NULL, 0), 0);
    CU_ASSERT(p->data[0][0] == 0 && p->data[1][0] == 0 && p->data[2][0] == 255);
    mgv_picture_free(&p);
    mgv_image_free(&im);
}

/* Only what the mask wants is written, and chroma by its own rule. */
static void test_masked_store(void)
{
    const MagvitFormat f = { MAGVIT_MODEL_YUV, 8, 0, 1, 1, 1 };
    enum { W = 13, H = 9 };
    uint8_t write[W * H] = { 0 };
    float *rgb = calloc(W * H * 3, sizeof(*rgb));
    MgvImage *im = NULL;

    write[3 * W + 5] = write[8 * W + 12] = 1;
    write[4 * W + 2] = write[4 * W + 3] = write[5 * W + 2] = write[5 * W + 3] = 1;
    CU_ASSERT_EQUAL_FATAL(mgv_image_alloc(&im, &unit_log, NULL), 0);
    for (int keep = 0; keep < 2; keep++) {
        MgvPicture *p = NULL;
        int changed[3] = { 0 };

        CU_ASSERT_EQUAL_FATAL(mgv_picture_alloc(&p, &f, W, H, 0), 0);
        p->color = (MagvitColor){ 1, 1, 1 };
        for (int i = 0; i < 4; i++)
            memset(p->data[i], 200, p->stride[i] * (i == 1 || i == 2 ? 5 : H));
        CU_ASSERT_EQUAL(mgv_image_store(im, p, (MgvRect){ 0, 0, W, H }, rgb, write, keep), 0);
        for (int i = 0; i < 3; i++) {
            int w, h;
            mgv_format_plane_size(&f, i, W, H, &w, &h);
            for (int y = 0; y < h; y++)
                for (int x = 0; x < w; x++)
                    changed[i] += p->data[i][y * p->stride[i] + x] != 200;
        }
        CU_ASSERT_EQUAL(changed[0], 6);
        CU_ASSERT_EQUAL(changed[1], keep ? 2 : 3); // a lone pixel keeps its chroma, but the odd corner is whole
        CU_ASSERT_EQUAL(changed[2], keep ? 2 : 3);
        CU_ASSERT_EQUAL(p->data[0][3 * p->stride[0] + 5], 16);
        CU_ASSERT_EQUAL(p->data[3][3 * p->stride[3] + 5], 200);
        mgv_picture_free(&p);
    }
    mgv_image_free(&im);
    free(rgb);
}

/* Frames come with any stride, also upside down, and leave as they came. */
static void test_put_get(void)
{
    const MagvitFormat f = { MAGVIT_MODEL_YUV, 10, 0, 1, 1, 0 };
    enum { W = 7, H = 5, CW = 4, CH = 3 };
    uint16_t mem[3][H * 20], back[3][H * 20] = { { 0 } };
    MagvitFrame in = { .color = { 1, 1, 0 } }, out = { .window = 0 };
    MgvPicture *p = NULL;
    uint64_t state = 1;

    for (int i = 0; i < 3; i++) {
        int h = i ? CH : H;
        for (int k = 0; k < H * 20; k++)
            mem[i][k] = (uint16_t)unit_range(&state, 0, 1023);
        in.data[i]    = (uint8_t *)(mem[i] + (h - 1) * 20 + 1);
        in.stride[i]  = -40;
        out.data[i]   = (uint8_t *)(back[i] + (h - 1) * 20 + 1);
        out.stride[i] = -40;
    }
    CU_ASSERT_EQUAL_FATAL(mgv_picture_alloc(&p, &f, W, H, 0), 0);
    mgv_picture_put(p, &in, 0, 0, W, H);
    mgv_picture_get(p, &out);
    for (int i = 0; i < 3; i++)
        for (int y = 0; y < (i ? CH : H); y++)
            for (int x = 0; x < 20; x++)
                CU_ASSERT_EQUAL(back[i][y * 20 + x], x >= 1 && x <= (i ? CW : W) ? mem[i][y * 20 + x] : 0);
    mgv_picture_free(&p);

    /* on a canvas: edges are repeated */
    CU_ASSERT_EQUAL_FATAL(mgv_picture_alloc(&p, &f, W + 6, H + 7, 0), 0);
    mgv_picture_put(p, &in, 4, 2, W, H);
    CU_ASSERT_EQUAL(p->rows, H);
    for (int y = 0; y < H + 7; y++)
        for (int x = 0; x < W + 6; x++) {
            int sx = MGV_CLAMP(x - 4, 0, W - 1), sy = MGV_CLAMP(y - 2, 0, H - 1);
            CU_ASSERT_EQUAL(sample(p, 0, x, y), mem[0][(H - 1 - sy) * 20 + 1 + sx]);
        }
    mgv_picture_free(&p);
}

static void test_alpha(void)
{
    const MagvitFormat f[] = {
        { MAGVIT_MODEL_YUV, 8, 0, 1, 1, 1 }, { MAGVIT_MODEL_GBR, 12, 0, 0, 0, 1 }, { MAGVIT_MODEL_GBR, 32, 1, 0, 0, 1 }
    };
    const double opaque[] = { 255, 4095, 1 };

    for (size_t i = 0; i < MGV_ARRAY_LEN(f); i++) {
        MgvPicture *a = NULL, *b = NULL;

        CU_ASSERT_EQUAL_FATAL(mgv_picture_alloc(&a, &f[i], 5, 3, 0), 0);
        CU_ASSERT_EQUAL_FATAL(mgv_picture_alloc(&b, &f[i], 5, 3, 0), 0);
        mgv_picture_clear(a);
        CU_ASSERT_EQUAL(sample(a, 3, 4, 2), opaque[i]);
        CU_ASSERT_EQUAL(sample(a, 0, 4, 2), 0);
        set_sample(b, 0, 1, 1, opaque[i]);
        mgv_picture_mix(a, b, 0.25, 1); // alpha only
        CU_ASSERT_DOUBLE_EQUAL(sample(a, 3, 4, 2), opaque[i] * 0.75, 0.5);
        CU_ASSERT_EQUAL(sample(a, 0, 1, 1), 0);
        mgv_picture_mix(a, b, 0.25, 0); // colour only
        CU_ASSERT_DOUBLE_EQUAL(sample(a, 0, 1, 1), opaque[i] * 0.25, 0.5);
        mgv_picture_free(&a);
        mgv_picture_free(&b);
    }
}

static void test_resize(void)
{
    enum { W = 23, H = 11 };
    float *src = calloc(W * H * 3, sizeof(*src)), *dst = calloc(64 * 64 * 3, sizeof(*dst));
    MgvImage *im = NULL;
    int bad = 0;

    CU_ASSERT_EQUAL_FATAL(mgv_image_alloc(&im, &unit_log, NULL), 0);
    for (int i = 0; i < W * H; i++)
        for (int c = 0; c < 3; c++)
            src[i * 3 + c] = i % W / 32.0f + c / 16.0f;
    /* whole pixels: exact, edges repeated */
    CU_ASSERT_EQUAL(mgv_image_resize(im, dst, 8, 4, src, W, H, -2, 9, 8, 4), 0);
    for (int y = 0; y < 4; y++)
        for (int x = 0; x < 8; x++)
            bad |= dst[(y * 8 + x) * 3 + 1] != src[(MGV_MIN(9 + y, H - 1) * W + MGV_MAX(x - 2, 0)) * 3 + 1];
    CU_ASSERT(!bad);
    /* a ramp stays a ramp, larger and smaller, and centres stay centres */
    CU_ASSERT_EQUAL(mgv_image_resize(im, dst, 40, 20, src, W, H, 4, 3, 10, 5), 0);
    for (int x = 0; x < 40; x++)
        CU_ASSERT_DOUBLE_EQUAL(dst[(7 * 40 + x) * 3], (4 + (x + 0.5) / 4 - 0.5) / 32, 1e-4);
    CU_ASSERT_EQUAL(mgv_image_resize(im, dst, 5, 3, src, W, H, 4, 1, 15, 9), 0);
    for (int x = 0; x < 5; x++)
        CU_ASSERT_DOUBLE_EQUAL(dst[(1 * 5 + x) * 3], (4 + 3 * x + 1) / 32.0, 1e-4);
    CU_ASSERT_EQUAL(mgv_image_resize(im, dst, 1, 1, src, W, H, 0, 0, W, H), 0);
    CU_ASSERT_EQUAL(mgv_image_resize(im, dst, 64, 64, src, 1, 1, 0, 0, 1, 1), 0);
    CU_ASSERT_DOUBLE_EQUAL(dst[64 * 64 * 3 - 1], src[2], 1e-5);
    mgv_image_free(&im);
    free(src);
    free(dst);
}

static void test_align(void)
{
    const MagvitFormat f = { MAGVIT_MODEL_YUV, 8, 0, 2, 1, 0 };
    MgvRect r = mgv_image_align(&f, 31, 17, (MgvRect){ 5, 3, 2, 2 });

    CU_ASSERT(r.x == 4 && r.y == 2 && r.w == 4 && r.h == 4);
    r = mgv_image_align(&f, 31, 17, (MgvRect){ 29, 16, 2, 1 });
    CU_ASSERT(r.x == 28 && r.y == 16 && r.w == 3 && r.h == 1);
    r = mgv_image_align(&f, 31, 17, (MgvRect){ -3, -3, 50, 50 });
    CU_ASSERT(r.x == 0 && r.y == 0 && r.w == 31 && r.h == 17);
}

CU_ErrorCode add_image_suite(void)
{
    static const UnitTest tests[] = {
        { "grey ramps come back, all formats", test_ramps },
        { "matrices", test_matrices },
        { "known colours", test_colours },
        { "masked store", test_masked_store },
        { "strides and canvas", test_put_get },
        { "alpha", test_alpha },
        { "resampling", test_resize },
        { "whole chroma samples", test_align },
        { NULL, NULL }
    };
    return unit_add("image", tests);
}
