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
 * The three plans on every backend against the Python model, op by op, so
 * that the first op that differs is named rather than its consequences.
 */

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "libmagvit/backend.h"
#include "libmagvit/model.h"
#include "tests/golden/golden.h"

/** One backend with one model. */
typedef struct Subject {
    const Golden *g;
    const MgvBackend *backend;
    const char *name; ///< of the backend, or of what it computes in
    MgvDevice *dev;
    MgvSafetensors *model;
    MgvConfig config;
} Subject;

/** What the tap compares with. */
typedef struct Vectors {
    const MgvSafetensors *st;
    int compared, failed;
} Vectors;

typedef int BuildFn(MgvPlan **out, const MgvConfig *c, int batch, const MgvSafetensors *st, const MagvitLogger *log);

/* A Python module whose last part is an op of ours: give the op's name. */
static const char *op_of(char *buf, size_t size, const char *vector)
{
    const char *last = strrchr(vector, '.') ? strrchr(vector, '.') + 1 : vector;
    const char *rest = "";

    if (!strncmp(vector, "transformer.layer.", 18)) {
        if (last[strspn(last, "0123456789")] == 0)
            rest = ".mlp_ln";
        else if (!strcmp(last, "mlp"))
            rest = ".output";
        else if (!strcmp(last, "attention"))
            rest = ".out";
    }
    if (!strcmp(vector, "logits"))
        vector = "transformer.head";
    if (!strcmp(vector, "quantizer.ids"))
        vector = "quantizer";
    snprintf(buf, size, "%s%s", vector, rest);
    return buf;
}

static double activate(enum MgvAct act, double x)
{
    switch (act) {
    case MGV_ACT_SILU:      return x / (1 + exp(-x));
    case MGV_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    default:                return x;
    }
}

/* Vectors hold values before the activation; the transformer's head was computed for the last positions only. */
static int compare_f32(const MgvOp *op, const MgvTensor *t, const float *got, size_t n, int c, const MgvSafetensors *st)
{
    float *want = golden_f32(st, t->name);
    size_t i, m = (size_t)t->elements;
    int failed = 1;

    if (want && m <= n && m % (size_t)c == 0) {
        for (i = 0; i < m; i++)
            want[i] = (float)activate(op->act, want[i]);
        failed = golden_compare(t->name, got + n - m, want, m, c);
    } else {
        printf("%s: %zu values, the op gives %zu\n", t->name, m, n);
    }
    mgv_freep(&want);
    return failed;
}

static int compare_ids(const MgvTensor *t, const int32_t *got, size_t n, const MgvSafetensors *st)
{
    int32_t *want = golden_i32(st, t->name);
    int failed = !want || (size_t)t->elements != n || golden_compare_i32(t->name, got, want, n);

    mgv_freep(&want);
    return failed;
}

/* Does a vector come from a module of this plan? */
static int belongs(const char *vector, const char *plan)
{
    size_t n = strlen(plan);

    return !strncmp(vector, plan, n) && vector[n] == '.';
}

static int tap(void *opaque, const MgvPlan *p, int index, const void *data)
{
    Vectors *v = opaque;
    const MgvOp *op = &p->ops[index];
    const MgvTensorInfo *out = &p->tensors[op->out];
    size_t n = mgv_shape_elements(out->shape);
    const MgvTensor *t;
    char name[256];
    int i;

    for (i = 0; (t = mgv_safetensors_at(v->st, i)); i++) {
        if (strcmp(op_of(name, sizeof(name), t->name), op->name))
            continue;
        v->compared += belongs(t->name, p->name);
        v->failed = out->dtype == MGV_I32 ? compare_ids(t, data, n, v->st) :
                                            compare_f32(op, t, data, n, out->shape.c, v->st);
        if (v->failed)
            return MAGVIT_ERROR_DEVICE;
    }
    return 0;
}

/* Vectors that belong to a plan: none may be left out because a name has changed. */
static int count_vectors(const MgvSafetensors *st, const char *plan)
{
    const MgvTensor *t;
    int i, count = 0;

    for (i = 0; (t = mgv_safetensors_at(st, i)); i++)
        count += belongs(t->name, plan);
    return count;
}

