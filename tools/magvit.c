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
 * The command line tool: looks into models, turns video into tokens and back,
 * runs the tasks on YUV4MPEG2 streams and measures speed.
 * Exit status: 0 done, 1 failed, 2 wrong usage.
 */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "libmagvit/magvit.h"
#include "tools/bench.h"
#include "tools/scene.h"
#include "tools/tokens.h"
#include "tools/y4m.h"

enum { EXIT_USAGE = 2 };

static const char help_text[] =
    "usage: magvit COMMAND [options] ...\n"
    "\n"
    "commands:\n"
    "  info                      describe the model; --devices: the devices of the Vulkan backend\n"
    "  encode IN.y4m OUT.tok     turn windows of frames into tokens\n"
    "  decode IN.tok OUT.y4m     turn tokens back into frames\n"
    "  run interp   IN OUT       make frames between frames\n"
    "  run predict  IN OUT       make frames after the last one (--frames)\n"
    "  run inpaint  IN OUT       refill a rectangle (-x -y -w -h)\n"
    "  run outpaint IN OUT       extend the picture (--width --height -x -y)\n"
    "  run generate OUT          make a video (--frames, --fps, --class, --width, --height)\n"
    "  bench [WxH ...]           time each stage of a window; frames/s of interp at those sizes\n"
    "  help                      print this text\n"
    "IN and OUT are YUV4MPEG2 files; - is standard input or output.\n"
    "\n"
    "options of every command:\n"
    "  --model FILE              model file [$MAGVIT_MODEL_PATH, then the installed one]\n"
    "  --backend NAME            auto, ref, cpu or vulkan [auto]\n"
    "  --device NAME             index, UUID or part of the name [the best]\n"
    "  --threads N               CPU threads, 0 = one a core [0]\n"
    "  --precision NAME          auto, f32, bf16 or int8 (cpu), f16 (vulkan) [auto]\n"
    "  --batch N                 tiles of a window at once on a Vulkan device, 0 = as many as fit [0]\n"
    "  --quiet, --verbose        fewer or more lines; twice for the op plans\n"
    "options of run:\n"
    "  --factor N                interp: output frames per input frame, 1 to 15 [2]\n"
    "  --fps RATE                interp: output frame rate instead, such as 60 or 60000/1001; generate: [25]\n"
    "  --mode NAME               interp: interp, or repair: make frozen frames anew, at the input's rate [interp]\n"
    "  --scd NAME                interp: scene change detection, none or fdiff [fdiff]\n"
    "  --scd-threshold T         interp: score from which on a frame begins a scene, 0 to 100 [10]\n"
    "  --dup-threshold T         interp: percent that equal frames may differ by, 0: none are equal [0.1]\n"
    "  --frames N                predict: frames to make after the last one; generate: all (both: required)\n"
    "  --cond-frames N           predict, generate: frames that a window starts from [1]\n"
    "  --class NAME              predict, generate: class by name or number [none]\n"
    "  -x X -y Y -w W -h H       inpaint: rectangle; outpaint: place of the input (x and y)\n"
    "  --width W --height H      outpaint: canvas; generate: size [the window's]\n"
    "  --steps N                 decoding steps a window [the model's]\n"
    "  --schedule NAME           cosine, uniform, exp, log, powE, poly:c,.. [the model's]\n"
    "  --temperature T           token sampling, 0 = greedy [the model's]\n"
    "  --choice-temperature T    noise of the ranking [the model's]\n"
    "  --top-k N, --top-p P      narrow the choice of codes [off]\n"
    "  --guidance S              classifier-free guidance [0]\n"
    "  --fast                    compute only tokens that are not yet decided\n"
    "  --seed N                  random seed [0]\n"
    "  --scale MODE              auto, tile or fit [auto]\n"
    "  --tile-overlap N          pixels that neighbouring tiles share [32]\n"
    "  --ahead N                 windows computed beyond that whose frames leave, on a Vulkan device [as fill it]\n"
    "  --overlap N               frames that neighbouring windows share [by task]\n"
    "  --motion N                interp: 0: start from blends, not from frames that follow motion [1]\n"
    "  --known-pixels N          0: hide the given pixels from a decoder that sees them [1]\n"
    "  --max-memory N            refuse to start if more MiB would be needed, 0 = no limit [0]\n"
    "  --fallback NAME           for frames that cannot be made: error, copy or blend [error]\n"
    "options of bench, beside those of run:\n"
    "  --seconds N               leave out what would not end in time, with a line for each [all runs]\n"
    "  --gflops N                what the device does at best, to know so from the start [unknown]\n";

