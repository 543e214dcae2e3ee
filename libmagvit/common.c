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
 * Logging, error texts, memory, integer rescaling, SHA-256.
 */

#ifdef __linux__
#include <malloc.h>
#endif
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libmagvit/common.h"

/** Instructions for SHA-256, of which opening a model would otherwise consist: a sixth of the time. */
#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_SHA 1
#include <cpuid.h>
#include <immintrin.h>
#else
#define HAVE_SHA 0
#endif

long mgv_alloc_fail_at;
int mgv_plain_sha;

/* Names in a line may come from a hostile file: keep it one line, and printable. */
static void sanitize(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = '?';
}

void mgv_log(const MagvitLogger *log, enum MagvitLogLevel level, const char *fmt, ...)
{
    char line[1024];
    va_list ap;

    if (!log || !log->fn || log->level < level)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    sanitize(line);
    log->fn(log->cookie, level, line);
}

void mgv_log_stderr(void *cookie, enum MagvitLogLevel level, const char *line)
{
    static const char *const prefix[] = { "", "error: ", "warning: ", "", "", "" };

    fprintf(stderr, "magvit: %s%s\n", level < MGV_ARRAY_LEN(prefix) ? prefix[level] : "", line);
}

const char *magvit_strerror(int err)
{
    switch (err) {
    case 0:                       return "success";
    case MAGVIT_ERR(EAGAIN):      return "frames must be exchanged first";
    case MAGVIT_ERR(EINVAL):      return "invalid parameter";
    case MAGVIT_ERR(ENOMEM):      return "out of memory";
    case MAGVIT_ERR(ENOENT):      return "no such file";
    case MAGVIT_ERR(EIO):         return "input or output error";
    case MAGVIT_ERR(ENOTSUP):     return "not supported";
    case MAGVIT_ERR(ECANCELED):   return "cancelled";
    case MAGVIT_ERROR_EOF:        return "end of stream";
    case MAGVIT_ERROR_MODEL:      return "not a usable model file";
    case MAGVIT_ERROR_DEVICE:     return "compute library or device failed";
    default:                      return "unknown error";
    }
}

static int alloc_fails(void)
{
    return mgv_alloc_fail_at > 0 && --mgv_alloc_fail_at == 0;
}

void *mgv_alloc(size_t size)
{
    if (size > SIZE_MAX - MGV_ALIGNMENT || alloc_fails())
        return NULL;
    return aligned_alloc(MGV_ALIGNMENT, MGV_MAX(MGV_ALIGN_UP(size, MGV_ALIGNMENT), MGV_ALIGNMENT));
}

void *mgv_calloc(size_t nmemb, size_t size)
{
    void *p;

    if (size && nmemb > (SIZE_MAX - MGV_ALIGNMENT) / size)
        return NULL;
    p = mgv_alloc(nmemb * size);
    if (p)
        memset(p, 0, MGV_MAX(MGV_ALIGN_UP(nmemb * size, MGV_ALIGNMENT), MGV_ALIGNMENT));
    return p;
}

void mgv_freep(void *ptr_to_ptr)
{
    void *p;

    memcpy(&p, ptr_to_ptr, sizeof(p));
    free(p);
    p = NULL;
    memcpy(ptr_to_ptr, &p, sizeof(p));
}

