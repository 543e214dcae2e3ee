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
 * Frames in the memory of a device: to the host and back.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "magvit_hwframe.h"
#include "libavfilter/video.h"
#include "libavutil/buffer.h"
#include "libavutil/common.h"
#include "libavutil/hwcontext.h"
#include "libavutil/pixdesc.h"

#ifdef __has_include
#if __has_include(<vulkan/vulkan.h>)
#define HAVE_VULKAN_HEADERS 1
#include "libavutil/hwcontext_vulkan.h"
#endif
#endif

/* What decoders give, and where the same samples lie in a plane for each component. */
static const struct { enum AVPixelFormat interleaved, planar; } layouts[] = {
    { AV_PIX_FMT_NV12, AV_PIX_FMT_YUV420P   }, { AV_PIX_FMT_P010, AV_PIX_FMT_YUV420P10 },
    { AV_PIX_FMT_P016, AV_PIX_FMT_YUV420P16 },
    { AV_PIX_FMT_NV16, AV_PIX_FMT_YUV422P   }, { AV_PIX_FMT_P210, AV_PIX_FMT_YUV422P10 },
    { AV_PIX_FMT_P216, AV_PIX_FMT_YUV422P16 },
    { AV_PIX_FMT_NV24, AV_PIX_FMT_YUV444P   }, { AV_PIX_FMT_P410, AV_PIX_FMT_YUV444P10 },
    { AV_PIX_FMT_P416, AV_PIX_FMT_YUV444P16 },
#ifdef AV_PIX_FMT_P012
    { AV_PIX_FMT_P012, AV_PIX_FMT_YUV420P12 },
#endif
#ifdef AV_PIX_FMT_P212
    { AV_PIX_FMT_P212, AV_PIX_FMT_YUV422P12 }, { AV_PIX_FMT_P412, AV_PIX_FMT_YUV444P12 },
#endif
};

static int is_hw(enum AVPixelFormat format)
{
    return !!(av_pix_fmt_desc_get(format)->flags & AV_PIX_FMT_FLAG_HWACCEL);
}

static const AVHWFramesContext *frames_context(const AVBufferRef *ref)
{
    return (const AVHWFramesContext *)ref->data;
}

/* The format that the library can work on, AV_PIX_FMT_NONE if there is none. */
static enum AVPixelFormat planar_format(enum AVPixelFormat format)
{
    for (size_t i = 0; i < FF_ARRAY_ELEMS(layouts); i++)
        if (layouts[i].interleaved == format)
            return layouts[i].planar;
    for (const enum AVPixelFormat *p = ff_magvit_pix_fmts; *p != AV_PIX_FMT_NONE; p++)
        if (*p == format && !is_hw(format))
            return format;
    return AV_PIX_FMT_NONE;
}

/* ---- link configuration ---- */

/* UUID of the device that frames are on, "" where it is not Vulkan's or does not tell. */
static void frames_device(char uuid[37], const AVBufferRef *frames)
{
    *uuid = 0;
#ifdef HAVE_VULKAN_HEADERS
    if (frames_context(frames)->format == AV_PIX_FMT_VULKAN) {
        const AVVulkanDeviceContext *vk = frames_context(frames)->device_ctx->hwctx;
        VkPhysicalDeviceIDProperties id = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES };
        VkPhysicalDeviceProperties2 all = { VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, &id };
        PFN_vkGetPhysicalDeviceProperties2 get = (PFN_vkGetPhysicalDeviceProperties2)
            vk->get_proc_addr(vk->inst, "vkGetPhysicalDeviceProperties2");

        if (!get)
            return;
        get(vk->phys_dev, &all);
        for (int i = 0; i < VK_UUID_SIZE; i++, uuid += strlen(uuid))
            snprintf(uuid, 4, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", id.deviceUUID[i]);
    }
#endif
}

