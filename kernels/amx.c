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
 * Products by AMX: tile registers, layouts, and what comes after. Two tiles of rows by two of columns need four
 * registers for sums and are multiplied four times for four tiles that are loaded, as often as first-level cache can
 * give them. Weights are read with the hint that they are not needed again soon: rows are.
 */

#include <errno.h>

#include "kernels/amx.h"
#include "kernels/cpu_avx512.h"

#if MGV_AMX

#include <math.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TARGET __attribute__((target(MGV_AMX_FEATURES "," MGV_AVX512_FEATURES)))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define LANES MGV_LANES
/** Of weights that are used again and again: a part of second-level cache. */
#define GROUP_BYTES ((size_t)256 << 10)

/** Linux gives the registers, 8 KiB of a thread's state, to processes that ask for them. */
#define REQUEST_PERMISSION 0x1023 // ARCH_REQ_XCOMP_PERM
#define TILE_DATA 18              // XFEATURE_XTILEDATA

int mgv_amx(void)
{
#if defined(__linux__)
    unsigned a, b = 0, c, d = 0;

    if (!mgv_avx512() || !__builtin_cpu_supports("avx512f"))
        return 0;
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
    (void)a, (void)b;
    if ((c >> 1 & 1) == 0) // AVX512_VBMI
        return 0;
    if ((d >> 22 & 1) == 0 || (d >> 24 & 1) == 0 || (d >> 25 & 1) == 0) // AMX_BF16, AMX_TILE, AMX_INT8
        return 0;
    return !syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA);
#else
    return 0;
#endif
}

/** Operand of ldtilecfg. */
typedef struct Config {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} Config;

TARGET void mgv_amx_begin(void)
{
    Config c = { .palette = 1 };

    for (int i = 0; i < 8; i++) {
        c.row_bytes[i] = MGV_AMX_BYTES;
        c.rows[i] = MGV_AMX_ROWS;
    }
    MGV_AMX_FENCE;
    _tile_loadconfig(&c);
}

TARGET void mgv_amx_end(void)
{
    _tile_release();
}

/* ---- weights ---- */

static int values(int int8)
{
    return int8 ? MGV_AMX_BYTES : MGV_AMX_BYTES / 2;
}

MgvAmxWeights mgv_amx_weights(int int8, int cout, int segments, int inputs)
{
    MgvAmxWeights w = { NULL, int8, cout, segments, inputs, (inputs + values(int8) - 1) / values(int8), 0, 0 };

    w.block = (size_t)segments * w.steps * 2 * MGV_AMX_TILE;
    w.bytes = w.block / 2 * ((cout + MGV_AMX_ROWS - 1) / MGV_AMX_ROWS);
    return w;
}

MgvAmxWeights mgv_amx_part(const MgvAmxWeights *w, int step, int steps)
{
    MgvAmxWeights part = *w;

    part.data   = (uint8_t *)w->data + (size_t)step * 2 * MGV_AMX_TILE;
    part.steps  = MGV_MIN(steps, w->steps - step);
    part.inputs = MGV_MIN(part.steps * values(w->int8), w->inputs - step * values(w->int8));
    return part;
}

/** Tiles of columns in the block that begins with a column. */
static int halves(const MgvAmxWeights *w, int column)
{
    return w->cout - column > MGV_AMX_ROWS ? 2 : 1;
}

/** The first n of 32 values of bf16. */
static uint32_t first_32(int n)
{
    return n >= 32 ? 0xffffffff : n <= 0 ? 0 : (1u << n) - 1;
}

/** A row in memory becomes a column of a tile: 4 bytes in each of its rows. */
INLINE void scatter_column(uint8_t *tile, int column, __m512i x)
{
    const __m512i at = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                          _mm512_set1_epi32(MGV_AMX_BYTES));

    _mm512_i32scatter_epi32(tile + column * sizeof(uint32_t), at, x, 1);
}

/** The first n of 16 floats as integers. */
INLINE __m128i to_int8(const float *x, int n)
{
    return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_maskz_loadu_ps(mgv_first(n), x)));
}

