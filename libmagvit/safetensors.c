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
 * Safetensors reader: u64 header length, JSON header, tensor data; all
 * little-endian. The file is mapped and never copied. Every field is checked
 * at open, so that no later access needs a check. A file that another program
 * shortens while it is mapped is beyond help.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "libmagvit/safetensors.h"

#define LENGTH_BYTES 8
#define MAX_HEADER   100000000 /* of the reference implementation */

struct MgvSafetensors {
    const MagvitLogger *log; ///< during open only
    const char *path;        ///< during open only
    uint8_t *map;
    size_t size;
    const uint8_t *data;     ///< of all tensors
    int64_t data_size;
    json_t *header;          ///< owns all names and metadata
    json_t *meta;            ///< borrowed, NULL if absent
    MgvTensor *tensors;      ///< sorted by data
    int nb_tensors;
};

static const struct {
    const char *name;
    int size; ///< bytes an element
} types[] = {
    [MGV_ST_F32]  = { "F32",  4 },
    [MGV_ST_F16]  = { "F16",  2 },
    [MGV_ST_BF16] = { "BF16", 2 },
    [MGV_ST_I32]  = { "I32",  4 },
    [MGV_ST_I64]  = { "I64",  8 },
    [MGV_ST_U8]   = { "U8",   1 },
};

static int invalid(const MgvSafetensors *st, const char *fmt, ...) MGV_PRINTF(2, 3);

