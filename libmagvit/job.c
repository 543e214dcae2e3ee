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
 * A window's way through the model, and the sessions whose jobs windows are.
 * Where the backend has a decoding loop, several go from clip to clip in one
 * run, and one run may begin while another is on its way. Else one goes at a
 * time, sampled for on the host, and sessions of other threads wait.
 */

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "libmagvit/context.h"
#include "libmagvit/video.h"

/** Decoding parameters of a session. */
typedef struct Model {
    MagvitContext *ctx;
    MgvSamplerParams sampler;
    enum MagvitTask task;
    double guidance;
    int class_id;
    int known_pixels;      ///< 0: the decoder is not shown them
    int fast;              ///< tokens that are decided are not computed again
    enum MagvitFallback fallback;
} Model;

/** What MgvSynth.opaque is. */
typedef struct Maker {
    Model model;
    MgvLoop *loop;         ///< NULL: the host samples
    int next, nb;          ///< list that is filled next, lists on their way
    MgvLoopSample *samples[MGV_STARTED]; ///< [batch]
    int32_t *cond;         ///< [batch][tokens]
    float *known[MGV_STARTED]; ///< [batch][T,H,W,4] decoder input, NULL if it has none
    float *fill;           ///< scratch for it
    float *gate;           ///< [batch][T,H,W], NULL if it has none
} Maker;

/* ---- a window: the jobs of a session -------------------------------------- */

/** A job on its way through the decoding loop. */
typedef struct Run {
    const Model *model;
    MgvJob *job;
    float *uncond; ///< [tokens,codes] logits without condition; guidance only
    uint8_t *active; ///< [tokens] 1: to be computed in the next step; fast only
} Run;

static enum MgvPrompt task_prompt(const Model *m, const MgvJob *job)
{
    switch (m->task) {
    case MAGVIT_TASK_INTERP:   return MGV_PROMPT_INTERP;
    case MAGVIT_TASK_PREDICT:  return MGV_PROMPT_PREDICT;
    case MAGVIT_TASK_INPAINT:  return MGV_PROMPT_INPAINT;
    case MAGVIT_TASK_OUTPAINT: return MGV_PROMPT_OUTPAINT;
    default:                   return job->clip ? MGV_PROMPT_PREDICT : MGV_PROMPT_CLASS;
    }
}

static void set_prefix(MagvitContext *ctx, enum MgvPrompt prompt, int class_id)
{
    const MgvConfig *c = &ctx->config;

    if (c->multi_task)
        ctx->ids[0] = mgv_token_prompt(c, prompt);
    ctx->ids[mgv_prefix_length(c) - 1] = mgv_token_class(c, class_id);
}

/** Logits of the n rows that ctx->rows lists go to their tokens. */
static void take_logits(const MagvitContext *ctx, int n, float *logits)
{
    const MgvConfig *c = &ctx->config;
    const int prefix = mgv_prefix_length(c);

    for (int k = 0; k < n; k++)
        if (ctx->rows[k] >= prefix)
            memcpy(logits + (size_t)(ctx->rows[k] - prefix) * c->codebook_size, ctx->logits + (size_t)k * c->codebook_size,
                   c->codebook_size * sizeof(*logits));
}

/** Run the transformer on ctx->ids, whose visual part is set, and take the logits of the unknown tokens. */
static int run_transformer(MagvitContext *ctx, enum MgvPrompt prompt, int class_id, const uint8_t *unknown, float *logits)
{
    const MgvConfig *c = &ctx->config;
    const int prefix = mgv_prefix_length(c);
    int n = 0, ret;

    for (int i = 0; i < c->length; i++)
        if (!ctx->backend->want || (i >= prefix && unknown[i - prefix]))
            ctx->rows[n++] = i;
    if (ctx->backend->want)
        RET(ctx->backend->want(ctx->exec[MGV_TRANSFORMER], ctx->rows, n));
    set_prefix(ctx, prompt, class_id);
    RET(mgv_context_run(ctx, MGV_TRANSFORMER, "ids", ctx->ids, c->length * sizeof(*ctx->ids), "logits", ctx->logits,
                        (size_t)n * c->codebook_size * sizeof(*ctx->logits)));
    take_logits(ctx, n, logits);
    return 0;

fail:
    return ret;
}