/** The first n floats of a step. */
INLINE __m512i to_step(const float *x, int n, int int8)
{
    __m512i v;

    if (!int8)
        return (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(mgv_first(n - LANES), x + LANES),
                                            _mm512_maskz_loadu_ps(mgv_first(n), x));
    v = _mm512_castsi128_si512(to_int8(x, n));
    v = _mm512_inserti32x4(v, to_int8(x + LANES, n - LANES), 1);
    v = _mm512_inserti32x4(v, to_int8(x + 2 * LANES, n - 2 * LANES), 2);
    return _mm512_inserti32x4(v, to_int8(x + 3 * LANES, n - 3 * LANES), 3);
}

TARGET int mgv_amx_pack(MgvAmxWeights *w, const float *plain)
{
    const ptrdiff_t column_stride = (ptrdiff_t)w->segments * w->inputs;
    uint8_t *tile = w->data = mgv_calloc(1, w->bytes);

    if (!tile)
        return MAGVIT_ERR(ENOMEM);
    for (int block = 0; block < w->cout; block += MGV_AMX_BLOCK)
        for (int s = 0; s < w->segments; s++)
            for (int i = 0; i < w->inputs; i += values(w->int8))
                for (int half = 0; half < halves(w, block); half++, tile += MGV_AMX_TILE)
                    for (int k = 0, at = block + half * MGV_AMX_ROWS; k < MGV_AMX_ROWS && at < w->cout; k++, at++)
                        scatter_column(tile, k, to_step(plain + at * column_stride + s * w->inputs + i, w->inputs - i, w->int8));
    return 0;
}

TARGET void mgv_amx_pack_keys(const MgvAmxWeights *w, void *data, const uint16_t *rows, ptrdiff_t stride, int nb_rows)
{
    uint8_t *tile = data;

    for (int column = 0; column < w->cout; column += MGV_AMX_BLOCK)
        for (int step = 0; step < w->steps; step++)
            for (int half = 0; half < halves(w, column); half++, tile += MGV_AMX_TILE) {
                const int at = column + half * MGV_AMX_ROWS, k = step * values(0);

                for (int i = 0; i < MGV_AMX_ROWS; i++)
                    scatter_column(tile, i, at + i >= nb_rows ? _mm512_setzero_si512() :
                                   _mm512_maskz_loadu_epi16(first_32(w->inputs - k), rows + (at + i) * stride + k));
            }
}

/** Two rows become one, a value of each in turn. */
INLINE void braid(uint8_t *y, const uint16_t *a, const uint16_t *b, __mmask16 m)
{
    const __m512i even = a ? _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, a)) : _mm512_setzero_si512();
    const __m512i odd  = b ? _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, b)) : _mm512_setzero_si512();

    _mm512_store_si512(y, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
}

TARGET void mgv_amx_pack_values(const MgvAmxWeights *w, void *data, const uint16_t *rows, ptrdiff_t stride, int nb_rows)
{
    uint8_t *y = data;

    for (int column = 0; column < w->cout; column += MGV_AMX_BLOCK)
        for (int step = 0; step < w->steps; step++)
            for (int half = 0; half < halves(w, column); half++) {
                const int at = column + half * MGV_AMX_ROWS;
                const __mmask16 m = first_32(w->cout - at) & 0xffff;

                for (int i = 0; i < MGV_AMX_ROWS; i++, y += MGV_AMX_BYTES) {
                    const int k = step * values(0) + MGV_AMX_KEY(2 * i);

                    braid(y, k < nb_rows ? rows + k * stride + at : NULL,
                          k + 1 < nb_rows ? rows + (k + 1) * stride + at : NULL, m);
                }
            }
}

/* ---- rows ---- */

size_t mgv_amx_rows_bytes(const MgvAmxWeights *w, int rows)
{
    return (size_t)MGV_ALIGN_UP(rows, MGV_AMX_ROWS) * w->steps * MGV_AMX_BYTES;
}

/** Where row i of tiles begins, and how far it is to its next step. */
static uint8_t *row_of(const MgvAmxWeights *w, void *tiles, int i)
{
    return (uint8_t *)tiles + (size_t)(i / MGV_AMX_ROWS) * w->steps * MGV_AMX_TILE + i % MGV_AMX_ROWS * MGV_AMX_BYTES;
}

