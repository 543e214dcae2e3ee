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
 * Vulkan backend: loader and device (vk.c), memory (vk_memory.c), pipelines
 * and their cache on disk (vk_pipeline.c), plans (vk_exec.c), operations
 * (vk_ops.c). Vulkan 1.2 with timeline semaphores and buffer device addresses;
 * shaders get addresses in push constants, so there are no descriptors.
 */

#ifndef MAGVIT_VK_H
#define MAGVIT_VK_H

#include <pthread.h>
#include <stdatomic.h>

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#include "config.h"
#include "libmagvit/backend.h"

/* Functions of the loader, of an instance, of a device: X(name without vk). */
#define MGV_VK_GLOBAL(X) \
    X(CreateInstance) X(EnumerateInstanceVersion)
#define MGV_VK_INSTANCE(X) \
    X(DestroyInstance) X(EnumeratePhysicalDevices) X(EnumerateDeviceExtensionProperties) X(GetPhysicalDeviceProperties2) \
    X(GetPhysicalDeviceFeatures2) X(GetPhysicalDeviceMemoryProperties) X(GetPhysicalDeviceQueueFamilyProperties) \
    X(CreateDevice) X(GetDeviceProcAddr)
#define MGV_VK_DEVICE(X) \
    X(DestroyDevice) X(DeviceWaitIdle) X(GetDeviceQueue) X(QueueSubmit) \
    X(AllocateMemory) X(FreeMemory) X(MapMemory) \
    X(CreateBuffer) X(DestroyBuffer) X(GetBufferMemoryRequirements) X(BindBufferMemory) X(GetBufferDeviceAddress) \
    X(CreateShaderModule) X(DestroyShaderModule) X(CreatePipelineLayout) X(DestroyPipelineLayout) \
    X(CreatePipelineCache) X(DestroyPipelineCache) X(GetPipelineCacheData) X(CreateComputePipelines) X(DestroyPipeline) \
    X(CreateCommandPool) X(DestroyCommandPool) X(ResetCommandPool) X(AllocateCommandBuffers) \
    X(BeginCommandBuffer) X(EndCommandBuffer) \
    X(CmdBindPipeline) X(CmdPushConstants) X(CmdDispatch) X(CmdPipelineBarrier) X(CmdCopyBuffer) \
    X(CreateSemaphore) X(DestroySemaphore) X(WaitSemaphores)

typedef struct MgvVkFunctions {
    PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
#define X(name) PFN_vk##name name;
    MGV_VK_GLOBAL(X)
    MGV_VK_INSTANCE(X)
    MGV_VK_DEVICE(X)
#undef X
} MgvVkFunctions;

/* shaders/<name>.comp.glsl, each for float and, with HALF, for products of float16 */
#define MGV_VK_SHADERS(X)                                                          \
    X(conv3d) X(linear) X(attention) X(group_norm) X(layer_norm) X(pointwise)      \
    X(resample) X(embed) X(vq_argmin) X(sampler) X(draw)

/* Products by cooperative matrices, of float16 only. */
#if CONFIG_COOPMAT
#define MGV_VK_COOPMAT_SHADERS(X) X(conv3d_coopmat) X(linear_coopmat) X(attention_coopmat)
#else
#define MGV_VK_COOPMAT_SHADERS(X)
#endif

enum MgvVkShader {
#define X(name) MGV_VK_##name,
    MGV_VK_SHADERS(X)
    MGV_VK_NB_PLAIN_SHADERS,
    MGV_VK_LAST_PLAIN_SHADER = MGV_VK_NB_PLAIN_SHADERS - 1,
    MGV_VK_COOPMAT_SHADERS(X)
#undef X
    MGV_VK_NB_SHADERS
};

#define MGV_VK_MAX_SPEC 16
/** Constants that every shader has: mask of inputs stored as float16, whether the output is. */
enum { MGV_VK_SPEC_HALF_IN = 10, MGV_VK_SPEC_HALF_OUT };

/** A shader with its specialisation constants, numbered from 0. */
typedef struct MgvVkPipeline {
    enum MgvVkShader shader;
    uint32_t spec[MGV_VK_MAX_SPEC];
    VkPipeline pipeline;
    struct MgvVkPipeline *next;
} MgvVkPipeline;

