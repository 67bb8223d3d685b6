/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this process may use and who it is: control groups of both versions in
 * made-up file systems, affinity, process identity.
 */
#define _GNU_SOURCE
#include "support.h"

#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "leaks.h"
#include "os/ancestor.h"
#include "os/ident.h"
#include "os/limits.h"

/* ---- a made-up root ---------------------------------------------------------- */

static char root[256];

static int remove_one(const char *path, const struct stat *s, int type,
                      struct FTW *ftw)
{
    (void)s;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int root_gone(void **state)
{
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int fresh_root(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    (void)snprintf(root, sizeof(root), "%s/devcomm-limits-XXXXXX",
                   tmp != NULL ? tmp : "/tmp");
    return mkdtemp(root) != NULL ? 0 : -1;
}

/* Write `text` to `path` under the root, and make its folders. */
static void put(const char *path, const char *text)
{
    char full[1024];
    FILE *f;

    (void)snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')) != NULL;
         at++) {
        *at = '\0';
        (void)mkdir(full, 0777);
        *at = '/';
    }
    f = fopen(full, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

#define CG "/sys/fs/cgroup"

/* ---- processor quota --------------------------------------------------------- */

static void test_no_files(void **state)
{
    (void)state;
    assert_int_equal(dcmi_limits_quota(root), INT_MAX);
    assert_true(dcmi_limits_memory_left(root) == SIZE_MAX);
    /* The process's folder is known, but holds nothing. */
    put("/proc/self/cgroup", "0::/a/b\n");
    assert_int_equal(dcmi_limits_quota(root), INT_MAX);
    assert_true(dcmi_limits_memory_left(root) == SIZE_MAX);
}

static void test_quota_v2(void **state)
{
    static const struct {
        const char *text;
        int cores;
    } cases[] = {
        {"200000 100000\n", 2},
        {"100000 100000\n", 1},
        {"50000 100000\n", 1}, /* a part of a core */
        {"1000 100000\n", 1},
        {"199999 100000\n", 1}, /* two ranks exceed 1.99 cores */
        {"6400000 100000\n", 64},
        {"max 100000\n", INT_MAX},
        {"max", INT_MAX},
        {"-1 100000\n", INT_MAX},
        {"200000 0\n", INT_MAX},
        {"200000\n", INT_MAX},
        {"", INT_MAX},
        {"18446744073709551614 1\n", INT_MAX},
        {"200000 50000", 4},
    };

    (void)state;
    put("/proc/self/cgroup", "0::/a\n");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        put(CG "/a/cpu.max", cases[i].text);
        if (dcmi_limits_quota(root) != cases[i].cores)
            fail_msg("\"%s\": %d", cases[i].text, dcmi_limits_quota(root));
    }
}

static void test_quota_nested(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/a/b/c");
    put(CG "/a/b/c/cpu.max", "800000 100000\n");
    assert_int_equal(dcmi_limits_quota(root), 8);
    put(CG "/a/cpu.max", "300000 100000\n");
    assert_int_equal(dcmi_limits_quota(root), 3);
    put(CG "/a/b/cpu.max", "max 100000\n");
    assert_int_equal(dcmi_limits_quota(root), 3);
    put(CG "/cpu.max", "200000 100000\n");
    assert_int_equal(dcmi_limits_quota(root), 2);
    /* A neighbour's limit is not ours. */
    put(CG "/a/b/cc/cpu.max", "100000 100000\n");
    put(CG "/ab/cpu.max", "100000 100000\n");
    assert_int_equal(dcmi_limits_quota(root), 2);
}

static void test_quota_v1(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "12:cpuset:/only\n"
                             "5:memory:/mem\n"
                             "4:cpu,cpuacct:/x/y\n"
                             "1:name=systemd:/cpu\n");
    put(CG "/cpu/only/cpu.cfs_quota_us", "100000\n");
    put(CG "/cpu/only/cpu.cfs_period_us", "100000\n");
    assert_int_equal(dcmi_limits_quota(root), INT_MAX);
    put(CG "/cpu/x/y/cpu.cfs_quota_us", "-1\n");
    put(CG "/cpu/x/y/cpu.cfs_period_us", "100000\n");
    assert_int_equal(dcmi_limits_quota(root), INT_MAX);
    put(CG "/cpu/x/y/cpu.cfs_quota_us", "700000\n");
    assert_int_equal(dcmi_limits_quota(root), 7);
    put(CG "/cpu/x/cpu.cfs_quota_us", "250000\n"); /* no period there */
    assert_int_equal(dcmi_limits_quota(root), 7);
    put(CG "/cpu/x/cpu.cfs_period_us", "0\n");
    assert_int_equal(dcmi_limits_quota(root), 7);
    put(CG "/cpu/x/cpu.cfs_period_us", "50000\n");
    assert_int_equal(dcmi_limits_quota(root), 5);
    put(CG "/cpu/cpu.cfs_quota_us", "10000\n");
    put(CG "/cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(dcmi_limits_quota(root), 1);
}

/* A container: the path is the host's, what is mounted begins at its own. */
static void test_container(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "4:cpu,cpuacct:/docker/0123\n"
                             "3:memory:/docker/0123\n0::/docker/0123\n");
    put(CG "/cpu/cpu.cfs_quota_us", "400000\n");
    put(CG "/cpu/cpu.cfs_period_us", "100000\n");
    put(CG "/memory/memory.limit_in_bytes", "1000000\n");
    put(CG "/memory/memory.usage_in_bytes", "400000\n");
    assert_int_equal(dcmi_limits_quota(root), 4);
    assert_int_equal(dcmi_limits_memory_left(root), 600000);
}

/* ---- memory ------------------------------------------------------------------ */

static void test_memory_v2(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/a/b\n");
    put(CG "/a/b/memory.max", "max\n");
    put(CG "/a/b/memory.current", "5000\n");
    assert_true(dcmi_limits_memory_left(root) == SIZE_MAX);
    put(CG "/a/b/memory.max", "9000\n");
    assert_int_equal(dcmi_limits_memory_left(root), 4000);
    put(CG "/a/memory.max", "20000\n");
    assert_int_equal(dcmi_limits_memory_left(root), 4000); /* no current */
    put(CG "/a/memory.current", "19000\n");
    assert_int_equal(dcmi_limits_memory_left(root), 1000);
    put(CG "/a/memory.current", "20001\n"); /* lowered under what is used */
    assert_int_equal(dcmi_limits_memory_left(root), 0);
}

static void test_memory_v1(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "3:memory:/m/n\n0::/\n");
    put(CG "/memory/m/n/memory.limit_in_bytes", "-1\n");
    put(CG "/memory/m/n/memory.usage_in_bytes", "100\n");
    assert_true(dcmi_limits_memory_left(root) == SIZE_MAX);
    put(CG "/memory/m/n/memory.limit_in_bytes", "9223372036854771712\n");
    assert_true(dcmi_limits_memory_left(root) == 9223372036854771612ull);
    put(CG "/memory/m/memory.limit_in_bytes", "8192\n");
    put(CG "/memory/m/memory.usage_in_bytes", "4096\n");
    assert_int_equal(dcmi_limits_memory_left(root), 4096);
}

