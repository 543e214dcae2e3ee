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
 * Masks. Luma is taken from the decoded picture itself, of whatever format, so
 * that no scaler is needed.
 */

#include <math.h>
#include <string.h>

#include "magvit_mask.h"
#include "libavcodec/avcodec.h"
#include "libavformat/avformat.h"
#include "libavutil/common.h"
#include "libavutil/dict.h"
#include "libavutil/intreadwrite.h"
#include "libavutil/mem.h"
#include "libavutil/pixdesc.h"

/* ---- files ---- */

/* The first picture of a stream; packets of others are left out. */
static int decode_first(AVFormatContext *fmt, AVCodecContext *dec, int stream, AVFrame *frame)
{
    AVPacket *pkt = av_packet_alloc();
    int ret, eof = 0;

    if (!pkt)
        return AVERROR(ENOMEM);
    while ((ret = avcodec_receive_frame(dec, frame)) == AVERROR(EAGAIN) && !eof) {
        ret = av_read_frame(fmt, pkt);
        eof = ret == AVERROR_EOF;
        if (ret >= 0 && pkt->stream_index != stream) {
            av_packet_unref(pkt);
            continue;
        }
        if (ret >= 0 || eof)
            ret = avcodec_send_packet(dec, eof ? NULL : pkt);
        av_packet_unref(pkt);
        if (ret < 0)
            break;
    }
    av_packet_free(&pkt);
    return ret == AVERROR_EOF ? AVERROR_INVALIDDATA : ret;
}

