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
 * The threads of a host device: its worker and helpers, who share the parts of
 * one piece of work after another. The worker does not wait for a helper that
 * has not begun when all parts are taken, so whoever else wants the helper's
 * processor delays nothing. Between pieces, which follow within microseconds
 * while a model runs, all wait by looking for a moment before they sleep.
 *
 * OpenMP could do this but for the waiting, which only a program's environment
 * chooses there: for long, or not at all.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "kernels/host.h"
#if CONFIG_OPENMP
#include <omp.h>
#endif

/** Seconds to look before sleeping: a few times what it takes to be woken. Several ms cost as much as looking for ever. */
#define LOOK 200e-6

/* A state: the number of a piece of work, whether no more helpers may begin with it, and how many have begun and not ended. */
#define INSIDE 0xfffu
#define CLOSED 0x1000u
#define PIECE  0x2000u
#define PIECE_OF(state) ((state) / PIECE)

typedef struct Helper {
    struct MgvHelpers *all;
    pthread_t thread;
    int number;
} Helper;

typedef struct MgvHelpers {
    int nb;               ///< helpers
    Helper *list;
    double look;
    MgvShareFn *fn;        ///< the piece of work
    void *arg;
    int nb_parts;
    atomic_int next;      ///< part
    atomic_uint state;
    atomic_int quit;
    atomic_int asleep;    ///< helpers, or about to be
    atomic_int waits;     ///< the worker, for helpers
    pthread_mutex_t lock; ///< for sleep alone
    pthread_cond_t begun, ended;
} MgvHelpers;

static void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void do_parts(MgvHelpers *t, int thread)
{
    for (int part; (part = atomic_fetch_add(&t->next, 1)) < t->nb_parts;)
        t->fn(t->arg, part, thread);
}

/* ---- helpers ---- */

static int is_new(const MgvHelpers *t, unsigned state, unsigned seen)
{
    return atomic_load(&t->quit) || (!(state & CLOSED) && PIECE_OF(state) != seen);
}

/** Wait until there is another piece than the one seen last, or the end. @return the state */
static unsigned wait_for_piece(MgvHelpers *t, unsigned seen)
{
    const double end = mgv_time() + t->look;
    unsigned state;

    do {
        for (int i = 0; i < 32; i++) {
            if (is_new(t, state = atomic_load(&t->state), seen))
                return state;
            pause_cpu();
        }
    } while (mgv_time() < end);
    pthread_mutex_lock(&t->lock);
    atomic_fetch_add(&t->asleep, 1);
    while (!is_new(t, state = atomic_load(&t->state), seen))
        pthread_cond_wait(&t->begun, &t->lock);
    atomic_fetch_sub(&t->asleep, 1);
    pthread_mutex_unlock(&t->lock);
    return state;
}

static void leave(MgvHelpers *t)
{
    const unsigned state = atomic_fetch_sub(&t->state, 1) - 1;

    if (!(state & CLOSED) || state & INSIDE || !atomic_load(&t->waits))
        return;
    pthread_mutex_lock(&t->lock);
    pthread_cond_signal(&t->ended);
    pthread_mutex_unlock(&t->lock);
}

static void limit_onednn(void)
{
#if CONFIG_OPENMP
    omp_set_num_threads(1); // for primitives that ask when they are made, or run
#endif
}

static void *helper_main(void *arg)
{
    const Helper *h = arg;
    MgvHelpers *t = h->all;
    unsigned seen = 0;

    limit_onednn();
    for (;;) {
        unsigned state = wait_for_piece(t, seen);

        if (atomic_load(&t->quit))
            return NULL;
        if (!atomic_compare_exchange_strong(&t->state, &state, state + 1))
            continue;
        seen = PIECE_OF(state);
        do_parts(t, h->number);
        leave(t);
    }
}

/* ---- the worker ---- */

static void wait_for_helpers(MgvHelpers *t)
{
    const double end = mgv_time() + t->look;

    do {
        for (int i = 0; i < 32; i++) {
            if (!(atomic_load(&t->state) & INSIDE))
                return;
            pause_cpu();
        }
    } while (mgv_time() < end);
    pthread_mutex_lock(&t->lock);
    atomic_store(&t->waits, 1);
    while (atomic_load(&t->state) & INSIDE)
        pthread_cond_wait(&t->ended, &t->lock);
    atomic_store(&t->waits, 0);
    pthread_mutex_unlock(&t->lock);
}

void mgv_helpers_share(MgvDevice *dev, int nb_parts, MgvShareFn *fn, void *arg)
{
    MgvHelpers *t = dev->helpers;

    if (!t->nb || nb_parts < 2) {
        for (int part = 0; part < nb_parts; part++)
            fn(arg, part, 0);
        return;
    }
    t->fn  = fn;
    t->arg = arg;
    t->nb_parts = nb_parts;
    atomic_store(&t->next, 0);
    atomic_store(&t->state, (PIECE_OF(atomic_load(&t->state)) + 1) * PIECE);
    if (atomic_load(&t->asleep)) {
        pthread_mutex_lock(&t->lock);
        pthread_cond_broadcast(&t->begun);
        pthread_mutex_unlock(&t->lock);
    }
    do_parts(t, 0);
    atomic_fetch_or(&t->state, CLOSED);
    wait_for_helpers(t);
}

static int start_helpers(MgvHelpers *t, MgvDevice *dev)
{
    int err = 0;

    while (t->nb < dev->threads - 1 && !err) {
        Helper *h = &t->list[t->nb];

        h->all    = t;
        h->number = t->nb + 1;
        err = mgv_thread_start(&h->thread, helper_main, h);
        t->nb += !err;
    }
    return err;
}

int mgv_helpers_start(MgvDevice *dev, int looks)
{
    MgvHelpers *t = dev->helpers = mgv_calloc(1, sizeof(*t));
    int err;

    if (!t || !(t->list = mgv_calloc(dev->threads, sizeof(*t->list)))) {
        mgv_freep(&dev->helpers);
        mgv_err(dev->log, "threads: out of memory");
        return MAGVIT_ERR(ENOMEM);
    }
    t->look = looks ? LOOK : 0;
    atomic_store(&t->state, CLOSED);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->begun, NULL);
    pthread_cond_init(&t->ended, NULL);
    limit_onednn();
    err = start_helpers(t, dev);
    if (err)
        mgv_warn(dev->log, "%d threads of %d, there cannot be more: %s", t->nb + 1, dev->threads, strerror(err));
    dev->threads = t->nb + 1;
    return 0;
}

void mgv_helpers_stop(MgvDevice *dev)
{
    MgvHelpers *t = dev->helpers;

    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    atomic_store(&t->quit, 1);
    pthread_cond_broadcast(&t->begun);
    pthread_mutex_unlock(&t->lock);
    for (int i = 0; i < t->nb; i++)
        pthread_join(t->list[i].thread, NULL);
    pthread_cond_destroy(&t->begun);
    pthread_cond_destroy(&t->ended);
    pthread_mutex_destroy(&t->lock);
    mgv_freep(&t->list);
    mgv_freep(&dev->helpers);
}
