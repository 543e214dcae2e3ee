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
 * Pictures that the library owns, and their conversion to float RGB and back
 * by zimg. Everything goes through aligned staging memory, padded to whole
 * chroma samples by repeating the edge, so that callers' planes may have any
 * size, stride and alignment. Transfer functions are not touched: the model
 * works on display-encoded values.
 */

#include <math.h>
#include <string.h>

#include <zimg.h>

#include "libmagvit/video.h"

/* ---- formats -------------------------------------------------------------- */

int mgv_format_check(const MagvitFormat *f, const MagvitLogger *log)
{
    const char *field = NULL;

    if ((int)f->model < MAGVIT_MODEL_GRAY || f->model > MAGVIT_MODEL_GBR)
        field = "model";
    else if (f->is_float ? f->depth != 32 || f->model == MAGVIT_MODEL_YUV : f->depth < 8 || f->depth > 16)
        field = "depth";
    else if (f->chroma_w < 0 || f->chroma_w > 2 || (f->chroma_w && f->model != MAGVIT_MODEL_YUV))
        field = "chroma_w";
    else if (f->chroma_h < 0 || f->chroma_h > 1 || (f->chroma_h && f->model != MAGVIT_MODEL_YUV))
        field = "chroma_h";
    if (!field)
        return 0;
    mgv_err(log, "format.%s is out of range: model %d, depth %d, float %d, chroma %d,%d", field,
            (int)f->model, f->depth, f->is_float, f->chroma_w, f->chroma_h);
    return MAGVIT_ERR(EINVAL);
}

static int colour_planes(const MagvitFormat *f)
{
    return f->model == MAGVIT_MODEL_GRAY ? 1 : 3;
}

int mgv_format_planes(const MagvitFormat *f)
{
    return colour_planes(f) + !!f->alpha;
}

int mgv_format_bytes(const MagvitFormat *f)
{
    return f->is_float ? 4 : f->depth > 8 ? 2 : 1;
}

static int is_chroma(const MagvitFormat *f, int i)
{
    return f->model == MAGVIT_MODEL_YUV && (i == 1 || i == 2);
}

static int shift_w(const MagvitFormat *f, int i) { return is_chroma(f, i) ? f->chroma_w : 0; }
static int shift_h(const MagvitFormat *f, int i) { return is_chroma(f, i) ? f->chroma_h : 0; }

static int shift_up(int x, int shift)
{
    return (x + (1 << shift) - 1) >> shift;
}

void mgv_format_plane_size(const MagvitFormat *f, int i, int width, int height, int *w, int *h)
{
    *w = shift_up(width, shift_w(f, i));
    *h = shift_up(height, shift_h(f, i));
}

/* ---- pictures ------------------------------------------------------------- */

int mgv_picture_alloc(MgvPicture **out, const MagvitFormat *f, int width, int height, int mask)
{
    MgvPicture *p = *out = mgv_calloc(1, sizeof(*p));
    int ret, i, w, h;

    if (!p)
        return MAGVIT_ERR(ENOMEM);
    p->format = *f;
    p->width  = width;
    p->height = p->rows = height;
    p->window = -1;
    for (i = 0; i < mgv_format_planes(f); i++) {
        mgv_format_plane_size(f, i, width, height, &w, &h);
        p->stride[i] = MGV_ALIGN_UP((ptrdiff_t)w * mgv_format_bytes(f), MGV_ALIGNMENT);
        if (!(p->data[i] = mgv_calloc(h, p->stride[i])))
            RET(MAGVIT_ERR(ENOMEM));
    }
    if (mask && !(p->mask = mgv_calloc(height, width)))
        RET(MAGVIT_ERR(ENOMEM));
    return 0;

fail:
    mgv_picture_free(out);
    return ret;
}

void mgv_picture_free(MgvPicture **p)
{
    if (!*p)
        return;
    for (int i = 0; i < 4; i++)
        mgv_freep(&(*p)->data[i]);
    mgv_freep(&(*p)->mask);
    mgv_freep(p);
}