/** Rows that fill the last tile. */
TARGET static void clear_rest(const MgvAmxWeights *w, void *tiles, int rows)
{
    for (int i = rows; i % MGV_AMX_ROWS; i++)
        for (int step = 0; step < w->steps; step++)
            _mm512_store_si512(row_of(w, tiles, i) + step * MGV_AMX_TILE, _mm512_setzero_si512());
}

TARGET void mgv_amx_rows_in(const MgvAmxWeights *w, void *tiles, const uint16_t *x, ptrdiff_t stride, int rows)
{
    for (int i = 0; i < rows; i++, x += stride) {
        uint8_t *y = row_of(w, tiles, i);

        for (int step = 0, k = 0; step < w->steps; step++, k += values(0), y += MGV_AMX_TILE)
            _mm512_store_si512(y, _mm512_maskz_loadu_epi16(first_32(w->inputs - k), x + k));
    }
    clear_rest(w, tiles, rows);
}

TARGET void mgv_amx_rows_round(const MgvAmxWeights *w, void *tiles, const float *x, ptrdiff_t stride, int rows)
{
    for (int i = 0; i < rows; i++, x += stride) {
        uint8_t *y = row_of(w, tiles, i);

        for (int step = 0, k = 0; step < w->steps; step++, k += values(0), y += MGV_AMX_TILE)
            _mm512_store_si512(y, (__m512i)_mm512_cvtne2ps_pbh(
                               _mm512_maskz_loadu_ps(mgv_first(w->inputs - k - LANES), x + k + LANES),
                               _mm512_maskz_loadu_ps(mgv_first(w->inputs - k), x + k)));
    }
    clear_rest(w, tiles, rows);
}

/** Integers in the order of the bf16 values that they are the bits of; its own inverse. */
INLINE __m512i in_order(__m512i bits)
{
    return _mm512_xor_si512(bits, _mm512_and_si512(_mm512_srai_epi16(bits, 15), _mm512_set1_epi16(0x7fff)));
}

/** The largest of 32 integers. */
INLINE int largest(__m512i v)
{
    return _mm512_reduce_max_epi32(_mm512_max_epi32(_mm512_cvtepi16_epi32(_mm512_castsi512_si256(v)),
                                                    _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(v, 1))));
}

/** The range of n values and 0. @return 0 if one is not finite */
INLINE int find_range(float range[2], const uint16_t *x, int n)
{
    __m512i lo = _mm512_setzero_si512(), hi = lo, lo2 = lo, hi2 = lo;
    int ends[2];

    for (int i = 0; i < n; i += 4 * LANES) {
        const __m512i a = in_order(_mm512_maskz_loadu_epi16(first_32(n - i), x + i));
        const __m512i b = in_order(_mm512_maskz_loadu_epi16(first_32(n - i - 2 * LANES), x + i + 2 * LANES));

        lo  = _mm512_min_epi16(lo, a);
        hi  = _mm512_max_epi16(hi, a);
        lo2 = _mm512_min_epi16(lo2, b);
        hi2 = _mm512_max_epi16(hi2, b);
    }
    ends[0] = ~largest(~_mm512_min_epi16(lo, lo2));
    ends[1] = largest(_mm512_max_epi16(hi, hi2));
    for (int i = 0; i < 2; i++) {
        const uint32_t bits = (uint32_t)(ends[i] ^ (ends[i] >> 15 & 0x7fff)) << 16;

        memcpy(&range[i], &bits, sizeof(bits));
    }
    return isfinite(range[0]) && isfinite(range[1]);
}

/** 16 values from number i on, as integers from 0 to 255 apart from overflow. */
INLINE __m512i quantize_16(const uint16_t *x, int i, int n, __m512 inverse, __m512 zero)
{
    const __m256i bits = _mm256_maskz_loadu_epi16(mgv_first(n - i), x + i);
    const __m512 v = (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16);

    return _mm512_cvtps_epi32(_mm512_fmadd_ps(v, inverse, zero));
}

