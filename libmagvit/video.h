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
 * The video side: pictures, windows, conditions, and the correction that joins
 * synthesised pixels to given ones. Knows no plan, no weights and no backend:
 * a window of pixels is handed over as a MgvJob and comes back as a clip.
 *
 * Four sizes occur. The *picture* is the frame, or the canvas when outpainting.
 * The *working picture* is the picture reduced by the tiling's scale. The
 * *area* is the part of the working picture that tiles cover. A *tile* is a
 * window's [H,W] of it.
 */

#ifndef MAGVIT_VIDEO_H
#define MAGVIT_VIDEO_H

#include <stdatomic.h>

#include "libmagvit/common.h"

#define MGV_MAX_FRAMES 64 ///< largest T of a window

typedef struct MgvRect {
    int x, y, w, h; ///< pixels; empty if w or h is 0
} MgvRect;

/** Pixels of a picture that a thread does at once: some 30 us, as long as it takes to tell it. */
#define MGV_PART_PIXELS (1 << 14)

/* ---- jobs: what goes over to the model side ------------------------------ */

/** What other threads see of a running window. */
typedef struct MgvProgress {
    atomic_int done;   ///< decoding steps so far
    atomic_int total;  ///< decoding steps of the window
    atomic_int cancel; ///< nonzero: stop with MAGVIT_ERR(ECANCELED)
    double start;      ///< mgv_time() when the window began; told, too: of the rendering thread only
    double told;       ///< mgv_time() of the last line about it, or start
    const void *owner; ///< whose jobs' steps count
} MgvProgress;

/** Is it time for another line about a window that takes long? If so, now becomes the time of the last one. */
int mgv_progress_due(MgvProgress *p, double now);

/** One clip to synthesise. */
typedef struct MgvJob {
    const float *clip;     ///< [T,H,W,3] condition clip V~, NULL: nothing is given
    const uint8_t *known;  ///< [T,H,W] 1 = given pixel, NULL with clip
    const uint8_t *latent; ///< [t,h,w] 1 = condition cell, NULL with clip
    float *out;            ///< receives [T,H,W,3] in [0,1]
    uint32_t word;         ///< counter word of the random numbers, unique to (window, tile)
    MgvProgress *progress; ///< to be advanced if its owner is the job's; cancel is to be obeyed
    const void *owner;     ///< the window that it is of
    int ret;               ///< 1: not over yet; 0 or an error of its own
    int started;           ///< queue.c: it waits no more
    struct MgvJob *next;   ///< queue.c: that waits behind it
} MgvJob;

/** The model side as a session sees it. Tests put a function of their own here. */
typedef struct MgvSynth {
    int (*run)(void *opaque, MgvJob *job);
    void (*free)(void *opaque); ///< called once when the session closes, or fails to open; may be NULL
    void *opaque;
    int window[3]; ///< T,H,W
    int latent[3]; ///< t,h,w; divides window
    int steps;     ///< decoding steps of a job, for progress
    int64_t memory; ///< bytes that the model takes, for MagvitMemory
    const MagvitLogger *log;
    int (*set)(void *opaque, const MagvitParams *p, int *steps); ///< see magvit_session_set_decoding(); NULL: nothing to set
    /**
     * Begin up to batch jobs, which do not depend on each other; at most MGV_STARTED lists of jobs are on their way.
     * NULL: run() does one at a time.
     */
    int (*start)(void *opaque, MgvJob *const *jobs, int nb);
    /**
     * Wait for the jobs that were started first, which these are, or NULL: forget them. They are over whatever is
     * returned. An error that is one job's goes to its ret, one that is returned is that of all.
     */
    int (*finish)(void *opaque, MgvJob *const *jobs, int nb);
    int batch;     ///< with start(): at least 1
    MgvTeam team;  ///< threads for what is done to pictures
} MgvSynth;

#define MGV_STARTED 2

/**
 * Open a session over any synthesiser. p is checked here, except for fields
 * of the decoding loop. synth is copied; its free() is called even on failure.
 */
int mgv_session_open(MagvitSession **out, const MgvSynth *synth, const MagvitParams *p);

/** What such a session would take; p is checked as there. synth->free() is not called. */
int mgv_session_memory(MagvitMemory *out, const MgvSynth *synth, const MagvitParams *p);

/* ---- image.c: pictures and colour --------------------------------------- */

