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
 * Sessions: a ring of source pictures, a position in the output, and one
 * window at a time. A task's next_* function says which frame comes next; the
 * window that it needs is rendered when it is asked for, or begins while frames
 * of those before are received, see ahead.c. Memory is that of so many windows,
 * whatever the length of the stream.
 */

#include <limits.h>
#include <math.h>
#include <string.h>

#include "libmagvit/session.h"

#define MAX_PTS (INT64_MAX / 64) ///< so that times in a finer base fit

/** What to give out next. */
typedef struct Output {
    int64_t number;   ///< source frame that it is, or comes after
    int slot;         ///< of the current window, -1: a copy
    int64_t pts, duration;
} Output;

/* ---- the ring ------------------------------------------------------------- */

static void drop_before(MagvitSession *s, int64_t number)
{
    s->first = MGV_MIN(MGV_MAX(s->first, number), s->end);
}

/** Room for frame number s->end; a full ring loses its oldest frame. */
static int ring_next(MagvitSession *s, MgvPicture **out)
{
    MgvPicture **p = &s->ring[s->end % s->cap];
    int ret;

    if (s->end - s->first == s->cap)
        s->first++;
    if (!*p)
        RET(mgv_picture_alloc(p, &s->p.format, s->output.width, s->output.height,
                              s->p.task == MAGVIT_TASK_INPAINT));
    (*p)->number = s->end;
    *out = *p;
    return 0;

fail:
    return ret;
}

/* ---- input ---------------------------------------------------------------- */

static int check_planes(const MagvitSession *s, const MagvitFrame *f)
{
    for (int i = 0; i < mgv_format_planes(&s->p.format); i++)
        if (!f->data[i]) {
            mgv_err(s->synth.log, "frame %lld: plane %d is missing", (long long)(s->sent - s->p.first_index), i);
            return MAGVIT_ERR(EINVAL);
        }
    return 0;
}

/** Time of one frame when neither durations nor distances tell. */
static int64_t nominal_duration(const MagvitParams *p)
{
    int64_t d = 0;

    if (p->frame_rate.num > 0)
        d = mgv_rescale(1, (int64_t)p->frame_rate.den * p->time_base.den,
                        (int64_t)p->frame_rate.num * p->time_base.num);
    return MGV_MAX(d, 1);
}

/** Time that the last sent frame is shown. */
static int64_t last_duration(const MagvitSession *s)
{
    return s->last_duration > 0 ? s->last_duration : s->delta > 0 ? s->delta : nominal_duration(&s->p);
}

/**
 * Begin of the k-th frame after the last one that was sent: at the frame rate, so that no rounding adds up, where it
 * is known and a frame lasts a tick or more; else every frame lasts as long as the last one.
 */
static int64_t time_after(const MagvitSession *s, int64_t k)
{
    const MagvitParams *p = &s->p;
    int64_t num = (int64_t)p->frame_rate.den * p->time_base.den, den = (int64_t)p->frame_rate.num * p->time_base.num;

    return s->last_pts + (den > 0 && num >= den ? mgv_rescale(k, num, den) : k * last_duration(s));
}

/** Time of the next frame. EINVAL with a line. */
static int next_pts(const MagvitSession *s, const MagvitFrame *in, int64_t *out)
{
    const long long number = s->sent - s->p.first_index;
    const int first = s->last_pts == MAGVIT_NOPTS;
    int64_t pts = in->pts != MAGVIT_NOPTS ? in->pts : first ? 0 : s->last_pts + last_duration(s);

    if (pts < -MAX_PTS || pts > MAX_PTS || in->duration < 0 || in->duration > MAX_PTS) {
        mgv_err(s->synth.log, "frame %lld: pts %lld or duration %lld is out of range", number, (long long)pts,
                (long long)in->duration);
        return MAGVIT_ERR(EINVAL);
    }
    if (!first && pts <= s->last_pts) {
        mgv_err(s->synth.log, "frame %lld: pts %lld does not rise after %lld", number, (long long)pts,
                (long long)s->last_pts);
        return MAGVIT_ERR(EINVAL);
    }
    *out = pts;
    return 0;
}

