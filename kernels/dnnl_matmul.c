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
 * Matrix products by oneDNN on tiles of rows: linear layers, 1x1x1 convolutions
 * and attention. Weights, keys and values are first put into the layout that
 * the products like best, and rows lie close together: only then does oneDNN
 * take its fastest kernels. Attention keeps the scores of one tile of queries
 * of one head only.
 */

#include <math.h>
#include <string.h>

#include "kernels/cpu.h"
#include "kernels/dnnl.h"

/* ---- rows ---- */

/** Multiply-accumulates of a tile to aim for; the rows of a tile lie between the limits. */
#define TILE_MACS 8e6
#define MIN_ROWS  32
#define MAX_ROWS  512
/** But for every tile all weights come by: more rows if these, as x and y, take no more of second-level cache. */
#define TILE_BYTES (768 << 10)
#define MORE_ROWS  128
/** Rows come in multiples of this: with AMX, 61 rows take ten times as long as 64. */
#define ROW_STEP  16

struct MgvDnnlRows {
    MgvDnnlPrim *whole, *last; ///< for a whole tile, and for the last one if it has fewer rows
    void *weights;             ///< in the layout of the products
    float *bias;               ///< NULL for int8
    MgvInt8Columns columns;    ///< int8 only
    int64_t rows;
    int tile, nb_tiles, cin, cout;
    int y_bf16;                   ///< the products write bf16
    size_t x_bytes, y_bytes, thread_bytes; ///< of scratch: tiles of x and y, 0 if there is none; everything for one thread
};

/** Tiles of about equal size, the last one may be smaller. */
static int balanced(int64_t rows, int64_t tile)
{
    const int64_t nb = (rows + tile - 1) / tile;

    return MGV_MIN(rows, MGV_ALIGN_UP((rows + nb - 1) / nb, ROW_STEP));
}

/** Tiles of x in the other type, if it is not there in that of the products; of y, if it is not wanted as they give it. */
static void rows_scratch(MgvDnnlRows *r, MgvKernelOp *o)
{
    const int bf16 = mgv_dnnl_type(r->whole) == MGV_DNNL_BF16, int8 = mgv_dnnl_type(r->whole) == MGV_DNNL_INT8;
    const size_t x_size = bf16 ? sizeof(uint16_t) : int8 ? sizeof(uint8_t) : sizeof(float);

    if (int8 || bf16 != (int)(o->in_bf16 & 1))
        r->x_bytes = MGV_ALIGN_UP(r->tile * r->cin * x_size, MGV_ALIGNMENT);
    if (!r->y_bf16 && (!o->out_f32 || o->norm))
        r->y_bytes = MGV_ALIGN_UP(r->tile * r->cout * sizeof(float), MGV_ALIGNMENT);
    r->thread_bytes += r->x_bytes + r->y_bytes;
}

/** The product of a whole tile, in 8 bits if asked for and possible: then w and the bias become integers and columns. */
static int whole_init(MgvDnnlRows *r, MgvKernelOp *o, MgvDnnlMatmul *m, float *w, int int8)
{
    MgvDnnlMatmul m8 = *m;
    int ret = MAGVIT_ERR(ENOTSUP);

    m8.bias = 0;
    m8.type = MGV_DNNL_INT8;
    if (int8 && r->cin <= MGV_INT8_MAX_CIN)
        ret = mgv_dnnl_matmul(&r->whole, o, &m8, NULL);
    if (ret == MAGVIT_ERR(ENOTSUP))
        return mgv_dnnl_matmul(&r->whole, o, m, NULL);
    if (ret < 0)
        return ret;
    *m = m8;
    if (mgv_int8_alloc(&r->columns, w, r->bias, r->cout, r->cin) < 0)
        return mgv_cpu_no_memory(o);
    mgv_freep(&r->bias);
    return 0;
}