/** A picture that the library owns. */
typedef struct MgvPicture {
    uint8_t *data[4];
    ptrdiff_t stride[4];
    MagvitFormat format;
    int width, height;
    MagvitColor color;
    int rows;          ///< height that the rule for unspecified matrices goes by: of the frame put here
    uint8_t *mask;     ///< [height,width] 1 = to be synthesised; NULL unless allocated with one
    MgvRect hole;      ///< bounding box of the mask's ones
    MgvRect src;       ///< where the frame lies in it
    int64_t pts, duration;
    int64_t number;    ///< of the frame in the whole stream
    int cut;           ///< begins a scene
    int same;          ///< as the frame before it, by dup_threshold
    int bad;           ///< to be made from others: 1 as it is frozen, 2 as it is marked, then its samples say nothing
    int held;          ///< bad, and its samples are those of a good frame before it by now
    int generated;
    int64_t window;
} MgvPicture;

int mgv_format_check(const MagvitFormat *f, const MagvitLogger *log); ///< EINVAL with a line
int mgv_format_planes(const MagvitFormat *f);                        ///< including alpha
int mgv_format_bytes(const MagvitFormat *f);                         ///< bytes a sample
/** Size of plane i of a width x height picture. */
void mgv_format_plane_size(const MagvitFormat *f, int i, int width, int height, int *w, int *h);

int mgv_picture_alloc(MgvPicture **out, const MagvitFormat *f, int width, int height, int mask);
void mgv_picture_free(MgvPicture **p);
/** Black or what 0 is, with opaque alpha. */
void mgv_picture_clear(MgvPicture *p);
/** Copy samples of a frame of size w x h to (x,y) of a picture; outside of it the edge is repeated, alpha is opaque. */
void mgv_picture_put(MgvPicture *p, const MagvitFrame *f, int x, int y, int w, int h);
/** Copy samples to the caller's planes. */
void mgv_picture_get(const MgvPicture *p, MagvitFrame *f);
/** Copy samples and colour, not what a picture is and when it is shown. */
void mgv_picture_hold(MgvPicture *dst, const MgvPicture *src);
/** Copy samples, mask and properties between pictures of one kind. */
void mgv_picture_copy(MgvPicture *dst, const MgvPicture *src);
/** Samples of dst become (1-phi) dst + phi src, rounded; alpha plane only if alpha is 1, else colour planes. */
void mgv_picture_mix(MgvPicture *dst, const MgvPicture *src, double phi, int alpha);

/**
 * Colour samples of dst become src + share (dst - src) inside r; share [height,width] is per pixel, a chroma sample
 * takes the mean of its pixels.
 */
void mgv_picture_fade(MgvPicture *dst, const MgvPicture *src, const float *share, MgvRect r);

/**
 * Converts between pictures and interleaved float RGB in [0,1], display
 * encoded, by zimg with the picture's matrix, range and chroma location.
 * Holds staging memory and the graphs of the last sizes used. One thread at a time, which may have a team.
 */
typedef struct MgvImage MgvImage;

int mgv_image_alloc(MgvImage **out, const MagvitLogger *log, const MgvTeam *team);
void mgv_image_free(MgvImage **im);

/**
 * Smallest rectangle round r, inside the picture, that has whole chroma samples.
 * At odd picture edges it ends with the picture.
 */
MgvRect mgv_image_align(const MagvitFormat *f, int width, int height, MgvRect r);

/** Part r (aligned) of a picture -> rgb [r.h,r.w,3]. MAGVIT_ERROR_DEVICE with a line if zimg fails. */
int mgv_image_load(MgvImage *im, const MgvPicture *p, MgvRect r, float *rgb);

/**
 * rgb [r.h,r.w,3] -> part r (aligned) of a picture. Luma, RGB and gray samples
 * are written where write [r.h,r.w] is nonzero; NULL: everywhere. A chroma
 * sample is written if any of the pixels it covers is (keep_chroma: if all are).
 * Alpha is left alone.
 */
int mgv_image_store(MgvImage *im, MgvPicture *p, MgvRect r, const float *rgb, const uint8_t *write, int keep_chroma);

/**
 * Resample the part [x,x+w) x [y,y+h) of src [sh,sw,3] to dst [dh,dw,3]; the
 * part may lie between pixels and reach over the edge. Reducing takes the
 * area-like triangle filter of two destination pixels, else bicubic; a part
 * of the size of dst at a whole pixel is copied exactly.
 */
