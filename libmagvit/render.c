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
 * One window: pictures are reduced to the working size and cut into tiles,
 * each tile becomes a job, and the clips that come back are feathered together.
 * From them the unknown samples of output pictures are written, at the size of
 * the picture and after correction by blend.c.
 */

#include <math.h>
#include <string.h>

#include "libmagvit/video.h"

enum { MADE, GIVEN_A, MADE_A, GIVEN_Z, MADE_Z, MOVED_A, MOVED_Z, NB_NATIVE };

struct MgvRender {
    const MgvSynth *synth;
    const MagvitParams *p;
    int width, height;
    MgvPictureFn *fn;
    void *opaque;

    MgvImage *image;
    MgvBlend *blend;
    size_t blend_pixels; ///< that blend is made for
    int blend_w;
    MgvBlend *tile_blend; ///< OUTPAINT: of a tile
    MgvTiles *tiles;
    int next;            ///< in the tiling's order: tile that is put next
    MgvProgress *progress;
    int wanted;          ///< tiles with something to make
    double begun;        ///< mgv_time() when the window did

    MgvWindow window;
    MgvTiling tiling;
    int row[MGV_MAX_FRAMES]; ///< slot -> index into clip, -1 if it is to be made
    MgvBuffer clip;         ///< [given slots][area.h,area.w,3]
    MgvBuffer unknown;      ///< INPAINT, OUTPAINT: [T][area.h,area.w]
    MgvBuffer sum;          ///< [T][area.h,area.w,3] made
    MgvBuffer steady;       ///< INPAINT: scratch
    MgvBuffer weight;       ///< [area.h,area.w] 0 where no tile lies
    MgvFlows *flows;     ///< INTERP: of the area; NULL: frames between are blends

    MgvBuffer native[NB_NATIVE]; ///< [native.h,native.w,3]
    MgvBuffer known, write; ///< [native.h,native.w]
    MgvBuffer count;        ///< [native.h + 1,native.w + 1] sums of the mask
    int anchor[2];       ///< slots that GIVEN_A, MADE_A and GIVEN_Z, MADE_Z hold; -1: none
};

int mgv_render_alloc(MgvRender **out, MgvQueue *queue, const MgvSynth *synth, const MagvitParams *p, int width, int height,
                     MgvPictureFn *fn, void *opaque)
{
    MgvRender *r = *out = mgv_calloc(1, sizeof(*r));
    const int *n = synth->window;
    int ret;

    if (!r)
        return MAGVIT_ERR(ENOMEM);
    r->synth  = synth;
    r->p      = p;
    r->width  = width;
    r->height = height;
    r->fn     = fn;
    r->opaque = opaque;
    RET(mgv_image_alloc(&r->image, synth->log, &synth->team));
    RET(mgv_tiles_alloc(&r->tiles, queue, synth, p));
    if (p->task == MAGVIT_TASK_OUTPAINT)
        RET(mgv_blend_alloc(&r->tile_blend, n[2], n[1], NULL));
    if (p->task == MAGVIT_TASK_INTERP && p->motion)
        RET(mgv_flows_alloc(&r->flows, &synth->team));
    return 0;

fail:
    mgv_render_free(out);
    return ret;
}

void mgv_render_free(MgvRender **out)
{
    MgvRender *r = *out;

    if (!r)
        return;
    mgv_image_free(&r->image);
    mgv_blend_free(&r->blend);
    mgv_blend_free(&r->tile_blend);
    mgv_flows_free(&r->flows);
    mgv_tiles_free(&r->tiles);
    mgv_tiling_uninit(&r->tiling);
    for (int i = 0; i < NB_NATIVE; i++)
        mgv_freep(&r->native[i].data);
    mgv_freep(&r->clip.data);
    mgv_freep(&r->unknown.data);
    mgv_freep(&r->sum.data);
    mgv_freep(&r->weight.data);
    mgv_freep(&r->steady.data);
    mgv_freep(&r->known.data);
    mgv_freep(&r->write.data);
    mgv_freep(&r->count.data);
    mgv_freep(out);
}

