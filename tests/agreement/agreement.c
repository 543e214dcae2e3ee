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
 * How far bf16 and int8 lead away from float32: a model decodes windows of
 * clips greedily, and what the others do is compared.
 *
 * One flipped token changes everything that is drawn after it, so there are two
 * figures. "step": every pass gets the tokens that float32 had, and the
 * likeliest codes are compared where nothing was drawn yet. "decoding": each
 * precision goes its own way, and what came out is compared. "drawn" is the
 * same with the model's own temperatures and equal noise. "loss" is what a
 * code that differs in a step has less than float32's own, in nats as float32
 * sees it: near 0 is a tie. Conditions are tokens of the float32 encoder;
 * "codes" are those that the precision's own encoder would have given the
 * whole clip.
 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "libmagvit/backend.h"
#include "libmagvit/model.h"
#include "libmagvit/video.h"
#include "tools/y4m.h"

#define EXIT_SKIP 77

#if CONFIG_ONEDNN

enum { F32, BF16, INT8, NB_NETS };

typedef struct Count {
    int64_t same, all;
    double loss; ///< sum over those that differ
} Count;

typedef struct Score {
    Count codes, step, decoding, drawn;
} Score;

/** The model at one precision. dev is NULL if there is none here. */
typedef struct Net {
    MgvDevice *dev;
    MgvExec *encoder, *transformer;
} Net;

typedef struct Options {
    const char *model, *tasks;
    int threads, windows, drawn;
    double min_step, min_decoding; ///< percent
} Options;

typedef struct Test {
    Options o;
    MgvSafetensors *st;
    MgvConfig c;
    MgvPlan *encoder, *transformer;
    Net net[NB_NETS];
    Score score[NB_NETS][MGV_NAMED_NB];
    int nb_tokens, windows;
    size_t pixels; ///< of the window
    int32_t *ids, *cond, *codes, *want, *got;
    float *all, *logits;
} Test;

static const char *const net_names[] = { "f32", "bf16", "int8" };
static const char *const task_names[MGV_NAMED_NB] = { "FP", "FI", "OPC", "OPV", "OPH", "OPD", "IPC", "IPD", "CG", "CFP" };
static const enum MgvPrompt prompts[MGV_NAMED_NB] = {
    MGV_PROMPT_PREDICT, MGV_PROMPT_INTERP, MGV_PROMPT_OUTPAINT, MGV_PROMPT_OUTPAINT, MGV_PROMPT_OUTPAINT,
    MGV_PROMPT_OUTPAINT, MGV_PROMPT_INPAINT, MGV_PROMPT_INPAINT, MGV_PROMPT_CLASS, MGV_PROMPT_PREDICT,
};
static const MgvBackend *const cpu = &mgv_backend_cpu;
static const MagvitLogger logger = { mgv_log_stderr, NULL, MAGVIT_LOG_ERROR };

static void *need(void *p)
{
    if (!p) {
        fprintf(stderr, "agreement: out of memory\n");
        exit(1);
    }
    return p;
}

/* ---- the nets ---- */

static int run_plan(const MgvPlan *plan, MgvExec *exec, const char *in, const void *src, const char *out, void *dst)
{
    const MgvT from = mgv_plan_find_input(plan, in), to = mgv_plan_find_output(plan, out);
    int ret;

    RET(cpu->write(exec, from, src, plan->tensors[from].size));
    RET(cpu->run(exec));
    RET(cpu->read(exec, to, dst, mgv_shape_elements(plan->tensors[to].shape) * 4));
    return 0;
fail:
    return ret;
}

static int run_transformer(Test *t, const Net *net, int task, const int32_t *tokens, float *logits)
{
    const MgvConfig *c = &t->c;
    const int prefix = mgv_prefix_length(c);
    const size_t row = c->codebook_size;
    int ret;

    if (c->multi_task)
        t->ids[0] = mgv_token_prompt(c, prompts[task]);
    t->ids[prefix - 1] = mgv_token_class(c, -1);
    for (int i = 0; i < t->nb_tokens; i++)
        t->ids[prefix + i] = tokens[i] < 0 ? mgv_token_mask(c) : tokens[i];
    ret = run_plan(t->transformer, net->transformer, "ids", t->ids, "logits", t->all);
    memcpy(logits, t->all + prefix * row, t->nb_tokens * row * sizeof(*logits));
    return ret;
}