int mgv_image_resize(MgvImage *im, float *dst, int dw, int dh, const float *src, int sw, int sh,
                     double x, double y, double w, double h);

/* ---- cond.c: what is given, and how the rest is filled ------------------- */

enum MgvFill {
    MGV_FILL_ZERO, ///< black
    MGV_FILL_EDGE, ///< nearest pixel of the bounding box of the given ones, frame by frame
    MGV_FILL_TIME, ///< linear in time between the given frames round it, repeated beyond them
};

/** The ten tasks of the paper, specification 4.1. */
enum MgvNamedTask {
    MGV_FP, MGV_FI, MGV_OPC, MGV_OPV, MGV_OPH, MGV_OPD, MGV_IPC, MGV_IPD, MGV_CG, MGV_CFP, MGV_NAMED_NB
};

typedef struct MgvCond {
    int window[3];   ///< T,H,W
    int latent[3];   ///< t,h,w
    float *clip;     ///< [T,H,W,3] V~
    uint8_t *known;  ///< [T,H,W] 1 = given
    uint8_t *cells;  ///< [t,h,w] 1 = condition
} MgvCond;

int mgv_cond_alloc(MgvCond **out, const int window[3], const int latent[3]);
void mgv_cond_free(MgvCond **c);

/**
 * Fill the unknown pixels of c->clip and set c->cells: a cell is a condition
 * cell if at least one of its pixels is given. In: clip where known, and known.
 * MGV_FILL_TIME takes a frame as given if its first pixel is.
 */
void mgv_cond_build(MgvCond *c, enum MgvFill fill);

/** Mask of a picture, and its bounding box, from the frame's mask, or from the rectangle of p. */
void mgv_cond_mask(MgvPicture *pic, const MagvitParams *p, const MagvitFrame *in);

/**
 * Known pixels, filled clip and cells of a named task, from a clip that is
 * given in full. given: frames that FP and CFP start from; other tasks ignore it.
 * The moving strips have cells of their own formula. CG has no clip: all is 0.
 */
void mgv_cond_named(MgvCond *c, enum MgvNamedTask task, int given, const float *clip);

/* ---- window.c: which frames and pixels form a window --------------------- */

/** Frames of one window. Slot i shows frame source[i], or is to be made if it is negative. */
typedef struct MgvWindow {
    int64_t index; ///< on the absolute grid of the stream
    int slots;     ///< T
    int64_t source[MGV_MAX_FRAMES];
} MgvWindow;

/** Gaps between source frames that one window covers: floor((T-1)/factor); 1 for factor 1. */
int mgv_window_gaps(int slots, int factor);
/** Interpolation: frames index*gaps + i, clamped to [first,last], at slots i*factor. */
void mgv_window_interp(MgvWindow *w, int slots, int factor, int64_t index, int64_t first, int64_t last);
/** One to one: frames index*(T-overlap) + i, clamped to [first,last]. */
void mgv_window_repair(MgvWindow *w, int slots, int overlap, int64_t index, int64_t first, int64_t last);
/** Continuation: frames [next-given, next) in the first slots, the rest is to be made. */
void mgv_window_continue(MgvWindow *w, int slots, int given, int64_t index, int64_t next);

/** Output times of interpolation. */
typedef struct MgvTimeline {
    int factor;               ///< slots from one source frame to the next
    int by_rate;              ///< outputs lie at k / rate, else factor a gap
    MagvitRational time_base; ///< of the output
    MagvitRational rate;      ///< of the output, 0/1 unknown
    int64_t p, q;             ///< by_rate: k p / q is the time of output k in the input's base
    int64_t next;             ///< by_rate: next k; else next slot of the gap
    int started;
} MgvTimeline;

/** From factor, rate, frame_rate and time_base. EINVAL with a line. */
int mgv_timeline_init(MgvTimeline *tl, const MagvitParams *p, const MagvitLogger *log);
void mgv_timeline_reset(MgvTimeline *tl);
/**
 * Next output in the gap of frames shown at [t0,t1), input base.
 * @param slot receives [0,factor]: 0 is the earlier frame, factor the later
 * @return 1, or 0 when the gap is done: go on with the next
 */
int mgv_timeline_next(MgvTimeline *tl, int64_t t0, int64_t t1, int *slot, int64_t *pts, int64_t *duration);

