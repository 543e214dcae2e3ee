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

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libmagvit/video.h"
#include "tools/tokens.h"
#include "tools/y4m.h"

#define HEADER "magvit-tokens 1 frames=%" PRId64 " window=%dx%dx%d latent=%dx%dx%d codes=%d rate=%d/%d\n"
#define HEADER_FIELDS "magvit-tokens 1 frames=%" SCNd64 " window=%dx%dx%d latent=%dx%dx%d codes=%d rate=%d/%d"
enum { HEADER_NB = 10, MAX_HEADER = 256 };

static const MagvitLogger logger = { mgv_log_stderr, NULL, MAGVIT_LOG_WARNING };

/* Memory that both directions need. */
typedef struct Codec {
    MagvitInfo info;
    size_t pixels;      /* of a frame of the window */
    size_t nb_codes;    /* of a window */
    int code_bytes;
    float *clip;        /* [T,H,W,3] */
    int32_t *codes;     /* [t,h,w] */
    uint8_t *packed;    /* codes as in the file */
    MgvImage *image;
    MgvPicture *picture;
    Y4mFrame frame;
    Y4m video;
    FILE *file;
} Codec;

static int file_error(const char *path, int err, const char *what)
{
    fprintf(stderr, "magvit: %s: %s\n", path, what);
    return err;
}

static int codec_alloc(Codec *c, MagvitContext *ctx)
{
    magvit_get_info(ctx, &c->info);
    c->pixels     = (size_t)c->info.window[1] * c->info.window[2];
    c->nb_codes   = (size_t)c->info.latent[0] * c->info.latent[1] * c->info.latent[2];
    c->code_bytes = c->info.nb_codes > 65536 ? 4 : 2;
    c->clip       = mgv_calloc(c->info.window[0] * c->pixels * 3, sizeof(*c->clip));
    c->codes      = mgv_calloc(c->nb_codes, sizeof(*c->codes));
    c->packed     = mgv_calloc(c->nb_codes, c->code_bytes);
    if (!c->clip || !c->codes || !c->packed)
        return MAGVIT_ERR(ENOMEM);
    return mgv_image_alloc(&c->image, &logger, NULL);
}

/* Also finishes the written file: a full disk shows here at the latest. */
static int codec_free(Codec *c, const char *path, int ret)
{
    if (c->file && c->file != stdin && c->file != stdout && fclose(c->file) && ret >= 0)
        ret = file_error(path, MAGVIT_ERR(EIO), strerror(errno));
    if (c->video.file) {
        const int err = y4m_close(&c->video);
        ret = ret < 0 ? ret : err;
    }
    mgv_freep(&c->clip);
    mgv_freep(&c->codes);
    mgv_freep(&c->packed);
    mgv_image_free(&c->image);
    mgv_picture_free(&c->picture);
    y4m_frame_free(&c->frame);
    return ret;
}

static FILE *open_file(const char *path, const char *mode)
{
    FILE *f;

    if (!strcmp(path, "-"))
        return *mode == 'r' ? stdin : stdout;
    f = fopen(path, mode);
    if (!f)
        file_error(path, 0, strerror(errno));
    return f;
}

static void pack(Codec *c)
{
    for (size_t i = 0; i < c->nb_codes; i++)
        for (int b = 0; b < c->code_bytes; b++)
            c->packed[i * c->code_bytes + b] = (uint8_t)(c->codes[i] >> 8 * b);
}

static void unpack(Codec *c)
{
    for (size_t i = 0; i < c->nb_codes; i++) {
        uint32_t v = 0;
        for (int b = 0; b < c->code_bytes; b++)
            v |= (uint32_t)c->packed[i * c->code_bytes + b] << 8 * b;
        c->codes[i] = (int32_t)v;
    }
}

/* The frame just read -> slot of the clip. */
static int load_slot(Codec *c, float *rgb, int slot)
{
    const Y4m *v = &c->video;
    const MgvRect all = { 0, 0, v->width, v->height };
    float *dst = c->clip + slot * c->pixels * 3;
    int ret;

    mgv_picture_put(c->picture, &c->frame.f, 0, 0, v->width, v->height);
    c->picture->color = c->frame.f.color;
    ret = mgv_image_load(c->image, c->picture, all, rgb);
    return ret < 0 ? ret : mgv_image_resize(c->image, dst, c->info.window[2], c->info.window[1], rgb,
                                            v->width, v->height, 0, 0, v->width, v->height);
}

/* Count of frames is only known at the end, so codes are kept until then. */
static int encode_windows(Codec *c, MagvitContext *ctx, float *rgb, FILE *codes, int64_t *frames)
{
    int slot = 0, ret;

    while ((ret = y4m_read(&c->video, &c->frame)) == 1 || slot) {
        if (ret < 0)
            return ret;
        if (ret) {
            if ((ret = load_slot(c, rgb, slot)) < 0)
                return ret;
            ++*frames;
        } else {
            memcpy(c->clip + slot * c->pixels * 3, c->clip + (slot - 1) * c->pixels * 3, c->pixels * 3 * sizeof(*rgb));
        }
        if (++slot == c->info.window[0]) {
            slot = 0;
            if ((ret = magvit_encode(ctx, c->clip, c->codes)) < 0)
                return ret;
            pack(c);
            if (fwrite(c->packed, c->code_bytes, c->nb_codes, codes) != c->nb_codes)
                return MAGVIT_ERR(EIO);
        }
    }
    return ret;
}