/** Fill n samples of size b at dst with the one at src. */
static void repeat_sample(uint8_t *dst, const uint8_t *src, int n, int b)
{
    for (int i = 0; i < n; i++)
        memcpy(dst + (size_t)i * b, src, b);
}

static void fill_opaque(MgvPicture *p, int i)
{
    const MagvitFormat *f = &p->format;
    const float one = 1.0f;
    const uint16_t max16 = (1 << MGV_MIN(f->depth, 16)) - 1;
    const uint8_t max8 = 255;
    const void *max = f->is_float ? (const void *)&one : f->depth > 8 ? (const void *)&max16 : &max8;

    for (int y = 0; y < p->height; y++)
        repeat_sample(p->data[i] + y * p->stride[i], max, p->width, mgv_format_bytes(f));
}

/** Repeat the edge of the rectangle (x,y,w,h) of plane i over the whole plane. */
static void extend_edges(MgvPicture *p, int i, int x, int y, int w, int h)
{
    int pw, ph, b = mgv_format_bytes(&p->format);

    mgv_format_plane_size(&p->format, i, p->width, p->height, &pw, &ph);
    for (int row = y; row < y + h; row++) {
        uint8_t *line = p->data[i] + row * p->stride[i];
        repeat_sample(line, line + (size_t)x * b, x, b);
        repeat_sample(line + (size_t)(x + w) * b, line + (size_t)(x + w - 1) * b, pw - x - w, b);
    }
    for (int row = 0; row < ph; row++)
        if (row < y || row >= y + h)
            memcpy(p->data[i] + row * p->stride[i],
                   p->data[i] + (row < y ? y : y + h - 1) * p->stride[i], (size_t)pw * b);
}

void mgv_picture_clear(MgvPicture *p)
{
    int w, h;

    p->color = (MagvitColor){ 2, 0, 0 };
    p->rows  = p->height;
    for (int i = 0; i < colour_planes(&p->format); i++) {
        mgv_format_plane_size(&p->format, i, p->width, p->height, &w, &h);
        memset(p->data[i], 0, h * p->stride[i]);
    }
    if (p->format.alpha)
        fill_opaque(p, colour_planes(&p->format));
}

void mgv_picture_put(MgvPicture *p, const MagvitFrame *f, int x, int y, int w, int h)
{
    const MagvitFormat *fmt = &p->format;
    int b = mgv_format_bytes(fmt);

    p->color = f->color;
    p->rows  = h;
    for (int i = 0; i < mgv_format_planes(fmt); i++) {
        int px = x >> shift_w(fmt, i), py = y >> shift_h(fmt, i), pw, ph;

        mgv_format_plane_size(fmt, i, w, h, &pw, &ph);
        if (i == colour_planes(fmt) && (w < p->width || h < p->height))
            fill_opaque(p, i);
        for (int row = 0; row < ph; row++)
            memcpy(p->data[i] + (py + row) * p->stride[i] + (size_t)px * b,
                   f->data[i] + row * f->stride[i], (size_t)pw * b);
        if (i < colour_planes(fmt) && (w < p->width || h < p->height))
            extend_edges(p, i, px, py, pw, ph);
    }
}

void mgv_picture_get(const MgvPicture *p, MagvitFrame *f)
{
    int w, h;

    for (int i = 0; i < mgv_format_planes(&p->format); i++) {
        mgv_format_plane_size(&p->format, i, p->width, p->height, &w, &h);
        for (int row = 0; row < h; row++)
            memcpy(f->data[i] + row * f->stride[i], p->data[i] + row * p->stride[i],
                   (size_t)w * mgv_format_bytes(&p->format));
    }
}

void mgv_picture_hold(MgvPicture *dst, const MgvPicture *src)
{
    MgvPicture old = *dst;

    mgv_picture_copy(dst, src);
    dst->pts      = old.pts;
    dst->duration = old.duration;
    dst->number   = old.number;
    dst->cut      = old.cut;
    dst->same     = old.same;
    dst->bad      = old.bad;
    dst->held     = 1;
}

