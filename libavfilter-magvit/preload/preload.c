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
 * The filters for an FFmpeg that was not built with them: a library to be
 * preloaded into its programs, made for one exact release by
 * tools/build-preload.sh.
 *
 * libavfilter looks filters up within itself, where nothing from outside
 * reaches. So the functions by which programs name filters are here once more,
 * with five filters added: the lookup by name and the list, below, and the
 * parser of filter graphs, which the script makes of FFmpeg's own source
 * together with the private functions that the filters call. Graphs and links
 * are then worked on by two copies of the same code. That is sound as none of
 * it holds state of its own, and as long as both agree on every struct: hence
 * the check of the release, before anything else.
 *
 * ffmpeg 5.1 itself leaves with status 0 if a filter fails when it is asked
 * for a frame. Here it is seen to that it does not.
 */

#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "magvit_filter.h"

#define OURS ((uintptr_t)1 << 24) ///< from here on positions in the list of filters are ours

extern const FFFilter ff_vf_magvit_inpaint, ff_vf_magvit_interp, ff_vf_magvit_outpaint, ff_vf_magvit_predict,
                      ff_vsrc_magvit_src;

static const AVFilter *filters[] = {
    &ff_vf_magvit_inpaint, &ff_vf_magvit_interp, &ff_vf_magvit_outpaint, &ff_vf_magvit_predict, &ff_vsrc_magvit_src
};

#define NB_FILTERS (sizeof(filters) / sizeof(*filters))

/* The function of the program's own libavfilter. */
static void *next(const char *name)
{
    void *fn = dlsym(RTLD_NEXT, name);

    if (!fn) {
        fprintf(stderr, "magvit-preload: this program's libavfilter has no %s\n", name);
        exit(1);
    }
    return fn;
}

__attribute__((constructor)) static void check_release(void)
{
    static const char head[] = "FFmpeg version ";
    const char *release = dlsym(RTLD_DEFAULT, "av_filter_ffversion");

    if (release && !strncmp(release, head, strlen(head)))
        release += strlen(head);
    if (release && !strcmp(release, FFMPEG_RELEASE))
        return;
    fprintf(stderr, "magvit-preload: made for FFmpeg %s, but this program has %s: run \"make preload\" again\n",
            FFMPEG_RELEASE, release ? release : "no libavfilter");
    exit(1);
}

#if LIBAVFILTER_VERSION_MAJOR < 9
static int failed;

static int activate(AVFilterContext *ctx)
{
    int ret = ff_magvit_activate(ctx);

    failed |= ((FFMagvitFilter *)ctx->priv)->failed;
    return ret;
}

static void at_exit(int status, void *opaque)
{
    if (status || !failed)
        return;
    fflush(NULL);
    _exit(1);
}

__attribute__((constructor)) static void watch_failures(void)
{
    static AVFilter watched[NB_FILTERS];

    if (strcmp(program_invocation_short_name, "ffmpeg"))
        return;
    for (size_t i = 0; i < NB_FILTERS; i++) {
        watched[i] = *filters[i];
        watched[i].activate = activate;
        filters[i] = &watched[i];
    }
    on_exit(at_exit, NULL);
}
#endif

const AVFilter *avfilter_get_by_name(const char *name)
{
    const AVFilter *(*get)(const char *) = next("avfilter_get_by_name");

    for (size_t i = 0; name && i < NB_FILTERS; i++)
        if (!strcmp(filters[i]->name, name))
            return filters[i];
    return get(name);
}

const AVFilter *av_filter_iterate(void **opaque)
{
    const AVFilter *(*iterate)(void **) = next("av_filter_iterate");
    uintptr_t i = (uintptr_t)*opaque;
    const AVFilter *filter = NULL;

    if (i < OURS && (filter = iterate(opaque)))
        return filter;
    i = i < OURS ? 0 : i - OURS;
    if (i >= NB_FILTERS)
        return NULL;
    *opaque = (void *)(OURS + i + 1);
    return filters[i];
}
