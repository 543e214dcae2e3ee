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


/*
 * Sessions over a synthesiser that needs no network: counts, times, known
 * samples, ends of streams, errors. The exhaustive case is
 * every number of frames up to 40 with every factor.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libmagvit/video.h"
#include "tests/unit/unit.h"

enum { MAX_FRAMES = 48, MAX_OUT = 700 };

/* Gives back the condition clip, shifted and marked with the job's random word. */
typedef struct Fake {
    int jobs;
    int fail_at;      /* job that fails, -1: none */
    int error;
    float shift;      /* added to every value */
    int mark;         /* add what depends on the job's word */
    int freed;
    int blind;        /* jobs with a clip of which nothing is given */
    uint32_t words[64];
} Fake;

/* Is a cell of 4x8x8 pixels a condition cell if and only if one of its pixels is known? */
static int cells_fit(const MgvJob *job)
{
    uint8_t cells[16] = { 0 };
    int bad = 0;

    for (int i = 0; i < 16 * 16 * 16; i++) {
        cells[i / 1024 * 4 + i / 128 % 2 * 2 + i / 8 % 2] |= job->known[i];
        bad |= job->known[i] > 1;
    }
    return !bad && !memcmp(cells, job->latent, sizeof(cells));
}

static int fake_run(void *opaque, MgvJob *job)
{
    Fake *f = opaque;
    size_t n = 16 * 16 * 16 * 3;

    if (f->jobs == f->fail_at) {
        f->fail_at = -1;
        return f->error;
    }
    f->words[f->jobs++ % 64] = job->word;
    if (atomic_load(&job->progress->cancel))
        return MAGVIT_ERR(ECANCELED);
    CU_ASSERT_EQUAL(!job->clip, !job->latent);
    CU_ASSERT_EQUAL(!job->clip, !job->known);
    CU_ASSERT(!job->clip || cells_fit(job));
    f->blind += job->clip && !memchr(job->known, 1, n / 3);
    for (size_t i = 0; i < n; i++) {
        float v = (job->clip ? job->clip[i] : 0.5f) + f->shift + (f->mark ? (job->word * 37 % 16) / 64.0f : 0);
        job->out[i] = MGV_CLAMP(v, 0, 1);
    }
    atomic_fetch_add(&job->progress->done, 3);
    return 0;
}

static void fake_free(void *opaque)
{
    ((Fake *)opaque)->freed++;
}

static MgvSynth fake_synth(Fake *f)
{
    return (MgvSynth){ fake_run, fake_free, f, { 16, 16, 16 }, { 4, 2, 2 }, 3, 0, &unit_log };
}

/* ---- pictures of a test --------------------------------------------------- */

typedef struct Picture {
    MagvitFrame f;
    uint8_t mem[3 * 40 * 40];
    uint8_t mask[40 * 40];
} Picture;

typedef struct Stream {
    MagvitParams p;
    int out_w, out_h;
    Picture in[MAX_FRAMES], out[MAX_OUT];
    int nb_in, nb_out;
} Stream;

static int chroma(const MagvitFormat *f, int i, int size, int vertical)
{
    int shift = f->model == MAGVIT_MODEL_YUV && (i == 1 || i == 2) ? vertical ? f->chroma_h : f->chroma_w : 0;

    return (size + (1 << shift) - 1) >> shift;
}

static void set_planes(Picture *p, const MagvitFormat *f, int w, int h)
{
    uint8_t *at = p->mem;

    p->f = (MagvitFrame){ .color = { 6, 1, 1 } };
    for (int i = 0; i < (f->model == MAGVIT_MODEL_GRAY ? 1 : 3); i++) {
        p->f.data[i]   = at;
        p->f.stride[i] = chroma(f, i, w, 0);
        at += chroma(f, i, w, 0) * chroma(f, i, h, 1);
    }
}

static Stream *stream_new(enum MagvitTask task, int w, int h, int nb)
{
    Stream *s = calloc(1, sizeof(*s));
    uint64_t state = 3;

    magvit_default_params(&s->p, task);
    s->p.width      = s->out_w = w;
    s->p.height     = s->out_h = h;
    s->p.time_base  = (MagvitRational){ 1, 90 };
    s->p.frame_rate = (MagvitRational){ 30, 1 };
    s->nb_in        = nb;
    for (int i = 0; i < nb; i++) {
        set_planes(&s->in[i], &s->p.format, w, h);
        for (size_t k = 0; k < sizeof(s->in[i].mem); k++)
            s->in[i].mem[k] = (uint8_t)unit_range(&state, 60, 180);
        s->in[i].f.pts      = 3 * i;
        s->in[i].f.duration = 3;
    }
    return s;
}

