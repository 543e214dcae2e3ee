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
 * Host executor: runs a plan op by op on CPU kernels. A backend is a table of
 * kernels: mgv_ref_kernels() fills all of it, mgv_dnnl_kernels() overrides the
 * entries that oneDNN is good at.
 *
 * All computing happens on one private worker thread of the device and its
 * helpers, see helpers.c. Each of them tells oneDNN that it is alone, because
 * oneDNN's matrix products leave part of their output unwritten when OpenMP
 * gives them fewer threads than it promised; and the OpenMP settings of the
 * calling program, which are per thread, stay untouched.
 */

#ifndef MAGVIT_HOST_H
#define MAGVIT_HOST_H

#include <pthread.h>

#include "config.h"
#include "libmagvit/backend.h"

typedef struct MgvKernelOp MgvKernelOp;

/**
 * One kernel. in[] and out are float32 or I32. Work is cut over output elements
 * only, so results do not depend on the number of jobs or threads.
 *
 * What matrix products round to bf16 anyway passes between ops in that form: the
 * kernel that writes a tensor rounds it once (out16), while it is in registers,
 * and in[] and out are NULL where no op reads the float form.
 */
typedef struct MgvKernel {
    /** Repack weights into o->priv. Called once, on the worker thread. ENOTSUP with a line if it cannot. May be NULL. */
    int (*prepare)(MgvKernelOp *o);
    /**
     * Compute part job of nb_jobs, nb_jobs <= dev->threads. Called by several
     * threads, or once with (0, 1) if threads_itself. The model file may be closed
     * by then: op->weight[] is for prepare() only.
     */
    int (*run)(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs);
    /** Free o->priv, on the worker thread, also after declare() or prepare() failed. May be NULL. */
    void (*unprepare)(MgvKernelOp *o);
    int threads_itself;
    /** Set o->reads_bf16 and o->writes_bf16; called for every op before prepare() of any. May be NULL. */
    int (*declare)(MgvKernelOp *o);
} MgvKernel;

/** An op as the executor sees it. */
struct MgvKernelOp {
    const MgvKernel *kernel;
    const MgvPlan *plan;
    const MgvOp *op;
    MgvShape in[MGV_MAX_IN], out; ///< shapes
    MgvDevice *dev;
    const MagvitLogger *log;
    void *priv;                   ///< the kernel's own
    unsigned reads_bf16;          ///< bit i: input i is rounded to bf16 before it is used
    int writes_bf16;              ///< run() can round its output
    int may_round;                ///< so it can, and does if only a reader with takes_bf16 is there
    int takes_bf16;               ///< it can read its input in bf16, though that costs digits
    int out_f32, out_bf16;        ///< forms that run() shall write, known to prepare()
    unsigned in_bf16;             ///< bit i: in16[i] will be there, known to prepare()
    const int32_t *rows;          ///< position of each of the out.w rows, NULL: all are computed; see rows.c
    unsigned fuses;               ///< declare() sets bit MGV_OP_*: run() can do such an op that follows: see below
    unsigned fuses_before;        ///< the same of an op that comes before
    const MgvKernelOp *before;    ///< the op that run() does to its input first, NULL: none
    const MgvKernelOp *norm;      ///< the LAYER_NORM that run() does last, known to prepare(); NULL: none
    MgvKernelOp *beside;          ///< another convolution of the same input, which run() does as well, known to prepare()
    float *out_beside;            ///< for run(): where its output goes
    const MgvKernelOp *stats_of;  ///< the GROUP_NORM of whose input, its output, run() takes the statistics, NULL: none
    int adds_in_place;            ///< declare() sets it: the ADD's output may lie where residual does
    int has_stats;                ///< of a GROUP_NORM: its statistics were taken
    const float *residual;        ///< for run(): what the ADD that it does adds to its output, NULL: nothing
    const uint16_t *in16[MGV_MAX_IN]; ///< for run(): input i in bf16, NULL: only as float
    void *kept[MGV_MAX_IN];       ///< ATTENTION, the executor's: keys and values of all positions, NULL without rows
    uint16_t *out16;              ///< for run(): where the output goes in bf16, or NULL
    size_t weight_bytes;          ///< what prepare() allocated for weights
    /** Scratch memory of scratch_bytes (set by prepare), shared by all ops of the plan, one for all jobs. */
    size_t scratch_bytes;
    void *scratch;
    /** Memory for the statistics of a GROUP_NORM, stat_bytes (set by prepare) or more, which lasts to the next op. */
    size_t stat_bytes;
    void *stat;
};

