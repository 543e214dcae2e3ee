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
 * Loader, choice of a device, and the device. The loader is opened when a
 * device is asked for, so programs that do not use this backend run where there
 * is none. Device numbers are those of vkEnumeratePhysicalDevices().
 */

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/vk.h"

#define MAX_DEVICES 32
#define MAX_BATCH 4 ///< samples at once unless more are asked for

long mgv_vk_fail_at;
VkResult mgv_vk_fail_with = VK_ERROR_DEVICE_LOST;

VkResult mgv_vk_fault(void)
{
    if (mgv_vk_fail_at > 0 && --mgv_vk_fail_at == 0)
        return mgv_vk_fail_with;
    return VK_SUCCESS;
}

static const char *result_name(VkResult res)
{
    switch (res) {
#define NAME(x) case VK_##x: return #x
    NAME(NOT_READY);
    NAME(TIMEOUT);
    NAME(INCOMPLETE);
    NAME(ERROR_OUT_OF_HOST_MEMORY);
    NAME(ERROR_OUT_OF_DEVICE_MEMORY);
    NAME(ERROR_INITIALIZATION_FAILED);
    NAME(ERROR_DEVICE_LOST);
    NAME(ERROR_MEMORY_MAP_FAILED);
    NAME(ERROR_LAYER_NOT_PRESENT);
    NAME(ERROR_EXTENSION_NOT_PRESENT);
    NAME(ERROR_FEATURE_NOT_PRESENT);
    NAME(ERROR_INCOMPATIBLE_DRIVER);
    NAME(ERROR_TOO_MANY_OBJECTS);
    NAME(ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS);
#undef NAME
    default: return "unknown";
    }
}

int mgv_vk_result(const MagvitLogger *log, const char *what, VkResult res)
{
    if (res == VK_SUCCESS)
        return 0;
    mgv_err(log, "vulkan: %s: %s (%d)", what, result_name(res), (int)res);
    return res == VK_ERROR_OUT_OF_HOST_MEMORY || res == VK_ERROR_OUT_OF_DEVICE_MEMORY ? MAGVIT_ERR(ENOMEM) :
                                                                                        MAGVIT_ERROR_DEVICE;
}

/* ---- loader and instance ---- */

static int missing(const MgvDevice *dev, const char *name)
{
    mgv_err(dev->log, "vulkan: the driver has no function vk%s", name);
    return MAGVIT_ERROR_DEVICE;
}

