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
 * Where scenes begin, as magvit_interp of FFmpeg sees it.
 */

#ifndef MAGVIT_TOOLS_SCENE_H
#define MAGVIT_TOOLS_SCENE_H

#include "tools/y4m.h"

/** Zeroed before the first frame. */
typedef struct Scene {
    uint8_t *last;       ///< first plane of the frame before, NULL before the first
    double last_mafd;    ///< percent that it differed by from the one before
} Scene;

/**
 * Show the detector the next frame of a stream.
 * @param threshold score in [0,100] from which on a frame begins a scene
 * @return 1 if it does, 0 if not, MAGVIT_ERR(ENOMEM) after one line on stderr
 */
int scene_begins(Scene *s, const Y4mFrame *frame, const Y4m *y, double threshold);
void scene_free(Scene *s);

#endif /* MAGVIT_TOOLS_SCENE_H */
