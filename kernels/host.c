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
 * Host executor: one worker thread a device, one arena a device, ops one after
 * another, each cut over an OpenMP team. The backends ref and cpu differ only
 * in their kernel tables.
 */

#include <stdio.h>
#include <string.h>

#include "kernels/host.h"
#if CONFIG_OPENMP
#include <omp.h>
#endif
#if CONFIG_ONEDNN
#include "kernels/dnnl.h"
#endif

#define MAX_THREADS 256

/** Forms of a tensor in memory. Inputs and outputs are the plan's own, the rest is the device's while a plan runs. */
enum { OWN, F32, BF16, NB_FORMS };
/** Ways to run: op by op, which a tap needs, or fused ops in one. */
enum { SINGLE, FUSED, NB_WAYS };

typedef MgvTensorInfo *Forms[NB_FORMS]; ///< of the plan's tensors, one allocation; size 0: not in this form

struct MgvExec {
    MgvDevice *dev;
    const MgvPlan *plan;
    MgvKernelOp *ops;        ///< one for each of the plan's, nb_ops of them set up
    int nb_ops;
    int *last;               ///< of each op: the last of those that are fused with it, itself if none are
    Forms form[NB_WAYS];
    uint8_t *own;
    size_t own_size;
    size_t shared_size[NB_WAYS], scratch_bytes; ///< of the device's arena: tensors, and behind them scratch
    size_t grown;            ///< by how much the device's arena had to grow
    int32_t *rows;           ///< positions that are computed, NULL: all
    int nb_rows;
    MgvTapFn *tap;
    void *tap_opaque;
};

/* These settings are the worker's own. The size that a team really has may be less than asked. */
static int set_up_teams(void *arg)
{
#if CONFIG_OPENMP
    MgvDevice *dev = arg;
    int threads = 1;

    omp_set_dynamic(0);
    omp_set_num_threads(dev->threads);
#pragma omp parallel
    {
#pragma omp master
        threads = omp_get_num_threads();
    }
    omp_set_num_threads(threads);
    dev->threads = threads;
#endif
    return 0;
}

static int default_threads(void)
{
#if CONFIG_OPENMP
    return omp_get_num_procs();
#else
    return 1;
#endif
}

int mgv_host_open(MgvDevice **out, const MgvDeviceSettings *s, const MagvitLogger *log)
{
    MgvDevice *dev = mgv_calloc(1, sizeof(*dev));
    int ret;

    *out = NULL;
    if (!dev) {
        mgv_err(log, "device: out of memory");
        return MAGVIT_ERR(ENOMEM);
    }
    dev->log     = log;
    dev->precision = s->precision;
    dev->threads = MGV_CLAMP(s->threads > 0 ? s->threads : default_threads(), 1, MAX_THREADS);
    if (!CONFIG_OPENMP)
        dev->threads = 1;
    mgv_ref_kernels(dev->kernels);
    RET(mgv_worker_start(dev));
    RET(mgv_host_call(dev, set_up_teams, dev));
    snprintf(dev->description, sizeof(dev->description), "plain C, %d thread%s", dev->threads, dev->threads > 1 ? "s" : "");
    *out = dev;
    return 0;
fail:
    mgv_host_close(&dev);
    return ret;
}

void mgv_host_close(MgvDevice **dev)
{
    if (!*dev)
        return;
    mgv_worker_stop(*dev);
    mgv_freep(&(*dev)->arena);
    mgv_freep(dev);
}

const char *mgv_host_describe(const MgvDevice *dev)
{
    return dev->description;
}

float *mgv_host_weight(MgvKernelOp *o, int i)
{
    const MgvTensor *t = o->op->weight[i];
    float *w = t ? mgv_calloc((size_t)t->elements, sizeof(*w)) : NULL;

    if (w)
        mgv_tensor_to_f32(t, 0, t->elements, w);
    return w;
}

static int is_row(MgvShape s)
{
    return s.n == 1 && s.t == 1 && s.h == 1;
}

