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
 * 3x3x3 convolution by oneDNN on tiles: a band of rows through a span of
 * planes. A tile copies its input with one cell of padding into scratch memory,
 * plane by plane, and convolves each output plane while the three input planes
 * are in second-level cache. oneDNN never pads, so reflection costs what zeros
 * cost. The kernel 1x1x1 is a matrix product.
 *
 * A GROUP_NORM or UPSAMPLE that comes before is done as a tile copies its input,
 * and the statistics of a GROUP_NORM that comes after are taken of what it gives.
 * Two convolutions of the same input that have few output channels are one: of
 * fewer than a vector holds, oneDNN's code takes as long as for a whole one.
 *
 * With AMX the product of a tile's planes is our own, see amx_conv.c.
 */

#include <string.h>

#include "kernels/amx.h"
#include "kernels/dnnl.h"

/** Three padded planes of a band should take no more than this. */
#define CACHE_BYTES (448 << 10)
#define AMX_CACHE_BYTES (896 << 10) ///< of processors with AMX, whose second-level cache is larger
/** Tiles to aim for, so that many threads have work and none waits long for the last. */
#define MIN_TILES 32
#define AMX_MIN_TILES 8 ///< that are enough for each thread, if that is less
/** But do not cut work smaller than this many multiply-accumulates. */
#define MIN_TILE_MACS 4e6
/** More bytes of weights come by for every product, so it is one of as many pixels as this, of all planes of a tile. */
#define MANY_WEIGHTS (1 << 20)
#define MANY_PIXELS 256

/** Padded planes that AMX needs at a time, so that they stay in second-level cache. oneDNN's lie one behind the other. */
#define RING 3

/** Larger outputs are written past the caches, which would first read what is overwritten. */
#define STREAM_BYTES (16 << 20)
/** A norm is done before its values are copied if that is not to be done more often. */
#define MAX_OVERLAP 2.0

/** Most output channels of two that are one, each. */
#define MAX_BESIDE 8

typedef struct Product {
    MgvDnnlPrim *whole, *last;  ///< for a whole band of one plane, and for the last band if it has fewer rows
    void *weights;              ///< in the primitive's layout
#if MGV_AMX
    MgvAmxWeights amx;          ///< instead of the three
#endif
    float *bias;
    int cout;
} Product;

typedef struct Conv {
    MgvDnnlRows *rows;          ///< kernel 1; all else is unused
#if MGV_AMX
    MgvAmxLinear *linear;       ///< the same
#endif
    Product one, both;          ///< of this op, and with that beside
    size_t element;             ///< bytes of a padded value
    int band, nb_bands;         ///< rows of a band
    int span, nb_spans;         ///< planes of a span
    int together;               ///< all of its planes are multiplied at once
    int ring;                   ///< padded planes that are kept
    size_t pad_bytes, y_bytes;  ///< of scratch for a thread: padded planes; a plane's output
    size_t prim_bytes;          ///< and what a primitive needs
} Conv;

typedef struct Run {
    const float *in;
    float *out;
} Run;

static void product_uninit(Product *p)
{
    mgv_dnnl_free(&p->last);
    mgv_dnnl_free(&p->whole);
    mgv_freep(&p->weights);
#if MGV_AMX
    mgv_freep(&p->amx.data);
#endif
    mgv_freep(&p->bias);
}

static void conv3d_unprepare(MgvKernelOp *o)
{
    Conv *c = o->priv;

    if (!c)
        return;
    mgv_dnnl_rows_free(&c->rows);
#if MGV_AMX
    mgv_amx_linear_free(&c->linear);
#endif
    product_uninit(&c->one);
    product_uninit(&c->both);
    mgv_freep(&o->priv);
}

static int parts(int n, int size)
{
    return (n + size - 1) / size;
}

