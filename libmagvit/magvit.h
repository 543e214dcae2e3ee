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
 * libmagvit: masked generative video synthesis (MAGVIT, CVPR 2023,
 * arXiv 2212.05199). The only installed header and the whole contract.
 *
 * A MagvitContext is a loaded model on one backend. A MagvitSession is one
 * stream of frames being processed by one task: frames are sent in, frames
 * are received, in presentation order, with the flow control of
 * avcodec_send_packet() / avcodec_receive_frame().
 *
 * @code
 * MagvitSettings set;  MagvitParams par;  MagvitContext *ctx;  MagvitSession *s;
 *
 * magvit_default_settings(&set);
 * if ((ret = magvit_open(&ctx, &set)) < 0)
 *     return ret;
 * magvit_default_params(&par, MAGVIT_TASK_INTERP);
 * par.format     = (MagvitFormat){ MAGVIT_MODEL_YUV, 8, 0, 1, 1, 0 };
 * par.width      = 320;  par.height = 240;
 * par.time_base  = (MagvitRational){ 1, 25 };
 * par.frame_rate = (MagvitRational){ 25, 1 };
 * par.factor     = 4;
 * ret = magvit_session_open(&s, ctx, &par);
 * while (ret >= 0) {
 *     ret = magvit_receive_frame(s, &out);           // caller's planes are filled
 *     if (ret == 0)
 *         use(&out);
 *     else if (ret == MAGVIT_ERR(EAGAIN))
 *         ret = magvit_send_frame(s, next(&in) ? &in : NULL);  // NULL: end of input
 * }
 * magvit_session_close(&s);
 * magvit_close(&ctx);
 * return ret == MAGVIT_ERROR_EOF ? 0 : ret;
 * @endcode
 *
 * Shapes are written [N,T,H,W,C] in memory order. Every function returning int
 * returns 0 or a negative MAGVIT_ERR() / MAGVIT_ERROR_ code; these are
 * numerically equal to FFmpeg's AVERROR codes. A failure is logged exactly
 * once, where most is known about it.
 */

#ifndef MAGVIT_H
#define MAGVIT_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MAGVIT_VERSION_MAJOR 0
#define MAGVIT_VERSION_MINOR 1
#define MAGVIT_VERSION_MICRO 0
/** 0x00MMmmpp, what magvit_version_api() of this header's library returns */
#define MAGVIT_VERSION_INT \
    (MAGVIT_VERSION_MAJOR << 16 | MAGVIT_VERSION_MINOR << 8 | MAGVIT_VERSION_MICRO)

#ifndef MAGVIT_API
#if defined(__GNUC__)
#define MAGVIT_API __attribute__((visibility("default")))
#else
#define MAGVIT_API
#endif
#endif

/** Negative error code from a positive errno constant (FFmpeg: AVERROR()). */
#define MAGVIT_ERR(e) (-(e))
#define MAGVIT_ERRTAG(a, b, c, d) \
    (-(int)((unsigned)(a) | (unsigned)(b) << 8 | (unsigned)(c) << 16 | (unsigned)(d) << 24))
/** End of stream: every output frame has been received (= AVERROR_EOF). */
#define MAGVIT_ERROR_EOF    MAGVIT_ERRTAG('E', 'O', 'F', ' ')
/** The file is not a usable model (= AVERROR_INVALIDDATA). */
#define MAGVIT_ERROR_MODEL  MAGVIT_ERRTAG('I', 'N', 'D', 'A')
/** A compute library or driver failed, or the device was lost (= AVERROR_EXTERNAL). */
#define MAGVIT_ERROR_DEVICE MAGVIT_ERRTAG('E', 'X', 'T', ' ')

/** An unknown timestamp (= AV_NOPTS_VALUE). */
#define MAGVIT_NOPTS ((int64_t)UINT64_C(0x8000000000000000))

