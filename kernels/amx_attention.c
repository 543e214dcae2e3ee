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
 * Attention by AMX. Keys and values of every head are first put into tiles; then threads take 32 queries of a head
 * at a time. While the scores of a block of 32 keys are multiplied, exp() is taken of those of the block before:
 * scores never leave first-level cache.
 *
 * A row's weights are relative to a power of two near its first scores, not to its largest one, which is not known yet.
 * bf16 has the exponents of float: it makes no difference unless a score is far above, and then what the row has so
 * far is multiplied by another power of two, which rounds nothing.
 *
 * 2^x is made of integers: x is rounded to the 512th part of an octave, and a table leads from the bits behind the point
 * to those of the mantissa. It is within 0.25 % of 2^x, of which rounding to bf16 may be off by 0.39 %. Rows are divided
 * by the sum of what they have become.
 */

#include "kernels/amx.h"
#include "kernels/cpu_avx512.h"
#include "kernels/dnnl.h"

#if MGV_AMX

#include <float.h>
#include <math.h>

#define TARGET __attribute__((target(MGV_AMX_FEATURES "," MGV_AVX512_FEATURES ",avx512vbmi")))
#define INLINE static inline __attribute__((always_inline)) TARGET
/** Power of two that weights may reach, of the 63 that logarithms do. */
#define MOST 60.0f
/** Logarithms are integers of 16 bits, in parts of an octave: from 64 octaves below what the row is relative to on. */
#define PARTS 512.0f
/** What leads from the 9 bits f behind the point to those of 2^f: 2^f - 1 - f, by the upper 7; half a bit of bf16 and 48. */
static const _Alignas(64) uint8_t curve[128] = {
    50, 48, 47, 46, 45, 44, 42, 41, 40, 39, 38, 37, 36, 35, 34, 33,
    32, 31, 30, 29, 28, 27, 26, 26, 25, 24, 23, 22, 22, 21, 20, 19,
    19, 18, 17, 17, 16, 15, 15, 14, 14, 13, 13, 12, 12, 11, 11, 10,
    10, 9, 9, 9, 8, 8, 8, 8, 7, 7, 7, 7, 7, 6, 6, 6,
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7,
    8, 8, 8, 9, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 15,
    15, 16, 17, 17, 18, 19, 20, 21, 22, 22, 23, 24, 25, 26, 27, 28,
    29, 31, 32, 33, 34, 35, 36, 38, 39, 40, 42, 43, 45, 46, 48, 49,
};

/** To be added to what is left when two bits are dropped: bf16's exponent of 1, less a quarter of 48. */
#define ONE ((127 << 7) - 12)

/** Bytes put between rows, which would all lie in the same few sets of the caches if they had a power of two of them. */
#define GAP   MGV_AMX_BYTES
#define LANES MGV_LANES

typedef struct Attention {
    MgvAmxWeights scores, values; ///< of a head
    int keys;                     ///< that products see: whole blocks, the surplus being zero
    size_t weight_row;            ///< bytes of a row of weights
    size_t packed_bytes;          ///< of scratch, for all heads
    size_t plain_bytes, query_bytes, weight_bytes, thread_bytes; ///< of scratch for a thread
} Attention;

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
    a->weight_row = a->keys * sizeof(uint16_t) + GAP;
    a->packed_bytes = (a->scores.bytes + a->values.bytes) * o->out.n * o->op->u.attention.heads;
    a->query_bytes  = mgv_amx_rows_bytes(&a->scores, MGV_AMX_BLOCK);
    a->weight_bytes = a->weight_row * MGV_AMX_BLOCK;
    a->plain_bytes  = MGV_ALIGN_UP((size_t)tokens * d * sizeof(uint16_t), MGV_ALIGNMENT);
    a->thread_bytes = MGV_MAX(a->plain_bytes, a->query_bytes + a->weight_bytes);
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