/*
 * Fused ops: an ADD that alone reads the output of a product, and a LAYER_NORM
 * that alone reads the sum, are done by the product's kernel while a tile of it
 * is in cache. What reads a GROUP_NORM's or UPSAMPLE's output alone may do that
 * op as it reads, and what writes a GROUP_NORM's input take its statistics. Two
 * CONV3D one after another that read the same may be one. The bits come out the
 * same. A plan with a tap runs op by op.
 */

/*
 * A GROUP_NORM could do with fewer digits of its input, but the residual stream, which it mostly reads, could not. What
 * a convolution writes for a GROUP_NORM alone is rounded, and its statistics are those of what was rounded.
 */

/*
 * Selected rows: shapes have the number of rows that are computed, which lie
 * one behind the other in every tensor, but keys and values of an attention,
 * which are always all of them: kept by the executor, with the new rows put in.
 * Memory is there for all rows, so kernels may compute more than are wanted.
 */

typedef MgvKernel MgvKernelTable[MGV_OP_NB];

void mgv_ref_kernels(MgvKernelTable table);
#if CONFIG_ONEDNN
void mgv_dnnl_kernels(MgvDevice *dev); ///< by what it multiplies
#endif

/** Fields every host device begins with. */
struct MgvDevice {
    const MagvitLogger *log;
    int threads;          ///< the worker and its helpers
    char description[128];
    struct MgvWorker *worker;
    struct MgvHelpers *helpers;
    MgvKernelTable kernels;
    void *engine;         ///< oneDNN objects, NULL for ref
    uint8_t *arena;       ///< what plans need while they run, shared by all of the device's; the worker's own
    size_t arena_size;
    enum MagvitPrecision precision; ///< as asked; AUTO is settled when the kernels are chosen
    int bf16;             ///< what is not float32 for good nor 8 bits is multiplied in bf16
    int amx;              ///< and that by our own kernels for AMX, see amx.h
};

/** The calls of MgvBackend that all host backends share. */
int mgv_host_open(MgvDevice **out, const MgvDeviceSettings *s, const MagvitLogger *log);
void mgv_host_close(MgvDevice **dev);
const char *mgv_host_describe(const MgvDevice *dev);
int mgv_host_compile(MgvExec **out, MgvDevice *dev, const MgvPlan *plan);
void mgv_host_free(MgvExec **exec);
int mgv_host_write(MgvExec *exec, MgvT tensor, const void *data, size_t size);
int mgv_host_run(MgvExec *exec);
int mgv_host_read(MgvExec *exec, MgvT tensor, void *data, size_t size);
void mgv_host_tap(MgvExec *exec, MgvTapFn *fn, void *opaque);
int mgv_host_select(MgvExec *exec, const int32_t *rows, int n);
int mgv_host_want(MgvExec *exec, const int32_t *rows, int n);
void mgv_host_share(MgvDevice *dev, int nb_parts, MgvPartFn *fn, void *opaque);
double mgv_host_seconds(const MgvExec *exec, int op);
void mgv_host_memory(const MgvExec *exec, size_t *weights, size_t *work);
int mgv_host_measure(MgvDevice *dev, const MgvPlan *plan, MgvNeed *need);

/** The device's worker thread. start: a line and an error code if it cannot; stop: nothing if there is none. */
int mgv_worker_start(MgvDevice *dev);
void mgv_worker_stop(MgvDevice *dev);
/** Run fn(arg) on the device's worker thread and wait for it. @return what fn returns */
int mgv_host_call(MgvDevice *dev, int (*fn)(void *arg), void *arg);

/** Start a thread on which no signal handlers run. @return 0 or what pthread_create() returns */
int mgv_thread_start(pthread_t *thread, void *(*fn)(void *arg), void *arg);

/** Part of a piece of work. thread: who does it, from 0 to dev->threads - 1 */
typedef void MgvShareFn(void *arg, int part, int thread);

/**
 * Helpers for the worker, on which all three are called. start: corrects dev->threads by what the system gives. looks: 1
 * if threads may wait by looking, as there are processors enough. share: fn for every part, by whichever thread is free.
 */
int mgv_helpers_start(MgvDevice *dev, int looks);
void mgv_helpers_stop(MgvDevice *dev);
void mgv_helpers_share(MgvDevice *dev, int nb_parts, MgvShareFn *fn, void *arg);

/** Whole weight tensor i of an op as new float memory in file order, NULL if the op has none or memory is out. */
float *mgv_host_weight(MgvKernelOp *o, int i);

#endif /* MAGVIT_HOST_H */