/* ---- sizes ---------------------------------------------------------------- */

static int has_region(const MgvRender *r)
{
    return r->p->task == MAGVIT_TASK_INPAINT || r->p->task == MAGVIT_TASK_OUTPAINT;
}

static size_t area_pixels(const MgvRender *r)
{
    return (size_t)r->tiling.area.w * r->tiling.area.h;
}

static size_t native_pixels(const MgvRender *r)
{
    return (size_t)r->tiling.native.w * r->tiling.native.h;
}

static float *slot_clip(const MgvRender *r, int slot)
{
    return (float *)r->clip.data + r->row[slot] * area_pixels(r) * 3;
}

static float *slot_sum(const MgvRender *r, int slot)
{
    return (float *)r->sum.data + slot * area_pixels(r) * 3;
}

static uint8_t *slot_unknown(const MgvRender *r, int slot)
{
    return (uint8_t *)r->unknown.data + slot * area_pixels(r);
}

static float *native(const MgvRender *r, int which)
{
    return r->native[which].data;
}

/** Picture pixels that one working pixel spans. */
static double span_x(const MgvRender *r) { return (double)r->width / r->tiling.work_w; }
static double span_y(const MgvRender *r) { return (double)r->height / r->tiling.work_h; }

static const MgvPicture *slot_picture(const MgvRender *r, int slot)
{
    return r->fn(r->opaque, r->window.source[slot]);
}

/** Native rectangle of a picture -> its area, at working size. */
static int reduce_area(MgvRender *r, float *area, const float *pixels)
{
    const MgvTiling *t = &r->tiling;
    double sx = span_x(r), sy = span_y(r);

    return mgv_image_resize(r->image, area, t->area.w, t->area.h, pixels, t->native.w, t->native.h,
                            t->area.x * sx - t->native.x, t->area.y * sy - t->native.y,
                            t->area.w * sx, t->area.h * sy);
}

/** Area of a slot that was made -> native rectangle. */
static int enlarge_area(MgvRender *r, float *pixels, const float *area)
{
    const MgvTiling *t = &r->tiling;
    double sx = 1 / span_x(r), sy = 1 / span_y(r);

    return mgv_image_resize(r->image, pixels, t->native.w, t->native.h, area, t->area.w, t->area.h,
                            t->native.x * sx - t->area.x, t->native.y * sy - t->area.y,
                            t->native.w * sx, t->native.h * sy);
}

/** Nearest given slot from one on, in steps; -1 if there is none. */
static int given_slot(const MgvRender *r, int slot, int step)
{
    return mgv_given_slot(r->row, r->window.slots, slot, step);
}

/* ---- regions -------------------------------------------------------------- */

/** Sums of a picture's mask over rectangles from the native origin. */
static int count_mask(MgvRender *r, const MgvPicture *p)
{
    MgvRect n = r->tiling.native;
    int32_t *row;
    int ret;

    RET(mgv_buffer_grow(&r->count, (size_t)(n.h + 1) * (n.w + 1), sizeof(*row)));
    row = r->count.data;
    memset(row, 0, (n.w + 1) * sizeof(*row));
    for (int y = 0; y < n.h; y++, row += n.w + 1) {
        const uint8_t *mask = p->mask + (size_t)(n.y + y) * r->width + n.x;
        int32_t sum = 0;

        row[n.w + 1] = 0;
        for (int x = 0; x < n.w; x++)
            row[n.w + 2 + x] = row[x + 1] + (sum += mask[x]);
    }
    return 0;

fail:
    return ret;
}

