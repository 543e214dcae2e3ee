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

/* Model configuration: presets, vocabulary, metadata. */

#include <stdio.h>
#include <string.h>

#include "libmagvit/model.h"
#include "tests/unit/unit.h"

/* Counts of the specification, sections 1.1 and 2.1. */
static void test_parameter_counts(void)
{
    MgvConfig b, l;

    CU_ASSERT_EQUAL_FATAL(mgv_config_preset(&b, "B", 1, 0), 0);
    CU_ASSERT_EQUAL_FATAL(mgv_config_preset(&l, "L", 1, 0), 0);
    CU_ASSERT_EQUAL(mgv_config_tokenizer_params(&b), 40579843);
    CU_ASSERT_EQUAL(mgv_config_tokenizer_params(&l), 157811971);
    CU_ASSERT_EQUAL(mgv_config_transformer_params(&b), 87236625);
    CU_ASSERT_EQUAL(mgv_config_transformer_params(&l), 305480721);
    mgv_config_preset(&b, "B", 0, 101);
    mgv_config_preset(&l, "L", 0, 101);
    CU_ASSERT_EQUAL(mgv_config_transformer_params(&b), 87301991);
    CU_ASSERT_EQUAL(mgv_config_transformer_params(&l), 305567847);
    b.known_pixels = l.known_pixels = MGV_KNOWN_ZERO;
    CU_ASSERT_EQUAL(mgv_config_tokenizer_params(&b), 46558723);
    CU_ASSERT_EQUAL(mgv_config_tokenizer_params(&l), 181713667);
    CU_ASSERT_EQUAL(mgv_config_preset(&b, "S", 1, 0), 0);
    CU_ASSERT(mgv_config_preset(&b, "XL", 1, 0) < 0);
}

/* Examples of the specification, section 2.3. */
static void test_vocabulary(void)
{
    MgvConfig c;

    mgv_config_preset(&c, "B", 0, 101); /* UCF-101 class generation */
    CU_ASSERT_EQUAL(c.vocab, 1127);
    CU_ASSERT_EQUAL(c.length, 1025);
    CU_ASSERT_EQUAL(mgv_token_class(&c, -1), 1125);
    CU_ASSERT_EQUAL(mgv_token_class(&c, 100), 1124);
    CU_ASSERT_EQUAL(mgv_token_mask(&c), 1126);
    mgv_config_preset(&c, "B", 1, 174); /* SSv2, ten tasks */
    CU_ASSERT_EQUAL(c.vocab, 1215);
    CU_ASSERT_EQUAL(c.length, 1026);
    CU_ASSERT_EQUAL(mgv_token_class(&c, -1), 1198);
    CU_ASSERT_EQUAL(mgv_token_mask(&c), 1214);
    CU_ASSERT_EQUAL(mgv_token_prompt(&c, MGV_PROMPT_CLASS), 1212);
    CU_ASSERT_EQUAL(mgv_token_prompt(&c, MGV_PROMPT_PREDICT), 1211);
    CU_ASSERT_EQUAL(mgv_token_prompt(&c, MGV_PROMPT_INTERP), 1210);
    CU_ASSERT_EQUAL(mgv_token_prompt(&c, MGV_PROMPT_OUTPAINT), 1209);
    CU_ASSERT_EQUAL(mgv_token_prompt(&c, MGV_PROMPT_INPAINT), 1208);
    c.own_inpainting_token = 0;
    CU_ASSERT_EQUAL(mgv_token_prompt(&c, MGV_PROMPT_INPAINT), 1209);
}

typedef struct Pair {
    const char *key, *value;
} Pair;

static const Pair tiny[] = {
    { "format", "magvit" }, { "format_version", "1" }, { "name", "test" },
    { "frames", "16" }, { "height", "32" }, { "width", "32" }, { "multi_task", "1" }, { "num_classes", "3" },
    { "class_names", "a,b,c" }, { "inpainting_token", "own" },
    { "tokenizer.base_channels", "8" }, { "tokenizer.channel_multipliers", "1,2,2,4" },
    { "tokenizer.temporal_downsample", "1,1,0" }, { "tokenizer.res_blocks", "1" },
    { "tokenizer.embedding_dim", "8" }, { "tokenizer.codebook_size", "64" }, { "tokenizer.padding", "reflect" },
    { "tokenizer.groups", "4" }, { "tokenizer.norm_eps", "1e-6" }, { "tokenizer.latent_normalize", "0" },
    { "transformer.variant", "bert" }, { "transformer.layers", "2" }, { "transformer.hidden", "32" },
    { "transformer.heads", "2" }, { "transformer.mlp", "64" }, { "transformer.vocab", "84" },
    { "transformer.length", "66" }, { "transformer.ln_eps", "1e-12" },
    { "sampler.steps", "12" }, { "sampler.schedule", "cosine" }, { "sampler.choice_temperature", "4.5" },
    { "sampler.temperature", "1" },
};

