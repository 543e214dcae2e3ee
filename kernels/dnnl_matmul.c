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
#define TILE_MACS 16e6
#define MIN_ROWS  32
#define MAX_ROWS  512

struct MgvDnnlRows {
    MgvDnnlPrim *whole, *last; ///< for a whole tile, and for the last one if it has fewer rows
    void *weights;             ///< in the layout of the products
    float *bias;
    int64_t rows;
    int tile, nb_tiles, cin, cout;
    size_t x_bytes, thread_bytes; ///< of scratch: a tile of x in bf16, 0 for float32; everything for one thread
};

/** Tiles of about equal size. */
static int balanced(int64_t rows, int64_t tile)
{
    const int64_t nb = (rows + tile - 1) / tile;

    return (rows + nb - 1) / nb;
}

static int rows_init(MgvDnnlRows *r, MgvKernelOp *o, const float *w)
{
    const ptrdiff_t strides[] = { 1, r->cin };
    MgvDnnlMatmul m = { r->tile, r->cout, r->cin, r->cin, r->cout, !!r->bias, 0 };
    int ret = mgv_dnnl_matmul(&r->whole, o, &m, NULL);

    if (ret < 0)
        return ret;
    r->thread_bytes = mgv_dnnl_scratch_bytes(r->whole);
    m.m = r->rows - (int64_t)(r->nb_tiles - 1) * r->tile;
    if (m.m < r->tile) {
        if ((ret = mgv_dnnl_matmul(&r->last, o, &m, r->whole)) < 0)
            return ret;
        r->thread_bytes = MGV_MAX(r->thread_bytes, mgv_dnnl_scratch_bytes(r->last));
    }
    if ((ret = mgv_dnnl_pack(&r->weights, o, r->whole, w, strides)) < 0)
        return ret;
    if (mgv_dnnl_bf16(r->whole))
        r->x_bytes = MGV_ALIGN_UP((size_t)r->tile * r->cin * sizeof(uint16_t), MGV_ALIGNMENT);
    r->thread_bytes += r->x_bytes;
    o->weight_bytes += mgv_dnnl_weight_bytes(r->whole) + (r->bias ? r->cout * sizeof(float) : 0);
    o->scratch_bytes = MGV_MAX(o->scratch_bytes, r->thread_bytes * o->dev->threads);
    return 0;
}

int mgv_dnnl_rows_alloc(MgvDnnlRows **out, MgvKernelOp *o, int64_t rows, int cin, int cout, const float *w,
                        const float *bias)
{
    MgvDnnlRows *r = *out = mgv_calloc(1, sizeof(*r));
    const int64_t tile = TILE_MACS / ((double)cin * cout);
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
    r->tile = balanced(rows, MGV_CLAMP(tile, MIN_ROWS, MAX_ROWS));
    r->nb_tiles = (rows + r->tile - 1) / r->tile;
    ret = rows_init(r, o, w);
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
    mgv_freep(rows);
}

typedef struct RowsRun {
    const MgvDnnlRows *r;
    const float *x;
    float *y;
    enum MgvAct act;
} RowsRun;

static int rows_tile(const MgvKernelOp *o, void *arg, int tile, int thread)
{
    const RowsRun *run = arg;
    const MgvDnnlRows *r = run->r;
    const int64_t first = (int64_t)tile * r->tile, n = MGV_MIN(r->tile, r->rows - first);
    char *scratch = (char *)o->scratch + thread * r->thread_bytes;
    const void *x = run->x + first * r->cin;
    float *y = run->y + first * r->cout;
    int status;

    if (r->x_bytes) {
        mgv_cpu_bf16((uint16_t *)scratch, x, n * r->cin);
        x = scratch;
    }
    status = mgv_dnnl_execute(n < r->tile ? r->last : r->whole, thread, x, r->weights, r->bias, y, scratch + r->x_bytes);

    if (!status)
        mgv_cpu_act(y, n * r->cout, run->act);
    return status;
}

int mgv_dnnl_rows_run(const MgvKernelOp *o, const MgvDnnlRows *r, const float *x, float *y, enum MgvAct act)
{
    RowsRun run = { r, x, y, act };

    return mgv_dnnl_tiles(o, "matmul", r->nb_tiles, rows_tile, &run);
}

/* ---- linear ---- */

static void linear_unprepare(MgvKernelOp *o)
{
    MgvDnnlRows *r = o->priv;

    mgv_dnnl_rows_free(&r);
    o->priv = NULL;
}

