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
 * Model sharing, log bridge, link configuration and frame flow of the MAGVIT
 * filters. Windows, timing and pixels are the library's business.
 */

#include <limits.h>

#include "magvit_filter.h"
#include "magvit_hwframe.h"
#include "libavutil/avstring.h"
#include "libavutil/common.h"
#include "libavutil/cpu.h"
#include "libavutil/dict.h"
#include "libavutil/mathematics.h"
#include "libavutil/mem.h"
#include "libavutil/pixdesc.h"
#include "libavutil/thread.h"

const enum AVPixelFormat ff_magvit_pix_fmts[] = {
    AV_PIX_FMT_GRAY8,   AV_PIX_FMT_GRAY9,   AV_PIX_FMT_GRAY10, AV_PIX_FMT_GRAY12,
    AV_PIX_FMT_GRAY14,  AV_PIX_FMT_GRAY16,  AV_PIX_FMT_GRAYF32,
    AV_PIX_FMT_YUV411P, AV_PIX_FMT_YUV420P, AV_PIX_FMT_YUV422P, AV_PIX_FMT_YUV440P, AV_PIX_FMT_YUV444P,
    AV_PIX_FMT_YUVJ411P, AV_PIX_FMT_YUVJ420P, AV_PIX_FMT_YUVJ422P, AV_PIX_FMT_YUVJ440P, AV_PIX_FMT_YUVJ444P,
    AV_PIX_FMT_YUV420P9,  AV_PIX_FMT_YUV422P9,  AV_PIX_FMT_YUV444P9,
    AV_PIX_FMT_YUV420P10, AV_PIX_FMT_YUV422P10, AV_PIX_FMT_YUV440P10, AV_PIX_FMT_YUV444P10,
    AV_PIX_FMT_YUV420P12, AV_PIX_FMT_YUV422P12, AV_PIX_FMT_YUV440P12, AV_PIX_FMT_YUV444P12,
    AV_PIX_FMT_YUV420P14, AV_PIX_FMT_YUV422P14, AV_PIX_FMT_YUV444P14,
    AV_PIX_FMT_YUV420P16, AV_PIX_FMT_YUV422P16, AV_PIX_FMT_YUV444P16,
    AV_PIX_FMT_YUVA420P,   AV_PIX_FMT_YUVA422P,   AV_PIX_FMT_YUVA444P,
    AV_PIX_FMT_YUVA420P9,  AV_PIX_FMT_YUVA422P9,  AV_PIX_FMT_YUVA444P9,
    AV_PIX_FMT_YUVA420P10, AV_PIX_FMT_YUVA422P10, AV_PIX_FMT_YUVA444P10,
    AV_PIX_FMT_YUVA422P12, AV_PIX_FMT_YUVA444P12,
    AV_PIX_FMT_YUVA420P16, AV_PIX_FMT_YUVA422P16, AV_PIX_FMT_YUVA444P16,
    AV_PIX_FMT_GBRP,   AV_PIX_FMT_GBRP9,  AV_PIX_FMT_GBRP10, AV_PIX_FMT_GBRP12,
    AV_PIX_FMT_GBRP14, AV_PIX_FMT_GBRP16, AV_PIX_FMT_GBRPF32,
    AV_PIX_FMT_GBRAP,  AV_PIX_FMT_GBRAP10, AV_PIX_FMT_GBRAP12,
#ifdef AV_PIX_FMT_GBRAP14
    AV_PIX_FMT_GBRAP14,
#endif
    AV_PIX_FMT_GBRAP16, AV_PIX_FMT_GBRAPF32,
    MAGVIT_HW_PIX_FMTS,
    AV_PIX_FMT_NONE
};

/* ---- model, shared by all filters of the process ---- */

typedef struct FFMagvitModel {
    struct FFMagvitModel *next;
    char *key;           ///< what was asked for
    MagvitContext *magvit;
    int refs;
} FFMagvitModel;

static AVMutex models_mutex = AV_MUTEX_INITIALIZER;
static FFMagvitModel *models;