/** Is a pixel of [x0,x1) x [y0,y1), native coordinates, masked? */
static int masked(const MgvRender *r, int x0, int y0, int x1, int y1)
{
    MgvRect n = r->tiling.native;
    const int32_t *count = r->count.data, *top, *low;

    x0  = MGV_CLAMP(x0, 0, n.w);
    x1  = MGV_CLAMP(x1, 0, n.w);
    top = count + (size_t)MGV_CLAMP(y0, 0, n.h) * (n.w + 1);
    low = count + (size_t)MGV_CLAMP(y1, 0, n.h) * (n.w + 1);
    return low[x1] - low[x0] - top[x1] + top[x0] > 0;
}

/** Pixels next to a masked one whose colour its chroma sample has entered. */
static int chroma_margin(int shift)
{
    return shift ? (2 << shift) - 1 : 0;
}

/** Working pixels of a slot that the model must make: those whose filter reaches a masked pixel. */
static int mark_hole(MgvRender *r, int slot)
{
    const MagvitFormat *f = &r->p->format;
    const MgvTiling *t = &r->tiling;
    uint8_t *unknown = slot_unknown(r, slot);
    double sx = span_x(r), sy = span_y(r), reach_x = sx > 1 ? sx / 2 : 0, reach_y = sy > 1 ? sy / 2 : 0;
    int mx = chroma_margin(f->chroma_w), my = chroma_margin(f->chroma_h), ret;

    RET(count_mask(r, slot_picture(r, slot)));
    for (int y = 0; y < t->area.h; y++) {
        int y0 = (int)floor((t->area.y + y) * sy - reach_y) - t->native.y - my;
        int y1 = (int)ceil((t->area.y + y + 1) * sy + reach_y) - t->native.y + my;
        for (int x = 0; x < t->area.w; x++) {
            int x0 = (int)floor((t->area.x + x) * sx - reach_x) - t->native.x - mx;
            int x1 = (int)ceil((t->area.x + x + 1) * sx + reach_x) - t->native.x + mx;
            *unknown++ = masked(r, x0, y0, x1, y1);
        }
    }
    return 0;

fail:
    return ret;
}

/** Working pixels that are not wholly inside the input. */
static void mark_border(MgvRender *r, int slot)
{
    const MgvTiling *t = &r->tiling;
    const MgvRect src = slot_picture(r, slot)->src;
    uint8_t *unknown = slot_unknown(r, slot);
    double sx = span_x(r), sy = span_y(r), eps = 1e-6;

    for (int y = t->area.y; y < t->area.y + t->area.h; y++)
        for (int x = t->area.x; x < t->area.x + t->area.w; x++)
            *unknown++ = x * sx < src.x - eps || (x + 1) * sx > src.x + src.w + eps ||
                         y * sy < src.y - eps || (y + 1) * sy > src.y + src.h + eps;
}

static MgvRect join(MgvRect a, MgvRect b)
{
    int x0 = MGV_MIN(a.x, b.x), y0 = MGV_MIN(a.y, b.y);
    int x1 = MGV_MAX(a.x + a.w, b.x + b.w), y1 = MGV_MAX(a.y + a.h, b.y + b.h);

    return !a.w ? b : !b.w ? a : (MgvRect){ x0, y0, x1 - x0, y1 - y0 };
}

/** Bounding box of what a window has to make; empty: nothing. */
static MgvRect window_hole(const MgvRender *r)
{
    MgvRect hole = { 0 }, all = { 0, 0, r->width, r->height };

    if (r->p->task == MAGVIT_TASK_OUTPAINT)
        return r->p->width < r->width || r->p->height < r->height ? all : hole;
    for (int i = 0; i < r->window.slots; i++) {
        if (r->p->task == MAGVIT_TASK_INPAINT)
            hole = join(hole, slot_picture(r, i)->hole);
        else if (r->window.source[i] < 0)
            return all;
    }
    return hole;
}

