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
 * Insert synthesised frames between the frames of the input, or replace its
 * bad ones.
 */

#include <math.h>
#include <stdlib.h>

#include "magvit_filter.h"
#include "libavutil/avstring.h"
#include "libavutil/common.h"
#include "libavutil/dict.h"
#include "libavutil/eval.h"
#include "libavutil/mathematics.h"
#include "libavutil/parseutils.h"
#include "libavutil/pixdesc.h"

#define MAX_FACTOR 15 ///< of the library: the window holds two known frames at least
#define STILL 0.01    ///< percent that neighbouring frames differ by where nothing moves
#define DEFAULT_FPS "source_fps*2"

enum { MODE_INTERP, MODE_REPAIR };
enum { SCD_NONE, SCD_FDIFF };

typedef struct MagvitInterpContext {
    FFMagvitFilter base;
    char *fps;
    int factor;
    int mode;
    int scd;
    double scd_threshold;
    double dup_threshold;
    int motion;

    /* state */
    AVFrame *last;        ///< last frame that the detector saw, NULL before the first
    double last_mafd;     ///< percent that it differed by from the one before
    int warned_gap;
} MagvitInterpContext;

#define OFFSET(x) offsetof(MagvitInterpContext, x)
#define FLAGS MAGVIT_FLAGS
#define TFLAGS (MAGVIT_FLAGS | AV_OPT_FLAG_RUNTIME_PARAM)

static const AVOption magvit_interp_options[] = {
    { "fps",    "set the output frame rate, an expression with source_fps (default source_fps*2)", OFFSET(fps), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    { "factor", "set the number of output frames for each input frame, 0 to use fps", OFFSET(factor), AV_OPT_TYPE_INT, { .i64 = 0 }, 0, MAX_FACTOR, FLAGS },
    { "mode",   "set what to make", OFFSET(mode), AV_OPT_TYPE_INT, { .i64 = MODE_INTERP }, MODE_INTERP, MODE_REPAIR, FLAGS, .unit = "mode" },
        MAGVIT_CONST("interp", "frames between frames",                            MODE_INTERP, "mode"),
        MAGVIT_CONST("repair", "frozen, missing and broken frames, at the rate of the input", MODE_REPAIR, "mode"),
    { "scd",    "set the scene change detection method", OFFSET(scd), AV_OPT_TYPE_INT, { .i64 = SCD_FDIFF }, SCD_NONE, SCD_FDIFF, TFLAGS, .unit = "scd" },
        MAGVIT_CONST("none",  "disable detection", SCD_NONE,  "scd"),
        MAGVIT_CONST("fdiff", "frame difference",  SCD_FDIFF, "scd"),
    { "scd_threshold", "set the scene change threshold", OFFSET(scd_threshold), AV_OPT_TYPE_DOUBLE, { .dbl = 10 }, 0, 100, TFLAGS },
    { "dup_threshold", "set how many percent equal frames may differ by, 0 to treat none as equal", OFFSET(dup_threshold), AV_OPT_TYPE_DOUBLE, { .dbl = 0.1 }, 0, 100, FLAGS },
    { "motion", "show the model frames that follow motion, else blends", OFFSET(motion), AV_OPT_TYPE_BOOL, { .i64 = 1 }, 0, 1, FLAGS },
    MAGVIT_COMMON_OPTIONS,
    { NULL }
};

AVFILTER_DEFINE_CLASS(magvit_interp);

/* ---- rate ---- */

static int eval_fps(const char *expr, double source_fps, double *res, AVFilterContext *ctx)
{
    static const char *const names[] = { "source_fps", "source", "ntsc", "pal", "film", "ntsc_film", NULL };
    const double values[] = { source_fps, source_fps, 30000 / 1001.0, 25, 24, 24000 / 1001.0 };

    return av_expr_parse_and_eval(res, expr, names, values, NULL, NULL,
                                  NULL, NULL, NULL, AV_LOG_MAX_OFFSET, ctx);
}

/* Output rate over input rate. A rate that the source's is multiplied with is
 * exact: source_fps*2 of 30000/1001 is 60000/1001. *source unknown is {0,0}:
 * then only an expression proportional to source_fps has a value. */
static int get_ratio(AVFilterContext *ctx, AVRational source, AVRational *ratio)
{
    MagvitInterpContext *s = ctx->priv;
    const char *fps = s->fps ? s->fps : DEFAULT_FPS;
    AVRational rate;
    double res, twice;
    int ret;

    if (av_parse_video_rate(&rate, fps) >= 0) { // a name, number or fraction
        if (!source.num) {
            av_log(ctx, AV_LOG_ERROR, "Option fps: %s is absolute, expected a multiple of source_fps "
                   "(or set factor), as the frame rate of the input is unknown\n", fps);
            return AVERROR(EINVAL);
        }
        *ratio = av_div_q(rate, source);
        return 0;
    }
    if ((ret = eval_fps(fps, source.num ? av_q2d(source) : 1, &res, ctx)) < 0 ||
        (ret = eval_fps(fps, source.num ? 2 * av_q2d(source) : 2, &twice, ctx)) < 0 ||
        !isfinite(res) || res <= 0 || res > INT_MAX) {
        av_log(ctx, AV_LOG_ERROR, "Option fps: %s is not valid, expected a frame rate such as 60, "
               "60000/1001, ntsc or source_fps*5/2\n", fps);
        return ret < 0 ? ret : AVERROR(EINVAL);
    }
    if (fabs(twice - 2 * res) <= 1e-12 * res) { // a multiple of the source's rate
        *ratio = av_d2q(source.num ? res / av_q2d(source) : res, 1001000);
    } else if (source.num) {
        *ratio = av_div_q(av_d2q(res, 1001000), source);
    } else {
        av_log(ctx, AV_LOG_ERROR, "Option fps: %s cannot be computed, expected a multiple of source_fps "
               "(or set factor), as the frame rate of the input is unknown\n", fps);
        return AVERROR(EINVAL);
    }
    if (ratio->num > 0 && ratio->den > 0)
        return 0;
    av_log(ctx, AV_LOG_ERROR, "Option fps: %s is out of range, expected a frame rate such as 60\n", fps);
    return AVERROR(EINVAL);
}

static int set_params(AVFilterContext *ctx, MagvitParams *par)
{
    MagvitInterpContext *s = ctx->priv;
    AVRational source = { par->frame_rate.num, par->frame_rate.den }, ratio, rate;
    int ret;

    av_frame_free(&s->last);
    s->last_mafd = 0;
    par->dup_threshold = s->dup_threshold;
    par->motion        = s->motion;
    if (s->factor || s->mode == MODE_REPAIR) {
        par->factor = s->mode == MODE_REPAIR ? 1 : s->factor;
        par->repair = s->mode == MODE_REPAIR;
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
               "as the frame rate of the input is unknown\n", s->fps ? s->fps : DEFAULT_FPS, MAX_FACTOR);
        return AVERROR(EINVAL);
    }
    rate = av_mul_q(source, ratio);
    par->factor = 0;
    par->rate   = (MagvitRational){ rate.num, rate.den };
    return 0;
}

