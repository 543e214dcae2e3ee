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
 * differs from the paper's listing, the code is followed).
 */

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libmagvit/model.h"

#define LANE_CHOICE 0xffffffffu

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
    float *scratch;      /* [NB_PARTS, mgv_draw_scratch()] */
    Candidate *ranking;  /* [N] */
    double *score;       /* [N] */
    int step, last;      /* last: nothing will be ranked */
    int bad[NB_PARTS];   /* a logit was not finite */
} Sampler;

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

/* Draw and score the unknown tokens of a part. */
static void draw_part(void *opaque, int part)
{
    Sampler *s = opaque;
    const MgvSamplerParams *sp = s->sp;
    const int end = (int)((int64_t)sp->tokens * (part + 1) / NB_PARTS);
    float *scratch = s->scratch + part * mgv_draw_scratch(sp->codes);

    for (int i = (int)((int64_t)sp->tokens * part / NB_PARTS); i < end; i++) {
        uint32_t r[4];

        s->drawn[i] = s->cur[i];
        if (!s->unknown[i])
            continue;
        s->drawn[i] = mgv_draw(sp, s->logits + (size_t)i * sp->codes, s->step, i, scratch, s->last ? NULL : &s->score[i]);
        if (s->drawn[i] < 0) {
            s->bad[part] = 1;
            return;
        }
        if (s->last)
            continue;
        mgv_rng_block(r, sp->seed, sp->window, s->step, i, LANE_CHOICE);
        s->score[i] += ranking_noise(sp, s->step) * mgv_rng_gumbel(mgv_rng_uniform(r[0]));
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
    s.scratch = mgv_calloc(NB_PARTS * mgv_draw_scratch(sp->codes), sizeof(*s.scratch));
    s.ranking = mgv_calloc(sp->tokens, sizeof(*s.ranking));
    s.score   = mgv_calloc(sp->tokens, sizeof(*s.score));
    if (s.cur && s.unknown && s.logits && s.scratch && s.ranking && s.score)
        ret = decode(&s, team, fn, opaque);
    mgv_freep(&s.cur);
    mgv_freep(&s.unknown);
    mgv_freep(&s.logits);
    mgv_freep(&s.scratch);
    mgv_freep(&s.ranking);
    mgv_freep(&s.score);
    return ret;
}
