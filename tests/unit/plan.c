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

/* Shapes, weight checks, the sticky error, and that live tensors never overlap. */

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "libmagvit/plan.h"
#include "tests/unit/unit.h"

static const UnitTensor tensors[] = {
    { "conv.weight", { 4, 3, 3, 3, 3 } }, { "conv.bias", { 4 } },
    { "point.weight", { 8, 4, 1, 1, 1 } },
    { "norm.weight", { 8 } }, { "norm.bias", { 8 } },
    { "linear.weight", { 5, 8 } }, { "linear.bias", { 5 } },
    { "table.weight", { 6, 8 } }, { "wide.bias", { 6 } },
    { NULL, { 0 } }
};

static MgvSafetensors *open_weights(void)
{
    MgvSafetensors *st = NULL;

    CU_ASSERT_EQUAL_FATAL(mgv_safetensors_open(&st, unit_weights("weights", tensors, 1), &unit_log), 0);
    return st;
}

static MgvPlan *new_plan(const MgvSafetensors *st)
{
    MgvPlan *p;

    unit_log_reset();
    CU_ASSERT_EQUAL_FATAL(mgv_plan_alloc(&p, "plan", st, &unit_log), 0);
    return p;
}

static int shape_is(const MgvPlan *p, MgvT x, int n, int t, int h, int w, int c)
{
    const MgvShape *s = x >= 0 && x < p->nb_tensors ? &p->tensors[x].shape : NULL;

    return s && s->n == n && s->t == t && s->h == h && s->w == w && s->c == c;
}

static void test_shapes(void)
{
    MgvSafetensors *st = open_weights();
    MgvPlan *p = new_plan(st);
    MgvT x = mgv_plan_input(p, "clip", (MgvShape){ 2, 3, 5, 7, 3 }, MGV_F32), y, ids;

    x = mgv_conv3d(p, "conv", x, 4, 3, MGV_PAD_REFLECT, 1, MGV_ACT_NONE);
    CU_ASSERT(shape_is(p, x, 2, 3, 5, 7, 4));
    CU_ASSERT_EQUAL(p->ops[0].macs, 2.0 * 3 * 5 * 7 * 3 * 4 * 27);
    x = mgv_conv3d(p, "point", x, 8, 1, MGV_PAD_ZERO, 0, MGV_ACT_NONE);
    CU_ASSERT(shape_is(p, x, 2, 3, 5, 7, 8));
    x = mgv_group_norm(p, "norm", x, 4, 1e-6f, MGV_ACT_SILU);
    CU_ASSERT(shape_is(p, x, 2, 3, 5, 7, 8));
    x = mgv_pool(p, "pool", x, 2, 2, 1);
    CU_ASSERT(shape_is(p, x, 2, 2, 3, 7, 8));
    x = mgv_upsample(p, "upsample", x, 1, 2, 2);
    CU_ASSERT(shape_is(p, x, 2, 2, 6, 14, 8));
    x = mgv_add(p, "sum", x, mgv_act(p, "act", x, MGV_ACT_SILU));
    CU_ASSERT(shape_is(p, x, 2, 2, 6, 14, 8));
    y = mgv_linear(p, "linear", x, 5, MGV_ACT_GELU_TANH);
    CU_ASSERT(shape_is(p, y, 2, 2, 6, 14, 5));
    ids = mgv_vq_argmin(p, "quantizer", x, "table", 0);
    CU_ASSERT(shape_is(p, ids, 2, 2, 6, 14, 1));
    CU_ASSERT_EQUAL(p->tensors[ids].dtype, MGV_I32);
    x = mgv_embed(p, "table", ids);
    CU_ASSERT(shape_is(p, x, 2, 2, 6, 14, 8));
    x = mgv_linear_tied(p, "tied", x, "table.weight", "wide.bias", 3);
    CU_ASSERT(shape_is(p, x, 2, 2, 6, 14, 3));
    mgv_plan_output(p, "a", x);
    mgv_plan_output(p, "b", y);
    CU_ASSERT_EQUAL(mgv_plan_finish(p), 0);
    CU_ASSERT_EQUAL(mgv_plan_find_output(p, "b"), y);
    CU_ASSERT_EQUAL(mgv_plan_find_input(p, "clip"), 0);
    CU_ASSERT(mgv_plan_find_output(p, "clip") < 0 && mgv_plan_find_input(p, "a") < 0);
    CU_ASSERT_EQUAL(unit_lines, 0);
    mgv_plan_free(&p);
    CU_ASSERT_PTR_NULL(p);
    mgv_plan_free(&p);
    mgv_safetensors_close(&st);
}

