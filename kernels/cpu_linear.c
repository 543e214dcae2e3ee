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
 * Linear layers of float32 by AVX-512. A thread takes rows that stay in its second-level cache, 14 of them beside each
 * other, and multiplies them by 32 columns after another, whose weights come by once. Activation and sum are done while
 * these few values are in first-level cache, a layer norm when its rows are complete.
 */

#include "kernels/cpu_avx512_f32.h"
#include "kernels/dnnl.h"

#if MGV_AVX512

#define TARGET MGV_AVX512_F32_TARGET
#define INLINE MGV_AVX512_F32_INLINE
#define LANES  MGV_LANES
#define TILE   MGV_F32_ROWS
#define BLOCK  MGV_F32_COLUMNS
/** Bytes of rows that a thread takes at once, of its second-level cache. */
#define CACHE_BYTES (704 << 10)

typedef struct Linear {
    float *weights; ///< [blocks of 32 columns][cin][32]
    float *bias;    ///< of whole blocks
    int cin, cout, nb_blocks;
    int64_t rows;
    int most;       ///< lots of 14 rows that a thread takes at once
    size_t lot_floats, y_floats; ///< of scratch: 14 rows; sums for a norm
} Linear;

typedef struct Run {
    int64_t rows; ///< that are wanted
    int nb_tiles; ///< that they are cut into
    const float *x;
    float *y;
} Run;

/* What is multiplied in 8 bits is left to oneDNN. */
static int linear_declare(MgvKernelOp *o)
{
    if (mgv_cpu_is_int8(o)) {
        o->kernel = &mgv_linear_dnnl;
        return o->kernel->declare(o);
    }
    o->fuses = 1u << MGV_OP_ADD | 1u << MGV_OP_LAYER_NORM;
    return 0;
}

static void linear_unprepare(MgvKernelOp *o)
{
    Linear *l = o->priv;

    if (!l)
        return;
    mgv_freep(&l->weights);
    mgv_freep(&l->bias);
    mgv_freep(&o->priv);
}

static void pack(Linear *l, const float *w)
{
    for (int j = 0; j < l->cout; j++, w += l->cin) {
        float *dst = l->weights + (size_t)(j / BLOCK) * l->cin * BLOCK + j % BLOCK;

        for (int k = 0; k < l->cin; k++)
            dst[(size_t)k * BLOCK] = w[k];
    }
}

static size_t thread_floats(const Linear *l)
{
    return MGV_ALIGN_UP(l->most * l->lot_floats + l->y_floats, LANES);
}

static int linear_init(Linear *l, MgvKernelOp *o, const float *w, const float *bias)
{
    const size_t columns = (size_t)l->nb_blocks * BLOCK;

    l->weights = mgv_calloc(columns * l->cin, sizeof(*l->weights));
    l->bias    = mgv_calloc(columns, sizeof(*l->bias));
    if (!l->weights || !l->bias)
        return mgv_cpu_no_memory(o);
    pack(l, w);
    if (bias)
        memcpy(l->bias, bias, l->cout * sizeof(*bias));
    o->weight_bytes = columns * (l->cin + 1) * sizeof(*l->weights);
    l->lot_floats = (size_t)TILE * l->cin;
    l->most = MGV_CLAMP(CACHE_BYTES / (int64_t)(l->lot_floats * sizeof(float)), 1, (l->rows + TILE - 1) / TILE);
    l->y_floats = o->norm ? (size_t)l->most * TILE * l->cout : 0;
    o->scratch_bytes = thread_floats(l) * sizeof(float) * o->dev->threads;
    return 0;
}

static int linear_prepare(MgvKernelOp *o)
{
    float *w = mgv_host_weight(o, 0), *bias = mgv_host_weight(o, 1);
    Linear *l = o->priv = mgv_calloc(1, sizeof(*l));
    int ret = MAGVIT_ERR(ENOMEM);

    if (l && w && (bias || !o->op->weight[1])) {
        l->cin  = o->in[0].c;
        l->cout = o->out.c;
        l->nb_blocks = (l->cout + BLOCK - 1) / BLOCK;
        l->rows = mgv_shape_elements(o->out) / o->out.c;
        ret = linear_init(l, o, w, bias);
    } else {
        mgv_cpu_no_memory(o);
    }
    mgv_freep(&w);
    mgv_freep(&bias);
    return ret;
}

static int64_t nb_lots(int64_t rows)
{
    return (rows + TILE - 1) / TILE;
}

/** First row of a tile, the end of the one before. */
static int64_t tile_row(const Run *run, int tile)
{
    return MGV_MIN(run->rows, TILE * mgv_share(nb_lots(run->rows), tile, run->nb_tiles));
}

/** Up to 14 rows: the first value of each, then the second and so on. */
static TARGET void pack_lot(float *dst, const float *x, int cin, int n)
{
    int k = 0;

    for (; k + LANES <= cin; k += LANES)
        mgv_f32_transpose(dst + k * TILE, TILE, TILE, x + k, cin, n);
    for (; k < cin; k++)
        for (int i = 0; i < TILE; i++)
            dst[k * TILE + i] = i < n ? x[(ptrdiff_t)i * cin + k] : 0;
}

