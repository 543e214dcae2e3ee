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
 * oneDNN: engine, primitives, and everything that differs between its versions
 * 2 and 3. In version 2 a memory descriptor is a struct and an operation is
 * described before its primitive descriptor is made; in version 3 both are
 * opaque and there is one call.
 */

#include <stdio.h>
#include <string.h>

#include <stdatomic.h>
#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_debug.h>

#include "kernels/amx.h"
#include "kernels/dnnl.h"

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t MdRef;
typedef struct Md { dnnl_memory_desc_t d; } Md;
#define MD_REF(md) ((md)->d)
#else
typedef const dnnl_memory_desc_t *MdRef;
typedef struct Md { dnnl_memory_desc_t d; } Md;
#define MD_REF(md) (&(md)->d)
#endif

#define MAX_DIMS 5

typedef struct Engine {
    dnnl_engine_t engine;
    dnnl_stream_t *streams; ///< one a thread
    int nb_streams;
} Engine;

enum { SRC, WEIGHTS, BIAS, DST, SCRATCH, NB_MEM };

struct MgvDnnlPrim {
    const Engine *e;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t prim;
    dnnl_memory_t (*mem)[NB_MEM];  ///< one set a thread; the pointers inside are set at each call
    int nb_dims, dims[MAX_DIMS];   ///< of the weights
    size_t weight_bytes, scratch_bytes;
    enum MgvDnnlType type;
};

/** Assign status and, when it is not success, keep the call's text and jump to fail. */
#define DNNL(x)                               \
    do {                                      \
        if ((status = (x)) != dnnl_success) { \
            call = #x;                        \
            goto fail;                        \
        }                                     \
    } while (0)

static int log_status(const MagvitLogger *log, const char *op, const char *primitive, const char *call,
                      dnnl_status_t status)
{
    int len = call ? (int)strcspn(call, "(") : 0;

    mgv_err(log, "%s: oneDNN %s: %.*s%s%s", op, primitive, len, call ? call : "", len ? ": " : "",
            dnnl_status2str(status));
    return status == dnnl_out_of_memory ? MAGVIT_ERR(ENOMEM) : MAGVIT_ERROR_DEVICE;
}

/* ---- versions ---- */

/** strides NULL: a layout of the primitive's choice. */
static dnnl_status_t md_init(Md *md, dnnl_data_type_t type, int nb_dims, const int *dims, const ptrdiff_t *strides)
{
    dnnl_dims_t d = { 0 }, s = { 0 };

    for (int i = 0; i < nb_dims; i++) {
        d[i] = dims[i];
        s[i] = strides ? strides[i] : 0;
    }
#if DNNL_VERSION_MAJOR >= 3
    if (!strides)
        return dnnl_memory_desc_create_with_tag(&md->d, nb_dims, d, type, dnnl_format_tag_any);
    return dnnl_memory_desc_create_with_strides(&md->d, nb_dims, d, type, s);
#else
    if (!strides)
        return dnnl_memory_desc_init_by_tag(&md->d, nb_dims, d, type, dnnl_format_tag_any);
    return dnnl_memory_desc_init_by_strides(&md->d, nb_dims, d, type, s);
#endif
}

static void md_uninit(Md *md)
{
#if DNNL_VERSION_MAJOR >= 3
    if (md->d)
        dnnl_memory_desc_destroy(md->d);
#endif
    memset(md, 0, sizeof(*md));
}

static dnnl_status_t conv_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, MdRef src, MdRef weights, MdRef bias,
                             MdRef dst, dnnl_primitive_attr_t attr)
{
    const dnnl_dims_t one = { 1, 1, 1 }, zero = { 0 };

#if DNNL_VERSION_MAJOR >= 3
    return dnnl_convolution_forward_primitive_desc_create(pd, engine, dnnl_forward_inference, dnnl_convolution_direct,
                                                          src, weights, bias, dst, one, zero, zero, zero, attr);
#else
    dnnl_convolution_desc_t desc;
    dnnl_status_t status = dnnl_convolution_forward_desc_init(&desc, dnnl_forward_inference, dnnl_convolution_direct,
                                                              src, weights, bias, dst, one, zero, zero);

    return status ? status : dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL);
