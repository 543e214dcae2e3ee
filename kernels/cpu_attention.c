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
 * Attention of float32 by AVX-512. Keys and values of every head are first laid out as they are read; then threads
 * take 14 queries of a head at a time, whose scores become weights while they are still in registers.
 *
 * A weight is 2 to the power of its score, relative to nothing: scores of a trained model are far from the ends of
 * float's range. If a row's sum says otherwise, its greatest score is looked for and all is done again. What a row
 * gives depends on no other row, so results do not depend on how queries are cut.
 */

#include "kernels/cpu_avx512_f32.h"
#include "kernels/dnnl.h"

#if MGV_AVX512

#include <math.h>

#define TARGET MGV_AVX512_F32_TARGET
#define INLINE MGV_AVX512_F32_INLINE
#define LANES  MGV_LANES
#define TILE   MGV_F32_ROWS    // queries
#define BLOCK  MGV_F32_COLUMNS // keys
#define MOST_D 256
/** Floats from query to query, beside a power of two. */
#define QUERY (MOST_D + LANES)
/** Between these the sum of a row is good: weights that matter are not denormal, and weighted values not infinite. */
#define LEAST_SUM 0x1p-70f
#define MOST_SUM  0x1p90f

typedef struct Attention {
    int d;                           ///< of a head
    int nb_blocks;                   ///< of keys
    size_t key_floats, value_floats; ///< of scratch, of a head
    size_t packed_floats, thread_floats; ///< for all heads; for a thread
} Attention;

/** What a thread needs for a tile. */
typedef struct Tile {
    float query[TILE][QUERY]; ///< times log2(e) / sqrt(d)
    float sum[TILE][LANES];   ///< of the weights of each row, by lanes
    float top[LANES];         ///< what scores are relative to
    float weight[][TILE][BLOCK];
} Tile;

/* Other shapes are left to oneDNN. */
static int attention_declare(MgvKernelOp *o)
{
    const int d = o->out.c / o->op->u.attention.heads;

    if (d % LANES || d > MOST_D)
        o->kernel = &mgv_attention_dnnl;
    return 0;
}

static void attention_unprepare(MgvKernelOp *o)
{
    mgv_freep(&o->priv);
}

static int attention_prepare(MgvKernelOp *o)
{
    const int tokens = o->out.w;
    Attention *a = o->priv = mgv_calloc(1, sizeof(*a));

    if (!a)
        return mgv_cpu_no_memory(o);
    a->d = o->out.c / o->op->u.attention.heads;
    a->nb_blocks = (tokens + BLOCK - 1) / BLOCK;
    a->key_floats = (size_t)a->nb_blocks * BLOCK * a->d;
    a->value_floats = (size_t)tokens * a->d;
    a->packed_floats = (a->key_floats + a->value_floats) * o->out.n * o->op->u.attention.heads;
    a->packed_floats = MGV_ALIGN_UP(a->packed_floats, LANES);
    a->thread_floats = MGV_ALIGN_UP(sizeof(Tile) / sizeof(float) + (size_t)a->nb_blocks * TILE * BLOCK, LANES);
    o->scratch_bytes = (a->packed_floats + a->thread_floats * o->dev->threads) * sizeof(float);
    return 0;
}

static float *packed_head(const MgvKernelOp *o, int head)
{
    const Attention *a = o->priv;

    return (float *)o->scratch + head * (a->key_floats + a->value_floats);
}

/* ---- packing ---- */

/** Blocks of 32 keys: the first value of each, then the second and so on. */
static TARGET void pack_keys(float *dst, const float *src, ptrdiff_t stride, int tokens, int d)
{
    for (; tokens > 0; tokens -= BLOCK, src += BLOCK * stride, dst += BLOCK * d) {
        for (int k = 0; k < d; k += LANES) {
            mgv_f32_transpose(dst + k * BLOCK, BLOCK, LANES, src + k, stride, tokens);
            mgv_f32_transpose(dst + k * BLOCK + LANES, BLOCK, LANES, src + LANES * stride + k, stride, tokens - LANES);
        }
    }
}

/** 32 columns of all values, then the next 32 and so on; the last may be 16. */
static TARGET void pack_values(float *dst, const float *src, ptrdiff_t stride, int tokens, int d)
{
    for (int at = 0, n; at < d; at += n) {
        n = MGV_MIN(BLOCK, d - at);
        for (int i = 0; i < tokens; i++, dst += n)
            for (int k = 0; k < n; k += LANES)
                _mm512_store_ps(dst + k, _mm512_loadu_ps(src + i * stride + at + k));
    }
}

