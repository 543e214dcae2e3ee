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
 * The decoding loop on the device: encoder, then the transformer and the draws
 * of libmagvit/sampler.c over and over, then the decoder, in one submission, so
 * that neither logits nor codes cross the bus. A step is one command buffer: it
 * counts itself, and what varies from step to step lies in memory. Two runs may
 * be on their way, with host memory of their own: what one takes and gives is
 * brought while the other computes, where the device has queues for that.
 */

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "kernels/vk.h"

#define WHAT "decoding loop"

enum { START, IDS, COMMIT, END }; ///< PART of shaders/sampler.comp.glsl

/** As in shaders/sampler.glsl. */
typedef struct Step {
    uint32_t masked;
    float noise, noise_low;
    uint32_t reserved;
} Step;

typedef struct Head {
    uint32_t seed_low, seed_high, top_k;
    float temperature, top_p, top_p_low, guidance;
    uint32_t reserved[7];
    int32_t step;
    uint32_t unused;
    Step steps[MGV_LOOP_STEPS];
    uint32_t failed[MGV_LOOP_SAMPLES];
} Head;

typedef struct Sample {
    uint32_t window;
    int32_t prefix[MGV_LOOP_PREFIX], without[MGV_LOOP_PREFIX];
    uint32_t reserved[3];
} Sample;

enum { TOKEN_BYTES = 24 };

_Static_assert(offsetof(Head, steps) == 64 && sizeof(Sample) == 32, "layout of shaders/sampler.glsl");

/** Memory that something passes between the host and what computes. */
typedef struct Passage {
    MgvVkBuffer host;
    MgvVkBuffer device; ///< where a queue of its own brings it, or takes it from; else none
} Passage;

/** One run on its way. */
typedef struct Run {
    Passage upload;       ///< head, samples, conditions
    Passage in, known;    ///< encoder's and decoder's inputs
    Passage result;       ///< head, codes
    Passage out;          ///< decoder's outputs
    int passes;
    uint64_t brought, done, taken; ///< values of the timelines of up, queue and down when it is over there
} Run;

struct MgvLoop {
    MgvDevice *dev;
    MgvLoopShape s;
    MgvVkBuffer state;    ///< head, samples, conditions, tokens, codes
    size_t samples_at, conds_at, tokens_at, codes_at;
    Run runs[MGV_LOOP_RUNS];
    int next, nb;         ///< run that begins next, runs on their way
    MgvVkCommands *before; ///< [runs][samples][2] without and with the encoder; made when first needed
    MgvVkCommands *step;   ///< [samples][2] without and with guidance
    MgvVkCommands *after;  ///< [runs][samples]
    MgvVkCommands *bring;  ///< as before, what the queue up does of it
    MgvVkCommands *take;   ///< as after, what the queue down does of it
};

/* ---- recording ---- */

static void set_push(const MgvLoop *l, MgvVkPush *p, int n)
{
    const uint32_t numbers[] = {
        (uint32_t)n, (uint32_t)l->s.tokens, (uint32_t)l->s.prefix, (uint32_t)(l->s.prefix + l->s.tokens),
        (uint32_t)l->s.mask,
    };

    *p = (MgvVkPush){
        .in     = { l->state.address, l->state.address + l->samples_at },
        .weight = { l->state.address + l->tokens_at, l->state.address + l->conds_at },
    };
    memcpy(p->number, numbers, sizeof(numbers));
}