static void test_sequences(void)
{
    MgvSafetensors *st = open_weights();
    MgvPlan *p = new_plan(st);
    MgvT x = mgv_plan_input(p, "x", (MgvShape){ 3, 1, 1, 6, 8 }, MGV_F32);

    x = mgv_add_rows(p, "table", x);
    x = mgv_layer_norm(p, "norm", x, 1e-12f);
    x = mgv_attention(p, "attention", x, x, x, 2);
    CU_ASSERT(shape_is(p, x, 3, 1, 1, 6, 8));
    CU_ASSERT_EQUAL(mgv_plan_macs(p), 2.0 * 3 * 6 * 6 * 8);
    mgv_plan_output(p, "y", x);
    CU_ASSERT_EQUAL(mgv_plan_finish(p), 0);
    mgv_plan_free(&p);
    mgv_safetensors_close(&st);
}

/* One wrong call each. */

static MgvT bad_input(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_plan_input(p, "empty", (MgvShape){ 1, 0, 1, 1, 1 }, MGV_F32);
}

static MgvT bad_huge(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_plan_input(p, "huge", (MgvShape){ INT_MAX, INT_MAX, INT_MAX, INT_MAX, INT_MAX }, MGV_F32);
}

static MgvT bad_id(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_add(p, "sum", x, 1000);
}

static MgvT bad_negative_id(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_act(p, "act", -1, MGV_ACT_SILU);
}

static MgvT bad_type(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_act(p, "act", ids, MGV_ACT_SILU);
}

static MgvT bad_embed_type(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_embed(p, "table", x);
}

static MgvT bad_kernel(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_conv3d(p, "conv", x, 4, 5, MGV_PAD_ZERO, 0, MGV_ACT_NONE);
}

static MgvT bad_width(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_conv3d(p, "conv", x, 0, 3, MGV_PAD_ZERO, 0, MGV_ACT_NONE);
}

static MgvT bad_groups(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_group_norm(p, "norm", s, 3, 1e-6f, MGV_ACT_NONE);
}

static MgvT bad_heads(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_attention(p, "attention", s, s, s, 3);
}

static MgvT bad_not_sequence(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_attention(p, "attention", x, x, x, 1);
}

static MgvT bad_shapes(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_add(p, "sum", x, s);
}

static MgvT bad_factor(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_pool(p, "pool", x, 1, 3, 1);
}

static MgvT bad_rows(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_add_rows(p, "linear", s);
}

static MgvT bad_absent(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_conv3d(p, "nowhere", x, 4, 3, MGV_PAD_ZERO, 0, MGV_ACT_NONE);
}

static MgvT bad_bias(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_linear(p, "table", s, 6, MGV_ACT_NONE);
}

static MgvT bad_weight_shape(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_conv3d(p, "conv", x, 6, 3, MGV_PAD_ZERO, 1, MGV_ACT_NONE);
}

static MgvT bad_tied(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_linear_tied(p, "tied", s, "table.weight", "wide.bias", 7);
}

static MgvT bad_table(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_embed(p, "norm", ids);
}

static MgvT bad_table_size(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    mgv_plan_check_table(p, "table", 7, 8);
    return mgv_embed(p, "table", ids);
}

