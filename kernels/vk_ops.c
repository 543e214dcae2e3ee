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
    uint32_t all[MGV_VK_MAX_SPEC] = { 0 };

    mgv_assert(o->nb_dispatches < MGV_VK_MAX_DISPATCHES && size <= sizeof(d->push.number));
    if (nb_spec)
        memcpy(all, spec, nb_spec * sizeof(*spec));
    all[MGV_VK_SPEC_HALF_IN]  = o->half_in;
    all[MGV_VK_SPEC_HALF_OUT] = (uint32_t)o->half_out;
    memcpy(d->push.in, o->in_at, sizeof(d->push.in));
    memcpy(d->push.weight, o->weight_at, sizeof(d->push.weight));
    memcpy(d->push.number, numbers, size);
    d->push.out = o->out_at;
    d->groups   = groups;
    *ret = mgv_vk_pipeline(o->dev, &d->pipeline, shader, all, MGV_VK_MAX_SPEC);
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

/* ---- float16 ---- */

uint16_t mgv_vk_to_half(float x)
{
    const uint32_t u = bits(x), sign = u >> 16 & 0x8000, size = u & 0x7fffffff;
    uint32_t exponent = size >> 23, mantissa = (size & 0x7fffff) | 0x800000, shift = 13, half, rest;

    if (size >= 0x47800000) // 65536 and beyond
        return (uint16_t)(sign | 0x7bff);
    if (exponent < 113)     // subnormal
        shift += MGV_MIN(113 - exponent, 12);
    half = mantissa >> shift;
    rest = mantissa & ((1u << shift) - 1);
    half += rest > 1u << (shift - 1) || (rest == 1u << (shift - 1) && half & 1);
    if (exponent >= 113)
        half += (exponent - 113) << 10; // with the leading bit of the mantissa an exponent of 1
    return (uint16_t)(sign | MGV_MIN(half, 0x7bff));
}

float mgv_vk_from_half(uint16_t h)
{
    const int exponent = h >> 10 & 31, mantissa = h & 0x3ff;
    const float size = exponent ? ldexpf((float)(mantissa | 0x400), exponent - 25) : ldexpf((float)mantissa, -24);

    return h & 0x8000 ? -size : size;
}

static int is_product(enum MgvOpType type)
{
    return type == MGV_OP_CONV3D || type == MGV_OP_LINEAR || type == MGV_OP_ATTENTION;
}

int mgv_vk_may_be_half(const MgvPlan *plan, MgvT tensor)
{
    const MgvTensorInfo *t = &plan->tensors[tensor];

    if (t->first < 0 || t->last >= plan->nb_ops || t->dtype != MGV_F32) // an input, an output
        return 0;
    for (int i = 0; i < plan->nb_ops; i++)
        for (int k = 0; k < MGV_MAX_IN; k++)
            if (plan->ops[i].in[k] == tensor && !is_product(plan->ops[i].type))
                return 0;
    return 1;
}

/* ---- weights as they are in the file ---- */

static void measure_weight(MgvVkOp *o, int i, size_t values)
{
    o->weight_bytes[i] = values * sizeof(float);
}

static int pack_plain(const MgvVkOp *o, int i, void *out)
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

/* Two tiles of float16, rows padded by eight values, and a matrix of sums for each subgroup. */
static uint32_t shared_bytes(const MgvVkCoopmat *c, const MgvVkMatrixTile *t)
{
    return 2 * (t->bm + t->bn) * (t->bk + 8) * 2 + t->bm / t->wm * (t->bn / t->wn) * c->m * c->n * 4;
}

/* The largest tile that is small enough for shared memory and leaves work for a large device; 0: product without. */
static MgvVkMatrixTile choose_matrix_tile(const MgvVkOp *o)
{
    static const struct { MgvVkMatrixTile tile; int columns, many; } tiles[] = { // many: only if they fill the device
        { { 128, 128, 64, 32, 32 }, 96, 1 }, { { 128, 128, 64, 32, 16 }, 96, 1 },
        { { 128, 64, 32, 32, 32 }, 48, 1 },  { { 64, 64, 32, 32, 32 }, 48, 0 },
        { { 128, 32, 32, 32, 32 }, 0, 1 },   { { 64, 32, 32, 32, 32 }, 0, 0 },
    };
    const VkPhysicalDeviceLimits *limits = &o->dev->properties.limits;

    for (size_t i = 0; i < MGV_ARRAY_LEN(tiles) && o->dev->coopmat.m && o->in.c % 8 == 0; i++) {
        const MgvVkMatrixTile *t = &tiles[i].tile;

        if (o->out.c >= tiles[i].columns &&
            (!tiles[i].many || blocks_of(cells(o->out), t->bm) * blocks_of(o->out.c, t->bn) >= o->dev->coopmat.fill) &&
            shared_bytes(&o->dev->coopmat, t) <= limits->maxComputeSharedMemorySize &&
            t->bm / t->wm * (t->bn / t->wn) * o->dev->coopmat.subgroup <= limits->maxComputeWorkGroupInvocations)
            return *t;
    }
    return (MgvVkMatrixTile){ 0 };
}