/* Run a plan from its inputs, in the plan's order, to its output. out and v may be NULL. */
static int run_plan(const Subject *s, BuildFn *build, const MgvConfig *c, const void *const *in, void *out, Vectors *v)
{
    const MgvBackend *b = s->backend;
    MgvPlan *p = NULL;
    MgvExec *exec = NULL;
    int i, ret;

    RET(build(&p, c, 1, s->model, s->g->log));
    RET(b->compile(&exec, s->dev, p));
    if (v)
        b->tap(exec, tap, v);
    for (i = 0; i < p->nb_inputs; i++)
        RET(b->write(exec, p->inputs[i], in[i], p->tensors[p->inputs[i]].size));
    RET(b->run(exec));
    if (out)
        RET(b->read(exec, p->outputs[0], out, p->tensors[p->outputs[0]].size));
    if (v && v->compared < count_vectors(v->st, p->name)) {
        printf("%s: %d vectors compared of %d\n", p->name, v->compared, count_vectors(v->st, p->name));
        ret = MAGVIT_ERR(EINVAL);
    }
fail:
    if (exec)
        b->free(&exec);
    mgv_plan_free(&p);
    return ret;
}

static int run_tapped(const Subject *s, BuildFn *build, const MgvConfig *c, const void *in, const MgvSafetensors *st,
                      const char *what)
{
    Vectors v = { st, 0, 0 };
    int ret = in ? run_plan(s, build, c, &in, NULL, &v) : MAGVIT_ERR(EINVAL);

    printf("golden model: %s %s: %d vectors%s\n", s->name, what, v.compared, ret < 0 ? ", FAILED" : "");
    return ret < 0;
}

/* The configuration for a clip of another size, that of two vectors. */
static int resized(MgvConfig *out, const MgvConfig *c, const MgvSafetensors *st, const char *clip_name, const char *ids_name)
{
    const MgvTensor *clip = mgv_safetensors_find(st, clip_name), *ids = mgv_safetensors_find(st, ids_name);

    if (!clip || clip->nb_dims != 5 || !ids || ids->nb_dims != 4)
        return MAGVIT_ERR(EINVAL);
    *out = *c;
    out->frames   = (int)clip->dims[1];
    out->height   = (int)clip->dims[2];
    out->width    = (int)clip->dims[3];
    out->latent_t = (int)ids->dims[1];
    out->latent_h = (int)ids->dims[2];
    out->latent_w = (int)ids->dims[3];
    return 0;
}

/* [T,H,W,3]: ((7t + 3y + 5x + 11c + t*y*x) mod 256) / 255 */
static void integer_clip(float *clip, const MgvConfig *c)
{
    int t, y, x, k;

    for (t = 0; t < c->frames; t++)
        for (y = 0; y < c->height; y++)
            for (x = 0; x < c->width; x++)
                for (k = 0; k < 3; k++)
                    *clip++ = (float)((7 * t + 3 * y + 5 * x + 11 * k + t * y * x) % 256) / 255.0f;
}

static void frame_sums(float *sums, const float *clip, const MgvConfig *c)
{
    size_t i, cells = (size_t)c->height * c->width;
    int t, k;

    for (t = 0; t < c->frames; t++)
        for (k = 0; k < 3; k++, sums++) {
            double sum = 0;

            for (i = 0; i < cells; i++)
                sum += clip[(t * cells + i) * 3 + k];
            *sums = (float)sum;
        }
}

/* The model's own size, from the clip to codes and back. */
static int check_native(const Subject *s, const MgvSafetensors *st)
{
    const MgvConfig *c = &s->config;
    size_t tokens = (size_t)c->latent_t * c->latent_h * c->latent_w;
    float *clip = mgv_calloc((size_t)c->frames * c->height * c->width * 3, sizeof(*clip));
    float *sums = mgv_calloc((size_t)c->frames * 3, sizeof(*sums)), *want_sums = golden_f32(st, "native.output_frame_sums");
    int32_t *ids = mgv_calloc(tokens, sizeof(*ids)), *want_ids = golden_i32(st, "native.ids");
    int failed = 1, ret = MAGVIT_ERR(ENOMEM);

    if (!clip || !sums || !ids || !want_sums || !want_ids)
        goto fail;
    integer_clip(clip, c);
    RET(run_plan(s, mgv_build_encoder, c, (const void *[]){ clip }, ids, NULL));
    failed = golden_compare_i32("native.ids", ids, want_ids, tokens);
    RET(run_plan(s, mgv_build_decoder, c, (const void *[]){ want_ids }, clip, NULL));
    frame_sums(sums, clip, c);
    failed |= golden_compare("native.output_frame_sums", sums, want_sums, (size_t)c->frames * 3, 3);
fail:
    printf("golden model: %s native size%s\n", s->name, failed || ret < 0 ? ", FAILED" : "");
    mgv_freep(&clip);
    mgv_freep(&sums);
    mgv_freep(&want_sums);
    mgv_freep(&ids);
    mgv_freep(&want_ids);
    return failed || ret < 0;
}

