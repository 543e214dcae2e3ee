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
 * What session.c and ahead.c share: a session, and which windows it needs.
 */

#ifndef MAGVIT_SESSION_H
#define MAGVIT_SESSION_H

#include "libmagvit/video.h"

enum { MGV_NOTHING, MGV_MADE, MGV_FAILED };

/** A window that has begun before it was asked for. */
typedef struct MgvBegun {
    MgvRender *render;
    MgvWindow window;
    int64_t number;       ///< of the window
    int64_t at;           ///< a frame of it, whose scene counts
    int ret;              ///< of mgv_render_begin()
} MgvBegun;

/** Where the output is: put back when a frame could not be made, so that the call can be repeated. */
typedef struct MgvPosition {
    MgvTimeline timeline;
    int64_t current;
    int slot;
} MgvPosition;

struct MagvitSession {
    MagvitParams p;
    MgvSynth synth;
    MagvitOutput output;
    MgvTimeline timeline; ///< INTERP
    MgvQueue *queue;
    MgvRender *render;    ///< of the current window
    MgvBegun *begun;      ///< [p.ahead] windows after it, in their order
    int nb_begun;
    MgvProgress progress;
    MgvRect src;          ///< of the input in the picture

    MgvPicture **ring;    ///< frame number n at n % cap; allocated when first used
    int cap;
    int64_t first, end;   ///< numbers of the frames that the ring holds
    int64_t sent;         ///< number after the last frame that was sent
    int64_t last_pts, last_duration; ///< of the last sent frame; NOPTS before the first
    int64_t delta;        ///< between the last two sent frames, 0 unknown
    int eof;

    int64_t current;      ///< next source frame to be shown; INTERP: left of the current gap
    int64_t window;       ///< index on the absolute grid
    uint64_t seed;        ///< of that window
    int rendered;         ///< -1: not yet, MGV_NOTHING to make in it, MGV_MADE, MGV_FAILED
    int warned_long;      ///< repair: of too many bad frames in a row
    int warned;           ///< that a fallback was taken
    int64_t made;         ///< PREDICT, GENERATE: frames so far
    int slot;             ///< PREDICT, GENERATE: next of the window
    MgvPosition back;        ///< before the frame that next_output() gave

    MgvPicture *work;     ///< the frame that goes out
    float *share;         ///< INPAINT with feather: [height,width] of made samples
    uint16_t *near;       ///< scratch for it
    MgvPicture *tail[MGV_MAX_OVERLAP]; ///< end of the last window, to cross-fade with
    int64_t tail_number[MGV_MAX_OVERLAP]; ///< -1: nothing
    MgvDrift *drift;      ///< INPAINT with overlap
    int64_t drift_from;   ///< frame that it was kept at, -1: nothing
};

/* ---- the ring ---- */

static inline MgvPicture *mgv_session_frame(const MagvitSession *s, int64_t number)
{
    mgv_assert(number >= s->first && number < s->end);
    return s->ring[number % s->cap];
}

static inline const MgvPicture *mgv_session_picture(void *opaque, int64_t number)
{
    return mgv_session_frame(opaque, number);
}

/** The frames there are. */
static inline MgvFrames mgv_session_frames(MagvitSession *s)
{
    return (MgvFrames){ s->first, s->end - 1, s->eof, mgv_session_picture, s };
}

/* ---- ahead.c: windows, and those that begin before they are asked for ---- */

/** Number of the last frame that a window waits for. */
int64_t mgv_session_window_end(const MagvitSession *s, int64_t window);
/** Are the frames of the current window there, and of those that are to begin with it? */
int mgv_session_ready(MagvitSession *s);
/** Which frames a window shows; at: a frame of it, whose scene counts. */
void mgv_session_place(MagvitSession *s, MgvWindow *w, int64_t window, int64_t at);
/** p.ahead becomes the number of windows, s->output and s->src must be there. ENOMEM */
int mgv_session_choose_ahead(MagvitSession *s);
/** Frames that are held at most. */
int mgv_session_ring(const MagvitSession *s);
/** Memory for that many windows. */
int mgv_session_alloc_windows(MagvitSession *s);
void mgv_session_free_windows(MagvitSession *s);
/** Render a window, which may have begun. @return 1, 0 if there is nothing to make in it, or an error */
int mgv_session_render(MagvitSession *s, const MgvWindow *w);
/** Windows after the current one begin if their frames are there. */
void mgv_session_begin_next(MagvitSession *s);
/** Forget all windows that have begun. */
void mgv_session_drop_next(MagvitSession *s);

#endif /* MAGVIT_SESSION_H */
