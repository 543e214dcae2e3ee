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
 * Compute pipelines, made when a plan first asks for them, and their cache on
 * disk: $XDG_CACHE_HOME/libmagvit or ~/.cache/libmagvit, one file for each
 * device and driver. The file has a header of ours, because drivers are not
 * safe against damaged data.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/vk.h"

#define MAGIC "MGVVKPC1"
#define MAX_CACHE (64u << 20) ///< bytes

/** Before the driver's data in a cache file. */
typedef struct CacheHeader {
    char magic[8];
    uint64_t size; ///< bytes of data
    uint32_t vendor, device, driver, reserved;
    uint8_t uuid[VK_UUID_SIZE];
    char sha256[65];
    char end[7];   ///< zero
} CacheHeader;

#define PLAIN(name)                                           \
    extern const unsigned char mgv_##name##_comp_spv_data[];  \
    extern const unsigned mgv_##name##_comp_spv_len;
#define HALF(name)                                                 \
    extern const unsigned char mgv_##name##_comp_half_spv_data[];  \
    extern const unsigned mgv_##name##_comp_half_spv_len;
MGV_VK_SHADERS(PLAIN)
MGV_VK_SHADERS(HALF)
MGV_VK_COOPMAT_SHADERS(HALF)
#undef PLAIN
#undef HALF

typedef struct Code {
    const unsigned char *data;
    const unsigned *size;
} Code;

static const struct {
    const char *name;
    Code code[2]; ///< for float, with products of float16
} shaders[MGV_VK_NB_SHADERS] = {
#define PLAIN(name) { mgv_##name##_comp_spv_data, &mgv_##name##_comp_spv_len }
#define HALF(name) { mgv_##name##_comp_half_spv_data, &mgv_##name##_comp_half_spv_len }
#define X(name) [MGV_VK_##name] = { #name, { PLAIN(name), HALF(name) } },
    MGV_VK_SHADERS(X)
#undef X
#define X(name) [MGV_VK_##name] = { #name, { { NULL, NULL }, HALF(name) } },
    MGV_VK_COOPMAT_SHADERS(X)
#undef X
#undef PLAIN
#undef HALF
};

/* ---- cache file ---- */

static CacheHeader make_header(const MgvDevice *dev, const void *data, size_t size)
{
    CacheHeader h = {
        .magic  = MAGIC,
        .size   = size,
        .vendor = dev->properties.vendorID,
        .device = dev->properties.deviceID,
        .driver = dev->properties.driverVersion,
    };

    memcpy(h.uuid, dev->properties.pipelineCacheUUID, sizeof(h.uuid));
    mgv_sha256(h.sha256, data, size);
    return h;
}

/* Folder, made if it is not there; then the file. @return 0 if there is no place for one */
static int cache_path(const MgvDevice *dev, char *path, size_t size)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    const uint8_t *id = dev->properties.pipelineCacheUUID;
    int n;

    if (xdg && *xdg == '/')
        n = snprintf(path, size, "%s", xdg);
    else if (home && *home == '/')
        n = snprintf(path, size, "%s/.cache", home);
    else
        return 0;
    if (n < 0 || (size_t)n + 80 > size)
        return 0;
    mkdir(path, 0700);
    n += snprintf(path + n, size - n, "/libmagvit");
    mkdir(path, 0700);
    n += snprintf(path + n, size - n, "/vulkan-%04x-%04x-", dev->properties.vendorID, dev->properties.deviceID);
    for (unsigned i = 0; i < VK_UUID_SIZE; i++)
        n += snprintf(path + n, size - n, "%02x", id[i]);
    return 1;
}

/* Data of the cache file as new memory, NULL if there is none that is right in every byte. */
static void *read_cache(const MgvDevice *dev, size_t *size)
{
    char path[4096];
    CacheHeader h, want;
    void *data = NULL;
    FILE *f = cache_path(dev, path, sizeof(path)) ? fopen(path, "rb") : NULL;

    *size = 0;
    if (!f)
        return NULL;
    if (fread(&h, sizeof(h), 1, f) == 1 && h.size && h.size <= MAX_CACHE && (data = mgv_calloc(1, h.size))) {
        want = make_header(dev, data, 0);
        if (fread(data, h.size, 1, f) == 1 && fgetc(f) == EOF)
            want = make_header(dev, data, h.size);
        if (memcmp(&h, &want, sizeof(h)))
            mgv_freep(&data);
        else
            *size = h.size;
    }
    fclose(f);
    if (!data)
        mgv_verbose(dev->log, "vulkan: pipeline cache %s is of another driver or damaged, ignored", path);
    return data;
}

/* A file of another name, then renamed, so that no other process sees half of it. */
static void write_cache(const MgvDevice *dev, const void *data, size_t size)
{
    const CacheHeader h = make_header(dev, data, size);
    char path[4096], part[4200];
    FILE *f;
    int ok;

    if (!cache_path(dev, path, sizeof(path)))
        return;
    snprintf(part, sizeof(part), "%s.%ld.part", path, (long)getpid());
    f = fopen(part, "wb");
    if (!f)
        return;
    ok = fwrite(&h, sizeof(h), 1, f) == 1 && fwrite(data, size, 1, f) == 1;
    ok = !fclose(f) && ok;
    if (!ok || rename(part, path))
        unlink(part);
}

