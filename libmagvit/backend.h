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

typedef struct MgvExec MgvExec;     ///< backend's own: one compiled plan

/** Called after each op with its output, host memory, [N,T,H,W,C]. A negative return stops the run with that code. */
typedef int MgvTapFn(void *opaque, const MgvPlan *plan, int op, const void *data);

typedef struct MgvDeviceSettings {
    const char *device; ///< index, UUID or part of a name; NULL: the best
    int threads;        ///< 0: one a core
    enum MagvitPrecision precision;
} MgvDeviceSettings;

typedef struct MgvLoop MgvLoop;     ///< backend's own: buffers of a decoding loop, see MgvBackend.loop_open

/** Bytes that a compiled plan takes. */
typedef struct MgvNeed {
    size_t weights; ///< as prepared
    size_t work;    ///< inputs, outputs, and activations that are its own
    size_t shared;  ///< what all plans of a device have in common while they run: the largest counts
} MgvNeed;

#define MGV_LOOP_STEPS 256  ///< at most
#define MGV_LOOP_SAMPLES 32 ///< at most
#define MGV_LOOP_RUNS 2     ///< that may be on their way at once
#define MGV_LOOP_PREFIX 2   ///< ids before the tokens, at most
#define MGV_COND_ENCODED (-2) ///< condition: what the encoder makes of the sample

/** What a loop is made for. */
typedef struct MgvLoopShape {
    MgvExec *encoder;     ///< F32 in, I32 [n,..] out: tokens values a sample; NULL: no condition is encoded
    MgvExec *transformer; ///< I32 [n,1,1,prefix+tokens,1] in, F32 [n,1,1,prefix+tokens,codes] out
    MgvExec *decoder;     ///< first input I32, tokens values a sample; NULL: codes are all that is wanted
    int samples;          ///< of a run, [1,MGV_LOOP_SAMPLES]; the plans hold as many, the transformer twice as many if there may be guidance
    int prefix;           ///< [0,MGV_LOOP_PREFIX]
    int tokens, codes;
    int mask;             ///< id of a token that is not known
} MgvLoopShape;

/** One sample of a run. What it points to is read by loop_start() and written by loop_finish(). */
typedef struct MgvLoopSample {
    const void *clip;     ///< encoder's input, NULL: no condition is encoded
    const void *known;    ///< decoder's second input, if it has one
    const int32_t *cond;  ///< [tokens] condition: a code, -1: none, or MGV_COND_ENCODED
    int32_t prefix[MGV_LOOP_PREFIX], without[MGV_LOOP_PREFIX]; ///< ids before the tokens, and with guidance in its other run
    uint32_t window;      ///< counter word of the random numbers
    int32_t *codes;       ///< receives [tokens], may be NULL
    void *out, *gate;     ///< receive the decoder's outputs; gate may be NULL
    int failed;           ///< set by loop_finish(): a logit was not finite, the rest says nothing
} MgvLoopSample;

/** How a run draws its codes, libmagvit/sampler.c. */
typedef struct MgvLoopParams {
    int passes;           ///< of the transformer, [1,MGV_LOOP_STEPS]
    const int *masked;    ///< [passes] tokens that stay masked after each, 0 after the last
    const double *noise;  ///< [passes] weight of the ranking's noise
    double temperature;   ///< 0: greedy
    int top_k;            ///< 0: all
    double top_p;         ///< 1: all
    double guidance;      ///< 0: none
    uint64_t seed;
} MgvLoopParams;

/** Called when another step of the run that finishes is done. A negative return stops with that code. */
typedef int MgvLoopFn(void *opaque);

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
    /**
     * Sequences only, N = 1: later runs compute the n positions that rows lists in ascending order, and take the others'
     * keys and values as they were last computed. Inputs and outputs have n rows then. First call: all positions.
     * n 0: all again, what was kept is forgotten. Optional. ENOTSUP with a line for a plan of anything else.
     */
    int (*select)(MgvExec *exec, const int32_t *rows, int n);
    /**
     * Sequences only, N = 1, while nothing is selected: later runs give the n positions of the outputs that rows lists
     * in ascending order, which have n rows then, and leave out what the others alone need. n 0: all again. Optional.
     */
    int (*want)(MgvExec *exec, const int32_t *rows, int n);
    /** Call fn once for each part, on the device's threads; optional. Not from a tap. */
    void (*share)(MgvDevice *dev, int nb_parts, MgvPartFn *fn, void *opaque);
    /** The least that an op and those that run as one with it have taken, 0: none did, or it runs with one before. Optional. */
    double (*seconds)(const MgvExec *exec, int op);
    /** Bytes of prepared weights and of activations. */
    void (*memory)(const MgvExec *exec, size_t *weights, size_t *work);
    /** What compile() would take, exactly; meanwhile no more than one op's weights are taken. As compile() otherwise. */
    int (*measure)(MgvDevice *dev, const MgvPlan *plan, MgvNeed *need);

    /* Optional, all or none: where samples may be batched, and windows go from clip to clip without the host. */

    /** How many samples fill the device, in activations of at most so many bytes a sample. At least 1. */
    int (*batch)(const MgvDevice *dev, size_t bytes);
    /** Later runs compute the first n samples of the plan; write() and read() are of as many. The result of a sample stays. */
    int (*limit)(MgvExec *exec, int n);
    /** The plans' execs must outlive the loop; other runs of them may come between those of a loop. One thread at a time. */
    int (*loop_open)(MgvLoop **out, MgvDevice *dev, const MgvLoopShape *s);
    void (*loop_close)(MgvLoop **loop);
    /**
     * Begin a run of n samples: encode, decoding loop, decode. At most MGV_LOOP_RUNS may be begun and not finished.
     * Calls that use one exec for the first time are not to be made at once.
     */
    int (*loop_start)(MgvLoop *loop, const MgvLoopParams *p, const MgvLoopSample *list, int n);
    /**
     * Wait for the oldest run, whose samples are list, and take its results; list NULL: forget it. fn (may be NULL) is
     * called after each step.
     * The run is over whatever is returned.
     */
    int (*loop_finish)(MgvLoop *loop, MgvLoopSample *list, int n, MgvLoopFn *fn, void *opaque);
} MgvBackend;

/** In order of preference, NULL-terminated. A backend that is not built in is absent. */
extern const MgvBackend *const mgv_backends[];

extern const MgvBackend mgv_backend_ref; ///< plain C
extern const MgvBackend mgv_backend_cpu; ///< ref table overridden by oneDNN; only with CONFIG_ONEDNN
extern const MgvBackend mgv_backend_vulkan; ///< compute shaders; only with CONFIG_VULKAN

#endif /* MAGVIT_BACKEND_H */