static int read_picture(void *log, const char *file, AVFrame *frame)
{
    AVFormatContext *fmt = NULL;
    AVCodecContext *dec = NULL;
    const AVCodec *codec = NULL;
    AVDictionary *opts = NULL;
    const char *what = "cannot be opened";
    int ret, stream;

    if ((ret = av_dict_set(&opts, "pattern_type", "none", 0)) < 0) // a percent sign in a name is one
        return ret;
    ret = avformat_open_input(&fmt, file, NULL, &opts);
    av_dict_free(&opts);
    if (ret < 0)
        goto end;
    what = "has no picture that this FFmpeg can decode";
    if ((ret = avformat_find_stream_info(fmt, NULL)) < 0)
        goto end;
    ret = stream = av_find_best_stream(fmt, AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    if (ret < 0)
        goto end;
    if (!(dec = avcodec_alloc_context3(codec))) {
        ret = AVERROR(ENOMEM);
        goto end;
    }
    if ((ret = avcodec_parameters_to_context(dec, fmt->streams[stream]->codecpar)) < 0)
        goto end;
    dec->thread_type = FF_THREAD_SLICE;
    if ((ret = avcodec_open2(dec, codec, NULL)) < 0)
        goto end;
    what = "cannot be decoded";
    ret  = decode_first(fmt, dec, stream, frame);

end:
    if (ret < 0)
        av_log(log, AV_LOG_ERROR, "Option mask: %s %s, expected a picture: %s\n", file, what, av_err2str(ret));
    avcodec_free_context(&dec);
    avformat_close_input(&fmt);
    return FFMIN(ret, 0);
}

static int is_limited(const AVFrame *frame, const AVPixFmtDescriptor *desc)
{
    if (desc->nb_components < 3 || desc->flags & AV_PIX_FMT_FLAG_RGB)
        return frame->color_range == AVCOL_RANGE_MPEG;
    return frame->color_range != AVCOL_RANGE_JPEG && strncmp(desc->name, "yuvj", 4);
}

static double luma_of_rgb(double r, double g, double b)
{
    return 0.299 * r + 0.587 * g + 0.114 * b;
}

/* One row of the picture as luma. samples: scratch [3][w] */
static void luma_row(uint8_t *dst, uint16_t *samples, const AVFrame *frame, const AVPixFmtDescriptor *desc, int y)
{
    const int w = frame->width, rgb = desc->flags & AV_PIX_FMT_FLAG_RGB, pal = desc->flags & AV_PIX_FMT_FLAG_PAL;
    const double white = (1 << desc->comp[0].depth) - 1, step = (white + 1) / 256, limited = is_limited(frame, desc);
    const uint32_t *palette = (const uint32_t *)frame->data[1];

    for (int c = 0; c < (rgb && !pal ? 3 : 1); c++)
        av_read_image_line2(samples + (size_t)c * w, (const uint8_t **)frame->data, frame->linesize, desc,
                            0, y, c, w, 0, sizeof(*samples));
    for (int x = 0; x < w; x++) {
        double v = samples[x] / white;

        if (pal) {
            uint32_t p = palette[samples[x] & 255];
            v = luma_of_rgb(p >> 16 & 255, p >> 8 & 255, p & 255) / 255;
        } else if (rgb) { // depths of packed formats differ by component
            v = luma_of_rgb(v, samples[w + x] / (double)((1 << desc->comp[1].depth) - 1),
                            samples[2 * w + x] / (double)((1 << desc->comp[2].depth) - 1));
        } else if (limited) {
            v = (samples[x] - 16 * step) / (219 * step);
        } else if (frame->format == AV_PIX_FMT_MONOWHITE) {
            v = 1 - v;
        }
        dst[x] = lrint(255 * av_clipd(v, 0, 1));
    }
}

int ff_magvit_mask_load(void *log, const char *file, uint8_t **luma, int *w, int *h)
{
    AVFrame *frame = av_frame_alloc();
    const AVPixFmtDescriptor *desc;
    uint16_t *samples = NULL;
    int ret = AVERROR(ENOMEM);

    *luma = NULL;
    if (!frame || (ret = read_picture(log, file, frame)) < 0)
        goto end;
    desc = av_pix_fmt_desc_get(frame->format);
    if (!desc || desc->comp[0].depth > 16 || desc->flags & (AV_PIX_FMT_FLAG_HWACCEL | AV_PIX_FMT_FLAG_FLOAT)) {
        av_log(log, AV_LOG_ERROR, "Option mask: %s is %s, expected samples of at most 16 bits\n", file,
               desc ? desc->name : "of an unknown format");
        ret = AVERROR(EINVAL);
        goto end;
    }
    *w = frame->width;
    *h = frame->height;
    samples = av_malloc_array(3 * sizeof(*samples), *w);
    *luma   = av_malloc_array(*w, *h);
    if (!samples || !*luma) {
        ret = AVERROR(ENOMEM);
        goto end;
    }
    for (int y = 0; y < *h; y++)
        luma_row(*luma + (size_t)y * *w, samples, frame, desc, y);

end:
    if (ret < 0)
        av_freep(luma);
    av_free(samples);
    av_frame_free(&frame);
    return ret;
}

/* ---- shapes ---- */

void ff_magvit_mask_threshold(uint8_t *mask, const uint8_t *luma, ptrdiff_t stride, int w, int h,
                              double threshold, int limited)
{
    int low = limited ? 16 : 0, range = limited ? 219 : 255, first = FFMAX(low + (int)ceil(threshold * range), low + 1);

    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            mask[(size_t)y * w + x] = luma[y * stride + x] >= first ? 255 : 0;
}

void ff_magvit_mask_invert(uint8_t *mask, int w, int h)
{
    for (size_t i = 0; i < (size_t)w * h; i++)
        mask[i] = ~mask[i];
}

/* Distance along the row to the nearest pixel of a hole, at most far. */
static void near_in_row(uint16_t *near, const uint8_t *mask, int w, int far)
{
    int d = far;

    for (int x = 0; x < w; x++)
        near[x] = d = mask[x] ? 0 : FFMIN(d + 1, far);
    d = far;
    for (int x = w - 1; x >= 0; x--) {
        d = mask[x] ? 0 : FFMIN(d + 1, far);
        near[x] = FFMIN(near[x], d);
    }
}

void ff_magvit_mask_dilate(uint8_t *mask, uint16_t *near, int w, int h, int radius)
{
    for (int y = 0; y < h; y++)
        near_in_row(near + (size_t)y * w, mask + (size_t)y * w, w, radius + 1);
    for (int dy = -radius; dy <= radius; dy++) {
        int reach = sqrt(radius * radius - dy * dy), y0 = FFMAX(-dy, 0), y1 = FFMIN(h - dy, h);
        for (int y = y0; y < y1; y++) {
            const uint16_t *from = near + (size_t)(y + dy) * w;
            uint8_t *to = mask + (size_t)y * w;
            for (int x = 0; x < w; x++)
                to[x] |= from[x] <= reach ? 255 : 0;
        }
    }
}

int64_t ff_magvit_mask_count(const uint8_t *mask, int w, int h)
{
    int64_t n = 0;

    for (size_t i = 0; i < (size_t)w * h; i++)
        n += !!mask[i];
    return n;
}

/* ---- showing ---- */

/* Does a sample of a plane belong to the hole: is any of the pixels that it covers masked? */
static int in_hole(const uint8_t *mask, int w, int h, int x, int y, int sw, int sh)
{
    for (int j = y << sh; j < FFMIN((y + 1) << sh, h); j++)
        for (int i = x << sw; i < FFMIN((x + 1) << sw, w); i++)
            if (mask[(size_t)j * w + i])
                return 1;
    return 0;
}

/* A sample as share of its range. */
static double get_sample(const uint8_t *p, int depth, double white)
{
    return depth == 32 ? av_int2float(AV_RN32A(p)) : (depth > 8 ? *(const uint16_t *)p : *p) / white;
}

static void put_sample(uint8_t *p, int depth, double white, double v)
{
    if (depth == 32)
        AV_WN32A(p, av_float2int(v));
    else if (depth > 8)
        *(uint16_t *)p = lrint(v * white);
    else
        *p = lrint(v * white);
}

void ff_magvit_mask_draw(AVFrame *frame, const uint8_t *mask)
{
    static const double magenta[2][3] = { { 0.41, 0.83, 0.92 }, { 0, 1, 1 } }; // Y Cb Cr, G B R
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(frame->format);
    int rgb = !!(desc->flags & AV_PIX_FMT_FLAG_RGB), gray = desc->nb_components < 3, depth = desc->comp[0].depth;
    int bytes = depth == 32 ? 4 : depth > 8 ? 2 : 1;
    double white = depth == 32 ? 1 : (1 << depth) - 1;

    for (int i = 0; i < (gray ? 1 : 3); i++) {
        int sw = !rgb && i ? desc->log2_chroma_w : 0, w = AV_CEIL_RSHIFT(frame->width, sw);
        int sh = !rgb && i ? desc->log2_chroma_h : 0, h = AV_CEIL_RSHIFT(frame->height, sh);

        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                uint8_t *p = frame->data[i] + y * (ptrdiff_t)frame->linesize[i] + x * bytes;
                double v;

                if (!in_hole(mask, frame->width, frame->height, x, y, sw, sh))
                    continue;
                v = get_sample(p, depth, white);
                put_sample(p, depth, white, gray ? (v < 0.5 ? v + 0.5 : v - 0.5) : (v + magenta[rgb][i]) / 2);
            }
    }
}
