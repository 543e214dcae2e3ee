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

/* Logging, memory, rescaling, SHA-256. */

#include <string.h>

#include "tests/unit/unit.h"

static void test_log(void)
{
    const MagvitLogger silent = { NULL, NULL, MAGVIT_LOG_DEBUG };

    unit_log_reset();
    mgv_err(&unit_log, "%s %d", "one", 1);
    CU_ASSERT_EQUAL(unit_lines, 1);
    CU_ASSERT_STRING_EQUAL(unit_line, "one 1");
    mgv_info(&unit_log, "above the level");
    mgv_err(NULL, "nobody listens");
    mgv_err(&silent, "nobody listens");
    mgv_log(&silent, MAGVIT_LOG_ERROR, "nobody listens");
    CU_ASSERT_EQUAL(unit_lines, 1);
}

/* A line stays one line of printable text, whatever a file's names hold. */
static void test_log_sanitized(void)
{
    char text[3000];

    mgv_err(&unit_log, "%s", "a\nb\x1b[0m\x7f");
    CU_ASSERT_STRING_EQUAL(unit_line, "a?b?[0m?");
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = 0;
    mgv_err(&unit_log, "%s", text);
    CU_ASSERT_EQUAL(strlen(unit_line), 1023);
}

static void test_strerror(void)
{
    static const int codes[] = {
        0, MAGVIT_ERR(EAGAIN), MAGVIT_ERR(EINVAL), MAGVIT_ERR(ENOMEM), MAGVIT_ERR(ENOENT), MAGVIT_ERR(EIO),
        MAGVIT_ERR(ENOTSUP), MAGVIT_ERR(ECANCELED), MAGVIT_ERROR_EOF, MAGVIT_ERROR_MODEL, MAGVIT_ERROR_DEVICE,
    };
    size_t i, j;

    for (i = 0; i < MGV_ARRAY_LEN(codes); i++) {
        CU_ASSERT_STRING_NOT_EQUAL(magvit_strerror(codes[i]), "unknown error");
        for (j = 0; j < i; j++)
            CU_ASSERT_STRING_NOT_EQUAL(magvit_strerror(codes[i]), magvit_strerror(codes[j]));
    }
    CU_ASSERT_STRING_EQUAL(magvit_strerror(12345), "unknown error");
}

static void test_calloc(void)
{
    static const size_t sizes[] = { 0, 1, 63, 64, 65, 4097 };
    size_t i, j;

    for (i = 0; i < MGV_ARRAY_LEN(sizes); i++) {
        uint8_t *p = mgv_calloc(sizes[i], 1);

        CU_ASSERT_PTR_NOT_NULL_FATAL(p);
        CU_ASSERT_EQUAL((uintptr_t)p % MGV_ALIGNMENT, 0);
        for (j = 0; j < sizes[i]; j++)
            CU_ASSERT_EQUAL(p[j], 0);
        mgv_freep(&p);
        CU_ASSERT_PTR_NULL(p);
    }
    CU_ASSERT_PTR_NULL(mgv_calloc(SIZE_MAX, 1));
    CU_ASSERT_PTR_NULL(mgv_calloc(SIZE_MAX / 2, 3));
    CU_ASSERT_PTR_NULL(mgv_calloc((size_t)1 << 40, (size_t)1 << 40));
}

static void test_alloc_failure(void)
{
    void *p[3];
    int i;

    mgv_alloc_fail_at = 2;
    for (i = 0; i < 3; i++)
        p[i] = mgv_calloc(1, 1);
    CU_ASSERT(p[0] && !p[1] && p[2]);
    CU_ASSERT_EQUAL(mgv_alloc_fail_at, 0);
    mgv_freep(&p[0]);
    mgv_freep(&p[2]);
}

static void test_strdup(void)
{
    char *s = mgv_strdup("text");

    CU_ASSERT_STRING_EQUAL(s, "text");
    mgv_freep(&s);
    CU_ASSERT_PTR_NULL(mgv_strdup(NULL));
    mgv_alloc_fail_at = 1;
    CU_ASSERT_PTR_NULL(mgv_strdup("text"));
}

static void test_rescale(void)
{
    static const struct {
        int64_t a, num, den, want;
    } rows[] = {
        { 0, 5, 7, 0 }, { 10, 1, 1, 10 }, { 10, 3, 2, 15 },
        { 1, 1, 2, 1 }, { -1, 1, 2, -1 }, { 3, 1, 2, 2 }, { -3, 1, 2, -2 }, { 1, 1, 3, 0 }, { 2, 1, 3, 1 }, { -2, 1, 3, -1 },
        { 5, -1, 2, -3 }, { INT64_MAX, 1, 1, INT64_MAX }, { INT64_MAX, 90000, 90000, INT64_MAX },
        { INT64_MAX / 3, 3000, 1000, INT64_MAX / 3 * 3 }, { INT64_MAX, 2, 1, INT64_MAX }, { -INT64_MAX, 2, 1, -INT64_MAX },
        { MAGVIT_NOPTS, 3, 7, MAGVIT_NOPTS },
    };
    size_t i;

    for (i = 0; i < MGV_ARRAY_LEN(rows); i++)
        CU_ASSERT_EQUAL(mgv_rescale(rows[i].a, rows[i].num, rows[i].den), rows[i].want);
}

static void check_sha(const void *data, size_t size, const char *want)
{
    char hex[65];

    for (mgv_plain_sha = 1; mgv_plain_sha >= 0; mgv_plain_sha--) {
        mgv_sha256(hex, data, size);
        CU_ASSERT_STRING_EQUAL(hex, want);
    }
    mgv_plain_sha = 0;
}

/* Examples of FIPS 180-4, and lengths at which the padding takes another block. */
static void test_sha256(void)
{
    static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    static char a[1000000];

    memset(a, 'a', sizeof(a));
    check_sha(NULL, 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check_sha("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check_sha(two_blocks, 56, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    check_sha(a, 55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
    check_sha(a, 56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a");
    check_sha(a, 64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
    check_sha(a, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void test_time(void)
{
    double a = mgv_time(), b = mgv_time();

    CU_ASSERT(b >= a && b < a + 60);
}

CU_ErrorCode add_common_suite(void)
{
    static const UnitTest tests[] = {
        { "log", test_log },
        { "log_sanitized", test_log_sanitized },
        { "strerror", test_strerror },
        { "calloc", test_calloc },
        { "alloc_failure", test_alloc_failure },
        { "strdup", test_strdup },
        { "rescale", test_rescale },
        { "sha256", test_sha256 },
        { "time", test_time },
        { NULL, NULL }
    };

    return unit_add("common", tests);
}
