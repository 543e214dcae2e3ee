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
 * Linear layers and 1x1x1 convolutions by AMX. A thread takes rows that stay in its second-level cache, as tiles, and
 * multiplies them by one block of columns after another, whose weights come by once. Of long rows it takes a part after
 * another: then more of them, with their sums, stay there and share the weights. Activation, sum and rounding are done
 * block by block, a layer norm when its rows are complete.
 */

#include <string.h>

#include "kernels/amx.h"
#include "kernels/dnnl.h"

#if MGV_AMX

/** Bytes of rows that a thread takes at once, of its second-level cache. */
#define CACHE_BYTES (1 << 20)
#define MAX_ROWS 512
/** Rows of more than twice as many steps are taken in parts of no more. */
#define PART_STEPS 32
/** The same as CACHE_BYTES, of parts of rows and their sums. */
#define PART_CACHE_BYTES (3 << 19)

struct MgvAmxLinear {
    MgvAmxWeights weights;
    float *bias;            ///< NULL for int8
    MgvInt8Columns columns; ///< int8 only
    int64_t rows;
    int most;               ///< rows of a tile, at most
    int cin, cout;
    int part;               ///< steps that are multiplied at once
    size_t x_bytes, row_bytes, y_bytes; ///< of scratch: rows as tiles; scales, a row of bf16; what a norm is done to
    size_t sum_bytes;       ///< and sums of parts, 0: rows are multiplied whole
};

void mgv_amx_linear_free(MgvAmxLinear **linear)
{
    MgvAmxLinear *l = *linear;

    if (!l)
        return;
    mgv_freep(&l->weights.data);
    mgv_freep(&l->bias);
    mgv_int8_free(&l->columns);
    mgv_freep(linear);
}

static size_t thread_bytes(const MgvAmxLinear *l)
{
    return l->x_bytes + l->row_bytes + l->y_bytes + l->sum_bytes;
}

static size_t scale_bytes(const MgvAmxLinear *l)
{
    return MGV_ALIGN_UP(l->most * sizeof(MgvInt8Row), MGV_ALIGNMENT);
}

/** Parts of rows, and how many rows. Rows of 8 bits are whole, as they have one scale. */
static void choose_tiles(MgvAmxLinear *l)
{
    const int steps = l->weights.steps, parts = (steps + PART_STEPS - 1) / PART_STEPS;
    const int cut = parts > 2 && !l->weights.int8 && l->cout % MGV_AMX_BLOCK == 0;
    const size_t sums = cut ? l->cout * sizeof(float) : 0;

    l->part = cut ? (steps + parts - 1) / parts : steps;
    l->most = (int)((cut ? PART_CACHE_BYTES : CACHE_BYTES) / (l->part * MGV_AMX_BYTES + sums));
    l->most = MGV_ALIGN_UP(MGV_CLAMP(l->most, MGV_AMX_BLOCK, MGV_MIN(MAX_ROWS, l->rows)), MGV_AMX_ROWS);
    l->x_bytes   = (size_t)l->most * l->part * MGV_AMX_BYTES;
    l->sum_bytes = MGV_ALIGN_UP(l->most, MGV_AMX_BLOCK) * sums;
}

static int linear_init(MgvAmxLinear *l, MgvKernelOp *o, float *w, const float *bias, int int8)
{
    size_t column = bias ? sizeof(*bias) : 0;

    if (int8) {
        if (mgv_int8_alloc(&l->columns, w, bias, l->cout, l->cin) < 0)
            return mgv_cpu_no_memory(o);
        column = 3 * sizeof(float);
    } else if (bias) {
        if (!(l->bias = mgv_calloc(l->cout, sizeof(*bias))))
            return mgv_cpu_no_memory(o);
        memcpy(l->bias, bias, l->cout * sizeof(*bias));
    }
    l->weights = mgv_amx_weights(int8, l->cout, 1, l->cin);
    if (mgv_amx_pack(&l->weights, w) < 0)
        return mgv_cpu_no_memory(o);
    choose_tiles(l);
    if (int8)
        l->row_bytes = scale_bytes(l) + MGV_ALIGN_UP(l->cin * sizeof(uint16_t), MGV_ALIGNMENT);
    if (o->norm)
        l->y_bytes = MGV_ALIGN_UP((size_t)l->most * l->cout * sizeof(float), MGV_ALIGNMENT);
    o->weight_bytes += l->weights.bytes + l->cout * column;
    o->scratch_bytes = MGV_MAX(o->scratch_bytes, thread_bytes(l) * o->dev->threads);
    return 0;
}

