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
 * Contexts: open a model, choose a backend, compile the three plans;
 * and a window's way through them. One window runs at a time; sessions of other
 * threads wait. The only file that sees both the model and the video side.
 */

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

#include "libmagvit/backend.h"
#include "libmagvit/model.h"
#include "libmagvit/video.h"

enum { ENCODER, TRANSFORMER, DECODER, NB_PLANS };

struct MagvitContext {
    MagvitLogger log;
    char *path;
    char sha256[65];
    MgvSafetensors *st;
    MgvConfig config;
    MgvPlan *plan[NB_PLANS];

    const MgvBackend *backend;
    MgvDevice *device;
    MgvExec *exec[NB_PLANS];

    pthread_mutex_t lock; ///< guards exec and the buffers
    int32_t *ids;         ///< [length]
    float *logits;        ///< [length,codes]
    int32_t *codes, *cond; ///< [tokens]
    float *known;         ///< [T,H,W,4] decoder input, NULL if it has none
    float *fill;          ///< scratch for it
    float *gate;          ///< [T,H,W] decoder output, NULL if it has none
};

/** Decoding parameters of a session: what MgvSynth.opaque is. */
typedef struct Model {
    MagvitContext *ctx;
    MgvSamplerParams sampler;
    enum MagvitTask task;
    double guidance;
    int class_id;
    int known_pixels;      ///< 0: the decoder is not shown them
    enum MagvitFallback fallback;
} Model;

const char *magvit_version(void)
{
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
    return TEXT(MAGVIT_VERSION_MAJOR) "." TEXT(MAGVIT_VERSION_MINOR) "." TEXT(MAGVIT_VERSION_MICRO);
}

unsigned magvit_version_api(void)
{
    return MAGVIT_VERSION_INT;
}

void magvit_default_settings(MagvitSettings *s)
{
    *s = (MagvitSettings){ .log = { mgv_log_stderr, NULL, MAGVIT_LOG_WARNING } };
}

/* ---- opening -------------------------------------------------------------- */

static int build_plans(MagvitContext *ctx)
{
    const MgvConfig *c = &ctx->config;
    int ret;

    RET(mgv_build_encoder(&ctx->plan[ENCODER], c, 1, ctx->st, &ctx->log));
    RET(mgv_build_transformer(&ctx->plan[TRANSFORMER], c, 1, ctx->st, &ctx->log));
    RET(mgv_build_decoder(&ctx->plan[DECODER], c, 1, ctx->st, &ctx->log));
    return 0;

fail:
    return ret;
}

static void close_backend(MagvitContext *ctx)
{
    for (int i = 0; i < NB_PLANS; i++)
        if (ctx->exec[i])
            ctx->backend->free(&ctx->exec[i]);
    if (ctx->device)
        ctx->backend->close(&ctx->device);
    ctx->backend = NULL;
}

static int try_backend(MagvitContext *ctx, const MgvBackend *b, const MgvDeviceSettings *s)
{
    int ret;

    ctx->backend = b;
    RET(b->open(&ctx->device, s, &ctx->log));
    for (int i = 0; i < NB_PLANS; i++)
        RET(b->compile(&ctx->exec[i], ctx->device, ctx->plan[i]));
    return 0;

fail:
    close_backend(ctx);
    return ret;
}

static int open_backend(MagvitContext *ctx, const MagvitSettings *s)
{
    static const char *const names[] = { "auto", "ref", "cpu", "vulkan" };
    const MgvDeviceSettings device = { s->device, s->threads, s->precision };
    int ret = MAGVIT_ERR(ENOTSUP), tried = 0;

    for (int i = 0; mgv_backends[i]; i++) {
        const MgvBackend *b = mgv_backends[i];

        if (s->backend == MAGVIT_BACKEND_AUTO ? b->type == MAGVIT_BACKEND_VULKAN : b->type != s->backend)
            continue;
        tried = 1;
        if ((ret = try_backend(ctx, b, &device)) >= 0)
            return 0;
        if (s->backend == MAGVIT_BACKEND_AUTO && mgv_backends[i + 1])
            mgv_info(&ctx->log, "backend %s refused the model: %s", b->name, magvit_strerror(ret));
    }
    if (!tried)
        mgv_err(&ctx->log, "backend %s is not built in", names[s->backend]);
    return ret;
}