/** What matrix products and convolutions multiply; sums, norms and everything else are float32. */
enum MagvitPrecision {
    MAGVIT_PRECISION_AUTO, ///< bf16 where the CPU is faster so: AMX, AVX512_BF16 of others than Intel; f16 on a GPU that has it; else f32
    MAGVIT_PRECISION_F32,
    MAGVIT_PRECISION_BF16, ///< half the memory for weights; MAGVIT_ERR(ENOTSUP) where the CPU lacks it
    /**
     * 8-bit integers in the transformer's linear layers, rounded anew for every token; everything else as AUTO. Other
     * tokens for one in some tens, see doc/SPEED.md. MAGVIT_ERR(ENOTSUP) where the CPU lacks AVX512_VNNI and AVX_VNNI.
     */
    MAGVIT_PRECISION_INT8,
    MAGVIT_PRECISION_F16,  ///< Vulkan; as BF16, for a device
};

typedef struct MagvitContext MagvitContext; ///< a loaded model; immutable after open, may be shared by sessions of several threads
typedef struct MagvitSession MagvitSession; ///< one stream being processed; one thread at a time

typedef struct MagvitRational {
    int num; ///< numerator
    int den; ///< denominator, > 0; 0/1 means unknown
} MagvitRational;

enum MagvitBackend {
    MAGVIT_BACKEND_AUTO,   ///< the fastest that works: cpu, then ref
    MAGVIT_BACKEND_REF,    ///< plain C, the specification; slow
    MAGVIT_BACKEND_CPU,    ///< oneDNN
    MAGVIT_BACKEND_VULKAN, ///< Vulkan compute; AUTO does not choose it
};

enum MagvitTask {
    MAGVIT_TASK_INTERP,   ///< frames between frames (paper: FI)
    MAGVIT_TASK_PREDICT,  ///< frames after the last one (FP, CFP)
    MAGVIT_TASK_INPAINT,  ///< pixels inside a region (IPC, IPD)
    MAGVIT_TASK_OUTPAINT, ///< pixels around the picture (OPC, OPV, OPH, OPD)
    MAGVIT_TASK_GENERATE, ///< everything, from a class label (CG)
    MAGVIT_TASK_NB
};

enum MagvitLogLevel {
    MAGVIT_LOG_NONE,
    MAGVIT_LOG_ERROR,   ///< the call fails
    MAGVIT_LOG_WARNING, ///< the result may surprise
    MAGVIT_LOG_INFO,    ///< one line at open
    MAGVIT_LOG_VERBOSE, ///< one line a window
    MAGVIT_LOG_DEBUG,   ///< plans, steps
};

enum MagvitColorModel {
    MAGVIT_MODEL_GRAY, ///< plane 0: Y
    MAGVIT_MODEL_YUV,  ///< planes 0..2: Y, Cb, Cr
    MAGVIT_MODEL_GBR,  ///< planes 0..2: G, B, R
};

/**
 * Layout of a planar picture. Samples of 9..16 bits are native-endian uint16_t
 * in the low bits, float samples are native 32-bit. Alpha is the plane after
 * the last colour plane; it is carried, never synthesised from colour.
 */
typedef struct MagvitFormat {
    enum MagvitColorModel model;
    int depth;     ///< bits a sample, [8,16]; 32 for float
    int is_float;  ///< 1: samples are float, GBR and GRAY only
    int chroma_w;  ///< log2 of horizontal chroma subsampling, [0,2], YUV only
    int chroma_h;  ///< log2 of vertical chroma subsampling, [0,1], YUV only
    int alpha;     ///< 1: an alpha plane of full size follows
} MagvitFormat;

/** Meaning of sample values. Numbers are those of ITU-T H.273 and AVColorSpace / AVColorRange / AVChromaLocation. */
typedef struct MagvitColor {
    int matrix;     ///< AVColorSpace number; 2 = unspecified: BT.709 from 720 rows up, BT.601 below, with one warning
    int range;      ///< AVColorRange number: 1 limited, 2 full, 0 unspecified = limited for YUV, full for GBR
    int chroma_loc; ///< AVChromaLocation number: 0 unspecified = left
} MagvitColor;

