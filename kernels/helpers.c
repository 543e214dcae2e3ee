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
    MgvShareFn *fn;       ///< the piece of work
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

static void do_parts(MgvHelpers *all, int thread)
{
    for (int part; (part = atomic_fetch_add(&all->next, 1)) < all->nb_parts;)
        all->fn(all->arg, part, thread);
}

/* ---- helpers ---- */

static int is_new(const MgvHelpers *all, unsigned state, unsigned seen)
{
    return atomic_load(&all->quit) || (!(state & CLOSED) && PIECE_OF(state) != seen);
}

/** Wait until there is another piece than the one seen last, or the end. @return the state */
static unsigned wait_for_piece(MgvHelpers *all, unsigned seen)
{
    const double end = mgv_time() + all->look;
    unsigned state;

    do {
        for (int i = 0; i < 32; i++) {
            if (is_new(all, state = atomic_load(&all->state), seen))
                return state;
            pause_cpu();
        }
    } while (mgv_time() < end);
    pthread_mutex_lock(&all->lock);
    atomic_fetch_add(&all->asleep, 1);
    while (!is_new(all, state = atomic_load(&all->state), seen))
        pthread_cond_wait(&all->begun, &all->lock);
    atomic_fetch_sub(&all->asleep, 1);
    pthread_mutex_unlock(&all->lock);
    return state;
}

static void leave(MgvHelpers *all)
{
    const unsigned state = atomic_fetch_sub(&all->state, 1) - 1;

    if (!(state & CLOSED) || state & INSIDE || !atomic_load(&all->waits))
        return;
    pthread_mutex_lock(&all->lock);
    pthread_cond_signal(&all->ended);
    pthread_mutex_unlock(&all->lock);
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
    MgvHelpers *all = h->all;
    unsigned seen = 0;

    limit_onednn();
    for (;;) {
        unsigned state = wait_for_piece(all, seen);

        if (atomic_load(&all->quit))
            return NULL;
        if (!atomic_compare_exchange_strong(&all->state, &state, state + 1))
            continue;
        seen = PIECE_OF(state);
        do_parts(all, h->number);
        leave(all);
    }
}

/* ---- the worker ---- */

static void wait_for_helpers(MgvHelpers *all)
{
    const double end = mgv_time() + all->look;

    do {
        for (int i = 0; i < 32; i++) {
            if (!(atomic_load(&all->state) & INSIDE))
                return;
            pause_cpu();
        }
    } while (mgv_time() < end);
    pthread_mutex_lock(&all->lock);
    atomic_store(&all->waits, 1);
    while (atomic_load(&all->state) & INSIDE)
        pthread_cond_wait(&all->ended, &all->lock);
    atomic_store(&all->waits, 0);
    pthread_mutex_unlock(&all->lock);
}

void mgv_helpers_share(MgvDevice *dev, int nb_parts, MgvShareFn *fn, void *arg)
{
    MgvHelpers *all = dev->helpers;

    if (!all->nb || nb_parts < 2) {
        for (int part = 0; part < nb_parts; part++)
            fn(arg, part, 0);
        return;
    }
    all->fn  = fn;
    all->arg = arg;
    all->nb_parts = nb_parts;
    atomic_store(&all->next, 0);
    atomic_store(&all->state, (PIECE_OF(atomic_load(&all->state)) + 1) * PIECE);
    if (atomic_load(&all->asleep)) {
        pthread_mutex_lock(&all->lock);
        pthread_cond_broadcast(&all->begun);
        pthread_mutex_unlock(&all->lock);
    }
    do_parts(all, 0);
    atomic_fetch_or(&all->state, CLOSED);
    wait_for_helpers(all);
}

static int start_threads(MgvHelpers *all, MgvDevice *dev)
{
    int err = 0;

    while (all->nb < dev->threads - 1 && !err) {
        Helper *h = &all->list[all->nb];

        h->all    = all;
        h->number = all->nb + 1;
        err = mgv_thread_start(&h->thread, helper_main, h);
        all->nb += !err;
    }
    return err;
}

int mgv_helpers_start(MgvDevice *dev, int looks)
{
    MgvHelpers *all = dev->helpers = mgv_calloc(1, sizeof(*all));
    int err;

    if (!all || !(all->list = mgv_calloc(dev->threads, sizeof(*all->list)))) {
        mgv_freep(&dev->helpers);
        mgv_err(dev->log, "threads: out of memory");
        return MAGVIT_ERR(ENOMEM);
    }
    all->look = looks ? LOOK : 0;
    atomic_store(&all->state, CLOSED);
    pthread_mutex_init(&all->lock, NULL);
    pthread_cond_init(&all->begun, NULL);
    pthread_cond_init(&all->ended, NULL);
    limit_onednn();
    err = start_threads(all, dev);
    if (err)
        mgv_warn(dev->log, "%d threads of %d, there cannot be more: %s", all->nb + 1, dev->threads, strerror(err));
    dev->threads = all->nb + 1;
    return 0;
}

void mgv_helpers_stop(MgvDevice *dev)
{
    MgvHelpers *all = dev->helpers;

    if (!all)
        return;
    pthread_mutex_lock(&all->lock);
    atomic_store(&all->quit, 1);
    pthread_cond_broadcast(&all->begun);
    pthread_mutex_unlock(&all->lock);
    for (int i = 0; i < all->nb; i++)
        pthread_join(all->list[i].thread, NULL);
    pthread_cond_destroy(&all->begun);
    pthread_cond_destroy(&all->ended);
    pthread_mutex_destroy(&all->lock);
    mgv_freep(&all->list);
    mgv_freep(&dev->helpers);
}
