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
 * Motion over the gaps between the given frames of a window. Between two frames
 * that are the same, as those that repeat a clip's last one are, nothing moves:
 * no flow is looked for there, and what is between them is a copy.
 *
 * What fills the model's picture moves as seen in that picture. The given frames
 * may have many times its resolution, and shown where they agree must meet by a
 * fraction of their own pixels: then motion is found once more, in them.
 */

#include <string.h>

#include "libmagvit/video.h"

/** Rows that a thread does at once: a pixel takes longer here than elsewhere. */
#define PART_ROWS 16

/** Motion is looked for in a view that has so many times the pixels of the picture that it was found in, */
#define MIN_FINER 2
/** reduced to no more than this. */
#define MAX_FINE (1 << 18)

/** Slots between two given ones. */
typedef struct Gap {
    int from, to;       ///< given slots
    const float *a, *z; ///< their pixels, [h,w,3]
    int moves;          ///< 0: they are the same
    float *flow;        ///< where it moves
} Gap;

/** Motion of one gap in the pictures of a view, each reduced by a whole number. */
typedef struct Fine {
    MgvMotion *motion;  ///< NULL: not made yet
    MgvBuffer pictures; ///< both, reduced
    MgvBuffer flow;
    const Gap *gap;     ///< whose flow that is, NULL: none's
} Fine;

struct MgvFlows {
    const MgvTeam *team;
    int w, h;
    MgvMotion *motion;  ///< NULL until things move
    MgvBuffer flow;     ///< one for each gap over which things move
    MgvBuffer phase;    ///< a flow at a slot's phase
    Fine fine;
    Gap gap[MGV_MAX_FRAMES];
    int nb_gaps;
    int at[MGV_MAX_FRAMES]; ///< slot -> gap that it lies in, -1: none
};

int mgv_flows_alloc(MgvFlows **out, const MgvTeam *team)
{
    if (!(*out = mgv_calloc(1, sizeof(**out))))
        return MAGVIT_ERR(ENOMEM);
    (*out)->team = team;
    return 0;
}

void mgv_flows_free(MgvFlows **out)
{
    if (!*out)
        return;
    mgv_motion_free(&(*out)->motion);
    mgv_freep(&(*out)->flow.data);
    mgv_freep(&(*out)->phase.data);
    mgv_motion_free(&(*out)->fine.motion);
    mgv_freep(&(*out)->fine.pictures.data);
    mgv_freep(&(*out)->fine.flow.data);
    mgv_freep(out);
}

/** Pixels of a view are reduced by this to look for motion in it, 0: what was found in the w x h picture is fine enough. */
static int reduction(int w, int h, int view_w, int view_h)
{
    const int64_t pixels = (int64_t)view_w * view_h;
    int by = 1;

    if (pixels < MIN_FINER * (int64_t)w * h)
        return 0;
    while (pixels > MAX_FINE * (int64_t)by * by)
        by++;
    return pixels / by / by < MIN_FINER * (int64_t)w * h ? 0 : by;
}

static int reduced(int size, int by)
{
    return (size + by - 1) / by;
}

int64_t mgv_flows_bytes(int w, int h, int slots, int given, int view_w, int view_h)
{
    const int by = reduction(w, h, view_w, view_h), fw = reduced(view_w, MGV_MAX(by, 1)), fh = reduced(view_h, MGV_MAX(by, 1));
    const int64_t flow = MGV_MAX(mgv_motion_floats(w, h), by ? mgv_motion_floats(fw, fh) : 0) * sizeof(float);
    const int64_t fine = by ? mgv_motion_bytes(fw, fh) + flow + (int64_t)fw * fh * 6 * sizeof(float) : 0;
    const int gaps = MGV_MIN(given - 1, (slots - 1) / 2); // each has a slot of its own and one before it

    return mgv_motion_bytes(w, h) + MGV_MAX(gaps, 0) * (int64_t)(mgv_motion_floats(w, h) * sizeof(float)) + flow + fine;
}

