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
 * Extend the picture beyond its edges with synthesised picture. The canvas is
 * given as to the pad filter, or by what is added on each side. Its size is
 * fixed when the filter is configured, the place of the input may move. There
 * is no timeline support, as a frame that is passed on unchanged would not have
 * the size of the output.
 */

#include <limits.h>
#include <math.h>
#include <string.h>

#include "magvit_filter.h"
#include "libavutil/common.h"
#include "libavutil/eval.h"
#include "libavutil/mathematics.h"

enum {
    VAR_IN_W, VAR_IW, VAR_IN_H, VAR_IH, VAR_OUT_W, VAR_OW, VAR_OUT_H, VAR_OH,
    VAR_X, VAR_Y, VAR_A, VAR_SAR, VAR_DAR, VAR_HSUB, VAR_VSUB, VAR_N, VAR_T, NB_VARS
};

static const char *const var_names[] = {
    "in_w", "iw", "in_h", "ih", "out_w", "ow", "out_h", "oh",
    "x", "y", "a", "sar", "dar", "hsub", "vsub", "n", "t", NULL
};

enum { EVAL_INIT, EVAL_FRAME };
enum { LEFT, RIGHT, TOP, BOTTOM, NB_SIDES };

static const char *const side_names[NB_SIDES] = { "left", "right", "top", "bottom" };

typedef struct MagvitOutpaintContext {
    FFMagvitFilter base;
    char *w, *h, *x, *y;
    char *side[NB_SIDES];
    AVRational aspect;
    int eval;
    double vars[NB_VARS];
} MagvitOutpaintContext;

#define MAX_SIZE 32768 ///< of a frame, see MagvitParams

#define OFFSET(x) offsetof(MagvitOutpaintContext, x)
#define FLAGS MAGVIT_FLAGS

