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
 * Products of matrices by AMX, the tile registers of Intel's processors, written for the shapes of this model: weights
 * lie in the order in which they are used, what is multiplied by them may be a window into an image (an implicit
 * im2col), and what comes after a product is done while 32x32 of it lie in first-level cache.
 *
 * Every output is the sum of its products in one order, whatever the tiles: results do not depend on how work is cut.
 * A tile register holds 16 rows of 64 bytes, which are a step: 32 values of bf16, or 64 of 8 bits.
 */

#ifndef MAGVIT_AMX_H
#define MAGVIT_AMX_H

#include "kernels/cpu.h"

/** Are the functions below compiled? They may be called where mgv_amx() says so. */
#if MGV_AVX512 && defined(__has_include)
#if __has_include(<amxtileintrin.h>) && __has_include(<sys/syscall.h>)
#define MGV_AMX 1
#endif
#endif
#ifndef MGV_AMX
#define MGV_AMX 0
#endif

#if MGV_AMX

#define MGV_AMX_FEATURES "amx-tile,amx-bf16,amx-int8"
/** The compiler does not know what tile instructions read and write. */
#define MGV_AMX_FENCE __asm__ volatile("" ::: "memory")

#define MGV_AMX_ROWS  16   ///< of a tile register
#define MGV_AMX_BYTES 64   ///< of each of its rows
#define MGV_AMX_TILE  (MGV_AMX_ROWS * MGV_AMX_BYTES)
#define MGV_AMX_BLOCK 32   ///< rows and columns that are multiplied at once: two tiles each

/** Does the processor have it, and may this process use it? Any thread. */
int mgv_amx(void);

/** Around products, on each thread: set the tile registers up, and let go of them. */
void mgv_amx_begin(void);
void mgv_amx_end(void);

/** W in tiles: [blocks of 32 columns][segments][steps][2][16][16 columns][2 or 4 values]; 1 for 2 in a last block of up to 16. */
typedef struct MgvAmxWeights {
    void *data;       ///< may be the caller's memory; mgv_amx_alloc() allocates it
    int int8;         ///< 1: integers of 8 bits, 0: bf16
    int cout;
    int segments;     ///< runs of memory that a row of the other factor consists of
    int inputs;       ///< values in each of them
    int steps;        ///< of 64 bytes, each
    size_t block;     ///< bytes of a whole block of columns
    size_t bytes;     ///< of all, a multiple of MGV_ALIGNMENT
} MgvAmxWeights;

MgvAmxWeights mgv_amx_weights(int int8, int cout, int segments, int inputs);

/** New memory in w->data for plain, [cout][segments][inputs]. MAGVIT_ERR(ENOMEM), not logged */
int mgv_amx_pack(MgvAmxWeights *w, const float *plain);

/** Columns of a product that are keys: a row of bf16 for each, of which the last columns to a whole block are zero. */
void mgv_amx_pack_keys(const MgvAmxWeights *w, void *data, const uint16_t *rows, ptrdiff_t stride, int nb_rows);
/** Which of a step's 32 keys is in place i: two vectors of integers become one of 16 bits by quarters. */
#define MGV_AMX_KEY(i) ((i) / 8 * 4 + (i) % 4 + ((i) & 4) * 4)
/** The same with what is multiplied being the rows: values that are weighted by a softmax, keys in that order. */
void mgv_amx_pack_values(const MgvAmxWeights *w, void *data, const uint16_t *rows, ptrdiff_t stride, int nb_rows);

/** Most tiles of rows that are multiplied at once. */
#define MGV_AMX_TILES 4

/** The factor that the weights multiply: where tiles of 16 rows begin. */
typedef struct MgvAmxRows {
    const void *tile[MGV_AMX_TILES];
    int nb;                   ///< of them, up to mgv_amx_tiles()
    ptrdiff_t stride;         ///< bytes from row to row
    ptrdiff_t step;           ///< bytes from one step to the next
    const ptrdiff_t *segment; ///< bytes from the tile's beginning to each segment, NULL: there is one
} MgvAmxRows;

/** Bytes of rows as mgv_amx_rows_in() lays them out: [tiles of 16 rows][steps][16][64]. */
size_t mgv_amx_rows_bytes(const MgvAmxWeights *w, int rows);
/** Put rows of bf16, stride values apart, into tiles; what is missing becomes zero. */
void mgv_amx_rows_in(const MgvAmxWeights *w, void *tiles, const uint16_t *x, ptrdiff_t stride, int rows);
/** The same of floats. */
void mgv_amx_rows_round(const MgvAmxWeights *w, void *tiles, const float *x, ptrdiff_t stride, int rows);
/** The same in 8 bits, of bf16 or what is first rounded to it. row: receives the scale of each. rounded: memory for one */
void mgv_amx_rows_quantize(const MgvAmxWeights *w, void *tiles, MgvInt8Row *row, uint16_t *rounded, MgvValues x,
                           ptrdiff_t stride, int rows);
