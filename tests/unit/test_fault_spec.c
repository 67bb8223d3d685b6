/* SPDX-License-Identifier: Apache-2.0 */
/* The grammar of fault:RULES:BACKEND. */
#include "support.h"

#include "comm/fault.h"

static void test_no_faults(void **state)
{
    static const char *const names[] = {"cpu", "", "fault", "Fault:die", ":"};
    dcmi_faults f = {.n = 7};
    const char *backend;

    (void)state;
    assert_ok(dcmi_faults_parse(&f, &backend, NULL));
    assert_int_equal(f.n, 0);
    assert_null(backend);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        f.n = 7;
        assert_ok(dcmi_faults_parse(&f, &backend, names[i]));
        assert_int_equal(f.n, 0);
        assert_ptr_equal(backend, names[i]);
    }
}

static void test_backend(void **state)
{
    dcmi_faults f;
    const char *backend;

    (void)state;
    assert_ok(dcmi_faults_parse(&f, &backend, "fault:die"));
    assert_null(backend);
    assert_ok(dcmi_faults_parse(&f, &backend, "fault:die:"));
    assert_null(backend);
    assert_ok(dcmi_faults_parse(&f, &backend, "fault:die:cpu"));
    assert_string_equal(backend, "cpu");
    assert_string_equal(f.text, "die");
    assert_ok(dcmi_faults_parse(&f, &backend, "fault:die:fault:flip"));
    assert_string_equal(backend, "fault:flip");
}

static void test_rules(void **state)
{
    dcmi_faults f;
    const char *backend;

    (void)state;
    assert_ok(dcmi_faults_parse(
        &f, &backend,
        "fault:rank=3,call=all_to_all,at=18446744073709551615,fail=NoMem+"
        "stall=250,from=2,odds=7,seed=9+call=arena,die:cpu"));
    assert_int_equal(f.n, 3);
    assert_int_equal(f.rule[0].rank, 3);
    assert_int_equal(f.rule[0].call, DCM_COLL_ALL_TO_ALL);
    assert_true(f.rule[0].at == UINT64_MAX);
    assert_int_equal(f.rule[0].deed, DCMI_FAULT_FAIL);
    assert_int_equal(f.rule[0].status, DCM_E_NOMEM);
    assert_true(f.rule[1].rank == DCMI_FAULT_ANY_RANK);
    assert_int_equal(f.rule[1].call, 0);
    assert_int_equal(f.rule[1].at, 0);
    assert_int_equal(f.rule[1].from, 2);
    assert_int_equal(f.rule[1].odds, 7);
    assert_int_equal(f.rule[1].seed, 9);
    assert_int_equal(f.rule[1].deed, DCMI_FAULT_STALL);
    assert_int_equal(f.rule[1].stall_ms, 250);
    assert_int_equal(f.rule[2].call, DCMI_FAULT_ARENA);
    assert_int_equal(f.rule[2].deed, DCMI_FAULT_DIE);
    assert_int_equal(f.rule[2].from, 1);
    assert_int_equal(f.rule[2].odds, 1);
}

/* Every status has its word, and every operation. */
static void test_all_words(void **state)
{
    static const int statuses[] = {
#define DCM_X(name, value, text) value,
        DCM_STATUS_MAP(DCM_X)
#undef DCM_X
    };
    static const char *const words[] = {
#define DCM_X(name, value, text) #name,
        DCM_STATUS_MAP(DCM_X)
#undef DCM_X
    };
    static const char *const calls[] = {
#define DCM_X(name, value, text) text,
        DCM_COLL_MAP(DCM_X)
#undef DCM_X
    };
    dcmi_faults f;
    const char *backend;
    char name[64];

    (void)state;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (statuses[i] >= 0)
            continue;
        (void)snprintf(name, sizeof(name), "fault:fail=%s",
                       words[i] + strlen("E_"));
        assert_ok(dcmi_faults_parse(&f, &backend, name));
        assert_int_equal(f.rule[0].status, statuses[i]);
    }
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        (void)snprintf(name, sizeof(name), "fault:die,call=%s", calls[i]);
        assert_ok(dcmi_faults_parse(&f, &backend, name));
        assert_true(f.rule[0].call > 0 && f.rule[0].call < DCMI_FAULT_OPEN);
    }
}

/* The message names the place. */
static void test_refused(void **state)
{
    static const struct {
        const char *name;
        const char *text;
    } cases[] = {
        {"fault:", "character 7, \"\": a word is missing"},
        {"fault::cpu", "character 7, \"\": a word is missing"},
        {"fault:die,:cpu", "character 11, \"\": a word is missing"},
        {"fault:die+:cpu", "character 11, \"\": a word is missing"},
        {"fault:die+,die", "character 11, \"\": a word is missing"},
        {"fault:rank=1", "character 7, \"rank=1\": says not what to do"},
        {"fault:die+rank=1:cpu", "character 11, \"rank=1\": says not"},
        {"fault:rnak=1,die", "character 7, \"rnak=1\": no such word"},
        {"fault:die,rank", "character 11, \"rank\": no such word, or its"},
        {"fault:die=1", "character 7, \"die=1\": takes no value"},
        {"fault:flip=", "\"flip=\": takes no value"},
        {"fault:die,flip", "character 11, \"flip\": a rule does one thing"},
        {"fault:die,rank=64", "\"rank=64\": not a number, or out of range"},
        {"fault:die,rank=-1", "\"rank=-1\": not a number"},
        {"fault:die,rank=", "\"rank=\": not a number"},
        {"fault:die,at=0", "\"at=0\": not a number, or out of range"},
        {"fault:die,from=0", "\"from=0\": not a number, or out of range"},
        {"fault:die,odds=0", "\"odds=0\": not a number, or out of range"},
        {"fault:die,at=18446744073709551616", "not a number"},
        {"fault:stall=3600001", "\"stall=3600001\": not a number"},
        {"fault:stall", "\"stall\": no such word, or its value"},
        {"fault:fail=ok", "\"fail=ok\": no such status"},
        {"fault:fail=", "\"fail=\": no such status"},
        {"fault:die,call=allreduce", "\"call=allreduce\": no such call"},
        {"fault:call=open,flip", "there is no result to flip a bit of"},
        {"fault:die,at=00000000000000000000000000000000000000000000001",
         "too long"},
        {"fault:die+die+die+die+die+die+die+die+die:x", "too many rules"},
    };
    char longer[DCMI_FAULTS_TEXT + 16];
    const char *backend;
    dcmi_faults f;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_status(dcmi_faults_parse(&f, &backend, cases[i].name),
                      DCM_E_INVAL, cases[i].text);
        assert_non_null(strstr(dcm_errmsg(), cases[i].name));
    }
    memset(longer, '0', sizeof(longer));
    memcpy(longer, "fault:die,at=1,", strlen("fault:die,at=1,"));
    longer[sizeof(longer) - 1] = '\0';
    assert_status(dcmi_faults_parse(&f, &backend, longer), DCM_E_INVAL,
                  "rules of over 255 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_faults), cmocka_unit_test(test_backend),
        cmocka_unit_test(test_rules),     cmocka_unit_test(test_all_words),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
