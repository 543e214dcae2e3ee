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
 * What is checked and how it is filled: shared by the runner and the tables.
 */

#ifndef MAGVIT_CHECKKERNELS_H
#define MAGVIT_CHECKKERNELS_H

#include "libmagvit/backend.h"
#include "libmagvit/plan.h"

enum Fill {
    FILL_UNIFORM,  ///< [-1,1)
    FILL_NORMAL,   ///< standard normal
    FILL_FLAT,     ///< one value a channel: variance 0
    FILL_OFFSET,   ///< normal around 1000: cancellation
    FILL_DENORMAL, ///< around 1e-40
    FILL_BIG,      ///< normal times 1e12
    FILL_NB
};

extern const char *const fill_names[FILL_NB];

/** One op with its inputs. Fields that the op does not have are 0. */
typedef struct Case {
    enum MgvOpType op;
    MgvShape x; ///< of the first input; the others have the same
    int cout;   ///< CONV3D, LINEAR
    int k;      ///< CONV3D
    enum MgvPad pad;
    int bias;   ///< CONV3D
    enum MgvAct act;
    int groups, heads;
    int steep;  ///< ATTENTION: by how much the last tokens' values are larger than the first one's; 0: they are not
    int ft, fh, fw;
    int rows;   ///< of the table: EMBED, VQ_ARGMIN; rows beyond cout: LINEAR tied; beyond W: ADD of a table
    int table;  ///< ADD: a table instead of a second input; LINEAR: tied
    int normalize;
    float eps;  ///< of norms; 0: 1e-6
    enum Fill fill;
} Case;

/** Random cases: every row is run with every fill of its op. */
extern const Case cases[];
extern const int nb_cases;
/** Shapes of real models, for timing. */
extern const Case bench_cases[];
extern const int nb_bench_cases;

/** Fills that make sense for an op, bits 1 << Fill. */
unsigned case_fills(enum MgvOpType op);

/** A tiny case worked out by hand. Missing arrays are NULL. */
typedef struct Known {
    const char *what;
    Case c;
    const float *x[MGV_MAX_IN];
    const int32_t *ids;       ///< EMBED: the input
    const float *weight, *bias;
    const float *want;
    const int32_t *want_ids;  ///< VQ_ARGMIN
} Known;

extern const Known known[];
extern const int nb_known;

int case_nb_inputs(const Case *c);
/** Dimensions of weight i. @return their number, 0 if there is no such weight */
int case_weight_dims(const Case *c, int i, int64_t dims[MGV_ST_MAX_DIMS]);
/** Record the case's op. */
MgvT case_build(const Case *c, MgvPlan *p, const MgvT *in);
/** One line of parameters. */
void case_print(const Case *c, char *line, size_t size);

/* ---- data.c ---- */

/** Everything a case needs besides its parameters. */
typedef struct Data {
    void *in[MGV_MAX_IN];
    float *weight[MGV_MAX_WEIGHT];
    MgvSafetensors *st; ///< NULL if the op has no weights
    enum MagvitPrecision precision; ///< that holds what a product multiplies exactly
} Data;

/** Random values from a seed; those that a product multiplies are ones that the precision holds exactly. */
void data_init(const Case *c, Data *d, uint64_t seed, enum MagvitPrecision precision);
void data_init_known(const Known *k, Data *d);
void data_uninit(Data *d);

/* ---- checkkernels.c ---- */

#define MAX_BACKENDS 9 ///< each at each precision, and one without AVX-512

/** A backend at a precision that is checked: its devices differ in the number of threads. */
typedef struct Subject {
    const MgvBackend *b;
    const char *name;
    enum MagvitPrecision precision;
    int plain; ///< 1: what of the cpu backend is written for AVX-512 gives way to oneDNN and plain C
    MgvDevice *dev[2];
    int nb_devs;
} Subject;

/** What the tap needs to look at the memory around an output. */
typedef struct Watch {
    uint8_t *arena;    ///< NULL: not known yet
    uint8_t *snapshot; ///< before the op
    int64_t touched;   ///< first byte outside of the output that changed, -1: none
} Watch;

typedef struct Run {
    MgvPlan *plan;
    MgvExec *exec;
    MgvT in[MGV_MAX_IN], out, before, behind;
    Watch watch;
} Run;

extern int passed, failed;

/** A plan of the case, its op as often as asked for, compiled and with inputs. To be closed in any case. */
int run_open(Run *r, const Case *c, const Data *d, const MgvBackend *b, MgvDevice *dev, int times);
void run_close(Run *r, const MgvBackend *b);
/** Did the command line ask for the op? */
int op_wanted(const char *name);
void fail_line(const char *backend, const char *line, const char *fill, const char *why);

/* ---- timing.c ---- */

/** Time the bench cases, with a limit those first that take least, and leave out those for which time is too short. */
void time_kernels(const Subject *s, int nb, const Subject *ref, uint64_t seed, double seconds);

/** Is the op a matrix product, a convolution or attention? */
int is_product(const Case *c);
/** Print what matrix products of one precision or (NULL) of each reach on this machine. @return 0 or a negative code */
int print_ceiling(int threads, const char *precision);
/**
 * Print what the ops of a model take at least, of one precision or (NULL) of each, each stage run for some seconds;
 * verbose: every op. @return 0 or a negative code
 */
int print_profile(const char *model, const char *precision, int threads, double seconds, int verbose);
/** p, or the end of the program if it is NULL. */
void *need(void *p);

extern const MagvitLogger logger;

#endif /* MAGVIT_CHECKKERNELS_H */
