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
 * How long a model takes. With a time limit a row is begun only if by what was
 * measured before it ends in time: that of a cheaper stage, and the numbers of
 * multiplications of both.
 */

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/bench.h"

enum { BENCH_RUNS = 5, BENCH_WINDOWS = 3 };

/** What is timed of a window, the cheaper first: each tells what the next will take. */
enum Part { ENCODE, DECODE, ONE_STEP, WINDOW, NB_PARTS };

static const char *const part_names[NB_PARTS] = { "encode", "decode", "step", "window" };

typedef struct Timing {
    const Bench *b;
    MagvitContext *ctx;
    MagvitInfo info;
    int steps;
    double begin, opened;              ///< when it began, seconds that opening took
    float *clip;
    int32_t *codes;
    double runs[NB_PARTS][BENCH_RUNS]; ///< seconds
    double least[NB_PARTS];            ///< of all runs; 0: none
    int measured[NB_PARTS];            ///< number of runs that count
} Timing;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

/* ---- time that is left ---- */

static double seconds_left(const Timing *t)
{
    return t->b->seconds ? t->b->seconds - (now() - t->begin) : INFINITY;
}

/** What a part will take; where nothing was measured, at least that; 0: nothing is known. */
static double expect(const Timing *t, enum Part part)
{
    const double *macs = t->info.macs, *least = t->least;
    const double rate = least[DECODE] ? (macs[0] + macs[2]) / (least[ENCODE] + least[DECODE]) :
                        least[ENCODE] ? macs[0] / least[ENCODE] : t->b->gflops * 1e9 / 2;
    const double encode = least[ENCODE] ? least[ENCODE] : rate ? macs[0] / rate : 0;
    const double decode = least[DECODE] ? least[DECODE] : rate ? macs[2] / rate : 0;
    const double step = !least[ONE_STEP] ? rate ? macs[1] / rate : 0 : fmax(least[ONE_STEP] - encode - decode, 0);

    return least[part] ? least[part] : part == ENCODE ? encode : part == DECODE ? decode :
           encode + decode + step * (part == ONE_STEP ? 1 : t->steps);
}

/** Is there time? If not, a line says so. */
static int fits(const char *what, double expected, double limit)
{
    if (expected <= limit)
        return 1;
    printf("%-10s skipped: expected %.1f s, limit %.1f s\n", what, expected, fmax(limit, 0));
    fflush(stdout);
    return 0;
}

/* ---- streams ---- */

/** What a stream of FI took. */
typedef struct Streamed {
    double seconds;
    int frames, windows; ///< that came out, that were computed
} Streamed;

/** Frames of a moving pattern through a session: windows windows of them, but for the frames held at the end. */
static int time_stream(const Timing *t, const MagvitParams *params, int windows, Streamed *out)
{
    const int w = params->width, h = params->height;
    const size_t size = (size_t)w * h;
    MagvitSession *s = NULL;
    MagvitFrame in = { .duration = 1, .color = { 6, 1, 1 } }, f = { .pts = 0 };
    uint8_t *pixels = calloc(size, 3);
    int gaps = (t->info.window[0] - 1) / params->factor, sent = 0, ret = pixels ? 0 : MAGVIT_ERR(ENOMEM);
    int64_t last = -1;

    /* planes of the input are one, those of the output lie behind it */
    *out = (Streamed){ 0 };
    if (ret >= 0)
        ret = magvit_session_open(&s, t->ctx, params);
    for (int i = 0; i < 3; i++) {
        in.data[i]   = pixels;
        f.data[i]    = pixels + size * (1 + !!i) + (i == 2 ? size / 2 : 0);
        in.stride[i] = f.stride[i] = i ? (w + 1) / 2 : w;
    }
    out->seconds = now();
    while (ret >= 0 && (ret = magvit_receive_frame(s, &f)) != MAGVIT_ERROR_EOF) {
        if (ret == 0) {
            out->frames++;
            out->windows += f.window > last;
            last = f.window > last ? f.window : last;
        } else if (ret == MAGVIT_ERR(EAGAIN)) {
            for (size_t k = 0; k < size; k++)
                pixels[k] = (uint8_t)(16 + (k * 7 + sent * 13) % 219);
            in.pts = sent;
            ret = magvit_send_frame(s, sent++ > windows * gaps ? NULL : &in);
        }
    }
    out->seconds = now() - out->seconds;
    magvit_session_close(&s);
    free(pixels);
    return ret == MAGVIT_ERROR_EOF ? 0 : ret;
}