/* Send all and receive all, as FFmpeg does: receive first, send on EAGAIN. */
static int stream_run_session(Stream *s, MagvitSession *ses)
{
    int sent = 0, ret;

    s->nb_out = 0;
    for (;;) {
        set_planes(&s->out[s->nb_out], &s->p.format, s->out_w, s->out_h);
        ret = magvit_receive_frame(ses, &s->out[s->nb_out].f);
        if (ret == MAGVIT_ERROR_EOF)
            return 0;
        if (ret == MAGVIT_ERR(EAGAIN)) {
            ret = magvit_send_frame(ses, sent < s->nb_in ? &s->in[sent].f : NULL);
            if (ret < 0)
                return ret;
            sent++;
        } else if (ret < 0) {
            return ret;
        } else if (++s->nb_out == MAX_OUT) {
            CU_FAIL_FATAL("too many frames");
        }
    }
}

static int stream_run(Stream *s, Fake *f)
{
    MgvSynth synth = fake_synth(f);
    MagvitSession *ses;
    int ret = mgv_session_open(&ses, &synth, &s->p);

    if (ret >= 0)
        ret = stream_run_session(s, ses);
    magvit_session_close(&ses);
    return ret;
}

static int same_samples(const Stream *s, const Picture *a, const Picture *b)
{
    size_t n = (size_t)s->out_w * s->out_h + 2 * chroma(&s->p.format, 1, s->out_w, 0) * chroma(&s->p.format, 1, s->out_h, 1);

    return !memcmp(a->mem, b->mem, n);
}

/* ---- interpolation -------------------------------------------------------- */

/* All of the contract of factor mode on a stream that was run. */
static void check_factor(const Stream *s, int n, int factor)
{
    int bad = s->nb_out != n * factor;

    for (int i = 0; i < s->nb_out && !bad; i++) {
        const MagvitFrame *f = &s->out[i].f;
        int k = i / factor, j = i % factor;
        int64_t t0 = s->in[k].f.pts, step = k + 1 < n ? s->in[k + 1].f.pts - t0 : s->in[k].f.duration;

        bad |= f->pts != t0 * factor + j * step;
        bad |= i && f->pts <= s->out[i - 1].f.pts;
        bad |= f->duration != step;
        bad |= f->source != k;
        bad |= f->generated != (j > 0 && k + 1 < n);
        bad |= (f->window >= 0) != f->generated;
        bad |= !f->generated && !same_samples(s, &s->out[i], &s->in[k]);
    }
    if (bad)
        printf("n %d factor %d: %d frames\n", n, factor, s->nb_out);
    CU_ASSERT(!bad);
}

static void test_all_factors(void)
{
    Stream *s = stream_new(MAGVIT_TASK_INTERP, 6, 5, 40);
    int64_t pts = -7;

    for (int i = 0; i < s->nb_in; i++) { // variable frame rate
        s->in[i].f.pts      = pts;
        s->in[i].f.duration = 2 + i % 3;
        pts += 2 + i % 3;
    }
    for (int n = 1; n <= 40; n++)
        for (int factor = 1; factor <= 15; factor++) {
            Fake f = { .fail_at = -1 };
            int gaps = factor > 1 ? 15 / factor : 1;

            s->nb_in    = n;
            s->p.factor = factor;
            CU_ASSERT_EQUAL(stream_run(s, &f), 0);
            check_factor(s, n, factor);
            CU_ASSERT_EQUAL(f.jobs, factor > 1 ? (n - 1 + gaps - 1) / gaps : 0);
            CU_ASSERT_EQUAL(f.freed, 1);
        }
    free(s);
}

static void test_no_frames(void)
{
    for (int task = 0; task <= MAGVIT_TASK_OUTPAINT; task++) {
        Stream *s = stream_new(task, 6, 6, 0);
        Fake f = { .fail_at = -1 };

        s->p.frames     = 3;
        s->p.out_width  = s->out_w = 12;
        s->p.out_height = s->out_h = 12;
        CU_ASSERT_EQUAL(stream_run(s, &f), 0);
        CU_ASSERT_EQUAL(s->nb_out, 0);
        free(s);
    }
}