void mgv_picture_copy(MgvPicture *dst, const MgvPicture *src)
{
    MgvPicture old = *dst;
    int w, h;

    *dst = *src;
    memcpy(dst->data, old.data, sizeof(old.data));
    memcpy(dst->stride, old.stride, sizeof(old.stride));
    dst->mask = old.mask;
    for (int i = 0; i < mgv_format_planes(&src->format); i++) {
        mgv_format_plane_size(&src->format, i, src->width, src->height, &w, &h);
        memcpy(dst->data[i], src->data[i], h * src->stride[i]);
    }
    if (dst->mask && src->mask)
        memcpy(dst->mask, src->mask, (size_t)src->width * src->height);
}

static void mix_row(void *dst, const void *src, int n, const MagvitFormat *f, double phi)
{
    if (f->is_float) {
        float *d = dst;
        const float *s = src;
        for (int i = 0; i < n; i++)
            d[i] += (float)phi * (s[i] - d[i]);
    } else if (f->depth > 8) {
        uint16_t *d = dst;
        const uint16_t *s = src;
        for (int i = 0; i < n; i++)
            d[i] = (uint16_t)lrint(d[i] + phi * (s[i] - d[i]));
    } else {
        uint8_t *d = dst;
        const uint8_t *s = src;
        for (int i = 0; i < n; i++)
            d[i] = (uint8_t)lrint(d[i] + phi * (s[i] - d[i]));
    }
}

void mgv_picture_mix(MgvPicture *dst, const MgvPicture *src, double phi, int alpha)
{
    const MagvitFormat *f = &dst->format;
    int first = alpha ? colour_planes(f) : 0, end = alpha ? mgv_format_planes(f) : colour_planes(f), w, h;

    for (int i = first; i < end; i++) {
        mgv_format_plane_size(f, i, dst->width, dst->height, &w, &h);
        for (int y = 0; y < h; y++)
            mix_row(dst->data[i] + y * dst->stride[i], src->data[i] + y * src->stride[i], w, f, phi);
    }
}

/** Mean share of the pixels that a sample of a subsampled plane covers. */
static float mean_share(const float *share, const MgvPicture *p, int x, int y, int sw, int sh)
{
    int x1 = MGV_MIN((x + 1) << sw, p->width), y1 = MGV_MIN((y + 1) << sh, p->height), n = 0;
    float sum = 0;

    for (int j = y << sh; j < y1; j++)
        for (int i = x << sw; i < x1; i++, n++)
            sum += share[(size_t)j * p->width + i];
    return sum / n;
}

void mgv_picture_fade(MgvPicture *dst, const MgvPicture *src, const float *share, MgvRect r)
{
    const MagvitFormat *f = &dst->format;
    int bytes = mgv_format_bytes(f);

    for (int i = 0; i < colour_planes(f); i++) {
        int sw = shift_w(f, i), sh = shift_h(f, i);

        for (int y = r.y >> sh; y << sh < r.y + r.h; y++) {
            uint8_t *d = dst->data[i] + y * dst->stride[i];
            const uint8_t *s = src->data[i] + y * src->stride[i];
            for (int x = r.x >> sw; x << sw < r.x + r.w; x++) {
                float part = mean_share(share, dst, x, y, sw, sh);
                if (part < 1) // else dst stays as it is, to the bit
                    mix_row(d + x * bytes, s + x * bytes, 1, f, 1 - part);
            }
        }
    }
}

/* ---- zimg ----------------------------------------------------------------- */

typedef struct GraphKey {
    int v[14];
    double part[4];
} GraphKey;

/** A zimg graph for one pair of formats, and its scratch memory. */
typedef struct Graph {
    GraphKey key;
    zimg_filter_graph *graph;
    void *tmp;
} Graph;