#define MGV_CONTEXT 16 ///< given pixels wanted round a hole

/** Tiles of one window. Tile i covers working pixels from (x[i],y[i]); it may reach over the picture's edge. */
typedef struct MgvTiling {
    int work_w, work_h; ///< working picture
    int tile_w, tile_h;
    MgvRect area;       ///< working pixels that tiles cover, inside the working picture
    int nb_x, nb_y;
    int *x, *y;         ///< [nb_x], [nb_y] origins of a grid of tiles
    int *order;         ///< [nb_x * nb_y] indices ty * nb_x + tx, in the order to make tiles in
    MgvRect native;     ///< the area in the picture, grown to whole chroma samples
} MgvTiling;

/**
 * Lay tiles over a picture. hole: bounding box of what is to be made. For
 * OUTPAINT src is where the input lies, and tiles go out from it: each overlaps
 * the input, or tiles that come before it in the order. If it moves, src is the
 * bounding box of its places and border the widest that any of them leaves.
 */
int mgv_tiling_init(MgvTiling *t, const MagvitParams *p, const int window[3], int width, int height,
                    MgvRect hole, MgvRect src, int border);
/** Widest border that an input at src leaves in a picture. */
int mgv_tiling_border(int width, int height, MgvRect src);
void mgv_tiling_uninit(MgvTiling *t);

/* ---- params.c: what may be asked for ------------------------------------- */

#define MGV_MAX_OVERLAP 8   ///< frames
#define MGV_TILE_OVERLAP 32 ///< pixels, the default
#define MGV_MAX_AHEAD 31    ///< windows: two lists of 16, less one
#define MGV_AUTO_AHEAD 7    ///< windows, at most, where the number is not asked for

/** What the output is, and where the input lies in it, from checked parameters. tl is set for INTERP. EINVAL with a line. */
int mgv_params_output(const MagvitParams *p, const MgvSynth *s, MagvitOutput *o, MgvRect *src, MgvTimeline *tl);
/** INPAINT: where holes may lie: the rectangle, or without one anywhere, as masks say. */
MgvRect mgv_params_hole(const MagvitParams *p);
/** May an input lie at (x,y) of the canvas? EINVAL with a line. */
int mgv_params_check_place(const MagvitParams *p, int x, int y, const MagvitLogger *log);
/** Is each field, but those of the decoding loop, in range for windows of s? MAGVIT_ERR(EINVAL) or ENOTSUP with a line. */
int mgv_params_check(const MagvitParams *p, const MgvSynth *s);

/* ---- blend.c: joining made pixels to given ones -------------------------- */

/**
 * Add a tile's frame to a sum with weights that fall linearly over overlap
 * pixels at each edge. sum [area.h,area.w,3], weight [area.h,area.w]; the tile
 * lies at (x,y) of the area and is cut to it. weight may be NULL: it was added before.
 */
void mgv_blend_add(float *sum, float *weight, int aw, int ah, const float *tile, int tw, int th, int x, int y, int overlap);
/** Divide by the weights where they are not zero. */
void mgv_blend_finish(float *sum, const float *weight, size_t pixels);

/** Scratch for the two corrections of pictures up to width x height. */
typedef struct MgvBlend {
    int width, height;
    float *planes;       ///< 4 planes, or the pyramid from level 1 up
    double *column;      ///< [width]
    const MgvTeam *team; ///< may be NULL
} MgvBlend;

int mgv_blend_alloc(MgvBlend **out, int width, int height, const MgvTeam *team);
void mgv_blend_free(MgvBlend **b);

/**
 * Space: made [h,w,3] is shifted where known is 0 by the low-pass part of the
 * steps from pixels where known is 1 (2: given, but no evidence) to made ones
 * beside them, spread by a push-pull pyramid and fading with distance; where
 * known is not 0 it becomes given. Beside given pixels that are flat, made ones that differ little from them follow
 * them. Result clipped to [0,1].
 */
void mgv_blend_hole(MgvBlend *b, float *made, const float *given, const uint8_t *known, int w, int h);

/**
 * Share [height,width], in (0,1], of made samples at the pixels of a picture's hole: distance to the nearest pixel
 * outside of it over feather + 1. What lies beyond the picture is no pixel. Values outside the hole's bounding box
 * are left alone. near [height,width] is scratch.
 */
