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
 * Holes as 8-bit planes of a frame's size, 255 where samples are to be made:
 * read from a picture file, cut at a threshold, grown, shown.
 */

#ifndef AVFILTER_MAGVIT_MASK_H
#define AVFILTER_MAGVIT_MASK_H

#include <stddef.h>
#include <stdint.h>

#include "libavutil/frame.h"

#define MAGVIT_MASK_MAX_DILATE 1024

/**
 * Read the first picture of any file that libavformat and libavcodec know.
 *
 * @param log   gets one line that names the file when it fails
 * @param luma  receives [h][w] luma, full range; to be freed with av_free(); NULL on failure
 * @return 0 or a negative error code
 */
int ff_magvit_mask_load(void *log, const char *file, uint8_t **luma, int *w, int *h);

/**
 * Luma to hole: what is at least threshold, in [0,1] of white, and not black.
 * limited: luma is [16,235], else [0,255]. mask [h][w], may be luma.
 */
void ff_magvit_mask_threshold(uint8_t *mask, const uint8_t *luma, ptrdiff_t stride, int w, int h,
                              double threshold, int limited);

/** Hole to what is not hole. mask [h][w]. */
void ff_magvit_mask_invert(uint8_t *mask, int w, int h);

/** Add the pixels that are not farther than radius, in [0,MAGVIT_MASK_MAX_DILATE], from a hole. near [h][w] is scratch. */
void ff_magvit_mask_dilate(uint8_t *mask, uint16_t *near, int w, int h, int radius);

/** Number of pixels of a hole. */
int64_t ff_magvit_mask_count(const uint8_t *mask, int w, int h);

/**
 * Draw the hole over a writable frame of one of ff_magvit_pix_fmts: half
 * magenta, in gray formats half the range up or down. Alpha and samples outside stay as they are.
 */
void ff_magvit_mask_draw(AVFrame *frame, const uint8_t *mask);

#endif /* AVFILTER_MAGVIT_MASK_H */