/* Frame counts, times and copies at a rate; input of n frames at 30 a second in a base of 1/90. */
static void check_rate(int num, int den, int n, int count, int copies)
{
    Stream *s = stream_new(MAGVIT_TASK_INTERP, 4, 4, n);
    Fake f = { .fail_at = -1 };
    int same = 0;

    s->p.factor = 0;
    s->p.rate   = (MagvitRational){ num, den };
    CU_ASSERT_EQUAL(stream_run(s, &f), 0);
    CU_ASSERT_EQUAL(s->nb_out, count);
    for (int i = 0; i < s->nb_out; i++) {
        same += !s->out[i].f.generated;
        if (num != 30 || den != 1)
            CU_ASSERT_EQUAL(s->out[i].f.pts, i);
        CU_ASSERT_EQUAL(s->out[i].f.source, (int64_t)i * den * 30 / num);
        if (!s->out[i].f.generated)
            CU_ASSERT(same_samples(s, &s->out[i], &s->in[s->out[i].f.source]));
    }
    CU_ASSERT_EQUAL(same, copies);
    free(s);
}

static void test_rates(void)
{
    check_rate(60, 1, 10, 20, 11);   // a copy each, and the last is held
    check_rate(75, 1, 10, 25, 7);    // 5/2: every second frame is one of the input's; two more are held
    check_rate(20, 1, 9, 6, 3);      // 2/3
    check_rate(10, 1, 9, 3, 3);
    check_rate(30, 1, 7, 7, 7);
    check_rate(450, 1, 3, 45, 17);
}

static void test_rate_of_vfr(void)
{
    static const int64_t pts[] = { 1, 4, 13, 14, 20, 44 };
    Stream *s = stream_new(MAGVIT_TASK_INTERP, 4, 4, 6);
    Fake f = { .fail_at = -1 };
    int k = 0;

    for (int i = 0; i < 6; i++) {
        s->in[i].f.pts      = pts[i];
        s->in[i].f.duration = i < 5 ? pts[i + 1] - pts[i] : 10;
    }
    s->p.factor = 0;
    s->p.rate   = (MagvitRational){ 45, 1 }; // every 2 ticks
    CU_ASSERT_EQUAL(stream_run(s, &f), 0);
    CU_ASSERT_EQUAL(s->nb_out, 26); // 2, 4 .. 52
    for (int i = 0; i < s->nb_out; i++) {
        int64_t at = 2 * (i + 1);
        while (k < 5 && pts[k + 1] <= at)
            k++;
        CU_ASSERT_EQUAL(s->out[i].f.pts, i + 1);
        CU_ASSERT(s->out[i].f.source == k || (!s->out[i].f.generated && s->out[i].f.source == k + 1));
        if (at == pts[k])
            CU_ASSERT(!s->out[i].f.generated && same_samples(s, &s->out[i], &s->in[k]));
    }
    free(s);
}

/* Parts of a stream, cut where windows begin, equal the whole. */
static void test_shards(void)
{
    Stream *all = stream_new(MAGVIT_TASK_INTERP, 20, 18, 31), *part = stream_new(MAGVIT_TASK_INTERP, 20, 18, 31);
    const int factor = 4, gaps = 3, length = 9;
    Fake f = { .fail_at = -1, .mark = 1 };

    all->p.factor = part->p.factor = factor;
    CU_ASSERT_EQUAL(stream_run(all, &f), 0);
    for (int begin = 0; begin < 30; begin += length) {
        Fake g = { .fail_at = -1, .mark = 1 };
        int frames = MGV_MIN(length + 1, 31 - begin);

        CU_ASSERT_EQUAL_FATAL(begin % gaps, 0);
        part->nb_in = frames;
        part->p.first_index = begin;
        for (int i = 0; i < frames; i++) {
            memcpy(part->in[i].mem, all->in[begin + i].mem, sizeof(part->in[i].mem));
            part->in[i].f.pts = all->in[begin + i].f.pts;
        }
        CU_ASSERT_EQUAL(stream_run(part, &g), 0);
        CU_ASSERT_EQUAL(part->nb_out, frames * factor);
        for (int i = 0; i < (frames - 1) * factor; i++) {
            CU_ASSERT(same_samples(all, &part->out[i], &all->out[begin * factor + i]));
            CU_ASSERT_EQUAL(part->out[i].f.pts, all->out[begin * factor + i].f.pts);
            CU_ASSERT_EQUAL(part->out[i].f.source, i / factor);
            CU_ASSERT_EQUAL(part->out[i].f.window, all->out[begin * factor + i].f.window);
        }
    }
    free(all);
    free(part);
}

/* A decoder that is too bright by a tenth must not make flicker, in samples or in the mean. */
static void test_no_flicker(void)
{
    Stream *s = stream_new(MAGVIT_TASK_INTERP, 37, 21, 6);
    Fake f = { .fail_at = -1, .shift = 0.1f };
    int worst = 0;

    for (int i = 0; i < s->nb_in; i++)
        memset(s->in[i].mem, 100, sizeof(s->in[i].mem));
    s->p.factor = 5;
    s->p.dup_threshold = 0;
    CU_ASSERT_EQUAL(stream_run(s, &f), 0);
    for (int i = 0; i < s->nb_out; i++)
        for (int k = 0; k < 37 * 21 + 2 * 19 * 11; k++)
            worst = MGV_MAX(worst, abs(s->out[i].mem[k] - 100));
    CU_ASSERT(f.jobs > 0 && worst <= 1);
    free(s);
}

