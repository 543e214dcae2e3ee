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
 * How much memory a session will take, from its parameters alone: what
 * session.c and render.c allocate, added up before they do. A new buffer there
 * is a new line here; tests/unit/memory.c compares the sum with what is taken.
 */

#include <string.h>

#include "libmagvit/video.h"

#define MIB 1048576.0
#define ZIMG_ROWS 150 ///< about what zimg keeps of a picture in its graphs

static int64_t rows(int w, int h, int bytes)
{
    return (int64_t)MGV_ALIGN_UP((int64_t)w * bytes, MGV_ALIGNMENT) * h;
}

static int64_t picture_bytes(const MagvitFormat *f, int width, int height)
{
    int64_t sum = 0;

    for (int i = 0; i < mgv_format_planes(f); i++) {
        int w, h;

        mgv_format_plane_size(f, i, width, height, &w, &h);
        sum += rows(w, h, mgv_format_bytes(f));
    }
    return sum;
}

static int64_t blend_bytes(int64_t w, int64_t h)
{
    return (w * h + 2 * (w + h) + 64) * 16 + w * 8;
}

/** Staging memory of image.c for conversions between a native rectangle, the picture and the area. */
static int64_t image_bytes(const MgvTiling *t, const MagvitFormat *f)
{
    const int gray = f->model == MAGVIT_MODEL_GRAY, planes = gray ? 1 : 3;
    const int scaled = t->native.w != t->area.w || t->native.h != t->area.h;
    int64_t pixels = rows(t->native.w, t->native.h, 4) * (scaled ? 3 : planes);
    int64_t picture = picture_bytes(f, t->native.w, t->native.h), area = scaled ? rows(t->area.w, t->area.h, 4) * 3 : 0;

    return 2 * MGV_MAX(pixels, MGV_MAX(picture, area)) + (int64_t)ZIMG_ROWS * MGV_MAX(t->native.w, 128) * 12;
}

/** Frames of a window that are given. */
static int given_slots(const MagvitParams *p, const MgvSynth *s)
{
    MgvTimeline tl;

    switch (p->task) {
    case MAGVIT_TASK_INTERP:
        if (p->repair)
            return s->window[0];
        return mgv_timeline_init(&tl, p, NULL) < 0 ? s->window[0] : mgv_window_gaps(s->window[0], tl.factor) + 1;
    case MAGVIT_TASK_INPAINT:
    case MAGVIT_TASK_OUTPAINT: return s->window[0];
    default:                   return p->cond_frames;
    }
}

/** Buffers of render.c for a window whose hole is at most that, and its tiles. */
static int window_bytes(const MagvitParams *p, const MgvSynth *s, const MagvitOutput *o, MgvRect hole, MgvRect src,
                        int64_t *bytes, int *tiles)
{
    const int region = p->task == MAGVIT_TASK_INPAINT || p->task == MAGVIT_TASK_OUTPAINT, slots = s->window[0];
    int64_t area, native, sum = 0;
    MgvTiling t;
    int ret;

    if (p->moving) // the less border in the middle, the larger the working picture
        src = (MgvRect){ (o->width - src.w) / 2, (o->height - src.h) / 2, src.w, src.h };
    ret = mgv_tiling_init(&t, p, s->window, o->width, o->height, hole, src, mgv_tiling_border(o->width, o->height, src));

    if (ret < 0)
        return ret;
    area   = (int64_t)t.area.w * t.area.h;
    native = (int64_t)t.native.w * t.native.h;
    sum += (slots + given_slots(p, s)) * area * 12 + area * 4; // sum, clip, weight
    if (region)
        sum += slots * area + 2 * native;                      // unknown, known, write
    if (p->task == MAGVIT_TASK_INPAINT)
        sum += (int64_t)mgv_blend_steady_scratch(t.area.w, t.area.h) * 8 + (int64_t)(t.native.w + 1) * (t.native.h + 1) * 4; // count
    if (p->task == MAGVIT_TASK_INTERP && p->motion)
        sum += mgv_flows_bytes(t.area.w, t.area.h, slots, given_slots(p, s), t.native.w, t.native.h);
    sum += native * 12 * (p->task == MAGVIT_TASK_INTERP ? 5 + 2 * p->motion : 3);
    sum += blend_bytes(t.native.w, t.native.h) + image_bytes(&t, &p->format);
    *tiles = MGV_MAX(*tiles, t.nb_x * t.nb_y);
    mgv_tiling_uninit(&t);
    *bytes = MGV_MAX(*bytes, sum);
    return 0;
}

