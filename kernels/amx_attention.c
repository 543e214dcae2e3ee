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
 * Attention by AMX. Keys and values of every head are first put into tiles; then threads take a few queries of a head
 * at a time, whose scores stay in second-level cache.
 */

#include <math.h>
#include <string.h>

#include "kernels/amx.h"
#include "kernels/dnnl.h"

#if MGV_AMX

/** Bytes put between rows, which would all lie in the same few sets of the caches if they had a power of two of them. */
#define GAP MGV_AMX_BYTES

typedef struct Attention {
    MgvAmxWeights scores, values; ///< of a head
    int keys;                     ///< that products see: whole blocks, the surplus being zero
    size_t score_row, weight_row; ///< bytes of a row
    size_t packed_bytes;          ///< of scratch, for all heads
    size_t plain_bytes, query_bytes, score_bytes, weight_bytes, thread_bytes; ///< of scratch for a thread
} Attention;

typedef struct Run {
    const float *in[3]; ///< queries, keys, values
    float *out;
    int nb_tiles;       ///< of the queries of a head
} Run;

static int attention_declare(MgvKernelOp *o)
{
    o->reads_bf16  = 7;
    o->writes_bf16 = 1;
    return 0;
}

static void attention_unprepare(MgvKernelOp *o)
{
    mgv_freep(&o->priv);
}

static int attention_prepare(MgvKernelOp *o)
{
    const int tokens = o->out.w, d = o->out.c / o->op->u.attention.heads;
    Attention *a = o->priv = mgv_calloc(1, sizeof(*a));

    if (!a)
        return mgv_cpu_no_memory(o);
    a->keys   = MGV_ALIGN_UP(tokens, MGV_AMX_BLOCK);
    a->scores = mgv_amx_weights(0, a->keys, 1, d);
    a->values = mgv_amx_weights(0, d, 1, a->keys);
    a->score_row  = a->keys * sizeof(float) + GAP;
    a->weight_row = a->keys * sizeof(uint16_t) + GAP;
    a->packed_bytes = (a->scores.bytes + a->values.bytes) * o->out.n * o->op->u.attention.heads;
    a->query_bytes  = mgv_amx_rows_bytes(&a->scores, MGV_AMX_BLOCK);
    a->score_bytes  = a->score_row * MGV_AMX_BLOCK;
    a->weight_bytes = a->weight_row * MGV_AMX_BLOCK;
    a->plain_bytes  = MGV_ALIGN_UP((size_t)tokens * d * sizeof(uint16_t), MGV_ALIGNMENT);
    a->thread_bytes = MGV_MAX(a->plain_bytes, a->query_bytes + a->score_bytes + a->weight_bytes);
    o->scratch_bytes = a->packed_bytes + a->thread_bytes * o->dev->threads;
    return 0;
}

static uint8_t *packed_head(const MgvKernelOp *o, int head)
{
    const Attention *a = o->priv;

    return (uint8_t *)o->scratch + head * (a->scores.bytes + a->values.bytes);
}

static uint8_t *thread_scratch(const MgvKernelOp *o, int thread)
{
    const Attention *a = o->priv;

    return (uint8_t *)o->scratch + a->packed_bytes + thread * a->thread_bytes;
}

/** Even tiles pack the keys of a head, odd ones the values. */
static int pack_tile(const MgvKernelOp *o, void *arg, int tile, int thread)
{
    const Attention *a = o->priv;
    const Run *run = arg;
    const int d = o->out.c / o->op->u.attention.heads, tokens = o->in[1].w, which = 1 + tile % 2;
    const int64_t at = mgv_cpu_head(o, tokens, tile / 2);
    const uint16_t *rows = o->in16[which] ? o->in16[which] + at : (uint16_t *)thread_scratch(o, thread);
    const ptrdiff_t stride = o->in16[which] ? o->out.c : d;

    for (int i = 0; !o->in16[which] && i < tokens; i++)
        mgv_cpu_bf16((uint16_t *)rows + i * stride, run->in[which] + at + (int64_t)i * o->out.c, d);
    if (which == 1)
        mgv_amx_pack_keys(&a->scores, packed_head(o, tile / 2), rows, stride, tokens);
    else
        mgv_amx_pack_values(&a->values, packed_head(o, tile / 2) + a->scores.bytes, rows, stride, tokens);
    return 0;
}

