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
 * Model configuration: metadata of a model file, presets, vocabulary layout
 * and parameter counts.
 */

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmagvit/model.h"

/* Special tokens count from the end of the vocabulary. */
enum { SPECIAL_SINGLE = 1, SPECIAL_MULTI = 16 };

/* Sticky error, so that parsing reads as a list of keys. */
typedef struct Parser {
    const MgvSafetensors *st;
    const MagvitLogger *log;
    int error;
} Parser;

static const char *const known_keys[] = {
    "format", "format_version", "name", "frames", "height", "width", "multi_task", "num_classes",
    "class_names", "inpainting_token",
    "tokenizer.base_channels", "tokenizer.channel_multipliers", "tokenizer.temporal_downsample",
    "tokenizer.res_blocks", "tokenizer.embedding_dim", "tokenizer.codebook_size", "tokenizer.padding",
    "tokenizer.groups", "tokenizer.norm_eps", "tokenizer.latent_normalize", "tokenizer.known_pixels",
    "transformer.variant", "transformer.layers", "transformer.hidden", "transformer.heads",
    "transformer.mlp", "transformer.vocab", "transformer.length", "transformer.ln_eps",
    "sampler.steps", "sampler.schedule", "sampler.choice_temperature", "sampler.temperature",
    "description", "license", "source",
};

static void bad_value(Parser *ps, const char *key, const char *value, const char *expected)
{
    if (ps->error)
        return;
    mgv_err(ps->log, "model: metadata \"%s\" is \"%.64s\", expected %s", key, value ? value : "(missing)", expected);
    ps->error = MAGVIT_ERROR_MODEL;
}

static const char *get(Parser *ps, const char *key)
{
    const char *value = mgv_safetensors_meta(ps->st, key);
    if (!value)
        bad_value(ps, key, NULL, "a value");
    return value ? value : "";
}

static int get_int(Parser *ps, const char *key, int lo, int hi)
{
    const char *value = get(ps, key);
    char *end, expected[64];
    long v;

    errno = 0;
    v = strtol(value, &end, 10);
    if (!*value || *end || errno || v < lo || v > hi) {
        snprintf(expected, sizeof(expected), "an integer in [%d,%d]", lo, hi);
        bad_value(ps, key, value, expected);
        return lo;
    }
    return (int)v;
}

static double get_double(Parser *ps, const char *key, double lo, double hi)
{
    const char *value = get(ps, key);
    char *end, expected[64];
    double v = strtod(value, &end);

    if (!*value || *end || !(v >= lo && v <= hi)) {
        snprintf(expected, sizeof(expected), "a number in [%g,%g]", lo, hi);
        bad_value(ps, key, value, expected);
        return lo;
    }
    return v;
}

/* Comma-separated integers; returns how many. */
static int get_list(Parser *ps, const char *key, int *list, int max, int lo, int hi)
{
    const char *value = get(ps, key), *s = value;
    char expected[80];
    int n = 0;

    while (*s && n < max) {
        char *end;
        long v = strtol(s, &end, 10);
        if (end == s || v < lo || v > hi || (*end && *end != ',') || (*end == ',' && !end[1]))
            break;
        list[n++] = (int)v;
        s = *end ? end + 1 : end;
    }
    if (*s) {
        snprintf(expected, sizeof(expected), "at most %d comma-separated integers in [%d,%d]", max, lo, hi);
        bad_value(ps, key, value, expected);
        return 0;
    }
    return n;
}

static int get_choice(Parser *ps, const char *key, const char *zero, const char *one)
{
    const char *value = get(ps, key);
    char expected[64];

    if (!strcmp(value, one))
        return 1;
    if (strcmp(value, zero)) {
        snprintf(expected, sizeof(expected), "\"%s\" or \"%s\"", zero, one);
        bad_value(ps, key, value, expected);
    }
    return 0;
}

const char *mgv_known_pixels_name(enum MgvKnownPixels k)
{
    static const char *const names[MGV_KNOWN_NB] = { "none", "zero", "padded", "gated" };

    return names[k];
}

/* Older files lack the key. */
static enum MgvKnownPixels get_known_pixels(Parser *ps, const char *key)
{
    const char *value = mgv_safetensors_meta(ps->st, key);

    if (!value)
        return MGV_KNOWN_NONE;
    for (int i = 0; i < MGV_KNOWN_NB; i++)
        if (!strcmp(value, mgv_known_pixels_name(i)))
            return i;
    bad_value(ps, key, value, "\"none\", \"zero\", \"padded\" or \"gated\"");
    return MGV_KNOWN_NONE;
}

