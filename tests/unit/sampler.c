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

/* Decoding loop, mask schedules and random numbers. */

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libmagvit/model.h"
#include "tests/unit/unit.h"

enum { N = 64, CODES = 37 };

/* Logits that depend on the token and on what the loop put in; records what it was given. */
typedef struct Fake {
    int steps;
    int masked[256];   /* [MASK] or condition inputs that are still open, by step */
    int32_t last[N];
    const int32_t *cond;
    int decided[N];    /* step at which a token was first seen as fixed, -1: never */
    int fail_at;
    float poison;
} Fake;

static int fake_logits(void *opaque, int step, const int32_t *tokens, const uint8_t *unknown, float *logits)
{
    Fake *f = opaque;
    uint64_t state = 7;

    (void)unknown;
    if (step == f->fail_at)
        return MAGVIT_ERR(ECANCELED);
    CU_ASSERT_EQUAL(step, f->steps);
    f->steps++;
    f->masked[step] = 0;
    for (int i = 0; i < N; i++) {
        f->masked[step] += tokens[i] == f->cond[i];
        for (int j = 0; j < CODES; j++)
            logits[i * CODES + j] = 3 * unit_float(&state) + (j == (i + step) % CODES ? 2 : 0);
    }
    if (f->poison)
        logits[N * CODES - 1] = f->poison;
    memcpy(f->last, tokens, sizeof(f->last));
    return 0;
}

static MgvSamplerParams params(int steps)
{
    MgvSamplerParams sp = { .tokens = N, .codes = CODES, .steps = steps, .choice_temperature = 4.5,
                            .temperature = 1, .top_p = 1, .seed = 5 };
    return sp;
}

static int run(const MgvSamplerParams *sp, const int32_t *cond, Fake *f, int32_t *out)
{
    memset(f, 0, sizeof(*f));
    f->cond    = cond;
    f->fail_at = -1;
    return mgv_sampler_run(sp, cond, NULL, fake_logits, f, out);
}

