/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * Where the implicit matrix of a convolution lies in its input: a row is an
 * output cell, its values are the channels under each tap of the kernel. SLOTS
 * is how many rows a thread has.
 */

layout(constant_id = 8) const int EDGE = 3;          // of the kernel: 1 or 3
layout(constant_id = 9) const bool REFLECT = false;  // else zeros around

const uint NOTHING = 0xffffffffu;

ivec3 place[SLOTS]; // t,h,w of the row
uint first[SLOTS];  // first value of the row's sample, NOTHING beyond the last row

void begin(uint slot, uint row)
{
    const uint cell = row % uint(T * H * W);

    place[slot] = ivec3(cell / uint(H * W), cell / uint(W) % uint(H), cell % uint(W));
    first[slot] = row < rows ? (row - cell) * channels : NOTHING;
}

/* Where position i of an axis of n is read; negative: a zero. */
int padded(int i, int n)
{
    if (i >= 0 && i < n)
        return i;
    if (!REFLECT)
        return -1;
    return n == 1 ? 0 : i < 0 ? -i : 2 * (n - 1) - i;
}

/* First value of the cell under a tap, or NOTHING. */
uint locate(uint slot, uint tap)
{
    const int r = EDGE / 2, i = int(tap);
    const ivec3 at = place[slot] + ivec3(i / (EDGE * EDGE), i / EDGE % EDGE, i % EDGE) - r;
    const int t = padded(at.x, T), h = padded(at.y, H), w = padded(at.z, W);

    if (first[slot] == NOTHING || min(t, min(h, w)) < 0)
        return NOTHING;
    return first[slot] + uint((t * H + h) * W + w) * channels;
}
