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
 * Continue a stream after its end with synthesised frames.
 */

#include "magvit_filter.h"

typedef struct MagvitPredictContext {
    FFMagvitFilter base;
    int frames;
    int64_t duration; ///< microseconds
    int cond_frames;
    char *class_name;
    int class_id;
} MagvitPredictContext;

#define OFFSET(x) offsetof(MagvitPredictContext, x)
#define FLAGS MAGVIT_FLAGS

static const AVOption magvit_predict_options[] = {
    { "frames",      "set the number of frames to add, 0 for those of one window", OFFSET(frames), AV_OPT_TYPE_INT, { .i64 = 0 }, 0, INT_MAX, FLAGS },
    { "duration",    "set the duration to add, 0 to use frames", OFFSET(duration), AV_OPT_TYPE_DURATION, { .i64 = 0 }, 0, INT64_MAX, FLAGS },
    { "d",           "set the duration to add, 0 to use frames", OFFSET(duration), AV_OPT_TYPE_DURATION, { .i64 = 0 }, 0, INT64_MAX, FLAGS },
    { "cond_frames", "set the number of frames that a window starts from", OFFSET(cond_frames), AV_OPT_TYPE_INT, { .i64 = 1 }, 1, 63, FLAGS },
    { "class",       "set the class by name or number", OFFSET(class_name), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    MAGVIT_MODEL_OPTIONS,
    MAGVIT_TILE_OPTIONS,
    { NULL }
};

AVFILTER_DEFINE_CLASS(magvit_predict);

static int set_params(AVFilterContext *ctx, MagvitParams *par)
{
    MagvitPredictContext *s = ctx->priv;
    MagvitInfo info;

    ff_magvit_get_info(ctx, &info);
    par->cond_frames = s->cond_frames;
    par->class_id    = s->class_id;
    par->frames      = s->frames ? s->frames : FFMAX(info.window[0] - s->cond_frames, 1);
    if (!s->duration)
        return 0;
    if (par->frame_rate.num <= 0) {
        av_log(ctx, AV_LOG_ERROR, "Option duration: %.3f s cannot be counted in frames, expected frames instead, "
               "as the frame rate of the input is unknown\n", s->duration * 1e-6);
        return AVERROR(EINVAL);
    }
    return ff_magvit_count_frames(ctx, s->duration, par->frame_rate, &par->frames);
}

static av_cold int init(AVFilterContext *ctx)
{
    MagvitPredictContext *s = ctx->priv;
    int ret;

    if (s->frames && s->duration) {
        av_log(ctx, AV_LOG_ERROR, "Options frames, duration: %d and %.3f s are both set, expected one of them\n",
               s->frames, s->duration * 1e-6);
        return AVERROR(EINVAL);
    }
    s->base.task       = MAGVIT_TASK_PREDICT;
    s->base.set_params = set_params;
    if ((ret = ff_magvit_init(ctx)) < 0)
        return ret;
    return ff_magvit_find_class(ctx, s->class_name, &s->class_id);
}

static const AVFilterPad inputs[] = {
    { .name = "default", .type = AVMEDIA_TYPE_VIDEO },
};

const FFFilter ff_vf_magvit_predict = {
    FILTER_PUBLIC(name)        = "magvit_predict",
    FILTER_PUBLIC(description) = NULL_IF_CONFIG_SMALL("Continue a stream after its end with a MAGVIT model."),
    FILTER_PUBLIC(priv_class)  = &magvit_predict_class,
    .flags_internal = FF_FILTER_FLAG_HWFRAME_AWARE,
    .priv_size = sizeof(MagvitPredictContext),
    .init      = init,
    .uninit    = ff_magvit_uninit,
    .activate  = ff_magvit_activate,
    .process_command = ff_magvit_process_command,
    FILTER_INPUTS(inputs),
    FILTER_OUTPUTS(ff_magvit_outputs),
    FILTER_PIXFMTS_ARRAY(ff_magvit_pix_fmts),
};
