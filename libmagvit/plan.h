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
 * The op plan: model code looks like direct calls but records a flat list of
 * ops on [N,T,H,W,C] tensors, channels last. A backend takes the whole list.
 * There is no graph optimiser and no control flow.
 *
 * Errors are sticky: after the first failure every call returns a negative id
 * and does nothing; mgv_plan_finish() reports the failure, which was logged
 * with the op's name when it happened.
 *
 * An op's name is the PyTorch module path. Weights are found under
 * "<name>.weight" and "<name>.bias" and are float32, float16 or bfloat16 in the
 * file, in PyTorch order ([O,I,kt,kh,kw], [O,I], [rows,C], [C]).
 */

#ifndef MAGVIT_PLAN_H
#define MAGVIT_PLAN_H

#include "libmagvit/common.h"
#include "libmagvit/safetensors.h"

typedef int MgvT; ///< tensor id inside a plan; negative once the plan has failed

/** Sequences of W tokens are [N,1,1,W,C]. */
typedef struct MgvShape {
    int n, t, h, w, c;
} MgvShape;

enum MgvDType { MGV_F32, MGV_I32 };

enum MgvAct { MGV_ACT_NONE, MGV_ACT_SILU, MGV_ACT_GELU_TANH };

enum MgvPad { MGV_PAD_ZERO, MGV_PAD_REFLECT };

#define MGV_OPS(X)                                                                   \
    X(CONV3D, conv3d)         /* stride 1, kernel 1 or 3, same size; bias optional; act */ \
    X(GROUP_NORM, group_norm) /* statistics over T,H,W and C/groups channels; act */  \
    X(LAYER_NORM, layer_norm) /* over C */                                            \
    X(LINEAR, linear)         /* y = act(x . W^T + b) */                              \
    X(ATTENTION, attention)   /* softmax(q k^T / sqrt(d)) v, heads side by side in C */ \
    X(ADD, add)               /* a + b, or a + weight rows repeated over N */         \
    X(ACT, act)               /* elementwise activation */                            \
    X(POOL, pool)             /* average, window = stride, last window may be partial */ \
    X(UPSAMPLE, upsample)     /* nearest: out[i] = in[i / factor] */                  \
    X(EMBED, embed)           /* rows of a table by I32 id */                         \
    X(VQ_ARGMIN, vq_argmin)   /* nearest codebook row, lowest index on ties */

enum MgvOpType {
#define X(upper, lower) MGV_OP_##upper,
    MGV_OPS(X)
#undef X
    MGV_OP_NB
};

#define MGV_MAX_IN 3
#define MGV_MAX_WEIGHT 2

typedef struct MgvOp {
    enum MgvOpType type;
    char *name;                                ///< PyTorch module path
    MgvT in[MGV_MAX_IN];                       ///< inputs; unused: -1
    MgvT out;                                  ///< output
    const MgvTensor *weight[MGV_MAX_WEIGHT];   ///< weight, bias; NULL if absent
    enum MgvAct act;                           ///< CONV3D, GROUP_NORM, LINEAR, ACT: applied last
    union {
        struct { int k; enum MgvPad pad; } conv;       ///< kernel edge 1 or 3
        struct { int groups; float eps; } norm;        ///< groups: GROUP_NORM only
        struct { int heads; } attention;
        struct { int ft, fh, fw; } resample;           ///< POOL, UPSAMPLE: factors 1 or 2
        struct { int normalize; } vq;                  ///< compare l2-normalised vectors
    } u;
    int keep16;                                ///< LINEAR: not to be multiplied in 8 bits
    double macs;                               ///< multiply-accumulates, 0 for elementwise ops
} MgvOp;

typedef struct MgvTensorInfo {
    MgvShape shape;
    enum MgvDType dtype;
    char *name;      ///< of the op that writes it, or of the input
    int first, last; ///< op indices of first write and last use; inputs: first = -1; outputs: last = nb_ops
    size_t offset;   ///< bytes into the arena, multiple of MGV_ALIGNMENT
    size_t size;     ///< bytes
} MgvTensorInfo;

typedef struct MgvPlan {
    char *name;                 ///< "encoder", "transformer", "decoder"
    MgvOp *ops;
    int nb_ops;
    MgvTensorInfo *tensors;
    int nb_tensors;
    MgvT *inputs, *outputs;     ///< tensor ids
    char **output_names;
    int nb_inputs, nb_outputs;
    size_t arena_size;          ///< bytes, set by mgv_plan_finish()
    int error;                  ///< sticky, 0 or negative
    /* private */
    const MgvSafetensors *weights;
    const MagvitLogger *log;
    int finished;
} MgvPlan;

