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
 * Tables: what is checked. A new op needs rows in cases[] and in known[], whose
 * results were worked out on paper, so that the reference is tested too.
 */

#include <stdio.h>

#include "tests/checkkernels/checkkernels.h"

const char *const fill_names[FILL_NB] = { "uniform", "normal", "flat", "offset", "denormal", "big" };

/* ---- random ---- */

#define CONV(n, t, h, w, ci, co, k_, pad_, ...) \
    { .op = MGV_OP_CONV3D, .x = { n, t, h, w, ci }, .cout = co, .k = k_, .pad = MGV_PAD_##pad_, __VA_ARGS__ }
#define GN(n, t, h, w, c, g, ...) \
    { .op = MGV_OP_GROUP_NORM, .x = { n, t, h, w, c }, .groups = g, __VA_ARGS__ }
#define LN(n, w, c) { .op = MGV_OP_LAYER_NORM, .x = { n, 1, 1, w, c } }
#define LIN(n, w, ci, co, ...) { .op = MGV_OP_LINEAR, .x = { n, 1, 1, w, ci }, .cout = co, __VA_ARGS__ }
#define ATT(n, w, c, h, ...) { .op = MGV_OP_ATTENTION, .x = { n, 1, 1, w, c }, .heads = h, __VA_ARGS__ }
#define ADD(n, t, h, w, c) { .op = MGV_OP_ADD, .x = { n, t, h, w, c } }
#define ROWS(n, w, c, extra) { .op = MGV_OP_ADD, .x = { n, 1, 1, w, c }, .table = 1, .rows = extra }
#define ACT(n, t, h, w, c, a) { .op = MGV_OP_ACT, .x = { n, t, h, w, c }, .act = MGV_ACT_##a }
#define RES(o, n, t, h, w, c, a, b, d) { .op = MGV_OP_##o, .x = { n, t, h, w, c }, .ft = a, .fh = b, .fw = d }
#define EMB(n, t, h, w, r, c) { .op = MGV_OP_EMBED, .x = { n, t, h, w, 1 }, .rows = r, .cout = c }
#define VQ(n, t, h, w, d, r, ...) { .op = MGV_OP_VQ_ARGMIN, .x = { n, t, h, w, d }, .rows = r, __VA_ARGS__ }
#define BIAS .bias = 1
#define SILU .act = MGV_ACT_SILU
#define GELU .act = MGV_ACT_GELU_TANH

const Case cases[] = {
    CONV(1, 1, 1, 1, 1, 1, 3, ZERO),
    CONV(1, 1, 1, 1, 3, 5, 3, REFLECT, BIAS),
    CONV(1, 2, 1, 3, 3, 4, 3, REFLECT),
    CONV(1, 2, 2, 2, 4, 3, 3, REFLECT, BIAS),
    CONV(2, 3, 5, 3, 5, 17, 3, ZERO, BIAS),
    CONV(2, 3, 5, 3, 5, 17, 3, REFLECT),
    CONV(1, 5, 17, 33, 3, 16, 3, REFLECT),
    CONV(1, 5, 17, 33, 16, 3, 3, REFLECT, BIAS),
    CONV(1, 4, 33, 17, 8, 24, 3, ZERO),
    CONV(2, 1, 9, 33, 17, 33, 3, REFLECT, BIAS),
    CONV(1, 17, 6, 5, 12, 20, 3, REFLECT),
    CONV(1, 3, 16, 16, 64, 32, 3, REFLECT, BIAS),
    CONV(1, 5, 17, 33, 4, 16, 3, REFLECT, SILU),
    CONV(2, 3, 5, 3, 16, 5, 3, ZERO, BIAS, GELU),
    CONV(1, 1, 1, 1, 1, 1, 1, ZERO),
    CONV(2, 3, 5, 7, 5, 17, 1, REFLECT, BIAS),
    CONV(1, 4, 17, 33, 16, 32, 1, REFLECT),
    CONV(1, 3, 5, 7, 8, 17, 1, ZERO, SILU),
    CONV(1, 3, 5, 17, 33, 3, 1, ZERO, BIAS),

    GN(1, 1, 1, 1, 1, 1),
    GN(1, 1, 1, 1, 6, 3, SILU),
    GN(2, 3, 5, 3, 12, 4),
    GN(1, 5, 17, 33, 16, 4, SILU),
    GN(3, 2, 9, 7, 30, 2, GELU),
    GN(2, 3, 17, 5, 17, 1, SILU),
    GN(1, 4, 33, 33, 5, 5),
    GN(1, 2, 9, 9, 132, 33, SILU),
    GN(2, 1, 1, 2, 7000, 7),

    LN(1, 1, 1), LN(1, 3, 5), LN(2, 17, 33), LN(1, 5, 256), LN(3, 33, 130),

    LIN(1, 1, 1, 1),
    LIN(1, 3, 5, 3, GELU),
    LIN(2, 17, 33, 17),
    LIN(1, 33, 17, 130, SILU),
    LIN(3, 67, 64, 48, GELU),
    LIN(1, 131, 256, 96),
    LIN(1, 45, 2100, 64, BIAS, GELU), // rows in parts
    LIN(1, 300, 2049, 96),
    LIN(1, 17, 2080, 48, BIAS), // but not with half a block of columns
    LIN(1, 17, 33, 5, .table = 1, .rows = 7),
    LIN(2, 33, 64, 64, .table = 1, .rows = 1),

    ATT(1, 1, 1, 1), ATT(1, 3, 4, 2), ATT(2, 17, 12, 3), ATT(1, 33, 5, 1), ATT(2, 67, 64, 4), ATT(1, 257, 48, 3),
    ATT(3, 5, 64, 64), ATT(1, 70, 72, 3), ATT(1, 67, 128, 2),

    ADD(1, 1, 1, 1, 1), ADD(2, 3, 5, 3, 17), ADD(1, 1, 1, 33, 4),
    ROWS(1, 1, 1, 0), ROWS(3, 17, 5, 3), ROWS(2, 33, 12, 0),

    ACT(1, 1, 1, 1, 1, SILU), ACT(2, 3, 5, 3, 17, SILU), ACT(1, 3, 17, 33, 5, GELU_TANH), ACT(1, 1, 1, 1, 1, GELU_TANH),

    RES(POOL, 1, 1, 1, 1, 1, 2, 2, 2), RES(POOL, 2, 3, 5, 3, 5, 2, 2, 2), RES(POOL, 1, 4, 6, 8, 16, 1, 2, 2),
    RES(POOL, 2, 3, 4, 5, 3, 2, 1, 1), RES(POOL, 1, 5, 17, 33, 17, 1, 2, 1), RES(POOL, 1, 2, 2, 33, 4, 1, 1, 1),
    RES(UPSAMPLE, 1, 1, 1, 1, 1, 2, 2, 2), RES(UPSAMPLE, 2, 3, 5, 3, 5, 2, 2, 2),
    RES(UPSAMPLE, 1, 4, 3, 8, 16, 1, 2, 2), RES(UPSAMPLE, 2, 2, 3, 5, 3, 2, 1, 1),
    RES(UPSAMPLE, 1, 3, 5, 33, 17, 1, 2, 1), RES(UPSAMPLE, 1, 2, 2, 33, 4, 1, 1, 1),

    EMB(1, 1, 1, 1, 1, 1), EMB(2, 3, 5, 3, 17, 5), EMB(1, 1, 1, 33, 130, 64), EMB(1, 1, 3, 3, 5, 3),

    VQ(1, 1, 1, 1, 1, 1), VQ(2, 3, 5, 3, 5, 17), VQ(1, 1, 3, 33, 64, 130), VQ(1, 2, 5, 5, 17, 33, .normalize = 1),
    VQ(1, 1, 5, 17, 4, 257, .normalize = 1), VQ(1, 3, 5, 5, 3, 64),

    GN(1, 3, 8, 32, 16, 4, SILU),
    GN(2, 2, 6, 16, 32, 8),

    /* what AMX cuts differently: blocks of 32 columns, of which a half may be missing, tiles of 16 pixels, many rows */
    CONV(1, 3, 7, 48, 20, 16, 3, REFLECT, BIAS), CONV(1, 2, 5, 31, 35, 33, 3, ZERO),
    CONV(2, 2, 3, 16, 32, 80, 3, REFLECT, BIAS), CONV(1, 3, 2, 9, 96, 130, 3, REFLECT),
    LIN(1, 1026, 200, 330), LIN(1, 1100, 65, 17, GELU), ATT(1, 530, 36, 1),

    /* weights far above those of the keys before */
    ATT(1, 203, 72, 2, .steep = 8), ATT(1, 37, 16, 1, .steep = 6),

    /* what AVX-512 cuts differently: 14 rows by 32 columns, or keys; sums of weights out of float's range */
    LIN(1, 300, 780, 45, GELU), LIN(1, 61, 1555, 33, SILU),
    ATT(2, 45, 160, 2), ATT(1, 58, 128, 1), ATT(9, 2, 64, 4, .steep = 40), ATT(1, 97, 48, 3, .steep = 20),

    /* so many weights that all planes are multiplied at once, in bands */
    CONV(2, 3, 3, 5, 141, 140, 3, REFLECT, BIAS), CONV(1, 2, 9, 16, 151, 130, 3, ZERO),
};
const int nb_cases = MGV_ARRAY_LEN(cases);

unsigned case_fills(enum MgvOpType op)
{
    const unsigned all = (1u << FILL_NB) - 1, large = 1u << FILL_OFFSET | 1u << FILL_BIG;

    /* Scores of large vectors are so far apart that the last bits of their products decide. */
    return op == MGV_OP_ATTENTION ? all & ~large : op == MGV_OP_EMBED ? 1u << FILL_UNIFORM : all;
}

const Case bench_cases[] = {
    CONV(1, 16, 128, 128, 3, 16, 3, REFLECT),
    CONV(1, 16, 128, 128, 16, 16, 3, REFLECT),
    CONV(1, 16, 128, 128, 16, 3, 3, REFLECT, BIAS),
    CONV(1, 8, 64, 64, 32, 32, 3, REFLECT),
    CONV(1, 8, 64, 64, 64, 64, 3, REFLECT),
    CONV(1, 4, 16, 16, 128, 128, 3, REFLECT),
    CONV(1, 4, 16, 16, 64, 128, 1, REFLECT),
    GN(1, 16, 128, 128, 16, 4, SILU),
    GN(1, 8, 64, 64, 32, 4, SILU),
    LN(1, 1026, 256),
    LIN(1, 1026, 256, 256),
    LIN(1, 1026, 256, 1024, GELU),
    LIN(1, 1026, 1024, 256),
    ATT(1, 1026, 256, 4),
    ADD(1, 16, 128, 128, 16),
    ROWS(1, 1026, 256, 0),
    ACT(1, 16, 128, 128, 16, SILU),
    RES(POOL, 1, 16, 128, 128, 16, 2, 2, 2),
    RES(UPSAMPLE, 1, 8, 64, 64, 16, 2, 2, 2),
    EMB(1, 1, 1, 1026, 1064, 256),
    VQ(1, 4, 16, 16, 64, 1024),
};
const int nb_bench_cases = MGV_ARRAY_LEN(bench_cases);

/* ---- known ---- */

#define F(...) (const float[]){ __VA_ARGS__ }
#define I(...) (const int32_t[]){ __VA_ARGS__ }
#define ZERO9  0, 0, 0, 0, 0, 0, 0, 0, 0
#define ONE9   1, 1, 1, 1, 1, 1, 1, 1, 1
/** Weights of a 3x3x3 kernel that lie on one axis. */
#define TAPS_T F(0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0)
#define TAPS_H F(ZERO9, 0, 1, 0, 0, 10, 0, 0, 100, 0, ZERO9)
#define TAPS_W F(ZERO9, 0, 0, 0, 1, 10, 100, 0, 0, 0, ZERO9)
#define EPS    .eps = 0.5625f // a variance of 1 becomes 1.25 squared
#define LN3    1.09861228866811f

const Known known[] = {
    { "reflect in W", CONV(1, 1, 1, 3, 1, 1, 3, REFLECT), { F(1, 2, 3) }, .weight = TAPS_W, .want = F(212, 321, 232) },
    { "reflect in H", CONV(1, 1, 3, 1, 1, 1, 3, REFLECT), { F(1, 2, 3) }, .weight = TAPS_H, .want = F(212, 321, 232) },
    { "reflect in T", CONV(1, 3, 1, 1, 1, 1, 3, REFLECT), { F(1, 2, 3) }, .weight = TAPS_T, .want = F(212, 321, 232) },
    { "reflect in two cells", CONV(1, 2, 1, 1, 1, 1, 3, REFLECT), { F(1, 2) }, .weight = TAPS_T, .want = F(212, 121) },
    { "zeros in W", CONV(1, 1, 1, 3, 1, 1, 3, ZERO), { F(1, 2, 3) }, .weight = TAPS_W, .want = F(210, 321, 32) },
    { "zeros in H", CONV(1, 1, 3, 1, 1, 1, 3, ZERO), { F(1, 2, 3) }, .weight = TAPS_H, .want = F(210, 321, 32) },
    { "zeros in T", CONV(1, 3, 1, 1, 1, 1, 3, ZERO), { F(1, 2, 3) }, .weight = TAPS_T, .want = F(210, 321, 32) },
    { "one cell replicated", CONV(1, 1, 1, 1, 1, 1, 3, REFLECT, BIAS), { F(5) }, .weight = F(ONE9, ONE9, ONE9),
      .bias = F(-1), .want = F(134) },
    { "one cell in zeros", CONV(1, 1, 1, 1, 1, 1, 3, ZERO), { F(5) }, .weight = F(ONE9, ONE9, ONE9), .want = F(5) },
    { "silu", CONV(1, 1, 1, 2, 1, 1, 3, ZERO, BIAS, SILU), { F(1, -2) }, .weight = F(ONE9, ONE9, ONE9), .bias = F(2),
      .want = F(0.731058579f, 0.731058579f) },
    { "silu of a point", CONV(1, 1, 1, 2, 1, 1, 1, ZERO, SILU), { F(1, -1) }, .weight = F(1),
      .want = F(0.731058579f, -0.268941421f) },
    { "channels", CONV(1, 1, 1, 2, 2, 2, 1, ZERO, BIAS), { F(1, 2, 0, 1) }, .weight = F(1, 2, 3, 4),
      .bias = F(10, 20), .want = F(15, 31, 12, 24) },
    { "samples stay apart", CONV(2, 1, 1, 1, 1, 1, 3, REFLECT), { F(1, 2) }, .weight = F(ONE9, ONE9, ONE9),
      .want = F(27, 54) },

    { "one group", GN(1, 1, 1, 2, 2, 1, .eps = 0.3125f), { F(1, 2, 3, 4) }, .weight = F(1, 2), .bias = F(0, 1),
      .want = F(-1.2f, 0.2f, 0.4f, 3.4f) },
    { "two groups", GN(1, 2, 1, 1, 2, 2, EPS), { F(1, 2, 3, 4) }, .weight = F(1, 2), .bias = F(0, 1),
      .want = F(-0.8f, -0.6f, 0.8f, 2.6f) },
    { "variance 0, silu", GN(1, 1, 1, 2, 1, 1, SILU), { F(7, 7) }, .weight = F(3), .bias = F(1),
      .want = F(0.731058579f, 0.731058579f) },
    { "samples stay apart", GN(2, 1, 1, 2, 1, 1, EPS), { F(1, 3, 12, 10) }, .weight = F(1), .bias = F(0),
      .want = F(-0.8f, 0.8f, 0.8f, -0.8f) },

    { "two rows", { .op = MGV_OP_LAYER_NORM, .x = { 1, 1, 1, 2, 2 }, EPS }, { F(1, 3, 12, 10) }, .weight = F(1, 2),
      .bias = F(0, 1), .want = F(-0.8f, 2.6f, 0.8f, -0.6f) },

    { "product", LIN(1, 2, 2, 2), { F(1, 2, 0, 1) }, .weight = F(1, 2, 3, 4), .bias = F(10, 20),
      .want = F(15, 31, 12, 24) },
    { "gelu", LIN(1, 1, 2, 2, GELU), { F(1, 2) }, .weight = F(1, 0, 0, -1), .bias = F(0, 1),
      .want = F(0.841191991f, -0.158808009f) },
    { "first rows of a larger matrix", LIN(1, 1, 2, 1, .table = 1, .rows = 1), { F(1, 2) }, .weight = F(1, 2, 3, 4),
      .bias = F(10, 20), .want = F(15) },

    { "scale by 1/sqrt(d)", ATT(1, 2, 4, 1), { F(2 * LN3, 0, 0, 0, 0, 0, 0, 0), F(1, 0, 0, 0, 0, 0, 0, 0),
      F(2, 0, 1, 0, 4, 0, 1, 0) }, .want = F(2.5f, 0, 1, 0, 3, 0, 1, 0) },
    { "two heads", ATT(1, 2, 2, 2), { F(LN3, 0, 0, 0), F(1, 0, 0, 0), F(2, 10, 4, 30) }, .want = F(2.5f, 20, 3, 20) },
    { "samples stay apart", ATT(2, 1, 1, 1), { F(1, 1), F(1, 1), F(5, 7) }, .want = F(5, 7) },

    { "two tensors", ADD(1, 1, 1, 2, 2), { F(1, 2, 3, 4), F(10, 20, 30, 40) }, .want = F(11, 22, 33, 44) },
    { "rows repeat over samples", ROWS(2, 2, 1, 1), { F(1, 2, 3, 4) }, .weight = F(10, 20, 99),
      .want = F(11, 22, 13, 24) },

    { "silu", ACT(1, 1, 1, 1, 3, SILU), { F(0, 1, -1) }, .want = F(0, 0.731058579f, -0.268941421f) },
    { "gelu", ACT(1, 1, 1, 1, 3, GELU_TANH), { F(0, 1, -1) }, .want = F(0, 0.841191991f, -0.158808009f) },

    { "odd width", RES(POOL, 1, 1, 1, 3, 1, 1, 1, 2), { F(1, 2, 5) }, .want = F(1.5f, 5) },
    { "odd planes", RES(POOL, 1, 3, 1, 1, 1, 2, 1, 1), { F(1, 2, 5) }, .want = F(1.5f, 5) },
    { "rows and columns", RES(POOL, 1, 1, 2, 2, 1, 1, 2, 2), { F(1, 2, 3, 6) }, .want = F(3) },
    { "columns", RES(UPSAMPLE, 1, 1, 1, 2, 2, 1, 1, 2), { F(1, 2, 3, 4) }, .want = F(1, 2, 1, 2, 3, 4, 3, 4) },
    { "rows", RES(UPSAMPLE, 1, 1, 2, 2, 1, 1, 2, 1), { F(1, 2, 3, 4) }, .want = F(1, 2, 1, 2, 3, 4, 3, 4) },
    { "planes", RES(UPSAMPLE, 1, 2, 1, 1, 1, 2, 1, 1), { F(1, 2) }, .want = F(1, 1, 2, 2) },

    { "ids are clamped", EMB(1, 1, 1, 4, 2, 2), .ids = I(1, 0, -5, 9), .weight = F(1, 2, 3, 4),
      .want = F(3, 4, 1, 2, 1, 2, 3, 4) },
    { "ties go to the lowest", VQ(1, 1, 1, 4, 2, 4), { F(0.75f, 0.75f, 0.5f, 0.5f, 9, 9, 2, 2) },
      .weight = F(0, 0, 1, 1, 1, 1, 3, 3), .want_ids = I(1, 0, 3, 1) },
    { "by distance", VQ(1, 1, 1, 1, 2, 2), { F(3, 1) }, .weight = F(10, 0, 0, 1), .want_ids = I(1) },
    { "by direction", VQ(1, 1, 1, 1, 2, 2, .normalize = 1), { F(3, 1) }, .weight = F(10, 0, 0, 1), .want_ids = I(0) },
};
const int nb_known = MGV_ARRAY_LEN(known);

/* ---- what a case is made of ---- */

int case_nb_inputs(const Case *c)
{
    return c->op == MGV_OP_ATTENTION ? 3 : c->op == MGV_OP_ADD && !c->table ? 2 : 1;
}

static int matrix(int64_t *dims, int64_t rows, int64_t columns)
{
    dims[0] = rows;
    dims[1] = columns;
    return 2;
}

static int vector(int64_t *dims, int64_t n)
{
    dims[0] = n;
    return 1;
}

int case_weight_dims(const Case *c, int i, int64_t dims[MGV_ST_MAX_DIMS])
{
    switch (c->op) {
    case MGV_OP_CONV3D:
        if (i)
            return c->bias ? vector(dims, c->cout) : 0;
        matrix(dims, c->cout, c->x.c);
        dims[2] = dims[3] = dims[4] = c->k;
        return 5;
    case MGV_OP_GROUP_NORM:
    case MGV_OP_LAYER_NORM:
        return vector(dims, c->x.c);
    case MGV_OP_LINEAR:
        return i ? vector(dims, c->cout + c->rows) : matrix(dims, c->cout + c->rows, c->x.c);
    case MGV_OP_ADD:
        return i || !c->table ? 0 : matrix(dims, c->x.w + c->rows, c->x.c);
    case MGV_OP_EMBED:
        return i ? 0 : matrix(dims, c->rows, c->cout);
    case MGV_OP_VQ_ARGMIN:
        return i ? 0 : matrix(dims, c->rows, c->x.c);
    default:
        return 0;
    }
}

MgvT case_build(const Case *c, MgvPlan *p, const MgvT *in)
{
    const float eps = c->eps > 0.0f ? c->eps : 1e-6f;

    switch (c->op) {
    case MGV_OP_CONV3D:     return mgv_conv3d(p, "op", in[0], c->cout, c->k, c->pad, c->bias, c->act);
    case MGV_OP_GROUP_NORM: return mgv_group_norm(p, "op", in[0], c->groups, eps, c->act);
    case MGV_OP_LAYER_NORM: return mgv_layer_norm(p, "op", in[0], eps);
    case MGV_OP_LINEAR:
        if (!c->table)
            return mgv_linear(p, "op", in[0], c->cout, c->act);
        return mgv_linear_tied(p, "op", in[0], "op.weight", "op.bias", c->cout);
    case MGV_OP_ATTENTION:  return mgv_attention(p, "op", in[0], in[1], in[2], c->heads);
    case MGV_OP_ADD:        return c->table ? mgv_add_rows(p, "op", in[0]) : mgv_add(p, "op", in[0], in[1]);
    case MGV_OP_ACT:        return mgv_act(p, "op", in[0], c->act);
    case MGV_OP_POOL:       return mgv_pool(p, "op", in[0], c->ft, c->fh, c->fw);
    case MGV_OP_UPSAMPLE:   return mgv_upsample(p, "op", in[0], c->ft, c->fh, c->fw);
    case MGV_OP_EMBED:      return mgv_embed(p, "op", in[0]);
    case MGV_OP_VQ_ARGMIN:  return mgv_vq_argmin(p, "op", in[0], "op", c->normalize);
    default:                return -1;
    }
}

void case_print(const Case *c, char *line, size_t size)
{
    static const char *const acts[] = { "", " silu", " gelu" };
    int n = snprintf(line, size, "%s [%d,%d,%d,%d,%d]", mgv_op_name(c->op), c->x.n, c->x.t, c->x.h, c->x.w, c->x.c);

#define ITEM(cond, ...)                                                 \
    do {                                                                \
        if ((cond) && n >= 0 && (size_t)n < size)                       \
            n += snprintf(line + n, size - n, __VA_ARGS__);             \
    } while (0)
    ITEM(c->cout, "->%d", c->cout);
    ITEM(c->k, " k%d %s%s", c->k, c->pad == MGV_PAD_ZERO ? "zero" : "reflect", c->bias ? " bias" : "");
    ITEM(c->groups, " groups %d", c->groups);
    ITEM(c->heads, " heads %d", c->heads);
    ITEM(c->steep, " steep %d", c->steep);
    ITEM(c->ft, " by %d,%d,%d", c->ft, c->fh, c->fw);
    ITEM(c->rows || c->table, " %s %d", c->table ? "table +" : "rows", c->rows);
    ITEM(c->normalize, " normalize");
    ITEM(1, "%s", acts[c->act]);
#undef ITEM
}