static const AVOption magvit_outpaint_options[] = {
    { "width",  "set the width of the output, default iw",  OFFSET(w), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    { "w",      "set the width of the output, default iw",  OFFSET(w), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    { "height", "set the height of the output, default ih", OFFSET(h), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    { "h",      "set the height of the output, default ih", OFFSET(h), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    { "x",      "set the left edge of the input in the output, negative to centre, default 0", OFFSET(x), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    { "y",      "set the top edge of the input in the output, negative to centre, default 0",  OFFSET(y), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    { "aspect", "grow the output to a display aspect ratio, 0 for no ratio", OFFSET(aspect), AV_OPT_TYPE_RATIONAL, { .dbl = 0 }, 0, INT_MAX, FLAGS },
    { "left",   "set the number of pixels to add on the left, instead of w and x",   OFFSET(side[LEFT]),   AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    { "right",  "set the number of pixels to add on the right, instead of w and x",  OFFSET(side[RIGHT]),  AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    { "top",    "set the number of pixels to add on top, instead of h and y",        OFFSET(side[TOP]),    AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    { "bottom", "set the number of pixels to add at the bottom, instead of h and y", OFFSET(side[BOTTOM]), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    { "eval", "set when to evaluate x and y", OFFSET(eval), AV_OPT_TYPE_INT, { .i64 = EVAL_INIT }, EVAL_INIT, EVAL_FRAME, FLAGS, .unit = "eval" },
        MAGVIT_CONST("init",  "once", EVAL_INIT, "eval"),
        MAGVIT_CONST("frame", "for each frame, with n and t", EVAL_FRAME, "eval"),
    MAGVIT_COMMON_OPTIONS,
    { NULL }
};

AVFILTER_DEFINE_CLASS(magvit_outpaint);

/* Value of an expression as an integer, also written to two variables. A value
 * that depends on a variable not known yet is unknown without being an error. */
static int eval(AVFilterContext *ctx, const char *name, const char *expr, int may_be_unknown,
                int var, int alias, int *out)
{
    MagvitOutpaintContext *s = ctx->priv;
    double res = NAN;
    int ret = av_expr_parse_and_eval(&res, expr, var_names, s->vars, NULL, NULL,
                                     NULL, NULL, NULL, AV_LOG_MAX_OFFSET, ctx);

    if (!may_be_unknown && (ret < 0 || !(fabs(res) < 1 << 30))) {
        av_log(ctx, AV_LOG_ERROR, "Option %s: %s is not valid, expected a number of pixels "
               "or an expression as in the pad filter\n", name, expr);
        return AVERROR(EINVAL);
    }
    *out = fabs(res) < 1 << 30 ? res : 0;
    s->vars[var] = s->vars[alias] = isfinite(res) ? trunc(res) : res;
    return 0;
}

static int round_down(int value, int shift)
{
    return (value >> shift) * (1 << shift); // also of negative values
}

static int eval_place(AVFilterContext *ctx, int *x, int *y)
{
    MagvitOutpaintContext *s = ctx->priv;
    const char *xe = s->x ? s->x : "0", *ye = s->y ? s->y : "0";
    int ret;

    s->vars[VAR_X] = s->vars[VAR_Y] = NAN;
    if ((ret = eval(ctx, "x", xe, 1, VAR_X, VAR_X, x)) < 0 ||
        (ret = eval(ctx, "y", ye, 0, VAR_Y, VAR_Y, y)) < 0)
        return ret;
    return eval(ctx, "x", xe, 0, VAR_X, VAR_X, x);
}

/* The canvas and the place on it in the terms of the pad filter. */
static int eval_canvas(AVFilterContext *ctx, int iw, int ih, int pos[4])
{
    MagvitOutpaintContext *s = ctx->priv;
    const char *we = s->w ? s->w : "iw", *he = s->h ? s->h : "ih";
    int w, h, ret;

    /* width and height, and x and y, may depend on each other: the first of each pair is evaluated twice */
    if ((ret = eval(ctx, "w", we, 1, VAR_OUT_W, VAR_OW, &w)) < 0 ||
        (ret = eval(ctx, "h", he, 0, VAR_OUT_H, VAR_OH, &h)) < 0)
        return ret;
    if (!h)
        s->vars[VAR_OUT_H] = s->vars[VAR_OH] = h = ih;
    if ((ret = eval(ctx, "w", we, 0, VAR_OUT_W, VAR_OW, &w)) < 0)
        return ret;
    if (!w)
        w = iw;
    if (s->aspect.num > 0 && s->aspect.den > 0 && w > 0 && h > 0) {
        AVRational ratio = av_div_q(s->aspect, av_d2q(s->vars[VAR_SAR], INT_MAX));

        if (h < av_rescale(w, ratio.den, ratio.num))
            h = FFMIN(av_rescale(w, ratio.den, ratio.num), INT_MAX);
        else
            w = FFMIN(av_rescale(h, ratio.num, ratio.den), INT_MAX);
    }
    s->vars[VAR_OUT_W] = s->vars[VAR_OW] = w;
    s->vars[VAR_OUT_H] = s->vars[VAR_OH] = h;
    memcpy(pos, (const int[4]){ w, h, 0, 0 }, 4 * sizeof(*pos));
    if (s->eval == EVAL_FRAME)
        return 0;
    if ((ret = eval_place(ctx, &pos[2], &pos[3])) < 0)
        return ret;
    if (pos[2] < 0 || pos[2] > w - iw)
        pos[2] = (w - iw) / 2;
    if (pos[3] < 0 || pos[3] > h - ih)
        pos[3] = (h - ih) / 2;
    return 0;
}

/* The same from the pixels to add on each side. */
static int eval_sides(AVFilterContext *ctx, int iw, int ih, int pos[4])
{
    MagvitOutpaintContext *s = ctx->priv;
    int add[NB_SIDES] = { 0 }, ret;

    if (s->w || s->h || s->x || s->y || s->aspect.num) {
        const char *other = s->w ? "w" : s->h ? "h" : s->x ? "x" : s->y ? "y" : "aspect";
        int i = 0;

        while (!s->side[i])
            i++;
        av_log(ctx, AV_LOG_ERROR, "Option %s: %s cannot be used together with option %s, expected either "
               "w, h, x, y, aspect or left, right, top, bottom\n", side_names[i], s->side[i], other);
        return AVERROR(EINVAL);
    }
    for (int i = 0; i < NB_SIDES; i++) {
        if (!s->side[i])
            continue;
        if ((ret = eval(ctx, side_names[i], s->side[i], 0, VAR_X, VAR_X, &add[i])) < 0)
            return ret;
        s->vars[VAR_X] = NAN; // sides know nothing of each other
        if (add[i] < 0 || add[i] > MAX_SIZE) {
            av_log(ctx, AV_LOG_ERROR, "Option %s: %s is %d, expected 0 to %d pixels\n",
                   side_names[i], s->side[i], add[i], MAX_SIZE);
            return AVERROR(EINVAL);
        }
    }
    memcpy(pos, (const int[4]){ iw + add[LEFT] + add[RIGHT], ih + add[TOP] + add[BOTTOM], add[LEFT], add[TOP] },
           4 * sizeof(*pos));
    return 0;
}

static int set_params(AVFilterContext *ctx, MagvitParams *par)
{
    MagvitOutpaintContext *s = ctx->priv;
    AVRational sar = ctx->inputs[0]->sample_aspect_ratio;
    int iw = par->width, ih = par->height, hsub = par->format.chroma_w, vsub = par->format.chroma_h;
    int sides = s->side[LEFT] || s->side[RIGHT] || s->side[TOP] || s->side[BOTTOM], pos[4], ret;

    s->vars[VAR_IN_W]  = s->vars[VAR_IW] = iw;
    s->vars[VAR_IN_H]  = s->vars[VAR_IH] = ih;
    s->vars[VAR_OUT_W] = s->vars[VAR_OW] = s->vars[VAR_OUT_H] = s->vars[VAR_OH] = NAN;
    s->vars[VAR_X]     = s->vars[VAR_Y]  = NAN;
    s->vars[VAR_A]     = iw / (double)ih;
    s->vars[VAR_SAR]   = sar.num > 0 && sar.den > 0 ? av_q2d(sar) : 1;
    s->vars[VAR_DAR]   = s->vars[VAR_A] * s->vars[VAR_SAR];
    s->vars[VAR_HSUB]  = 1 << hsub;
    s->vars[VAR_VSUB]  = 1 << vsub;
    s->vars[VAR_N]     = s->vars[VAR_T] = NAN;

    if ((ret = (sides ? eval_sides : eval_canvas)(ctx, iw, ih, pos)) < 0)
        return ret;
    if (pos[0] != iw) // an odd input may keep its size
        pos[0] = round_down(pos[0], hsub);
    if (pos[1] != ih)
        pos[1] = round_down(pos[1], vsub);
    if (pos[0] < iw || pos[1] < ih || pos[0] > MAX_SIZE || pos[1] > MAX_SIZE) {
        av_log(ctx, AV_LOG_ERROR, "Options %s: the output is %dx%d, expected at least the size of the input, %dx%d, "
               "and at most %dx%d\n", sides ? "left, right, top, bottom" : "w, h, aspect", pos[0], pos[1], iw, ih, MAX_SIZE, MAX_SIZE);
        return AVERROR(EINVAL);
    }

    par->moving = s->eval == EVAL_FRAME && !sides;
    par->x = round_down(pos[2], hsub);
    par->y = round_down(pos[3], vsub);
    par->out_width  = pos[0];
    par->out_height = pos[1];
    return 0;
}

/* Where a frame lies, if that moves: kept on the canvas, on the grid of the chroma samples. */
static int prepare(AVFilterContext *ctx, MagvitFrame *frame, const AVFrame *in, int64_t n)
{
    MagvitOutpaintContext *s = ctx->priv;
    const MagvitParams *par = &s->base.par;
    const AVRational tb = ctx->inputs[0]->time_base;
    int ret;

    if (!par->moving)
        return 0;
    s->vars[VAR_N] = n;
    s->vars[VAR_T] = frame->pts == MAGVIT_NOPTS ? NAN : frame->pts * av_q2d(tb);
    if ((ret = eval_place(ctx, &frame->x, &frame->y)) < 0)
        return ret;
    frame->x = round_down(av_clip(frame->x, 0, par->out_width  - par->width),  par->format.chroma_w);
    frame->y = round_down(av_clip(frame->y, 0, par->out_height - par->height), par->format.chroma_h);
    return 0;
}

static av_cold int init(AVFilterContext *ctx)
{
    MagvitOutpaintContext *s = ctx->priv;

    s->base.task       = MAGVIT_TASK_OUTPAINT;
    s->base.set_params = set_params;
    s->base.prepare    = prepare;
    return ff_magvit_init(ctx);
}

static const AVFilterPad inputs[] = {
    { .name = "default", .type = AVMEDIA_TYPE_VIDEO },
};

const FFFilter ff_vf_magvit_outpaint = {
    FILTER_PUBLIC(name)        = "magvit_outpaint",
    FILTER_PUBLIC(description) = NULL_IF_CONFIG_SMALL("Extend the picture beyond its edges with a MAGVIT model."),
    FILTER_PUBLIC(priv_class)  = &magvit_outpaint_class,
    .flags_internal = FF_FILTER_FLAG_HWFRAME_AWARE,
    .priv_size = sizeof(MagvitOutpaintContext),
    .init      = init,
    .uninit    = ff_magvit_uninit,
    .activate  = ff_magvit_activate,
    .process_command = ff_magvit_process_command,
    FILTER_INPUTS(inputs),
    FILTER_OUTPUTS(ff_magvit_outputs),
    FILTER_PIXFMTS_ARRAY(ff_magvit_pix_fmts),
};