void mgv_blend_feather(float *share, uint16_t *near, const MgvPicture *p, int feather);

/* ---- blend_time.c: joining in time ----------------------------------------- */

/**
 * Time: what is made of holes changes from frame to frame more than pictures do. Frames made [frames][h,w,3] take the
 * low-pass part, over some 8 pixels, of a mean over five frames inside of where unknown [frames][h,w] is 1; detail and
 * the border of the hole stay. given [frames][h,w,3] counts where unknown is 0. scratch: mgv_blend_steady_scratch() values.
 */
void mgv_blend_steady(float *made, const float *given, const uint8_t *unknown, int frames, int w, int h, double *scratch,
                      const MgvTeam *team);
size_t mgv_blend_steady_scratch(int w, int h);

/** What is known of a frame next to a made one: as given, and as the model made it again. */
typedef struct MgvAnchor {
    const float *given, *made; ///< [h,w,3]
} MgvAnchor;

/**
 * Time: made [h,w,3] lies at phase phi in (0,1) between a and z (z NULL: after
 * a). The error given - made of the two is mixed by phi; its low-pass part,
 * over about 4 radius pixels, is added everywhere, its detail only where
 * little moves. Where a and z agree, their mix replaces what was made: nothing
 * flickers that stands still. Clipped to [0,1].
 */
void mgv_blend_time(MgvBlend *b, float *made, const MgvAnchor *a, const MgvAnchor *z, double phi, int radius,
                    int w, int h);

/** The same of two pictures a and z [h,w,3] that were moved to phase phi: where they agree, their mix replaces made. */
void mgv_blend_moved(MgvBlend *b, float *made, const float *a, const float *z, double phi, int radius, int w, int h);

/** Two box filters of radius r on each axis of a plane [h,w]. dst and tmp [h,w] are overwritten, dst may be src; column [w]. */
void mgv_blend_blur(float *dst, const float *src, float *tmp, double *column, int w, int h, int r, const MgvTeam *team);

/* ---- motion.c: between two given frames ------------------------------------ */

/** Scratch for the motion of pictures [h,w,3] in [0,1]. */
typedef struct MgvMotion MgvMotion;
int mgv_motion_alloc(MgvMotion **out, int w, int h); ///< ENOMEM
int mgv_motion_fit(MgvMotion **m, int w, int h);     ///< the same, unless *m has that size already
void mgv_motion_free(MgvMotion **m);
int64_t mgv_motion_bytes(int w, int h);  ///< what is allocated
size_t mgv_motion_floats(int w, int h);  ///< values of a flow: it may be coarser than the pictures
/** Pixels that things move by from a to b, at where they are halfway. team may be NULL: the result is the same. */
void mgv_motion_estimate(MgvMotion *m, float *flow, const float *a, const float *b, const MgvTeam *team);
/** dst [r.h,r.w,3]: part r, which may reach over the edge, of the picture at phase phi in [0,1] from a to b. */
void mgv_motion_between(const MgvMotion *m, float *dst, MgvRect r, const float *a, const float *b, const float *flow,
                        double phi);

/** A picture whose pixel (0,0) begins at (x,y) of what motion was found in, and whose pixels are sx by sy of it. */
typedef struct MgvView {
    int w, h;
    double x, y, sx, sy;
} MgvView;

/** Rows of a flow, of which dst receives [row,end): the same motion at where things are at phase phi. */
void mgv_motion_phase(const MgvMotion *m, float *dst, const float *flow, double phi, int row, int end);
int mgv_motion_rows(const MgvMotion *m);
/**
 * dst [h,w,3], of which rows [row,end) are written: the pictures src [h,w,3] before and after, both moved to phase phi.
 * phase: what mgv_motion_phase() gives for it.
 */
void mgv_motion_move(const MgvMotion *m, float *const dst[2], const float *const src[2], const MgvView *view,
                     const float *phase, double phi, int row, int end);

/* ---- flows.c: motion between the given frames of a window ------------------ */

typedef struct MgvFlows MgvFlows;
int mgv_flows_alloc(MgvFlows **out, const MgvTeam *team); ///< team: may be NULL, else lasts as long. ENOMEM
void mgv_flows_free(MgvFlows **f);
/** At most taken, with views of that size. */
int64_t mgv_flows_bytes(int w, int h, int slots, int given, int view_w, int view_h);

