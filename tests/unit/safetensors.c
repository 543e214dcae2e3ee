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

/* The reader against good files, and against hostile ones made on the spot. */

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "libmagvit/safetensors.h"
#include "tests/unit/unit.h"

#define MAX_FILE 8192

/* Header text and data -> file image. @return its size */
static size_t image(uint8_t *buf, const char *header, size_t data)
{
    size_t n = strlen(header), i;

    for (i = 0; i < 8; i++)
        buf[i] = (uint8_t)((uint64_t)n >> 8 * i);
    memcpy(buf + 8, header, n);
    for (i = 0; i < data; i++)
        buf[8 + n + i] = (uint8_t)(i * 37 + 1);
    return 8 + n + data;
}

static int open_image(const uint8_t *buf, size_t size)
{
    MgvSafetensors *st;
    int ret;

    unit_log_reset();
    ret = mgv_safetensors_open(&st, unit_write("file", buf, size), &unit_log);
    CU_ASSERT_EQUAL(!st, ret < 0);
    CU_ASSERT_EQUAL(unit_lines, ret < 0);
    mgv_safetensors_close(&st);
    return ret;
}

static const char good[] =
    "{\"__metadata__\":{\"format\":\"magvit\",\"b\":\"2\"},"
    "\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[4,28]},"
    "\"h\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]},"
    "\"empty\":{\"dtype\":\"I64\",\"shape\":[0,7],\"data_offsets\":[28,28]},"
    "\"scalar\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[28,29]}}   ";

static void test_good(void)
{
    uint8_t buf[MAX_FILE];
    size_t size = image(buf, good, 29), bytes;
    MgvSafetensors *st;
    const MgvTensor *t;

    CU_ASSERT_EQUAL_FATAL(mgv_safetensors_open(&st, unit_write("file", buf, size), &unit_log), 0);
    CU_ASSERT_STRING_EQUAL(mgv_safetensors_meta(st, "format"), "magvit");
    CU_ASSERT_PTR_NULL(mgv_safetensors_meta(st, "absent"));
    CU_ASSERT_STRING_EQUAL(mgv_safetensors_meta_key(st, 1), "b");
    CU_ASSERT_PTR_NULL(mgv_safetensors_meta_key(st, 2));
    t = mgv_safetensors_find(st, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    CU_ASSERT(t->type == MGV_ST_F32 && t->nb_dims == 2 && t->dims[0] == 2 && t->dims[1] == 3 && t->elements == 6);
    CU_ASSERT_EQUAL(t->data[0], 4 * 37 + 1);
    t = mgv_safetensors_find(st, "scalar");
    CU_ASSERT(t && t->nb_dims == 0 && t->elements == 1);
    CU_ASSERT_EQUAL(mgv_safetensors_find(st, "empty")->elements, 0);
    CU_ASSERT_PTR_NULL(mgv_safetensors_find(st, "__metadata__"));
    CU_ASSERT_STRING_EQUAL(mgv_safetensors_at(st, 0)->name, "h");
    CU_ASSERT_PTR_NOT_NULL(mgv_safetensors_at(st, 3));
    CU_ASSERT_PTR_NULL(mgv_safetensors_at(st, 4));
    CU_ASSERT_PTR_NULL(mgv_safetensors_at(st, -1));
    CU_ASSERT(!memcmp(mgv_safetensors_bytes(st, &bytes), buf, size) && bytes == size);
    mgv_safetensors_close(&st);
    CU_ASSERT_PTR_NULL(st);
    mgv_safetensors_close(&st);
}

static void test_minimal(void)
{
    uint8_t buf[MAX_FILE];
    MgvSafetensors *st;

    CU_ASSERT_EQUAL_FATAL(mgv_safetensors_open(&st, unit_write("file", buf, image(buf, "{}", 0)), &unit_log), 0);
    CU_ASSERT_PTR_NULL(mgv_safetensors_meta(st, "format"));
    CU_ASSERT_PTR_NULL(mgv_safetensors_meta_key(st, 0));
    CU_ASSERT_PTR_NULL(mgv_safetensors_at(st, 0));
    mgv_safetensors_close(&st);
}

#define T(name, dtype, shape, offsets) "\"" name "\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_bad_headers(void)
{
    static const struct {
        const char *header;
        size_t data;
        const char *message; ///< part of the line
    } rows[] = {
        { "", 0, "does not begin" },
        { " {}", 0, "does not begin" },
        { "[]", 0, "does not begin" },
        { "{", 0, "JSON" },
        { "{} x", 0, "JSON" },
        { "{\"a\":}", 0, "JSON" },
        { "{\"a\xff\":1}", 0, "JSON" },
        { "{\"a\\u0000b\":1}", 0, "JSON" },
        { "{\"__metadata__\":1}", 0, "not a JSON object" },
        { "{\"__metadata__\":{\"a\":1}}", 0, "\"a\" is not a string" },
        { "{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "duplicate" },
        { "{\"a\":1}", 0, "not described" },
        { "{\"a\":{}}", 0, "dtype" },
        { "{" T("a", "\"F32\"", "[1]", "[0,4]") "," T("a", "\"F32\"", "[1]", "[4,8]") "}", 8, "duplicate" },
        { "{" T("a", "\"F64\"", "[1]", "[0,8]") "}", 8, "dtype F64" },
        { "{" T("a", "4", "[1]", "[0,4]") "}", 4, "dtype" },
        { "{" T("a", "\"F32\"", "1", "[0,4]") "}", 4, "shape" },
        { "{" T("a", "\"F32\"", "[-1]", "[0,4]") "}", 4, "shape" },
        { "{" T("a", "\"F32\"", "[1.0]", "[0,4]") "}", 4, "shape" },
        { "{" T("a", "\"F32\"", "[\"1\"]", "[0,4]") "}", 4, "shape" },
        { "{" T("a", "\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "at most 8" },
        { "{" T("a", "\"F32\"", "[4294967296,4294967296]", "[0,0]") "}", 0, "too large" },
        { "{" T("a", "\"F32\"", "[4611686018427387904]", "[0,0]") "}", 0, "expected 4611686018427387904 times 4" },
        { "{" T("a", "\"F32\"", "[99999999999999999999]", "[0,4]") "}", 4, "JSON" },
        { "{" T("a", "\"F32\"", "[1]", "4") "}", 4, "pair" },
        { "{" T("a", "\"F32\"", "[1]", "[0]") "}", 4, "pair" },
        { "{" T("a", "\"F32\"", "[1]", "[0,4,8]") "}", 4, "pair" },
        { "{" T("a", "\"F32\"", "[1]", "[0,4.0]") "}", 4, "pair" },
        { "{" T("a", "\"F32\"", "[1]", "[-4,0]") "}", 4, "cut off" },
        { "{" T("a", "\"F32\"", "[1]", "[4,0]") "}", 4, "cut off" },
        { "{" T("a", "\"F32\"", "[1]", "[0,4]") "}", 3, "cut off" },
        { "{" T("a", "\"F32\"", "[2]", "[0,4]") "}", 4, "expected 2 times 4" },
        { "{" T("a", "\"F32\"", "[1]", "[0,8]") "}", 8, "8 bytes" },
        { "{" T("a", "\"F32\"", "[1]", "[0,4]") "}", 5, "5 bytes of data" },
        { "{" T("a", "\"F32\"", "[1]", "[4,8]") "}", 8, "gap" },
        { "{" T("a", "\"F32\"", "[1]", "[0,4]") "," T("b", "\"F32\"", "[1]", "[8,12]") "}", 12, "gap" },
        { "{" T("a", "\"F32\"", "[1]", "[0,4]") "," T("b", "\"F32\"", "[1]", "[0,4]") "}", 4, "overlap" },
        { "{" T("a", "\"F32\"", "[2]", "[0,8]") "," T("b", "\"F32\"", "[1]", "[4,8]") "}", 8, "overlap" },
        { "{" T("a", "\"F32\"", "[2]", "[0,8]") "," T("b", "\"F32\"", "[0]", "[4,4]") "}", 8, "overlap" },
    };
    uint8_t buf[MAX_FILE];
    size_t i;

    for (i = 0; i < MGV_ARRAY_LEN(rows); i++) {
        CU_ASSERT_EQUAL(open_image(buf, image(buf, rows[i].header, rows[i].data)), MAGVIT_ERROR_MODEL);
        CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, rows[i].message));
        if (!strstr(unit_line, rows[i].message))
            printf("\n    header %s gave: %s\n", rows[i].header, unit_line);
        CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, "/file: "));
    }
}