static int open_net(Test *t, int i)
{
    const MgvDeviceSettings settings = { NULL, t->o.threads, MAGVIT_PRECISION_F32 + i };
    const MagvitLogger silent = { NULL, NULL, MAGVIT_LOG_NONE };
    Net *net = &t->net[i];
    int ret = cpu->open(&net->dev, &settings, i == F32 ? &logger : &silent);

    if (ret == MAGVIT_ERR(ENOTSUP) && i != F32)
        return 0;
    if (ret < 0)
        return ret;
    RET(cpu->compile(&net->encoder, net->dev, t->encoder));
    RET(cpu->compile(&net->transformer, net->dev, t->transformer));
    if (i != F32)
        printf("%s: %s\n", net_names[i], cpu->describe(net->dev));
fail:
    return ret;
}

static int test_open(Test *t)
{
    const MgvConfig *c = &t->c;
    size_t row;
    int ret;

    RET(mgv_safetensors_open(&t->st, t->o.model, &logger));
    RET(mgv_config_parse(&t->c, t->st, &logger));
    RET(mgv_build_encoder(&t->encoder, c, 1, t->st, &logger));
    RET(mgv_build_transformer(&t->transformer, c, 1, t->st, &logger));
    for (int i = 0; i < NB_NETS; i++)
        RET(open_net(t, i));
    t->nb_tokens = c->latent_t * c->latent_h * c->latent_w;
    t->pixels    = (size_t)c->frames * c->height * c->width;
    row          = c->codebook_size;
    t->ids       = need(mgv_calloc(c->length, sizeof(*t->ids)));
    t->cond      = need(mgv_calloc(t->nb_tokens, sizeof(*t->cond)));
    t->codes     = need(mgv_calloc(t->nb_tokens, sizeof(*t->codes)));
    t->want      = need(mgv_calloc(t->nb_tokens, sizeof(*t->want)));
    t->got       = need(mgv_calloc(t->nb_tokens, sizeof(*t->got)));
    t->all       = need(mgv_calloc(c->length, row * sizeof(*t->all)));
    t->logits    = need(mgv_calloc(t->nb_tokens, row * sizeof(*t->logits)));
fail:
    return ret;
}

static void test_close(Test *t)
{
    for (int i = 0; i < NB_NETS; i++) {
        if (t->net[i].transformer)
            cpu->free(&t->net[i].transformer);
        if (t->net[i].encoder)
            cpu->free(&t->net[i].encoder);
        if (t->net[i].dev)
            cpu->close(&t->net[i].dev);
    }
    mgv_plan_free(&t->encoder);
    mgv_plan_free(&t->transformer);
    mgv_config_uninit(&t->c);
    mgv_safetensors_close(&t->st);
    mgv_freep(&t->ids);
    mgv_freep(&t->cond);
    mgv_freep(&t->codes);
    mgv_freep(&t->want);
    mgv_freep(&t->got);
    mgv_freep(&t->all);
    mgv_freep(&t->logits);
}

/* ---- comparing ---- */

static void count_same(Count *n, const int32_t *a, const int32_t *b, int nb)
{
    n->all += nb;
    for (int i = 0; i < nb; i++)
        n->same += a[i] == b[i];
}

