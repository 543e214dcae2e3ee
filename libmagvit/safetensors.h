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
 * Read-only view of a safetensors file. The file is hostile input: every
 * length, offset, shape and dtype is checked before anything is used, and a
 * view that mgv_safetensors_open() returned is safe to read in full.
 */

#ifndef MAGVIT_SAFETENSORS_H
#define MAGVIT_SAFETENSORS_H

#include "libmagvit/common.h"

enum MgvStType { MGV_ST_F32, MGV_ST_F16, MGV_ST_BF16, MGV_ST_I32, MGV_ST_I64, MGV_ST_U8 };

#define MGV_ST_MAX_DIMS 8

/** One tensor of the file, in C order, little-endian, not necessarily aligned. */
typedef struct MgvTensor {
    const char *name;
    enum MgvStType type;
    int nb_dims;                   ///< [0, MGV_ST_MAX_DIMS]
    int64_t dims[MGV_ST_MAX_DIMS]; ///< each >= 0
    int64_t elements;              ///< product of dims
    const uint8_t *data;           ///< inside the mapping
} MgvTensor;

typedef struct MgvSafetensors MgvSafetensors;

/**
 * Map a file and check all of it.
 * @return 0, MAGVIT_ERR(ENOENT), MAGVIT_ERR(EIO), MAGVIT_ERROR_MODEL, MAGVIT_ERR(ENOMEM); one line is logged
 */
int mgv_safetensors_open(MgvSafetensors **out, const char *path, const MagvitLogger *log);
void mgv_safetensors_close(MgvSafetensors **st);

/** Value of a __metadata__ key, NULL if absent. Lives as long as st. */
const char *mgv_safetensors_meta(const MgvSafetensors *st, const char *key);
/** i-th metadata key, NULL past the end. */
const char *mgv_safetensors_meta_key(const MgvSafetensors *st, int i);

/** Tensor by name, NULL if absent. Lives as long as st. */
const MgvTensor *mgv_safetensors_find(const MgvSafetensors *st, const char *name);
/** i-th tensor, NULL past the end. */
const MgvTensor *mgv_safetensors_at(const MgvSafetensors *st, int i);

/** Whole mapped file, for hashing. */
const void *mgv_safetensors_bytes(const MgvSafetensors *st, size_t *size);

/** Let go of the memory that holds pages of the file; what is read again is read from the file again. */
void mgv_safetensors_release(const MgvSafetensors *st);

/** Convert elements [first, first+n) of an F32, F16 or BF16 tensor to float. */
void mgv_tensor_to_f32(const MgvTensor *t, int64_t first, int64_t n, float *dst);

#endif /* MAGVIT_SAFETENSORS_H */
