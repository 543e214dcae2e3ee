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
 * Joining made pixels to given ones in space. Tiles are feathered into one
 * picture. What is made does not meet exactly what is given: the step at the
 * border is spread over holes and borders.
 */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libmagvit/video.h"

/* ---- tiles ---------------------------------------------------------------- */

static float ramp(int i, int length, int overlap)
{
    float edge = MGV_MIN(i, length - 1 - i) + 0.5f;

    return overlap > 0 && edge < overlap ? edge / overlap : 1;
}

void mgv_blend_add(float *sum, float *weight, int aw, int ah, const float *tile, int tw, int th, int x, int y, int overlap)
{
    int x0 = MGV_MAX(x, 0), x1 = MGV_MIN(x + tw, aw), y0 = MGV_MAX(y, 0), y1 = MGV_MIN(y + th, ah);

    for (int j = y0; j < y1; j++) {
        float fy = ramp(j - y, th, overlap);
        for (int i = x0; i < x1; i++) {
            const float *src = tile + ((size_t)(j - y) * tw + i - x) * 3;
            size_t at = (size_t)j * aw + i;
            float f = fy * ramp(i - x, tw, overlap);

            if (weight)
                weight[at] += f;
            for (int c = 0; c < 3; c++)
                sum[at * 3 + c] += f * src[c];
        }
    }
}

void mgv_blend_finish(float *sum, const float *weight, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++)
        for (int c = 0; c < 3 && weight[i] > 0; c++)
            sum[i * 3 + c] /= weight[i];
}

/* ---- scratch -------------------------------------------------------------- */

#define MAX_LEVELS 16

/** One level of a pyramid: [h,w,4], three values and their weight in [0,1]. */
typedef struct Level {
    int w, h;
    float *v;
} Level;

int mgv_blend_alloc(MgvBlend **out, int width, int height, const MgvTeam *team)
{
    MgvBlend *b = *out = mgv_calloc(1, sizeof(*b));
    size_t pixels = (size_t)width * height;

    if (!b)
        return MAGVIT_ERR(ENOMEM);
    b->width  = width;
    b->height = height;
    b->team   = team;
    /* all levels above 0 of a pyramid are less than pixels / 3 + (width + height) * 2 + 64 cells */
    b->planes = mgv_calloc(pixels + ((size_t)width + height) * 2 + 64, 4 * sizeof(*b->planes));
    b->column = mgv_calloc(width, sizeof(*b->column));
    if (!b->planes || !b->column) {
        mgv_blend_free(out);
        return MAGVIT_ERR(ENOMEM);
    }
    return 0;
}

void mgv_blend_free(MgvBlend **b)
{
    if (!*b)
        return;
    mgv_freep(&(*b)->planes);
    mgv_freep(&(*b)->column);
    mgv_freep(b);
}

/* ---- space ---------------------------------------------------------------- */

#define FINEST 2       ///< level whose cells are taken: what is finer is noise of single pixels
#define DEPTH 4        ///< made pixels beside the border that are compared with the given one
#define FADE_LEVEL 4   ///< from cells of 16 pixels on, what comes from afar counts less
#define FADE 0.95f

/** Add value v of weight w to a cell that holds weighted sums. */
static void cell_add(float *cell, const float *v, float w)
{
    for (int c = 0; c < 3; c++)
        cell[c] += w * v[c];
    cell[3] += w;
}

/** Weighted sums to means; one full child makes a full cell: the evidence is a line. */
static void level_normalise(Level *l)
{
    float *cell = l->v, *end = cell + (size_t)l->w * l->h * 4;

    for (; cell < end; cell += 4) {
        for (int c = 0; c < 3 && cell[3] > 0; c++)
            cell[c] /= cell[3];
        cell[3] = MGV_MIN(cell[3], 1);
    }
}

/** Mean of up to DEPTH made pixels from (x,y) on in a direction, as far as they lie side by side. */
static void made_depth(float mean[3], const float *made, const uint8_t *known, int w, int h, int x, int y, const int step[2])
{
    int n = 0;

    mean[0] = mean[1] = mean[2] = 0;
    for (; n < DEPTH && x >= 0 && x < w && y >= 0 && y < h && !known[(size_t)y * w + x]; n++, x += step[0], y += step[1])
        for (int c = 0; c < 3; c++)
            mean[c] += made[((size_t)y * w + x) * 3 + c];
    for (int c = 0; c < 3; c++)
        mean[c] /= (float)MGV_MAX(n, 1);
}

/**
 * Steps across the border, between known pixels and made ones beside them, to level 1 at both. The first made pixel
 * alone does not tell: a decoder that sees what is given makes it like its neighbour.
 */
