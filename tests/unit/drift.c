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


/* From one window to the next: what goes on, what fades, what stays. */

#include <stdlib.h>

#include "libmagvit/video.h"
#include "tests/unit/unit.h"

enum { W = 64, H = 48 };

static const MgvRect hole = { 10, 8, 40, 32 };

static MgvPicture *picture(const MagvitFormat *f, int made)
{
    MgvPicture *p;

    CU_ASSERT_EQUAL_FATAL(mgv_picture_alloc(&p, f, W, H, 1), 0);
    mgv_picture_clear(p);
    for (int i = 0; i < mgv_format_planes(f); i++) {
        int w, h;

        mgv_format_plane_size(f, i, W, H, &w, &h);
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                int in = x * W / w >= hole.x && x * W / w < hole.x + hole.w && y * H / h >= hole.y && y * H / h < hole.y + hole.h;
                int v = in ? made + (x + y) % 2 * 8 : 50 + x;

                if (f->depth > 8)
                    ((uint16_t *)(p->data[i] + y * p->stride[i]))[x] = (uint16_t)(v * 4);
                else
                    p->data[i][y * p->stride[i] + x] = (uint8_t)v;
                if (!i)
                    p->mask[y * W + x] = (uint8_t)in;
            }
    }
    return p;
}

static int sample(const MgvPicture *p, int x, int y)
{
    return p->format.depth > 8 ? ((uint16_t *)(p->data[0] + y * p->stride[0]))[x] / 4 : p->data[0][y * p->stride[0] + x];
}

static void check_format(MagvitFormat f)
{
    MgvPicture *before = picture(&f, 100), *made = picture(&f, 140), *later = picture(&f, 140), *old = picture(&f, 140);
    MgvDrift *d;

    CU_ASSERT_EQUAL_FATAL(mgv_drift_alloc(&d, &f, W, H, hole), 0);
    mgv_drift_join(d, made, before, 0.8);
    mgv_drift_add(d, later, later, 0.5);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            int depth = MGV_MIN(MGV_MIN(x - hole.x, hole.x + hole.w - 1 - x), MGV_MIN(y - hole.y, hole.y + hole.h - 1 - y));

            if (depth < 0) {
                CU_ASSERT_EQUAL(sample(made, x, y), sample(old, x, y));
                CU_ASSERT_EQUAL(sample(later, x, y), sample(old, x, y));
            } else if (depth > 6) { // the level is that of the window before, the detail the own one
                CU_ASSERT(abs(sample(made, x, y) - sample(before, x, y)) <= 1);
                CU_ASSERT(abs(sample(later, x, y) - sample(before, x, y) - 20) <= 1);
            } else if (!depth) {
                CU_ASSERT(abs(sample(later, x, y) - sample(old, x, y)) <= 3); // next to what is given
            }
        }
    mgv_drift_free(&d);
    CU_ASSERT_PTR_NULL(d);
    mgv_picture_free(&before);
    mgv_picture_free(&made);
    mgv_picture_free(&later);
    mgv_picture_free(&old);
}

static void test_formats(void)
{
    check_format((MagvitFormat){ MAGVIT_MODEL_GRAY, 8, 0, 0, 0, 0 });
    check_format((MagvitFormat){ MAGVIT_MODEL_YUV, 8, 0, 1, 1, 0 });
    check_format((MagvitFormat){ MAGVIT_MODEL_GBR, 10, 0, 0, 0, 1 });
}

CU_ErrorCode add_drift_suite(void)
{
    static const UnitTest tests[] = {
        { "goes on, fades, stays", test_formats },
        { NULL, NULL }
    };
    return unit_add("drift", tests);
}
