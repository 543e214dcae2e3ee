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


/* Conditions: the filled clips, latent masks and prompts of all tasks, exactly as Python made them. */

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "libmagvit/model.h"
#include "libmagvit/video.h"
#include "tests/golden/golden.h"

enum { T = 16, H = 32, W = 32, NB_ROWS = 6 };

static const int rows[NB_ROWS] = { 0, 7, 8, 16, 23, 24 };
static const char *const tasks[] = { "FP", "FI", "OPC", "OPV", "OPH", "OPD", "IPC", "IPD", "CG", "CFP" };

/* The clip of integer values that README gives. */
static void integer_clip(float *clip)
{
    for (int t = 0; t < T; t++)
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                for (int c = 0; c < 3; c++)
                    *clip++ = (float)((7 * t + 3 * y + 5 * x + 11 * c + t * y * x) % 256) / 255.0f;
}

static int compare_rows(const char *name, const MgvCond *c, const float *want)
{
    for (int t = 0; t < T; t++)
        for (int r = 0; r < NB_ROWS; r++)
            for (int x = 0; x < W; x++) {
                float got = c->clip[((t * H + rows[r]) * W + x) * 3], exp = want[(r * T + t) * W + x];
                if (got != exp) {
                    printf("cond: %s frame %d row %d column %d is %.9g, expected %.9g\n", name, t, rows[r], x, got, exp);
                    return 1;
                }
            }
    return 0;
}

/* Sums are stored as float32 of a sum in double. */
static int compare_sums(const char *name, const MgvCond *c, const float *want)
{
    for (int t = 0; t < T; t++)
        for (int k = 0; k < 3; k++) {
            double sum = 0;
            for (int i = 0; i < H * W; i++)
                sum += c->clip[(t * H * W + i) * 3 + k];
            if (!(fabs(sum - want[t * 3 + k]) <= 1e-6 * H * W)) {
                printf("cond: %s frame %d channel %d sums to %.9g, expected %.9g\n", name, t, k, sum, want[t * 3 + k]);
                return 1;
            }
        }
    return 0;
}

static int compare_cells(const char *name, const MgvCond *c, const int32_t *want)
{
    int n = c->latent[0] * c->latent[1] * c->latent[2];

    for (int i = 0; i < n; i++)
        if (c->cells[i] != want[i]) {
            printf("cond: %s cell %d is %d, expected %d\n", name, i, c->cells[i], (int)want[i]);
            return 1;
        }
    return 0;
}

static int compare_case(const MgvSafetensors *st, const char *name, const MgvCond *c)
{
    char key[64];
    float *clip, *sums;
    int32_t *mask;
    int failed = 1;

    snprintf(key, sizeof(key), "%s.rows", name);
    clip = golden_f32(st, key);
    snprintf(key, sizeof(key), "%s.sums", name);
    sums = golden_f32(st, key);
    snprintf(key, sizeof(key), "%s.mask", name);
    mask = golden_i32(st, key);
    if (clip && sums && mask)
        failed = compare_rows(name, c, clip) || compare_sums(name, c, sums) || compare_cells(name, c, mask);
    mgv_freep(&clip);
    mgv_freep(&sums);
    mgv_freep(&mask);
    return failed;
}

static void set_known(MgvCond *c, int t, MgvRect r, int value)
{
    for (int y = r.y; y < r.y + r.h; y++)
        memset(c->known + (t * H + y) * W + r.x, value, r.w);
}

/* The free conditions of README, one after the other in c. */
static int compare_free(const MgvSafetensors *st, MgvCond *c, const float *clip)
{
    static const int periods[] = { 2, 3, 5, 7 };
    const size_t values = (size_t)T * H * W * 3;
    const MgvRect all = { 0, 0, W, H };
    char name[32];
    int failed = 0;

    for (size_t i = 0; i < MGV_ARRAY_LEN(periods); i++) {
        memcpy(c->clip, clip, values * sizeof(*clip));
        for (int t = 0; t < T; t++)
            set_known(c, t, all, t % periods[i] == 0);
        mgv_cond_build(c, MGV_FILL_TIME);
        snprintf(name, sizeof(name), "interpolate.%d", periods[i]);
        failed += compare_case(st, name, c);
    }
    memcpy(c->clip, clip, values * sizeof(*clip));
    for (int t = 0; t < T; t++) {
        set_known(c, t, all, 1);
        set_known(c, t, (MgvRect){ 3 + t, 9, 11, 11 }, 0);
    }
    mgv_cond_build(c, MGV_FILL_ZERO);
    failed += compare_case(st, "hole", c);
    memcpy(c->clip, clip, values * sizeof(*clip));
    for (int t = 0; t < T; t++) {
        set_known(c, t, all, 0);
        set_known(c, t, (MgvRect){ 0, 5, 21, 22 }, 1);
    }
    mgv_cond_build(c, MGV_FILL_EDGE);
    return failed + compare_case(st, "border", c);
}