/** OUTPAINT: bounding box of the places of the input, and the widest border. */
static MgvRect window_src(const MgvRender *r, int *border)
{
    MgvRect src = { 0 };

    *border = 0;
    if (r->p->task != MAGVIT_TASK_OUTPAINT)
        return src;
    for (int i = 0; i < r->window.slots; i++) {
        MgvRect at = slot_picture(r, i)->src;

        src     = join(src, at);
        *border = MGV_MAX(*border, mgv_tiling_border(r->width, r->height, at));
    }
    return src;
}

/* ---- a window ------------------------------------------------------------- */

static int load_slot(MgvRender *r, int slot)
{
    int ret;

    RET(mgv_image_load(r->image, slot_picture(r, slot), r->tiling.native, native(r, GIVEN_A)));
    RET(reduce_area(r, slot_clip(r, slot), native(r, GIVEN_A)));
    if (r->p->task == MAGVIT_TASK_INPAINT)
        RET(mark_hole(r, slot));
    if (r->p->task == MAGVIT_TASK_OUTPAINT)
        mark_border(r, slot);
    return 0;

fail:
    return ret;
}

static int window_buffers(MgvRender *r)
{
    size_t area = area_pixels(r), pixels = native_pixels(r);
    int slots = r->window.slots, given = 0, ret;

    for (int i = 0; i < slots; i++)
        r->row[i] = r->window.source[i] < 0 ? -1 : given++;
    RET(mgv_buffer_grow(&r->clip, given * area, 3 * sizeof(float)));
    RET(mgv_buffer_grow(&r->sum, slots * area, 3 * sizeof(float)));
    RET(mgv_buffer_grow(&r->weight, area, sizeof(float)));
    if (r->p->task == MAGVIT_TASK_INPAINT)
        RET(mgv_buffer_grow(&r->steady, mgv_blend_steady_scratch(r->tiling.area.w, r->tiling.area.h), sizeof(double)));
    if (has_region(r)) {
        RET(mgv_buffer_grow(&r->unknown, slots * area, 1));
        RET(mgv_buffer_grow(&r->known, pixels, 1));
        RET(mgv_buffer_grow(&r->write, pixels, 1));
    }
    for (int i = 0; i < (r->flows ? NB_NATIVE : r->p->task == MAGVIT_TASK_INTERP ? MOVED_A : GIVEN_Z); i++)
        RET(mgv_buffer_grow(&r->native[i], pixels, 3 * sizeof(float)));
    if (pixels > r->blend_pixels || r->tiling.native.w > r->blend_w) {
        mgv_blend_free(&r->blend);
        r->blend_pixels = 0;
        RET(mgv_blend_alloc(&r->blend, r->tiling.native.w, r->tiling.native.h, &r->synth->team));
        r->blend_pixels = pixels;
        r->blend_w = r->tiling.native.w;
    }
    memset(r->sum.data, 0, slots * area * 3 * sizeof(float));
    memset(r->weight.data, 0, area * sizeof(float));
    r->anchor[0] = r->anchor[1] = -1;
    return 0;

fail:
    return ret;
}

/** Does the tile at (tx,ty) of the grid have something to make? */
static int tile_wanted(const MgvRender *r, int tx, int ty)
{
    const MgvTiling *t = &r->tiling;
    int x0 = MGV_MAX(t->x[tx] - t->area.x, 0), x1 = MGV_MIN(t->x[tx] - t->area.x + t->tile_w, t->area.w);
    int y0 = MGV_MAX(t->y[ty] - t->area.y, 0), y1 = MGV_MIN(t->y[ty] - t->area.y + t->tile_h, t->area.h);

    if (!has_region(r))
        return 1;
    for (int i = 0; i < r->window.slots; i++)
        for (int y = y0; y < y1; y++)
            if (memchr(slot_unknown(r, i) + (size_t)y * t->area.w + x0, 1, x1 - x0))
                return 1;
    return 0;
}

