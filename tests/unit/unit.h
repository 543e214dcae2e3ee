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
 * Unit tests: one file per module, one suite per file. To add a suite, add
 * its row here, once its file is there; nothing else refers to it by name.
 */

#ifndef MAGVIT_TESTS_UNIT_H
#define MAGVIT_TESTS_UNIT_H

#include <stddef.h>

#include <CUnit/CUnit.h>

#include "libmagvit/common.h"

/* One row per file of tests/unit: X(stem). */
#define UNIT_SUITES(X) \
    X(common) \
    X(safetensors) \
    X(plan) \
    X(host) \
    X(config) \
    X(tokenizer) \
    X(sampler) \
    X(select) \
    X(image) \
    X(cond) \
    X(window) \
    X(blend) \
    X(drift) \
    X(motion) \
    X(scene) \
    X(tiles) \
    X(memory) \
    X(session) \
    X(predict) \
    X(magvit) \
    X(vk) \
    X(vk_sampler) \
    X(vk_transfers) \
    X(vk_windows)

/** add_<stem>_suite() registers the tests of a file, usually by unit_add(). */
#define X(stem) CU_ErrorCode add_##stem##_suite(void);
UNIT_SUITES(X)
#undef X

typedef struct UnitTest {
    const char *name;
    void (*fn)(void);
} UnitTest;

/** Register a suite. The list ends with a row whose name is NULL. */
CU_ErrorCode unit_add(const char *suite, const UnitTest *tests);

/** Collects what is logged at WARNING and below. Tests check that a failure is one line and says what is wrong. */
extern const MagvitLogger unit_log;
extern int unit_lines;        ///< lines since unit_log_reset()
extern char unit_line[1024];  ///< the last one
void unit_log_reset(void);

/** Path of a file in a fresh directory of this run, removed at its end. Valid until the next call but three. */
const char *unit_tmp(const char *file);
/** Write such a file. @return its path */
const char *unit_write(const char *file, const void *data, size_t size);

/** A tensor for unit_weights(); dims end with the first 0. */
typedef struct UnitTensor {
    const char *name;
    int dims[5];
} UnitTensor;

/** Write a safetensors file of F32 tensors with uniform values in [-1, 1). The list ends with a NULL name. @return its path */
const char *unit_weights(const char *file, const UnitTensor *tensors, uint64_t seed);

/** Small generator for test inputs: next value of a 64-bit state, any seed. */
uint32_t unit_rand(uint64_t *state);
/** Uniform in [lo, hi]. */
int unit_range(uint64_t *state, int lo, int hi);
/** Uniform in [-1, 1). */
float unit_float(uint64_t *state);

/** A team's share: one thread, which begins with the last part. device: an int that counts calls, or NULL. */
void unit_share_backwards(MgvDevice *device, int nb_parts, MgvPartFn *fn, void *opaque);

#endif /* MAGVIT_TESTS_UNIT_H */