/** Planar picture in aligned memory that only grows. */
typedef struct Stage {
    uint8_t *data;
    size_t size;
    ptrdiff_t stride[3];
    size_t offset[3];
} Stage;

struct MgvImage {
    const MagvitLogger *log;
    const MgvTeam *team;
    Graph load, store, resize;
    Stage in, out;
    int warned;
};

int mgv_image_alloc(MgvImage **out, const MagvitLogger *log, const MgvTeam *team)
{
    MgvImage *im = *out = mgv_calloc(1, sizeof(*im));

    if (!im)
        return MAGVIT_ERR(ENOMEM);
    im->log  = log;
    im->team = team;
    return 0;
}

static void graph_uninit(Graph *g)
{
    zimg_filter_graph_free(g->graph);
    g->graph = NULL;
    mgv_freep(&g->tmp);
}

void mgv_image_free(MgvImage **im)
{
    if (!*im)
        return;
    graph_uninit(&(*im)->load);
    graph_uninit(&(*im)->store);
    graph_uninit(&(*im)->resize);
    mgv_freep(&(*im)->in.data);
    mgv_freep(&(*im)->out.data);
    mgv_freep(im);
}

static int zimg_failed(const MgvImage *im, const char *what)
{
    char msg[256] = "";
    int code = zimg_get_last_error(msg, sizeof(msg));

    zimg_clear_last_error();
    mgv_err(im->log, "zimg: %s: %s (%d)", what, msg, code);
    return code == ZIMG_ERROR_OUT_OF_MEMORY ? MAGVIT_ERR(ENOMEM) : MAGVIT_ERROR_DEVICE;
}

/** Prepare g for a conversion, unless it is the last one. part: of the source, NULL: all. */
static int graph_prepare(MgvImage *im, Graph *g, const zimg_image_format *src, const zimg_image_format *dst,
                         const double part[4])
{
    zimg_graph_builder_params par;
    zimg_image_format from = *src;
    GraphKey key;
    size_t size;

    memset(&key, 0, sizeof(key));
    memcpy(key.v, (const int[14]){ src->width, src->height, src->pixel_type, src->depth, src->color_family,
                                   src->matrix_coefficients, src->pixel_range, src->chroma_location,
                                   src->subsample_w << 4 | src->subsample_h, dst->width, dst->height,
                                   dst->pixel_type, dst->depth, dst->matrix_coefficients << 16 |
                                   dst->pixel_range << 8 | dst->chroma_location << 4 |
                                   dst->subsample_w << 2 | dst->subsample_h }, sizeof(key.v));
    if (part)
        memcpy(key.part, part, sizeof(key.part));
    if (g->graph && !memcmp(&key, &g->key, sizeof(key)))
        return 0;
    graph_uninit(g);

    zimg_graph_builder_params_default(&par, ZIMG_API_VERSION);
    par.filter_param_a = 0; // Catmull-Rom: keeps the samples it has
    par.filter_param_b = 0.5;
    if (part) {
        from.active_region.left   = part[0];
        from.active_region.top    = part[1];
        from.active_region.width  = part[2];
        from.active_region.height = part[3];
        if (part[2] * part[3] > (double)dst->width * dst->height) {
            par.resample_filter = ZIMG_RESIZE_BILINEAR;
            par.filter_param_a = par.filter_param_b = NAN;
        }
    }
    if (!(g->graph = zimg_filter_graph_build(&from, dst, &par)))
        return zimg_failed(im, "no such conversion");
    if (zimg_filter_graph_get_tmp_size(g->graph, &size))
        return zimg_failed(im, "no scratch size");
    if (!(g->tmp = mgv_calloc(size, 1)))
        return MAGVIT_ERR(ENOMEM);
    g->key = key;
    return 0;
}