/**
 * The same for the prefix and the active tokens alone: those whose id or whose logits are new since the step before.
 * What the others give to their attention is what they gave when they were active last.
 */
static int run_active(Run *run, const int32_t *tokens, const uint8_t *unknown, float *logits)
{
    MagvitContext *ctx = run->model->ctx;
    const MgvConfig *c = &ctx->config;
    const int prefix = mgv_prefix_length(c), nb_tokens = mgv_nb_tokens(c), mask = mgv_token_mask(c);
    int n = 0, ret;

    for (; n < prefix; n++)
        ctx->rows[n] = n;
    for (int i = 0; i < nb_tokens; i++)
        if (run->active[i]) {
            ctx->rows[n]  = prefix + i;
            ctx->ids[n++] = tokens[i] < 0 ? mask : tokens[i];
        }
    set_prefix(ctx, task_prompt(run->model, run->job), run->model->class_id);
    RET(ctx->backend->select(ctx->exec[MGV_TRANSFORMER], ctx->rows, n));
    RET(mgv_context_run(ctx, MGV_TRANSFORMER, "ids", ctx->ids, n * sizeof(*ctx->ids), "logits", ctx->logits,
                        (size_t)n * c->codebook_size * sizeof(*ctx->logits)));
    take_logits(ctx, n, logits);
    memcpy(run->active, unknown, nb_tokens);
    return 0;

fail:
    return ret;
}

/** Another step is done: say so now and then while a window takes long. */
static void tell_progress(const MagvitContext *ctx, MgvProgress *p)
{
    int done = atomic_fetch_add(&p->done, 1) + 1;

    if (mgv_progress_due(p, mgv_time()))
        mgv_verbose(&ctx->log, "%d of %d steps of the window, %.0f s", done, atomic_load(&p->total), p->told - p->start);
}

/** Run the transformer on all tokens for the unknown ones, and again without condition if there is guidance. */
static int run_all(Run *run, const int32_t *tokens, const uint8_t *unknown, float *logits)
{
    MagvitContext *ctx = run->model->ctx;
    const MgvConfig *c = &ctx->config;
    int n = mgv_nb_tokens(c), mask = mgv_token_mask(c), ret;
    int32_t *ids = ctx->ids + mgv_prefix_length(c);
    float scale = (float)run->model->guidance;

    for (int i = 0; i < n; i++)
        ids[i] = tokens[i] < 0 ? mask : tokens[i];
    RET(run_transformer(ctx, task_prompt(run->model, run->job), run->model->class_id, unknown, logits));
    if (run->uncond) {
        /* a token that still equals its condition counts as undecided */
        for (int i = 0; i < n; i++)
            ids[i] = tokens[i] < 0 || tokens[i] == ctx->cond[i] ? mask : tokens[i];
        RET(run_transformer(ctx, MGV_PROMPT_CLASS, -1, unknown, run->uncond));
        for (size_t i = 0; i < (size_t)n * c->codebook_size; i++)
            if (unknown[i / c->codebook_size])
                logits[i] += scale * (logits[i] - run->uncond[i]);
    }
    return 0;

fail:
    return ret;
}

static int step_logits(void *opaque, int step, const int32_t *tokens, const uint8_t *unknown, float *logits)
{
    Run *run = opaque;
    MagvitContext *ctx = run->model->ctx;
    int ret;

    if (atomic_load(&run->job->progress->cancel))
        return MAGVIT_ERR(ECANCELED);
    RET(run->active ? run_active(run, tokens, unknown, logits) : run_all(run, tokens, unknown, logits));
    tell_progress(ctx, run->job->progress);
    mgv_debug(&ctx->log, "step %d of %d", step + 1, run->model->sampler.steps);
    return 0;

fail:
    return ret;
}

static int encode_condition(MagvitContext *ctx, const MgvJob *job)
{
    int n = mgv_nb_tokens(&ctx->config), ret;

    if (job->clip)
        RET(mgv_context_encode(ctx, job->clip, ctx->cond));
    for (int i = 0; i < n; i++)
        if (!job->clip || !job->latent[i])
            ctx->cond[i] = -1;
    return 0;

fail:
    return ret;
}

