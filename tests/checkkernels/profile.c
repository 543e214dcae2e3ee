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
 * Where a model's time goes: its plans run again and again, and of each op the
 * least time counts. On a processor that is shared with others a whole window is
 * never left alone, an op of a few milliseconds is.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "libmagvit/backend.h"
#include "libmagvit/model.h"
#include "tests/checkkernels/checkkernels.h"

#if CONFIG_ONEDNN

typedef int BuildFn(MgvPlan **out, const MgvConfig *c, int batch, const MgvSafetensors *st, const MagvitLogger *log);

static const struct { const char *name; BuildFn *build; } stages[] = {
    { "encode", mgv_build_encoder }, { "step", mgv_build_transformer }, { "decode", mgv_build_decoder },
};
enum { NB_STAGES = 3, MIN_RUNS = 3 };

static const MgvBackend *const cpu = &mgv_backend_cpu;

/** Values that a model could see: floats from 0 to 1, or codes. */
static int fill_input(MgvExec *exec, const MgvPlan *plan, MgvT x, int nb_codes)
{
    const size_t n = mgv_shape_elements(plan->tensors[x].shape);
    const int ids = plan->tensors[x].dtype == MGV_I32;
    int32_t *data = need(mgv_calloc(n, sizeof(*data)));
    int ret;

    for (size_t i = 0; i < n; i++) {
        if (ids)
            data[i] = (int32_t)(i * 7919 % nb_codes);
        else
            ((float *)data)[i] = (float)(i * 7 % 256) / 255;
    }
    ret = cpu->write(exec, x, data, n * sizeof(*data));
    mgv_freep(&data);
    return ret;
}

static int run_plan(MgvExec *exec, const MgvPlan *plan, int nb_codes, double seconds)
{
    const double end = mgv_time() + seconds;
    int ret = 0;

    for (int run = 0; ret >= 0 && (run < MIN_RUNS || mgv_time() < end); run++) {
        for (int i = 0; i < plan->nb_inputs && ret >= 0; i++)
            ret = fill_input(exec, plan, plan->inputs[i], nb_codes);
        if (ret >= 0)
            ret = cpu->run(exec);
    }
    return ret;
}

static void print_row(const char *stage, const char *what, double macs, double seconds)
{
    printf("%-7s %-40s %8.2f GMAC %9.3f ms %8.1f GMAC/s\n", stage, what, macs / 1e9, 1e3 * seconds,
           seconds > 0 ? macs / seconds / 1e9 : 0);
}

/** What one op leads, with all that runs as one with it: the op that multiplies most gives the name. */
static int group_end(const MgvExec *exec, const MgvPlan *plan, int first, int *leads, double *macs)
{
    int end = first;

    *leads = first;
    *macs  = 0;
    do {
        *macs += plan->ops[end].macs;
        if (plan->ops[end].macs > plan->ops[*leads].macs)
            *leads = end;
    } while (++end < plan->nb_ops && cpu->seconds(exec, end) == 0);
    return end;
}

static void print_plan(const char *stage, const MgvExec *exec, const MgvPlan *plan, int verbose)
{
    double macs[MGV_OP_NB] = { 0 }, seconds[MGV_OP_NB] = { 0 }, all = 0, sum = 0;

    for (int i = 0, end, leads; i < plan->nb_ops; i = end) {
        const double t = cpu->seconds(exec, i);
        double m;

        end = group_end(exec, plan, i, &leads, &m);
        if (verbose)
            print_row(stage, plan->ops[leads].name, m, t);
        macs[plan->ops[leads].type]    += m;
        seconds[plan->ops[leads].type] += t;
        all += m;
        sum += t;
    }
    for (int type = 0; type < MGV_OP_NB; type++)
        if (seconds[type] > 0)
            print_row(stage, mgv_op_name(type), macs[type], seconds[type]);
    print_row(stage, "all", all, sum);
    fflush(stdout);
}

static int profile_precision(const MgvSafetensors *st, const MgvConfig *c, int precision, int threads, double seconds, int verbose)
{
    const MgvDeviceSettings settings = { NULL, threads, precision };
    const MagvitLogger silent = { NULL, NULL, MAGVIT_LOG_NONE };
    MgvDevice *dev = NULL;
    int ret = cpu->open(&dev, &settings, precision > MAGVIT_PRECISION_F32 ? &silent : &logger);

    if (ret < 0)
        return precision > MAGVIT_PRECISION_F32 ? 0 : ret;
    printf("%s: %s\n", mgv_precision_name(precision), cpu->describe(dev));
    for (int i = 0; i < NB_STAGES && ret >= 0; i++) {
        MgvPlan *plan = NULL;
        MgvExec *exec = NULL;

        ret = stages[i].build(&plan, c, 1, st, &logger);
        if (ret >= 0)
            ret = cpu->compile(&exec, dev, plan);
        if (ret >= 0)
            ret = run_plan(exec, plan, c->codebook_size, seconds);
        if (ret >= 0)
            print_plan(stages[i].name, exec, plan, verbose);
        if (exec)
            cpu->free(&exec);
        mgv_plan_free(&plan);
    }
    cpu->close(&dev);
    return ret;
}

static int is_wanted(const char *precision, int p)
{
    return !precision || !strcmp(precision, mgv_precision_name(p));
}

int print_profile(const char *model, const char *precision, int threads, double seconds, int verbose)
{
    MgvSafetensors *st = NULL;
    MgvConfig c = { 0 };
    int nb = 0, ret;

    for (int p = MAGVIT_PRECISION_F32; p <= MAGVIT_PRECISION_INT8; p++)
        nb += is_wanted(precision, p);
    if (!nb) {
        fprintf(stderr, "checkkernels: --precision is \"%s\", expected f32, bf16 or int8\n", precision);
        return MAGVIT_ERR(EINVAL);
    }
    ret = mgv_safetensors_open(&st, model, &logger);
    if (ret >= 0)
        ret = mgv_config_parse(&c, st, &logger);
    for (int p = MAGVIT_PRECISION_F32; p <= MAGVIT_PRECISION_INT8 && ret >= 0; p++)
        if (is_wanted(precision, p))
            ret = profile_precision(st, &c, p, threads, seconds, verbose);
    mgv_config_uninit(&c);
    mgv_safetensors_close(&st);
    return ret;
}

#else

int print_profile(const char *model, const char *precision, int threads, double seconds, int verbose)
{
    (void)model, (void)precision, (void)threads, (void)seconds, (void)verbose;
    printf("no oneDNN\n");
    return 0;
}

#endif