static int rows_init(MgvDnnlRows *r, MgvKernelOp *o, float *w, int int8)
{
    const ptrdiff_t strides[] = { 1, r->cin };
    const int y_bf16 = !o->out_f32 && o->op->act == MGV_ACT_NONE;
    MgvDnnlMatmul m = { r->tile, r->cout, r->cin, r->cin, r->cout, !!r->bias, MGV_DNNL_FASTEST, y_bf16 };
    size_t column;
    int ret = whole_init(r, o, &m, w, int8);

    if (ret < 0)
        return ret;
    r->y_bf16 = y_bf16 && mgv_dnnl_type(r->whole) == MGV_DNNL_BF16;
    r->thread_bytes = mgv_dnnl_scratch_bytes(r->whole);
    m.m = r->rows - (int64_t)(r->nb_tiles - 1) * r->tile;
    if (m.m < r->tile) {
        if ((ret = mgv_dnnl_matmul(&r->last, o, &m, r->whole)) < 0)
            return ret;
        r->thread_bytes = MGV_MAX(r->thread_bytes, mgv_dnnl_scratch_bytes(r->last));
    }
    if ((ret = mgv_dnnl_pack(&r->weights, o, r->whole, w, strides)) < 0)
        return ret;
    rows_scratch(r, o);
    column = r->columns.scale ? 3 * sizeof(float) : r->bias ? sizeof(float) : 0;
    o->weight_bytes += mgv_dnnl_weight_bytes(r->whole) + r->cout * column;
    o->scratch_bytes = MGV_MAX(o->scratch_bytes, r->thread_bytes * o->dev->threads);
    return 0;
}

int mgv_dnnl_rows_alloc(MgvDnnlRows **out, MgvKernelOp *o, int64_t rows, int cin, int cout, float *w,
                        const float *bias, int int8)
{
    MgvDnnlRows *r = *out = mgv_calloc(1, sizeof(*r));
    const int64_t more = TILE_BYTES / ((cin + cout) * sizeof(float)), tile = TILE_MACS / ((double)cin * cout);
    int ret;

    if (!r || (bias && !(r->bias = mgv_calloc(cout, sizeof(*bias))))) {
        mgv_dnnl_rows_free(out);
        return mgv_cpu_no_memory(o);
    }
    if (bias)
        memcpy(r->bias, bias, cout * sizeof(*bias));
    r->rows = rows;
    r->cin = cin;
    r->cout = cout;
    r->tile = balanced(rows, MGV_CLAMP(MGV_MAX(tile, MGV_MIN(more, MORE_ROWS)), MIN_ROWS, MAX_ROWS));
    r->nb_tiles = (rows + r->tile - 1) / r->tile;
    ret = rows_init(r, o, w, int8);
    if (ret < 0)
        mgv_dnnl_rows_free(out);
    return ret;
}

void mgv_dnnl_rows_free(MgvDnnlRows **rows)
{
    MgvDnnlRows *r = *rows;

    if (!r)
        return;
    mgv_dnnl_free(&r->last);
    mgv_dnnl_free(&r->whole);
    mgv_freep(&r->weights);
    mgv_freep(&r->bias);
    mgv_int8_free(&r->columns);
    mgv_freep(rows);
}

typedef struct RowsRun {
    const MgvDnnlRows *r;
    int64_t rows; ///< that are wanted, of r->rows
    const float *x;
    float *y;
} RowsRun;

/** n rows of x in the type of the products. row: receives scales of int8 */
static const void *rows_in(const MgvKernelOp *o, const RowsRun *run, int64_t first, int n, void *scratch, MgvInt8Row *row)
{
    const MgvDnnlRows *r = run->r;
    const int64_t at = first * r->cin;
    const size_t values = (size_t)n * r->cin;

    if (r->columns.scale) {
        for (int i = 0; i < n; i++)
            row[i] = mgv_cpu_quantize((uint8_t *)scratch + (size_t)i * r->cin, run->x + at + (int64_t)i * r->cin, r->cin);
        return scratch;
    }
    if (!r->x_bytes)
        return o->in16[0] ? (const void *)(o->in16[0] + at) : run->x + at;
    if (o->in16[0])
        mgv_cpu_f32(scratch, o->in16[0] + at, values);
    else
        mgv_cpu_bf16(scratch, run->x + at, values);
    return scratch;
}