static void set_shapes(MgvKernelOp *o, const MgvExec *exec)
{
    const MgvTensorInfo *tensors = exec->plan->tensors;

    o->rows = exec->rows;
    o->out  = tensors[o->op->out].shape;
    if (o->rows)
        o->out.w = exec->nb_rows;
    for (int i = 0; i < MGV_MAX_IN; i++) {
        if (o->op->in[i] < 0)
            continue;
        o->in[i] = tensors[o->op->in[i]].shape;
        if (o->rows && (o->op->type != MGV_OP_ATTENTION || i == 0))
            o->in[i].w = exec->nb_rows;
    }
}

static void set_up_op(MgvExec *exec, MgvKernelOp *o, const MgvOp *op)
{
    o->kernel = &exec->dev->kernels[op->type];
    o->plan   = exec->plan;
    o->op     = op;
    o->dev    = exec->dev;
    o->log    = exec->dev->log;
    set_shapes(o, exec);
}

static int no_memory(const MgvDevice *dev, const MgvPlan *plan, size_t bytes, const char *what)
{
    mgv_err(dev->log, "%s: out of memory: %zu bytes for %s", plan->name, bytes, what);
    return MAGVIT_ERR(ENOMEM);
}

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
            return no_memory(exec->dev, p, nb * sizeof(*p->tensors), "tensors");
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
    return ret < 0 ? no_memory(exec->dev, p, nb * sizeof(*p->tensors), "tensors") : 0;
}

/* On the worker thread: oneDNN objects belong to it. */
static int prepare_ops(void *arg)
{
    MgvExec *exec = arg;
    int i, ret;

    for (i = 0; i < exec->plan->nb_ops; i++) {
        MgvKernelOp *o = &exec->ops[i];

        set_up_op(exec, o, &exec->plan->ops[i]);
        exec->nb_ops++;
        RET(o->kernel->declare ? o->kernel->declare(o) : 0);
    }
    fuse_ops(exec);
    RET(choose_forms(exec));
    for (i = 0; i < exec->nb_ops; i++) {
        MgvKernelOp *o = &exec->ops[i];

        RET(o->kernel->prepare ? o->kernel->prepare(o) : 0);
        exec->scratch_bytes = MGV_MAX(exec->scratch_bytes, o->scratch_bytes);
    }
    return 0;
fail:
    return ret;
}

/* Bytes of a row of keys or values in the form that the kernel reads. */
static size_t kept_row(const MgvKernelOp *o, int k)
{
    return o->in[k].c * (o->in_bf16 >> k & 1 ? sizeof(uint16_t) : sizeof(float));
}

/* All rows are computed again. */
static int forget(void *arg)
{
    MgvExec *exec = arg;

    mgv_freep(&exec->rows);
    for (int i = 0; i < exec->nb_ops; i++) {
        for (int k = 1; k < MGV_MAX_IN; k++)
            mgv_freep(&exec->ops[i].kept[k]);
        set_shapes(&exec->ops[i], exec);
    }
    return 0;
}

static int unprepare_ops(void *arg)
{
    MgvExec *exec = arg;
    int i;

    for (i = 0; i < exec->nb_ops; i++)
        if (exec->ops[i].kernel->unprepare)
            exec->ops[i].kernel->unprepare(&exec->ops[i]);
    return 0;
}

/* On the worker thread, so that no plan runs meanwhile. */
static int grow_arena(void *arg)
{
    MgvExec *exec = arg;
    MgvDevice *dev = exec->dev;
    const size_t size = exec->shared_size[exec->tap ? SINGLE : FUSED] + exec->scratch_bytes;
    uint8_t *arena;

    if (dev->arena && size <= dev->arena_size)
        return 0;
    arena = mgv_alloc(size);
    if (!arena)
        return no_memory(dev, exec->plan, size, "activations");
    mgv_freep(&dev->arena);
    exec->grown = size - dev->arena_size;
    dev->arena = arena;
    dev->arena_size = size;
    return 0;
}

static int alloc_memory(MgvExec *exec)
{
    exec->own = mgv_calloc(exec->own_size, 1);
    if (!exec->own)
        return no_memory(exec->dev, exec->plan, exec->own_size, "inputs and outputs");
    return mgv_host_call(exec->dev, grow_arena, exec);
}

