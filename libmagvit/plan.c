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
 * Recording of op plans: shape and weight checks, liveness, arena layout.
 * Ops run in the order they were recorded; a tensor never shares bytes with
 * another that is live at the same op, so no kernel works in place.
 */

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmagvit/plan.h"

#define ELEMENT_BYTES 4 /* of both dtypes */
#define NAME_SIZE 256

const char *mgv_op_name(enum MgvOpType type)
{
    static const char *const names[] = {
#define X(upper, lower) #lower,
        MGV_OPS(X)
#undef X
    };

    return names[type];
}

size_t mgv_shape_elements(MgvShape s)
{
    return (size_t)s.n * s.t * s.h * s.w * s.c;
}

static int plan_error(MgvPlan *p, int err, const char *name, const char *fmt, ...) MGV_PRINTF(4, 5);

/* The first error stays and is the only one logged. */
static int plan_error(MgvPlan *p, int err, const char *name, const char *fmt, ...)
{
    char what[512];
    va_list ap;

    if (p->error)
        return p->error;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    mgv_err(p->log, "%s: %s: %s", p->name, name, what);
    return p->error = err;
}

static int no_memory(MgvPlan *p, const char *name)
{
    return plan_error(p, MAGVIT_ERR(ENOMEM), name, "out of memory");
}

/* Make room for one more element. Capacities are powers of two, so they need not be stored. */
static int grow(void *array_ptr, int nb, size_t size)
{
    void *old, *array;

    if (nb & (nb - 1))
        return 0;
    memcpy(&old, array_ptr, sizeof(old));
    array = mgv_calloc(nb ? 2 * (size_t)nb : 1, size);
    if (!array)
        return MAGVIT_ERR(ENOMEM);
    if (nb)
        memcpy(array, old, nb * size);
    mgv_freep(&old);
    memcpy(array_ptr, &array, sizeof(array));
    return 0;
}

/* "[1,16,128,128,3]" */
static const char *shape_text(char buf[64], MgvShape s)
{
    snprintf(buf, 64, "[%d,%d,%d,%d,%d]", s.n, s.t, s.h, s.w, s.c);
    return buf;
}

/* Bytes of a shape, 0 if a length is not positive or the product is too large to index. */
static size_t shape_bytes(MgvShape s)
{
    const int dims[] = { s.n, s.t, s.h, s.w, s.c };
    int64_t bytes = ELEMENT_BYTES;
    size_t i;

    for (i = 0; i < MGV_ARRAY_LEN(dims); i++)
        if (dims[i] < 1 || __builtin_mul_overflow(bytes, (int64_t)dims[i], &bytes))
            return 0;
    return (uint64_t)bytes > SIZE_MAX / 4 ? 0 : (size_t)bytes;
}

static MgvT add_tensor(MgvPlan *p, const char *name, MgvShape shape, enum MgvDType dtype, int first)
{
    size_t size = shape_bytes(shape);
    MgvTensorInfo *t;
    char text[64];

    if (!size)
        return plan_error(p, MAGVIT_ERR(EINVAL), name, "impossible shape %s", shape_text(text, shape));
    if (grow(&p->tensors, p->nb_tensors, sizeof(*p->tensors)) < 0)
        return no_memory(p, name);
    t = &p->tensors[p->nb_tensors];
    *t = (MgvTensorInfo){ shape, dtype, mgv_strdup(name), first, first, 0, size };
    if (!t->name)
        return no_memory(p, name);
    return p->nb_tensors++;
}

static MgvShape shape_of(const MgvPlan *p, MgvT x)
{
    return p->tensors[x].shape;
}

