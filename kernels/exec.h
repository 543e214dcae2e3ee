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
 * A plan that the host executor has compiled, as host.c and fuse.c see it.
 */

#ifndef MAGVIT_EXEC_H
#define MAGVIT_EXEC_H

#include "kernels/host.h"

/** Forms of a tensor in memory. Inputs and outputs are the plan's own, the rest is the device's while a plan runs. */
enum { OWN, F32, BF16, NB_FORMS };
/** Ways to run: op by op, which a tap needs, or fused ops in one. */
enum { SINGLE, FUSED, NB_WAYS };

/** Ops that run as one, seen from the first of them. */
typedef struct Fused {
    int lead;  ///< whose kernel runs
    int last;  ///< whose output is that of all
    int end;   ///< the last of all, which is another than last where two convolutions stand side by side
    int stats; ///< the GROUP_NORM behind them whose statistics they take, -1: none
    MgvT place; ///< tensor in whose place they write, -1: none
    double seconds; ///< the least that they took, 0: did not run
} Fused;

typedef MgvTensorInfo *Forms[NB_FORMS]; ///< of the plan's tensors, one allocation; size 0: not in this form

struct MgvExec {
    MgvDevice *dev;
    const MgvPlan *plan;
    MgvKernelOp *ops;        ///< one for each of the plan's, nb_ops of them set up
    int nb_ops;
    Fused *fused;            ///< of each op
    Forms form[NB_WAYS];
    uint8_t *own;
    size_t own_size;
    size_t shared_size[NB_WAYS], stat_bytes, scratch_bytes; ///< of the device's arena: tensors, what lies behind them
    size_t grown;            ///< by how much the device's arena had to grow
    int32_t *rows;           ///< positions that are computed, NULL: all
    int nb_rows;
    int32_t *wanted;         ///< positions that ops from cut on compute, if nb_wanted is not 0
    int nb_wanted, cut;
    int measured;            ///< only to be measured: weights are let go of at once
    MgvTapFn *tap;
    void *tap_opaque;
};

/** Where a tensor lies in a form, NULL if it has not got that one. */
void *mgv_exec_locate(const MgvExec *exec, int way, MgvT x, int form);

/** Set the shapes of an op by the rows that it computes. */
void mgv_exec_shapes(const MgvExec *exec, MgvKernelOp *o);
/** Bytes of the rows of a tensor that are computed. */
size_t mgv_exec_size(const MgvExec *exec, MgvT tensor);
/** No rows are selected any more. On the worker thread. arg: the MgvExec. @return 0 */
int mgv_exec_forget(void *arg);
/** New rows of keys or values, input k, go into what is kept. @return all of them */
void *mgv_exec_keep(const MgvKernelOp *o, int k, const void *new);
/** Before op cut runs: of what lives on, let the wanted rows lie one behind the other. */
void mgv_exec_leave_out(const MgvExec *exec, int way);

/** Decide which ops run as one, and lay out tensors: after declare() of all ops, before prepare() of any. */
int mgv_exec_fuse(MgvExec *exec);

/** Log that memory for something is out. @return MAGVIT_ERR(ENOMEM) */
int mgv_exec_no_memory(const MgvDevice *dev, const MgvPlan *plan, size_t bytes, const char *what);

#endif /* MAGVIT_EXEC_H */