/** Slot of the area -> frame of the condition. Pixels outside of it repeat its edge. */
static void cut_tile(const MgvRender *r, const MgvTile *tile, int slot)
{
    const MgvTiling *t = &r->tiling;
    size_t frame = (size_t)t->tile_w * t->tile_h;
    float *clip = tile->cond->clip + slot * frame * 3;
    uint8_t *known = tile->cond->known + slot * frame;

    if (r->row[slot] < 0) {
        memset(known, 0, frame);
        return;
    }
    for (int y = 0; y < t->tile_h; y++)
        for (int x = 0; x < t->tile_w; x++, clip += 3) {
            size_t at = (size_t)MGV_CLAMP(tile->y + y, 0, t->area.h - 1) * t->area.w +
                        MGV_CLAMP(tile->x + x, 0, t->area.w - 1);

            memcpy(clip, slot_clip(r, slot) + at * 3, 3 * sizeof(*clip));
            *known++ = !has_region(r) || !slot_unknown(r, slot)[at];
        }
}

static int any_given(const MgvRender *r)
{
    for (int i = 0; i < r->window.slots; i++)
        if (r->row[i] >= 0)
            return 1;
    return 0;
}

/** Outpainting goes on from a tile: shift what it made to fit its condition, which it keeps. */
static void fit_to_condition(MgvRender *r, const MgvTile *tile)
{
    const MgvTiling *t = &r->tiling;
    size_t frame = (size_t)t->tile_w * t->tile_h;

    for (int i = 0; i < r->window.slots; i++)
        mgv_blend_hole(r->tile_blend, tile->out + i * frame * 3, tile->cond->clip + i * frame * 3,
                       tile->cond->known + i * frame, t->tile_w, t->tile_h);
}

/** What the tile at (x0,y0) of the area made is given for the tiles after it. */
static void absorb_tile(MgvRender *r, int x0, int y0)
{
    const MgvTiling *t = &r->tiling;
    int x1 = MGV_MIN(x0 + t->tile_w, t->area.w), y1 = MGV_MIN(y0 + t->tile_h, t->area.h);
    const float *weight = r->weight.data;

    for (int i = 0; i < r->window.slots; i++)
        for (int y = MGV_MAX(y0, 0); y < y1; y++)
            for (int x = MGV_MAX(x0, 0); x < x1; x++) {
                size_t at = (size_t)y * t->area.w + x;

                if (!slot_unknown(r, i)[at])
                    continue;
                for (int c = 0; c < 3; c++)
                    slot_clip(r, i)[at * 3 + c] = slot_sum(r, i)[at * 3 + c] / weight[at];
                slot_unknown(r, i)[at] = 0;
            }
}

/** The next tile in order that has something to make becomes a job. */
static int put_tile(void *opaque, MgvTile *tile, MgvJob *job)
{
    static const enum MgvFill fill[MAGVIT_TASK_NB] = {
        MGV_FILL_TIME, MGV_FILL_TIME, MGV_FILL_ZERO, MGV_FILL_EDGE, MGV_FILL_TIME
    };
    MgvRender *r = opaque;
    const MgvTiling *t = &r->tiling;
    const int nb = t->nb_x * t->nb_y;
    int at;

    while (r->next < nb && !tile_wanted(r, t->order[r->next] % t->nb_x, t->order[r->next] / t->nb_x))
        r->next++;
    if (r->next == nb)
        return 0;
    at = t->order[r->next++];
    tile->x = t->x[at % t->nb_x] - t->area.x;
    tile->y = t->y[at / t->nb_x] - t->area.y;
    job->progress = r->progress;
    job->owner    = r;
    job->word = (uint32_t)((uint64_t)r->window.index * nb + at);
    if (!any_given(r))
        return 1;
    for (int i = 0; i < r->window.slots; i++)
        cut_tile(r, tile, i);
    mgv_cond_build(tile->cond, r->p->moving ? MGV_FILL_ZERO : fill[r->p->task]); // as the model was trained
    for (int i = 0; r->flows && i < r->window.slots; i++)
        mgv_flows_between(r->flows, tile->cond->clip + (size_t)i * t->tile_w * t->tile_h * 3,
                          (MgvRect){ tile->x, tile->y, t->tile_w, t->tile_h }, i);
    job->clip   = tile->cond->clip;
    job->known  = tile->cond->known;
    job->latent = tile->cond->cells;
    return 1;
}