/* Cached files are given back: a job that has read its weights is not out. */
static void test_memory_cache(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "3:memory:/\n0::/a\n");
    put(CG "/a/memory.max", "10000\n");
    put(CG "/a/memory.current", "9900\n");
    put(CG "/a/memory.stat", "anon 100\nfile 9800\nshmem 800\n"
                             "inactive_anon 900\nactive_anon 0\n"
                             "inactive_file 7000\nactive_file 2000\n"
                             "inactive_file_not 5\n");
    assert_int_equal(dcmi_limits_memory_left(root), 9100);
    put(CG "/a/memory.stat", "inactive_file 20000\n"); /* read later */
    assert_int_equal(dcmi_limits_memory_left(root), 10000);

    put(CG "/memory/memory.limit_in_bytes", "5000\n");
    put(CG "/memory/memory.usage_in_bytes", "5000\n");
    put(CG "/memory/memory.stat", "inactive_file 1\nactive_file 1\n"
                                  "total_inactive_file 300\n"
                                  "total_active_file 200\n");
    assert_int_equal(dcmi_limits_memory_left(root), 500);
}

static void test_memory_system(void **state)
{
    (void)state;
    put("/proc/meminfo", "MemTotal:       2000 kB\n"
                         "MemFree:         100 kB\n"
                         "MemAvailable:   1000 kB\n"
                         "SwapTotal:       500 kB\n"
                         "SwapFree:         24 kB\n");
    assert_int_equal(dcmi_limits_memory_left(root), 1024 * 1024);
    put("/proc/self/cgroup", "0::/\n");
    put(CG "/memory.max", "4096\n");
    put(CG "/memory.current", "96\n");
    assert_int_equal(dcmi_limits_memory_left(root), 4000);
    put(CG "/memory.max", "4096000000\n");
    assert_int_equal(dcmi_limits_memory_left(root), 1024 * 1024);
}

