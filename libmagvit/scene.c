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
 * What frames say of each other, as pure functions: which are the same, where
 * a scene ends, and from which good frames a bad one is made.
 */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libmagvit/video.h"

#define BLOCK 16 ///< samples a side

/* ---- equal frames --------------------------------------------------------- */

/** Sum of absolute differences of a row. Not finite: not equal. */
static double row_difference(const uint8_t *a, const uint8_t *b, int w, int bytes)
{
    double sum = 0;

    for (int x = 0; x < w; x++) {
        if (bytes == 1)
            sum += abs(a[x] - b[x]);
        else if (bytes == 2)
            sum += abs(((const uint16_t *)a)[x] - ((const uint16_t *)b)[x]);
        else
            sum += fabs((double)((const float *)a)[x] - ((const float *)b)[x]);
    }
    return sum;
}

static int plane_same(const MgvPicture *a, const MgvPicture *b, int i, double limit)
{
    int bytes = mgv_format_bytes(&a->format), w, h;

    mgv_format_plane_size(&a->format, i, a->width, a->height, &w, &h);
    for (int y0 = 0; y0 < h; y0 += BLOCK)
        for (int x0 = 0; x0 < w; x0 += BLOCK) {
            int bw = MGV_MIN(BLOCK, w - x0), bh = MGV_MIN(BLOCK, h - y0);
            double sum = 0;

            for (int y = y0; y < y0 + bh; y++) {
                const uint8_t *pa = a->data[i] + y * a->stride[i] + (size_t)x0 * bytes;
                const uint8_t *pb = b->data[i] + y * b->stride[i] + (size_t)x0 * bytes;
                if (memcmp(pa, pb, (size_t)bw * bytes))
                    sum += row_difference(pa, pb, bw, bytes);
            }
            if (!(sum <= limit * bw * bh))
                return 0;
        }
    return 1;
}

int mgv_picture_same(const MgvPicture *a, const MgvPicture *b, double percent)
{
    const MagvitFormat *f = &a->format;
    double full = f->is_float ? 1 : (1 << f->depth) - 1;

    if (!(percent > 0))
        return 0;
    for (int i = 0; i < mgv_format_planes(f); i++)
        if (!plane_same(a, b, i, percent / 100 * full))
            return 0;
    return 1;
}

/* ---- scenes --------------------------------------------------------------- */

static const MgvPicture *frame(const MgvFrames *f, int64_t number)
{
    return f->fn(f->opaque, number);
}

void mgv_scene(MgvFrames *f, int64_t at)
{
    int64_t last = at;

    mgv_assert(at >= f->first && at <= f->last);
    while (last < f->last && !frame(f, last + 1)->cut)
        last++;
    while (at > f->first && !frame(f, at)->cut)
        at--;
    f->first = at;
    f->last  = last;
}

/* ---- bad frames ----------------------------------------------------------- */

/** Bad frames that follow each other in a scene: [begin,end). The good ones round them; -1: none. */
typedef struct Run {
    int64_t begin, end;
    int64_t before, after;
    int open; ///< what comes after is not known yet
} Run;

static Run find_run(const MgvFrames *f, int64_t at)
{
    Run r = { at, at + 1, -1, -1, 0 };

    while (!frame(f, r.begin)->cut && r.begin > f->first && frame(f, r.begin - 1)->bad)
        r.begin--;
    if (!frame(f, r.begin)->cut && r.begin > f->first)
        r.before = r.begin - 1;
    while (r.end <= f->last && frame(f, r.end)->bad && !frame(f, r.end)->cut)
        r.end++;
    if (r.end <= f->last && !frame(f, r.end)->cut)
        r.after = r.end;
    r.open = r.end > f->last && !f->complete;
    return r;
}

/** A good frame to show for a bad one. */
static int64_t hold(const MgvFrames *f, const Run *r, int64_t at)
{
    if (r->before >= 0)
        return r->before;
    if (r->after >= 0)
        return r->after;
    for (int64_t n = at - 1; n >= f->first; n--)
        if (!frame(f, n)->bad || frame(f, n)->held)
            return n;
    return at;
}

int mgv_repair_plan(MgvRepair *out, int slots, int64_t at, const MgvFrames *f)
{
    Run r;
    int64_t nb;

    *out = (MgvRepair){ at, -1, 0 };
    if (!frame(f, at)->bad)
        return 0;
    if (at > f->first && frame(f, at - 1)->held && !frame(f, at)->cut) { // a run that is held is held to its end
        out->from = at - 1;
        return 0;
    }
    r  = find_run(f, at);
    nb = r.end - r.begin;
    out->too_long = nb > slots - 2;
    if (r.open && !out->too_long)
        return MAGVIT_ERR(EAGAIN);
    out->from = hold(f, &r, at);
    if (out->too_long || r.before < 0 || r.after < 0)
        return 0;

    out->window = r.before / (slots - 1) * (slots - 1);
    if (r.after >= out->window + slots)
        out->window = MGV_MAX(r.before - (slots - 2 - nb) / 2, 0);
    return f->complete || f->last >= out->window + slots - 1 ? 0 : MAGVIT_ERR(EAGAIN);
}

void mgv_window_replace(MgvWindow *w, int slots, int64_t start, const MgvFrames *f)
{
    w->index = start;
    w->slots = slots;
    for (int i = 0; i < slots; i++) {
        w->source[i] = MGV_CLAMP(start + i, f->first, f->last);
        if (frame(f, w->source[i])->bad)
            w->source[i] = -1;
    }
}
