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

enum MgvVkMatrices mgv_vk_matrices;

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

static int choose_precision(MgvDevice *dev, enum MagvitPrecision precision, int has_half)
{
    const int software = dev->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;

    dev->half = precision == MAGVIT_PRECISION_F16 || (precision == MAGVIT_PRECISION_AUTO && has_half && !software);
    if (!dev->half || has_half)
        return 0;
    mgv_err(dev->log, "precision is f16, must be auto or f32: device %s lacks shaderFloat16 or storageBuffer16BitAccess",
            dev->properties.deviceName);
    return MAGVIT_ERR(ENOTSUP);
}

static int check_device(MgvDevice *dev, enum MagvitPrecision precision)
{
    VkPhysicalDeviceVulkan12Features have = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES };
    VkPhysicalDeviceVulkan11Features have11 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
        .pNext = &have,
    };
    VkPhysicalDeviceFeatures2 f = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &have11 };
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
        return choose_precision(dev, precision, have.shaderFloat16 && have11.storageBuffer16BitAccess);
    mgv_err(dev->log, "vulkan: device %s lacks %s", dev->properties.deviceName, lacks);
    return MAGVIT_ERR(ENOTSUP);
}

/* ---- cooperative matrices ---- */

#if CONFIG_COOPMAT
static int has_extension(const VkExtensionProperties *list, uint32_t nb, const char *name)
{
    for (uint32_t i = 0; i < nb; i++)
        if (!strcmp(list[i].extensionName, name))
            return 1;
    return 0;
}

/* Its extensions and features, and subgroups that are always full, of a size that is known. */
static int has_coopmat(MgvDevice *dev)
{
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
    };
    VkPhysicalDeviceSubgroupSizeControlFeatures control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
        .pNext = &matrix,
    };
    VkPhysicalDeviceVulkan12Features v12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .pNext = &control,
    };
    VkPhysicalDeviceFeatures2 f = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &v12 };
    VkExtensionProperties *list = NULL;
    uint32_t nb = 0;
    int has = 0;

    if (dev->f.EnumerateDeviceExtensionProperties(dev->physical, NULL, &nb, NULL) == VK_SUCCESS &&
        (list = mgv_calloc(nb, sizeof(*list))))
        has = dev->f.EnumerateDeviceExtensionProperties(dev->physical, NULL, &nb, list) == VK_SUCCESS &&
              has_extension(list, nb, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME) &&
              has_extension(list, nb, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
    mgv_freep(&list);
    if (!has)
        return 0;
    dev->f.GetPhysicalDeviceFeatures2(dev->physical, &f);
    return matrix.cooperativeMatrix && control.subgroupSizeControl && control.computeFullSubgroups &&
           v12.vulkanMemoryModel;
}

/* A shape the shaders take: their tiles are multiples of 32, or of 16 along the depth. */
static int is_usable(const VkCooperativeMatrixPropertiesKHR *p)
{
    return p->AType == VK_COMPONENT_TYPE_FLOAT16_KHR && p->BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
           p->CType == VK_COMPONENT_TYPE_FLOAT32_KHR && p->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
           p->scope == VK_SCOPE_SUBGROUP_KHR && 32 % p->MSize == 0 && 32 % p->NSize == 0 && 16 % p->KSize == 0 &&
           p->NSize % 8 == 0 && p->KSize % 8 == 0;
}

/* 16x16x16 if it is there, else the largest. */
static uint32_t merit(const VkCooperativeMatrixPropertiesKHR *p)
{
    return p->MSize == 16 && p->NSize == 16 && p->KSize == 16 ? UINT32_MAX : p->MSize * p->NSize * p->KSize;
}

static void find_coopmat(MgvDevice *dev)
{
    const PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)dev->f.GetInstanceProcAddr(
            dev->instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    VkPhysicalDeviceSubgroupSizeControlProperties control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES,
    };
    VkPhysicalDeviceVulkan11Properties v11 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES,
        .pNext = &control,
    };
    VkPhysicalDeviceProperties2 p = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &v11 };
    VkCooperativeMatrixPropertiesKHR list[64];
    uint32_t nb = MGV_ARRAY_LEN(list), best = 0;
    VkResult res;

    if (!dev->half || mgv_vk_matrices == MGV_VK_MATRICES_NONE || !get || !has_coopmat(dev))
        return;
    for (uint32_t i = 0; i < nb; i++)
        list[i] = (VkCooperativeMatrixPropertiesKHR){ .sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR };
    dev->f.GetPhysicalDeviceProperties2(dev->physical, &p);
    if (!(control.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) || control.maxComputeWorkgroupSubgroups < 8 ||
        !(v11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT) ||
        !(v11.subgroupSupportedOperations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT))
        return;
    res = get(dev->physical, &nb, list);
    for (uint32_t i = 0; i < nb && (res == VK_SUCCESS || res == VK_INCOMPLETE); i++)
        if (is_usable(&list[i]) && merit(&list[i]) > best) {
            best = merit(&list[i]);
            dev->coopmat = (MgvVkCoopmat){ list[i].MSize, list[i].NSize, list[i].KSize, v11.subgroupSize,
                                           mgv_vk_matrices == MGV_VK_MATRICES_LARGE ? 0 : 192 };
        }
}
#else
static void find_coopmat(MgvDevice *dev)
{
    (void)dev;
}
#endif

