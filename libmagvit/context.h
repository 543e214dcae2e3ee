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
 * What magvit.c and job.c share: a loaded model on a backend. These two are the
 * only files that see both the model and the video side.
 */

#ifndef MAGVIT_CONTEXT_H
#define MAGVIT_CONTEXT_H

#include <pthread.h>

#include "libmagvit/backend.h"
#include "libmagvit/model.h"

enum { MGV_ENCODER, MGV_TRANSFORMER, MGV_DECODER, MGV_NB_PLANS };

struct MagvitContext {
    MagvitLogger log;
    char *path;
    char sha256[65];
    MgvSafetensors *st;
    MgvConfig config;
    MgvPlan *plan[MGV_NB_PLANS];

    const MgvBackend *backend;
    MgvDevice *device;
    MgvDevice *threads;   ///< of the ref backend, where the other has none to share; else NULL
    MgvTeam team;         ///< threads for what is not the model's
    MgvExec *exec[MGV_NB_PLANS];
    int batch;            ///< windows that encoder and decoder take at once; the transformer takes twice as many if the
                          ///< backend has loops

    pthread_mutex_t lock; ///< guards exec and the buffers
    int32_t *ids;         ///< [length]
    int32_t *rows;        ///< [length] positions of which they are
    float *logits;        ///< [length,codes]
    int32_t *codes, *cond; ///< [tokens]
    float *known;         ///< [T,H,W,4] decoder input, NULL if it has none
    float *fill;          ///< scratch for it
    float *gate;          ///< [T,H,W] decoder output, NULL if it has none
};

/** Visual tokens, and pixels of one channel, of a window. */
static inline int mgv_nb_tokens(const MgvConfig *c)
{
    return c->latent_t * c->latent_h * c->latent_w;
}

static inline size_t mgv_nb_pixels(const MgvConfig *c)
{
    return (size_t)c->frames * c->height * c->width;
}

/** Bytes that a context takes. */
int64_t mgv_context_bytes(const MagvitContext *ctx);
/** Bits 1 << MagvitTask that a model knows. */
unsigned mgv_context_tasks(const MgvConfig *c);

/** EINVAL with a line if it was opened to be described only. */
int mgv_context_computes(const MagvitContext *ctx);

/* One window; call with the lock held. */

/** One plan from an input to an output. */
int mgv_context_run(MagvitContext *ctx, int which, const char *in, const void *src, size_t src_size, const char *out,
                    void *dst, size_t dst_size);
/** clip [T,H,W,3] -> codes [t,h,w] */
int mgv_context_encode(MagvitContext *ctx, const float *clip, int32_t *codes);
/**
 * codes [t,h,w] -> clip [T,H,W,3], clipped. given: [T,H,W,3] condition clip, known: [T,H,W] 1 = given; both NULL: the
 * decoder sees no pixel. level: of the line about values that are not finite.
 */
int mgv_context_decode(MagvitContext *ctx, const int32_t *codes, const float *given, const uint8_t *known, float *clip,
                       enum MagvitLogLevel level);
/**
 * What a decoder gave becomes a clip: a gate (NULL: none) shows seen, the decoder's input "known"; values are clipped.
 * MAGVIT_ERROR_DEVICE with a line of that level if one is not finite.
 */
int mgv_context_finish(const MagvitContext *ctx, const float *seen, const float *gate, float *clip,
                       enum MagvitLogLevel level);

#endif /* MAGVIT_CONTEXT_H */
