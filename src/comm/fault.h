/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults on purpose: a backend called fault:RULES:BACKEND is BACKEND, with some of
 * its calls failing, late, deadly or wrong, so that what must survive that can be
 * tested with it.  docs/faults.md has the grammar.
 */
#ifndef DCMI_FAULT_H
#define DCMI_FAULT_H

#include <devcomm/backend.h>

#include <stdbool.h>

enum {
    DCMI_MOST_FAULTS = 8,
    DCMI_FAULTS_TEXT = 256,
    /* Calls that are no operations, behind the kinds of those. */
    DCMI_FAULT_OPEN = 1000,
    DCMI_FAULT_ARENA = 1001,
};

typedef enum dcmi_fault_deed {
    DCMI_FAULT_NONE = 0,
    DCMI_FAULT_FAIL,
    DCMI_FAULT_STALL,
    DCMI_FAULT_DIE,
    DCMI_FAULT_FLIP
} dcmi_fault_deed;

#define DCMI_FAULT_ANY_RANK UINT64_MAX

typedef struct dcmi_fault_rule {
    uint64_t rank;
    int call; /* a dcm_coll_kind, OPEN or ARENA; 0: any operation */
    uint64_t at;
    uint64_t from;
    uint64_t odds; /* one call in so many */
    uint64_t seed;
    dcmi_fault_deed deed;
    dcm_status status;
    uint64_t stall_ms;
} dcmi_fault_rule;

typedef struct dcmi_faults {
    size_t n; /* 0: the backend is left as it is */
    dcmi_fault_rule rule[DCMI_MOST_FAULTS];
    char text[DCMI_FAULTS_TEXT]; /* the rules as they were given */
} dcmi_faults;

/*
 * Read a backend's name.  One that does not begin with "fault:" is handed back
 * with no faults; *backend_p NULL: any backend.
 */
dcm_status dcmi_faults_parse(dcmi_faults *faults, const char **backend_p,
                             const char *name);

/*
 * Open `inner` with faults around it: *ops_p and *ctx_p take its place, until
 * the close of this table.  Collective, like a backend's open.
 */
dcm_status dcmi_fault_open(const dcm_backend_ops **ops_p, void **ctx_p,
                           const dcm_backend_ops *inner,
                           const dcmi_faults *faults,
                           const dcm_backend_env *env);

#endif /* DCMI_FAULT_H */
