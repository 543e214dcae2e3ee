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
 * Motion between two given frames, to fill the frames between them before they
 * are tokenised: a picture in which things have moved is a better start than
 * one in which they are dissolved. The flow is symmetric: v(x) is the way from
 * the first frame to the second of what lies at x halfway between them. It
 * minimises total variation and the absolute difference of brightness (TV-L1,
 * Zach, Pock and Bischof 2007), coarse to fine, with a median after each
 * linearisation (Wedel et al. 2009).
 */

#include <math.h>
#include <string.h>

#include "libmagvit/video.h"

#define MAX_LEVELS 16
#define MIN_SIDE   8         ///< of the coarsest level
#define MAX_PIXELS (1 << 20) ///< of the finest one that is solved: what is finer moves with it
#define WARPS      3         ///< linearisations a level
#define ITERATIONS 10        ///< of the solver, each
#define LAMBDA     40.0f     ///< weight of the difference of brightness, in [0,1], against the variation of the flow
#define THETA      0.3f      ///< coupling of the two
#define STEP       (0.25f / THETA)
#define LOOKUPS    3         ///< fixed-point steps from a phase to halfway

/** Pixels that a thread does at once, of work that takes some 40 ns for each, and of the other. */
#define SLOW_PIXELS (1 << 10)
#define FAST_PIXELS MGV_PART_PIXELS

/** One picture: [h,w,4] brightness, its derivatives by x and y, unused. */
typedef struct Level {
    int w, h;
    float *a, *b;
} Level;

/** Planes [h,w] of the level that is solved; fit() relies on the order. */
enum { RES, GX, GY, NORM, VX, VY, UX, UY, PXX, PXY, PYX, PYY, NB_PLANES };

struct MgvMotion {
    int nb_levels, first; ///< first: number of the level that flow has the size of
    Level level[MAX_LEVELS];
    float *pyramids, *planes;
    size_t plane, before; ///< floats from one plane to the next; of zeros before each
    const MgvTeam *team;  ///< of the estimate that is on its way, as all below
    const float *a, *b;   ///< pictures
    float *flow;          ///< result
};

/* ---- threads -------------------------------------------------------------- */

/** Work on rows [row,end) of a level, which depends on no other row of what it writes. */
typedef void RowsFn(const MgvMotion *m, const Level *l, int row, int end);

typedef struct Rows {
    const MgvMotion *m;
    const Level *l;
    RowsFn *fn;
} Rows;

static void some_rows(void *opaque, int row, int end)
{
    const Rows *r = opaque;

    r->fn(r->m, r->l, row, end);
}

/** All rows of a level, shared by threads in parts of some pixels. */
static void share_rows(const MgvMotion *m, const Level *l, int pixels, RowsFn *fn)
{
    Rows r = { m, l, fn };

    mgv_share_rows(m->team, l->h, pixels / l->w, some_rows, &r);
}

/* ---- sizes ---------------------------------------------------------------- */

/** Sizes of the levels of a w x h picture. @return their number */
static int level_sizes(Level *l, int w, int h, int *first)
{
    int n = 1;

    l[0] = (Level){ w, h, NULL, NULL };
    for (*first = 0; n < MAX_LEVELS && MGV_MIN(l[n - 1].w, l[n - 1].h) >= 2 * MIN_SIDE; n++)
        l[n] = (Level){ (l[n - 1].w + 1) / 2, (l[n - 1].h + 1) / 2, NULL, NULL };
    while (*first < n - 1 && (int64_t)l[*first].w * l[*first].h > MAX_PIXELS)
        ++*first;
    return n;
}

static size_t pixels(const Level *l)
{
    return (size_t)l->w * l->h;
}

/** Floats of both pyramids. */
static size_t pyramid_floats(const Level *l, int n)
{
    size_t sum = 0;

    for (int i = 0; i < n; i++)
        sum += 2 * 4 * pixels(&l[i]);
    return sum;
}

static size_t zero_floats(const Level *l)
{
    return MGV_ALIGN_UP((size_t)l->w + 1, MGV_ALIGNMENT / sizeof(float));
}

static size_t plane_floats(const Level *l)
{
    return MGV_ALIGN_UP(zero_floats(l) + pixels(l), MGV_ALIGNMENT / sizeof(float));
}

