/* SPDX-License-Identifier: Apache-2.0 */
/* Text to numbers and enumerators; the names of types and operators. */
#include "base/parse.h"

#include <string.h>
#include <strings.h>

static const struct {
    const char *text;
    size_t bytes;
} dtypes[] = {
#define DCM_X(name, value, bytes, text) [value] = {text, bytes},
    DCM_DTYPE_MAP(DCM_X)
#undef DCM_X
};

static const char *const ops[] = {
#define DCM_X(name, value, text) [value] = (text),
    DCM_OP_MAP(DCM_X)
#undef DCM_X
};

static const char *const colls[] = {
#define DCM_X(name, value, text) [value] = (text),
    DCM_COLL_MAP(DCM_X)
#undef DCM_X
};

_Static_assert(sizeof(dtypes) / sizeof(dtypes[0]) == DCM_NDTYPES, "types");
_Static_assert(sizeof(ops) / sizeof(ops[0]) == DCM_NOPS, "operators");

size_t dcm_dtype_bytes(dcm_dtype dtype)
{
    return (unsigned)dtype < DCM_NDTYPES ? dtypes[dtype].bytes : 0;
}

const char *dcm_dtype_str(dcm_dtype dtype)
{
    return (unsigned)dtype < DCM_NDTYPES ? dtypes[dtype].text : NULL;
}

const char *dcm_op_str(dcm_op op)
{
    return (unsigned)op < DCM_NOPS ? ops[op] : NULL;
}

const char *dcmi_coll_str(dcm_coll_kind kind)
{
    const size_t n = sizeof(colls) / sizeof(colls[0]);

    return (unsigned)kind < n && colls[kind] != NULL ? colls[kind]
                                                     : "another operation";
}

/* Returns the first character that is not a digit, NULL on overflow. */
static const char *digits(const char *text, uint64_t max, uint64_t *v_p)
{
    uint64_t v = 0;

    if (*text < '0' || *text > '9')
        return NULL;
    for (; *text >= '0' && *text <= '9'; text++) {
        const uint64_t d = (uint64_t)(*text - '0');

        if (v > (max - (d > max ? max : d)) / 10 || d > max)
            return NULL;
        v = v * 10 + d;
    }
    *v_p = v;
    return text;
}

bool dcmi_parse_u64(const char *text, uint64_t max, uint64_t *v_p)
{
    uint64_t v;
    const char *end = digits(text, max, &v);

    if (end == NULL || *end != '\0')
        return false;
    *v_p = v;
    return true;
}

bool dcmi_parse_bytes(const char *text, uint64_t max, uint64_t *v_p)
{
    static const char suffixes[] = "kmg";
    unsigned shift = 0;
    const char *at;
    const char *end;
    uint64_t v;

    end = digits(text, max, &v);
    if (end == NULL)
        return false;
    if (*end != '\0') {
        at = strchr(suffixes, *end | 0x20);
        if (at == NULL || end[1] != '\0')
            return false;
        shift = 10 * (unsigned)(at - suffixes + 1);
    }
    if (v > max >> shift)
        return false;
    *v_p = v << shift;
    return true;
}

bool dcmi_parse_dtype(const char *text, dcm_dtype *dtype_p)
{
    static const struct {
        const char *text;
        dcm_dtype dtype;
    } aliases[] = {
        {"double", DCM_F64},  {"float", DCM_F32},     {"half", DCM_F16},
        {"float64", DCM_F64}, {"float32", DCM_F32},   {"float16", DCM_F16},
        {"int8", DCM_I8},     {"uint8", DCM_U8},      {"int32", DCM_I32},
        {"uint32", DCM_U32},  {"int64", DCM_I64},     {"uint64", DCM_U64},
        {"int", DCM_I32},     {"bfloat16", DCM_BF16},
    };

    for (size_t i = 0; i < DCM_NDTYPES; i++) {
        if (strcasecmp(text, dtypes[i].text) == 0) {
            *dtype_p = (dcm_dtype)i;
            return true;
        }
    }
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++) {
        if (strcasecmp(text, aliases[i].text) == 0) {
            *dtype_p = aliases[i].dtype;
            return true;
        }
    }
    return false;
}

bool dcmi_parse_op(const char *text, dcm_op *op_p)
{
    for (size_t i = 0; i < DCM_NOPS; i++) {
        if (strcasecmp(text, ops[i]) == 0) {
            *op_p = (dcm_op)i;
            return true;
        }
    }
    return false;
}
