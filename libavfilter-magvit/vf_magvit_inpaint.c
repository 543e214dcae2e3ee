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
 * Refill a rectangle, which may move, with synthesised picture.
 */

#include <math.h>
#include <string.h>

#include "magvit_filter.h"
#include "libavutil/common.h"
#include "libavutil/eval.h"
#include "libavutil/mem.h"

enum { X, Y, W, H, NB_EXPRS };

static const char *const expr_names[] = { "x", "y", "w", "h" };

enum { VAR_IW, VAR_IN_W, VAR_IH, VAR_IN_H, VAR_N, VAR_T, NB_VARS };

static const char *const var_names[] = { "iw", "in_w", "ih", "in_h", "n", "t", NULL };

typedef struct MagvitInpaintContext {
    FFMagvitFilter base;
    char *str[NB_EXPRS];
    AVExpr *expr[NB_EXPRS];
    double vars[NB_VARS];
    uint8_t *mask;       ///< plane of the frame's size, when the rectangle moves
    double time_base;
} MagvitInpaintContext;

typedef struct Rect {
    int x, y, w, h;
} Rect;

#define OFFSET(i) offsetof(MagvitInpaintContext, str[i])
#define FLAGS MAGVIT_FLAGS

static const AVOption magvit_inpaint_options[] = {
    { "x", "set the left edge of the rectangle to refill", OFFSET(X), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    { "y", "set the top edge of the rectangle to refill",  OFFSET(Y), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    { "w", "set the width of the rectangle to refill",     OFFSET(W), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    { "h", "set the height of the rectangle to refill",    OFFSET(H), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    MAGVIT_COMMON_OPTIONS,
    { NULL }
};

AVFILTER_DEFINE_CLASS(magvit_inpaint);

/* The rectangle at the current variables, clipped to the frame; w or h is 0 if
 * nothing of it is inside. */
static int eval_rect(AVFilterContext *ctx, Rect *r)
{
    MagvitInpaintContext *s = ctx->priv;
    double v[NB_EXPRS], x1, y1;

    for (int i = 0; i < NB_EXPRS; i++) {
        v[i] = av_expr_eval(s->expr[i], s->vars, NULL);
        if (!isfinite(v[i])) {
            av_log(ctx, AV_LOG_ERROR, "Option %s: %s is %f at frame %.0f, expected a number of pixels\n",
                   expr_names[i], s->str[i], v[i], s->vars[VAR_N]);
            return AVERROR(EINVAL);
        }
        v[i] = trunc(v[i]);
    }
    x1   = av_clipd(v[X] + v[W], 0, s->vars[VAR_IW]);
    y1   = av_clipd(v[Y] + v[H], 0, s->vars[VAR_IH]);
    r->x = av_clipd(v[X], 0, s->vars[VAR_IW]);
    r->y = av_clipd(v[Y], 0, s->vars[VAR_IH]);
    r->w = FFMAX(x1 - r->x, 0);
    r->h = FFMAX(y1 - r->y, 0);
    return 0;
}

static int parse(AVFilterContext *ctx, int *moves)
{
    MagvitInpaintContext *s = ctx->priv;
    unsigned uses[NB_VARS] = { 0 };

    for (int i = 0; i < NB_EXPRS; i++) {
        av_expr_free(s->expr[i]);
        s->expr[i] = NULL;
        if (!s->str[i]) {
            av_log(ctx, AV_LOG_ERROR, "Option %s is not set, expected a number of pixels or an expression\n",
                   expr_names[i]);
            return AVERROR(EINVAL);
        }
        if (av_expr_parse(&s->expr[i], s->str[i], var_names, NULL, NULL, NULL, NULL, AV_LOG_MAX_OFFSET, ctx) < 0) {
            av_log(ctx, AV_LOG_ERROR, "Option %s: %s is not valid, expected an expression of iw, ih, n, t\n",
                   expr_names[i], s->str[i]);
            return AVERROR(EINVAL);
        }
        av_expr_count_vars(s->expr[i], uses, NB_VARS);
    }
    *moves = uses[VAR_N] || uses[VAR_T];
    return 0;
}

static int set_params(AVFilterContext *ctx, MagvitParams *par)
{
    MagvitInpaintContext *s = ctx->priv;
    int moves, ret;
    Rect r;

    s->vars[VAR_IW] = s->vars[VAR_IN_W] = par->width;
    s->vars[VAR_IH] = s->vars[VAR_IN_H] = par->height;
    s->vars[VAR_N]  = s->vars[VAR_T]    = 0;
    s->time_base    = par->time_base.num / (double)par->time_base.den;

    av_freep(&s->mask);
    if ((ret = parse(ctx, &moves)) < 0)
        return ret;
    if (moves) {
        s->mask = av_malloc_array(par->width, par->height);
        par->w  = par->width;
        par->h  = par->height;
        return s->mask ? 0 : AVERROR(ENOMEM);
    }
    if ((ret = eval_rect(ctx, &r)) < 0)
        return ret;
    if (!r.w || !r.h) {
        av_log(ctx, AV_LOG_ERROR, "Options x, y, w, h: %s, %s, %s, %s is no part of the frame, "
               "expected a rectangle within %dx%d\n",
               s->str[X], s->str[Y], s->str[W], s->str[H], par->width, par->height);
        return AVERROR(EINVAL);
    }
    par->x = r.x;
    par->y = r.y;
    par->w = r.w;
    par->h = r.h;
    return 0;
}

/* A rectangle that moves: a mask for each frame; empty while it is outside. */
static int prepare(AVFilterContext *ctx, MagvitFrame *frame, const AVFrame *in, int64_t n)
{
    MagvitInpaintContext *s = ctx->priv;
    int width = s->vars[VAR_IW], height = s->vars[VAR_IH], ret;
    Rect r;

    if (!s->mask)
        return 0;
    s->vars[VAR_N] = n;
    s->vars[VAR_T] = frame->pts == MAGVIT_NOPTS ? NAN : frame->pts * s->time_base;
    if ((ret = eval_rect(ctx, &r)) < 0)
        return ret;
    memset(s->mask, 0, (size_t)width * height);
    for (int y = r.y; y < r.y + r.h; y++)
        memset(s->mask + (size_t)y * width + r.x, 255, r.w);
    frame->mask        = s->mask;
    frame->mask_stride = width;
    return 0;
}

static av_cold int init(AVFilterContext *ctx)
{
    MagvitInpaintContext *s = ctx->priv;

    s->base.task       = MAGVIT_TASK_INPAINT;
    s->base.set_params = set_params;
    s->base.prepare    = prepare;
    return 0;
}

static av_cold void uninit(AVFilterContext *ctx)
{
    MagvitInpaintContext *s = ctx->priv;

    ff_magvit_uninit(ctx);
    for (int i = 0; i < NB_EXPRS; i++)
        av_expr_free(s->expr[i]);
    av_freep(&s->mask);
}

static const AVFilterPad inputs[] = {
    { .name = "default", .type = AVMEDIA_TYPE_VIDEO },
};

const FFFilter ff_vf_magvit_inpaint = {
    FILTER_PUBLIC(name)        = "magvit_inpaint",
    FILTER_PUBLIC(description) = NULL_IF_CONFIG_SMALL("Refill a rectangle with a MAGVIT model."),
    FILTER_PUBLIC(priv_class)  = &magvit_inpaint_class,
    .priv_size = sizeof(MagvitInpaintContext),
    .init      = init,
    .uninit    = uninit,
    .activate  = ff_magvit_activate,
    FILTER_INPUTS(inputs),
    FILTER_OUTPUTS(ff_magvit_outputs),
    FILTER_PIXFMTS_ARRAY(ff_magvit_pix_fmts),
};