static void push_pixels(Level *l, const float *made, const float *given, const uint8_t *known, int w, int h)
{
    static const int beside[][2] = { { -1, 0 }, { 1, 0 }, { 0, -1 }, { 0, 1 } };

    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            const size_t i = (size_t)y * w + x;

            for (int k = 0; known[i] == 1 && k < (int)MGV_ARRAY_LEN(beside); k++) {
                const int nx = x + beside[k][0], ny = y + beside[k][1];
                float e[3];

                if (nx < 0 || nx >= w || ny < 0 || ny >= h || known[(size_t)ny * w + nx])
                    continue;
                made_depth(e, made, known, w, h, nx, ny, beside[k]);
                for (int c = 0; c < 3; c++)
                    e[c] = given[i * 3 + c] - e[c];
                cell_add(l->v + ((size_t)(y / 2) * l->w + x / 2) * 4, e, 1);
                cell_add(l->v + ((size_t)(ny / 2) * l->w + nx / 2) * 4, e, 1);
            }
        }
    level_normalise(l);
}

static void push_level(Level *to, const Level *from)
{
    for (int y = 0; y < from->h; y++)
        for (int x = 0; x < from->w; x++) {
            const float *cell = from->v + ((size_t)y * from->w + x) * 4;
            cell_add(to->v + ((size_t)(y / 2) * to->w + x / 2) * 4, cell, cell[3]);
        }
    level_normalise(to);
}

/** Bilinear value of a level at (x,y), whole numbers being centres of cells. */
static void level_at(float out[3], const Level *l, float x, float y)
{
    int x0, y0, x1, y1;
    float fx, fy;

    x  = MGV_CLAMP(x, 0, l->w - 1);
    y  = MGV_CLAMP(y, 0, l->h - 1);
    x0 = (int)x;
    y0 = (int)y;
    x1 = MGV_MIN(x0 + 1, l->w - 1);
    y1 = MGV_MIN(y0 + 1, l->h - 1);
    fx = x - x0;
    fy = y - y0;
    for (int c = 0; c < 3; c++) {
        const float *top = l->v + (size_t)y0 * l->w * 4 + c, *low = l->v + (size_t)y1 * l->w * 4 + c;
        out[c] = (1 - fy) * ((1 - fx) * top[x0 * 4] + fx * top[x1 * 4]) +
                 fy * ((1 - fx) * low[x0 * 4] + fx * low[x1 * 4]);
    }
}

/** Fill what a level lacks from the next coarser one. */
static void pull_level(Level *to, const Level *from, float fade)
{
    for (int y = 0; y < to->h; y++)
        for (int x = 0; x < to->w; x++) {
            float *cell = to->v + ((size_t)y * to->w + x) * 4, far[3];

            level_at(far, from, x * 0.5f - 0.25f, y * 0.5f - 0.25f);
            for (int c = 0; c < 3; c++)
                cell[c] = cell[3] * cell[c] + (1 - cell[3]) * fade * far[c];
        }
}

/** Lay the levels out in scratch memory and clear them. @return number of the coarsest */
static int pyramid_init(Level *level, float *v, int w, int h)
{
    int n = 0;

    do {
        n++;
        w = (w + 1) / 2;
        h = (h + 1) / 2;
        level[n] = (Level){ w, h, v };
        memset(v, 0, (size_t)w * h * 4 * sizeof(*v));
        v += (size_t)w * h * 4;
    } while (n < MAX_LEVELS - 1 && (n < FINEST || w > 2 || h > 2));
    return n;
}

#define FLAT_DEPTH 4        ///< made pixels beside the border that follow a flat one wholly; fewer up to four times that depth
#define FLAT_STEP  (2 / 255.0f)  ///< given pixels that differ by less are flat, by thrice as much not at all
#define FLAT_NOISE (8 / 255.0f)  ///< made pixels that differ from them by less are noise, by thrice as much an object

static float fade_out(float v, float full)
{
    return MGV_CLAMP((3 * full - v) / (2 * full), 0, 1);
}

static float difference(const float *a, const float *b)
{
    return MGV_MAX(fabsf(a[0] - b[0]), MGV_MAX(fabsf(a[1] - b[1]), fabsf(a[2] - b[2])));
}

/** How flat the given pixels are round (x,y), which lies beside a hole: 0 to 1. */
static float flatness(const float *given, const uint8_t *known, int w, int h, int x, int y)
{
    const float *at = given + ((size_t)y * w + x) * 3;
    float most = 0;

    for (int j = MGV_MAX(y - FLAT_DEPTH, 0); j <= MGV_MIN(y + FLAT_DEPTH, h - 1); j++)
        for (int i = MGV_MAX(x - FLAT_DEPTH, 0); i <= MGV_MIN(x + FLAT_DEPTH, w - 1); i++)
            if (known[(size_t)j * w + i])
                most = MGV_MAX(most, difference(at, given + ((size_t)j * w + i) * 3));
    return fade_out(most, FLAT_STEP);
}