/* Append an op without output. NULL once the plan has failed. The pointer is valid until the next op. */
static MgvOp *begin(MgvPlan *p, enum MgvOpType type, const char *name, const MgvT *in, int nb_in)
{
    enum MgvDType want = type == MGV_OP_EMBED ? MGV_I32 : MGV_F32;
    MgvOp *op;
    int i;

    if (p->error)
        return NULL;
    mgv_assert(!p->finished);
    if (grow(&p->ops, p->nb_ops, sizeof(*p->ops)) < 0) {
        no_memory(p, name);
        return NULL;
    }
    for (i = 0; i < nb_in; i++) {
        if (in[i] < 0 || in[i] >= p->nb_tensors || p->tensors[in[i]].dtype != want) {
            plan_error(p, MAGVIT_ERR(EINVAL), name, "input %d is not a tensor of the right type", i);
            return NULL;
        }
        p->tensors[in[i]].last = p->nb_ops;
    }
    op = &p->ops[p->nb_ops];
    *op = (MgvOp){ .type = type, .name = mgv_strdup(name), .out = -1 };
    for (i = 0; i < MGV_MAX_IN; i++)
        op->in[i] = i < nb_in ? in[i] : -1;
    if (!op->name) {
        no_memory(p, name);
        return NULL;
    }
    p->nb_ops++;
    return op;
}

/* A list and its length, as two arguments. */
#define IN(...)   (const MgvT[]){ __VA_ARGS__ }, (int)MGV_ARRAY_LEN(((const MgvT[]){ __VA_ARGS__ }))
#define DIMS(...) (const int64_t[]){ __VA_ARGS__ }, (int)MGV_ARRAY_LEN(((const int64_t[]){ __VA_ARGS__ }))

/* Give the op its output. */
static MgvT end(MgvPlan *p, MgvOp *op, MgvShape shape, enum MgvDType dtype)
{
    if (p->error)
        return p->error;
    op->out = add_tensor(p, op->name, shape, dtype, p->nb_ops - 1);
    return op->out;
}

static MgvT invalid(MgvPlan *p, const MgvOp *op, const char *what, MgvShape s)
{
    char text[64];

    return plan_error(p, MAGVIT_ERR(EINVAL), op->name, "%s, got shape %s", what, shape_text(text, s));
}

static void dims_text(char *buf, size_t size, const int64_t *dims, int n)
{
    size_t pos = 0;
    int i;

    buf[0] = 0;
    for (i = 0; i < n && pos < size; i++)
        pos += (size_t)snprintf(buf + pos, size - pos, "%s%"PRId64, i ? "," : "", dims[i]);
}

static int dims_fit(const MgvTensor *t, const int64_t *dims, int nb_dims, int more_rows)
{
    int i = 0;

    if (t->nb_dims != nb_dims)
        return 0;
    if (more_rows)
        i = t->dims[0] >= dims[0] && t->dims[0] <= INT_MAX ? 1 : nb_dims + 1;
    while (i < nb_dims && t->dims[i] == dims[i])
        i++;
    return i == nb_dims;
}

/* Find and check a weight tensor. more_rows: its first dimension may be larger than asked. */
static void weight_named(MgvPlan *p, MgvOp *op, int slot, const char *name, const int64_t *dims, int nb_dims, int more_rows)
{
    const MgvTensor *t = p->weights ? mgv_safetensors_find(p->weights, name) : NULL;
    char got[100], want[100];

    if (p->error)
        return;
    if (!t) {
        plan_error(p, MAGVIT_ERROR_MODEL, op->name, "the model has no tensor %s", name);
        return;
    }
    if (t->type != MGV_ST_F32 && t->type != MGV_ST_F16 && t->type != MGV_ST_BF16) {
        plan_error(p, MAGVIT_ERROR_MODEL, op->name, "tensor %s is not F32, F16 or BF16", name);
        return;
    }
    if (!dims_fit(t, dims, nb_dims, more_rows)) {
        dims_text(got, sizeof(got), t->dims, t->nb_dims);
        dims_text(want, sizeof(want), dims, nb_dims);
        plan_error(p, MAGVIT_ERROR_MODEL, op->name, "tensor %s has shape [%s], expected [%s]%s",
                   name, got, want, more_rows ? " or more rows" : "");
        return;
    }
    op->weight[slot] = t;
}

static void weight(MgvPlan *p, MgvOp *op, int slot, const char *suffix, const int64_t *dims, int nb_dims, int more_rows)
{
    char name[NAME_SIZE];

    if (snprintf(name, sizeof(name), "%s.%s", op->name, suffix) >= (int)sizeof(name))
        plan_error(p, MAGVIT_ERR(EINVAL), op->name, "name is too long");
    weight_named(p, op, slot, name, dims, nb_dims, more_rows);
}

