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
 * another, each shared by the device's threads. The backends ref and cpu differ
 * only in their kernel tables.
 */

#define _GNU_SOURCE // sched_getaffinity()

#if defined(__linux__)
#include <sched.h>
#endif
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/exec.h"
#if CONFIG_ONEDNN
#include "kernels/dnnl.h"
#endif

#define MAX_THREADS 256

/** That this process may use. */
static int nb_processors(void)
{
#if defined(__linux__)
    cpu_set_t set;

    if (!sched_getaffinity(0, sizeof(set), &set))
        return CPU_COUNT(&set);
#endif
    return MGV_MAX(1, (int)sysconf(_SC_NPROCESSORS_ONLN));
}

/* Looking while there is no processor for all keeps others from working. */
static int start_helpers(void *arg)
{
    MgvDevice *dev = arg;

    return mgv_helpers_start(dev, dev->threads <= nb_processors());
}

static int stop_helpers(void *arg)
{
    mgv_helpers_stop(arg);
    return 0;
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
    dev->threads = MGV_CLAMP(s->threads > 0 ? s->threads : nb_processors(), 1, MAX_THREADS);
    mgv_ref_kernels(dev->kernels);
    RET(mgv_worker_start(dev));
    RET(mgv_host_call(dev, start_helpers, dev));
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
    if ((*dev)->worker)
        mgv_host_call(*dev, stop_helpers, *dev);
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

static void set_up_op(MgvExec *exec, MgvKernelOp *o, const MgvOp *op)
{
    o->kernel = &exec->dev->kernels[op->type];
    o->plan   = exec->plan;
    o->op     = op;
    o->dev    = exec->dev;
    o->log    = exec->dev->log;
    mgv_exec_shapes(exec, o);
}

int mgv_exec_no_memory(const MgvDevice *dev, const MgvPlan *plan, size_t bytes, const char *what)
{
    mgv_err(dev->log, "%s: out of memory: %zu bytes for %s", plan->name, bytes, what);
    return MAGVIT_ERR(ENOMEM);
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
    RET(mgv_exec_fuse(exec));
    for (i = 0; i < exec->nb_ops; i++) {
        MgvKernelOp *o = &exec->ops[i];

        RET(o->kernel->prepare ? o->kernel->prepare(o) : 0);
        exec->scratch_bytes = MGV_MAX(exec->scratch_bytes, o->scratch_bytes);
        exec->stat_bytes = MGV_MAX(exec->stat_bytes, MGV_ALIGN_UP(o->stat_bytes, MGV_ALIGNMENT));
        if (exec->measured && o->kernel->unprepare)
            o->kernel->unprepare(o);
    }
    return 0;
fail:
    return ret;
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
    const size_t size = exec->shared_size[exec->tap ? SINGLE : FUSED] + exec->stat_bytes + exec->scratch_bytes;
    uint8_t *arena;

    if (dev->arena && size <= dev->arena_size)
        return 0;
    arena = mgv_alloc(size);
    if (!arena)
        return mgv_exec_no_memory(dev, exec->plan, size, "activations");
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
        return mgv_exec_no_memory(exec->dev, exec->plan, exec->own_size, "inputs and outputs");
    return mgv_host_call(exec->dev, grow_arena, exec);
}

/** Without memory for tensors. */
static int exec_alloc(MgvExec **out, MgvDevice *dev, const MgvPlan *plan, int measured)
{
    MgvExec *exec = *out = mgv_calloc(1, sizeof(*exec));
    int ret;

    mgv_assert(plan->finished);
    if (!exec)
        return mgv_exec_no_memory(dev, plan, sizeof(*exec), "a compiled plan");
    exec->dev  = dev;
    exec->plan = plan;
    exec->measured = measured;
    exec->ops  = mgv_calloc((size_t)plan->nb_ops, sizeof(*exec->ops));
    exec->fused = mgv_calloc((size_t)plan->nb_ops, sizeof(*exec->fused));
    if (!exec->ops || !exec->fused)
        RET(mgv_exec_no_memory(dev, plan, plan->nb_ops * sizeof(*exec->ops), "ops"));
    RET(mgv_host_call(dev, prepare_ops, exec));
    return 0;
fail:
    mgv_host_free(out);
    return ret;
}

int mgv_host_compile(MgvExec **out, MgvDevice *dev, const MgvPlan *plan)
{
    int ret;

    RET(exec_alloc(out, dev, plan, 0));
    RET(alloc_memory(*out));
    return 0;
fail:
    mgv_host_free(out);
    return ret;
}

int mgv_host_measure(MgvDevice *dev, const MgvPlan *plan, MgvNeed *need)
{
    MgvExec *exec;
    int ret;

    if ((ret = exec_alloc(&exec, dev, plan, 1)) < 0)
        return ret;
    mgv_host_memory(exec, &need->weights, &need->work);
    need->shared = exec->shared_size[FUSED] + exec->stat_bytes + exec->scratch_bytes;
    mgv_host_free(&exec);
    return 0;
}

void mgv_host_free(MgvExec **exec)
{
    if (!*exec)
        return;
    mgv_host_call((*exec)->dev, mgv_exec_forget, *exec);
    mgv_host_call((*exec)->dev, unprepare_ops, *exec);
    mgv_freep(&(*exec)->ops);
    mgv_freep(&(*exec)->fused);
    for (int way = 0; way < NB_WAYS; way++)
        mgv_freep(&(*exec)->form[way][OWN]);
    mgv_freep(&(*exec)->own);
    mgv_freep(&(*exec)->rows);
    mgv_freep(&(*exec)->wanted);
    mgv_freep(exec);
}

/* Where an input or output lies, NULL with one line if it is none, or of another size. */
static uint8_t *find_data(const MgvExec *exec, MgvT tensor, size_t size, const MgvT *list, int nb)
{
    const MgvPlan *p = exec->plan;
    int i;

    for (i = 0; i < nb; i++)
        if (list[i] == tensor && mgv_exec_size(exec, tensor) == size)
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

typedef struct OpRun {
    const MgvKernelOp *o;
    const void *const *in;
    void *out;
    atomic_int ret;
} OpRun;

static void run_job(void *arg, int job, int thread)
{
    OpRun *run = arg;
    const int ret = run->o->kernel->run(run->o, run->in, run->out, job, run->o->dev->threads);

    (void)thread;
    if (ret < 0)
        atomic_store(&run->ret, ret);
}

static int run_op(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out)
{
    OpRun run = { o, in, out, 0 };

    if (o->kernel->threads_itself)
        return o->kernel->run(o, in, out, 0, 1);
    mgv_helpers_share(o->dev, o->dev->threads, run_job, &run);
    return atomic_load(&run.ret);
}

void *mgv_exec_locate(const MgvExec *exec, int way, MgvT x, int form)
{
    const MgvTensorInfo *t = x < 0 ? NULL : &exec->form[way][form][x];

    return !t || !t->size ? NULL : (form == OWN ? exec->own : exec->dev->arena) + t->offset;
}

static void *locate_f32(const MgvExec *exec, int way, MgvT x)
{
    void *own = mgv_exec_locate(exec, way, x, OWN);

    return own ? own : mgv_exec_locate(exec, way, x, F32);
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
        return mgv_exec_no_memory(exec->dev, exec->plan, n * sizeof(*wide), "a tapped tensor");
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)o->out16[i] << 16;

        memcpy(&wide[i], &bits, sizeof(bits));
    }
    ret = exec->tap(exec->tap_opaque, exec->plan, op, wide);
    mgv_freep(&wide);
    return ret;
}

