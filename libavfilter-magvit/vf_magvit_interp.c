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
 * Insert synthesised frames between the frames of the input.
 */

#include <math.h>

#include "magvit_filter.h"
#include "libavutil/eval.h"
#include "libavutil/parseutils.h"

#define MAX_FACTOR 15 ///< of the library: the window holds two known frames at least

typedef struct MagvitInterpContext {
    FFMagvitFilter base;
    char *fps;
    int factor;
} MagvitInterpContext;

#define OFFSET(x) offsetof(MagvitInterpContext, x)
#define FLAGS MAGVIT_FLAGS

static const AVOption magvit_interp_options[] = {
    { "fps",    "set the output frame rate, an expression with source_fps", OFFSET(fps), AV_OPT_TYPE_STRING, { .str = "source_fps*2" }, 0, 0, FLAGS },
    { "factor", "set the number of output frames for each input frame, 0 to use fps", OFFSET(factor), AV_OPT_TYPE_INT, { .i64 = 0 }, 0, MAX_FACTOR, FLAGS },
    MAGVIT_COMMON_OPTIONS,
    { NULL }
};

AVFILTER_DEFINE_CLASS(magvit_interp);

static int eval_fps(const char *expr, double source_fps, double *res, AVFilterContext *ctx)
{
    static const char *const names[] = { "source_fps", NULL };

    return av_expr_parse_and_eval(res, expr, names, &source_fps, NULL, NULL,
                                  NULL, NULL, NULL, AV_LOG_MAX_OFFSET, ctx);
}

/* Output rate over input rate. A rate that the source's is multiplied with is
 * exact: source_fps*2 of 30000/1001 is 60000/1001. *source unknown is {0,0}:
 * then only an expression proportional to source_fps has a value. */
static int get_ratio(AVFilterContext *ctx, AVRational source, AVRational *ratio)
{
    MagvitInterpContext *s = ctx->priv;
    AVRational rate;
    double res, twice;
    int ret;

    if (av_parse_video_rate(&rate, s->fps) >= 0) { // a name, number or fraction
        if (!source.num) {
            av_log(ctx, AV_LOG_ERROR, "Option fps: %s is absolute, expected a multiple of source_fps "
                   "(or set factor), as the frame rate of the input is unknown\n", s->fps);
            return AVERROR(EINVAL);
        }
        *ratio = av_div_q(rate, source);
        return 0;
    }
    if ((ret = eval_fps(s->fps, source.num ? av_q2d(source) : 1, &res, ctx)) < 0 ||
        (ret = eval_fps(s->fps, 2, &twice, ctx)) < 0 || !isfinite(res) || res <= 0) {
        av_log(ctx, AV_LOG_ERROR, "Option fps: %s is not valid, expected a frame rate such as 60, "
               "60000/1001, ntsc or source_fps*5/2\n", s->fps);
        return ret < 0 ? ret : AVERROR(EINVAL);
    }
    if (source.num) {
        res /= av_q2d(source);
    } else if (twice != 2 * res) {
        av_log(ctx, AV_LOG_ERROR, "Option fps: %s cannot be computed, expected a multiple of source_fps "
               "(or set factor), as the frame rate of the input is unknown\n", s->fps);
        return AVERROR(EINVAL);
    }
    *ratio = av_d2q(res, 1001000);
    return 0;
}

static int set_params(AVFilterContext *ctx, MagvitParams *par)
{
    MagvitInterpContext *s = ctx->priv;
    AVRational source = { par->frame_rate.num, par->frame_rate.den }, ratio, rate;
    int ret;

    if (s->factor) {
        par->factor = s->factor;
        return 0;
    }
    if ((ret = get_ratio(ctx, source, &ratio)) < 0)
        return ret;
    if (ratio.den == 1 && ratio.num <= MAX_FACTOR) { // needs no frame rate
        par->factor = ratio.num;
        return 0;
    }
    if (!source.num) {
        av_log(ctx, AV_LOG_ERROR, "Option fps: %s is not valid, expected a whole multiple of source_fps up to %d, "
               "as the frame rate of the input is unknown\n", s->fps, MAX_FACTOR);
        return AVERROR(EINVAL);
    }
    rate = av_mul_q(source, ratio);
    par->factor = 0;
    par->rate   = (MagvitRational){ rate.num, rate.den };
    return 0;
}

static av_cold int init(AVFilterContext *ctx)
{
    MagvitInterpContext *s = ctx->priv;

    s->base.task       = MAGVIT_TASK_INTERP;
    s->base.set_params = set_params;
    return 0;
}

static const AVFilterPad inputs[] = {
    { .name = "default", .type = AVMEDIA_TYPE_VIDEO },
};

const FFFilter ff_vf_magvit_interp = {
    FILTER_PUBLIC(name)        = "magvit_interp",
    FILTER_PUBLIC(description) = NULL_IF_CONFIG_SMALL("Raise the frame rate with a MAGVIT model."),
    FILTER_PUBLIC(priv_class)  = &magvit_interp_class,
    .priv_size = sizeof(MagvitInterpContext),
    .init      = init,
    .uninit    = ff_magvit_uninit,
    .activate  = ff_magvit_activate,
    FILTER_INPUTS(inputs),
    FILTER_OUTPUTS(ff_magvit_outputs),
    FILTER_PIXFMTS_ARRAY(ff_magvit_pix_fmts),
};