/* ---- frames that begin a scene, or are bad ---- */

/* Mean absolute difference of the first plane, percent. */
static double mean_difference(const AVFrame *a, const AVFrame *b)
{
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(a->format);
    int depth = desc->comp[0].depth, is_float = desc->flags & AV_PIX_FMT_FLAG_FLOAT;
    double sum = 0;

    for (int y = 0; y < a->height; y++) {
        const uint8_t *pa = a->data[0] + y * (ptrdiff_t)a->linesize[0];
        const uint8_t *pb = b->data[0] + y * (ptrdiff_t)b->linesize[0];
        int64_t row = 0;

        if (is_float)
            for (int x = 0; x < a->width; x++)
                sum += fabs((double)((const float *)pa)[x] - ((const float *)pb)[x]);
        else if (depth > 8)
            for (int x = 0; x < a->width; x++)
                row += abs(((const uint16_t *)pa)[x] - ((const uint16_t *)pb)[x]);
        else
            for (int x = 0; x < a->width; x++)
                row += abs(pa[x] - pb[x]);
        sum += row;
    }
    return sum * 100 / ((double)a->width * a->height) / (is_float ? 1 : 1 << depth);
}

/* The detector of minterpolate: a cut is a large difference, and a large change of it. Frames that stand still say
 * nothing of how fast the others move. */
static int detect_scene(AVFilterContext *ctx, const AVFrame *in)
{
    MagvitInterpContext *s = ctx->priv;
    double mafd, score;

    if (s->last) {
        mafd  = mean_difference(s->last, in);
        score = FFMIN(mafd, fabs(mafd - s->last_mafd));
        if (mafd > STILL)
            s->last_mafd = mafd;
    } else {
        score = -1;
    }
    av_frame_free(&s->last);
    if (!(s->last = av_frame_clone(in)))
        return AVERROR(ENOMEM);
    if (score < s->scd_threshold)
        return 0;
    av_log(ctx, AV_LOG_VERBOSE, "a scene begins at frame %"PRId64", score %.1f\n", s->base.nb_sent, score);
    return 1;
}