typedef struct MgvVkBuffer {
    VkBuffer buffer;
    VkDeviceMemory memory;
    VkDeviceAddress address;
    size_t size;
    void *map;  ///< host memory, NULL: only the device sees it
} MgvVkBuffer;

enum MgvVkUse {
    MGV_VK_LOCAL,    ///< the device's own
    MGV_VK_UPLOAD,   ///< the host writes
    MGV_VK_READBACK, ///< the host reads
    MGV_VK_PASSAGE,  ///< the device's own, and between its queues
};

/** Cooperative matrices of float16 with float sums. */
typedef struct MgvVkCoopmat {
    uint32_t m, n, k;  ///< 0: the device has none
    uint32_t subgroup; ///< threads of a subgroup
    uint64_t fill;     ///< workgroups that keep a large device busy
} MgvVkCoopmat;

/** A queue and what it has done. */
typedef struct MgvVkQueue {
    VkQueue queue;        ///< NULL: there is none
    uint32_t family;
    VkSemaphore timeline; ///< counts the command buffers that are done
    uint64_t submitted;   ///< its value when all are
} MgvVkQueue;

struct MgvDevice {
    const MagvitLogger *log;
    char description[800];
    MgvVkFunctions f;
    VkInstance instance;
    VkPhysicalDevice physical;
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceMemoryProperties memory;
    VkDeviceSize max_allocation; ///< bytes
    int half;                    ///< products multiply float16
    MgvVkCoopmat coopmat;        ///< with half
    VkDevice device;
    MgvVkQueue queue;            ///< computes
    MgvVkQueue up, down;         ///< bring inputs of decoding loops, and their results; may lack
    uint32_t transfer_family, nb_transfers; ///< queues that only transfer: their family, how many are used
    pthread_mutex_t lock;        ///< guards queues and pipelines
    VkPipelineLayout layout;
    VkPipelineCache cache;
    size_t cache_loaded;         ///< bytes of it that came from disk
    MgvVkPipeline *pipelines;
};

/**
 * Call a function that gives a VkResult, jump to fail with ret set and one line
 * logged if that is an error. what is printed: what was being done.
 */
#define VK(dev, what, call)                                                                     \
    do {                                                                                        \
        VkResult res_ = mgv_vk_fault();                                                         \
        ret = mgv_vk_result((dev)->log, what, res_ == VK_SUCCESS ? (call) : res_);              \
        if (ret < 0)                                                                            \
            goto fail;                                                                          \
    } while (0)

/** Log an error. @return 0, MAGVIT_ERR(ENOMEM) if memory is out, else MAGVIT_ERROR_DEVICE */
int mgv_vk_result(const MagvitLogger *log, const char *what, VkResult res);

/** Test switch: the n-th call by VK() from now gives mgv_vk_fail_with instead of being made (1 = next); 0 = never. */
extern long mgv_vk_fail_at;
extern VkResult mgv_vk_fail_with;
VkResult mgv_vk_fault(void);

/** Test switch for devices opened from now on. */
enum MgvVkMatrices {
    MGV_VK_MATRICES_AUTO,
    MGV_VK_MATRICES_NONE,    ///< products without cooperative matrices
    MGV_VK_MATRICES_LARGE,   ///< the largest tiles, however little work there is
};
extern enum MgvVkMatrices mgv_vk_matrices;

/** Test switch for devices opened from now on: transfers of decoding loops. */
enum MgvVkTransfers {
    MGV_VK_TRANSFERS_AUTO,   ///< in queues of their own where the device has such
    MGV_VK_TRANSFERS_WITHIN, ///< in that which computes
    MGV_VK_TRANSFERS_UP,     ///< as in a queue for uploads alone, and
    MGV_VK_TRANSFERS_BOTH,   ///< as in two of their own, though all are that which computes
};
extern enum MgvVkTransfers mgv_vk_transfers;

/** For tests: VkDeviceMemory objects that exist. */
extern atomic_long mgv_vk_allocations;