/** Choose tiles by the shape, and of many weights by the threads: large ones, cut so that what they copy twice stays little. */
static void choose_tiles(Conv *c, const MgvKernelOp *o)
{
    const MgvShape s = o->in[0];
    const double row = (s.w + 2.0) * s.c * c->element, row_macs = o->op->macs / ((double)s.n * s.t * s.h);
    const int step = mgv_cpu_norm_rows(o->out), cache = o->dev->amx ? AMX_CACHE_BYTES : CACHE_BYTES;
    const int min_tiles = o->dev->amx ? MGV_MIN(MIN_TILES, AMX_MIN_TILES * o->dev->threads) : MIN_TILES;

    c->band = MGV_CLAMP((int)(cache / (3 * row)) - 2, MGV_MIN(4, s.h), s.h);
    c->span = s.t;
    c->together = o->dev->amx && s.t > 1 && 27.0 * s.c * o->out.c * c->element > MANY_WEIGHTS;
    if (c->together) {
        c->band = MGV_MIN(s.h, parts(MANY_PIXELS, s.t * s.w));
        while (s.n * parts(s.h, c->band) < o->dev->threads && c->band > step)
            c->band = (c->band + 1) / 2;
    } else {
        while ((int64_t)s.n * parts(s.t, c->span) * parts(s.h, c->band) < min_tiles &&
               row_macs * c->span * c->band > 2 * MIN_TILE_MACS && (c->span > 1 || c->band > 1)) {
            if (c->span > c->band)
                c->span = (c->span + 1) / 2;
            else
                c->band = (c->band + 1) / 2;
        }
    }
    c->band = MGV_ALIGN_UP(c->band, step);
    c->nb_spans = parts(s.t, c->span);
    c->nb_bands = parts(s.h, c->band);
}

/** How often a tile reads what it reads, for the sake of its edges. */
static double overlap(const Conv *c)
{
    return (1.0 + 2.0 / c->band) * (1.0 + 2.0 / c->span);
}

/** A product to cout channels on a band of some rows. */
static MgvDnnlConv product_of(const MgvKernelOp *o, int rows, int cout)
{
    return (MgvDnnlConv){ 1, rows, o->in[0].w, o->in[0].c, cout, !!o->op->weight[1] };
}

static int whole_init(Product *p, const MgvKernelOp *o, int cout)
{
    const MgvDnnlConv conv = product_of(o, ((const Conv *)o->priv)->band, cout);

    p->cout = cout;
    if (o->dev->amx)
        return 0;
    return mgv_dnnl_conv(&p->whole, o, &conv, NULL);
}

/** Tiles and the primitive for whole ones, by which it shows whether oneDNN has fast code for bf16. */
static int declare_kernel3(MgvKernelOp *o)
{
    Conv *c = o->priv;
    int ret;

    /* half the bytes make larger bands */
    c->element = mgv_cpu_is_bf16(o->dev) ? sizeof(uint16_t) : sizeof(float);
    choose_tiles(c, o);
    if ((ret = whole_init(&c->one, o, o->out.c)) < 0)
        return ret;
    if (c->element < sizeof(float) && !o->dev->amx && mgv_dnnl_type(c->one.whole) == MGV_DNNL_F32) {
        mgv_dnnl_free(&c->one.whole);
        c->element = sizeof(float);
        choose_tiles(c, o);
        ret = whole_init(&c->one, o, o->out.c);
    }
    o->reads_bf16 = c->element < sizeof(float);
    o->writes_bf16 = o->reads_bf16 && o->op->act != MGV_ACT_NONE; // else whoever reads floats needs them more
    o->may_round = o->reads_bf16 && o->out.c > MAX_BESIDE;
    o->fuses |= 1u << MGV_OP_GROUP_NORM;
    if (o->out.c <= MAX_BESIDE && o->op->act == MGV_ACT_NONE)
        o->fuses |= 1u << MGV_OP_CONV3D;
    o->adds_in_place = 1;
    o->fuses_before = 1u << MGV_OP_UPSAMPLE;
    if (overlap(c) <= MAX_OVERLAP)
        o->fuses_before |= 1u << MGV_OP_GROUP_NORM;
    return ret;
}