static int render_bytes(const MagvitParams *p, const MgvSynth *s, const MagvitOutput *o, MgvRect src, int64_t *bytes,
                        int *tiles)
{
    const int w = o->width, h = o->height, half = s->window[1] / 2;
    const int64_t frames = (int64_t)s->window[0] * s->window[1] * s->window[2];
    const MgvRect all = { 0, 0, w, h };
    /* masks may have any hole: the whole, or the largest that is worked on at full resolution */
    const MgvRect holes[] = { all, { 0, 0, w, MGV_MIN(h, half) }, { 0, 0, MGV_MIN(w, half), h } };
    int masks = p->task == MAGVIT_TASK_INPAINT && !(p->w > 0 && p->h > 0), ret;
    MgvRect hole = p->task == MAGVIT_TASK_INPAINT && !masks ? (MgvRect){ p->x, p->y, p->w, p->h } : all;

    *bytes = *tiles = 0;
    RET(window_bytes(p, s, o, hole, src, bytes, tiles));
    for (int i = 0; masks && i < (int)MGV_ARRAY_LEN(holes); i++)
        RET(window_bytes(p, s, o, holes[i], src, bytes, tiles));
    *bytes += mgv_tiles_room(s, p, *tiles) * // tile, condition
              (frames * (12 + 12 + 1) + (int64_t)s->latent[0] * s->latent[1] * s->latent[2]);
    if (p->task == MAGVIT_TASK_OUTPAINT)
        *bytes += blend_bytes(s->window[2], s->window[1]);
    return 0;

fail:
    return ret;
}

int mgv_memory_tiles(const MagvitParams *p, const MgvSynth *s, const MagvitOutput *o, MgvRect src, int *tiles)
{
    int64_t bytes;

    return render_bytes(p, s, o, src, &bytes, tiles);
}

int mgv_memory_need(MagvitMemory *m, const MagvitParams *p, const MgvSynth *s, const MagvitOutput *o, MgvRect src, int ring)
{
    const int region = p->task == MAGVIT_TASK_INPAINT || p->task == MAGVIT_TASK_OUTPAINT;
    int64_t picture = picture_bytes(&p->format, o->width, o->height);
    int ret;

    memset(m, 0, sizeof(*m));
    m->model    = s->memory;
    m->pictures = (ring + 1 + (region ? p->overlap : 0)) * picture;
    if (p->task == MAGVIT_TASK_INPAINT)
        m->pictures += (int64_t)o->width * o->height * (ring + (p->feather ? 6 : 0)); // masks, shares of the feather
    if (p->task == MAGVIT_TASK_INPAINT && p->overlap)
        m->pictures += mgv_drift_bytes(&p->format, o->width, o->height, mgv_params_hole(p));
    RET(render_bytes(p, s, o, src, &m->render, &m->tiles));
    m->render *= 1 + p->ahead;
    m->total = m->model + m->pictures + m->render;
    return 0;

fail:
    return ret;
}

int mgv_memory_check(const MagvitMemory *m, int64_t max, const MagvitLogger *log)
{
    if (!max || m->total <= max)
        return 0;
    mgv_err(log, "max_memory allows %.1f MiB, needed are %.1f MiB: model %.1f, pictures %.1f, windows %.1f",
            max / MIB, m->total / MIB, m->model / MIB, m->pictures / MIB, m->render / MIB);
    return MAGVIT_ERR(ENOMEM);
}
