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
 * Every op of every backend against the reference, and the reference against
 * results worked out by hand. Each case is a plan of one op, so that backends
 * are driven as models drive them.
 *
 * On backends that compute in host memory, the arena around the output is
 * compared after the op with what it was before, the output is filled with NaN
 * beforehand, and one and several threads must give the same bits. On others
 * a tensor that lies in the arena during the op must come out unchanged.
 */

#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "libmagvit/backend.h"
#if CONFIG_VULKAN
#include "kernels/vk.h"
#endif
#if CONFIG_ONEDNN
#include "kernels/cpu_simd.h"
#endif
#include "tests/checkkernels/checkkernels.h"

#define EXIT_SKIP 77
/** More than a small machine has, so that shares are uneven. */
#define MANY_THREADS 3
#define PROFILE_SECONDS 5 ///< a stage of a model

typedef struct Options {
    const char *backend, *op;
    const char *model, *precision;
    int bench, ceiling, list, verbose;
    int threads; ///< for timing; 0: one a core
    double seconds; ///< for timing; 0: as it comes
    uint64_t seed;
} Options;

static Options opt;
const MagvitLogger logger = { mgv_log_stderr, NULL, MAGVIT_LOG_WARNING };
int passed, failed;

/* ---- running a case ---- */

static int watch_tap(void *opaque, const MgvPlan *plan, int op, const void *data)
{
    Watch *w = opaque;
    const MgvTensorInfo *t = &plan->tensors[plan->ops[op].out];

    if (op)
        return 0;
    if (!w->arena) {
        w->arena = (uint8_t *)data - t->offset;
        return 0;
    }
    for (size_t i = 0; i < plan->arena_size && w->touched < 0; i++)
        if ((i < t->offset || i >= t->offset + t->size) && w->arena[i] != w->snapshot[i])
            w->touched = i;
    return 0;
}

/** A plan of the op, as often as asked for, then another that lies behind it in memory. */
static int make_plan(Run *r, const Case *c, const Data *d, int times)
{
    const MgvShape guard = { 1, 1, 1, 64, 4 };
    int ret;

    RET(mgv_plan_alloc(&r->plan, "case", d->st, &logger));
    r->before = mgv_plan_input(r->plan, "before", guard, MGV_F32);
    for (int i = 0; i < case_nb_inputs(c); i++)
        r->in[i] = mgv_plan_input(r->plan, "x", c->x, c->op == MGV_OP_EMBED ? MGV_I32 : MGV_F32);
    for (int i = 0; i < times; i++)
        r->out = case_build(c, r->plan, r->in);
    mgv_plan_output(r->plan, "y", r->out);
    r->behind = mgv_add(r->plan, "guard", r->before, r->before);
    mgv_plan_output(r->plan, "behind", r->behind);
    RET(mgv_plan_finish(r->plan));
    return 0;
fail:
    return ret;
}

static int write_inputs(Run *r, const Case *c, const Data *d, const MgvBackend *b)
{
    int ret;

    for (int i = 0; i < case_nb_inputs(c); i++)
        RET(b->write(r->exec, r->in[i], d->in[i], r->plan->tensors[r->in[i]].size));
    return 0;
fail:
    return ret;
}

int run_open(Run *r, const Case *c, const Data *d, const MgvBackend *b, MgvDevice *dev, int times)
{
    int ret;

    memset(r, 0, sizeof(*r));
    r->watch.touched = -1;
    RET(make_plan(r, c, d, times));
    RET(b->compile(&r->exec, dev, r->plan));
    RET(write_inputs(r, c, d, b));
    return 0;
fail:
    return ret;
}

void run_close(Run *r, const MgvBackend *b)
{
    b->free(&r->exec);
    mgv_plan_free(&r->plan);
    mgv_freep(&r->watch.snapshot);
}

