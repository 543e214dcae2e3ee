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
 * Refill holes with synthesised picture: a rectangle, which may move, the
 * white part of a still picture, or that of a second video.
 *
 * The second input is not left to framesync, which ends the output together
 * with the first input: the frames of the last window are still to come then.
 * The options and the rule which mask belongs to a frame are those of framesync.
 */

#include <math.h>
#include <string.h>

#include "magvit_filter.h"
#include "magvit_mask.h"
#include "libavfilter/formats.h"
#include "libavfilter/framesync.h"
#include "libavutil/avstring.h"
#include "libavutil/common.h"
#include "libavutil/eval.h"
#include "libavutil/mathematics.h"
#include "libavutil/mem.h"

enum { W, H, X, Y, NB_EXPRS }; // in the order of evaluation

static const char *const expr_names[] = { "w", "h", "x", "y" };

enum { VAR_W, VAR_H, VAR_X, VAR_Y, VAR_IW, VAR_IN_W, VAR_IH, VAR_IN_H, VAR_N, VAR_T, NB_VARS };

static const char *const var_names[] = { "w", "h", "x", "y", "iw", "in_w", "ih", "in_h", "n", "t", NULL };

enum { SHOW_OUTPUT, SHOW_MASK };

typedef struct Rect {
    int x, y, w, h;
} Rect;

typedef struct MagvitInpaintContext {
    FFMagvitFilter base;
    char *str[NB_EXPRS];
    AVExpr *expr[NB_EXPRS];
    char *mask_file;
    int mask_input;
    double threshold;
    int invert;
    int dilate;
    int feather;
    int show;
    int eof_action;      ///< of framesync.h
    int shortest;
    int repeatlast;

    double vars[NB_VARS];
    double time_base;
    int width, height;
    uint8_t *mask;       ///< [height][width] hole of the frame that was prepared last
    uint8_t *none;       ///< [height][width] no hole
    uint16_t *near;      ///< [height][width] scratch, if the hole is to grow
    Rect rect;           ///< that the mask was made of
    int drawn;           ///< mask is made
    AVFrame *mask_frame; ///< of the second input, belongs to the next frame; NULL: no hole
    int mask_past;       ///< the second input has ended before the next frame, and is not to be repeated
} MagvitInpaintContext;

#define OFFSET(field) offsetof(MagvitInpaintContext, field)
#define FLAGS MAGVIT_FLAGS
#define TFLAGS MAGVIT_RUNTIME_FLAGS