static void test_header_length(void)
{
    static const uint64_t lengths[] = { 3, 100000001, UINT64_C(1) << 32, UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX - 7 };
    uint8_t buf[MAX_FILE];
    size_t i, j, size = image(buf, "{}", 0);

    for (i = 0; i < MGV_ARRAY_LEN(lengths); i++) {
        for (j = 0; j < 8; j++)
            buf[j] = (uint8_t)(lengths[i] >> 8 * j);
        CU_ASSERT_EQUAL(open_image(buf, size), MAGVIT_ERROR_MODEL);
    }
}

static void test_other_files(void)
{
    static const char text[] = "version https://git-lfs.github.com/spec/v1\n";
    const char *fifo = unit_tmp("fifo"), *dir = unit_tmp("dir");
    MgvSafetensors *st;

    CU_ASSERT_EQUAL(open_image((const uint8_t *)text, 0), MAGVIT_ERROR_MODEL);
    CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, "is 0 bytes long"));
    CU_ASSERT_EQUAL(open_image((const uint8_t *)text, strlen(text)), MAGVIT_ERROR_MODEL);
    CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, "not a safetensors file"));
    CU_ASSERT_EQUAL(mgv_safetensors_open(&st, unit_tmp("absent"), &unit_log), MAGVIT_ERR(ENOENT));
    CU_ASSERT_PTR_NULL(st);
    mkdir(dir, 0700);
    CU_ASSERT_EQUAL(mgv_safetensors_open(&st, dir, &unit_log), MAGVIT_ERROR_MODEL);
    CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, "is a directory"));
    mkfifo(fifo, 0600);
    CU_ASSERT_EQUAL(mgv_safetensors_open(&st, fifo, &unit_log), MAGVIT_ERROR_MODEL);
    CU_ASSERT_PTR_NOT_NULL(strstr(unit_line, "not a regular file"));
    CU_ASSERT_EQUAL(mgv_safetensors_open(&st, dir, NULL), MAGVIT_ERROR_MODEL);
}