/* ---- opening ---- */

static int create_device(MgvDevice *dev)
{
    const float priorities[] = { 1, 1 };
    const VkDeviceQueueCreateInfo queues[] = {
        {
            .sType            = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
            .queueFamilyIndex = dev->queue.family,
            .queueCount       = 1,
            .pQueuePriorities = priorities,
        }, {
            .sType            = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
            .queueFamilyIndex = dev->transfer_family,
            .queueCount       = dev->nb_transfers,
            .pQueuePriorities = priorities,
        },
    };
    VkPhysicalDeviceVulkan12Features use = {
        .sType               = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .timelineSemaphore   = 1,
        .bufferDeviceAddress = 1,
        .shaderFloat16       = (VkBool32)dev->half,
    };
    VkPhysicalDeviceVulkan11Features use11 = {
        .sType                    = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
        .pNext                    = &use,
        .storageBuffer16BitAccess = (VkBool32)dev->half,
    };
    VkDeviceCreateInfo info = {
        .sType                = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext                = &use11,
        .queueCreateInfoCount = dev->nb_transfers ? 2 : 1,
        .pQueueCreateInfos    = queues,
    };
    int ret;

#if CONFIG_COOPMAT
    static const char *const extensions[] = {
        VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME,
    };
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix = {
        .sType             = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
        .cooperativeMatrix = 1,
    };
    VkPhysicalDeviceSubgroupSizeControlFeatures control = {
        .sType                = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
        .pNext                = &matrix,
        .subgroupSizeControl  = 1,
        .computeFullSubgroups = 1,
    };
    if (dev->coopmat.m) {
        use.pNext = &control;
        use.vulkanMemoryModel = 1;
        info.enabledExtensionCount   = MGV_ARRAY_LEN(extensions);
        info.ppEnabledExtensionNames = extensions;
    }
#endif
    VK(dev, "device", dev->f.CreateDevice(dev->physical, &info, NULL, &dev->device));
#define X(name)                                                                            \
    dev->f.name = (PFN_vk##name)dev->f.GetDeviceProcAddr(dev->device, "vk" #name);         \
    if (!dev->f.name)                                                                      \
        return missing(dev, #name);
    MGV_VK_DEVICE(X)
#undef X
    RET(mgv_vk_queues_open(dev));
fail:
    return ret;
}

static void vk_close(MgvDevice **out)
{
    MgvDevice *dev = *out;

    if (!dev)
        return;
    if (dev->device && dev->queue.queue) {
        mgv_vk_queues_close(dev);
        mgv_vk_pipelines_close(dev);
    }
    if (dev->device && dev->f.DestroyDevice)
        dev->f.DestroyDevice(dev->device, NULL);
    if (dev->instance && dev->f.DestroyInstance)
        dev->f.DestroyInstance(dev->instance, NULL);
    pthread_mutex_destroy(&dev->lock);
    mgv_freep(out);
}

static void describe(MgvDevice *dev, const Candidate *c)
{
    const int transfers = !!dev->up.queue + !!dev->down.queue;
    char matrices[80] = "", queues[40] = "";

    if (dev->coopmat.m)
        snprintf(matrices, sizeof(matrices), ", cooperative matrices of %ux%ux%u", dev->coopmat.m, dev->coopmat.n,
                 dev->coopmat.k);
    if (transfers)
        snprintf(queues, sizeof(queues), ", %d transfer queue%s", transfers, transfers > 1 ? "s" : "");
    snprintf(dev->description, sizeof(dev->description), "%s, %s %s, %s%s%s", c->properties.deviceName,
             c->driver.driverName, c->driver.driverInfo, dev->half ? "f16" : "f32", matrices, queues);
}

static int set_up(MgvDevice *dev, const MgvDeviceSettings *s)
{
    VkPhysicalDeviceMaintenance3Properties limits = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES,
    };
    VkPhysicalDeviceProperties2 p = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &limits };
    Candidate c;
    int ret;

    RET(create_instance(dev));
    RET(choose(dev, &c, s->device));
    dev->physical   = c.physical;
    dev->properties = c.properties;
    RET(check_device(dev, s->precision));
    find_coopmat(dev);
    dev->f.GetPhysicalDeviceProperties2(dev->physical, &p);
    dev->f.GetPhysicalDeviceMemoryProperties(dev->physical, &dev->memory);
    dev->max_allocation = limits.maxMemoryAllocationSize;
    RET(mgv_vk_find_queues(dev));
    RET(create_device(dev));
    RET(mgv_vk_pipelines_open(dev));
    describe(dev, &c);
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
    if (s->precision == MAGVIT_PRECISION_BF16 || s->precision == MAGVIT_PRECISION_INT8) {
        mgv_err(log, "precision is %s, must be auto, f32 or f16 for the vulkan backend", mgv_precision_name(s->precision));
        mgv_freep(&dev);
        return MAGVIT_ERR(ENOTSUP);
    }
    pthread_mutex_init(&dev->lock, NULL);
    RET(set_up(dev, s));
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
    .measure  = mgv_vk_exec_measure,
    .batch    = vk_batch,
    .limit    = mgv_vk_limit,
    .loop_open   = mgv_vk_loop_open,
    .loop_close  = mgv_vk_loop_close,
    .loop_start  = mgv_vk_loop_start,
    .loop_finish = mgv_vk_loop_finish,
};
