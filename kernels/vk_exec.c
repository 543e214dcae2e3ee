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
 * Plans: one command buffer for each number of samples, recorded when it is
 * first needed. It copies the inputs from host memory to the device, runs the
 * ops and copies the outputs back. Barriers stand where an op touches memory
 * that another has written, or writes what another reads, since the last one.
 * With a tap each op has a submission of its own.
 */

#include <stdio.h>
#include <string.h>

#include "kernels/vk.h"

#define UPLOAD_BYTES (32u << 20) ///< host memory that weights pass through
#define MAX_RANGES 64

/** A plan for its first samples. */
typedef struct Variant {
    MgvVkOp *ops;             ///< [nb_ops], NULL: not prepared yet
    MgvVkCommands commands;
} Variant;

struct MgvExec {
    MgvDevice *dev;
    const MgvPlan *plan;
    MgvVkOp *ops;             ///< [nb_ops] as measured, for all samples
    Variant *variants;        ///< [batch] for 1, 2, .. samples
    int batch, samples;       ///< samples of the plan, and of a run
    size_t *in_at, *out_at;   ///< places of the plan's inputs and outputs in the host buffers, and their bytes
    size_t scratch_bytes;
    size_t weight_bytes;

    MgvVkBuffer arena;        ///< activations, then scratch memory
    MgvVkBuffer weights;
    MgvVkBuffer upload, readback;
    MgvVkBuffer tapped;       ///< one tensor, made when it is first needed
    MgvVkCommands single;
    uint64_t submitted;       ///< the timeline's value when everything is done

    MgvTapFn *tap;
    void *tap_opaque;
};

/* ---- recording ---- */

/** Memory of the arena that ops have touched since the last barrier. */
typedef struct Ranges {
    struct { size_t from, to; int written; } list[MAX_RANGES];
    int nb;
} Ranges;

static int clashes(const Ranges *r, size_t from, size_t to, int written)
{
    for (int i = 0; i < r->nb; i++)
        if (from < r->list[i].to && r->list[i].from < to && (written || r->list[i].written))
            return 1;
    return 0;
}

static void touch(Ranges *r, size_t from, size_t to, int written)
{
    r->list[r->nb].from      = from;
    r->list[r->nb].to        = to;
    r->list[r->nb++].written = written;
}

/** What an op touches: its inputs, its output and its scratch memory. */
static int ranges_of(const MgvExec *exec, const MgvVkOp *o, Ranges *r)
{
    const MgvTensorInfo *t = exec->plan->tensors;

    r->nb = 0;
    for (int i = 0; i < MGV_MAX_IN; i++)
        if (o->op->in[i] >= 0)
            touch(r, t[o->op->in[i]].offset, t[o->op->in[i]].offset + t[o->op->in[i]].size, 0);
    touch(r, t[o->op->out].offset, t[o->op->out].offset + t[o->op->out].size, 1);
    if (o->scratch_bytes)
        touch(r, exec->plan->arena_size, exec->plan->arena_size + o->scratch_bytes, 1);
    return r->nb;
}

static void order(const MgvExec *exec, VkCommandBuffer c, const MgvVkOp *o, Ranges *since)
{
    Ranges mine;
    int wait = since->nb + ranges_of(exec, o, &mine) > MAX_RANGES;

    for (int i = 0; i < mine.nb && !wait; i++)
        wait = clashes(since, mine.list[i].from, mine.list[i].to, mine.list[i].written);
    if (wait) {
        mgv_vk_barrier_compute(exec->dev, c);
        since->nb = 0;
    }
    for (int i = 0; i < mine.nb; i++)
        touch(since, mine.list[i].from, mine.list[i].to, mine.list[i].written);
}

static void record_op(const MgvExec *exec, VkCommandBuffer c, const MgvVkOp *o)
{
    for (int i = 0; i < o->nb_dispatches; i++) {
        if (i)
            mgv_vk_barrier_compute(exec->dev, c);
        mgv_vk_record_dispatch(exec->dev, c, &o->dispatch[i]);
    }
}