/** Scores of a few queries become weights that are not yet divided by their sum, whose inverse goes to inv. */
static void softmax(const MgvKernelOp *o, uint8_t *scores, uint8_t *weights, float *inv, int queries)
{
    const Attention *a = o->priv;
    const int tokens = o->in[1].w;
    const float scale = 1.0f / sqrtf((float)(o->out.c / o->op->u.attention.heads));

    for (int i = 0; i < queries; i++, scores += a->score_row, weights += a->weight_row) {
        uint16_t *row = (uint16_t *)weights;

        inv[i] = 1.0f / mgv_cpu_softmax(row, (float *)scores, tokens, scale);
        memset(row + tokens, 0, (a->keys - tokens) * sizeof(*row));
    }
}

/** The values of a head, weighted for a few queries. */
static void weigh(const MgvKernelOp *o, const MgvAmxWeights *values, const uint8_t *weights, const MgvAmxOut *to, int queries)
{
    const Attention *a = o->priv;
    const MgvAmxRows rows = { { weights, weights + MGV_AMX_ROWS * a->weight_row, NULL, NULL }, a->weight_row, MGV_AMX_BYTES, NULL };
    _Alignas(64) float c[MGV_AMX_BLOCK * MGV_AMX_BLOCK];

    for (int block = 0, at = 0; at < values->cout; block++, at += MGV_AMX_BLOCK) {
        MgvAmxOut out = *to;

        mgv_amx_product(values, block, &rows, queries > MGV_AMX_ROWS ? 2 : 1, c, MGV_AMX_BLOCK * sizeof(*c), NULL, 0, NULL);
        out.c    = c;
        out.y    = to->y ? to->y + at : NULL;
        out.y16  = to->y16 ? to->y16 + at : NULL;
        out.rows = queries;
        out.n    = MGV_MIN(MGV_AMX_BLOCK, values->cout - at);
        mgv_amx_out(&out);
    }
}

static int attention_tile(const MgvKernelOp *o, void *arg, int tile, int thread)
{
    const Attention *a = o->priv;
    const Run *run = arg;
    const int head = tile / run->nb_tiles, first = tile % run->nb_tiles * MGV_AMX_BLOCK;
    const int queries = MGV_MIN(MGV_AMX_BLOCK, o->out.w - first);
    const int64_t at = mgv_cpu_head(o, o->out.w, head) + (int64_t)first * o->out.c;
    uint8_t *q = thread_scratch(o, thread), *scores = q + a->query_bytes, *weights = scores + a->score_bytes;
    MgvAmxWeights keys = a->scores, values = a->values;
    float inv[MGV_AMX_BLOCK];
    const MgvAmxOut out = {
        .scale = inv, .y = run->out ? run->out + at : NULL, .y16 = o->out16 ? o->out16 + at : NULL, .stride = o->out.c,
    };
    MgvAmxRows rows;

    keys.data   = packed_head(o, head);
    values.data = packed_head(o, head) + keys.bytes;
    if (o->in16[0])
        mgv_amx_rows_in(&keys, q, o->in16[0] + at, o->out.c, queries);
    else
        mgv_amx_rows_round(&keys, q, run->in[0] + at, o->out.c, queries);
    rows = mgv_amx_rows(&keys, q, 0);
    mgv_amx_begin();
    for (int block = 0; block * MGV_AMX_BLOCK < a->keys; block++)
        mgv_amx_product(&keys, block, &rows, queries > MGV_AMX_ROWS ? 2 : 1, scores + block * MGV_AMX_BLOCK * sizeof(float),
                        a->score_row, NULL, 0, NULL);
    softmax(o, scores, weights, inv, queries);
    weigh(o, &values, weights, &out, queries);
    mgv_amx_end();
    return 0;
}

static int attention_amx(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    const int heads = o->out.n * o->op->u.attention.heads;
    Run run = { { in[0], in[1], in[2] }, out, (o->out.w + MGV_AMX_BLOCK - 1) / MGV_AMX_BLOCK };
    int ret = mgv_dnnl_tiles(o, "attention", 2 * heads, pack_tile, &run);

    (void)job, (void)nb_jobs;
    return ret < 0 ? ret : mgv_dnnl_tiles(o, "attention", heads * run.nb_tiles, attention_tile, &run);
}

const MgvKernel mgv_attention_amx = {
    .declare = attention_declare, .prepare = attention_prepare, .run = attention_amx,
    .unprepare = attention_unprepare, .threads_itself = 1,
};

#endif /* MGV_AMX */