static MagvitParams stream_params(const Timing *t, int width, int height, int steps)
{
    MagvitParams p = *t->b->params;

    p.format     = (MagvitFormat){ MAGVIT_MODEL_YUV, 8, 0, 1, 1, 0 };
    p.width      = width;
    p.height     = height;
    p.time_base  = (MagvitRational){ 1, 25 };
    p.frame_rate = (MagvitRational){ 25, 1 };
    p.factor     = t->info.window[0] - 1 < 15 ? t->info.window[0] - 1 : 15;
    p.steps      = steps;
    return p;
}

/** So many that batches of them go round a few times. */
static int stream_windows(const Timing *t, const MagvitParams *p)
{
    const int together = t->info.batch > 1 ? 2 * (p->ahead < 0 ? 8 : p->ahead + 1) : 0;

    return together > BENCH_WINDOWS ? together : BENCH_WINDOWS;
}

/** A stream, after a window that warms up. If time is short it has fewer windows, but not less than fill a batch. */
static int bench_size(const Timing *t, const char *size, double limit)
{
    MagvitParams p = *t->b->params;
    MagvitMemory need;
    Streamed s;
    double window;
    int all, n, least, w, h, ret;

    if (sscanf(size, "%dx%d", &w, &h) != 2)
        return MAGVIT_ERR(EINVAL);
    p = stream_params(t, w, h, p.steps);
    if ((ret = magvit_session_memory(t->ctx, &p, &need)) < 0)
        return ret;
    all   = stream_windows(t, &p);
    least = (t->info.batch + need.tiles - 1) / need.tiles;
    limit += now() - t->begin;
    if (!fits(size, (1 + least) * need.tiles * expect(t, WINDOW), limit - (now() - t->begin)))
        return 0;
    if ((ret = time_stream(t, &p, 1, &s)) < 0)
        return ret;
    window = s.seconds / s.windows;
    n = (int)fmin(all, (limit - (now() - t->begin)) / window);
    if (n < least && !fits(size, least * window, limit - (now() - t->begin)))
        return 0;
    if ((ret = time_stream(t, &p, n, &s)) < 0)
        return ret;
    printf("%-10s %10.1f ms a window, batch %d %31.2f", size, 1e3 * s.seconds / s.windows, t->info.batch, s.frames / s.seconds);
    printf(n < all ? "  (%d of %d windows)\n" : "\n", n, all);
    fflush(stdout);
    return 0;
}

/* ---- stages ---- */

/** One window of FI: its first and last frame are known, the frames between are made. */
static int time_window(const Timing *t, int steps, double *seconds)
{
    MagvitParams p = stream_params(t, t->info.window[2], t->info.window[1], steps);
    Streamed s;
    int ret;

    p.format = (MagvitFormat){ MAGVIT_MODEL_GRAY, 8, 0, 0, 0, 0 };
    ret = time_stream(t, &p, 1, &s);
    *seconds = s.seconds;
    return ret;
}

/** @param run index into runs */
static int time_part(Timing *t, enum Part part, int run)
{
    double *seconds = &t->runs[part][run], start = now();
    int ret;

    if (part == ENCODE)
        ret = magvit_encode(t->ctx, t->clip, t->codes);
    else if (part == DECODE)
        ret = magvit_decode(t->ctx, t->codes, t->clip);
    else
        return time_window(t, part == WINDOW ? t->steps : 1, seconds);
    *seconds = now() - start;
    return ret;
}

static int time_and_keep(Timing *t, enum Part part, int run)
{
    const int ret = time_part(t, part, run);

    if (ret >= 0 && (!t->least[part] || t->runs[part][run] < t->least[part]))
        t->least[part] = t->runs[part][run];
    t->measured[part] = run + 1;
    return ret;
}