/* The library calls the logger on the thread that called it: lines of a shared
 * model go to the instance whose call produced them. */
static _Thread_local AVFilterContext *log_ctx;

static void log_line(void *cookie, enum MagvitLogLevel level, const char *line)
{
    static const int av_level[] = {
        [MAGVIT_LOG_ERROR]   = AV_LOG_ERROR,
        [MAGVIT_LOG_WARNING] = AV_LOG_WARNING,
        [MAGVIT_LOG_INFO]    = AV_LOG_VERBOSE, // the filter has its own line
        [MAGVIT_LOG_VERBOSE] = AV_LOG_VERBOSE,
        [MAGVIT_LOG_DEBUG]   = AV_LOG_DEBUG,
    };

    if (level > MAGVIT_LOG_NONE && level <= MAGVIT_LOG_DEBUG)
        av_log(log_ctx, av_level[level], "%s\n", line);
}

static enum MagvitLogLevel log_level(void)
{
    int level = av_log_get_level();

    return level >= AV_LOG_DEBUG   ? MAGVIT_LOG_DEBUG   :
           level >= AV_LOG_VERBOSE ? MAGVIT_LOG_VERBOSE : MAGVIT_LOG_WARNING;
}

static void model_free(FFMagvitModel **model)
{
    if (*model) {
        magvit_close(&(*model)->magvit);
        av_free((*model)->key);
    }
    av_freep(model);
}

static void model_release(FFMagvitModel **model)
{
    ff_mutex_lock(&models_mutex);
    if (*model && !--(*model)->refs) {
        FFMagvitModel **p = &models;
        while (*p != *model)
            p = &(*p)->next;
        *p = (*model)->next;
        model_free(model);
    }
    *model = NULL;
    ff_mutex_unlock(&models_mutex);
}

/* libavfilter's default is one thread more than there are cores, none of which
 * would then wait by looking: leave that to the library. */
static int nb_threads(AVFilterContext *ctx)
{
    int threads = ff_filter_get_nb_threads(ctx);

    return threads > av_cpu_count() ? 0 : threads;
}

/* models_mutex is held */
static int model_find_or_open(AVFilterContext *ctx, FFMagvitModel **out, int describe_only)
{
    FFMagvitFilter *s = ctx->priv;
    int threads = nb_threads(ctx), ret;
    MagvitSettings settings;
    FFMagvitModel *model;
    const char *device = s->device || s->backend != MAGVIT_BACKEND_VULKAN || !*s->frames_device ? s->device : s->frames_device;
    char *key = av_asprintf("%s|%d|%s|%d|%d|%d|%d", s->model ? s->model : "", s->backend,
                            device ? device : "", s->precision, threads, s->batch, describe_only);

    if (!key)
        return AVERROR(ENOMEM);
    for (model = models; model; model = model->next) {
        if (!strcmp(model->key, key)) {
            av_free(key);
            model->refs++;
            *out = model;
            return 0;
        }
    }
    if (!(model = av_mallocz(sizeof(*model)))) {
        av_free(key);
        return AVERROR(ENOMEM);
    }
    model->key  = key;
    model->refs = 1;

    magvit_default_settings(&settings);
    settings.model     = s->model;
    settings.backend   = s->backend;
    settings.device    = device;
    settings.threads   = FFMIN(threads, 256);
    settings.precision = s->precision;
    settings.max_memory = s->max_memory;
    settings.batch     = s->batch;
    settings.describe_only = describe_only;
    settings.log       = (MagvitLogger){ log_line, NULL, log_level() };
    if ((ret = magvit_open(&model->magvit, &settings)) < 0) {
        model_free(&model);
        return ret;
    }
    model->next = models;
    *out = models = model;
    return 0;
}