/** What a tile made goes into the sums. */
static void take_tile(void *opaque, const MgvTile *tile)
{
    MgvRender *r = opaque;
    const MgvTiling *t = &r->tiling;

    if (r->p->task == MAGVIT_TASK_OUTPAINT)
        fit_to_condition(r, tile);
    for (int i = 0; i < r->window.slots; i++)
        mgv_blend_add(slot_sum(r, i), i ? NULL : r->weight.data, t->area.w, t->area.h,
                      tile->out + (size_t)i * t->tile_w * t->tile_h * 3, t->tile_w, t->tile_h, tile->x, tile->y,
                      r->p->tile_overlap);
    if (r->p->task == MAGVIT_TASK_OUTPAINT)
        absorb_tile(r, tile->x, tile->y);
}

/** Divide by the weights; what no tile covers is as given, so that resampling meets no step. */
static void finish_slots(MgvRender *r)
{
    const float *weight = r->weight.data;

    for (int i = 0; i < r->window.slots; i++) {
        float *sum = slot_sum(r, i);

        mgv_blend_finish(sum, weight, area_pixels(r));
        for (size_t k = 0; r->row[i] >= 0 && k < area_pixels(r); k++)
            if (!(weight[k] > 0))
                memcpy(sum + k * 3, slot_clip(r, i) + k * 3, 3 * sizeof(*sum));
    }
}

/** Holes of one window are evened out in time; their borders are closed before, as each frame's step is another. */
static void steady_slots(MgvRender *r)
{
    const int w = r->tiling.area.w, h = r->tiling.area.h;
    const float *weight = r->weight.data;
    uint8_t *known = r->known.data;

    for (int i = 0; i < r->window.slots; i++) { // all are given
        for (size_t k = 0; k < area_pixels(r); k++)
            known[k] = slot_unknown(r, i)[k] ? 0 : weight[k] > 0 ? 1 : 2;
        mgv_blend_hole(r->blend, slot_sum(r, i), slot_clip(r, i), known, w, h);
    }
    mgv_blend_steady(r->sum.data, r->clip.data, r->unknown.data, r->window.slots, w, h, r->steady.data, &r->synth->team);
}

int mgv_render_begin(MgvRender *r, const MgvWindow *w, MgvProgress *progress)
{
    MgvTiling *t = &r->tiling;
    MgvRect hole, src;
    int border, ret;

    r->window   = *w;
    r->progress = progress;
    r->begun    = mgv_time();
    hole = window_hole(r);
    if (!hole.w)
        return 0;
    mgv_tiling_uninit(t);
    src = window_src(r, &border);
    RET(mgv_tiling_init(t, r->p, r->synth->window, r->width, r->height, hole, src, border));
    RET(window_buffers(r));
    for (int i = 0; i < w->slots; i++)
        if (w->source[i] >= 0)
            RET(load_slot(r, i));
    if (r->flows)
        RET(mgv_flows_find(r->flows, r->clip.data, r->row, w->slots, t->area.w, t->area.h));
    r->next = r->wanted = 0;
    for (int i = 0; i < t->nb_x * t->nb_y; i++)
        r->wanted += tile_wanted(r, i % t->nb_x, i / t->nb_x);
    RET(mgv_tiles_begin(r->tiles, r->wanted, put_tile, take_tile, r));
    return 1;

fail:
    return ret;
}

void mgv_render_go_on(MgvRender *r)
{
    while (mgv_tiles_go_on(r->tiles) > 0)
        ;
}

