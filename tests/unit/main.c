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
 * Runner of the unit tests.
 *   unit [suite ...]   run all suites, or those named
 *   unit --list        print their names
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <CUnit/Basic.h>

#include "tests/unit/unit.h"

static const struct {
    const char *name;
    CU_ErrorCode (*add)(void);
} suites[] = {
#define X(stem) { #stem, add_##stem##_suite },
    UNIT_SUITES(X)
#undef X
};

int unit_lines;
char unit_line[1024];

static void collect(void *cookie, enum MagvitLogLevel level, const char *line)
{
    unit_lines++;
    snprintf(unit_line, sizeof(unit_line), "%s", line);
}

const MagvitLogger unit_log = { collect, NULL, MAGVIT_LOG_WARNING };

void unit_log_reset(void)
{
    unit_lines   = 0;
    unit_line[0] = 0;
}

CU_ErrorCode unit_add(const char *suite, const UnitTest *tests)
{
    CU_pSuite s = CU_add_suite(suite, NULL, NULL);

    if (!s)
        return CU_get_error();
    for (; tests->name; tests++)
        if (!CU_add_test(s, tests->name, tests->fn))
            return CU_get_error();
    return CUE_SUCCESS;
}

static char tmp_dir[256];

static void tmp_remove(void)
{
    char cmd[300];

    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", tmp_dir);
    if (tmp_dir[0] && system(cmd))
        fprintf(stderr, "%s was not removed\n", tmp_dir);
}

const char *unit_tmp(const char *file)
{
    static char path[4][512];
    static unsigned turn;
    const char *base = getenv("TMPDIR");
    char *p = path[turn++ % 4];

    if (!tmp_dir[0]) {
        snprintf(tmp_dir, sizeof(tmp_dir), "%s/magvit-unit-XXXXXX", base && *base ? base : "/tmp");
        if (!mkdtemp(tmp_dir)) {
            perror(tmp_dir);
            exit(2);
        }
        atexit(tmp_remove);
    }
    snprintf(p, sizeof(path[0]), "%s/%s", tmp_dir, file);
    return p;
}

const char *unit_write(const char *file, const void *data, size_t size)
{
    const char *path = unit_tmp(file);
    FILE *f = fopen(path, "wb");

    if (!f || fwrite(data, 1, size, f) != size || fclose(f)) {
        perror(path);
        exit(2);
    }
    return path;
}

/* splitmix64 */
uint32_t unit_rand(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)(z >> 32);
}

int unit_range(uint64_t *state, int lo, int hi)
{
    return lo + (int)(unit_rand(state) % (unsigned)(hi - lo + 1));
}

float unit_float(uint64_t *state)
{
    return (float)((int32_t)unit_rand(state) / 2147483648.0);
}

void unit_share_backwards(MgvDevice *device, int nb_parts, MgvPartFn *fn, void *opaque)
{
    if (device)
        ++*(int *)device;
    while (nb_parts)
        fn(opaque, --nb_parts);
}

static int wanted(const char *name, int argc, char **argv)
{
    int i;

    for (i = 1; i < argc; i++)
        if (!strcmp(argv[i], name))
            return 1;
    return argc < 2;
}

static int list(void)
{
    size_t i;

    for (i = 0; i < MGV_ARRAY_LEN(suites); i++)
        puts(suites[i].name);
    return 0;
}

int main(int argc, char **argv)
{
    size_t i;
    unsigned failed;

    if (argc > 1 && !strcmp(argv[1], "--list"))
        return list();
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    for (i = 0; i < MGV_ARRAY_LEN(suites); i++)
        if (wanted(suites[i].name, argc, argv) && suites[i].add() != CUE_SUCCESS) {
            fprintf(stderr, "suite %s: %s\n", suites[i].name, CU_get_error_msg());
            return 2;
        }
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    failed = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
    if (!CU_get_number_of_tests_run()) {
        fprintf(stderr, "no such suite\n");
        failed = 1;
    }
    CU_cleanup_registry();
    return failed ? 1 : 0;
}