/** What comes after the products of n rows, which lie in y. */
static void rows_out(const MgvKernelOp *o, const RowsRun *run, float *y, int64_t first, int n)
{
    const int64_t at = first * run->r->cout;
    const size_t values = (size_t)n * run->r->cout;
    uint16_t *y16 = o->out16 ? o->out16 + at : NULL;

    if (!run->y && !o->norm) {
        mgv_cpu_act_bf16(y16, y, values, o->op->act);
        return;
    }
    mgv_cpu_act(y, values, o->op->act);
    if (o->residual)
        mgv_cpu_add(y, o->residual + at, values);
    if (o->norm)
        mgv_cpu_layer_norm(o->norm, run->y ? run->y + at : y, y16, y, n);
    else if (y16)
        mgv_cpu_bf16(y16, y, values);
}

static int rows_tile(const MgvKernelOp *o, void *arg, int tile, int thread)
{
    const RowsRun *run = arg;
    const MgvDnnlRows *r = run->r;
    const int64_t first = (int64_t)tile * r->tile, n = MGV_MIN(r->tile, run->rows - first);
    char *scratch = (char *)o->scratch + thread * r->thread_bytes;
    MgvInt8Row row[MAX_ROWS];
    const void *x = rows_in(o, run, first, n, scratch, row);
    float *y = run->y && !o->norm ? run->y + first * r->cout : (float *)(scratch + r->x_bytes);
    int status = mgv_dnnl_execute(r->rows - first < r->tile ? r->last : r->whole, thread, x, r->weights, r->bias,
                                  r->y_bf16 ? (void *)(o->out16 + first * r->cout) : y,
                                  scratch + r->x_bytes + r->y_bytes);

    if (status || r->y_bf16)
        return status;
    for (int64_t i = 0; i < n && r->columns.scale; i++)
        mgv_cpu_dequantize(y + i * r->cout, r->cout, row[i], &r->columns);
    rows_out(o, run, y, first, n);
    return 0;
}

int mgv_dnnl_rows_run(const MgvKernelOp *o, const MgvDnnlRows *r, const float *x, float *y)
{
    RowsRun run = { r, o->rows ? o->out.w : r->rows, x, y };

    return mgv_dnnl_tiles(o, "matmul", (int)((run.rows + r->tile - 1) / r->tile), rows_tile, &run);
}

/* ---- linear ---- */

static void linear_unprepare(MgvKernelOp *o)
{
    MgvDnnlRows *r = o->priv;

    mgv_dnnl_rows_free(&r);
    o->priv = NULL;
}

/* What is rounded to 8 bits is not to be rounded twice. */
static int linear_declare(MgvKernelOp *o)
{
    o->reads_bf16  = mgv_cpu_is_bf16(o->dev) && !mgv_cpu_is_int8(o);
    o->writes_bf16 = mgv_cpu_is_bf16(o->dev);
    o->fuses = 1u << MGV_OP_ADD | 1u << MGV_OP_LAYER_NORM;
    return 0;
}

static int linear_prepare(MgvKernelOp *o)
{
    float *w = mgv_host_weight(o, 0), *bias = mgv_host_weight(o, 1);
    MgvDnnlRows *r = NULL;
    int ret;

    if (!w || (o->op->weight[1] && !bias))
        ret = mgv_cpu_no_memory(o);
    else
        ret = mgv_dnnl_rows_alloc(&r, o, mgv_shape_elements(o->out) / o->out.c, o->in[0].c, o->out.c, w, bias,
                                  mgv_cpu_is_int8(o));
    o->priv = r;
    mgv_freep(&w);
    mgv_freep(&bias);
    return ret;
}

static int linear_dnnl(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    (void)job, (void)nb_jobs;
    return mgv_dnnl_rows_run(o, o->priv, in[0], out);
}

const MgvKernel mgv_linear_dnnl = {
    .declare = linear_declare, .prepare = linear_prepare, .run = linear_dnnl, .unprepare = linear_unprepare, .threads_itself = 1,
};