int mgv_render_end(MgvRender *r, MgvMeanwhileFn *fn, void *opaque)
{
    MgvTiling *t = &r->tiling;
    MgvProgress *progress = r->progress;
    int tiles, ret;

    progress->start = progress->told = mgv_time();
    progress->owner = r;
    atomic_store(&progress->done, mgv_tiles_made(r->tiles) * r->synth->steps);
    atomic_store(&progress->total, r->wanted * r->synth->steps);
    do {
        if (!mgv_tiles_failed(r->tiles))
            fn(opaque, mgv_tiles_all_put(r->tiles));
        RET(mgv_tiles_step(r->tiles));
    } while (ret);
    tiles = mgv_tiles_made(r->tiles); // less than wanted, if some made what others were wanted for
    atomic_store(&progress->total, tiles * r->synth->steps);
    finish_slots(r);
    if (r->p->task == MAGVIT_TASK_INPAINT)
        steady_slots(r);
    mgv_verbose(r->synth->log, "window %lld: %d of %d tiles, scale %.3f, %.2f s", (long long)r->window.index, tiles,
                t->nb_x * t->nb_y, (double)t->work_w / r->width, mgv_time() - r->begun);
    return 1;

fail:
    return ret;
}

void mgv_render_drop(MgvRender *r)
{
    mgv_tiles_drop(r->tiles);
}

/* ---- output pictures ------------------------------------------------------ */

/** Radius, in picture pixels, of what counts as low-pass: 8 pixels of the working picture. */
static int low_radius(const MgvRender *r)
{
    return (int)lrint(8 * MGV_MAX(span_x(r), 1));
}

/** Given and made pixels of a slot, unless they are there from before. */
static int load_anchor(MgvRender *r, int side, int slot, MgvAnchor *a)
{
    int given = side ? GIVEN_Z : GIVEN_A, made = side ? MADE_Z : MADE_A, ret;

    *a = (MgvAnchor){ native(r, given), native(r, made) };
    if (r->anchor[side] == slot)
        return 0;
    r->anchor[side] = -1;
    RET(mgv_image_load(r->image, slot_picture(r, slot), r->tiling.native, native(r, given)));
    RET(enlarge_area(r, native(r, made), slot_sum(r, slot)));
    r->anchor[side] = slot;
    return 0;

fail:
    return ret;
}

static void clip_values(float *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] = MGV_CLAMP(v[i], 0, 1);
}

/** Where the given frames agree, moved to where things are by then, they are shown at their full resolution. */
static int show_moved(MgvRender *r, int slot, double phi)
{
    const MgvTiling *t = &r->tiling;
    const double sx = 1 / span_x(r), sy = 1 / span_y(r);
    const MgvView view = { t->native.w, t->native.h, t->native.x * sx - t->area.x, t->native.y * sy - t->area.y, sx, sy };
    const float *const given[] = { native(r, GIVEN_A), native(r, GIVEN_Z) };
    float *moved[] = { native(r, MOVED_A), native(r, MOVED_Z) };
    const int ret = mgv_flows_move(r->flows, moved, given, &view, slot);

    if (ret > 0)
        mgv_blend_moved(r->blend, native(r, MADE), moved[0], moved[1], phi, low_radius(r), view.w, view.h);
    return ret;
}