static const AVOption magvit_inpaint_options[] = {
    { "x", "set the left edge of the rectangle to refill", OFFSET(str[X]), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TFLAGS },
    { "y", "set the top edge of the rectangle to refill",  OFFSET(str[Y]), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TFLAGS },
    { "w", "set the width of the rectangle to refill",     OFFSET(str[W]), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TFLAGS },
    { "h", "set the height of the rectangle to refill",    OFFSET(str[H]), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, TFLAGS },
    { "mask", "set a picture file whose white part is to be refilled", OFFSET(mask_file), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    { "mask_input", "refill the white part of a second input", OFFSET(mask_input), AV_OPT_TYPE_BOOL, { .i64 = 0 }, 0, 1, FLAGS },
    { "threshold", "set the luma of a mask from which on it is white", OFFSET(threshold), AV_OPT_TYPE_DOUBLE, { .dbl = 0.5 }, 0, 1, FLAGS },
    { "invert", "refill what is not in the hole instead", OFFSET(invert), AV_OPT_TYPE_BOOL, { .i64 = 0 }, 0, 1, FLAGS },
    { "dilate", "grow the hole by that many pixels", OFFSET(dilate), AV_OPT_TYPE_INT, { .i64 = 0 }, 0, MAGVIT_MASK_MAX_DILATE, FLAGS },
    { "feather", "blend over that many pixels inside the hole", OFFSET(feather), AV_OPT_TYPE_INT, { .i64 = 0 }, 0, 1024, FLAGS },
    { "show", "set what to give out", OFFSET(show), AV_OPT_TYPE_INT, { .i64 = SHOW_OUTPUT }, SHOW_OUTPUT, SHOW_MASK, FLAGS, .unit = "show" },
        MAGVIT_CONST("output", "the refilled frames", SHOW_OUTPUT, "show"),
        MAGVIT_CONST("mask",   "the hole, drawn over the frames", SHOW_MASK, "show"),
    { "eof_action", "set what follows the end of the second input", OFFSET(eof_action), AV_OPT_TYPE_INT, { .i64 = EOF_ACTION_REPEAT }, EOF_ACTION_REPEAT, EOF_ACTION_PASS, FLAGS, .unit = "eof_action" },
        MAGVIT_CONST("repeat", "its last frame goes on", EOF_ACTION_REPEAT, "eof_action"),
        MAGVIT_CONST("endall", "the output ends, too",   EOF_ACTION_ENDALL, "eof_action"),
        MAGVIT_CONST("pass",   "nothing is refilled",    EOF_ACTION_PASS,   "eof_action"),
    { "shortest", "end when the shorter input ends", OFFSET(shortest), AV_OPT_TYPE_BOOL, { .i64 = 0 }, 0, 1, FLAGS },
    { "repeatlast", "go on with the last frame of the second input", OFFSET(repeatlast), AV_OPT_TYPE_BOOL, { .i64 = 1 }, 0, 1, FLAGS },
    MAGVIT_COMMON_OPTIONS,
    { NULL }
};

AVFILTER_DEFINE_CLASS(magvit_inpaint);

static int has_rect(const MagvitInpaintContext *s)
{
    return !s->mask_file && !s->mask_input;
}

/* ---- rectangle ---- */

static int parse(AVFilterContext *ctx, int i, const char *str)
{
    MagvitInpaintContext *s = ctx->priv;
    AVExpr *expr;

    if (av_expr_parse(&expr, str, var_names, NULL, NULL, NULL, NULL, AV_LOG_MAX_OFFSET, ctx) < 0) {
        av_log(ctx, AV_LOG_ERROR, "Option %s: %s is not valid, expected an expression of iw, ih, x, y, w, h, n, t\n",
               expr_names[i], str);
        return AVERROR(EINVAL);
    }
    av_expr_free(s->expr[i]);
    s->expr[i] = expr;
    return 0;
}

static int moves(const MagvitInpaintContext *s)
{
    unsigned uses[NB_VARS] = { 0 };

    for (int i = 0; i < NB_EXPRS; i++)
        av_expr_count_vars(s->expr[i], uses, NB_VARS);
    return uses[VAR_N] || uses[VAR_T];
}

/* The rectangle at the current variables, clipped to the frame; w or h is 0 if
 * nothing of it is inside. */
static int eval_rect(AVFilterContext *ctx, Rect *r)
{
    MagvitInpaintContext *s = ctx->priv;
    double *v = s->vars, x1, y1;

    v[VAR_W] = v[VAR_H] = v[VAR_X] = v[VAR_Y] = NAN;
    v[VAR_X] = trunc(av_expr_eval(s->expr[X], v, NULL)); // w and h may use x and y that do not use them
    v[VAR_Y] = trunc(av_expr_eval(s->expr[Y], v, NULL));
    for (int i = 0; i < NB_EXPRS; i++) {
        v[i] = trunc(av_expr_eval(s->expr[i], v, NULL));
        if (!isfinite(v[i]) || (v[i] < 0 && i != X && i != Y)) {
            av_log(ctx, AV_LOG_ERROR, "Option %s: %s is %g at frame %.0f, expected a number of pixels%s\n",
                   expr_names[i], s->str[i], v[i], v[VAR_N], i == X || i == Y ? "" : ", 0 at least");
            return AVERROR(EINVAL);
        }
    }
    x1   = av_clipd(v[X] + v[W], 0, s->width);
    y1   = av_clipd(v[Y] + v[H], 0, s->height);
    r->x = av_clipd(v[X], 0, s->width);
    r->y = av_clipd(v[Y], 0, s->height);
    r->w = FFMAX(x1 - r->x, 0);
    r->h = FFMAX(y1 - r->y, 0);
    return 0;
}

static int same_rect(const Rect *a, const Rect *b)
{
    return a->x == b->x && a->y == b->y && a->w == b->w && a->h == b->h;
}

/* ---- hole ---- */

static void shape_hole(MagvitInpaintContext *s)
{
    if (s->invert)
        ff_magvit_mask_invert(s->mask, s->width, s->height);
    if (s->dilate)
        ff_magvit_mask_dilate(s->mask, s->near, s->width, s->height, s->dilate);
    s->drawn = 1;
}

static int hole_of_rect(AVFilterContext *ctx)
{
    MagvitInpaintContext *s = ctx->priv;
    Rect r;
    int ret;

    if ((ret = eval_rect(ctx, &r)) < 0)
        return ret;
    if (s->drawn && same_rect(&r, &s->rect))
        return 0;
    memset(s->mask, 0, (size_t)s->width * s->height);
    for (int y = r.y; y < r.y + r.h; y++)
        memset(s->mask + (size_t)y * s->width + r.x, 255, r.w);
    s->rect = r;
    shape_hole(s);
    return 0;
}

static int hole_of_file(AVFilterContext *ctx)
{
    MagvitInpaintContext *s = ctx->priv;
    uint8_t *luma;
    int w, h, ret;

    if ((ret = ff_magvit_mask_load(ctx, s->mask_file, &luma, &w, &h)) < 0)
        return ret;
    if (w != s->width || h != s->height) {
        av_log(ctx, AV_LOG_ERROR, "Option mask: %s is %dx%d, expected %dx%d, the size of the frames\n",
               s->mask_file, w, h, s->width, s->height);
        av_free(luma);
        return AVERROR(EINVAL);
    }
    ff_magvit_mask_threshold(s->mask, luma, w, w, h, s->threshold, 0);
    av_free(luma);
    shape_hole(s);
    return 0;
}

static int hole_of_input(AVFilterContext *ctx)
{
    MagvitInpaintContext *s = ctx->priv;
    const AVFrame *frame = s->mask_frame;

    if (s->drawn)
        return 0;
    if (frame->width != s->width || frame->height != s->height) {
        av_log(ctx, AV_LOG_ERROR, "A frame of the second input is %dx%d, expected %dx%d, the size of the first\n",
               frame->width, frame->height, s->width, s->height);
        return AVERROR(EINVAL);
    }
    ff_magvit_mask_threshold(s->mask, frame->data[0], frame->linesize[0], s->width, s->height, s->threshold,
                             frame->color_range == AVCOL_RANGE_MPEG);
    shape_hole(s);
    return 0;
}

/* Tell the library where a hole that stays lies: it then knows what memory that takes. */
static void set_rect(const MagvitInpaintContext *s, MagvitParams *par)
{
    int x0 = s->width, x1 = 0, y0 = s->height, y1 = 0;

    for (int y = 0; y < s->height; y++)
        for (int x = 0; x < s->width; x++)
            if (s->mask[(size_t)y * s->width + x]) {
                x0 = FFMIN(x0, x);
                x1 = FFMAX(x1, x + 1);
                y0 = FFMIN(y0, y);
                y1 = y + 1;
            }
    par->x = x0;
    par->y = y0;
    par->w = x1 - x0;
    par->h = y1 - y0;
}

/* A hole that stays has to be part of the frame, and to leave something to go by. */
static int check_still_hole(AVFilterContext *ctx)
{
    MagvitInpaintContext *s = ctx->priv;
    int64_t n = ff_magvit_mask_count(s->mask, s->width, s->height), all = (int64_t)s->width * s->height;
    char what[256];

    if (n && (n < all || ctx->enable_str)) // frames in which it is not enabled are given
        return 0;
    if (s->mask_file)
        snprintf(what, sizeof(what), "Option mask: %s", s->mask_file);
    else
        snprintf(what, sizeof(what), "Options x, y, w, h: %s, %s, %s, %s", s->str[X], s->str[Y], s->str[W], s->str[H]);
    if (n)
        av_log(ctx, AV_LOG_ERROR, "%s makes a hole of the whole frame, expected pixels outside of it within %dx%d\n",
               what, s->width, s->height);
    else
        av_log(ctx, AV_LOG_ERROR, "%s makes no hole, expected one within %dx%d\n", what, s->width, s->height);
    return AVERROR(EINVAL);
}

/* ---- second input ---- */

static int is_after_mask(AVFilterContext *ctx, const AVFrame *frame)
{
    MagvitInpaintContext *s = ctx->priv;

    return !s->mask_frame || frame->pts == AV_NOPTS_VALUE || s->mask_frame->pts == AV_NOPTS_VALUE ||
           av_compare_ts(frame->pts, ctx->inputs[0]->time_base, s->mask_frame->pts, ctx->inputs[1]->time_base) > 0;
}

static void mask_ended(AVFilterContext *ctx, const AVFrame *frame)
{
    MagvitInpaintContext *s = ctx->priv;

    if (!is_after_mask(ctx, frame))
        return;
    if (s->shortest || s->eof_action == EOF_ACTION_ENDALL)
        ff_inlink_set_status(ctx->inputs[0], AVERROR_EOF);
    s->mask_past = !s->repeatlast || s->eof_action == EOF_ACTION_PASS;
}

/* Find the mask of the next frame: the last one that is not later. */
static int ready(AVFilterContext *ctx)
{
    AVFilterLink *inlink = ctx->inputs[0], *masklink = ctx->inputs[1];
    MagvitInpaintContext *s = ctx->priv;
    const AVFrame *frame, *next;
    int64_t pts;
    int ret, status;

    if (!ff_inlink_check_available_frame(inlink))
        return 1;
    frame = ff_inlink_peek_frame(inlink, 0);
    while (ff_inlink_check_available_frame(masklink)) {
        next = ff_inlink_peek_frame(masklink, 0);
        if (frame->pts != AV_NOPTS_VALUE && next->pts != AV_NOPTS_VALUE &&
            av_compare_ts(next->pts, masklink->time_base, frame->pts, inlink->time_base) > 0)
            return 1;
        av_frame_free(&s->mask_frame);
        if ((ret = ff_inlink_consume_frame(masklink, &s->mask_frame)) < 0)
            return ret;
        s->drawn = 0;
    }
    if (ff_inlink_acknowledge_status(masklink, &status, &pts)) {
        mask_ended(ctx, frame);
        return 1;
    }
    ff_inlink_request_frame(masklink);
    return 0;
}

/* ---- hooks ---- */

static int set_params(AVFilterContext *ctx, MagvitParams *par)
{
    MagvitInpaintContext *s = ctx->priv;
    const AVFilterLink *second = s->mask_input ? ctx->inputs[1] : NULL;
    int ret;

    s->width     = s->vars[VAR_IW] = s->vars[VAR_IN_W] = par->width;
    s->height    = s->vars[VAR_IH] = s->vars[VAR_IN_H] = par->height;
    s->vars[VAR_N] = s->vars[VAR_T] = 0;
    s->time_base = par->time_base.num / (double)par->time_base.den;
    s->drawn     = s->mask_past = 0;
    par->feather = s->feather;

    if (second && (second->w != s->width || second->h != s->height)) {
        av_log(ctx, AV_LOG_ERROR, "The second input is %dx%d, expected %dx%d, the size of the first\n",
               second->w, second->h, s->width, s->height);
        return AVERROR(EINVAL);
    }
    av_freep(&s->mask);
    av_freep(&s->none);
    av_freep(&s->near);
    s->mask = av_malloc_array(s->width, s->height);
    s->none = av_calloc(s->width, s->height);
    if (s->dilate)
        s->near = av_malloc_array(s->width, s->height * sizeof(*s->near));
    if (!s->mask || !s->none || (s->dilate && !s->near))
        return AVERROR(ENOMEM);
    if (s->mask_input || (has_rect(s) && moves(s)))
        return 0;
    if ((ret = s->mask_file ? hole_of_file(ctx) : hole_of_rect(ctx)) < 0 || (ret = check_still_hole(ctx)) < 0)
        return ret;
    set_rect(s, par);
    return 0;
}

/* The hole of a frame; none while the filter is not enabled. */
static int prepare(AVFilterContext *ctx, MagvitFrame *frame, const AVFrame *in, int64_t n)
{
    MagvitInpaintContext *s = ctx->priv;
    int ret = 0;

    frame->mask_stride = s->width;
    frame->mask        = s->none;
    if (ctx->is_disabled || (s->mask_input && (s->mask_past || !s->mask_frame)))
        return 0;
    frame->mask = s->mask;
    if (s->mask_input)
        return hole_of_input(ctx);
    if (has_rect(s)) {
        s->vars[VAR_N] = n;
        s->vars[VAR_T] = frame->pts == MAGVIT_NOPTS ? NAN : frame->pts * s->time_base;
        ret = hole_of_rect(ctx);
    }
    return ret;
}

static void draw(AVFrame *frame, const MagvitFrame *prepared)
{
    ff_magvit_mask_draw(frame, prepared->mask);
}

/* x, y, w and h of the frames that come next; a value that is not valid changes nothing. */
static int process_command(AVFilterContext *ctx, const char *cmd, const char *arg, char *res, int res_len, int flags)
{
    MagvitInpaintContext *s = ctx->priv;
    char *str;
    int i = 0, ret;

    while (i < NB_EXPRS && strcmp(cmd, expr_names[i]))
        i++;
    if (i == NB_EXPRS)
        return ff_magvit_process_command(ctx, cmd, arg, res, res_len, flags);
    if (!has_rect(s)) {
        av_log(ctx, AV_LOG_ERROR, "Command %s: %s cannot be set, expected no mask\n", cmd, arg);
        return AVERROR(EINVAL);
    }
    if (!(str = av_strdup(arg)))
        return AVERROR(ENOMEM);
    if ((ret = parse(ctx, i, str)) < 0) {
        av_free(str);
        return ret;
    }
    av_free(s->str[i]);
    s->str[i] = str;
    return 0;
}

/* ---- life ---- */

static int check_options(AVFilterContext *ctx)
{
    MagvitInpaintContext *s = ctx->priv;

    if (s->mask_file && s->mask_input) {
        av_log(ctx, AV_LOG_ERROR, "Option mask: %s is set beside mask_input, expected one of them\n", s->mask_file);
        return AVERROR(EINVAL);
    }
    for (int i = 0; i < NB_EXPRS; i++) {
        if (s->str[i] && !has_rect(s)) {
            av_log(ctx, AV_LOG_ERROR, "Option %s: %s is set beside %s, expected a rectangle or a mask\n",
                   expr_names[i], s->str[i], s->mask_file ? "mask" : "mask_input");
            return AVERROR(EINVAL);
        }
        if (!s->str[i] && has_rect(s)) {
            av_log(ctx, AV_LOG_ERROR, "Option %s is not set, expected x, y, w, h as pixels or expressions, "
                   "or one of mask and mask_input\n", expr_names[i]);
            return AVERROR(EINVAL);
        }
    }
    return 0;
}

static av_cold int init(AVFilterContext *ctx)
{
    MagvitInpaintContext *s = ctx->priv;
    AVFilterPad pad = { .name = "default", .type = AVMEDIA_TYPE_VIDEO };
    AVFilterPad second = { .name = "mask", .type = AVMEDIA_TYPE_VIDEO };
    int ret;

    s->base.task       = MAGVIT_TASK_INPAINT;
    s->base.set_params = set_params;
    s->base.prepare    = prepare;
    s->base.ready      = s->mask_input ? ready : NULL;
    s->base.draw       = s->show == SHOW_MASK ? draw : NULL;
    if ((ret = check_options(ctx)) < 0 || (ret = ff_append_inpad(ctx, &pad)) < 0)
        return ret;
    if (s->mask_input && (ret = ff_append_inpad(ctx, &second)) < 0)
        return ret;
    for (int i = 0; i < NB_EXPRS && !s->mask_input && has_rect(s); i++)
        if ((ret = parse(ctx, i, s->str[i])) < 0)
            return ret;
    return ff_magvit_init(ctx);
}

static int query_formats(AVFilterContext *ctx)
{
    MagvitInpaintContext *s = ctx->priv;
    static const int gray[] = { AV_PIX_FMT_GRAY8, AV_PIX_FMT_NONE };
    int ret;

    if (s->mask_input && (ret = ff_formats_ref(ff_make_format_list(gray), &ctx->inputs[1]->outcfg.formats)) < 0)
        return ret;
#if LINK_HAS_COLOR // the mask's need not be those of the first input
    if (s->mask_input && ((ret = ff_formats_ref(ff_all_color_spaces(), &ctx->inputs[1]->outcfg.color_spaces)) < 0 ||
                          (ret = ff_formats_ref(ff_all_color_ranges(), &ctx->inputs[1]->outcfg.color_ranges)) < 0))
        return ret;
#endif
    return ff_set_common_formats_from_list(ctx, (const int *)ff_magvit_pix_fmts);
}

static av_cold void uninit(AVFilterContext *ctx)
{
    MagvitInpaintContext *s = ctx->priv;

    ff_magvit_uninit(ctx);
    for (int i = 0; i < NB_EXPRS; i++)
        av_expr_free(s->expr[i]);
    av_frame_free(&s->mask_frame);
    av_freep(&s->mask);
    av_freep(&s->none);
    av_freep(&s->near);
}

const FFFilter ff_vf_magvit_inpaint = {
    FILTER_PUBLIC(name)        = "magvit_inpaint",
    FILTER_PUBLIC(description) = NULL_IF_CONFIG_SMALL("Refill holes with a MAGVIT model."),
    FILTER_PUBLIC(priv_class)  = &magvit_inpaint_class,
    FILTER_PUBLIC(flags)       = AVFILTER_FLAG_DYNAMIC_INPUTS | AVFILTER_FLAG_SUPPORT_TIMELINE_INTERNAL,
    .flags_internal = FF_FILTER_FLAG_HWFRAME_AWARE,
    .priv_size = sizeof(MagvitInpaintContext),
    .init      = init,
    .uninit    = uninit,
    .activate  = ff_magvit_activate,
    .process_command = process_command,
    FILTER_OUTPUTS(ff_magvit_outputs),
    FILTER_QUERY_FUNC(query_formats),
};