/* ---- regions -------------------------------------------------------------- */

/* Outside of the rectangle all is as it was; chroma outside of the rectangle grown to whole samples. */
static int outside_same(const Stream *s, const Picture *a, const Picture *b, MgvRect r)
{
    for (int i = 0; i < 3; i++) {
        int sw = i ? s->p.format.chroma_w : 0, sh = i ? s->p.format.chroma_h : 0;
        int w = chroma(&s->p.format, i, s->p.width, 0), h = chroma(&s->p.format, i, s->p.height, 1);
        int x1 = (r.x + r.w + (1 << sw) - 1) >> sw, y1 = (r.y + r.h + (1 << sh) - 1) >> sh;

        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++)
                if ((x < r.x >> sw || x >= x1 || y < r.y >> sh || y >= y1) &&
                    a->f.data[i][y * w + x] != b->f.data[i][y * w + x])
                    return 0;
    }
    return 1;
}

static void test_inpaint_counts(void)
{
    Stream *s = stream_new(MAGVIT_TASK_INPAINT, 19, 13, 40);
    const MgvRect r = { 5, 3, 6, 5 };

    s->p.x = r.x;
    s->p.y = r.y;
    s->p.w = r.w;
    s->p.h = r.h;
    for (int n = 1; n <= 40; n++)
        for (int overlap = 0; overlap <= 8; overlap += 4) {
            Fake f = { .fail_at = -1, .mark = 1 };
            int bad;

            s->nb_in     = n;
            s->p.overlap = overlap;
            CU_ASSERT_EQUAL(stream_run(s, &f), 0);
            bad = s->nb_out != n;
            for (int i = 0; i < s->nb_out && !bad; i++)
                bad |= s->out[i].f.pts != s->in[i].f.pts || s->out[i].f.source != i || !s->out[i].f.generated ||
                       !outside_same(s, &s->out[i], &s->in[i], r);
            if (bad)
                printf("n %d overlap %d: %d frames\n", n, overlap, s->nb_out);
            CU_ASSERT(!bad);
        }
    free(s);
}

static void test_inpaint_masks(void)
{
    Stream *s = stream_new(MAGVIT_TASK_INPAINT, 40, 40, 40);
    Fake f = { .fail_at = -1 };

    for (int i = 0; i < s->nb_in; i++) {
        s->in[i].f.mask        = s->in[i].mask;
        s->in[i].f.mask_stride = 40;
        if (i % 7 < 3 && i < 20)
            s->in[i].mask[(i + 3) * 40 + i] = 255;
    }
    CU_ASSERT_EQUAL(stream_run(s, &f), 0);
    CU_ASSERT_EQUAL(s->nb_out, 40);
    for (int i = 0; i < s->nb_out; i++) {
        int hole = i % 7 < 3 && i < 20;

        CU_ASSERT_EQUAL(s->out[i].f.generated, hole);
        CU_ASSERT_EQUAL(s->out[i].f.window >= 0, hole);
        CU_ASSERT(hole ? outside_same(s, &s->out[i], &s->in[i], (MgvRect){ i, i + 3, 1, 1 })
                       : same_samples(s, &s->out[i], &s->in[i]));
    }
    CU_ASSERT(f.jobs > 0);
    free(s);
}

/* What needs no window leaves at once; a hole waits for its window and holds back what comes after it. */
static void test_inpaint_passes(void)
{
    for (int hole = -1; hole < 40; hole += 13) {
        Stream *s = stream_new(MAGVIT_TASK_INPAINT, 16, 16, 40);
        Fake f = { .fail_at = -1 };
        MgvSynth synth = fake_synth(&f);
        MagvitSession *ses;
        int out = 0, bad = 0;

        CU_ASSERT_EQUAL_FATAL(mgv_session_open(&ses, &synth, &s->p), 0);
        for (int i = 0; i < s->nb_in; i++) {
            s->in[i].f.mask        = s->in[i].mask;
            s->in[i].f.mask_stride = 16;
            s->in[i].mask[70]      = i == hole;
            CU_ASSERT_EQUAL(magvit_send_frame(ses, &s->in[i].f), 0);
            for (int ret = 0; !ret;) {
                set_planes(&s->out[out], &s->p.format, 16, 16);
                if (!(ret = magvit_receive_frame(ses, &s->out[out].f)))
                    bad |= s->out[out].f.source != out || s->out[out].f.generated != (out == hole), out++;
                else
                    CU_ASSERT_EQUAL(ret, MAGVIT_ERR(EAGAIN));
            }
            bad |= out > i + 1 || (i < hole || hole < 0 || i >= hole + 15 ? out != i + 1 : out < hole);
        }
        if (bad)
            printf("hole in frame %d\n", hole);
        CU_ASSERT(!bad);
        CU_ASSERT_EQUAL(!f.jobs, hole < 0);
        magvit_session_close(&ses);
        free(s);
    }
}

