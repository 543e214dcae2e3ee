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
 * From one window to the next: two windows make the same hole differently. Detail
 * cross-fades over the frames that they share; the coarse part of the difference
 * goes on as it was at the last of them, and fades over the frames that follow.
 */

#include <string.h>

#include "libmagvit/video.h"

#define RADIUS 2 ///< of the low-pass
#define MARGIN 8 ///< pixels round the hole that the low-pass sees

struct MgvDrift {
    MagvitFormat format;
    MgvRect box;        ///< of all holes, in pixels
    float *low[3];      ///< [h,w] of a plane's part of the box: difference to go on with
    float *scratch;     ///< 4 planes
    double *column;
};

static int planes(const MgvDrift *d)
{
    return d->format.model == MAGVIT_MODEL_GRAY ? 1 : 3;
}

static int shift_w(const MgvDrift *d, int plane)
{
    return plane && d->format.model == MAGVIT_MODEL_YUV ? d->format.chroma_w : 0;
}

static int shift_h(const MgvDrift *d, int plane)
{
    return plane && d->format.model == MAGVIT_MODEL_YUV ? d->format.chroma_h : 0;
}

/** Part of a plane that the box covers. */
static MgvRect plane_box(const MgvDrift *d, int i)
{
    const int sw = shift_w(d, i), sh = shift_h(d, i);

    return (MgvRect){ d->box.x >> sw, d->box.y >> sh, (d->box.w + (1 << sw) - 1) >> sw, (d->box.h + (1 << sh) - 1) >> sh };
}

int mgv_drift_alloc(MgvDrift **out, const MagvitFormat *f, int width, int height, MgvRect box)
{
    MgvDrift *d = *out = mgv_calloc(1, sizeof(*d));
    int x0 = MGV_MAX(box.x - MARGIN, 0), y0 = MGV_MAX(box.y - MARGIN, 0);
    MgvRect r = { x0, y0, MGV_MIN(box.x + box.w + MARGIN, width) - x0, MGV_MIN(box.y + box.h + MARGIN, height) - y0 };

    if (!d)
        return MAGVIT_ERR(ENOMEM);
    d->format  = *f;
    d->box     = mgv_image_align(f, width, height, r);
    d->scratch = mgv_calloc((size_t)d->box.w * d->box.h, 4 * sizeof(*d->scratch));
    d->column  = mgv_calloc(d->box.w, sizeof(*d->column));
    for (int i = 0; i < planes(d); i++) {
        MgvRect b = plane_box(d, i);

        if (!(d->low[i] = mgv_calloc((size_t)b.w * b.h, sizeof(*d->low[i]))))
            goto fail;
    }
    if (d->scratch && d->column)
        return 0;

fail:
    mgv_drift_free(out);
    return MAGVIT_ERR(ENOMEM);
}

void mgv_drift_free(MgvDrift **d)
{
    if (!*d)
        return;
    for (int i = 0; i < 3; i++)
        mgv_freep(&(*d)->low[i]);
    mgv_freep(&(*d)->scratch);
    mgv_freep(&(*d)->column);
    mgv_freep(d);
}

static void get_row(float *dst, const MgvPicture *p, int plane, int x, int y, int n)
{
    const uint8_t *row = p->data[plane] + y * p->stride[plane];

    for (int i = 0; i < n; i++)
        dst[i] = p->format.is_float ? ((const float *)row)[x + i] : p->format.depth > 8 ? ((const uint16_t *)row)[x + i] : row[x + i];
}

static void add_row(MgvPicture *p, int plane, int x, int y, int n, const float *add)
{
    const float white = (float)((1 << MGV_MIN(p->format.depth, 16)) - 1);
    uint8_t *row = p->data[plane] + y * p->stride[plane];

    for (int i = 0; i < n; i++) {
        if (add[i] == 0) // what is given stays, to the last bit
            continue;
        if (p->format.is_float)
            ((float *)row)[x + i] += add[i];
        else if (p->format.depth > 8)
            ((uint16_t *)row)[x + i] = (uint16_t)(MGV_CLAMP(((uint16_t *)row)[x + i] + add[i], 0, white) + 0.5f);
        else
            row[x + i] = (uint8_t)(MGV_CLAMP(row[x + i] + add[i], 0, white) + 0.5f);
    }
}

void mgv_drift_join(MgvDrift *d, MgvPicture *made, const MgvPicture *before, double phi)
{
    for (int i = 0; i < planes(d); i++) {
        const MgvRect b = plane_box(d, i);
        float *diff = d->scratch, *tmp = diff + (size_t)b.w * b.h;

        for (int y = 0; y < b.h; y++) {
            float *row = diff + (size_t)y * b.w;

            get_row(row, before, i, b.x, b.y + y, b.w);
            get_row(tmp, made, i, b.x, b.y + y, b.w);
            for (int x = 0; x < b.w; x++)
                row[x] -= tmp[x];
        }
        mgv_blend_blur(d->low[i], diff, tmp, d->column, b.w, b.h, RADIUS, NULL);
        for (int y = 0; y < b.h; y++) {
            float *row = diff + (size_t)y * b.w;
            const float *low = d->low[i] + (size_t)y * b.w;

            for (int x = 0; x < b.w; x++) // 0 is what is given
                row[x] = row[x] != 0 ? low[x] + (float)(1 - phi) * (row[x] - low[x]) : 0;
            add_row(made, i, b.x, b.y + y, b.w, row);
        }
    }
}

/** Does a sample of a plane belong to the hole? */
static int in_hole(const MgvPicture *p, int x, int y, int sw, int sh)
{
    for (int j = y << sh; j < MGV_MIN((y + 1) << sh, p->height); j++)
        for (int i = x << sw; i < MGV_MIN((x + 1) << sw, p->width); i++)
            if (p->mask[(size_t)j * p->width + i])
                return 1;
    return 0;
}

void mgv_drift_add(MgvDrift *d, MgvPicture *made, const MgvPicture *hole, double share)
{
    for (int i = 0; i < planes(d); i++) {
        const MgvRect b = plane_box(d, i);
        const size_t pixels = (size_t)b.w * b.h;
        float *inside = d->scratch, *tmp = inside + pixels, *mask = tmp + pixels;

        for (int y = 0; y < b.h; y++)
            for (int x = 0; x < b.w; x++)
                mask[(size_t)y * b.w + x] = (float)in_hole(hole, b.x + x, b.y + y, shift_w(d, i), shift_h(d, i));
        mgv_blend_blur(inside, mask, tmp, d->column, b.w, b.h, RADIUS, NULL);
        for (size_t k = 0; k < pixels; k++) // down to 0 at the border of the hole
            inside[k] = mask[k] * MGV_CLAMP(2 * inside[k] - 1, 0, 1) * (float)share * d->low[i][k];
        for (int y = 0; y < b.h; y++)
            add_row(made, i, b.x, b.y + y, b.w, inside + (size_t)y * b.w);
    }
}

int64_t mgv_drift_bytes(const MagvitFormat *f, int width, int height, MgvRect box)
{
    int64_t pixels = (int64_t)MGV_MIN(box.w + 2 * MARGIN + 4, width) * MGV_MIN(box.h + 2 * MARGIN + 2, height);

    return pixels * 4 * (4 + (f->model == MAGVIT_MODEL_GRAY ? 1 : 3));
}
