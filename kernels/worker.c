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
 * The thread of a host device on which everything is computed, one call after
 * another.
 */

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "kernels/host.h"

typedef struct MgvWorker {
    pthread_t thread;
    pthread_mutex_t caller;  ///< held by the caller whose job runs
    pthread_mutex_t lock;    ///< guards what follows
    pthread_cond_t changed;
    int (*fn)(void *arg);    ///< job to do, NULL: none
    void *arg;
    int ret;
    int quit;
} MgvWorker;

static void *worker_main(void *arg)
{
    MgvWorker *w = arg;

    pthread_mutex_lock(&w->lock);
    while (!w->quit) {
        if (w->fn) {
            pthread_mutex_unlock(&w->lock);
            w->ret = w->fn(w->arg);
            pthread_mutex_lock(&w->lock);
            w->fn = NULL;
            pthread_cond_broadcast(&w->changed);
        } else {
            pthread_cond_wait(&w->changed, &w->lock);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int mgv_host_call(MgvDevice *dev, int (*fn)(void *arg), void *arg)
{
    MgvWorker *w = dev->worker;
    int ret;

    if (pthread_equal(pthread_self(), w->thread))
        return fn(arg);
    pthread_mutex_lock(&w->caller);
    pthread_mutex_lock(&w->lock);
    w->fn  = fn;
    w->arg = arg;
    pthread_cond_broadcast(&w->changed);
    while (w->fn)
        pthread_cond_wait(&w->changed, &w->lock);
    ret = w->ret;
    pthread_mutex_unlock(&w->lock);
    pthread_mutex_unlock(&w->caller);
    return ret;
}

/* The program's signal handlers run on its own threads, not on ours. */
int mgv_thread_start(pthread_t *thread, void *(*fn)(void *arg), void *arg)
{
    sigset_t all, old;
    int err;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    err = pthread_create(thread, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return err;
}

int mgv_worker_start(MgvDevice *dev)
{
    MgvWorker *w = mgv_calloc(1, sizeof(*w));
    int err;

    if (!w) {
        mgv_err(dev->log, "worker thread: out of memory");
        return MAGVIT_ERR(ENOMEM);
    }
    pthread_mutex_init(&w->caller, NULL);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    err = mgv_thread_start(&w->thread, worker_main, w);
    if (err) {
        mgv_err(dev->log, "worker thread: %s", strerror(err));
        mgv_freep(&w);
        return MAGVIT_ERROR_DEVICE;
    }
    dev->worker = w;
    return 0;
}

void mgv_worker_stop(MgvDevice *dev)
{
    MgvWorker *w = dev->worker;

    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->quit = 1;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    pthread_mutex_destroy(&w->caller);
    mgv_freep(&dev->worker);
}
