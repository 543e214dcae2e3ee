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

/* The decoding loop: token for token what Python made of the same logits and random numbers. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmagvit/model.h"
#include "tests/golden/golden.h"

/* Values of "case.<i>.int" and "case.<i>.float", see dump_golden.py. */
enum { STEPS, SEED_LOW, SEED_HIGH, WINDOW, GREEDY, USE_CONDITION };
enum { CHOICE_TEMPERATURE, TEMPERATURE };

typedef struct Replay {
    int tokens, codes, passes;
    const float *logits;   /* [passes,tokens,codes], pass = step modulo passes */
    const int32_t *start;  /* [tokens] condition or -1 */
    const int32_t *cur;    /* [steps,tokens] input after each step, mask_id for [MASK] */
    int mask_id;
    int failed;
} Replay;

/* Input tokens of a step are those that Python had after the step before. */
static int replay_logits(void *opaque, int step, const int32_t *tokens, const uint8_t *unknown, float *logits)
{
    Replay *r = opaque;

    (void)unknown;
    for (int i = 0; i < r->tokens && !r->failed; i++) {
        const int32_t want = step ? r->cur[(step - 1) * r->tokens + i] : r->start[i] < 0 ? r->mask_id : r->start[i];
        const int32_t got = tokens[i] < 0 ? r->mask_id : tokens[i];
        if (got != want) {
            printf("sampler: input token %d of step %d is %d, expected %d\n", i, step, got, want);
            r->failed = 1;
        }
    }
    memcpy(logits, r->logits + (size_t)(step % r->passes) * r->tokens * r->codes,
           (size_t)r->tokens * r->codes * sizeof(*logits));
    return 0;
}

static int case_name(char *buf, size_t size, int i, const char *what)
{
    return snprintf(buf, size, "case.%d.%s", i, what);
}

static int replay_case(const MgvSafetensors *st, int i, Replay *r, const int32_t *cond, const int32_t *mask)
{
    char name[32], label[64];
    int32_t *start = mgv_calloc(r->tokens, sizeof(*start)), *out = mgv_calloc(r->tokens, sizeof(*out));
    int32_t *ints, *cur, *ids;
    float *floats;
    MgvSamplerParams sp = { .tokens = r->tokens, .codes = r->codes, .top_p = 1 };
    const char *schedule;
    int failed = 1;

    case_name(name, sizeof(name), i, "schedule");
    schedule = mgv_safetensors_meta(st, name);
    case_name(name, sizeof(name), i, "int");
    ints = golden_i32(st, name);
    case_name(name, sizeof(name), i, "float");
    floats = golden_f32(st, name);
    case_name(name, sizeof(name), i, "cur");
    cur = golden_i32(st, name);
    case_name(name, sizeof(name), i, "ids");
    ids = golden_i32(st, name);
    if (schedule && start && out && ints && floats && cur && ids && mgv_schedule_parse(&sp.schedule, schedule) >= 0) {
        for (int k = 0; k < r->tokens; k++)
            start[k] = ints[USE_CONDITION] && mask[k] ? cond[k] : -1;
        sp.steps  = ints[STEPS];
        sp.seed   = (uint64_t)(uint32_t)ints[SEED_HIGH] << 32 | (uint32_t)ints[SEED_LOW];
        sp.window = (uint32_t)ints[WINDOW];
        sp.choice_temperature = floats[CHOICE_TEMPERATURE];
        sp.temperature = ints[GREEDY] ? 0 : floats[TEMPERATURE];
        r->start  = start;
        r->cur    = cur;
        r->failed = 0;
        snprintf(label, sizeof(label), "sampler case %d (%s, %d steps)", i, schedule, sp.steps);
        failed = mgv_sampler_run(&sp, start, NULL, replay_logits, r, out) < 0 || r->failed ||
                 golden_compare_i32(label, out, ids, r->tokens);
        printf("%s: %s\n", label, failed ? "differs" : "agrees");
    }
    mgv_freep(&start);
    mgv_freep(&out);
    mgv_freep(&ints);
    mgv_freep(&floats);
    mgv_freep(&cur);
    mgv_freep(&ids);
    return failed;
}

/* Noise of dump_golden.py: seed 7 << 32 | 9, window 3, step 2. */
static int compare_noise(const MgvSafetensors *st)
{
    enum { TOKENS = 5, CODES = 10, CHOICES = 16 };
    const uint64_t seed = UINT64_C(7) << 32 | 9;
    float *code = golden_f32(st, "rng.code_noise"), *choice = golden_f32(st, "rng.choice_noise");
    float got_code[TOKENS * CODES], got_choice[CHOICES];
    int failed = 1;

    for (int i = 0; i < TOKENS * CODES; i++) {
        uint32_t r[4];
        mgv_rng_block(r, seed, 3, 2, i / CODES, i % CODES / 4);
        got_code[i] = mgv_rng_gumbel(mgv_rng_uniform(r[i % CODES % 4]));
    }
    for (int i = 0; i < CHOICES; i++) {
        uint32_t r[4];
        mgv_rng_block(r, seed, 3, 2, i, 0xffffffffu);
        got_choice[i] = mgv_rng_gumbel(mgv_rng_uniform(r[0]));
    }
    if (code && choice)
        failed = golden_compare("rng.code_noise", got_code, code, TOKENS * CODES, CODES) ||
                 golden_compare("rng.choice_noise", got_choice, choice, CHOICES, CHOICES);
    mgv_freep(&code);
    mgv_freep(&choice);
    return failed;
}

int golden_sampler(const Golden *g)
{
    MgvSafetensors *st;
    const MgvTensor *shape;
    const char *cases, *mask_id;
    float *logits;
    int32_t *cond, *mask;
    Replay r = { .tokens = 0 };
    int failed = 0;

    if (golden_open(&st, g, "sampler") < 0)
        return 1;
    shape   = mgv_safetensors_find(st, "logits");
    logits  = golden_f32(st, "logits");
    cond    = golden_i32(st, "cond.ids");
    mask    = golden_i32(st, "cond.mask");
    cases   = mgv_safetensors_meta(st, "cases");
    mask_id = mgv_safetensors_meta(st, "mask_id");
    if (shape && shape->nb_dims == 3 && logits && cond && mask && cases && mask_id) {
        r = (Replay){ .tokens = (int)shape->dims[1], .codes = (int)shape->dims[2], .passes = (int)shape->dims[0],
                      .logits = logits, .mask_id = atoi(mask_id) };
        for (int i = 0; i < atoi(cases); i++)
            failed += replay_case(st, i, &r, cond, mask);
        failed += compare_noise(st);
        failed += atoi(cases) < 1;
    } else {
        printf("sampler: the vectors are incomplete\n");
        failed = 1;
    }
    mgv_freep(&logits);
    mgv_freep(&cond);
    mgv_freep(&mask);
    mgv_safetensors_close(&st);
    return failed;
}