MgvT mgv_conv3d(MgvPlan *p, const char *name, MgvT x, int cout, int k, enum MgvPad pad, int bias, enum MgvAct act)
{
    MgvOp *op = begin(p, MGV_OP_CONV3D, name, IN(x));
    MgvShape s;

    if (!op)
        return p->error;
    s = shape_of(p, x);
    if (cout < 1 || (k != 1 && k != 3))
        return invalid(p, op, "kernel 1 or 3 and a positive width needed", s);
    weight(p, op, 0, "weight", DIMS(cout, s.c, k, k, k), 0);
    if (bias)
        weight(p, op, 1, "bias", DIMS(cout), 0);
    op->u.conv.k   = k;
    op->u.conv.pad = pad;
    op->act  = act;
    op->macs = (double)mgv_shape_elements(s) * cout * k * k * k;
    s.c = cout;
    return end(p, op, s, MGV_F32);
}

static MgvT norm(MgvPlan *p, enum MgvOpType type, const char *name, MgvT x, int groups, float eps, enum MgvAct act)
{
    MgvOp *op = begin(p, type, name, IN(x));
    MgvShape s;

    if (!op)
        return p->error;
    s = shape_of(p, x);
    if (groups < 1 || s.c % groups)
        return invalid(p, op, "groups must divide the channels", s);
    weight(p, op, 0, "weight", DIMS(s.c), 0);
    weight(p, op, 1, "bias", DIMS(s.c), 0);
    op->u.norm.groups = groups;
    op->u.norm.eps    = eps;
    op->act = act;
    return end(p, op, s, MGV_F32);
}

MgvT mgv_group_norm(MgvPlan *p, const char *name, MgvT x, int groups, float eps, enum MgvAct act)
{
    return norm(p, MGV_OP_GROUP_NORM, name, x, groups, eps, act);
}

MgvT mgv_layer_norm(MgvPlan *p, const char *name, MgvT x, float eps)
{
    return norm(p, MGV_OP_LAYER_NORM, name, x, 1, eps, MGV_ACT_NONE);
}

static MgvT end_linear(MgvPlan *p, MgvOp *op, MgvShape s, int cout)
{
    op->macs = (double)mgv_shape_elements(s) * cout;
    s.c = cout;
    return end(p, op, s, MGV_F32);
}

MgvT mgv_linear(MgvPlan *p, const char *name, MgvT x, int cout, enum MgvAct act)
{
    MgvOp *op = begin(p, MGV_OP_LINEAR, name, IN(x));
    MgvShape s;

    if (!op)
        return p->error;
    s = shape_of(p, x);
    if (cout < 1)
        return invalid(p, op, "a positive width needed", s);
    weight(p, op, 0, "weight", DIMS(cout, s.c), 0);
    weight(p, op, 1, "bias", DIMS(cout), 0);
    op->act = act;
    return end_linear(p, op, s, cout);
}

MgvT mgv_linear_tied(MgvPlan *p, const char *name, MgvT x, const char *weight_name, const char *bias, int cout)
{
    MgvOp *op = begin(p, MGV_OP_LINEAR, name, IN(x));
    MgvShape s;

    if (!op)
        return p->error;
    s = shape_of(p, x);
    if (cout < 1)
        return invalid(p, op, "a positive width needed", s);
    weight_named(p, op, 0, weight_name, DIMS(cout, s.c), 1);
    weight_named(p, op, 1, bias, DIMS(cout), 1);
    return end_linear(p, op, s, cout);
}

MgvT mgv_keep16(MgvPlan *p, MgvT x)
{
    if (!p->error) {
        MgvOp *op = &p->ops[p->nb_ops - 1];

        mgv_assert(op->type == MGV_OP_LINEAR && op->out == x);
        op->keep16 = 1;
    }
    return x;
}

static int same_shape(MgvShape a, MgvShape b)
{
    return a.n == b.n && a.t == b.t && a.h == b.h && a.w == b.w && a.c == b.c;
}