/* The model in place of the one that the filter has. */
static int model_acquire(AVFilterContext *ctx, int describe_only)
{
    FFMagvitFilter *s = ctx->priv;
    FFMagvitModel *model;
    int ret;

    if (magvit_version_api() >> 16 != MAGVIT_VERSION_MAJOR) {
        av_log(ctx, AV_LOG_ERROR, "libmagvit is version %s, expected %d.x\n",
               magvit_version(), MAGVIT_VERSION_MAJOR);
        return AVERROR_EXTERNAL;
    }
    ff_mutex_lock(&models_mutex);
    ret = model_find_or_open(ctx, &model, describe_only);
    ff_mutex_unlock(&models_mutex);
    if (ret < 0)
        return ret;
    model_release(&s->shared);
    s->shared = model;
    return 0;
}

av_cold int ff_magvit_init(AVFilterContext *ctx)
{
    static const char *const names[] = { "interpolation", "prediction", "inpainting", "outpainting", "generation" };
    FFMagvitFilter *s = ctx->priv;
    char known[128] = "";
    MagvitInfo info;
    int ret;

    if (s->draw)
        return 0;
    log_ctx = ctx;
    /* programs make graphs that they only look at: what takes time waits until the links are known */
    if ((ret = model_acquire(ctx, 1)) < 0)
        return ret;
    magvit_get_info(s->shared->magvit, &info);
    if (info.tasks >> s->task & 1)
        return 0;
    for (int i = 0; i < MAGVIT_TASK_NB; i++)
        if (info.tasks >> i & 1)
            av_strlcatf(known, sizeof(known), "%s%s", *known ? ", " : "", names[i]);
    av_log(ctx, AV_LOG_ERROR, "Model %s knows %s, expected one that knows %s\n", info.name, known, names[s->task]);
    return AVERROR(ENOTSUP);
}

void ff_magvit_get_info(AVFilterContext *ctx, MagvitInfo *info)
{
    FFMagvitFilter *s = ctx->priv;

    magvit_get_info(s->shared->magvit, info);
}

int ff_magvit_find_class(AVFilterContext *ctx, const char *name, int *id)
{
    FFMagvitFilter *s = ctx->priv;

    *id = -1;
    log_ctx = ctx;
    return name ? magvit_find_class(s->shared->magvit, name, id) : 0;
}

/* ---- link configuration ---- */

int ff_magvit_count_frames(AVFilterContext *ctx, int64_t duration, MagvitRational rate, int *frames)
{
    int64_t n = av_rescale_rnd(duration, rate.num, rate.den * INT64_C(1000000), AV_ROUND_UP);

    if (n < 0 || n > INT_MAX) {
        av_log(ctx, AV_LOG_ERROR, "Option duration: %"PRId64" s at %d/%d frames a second is too long, "
               "expected at most %d frames\n", duration / 1000000, rate.num, rate.den, INT_MAX);
        return AVERROR(EINVAL);
    }
    *frames = n;
    return 0;
}

static MagvitFormat magvit_format(enum AVPixelFormat pix_fmt)
{
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(pix_fmt);
    int rgb  = !!(desc->flags & AV_PIX_FMT_FLAG_RGB);
    int gray = desc->nb_components < 3;

    return (MagvitFormat){
        .model    = rgb ? MAGVIT_MODEL_GBR : gray ? MAGVIT_MODEL_GRAY : MAGVIT_MODEL_YUV,
        .depth    = desc->comp[0].depth,
        .is_float = !!(desc->flags & AV_PIX_FMT_FLAG_FLOAT),
        .chroma_w = gray ? 0 : desc->log2_chroma_w,
        .chroma_h = gray ? 0 : desc->log2_chroma_h,
        .alpha    = !!(desc->flags & AV_PIX_FMT_FLAG_ALPHA),
    };
}

static int log_start(AVFilterContext *ctx, const MagvitParams *par)
{
    FFMagvitFilter *s = ctx->priv;
    MagvitMemory need;
    MagvitInfo info;
    int ret;

    magvit_get_info(s->shared->magvit, &info);
    s->window = info.window[0];
    if ((ret = magvit_session_memory(s->shared->magvit, par, &need)) < 0)
        return ret;
    av_log(ctx, AV_LOG_INFO, "model %s, sha256 %.16s, backend %s, device %s, window %dx%dx%d, memory %"PRId64" MiB, seed %"PRId64"\n",
           info.name, info.sha256, info.backend, info.device,
           info.window[0], info.window[1], info.window[2], (need.total + (1 << 20) - 1) >> 20, s->seed);
    return 0;
}