static int check_tokenizer(const Subject *s)
{
    MgvSafetensors *st = NULL;
    float *clip;
    int32_t *ids;
    MgvConfig c;
    int failed;

    if (golden_open(&st, s->g, "tokenizer") < 0 || resized(&c, &s->config, st, "input", "quantizer.ids") < 0) {
        mgv_safetensors_close(&st);
        return 1;
    }
    clip = golden_f32(st, "input");
    ids  = golden_i32(st, "quantizer.ids");
    failed  = run_tapped(s, mgv_build_encoder, &c, clip, st, "encoder");
    failed |= run_tapped(s, mgv_build_decoder, &c, ids, st, "decoder");
    failed |= check_native(s, st);
    mgv_freep(&clip);
    mgv_freep(&ids);
    mgv_safetensors_close(&st);
    return failed;
}

/* The condition shows through what the decoder and its gate gave. */
static int check_shown(const MgvConfig *c, const MgvSafetensors *st, const float *seen)
{
    const size_t n = (size_t)c->frames * c->height * c->width * 3;
    float *clip = golden_f32(st, "decoder.conv_out"), *gate = golden_f32(st, "decoder.gate");
    float *want = golden_f32(st, "shown");
    int ret = MAGVIT_ERR(EINVAL);

    if (clip && gate && want) {
        mgv_known_show(c, seen, gate, clip);
        ret = golden_compare("shown", clip, want, n, 3) ? MAGVIT_ERR(EINVAL) : 0;
    }
    mgv_freep(&clip);
    mgv_freep(&gate);
    mgv_freep(&want);
    return ret;
}

/* One way of showing known pixels to the decoder. */
static int check_known(const Subject *s, enum MgvKnownPixels kind)
{
    MgvSafetensors *st = NULL;
    char name[64];
    float *clip = NULL, *input = NULL, *scratch = NULL;
    int32_t *ids = NULL, *given = NULL;
    uint8_t *known = NULL;
    size_t i, pixels;
    Vectors v = { NULL };
    MgvConfig c;
    int ret = MAGVIT_ERR(EINVAL);

    snprintf(name, sizeof(name), "known-%s", mgv_known_pixels_name(kind));
    if (golden_open(&st, s->g, name) < 0 || resized(&c, &s->config, st, "clip", "ids") < 0)
        goto fail;
    v.st   = st;
    pixels = (size_t)c.frames * c.height * c.width;
    clip   = golden_f32(st, "clip");
    given  = golden_i32(st, "known");
    ids    = golden_i32(st, "ids");
    known  = mgv_calloc(pixels, 1);
    input  = mgv_calloc(pixels, 4 * sizeof(*input));
    scratch = mgv_calloc(mgv_fill_scratch(c.width, c.height), sizeof(*scratch));
    if (!clip || !given || !ids || !known || !input || !scratch)
        goto fail;
    for (i = 0; i < pixels; i++)
        known[i] = (uint8_t)given[i];
    c.known_pixels = kind;
    mgv_known_input(&c, clip, known, input, scratch);
    RET(run_plan(s, mgv_build_decoder, &c, (const void *[]){ ids, input }, NULL, &v));
    if (kind == MGV_KNOWN_GATED)
        RET(check_shown(&c, st, input));
fail:
    printf("golden model: %s %s: %d vectors%s\n", s->name, name, v.compared, ret < 0 ? ", FAILED" : "");
    mgv_freep(&clip);
    mgv_freep(&given);
    mgv_freep(&ids);
    mgv_freep(&known);
    mgv_freep(&input);
    mgv_freep(&scratch);
    mgv_safetensors_close(&st);
    return ret < 0;
}