/** One picture. The caller owns all memory behind the pointers, always. */
typedef struct MagvitFrame {
    uint8_t  *data[4];   ///< planes in the order of MagvitFormat; unused ones NULL
    ptrdiff_t stride[4]; ///< bytes from row to row, may be negative
    MagvitColor color;   ///< in: of this frame; out: of the source frame
    /**
     * MAGVIT_TASK_INPAINT input only: 8-bit plane of the frame's size, nonzero
     * samples are to be synthesised. NULL: the rectangle of MagvitParams.
     */
    const uint8_t *mask;
    ptrdiff_t mask_stride; ///< bytes
    int64_t pts;           ///< in: input time base; out: output time base; MAGVIT_NOPTS if unknown
    int64_t duration;      ///< same unit as pts; 0 if unknown
    int64_t source;        ///< out: 0-based number of the sent frame it is, or comes after; -1: none
    int     generated;     ///< out: 1 if any sample was synthesised
    int64_t window;        ///< out: number of the window that made it; -1 if none did
    /**
     * MAGVIT_TASK_INTERP input only: 1 if the frame begins a scene, default 0. No frame is made from both sides of
     * it: the frame before is held until it. Number and times of the output frames are those without the cut.
     */
    int     scene_cut;
    /**
     * MAGVIT_TASK_INTERP input only, and only with MagvitParams.repair: 1 if the frame is bad, default 0. Only its
     * times count; its samples, which must be there, are shown if no good frame is near.
     */
    int     replace;
    int     x, y;          ///< MAGVIT_TASK_OUTPAINT with MagvitParams.moving only: where the frame lies on the canvas, pixels
    uint64_t seed;         ///< out: MagvitParams.seed of the window that made it
    uint8_t reserved[40];  ///< zero
} MagvitFrame;

/** Receives one line without newline. Called from the thread that calls the library. */
typedef void MagvitLogFn(void *cookie, enum MagvitLogLevel level, const char *line);

typedef struct MagvitLogger {
    MagvitLogFn *fn;           ///< NULL: silent
    void *cookie;              ///< passed to fn
    enum MagvitLogLevel level; ///< lines above it are not formatted
} MagvitLogger;

/** How to load a model. Fill by magvit_default_settings(), then change fields. */
typedef struct MagvitSettings {
    /**
     * Model file. NULL: the file that $MAGVIT_MODEL_PATH names (or the default
     * model in the folder that it names), else the installed data directory,
     * else the source tree the library was built from. Default NULL.
     */
    const char *model;
    enum MagvitBackend backend; ///< default AUTO
    const char *device;         ///< device index, UUID or part of its name; NULL: the best; Vulkan only
    int threads;                ///< CPU threads, [0,256], 0 = one a core; default 0
    MagvitLogger log;           ///< default: ERROR and WARNING lines to stderr
    enum MagvitPrecision precision; ///< default AUTO; BF16 and INT8: cpu backend, F16: vulkan
    /**
     * Bytes that the model may take, as MagvitMemory.model counts them: more is refused, by the backend's measure, before
     * anything is prepared. On a CPU that takes half as long again as opening. 0 = no limit; default 0.
     */
    int64_t max_memory;
    /**
     * Tiles that are computed at once, of one window or of several (see MagvitParams.ahead), [0,16]. 0: as many as fill
     * the device and fit its memory and max_memory; default 0. What comes out does not depend on it. Only the vulkan
     * backend computes more than one.
     */
    int batch;
    /**
     * 1: check the model file and describe it, which takes no time: no backend, no checksum. The context is for
     * magvit_get_info(), magvit_find_class() and magvit_print_plans() alone; max_memory is not looked at. Default 0.
     */
    int describe_only;
    uint8_t reserved[44];       ///< zero
} MagvitSettings;