static void close_session(FFMagvitFilter *s)
{
    AVFrame *props;

    magvit_session_close(&s->session);
    while (s->props && av_fifo_read(s->props, &props, 1) >= 0)
        av_frame_free(&props);
    av_fifo_freep2(&s->props);
    av_frame_free(&s->out);
    av_frame_free(&s->pending);
}

static void input_params(MagvitParams *par, AVFilterLink *inlink)
{
    FilterLink *il = ff_filter_link(inlink);

    par->width          = inlink->w;
    par->height         = inlink->h;
    par->time_base      = (MagvitRational){ inlink->time_base.num, inlink->time_base.den };
    if (il->frame_rate.num > 0 && il->frame_rate.den > 0)
        par->frame_rate = (MagvitRational){ il->frame_rate.num, il->frame_rate.den };
}

static void set_decoding(const FFMagvitFilter *s, MagvitParams *par)
{
    par->steps              = s->steps;
    par->schedule           = s->schedule;
    par->temperature        = s->temperature;
    par->choice_temperature = s->choice_temperature;
    par->top_k              = s->top_k;
    par->top_p              = s->top_p;
    par->guidance           = s->guidance;
    par->fast               = s->fast;
    par->seed               = s->seed;
}

static int config_output(AVFilterLink *outlink)
{
    AVFilterContext *ctx = outlink->src;
    FilterLink *ol = ff_filter_link(outlink);
    FFMagvitFilter *s = ctx->priv;
    MagvitParams *par = &s->par;
    MagvitOutput out;
    int ret;

    log_ctx = ctx;
    close_session(s);
    s->first_prop  = s->nb_sent = 0;
    s->last_source = -1;
    s->next_pts    = s->last_pts = AV_NOPTS_VALUE;
    s->status      = ctx->nb_inputs ? 0 : AVERROR_EOF;
    s->failed      = s->failed_before = 0;
    s->props = av_fifo_alloc2(32, sizeof(AVFrame *), AV_FIFO_FLAG_AUTO_GROW);
    if (!s->props)
        return AVERROR(ENOMEM);

    if ((ret = ff_magvit_hw_input(outlink)) < 0)
        return ret;
    magvit_default_params(par, s->task);
    par->format             = magvit_format(s->format);
    if (ctx->nb_inputs)
        input_params(par, ctx->inputs[0]);
    set_decoding(s, par);
    par->first_index        = s->first_index;
    par->scale              = s->scale;
    par->tile_overlap       = s->tile_overlap;
    par->known_pixels       = s->known_pixels;
    par->max_memory         = s->max_memory;
    par->ahead              = s->ahead;
    par->fallback           = s->fallback;
    if (s->overlap >= 0)
        par->overlap       = s->overlap;

    if (!s->draw && (ret = model_acquire(ctx, 0)) < 0)
        return ret;
    if ((ret = s->set_params(ctx, par)) < 0)
        return ret;
    if (s->draw) {
        outlink->w         = ctx->inputs[0]->w;
        outlink->h         = ctx->inputs[0]->h;
        outlink->time_base = ctx->inputs[0]->time_base;
        ol->frame_rate     = ff_filter_link(ctx->inputs[0])->frame_rate;
        return ff_magvit_hw_output(outlink);
    }
    if ((ret = magvit_session_open(&s->session, s->shared->magvit, par)) < 0 ||
        (ret = magvit_session_output(s->session, &out)) < 0 ||
        (ret = log_start(ctx, par)) < 0)
        return ret;

    outlink->w         = out.width;
    outlink->h         = out.height;
    outlink->time_base = (AVRational){ out.time_base.num, out.time_base.den };
    ol->frame_rate     = out.frame_rate.num > 0 ? (AVRational){ out.frame_rate.num, out.frame_rate.den }
                                                : (AVRational){ 1, 0 };
    return ff_magvit_hw_output(outlink);
}

