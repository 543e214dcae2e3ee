/*
 * This file is part of libmagvit, LGPL-2.1-or-later, see LICENSE.
 *
 * What shaders by cooperative matrices share: matrices of float16, float sums,
 * one subgroup each. In shared memory they lie in sixteen bytes at a time.
 */

#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require

layout(constant_id = 12) const uint M = 16; // shape: M x K by K x N
layout(constant_id = 13) const uint N = 16;
layout(constant_id = 14) const uint K = 16;
layout(constant_id = 15) const uint SIZE = 32; // threads of a subgroup

#define MatrixA coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA>
#define MatrixB coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB>
#define Sums    coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>

const int BY_ROW = gl_CooperativeMatrixLayoutRowMajor, BY_COLUMN = gl_CooperativeMatrixLayoutColumnMajor;

/* Until what the subgroup's threads wrote to shared memory is there for all of them. */
void wait_for_subgroup()
{
    controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);
}