/* Where nothing is known the decoder gives exactly what it gives without the pyramid. */
static int check_nothing_known(const Subject *s)
{
    MgvConfig c = s->config;
    size_t i, pixels = (size_t)c.frames * c.height * c.width, tokens = (size_t)c.latent_t * c.latent_h * c.latent_w;
    float *input = mgv_calloc(pixels, 4 * sizeof(*input));
    float *seen = mgv_calloc(pixels, 3 * sizeof(*seen)), *bare = mgv_calloc(pixels, 3 * sizeof(*bare));
    int32_t *ids = mgv_calloc(tokens, sizeof(*ids));
    int differ = 0, ret = MAGVIT_ERR(ENOMEM);

    if (!input || !seen || !bare || !ids)
        goto fail;
    for (i = 0; i < tokens; i++)
        ids[i] = (int32_t)(i * 7 % (size_t)c.codebook_size);
    RET(run_plan(s, mgv_build_decoder, &c, (const void *[]){ ids, input }, seen, NULL));
    c.known_pixels = MGV_KNOWN_NONE;
    RET(run_plan(s, mgv_build_decoder, &c, (const void *[]){ ids }, bare, NULL));
    for (i = 0; i < pixels * 3; i++)
        differ += seen[i] != bare[i];
fail:
    printf("golden model: %s nothing known%s\n", s->name, differ || ret < 0 ? ", FAILED" : "");
    mgv_freep(&input);
    mgv_freep(&seen);
    mgv_freep(&bare);
    mgv_freep(&ids);
    return differ || ret < 0;
}

static int check_transformer(const Subject *s)
{
    MgvSafetensors *st;
    int32_t *ids;
    int failed;

    if (golden_open(&st, s->g, "transformer") < 0)
        return 1;
    ids = golden_i32(st, "ids");
    failed = run_tapped(s, mgv_build_transformer, &s->config, ids, st, "transformer");
    mgv_freep(&ids);
    mgv_safetensors_close(&st);
    return failed;
}

static int do_nothing(void *opaque, const MgvPlan *p, int op, const void *data)
{
    return data ? 0 : MAGVIT_ERR(EINVAL);
}

static size_t outputs_size(const MgvPlan *p)
{
    size_t size = 0;

    for (int i = 0; i < p->nb_outputs; i++)
        size += p->tensors[p->outputs[i]].size;
    return size;
}

/* Run a plan op by op, as a tap makes a backend do, or as it likes; its outputs, one behind the other. */
static int run_bits(const Subject *s, MgvDevice *dev, const MgvPlan *p, const void *const *in, int tapped, uint8_t *out)
{
    const MgvBackend *b = s->backend;
    MgvExec *exec = NULL;
    int i, ret;

    RET(b->compile(&exec, dev, p));
    b->tap(exec, tapped ? do_nothing : NULL, NULL);
    for (i = 0; i < p->nb_inputs; i++)
        RET(b->write(exec, p->inputs[i], in[i], p->tensors[p->inputs[i]].size));
    RET(b->run(exec));
    for (i = 0; i < p->nb_outputs; i++) {
        RET(b->read(exec, p->outputs[i], out, p->tensors[p->outputs[i]].size));
        out += p->tensors[p->outputs[i]].size;
    }
fail:
    if (exec)
        b->free(&exec);
    return ret;
}

/* A plan gives the same bits on one and on several threads, with ops fused and one by one. */
static int check_bits(const Subject *s, MgvDevice *const dev[2], BuildFn *build, const void *const *in)
{
    MgvPlan *p = NULL;
    uint8_t *want = NULL, *got = NULL;
    int i, differ = 0, ret;

    RET(build(&p, &s->config, 1, s->model, s->g->log));
    want = mgv_calloc(outputs_size(p), 1);
    got  = mgv_calloc(outputs_size(p), 1);
    if (!want || !got)
        RET(MAGVIT_ERR(ENOMEM));
    RET(run_bits(s, dev[0], p, in, 1, want));
    for (i = 0; i < 3; i++) {
        memset(got, 0xff, outputs_size(p));
        RET(run_bits(s, dev[i > 0], p, in, i == 1, got));
        differ |= memcmp(want, got, outputs_size(p)) ? 1 << i : 0;
    }
    if (differ)
        printf("%s: %s: outputs differ, %#x\n", s->backend->name, p->name, differ);
fail:
    mgv_freep(&want);
    mgv_freep(&got);
    mgv_plan_free(&p);
    return differ || ret < 0;
}