int mgv_amx_linear_alloc(MgvAmxLinear **out, MgvKernelOp *o, int64_t rows, int cin, int cout, float *w, const float *bias,
                         int int8)
{
    MgvAmxLinear *l = *out = mgv_calloc(1, sizeof(*l));
    int ret;

    if (!l)
        return mgv_cpu_no_memory(o);
    l->rows = rows;
    l->cin  = cin;
    l->cout = cout;
    ret = linear_init(l, o, w, bias, int8 && cin <= MGV_INT8_MAX_CIN);
    if (ret < 0)
        mgv_amx_linear_free(out);
    return ret;
}

typedef struct Run {
    const MgvAmxLinear *l;
    int64_t rows;        ///< that are wanted, of l->rows
    int nb_tiles;        ///< that they are cut into
    const float *x;
    float *y;
} Run;

static int64_t row_tiles(int64_t rows)
{
    return (rows + MGV_AMX_ROWS - 1) / MGV_AMX_ROWS;
}

/** First row of a tile, the end of the one before. */
static int64_t tile_row(const Run *run, int tile)
{
    return MGV_MIN(run->rows, MGV_AMX_ROWS * mgv_share(row_tiles(run->rows), tile, run->nb_tiles));
}

/** Where a tile's rows come from and its results go. */
typedef struct Tile {
    const float *x;
    const uint16_t *x16;    ///< NULL: x
    uint8_t *scratch;
    int n;                  ///< rows
    const float *residual;
    float *y;
    uint16_t *y16;
    enum MgvAct act;
} Tile;

/** From value k of each row on, those of the part that w is for. */
static void rows_in(const MgvAmxLinear *l, const Tile *t, const MgvAmxWeights *w, int k)
{
    if (w->int8)
        mgv_amx_rows_quantize(w, t->scratch, (MgvInt8Row *)(t->scratch + l->x_bytes),
                              (uint16_t *)(t->scratch + l->x_bytes + scale_bytes(l)), (MgvValues){ t->x, t->x16 }, l->cin, t->n);
    else if (t->x16)
        mgv_amx_rows_in(w, t->scratch, t->x16 + k, l->cin, t->n);
    else
        mgv_amx_rows_round(w, t->scratch, t->x + k, l->cin, t->n);
}

/** What comes after a product of rows [row,row+32) and a block of columns. */
static void describe(MgvAmxOut *out, const MgvAmxLinear *l, const Tile *t, const float *c, int row, int column)
{
    const ptrdiff_t at = (ptrdiff_t)row * l->cout + column;

    out->c        = c;
    out->bias     = l->bias ? l->bias + column : NULL;
    out->row      = (const MgvInt8Row *)(t->scratch + l->x_bytes) + row;
    out->columns  = l->weights.int8 ? &l->columns : NULL;
    out->column   = column;
    out->residual = t->residual ? t->residual + at : NULL;
    out->y        = t->y ? t->y + at : NULL;
    out->y16      = t->y16 ? t->y16 + at : NULL;
    out->rows     = MGV_MIN(MGV_AMX_BLOCK, t->n - row);
    out->n        = MGV_MIN(MGV_AMX_BLOCK, l->cout - column);
    out->act      = t->act;
    if (t->act != MGV_ACT_NONE && (t->y || t->residual)) {
        mgv_amx_out_exact(out);
        mgv_amx_out(out);
    }
}

/** Blocks of 32x32 sums: two that take turns, and what is to be done with the one before. */
typedef struct Sums {
    _Alignas(64) float c[2][MGV_AMX_BLOCK * MGV_AMX_BLOCK];
    int turn;
    MgvAmxOut out;
} Sums;

/** Where sums of rows [row,row+32) and a block of columns go. */
static float *sums_of(const MgvAmxLinear *l, const Tile *t, Sums *s, int row, int column)
{
    float *all = (float *)(t->scratch + l->x_bytes + l->row_bytes + l->y_bytes);

    return l->sum_bytes ? all + (ptrdiff_t)row * l->cout + column * MGV_AMX_BLOCK : s->c[s->turn ^= 1];
}

/**
 * Products of a part of the tile's rows, by a group of blocks of columns at a time. What comes after one is done during
 * the next, and the weights of the next group come into cache.
 */