/** See mgv_attention_run(). */
static int pack_tile(const MgvKernelOp *o, void *arg, int tile, int thread)
{
    const Attention *a = o->priv;
    const MgvAttentionRun *run = arg;
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

/** Weights of 32 queries, as far as they are known. */
typedef struct Weights {
    _Alignas(64) float scores[2][MGV_AMX_BLOCK * MGV_AMX_BLOCK]; ///< of a block, and of the one before
    _Alignas(64) float sum[MGV_AMX_BLOCK][MGV_LANES];            ///< of each row as it is rounded, by lanes
    float top[MGV_AMX_BLOCK]; ///< to be added to logarithms: what each row is relative to, negative
    float scale;              ///< of scores, log2(e) and PARTS included
    uint32_t not_finite;      ///< bit i: a score of row i, which becomes NaN
    uint8_t *rows;            ///< bf16
    size_t stride;            ///< bytes
    int queries;
} Weights;

/** A score is too far above what the row is relative to, by a power of two: weights in columns before at shrink. */
static TARGET __attribute__((noinline)) void shrink(Weights *w, int i, int at, float by)
{
    const __m512 shift = _mm512_set1_ps(-by);
    uint16_t *row = (uint16_t *)(w->rows + i * w->stride);

    for (int k = 0; k < at; k += LANES) {
        const __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(row + k))), 16);

        mgv_store_bf16(row + k, 0xffff, _mm512_scalef_ps((__m512)wide, shift));
    }
    _mm512_store_ps(w->sum[i], _mm512_scalef_ps(_mm512_load_ps(w->sum[i]), shift));
}

/** A score of a block, y or y2, is too far above what the row is relative to. @return what it is relative to now */
static TARGET __attribute__((noinline)) float raise_top(Weights *w, int i, int at, __m512 y, __m512 y2)
{
    const __m512 finite = _mm512_set1_ps(FLT_MAX);
    const float largest = _mm512_reduce_max_ps(_mm512_max_ps(y, y2)), by = ceilf(largest / PARTS);

    if (_mm512_cmp_ps_mask(y, finite, _CMP_NLE_UQ) || _mm512_cmp_ps_mask(y2, finite, _CMP_NLE_UQ) || largest < -FLT_MAX)
        w->not_finite |= 1u << i;
    else {
        if (at)
            shrink(w, i, at, by);
        w->top[i] -= by * PARTS;
    }
    return w->top[i];
}

/**
 * Scores of a block become weights in columns from at on, n of which are of keys. first: they are the rows' first. Two
 * vectors become one, whose keys are in the order of MGV_AMX_KEY().
 */
INLINE void weights_of(Weights *w, const float *scores, int at, int n, const int first)
{
    const __mmask16 m = mgv_first(n), m2 = mgv_first(n - LANES);
    const __m512 scale = _mm512_set1_ps(w->scale), most = _mm512_set1_ps(first ? -INFINITY : MOST * PARTS);
    const __m512 none = _mm512_set1_ps(-INFINITY);
    const __m512i low = _mm512_load_si512(curve), high = _mm512_load_si512(curve + 64), one = _mm512_set1_epi16(ONE);
    const __m512bh ones = (__m512bh)_mm512_set1_epi16(0x3f80);
    uint8_t *row = w->rows + at * sizeof(uint16_t);

    for (int i = 0; i < w->queries; i++, scores += MGV_AMX_BLOCK, row += w->stride) {
        const __m512 x = _mm512_mask_mov_ps(none, m, _mm512_load_ps(scores));
        const __m512 x2 = _mm512_mask_mov_ps(none, m2, _mm512_load_ps(scores + LANES));
        __m512 top = _mm512_set1_ps(w->top[i]), y = _mm512_fmadd_ps(x, scale, top), y2 = _mm512_fmadd_ps(x2, scale, top);
        __m512i v;

        if (!_kortestz_mask16_u8(_mm512_cmp_ps_mask(y, most, _CMP_NLE_UQ), _mm512_cmp_ps_mask(y2, most, _CMP_NLE_UQ))) {
            top = _mm512_set1_ps(raise_top(w, i, at, y, y2));
            y   = _mm512_fmadd_ps(x, scale, top);
            y2  = _mm512_fmadd_ps(x2, scale, top);
        }
        v = _mm512_packs_epi32(_mm512_cvtps_epi32(y), _mm512_cvtps_epi32(y2));
        v = _mm512_add_epi16(v, _mm512_maskz_permutex2var_epi8(0x5555555555555555, low, _mm512_srli_epi16(v, 2), high));
        v = _mm512_add_epi16(_mm512_srai_epi16(v, 2), one);
        _mm512_storeu_si512(row, v);
        _mm512_store_ps(w->sum[i], _mm512_dpbf16_ps(first ? _mm512_setzero_ps() : _mm512_load_ps(w->sum[i]), (__m512bh)v, ones));
    }
}

/** Begin to multiply 32 queries by a block of 32 keys, into registers 0 to 3. */
INLINE void begin_scores(const MgvAmxWeights *keys, int block, const MgvAmxRows *queries)
{
    const uint8_t *k = (const uint8_t *)keys->data + block * keys->block;
    const uint8_t *a = queries->tile[0], *b = queries->tile[1];

    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int step = 0; step < keys->steps; step++, k += 2 * MGV_AMX_TILE, a += MGV_AMX_TILE, b += MGV_AMX_TILE) {
        _tile_loadd(6, k, MGV_AMX_BYTES);
        _tile_loadd(4, a, MGV_AMX_BYTES);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(5, b, MGV_AMX_BYTES);
        _tile_dpbf16ps(2, 5, 6);
        _tile_loadd(7, k + MGV_AMX_TILE, MGV_AMX_BYTES);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
    }
    MGV_AMX_FENCE;
}

