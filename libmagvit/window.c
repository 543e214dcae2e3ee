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
 * Placement, as pure functions: which source frames form a window, when output
 * frames are shown, where tiles lie. Grids are absolute, so that a stream cut
 * into parts gives the windows of the whole. No floating point in times.
 */

#include <limits.h>
#include <math.h>

#include "libmagvit/video.h"

/* ---- frames of a window --------------------------------------------------- */

int mgv_window_gaps(int slots, int factor)
{
    return factor > 1 ? (slots - 1) / factor : 1;
}

static void window_init(MgvWindow *w, int slots, int64_t index)
{
    mgv_assert(slots <= MGV_MAX_FRAMES);
    w->index = index;
    w->slots = slots;
    for (int i = 0; i < slots; i++)
        w->source[i] = -1;
}

void mgv_window_interp(MgvWindow *w, int slots, int factor, int64_t index, int64_t first, int64_t last)
{
    int gaps = mgv_window_gaps(slots, factor);

    window_init(w, slots, index);
    for (int i = 0; i <= gaps; i++)
        w->source[i * factor] = MGV_CLAMP(index * gaps + i, first, last);
}

void mgv_window_repair(MgvWindow *w, int slots, int overlap, int64_t index, int64_t first, int64_t last)
{
    window_init(w, slots, index);
    for (int i = 0; i < slots; i++)
        w->source[i] = MGV_CLAMP(index * (slots - overlap) + i, first, last);
}

void mgv_window_continue(MgvWindow *w, int slots, int given, int64_t index, int64_t next)
{
    window_init(w, slots, index);
    for (int i = 0; i < given; i++)
        w->source[i] = next - given + i;
}

/* ---- output times of interpolation ---------------------------------------- */

