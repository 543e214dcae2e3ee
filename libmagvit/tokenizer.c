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
 * 3D-VQ tokenizer: encoder (clip -> codes) and decoder (codes -> clip) as op
 * plans; a decoder may see the known pixels of the clip, too. Level 0 has the full resolution. Nothing is checked between the
 * calls: a plan keeps its first error.
 */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "libmagvit/model.h"

#define NAME_SIZE 128

/** What all builder functions here pass on. */
typedef struct Net {
    MgvPlan *p;
    const MgvConfig *c;
} Net;

static const char *join(char *buf, const char *fmt, ...) MGV_PRINTF(2, 3);

/* A name; as argument of a call: join((char[NAME_SIZE]){0}, ...) */
static const char *join(char *buf, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(buf, NAME_SIZE, fmt, ap);
    va_end(ap);
    return buf;
}

#define NAME(...) join((char[NAME_SIZE]){ 0 }, __VA_ARGS__)

static MgvT conv(const Net *n, const char *name, MgvT x, int cout, int k, int bias)
{
    return mgv_conv3d(n->p, name, x, cout, k, n->c->padding, bias, MGV_ACT_NONE);
}

static MgvT norm_silu(const Net *n, const char *name, MgvT x)
{
    return mgv_group_norm(n->p, name, x, n->c->groups, n->c->norm_eps, MGV_ACT_SILU);
}

/* The shortcut reads the block's input; nothing follows the sum. */
static MgvT res_block(const Net *n, const char *name, MgvT x, int cin, int cout)
{
    MgvT y = norm_silu(n, NAME("%s.norm1", name), x);

    y = conv(n, NAME("%s.conv1", name), y, cout, 3, 0);
    y = norm_silu(n, NAME("%s.norm2", name), y);
    y = conv(n, NAME("%s.conv2", name), y, cout, 3, 0);
    if (cin != cout)
        x = conv(n, NAME("%s.shortcut", name), x, cout, 1, 0);
    return mgv_add(n->p, name, y, x);
}

/* Blocks prefix.0, prefix.1, ...; the first one changes the width. */
static MgvT res_blocks(const Net *n, const char *prefix, MgvT x, int cin, int cout)
{
    int j;

    for (j = 0; j < n->c->res_blocks; j++)
        x = res_block(n, NAME("%s.%d", prefix, j), x, j ? cout : cin, cout);
    return x;
}

static int width(const Net *n, int level)
{
    return n->c->base_channels * n->c->multipliers[level];
}

/* Between level i and i + 1. */
static int temporal_factor(const Net *n, int i)
{
    return n->c->temporal_downsample[i] ? 2 : 1;
}

static void encoder(const Net *n, int batch)
{
    const MgvConfig *c = n->c;
    int i, last = c->nb_levels - 1, cin = c->base_channels;
    MgvT x = mgv_plan_input(n->p, "clip", (MgvShape){ batch, c->frames, c->height, c->width, 3 }, MGV_F32);

    x = conv(n, "encoder.conv_in", x, cin, 3, 0);
    for (i = 0; i <= last; i++) {
        x = res_blocks(n, NAME("encoder.down.%d.block", i), x, cin, width(n, i));
        if (i < last)
            x = mgv_pool(n->p, NAME("encoder.down.%d.pool", i), x, temporal_factor(n, i), 2, 2);
        cin = width(n, i);
    }
    x = res_blocks(n, "encoder.mid", x, cin, cin);
    x = norm_silu(n, "encoder.norm_out", x);
    x = conv(n, "encoder.conv_out", x, c->embedding_dim, 1, 1);
    x = mgv_vq_argmin(n->p, "quantizer", x, "quantizer.codebook", c->latent_normalize);
    mgv_plan_output(n->p, "codes", x);
}

/* Channels that enter decoder.up.{level}. */
static int up_width(const Net *n, int level)
{
    return width(n, MGV_MIN(level + 1, n->c->nb_levels - 1));
}

/* The known pixels at each level's size. Without biases: where nothing is known, nothing is added. */
static void known_pyramid(const Net *n, int batch, MgvT seen[MGV_MAX_LEVELS])
{
    const MgvConfig *c = n->c;
    MgvT x = mgv_plan_input(n->p, "known", (MgvShape){ batch, c->frames, c->height, c->width, 4 }, MGV_F32);
    int i;

    for (i = 0; i < c->nb_levels; i++) {
        if (i > 0)
            x = mgv_pool(n->p, NAME("decoder.pool.%d", i - 1), x, temporal_factor(n, i - 1), 2, 2);
        x = mgv_conv3d(n->p, NAME("decoder.known.%d.conv1", i), x, width(n, i), 3, c->padding, 0, MGV_ACT_SILU);
        x = seen[i] = conv(n, NAME("decoder.known.%d.conv2", i), x, up_width(n, i), 3, 0);
    }
}

static void decoder(const Net *n, int batch)
{
    const MgvConfig *c = n->c;
    int i, cin = width(n, c->nb_levels - 1);
    MgvT seen[MGV_MAX_LEVELS];
    MgvT x = mgv_plan_input(n->p, "codes", (MgvShape){ batch, c->latent_t, c->latent_h, c->latent_w, 1 }, MGV_I32);

    if (c->known_pixels)
        known_pyramid(n, batch, seen);
    x = mgv_embed(n->p, "quantizer.codebook", x);
    x = conv(n, "decoder.conv_in", x, cin, 3, 1);
    x = res_blocks(n, "decoder.mid", x, cin, cin);
    for (i = c->nb_levels - 1; i >= 0; i--) {
        if (c->known_pixels)
            x = mgv_add(n->p, NAME("decoder.up.%d.known", i), x, seen[i]);
        x = res_blocks(n, NAME("decoder.up.%d.block", i), x, cin, width(n, i));
        cin = width(n, i);
        if (i > 0) {
            x = mgv_upsample(n->p, NAME("decoder.up.%d.upsample", i), x, temporal_factor(n, i - 1), 2, 2);
            x = conv(n, NAME("decoder.up.%d.conv", i), x, cin, 3, 1);
        }
    }
    x = norm_silu(n, "decoder.norm_out", x);
    mgv_plan_output(n->p, "clip", conv(n, "decoder.conv_out", x, 3, 3, 1));
    if (c->known_pixels == MGV_KNOWN_GATED)
        mgv_plan_output(n->p, "gate", conv(n, "decoder.gate", x, 1, 3, 1));
}

static int build(MgvPlan **out, const char *name, void (*record)(const Net *n, int batch), const MgvConfig *c,
                 int batch, const MgvSafetensors *st, const MagvitLogger *log)
{
    Net n = { NULL, c };
    int ret;

    *out = NULL;
    RET(mgv_plan_alloc(&n.p, name, st, log));
    mgv_plan_check_table(n.p, "quantizer.codebook", c->codebook_size, c->embedding_dim);
    record(&n, batch);
    RET(mgv_plan_finish(n.p));
    *out = n.p;
    return 0;
fail:
    mgv_plan_free(&n.p);
    return ret;
}

int mgv_build_encoder(MgvPlan **out, const MgvConfig *c, int batch, const MgvSafetensors *st, const MagvitLogger *log)
{
    return build(out, "encoder", encoder, c, batch, st, log);
}

int mgv_build_decoder(MgvPlan **out, const MgvConfig *c, int batch, const MgvSafetensors *st, const MagvitLogger *log)
{
    return build(out, "decoder", decoder, c, batch, st, log);
}