const AVFilterPad ff_magvit_outputs[1] = {
    { .name = "default", .type = AVMEDIA_TYPE_VIDEO, .config_props = config_output },
};

/* ---- frames ---- */

static void set_planes(MagvitFrame *frame, const AVFrame *av)
{
    for (int i = 0; i < 4; i++) {
        frame->data[i]   = av->data[i];
        frame->stride[i] = av->linesize[i];
    }
}

static void remove_side_data(AVFrame *frame, const enum AVFrameSideDataType *types)
{
    for (; *types != AV_FRAME_DATA_PANSCAN; types++)
        av_frame_remove_side_data(frame, *types);
}

/* Lists end with AV_FRAME_DATA_PANSCAN (0), which no list contains otherwise. */
static const enum AVFrameSideDataType of_samples[] = { // describes the very samples of a frame
    AV_FRAME_DATA_MOTION_VECTORS, AV_FRAME_DATA_REGIONS_OF_INTEREST,
    AV_FRAME_DATA_VIDEO_ENC_PARAMS, AV_FRAME_DATA_DETECTION_BBOXES,
    AV_FRAME_DATA_FILM_GRAIN_PARAMS, AV_FRAME_DATA_DOVI_RPU_BUFFER,
    AV_FRAME_DATA_DOVI_METADATA, AV_FRAME_DATA_PANSCAN
};
static const enum AVFrameSideDataType of_one_frame[] = { // must not be sent twice
    AV_FRAME_DATA_A53_CC, AV_FRAME_DATA_S12M_TIMECODE, AV_FRAME_DATA_GOP_TIMECODE,
    AV_FRAME_DATA_SEI_UNREGISTERED, AV_FRAME_DATA_PANSCAN
};
static const enum AVFrameSideDataType of_time[] = { // wrong between two frames
    AV_FRAME_DATA_S12M_TIMECODE, AV_FRAME_DATA_GOP_TIMECODE, AV_FRAME_DATA_PANSCAN
};

static void set_frame(MagvitFrame *frame, const AVFrame *in)
{
    set_planes(frame, in);
    frame->color.matrix     = in->colorspace;
    frame->color.range      = in->color_range;
    frame->color.chroma_loc = in->chroma_location;
    if (av_pix_fmt_desc_get(in->format)->name[3] == 'j')
        frame->color.range  = AVCOL_RANGE_JPEG;
}

/* Send with the properties of a frame. */
static int submit(FFMagvitFilter *s, const MagvitFrame *frame, const AVFrame *from, int missing)
{
    AVFrame *props = av_frame_alloc();
    int ret;

    if (!props)
        return AVERROR(ENOMEM);
    if ((ret = av_frame_copy_props(props, from)) < 0 ||
        (ret = magvit_send_frame(s->session, frame)) < 0)
        goto fail;
    if (missing) {
        remove_side_data(props, of_one_frame);
        remove_side_data(props, of_time);
        FRAME_CLEAR_KEY(props);
        props->pict_type = AV_PICTURE_TYPE_NONE;
    }
    if ((ret = av_fifo_write(s->props, &props, 1)) < 0)
        goto fail;
    s->nb_sent++;
    return 0;

fail:
    av_frame_free(&props);
    return ret;
}

/* One of the frames that are missing before in: evenly between it and the last. */
static int send_missing(AVFilterContext *ctx, const AVFrame *in)
{
    FFMagvitFilter *s = ctx->priv;
    MagvitFrame frame = { .replace = 1 };
    AVFrame *last;

    set_frame(&frame, in);
    frame.pts = s->last_pts + av_rescale(++s->nb_made, in->pts - s->last_pts, s->nb_missing + 1);
    av_fifo_peek(s->props, &last, 1, av_fifo_can_read(s->props) - 1); // the last one always stays
    return submit(s, &frame, last, 1);
}