/* ENOTSUP with one line where there is no loader. It stays loaded: some drivers do not survive unloading. */
static int load(MgvDevice *dev)
{
    void *lib = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

    if (lib)
        dev->f.GetInstanceProcAddr = (PFN_vkGetInstanceProcAddr)dlsym(lib, "vkGetInstanceProcAddr");
    if (!dev->f.GetInstanceProcAddr) {
        mgv_err(dev->log, "vulkan: no loader: %s", dlerror());
        if (lib)
            dlclose(lib);
        return MAGVIT_ERR(ENOTSUP);
    }
    dlclose(lib);
#define X(name)                                                                            \
    dev->f.name = (PFN_vk##name)dev->f.GetInstanceProcAddr(NULL, "vk" #name);              \
    if (!dev->f.name)                                                                      \
        return missing(dev, #name);
    MGV_VK_GLOBAL(X)
#undef X
    return 0;
}

static int create_instance(MgvDevice *dev)
{
    const VkApplicationInfo app = {
        .sType            = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "libmagvit",
        .apiVersion       = VK_API_VERSION_1_2,
    };
    const VkInstanceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &app };
    uint32_t version = 0;
    VkResult res;
    int ret;

    RET(load(dev));
    VK(dev, "version of the loader", dev->f.EnumerateInstanceVersion(&version));
    if (version < VK_API_VERSION_1_2) {
        mgv_err(dev->log, "vulkan: the loader is of version %u.%u, 1.2 needed", VK_API_VERSION_MAJOR(version),
                VK_API_VERSION_MINOR(version));
        return MAGVIT_ERR(ENOTSUP);
    }
    res = dev->f.CreateInstance(&info, NULL, &dev->instance);
    if (res == VK_ERROR_INCOMPATIBLE_DRIVER) {
        mgv_err(dev->log, "vulkan: no driver is installed");
        return MAGVIT_ERR(ENOTSUP);
    }
    VK(dev, "instance", res);
#define X(name)                                                                            \
    dev->f.name = (PFN_vk##name)dev->f.GetInstanceProcAddr(dev->instance, "vk" #name);     \
    if (!dev->f.name)                                                                      \
        return missing(dev, #name);
    MGV_VK_INSTANCE(X)
#undef X
fail:
    return ret;
}

/* ---- choice of a device ---- */

/** A device that could be opened. */
typedef struct Candidate {
    VkPhysicalDevice physical;
    VkPhysicalDeviceDriverProperties driver;
    VkPhysicalDeviceIDProperties id;
    VkPhysicalDeviceProperties properties;
} Candidate;

static void uuid_text(char out[37], const uint8_t id[16])
{
    int at = 0;

    for (int i = 0; i < 16; i++)
        at += snprintf(out + at, 4, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", id[i]);
}

static void look_at(const MgvDevice *dev, Candidate *c)
{
    VkPhysicalDeviceProperties2 p = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &c->id };

    c->driver = (VkPhysicalDeviceDriverProperties){ .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES };
    c->id = (VkPhysicalDeviceIDProperties){ .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES, .pNext = &c->driver };
    dev->f.GetPhysicalDeviceProperties2(c->physical, &p);
    c->properties = p.properties;
}

/* @return number of devices, or negative */
static int enumerate(MgvDevice *dev, Candidate list[MAX_DEVICES])
{
    VkPhysicalDevice physical[MAX_DEVICES];
    uint32_t nb = MAX_DEVICES;
    VkResult res;
    int ret;

    VK(dev, "list of devices", (res = dev->f.EnumeratePhysicalDevices(dev->instance, &nb, physical)) == VK_INCOMPLETE ?
                               VK_SUCCESS : res);
    for (uint32_t i = 0; i < nb; i++) {
        list[i].physical = physical[i];
        look_at(dev, &list[i]);
    }
    return (int)nb;
fail:
    return ret;
}

static int is_software(const Candidate *c)
{
    return c->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
}

static int rank(const Candidate *c)
{
    switch (c->properties.deviceType) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:   return 4;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return 3;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:    return 2;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:            return 0;
    default:                                     return 1;
    }
}

static int best(const Candidate *list, int nb)
{
    int found = 0;

    for (int i = 1; i < nb; i++)
        if (rank(&list[i]) > rank(&list[found]))
            found = i;
    return nb ? found : -1;
}

/* By number, UUID or part of the name. */
static int find(const Candidate *list, int nb, const char *name)
{
    char *end, uuid[37];
    const long number = strtol(name, &end, 10);

    if (end != name && !*end)
        return number >= 0 && number < nb ? (int)number : -1;
    for (int i = 0; i < nb; i++) {
        uuid_text(uuid, list[i].id.deviceUUID);
        if (!strcmp(uuid, name) || strstr(list[i].properties.deviceName, name))
            return i;
    }
    return -1;
}

static int choose(MgvDevice *dev, Candidate *out, const char *name)
{
    Candidate list[MAX_DEVICES];
    int nb = enumerate(dev, list), i;

    if (nb < 0)
        return nb;
    i = name ? find(list, nb, name) : best(list, nb);
    if (i < 0 && !nb) {
        mgv_err(dev->log, "vulkan: there is no device");
        return MAGVIT_ERR(ENOTSUP);
    }
    if (i < 0) {
        mgv_err(dev->log, "device is '%s', must be a number in [0,%d], a UUID or part of the name of one of them, "
                "the first of which is '%s'", name, nb - 1, list[0].properties.deviceName);
        return MAGVIT_ERR(EINVAL);
    }
    *out = list[i];
    if (is_software(out))
        mgv_warn(dev->log, "vulkan: device %d, %s, is software: slow, for tests", i, out->properties.deviceName);
    return 0;
}

static int vk_list(int index, MagvitDeviceInfo *out, const MagvitLogger *log)
{
    MgvDevice dev = { .log = log };
    Candidate list[MAX_DEVICES];
    int nb, ret;

    RET(create_instance(&dev));
    RET(nb = enumerate(&dev, list));
    ret = index >= 0 && index < nb ? 0 : MAGVIT_ERR(ENOENT);
    if (ret == 0) {
        *out = (MagvitDeviceInfo){ .software = is_software(&list[index]) };
        snprintf(out->name, sizeof(out->name), "%s", list[index].properties.deviceName);
        snprintf(out->driver, sizeof(out->driver), "%s %s", list[index].driver.driverName, list[index].driver.driverInfo);
        uuid_text(out->uuid, list[index].id.deviceUUID);
    }
fail:
    if (dev.instance)
        dev.f.DestroyInstance(dev.instance, NULL);
    return ret;
}

/* ---- device ---- */

static int check_device(MgvDevice *dev)
{
    VkPhysicalDeviceVulkan12Features have = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES };
    VkPhysicalDeviceFeatures2 f = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &have };
    const uint32_t version = dev->properties.apiVersion;
    const char *lacks = NULL;

    if (version >= VK_API_VERSION_1_2)
        dev->f.GetPhysicalDeviceFeatures2(dev->physical, &f);
    if (version < VK_API_VERSION_1_2)
        lacks = "version 1.2";
    else if (!have.timelineSemaphore)
        lacks = "timelineSemaphore";
    else if (!have.bufferDeviceAddress)
        lacks = "bufferDeviceAddress";
    else if (dev->properties.limits.maxComputeWorkGroupInvocations < 256)
        lacks = "workgroups of 256 threads";
    if (!lacks)
        return 0;
    mgv_err(dev->log, "vulkan: device %s lacks %s", dev->properties.deviceName, lacks);
    return MAGVIT_ERR(ENOTSUP);
}