/** How a product's matrix is stored: tiles of columns, in them steps of depth. */
typedef struct Packing {
    size_t depth, columns; ///< padded
    size_t bn, bk;         ///< columns of a tile, depth of a step
    size_t column, row;    ///< from one column of a step to the next, from one depth to the next
} Packing;

static Packing packing_of(const MgvVkOp *o)
{
    const MgvVkMatrixTile m = o->matrix;
    const size_t step = m.bm ? m.bk : GEMM_STEP, bn = m.bm ? m.bn : choose_tile(o).bn;
    Packing p = { .depth = blocks_of(taps(o) * o->in.c, step) * step, .columns = blocks_of(o->out.c, bn) * bn };

    p.bn     = m.bm ? bn : p.columns;
    p.bk     = m.bm ? step : p.depth;
    p.column = m.bm ? p.bk : 1;
    p.row    = m.bm ? 1 : p.bn;
    return p;
}

/* A power of two that brings the largest weight to [2^14,2^15), so that few of the small ones are subnormal. */
static int find_scale(MgvVkOp *o)
{
    const MgvTensor *w = o->op->weight[0];
    const int64_t rows = o->out.c, n = (int64_t)taps(o) * o->in.c;
    float *row = mgv_calloc((size_t)n, sizeof(*row)), most = 0;
    int exponent = 0;

    if (!row) {
        mgv_err(o->dev->log, "%s: out of memory for weights", o->op->name);
        return MAGVIT_ERR(ENOMEM);
    }
    for (int64_t r = 0; r < rows; r++) {
        mgv_tensor_to_f32(w, r * n, n, row);
        for (int64_t i = 0; i < n; i++)
            most = MGV_MAX(most, fabsf(row[i]));
    }
    mgv_freep(&row);
    frexpf(most, &exponent);
    o->scale = ldexpf(1, MGV_CLAMP(exponent, -90, 127) - 15);
    return 0;
}

static int measure_gemm(MgvVkOp *o)
{
    Packing p;

    o->matrix = choose_matrix_tile(o);
    p = packing_of(o);
    o->weight_bytes[0] = p.depth * p.columns * (o->dev->half ? sizeof(uint16_t) : sizeof(float));
    if (o->op->weight[1])
        measure_weight(o, 1, (size_t)o->out.c);
    o->scale = 1;
    return o->dev->half ? find_scale(o) : 0;
}

/* Column c of the matrix to its place. */
static void put_column(const MgvVkOp *o, const Packing *p, void *out, size_t c, const float *column, size_t n)
{
    const size_t at = c / p->bn * p->bn * p->depth + c % p->bn * p->column;

    for (size_t k = 0; k < n; k++) {
        const size_t i = at + k / p->bk * p->bk * p->bn + k % p->bk * p->row;

        if (o->dev->half)
            ((uint16_t *)out)[i] = mgv_vk_to_half(column[k] / o->scale);
        else
            ((float *)out)[i] = column[k];
    }
}

/* [cout,cin,taps] to [taps,cin,cout], or tiles of it. */
static int pack_gemm(const MgvVkOp *o, int i, void *out)
{
    const size_t nb = taps(o), cin = (size_t)o->in.c;
    const Packing p = packing_of(o);
    float *row, *column;

    if (i)
        return pack_plain(o, i, out);
    row = mgv_calloc(2 * nb * cin, sizeof(*row));
    if (!row)
        return MAGVIT_ERR(ENOMEM);
    column = row + nb * cin;
    for (size_t c = 0; c < (size_t)o->out.c; c++) {
        mgv_tensor_to_f32(o->op->weight[0], (int64_t)(c * nb * cin), (int64_t)(nb * cin), row);
        for (size_t k = 0; k < cin; k++)
            for (size_t t = 0; t < nb; t++)
                column[t * cin + k] = row[k * nb + t];
        put_column(o, &p, out, c, column, nb * cin);
    }
    mgv_freep(&row);
    return 0;
}