/** Make a buffer with memory of its own. size 0 makes none, which is no error. what: for messages. */
int mgv_vk_buffer_create(MgvDevice *dev, MgvVkBuffer *b, size_t size, enum MgvVkUse use, const char *what);
void mgv_vk_buffer_destroy(MgvDevice *dev, MgvVkBuffer *b);

/** Pipeline layout, and what the cache file of this device and driver holds. A bad file is ignored. */
int mgv_vk_pipelines_open(MgvDevice *dev);
/** Write the cache file if there is more than was read; failure to write is no error. */
void mgv_vk_pipelines_close(MgvDevice *dev);
/** A pipeline from the device's list, made if it is not there yet. */
int mgv_vk_pipeline(MgvDevice *dev, VkPipeline *out, enum MgvVkShader shader, const uint32_t *spec, int nb_spec);

/** Push constants of every shader: addresses, then its own numbers. */
typedef struct MgvVkPush {
    VkDeviceAddress in[MGV_MAX_IN], weight[MGV_MAX_WEIGHT], out;
    uint32_t number[20];
} MgvVkPush;

/** Tile of the product by cooperative matrices: shaders/gemm_coopmat.glsl. */
typedef struct MgvVkMatrixTile {
    uint32_t bm, bn; ///< of a workgroup; 0: product without
    uint32_t wm, wn; ///< of a subgroup
    uint32_t bk;     ///< depth that is in shared memory at once
} MgvVkMatrixTile;

#define MGV_VK_MAX_DISPATCHES 3

typedef struct MgvVkDispatch {
    VkPipeline pipeline;
    MgvVkPush push;
    uint64_t groups; ///< workgroups
} MgvVkDispatch;

/**
 * An op as shaders run it. Two calls make it: mgv_vk_op_measure() says what
 * it needs, mgv_vk_op_prepare() is called when all memory is there.
 */
typedef struct MgvVkOp {
    MgvDevice *dev;
    const MgvOp *op;
    int batch;                     ///< samples of the plan
    MgvShape in, out;              ///< shapes of first input and output; to prepare, n is what is to be computed
    unsigned half_in;              ///< bit i: input i is stored as float16
    int half_out;                  ///< so is the output

    MgvVkMatrixTile matrix;        ///< by measure: what a product's weights are packed for
    float scale;                   ///< by measure: what a product's stored weights are to be multiplied by
    size_t weight_bytes[MGV_MAX_WEIGHT]; ///< by measure: prepacked
    size_t scratch_bytes;          ///< by measure: memory for the duration of the op

    VkDeviceAddress in_at[MGV_MAX_IN], weight_at[MGV_MAX_WEIGHT], out_at, scratch_at; ///< for prepare
    MgvVkDispatch dispatch[MGV_VK_MAX_DISPATCHES]; ///< by prepare; each needs what those before it wrote
    int nb_dispatches;
} MgvVkOp;

/**
 * May a plan's tensor be stored as float16? Only what products alone read:
 * they round to float16 anyway, so it changes no bit.
 */
int mgv_vk_may_be_half(const MgvPlan *plan, MgvT tensor);
/** Nearest float16, ties to even, the largest finite one beyond the range; and back. */
uint16_t mgv_vk_to_half(float x);
float mgv_vk_from_half(uint16_t h);

/** ENOTSUP with a line if the op is beyond the device. */
int mgv_vk_op_measure(MgvVkOp *o);
/** Write prepacked weight i, weight_bytes[i] of zeroed host memory. */
int mgv_vk_op_pack(const MgvVkOp *o, int i, void *out);
int mgv_vk_op_prepare(MgvVkOp *o);

/** Families of the queues that the device is to be created with; 0 or ENOTSUP with a line. */
int mgv_vk_find_queues(MgvDevice *dev);
/** Queues of a device as created, and their timelines. Close copes with half-made ones. */
int mgv_vk_queues_open(MgvDevice *dev);
void mgv_vk_queues_close(MgvDevice *dev);

/** A value of a queue's timeline. */
typedef struct MgvVkPoint {
    const MgvVkQueue *queue; ///< NULL: long past
    uint64_t value;
} MgvVkPoint;