int ff_magvit_hw_input(AVFilterLink *outlink)
{
    AVFilterContext *ctx = outlink->src;
    const char *name = av_get_pix_fmt_name(outlink->format);
    FFMagvitFilter *s = ctx->priv;
    const AVBufferRef *ref;

    s->format = s->samples = outlink->format;
    *s->frames_device = 0;
    if (!is_hw(outlink->format))
        return 0;
    if (!(ref = ff_filter_link(ctx->inputs[0])->hw_frames_ctx)) {
        av_log(ctx, AV_LOG_ERROR, "Input is %s frames without a frames context, expected one with them\n", name);
        return AVERROR(EINVAL);
    }
    frames_device(s->frames_device, ref);
    if (*s->frames_device && !s->device && s->backend == MAGVIT_BACKEND_VULKAN)
        av_log(ctx, AV_LOG_VERBOSE, "Computing on the device of the frames, %s\n", s->frames_device);
    s->samples = frames_context(ref)->sw_format;
    s->format  = planar_format(s->samples);
    if (s->format != AV_PIX_FMT_NONE)
        return 0;
    name = av_get_pix_fmt_name(s->samples);
    av_log(ctx, AV_LOG_ERROR, "Input is %s frames of %s, expected a planar format such as yuv420p, yuv444p10 or gbrp, "
           "or nv12, p010, p012, p016\n", av_get_pix_fmt_name(outlink->format), name ? name : "unknown samples");
    return AVERROR(EINVAL);
}

int ff_magvit_hw_output(AVFilterLink *outlink)
{
    AVFilterContext *ctx = outlink->src;
    FilterLink *ol = ff_filter_link(outlink);
    FFMagvitFilter *s = ctx->priv;
    AVHWFramesContext *frames;
    AVBufferRef *ref;
    int ret;

    av_buffer_unref(&ol->hw_frames_ctx);
    if (!is_hw(outlink->format))
        return 0;
    ref = av_hwframe_ctx_alloc(frames_context(ff_filter_link(ctx->inputs[0])->hw_frames_ctx)->device_ref);
    if (!ref)
        return AVERROR(ENOMEM);
    frames = (AVHWFramesContext *)ref->data;
    frames->format    = outlink->format;
    frames->sw_format = s->samples;
    frames->width     = outlink->w;
    frames->height    = outlink->h;
    if (ctx->extra_hw_frames >= 0) // as hwupload does: some devices need a number
        frames->initial_pool_size = 2 + ctx->extra_hw_frames;
    if ((ret = av_hwframe_ctx_init(ref)) < 0) {
        av_log(ctx, AV_LOG_ERROR, "Output cannot be %s frames of %dx%d %s: %s\n", av_get_pix_fmt_name(outlink->format),
               outlink->w, outlink->h, av_get_pix_fmt_name(s->samples), av_err2str(ret));
        av_buffer_unref(&ref);
        return ret;
    }
    ol->hw_frames_ctx = ref;
    return 0;
}

/* ---- frames ---- */

/* One component from where it lies in one format to where it lies in another of the same depth. */
static void copy_component(AVFrame *dst, const AVFrame *src, int i)
{
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(src->format);
    const AVComponentDescriptor *d = &av_pix_fmt_desc_get(dst->format)->comp[i], *s = &desc->comp[i];
    int w = i ? AV_CEIL_RSHIFT(src->width,  desc->log2_chroma_w) : src->width;
    int h = i ? AV_CEIL_RSHIFT(src->height, desc->log2_chroma_h) : src->height;
    int bytes = s->depth > 8 ? 2 : 1, to_step = d->step / bytes, from_step = s->step / bytes;

    for (int y = 0; y < h; y++) {
        uint8_t *to = dst->data[d->plane] + y * (ptrdiff_t)dst->linesize[d->plane] + d->offset;
        const uint8_t *from = src->data[s->plane] + y * (ptrdiff_t)src->linesize[s->plane] + s->offset;

        if (bytes == 1)
            for (int x = 0; x < w; x++)
                to[x * to_step] = from[x * from_step];
        else
            for (int x = 0; x < w; x++)
                ((uint16_t *)to)[x * to_step] = ((const uint16_t *)from)[x * from_step] >> s->shift << d->shift;
    }
}

static AVFrame *get_host_buffer(enum AVPixelFormat format, int w, int h)
{
    AVFrame *frame = av_frame_alloc();

    if (!frame)
        return NULL;
    frame->format = format;
    frame->width  = w;
    frame->height = h;
    if (av_frame_get_buffer(frame, 0) < 0)
        av_frame_free(&frame);
    return frame;
}

