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
 * What the MAGVIT filters share: a loaded model, a libmagvit session, the
 * flow of frames between the links and the session.
 *
 * A filter puts FFMagvitFilter first in its context, MAGVIT_COMMON_OPTIONS
 * after its own options, sets task and hooks in init, which ends with
 * ff_magvit_init(), and uses the callbacks below. A source is a filter without
 * an input; it may take a part of the options. Hooks see frames in host memory
 * alone (magvit_hwframe.h). Frames keep their pixel format;
 * known samples leave bit by bit as they came, because the library copies them.
 */

#ifndef AVFILTER_MAGVIT_FILTER_H
#define AVFILTER_MAGVIT_FILTER_H

#include <stddef.h>
#include <stdint.h>

#include "ffcompat.h"
#include "libavutil/fifo.h"
#include "libavutil/opt.h"
#include "libavutil/pixfmt.h"

typedef struct FFMagvitFilter {
    const AVClass *class;

    /* options, see MAGVIT_COMMON_OPTIONS */
    char *model;
    int backend;                ///< enum MagvitBackend
    int precision;              ///< enum MagvitPrecision
    char *device;
    int steps;
    char *schedule;
    double temperature;
    double choice_temperature;
    int top_k;
    double top_p;
    double guidance;
    int fast;
    int64_t seed;
    int64_t first_index;
    int scale;                  ///< enum MagvitScale
    int tile_overlap;
    int overlap;
    int known_pixels;
    int64_t max_memory;
    int batch;
    int ahead;
    int fallback;               ///< enum MagvitFallback

    /* set by the filter's init */
    enum MagvitTask task;
    /** Fill the task's fields of par, whose other fields are set; of a source size and rate, too. Logs its own errors. */
    int (*set_params)(AVFilterContext *ctx, MagvitParams *par);
    /** Add to frame number n, made from in, before it is sent. May be NULL. */
    int (*prepare)(AVFilterContext *ctx, MagvitFrame *frame, const AVFrame *in, int64_t n);
    /** Number of frames that are missing before in, to be made; called once a frame. May be NULL. */
    int64_t (*missing)(AVFilterContext *ctx, const AVFrame *in);
    /**
     * Called before the next input frame is taken: 1, or 0 if it has to wait for what the hook
     * has requested from another input, or an error. May be NULL.
     */
    int (*ready)(AVFilterContext *ctx);
    /**
     * Change a frame that prepare() was called for; it leaves at once, no model is opened. NULL:
     * the session makes the output.
     */
    void (*draw)(AVFrame *frame, const MagvitFrame *prepared);

    /* state */
    MagvitParams par;           ///< of the session
    enum AVPixelFormat format;  ///< of frames in the filter, always in host memory
    enum AVPixelFormat samples; ///< of frames on the links; if they are a device's, what they hold
    char frames_device[37];     ///< UUID of the Vulkan device that the frames are on, "" if they are not
    struct FFMagvitModel *shared; ///< model, shared by the filters of the process
    MagvitSession *session;
    int window;                 ///< frames that a window holds
    AVFrame *pending;           ///< input that is not sent yet, NULL if there is none
    int64_t nb_missing;         ///< frames that are missing before it
    int64_t nb_made;            ///< of them, those that are sent
    int64_t last_pts;           ///< of the last frame that came, inlink time base
    AVFrame *out;               ///< buffer for the next output frame, NULL if none is ready
    AVFifo *props;              ///< AVFrame*: properties of sent frames, oldest first
    int64_t first_prop;         ///< number of the oldest frame in props
    int64_t nb_sent;            ///< frames given to the session
    int64_t last_source;        ///< MagvitFrame.source of the last output frame
    int64_t next_pts;           ///< end of the last output frame, output time base
    int status;                 ///< end status of the input, 0 while it runs
    int failed;                 ///< error that ends the output, once what came before it is out
    int failed_before;          ///< error of a filter of ours that the input comes from: it ends with it
    int warned_interlaced;
} FFMagvitFilter;

#define MAGVIT_OFFSET(field) offsetof(FFMagvitFilter, field)
#define MAGVIT_FLAGS (AV_OPT_FLAG_VIDEO_PARAM | AV_OPT_FLAG_FILTERING_PARAM)
#define MAGVIT_RUNTIME_FLAGS (MAGVIT_FLAGS | AV_OPT_FLAG_RUNTIME_PARAM)
#define MAGVIT_CONST(name, help, value, of) \
    { name, help, 0, AV_OPT_TYPE_CONST, { .i64 = value }, 0, 0, MAGVIT_FLAGS, .unit = of }

