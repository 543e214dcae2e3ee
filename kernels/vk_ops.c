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
 * How each op is cut into dispatches: which shader, its constants, how many
 * workgroups, and the order its weights are stored in.
 */

#include <math.h>
#include <string.h>

#include "kernels/vk.h"

#define GEMM_STEP 16 ///< BK of shaders/gemm.glsl

static uint32_t bits(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof(u));
    return u;
}

static uint64_t blocks_of(uint64_t n, uint64_t size)
{
    return (n + size - 1) / size;
}

static uint32_t cells(MgvShape s)
{
    return (uint32_t)s.n * s.t * s.h * s.w;
}

static int refuse(const MgvVkOp *o, const char *why)
{
    mgv_err(o->dev->log, "vulkan: %s: %s %s", o->op->name, mgv_op_name(o->op->type), why);
    return MAGVIT_ERR(ENOTSUP);
}

/* Append a dispatch with the op's own addresses. @return NULL with *ret set if there is no pipeline */
static MgvVkDispatch *add(MgvVkOp *o, int *ret, enum MgvVkShader shader, const uint32_t *spec, int nb_spec,
                          const uint32_t *numbers, size_t size, uint64_t groups)
{
    MgvVkDispatch *d = &o->dispatch[o->nb_dispatches];

    mgv_assert(o->nb_dispatches < MGV_VK_MAX_DISPATCHES && size <= sizeof(d->push.number));
    memcpy(d->push.in, o->in_at, sizeof(d->push.in));
    memcpy(d->push.weight, o->weight_at, sizeof(d->push.weight));
    memcpy(d->push.number, numbers, size);
    d->push.out = o->out_at;
    d->groups   = groups;
    *ret = mgv_vk_pipeline(o->dev, &d->pipeline, shader, spec, nb_spec);
    if (*ret < 0)
        return NULL;
    o->nb_dispatches++;
    return d;
}