/** What was loaded. Strings live as long as the context. */
typedef struct MagvitInfo {
    const char *path;     ///< file the model came from
    const char *name;     ///< model name from its metadata
    const char *backend;  ///< "ref", "cpu", "vulkan"; "" with describe_only
    const char *device;   ///< human-readable, with the precision; "" with describe_only
    const char *sha256;   ///< of the file, 64 hex digits; "" with describe_only
    const char *classes;  ///< comma-separated class names, "" if none
    int nb_classes;       ///< number of class labels
    int window[3];        ///< frames, height, width a window holds: [T,H,W]
    int latent[3];        ///< tokens a window has: [t,h,w]
    int nb_codes;         ///< codebook size
    unsigned tasks;       ///< bit 1 << MagvitTask
    int steps;            ///< the model's default number of decoding steps
    int64_t parameters;   ///< number of trained values
    size_t weight_bytes;  ///< memory for prepared weights
    size_t work_bytes;    ///< memory for activations
    /**
     * What the decoder sees of a window's given pixels: "none", "zero" (them, and black elsewhere), "padded"
     * (the rest filled as the encoder sees it, but for a smooth surface in place of black) or "gated" (the same,
     * and the decoder lets it show through).
     */
    const char *known_pixels;
    int batch;            ///< tiles of a window that may be computed at once
    double macs[3];       ///< multiply-accumulates of a tile: encoder, a decoding step without guidance, decoder
} MagvitInfo;

/** A device that a backend can run on. */
typedef struct MagvitDeviceInfo {
    char name[256];
    char driver[544];     ///< name and version
    char uuid[37];        ///< 8-4-4-4-12 hex digits
    int software;         ///< 1: it computes on the CPU; never chosen unless it is named or the only one
} MagvitDeviceInfo;

enum MagvitScale {
    MAGVIT_SCALE_AUTO, ///< tile where the region fits the window well, fit where it is too large
    MAGVIT_SCALE_TILE, ///< overlapping windows at native resolution
    MAGVIT_SCALE_FIT,  ///< reduce so that one window covers the shorter side
};

/** What becomes of a frame whose synthesis fails with MAGVIT_ERROR_DEVICE while the stream runs. */
enum MagvitFallback {
    MAGVIT_FALLBACK_ERROR, ///< magvit_receive_frame() returns the error
    /**
     * What is nearest: INTERP and PREDICT the frame before, INPAINT the frame as it came, OUTPAINT the input with its
     * edges repeated, GENERATE black. One WARNING line a stream; MagvitFrame.generated is 0.
     */
    MAGVIT_FALLBACK_COPY,
    MAGVIT_FALLBACK_BLEND, ///< INTERP: linear blend of the frames around it, generated is 1; other tasks as COPY
    MAGVIT_FALLBACK_NB
};