static void set_times(MagvitSession *s, MgvPicture *pic, int64_t pts, int64_t duration)
{
    s->delta         = s->last_pts == MAGVIT_NOPTS ? 0 : pts - s->last_pts;
    s->last_pts      = pic->pts      = pts;
    s->last_duration = pic->duration = duration;
}

/** What the next frame is, beside its samples. */
static void set_marks(const MagvitSession *s, MgvPicture *pic, const MagvitFrame *in)
{
    const MgvPicture *before = s->end > s->first ? mgv_session_frame(s, s->end - 1) : NULL;

    pic->held = 0;
    pic->cut  = in->scene_cut;
    pic->same = !pic->cut && !in->replace && before && before->bad < 2 && s->p.task == MAGVIT_TASK_INTERP &&
                mgv_picture_same(before, pic, s->p.dup_threshold);
    pic->bad  = !s->p.repair ? 0 : in->replace ? 2 : pic->same;
}

int magvit_send_frame(MagvitSession *s, const MagvitFrame *in)
{
    MgvPicture *pic;
    int64_t pts;
    int ret;

    if (s->eof)
        return MAGVIT_ERROR_EOF;
    if (!in) {
        s->eof = 1;
        return 0;
    }
    if (mgv_session_ready(s))
        return MAGVIT_ERR(EAGAIN);
    RET(check_planes(s, in));
    if (s->p.moving)
        RET(mgv_params_check_place(&s->p, in->x, in->y, s->synth.log));
    RET(next_pts(s, in, &pts));
    RET(ring_next(s, &pic));
    set_times(s, pic, pts, in->duration);
    pic->src = s->src;
    if (s->p.moving) {
        pic->src.x = in->x;
        pic->src.y = in->y;
    }
    mgv_picture_put(pic, in, pic->src.x, pic->src.y, s->p.width, s->p.height);
    if (pic->mask)
        mgv_cond_mask(pic, &s->p, in);
    set_marks(s, pic, in);
    s->sent = ++s->end;
    return 0;

fail:
    return ret;
}

/* ---- what comes next ------------------------------------------------------ */

static MgvPosition position(const MagvitSession *s)
{
    return (MgvPosition){ s->timeline, s->current, s->slot };
}

static void next_window(MagvitSession *s)
{
    s->window++;
    s->rendered = -1;
}

static int next_interp(MagvitSession *s, Output *o)
{
    const int factor = s->timeline.factor, gaps = mgv_window_gaps(s->synth.window[0], factor);
    int slot;

    for (;;) {
        int hold = s->current == s->end - 1, copy = hold;
        int64_t t0, t1;

        if (!mgv_session_ready(s))
            return MAGVIT_ERR(EAGAIN);
        if (s->current >= s->end)
            return MAGVIT_ERROR_EOF;
        t0 = mgv_session_frame(s, s->current)->pts;
        t1 = hold ? t0 + last_duration(s) : mgv_session_frame(s, s->current + 1)->pts;
        if (!hold)
            copy = mgv_session_frame(s, s->current + 1)->cut || mgv_session_frame(s, s->current + 1)->same;
        s->back = position(s);
        if (mgv_timeline_next(&s->timeline, t0, t1, &slot, &o->pts, &o->duration)) {
            slot      = copy ? 0 : slot;
            o->number = s->current + (slot == factor);
            o->slot   = slot % factor ? (int)(s->current - s->window * gaps) * factor + slot : -1;
            return 0;
        }
        if (++s->current == (s->window + 1) * gaps)
            next_window(s);
        if (!hold && mgv_session_frame(s, s->current)->cut) // the other scene's part of the window
            s->rendered = -1;
        drop_before(s, s->window * gaps);
    }
}