static int stage_init(Stage *s, const zimg_image_format *f)
{
    static const int bytes[] = { [ZIMG_PIXEL_BYTE] = 1, [ZIMG_PIXEL_WORD] = 2, [ZIMG_PIXEL_FLOAT] = 4 };
    size_t size = 0;

    for (int i = 0; i < (f->color_family == ZIMG_COLOR_GREY ? 1 : 3); i++) {
        s->stride[i] = MGV_ALIGN_UP((ptrdiff_t)(f->width >> (i ? f->subsample_w : 0)) * bytes[f->pixel_type],
                                    MGV_ALIGNMENT);
        s->offset[i] = size;
        size += s->stride[i] * (f->height >> (i ? f->subsample_h : 0));
    }
    if (size > s->size) {
        mgv_freep(&s->data);
        s->size = 0;
        if (!(s->data = mgv_calloc(size, 1)))
            return MAGVIT_ERR(ENOMEM);
        s->size = size;
    }
    return 0;
}

/** Run a graph from im->in to im->out. */
static int graph_run(MgvImage *im, const Graph *g)
{
    zimg_image_buffer_const src = { .version = ZIMG_API_VERSION };
    zimg_image_buffer dst = { .version = ZIMG_API_VERSION };

    for (int i = 0; i < 3; i++) {
        src.plane[i].data   = im->in.data + im->in.offset[i];
        src.plane[i].stride = im->in.stride[i];
        src.plane[i].mask   = ZIMG_BUFFER_MAX;
        dst.plane[i].data   = im->out.data + im->out.offset[i];
        dst.plane[i].stride = im->out.stride[i];
        dst.plane[i].mask   = ZIMG_BUFFER_MAX;
    }
    if (zimg_filter_graph_process(g->graph, &src, &dst, g->tmp, NULL, NULL, NULL, NULL))
        return zimg_failed(im, "conversion failed");
    return 0;
}

/** Matrix of a picture as zimg knows it. */
static int resolve_matrix(MgvImage *im, const MgvPicture *p)
{
    int matrix = p->color.matrix;

    switch (matrix) {
    case 1: case 4: case 5: case 6: case 7: case 8: case 9:
        return matrix;
    case 10: // constant luminance needs the transfer function, which is not touched
        matrix = ZIMG_MATRIX_BT2020_NCL;
        break;
    default:
        matrix = p->rows >= 720 ? ZIMG_MATRIX_BT709 : ZIMG_MATRIX_ST170_M;
    }
    if (!im->warned++)
        mgv_warn(im->log, "colour matrix is %s (%d): taking %s for a picture of %d rows",
                 p->color.matrix == 2 ? "unspecified" : "not supported", p->color.matrix,
                 matrix == ZIMG_MATRIX_BT709 ? "BT.709" : matrix == ZIMG_MATRIX_BT2020_NCL ? "BT.2020" : "BT.601",
                 p->rows);
    return matrix;
}

/** Integer or float side of a conversion, w x h whole chroma samples. */
static void picture_format(MgvImage *im, zimg_image_format *z, const MgvPicture *p, int w, int h)
{
    static const zimg_color_family_e family[] = { ZIMG_COLOR_GREY, ZIMG_COLOR_YUV, ZIMG_COLOR_RGB };
    const MagvitFormat *f = &p->format;

    zimg_image_format_default(z, ZIMG_API_VERSION);
    z->width        = w;
    z->height       = h;
    z->pixel_type   = f->is_float ? ZIMG_PIXEL_FLOAT : f->depth > 8 ? ZIMG_PIXEL_WORD : ZIMG_PIXEL_BYTE;
    z->depth        = f->depth;
    z->color_family = family[f->model];
    z->pixel_range  = p->color.range == 1 || (!p->color.range && f->model == MAGVIT_MODEL_YUV) ? ZIMG_RANGE_LIMITED
                                                                                               : ZIMG_RANGE_FULL;
    if (f->model == MAGVIT_MODEL_GBR)
        z->matrix_coefficients = ZIMG_MATRIX_RGB;
    if (f->model != MAGVIT_MODEL_YUV)
        return;
    z->matrix_coefficients = resolve_matrix(im, p);
    z->subsample_w = f->chroma_w;
    z->subsample_h = f->chroma_h;
    if (p->color.chroma_loc > 0 && p->color.chroma_loc <= 6)
        z->chroma_location = p->color.chroma_loc - 1; // AVChromaLocation has "unspecified" in front
}