/** What to do. Fill by magvit_default_params(), then change fields. */
typedef struct MagvitParams {
    enum MagvitTask task;
    MagvitFormat format;       ///< of input and output frames
    int width, height;         ///< of input frames (of output frames for GENERATE), [1,32768]
    MagvitRational time_base;  ///< of input pts
    MagvitRational frame_rate; ///< of the input, 0/1 if unknown

    /* decoding, paper section 3.2 and algorithm 1 */
    int steps;                 ///< transformer passes a window, [1,256]; 0 = the model's (12)
    const char *schedule;      ///< cosine, uniform, exp, log, powE, poly:c,..; NULL = the model's (cosine)
    double choice_temperature; ///< annealed Gumbel noise of the ranking, >= 0; < 0 = the model's (4.5)
    double temperature;        ///< of token sampling, >= 0, 0 = greedy; < 0 = the model's (1.0)
    int top_k;                 ///< keep the k likeliest codes, 0 = all; default 0
    double top_p;              ///< nucleus sampling in (0,1], 1 = all; default 1; not both with top_k
    double guidance;           ///< classifier-free guidance scale, 0 = off; default 0
    uint64_t seed;             ///< of the counter-based generator; default 0
    int64_t first_index;       ///< number of the first sent frame in the whole stream, so that shards equal one run; default 0

    /* frames larger than the window */
    enum MagvitScale scale;    ///< default AUTO
    int tile_overlap;          ///< pixels neighbouring tiles share, [0, window/2]; default 32
    int overlap;               ///< frames neighbouring windows share and cross-fade, [0,8]; default 0 for INTERP, 4 otherwise

    /* MAGVIT_TASK_INTERP */
    int factor;                ///< output frames for each input frame, [1,15]; 0 = use rate; default 2
    MagvitRational rate;       ///< output frame rate when factor is 0

    /* MAGVIT_TASK_INPAINT: rectangle to synthesise. OUTPAINT: where the input lies on the output canvas */
    int x, y, w, h;            ///< pixels; OUTPAINT ignores w and h
    int out_width, out_height; ///< OUTPAINT: canvas, >= input size
    int moving;                ///< OUTPAINT: 1: x and y are those of each MagvitFrame; [0,1], default 0
    /**
     * INPAINT: width in pixels, [0,1024], of the strip along the inside of a hole in which the frame's own samples
     * give way to made ones, linearly with the distance from the nearest pixel outside; default 0
     */
    int feather;

    /* MAGVIT_TASK_PREDICT, MAGVIT_TASK_GENERATE */
    int frames;                ///< number of frames to make, PREDICT at least 1; GENERATE: -1 = without end, the default
    int cond_frames;           ///< given frames a window starts from, [1,T-1]; default 1
    int class_id;              ///< class label, [-1,nb_classes-1], see magvit_find_class(); -1 = none, the default

    /* models whose decoder sees given pixels, see MagvitInfo.known_pixels; others ignore it */
    int known_pixels;          ///< 1: show them, 0: decode from codes alone, to compare; [0,1], default 1

    /* MAGVIT_TASK_INTERP, more */
    /**
     * Two neighbouring frames are the same if in no block of 16x16 samples of a plane the mean absolute difference
     * is above this many percent of the full scale, [0,100]; 0: never. No frame is made between them, the earlier
     * one is held. Default 0.1, a quarter of a step of 8 bits.
     */
    double dup_threshold;
    /**
     * 1: keep the rate (factor must be 1) and make frames anew: those that MagvitFrame.replace marks, and those that
     * are the same as the one before (see dup_threshold). They are made from the nearest good frames of their scene,
     * or hold one if there is none on one side, or if more than T-2 follow each other (one warning). Good frames
     * leave as they came. Delays the stream by up to T-1 frames, and holds up to 3T of them. [0,1], default 0
     */
    int repair;

    /* what may go wrong */
    enum MagvitFallback fallback; ///< default ERROR
    int64_t max_memory;        ///< bytes that model and session may take, see MagvitMemory; 0 = no limit, the default

    /* MAGVIT_TASK_INTERP, more */
    /**
     * 1: what moves between given frames is followed: the model is shown a blend of the two moved on along the optical
     * flow, and where the two moved on agree they are what is put out; 0: the model is shown the plain blend, as in the
     * paper (appendix B.1). [0,1], default 1
     */
    int motion;

    /* INTERP without repair, INPAINT, OUTPAINT, on the vulkan backend */
    /**
     * So many windows begin beyond the one whose frames are received: their tiles fill a batch together, and are
     * computed while frames are received and converted. Of A windows ahead, those of up to A / 2 + 1 share a batch. Each
     * delays the stream by as many frames as a window goes on, for magvit_receive_frame() waits for the frames of all,
     * and holds them and a window's memory. Frames and times are the same; if the device fails, windows of one batch fail
     * together. -1: as many as fill two batches, at least 1 and at most 7, fewer if more do not fit max_memory; 0 on other
     * backends and for other tasks, whatever is asked for. Use 0 for live video. [-1,31], default -1
     */
    int ahead;

    /* decoding, more */
    /**
     * 1: compute in each decoding step only tokens that are not yet decided, and those that the step before decided; the
     * keys and values of the others stay as they were. Less work for nearly the same picture. Without effect, with a
     * warning, with guidance and on backends whose devices hold the loop (Vulkan). [0,1], default 0
     */
    int fast;

    uint8_t reserved[80];      ///< zero
} MagvitParams;

/** Memory in bytes that a session takes at most, whatever the length of the stream. */
typedef struct MagvitMemory {
    int64_t model;        ///< of the context, shared by its sessions: model file, weights as prepared, activations
    int64_t pictures;     ///< frames that wait for their window, and the one that goes out
    int64_t render;       ///< a window and its conversions; INPAINT with w or h 0: for masks with the worst hole
    int64_t total;        ///< sum of the others
    int tiles;            ///< that a window is made of; of a moving input, most
    uint8_t reserved[28]; ///< zero
} MagvitMemory;