#endif
}

static dnnl_status_t matmul_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, MdRef src, MdRef weights, MdRef bias,
                               MdRef dst, dnnl_primitive_attr_t attr)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_matmul_primitive_desc_create(pd, engine, src, weights, bias, dst, attr);
#else
    dnnl_matmul_desc_t desc;
    dnnl_status_t status = dnnl_matmul_desc_init(&desc, src, weights, bias, dst);

    return status ? status : dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL);
#endif
}

/* ---- primitives ---- */

static const struct { int isa; const char *name; } isa_names[] = {
    { dnnl_cpu_isa_sse41, "sse41" },
    { dnnl_cpu_isa_avx, "avx" },
    { dnnl_cpu_isa_avx2, "avx2" },
    { dnnl_cpu_isa_avx2_vnni, "avx2_vnni" },
    { dnnl_cpu_isa_avx512_core, "avx512_core" },
    { dnnl_cpu_isa_avx512_core_vnni, "avx512_core_vnni" },
    { dnnl_cpu_isa_avx512_core_bf16, "avx512_core_bf16" },
    { dnnl_cpu_isa_avx512_core_amx, "avx512_core_amx" },
};

static void describe(MgvDevice *dev)
{
    const dnnl_version_t *v = dnnl_version();
    int isa = dnnl_get_effective_cpu_isa();
    char hex[32];
    const char *name = hex;

    snprintf(hex, sizeof(hex), "isa %#x", isa);
    for (size_t i = 0; i < MGV_ARRAY_LEN(isa_names); i++)
        if (isa_names[i].isa == isa)
            name = isa_names[i].name;
    snprintf(dev->description, sizeof(dev->description), "oneDNN %d.%d.%d %s, %s%s, %d thread%s", v->major, v->minor,
             v->patch, name, dev->precision == MAGVIT_PRECISION_INT8 ? "int8 and " : "", dev->bf16 ? "bf16" : "f32",
             dev->threads, dev->threads == 1 ? "" : "s");
}

static int has_isa(unsigned isa)
{
    return (dnnl_get_effective_cpu_isa() & isa) == isa;
}

int mgv_dnnl_has_amx(void)
{
    return has_isa(dnnl_cpu_isa_avx512_core_amx);
}

int mgv_dnnl_fast_bf16(int avx512, int amx, int intel)
{
    return amx || (avx512 && !intel);
}

static int is_intel(void)
{
#if MGV_AVX512
    return __builtin_cpu_is("intel");
#else
    return 0;
#endif
}

/**
 * Settle what the device multiplies. Without the instructions AVX-512 would emulate bf16, slower than float32, and
 * the sums of two 8-bit products would be cut off at 16 bits.
 */
static int choose_precision(MgvDevice *dev)
{
    const int bf16 = has_isa(dnnl_cpu_isa_avx512_core_bf16);
    const int fast = mgv_dnnl_fast_bf16(bf16, mgv_dnnl_has_amx(), is_intel());
    const int int8 = has_isa(dnnl_cpu_isa_avx512_core_vnni) || has_isa(dnnl_cpu_isa_avx2_vnni);

    if (dev->precision == MAGVIT_PRECISION_F16) {
        mgv_err(dev->log, "precision is f16, must be auto, f32, bf16 or int8 for the cpu backend");
        return MAGVIT_ERR(ENOTSUP);
    }
    if (dev->precision == MAGVIT_PRECISION_BF16 && !bf16) {
        mgv_err(dev->log, "precision is bf16, must be auto or f32: this CPU has neither AVX512_BF16 nor AMX");
        return MAGVIT_ERR(ENOTSUP);
    }
    if (dev->precision == MAGVIT_PRECISION_INT8 && !int8) {
        mgv_err(dev->log, "precision is int8, must be auto or f32: this CPU has neither AVX512_VNNI nor AVX_VNNI");
        return MAGVIT_ERR(ENOTSUP);
    }
    if (dev->precision == MAGVIT_PRECISION_AUTO)
        dev->precision = fast ? MAGVIT_PRECISION_BF16 : MAGVIT_PRECISION_F32;
    dev->bf16 = dev->precision == MAGVIT_PRECISION_BF16 || (dev->precision == MAGVIT_PRECISION_INT8 && fast);
#if MGV_AMX
    dev->amx = dev->bf16 && mgv_dnnl_has_amx() && mgv_amx();
#endif
    return 0;
}