/* In a precision, if there is hardware for it. */
static int check_bits_in(const Subject *s, enum MagvitPrecision precision, const char *name)
{
    const MgvConfig *c = &s->config;
    const size_t pixels = (size_t)c->frames * c->height * c->width, tokens = (size_t)c->latent_t * c->latent_h * c->latent_w;
    const MagvitLogger silent = { NULL, NULL, MAGVIT_LOG_NONE };
    float *clip = mgv_calloc(pixels, 4 * sizeof(*clip));
    int32_t *ids = mgv_calloc(c->length, sizeof(*ids));
    MgvDevice *dev[2] = { NULL };
    int i, failed = 1, ret = MAGVIT_ERR(ENOMEM);

    for (i = 0; i < 2 && clip && ids; i++) {
        const MgvDeviceSettings settings = { NULL, 3 - 2 * i, precision };

        RET(s->backend->open(&dev[i], &settings, &silent));
    }
    if (!clip || !ids)
        goto fail;
    integer_clip(clip, c);
    for (i = 0; i < c->length; i++)
        ids[i] = (int32_t)((size_t)i * 7 % (size_t)c->codebook_size);
    failed  = check_bits(s, dev, mgv_build_encoder, (const void *[]){ clip });
    failed |= check_bits(s, dev, mgv_build_transformer, (const void *[]){ ids });
    failed |= tokens > (size_t)c->length || check_bits(s, dev, mgv_build_decoder, (const void *[]){ ids, clip });
fail:
    if (ret != MAGVIT_ERR(ENOTSUP))
        printf("golden model: %s same bits in %s%s\n", s->backend->name, name, failed ? ", FAILED" : "");
    for (i = 0; i < 2; i++)
        if (dev[i])
            s->backend->close(&dev[i]);
    mgv_freep(&clip);
    mgv_freep(&ids);
    return ret != MAGVIT_ERR(ENOTSUP) && failed;
}

static int check_same_bits(const Subject *s)
{
    if (s->backend->type != MAGVIT_BACKEND_CPU)
        return 0;
    return check_bits_in(s, MAGVIT_PRECISION_F32, "f32") | check_bits_in(s, MAGVIT_PRECISION_BF16, "bf16") |
           check_bits_in(s, MAGVIT_PRECISION_INT8, "int8");
}

static int check_small(const Subject *s)
{
    return check_tokenizer(s) | check_transformer(s);
}

static int check_small_known(const Subject *s)
{
    return check_known(s, MGV_KNOWN_ZERO) | check_known(s, MGV_KNOWN_PADDED) | check_known(s, MGV_KNOWN_GATED) |
           check_nothing_known(s) | check_same_bits(s);
}

/* Open a model for some checks. */
static int check_model(Subject *s, const char *path, int (*check)(const Subject *s))
{
    int failed = mgv_safetensors_open(&s->model, path, s->g->log) < 0 ||
                 mgv_config_parse(&s->config, s->model, s->g->log) < 0 || check(s);

    mgv_config_uninit(&s->config);
    mgv_safetensors_close(&s->model);
    return failed;
}

static int check_backend(const Golden *g, const MgvBackend *b, enum MagvitPrecision precision)
{
    static const MagvitLogger silent = { NULL, NULL, MAGVIT_LOG_NONE };
    const MgvDeviceSettings settings = { .precision = precision };
    const int half = precision == MAGVIT_PRECISION_F16;
    Subject s = { .g = g, .backend = b, .name = half ? "vulkan f16" : b->name };
    int failed, ret;

    ret = b->open(&s.dev, &settings, half ? &silent : g->log);
    if (ret == MAGVIT_ERR(ENOTSUP)) {
        printf("golden model: %s is not available here\n", s.name);
        return 0;
    }
    if (ret < 0)
        return 1;
    golden_limits = half ? golden_f16_limits : golden_f32_limits;
    failed  = check_model(&s, g->model, check_small);
    failed |= check_model(&s, g->known, check_small_known);
    golden_limits = golden_f32_limits;
    b->close(&s.dev);
    return failed;
}

int golden_model(const Golden *g)
{
    int i, failed = 0, run = 0;

    for (i = 0; mgv_backends[i]; i++) {
        if (g->backend && strcmp(g->backend, mgv_backends[i]->name))
            continue;
        failed |= check_backend(g, mgv_backends[i], MAGVIT_PRECISION_F32);
        if (mgv_backends[i]->type == MAGVIT_BACKEND_VULKAN)
            failed |= check_backend(g, mgv_backends[i], MAGVIT_PRECISION_F16);
        run++;
    }
    return failed || !run;
}
