/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * What the shaders share. Memory is reached through device addresses in the
 * push constants, so there are no bindings and no limit on their size.
 * All sums are float. With HALF, products multiply float16: matrices are stored
 * as such, and so are those activations that only products read.
 */

#extension GL_EXT_buffer_reference : require
#extension GL_EXT_control_flow_attributes : require

layout(buffer_reference, std430, buffer_reference_align = 4)  restrict readonly  buffer In     { float v[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) restrict readonly  buffer In4    { vec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4)  restrict writeonly buffer Out    { float v[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) restrict writeonly buffer Out4   { vec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4)  restrict readonly  buffer Floats { float v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4)  restrict readonly  buffer Ints   { int v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4)  restrict writeonly buffer OutInts { int v[]; };

#if HALF
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require

layout(constant_id = 10) const uint HALF_IN = 0; // bit i: input i is stored as float16
layout(constant_id = 11) const bool HALF_OUT = false;

layout(buffer_reference, std430, buffer_reference_align = 2)  restrict readonly  buffer InHalf   { float16_t v[]; };
layout(buffer_reference, std430, buffer_reference_align = 8)  restrict readonly  buffer InHalf4  { f16vec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) restrict readonly  buffer Eights   { uvec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 2)  restrict writeonly buffer OutHalf  { float16_t v[]; };
layout(buffer_reference, std430, buffer_reference_align = 8)  restrict writeonly buffer OutHalf4 { f16vec4 v[]; };

/* The largest finite value stands for what is beyond. */
f16vec4 to_half(vec4 x)
{
    return f16vec4(clamp(x, -65504.0, 65504.0));
}

/* Value i of input n of a product. */
float get(uint n, In x, uint i)
{
    return (HALF_IN >> n & 1) != 0 ? float(InHalf(x).v[i]) : float(to_half(vec4(x.v[i])).x);
}

vec4 get4(uint n, In x, uint i)
{
    return (HALF_IN >> n & 1) != 0 ? vec4(InHalf4(x).v[i]) : vec4(to_half(In4(x).v[i]));
}

/* Eight values, as float16, from value i on: a multiple of eight. */
uvec4 eight(uint n, In x, uint i)
{
    if ((HALF_IN >> n & 1) != 0)
        return Eights(x).v[i / 8];
    const vec4 a = clamp(In4(x).v[i / 4], -65504.0, 65504.0), b = clamp(In4(x).v[i / 4 + 1], -65504.0, 65504.0);
    return uvec4(packHalf2x16(a.xy), packHalf2x16(a.zw), packHalf2x16(b.xy), packHalf2x16(b.zw));
}

/* Four values of a prepacked matrix. */
vec4 weights(In b, uint i)
{
    return vec4(InHalf4(b).v[i]);
}

void put(Out o, uint i, float x)
{
    if (HALF_OUT)
        OutHalf(o).v[i] = to_half(vec4(x)).x;
    else
        o.v[i] = x;
}

void put4(Out o, uint i, vec4 x)
{
    if (HALF_OUT)
        OutHalf4(o).v[i] = to_half(x);
    else
        Out4(o).v[i] = x;
}
#else
float get(uint n, In x, uint i)          { return x.v[i]; }
vec4 get4(uint n, In x, uint i)          { return In4(x).v[i]; }
vec4 weights(In b, uint i)               { return In4(b).v[i]; }
void put(Out o, uint i, float x)         { o.v[i] = x; }
void put4(Out o, uint i, vec4 x)         { Out4(o).v[i] = x; }
#endif

const uint ACT_SILU = 1, ACT_GELU_TANH = 2; // enum MgvAct

/* exp(x), x clipped to [-87.3,88.3], to 1 or 2 ulp: drivers differ, and some are far from it. */
float exponential(float x)
{
    x = clamp(x, -87.3, 88.3);
    const float n = roundEven(x * 1.44269504);
    const float r = (x - n * 0.693145752) - n * 1.42860677e-6;
    float p = 1.381446631e-3;

    p = p * r + 8.368780303e-3;
    p = p * r + 4.166839423e-2;
    p = p * r + 1.666652011e-1;
    p = p * r + 4.999999341e-1;
    p = p * r * r + r + 1.0;
    return p * intBitsToFloat((int(n) + 127) << 23);
}

/* 0.5 x (1 + tanh(u)) is x / (1 + exp(-2u)). */
float activate(uint act, float x)
{
    if (act == ACT_SILU)
        return x / (1.0 + exponential(-x));
    if (act == ACT_GELU_TANH)
        return x / (1.0 + exponential(-x * (1.59576912 + 0.0713548163 * x * x)));
    return x;
}

vec4 activate(uint act, vec4 x)
{
    return vec4(activate(act, x.x), activate(act, x.y), activate(act, x.z), activate(act, x.w));
}

/* First push constants of products y = act(A B + bias), A [rows,depth], B [depth,columns]. */
#define PRODUCT                                                      \
    In x, x1, x2;                                                    \
    In b;                                                            \
    Floats bias;                                                     \
    Out o;                                                           \
    uint rows, depth, columns, ldb;                                  \
    float scale; /* of B, which is stored divided by it */

/* Number of this workgroup: long rows of them are folded, for a dimension may not have more than 65535. */
uint group_index()
{
    return gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
}

/* Number of this thread, and how many there are, in shaders whose workgroups are rows of 256. */
uint thread_index()
{
    return group_index() * 256 + gl_LocalInvocationID.x;
}

uint nb_threads()
{
    return gl_NumWorkGroups.x * gl_NumWorkGroups.y * 256;
}
