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
 * The tiles of a window on their way through the model: one after another, or
 * where the model takes several, in lists, the next of which begins while one
 * is being computed. What comes out does not depend on it.
 */

#include <errno.h>

#include "libmagvit/video.h"

#define PROGRESS_SECONDS 5 ///< between lines about a window that takes long

/** Tiles that go together. */
typedef struct List {
    MgvTile *tiles; ///< [batch]
    MgvJob *jobs;
    int nb;
} List;

struct MgvTiles {
    const MgvSynth *synth;
    MgvTile *tiles;
    MgvJob *jobs;
    int nb;       ///< of both
    int batch;    ///< in a list, at most
    int ahead;    ///< 1: two lists may be on their way

    List list[2]; ///< those with tiles are on their way
    int next;     ///< list that comes next
    int most;     ///< tiles in a list of this window
    int done;     ///< tiles that were started
    MgvPutTileFn *put;
    MgvTakeTileFn *take;
    void *opaque;
};

int mgv_progress_due(MgvProgress *p, double now)
{
    int due = now - p->told >= PROGRESS_SECONDS;

    if (due)
        p->told = now;
    return due;
}

/** Tiles of a list, and if lists overlap. Outpainting needs what each tile made for the next. */
static int list_length(const MgvSynth *s, const MagvitParams *p, int *ahead)
{
    *ahead = s->start && p->task != MAGVIT_TASK_OUTPAINT;
    return *ahead ? s->batch : 1;
}

int mgv_tiles_count(const MgvSynth *s, const MagvitParams *p)
{
    int ahead, n = list_length(s, p, &ahead);

    return ahead ? MGV_STARTED * n : n;
}

int mgv_tiles_alloc(MgvTiles **out, const MgvSynth *synth, const MagvitParams *p)
{
    const int *n = synth->window;
    MgvTiles *t = *out = mgv_calloc(1, sizeof(*t));
    int ret;

    if (!t)
        return MAGVIT_ERR(ENOMEM);
    t->synth = synth;
    t->batch = list_length(synth, p, &t->ahead);
    t->nb    = mgv_tiles_count(synth, p);
    t->tiles = mgv_calloc(t->nb, sizeof(*t->tiles));
    t->jobs  = mgv_calloc(t->nb, sizeof(*t->jobs));
    if (!t->tiles || !t->jobs)
        RET(MAGVIT_ERR(ENOMEM));
    for (int i = 0; i < t->nb; i++) {
        RET(mgv_cond_alloc(&t->tiles[i].cond, n, synth->latent));
        if (!(t->tiles[i].out = mgv_calloc((size_t)n[0] * n[1] * n[2], 3 * sizeof(float))))
            RET(MAGVIT_ERR(ENOMEM));
    }
    return 0;

fail:
    mgv_tiles_free(out);
    return ret;
}

void mgv_tiles_free(MgvTiles **out)
{
    MgvTiles *t = *out;

    if (!t)
        return;
    for (int i = 0; t->tiles && i < t->nb; i++) {
        mgv_cond_free(&t->tiles[i].cond);
        mgv_freep(&t->tiles[i].out);
    }
    mgv_freep(&t->tiles);
    mgv_freep(&t->jobs);
    mgv_freep(out);
}

/** Start the next tiles. @return their number, 0 if there are none, or an error */
static int start_list(MgvTiles *t)
{
    const MgvSynth *s = t->synth;
    List *l = &t->list[t->next];
    int n = 0, ret;

    for (; n < t->most; n++) {
        l->jobs[n] = (MgvJob){ .out = l->tiles[n].out };
        if (!t->put(t->opaque, &l->tiles[n], &l->jobs[n]))
            break;
    }
    if (!n)
        return 0;
    RET(s->start ? s->start(s->opaque, l->jobs, n) : s->run(s->opaque, l->jobs));
    l->nb = n;
    t->done += n;
    if (t->ahead)
        t->next = !t->next;
    return n;

fail:
    return ret;
}

/** Wait for a list, if it is on its way. */
static int finish_list(MgvTiles *t, List *l)
{
    const int nb = l->nb;
    int ret = 0;

    l->nb = 0;
    if (nb && t->synth->start)
        RET(t->synth->finish(t->synth->opaque, l->jobs, nb));
    for (int i = 0; i < nb; i++)
        t->take(t->opaque, &l->tiles[i]);
fail:
    return ret;
}

int mgv_tiles_begin(MgvTiles *t, int wanted, MgvPutTileFn *put, MgvTakeTileFn *take, void *opaque)
{
    const int lists = (wanted + t->batch - 1) / t->batch, behind = t->nb - t->batch;
    int ret = 0;

    t->list[0] = (List){ t->tiles, t->jobs, 0 };
    t->list[1] = (List){ t->tiles + behind, t->jobs + behind, 0 };
    t->next    = 0;
    t->most    = wanted ? (wanted + lists - 1) / lists : 0;
    t->done    = 0;
    t->put     = put;
    t->take    = take;
    t->opaque  = opaque;
    if (t->synth->start)
        RET(start_list(t));
    ret = 0;
fail:
    return ret;
}

int mgv_tiles_end(MgvTiles *t)
{
    int ret;

    RET(finish_list(t, &t->list[t->next])); // one that began, if only one may be on its way
    while ((ret = start_list(t)) > 0)
        RET(finish_list(t, &t->list[t->next]));
    RET(ret);
    RET(finish_list(t, &t->list[!t->next]));
    return t->done;

fail:
    mgv_tiles_drop(t);
    return ret;
}

void mgv_tiles_drop(MgvTiles *t)
{
    for (int i = 0; i < 2; i++) {
        if (t->list[i].nb && t->synth->start)
            t->synth->finish(t->synth->opaque, NULL, 0);
        t->list[i].nb = 0;
    }
}