static int pack_dnnl(Product *p, MgvKernelOp *o, const float *weights)
{
    Conv *c = o->priv;
    const int cin = o->in[0].c;
    const ptrdiff_t strides[] = { (ptrdiff_t)cin * 27, 27, 9, 3, 1 };
    const MgvDnnlConv conv = product_of(o, o->in[0].h - (c->nb_bands - 1) * c->band, p->cout);
    size_t prim_bytes = mgv_dnnl_scratch_bytes(p->whole);
    int ret;

    if (conv.h < c->band) {
        if ((ret = mgv_dnnl_conv(&p->last, o, &conv, p->whole)) < 0)
            return ret;
        prim_bytes = MGV_MAX(prim_bytes, mgv_dnnl_scratch_bytes(p->last));
    }
    c->prim_bytes = MGV_MAX(c->prim_bytes, prim_bytes);
    o->weight_bytes += mgv_dnnl_weight_bytes(p->whole);
    return mgv_dnnl_pack(&p->weights, o, p->whole, weights, strides);
}

/** Put weights, in file order, into the order in which they are used. */
static int pack(Product *p, MgvKernelOp *o, const float *weights)
{
#if MGV_AMX
    if (o->dev->amx) {
        const int ret = mgv_amx_conv_pack(&p->amx, weights, o->in[0].c, p->cout);

        o->weight_bytes += p->amx.bytes;
        return ret < 0 ? mgv_cpu_no_memory(o) : 0;
    }
#endif
    return pack_dnnl(p, o, weights);
}

/** What a product needs besides the primitive for whole bands. weights: in file order */
static int product_init(Product *p, MgvKernelOp *o, const float *weights)
{
    Conv *c = o->priv;
    const MgvShape s = o->in[0];
    size_t y_bytes;
    int ret;

    if ((ret = pack(p, o, weights)) < 0)
        return ret;
    y_bytes = MGV_ALIGN_UP((size_t)(c->together ? c->span : 1) * c->band * s.w * p->cout * sizeof(float), MGV_ALIGNMENT);
    c->y_bytes = MGV_MAX(c->y_bytes, y_bytes);
    c->ring = o->dev->amx && !c->together ? MGV_MIN(RING, c->span + 2) : c->span + 2;
    c->pad_bytes = (size_t)c->ring * (c->band + 2) * (s.w + 2) * s.c * c->element;
#if MGV_AMX
    if (o->dev->amx) // 16 pixels of a row that may have fewer, a step of their channels
        c->pad_bytes += (size_t)MGV_AMX_ROWS * s.c * c->element + MGV_AMX_BYTES;
#endif
    c->pad_bytes = MGV_ALIGN_UP(c->pad_bytes, MGV_ALIGNMENT);
    o->weight_bytes += p->bias ? p->cout * sizeof(*p->bias) : 0;
    o->scratch_bytes = (c->pad_bytes + c->y_bytes + c->prim_bytes) * o->dev->threads;
    return 0;
}

/** Weight i of this op and, behind it, of that beside. */
static float *weights_of_both(MgvKernelOp *o, int i)
{
    const size_t n = o->op->weight[i]->elements, beside = o->beside->op->weight[i]->elements;
    float *w = mgv_calloc(n + beside, sizeof(*w));

    if (w) {
        mgv_tensor_to_f32(o->op->weight[i], 0, n, w);
        mgv_tensor_to_f32(o->beside->op->weight[i], 0, beside, w + n);
    }
    return w;
}

static int both_init(MgvKernelOp *o)
{
    Conv *c = o->priv;
    float *weights = weights_of_both(o, 0);
    int ret = MAGVIT_ERR(ENOMEM);

    if (weights && (!o->op->weight[1] || (c->both.bias = weights_of_both(o, 1))))
        ret = whole_init(&c->both, o, o->out.c + o->beside->out.c);
    else
        mgv_cpu_no_memory(o);
    if (ret >= 0 && c->both.whole && mgv_dnnl_type(c->both.whole) != mgv_dnnl_type(c->one.whole)) {
        mgv_err(o->log, "%s: oneDNN has no fast convolution to %d channels", o->op->name, c->both.cout);
        ret = MAGVIT_ERR(ENOTSUP);
    }
    if (ret >= 0)
        ret = product_init(&c->both, o, weights);
    mgv_freep(&weights);
    return ret;
}