INLINE void store_scores(float *c)
{
    const size_t row = MGV_AMX_BLOCK * sizeof(*c);

    MGV_AMX_FENCE;
    _tile_stored(0, c, row);
    _tile_stored(1, c + LANES, row);
    _tile_stored(2, c + MGV_AMX_ROWS * MGV_AMX_BLOCK, row);
    _tile_stored(3, c + MGV_AMX_ROWS * MGV_AMX_BLOCK + LANES, row);
    MGV_AMX_FENCE;
}

/** Weights of all tokens, not yet divided by their sum, whose inverse goes to inv. */
static TARGET void weigh_keys(Weights *w, const MgvAmxWeights *keys, const MgvAmxRows *queries, int tokens, float *inv)
{
    const int nb_blocks = keys->cout / MGV_AMX_BLOCK;

    for (int block = 0; block <= nb_blocks; block++) {
        const float *before = w->scores[(block + 1) % 2];
        const int at = (block - 1) * MGV_AMX_BLOCK, n = MGV_MIN(tokens - at, MGV_AMX_BLOCK);

        if (block < nb_blocks)
            begin_scores(keys, block, queries);
        if (block == 1)
            weights_of(w, before, 0, n, 1);
        else if (block > 1 && n == MGV_AMX_BLOCK)
            weights_of(w, before, at, MGV_AMX_BLOCK, 0);
        else if (block > 1)
            weights_of(w, before, at, n, 0);
        if (block < nb_blocks)
            store_scores(w->scores[block % 2]);
    }
    for (int i = 0; i < w->queries; i++)
        inv[i] = w->not_finite >> i & 1 ? NAN : 1.0f / _mm512_reduce_add_ps(_mm512_load_ps(w->sum[i]));
}

/** The values of a head, weighted for a few queries. */
static void weigh(const MgvKernelOp *o, const MgvAmxWeights *values, const uint8_t *weights, const MgvAmxOut *to, int queries)
{
    const Attention *a = o->priv;
    const MgvAmxRows rows = {
        .tile = { weights, weights + MGV_AMX_ROWS * a->weight_row }, .nb = queries > MGV_AMX_ROWS ? 2 : 1,
        .stride = a->weight_row, .step = MGV_AMX_BYTES,
    };
    _Alignas(64) float c[MGV_AMX_BLOCK * MGV_AMX_BLOCK];

    for (int block = 0, at = 0; at < values->cout; block++, at += MGV_AMX_BLOCK) {
        MgvAmxOut out = *to;

        mgv_amx_product(values, block, &rows, c, MGV_AMX_BLOCK * sizeof(*c), 0, NULL, 0, NULL);
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
    const MgvAttentionRun *run = arg;
    const int head = tile / run->nb_tiles, first = tile % run->nb_tiles * MGV_AMX_BLOCK;
    const int queries = MGV_MIN(MGV_AMX_BLOCK, o->out.w - first);
    const int64_t at = mgv_cpu_head(o, o->out.w, head) + (int64_t)first * o->out.c;
    uint8_t *q = thread_scratch(o, thread), *weights = q + a->query_bytes;
    MgvAmxWeights keys = a->scores, values = a->values;
    Weights w;
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
    rows = mgv_amx_rows(&keys, q, 0, queries);
    for (int i = 0; i < queries; i++)
        w.top[i] = 0;
    w.not_finite = 0;
    w.scale   = PARTS * (float)MGV_LOG2E / sqrtf((float)keys.inputs);
    w.rows    = weights;
    w.stride  = a->weight_row;
    w.queries = queries;
    mgv_amx_begin();
    weigh_keys(&w, &keys, &rows, o->in[1].w, inv);
    weigh(o, &values, weights, &out, queries);
    mgv_amx_end();
    return 0;
}

static int attention_amx(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    (void)job, (void)nb_jobs;
    return mgv_attention_run(o, in, out, MGV_AMX_BLOCK, pack_tile, attention_tile);
}

const MgvKernel mgv_attention_amx = {
    .declare = attention_declare, .prepare = attention_prepare, .run = attention_amx,
    .unprepare = attention_unprepare, .threads_itself = 1,
};

#endif /* MGV_AMX */