/** Float side: RGB, or gray for gray pictures. */
static void float_format(zimg_image_format *z, int gray, int w, int h)
{
    zimg_image_format_default(z, ZIMG_API_VERSION);
    z->width        = w;
    z->height       = h;
    z->pixel_type   = ZIMG_PIXEL_FLOAT;
    z->depth        = 32;
    z->color_family = gray ? ZIMG_COLOR_GREY : ZIMG_COLOR_RGB;
    z->pixel_range  = ZIMG_RANGE_FULL;
    if (!gray)
        z->matrix_coefficients = ZIMG_MATRIX_RGB;
}

/** zimg has planes in the order R,G,B; pictures have G,B,R. */
static int plane_of(const MagvitFormat *f, int i)
{
    return f->model == MAGVIT_MODEL_GBR ? (i + 2) % 3 : i;
}

MgvRect mgv_image_align(const MagvitFormat *f, int width, int height, MgvRect r)
{
    int cw = 1 << shift_w(f, 1), ch = 1 << shift_h(f, 1);
    int x0 = MGV_CLAMP(r.x, 0, width - 1) / cw * cw, y0 = MGV_CLAMP(r.y, 0, height - 1) / ch * ch;
    int x1 = MGV_MIN(MGV_ALIGN_UP(r.x + r.w, cw), width), y1 = MGV_MIN(MGV_ALIGN_UP(r.y + r.h, ch), height);

    return (MgvRect){ x0, y0, MGV_MAX(x1 - x0, 1), MGV_MAX(y1 - y0, 1) };
}

/** Part r of a picture to im->in, grown to w x h by repeating its last column and row. */
static void stage_picture(MgvImage *im, const MgvPicture *p, MgvRect r, int w, int h)
{
    const MagvitFormat *f = &p->format;
    int b = mgv_format_bytes(f);

    for (int i = 0; i < colour_planes(f); i++) {
        int k = plane_of(f, i), sw = shift_w(f, k), sh = shift_h(f, k);
        int pw = shift_up(r.w, sw), ph = shift_up(r.h, sh);

        for (int y = 0; y < h >> sh; y++) {
            const uint8_t *src = p->data[k] + ((r.y >> sh) + MGV_MIN(y, ph - 1)) * p->stride[k];
            uint8_t *dst = im->in.data + im->in.offset[i] + y * im->in.stride[i];

            memcpy(dst, src + (size_t)(r.x >> sw) * b, (size_t)pw * b);
            repeat_sample(dst + (size_t)pw * b, dst + (size_t)(pw - 1) * b, (w >> sw) - pw, b);
        }
    }
}

static const float *stage_row(const Stage *s, int plane, int y)
{
    return (const float *)(s->data + s->offset[plane] + y * s->stride[plane]);
}

/** Rows on their way between interleaved RGB and planes. */
typedef struct Rgb {
    const MgvImage *im;
    float *to;         ///< unstage: [,w,3]
    const float *from; ///< stage: [rh,rw,3]
    int w, rw, rh;
    int gray, clip;    ///< unstage: there is one plane; values are clipped to [0,1], what is no number becomes 0
} Rgb;

static void unstage_rows(void *opaque, int row, int end)
{
    const Rgb *s = opaque;

    for (int y = row; y < end; y++) {
        const float *r = stage_row(&s->im->out, 0, y), *g = s->gray ? r : stage_row(&s->im->out, 1, y);
        const float *b = s->gray ? r : stage_row(&s->im->out, 2, y);
        float *restrict rgb = s->to + (size_t)y * s->w * 3;

        for (int x = 0; x < s->w; x++) {
            rgb[x * 3]     = r[x];
            rgb[x * 3 + 1] = g[x];
            rgb[x * 3 + 2] = b[x];
        }
        for (int x = 0; x < s->w * 3 && s->clip; x++)
            rgb[x] = rgb[x] > 0 ? rgb[x] < 1 ? rgb[x] : 1 : 0;
    }
}