/* Long options without a letter. */
enum {
    OPT_MODEL = 256, OPT_BACKEND, OPT_DEVICE, OPT_THREADS, OPT_PRECISION, OPT_BATCH, OPT_QUIET, OPT_VERBOSE, OPT_FACTOR,
    OPT_FPS, OPT_FRAMES, OPT_COND_FRAMES, OPT_CLASS, OPT_WIDTH, OPT_HEIGHT, OPT_STEPS, OPT_SCHEDULE, OPT_TEMPERATURE,
    OPT_CHOICE, OPT_TOP_K, OPT_TOP_P, OPT_GUIDANCE, OPT_FAST, OPT_SEED, OPT_SCALE, OPT_TILE_OVERLAP, OPT_OVERLAP, OPT_KNOWN,
    OPT_MOTION, OPT_AHEAD, OPT_MODE, OPT_SCD, OPT_SCD_THRESHOLD, OPT_DUP_THRESHOLD, OPT_MAX_MEMORY, OPT_FALLBACK,
    OPT_SECONDS, OPT_GFLOPS,
    OPT_DEVICES, OPT_HELP
};

static const struct option long_options[] = {
    { "model", 1, NULL, OPT_MODEL },             { "backend", 1, NULL, OPT_BACKEND },
    { "device", 1, NULL, OPT_DEVICE },           { "threads", 1, NULL, OPT_THREADS },
    { "precision", 1, NULL, OPT_PRECISION },     { "batch", 1, NULL, OPT_BATCH },
    { "quiet", 0, NULL, OPT_QUIET },             { "verbose", 0, NULL, OPT_VERBOSE },
    { "factor", 1, NULL, OPT_FACTOR },           { "fps", 1, NULL, OPT_FPS },
    { "frames", 1, NULL, OPT_FRAMES },           { "cond-frames", 1, NULL, OPT_COND_FRAMES },
    { "class", 1, NULL, OPT_CLASS },
    { "width", 1, NULL, OPT_WIDTH },             { "height", 1, NULL, OPT_HEIGHT },
    { "steps", 1, NULL, OPT_STEPS },             { "schedule", 1, NULL, OPT_SCHEDULE },
    { "temperature", 1, NULL, OPT_TEMPERATURE }, { "choice-temperature", 1, NULL, OPT_CHOICE },
    { "top-k", 1, NULL, OPT_TOP_K },             { "top-p", 1, NULL, OPT_TOP_P },
    { "guidance", 1, NULL, OPT_GUIDANCE },       { "fast", 0, NULL, OPT_FAST },
    { "seed", 1, NULL, OPT_SEED },
    { "scale", 1, NULL, OPT_SCALE },             { "tile-overlap", 1, NULL, OPT_TILE_OVERLAP },
    { "overlap", 1, NULL, OPT_OVERLAP },         { "known-pixels", 1, NULL, OPT_KNOWN },
    { "motion", 1, NULL, OPT_MOTION },               { "ahead", 1, NULL, OPT_AHEAD },
    { "mode", 1, NULL, OPT_MODE },               { "scd", 1, NULL, OPT_SCD },
    { "scd-threshold", 1, NULL, OPT_SCD_THRESHOLD }, { "dup-threshold", 1, NULL, OPT_DUP_THRESHOLD },
    { "max-memory", 1, NULL, OPT_MAX_MEMORY },   { "fallback", 1, NULL, OPT_FALLBACK },
    { "seconds", 1, NULL, OPT_SECONDS },         { "gflops", 1, NULL, OPT_GFLOPS },
    { "devices", 0, NULL, OPT_DEVICES },         { "help", 0, NULL, OPT_HELP },
    { NULL, 0, NULL, 0 }
};

typedef struct Options {
    MagvitSettings settings;
    MagvitParams params;
    const char *class_name; /* NULL: none */
    int rated;              /* --factor or --fps was given */
    int scd;                /* detect scene changes */
    double scd_threshold;
    int devices; /* list them */
    double seconds, gflops; /* of bench */
    char **args; /* what is left, NULL-terminated */
    int nb_args;
} Options;