static int next_replaced(MagvitSession *s, Output *o)
{
    const int slots = s->synth.window[0];
    MgvFrames f = mgv_session_frames(s);
    MgvRepair plan;
    MgvPicture *pic;
    int slot, ret;

    if (!mgv_session_ready(s))
        return MAGVIT_ERR(EAGAIN);
    if (s->current >= s->end)
        return MAGVIT_ERROR_EOF;
    RET(mgv_repair_plan(&plan, slots, s->current, &f));
    pic = mgv_session_frame(s, s->current);
    s->back = position(s);
    mgv_timeline_next(&s->timeline, pic->pts, s->current + 1 < s->end ? mgv_session_frame(s, s->current + 1)->pts :
                      pic->pts + last_duration(s), &slot, &o->pts, &o->duration);
    mgv_timeline_reset(&s->timeline);
    if (pic->cut || (plan.window >= 0 && plan.window != s->window))
        s->rendered = -1;
    if (plan.window >= 0)
        s->window = plan.window;
    if (plan.too_long && !s->warned_long++)
        mgv_warn(s->synth.log, "more than %d frames from number %lld on are bad or frozen: the last good one is held",
                 slots - 2, (long long)(s->current - s->p.first_index));
    if (plan.window < 0 && plan.from < s->current)
        mgv_picture_hold(pic, mgv_session_frame(s, plan.from));
    o->number = plan.from;
    o->slot   = plan.window < 0 ? -1 : (int)(s->current - plan.window);
    drop_before(s, s->current++ - 2 * slots);
    return 0;

fail:
    return ret;
}

static int ensure_window(MagvitSession *s);

/** Keep the last frames of a window for the cross-fade with the next one. */
static int keep_tail(MagvitSession *s, int64_t number)
{
    int ret, hop = s->synth.window[0] - s->p.overlap;

    s->drift_from = -1;
    for (int i = 0; i < s->p.overlap; i++)
        s->tail_number[i] = -1;
    for (int i = 0; i < s->p.overlap && number + i < s->end; i++) {
        const MgvPicture *pic = mgv_session_frame(s, number + i);

        if (s->p.task == MAGVIT_TASK_INPAINT && !pic->hole.w)
            continue;
        RET(ensure_window(s));
        if (s->rendered != MGV_MADE)
            continue;
        if (!s->tail[i])
            RET(mgv_picture_alloc(&s->tail[i], &s->p.format, s->output.width, s->output.height, 0));
        mgv_picture_copy(s->tail[i], pic);
        RET(mgv_render_slot(s->render, hop + i, s->tail[i]));
        s->tail_number[i] = number + i;
    }
    return 0;

fail:
    return ret;
}

/** Does the next frame go out as it came, whatever window it lies in? */
static int passes(const MagvitSession *s)
{
    return s->p.task == MAGVIT_TASK_INPAINT && s->current < s->end && !mgv_session_frame(s, s->current)->hole.w;
}

static int next_repair(MagvitSession *s, Output *o)
{
    const int hop = s->synth.window[0] - s->p.overlap;
    const MgvPicture *pic;
    int ret;

    /* a window that the stream ends in is the last, and gives all of its frames */
    if (s->current >= (s->window + 1) * hop && s->end > mgv_session_window_end(s, s->window)) {
        RET(keep_tail(s, (s->window + 1) * hop));
        next_window(s);
        drop_before(s, s->window * hop);
    }
    if (!mgv_session_ready(s) && !passes(s))
        return MAGVIT_ERR(EAGAIN);
    if (s->current >= s->end)
        return MAGVIT_ERROR_EOF;
    s->back = position(s);
    pic = mgv_session_frame(s, s->current);
    *o  = (Output){ s->current, (int)(s->current - s->window * hop), pic->pts, pic->duration };
    s->current++;
    return 0;

fail:
    return ret;
}

/** A new window that starts from the last frames there are. */
static void begin_continuation(MagvitSession *s)
{
    int64_t have = s->end - s->first;

    if (s->made)
        s->window++;
    s->rendered = -1;
    s->slot = (int)MGV_MIN(have, s->p.cond_frames);
}

