/* SPDX-License-Identifier: Apache-2.0 */
/* Text to numbers and enumerators, strict: the whole text or nothing. */
#ifndef DCMI_PARSE_H
#define DCMI_PARSE_H

#include <devcomm/backend.h>

#include <stdbool.h>
#include <stdint.h>

/* Decimal digits only, at most `max`. */
bool dcmi_parse_u64(const char *text, uint64_t max, uint64_t *v_p);

/* The same with an optional suffix k, m or g (1024's). */
bool dcmi_parse_bytes(const char *text, uint64_t max, uint64_t *v_p);

/* By the names in the maps of devcomm.h; also float, bfloat16, ... */
bool dcmi_parse_dtype(const char *text, dcm_dtype *dtype_p);
bool dcmi_parse_op(const char *text, dcm_op *op_p);

/* "all_reduce"; "another operation" for what is none. */
const char *dcmi_coll_str(dcm_coll_kind kind);

#endif /* DCMI_PARSE_H */