/**
 * Begin a plan. weights (may be NULL when no op has weights) and log must
 * outlive it.
 */
int mgv_plan_alloc(MgvPlan **out, const char *name, const MgvSafetensors *weights, const MagvitLogger *log);
void mgv_plan_free(MgvPlan **p);

/** Declare a named input. */
MgvT mgv_plan_input(MgvPlan *p, const char *name, MgvShape shape, enum MgvDType dtype);

/** Name a result; it is kept until the end of the run. */
void mgv_plan_output(MgvPlan *p, const char *name, MgvT x);

/** Report the first error, else compute liveness and lay tensors out in one arena. */
int mgv_plan_finish(MgvPlan *p);

/**
 * Give tensors that are live at the same time different memory: set the offset of each that has a size.
 * @return 0 and *arena_size, or MAGVIT_ERR(ENOMEM), which is not logged
 */
int mgv_layout(MgvTensorInfo *tensors, int nb_tensors, size_t *arena_size);

/** One line per op: name, type, shapes, MACs, arena offset; then a total. level: where the lines go. */
void mgv_plan_print(const MgvPlan *p, const MagvitLogger *log, enum MagvitLogLevel level);

/** Tensor of an input or output by name, negative if there is none. */
MgvT mgv_plan_find_input(const MgvPlan *p, const char *name);
MgvT mgv_plan_find_output(const MgvPlan *p, const char *name);

const char *mgv_op_name(enum MgvOpType type); ///< "conv3d", ...
size_t mgv_shape_elements(MgvShape s);
double mgv_plan_macs(const MgvPlan *p);

/** Fail unless the model's table "<name>.weight" has exactly this shape: ops that look rows up take any number of rows. */
void mgv_plan_check_table(MgvPlan *p, const char *name, int rows, int width);

/* Builder calls: append one op, check shapes and weights, return the output id. */

/** [N,T,H,W,Ci] -> [N,T,H,W,cout]. k: 1 or 3, padded to the same size; reflect on an axis of length 1 replicates. */
MgvT mgv_conv3d(MgvPlan *p, const char *name, MgvT x, int cout, int k, enum MgvPad pad, int bias, enum MgvAct act);
/** Biased variance per sample over T,H,W and C/groups contiguous channels, then scale, bias, act. */
MgvT mgv_group_norm(MgvPlan *p, const char *name, MgvT x, int groups, float eps, enum MgvAct act);
/** Over C, then scale and bias. */
MgvT mgv_layer_norm(MgvPlan *p, const char *name, MgvT x, float eps);
/** [..,Ci] -> [..,cout] with weight [cout,Ci] and bias. */
MgvT mgv_linear(MgvPlan *p, const char *name, MgvT x, int cout, enum MgvAct act);
/**
 * As mgv_linear() with explicit tensor names: the first cout rows of a weight
 * that may have more (tied output matrix), the first cout values of a bias.
 */
MgvT mgv_linear_tied(MgvPlan *p, const char *name, MgvT x, const char *weight, const char *bias, int cout);
/** Mark the linear op that writes x as one that loses too much in 8 bits. @return x */
MgvT mgv_keep16(MgvPlan *p, MgvT x);
/** q,k,v: [N,1,1,W,C]; heads divides C; q is scaled by 1/sqrt(C/heads). */
MgvT mgv_attention(MgvPlan *p, const char *name, MgvT q, MgvT k, MgvT v, int heads);
/** Same shapes. */
MgvT mgv_add(MgvPlan *p, const char *name, MgvT a, MgvT b);
/** a: [N,1,1,W,C] plus the first W rows of the table "<name>.weight" [L>=W,C]. */
MgvT mgv_add_rows(MgvPlan *p, const char *name, MgvT a);
MgvT mgv_act(MgvPlan *p, const char *name, MgvT x, enum MgvAct act);
/** Output length ceil(n/f); a partial last window averages the cells it has. */
MgvT mgv_pool(MgvPlan *p, const char *name, MgvT x, int ft, int fh, int fw);
MgvT mgv_upsample(MgvPlan *p, const char *name, MgvT x, int ft, int fh, int fw);
/** ids [N,T,H,W,1] I32 -> [N,T,H,W,C] from the table "<name>.weight" [rows,C]. Ids are clamped to the table. */
MgvT mgv_embed(MgvPlan *p, const char *name, MgvT ids);
/** x [N,T,H,W,D] -> I32 [N,T,H,W,1]: row of "<codebook>.weight" [codes,D] with the least squared distance. */
MgvT mgv_vq_argmin(MgvPlan *p, const char *name, MgvT x, const char *codebook, int normalize);

#endif /* MAGVIT_PLAN_H */