MgvT mgv_attention(MgvPlan *p, const char *name, MgvT q, MgvT k, MgvT v, int heads)
{
    MgvOp *op = begin(p, MGV_OP_ATTENTION, name, IN(q, k, v));
    MgvShape s;

    if (!op)
        return p->error;
    s = shape_of(p, q);
    if (s.t != 1 || s.h != 1 || !same_shape(s, shape_of(p, k)) || !same_shape(s, shape_of(p, v)))
        return invalid(p, op, "three sequences of one shape needed", s);
    if (heads < 1 || s.c % heads)
        return invalid(p, op, "heads must divide the channels", s);
    op->u.attention.heads = heads;
    op->macs = 2.0 * mgv_shape_elements(s) * s.w;
    return end(p, op, s, MGV_F32);
}

MgvT mgv_add(MgvPlan *p, const char *name, MgvT a, MgvT b)
{
    MgvOp *op = begin(p, MGV_OP_ADD, name, IN(a, b));

    if (!op)
        return p->error;
    if (!same_shape(shape_of(p, a), shape_of(p, b)))
        return invalid(p, op, "two inputs of one shape needed", shape_of(p, b));
    return end(p, op, shape_of(p, a), MGV_F32);
}

MgvT mgv_add_rows(MgvPlan *p, const char *name, MgvT a)
{
    MgvOp *op = begin(p, MGV_OP_ADD, name, IN(a));
    MgvShape s;

    if (!op)
        return p->error;
    s = shape_of(p, a);
    if (s.t != 1 || s.h != 1)
        return invalid(p, op, "a sequence needed", s);
    weight(p, op, 0, "weight", DIMS(s.w, s.c), 1);
    return end(p, op, s, MGV_F32);
}

MgvT mgv_act(MgvPlan *p, const char *name, MgvT x, enum MgvAct act)
{
    MgvOp *op = begin(p, MGV_OP_ACT, name, IN(x));

    if (!op)
        return p->error;
    op->act = act;
    return end(p, op, shape_of(p, x), MGV_F32);
}

static MgvOp *begin_resample(MgvPlan *p, enum MgvOpType type, const char *name, MgvT x, int ft, int fh, int fw)
{
    MgvOp *op = begin(p, type, name, IN(x));

    if (!op)
        return NULL;
    if (ft < 1 || ft > 2 || fh < 1 || fh > 2 || fw < 1 || fw > 2) {
        plan_error(p, MAGVIT_ERR(EINVAL), name, "factors 1 or 2 needed, got %d,%d,%d", ft, fh, fw);
        return NULL;
    }
    op->u.resample.ft = ft;
    op->u.resample.fh = fh;
    op->u.resample.fw = fw;
    return op;
}

MgvT mgv_pool(MgvPlan *p, const char *name, MgvT x, int ft, int fh, int fw)
{
    MgvOp *op = begin_resample(p, MGV_OP_POOL, name, x, ft, fh, fw);
    MgvShape s;

    if (!op)
        return p->error;
    s = shape_of(p, x);
    s.t = s.t / ft + (s.t % ft != 0);
    s.h = s.h / fh + (s.h % fh != 0);
    s.w = s.w / fw + (s.w % fw != 0);
    return end(p, op, s, MGV_F32);
}

MgvT mgv_upsample(MgvPlan *p, const char *name, MgvT x, int ft, int fh, int fw)
{
    MgvOp *op = begin_resample(p, MGV_OP_UPSAMPLE, name, x, ft, fh, fw);
    MgvShape s;

    if (!op)
        return p->error;
    s = shape_of(p, x);
    if (s.t > INT_MAX / ft || s.h > INT_MAX / fh || s.w > INT_MAX / fw)
        return invalid(p, op, "too large to upsample", s);
    s.t *= ft;
    s.h *= fh;
    s.w *= fw;
    return end(p, op, s, MGV_F32);
}

/* A table of at least one row whose width the file decides; 0 if there is none. */
static int table_width(MgvPlan *p, const MgvOp *op, const char *table)
{
    char name[NAME_SIZE];
    const MgvTensor *t;

    snprintf(name, sizeof(name), "%s.weight", table);
    t = p->weights ? mgv_safetensors_find(p->weights, name) : NULL;
    if (!t)
        plan_error(p, MAGVIT_ERROR_MODEL, op->name, "the model has no tensor %s", name);
    else if (t->nb_dims != 2 || t->dims[1] < 1 || t->dims[1] > INT_MAX)
        plan_error(p, MAGVIT_ERROR_MODEL, op->name, "tensor %s is not a table of rows", name);
    return p->error ? 0 : (int)t->dims[1];
}

