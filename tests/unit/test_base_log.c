/* SPDX-License-Identifier: Apache-2.0 */
/* The log: the caller's function, its level, and DEVCOMM_LOG. */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "leaks.h"

static void log_all(void)
{
    dcmi_log(DCM_LOG_ERROR, "say %s", "error");
    dcmi_log(DCM_LOG_WARN, "say %s", "warn");
    dcmi_log(DCM_LOG_INFO, "say %s", "info");
}

/* What a fresh process with DEVCOMM_LOG=`value` writes to standard error. */
static void run_with_log(char *text, size_t bytes, const char *value, bool set)
{
    size_t used = 0;
    int ends[2];
    int status;
    ssize_t n;
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    (void)fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (value != NULL)
            (void)setenv("DEVCOMM_LOG", value, 1);
        else
            (void)unsetenv("DEVCOMM_LOG");
        (void)dup2(ends[1], 2);
        if (set)
            dcm_log_set(NULL, NULL, DCM_LOG_INFO);
        log_all();
        _exit(0);
    }
    (void)close(ends[1]);
    while (used < bytes - 1) {
        n = read(ends[0], text + used, bytes - 1 - used);
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    text[used] = '\0';
    (void)close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* Must come before any other use of the log: the environment is read once. */
static void test_log_env(void **state)
{
    static const struct {
        const char *value;
        bool set;
        const char *want;
    } cases[] = {
        {NULL, false, ""},
        {"", false, ""},
        {"error", false, "devcomm: error: say error\n"},
        {"warn", false,
         "devcomm: error: say error\ndevcomm: warning: say warn\n"},
        {"info", false,
         "devcomm: error: say error\ndevcomm: warning: say warn\n"
         "devcomm: info: say info\n"},
        {"nonsense", false, "devcomm: error: say error\n"},
        {"info", true, ""}, /* the caller's word counts */
    };
    char text[512];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        run_with_log(text, sizeof(text), cases[i].value, cases[i].set);
        assert_string_equal(text, cases[i].want);
    }
}

typedef struct heard {
    atomic_int n[DCM_LOG_INFO + 1];
    size_t longest;
    char last[2048];
} heard;

static void hear(void *arg, int level, const char *message)
{
    heard *h = arg;

    die_unless(level >= DCM_LOG_ERROR && level <= DCM_LOG_INFO);
    (void)atomic_fetch_add(&h->n[level], 1);
    if (level == DCM_LOG_ERROR) { /* the threads of a test say less */
        h->longest = strlen(message);
        (void)snprintf(h->last, sizeof(h->last), "%s", message);
    }
}

static void test_log_levels(void **state)
{
    heard h = {.longest = 0};

    (void)state;
    for (int level = 0; level <= DCM_LOG_INFO + 1; level++) {
        memset(&h, 0, sizeof(h));
        dcm_log_set(hear, &h, level);
        log_all();
        for (int l = DCM_LOG_ERROR; l <= DCM_LOG_INFO; l++)
            assert_int_equal(h.n[l], l <= level ? 1 : 0);
    }
    assert_string_equal(h.last, "say error");
    memset(&h, 0, sizeof(h));
    dcm_log_set(NULL, &h, DCM_LOG_INFO);
    log_all();
    assert_int_equal(h.n[DCM_LOG_ERROR], 0);
}

static void test_log_truncates(void **state)
{
    char text[4096];
    heard h = {.longest = 0};

    (void)state;
    memset(text, 'm', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    dcm_log_set(hear, &h, DCM_LOG_ERROR);
    dcmi_log(DCM_LOG_ERROR, "%s", text);
    assert_in_range(h.longest, 256, 1023);
    dcm_log_set(NULL, NULL, 0);
}

static void *log_often(void *arg)
{
    (void)arg;
    for (int i = 0; i < 1000; i++)
        dcmi_log(DCM_LOG_INFO, "call %d", i);
    return NULL;
}

static void test_log_threads(void **state)
{
    heard h = {.longest = 0};
    pthread_t threads[3];

    (void)state;
    dcm_log_set(hear, &h, DCM_LOG_INFO);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_often, NULL), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(h.n[DCM_LOG_INFO], 3000);
    dcm_log_set(NULL, NULL, 0);
}

static atomic_bool stop;

static void *log_on(void *arg)
{
    while (!atomic_load(&stop))
        dcmi_log(DCM_LOG_INFO, "%s", (const char *)arg);
    return NULL;
}

static int log_once(void *arg)
{
    heard *h = arg;
    const int before = atomic_load(&h->n[DCM_LOG_WARN]);

    dcmi_log(DCM_LOG_WARN, "from the child");
    return atomic_load(&h->n[DCM_LOG_WARN]) == before + 1 ? 0 : 1;
}

/* A child must not inherit the lock that another thread held. */
static void test_log_fork(void **state)
{
    const int forks = test_is_thin() ? 20 : 300;
    static char text[] = "meanwhile";
    heard h = {.longest = 0};
    pthread_t thread;

    (void)state;
    dcm_log_set(hear, &h, DCM_LOG_INFO);
    assert_int_equal(pthread_create(&thread, NULL, log_on, text), 0);
    while (atomic_load(&h.n[DCM_LOG_INFO]) == 0)
        ;
    for (int i = 0; i < forks; i++)
        assert_int_equal(test_in_child(log_once, &h, 60), 0);
    atomic_store(&stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    dcm_log_set(NULL, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_env), /* first: see there */
        cmocka_unit_test(test_log_levels),
        cmocka_unit_test(test_log_truncates),
        cmocka_unit_test(test_log_threads),
        cmocka_unit_test(test_log_fork),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
