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
 * The MAGVIT model: configuration, the three plans, the decoding loop.
 * Knows no backend; the loop gets its logits through a callback.
 */

#ifndef MAGVIT_MODEL_H
#define MAGVIT_MODEL_H

#include "libmagvit/common.h"
#include "libmagvit/plan.h"
#include "libmagvit/safetensors.h"

/* ---- path.c: where model files lie ---------------------------------------- */

/**
 * Find the file that model names, or the default model if it is NULL, see MagvitSettings.model.
 * @param path  receives a string, to be freed by mgv_freep(); unchanged on failure
 * @return 0, ENOENT with a line that lists where it was looked for, ENOMEM
 */
int mgv_find_model(char **path, const char *model, const MagvitLogger *log);

#define MGV_MAX_LEVELS 8

enum MgvSchedule {
    MGV_SCHEDULE_COSINE,
    MGV_SCHEDULE_UNIFORM,
    MGV_SCHEDULE_POW,  ///< 1 - p^E
    MGV_SCHEDULE_EXP,
    MGV_SCHEDULE_LOG,
    MGV_SCHEDULE_POLY, ///< polynomial in p, highest power first
};

#define MGV_MAX_POLY 16

/** What the decoder sees of the given pixels of a window. */
enum MgvKnownPixels {
    MGV_KNOWN_NONE,   ///< nothing, as in the paper
    MGV_KNOWN_ZERO,   ///< them, and black elsewhere
    MGV_KNOWN_PADDED, ///< the condition clip, padding included, as the encoder
    MGV_KNOWN_GATED,  ///< as PADDED; a second output says how much of the clip shows through
    MGV_KNOWN_NB
};

typedef struct MgvMaskSchedule {
    enum MgvSchedule type;
    double exponent;           ///< POW
    double poly[MGV_MAX_POLY]; ///< POLY coefficients
    int nb_poly;
} MgvMaskSchedule;

/** Everything that the metadata of a model file says. Counts and sizes are checked to be sane and consistent. */
typedef struct MgvConfig {
    char name[64];

    /* tokenizer */
    int base_channels;
    int multipliers[MGV_MAX_LEVELS];
    int nb_levels;
    int temporal_downsample[MGV_MAX_LEVELS]; ///< one per transition, nb_levels - 1
    int res_blocks;      ///< per level, and in the middle
    int embedding_dim;
    int codebook_size;
    enum MgvPad padding;
    int groups;
    float norm_eps;
    int latent_normalize;
    enum MgvKnownPixels known_pixels;
    int frames, height, width;               ///< of a window
    int latent_t, latent_h, latent_w;        ///< derived
    int stride_t, stride_h, stride_w;        ///< pixels a latent cell covers, derived

    /* transformer */
    int layers, hidden, heads, mlp;
    int vocab;
    int length;          ///< prefix + latent tokens
    float ln_eps;
    int multi_task;      ///< 1: a task token comes first
    int num_classes;
    char *class_names;   ///< comma separated, may be NULL
    int own_inpainting_token; ///< 0: inpainting uses the outpainting prompt, as the published code

    /* decoding defaults */
    int steps;
    MgvMaskSchedule schedule;
    double choice_temperature;
    double temperature;
} MgvConfig;

/** Prompt tokens of the multi-task vocabulary. */
enum MgvPrompt { MGV_PROMPT_CLASS, MGV_PROMPT_PREDICT, MGV_PROMPT_INTERP, MGV_PROMPT_OUTPAINT, MGV_PROMPT_INPAINT };

/** Parse and check metadata. MAGVIT_ERROR_MODEL with a line naming the key, value and expectation. */
int mgv_config_parse(MgvConfig *c, const MgvSafetensors *st, const MagvitLogger *log);
void mgv_config_uninit(MgvConfig *c);

/** Preset "S", "B" or "L" of the paper at 128x128. num_classes, multi_task as given. EINVAL for another name. */
int mgv_config_preset(MgvConfig *c, const char *name, int multi_task, int num_classes);

/** Trained values of the tokenizer (encoder, codebook, decoder) and the transformer of a configuration. */
int64_t mgv_config_tokenizer_params(const MgvConfig *c);
int64_t mgv_config_transformer_params(const MgvConfig *c);

/* Vocabulary, specification 2.3. */
int mgv_token_mask(const MgvConfig *c);
int mgv_token_class(const MgvConfig *c, int class_id); ///< class_id -1: unconditional
int mgv_token_prompt(const MgvConfig *c, enum MgvPrompt prompt); ///< multi_task only
int mgv_prefix_length(const MgvConfig *c); ///< 1 or 2

/* Plans. batch >= 1. */
/** "clip" [batch,T,H,W,3] F32 -> "codes" [batch,t,h,w,1] I32 */
int mgv_build_encoder(MgvPlan **out, const MgvConfig *c, int batch, const MgvSafetensors *st, const MagvitLogger *log);
/**
 * "codes" [batch,t,h,w,1] I32 -> "clip" [batch,T,H,W,3] F32, not clipped. With c->known_pixels there is a second
 * input, "known" [batch,T,H,W,4] F32, see mgv_known_input(); MGV_KNOWN_GATED has a second output, "gate"
 * [batch,T,H,W,1] F32, see mgv_known_show().
 */