/* What scdet or select found before counts more than what we find. */
static int begins_scene(AVFilterContext *ctx, const AVFrame *in)
{
    MagvitInterpContext *s = ctx->priv;
    AVDictionaryEntry *score;

    if (s->scd == SCD_NONE)
        return 0;
    if (av_dict_get(in->metadata, "lavfi.scd.time", NULL, 0))
        return 1;
    if (av_dict_get(in->metadata, "lavfi.scd.score", NULL, 0))
        return 0;
    if ((score = av_dict_get(in->metadata, "lavfi.scene_score", NULL, 0)))
        return 100 * av_strtod(score->value, NULL) >= s->scd_threshold;
    return detect_scene(ctx, in);
}

static int prepare(AVFilterContext *ctx, MagvitFrame *frame, const AVFrame *in, int64_t n)
{
    MagvitInterpContext *s = ctx->priv;
    AVDictionaryEntry *repair = av_dict_get(in->metadata, "lavfi.magvit.repair", NULL, 0);
    int ret;

    if (s->mode == MODE_REPAIR && (in->flags & AV_FRAME_FLAG_CORRUPT || in->decode_error_flags ||
                                     (repair && !strcmp(repair->value, "1")))) {
        frame->replace = 1;
        return 0;
    }
    if ((ret = begins_scene(ctx, in)) < 0)
        return ret;
    frame->scene_cut = ret;
    return 0;
}

static int64_t missing(AVFilterContext *ctx, const AVFrame *in)
{
    MagvitInterpContext *s = ctx->priv;
    AVFilterLink *inlink = ctx->inputs[0];
    AVRational rate = ff_filter_link(inlink)->frame_rate;
    int64_t nb;

    if (s->mode != MODE_REPAIR || rate.num <= 0 || rate.den <= 0 || in->pts == AV_NOPTS_VALUE ||
        s->base.last_pts == AV_NOPTS_VALUE || in->pts <= s->base.last_pts)
        return 0;
    nb = av_rescale_q(in->pts - s->base.last_pts, inlink->time_base, av_inv_q(rate)) - 1;
    if (nb <= s->base.window - 2)
        return FFMAX(nb, 0);
    if (!s->warned_gap++)
        av_log(ctx, AV_LOG_WARNING, "%"PRId64" frames are missing before frame %"PRId64", at most %d can be made: "
               "the gap stays\n", nb, s->base.nb_sent, s->base.window - 2);
    return 0;
}

/* ---- the filter ---- */

static av_cold int init(AVFilterContext *ctx)
{
    MagvitInterpContext *s = ctx->priv;

    if (s->fps && s->factor) {
        av_log(ctx, AV_LOG_ERROR, "Options fps: %s and factor: %d exclude each other, expected one of them\n",
               s->fps, s->factor);
        return AVERROR(EINVAL);
    }
    if (s->mode == MODE_REPAIR && (s->fps || s->factor)) {
        av_log(ctx, AV_LOG_ERROR, "Option %s is set, expected none with mode=repair, which keeps the rate\n",
               s->fps ? "fps" : "factor");
        return AVERROR(EINVAL);
    }
    s->base.task       = MAGVIT_TASK_INTERP;
    s->base.set_params = set_params;
    s->base.prepare    = prepare;
    s->base.missing    = missing;
    return ff_magvit_init(ctx);
}

static av_cold void uninit(AVFilterContext *ctx)
{
    MagvitInterpContext *s = ctx->priv;

    av_frame_free(&s->last);
    ff_magvit_uninit(ctx);
}

static const AVFilterPad inputs[] = {
    { .name = "default", .type = AVMEDIA_TYPE_VIDEO },
};

const FFFilter ff_vf_magvit_interp = {
    FILTER_PUBLIC(name)        = "magvit_interp",
    FILTER_PUBLIC(description) = NULL_IF_CONFIG_SMALL("Raise the frame rate with a MAGVIT model."),
    FILTER_PUBLIC(priv_class)  = &magvit_interp_class,
    .flags_internal = FF_FILTER_FLAG_HWFRAME_AWARE,
    .priv_size = sizeof(MagvitInterpContext),
    .init      = init,
    .uninit    = uninit,
    .activate  = ff_magvit_activate,
    .process_command = ff_magvit_process_command,
    FILTER_INPUTS(inputs),
    FILTER_OUTPUTS(ff_magvit_outputs),
    FILTER_PIXFMTS_ARRAY(ff_magvit_pix_fmts),
};
