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

/**
 * @file
 * How long kernels take, and the bus.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/checkkernels/checkkernels.h"

#define MIN_SECONDS 0.7 ///< of the runs of a plan
enum { MIN_RUNS = 3, MAX_RUNS = 10000, MORE_OPS = 4, MAX_TIMED = MAX_BACKENDS + 1 };

/** What was measured, for what is to come: seconds of an op by its work. The last of the subjects is the reference. */
typedef struct Rates {
    double same[MAX_TIMED][MGV_OP_NB]; ///< of the largest op of that type so far
    double slowest[MAX_TIMED][2];        ///< of those that multiply, and of the others
} Rates;

/** A row, with what it costs. */
typedef struct Row {
    int index;    ///< into bench_cases
    double work;  ///< multiplications, and values that are read and written
    int products; ///< are there multiplications?
} Row;

/* ---- one op ---- */

typedef struct Times {
    double best, median, spread; ///< seconds; spread: half the range of the middle half
} Times;

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/** Seconds of a run, which the next one waits for where runs are asynchronous. */
static int time_runs(Times *t, const MgvBackend *b, MgvExec *exec)
{
    static double times[MAX_RUNS];
    double begin;
    int n = 0, ret;

    RET(b->run(exec));
    for (begin = mgv_time(); n < MAX_RUNS && (n < MIN_RUNS || mgv_time() - begin < MIN_SECONDS); n++) {
        const double start = mgv_time();

        RET(b->run(exec));
        times[n] = mgv_time() - start;
    }
    qsort(times, n, sizeof(*times), compare_doubles);
    t->best = times[0];
    t->median = times[n / 2];
    t->spread = (times[n * 3 / 4] - times[n / 4]) / 2;
fail:
    return ret;
}

/** On a device what inputs and outputs take on the bus does not count: the op is timed once and five times in a plan. */
static int time_case(Times *t, double *flops, double *bytes, const Case *c, const Data *d, const MgvBackend *b,
                     MgvDevice *dev)
{
    const int more = MORE_OPS;
    Times once;
    Run r;
    int ret;

    RET(run_open(&r, c, d, b, dev, 1));
    RET(time_runs(t, b, r.exec));
    *flops = 2 * r.plan->ops[0].macs;
    *bytes = r.plan->tensors[r.out].size;
    for (int i = 0; i < case_nb_inputs(c); i++)
        *bytes += r.plan->tensors[r.in[i]].size;
    if (b->limit) {
        once = *t;
        run_close(&r, b);
        RET(run_open(&r, c, d, b, dev, 1 + more));
        RET(time_runs(t, b, r.exec));
        t->median = MGV_MAX(t->median - once.median, 1e-9) / more;
        t->best   = MGV_MAX(t->best - once.best, 1e-9) / more;
        t->spread = (t->spread + once.spread) / more;
    }
fail:
    run_close(&r, b);
    return ret;
}

/** Seconds of a plan whose input (up) or output is large, and of writing and reading them. */
static int time_transfer(double *run, double *write, double *read, int up, const MgvBackend *b, MgvDevice *dev)
{
    const MgvShape large = { 1, 1, 1024, 1024, 16 }, small = { 1, 1, 512, 512, 16 };
    float *data = need(mgv_calloc(mgv_shape_elements(large), sizeof(*data)));
    MgvPlan *p = NULL;
    MgvExec *exec = NULL;
    Times t;
    MgvT x, y;
    int ret;

    RET(mgv_plan_alloc(&p, "transfer", NULL, &logger));
    x = mgv_plan_input(p, "x", up ? large : small, MGV_F32);
    y = up ? mgv_pool(p, "y", x, 1, 2, 2) : mgv_upsample(p, "y", x, 1, 2, 2);
    mgv_plan_output(p, "y", y);
    RET(mgv_plan_finish(p));
    RET(b->compile(&exec, dev, p));
    *write = mgv_time();
    RET(b->write(exec, x, data, p->tensors[x].size));
    *write = mgv_time() - *write;
    RET(time_runs(&t, b, exec));
    *run = t.median;
    RET(b->write(exec, x, data, p->tensors[x].size)); // waits
    *read = mgv_time();
    RET(b->read(exec, y, data, p->tensors[y].size));
    *read = mgv_time() - *read;
fail:
    if (exec)
        b->free(&exec);
    mgv_plan_free(&p);
    mgv_freep(&data);
    return ret;
}

/** The bus: 64 MiB one way and 16 the other, then the other way round, with an op between that hardly counts. */
static void bench_transfer(const Subject *s)
{
    double run[2], write[2], read[2], up, down;

    if (!s->b->limit || !op_wanted("transfer"))
        return;
    if (time_transfer(&run[0], &write[0], &read[0], 1, s->b, s->dev[0]) < 0 ||
        time_transfer(&run[1], &write[1], &read[1], 0, s->b, s->dev[0]) < 0) {
        fail_line(s->name, "transfer", "timing", "error");
        return;
    }
    up   = (4 * run[0] - run[1]) / 15;  // of 16 MiB
    down = (4 * run[1] - run[0]) / 15;
    printf("transfer of 64 MiB\n  %-6s up %.3f ms %.1f GB/s, down %.3f ms %.1f GB/s, to and from the mapped memory %.3f ms, "
           "%.3f ms\n", s->name, 4e3 * up, 0.016777216 / up, 4e3 * down, 0.016777216 / down, 1e3 * write[0], 1e3 * read[1]);
}

