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
 * The detector of FFmpeg's minterpolate: a cut is a large difference of the
 * first plane of two frames, and a large change of that difference.
 */

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/scene.h"

#define STILL 0.01 ///< percent that neighbouring frames differ by where nothing moves

/** Mean absolute difference in percent of the full scale. */
static double mean_difference(const uint8_t *a, const uint8_t *b, size_t samples, int depth)
{
    double sum = 0;

    for (size_t i = 0; i < samples; i++) {
        int va = a[i], vb = b[i];

        if (depth > 8) {
            uint16_t wide[2];
            memcpy(&wide[0], a + 2 * i, 2);
            memcpy(&wide[1], b + 2 * i, 2);
            va = wide[0];
            vb = wide[1];
        }
        sum += abs(va - vb);
    }
    return sum * 100 / (double)samples / (1 << depth);
}

int scene_begins(Scene *s, const Y4mFrame *frame, const Y4m *y, double threshold)
{
    const size_t samples = (size_t)y->width * y->height, size = samples * (y->format.depth > 8 ? 2 : 1);
    double mafd, score = -1;

    if (s->last) {
        mafd  = mean_difference(s->last, frame->f.data[0], samples, y->format.depth);
        score = fmin(mafd, fabs(mafd - s->last_mafd));
        if (mafd > STILL) /* frames that stand still say nothing of how fast the others move */
            s->last_mafd = mafd;
    } else if (!(s->last = malloc(size))) {
        fputs("magvit: out of memory\n", stderr);
        return MAGVIT_ERR(ENOMEM);
    }
    memcpy(s->last, frame->f.data[0], size);
    return score >= threshold;
}

void scene_free(Scene *s)
{
    free(s->last);
    s->last = NULL;
}