/* Known answers of the Random123 distribution for philox4x32-10. */
static void test_philox(void)
{
    static const struct { uint32_t ctr[4]; uint64_t key; uint32_t out[4]; } kat[] = {
        { { 0, 0, 0, 0 }, 0, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { ~0u, ~0u, ~0u, ~0u }, ~UINT64_C(0), { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, UINT64_C(0x299f31d0a4093822),
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };

    for (size_t i = 0; i < MGV_ARRAY_LEN(kat); i++) {
        uint32_t out[4];
        mgv_rng_block(out, kat[i].key, kat[i].ctr[2], kat[i].ctr[1], kat[i].ctr[0], kat[i].ctr[3]);
        CU_ASSERT_EQUAL(memcmp(out, kat[i].out, sizeof(out)), 0);
    }
}

static void test_uniform(void)
{
    CU_ASSERT(mgv_rng_uniform(0) > 0);
    CU_ASSERT(mgv_rng_uniform(UINT32_MAX) < 1);
    CU_ASSERT(isfinite(mgv_rng_gumbel(mgv_rng_uniform(0))));
    CU_ASSERT(isfinite(mgv_rng_gumbel(mgv_rng_uniform(UINT32_MAX))));
    CU_ASSERT(mgv_rng_gumbel(mgv_rng_uniform(UINT32_MAX)) < 17.34);
}

/* Tables of the specification, section 5.2: tokens still masked after each of 12 steps, of 1024. */
static void test_schedules(void)
{
    static const struct { const char *name; int n[12]; } rows[] = {
        { "cosine",  { 1015, 989, 946, 886, 812, 724, 623, 512, 391, 265, 133, 1 } },
        { "uniform", { 938, 853, 768, 682, 597, 512, 426, 341, 256, 170, 85, 1 } },
        { "exp",     { 1022, 1020, 1018, 1013, 1006, 992, 966, 922, 842, 701, 449, 1 } },
        { "log",     { 367, 264, 204, 162, 129, 102, 79, 59, 42, 26, 12, 1 } },
    };

    for (size_t r = 0; r < MGV_ARRAY_LEN(rows); r++) {
        MgvMaskSchedule s;
        CU_ASSERT_EQUAL_FATAL(mgv_schedule_parse(&s, rows[r].name), 0);
        for (int k = 0; k < 12; k++) {
            const int n = (int)floor(1024 * mgv_schedule_gamma(&s, (k + 1) / 12.0, 1024));
            CU_ASSERT_EQUAL(MGV_MAX(n, 1), rows[r].n[k]);
        }
    }
}

static void test_schedule_parse(void)
{
    static const char *const bad[] = { "", "cos", "cosine ", "pow", "powx", "pow-1", "pow2x", "poly:", "poly:1,",
                                       "poly:1,x", "poly:nan", "poly:1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1" };
    MgvMaskSchedule s;

    for (size_t i = 0; i < MGV_ARRAY_LEN(bad); i++)
        CU_ASSERT_EQUAL(mgv_schedule_parse(&s, bad[i]), MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(mgv_schedule_parse(&s, "pow2"), 0);
    CU_ASSERT_DOUBLE_EQUAL(mgv_schedule_gamma(&s, 0.5, 1024), 0.75, 1e-12);
    CU_ASSERT_EQUAL(mgv_schedule_parse(&s, "poly:-1,0,1"), 0);
    CU_ASSERT_DOUBLE_EQUAL(mgv_schedule_gamma(&s, 0.5, 1024), 0.75, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(mgv_schedule_gamma(&s, 1, 1024), 1e-6, 1e-12);
}

/* Exactly K passes, masked counts follow the schedule, fixed tokens stay fixed, every code is in range. */
static void test_loop(void)
{
    int32_t cond[N], out[N];
    Fake f;

    for (int i = 0; i < N; i++)
        cond[i] = -1;
    for (int steps = 1; steps <= 20; steps++) {
        const MgvSamplerParams sp = params(steps);
        int before = N;
        CU_ASSERT_EQUAL(run(&sp, cond, &f, out), 0);
        CU_ASSERT_EQUAL(f.steps, steps);
        for (int k = 1; k < steps; k++) {
            const int n = (int)floor(N * mgv_schedule_gamma(&sp.schedule, k / (double)steps, N));
            CU_ASSERT_EQUAL(f.masked[k], MGV_MIN(MGV_MAX(n, 1), before - 1));
            before = f.masked[k];
        }
        for (int i = 0; i < N; i++) {
            CU_ASSERT(out[i] >= 0 && out[i] < CODES);
            CU_ASSERT(f.last[i] == -1 || f.last[i] == out[i]);
        }
    }
}

/* More steps than tokens: the loop ends when one token is left. */
static void test_many_steps(void)
{
    int32_t cond[N], out[N];
    const MgvSamplerParams sp = params(200);
    Fake f;

    for (int i = 0; i < N; i++)
        cond[i] = i % 3 ? -1 : i % CODES;
    CU_ASSERT_EQUAL(run(&sp, cond, &f, out), 0);
    CU_ASSERT_EQUAL(f.steps, N);
}

static void test_greedy(void)
{
    int32_t cond[N], out[N];
    MgvSamplerParams sp = params(1);
    float logits[N * CODES];
    Fake f;

    for (int i = 0; i < N; i++)
        cond[i] = -1;
    sp.temperature = 0;
    CU_ASSERT_EQUAL(run(&sp, cond, &f, out), 0);
    f.steps = 0;
    fake_logits(&f, 0, cond, NULL, logits);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < CODES; j++)
            CU_ASSERT(logits[i * CODES + j] <= logits[i * CODES + out[i]]);
    /* One code to choose from is greedy too. */
    sp.temperature = 1;
    sp.top_k       = 1;
    int32_t top1[N];
    CU_ASSERT_EQUAL(run(&sp, cond, &f, top1), 0);
    CU_ASSERT_EQUAL(memcmp(out, top1, sizeof(out)), 0);
    sp.top_k = 0;
    sp.top_p = 1e-9;
    CU_ASSERT_EQUAL(run(&sp, cond, &f, top1), 0);
    CU_ASSERT_EQUAL(memcmp(out, top1, sizeof(out)), 0);
}

/* The draw follows softmax: frequencies of one token over many windows. */
static void test_distribution(void)
{
    int32_t cond[N], out[N];
    MgvSamplerParams sp = params(1);
    float logits[N * CODES];
    double expected[CODES], sum = 0, chi = 0;
    int count[CODES] = { 0 };
    Fake f;

    for (int i = 0; i < N; i++)
        cond[i] = -1;
    for (int w = 0; w < 4000; w++) {
        sp.window = w;
        run(&sp, cond, &f, out);
        count[out[3]]++;
    }
    f.steps = 0;
    fake_logits(&f, 0, cond, NULL, logits);
    for (int j = 0; j < CODES; j++)
        sum += expected[j] = exp(logits[3 * CODES + j]);
    for (int j = 0; j < CODES; j++) {
        const double e = 4000 * expected[j] / sum;
        chi += (count[j] - e) * (count[j] - e) / e;
    }
    CU_ASSERT(chi < 68); /* 99.9 % of chi-squared with 36 degrees of freedom */
}

static void test_determinism(void)
{
    int32_t cond[N], a[N], b[N];
    MgvSamplerParams sp = params(12);
    Fake f;

    for (int i = 0; i < N; i++)
        cond[i] = -1;
    run(&sp, cond, &f, a);
    run(&sp, cond, &f, b);
    CU_ASSERT_EQUAL(memcmp(a, b, sizeof(a)), 0);
    sp.window = 1;
    run(&sp, cond, &f, b);
    CU_ASSERT_NOT_EQUAL(memcmp(a, b, sizeof(a)), 0);
    sp.window = 0;
    sp.seed   = UINT64_C(1) << 40;
    run(&sp, cond, &f, b);
    CU_ASSERT_NOT_EQUAL(memcmp(a, b, sizeof(a)), 0);
}

static void test_team(void)
{
    int32_t cond[N], one[N], shared[N];
    int calls = 0;
    const MgvTeam team = { unit_share_backwards, (MgvDevice *)&calls }, alone = { NULL, NULL };
    MgvSamplerParams sp = params(12);
    Fake f;

    for (int i = 0; i < N; i++)
        cond[i] = i % 3 ? -1 : i % CODES;
    CU_ASSERT_EQUAL(run(&sp, cond, &f, one), 0);
    f.steps = 0;
    CU_ASSERT_EQUAL(mgv_sampler_run(&sp, cond, &team, fake_logits, &f, shared), 0);
    CU_ASSERT_EQUAL(calls, 12);
    CU_ASSERT_EQUAL(memcmp(one, shared, sizeof(one)), 0);
    memset(shared, 0, sizeof(shared));
    f.steps = 0;
    CU_ASSERT_EQUAL(mgv_sampler_run(&sp, cond, &alone, fake_logits, &f, shared), 0);
    CU_ASSERT_EQUAL(memcmp(one, shared, sizeof(one)), 0);
}

static void test_errors(void)
{
    int32_t cond[N] = { 0 }, out[N];
    const MgvSamplerParams sp = params(12);
    Fake f = { .cond = cond, .fail_at = 3 };

    CU_ASSERT_EQUAL(mgv_sampler_run(&sp, cond, NULL, fake_logits, &f, out), MAGVIT_ERR(ECANCELED));
    f = (Fake){ .cond = cond, .fail_at = -1, .poison = NAN };
    CU_ASSERT_EQUAL(mgv_sampler_run(&sp, cond, NULL, fake_logits, &f, out), MAGVIT_ERROR_DEVICE);
    f = (Fake){ .cond = cond, .fail_at = -1, .poison = INFINITY };
    CU_ASSERT_EQUAL(mgv_sampler_run(&sp, cond, NULL, fake_logits, &f, out), MAGVIT_ERROR_DEVICE);
    for (int k = 1; k <= 6; k++) {
        mgv_alloc_fail_at = k;
        f = (Fake){ .cond = cond, .fail_at = -1 };
        CU_ASSERT_EQUAL(mgv_sampler_run(&sp, cond, NULL, fake_logits, &f, out), MAGVIT_ERR(ENOMEM));
    }
    mgv_alloc_fail_at = 0;
}

CU_ErrorCode add_sampler_suite(void)
{
    static const UnitTest tests[] = {
        { "philox known answers", test_philox },
        { "uniform and Gumbel stay finite", test_uniform },
        { "mask schedules equal the tables", test_schedules },
        { "schedule names", test_schedule_parse },
        { "decoding loop", test_loop },
        { "more steps than tokens", test_many_steps },
        { "greedy, top-k 1 and top-p 0 agree", test_greedy },
        { "draws follow softmax", test_distribution },
        { "same numbers, same tokens", test_determinism },
        { "same tokens from a team", test_team },
        { "errors", test_errors },
        { NULL, NULL }
    };
    return unit_add("sampler", tests);
}
