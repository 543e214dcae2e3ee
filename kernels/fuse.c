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

/** Is op i + 1 of this type, and do the nb ops from it on alone read what op i writes, each once? */
static int feeds_all(const MgvPlan *p, int i, enum MgvOpType type, int nb)
{
    const MgvT x = p->ops[i].out;
    int readers = 0;

    if (i + nb >= p->nb_ops || p->ops[i + 1].type != type || is_own(p, x))
        return 0;
    for (int j = 0; j < p->nb_ops; j++)
        for (int k = 0; k < MGV_MAX_IN; k++)
            readers += (p->ops[j].in[k] == x) * (j > i && j <= i + nb ? 1 : nb + 1);
    return readers == nb;
}

static int feeds(const MgvPlan *p, int i, enum MgvOpType type)
{
    return feeds_all(p, i, type, 1);
}

static int can(unsigned ops, enum MgvOpType type)
{
    return ops >> type & 1;
}

/** Are ops i and i + 1 convolutions that differ in weights and channels of the output only, and can they be one? */
static int is_pair(const MgvExec *exec, int i)
{
    const MgvKernelOp *o = &exec->ops[i];
    const MgvOp *a = o->op, *b = a + 1;

    return i + 1 < exec->nb_ops && can(o[0].fuses, MGV_OP_CONV3D) && can(o[1].fuses, MGV_OP_CONV3D) &&
           a->in[0] == b->in[0] && a->u.conv.k == b->u.conv.k && a->u.conv.pad == b->u.conv.pad &&
           !a->weight[1] == !b->weight[1];
}

/** What comes after the op that leads. */
static void fuse_behind(MgvExec *exec, Fused *f)
{
    const MgvPlan *p = exec->plan;
    MgvKernelOp *o = &exec->ops[f->lead];

    if (can(o->fuses, MGV_OP_ADD) && feeds(p, f->last, MGV_OP_ADD) && p->ops[f->last + 1].in[1] >= 0) {
        f->last++;
        if (can(o->fuses, MGV_OP_LAYER_NORM) && feeds(p, f->last, MGV_OP_LAYER_NORM))
            o->norm = &exec->ops[++f->last];
    }
    if (can(o->fuses, MGV_OP_GROUP_NORM) && f->last + 1 < p->nb_ops &&
        p->ops[f->last + 1].type == MGV_OP_GROUP_NORM && p->ops[f->last + 1].in[0] == p->ops[f->last].out)
        f->stats = f->last + 1;
    f->end = f->last;
}

/** Op i and those that can be done with it. */
static Fused fuse_op(MgvExec *exec, int i)
{
    const MgvPlan *p = exec->plan;
    const enum MgvOpType type = p->ops[i].type;
    Fused f = { i, i, i, -1, -1 };

    if (i + 1 < p->nb_ops && can(exec->ops[i + 1].fuses_before, type) &&
        feeds_all(p, i, p->ops[i + 1].type, 1 + is_pair(exec, i + 1)))
        f.lead = f.last = i + 1;
    if (is_pair(exec, f.lead)) {
        f.end = f.lead + 1;
        exec->ops[f.lead].beside = &exec->ops[f.end];
    } else {
        fuse_behind(exec, &f);
    }
    return f;
}

static void fuse_ops(MgvExec *exec)
{
    for (int i = 0; i < exec->nb_ops; i++)
        exec->fused[i].last = -1;
    for (int i = 0; i < exec->nb_ops; i = exec->fused[i].end + 1)
        exec->fused[i] = fuse_op(exec, i);
}

/** Is it for an op that is content with bf16, and no other, and can its writer round it? */
static int is_rounded(const MgvExec *exec, MgvT x)
{
    int readers = 0, content = 0, rounds = 0;

    for (int i = 0; i < exec->nb_ops; i++) {
        const MgvKernelOp *o = &exec->ops[i];

        rounds += o->op->out == x && o->may_round;
        for (int k = 0; k < MGV_MAX_IN; k++) {
            readers += o->op->in[k] == x;
            content += o->op->in[k] == x && o->takes_bf16;
        }
    }
    return rounds && readers == 1 && content && !is_own(exec->plan, x);
}

