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
 * Joining made frames to given ones in time. The error at given frames, which is
 * known, is carried to those in between; what is made of holes is made steadier.
 */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libmagvit/video.h"

#define SLOW  0.06f ///< local change at which half of the given frames' detail is added
#define STILL 0.03f ///< local change at which half is taken from the given frames themselves
#define AGREE 0.08f ///< the same of given frames that were moved, whose detail never meets wholly

/** Columns that a thread does at once, at least: a row of them is a few cache lines. */
#define MIN_COLUMNS 64

/** A plane [h,w] on its way through box filters. */
typedef struct Blur {
    float *dst;
    const float *src;
    double *column; ///< [w]
    int w, h, r;
} Blur;

static void box_rows(void *opaque, int row, int last)
{
    const Blur *b = opaque;
    const int w = b->w, r = b->r, far = MGV_MAX(w - r, 0);
    const double share = 1.0 / (2 * r + 1);
    const float *src = b->src + (size_t)row * w;
    float *dst = b->dst + (size_t)row * w;

    for (int y = row; y < last; y++, src += w, dst += w) {
        double sum = 0;
        int x = 0;

        for (int i = 0; i < MGV_MIN(r, w); i++)
            sum += src[i];
        for (; x <= MGV_MIN(r, w - 1); x++) { // the window begins at the edge
            if (x < far)
                sum += src[x + r];
            dst[x] = (float)(sum / MGV_MIN(x + r + 1, w));
        }
        for (; x < far; x++) {
            sum += src[x + r];
            sum -= src[x - r - 1];
            dst[x] = (float)(sum * share);
        }
        for (; x < w; x++) {
            sum -= src[x - r - 1];
            dst[x] = (float)(sum / (w - x + r));
        }
    }
}

/** Columns [first,last). */
static void box_columns(void *opaque, int first, int last)
{
    const Blur *b = opaque;
    const int w = b->w, h = b->h, r = b->r, n = last - first;
    const float *src = b->src + first;
    double *column = b->column + first;
    float *dst = b->dst + first;

    memset(column, 0, n * sizeof(*column));
    for (int y = -r; y < h; y++) {
        const float *in = y + r < h ? src + (size_t)(y + r) * w : NULL;
        const float *out = y > r ? src + (size_t)(y - r - 1) * w : NULL;
        const double share = 1.0 / (MGV_MIN(y + r + 1, h) - MGV_MAX(y - r, 0));

        for (int x = 0; x < n && in; x++)
            column[x] += in[x];
        for (int x = 0; x < n && out; x++)
            column[x] -= out[x];
        for (int x = 0; x < n && y >= 0; x++)
            dst[(size_t)y * w + x] = (float)(column[x] * share);
    }
}

void mgv_blend_blur(float *dst, const float *src, float *tmp, double *column, int w, int h, int r, const MgvTeam *team)
{
    for (int i = 0; i < 2; i++, src = dst) {
        Blur rows = { tmp, src, column, w, h, r }, columns = { dst, tmp, column, w, h, r };

        mgv_share_rows(team, h, MGV_PART_PIXELS / w, box_rows, &rows);
        mgv_share_rows(team, w, MGV_MAX(MGV_PART_PIXELS / h, MIN_COLUMNS), box_columns, &columns);
    }
}

#define REACH 2        ///< frames on each side that count
#define STEADY_RADIUS 2 ///< of the low-pass

size_t mgv_blend_steady_scratch(int w, int h)
{
    return ((2 * REACH + 4) * (size_t)w * h + 1) / 2 + w;
}

/** Low-pass part of a channel of a frame, as it will be shown. made, given [h,w,3] from the channel on. */
static void low_pass(float *low, const float *made, const float *given, const uint8_t *unknown, int w, int h,
                     float *scratch, double *column, const MgvTeam *team)
{
    const size_t pixels = (size_t)w * h;

    for (size_t i = 0; i < pixels; i++)
        scratch[i] = unknown[i] ? made[i * 3] : given[i * 3];
    mgv_blend_blur(low, scratch, scratch + pixels, column, w, h, STEADY_RADIUS, team);
}

/** 1 inside a hole, down to 0 at its border. tmp: [h,w] */
static void inside(float *share, const uint8_t *unknown, int w, int h, float *tmp, double *column,
                   const MgvTeam *team)
{
    const size_t pixels = (size_t)w * h;

    for (size_t i = 0; i < pixels; i++)
        share[i] = unknown[i];
    mgv_blend_blur(share, share, tmp, column, w, h, STEADY_RADIUS, team);
    for (size_t i = 0; i < pixels; i++)
        share[i] = unknown[i] ? MGV_CLAMP(2 * share[i] - 1, 0, 1) : 0;
}