/* Replace a frame in host memory by one with its samples in another layout. */
static int rearrange(AVFrame **frame, enum AVPixelFormat format)
{
    AVFrame *out;
    int ret;

    if ((*frame)->format == format)
        return 0;
    if (!(out = get_host_buffer(format, (*frame)->width, (*frame)->height)))
        return AVERROR(ENOMEM);
    if ((ret = av_frame_copy_props(out, *frame)) < 0) {
        av_frame_free(&out);
        return ret;
    }
    for (int i = 0; i < 3; i++)
        copy_component(out, *frame, i);
    av_frame_free(frame);
    *frame = out;
    return 0;
}

AVFrame *ff_magvit_hw_get_buffer(AVFilterLink *outlink)
{
    const FFMagvitFilter *s = outlink->src->priv;

    return is_hw(outlink->format) ? get_host_buffer(s->format, outlink->w, outlink->h)
                                  : ff_get_video_buffer(outlink, outlink->w, outlink->h);
}

/* Move the samples of a frame to one in other memory, with its properties. */
static int transfer(AVFrame *to, const AVFrame *from)
{
    int ret = av_hwframe_transfer_data(to, from, 0);

    return ret < 0 ? ret : av_frame_copy_props(to, from);
}

/* Wait until an upload is done, so that its source can go: a download waits, of some samples is enough. */
static int settle(const AVFrame *frame, enum AVPixelFormat samples)
{
    AVFrame *corner;
    int ret;

    if (UPLOAD_HOLDS_SOURCE || frame->format != AV_PIX_FMT_VULKAN)
        return 0;
    if (!(corner = get_host_buffer(samples, FFMIN(frame->width, 8), FFMIN(frame->height, 8))))
        return AVERROR(ENOMEM);
    ret = av_hwframe_transfer_data(corner, frame, 0);
    av_frame_free(&corner);
    return ret;
}

int ff_magvit_hw_download(AVFilterContext *ctx, AVFrame **frame)
{
    FFMagvitFilter *s = ctx->priv;
    const char *name = av_get_pix_fmt_name((*frame)->format);
    enum AVPixelFormat samples;
    AVFrame *host;
    int ret;

    if (!is_hw((*frame)->format))
        return 0;
    samples = (*frame)->hw_frames_ctx ? frames_context((*frame)->hw_frames_ctx)->sw_format : AV_PIX_FMT_NONE;
    if (samples != s->samples) { // frames of another pool
        const char *got = av_get_pix_fmt_name(samples);

        av_log(ctx, AV_LOG_ERROR, "Frame %"PRId64" holds %s, expected %s: the size and format of the input "
               "must not change\n", s->nb_sent, got ? got : "unknown samples", av_get_pix_fmt_name(s->samples));
        return AVERROR(EINVAL);
    }
    if (!(host = av_frame_alloc()))
        return AVERROR(ENOMEM);
    host->format = s->samples;
    if ((ret = transfer(host, *frame)) < 0 || (ret = rearrange(&host, s->format)) < 0) {
        av_log(ctx, AV_LOG_ERROR, "Frame %"PRId64" cannot be downloaded from %s: %s\n", s->nb_sent, name, av_err2str(ret));
        av_frame_free(&host);
        return ret;
    }
    av_frame_free(frame);
    *frame = host;
    return 0;
}

int ff_magvit_hw_upload(AVFilterContext *ctx, AVFrame **frame)
{
    AVFilterLink *outlink = ctx->outputs[0];
    FFMagvitFilter *s = ctx->priv;
    AVFrame *out;
    int ret;

    if (!is_hw(outlink->format))
        return 0;
    if (!(out = av_frame_alloc()))
        return AVERROR(ENOMEM);
    if ((ret = rearrange(frame, s->samples)) < 0 ||
        (ret = av_hwframe_get_buffer(ff_filter_link(outlink)->hw_frames_ctx, out, 0)) < 0 ||
        (ret = transfer(out, *frame)) < 0 || (ret = settle(out, s->samples)) < 0) {
        av_log(ctx, AV_LOG_ERROR, "An output frame cannot be uploaded to %s: %s\n",
               av_get_pix_fmt_name(outlink->format), av_err2str(ret));
        av_frame_free(&out);
        return ret;
    }
    av_frame_free(frame);
    *frame = out;
    return 0;
}