MgvT mgv_embed(MgvPlan *p, const char *name, MgvT ids)
{
    MgvOp *op = begin(p, MGV_OP_EMBED, name, IN(ids));
    MgvShape s;

    if (!op)
        return p->error;
    s = shape_of(p, ids);
    if (s.c != 1)
        return invalid(p, op, "one id a cell needed", s);
    s.c = table_width(p, op, name);
    weight(p, op, 0, "weight", DIMS(1, s.c), 1);
    return end(p, op, s, MGV_F32);
}

MgvT mgv_vq_argmin(MgvPlan *p, const char *name, MgvT x, const char *codebook, int normalize)
{
    MgvOp *op = begin(p, MGV_OP_VQ_ARGMIN, name, IN(x));
    char table[NAME_SIZE];
    MgvShape s;

    if (!op)
        return p->error;
    s = shape_of(p, x);
    snprintf(table, sizeof(table), "%s.weight", codebook);
    weight_named(p, op, 0, table, DIMS(1, s.c), 1);
    if (!p->error)
        op->macs = (double)mgv_shape_elements(s) * op->weight[0]->dims[0];
    op->u.vq.normalize = normalize;
    s.c = 1;
    return end(p, op, s, MGV_I32);
}

void mgv_plan_check_table(MgvPlan *p, const char *name, int rows, int width)
{
    MgvOp probe = { .name = (char *)name };

    weight(p, &probe, 0, "weight", DIMS(rows, width), 0);
}

MgvT mgv_plan_input(MgvPlan *p, const char *name, MgvShape shape, enum MgvDType dtype)
{
    MgvT x;

    if (p->error)
        return p->error;
    if (grow(&p->inputs, p->nb_inputs, sizeof(*p->inputs)) < 0)
        return no_memory(p, name);
    x = add_tensor(p, name, shape, dtype, -1);
    if (x >= 0)
        p->inputs[p->nb_inputs++] = x;
    return x;
}

void mgv_plan_output(MgvPlan *p, const char *name, MgvT x)
{
    if (p->error)
        return;
    if (x < 0 || x >= p->nb_tensors) {
        plan_error(p, MAGVIT_ERR(EINVAL), name, "output is not a tensor");
        return;
    }
    if (grow(&p->outputs, p->nb_outputs, sizeof(*p->outputs)) < 0 ||
        grow(&p->output_names, p->nb_outputs, sizeof(*p->output_names)) < 0 ||
        !(p->output_names[p->nb_outputs] = mgv_strdup(name))) {
        no_memory(p, name);
        return;
    }
    p->outputs[p->nb_outputs++] = x;
}

static int compare_size(const void *a, const void *b)
{
    const MgvTensorInfo *x = *(MgvTensorInfo *const *)a, *y = *(MgvTensorInfo *const *)b;

    return x->size != y->size ? (x->size < y->size) - (x->size > y->size) : (x > y) - (x < y);
}

