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
 * Contexts: open a model, choose a backend, compile the three plans, encode and
 * decode. Windows of sessions are in job.c.
 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

#include "libmagvit/context.h"
#include "libmagvit/video.h"

#define MAX_BATCH 16 ///< windows at once

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

static void free_plans(MagvitContext *ctx)
{
    for (int i = 0; i < MGV_NB_PLANS; i++)
        mgv_plan_free(&ctx->plan[i]);
}

/** For so many windows at once; the transformer for sequences, which are more with guidance on a device. */
static int build_plans(MagvitContext *ctx, int windows, int sequences)
{
    const MgvConfig *c = &ctx->config;
    int ret;

    free_plans(ctx);
    RET(mgv_build_encoder(&ctx->plan[MGV_ENCODER], c, windows, ctx->st, &ctx->log));
    RET(mgv_build_transformer(&ctx->plan[MGV_TRANSFORMER], c, sequences, ctx->st, &ctx->log));
    RET(mgv_build_decoder(&ctx->plan[MGV_DECODER], c, windows, ctx->st, &ctx->log));
    return 0;

fail:
    return ret;
}

static void close_backend(MagvitContext *ctx)
{
    for (int i = 0; i < MGV_NB_PLANS; i++)
        if (ctx->exec[i])
            ctx->backend->free(&ctx->exec[i]);
    if (ctx->threads)
        mgv_backend_ref.close(&ctx->threads);
    if (ctx->device)
        ctx->backend->close(&ctx->device);
    ctx->team    = (MgvTeam){ NULL, NULL };
    ctx->backend = NULL;
}

static int check_settings(MagvitContext *ctx, const MagvitSettings *s)
{
    if ((int)s->backend < MAGVIT_BACKEND_AUTO || s->backend > MAGVIT_BACKEND_VULKAN) {
        mgv_err(&ctx->log, "backend is %d, must be in [0,%d]", (int)s->backend, MAGVIT_BACKEND_VULKAN);
        return MAGVIT_ERR(EINVAL);
    }
    if ((int)s->precision < MAGVIT_PRECISION_AUTO || s->precision > MAGVIT_PRECISION_F16) {
        mgv_err(&ctx->log, "precision is %d, must be in [0,%d]", (int)s->precision, MAGVIT_PRECISION_F16);
        return MAGVIT_ERR(EINVAL);
    }
    if (s->max_memory < 0) {
        mgv_err(&ctx->log, "max_memory is %lld, must be 0 or more", (long long)s->max_memory);
        return MAGVIT_ERR(EINVAL);
    }
    if (s->batch < 0 || s->batch > MAX_BATCH) {
        mgv_err(&ctx->log, "batch is %d, must be in [0,%d]", s->batch, MAX_BATCH);
        return MAGVIT_ERR(EINVAL);
    }
    if (s->threads < 0 || s->threads > 256) {
        mgv_err(&ctx->log, "threads is %d, must be in [0,256]", s->threads);
        return MAGVIT_ERR(EINVAL);
    }
    return 0;
}

static int64_t count_parameters(const MgvSafetensors *st)
{
    const MgvTensor *t;
    int64_t n = 0;

    for (int i = 0; (t = mgv_safetensors_at(st, i)); i++)
        n += t->elements;
    return n;
}

/**
 * Bytes of the file and of the buffers that are not the backend's, with those that a window's sampling takes. The file's
 * pages are given back when the model is open; so much stands for what the allocator and oneDNN keep for themselves.
 */
static int64_t host_bytes(const MagvitContext *ctx)
{
    const MgvConfig *c = &ctx->config;
    size_t size;

    mgv_safetensors_bytes(ctx->st, &size);
    return (int64_t)size + ((int64_t)c->length + mgv_nb_tokens(c)) * c->codebook_size * sizeof(float) +
           (int64_t)mgv_nb_pixels(c) * sizeof(float) * ((c->known_pixels ? 4 : 0) + (c->known_pixels == MGV_KNOWN_GATED)) +
           (c->known_pixels ? (int64_t)mgv_fill_scratch(c->width, c->height) * sizeof(float) : 0);
}