static int next_predict(MagvitSession *s, Output *o)
{
    const int generate = s->p.task == MAGVIT_TASK_GENERATE;

    if (s->current < s->sent) {
        const MgvPicture *pic = mgv_session_frame(s, s->current);

        s->back = position(s);
        *o = (Output){ s->current++, -1, pic->pts, pic->duration };
        return 0;
    }
    if (!s->eof)
        return MAGVIT_ERR(EAGAIN);
    if (s->made == s->p.frames || (!generate && s->sent == s->p.first_index))
        return MAGVIT_ERROR_EOF;
    if (s->slot < 0 || s->slot == s->synth.window[0])
        begin_continuation(s);

    s->back     = position(s);
    o->number   = s->end - 1;
    o->slot     = s->slot++;
    o->pts      = generate ? s->made : time_after(s, s->made + 1);
    o->duration = generate ? 1 : time_after(s, s->made + 2) - o->pts;
    return 0;
}

static int next_output(MagvitSession *s, Output *o)
{
    switch (s->p.task) {
    case MAGVIT_TASK_INTERP:   return s->p.repair ? next_replaced(s, o) : next_interp(s, o);
    case MAGVIT_TASK_INPAINT:
    case MAGVIT_TASK_OUTPAINT: return next_repair(s, o);
    default:                   return next_predict(s, o);
    }
}

/* ---- output --------------------------------------------------------------- */

/** Is a failure to be passed over? Then the window counts as one with nothing to make. */
static int fall_back(MagvitSession *s, int ret)
{
    if (ret != MAGVIT_ERROR_DEVICE || s->p.fallback == MAGVIT_FALLBACK_ERROR)
        return 0;
    if (!s->warned++)
        mgv_warn(s->synth.log, "window %lld failed: its frames are %s instead, as are those of later failures",
                 (long long)s->window, s->p.fallback == MAGVIT_FALLBACK_BLEND && s->p.task == MAGVIT_TASK_INTERP ?
                 "blended" : "copied");
    s->rendered = MGV_FAILED;
    return 1;
}

static int ensure_window(MagvitSession *s)
{
    MgvWindow w;
    int ret;

    if (s->rendered >= 0)
        return 0;
    mgv_session_place(s, &w, s->window, s->back.current);
    s->seed = s->p.seed;
    ret = mgv_session_render(s, &w);
    if (fall_back(s, ret))
        return 0;
    RET(ret);
    s->rendered = ret;
    mgv_session_begin_next(s);
    return 0;

fail:
    return ret;
}

/** Cross-fade s->work with what the window before made of the same frame; of holes, see drift.c. */
static void fade_tail(MagvitSession *s, const MgvPicture *from, int64_t number)
{
    const int frames = s->synth.window[0] - 2 * s->p.overlap; // that the drift fades over, before the next tail begins

    for (int i = 0; i < s->p.overlap; i++)
        if (s->tail_number[i] >= 0 && s->tail_number[i] == number) {
            const double phi = (i + 1.0) / (s->p.overlap + 1);

            if (!s->drift) {
                mgv_picture_mix(s->work, s->tail[i], 1 - phi, 0);
                return;
            }
            mgv_drift_join(s->drift, s->work, s->tail[i], phi);
            s->drift_from = number;
            return;
        }
    if (s->drift && s->drift_from >= 0 && number - s->drift_from < frames)
        mgv_drift_add(s->drift, s->work, from, 1 - (double)(number - s->drift_from) / frames);
}

/** In place of a frame that was not made, s->work is the one before it: blend it with the one after. */
static void compose_blend(MagvitSession *s, const Output *o)
{
    int64_t next = o->number + 1;
    double phase;

    if (s->p.task != MAGVIT_TASK_INTERP || s->p.fallback != MAGVIT_FALLBACK_BLEND)
        return;
    if (s->p.repair) { // a window is there only if good frames are, on both sides
        while (mgv_session_frame(s, next)->bad)
            next++;
        phase = (double)(s->back.current - o->number) / (next - o->number);
    } else {
        phase = (double)(o->slot % s->timeline.factor) / s->timeline.factor;
    }
    for (int alpha = 0; alpha <= s->p.format.alpha; alpha++)
        mgv_picture_mix(s->work, mgv_session_frame(s, next), phase, alpha);
    s->work->generated = 1;
}