size_t mgv_motion_floats(int w, int h)
{
    Level l[MAX_LEVELS];
    int first;

    level_sizes(l, w, h, &first);
    return 2 * pixels(&l[first]);
}

int64_t mgv_motion_bytes(int w, int h)
{
    Level l[MAX_LEVELS];
    int first, n = level_sizes(l, w, h, &first);

    return (pyramid_floats(l, n) + NB_PLANES * plane_floats(&l[first])) * sizeof(float);
}

int mgv_motion_alloc(MgvMotion **out, int w, int h)
{
    MgvMotion *m = *out = mgv_calloc(1, sizeof(*m));
    float *next;

    if (!m)
        return MAGVIT_ERR(ENOMEM);
    m->nb_levels = level_sizes(m->level, w, h, &m->first);
    m->plane     = plane_floats(&m->level[m->first]);
    m->before    = zero_floats(&m->level[m->first]);
    m->planes    = mgv_calloc(m->plane * NB_PLANES, sizeof(*m->planes));
    next = m->pyramids = mgv_calloc(pyramid_floats(m->level, m->nb_levels), sizeof(*next));
    if (!m->planes || !m->pyramids) {
        mgv_motion_free(out);
        return MAGVIT_ERR(ENOMEM);
    }
    for (int i = 0; i < m->nb_levels; i++) {
        m->level[i].a = next;
        m->level[i].b = next + 4 * pixels(&m->level[i]);
        next += 8 * pixels(&m->level[i]);
    }
    return 0;
}

int mgv_motion_fit(MgvMotion **m, int w, int h)
{
    if (*m && (*m)->level[0].w == w && (*m)->level[0].h == h)
        return 0;
    mgv_motion_free(m);
    return mgv_motion_alloc(m, w, h);
}

void mgv_motion_free(MgvMotion **m)
{
    if (!*m)
        return;
    mgv_freep(&(*m)->pyramids);
    mgv_freep(&(*m)->planes);
    mgv_freep(m);
}

/* ---- pyramids ------------------------------------------------------------- */

/** Brightness of rgb [h,w,3], by the weights of BT.601. */
static void brightness(float *restrict dst, const float *restrict rgb, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i * 4] = 0.299f * rgb[i * 3] + 0.587f * rgb[i * 3 + 1] + 0.114f * rgb[i * 3 + 2];
}

static void brightness_rows(const MgvMotion *m, const Level *l, int row, int end)
{
    const size_t at = (size_t)row * l->w, n = (size_t)(end - row) * l->w;

    brightness(l->a + 4 * at, m->a + 3 * at, n);
    brightness(l->b + 4 * at, m->b + 3 * at, n);
}

/** Means of 2x2 pixels; an odd edge counts twice. */
static void halve(float *restrict dst, const Level *to, const float *restrict src, const Level *from, int row, int end)
{
    dst += (size_t)row * to->w * 4;
    for (int y = row; y < end; y++) {
        const float *r0 = src + (size_t)(2 * y) * from->w * 4;
        const float *r1 = src + (size_t)MGV_MIN(2 * y + 1, from->h - 1) * from->w * 4;

        for (int x = 0; x < to->w; x++, dst += 4) {
            const int x0 = 8 * x, x1 = 4 * MGV_MIN(2 * x + 1, from->w - 1);

            dst[0] = (r0[x0] + r0[x1] + r1[x0] + r1[x1]) / 4;
        }
    }
}

static void halve_rows(const MgvMotion *m, const Level *l, int row, int end)
{
    (void)m;
    halve(l->a, l, l[-1].a, l - 1, row, end);
    halve(l->b, l, l[-1].b, l - 1, row, end);
}

/** Central differences, one-sided halves at the edge. */
static void derive(float *v, const Level *l, int row, int end)
{
    for (int y = row; y < end; y++) {
        const float *up = v + (size_t)MGV_MAX(y - 1, 0) * l->w * 4, *down = v + (size_t)MGV_MIN(y + 1, l->h - 1) * l->w * 4;
        float *at = v + (size_t)y * l->w * 4;

        for (int x = 0; x < l->w; x++) {
            at[x * 4 + 1] = (at[MGV_MIN(x + 1, l->w - 1) * 4] - at[MGV_MAX(x - 1, 0) * 4]) / 2;
            at[x * 4 + 2] = (down[x * 4] - up[x * 4]) / 2;
        }
    }
}

