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
#include <stdlib.h>
#include <string.h>

#include "tools/y4m.h"

#define MAX_SIZE 32768

static const struct {
    const char *tag;
    MagvitFormat format;
    int chroma_loc;
} chromas[] = {
    { "420jpeg",  { MAGVIT_MODEL_YUV, 8, 0, 1, 1, 0 }, 2 },
    { "420mpeg2", { MAGVIT_MODEL_YUV, 8, 0, 1, 1, 0 }, 1 },
    { "420paldv", { MAGVIT_MODEL_YUV, 8, 0, 1, 1, 0 }, 3 },
    { "420",      { MAGVIT_MODEL_YUV, 8, 0, 1, 1, 0 }, 2 },
    { "411",      { MAGVIT_MODEL_YUV, 8, 0, 2, 0, 0 }, 1 },
    { "422",      { MAGVIT_MODEL_YUV, 8, 0, 1, 0, 0 }, 1 },
    { "444",      { MAGVIT_MODEL_YUV, 8, 0, 0, 0, 0 }, 0 },
    { "444alpha", { MAGVIT_MODEL_YUV, 8, 0, 0, 0, 1 }, 0 },
    { "mono",     { MAGVIT_MODEL_GRAY, 8, 0, 0, 0, 0 }, 0 },
};

static int fail(const Y4m *y, int err, const char *what)
{
    fprintf(stderr, "magvit: %s: %s\n", y->path, what);
    return err;
}

/* "420p10", "mono12": a base layout and a depth; otherwise one of the 8-bit names. */
static int parse_chroma(Y4m *y, const char *tag)
{
    char base[16];
    int depth = 8, n = 0;

    if (sscanf(tag, "mono%d%n", &depth, &n) == 1 && !tag[n])
        strcpy(base, "mono");
    else if (sscanf(tag, "%3[0-9]p%d%n", base, &depth, &n) == 2 && !tag[n])
        ;
    else if (strlen(tag) < sizeof(base))
        strcpy(base, tag);
    else
        return MAGVIT_ERR(EINVAL);
    if (depth < 8 || depth > 16)
        return MAGVIT_ERR(EINVAL);
    for (size_t i = 0; i < sizeof(chromas) / sizeof(*chromas); i++) {
        if (!strcmp(base, chromas[i].tag)) {
            y->format           = chromas[i].format;
            y->format.depth     = depth;
            y->color.chroma_loc = chromas[i].chroma_loc;
            return 0;
        }
    }
    return MAGVIT_ERR(EINVAL);
}

/* One line without its newline; a line that does not fit is an error. */
static int read_line(FILE *f, char *line, int size)
{
    int n = 0, c;

    while ((c = getc(f)) != EOF && c != '\n') {
        if (n + 1 >= size || !c)
            return MAGVIT_ERR(EINVAL);
        line[n++] = (char)c;
    }
    line[n] = 0;
    return c == EOF ? (n ? MAGVIT_ERR(EINVAL) : 0) : 1;
}

static int parse_header(Y4m *y, char *line)
{
    char *save, *tag = strtok_r(line, " ", &save);

    if (!tag || strcmp(tag, "YUV4MPEG2"))
        return fail(y, MAGVIT_ERR(EINVAL), "not a YUV4MPEG2 stream (make one with ffmpeg -f yuv4mpegpipe)");
    parse_chroma(y, "420jpeg");
    y->rate = (MagvitRational){ 25, 1 };
    y->color.matrix = 2;
    while ((tag = strtok_r(NULL, " ", &save))) {
        int bad = 0;
        switch (tag[0]) {
        case 'W': y->width  = atoi(tag + 1); continue;
        case 'H': y->height = atoi(tag + 1); continue;
        case 'F':
            bad = sscanf(tag + 1, "%d:%d", &y->rate.num, &y->rate.den) != 2 || y->rate.num <= 0 || y->rate.den <= 0;
            if (!bad)
                continue;
            break;
        case 'C': bad = parse_chroma(y, tag + 1) < 0; break;
        case 'X':
            if (!strcmp(tag, "XCOLORRANGE=FULL"))
                y->color.range = 2;
            else if (!strcmp(tag, "XCOLORRANGE=LIMITED"))
                y->color.range = 1;
            break;
        }
        if (bad) {
            fprintf(stderr, "magvit: %s: unusable header tag \"%.64s\"\n", y->path, tag);
            return MAGVIT_ERR(EINVAL);
        }
        strcat(strcat(y->tags, " "), tag);
    }
    if (y->width < 1 || y->width > MAX_SIZE || y->height < 1 || y->height > MAX_SIZE) {
        fprintf(stderr, "magvit: %s: frame size %dx%d, expected 1 to %d\n", y->path, y->width, y->height, MAX_SIZE);
        return MAGVIT_ERR(EINVAL);
    }
    return 0;
}

