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
 * What a decoder is shown of a condition: known pixels, padding, and a smooth
 * surface over holes, for a better start than black. training/magvit/fill.py is the twin.
 */

#include <math.h>
#include <string.h>

#include "libmagvit/model.h"

#define SWEEPS 8 ///< even; of relaxation at every resolution; with 16 the surface is a membrane to 0.1 dB

/** [h,w,4]: red, green, blue and how much is known of them, in [0,1]. */
typedef struct Grid {
    int w, h;
    float *v;
} Grid;

static size_t grid_size(int w, int h)
{
    return (size_t)w * h * 4;
}

size_t mgv_fill_scratch(int w, int h)
{
    size_t size = 2 * grid_size(w, h);

    while (w > 1 || h > 1) {
        w = (w + 1) / 2;
        h = (h + 1) / 2;
        size += grid_size(w, h);
    }
    return size;
}

/** Weighted means of 2x2 cells, an odd edge alone; a cell is full with one full cell below it. */
static void halve(Grid *to, const Grid *from)
{
    for (int y = 0; y < to->h; y++)
        for (int x = 0; x < to->w; x++) {
            float *dst = to->v + ((size_t)y * to->w + x) * 4, sum[4] = { 0 };

            for (int j = 2 * y; j < MGV_MIN(2 * y + 2, from->h); j++)
                for (int i = 2 * x; i < MGV_MIN(2 * x + 2, from->w); i++) {
                    const float *src = from->v + ((size_t)j * from->w + i) * 4;
                    for (int c = 0; c < 3; c++)
                        sum[c] += src[c] * src[3];
                    sum[3] += src[3];
                }
            for (int c = 0; c < 3; c++)
                dst[c] = sum[3] > 0 ? sum[c] / sum[3] : 0;
            dst[3] = MGV_MIN(sum[3], 1);
        }
}

/** Bilinear, centres of cells at quarters; what is known stays. dst [to->h,to->w,4], src [from->h,from->w,4] */
static void enlarge(float *dst, const Grid *to, const float *src, const Grid *from)
{
    for (int y = 0; y < to->h; y++) {
        const float sy = MGV_MAX(y * 0.5f - 0.25f, 0);
        const int y0 = (int)sy, y1 = MGV_MIN(y0 + 1, from->h - 1);

        for (int x = 0; x < to->w; x++) {
            const float sx = MGV_MAX(x * 0.5f - 0.25f, 0), fx = sx - (int)sx, fy = sy - y0;
            const int x0 = (int)sx, x1 = MGV_MIN(x0 + 1, from->w - 1);
            const float *a = src + ((size_t)y0 * from->w + x0) * 4, *b = src + ((size_t)y0 * from->w + x1) * 4;
            const float *c = src + ((size_t)y1 * from->w + x0) * 4, *d = src + ((size_t)y1 * from->w + x1) * 4;
            const size_t at = ((size_t)y * to->w + x) * 4;
            const float *known = to->v + at;

            for (int k = 0; k < 4; k++) {
                const float far = (1 - fy) * ((1 - fx) * a[k] + fx * b[k]) + fy * ((1 - fx) * c[k] + fx * d[k]);
                dst[at + k] = far + known[3] * (known[k] - far);
            }
        }
    }
}

/** Towards the mean of the four neighbours, where little is known. */
static void relax(float *dst, const float *src, const Grid *g)
{
    const size_t row = (size_t)g->w * 4;

    for (int y = 0; y < g->h; y++) {
        const size_t at = y * row, up = y > 0 ? at - row : at, down = y < g->h - 1 ? at + row : at;

        for (int x = 0; x < g->w; x++) {
            const int i = x * 4, left = x > 0 ? i - 4 : i, right = x < g->w - 1 ? i + 4 : i;
            const float *known = g->v + at + i;

            for (int k = 0; k < 4; k++) {
                const float near = (src[up + i + k] + src[down + i + k] + src[at + left + k] + src[at + right + k]) / 4;
                dst[at + i + k] = near + known[3] * (known[k] - near);
            }
        }
    }
}

static void swap(float **a, float **b)
{
    float *t = *a;

    *a = *b;
    *b = t;
}

/** Unknown cells of a frame from the known ones. @return the filled frame, within the scratch memory */
static const float *fill(Grid *g, float *scratch)
{
    float *x = scratch, *other = x + grid_size(g->w, g->h), *next = other + grid_size(g->w, g->h);
    int top = 0;

    for (; g[top].w > 1 || g[top].h > 1; top++) {
        g[top + 1] = (Grid){ (g[top].w + 1) / 2, (g[top].h + 1) / 2, next };
        next += grid_size(g[top + 1].w, g[top + 1].h);
        halve(&g[top + 1], &g[top]);
    }
    memcpy(x, g[top].v, 4 * sizeof(*x));
    for (int i = top - 1; i >= 0; i--) {
        enlarge(other, &g[i], x, &g[i + 1]);
        for (int k = 0; k < SWEEPS; k += 2) {
            relax(x, other, &g[i]);
            relax(other, x, &g[i]);
        }
        swap(&x, &other);
    }
    return x;
}

static int black(const float *v)
{
    return v[0] == 0 && v[1] == 0 && v[2] == 0;
}

static void fill_holes(float *frame, int w, int h, float *scratch)
{
    Grid grid[32] = { { w, h, frame } };
    const size_t pixels = (size_t)w * h;
    int holes = 0, known = 0;
    const float *made;

    for (size_t i = 0; i < pixels; i++) {
        known |= frame[i * 4 + 3] > 0;
        holes |= !(frame[i * 4 + 3] > 0) && black(frame + i * 4);
    }
    if (!known || !holes)
        return;
    made = fill(grid, scratch);
    for (size_t i = 0; i < pixels; i++)
        if (!(frame[i * 4 + 3] > 0) && black(frame + i * 4))
            memcpy(frame + i * 4, made + i * 4, 3 * sizeof(*frame));
}

void mgv_known_input(const MgvConfig *c, const float *clip, const uint8_t *known, float *out, float *scratch)
{
    const size_t frame = (size_t)c->height * c->width;

    memset(out, 0, c->frames * frame * 4 * sizeof(*out));
    for (int t = 0; clip && t < c->frames; t++, out += frame * 4) {
        for (size_t i = 0; i < frame; i++, clip += 3, known++) {
            out[i * 4 + 3] = *known;
            if (*known || c->known_pixels >= MGV_KNOWN_PADDED)
                memcpy(out + i * 4, clip, 3 * sizeof(*out));
        }
        if (c->known_pixels >= MGV_KNOWN_PADDED)
            fill_holes(out, c->width, c->height, scratch);
    }
}

void mgv_known_show(const MgvConfig *c, const float *seen, const float *gate, float *clip)
{
    const size_t pixels = (size_t)c->frames * c->height * c->width;
    size_t i = 0;

    while (i < pixels && !(seen[i * 4 + 3] > 0))
        i++;
    if (i == pixels)
        return;
    for (i = 0; i < pixels; i++) {
        const float g = 1 / (1 + expf(-gate[i])), *v = seen + i * 4;

        if (!(v[3] > 0) && black(v))
            continue; // black padding says nothing
        for (int k = 0; k < 3; k++)
            clip[i * 3 + k] += g * (v[k] - clip[i * 3 + k]);
    }
}