static int invalid(const MgvSafetensors *st, const char *fmt, ...)
{
    char what[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    mgv_err(st->log, "%s: %s", st->path, what);
    return MAGVIT_ERROR_MODEL;
}

static int system_error(const MgvSafetensors *st, const char *what, int err)
{
    mgv_err(st->log, "%s: %s: %s", st->path, what, strerror(err));
    return err == ENOENT || err == ENOTDIR ? MAGVIT_ERR(ENOENT) :
           err == ENOMEM ? MAGVIT_ERR(ENOMEM) : MAGVIT_ERR(EIO);
}

static int map_fd(MgvSafetensors *st, int fd)
{
    struct stat s;
    void *map;

    if (fstat(fd, &s) < 0)
        return system_error(st, "cannot be examined", errno);
    if (!S_ISREG(s.st_mode))
        return invalid(st, "is %s, expected a safetensors file", S_ISDIR(s.st_mode) ? "a directory" : "not a regular file");
    if (s.st_size < LENGTH_BYTES)
        return invalid(st, "is %"PRId64" bytes long, expected a safetensors file", (int64_t)s.st_size);
    if ((uint64_t)s.st_size > SIZE_MAX / 2)
        return system_error(st, "cannot be mapped", ENOMEM);
    map = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return system_error(st, "cannot be mapped", errno);
    st->map  = map;
    st->size = (size_t)s.st_size;
    return 0;
}

/* Non-blocking, for a FIFO would wait for a writer. */
static int map_file(MgvSafetensors *st)
{
    int ret, fd = open(st->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return system_error(st, "cannot be opened", errno);
    ret = map_fd(st, fd);
    close(fd);
    return ret;
}

static uint64_t read_le(const uint8_t *p, int bytes)
{
    uint64_t v = 0;

    while (bytes--)
        v = v << 8 | p[bytes];
    return v;
}

static int parse_header(MgvSafetensors *st)
{
    uint64_t length = read_le(st->map, LENGTH_BYTES), most = MGV_MIN(st->size - LENGTH_BYTES, MAX_HEADER);
    const char *text = (const char *)st->map + LENGTH_BYTES;
    json_error_t err;

    if (length > most)
        return invalid(st, "not a safetensors file, or cut off: header of %"PRIu64" bytes, expected at most %"PRIu64,
                       length, most);
    if (!length || text[0] != '{')
        return invalid(st, "not a safetensors file: header does not begin with '{'");
    st->header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &err);
    if (!st->header && json_error_code(&err) == json_error_out_of_memory)
        return system_error(st, "header", ENOMEM);
    if (!st->header)
        return invalid(st, "header is not valid JSON: byte %d: %.160s", err.position, err.text);
    if (!json_is_object(st->header))
        return invalid(st, "header is not a JSON object");
    st->data      = st->map + LENGTH_BYTES + length;
    st->data_size = (int64_t)(st->size - LENGTH_BYTES - length);
    return 0;
}

static int parse_meta(MgvSafetensors *st)
{
    const char *key;
    json_t *value;

    st->meta = json_object_get(st->header, "__metadata__");
    if (!st->meta)
        return 0;
    if (!json_is_object(st->meta))
        return invalid(st, "__metadata__ is not a JSON object");
    json_object_foreach(st->meta, key, value)
        if (!json_is_string(value))
            return invalid(st, "__metadata__ \"%.100s\" is not a string", key);
    return 0;
}

static int parse_type(const MgvSafetensors *st, MgvTensor *t, const json_t *entry)
{
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    size_t i;

    for (i = 0; name && i < MGV_ARRAY_LEN(types); i++)
        if (!strcmp(name, types[i].name)) {
            t->type = (enum MgvStType)i;
            return 0;
        }
    return invalid(st, "tensor \"%.100s\": dtype %.20s, expected F32, F16, BF16, I32, I64 or U8",
                   t->name, name ? name : "is not a string");
}

static int parse_shape(const MgvSafetensors *st, MgvTensor *t, const json_t *entry)
{
    const json_t *shape = json_object_get(entry, "shape");
    size_t i, n = json_array_size(shape);

    if (!json_is_array(shape) || n > MGV_ST_MAX_DIMS)
        return invalid(st, "tensor \"%.100s\": shape is not a list of at most %d lengths", t->name, MGV_ST_MAX_DIMS);
    t->nb_dims  = (int)n;
    t->elements = 1;
    for (i = 0; i < n; i++) {
        const json_t *dim = json_array_get(shape, i);

        t->dims[i] = json_integer_value(dim);
        if (!json_is_integer(dim) || t->dims[i] < 0)
            return invalid(st, "tensor \"%.100s\": length %zu of its shape is not a number >= 0", t->name, i);
        if (__builtin_mul_overflow(t->elements, t->dims[i], &t->elements))
            return invalid(st, "tensor \"%.100s\": shape is too large", t->name);
    }
    return 0;
}

static int parse_range(const MgvSafetensors *st, MgvTensor *t, const json_t *entry)
{
    const json_t *range = json_object_get(entry, "data_offsets");
    const json_t *first = json_array_get(range, 0), *last = json_array_get(range, 1);
    int64_t begin = json_integer_value(first), end = json_integer_value(last), bytes;

    if (json_array_size(range) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return invalid(st, "tensor \"%.100s\": data_offsets is not a pair of numbers", t->name);
    if (begin < 0 || end < begin || end > st->data_size)
        return invalid(st, "tensor \"%.100s\": bytes %"PRId64" to %"PRId64", but the file holds 0 to %"PRId64
                       "; is it cut off?", t->name, begin, end, st->data_size);
    if (__builtin_mul_overflow(t->elements, (int64_t)types[t->type].size, &bytes) || end - begin != bytes)
        return invalid(st, "tensor \"%.100s\": %"PRId64" bytes, expected %"PRId64" times %d for its shape",
                       t->name, end - begin, t->elements, types[t->type].size);
    t->data = st->data + begin;
    return 0;
}

static int parse_tensor(const MgvSafetensors *st, MgvTensor *t, const char *name, const json_t *entry)
{
    int ret;

    t->name = name;
    if (!json_is_object(entry))
        return invalid(st, "tensor \"%.100s\" is not described by a JSON object", name);
    RET(parse_type(st, t, entry));
    RET(parse_shape(st, t, entry));
    RET(parse_range(st, t, entry));
fail:
    return ret;
}

static int parse_tensors(MgvSafetensors *st)
{
    const char *name;
    json_t *entry;
    int ret;

    st->tensors = mgv_calloc(json_object_size(st->header), sizeof(*st->tensors));
    if (!st->tensors)
        return system_error(st, "list of tensors", ENOMEM);
    json_object_foreach(st->header, name, entry) {
        if (entry == st->meta)
            continue;
        ret = parse_tensor(st, &st->tensors[st->nb_tensors], name, entry);
        if (ret < 0)
            return ret;
        st->nb_tensors++;
    }
    return 0;
}

static int64_t tensor_bytes(const MgvTensor *t)
{
    return t->elements * types[t->type].size;
}

/* By begin, then by end: empty tensors come before what begins where they are. */
static int compare_data(const void *a, const void *b)
{
    const MgvTensor *x = a, *y = b;
    int64_t nx = tensor_bytes(x), ny = tensor_bytes(y);

    return x->data != y->data ? (x->data > y->data) - (x->data < y->data) : (nx > ny) - (nx < ny);
}

/* The ranges must follow each other without overlap or gap: nothing can hide between them. */
static int check_cover(MgvSafetensors *st)
{
    int64_t pos = 0;
    int i;

    qsort(st->tensors, (size_t)st->nb_tensors, sizeof(*st->tensors), compare_data);
    for (i = 0; i < st->nb_tensors; i++) {
        const MgvTensor *t = &st->tensors[i];

        if (t->data - st->data != pos)
            return invalid(st, "tensor \"%.100s\" begins at byte %"PRId64", expected %"PRId64": %s",
                           t->name, (int64_t)(t->data - st->data), pos, t->data - st->data < pos ? "overlap" : "gap");
        pos += tensor_bytes(t);
    }
    if (pos != st->data_size)
        return invalid(st, "%"PRId64" bytes of data, expected the %"PRId64" that the header describes", st->data_size, pos);
    return 0;
}

int mgv_safetensors_open(MgvSafetensors **out, const char *path, const MagvitLogger *log)
{
    MgvSafetensors *st;
    int ret;

    *out = NULL;
    st = mgv_calloc(1, sizeof(*st));
    if (!st) {
        mgv_err(log, "%s: out of memory", path);
        return MAGVIT_ERR(ENOMEM);
    }
    st->log  = log;
    st->path = path;
    RET(map_file(st));
    RET(parse_header(st));
    RET(parse_meta(st));
    RET(parse_tensors(st));
    RET(check_cover(st));
    st->log  = NULL;
    st->path = NULL;
    *out = st;
    return 0;
fail:
    mgv_safetensors_close(&st);
    return ret;
}

void mgv_safetensors_close(MgvSafetensors **st)
{
    if (!*st)
        return;
    json_decref((*st)->header);
    mgv_freep(&(*st)->tensors);
    if ((*st)->map)
        munmap((*st)->map, (*st)->size);
    mgv_freep(st);
}

const char *mgv_safetensors_meta(const MgvSafetensors *st, const char *key)
{
    return json_string_value(json_object_get(st->meta, key));
}

const char *mgv_safetensors_meta_key(const MgvSafetensors *st, int i)
{
    void *it = json_object_iter(st->meta);

    while (it && i-- > 0)
        it = json_object_iter_next(st->meta, it);
    return it ? json_object_iter_key(it) : NULL;
}

const MgvTensor *mgv_safetensors_find(const MgvSafetensors *st, const char *name)
{
    int i;

    for (i = 0; i < st->nb_tensors; i++)
        if (!strcmp(st->tensors[i].name, name))
            return &st->tensors[i];
    return NULL;
}

const MgvTensor *mgv_safetensors_at(const MgvSafetensors *st, int i)
{
    return i >= 0 && i < st->nb_tensors ? &st->tensors[i] : NULL;
}

const void *mgv_safetensors_bytes(const MgvSafetensors *st, size_t *size)
{
    *size = st->size;
    return st->map;
}

void mgv_safetensors_release(const MgvSafetensors *st)
{
    madvise(st->map, st->size, MADV_DONTNEED); // advice: nothing is lost if it is not taken
}

static float float_from_bits(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof(f));
    return f;
}

static float float_from_f16(uint32_t h)
{
    uint32_t sign = (h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3ff;

    if (exponent == 31) /* infinity, NaN */
        return float_from_bits(sign | 0x7f800000 | mantissa << 13);
    if (!exponent) /* zero, subnormal: mantissa / 2^24 */
        return (sign ? -1.0f : 1.0f) * (float)mantissa * 0x1p-24f;
    return float_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

void mgv_tensor_to_f32(const MgvTensor *t, int64_t first, int64_t n, float *dst)
{
    const uint8_t *p = t->data + first * types[t->type].size;
    int64_t i;

    mgv_assert(first >= 0 && n >= 0 && n <= t->elements - first);
    switch (t->type) {
    case MGV_ST_F32:
        for (i = 0; i < n; i++)
            dst[i] = float_from_bits((uint32_t)read_le(p + 4 * i, 4));
        break;
    case MGV_ST_BF16:
        for (i = 0; i < n; i++)
            dst[i] = float_from_bits((uint32_t)read_le(p + 2 * i, 2) << 16);
        break;
    case MGV_ST_F16:
        for (i = 0; i < n; i++)
            dst[i] = float_from_f16((uint32_t)read_le(p + 2 * i, 2));
        break;
    default:
        mgv_assert(!"a float tensor");
    }
}