/** All parts that there is time for, once to warm up and then a few times in turn, which half of the time is for. */
static int time_parts(Timing *t)
{
    const double half = t->b->sizes[0] ? 2 : 1;
    int nb = 0, ret = 0;

    for (; nb < NB_PARTS && ret >= 0 && expect(t, nb) <= seconds_left(t); nb++)
        ret = time_and_keep(t, nb, 0);
    for (int r = 0; r < BENCH_RUNS && ret >= 0; r++) {
        double round = 0;

        for (int i = 0; i < nb; i++)
            round += t->least[i];
        if (round > seconds_left(t) / half)
            break;
        for (int i = 0; i < nb && ret >= 0; i++)
            ret = time_and_keep(t, i, r);
    }
    return ret;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_part(const Timing *t, enum Part part, const double *runs, int nb)
{
    double v[BENCH_RUNS];

    if (!nb) {
        fits(part_names[part], expect(t, part), seconds_left(t)); // there is not: it was not measured
        return;
    }
    memcpy(v, runs, nb * sizeof(*v));
    qsort(v, nb, sizeof(*v), by_value);
    printf("%-10s %10.1f ms   %9.1f .. %.1f %14.2f", part_names[part], 1e3 * v[nb / 2], 1e3 * v[0], 1e3 * v[nb - 1],
           t->info.window[0] / v[nb / 2]);
    printf(nb < BENCH_RUNS ? "  (%d of %d runs)\n" : "\n", nb, BENCH_RUNS);
}

/**
 * Of a window's steps, or where that was not measured of the one step beside a window's other stages. Less the least of
 * what it is compared with: of two single runs, the difference may be anything if it is small.
 */
static void print_step(const Timing *t)
{
    double step[BENCH_RUNS];
    const int nb = t->measured[ONE_STEP], whole = t->measured[WINDOW] && t->steps > 1;

    for (int r = 0; r < nb; r++)
        step[r] = whole ? fmax(t->runs[WINDOW][r] - t->least[ONE_STEP], 0) / (t->steps - 1)
                        : fmax(t->runs[ONE_STEP][r] - t->least[ENCODE] - t->least[DECODE], 0);
    print_part(t, ONE_STEP, step, nb);
}

/** Most memory this program held, in MiB; 0 where Linux does not tell. getrusage() counts what was before exec, too. */
static double peak_memory(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[128];
    double kib = 0;

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "VmHWM: %lf kB", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib / 1024;
}

static int bench_stages(Timing *t)
{
    const MagvitInfo *info = &t->info;
    const size_t pixels = (size_t)info->window[0] * info->window[1] * info->window[2] * 3;
    int ret;

    t->clip  = malloc(pixels * sizeof(*t->clip));
    t->codes = malloc((size_t)info->latent[0] * info->latent[1] * info->latent[2] * sizeof(*t->codes));
    if (!t->clip || !t->codes)
        return MAGVIT_ERR(ENOMEM);
    for (size_t i = 0; i < pixels; i++)
        t->clip[i] = (float)(i * 7 % 256) / 255;
    if ((ret = time_parts(t)) < 0)
        return ret;
    printf("%s, %s, %s\n", info->name, info->backend, info->device);
    printf("%-10s %13s   %18s %14s\n", "stage", "median", "min .. max", "frames/s");
    printf("%-10s %10.1f ms\n", "open", 1e3 * t->opened);
    print_part(t, ENCODE, t->runs[ENCODE], t->measured[ENCODE]);
    print_step(t);
    print_part(t, DECODE, t->runs[DECODE], t->measured[DECODE]);
    print_part(t, WINDOW, t->runs[WINDOW], t->measured[WINDOW]);
    if (peak_memory() > 0)
        printf("%-10s %10.1f MiB at most\n", "memory", peak_memory());
    fflush(stdout);
    return 0;
}

int bench_run(const Bench *b)
{
    Timing t = { .b = b, .begin = now() };
    int left = 0, ret;

    ret = magvit_open(&t.ctx, b->settings);
    if (ret == MAGVIT_ERR(ENOMEM) && b->seconds && b->settings->batch > 1) {
        printf("batch %-4d skipped: more memory than there is\n", b->settings->batch);
        return 0;
    }
    if (ret < 0)
        return ret;
    t.opened = now() - t.begin;
    magvit_get_info(t.ctx, &t.info);
    t.steps = b->params->steps ? b->params->steps : t.info.steps;
    ret = bench_stages(&t);
    while (b->sizes[left])
        left++;
    for (int i = 0; b->sizes[i] && ret >= 0; i++)
        ret = bench_size(&t, b->sizes[i], seconds_left(&t) / (left - i));
    free(t.clip);
    free(t.codes);
    magvit_close(&t.ctx);
    return ret;
}