/* Parse the tiny metadata with one key changed (value NULL: left out). */
static int parse_with(MgvConfig *c, const char *key, const char *value)
{
    char json[4096];
    uint8_t file[4200] = { 0 };
    MgvSafetensors *st;
    size_t n = 0;
    int ret, seen = 0;

    n += snprintf(json + n, sizeof(json) - n, "{\"__metadata__\":{");
    for (size_t i = 0; i < MGV_ARRAY_LEN(tiny); i++) {
        const int hit = key && !strcmp(key, tiny[i].key);
        seen |= hit;
        if (!hit || value)
            n += snprintf(json + n, sizeof(json) - n, "\"%s\":\"%s\",", tiny[i].key, hit ? value : tiny[i].value);
    }
    if (key && !seen)
        n += snprintf(json + n, sizeof(json) - n, "\"%s\":\"%s\",", key, value);
    n += snprintf(json + n - 1, sizeof(json) - n, "}}") - 1;
    file[0] = n & 255;
    file[1] = (uint8_t)(n >> 8);
    memcpy(file + 8, json, n);
    ret = mgv_safetensors_open(&st, unit_write("config.safetensors", file, n + 8), &unit_log);
    CU_ASSERT_EQUAL_FATAL(ret, 0);
    unit_log_reset();
    ret = mgv_config_parse(c, st, &unit_log);
    mgv_safetensors_close(&st);
    return ret;
}

static void test_parse(void)
{
    MgvConfig c;

    CU_ASSERT_EQUAL(parse_with(&c, NULL, NULL), 0);
    CU_ASSERT_EQUAL(unit_lines, 0);
    CU_ASSERT_STRING_EQUAL(c.class_names, "a,b,c");
    CU_ASSERT_EQUAL(c.latent_t, 4);
    CU_ASSERT_EQUAL(c.latent_h, 4);
    CU_ASSERT_EQUAL(c.stride_t, 4);
    CU_ASSERT_EQUAL(c.stride_w, 8);
    CU_ASSERT_EQUAL(c.nb_levels, 4);
    CU_ASSERT_EQUAL(c.multipliers[3], 4);
    CU_ASSERT_EQUAL(c.padding, MGV_PAD_REFLECT);
    mgv_config_uninit(&c);
    /* Published configurations carry one temporal flag too many. */
    CU_ASSERT_EQUAL(parse_with(&c, "tokenizer.temporal_downsample", "1,1,0,0"), 0);
    mgv_config_uninit(&c);
    CU_ASSERT_EQUAL(parse_with(&c, "colour", "blue"), 0);
    CU_ASSERT_EQUAL(unit_lines, 1);
    mgv_config_uninit(&c);
}

/* Files from before the key have no such input. */
static void test_known_pixels(void)
{
    MgvConfig c;

    CU_ASSERT_EQUAL(parse_with(&c, NULL, NULL), 0);
    CU_ASSERT_EQUAL(c.known_pixels, MGV_KNOWN_NONE);
    mgv_config_uninit(&c);
    for (int i = 0; i < MGV_KNOWN_NB; i++) {
        CU_ASSERT_EQUAL(parse_with(&c, "tokenizer.known_pixels", mgv_known_pixels_name(i)), 0);
        CU_ASSERT_EQUAL((int)c.known_pixels, i);
        CU_ASSERT_EQUAL(unit_lines, 0);
        mgv_config_uninit(&c);
    }
    CU_ASSERT_EQUAL(parse_with(&c, "tokenizer.known_pixels", "all"), MAGVIT_ERROR_MODEL);
    CU_ASSERT_STRING_EQUAL(unit_line, "model: metadata \"tokenizer.known_pixels\" is \"all\", expected "
                                      "\"none\", \"zero\", \"padded\" or \"gated\"");
}

/* Each bad value is one line that names the key. */
static void test_bad_values(void)
{
    static const Pair bad[] = {
        { "format", "other" }, { "format", NULL }, { "format_version", "2" }, { "name", NULL },
        { "frames", "0" }, { "frames", "-1" }, { "frames", "x" }, { "frames", "" }, { "frames", "99999999999999999999" },
        { "height", "33" }, { "multi_task", "2" }, { "num_classes", "-1" }, { "inpainting_token", "mine" },
        { "tokenizer.base_channels", "7" }, { "tokenizer.channel_multipliers", "" },
        { "tokenizer.channel_multipliers", "1,,2" }, { "tokenizer.channel_multipliers", "1,2," },
        { "tokenizer.channel_multipliers", "1,1,1,1,1,1,1,1,1" }, { "tokenizer.temporal_downsample", "1,1" },
        { "tokenizer.temporal_downsample", "1,2,0" }, { "tokenizer.padding", "mirror" },
        { "tokenizer.known_pixels", "1" }, { "tokenizer.known_pixels", "" },
        { "tokenizer.groups", "3" }, { "tokenizer.groups", "0" }, { "tokenizer.norm_eps", "nan" },
        { "transformer.variant", "t5_bert" }, { "transformer.heads", "3" }, { "transformer.vocab", "85" },
        { "transformer.length", "65" }, { "sampler.schedule", "cubic" }, { "sampler.temperature", "-1" },
        { "sampler.steps", "0" },
    };

    for (size_t i = 0; i < MGV_ARRAY_LEN(bad); i++) {
        MgvConfig c;
        CU_ASSERT_EQUAL(parse_with(&c, bad[i].key, bad[i].value), MAGVIT_ERROR_MODEL);
        CU_ASSERT_EQUAL(unit_lines, 1);
    }
}

CU_ErrorCode add_config_suite(void)
{
    static const UnitTest tests[] = {
        { "parameter counts of B and L", test_parameter_counts },
        { "vocabulary layout", test_vocabulary },
        { "metadata", test_parse },
        { "known pixels", test_known_pixels },
        { "bad metadata", test_bad_values },
        { NULL, NULL }
    };
    return unit_add("config", tests);
}