int64_t mgv_context_bytes(const MagvitContext *ctx)
{
    MagvitInfo info;

    magvit_get_info(ctx, &info);
    return host_bytes(ctx) + (int64_t)info.weight_bytes + (int64_t)info.work_bytes;
}

/** Activations of all plans. */
static int64_t arena_bytes(const MagvitContext *ctx)
{
    int64_t sum = 0;

    for (int i = 0; i < MGV_NB_PLANS; i++)
        sum += (int64_t)ctx->plan[i]->arena_size;
    return sum;
}

/** What mgv_context_bytes() will be, by the backend's measure, before it prepares anything. */
static int need_bytes(MagvitContext *ctx, int64_t *bytes)
{
    size_t shared = 0;
    int ret;

    *bytes = host_bytes(ctx);
    for (int i = 0; i < MGV_NB_PLANS; i++) {
        MgvNeed need;

        RET(ctx->backend->measure(ctx->device, ctx->plan[i], &need));
        *bytes += (int64_t)need.weights + (int64_t)need.work;
        shared = MGV_MAX(shared, need.shared);
    }
    *bytes += (int64_t)shared;
    return 0;

fail:
    return ret;
}

static int check_memory(const MagvitContext *ctx, int64_t need, int64_t max)
{
    const MagvitMemory m = { .model = need, .total = need };

    return mgv_memory_check(&m, max, &ctx->log);
}

/** Windows at once: as asked, or as many as fill the device and fit beside what one needs. */
static int choose_batch(const MagvitContext *ctx, const MagvitSettings *s, int64_t need)
{
    const int64_t bytes = arena_bytes(ctx);
    int most;

    if (!ctx->backend->batch)
        return 1;
    if (s->batch)
        return s->batch;
    most = ctx->backend->batch(ctx->device, (size_t)bytes);
    if (s->max_memory)
        most = (int)MGV_MIN(most, 1 + MGV_MAX(s->max_memory - need, 0) / (2 * bytes));
    return most;
}

/** Measuring packs the weights of host backends once more, so it is done only for a limit. Plans are those for one. */
static int fit_memory(MagvitContext *ctx, const MagvitSettings *s)
{
    int64_t need = 0;
    int ret;

    if (s->max_memory)
        RET(need_bytes(ctx, &need));
    ctx->batch = choose_batch(ctx, s, need);
    if (ctx->backend->limit) {
        RET(build_plans(ctx, ctx->batch, 2 * ctx->batch));
        if (s->max_memory)
            RET(need_bytes(ctx, &need));
    }
    return check_memory(ctx, need, s->max_memory);

fail:
    return ret;
}

static int open_team(MgvTeam *team, MagvitContext *ctx, int threads)
{
    const MgvDeviceSettings plain = { NULL, threads, MAGVIT_PRECISION_AUTO };
    const MgvBackend *ref = &mgv_backend_ref;
    int ret;

    *team = (MgvTeam){ ctx->backend->share, ctx->device };
    if (team->share)
        return 0;
    RET(ref->open(&ctx->threads, &plain, &ctx->log));
    *team = (MgvTeam){ ref->share, ctx->threads };
    return 0;

fail:
    return ret;
}

static int try_backend(MagvitContext *ctx, const MgvBackend *b, const MagvitSettings *s)
{
    const MgvDeviceSettings device = { s->device, s->threads, s->precision };
    int ret;

    ctx->backend = b;
    RET(b->open(&ctx->device, &device, &ctx->log));
    RET(fit_memory(ctx, s));
    for (int i = 0; i < MGV_NB_PLANS; i++) {
        RET(b->compile(&ctx->exec[i], ctx->device, ctx->plan[i]));
        if (b->limit)
            RET(b->limit(ctx->exec[i], 1));
    }
    RET(open_team(&ctx->team, ctx, s->threads));
    return 0;

fail:
    close_backend(ctx);
    return ret;
}