/* Tell the op that leads where everything lies, and run ops i to f->end. */
static int run_ops(const MgvExec *exec, int way, int i, const Fused *f)
{
    MgvKernelOp *o = &exec->ops[f->lead];
    const MgvT *added = exec->plan->ops[f->last > f->lead ? f->lead + 1 : i].in, out = exec->plan->ops[f->last].out;
    const void *in[MGV_MAX_IN];

    for (int j = 0; j < MGV_MAX_IN; j++) {
        in[j] = locate_f32(exec, way, exec->ops[i].op->in[j]);
        o->in16[j] = mgv_exec_locate(exec, way, exec->ops[i].op->in[j], BF16);
    }
    for (int k = 1; o->kept[1] && k < MGV_MAX_IN; k++) {
        const void *all = mgv_exec_keep(o, k, o->in16[k] ? (const void *)o->in16[k] : in[k]);

        in[k]      = o->in16[k] ? NULL : all;
        o->in16[k] = o->in16[k] ? all : NULL;
    }
    o->residual = f->last > f->lead ? locate_f32(exec, way, added[added[0] == o->op->out]) : NULL;
    o->before   = f->lead > i ? &exec->ops[i] : NULL;
    o->norm     = f->last > f->lead + 1 ? &exec->ops[f->lead + 2] : NULL;
    o->beside   = f->end > f->last ? &exec->ops[f->end] : NULL;
    o->out_beside = o->beside ? locate_f32(exec, way, o->beside->op->out) : NULL;
    o->stats_of = f->stats >= 0 ? &exec->ops[f->stats] : NULL;
    o->out16    = mgv_exec_locate(exec, way, out, BF16);
    o->stat     = exec->dev->arena + exec->shared_size[way];
    o->scratch  = (uint8_t *)o->stat + exec->stat_bytes;
    return run_op(o, in, locate_f32(exec, way, out));
}

