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
};

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

/** The next tiles. @return their number */
static int put(List *l, int most, MgvPutTileFn *fn, void *opaque)
{
    for (l->nb = 0; l->nb < most; l->nb++) {
        l->jobs[l->nb] = (MgvJob){ .out = l->tiles[l->nb].out };
        if (!fn(opaque, &l->tiles[l->nb], &l->jobs[l->nb]))
            break;
    }
    return l->nb;
}

static int start(const MgvSynth *s, List *l)
{
    int ret = s->start ? s->start(s->opaque, l->jobs, l->nb) : s->run(s->opaque, l->jobs);

    if (ret < 0)
        l->nb = 0;
    return ret;
}

/** Wait for a list that was started, if it has tiles. */
static int finish(const MgvSynth *s, List *l, MgvTakeTileFn *fn, void *opaque)
{
    const int nb = l->nb;
    int ret = 0;

    l->nb = 0;
    if (nb && s->start)
        RET(s->finish(s->opaque, l->jobs, nb));
    for (int i = 0; i < nb; i++)
        fn(opaque, &l->tiles[i]);
fail:
    return ret;
}

int mgv_tiles_run(MgvTiles *t, int wanted, MgvPutTileFn *put_fn, MgvTakeTileFn *take_fn, void *opaque)
{
    const int lists = (wanted + t->batch - 1) / t->batch, most = wanted ? (wanted + lists - 1) / lists : 0;
    List list[] = { { t->tiles, t->jobs, 0 }, { t->tiles + t->nb - t->batch, t->jobs + t->nb - t->batch, 0 } };
    int next = 0, tiles = 0, ret = 0;

    while (put(&list[next], most, put_fn, opaque)) {
        tiles += list[next].nb;
        RET(start(t->synth, &list[next]));
        if (t->ahead)
            next = !next;
        RET(finish(t->synth, &list[next], take_fn, opaque));
    }
    RET(finish(t->synth, &list[!next], take_fn, opaque));
    ret = tiles;
fail:
    for (int i = 0; i < 2; i++)
        if (list[i].nb && t->synth->start)
            t->synth->finish(t->synth->opaque, NULL, 0);
    return ret;
}