/** Fill s->work with an output frame. */
static int compose(MagvitSession *s, const Output *o)
{
    const MgvPicture *from = o->number >= s->first && o->number < s->end ? mgv_session_frame(s, o->number) : NULL;
    int ret;

    if (from)
        mgv_picture_copy(s->work, from);
    else
        mgv_picture_clear(s->work);
    s->work->generated = 0;
    s->work->window    = -1;
    if (o->slot < 0 || (s->p.task == MAGVIT_TASK_INPAINT && !from->hole.w))
        return 0;
    RET(ensure_window(s));
    if (s->rendered == MGV_FAILED)
        compose_blend(s, o);
    if (s->rendered != MGV_MADE)
        return 0;
    ret = mgv_render_slot(s->render, o->slot, s->work);
    if (fall_back(s, ret))
        return compose(s, o);
    RET(ret);
    fade_tail(s, from, o->number);
    if (s->share) {
        mgv_blend_feather(s->share, s->near, from, s->p.feather);
        mgv_picture_fade(s->work, from, s->share, from->hole);
    }
    s->work->generated = 1;
    s->work->window    = s->window;
    return 0;

fail:
    return ret;
}

/** A predicted frame becomes one that the next window may start from. */
static int push_made(MagvitSession *s, const Output *o)
{
    MgvPicture *pic;
    int ret;

    RET(ring_next(s, &pic));
    mgv_picture_copy(pic, s->work);
    pic->pts      = o->pts;
    pic->duration = o->duration;
    pic->number   = s->end++;
    s->made++;
    return 0;

fail:
    return ret;
}

int magvit_receive_frame(MagvitSession *s, MagvitFrame *out)
{
    Output o;
    int ret;

    if (atomic_exchange(&s->progress.cancel, 0)) {
        mgv_session_drop_next(s); // windows that could not begin for it
        return MAGVIT_ERR(ECANCELED);
    }
    RET(check_planes(s, out));
    RET(next_output(s, &o));
    ret = compose(s, &o);
    if (ret >= 0 && o.slot >= 0 && (s->p.task == MAGVIT_TASK_PREDICT || s->p.task == MAGVIT_TASK_GENERATE))
        ret = push_made(s, &o);
    if (ret < 0) {
        s->timeline = s->back.timeline;
        s->current  = s->back.current;
        s->slot     = s->back.slot;
        if (ret == MAGVIT_ERR(ECANCELED))
            atomic_store(&s->progress.cancel, 0);
        return ret;
    }
    mgv_picture_get(s->work, out);
    out->color     = s->work->color;
    out->pts       = o.pts;
    out->duration  = o.duration;
    out->source    = (s->p.repair ? s->back.current : MGV_MIN(o.number, s->sent - 1)) - s->p.first_index;
    out->generated = s->work->generated;
    out->window    = s->work->window;
    out->seed      = s->seed;
    return 0;

fail:
    return ret;
}

/* ---- life ----------------------------------------------------------------- */

int magvit_session_output(const MagvitSession *s, MagvitOutput *out)
{
    *out = s->output;
    return 0;
}

int magvit_session_set_decoding(MagvitSession *s, const MagvitParams *p)
{
    int ret;

    if (!s->synth.set)
        return 0;
    mgv_session_drop_next(s);
    RET(s->synth.set(s->synth.opaque, p, &s->synth.steps));
    s->p.seed = p->seed;
    return 0;

fail:
    return ret;
}

int magvit_session_progress(const MagvitSession *s, int *done, int *total)
{
    *done  = atomic_load(&s->progress.done);
    *total = atomic_load(&s->progress.total);
    return 0;
}

void magvit_session_cancel(MagvitSession *s)
{
    atomic_store(&s->progress.cancel, 1);
}