static int check_settings(MagvitContext *ctx, const MagvitSettings *s)
{
    if ((int)s->backend < MAGVIT_BACKEND_AUTO || s->backend > MAGVIT_BACKEND_VULKAN) {
        mgv_err(&ctx->log, "backend is %d, must be in [0,%d]", (int)s->backend, MAGVIT_BACKEND_VULKAN);
        return MAGVIT_ERR(EINVAL);
    }
    if ((int)s->precision < MAGVIT_PRECISION_AUTO || s->precision > MAGVIT_PRECISION_BF16) {
        mgv_err(&ctx->log, "precision is %d, must be in [0,%d]", (int)s->precision, MAGVIT_PRECISION_BF16);
        return MAGVIT_ERR(EINVAL);
    }
    if (s->max_memory < 0) {
        mgv_err(&ctx->log, "max_memory is %lld, must be 0 or more", (long long)s->max_memory);
        return MAGVIT_ERR(EINVAL);
    }
    if (s->threads < 0 || s->threads > 256) {
        mgv_err(&ctx->log, "threads is %d, must be in [0,256]", s->threads);
        return MAGVIT_ERR(EINVAL);
    }
    return 0;
}

static int nb_tokens(const MgvConfig *c)
{
    return c->latent_t * c->latent_h * c->latent_w;
}

static size_t nb_pixels(const MgvConfig *c)
{
    return (size_t)c->frames * c->height * c->width;
}

static int64_t count_parameters(const MgvSafetensors *st)
{
    const MgvTensor *t;
    int64_t n = 0;

    for (int i = 0; (t = mgv_safetensors_at(st, i)); i++)
        n += t->elements;
    return n;
}

/** Bytes of the file and of the buffers that are not the backend's, with those that a window's sampling takes. */
static int64_t host_bytes(const MagvitContext *ctx)
{
    const MgvConfig *c = &ctx->config;
    size_t size;

    mgv_safetensors_bytes(ctx->st, &size);
    return (int64_t)size + ((int64_t)c->length + nb_tokens(c)) * c->codebook_size * sizeof(float) +
           (int64_t)nb_pixels(c) * sizeof(float) * ((c->known_pixels ? 4 : 0) + (c->known_pixels == MGV_KNOWN_GATED)) +
           (c->known_pixels ? (int64_t)mgv_fill_scratch(c->width, c->height) * sizeof(float) : 0);
}

static int64_t context_bytes(const MagvitContext *ctx)
{
    MagvitInfo info;

    magvit_get_info(ctx, &info);
    return host_bytes(ctx) + (int64_t)info.weight_bytes + (int64_t)info.work_bytes;
}

/** Before anything is prepared: weights become floats, and every plan has its activations. */
static int check_memory(const MagvitContext *ctx, int64_t max)
{
    MagvitMemory m = { .model = host_bytes(ctx) + 4 * count_parameters(ctx->st) };

    for (int i = 0; i < NB_PLANS; i++)
        m.model += (int64_t)ctx->plan[i]->arena_size;
    m.total = m.model;
    return mgv_memory_check(&m, max, &ctx->log);
}

static int alloc_buffers(MagvitContext *ctx)
{
    const MgvConfig *c = &ctx->config;

    ctx->ids    = mgv_calloc(c->length, sizeof(*ctx->ids));
    ctx->logits = mgv_calloc(c->length, c->codebook_size * sizeof(*ctx->logits));
    ctx->codes  = mgv_calloc(nb_tokens(c), sizeof(*ctx->codes));
    ctx->cond   = mgv_calloc(nb_tokens(c), sizeof(*ctx->cond));
    if (c->known_pixels) {
        ctx->known = mgv_calloc(nb_pixels(c), 4 * sizeof(*ctx->known));
        ctx->fill  = mgv_calloc(mgv_fill_scratch(c->width, c->height), sizeof(*ctx->fill));
        if (!ctx->known || !ctx->fill)
            return MAGVIT_ERR(ENOMEM);
    }
    if (c->known_pixels == MGV_KNOWN_GATED && !(ctx->gate = mgv_calloc(nb_pixels(c), sizeof(*ctx->gate))))
        return MAGVIT_ERR(ENOMEM);
    return ctx->ids && ctx->logits && ctx->codes && ctx->cond ? 0 : MAGVIT_ERR(ENOMEM);
}