static int conv3d_declare(MgvKernelOp *o)
{
    int ret = 0;

    o->priv = mgv_calloc(1, sizeof(Conv));
    if (!o->priv)
        return mgv_cpu_no_memory(o);
    o->fuses = 1u << MGV_OP_ADD;
    if (o->op->u.conv.k == 1)
        o->reads_bf16 = o->writes_bf16 = mgv_cpu_is_bf16(o->dev);
    else
        ret = declare_kernel3(o);
    if (ret < 0)
        conv3d_unprepare(o);
    return ret;
}

static int rows_init(MgvKernelOp *o, float *weights)
{
    const MgvShape s = o->in[0];
    const int64_t rows = (int64_t)s.n * s.t * s.h * s.w;
    Conv *c = o->priv;

#if MGV_AMX
    if (o->dev->amx)
        return mgv_amx_linear_alloc(&c->linear, o, rows, s.c, o->out.c, weights, c->one.bias, 0);
#endif
    return mgv_dnnl_rows_alloc(&c->rows, o, rows, s.c, o->out.c, weights, c->one.bias, 0);
}

static int conv3d_prepare(MgvKernelOp *o)
{
    const MgvOp *op = o->op;
    Conv *c = o->priv;
    float *weights = mgv_host_weight(o, 0);
    int ret;

    if (!weights || (op->weight[1] && !(c->one.bias = mgv_host_weight(o, 1))))
        ret = mgv_cpu_no_memory(o);
    else if (op->u.conv.k == 1)
        ret = rows_init(o, weights);
    else
        ret = product_init(&c->one, o, weights);
    if (ret >= 0 && o->beside)
        ret = both_init(o);
    mgv_freep(&weights);
    if (ret < 0)
        conv3d_unprepare(o);
    return ret;
}

/** Where cell i of a padded axis comes from; -1: it is zero. */
static int padded(int i, int n, enum MgvPad pad)
{
    if (i >= 0 && i < n)
        return i;
    if (pad == MGV_PAD_ZERO)
        return -1;
    return n == 1 ? 0 : i < 0 ? -i : 2 * (n - 1) - i;
}

/** Row of a plane of the input, or of what the op before makes of it, in the type that the primitive reads. */
static void copy_row(char *dst, const MgvKernelOp *o, const float *in, int64_t plane, int row)
{
    const MgvShape s = o->in[0];
    const size_t n = (size_t)s.w * s.c, from = plane * s.h + row;
    const int bf16 = ((const Conv *)o->priv)->element < sizeof(float);
    float *y = bf16 ? NULL : (float *)dst;
    uint16_t *y16 = bf16 ? (uint16_t *)dst : NULL;

    if (o->before && o->before->op->type == MGV_OP_UPSAMPLE)
        mgv_cpu_upsample_row(o->before, y, y16, in, from);
    else if (o->before)
        mgv_cpu_norm_apply(o->before, y, y16, mgv_values_at(mgv_values(in, o->in16[0]), from * n), from, 1);
    else if (o->in16[0])
        memcpy(y16, o->in16[0] + from * n, n * sizeof(*y16));
    else if (bf16)
        mgv_cpu_bf16(y16, in + from * n, n);
    else
        memcpy(y, in + from * n, n * sizeof(*y));
}

/** By what an UPSAMPLE before repeats rows and planes. */
static int repeats(const MgvKernelOp *o, int planes)
{
    if (!o->before || o->before->op->type != MGV_OP_UPSAMPLE)
        return 1;
    return planes ? o->before->op->u.resample.ft : o->before->op->u.resample.fh;
}