static void derive_strides(MgvConfig *c)
{
    c->stride_h = c->stride_w = 1 << (c->nb_levels - 1);
    c->stride_t = 1;
    for (int i = 0; i < c->nb_levels - 1; i++)
        c->stride_t <<= c->temporal_downsample[i];
    c->latent_t = c->frames / c->stride_t;
    c->latent_h = c->height / c->stride_h;
    c->latent_w = c->width / c->stride_w;
}

static int specials(const MgvConfig *c)
{
    return c->multi_task ? SPECIAL_MULTI : SPECIAL_SINGLE;
}

static int expected_vocab(const MgvConfig *c)
{
    return c->codebook_size + c->num_classes + 1 + specials(c);
}

static int expected_length(const MgvConfig *c)
{
    return mgv_prefix_length(c) + c->latent_t * c->latent_h * c->latent_w;
}

/* Relations between values that were each in range. */
static int check_consistency(const MgvConfig *c, const MagvitLogger *log)
{
    if (c->frames % c->stride_t || c->height % c->stride_h || c->width % c->stride_w) {
        mgv_err(log, "model: window %dx%dx%d is not a multiple of the tokenizer's strides %dx%dx%d",
                c->frames, c->height, c->width, c->stride_t, c->stride_h, c->stride_w);
        return MAGVIT_ERROR_MODEL;
    }
    for (int i = 0; i < c->nb_levels; i++) {
        if (c->base_channels * c->multipliers[i] % c->groups) {
            mgv_err(log, "model: %d channels of level %d cannot be split into %d groups",
                    c->base_channels * c->multipliers[i], i, c->groups);
            return MAGVIT_ERROR_MODEL;
        }
    }
    if (c->hidden % c->heads) {
        mgv_err(log, "model: hidden size %d is not a multiple of %d heads", c->hidden, c->heads);
        return MAGVIT_ERROR_MODEL;
    }
    if (c->vocab != expected_vocab(c)) {
        mgv_err(log, "model: vocabulary %d, expected %d = %d codes + %d classes + 1 + %d special tokens",
                c->vocab, expected_vocab(c), c->codebook_size, c->num_classes, specials(c));
        return MAGVIT_ERROR_MODEL;
    }
    if (c->length != expected_length(c)) {
        mgv_err(log, "model: sequence length %d, expected %d = %d prefix + %dx%dx%d latent tokens",
                c->length, expected_length(c), mgv_prefix_length(c), c->latent_t, c->latent_h, c->latent_w);
        return MAGVIT_ERROR_MODEL;
    }
    return 0;
}

static void warn_unknown_keys(const Parser *ps)
{
    const char *key;

    for (int i = 0; (key = mgv_safetensors_meta_key(ps->st, i)); i++) {
        size_t k = 0;
        while (k < MGV_ARRAY_LEN(known_keys) && strcmp(key, known_keys[k]))
            k++;
        if (k == MGV_ARRAY_LEN(known_keys) && strncmp(key, "training.", 9))
            mgv_warn(ps->log, "model: unknown metadata \"%.64s\" ignored", key);
    }
}

static void parse_tokenizer(Parser *ps, MgvConfig *c)
{
    int n;

    c->base_channels = get_int(ps, "tokenizer.base_channels", 1, 1024);
    c->nb_levels = get_list(ps, "tokenizer.channel_multipliers", c->multipliers, MGV_MAX_LEVELS, 1, 64);
    if (c->nb_levels < 1)
        bad_value(ps, "tokenizer.channel_multipliers", get(ps, "tokenizer.channel_multipliers"), "at least one integer");
    /* Published configurations list one flag more than there are transitions. */
    n = get_list(ps, "tokenizer.temporal_downsample", c->temporal_downsample, MGV_MAX_LEVELS, 0, 1);
    if (n < c->nb_levels - 1)
        bad_value(ps, "tokenizer.temporal_downsample", get(ps, "tokenizer.temporal_downsample"),
                  "a 0 or 1 for each transition between levels");
    c->res_blocks       = get_int(ps, "tokenizer.res_blocks", 1, 16);
    c->embedding_dim    = get_int(ps, "tokenizer.embedding_dim", 1, 4096);
    c->codebook_size    = get_int(ps, "tokenizer.codebook_size", 2, 1 << 18);
    c->padding          = get_choice(ps, "tokenizer.padding", "zero", "reflect") ? MGV_PAD_REFLECT : MGV_PAD_ZERO;
    c->groups           = get_int(ps, "tokenizer.groups", 1, 1024);
    c->norm_eps         = (float)get_double(ps, "tokenizer.norm_eps", 0, 1);
    c->latent_normalize = get_choice(ps, "tokenizer.latent_normalize", "0", "1");
    c->known_pixels     = get_known_pixels(ps, "tokenizer.known_pixels");
    c->frames           = get_int(ps, "frames", 1, 256);
    c->height           = get_int(ps, "height", 1, 4096);
    c->width            = get_int(ps, "width", 1, 4096);
}