/** See mgv_attention_run(). */
static int pack_tile(const MgvKernelOp *o, void *arg, int tile, int thread)
{
    const Attention *a = o->priv;
    const MgvAttentionRun *run = arg;
    const int tokens = o->in[1].w;
    const float *src = run->in[1 + tile % 2] + mgv_cpu_head(o, tokens, tile / 2);
    float *dst = packed_head(o, tile / 2);

    (void)thread;
    if (tile % 2)
        pack_values(dst + a->key_floats, src, o->out.c, tokens, a->d);
    else
        pack_keys(dst, src, o->out.c, tokens, a->d);
    return 0;
}

/* ---- tiles of queries ---- */

/** Weights of n keys, which are one vector or two; n is a constant but for the last. */
INLINE void weigh_block(Tile *t, int block, const float *keys, int d, int n, const int rows, const int vectors,
                        const int relative)
{
    const __mmask16 m = mgv_first(n - (vectors - 1) * LANES);
    float (*w)[BLOCK] = t->weight[block];
    MgvF32Sums c;

    mgv_f32_clear(c);
    mgv_f32_multiply(c, t->query[0], QUERY, 1, keys, BLOCK, d, rows, vectors, NULL);
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            _mm512_store_ps(w[i] + v * LANES, c[i][v]);
#pragma GCC unroll 1 // longer code than the decoders can cope with is slower
    for (int i = 0; i < rows; i++) {
        const __m512 top = relative ? _mm512_set1_ps(t->top[i]) : _mm512_setzero_ps();
        __m512 e[2];

#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            e[v] = _mm512_load_ps(w[i] + v * LANES);
            e[v] = mgv_exp2(relative ? _mm512_sub_ps(e[v], top) : e[v]);
            if (n < BLOCK && v == vectors - 1)
                e[v] = _mm512_maskz_mov_ps(m, e[v]);
            _mm512_store_ps(w[i] + v * LANES, e[v]);
        }
        if (vectors > 1)
            e[0] = _mm512_add_ps(e[0], e[1]);
        _mm512_store_ps(t->sum[i], _mm512_add_ps(_mm512_load_ps(t->sum[i]), e[0]));
    }
}

INLINE void weigh_rows(Tile *t, const float *keys, int d, int tokens, const int rows, const int relative)
{
    int block = 0;

    memset(t->sum, 0, sizeof(t->sum));
    for (; tokens >= BLOCK; block++, tokens -= BLOCK, keys += BLOCK * d)
        weigh_block(t, block, keys, d, BLOCK, rows, 2, relative);
    if (tokens > LANES)
        weigh_block(t, block, keys, d, tokens, rows, 2, relative);
    else if (tokens > 0)
        weigh_block(t, block, keys, d, tokens, rows, 1, relative);
}

/** Weights of all keys and their sums by lanes. rows: as many as the rows of a tile that are multiplied */
static TARGET __attribute__((noinline)) void weigh(Tile *t, const float *keys, int d, int tokens, int rows)
{
    if (rows == TILE)
        weigh_rows(t, keys, d, tokens, TILE, 0);
    else if (rows == 8)
        weigh_rows(t, keys, d, tokens, 8, 0);
    else
        weigh_rows(t, keys, d, tokens, 4, 0);
}

/** The greatest score of row i, rounded up. */
static TARGET float greatest(const Tile *t, int i, const float *keys, int d, int tokens)
{
    __m512 top = _mm512_set1_ps(-INFINITY);

    for (; tokens > 0; tokens -= BLOCK, keys += BLOCK * d) {
        MgvF32Sums c;

        mgv_f32_clear(c);
        mgv_f32_multiply(c, t->query[i], QUERY, 1, keys, BLOCK, d, 1, 2, NULL);
        top = _mm512_mask_max_ps(top, mgv_first(tokens), top, c[0][0]);
        top = _mm512_mask_max_ps(top, mgv_first(tokens - LANES), top, c[0][1]);
    }
    return ceilf(_mm512_reduce_max_ps(top));
}

