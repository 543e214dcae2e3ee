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
 * Selected and wanted rows of a transformer: what is computed, what is kept, and
 * that all of it is as before once nothing is selected or wanted any more.
 */

#include <math.h>
#include <string.h>

#include "config.h"
#include "libmagvit/backend.h"
#include "libmagvit/model.h"
#include "tests/unit/unit.h"

#define TINY MAGVIT_SOURCE_PATH "/tests/data/tiny.safetensors"
#define MAX_ROWS 80
#define MAX_CODES 64

typedef struct Net {
    const MgvBackend *b;
    MgvDevice *dev;
    MgvSafetensors *st;
    MgvConfig c;
    MgvPlan *plan;
    MgvExec *exec;
    int32_t ids[MAX_ROWS];
} Net;

static void open_net(Net *n, const MgvBackend *b, int layers)
{
    const MgvDeviceSettings s = { NULL, 2, MAGVIT_PRECISION_F32 };

    *n = (Net){ .b = b };
    CU_ASSERT_EQUAL_FATAL(mgv_safetensors_open(&n->st, TINY, &unit_log), 0);
    CU_ASSERT_EQUAL_FATAL(mgv_config_parse(&n->c, n->st, &unit_log), 0);
    CU_ASSERT_FATAL(n->c.length <= MAX_ROWS && n->c.codebook_size <= MAX_CODES && n->c.layers >= layers);
    n->c.layers = layers;
    CU_ASSERT_EQUAL_FATAL(b->open(&n->dev, &s, &unit_log), 0);
    CU_ASSERT_EQUAL_FATAL(mgv_build_transformer(&n->plan, &n->c, 1, n->st, &unit_log), 0);
    CU_ASSERT_EQUAL_FATAL(b->compile(&n->exec, n->dev, n->plan), 0);
    for (int i = 0; i < n->c.length; i++)
        n->ids[i] = i * 7 % n->c.codebook_size;
}

static void close_net(Net *n)
{
    n->b->free(&n->exec);
    n->b->close(&n->dev);
    mgv_plan_free(&n->plan);
    mgv_config_uninit(&n->c);
    mgv_safetensors_close(&n->st);
}

/* Logits of the rows of list, nb < 0: of all without selecting any. */
static void run(Net *n, const int32_t *list, int nb, float (*out)[MAX_CODES])
{
    const int rows = nb < 0 ? n->c.length : nb;
    int32_t ids[MAX_ROWS];
    float logits[MAX_ROWS * MAX_CODES];

    if (nb >= 0)
        CU_ASSERT_EQUAL_FATAL(n->b->select(n->exec, list, nb), 0);
    for (int i = 0; i < rows; i++)
        ids[i] = n->ids[nb < 0 ? i : list[i]];
    CU_ASSERT_EQUAL_FATAL(n->b->write(n->exec, mgv_plan_find_input(n->plan, "ids"), ids, rows * sizeof(*ids)), 0);
    CU_ASSERT_EQUAL_FATAL(n->b->run(n->exec), 0);
    CU_ASSERT_EQUAL_FATAL(n->b->read(n->exec, mgv_plan_find_output(n->plan, "logits"), logits,
                                     (size_t)rows * n->c.codebook_size * sizeof(*logits)), 0);
    for (int i = 0; i < rows; i++)
        memcpy(out[nb < 0 ? i : list[i]], logits + (size_t)i * n->c.codebook_size, n->c.codebook_size * sizeof(**out));
}

/* Plain C gives the same bits; products of other shapes need not. */
static int same(const Net *n, float (*a)[MAX_CODES], float (*b)[MAX_CODES], const int32_t *list, int nb)
{
    const float limit = n->b == &mgv_backend_ref ? 0 : 1e-4f;
    int same = 1;

    for (int i = 0; i < nb; i++)
        for (int j = 0; j < n->c.codebook_size; j++)
            same &= fabsf(a[list[i]][j] - b[list[i]][j]) <= limit;
    return same;
}