int magvit_open(MagvitContext **out, const MagvitSettings *settings)
{
    MagvitSettings s;
    MagvitContext *ctx = *out = mgv_calloc(1, sizeof(*ctx));
    MagvitInfo info;
    const void *bytes;
    size_t size;
    int ret;

    if (!ctx)
        return MAGVIT_ERR(ENOMEM);
    magvit_default_settings(&s);
    if (settings)
        s = *settings;
    ctx->log = s.log;
    pthread_mutex_init(&ctx->lock, NULL);
    RET(check_settings(ctx, &s));
    RET(mgv_find_model(&ctx->path, s.model, &ctx->log));
    RET(mgv_safetensors_open(&ctx->st, ctx->path, &ctx->log));
    RET(mgv_config_parse(&ctx->config, ctx->st, &ctx->log));
    RET(build_plans(ctx));
    RET(check_memory(ctx, s.max_memory));
    RET(open_backend(ctx, &s));
    RET(alloc_buffers(ctx));
    bytes = mgv_safetensors_bytes(ctx->st, &size);
    mgv_sha256(ctx->sha256, bytes, size);

    magvit_get_info(ctx, &info);
    mgv_info(&ctx->log, "model %s (%s), backend %s (%s), weights %.0f MiB, workspace %.0f MiB", info.name, info.path,
             info.backend, info.device, info.weight_bytes / 1048576.0, info.work_bytes / 1048576.0);
    return 0;

fail:
    magvit_close(out);
    return ret;
}

void magvit_close(MagvitContext **out)
{
    MagvitContext *ctx = *out;

    if (!ctx)
        return;
    close_backend(ctx);
    for (int i = 0; i < NB_PLANS; i++)
        mgv_plan_free(&ctx->plan[i]);
    mgv_config_uninit(&ctx->config);
    mgv_safetensors_close(&ctx->st);
    mgv_freep(&ctx->path);
    mgv_freep(&ctx->ids);
    mgv_freep(&ctx->logits);
    mgv_freep(&ctx->codes);
    mgv_freep(&ctx->cond);
    mgv_freep(&ctx->known);
    mgv_freep(&ctx->fill);
    mgv_freep(&ctx->gate);
    pthread_mutex_destroy(&ctx->lock);
    mgv_freep(out);
}

int magvit_get_device(enum MagvitBackend backend, int index, MagvitDeviceInfo *out, const MagvitLogger *log)
{
    for (int i = 0; mgv_backends[i]; i++)
        if (mgv_backends[i]->type == backend && mgv_backends[i]->list)
            return mgv_backends[i]->list(index, out, log);
    return MAGVIT_ERR(ENOTSUP);
}

/* ---- what was opened ------------------------------------------------------ */

/** Multi-task models know all; others what their class count tells: classes for generation, none for prediction. */
static unsigned known_tasks(const MgvConfig *c)
{
    const unsigned generate = 1u << MAGVIT_TASK_GENERATE, predict = 1u << MAGVIT_TASK_PREDICT;

    if (!c->multi_task)
        return c->num_classes ? generate : predict;
    return 1u << MAGVIT_TASK_INTERP | 1u << MAGVIT_TASK_INPAINT | 1u << MAGVIT_TASK_OUTPAINT | predict |
           (c->num_classes ? generate : 0);
}