/** Once to learn where the output lies, again with NaN there and everything else recorded. */
static int run_watched(Run *r, const Case *c, const Data *d, const MgvBackend *b)
{
    Watch *w = &r->watch;
    const MgvTensorInfo *t = &r->plan->tensors[r->out];
    int ret;

    b->tap(r->exec, watch_tap, w);
    RET(b->run(r->exec));
    memset(w->arena + t->offset, 0xff, r->plan->arena_size - t->offset);
    memset(w->arena, 0xff, t->offset);
    RET(write_inputs(r, c, d, b));
    w->snapshot = need(mgv_calloc(1, r->plan->arena_size));
    memcpy(w->snapshot, w->arena, r->plan->arena_size);
    RET(b->run(r->exec));
    return 0;
fail:
    return ret;
}

/** With numbers in the guard, which comes out doubled. */
static int run_guarded(Run *r, const MgvBackend *b, int64_t *touched)
{
    float guard[256], twice[256];
    int ret;

    for (int i = 0; i < 256; i++)
        guard[i] = 1000 + i;
    RET(b->write(r->exec, r->before, guard, sizeof(guard)));
    RET(b->run(r->exec));
    RET(b->read(r->exec, r->behind, twice, sizeof(twice)));
    for (int i = 0; i < 256; i++)
        if (twice[i] != 2 * guard[i])
            *touched = (int64_t)r->plan->tensors[r->before].offset + i * 4;
fail:
    return ret;
}

/** Run a case. @return its output, NULL with *ret set, or with *touched >= 0 */
static void *run_case(const Case *c, const Data *d, const MgvBackend *b, MgvDevice *dev, size_t *n, int *error,
                      int64_t *touched)
{
    const int host = b->type == MAGVIT_BACKEND_REF || b->type == MAGVIT_BACKEND_CPU;
    void *y = NULL;
    Run r;
    int ret;

    RET(run_open(&r, c, d, b, dev, 1));
    RET(host ? run_watched(&r, c, d, b) : run_guarded(&r, b, &r.watch.touched));
    *touched = r.watch.touched;
    *n = mgv_shape_elements(r.plan->tensors[r.out].shape);
    y = need(mgv_calloc(*n, sizeof(float)));
    RET(b->read(r.exec, r.out, y, *n * sizeof(float)));
fail:
    *error = ret;
    run_close(&r, b);
    if (ret < 0)
        mgv_freep(&y);
    return y;
}

/* ---- comparing ---- */

typedef struct Verdict {
    int64_t bad;     ///< first bad index, -1: none
    double nmse, max; ///< error relative to the whole, and to the row
    const char *why;
} Verdict;

static double code_distance(const Case *c, const Data *d, size_t at, int32_t code)
{
    const float *x = (const float *)d->in[0] + at * c->x.c, *w = d->weight[0] + (size_t)code * c->x.c;
    double xx = 0, ww = 0, sum = 0, xs = 1, ws = 1;

    for (int i = 0; i < c->x.c && c->normalize; i++) {
        xx += (double)x[i] * x[i];
        ww += (double)w[i] * w[i];
    }
    if (c->normalize) {
        xs = 1 / sqrt(MGV_MAX(xx, 1e-12));
        ws = 1 / sqrt(MGV_MAX(ww, 1e-12));
    }
    for (int i = 0; i < c->x.c; i++)
        sum += (x[i] * xs - w[i] * ws) * (x[i] * xs - w[i] * ws);
    return sum;
}

static Verdict compare_codes(const Case *c, const Data *d, const int32_t *want, const int32_t *got, size_t n)
{
    Verdict v = { -1, 0, 0, "code" };

    for (size_t i = 0; i < n && v.bad < 0; i++) {
        if (got[i] == want[i])
            continue;
        if (got[i] < 0 || got[i] >= c->rows ||
            code_distance(c, d, i, got[i]) > code_distance(c, d, i, want[i]) * (1 + 1e-5) + 1e-30)
            v.bad = i;
    }
    return v;
}