/* A flat picture with a hole: made pixels have the level of their surroundings, whatever the decoder's error. */
static void check_flat_hole(int x, int y, int w, int h)
{
    Stream *s = stream_new(MAGVIT_TASK_INPAINT, 40, 40, 3);
    Fake f = { .fail_at = -1, .shift = 0.05f };

    for (int i = 0; i < s->nb_in; i++)
        for (int k = 0; k < 40 * 40; k++) {
            int cx = k % 40, cy = k / 40, hole = cx >= x && cx < x + w && cy >= y && cy < y + h;
            s->in[i].mem[k] = hole ? 235 : 120;
            s->in[i].f.data[1][cy / 2 * 20 + cx / 2] = 128;
            s->in[i].f.data[2][cy / 2 * 20 + cx / 2] = 128;
        }
    s->p.x = x;
    s->p.y = y;
    s->p.w = w;
    s->p.h = h;
    CU_ASSERT_EQUAL(stream_run(s, &f), 0);
    for (int i = 0; i < s->nb_out; i++) // the fill is black and shifted: the correction must still be that of the border
        for (int k = 0; k < 40 * 40; k++)
            if (k % 40 < x || k % 40 >= x + w || k / 40 < y || k / 40 >= y + h)
                CU_ASSERT_EQUAL(s->out[i].mem[k], 120);
    free(s);
}

static void test_flat_holes(void)
{
    check_flat_hole(10, 10, 6, 6);
    check_flat_hole(0, 0, 40, 12);
    check_flat_hole(3, 5, 30, 33);
    check_flat_hole(0, 0, 40, 40);
    check_flat_hole(39, 39, 1, 1);
}

static void test_outpaint(void)
{
    for (int n = 1; n <= 18; n += 17)
        for (int big = 0; big < 2; big++) {
            Stream *s = stream_new(MAGVIT_TASK_OUTPAINT, 11, 9, n);
            Fake f = { .fail_at = -1, .shift = 0.03f };

            s->p.x = big ? 8 : 0;
            s->p.y = big ? 20 : 0;
            s->p.out_width  = s->out_w = big ? 30 : 11;
            s->p.out_height = s->out_h = big ? 33 : 9;
            CU_ASSERT_EQUAL(stream_run(s, &f), 0);
            CU_ASSERT_EQUAL(s->nb_out, n);
            for (int i = 0; i < s->nb_out; i++) {
                CU_ASSERT_EQUAL(s->out[i].f.generated, big);
                for (int k = 0; k < 3; k++)
                    for (int y = 0; y < chroma(&s->p.format, k, 9, 1); y++) {
                        int w = chroma(&s->p.format, k, 11, 0), ow = chroma(&s->p.format, k, s->out_w, 0);
                        CU_ASSERT(!memcmp(s->in[i].f.data[k] + y * w,
                                          s->out[i].f.data[k] + (y + (k ? s->p.y / 2 : s->p.y)) * ow +
                                          (k ? s->p.x / 2 : s->p.x), w));
                    }
            }
            CU_ASSERT_EQUAL(f.jobs > 0, big);
            free(s);
        }
}

/* A canvas far larger than the window: no tile is made of nothing. */
static void test_outpaint_far(void)
{
    for (int scale = MAGVIT_SCALE_AUTO; scale <= MAGVIT_SCALE_FIT; scale++) {
        Stream *s = stream_new(MAGVIT_TASK_OUTPAINT, 5, 3, 3);
        Fake f = { .fail_at = -1, .shift = 0.02f };

        s->p.scale = scale;
        s->p.x = 30;
        s->p.y = 2;
        s->p.out_width  = s->out_w = 40;
        s->p.out_height = s->out_h = 37;
        CU_ASSERT_EQUAL(stream_run(s, &f), 0);
        CU_ASSERT_EQUAL(s->nb_out, 3);
        CU_ASSERT(f.jobs > 0 && !f.blind);
        CU_ASSERT(scale != MAGVIT_SCALE_TILE || f.jobs > 16); // steps of 4 over borders of 30 and 32
        for (int i = 0; i < s->nb_out; i++)
            for (int y = 0; y < 3; y++)
                CU_ASSERT(!memcmp(s->in[i].f.data[0] + y * 5, s->out[i].f.data[0] + (y + 2) * 40 + 30, 5));
        free(s);
    }
}