/* ---- attention ---- */

/** Queries of a tile: their scores should stay in second-level cache. */
#define SCORE_BYTES (256 << 10)
#define MAX_QUERIES 64
/** In bf16 keys come in multiples of this, the surplus being zero: with AMX, a remainder doubles the time. */
#define KEY_STEP 32

/** Products of a whole tile of queries or of the last one. */
typedef struct Products {
    MgvDnnlPrim *scores, *values;
} Products;

typedef struct Attention {
    Products whole, last;
    MgvDnnlPrim *pack_keys, *pack_values;
    int tile, nb_tiles;         ///< queries of a tile
    int keys;                   ///< that products see
    int bf16;                   ///< products of bf16
    size_t key_bytes, value_bytes; ///< of one head in the layout of the products
    size_t packed_bytes;        ///< of scratch, for the keys and values of all heads
    size_t score_bytes, weight_bytes, query_bytes; ///< of scratch for a thread: scores; they in bf16; queries or results
    size_t thread_bytes;        ///< of scratch for a thread: everything
} Attention;

static void attention_unprepare(MgvKernelOp *o)
{
    Attention *a = o->priv;

    if (!a)
        return;
    mgv_dnnl_free(&a->pack_keys);
    mgv_dnnl_free(&a->pack_values);
    mgv_dnnl_free(&a->last.scores);
    mgv_dnnl_free(&a->last.values);
    mgv_dnnl_free(&a->whole.scores);
    mgv_dnnl_free(&a->whole.values);
    mgv_freep(&o->priv);
}

static int attention_declare(MgvKernelOp *o)
{
    if (mgv_cpu_is_bf16(o->dev)) {
        o->reads_bf16  = 7;
        o->writes_bf16 = 1;
    }
    return 0;
}

static int products_init(Products *p, const MgvKernelOp *o, int queries, const Products *like)
{
    Attention *a = o->priv;
    const int d = o->out.c / o->op->u.attention.heads;
    const MgvDnnlMatmul scores = { queries, a->keys, d, d, a->keys, 0, MGV_DNNL_FASTEST, 0 };
    const MgvDnnlMatmul values = { queries, d, a->keys, a->keys, d, 0, a->bf16 ? MGV_DNNL_FASTEST : MGV_DNNL_F32, 0 };
    size_t need;
    int ret = mgv_dnnl_matmul(&p->scores, o, &scores, like ? like->scores : NULL);

    if (ret >= 0)
        ret = mgv_dnnl_matmul(&p->values, o, &values, like ? like->values : NULL);
    if (ret < 0)
        return ret;
    need = MGV_MAX(mgv_dnnl_scratch_bytes(p->scores), mgv_dnnl_scratch_bytes(p->values));
    a->thread_bytes = MGV_MAX(a->thread_bytes, a->score_bytes + a->weight_bytes + a->query_bytes + need);
    return 0;
}

static int packing_init(Attention *a, const MgvKernelOp *o)
{
    const ptrdiff_t d = o->out.c / o->op->u.attention.heads, keys[] = { 1, d }, values[] = { d, 1 };
    const size_t plain = MGV_ALIGN_UP(a->keys * d * sizeof(float), MGV_ALIGNMENT);
    size_t need;
    int ret = mgv_dnnl_reorder(&a->pack_keys, o, a->whole.scores, keys, a->bf16);

    if (ret >= 0)
        ret = mgv_dnnl_reorder(&a->pack_values, o, a->whole.values, values, a->bf16);
    if (ret < 0)
        return ret;
    need = MGV_MAX(mgv_dnnl_scratch_bytes(a->pack_keys), mgv_dnnl_scratch_bytes(a->pack_values));
    a->thread_bytes = MGV_MAX(a->thread_bytes, plain + need);
    a->key_bytes = mgv_dnnl_weight_bytes(a->whole.scores);
    a->value_bytes = mgv_dnnl_weight_bytes(a->whole.values);
    a->packed_bytes = (a->key_bytes + a->value_bytes) * o->out.n * o->op->u.attention.heads;
    return 0;
}