int y4m_open(Y4m *y, const char *path)
{
    char line[Y4M_MAX_LINE];
    int ret;

    memset(y, 0, sizeof(*y));
    y->path = path;
    y->file = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    if (!y->file)
        return fail(y, MAGVIT_ERR(errno), strerror(errno));
    ret = read_line(y->file, line, sizeof(line));
    if (ret == 1)
        return parse_header(y, line);
    return fail(y, MAGVIT_ERR(EINVAL), ret ? "not a YUV4MPEG2 stream (make one with ffmpeg -f yuv4mpegpipe)" : "empty input");
}

int y4m_create(Y4m *y, const char *path, const Y4m *like, int width, int height, MagvitRational rate)
{
    *y        = *like;
    y->path   = path;
    y->width  = width;
    y->height = height;
    y->rate   = rate;
    y->frames = 0;
    y->file   = strcmp(path, "-") ? fopen(path, "wb") : stdout;
    if (!y->file)
        return fail(y, MAGVIT_ERR(errno), strerror(errno));
    if (fprintf(y->file, "YUV4MPEG2 W%d H%d F%d:%d%s\n", width, height, rate.num, rate.den, y->tags) < 0)
        return fail(y, MAGVIT_ERR(EIO), strerror(errno));
    return 0;
}

int y4m_read(Y4m *y, Y4mFrame *frame)
{
    char line[Y4M_MAX_LINE];
    int ret = read_line(y->file, line, sizeof(line));

    if (ret == 0)
        return 0;
    if (ret < 0 || strncmp(line, "FRAME", 5) || fread(frame->buffer, 1, frame->size, y->file) != frame->size) {
        fprintf(stderr, "magvit: %s: frame %lld is damaged or truncated\n", y->path, (long long)y->frames);
        return MAGVIT_ERR(EIO);
    }
    frame->f.color    = y->color;
    frame->f.pts      = y->frames++;
    frame->f.duration = 1;
    return 1;
}

int y4m_write(Y4m *y, const Y4mFrame *frame)
{
    if (fputs("FRAME\n", y->file) < 0 || fwrite(frame->buffer, 1, frame->size, y->file) != frame->size)
        return fail(y, MAGVIT_ERR(EIO), strerror(errno));
    y->frames++;
    return 0;
}

int y4m_close(Y4m *y)
{
    int ret = 0;

    if (y->file && y->file != stdin && fclose(y->file))
        ret = fail(y, MAGVIT_ERR(EIO), strerror(errno));
    y->file = NULL;
    return ret;
}

int y4m_frame_alloc(Y4mFrame *frame, const Y4m *y)
{
    const MagvitFormat *fmt = &y->format;
    const int color = fmt->model == MAGVIT_MODEL_GRAY ? 1 : 3, planes = color + fmt->alpha;
    const size_t bytes = fmt->depth > 8 ? 2 : 1;
    size_t offset[4];

    memset(frame, 0, sizeof(*frame));
    for (int i = 0; i < planes; i++) {
        const int chroma = i > 0 && i < color;
        const int w = (y->width  + (chroma ? (1 << fmt->chroma_w) - 1 : 0)) >> (chroma ? fmt->chroma_w : 0);
        const int h = (y->height + (chroma ? (1 << fmt->chroma_h) - 1 : 0)) >> (chroma ? fmt->chroma_h : 0);
        offset[i]          = frame->size;
        frame->f.stride[i] = (ptrdiff_t)(w * bytes);
        frame->size       += w * bytes * h;
    }
    frame->buffer = calloc(1, frame->size);
    if (!frame->buffer)
        return fail(y, MAGVIT_ERR(ENOMEM), "out of memory");
    for (int i = 0; i < planes; i++)
        frame->f.data[i] = frame->buffer + offset[i];
    return 0;
}

void y4m_frame_free(Y4mFrame *frame)
{
    free(frame->buffer);
    memset(frame, 0, sizeof(*frame));
}