int mgv_host_compile(MgvExec **out, MgvDevice *dev, const MgvPlan *plan)
{
    MgvExec *exec = mgv_calloc(1, sizeof(*exec));
    int ret;

    mgv_assert(plan->finished);
    *out = NULL;
    if (!exec)
        return no_memory(dev, plan, sizeof(*exec), "a compiled plan");
    exec->dev  = dev;
    exec->plan = plan;
    exec->ops  = mgv_calloc((size_t)plan->nb_ops, sizeof(*exec->ops));
    exec->last = mgv_calloc((size_t)plan->nb_ops, sizeof(*exec->last));
    if (!exec->ops || !exec->last)
        RET(no_memory(dev, plan, plan->nb_ops * sizeof(*exec->ops), "ops"));
    RET(mgv_host_call(dev, prepare_ops, exec));
    RET(alloc_memory(exec));
    *out = exec;
    return 0;
fail:
    mgv_host_free(&exec);
    return ret;
}

void mgv_host_free(MgvExec **exec)
{
    if (!*exec)
        return;
    mgv_host_call((*exec)->dev, forget, *exec);
    mgv_host_call((*exec)->dev, unprepare_ops, *exec);
    mgv_freep(&(*exec)->ops);
    mgv_freep(&(*exec)->last);
    for (int way = 0; way < NB_WAYS; way++)
        mgv_freep(&(*exec)->form[way][OWN]);
    mgv_freep(&(*exec)->own);
    mgv_freep(&(*exec)->rows);
    mgv_freep(exec);
}

/* Bytes of the rows of a tensor that are computed. */
static size_t size_of(const MgvExec *exec, MgvT tensor)
{
    const MgvTensorInfo *t = &exec->plan->tensors[tensor];

    return exec->rows ? t->size / t->shape.w * exec->nb_rows : t->size;
}

/* Where an input or output lies, NULL with one line if it is none, or of another size. */
static uint8_t *find_data(const MgvExec *exec, MgvT tensor, size_t size, const MgvT *list, int nb)
{
    const MgvPlan *p = exec->plan;
    int i;

    for (i = 0; i < nb; i++)
        if (list[i] == tensor && size_of(exec, tensor) == size)
            return exec->own + exec->form[SINGLE][OWN][tensor].offset;
    mgv_err(exec->dev->log, "%s: tensor %d of %zu bytes is not one of %d inputs or outputs", p->name, tensor, size, nb);
    return NULL;
}

int mgv_host_write(MgvExec *exec, MgvT tensor, const void *data, size_t size)
{
    uint8_t *dst = find_data(exec, tensor, size, exec->plan->inputs, exec->plan->nb_inputs);

    if (!dst)
        return MAGVIT_ERR(EINVAL);
    memcpy(dst, data, size);
    return 0;
}

int mgv_host_read(MgvExec *exec, MgvT tensor, void *data, size_t size)
{
    const uint8_t *src = find_data(exec, tensor, size, exec->plan->outputs, exec->plan->nb_outputs);

    if (!src)
        return MAGVIT_ERR(EINVAL);
    memcpy(data, src, size);
    return 0;
}

static int run_op(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out)
{
    int ret = 0;

    if (o->kernel->threads_itself)
        return o->kernel->run(o, in, out, 0, 1);
#if CONFIG_OPENMP
#pragma omp parallel num_threads(o->dev->threads) reduction(min : ret)
    ret = o->kernel->run(o, in, out, omp_get_thread_num(), omp_get_num_threads());
#else
    ret = o->kernel->run(o, in, out, 0, 1);
#endif
    return ret;
}

/* Where a tensor lies in a form, NULL if it has not got that one. */
static void *locate(const MgvExec *exec, int way, MgvT x, int form)
{
    const MgvTensorInfo *t = x < 0 ? NULL : &exec->form[way][form][x];

    return !t || !t->size ? NULL : (form == OWN ? exec->own : exec->dev->arena) + t->offset;
}

static void *locate_f32(const MgvExec *exec, int way, MgvT x)
{
    void *own = locate(exec, way, x, OWN);

    return own ? own : locate(exec, way, x, F32);
}

