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
 * The queue: command buffers run one after another, each when all before it
 * are done, which a timeline semaphore counts. Their bubbles are small beside
 * what they compute, and no two uses of an arena can meet.
 */

#include "kernels/vk.h"

#define MAX_SUBMIT 32     ///< command buffers of a call
#define MAX_GROUPS 65535u ///< in one dimension of a dispatch, on every device

int mgv_vk_queue_open(MgvDevice *dev)
{
    const VkSemaphoreTypeCreateInfo type = {
        .sType         = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
    };
    const VkSemaphoreCreateInfo info = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type };
    int ret;

    VK(dev, "semaphore", dev->f.CreateSemaphore(dev->device, &info, NULL, &dev->timeline));
fail:
    return ret;
}

void mgv_vk_queue_close(MgvDevice *dev)
{
    dev->f.DestroySemaphore(dev->device, dev->timeline, NULL);
}

static int submit(MgvDevice *dev, const VkCommandBuffer *list, int nb, const char *what)
{
    static const VkPipelineStageFlags everything = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    VkTimelineSemaphoreSubmitInfo values[MAX_SUBMIT];
    VkSubmitInfo infos[MAX_SUBMIT];
    uint64_t count[MAX_SUBMIT + 1];
    int ret;

    for (int i = 0; i <= nb; i++)
        count[i] = dev->submitted + i;
    for (int i = 0; i < nb; i++) {
        values[i] = (VkTimelineSemaphoreSubmitInfo){
            .sType                     = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
            .waitSemaphoreValueCount   = 1,
            .pWaitSemaphoreValues      = &count[i],
            .signalSemaphoreValueCount = 1,
            .pSignalSemaphoreValues    = &count[i + 1],
        };
        infos[i] = (VkSubmitInfo){
            .sType                = VK_STRUCTURE_TYPE_SUBMIT_INFO,
            .pNext                = &values[i],
            .waitSemaphoreCount   = 1,
            .pWaitSemaphores      = &dev->timeline,
            .pWaitDstStageMask    = &everything,
            .commandBufferCount   = 1,
            .pCommandBuffers      = &list[i],
            .signalSemaphoreCount = 1,
            .pSignalSemaphores    = &dev->timeline,
        };
    }
    VK(dev, what, dev->f.QueueSubmit(dev->queue, (uint32_t)nb, infos, VK_NULL_HANDLE));
    dev->submitted = count[nb];
fail:
    return ret;
}

int mgv_vk_submit(MgvDevice *dev, const VkCommandBuffer *list, int nb, uint64_t *done, const char *what)
{
    int ret = 0;

    pthread_mutex_lock(&dev->lock);
    for (int i = 0; i < nb; i += MAX_SUBMIT) {
        RET(submit(dev, list + i, MGV_MIN(nb - i, MAX_SUBMIT), what));
        *done = dev->submitted;
    }
fail:
    pthread_mutex_unlock(&dev->lock);
    return ret;
}

int mgv_vk_wait(MgvDevice *dev, uint64_t value, const char *what)
{
    const VkSemaphoreWaitInfo info = {
        .sType          = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .semaphoreCount = 1,
        .pSemaphores    = &dev->timeline,
        .pValues        = &value,
    };
    int ret = 0;

    if (value)
        VK(dev, what, dev->f.WaitSemaphores(dev->device, &info, UINT64_MAX));
fail:
    return ret;
}

/* ---- command buffers ---- */

int mgv_vk_commands_create(MgvDevice *dev, MgvVkCommands *c)
{
    const VkCommandPoolCreateInfo pool = {
        .sType            = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = dev->family,
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