/* Prefix tokens of the ten tasks; those that take a class have class 1. */
static int compare_prompts(const MgvSafetensors *st, const Golden *g)
{
    static const enum MgvPrompt prompt[] = {
        MGV_PROMPT_PREDICT,  MGV_PROMPT_INTERP,  MGV_PROMPT_OUTPAINT, MGV_PROMPT_OUTPAINT, MGV_PROMPT_OUTPAINT,
        MGV_PROMPT_OUTPAINT, MGV_PROMPT_INPAINT, MGV_PROMPT_INPAINT,  MGV_PROMPT_CLASS,    MGV_PROMPT_PREDICT
    };
    MgvSafetensors *model = NULL;
    MgvConfig c = { .name = "" };
    char key[64];
    int failed = 0;

    if (mgv_safetensors_open(&model, g->model, g->log) < 0 || mgv_config_parse(&c, model, g->log) < 0)
        failed = 1;
    for (int i = 0; i < MGV_NAMED_NB && !failed; i++) {
        const int32_t got[2] = { mgv_token_prompt(&c, prompt[i]), mgv_token_class(&c, i >= MGV_CG ? 1 : -1) };
        int32_t *want;

        snprintf(key, sizeof(key), "task.%s.prompt", tasks[i]);
        want   = golden_i32(st, key);
        failed = !want || golden_compare_i32(key, got, want, 2);
        mgv_freep(&want);
    }
    mgv_config_uninit(&c);
    mgv_safetensors_close(&model);
    return failed;
}

/* Latent masks at the size of the paper. */
static int compare_masks(const MgvSafetensors *st)
{
    const int window[3] = { 16, 128, 128 }, latent[3] = { 4, 16, 16 };
    int32_t *want = golden_i32(st, "mask16");
    float *clip = mgv_calloc(16 * 128 * 128, 3 * sizeof(*clip));
    MgvCond *c = NULL;
    int failed = 0;

    if (!want || !clip || mgv_cond_alloc(&c, window, latent) < 0) {
        failed = 1;
    } else {
        for (int i = 0; i < MGV_NAMED_NB; i++) {
            mgv_cond_named(c, i, 1, clip);
            failed += compare_cells(tasks[i], c, want + i * 4 * 16 * 16);
        }
    }
    mgv_cond_free(&c);
    mgv_freep(&clip);
    mgv_freep(&want);
    return failed;
}

int golden_cond(const Golden *g)
{
    const int window[3] = { T, H, W }, latent[3] = { 4, 4, 4 };
    MgvSafetensors *st = NULL;
    MgvCond *c = NULL;
    float *clip = mgv_calloc((size_t)T * H * W, 3 * sizeof(*clip));
    char name[32];
    int failed = 0;

    if (!clip || golden_open(&st, g, "cond") < 0 || mgv_cond_alloc(&c, window, latent) < 0) {
        failed = 1;
    } else {
        integer_clip(clip);
        for (int i = 0; i < MGV_NAMED_NB; i++) {
            snprintf(name, sizeof(name), "task.%s", tasks[i]);
            mgv_cond_named(c, i, 1, clip);
            failed += compare_case(st, name, c);
        }
        failed += compare_free(st, c, clip);
        failed += compare_masks(st);
        failed += compare_prompts(st, g);
    }
    printf("cond: %d tasks, %s\n", MGV_NAMED_NB, failed ? "differ" : "exact");
    mgv_cond_free(&c);
    mgv_safetensors_close(&st);
    mgv_freep(&clip);
    return failed;
}