#if CONFIG_COOPMAT
static int prepare_coopmat(MgvVkOp *o, const uint32_t *numbers, size_t size)
{
    const MgvVkMatrixTile *t = &o->matrix;
    const MgvVkCoopmat *c = &o->dev->coopmat;
    const uint32_t spec[MGV_VK_MAX_SPEC] = {
        t->bm / t->wm * (t->bn / t->wn) * c->subgroup, t->bm, t->bn, t->wm, t->wn, o->op->act,
        o->op->weight[1] != NULL, t->bk, (uint32_t)o->op->u.conv.k, o->op->u.conv.pad == MGV_PAD_REFLECT,
        [12] = c->m, c->n, c->k, c->subgroup,
    };
    const uint64_t groups = blocks_of(cells(o->out), t->bm) * blocks_of(o->out.c, t->bn);
    const int conv = o->op->type == MGV_OP_CONV3D;
    int ret;

    add(o, &ret, conv ? MGV_VK_conv3d_coopmat : MGV_VK_linear_coopmat, spec, MGV_VK_MAX_SPEC, numbers, size, groups);
    return ret;
}
#endif

static int prepare_gemm(MgvVkOp *o)
{
    const Tile t = choose_tile(o);
    const uint32_t rows = cells(o->out), depth = (uint32_t)(taps(o) * o->in.c);
    const uint32_t spec[] = {
        t.bm / t.tm * (t.bn / t.tn), t.bm, t.bn, t.tm, t.tn, o->op->act, o->op->weight[1] != NULL,
        o->in.c % 4 == 0 && o->out.c % 4 == 0, (uint32_t)o->op->u.conv.k, o->op->u.conv.pad == MGV_PAD_REFLECT,
    };
    const uint32_t numbers[] = {
        rows, depth, (uint32_t)o->out.c, (uint32_t)packing_of(o).columns, bits(o->scale), (uint32_t)o->in.c,
        (uint32_t)o->in.t, (uint32_t)o->in.h, (uint32_t)o->in.w,
    };
    const uint64_t groups = blocks_of(rows, t.bm) * blocks_of(o->out.c, t.bn);
    const int conv = o->op->type == MGV_OP_CONV3D;
    int ret;

#if CONFIG_COOPMAT
    if (o->matrix.bm)
        return prepare_coopmat(o, numbers, sizeof(numbers));
#endif
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

/* Keys that attention by cooperative matrices takes at once with four subgroups; 0: it is not possible. */
static uint32_t matrix_keys(const MgvVkOp *o)
{
    const MgvVkCoopmat *c = &o->dev->coopmat;
    const VkPhysicalDeviceLimits *limits = &o->dev->properties.limits;
    const uint32_t d = (uint32_t)(o->out.c / o->op->u.attention.heads), step = MGV_MAX(c->n, c->k);

    if (!c->m || d % 8 || c->subgroup % c->m || c->subgroup / c->m > c->n / 4 || c->k < 8 || c->n < 8 ||
        4 * c->subgroup > limits->maxComputeWorkGroupInvocations)
        return 0;
    for (uint32_t keys = 64; keys >= 32; keys /= 2) {
        const uint32_t rows = MGV_MAX(2 * keys, 4 * c->m), row = (d + step - 1) / step * step / 8 + 1;

        if (16 * (rows * row + 4 * c->m * (keys / 8 + 1 + keys / 4 + 1)) <= limits->maxComputeSharedMemorySize)
            return keys;
    }
    return 0;
}

static int measure_attention(MgvVkOp *o)
{
    return matrix_keys(o) || attention_tile(o).rq ? 0 : refuse(o, "has wider heads than the device's shared memory holds");
}

static int prepare_attention(MgvVkOp *o)
{
    const AttentionTile t = attention_tile(o);
    const uint32_t heads = (uint32_t)o->op->u.attention.heads, d = (uint32_t)o->out.c / heads;
    const uint32_t spec[] = { t.rq, t.rk, d };
    const uint32_t numbers[] = { (uint32_t)o->out.w, (uint32_t)o->out.c, heads, bits(1.0f / sqrtf((float)d)) };
    int ret;

#if CONFIG_COOPMAT
    const uint32_t keys = matrix_keys(o);

    if (keys) {
        const MgvVkCoopmat *c = &o->dev->coopmat;
        const uint32_t by_matrix[MGV_VK_MAX_SPEC] = { 4 * c->subgroup, d, keys, 4, [12] = c->m, c->n, c->k, c->subgroup };

        ADD(o, &ret, attention_coopmat, by_matrix, numbers, o->out.n * heads * blocks_of(o->out.w, 4 * c->m));
        return ret;
    }
#endif
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
static int pack_codes(const MgvVkOp *o, int i, void *packed)
{
    const size_t rows = table_rows(o), d = (size_t)o->in.c;
    float *row = mgv_calloc(d, sizeof(*row)), *out = packed;

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
    int (*pack)(const MgvVkOp *o, int i, void *out);
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