/** A frame of its own between or after given ones. */
static int render_frame(MgvRender *r, int slot, MgvPicture *dst)
{
    int a = given_slot(r, slot, -1), z = r->p->task == MAGVIT_TASK_INTERP ? given_slot(r, slot, 1) : -1, ret;
    MgvRect n = r->tiling.native;
    double phi = z >= 0 ? (double)(slot - a) / (z - a) : 0;
    MgvAnchor at_a, at_z;

    RET(enlarge_area(r, native(r, MADE), slot_sum(r, slot)));
    if (a >= 0)
        RET(load_anchor(r, 0, a, &at_a));
    if (z >= 0)
        RET(load_anchor(r, 1, z, &at_z));
    if (a >= 0)
        mgv_blend_time(r->blend, native(r, MADE), &at_a, z >= 0 ? &at_z : NULL, phi, low_radius(r), n.w, n.h);
    else
        clip_values(native(r, MADE), native_pixels(r) * 3);
    if (r->flows)
        RET(show_moved(r, slot, phi));
    if (dst->format.alpha && z >= 0)
        mgv_picture_mix(dst, slot_picture(r, z), phi, 1);
    return mgv_image_store(r->image, dst, n, native(r, MADE), NULL, 0);

fail:
    return ret;
}

/** Samples of a hole to write, exactly, and what the model was told of the pixels. */
static int mark_native_hole(MgvRender *r, int slot)
{
    const MagvitFormat *f = &r->p->format;
    const MgvPicture *p = slot_picture(r, slot);
    int mx = chroma_margin(f->chroma_w), my = chroma_margin(f->chroma_h), ret;
    uint8_t *known = r->known.data, *write = r->write.data;
    MgvRect n = r->tiling.native;

    RET(count_mask(r, p));
    for (int y = 0; y < n.h; y++)
        for (int x = 0; x < n.w; x++) {
            *known++ = !masked(r, x - mx, y - my, x + 1 + mx, y + 1 + my);
            *write++ = p->mask[(size_t)(n.y + y) * r->width + n.x + x];
        }
    return 0;

fail:
    return ret;
}

static void mark_native_border(MgvRender *r, int slot)
{
    uint8_t *known = r->known.data, *write = r->write.data;
    MgvRect n = r->tiling.native, s = slot_picture(r, slot)->src;

    for (int y = n.y; y < n.y + n.h; y++)
        for (int x = n.x; x < n.x + n.w; x++) {
            *known = x >= s.x && x < s.x + s.w && y >= s.y && y < s.y + s.h;
            *write++ = !*known++;
        }
}

/** Given pixels that no tile covers say nothing of the model's error. */
static void mark_uncovered(MgvRender *r)
{
    const MgvTiling *t = &r->tiling;
    const float *weight = r->weight.data;
    uint8_t *known = r->known.data;
    double sx = 1 / span_x(r), sy = 1 / span_y(r);

    for (int y = 0; y < t->native.h; y++) {
        int wy = MGV_CLAMP((int)((t->native.y + y + 0.5) * sy) - t->area.y, 0, t->area.h - 1);
        for (int x = 0; x < t->native.w; x++, known++) {
            int wx = MGV_CLAMP((int)((t->native.x + x + 0.5) * sx) - t->area.x, 0, t->area.w - 1);
            if (*known && !(weight[(size_t)wy * t->area.w + wx] > 0))
                *known = 2;
        }
    }
}

/** The unknown part of a frame. */
static int render_region(MgvRender *r, int slot, MgvPicture *dst)
{
    MgvRect n = r->tiling.native;
    int ret;

    if (r->p->task == MAGVIT_TASK_INPAINT)
        RET(mark_native_hole(r, slot));
    else
        mark_native_border(r, slot);
    mark_uncovered(r);
    RET(mgv_image_load(r->image, slot_picture(r, slot), n, native(r, GIVEN_A)));
    RET(enlarge_area(r, native(r, MADE), slot_sum(r, slot)));
    mgv_blend_hole(r->blend, native(r, MADE), native(r, GIVEN_A), r->known.data, n.w, n.h);
    return mgv_image_store(r->image, dst, n, native(r, MADE), r->write.data, r->p->task == MAGVIT_TASK_OUTPAINT);

fail:
    return ret;
}

int mgv_render_slot(MgvRender *r, int slot, MgvPicture *dst)
{
    mgv_assert(slot >= 0 && slot < r->window.slots);
    return has_region(r) ? render_region(r, slot, dst) : render_frame(r, slot, dst);
}
