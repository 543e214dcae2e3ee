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
 * YUV4MPEG2 streams: the pipe format of ffmpeg (-f yuv4mpegpipe) and others.
 * The header is untrusted: sizes are limited before anything is allocated.
 */

#ifndef MAGVIT_TOOLS_Y4M_H
#define MAGVIT_TOOLS_Y4M_H

#include <stdio.h>

#include "libmagvit/magvit.h"

#define Y4M_MAX_LINE 1024

typedef struct Y4m {
    FILE *file;
    const char *path;      ///< for messages; "-" is stdin or stdout
    int width, height;     ///< [1,32768]
    MagvitRational rate;   ///< 25/1 if the stream does not say
    MagvitFormat format;
    MagvitColor color;
    char tags[Y4M_MAX_LINE]; ///< header tags other than W, H and F, each with a leading space
    int64_t frames;        ///< read or written so far
} Y4m;

/** Planes of one frame in a single buffer. */
typedef struct Y4mFrame {
    MagvitFrame f;
    uint8_t *buffer;
    size_t size; ///< bytes a frame has in the stream
} Y4mFrame;

/* All return 0, or a negative MAGVIT_ERR() after one line on stderr. */

/** Open path ("-": stdin) and parse the stream header. */
int y4m_open(Y4m *y, const char *path);
/** Open path ("-": stdout) and write a header: tags and colour of like, given size and rate. */
int y4m_create(Y4m *y, const char *path, const Y4m *like, int width, int height, MagvitRational rate);
/** @return 1 with a frame, 0 at the end, negative on a damaged or truncated stream */
int y4m_read(Y4m *y, Y4mFrame *frame);
int y4m_write(Y4m *y, const Y4mFrame *frame);
/** Also reports write errors that were held back by buffering. */
int y4m_close(Y4m *y);

int y4m_frame_alloc(Y4mFrame *frame, const Y4m *y);
void y4m_frame_free(Y4mFrame *frame);

#endif /* MAGVIT_TOOLS_Y4M_H */
