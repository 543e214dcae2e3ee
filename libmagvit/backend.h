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
 * The wall between models and hardware: a backend compiles a whole plan or
 * refuses it with MAGVIT_ERR(ENOTSUP), naming the op.
 */

#ifndef MAGVIT_BACKEND_H
#define MAGVIT_BACKEND_H

#include "libmagvit/common.h"
#include "libmagvit/plan.h"

typedef struct MgvDevice MgvDevice; ///< backend's own: engine, worker thread, VkDevice
typedef struct MgvExec MgvExec;     ///< backend's own: one compiled plan

/** Called after each op with its output, host memory, [N,T,H,W,C]. A negative return stops the run with that code. */
typedef int MgvTapFn(void *opaque, const MgvPlan *plan, int op, const void *data);

typedef struct MgvDeviceSettings {
    const char *device; ///< index, UUID or part of a name; NULL: the best
    int threads;        ///< 0: one a core
    enum MagvitPrecision precision;
} MgvDeviceSettings;

typedef struct MgvBackend {
    const char *name;
    enum MagvitBackend type;

    /** Describe device number index, 0 first. ENOENT: no such number. NULL: the backend has no devices to choose from. */
    int (*list)(int index, MagvitDeviceInfo *out, const MagvitLogger *log);
    /** Log to log, which must outlive the device. ENOTSUP: not on this machine. */
    int (*open)(MgvDevice **out, const MgvDeviceSettings *s, const MagvitLogger *log);
    void (*close)(MgvDevice **dev);
    /** Human-readable: "oneDNN 2.6.3 avx512_core_bf16, 2 threads". Lives as long as dev. */
    const char *(*describe)(const MgvDevice *dev);

    /** Prepare everything for run(). plan must outlive the exec and be finished; its weights may be closed afterwards. */
    int (*compile)(MgvExec **out, MgvDevice *dev, const MgvPlan *plan);
    void (*free)(MgvExec **exec);

    /**
     * Host data -> input tensor; size in bytes must match exactly. Every input
     * is written before every run: its memory may be reused by the run.
     */
    int (*write)(MgvExec *exec, MgvT tensor, const void *data, size_t size);
    /** May be asynchronous; the next write or read waits. */
    int (*run)(MgvExec *exec);
    /** Output tensor -> host data. */
    int (*read)(MgvExec *exec, MgvT tensor, void *data, size_t size);
    /** fn NULL: off. */
    void (*tap)(MgvExec *exec, MgvTapFn *fn, void *opaque);
    /** Bytes of prepared weights and of activations. */
    void (*memory)(const MgvExec *exec, size_t *weights, size_t *work);
} MgvBackend;

/** In order of preference, NULL-terminated. A backend that is not built in is absent. */
extern const MgvBackend *const mgv_backends[];

extern const MgvBackend mgv_backend_ref; ///< plain C
extern const MgvBackend mgv_backend_cpu; ///< ref table overridden by oneDNN; only with CONFIG_ONEDNN
extern const MgvBackend mgv_backend_vulkan; ///< compute shaders; only with CONFIG_VULKAN

#endif /* MAGVIT_BACKEND_H */
