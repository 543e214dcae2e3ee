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
 * How long a model takes: each stage of a window, and streams.
 */

#ifndef MAGVIT_TOOLS_BENCH_H
#define MAGVIT_TOOLS_BENCH_H

#include "libmagvit/magvit.h"

/** What is timed. */
typedef struct Bench {
    const MagvitSettings *settings;
    const MagvitParams *params; ///< of INTERP; size, rate and format are the bench's
    char **sizes;               ///< of streams, each WIDTHxHEIGHT, NULL at the end
    double seconds;             ///< rows that would end later are left out; 0: no limit
    double gflops;              ///< what the device does at best, 0: unknown
} Bench;

/**
 * Print a row for each stage and each size, or why it was left out.
 * @return 0 or a negative code after one line on stderr
 */
int bench_run(const Bench *b);

#endif /* MAGVIT_TOOLS_BENCH_H */
