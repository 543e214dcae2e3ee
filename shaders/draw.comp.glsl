#version 460
/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * A code for each undecided token, and the score that its draw has in the
 * ranking, as libmagvit/sampler.c does it: a workgroup a token.
 */

#extension GL_GOOGLE_include_directive : require
#include "sampler.glsl"
#include "random.glsl"
#include "sum.glsl"
#include "reduce.glsl"
#include "logits.glsl"

layout(local_size_x = 128) in;
const uint LANE_CHOICE = 0xffffffffu;

/* Categorical draw by the Gumbel trick. */
uint draw(uvec4 counter, uvec2 seed, uint least, uint likeliest)
{
    float best = -3.4e38;
    uint code = likeliest;

    for (uint c = gl_LocalInvocationID.x * 4; c < nb_codes; c += 512) {
        counter.w = c / 4;
        const uvec4 r = philox(counter, seed);

        for (uint k = 0; k < 4 && c + k < nb_codes; k++) {
            const float l = warmed(logit(c + k));
            precise const float value = l + gumbel(r[k]);

            if (key(l) >= least && value > best) {
                best = value;
                code = c + k;
            }
        }
    }
    return winner(best, code, best);
}

/* Score of a code: its ln softmax at temperature 1, and noise. */
vec2 score(uint code, float top, uvec4 counter, uvec2 seed)
{
    const Step s = head.steps[head.step];
    vec2 mine = vec2(0);

    for (uint c = gl_LocalInvocationID.x; c < nb_codes; c += 128)
        mine = add(mine, vec2(exponential(logit(c) - top), 0));
    counter.w = LANE_CHOICE;
    const vec2 likely = add(sum(logit(code), -top), -logarithm(pair_of_all(mine)));

    return add(likely, multiply(vec2(s.noise, s.noise_low), gumbel(philox(counter, seed).x)));
}

void main()
{
    const uint i = group_index(), tid = gl_LocalInvocationID.x;

    if (i >= nb_samples * nb_tokens)
        return;
    const uint s = i / nb_tokens, t = i % nb_tokens;
    const uvec2 seed = uvec2(head.seed_low, head.seed_high);
    const uvec4 counter = uvec4(t, uint(head.step), samples.v[s].window, 0);
    float top = -3.4e38;
    uint code = 0;

    with = (s * length_ + prefix + t) * nb_codes;
    without = ((nb_samples + s) * length_ + prefix + t) * nb_codes;
    for (uint c = tid; c < nb_codes; c += 128) {
        const float l = logit(c);

        if ((floatBitsToUint(l) & 0x7f800000u) == 0x7f800000u)
            head.failed[s] = 1;
        if (l > top) {
            top = l;
            code = c;
        }
    }
    code = winner(top, code, top);
    if (tokens.v[i].unknown == 0) {
        if (tid == 0)
            tokens.v[i].score = DECIDED;
        return;
    }
    if (head.temperature > 0.0) {
        const bool filtered = head.top_k > 0 || head.top_p < 1.0;

        code = draw(counter, seed, filtered ? threshold(warmed(top)) : 0, code);
    }
    const vec2 points = score(code, top, counter, seed);

    if (tid == 0) {
        tokens.v[i].drawn = int(code);
        tokens.v[i].score = points.x;
        tokens.v[i].score_low = points.y;
    }
}
