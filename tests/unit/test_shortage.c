/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Too little of everything: each allocation fails in turn, then each limit of the
 * process is set a little higher each time.  A shortage is an error that names the
 * thing; all ranks get it; nothing is left, and with more it works again.
 *
 * Linked with --wrap for malloc, calloc and realloc.
 */
#define _GNU_SOURCE
#include "support.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/compiler.h"
#include "leaks.h"

/* ---- allocations that fail --------------------------------------------------- */

static _Thread_local int fail_at; /* count down; 0: never */
static _Thread_local bool has_failed;

static bool fails(void)
{
    if (fail_at == 0 || --fail_at != 0)
        return false;
    has_failed = true;
    return true;
}

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    return fails() ? NULL : __real_calloc(n, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return fails() ? NULL : __real_realloc(old, bytes);
}

/* ---- what is tried ----------------------------------------------------------- */

typedef struct pair {
    dcm_group *groups[2];
    dcm_comm *comms[2];
} pair;

static dcm_status reduce_both(const pair *p)
{
    static int32_t small[2];
    static double large[2][100000];
    dcm_status st;

    st = dcm_begin();
    for (int r = 0; r < 2 && st == DCM_OK; r++) {
        small[r] = 1;
        st = dcm_all_reduce(p->comms[r], &small[r], &small[r], 1, DCM_I32,
                            DCM_SUM, NULL);
        if (st == DCM_OK)
            st = dcm_all_reduce(p->comms[r], large[r], large[r], 100000,
                                DCM_F64, DCM_SUM, NULL);
    }
    if (st == DCM_OK) {
        st = dcm_end();
        die_unless(st != DCM_OK || (small[0] == 2 && small[1] == 2));
    } else {
        (void)!dcm_end(); /* what was collected runs, alone */
    }
    return st;
}

/* Two ranks in this thread: all that they can do together. */
static dcm_status try_pair(void)
{
    dcm_group_opts opts = DCM_GROUP_OPTS_INIT;
    pair p;
    dcm_status st;

    memset(&p, 0, sizeof(p));
    opts.timeout_ms = 3000;
    st = dcm_group_new_local(p.groups, 2, &opts);
    if (st == DCM_OK)
        st = dcm_comm_new_multi(p.comms, p.groups, 2, NULL);
    if (st == DCM_OK)
        st = reduce_both(&p);
    for (int r = 0; r < 2; r++) {
        dcm_comm_free(p.comms[r]);
        dcm_group_free(p.groups[r]);
    }
    return st;
}

static dcm_status use_arena(dcm_comm *comm)
{
    dcm_arena *arena = NULL;
    void *p[2];
    dcm_status st;

    st = dcm_arena_new(&arena, comm, 65536);
    for (int i = 0; i < 2 && st == DCM_OK; i++)
        st = dcm_arena_alloc(arena, &p[i], 1000);
    if (st == DCM_OK)
        st = dcm_all_reduce(comm, p[0], p[1], 250, DCM_F32, DCM_SUM, NULL);
    dcm_arena_free(arena);
    return st;
}

/* One rank: what ranks cannot do for each other in one thread. */
static dcm_status try_single(void)
{
    dcm_group *group = NULL;
    dcm_comm *comm = NULL;
    dcm_comm *part = NULL;
    dcm_comm *rest = NULL;
    dcm_status st;

    st = dcm_group_new_local(&group, 1, NULL);
    if (st == DCM_OK)
        st = dcm_comm_new(&comm, group, NULL);
    if (st == DCM_OK)
        st = use_arena(comm);
    if (st == DCM_OK)
        st = dcm_comm_split(&part, comm, 0, 0, NULL);
    if (st == DCM_OK)
        st = dcm_comm_regroup(&rest, comm, NULL);
    dcm_comm_free(rest);
    dcm_comm_free(part);
    dcm_comm_free(comm);
    dcm_group_free(group);
    return st;
}

/* Let every allocation of `try` fail in turn. */
static int fail_each(dcm_status (*try)(void))
{
    const int fds = test_count_fds();
    const int maps = test_count_maps("memfd:devcomm");
    int n = 0;

    do {
        dcm_status st;

        fail_at = ++n;
        has_failed = false;
        st = try();
        fail_at = 0;
        if (has_failed && (st != DCM_E_NOMEM || dcm_errmsg()[0] == '\0'))
            fail_msg("allocation %d failed: %d: %s", n, (int)st, dcm_errmsg());
        if (!has_failed)
            assert_ok(st);
        assert_int_equal(test_count_fds(), fds);
        assert_in_range(test_count_maps("memfd:devcomm"), maps, maps + 1);
        assert_ok(try()); /* and with memory it works */
    } while (has_failed);
    return n;
}

static void test_no_memory(void **state)
{
    (void)state;
    assert_in_range(fail_each(try_single), 10, 1000);
    assert_in_range(fail_each(try_pair), 10, 1000);
}

/* ---- one rank without memory ------------------------------------------------- */

typedef struct poor {
    int fail_at;
    bool has_failed;
    dcm_status st[2];
    char message[2][256];
} poor;

