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
 * Masked decoding (paper section 3.2, algorithm 1; where the published code
 * differs from the paper's listing, the code is followed) and its random
 * numbers. Counter based: every number depends on (seed, window, step, token,
 * code) alone, never on order, threads or how a stream was cut into shards.
 *
 * Philox4x32-10 with key = seed (low, high word) and counter =
 * (token, step, window, lane): lane b holds the noise of codes 4b..4b+3, lane
 * 0xffffffff the noise of the ranking in its first word.
 */

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <Random123/philox.h>

#include "libmagvit/model.h"

#define LANE_CHOICE 0xffffffffu
#define LOGIT_MASKED (-1e7f)

typedef struct Candidate {
    double score;
    int token;
} Candidate;

/* Tokens are drawn in as many parts, so that threads can share them. */
#define NB_PARTS 32

typedef struct Sampler {
    const MgvSamplerParams *sp;
    const int32_t *cond;
    int32_t *cur;        /* [N] input tokens, -1: [MASK] */
    int32_t *drawn;      /* [N] the caller's */
    uint8_t *unknown;    /* [N] */
    float *logits;       /* [N,codes] */
    float *rows;         /* [NB_PARTS,2,codes] logits of a token after temperature and filters; they sorted */
    Candidate *ranking;  /* [N] */
    double *score;       /* [N] */
    int step, last;      /* last: nothing will be ranked */
    int bad[NB_PARTS];   /* a logit was not finite */
} Sampler;

/* What one part works with. */
typedef struct Scratch {
    float *row, *sorted;
} Scratch;

void mgv_rng_block(uint32_t out[4], uint64_t seed, uint32_t window, uint32_t step, uint32_t token, uint32_t lane)
{
    const philox4x32_ctr_t ctr = { { token, step, window, lane } };
    const philox4x32_key_t key = { { (uint32_t)seed, (uint32_t)(seed >> 32) } };
    const philox4x32_ctr_t r = philox4x32_R(10, ctr, key);

    memcpy(out, r.v, sizeof(r.v));
}

double mgv_rng_uniform(uint32_t x)
{
    return ((x >> 8) + 0.5) / 16777216.0;
}

float mgv_rng_gumbel(double u)
{
    return (float)-log(-log(u));
}

double mgv_schedule_gamma(const MgvMaskSchedule *s, double p, int n)
{
    const double log2n = log2(n);
    double g = 0;

    switch (s->type) {
    case MGV_SCHEDULE_COSINE:  g = cos(M_PI / 2 * p);            break;
    case MGV_SCHEDULE_UNIFORM: g = 1 - p;                        break;
    case MGV_SCHEDULE_POW:     g = 1 - pow(p, s->exponent);      break;
    case MGV_SCHEDULE_EXP:     g = 1 - exp2(-log2n * (1 - p));   break;
    case MGV_SCHEDULE_LOG:     g = -log2(p) / log2n;             break;
    case MGV_SCHEDULE_POLY:
        for (int i = 0; i < s->nb_poly; i++)
            g = g * p + s->poly[i];
        break;
    }
    return MGV_CLAMP(g, 1e-6, 1.0);
}

static int parse_poly(MgvMaskSchedule *s, const char *text)
{
    for (s->nb_poly = 0; s->nb_poly < MGV_MAX_POLY; text++) {
        char *end;
        s->poly[s->nb_poly] = strtod(text, &end);
        if (end == text || !isfinite(s->poly[s->nb_poly]))
            return MAGVIT_ERR(EINVAL);
        s->nb_poly++;
        text = end;
        if (!*text)
            return 0;
        if (*text != ',')
            return MAGVIT_ERR(EINVAL);
    }
    return MAGVIT_ERR(EINVAL);
}

int mgv_schedule_parse(MgvMaskSchedule *s, const char *text)
{
    static const struct { const char *name; enum MgvSchedule type; } names[] = {
        { "cosine",  MGV_SCHEDULE_COSINE },
        { "uniform", MGV_SCHEDULE_UNIFORM },
        { "linear",  MGV_SCHEDULE_UNIFORM },
        { "exp",     MGV_SCHEDULE_EXP },
        { "log",     MGV_SCHEDULE_LOG },
    };

    memset(s, 0, sizeof(*s));
    for (size_t i = 0; i < MGV_ARRAY_LEN(names); i++) {
        if (!strcmp(text, names[i].name)) {
            s->type = names[i].type;
            return 0;
        }
    }
    if (!strncmp(text, "pow", 3)) {
        char *end;
        s->type     = MGV_SCHEDULE_POW;
        s->exponent = strtod(text + 3, &end);
        return end == text + 3 || *end || !(s->exponent > 0 && s->exponent < 1e6) ? MAGVIT_ERR(EINVAL) : 0;
    }
    if (!strncmp(text, "poly:", 5)) {
        s->type = MGV_SCHEDULE_POLY;
        return parse_poly(s, text + 5);
    }
    return MAGVIT_ERR(EINVAL);
}

static int descending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* Logit that the k-th likeliest code has, or at which the cumulative probability first reaches p. */
static float filter_threshold(const Scratch *s, const MgvSamplerParams *sp)
{
    double sum = 0, cumulative = 0;

    memcpy(s->sorted, s->row, sp->codes * sizeof(*s->sorted));
    qsort(s->sorted, sp->codes, sizeof(*s->sorted), descending);
    if (sp->top_k > 0)
        return s->sorted[MGV_MIN(sp->top_k, sp->codes) - 1];
    for (int j = 0; j < sp->codes; j++)
        sum += exp((double)s->sorted[j] - s->sorted[0]);
    for (int j = 0; j < sp->codes; j++) {
        cumulative += exp((double)s->sorted[j] - s->sorted[0]);
        if (cumulative >= sp->top_p * sum)
            return s->sorted[j];
    }
    return s->sorted[sp->codes - 1];
}

/* The lowest index on ties. In lanes, because compilers keep the order of one maximum for the sake of NaN. */
static int argmax(const float *x, int n)
{
    enum { LANES = 16 };
    float top[LANES];
    int j = 0, best;

    for (int k = 0; k < LANES; k++)
        top[k] = x[0];
    for (; j + LANES <= n; j += LANES) {
#pragma omp simd
        for (int k = 0; k < LANES; k++)
            top[k] = x[j + k] > top[k] ? x[j + k] : top[k];
    }
    for (; j < n; j++)
        top[0] = MGV_MAX(top[0], x[j]);
    for (int k = 1; k < LANES; k++)
        top[0] = MGV_MAX(top[0], top[k]);
    for (best = 0; best < n && x[best] != top[0]; best++)
        ;
    return best < n ? best : 0;
}

/*
 * Upper bound of the Gumbel noise of x without a logarithm: with v = 1 - u,
 * -ln(-ln(1 - v)) <= -ln v, and v's leading zeros bound its logarithm.
 */
static float gumbel_bound(uint32_t x)
{
#define B(k) ((k) + 1) * 0.69315f
    static const float bound[25] = { /* by leading zeros of 24 bits */
        B(0),  B(1),  B(2),  B(3),  B(4),  B(5),  B(6),  B(7),  B(8),  B(9),  B(10), B(11), B(12),
        B(13), B(14), B(15), B(16), B(17), B(18), B(19), B(20), B(21), B(22), B(23), B(24),
    };
#undef B
    /* a one behind the last bit, so that there always is one */
    return bound[__builtin_clz((0xffffffu - (x >> 8)) << 8 | 0x80)];
}

/*
 * Categorical draw by the Gumbel trick: argmax of logit + noise, lowest code on
 * ties. Codes that the bound of their noise cannot lift to the top are skipped,
 * which changes nothing but the time.
 */
static int draw_code(const Scratch *s, const MgvSamplerParams *sp, const float *l, uint32_t step, uint32_t token)
{
    const float most = gumbel_bound(UINT32_MAX);
    int best = argmax(l, sp->codes);
    uint32_t r[4];
    float best_value;

    if (sp->temperature <= 0)
        return best;
    for (int j = 0; j < sp->codes; j++)
        s->row[j] = l[j] / (float)sp->temperature;
    if (sp->top_k > 0 || sp->top_p < 1) {
        const float threshold = filter_threshold(s, sp);
        for (int j = 0; j < sp->codes; j++)
            if (s->row[j] < threshold)
                s->row[j] = LOGIT_MASKED;
    }
    /* The likeliest code first: what it reaches rules most others out. */
    mgv_rng_block(r, sp->seed, sp->window, step, token, (uint32_t)best / 4);
    best_value = s->row[best] + mgv_rng_gumbel(mgv_rng_uniform(r[best % 4]));
    for (int b = 0; b < sp->codes; b += 4) {
        const int n = MGV_MIN(4, sp->codes - b);
        float top = s->row[b];

        for (int j = 1; j < n; j++)
            top = MGV_MAX(top, s->row[b + j]);
        if (top + most < best_value)
            continue;
        mgv_rng_block(r, sp->seed, sp->window, step, token, (uint32_t)b / 4);
        for (int j = 0; j < n; j++) {
            float value;
            if (s->row[b + j] + gumbel_bound(r[j]) < best_value)
                continue;
            value = s->row[b + j] + mgv_rng_gumbel(mgv_rng_uniform(r[j]));
            if (value > best_value || (value == best_value && b + j < best)) {
                best_value = value;
                best       = b + j;
            }
        }
    }
    return best;
}

static float exp_sum(const float *x, int n, float top)
{
    float sum = 0;

#pragma omp simd reduction(+: sum)
    for (int j = 0; j < n; j++)
        sum += mgv_expf(x[j] - top);
    return sum;
}

/* ln softmax(l)[code] at temperature 1. */
static double log_probability(const float *l, int n, int code)
{
    const float top = l[argmax(l, n)];
    double sum = 0;

    for (int j = 0; j < n; j += 64)
        sum += exp_sum(l + j, MGV_MIN(64, n - j), top);
    return (double)l[code] - top - log(sum);
}

static int all_finite(const float *x, size_t n)
{
    uint32_t bad = 0, bits;

    for (size_t i = 0; i < n; i++) {
        memcpy(&bits, &x[i], sizeof(bits));
        bad |= (bits & 0x7f800000) == 0x7f800000;
    }
    return !bad;
}

static int by_score(const void *a, const void *b)
{
    const Candidate *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? -1 : 1;
    return x->token - y->token;
}

/* Number that stays masked after step, between 1 and one less than now; 0 when that is impossible. */
static int nb_masked(const MgvSamplerParams *sp, int step, int nb_unknown)
{
    const double p = (step + 1.0) / sp->steps;
    const int n = (int)floor(sp->tokens * mgv_schedule_gamma(&sp->schedule, p, sp->tokens));

    return MGV_MIN(MGV_MAX(n, 1), nb_unknown - 1);
}

/* Weight of the noise in the ranking after a step. */
static double ranking_noise(const MgvSamplerParams *sp, int step)
{
    return sp->choice_temperature * (1 - (step + 1.0) / sp->steps);
}

int mgv_sampler_passes(const MgvSamplerParams *sp, int *masked, double *noise)
{
    int nb_unknown = sp->tokens;

    for (int step = 0; step < sp->steps; step++) {
        noise[step]  = ranking_noise(sp, step);
        masked[step] = step + 1 < sp->steps ? MGV_MAX(nb_masked(sp, step, nb_unknown), 0) : 0;
        nb_unknown   = masked[step];
        if (!nb_unknown)
            return step + 1;
    }
    return sp->steps;
}

/* Score of a draw in the ranking: how sure it is, and noise. */
static double rank(const Sampler *s, const float *logits, int token)
{
    const MgvSamplerParams *sp = s->sp;
    uint32_t r[4];

    mgv_rng_block(r, sp->seed, sp->window, s->step, token, LANE_CHOICE);
    return log_probability(logits, sp->codes, s->drawn[token]) +
           ranking_noise(sp, s->step) * mgv_rng_gumbel(mgv_rng_uniform(r[0]));
}

/* Draw and score the unknown tokens of a part. */
static void draw_part(void *opaque, int part)
{
    Sampler *s = opaque;
    const MgvSamplerParams *sp = s->sp;
    const int end = (int)((int64_t)sp->tokens * (part + 1) / NB_PARTS);
    const Scratch scratch = { s->rows + (size_t)2 * part * sp->codes, s->rows + (size_t)(2 * part + 1) * sp->codes };

    for (int i = (int)((int64_t)sp->tokens * part / NB_PARTS); i < end; i++) {
        const float *l = s->logits + (size_t)i * sp->codes;

        s->drawn[i] = s->cur[i];
        if (!s->unknown[i])
            continue;
        if (!all_finite(l, sp->codes)) {
            s->bad[part] = 1;
            return;
        }
        s->drawn[i] = draw_code(&scratch, sp, l, s->step, i);
        if (!s->last)
            s->score[i] = rank(s, l, i);
    }
}

/* Fix the most confident draws in cur, give the n others their condition token back. */
static void remask(Sampler *s, int n)
{
    int nb = 0;

    for (int i = 0; i < s->sp->tokens; i++)
        if (s->unknown[i])
            s->ranking[nb++] = (Candidate){ s->score[i], i };
    qsort(s->ranking, nb, sizeof(*s->ranking), by_score);
    for (int k = 0; k < nb; k++) {
        const int i = s->ranking[k].token;
        s->unknown[i] = k < n;
        s->cur[i]     = k < n ? s->cond[i] : s->drawn[i];
    }
}

static int decode(Sampler *s, const MgvTeam *team, MgvLogitsFn *fn, void *opaque)
{
    const MgvSamplerParams *sp = s->sp;
    int nb_unknown = sp->tokens;

    memcpy(s->cur, s->cond, sp->tokens * sizeof(*s->cur));
    memset(s->unknown, 1, sp->tokens);
    for (s->step = 0; s->step < sp->steps; s->step++) {
        int n, ret = fn(opaque, s->step, s->cur, s->unknown, s->logits);
        if (ret < 0)
            return ret;
        n = s->step + 1 < sp->steps ? nb_masked(sp, s->step, nb_unknown) : 0;
        s->last = n < 1;
        mgv_share_parts(team, NB_PARTS, draw_part, s);
        for (int part = 0; part < NB_PARTS; part++)
            if (s->bad[part])
                return MAGVIT_ERROR_DEVICE;
        if (s->last)
            break;
        remask(s, n);
        nb_unknown = n;
    }
    return 0;
}

int mgv_sampler_run(const MgvSamplerParams *sp, const int32_t *cond, const MgvTeam *team, MgvLogitsFn *fn, void *opaque,
                    int32_t *out)
{
    Sampler s = { .sp = sp, .cond = cond, .drawn = out };
    int ret = MAGVIT_ERR(ENOMEM);

    s.cur     = mgv_calloc(sp->tokens, sizeof(*s.cur));
    s.unknown = mgv_calloc(sp->tokens, sizeof(*s.unknown));
    s.logits  = mgv_calloc((size_t)sp->tokens * sp->codes, sizeof(*s.logits));
    s.rows    = mgv_calloc((size_t)2 * NB_PARTS * sp->codes, sizeof(*s.rows));
    s.ranking = mgv_calloc(sp->tokens, sizeof(*s.ranking));
    s.score   = mgv_calloc(sp->tokens, sizeof(*s.score));
    if (s.cur && s.unknown && s.logits && s.rows && s.ranking && s.score)
        ret = decode(&s, team, fn, opaque);
    mgv_freep(&s.cur);
    mgv_freep(&s.unknown);
    mgv_freep(&s.logits);
    mgv_freep(&s.rows);
    mgv_freep(&s.ranking);
    mgv_freep(&s.score);
    return ret;
}
