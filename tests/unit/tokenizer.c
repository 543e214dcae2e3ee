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

/* The decoder's second input: its values, its place in the plan, its weights. */

#include <stdio.h>
#include <string.h>

#include "config.h"
#include "libmagvit/model.h"
#include "tests/unit/unit.h"

static MgvSafetensors *open_model(const char *name, MgvConfig *c)
{
    MgvSafetensors *st = NULL;
    char path[512];

    snprintf(path, sizeof(path), "%s/tests/data/%s.safetensors", MAGVIT_SOURCE_PATH, name);
    CU_ASSERT_EQUAL_FATAL(mgv_safetensors_open(&st, path, &unit_log), 0);
    CU_ASSERT_EQUAL_FATAL(mgv_config_parse(c, st, &unit_log), 0);
    return st;
}

static void test_known_input(void)
{
    static const float clip[] = { 0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f };
    static const uint8_t known[] = { 0, 1 };
    static const float zero[]   = { 0, 0, 0, 0, 0.4f, 0.5f, 0.6f, 1 };
    static const float padded[] = { 0.1f, 0.2f, 0.3f, 0, 0.4f, 0.5f, 0.6f, 1 };
    static const float none[8];
    MgvConfig c = { .frames = 1, .height = 2, .width = 1, .known_pixels = MGV_KNOWN_ZERO };
    float out[8], scratch[64];

    CU_ASSERT_FATAL(mgv_fill_scratch(1, 2) <= MGV_ARRAY_LEN(scratch));
    mgv_known_input(&c, clip, known, out, NULL);
    CU_ASSERT(!memcmp(out, zero, sizeof(out)));
    c.known_pixels = MGV_KNOWN_PADDED;
    mgv_known_input(&c, clip, known, out, scratch);
    CU_ASSERT(!memcmp(out, padded, sizeof(out)));
    c.known_pixels = MGV_KNOWN_GATED;
    mgv_known_input(&c, clip, known, out, scratch);
    CU_ASSERT(!memcmp(out, padded, sizeof(out)));
    mgv_known_input(&c, NULL, NULL, out, scratch);
    CU_ASSERT(!memcmp(out, none, sizeof(out)));
}

/* A ramp with a hole goes on as a ramp; a frame of which nothing is known stays black. */
static void test_known_fill(void)
{
    enum { W = 21, H = 13, N = W * H };
    MgvConfig c = { .frames = 2, .height = H, .width = W, .known_pixels = MGV_KNOWN_GATED };
    float *clip = mgv_calloc(2 * N, 3 * sizeof(*clip)), *out = mgv_calloc(2 * N, 4 * sizeof(*out));
    float *scratch = mgv_calloc(mgv_fill_scratch(W, H), sizeof(*scratch));
    uint8_t *known = mgv_calloc(2 * N, 1);

    CU_ASSERT_FATAL(clip && out && scratch && known);
    for (int i = 0; i < N; i++) {
        int x = i % W, y = i / W;

        known[i] = x < 6 || x >= 15 || y < 4 || y >= 9;
        if (known[i]) {
            clip[i * 3]     = 0.2f + 0.03f * x;
            clip[i * 3 + 1] = 0.5f;
        }
    }
    mgv_known_input(&c, clip, known, out, scratch);
    for (int i = 0; i < N; i++) {
        CU_ASSERT_DOUBLE_EQUAL(out[i * 4], 0.2f + 0.03f * (i % W), known[i] ? 0 : 0.02);
        CU_ASSERT_DOUBLE_EQUAL(out[i * 4 + 1], 0.5, 1e-6);
        CU_ASSERT_EQUAL(out[i * 4 + 2], 0);
        CU_ASSERT_EQUAL(out[i * 4 + 3], known[i]);
    }
    for (int i = 4 * N; i < 8 * N; i++)
        CU_ASSERT_EQUAL(out[i], 0);
    mgv_freep(&clip);
    mgv_freep(&out);
    mgv_freep(&scratch);
    mgv_freep(&known);
}

