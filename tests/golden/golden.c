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
 * Runner of the golden tests.
 *   golden [--model=FILE] [--known-model=FILE] [--vectors=DIR] [--backend=NAME] [part ...]
 */

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "tests/golden/golden.h"

#ifndef MAGVIT_SOURCE_PATH
#define MAGVIT_SOURCE_PATH "."
#endif

const GoldenLimits golden_f32_limits = { 1e-9, 1e-4, 0 };
const GoldenLimits golden_f16_limits = { 1e-5, 0.02, 0.05 };
GoldenLimits golden_limits = { 1e-9, 1e-4, 0 };

static const struct {
    const char *name;
    int (*run)(const Golden *g);
} parts[] = {
#define X(stem) { #stem, golden_##stem },
    GOLDEN_PARTS(X)
#undef X
};

int golden_open(MgvSafetensors **st, const Golden *g, const char *name)
{
    char path[1024];

    snprintf(path, sizeof(path), "%s/%s.safetensors", g->vectors, name);
    return mgv_safetensors_open(st, path, g->log);
}

static const MgvTensor *find(const MgvSafetensors *st, const char *name, enum MgvStType type)
{
    const MgvTensor *t = mgv_safetensors_find(st, name);

    if (t && t->type == type)
        return t;
    printf("no vector %s of the right type\n", name);
    return NULL;
}

float *golden_f32(const MgvSafetensors *st, const char *name)
{
    const MgvTensor *t = find(st, name, MGV_ST_F32);
    float *v = t ? mgv_calloc((size_t)t->elements, sizeof(*v)) : NULL;

    if (v)
        mgv_tensor_to_f32(t, 0, t->elements, v);
    return v;
}

int32_t *golden_i32(const MgvSafetensors *st, const char *name)
{
    const MgvTensor *t = find(st, name, MGV_ST_I32);
    int32_t *v = t ? mgv_calloc((size_t)t->elements, sizeof(*v)) : NULL;
    int64_t i;

    for (i = 0; v && i < t->elements; i++) {
        const uint8_t *p = t->data + 4 * i;

        v[i] = (int32_t)(p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
    }
    return v;
}

static double row_scale(const float *want, int c)
{
    double scale = 0;
    int i;

    for (i = 0; i < c; i++)
        scale = fmax(scale, fabs(want[i]));
    return scale;
}

int golden_compare(const char *name, const float *got, const float *want, size_t n, int c)
{
    double error = 0, power = 0, rms;
    size_t i;

    for (i = 0; i < n; i++) {
        error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        power += (double)want[i] * want[i];
    }
    rms = sqrt(power / (double)n);
    for (i = 0; i < n; i++) {
        double limit = golden_limits.relative * fmax(row_scale(want + i / c * c, c), rms);

        if (!(fabs((double)got[i] - want[i]) <= limit)) {
            printf("%s: value %zu is %.9g, expected %.9g within %.3g\n", name, i, got[i], want[i], limit);
            return 1;
        }
    }
    if (!(error <= golden_limits.nmse * power)) {
        printf("%s: normalised mean square error %.3g, expected at most %.3g\n", name, error / power, golden_limits.nmse);
        return 1;
    }
    return 0;
}

int golden_compare_i32(const char *name, const int32_t *got, const int32_t *want, size_t n)
{
    size_t i, first = n, differ = 0;

    for (i = n; i-- > 0;)
        if (got[i] != want[i]) {
            first = i;
            differ++;
        }
    if (differ <= golden_limits.codes * (double)n)
        return 0;
    printf("%s: %zu of %zu values differ, value %zu is %d, expected %d\n", name, differ, n, first, got[first], want[first]);
    return 1;
}

/* Take an option of the form --key=value. */
static int option(const char *arg, const char *key, const char **value)
{
    size_t n = strlen(key);

    if (strncmp(arg, key, n) || arg[n] != '=')
        return 0;
    *value = arg + n + 1;
    return 1;
}

static int run_parts(const Golden *g, int nb, char **names)
{
    int failed = 0, known = 0, j;
    size_t i;

    for (i = 0; i < MGV_ARRAY_LEN(parts); i++) {
        int wanted = !nb;

        for (j = 0; j < nb; j++)
            wanted |= !strcmp(names[j], parts[i].name);
        known  += wanted;
        failed += wanted && parts[i].run(g);
    }
    if (known < MGV_MAX(nb, 1)) {
        printf("no such part\n");
        return 1;
    }
    return failed;
}

int main(int argc, char **argv)
{
    static const MagvitLogger log = { mgv_log_stderr, NULL, MAGVIT_LOG_WARNING };
    Golden g = {
        .model   = MAGVIT_SOURCE_PATH "/tests/data/tiny.safetensors",
        .known   = MAGVIT_SOURCE_PATH "/tests/data/tiny-known.safetensors",
        .vectors = MAGVIT_SOURCE_PATH "/tests/golden",
        .log     = &log,
    };
    int i, nb = 0;

    for (i = 1; i < argc; i++) {
        if (option(argv[i], "--model", &g.model) || option(argv[i], "--known-model", &g.known) ||
            option(argv[i], "--vectors", &g.vectors) || option(argv[i], "--backend", &g.backend))
            continue;
        if (argv[i][0] == '-') {
            printf("usage: golden [--model=FILE] [--known-model=FILE] [--vectors=DIR] [--backend=NAME] [part ...]\n");
            return 2;
        }
        argv[nb++] = argv[i];
    }
    return run_parts(&g, nb, argv) ? 1 : 0;
}