void magvit_session_flush(MagvitSession *s)
{
    const int slots = s->synth.window[0];

    mgv_session_drop_next(s);
    s->first = s->end = s->sent = s->current = s->p.first_index;
    s->last_pts = MAGVIT_NOPTS;
    s->last_duration = s->delta = s->made = 0;
    s->eof   = s->p.task == MAGVIT_TASK_GENERATE;
    s->slot  = -1;
    s->window   = 0;
    s->rendered = -1;
    s->warned   = 0;
    if (s->p.task == MAGVIT_TASK_INTERP)
        s->window = s->current / mgv_window_gaps(slots, s->timeline.factor);
    else if (s->p.task == MAGVIT_TASK_INPAINT || s->p.task == MAGVIT_TASK_OUTPAINT)
        s->window = s->current / (slots - s->p.overlap);
    s->drift_from = -1;
    for (int i = 0; i < MGV_MAX_OVERLAP; i++)
        s->tail_number[i] = -1;
    mgv_timeline_reset(&s->timeline);
    atomic_store(&s->progress.done, 0);
    atomic_store(&s->progress.total, 0);
    atomic_store(&s->progress.cancel, 0);
}

/** Check parameters and take them over. */
static int set_params(MagvitSession *s, const MgvSynth *synth, const MagvitParams *p)
{
    int ret;

    s->p     = *p;
    s->synth = *synth;
    if (p->tile_overlap == MGV_TILE_OVERLAP) // small models cannot have it
        s->p.tile_overlap = MGV_MIN(MGV_TILE_OVERLAP, MGV_MIN(synth->window[1], synth->window[2]) / 2);
    RET(mgv_params_check(&s->p, synth));
    RET(mgv_params_output(&s->p, synth, &s->output, &s->src, &s->timeline));
    RET(mgv_session_choose_ahead(s));
    s->cap = mgv_session_ring(s);
    return 0;

fail:
    return ret;
}

int mgv_session_memory(MagvitMemory *out, const MgvSynth *synth, const MagvitParams *p)
{
    MagvitSession s = { 0 };
    int ret;

    RET(set_params(&s, synth, p));
    return mgv_memory_need(out, &s.p, synth, &s.output, s.src, s.cap);

fail:
    return ret;
}

int mgv_session_open(MagvitSession **out, const MgvSynth *synth, const MagvitParams *p)
{
    MagvitSession *s = *out = mgv_calloc(1, sizeof(*s));
    MagvitMemory need;
    int ret;

    if (!s) {
        if (synth->free)
            synth->free(synth->opaque);
        return MAGVIT_ERR(ENOMEM);
    }
    RET(set_params(s, synth, p));
    RET(mgv_memory_need(&need, &s->p, synth, &s->output, s->src, s->cap));
    RET(mgv_memory_check(&need, p->max_memory, synth->log));
    if (!(s->ring = mgv_calloc(s->cap, sizeof(*s->ring))))
        RET(MAGVIT_ERR(ENOMEM));
    RET(mgv_picture_alloc(&s->work, &p->format, s->output.width, s->output.height, 0));
    RET(mgv_session_alloc_windows(s));
    if (p->task == MAGVIT_TASK_INPAINT && p->feather) {
        s->share = mgv_calloc((size_t)p->width * p->height, sizeof(*s->share));
        s->near  = mgv_calloc((size_t)p->width * p->height, sizeof(*s->near));
        if (!s->share || !s->near)
            RET(MAGVIT_ERR(ENOMEM));
    }
    if (p->task == MAGVIT_TASK_INPAINT && p->overlap)
        RET(mgv_drift_alloc(&s->drift, &p->format, p->width, p->height, mgv_params_hole(p)));
    magvit_session_flush(s);
    return 0;

fail:
    magvit_session_close(out);
    return ret;
}

void magvit_session_close(MagvitSession **out)
{
    MagvitSession *s = *out;

    if (!s)
        return;
    mgv_session_free_windows(s);
    for (int i = 0; s->ring && i < s->cap; i++)
        mgv_picture_free(&s->ring[i]);
    mgv_freep(&s->ring);
    mgv_picture_free(&s->work);
    mgv_drift_free(&s->drift);
    mgv_freep(&s->share);
    mgv_freep(&s->near);
    for (int i = 0; i < MGV_MAX_OVERLAP; i++)
        mgv_picture_free(&s->tail[i]);
    if (s->synth.free)
        s->synth.free(s->synth.opaque);
    mgv_freep(out);
}