static MgvT bad_codebook(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    return mgv_vq_argmin(p, "quantizer", x, "table", 0);
}

static MgvT bad_output(MgvPlan *p, MgvT x, MgvT s, MgvT ids)
{
    mgv_plan_output(p, "y", 1000);
    return p->error;
}

static void test_errors(void)
{
    static const struct {
        MgvT (*call)(MgvPlan *p, MgvT x, MgvT s, MgvT ids);
        int error;
        const char *message;
    } rows[] = {
        { bad_input, MAGVIT_ERR(EINVAL), "empty: impossible shape [1,0,1,1,1]" },
        { bad_huge, MAGVIT_ERR(EINVAL), "huge: impossible shape" },
        { bad_id, MAGVIT_ERR(EINVAL), "sum: input 1" },
        { bad_negative_id, MAGVIT_ERR(EINVAL), "act: input 0" },
        { bad_type, MAGVIT_ERR(EINVAL), "act: input 0" },
        { bad_embed_type, MAGVIT_ERR(EINVAL), "table: input 0" },
        { bad_kernel, MAGVIT_ERR(EINVAL), "conv: kernel" },
        { bad_width, MAGVIT_ERR(EINVAL), "conv: kernel" },
        { bad_groups, MAGVIT_ERR(EINVAL), "norm: groups" },
        { bad_heads, MAGVIT_ERR(EINVAL), "attention: heads" },
        { bad_not_sequence, MAGVIT_ERR(EINVAL), "attention: three sequences" },
        { bad_shapes, MAGVIT_ERR(EINVAL), "sum: two inputs" },
        { bad_factor, MAGVIT_ERR(EINVAL), "pool: factors 1 or 2 needed, got 1,3,1" },
        { bad_rows, MAGVIT_ERROR_MODEL, "linear: tensor linear.weight has shape [5,8], expected [6,8] or more" },
        { bad_absent, MAGVIT_ERROR_MODEL, "nowhere: the model has no tensor nowhere.weight" },
        { bad_bias, MAGVIT_ERROR_MODEL, "table: the model has no tensor table.bias" },
        { bad_weight_shape, MAGVIT_ERROR_MODEL, "conv: tensor conv.weight has shape [4,3,3,3,3], expected [6,3,3,3,3]" },
        { bad_tied, MAGVIT_ERROR_MODEL, "tied: tensor table.weight has shape [6,8], expected [7,8] or more" },
        { bad_table, MAGVIT_ERROR_MODEL, "norm: tensor norm.weight is not a table" },
        { bad_table_size, MAGVIT_ERROR_MODEL, "table: tensor table.weight has shape [6,8], expected [7,8]" },
        { bad_codebook, MAGVIT_ERROR_MODEL, "quantizer: tensor table.weight has shape [6,8], expected [1,3]" },
        { bad_output, MAGVIT_ERR(EINVAL), "y: output" },
    };
    MgvSafetensors *st = open_weights();
    size_t i;

    for (i = 0; i < MGV_ARRAY_LEN(rows); i++) {
        MgvPlan *p = new_plan(st);
        MgvT x = mgv_plan_input(p, "x", (MgvShape){ 1, 2, 2, 2, 3 }, MGV_F32);
        MgvT s = mgv_plan_input(p, "s", (MgvShape){ 1, 1, 1, 6, 8 }, MGV_F32);
        MgvT ids = mgv_plan_input(p, "ids", (MgvShape){ 1, 2, 2, 2, 1 }, MGV_I32);

        CU_ASSERT(rows[i].call(p, x, s, ids) < 0);
        CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, rows[i].message));
        if (!strstr(unit_line, rows[i].message))
            printf("\n    expected %s, got %s\n", rows[i].message, unit_line);
        CU_ASSERT(mgv_conv3d(p, "conv", x, 4, 3, MGV_PAD_ZERO, 0, MGV_ACT_NONE) < 0);
        mgv_plan_output(p, "out", x);
        CU_ASSERT_EQUAL(mgv_plan_finish(p), rows[i].error);
        CU_ASSERT_EQUAL(unit_lines, 1);
        mgv_plan_free(&p);
    }
    mgv_safetensors_close(&st);
}