int mgv_dnnl_open(MgvDevice *dev)
{
    Engine *e = mgv_calloc(1, sizeof(*e));
    const char *call = NULL;
    dnnl_status_t status = dnnl_out_of_memory;
    int ret;

    dev->engine = e;
    if ((ret = choose_precision(dev)) < 0) {
        mgv_dnnl_close(dev);
        return ret;
    }
    if (!e || !(e->streams = mgv_calloc(dev->threads, sizeof(*e->streams))))
        goto fail;
    DNNL(dnnl_engine_create(&e->engine, dnnl_cpu, 0));
    for (e->nb_streams = 0; e->nb_streams < dev->threads; e->nb_streams++)
        DNNL(dnnl_stream_create(&e->streams[e->nb_streams], e->engine, dnnl_stream_default_flags));
    describe(dev);
    return 0;
fail:
    mgv_dnnl_close(dev);
    return log_status(dev->log, "cpu", "engine", call, status);
}

void mgv_dnnl_close(MgvDevice *dev)
{
    Engine *e = dev->engine;

    if (!e)
        return;
    for (int i = 0; i < e->nb_streams; i++)
        dnnl_stream_destroy(e->streams[i]);
    if (e->engine)
        dnnl_engine_destroy(e->engine);
    mgv_freep(&e->streams);
    mgv_freep(&dev->engine);
}

/** Query the layouts that pd settled on and make the primitive and its memory objects. */
static dnnl_status_t prim_init(MgvDnnlPrim *p, const char **failed, int nb_threads, const dnnl_query_t query[NB_MEM])
{
    MdRef md[NB_MEM];
    const char *call = NULL;
    dnnl_status_t status = dnnl_out_of_memory;

    for (int i = 0; i < NB_MEM; i++)
        md[i] = query[i] == dnnl_query_undef ? NULL :
                dnnl_primitive_desc_query_md(p->pd, query[i], query[i] == dnnl_query_weights_md && i == BIAS);
    if (md[WEIGHTS])
        p->weight_bytes = MGV_ALIGN_UP(dnnl_memory_desc_get_size(md[WEIGHTS]), MGV_ALIGNMENT);
    if (md[SCRATCH])
        p->scratch_bytes = MGV_ALIGN_UP(dnnl_memory_desc_get_size(md[SCRATCH]), MGV_ALIGNMENT);
    DNNL(dnnl_primitive_create(&p->prim, p->pd));
    status = dnnl_out_of_memory;
    p->mem = mgv_calloc(nb_threads, sizeof(*p->mem));
    if (!p->mem)
        goto fail;
    for (int t = 0; t < nb_threads; t++)
        for (int i = 0; i < NB_MEM; i++)
            if (md[i])
                DNNL(dnnl_memory_create(&p->mem[t][i], md[i], p->e->engine, DNNL_MEMORY_NONE));
    return dnnl_success;
fail:
    *failed = call;
    return status;
}

/** Primitive descriptor of a product: convolution or matmul. */
typedef dnnl_status_t PdFn(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, MdRef src, MdRef weights, MdRef bias,
                           MdRef dst, dnnl_primitive_attr_t attr);

typedef struct Array {
    int nb_dims;
    int dims[MAX_DIMS];
    ptrdiff_t strides[MAX_DIMS];
} Array;

static MgvDnnlPrim *prim_alloc(const MgvKernelOp *o)
{
    MgvDnnlPrim *p = mgv_calloc(1, sizeof(*p));

    if (p)
        p->e = o->dev->engine;
    return p;
}

