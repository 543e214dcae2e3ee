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
 * Which frames a window of a session waits for and shows, and the windows after
 * the current one: MagvitParams.ahead of them begin as soon as their frames are
 * there, so that their tiles fill the device together, and are computed while
 * frames of this one are converted and received. What has begun is used only if
 * it turns out to be the window that is needed.
 */

#include <errno.h>

#include "libmagvit/session.h"

int64_t mgv_session_window_end(const MagvitSession *s, int64_t window)
{
    switch (s->p.task) {
    case MAGVIT_TASK_INTERP:
        return (window + 1) * mgv_window_gaps(s->synth.window[0], s->timeline.factor);
    case MAGVIT_TASK_INPAINT:
    case MAGVIT_TASK_OUTPAINT:
        return window * (s->synth.window[0] - s->p.overlap) + s->synth.window[0] - 1;
    default:
        return s->current;
    }
}

int mgv_session_ready(MagvitSession *s)
{
    MgvFrames f = mgv_session_frames(s);
    MgvRepair plan;

    if (s->p.repair && !s->eof)
        return s->end - s->current > 1 && mgv_repair_plan(&plan, s->synth.window[0], s->current, &f) >= 0;
    return s->eof || s->sent > mgv_session_window_end(s, s->window + s->p.ahead);
}

void mgv_session_place(MagvitSession *s, MgvWindow *w, int64_t window, int64_t at)
{
    const int slots = s->synth.window[0];
    MgvFrames f = mgv_session_frames(s);

    switch (s->p.task) {
    case MAGVIT_TASK_INTERP:
        mgv_scene(&f, at);
        if (s->p.repair)
            mgv_window_replace(w, slots, window, &f);
        else
            mgv_window_interp(w, slots, s->timeline.factor, window, f.first, f.last);
        break;
    case MAGVIT_TASK_INPAINT:
    case MAGVIT_TASK_OUTPAINT:
        mgv_window_repair(w, slots, s->p.overlap, window, s->first, s->end - 1);
        break;
    default: // s->slot went past the first frame to be made
        mgv_window_continue(w, slots, s->slot - 1, window, s->end);
    }
}

/* ---- how many ---- */

static int may_begin(const MagvitParams *p, const MgvSynth *s)
{
    return s->start && !p->repair && (p->task == MAGVIT_TASK_INTERP || p->task == MAGVIT_TASK_INPAINT ||
                                      p->task == MAGVIT_TASK_OUTPAINT);
}

int mgv_session_choose_ahead(MagvitSession *s)
{
    MagvitParams *p = &s->p;
    MagvitMemory need;
    int tiles = 1, ret;

    if (!may_begin(p, &s->synth))
        p->ahead = 0;
    if (p->ahead >= 0)
        return 0;
    if (p->task != MAGVIT_TASK_OUTPAINT) // whose tiles come one by one
        RET(mgv_memory_tiles(p, &s->synth, &s->output, s->src, &tiles));
    /* two lists are full: one is computed while the next fills */
    p->ahead = MGV_CLAMP((MGV_STARTED * s->synth.batch + tiles - 1) / tiles - 1, 1, MGV_AUTO_AHEAD);
    for (; p->max_memory && p->ahead; p->ahead--) {
        RET(mgv_memory_need(&need, p, &s->synth, &s->output, s->src, mgv_session_ring(s)));
        if (need.total <= p->max_memory)
            break;
    }
    return 0;

fail:
    return ret;
}

int mgv_session_ring(const MagvitSession *s)
{
    return s->synth.window[0] * (s->p.repair ? 3 : 1 + s->p.ahead) + 1;
}

static int alloc_render(MagvitSession *s, MgvRender **r)
{
    return mgv_render_alloc(r, s->queue, &s->synth, &s->p, s->output.width, s->output.height, mgv_session_picture, s);
}

int mgv_session_alloc_windows(MagvitSession *s)
{
    int ret;

    RET(mgv_queue_alloc(&s->queue, &s->synth));
    RET(alloc_render(s, &s->render));
    if (s->p.ahead && !(s->begun = mgv_calloc(s->p.ahead, sizeof(*s->begun))))
        RET(MAGVIT_ERR(ENOMEM));
    for (int i = 0; i < s->p.ahead; i++)
        RET(alloc_render(s, &s->begun[i].render));
fail:
    return ret;
}

void mgv_session_free_windows(MagvitSession *s)
{
    if (s->queue)
        mgv_session_drop_next(s);
    mgv_render_free(&s->render);
    for (int i = 0; s->begun && i < s->p.ahead; i++)
        mgv_render_free(&s->begun[i].render);
    mgv_freep(&s->begun);
    mgv_queue_free(&s->queue);
}