/** Geometry and timing of the frames that a session gives out. */
typedef struct MagvitOutput {
    int width, height;
    MagvitRational time_base;
    MagvitRational frame_rate; ///< 0/1 if unknown
} MagvitOutput;

/** @return version string such as "0.1.0"; static */
MAGVIT_API const char *magvit_version(void);

/** @return MAGVIT_VERSION_INT of the library in use, to compare with the header's */
MAGVIT_API unsigned magvit_version_api(void);

/** @return static English text for any code that the library returns */
MAGVIT_API const char *magvit_strerror(int err);

/** Fill every field of *s with its default. */
MAGVIT_API void magvit_default_settings(MagvitSettings *s);

/**
 * Load and check a model, choose and prepare a backend.
 *
 * @param out  receives the context, NULL on failure; close with magvit_close()
 * @param s    settings; strings are copied. NULL = defaults
 * @return 0, or
 *         MAGVIT_ERR(ENOENT)   no such model file (the line names every path tried),
 *         MAGVIT_ERR(EIO)      unreadable,
 *         MAGVIT_ERROR_MODEL   not a model, damaged, or of an unknown version,
 *         MAGVIT_ERR(EINVAL)   a setting is out of range,
 *         MAGVIT_ERR(ENOTSUP)  the backend is not built in or lacks an operation,
 *         MAGVIT_ERROR_DEVICE  the compute library failed,
 *         MAGVIT_ERR(ENOMEM)   out of memory, or more than max_memory would be needed (the line names both)
 * Thread rule: may be called from any thread; the context may then be used
 * from any thread. Computation runs on a private worker thread of the context;
 * the caller's OpenMP settings are neither used nor changed.
 */
MAGVIT_API int magvit_open(MagvitContext **out, const MagvitSettings *s);

/**
 * Describe a device that MagvitSettings.device can name.
 *
 * @param index 0 for the first
 * @param log   for errors, may be NULL
 * @return 0; MAGVIT_ERR(ENOENT): there is no such number; MAGVIT_ERR(ENOTSUP): the backend is not built in, has no
 *         devices to choose from or no driver here; MAGVIT_ERROR_DEVICE. Any thread.
 */
MAGVIT_API int magvit_get_device(enum MagvitBackend backend, int index, MagvitDeviceInfo *out, const MagvitLogger *log);

/** Describe the loaded model. @return 0 */
MAGVIT_API int magvit_get_info(const MagvitContext *ctx, MagvitInfo *out);

/**
 * Number of a class of the model.
 *
 * @param name  a class name as in MagvitInfo.classes, or a number in [0,nb_classes-1]; names come first
 * @param id    receives the number, for MagvitParams.class_id
 * @return 0, or MAGVIT_ERR(EINVAL): no such class; the line lists those there are. Any thread.
 */
MAGVIT_API int magvit_find_class(const MagvitContext *ctx, const char *name, int *id);

/** Write a description of the model's op plans, a line at a time, to the logger at level INFO. */
MAGVIT_API void magvit_print_plans(const MagvitContext *ctx);

/**
 * Tokens of one window, paper section 3.1: clip -> codes.
 * @param clip   [1,T,H,W,3] float RGB in [0,1], T,H,W as in MagvitInfo.window
 * @param codes  receives [t,h,w] code numbers
 * @return 0, MAGVIT_ERROR_DEVICE, MAGVIT_ERR(ENOMEM). Any thread; calls are serialised.
 */
MAGVIT_API int magvit_encode(MagvitContext *ctx, const float *clip, int32_t *codes);

/**
 * Window of given tokens: codes -> clip, clipped to [0,1]. No pixel is known to the decoder.
 * @return as magvit_encode(), and MAGVIT_ERR(EINVAL) for a code outside the codebook
 */
MAGVIT_API int magvit_decode(MagvitContext *ctx, const int32_t *codes, float *clip);

/** Free a context and set *ctx to NULL. All its sessions must be closed. NULL is allowed. */
MAGVIT_API void magvit_close(MagvitContext **ctx);

/** Fill every field of *p with its default for a task. */
MAGVIT_API void magvit_default_params(MagvitParams *p, enum MagvitTask task);