/**
 * The shift meets a border in the mean over DEPTH pixels, which leaves the decoder's own grain: invisible on most
 * content, single lines on flat one. There what is made beside the border is drawn to the given pixel.
 */
static void flatten_border(float *made, const float *given, const uint8_t *known, int w, int h)
{
    static const int beside[][2] = { { -1, 0 }, { 1, 0 }, { 0, -1 }, { 0, 1 } };

    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            const size_t i = (size_t)y * w + x;
            float flat = -1;

            for (int k = 0; known[i] == 1 && k < (int)MGV_ARRAY_LEN(beside); k++) {
                int nx = x + beside[k][0], ny = y + beside[k][1];

                for (int d = 0; d < 4 * FLAT_DEPTH && nx >= 0 && nx < w && ny >= 0 && ny < h; d++) {
                    float *m = made + ((size_t)ny * w + nx) * 3, share;

                    if (known[(size_t)ny * w + nx])
                        break;
                    if (flat < 0)
                        flat = flatness(given, known, w, h, x, y);
                    if (!(flat > 0))
                        break;
                    share = flat * fade_out(difference(m, given + i * 3), FLAT_NOISE) *
                            MGV_MIN(1, (4 * FLAT_DEPTH - d) / (3.0f * FLAT_DEPTH));
                    for (int c = 0; c < 3; c++)
                        m[c] += share * (given[i * 3 + c] - m[c]);
                    nx += beside[k][0];
                    ny += beside[k][1];
                }
            }
        }
}

/** A picture on its way to be shifted by a level. */
typedef struct Shift {
    const Level *by;
    float *made;
    const float *given;
    const uint8_t *known;
    int w;
} Shift;

static void shift_rows(void *opaque, int row, int end)
{
    const Shift *s = opaque;
    const float cell = 1 << FINEST;

    for (int y = row; y < end; y++)
        for (int x = 0; x < s->w; x++) {
            const size_t i = (size_t)y * s->w + x;
            float shift[3], *made = s->made + i * 3;

            if (s->known[i]) {
                memcpy(made, s->given + i * 3, 3 * sizeof(*made));
                continue;
            }
            level_at(shift, s->by, (x + 0.5f) / cell - 0.5f, (y + 0.5f) / cell - 0.5f);
            for (int c = 0; c < 3; c++)
                made[c] = MGV_CLAMP(made[c] + shift[c], 0, 1);
        }
}

void mgv_blend_hole(MgvBlend *b, float *made, const float *given, const uint8_t *known, int w, int h)
{
    Level level[MAX_LEVELS];
    int top = pyramid_init(level, b->planes, w, h);
    Shift s = { &level[FINEST], made, given, known, w };

    mgv_assert((size_t)w * h <= (size_t)b->width * b->height);
    push_pixels(&level[1], made, given, known, w, h);
    for (int i = 1; i < top; i++)
        push_level(&level[i + 1], &level[i]);
    for (int i = top - 1; i >= FINEST; i--)
        pull_level(&level[i], &level[i + 1], i >= FADE_LEVEL ? FADE : 1);

    mgv_share_rows(b->team, h, MGV_PART_PIXELS / w, shift_rows, &s);
    flatten_border(made, given, known, w, h);
}

/** Distance, along the row, from a pixel of the hole to the nearest outside; 0 outside; at most far. */
static void near_in_row(uint16_t *near, const uint8_t *mask, int x0, int x1, int far)
{
    int d = far;

    for (int x = x0; x < x1; x++)
        near[x] = d = mask[x] ? MGV_MIN(d + 1, far) : 0;
    d = far;
    for (int x = x1 - 1; x >= x0; x--) {
        d = mask[x] ? MGV_MIN(d + 1, far) : 0;
        near[x] = MGV_MIN(near[x], d);
    }
}

void mgv_blend_feather(float *share, uint16_t *near, const MgvPicture *p, int feather)
{
    const int w = p->width, far = feather + 1;
    /* a pixel outside that is nearest is not farther than one step from the box */
    int x0 = MGV_MAX(p->hole.x - 1, 0), x1 = MGV_MIN(p->hole.x + p->hole.w + 1, w);
    int y0 = MGV_MAX(p->hole.y - 1, 0), y1 = MGV_MIN(p->hole.y + p->hole.h + 1, p->height);

    for (int y = y0; y < y1; y++)
        near_in_row(near + (size_t)y * w, p->mask + (size_t)y * w, x0, x1, far);
    for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++) {
            int best = far * far;
            for (int j = MGV_MAX(y - feather, y0); j <= MGV_MIN(y + feather, y1 - 1); j++) {
                int n = near[(size_t)j * w + x];
                best = MGV_MIN(best, n * n + (j - y) * (j - y));
            }
            share[(size_t)y * w + x] = sqrtf((float)best) / far;
        }
}
