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
 * Extend the picture beyond its edges with synthesised picture. The options
 * mean what they mean to the pad filter.
 */

#include <math.h>

#include "magvit_filter.h"
#include "libavutil/eval.h"

enum {
    VAR_IN_W, VAR_IW, VAR_IN_H, VAR_IH, VAR_OUT_W, VAR_OW, VAR_OUT_H, VAR_OH,
    VAR_X, VAR_Y, VAR_A, VAR_SAR, VAR_DAR, VAR_HSUB, VAR_VSUB, NB_VARS
};

static const char *const var_names[] = {
    "in_w", "iw", "in_h", "ih", "out_w", "ow", "out_h", "oh",
    "x", "y", "a", "sar", "dar", "hsub", "vsub", NULL
};

typedef struct MagvitOutpaintContext {
    FFMagvitFilter base;
    char *w, *h, *x, *y;
    double vars[NB_VARS];
} MagvitOutpaintContext;

#define OFFSET(x) offsetof(MagvitOutpaintContext, x)
#define FLAGS MAGVIT_FLAGS

static const AVOption magvit_outpaint_options[] = {
    { "width",  "set the width of the output",  OFFSET(w), AV_OPT_TYPE_STRING, { .str = "iw" }, 0, 0, FLAGS },
    { "w",      "set the width of the output",  OFFSET(w), AV_OPT_TYPE_STRING, { .str = "iw" }, 0, 0, FLAGS },
    { "height", "set the height of the output", OFFSET(h), AV_OPT_TYPE_STRING, { .str = "ih" }, 0, 0, FLAGS },
    { "h",      "set the height of the output", OFFSET(h), AV_OPT_TYPE_STRING, { .str = "ih" }, 0, 0, FLAGS },
    { "x",      "set the left edge of the input in the output, negative to centre", OFFSET(x), AV_OPT_TYPE_STRING, { .str = "0" }, 0, 0, FLAGS },
    { "y",      "set the top edge of the input in the output, negative to centre",  OFFSET(y), AV_OPT_TYPE_STRING, { .str = "0" }, 0, 0, FLAGS },
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
    return value >> shift << shift;
}

static int set_params(AVFilterContext *ctx, MagvitParams *par)
{
    MagvitOutpaintContext *s = ctx->priv;
    AVRational sar = ctx->inputs[0]->sample_aspect_ratio;
    int iw = par->width, ih = par->height, hsub = par->format.chroma_w, vsub = par->format.chroma_h;
    int w, h, x, y, ret;

    s->vars[VAR_IN_W]  = s->vars[VAR_IW] = iw;
    s->vars[VAR_IN_H]  = s->vars[VAR_IH] = ih;
    s->vars[VAR_OUT_W] = s->vars[VAR_OW] = s->vars[VAR_OUT_H] = s->vars[VAR_OH] = NAN;
    s->vars[VAR_X]     = s->vars[VAR_Y]  = NAN;
    s->vars[VAR_A]     = iw / (double)ih;
    s->vars[VAR_SAR]   = sar.num ? av_q2d(sar) : 1;
    s->vars[VAR_DAR]   = s->vars[VAR_A] * s->vars[VAR_SAR];
    s->vars[VAR_HSUB]  = 1 << hsub;
    s->vars[VAR_VSUB]  = 1 << vsub;

    /* width and height, and x and y, may depend on each other: the first of each pair is evaluated twice */
    if ((ret = eval(ctx, "w", s->w, 1, VAR_OUT_W, VAR_OW, &w)) < 0 ||
        (ret = eval(ctx, "h", s->h, 0, VAR_OUT_H, VAR_OH, &h)) < 0)
        return ret;
    if (!h)
        s->vars[VAR_OUT_H] = s->vars[VAR_OH] = h = ih;
    if ((ret = eval(ctx, "w", s->w, 0, VAR_OUT_W, VAR_OW, &w)) < 0)
        return ret;
    if (!w)
        s->vars[VAR_OUT_W] = s->vars[VAR_OW] = w = iw;
    if ((ret = eval(ctx, "x", s->x, 1, VAR_X, VAR_X, &x)) < 0 ||
        (ret = eval(ctx, "y", s->y, 0, VAR_Y, VAR_Y, &y)) < 0 ||
        (ret = eval(ctx, "x", s->x, 0, VAR_X, VAR_X, &x)) < 0)
        return ret;

    if (x < 0 || x + iw > w)
        x = (w - iw) / 2;
    if (y < 0 || y + ih > h)
        y = (h - ih) / 2;
    if (w != iw) // an odd input may keep its size
        w = round_down(w, hsub);
    if (h != ih)
        h = round_down(h, vsub);
    if (w < iw || h < ih) {
        av_log(ctx, AV_LOG_ERROR, "Options w, h: %s, %s is %dx%d, expected at least the size of the input, %dx%d\n",
               s->w, s->h, w, h, iw, ih);
        return AVERROR(EINVAL);
    }

    par->x = round_down(x, hsub);
    par->y = round_down(y, vsub);
    par->out_width  = w;
    par->out_height = h;
    return 0;
}

static av_cold int init(AVFilterContext *ctx)
{
    MagvitOutpaintContext *s = ctx->priv;

    s->base.task       = MAGVIT_TASK_OUTPAINT;
    s->base.set_params = set_params;
    return ff_magvit_init(ctx);
}

static const AVFilterPad inputs[] = {
    { .name = "default", .type = AVMEDIA_TYPE_VIDEO },
};

const FFFilter ff_vf_magvit_outpaint = {
    FILTER_PUBLIC(name)        = "magvit_outpaint",
    FILTER_PUBLIC(description) = NULL_IF_CONFIG_SMALL("Extend the picture beyond its edges with a MAGVIT model."),
    FILTER_PUBLIC(priv_class)  = &magvit_outpaint_class,
    .priv_size = sizeof(MagvitOutpaintContext),
    .init      = init,
    .uninit    = ff_magvit_uninit,
    .activate  = ff_magvit_activate,
    FILTER_INPUTS(inputs),
    FILTER_OUTPUTS(ff_magvit_outputs),
    FILTER_PIXFMTS_ARRAY(ff_magvit_pix_fmts),
};