/** Of the line about values that are not finite. */
static enum MagvitLogLevel error_level(const Model *m)
{
    return m->fallback == MAGVIT_FALLBACK_ERROR ? MAGVIT_LOG_ERROR : MAGVIT_LOG_VERBOSE;
}

static int is_fast(const Model *m)
{
    return m->fast && m->ctx->backend->select && m->guidance == 0;
}

static int run_job_locked(const Model *m, MgvJob *job)
{
    MagvitContext *ctx = m->ctx;
    const MgvConfig *c = &ctx->config;
    Run run = { m, job, NULL, NULL };
    MgvSamplerParams sp = m->sampler;
    double start = mgv_time(), encoded, sampled;
    int ret;

    if (m->guidance > 0 && !(run.uncond = mgv_calloc(mgv_nb_tokens(c), c->codebook_size * sizeof(*run.uncond))))
        return MAGVIT_ERR(ENOMEM);
    if (is_fast(m)) {
        if (!(run.active = mgv_alloc(mgv_nb_tokens(c))))
            return MAGVIT_ERR(ENOMEM);
        memset(run.active, 1, mgv_nb_tokens(c));
    }
    sp.window = job->word;
    RET(encode_condition(ctx, job));
    encoded = mgv_time();
    RET(mgv_sampler_run(&sp, ctx->cond, &ctx->team, step_logits, &run, ctx->codes));
    sampled = mgv_time();
    RET(mgv_context_decode(ctx, ctx->codes, m->known_pixels ? job->clip : NULL, job->known, job->out,
                           error_level(m)));
    mgv_debug(&ctx->log, "job %u: encode %.3f s, %d steps %.3f s, decode %.3f s", (unsigned)job->word,
              encoded - start, sp.steps, sampled - encoded, mgv_time() - sampled);

fail:
    if (run.active)
        ctx->backend->select(ctx->exec[MGV_TRANSFORMER], NULL, 0);
    else if (ctx->backend->want)
        ctx->backend->want(ctx->exec[MGV_TRANSFORMER], NULL, 0);
    mgv_freep(&run.active);
    mgv_freep(&run.uncond);
    return ret;
}

static int run_job(void *opaque, MgvJob *job)
{
    const Model *m = &((Maker *)opaque)->model;
    int ret;

    if (atomic_load(&job->progress->cancel))
        return MAGVIT_ERR(ECANCELED);
    pthread_mutex_lock(&m->ctx->lock);
    ret = run_job_locked(m, job);
    pthread_mutex_unlock(&m->ctx->lock);
    return ret;
}

/* ---- jobs on a backend with a decoding loop -------------------------------- */

static void put_prefix(const Model *m, const MgvJob *job, MgvLoopSample *s)
{
    const MgvConfig *c = &m->ctx->config;
    const int prefix = mgv_prefix_length(c);

    if (c->multi_task) {
        s->prefix[0]  = mgv_token_prompt(c, task_prompt(m, job));
        s->without[0] = mgv_token_prompt(c, MGV_PROMPT_CLASS);
    }
    s->prefix[prefix - 1]  = mgv_token_class(c, m->class_id);
    s->without[prefix - 1] = mgv_token_class(c, -1);
}

/** Sample i of a list from its job. */
static void put_job(Maker *k, const MgvJob *job, int list, int i)
{
    const Model *m = &k->model;
    const MgvConfig *c = &m->ctx->config;
    const int n = mgv_nb_tokens(c);
    MgvLoopSample *s = &k->samples[list][i];
    int32_t *cond = k->cond + (size_t)i * n;

    for (int t = 0; t < n; t++)
        cond[t] = job->clip && job->latent[t] ? MGV_COND_ENCODED : -1;
    *s = (MgvLoopSample){ .clip = job->clip, .cond = cond, .window = job->word, .out = job->out };
    put_prefix(m, job, s);
    if (k->known[list]) {
        float *known = k->known[list] + (size_t)i * mgv_nb_pixels(c) * 4;

        mgv_known_input(c, m->known_pixels ? job->clip : NULL, job->known, known, k->fill);
        s->known = known;
        if (k->gate && m->known_pixels && job->clip)
            s->gate = k->gate + (size_t)i * mgv_nb_pixels(c);
    }
}

