/* SPDX-License-Identifier: Apache-2.0 */
/* Results as JSON and CSV. */
#include "bench/row.h"

#include <math.h>

static void put_times(dcmi_jw *w, const dcmi_row *row)
{
    const bool is_measured = row->status == DCM_OK;

    dcmi_jw_num(w, "p50_us", is_measured ? row->us.p50 : (double)NAN);
    dcmi_jw_num(w, "p99_us", is_measured ? row->us.p99 : (double)NAN);
    dcmi_jw_num(w, "min_us", is_measured ? row->us.min : (double)NAN);
    dcmi_jw_num(w, "max_us", is_measured ? row->us.max : (double)NAN);
    dcmi_jw_num(w, "algbw_gbps", is_measured ? row->algbw_gbps : (double)NAN);
    dcmi_jw_num(w, "busbw_gbps", is_measured ? row->busbw_gbps : (double)NAN);
}

static void put_hist(dcmi_jw *w, const dcmi_hist *hist)
{
    dcmi_jw_array(w, "histogram");
    for (int b = 0; b < DCMI_HIST_BUCKETS; b++) {
        if (hist->count[b] == 0)
            continue;
        dcmi_jw_object(w, NULL);
        dcmi_jw_num(w, "from_us", dcmi_hist_low(b));
        dcmi_jw_u64(w, "samples", hist->count[b]);
        dcmi_jw_end_object(w);
    }
    dcmi_jw_end_array(w);
}

/* A probe that gave nothing is null. */
static double known(double ns)
{
    return ns < 0.0 ? (double)NAN : ns;
}

static void put_row(dcmi_jw *w, const dcmi_row *row)
{
    dcmi_jw_object(w, NULL);
    dcmi_jw_str(w, "op", row->op);
    dcmi_jw_u64(w, "bytes", row->bytes);
    dcmi_jw_u64(w, "count", row->count);
    dcmi_jw_str(w, "dtype", row->dtype);
    dcmi_jw_str(w, "redop", row->redop);
    dcmi_jw_u64(w, "ranks", (uint64_t)row->nranks);
    dcmi_jw_str(w, "backend", row->backend);
    dcmi_jw_str(w, "algorithm", row->algorithm);
    dcmi_jw_str(w, "memory", row->memory);
    dcmi_jw_bool(w, "in_place", row->is_in_place);
    put_times(w, row);
    dcmi_jw_u64(w, "wrong", row->wrong);
    dcmi_jw_num(w, "pingpong_ns", known(row->ping_ns));
    dcmi_jw_num(w, "pingpong_after_ns", known(row->ping_after_ns));
    dcmi_jw_u64(w, "samples", row->samples);
    dcmi_jw_u64(w, "ops_per_sample", row->ops_per_sample);
    put_hist(w, &row->hist);
    dcmi_jw_str(w, "error", row->status == DCM_OK ? NULL : row->message);
    dcmi_jw_end_object(w);
}

void dcmi_result_json(const dcmi_result *result, FILE *file)
{
    dcmi_jw w = {.file = file};

    dcmi_jw_object(&w, NULL);
    dcmi_jw_object(&w, "machine");
    dcmi_machine_json(result->machine, &w);
    dcmi_jw_end_object(&w);
    dcmi_jw_str(&w, "version", result->version);
    dcmi_jw_str(&w, "commit", result->commit);
    dcmi_jw_str(&w, "date", result->date);
    dcmi_jw_str(&w, "command", result->command);
    dcmi_jw_str(&w, "ranks_as", result->ranks_as);
    dcmi_jw_array(&w, "rows");
    for (size_t i = 0; i < result->nrows; i++)
        put_row(&w, &result->rows[i]);
    dcmi_jw_end_array(&w);
    dcmi_jw_end_object(&w);
}

void dcmi_result_csv(const dcmi_result *result, FILE *file)
{
    (void)fputs("op,bytes,count,dtype,redop,ranks,backend,algorithm,memory,"
                "in_place,p50_us,p99_us,min_us,max_us,algbw_gbps,busbw_gbps,"
                "wrong,pingpong_ns,pingpong_after_ns\n",
                file);
    for (size_t i = 0; i < result->nrows; i++) {
        const dcmi_row *r = &result->rows[i];

        if (r->status != DCM_OK)
            continue;
        (void)fprintf(file,
                      "%s,%zu,%zu,%s,%s,%d,%s,%s,%s,%d,%.9g,%.9g,%.9g,%.9g,"
                      "%.9g,%.9g,%llu,",
                      r->op, r->bytes, r->count, r->dtype, r->redop, r->nranks,
                      r->backend, r->algorithm, r->memory, r->is_in_place,
                      r->us.p50, r->us.p99, r->us.min, r->us.max, r->algbw_gbps,
                      r->busbw_gbps, (unsigned long long)r->wrong);
        if (r->ping_ns >= 0.0)
            (void)fprintf(file, "%.9g", r->ping_ns);
        (void)fputc(',', file);
        if (r->ping_after_ns >= 0.0)
            (void)fprintf(file, "%.9g", r->ping_after_ns);
        (void)fputc('\n', file);
    }
}