static void save_cache(MgvDevice *dev)
{
    size_t size = 0;
    void *data;

    if (dev->f.GetPipelineCacheData(dev->device, dev->cache, &size, NULL) != VK_SUCCESS || size <= dev->cache_loaded ||
        size > MAX_CACHE || !(data = mgv_calloc(1, size)))
        return;
    if (dev->f.GetPipelineCacheData(dev->device, dev->cache, &size, data) == VK_SUCCESS)
        write_cache(dev, data, size);
    mgv_freep(&data);
}

/* ---- pipelines ---- */

int mgv_vk_pipelines_open(MgvDevice *dev)
{
    const VkPushConstantRange push = { VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(MgvVkPush) };
    const VkPipelineLayoutCreateInfo layout = {
        .sType                  = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges    = &push,
    };
    VkPipelineCacheCreateInfo cache = { .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO };
    void *data = read_cache(dev, &dev->cache_loaded);
    int ret;

    cache.initialDataSize = dev->cache_loaded;
    cache.pInitialData    = data;
    VK(dev, "pipeline layout", dev->f.CreatePipelineLayout(dev->device, &layout, NULL, &dev->layout));
    VK(dev, "pipeline cache", dev->f.CreatePipelineCache(dev->device, &cache, NULL, &dev->cache));
fail:
    mgv_freep(&data);
    return ret;
}

void mgv_vk_pipelines_close(MgvDevice *dev)
{
    if (dev->cache)
        save_cache(dev);
    while (dev->pipelines) {
        MgvVkPipeline *p = dev->pipelines;

        dev->pipelines = p->next;
        dev->f.DestroyPipeline(dev->device, p->pipeline, NULL);
        mgv_freep(&p);
    }
    dev->f.DestroyPipelineCache(dev->device, dev->cache, NULL);
    dev->f.DestroyPipelineLayout(dev->device, dev->layout, NULL);
}

static int create(MgvDevice *dev, MgvVkPipeline *p, int nb_spec)
{
    VkSpecializationMapEntry entries[MGV_VK_MAX_SPEC];
    const VkSpecializationInfo spec = { (uint32_t)nb_spec, entries, nb_spec * sizeof(*p->spec), p->spec };
    const Code *made = &shaders[p->shader].code[dev->half];
    const VkShaderModuleCreateInfo code = {
        .sType    = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = *made->size,
        .pCode    = (const uint32_t *)(const void *)made->data,
    };
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfoEXT subgroup = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO_EXT,
        .requiredSubgroupSize = dev->coopmat.subgroup,
    };
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {
            .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
            .stage = VK_SHADER_STAGE_COMPUTE_BIT,
            .pName = "main",
            .pSpecializationInfo = &spec,
        },
        .layout = dev->layout,
    };
    const char *name = shaders[p->shader].name;
    int ret;

    if (p->shader >= MGV_VK_NB_PLAIN_SHADERS) {
        info.stage.flags = VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT_EXT;
        info.stage.pNext = &subgroup;
    }
    for (int i = 0; i < nb_spec; i++)
        entries[i] = (VkSpecializationMapEntry){ (uint32_t)i, i * sizeof(*p->spec), sizeof(*p->spec) };
    VK(dev, name, dev->f.CreateShaderModule(dev->device, &code, NULL, &info.stage.module));
    VK(dev, name, dev->f.CreateComputePipelines(dev->device, dev->cache, 1, &info, NULL, &p->pipeline));
fail:
    if (info.stage.module)
        dev->f.DestroyShaderModule(dev->device, info.stage.module, NULL);
    return ret;
}

static int find_or_create(MgvDevice *dev, VkPipeline *out, enum MgvVkShader shader, const uint32_t *spec, int nb_spec)
{
    MgvVkPipeline *p, want = { .shader = shader };
    int ret;

    if (nb_spec)
        memcpy(want.spec, spec, nb_spec * sizeof(*spec));
    for (p = dev->pipelines; p; p = p->next)
        if (p->shader == shader && !memcmp(p->spec, want.spec, sizeof(p->spec))) {
            *out = p->pipeline;
            return 0;
        }
    p = mgv_calloc(1, sizeof(*p));
    if (!p) {
        mgv_err(dev->log, "pipeline: out of memory");
        return MAGVIT_ERR(ENOMEM);
    }
    *p = want;
    RET(create(dev, p, nb_spec));
    *out = p->pipeline;
    p->next = dev->pipelines;
    dev->pipelines = p;
    return 0;
fail:
    mgv_freep(&p);
    return ret;
}

int mgv_vk_pipeline(MgvDevice *dev, VkPipeline *out, enum MgvVkShader shader, const uint32_t *spec, int nb_spec)
{
    int ret;

    mgv_assert(nb_spec <= MGV_VK_MAX_SPEC);
    pthread_mutex_lock(&dev->lock);
    ret = find_or_create(dev, out, shader, spec, nb_spec);
    pthread_mutex_unlock(&dev->lock);
    return ret;
}
