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
 * Token files: one line of text that says what follows, then the codes of all
 * windows, [windows,t,h,w] little-endian, 16 bits each (32 if the codebook is
 * larger than 65536).
 */

#ifndef MAGVIT_TOOLS_TOKENS_H
#define MAGVIT_TOOLS_TOKENS_H

#include "libmagvit/magvit.h"

/**
 * Frames of a YUV4MPEG2 stream -> token file, window after window. Frames are
 * scaled to the window's size; the last window is filled by repeating the last frame.
 * @return 0 or a negative code after one line on stderr
 */
int tokens_encode(MagvitContext *ctx, const char *in, const char *out);

/** Token file -> YUV4MPEG2 stream, 8-bit 4:4:4, of the window's size. */
int tokens_decode(MagvitContext *ctx, const char *in, const char *out);

#endif /* MAGVIT_TOOLS_TOKENS_H */