int magvit_get_info(const MagvitContext *ctx, MagvitInfo *out)
{
    const MgvConfig *c = &ctx->config;

    *out = (MagvitInfo){
        .path       = ctx->path,
        .name       = c->name,
        .backend    = ctx->backend->name,
        .device     = ctx->backend->describe(ctx->device),
        .sha256     = ctx->sha256,
        .classes    = c->class_names ? c->class_names : "",
        .nb_classes = c->num_classes,
        .window     = { c->frames, c->height, c->width },
        .latent     = { c->latent_t, c->latent_h, c->latent_w },
        .nb_codes   = c->codebook_size,
        .tasks      = known_tasks(c),
        .steps      = c->steps,
        .parameters = count_parameters(ctx->st),
        .known_pixels = mgv_known_pixels_name(c->known_pixels),
    };
    for (int i = 0; i < NB_PLANS; i++) {
        size_t weights, work;
        ctx->backend->memory(ctx->exec[i], &weights, &work);
        out->weight_bytes += weights;
        out->work_bytes   += work;
    }
    return 0;
}

void magvit_print_plans(const MagvitContext *ctx)
{
    for (int i = 0; i < NB_PLANS; i++)
        mgv_plan_print(ctx->plan[i], &ctx->log, MAGVIT_LOG_INFO);
}

/* ---- running -------------------------------------------------------------- */

/** One plan from its last input to its output; call with the lock held. */
static int run_plan(MagvitContext *ctx, int which, const char *in, const void *src, size_t src_size, const char *out,
                    void *dst, size_t dst_size)
{
    const MgvBackend *b = ctx->backend;
    MgvExec *exec = ctx->exec[which];
    int ret;

    RET(b->write(exec, mgv_plan_find_input(ctx->plan[which], in), src, src_size));
    RET(b->run(exec));
    RET(b->read(exec, mgv_plan_find_output(ctx->plan[which], out), dst, dst_size));
    return 0;

fail:
    return ret;
}

static int encode(MagvitContext *ctx, const float *clip, int32_t *codes)
{
    return run_plan(ctx, ENCODER, "clip", clip, nb_pixels(&ctx->config) * 3 * sizeof(*clip), "codes", codes,
                    nb_tokens(&ctx->config) * sizeof(*codes));
}

/**
 * given: [T,H,W,3] condition clip, known: [T,H,W] 1 = given; both NULL: the decoder sees no pixel.
 * level: of the line about values that are not finite.
 */
static int decode(MagvitContext *ctx, const int32_t *codes, const float *given, const uint8_t *known, float *clip,
                  enum MagvitLogLevel level)
{
    size_t n = nb_pixels(&ctx->config) * 3;
    int ret;

    if (ctx->known) {
        mgv_known_input(&ctx->config, given, known, ctx->known, ctx->fill);
        RET(ctx->backend->write(ctx->exec[DECODER], mgv_plan_find_input(ctx->plan[DECODER], "known"), ctx->known,
                                nb_pixels(&ctx->config) * 4 * sizeof(*ctx->known)));
    }
    RET(run_plan(ctx, DECODER, "codes", codes, nb_tokens(&ctx->config) * sizeof(*codes), "clip", clip,
                 n * sizeof(*clip)));
    if (ctx->gate && given) {
        RET(ctx->backend->read(ctx->exec[DECODER], mgv_plan_find_output(ctx->plan[DECODER], "gate"), ctx->gate,
                               nb_pixels(&ctx->config) * sizeof(*ctx->gate)));
        mgv_known_show(&ctx->config, ctx->known, ctx->gate, clip);
    }
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(clip[i])) {
            MGV_LOG(&ctx->log, level, "decoder gave a value that is not finite at %zu of %zu", i, n);
            return MAGVIT_ERROR_DEVICE;
        }
        clip[i] = MGV_CLAMP(clip[i], 0, 1);
    }
    return 0;

fail:
    return ret;
}

int magvit_encode(MagvitContext *ctx, const float *clip, int32_t *codes)
{
    int ret;

    pthread_mutex_lock(&ctx->lock);
    ret = encode(ctx, clip, codes);
    pthread_mutex_unlock(&ctx->lock);
    return ret;
}