/** Copy rows [first-1, first+rows+1) of a plane with padding. plane: its number among all planes; < 0: zeros. */
static void pad_plane(char *dst, const MgvKernelOp *o, const float *in, int64_t plane, int first, int rows)
{
    const enum MgvPad pad = o->op->u.conv.pad;
    const int w = o->in[0].w, left = padded(-1, w, pad), right = padded(w, w, pad), fh = repeats(o, 0);
    const size_t cell = o->in[0].c * ((const Conv *)o->priv)->element, size = w * cell;

    for (int i = -1, from, last = -1; i <= rows; i++, dst += size + 2 * cell, last = from) {
        from = padded(first + i, o->in[0].h, pad);
        if (plane < 0 || from < 0) {
            memset(dst, 0, size + 2 * cell);
            continue;
        }
        if (last >= 0 && from / fh == last / fh) {
            memcpy(dst, dst - (size + 2 * cell), size + 2 * cell);
            continue;
        }
        copy_row(dst + cell, o, in, plane, from);
        if (left < 0) {
            memset(dst, 0, cell);
            memset(dst + cell + size, 0, cell);
        } else {
            memcpy(dst, dst + cell + left * cell, cell);
            memcpy(dst + cell + size, dst + cell + right * cell, cell);
        }
    }
}

/** Is the output, of values of a size, to be written past the caches? */
static int is_large(const MgvKernelOp *o, size_t size)
{
    return mgv_shape_elements(o->out) * size > STREAM_BYTES;
}

/** Is what is added to the output added as a tile of it is complete? Tiles must not overlap. */
static int adds_in_tile(const MgvKernelOp *o)
{
#if MGV_AMX
    return o->dev->amx && o->residual && o->op->act == MGV_ACT_NONE && o->out.w % MGV_AMX_ROWS == 0 &&
           !((const Conv *)o->priv)->together;
#else
    (void)o;
    return 0;
#endif
}

/** Is the output activated and rounded as a tile of it is complete? */
static int rounds_in_tile(const MgvKernelOp *o, const Run *run)
{
    return o->dev->amx && !run->out;
}

/** conv3d_out() where there is only bf16; rounded: in y already. */
static void bf16_out(const MgvKernelOp *o, const void *y, size_t at, size_t n, int rounded, int64_t row, int rows, int thread)
{
    uint16_t *out = o->out16 + at;

    if (!rounded)
        mgv_cpu_act_bf16(out, y, n, o->op->act);
    if (o->stats_of)
        mgv_cpu_norm_stats(o->stats_of, o->stat, mgv_values(NULL, rounded ? y : out), row, rows, thread);
    if (rounded && y != out)
        mgv_cpu_stream(out, y, n * sizeof(*out));
}

/**
 * What comes after the convolution of rows of a plane, which lie in y; row: number of the first among all. A few rows
 * at a time, which stay in first-level cache meanwhile.
 */
static void conv3d_out(const MgvKernelOp *o, const Run *run, void *products, int64_t row, int rows, int thread)
{
    const int step = mgv_cpu_norm_rows(o->out), added = adds_in_tile(o), rounded = rounds_in_tile(o, run);
    const size_t n = (size_t)step * o->out.w * o->out.c;

    for (size_t at = row * (n / step); rows > 0; rows -= step, row += step, at += n) {
        float *y = products, *out = run->out ? run->out + at : NULL, *sum = y;

        products = (char *)products + n * (rounded ? sizeof(*o->out16) : sizeof(*y));
        if (!out) {
            bf16_out(o, y, at, n, rounded, row, step, thread);
            continue;
        }
        mgv_cpu_act(y, n, o->op->act);
        if (o->residual == run->out && !added)
            mgv_cpu_add(sum = out, y, n);
        else if (o->residual && !added)
            mgv_cpu_add(y, o->residual + at, n);
        if (o->stats_of)
            mgv_cpu_norm_stats(o->stats_of, o->stat, mgv_values(sum, NULL), row, step, thread);
        if (o->out16)
            mgv_cpu_bf16(o->out16 + at, sum, n);
        if (sum != out)
            mgv_cpu_stream(out, sum, n * sizeof(*out));
    }
}