static int copy_stream(FILE *dst, FILE *src)
{
    char block[1 << 14];
    size_t n;

    rewind(src);
    while ((n = fread(block, 1, sizeof(block), src)))
        if (fwrite(block, 1, n, dst) != n)
            return MAGVIT_ERR(EIO);
    return ferror(src) ? MAGVIT_ERR(EIO) : 0;
}

int tokens_encode(MagvitContext *ctx, const char *in, const char *out)
{
    Codec c = { .pixels = 0 };
    const int *w = c.info.window, *l = c.info.latent;
    FILE *codes = tmpfile();
    float *rgb = NULL;
    int64_t frames = 0;
    int ret = codes ? codec_alloc(&c, ctx) : MAGVIT_ERR(errno);

    if (ret < 0)
        goto end;
    if ((ret = y4m_open(&c.video, in)) < 0 || (ret = y4m_frame_alloc(&c.frame, &c.video)) < 0)
        goto end;
    ret = mgv_picture_alloc(&c.picture, &c.video.format, c.video.width, c.video.height, 0);
    rgb = mgv_calloc((size_t)c.video.width * c.video.height * 3, sizeof(*rgb));
    if (ret < 0 || !rgb) {
        ret = MAGVIT_ERR(ENOMEM);
        goto end;
    }
    if ((ret = encode_windows(&c, ctx, rgb, codes, &frames)) < 0)
        goto end;
    if (!(c.file = open_file(out, "wb"))) {
        ret = MAGVIT_ERR(EIO);
        goto end;
    }
    if (fprintf(c.file, HEADER, frames, w[0], w[1], w[2], l[0], l[1], l[2], c.info.nb_codes,
                c.video.rate.num, c.video.rate.den) < 0 || copy_stream(c.file, codes) < 0)
        ret = file_error(out, MAGVIT_ERR(EIO), "cannot write");
end:
    if (codes)
        fclose(codes);
    mgv_freep(&rgb);
    return codec_free(&c, out, ret);
}

static int read_header(Codec *c, const char *path, int64_t *frames, MagvitRational *rate)
{
    char line[MAX_HEADER];
    const MagvitInfo *i = &c->info;
    int w[3], l[3], codes;

    if (!fgets(line, sizeof(line), c->file) ||
        sscanf(line, HEADER_FIELDS, frames, &w[0], &w[1], &w[2], &l[0], &l[1], &l[2], &codes,
               &rate->num, &rate->den) != HEADER_NB || *frames < 0 || rate->num <= 0 || rate->den <= 0)
        return file_error(path, MAGVIT_ERR(EINVAL), "not a token file (make one with magvit encode)");
    if (memcmp(w, i->window, sizeof(w)) || memcmp(l, i->latent, sizeof(l)) || codes != i->nb_codes) {
        fprintf(stderr, "magvit: %s: tokens of a %dx%dx%d window with %d codes, the model has %dx%dx%d and %d\n",
                path, w[0], w[1], w[2], codes, i->window[0], i->window[1], i->window[2], i->nb_codes);
        return MAGVIT_ERR(EINVAL);
    }
    return 0;
}

static int write_slot(Codec *c, int slot)
{
    const MgvRect all = { 0, 0, c->info.window[2], c->info.window[1] };
    int ret = mgv_image_store(c->image, c->picture, all, c->clip + slot * c->pixels * 3, NULL, 0);

    if (ret < 0)
        return ret;
    mgv_picture_get(c->picture, &c->frame.f);
    return y4m_write(&c->video, &c->frame);
}

static int decode_windows(Codec *c, MagvitContext *ctx, const char *path, int64_t frames)
{
    int ret = 0;

    for (int64_t n = 0; n < frames && ret >= 0; n++) {
        const int slot = (int)(n % c->info.window[0]);
        if (!slot) {
            if (fread(c->packed, c->code_bytes, c->nb_codes, c->file) != c->nb_codes)
                return file_error(path, MAGVIT_ERR(EIO), "the file is truncated");
            unpack(c);
            ret = magvit_decode(ctx, c->codes, c->clip);
        }
        if (ret >= 0)
            ret = write_slot(c, slot);
    }
    return ret;
}

int tokens_decode(MagvitContext *ctx, const char *in, const char *out)
{
    Codec c = { .pixels = 0 };
    const Y4m like = { .format = { MAGVIT_MODEL_YUV, 8, 0, 0, 0, 0 }, .color = { 2, 1, 0 },
                       .tags = " Ip A1:1 C444 XCOLORRANGE=LIMITED" };
    MagvitRational rate;
    int64_t frames;
    int ret = codec_alloc(&c, ctx);

    if (ret >= 0 && !(c.file = open_file(in, "rb")))
        ret = MAGVIT_ERR(ENOENT);
    if (ret >= 0)
        ret = read_header(&c, in, &frames, &rate);
    if (ret >= 0)
        ret = mgv_picture_alloc(&c.picture, &like.format, c.info.window[2], c.info.window[1], 0);
    if (ret >= 0)
        ret = y4m_create(&c.video, out, &like, c.info.window[2], c.info.window[1], rate);
    if (ret >= 0)
        ret = y4m_frame_alloc(&c.frame, &c.video);
    if (ret >= 0) {
        c.picture->color = like.color;
        ret = decode_windows(&c, ctx, in, frames);
    }
    return codec_free(&c, out, ret);
}