int mgv_given_slot(const int *row, int slots, int slot, int step)
{
    while (slot >= 0 && slot < slots && row[slot] < 0)
        slot += step;
    return slot < slots ? slot : -1;
}

static size_t picture_values(const MgvFlows *f)
{
    return (size_t)f->w * f->h * 3;
}

/** @return over how many gaps things move */
static int list_gaps(MgvFlows *f, const float *clip, const int *row, int slots)
{
    int nb = 0;

    f->nb_gaps = 0;
    for (int i = 0; i < slots; i++) {
        const int from = mgv_given_slot(row, slots, i, -1), to = mgv_given_slot(row, slots, i, 1);

        f->at[i] = -1;
        if (from < 0 || to <= from)
            continue;
        if (from == i - 1) {
            Gap *g = &f->gap[f->nb_gaps++];

            *g = (Gap){ from, to, clip + row[from] * picture_values(f), clip + row[to] * picture_values(f) };
            nb += g->moves = memcmp(g->a, g->z, picture_values(f) * sizeof(*clip)) != 0;
        }
        f->at[i] = f->nb_gaps - 1;
    }
    return nb;
}

static int motion_buffers(MgvFlows *f, int nb)
{
    int ret;

    RET(mgv_buffer_grow(&f->flow, nb * mgv_motion_floats(f->w, f->h), sizeof(float)));
    return mgv_motion_fit(&f->motion, f->w, f->h);

fail:
    return ret;
}

int mgv_flows_find(MgvFlows *f, const float *clip, const int *row, int slots, int w, int h)
{
    float *flow;
    int nb, ret;

    f->w = w;
    f->h = h;
    f->fine.gap = NULL;
    if (!(nb = list_gaps(f, clip, row, slots)))
        return 0;
    RET(motion_buffers(f, nb));
    flow = f->flow.data;
    for (int i = 0; i < f->nb_gaps; i++) {
        Gap *g = &f->gap[i];

        if (!g->moves)
            continue;
        g->flow = flow;
        mgv_motion_estimate(f->motion, flow, g->a, g->z, f->team);
        flow += mgv_motion_floats(w, h);
    }
    return 0;

fail:
    return ret;
}

static double phase(const Gap *g, int slot)
{
    return (double)(slot - g->from) / (g->to - g->from);
}

/** Values in [0,1], as motion.c leaves them. */
static void copy(float *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = MGV_CLAMP(src[i], 0, 1);
}

/** Pictures of a slot, whose rows threads share: part r of the area, or both of a view. */
typedef struct Slot {
    const MgvFlows *f;
    const Gap *g;
    double phi;
    const MgvMotion *motion; ///< of a view: by which it moves,
    const float *flow;       ///< and how
    float *const *dst;
    MgvRect r;
    const float *const *src;
    const MgvView *view;
} Slot;

static void between_rows(void *opaque, int row, int end)
{
    const Slot *s = opaque;
    const MgvFlows *f = s->f;
    const MgvRect r = { s->r.x, s->r.y + row, s->r.w, end - row };
    float *dst = s->dst[0] + (size_t)row * r.w * 3;

    if (s->g->moves) {
        mgv_motion_between(f->motion, dst, r, s->g->a, s->g->z, s->g->flow, s->phi);
        return;
    }
    for (int y = r.y; y < r.y + r.h; y++)
        for (int x = r.x; x < r.x + r.w; x++, dst += 3)
            copy(dst, s->g->a + ((size_t)MGV_CLAMP(y, 0, f->h - 1) * f->w + MGV_CLAMP(x, 0, f->w - 1)) * 3, 3);
}

static void phase_rows(void *opaque, int row, int end)
{
    const Slot *s = opaque;

    mgv_motion_phase(s->motion, s->f->phase.data, s->flow, s->phi, row, end);
}

static void moved_rows(void *opaque, int row, int end)
{
    const Slot *s = opaque;

    mgv_motion_move(s->motion, s->dst, s->src, s->view, s->f->phase.data, s->phi, row, end);
}

/** Means of by x by pixels of a picture [h,w,3], fewer at its end. */
typedef struct Reduction {
    float *dst;
    const float *src;
    int w, h, by;
} Reduction;