/** The same for two convolutions: pixels of y have the channels of both. */
static void conv3d_out_both(const MgvKernelOp *o, const Run *run, const float *y, int64_t row, int rows)
{
    const int c = o->out.c, beside = o->beside->out.c;
    const size_t at = (size_t)row * o->out.w, n = (size_t)rows * o->out.w;
    float *a = run->out + at * c, *b = o->out_beside + at * beside;

    for (size_t i = 0; i < n; i++) {
        for (int k = 0; k < c; k++)
            *a++ = *y++;
        for (int k = 0; k < beside; k++)
            *b++ = *y++;
    }
}

/** Does the output of a plane wait in scratch memory? */
static int is_apart(const MgvKernelOp *o, const Run *run)
{
    if (o->beside || ((const Conv *)o->priv)->together)
        return 1;
    if (!run->out)
        return !rounds_in_tile(o, run) || is_large(o, sizeof(*o->out16));
    return run->out == o->residual ? !adds_in_tile(o) : is_large(o, sizeof(*run->out));
}

/** A tile on its way: a band of some planes of a sample. */
typedef struct Tile {
    const MgvKernelOp *o;
    const Run *run;
    int64_t n;
    int first, rows;
    int t0, planes;
    size_t plane;  ///< bytes of a padded one
    char *padded;  ///< c->ring of them, used in turn
    float *apart;  ///< memory for products, NULL: they go to where they belong
    char *scratch; ///< what a primitive needs
    int thread;
} Tile;

/** Where padded plane i lies. */
static char *plane_of(const Tile *t, int i)
{
    return t->padded + i % ((const Conv *)t->o->priv)->ring * t->plane;
}

/** Number of the first row of plane i, among all. */
static int64_t row_of(const Tile *t, int i)
{
    return (t->n * t->o->out.t + t->t0 + i) * t->o->out.h + t->first;
}

/** Where plane i comes from, or -1. */
static int source_of(const Tile *t, int i)
{
    return i < 0 ? -1 : padded(t->t0 + i - 1, t->o->in[0].t, t->o->op->u.conv.pad);
}

static void copy_plane(const Tile *t, int i)
{
    const int from = source_of(t, i), last = source_of(t, i - 1), ft = repeats(t->o, 1);

    if (last >= 0 && from >= 0 && from / ft == last / ft)
        memcpy(plane_of(t, i), plane_of(t, i - 1), t->plane);
    else
        pad_plane(plane_of(t, i), t->o, t->run->in, from < 0 ? -1 : t->n * t->o->in[0].t + from, t->first, t->rows);
}

/** What a last step reads behind the last pixel of a plane is multiplied by zeros, but must be finite. */
static void clear_behind(const Tile *t)
{
#if MGV_AMX
    const Conv *c = t->o->priv;

    memset(plane_of(t, (c->together ? t->planes : 1) + 2), 0, MGV_AMX_BYTES);
    memset(t->padded + c->ring * t->plane, 0, MGV_AMX_BYTES);
#else
    (void)t;
#endif
}

#if MGV_AMX
static void amx_planes(const Tile *t, const Product *p, int plane, int planes, void *y)
{
    const MgvKernelOp *o = t->o;
    const int width = o->in[0].w;
    MgvAmxPlanes l = { .padded = t->padded, .planes = planes, .rows = t->rows, .width = width };

    if (rounds_in_tile(o, t->run)) {
        l.y16 = y;
        l.act = o->op->act;
    } else {
        l.y = y;
    }
    if (adds_in_tile(o))
        l.residual = o->residual + row_of(t, plane) * width * o->out.c;
    for (int i = 0; i < 3; i++)
        l.plane[i] = plane_of(t, plane + i) - t->padded;
    mgv_amx_conv(&p->amx, p->bias, &l);
}
#endif

