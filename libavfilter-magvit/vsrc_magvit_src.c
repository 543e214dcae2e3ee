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
 * Make a stream out of nothing but a class. The pictures are RGB, as the model
 * makes them; what else is wanted comes from a conversion behind the source.
 */

#include "magvit_filter.h"

typedef struct MagvitSrcContext {
    FFMagvitFilter base;
    char *class_name;
    int class_id;
    int w, h;             ///< 0: of the window
    AVRational rate;
    int64_t duration;     ///< microseconds, -1: without end
    int cond_frames;
} MagvitSrcContext;

#define OFFSET(x) offsetof(MagvitSrcContext, x)
#define FLAGS MAGVIT_FLAGS

static const AVOption magvit_src_options[] = {
    { "class",       "set the class by name or number", OFFSET(class_name), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    { "size",        "set the size, the window's if not set", OFFSET(w), AV_OPT_TYPE_IMAGE_SIZE, { .str = NULL }, 0, 0, FLAGS },
    { "s",           "set the size, the window's if not set", OFFSET(w), AV_OPT_TYPE_IMAGE_SIZE, { .str = NULL }, 0, 0, FLAGS },
    { "rate",        "set the frame rate", OFFSET(rate), AV_OPT_TYPE_VIDEO_RATE, { .str = "25" }, 0, INT_MAX, FLAGS },
    { "r",           "set the frame rate", OFFSET(rate), AV_OPT_TYPE_VIDEO_RATE, { .str = "25" }, 0, INT_MAX, FLAGS },
    { "duration",    "set the duration, -1 for no end", OFFSET(duration), AV_OPT_TYPE_DURATION, { .i64 = -1 }, -1, INT64_MAX, FLAGS },
    { "d",           "set the duration, -1 for no end", OFFSET(duration), AV_OPT_TYPE_DURATION, { .i64 = -1 }, -1, INT64_MAX, FLAGS },
    { "cond_frames", "set the number of frames that a window takes over from the last one", OFFSET(cond_frames), AV_OPT_TYPE_INT, { .i64 = 1 }, 1, 63, FLAGS },
    MAGVIT_MODEL_OPTIONS,
    { NULL }
};

AVFILTER_DEFINE_CLASS(magvit_src);

static int set_params(AVFilterContext *ctx, MagvitParams *par)
{
    MagvitSrcContext *s = ctx->priv;
    MagvitInfo info;

    ff_magvit_get_info(ctx, &info);
    par->width       = s->w ? s->w : info.window[2];
    par->height      = s->h ? s->h : info.window[1];
    par->frame_rate  = (MagvitRational){ s->rate.num, s->rate.den };
    par->cond_frames = s->cond_frames;
    par->class_id    = s->class_id;
    ctx->outputs[0]->sample_aspect_ratio = (AVRational){ 1, 1 };
    return s->duration < 0 ? 0 : ff_magvit_count_frames(ctx, s->duration, par->frame_rate, &par->frames);
}

static av_cold int init(AVFilterContext *ctx)
{
    MagvitSrcContext *s = ctx->priv;
    int ret;

    s->base.task       = MAGVIT_TASK_GENERATE;
    s->base.set_params = set_params;
    if ((ret = ff_magvit_init(ctx)) < 0)
        return ret;
    return ff_magvit_find_class(ctx, s->class_name, &s->class_id);
}

const FFFilter ff_vsrc_magvit_src = {
    FILTER_PUBLIC(name)        = "magvit_src",
    FILTER_PUBLIC(description) = NULL_IF_CONFIG_SMALL("Generate video with a MAGVIT model."),
    FILTER_PUBLIC(priv_class)  = &magvit_src_class,
    FILTER_PUBLIC(inputs)      = NULL,
    .priv_size = sizeof(MagvitSrcContext),
    .init      = init,
    .uninit    = ff_magvit_uninit,
    .activate  = ff_magvit_activate,
    .process_command = ff_magvit_process_command,
    FILTER_OUTPUTS(ff_magvit_outputs),
    FILTER_PIXFMTS(AV_PIX_FMT_GBRP, AV_PIX_FMT_GBRP10, AV_PIX_FMT_GBRP12, AV_PIX_FMT_GBRP14, AV_PIX_FMT_GBRP16,
                   AV_PIX_FMT_GBRPF32),
};
