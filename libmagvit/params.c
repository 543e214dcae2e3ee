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
 * Parameters of a session: defaults and ranges. Fields of the decoding loop
 * are checked beside the model.
 */

#include <limits.h>

#include "libmagvit/video.h"

#define MAX_SIZE 32768
#define MAX_FEATHER 1024

void magvit_default_params(MagvitParams *p, enum MagvitTask task)
{
    *p = (MagvitParams){
        .task               = task,
        .format             = { MAGVIT_MODEL_YUV, 8, 0, 1, 1, 0 },
        .time_base          = { 0, 1 },
        .frame_rate         = { 0, 1 },
        .choice_temperature = -1,
        .temperature        = -1,
        .top_p              = 1,
        .tile_overlap       = MGV_TILE_OVERLAP,
        .overlap            = task == MAGVIT_TASK_INTERP ? 0 : 4,
        .factor             = 2,
        .rate               = { 0, 1 },
        .frames             = task == MAGVIT_TASK_GENERATE ? -1 : 0,
        .cond_frames        = 1,
        .class_id           = -1,
        .known_pixels       = 1,
        .dup_threshold      = 0.1,
        .motion             = 1,
        .ahead              = -1,
    };
}

typedef struct Check {
    const char *field;
    int64_t value, min, max;
} Check;

static int check_all(const Check *c, int n, const MagvitLogger *log)
{
    for (int i = 0; i < n; i++)
        if (c[i].value < c[i].min || c[i].value > c[i].max) {
            mgv_err(log, "%s is %lld, must be in [%lld,%lld]", c[i].field, (long long)c[i].value,
                    (long long)c[i].min, (long long)c[i].max);
            return MAGVIT_ERR(EINVAL);
        }
    return 0;
}

static int check_rational(const char *field, MagvitRational r, int needed, const MagvitLogger *log)
{
    if (r.den > 0 && r.num >= !!needed)
        return 0;
    mgv_err(log, "%s is %d/%d, must be a positive fraction", field, r.num, r.den);
    return MAGVIT_ERR(EINVAL);
}

static int check_chroma(const char *field, int value, int shift, const MagvitLogger *log)
{
    if (value % (1 << shift) == 0)
        return 0;
    mgv_err(log, "%s is %d, must be a multiple of %d for this pixel format", field, value, 1 << shift);
    return MAGVIT_ERR(EINVAL);
}

int mgv_params_check_place(const MagvitParams *p, int x, int y, const MagvitLogger *log)
{
    const Check place[] = { { "x", x, 0, p->out_width - p->width }, { "y", y, 0, p->out_height - p->height } };
    int ret;

    RET(check_all(place, MGV_ARRAY_LEN(place), log));
    RET(check_chroma("x", x, p->format.chroma_w, log));
    RET(check_chroma("y", y, p->format.chroma_h, log));
    return 0;

fail:
    return ret;
}