/** Errors far below floor pass. */
static Verdict compare_floats(const float *want, const float *got, size_t n, size_t row, double limit, double floor)
{
    const double row_limit = sqrt(limit) * 10;
    double error = 0, power = 0, peak = 0, worst = 0;
    Verdict v = { -1, 0, 0, "value" };
    size_t worst_at = 0;

    for (size_t i = 0; i < n; i++)
        peak = fmax(peak, fabs(want[i]));
    for (size_t i = 0; i < n; i++) {
        const double e = (double)got[i] - want[i];
        double scale = peak * 1e-3 + floor;

        for (size_t k = i / row * row; k < (i / row + 1) * row; k++)
            scale = fmax(scale, fabs(want[k]));
        if (!(fabs(e) <= row_limit * scale) && v.bad < 0)
            v.bad = i;
        error += e * e;
        power += (double)want[i] * want[i];
        v.max = fmax(v.max, fabs(e) / scale);
        if (fabs(e) > worst) {
            worst = fabs(e);
            worst_at = i;
        }
    }
    v.nmse = error / fmax(power, n * floor * floor);
    if (v.bad < 0 && !(v.nmse <= limit)) {
        v.bad = worst_at;
        v.why = "NMSE, worst value";
    }
    return v;
}

/**
 * Of the squared error, relative to the squared values. Attention rounds its weights to 16 bits, too. A row of 8 bits
 * that spans 6 standard deviations has an error of 5e-5, and there are two, of inputs and of weights.
 */
static double error_limit(const Case *c, const Data *d, const Subject *s)
{
    if (s->precision != MAGVIT_PRECISION_F32 && c->op == MGV_OP_ATTENTION)
        return 1e-5;
    if (s->precision == MAGVIT_PRECISION_INT8 && c->op == MGV_OP_LINEAR && d->precision != MAGVIT_PRECISION_INT8)
        return 3e-4;
    return s->b->type == MAGVIT_BACKEND_VULKAN ? 1e-8 : 1e-9;
}

/** The size of a sum of products whose terms are independent. */
static double usual_product(const Case *c, const Data *d)
{
    const float *in = d->in[0];
    const size_t rows = mgv_shape_elements(c->x) / c->x.c;
    double x = 0, w = 0;

    for (size_t i = 0; i < rows * c->x.c; i++)
        x += (double)in[i] * in[i];
    for (size_t i = 0; i < (size_t)c->cout * c->x.c; i++)
        w += (double)d->weight[0][i] * d->weight[0][i];
    return sqrt(x / rows * w / c->cout / c->x.c);
}

static Verdict compare(const Case *c, const Data *d, const void *want, const void *got, size_t n, const Subject *s)
{
    const int rounds = s->precision == MAGVIT_PRECISION_INT8 && c->op == MGV_OP_LINEAR && d->precision != s->precision;
    const double limit = error_limit(c, d, s);
    const size_t row = c->cout ? c->cout : c->x.c;
    /* Denormal numbers may be flushed to zero. Where gelu is near zero, 1 + tanh has few digits. */
    double floor = c->act == MGV_ACT_GELU_TANH ? 1e-6 : c->fill == FILL_BIG ? 1e-18 : 1e-30;

    if (rounds) // what is rounded are the terms: of few outputs, all may be small sums of large ones
        floor = fmax(floor, usual_product(c, d) / 2);

    if (c->op == MGV_OP_VQ_ARGMIN)
        return compare_codes(c, d, want, got, n);
    return compare_floats(want, got, n, MGV_MIN(row, n), limit, floor);
}

void fail_line(const char *backend, const char *line, const char *fill, const char *why)
{
    printf("FAIL %-6s %s, %s: %s\n", backend, line, fill, why);
    failed++;
}

static void print_window(const char *name, const void *data, size_t n, size_t at, int codes)
{
    const size_t from = at < 3 ? 0 : at - 3, to = MGV_MIN(n, at + 4);

    printf("     %-5s", name);
    for (size_t i = from; i < to; i++) {
        uint32_t bits;

        memcpy(&bits, (const uint8_t *)data + i * 4, 4);
        if (codes)
            printf(" %c%" PRId32, i == at ? '>' : ' ', ((const int32_t *)data)[i]);
        else
            printf(" %c%.7g (%08" PRIx32 ")", i == at ? '>' : ' ', ((const float *)data)[i], bits);
    }
    printf("\n");
}