static int every(int32_t *list, int length, int step)
{
    int nb = 0;

    for (int i = 0; i < length; i += step)
        list[nb++] = i;
    return nb;
}

static void check_backend(const MgvBackend *b, int layers)
{
    static float all[MAX_ROWS][MAX_CODES], some[MAX_ROWS][MAX_CODES];
    int32_t list[MAX_ROWS], third[MAX_ROWS];
    Net n;
    int nb, nb_third;

    open_net(&n, b, layers);
    nb       = every(list, n.c.length, 1);
    nb_third = every(third, n.c.length, 3);
    run(&n, NULL, -1, all);
    run(&n, list, nb, some);
    CU_ASSERT(same(&n, all, some, list, nb));
    /* nothing new: what is kept makes the same of any rows */
    memset(some, 0, sizeof(some));
    run(&n, third, nb_third, some);
    CU_ASSERT(same(&n, all, some, third, nb_third));
    run(&n, third + 1, 1, some);
    CU_ASSERT(same(&n, all, some, third, nb_third));
    /* new ids: with one layer keys and values of the other rows do not depend on them */
    for (int i = 0; i < nb_third; i++)
        n.ids[third[i]] = i % n.c.codebook_size;
    run(&n, third, nb_third, some);
    CU_ASSERT(!same(&n, all, some, third, nb_third));
    CU_ASSERT_EQUAL(b->select(n.exec, NULL, 0), 0);
    run(&n, NULL, -1, all);
    CU_ASSERT_EQUAL(same(&n, all, some, third, nb_third), layers == 1);
    close_net(&n);
}

/* Logits of the rows of list, which are wanted, of the same ids. */
static void run_wanted(Net *n, const int32_t *list, int nb, float (*out)[MAX_CODES])
{
    const size_t row = n->c.codebook_size * sizeof(**out);
    float logits[MAX_ROWS * MAX_CODES];

    CU_ASSERT_EQUAL_FATAL(n->b->want(n->exec, list, nb), 0);
    CU_ASSERT_EQUAL_FATAL(n->b->write(n->exec, mgv_plan_find_input(n->plan, "ids"), n->ids, n->c.length * sizeof(*n->ids)), 0);
    CU_ASSERT_EQUAL_FATAL(n->b->run(n->exec), 0);
    CU_ASSERT_EQUAL_FATAL(n->b->read(n->exec, mgv_plan_find_output(n->plan, "logits"), logits, nb * row), 0);
    for (int i = 0; i < nb; i++)
        memcpy(out[list[i]], (char *)logits + i * row, row);
}

static int count_rows(void *opaque, const MgvPlan *plan, int op, const void *out)
{
    (void)plan, (void)op, (void)out;
    ++*(int *)opaque;
    return 0;
}

static void check_wanted(const MgvBackend *b, int layers)
{
    static float all[MAX_ROWS][MAX_CODES], some[MAX_ROWS][MAX_CODES];
    int32_t list[MAX_ROWS], third[MAX_ROWS];
    Net n;
    int nb, nb_third, taps = 0;

    open_net(&n, b, layers);
    nb       = every(list, n.c.length, 1);
    nb_third = every(third, n.c.length, 3);
    memset(some, 0, sizeof(some));
    run(&n, NULL, -1, all);
    run_wanted(&n, third, nb_third, some);
    CU_ASSERT(same(&n, all, some, third, nb_third));
    CU_ASSERT_EQUAL(some[1][0], 0.0f);
    /* the last position alone, all of them, and again op by op */
    memset(some, 0, sizeof(some));
    run_wanted(&n, list + nb - 1, 1, some);
    CU_ASSERT(same(&n, all, some, list + nb - 1, 1));
    run_wanted(&n, list, nb, some);
    CU_ASSERT(same(&n, all, some, list, nb));
    memset(some, 0, sizeof(some));
    b->tap(n.exec, count_rows, &taps);
    run_wanted(&n, third, nb_third, some);
    CU_ASSERT(same(&n, all, some, third, nb_third));
    CU_ASSERT_EQUAL(taps, n.plan->nb_ops);
    b->tap(n.exec, NULL, NULL);
    /* selecting ends it */
    memset(some, 0, sizeof(some));
    run(&n, list, nb, some);
    CU_ASSERT(same(&n, all, some, list, nb));
    CU_ASSERT_EQUAL(b->select(n.exec, NULL, 0), 0);
    run_wanted(&n, third, nb_third, some);
    CU_ASSERT_EQUAL(b->want(n.exec, NULL, 0), 0);
    run(&n, NULL, -1, some);
    CU_ASSERT(same(&n, all, some, list, nb));
    close_net(&n);
}