static void reduce_rows(void *opaque, int row, int end)
{
    const Reduction *r = opaque;
    const int dw = reduced(r->w, r->by);

    for (int y = row; y < end; y++)
        for (int x = 0; x < dw; x++) {
            const int rows = MGV_MIN(r->by, r->h - y * r->by), columns = MGV_MIN(r->by, r->w - x * r->by);
            float *dst = r->dst + ((size_t)y * dw + x) * 3, sum[3] = { 0 };

            for (int j = 0; j < rows; j++) {
                const float *src = r->src + ((size_t)(y * r->by + j) * r->w + x * r->by) * 3;

                for (int i = 0; i < columns * 3; i += 3)
                    for (int c = 0; c < 3; c++)
                        sum[c] += src[i + c];
            }
            for (int c = 0; c < 3; c++)
                dst[c] = sum[c] / (rows * columns);
        }
}

/** Find the motion over a gap in its frames, reduced by `by`. view: theirs, receives where they lie in what it is found in. */
static int find_fine(MgvFlows *f, const Gap *g, const float *const src[2], MgvView *view, int by)
{
    const int w = reduced(view->w, by), h = reduced(view->h, by);
    Fine *fine = &f->fine;
    const float *small[2] = { src[0], src[1] };
    int ret;

    *view = (MgvView){ view->w, view->h, 0, 0, 1.0 / by, 1.0 / by };
    if (fine->gap == g)
        return 0;
    fine->gap = NULL;
    RET(mgv_buffer_grow(&fine->flow, mgv_motion_floats(w, h), sizeof(float)));
    RET(mgv_motion_fit(&fine->motion, w, h));
    if (by > 1)
        RET(mgv_buffer_grow(&fine->pictures, (size_t)w * h * 6, sizeof(float)));
    for (int i = 0; i < 2 && by > 1; i++) {
        Reduction r = { (float *)fine->pictures.data + (size_t)w * h * 3 * i, src[i], view->w, view->h, by };

        mgv_share_rows(f->team, h, PART_ROWS, reduce_rows, &r);
        small[i] = r.dst;
    }
    mgv_motion_estimate(fine->motion, fine->flow.data, small[0], small[1], f->team);
    fine->gap = g;
    return 0;

fail:
    return ret;
}

void mgv_flows_between(const MgvFlows *f, float *dst, MgvRect r, int slot)
{
    Slot s = { .f = f, .dst = &dst, .r = r };

    if (f->at[slot] < 0)
        return;
    s.g   = &f->gap[f->at[slot]];
    s.phi = phase(s.g, slot);
    mgv_share_rows(f->team, r.h, PART_ROWS, between_rows, &s);
}

int mgv_flows_move(MgvFlows *f, float *dst[2], const float *const src[2], const MgvView *view, int slot)
{
    Slot s = { .f = f, .dst = dst, .src = src };
    MgvView v;
    size_t floats;
    int by, ret;

    if (f->at[slot] < 0)
        return 0;
    v  = *view;
    by = reduction(f->w, f->h, view->w, view->h);
    s.view = &v;
    s.g   = &f->gap[f->at[slot]];
    s.phi = phase(s.g, slot);
    if (!s.g->moves) {
        for (int i = 0; i < 2; i++)
            copy(dst[i], src[i], (size_t)view->w * view->h * 3);
        return 1;
    }
    if (by)
        RET(find_fine(f, s.g, src, &v, by));
    s.motion = by ? f->fine.motion : f->motion;
    s.flow   = by ? f->fine.flow.data : s.g->flow;
    floats = by ? mgv_motion_floats(reduced(v.w, by), reduced(v.h, by)) : mgv_motion_floats(f->w, f->h);
    RET(mgv_buffer_grow(&f->phase, floats, sizeof(float)));
    mgv_share_rows(f->team, mgv_motion_rows(s.motion), PART_ROWS, phase_rows, &s);
    mgv_share_rows(f->team, view->h, PART_ROWS, moved_rows, &s);
    return 1;

fail:
    return ret;
}