/* A part of the loop beside the draws: a thread a token, or an id. */
static int record_part(const MgvLoop *l, VkCommandBuffer c, int n, uint32_t part, int guided)
{
    const uint32_t spec[] = { part, (uint32_t)guided };
    const uint64_t threads = (uint64_t)n * (part == IDS ? (1 + guided) * (l->s.prefix + l->s.tokens) : l->s.tokens);
    MgvVkDispatch d = { .groups = (threads + 255) / 256 };
    int ret;

    set_push(l, &d.push, n);
    if (part == START && l->s.encoder)
        d.push.in[2] = mgv_vk_exec_address(l->s.encoder, mgv_vk_exec_plan(l->s.encoder)->outputs[0]);
    d.push.out = part == IDS ? mgv_vk_exec_address(l->s.transformer, mgv_vk_exec_plan(l->s.transformer)->inputs[0]) :
                               l->state.address + l->codes_at;
    RET(mgv_vk_pipeline(l->dev, &d.pipeline, MGV_VK_sampler, spec, 2));
    mgv_vk_record_dispatch(l->dev, c, &d);
fail:
    return ret;
}

static int record_draws(const MgvLoop *l, VkCommandBuffer c, int n, int guided)
{
    const uint32_t spec[] = { (uint32_t)guided };
    MgvVkDispatch d = { .groups = (uint64_t)n * l->s.tokens };
    int ret;

    set_push(l, &d.push, n);
    d.push.in[2] = mgv_vk_exec_address(l->s.transformer, mgv_vk_exec_plan(l->s.transformer)->outputs[0]);
    d.push.number[4] = (uint32_t)l->s.codes;
    RET(mgv_vk_pipeline(l->dev, &d.pipeline, MGV_VK_draw, spec, 1));
    mgv_vk_record_dispatch(l->dev, c, &d);
fail:
    return ret;
}

/* What the queue that computes reads or writes. */
static const MgvVkBuffer *device_side(const Passage *p)
{
    return p->device.buffer ? &p->device : &p->host;
}