static void derive_rows(const MgvMotion *m, const Level *l, int row, int end)
{
    (void)m;
    derive(l->a, l, row, end);
    derive(l->b, l, row, end);
}

/** Where a sample lies between pixels; beyond the picture its edge is repeated. */
typedef struct Place {
    size_t at[4]; ///< offsets in pixels
    float fx, fy;
} Place;

MGV_INLINE Place place(float x, float y, int w, int h)
{
    Place p;
    int x0, y0, right, down;

    x = MGV_CLAMP(x, 0, w - 1);
    y = MGV_CLAMP(y, 0, h - 1);
    x0 = (int)x;
    y0 = (int)y;
    p.fx = x - x0;
    p.fy = y - y0;
    right = x0 < w - 1;
    down  = y0 < h - 1 ? w : 0;
    p.at[0] = (size_t)y0 * w + x0;
    p.at[1] = p.at[0] + right;
    p.at[2] = p.at[0] + down;
    p.at[3] = p.at[2] + right;
    return p;
}

/** Bilinear; every pixel has stride values, the first n of which are taken. */
MGV_INLINE void sample(float *restrict out, const float *restrict v, const Place *p, int stride, int n)
{
    const float *a = v + p->at[0] * stride, *b = v + p->at[1] * stride, *c = v + p->at[2] * stride, *d = v + p->at[3] * stride;

    for (int k = 0; k < n; k++) {
        const float top = a[k] + p->fx * (b[k] - a[k]), low = c[k] + p->fx * (d[k] - c[k]);
        out[k] = top + p->fy * (low - top);
    }
}

/** Weights of Catmull and Rom's spline at f in [0,1) after the second of four values. */
MGV_INLINE void cubic_weights(float w[4], float f)
{
    w[0] = ((-0.5f * f + 1) * f - 0.5f) * f;
    w[1] = (1.5f * f - 2.5f) * f * f + 1;
    w[2] = ((-1.5f * f + 2) * f + 0.5f) * f;
    w[3] = (0.5f * f - 0.5f) * f * f;
}

/** Bicubic, which keeps what is sharp, clipped to [0,1]; rgb [h,w,3]. */
MGV_INLINE void sample_cubic(float out[3], const float *rgb, float x, float y, int w, int h)
{
    const float cx = MGV_CLAMP(x, 0, w - 1), cy = MGV_CLAMP(y, 0, h - 1);
    const int x0 = (int)cx, y0 = (int)cy;
    float wx[4], wy[4], edge[4][12], sum[12];
    const float *row[4];

    cubic_weights(wx, cx - x0);
    cubic_weights(wy, cy - y0);
    for (int j = 0; j < 4; j++)
        row[j] = rgb + ((ptrdiff_t)MGV_CLAMP(y0 + j - 1, 0, h - 1) * w + x0 - 1) * 3;
    if (x0 < 1 || x0 + 2 >= w) // not all four pixels of a row are there
        for (int j = 0; j < 4; j++) {
            for (int i = 0; i < 4; i++)
                memcpy(edge[j] + i * 3, row[j] + (MGV_CLAMP(x0 + i - 1, 0, w - 1) - x0 + 1) * 3, 3 * sizeof(*out));
            row[j] = edge[j];
        }
#pragma omp simd
    for (int k = 0; k < 12; k++)
        sum[k] = wy[0] * row[0][k] + wy[1] * row[1][k] + wy[2] * row[2][k] + wy[3] * row[3][k];
    for (int c = 0; c < 3; c++) {
        const float v = wx[0] * sum[c] + wx[1] * sum[c + 3] + wx[2] * sum[c + 6] + wx[3] * sum[c + 9];
        out[c] = MGV_CLAMP(v, 0, 1);
    }
}

/* ---- solver --------------------------------------------------------------- */

static float *plane(const MgvMotion *m, int which)
{
    return m->planes + which * m->plane + m->before;
}

