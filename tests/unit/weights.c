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

/* Small model files for tests that need weights. */

#include <stdio.h>
#include <string.h>

#include "tests/unit/unit.h"

#define MAX_HEADER 16384

static size_t elements(const UnitTensor *t)
{
    size_t n = 1;
    int i;

    for (i = 0; i < 5 && t->dims[i]; i++)
        n *= (size_t)t->dims[i];
    return n;
}

/* Append one entry of the header; *end: bytes of data so far. */
static int entry(char *text, size_t size, const UnitTensor *t, size_t *end)
{
    size_t begin = *end;
    int pos, i;

    *end += elements(t) * sizeof(float);
    pos = snprintf(text, size, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", begin ? "," : "", t->name);
    for (i = 0; i < 5 && t->dims[i]; i++)
        pos += snprintf(text + pos, size - pos, "%s%d", i ? "," : "", t->dims[i]);
    return pos + snprintf(text + pos, size - pos, "],\"data_offsets\":[%zu,%zu]}", begin, *end);
}

const char *unit_weights(const char *file, const UnitTensor *tensors, uint64_t seed)
{
    char header[MAX_HEADER] = { 0 };
    size_t pos = 8, bytes = 0, i;
    const char *path;
    uint8_t *data;

    header[pos++] = '{';
    for (; tensors->name; tensors++)
        pos += (size_t)entry(header + pos, sizeof(header) - pos, tensors, &bytes);
    header[pos++] = '}';
    for (i = 0; i < 8; i++)
        header[i] = (char)((pos - 8) >> 8 * i);
    data = mgv_calloc(pos + bytes, 1);
    memcpy(data, header, pos);
    for (i = 0; i < bytes; i += sizeof(float)) {
        float v = unit_float(&seed);

        memcpy(data + pos + i, &v, sizeof(v));
    }
    path = unit_write(file, data, pos + bytes);
    mgv_freep(&data);
    return path;
}