static int argmax(const float *x, int n)
{
    int best = 0;

    for (int i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

typedef struct Run {
    Test *t;
    const Net *net;
    int task;
    int judge; ///< 1: the others take the same step
} Run;

/** The likeliest codes of a row by both. The difference of two logits is that of log probabilities. */
static void compare_row(Count *n, const float *want, const float *got, int nb_codes)
{
    const int a = argmax(want, nb_codes), b = argmax(got, nb_codes);

    n->all++;
    n->same += a == b;
    n->loss += want[a] - want[b];
}

static int step(void *opaque, int nb, const int32_t *tokens, const uint8_t *unknown, float *logits)
{
    const Run *run = opaque;
    Test *t = run->t;
    const int row = t->c.codebook_size;
    int ret = run_transformer(t, run->net, run->task, tokens, logits);

    (void)unknown;
    (void)nb;
    for (int i = BF16; i < NB_NETS && run->judge && ret >= 0; i++) {
        if (!t->net[i].dev)
            continue;
        ret = run_transformer(t, &t->net[i], run->task, tokens, t->logits);
        for (int k = 0; k < t->nb_tokens && ret >= 0; k++)
            if (tokens[k] == t->cond[k]) // nothing was drawn there, or what was given
                compare_row(&t->score[i][run->task].step, logits + (size_t)k * row, t->logits + (size_t)k * row, row);
    }
    return ret;
}

static int decode(Test *t, int net, int task, int drawn, int judge, int32_t *out)
{
    const MgvConfig *c = &t->c;
    const MgvSamplerParams sp = {
        .tokens = t->nb_tokens, .codes = c->codebook_size, .steps = c->steps, .schedule = c->schedule, .top_p = 1,
        .choice_temperature = drawn ? c->choice_temperature : 0, .temperature = drawn ? c->temperature : 0,
        .window = (uint32_t)t->windows,
    };
    Run run = { t, &t->net[net], task, judge };

    return mgv_sampler_run(&sp, t->cond, NULL, step, &run, out);
}

static int judge_task(Test *t, int task, const float *clip)
{
    const MgvConfig *c = &t->c;
    const int window[3] = { c->frames, c->height, c->width }, latent[3] = { c->latent_t, c->latent_h, c->latent_w };
    MgvCond *cond;
    int ret;

    need(mgv_cond_alloc(&cond, window, latent) < 0 ? NULL : cond);
    mgv_cond_named(cond, task, 1, clip);
    RET(run_plan(t->encoder, t->net[F32].encoder, "clip", cond->clip, "codes", t->cond));
    for (int i = 0; i < t->nb_tokens; i++)
        if (!cond->cells[i])
            t->cond[i] = -1;
    for (int drawn = 0; drawn <= t->o.drawn; drawn++) {
        RET(decode(t, F32, task, drawn, !drawn, t->want));
        for (int i = BF16; i < NB_NETS; i++) {
            Score *s = &t->score[i][task];

            if (!t->net[i].dev)
                continue;
            RET(decode(t, i, task, drawn, 0, t->got));
            count_same(drawn ? &s->drawn : &s->decoding, t->want, t->got, t->nb_tokens);
        }
    }
fail:
    mgv_cond_free(&cond);
    return ret;
}

static int task_wanted(const Test *t, int task)
{
    char list[128], name[8];

    snprintf(list, sizeof(list), ",%s,", t->o.tasks);
    snprintf(name, sizeof(name), ",%s,", task_names[task]);
    return strstr(list, name) != NULL;
}

static int judge_window(Test *t, const float *clip)
{
    int ret;

    RET(run_plan(t->encoder, t->net[F32].encoder, "clip", clip, "codes", t->want));
    for (int i = BF16; i < NB_NETS; i++) {
        if (!t->net[i].dev)
            continue;
        RET(run_plan(t->encoder, t->net[i].encoder, "clip", clip, "codes", t->codes));
        for (int task = 0; task < MGV_NAMED_NB; task++)
            count_same(&t->score[i][task].codes, t->want, t->codes, t->nb_tokens);
    }
    for (int task = 0; task < MGV_NAMED_NB; task++)
        if (task_wanted(t, task))
            RET(judge_task(t, task, clip));
    t->windows++;
fail:
    return ret;
}

/* ---- clips ---- */

typedef struct Reader {
    Y4m video;
    Y4mFrame frame;
    MgvPicture *picture;
    MgvImage *image;
    float *rgb, *clip;
} Reader;

static int read_window(Reader *r, const MgvConfig *c)
{
    const int w = r->video.width, h = r->video.height;
    const size_t frame = (size_t)c->width * c->height * 3;
    int ret = 1;

    for (int i = 0; i < c->frames && ret == 1; i++) {
        if ((ret = y4m_read(&r->video, &r->frame)) != 1)
            break;
        mgv_picture_put(r->picture, &r->frame.f, 0, 0, w, h);
        r->picture->color = r->frame.f.color;
        RET(mgv_image_load(r->image, r->picture, (MgvRect){ 0, 0, w, h }, r->rgb));
        RET(mgv_image_resize(r->image, r->clip + i * frame, c->width, c->height, r->rgb, w, h, 0, 0, w, h));
        ret = 1;
    }
fail:
    return ret;
}

static int judge_clip(Test *t, const char *path)
{
    Reader r = { .picture = NULL };
    int ret;

    RET(y4m_open(&r.video, path));
    RET(y4m_frame_alloc(&r.frame, &r.video));
    RET(mgv_picture_alloc(&r.picture, &r.video.format, r.video.width, r.video.height, 0));
    RET(mgv_image_alloc(&r.image, &logger, NULL));
    r.rgb  = need(mgv_calloc((size_t)r.video.width * r.video.height * 3, sizeof(*r.rgb)));
    r.clip = need(mgv_calloc(t->pixels * 3, sizeof(*r.clip)));
    for (int i = 0; i < t->o.windows && (ret = read_window(&r, &t->c)) == 1; i++)
        RET(judge_window(t, r.clip));
fail:
    mgv_freep(&r.clip);
    mgv_freep(&r.rgb);
    mgv_image_free(&r.image);
    mgv_picture_free(&r.picture);
    y4m_frame_free(&r.frame);
    if (r.video.file)
        y4m_close(&r.video);
    return ret;
}

/* ---- command line ---- */

static void add(Count *sum, const Count *n)
{
    sum->same += n->same;
    sum->all  += n->all;
    sum->loss += n->loss;
}

static double percent(const Count *n)
{
    return n->all ? 100.0 * n->same / n->all : 0;
}

static void print_row(const char *net, const char *task, const Score *s, int drawn)
{
    const int64_t differ = s->step.all - s->step.same;

    printf("| %s | %s | %.1f | %.1f | %.3f | %.1f |", net, task, percent(&s->codes), percent(&s->step),
           differ ? s->step.loss / differ : 0, percent(&s->decoding));
    if (drawn)
        printf(" %.1f |", percent(&s->drawn));
    printf("\n");
}

/** @return the number of figures below their limit */
static int report(const Test *t)
{
    int below = 0, nb = 0;

    printf("%s, %d windows, same as f32 in percent:\n\n", t->c.name, t->windows);
    printf("| precision | task | codes | step | loss | decoding |%s\n", t->o.drawn ? " drawn |" : "");
    printf("|---|---|---|---|---|---|%s\n", t->o.drawn ? "---|" : "");
    for (int i = BF16; i < NB_NETS; i++) {
        Score sum = { { 0 } };

        if (!t->net[i].dev)
            continue;
        nb++;
        for (int task = 0; task < MGV_NAMED_NB; task++) {
            const Score *s = &t->score[i][task];

            if (!task_wanted(t, task))
                continue;
            print_row(net_names[i], task_names[task], s, t->o.drawn);
            add(&sum.codes, &s->codes);
            add(&sum.step, &s->step);
            add(&sum.decoding, &s->decoding);
            add(&sum.drawn, &s->drawn);
        }
        print_row(net_names[i], "all", &sum, t->o.drawn);
        below += percent(&sum.step) < t->o.min_step;
        below += percent(&sum.decoding) < t->o.min_decoding;
    }
    if (!nb) {
        printf("this processor multiplies neither bf16 nor int8\n");
        return -1;
    }
    if (below)
        printf("\n%d figures are below %g (step) or %g (decoding)\n", below, t->o.min_step, t->o.min_decoding);
    return below;
}

static int usage(void)
{
    fprintf(stderr, "usage: agreement [--model=FILE] [--tasks=FI,IPC] [--windows=N] [--threads=N] [--drawn]"
                    " [--min-step=PERCENT] [--min-decoding=PERCENT] CLIP.y4m...\n");
    return 2;
}

static int parse(Options *o, int argc, char **argv)
{
    int i;

    *o = (Options){ .model = MAGVIT_SOURCE_PATH "/models/magvit-small.safetensors", .tasks = "FI,IPC", .windows = 1 };
    for (i = 1; i < argc && !strncmp(argv[i], "--", 2); i++) {
        const char *value = strchr(argv[i], '=');

        if (!strcmp(argv[i], "--drawn"))
            o->drawn = 1;
        else if (!value++)
            return -1;
        else if (!strncmp(argv[i], "--model=", 8))
            o->model = value;
        else if (!strncmp(argv[i], "--tasks=", 8))
            o->tasks = value;
        else if (!strncmp(argv[i], "--windows=", 10))
            o->windows = atoi(value);
        else if (!strncmp(argv[i], "--threads=", 10))
            o->threads = atoi(value);
        else if (!strncmp(argv[i], "--min-step=", 11))
            o->min_step = atof(value);
        else if (!strncmp(argv[i], "--min-decoding=", 15))
            o->min_decoding = atof(value);
        else
            return -1;
    }
    return i < argc ? i : -1;
}

int main(int argc, char **argv)
{
    Test t = { .windows = 0 };
    int i = parse(&t.o, argc, argv), ret = 0, below = 0;

    if (i < 0)
        return usage();
    ret = test_open(&t);
    for (; i < argc && ret >= 0; i++)
        ret = judge_clip(&t, argv[i]);
    if (ret >= 0 && !t.windows) {
        fprintf(stderr, "agreement: no clip has %d frames\n", t.c.frames);
        ret = MAGVIT_ERR(EINVAL);
    }
    if (ret >= 0)
        below = report(&t);
    else
        fprintf(stderr, "agreement: failed: %s\n", magvit_strerror(ret));
    test_close(&t);
    return ret < 0 || below > 0 ? 1 : below < 0 ? EXIT_SKIP : 0;
}

#else

int main(void)
{
    printf("only the cpu backend has precisions\n");
    return EXIT_SKIP;
}

#endif
