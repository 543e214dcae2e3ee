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
 * Conditions: which pixels of a window are given, how the others are filled
 * before the window is tokenised, and which latent cells then count as
 * condition. Pure functions; training/magvit/cond.py is their twin.
 */

#include <math.h>
#include <string.h>

#include "libmagvit/video.h"

int mgv_cond_alloc(MgvCond **out, const int window[3], const int latent[3])
{
    MgvCond *c = *out = mgv_calloc(1, sizeof(*c));
    size_t pixels = (size_t)window[0] * window[1] * window[2];

    if (!c)
        return MAGVIT_ERR(ENOMEM);
    memcpy(c->window, window, sizeof(c->window));
    memcpy(c->latent, latent, sizeof(c->latent));
    c->clip  = mgv_calloc(pixels, 3 * sizeof(*c->clip));
    c->known = mgv_calloc(pixels, 1);
    c->cells = mgv_calloc((size_t)latent[0] * latent[1] * latent[2], 1);
    if (!c->clip || !c->known || !c->cells) {
        mgv_cond_free(out);
        return MAGVIT_ERR(ENOMEM);
    }
    return 0;
}

void mgv_cond_free(MgvCond **c)
{
    if (!*c)
        return;
    mgv_freep(&(*c)->clip);
    mgv_freep(&(*c)->known);
    mgv_freep(&(*c)->cells);
    mgv_freep(c);
}

static size_t frame_pixels(const MgvCond *c)
{
    return (size_t)c->window[1] * c->window[2];
}

static float *clip_frame(const MgvCond *c, int t)
{
    return c->clip + t * frame_pixels(c) * 3;
}

static uint8_t *known_frame(const MgvCond *c, int t)
{
    return c->known + t * frame_pixels(c);
}

static void fill_zero(MgvCond *c)
{
    size_t pixels = c->window[0] * frame_pixels(c);

    for (size_t i = 0; i < pixels; i++)
        if (!c->known[i])
            memset(c->clip + i * 3, 0, 3 * sizeof(*c->clip));
}

/** Bounding box of the given pixels of a frame; empty if there are none. */
static MgvRect known_box(const MgvCond *c, int t)
{
    const uint8_t *known = known_frame(c, t);
    int w = c->window[2], x0 = w, y0 = c->window[1], x1 = 0, y1 = 0;

    for (int y = 0; y < c->window[1]; y++)
        for (int x = 0; x < w; x++)
            if (known[(size_t)y * w + x]) {
                x0 = MGV_MIN(x0, x);
                x1 = MGV_MAX(x1, x + 1);
                y0 = MGV_MIN(y0, y);
                y1 = y + 1;
            }
    return (MgvRect){ x0, y0, x1 - x0, y1 - y0 };
}

static void fill_edge(MgvCond *c, int t)
{
    const uint8_t *known = known_frame(c, t);
    MgvRect box = known_box(c, t);
    float *clip = clip_frame(c, t);
    int w = c->window[2];

    for (int y = 0; y < c->window[1]; y++)
        for (int x = 0; x < w; x++) {
            size_t i = (size_t)y * w + x, from = 0;

            if (known[i])
                continue;
            if (box.w > 0)
                from = (size_t)MGV_CLAMP(y, box.y, box.y + box.h - 1) * w + MGV_CLAMP(x, box.x, box.x + box.w - 1);
            if (box.w > 0 && known[from])
                memcpy(clip + i * 3, clip + from * 3, 3 * sizeof(*clip));
            else
                memset(clip + i * 3, 0, 3 * sizeof(*clip));
        }
}

static int frame_given(const MgvCond *c, int t)
{
    return known_frame(c, t)[0];
}

static void fill_time(MgvCond *c, int t)
{
    size_t values = frame_pixels(c) * 3;
    float *dst = clip_frame(c, t);
    int a = t, b = t;

    while (a >= 0 && !frame_given(c, a))
        a--;
    while (b < c->window[0] && !frame_given(c, b))
        b++;
    if (a < 0 && b == c->window[0]) {
        memset(dst, 0, values * sizeof(*dst));
    } else if (a < 0 || b == c->window[0]) {
        memcpy(dst, clip_frame(c, a < 0 ? b : a), values * sizeof(*dst));
    } else {
        const float *from = clip_frame(c, a), *to = clip_frame(c, b);
        float phi = (float)((double)(t - a) / (b - a));
        for (size_t i = 0; i < values; i++)
            dst[i] = from[i] + (to[i] - from[i]) * phi;
    }
}

/** Pixels that a latent cell covers on an axis: a power of two, the last cell may be partial. */
static int cell_size(int pixels, int cells)
{
    int size = 1;

    while ((pixels + size - 1) / size > cells)
        size *= 2;
    return size;
}

static void mark_cells(MgvCond *c)
{
    const int *n = c->window, *l = c->latent;
    int st = cell_size(n[0], l[0]), sh = cell_size(n[1], l[1]), sw = cell_size(n[2], l[2]);

    memset(c->cells, 0, (size_t)l[0] * l[1] * l[2]);
    for (int t = 0; t < n[0]; t++)
        for (int y = 0; y < n[1]; y++) {
            const uint8_t *known = known_frame(c, t) + (size_t)y * n[2];
            uint8_t *row = c->cells + ((size_t)(t / st) * l[1] + y / sh) * l[2];
            for (int x = 0; x < n[2]; x++)
                row[x / sw] |= !!known[x];
        }
}