static _Noreturn void usage(const char *fmt, ...)
{
    va_list ap;

    fputs("magvit: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputs(" (see magvit help)\n", stderr);
    exit(EXIT_USAGE);
}

static long long parse_int(const char *name, const char *text, long long lo, long long hi)
{
    char *end;
    long long v;

    errno = 0;
    v = strtoll(text, &end, 10);
    if (end == text || *end || errno || v < lo || v > hi)
        usage("%s is \"%s\", expected an integer in [%lld,%lld]", name, text, lo, hi);
    return v;
}

static double parse_double(const char *name, const char *text)
{
    char *end;
    const double v = strtod(text, &end);

    if (end == text || *end || !isfinite(v))
        usage("%s is \"%s\", expected a number", name, text);
    return v;
}

static double parse_range(const char *name, const char *text, double lo, double hi)
{
    const double v = parse_double(name, text);

    if (v < lo || v > hi)
        usage("%s is \"%s\", expected a number in [%g,%g]", name, text, lo, hi);
    return v;
}

static int parse_name(const char *name, const char *text, const char *const *names)
{
    for (int i = 0; names[i]; i++)
        if (!strcmp(text, names[i]))
            return i;
    usage("%s is \"%s\", which is not one of its values", name, text);
}

static MagvitRational parse_rate(const char *name, const char *text)
{
    MagvitRational r = { 0, 1 };
    int n = 0;

    if ((sscanf(text, "%d/%d%n", &r.num, &r.den, &n) != 2 || text[n]) &&
        (r.den = 1, sscanf(text, "%d%n", &r.num, &n) != 1 || text[n]))
        r.num = 0;
    if (r.num <= 0 || r.den <= 0)
        usage("%s is \"%s\", expected a rate such as 60 or 60000/1001", name, text);
    return r;
}

static void set_option(Options *o, int opt, const char *v)
{
    static const char *const backends[] = { "auto", "ref", "cpu", "vulkan", NULL };
    static const char *const precisions[] = { "auto", "f32", "bf16", "int8", "f16", NULL };
    static const char *const scales[] = { "auto", "tile", "fit", NULL };
    static const char *const modes[] = { "interp", "repair", NULL };
    static const char *const detectors[] = { "none", "fdiff", NULL };
    static const char *const fallbacks[] = { "error", "copy", "blend", NULL };
    MagvitParams *p = &o->params;

    switch (opt) {
    case OPT_MODEL:        o->settings.model   = v; break;
    case OPT_BACKEND:      o->settings.backend = parse_name("--backend", v, backends); break;
    case OPT_DEVICE:       o->settings.device  = v; break;
    case OPT_THREADS:      o->settings.threads = (int)parse_int("--threads", v, 0, 256); break;
    case OPT_AHEAD:        o->params.ahead = (int)parse_int("--ahead", v, -1, 31); break;
    case OPT_BATCH:        o->settings.batch = (int)parse_int("--batch", v, 0, 16); break;
    case OPT_PRECISION:    o->settings.precision = parse_name("--precision", v, precisions); break;
    case OPT_QUIET:        o->settings.log.level = MAGVIT_LOG_ERROR; break;
    case OPT_VERBOSE:      o->settings.log.level++; break;
    case OPT_FACTOR:       p->factor = (int)parse_int("--factor", v, 1, 15); o->rated = 1; break;
    case OPT_FPS:          p->factor = 0; p->rate = parse_rate("--fps", v); o->rated = 1; break;
    case OPT_FRAMES:       p->frames = (int)parse_int("--frames", v, 1, 1000000); break;
    case OPT_COND_FRAMES:  p->cond_frames = (int)parse_int("--cond-frames", v, 1, 64); break;
    case OPT_CLASS:        o->class_name = v; break;
    case 'x':              p->x = (int)parse_int("-x", v, 0, 32768); break;
    case 'y':              p->y = (int)parse_int("-y", v, 0, 32768); break;
    case 'w':              p->w = (int)parse_int("-w", v, 1, 32768); break;
    case 'h':              p->h = (int)parse_int("-h", v, 1, 32768); break;
    case OPT_WIDTH:        p->out_width  = (int)parse_int("--width", v, 1, 32768); break;
    case OPT_HEIGHT:       p->out_height = (int)parse_int("--height", v, 1, 32768); break;
    case OPT_STEPS:        p->steps = (int)parse_int("--steps", v, 1, 256); break;
    case OPT_SCHEDULE:     p->schedule = v; break;
    case OPT_TEMPERATURE:  p->temperature = parse_double("--temperature", v); break;
    case OPT_CHOICE:       p->choice_temperature = parse_double("--choice-temperature", v); break;
    case OPT_TOP_K:        p->top_k = (int)parse_int("--top-k", v, 0, 1 << 18); break;
    case OPT_TOP_P:        p->top_p = parse_double("--top-p", v); break;
    case OPT_GUIDANCE:     p->guidance = parse_double("--guidance", v); break;
    case OPT_FAST:         p->fast = 1; break;
    case OPT_SEED:         p->seed = (uint64_t)parse_int("--seed", v, 0, INT64_MAX); break;
    case OPT_SCALE:        p->scale = parse_name("--scale", v, scales); break;
    case OPT_TILE_OVERLAP: p->tile_overlap = (int)parse_int("--tile-overlap", v, 0, 4096); break;
    case OPT_OVERLAP:      p->overlap = (int)parse_int("--overlap", v, 0, 8); break;
    case OPT_KNOWN:        p->known_pixels = (int)parse_int("--known-pixels", v, 0, 1); break;
    case OPT_MOTION:       p->motion = (int)parse_int("--motion", v, 0, 1); break;
    case OPT_MODE:         p->repair = parse_name("--mode", v, modes); break;
    case OPT_SCD:          o->scd = parse_name("--scd", v, detectors); break;
    case OPT_SCD_THRESHOLD: o->scd_threshold = parse_range("--scd-threshold", v, 0, 100); break;
    case OPT_DUP_THRESHOLD: p->dup_threshold = parse_range("--dup-threshold", v, 0, 100); break;
    case OPT_MAX_MEMORY:   p->max_memory = o->settings.max_memory = parse_int("--max-memory", v, 0, INT64_MAX >> 20) * (1 << 20); break;
    case OPT_FALLBACK:     p->fallback = parse_name("--fallback", v, fallbacks); break;
    case OPT_SECONDS:      o->seconds = parse_range("--seconds", v, 1, 1e6); break;
    case OPT_GFLOPS:       o->gflops  = parse_range("--gflops", v, 0, 1e9); break;
    case OPT_DEVICES:      o->devices = 1; break;
    case OPT_HELP:         fputs(help_text, stdout); exit(EXIT_SUCCESS);
    default:               usage("unknown option");
    }
}

static void parse_options(Options *o, int argc, char **argv, enum MagvitTask task)
{
    int opt;

    memset(o, 0, sizeof(*o));
    o->scd = 1;
    o->scd_threshold = 10;
    magvit_default_settings(&o->settings);
    magvit_default_params(&o->params, task);
    while ((opt = getopt_long(argc, argv, "x:y:w:h:", long_options, NULL)) != -1)
        set_option(o, opt, optarg);
    o->args    = argv + optind;
    o->nb_args = argc - optind;
}

static void need_args(const Options *o, int n, const char *what)
{
    if (o->nb_args != n)
        usage("expected %s", what);
}

/* ---- info ---- */

static int list_devices(const MagvitLogger *log)
{
    MagvitDeviceInfo d;
    int i, ret;

    for (i = 0; (ret = magvit_get_device(MAGVIT_BACKEND_VULKAN, i, &d, log)) >= 0; i++)
        printf("%d  %s  %s, %s%s\n", i, d.uuid, d.name, d.driver, d.software ? " (software)" : "");
    if (ret != MAGVIT_ERR(ENOENT))
        return ret;
    if (!i)
        printf("no device\n");
    return 0;
}

static int cmd_info(int argc, char **argv)
{
    static const char *const tasks[] = { "interp", "predict", "inpaint", "outpaint", "generate" };
    Options o;
    MagvitContext *ctx;
    MagvitInfo i;
    int ret;

    parse_options(&o, argc, argv, MAGVIT_TASK_INTERP);
    need_args(&o, 0, "no arguments");
    if (o.devices)
        return list_devices(&o.settings.log);
    if ((ret = magvit_open(&ctx, &o.settings)) < 0)
        return ret;
    magvit_get_info(ctx, &i);
    printf("model       %s\nfile        %s\nsha256      %s\n", i.name, i.path, i.sha256);
    printf("parameters  %.2f M\n", i.parameters / 1e6);
    printf("window      %d frames of %dx%d, %dx%dx%d tokens of %d codes\n", i.window[0], i.window[2], i.window[1],
           i.latent[0], i.latent[1], i.latent[2], i.nb_codes);
    printf("decoder     known pixels: %s\n", i.known_pixels);
    printf("products    %.3g GMAC to encode, %.3g a step, %.3g to decode\n", i.macs[0] * 1e-9, i.macs[1] * 1e-9, i.macs[2] * 1e-9);
    printf("steps       %d\ntasks      ", i.steps);
    for (int t = 0; t < MAGVIT_TASK_NB; t++)
        if (i.tasks >> t & 1)
            printf(" %s", tasks[t]);
    printf("\nclasses     %d%s%s\n", i.nb_classes, i.nb_classes ? ": " : "", i.classes);
    printf("backend     %s, %s\n", i.backend, i.device);
    printf("memory      %.1f MiB weights, %.1f MiB activations\n", i.weight_bytes / 1048576.0, i.work_bytes / 1048576.0);
    fflush(stdout);
    magvit_print_plans(ctx);
    magvit_close(&ctx);
    return 0;
}

/* ---- encode, decode ---- */

static int with_files(int argc, char **argv, int (*fn)(MagvitContext *, const char *, const char *), const char *files)
{
    Options o;
    MagvitContext *ctx = NULL;
    int ret;

    parse_options(&o, argc, argv, MAGVIT_TASK_INTERP);
    need_args(&o, 2, files);
    if ((ret = magvit_open(&ctx, &o.settings)) >= 0)
        ret = fn(ctx, o.args[0], o.args[1]);
    magvit_close(&ctx);
    return ret;
}

static int cmd_encode(int argc, char **argv)
{
    return with_files(argc, argv, tokens_encode, "IN.y4m and OUT.tok");
}

static int cmd_decode(int argc, char **argv)
{
    return with_files(argc, argv, tokens_decode, "IN.tok and OUT.y4m");
}

/* ---- run ---- */

typedef struct Stream {
    Y4m in, out;
    Y4mFrame in_frame, out_frame;
    MagvitSession *session;
    Scene scene;
} Stream;

/* What a generated stream is like, in place of an input: Y'CbCr of full resolution. */
static void like_nothing(Y4m *in, const MagvitContext *ctx, const MagvitParams *p)
{
    MagvitInfo info;

    magvit_get_info(ctx, &info);
    *in = (Y4m){
        .width  = p->out_width  ? p->out_width  : info.window[2],
        .height = p->out_height ? p->out_height : info.window[1],
        .rate   = p->rate.num ? p->rate : (MagvitRational){ 25, 1 },
        .format = { MAGVIT_MODEL_YUV, 8, 0, 0, 0, 0 },
        .tags   = " Ip A1:1 C444 XCOLORRANGE=LIMITED",
    };
}

static int stream_open(Stream *s, MagvitContext *ctx, Options *o)
{
    MagvitParams *p = &o->params;
    MagvitOutput out;
    int ret;

    if (o->class_name && (ret = magvit_find_class(ctx, o->class_name, &p->class_id)) < 0)
        return ret;
    if (p->task == MAGVIT_TASK_GENERATE)
        like_nothing(&s->in, ctx, p);
    else if ((ret = y4m_open(&s->in, o->args[0])) < 0)
        return ret;
    p->format     = s->in.format;
    p->width      = s->in.width;
    p->height     = s->in.height;
    p->frame_rate = s->in.rate;
    p->time_base  = (MagvitRational){ s->in.rate.den, s->in.rate.num };
    if (!p->out_width)
        p->out_width = p->width;
    if (!p->out_height)
        p->out_height = p->height;
    if ((ret = magvit_session_open(&s->session, ctx, p)) < 0)
        return ret;
    magvit_session_output(s->session, &out);
    if ((ret = y4m_create(&s->out, o->args[o->nb_args - 1], &s->in, out.width, out.height, out.frame_rate)) < 0 ||
        (ret = y4m_frame_alloc(&s->in_frame, &s->in)) < 0)
        return ret;
    return y4m_frame_alloc(&s->out_frame, &s->out);
}

/* 1 with a frame for the session, 0 at the end, or an error. */
static int stream_read(Stream *s, const Options *o)
{
    int ret = y4m_read(&s->in, &s->in_frame);

    if (ret <= 0 || o->params.task != MAGVIT_TASK_INTERP || !o->scd)
        return ret;
    if ((ret = scene_begins(&s->scene, &s->in_frame, &s->in, o->scd_threshold)) < 0)
        return ret;
    s->in_frame.f.scene_cut = ret;
    return 1;
}

/* Of damaged input all that came before leaves as at the end of the stream, but nothing continues it. */
static int stream_run(Stream *s, const Options *o)
{
    int damaged = 0;

    for (;;) {
        int ret = magvit_receive_frame(s->session, &s->out_frame.f);
        if (ret == MAGVIT_ERROR_EOF)
            return damaged;
        if (ret == 0) {
            ret = y4m_write(&s->out, &s->out_frame);
        } else if (ret == MAGVIT_ERR(EAGAIN)) {
            if ((ret = stream_read(s, o)) < 0)
                damaged = ret;
            if (!damaged || o->params.task != MAGVIT_TASK_PREDICT)
                ret = magvit_send_frame(s->session, ret > 0 ? &s->in_frame.f : NULL);
        }
        if (ret < 0)
            return ret;
    }
}

static int cmd_run(int argc, char **argv)
{
    static const char *const names[] = { "interp", "predict", "inpaint", "outpaint", "generate", NULL };
    Options o;
    Stream s;
    MagvitContext *ctx = NULL;
    int ret, err;

    if (argc < 2)
        usage("run needs a task");
    parse_options(&o, argc - 1, argv + 1, parse_name("task", argv[1], names));
    if (o.params.task == MAGVIT_TASK_GENERATE)
        need_args(&o, 1, "OUT.y4m");
    else
        need_args(&o, 2, "IN.y4m and OUT.y4m");
    if (o.params.repair && o.rated)
        usage("--mode repair keeps the rate: no --factor and no --fps");
    if (o.params.repair)
        o.params.factor = 1;
    if (o.class_name && o.params.task != MAGVIT_TASK_PREDICT && o.params.task != MAGVIT_TASK_GENERATE)
        usage("--class is for predict and generate");
    if (o.params.task == MAGVIT_TASK_INPAINT && (o.params.w < 1 || o.params.h < 1))
        usage("inpaint needs a rectangle: -x X -y Y -w W -h H");
    if ((o.params.task == MAGVIT_TASK_PREDICT || o.params.task == MAGVIT_TASK_GENERATE) && o.params.frames < 1)
        usage("%s needs --frames N", argv[1]);
    memset(&s, 0, sizeof(s));
    if ((ret = magvit_open(&ctx, &o.settings)) >= 0 && (ret = stream_open(&s, ctx, &o)) >= 0)
        ret = stream_run(&s, &o);
    magvit_session_close(&s.session);
    magvit_close(&ctx);
    err = y4m_close(&s.out);
    y4m_close(&s.in);
    y4m_frame_free(&s.in_frame);
    y4m_frame_free(&s.out_frame);
    scene_free(&s.scene);
    return ret < 0 ? ret : err;
}

/* ---- bench ---- */

static int cmd_bench(int argc, char **argv)
{
    Options o;
    Bench b;

    parse_options(&o, argc, argv, MAGVIT_TASK_INTERP);
    for (int i = 0; i < o.nb_args; i++) {
        int w, h, end = 0;

        if (sscanf(o.args[i], "%dx%d%n", &w, &h, &end) != 2 || o.args[i][end] || w < 1 || h < 1 || w > 32768 || h > 32768)
            usage("size is \"%s\", expected WIDTHxHEIGHT", o.args[i]);
    }
    b = (Bench){ .settings = &o.settings, .params = &o.params, .sizes = o.args, .seconds = o.seconds, .gflops = o.gflops };
    return bench_run(&b);
}

int main(int argc, char **argv)
{
    static const struct { const char *name; int (*run)(int argc, char **argv); } commands[] = {
        { "info", cmd_info }, { "encode", cmd_encode }, { "decode", cmd_decode },
        { "run", cmd_run },   { "bench", cmd_bench },
    };

    if (argc < 2)
        usage("no command given");
    if (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help")) {
        fputs(help_text, stdout);
        return EXIT_SUCCESS;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("magvit %s\n", magvit_version());
        return EXIT_SUCCESS;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        if (!strcmp(argv[1], commands[i].name))
            return commands[i].run(argc - 1, argv + 1) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    usage("unknown command \"%s\"", argv[1]);
}
