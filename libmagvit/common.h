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
 * What every module uses: error flow, logging, memory, small arithmetic.
 * Knows nothing of models, video or hardware.
 */

#ifndef MAGVIT_COMMON_H
#define MAGVIT_COMMON_H

#include <assert.h>
#include <stdint.h>
#include <stddef.h>
#include <string.h>

#include "libmagvit/magvit.h"

#define MGV_MIN(a, b) ((a) < (b) ? (a) : (b))
#define MGV_MAX(a, b) ((a) > (b) ? (a) : (b))
#define MGV_CLAMP(x, lo, hi) ((x) < (lo) ? (lo) : (x) > (hi) ? (hi) : (x))
#define MGV_ALIGN_UP(x, a) (((x) + (a) - 1) / (a) * (a))
#define MGV_ARRAY_LEN(a) (sizeof(a) / sizeof(*(a)))

/** Every tensor and weight begins at a multiple of this, for vector loads. */
#define MGV_ALIGNMENT 64

/** For invariants of our own code only; bad input is an error code. */
#define mgv_assert(x) assert(x)

/** Assign ret and jump to fail when it is negative. */
#define RET(x)           \
    do {                 \
        ret = (x);       \
        if (ret < 0)     \
            goto fail;   \
    } while (0)

#if defined(__GNUC__)
#define MGV_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define MGV_PRINTF(f, a)
#endif

/**
 * Before a static function with vectorisable loops: compile it for several
 * instruction sets and choose when the program is loaded. Everything it calls
 * must be inlined. Sanitizers do not work with functions that are chosen so
 * early.
 */
#if defined(__has_feature)
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GLIBC__) && defined(__has_attribute) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    !HAS_FEATURE(address_sanitizer) && !HAS_FEATURE(thread_sanitizer) && !HAS_FEATURE(memory_sanitizer)
#if __has_attribute(target_clones)
#define MGV_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
#endif
#undef HAS_FEATURE
#ifndef MGV_CLONES
#define MGV_CLONES
#endif

#if defined(__GNUC__)
#define MGV_INLINE static inline __attribute__((always_inline))
#else
#define MGV_INLINE static inline
#endif

/** Format one line and pass it on. log may be NULL or silent. Use the macros below. */
void mgv_log(const MagvitLogger *log, enum MagvitLogLevel level, const char *fmt, ...) MGV_PRINTF(3, 4);

/* The level is tested before anything is formatted. */
#define MGV_LOG(log, lvl, ...)                                 \
    do {                                                       \
        const MagvitLogger *log_ = (log);                      \
        if (log_ && log_->fn && log_->level >= (lvl))          \
            mgv_log(log_, (lvl), __VA_ARGS__);                 \
    } while (0)
#define mgv_err(log, ...)     MGV_LOG(log, MAGVIT_LOG_ERROR, __VA_ARGS__)
#define mgv_warn(log, ...)    MGV_LOG(log, MAGVIT_LOG_WARNING, __VA_ARGS__)
#define mgv_info(log, ...)    MGV_LOG(log, MAGVIT_LOG_INFO, __VA_ARGS__)
#define mgv_verbose(log, ...) MGV_LOG(log, MAGVIT_LOG_VERBOSE, __VA_ARGS__)
#define mgv_debug(log, ...)   MGV_LOG(log, MAGVIT_LOG_DEBUG, __VA_ARGS__)

/** MagvitLogFn that writes to stderr: the default of MagvitSettings.log. */
void mgv_log_stderr(void *cookie, enum MagvitLogLevel level, const char *line);

/**
 * Zeroed memory aligned to MGV_ALIGNMENT. NULL when there is none, when
 * nmemb * size overflows, or when mgv_alloc_fail_at says so. nmemb or size 0
 * gives a valid pointer. Free with mgv_free().
 */
void *mgv_calloc(size_t nmemb, size_t size);

/** As mgv_calloc(1, size), but what the memory holds is undefined, and pages are taken when they are written. */
void *mgv_alloc(size_t size);

/** Free what ptr_to_ptr points to and set it to NULL. */
void mgv_freep(void *ptr_to_ptr);

/** Give the system what was freed, where the allocator can: much of it after many blocks of very different sizes. */
void mgv_trim_memory(void);

