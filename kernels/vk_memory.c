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
 * Device memory: a buffer has an allocation of its own. There are a handful
 * for each plan, so no allocator stands between.
 */

#include "kernels/vk.h"

atomic_long mgv_vk_allocations;

/* First memory type that has all of some flags, -1 if there is none. */
static int memory_type(const MgvDevice *dev, uint32_t allowed, VkMemoryPropertyFlags flags)
{
    for (uint32_t i = 0; i < dev->memory.memoryTypeCount; i++)
        if (allowed >> i & 1 && (dev->memory.memoryTypes[i].propertyFlags & flags) == flags)
            return (int)i;
    return -1;
}

static int is_local(enum MgvVkUse use)
{
    return use == MGV_VK_LOCAL || use == MGV_VK_PASSAGE;
}

/* Families whose queues use a buffer beside that which computes. @return their number with that one */
static uint32_t families(const MgvDevice *dev, enum MgvVkUse use, uint32_t list[3])
{
    const MgvVkQueue *const others[] = { &dev->up, &dev->down };
    uint32_t nb = 1;

    list[0] = dev->queue.family;
    for (int i = 0; i < 2 && use != MGV_VK_LOCAL; i++)
        if (others[i]->queue && others[i]->family != list[nb - 1])
            list[nb++] = others[i]->family;
    return nb;
}

/* Best type first; what the host sees must be coherent, there is always such a type. */
static int choose_type(const MgvDevice *dev, uint32_t allowed, enum MgvVkUse use)
{
    const VkMemoryPropertyFlags host = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const VkMemoryPropertyFlags best = is_local(use) ? VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT :
                                       use == MGV_VK_READBACK ? host | VK_MEMORY_PROPERTY_HOST_CACHED_BIT : host;
    const int type = memory_type(dev, allowed, best);

    return type >= 0 ? type : memory_type(dev, allowed, is_local(use) ? 0 : host);
}

static int allocate(MgvDevice *dev, MgvVkBuffer *b, enum MgvVkUse use, const char *what)
{
    const VkMemoryAllocateFlagsInfo flags = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
        .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT,
    };
    VkMemoryAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .pNext = &flags };
    VkMemoryRequirements need;
    int type, ret;

    dev->f.GetBufferMemoryRequirements(dev->device, b->buffer, &need);
    type = choose_type(dev, need.memoryTypeBits, use);
    if (type < 0) {
        mgv_err(dev->log, "%s: the device has no memory of the right type", what);
        return MAGVIT_ERROR_DEVICE;
    }
    info.memoryTypeIndex = (uint32_t)type;
    info.allocationSize  = need.size;
    VK(dev, what, dev->f.AllocateMemory(dev->device, &info, NULL, &b->memory));
    mgv_vk_allocations++;
    VK(dev, what, dev->f.BindBufferMemory(dev->device, b->buffer, b->memory, 0));
    if (!is_local(use))
        VK(dev, what, dev->f.MapMemory(dev->device, b->memory, 0, VK_WHOLE_SIZE, 0, &b->map));
fail:
    return ret;
}

int mgv_vk_buffer_create(MgvDevice *dev, MgvVkBuffer *b, size_t size, enum MgvVkUse use, const char *what)
{
    uint32_t family[3];
    const uint32_t nb_families = families(dev, use, family);
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .sharingMode = nb_families > 1 ? VK_SHARING_MODE_CONCURRENT : VK_SHARING_MODE_EXCLUSIVE,
        .queueFamilyIndexCount = nb_families > 1 ? nb_families : 0,
        .pQueueFamilyIndices   = family,
        .size  = size,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT |
                 VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
    };
    VkBufferDeviceAddressInfo where = { .sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO };
    int ret;

    *b = (MgvVkBuffer){ .size = size };
    if (!size)
        return 0;
    if (size > dev->max_allocation) {
        mgv_err(dev->log, "%s: %zu bytes needed, the device gives at most %llu at once", what, size,
                (unsigned long long)dev->max_allocation);
        return MAGVIT_ERR(ENOMEM);
    }
    VK(dev, what, dev->f.CreateBuffer(dev->device, &info, NULL, &b->buffer));
    RET(allocate(dev, b, use, what));
    where.buffer = b->buffer;
    b->address = dev->f.GetBufferDeviceAddress(dev->device, &where);
    return 0;
fail:
    mgv_vk_buffer_destroy(dev, b);
    return ret;
}

void mgv_vk_buffer_destroy(MgvDevice *dev, MgvVkBuffer *b)
{
    if (b->buffer)
        dev->f.DestroyBuffer(dev->device, b->buffer, NULL);
    if (b->memory) {
        dev->f.FreeMemory(dev->device, b->memory, NULL);
        mgv_vk_allocations--;
    }
    *b = (MgvVkBuffer){ 0 };
}
