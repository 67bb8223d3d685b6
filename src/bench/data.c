/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of verifiable data: building, filling, judging. */
#include "bench/data.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "bench/num.h"

struct dcmi_data {
    dcmi_data_spec spec;
    size_t elem_bytes;
    unsigned char rows[]; /* nranks inputs, then the result */
};

/* SplitMix64: any seed will do, and the sequence is the same everywhere. */
uint64_t dcmi_rng_next(dcmi_rng *rng)
{
    uint64_t z = rng->state += 0x9e3779b97f4a7c15ull;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

int64_t dcmi_rng_range(dcmi_rng *rng, int64_t lo, int64_t hi)
{
    const uint64_t span = (uint64_t)hi - (uint64_t)lo + 1;
    const uint64_t v = dcmi_rng_next(rng);

    return (int64_t)((uint64_t)lo + (span == 0 ? v : v % span));
}

static size_t row_bytes(const dcmi_data *data)
{
    return data->elem_bytes * DCMI_DATA_PERIOD;
}

static const unsigned char *row_of(const dcmi_data *data, int rank)
{
    return data->rows + (size_t)rank * row_bytes(data);
}

static void build(dcmi_data *data)
{
    const dcmi_data_spec *spec = &data->spec;
    const int n = spec->nranks;
    /* Integer averages are only defined alike where they are whole. */
    const bool is_random = spec->is_random && (spec->op != DCM_AVG ||
                                               dcmi_num_is_float(spec->dtype));
    dcmi_rng rng = {spec->seed * 0x2545f4914f6cdd1dull ^
                    ((uint64_t)spec->dtype << 8 | (uint64_t)spec->op)};
    uint64_t v[DCM_MAX_RANKS + 1];

    for (size_t i = 0; i < DCMI_DATA_PERIOD; i++) {
        if (is_random) {
            for (int r = 0; r < n; r++)
                v[r] = dcmi_data_random(spec, &rng);
            v[n] = dcmi_data_reduce(spec->dtype, spec->op, v, n);
        } else {
            dcmi_data_exact(spec, &rng, v, &v[n]);
        }
        for (int r = 0; r <= n; r++)
            dcmi_num_store(spec->dtype,
                           data->rows + (size_t)r * row_bytes(data) +
                               i * data->elem_bytes,
                           v[r]);
    }
}

dcm_status dcmi_data_new(dcmi_data **data_p, const dcmi_data_spec *spec)
{
    const size_t elem_bytes = dcm_dtype_bytes(spec->dtype);
    dcmi_data *data;

    if (elem_bytes == 0 || dcm_op_str(spec->op) == NULL || spec->nranks < 1 ||
        spec->nranks > DCM_MAX_RANKS)
        return dcmi_err(DCM_E_INVAL,
                        "no data for type %d, operator %d, "
                        "%d ranks",
                        (int)spec->dtype, (int)spec->op, spec->nranks);

    data = malloc(sizeof(*data) +
                  ((size_t)spec->nranks + 1) * elem_bytes * DCMI_DATA_PERIOD);
    if (data == NULL)
        return dcmi_err(DCM_E_NOMEM, "verifiable data of %d ranks",
                        spec->nranks);
    data->spec = *spec;
    data->elem_bytes = elem_bytes;
    build(data);
    *data_p = data;
    return DCM_OK;
}

void dcmi_data_free(dcmi_data *data)
{
    free(data);
}

static void fill(const dcmi_data *data, const unsigned char *row, void *dst,
                 size_t count)
{
    const size_t period = row_bytes(data);
    unsigned char *at = dst;
    size_t left = count * data->elem_bytes;

    while (left > 0) {
        const size_t n = left < period ? left : period;

        memcpy(at, row, n);
        at += n;
        left -= n;
    }
}

static size_t differ(const dcmi_data *data, const unsigned char *row,
                     const void *buf, size_t count)
{
    const size_t elem = data->elem_bytes;
    const unsigned char *at = buf;
    size_t wrong = 0;

    while (count > 0) {
        const size_t n = count < DCMI_DATA_PERIOD ? count : DCMI_DATA_PERIOD;

        if (memcmp(at, row, n * elem) != 0) {
            for (size_t i = 0; i < n; i++)
                wrong += memcmp(at + i * elem, row + i * elem, elem) != 0;
        }
        at += n * elem;
        count -= n;
    }
    return wrong;
}

void dcmi_data_fill(const dcmi_data *data, int rank, void *dst, size_t count)
{
    fill(data, row_of(data, rank), dst, count);
}

void dcmi_data_fill_result(const dcmi_data *data, void *dst, size_t count)
{
    fill(data, row_of(data, data->spec.nranks), dst, count);
}

size_t dcmi_data_wrong(const dcmi_data *data, const void *buf, size_t count)
{
    return differ(data, row_of(data, data->spec.nranks), buf, count);
}

size_t dcmi_data_changed(const dcmi_data *data, int rank, const void *buf,
                         size_t count)
{
    return differ(data, row_of(data, rank), buf, count);
}