/* Bytes that n samples of a tensor have. */
static size_t bytes_of(const MgvExec *exec, MgvT tensor, int n)
{
    return exec->plan->tensors[tensor].size / exec->batch * n;
}

static void record_inputs(const MgvExec *exec, VkCommandBuffer c, int n, const MgvVkBuffer *from)
{
    const MgvPlan *p = exec->plan;

    for (int i = 0; i < p->nb_inputs; i++) {
        const VkBufferCopy copy = { exec->in_at[i], p->tensors[p->inputs[i]].offset, bytes_of(exec, p->inputs[i], n) };

        exec->dev->f.CmdCopyBuffer(c, from->buffer, exec->arena.buffer, 1, &copy);
    }
    mgv_vk_barrier(exec->dev, c, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
}

static void copy_to_host(const MgvExec *exec, VkCommandBuffer c, MgvT tensor, int n, VkBuffer to, size_t at)
{
    const VkBufferCopy copy = { exec->plan->tensors[tensor].offset, at, bytes_of(exec, tensor, n) };

    exec->dev->f.CmdCopyBuffer(c, exec->arena.buffer, to, 1, &copy);
}

static void record_outputs(const MgvExec *exec, VkCommandBuffer c, int n, const MgvVkBuffer *to)
{
    const MgvPlan *p = exec->plan;

    mgv_vk_barrier(exec->dev, c, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
                   VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT,
                   VK_ACCESS_TRANSFER_READ_BIT);
    for (int i = 0; i < p->nb_outputs; i++)
        copy_to_host(exec, c, p->outputs[i], n, to->buffer, exec->out_at[i]);
    mgv_vk_barrier(exec->dev, c, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT,
                   VK_ACCESS_HOST_READ_BIT);
}

void mgv_vk_exec_record(const MgvExec *exec, VkCommandBuffer c, int n, const MgvVkBuffer *from, const MgvVkBuffer *to)
{
    const MgvVkOp *ops = exec->variants[n - 1].ops;
    Ranges since = { .nb = 0 };

    if (from)
        record_inputs(exec, c, n, from);
    for (int i = 0; i < exec->plan->nb_ops; i++) {
        order(exec, c, &ops[i], &since);
        record_op(exec, c, &ops[i]);
    }
    if (to)
        record_outputs(exec, c, n, to);
}

static int submit(MgvExec *exec, const MgvVkCommands *c)
{
    return mgv_vk_submit(exec->dev, &exec->dev->queue, &c->buffer, 1, (MgvVkPoint){ NULL }, &exec->submitted,
                         exec->plan->name);
}

/* Until everything that was submitted is done. */
static int wait(MgvExec *exec)
{
    return mgv_vk_wait(exec->dev, &exec->dev->queue, exec->submitted, exec->plan->name);
}

/* ---- weights ---- */

/** A window of host memory that moves over the weights. */
typedef struct Uploader {
    MgvExec *exec;
    MgvVkBuffer window;
    size_t at, used; ///< place in the weights of the window's first byte, bytes of it
} Uploader;

static int flush(Uploader *u)
{
    const VkBufferCopy copy = { 0, u->at, u->used };
    const MgvVkCommands *c = &u->exec->single;
    const char *name = u->exec->plan->name;
    MgvDevice *dev = u->exec->dev;
    int ret = 0;

    if (!u->used)
        return 0;
    RET(mgv_vk_begin(dev, c, name));
    dev->f.CmdCopyBuffer(c->buffer, u->window.buffer, u->exec->weights.buffer, 1, &copy);
    mgv_vk_barrier(dev, c->buffer, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT);
    RET(mgv_vk_end(dev, c, name));
    RET(submit(u->exec, c));
    RET(wait(u->exec));
    u->at  += u->used;
    u->used = 0;
fail:
    return ret;
}

static int put(Uploader *u, const uint8_t *data, size_t size)
{
    int ret = 0;

    while (size) {
        const size_t n = MGV_MIN(size, u->window.size - u->used);

        memcpy((uint8_t *)u->window.map + u->used, data, n);
        u->used += n;
        data    += n;
        size    -= n;
        if (u->used == u->window.size)
            RET(flush(u));
    }
fail:
    return ret;
}

static int upload_weight(Uploader *u, const MgvVkOp *o, int i)
{
    const size_t size = MGV_ALIGN_UP(o->weight_bytes[i], MGV_ALIGNMENT);
    uint8_t *packed = mgv_calloc(size, 1);
    int ret;

    ret = packed ? mgv_vk_op_pack(o, i, packed) : MAGVIT_ERR(ENOMEM);
    if (ret < 0)
        mgv_err(o->dev->log, "%s: out of memory for weights", o->op->name);
    else
        ret = put(u, packed, size);
    mgv_freep(&packed);
    return ret;
}

static int upload_weights(MgvExec *exec)
{
    Uploader u = { .exec = exec };
    int ret;

    RET(mgv_vk_buffer_create(exec->dev, &u.window, MGV_MIN(exec->weight_bytes, UPLOAD_BYTES), MGV_VK_UPLOAD,
                             "passage for weights"));
    for (int i = 0; i < exec->plan->nb_ops; i++)
        for (int k = 0; k < MGV_MAX_WEIGHT; k++)
            if (exec->ops[i].weight_bytes[k])
                RET(upload_weight(&u, &exec->ops[i], k));
    RET(flush(&u));
fail:
    if (ret < 0)
        exec->dev->f.DeviceWaitIdle(exec->dev->device);
    mgv_vk_buffer_destroy(exec->dev, &u.window);
    return ret;
}

/* ---- compiling ---- */

static int measure_ops(MgvExec *exec)
{
    const MgvPlan *p = exec->plan;
    int ret = 0;

    for (int i = 0; i < p->nb_ops; i++) {
        MgvVkOp *o = &exec->ops[i];

        o->dev = exec->dev;
        o->op  = &p->ops[i];
        o->in  = p->tensors[o->op->in[0]].shape;
        o->out = p->tensors[o->op->out].shape;
        o->batch = o->out.n;
        for (int k = 0; k < MGV_MAX_IN && exec->dev->half; k++)
            o->half_in |= o->op->in[k] >= 0 && mgv_vk_may_be_half(p, o->op->in[k]) ? 1u << k : 0;
        o->half_out = exec->dev->half && mgv_vk_may_be_half(p, o->op->out);
        RET(mgv_vk_op_measure(o));
        exec->scratch_bytes = MGV_MAX(exec->scratch_bytes, o->scratch_bytes);
        for (int k = 0; k < MGV_MAX_WEIGHT; k++)
            exec->weight_bytes += MGV_ALIGN_UP(o->weight_bytes[k], MGV_ALIGNMENT);
    }
fail:
    return ret;
}

/* Places of some tensors one after another, and after the last of them. @return bytes */
static size_t place(const MgvPlan *p, const MgvT *list, int nb, size_t *at)
{
    for (int i = 0; i < nb; i++)
        at[i + 1] = at[i] + MGV_ALIGN_UP(p->tensors[list[i]].size, MGV_ALIGNMENT);
    return at[nb];
}

static int create_buffers(MgvExec *exec)
{
    const MgvPlan *p = exec->plan;
    MgvDevice *dev = exec->dev;
    char what[128];
    int ret;

    exec->in_at  = mgv_calloc((size_t)p->nb_inputs + 1, sizeof(*exec->in_at));
    exec->out_at = mgv_calloc((size_t)p->nb_outputs + 1, sizeof(*exec->out_at));
    if (!exec->in_at || !exec->out_at) {
        mgv_err(dev->log, "%s: out of memory", p->name);
        return MAGVIT_ERR(ENOMEM);
    }
    snprintf(what, sizeof(what), "activations of the %.64s", p->name);
    RET(mgv_vk_buffer_create(dev, &exec->arena, p->arena_size + exec->scratch_bytes, MGV_VK_LOCAL, what));
    snprintf(what, sizeof(what), "weights of the %.64s", p->name);
    RET(mgv_vk_buffer_create(dev, &exec->weights, exec->weight_bytes, MGV_VK_LOCAL, what));
    snprintf(what, sizeof(what), "inputs of the %.64s", p->name);
    RET(mgv_vk_buffer_create(dev, &exec->upload, place(p, p->inputs, p->nb_inputs, exec->in_at), MGV_VK_UPLOAD, what));
    snprintf(what, sizeof(what), "outputs of the %.64s", p->name);
    RET(mgv_vk_buffer_create(dev, &exec->readback, place(p, p->outputs, p->nb_outputs, exec->out_at), MGV_VK_READBACK,
                             what));
fail:
    return ret;
}

static int prepare_ops(MgvExec *exec, MgvVkOp *ops, int n)
{
    const MgvTensorInfo *t = exec->plan->tensors;
    VkDeviceAddress weight = exec->weights.address;
    int ret = 0;

    for (int i = 0; i < exec->plan->nb_ops; i++) {
        MgvVkOp *o = &ops[i];

        *o = exec->ops[i];
        if (n < exec->batch)
            o->in.n = o->out.n = n;
        for (int k = 0; k < MGV_MAX_IN; k++)
            if (o->op->in[k] >= 0)
                o->in_at[k] = exec->arena.address + t[o->op->in[k]].offset;
        o->out_at     = exec->arena.address + t[o->op->out].offset;
        o->scratch_at = exec->arena.address + exec->plan->arena_size;
        for (int k = 0; k < MGV_MAX_WEIGHT; k++) {
            o->weight_at[k] = weight;
            weight += MGV_ALIGN_UP(o->weight_bytes[k], MGV_ALIGNMENT);
        }
        RET(mgv_vk_op_prepare(o));
    }
fail:
    return ret;
}

int mgv_vk_exec_prepare(MgvExec *exec, int n)
{
    Variant *v = &exec->variants[n - 1], new = { NULL };
    const char *name = exec->plan->name;
    int ret;

    mgv_assert(n >= 1 && n <= exec->batch);
    if (v->ops)
        return 0;
    if (!(new.ops = mgv_calloc((size_t)exec->plan->nb_ops, sizeof(*new.ops)))) {
        mgv_err(exec->dev->log, "%s: out of memory: %d ops", name, exec->plan->nb_ops);
        return MAGVIT_ERR(ENOMEM);
    }
    RET(prepare_ops(exec, new.ops, n));
    RET(mgv_vk_commands_create(exec->dev, &exec->dev->queue, &new.commands));
    *v = new;
    RET(mgv_vk_begin(exec->dev, &v->commands, name));
    mgv_vk_exec_record(exec, v->commands.buffer, n, &exec->upload, &exec->readback);
    RET(mgv_vk_end(exec->dev, &v->commands, name));
    return 0;
fail:
    mgv_vk_commands_destroy(exec->dev, &new.commands);
    mgv_freep(&new.ops);
    *v = new;
    return ret;
}

/** Measured, without anything on the device. */
static int exec_alloc(MgvExec **out, MgvDevice *dev, const MgvPlan *plan)
{
    MgvExec *exec = *out = mgv_calloc(1, sizeof(*exec));
    int ret = MAGVIT_ERR(ENOMEM);

    mgv_assert(plan->finished);
    if (exec) {
        exec->dev  = dev;
        exec->plan = plan;
        exec->batch    = exec->samples = plan->nb_inputs ? plan->tensors[plan->inputs[0]].shape.n : 1;
        exec->ops      = mgv_calloc((size_t)plan->nb_ops, sizeof(*exec->ops));
        exec->variants = mgv_calloc((size_t)exec->batch, sizeof(*exec->variants));
    }
    if (!exec || !exec->ops || !exec->variants) {
        mgv_err(dev->log, "%s: out of memory: %d ops", plan->name, plan->nb_ops);
        goto fail;
    }
    RET(measure_ops(exec));
    return 0;
fail:
    mgv_vk_free(out);
    return ret;
}

int mgv_vk_compile(MgvExec **out, MgvDevice *dev, const MgvPlan *plan)
{
    int ret;

    RET(exec_alloc(out, dev, plan));
    RET(create_buffers(*out));
    RET(mgv_vk_commands_create(dev, &dev->queue, &(*out)->single));
    RET(upload_weights(*out));
    RET(mgv_vk_exec_prepare(*out, (*out)->samples));
    return 0;
fail:
    mgv_vk_free(out);
    return ret;
}

/** As place() counts them. */
static size_t tensor_bytes(const MgvPlan *p, const MgvT *list, int nb)
{
    size_t sum = 0;

    for (int i = 0; i < nb; i++)
        sum += MGV_ALIGN_UP(p->tensors[list[i]].size, MGV_ALIGNMENT);
    return sum;
}

int mgv_vk_exec_measure(MgvDevice *dev, const MgvPlan *plan, MgvNeed *need)
{
    MgvExec *exec;
    int ret;

    if ((ret = exec_alloc(&exec, dev, plan)) < 0)
        return ret;
    *need = (MgvNeed){ .weights = exec->weight_bytes, .work = plan->arena_size + exec->scratch_bytes };
    need->work += tensor_bytes(plan, plan->inputs, plan->nb_inputs) + tensor_bytes(plan, plan->outputs, plan->nb_outputs);
    mgv_vk_free(&exec);
    return 0;
}

void mgv_vk_free(MgvExec **out)
{
    MgvExec *exec = *out;
    MgvDevice *dev;

    if (!exec)
        return;
    dev = exec->dev;
    pthread_mutex_lock(&dev->lock);
    dev->f.DeviceWaitIdle(dev->device); // also after an error, when the semaphore may never come
    pthread_mutex_unlock(&dev->lock);
    for (int i = 0; exec->variants && i < exec->batch; i++) {
        mgv_vk_commands_destroy(dev, &exec->variants[i].commands);
        mgv_freep(&exec->variants[i].ops);
    }
    mgv_vk_commands_destroy(dev, &exec->single);
    mgv_vk_buffer_destroy(dev, &exec->arena);
    mgv_vk_buffer_destroy(dev, &exec->weights);
    mgv_vk_buffer_destroy(dev, &exec->upload);
    mgv_vk_buffer_destroy(dev, &exec->readback);
    mgv_vk_buffer_destroy(dev, &exec->tapped);
    mgv_freep(&exec->ops);
    mgv_freep(&exec->variants);
    mgv_freep(&exec->in_at);
    mgv_freep(&exec->out_at);
    mgv_freep(out);
}

/* ---- running ---- */

/* Which input or output it is, negative with one line if it is none, or of another size. */
static int find(const MgvExec *exec, MgvT tensor, size_t size, const MgvT *list, int nb)
{
    const MgvPlan *p = exec->plan;

    for (int i = 0; i < nb; i++)
        if (list[i] == tensor && bytes_of(exec, tensor, exec->samples) == size)
            return i;
    mgv_err(exec->dev->log, "%s: tensor %d of %zu bytes is not one of %d inputs or outputs", p->name, tensor, size, nb);
    return MAGVIT_ERR(EINVAL);
}

int mgv_vk_write(MgvExec *exec, MgvT tensor, const void *data, size_t size)
{
    const int i = find(exec, tensor, size, exec->plan->inputs, exec->plan->nb_inputs);
    int ret = i;

    RET(i);
    RET(wait(exec));
    memcpy((uint8_t *)exec->upload.map + exec->in_at[i], data, size);
fail:
    return ret;
}

int mgv_vk_read(MgvExec *exec, MgvT tensor, void *data, size_t size)
{
    const int i = find(exec, tensor, size, exec->plan->outputs, exec->plan->nb_outputs);
    int ret = i;

    RET(i);
    RET(wait(exec));
    memcpy(data, (const uint8_t *)exec->readback.map + exec->out_at[i], size);
fail:
    return ret;
}

/* float16 in the first half of some memory to float in all of it. */
static void widen(void *data, size_t n)
{
    while (n--) {
        uint16_t half;
        float x;

        memcpy(&half, (const uint8_t *)data + n * sizeof(half), sizeof(half));
        x = mgv_vk_from_half(half);
        memcpy((uint8_t *)data + n * sizeof(x), &x, sizeof(x));
    }
}

/* One op alone, and its output to where the host sees it. */
static int run_tapped_op(MgvExec *exec, int i)
{
    const MgvVkOp *o = &exec->variants[exec->samples - 1].ops[i];
    const VkCommandBuffer c = exec->single.buffer;
    MgvDevice *dev = exec->dev;
    int ret;

    RET(mgv_vk_begin(dev, &exec->single, exec->plan->name));
    if (!i)
        record_inputs(exec, c, exec->samples, &exec->upload);
    mgv_vk_barrier_compute(dev, c);
    record_op(exec, c, o);
    mgv_vk_barrier(dev, c, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                   VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_READ_BIT);
    copy_to_host(exec, c, o->op->out, exec->samples, exec->tapped.buffer, 0);
    mgv_vk_barrier(dev, c, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT,
                   VK_ACCESS_HOST_READ_BIT);
    if (i == exec->plan->nb_ops - 1)
        record_outputs(exec, c, exec->samples, &exec->readback);
    RET(mgv_vk_end(dev, &exec->single, exec->plan->name));
    RET(submit(exec, &exec->single));
    RET(wait(exec));
    if (exec->ops[i].half_out)
        widen(exec->tapped.map, mgv_shape_elements(exec->ops[i].out));
    RET(exec->tap(exec->tap_opaque, exec->plan, i, exec->tapped.map));
fail:
    return ret;
}

static int run_tapped(MgvExec *exec)
{
    size_t largest = 0;
    int ret = 0;

    for (int i = 0; i < exec->plan->nb_tensors; i++)
        largest = MGV_MAX(largest, exec->plan->tensors[i].size);
    if (!exec->tapped.buffer)
        RET(mgv_vk_buffer_create(exec->dev, &exec->tapped, largest, MGV_VK_READBACK, "tapped tensor"));
    for (int i = 0; i < exec->plan->nb_ops; i++)
        RET(run_tapped_op(exec, i));
fail:
    return ret;
}

int mgv_vk_run(MgvExec *exec)
{
    int ret;

    RET(wait(exec));
    if (exec->tap)
        return run_tapped(exec);
    RET(submit(exec, &exec->variants[exec->samples - 1].commands));
fail:
    return ret;
}

int mgv_vk_limit(MgvExec *exec, int n)
{
    int ret;

    RET(wait(exec));
    RET(mgv_vk_exec_prepare(exec, n));
    exec->samples = n;
fail:
    return ret;
}

void mgv_vk_tap(MgvExec *exec, MgvTapFn *fn, void *opaque)
{
    exec->tap        = fn;
    exec->tap_opaque = opaque;
}

void mgv_vk_exec_memory(const MgvExec *exec, size_t *weights, size_t *work)
{
    *weights = exec->weights.size;
    *work    = exec->arena.size + exec->upload.size + exec->readback.size;
}

const MgvPlan *mgv_vk_exec_plan(const MgvExec *exec)
{
    return exec->plan;
}

size_t mgv_vk_exec_input_at(const MgvExec *exec, int i)
{
    return exec->in_at[i];
}

size_t mgv_vk_exec_output_at(const MgvExec *exec, int i)
{
    return exec->out_at[i];
}

void mgv_vk_exec_copy(const MgvExec *exec, VkCommandBuffer c, int n, int outputs, const MgvVkBuffer *from,
                      const MgvVkBuffer *to)
{
    const MgvPlan *p = exec->plan;

    for (int i = 0; i < (outputs ? p->nb_outputs : p->nb_inputs); i++) {
        const size_t at = outputs ? exec->out_at[i] : exec->in_at[i];
        const VkBufferCopy copy = { at, at, bytes_of(exec, outputs ? p->outputs[i] : p->inputs[i], n) };

        exec->dev->f.CmdCopyBuffer(c, from->buffer, to->buffer, 1, &copy);
    }
}

VkDeviceAddress mgv_vk_exec_address(const MgvExec *exec, MgvT tensor)
{
    return exec->arena.address + exec->plan->tensors[tensor].offset;
}
