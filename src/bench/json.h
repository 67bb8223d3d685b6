/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON, as much as the command needs: a writer onto a stream and a strict
 * reader of whole texts (RFC 8259).
 */
#ifndef DCMI_BENCH_JSON_H
#define DCMI_BENCH_JSON_H

#include <devcomm/devcomm.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
    DCMI_JSON_DEPTH = 32
}; /* nested arrays and objects */

/* ---- writing: `key` is NULL inside an array and for the outermost value -- */

typedef struct dcmi_jw {
    FILE *file; /* the caller checks it for errors when it closes it */
    int depth;
    bool has_members[DCMI_JSON_DEPTH + 1];
} dcmi_jw;

void dcmi_jw_object(dcmi_jw *w, const char *key);
void dcmi_jw_array(dcmi_jw *w, const char *key);
void dcmi_jw_end_object(dcmi_jw *w);
void dcmi_jw_end_array(dcmi_jw *w);

/* NULL is null; bytes that are no UTF-8 become U+FFFD. */
void dcmi_jw_str(dcmi_jw *w, const char *key, const char *v);
void dcmi_jw_num(dcmi_jw *w, const char *key, double v); /* not finite: null */
void dcmi_jw_u64(dcmi_jw *w, const char *key, uint64_t v);
void dcmi_jw_bool(dcmi_jw *w, const char *key, bool v);

/* ---- reading ------------------------------------------------------------- */

typedef enum dcmi_json_kind {
    DCMI_JSON_NULL,
    DCMI_JSON_BOOL,
    DCMI_JSON_NUM,
    DCMI_JSON_STR,
    DCMI_JSON_ARRAY,
    DCMI_JSON_OBJECT,
} dcmi_json_kind;

typedef struct dcmi_json {
    dcmi_json_kind kind;
    bool is_true;
    double num;
    char *str;               /* UTF-8 */
    char *key;               /* as a member of an object, else NULL */
    struct dcmi_json *first; /* members, elements */
    struct dcmi_json *next;
} dcmi_json;

/* Exactly one value and white space.  E_INVAL names the line. */
dcm_status dcmi_json_parse(dcmi_json **json_p, const char *text, size_t bytes);
dcm_status dcmi_json_read(dcmi_json **json_p, const char *path);
void dcmi_json_free(dcmi_json *json); /* NULL is allowed */

/* The first member called `key`; NULL: none, or `json` is no object. */
const dcmi_json *dcmi_json_get(const dcmi_json *json, const char *key);

/* A member's value, or the fallback where it is missing or of another kind. */
double dcmi_json_num_of(const dcmi_json *json, const char *key,
                        double fallback);
const char *dcmi_json_str_of(const dcmi_json *json, const char *key,
                             const char *fallback);
bool dcmi_json_bool_of(const dcmi_json *json, const char *key, bool fallback);

#endif /* DCMI_BENCH_JSON_H */