static int open_backend(MagvitContext *ctx, const MagvitSettings *s)
{
    static const char *const names[] = { "auto", "ref", "cpu", "vulkan" };
    int ret = MAGVIT_ERR(ENOTSUP), tried = 0;

    for (int i = 0; mgv_backends[i]; i++) {
        const MgvBackend *b = mgv_backends[i];

        if (s->backend == MAGVIT_BACKEND_AUTO ? b->type == MAGVIT_BACKEND_VULKAN : b->type != s->backend)
            continue;
        tried = 1;
        if ((ret = try_backend(ctx, b, s)) >= 0)
            return 0;
        if (ret == MAGVIT_ERR(ENOMEM))
            return ret; // another backend is slower, and has no more memory
        if (s->backend == MAGVIT_BACKEND_AUTO && mgv_backends[i + 1])
            mgv_info(&ctx->log, "backend %s refused the model: %s", b->name, magvit_strerror(ret));
    }
    if (!tried)
        mgv_err(&ctx->log, "backend %s is not built in", names[s->backend]);
    return ret;
}

static int alloc_buffers(MagvitContext *ctx)
{
    const MgvConfig *c = &ctx->config;

    ctx->ids    = mgv_calloc(c->length, sizeof(*ctx->ids));
    ctx->rows   = mgv_calloc(c->length, sizeof(*ctx->rows));
    ctx->logits = mgv_calloc(c->length, c->codebook_size * sizeof(*ctx->logits));
    ctx->codes  = mgv_calloc(mgv_nb_tokens(c), sizeof(*ctx->codes));
    ctx->cond   = mgv_calloc(mgv_nb_tokens(c), sizeof(*ctx->cond));
    if (c->known_pixels) {
        ctx->known = mgv_calloc(mgv_nb_pixels(c), 4 * sizeof(*ctx->known));
        ctx->fill  = mgv_calloc(mgv_fill_scratch(c->width, c->height), sizeof(*ctx->fill));
        if (!ctx->known || !ctx->fill)
            return MAGVIT_ERR(ENOMEM);
    }
    if (c->known_pixels == MGV_KNOWN_GATED && !(ctx->gate = mgv_calloc(mgv_nb_pixels(c), sizeof(*ctx->gate))))
        return MAGVIT_ERR(ENOMEM);
    return ctx->ids && ctx->rows && ctx->logits && ctx->codes && ctx->cond ? 0 : MAGVIT_ERR(ENOMEM);
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
    RET(build_plans(ctx, 1, 1));
    if (s.describe_only)
        return 0;
    RET(open_backend(ctx, &s));
    RET(alloc_buffers(ctx));
    bytes = mgv_safetensors_bytes(ctx->st, &size);
    mgv_sha256(ctx->sha256, bytes, size);
    mgv_safetensors_release(ctx->st);
    mgv_trim_memory();

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
    free_plans(ctx);
    mgv_config_uninit(&ctx->config);
    mgv_safetensors_close(&ctx->st);
    mgv_freep(&ctx->path);
    mgv_freep(&ctx->ids);
    mgv_freep(&ctx->rows);
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
unsigned mgv_context_tasks(const MgvConfig *c)
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
        .backend    = ctx->backend ? ctx->backend->name : "",
        .device     = ctx->backend ? ctx->backend->describe(ctx->device) : "",
        .sha256     = ctx->sha256,
        .classes    = c->class_names ? c->class_names : "",
        .nb_classes = c->num_classes,
        .window     = { c->frames, c->height, c->width },
        .latent     = { c->latent_t, c->latent_h, c->latent_w },
        .nb_codes   = c->codebook_size,
        .tasks      = mgv_context_tasks(c),
        .steps      = c->steps,
        .parameters = count_parameters(ctx->st),
        .known_pixels = mgv_known_pixels_name(c->known_pixels),
        .batch      = ctx->batch,
    };
    for (int i = 0; i < MGV_NB_PLANS && ctx->backend; i++) {
        size_t weights, work;
        ctx->backend->memory(ctx->exec[i], &weights, &work);
        out->weight_bytes += weights;
        out->work_bytes   += work;
    }
    for (int i = 0; i < MGV_NB_PLANS; i++)
        out->macs[i] = mgv_plan_macs(ctx->plan[i]) / ctx->plan[i]->tensors[ctx->plan[i]->ops[0].out].shape.n;
    return 0;
}