/* ---- rows ---- */

static Row make_row(int index, uint64_t seed)
{
    const Case *c = &bench_cases[index];
    Row row = { .index = index };
    MgvPlan *p = NULL;
    MgvT in[MGV_MAX_IN], out;
    Data d;

    data_init(c, &d, seed, MAGVIT_PRECISION_F32);
    if (mgv_plan_alloc(&p, "case", d.st, &logger) >= 0) {
        for (int i = 0; i < case_nb_inputs(c); i++)
            in[i] = mgv_plan_input(p, "x", c->x, c->op == MGV_OP_EMBED ? MGV_I32 : MGV_F32);
        out = case_build(c, p, in);
        mgv_plan_output(p, "y", out);
        if (mgv_plan_finish(p) >= 0) {
            row.products = mgv_plan_macs(p) > 0;
            row.work     = mgv_plan_macs(p) + p->tensors[out].size / 4.0;
            for (int i = 0; i < case_nb_inputs(c); i++)
                row.work += p->tensors[in[i]].size / 4.0;
        }
        mgv_plan_free(&p);
    }
    data_uninit(&d);
    return row;
}

static int compare_rows(const void *a, const void *b)
{
    const Row *x = a, *y = b;

    return x->work != y->work ? (x->work > y->work) - (x->work < y->work) : x->index - y->index;
}

/** What time_runs() takes for a run of so many seconds. */
static double runs_seconds(double run)
{
    return run + MGV_MAX(MIN_SECONDS, MIN_RUNS * run);
}

/** What a row will take by those before it. */
static double expected_seconds(const Rates *r, const Row *row, const Subject *s, int nb)
{
    const int op = bench_cases[row->index].op;
    double sum = 0;

    for (int j = 0; j <= nb; j++) {
        const double run = row->work * (r->same[j][op] ? r->same[j][op] : r->slowest[j][row->products]);

        sum += runs_seconds(run) + (j < nb && s[j].b->limit ? runs_seconds((1 + MORE_OPS) * run) : 0);
    }
    return sum;
}

static void learn(Rates *r, const Row *row, int subject, double seconds)
{
    const double rate = seconds / row->work;

    r->same[subject][bench_cases[row->index].op] = rate;
    r->slowest[subject][row->products] = MGV_MAX(r->slowest[subject][row->products], rate);
}

static void time_row(const Row *row, const Subject *s, int nb, const Subject *ref, uint64_t seed, Rates *r)
{
    Case c = bench_cases[row->index];
    double flops, bytes;
    char line[256];
    Times base;
    Data d;

    c.fill = FILL_NORMAL;
    data_init(&c, &d, seed + row->index, MAGVIT_PRECISION_F32);
    case_print(&c, line, sizeof(line));
    printf("%s\n", line);
    if (time_case(&base, &flops, &bytes, &c, &d, ref->b, ref->dev[0]) < 0)
        base.median = 0;
    learn(r, row, nb, base.median);
    for (int j = 0; j < nb; j++) {
        Times t = base;

        if (s[j].b != ref->b && time_case(&t, &flops, &bytes, &c, &d, s[j].b, s[j].dev[0]) < 0) {
            fail_line(s[j].name, line, "timing", "error");
            continue;
        }
        learn(r, row, j, t.median);
        printf("  %-6s %10.3f ms +- %4.1f %%, best %10.3f ms %9.1f GFLOP/s %7.1f GB/s %8.1f x ref\n",
               s[j].name, t.median * 1e3, 100 * t.spread / t.median, t.best * 1e3, flops / t.median * 1e-9, bytes / t.median * 1e-9,
               base.median / t.median);
        passed++;
    }
    fflush(stdout);
    data_uninit(&d);
}

void time_kernels(const Subject *s, int nb, const Subject *ref, uint64_t seed, double seconds)
{
    const double end = mgv_time() + seconds;
    Row *rows = need(mgv_calloc(nb_bench_cases, sizeof(*rows)));
    Rates rates = { 0 };
    int nb_rows = 0;

    for (int i = 0; i < nb_bench_cases; i++)
        if (op_wanted(mgv_op_name(bench_cases[i].op)))
            rows[nb_rows++] = seconds ? make_row(i, seed) : (Row){ i, 1, 0 };
    if (seconds)
        qsort(rows, nb_rows, sizeof(*rows), compare_rows);
    for (int i = 0; i < nb_rows; i++) {
        const double expected = expected_seconds(&rates, &rows[i], s, nb), left = end - mgv_time();
        char line[256];

        if (!seconds || expected <= left) {
            time_row(&rows[i], s, nb, ref, seed, &rates);
            continue;
        }
        case_print(&bench_cases[rows[i].index], line, sizeof(line));
        printf("%s\n  skipped: expected %.1f s, limit %.1f s\n", line, expected, MGV_MAX(left, 0));
    }
    for (int j = 0; j < nb; j++)
        bench_transfer(&s[j]);
    mgv_freep(&rows);
}