static int attention_prepare(MgvKernelOp *o)
{
    const int tokens = o->out.w, d = o->out.c / o->op->u.attention.heads;
    Attention *a = o->priv = mgv_calloc(1, sizeof(*a));
    int ret;

    if (!a)
        return mgv_cpu_no_memory(o);
    a->bf16 = mgv_cpu_is_bf16(o->dev);
    a->keys = a->bf16 ? MGV_ALIGN_UP(tokens, KEY_STEP) : tokens;
    a->tile = balanced(tokens, MGV_CLAMP(SCORE_BYTES / (tokens * sizeof(float)), 8, MAX_QUERIES));
    a->nb_tiles = (tokens + a->tile - 1) / a->tile;
    a->score_bytes = MGV_ALIGN_UP((size_t)a->tile * a->keys * sizeof(float), MGV_ALIGNMENT);
    a->weight_bytes = a->bf16 ? MGV_ALIGN_UP((size_t)a->tile * a->keys * sizeof(uint16_t), MGV_ALIGNMENT) : 0;
    a->query_bytes = MGV_ALIGN_UP((size_t)a->tile * d * sizeof(float), MGV_ALIGNMENT);
    ret = products_init(&a->whole, o, a->tile, NULL);
    if (ret >= 0 && tokens < a->nb_tiles * a->tile)
        ret = products_init(&a->last, o, tokens - (a->nb_tiles - 1) * a->tile, &a->whole);
    if (ret >= 0 && a->bf16 != (mgv_dnnl_type(a->whole.scores) == MGV_DNNL_BF16 &&
                                (mgv_dnnl_type(a->whole.values) == MGV_DNNL_BF16))) {
        mgv_err(o->log, "%s: oneDNN has no fast product of bf16 for %d tokens", o->op->name, tokens);
        ret = MAGVIT_ERR(ENOTSUP);
    }
    if (ret >= 0)
        ret = packing_init(a, o);
    if (ret < 0) {
        attention_unprepare(o);
        return ret;
    }
    o->scratch_bytes = a->packed_bytes + a->thread_bytes * o->dev->threads;
    return 0;
}

static char *packed_head(const MgvKernelOp *o, int64_t head)
{
    const Attention *a = o->priv;

    return (char *)o->scratch + head * (a->key_bytes + a->value_bytes);
}

static char *thread_scratch(const MgvKernelOp *o, int thread)
{
    const Attention *a = o->priv;

    return (char *)o->scratch + a->packed_bytes + thread * a->thread_bytes;
}

/** Rows of one head of an input, one behind the other in the type of the products. */
static void gather(void *dst, const MgvKernelOp *o, const MgvAttentionRun *run, int which, int64_t at, int rows)
{
    const int d = o->out.c / o->op->u.attention.heads;
    const ptrdiff_t c = o->out.c;

    for (int i = 0; i < rows; i++) {
        if (o->in16[which])
            memcpy((uint16_t *)dst + (size_t)i * d, o->in16[which] + at + i * c, d * sizeof(uint16_t));
        else if (((const Attention *)o->priv)->bf16)
            mgv_cpu_bf16((uint16_t *)dst + (size_t)i * d, run->in[which] + at + i * c, d);
        else
            memcpy((float *)dst + (size_t)i * d, run->in[which] + at + i * c, d * sizeof(float));
    }
}

/** See mgv_attention_run(). */
static int pack_tile(const MgvKernelOp *o, void *arg, int tile, int thread)
{
    const Attention *a = o->priv;
    const int d = o->out.c / o->op->u.attention.heads, tokens = o->in[1].w;
    const size_t row = d * (a->bf16 ? sizeof(uint16_t) : sizeof(float));
    char *plain = thread_scratch(o, thread), *packed = packed_head(o, tile / 2);

    gather(plain, o, arg, 1 + tile % 2, mgv_cpu_head(o, tokens, tile / 2), tokens);
    memset(plain + tokens * row, 0, (a->keys - tokens) * row);
    return mgv_dnnl_execute(tile % 2 ? a->pack_values : a->pack_keys, thread, plain, NULL, NULL,
                            tile % 2 ? packed + a->key_bytes : packed,
                            plain + MGV_ALIGN_UP(a->keys * d * sizeof(float), MGV_ALIGNMENT));
}