void mgv_trim_memory(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

int mgv_buffer_grow(MgvBuffer *b, size_t nmemb, size_t size)
{
    if (nmemb * size <= b->size)
        return 0;
    mgv_freep(&b->data);
    b->size = 0;
    if (!(b->data = mgv_calloc(nmemb, size)))
        return MAGVIT_ERR(ENOMEM);
    b->size = nmemb * size;
    return 0;
}

char *mgv_strdup(const char *s)
{
    size_t size = s ? strlen(s) + 1 : 0;
    char *copy = s ? mgv_calloc(size, 1) : NULL;

    return copy ? memcpy(copy, s, size) : NULL;
}

const char *mgv_precision_name(enum MagvitPrecision precision)
{
    static const char *const names[] = { "auto", "f32", "bf16", "int8", "f16" };

    return names[precision];
}

double mgv_time(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + ts.tv_nsec * 1e-9;
}

int64_t mgv_rescale(int64_t a, int64_t num, int64_t den)
{
    __extension__ typedef __int128 wide;
    wide p, q;

    mgv_assert(den > 0);
    if (a == MAGVIT_NOPTS)
        return a;
    p = (wide)a * num;
    q = p < 0 ? -((-p + den / 2) / den) : (p + den / 2) / den;
    return (int64_t)MGV_CLAMP(q, -INT64_MAX, INT64_MAX);
}

/* SHA-256, FIPS 180-4. The names are those of the standard. */

static const uint32_t sha_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotr(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static void sha_schedule(uint32_t w[64], const uint8_t *block)
{
    int t;

    for (t = 0; t < 16; t++, block += 4)
        w[t] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 | block[3];
    for (; t < 64; t++) {
        uint32_t s0 = rotr(w[t - 15], 7) ^ rotr(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t s1 = rotr(w[t - 2], 17) ^ rotr(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = s1 + w[t - 7] + s0 + w[t - 16];
    }
}

/* a to h, where v[(i - t) % 8] is the i-th of them in round t. */
static void sha_round(uint32_t v[8], int t, uint32_t kw)
{
#define V(i) v[((i) - t) & 7]
    uint32_t s1 = rotr(V(4), 6) ^ rotr(V(4), 11) ^ rotr(V(4), 25);
    uint32_t ch = (V(4) & V(5)) ^ (~V(4) & V(6));
    uint32_t t1 = V(7) + s1 + ch + kw;
    uint32_t s0 = rotr(V(0), 2) ^ rotr(V(0), 13) ^ rotr(V(0), 22);
    uint32_t ma = (V(0) & V(1)) ^ (V(0) & V(2)) ^ (V(1) & V(2));

    V(3) += t1;
    V(7)  = t1 + s0 + ma;
#undef V
}

static void sha_blocks_c(uint32_t h[8], const uint8_t *p, size_t nb)
{
    uint32_t w[64], v[8];
    int t;

    for (; nb; nb--, p += 64) {
        sha_schedule(w, p);
        memcpy(v, h, sizeof(v));
        for (t = 0; t < 64; t++)
            sha_round(v, t, sha_k[t] + w[t]);
        for (t = 0; t < 8; t++)
            h[t] += v[t];
    }
}

#if HAVE_SHA
/* The instructions want the state as abef and cdgh, high lane first, and do two rounds each. */
__attribute__((target("sha,sse4.1"))) static void sha_blocks_x86(uint32_t h[8], const uint8_t *p, size_t nb)
{
    const __m128i bytes = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)h), 0xb1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)h + 1), 0x1b);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8), cdgh = _mm_blend_epi16(efgh, cdab, 0xf0), feba, dchg;
    int i;

    for (; nb; nb--, p += 64) {
        const __m128i abef0 = abef, cdgh0 = cdgh;
        __m128i w[4];

        for (i = 0; i < 4; i++)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)p + i), bytes);
        for (i = 0; i < 16; i++) {
            const __m128i a = w[i & 3], b = w[(i + 1) & 3], c = w[(i + 2) & 3], d = w[(i + 3) & 3];
            const __m128i kw = _mm_add_epi32(a, _mm_loadu_si128((const __m128i *)sha_k + i));

            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, kw);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(kw, 0x0e));
            w[i & 3] = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(a, b), _mm_alignr_epi8(d, c, 4)), d);
        }
        abef = _mm_add_epi32(abef, abef0);
        cdgh = _mm_add_epi32(cdgh, cdgh0);
    }
    feba = _mm_shuffle_epi32(abef, 0x1b);
    dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)h, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)h + 1, _mm_alignr_epi8(dchg, feba, 8));
}

static int has_sha(void)
{
    unsigned a, b, c, d;

    return __builtin_cpu_supports("sse4.1") && __get_cpuid_count(7, 0, &a, &b, &c, &d) && b >> 29 & 1;
}
#endif

static void sha_blocks(uint32_t h[8], const uint8_t *p, size_t nb)
{
#if HAVE_SHA
    if (!mgv_plain_sha && has_sha()) {
        sha_blocks_x86(h, p, nb);
        return;
    }
#endif
    sha_blocks_c(h, p, nb);
}

void mgv_sha256(char hex[65], const void *data, size_t size)
{
    uint32_t h[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    const uint8_t *p = data;
    uint8_t tail[128] = { 0 };
    size_t left, padded, i;

    sha_blocks(h, p, size / 64);
    p   += size / 64 * 64;
    left = size % 64;
    if (left)
        memcpy(tail, p, left);
    tail[left] = 0x80;
    padded = left < 56 ? 64 : 128;
    for (i = 0; i < 8; i++)
        tail[padded - 1 - i] = (uint8_t)((uint64_t)size * 8 >> 8 * i);
    sha_blocks(h, tail, padded / 64);
    for (i = 0; i < 8; i++)
        snprintf(hex + 8 * i, 9, "%08x", h[i]);
}

void mgv_share_parts(const MgvTeam *team, int nb, MgvPartFn *fn, void *opaque)
{
    if (team && team->share) {
        team->share(team->device, nb, fn, opaque);
        return;
    }
    for (int part = 0; part < nb; part++)
        fn(opaque, part);
}

typedef struct Rows {
    int rows, size;
    MgvRowsFn *fn;
    void *opaque;
} Rows;

static void rows_part(void *opaque, int part)
{
    const Rows *r = opaque;

    r->fn(r->opaque, part * r->size, MGV_MIN((part + 1) * r->size, r->rows));
}

void mgv_share_rows(const MgvTeam *team, int rows, int size, MgvRowsFn *fn, void *opaque)
{
    Rows r = { rows, MGV_MAX(size, 1), fn, opaque };

    if (rows > r.size)
        mgv_share_parts(team, (rows + r.size - 1) / r.size, rows_part, &r);
    else if (rows > 0)
        fn(opaque, 0, rows);
}
