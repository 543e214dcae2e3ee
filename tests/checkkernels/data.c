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
 * Inputs and weights of cases, and the model file that the weights are read from.
 */

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/checkkernels/checkkernels.h"

void *need(void *p)
{
    if (!p) {
        fprintf(stderr, "checkkernels: out of memory\n");
        exit(1);
    }
    return p;
}

/* ---- random data ---- */

static uint64_t rng_state;

static uint64_t rng(void) // SplitMix64
{
    uint64_t z = rng_state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static double uniform(void) // [0,1)
{
    return (rng() >> 11) * 0x1p-53;
}

static double normal(void)
{
    const double r = sqrt(-2.0 * log(1.0 - uniform()));

    return r * cos(6.283185307179586 * uniform());
}

static float value(enum Fill fill, int channel)
{
    switch (fill) {
    case FILL_UNIFORM:  return 2.0 * uniform() - 1.0;
    case FILL_FLAT:     return 0.7 * (channel % 5) - 1.1;
    case FILL_OFFSET:   return 1000.0 + normal();
    case FILL_DENORMAL: return 1e-40 * normal();
    case FILL_BIG:      return 1e12 * normal();
    default:            return normal();
    }
}

static void fill_input(const Case *c, void *data)
{
    const size_t n = mgv_shape_elements(c->x);

    for (size_t i = 0; i < n; i++)
        if (c->op == MGV_OP_EMBED)
            ((int32_t *)data)[i] = (int32_t)(uniform() * (c->rows + 4)) - 2;
        else
            ((float *)data)[i] = value(c->fill, i % c->x.c) * (1 + (double)c->steep * (i / c->x.c % c->x.w) / c->x.w);
}

static void fill_weight(const Case *c, int i, float *w, int64_t n, int64_t rows)
{
    const int norm = c->op == MGV_OP_GROUP_NORM || c->op == MGV_OP_LAYER_NORM;
    const double scale = i || norm ? 1.0 : 1.0 / sqrt((double)n / rows);

    for (int64_t k = 0; k < n; k++)
        w[k] = norm && !i ? 0.5 + uniform() : c->op == MGV_OP_VQ_ARGMIN ? value(c->fill, 0) : scale * normal();
}

/** Equal codebook rows, and inputs that are a row or lie half way between two. */
static void make_ties(const Case *c, float *x, float *codes)
{
    const size_t d = c->x.c, n = mgv_shape_elements(c->x) / d, rows = c->rows;

    memcpy(codes + (rows - 1) * d, codes, d * sizeof(*codes));
    for (size_t i = 0; i < n; i++) {
        const float *a = codes + rng() % rows * d, *b = codes + rng() % rows * d;
        const int kind = rng() % 4;

        for (size_t k = 0; k < d && kind < 2; k++)
            x[i * d + k] = kind ? a[k] : a[k] / 2 + b[k] / 2;
    }
}

/* ---- weights ---- */

static int write_all(FILE *f, const void *data, size_t size)
{
    return !size || fwrite(data, 1, size, f) == size ? 0 : -1;
}

static int add_header(char *json, size_t size, int len, const char *name, const int64_t *dims, int nb_dims, size_t from,
                      size_t to)
{
    len += snprintf(json + len, size - len, "%s\"op.%s\":{\"dtype\":\"F32\",\"shape\":[", len > 1 ? "," : "", name);
    for (int i = 0; i < nb_dims; i++)
        len += snprintf(json + len, size - len, "%s%" PRId64, i ? "," : "", dims[i]);
    return len + snprintf(json + len, size - len, "],\"data_offsets\":[%zu,%zu]}", from, to);
}

/** Write the weights as a model file and open it. */
static void open_weights(const Case *c, Data *d)
{
    static const char *const names[MGV_MAX_WEIGHT] = { "weight", "bias" };
    char json[1024] = "{", path[] = "/tmp/checkkernels-XXXXXX";
    size_t bytes[MGV_MAX_WEIGHT] = { 0 }, at = 0;
    int len = 1, fd, ok;
    uint64_t size;
    FILE *f;

    for (int i = 0; i < MGV_MAX_WEIGHT && d->weight[i]; i++) {
        int64_t dims[MGV_ST_MAX_DIMS];
        const int nb_dims = case_weight_dims(c, i, dims);

        bytes[i] = sizeof(float);
        for (int k = 0; k < nb_dims; k++)
            bytes[i] *= dims[k];
        len = add_header(json, sizeof(json), len, names[i], dims, nb_dims, at, at + bytes[i]);
        at += bytes[i];
    }
    if (!at)
        return;
    json[len++] = '}';
    while (len % 8)
        json[len++] = ' ';
    size = len;
    fd = mkstemp(path);
    f = fd < 0 ? NULL : fdopen(fd, "wb");
    ok = f && !write_all(f, &size, sizeof(size)) && !write_all(f, json, len);
    for (int i = 0; i < MGV_MAX_WEIGHT; i++)
        ok = ok && !write_all(f, d->weight[i], bytes[i]);
    if (!f || fclose(f) || !ok || mgv_safetensors_open(&d->st, path, &logger) < 0) {
        fprintf(stderr, "checkkernels: cannot write or read %s\n", path);
        exit(1);
    }
    unlink(path);
}

/** Values that the precision holds exactly: products of them are judged as strictly as those of float32. */
static void cut(float *x, size_t n, enum MagvitPrecision precision)
{
    const int half = precision == MAGVIT_PRECISION_F16;

    for (size_t i = 0; i < n && precision != MAGVIT_PRECISION_F32; i++) {
        uint32_t bits;

        if (half)
            x[i] = fabsf(x[i]) < 0x1p-14f ? 0 : fmaxf(-65504, fminf(x[i], 65504));
        memcpy(&bits, &x[i], sizeof(bits));
        bits &= half ? 0xffffe000 : 0xffff0000;
        memcpy(&x[i], &bits, sizeof(bits));
    }
}

/**
 * Rows of n multiples of a power of two, between the ends of the range that products in 8 bits round to. Every row
 * reaches them, so that nothing is lost. Weights have one range, inputs one for each combination of signs.
 */
static void to_int8(float *x, size_t nb_rows, size_t n, int weights)
{
    for (size_t i = 0; i < nb_rows; i++, x += n) {
        float least = 0, most = 0, lo = weights ? -127 : -128, hi = 127, step;
        const size_t at = rng() % n;
        int exponent;

        for (size_t k = 0; k < n; k++) {
            least = fminf(least, x[k]);
            most  = fmaxf(most, x[k]);
        }
        if (!weights && (least == 0 || most == 0 || n == 1)) {
            lo = most > 0 ? 0 : -255;
            hi = most > 0 ? 255 : 0;
        }
        frexpf(fmaxf(most, -least) / 128, &exponent);
        step = ldexpf(1, exponent);
        for (size_t k = 0; k < n; k++)
            x[k] = step * fminf(fmaxf(rintf(x[k] / step), lo), hi);
        x[at] = step * (hi > 0 ? hi : lo);
        if (lo < 0 && hi > 0 && n > 1)
            x[(at + 1) % n] = step * lo;
    }
}

int is_product(const Case *c)
{
    return c->op == MGV_OP_CONV3D || c->op == MGV_OP_LINEAR || c->op == MGV_OP_ATTENTION;
}

void data_init(const Case *c, Data *d, uint64_t seed, enum MagvitPrecision precision)
{
    memset(d, 0, sizeof(*d));
    d->precision = precision;
    rng_state = seed;
    for (int i = 0; i < case_nb_inputs(c); i++) {
        d->in[i] = need(mgv_calloc(mgv_shape_elements(c->x), sizeof(float)));
        fill_input(c, d->in[i]);
        if (precision == MAGVIT_PRECISION_INT8 && is_product(c))
            to_int8(d->in[i], mgv_shape_elements(c->x) / c->x.c, c->x.c, 0);
        else if (is_product(c))
            cut(d->in[i], mgv_shape_elements(c->x), precision);
    }
    for (int i = 0; i < MGV_MAX_WEIGHT; i++) {
        int64_t dims[MGV_ST_MAX_DIMS], n = 1;
        const int nb_dims = case_weight_dims(c, i, dims);

        for (int k = 0; k < nb_dims; k++)
            n *= dims[k];
        if (!nb_dims)
            continue;
        d->weight[i] = need(mgv_calloc(n, sizeof(float)));
        fill_weight(c, i, d->weight[i], n, dims[0]);
        if (precision == MAGVIT_PRECISION_INT8 && is_product(c) && !i)
            to_int8(d->weight[i], dims[0], n / dims[0], 1);
        else if (is_product(c) && !i)
            cut(d->weight[i], n, precision);
    }
    if (c->op == MGV_OP_VQ_ARGMIN)
        make_ties(c, d->in[0], d->weight[0]);
    open_weights(c, d);
}

void data_init_known(const Known *k, Data *d)
{
    memset(d, 0, sizeof(*d));
    for (int i = 0; i < case_nb_inputs(&k->c); i++) {
        const size_t bytes = mgv_shape_elements(k->c.x) * sizeof(float);

        d->in[i] = need(mgv_calloc(1, bytes));
        memcpy(d->in[i], k->ids ? (const void *)k->ids : k->x[i], bytes);
    }
    for (int i = 0; i < MGV_MAX_WEIGHT; i++) {
        const float *w = i ? k->bias : k->weight;
        int64_t dims[MGV_ST_MAX_DIMS], n = 1;
        const int nb_dims = case_weight_dims(&k->c, i, dims);

        for (int j = 0; j < nb_dims; j++)
            n *= dims[j];
        if (!nb_dims)
            continue;
        d->weight[i] = need(mgv_calloc(n, sizeof(float)));
        if (w) // a bias that is not given is 0
            memcpy(d->weight[i], w, n * sizeof(float));
    }
    open_weights(&k->c, d);
}

void data_uninit(Data *d)
{
    for (int i = 0; i < MGV_MAX_IN; i++)
        mgv_freep(&d->in[i]);
    for (int i = 0; i < MGV_MAX_WEIGHT; i++)
        mgv_freep(&d->weight[i]);
    mgv_safetensors_close(&d->st);
}
