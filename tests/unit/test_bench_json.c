/* SPDX-License-Identifier: Apache-2.0 */
/* JSON there and back, results, and comparing them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <devcomm/devcomm.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/json.h"
#include "bench/row.h"

static bool is_near(double a, double b)
{
    return fabs(a - b) <= 1e-12 * fabs(b);
}

static const char nasty[] = "quote \" back \\ tab \t line \n bell \a "
                            "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8e\x89 /";

static dcmi_json *parse(const char *text)
{
    dcmi_json *json = NULL;

    if (dcmi_json_parse(&json, text, strlen(text)) != DCM_OK)
        fail_msg("%s: %s", text, dcm_errmsg());
    return json;
}

static void test_json_round_trip(void **state)
{
    char text[4096];
    FILE *f = fmemopen(text, sizeof(text), "w");
    dcmi_jw w = {.file = f};
    const dcmi_json *list;
    dcmi_json *json;

    (void)state;
    assert_non_null(f);
    dcmi_jw_object(&w, NULL);
    dcmi_jw_str(&w, "nasty", nasty);
    dcmi_jw_str(&w, "bad \xff utf8",
                "a\xc3(\xed\xa0\x80"
                "b");
    dcmi_jw_str(&w, "none", NULL);
    dcmi_jw_num(&w, "pi", 3.14159265);
    dcmi_jw_num(&w, "tiny", 1e-300);
    dcmi_jw_num(&w, "nan", (double)NAN);
    dcmi_jw_u64(&w, "large", 1ull << 53);
    dcmi_jw_bool(&w, "yes", true);
    dcmi_jw_array(&w, "list");
    dcmi_jw_num(&w, NULL, -1.0);
    dcmi_jw_array(&w, NULL);
    dcmi_jw_end_array(&w);
    dcmi_jw_object(&w, NULL);
    dcmi_jw_end_object(&w);
    dcmi_jw_end_array(&w);
    dcmi_jw_end_object(&w);
    assert_int_equal(fclose(f), 0);

    json = parse(text);
    assert_string_equal(dcmi_json_str_of(json, "nasty", ""), nasty);
    assert_string_equal(dcmi_json_str_of(json, "bad \xef\xbf\xbd utf8", ""),
                        "a\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                        "b");
    assert_int_equal(dcmi_json_get(json, "none")->kind, DCMI_JSON_NULL);
    assert_int_equal(dcmi_json_get(json, "nan")->kind, DCMI_JSON_NULL);
    assert_true(is_near(dcmi_json_num_of(json, "pi", 0.0), 3.14159265));
    assert_true(is_near(dcmi_json_num_of(json, "tiny", 0.0), 1e-300));
    assert_true(is_near(dcmi_json_num_of(json, "large", 0.0), 0x1p53));
    assert_true(dcmi_json_bool_of(json, "yes", false));
    list = dcmi_json_get(json, "list");
    assert_int_equal(list->kind, DCMI_JSON_ARRAY);
    assert_true(is_near(list->first->num, -1.0));
    assert_int_equal(list->first->next->kind, DCMI_JSON_ARRAY);
    assert_int_equal(list->first->next->next->kind, DCMI_JSON_OBJECT);
    assert_null(list->first->next->next->next);
    dcmi_json_free(json);
}

static void test_json_escapes(void **state)
{
    dcmi_json *json = parse(" { \"a\\u0041\\/\\b\\f\\r\" : "
                            "\"\\u00e9\\u20AC\\ud83c\\udf89\" } ");

    (void)state;
    assert_string_equal(dcmi_json_str_of(json, "aA/\b\f\r", ""),
                        "\xc3\xa9\xe2\x82\xac\xf0\x9f\x8e\x89");
    /* Missing, and of another kind. */
    assert_null(dcmi_json_get(json, "b"));
    assert_true(is_near(dcmi_json_num_of(json, "aA/\b\f\r", 4.0), 4.0));
    dcmi_json_free(json);
}

static void test_json_refuses(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "}",
        "[1,]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{\"a\":1,}",
        "nul",
        "01",
        "1.",
        ".5",
        "-",
        "1e",
        "+1",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\u0000\"",
        "\"\n\"",
        "1 1",
        "[true,flase]",
        "Infinity",
        "\"\\ud800\\u0041\"",
    };
    char deep[2 * DCMI_JSON_DEPTH + 8];
    dcmi_json *json = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (dcmi_json_parse(&json, bad[i], strlen(bad[i])) != DCM_E_INVAL)
            fail_msg("accepted: %s", bad[i]);
    }
    memset(deep, '[', DCMI_JSON_DEPTH + 1);
    memset(deep + DCMI_JSON_DEPTH + 1, ']', DCMI_JSON_DEPTH + 1);
    assert_int_equal(dcmi_json_parse(&json, deep, 2 * DCMI_JSON_DEPTH + 2),
                     DCM_E_INVAL);
    assert_int_equal(dcmi_json_parse(&json, deep + 1, 2 * DCMI_JSON_DEPTH),
                     DCM_OK);
    dcmi_json_free(json);
    assert_int_equal(dcmi_json_read(&json, "/no/such/file"), DCM_E_SYS);
}