static int start_jobs(void *opaque, MgvJob *const *jobs, int nb)
{
    Maker *k = opaque;
    const Model *m = &k->model;
    MagvitContext *ctx = m->ctx;
    int masked[MGV_LOOP_STEPS], ret;
    double noise[MGV_LOOP_STEPS];
    MgvLoopParams p = {
        .masked = masked, .noise = noise, .temperature = m->sampler.temperature, .top_k = m->sampler.top_k,
        .top_p = m->sampler.top_p, .guidance = m->guidance, .seed = m->sampler.seed,
    };

    if (atomic_load(&jobs[0]->progress->cancel))
        return MAGVIT_ERR(ECANCELED);
    p.passes = mgv_sampler_passes(&m->sampler, masked, noise);
    for (int i = 0; i < nb; i++)
        put_job(k, jobs[i], k->next, i);
    pthread_mutex_lock(&ctx->lock);
    ret = ctx->backend->loop_start(k->loop, &p, k->samples[k->next], nb);
    pthread_mutex_unlock(&ctx->lock);
    RET(ret);
    k->next = (k->next + 1) % MGV_STARTED;
    k->nb++;
fail:
    return ret;
}

/** Jobs whose steps are counted: those of the window that is waited for. */
typedef struct Steps {
    const MagvitContext *ctx;
    MgvProgress *progress;
    int nb;
} Steps;

static int count_step(void *opaque)
{
    Steps *s = opaque;

    for (int i = 0; i < s->nb; i++)
        tell_progress(s->ctx, s->progress);
    return atomic_load(&s->progress->cancel) ? MAGVIT_ERR(ECANCELED) : 0;
}

static int finish_job(const Maker *k, MgvJob *job, const MgvLoopSample *s)
{
    const MagvitContext *ctx = k->model.ctx;

    if (!s->failed)
        return mgv_context_finish(ctx, s->known, s->gate, job->out, error_level(&k->model));
    MGV_LOG(&ctx->log, error_level(&k->model), "transformer gave a value that is not finite");
    return MAGVIT_ERROR_DEVICE;
}

static int finish_jobs(void *opaque, MgvJob *const *jobs, int nb)
{
    Maker *k = opaque;
    const MagvitContext *ctx = k->model.ctx;
    const int list = (k->next + MGV_STARTED - k->nb) % MGV_STARTED;
    Steps steps = { ctx, jobs ? jobs[0]->progress : NULL, 0 };
    int ret;

    k->nb--;
    if (!jobs)
        return ctx->backend->loop_finish(k->loop, NULL, 0, NULL, NULL);
    for (int i = 0; i < nb; i++) {
        mgv_assert(k->samples[list][i].out == jobs[i]->out);
        steps.nb += jobs[i]->owner == steps.progress->owner;
    }
    RET(ctx->backend->loop_finish(k->loop, k->samples[list], nb, count_step, &steps));
    for (int i = 0; i < nb; i++)
        jobs[i]->ret = finish_job(k, jobs[i], &k->samples[list][i]);
fail:
    return ret;
}

static void free_maker(void *opaque)
{
    Maker *k = opaque;

    if (!k)
        return;
    if (k->loop)
        k->model.ctx->backend->loop_close(&k->loop);
    for (int i = 0; i < MGV_STARTED; i++) {
        mgv_freep(&k->samples[i]);
        mgv_freep(&k->known[i]);
    }
    mgv_freep(&k->cond);
    mgv_freep(&k->fill);
    mgv_freep(&k->gate);
    mgv_freep(&k);
}

static int alloc_lists(Maker *k)
{
    const MgvConfig *c = &k->model.ctx->config;
    const size_t n = (size_t)k->model.ctx->batch, pixels = mgv_nb_pixels(c);
    const int gated = c->known_pixels == MGV_KNOWN_GATED;
    int missing = !(k->cond = mgv_calloc(n * mgv_nb_tokens(c), sizeof(*k->cond)));

    for (int i = 0; i < MGV_STARTED; i++) {
        missing |= !(k->samples[i] = mgv_calloc(n, sizeof(*k->samples[i])));
        if (c->known_pixels)
            missing |= !(k->known[i] = mgv_calloc(n * pixels, 4 * sizeof(*k->known[i])));
    }
    if (c->known_pixels)
        missing |= !(k->fill = mgv_calloc(mgv_fill_scratch(c->width, c->height), sizeof(*k->fill)));
    if (gated)
        missing |= !(k->gate = mgv_calloc(n * pixels, sizeof(*k->gate)));
    return missing ? MAGVIT_ERR(ENOMEM) : 0;
}