/* No path of the kernel is that long; it must do no harm. */
static void test_long_lines(void **state)
{
    char *text = malloc(20000);

    (void)state;
    assert_non_null(text);
    memset(text, 'x', 20000);
    memcpy(text, "0::/", 4);
    for (size_t i = 100; i < 19999; i += 100)
        text[i] = i % 300 == 0 ? ':' : '/';
    text[19999] = '\0';
    put("/proc/self/cgroup", text);
    put("/proc/meminfo", text);
    assert_int_equal(dcmi_limits_quota(root), INT_MAX);
    assert_true(dcmi_limits_memory_left(root) == SIZE_MAX);
    free(text);
}

/* ---- affinity ---------------------------------------------------------------- */

static int on_one_core(void *arg)
{
    dcmi_cpuset set;
    cpu_set_t one;
    int cpu = 0;

    (void)arg;
    dcmi_limits_affinity(&set);
    while ((set.word[cpu / 64] >> (cpu % 64) & 1) == 0)
        cpu++;
    CPU_ZERO(&one);
    CPU_SET((size_t)cpu, &one);
    die_unless(sched_setaffinity(0, sizeof(one), &one) == 0);
    dcmi_limits_affinity(&set);
    die_unless(dcmi_cpuset_count(&set) == 1);
    die_unless((set.word[cpu / 64] >> (cpu % 64) & 1) == 1);
    return 0;
}

static void test_affinity(void **state)
{
    const dcmi_cpuset wide = {.word = {UINT64_MAX, 0, 1, 1ull << 63}};
    dcmi_cpuset set;
    cpu_set_t cpus;

    (void)state;
    dcmi_limits_affinity(&set);
    assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
    assert_int_equal(dcmi_cpuset_count(&set), CPU_COUNT(&cpus));
    assert_int_equal(dcmi_cpuset_count(&wide), 66);
    assert_int_equal(test_in_child(on_one_core, NULL, 60), 0);
}

/* ---- identity ---------------------------------------------------------------- */

static void test_self(void **state)
{
    const int self = (int)getpid();
    const uint64_t start = dcmi_start_time(self);

    (void)state;
    assert_true(start != 0);
    assert_true(start == dcmi_start_time(self));
    assert_true(dcmi_process_runs(self, start));
    assert_false(dcmi_process_runs(self, start + 1));
    assert_int_equal(dcmi_start_time(0), 0);
    assert_int_equal(dcmi_start_time(-1), 0);
    assert_int_equal(dcmi_start_time(INT_MAX), 0);
    assert_false(dcmi_process_runs(INT_MAX, 0));
}