static void test_no_weights(void)
{
    MgvPlan *p = new_plan(NULL);
    MgvT x = mgv_plan_input(p, "x", (MgvShape){ 1, 2, 2, 2, 3 }, MGV_F32);

    CU_ASSERT(mgv_conv3d(p, "conv", x, 4, 3, MGV_PAD_ZERO, 0, MGV_ACT_NONE) < 0);
    CU_ASSERT_EQUAL(mgv_plan_finish(p), MAGVIT_ERROR_MODEL);
    mgv_plan_free(&p);
    p = new_plan(NULL);
    mgv_plan_input(p, "x", (MgvShape){ 1, 2, 2, 2, 3 }, MGV_F32);
    CU_ASSERT_EQUAL(mgv_plan_finish(p), MAGVIT_ERR(EINVAL)); /* no output */
    mgv_plan_free(&p);
}

/* Ops without weights over random earlier tensors of one shape each. */
static MgvPlan *random_plan(uint64_t *state)
{
    MgvPlan *p = new_plan(NULL);
    int i, n = unit_range(state, 1, 40);
    MgvT first = mgv_plan_input(p, "a", (MgvShape){ 1, 2, unit_range(state, 1, 9), 3, unit_range(state, 1, 40) }, MGV_F32);

    mgv_plan_input(p, "b", p->tensors[first].shape, MGV_F32);
    for (i = 0; i < n; i++) {
        MgvT x = unit_range(state, MGV_MAX(0, p->nb_tensors - 5), p->nb_tensors - 1), y = 0;

        switch (unit_range(state, 0, 3)) {
        case 0: y = mgv_act(p, "act", x, MGV_ACT_SILU); break;
        case 1: y = mgv_add(p, "add", x, x); break;
        case 2: y = mgv_pool(p, "pool", x, 1, 2, 1); break;
        case 3: y = p->tensors[x].size < 65536 ? mgv_upsample(p, "up", x, 2, 1, 1) : mgv_pool(p, "pool", x, 2, 2, 2); break;
        }
        if (!unit_range(state, 0, 9))
            mgv_plan_output(p, "some", y);
    }
    mgv_plan_output(p, "last", p->nb_tensors - 1);
    CU_ASSERT_EQUAL_FATAL(mgv_plan_finish(p), 0);
    return p;
}

/* Liveness from the definition: from the op that writes to the last that reads. */
static int live_at(const MgvPlan *p, MgvT x, int op)
{
    int written = -1, read = -1, i, j;

    for (i = 0; i < p->nb_ops; i++) {
        if (p->ops[i].out == x)
            written = read = i;
        for (j = 0; j < MGV_MAX_IN; j++)
            if (p->ops[i].in[j] == x)
                read = i;
    }
    for (i = 0; i < p->nb_outputs; i++)
        if (p->outputs[i] == x)
            read = p->nb_ops;
    return written <= op && op <= read;
}

static int overlap(const MgvTensorInfo *a, const MgvTensorInfo *b)
{
    return a->offset < b->offset + b->size && b->offset < a->offset + a->size;
}

static size_t count_overlaps(const MgvPlan *p, int op, size_t *live_bytes)
{
    size_t count = 0;
    MgvT x, y;

    *live_bytes = 0;
    for (x = 0; x < p->nb_tensors; x++) {
        if (!live_at(p, x, op))
            continue;
        *live_bytes += p->tensors[x].size;
        for (y = 0; y < x; y++)
            count += live_at(p, y, op) && overlap(&p->tensors[x], &p->tensors[y]);
    }
    return count;
}