/** im->out to interleaved rgb [h,w,3]. */
static void unstage_rgb(const MgvImage *im, float *rgb, int w, int h, int gray, int clip)
{
    Rgb s = { .im = im, .to = rgb, .w = w, .gray = gray, .clip = clip };

    mgv_share_rows(im->team, h, MGV_PART_PIXELS / w, unstage_rows, &s);
}

static void stage_rows(void *opaque, int row, int end)
{
    const Rgb *s = opaque;

    for (int y = row; y < end; y++) {
        const float *src = s->from + (size_t)MGV_MIN(y, s->rh - 1) * s->rw * 3;
        float *to[3];

        for (int i = 0; i < 3; i++)
            to[i] = (float *)stage_row(&s->im->in, i, y);
        for (int x = 0; x < s->w; x++) {
            for (int i = 0; i < 3; i++)
                to[i][x] = src[i];
            src += x < s->rw - 1 ? 3 : 0;
        }
    }
}

/** Interleaved rgb to planes of im->in, grown to w x h. */
static void stage_rgb(const MgvImage *im, const float *rgb, int rw, int rh, int w, int h)
{
    Rgb s = { .im = im, .from = rgb, .w = w, .rw = rw, .rh = rh };

    mgv_share_rows(im->team, h, MGV_PART_PIXELS / w, stage_rows, &s);
}

int mgv_image_load(MgvImage *im, const MgvPicture *p, MgvRect r, float *rgb)
{
    int gray = p->format.model == MAGVIT_MODEL_GRAY, ret;
    int w = MGV_ALIGN_UP(r.w, 1 << shift_w(&p->format, 1)), h = MGV_ALIGN_UP(r.h, 1 << shift_h(&p->format, 1));
    zimg_image_format src, dst;

    picture_format(im, &src, p, w, h);
    float_format(&dst, gray, w, h);
    RET(graph_prepare(im, &im->load, &src, &dst, NULL));
    RET(stage_init(&im->in, &src));
    RET(stage_init(&im->out, &dst));
    stage_picture(im, p, r, w, h);
    RET(graph_run(im, &im->load));

    unstage_rgb(im, rgb, r.w, r.h, gray, 1);
    return 0;

fail:
    return ret;
}

static void stage_luma(MgvImage *im, const float *rgb, MgvRect r, int matrix)
{
    static const float bt709[] = { 0.2126f, 0.7152f, 0.0722f }, bt601[] = { 0.299f, 0.587f, 0.114f };
    const float *k = matrix == ZIMG_MATRIX_BT709 || matrix == ZIMG_MATRIX_BT2020_NCL ? bt709 : bt601;

    for (int y = 0; y < r.h; y++) {
        const float *src = rgb + (size_t)y * r.w * 3;
        float *row = (float *)stage_row(&im->in, 0, y);
        for (int x = 0; x < r.w; x++, src += 3)
            row[x] = k[0] * src[0] + k[1] * src[1] + k[2] * src[2];
    }
}

/** Is the sample (x,y) of a plane with these shifts to be written? */
static int wanted(const uint8_t *write, MgvRect r, int x, int y, int sw, int sh, int all)
{
    int x1 = MGV_MIN((x + 1) << sw, r.w), y1 = MGV_MIN((y + 1) << sh, r.h);

    for (int j = y << sh; j < y1; j++)
        for (int i = x << sw; i < x1; i++)
            if (!!write[(size_t)j * r.w + i] != all)
                return !all;
    return all;
}

/** Samples of a plane on their way to a picture. */
typedef struct Samples {
    const MgvImage *im;
    MgvPicture *p;
    MgvRect r;
    const uint8_t *write;
    int keep_chroma;
    int plane; ///< of im->out
} Samples;