/** Products of planes from one on. @return a oneDNN status, 0 for success */
static int convolve(const Tile *t, const Product *p, int plane, int planes, void *y)
{
#if MGV_AMX
    if (t->o->dev->amx) {
        amx_planes(t, p, plane, planes, y);
        return 0;
    }
#endif
    (void)planes;
    return mgv_dnnl_execute(t->rows < ((const Conv *)t->o->priv)->band ? p->last : p->whole, t->thread, plane_of(t, plane),
                            p->weights, p->bias, y, t->scratch);
}

/** Planes of a tile from one on, what they are made of being there. @return a oneDNN status, 0 for success */
static int run_planes(const Tile *t, int plane, int planes)
{
    const MgvKernelOp *o = t->o;
    const Conv *c = o->priv;
    const Product *p = o->beside ? &c->both : &c->one;
    const size_t at = row_of(t, plane) * o->out.w * o->out.c, n = (size_t)t->rows * o->out.w * p->cout;
    const size_t size = rounds_in_tile(o, t->run) ? sizeof(*o->out16) : sizeof(float);
    char *y = t->run->out ? (char *)(t->run->out + at) : (char *)(o->out16 + at);
    int status;

    if (t->apart)
        y = (char *)t->apart;
    status = convolve(t, p, plane, planes, y);
    for (int k = 0; k < planes && !status; k++, y += n * size) {
        if (o->beside)
            conv3d_out_both(o, t->run, (const float *)y, row_of(t, plane + k), t->rows);
        else
            conv3d_out(o, t->run, y, row_of(t, plane + k), t->rows, t->thread);
    }
    return status;
}

static int conv3d_tile(const MgvKernelOp *o, void *arg, int tile, int thread)
{
    const Conv *c = o->priv;
    const Run *run = arg;
    const MgvShape s = o->in[0];
    char *scratch = (char *)o->scratch + thread * (c->pad_bytes + c->y_bytes + c->prim_bytes);
    Tile t = {
        .o = o, .run = run, .n = tile / c->nb_bands / c->nb_spans, .first = tile % c->nb_bands * c->band,
        .t0 = tile / c->nb_bands % c->nb_spans * c->span, .padded = scratch,
        .apart = is_apart(o, run) ? (float *)(scratch + c->pad_bytes) : NULL,
        .scratch = scratch + c->pad_bytes + c->y_bytes, .thread = thread,
    };
    int status = 0;

    t.rows   = MGV_MIN(c->band, s.h - t.first);
    t.planes = MGV_MIN(c->span, s.t - t.t0);
    t.plane  = (size_t)(t.rows + 2) * (s.w + 2) * s.c * c->element;
    if (o->dev->amx)
        clear_behind(&t);
    for (int i = 0, lot = c->together ? t.planes : 1; i < t.planes + 2 && !status; i++) {
        copy_plane(&t, i);
        if (i > lot) // the first of a lot that is complete
            status = run_planes(&t, i - 1 - lot, lot);
    }
    return status;
}

static int conv3d_dnnl(const MgvKernelOp *o, const void *const in[MGV_MAX_IN], void *out, int job, int nb_jobs)
{
    const Conv *c = o->priv;
    Run run = { in[0], out };

    (void)job, (void)nb_jobs;
    if (c->rows)
        return mgv_dnnl_rows_run(o, c->rows, in[0], out);
#if MGV_AMX
    if (c->linear)
        return mgv_amx_linear_run(o, c->linear, in[0], out);
#endif
    if (o->before && o->before->op->type == MGV_OP_GROUP_NORM)
        mgv_cpu_norm_measure(o->before, o->stat, mgv_values(in[0], o->in16[0]));
    return mgv_dnnl_tiles(o, "convolution", o->in[0].n * c->nb_spans * c->nb_bands, conv3d_tile, &run);
}

const MgvKernel mgv_conv3d_dnnl = {
    .declare = conv3d_declare, .prepare = conv3d_prepare, .run = conv3d_dnnl, .unprepare = conv3d_unprepare, .threads_itself = 1,
};