/** row [slots]: number of a given frame, -1: not given. @return the nearest given slot from one on, in steps; -1 if there is none */
int mgv_given_slot(const int *row, int slots, int slot, int step);

/** Find the motion over each gap. clip: pictures [h,w,3], by row, that stay until it is called again. ENOMEM */
int mgv_flows_find(MgvFlows *f, const float *clip, const int *row, int slots, int w, int h);
/** dst [r.h,r.w,3]: part r, which may reach over the edge, of a slot that lies in a gap; others leave dst alone. */
void mgv_flows_between(const MgvFlows *f, float *dst, MgvRect r, int slot);
/**
 * dst: the given pictures before and after a slot, both [h,w,3] of the view, moved to its time, by motion that is found
 * in them, if they are much larger than the pictures of mgv_flows_find(). @return 1, 0 if it is in no gap, ENOMEM
 */
int mgv_flows_move(MgvFlows *f, float *dst[2], const float *const src[2], const MgvView *view, int slot);

/* ---- drift.c: from one window to the next -------------------------------- */

typedef struct MgvDrift MgvDrift;
/** For holes inside of box, in pictures of width x height. ENOMEM */
int mgv_drift_alloc(MgvDrift **out, const MagvitFormat *f, int width, int height, MgvRect box);
void mgv_drift_free(MgvDrift **d);
int64_t mgv_drift_bytes(const MagvitFormat *f, int width, int height, MgvRect box); ///< at most taken
/**
 * made becomes what goes on from before, the same frame as the last window made it: its coarse part, and of the detail
 * 1 - phi. The coarse difference is kept.
 */
void mgv_drift_join(MgvDrift *d, MgvPicture *made, const MgvPicture *before, double phi);
/** Add a share, [0,1], of the difference kept inside the hole of a later frame, whose mask is that of hole. */
void mgv_drift_add(MgvDrift *d, MgvPicture *made, const MgvPicture *hole, double share);

/* ---- queue.c: jobs of all windows that have begun --------------------------- */

typedef struct MgvQueue MgvQueue;

int mgv_queue_alloc(MgvQueue **out, const MgvSynth *synth);
void mgv_queue_free(MgvQueue **q);
/** A list begins as soon as so many jobs wait, [1,synth->batch], or one of fewer when it is waited for. */
void mgv_queue_set_most(MgvQueue *q, int most);
/** Put a job, which must stay until it is over. What becomes of it mgv_queue_wait() tells. */
void mgv_queue_put(MgvQueue *q, MgvJob *job);
/** Run jobs in order until this one is over. @return its ret */
int mgv_queue_wait(MgvQueue *q, MgvJob *job);
/** Forget all jobs. */
void mgv_queue_drop(MgvQueue *q);

/* ---- tiles.c: tiles of a window on their way through the model -------------- */

typedef struct MgvTile {
    MgvCond *cond;
    float *out; ///< [T,H,W,3]
    int x, y;   ///< in the area
} MgvTile;

typedef struct MgvTiles MgvTiles;

/** p->ahead must be the number that was chosen. */
int mgv_tiles_alloc(MgvTiles **out, MgvQueue *queue, const MgvSynth *synth, const MagvitParams *p);
void mgv_tiles_free(MgvTiles **t);
/** Of the tiles of a window, those that may be on their way, for which memory is taken. */
int mgv_tiles_room(const MgvSynth *synth, const MagvitParams *p, int tiles);

/** Fill in the next tile and its job, but for job->out. @return 0 if there is none */
typedef int MgvPutTileFn(void *opaque, MgvTile *tile, MgvJob *job);
/** A tile is made. Called in the order in which they were put. */
typedef void MgvTakeTileFn(void *opaque, const MgvTile *tile);

/** Put tiles, at most wanted of them, as long as there is room. */
int mgv_tiles_begin(MgvTiles *t, int wanted, MgvPutTileFn *put, MgvTakeTileFn *take, void *opaque);
/** Wait for the oldest tile, and put others in its room. @return 1, 0 if all are made, or an error: then drop must follow */
int mgv_tiles_step(MgvTiles *t);
/** The same where tiles need those before them, if the oldest is made; it waits for none. */
int mgv_tiles_go_on(MgvTiles *t);
/** Is there nothing more to put before another tile is made? */
int mgv_tiles_all_put(const MgvTiles *t);
/** Is it known that the oldest tile has failed? */
int mgv_tiles_failed(const MgvTiles *t);
/** Number of tiles that are made. */
int mgv_tiles_made(const MgvTiles *t);
/** Wait for what is on its way, and forget it. */
void mgv_tiles_drop(MgvTiles *t);