static int record_before(const MgvLoop *l, VkCommandBuffer c, const Run *r, int n, int encode)
{
    const VkBufferCopy copy = { 0, 0, r->upload.host.size };
    int ret;

    l->dev->f.CmdCopyBuffer(c, device_side(&r->upload)->buffer, l->state.buffer, 1, &copy);
    mgv_vk_barrier(l->dev, c, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
    if (encode) {
        RET(mgv_vk_exec_prepare(l->s.encoder, n));
        mgv_vk_exec_record(l->s.encoder, c, n, device_side(&r->in), NULL);
        mgv_vk_barrier_compute(l->dev, c);
    }
    RET(record_part(l, c, n, START, 0));
fail:
    return ret;
}

static int record_step(const MgvLoop *l, VkCommandBuffer c, int n, int guided)
{
    const int sequences = n * (1 + guided);
    int ret;

    RET(mgv_vk_exec_prepare(l->s.transformer, sequences));
    RET(record_part(l, c, n, IDS, guided));
    mgv_vk_barrier_compute(l->dev, c);
    mgv_vk_exec_record(l->s.transformer, c, sequences, NULL, NULL);
    mgv_vk_barrier_compute(l->dev, c);
    RET(record_draws(l, c, n, guided));
    mgv_vk_barrier_compute(l->dev, c);
    RET(record_part(l, c, n, COMMIT, guided));
fail:
    return ret;
}

static int record_after(const MgvLoop *l, VkCommandBuffer c, const Run *r, int n)
{
    const size_t bytes = (size_t)n * l->s.tokens * sizeof(int32_t);
    const VkBufferCopy head = { 0, 0, sizeof(Head) }, codes = { l->codes_at, sizeof(Head), bytes };
    const VkBufferCopy decoded = { l->codes_at, 0, bytes };
    int ret;

    RET(record_part(l, c, n, END, 0));
    mgv_vk_barrier(l->dev, c, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                   VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_READ_BIT);
    l->dev->f.CmdCopyBuffer(c, l->state.buffer, device_side(&r->result)->buffer, 1, &head);
    l->dev->f.CmdCopyBuffer(c, l->state.buffer, device_side(&r->result)->buffer, 1, &codes);
    if (l->s.decoder) {
        l->dev->f.CmdCopyBuffer(c, l->state.buffer, device_side(&r->known)->buffer, 1, &decoded);
        mgv_vk_barrier(l->dev, c, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                       VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_READ_BIT);
        RET(mgv_vk_exec_prepare(l->s.decoder, n));
        mgv_vk_exec_record(l->s.decoder, c, n, device_side(&r->known), device_side(&r->out));
    }
    mgv_vk_barrier(l->dev, c, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT,
                   VK_ACCESS_HOST_READ_BIT);
fail:
    return ret;
}

/* Semaphores make it visible in the other queue. */
static void record_bring(const MgvLoop *l, VkCommandBuffer c, const Run *r, int n, int encode)
{
    const VkBufferCopy head = { 0, 0, r->upload.host.size };

    l->dev->f.CmdCopyBuffer(c, r->upload.host.buffer, r->upload.device.buffer, 1, &head);
    if (encode)
        mgv_vk_exec_copy(l->s.encoder, c, n, 0, &r->in.host, &r->in.device);
    if (l->s.decoder)
        mgv_vk_exec_copy(l->s.decoder, c, n, 0, &r->known.host, &r->known.device);
}

static void record_take(const MgvLoop *l, VkCommandBuffer c, const Run *r, int n)
{
    const VkBufferCopy codes = { 0, 0, sizeof(Head) + (size_t)n * l->s.tokens * sizeof(int32_t) };

    l->dev->f.CmdCopyBuffer(c, r->result.device.buffer, r->result.host.buffer, 1, &codes);
    if (l->s.decoder)
        mgv_vk_exec_copy(l->s.decoder, c, n, 1, &r->out.device, &r->out.host);
    mgv_vk_barrier(l->dev, c, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT,
                   VK_ACCESS_HOST_READ_BIT);
}

enum Kind { BRING, BEFORE, STEP, AFTER, TAKE };

static int record(MgvLoop *l, VkCommandBuffer c, enum Kind kind, const Run *r, int n, int which)
{
    switch (kind) {
    case BRING:  record_bring(l, c, r, n, which); return 0;
    case BEFORE: return record_before(l, c, r, n, which);
    case STEP:   return record_step(l, c, n, which);
    case AFTER:  return record_after(l, c, r, n);
    default:     record_take(l, c, r, n); return 0;
    }
}

/* Record a command buffer, unless it was before. which: encode or guided. */
static int ready(MgvLoop *l, MgvVkCommands *c, enum Kind kind, const Run *r, int n, int which)
{
    const MgvVkQueue *q = kind == BRING ? &l->dev->up : kind == TAKE ? &l->dev->down : &l->dev->queue;
    int ret;

    if (c->buffer)
        return 0;
    RET(mgv_vk_commands_create(l->dev, q, c));
    RET(mgv_vk_begin(l->dev, c, WHAT));
    RET(record(l, c->buffer, kind, r, n, which));
    RET(mgv_vk_end(l->dev, c, WHAT));
    return 0;
fail:
    if (c->pool)
        mgv_vk_commands_destroy(l->dev, c);
    return ret;
}

/* ---- opening ---- */

static size_t aligned(size_t size)
{
    return MGV_ALIGN_UP(size, MGV_ALIGNMENT);
}

static int create_passage(MgvLoop *l, Passage *p, size_t size, enum MgvVkUse use, const char *what)
{
    int ret;

    RET(mgv_vk_buffer_create(l->dev, &p->host, size, use, what));
    if (use == MGV_VK_UPLOAD ? l->dev->up.queue : l->dev->down.queue)
        RET(mgv_vk_buffer_create(l->dev, &p->device, size, MGV_VK_PASSAGE, what));
fail:
    return ret;
}

static int create_run(MgvLoop *l, Run *r)
{
    int ret;

    RET(create_passage(l, &r->upload, l->tokens_at, MGV_VK_UPLOAD, "inputs of the " WHAT));
    RET(create_passage(l, &r->result, l->state.size - l->codes_at + sizeof(Head), MGV_VK_READBACK, "codes of the " WHAT));
    if (l->s.encoder)
        RET(create_passage(l, &r->in, mgv_vk_exec_input_at(l->s.encoder, mgv_vk_exec_plan(l->s.encoder)->nb_inputs),
                           MGV_VK_UPLOAD, "clips of the " WHAT));
    if (l->s.decoder) {
        const MgvPlan *p = mgv_vk_exec_plan(l->s.decoder);

        RET(create_passage(l, &r->known, mgv_vk_exec_input_at(l->s.decoder, p->nb_inputs), MGV_VK_UPLOAD,
                           "known pixels of the " WHAT));
        RET(create_passage(l, &r->out, mgv_vk_exec_output_at(l->s.decoder, p->nb_outputs), MGV_VK_READBACK,
                           "results of the " WHAT));
    }
fail:
    return ret;
}

static int create(MgvLoop *l)
{
    const size_t n = (size_t)l->s.samples, tokens = n * l->s.tokens;
    int ret = MAGVIT_ERR(ENOMEM);

    l->before = mgv_calloc(MGV_LOOP_RUNS * n * 2, sizeof(*l->before));
    l->step   = mgv_calloc(n * 2, sizeof(*l->step));
    l->after  = mgv_calloc(MGV_LOOP_RUNS * n, sizeof(*l->after));
    l->bring  = mgv_calloc(MGV_LOOP_RUNS * n * 2, sizeof(*l->bring));
    l->take   = mgv_calloc(MGV_LOOP_RUNS * n, sizeof(*l->take));
    if (!l->before || !l->step || !l->after || !l->bring || !l->take) {
        mgv_err(l->dev->log, WHAT ": out of memory");
        return ret;
    }
    l->samples_at = aligned(sizeof(Head));
    l->conds_at   = l->samples_at + aligned(n * sizeof(Sample));
    l->tokens_at  = l->conds_at + aligned(tokens * sizeof(int32_t));
    l->codes_at   = l->tokens_at + aligned(tokens * TOKEN_BYTES);
    RET(mgv_vk_buffer_create(l->dev, &l->state, l->codes_at + aligned(tokens * sizeof(int32_t)), MGV_VK_LOCAL,
                             "tokens of the " WHAT));
    for (int i = 0; i < MGV_LOOP_RUNS; i++)
        RET(create_run(l, &l->runs[i]));
    RET(ready(l, &l->step[0], STEP, NULL, 1, 0)); // pipelines take long to make: not when the first window waits
fail:
    return ret;
}

int mgv_vk_loop_open(MgvLoop **out, MgvDevice *dev, const MgvLoopShape *s)
{
    MgvLoop *l = mgv_calloc(1, sizeof(*l));
    int ret;

    *out = NULL;
    if (!l) {
        mgv_err(dev->log, WHAT ": out of memory");
        return MAGVIT_ERR(ENOMEM);
    }
    mgv_assert(s->samples >= 1 && s->samples <= MGV_LOOP_SAMPLES && s->prefix >= 0 && s->prefix <= MGV_LOOP_PREFIX);
    l->dev = dev;
    l->s   = *s;
    RET(create(l));
    *out = l;
    return 0;
fail:
    mgv_vk_loop_close(&l);
    return ret;
}

static void destroy_commands(MgvLoop *l, MgvVkCommands **list, int nb)
{
    for (int i = 0; *list && i < nb; i++)
        mgv_vk_commands_destroy(l->dev, &(*list)[i]);
    mgv_freep(list);
}

static void destroy_run(MgvDevice *dev, Run *r)
{
    Passage *const list[] = { &r->upload, &r->in, &r->known, &r->result, &r->out };

    for (int i = 0; i < (int)MGV_ARRAY_LEN(list); i++) {
        mgv_vk_buffer_destroy(dev, &list[i]->host);
        mgv_vk_buffer_destroy(dev, &list[i]->device);
    }
}

void mgv_vk_loop_close(MgvLoop **out)
{
    MgvLoop *l = *out;
    MgvDevice *dev;

    if (!l)
        return;
    dev = l->dev;
    pthread_mutex_lock(&dev->lock);
    dev->f.DeviceWaitIdle(dev->device);
    pthread_mutex_unlock(&dev->lock);
    destroy_commands(l, &l->before, MGV_LOOP_RUNS * l->s.samples * 2);
    destroy_commands(l, &l->step, l->s.samples * 2);
    destroy_commands(l, &l->after, MGV_LOOP_RUNS * l->s.samples);
    destroy_commands(l, &l->bring, MGV_LOOP_RUNS * l->s.samples * 2);
    destroy_commands(l, &l->take, MGV_LOOP_RUNS * l->s.samples);
    for (int i = 0; i < MGV_LOOP_RUNS; i++)
        destroy_run(dev, &l->runs[i]);
    mgv_vk_buffer_destroy(dev, &l->state);
    mgv_freep(out);
}

/* ---- running ---- */

static void put_head(Head *h, const MgvLoopParams *p)
{
    *h = (Head){
        .seed_low    = (uint32_t)p->seed,
        .seed_high   = (uint32_t)(p->seed >> 32),
        .top_k       = (uint32_t)p->top_k,
        .temperature = (float)p->temperature,
        .top_p       = (float)p->top_p,
        .top_p_low   = (float)(p->top_p - (float)p->top_p),
        .guidance    = (float)p->guidance,
    };
    for (int i = 0; i < p->passes; i++) {
        const float noise = (float)p->noise[i];

        h->steps[i] = (Step){ (uint32_t)p->masked[i], noise, (float)(p->noise[i] - noise), 0 };
    }
}

/* One sample of an input or output. */
static size_t sample_bytes(const MgvPlan *p, MgvT tensor)
{
    return p->tensors[tensor].size / p->tensors[tensor].shape.n;
}

static void put_sample(const MgvLoop *l, const Run *r, const MgvLoopSample *s, int i)
{
    uint8_t *up = r->upload.host.map;
    Sample to = { .window = s->window };

    memcpy(to.prefix, s->prefix, sizeof(to.prefix));
    memcpy(to.without, s->without, sizeof(to.without));
    memcpy(up + l->samples_at + i * sizeof(to), &to, sizeof(to));
    memcpy(up + l->conds_at + (size_t)i * l->s.tokens * sizeof(int32_t), s->cond, l->s.tokens * sizeof(int32_t));
    if (s->clip) {
        const MgvPlan *p = mgv_vk_exec_plan(l->s.encoder);
        const size_t size = sample_bytes(p, p->inputs[0]);

        memcpy((uint8_t *)r->in.host.map + i * size, s->clip, size);
    }
    if (s->known) {
        const MgvPlan *p = mgv_vk_exec_plan(l->s.decoder);
        const size_t size = sample_bytes(p, p->inputs[1]);

        memcpy((uint8_t *)r->known.host.map + mgv_vk_exec_input_at(l->s.decoder, 1) + i * size, s->known, size);
    }
}

/* All are recorded before the first is submitted, so that little can fail in between. */
static int send(MgvLoop *l, Run *r, int n, int encode, int guided)
{
    const int i = (int)(r - l->runs) * l->s.samples + n - 1;
    MgvVkCommands *before = &l->before[2 * i + encode], *step = &l->step[2 * (n - 1) + guided], *after = &l->after[i];
    MgvVkCommands *bring = &l->bring[2 * i + encode], *take = &l->take[i];
    VkCommandBuffer list[MGV_LOOP_STEPS + 2];
    MgvDevice *dev = l->dev;
    MgvVkPoint ready_at = { NULL };
    int ret;

    RET(ready(l, before, BEFORE, r, n, encode));
    RET(ready(l, step, STEP, r, n, guided));
    RET(ready(l, after, AFTER, r, n, 0));
    if (dev->up.queue)
        RET(ready(l, bring, BRING, r, n, encode));
    if (dev->down.queue)
        RET(ready(l, take, TAKE, r, n, 0));
    list[0] = before->buffer;
    for (int k = 1; k <= r->passes; k++)
        list[k] = step->buffer;
    list[r->passes + 1] = after->buffer;
    if (dev->up.queue) {
        RET(mgv_vk_submit(dev, &dev->up, &bring->buffer, 1, ready_at, &r->brought, WHAT));
        ready_at = (MgvVkPoint){ &dev->up, r->brought };
    }
    RET(mgv_vk_submit(dev, &dev->queue, list, r->passes + 2, ready_at, &r->done, WHAT));
    if (dev->down.queue)
        RET(mgv_vk_submit(dev, &dev->down, &take->buffer, 1, (MgvVkPoint){ &dev->queue, r->done }, &r->taken, WHAT));
fail:
    return ret;
}

/* Until nothing that was submitted of a run touches its memory. */
static int wait_run(const MgvLoop *l, const Run *r)
{
    int ret;

    RET(mgv_vk_wait(l->dev, &l->dev->up, r->brought, WHAT));
    RET(mgv_vk_wait(l->dev, &l->dev->queue, r->done, WHAT));
    RET(mgv_vk_wait(l->dev, &l->dev->down, r->taken, WHAT));
fail:
    return ret;
}

int mgv_vk_loop_start(MgvLoop *l, const MgvLoopParams *p, const MgvLoopSample *list, int n)
{
    Run *r = &l->runs[l->next];
    int encode = 0, ret;

    mgv_assert(l->nb < MGV_LOOP_RUNS && n >= 1 && n <= l->s.samples && p->passes >= 1 && p->passes <= MGV_LOOP_STEPS);
    RET(wait_run(l, r)); // a run that was stopped may not have ended
    put_head(r->upload.host.map, p);
    for (int i = 0; i < n; i++) {
        put_sample(l, r, &list[i], i);
        encode |= list[i].clip != NULL;
    }
    r->passes = p->passes;
    RET(send(l, r, n, encode, p->guidance > 0));
    l->next = (l->next + 1) % MGV_LOOP_RUNS;
    l->nb++;
fail:
    return ret;
}

static void take_sample(const MgvLoop *l, const Run *r, const MgvLoopSample *s, int i)
{
    const MgvPlan *p = l->s.decoder ? mgv_vk_exec_plan(l->s.decoder) : NULL;
    void *const to[] = { s->out, s->gate };

    if (s->codes)
        memcpy(s->codes, (const uint8_t *)r->result.host.map + sizeof(Head) + (size_t)i * l->s.tokens * sizeof(int32_t),
               l->s.tokens * sizeof(int32_t));
    for (int k = 0; k < 2; k++)
        if (to[k]) {
            const size_t size = sample_bytes(p, p->outputs[k]);

            memcpy(to[k], (const uint8_t *)r->out.host.map + mgv_vk_exec_output_at(l->s.decoder, k) + i * size, size);
        }
}

int mgv_vk_loop_finish(MgvLoop *l, MgvLoopSample *list, int n, MgvLoopFn *fn, void *opaque)
{
    const Run *r = &l->runs[(l->next + MGV_LOOP_RUNS - l->nb) % MGV_LOOP_RUNS];
    int ret = 0;

    mgv_assert(l->nb > 0);
    l->nb--;
    if (!list)
        return 0;
    for (int i = r->passes; fn && i > 0; i--) {
        RET(mgv_vk_wait(l->dev, &l->dev->queue, r->done - i, WHAT));
        RET(fn(opaque));
    }
    RET(wait_run(l, r));
    for (int i = 0; i < n; i++) {
        list[i].failed = (int)((const Head *)r->result.host.map)->failed[i];
        take_sample(l, r, &list[i], i);
    }
fail:
    return ret;
}