/** Both pictures at where v leads, halfway to each side, and how their difference depends on v. u starts as v. */
static void linearise_rows(const MgvMotion *m, const Level *l, int row, int end)
{
    float *res = plane(m, RES), *gx = plane(m, GX), *gy = plane(m, GY), *norm = plane(m, NORM);
    const float *vx = plane(m, VX), *vy = plane(m, VY);
    size_t i = (size_t)row * l->w;

    memcpy(plane(m, UX) + i, vx + i, (size_t)(end - row) * l->w * sizeof(float));
    memcpy(plane(m, UY) + i, vy + i, (size_t)(end - row) * l->w * sizeof(float));
    for (int y = row; y < end; y++)
        for (int x = 0; x < l->w; x++, i++) {
            const float dx = vx[i] / 2, dy = vy[i] / 2;
            const Place pa = place(x - dx, y - dy, l->w, l->h), pb = place(x + dx, y + dy, l->w, l->h);
            float a[4], b[4];

            sample(a, l->a, &pa, 4, 4);
            sample(b, l->b, &pb, 4, 4);
            gx[i]   = (a[1] + b[1]) / 2;
            gy[i]   = (a[2] + b[2]) / 2;
            norm[i] = gx[i] * gx[i] + gy[i] * gy[i] + 1e-9f;
            res[i]  = b[0] - a[0] - gx[i] * vx[i] - gy[i] * vy[i];
        }
}

/**
 * One component of the flow, of n pixels with rows of w. What is beyond the picture counts as 0 and is 0 there: the
 * last column and row of the dual variables never change, and zeros lie before each plane.
 */
MGV_INLINE float divergence(const float *px, const float *py, size_t i, int w)
{
    return px[i] - px[i - 1] + py[i] - py[i - w];
}

/** The flow that fits brightness, by thresholding, plus what the dual variables say of its variation. */
MGV_CLONES static void fit(float *restrict ux, float *restrict uy, const float *restrict lin, const float *restrict dual,
                           size_t n, int w, size_t plane)
{
    const float *res = lin, *gx = lin + plane, *gy = lin + 2 * plane, *norm = lin + 3 * plane;
    const float *xx = dual, *xy = dual + plane, *yx = dual + 2 * plane, *yy = dual + 3 * plane;
    const float most = LAMBDA * THETA;

#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        float d = -(res[i] + gx[i] * ux[i] + gy[i] * uy[i]) / norm[i];

        d = d < -most ? -most : d;
        d = d > most ? most : d;
        ux[i] += d * gx[i] + THETA * divergence(xx, xy, i, w);
        uy[i] += d * gy[i] + THETA * divergence(yx, yy, i, w);
    }
}

MGV_INLINE void dual_pixel(float *px, float *py, float dx, float dy)
{
    const float n = 1 / (1 + STEP * sqrtf(dx * dx + dy * dy));

    *px = (*px + STEP * dx) * n;
    *py = (*py + STEP * dy) * n;
}

/** A step of the dual variables of one component along a row. */
MGV_CLONES static void dual_row(float *restrict px, float *restrict py, const float *u, const float *below, int w)
{
#pragma omp simd
    for (int x = 0; x < w - 1; x++)
        dual_pixel(&px[x], &py[x], u[x + 1] - u[x], below[x] - u[x]);
    dual_pixel(&px[w - 1], &py[w - 1], 0, below[w - 1] - u[w - 1]);
}

static void fit_rows(const MgvMotion *m, const Level *l, int row, int end)
{
    const size_t at = (size_t)row * l->w, n = (size_t)(end - row) * l->w;

    fit(plane(m, UX) + at, plane(m, UY) + at, plane(m, RES) + at, plane(m, PXX) + at, n, l->w, m->plane);
}

static void dual_rows(const MgvMotion *m, const Level *l, int row, int end)
{
    for (int y = row; y < end; y++) {
        const size_t at = (size_t)y * l->w, below = y < l->h - 1 ? at + l->w : at;

        dual_row(plane(m, PXX) + at, plane(m, PXY) + at, plane(m, UX) + at, plane(m, UX) + below, l->w);
        dual_row(plane(m, PYX) + at, plane(m, PYY) + at, plane(m, UY) + at, plane(m, UY) + below, l->w);
    }
}

/** Put the lesser of two values first. */
#define ORDER(a, b)                           \
    do {                                      \
        const float lesser = a < b ? a : b;   \
        b = a < b ? b : a;                    \
        a = lesser;                           \
    } while (0)