/** Judge one output. exact: bits must agree. */
static void judge(const Case *c, const Data *d, const Subject *s, const char *what, const void *want,
                  const void *got, size_t n, int exact)
{
    const int codes = c->op == MGV_OP_VQ_ARGMIN;
    Verdict v = { -1, 0, 0, "bits" };
    char line[256], why[256];

    case_print(c, line, sizeof(line));
    for (size_t i = 0; exact && i < n && v.bad < 0; i++)
        if (memcmp((const uint8_t *)want + 4 * i, (const uint8_t *)got + 4 * i, 4))
            v.bad = i;
    if (!exact)
        v = compare(c, d, want, got, n, s);
    if (opt.verbose)
        printf("%-4s %-6s %s, %s: NMSE %.1e, max %.1e\n", v.bad < 0 ? "ok" : "FAIL", s->name, line, what, v.nmse,
               v.max);
    if (v.bad < 0) {
        passed++;
        return;
    }
    snprintf(why, sizeof(why), "%s at %" PRId64 " of %zu, NMSE %.2e, max %.2e", v.why, v.bad, n, v.nmse, v.max);
    fail_line(s->name, line, what, why);
    print_window("want", want, n, v.bad, codes);
    print_window("got", got, n, v.bad, codes);
}

/** From now on until it is called again. @return 1 if it makes a difference */
static int use_plain(int plain)
{
#if CONFIG_ONEDNN && MGV_AVX512
    mgv_cpu_plain = 0;
    if (!mgv_avx512_f32())
        return 0;
    mgv_cpu_plain = plain;
    return 1;
#else
    return 0;
#endif
}

/**
 * Run a case on every device of a subject and compare with want, which has n
 * values; 0: as many as the op gives. want NULL: compare devices only.
 */
static void check_subject(const Case *c, const Data *d, const Subject *s, const char *what, const void *want, size_t n)
{
    void *first = NULL;

    use_plain(s->plain);
    for (int i = 0; i < s->nb_devs; i++) {
        char line[256], why[128] = "";
        int64_t touched = -1;
        int error = 0;
        size_t size = 0;
        void *y = run_case(c, d, s->b, s->dev[i], &size, &error, &touched);

        case_print(c, line, sizeof(line));
        if (error < 0)
            snprintf(why, sizeof(why), "error %d", error);
        else if (touched >= 0)
            snprintf(why, sizeof(why), "byte %" PRId64 " of the arena changed, outside of the output", touched);
        else if (n && size != n)
            snprintf(why, sizeof(why), "%zu values, not %zu", size, n);
        if (why[0])
            fail_line(s->name, line, what, why);
        else if (want)
            judge(c, d, s, what, want, y, size, 0);
        if (!why[0] && first)
            judge(c, d, s, "threads", first, y, size, 1);
        if (first || why[0])
            mgv_freep(&y);
        else
            first = y;
    }
    mgv_freep(&first);
}

int op_wanted(const char *name)
{
    return !opt.op || !fnmatch(opt.op, name, 0);
}

static void check_known(const Subject *s, int nb)
{
    for (int i = 0; i < nb_known; i++) {
        const Known *k = &known[i];
        const void *want = k->want_ids ? (const void *)k->want_ids : k->want;
        Data d;

        if (!op_wanted(mgv_op_name(k->c.op)))
            continue;
        data_init_known(k, &d);
        for (int j = 0; j < nb; j++)
            check_subject(&k->c, &d, &s[j], k->what, want, 0);
        data_uninit(&d);
    }
}

/** Strictly on values that it holds exactly; what rounds most also on those of bf16, which may be its inputs. */
static int suits(const Subject *s, const Case *c, enum MagvitPrecision precision)
{
    return s->precision == precision ||
           (s->precision == MAGVIT_PRECISION_INT8 && precision == MAGVIT_PRECISION_BF16 && c->op == MGV_OP_LINEAR);
}

