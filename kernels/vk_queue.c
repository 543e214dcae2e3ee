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
 * Queues: command buffers of one run one after another, each when all before
 * it are done, which a timeline semaphore counts. Their bubbles are small beside
 * what they compute, and no two uses of an arena can meet. Where the device has
 * a family that only transfers, its queues bring what decoding loops take and
 * give, one for each way: in a queue that both share the next upload would wait
 * for a download, which waits for what is computed.
 */

#include <errno.h>

#include "kernels/vk.h"

#define MAX_SUBMIT 32     ///< command buffers of a call
#define MAX_GROUPS 65535u ///< in one dimension of a dispatch, on every device

enum MgvVkTransfers mgv_vk_transfers;

/* ---- families ---- */

/* A family that computes, one that does nothing else if there is one: windows of others do not wait for it. */
static int compute_family(const VkQueueFamilyProperties *list, uint32_t nb)
{
    int found = -1;

    for (uint32_t i = 0; i < nb; i++)
        if (list[i].queueFlags & VK_QUEUE_COMPUTE_BIT && (found < 0 || !(list[i].queueFlags & VK_QUEUE_GRAPHICS_BIT))) {
            found = (int)i;
            if (!(list[i].queueFlags & VK_QUEUE_GRAPHICS_BIT))
                break;
        }
    return found;
}

/* A family that transfers and has nothing else to do, such as decoding video. */
static int transfer_family(const VkQueueFamilyProperties *list, uint32_t nb)
{
    const VkQueueFlags beside = VK_QUEUE_SPARSE_BINDING_BIT | VK_QUEUE_PROTECTED_BIT;

    for (uint32_t i = 0; i < nb; i++)
        if (list[i].queueCount && (list[i].queueFlags & ~beside) == VK_QUEUE_TRANSFER_BIT)
            return (int)i;
    return -1;
}

int mgv_vk_find_queues(MgvDevice *dev)
{
    VkQueueFamilyProperties list[32];
    uint32_t nb = MGV_ARRAY_LEN(list);
    int compute, transfer;

    dev->f.GetPhysicalDeviceQueueFamilyProperties(dev->physical, &nb, list);
    compute  = compute_family(list, nb);
    transfer = mgv_vk_transfers == MGV_VK_TRANSFERS_AUTO ? transfer_family(list, nb) : -1;
    if (compute < 0) {
        mgv_err(dev->log, "vulkan: device %s does not compute", dev->properties.deviceName);
        return MAGVIT_ERR(ENOTSUP);
    }
    dev->queue.family    = (uint32_t)compute;
    dev->transfer_family = transfer < 0 ? dev->queue.family : (uint32_t)transfer;
    dev->nb_transfers    = transfer < 0 ? 0 : MGV_MIN(list[transfer].queueCount, 2);
    return 0;
}

/* ---- timelines ---- */

static int open_queue(MgvDevice *dev, MgvVkQueue *q, VkQueue queue, uint32_t family)
{
    const VkSemaphoreTypeCreateInfo type = {
        .sType         = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
    };
    const VkSemaphoreCreateInfo info = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type };
    int ret;

    *q = (MgvVkQueue){ queue, family };
    VK(dev, "semaphore", dev->f.CreateSemaphore(dev->device, &info, NULL, &q->timeline));
fail:
    return ret;
}

int mgv_vk_queues_open(MgvDevice *dev)
{
    MgvVkQueue *const transfers[] = { &dev->up, &dev->down };
    const uint32_t as_if = mgv_vk_transfers == MGV_VK_TRANSFERS_UP ? 1 : mgv_vk_transfers == MGV_VK_TRANSFERS_BOTH ? 2 : 0;
    VkQueue queue;
    int ret;

    dev->f.GetDeviceQueue(dev->device, dev->queue.family, 0, &queue);
    RET(open_queue(dev, &dev->queue, queue, dev->queue.family));
    for (uint32_t i = 0; i < MGV_MAX(dev->nb_transfers, as_if); i++) {
        if (!as_if)
            dev->f.GetDeviceQueue(dev->device, dev->transfer_family, i, &queue);
        RET(open_queue(dev, transfers[i], queue, dev->transfer_family));
    }
fail:
    return ret;
}

void mgv_vk_queues_close(MgvDevice *dev)
{
    MgvVkQueue *const list[] = { &dev->queue, &dev->up, &dev->down };

    for (int i = 0; i < (int)MGV_ARRAY_LEN(list); i++)
        dev->f.DestroySemaphore(dev->device, list[i]->timeline, NULL);
}

/* ---- submitting ---- */