static int linear_prepare(MgvKernelOp *o)
{
    float *w = mgv_host_weight(o, 0), *bias = mgv_host_weight(o, 1);
    MgvDnnlRows *r = NULL;
    int ret;

    if (!w || (o->op->weight[1] && !bias))
        ret = mgv_cpu_no_memory(o);
    else
        ret = mgv_dnnl_rows_alloc(&r, o, mgv_shape_elements(o->out) / o->out.c, o->in[0].c, o->out.c, w, bias);
    o->priv = r;
    mgv_freep(&w);
    mgv_freep(&bias);
    return ret;
}

static int linear_dnnl(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    (void)job, (void)nb_jobs;
    return mgv_dnnl_rows_run(o, o->priv, in[0], out, o->op->act);
}

const MgvKernel mgv_linear_dnnl = {
    .prepare = linear_prepare, .run = linear_dnnl, .unprepare = linear_unprepare, .threads_itself = 1,
};

/* ---- attention ---- */

/** Queries of a tile: their scores should stay in second-level cache. */
#define SCORE_BYTES (256 << 10)
#define MAX_QUERIES 64

/** Products of a whole tile of queries or of the last one. */
typedef struct Products {
    MgvDnnlPrim *scores, *values;
} Products;

typedef struct Attention {
    Products whole, last;
    MgvDnnlPrim *pack_keys, *pack_values;
    int tile, nb_tiles;         ///< queries of a tile
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

static int products_init(Products *p, const MgvKernelOp *o, int queries, const Products *like)
{
    Attention *a = o->priv;
    const int tokens = o->out.w, d = o->out.c / o->op->u.attention.heads;
    const MgvDnnlMatmul scores = { queries, tokens, d, d, tokens, 0, 0 };
    const MgvDnnlMatmul values = { queries, d, tokens, tokens, d, 0, 0 };
    size_t need;
    int ret = mgv_dnnl_matmul(&p->scores, o, &scores, like ? like->scores : NULL);

    if (ret >= 0)
        ret = mgv_dnnl_matmul(&p->values, o, &values, like ? like->values : NULL);
    if (ret < 0)
        return ret;
    need = MGV_MAX(mgv_dnnl_scratch_bytes(p->scores), mgv_dnnl_scratch_bytes(p->values));
    if (mgv_dnnl_bf16(p->values))
        a->weight_bytes = MGV_ALIGN_UP((size_t)a->tile * tokens * sizeof(uint16_t), MGV_ALIGNMENT);
    a->thread_bytes = MGV_MAX(a->thread_bytes, a->score_bytes + a->weight_bytes + a->query_bytes + need);
    return 0;
}

static int packing_init(Attention *a, const MgvKernelOp *o)
{
    const ptrdiff_t c = o->out.c, keys[] = { 1, c }, values[] = { c, 1 };
    size_t need;
    int ret = mgv_dnnl_reorder(&a->pack_keys, o, a->whole.scores, keys);

    if (ret >= 0)
        ret = mgv_dnnl_reorder(&a->pack_values, o, a->whole.values, values);
    if (ret < 0)
        return ret;
    need = MGV_MAX(mgv_dnnl_scratch_bytes(a->pack_keys), mgv_dnnl_scratch_bytes(a->pack_values));
    a->thread_bytes = MGV_MAX(a->thread_bytes, need);
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
    a->tile = balanced(tokens, MGV_CLAMP(SCORE_BYTES / (tokens * sizeof(float)), 8, MAX_QUERIES));
    a->nb_tiles = (tokens + a->tile - 1) / a->tile;
    a->score_bytes = MGV_ALIGN_UP((size_t)a->tile * tokens * sizeof(float), MGV_ALIGNMENT);
    a->query_bytes = MGV_ALIGN_UP((size_t)a->tile * d * sizeof(float), MGV_ALIGNMENT);
    ret = products_init(&a->whole, o, a->tile, NULL);
    if (ret >= 0 && tokens < a->nb_tiles * a->tile)
        ret = products_init(&a->last, o, tokens - (a->nb_tiles - 1) * a->tile, &a->whole);
    if (ret >= 0)
        ret = packing_init(a, o);
    if (ret < 0) {
        attention_unprepare(o);
        return ret;
    }
    o->scratch_bytes = a->packed_bytes + a->thread_bytes * o->dev->threads;
    return 0;
}

typedef struct AttentionRun {
    const float *q, *k, *v;
    float *out;
} AttentionRun;

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

/** Offset of the first token of a head, heads counted through all samples. */
static int64_t head_offset(const MgvKernelOp *o, int head)
{
    const int heads = o->op->u.attention.heads;

    return head / heads * (int64_t)o->out.w * o->out.c + head % heads * (o->out.c / heads);
}

/** Even tiles pack the keys of a head, odd ones the values. */
static int pack_tile(const MgvKernelOp *o, void *arg, int tile, int thread)
{
    const Attention *a = o->priv;
    const AttentionRun *run = arg;
    const int64_t at = head_offset(o, tile / 2);
    char *packed = packed_head(o, tile / 2);

    if (tile % 2)
        return mgv_dnnl_execute(a->pack_values, thread, run->v + at, NULL, NULL, packed + a->key_bytes,
                                thread_scratch(o, thread));
    return mgv_dnnl_execute(a->pack_keys, thread, run->k + at, NULL, NULL, packed, thread_scratch(o, thread));
}

static void gather(float *restrict dst, const float *restrict src, int rows, int n, ptrdiff_t stride)
{
    for (int i = 0; i < rows; i++)
        memcpy(dst + (size_t)i * n, src + i * stride, n * sizeof(*dst));
}

static void gather_bf16(uint16_t *dst, const float *src, int rows, int n, ptrdiff_t stride)
{
    for (int i = 0; i < rows; i++)
        mgv_cpu_bf16(dst + (size_t)i * n, src + i * stride, n);
}

static void scatter_scaled(float *restrict dst, const float *restrict src, const float *restrict scale, int rows,
                           int n, ptrdiff_t stride)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < n; j++)
            dst[i * stride + j] = src[(size_t)i * n + j] * scale[i];
}