/* ---- errors and state ----------------------------------------------------- */

static void expect_bad(MagvitParams p, const char *field)
{
    Fake f = { .fail_at = -1 };
    MgvSynth synth = fake_synth(&f);
    MagvitSession *s;

    unit_log_reset();
    CU_ASSERT_EQUAL(mgv_session_open(&s, &synth, &p), MAGVIT_ERR(EINVAL));
    CU_ASSERT_PTR_NULL(s);
    CU_ASSERT_EQUAL(unit_lines, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, field));
    CU_ASSERT_EQUAL(f.freed, 1);
}

#define EXPECT_BAD(task, name, text)                  \
    do {                                              \
        Stream *s_ = stream_new(task, 20, 20, 0);     \
        MagvitParams p = s_->p;                       \
        p.out_width = p.out_height = 40;              \
        p.frames = 3;                                 \
        p.name;                                       \
        expect_bad(p, text);                          \
        free(s_);                                     \
    } while (0)

static void test_bad_params(void)
{
    EXPECT_BAD(MAGVIT_TASK_INTERP, width = 0, "width is 0");
    EXPECT_BAD(MAGVIT_TASK_INTERP, height = 40000, "height");
    EXPECT_BAD(MAGVIT_TASK_INTERP, factor = 16, "factor is 16, must be in [0,15]");
    EXPECT_BAD(MAGVIT_TASK_INTERP, factor = 0, "rate is 0/1");
    EXPECT_BAD(MAGVIT_TASK_INTERP, time_base.num = 0, "time_base");
    EXPECT_BAD(MAGVIT_TASK_INTERP, time_base.den = 2147483647, "time_base");
    EXPECT_BAD(MAGVIT_TASK_INTERP, format.depth = 7, "depth");
    EXPECT_BAD(MAGVIT_TASK_INTERP, format.chroma_w = 3, "chroma_w");
    EXPECT_BAD(MAGVIT_TASK_INTERP, tile_overlap = 9, "tile_overlap");
    EXPECT_BAD(MAGVIT_TASK_INTERP, first_index = -1, "first_index");
    EXPECT_BAD(MAGVIT_TASK_INPAINT, overlap = 9, "overlap");
    EXPECT_BAD(MAGVIT_TASK_INPAINT, w = 21, "w is 21, must be in [0,20]");
    EXPECT_BAD(MAGVIT_TASK_INPAINT, x = -1, "x is -1");
    EXPECT_BAD(MAGVIT_TASK_INPAINT, feather = 1025, "feather is 1025, must be in [0,1024]");
    EXPECT_BAD(MAGVIT_TASK_OUTPAINT, out_width = 19, "out_width");
    EXPECT_BAD(MAGVIT_TASK_OUTPAINT, x = 21, "x is 21");
    EXPECT_BAD(MAGVIT_TASK_OUTPAINT, y = 3, "y is 3, must be a multiple of 2");
    EXPECT_BAD(MAGVIT_TASK_PREDICT, frames = 0, "frames");
    EXPECT_BAD(MAGVIT_TASK_GENERATE, frames = -2, "frames is -2");
    EXPECT_BAD(MAGVIT_TASK_PREDICT, cond_frames = 16, "cond_frames");
    EXPECT_BAD(MAGVIT_TASK_GENERATE, frame_rate.num = 0, "frame_rate");
    EXPECT_BAD(MAGVIT_TASK_INTERP, fallback = 3, "fallback is 3");
    EXPECT_BAD(MAGVIT_TASK_INTERP, ahead = 32, "ahead is 32");
    EXPECT_BAD(MAGVIT_TASK_INTERP, max_memory = -1, "max_memory is -1");
    EXPECT_BAD(9, width = 20, "task is 9");
}