/** oneDNN has an implementation of everything; those for checking are slow. */
static int is_slow(const MgvDnnlPrim *p)
{
    const char *name = "";

    dnnl_primitive_desc_query(p->pd, dnnl_query_impl_info_str, 0, &name);
    return strstr(name, "ref") != NULL;
}

static const struct { dnnl_data_type_t factors[2], dst; } types[] = {
    [MGV_DNNL_F32]  = { { dnnl_f32, dnnl_f32 }, dnnl_f32 },
    [MGV_DNNL_BF16] = { { dnnl_bf16, dnnl_bf16 }, dnnl_f32 },
    [MGV_DNNL_INT8] = { { dnnl_u8, dnnl_s8 }, dnnl_s32 },
};

/** @return MAGVIT_ERR(ENOTSUP), without a line, if there is no fast code for a type other than float32 */
static int product_of(MgvDnnlPrim **out, enum MgvDnnlType type, int dst_bf16, const MgvKernelOp *o, const char *name, PdFn *make_pd,
                      const Array *src, const Array *weights, const Array *bias, const Array *dst,
                      const MgvDnnlPrim *like)
{
    const dnnl_query_t query[NB_MEM] = {
        [SRC] = dnnl_query_src_md, [WEIGHTS] = dnnl_query_weights_md, [DST] = dnnl_query_dst_md,
        [BIAS] = bias ? dnnl_query_weights_md : dnnl_query_undef, [SCRATCH] = dnnl_query_scratchpad_md,
    };
    MgvDnnlPrim *p;
    Md ms = { 0 }, mw = { 0 }, mb = { 0 }, md = { 0 };
    dnnl_primitive_attr_t attr = NULL;
    const char *call = NULL;
    dnnl_status_t status = dnnl_out_of_memory;

    *out = prim_alloc(o);
    if (!(p = *out))
        goto fail;
    p->type    = type;
    p->nb_dims = weights->nb_dims;
    memcpy(p->dims, weights->dims, sizeof(p->dims));
    DNNL(md_init(&ms, types[type].factors[0], src->nb_dims, src->dims, src->strides));
    DNNL(md_init(&mw, types[type].factors[1], weights->nb_dims, weights->dims, NULL));
    if (bias)
        DNNL(md_init(&mb, dnnl_f32, bias->nb_dims, bias->dims, bias->strides));
    DNNL(md_init(&md, dst_bf16 ? dnnl_bf16 : types[type].dst, dst->nb_dims, dst->dims, dst->strides));
    DNNL(dnnl_primitive_attr_create(&attr));
    DNNL(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
    DNNL(make_pd(&p->pd, p->e->engine, MD_REF(&ms),
                 like ? dnnl_primitive_desc_query_md(like->pd, dnnl_query_weights_md, 0) : MD_REF(&mw),
                 bias ? MD_REF(&mb) : NULL, MD_REF(&md), attr));
    if (type != MGV_DNNL_F32 && !like && is_slow(p))
        DNNL(dnnl_unimplemented);
    status = prim_init(p, &call, p->e->nb_streams, query);
fail:
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    md_uninit(&ms);
    md_uninit(&mw);
    md_uninit(&mb);
    md_uninit(&md);
    if (status == dnnl_success)
        return 0;
    mgv_dnnl_free(out);
    if (type != MGV_DNNL_F32 && !like && status == dnnl_unimplemented)
        return MAGVIT_ERR(ENOTSUP);
    return log_status(o->log, o->op->name, name, call, status);
}

static int product(MgvDnnlPrim **out, enum MgvDnnlType type, int dst_bf16, const MgvKernelOp *o, const char *name, PdFn *make_pd,
                   const Array *src, const Array *weights, const Array *bias, const Array *dst, const MgvDnnlPrim *like)
{
    const enum MgvDnnlType fastest = mgv_cpu_is_bf16(o->dev) ? MGV_DNNL_BF16 : MGV_DNNL_F32;
    const enum MgvDnnlType try = like ? like->type : type == MGV_DNNL_FASTEST ? fastest : type;
    int ret = product_of(out, try, try == MGV_DNNL_BF16 && dst_bf16, o, name, make_pd, src, weights, bias, dst, like);

    if (ret == MAGVIT_ERR(ENOTSUP) && type == MGV_DNNL_FASTEST)
        ret = product_of(out, MGV_DNNL_F32, 0, o, name, make_pd, src, weights, bias, dst, like);
    return ret;
}

int mgv_dnnl_matmul(MgvDnnlPrim **out, const MgvKernelOp *o, const MgvDnnlMatmul *m, const MgvDnnlPrim *like)
{
    const Array src = { 2, { m->m, m->k }, { m->x_stride, 1 } };
    const Array weights = { 2, { m->k, m->n }, { 0 } };
    const Array bias = { 2, { 1, m->n }, { m->n, 1 } };
    const Array dst = { 2, { m->m, m->n }, { m->y_stride, 1 } };

    return product(out, m->type, m->y_bf16, o, "matmul", matmul_pd, &src, &weights, m->bias ? &bias : NULL, &dst,
                   like);
}

/** [T,H,W,C] as the [N,C,T,H,W] of oneDNN. */
static Array channels_last(int c, int t, int h, int w)
{
    return (Array){ 5, { 1, c, t, h, w },
                    { (ptrdiff_t)t * h * w * c, 1, (ptrdiff_t)h * w * c, (ptrdiff_t)w * c, c } };
}

int mgv_dnnl_conv(MgvDnnlPrim **out, const MgvKernelOp *o, const MgvDnnlConv *c, const MgvDnnlPrim *like)
{
    const Array src = channels_last(c->cin, c->t + 2, c->h + 2, c->w + 2);
    const Array weights = { 5, { c->cout, c->cin, 3, 3, 3 }, { 0 } };
    const Array bias = { 1, { c->cout }, { 1 } };
    const Array dst = channels_last(c->cout, c->t, c->h, c->w);

    return product(out, MGV_DNNL_FASTEST, 0, o, "convolution", conv_pd, &src, &weights, c->bias ? &bias : NULL, &dst, like);
}

int mgv_dnnl_reorder(MgvDnnlPrim **out, const MgvKernelOp *o, const MgvDnnlPrim *like, const ptrdiff_t *strides, int bf16)
{
    const dnnl_query_t query[NB_MEM] = { [SRC] = dnnl_query_src_md, [DST] = dnnl_query_dst_md };
    MgvDnnlPrim *p;
    Md md = { 0 };
    dnnl_primitive_attr_t attr = NULL;
    const char *call = NULL;
    dnnl_status_t status = dnnl_out_of_memory;

    *out = prim_alloc(o);
    if (!(p = *out))
        goto fail;
    DNNL(md_init(&md, bf16 ? dnnl_bf16 : dnnl_f32, like->nb_dims, like->dims, strides));
    DNNL(dnnl_primitive_attr_create(&attr));
    DNNL(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
    DNNL(dnnl_reorder_primitive_desc_create(&p->pd, MD_REF(&md), p->e->engine,
                                            dnnl_primitive_desc_query_md(like->pd, dnnl_query_weights_md, 0),
                                            p->e->engine, attr));
    status = prim_init(p, &call, p->e->nb_streams, query);
fail:
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    md_uninit(&md);
    if (status == dnnl_success)
        return 0;
    mgv_dnnl_free(out);
    return log_status(o->log, o->op->name, "reorder", call, status);
}

void mgv_dnnl_free(MgvDnnlPrim **prim)
{
    MgvDnnlPrim *p = *prim;

    if (!p)
        return;
    for (int t = 0; p->mem && t < p->e->nb_streams; t++)
        for (int i = 0; i < NB_MEM; i++)
            if (p->mem[t][i])
                dnnl_memory_destroy(p->mem[t][i]);
    mgv_freep(&p->mem);
    if (p->prim)
        dnnl_primitive_destroy(p->prim);
    if (p->pd)
        dnnl_primitive_desc_destroy(p->pd);
    mgv_freep(prim);
}

enum MgvDnnlType mgv_dnnl_type(const MgvDnnlPrim *p)
{
    return p->type;
}

size_t mgv_dnnl_weight_bytes(const MgvDnnlPrim *p)
{
    return p->weight_bytes;
}

size_t mgv_dnnl_scratch_bytes(const MgvDnnlPrim *p)
{
    return p->scratch_bytes;
}

int mgv_dnnl_execute(const MgvDnnlPrim *p, int thread, const void *src, const void *weights, const void *bias,
                     void *dst, void *scratch)
{
    static const int arg_id[NB_MEM] = { DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST,
                                        DNNL_ARG_SCRATCHPAD };
    void *const data[NB_MEM] = { (void *)src, (void *)weights, (void *)bias, dst, scratch };
    dnnl_exec_arg_t args[NB_MEM];
    int nb_args = 0;

    for (int i = 0; i < NB_MEM; i++) {
        dnnl_memory_t mem = p->mem[thread][i];
        dnnl_status_t status;

        if (!mem)
            continue;
        status = dnnl_memory_set_data_handle(mem, data[i]);
        if (status != dnnl_success)
            return status;
        args[nb_args++] = (dnnl_exec_arg_t){ arg_id[i], mem };
    }
    return dnnl_primitive_execute(p->prim, p->e->streams[thread], nb_args, args);
}

int mgv_dnnl_pack(void **out, const MgvKernelOp *o, const MgvDnnlPrim *p, const float *weights,
                  const ptrdiff_t *strides)
{
    MgvDnnlPrim *reorder;
    dnnl_status_t status = dnnl_out_of_memory;
    void *scratch;
    int ret = mgv_dnnl_reorder(&reorder, o, p, strides, 0);

    *out = NULL;
    if (ret < 0)
        return ret;
    *out = mgv_calloc(1, p->weight_bytes);
    scratch = mgv_calloc(1, reorder->scratch_bytes);
    if (*out && scratch)
        status = mgv_dnnl_execute(reorder, 0, weights, NULL, NULL, *out, scratch);
    if (status != dnnl_success) {
        ret = log_status(o->log, o->op->name, "reorder", NULL, status);
        mgv_freep(out);
    }
    mgv_freep(&scratch);
    mgv_dnnl_free(&reorder);
    return ret;
}

/* ---- tiles ---- */

typedef struct Tiles {
    const MgvKernelOp *o;
    MgvTileFn *fn;
    void *arg;
    atomic_int failed;
} Tiles;

static void do_tile(void *arg, int tile, int thread)
{
    Tiles *t = arg;
    const int status = t->fn(t->o, t->arg, tile, thread);

    if (status)
        atomic_store(&t->failed, status);
}

int mgv_dnnl_tiles(const MgvKernelOp *o, const char *primitive, int nb_tiles, MgvTileFn *fn, void *arg)
{
    Tiles t = { o, fn, arg, 0 };
    int failed;

    mgv_helpers_share(o->dev, nb_tiles, do_tile, &t);
    failed = atomic_load(&t.failed);
    return failed ? log_status(o->log, o->op->name, primitive, NULL, failed) : 0;
}

/* ---- table ---- */

void mgv_dnnl_kernels(MgvDevice *dev)
{
    MgvKernel *table = dev->kernels;

    mgv_cpu_kernels(table);
    table[MGV_OP_CONV3D] = mgv_conv3d_dnnl;
    table[MGV_OP_LINEAR] = mgv_linear_dnnl;
    table[MGV_OP_ATTENTION] = mgv_attention_dnnl;
    table[MGV_OP_VQ_ARGMIN] = mgv_vq_argmin_dnnl;
#if MGV_AVX512
    if (!dev->bf16 && has_isa(dnnl_cpu_isa_avx512_core) && mgv_avx512_f32()) {
        table[MGV_OP_LINEAR] = mgv_linear_avx512;
        table[MGV_OP_ATTENTION] = mgv_attention_avx512;
    }
#endif
#if MGV_AMX
    if (dev->amx) {
        table[MGV_OP_LINEAR] = mgv_linear_amx;
        table[MGV_OP_ATTENTION] = mgv_attention_amx;
    }
#endif
}