static int attention_tile(const MgvKernelOp *o, void *arg, int tile, int thread)
{
    const Attention *a = o->priv;
    const AttentionRun *run = arg;
    const int tokens = o->out.w, c = o->out.c, d = c / o->op->u.attention.heads;
    const int head = tile / a->nb_tiles, first = tile % a->nb_tiles * a->tile;
    const int queries = MGV_MIN(a->tile, tokens - first);
    const Products *p = queries < a->tile ? &a->last : &a->whole;
    const int64_t at = head_offset(o, head) + (int64_t)first * c;
    const char *packed = packed_head(o, head);
    float *scores = (float *)thread_scratch(o, thread), inv[MAX_QUERIES];
    uint16_t *weights = (uint16_t *)((char *)scores + a->score_bytes);
    float *q = (float *)((char *)weights + a->weight_bytes), *result = q;
    char *scratch = (char *)q + a->query_bytes;
    int status;

    if (mgv_dnnl_bf16(p->scores))
        gather_bf16((uint16_t *)q, run->q + at, queries, d, c);
    else
        gather(q, run->q + at, queries, d, c);
    status = mgv_dnnl_execute(p->scores, thread, q, packed, NULL, scores, scratch);
    if (status)
        return status;
    for (int i = 0; i < queries; i++) {
        float *row = scores + (size_t)i * tokens;
        inv[i] = 1.0f / mgv_cpu_softmax(row, tokens, 1.0f / sqrtf(d));
        if (a->weight_bytes)
            mgv_cpu_bf16(weights + (size_t)i * tokens, row, tokens);
    }
    status = mgv_dnnl_execute(p->values, thread, a->weight_bytes ? (const void *)weights : scores, packed + a->key_bytes, NULL, result, scratch);
    if (!status)
        scatter_scaled(run->out + at, result, inv, queries, d, c);
    return status;
}

static int attention_dnnl(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    const Attention *a = o->priv;
    const int heads = o->out.n * o->op->u.attention.heads;
    AttentionRun run = { in[0], in[1], in[2], out };
    int ret = mgv_dnnl_tiles(o, "reorder", 2 * heads, pack_tile, &run);

    (void)job, (void)nb_jobs;
    return ret < 0 ? ret : mgv_dnnl_tiles(o, "matmul", heads * a->nb_tiles, attention_tile, &run);
}

const MgvKernel mgv_attention_dnnl = {
    .prepare = attention_prepare, .run = attention_dnnl, .unprepare = attention_unprepare, .threads_itself = 1,
};