int magvit_decode(MagvitContext *ctx, const int32_t *codes, float *clip)
{
    int ret;

    for (int i = 0; i < nb_tokens(&ctx->config); i++)
        if (codes[i] < 0 || codes[i] >= ctx->config.codebook_size) {
            mgv_err(&ctx->log, "code %d is %d, must be in [0,%d]", i, (int)codes[i], ctx->config.codebook_size - 1);
            return MAGVIT_ERR(EINVAL);
        }
    pthread_mutex_lock(&ctx->lock);
    ret = decode(ctx, codes, NULL, NULL, clip, MAGVIT_LOG_ERROR);
    pthread_mutex_unlock(&ctx->lock);
    return ret;
}

/** Class names there are, for a message: cut at a comma if they are many. */
static void list_classes(const MgvConfig *c, char *list, size_t size)
{
    static const char more[] = "...";
    const size_t room = size - sizeof(more);
    char *comma;

    if ((size_t)snprintf(list, room, "%s", c->class_names ? c->class_names : "") < room)
        return;
    comma = strrchr(list, ',');
    strcpy(comma ? comma + 1 : list, more);
}

int magvit_find_class(const MagvitContext *ctx, const char *name, int *id)
{
    const MgvConfig *c = &ctx->config;
    const char *at = c->class_names ? c->class_names : "";
    size_t length;
    char list[512], *end;
    long number;

    for (int i = 0; i < c->num_classes && *at; i++, at += length + !!at[length]) {
        length = strcspn(at, ",");
        if (strlen(name) == length && !memcmp(at, name, length)) {
            *id = i;
            return 0;
        }
    }
    number = strtol(name, &end, 10);
    if (end != name && !*end && number >= 0 && number < c->num_classes) {
        *id = (int)number;
        return 0;
    }
    list_classes(c, list, sizeof(list));
    if (c->num_classes)
        mgv_err(&ctx->log, "class is '%.64s', must be one of %s or a number in [0,%d]", name, list, c->num_classes - 1);
    else
        mgv_err(&ctx->log, "class is '%.64s', but model %s has no classes", name, c->name);
    return MAGVIT_ERR(EINVAL);
}

/* ---- a window: the jobs of a session -------------------------------------- */

