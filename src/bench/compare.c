/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing a result with an older one, row by row. */
#include "bench/row.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

/* What makes two rows the same measurement. */
typedef struct row_key {
    const char *op;
    const char *dtype;
    const char *redop;
    const char *memory;
    double bytes;
    double ranks;
    bool is_in_place;
} row_key;

bool dcmi_verdict_fails(dcmi_verdict v)
{
    return v == DCMI_SLOWER || v == DCMI_MISSING;
}

static row_key key_of_row(const dcmi_row *row)
{
    return (row_key){row->op,         row->dtype,         row->redop,
                     row->memory,     (double)row->bytes, (double)row->nranks,
                     row->is_in_place};
}

static row_key key_of_json(const dcmi_json *row)
{
    return (row_key){
        .op = dcmi_json_str_of(row, "op", ""),
        .dtype = dcmi_json_str_of(row, "dtype", "none"),
        .redop = dcmi_json_str_of(row, "redop", "none"),
        .memory = dcmi_json_str_of(row, "memory", "private"),
        .bytes = dcmi_json_num_of(row, "bytes", -1.0),
        .ranks = dcmi_json_num_of(row, "ranks", -1.0),
        .is_in_place = dcmi_json_bool_of(row, "in_place", false),
    };
}

static bool is_same_key(const row_key *a, const row_key *b)
{
    return strcmp(a->op, b->op) == 0 && strcmp(a->dtype, b->dtype) == 0 &&
           strcmp(a->redop, b->redop) == 0 &&
           strcmp(a->memory, b->memory) == 0 &&
           fabs(a->bytes - b->bytes) < 0.5 && fabs(a->ranks - b->ranks) < 0.5 &&
           a->is_in_place == b->is_in_place;
}

static void describe(char *text, size_t size, const row_key *k)
{
    (void)snprintf(text, size, "%s %.0f B %s %s, %.0f ranks, %s%s", k->op,
                   k->bytes, k->dtype, k->redop, k->ranks, k->memory,
                   k->is_in_place ? ", in place" : "");
}

static const dcmi_row *find_row(const dcmi_row *rows, size_t nrows,
                                const row_key *key)
{
    for (size_t i = 0; i < nrows; i++) {
        const row_key k = key_of_row(&rows[i]);

        if (rows[i].status == DCM_OK && is_same_key(&k, key))
            return &rows[i];
    }
    return NULL;
}

static const dcmi_json *find_json(const dcmi_json *rows, const row_key *key)
{
    for (const dcmi_json *r = rows->first; r != NULL; r = r->next) {
        const row_key k = key_of_json(r);

        if (is_same_key(&k, key))
            return r;
    }
    return NULL;
}

static dcmi_verdict judge(double old_us, double new_us, double tolerance)
{
    /* Written so that a NaN would fail. */
    if (!(new_us <= old_us * (1.0 + tolerance)))
        return DCMI_SLOWER;
    return new_us < old_us * (1.0 - tolerance) ? DCMI_FASTER : DCMI_SAME;
}

static dcmi_finding find_old(const dcmi_json *old_row, const dcmi_row *rows,
                             size_t nrows, double tolerance)
{
    const row_key key = key_of_json(old_row);
    dcmi_finding f = {
        .verdict = DCMI_MISSING,
        .row = find_row(rows, nrows, &key),
        .old_us = dcmi_json_num_of(old_row, "p50_us", (double)NAN),
        .new_us = (double)NAN,
        .old_ping_ns = dcmi_json_num_of(old_row, "pingpong_ns", -1.0),
    };

    describe(f.what, sizeof(f.what), &key);
    if (f.row != NULL) {
        f.new_us = f.row->us.p50;
        f.verdict = judge(f.old_us, f.new_us, tolerance);
    }
    return f;
}

dcm_status dcmi_result_compare(size_t *failed_p, const dcmi_json *old,
                               const dcmi_row *rows, size_t nrows,
                               double tolerance, dcmi_finding_fn fn, void *arg)
{
    const dcmi_json *old_rows = dcmi_json_get(old, "rows");
    size_t compared = 0;
    size_t failed = 0;

    if (old_rows == NULL || old_rows->kind != DCMI_JSON_ARRAY)
        return dcmi_err(DCM_E_INVAL, "the older result has no rows");

    for (const dcmi_json *r = old_rows->first; r != NULL; r = r->next) {
        const bool is_measured =
            isfinite(dcmi_json_num_of(r, "p50_us", (double)NAN));
        dcmi_finding f;

        if (dcmi_json_str_of(r, "op", NULL) == NULL)
            return dcmi_err(DCM_E_INVAL, "the older result has a row of no "
                                         "operation");
        if (!is_measured)
            continue; /* it was refused then: nothing to hold against it */
        f = find_old(r, rows, nrows, tolerance);
        failed += dcmi_verdict_fails(f.verdict);
        compared++;
        fn(arg, &f);
    }
    if (compared == 0)
        return dcmi_err(DCM_E_INVAL, "the older result has no measured rows");

    for (size_t i = 0; i < nrows; i++) {
        const row_key key = key_of_row(&rows[i]);
        dcmi_finding f = {.verdict = DCMI_NEW,
                          .row = &rows[i],
                          .old_us = (double)NAN,
                          .new_us = rows[i].us.p50,
                          .old_ping_ns = -1.0};

        if (rows[i].status != DCM_OK || find_json(old_rows, &key) != NULL)
            continue;
        describe(f.what, sizeof(f.what), &key);
        fn(arg, &f);
    }
    *failed_p = failed;
    return DCM_OK;
}