static int live_together(const MgvTensorInfo *a, const MgvTensorInfo *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* Put t into the lowest hole that no tensor live at the same time fills. placed is sorted by offset. */
static void place(MgvTensorInfo *t, MgvTensorInfo **placed, int nb)
{
    size_t offset = 0;
    int i;

    for (i = 0; i < nb; i++) {
        if (!live_together(t, placed[i]))
            continue;
        if (offset + t->size <= placed[i]->offset)
            break;
        offset = MGV_MAX(offset, MGV_ALIGN_UP(placed[i]->offset + placed[i]->size, MGV_ALIGNMENT));
    }
    t->offset = offset;
    for (i = nb; i > 0 && placed[i - 1]->offset > offset; i--)
        placed[i] = placed[i - 1];
    placed[i] = t;
}

/* Largest first: few large tensors decide the arena, small ones fit between. */
int mgv_layout(MgvTensorInfo *tensors, int nb_tensors, size_t *arena_size)
{
    MgvTensorInfo **order = mgv_calloc((size_t)nb_tensors, 2 * sizeof(*order));
    int i;

    *arena_size = 0;
    if (!order)
        return MAGVIT_ERR(ENOMEM);
    for (i = 0; i < nb_tensors; i++)
        order[i] = &tensors[i];
    qsort(order, (size_t)nb_tensors, sizeof(*order), compare_size);
    for (i = 0; i < nb_tensors && order[i]->size; i++) {
        place(order[i], order + nb_tensors, i);
        *arena_size = MGV_MAX(*arena_size, MGV_ALIGN_UP(order[i]->offset + order[i]->size, MGV_ALIGNMENT));
    }
    mgv_freep(&order);
    return 0;
}

int mgv_plan_finish(MgvPlan *p)
{
    int i, ret;

    if (!p->nb_outputs)
        plan_error(p, MAGVIT_ERR(EINVAL), "plan", "has no output");
    RET(p->error);
    for (i = 0; i < p->nb_outputs; i++)
        p->tensors[p->outputs[i]].last = p->nb_ops;
    if (mgv_layout(p->tensors, p->nb_tensors, &p->arena_size) < 0)
        RET(no_memory(p, "arena"));
    p->finished = 1;
fail:
    return ret;
}

int mgv_plan_alloc(MgvPlan **out, const char *name, const MgvSafetensors *weights, const MagvitLogger *log)
{
    MgvPlan *p = mgv_calloc(1, sizeof(*p));

    *out = NULL;
    if (!p || !(p->name = mgv_strdup(name))) {
        mgv_err(log, "%s: out of memory", name);
        mgv_freep(&p);
        return MAGVIT_ERR(ENOMEM);
    }
    p->weights = weights;
    p->log     = log;
    *out = p;
    return 0;
}

void mgv_plan_free(MgvPlan **plan)
{
    MgvPlan *p = *plan;
    int i;

    if (!p)
        return;
    for (i = 0; i < p->nb_ops; i++)
        mgv_freep(&p->ops[i].name);
    for (i = 0; i < p->nb_tensors; i++)
        mgv_freep(&p->tensors[i].name);
    for (i = 0; i < p->nb_outputs; i++)
        mgv_freep(&p->output_names[i]);
    mgv_freep(&p->ops);
    mgv_freep(&p->tensors);
    mgv_freep(&p->inputs);
    mgv_freep(&p->outputs);
    mgv_freep(&p->output_names);
    mgv_freep(&p->name);
    mgv_freep(plan);
}

static void print_op(const MgvPlan *p, const MgvOp *op, const MagvitLogger *log, enum MagvitLogLevel level)
{
    const MgvTensorInfo *out = &p->tensors[op->out];
    char from[64], to[64], macs[32] = "";

    if (op->macs > 0)
        snprintf(macs, sizeof(macs), "%.2f MMAC", op->macs * 1e-6);
    MGV_LOG(log, level, "%-44s %-10s %-22s -> %-22s %14s @%zu", op->name, mgv_op_name(op->type),
            shape_text(from, shape_of(p, op->in[0])), shape_text(to, out->shape), macs, out->offset);
}

void mgv_plan_print(const MgvPlan *p, const MagvitLogger *log, enum MagvitLogLevel level)
{
    int i;

    for (i = 0; i < p->nb_ops; i++)
        print_op(p, &p->ops[i], log, level);
    MGV_LOG(log, level, "%s: %d ops, %.2f MMAC, %.1f MiB of activations",
            p->name, p->nb_ops, mgv_plan_macs(p) * 1e-6, p->arena_size / 1048576.0);
}

MgvT mgv_plan_find_input(const MgvPlan *p, const char *name)
{
    int i;

    for (i = 0; i < p->nb_inputs; i++)
        if (!strcmp(p->tensors[p->inputs[i]].name, name))
            return p->inputs[i];
    return -1;
}

MgvT mgv_plan_find_output(const MgvPlan *p, const char *name)
{
    int i;

    for (i = 0; i < p->nb_outputs; i++)
        if (!strcmp(p->output_names[i], name))
            return p->outputs[i];
    return -1;
}

double mgv_plan_macs(const MgvPlan *p)
{
    double macs = 0;
    int i;

    for (i = 0; i < p->nb_ops; i++)
        macs += p->ops[i].macs;
    return macs;
}
