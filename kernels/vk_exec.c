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
 * Plans: one command buffer, recorded when a plan is compiled. It copies the
 * inputs from host memory to the device, runs the ops and copies the outputs
 * back. Barriers stand where an op touches memory that another has written, or
 * writes what another reads, since the last one. A timeline semaphore, counted
 * up by each submission, says when the work is done. With a tap each op has a
 * submission of its own.
 */

#include <stdio.h>
#include <string.h>

#include "kernels/vk.h"

#define UPLOAD_BYTES (32u << 20) ///< host memory that weights pass through
#define MAX_RANGES 64
#define MAX_GROUPS 65535u        ///< in one dimension of a dispatch, on every device

enum { PLAN, SINGLE, NB_COMMANDS };

struct MgvExec {
    MgvDevice *dev;
    const MgvPlan *plan;
    MgvVkOp *ops;
    size_t *in_at, *out_at;   ///< places of the plan's inputs and outputs in the host buffers
    size_t scratch_bytes;
    size_t weight_bytes;

    MgvVkBuffer arena;        ///< activations, then scratch memory
    MgvVkBuffer weights;
    MgvVkBuffer upload, readback;
    MgvVkBuffer tapped;       ///< one tensor, made when it is first needed
    VkCommandPool pool[NB_COMMANDS];
    VkCommandBuffer commands[NB_COMMANDS];
    VkSemaphore done;
    uint64_t submitted;       ///< value of done when everything is

    MgvTapFn *tap;
    void *tap_opaque;
};

/* ---- recording ---- */

/** Memory of the arena that ops have touched since the last barrier. */
typedef struct Ranges {
    struct { size_t from, to; int written; } list[MAX_RANGES];
    int nb;
} Ranges;

static void barrier(const MgvExec *exec, VkCommandBuffer c, VkPipelineStageFlags from, VkAccessFlags made,
                    VkPipelineStageFlags to, VkAccessFlags used)
{
    const VkMemoryBarrier b = { VK_STRUCTURE_TYPE_MEMORY_BARRIER, NULL, made, used };

    exec->dev->f.CmdPipelineBarrier(c, from, to, 0, 1, &b, 0, NULL, 0, NULL);
}

static void barrier_between_ops(const MgvExec *exec, VkCommandBuffer c)
{
    barrier(exec, c, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
            VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
}

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
        barrier_between_ops(exec, c);
        since->nb = 0;
    }
    for (int i = 0; i < mine.nb; i++)
        touch(since, mine.list[i].from, mine.list[i].to, mine.list[i].written);
}

static void record_op(const MgvExec *exec, VkCommandBuffer c, const MgvVkOp *o)
{
    const MgvVkFunctions *f = &exec->dev->f;

    for (int i = 0; i < o->nb_dispatches; i++) {
        const MgvVkDispatch *d = &o->dispatch[i];
        const uint32_t x = (uint32_t)MGV_MIN(d->groups, MAX_GROUPS), y = (uint32_t)((d->groups + x - 1) / x);

        if (i)
            barrier_between_ops(exec, c);
        f->CmdBindPipeline(c, VK_PIPELINE_BIND_POINT_COMPUTE, d->pipeline);
        f->CmdPushConstants(c, exec->dev->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(d->push), &d->push);
        f->CmdDispatch(c, x, y, 1);
    }
}

static void record_inputs(const MgvExec *exec, VkCommandBuffer c)
{
    const MgvPlan *p = exec->plan;

    for (int i = 0; i < p->nb_inputs; i++) {
        const MgvTensorInfo *t = &p->tensors[p->inputs[i]];
        const VkBufferCopy copy = { exec->in_at[i], t->offset, t->size };

        exec->dev->f.CmdCopyBuffer(c, exec->upload.buffer, exec->arena.buffer, 1, &copy);
    }
    barrier(exec, c, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
            VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
}

static void copy_to_host(const MgvExec *exec, VkCommandBuffer c, const MgvTensorInfo *t, VkBuffer to, size_t at)
{
    const VkBufferCopy copy = { t->offset, at, t->size };

    exec->dev->f.CmdCopyBuffer(c, exec->arena.buffer, to, 1, &copy);
}

static void record_outputs(const MgvExec *exec, VkCommandBuffer c)
{
    const MgvPlan *p = exec->plan;

    barrier(exec, c, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
            VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT,
            VK_ACCESS_TRANSFER_READ_BIT);
    for (int i = 0; i < p->nb_outputs; i++)
        copy_to_host(exec, c, &p->tensors[p->outputs[i]], exec->readback.buffer, exec->out_at[i]);
    barrier(exec, c, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT,
            VK_ACCESS_HOST_READ_BIT);
}

/* ---- submitting ---- */

static int begin(MgvExec *exec, int which)
{
    const VkCommandBufferBeginInfo info = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO };
    MgvDevice *dev = exec->dev;
    int ret;

    VK(dev, exec->plan->name, dev->f.ResetCommandPool(dev->device, exec->pool[which], 0));
    VK(dev, exec->plan->name, dev->f.BeginCommandBuffer(exec->commands[which], &info));
fail:
    return ret;
}