/** Median of three in each of three columns l, x, r of three rows: Paeth's network of 19 exchanges. */
MGV_INLINE float median9(const float *a, const float *b, const float *c, int l, int x, int r)
{
    float p0 = a[l], p1 = a[x], p2 = a[r], p3 = b[l], p4 = b[x], p5 = b[r], p6 = c[l], p7 = c[x], p8 = c[r];

    ORDER(p1, p2); ORDER(p4, p5); ORDER(p7, p8); ORDER(p0, p1); ORDER(p3, p4); ORDER(p6, p7);
    ORDER(p1, p2); ORDER(p4, p5); ORDER(p7, p8); ORDER(p0, p3); ORDER(p5, p8); ORDER(p4, p7);
    ORDER(p3, p6); ORDER(p1, p4); ORDER(p2, p5); ORDER(p4, p7); ORDER(p4, p2); ORDER(p6, p4);
    ORDER(p4, p2);
    return p4;
}

/** Median of 3x3 along a row, edges repeated. */
MGV_CLONES static void median_row(float *restrict dst, const float *a, const float *b, const float *c, int w)
{
    const int last = w - 1;

    dst[0] = median9(a, b, c, 0, 0, MGV_MIN(1, last));
#pragma omp simd
    for (int x = 1; x < last; x++)
        dst[x] = median9(a, b, c, x - 1, x, x + 1);
    dst[last] = median9(a, b, c, MGV_MAX(last - 1, 0), last, last);
}

static void median(float *dst, const float *src, const Level *l, int row, int end)
{
    for (int y = row; y < end; y++) {
        const float *at = src + (size_t)y * l->w;

        median_row(dst + (size_t)y * l->w, y ? at - l->w : at, at, y < l->h - 1 ? at + l->w : at, l->w);
    }
}

static void median_rows(const MgvMotion *m, const Level *l, int row, int end)
{
    median(plane(m, VX), plane(m, UX), l, row, end);
    median(plane(m, VY), plane(m, UY), l, row, end);
}

/** Solve a level from VX, VY on, which receive the result. */
static void solve(const MgvMotion *m, const Level *l)
{
    for (int k = PXX; k <= PYY; k++)
        memset(plane(m, k), 0, pixels(l) * sizeof(float));
    for (int i = 0; i < WARPS; i++) {
        share_rows(m, l, SLOW_PIXELS, linearise_rows);
        for (int k = 0; k < ITERATIONS; k++) {
            share_rows(m, l, FAST_PIXELS, fit_rows);
            share_rows(m, l, FAST_PIXELS, dual_rows);
        }
        share_rows(m, l, FAST_PIXELS, median_rows);
    }
}

/** Flow of the next coarser level, in UX, UY -> of this one, in VX, VY: twice as fast. */
static void refine_rows(const MgvMotion *m, const Level *l, int row, int end)
{
    const Level *from = l + 1;

    for (int k = 0; k < 2; k++) {
        const float *src = plane(m, UX + k);
        float *dst = plane(m, VX + k) + (size_t)row * l->w;

        for (int y = row; y < end; y++)
            for (int x = 0; x < l->w; x++) {
                const Place p = place(x * 0.5f - 0.25f, y * 0.5f - 0.25f, from->w, from->h);

                sample(dst, src, &p, 1, 1);
                *dst++ *= 2;
            }
    }
}

/** What a level starts from: nothing moves in the coarsest. */
static void begin(const MgvMotion *m, const Level *l)
{
    for (int k = 0; k < 2; k++) {
        if (l == &m->level[m->nb_levels - 1])
            memset(plane(m, VX + k), 0, pixels(l) * sizeof(float));
        else
            memcpy(plane(m, UX + k), plane(m, VX + k), pixels(l + 1) * sizeof(float));
    }
    if (l < &m->level[m->nb_levels - 1])
        share_rows(m, l, SLOW_PIXELS, refine_rows);
}

static void flow_rows(const MgvMotion *m, const Level *l, int row, int end)
{
    const float *vx = plane(m, VX), *vy = plane(m, VY);

    for (size_t i = (size_t)row * l->w; i < (size_t)end * l->w; i++) {
        m->flow[2 * i]     = vx[i];
        m->flow[2 * i + 1] = vy[i];
    }
}