void mgv_cond_build(MgvCond *c, enum MgvFill fill)
{
    if (fill == MGV_FILL_ZERO)
        fill_zero(c);
    for (int t = 0; t < c->window[0]; t++) {
        if (fill == MGV_FILL_EDGE)
            fill_edge(c, t);
        else if (fill == MGV_FILL_TIME && !frame_given(c, t))
            fill_time(c, t);
    }
    mark_cells(c);
}

/** Set a box of an array [.,h,w] on plane t. */
static void set_box(uint8_t *a, const int size[3], int t, MgvRect r, int value)
{
    for (int y = r.y; y < r.y + r.h; y++)
        memset(a + ((size_t)t * size[1] + y) * size[2] + r.x, value, r.w);
}

void mgv_cond_mask(MgvPicture *pic, const MagvitParams *p, const MagvitFrame *in)
{
    int x0 = p->width, y0 = p->height, x1 = 0, y1 = 0;

    for (int y = 0; y < p->height; y++) {
        const uint8_t *src = in->mask ? in->mask + y * in->mask_stride : NULL;
        uint8_t *dst = pic->mask + (size_t)y * p->width;
        int row = y >= p->y && y < p->y + p->h;

        for (int x = 0; x < p->width; x++) {
            dst[x] = src ? src[x] != 0 : row && x >= p->x && x < p->x + p->w;
            if (dst[x]) {
                x0 = MGV_MIN(x0, x);
                x1 = MGV_MAX(x1, x + 1);
                y0 = MGV_MIN(y0, y);
                y1 = y + 1;
            }
        }
    }
    pic->hole = x1 ? (MgvRect){ x0, y0, x1 - x0, y1 - y0 } : (MgvRect){ 0 };
}

/** Left edge, at step k of n, of a strip of half the width that moves from left to right. */
static int moving_edge(int k, int n, int width)
{
    return n > 1 ? (int)rint((double)(k * (width / 2)) / (n - 1)) : 0;
}

/** The region of a task on plane t of an array of that size: pixels or cells alike. */
static MgvRect task_region(enum MgvNamedTask task, const int size[3], int t)
{
    int h = size[1], w = size[2];
    int y0 = h / 4, y1 = 3 * h / 4, x0 = w / 4, x1 = 3 * w / 4, edge = moving_edge(t, size[0], w);

    switch (task) {
    case MGV_OPC:
    case MGV_IPC: return (MgvRect){ x0, y0, x1 - x0, y1 - y0 };
    case MGV_OPV: return (MgvRect){ x0, 0, x1 - x0, h };
    case MGV_OPH: return (MgvRect){ 0, y0, w, y1 - y0 };
    case MGV_OPD: return (MgvRect){ edge, 0, w / 2, h };
    case MGV_IPD: return (MgvRect){ edge, y0, w / 2, y1 - y0 };
    default:      return (MgvRect){ 0, 0, w, h };
    }
}

static int task_frame_given(enum MgvNamedTask task, int given, int t, int frames)
{
    if (task == MGV_FI)
        return t == 0 || t == frames - 1;
    if (task == MGV_FP || task == MGV_CFP)
        return t < given;
    return task != MGV_CG;
}

/** Known elements of a task, for pixels or cells. given: planes that FP starts from. */
static void task_known(uint8_t *known, const int size[3], enum MgvNamedTask task, int given)
{
    int hole = task == MGV_IPC || task == MGV_IPD;

    for (int t = 0; t < size[0]; t++) {
        set_box(known, size, t, (MgvRect){ 0, 0, size[2], size[1] }, hole);
        if (task_frame_given(task, given, t, size[0]))
            set_box(known, size, t, task_region(task, size, t), !hole);
    }
}

void mgv_cond_named(MgvCond *c, enum MgvNamedTask task, int given, const float *clip)
{
    static const enum MgvFill fill[] = {
        [MGV_FP] = MGV_FILL_TIME,  [MGV_FI] = MGV_FILL_TIME,   [MGV_OPC] = MGV_FILL_EDGE, [MGV_OPV] = MGV_FILL_EDGE,
        [MGV_OPH] = MGV_FILL_EDGE, [MGV_OPD] = MGV_FILL_ZERO,  [MGV_IPC] = MGV_FILL_ZERO, [MGV_IPD] = MGV_FILL_ZERO,
        [MGV_CG] = MGV_FILL_ZERO,  [MGV_CFP] = MGV_FILL_TIME,
    };

    memcpy(c->clip, clip, c->window[0] * frame_pixels(c) * 3 * sizeof(*clip));
    task_known(c->known, c->window, task, given);
    mgv_cond_build(c, fill[task]);
    /* by the formulas of the task, which only for still regions are those of the pixels */
    task_known(c->cells, c->latent, task, (given * c->latent[0] + c->window[0] - 1) / c->window[0]);
}