/* A family that computes, one that does nothing else if there is one: windows of others do not wait for it. */
static int find_family(MgvDevice *dev)
{
    VkQueueFamilyProperties list[32];
    uint32_t nb = MGV_ARRAY_LEN(list);
    int found = -1;

    dev->f.GetPhysicalDeviceQueueFamilyProperties(dev->physical, &nb, list);
    for (uint32_t i = 0; i < nb; i++)
        if (list[i].queueFlags & VK_QUEUE_COMPUTE_BIT && (found < 0 || !(list[i].queueFlags & VK_QUEUE_GRAPHICS_BIT))) {
            found = (int)i;
            if (!(list[i].queueFlags & VK_QUEUE_GRAPHICS_BIT))
                break;
        }
    if (found < 0) {
        mgv_err(dev->log, "vulkan: device %s does not compute", dev->properties.deviceName);
        return MAGVIT_ERR(ENOTSUP);
    }
    dev->family = (uint32_t)found;
    return 0;
}

static int create_device(MgvDevice *dev)
{
    const float priority = 1;
    const VkDeviceQueueCreateInfo queue = {
        .sType            = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = dev->family,
        .queueCount       = 1,
        .pQueuePriorities = &priority,
    };
    VkPhysicalDeviceVulkan12Features use = {
        .sType               = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .timelineSemaphore   = 1,
        .bufferDeviceAddress = 1,
    };
    const VkDeviceCreateInfo info = {
        .sType                = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext                = &use,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos    = &queue,
    };
    int ret;

    VK(dev, "device", dev->f.CreateDevice(dev->physical, &info, NULL, &dev->device));
#define X(name)                                                                            \
    dev->f.name = (PFN_vk##name)dev->f.GetDeviceProcAddr(dev->device, "vk" #name);         \
    if (!dev->f.name)                                                                      \
        return missing(dev, #name);
    MGV_VK_DEVICE(X)
#undef X
    dev->f.GetDeviceQueue(dev->device, dev->family, 0, &dev->queue);
fail:
    return ret;
}

static void vk_close(MgvDevice **out)
{
    MgvDevice *dev = *out;

    if (!dev)
        return;
    if (dev->device && dev->queue) {
        mgv_vk_queue_close(dev);
        mgv_vk_pipelines_close(dev);
    }
    if (dev->device && dev->f.DestroyDevice)
        dev->f.DestroyDevice(dev->device, NULL);
    if (dev->instance && dev->f.DestroyInstance)
        dev->f.DestroyInstance(dev->instance, NULL);
    pthread_mutex_destroy(&dev->lock);
    mgv_freep(out);
}

static int set_up(MgvDevice *dev, const char *name)
{
    VkPhysicalDeviceMaintenance3Properties limits = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES,
    };
    VkPhysicalDeviceProperties2 p = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &limits };
    Candidate c;
    int ret;

    RET(create_instance(dev));
    RET(choose(dev, &c, name));
    dev->physical   = c.physical;
    dev->properties = c.properties;
    RET(check_device(dev));
    dev->f.GetPhysicalDeviceProperties2(dev->physical, &p);
    dev->f.GetPhysicalDeviceMemoryProperties(dev->physical, &dev->memory);
    dev->max_allocation = limits.maxMemoryAllocationSize;
    RET(find_family(dev));
    RET(create_device(dev));
    RET(mgv_vk_queue_open(dev));
    RET(mgv_vk_pipelines_open(dev));
    snprintf(dev->description, sizeof(dev->description), "%s, %s %s, f32", c.properties.deviceName, c.driver.driverName,
             c.driver.driverInfo);
fail:
    return ret;
}

