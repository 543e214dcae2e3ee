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


/* Conditions at 4x4x4 by hand; tests/golden has them at full size against Python. */

#include <string.h>

#include "libmagvit/video.h"
#include "tests/unit/unit.h"

enum { N = 4 };

static const int window[3] = { N, N, N }, latent[3] = { 2, 2, 2 };

/* A value of its own for every element, 0 nowhere. */
static float value(int t, int y, int x, int c)
{
    return 0.1f + t * 0.2f + y * 0.03f + x * 0.007f + c * 0.001f;
}

static MgvCond *cond_new(void)
{
    MgvCond *c = NULL;

    CU_ASSERT_EQUAL_FATAL(mgv_cond_alloc(&c, window, latent), 0);
    for (int i = 0; i < N * N * N; i++)
        for (int k = 0; k < 3; k++)
            c->clip[i * 3 + k] = value(i / 16, i / 4 % 4, i % 4, k);
    return c;
}

static float at(const MgvCond *c, int t, int y, int x, int k)
{
    return c->clip[((t * N + y) * N + x) * 3 + k];
}

static void expect_cells(const MgvCond *c, const char *want)
{
    for (int i = 0; i < 8; i++)
        CU_ASSERT_EQUAL(c->cells[i], want[i] - '0');
}

static void test_zero(void)
{
    MgvCond *c = cond_new();

    memset(c->known, 1, 64);
    for (int t = 0; t < N; t++) // hole: the first 2x2 cell in all frames, one more pixel in the last
        c->known[t * 16] = c->known[t * 16 + 1] = c->known[t * 16 + 4] = c->known[t * 16 + 5] = 0;
    c->known[63] = 0;
    mgv_cond_build(c, MGV_FILL_ZERO);
    expect_cells(c, "01110111");
    CU_ASSERT_EQUAL(at(c, 2, 1, 1, 0), 0);
    CU_ASSERT_EQUAL(at(c, 3, 3, 3, 2), 0);
    CU_ASSERT_EQUAL(at(c, 2, 1, 2, 0), value(2, 1, 2, 0));
    mgv_cond_free(&c);
}

static void test_edge(void)
{
    MgvCond *c = cond_new();

    for (int t = 0; t < 2; t++)
        c->known[t * 16 + 5] = c->known[t * 16 + 6] = 1; // (1,1) and (1,2)
    mgv_cond_build(c, MGV_FILL_EDGE);
    expect_cells(c, "11000000");
    CU_ASSERT_EQUAL(at(c, 0, 0, 0, 1), value(0, 1, 1, 1));
    CU_ASSERT_EQUAL(at(c, 1, 3, 3, 1), value(1, 1, 2, 1));
    CU_ASSERT_EQUAL(at(c, 1, 1, 2, 1), value(1, 1, 2, 1));
    CU_ASSERT_EQUAL(at(c, 3, 1, 2, 1), 0); // nothing is given there
    mgv_cond_free(&c);
}

static void test_time(void)
{
    MgvCond *c = cond_new();

    memset(c->known + 16, 1, 16);
    memset(c->known + 48, 1, 16);
    mgv_cond_build(c, MGV_FILL_TIME);
    expect_cells(c, "11111111");
    CU_ASSERT_EQUAL(at(c, 0, 2, 1, 0), value(1, 2, 1, 0)); // before the first: repeated
    CU_ASSERT_DOUBLE_EQUAL(at(c, 2, 2, 1, 0), value(2, 2, 1, 0), 1e-6);
    CU_ASSERT_EQUAL(at(c, 3, 2, 1, 0), value(3, 2, 1, 0));
    memset(c->known + 48, 0, 16);
    mgv_cond_build(c, MGV_FILL_TIME);
    expect_cells(c, "11110000");
    CU_ASSERT_EQUAL(at(c, 3, 2, 1, 0), value(1, 2, 1, 0)); // after the last
    memset(c->known, 0, 64);
    mgv_cond_build(c, MGV_FILL_TIME);
    expect_cells(c, "00000000");
    CU_ASSERT_EQUAL(at(c, 3, 2, 1, 0), 0);
    mgv_cond_free(&c);
}

/* Percentages of masked pixels and tokens that the paper gives. */
static void test_percentages(void)
{
    static const int size[3] = { 16, 128, 128 }, cells[3] = { 4, 16, 16 };
    static const int pixel_percent[] = { 94, 88, 75, 50, 50, 50, 25, 25, 100, 94 };
    static const int token_percent[] = { 75, 50, 75, 50, 50, 50, 25, 25, 100, 75 };
    MgvCond *c = NULL;
    float *clip = mgv_calloc(16 * 128 * 128, 3 * sizeof(*clip));

    CU_ASSERT_EQUAL_FATAL(mgv_cond_alloc(&c, size, cells), 0);
    for (int task = 0; task < MGV_NAMED_NB; task++) {
        int pixels = 0, tokens = 0;

        mgv_cond_named(c, task, 1, clip);
        for (int i = 0; i < 16 * 128 * 128; i++)
            pixels += !c->known[i];
        for (int i = 0; i < 1024; i++)
            tokens += !c->cells[i];
        CU_ASSERT_EQUAL((pixels * 100 + 131072) / 262144, pixel_percent[task]);
        CU_ASSERT_EQUAL(tokens * 100 / 1024, token_percent[task]);
    }
    mgv_cond_named(c, MGV_FP, 5, clip); // five frames reach into the second latent frame
    CU_ASSERT(c->cells[256] && !c->cells[512]);
    mgv_cond_free(&c);
    mgv_freep(&clip);
}

static void test_partial_cells(void)
{
    static const int size[3] = { 5, 9, 7 }, cells[3] = { 2, 3, 2 }; // cells of 4
    MgvCond *c = NULL;

    CU_ASSERT_EQUAL_FATAL(mgv_cond_alloc(&c, size, cells), 0);
    c->known[(4 * 9 + 8) * 7 + 6] = 1;
    mgv_cond_build(c, MGV_FILL_ZERO);
    for (int i = 0; i < 12; i++)
        CU_ASSERT_EQUAL(c->cells[i], i == 11);
    mgv_cond_free(&c);
}

CU_ErrorCode add_cond_suite(void)
{
    static const UnitTest tests[] = {
        { "holes are black", test_zero },
        { "borders repeat the edge", test_edge },
        { "frames are linear in time", test_time },
        { "masked shares of the paper", test_percentages },
        { "partial cells", test_partial_cells },
        { NULL, NULL }
    };
    return unit_add("cond", tests);
}
