/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * What the shaders of the decoding loop share: struct Head, Sample and Token
 * of kernels/vk_sampler.c.
 */

#include "common.glsl"

struct Step {
    uint masked;            // tokens that stay masked after it
    float noise, noise_low; // of the ranking: a pair, see pair.glsl
    uint reserved;
};

/* Of a run; the host writes it, but for step and failed. */
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Head {
    uint seed_low, seed_high, top_k;
    float temperature, top_p, top_p_low, guidance;
    uint reserved[7];
    int step;     // that is running
    uint unused;
    Step steps[256];
    uint failed[32]; // of a sample: 1 if one of its logits was not finite; no atomics, which would want a feature more
};

/* Of a sample; the host writes it. */
struct Sample {
    uint window;      // counter word of the random numbers
    int prefix[2];    // ids before the tokens
    int without[2];   // the same in the run without condition
    uint reserved[3];
};
layout(buffer_reference, std430, buffer_reference_align = 16) restrict readonly buffer Samples { Sample v[]; };

/* Of a token of a sample. */
struct Token {
    int cond;         // condition, -1: none
    int current;      // what the transformer sees, -1: [MASK]
    int drawn;
    uint unknown;     // 1: not decided yet
    float score, score_low; // of the ranking: a pair
};
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Tokens { Token v[]; };

const float DECIDED = 3.4e38; // score of tokens that take no part in the ranking