/** Bytes of such lists and of a loop, which holds clips twice. */
static int64_t loop_bytes(const MagvitContext *ctx)
{
    const MgvConfig *c = &ctx->config;
    const int64_t pixels = (int64_t)ctx->batch * mgv_nb_pixels(c) * sizeof(float);
    const int gated = c->known_pixels == MGV_KNOWN_GATED;

    return pixels * (MGV_STARTED * (3 + 3 + (c->known_pixels ? 4 + 4 : 0) + gated) + gated) +
           (int64_t)ctx->batch * mgv_nb_tokens(c) * 64;
}

static int open_loop(Maker *k)
{
    MagvitContext *ctx = k->model.ctx;
    const MgvConfig *c = &ctx->config;
    const MgvLoopShape s = {
        .encoder     = ctx->exec[MGV_ENCODER],
        .transformer = ctx->exec[MGV_TRANSFORMER],
        .decoder     = ctx->exec[MGV_DECODER],
        .samples     = ctx->batch,
        .prefix      = mgv_prefix_length(c),
        .tokens      = mgv_nb_tokens(c),
        .codes       = c->codebook_size,
        .mask        = mgv_token_mask(c),
    };
    int ret;

    RET(alloc_lists(k));
    pthread_mutex_lock(&ctx->lock);
    ret = ctx->backend->loop_open(&k->loop, ctx->device, &s);
    pthread_mutex_unlock(&ctx->lock);
fail:
    return ret;
}

/* ---- opening a session ---------------------------------------------------- */

static int bad_number(const MagvitContext *ctx, const char *field, double value, const char *range)
{
    mgv_err(&ctx->log, "%s is %g, must be %s", field, value, range);
    return MAGVIT_ERR(EINVAL);
}

static int check_decoding(const MagvitContext *ctx, const MagvitParams *p)
{
    const MgvConfig *c = &ctx->config;
    char range[64];

    if (p->steps < 0 || p->steps > 256)
        return bad_number(ctx, "steps", p->steps, "in [0,256]");
    if (!isfinite(p->choice_temperature))
        return bad_number(ctx, "choice_temperature", p->choice_temperature, "a finite number");
    if (!isfinite(p->temperature))
        return bad_number(ctx, "temperature", p->temperature, "a finite number");
    if (p->top_k < 0)
        return bad_number(ctx, "top_k", p->top_k, "0 or more");
    if (!(p->top_p > 0 && p->top_p <= 1))
        return bad_number(ctx, "top_p", p->top_p, "in (0,1]");
    if (p->top_k && p->top_p < 1)
        return bad_number(ctx, "top_p", p->top_p, "1 together with top_k");
    if (!(p->guidance >= 0) || !isfinite(p->guidance))
        return bad_number(ctx, "guidance", p->guidance, "0 or more");
    if (p->fast != 0 && p->fast != 1)
        return bad_number(ctx, "fast", p->fast, "0 or 1");
    if (p->known_pixels != 0 && p->known_pixels != 1)
        return bad_number(ctx, "known_pixels", p->known_pixels, "0 or 1");
    snprintf(range, sizeof(range), "in [-1,%d]", c->num_classes - 1);
    if (p->class_id < -1 || p->class_id >= c->num_classes)
        return bad_number(ctx, "class_id", p->class_id, range);
    return 0;
}