int mgv_params_check(const MagvitParams *p, const MgvSynth *s)
{
    const int frames = s->window[0], half = MGV_MIN(s->window[1], s->window[2]) / 2;
    const Check common[] = {
        { "task", p->task, 0, MAGVIT_TASK_NB - 1 },
        { "width", p->width, 1, MAX_SIZE },
        { "height", p->height, 1, MAX_SIZE },
        { "first_index", p->first_index, 0, INT64_MAX / 64 },
        { "scale", p->scale, 0, MAGVIT_SCALE_FIT },
        { "tile_overlap", p->tile_overlap, 0, half },
        { "overlap", p->overlap, 0, MGV_MIN(MGV_MAX_OVERLAP, frames / 2) },
        { "fallback", p->fallback, 0, MAGVIT_FALLBACK_NB - 1 },
        { "max_memory", p->max_memory, 0, INT64_MAX },
        { "ahead", p->ahead, -1, MGV_MAX_AHEAD },
    };
    const Check interp[] = {
        { "repair", p->repair, 0, 1 },
        { "motion", p->motion, 0, 1 },
        { "factor", p->factor, p->repair, p->repair ? 1 : MGV_MIN(15, frames - 1) },
    };
    const Check inpaint[] = {
        { "x", p->x, 0, p->width },
        { "y", p->y, 0, p->height },
        { "w", p->w, 0, p->width - p->x },
        { "h", p->h, 0, p->height - p->y },
        { "feather", p->feather, 0, MAX_FEATHER },
    };
    const Check outpaint[] = {
        { "out_width", p->out_width, p->width, MAX_SIZE },
        { "out_height", p->out_height, p->height, MAX_SIZE },
        { "moving", p->moving, 0, 1 },
    };
    const Check predict[] = {
        { "frames", p->frames, p->task == MAGVIT_TASK_PREDICT ? 1 : -1, INT_MAX },
        { "cond_frames", p->cond_frames, 1, frames - 1 },
    };
    int ret;

    if (frames > MGV_MAX_FRAMES) {
        mgv_err(s->log, "the model's windows have %d frames, at most %d are supported", frames, MGV_MAX_FRAMES);
        return MAGVIT_ERR(ENOTSUP);
    }
    RET(check_all(common, MGV_ARRAY_LEN(common), s->log));
    RET(mgv_format_check(&p->format, s->log));
    RET(check_rational("time_base", p->time_base, p->task != MAGVIT_TASK_GENERATE, s->log));
    RET(check_rational("frame_rate", p->frame_rate, p->task == MAGVIT_TASK_GENERATE, s->log));
    switch (p->task) {
    case MAGVIT_TASK_INTERP:
        RET(check_all(interp, MGV_ARRAY_LEN(interp), s->log));
        if (!p->factor)
            RET(check_rational("rate", p->rate, 1, s->log));
        if (!(p->dup_threshold >= 0 && p->dup_threshold <= 100)) {
            mgv_err(s->log, "dup_threshold is %g, must be in [0,100]", p->dup_threshold);
            return MAGVIT_ERR(EINVAL);
        }
        break;
    case MAGVIT_TASK_INPAINT:
        RET(check_all(inpaint, MGV_ARRAY_LEN(inpaint), s->log));
        break;
    case MAGVIT_TASK_OUTPAINT:
        RET(check_all(outpaint, MGV_ARRAY_LEN(outpaint), s->log));
        if (!p->moving)
            RET(mgv_params_check_place(p, p->x, p->y, s->log));
        break;
    default:
        RET(check_all(predict, MGV_ARRAY_LEN(predict), s->log));
    }
    return 0;

fail:
    return ret;
}

MgvRect mgv_params_hole(const MagvitParams *p)
{
    return p->w > 0 && p->h > 0 ? (MgvRect){ p->x, p->y, p->w, p->h } : (MgvRect){ 0, 0, p->width, p->height };
}

int mgv_params_output(const MagvitParams *p, const MgvSynth *s, MagvitOutput *o, MgvRect *src, MgvTimeline *tl)
{
    int ret;

    *o   = (MagvitOutput){ p->width, p->height, p->time_base, p->frame_rate };
    *src = (MgvRect){ 0, 0, p->width, p->height };
    if (p->task == MAGVIT_TASK_OUTPAINT) {
        o->width  = p->out_width;
        o->height = p->out_height;
        src->x = p->x;
        src->y = p->y;
    } else if (p->task == MAGVIT_TASK_GENERATE) {
        o->time_base = (MagvitRational){ p->frame_rate.den, p->frame_rate.num };
    } else if (p->task == MAGVIT_TASK_INTERP) {
        RET(mgv_timeline_init(tl, p, s->log));
        if (tl->factor > s->window[0] - 1) {
            mgv_err(s->log, "rate %d/%d needs %d steps a frame, the model's windows allow %d", p->rate.num,
                    p->rate.den, tl->factor, s->window[0] - 1);
            return MAGVIT_ERR(EINVAL);
        }
        o->time_base  = tl->time_base;
        o->frame_rate = tl->rate;
    }
    return 0;

fail:
    return ret;
}