static int run_plan(void *arg)
{
    MgvExec *exec = arg;
    const int way = exec->tap ? SINGLE : FUSED;
    int i, ret;

    RET(grow_arena(exec)); // for a tap
    for (i = 0; i < exec->nb_ops; i++)
        exec->ops[i].has_stats = 0;
    for (i = 0; i < exec->nb_ops; i++) {
        Fused single = { i, i, i, -1, -1, 0 }, *f = way == FUSED ? &exec->fused[i] : &single;
        double seconds = mgv_time();

        if (exec->nb_wanted && i == exec->cut)
            mgv_exec_leave_out(exec, way);
        RET(run_ops(exec, way, i, f));
        seconds = mgv_time() - seconds;
        f->seconds = f->seconds > 0 ? MGV_MIN(f->seconds, seconds) : seconds;
        if (f->stats >= 0)
            exec->ops[f->stats].has_stats = 1;
        i = f->end;
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

void mgv_host_tap(MgvExec *exec, MgvTapFn *fn, void *opaque)
{
    exec->tap        = fn;
    exec->tap_opaque = opaque;
}

typedef struct Share {
    MgvDevice *dev;
    int nb_parts;
    MgvPartFn *fn;
    void *opaque;
} Share;

static void share_part(void *arg, int part, int thread)
{
    const Share *s = arg;

    (void)thread;
    s->fn(s->opaque, part);
}

static int share_parts(void *arg)
{
    Share *s = arg;

    mgv_helpers_share(s->dev, s->nb_parts, share_part, s);
    return 0;
}

void mgv_host_share(MgvDevice *dev, int nb_parts, MgvPartFn *fn, void *opaque)
{
    mgv_host_call(dev, share_parts, &(Share){ dev, nb_parts, fn, opaque });
}

double mgv_host_seconds(const MgvExec *exec, int op)
{
    return exec->fused[op].seconds;
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
    .want     = mgv_host_want,
    .share    = mgv_host_share,
    .seconds  = mgv_host_seconds,
    .memory   = mgv_host_memory,
    .measure  = mgv_host_measure,
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
    ret = mgv_host_call(*out, dnnl_open, *out);
    if (ret < 0)
        cpu_close(out);
    else
        mgv_dnnl_kernels(*out);
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
    .want     = mgv_host_want,
    .share    = mgv_host_share,
    .seconds  = mgv_host_seconds,
    .memory   = mgv_host_memory,
    .measure  = mgv_host_measure,
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
