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
 * Golden tests: replay what the Python implementation computed, see
 * tests/golden/README. One part per file; a part is added by its row here.
 */

#ifndef MAGVIT_TESTS_GOLDEN_H
#define MAGVIT_TESTS_GOLDEN_H

#include "libmagvit/common.h"
#include "libmagvit/safetensors.h"

/* One row per file golden_<stem>.c: X(stem). */
#define GOLDEN_PARTS(X) \
    X(cond) \
    X(model) \
    X(sampler)

typedef struct Golden {
    const char *model;   ///< model file that the vectors were made with
    const char *known;   ///< model file of the vectors known-*: its decoder sees known pixels
    const char *vectors; ///< folder
    const char *backend; ///< only this one, NULL: all that are built in
    const MagvitLogger *log;
} Golden;

/** golden_<stem>() prints one line per subject, and what differs. @return 0, or nonzero if anything does */
#define X(stem) int golden_##stem(const Golden *g);
GOLDEN_PARTS(X)
#undef X

/** Open "<vectors>/<name>.safetensors". */
int golden_open(MgvSafetensors **st, const Golden *g, const char *name);

/** Values of a vector as new memory that mgv_freep() frees, NULL with a line if it is missing or of another type. */
float *golden_f32(const MgvSafetensors *st, const char *name);
int32_t *golden_i32(const MgvSafetensors *st, const char *name);

/** What the functions below let pass. */
typedef struct GoldenLimits {
    double nmse;     ///< normalised mean square error
    double relative; ///< error of a value, of the larger of its row's largest value and the root mean square of all
    double codes;    ///< share of integers that differ
} GoldenLimits;

extern const GoldenLimits golden_f32_limits, golden_f16_limits;
/** Those in force, at first golden_f32_limits. */
extern GoldenLimits golden_limits;

/** Compare n values in rows of c. Prints the first that is off. @return 0 if they agree */
int golden_compare(const char *name, const float *got, const float *want, size_t n, int c);
int golden_compare_i32(const char *name, const int32_t *got, const int32_t *want, size_t n);

#endif /* MAGVIT_TESTS_GOLDEN_H */