static void test_bad_frames(void)
{
    Stream *s = stream_new(MAGVIT_TASK_INTERP, 6, 6, 4);
    Fake f = { .fail_at = -1 };
    MgvSynth synth = fake_synth(&f);
    MagvitSession *ses;
    MagvitFrame bad;

    CU_ASSERT_EQUAL_FATAL(mgv_session_open(&ses, &synth, &s->p), 0);
    unit_log_reset();
    bad = s->in[0].f;
    bad.data[2] = NULL;
    CU_ASSERT_EQUAL(magvit_send_frame(ses, &bad), MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(magvit_send_frame(ses, &s->in[1].f), 0);
    CU_ASSERT_EQUAL(magvit_send_frame(ses, &s->in[1].f), MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(magvit_send_frame(ses, &s->in[0].f), MAGVIT_ERR(EINVAL));
    CU_ASSERT_EQUAL(unit_lines, 3);
    bad = s->in[2].f;
    bad.pts = MAGVIT_NOPTS;
    CU_ASSERT_EQUAL(magvit_send_frame(ses, &bad), 0);
    CU_ASSERT_EQUAL(magvit_send_frame(ses, NULL), 0);
    CU_ASSERT_EQUAL(magvit_send_frame(ses, NULL), MAGVIT_ERROR_EOF);
    for (int i = 0; i < 4; i++) { // pts 3 and, by its duration, 6, in a base twice as fine
        set_planes(&s->out[0], &s->p.format, 6, 6);
        CU_ASSERT_EQUAL(magvit_receive_frame(ses, &s->out[0].f), 0);
        CU_ASSERT_EQUAL(s->out[0].f.pts, 6 + 3 * i);
    }
    CU_ASSERT_EQUAL(magvit_receive_frame(ses, &s->out[0].f), MAGVIT_ERROR_EOF);
    CU_ASSERT_EQUAL(magvit_receive_frame(ses, &s->out[0].f), MAGVIT_ERROR_EOF);
    magvit_session_close(&ses);
    free(s);
}

/* A failed or cancelled window can be asked for again, and no frame is lost. Flushing begins anew. */
static void test_retry_and_flush(void)
{
    for (int task = 0; task < MAGVIT_TASK_NB; task++) {
        Stream *s = stream_new(task, 16, 16, task == MAGVIT_TASK_GENERATE ? 0 : 20), *twin = calloc(1, sizeof(*twin));
        Fake f = { .fail_at = -1, .mark = 1 };
        MgvSynth synth = fake_synth(&f);
        MagvitSession *ses;
        int done, total, ret;

        s->p.w = s->p.h = 5;
        s->p.frames     = 20;
        s->p.out_width  = s->out_w = task == MAGVIT_TASK_OUTPAINT ? 24 : 16;
        s->p.out_height = s->out_h = task == MAGVIT_TASK_OUTPAINT ? 24 : 16;
        CU_ASSERT_EQUAL_FATAL(mgv_session_open(&ses, &synth, &s->p), 0);
        CU_ASSERT_EQUAL(stream_run_session(s, ses), 0);
        memcpy(twin, s, sizeof(*twin));
        magvit_session_progress(ses, &done, &total);
        CU_ASSERT(done == total && total > 0);

        magvit_session_flush(ses);
        f.fail_at = f.jobs;
        f.error   = MAGVIT_ERROR_DEVICE;
        CU_ASSERT_EQUAL(stream_run_session(s, ses), MAGVIT_ERROR_DEVICE);
        ret = s->nb_out; // go on: the frames so far were counted
        magvit_session_cancel(ses);
        CU_ASSERT_EQUAL(magvit_receive_frame(ses, &s->out[ret].f), MAGVIT_ERR(ECANCELED));
        CU_ASSERT_EQUAL(magvit_receive_frame(ses, &s->out[ret].f), 0);
        for (int i = 0; i <= ret; i++) {
            CU_ASSERT(same_samples(s, &s->out[i], &twin->out[i]));
            CU_ASSERT_EQUAL(s->out[i].f.pts, twin->out[i].f.pts);
        }
        magvit_session_flush(ses);
        CU_ASSERT_EQUAL(stream_run_session(s, ses), 0);
        CU_ASSERT_EQUAL(s->nb_out, twin->nb_out);
        for (int i = 0; i < s->nb_out; i++)
            CU_ASSERT(same_samples(s, &s->out[i], &twin->out[i]));
        magvit_session_close(&ses);
        free(s);
        free(twin);
    }
}

/* A window that fails in the middle of a stream, its frames copied or blended: nothing is lost, the rest is made. */
static void check_fallback(int task, enum MagvitFallback fallback)
{
    Stream *s = stream_new(task, 16, 16, task == MAGVIT_TASK_GENERATE ? 0 : 40);
    Fake f = { .fail_at = 1, .error = MAGVIT_ERROR_DEVICE, .mark = 1 };
    int made = 0, plain = 0, blend = task == MAGVIT_TASK_INTERP && fallback == MAGVIT_FALLBACK_BLEND;

    s->p.w = s->p.h = 5;
    s->p.frames = 40;
    s->p.x      = task == MAGVIT_TASK_OUTPAINT ? 8 : 0;
    s->p.out_width  = s->out_w = 16 + s->p.x;
    s->p.out_height = 16;
    s->p.factor   = 4;
    s->p.overlap  = 0;
    s->p.scale    = MAGVIT_SCALE_FIT;
    s->p.fallback = fallback;
    unit_log_reset();
    CU_ASSERT_EQUAL(stream_run(s, &f), 0);
    CU_ASSERT(unit_lines == 1 + (task == MAGVIT_TASK_GENERATE) && strstr(unit_line, blend ? "blended" : "copied"));
    CU_ASSERT_EQUAL(s->nb_out, task == MAGVIT_TASK_INTERP ? 160 : task == MAGVIT_TASK_PREDICT ? 80 : 40);
    for (int i = 0; i < s->nb_out; i++) {
        const MagvitFrame *o = &s->out[i].f;
        const Picture *at = o->source >= 0 ? &s->in[o->source] : NULL;
        int phase = i % 4;

        made += o->window >= 0;
        if (o->window >= 0 || (task == MAGVIT_TASK_INTERP && (!phase || o->source == 39)) ||
            (task == MAGVIT_TASK_PREDICT && i < 40))
            continue;
        plain++;
        CU_ASSERT_EQUAL(o->generated, blend);
        for (int k = 0; blend && k < 256; k++) {
            double want = at->mem[k] + phase / 4.0 * (s->in[o->source + 1].mem[k] - at->mem[k]);
            CU_ASSERT(abs(s->out[i].mem[k] - (int)(want + 0.5)) <= 1);
        }
        if (task == MAGVIT_TASK_INPAINT || (task == MAGVIT_TASK_INTERP && !blend))
            CU_ASSERT(same_samples(s, &s->out[i], at));
        for (int k = 0; task == MAGVIT_TASK_OUTPAINT && k < 24 * 16; k++)
            CU_ASSERT_EQUAL(s->out[i].mem[k], at->mem[k / 24 * 16 + MGV_MAX(k % 24 - 8, 0)]);
        if (task == MAGVIT_TASK_PREDICT || (task == MAGVIT_TASK_GENERATE && i))
            CU_ASSERT(same_samples(s, &s->out[i], &s->out[i - 1]));
    }
    CU_ASSERT(made > 0 && plain > 0);
    free(s);
}

static void test_fallback(void)
{
    for (int i = 0; i < 2 * MAGVIT_TASK_NB; i++)
        check_fallback(i / 2, i % 2 ? MAGVIT_FALLBACK_BLEND : MAGVIT_FALLBACK_COPY);
}

static void test_no_memory(void)
{
    for (int task = 0; task < MAGVIT_TASK_NB; task++) {
        Stream *s = stream_new(task, 16, 16, task == MAGVIT_TASK_GENERATE ? 0 : 18);
        int ret = MAGVIT_ERR(ENOMEM), k;

        s->p.w = s->p.h = 5;
        s->p.feather    = 2;
        s->p.frames     = 2;
        s->p.out_width  = s->out_w = task == MAGVIT_TASK_OUTPAINT ? 24 : 16;
        s->p.out_height = s->out_h = task == MAGVIT_TASK_OUTPAINT ? 24 : 16;
        for (k = 1; ret == MAGVIT_ERR(ENOMEM) && k < 1000; k++) {
            Fake f = { .fail_at = -1 };

            mgv_alloc_fail_at = k;
            ret = stream_run(s, &f);
            CU_ASSERT_EQUAL(f.freed, 1);
        }
        CU_ASSERT_EQUAL(ret, 0);
        CU_ASSERT(k > 10);
        mgv_alloc_fail_at = 0;
        free(s);
    }
}

CU_ErrorCode add_session_suite(void)
{
    static const UnitTest tests[] = {
        { "1..40 frames, factors 1..15", test_all_factors },
        { "no frames", test_no_frames },
        { "rates", test_rates },
        { "rate of variable input", test_rate_of_vfr },
        { "parts equal the whole", test_shards },
        { "no flicker", test_no_flicker },
        { "inpainting 1..40 frames", test_inpaint_counts },
        { "masks", test_inpaint_masks },
        { "frames without a hole", test_inpaint_passes },
        { "holes of any size", test_flat_holes },
        { "outpainting", test_outpaint },
        { "outpainting far", test_outpaint_far },
        { "bad parameters", test_bad_params },
        { "bad frames", test_bad_frames },
        { "retry and flush", test_retry_and_flush },
        { "fallback", test_fallback },
        { "out of memory", test_no_memory },
        { NULL, NULL }
    };
    return unit_add("session", tests);
}