/** Memory that only grows; mgv_freep(&b.data) frees it. */
typedef struct MgvBuffer {
    void *data;
    size_t size; ///< bytes
} MgvBuffer;

/** Make room for nmemb zeroed or old values. @return 0 or ENOMEM */
int mgv_buffer_grow(MgvBuffer *b, size_t nmemb, size_t size);

/** Copy of a string, NULL for NULL or when out of memory; mgv_freep() frees it. */
char *mgv_strdup(const char *s);

/** Test switch: the n-th allocation from now fails (1 = next); 0 = never. Not thread-safe. */
extern long mgv_alloc_fail_at;

/**
 * exp(x), right to 1 ulp in [-87.3, 88.3], where x is clipped to. NaN gives NaN.
 * Cody and Waite's reduction to |r| <= ln(2)/2 and a minimax polynomial; without
 * branches, so that loops around it become vector code.
 */
MGV_INLINE float mgv_expf(float x)
{
    const float round = 0x1.8p23f; // adding it leaves an integer in the low mantissa bits
    float n, r, p, scale;
    uint32_t bits;

    x = x < -87.3f ? -87.3f : x;
    x = x > 88.3f ? 88.3f : x;
    n = x * 0x1.715476p0f + round;
    memcpy(&bits, &n, sizeof(bits));
    n -= round;
    r = x - n * 0x1.62e4p-1f - n * 0x1.7f7d1cp-20f;
    p = 1.381446631e-3f;
    p = p * r + 8.368780303e-3f;
    p = p * r + 4.166839423e-2f;
    p = p * r + 1.666652011e-1f;
    p = p * r + 4.999999341e-1f;
    p = p * r * r + r + 1.0f;
    bits = (bits + 127) << 23;
    memcpy(&scale, &bits, sizeof(scale));
    return p * scale;
}

/** The greatest of n > 0 numbers. In lanes, because compilers keep the order of one maximum for the sake of NaN. */
MGV_INLINE float mgv_greatest(const float *x, int n)
{
    enum { LANES = 32 };
    float top[LANES];
    int i = 0;

    for (int k = 0; k < LANES; k++)
        top[k] = x[0];
    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < LANES; k++)
            top[k] = x[i + k] > top[k] ? x[i + k] : top[k];
    }
    for (; i < n; i++)
        top[0] = MGV_MAX(top[0], x[i]);
    for (int step = LANES / 2; step; step /= 2)
        for (int k = 0; k < step; k++)
            top[k] = MGV_MAX(top[k], top[k + step]);
    return top[0];
}

/** "f32", as options spell it. */
const char *mgv_precision_name(enum MagvitPrecision precision);

/** Seconds of a monotonic clock. */
double mgv_time(void);

/** a * num / den rounded to nearest, ties away from zero, through 128 bits; den > 0. MAGVIT_NOPTS passes through. */
int64_t mgv_rescale(int64_t a, int64_t num, int64_t den);

/** SHA-256 of memory as 64 hex digits and a NUL (FIPS 180-4). */
void mgv_sha256(char hex[65], const void *data, size_t size);

/** Test switch: 1 = no instructions made for it. */
extern int mgv_plain_sha;

typedef struct MgvDevice MgvDevice; ///< a backend's own: engine, worker thread, VkDevice

/** Called once for each part, in any order and from any of a team's threads. */
typedef void MgvPartFn(void *opaque, int part);

/** Threads that share parts of a work, as MgvBackend.share does. */
typedef struct MgvTeam {
    void (*share)(MgvDevice *device, int nb_parts, MgvPartFn *fn, void *opaque); ///< NULL: there are none
    MgvDevice *device;
} MgvTeam;

/** Do all parts; team NULL, or without share: on the caller's thread. */
void mgv_share_parts(const MgvTeam *team, int nb_parts, MgvPartFn *fn, void *opaque);

/** Called for rows [row,end) of something, as MgvPartFn is. */
typedef void MgvRowsFn(void *opaque, int row, int end);
/** Do all rows, so many at a time. */
void mgv_share_rows(const MgvTeam *team, int rows, int size, MgvRowsFn *fn, void *opaque);

#endif /* MAGVIT_COMMON_H */