static void multiply_part(const MgvAmxLinear *l, const Tile *t, int step, Sums *s)
{
    const MgvAmxWeights w = mgv_amx_part(&l->weights, step, l->part), then = mgv_amx_part(&l->weights, step + w.steps, l->part);
    const int nb_blocks = (l->cout + MGV_AMX_BLOCK - 1) / MGV_AMX_BLOCK, group = mgv_amx_group(&w);
    const size_t share = (size_t)w.steps * 2 * MGV_AMX_TILE / ((t->n + MGV_AMX_BLOCK - 1) / MGV_AMX_BLOCK);

    for (int first = 0; first < nb_blocks; first += group) {
        const int end = MGV_MIN(first + group, nb_blocks);
        const char *next = end < nb_blocks ? (const char *)w.data + end * w.block : then.steps > 0 ? then.data : NULL;

        for (int i = 0; i < t->n; i += MGV_AMX_BLOCK) {
            const MgvAmxRows rows = mgv_amx_rows(&w, t->scratch, i, t->n);

            for (int k = first; k < end; k++) {
                const char *fetch = next ? next + (k - first) * w.block + i / MGV_AMX_BLOCK * share : NULL;
                float *c = sums_of(l, t, s, i, k * MGV_AMX_BLOCK);

                mgv_amx_product(&w, k, &rows, c, MGV_AMX_BLOCK * sizeof(*c), step > 0, fetch, share, &s->out);
                if (then.steps <= 0)
                    describe(&s->out, l, t, c, i, k * MGV_AMX_BLOCK);
            }
        }
    }
}

static void multiply(const MgvAmxLinear *l, const Tile *t)
{
    const MgvAmxWeights *w = &l->weights;
    Sums s = { .out = { .columns = w->int8 ? &l->columns : NULL, .stride = l->cout } };

    for (int step = 0; step < w->steps; step += l->part) {
        const MgvAmxWeights part = mgv_amx_part(w, step, l->part);

        rows_in(l, t, &part, step * (MGV_AMX_BYTES / 2));
        multiply_part(l, t, step, &s);
    }
    mgv_amx_out(&s.out);
}

static int linear_tile(const MgvKernelOp *o, void *arg, int tile, int thread)
{
    const Run *run = arg;
    const MgvAmxLinear *l = run->l;
    const int64_t first = tile_row(run, tile), at = first * l->cout;
    uint8_t *scratch = (uint8_t *)o->scratch + thread * thread_bytes(l);
    float *y = run->y ? run->y + at : o->norm ? (float *)(scratch + l->x_bytes + l->row_bytes) : NULL;
    uint16_t *y16 = o->out16 ? o->out16 + at : NULL;
    const Tile t = {
        .x = run->x ? run->x + first * l->cin : NULL, .x16 = o->in16[0] ? o->in16[0] + first * l->cin : NULL,
        .scratch = scratch, .n = (int)(tile_row(run, tile + 1) - first),
        .residual = o->residual ? o->residual + at : NULL, .y = y, .y16 = o->norm ? NULL : y16, .act = o->op->act,
    };

    if (!t.n)
        return 0;
    mgv_amx_begin();
    multiply(l, &t);
    mgv_amx_end();
    if (o->norm)
        mgv_cpu_layer_norm(o->norm, y, y16, y, t.n);
    return 0;
}

int mgv_amx_linear_run(const MgvKernelOp *o, const MgvAmxLinear *l, const float *x, float *y)
{
    Run run = { l, o->rows ? o->out.w : l->rows, 0, x, y };
    const int most = l->most / MGV_AMX_ROWS, threads = o->dev->threads; // as many tiles for each of them

    run.nb_tiles = (int)MGV_ALIGN_UP((row_tiles(run.rows) + most - 1) / most, threads);
    return mgv_dnnl_tiles(o, "matmul", run.nb_tiles, linear_tile, &run);
}

/* ---- the kernel ---- */

static void linear_unprepare(MgvKernelOp *o)
{
    MgvAmxLinear *l = o->priv;

    mgv_amx_linear_free(&l);
    o->priv = NULL;
}

/* Of values that become 8 bits, bf16 leaves as many to all but a row's largest. */
static int linear_declare(MgvKernelOp *o)
{
    o->reads_bf16  = 1;
    o->writes_bf16 = 1;
    o->fuses = 1u << MGV_OP_ADD | 1u << MGV_OP_LAYER_NORM;
    return 0;
}

static int linear_prepare(MgvKernelOp *o)
{
    float *w = mgv_host_weight(o, 0), *bias = mgv_host_weight(o, 1);
    MgvAmxLinear *l = NULL;
    int ret;

    if (!w || (o->op->weight[1] && !bias))
        ret = mgv_cpu_no_memory(o);
    else
        ret = mgv_amx_linear_alloc(&l, o, mgv_shape_elements(o->out) / o->out.c, o->in[0].c, o->out.c, w, bias,
                                   mgv_cpu_is_int8(o));
    o->priv = l;
    mgv_freep(&w);
    mgv_freep(&bias);
    return ret;
}

static int linear_amx(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    (void)job, (void)nb_jobs;
    return mgv_amx_linear_run(o, o->priv, in[0], out);
}

const MgvKernel mgv_linear_amx = {
    .declare = linear_declare, .prepare = linear_prepare, .run = linear_amx, .unprepare = linear_unprepare, .threads_itself = 1,
};

#endif /* MGV_AMX */