static int submit(MgvDevice *dev, MgvVkQueue *q, const VkCommandBuffer *list, int nb, MgvVkPoint after, const char *what)
{
    static const VkPipelineStageFlags everything[] = { VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT };
    const VkSemaphore semaphores[] = { q->timeline, after.queue ? after.queue->timeline : VK_NULL_HANDLE };
    const uint64_t first[] = { q->submitted, after.value };
    VkTimelineSemaphoreSubmitInfo values[MAX_SUBMIT];
    VkSubmitInfo infos[MAX_SUBMIT];
    uint64_t count[MAX_SUBMIT + 1];
    int ret;

    for (int i = 0; i <= nb; i++)
        count[i] = q->submitted + i;
    for (int i = 0; i < nb; i++) {
        const uint32_t waits = !i && after.queue ? 2 : 1;

        values[i] = (VkTimelineSemaphoreSubmitInfo){
            .sType                     = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
            .waitSemaphoreValueCount   = waits,
            .pWaitSemaphoreValues      = i ? &count[i] : first,
            .signalSemaphoreValueCount = 1,
            .pSignalSemaphoreValues    = &count[i + 1],
        };
        infos[i] = (VkSubmitInfo){
            .sType                = VK_STRUCTURE_TYPE_SUBMIT_INFO,
            .pNext                = &values[i],
            .waitSemaphoreCount   = waits,
            .pWaitSemaphores      = semaphores,
            .pWaitDstStageMask    = everything,
            .commandBufferCount   = 1,
            .pCommandBuffers      = &list[i],
            .signalSemaphoreCount = 1,
            .pSignalSemaphores    = &q->timeline,
        };
    }
    VK(dev, what, dev->f.QueueSubmit(q->queue, (uint32_t)nb, infos, VK_NULL_HANDLE));
    q->submitted = count[nb];
fail:
    return ret;
}

int mgv_vk_submit(MgvDevice *dev, MgvVkQueue *q, const VkCommandBuffer *list, int nb, MgvVkPoint after, uint64_t *done,
                  const char *what)
{
    int ret = 0;

    pthread_mutex_lock(&dev->lock);
    for (int i = 0; i < nb; i += MAX_SUBMIT) {
        RET(submit(dev, q, list + i, MGV_MIN(nb - i, MAX_SUBMIT), after, what));
        *done = q->submitted;
        after.queue = NULL;
    }
fail:
    pthread_mutex_unlock(&dev->lock);
    return ret;
}

int mgv_vk_wait(MgvDevice *dev, const MgvVkQueue *q, uint64_t value, const char *what)
{
    const VkSemaphoreWaitInfo info = {
        .sType          = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .semaphoreCount = 1,
        .pSemaphores    = &q->timeline,
        .pValues        = &value,
    };
    int ret = 0;

    if (value)
        VK(dev, what, dev->f.WaitSemaphores(dev->device, &info, UINT64_MAX));
fail:
    return ret;
}

/* ---- command buffers ---- */

int mgv_vk_commands_create(MgvDevice *dev, const MgvVkQueue *q, MgvVkCommands *c)
{
    const VkCommandPoolCreateInfo pool = {
        .sType            = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = q->family,
    };
    VkCommandBufferAllocateInfo info = {
        .sType              = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandBufferCount = 1,
    };
    int ret;

    VK(dev, "command pool", dev->f.CreateCommandPool(dev->device, &pool, NULL, &c->pool));
    info.commandPool = c->pool;
    VK(dev, "command buffer", dev->f.AllocateCommandBuffers(dev->device, &info, &c->buffer));
    return 0;
fail:
    mgv_vk_commands_destroy(dev, c);
    return ret;
}

void mgv_vk_commands_destroy(MgvDevice *dev, MgvVkCommands *c)
{
    dev->f.DestroyCommandPool(dev->device, c->pool, NULL);
    *c = (MgvVkCommands){ VK_NULL_HANDLE, NULL };
}

/* Steps of a loop are the same buffer over and over. */
int mgv_vk_begin(MgvDevice *dev, const MgvVkCommands *c, const char *what)
{
    const VkCommandBufferBeginInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT,
    };
    int ret;

    VK(dev, what, dev->f.ResetCommandPool(dev->device, c->pool, 0));
    VK(dev, what, dev->f.BeginCommandBuffer(c->buffer, &info));
fail:
    return ret;
}

int mgv_vk_end(MgvDevice *dev, const MgvVkCommands *c, const char *what)
{
    int ret;

    VK(dev, what, dev->f.EndCommandBuffer(c->buffer));
fail:
    return ret;
}

void mgv_vk_barrier(MgvDevice *dev, VkCommandBuffer c, VkPipelineStageFlags from, VkAccessFlags made,
                    VkPipelineStageFlags to, VkAccessFlags used)
{
    const VkMemoryBarrier b = { VK_STRUCTURE_TYPE_MEMORY_BARRIER, NULL, made, used };

    dev->f.CmdPipelineBarrier(c, from, to, 0, 1, &b, 0, NULL, 0, NULL);
}

void mgv_vk_barrier_compute(MgvDevice *dev, VkCommandBuffer c)
{
    mgv_vk_barrier(dev, c, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                   VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
}

void mgv_vk_record_dispatch(MgvDevice *dev, VkCommandBuffer c, const MgvVkDispatch *d)
{
    const uint32_t x = (uint32_t)MGV_MIN(d->groups, MAX_GROUPS), y = (uint32_t)((d->groups + x - 1) / x);

    dev->f.CmdBindPipeline(c, VK_PIPELINE_BIND_POINT_COMPUTE, d->pipeline);
    dev->f.CmdPushConstants(c, dev->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(d->push), &d->push);
    dev->f.CmdDispatch(c, x, y, 1);
}