/* ---- render.c: one window, from pictures to pictures --------------------- */

typedef struct MgvRender MgvRender;

/** Gives the picture of a source frame by its number; it stays valid until the window is done with. */
typedef const MgvPicture *MgvPictureFn(void *opaque, int64_t number);

/**
 * For pictures of width x height. queue, synth and p must outlive it. fn gives
 * pictures for all later calls.
 */
int mgv_render_alloc(MgvRender **out, MgvQueue *queue, const MgvSynth *synth, const MagvitParams *p, int width, int height,
                     MgvPictureFn *fn, void *opaque);
void mgv_render_free(MgvRender **r);

/** Called before each wait for a tile. all_put: nothing more of the window can begin before. */
typedef void MgvMeanwhileFn(void *opaque, int all_put);

/**
 * Begin to synthesise a window: its first tiles are in the queue then. If it returns 1, end or drop must follow, or the
 * queue is to be dropped.
 * @param progress set and advanced by end
 * @return 1, 0 if there is nothing to make in it, or an error
 */
int mgv_render_begin(MgvRender *r, const MgvWindow *w, MgvProgress *progress);
/** A window that has begun goes on as far as it can without waiting. */
void mgv_render_go_on(MgvRender *r);
/** The window is made. @return 1, or an error: then the queue is to be dropped */
int mgv_render_end(MgvRender *r, MgvMeanwhileFn *fn, void *opaque);
/** Forget a window that has begun, after what is on its way of it. */
void mgv_render_drop(MgvRender *r);

/** Write what is unknown of a slot of the last window into dst, which holds a copy of the source frame or of the one before. */
int mgv_render_slot(MgvRender *r, int slot, MgvPicture *dst);

/* ---- scene.c: what frames say of each other ------------------------------ */

/** Numbers of the frames of a ring; last is first - 1 if there is none. */
typedef struct MgvFrames {
    int64_t first, last;
    int complete;         ///< no frame follows
    MgvPictureFn *fn;     ///< gives those within [first,last]
    void *opaque;
} MgvFrames;

/** Is the mean absolute difference of every 16x16 block of every plane within percent of the full scale? */
int mgv_picture_same(const MgvPicture *a, const MgvPicture *b, double percent);

/** Narrow f, which holds frame number at, to the scene of it. */
void mgv_scene(MgvFrames *f, int64_t at);

/** How a frame comes about when bad ones are made anew. */
typedef struct MgvRepair {
    int64_t from;   ///< good frame: itself, the one before it that the made one starts from, or one to hold
    int64_t window; ///< number of the first frame of the window that makes it, -1: it is a copy
    int too_long;   ///< a copy as more than T-2 bad frames follow each other
} MgvRepair;

/**
 * Plan frame number at, for windows of so many slots. The window is that of the absolute grid [k (T-1), (k+1) (T-1)]
 * if it holds the bad frames and the good ones round them, else one with the bad frames in its middle.
 * @return 0, or MAGVIT_ERR(EAGAIN) if it depends on frames to come
 */
int mgv_repair_plan(MgvRepair *out, int slots, int64_t at, const MgvFrames *f);
/** Good frames from number start on, those beyond the scene that f is narrowed to repeat its ends. */
void mgv_window_replace(MgvWindow *w, int slots, int64_t start, const MgvFrames *f);

/* ---- memory.c: what a session will take ------------------------------------ */

/** Need of a session whose output is o, with the input at src and room for ring frames; p->ahead is a number. ENOMEM */
int mgv_memory_need(MagvitMemory *m, const MagvitParams *p, const MgvSynth *s, const MagvitOutput *o, MgvRect src, int ring);
/** Tiles that a window of it has, at most. ENOMEM */
int mgv_memory_tiles(const MagvitParams *p, const MgvSynth *s, const MagvitOutput *o, MgvRect src, int *tiles);
/** ENOMEM with a line if m is more than max bytes; max 0: no limit. */
int mgv_memory_check(const MagvitMemory *m, int64_t max, const MagvitLogger *log);

#endif /* MAGVIT_VIDEO_H */