static int call_tap(const MgvExec *exec, int op, const void *out)
{
    const MgvKernelOp *o = &exec->ops[op];
    const size_t n = mgv_shape_elements(o->out);
    float *wide;
    int ret;

    if (out)
        return exec->tap(exec->tap_opaque, exec->plan, op, out);
    wide = mgv_calloc(n, sizeof(*wide));
    if (!wide)
        return no_memory(exec->dev, exec->plan, n * sizeof(*wide), "a tapped tensor");
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)o->out16[i] << 16;

        memcpy(&wide[i], &bits, sizeof(bits));
    }
    ret = exec->tap(exec->tap_opaque, exec->plan, op, wide);
    mgv_freep(&wide);
    return ret;
}

/* New rows of keys or values go into what is kept. @return all of them */
static void *keep(const MgvKernelOp *o, int k, const void *new)
{
    const size_t bytes = kept_row(o, k);

    for (int i = 0; new && i < o->in[0].w; i++)
        memcpy((uint8_t *)o->kept[k] + o->rows[i] * bytes, (const uint8_t *)new + i * bytes, bytes);
    return new ? o->kept[k] : NULL;
}

/* Tell op i where everything lies, and run it up to op last. */
static int run_ops(const MgvExec *exec, int way, int i, int last)
{
    MgvKernelOp *o = &exec->ops[i];
    const MgvT *added = exec->plan->ops[last > i ? i + 1 : i].in, out = exec->plan->ops[last].out;
    const void *in[MGV_MAX_IN];

    for (int j = 0; j < MGV_MAX_IN; j++) {
        in[j] = locate_f32(exec, way, o->op->in[j]);
        o->in16[j] = locate(exec, way, o->op->in[j], BF16);
    }
    for (int k = 1; o->kept[1] && k < MGV_MAX_IN; k++) {
        const void *all = keep(o, k, o->in16[k] ? (const void *)o->in16[k] : in[k]);

        in[k]      = o->in16[k] ? NULL : all;
        o->in16[k] = o->in16[k] ? all : NULL;
    }
    o->residual = last > i ? locate_f32(exec, way, added[added[0] == o->op->out]) : NULL;
    o->norm     = last > i + 1 ? &exec->ops[i + 2] : NULL;
    o->out16    = locate(exec, way, out, BF16);
    o->scratch  = exec->dev->arena + exec->shared_size[way];
    return run_op(o, in, locate_f32(exec, way, out));
}

static int run_plan(void *arg)
{
    MgvExec *exec = arg;
    const int way = exec->tap ? SINGLE : FUSED;
    int i, ret;

    RET(grow_arena(exec)); // for a tap
    for (i = 0; i < exec->nb_ops; i++) {
        const int first = i;

        if (way == FUSED)
            i = exec->last[i];
        RET(run_ops(exec, way, first, i));
        if (exec->tap)
            RET(call_tap(exec, i, locate_f32(exec, way, exec->ops[i].op->out)));
    }
    return 0;
fail:
    return ret;
}