/** Like mgv_cpu_quantize(), steps of a row MGV_AMX_TILE apart. */
INLINE MgvInt8Row quantize(uint8_t *y, const uint16_t *x, int n)
{
    /* packing takes quarters of vectors */
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    MgvInt8Row row = { 0, 0 };
    __m512 inverse = _mm512_setzero_ps(), zero = inverse;
    float range[2];

    if (!find_range(range, x, n)) {
        row.scale = NAN;
    } else if (range[1] - range[0] >= MGV_INT8_MIN_RANGE) {
        const float span = range[1] - range[0], inv = 255.0f / span, z = nearbyintf(-range[0] * inv);

        row = (MgvInt8Row){ span / 255.0f, (int32_t)z };
        inverse = _mm512_set1_ps(inv);
        zero    = _mm512_set1_ps(z);
    }
    for (int i = 0; i < n; i += MGV_AMX_BYTES, y += MGV_AMX_TILE) {
        const __m512i ab = _mm512_packs_epi32(quantize_16(x, i, n, inverse, zero), quantize_16(x, i + LANES, n, inverse, zero));
        const __m512i cd = _mm512_packs_epi32(quantize_16(x, i + 2 * LANES, n, inverse, zero),
                                              quantize_16(x, i + 3 * LANES, n, inverse, zero));

        _mm512_store_si512(y, _mm512_permutexvar_epi32(order, _mm512_packus_epi16(ab, cd)));
    }
    return row;
}

TARGET void mgv_amx_rows_quantize(const MgvAmxWeights *w, void *tiles, MgvInt8Row *row, uint16_t *rounded, MgvValues x,
                                  ptrdiff_t stride, int rows)
{
    for (int i = 0; i < rows; i++) {
        if (!x.bf16)
            mgv_cpu_bf16(rounded, x.f32 + i * stride, w->inputs);
        row[i] = quantize(row_of(w, tiles, i), x.bf16 ? x.bf16 + i * stride : rounded, w->inputs);
    }
    clear_rest(w, tiles, rows);
}

MgvAmxRows mgv_amx_rows(const MgvAmxWeights *w, const void *tiles, int row, int rows)
{
    const uint8_t *at = row_of(w, (void *)tiles, row);

    return (MgvAmxRows){
        .tile = { at, at + (size_t)w->steps * MGV_AMX_TILE }, .nb = rows - row > MGV_AMX_ROWS ? 2 : 1,
        .stride = MGV_AMX_BYTES, .step = MGV_AMX_TILE,
    };
}

/* ---- what comes after ---- */

/** 16 columns from k on of row i, of which m. */
INLINE void out_16(const MgvAmxOut *o, int i, int k, __mmask16 m, const int int8, const enum MgvAct act)
{
    const ptrdiff_t at = i * o->stride + k;
    const float *c = o->c + i * MGV_AMX_BLOCK + k;
    __m512 v;

    if (int8) {
        const int column = o->column + k;
        const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(o->row[i].scale), _mm512_maskz_loadu_ps(m, o->columns->scale + column));
        const __m512 sum = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(m, o->columns->sum + column));

        v = _mm512_fnmadd_ps(_mm512_set1_ps((float)o->row[i].zero), sum, _mm512_cvtepi32_ps(_mm512_load_si512(c)));
        v = _mm512_fmadd_ps(v, scale, _mm512_maskz_loadu_ps(m, o->columns->bias + column));
    } else {
        v = _mm512_load_ps(c);
        if (o->scale)
            v = _mm512_mul_ps(v, _mm512_set1_ps(o->scale[i]));
        if (o->bias)
            v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(m, o->bias + k));
    }
    v = mgv_activate(v, act);
    if (o->residual)
        v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(m, o->residual + at));
    if (o->y)
        _mm512_mask_storeu_ps(o->y + at, m, v);
    if (o->y16)
        mgv_store_bf16(o->y16 + at, m, v);
}

/** Rows [i,end). */
INLINE void out_rows(const MgvAmxOut *o, int i, int end, const int int8, const enum MgvAct act)
{
    for (; i < end; i++)
        for (int k = 0; k < o->n; k += LANES)
            out_16(o, i, k, mgv_first(o->n - k), int8, act);
}

INLINE void out_some(const MgvAmxOut *o, int i, int end, const int int8)
{
    if (o->act == MGV_ACT_SILU)
        out_rows(o, i, end, int8, MGV_ACT_SILU);
    else if (o->act == MGV_ACT_GELU_TANH)
        out_rows(o, i, end, int8, MGV_ACT_GELU_TANH);
    else
        out_rows(o, i, end, int8, MGV_ACT_NONE);
}