void mgv_motion_estimate(MgvMotion *m, float *flow, const float *a, const float *b, const MgvTeam *team)
{
    const Level *l = m->level;

    m->team = team;
    m->a    = a;
    m->b    = b;
    m->flow = flow;
    share_rows(m, l, FAST_PIXELS, brightness_rows);
    for (int i = 1; i < m->nb_levels; i++)
        share_rows(m, &l[i], FAST_PIXELS, halve_rows);
    for (int i = m->nb_levels - 1; i >= m->first; i--) {
        share_rows(m, &l[i], FAST_PIXELS, derive_rows);
        begin(m, &l[i]);
        solve(m, &l[i]);
    }
    share_rows(m, &l[m->first], FAST_PIXELS, flow_rows);
}

/* ---- frames --------------------------------------------------------------- */

/** Motion, in pixels of the flow, of what is at (x,y) of it at phase phi. */
MGV_INLINE void flow_at(float v[2], const Level *l, const float *flow, float x, float y, float phi)
{
    v[0] = v[1] = 0;
    for (int k = 0; k < LOOKUPS; k++) {
        const Place p = place(x + (0.5f - phi) * v[0], y + (0.5f - phi) * v[1], l->w, l->h);
        sample(v, flow, &p, 2, 2);
    }
}

void mgv_motion_between(const MgvMotion *m, float *dst, MgvRect r, const float *a, const float *b, const float *flow,
                        double phi)
{
    const Level *l = &m->level[0], *f = &m->level[m->first];
    const float sx = (float)l->w / f->w, sy = (float)l->h / f->h, from_a = (float)phi, to_b = 1 - from_a;

    for (int j = r.y; j < r.y + r.h; j++)
        for (int i = r.x; i < r.x + r.w; i++, dst += 3) {
            const float x = MGV_CLAMP(i, 0, l->w - 1), y = MGV_CLAMP(j, 0, l->h - 1);
            float v[2], va[3], vb[3];

            flow_at(v, f, flow, (x + 0.5f) / sx - 0.5f, (y + 0.5f) / sy - 0.5f, from_a);
            v[0] *= sx;
            v[1] *= sy;
            sample_cubic(va, a, x - from_a * v[0], y - from_a * v[1], l->w, l->h);
            sample_cubic(vb, b, x + to_b * v[0], y + to_b * v[1], l->w, l->h);
            for (int c = 0; c < 3; c++)
                dst[c] = va[c] + (vb[c] - va[c]) * from_a;
        }
}

void mgv_motion_phase(const MgvMotion *m, float *dst, const float *flow, double phi, int row, int end)
{
    const Level *l = &m->level[m->first];

    dst += (size_t)row * l->w * 2;
    for (int y = row; y < end; y++)
        for (int x = 0; x < l->w; x++, dst += 2)
            flow_at(dst, l, flow, x, y, (float)phi);
}

int mgv_motion_rows(const MgvMotion *m)
{
    return m->level[m->first].h;
}

MGV_CLONES void mgv_motion_move(const MgvMotion *m, float *const dst[2], const float *const src[2], const MgvView *view,
                                const float *phase, double phi, int row, int end)
{
    const Level *l = &m->level[0], *f = &m->level[m->first];
    const double sx = (double)l->w / f->w, sy = (double)l->h / f->h;      // pixels of the flow in those of the area,
    const float vx = (float)(sx / view->sx), vy = (float)(sy / view->sy); // in those of the view
    const float ax = (float)(view->sx / sx), ay = (float)(view->sy / sy); // pixels of the view in those of the flow
    const float bx = (float)((view->x + 0.5 * view->sx) / sx - 0.5), by = (float)((view->y + 0.5 * view->sy) / sy - 0.5);
    const float share[2] = { -(float)phi, (float)(1 - phi) };
    float *to[2] = { dst[0] + (size_t)row * view->w * 3, dst[1] + (size_t)row * view->w * 3 };

    for (int j = row; j < end; j++)
        for (int i = 0; i < view->w; i++) {
            const Place p = place(bx + i * ax, by + j * ay, f->w, f->h);
            float v[2];

            sample(v, phase, &p, 2, 2);
            for (int k = 0; k < 2; k++) {
                sample_cubic(to[k], src[k], i + share[k] * vx * v[0], j + share[k] * vy * v[1], view->w, view->h);
                to[k] += 3;
            }
        }
}