/* A child that has ended is a zombie until it is waited for. */
static void test_dead_and_zombie(void **state)
{
    const pid_t pid = fork();
    uint64_t start;
    siginfo_t info;

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(0);
    start = dcmi_start_time(pid);
    assert_true(start != 0);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_false(dcmi_process_runs(pid, start));
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(dcmi_start_time(pid), 0);
    assert_false(dcmi_process_runs(pid, start));
}

/* A process may call itself whatever it likes. */
static int with_odd_name(void *arg)
{
    const uint64_t start = *(const uint64_t *)arg;

    die_unless(prctl(PR_SET_NAME, "x) Z 1 (9) 9") == 0);
    die_unless(dcmi_start_time((int)getpid()) >= start);
    die_unless(
        dcmi_process_runs((int)getpid(), dcmi_start_time((int)getpid())));
    return 0;
}

static void test_odd_name(void **state)
{
    uint64_t start = dcmi_start_time((int)getpid());

    (void)state;
    assert_int_equal(test_in_child(with_odd_name, &start, 60), 0);
}

static int find_parents(void *arg)
{
    const char *name = arg;

    die_unless(dcmi_ancestor_named(name) == (int)getppid());
    die_unless(dcmi_ancestor_named("no such name") == 0);
    die_unless(dcmi_ancestor_named("") == 0);
    return 0;
}

static void test_ancestor(void **state)
{
    static char name[] = "anc) S 1 (x";

    (void)state;
    assert_int_equal(prctl(PR_SET_NAME, name), 0);
    assert_int_equal(test_in_child(find_parents, name, 60), 0);
    assert_int_equal(prctl(PR_SET_NAME, "test_os_limits"), 0);
}

/* FNV-1a's published values: names on sockets must not change. */
static void test_hash(void **state)
{
    (void)state;
    assert_true(dcmi_hash(0, "", 0) == 0xcbf29ce484222325ull);
    assert_true(dcmi_hash(0, "a", 1) == 0xaf63dc4c8601ec8cull);
    assert_true(dcmi_hash(0, "foobar", 6) == 0x85944171f73967e8ull);
    assert_true(dcmi_hash(1, "foobar", 6) != dcmi_hash(0, "foobar", 6));
    assert_true(dcmi_hash(0, "\xff", 1) != dcmi_hash(0, "\x7f", 1));
}

static void *their_tid(void *arg)
{
    *(uint32_t *)arg = dcmi_tid();
    return NULL;
}

static void test_ids(void **state)
{
    unsigned char a[64] = {0};
    unsigned char b[64] = {0};
    pthread_t thread;
    uint32_t tid = 0;
    struct stat s;

    (void)state;
    assert_int_equal(dcmi_tid(), getpid());
    assert_int_equal(pthread_create(&thread, NULL, their_tid, &tid), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(tid != 0 && tid != dcmi_tid());

    assert_int_equal(stat("/proc/self/ns/pid", &s), 0);
    assert_true(dcmi_pid_namespace() == s.st_ino);
    assert_true(dcmi_host_hint() != 0 && dcmi_host_hint() == dcmi_host_hint());

    assert_ok(dcmi_random(a, sizeof(a)));
    assert_ok(dcmi_random(b, sizeof(b)));
    assert_memory_not_equal(a, b, sizeof(a));
    assert_ok(dcmi_random(a, 0));
}

#define rooted(f) cmocka_unit_test_setup_teardown(f, fresh_root, root_gone)

int main(void)
{
    const struct CMUnitTest tests[] = {
        rooted(test_no_files),
        rooted(test_quota_v2),
        rooted(test_quota_nested),
        rooted(test_quota_v1),
        rooted(test_container),
        rooted(test_memory_v2),
        rooted(test_memory_v1),
        rooted(test_memory_cache),
        rooted(test_memory_system),
        rooted(test_long_lines),
        cmocka_unit_test(test_affinity),
        cmocka_unit_test(test_self),
        cmocka_unit_test(test_dead_and_zombie),
        cmocka_unit_test(test_odd_name),
        cmocka_unit_test(test_ancestor),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_ids),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