static void test_liveness(void)
{
    uint64_t state = 7;
    int i, op;
    MgvT x;

    for (i = 0; i < 300; i++) {
        MgvPlan *p = random_plan(&state);
        size_t peak = 0, bytes, sum = 0;

        for (op = -1; op <= p->nb_ops; op++) {
            CU_ASSERT_EQUAL(count_overlaps(p, op, &bytes), 0);
            peak = MGV_MAX(peak, bytes);
        }
        for (x = 0; x < p->nb_tensors; x++) {
            CU_ASSERT_EQUAL(p->tensors[x].offset % MGV_ALIGNMENT, 0);
            CU_ASSERT(p->tensors[x].offset + p->tensors[x].size <= p->arena_size);
            sum += MGV_ALIGN_UP(p->tensors[x].size, MGV_ALIGNMENT);
        }
        CU_ASSERT(p->arena_size >= peak && p->arena_size <= sum);
        mgv_plan_free(&p);
    }
}

/* A chain of equal tensors needs room for two of them. */
static void test_reuse(void)
{
    MgvPlan *p = new_plan(NULL);
    MgvT x = mgv_plan_input(p, "x", (MgvShape){ 1, 1, 1, 16, 16 }, MGV_F32);
    int i;

    for (i = 0; i < 20; i++)
        x = mgv_act(p, "act", x, MGV_ACT_SILU);
    mgv_plan_output(p, "y", x);
    CU_ASSERT_EQUAL(mgv_plan_finish(p), 0);
    CU_ASSERT_EQUAL(p->arena_size, 2 * 16 * 16 * sizeof(float));
    mgv_plan_free(&p);
}

static int build(MgvPlan **p, const MgvSafetensors *st)
{
    MgvT x;
    int ret;

    unit_log_reset();
    RET(mgv_plan_alloc(p, "plan", st, &unit_log));
    x = mgv_plan_input(*p, "clip", (MgvShape){ 1, 2, 3, 3, 3 }, MGV_F32);
    x = mgv_conv3d(*p, "conv", x, 4, 3, MGV_PAD_REFLECT, 1, MGV_ACT_NONE);
    x = mgv_pool(*p, "pool", x, 1, 2, 2);
    mgv_plan_output(*p, "y", x);
    ret = mgv_plan_finish(*p);
fail:
    return ret;
}

static void test_alloc(void)
{
    MgvSafetensors *st = open_weights();
    MgvPlan *p;
    int k, ret = -1;

    for (k = 1; k < 200 && ret < 0; k++) {
        mgv_alloc_fail_at = k;
        ret = build(&p, st);
        mgv_alloc_fail_at = 0;
        CU_ASSERT(ret == 0 || ret == MAGVIT_ERR(ENOMEM));
        CU_ASSERT_EQUAL(unit_lines, ret < 0);
        mgv_plan_free(&p);
    }
    CU_ASSERT(ret == 0 && k > 10);
    mgv_safetensors_close(&st);
}

static void test_print(void)
{
    MgvSafetensors *st = open_weights();
    MgvPlan *p;

    CU_ASSERT_EQUAL_FATAL(build(&p, st), 0);
    unit_log_reset();
    mgv_plan_print(p, &unit_log, MAGVIT_LOG_DEBUG);
    CU_ASSERT_EQUAL(unit_lines, 0);
    mgv_plan_print(p, &unit_log, MAGVIT_LOG_WARNING);
    CU_ASSERT_EQUAL(unit_lines, 3);
    CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, "plan: 2 ops"));
    mgv_plan_free(&p);
    mgv_safetensors_close(&st);
}

CU_ErrorCode add_plan_suite(void)
{
    static const UnitTest tests[] = {
        { "shapes", test_shapes },
        { "sequences", test_sequences },
        { "errors", test_errors },
        { "no weights, no output", test_no_weights },
        { "live tensors do not overlap", test_liveness },
        { "memory is reused", test_reuse },
        { "no memory", test_alloc },
        { "print", test_print },
        { NULL, NULL }
    };

    return unit_add("plan", tests);
}