void mgv_blend_steady(float *made, const float *given, const uint8_t *unknown, int frames, int w, int h, double *scratch,
                      const MgvTeam *team)
{
    const size_t pixels = (size_t)w * h, frame = pixels * 3;
    float *low = (float *)(scratch + w), *share = low + (2 * REACH + 1) * pixels, *tmp = share + pixels; // low: a ring

    for (int c = 0; c < 3; c++)
        for (int t = -REACH; t < frames; t++) {
            const float *of[2 * REACH + 1];
            float weight[2 * REACH + 1], sum = 0;
            int n = 0;

            if (t + REACH < frames)
                low_pass(low + (t + REACH) % (2 * REACH + 1) * pixels, made + (t + REACH) * frame + c,
                         given + (t + REACH) * frame + c, unknown + (t + REACH) * pixels, w, h, tmp, scratch, team);
            for (int k = -REACH; k <= REACH; k++)
                if (t + k >= 0 && t + k < frames) {
                    of[n]  = low + (t + k) % (2 * REACH + 1) * pixels;
                    sum   += weight[n++] = REACH + 1 - abs(k);
                }
            if (t < 0)
                continue;
            inside(share, unknown + t * pixels, w, h, tmp, scratch, team);
            for (size_t i = 0; i < pixels; i++) {
                float mean = 0;

                if (!(share[i] > 0))
                    continue;
                for (int k = 0; k < n; k++)
                    mean += weight[k] / sum * of[k][i];
                made[t * frame + i * 3 + c] += share[i] * (mean - low[t % (2 * REACH + 1) * pixels + i]);
            }
        }
}

/** 1 where nothing moves, a half where the mean difference is scale. */
static float share(float motion, float scale)
{
    return 1 / (1 + motion / scale * (motion / scale));
}

/** A frame between others, and the planes that its correction takes. */
typedef struct Between {
    float *motion, *error, *low, *tmp;
    float *made;
    const float *from, *to;   ///< whose difference is the motion
    const MgvAnchor *a, *z;   ///< z: may be NULL
    float phi;
    int w, c;                 ///< c: channel
} Between;

static void difference_rows(void *opaque, int row, int end)
{
    const Between *b = opaque;
    const size_t last = (size_t)end * b->w;

    for (size_t i = (size_t)row * b->w; i < last; i++) {
        const float *p = b->from + i * 3, *q = b->to + i * 3;

        b->motion[i] = (fabsf(q[0] - p[0]) + fabsf(q[1] - p[1]) + fabsf(q[2] - p[2])) / 3;
    }
}

/** Mean difference of two pictures around each pixel: to b->motion. */
static void change(const MgvBlend *blend, Between *b, int radius, int h)
{
    mgv_share_rows(blend->team, h, MGV_PART_PIXELS / b->w, difference_rows, b);
    mgv_blend_blur(b->motion, b->motion, b->tmp, blend->column, b->w, h, radius, blend->team);
}

static void error_rows(void *opaque, int row, int end)
{
    const Between *b = opaque;
    const MgvAnchor *a = b->a, *z = b->z;
    const size_t last = (size_t)end * b->w;

    for (size_t i = (size_t)row * b->w, k = i * 3 + b->c; i < last; i++, k += 3) {
        b->error[i] = a->given[k] - a->made[k];
        if (z)
            b->error[i] += b->phi * (z->given[k] - z->made[k] - b->error[i]);
    }
}

static void correct_rows(void *opaque, int row, int end)
{
    const Between *b = opaque;
    const MgvAnchor *a = b->a, *z = b->z;
    const size_t last = (size_t)end * b->w;

    for (size_t i = (size_t)row * b->w, k = i * 3 + b->c; i < last; i++, k += 3) {
        float v = b->made[k] + b->low[i] + share(b->motion[i], SLOW) * (b->error[i] - b->low[i]);

        if (z)
            v += share(b->motion[i], STILL) * (a->given[k] + b->phi * (z->given[k] - a->given[k]) - v);
        b->made[k] = MGV_CLAMP(v, 0, 1);
    }
}

/** Planes of scratch for a frame of w x h. */
static Between between(const MgvBlend *blend, float *made, const float *from, const float *to, double phi, int w, int h)
{
    const size_t pixels = (size_t)w * h;
    float *p = blend->planes;

    mgv_assert(w <= blend->width && pixels <= (size_t)blend->width * blend->height);
    return (Between){ .motion = p, .error = p + pixels, .low = p + 2 * pixels, .tmp = p + 3 * pixels, .made = made,
                      .from = from, .to = to, .phi = (float)phi, .w = w };
}

void mgv_blend_time(MgvBlend *blend, float *made, const MgvAnchor *a, const MgvAnchor *z, double phi, int radius,
                    int w, int h)
{
    Between b = between(blend, made, z ? a->given : a->made, z ? z->given : made, phi, w, h);
    const int rows = MGV_PART_PIXELS / w;

    b.a = a;
    b.z = z;
    change(blend, &b, (radius + 1) / 2, h);
    for (b.c = 0; b.c < 3; b.c++) {
        mgv_share_rows(blend->team, h, rows, error_rows, &b);
        mgv_blend_blur(b.low, b.error, b.tmp, blend->column, w, h, radius, blend->team);
        mgv_share_rows(blend->team, h, rows, correct_rows, &b);
    }
}

static void moved_rows(void *opaque, int row, int end)
{
    const Between *b = opaque;
    const size_t last = (size_t)end * b->w;

    for (size_t i = (size_t)row * b->w; i < last; i++) {
        const float s = share(b->motion[i], AGREE);

        for (size_t k = i * 3; k < i * 3 + 3; k++)
            b->made[k] += s * (b->from[k] + b->phi * (b->to[k] - b->from[k]) - b->made[k]);
    }
}

void mgv_blend_moved(MgvBlend *blend, float *made, const float *a, const float *z, double phi, int radius, int w, int h)
{
    Between b = between(blend, made, a, z, phi, w, h);

    change(blend, &b, (radius + 1) / 2, h);
    mgv_share_rows(blend->team, h, MGV_PART_PIXELS / w, moved_rows, &b);
}