static void check_random(const Subject *s, int nb, const Subject *ref, enum MagvitPrecision precision)
{
    for (int i = 0; i < nb_cases; i++) {
        Case c = cases[i];

        if (!op_wanted(mgv_op_name(c.op)) || (precision != MAGVIT_PRECISION_F32 && !is_product(&c)))
            continue;
        for (int fill = 0; fill < FILL_NB; fill++) {
            int64_t touched;
            int error;
            size_t n = 0;
            void *want;
            Data d;

            if (!(case_fills(c.op) & 1u << fill))
                continue;
            c.fill = fill;
            data_init(&c, &d, opt.seed + (uint64_t)i * FILL_NB + fill, precision);
            want = run_case(&c, &d, ref->b, ref->dev[0], &n, &error, &touched);
            for (int j = 0; j < nb && want; j++)
                if (suits(&s[j], &c, precision))
                    check_subject(&c, &d, &s[j], fill_names[fill], s[j].b == ref->b ? NULL : want, n);
            if (!want)
                fail_line(ref->b->name, "", fill_names[fill], "error");
            mgv_freep(&want);
            data_uninit(&d);
        }
    }
}

/* ---- command line ---- */

/** How products use cooperative matrices where the device has them. */
enum Matrices { MATRICES_AUTO, MATRICES_NONE, MATRICES_LARGE };

static void use_matrices(enum Matrices m)
{
#if CONFIG_VULKAN
    mgv_vk_matrices = (enum MgvVkMatrices)m;
#endif
}

static int open_subject(Subject *s, const MgvBackend *b, enum MagvitPrecision precision, enum Matrices m)
{
    const int threads[2] = { opt.bench ? opt.threads : MANY_THREADS, 1 };
    const int nb = opt.bench || b->type == MAGVIT_BACKEND_VULKAN ? 1 : 2;
    int ret;

    s->b     = b;
    s->name  = s->plain ? "plain" : precision == MAGVIT_PRECISION_F32 ? b->name : m == MATRICES_LARGE ? "large" :
               m == MATRICES_AUTO ? "coop" : mgv_precision_name(precision);
    s->precision = precision;
    use_matrices(m);
    use_plain(s->plain);
    for (s->nb_devs = 0; s->nb_devs < nb; s->nb_devs++) {
        const MgvDeviceSettings settings = { NULL, threads[s->nb_devs], precision };

        RET(b->open(&s->dev[s->nb_devs], &settings, &logger));
        printf("%s: %s\n", s->name, b->describe(s->dev[s->nb_devs]));
    }
    return 0;
fail:
    return ret;
}

/** Can it be had: *matrices, does a product then use cooperative matrices? */
static int has_precision(const MgvBackend *b, enum MagvitPrecision precision, int *matrices)
{
    static const MagvitLogger silent = { NULL, NULL, MAGVIT_LOG_NONE };
    const MgvDeviceSettings settings = { NULL, 1, precision };
    MgvDevice *dev = NULL;
    const int has = b->open(&dev, &settings, &silent) >= 0;

    *matrices = has && strstr(b->describe(dev), "cooperative matrices");
    if (has)
        b->close(&dev);
    return has;
}

static void close_subject(Subject *s)
{
    for (int i = 0; i < s->nb_devs; i++)
        s->b->close(&s->dev[i]);
}

/** @return 1 if there is one more */
static int add_subject(Subject *s, const MgvBackend *b, enum MagvitPrecision precision, enum Matrices m)
{
    const int ret = open_subject(s, b, precision, m);

    if (ret >= 0)
        return 1;
    printf("%s: %s\n", b->name, ret == MAGVIT_ERR(ENOTSUP) ? "SKIPPED, not available here" : "FAILED");
    failed += ret != MAGVIT_ERR(ENOTSUP);
    close_subject(s);
    memset(s, 0, sizeof(*s));
    return 0;
}

static void list(void)
{
    for (int i = 0; i < nb_cases; i++) {
        char line[256];

        if (!op_wanted(mgv_op_name(cases[i].op)))
            continue;
        case_print(&cases[i], line, sizeof(line));
        printf("%s\n", line);
    }
}