/** All again if the sum of a row is too large or too small, with that row's scores relative to its greatest. */
static TARGET __attribute__((noinline)) void weigh_again(Tile *t, const float *keys, int d, int tokens, int queries)
{
    int again = 0;

    for (int i = 0; i < TILE; i++) {
        const float sum = _mm512_reduce_add_ps(_mm512_load_ps(t->sum[i]));
        const int bad = i < queries && (sum < LEAST_SUM || sum > MOST_SUM);

        t->top[i] = bad ? greatest(t, i, keys, d, tokens) : 0;
        again |= bad;
    }
    if (again)
        weigh_rows(t, keys, d, tokens, TILE, 1);
}

/** Values that are weighted go to queries rows of y. width: columns of values */
INLINE void weighted(const Tile *t, const float *values, int tokens, const int width, const int rows, float *y,
                     ptrdiff_t stride, int queries)
{
    float inv[TILE];
    MgvF32Sums c;

    mgv_f32_clear(c);
    for (int block = 0; tokens > 0; block++, tokens -= BLOCK, values += BLOCK * width)
        mgv_f32_multiply(c, t->weight[block][0], BLOCK, 1, values, width, MGV_MIN(tokens, BLOCK), rows,
                         width / LANES, NULL);
    for (int i = 0; i < rows; i++)
        inv[i] = 1.0f / _mm512_reduce_add_ps(_mm512_load_ps(t->sum[i]));
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++) {
        if (i < queries) {
            _mm512_storeu_ps(y + i * stride, _mm512_mul_ps(c[i][0], _mm512_set1_ps(inv[i])));
            if (width > LANES)
                _mm512_storeu_ps(y + i * stride + LANES, _mm512_mul_ps(c[i][1], _mm512_set1_ps(inv[i])));
        }
    }
}

INLINE void weighted_rows(const Tile *t, const float *values, int tokens, int d, const int rows, float *y,
                          ptrdiff_t stride, int queries)
{
    int at = 0;

    for (; at + BLOCK <= d; at += BLOCK)
        weighted(t, values + (size_t)at * tokens, tokens, BLOCK, rows, y + at, stride, queries);
    if (at < d)
        weighted(t, values + (size_t)at * tokens, tokens, LANES, rows, y + at, stride, queries);
}

static TARGET __attribute__((noinline)) void weigh_values(const Tile *t, const float *values, int tokens, int d,
                                                          int rows, float *y, ptrdiff_t stride, int queries)
{
    if (rows == TILE)
        weighted_rows(t, values, tokens, d, TILE, y, stride, queries);
    else if (rows == 8)
        weighted_rows(t, values, tokens, d, 8, y, stride, queries);
    else
        weighted_rows(t, values, tokens, d, 4, y, stride, queries);
}

static void load_queries(Tile *t, const float *q, ptrdiff_t stride, int queries, int d)
{
    const float scale = (float)MGV_LOG2E / sqrtf((float)d);

    for (int i = 0; i < TILE; i++)
        for (int k = 0; k < d; k++)
            t->query[i][k] = i < queries ? q[i * stride + k] * scale : 0;
}

/* Weights that are denormal numbers would take microcode, and count for nothing. */
static TARGET int attention_tile(const MgvKernelOp *o, void *arg, int tile, int thread)
{
    const Attention *a = o->priv;
    const MgvAttentionRun *run = arg;
    const int head = tile / run->nb_tiles, first = tile % run->nb_tiles * TILE, tokens = o->in[1].w;
    const int queries = MGV_MIN(TILE, o->out.w - first), rows = queries > 8 ? TILE : queries > 4 ? 8 : 4;
    const int64_t at = mgv_cpu_head(o, o->out.w, head) + (int64_t)first * o->out.c;
    const float *keys = packed_head(o, head);
    Tile *t = (Tile *)((float *)o->scratch + a->packed_floats + thread * a->thread_floats);
    const unsigned csr = _mm_getcsr();

    load_queries(t, run->in[0] + at, o->out.c, queries, a->d);
    _mm_setcsr(csr | _MM_FLUSH_ZERO_ON);
    weigh(t, keys, a->d, tokens, rows);
    weigh_again(t, keys, a->d, tokens, queries);
    weigh_values(t, keys + a->key_floats, tokens, a->d, rows, run->out + at, o->out.c, queries);
    _mm_setcsr(csr);
    return 0;
}

static int attention_avx512(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    (void)job, (void)nb_jobs;
    return mgv_attention_run(o, in, out, TILE, pack_tile, attention_tile);
}

const MgvKernel mgv_attention_avx512 = {
    .declare = attention_declare, .prepare = attention_prepare, .run = attention_avx512,
    .unprepare = attention_unprepare, .threads_itself = 1,
};

#endif /* MGV_AVX512 */
