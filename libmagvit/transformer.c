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
 * The bidirectional transformer (post-LN BERT) as an op plan: ids of
 * [task][class][visual tokens] -> logits of the visual codes at every
 * position. The output matrix is the word embedding; only its code rows are
 * computed. Nothing is checked between the calls: a plan keeps its first
 * error.
 */

#include <stdio.h>

#include "libmagvit/model.h"

#define NAME_SIZE 128

/** What all builder functions here pass on; layer is the number in the names. */
typedef struct Net {
    MgvPlan *p;
    const MgvConfig *c;
    int layer;
} Net;

static const char *join(char *buf, int layer, const char *suffix)
{
    snprintf(buf, NAME_SIZE, "transformer.layer.%d.%s", layer, suffix);
    return buf;
}

#define NAME(n, suffix) join((char[NAME_SIZE]){ 0 }, (n)->layer, suffix)

static MgvT linear(const Net *n, const char *suffix, MgvT x, int cout, enum MgvAct act)
{
    return mgv_linear(n->p, NAME(n, suffix), x, cout, act);
}

/* Most of what 8 bits change in the tokens comes from the first layer's attention, the values and the head: doc/SPEED.md */
static MgvT projection(const Net *n, const char *suffix, MgvT x, int keep16)
{
    x = linear(n, suffix, x, n->c->hidden, MGV_ACT_NONE);
    return keep16 || n->layer == 0 ? mgv_keep16(n->p, x) : x;
}

static MgvT attention(const Net *n, MgvT x)
{
    MgvT q = projection(n, "attention.query", x, 0);
    MgvT k = projection(n, "attention.key", x, 0);
    MgvT v = projection(n, "attention.value", x, 1);

    x = mgv_attention(n->p, NAME(n, "attention"), q, k, v, n->c->heads);
    return projection(n, "attention.out", x, 0);
}

static MgvT mlp(const Net *n, MgvT x)
{
    x = linear(n, "mlp.intermediate", x, n->c->mlp, MGV_ACT_GELU_TANH);
    return linear(n, "mlp.output", x, n->c->hidden, MGV_ACT_NONE);
}

/* Norms come after the sums. */
static MgvT layer(const Net *n, MgvT x)
{
    x = mgv_add(n->p, NAME(n, "attention_add"), x, attention(n, x));
    x = mgv_layer_norm(n->p, NAME(n, "attention_ln"), x, n->c->ln_eps);
    x = mgv_add(n->p, NAME(n, "mlp_add"), x, mlp(n, x));
    return mgv_layer_norm(n->p, NAME(n, "mlp_ln"), x, n->c->ln_eps);
}

static MgvT head(const Net *n, MgvT x)
{
    x = mgv_keep16(n->p, mgv_linear(n->p, "transformer.head.dense", x, n->c->hidden, MGV_ACT_GELU_TANH));
    x = mgv_layer_norm(n->p, "transformer.head.ln", x, n->c->ln_eps);
    x = mgv_linear_tied(n->p, "transformer.head", x, "transformer.word_embeddings.weight", "transformer.head.bias",
                        n->c->codebook_size);
    return mgv_keep16(n->p, x);
}

static void transformer(Net *n, int batch)
{
    MgvT x = mgv_plan_input(n->p, "ids", (MgvShape){ batch, 1, 1, n->c->length, 1 }, MGV_I32);

    x = mgv_embed(n->p, "transformer.word_embeddings", x);
    x = mgv_add_rows(n->p, "transformer.position_embeddings", x);
    x = mgv_layer_norm(n->p, "transformer.embeddings_ln", x, n->c->ln_eps);
    for (n->layer = 0; n->layer < n->c->layers; n->layer++)
        x = layer(n, x);
    x = head(n, x);
    mgv_plan_output(n->p, "logits", x);
}

int mgv_build_transformer(MgvPlan **out, const MgvConfig *c, int batch, const MgvSafetensors *st, const MagvitLogger *log)
{
    Net n = { NULL, c, 0 };
    int ret;

    *out = NULL;
    RET(mgv_plan_alloc(&n.p, "transformer", st, log));
    mgv_plan_check_table(n.p, "transformer.word_embeddings", c->vocab, c->hidden);
    transformer(&n, batch);
    RET(mgv_plan_finish(n.p));
    *out = n.p;
    return 0;
fail:
    mgv_plan_free(&n.p);
    return ret;
}
