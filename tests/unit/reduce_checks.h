/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checks of the CPU reduction, without a test framework, so that they run
 * under cmocka (test_reduce.c) and as a plain program on a foreign processor
 * (reduce_plain.c).  Each returns how many results were wrong and prints the
 * first of them.
 */
#ifndef REDUCE_CHECKS_H
#define REDUCE_CHECKS_H

#include <stdbool.h>

#include "backend/cpu/reduce/reduce.h"

typedef struct reduce_check {
    const char *name;
    int (*run)(void);
} reduce_check;

extern const reduce_check reduce_checks[];
extern const size_t n_reduce_checks;

/* Seeds the data and prints the seed; DEVCOMM_TEST_SEED sets it. */
void reduce_checks_init(void);

/* The files of checks. */
int check_sets(void);     /* names, order, no NULL */
int check_examples(void); /* docs/numerics.md's own examples */
int check_codes(void);    /* every code of the 8- and 16-bit types */
int check_pairs(void);    /* pairs of codes, against the oracle */
int check_wide(void);     /* 32- and 64-bit types, against the oracle */
int check_division(void); /* avg of integers by many divisors */
int check_grid(void);     /* every set against scalar, all shapes */
int check_bounds(void);   /* nothing read or written outside */
int check_copies(void);
int check_environment(void); /* rounding mode, flush to zero */

/* ---- for those files ------------------------------------------------------ */

uint64_t data_random(void);
/* `count` elements: numbers that fit each other, rich in special values. */
void data_fill(dcm_dtype dtype, void *p, size_t count);

/* Counts `got` != `want`; prints the first few. */
int data_compare(const char *what, const char *set, dcm_dtype dtype, dcm_op op,
                 const void *got, const void *want, size_t count);

#endif /* REDUCE_CHECKS_H */