/**
 * Submit command buffers, each of which begins when all that was submitted to the queue before is done, the first when
 * after is, too.
 * @param done receives the value to wait for, also of those that were submitted before an error; what: for messages
 */
int mgv_vk_submit(MgvDevice *dev, MgvVkQueue *q, const VkCommandBuffer *list, int nb, MgvVkPoint after, uint64_t *done,
                  const char *what);
int mgv_vk_wait(MgvDevice *dev, const MgvVkQueue *q, uint64_t value, const char *what);

/** A command buffer with a pool of its own. */
typedef struct MgvVkCommands {
    VkCommandPool pool;
    VkCommandBuffer buffer;
} MgvVkCommands;

int mgv_vk_commands_create(MgvDevice *dev, const MgvVkQueue *q, MgvVkCommands *c);
void mgv_vk_commands_destroy(MgvDevice *dev, MgvVkCommands *c);
int mgv_vk_begin(MgvDevice *dev, const MgvVkCommands *c, const char *what);
int mgv_vk_end(MgvDevice *dev, const MgvVkCommands *c, const char *what);
void mgv_vk_barrier(MgvDevice *dev, VkCommandBuffer c, VkPipelineStageFlags from, VkAccessFlags made,
                    VkPipelineStageFlags to, VkAccessFlags used);
/** From what shaders wrote to shaders. */
void mgv_vk_barrier_compute(MgvDevice *dev, VkCommandBuffer c);
void mgv_vk_record_dispatch(MgvDevice *dev, VkCommandBuffer c, const MgvVkDispatch *d);

/** Make ready for the first n samples; what follows needs it. */
int mgv_vk_exec_prepare(MgvExec *exec, int n);
/** Record the ops for n samples; inputs from and outputs to buffers that are laid out as the exec's own, NULL: none. */
void mgv_vk_exec_record(const MgvExec *exec, VkCommandBuffer c, int n, const MgvVkBuffer *from, const MgvVkBuffer *to);
const MgvPlan *mgv_vk_exec_plan(const MgvExec *exec);
/** Where an input or output of the plan, by number, lies in such a buffer; its bytes in all if nb is their number. */
size_t mgv_vk_exec_input_at(const MgvExec *exec, int i);
size_t mgv_vk_exec_output_at(const MgvExec *exec, int i);
/** Record a copy of all inputs, or outputs, of n samples from one such buffer to another. */
void mgv_vk_exec_copy(const MgvExec *exec, VkCommandBuffer c, int n, int outputs, const MgvVkBuffer *from,
                      const MgvVkBuffer *to);
VkDeviceAddress mgv_vk_exec_address(const MgvExec *exec, MgvT tensor);

/** The calls of MgvBackend on loops, vk_sampler.c. */
int mgv_vk_loop_open(MgvLoop **out, MgvDevice *dev, const MgvLoopShape *s);
void mgv_vk_loop_close(MgvLoop **loop);
int mgv_vk_loop_start(MgvLoop *loop, const MgvLoopParams *p, const MgvLoopSample *list, int n);
int mgv_vk_loop_finish(MgvLoop *loop, MgvLoopSample *list, int n, MgvLoopFn *fn, void *opaque);

/** The calls of MgvBackend on plans, vk_exec.c. */
int mgv_vk_limit(MgvExec *exec, int n);
int mgv_vk_compile(MgvExec **out, MgvDevice *dev, const MgvPlan *plan);
void mgv_vk_free(MgvExec **exec);
int mgv_vk_write(MgvExec *exec, MgvT tensor, const void *data, size_t size);
int mgv_vk_run(MgvExec *exec);
int mgv_vk_read(MgvExec *exec, MgvT tensor, void *data, size_t size);
void mgv_vk_tap(MgvExec *exec, MgvTapFn *fn, void *opaque);
void mgv_vk_exec_memory(const MgvExec *exec, size_t *weights, size_t *work);
int mgv_vk_exec_measure(MgvDevice *dev, const MgvPlan *plan, MgvNeed *need);

#endif /* MAGVIT_VK_H */
