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
 * Jobs of all windows of a session that have begun, in the order in which they
 * were put. Where the model takes several, they go in lists, which windows
 * share: one list waits for the device while another is computed. What a job
 * gives does not depend on its company, nor does its error, unless the device
 * fails, which takes a list as a whole.
 */

#include <errno.h>

#include "libmagvit/video.h"

struct MgvQueue {
    const MgvSynth *synth;
    MgvJob *first, *last;  ///< that wait, linked by next
    int waiting;
    int most;              ///< that a list begins with
    MgvJob **jobs;         ///< [MGV_STARTED][batch]
    int nb[MGV_STARTED];   ///< of lists on their way
    int next, started;     ///< list that begins next, lists on their way
};

int mgv_queue_alloc(MgvQueue **out, const MgvSynth *synth)
{
    MgvQueue *q = *out = mgv_calloc(1, sizeof(*q));

    if (!q)
        return MAGVIT_ERR(ENOMEM);
    q->synth = synth;
    q->most  = 1;
    if (synth->start && !(q->jobs = mgv_calloc(MGV_STARTED, synth->batch * sizeof(*q->jobs)))) {
        mgv_freep(out);
        return MAGVIT_ERR(ENOMEM);
    }
    return 0;
}

void mgv_queue_free(MgvQueue **q)
{
    if (*q)
        mgv_freep(&(*q)->jobs);
    mgv_freep(q);
}

void mgv_queue_set_most(MgvQueue *q, int most)
{
    mgv_assert(most >= 1 && (!q->synth->start || most <= q->synth->batch));
    q->most = most;
}

static MgvJob *next_job(MgvQueue *q)
{
    MgvJob *job = q->first;

    q->first = job->next;
    q->waiting--;
    return job;
}

/** As many of the jobs that wait as go together begin. */
static void start_list(MgvQueue *q)
{
    const MgvSynth *s = q->synth;
    MgvJob **list = q->jobs + q->next * s->batch;
    const int n = MGV_MIN(q->waiting, q->most);
    int ret;

    for (int i = 0; i < n; i++) {
        list[i] = next_job(q);
        list[i]->started = 1;
    }
    ret = s->start(s->opaque, list, n);
    for (int i = 0; ret < 0 && i < n; i++)
        list[i]->ret = ret;
    if (ret < 0)
        return;
    q->nb[q->next] = n;
    q->next = (q->next + 1) % MGV_STARTED;
    q->started++;
}

static void start_full_lists(MgvQueue *q)
{
    while (q->synth->start && q->started < MGV_STARTED && q->waiting >= q->most)
        start_list(q);
}

static void finish_list(MgvQueue *q)
{
    const MgvSynth *s = q->synth;
    const int i = (q->next + MGV_STARTED - q->started) % MGV_STARTED;
    MgvJob **list = q->jobs + i * s->batch;
    const int ret = s->finish(s->opaque, list, q->nb[i]);

    q->started--;
    for (int k = 0; k < q->nb[i]; k++)
        if (ret < 0 || list[k]->ret > 0)
            list[k]->ret = ret;
}

void mgv_queue_put(MgvQueue *q, MgvJob *job)
{
    job->next    = NULL;
    job->ret     = 1;
    job->started = 0;
    if (q->waiting++)
        q->last->next = job;
    else
        q->first = job;
    q->last = job;
    start_full_lists(q);
}

int mgv_queue_wait(MgvQueue *q, MgvJob *job)
{
    const MgvSynth *s = q->synth;

    while (job->ret > 0 && !s->start) {
        MgvJob *next = next_job(q);

        next->ret = s->run(s->opaque, next);
    }
    while (job->ret > 0) {
        while (!job->started && q->started < MGV_STARTED)
            start_list(q); // it may be short, nothing more comes before someone waits
        if (job->ret > 0)
            finish_list(q);
        start_full_lists(q);
    }
    return job->ret;
}

void mgv_queue_drop(MgvQueue *q)
{
    for (; q->started; q->started--)
        q->synth->finish(q->synth->opaque, NULL, 0);
    q->first   = NULL;
    q->waiting = 0;
}