int mgv_host_run(MgvExec *exec)
{
    return mgv_host_call(exec->dev, run_plan, exec);
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
        return no_memory(exec->dev, p, w * sizeof(*exec->rows), "positions");
    for (int i = 0; i < exec->nb_ops; i++) {
        MgvKernelOp *o = &exec->ops[i];

        for (int k = 1; o->op->type == MGV_OP_ATTENTION && k < MGV_MAX_IN; k++) {
            o->kept[k] = mgv_calloc(w, kept_row(o, k));
            if (!o->kept[k])
                return no_memory(exec->dev, p, w * kept_row(o, k), "keys and values");
        }
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
        return forget(exec);
    for (int x = 0; x < exec->plan->nb_tensors; x++)
        if (!is_row(exec->plan->tensors[x].shape)) {
            mgv_err(exec->dev->log, "%s: rows can only be selected of one sequence", exec->plan->name);
            return MAGVIT_ERR(ENOTSUP);
        }
    if (!exec->rows && (ret = keep_all(exec)) < 0) {
        forget(exec);
        return ret;
    }
    exec->nb_rows = s->n;
    memcpy(exec->rows, s->rows, s->n * sizeof(*exec->rows));
    for (int i = 0; i < exec->nb_ops; i++)
        set_shapes(&exec->ops[i], exec);
    return 0;
}

int mgv_host_select(MgvExec *exec, const int32_t *rows, int n)
{
    return mgv_host_call(exec->dev, select_rows, &(Selection){ exec, rows, n });
}

void mgv_host_tap(MgvExec *exec, MgvTapFn *fn, void *opaque)
{
    exec->tap        = fn;
    exec->tap_opaque = opaque;
}

typedef struct Share {
    const MgvDevice *dev;
    int nb_parts;
    MgvPartFn *fn;
    void *opaque;
} Share;

static int share_parts(void *arg)
{
    const Share *s = arg;

#if CONFIG_OPENMP
#pragma omp parallel for num_threads(s->dev->threads) schedule(dynamic)
#endif
    for (int part = 0; part < s->nb_parts; part++)
        s->fn(s->opaque, part);
    return 0;
}

void mgv_host_share(MgvDevice *dev, int nb_parts, MgvPartFn *fn, void *opaque)
{
    mgv_host_call(dev, share_parts, &(Share){ dev, nb_parts, fn, opaque });
}

void mgv_host_memory(const MgvExec *exec, size_t *weights, size_t *work)
{
    int i;

    *weights = 0;
    *work    = exec->own_size + exec->grown;
    for (i = 0; i < exec->nb_ops; i++)
        *weights += exec->ops[i].weight_bytes;
}

static int ref_open(MgvDevice **out, const MgvDeviceSettings *s, const MagvitLogger *log)
{
    if (s->precision > MAGVIT_PRECISION_F32) {
        mgv_err(log, "precision is %s, must be auto or f32 for the ref backend", mgv_precision_name(s->precision));
        return MAGVIT_ERR(ENOTSUP);
    }
    return mgv_host_open(out, s, log);
}

const MgvBackend mgv_backend_ref = {
    .name     = "ref",
    .type     = MAGVIT_BACKEND_REF,
    .open     = ref_open,
    .close    = mgv_host_close,
    .describe = mgv_host_describe,
    .compile  = mgv_host_compile,
    .free     = mgv_host_free,
    .write    = mgv_host_write,
    .run      = mgv_host_run,
    .read     = mgv_host_read,
    .tap      = mgv_host_tap,
    .select   = mgv_host_select,
    .share    = mgv_host_share,
    .memory   = mgv_host_memory,
};

#if CONFIG_ONEDNN
static int dnnl_open(void *arg)
{
    return mgv_dnnl_open(arg);
}

static int dnnl_close(void *arg)
{
    mgv_dnnl_close(arg);
    return 0;
}

static void cpu_close(MgvDevice **dev)
{
    if (*dev)
        mgv_host_call(*dev, dnnl_close, *dev);
    mgv_host_close(dev);
}

static int cpu_open(MgvDevice **out, const MgvDeviceSettings *s, const MagvitLogger *log)
{
    int ret = mgv_host_open(out, s, log);

    if (ret < 0)
        return ret;
    mgv_dnnl_kernels((*out)->kernels);
    ret = mgv_host_call(*out, dnnl_open, *out);
    if (ret < 0)
        cpu_close(out);
    return ret;
}

const MgvBackend mgv_backend_cpu = {
    .name     = "cpu",
    .type     = MAGVIT_BACKEND_CPU,
    .open     = cpu_open,
    .close    = cpu_close,
    .describe = mgv_host_describe,
    .compile  = mgv_host_compile,
    .free     = mgv_host_free,
    .write    = mgv_host_write,
    .run      = mgv_host_run,
    .read     = mgv_host_read,
    .tap      = mgv_host_tap,
    .select   = mgv_host_select,
    .share    = mgv_host_share,
    .memory   = mgv_host_memory,
};
#endif

const MgvBackend *const mgv_backends[] = {
#if CONFIG_VULKAN
    &mgv_backend_vulkan,
#endif
#if CONFIG_ONEDNN
    &mgv_backend_cpu,
#endif
    &mgv_backend_ref,
    NULL
};
