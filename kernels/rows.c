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
 * Plans of sequences that the host executor runs for some of their positions only: those that are selected, the others'
 * keys and values being kept from before, or those whose outputs are wanted.
 */

#include <string.h>

#include "kernels/exec.h"

static int is_row(MgvShape s)
{
    return s.n == 1 && s.t == 1 && s.h == 1;
}

/** Positions of which op i computes the output, NULL: all. */
static const int32_t *rows_of(const MgvExec *exec, ptrdiff_t i, int *n)
{
    const int cut = exec->nb_wanted && i >= exec->cut;

    *n = cut ? exec->nb_wanted : exec->nb_rows;
    return cut ? exec->wanted : exec->rows;
}

void mgv_exec_shapes(const MgvExec *exec, MgvKernelOp *o)
{
    const MgvTensorInfo *tensors = exec->plan->tensors;
    int n;

    o->rows = rows_of(exec, o - exec->ops, &n);
    o->out  = tensors[o->op->out].shape;
    if (o->rows)
        o->out.w = n;
    for (int i = 0; i < MGV_MAX_IN; i++) {
        if (o->op->in[i] < 0)
            continue;
        o->in[i] = tensors[o->op->in[i]].shape;
        if (o->rows && (o->op->type != MGV_OP_ATTENTION || i == 0))
            o->in[i].w = n;
    }
}

size_t mgv_exec_size(const MgvExec *exec, MgvT tensor)
{
    const MgvTensorInfo *t = &exec->plan->tensors[tensor];
    int n;

    return rows_of(exec, t->first, &n) ? t->size / t->shape.w * n : t->size;
}

static void set_shapes(MgvExec *exec)
{
    for (int i = 0; i < exec->nb_ops; i++)
        mgv_exec_shapes(exec, &exec->ops[i]);
}

/* Bytes of a row of keys or values in the form that the kernel reads. */
static size_t kept_row(const MgvKernelOp *o, int k)
{
    return o->in[k].c * (o->in_bf16 >> k & 1 ? sizeof(uint16_t) : sizeof(float));
}

int mgv_exec_forget(void *arg)
{
    MgvExec *exec = arg;

    mgv_freep(&exec->rows);
    for (int i = 0; i < exec->nb_ops; i++)
        for (int k = 1; k < MGV_MAX_IN; k++)
            mgv_freep(&exec->ops[i].kept[k]);
    set_shapes(exec);
    return 0;
}

void *mgv_exec_keep(const MgvKernelOp *o, int k, const void *new)
{
    const size_t bytes = kept_row(o, k);

    for (int i = 0; new && i < o->in[0].w; i++)
        memcpy((uint8_t *)o->kept[k] + o->rows[i] * bytes, (const uint8_t *)new + i * bytes, bytes);
    return new ? o->kept[k] : NULL;
}

typedef struct Selection {
    MgvExec *exec;
    const int32_t *rows;
    int n;
} Selection;

static int keep_all(MgvExec *exec)
{
    const MgvPlan *p = exec->plan;
    const int w = p->tensors[p->inputs[0]].shape.w;

    exec->rows = mgv_calloc(w, sizeof(*exec->rows));
    if (!exec->rows)
        return mgv_exec_no_memory(exec->dev, p, w * sizeof(*exec->rows), "positions");
    for (int i = 0; i < exec->nb_ops; i++) {
        MgvKernelOp *o = &exec->ops[i];

        for (int k = 1; o->op->type == MGV_OP_ATTENTION && k < MGV_MAX_IN; k++) {
            o->kept[k] = mgv_calloc(w, kept_row(o, k));
            if (!o->kept[k])
                return mgv_exec_no_memory(exec->dev, p, w * kept_row(o, k), "keys and values");
        }
    }
    return 0;
}

static int check_sequence(const MgvExec *exec)
{
    for (int x = 0; x < exec->plan->nb_tensors; x++)
        if (!is_row(exec->plan->tensors[x].shape)) {
            mgv_err(exec->dev->log, "%s: rows can only be selected of one sequence", exec->plan->name);
            return MAGVIT_ERR(ENOTSUP);
        }
    return 0;
}

/* On the worker thread, so that no plan runs meanwhile. */
static int select_rows(void *arg)
{
    const Selection *s = arg;
    MgvExec *exec = s->exec;
    int ret;

    if (!s->n)
        return mgv_exec_forget(exec);
    if ((ret = check_sequence(exec)) < 0)
        return ret;
    if (!exec->rows && (ret = keep_all(exec)) < 0) {
        mgv_exec_forget(exec);
        return ret;
    }
    exec->nb_wanted = 0;
    exec->nb_rows = s->n;
    memcpy(exec->rows, s->rows, s->n * sizeof(*exec->rows));
    set_shapes(exec);
    return 0;
}

int mgv_host_select(MgvExec *exec, const int32_t *rows, int n)
{
    return mgv_host_call(exec->dev, select_rows, &(Selection){ exec, rows, n });
}


/* ---- wanted rows ---- */

/** The last op for which other positions count, nb_ops: there is none. */
static int last_attention(const MgvExec *exec)
{
    for (int i = exec->nb_ops - 1; i >= 0; i--)
        if (exec->ops[i].op->type == MGV_OP_ATTENTION)
            return i;
    return exec->nb_ops;
}

/* On the worker thread, so that no plan runs meanwhile. */
static int want_rows(void *arg)
{
    const Selection *s = arg;
    MgvExec *exec = s->exec;
    const int w = exec->plan->tensors[exec->plan->inputs[0]].shape.w;
    int ret;

    if (s->n && (ret = check_sequence(exec)) < 0)
        return ret;
    if (s->n && exec->rows) {
        mgv_err(exec->dev->log, "%s: rows are selected, none can be wanted", exec->plan->name);
        return MAGVIT_ERR(EINVAL);
    }
    if (s->n && !exec->wanted && !(exec->wanted = mgv_calloc(w, sizeof(*exec->wanted))))
        return mgv_exec_no_memory(exec->dev, exec->plan, w * sizeof(*exec->wanted), "positions");
    if (s->n)
        memcpy(exec->wanted, s->rows, s->n * sizeof(*exec->wanted));
    exec->cut = last_attention(exec);
    exec->nb_wanted = s->n;
    set_shapes(exec);
    return 0;
}

int mgv_host_want(MgvExec *exec, const int32_t *rows, int n)
{
    return mgv_host_call(exec->dev, want_rows, &(Selection){ exec, rows, n });
}

void mgv_exec_leave_out(const MgvExec *exec, int way)
{
    const MgvT *in = exec->ops[exec->cut].op->in;

    for (MgvT x = 0; x < exec->plan->nb_tensors; x++) {
        const MgvTensorInfo *t = &exec->plan->tensors[x];

        if (t->first >= exec->cut || t->last < exec->cut || x == in[1] || x == in[2])
            continue;
        for (int form = F32; form < NB_FORMS; form++) {
            const size_t row = t->shape.c * (form == BF16 ? sizeof(uint16_t) : sizeof(float));
            uint8_t *data = mgv_exec_locate(exec, way, x, form);

            for (int i = 0; data && i < exec->nb_wanted; i++)
                memmove(data + i * row, data + exec->wanted[i] * row, row);
        }
    }
}
