/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data whose reduction is known, to the bit.
 *
 * One object describes the input of every rank and the result for one (type,
 * operator, ranks, seed).  Every rank builds the same object by itself; another
 * seed gives other data, so that stale results of an earlier run show up.
 *
 * The pattern has DCMI_DATA_PERIOD elements and repeats.  The period is prime:
 * pieces moved by a power of two never meet their own values, and filling and
 * judging run at memory speed.
 */
#ifndef DCMI_BENCH_DATA_H
#define DCMI_BENCH_DATA_H

#include <devcomm/devcomm.h>

#include <stdbool.h>

enum {
    DCMI_DATA_PERIOD = 1021
};

typedef struct dcmi_data_spec {
    dcm_dtype dtype;
    dcm_op op;
    int nranks;
    uint64_t seed;
    /*
     * False: no step of the reduction in rank order rounds, so every correct
     * implementation gives these bits.  True: arbitrary values, and the result
     * is that of the rules in docs/numerics.md, computed apart from the
     * backends.
     */
    bool is_random;
} dcmi_data_spec;

typedef struct dcmi_data dcmi_data;

dcm_status dcmi_data_new(dcmi_data **data_p, const dcmi_data_spec *spec);
void dcmi_data_free(dcmi_data *data); /* NULL is allowed */

/* Any alignment.  The result is what every rank must get. */
void dcmi_data_fill(const dcmi_data *data, int rank, void *dst, size_t count);
void dcmi_data_fill_result(const dcmi_data *data, void *dst, size_t count);

/* Elements of `buf` that differ from the result in any bit. */
size_t dcmi_data_wrong(const dcmi_data *data, const void *buf, size_t count);

/* The same against the input of `rank`: has somebody written to it? */
size_t dcmi_data_changed(const dcmi_data *data, int rank, const void *buf,
                         size_t count);

/* ---- data.c's two ways to make an element (exact.c, refer.c) ------------- */

typedef struct dcmi_rng {
    uint64_t state;
} dcmi_rng;

uint64_t dcmi_rng_next(dcmi_rng *rng);

/* Uniform in lo .. hi. */
int64_t dcmi_rng_range(dcmi_rng *rng, int64_t lo, int64_t hi);

/* Inputs of all ranks and the result of one element, exactly representable. */
void dcmi_data_exact(const dcmi_data_spec *spec, dcmi_rng *rng, uint64_t *in,
                     uint64_t *result_p);

/* A finite value of moderate size. */
uint64_t dcmi_data_random(const dcmi_data_spec *spec, dcmi_rng *rng);

/* The reduction of one element by the rules, in rank order. */
uint64_t dcmi_data_reduce(dcm_dtype dtype, dcm_op op, const uint64_t *in,
                          int nranks);

#endif /* DCMI_BENCH_DATA_H */