/** Weights that are not yet divided by their sum, whose inverse goes to inv. */
static void softmax(const MgvKernelOp *o, float *scores, uint16_t *weights, float *inv, int queries)
{
    const Attention *a = o->priv;
    const int tokens = o->in[1].w;
    const float scale = 1.0f / sqrtf((float)(o->out.c / o->op->u.attention.heads));

    for (int i = 0; i < queries; i++) {
        float *row = scores + (size_t)i * a->keys;
        uint16_t *row16 = a->bf16 ? weights + (size_t)i * a->keys : NULL;

        inv[i] = 1.0f / mgv_cpu_softmax(row16, row, tokens, scale);
        if (row16)
            memset(row16 + tokens, 0, (a->keys - tokens) * sizeof(*row16));
    }
}

static void scatter_scaled(const MgvKernelOp *o, float *dst, int64_t at, float *src, const float *scale, int rows)
{
    const int n = o->out.c / o->op->u.attention.heads;

    for (int i = 0; i < rows; i++, src += n, at += o->out.c) {
        for (int j = 0; j < n; j++)
            src[j] *= scale[i];
        if (dst)
            memcpy(dst + at, src, n * sizeof(*src));
        if (o->out16)
            mgv_cpu_bf16(o->out16 + at, src, n);
    }
}

static int attention_tile(const MgvKernelOp *o, void *arg, int tile, int thread)
{
    const Attention *a = o->priv;
    const MgvAttentionRun *run = arg;
    const int head = tile / run->nb_tiles, first = tile % run->nb_tiles * a->tile;
    const int queries = MGV_MIN(a->tile, o->out.w - first);
    const Products *p = o->in[1].w - first < a->tile ? &a->last : &a->whole;
    const int64_t at = mgv_cpu_head(o, o->out.w, head) + (int64_t)first * o->out.c;
    const char *packed = packed_head(o, head);
    float *scores = (float *)thread_scratch(o, thread), inv[MAX_QUERIES];
    uint16_t *weights = (uint16_t *)((char *)scores + a->score_bytes);
    float *q = (float *)((char *)weights + a->weight_bytes), *result = q;
    char *scratch = (char *)q + a->query_bytes;
    int status;

    gather(q, o, run, 0, at, queries);
    status = mgv_dnnl_execute(p->scores, thread, q, packed, NULL, scores, scratch);
    if (status)
        return status;
    softmax(o, scores, weights, inv, queries);
    status = mgv_dnnl_execute(p->values, thread, a->bf16 ? (const void *)weights : scores, packed + a->key_bytes, NULL,
                              result, scratch);
    if (!status)
        scatter_scaled(o, run->out, at, result, inv, queries);
    return status;
}

int mgv_attention_run(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int queries, MgvTileFn *pack,
                      MgvTileFn *attend)
{
    const int heads = o->out.n * o->op->u.attention.heads;
    MgvAttentionRun run = { { in[0], in[1], in[2] }, out, (o->out.w + queries - 1) / queries };
    int ret = mgv_dnnl_tiles(o, "attention", 2 * heads, pack, &run);

    return ret < 0 ? ret : mgv_dnnl_tiles(o, "attention", heads * run.nb_tiles, attend, &run);
}

static int attention_dnnl(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    (void)job, (void)nb_jobs;
    return mgv_attention_run(o, in, out, ((const Attention *)o->priv)->tile, pack_tile, attention_tile);
}

const MgvKernel mgv_attention_dnnl = {
    .declare = attention_declare, .prepare = attention_prepare, .run = attention_dnnl,
    .unprepare = attention_unprepare, .threads_itself = 1,
};
