/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * The tile product behind convolution and linear layers: C = act(A B + bias).
 * A workgroup makes a tile of BM rows and BN columns in steps of BK; a thread
 * TM rows, BM / TM apart, and TN columns, in groups of four. B is [K,columns],
 * both padded with zeros to whole tiles. The including shader says what
 * A is: begin(row) is called for each row of the tile that a thread loads,
 * then fetch(slot, k) for four values at k, k + 1, .. of the slot-th of them.
 */

layout(local_size_x_id = 0) in; // BM / TM * BN / TN
layout(constant_id = 1) const uint BM = 64;
layout(constant_id = 2) const uint BN = 64;
layout(constant_id = 3) const uint TM = 4;
layout(constant_id = 4) const uint TN = 4;
layout(constant_id = 5) const uint ACT = 0;
layout(constant_id = 6) const bool BIAS = false;
layout(constant_id = 7) const bool QUADS = false; // rows of A and of C are whole groups of four

const uint BK = 16, QUAD = BK / 4;
const uint LDA = QUAD + 1; // an odd number of banks apart
const uint THREADS = BM / TM * (BN / TN);
const uint SLOTS = BM * QUAD / THREADS;

shared vec4 tile_a[BM * LDA];
shared vec4 tile_b[BK * BN / 4];
vec4 acc[TM][TN / 4];

void load_tiles(uint k0, uint column)
{
    const uint tid = gl_LocalInvocationID.x;

    [[unroll]] for (uint s = 0; s < SLOTS; s++)
        tile_a[(tid / QUAD + s * (THREADS / QUAD)) * LDA + tid % QUAD] = fetch(s, k0 + tid % QUAD * 4);
    for (uint i = tid; i < BK * BN / 4; i += THREADS)
        tile_b[i] = weights(b, ((k0 + i / (BN / 4)) * ldb + column) / 4 + i % (BN / 4));
}

void multiply_tiles(uint tx, uint ty)
{
    [[unroll]] for (uint k = 0; k < QUAD; k++) {
        vec4 q[4][TN / 4];

        [[unroll]] for (uint i = 0; i < 4; i++)
            [[unroll]] for (uint j = 0; j < TN / 4; j++)
                q[i][j] = tile_b[(k * 4 + i) * (BN / 4) + tx + j * (BN / TN)];
        [[unroll]] for (uint i = 0; i < TM; i++) {
            const vec4 a = tile_a[(ty + i * (BM / TM)) * LDA + k];

            [[unroll]] for (uint j = 0; j < TN / 4; j++)
                acc[i][j] += a.x * q[0][j] + a.y * q[1][j] + a.z * q[2][j] + a.w * q[3][j];
        }
    }
}

void store(uint row, uint column, vec4 c)
{
    if (HALF != 0)
        c *= scale;
    if (BIAS && column < columns)
        [[unroll]] for (uint i = 0; i < 4; i++)
            c[i] += bias.v[min(column + i, columns - 1)];
    c = activate(ACT, c);
    if (QUADS && column < columns)
        put4(o, (row * columns + column) / 4, c);
    else if (!QUADS)
        [[unroll]] for (uint i = 0; i < 4; i++)
            if (column + i < columns)
                put(o, row * columns + column + i, c[i]);
}

void multiply(uint row, uint column)
{
    const uint tid = gl_LocalInvocationID.x, tx = tid % (BN / TN), ty = tid / (BN / TN);

    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN / 4; j++)
            acc[i][j] = vec4(0);
    [[unroll]] for (uint s = 0; s < SLOTS; s++)
        begin(s, row + tid / QUAD + s * (THREADS / QUAD));
    for (uint k = 0; k < depth; k += BK) {
        load_tiles(k, column);
        barrier();
        multiply_tiles(tx, ty);
        barrier();
    }
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN / 4; j++)
            if (row + ty + i * (BM / TM) < rows)
                store(row + ty + i * (BM / TM), column + (tx + j * (BN / TN)) * 4, acc[i][j]);
}
