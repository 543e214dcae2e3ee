/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * Numbers of twice a float's precision: the sum of a float and of what it cuts
 * off (Dekker 1971, Knuth 1969). The first is the float nearest to the sum.
 */

/* a + b, exactly. */
vec2 sum(float a, float b)
{
    precise const float s = a + b, t = s - a;
    precise const float r = (a - (s - t)) + (b - t);

    return vec2(s, r);
}

/* x s, exactly, by halves of 12 bits. */
vec2 product(float x, float s)
{
    precise const float xh = uintBitsToFloat(floatBitsToUint(x) & 0xfffff000u), xl = x - xh;
    precise const float sh = uintBitsToFloat(floatBitsToUint(s) & 0xfffff000u), sl = s - sh;
    precise const float p = x * s;
    precise const float r = ((xh * sh - p) + xh * sl + xl * sh) + xl * sl;

    return vec2(p, r);
}

vec2 add(vec2 a, vec2 b)
{
    const vec2 s = sum(a.x, b.x);
    precise const float rest = s.y + (a.y + b.y);

    return sum(s.x, rest);
}

vec2 multiply(vec2 a, float b)
{
    const vec2 p = product(a.x, b);
    precise const float rest = p.y + a.y * b;

    return sum(p.x, rest);
}

vec2 divide(vec2 a, vec2 b)
{
    precise const float q = a.x / b.x;
    const vec2 p = product(q, b.x);
    precise const float rest = ((a.x - p.x) - p.y) + (a.y - q * b.y);
    precise const float r = rest / b.x;

    return sum(q, r);
}

/*
 * ln x to about 2^-31 of itself or of 1, for x in [2^-100,2^100]: x = 2^n m with m near 1,
 * ln m = 2 artanh f = 2 (f + f^3 / 3 + ...) with f = (m - 1) / (m + 1).
 */
vec2 logarithm(vec2 x)
{
    const uint bits = floatBitsToUint(x.x);
    const int n = int(bits >> 23) - 127 + int((bits & 0x7fffffu) > 0x3504f3u); // mantissa above the root of 2
    const vec2 m = x * uintBitsToFloat(uint(127 - n) << 23);
    vec2 above = sum(m.x, 1.0);

    precise const float part = m.x - 1.0;
    above.y += m.y;
    const vec2 f = divide(sum(part, m.y), above);
    const float s = f.x * f.x;
    const float p = s * (2.0 / 3 + s * (2.0 / 5 + s * (2.0 / 7 + s * (2.0 / 9 + s * (2.0 / 11 + s * (2.0 / 13))))));
    precise const float rest = float(n) * 1.42860682e-6 + (f.x * p + 2.0 * f.y);

    return add(sum(float(n) * 0.693145752, 2.0 * f.x), vec2(rest, 0));
}