/** A job on its way through the decoding loop. */
typedef struct Run {
    const Model *model;
    MgvJob *job;
    float *uncond; ///< [tokens,codes] logits without condition; guidance only
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

/** Run the transformer on ctx->ids, whose visual part is set, and take its visual logits. */
static int run_transformer(MagvitContext *ctx, enum MgvPrompt prompt, int class_id, float *logits)
{
    const MgvConfig *c = &ctx->config;
    int prefix = mgv_prefix_length(c), ret;

    if (c->multi_task)
        ctx->ids[0] = mgv_token_prompt(c, prompt);
    ctx->ids[prefix - 1] = mgv_token_class(c, class_id);
    RET(run_plan(ctx, TRANSFORMER, "ids", ctx->ids, c->length * sizeof(*ctx->ids), "logits", ctx->logits,
                 (size_t)c->length * c->codebook_size * sizeof(*ctx->logits)));
    memcpy(logits, ctx->logits + (size_t)prefix * c->codebook_size,
           (size_t)nb_tokens(c) * c->codebook_size * sizeof(*logits));
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

static int step_logits(void *opaque, int step, const int32_t *tokens, float *logits)
{
    Run *run = opaque;
    MagvitContext *ctx = run->model->ctx;
    const MgvConfig *c = &ctx->config;
    int n = nb_tokens(c), mask = mgv_token_mask(c), ret;
    int32_t *ids = ctx->ids + mgv_prefix_length(c);
    float scale = (float)run->model->guidance;

    if (atomic_load(&run->job->progress->cancel))
        return MAGVIT_ERR(ECANCELED);
    for (int i = 0; i < n; i++)
        ids[i] = tokens[i] < 0 ? mask : tokens[i];
    RET(run_transformer(ctx, task_prompt(run->model, run->job), run->model->class_id, logits));
    if (run->uncond) {
        /* a token that still equals its condition counts as undecided */
        for (int i = 0; i < n; i++)
            ids[i] = tokens[i] < 0 || tokens[i] == ctx->cond[i] ? mask : tokens[i];
        RET(run_transformer(ctx, MGV_PROMPT_CLASS, -1, run->uncond));
        for (size_t i = 0; i < (size_t)n * c->codebook_size; i++)
            logits[i] += scale * (logits[i] - run->uncond[i]);
    }
    tell_progress(ctx, run->job->progress);
    mgv_debug(&ctx->log, "step %d of %d", step + 1, run->model->sampler.steps);
    return 0;

fail:
    return ret;
}

static int encode_condition(MagvitContext *ctx, const MgvJob *job)
{
    int n = nb_tokens(&ctx->config), ret;

    if (job->clip)
        RET(encode(ctx, job->clip, ctx->cond));
    for (int i = 0; i < n; i++)
        if (!job->clip || !job->latent[i])
            ctx->cond[i] = -1;
    return 0;

fail:
    return ret;
}

static int run_job_locked(const Model *m, MgvJob *job)
{
    MagvitContext *ctx = m->ctx;
    const MgvConfig *c = &ctx->config;
    Run run = { m, job, NULL };
    MgvSamplerParams sp = m->sampler;
    double start = mgv_time(), encoded, sampled;
    int ret;

    if (m->guidance > 0 && !(run.uncond = mgv_calloc(nb_tokens(c), c->codebook_size * sizeof(*run.uncond))))
        return MAGVIT_ERR(ENOMEM);
    sp.window = job->word;
    RET(encode_condition(ctx, job));
    encoded = mgv_time();
    RET(mgv_sampler_run(&sp, ctx->cond, step_logits, &run, ctx->codes));
    sampled = mgv_time();
    RET(decode(ctx, ctx->codes, m->known_pixels ? job->clip : NULL, job->known, job->out,
               m->fallback == MAGVIT_FALLBACK_ERROR ? MAGVIT_LOG_ERROR : MAGVIT_LOG_VERBOSE));
    mgv_debug(&ctx->log, "job %u: encode %.3f s, %d steps %.3f s, decode %.3f s", (unsigned)job->word,
              encoded - start, sp.steps, sampled - encoded, mgv_time() - sampled);

fail:
    mgv_freep(&run.uncond);
    return ret;
}

static int run_job(void *opaque, MgvJob *job)
{
    Model *m = opaque;
    int ret;

    if (atomic_load(&job->progress->cancel))
        return MAGVIT_ERR(ECANCELED);
    pthread_mutex_lock(&m->ctx->lock);
    ret = run_job_locked(m, job);
    pthread_mutex_unlock(&m->ctx->lock);
    return ret;
}

static void free_model(void *opaque)
{
    Model *m = opaque;

    mgv_freep(&m);
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
        .fallback = p->fallback,
        .sampler  = {
            .tokens             = nb_tokens(c),
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

    if ((unsigned)task < MAGVIT_TASK_NB && !(known_tasks(&ctx->config) >> task & 1)) {
        mgv_err(&ctx->log, "model %s does not know the task %s", ctx->config.name, names[task]);
        return MAGVIT_ERR(ENOTSUP);
    }
    return 0;
}

static int set_model(void *opaque, const MagvitParams *p, int *steps)
{
    Model *m = opaque, new;
    MagvitParams q = *p;
    int ret;

    q.task     = m->task; // what the session was opened with stays
    q.fallback = m->fallback;
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

    *synth = (MgvSynth){
        .run    = run_job,
        .set    = set_model,
        .free   = free_model,
        .window = { c->frames, c->height, c->width },
        .latent = { c->latent_t, c->latent_h, c->latent_w },
        .memory = context_bytes(ctx),
        .log    = &ctx->log,
    };
    if (p->guidance > 0)
        synth->memory += (int64_t)nb_tokens(c) * c->codebook_size * sizeof(float);
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
    Model *m = NULL;
    int ret;

    *out = NULL;
    RET(init_synth(&synth, ctx, p));
    if (!(m = mgv_calloc(1, sizeof(*m))))
        RET(MAGVIT_ERR(ENOMEM));
    RET(set_decoding(m, ctx, p));
    synth.opaque = m;
    synth.steps  = m->sampler.steps;
    return mgv_session_open(out, &synth, p);

fail:
    mgv_freep(&m);
    return ret;
}