/* Only rank 1's allocations fail: rank 0 must not wait for it in vain. */
static void create_poorly(int rank, dcm_group *group, void *arg)
{
    poor *p = arg;
    dcm_arena *arena = NULL;
    dcm_comm *comm = NULL;
    dcm_comm *part = NULL;
    dcm_status st;

    fail_at = rank == 1 ? p->fail_at : 0;
    has_failed = false;
    st = dcm_comm_new(&comm, group, NULL);
    if (st == DCM_OK)
        st = dcm_arena_new(&arena, comm, 4096);
    if (st == DCM_OK)
        st = dcm_comm_split(&part, comm, 0, 0, NULL);
    fail_at = 0;
    if (rank == 1)
        p->has_failed = has_failed;
    p->st[rank] = st;
    (void)snprintf(p->message[rank], sizeof(p->message[rank]), "%s",
                   dcm_errmsg());
    dcm_comm_free(part);
    dcm_arena_free(arena);
    dcm_comm_free(comm);
}

static void test_one_without_memory(void **state)
{
    poor p = {.fail_at = 0};

    (void)state;
    assert_int_equal(setenv("DEVCOMM_TIMEOUT_MS", "3000", 1), 0);
    do {
        p.fail_at++;
        test_run_threads(2, create_poorly, &p);
        for (int r = 0; r < 2; r++) {
            if (p.st[r] != (p.has_failed ? DCM_E_NOMEM : DCM_OK))
                fail_msg("allocation %d of rank 1 failed: rank %d: %d: %s",
                         p.fail_at, r, (int)p.st[r], p.message[r]);
        }
        if (p.has_failed && strstr(p.message[0], "rank 1") == NULL)
            fail_msg("allocation %d of rank 1 failed: rank 0 says: %s",
                     p.fail_at, p.message[0]);
    } while (p.has_failed);
    assert_int_equal(unsetenv("DEVCOMM_TIMEOUT_MS"), 0);
    assert_in_range(p.fail_at, 5, 1000);
}

/* ---- limits of the process --------------------------------------------------- */

static void limit(int what, rlim_t to)
{
    struct rlimit l;

    die_unless(getrlimit((__rlimit_resource_t)what, &l) == 0);
    l.rlim_cur = to;
    die_unless(setrlimit((__rlimit_resource_t)what, &l) == 0);
}

/* Raise a limit by ever larger steps until all works; how often it did not. */
static int raise_limit(int what, rlim_t first, dcm_status want,
                       const char *text)
{
    const int fds = test_count_fds();
    rlim_t more = 0;
    int n;

    for (n = 0; n < 200; n++) {
        dcm_status st;

        limit(what, first + more);
        st = try_pair();
        if (st == DCM_OK)
            st = try_single();
        limit(what, RLIM_INFINITY);
        if (st == DCM_OK)
            break;
        if (st != want || strstr(dcm_errmsg(), text) == NULL) {
            fprintf(stderr, "limit %llu: %d: %s\n",
                    (unsigned long long)(first + more), (int)st, dcm_errmsg());
            return -1;
        }
        die_unless(test_count_fds() == fds);
        die_unless(try_pair() == DCM_OK);
        more += more / (test_is_thin() ? 2 : 8) + 4096;
    }
    return n;
}

static int with_small_files(void *arg)
{
    (void)arg;
    return raise_limit(RLIMIT_FSIZE, 0, DCM_E_NOMEM, "ulimit -f") > 3 ? 0 : 1;
}

static void test_file_limit(void **state)
{
    (void)state;
    assert_int_equal(test_in_child(with_small_files, NULL, 100), 0);
}

static int with_few_descriptors(void *arg)
{
    struct rlimit l;
    int n = 0;

    (void)arg;
    die_unless(getrlimit(RLIMIT_NOFILE, &l) == 0);
    for (;; n++) {
        const rlim_t before = l.rlim_cur;
        dcm_status st;

        l.rlim_cur = (rlim_t)test_count_fds() + (rlim_t)n;
        die_unless(setrlimit(RLIMIT_NOFILE, &l) == 0);
        st = try_pair();
        l.rlim_cur = before;
        die_unless(setrlimit(RLIMIT_NOFILE, &l) == 0);
        if (st == DCM_OK)
            break;
        if (st != DCM_E_SYS || strstr(dcm_errmsg(), "open files") == NULL) {
            fprintf(stderr, "%d descriptors: %d: %s\n", n, (int)st,
                    dcm_errmsg());
            return 1;
        }
        die_unless(try_pair() == DCM_OK);
    }
    return n > 2 ? 0 : 1;
}

static void test_descriptor_limit(void **state)
{
    (void)state;
    assert_int_equal(test_in_child(with_few_descriptors, NULL, 100), 0);
}

static int with_small_addresses(void *arg)
{
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long pages;

    (void)arg;
    die_unless(f != NULL && fscanf(f, "%lu", &pages) == 1 && fclose(f) == 0);
    return raise_limit(RLIMIT_AS, (rlim_t)pages * 4096, DCM_E_NOMEM, "") > 3
               ? 0
               : 1;
}

static void test_address_limit(void **state)
{
    (void)state;
    if (DCMI_ASAN || DCMI_TSAN)
        skip(); /* they need the address space themselves */
    assert_int_equal(test_in_child(with_small_addresses, NULL, 100), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_one_without_memory),
        cmocka_unit_test(test_file_limit),
        cmocka_unit_test(test_descriptor_limit),
        cmocka_unit_test(test_address_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