static dcmi_row make_row(size_t bytes, double p50)
{
    dcmi_row row = {
        .op = "all_reduce",
        .bytes = bytes,
        .count = bytes / 4,
        .dtype = "f32",
        .redop = "sum",
        .memory = "private",
        .nranks = 2,
        .backend = "cpu",
        .algorithm = "line",
        .us = {.min = p50 / 2, .p50 = p50, .p99 = 2 * p50, .max = 3 * p50},
        .ping_ns = 100.0,
        .ping_after_ns = -1.0,
        .samples = 20,
        .ops_per_sample = 1,
    };

    return row;
}

static dcmi_json *result_of(const dcmi_row *rows, size_t nrows)
{
    static char text[1 << 16];
    FILE *f = fmemopen(text, sizeof(text), "w");
    static const dcmi_machine machine = {.cpu = "some \"cpu\"", .cores = 2};
    const dcmi_result result = {
        .machine = &machine,
        .version = "0.1.0",
        .commit = "abc",
        .date = "now",
        .command = "devcomm bench",
        .ranks_as = "threads",
        .rows = rows,
        .nrows = nrows,
    };

    assert_non_null(f);
    dcmi_result_json(&result, f);
    assert_int_equal(fclose(f), 0);
    return parse(text);
}

static void test_result_fields(void **state)
{
    static const char *const head[] = {"machine", "version", "commit",
                                       "date",    "command", "rows"};
    static const char *const fields[] = {
        "op",          "bytes",    "count",      "dtype",      "redop",
        "ranks",       "backend",  "algorithm",  "p50_us",     "p99_us",
        "min_us",      "max_us",   "algbw_gbps", "busbw_gbps", "wrong",
        "pingpong_ns", "in_place", "memory",
    };
    const dcmi_row row = make_row(64, 1.5);
    dcmi_json *json = result_of(&row, 1);
    const dcmi_json *machine = dcmi_json_get(json, "machine");
    const dcmi_json *first = dcmi_json_get(json, "rows")->first;

    (void)state;
    for (size_t i = 0; i < sizeof(head) / sizeof(head[0]); i++)
        assert_non_null(dcmi_json_get(json, head[i]));
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        assert_non_null(dcmi_json_get(first, fields[i]));
    assert_string_equal(dcmi_json_str_of(machine, "cpu", ""), "some \"cpu\"");
    assert_non_null(dcmi_json_get(machine, "cores"));
    assert_non_null(dcmi_json_get(machine, "kernel"));
    assert_null(dcmi_json_get(machine, "hostname"));
    assert_true(is_near(dcmi_json_num_of(first, "p50_us", 0.0), 1.5));
    assert_true(is_near(dcmi_json_num_of(first, "pingpong_ns", 0.0), 100.0));
    assert_int_equal(dcmi_json_get(first, "pingpong_after_ns")->kind,
                     DCMI_JSON_NULL);
    dcmi_json_free(json);
}

typedef struct verdicts {
    dcmi_verdict v[16];
    size_t n;
} verdicts;

static void on_finding(void *arg, const dcmi_finding *f)
{
    verdicts *seen = arg;

    assert_true(seen->n < 16);
    seen->v[seen->n++] = f->verdict;
}

static void test_compare(void **state)
{
    const dcmi_row old[] = {make_row(8, 1.0), make_row(16, 1.0),
                            make_row(32, 1.0), make_row(64, 1.0)};
    dcmi_row now[] = {make_row(16, 1.11), make_row(8, 1.09), make_row(32, 0.5),
                      make_row(128, 9.0)};
    static const dcmi_verdict want[] = {DCMI_SAME, DCMI_SLOWER, DCMI_FASTER,
                                        DCMI_MISSING, DCMI_NEW};
    dcmi_json *json = result_of(old, 4);
    verdicts seen = {.n = 0};
    size_t failed = 99;

    (void)state;
    assert_int_equal(
        dcmi_result_compare(&failed, json, now, 4, 0.1, on_finding, &seen),
        DCM_OK);
    assert_int_equal(failed, 2);
    assert_int_equal(seen.n, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(seen.v[i], want[i]);

    /* A row of other ranks, place or memory is another row. */
    now[0].us.p50 = 1.0;
    now[0].nranks = 3;
    now[1].is_in_place = true;
    (void)snprintf(now[2].memory, sizeof(now[2].memory), "arena");
    now[3].bytes = 64;
    now[3].status = DCM_E_UNSUP; /* refused: as good as missing */
    seen.n = 0;
    assert_int_equal(
        dcmi_result_compare(&failed, json, now, 4, 0.1, on_finding, &seen),
        DCM_OK);
    assert_int_equal(failed, 4);
    dcmi_json_free(json);
}

static void test_compare_refuses(void **state)
{
    static const char *const bad[] = {
        "{}",
        "[]",
        "{\"rows\": 1}",
        "{\"rows\": []}",
        "{\"rows\": [1]}",
        "{\"rows\": [{\"op\": \"x\", \"p50_us\": null}]}",
    };
    const dcmi_row row = make_row(8, 1.0);
    verdicts seen = {.n = 0};
    size_t failed;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        dcmi_json *json = parse(bad[i]);

        assert_int_equal(
            dcmi_result_compare(&failed, json, &row, 1, 0.1, on_finding, &seen),
            DCM_E_INVAL);
        dcmi_json_free(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_round_trip),
        cmocka_unit_test(test_json_escapes),
        cmocka_unit_test(test_json_refuses),
        cmocka_unit_test(test_result_fields),
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_compare_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