static void parse_transformer(Parser *ps, MgvConfig *c)
{
    get_choice(ps, "transformer.variant", "bert", "bert");
    c->layers      = get_int(ps, "transformer.layers", 1, 256);
    c->hidden      = get_int(ps, "transformer.hidden", 1, 16384);
    c->heads       = get_int(ps, "transformer.heads", 1, 256);
    c->mlp         = get_int(ps, "transformer.mlp", 1, 65536);
    c->vocab       = get_int(ps, "transformer.vocab", 3, 1 << 20);
    c->length      = get_int(ps, "transformer.length", 2, 1 << 20);
    c->ln_eps      = (float)get_double(ps, "transformer.ln_eps", 0, 1);
    c->multi_task  = get_choice(ps, "multi_task", "0", "1");
    c->num_classes = get_int(ps, "num_classes", 0, 1 << 16);
    c->own_inpainting_token = get_choice(ps, "inpainting_token", "outpainting", "own");
}

static void parse_sampler(Parser *ps, MgvConfig *c)
{
    const char *schedule = get(ps, "sampler.schedule");

    c->steps = get_int(ps, "sampler.steps", 1, 256);
    if (!ps->error && mgv_schedule_parse(&c->schedule, schedule) < 0)
        bad_value(ps, "sampler.schedule", schedule, "cosine, uniform, exp, log, powE or poly:c,..");
    c->choice_temperature = get_double(ps, "sampler.choice_temperature", 0, 1e6);
    c->temperature        = get_double(ps, "sampler.temperature", 0, 1e6);
}

int mgv_config_parse(MgvConfig *c, const MgvSafetensors *st, const MagvitLogger *log)
{
    Parser ps = { st, log, 0 };
    const char *format = mgv_safetensors_meta(st, "format");
    int ret;

    memset(c, 0, sizeof(*c));
    if (!format || strcmp(format, "magvit")) {
        mgv_err(log, "model: metadata \"format\" is \"%.64s\", expected \"magvit\"", format ? format : "(missing)");
        return MAGVIT_ERROR_MODEL;
    }
    get_int(&ps, "format_version", 1, 1);
    snprintf(c->name, sizeof(c->name), "%s", get(&ps, "name"));
    parse_tokenizer(&ps, c);
    parse_transformer(&ps, c);
    parse_sampler(&ps, c);
    if (ps.error)
        return ps.error;
    derive_strides(c);
    ret = check_consistency(c, log);
    if (ret < 0)
        return ret;
    warn_unknown_keys(&ps);
    if (mgv_safetensors_meta(st, "class_names")) {
        c->class_names = mgv_strdup(mgv_safetensors_meta(st, "class_names"));
        if (!c->class_names)
            return MAGVIT_ERR(ENOMEM);
    }
    return 0;
}

void mgv_config_uninit(MgvConfig *c)
{
    mgv_freep(&c->class_names);
}