/** Which forms a tensor needs: bf16 if an op would round it anyway and its writer can, float if anyone reads that. */
static void tensor_forms(MgvExec *exec, MgvT x, Forms form)
{
    const size_t elements = mgv_shape_elements(exec->plan->tensors[x].shape);
    const MgvKernelOp *writer = NULL;
    const int own = is_own(exec->plan, x), rounded = is_rounded(exec, x);
    int floats = own, bf16 = rounded;

    for (int i = 0; i < exec->nb_ops && !rounded; i++) {
        const MgvKernelOp *o = &exec->ops[i];

        if (o->op->out == x)
            writer = o;
        for (int k = 0; k < MGV_MAX_IN; k++)
            if (o->op->in[k] == x)
                *(o->reads_bf16 >> k & 1 ? &bf16 : &floats) = 1;
    }
    if (!rounded && (!writer || !writer->writes_bf16 || !bf16)) {
        floats = 1;
        bf16 = 0;
    }
    form[OWN][x].size  = own ? elements * sizeof(float) : 0;
    form[F32][x].size  = floats && !own ? elements * sizeof(float) : 0;
    form[BF16][x].size = bf16 ? elements * sizeof(uint16_t) : 0;
}

/** What ops i to f->last add last of all, if nobody needs it afterwards and their kernel can add in its place; else -1. */
static MgvT added_in_place(const MgvExec *exec, int i, const Fused *f)
{
    const MgvPlan *p = exec->plan;
    const MgvOp *add = &p->ops[f->last];
    MgvT x;

    if (f->last != f->lead + 1 || !exec->ops[f->lead].adds_in_place || is_own(p, add->out))
        return -1;
    x = add->in[add->in[0] == p->ops[f->lead].out];
    return is_own(p, x) || is_in(x, p->ops[i].in, MGV_MAX_IN) || p->tensors[x].last > f->last ? -1 : x;
}

/** One place for what is added and the sum: the form of the sum takes over. */
static void fuse_places(MgvExec *exec, Forms form)
{
    for (int i = exec->nb_ops - 1; i >= 0; i--) {
        Fused *f = &exec->fused[i];
        MgvTensorInfo *sum = f->last >= 0 ? &form[F32][exec->ops[f->last].op->out] : NULL;

        if (!sum || (f->place = added_in_place(exec, i, f)) < 0)
            continue;
        form[F32][f->place].last = sum->last;
        sum->size = 0;
    }
}

/** What lies between fused ops has no form, and what they write lives from the first on. */
static void fuse_forms(MgvExec *exec, Forms form)
{
    for (int i = 0, end; i < exec->nb_ops; i = end + 1) {
        const int last = exec->fused[i].last;

        end = exec->fused[i].end;
        for (int k = 0; k < NB_FORMS; k++) {
            for (int j = i; j < last; j++)
                form[k][exec->ops[j].op->out].size = 0;
            for (int j = last; j <= end; j++)
                form[k][exec->ops[j].op->out].first = i;
        }
    }
}

/* From the first on, as a sum may be added to in its turn. */
static void place_sums(MgvExec *exec, Forms form)
{
    for (int i = 0; i < exec->nb_ops; i++)
        if (exec->fused[i].last >= 0 && exec->fused[i].place >= 0)
            form[F32][exec->ops[exec->fused[i].last].op->out] = form[F32][exec->fused[i].place];
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
        if (way == FUSED) {
            fuse_forms(exec, form);
            fuse_places(exec, form);
        }
        ret = mgv_layout(form[OWN], n, &exec->own_size);
        if (ret >= 0)
            ret = mgv_layout(form[F32], (NB_FORMS - F32) * n, &exec->shared_size[way]);
        if (way == FUSED)
            place_sums(exec, form);
    }
    /* inputs and outputs lie at one place, however the plan runs */
    if (ret >= 0)
        memcpy(exec->form[SINGLE][OWN], exec->form[FUSED][OWN], n * sizeof(*p->tensors));
    for (int i = 0; i < exec->nb_ops && ret >= 0; i++)
        tell_forms(&exec->ops[i], exec->form[SINGLE]);
    return ret < 0 ? mgv_exec_no_memory(exec->dev, p, nb * sizeof(*p->tensors), "tensors") : 0;
}

int mgv_exec_fuse(MgvExec *exec)
{
    fuse_ops(exec);
    return choose_forms(exec);
}