static int64_t gcd(int64_t a, int64_t b)
{
    while (b) {
        int64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/** Reduce num/den. @return 0 if a part does not fit an int */
static int reduce(MagvitRational *out, int64_t num, int64_t den)
{
    int64_t g = gcd(num, den);

    num /= g;
    den /= g;
    if (num > INT_MAX || den > INT_MAX)
        return 0;
    *out = (MagvitRational){ (int)num, (int)den };
    return 1;
}

static int by_factor(MgvTimeline *tl, const MagvitParams *p, int factor, const MagvitLogger *log)
{
    tl->factor = factor;
    if ((int64_t)p->time_base.den * factor > INT_MAX) {
        mgv_err(log, "time_base %d/%d is too fine for factor %d: at most %d", p->time_base.num, p->time_base.den,
                factor, INT_MAX / factor);
        return MAGVIT_ERR(EINVAL);
    }
    tl->time_base = (MagvitRational){ p->time_base.num, p->time_base.den * factor };
    if (p->frame_rate.num > 0 &&
        !reduce(&tl->rate, (int64_t)p->frame_rate.num * factor, p->frame_rate.den))
        tl->rate = (MagvitRational){ 0, 1 };
    return 0;
}

static int by_rate(MgvTimeline *tl, const MagvitParams *p, int slots_per_gap)
{
    int64_t num = (int64_t)p->rate.den * p->time_base.den, den = (int64_t)p->rate.num * p->time_base.num;
    int64_t g = gcd(num, den);

    tl->by_rate   = 1;
    tl->factor    = slots_per_gap;
    tl->rate      = p->rate;
    tl->time_base = (MagvitRational){ p->rate.den, p->rate.num };
    tl->p = num / g;
    tl->q = den / g;
    return 0;
}

int mgv_timeline_init(MgvTimeline *tl, const MagvitParams *p, const MagvitLogger *log)
{
    MagvitRational ratio;
    int64_t num, den, g;

    *tl = (MgvTimeline){ .rate = { 0, 1 } };
    if (p->factor)
        return by_factor(tl, p, p->factor, log);
    if (p->frame_rate.num <= 0) {
        mgv_err(log, "rate %d/%d needs a frame_rate of the input, which is unknown", p->rate.num, p->rate.den);
        return MAGVIT_ERR(EINVAL);
    }
    num = (int64_t)p->rate.num * p->frame_rate.den;
    den = (int64_t)p->rate.den * p->frame_rate.num;
    g = gcd(num, den);
    if (num == den)
        return by_factor(tl, p, 1, log);
    if (num / g <= 15 && reduce(&ratio, num, den))
        return by_rate(tl, p, ratio.num);
    return by_rate(tl, p, 15);
}

void mgv_timeline_reset(MgvTimeline *tl)
{
    tl->next    = 0;
    tl->started = 0;
}

static int next_of_factor(MgvTimeline *tl, int64_t t0, int64_t t1, int *slot, int64_t *pts, int64_t *duration)
{
    if (tl->next == tl->factor) {
        tl->next = 0;
        return 0;
    }
    *slot     = (int)tl->next++;
    *pts      = t0 * tl->factor + *slot * (t1 - t0);
    *duration = t1 - t0;
    return 1;
}

/** Output k is shown at k p/q of the input's time base. */
static int next_of_rate(MgvTimeline *tl, int64_t t0, int64_t t1, int *slot, int64_t *pts, int64_t *duration)
{
    __int128 begin = (__int128)t0 * tl->q, end = (__int128)t1 * tl->q, at;

    if (!tl->started) {
        __int128 k = begin / tl->p;
        tl->next    = (int64_t)(k + (k * tl->p < begin));
        tl->started = 1;
    }
    at = (__int128)tl->next * tl->p;
    if (at >= end)
        return 0;
    *slot     = (int)((2 * (at - begin) * tl->factor / (end - begin) + 1) / 2);
    *pts      = tl->next++;
    *duration = 1;
    return 1;
}

int mgv_timeline_next(MgvTimeline *tl, int64_t t0, int64_t t1, int *slot, int64_t *pts, int64_t *duration)
{
    return (tl->by_rate ? next_of_rate : next_of_factor)(tl, t0, t1, slot, pts, duration);
}

/* ---- tiles ---------------------------------------------------------------- */

/** A stretch of one axis. */
typedef struct Span {
    int begin, end;
} Span;

/** The overlap may be a quarter less if that saves a tile: 16:9 fitted to square windows takes two, not three. */
static int tile_count(int length, int tile, int overlap)
{
    overlap -= overlap / 4;
    return length <= tile ? 1 : (length - overlap + tile - overlap - 1) / (tile - overlap);
}

/** Tile origins over a span, spread evenly; a span that fits one tile is in its middle, kept inside [0,size). */
static int *place_tiles(Span s, int size, int tile, int overlap, int *count)
{
    int length = s.end - s.begin, n = tile_count(length, tile, overlap);
    int *at = mgv_calloc(n, sizeof(*at));

    *count = n;
    if (!at)
        return NULL;
    if (n == 1)
        at[0] = size <= tile ? -((tile - size) / 2) : MGV_CLAMP(s.begin - (tile - length) / 2, 0, size - tile);
    for (int i = 0; n > 1 && i < n; i++)
        at[i] = s.begin + (int)((int64_t)i * (length - tile) / (n - 1));
    return at;
}

/** Steps by which tiles go out over a border: one while half a window is known, else a quarter of a window each. */
static int steps_out(int border, int tile)
{
    int step = MGV_MAX(tile / 4, 1);

    return border <= 0 ? 0 : border <= tile / 2 ? 1 : (border + step - 1) / step;
}

/**
 * Tile origins over [0,size), size > tile, that go out from a known span k: those
 * that show a part of it are of ring 0, the next ones outward of ring 1 and so on.
 */
static int *place_outward(Span k, int size, int tile, int overlap, int *count, int *ring[])
{
    int length = k.end - k.begin, end = size - tile, left = steps_out(k.begin, tile);
    int right = steps_out(size - k.end, tile), lo = k.begin, hi = k.end - tile, middle, n, *at;

    if (length <= tile / 2) {
        lo = hi = MGV_CLAMP(k.begin - (tile - length) / 2, 0, end);
    } else {
        lo = MGV_CLAMP(lo - (left ? k.begin / left : 0), 0, end);
        hi = MGV_CLAMP(hi + (right ? (size - k.end) / right : 0), lo, end);
    }
    left   = steps_out(lo, tile);
    right  = steps_out(end - hi, tile);
    middle = tile_count(hi + tile - lo, tile, overlap);
    *count = n = left + middle + right;
    at    = mgv_calloc(n, sizeof(*at));
    *ring = mgv_calloc(n, sizeof(**ring));
    for (int i = 0; at && *ring && i < n; i++) {
        int out = i < left ? left - i : MGV_MAX(i - left - middle + 1, 0);

        (*ring)[i] = out;
        if (i < left)
            at[i] = (int)((int64_t)lo * i / left);
        else if (out)
            at[i] = hi + (int)((int64_t)(end - hi) * out / right);
        else
            at[i] = lo + (middle > 1 ? (int)((int64_t)(hi - lo) * (i - left) / (middle - 1)) : 0);
    }
    return at;
}

/** Order tiles by their rings: each is then next to, and overlaps, what is known or made before it. */
static int order_tiles(MgvTiling *t, const int *ring_x, const int *ring_y)
{
    int n = t->nb_x * t->nb_y, done = 0;

    if (!(t->order = mgv_calloc(n, sizeof(*t->order))))
        return MAGVIT_ERR(ENOMEM);
    for (int ring = 0; done < n; ring++)
        for (int i = 0; i < n; i++)
            if ((ring_x ? ring_x[i % t->nb_x] : 0) + (ring_y ? ring_y[i / t->nb_x] : 0) == ring)
                t->order[done++] = i;
    return 0;
}

static double scale_to_fit(int w, int h, const int window[3])
{
    return MGV_MAX((double)window[1] / h, (double)window[2] / w);
}

/** A picture of any shape out of the middle of one window. */
static double scale_into(int w, int h, const int window[3])
{
    return MGV_MIN((double)window[1] / h, (double)window[2] / w);
}

int mgv_tiling_border(int width, int height, MgvRect src)
{
    return MGV_MAX(MGV_MAX(src.x, src.y), MGV_MAX(width - src.x - src.w, height - src.y - src.h));
}

static double choose_scale(const MagvitParams *p, const int window[3], int width, int height, MgvRect hole, MgvRect src,
                           int border)
{
    double s = 1, least;

    if (p->scale == MAGVIT_SCALE_TILE && p->task != MAGVIT_TASK_GENERATE)
        return 1;
    switch (p->task) {
    case MAGVIT_TASK_INPAINT:
        s = window[1] / 2.0 / MGV_MAX(MGV_MIN(hole.w, hole.h), 1);
        break;
    case MAGVIT_TASK_OUTPAINT:
        s = p->scale == MAGVIT_SCALE_FIT ? scale_to_fit(width, height, window) : window[1] / 2.0 / MGV_MAX(border, 1);
        /* what is known must stay large enough to go out from */
        least = MGV_MAX(window[1], window[2]) / 8.0 / MGV_MIN(src.w, src.h);
        s = MGV_MAX(s, least);
        break;
    case MAGVIT_TASK_GENERATE: // tiles would know nothing of each other
        s = scale_into(width, height, window);
        break;
    default:
        if (p->scale == MAGVIT_SCALE_FIT ||
            tile_count(width, window[2], p->tile_overlap) * tile_count(height, window[1], p->tile_overlap) > 4)
            s = scale_to_fit(width, height, window);
    }
    return MGV_MIN(s, 1);
}

/** Working pixels round [x,x+w) of the picture, with context, inside [0,size). */
static Span hole_span(int x, int w, double scale, int size)
{
    Span s = { (int)floor(x * scale) - MGV_CONTEXT, (int)ceil((x + w) * scale) + MGV_CONTEXT };

    s.begin = MGV_CLAMP(s.begin, 0, size - 1);
    s.end   = MGV_CLAMP(s.end, s.begin + 1, size);
    return s;
}

/** Whole working pixels inside [x,x+w) of the picture. */
static Span known_span(int x, int w, double scale, int size)
{
    Span s = { (int)ceil(x * scale - 1e-6), (int)floor((x + w) * scale + 1e-6) };

    s.begin = MGV_CLAMP(s.begin, 0, size - 1);
    s.end   = MGV_CLAMP(s.end, s.begin + 1, size);
    return s;
}

/** Smallest picture rectangle, of whole chroma samples, that holds the area. */
static MgvRect area_in_picture(const MgvTiling *t, const MagvitFormat *f, int width, int height)
{
    double sx = (double)width / t->work_w, sy = (double)height / t->work_h;
    int x0 = (int)floor(t->area.x * sx), y0 = (int)floor(t->area.y * sy);
    int x1 = (int)ceil((t->area.x + t->area.w) * sx), y1 = (int)ceil((t->area.y + t->area.h) * sy);

    return mgv_image_align(f, width, height, (MgvRect){ x0, y0, x1 - x0, y1 - y0 });
}

int mgv_tiling_init(MgvTiling *t, const MagvitParams *p, const int window[3], int width, int height,
                    MgvRect hole, MgvRect src, int border)
{
    double s = choose_scale(p, window, width, height, hole, src, border);
    int *ring_x = NULL, *ring_y = NULL, outpaint = p->task == MAGVIT_TASK_OUTPAINT, ret = MAGVIT_ERR(ENOMEM);
    Span sx, sy;

    *t = (MgvTiling){ .tile_w = window[2], .tile_h = window[1] };
    t->work_w = MGV_MAX((int)lrint(width * s), 1);
    t->work_h = MGV_MAX((int)lrint(height * s), 1);
    sx = (Span){ 0, t->work_w };
    sy = (Span){ 0, t->work_h };
    if (p->task == MAGVIT_TASK_INPAINT) {
        sx = hole_span(hole.x, hole.w, (double)t->work_w / width, t->work_w);
        sy = hole_span(hole.y, hole.h, (double)t->work_h / height, t->work_h);
    }
    if (outpaint && t->work_w > t->tile_w)
        t->x = place_outward(known_span(src.x, src.w, (double)t->work_w / width, t->work_w), t->work_w, t->tile_w,
                             p->tile_overlap, &t->nb_x, &ring_x);
    else
        t->x = place_tiles(sx, t->work_w, t->tile_w, p->tile_overlap, &t->nb_x);
    if (outpaint && t->work_h > t->tile_h)
        t->y = place_outward(known_span(src.y, src.h, (double)t->work_h / height, t->work_h), t->work_h, t->tile_h,
                             p->tile_overlap, &t->nb_y, &ring_y);
    else
        t->y = place_tiles(sy, t->work_h, t->tile_h, p->tile_overlap, &t->nb_y);
    if (!t->x || !t->y || (outpaint && ((t->work_w > t->tile_w && !ring_x) || (t->work_h > t->tile_h && !ring_y))))
        goto fail;
    RET(order_tiles(t, ring_x, ring_y));
    t->area.x = MGV_MAX(t->x[0], 0);
    t->area.y = MGV_MAX(t->y[0], 0);
    t->area.w = MGV_MIN(t->x[t->nb_x - 1] + t->tile_w, t->work_w) - t->area.x;
    t->area.h = MGV_MIN(t->y[t->nb_y - 1] + t->tile_h, t->work_h) - t->area.y;
    t->native = area_in_picture(t, &p->format, width, height);
    ret = 0;

fail:
    if (ret < 0)
        mgv_tiling_uninit(t);
    mgv_freep(&ring_x);
    mgv_freep(&ring_y);
    return ret;
}

void mgv_tiling_uninit(MgvTiling *t)
{
    mgv_freep(&t->x);
    mgv_freep(&t->y);
    mgv_freep(&t->order);
}