int mgv_config_preset(MgvConfig *c, const char *name, int multi_task, int num_classes)
{
    /* Specification 1.1 and 2.1; S pairs the code's S transformer with a tokenizer of half B's width. */
    static const struct { char name; int base, layers, hidden, heads, mlp; } presets[] = {
        { 'S',  32, 12,  384,  6, 1536 },
        { 'B',  64, 12,  768, 12, 3072 },
        { 'L', 128, 24, 1024, 16, 4096 },
    };
    static const int multipliers[] = { 1, 2, 2, 4 }, temporal[] = { 1, 1, 0 };

    memset(c, 0, sizeof(*c));
    for (size_t i = 0; i < MGV_ARRAY_LEN(presets); i++) {
        if (name[0] != presets[i].name || name[1])
            continue;
        snprintf(c->name, sizeof(c->name), "magvit-%s", name);
        c->base_channels = presets[i].base;
        c->layers        = presets[i].layers;
        c->hidden        = presets[i].hidden;
        c->heads         = presets[i].heads;
        c->mlp           = presets[i].mlp;
        memcpy(c->multipliers, multipliers, sizeof(multipliers));
        memcpy(c->temporal_downsample, temporal, sizeof(temporal));
        c->nb_levels     = 4;
        c->res_blocks    = 2;
        c->embedding_dim = 256;
        c->codebook_size = 1024;
        c->padding       = MGV_PAD_REFLECT;
        c->groups        = 32;
        c->norm_eps      = 1e-6f;
        c->frames        = 16;
        c->height        = c->width = 128;
        derive_strides(c);
        c->multi_task    = multi_task;
        c->num_classes   = num_classes;
        c->vocab         = expected_vocab(c);
        c->length        = expected_length(c);
        c->ln_eps        = 1e-12f;
        c->own_inpainting_token = 1;
        c->steps         = 12;
        c->schedule.type = MGV_SCHEDULE_COSINE;
        c->choice_temperature = 4.5;
        c->temperature   = 1.0;
        return 0;
    }
    return MAGVIT_ERR(EINVAL);
}

static int64_t resblock_params(int64_t cin, int64_t cout)
{
    return 2 * cin + 27 * cin * cout + 2 * cout + 27 * cout * cout + (cin != cout ? cin * cout : 0);
}

/* The pyramid of known pixels: a level's first convolution reads what the level above gives. */
static int64_t known_params(const MgvConfig *c)
{
    int64_t n = 0, cin = 4;

    for (int i = 0; i < c->nb_levels; i++) {
        const int64_t width = (int64_t)c->base_channels * c->multipliers[i];
        const int64_t cout  = (int64_t)c->base_channels * c->multipliers[MGV_MIN(i + 1, c->nb_levels - 1)];
        n += 27 * (cin * width + width * cout);
        cin = cout;
    }
    return n;
}

int64_t mgv_config_tokenizer_params(const MgvConfig *c)
{
    const int64_t d = c->embedding_dim, top = (int64_t)c->base_channels * c->multipliers[c->nb_levels - 1];
    int64_t ch = c->base_channels, n;

    n = 27 * 3 * ch;                                            /* encoder.conv_in */
    for (int i = 0; i < c->nb_levels; i++) {
        const int64_t cout = (int64_t)c->base_channels * c->multipliers[i];
        n += resblock_params(ch, cout) + (c->res_blocks - 1) * resblock_params(cout, cout);
        ch = cout;
    }
    n += c->res_blocks * resblock_params(top, top) + 2 * top + top * d + d;
    n += c->codebook_size * d;
    n += 27 * d * top + top + c->res_blocks * resblock_params(top, top);
    for (int i = c->nb_levels - 1; i >= 0; i--) {
        const int64_t cout = (int64_t)c->base_channels * c->multipliers[i];
        n += resblock_params(ch, cout) + (c->res_blocks - 1) * resblock_params(cout, cout);
        ch = cout;
        if (i > 0)
            n += 27 * ch * ch + ch;
    }
    if (c->known_pixels)
        n += known_params(c);
    if (c->known_pixels == MGV_KNOWN_GATED)
        n += 27 * c->base_channels * c->multipliers[0] + 1;
    return n + 2 * ch + 27 * 3 * ch + 3;
}

int64_t mgv_config_transformer_params(const MgvConfig *c)
{
    const int64_t h = c->hidden, m = c->mlp;
    const int64_t layer = 4 * (h * h + h) + 2 * h + h * m + m + m * h + h + 2 * h;

    return (c->vocab + c->length) * h + 2 * h + c->layers * layer + h * h + h + 2 * h + c->vocab;
}

int mgv_token_mask(const MgvConfig *c)
{
    return c->vocab - 1;
}

int mgv_token_class(const MgvConfig *c, int class_id)
{
    return c->codebook_size + (class_id < 0 ? c->num_classes : class_id);
}

int mgv_token_prompt(const MgvConfig *c, enum MgvPrompt prompt)
{
    if (prompt == MGV_PROMPT_INPAINT && !c->own_inpainting_token)
        prompt = MGV_PROMPT_OUTPAINT;
    return c->vocab - 3 - (int)prompt;
}

int mgv_prefix_length(const MgvConfig *c)
{
    return c->multi_task ? 2 : 1;
}