static int end(MgvExec *exec, int which)
{
    int ret;

    VK(exec->dev, exec->plan->name, exec->dev->f.EndCommandBuffer(exec->commands[which]));
fail:
    return ret;
}

static int submit(MgvExec *exec, int which)
{
    MgvDevice *dev = exec->dev;
    const uint64_t value = exec->submitted + 1;
    const VkTimelineSemaphoreSubmitInfo timeline = {
        .sType                     = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .signalSemaphoreValueCount = 1,
        .pSignalSemaphoreValues    = &value,
    };
    const VkSubmitInfo info = {
        .sType                = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext                = &timeline,
        .commandBufferCount   = 1,
        .pCommandBuffers      = &exec->commands[which],
        .signalSemaphoreCount = 1,
        .pSignalSemaphores    = &exec->done,
    };
    int ret;

    pthread_mutex_lock(&dev->lock);
    VK(dev, exec->plan->name, dev->f.QueueSubmit(dev->queue, 1, &info, VK_NULL_HANDLE));
    exec->submitted = value;
fail:
    pthread_mutex_unlock(&dev->lock);
    return ret;
}

/* Until everything that was submitted is done. */
static int wait(MgvExec *exec)
{
    const VkSemaphoreWaitInfo info = {
        .sType          = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .semaphoreCount = 1,
        .pSemaphores    = &exec->done,
        .pValues        = &exec->submitted,
    };
    MgvDevice *dev = exec->dev;
    int ret = 0;

    if (exec->submitted)
        VK(dev, exec->plan->name, dev->f.WaitSemaphores(dev->device, &info, UINT64_MAX));
fail:
    return ret;
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
    int ret = 0;

    if (!u->used)
        return 0;
    RET(begin(u->exec, SINGLE));
    u->exec->dev->f.CmdCopyBuffer(u->exec->commands[SINGLE], u->window.buffer, u->exec->weights.buffer, 1, &copy);
    barrier(u->exec, u->exec->commands[SINGLE], VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
            VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT);
    RET(end(u->exec, SINGLE));
    RET(submit(u->exec, SINGLE));
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
        RET(mgv_vk_op_measure(o));
        exec->scratch_bytes = MGV_MAX(exec->scratch_bytes, o->scratch_bytes);
        for (int k = 0; k < MGV_MAX_WEIGHT; k++)
            exec->weight_bytes += MGV_ALIGN_UP(o->weight_bytes[k], MGV_ALIGNMENT);
    }
fail:
    return ret;
}

/* Places of some tensors one after another. @return bytes */
static size_t place(const MgvPlan *p, const MgvT *list, int nb, size_t *at)
{
    size_t size = 0;

    for (int i = 0; i < nb; i++) {
        at[i] = size;
        size += MGV_ALIGN_UP(p->tensors[list[i]].size, MGV_ALIGNMENT);
    }
    return size;
}