static int send_frame(AVFilterContext *ctx, const AVFrame *in)
{
    AVFilterLink *inlink = ctx->inputs[0];
    FilterLink *il = ff_filter_link(inlink);
    FFMagvitFilter *s = ctx->priv;
    MagvitFrame frame = { 0 };
    int ret;

    if (FRAME_INTERLACED(in) && !s->warned_interlaced) {
        av_log(ctx, AV_LOG_WARNING, "Input is interlaced, the result will have "
               "combing artefacts; deinterlace it before\n");
        s->warned_interlaced = 1;
    }

    set_frame(&frame, in);
    frame.pts          = in->pts;
    if (FRAME_DURATION_FOLLOWS || il->frame_rate.num <= 0 || il->frame_rate.den <= 0)
        frame.duration = FFMAX(FRAME_DURATION(in), 0);
    if (s->prepare && (ret = s->prepare(ctx, &frame, in, s->nb_sent)) < 0)
        return ret;
    return submit(s, &frame, in, 0);
}

/* The pending frame, or one that is missing before it. */
static int send_next(AVFilterContext *ctx)
{
    FFMagvitFilter *s = ctx->priv;
    int ret;

    if (s->nb_made < s->nb_missing)
        return send_missing(ctx, s->pending);
    ret = send_frame(ctx, s->pending);
    s->last_pts = s->pending->pts;
    av_frame_free(&s->pending);
    return ret;
}

static int take_frame(AVFilterContext *ctx)
{
    AVFilterLink *inlink = ctx->inputs[0];
    FFMagvitFilter *s = ctx->priv;
    int ret = ff_inlink_consume_frame(inlink, &s->pending);

    if (ret <= 0)
        return ret;
    if (s->pending->width != inlink->w || s->pending->height != inlink->h || s->pending->format != inlink->format) {
        av_log(ctx, AV_LOG_ERROR, "Frame %"PRId64" is %dx%d %s, expected %dx%d %s: "
               "the size and format of the input must not change\n", s->nb_sent,
               s->pending->width, s->pending->height, av_get_pix_fmt_name(s->pending->format),
               inlink->w, inlink->h, av_get_pix_fmt_name(inlink->format));
        return AVERROR(EINVAL);
    }
    if ((ret = ff_magvit_hw_download(ctx, &s->pending)) < 0)
        return ret;
    s->nb_made    = 0;
    s->nb_missing = s->missing ? s->missing(ctx, s->pending) : 0;
    return 1;
}

/* The taken frame leaves with what the filter draws over it. */
static int draw_frame(AVFilterContext *ctx)
{
    FFMagvitFilter *s = ctx->priv;
    MagvitFrame frame = { .pts = s->pending->pts };
    AVFrame *out;
    int ret;

    if ((ret = ff_inlink_make_frame_writable(ctx->inputs[0], &s->pending)) < 0 ||
        (ret = s->prepare(ctx, &frame, s->pending, s->nb_sent)) < 0)
        return ret;
    s->draw(s->pending, &frame);
    if ((ret = ff_magvit_hw_upload(ctx, &s->pending)) < 0)
        return ret;
    s->nb_sent++;
    out = s->pending;
    s->pending = NULL;
    return ff_filter_frame(ctx->outputs[0], out);
}