/** c[14,32] = 14 rows . a block of columns + bias */
INLINE void product(float c[TILE][BLOCK], const float *x, const float *w, const float *bias, int cin, const int rows,
                    const float *fetch)
{
    MgvF32Sums s;

#pragma GCC unroll 14
    for (int i = 0; i < rows; i++) {
        s[i][0] = _mm512_loadu_ps(bias);
        s[i][1] = _mm512_loadu_ps(bias + LANES);
    }
    mgv_f32_multiply(s, x, 1, TILE, w, BLOCK, cin, rows, 2, fetch);
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++) {
        _mm512_store_ps(c[i], s[i][0]);
        _mm512_store_ps(c[i] + LANES, s[i][1]);
    }
}

/** y = act(c) + residual for n columns of rows. */
INLINE void finish(float *y, const float *residual, ptrdiff_t stride, float (*c)[BLOCK], int rows, int n,
                   const enum MgvAct act)
{
    for (int i = 0; i < rows; i++, y += stride) {
        for (int k = 0; k < n; k += LANES) {
            const __mmask16 m = mgv_first(n - k);
            __m512 v = mgv_f32_activate(_mm512_load_ps(c[i] + k), act);

            if (residual)
                v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(m, residual + i * stride + k));
            _mm512_mask_storeu_ps(y + k, m, v);
        }
    }
}

/** A lot of up to 14 rows by a block of columns. fetch: half a block of weights to bring into second-level cache */
static TARGET __attribute__((noinline)) void multiply(const Linear *l, const float *x, int block, float *y,
                                                      const float *residual, int rows, enum MgvAct act,
                                                      const float *fetch)
{
    const float *w = l->weights + (size_t)block * l->cin * BLOCK, *bias = l->bias + block * BLOCK;
    const int n = MGV_MIN(BLOCK, l->cout - block * BLOCK);
    _Alignas(64) float c[TILE][BLOCK];

    if (rows > 8)
        product(c, x, w, bias, l->cin, TILE, fetch);
    else if (rows > 4)
        product(c, x, w, bias, l->cin, 8, fetch);
    else
        product(c, x, w, bias, l->cin, 4, fetch);
    if (act == MGV_ACT_SILU)
        finish(y, residual, l->cout, c, rows, n, MGV_ACT_SILU);
    else if (act == MGV_ACT_GELU_TANH)
        finish(y, residual, l->cout, c, rows, n, MGV_ACT_GELU_TANH);
    else
        finish(y, residual, l->cout, c, rows, n, MGV_ACT_NONE);
}

static int linear_tile(const MgvKernelOp *o, void *arg, int tile, int thread)
{
    const Run *run = arg;
    const Linear *l = o->priv;
    const int64_t first = tile_row(run, tile);
    const int n = (int)(tile_row(run, tile + 1) - first);
    float *lots = (float *)o->scratch + thread * thread_floats(l);
    float *y = run->y ? run->y + first * l->cout : lots + l->most * l->lot_floats;
    const float *residual = o->residual ? o->residual + first * l->cout : NULL;
    const size_t half = (size_t)l->cin * LANES; // of a block's weights

    for (int i = 0; i < n; i += TILE)
        pack_lot(lots + i / TILE * l->lot_floats, run->x + (first + i) * l->cin, l->cin, MGV_MIN(TILE, n - i));
    for (int block = 0; block < l->nb_blocks; block++) {
        const float *next = l->weights + MGV_MIN(block + 1, l->nb_blocks - 1) * half * 2;

        for (int i = 0; i < n; i += TILE) { // the first two lots fetch, the others what is there already
            const ptrdiff_t at = (ptrdiff_t)i * l->cout + block * BLOCK;

            multiply(l, lots + i / TILE * l->lot_floats, block, y + at, residual ? residual + at : NULL,
                     MGV_MIN(TILE, n - i), o->op->act, next + (i > 0) * half);
        }
    }
    if (o->norm && n)
        mgv_cpu_layer_norm(o->norm, y, NULL, y, n);
    return 0;
}

static int linear_avx512(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    const Linear *l = o->priv;
    Run run = { o->rows ? o->out.w : l->rows, 0, in[0], out };

    (void)job, (void)nb_jobs;
    run.nb_tiles = (int)MGV_ALIGN_UP((nb_lots(run.rows) + l->most - 1) / l->most, o->dev->threads); // as many for each
    return mgv_dnnl_tiles(o, "matmul", run.nb_tiles, linear_tile, &run);
}

const MgvKernel mgv_linear_avx512 = {
    .declare = linear_declare, .prepare = linear_prepare, .run = linear_avx512, .unprepare = linear_unprepare,
    .threads_itself = 1,
};

#endif /* MGV_AVX512 */
