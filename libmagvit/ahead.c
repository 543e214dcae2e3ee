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
 * Which frames a window of a session waits for and shows, and the window after
 * the current one: with MagvitParams.ahead it begins as soon as its frames are
 * there, so that the device computes while frames of this one are converted and
 * received. It is used only if it turns out to be the window that is needed.
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
    return s->eof || s->sent > mgv_session_window_end(s, s->window + !!s->ahead);
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

int mgv_params_ahead(const MagvitParams *p, const MgvSynth *s)
{
    return p->ahead && s->start && !p->repair && (p->task == MAGVIT_TASK_INTERP || p->task == MAGVIT_TASK_INPAINT ||
                                                  p->task == MAGVIT_TASK_OUTPAINT);
}

/** First frame of the next window, -1 if there is none, or nothing to make in it. */
static int64_t next_begin(const MagvitSession *s)
{
    const int slots = s->synth.window[0], gaps = mgv_window_gaps(slots, s->timeline.factor);
    int64_t at = (s->window + 1) * (s->p.task == MAGVIT_TASK_INTERP ? gaps : slots - s->p.overlap);

    if (s->p.task != MAGVIT_TASK_INTERP)
        return s->end > mgv_session_window_end(s, s->window) + 1 ? at : -1;
    for (int64_t i = at + 1; i <= at + gaps && i < s->end; i++)
        if (!mgv_session_frame(s, i)->cut && !mgv_session_frame(s, i)->same)
            return at;
    return -1;
}

void mgv_session_begin_next(MagvitSession *s)
{
    const int64_t at = s->ahead && !s->beginning ? next_begin(s) : -1;

    if (at < 0 || !(s->eof || s->sent > mgv_session_window_end(s, s->window + 1)))
        return;
    mgv_session_place(s, &s->begun, s->window + 1, at);
    s->beginning = mgv_render_begin(s->ahead, &s->begun, &s->progress);
    if (!s->beginning)
        s->beginning = MGV_NOTHING_BEGUN;
    if (s->beginning == MAGVIT_ERR(ECANCELED)) // the current window's, which says so
        s->beginning = 0;
}

void mgv_session_drop_next(MagvitSession *s)
{
    if (s->beginning == 1)
        mgv_render_drop(s->ahead);
    s->beginning = 0;
}

static int same_window(const MgvWindow *a, const MgvWindow *b)
{
    int same = a->index == b->index && a->slots == b->slots;

    for (int i = 0; i < a->slots && same; i++)
        same = a->source[i] == b->source[i];
    return same;
}

int mgv_session_render(MagvitSession *s, const MgvWindow *w)
{
    const int beginning = s->beginning;
    MgvRender *render = s->render;

    if (!beginning || !same_window(w, &s->begun)) {
        int ret;

        mgv_session_drop_next(s);
        ret = mgv_render_begin(s->render, w, &s->progress);
        return ret > 0 ? mgv_render_end(s->render) : ret;
    }
    s->beginning = 0;
    if (beginning != 1)
        return beginning == MGV_NOTHING_BEGUN ? 0 : beginning;
    s->render = s->ahead;
    s->ahead  = render;
    return mgv_render_end(s->render);
}