/** The next tiles, up to two, of such rows, from row number row on, a multiple of 16. */
MgvAmxRows mgv_amx_rows(const MgvAmxWeights *w, const void *tiles, int row, int rows);

/**
 * What becomes of up to 32 rows and columns of a product, c: y = act(c * scale + bias) + residual. Every pointer is to
 * the first of the block's, rows are stride values apart in residual, y and y16, and 32 in c.
 */
typedef struct MgvAmxOut {
    const float *c;                ///< aligned to 64 bytes; int32_t of 8 bits
    const float *scale;            ///< of each row, or NULL
    const float *bias;             ///< or NULL
    const MgvInt8Row *row;         ///< of 8 bits: what each row,
    const MgvInt8Columns *columns; ///< and each column from 0 on, was rounded by; NULL: c is float
    int column;                    ///< of 8 bits: which is the first
    const float *residual;         ///< or NULL; not with an activation
    float *y;                      ///< or NULL
    uint16_t *y16;                 ///< the same in bf16, or NULL
    ptrdiff_t stride;
    int rows, n;                   ///< n: columns
    enum MgvAct act;               ///< for y16 alone; else see mgv_amx_out_exact()
} MgvAmxOut;

/** How many tiles of rows to multiply at once: 4 if there are up to 16 columns, else 2. Fewer take longer. */
int mgv_amx_tiles(const MgvAmxWeights *w);

/** Blocks of columns to multiply one lot of rows by before the next: as many as stay in second-level cache. */
int mgv_amx_group(const MgvAmxWeights *w);

/** Some of the steps of a row: weights, of a multiple of 32 columns and one segment, as if there were no others. */
MgvAmxWeights mgv_amx_part(const MgvAmxWeights *w, int step, int steps);

/**
 * c[16 * rows->nb, 32] = rows . a block of columns, as float, or int32_t of 8 bits; add: c += it. stride: bytes from row
 * to row of c. fetch: NULL or what to fetch into second-level cache meanwhile. before: what to do with another block
 * meanwhile, while the multipliers are busy. Its rows become 0.
 */
void mgv_amx_product(const MgvAmxWeights *w, int block, const MgvAmxRows *rows, void *c, ptrdiff_t stride, int add,
                     const void *fetch, size_t fetch_bytes, MgvAmxOut *before);

/** Do what is left to do. Its rows become 0. */
void mgv_amx_out(MgvAmxOut *out);

/** A float activation in c, in place, where more than y16 depends on it. Then out->act and out->bias are done. */
void mgv_amx_out_exact(MgvAmxOut *out);

/** y[rows,cout] = act(x[rows,cin] . W^T + bias), x being the input and y the output of an op. */
typedef struct MgvAmxLinear MgvAmxLinear;

/**
 * w: [cout,cin], whose values are lost. bias: [cout] or NULL. int8: multiply 8-bit integers. Sets o->weight_bytes and
 * raises o->scratch_bytes.
 */
int mgv_amx_linear_alloc(MgvAmxLinear **out, MgvKernelOp *o, int64_t rows, int cin, int cout, float *w, const float *bias,
                         int int8);
void mgv_amx_linear_free(MgvAmxLinear **l);
int mgv_amx_linear_run(const MgvKernelOp *o, const MgvAmxLinear *l, const float *x, float *y);

/** Weights of a 3x3x3 convolution as it multiplies by them, of those in file order. MAGVIT_ERR(ENOMEM), not logged */
int mgv_amx_conv_pack(MgvAmxWeights *packed, const float *weights, int cin, int cout);

/** Input and output of a 3x3x3 convolution: a band of rows of one plane or of several, one behind the other. */
typedef struct MgvAmxPlanes {
    const char *padded;    ///< [planes + 2][rows + 2][width + 2][cin] in bf16; what a step reads behind it is finite
    ptrdiff_t plane[3];    ///< bytes to the planes before, at and after the first
    const float *residual; ///< what is added, or NULL; laid out as the output
    float *y;              ///< [planes][rows][width][cout], or NULL: y16 is the output
    uint16_t *y16;
    enum MgvAct act;       ///< for y16 alone
    int planes, rows, width;
} MgvAmxPlanes;

/** bias: [cout] or NULL */
void mgv_amx_conv(const MgvAmxWeights *w, const float *bias, const MgvAmxPlanes *l);

extern const MgvKernel mgv_linear_amx;
extern const MgvKernel mgv_attention_amx;

#endif

#endif /* MAGVIT_AMX_H */