int mgv_build_decoder(MgvPlan **out, const MgvConfig *c, int batch, const MgvSafetensors *st, const MagvitLogger *log);
/** "ids" [batch,1,1,length,1] I32 -> "logits" [batch,1,1,length,codebook_size] F32 */
int mgv_build_transformer(MgvPlan **out, const MgvConfig *c, int batch, const MgvSafetensors *st, const MagvitLogger *log);

/**
 * The decoder's input "known": red, green and blue of a condition, and 1 where a pixel is given. In a frame of which
 * something is given a smooth surface takes the place of black padding, but for MGV_KNOWN_ZERO, which shows no padding.
 * @param clip    [T,H,W,3] condition clip V~, NULL: nothing is given
 * @param known   [T,H,W] 1 = given, NULL with clip
 * @param out     receives [T,H,W,4]
 * @param scratch mgv_fill_scratch(width, height) values; may be NULL for MGV_KNOWN_ZERO
 */
void mgv_known_input(const MgvConfig *c, const float *clip, const uint8_t *known, float *out, float *scratch);
size_t mgv_fill_scratch(int w, int h);

/**
 * Show the condition through a decoded clip: clip += sigmoid(gate) * (seen - clip), if any pixel is known; where an
 * unknown pixel is black, as in frames of which nothing is known, nothing shows.
 * @param seen  [T,H,W,4] the decoder's input "known"
 * @param gate  [T,H,W]
 * @param clip  [T,H,W,3]
 */
void mgv_known_show(const MgvConfig *c, const float *seen, const float *gate, float *clip);

/** "none", "zero", "padded", "gated" */
const char *mgv_known_pixels_name(enum MgvKnownPixels k);

/* Decoding loop, specification 5. */

typedef struct MgvSamplerParams {
    int tokens;                ///< N, visual tokens
    int codes;                 ///< codebook size
    int steps;                 ///< K
    MgvMaskSchedule schedule;
    double choice_temperature; ///< T_c
    double temperature;        ///< 0: greedy
    int top_k;                 ///< 0: all
    double top_p;              ///< 1: all
    uint64_t seed;
    uint32_t window;           ///< counter word of the random numbers
} MgvSamplerParams;

/**
 * Logits for one step.
 * @param tokens  [N] input tokens: code, or -1 for [MASK]
 * @param unknown [N] 1: to be drawn
 * @param logits  receives [N,codes]; those of tokens that are not to be drawn are not used
 */
typedef int MgvLogitsFn(void *opaque, int step, const int32_t *tokens, const uint8_t *unknown, float *logits);

/**
 * Masked decoding.
 * @param cond [N] condition token z~_i, or -1 where nothing is known; never NULL
 * @param team threads to draw with, may be NULL: the result is the same
 * @param out  receives [N] codes
 * @return 0, the callback's error, MAGVIT_ERROR_DEVICE for logits that are not finite, MAGVIT_ERR(ENOMEM)
 */
int mgv_sampler_run(const MgvSamplerParams *sp, const int32_t *cond, const MgvTeam *team, MgvLogitsFn *fn, void *opaque,
                    int32_t *out);

/**
 * What mgv_sampler_run() does whatever the logits are, for loops elsewhere.
 * @param masked receives [steps] how many tokens stay masked after each step, 0 after the last
 * @param noise  receives [steps] weight of the ranking's noise
 * @return number of steps that are run, at most sp->steps
 */
int mgv_sampler_passes(const MgvSamplerParams *sp, int *masked, double *noise);

/** Floats that a draw works with. */
size_t mgv_draw_scratch(int codes);
/**
 * Draw a code for a token: softmax of logits / temperature, less what top_k and top_p leave out; at temperature 0 the
 * likeliest. The lowest on ties.
 * @param log_p receives ln softmax(logits)[code] at temperature 1, NULL: not needed
 * @return the code, or MAGVIT_ERROR_DEVICE for logits that are not finite
 */
int mgv_draw(const MgvSamplerParams *sp, const float *logits, uint32_t step, uint32_t token, float *scratch, double *log_p);

/** gamma(p): fraction still masked at progress p in (0,1], clamped to [1e-6,1]; n is the number of tokens. */
double mgv_schedule_gamma(const MgvMaskSchedule *s, double p, int n);
/** Parse "cosine", "uniform" or "linear", "exp", "log", "pow2.5", "poly:c,..". MAGVIT_ERR(EINVAL) otherwise. */
int mgv_schedule_parse(MgvMaskSchedule *s, const char *text);

/** Philox4x32-10 block for (seed, window, step, token, lane). */
void mgv_rng_block(uint32_t out[4], uint64_t seed, uint32_t window, uint32_t step, uint32_t token, uint32_t lane);
/** Uniform from 24 bits of x, ((x >> 8) + 0.5) / 2^24 in double: never 0 or 1. */
double mgv_rng_uniform(uint32_t x);
/** Standard Gumbel from a uniform in (0,1). */
float mgv_rng_gumbel(double u);

#endif /* MAGVIT_MODEL_H */