/* Properties of the source frame, less what is untrue of this output frame. */
static int set_props(FFMagvitFilter *s, const MagvitFrame *from, AVFrame *out, int resized)
{
    int region = s->task == MAGVIT_TASK_INPAINT || s->task == MAGVIT_TASK_OUTPAINT;
    int again = from->source >= 0 && from->source == s->last_source;
    int invented = !region && from->generated;
    AVFrame *props;
    int ret;

    while (s->first_prop < from->source && av_fifo_can_read(s->props) > 1) {
        av_fifo_read(s->props, &props, 1);
        av_frame_free(&props);
        s->first_prop++;
    }
    if (av_fifo_peek(s->props, &props, 1, 0) >= 0 &&
        (ret = av_frame_copy_props(out, props)) < 0)
        return ret;
    s->last_source = from->source;

    out->pts            = from->pts;
    FRAME_DURATION(out) = from->duration;
    if (from->generated || resized)
        remove_side_data(out, of_samples);
    if (resized)
        av_frame_remove_side_data(out, AV_FRAME_DATA_PANSCAN);
    if (again)
        remove_side_data(out, of_one_frame);
    if (invented)
        remove_side_data(out, of_time);
    if (again || invented) {
        FRAME_CLEAR_KEY(out);
        out->pict_type   = AV_PICTURE_TYPE_NONE;
        out->repeat_pict = 0;
    }

    if (invented) { // what was wrong with it is repaired
        out->flags &= ~AV_FRAME_FLAG_CORRUPT;
        out->decode_error_flags = 0;
        if ((ret = av_dict_set(&out->metadata, "lavfi.magvit.repair", NULL, 0)) < 0)
            return ret;
    }

    /* a frame that an earlier filter made stays marked as such */
    if (!from->generated)
        return av_dict_set(&out->metadata, "lavfi.magvit.generated", "0", AV_DICT_DONT_OVERWRITE);
    if ((ret = av_dict_set(&out->metadata, "lavfi.magvit.generated", "1", 0)) < 0 || from->window < 0) // a blend
        return ret;
    if ((ret = av_dict_set_int(&out->metadata, "lavfi.magvit.window", from->window, 0)) < 0)
        return ret;
    return av_dict_set_int(&out->metadata, "lavfi.magvit.seed", from->seed, 0);
}

/* A frame of a source: what is not the model's is what other sources say. */
static void set_source_props(AVFrame *out, const AVFilterLink *outlink)
{
    out->sample_aspect_ratio = outlink->sample_aspect_ratio;
    out->colorspace  = AVCOL_SPC_RGB;
    out->color_range = AVCOL_RANGE_JPEG;
    out->pict_type   = AV_PICTURE_TYPE_I;
    FRAME_SET_KEY(out);
}

/* One output frame, or what magvit_receive_frame() says. */
static int receive_frame(AVFilterContext *ctx, AVFrame **out)
{
    AVFilterLink *inlink = ctx->nb_inputs ? ctx->inputs[0] : NULL, *outlink = ctx->outputs[0];
    FFMagvitFilter *s = ctx->priv;
    MagvitFrame frame = { 0 };
    int ret;

    if (s->draw)
        return s->status ? AVERROR_EOF : AVERROR(EAGAIN);
    if (!s->out && !(s->out = ff_magvit_hw_get_buffer(outlink)))
        return AVERROR(ENOMEM);
    set_planes(&frame, s->out);
    if ((ret = magvit_receive_frame(s->session, &frame)) < 0)
        return ret;
    ret = set_props(s, &frame, s->out, inlink && (outlink->w != inlink->w || outlink->h != inlink->h));
    if (ret < 0)
        return ret;
    if (!inlink)
        set_source_props(s->out, outlink);
    if ((ret = ff_magvit_hw_upload(ctx, &s->out)) < 0)
        return ret;
    if (frame.pts != AV_NOPTS_VALUE)
        s->next_pts = frame.pts + frame.duration;
    *out = s->out;
    s->out = NULL;
    return 0;
}

/* The next filter of ours that takes all that leaves a link, NULL if there is none. */
static FFMagvitFilter *next_of_ours(const AVFilterLink *link)
{
    while (!av_strstart(link->dst->filter->name, "magvit_", NULL)) {
        if (link->dst->nb_inputs != 1 || link->dst->nb_outputs != 1)
            return NULL;
        link = link->dst->outputs[0];
    }
    return link == link->dst->inputs[0] ? link->dst->priv : NULL;
}

/*
 * The output ends. What follows lets out the frames that it holds if it is
 * told of an end; of an error most filters make nothing but an error at once,
 * some an ordinary end. So the last filter of ours reports it: to the sink, or
 * to the caller.
 */