static void test_known_show(void)
{
    /* half open, closed, black padding, black that is given */
    static const float seen[] = { 0.5f, 0.25f, 1, 0, 0.5f, 0.25f, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1 };
    static const float unknown[16] = { 0.5f, 0.25f, 1, 0 };
    static const float gate[]  = { 0, -1000, 0, 0 };
    static const float want[] = { 0.5f, 0.125f, 0, 0.5f, 0, -1, 1, 1, 1, 0.5f, 0.5f, 0.5f };
    MgvConfig c = { .frames = 1, .height = 1, .width = 4, .known_pixels = MGV_KNOWN_GATED };
    float clip[] = { 0.5f, 0, -1, 0.5f, 0, -1, 1, 1, 1, 1, 1, 1 }, same[12];

    memcpy(same, clip, sizeof(clip));
    mgv_known_show(&c, unknown, gate, clip);
    CU_ASSERT(!memcmp(clip, same, sizeof(clip)));
    mgv_known_show(&c, seen, gate, clip);
    CU_ASSERT(!memcmp(clip, want, sizeof(clip)));
}

static void test_plan(void)
{
    MgvConfig c;
    MgvSafetensors *st = open_model("tiny-known", &c);
    MgvPlan *p = NULL;
    MgvShape s;
    int ops;

    CU_ASSERT_EQUAL(c.known_pixels, MGV_KNOWN_GATED);
    CU_ASSERT_EQUAL_FATAL(mgv_build_decoder(&p, &c, 2, st, &unit_log), 0);
    CU_ASSERT_EQUAL(p->nb_inputs, 2);
    CU_ASSERT_EQUAL(p->nb_outputs, 2);
    CU_ASSERT_FATAL(mgv_plan_find_output(p, "gate") >= 0);
    s = p->tensors[mgv_plan_find_output(p, "gate")].shape;
    CU_ASSERT(s.n == 2 && s.t == c.frames && s.h == c.height && s.w == c.width && s.c == 1);
    CU_ASSERT_FATAL(mgv_plan_find_input(p, "known") >= 0);
    s = p->tensors[mgv_plan_find_input(p, "known")].shape;
    CU_ASSERT(s.n == 2 && s.t == c.frames && s.h == c.height && s.w == c.width && s.c == 4);
    ops = p->nb_ops;
    mgv_plan_free(&p);

    c.known_pixels = MGV_KNOWN_NONE;
    CU_ASSERT_EQUAL_FATAL(mgv_build_decoder(&p, &c, 2, st, &unit_log), 0);
    CU_ASSERT_EQUAL(p->nb_inputs, 1);
    CU_ASSERT_EQUAL(p->nb_outputs, 1);
    CU_ASSERT(mgv_plan_find_input(p, "known") < 0);
    // two convolutions and a sum a level, poolings between them, the gate
    CU_ASSERT_EQUAL(ops - p->nb_ops, 3 * 3 + 2 + 1);
    mgv_plan_free(&p);
    mgv_config_uninit(&c);
    mgv_safetensors_close(&st);
}

/* The counted parameters are those of the file. */
static void test_parameters(void)
{
    static const char *const names[] = { "tiny", "tiny-known" };

    for (size_t i = 0; i < MGV_ARRAY_LEN(names); i++) {
        MgvConfig c;
        MgvSafetensors *st = open_model(names[i], &c);
        const MgvTensor *t;
        int64_t n = 0;

        for (int k = 0; (t = mgv_safetensors_at(st, k)); k++)
            n += t->elements;
        CU_ASSERT_EQUAL(n, mgv_config_tokenizer_params(&c) + mgv_config_transformer_params(&c));
        mgv_config_uninit(&c);
        mgv_safetensors_close(&st);
    }
}

static void test_no_pyramid(void)
{
    MgvConfig c;
    MgvSafetensors *st = open_model("tiny", &c);
    MgvPlan *p;

    CU_ASSERT_EQUAL(c.known_pixels, MGV_KNOWN_NONE);
    c.known_pixels = MGV_KNOWN_PADDED;
    unit_log_reset();
    CU_ASSERT_EQUAL(mgv_build_decoder(&p, &c, 1, st, &unit_log), MAGVIT_ERROR_MODEL);
    CU_ASSERT_PTR_NULL(p);
    CU_ASSERT_EQUAL(unit_lines, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, "decoder.known.0.conv1.weight"));
    mgv_config_uninit(&c);
    mgv_safetensors_close(&st);
}

CU_ErrorCode add_tokenizer_suite(void)
{
    static const UnitTest tests[] = {
        { "what the decoder sees", test_known_input },
        { "what fills a hole", test_known_fill },
        { "what shows through", test_known_show },
        { "decoder with two inputs", test_plan },
        { "parameters of a file", test_parameters },
        { "model without the pyramid", test_no_pyramid },
        { NULL, NULL }
    };
    return unit_add("tokenizer", tests);
}
