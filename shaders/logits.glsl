/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * Logits of a token: with guidance, over the temperature, and the filters
 * top_k and top_p. Only draw.comp.glsl includes it.
 */

layout(constant_id = 0) const bool GUIDED = false; // half the sequences run without condition

layout(push_constant, std430) uniform Push {
    Head head;
    Samples samples;
    Floats logits;
    Tokens tokens;
    Ints w1;
    OutInts o;
    uint nb_samples, nb_tokens, prefix, length_, nb_codes;
};

uint with, without; // first logit of the token, and of it in the run without condition

float logit(uint code)
{
    const float l = logits.v[with + code];

    if (!GUIDED)
        return l;
    precise const float d = l - logits.v[without + code], guided = l + head.guidance * d;
    return guided;
}

/* The logit over the temperature, rounded as the host does. */
float warmed(float l)
{
    return head.temperature == 1.0 ? l : divide(vec2(l, 0), vec2(head.temperature, 0)).x;
}

/* Bits that rise with the number. */
uint key(float x)
{
    const uint bits = floatBitsToUint(x);

    return x == 0.0 ? 0x80000000u : bits >> 31 == 1 ? ~bits : bits | 0x80000000u;
}

/* How much lies at or above a key: codes, or probability relative to that of the top. */
vec2 mass(uint least, float top)
{
    vec2 mine = vec2(0);

    for (uint c = gl_LocalInvocationID.x; c < nb_codes; c += 128) {
        const float l = warmed(logit(c));

        if (key(l) >= least)
            mine = add(mine, vec2(head.top_k > 0 ? 1.0 : exponential(l - top), 0));
    }
    return pair_of_all(mine);
}

/* The highest key at or above which lie top_k codes, or the share top_p of the probability. */
uint threshold(float top)
{
    const vec2 all = mass(0, top);
    const vec2 share = add(multiply(all, head.top_p), vec2(all.x * head.top_p_low, 0));
    const vec2 want = head.top_k > 0 ? vec2(float(min(head.top_k, nb_codes)), 0) : share;
    uint least = 0;

    for (uint bit = 0x80000000u; bit > 0; bit >>= 1) {
        const vec2 have = mass(least | bit, top);

        if (have.x > want.x || have.x == want.x && have.y >= want.y)
            least |= bit;
    }
    return least;
}