/* of every filter */
#define MAGVIT_MODEL_OPTIONS \
    { "model", "set the model file", MAGVIT_OFFSET(model), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, MAGVIT_FLAGS }, \
    { "backend", "set the compute backend", MAGVIT_OFFSET(backend), AV_OPT_TYPE_INT, { .i64 = MAGVIT_BACKEND_AUTO }, MAGVIT_BACKEND_AUTO, MAGVIT_BACKEND_VULKAN, MAGVIT_FLAGS, .unit = "backend" }, \
        MAGVIT_CONST("auto",   "fastest that works",  MAGVIT_BACKEND_AUTO,   "backend"), \
        MAGVIT_CONST("ref",    "plain C, slow",       MAGVIT_BACKEND_REF,    "backend"), \
        MAGVIT_CONST("cpu",    "oneDNN",              MAGVIT_BACKEND_CPU,    "backend"), \
        MAGVIT_CONST("vulkan", "Vulkan compute",      MAGVIT_BACKEND_VULKAN, "backend"), \
    { "device", "set the Vulkan device by index, UUID or part of its name", MAGVIT_OFFSET(device), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, MAGVIT_FLAGS }, \
    { "precision", "set what products multiply", MAGVIT_OFFSET(precision), AV_OPT_TYPE_INT, { .i64 = MAGVIT_PRECISION_AUTO }, MAGVIT_PRECISION_AUTO, MAGVIT_PRECISION_F16, MAGVIT_FLAGS, .unit = "precision" }, \
        MAGVIT_CONST("auto",   "bf16 or f16 where the hardware is faster so", MAGVIT_PRECISION_AUTO, "precision"), \
        MAGVIT_CONST("f32",    "32-bit float",        MAGVIT_PRECISION_F32,  "precision"), \
        MAGVIT_CONST("bf16",   "16-bit brain float, cpu", MAGVIT_PRECISION_BF16, "precision"), \
        MAGVIT_CONST("int8",   "8-bit integers in the transformer, cpu", MAGVIT_PRECISION_INT8, "precision"), \
        MAGVIT_CONST("f16",    "16-bit float, vulkan", MAGVIT_PRECISION_F16, "precision"), \
    { "steps", "set the number of decoding steps, 0 for the model's", MAGVIT_OFFSET(steps), AV_OPT_TYPE_INT, { .i64 = 0 }, 0, 256, MAGVIT_RUNTIME_FLAGS }, \
    { "schedule", "set the mask schedule (cosine, uniform, exp, log, powE)", MAGVIT_OFFSET(schedule), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, MAGVIT_FLAGS }, \
    { "temperature", "set the sampling temperature, 0 for greedy, -1 for the model's", MAGVIT_OFFSET(temperature), AV_OPT_TYPE_DOUBLE, { .dbl = -1 }, -1, 100, MAGVIT_RUNTIME_FLAGS }, \
    { "choice_temperature", "set the noise of the order of decoding, -1 for the model's", MAGVIT_OFFSET(choice_temperature), AV_OPT_TYPE_DOUBLE, { .dbl = -1 }, -1, 1000, MAGVIT_FLAGS }, \
    { "top_k", "sample from that many likeliest codes, 0 for all", MAGVIT_OFFSET(top_k), AV_OPT_TYPE_INT, { .i64 = 0 }, 0, INT_MAX, MAGVIT_FLAGS }, \
    { "top_p", "sample from the likeliest codes of that total probability", MAGVIT_OFFSET(top_p), AV_OPT_TYPE_DOUBLE, { .dbl = 1 }, 0, 1, MAGVIT_FLAGS }, \
    { "guidance", "set the classifier-free guidance scale, 0 for none", MAGVIT_OFFSET(guidance), AV_OPT_TYPE_DOUBLE, { .dbl = 0 }, 0, 100, MAGVIT_FLAGS }, \
    { "fast", "compute only tokens that are not yet decided", MAGVIT_OFFSET(fast), AV_OPT_TYPE_BOOL, { .i64 = 0 }, 0, 1, MAGVIT_FLAGS }, \
    { "seed", "set the random seed", MAGVIT_OFFSET(seed), AV_OPT_TYPE_INT64, { .i64 = 0 }, 0, INT64_MAX, MAGVIT_RUNTIME_FLAGS }, \
    { "known_pixels", "show the given pixels to a decoder that can see them", MAGVIT_OFFSET(known_pixels), AV_OPT_TYPE_BOOL, { .i64 = 1 }, 0, 1, MAGVIT_FLAGS }, \
    { "max_memory", "refuse to start if more bytes would be needed, 0 for no limit", MAGVIT_OFFSET(max_memory), AV_OPT_TYPE_INT64, { .i64 = 0 }, 0, INT64_MAX, MAGVIT_FLAGS }, \
    { "batch", "set the number of tiles computed at once by vulkan, 0 for what fits", MAGVIT_OFFSET(batch), AV_OPT_TYPE_INT, { .i64 = 0 }, 0, 16, MAGVIT_FLAGS }, \
    { "fallback", "set what replaces frames that could not be synthesised", MAGVIT_OFFSET(fallback), AV_OPT_TYPE_INT, { .i64 = MAGVIT_FALLBACK_ERROR }, MAGVIT_FALLBACK_ERROR, MAGVIT_FALLBACK_NB - 1, MAGVIT_FLAGS, .unit = "fallback" }, \
        MAGVIT_CONST("error", "nothing, the run fails", MAGVIT_FALLBACK_ERROR, "fallback"), \
        MAGVIT_CONST("copy",  "what is nearest",        MAGVIT_FALLBACK_COPY,  "fallback"), \
        MAGVIT_CONST("blend", "a linear blend, if frames are made between frames", MAGVIT_FALLBACK_BLEND, "fallback")