void magvit_print_plans(const MagvitContext *ctx)
{
    for (int i = 0; i < MGV_NB_PLANS; i++)
        mgv_plan_print(ctx->plan[i], &ctx->log, MAGVIT_LOG_INFO);
}

/* ---- running -------------------------------------------------------------- */

int mgv_context_run(MagvitContext *ctx, int which, const char *in, const void *src, size_t src_size, const char *out,
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

int mgv_context_encode(MagvitContext *ctx, const float *clip, int32_t *codes)
{
    return mgv_context_run(ctx, MGV_ENCODER, "clip", clip, mgv_nb_pixels(&ctx->config) * 3 * sizeof(*clip), "codes", codes,
                    mgv_nb_tokens(&ctx->config) * sizeof(*codes));
}

int mgv_context_finish(const MagvitContext *ctx, const float *seen, const float *gate, float *clip,
                       enum MagvitLogLevel level)
{
    const size_t n = mgv_nb_pixels(&ctx->config) * 3;

    if (gate)
        mgv_known_show(&ctx->config, seen, gate, clip);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(clip[i])) {
            MGV_LOG(&ctx->log, level, "decoder gave a value that is not finite at %zu of %zu", i, n);
            return MAGVIT_ERROR_DEVICE;
        }
        clip[i] = MGV_CLAMP(clip[i], 0, 1);
    }
    return 0;
}

int mgv_context_decode(MagvitContext *ctx, const int32_t *codes, const float *given, const uint8_t *known, float *clip,
                       enum MagvitLogLevel level)
{
    const int gated = ctx->gate && given;
    int ret;

    if (ctx->known) {
        mgv_known_input(&ctx->config, given, known, ctx->known, ctx->fill);
        RET(ctx->backend->write(ctx->exec[MGV_DECODER], mgv_plan_find_input(ctx->plan[MGV_DECODER], "known"), ctx->known,
                                mgv_nb_pixels(&ctx->config) * 4 * sizeof(*ctx->known)));
    }
    RET(mgv_context_run(ctx, MGV_DECODER, "codes", codes, mgv_nb_tokens(&ctx->config) * sizeof(*codes), "clip", clip,
                        mgv_nb_pixels(&ctx->config) * 3 * sizeof(*clip)));
    if (gated)
        RET(ctx->backend->read(ctx->exec[MGV_DECODER], mgv_plan_find_output(ctx->plan[MGV_DECODER], "gate"), ctx->gate,
                               mgv_nb_pixels(&ctx->config) * sizeof(*ctx->gate)));
    return mgv_context_finish(ctx, ctx->known, gated ? ctx->gate : NULL, clip, level);

fail:
    return ret;
}

int mgv_context_computes(const MagvitContext *ctx)
{
    if (ctx->backend)
        return 0;
    mgv_err(&ctx->log, "model %s was opened with describe_only, it cannot compute", ctx->config.name);
    return MAGVIT_ERR(EINVAL);
}

int magvit_encode(MagvitContext *ctx, const float *clip, int32_t *codes)
{
    int ret;

    if ((ret = mgv_context_computes(ctx)) < 0)
        return ret;
    pthread_mutex_lock(&ctx->lock);
    ret = mgv_context_encode(ctx, clip, codes);
    pthread_mutex_unlock(&ctx->lock);
    return ret;
}

int magvit_decode(MagvitContext *ctx, const int32_t *codes, float *clip)
{
    int ret;

    if ((ret = mgv_context_computes(ctx)) < 0)
        return ret;
    for (int i = 0; i < mgv_nb_tokens(&ctx->config); i++)
        if (codes[i] < 0 || codes[i] >= ctx->config.codebook_size) {
            mgv_err(&ctx->log, "code %d is %d, must be in [0,%d]", i, (int)codes[i], ctx->config.codebook_size - 1);
            return MAGVIT_ERR(EINVAL);
        }
    pthread_mutex_lock(&ctx->lock);
    ret = mgv_context_decode(ctx, codes, NULL, NULL, clip, MAGVIT_LOG_ERROR);
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