static int set_decoding(Model *m, MagvitContext *ctx, const MagvitParams *p)
{
    const MgvConfig *c = &ctx->config;
    MgvMaskSchedule schedule = c->schedule;

    if (p->schedule && mgv_schedule_parse(&schedule, p->schedule) < 0) {
        mgv_err(&ctx->log, "schedule is '%s', must be cosine, uniform, exp, log, powE or poly:c,..", p->schedule);
        return MAGVIT_ERR(EINVAL);
    }
    *m = (Model){
        .ctx      = ctx,
        .task     = p->task,
        .guidance = p->guidance,
        .class_id = p->task == MAGVIT_TASK_GENERATE || p->task == MAGVIT_TASK_PREDICT ? p->class_id : -1,
        .known_pixels = p->known_pixels,
        .fast     = p->fast,
        .fallback = p->fallback,
        .sampler  = {
            .tokens             = mgv_nb_tokens(c),
            .codes              = c->codebook_size,
            .steps              = p->steps ? p->steps : c->steps,
            .schedule           = schedule,
            .choice_temperature = p->choice_temperature < 0 ? c->choice_temperature : p->choice_temperature,
            .temperature        = p->temperature < 0 ? c->temperature : p->temperature,
            .top_k              = p->top_k,
            .top_p              = p->top_p,
            .seed               = p->seed,
        },
    };
    return 0;
}

static int check_task(const MagvitContext *ctx, enum MagvitTask task)
{
    static const char *const names[] = { "interp", "predict", "inpaint", "outpaint", "generate" };

    if ((unsigned)task < MAGVIT_TASK_NB && !(mgv_context_tasks(&ctx->config) >> task & 1)) {
        mgv_err(&ctx->log, "model %s does not know the task %s", ctx->config.name, names[task]);
        return MAGVIT_ERR(ENOTSUP);
    }
    return 0;
}

static int set_model(void *opaque, const MagvitParams *p, int *steps)
{
    Model *m = &((Maker *)opaque)->model, new;
    MagvitParams q = *p;
    int ret;

    q.task     = m->task; // what the session was opened with stays
    q.fallback = m->fallback;
    q.fast     = m->fast;
    RET(check_decoding(m->ctx, &q));
    RET(set_decoding(&new, m->ctx, &q));
    *m     = new;
    *steps = m->sampler.steps;
    return 0;

fail:
    return ret;
}

/** Check a task against the model and describe the model to the video side. */
static int init_synth(MgvSynth *synth, const MagvitContext *ctx, const MagvitParams *p)
{
    const MgvConfig *c = &ctx->config;
    int ret;

    RET(mgv_context_computes(ctx));
    *synth = (MgvSynth){
        .run    = run_job,
        .set    = set_model,
        .free   = free_maker,
        .window = { c->frames, c->height, c->width },
        .latent = { c->latent_t, c->latent_h, c->latent_w },
        .memory = mgv_context_bytes(ctx),
        .log    = &ctx->log,
        .team   = ctx->team,
    };
    if (ctx->backend->loop_open) {
        synth->start   = start_jobs;
        synth->finish  = finish_jobs;
        synth->batch   = ctx->batch;
        synth->memory += loop_bytes(ctx);
    } else if (p->guidance > 0)
        synth->memory += (int64_t)mgv_nb_tokens(c) * c->codebook_size * sizeof(float);
    if (p->fast && ctx->backend->select) // keys and values
        synth->memory += (int64_t)2 * c->layers * c->length * c->hidden * sizeof(float);
    RET(check_task(ctx, p->task));
    RET(check_decoding(ctx, p));
    return 0;

fail:
    return ret;
}

int magvit_session_memory(const MagvitContext *ctx, const MagvitParams *p, MagvitMemory *out)
{
    MgvSynth synth;
    int ret;

    RET(init_synth(&synth, ctx, p));
    return mgv_session_memory(out, &synth, p);

fail:
    return ret;
}

int magvit_session_open(MagvitSession **out, MagvitContext *ctx, const MagvitParams *p)
{
    MgvSynth synth;
    Maker *k = NULL;
    int ret;

    *out = NULL;
    RET(init_synth(&synth, ctx, p));
    if (!(k = mgv_calloc(1, sizeof(*k))))
        RET(MAGVIT_ERR(ENOMEM));
    RET(set_decoding(&k->model, ctx, p));
    if (p->fast && !is_fast(&k->model))
        mgv_warn(&ctx->log, "fast is without effect %s", p->guidance > 0 ? "with guidance" : "on this backend");
    if (ctx->backend->loop_open)
        RET(open_loop(k));
    synth.opaque = k;
    synth.steps  = k->model.sampler.steps;
    return mgv_session_open(out, &synth, p);

fail:
    free_maker(k);
    return ret;
}