static void test_wanted(void)
{
    for (int layers = 1; layers < 3; layers++) {
        check_wanted(&mgv_backend_ref, layers);
#if CONFIG_ONEDNN
        check_wanted(&mgv_backend_cpu, layers);
#endif
    }
}

static void test_rows(void)
{
    for (int layers = 1; layers < 3; layers++) {
        check_backend(&mgv_backend_ref, layers);
#if CONFIG_ONEDNN
        check_backend(&mgv_backend_cpu, layers);
#endif
    }
}

static void test_errors(void)
{
    const int32_t one[] = { 0 };
    float logits[MAX_CODES];
    MgvExec *exec = NULL;
    MgvPlan *encoder;
    Net n;

    open_net(&n, &mgv_backend_ref, 1);
    CU_ASSERT_EQUAL_FATAL(mgv_build_encoder(&encoder, &n.c, 1, n.st, &unit_log), 0);
    CU_ASSERT_EQUAL_FATAL(n.b->compile(&exec, n.dev, encoder), 0);
    unit_log_reset();
    CU_ASSERT_EQUAL(n.b->select(exec, one, 1), MAGVIT_ERR(ENOTSUP));
    CU_ASSERT_STRING_EQUAL(unit_line, "encoder: rows can only be selected of one sequence");
    CU_ASSERT_EQUAL(unit_lines, 1);
    CU_ASSERT_EQUAL(n.b->want(exec, one, 1), MAGVIT_ERR(ENOTSUP));
    CU_ASSERT_EQUAL(unit_lines, 2);
    n.b->free(&exec);
    mgv_plan_free(&encoder);
    /* another number of rows than is selected, or wanted */
    CU_ASSERT_EQUAL(n.b->want(n.exec, one, 1), 0);
    CU_ASSERT_EQUAL(n.b->read(n.exec, mgv_plan_find_output(n.plan, "logits"), logits, 0), MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(n.b->select(n.exec, one, 1), 0);
    unit_log_reset();
    CU_ASSERT_EQUAL(n.b->want(n.exec, one, 1), MAGVIT_ERR(EINVAL));
    CU_ASSERT_STRING_EQUAL(unit_line, "transformer: rows are selected, none can be wanted");
    CU_ASSERT_EQUAL(n.b->write(n.exec, mgv_plan_find_input(n.plan, "ids"), n.ids, n.c.length * sizeof(*n.ids)),
                    MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(n.b->read(n.exec, mgv_plan_find_output(n.plan, "logits"), logits, sizeof(*logits)),
                    MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(n.b->select(n.exec, NULL, 0), 0);
    for (int k = 1; k <= 3; k++) {
        mgv_alloc_fail_at = k;
        CU_ASSERT_EQUAL(n.b->select(n.exec, one, 1), MAGVIT_ERR(ENOMEM));
        mgv_alloc_fail_at = 0;
    }
    close_net(&n);
}

CU_ErrorCode add_select_suite(void)
{
    static const UnitTest tests[] = {
        { "rows alone, the rest kept", test_rows },
        { "outputs of rows alone", test_wanted },
        { "errors", test_errors },
        { NULL, NULL }
    };

    return unit_add("select", tests);
}