/* of those that take frames larger than the window */
#define MAGVIT_TILE_OPTIONS \
    { "scale", "set how frames larger than the window are processed", MAGVIT_OFFSET(scale), AV_OPT_TYPE_INT, { .i64 = MAGVIT_SCALE_AUTO }, MAGVIT_SCALE_AUTO, MAGVIT_SCALE_FIT, MAGVIT_FLAGS, .unit = "scale" }, \
        MAGVIT_CONST("auto", "tile where that is enough, else fit", MAGVIT_SCALE_AUTO, "scale"), \
        MAGVIT_CONST("tile", "overlapping windows at full resolution", MAGVIT_SCALE_TILE, "scale"), \
        MAGVIT_CONST("fit",  "reduce to one window", MAGVIT_SCALE_FIT, "scale"), \
    { "tile_overlap", "set the number of pixels that neighbouring tiles share", MAGVIT_OFFSET(tile_overlap), AV_OPT_TYPE_INT, { .i64 = 32 }, 0, 16384, MAGVIT_FLAGS }, \
    { "ahead", "set the number of windows computed beyond that whose frames leave, on vulkan; -1 for as many as fill the device", MAGVIT_OFFSET(ahead), AV_OPT_TYPE_INT, { .i64 = -1 }, -1, 31, MAGVIT_FLAGS }

#define MAGVIT_COMMON_OPTIONS \
    MAGVIT_MODEL_OPTIONS, \
    MAGVIT_TILE_OPTIONS, \
    { "first_index", "set the number of the first frame in the whole stream", MAGVIT_OFFSET(first_index), AV_OPT_TYPE_INT64, { .i64 = 0 }, 0, INT64_MAX, MAGVIT_FLAGS }, \
    { "overlap", "set the number of frames that neighbouring windows share, -1 for the task's", MAGVIT_OFFSET(overlap), AV_OPT_TYPE_INT, { .i64 = -1 }, -1, 8, MAGVIT_FLAGS }

/** Every format that MagvitFormat can express, and those of devices, whose frames hold them. */
extern const enum AVPixelFormat ff_magvit_pix_fmts[];

/** For the one output pad of each filter. */
extern const AVFilterPad ff_magvit_outputs[1];

/** Check the model file, and that it knows the task: the end of a filter's init. */
int  ff_magvit_init(AVFilterContext *ctx);

/* After ff_magvit_init(): */

void ff_magvit_get_info(AVFilterContext *ctx, MagvitInfo *info);
/** Class of the model by name or number, -1 for NULL. Logs what classes there are. */
int  ff_magvit_find_class(AVFilterContext *ctx, const char *name, int *id);
/** Frames of a rate that begin within a duration in microseconds. Logs a duration that is too long. */
int  ff_magvit_count_frames(AVFilterContext *ctx, int64_t duration, MagvitRational rate, int *frames);

int  ff_magvit_activate(AVFilterContext *ctx);
/** Set an option that has MAGVIT_RUNTIME_FLAGS; what is about decoding holds from the next window on. */
int  ff_magvit_process_command(AVFilterContext *ctx, const char *cmd, const char *arg, char *res, int res_len, int flags);
void ff_magvit_uninit(AVFilterContext *ctx);

#endif /* AVFILTER_MAGVIT_FILTER_H */