static void sample_rows(void *opaque, int row, int end)
{
    const Samples *s = opaque;
    const MagvitFormat *f = &s->p->format;
    const Stage *out = &s->im->out;
    const MgvRect r = s->r;
    const int b = mgv_format_bytes(f), k = plane_of(f, s->plane), sw = shift_w(f, k), sh = shift_h(f, k);
    const int pw = shift_up(r.w, sw), all = is_chroma(f, k) && s->keep_chroma;

    for (int y = row; y < end; y++) {
        const uint8_t *src = out->data + out->offset[s->plane] + y * out->stride[s->plane];
        uint8_t *dst = s->p->data[k] + ((r.y >> sh) + y) * s->p->stride[k] + (size_t)(r.x >> sw) * b;

        if (!s->write)
            memcpy(dst, src, (size_t)pw * b);
        for (int x = 0; x < pw && s->write; x++)
            if (wanted(s->write, r, x, y, sw, sh, all))
                memcpy(dst + (size_t)x * b, src + (size_t)x * b, b);
    }
}

/** Samples of im->out to the picture. */
static void unstage_picture(const MgvImage *im, MgvPicture *p, MgvRect r, const uint8_t *write, int keep_chroma)
{
    Samples s = { im, p, r, write, keep_chroma, 0 };

    for (; s.plane < colour_planes(&p->format); s.plane++) {
        const int rows = shift_up(r.h, shift_h(&p->format, plane_of(&p->format, s.plane)));

        mgv_share_rows(im->team, rows, MGV_PART_PIXELS / r.w, sample_rows, &s);
    }
}

int mgv_image_store(MgvImage *im, MgvPicture *p, MgvRect r, const float *rgb, const uint8_t *write, int keep_chroma)
{
    int gray = p->format.model == MAGVIT_MODEL_GRAY, ret;
    int w = MGV_ALIGN_UP(r.w, 1 << shift_w(&p->format, 1)), h = MGV_ALIGN_UP(r.h, 1 << shift_h(&p->format, 1));
    zimg_image_format src, dst;

    float_format(&src, gray, w, h);
    picture_format(im, &dst, p, w, h);
    RET(graph_prepare(im, &im->store, &src, &dst, NULL));
    RET(stage_init(&im->in, &src));
    RET(stage_init(&im->out, &dst));
    if (gray)
        stage_luma(im, rgb, r, p->color.matrix);
    else
        stage_rgb(im, rgb, r.w, r.h, w, h);
    RET(graph_run(im, &im->store));
    unstage_picture(im, p, r, write, keep_chroma);
    return 0;

fail:
    return ret;
}

static void copy_part(float *dst, int dw, int dh, const float *src, int sw, int sh, int x0, int y0)
{
    for (int y = 0; y < dh; y++) {
        const float *row = src + (size_t)MGV_CLAMP(y0 + y, 0, sh - 1) * sw * 3;
        for (int x = 0; x < dw; x++, dst += 3)
            memcpy(dst, row + (size_t)MGV_CLAMP(x0 + x, 0, sw - 1) * 3, 3 * sizeof(*dst));
    }
}

int mgv_image_resize(MgvImage *im, float *dst, int dw, int dh, const float *src, int sw, int sh,
                     double x, double y, double w, double h)
{
    zimg_image_format from, to;
    int ret;

    if (w == dw && h == dh && x == floor(x) && y == floor(y)) {
        copy_part(dst, dw, dh, src, sw, sh, (int)x, (int)y);
        return 0;
    }
    float_format(&from, 0, sw, sh);
    float_format(&to, 0, dw, dh);
    RET(graph_prepare(im, &im->resize, &from, &to, (const double[]){ x, y, w, h }));
    RET(stage_init(&im->in, &from));
    RET(stage_init(&im->out, &to));
    stage_rgb(im, src, sw, sh, sw, sh);
    RET(graph_run(im, &im->resize));
    unstage_rgb(im, dst, dw, dh, 0, 0);
    return 0;

fail:
    return ret;
}