static void test_truncated(void)
{
    uint8_t buf[MAX_FILE];
    size_t size = image(buf, good, 29), n;

    for (n = 0; n < size; n++)
        CU_ASSERT_EQUAL(open_image(buf, n), MAGVIT_ERROR_MODEL);
    CU_ASSERT_EQUAL(open_image(buf, size), 0);
    CU_ASSERT_EQUAL(open_image(buf, size + 1), MAGVIT_ERROR_MODEL);
}

/* Whatever the damage: an error with one line, or a file whose every tensor can be read. */
static void test_damaged(void)
{
    uint8_t buf[MAX_FILE];
    uint64_t state = 1;
    int i, k;

    for (i = 0; i < 1000; i++) {
        size_t size = image(buf, good, 29);

        for (k = unit_range(&state, 1, 3); k > 0; k--)
            buf[unit_range(&state, 0, (int)size - 1)] = (uint8_t)unit_rand(&state);
        open_image(buf, size);
    }
}

static void test_alloc(void)
{
    uint8_t buf[MAX_FILE];
    const char *path = unit_write("file", buf, image(buf, good, 29));
    MgvSafetensors *st;
    int k, ret = -1;

    for (k = 1; k < 100 && ret < 0; k++) {
        unit_log_reset();
        mgv_alloc_fail_at = k;
        ret = mgv_safetensors_open(&st, path, &unit_log);
        mgv_alloc_fail_at = 0;
        CU_ASSERT(ret == 0 || (ret == MAGVIT_ERR(ENOMEM) && !st));
        CU_ASSERT_EQUAL(unit_lines, ret < 0);
    }
    CU_ASSERT(k > 2 && ret == 0);
    mgv_safetensors_close(&st);
}

static void check_value(enum MgvStType type, uint32_t bits, float want)
{
    uint8_t data[5] = { 0xee, (uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16), (uint8_t)(bits >> 24) };
    MgvTensor t = { "t", type, 1, { 1 }, 1, data + 1 };
    float got = 0;

    mgv_tensor_to_f32(&t, 0, 1, &got);
    CU_ASSERT(isnan(want) ? isnan(got) : !memcmp(&got, &want, sizeof(got)));
}

static void test_values(void)
{
    check_value(MGV_ST_F32, 0x3f800000, 1.0f);
    check_value(MGV_ST_F32, 0x80000000, -0.0f);
    check_value(MGV_ST_BF16, 0x3f80, 1.0f);
    check_value(MGV_ST_BF16, 0xc049, -3.140625f);
    check_value(MGV_ST_BF16, 0x7f80, INFINITY);
    check_value(MGV_ST_F16, 0x3c00, 1.0f);
    check_value(MGV_ST_F16, 0xbc00, -1.0f);
    check_value(MGV_ST_F16, 0x3555, 0.333251953125f);
    check_value(MGV_ST_F16, 0x7bff, 65504.0f);
    check_value(MGV_ST_F16, 0x0400, 0x1p-14f);
    check_value(MGV_ST_F16, 0x03ff, 0x1.ff8p-15f);
    check_value(MGV_ST_F16, 0x0001, 0x1p-24f);
    check_value(MGV_ST_F16, 0x8001, -0x1p-24f);
    check_value(MGV_ST_F16, 0x8000, -0.0f);
    check_value(MGV_ST_F16, 0x7c00, INFINITY);
    check_value(MGV_ST_F16, 0xfc00, -INFINITY);
    check_value(MGV_ST_F16, 0x7e00, NAN);
}

static void test_part(void)
{
    static const uint8_t data[] = { 0, 0, 0x80, 0x3f, 0, 0x40, 0x40, 0x40 }; /* bf16 0 1 2 3 */
    MgvTensor t = { "t", MGV_ST_BF16, 1, { 4 }, 4, data };
    float v[3] = { 9, 9, 9 };

    mgv_tensor_to_f32(&t, 2, 2, v);
    CU_ASSERT(v[0] == 2 && v[1] == 3 && v[2] == 9);
    mgv_tensor_to_f32(&t, 4, 0, v);
    CU_ASSERT_EQUAL(v[0], 2);
}

CU_ErrorCode add_safetensors_suite(void)
{
    static const UnitTest tests[] = {
        { "good file", test_good },
        { "smallest file", test_minimal },
        { "bad headers", test_bad_headers },
        { "header length", test_header_length },
        { "other files", test_other_files },
        { "truncated at every length", test_truncated },
        { "damaged at random", test_damaged },
        { "no memory", test_alloc },
        { "values", test_values },
        { "part of a tensor", test_part },
        { NULL, NULL }
    };

    return unit_add("safetensors", tests);
}