static int finish(AVFilterContext *ctx)
{
    AVFilterLink *outlink = ctx->outputs[0];
    FFMagvitFilter *s = ctx->priv, *next = s->failed ? next_of_ours(outlink) : NULL;
    int sink = !outlink->dst->nb_outputs;

    if (next)
        next->failed_before = s->failed;
    ff_outlink_set_status(outlink, !s->failed ? s->status : sink ? s->failed : AVERROR_EOF, s->next_pts);
    for (unsigned i = 0; s->failed && i < ctx->nb_inputs; i++)
        ff_inlink_set_status(ctx->inputs[i], AVERROR_EOF);
    return next || sink ? 0 : s->failed;
}

/* Input that cannot be used ends it: what came before leaves as at the end of the stream, but nothing continues it. */
static int leaves_rest(FFMagvitFilter *s)
{
    av_frame_free(&s->pending);
    return s->session && s->task != MAGVIT_TASK_PREDICT && magvit_send_frame(s->session, NULL) >= 0;
}

static av_cold int end_input(AVFilterContext *ctx, int64_t pts)
{
    FFMagvitFilter *s = ctx->priv;

    if (s->next_pts == AV_NOPTS_VALUE && pts != AV_NOPTS_VALUE)
        s->next_pts = av_rescale_q(pts, ctx->inputs[0]->time_base, ctx->outputs[0]->time_base);
    if (s->failed_before || s->status != AVERROR_EOF)
        return s->failed_before ? s->failed_before : s->status;
    if (s->task == MAGVIT_TASK_PREDICT && !s->nb_sent)
        av_log(ctx, AV_LOG_WARNING, "No frame came in, there is nothing to continue\n");
    return s->draw ? 0 : magvit_send_frame(s->session, NULL);
}

/* Take what the next output frame depends on. 1, 0 if it has to be waited for, or an error. */
static int feed(AVFilterContext *ctx)
{
    FFMagvitFilter *s = ctx->priv;
    int64_t pts;
    int ret;

    if (s->ready && !s->pending && (ret = s->ready(ctx)) <= 0)
        return ret;
    if (!s->pending && (ret = take_frame(ctx)) < 0)
        return ret;
    if (s->pending) {
        ret = s->draw ? draw_frame(ctx) : send_next(ctx);
    } else if (ff_inlink_acknowledge_status(ctx->inputs[0], &s->status, &pts)) {
        ret = end_input(ctx, pts);
    } else {
        ff_inlink_request_frame(ctx->inputs[0]);
        return 0;
    }
    return ret < 0 ? ret : 1;
}

int ff_magvit_activate(AVFilterContext *ctx)
{
    AVFilterLink *outlink = ctx->outputs[0];
    FFMagvitFilter *s = ctx->priv;
    int ret;

    FF_FILTER_FORWARD_STATUS_BACK_ALL(outlink, ctx);

    log_ctx = ctx;
    while (ff_outlink_frame_wanted(outlink)) { // a window is only computed when it is asked for
        AVFrame *frame;

        ret = receive_frame(ctx, &frame);
        if (ret >= 0)
            return ff_filter_frame(outlink, frame);
        if (ret == AVERROR_EOF)
            return finish(ctx);
        if (ret != AVERROR(EAGAIN)) { // what was before it is out
            s->failed = ret;
            return finish(ctx);
        }
        if (!(ret = feed(ctx)))
            return 0;
        if (ret < 0) {
            s->failed = ret;
            if (!leaves_rest(s))
                return finish(ctx);
        }
    }
    return FFERROR_NOT_READY;
}

int ff_magvit_process_command(AVFilterContext *ctx, const char *cmd, const char *arg, char *res, int res_len, int flags)
{
    FFMagvitFilter *s = ctx->priv;
    int ret = ff_filter_process_command(ctx, cmd, arg, res, res_len, flags);

    if (ret < 0 || !s->session)
        return ret;
    log_ctx = ctx;
    set_decoding(s, &s->par);
    return magvit_session_set_decoding(s->session, &s->par);
}

av_cold void ff_magvit_uninit(AVFilterContext *ctx)
{
    FFMagvitFilter *s = ctx->priv;

    log_ctx = ctx;
    close_session(s);
    model_release(&s->shared);
}