TARGET void mgv_amx_out(MgvAmxOut *o)
{
    if (o->columns)
        out_some(o, 0, o->rows, 1);
    else
        out_some(o, 0, o->rows, 0);
    o->rows = 0;
}

void mgv_amx_out_exact(MgvAmxOut *o)
{
    MgvAmxOut sum = *o;

    sum.act = MGV_ACT_NONE;
    sum.residual = NULL;
    sum.y = (float *)o->c;
    sum.y16 = NULL;
    sum.stride = MGV_AMX_BLOCK;
    mgv_amx_out(&sum);
    mgv_cpu_act((float *)o->c, (size_t)o->rows * MGV_AMX_BLOCK, o->act);
    o->act = MGV_ACT_NONE;
    o->bias = o->scale = NULL;
    o->columns = NULL;
}

/* ---- products ---- */

/** The numbers of registers must be constants. */
#define MULTIPLY(sum, row, column)            \
    do {                                      \
        if (int8)                             \
            _tile_dpbusd(sum, row, column);   \
        else                                  \
            _tile_dpbf16ps(sum, row, column); \
    } while (0)

typedef struct Meanwhile {
    const char *fetch;
    int lines;         ///< to fetch with each step
    MgvAmxOut *out;
    int rows;          ///< of out with each step
} Meanwhile;

/** A step of up to two tiles of rows by up to two of columns. */
INLINE void step_2(const MgvAmxRows *rows, ptrdiff_t at, const uint8_t *b, const int tiles, const int columns, const int int8)
{
    _tile_stream_loadd(6, b, MGV_AMX_BYTES);
    _tile_loadd(4, (const uint8_t *)rows->tile[0] + at, rows->stride);
    MULTIPLY(0, 4, 6);
    if (tiles == 2) {
        _tile_loadd(5, (const uint8_t *)rows->tile[1] + at, rows->stride);
        MULTIPLY(2, 5, 6);
    }
    if (columns == 2) {
        _tile_stream_loadd(7, b + MGV_AMX_TILE, MGV_AMX_BYTES);
        MULTIPLY(1, 4, 7);
        if (tiles == 2)
            MULTIPLY(3, 5, 7);
    }
}

/** A step of four tiles of rows by one of columns. */
INLINE void step_4(const MgvAmxRows *rows, ptrdiff_t at, const uint8_t *b, const int int8)
{
    _tile_stream_loadd(6, b, MGV_AMX_BYTES);
    _tile_loadd(4, (const uint8_t *)rows->tile[0] + at, rows->stride);
    MULTIPLY(0, 4, 6);
    _tile_loadd(5, (const uint8_t *)rows->tile[1] + at, rows->stride);
    MULTIPLY(1, 5, 6);
    _tile_loadd(4, (const uint8_t *)rows->tile[2] + at, rows->stride);
    MULTIPLY(2, 4, 6);
    _tile_loadd(5, (const uint8_t *)rows->tile[3] + at, rows->stride);
    MULTIPLY(3, 5, 6);
}

/** The sums, as far as there are any, from or to c. */
#define MOVE_SUMS(move, c, stride, tiles, columns)                              \
    do {                                                                        \
        const ptrdiff_t tile_ = MGV_AMX_ROWS * (stride);                        \
                                                                                \
        move(0, c, stride);                                                     \
        if ((tiles) == MGV_AMX_TILES) {                                         \
            move(1, (c) + tile_, stride);                                       \
            move(2, (c) + 2 * tile_, stride);                                   \
            move(3, (c) + 3 * tile_, stride);                                   \
        } else {                                                                \
            if ((columns) == 2)                                                 \
                move(1, (c) + MGV_AMX_BYTES, stride);                           \
            if ((tiles) == 2)                                                   \
                move(2, (c) + tile_, stride);                                   \
            if ((tiles) == 2 && (columns) == 2)                                 \
                move(3, (c) + tile_ + MGV_AMX_BYTES, stride);                   \
        }                                                                       \
    } while (0)

