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
 * The tiles of a window on their way through the model: each is a job in the
 * session's queue, and its memory is that of a tile which was taken before.
 */

#include <errno.h>
#include <limits.h>

#include "libmagvit/video.h"

#define PROGRESS_SECONDS 5 ///< between lines about a window that takes long

struct MgvTiles {
    const MgvSynth *synth;
    MgvQueue *queue;
    MgvTile *tiles;  ///< [room], whose memory is taken when they are first used
    MgvJob *jobs;    ///< [room]
    int room;        ///< tiles that may be on their way
    int sequential;  ///< each needs what those before it made
    int together;    ///< windows whose tiles fill a list
    int wanted;      ///< of this window, at most
    int put, taken;  ///< so far
    int all;         ///< no more are to be put
    int failed;      ///< error that no more can be put for
    MgvPutTileFn *put_tile;
    MgvTakeTileFn *take_tile;
    void *opaque;
};

int mgv_progress_due(MgvProgress *p, double now)
{
    int due = now - p->told >= PROGRESS_SECONDS;

    if (due)
        p->told = now;
    return due;
}

/** Outpainting needs what each tile made for the next. */
static int is_sequential(const MgvSynth *s, const MagvitParams *p)
{
    return !s->start || p->task == MAGVIT_TASK_OUTPAINT;
}

int mgv_tiles_room(const MgvSynth *s, const MagvitParams *p, int tiles)
{
    return is_sequential(s, p) ? 1 : MGV_MIN(MGV_STARTED * s->batch, tiles);
}

int mgv_tiles_alloc(MgvTiles **out, MgvQueue *queue, const MgvSynth *synth, const MagvitParams *p)
{
    MgvTiles *t = *out = mgv_calloc(1, sizeof(*t));

    if (!t)
        return MAGVIT_ERR(ENOMEM);
    t->synth      = synth;
    t->queue      = queue;
    t->sequential = is_sequential(synth, p);
    t->together   = (p->ahead + 2) / 2; // so that one list is made while the next fills
    t->room       = mgv_tiles_room(synth, p, INT_MAX);
    t->tiles      = mgv_calloc(t->room, sizeof(*t->tiles));
    t->jobs       = mgv_calloc(t->room, sizeof(*t->jobs));
    if (t->tiles && t->jobs)
        return 0;
    mgv_tiles_free(out);
    return MAGVIT_ERR(ENOMEM);
}

void mgv_tiles_free(MgvTiles **out)
{
    MgvTiles *t = *out;

    if (!t)
        return;
    for (int i = 0; t->tiles && i < t->room; i++) {
        mgv_cond_free(&t->tiles[i].cond);
        mgv_freep(&t->tiles[i].out);
    }
    mgv_freep(&t->tiles);
    mgv_freep(&t->jobs);
    mgv_freep(out);
}

static int alloc_tile(const MgvTiles *t, MgvTile *tile)
{
    const int *n = t->synth->window;
    int ret = 0;

    if (!tile->cond)
        RET(mgv_cond_alloc(&tile->cond, n, t->synth->latent));
    if (!tile->out && !(tile->out = mgv_calloc((size_t)n[0] * n[1] * n[2], 3 * sizeof(float))))
        RET(MAGVIT_ERR(ENOMEM));
fail:
    return ret;
}

/** Put tiles as long as there is room. */
static int fill(MgvTiles *t)
{
    int ret = 0;

    while (!t->all && t->put - t->taken < t->room) {
        MgvTile *tile = &t->tiles[t->put % t->room];
        MgvJob *job = &t->jobs[t->put % t->room];

        RET(alloc_tile(t, tile));
        *job = (MgvJob){ .out = tile->out };
        if (!t->put_tile(t->opaque, tile, job)) {
            t->all = 1;
            break;
        }
        t->all = ++t->put == t->wanted;
        mgv_queue_put(t->queue, job);
    }
fail:
    return t->failed = ret;
}

/** Lists of one length, as many as it takes. */
static int list_length(const MgvTiles *t)
{
    const int tiles = MGV_MAX((t->sequential ? 1 : t->wanted) * t->together, 1);
    const int batch = t->synth->start ? t->synth->batch : 1, lists = (tiles + batch - 1) / batch;

    return (tiles + lists - 1) / lists;
}

int mgv_tiles_begin(MgvTiles *t, int wanted, MgvPutTileFn *put, MgvTakeTileFn *take, void *opaque)
{
    t->wanted    = wanted;
    t->put       = t->taken = t->all = t->failed = 0;
    t->put_tile  = put;
    t->take_tile = take;
    t->opaque    = opaque;
    mgv_queue_set_most(t->queue, list_length(t));
    return fill(t);
}

/** The oldest job that is not taken; NULL: there is none. */
static MgvJob *oldest(const MgvTiles *t)
{
    return t->taken < t->put ? &t->jobs[t->taken % t->room] : NULL;
}

int mgv_tiles_step(MgvTiles *t)
{
    int ret;

    if (t->failed || !oldest(t))
        return t->failed;
    RET(mgv_queue_wait(t->queue, oldest(t)));
    t->take_tile(t->opaque, &t->tiles[t->taken++ % t->room]);
    RET(fill(t));
    return 1;

fail:
    return ret;
}

int mgv_tiles_go_on(MgvTiles *t)
{
    const MgvJob *job = oldest(t);

    return t->sequential && job && !job->ret ? mgv_tiles_step(t) : 0;
}

int mgv_tiles_all_put(const MgvTiles *t)
{
    return t->all || t->sequential;
}

int mgv_tiles_failed(const MgvTiles *t)
{
    const MgvJob *job = oldest(t);

    return t->failed || (job && job->ret < 0);
}

int mgv_tiles_made(const MgvTiles *t)
{
    int made = t->taken;

    for (int i = t->taken; i < t->put; i++)
        made += !t->jobs[i % t->room].ret;
    return made;
}

void mgv_tiles_drop(MgvTiles *t)
{
    for (; oldest(t); t->taken++)
        mgv_queue_wait(t->queue, oldest(t));
}
