#version 460
/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * The decoding loop of libmagvit/sampler.c round draw.comp.glsl: before the
 * first step, before each step, and after it. A thread a token, or an id.
 */

#extension GL_GOOGLE_include_directive : require
#include "sampler.glsl"

layout(local_size_x = 256) in;
const uint START = 0; // take the conditions over; nothing is decided yet
const uint IDS = 1;   // ids of the next step
const uint COMMIT = 2; // fix the likeliest draws, give the others their condition back
const uint END = 3;    // the codes
layout(constant_id = 0) const uint PART = START;
layout(constant_id = 1) const bool GUIDED = false; // half the sequences run without condition

layout(push_constant, std430) uniform Push {
    Head head;
    Samples samples;
    Ints codes;   // START: of the encoder
    Tokens tokens;
    Ints conds;   // START: condition, -1: none, -2: the encoder's code
    OutInts ids;  // IDS, END: codes
    uint nb_samples, nb_tokens, prefix, length_;
    int mask;
};

void start(uint i)
{
    const int cond = conds.v[i] == -2 ? codes.v[i] : conds.v[i];

    tokens.v[i] = Token(cond, cond, 0, 1, 0.0, 0.0);
    if (i == 0) {
        head.step = -1;
        for (uint s = 0; s < nb_samples; s++)
            head.failed[s] = 0;
    }
}

/* A token that still equals its condition counts as undecided where there is no condition. */
int id_of(uint sequence, uint place)
{
    const bool without = GUIDED && sequence >= nb_samples;
    const uint s = without ? sequence - nb_samples : sequence;

    if (place < prefix)
        return without ? samples.v[s].without[place] : samples.v[s].prefix[place];
    const uint i = s * nb_tokens + place - prefix;
    const int current = tokens.v[i].current;

    return current < 0 || (without && current == tokens.v[i].cond) ? mask : current;
}

void commit(uint i)
{
    const uint first = i / nb_tokens * nb_tokens;
    const float score = tokens.v[i].score, low = tokens.v[i].score_low;
    uint before = 0;

    if (tokens.v[i].unknown == 0)
        return;
    for (uint k = first; k < first + nb_tokens; k++) {
        const float s = tokens.v[k].score, l = tokens.v[k].score_low;

        before += uint(s < score || s == score && (l < low || l == low && k < i));
    }
    const bool masked = before < head.steps[head.step].masked;

    tokens.v[i].unknown = uint(masked);
    tokens.v[i].current = masked ? tokens.v[i].cond : tokens.v[i].drawn;
}

void main()
{
    const uint i = thread_index();

    if (PART == IDS) {
        if (i < nb_samples * (GUIDED ? 2 : 1) * length_)
            ids.v[i] = id_of(i / length_, i % length_);
        if (i == 0)
            head.step++;
    } else if (i < nb_samples * nb_tokens) {
        if (PART == START)
            start(i);
        else if (PART == END)
            ids.v[i] = tokens.v[i].current;
        else
            commit(i);
    }
}