static int create_buffers(MgvExec *exec)
{
    const MgvPlan *p = exec->plan;
    MgvDevice *dev = exec->dev;
    char what[128];
    int ret;

    exec->in_at  = mgv_calloc((size_t)p->nb_inputs, sizeof(*exec->in_at));
    exec->out_at = mgv_calloc((size_t)p->nb_outputs, sizeof(*exec->out_at));
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

static int create_commands(MgvExec *exec)
{
    const VkCommandPoolCreateInfo pool = {
        .sType            = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = exec->dev->family,
    };
    const VkSemaphoreTypeCreateInfo type = {
        .sType         = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
    };
    const VkSemaphoreCreateInfo semaphore = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type };
    MgvDevice *dev = exec->dev;
    int ret;

    VK(dev, "semaphore", dev->f.CreateSemaphore(dev->device, &semaphore, NULL, &exec->done));
    for (int i = 0; i < NB_COMMANDS; i++) {
        VkCommandBufferAllocateInfo info = {
            .sType              = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
            .commandBufferCount = 1,
        };

        VK(dev, "command pool", dev->f.CreateCommandPool(dev->device, &pool, NULL, &exec->pool[i]));
        info.commandPool = exec->pool[i];
        VK(dev, "command buffer", dev->f.AllocateCommandBuffers(dev->device, &info, &exec->commands[i]));
    }
fail:
    return ret;
}

static int prepare_ops(MgvExec *exec)
{
    const MgvTensorInfo *t = exec->plan->tensors;
    VkDeviceAddress weight = exec->weights.address;
    int ret = 0;

    for (int i = 0; i < exec->plan->nb_ops; i++) {
        MgvVkOp *o = &exec->ops[i];

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

static int record_plan(MgvExec *exec)
{
    const VkCommandBuffer c = exec->commands[PLAN];
    Ranges since = { .nb = 0 };
    int ret;

    RET(begin(exec, PLAN));
    record_inputs(exec, c);
    for (int i = 0; i < exec->plan->nb_ops; i++) {
        order(exec, c, &exec->ops[i], &since);
        record_op(exec, c, &exec->ops[i]);
    }
    record_outputs(exec, c);
    RET(end(exec, PLAN));
fail:
    return ret;
}

int mgv_vk_compile(MgvExec **out, MgvDevice *dev, const MgvPlan *plan)
{
    MgvExec *exec = mgv_calloc(1, sizeof(*exec));
    int ret = MAGVIT_ERR(ENOMEM);

    mgv_assert(plan->finished);
    *out = NULL;
    if (exec) {
        exec->dev  = dev;
        exec->plan = plan;
        exec->ops  = mgv_calloc((size_t)plan->nb_ops, sizeof(*exec->ops));
    }
    if (!exec || !exec->ops) {
        mgv_err(dev->log, "%s: out of memory: %d ops", plan->name, plan->nb_ops);
        goto fail;
    }
    RET(measure_ops(exec));
    RET(create_buffers(exec));
    RET(create_commands(exec));
    RET(upload_weights(exec));
    RET(prepare_ops(exec));
    RET(record_plan(exec));
    *out = exec;
    return 0;
fail:
    mgv_vk_free(&exec);
    return ret;
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
    for (int i = 0; i < NB_COMMANDS; i++)
        dev->f.DestroyCommandPool(dev->device, exec->pool[i], NULL);
    dev->f.DestroySemaphore(dev->device, exec->done, NULL);
    mgv_vk_buffer_destroy(dev, &exec->arena);
    mgv_vk_buffer_destroy(dev, &exec->weights);
    mgv_vk_buffer_destroy(dev, &exec->upload);
    mgv_vk_buffer_destroy(dev, &exec->readback);
    mgv_vk_buffer_destroy(dev, &exec->tapped);
    mgv_freep(&exec->ops);
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
        if (list[i] == tensor && p->tensors[tensor].size == size)
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

/* One op alone, and its output to where the host sees it. */
static int run_tapped_op(MgvExec *exec, int i)
{
    const VkCommandBuffer c = exec->commands[SINGLE];
    int ret;

    RET(begin(exec, SINGLE));
    if (!i)
        record_inputs(exec, c);
    barrier_between_ops(exec, c);
    record_op(exec, c, &exec->ops[i]);
    barrier(exec, c, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT,
            VK_ACCESS_TRANSFER_READ_BIT);
    copy_to_host(exec, c, &exec->plan->tensors[exec->ops[i].op->out], exec->tapped.buffer, 0);
    barrier(exec, c, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT,
            VK_ACCESS_HOST_READ_BIT);
    if (i == exec->plan->nb_ops - 1)
        record_outputs(exec, c);
    RET(end(exec, SINGLE));
    RET(submit(exec, SINGLE));
    RET(wait(exec));
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
    RET(submit(exec, PLAN));
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