static int vk_open(MgvDevice **out, const MgvDeviceSettings *s, const MagvitLogger *log)
{
    MgvDevice *dev = mgv_calloc(1, sizeof(*dev));
    int ret;

    *out = NULL;
    if (!dev) {
        mgv_err(log, "device: out of memory");
        return MAGVIT_ERR(ENOMEM);
    }
    dev->log = log;
    if (s->precision > MAGVIT_PRECISION_F32) {
        mgv_err(log, "precision is %s, must be auto or f32 for the vulkan backend",
                s->precision == MAGVIT_PRECISION_BF16 ? "bf16" : "int8");
        mgv_freep(&dev);
        return MAGVIT_ERR(ENOTSUP);
    }
    pthread_mutex_init(&dev->lock, NULL);
    RET(set_up(dev, s->device));
    *out = dev;
    return 0;
fail:
    vk_close(&dev);
    return ret;
}

static const char *vk_describe(const MgvDevice *dev)
{
    return dev->description;
}

/* Products of one sample leave a large device half empty. Activations may take a quarter of the largest memory. */
static int vk_batch(const MgvDevice *dev, size_t bytes)
{
    VkDeviceSize most = 0;

    if (dev->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU)
        return 1;
    for (uint32_t i = 0; i < dev->memory.memoryHeapCount; i++)
        if (dev->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)
            most = MGV_MAX(most, dev->memory.memoryHeaps[i].size);
    most = MGV_MIN(most / 4, dev->max_allocation);
    return (int)MGV_CLAMP(most / MGV_MAX(bytes, 1), 1, MAX_BATCH);
}

const MgvBackend mgv_backend_vulkan = {
    .name     = "vulkan",
    .type     = MAGVIT_BACKEND_VULKAN,
    .list     = vk_list,
    .open     = vk_open,
    .close    = vk_close,
    .describe = vk_describe,
    .compile  = mgv_vk_compile,
    .free     = mgv_vk_free,
    .write    = mgv_vk_write,
    .run      = mgv_vk_run,
    .read     = mgv_vk_read,
    .tap      = mgv_vk_tap,
    .memory   = mgv_vk_exec_memory,
    .batch    = vk_batch,
    .limit    = mgv_vk_limit,
    .loop_open   = mgv_vk_loop_open,
    .loop_close  = mgv_vk_loop_close,
    .loop_start  = mgv_vk_loop_start,
    .loop_finish = mgv_vk_loop_finish,
};