/* ---- which begin ---- */

/** INTERP: the first gap after the one from frame at on that is to be filled in another window or scene; -1: none. */
static int64_t next_gap(const MagvitSession *s, int64_t at)
{
    const int gaps = mgv_window_gaps(s->synth.window[0], s->timeline.factor);
    int other = 0;

    for (int64_t i = at + 1; i + 1 < s->end; i++) {
        const MgvPicture *next = mgv_session_frame(s, i + 1);

        other |= i % gaps == 0 || mgv_session_frame(s, i)->cut;
        if (other && !next->cut && !next->same)
            return i;
    }
    return -1;
}

/** What follows a window, and its part from frame at on. @return 0: nothing does, or its frames are not there yet */
static int next_part(const MagvitSession *s, int64_t *window, int64_t *at)
{
    const int slots = s->synth.window[0], hop = slots - s->p.overlap;

    if (s->p.task == MAGVIT_TASK_INTERP) {
        *at     = next_gap(s, *at);
        *window = *at / mgv_window_gaps(slots, s->timeline.factor);
    } else {
        *at     = s->end > mgv_session_window_end(s, *window) && (*window + 1) * hop < s->end ? (*window + 1) * hop : -1;
        *window = *window + 1;
    }
    return *at >= 0 && *window <= s->window + s->p.ahead &&
           (s->eof || s->sent > mgv_session_window_end(s, *window));
}

void mgv_session_begin_next(MagvitSession *s)
{
    const MgvBegun *last = s->nb_begun ? &s->begun[s->nb_begun - 1] : NULL;
    int64_t window = last ? last->number : s->window, at = last ? last->at : s->back.current;

    while (s->nb_begun < s->p.ahead && next_part(s, &window, &at)) {
        MgvBegun *b = &s->begun[s->nb_begun++];

        b->number = window;
        b->at     = at;
        mgv_session_place(s, &b->window, window, at);
        b->ret = mgv_render_begin(b->render, &b->window, &s->progress);
    }
}

void mgv_session_drop_next(MagvitSession *s)
{
    mgv_queue_drop(s->queue);
    s->nb_begun = 0;
}

/* ---- the current one ---- */

static int same_window(const MgvWindow *a, const MgvWindow *b)
{
    int same = a->index == b->index && a->slots == b->slots;

    for (int i = 0; i < a->slots && same; i++)
        same = a->source[i] == b->source[i];
    return same;
}

/** The window that is asked for, among those that have begun; -1: it has not. */
static int find_begun(const MagvitSession *s, const MgvWindow *w)
{
    for (int i = 0; i < s->nb_begun; i++)
        if (same_window(w, &s->begun[i].window))
            return i;
    return -1;
}

/** The first of the windows that have begun is none of them any more; its place is free, with the renderer given. */
static MgvBegun take_first(MagvitSession *s, MgvRender *render)
{
    const MgvBegun first = s->begun[0];

    s->nb_begun--;
    for (int i = 0; i < s->nb_begun; i++)
        s->begun[i] = s->begun[i + 1];
    s->begun[s->nb_begun].render = render;
    return first;
}

/** The current window has begun by now: s->render is its renderer. @return as mgv_render_begin() */
static int begin_current(MagvitSession *s, const MgvWindow *w)
{
    const int at = find_begun(s, w);
    MgvBegun b;

    if (at < 0) {
        mgv_session_drop_next(s);
        return mgv_render_begin(s->render, w, &s->progress);
    }
    for (int i = 0; i < at; i++) { // nobody asked for them
        b = take_first(s, s->begun[0].render);
        if (b.ret > 0)
            mgv_render_drop(b.render);
    }
    b = take_first(s, s->render);
    s->render = b.render;
    return b.ret;
}

/** Others begin when nothing more of the current window can. */
static void meanwhile(void *opaque, int all_put)
{
    MagvitSession *s = opaque;

    for (int i = 0; i < s->nb_begun; i++)
        if (s->begun[i].ret > 0)
            mgv_render_go_on(s->begun[i].render);
    if (all_put)
        mgv_session_begin_next(s);
}

int mgv_session_render(MagvitSession *s, const MgvWindow *w)
{
    int ret;

    RET(begin_current(s, w));
    if (ret > 0)
        RET(mgv_render_end(s->render, meanwhile, s));
    return ret;

fail:
    mgv_session_drop_next(s); // so that they fail, or not, by themselves
    return ret;
}
