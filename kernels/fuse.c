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
 * What the host executor makes of a plan before it runs: which ops run as one,
 * and in which forms a tensor is in memory, and where.
 */

#include <string.h>

#include "kernels/exec.h"

static int is_in(MgvT x, const MgvT *list, int nb)
{
    while (nb > 0 && list[nb - 1] != x)
        nb--;
    return nb > 0;
}

static int is_own(const MgvPlan *p, MgvT x)
{
    return is_in(x, p->inputs, p->nb_inputs) || is_in(x, p->outputs, p->nb_outputs);
}

/** Is op i + 1 of this type, and alone in reading what op i writes, and once? */
static int feeds(const MgvPlan *p, int i, enum MgvOpType type)
{
    const MgvT x = p->ops[i].out;
    int readers = 0;

    if (i + 1 >= p->nb_ops || p->ops[i + 1].type != type || is_own(p, x))
        return 0;
    for (int j = 0; j < p->nb_ops; j++)
        for (int k = 0; k < MGV_MAX_IN; k++)
            readers += (p->ops[j].in[k] == x) * (j == i + 1 ? 1 : 2);
    return readers == 1;
}

static void fuse_ops(MgvExec *exec)
{
    const MgvPlan *p = exec->plan;

    for (int i = 0; i < exec->nb_ops; i++) {
        MgvKernelOp *o = &exec->ops[i];

        exec->last[i] = i;
        if (!(o->fuses >> MGV_OP_ADD & 1) || !feeds(p, i, MGV_OP_ADD) || p->ops[i + 1].in[1] < 0)
            continue;
        exec->last[i] = i + 1;
        if (!(o->fuses >> MGV_OP_LAYER_NORM & 1) || !feeds(p, i + 1, MGV_OP_LAYER_NORM))
            continue;
        exec->last[i] = i + 2;
        o->norm = &exec->ops[i + 2];
    }
}

/** Which forms a tensor needs: bf16 if an op would round it anyway and its writer can, float if anyone reads that. */
static void tensor_forms(MgvExec *exec, MgvT x, Forms form)
{
    const size_t elements = mgv_shape_elements(exec->plan->tensors[x].shape);
    const MgvKernelOp *writer = NULL;
    const int own = is_own(exec->plan, x);
    int floats = own, bf16 = 0;

    for (int i = 0; i < exec->nb_ops; i++) {
        const MgvKernelOp *o = &exec->ops[i];

        if (o->op->out == x)
            writer = o;
        for (int k = 0; k < MGV_MAX_IN; k++)
            if (o->op->in[k] == x)
                *(o->reads_bf16 >> k & 1 ? &bf16 : &floats) = 1;
    }
    if (!writer || !writer->writes_bf16 || !bf16) {
        floats = 1;
        bf16 = 0;
    }
    form[OWN][x].size  = own ? elements * sizeof(float) : 0;
    form[F32][x].size  = floats && !own ? elements * sizeof(float) : 0;
    form[BF16][x].size = bf16 ? elements * sizeof(uint16_t) : 0;
}

/** What lies between fused ops has no form, and what the last of them writes lives from the first on. */
static void fuse_forms(MgvExec *exec, Forms form)
{
    for (int i = 0; i < exec->nb_ops; i++) {
        for (int j = i; j < exec->last[i]; j++)
            for (int k = 0; k < NB_FORMS; k++)
                form[k][exec->ops[j].op->out].size = 0;
        for (int k = 0; exec->last[i] > i && k < NB_FORMS; k++)
            form[k][exec->ops[exec->last[i]].op->out].first = i;
    }
}

static void tell_forms(MgvKernelOp *o, Forms form)
{
    const MgvT out = o->op->out;

    o->out_bf16 = form[BF16][out].size > 0;
    o->out_f32  = form[OWN][out].size || form[F32][out].size;
    for (int k = 0; k < MGV_MAX_IN; k++)
        if (o->op->in[k] >= 0 && form[BF16][o->op->in[k]].size)
            o->in_bf16 |= 1u << k;
}

static int choose_forms(MgvExec *exec)
{
    const MgvPlan *p = exec->plan;
    const size_t n = p->nb_tensors, nb = NB_FORMS * n;
    int ret = 0;

    for (int way = 0; way < NB_WAYS && ret >= 0; way++) {
        MgvTensorInfo **form = exec->form[way];

        form[OWN] = mgv_calloc(nb, sizeof(*p->tensors));
        if (!form[OWN])
            return mgv_exec_no_memory(exec->dev, p, nb * sizeof(*p->tensors), "tensors");
        for (int k = 0; k < NB_FORMS; k++) {
            form[k] = form[OWN] + k * n;
            memcpy(form[k], p->tensors, n * sizeof(*p->tensors));
        }
        for (size_t x = 0; x < n; x++)
            tensor_forms(exec, x, form);
        if (way == FUSED)
            fuse_forms(exec, form);
        ret = mgv_layout(form[OWN], n, &exec->own_size);
        if (ret >= 0)
            ret = mgv_layout(form[F32], (NB_FORMS - F32) * n, &exec->shared_size[way]);
    }
    for (int i = 0; i < exec->nb_ops && ret >= 0; i++)
        tell_forms(&exec->ops[i], exec->form[SINGLE]);
    return ret < 0 ? mgv_exec_no_memory(exec->dev, p, nb * sizeof(*p->tensors), "tensors") : 0;
}

int mgv_exec_fuse(MgvExec *exec)
{
    fuse_ops(exec);
    return choose_forms(exec);
}