static int usage(void)
{
    fprintf(stderr, "usage: checkkernels [--backend=NAME] [--op=GLOB] [--bench [--seconds=N]] [--threads=N] [--list] [--verbose]"
                    " [SEED]\n"
                    "       checkkernels --ceiling [--precision=NAME] [--threads=N]\n"
                    "       checkkernels --model=FILE [--precision=NAME] [--seconds=S] [--threads=N] [--verbose]\n");
    return 2;
}

static int parse(int argc, char **argv)
{
    opt.seed = 1;
    for (int i = 1; i < argc; i++) {
        char *end = argv[i];

        if (!strncmp(argv[i], "--backend=", 10))
            opt.backend = argv[i] + 10;
        else if (!strncmp(argv[i], "--op=", 5))
            opt.op = argv[i] + 5;
        else if (!strncmp(argv[i], "--threads=", 10))
            opt.threads = atoi(argv[i] + 10);
        else if (!strncmp(argv[i], "--seconds=", 10))
            opt.seconds = atof(argv[i] + 10);
        else if (!strcmp(argv[i], "--bench"))
            opt.bench = 1;
        else if (!strncmp(argv[i], "--model=", 8))
            opt.model = argv[i] + 8;
        else if (!strncmp(argv[i], "--precision=", 12))
            opt.precision = argv[i] + 12;
        else if (!strcmp(argv[i], "--ceiling"))
            opt.ceiling = 1;
        else if (!strcmp(argv[i], "--list"))
            opt.list = 1;
        else if (!strcmp(argv[i], "--verbose"))
            opt.verbose = 1;
        else if (opt.seed = strtoull(argv[i], &end, 0), end == argv[i] || *end)
            return usage();
    }
    return 0;
}

int main(int argc, char **argv)
{
    Subject subjects[MAX_BACKENDS] = { 0 }, ref = { 0 };
    int nb = 0, ret = parse(argc, argv);

    if (ret)
        return ret;
    if (opt.list) {
        list();
        return 0;
    }
    if (opt.ceiling)
        return print_ceiling(opt.threads, opt.precision) < 0;
    if (opt.model)
        return print_profile(opt.model, opt.precision, opt.threads, opt.seconds ? opt.seconds : PROFILE_SECONDS,
                             opt.verbose) < 0;
    printf("seed %" PRIu64 "\n", opt.seed);
    for (int i = 0; mgv_backends[i]; i++) {
        if (opt.backend && strcmp(opt.backend, mgv_backends[i]->name))
            continue;
        for (int p = MAGVIT_PRECISION_F32; p <= MAGVIT_PRECISION_F16; p++) {
            int matrices = 0;

            if (p != MAGVIT_PRECISION_F32 && !has_precision(mgv_backends[i], p, &matrices))
                continue;
            nb += add_subject(&subjects[nb], mgv_backends[i], p, MATRICES_NONE);
            if (p == MAGVIT_PRECISION_F32 && mgv_backends[i]->type == MAGVIT_BACKEND_CPU && !opt.bench && use_plain(1)) {
                subjects[nb].plain = 1;
                nb += add_subject(&subjects[nb], mgv_backends[i], p, MATRICES_NONE);
            }
            if (matrices)
                nb += add_subject(&subjects[nb], mgv_backends[i], p, MATRICES_AUTO);
            if (matrices && !opt.bench)
                nb += add_subject(&subjects[nb], mgv_backends[i], p, MATRICES_LARGE);
            use_matrices(MATRICES_AUTO);
        }
    }
    if (!nb && !failed) {
        printf("no such backend here\n");
        return EXIT_SKIP;
    }
    if (open_subject(&ref, &mgv_backend_ref, MAGVIT_PRECISION_F32, MATRICES_NONE) < 0)
        return 1;
    if (opt.bench) {
        time_kernels(subjects, nb, &ref, opt.seed, opt.seconds);
    } else {
        check_known(subjects, nb);
        for (int p = MAGVIT_PRECISION_F32; p <= MAGVIT_PRECISION_F16; p++)
            check_random(subjects, nb, &ref, p);
    }
    close_subject(&ref);
    for (int i = 0; i < nb; i++)
        close_subject(&subjects[i]);
    printf("%d passed, %d failed\n", passed, failed);
    return failed ? 1 : 0;
}
