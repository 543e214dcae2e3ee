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
 * oneDNN behind small wrappers, so that the differences between its versions
 * 2 and 3 stay in dnnl.c.
 *
 * Every primitive is made for one thread, and the kernels cut their work into
 * tiles which the threads of a team take one after another. oneDNN's own
 * threading is not used: its matrix products leave part of the output unwritten
 * when a team is smaller than promised, it waits for the slowest thread when
 * another program keeps a core busy, and tiles that fit the second-level cache
 * are faster. Tile sizes follow from shapes only, so results do not depend on
 * the number of threads.
 */

#ifndef MAGVIT_DNNL_H
#define MAGVIT_DNNL_H

#include "kernels/cpu.h"

/** Does the processor multiply tiles of bf16? */
int mgv_dnnl_has_amx(void);

/** Create the engine, fill dev->engine and dev->description. On the worker thread, after dev->threads is known. */
int mgv_dnnl_open(MgvDevice *dev);
void mgv_dnnl_close(MgvDevice *dev);

/**
 * Is bf16 faster than float32, by what the processor has? By AVX512_BF16 alone AMD's multiply it at twice the rate of
 * float32, Intel's (Cooper Lake, or later ones in virtual machines that hide AMX) at half of it.
 */
int mgv_dnnl_fast_bf16(int avx512, int amx, int intel);

/** What a product multiplies. */
enum MgvDnnlType {
    MGV_DNNL_FASTEST, ///< bf16 on a device that multiplies it, if oneDNN has fast code for the shape; else float32
    MGV_DNNL_F32,
    MGV_DNNL_BF16,    ///< never asked for: what FASTEST may become
    MGV_DNNL_INT8,    ///< unsigned source, signed weights, int32_t sums, no bias
};

/**
 * A primitive with what it needs to run on every thread of the device at once. Of what it multiplies source and
 * weights have the type, see mgv_dnnl_type(). Everything else is float32 but for y_bf16.
 */
typedef struct MgvDnnlPrim MgvDnnlPrim;

/** y[m,n] = x[m,k] . W[k,n] + bias[n]. Strides are in elements. */
typedef struct MgvDnnlMatmul {
    int m, n, k;
    ptrdiff_t x_stride, y_stride; ///< from row to row
    int bias;                     ///< 1: with bias
    enum MgvDnnlType type;
    int y_bf16;                   ///< 1: y is bf16 if x is
} MgvDnnlMatmul;

/** y[t,h,w,cout] = x[t+2,h+2,w+2,cin] * W[cout,cin,3,3,3] + bias, no padding. */
typedef struct MgvDnnlConv {
    int t, h, w, cin, cout;
    int bias; ///< 1: with bias
} MgvDnnlConv;

/**
 * Create a primitive whose weights have the layout that suits it best, or that
 * of an existing primitive, like (may be NULL). Logs what failed with the name
 * of o. On the worker thread. MAGVIT_ERR(ENOTSUP), without a line, if int8 was
 * asked for and there is no fast code.
 */
int mgv_dnnl_matmul(MgvDnnlPrim **out, const MgvKernelOp *o, const MgvDnnlMatmul *m, const MgvDnnlPrim *like);
int mgv_dnnl_conv(MgvDnnlPrim **out, const MgvKernelOp *o, const MgvDnnlConv *c, const MgvDnnlPrim *like);

/**
 * Create the primitive that copies plain weights to the layout of p:
 * mgv_dnnl_execute() with src and dst. strides: of the plain weights, in
 * elements, in the order of W in the structs above. bf16: the plain weights are.
 */
int mgv_dnnl_reorder(MgvDnnlPrim **out, const MgvKernelOp *o, const MgvDnnlPrim *p, const ptrdiff_t *strides, int bf16);

void mgv_dnnl_free(MgvDnnlPrim **p);

enum MgvDnnlType mgv_dnnl_type(const MgvDnnlPrim *p); ///< what it multiplies, never FASTEST
size_t mgv_dnnl_weight_bytes(const MgvDnnlPrim *p);  ///< of weights in the layout of p
size_t mgv_dnnl_scratch_bytes(const MgvDnnlPrim *p); ///< one thread needs for mgv_dnnl_execute(); multiple of MGV_ALIGNMENT

/** New memory with float32 weights in the layout and type of p; mgv_freep() frees it. Logs what failed. */
int mgv_dnnl_pack(void **out, const MgvKernelOp *o, const MgvDnnlPrim *p, const float *weights,
                  const ptrdiff_t *strides);

/** Run as thread number thread. bias: NULL if there is none. @return a oneDNN status, 0 for success; not logged */
int mgv_dnnl_execute(const MgvDnnlPrim *p, int thread, const void *src, const void *weights, const void *bias,
                     void *dst, void *scratch);

/** One tile. @return a oneDNN status, 0 for success */
typedef int MgvTileFn(const MgvKernelOp *o, void *arg, int tile, int thread);

/**
 * Call fn for every tile in [0,nb_tiles) on a team of the device's threads, in
 * any order. A failure is logged after the team has ended, on the calling
 * thread, with primitive as what failed.
 */
int mgv_dnnl_tiles(const MgvKernelOp *o, const char *primitive, int nb_tiles, MgvTileFn *fn, void *arg);

/** An ATTENTION on its way through tiles. */
typedef struct MgvAttentionRun {
    const float *in[3]; ///< queries, keys, values
    float *out;
    int nb_tiles;       ///< of the queries of a head
} MgvAttentionRun;

/** pack: even tiles are the keys of a head, odd ones the values; then attend: tiles of some queries of a head. arg: the run */
int mgv_attention_run(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int queries, MgvTileFn *pack,
                      MgvTileFn *attend);

/** y[rows,cout] = act(x[rows,cin] . W^T + bias) in tiles of rows, x being the input and y the output of an op. */
typedef struct MgvDnnlRows MgvDnnlRows;

/**
 * w: [cout,cin], whose values are lost. bias: [cout] or NULL. int8: multiply 8-bit integers if there is fast code.
 * Sets o->weight_bytes and raises o->scratch_bytes.
 */
int mgv_dnnl_rows_alloc(MgvDnnlRows **out, MgvKernelOp *o, int64_t rows, int cin, int cout, float *w,
                        const float *bias, int int8);
void mgv_dnnl_rows_free(MgvDnnlRows **r);
int mgv_dnnl_rows_run(const MgvKernelOp *o, const MgvDnnlRows *r, const float *x, float *y);

extern const MgvKernel mgv_conv3d_dnnl;
extern const MgvKernel mgv_linear_dnnl;
extern const MgvKernel mgv_attention_dnnl;
#if MGV_AVX512
extern const MgvKernel mgv_linear_avx512; ///< of float32, as the next
extern const MgvKernel mgv_attention_avx512;
#endif
extern const MgvKernel mgv_vq_argmin_dnnl;

#endif /* MAGVIT_DNNL_H */