/**
 * Compute what a session would take; nothing is allocated for it.
 *
 * @param out  filled; the code of the program and of its libraries is not counted
 * @return as magvit_session_open(), but p->max_memory is not looked at. Any thread.
 */
MAGVIT_API int magvit_session_memory(const MagvitContext *ctx, const MagvitParams *p, MagvitMemory *out);

/**
 * Begin a stream.
 *
 * @param out  receives the session, NULL on failure; close with magvit_session_close()
 * @param ctx  must outlive the session
 * @param p    copied
 * @return 0, or
 *         MAGVIT_ERR(EINVAL)   a parameter is out of range (the line names field, value, range),
 *         MAGVIT_ERR(ENOTSUP)  the model does not know the task,
 *         MAGVIT_ERR(ENOMEM)   out of memory, or more than max_memory would be needed (the line names both)
 */
MAGVIT_API int magvit_session_open(MagvitSession **out, MagvitContext *ctx, const MagvitParams *p);

/** Geometry and timing of output frames. Known as soon as the session is open. @return 0 */
MAGVIT_API int magvit_session_output(const MagvitSession *s, MagvitOutput *out);

/**
 * Change how windows are decoded while a stream runs. Holds for every window that is computed from now on; frames
 * that were not received yet may be of a window that was.
 *
 * @param p  steps, schedule, choice_temperature, temperature, top_k, top_p, guidance, seed and known_pixels are taken
 *           over, class_id too for tasks that know classes; other fields are not looked at
 * @return 0, or MAGVIT_ERR(EINVAL): one is out of range (the line names field, value, range) and nothing is changed
 */
MAGVIT_API int magvit_session_set_decoding(MagvitSession *s, const MagvitParams *p);

/**
 * Give one input frame. Samples are copied, no pointer is kept.
 *
 * @param in  NULL: end of input; the remaining frames can then be received.
 *            pts must rise from frame to frame; MAGVIT_NOPTS is replaced by the
 *            previous pts plus duration.
 * @return 0, or
 *         MAGVIT_ERR(EAGAIN)  not taken: receive a frame first,
 *         MAGVIT_ERROR_EOF    end of input was already signalled,
 *         MAGVIT_ERR(EINVAL)  a plane is missing, pts does not rise, or x or y is out of range,
 *         MAGVIT_ERR(ENOMEM)
 *         After an error the session is as it was before the call: NULL still lets out all frames that were sent.
 */
MAGVIT_API int magvit_send_frame(MagvitSession *s, const MagvitFrame *in);

/**
 * Take the next output frame. May compute for seconds.
 *
 * @param out  data and stride set by the caller to writable planes of the
 *             output size; they are filled, and color, pts, duration, source,
 *             generated, window and seed are set. Known samples equal the input bit by bit.
 * @return 0, or
 *         MAGVIT_ERR(EAGAIN)     send more input first,
 *         MAGVIT_ERROR_EOF       all frames have been received,
 *         MAGVIT_ERR(ECANCELED)  magvit_session_cancel() was called,
 *         MAGVIT_ERROR_DEVICE    computing failed, or gave values that are not finite, and MagvitParams.fallback
 *                                is MAGVIT_FALLBACK_ERROR,
 *         MAGVIT_ERR(ENOMEM)
 */
MAGVIT_API int magvit_receive_frame(MagvitSession *s, MagvitFrame *out);

/** Forget all buffered frames and counters, as after opening (for seeking). */
MAGVIT_API void magvit_session_flush(MagvitSession *s);

/** Progress within the current window: decoding steps done, and in all. Any thread. @return 0 */
MAGVIT_API int magvit_session_progress(const MagvitSession *s, int *done, int *total);

/** Make a running or the next magvit_receive_frame() return MAGVIT_ERR(ECANCELED). Any thread. */
MAGVIT_API void magvit_session_cancel(MagvitSession *s);

/** Free a session and set *s to NULL. NULL is allowed. */
MAGVIT_API void magvit_session_close(MagvitSession **s);

#ifdef __cplusplus
}
#endif

#endif /* MAGVIT_H */