#define ADD(o, ret, shader, spec, numbers, groups) \
    add(o, ret, MGV_VK_##shader, spec, (int)MGV_ARRAY_LEN(spec), numbers, sizeof(numbers), groups)

/* Workgroups of 256 threads for elementwise work: enough to fill a device, each thread then takes several. */
static uint64_t groups_for(uint64_t values)
{
    return MGV_MIN(blocks_of(values, 256), 65535);
}

/* ---- weights as they are in the file ---- */

static void measure_weight(MgvVkOp *o, int i, size_t values)
{
    o->weight_bytes[i] = values * sizeof(float);
}

static int pack_plain(const MgvVkOp *o, int i, float *out)
{
    mgv_tensor_to_f32(o->op->weight[i], 0, (int64_t)(o->weight_bytes[i] / sizeof(float)), out);
    return 0;
}

/* ---- convolution, linear ---- */

/** Tile of the product: shaders/gemm.glsl. */
typedef struct Tile {
    uint32_t bm, bn, tm, tn;
} Tile;

static Tile choose_tile(const MgvVkOp *o)
{
    static const Tile narrow = { 128, 16, 4, 4 }, half = { 64, 32, 4, 4 }, square = { 64, 64, 4, 4 };
    static const Tile tall = { 128, 64, 8, 4 }, large = { 128, 128, 8, 8 };
    const uint64_t many = 512; // workgroups that fill a large device
    const uint64_t rows = (uint64_t)cells(o->out) / o->out.n * o->batch; // weights are packed once for all numbers of samples

    if (o->out.c <= 16)
        return narrow;
    if (o->out.c <= 32)
        return half;
    if (o->out.c % 128 == 0 && blocks_of(rows, 128) * (o->out.c / 128) >= many &&
        o->dev->properties.limits.maxComputeSharedMemorySize >= 32768)
        return large;
    return blocks_of(rows, 128) * blocks_of(o->out.c, 64) >= many ? tall : square;
}

static size_t taps(const MgvVkOp *o)
{
    return o->op->type == MGV_OP_CONV3D ? (size_t)o->op->u.conv.k * o->op->u.conv.k * o->op->u.conv.k : 1;
}

static size_t padded_depth(const MgvVkOp *o)
{
    return blocks_of(taps(o) * o->in.c, GEMM_STEP) * GEMM_STEP;
}

static size_t padded_columns(const MgvVkOp *o)
{
    const Tile t = choose_tile(o);

    return blocks_of(o->out.c, t.bn) * t.bn;
}

static int measure_gemm(MgvVkOp *o)
{
    measure_weight(o, 0, padded_depth(o) * padded_columns(o));
    if (o->op->weight[1])
        measure_weight(o, 1, (size_t)o->out.c);
    return 0;
}

/* [cout,cin,taps] to [taps,cin,cout]. */
static int pack_gemm(const MgvVkOp *o, int i, float *out)
{
    const size_t nb = taps(o), cin = (size_t)o->in.c, ld = padded_columns(o);
    float *row;

    if (i)
        return pack_plain(o, i, out);
    row = mgv_calloc(nb * cin, sizeof(*row));
    if (!row)
        return MAGVIT_ERR(ENOMEM);
    for (size_t c = 0; c < (size_t)o->out.c; c++) {
        mgv_tensor_to_f32(o->op->weight[0], (int64_t)(c * nb * cin), (int64_t)(nb * cin), row);
        for (size_t k = 0; k < cin; k++)
            for (size_t t = 0; t < nb; t++)
                out[(t * cin + k) * ld + c] = row[k * nb + t];
    }
    mgv_freep(&row);
    return 0;
}

static int prepare_gemm(MgvVkOp *o)
{
    const Tile t = choose_tile(o);
    const uint32_t rows = cells(o->out), depth = (uint32_t)(taps(o) * o->in.c);
    const uint32_t spec[] = {
        t.bm / t.tm * (t.bn / t.tn), t.bm, t.bn, t.tm, t.tn, o->op->act, o->op->weight[1] != NULL,
        o->in.c % 4 == 0 && o->out.c % 4 == 0, (uint32_t)o->op->u.conv.k, o->op->u.conv.pad == MGV_PAD_REFLECT,
    };
    const uint32_t numbers[] = {
        rows, depth, (uint32_t)o->out.c, (uint32_t)padded_columns(o), (uint32_t)o->in.c,
        (uint32_t)o->in.t, (uint32_t)o->in.h, (uint32_t)o->in.w,
    };
    const uint64_t groups = blocks_of(rows, t.bm) * blocks_of(o->out.c, t.bn);
    const int conv = o->op->type == MGV_OP_CONV3D;
    int ret;

    add(o, &ret, conv ? MGV_VK_conv3d : MGV_VK_linear, spec, conv ? 10 : 8, numbers, sizeof(numbers), groups);
    return ret;
}

/* ---- attention ---- */

/** Queries and keys of a tile, in sixteens. */
typedef struct AttentionTile {
    uint32_t rq, rk;
} AttentionTile;

/* The largest tile that fits; 0,0 if none does. */
static AttentionTile attention_tile(const MgvVkOp *o)
{
    static const AttentionTile tiles[] = { { 4, 4 }, { 4, 2 }, { 2, 2 }, { 2, 1 }, { 1, 1 } };
    const uint32_t row = (uint32_t)(((o->out.c / o->op->u.attention.heads + 3) / 4) | 1) * 16;

    for (size_t i = 0; i < MGV_ARRAY_LEN(tiles); i++) {
        const uint32_t q = tiles[i].rq * 16, k = tiles[i].rk * 16;

        if ((q + k) * row + q * (k + 1) * 4 + q * 64 <= o->dev->properties.limits.maxComputeSharedMemorySize)
            return tiles[i];
    }
    return (AttentionTile){ 0, 0 };
}

static int measure_attention(MgvVkOp *o)
{
    return attention_tile(o).rq ? 0 : refuse(o, "has wider heads than the device's shared memory holds");
}

static int prepare_attention(MgvVkOp *o)
{
    const AttentionTile t = attention_tile(o);
    const uint32_t heads = (uint32_t)o->op->u.attention.heads, d = (uint32_t)o->out.c / heads;
    const uint32_t spec[] = { t.rq, t.rk, d };
    const uint32_t numbers[] = { (uint32_t)o->out.w, (uint32_t)o->out.c, heads, bits(1.0f / sqrtf((float)d)) };
    int ret;

    ADD(o, &ret, attention, spec, numbers, o->out.n * heads * blocks_of(o->out.w, t.rq * 16));
    return ret;
}

/* ---- norms ---- */

/* Cells that a thread sums: few enough that there are threads for a large device, and the same beside other samples. */
static uint32_t norm_block(const MgvVkOp *o)
{
    const uint64_t per_sample = (uint64_t)o->out.t * o->out.h * o->out.w;

    return (uint32_t)MGV_MIN(MGV_MAX(mgv_shape_elements(o->out) / o->out.n >> 17, 32), per_sample);
}

static uint32_t norm_blocks(const MgvVkOp *o)
{
    return (uint32_t)blocks_of((uint64_t)o->out.t * o->out.h * o->out.w, norm_block(o));
}

static size_t parts_bytes(const MgvVkOp *o)
{
    return (size_t)o->out.n * norm_blocks(o) * o->out.c * 2 * sizeof(float);
}

static int measure_norm(MgvVkOp *o)
{
    measure_weight(o, 0, (size_t)o->out.c);
    measure_weight(o, 1, (size_t)o->out.c);
    if (o->op->type == MGV_OP_GROUP_NORM)
        o->scratch_bytes = parts_bytes(o) + (size_t)o->out.n * o->op->u.norm.groups * 2 * sizeof(float);
    return 0;
}

static int prepare_group_norm(MgvVkOp *o)
{
    const uint32_t samples = (uint32_t)o->out.n, channels = (uint32_t)o->out.c, groups = (uint32_t)o->op->u.norm.groups;
    const uint32_t numbers[] = {
        samples, (uint32_t)o->out.t * o->out.h * o->out.w, channels, groups, norm_blocks(o), norm_block(o),
        bits(o->op->u.norm.eps),
    };
    const uint64_t pass_groups[] = {
        blocks_of((uint64_t)samples * norm_blocks(o) * channels, 256), samples * groups,
        groups_for(mgv_shape_elements(o->out)),
    };
    int ret;

    for (uint32_t pass = 0; pass < 3; pass++) {
        const uint32_t spec[] = { pass, o->op->act };
        MgvVkDispatch *d = ADD(o, &ret, group_norm, spec, numbers, pass_groups[pass]);

        if (!d)
            return ret;
        d->push.in[1] = o->scratch_at;
        d->push.in[2] = o->scratch_at + parts_bytes(o);
    }
    return 0;
}

static int prepare_layer_norm(MgvVkOp *o)
{
    const uint32_t numbers[] = { cells(o->out), (uint32_t)o->out.c, bits(o->op->u.norm.eps) };
    int ret;

    add(o, &ret, MGV_VK_layer_norm, NULL, 0, numbers, sizeof(numbers), cells(o->out));
    return ret;
}

/* ---- elementwise ---- */

static int measure_add(MgvVkOp *o)
{
    if (o->op->weight[0])
        measure_weight(o, 0, (size_t)o->out.w * o->out.c);
    return 0;
}

static int prepare_pointwise(MgvVkOp *o)
{
    const uint32_t values = (uint32_t)mgv_shape_elements(o->out);
    const uint32_t spec[] = { o->op->type == MGV_OP_ACT ? 0 : o->op->weight[0] ? 2 : 1, o->op->act, values % 4 == 0 };
    const uint32_t numbers[] = { values, values / (uint32_t)o->out.n };
    int ret;

    ADD(o, &ret, pointwise, spec, numbers, groups_for(spec[2] ? values / 4 : values));
    return ret;
}

static int prepare_resample(MgvVkOp *o)
{
    const uint32_t up = o->op->type == MGV_OP_UPSAMPLE, values = (uint32_t)mgv_shape_elements(o->out);
    const uint32_t spec[] = {
        up, (uint32_t)o->op->u.resample.ft, (uint32_t)o->op->u.resample.fh, (uint32_t)o->op->u.resample.fw,
    };
    const uint32_t numbers[] = {
        (uint32_t)o->out.c, (uint32_t)o->in.t, (uint32_t)o->in.h, (uint32_t)o->in.w,
        (uint32_t)o->out.t, (uint32_t)o->out.h, (uint32_t)o->out.w, values,
    };
    int ret;

    ADD(o, &ret, resample, spec, numbers, groups_for(values));
    return ret;
}

/* ---- tables ---- */

static uint32_t table_rows(const MgvVkOp *o)
{
    return (uint32_t)o->op->weight[0]->dims[0];
}

static int measure_table(MgvVkOp *o)
{
    measure_weight(o, 0, (size_t)o->op->weight[0]->elements);
    return 0;
}

/* A second table of what float leaves of unit vectors. */
static int measure_codes(MgvVkOp *o)
{
    measure_weight(o, 0, (size_t)o->op->weight[0]->elements);
    if (o->op->u.vq.normalize)
        measure_weight(o, 1, (size_t)o->op->weight[0]->elements);
    return 0;
}

static int prepare_embed(MgvVkOp *o)
{
    const uint32_t values = (uint32_t)mgv_shape_elements(o->out);
    const uint32_t numbers[] = { values, (uint32_t)o->out.c, table_rows(o) };
    int ret;

    add(o, &ret, MGV_VK_embed, NULL, 0, numbers, sizeof(numbers), groups_for(values));
    return ret;
}

/* [rows,channels] to [channels,rows], so that neighbouring threads read neighbours; rows of unit length if asked for. */
static int pack_codes(const MgvVkOp *o, int i, float *out)
{
    const size_t rows = table_rows(o), d = (size_t)o->in.c;
    float *row = mgv_calloc(d, sizeof(*row));

    if (!row)
        return MAGVIT_ERR(ENOMEM);
    for (size_t r = 0; r < rows; r++) {
        double square = 0, scale = 1;

        mgv_tensor_to_f32(o->op->weight[0], (int64_t)(r * d), (int64_t)d, row);
        for (size_t c = 0; c < d; c++)
            square += (double)row[c] * row[c];
        if (o->op->u.vq.normalize)
            scale = 1 / sqrt(MGV_MAX(square, 1e-12));
        for (size_t c = 0; c < d; c++)
            out[c * rows + r] = i ? (float)(row[c] * scale - (float)(row[c] * scale)) : (float)(row[c] * scale);
    }
    mgv_freep(&row);
    return 0;
}

static int prepare_vq_argmin(MgvVkOp *o)
{
    const uint32_t spec[] = { (uint32_t)o->op->u.vq.normalize };
    const uint32_t numbers[] = { cells(o->in), (uint32_t)o->in.c, table_rows(o) };
    int ret;

    ADD(o, &ret, vq_argmin, spec, numbers, cells(o->in));
    return ret;
}

/* ---- table of ops ---- */

static const struct {
    int (*measure)(MgvVkOp *o);                          ///< NULL: no weights, no scratch memory
    int (*pack)(const MgvVkOp *o, int i, float *out);
    int (*prepare)(MgvVkOp *o);
} ops[MGV_OP_NB] = {
    [MGV_OP_CONV3D]     = { measure_gemm, pack_gemm, prepare_gemm },
    [MGV_OP_GROUP_NORM] = { measure_norm, pack_plain, prepare_group_norm },
    [MGV_OP_LAYER_NORM] = { measure_norm, pack_plain, prepare_layer_norm },
    [MGV_OP_LINEAR]     = { measure_gemm, pack_gemm, prepare_gemm },
    [MGV_OP_ATTENTION]  = { measure_attention, NULL, prepare_attention },
    [MGV_OP_ADD]        = { measure_add, pack_plain, prepare_pointwise },
    [MGV_OP_ACT]        = { NULL, NULL, prepare_pointwise },
    [MGV_OP_POOL]       = { NULL, NULL, prepare_resample },
    [MGV_OP_UPSAMPLE]   = { NULL, NULL, prepare_resample },
    [MGV_OP_EMBED]      = { measure_table, pack_plain, prepare_embed },
    [MGV_OP_VQ_ARGMIN]  = { measure_codes, pack_codes, prepare_vq_argmin },
};

int mgv_vk_op_measure(MgvVkOp *o)
{
    const uint64_t most = MGV_MAX(mgv_shape_elements(o->in), mgv_shape_elements(o->out));

    if (most > INT32_MAX)
        return refuse(o, "has more values than 31 bits count");
    return ops[o->op->type].measure ? ops[o->op->type].measure(o) : 0;
}

int mgv_vk_op_pack(const MgvVkOp *o, int i, void *out)
{
    return ops[o->op->type].pack(o, i, out);
}

int mgv_vk_op_prepare(MgvVkOp *o)
{
    return ops[o->op->type].prepare(o);
}
