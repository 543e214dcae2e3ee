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
 * Differences between FFmpeg 5.1 and 9.0. The filters are written for the
 * newest; this header makes older ones look like it. Delete a block with the
 * last release that needs it.
 */

#ifndef AVFILTER_MAGVIT_FFCOMPAT_H
#define AVFILTER_MAGVIT_FFCOMPAT_H

#include <assert.h>
#include <magvit.h>

#include "libavfilter/avfilter.h"
#include "libavfilter/version.h"
#include "libavutil/error.h"

/* 7.1: internal.h became part of filters.h, frame_rate moved to FilterLink */
#if LIBAVFILTER_VERSION_INT < AV_VERSION_INT(10, 4, 100)
#include "libavfilter/internal.h"
typedef AVFilterLink FilterLink;
static inline FilterLink *ff_filter_link(AVFilterLink *link)
{
    return link;
}
#endif
#include "libavfilter/filters.h"

/* 8.0: FFFilter wraps the public AVFilter as its member p */
#if LIBAVFILTER_VERSION_MAJOR < 11
#define FFFilter AVFilter
#define FILTER_PUBLIC(field) .field
#else
#define FILTER_PUBLIC(field) .p.field
#endif

/* 7.0: links have a colour space and range, which inputs would share */
#define LINK_HAS_COLOR (LIBAVFILTER_VERSION_MAJOR >= 10)

/* 6.0: AVFrame.duration, which follows the time base of the link; pkt_duration did not */
#if LIBAVUTIL_VERSION_INT < AV_VERSION_INT(57, 30, 100)
#define FRAME_DURATION(frame) ((frame)->pkt_duration)
#define FRAME_DURATION_FOLLOWS 0
#else
#define FRAME_DURATION(frame) ((frame)->duration)
#define FRAME_DURATION_FOLLOWS 1
#endif

/* 6.1: key and interlaced became flags */
#ifdef AV_FRAME_FLAG_INTERLACED
#define FRAME_INTERLACED(frame) (!!((frame)->flags & AV_FRAME_FLAG_INTERLACED))
#define FRAME_CLEAR_KEY(frame)  ((frame)->flags &= ~AV_FRAME_FLAG_KEY)
#define FRAME_SET_KEY(frame)    ((frame)->flags |= AV_FRAME_FLAG_KEY)
#else
#define FRAME_INTERLACED(frame) ((frame)->interlaced_frame)
#define FRAME_CLEAR_KEY(frame)  ((frame)->key_frame = 0)
#define FRAME_SET_KEY(frame)    ((frame)->key_frame = 1)
#endif

/* 8.1: an upload to Vulkan holds the frame in host memory; before, it may read it after it has returned */
#define UPLOAD_HOLDS_SOURCE (LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(60, 26, 100))

/* libmagvit's codes and unknown timestamps pass through unchanged */
static_assert(MAGVIT_ERROR_EOF     == AVERROR_EOF,         "EOF");
static_assert(MAGVIT_ERROR_MODEL   == AVERROR_INVALIDDATA, "INDA");
static_assert(MAGVIT_ERROR_DEVICE  == AVERROR_EXTERNAL,    "EXT");
static_assert(MAGVIT_ERR(EAGAIN)   == AVERROR(EAGAIN),     "EAGAIN");
static_assert(MAGVIT_NOPTS         == AV_NOPTS_VALUE,      "NOPTS");

#endif /* AVFILTER_MAGVIT_FFCOMPAT_H */