/** Sums begin with c, or with 0. */
INLINE void begin(const uint8_t *c, ptrdiff_t stride, int add, const int tiles, const int columns)
{
    if (add) {
        MOVE_SUMS(_tile_loadd, c, stride, tiles, columns);
        return;
    }
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

INLINE void product(const MgvAmxWeights *w, int block, const MgvAmxRows *rows, uint8_t *c, ptrdiff_t stride, int add,
                    const Meanwhile *also, const int tiles, const int columns, const int int8)
{
    const uint8_t *b = (const uint8_t *)w->data + block * w->block;
    const char *fetch = also->fetch;
    const int lines = also->lines, some = also->rows, nb_out = also->out->rows;
    int done = 0;

    MGV_AMX_FENCE;
    begin(c, stride, add, tiles, columns);
    for (int s = 0; s < w->segments; s++) {
        ptrdiff_t at = rows->segment ? rows->segment[s] : 0;

        for (int i = 0; i < w->steps; i++, at += rows->step, b += columns * MGV_AMX_TILE) {
            if (tiles == MGV_AMX_TILES)
                step_4(rows, at, b, int8);
            else
                step_2(rows, at, b, tiles, columns, int8);
            for (int k = 0; k < lines; k++, fetch += 64)
                _mm_prefetch(fetch, _MM_HINT_T1);
            if (done < nb_out) {
                out_some(also->out, done, MGV_MIN(done + some, nb_out), int8);
                done += some;
            }
        }
    }
    also->out->rows = 0;
    MOVE_SUMS(_tile_stored, c, stride, tiles, columns);
    MGV_AMX_FENCE;
}

typedef void ProductFn(const MgvAmxWeights *w, int block, const MgvAmxRows *rows, uint8_t *c, ptrdiff_t stride, int add,
                       const Meanwhile *also);

#define PRODUCT(name, tiles, columns, int8)                                                                         \
    TARGET static void name(const MgvAmxWeights *w, int block, const MgvAmxRows *rows, uint8_t *c, ptrdiff_t stride, \
                            int add, const Meanwhile *also)                                                         \
    {                                                                                                               \
        product(w, block, rows, c, stride, add, also, tiles, columns, int8);                                        \
    }

PRODUCT(product_1x1, 1, 1, 0)
PRODUCT(product_2x1, 2, 1, 0)
PRODUCT(product_4x1, 4, 1, 0)
PRODUCT(product_1x2, 1, 2, 0)
PRODUCT(product_2x2, 2, 2, 0)
PRODUCT(product_1x1_int8, 1, 1, 1)
PRODUCT(product_2x1_int8, 2, 1, 1)
PRODUCT(product_4x1_int8, 4, 1, 1)
PRODUCT(product_1x2_int8, 1, 2, 1)
PRODUCT(product_2x2_int8, 2, 2, 1)

/** By type, tiles of columns, and those of rows. */
static ProductFn *const products[2][2][MGV_AMX_TILES] = {
    { { product_1x1, product_2x1, NULL, product_4x1 }, { product_1x2, product_2x2 } },
    { { product_1x1_int8, product_2x1_int8, NULL, product_4x1_int8 }, { product_1x2_int8, product_2x2_int8 } },
};

int mgv_amx_tiles(const MgvAmxWeights *w)
{
    return w->cout > MGV_AMX_ROWS ? 2 : MGV_AMX_TILES;
}

int mgv_amx_group(const MgvAmxWeights *w)
{
    return (int)MGV_MAX(1, GROUP_BYTES / ((size_t)w->segments * w->steps * 2 * MGV_AMX_TILE));
}

void mgv_amx_product(const MgvAmxWeights *w, int block, const MgvAmxRows *rows, void *c, ptrdiff_t stride, int add,
                     const void *fetch, size_t fetch_bytes, MgvAmxOut *before)
{
    const int steps = w->segments * w->steps, columns = halves(w, block * MGV_AMX_BLOCK);
    MgvAmxOut nothing;
    const Meanwhile also = {
        fetch, fetch ? (int)((fetch_bytes / 64 + steps - 1) / steps) : 0,
        before ? before : &nothing, before ? (before->rows + steps - 1) / steps : 0,
    };

    nothing.rows = 0;
    products[w->int8][columns - 1][rows->nb - 1](w, block, rows, c, stride, add, &also);
}

#endif /* MGV_AMX */
