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
 * 3x3x3 convolutions by AMX, of rows that were padded before. Of the 27 taps of a kernel three each, side by side, are
 * one run of memory, the channels of three pixels, so that few channels leave little of a step unused. A row of pixels
 * is read in place: the same memory for every tap, a pixel further.
 */

#include "kernels/amx.h"

#if MGV_AMX

int mgv_amx_conv_pack(MgvAmxWeights *packed, const float *weights, int cin, int cout)
{
    float *w = mgv_alloc((size_t)cout * cin * 27 * sizeof(*w)); // [cout][3][3][3][cin]
    int ret;

    *packed = mgv_amx_weights(0, cout, 9, 3 * cin);
    for (int co = 0; co < cout && w; co++, weights += cin * 27)
        for (int i = 0; i < 27; i++)
            for (int ci = 0; ci < cin; ci++)
                w[((size_t)co * 27 + i) * cin + ci] = weights[ci * 27 + i];
    ret = w ? mgv_amx_pack(packed, w) : MAGVIT_ERR(ENOMEM);
    mgv_freep(&w);
    return ret;
}

/** What is multiplied: the caller's planes, and tiles of 16 pixels of their rows. */
typedef struct Pixels {
    const MgvAmxPlanes *l;
    ptrdiff_t cell; ///< bytes of a padded pixel
    int per_row;    ///< tiles; the last one may begin before the end of the one before it, or end behind the row
    int nb_tiles;   ///< of all planes
} Pixels;

/** First pixel of a tile in its row. */
static int tile_pixel(const Pixels *p, int tile)
{
    return MGV_MAX(0, MGV_MIN(tile % p->per_row * MGV_AMX_ROWS, p->l->width - MGV_AMX_ROWS));
}

/** The same of all padded pixels; a plane of them has two rows more. */
static ptrdiff_t padded_pixel(const Pixels *p, int tile)
{
    const int row = tile / p->per_row, above = row / p->l->rows * 2;

    return (ptrdiff_t)(row + above) * (p->l->width + 2) + tile_pixel(p, tile);
}

/** The same of the output. */
static ptrdiff_t out_pixel(const Pixels *p, int tile)
{
    return (ptrdiff_t)(tile / p->per_row) * p->l->width + tile_pixel(p, tile);
}

/** What comes after products of n tiles of pixels and a block of columns, which lie in c. */
static void describe(MgvAmxOut *out, const MgvAmxWeights *w, const float *bias, const Pixels *p, float *c, int tile, int n,
                     int column)
{
    const MgvAmxPlanes *l = p->l;
    const int apart = l->width % MGV_AMX_ROWS; // tiles of a row overlap, or end behind it

    for (int i = 0; i < (apart ? n : 1); i++) {
        const ptrdiff_t at = out_pixel(p, tile + i) * w->cout + column;

        *out = (MgvAmxOut){
            .c = c + i * MGV_AMX_ROWS * MGV_AMX_BLOCK, .bias = bias ? bias + column : NULL,
            .residual = l->residual ? l->residual + at : NULL, .y = l->y ? l->y + at : NULL,
            .y16 = l->y16 ? l->y16 + at : NULL, .act = l->act, .stride = w->cout,
            .rows = apart ? MGV_MIN(MGV_AMX_ROWS, l->width) : n * MGV_AMX_ROWS, .n = MGV_MIN(MGV_AMX_BLOCK, w->cout - column),
        };
        if (apart)
            mgv_amx_out(out);
    }
}

/** What to fetch during a product: weights of the next group of blocks, or else of what is added to the next tiles. */
static const char *fetch(const MgvAmxWeights *w, const Pixels *p, const char *weights, int tile, size_t bytes)
{
    if (weights || !p->l->residual || tile >= p->nb_tiles)
        return weights;
    return (const char *)(p->l->residual + out_pixel(p, tile) * w->cout) + bytes;
}

/** What comes after a product is done during the next, and what is needed next comes into cache. */
static void multiply(const MgvAmxWeights *w, const float *bias, const Pixels *p, const ptrdiff_t *segment)
{
    const int nb_blocks = (w->cout + MGV_AMX_BLOCK - 1) / MGV_AMX_BLOCK, group = mgv_amx_group(w), most = mgv_amx_tiles(w);
    const size_t part = w->block / ((p->nb_tiles + most - 1) / most);
    const size_t added = (size_t)most * MGV_AMX_ROWS * w->cout * sizeof(float) / nb_blocks;
    _Alignas(64) float c[2][MGV_AMX_TILES * MGV_AMX_ROWS * MGV_AMX_BLOCK];
    MgvAmxRows rows = { .nb = most, .stride = p->cell, .step = MGV_AMX_BYTES, .segment = segment };
    MgvAmxOut out = { .rows = 0 };
    int turn = 0;

    for (int first = 0; first < nb_blocks; first += group) {
        const int end = MGV_MIN(first + group, nb_blocks), last = end == nb_blocks;
        const char *next = (const char *)w->data + end * w->block;

        for (int tile = 0; tile < p->nb_tiles; tile += most) {
            for (int i = 0; i < most; i++) // the last one again where there are too few
                rows.tile[i] = p->l->padded + padded_pixel(p, MGV_MIN(tile + i, p->nb_tiles - 1)) * p->cell;
            for (int block = first; block < end; block++, turn ^= 1, next += part) {
                mgv_amx_product(w, block, &rows, c[turn], MGV_AMX_BLOCK * sizeof(float), 0,
                                fetch(w, p, last ? NULL : next, tile + most, block * added), last ? added : part, &out);
                describe(&out, w, bias, p, c[turn], tile, MGV_MIN(most, p->nb_tiles - tile), block * MGV_AMX_BLOCK);
            }
        }
    }
    mgv_amx_out(&out);
}

void mgv_amx_conv(const MgvAmxWeights *w, const float *bias, const MgvAmxPlanes *l)
{
    const int per_row = (l->width + MGV_AMX_ROWS - 1) / MGV_AMX_ROWS;
    const Pixels p = { l, w->inputs / 3 * sizeof(uint16_t), per_row, l->planes * l->rows * per_row };
    ptrdiff_t segment[9];

    for (int i = 0; i < 9; i++)
        segment[i] = l->plane[i / 3] + i % 3 * (l->width + 2) * p.cell;
    mgv_amx_begin();
    multiply(w, bias, &p, segment);
    mgv_amx_end();
}

#endif
