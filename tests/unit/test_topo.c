/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's shape, from made-up trees of /sys, and where memory is to lie. */
#define _GNU_SOURCE
#include "support.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "topo/topo.h"

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
    (void)snprintf(root, sizeof(root), "%s/devcomm-topo-XXXXXX",
                   tmp != NULL ? tmp : "/tmp");
    return mkdtemp(root) != NULL ? 0 : -1;
}

/* Write `text` to a file of /sys/devices/system. */
__attribute__((format(printf, 1, 3))) static void put(const char *path,
                                                      const char *text, ...)
{
    char file[256];
    char full[1024];
    va_list args;
    FILE *f;

    va_start(args, text);
    (void)vsnprintf(file, sizeof(file), path, args);
    va_end(args);
    (void)snprintf(full, sizeof(full), "%s/sys/devices/system/%s", root, file);
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

static void put_cpu(int cpu, int package, const char *threads, const char *l3)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%d\n", package);
    put("cpu/cpu%d/topology/physical_package_id", text, cpu);
    put("cpu/cpu%d/topology/thread_siblings_list", threads, cpu);
    put("cpu/cpu%d/cache/index0/level", "1\n", cpu);
    put("cpu/cpu%d/cache/index0/shared_cpu_list", threads, cpu);
    if (l3 == NULL)
        return;
    put("cpu/cpu%d/cache/index3/level", "3\n", cpu);
    put("cpu/cpu%d/cache/index3/shared_cpu_list", l3, cpu);
}

static void put_node(int node, const char *cpus, int gib, const char *distance)
{
    char text[96];

    (void)snprintf(text, sizeof(text), "Node %d MemTotal: %d kB\n", node,
                   gib * 1024 * 1024);
    put("node/node%d/cpulist", cpus, node);
    put("node/node%d/meminfo", text, node);
    put("node/node%d/distance", distance, node);
}

static dcmi_topo topo;

static const dcmi_topo *read_it(void)
{
    memset(&topo, 0xff, sizeof(topo));
    dcmi_topo_read(&topo, root);
    return &topo;
}

static void check_counts(const dcmi_cpuset *set, dcmi_topo_counts want)
{
    const dcmi_topo_counts n = dcmi_topo_count(&topo, set);

    assert_int_equal(n.cpus, want.cpus);
    assert_int_equal(n.cores, want.cores);
    assert_int_equal(n.l3_groups, want.l3_groups);
    assert_int_equal(n.packages, want.packages);
    assert_int_equal(n.nodes, want.nodes);
}

static const dcmi_cpuset all = {
    {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};

static dcmi_cpuset set_of(uint64_t low)
{
    return (dcmi_cpuset){{low}};
}

/* ---- machines -------------------------------------------------------------- */

static void test_no_sys(void **state)
{
    (void)state;
    (void)read_it();
    check_counts(&all, (dcmi_topo_counts){0});
    assert_int_equal(topo.nodes.n, 0);
    assert_int_equal(topo.cpu[0].package, -1);
    assert_int_equal(dcmi_topo_home(&topo.nodes, 0), -1);
}

static void test_one_node(void **state)
{
    (void)state;
    put("cpu/online", "0-1\n");
    put_cpu(0, 0, "0\n", "0-1\n");
    put_cpu(1, 0, "1\n", "0-1\n");
    put("node/online", "0\n");
    put_node(0, "0-1\n", 24, "10\n");
    (void)read_it();
    check_counts(&all, (dcmi_topo_counts){2, 2, 1, 1, 1});
    assert_int_equal(topo.nodes.node[0].memory_bytes, 24ull << 30);
    assert_int_equal(dcmi_topo_home(&topo.nodes, 1), -1);
}

/* Threads of a core are numbered half the machine apart. */
static void put_two_sockets(void)
{
    put("cpu/online", "0-7\n");
    for (int c = 0; c < 8; c++) {
        char threads[16];

        (void)snprintf(threads, sizeof(threads), "%d,%d\n", c % 4, c % 4 + 4);
        put_cpu(c, c % 4 / 2, threads, c % 4 < 2 ? "0-1,4-5\n" : "2-3,6-7\n");
    }
    put("node/online", "0-1\n");
    put_node(0, "0-1,4-5\n", 64, "10 21\n");
    put_node(1, "2-3,6-7\n", 64, "21 10\n");
}

static void test_two_sockets(void **state)
{
    static const int home[] = {0, 0, 1, 1, 0, 0, 1, 1};
    const dcmi_cpuset second = set_of(0xcc);

    (void)state;
    put_two_sockets();
    (void)read_it();
    check_counts(&all, (dcmi_topo_counts){8, 4, 2, 2, 2});
    check_counts(&second, (dcmi_topo_counts){4, 2, 1, 1, 1});
    for (int c = 0; c < 8; c++)
        assert_int_equal(dcmi_topo_home(&topo.nodes, c), home[c]);
    assert_int_equal(dcmi_topo_home(&topo.nodes, 8), -1);
    assert_int_equal(dcmi_topo_home(&topo.nodes, -1), -1);
    assert_int_equal(topo.nodes.node[1].distance[0], 21);
}

/* A control group that leaves one thread of one core. */
static void test_limited(void **state)
{
    const dcmi_cpuset one = set_of(0x40);

    (void)state;
    put_two_sockets();
    (void)read_it();
    check_counts(&one, (dcmi_topo_counts){1, 1, 1, 1, 1});
    assert_int_equal(dcmi_topo_home(&topo.nodes, 6), 1);
}

/* Two packages of four nodes, each node of two cache groups of four cores. */
static void test_eight_nodes(void **state)
{
    (void)state;
    put("cpu/online", "0-63\n");
    put("node/online", "0-7\n");
    for (int c = 0; c < 64; c++) {
        char own[16];
        char l3[16];

        (void)snprintf(own, sizeof(own), "%d\n", c);
        (void)snprintf(l3, sizeof(l3), "%d-%d\n", c / 4 * 4, c / 4 * 4 + 3);
        put_cpu(c, c / 32, own, l3);
    }
    for (int n = 0; n < 8; n++) {
        char cpus[16];

        (void)snprintf(cpus, sizeof(cpus), "%d-%d\n", n * 8, n * 8 + 7);
        put_node(n, cpus, 32, "10 12 12 12 32 32 32 32\n");
    }
    (void)read_it();
    check_counts(&all, (dcmi_topo_counts){64, 64, 16, 2, 8});
    for (int c = 0; c < 64; c++)
        assert_int_equal(dcmi_topo_home(&topo.nodes, c), c / 8);
}

/* A GPU's memory is a node without processors, which nobody is at home on. */
static void test_memory_only_nodes(void **state)
{
    (void)state;
    put("cpu/online", "0-3\n");
    put("node/online", "0,4-5\n");
    for (int c = 0; c < 4; c++) {
        char own[16];

        (void)snprintf(own, sizeof(own), "%d\n", c);
        put_cpu(c, 0, own, "0-3\n");
    }
    put_node(0, "0-3\n", 480, "10 80 80\n");
    put_node(4, "\n", 96, "80 10 80\n");
    put_node(5, "\n", 96, "80 80 10\n");
    (void)read_it();
    check_counts(&all, (dcmi_topo_counts){4, 4, 1, 1, 1});
    assert_int_equal(topo.nodes.n, 3);
    assert_int_equal(topo.nodes.node[1].id, 4);
    assert_int_equal(dcmi_topo_home(&topo.nodes, 2), 0);
}

/* Node 2 has processors only: the nearest of the others serves. */
static void test_processors_only(void **state)
{
    (void)state;
    put("cpu/online", "0-2\n");
    put("node/online", "0-2\n");
    for (int c = 0; c < 3; c++)
        put_cpu(c, c, "\n", NULL);
    put_node(0, "0\n", 8, "10 20 32\n");
    put_node(1, "1\n", 8, "20 10 16\n");
    put_node(2, "2\n", 0, "32 16 10\n");
    (void)read_it();
    check_counts(&all, (dcmi_topo_counts){3, 0, 0, 3, 3});
    assert_int_equal(dcmi_topo_home(&topo.nodes, 2), 1);
}

static void test_offline(void **state)
{
    (void)state;
    put_two_sockets();
    put("cpu/online", "0,2-7\n");
    (void)read_it();
    check_counts(&all, (dcmi_topo_counts){7, 4, 2, 2, 2});
    assert_int_equal(topo.cpu[1].package, -1);
}

/* A kernel without nodes, caches or cores in /sys. */
static void test_bare(void **state)
{
    (void)state;
    put("cpu/online", "0-3\n");
    put("cpu/cpu0/topology/physical_package_id", "-1\n");
    (void)read_it();
    check_counts(&all, (dcmi_topo_counts){4, 0, 0, 0, 0});
    assert_int_equal(dcmi_topo_home(&topo.nodes, 0), -1);
}

static void test_nonsense(void **state)
{
    (void)state;
    put("cpu/online", "0-99999999,x\n");
    put("node/online", "0,7-3,2-,1000-2000\n");
    put_node(0, "banana\n", 1, "ten\n");
    put_cpu(0, 0, "-\n", "9999\n");
    (void)read_it();
    assert_int_equal(dcmi_topo_count(&topo, &all).cpus, 256);
    assert_int_equal(topo.cpu[0].core, -1);
    assert_int_equal(topo.cpu[0].l3, -1);
    assert_int_equal(topo.nodes.node[0].distance[0], 0);
    assert_int_equal(dcmi_topo_home(&topo.nodes, 0), -1);
}

static void test_text(void **state)
{
    const dcmi_cpuset some = set_of(0x8000000000000f01);
    const dcmi_cpuset none = set_of(0);
    char text[32];
    char small[12];

    (void)state;
    dcmi_cpuset_text(text, sizeof(text), &some);
    assert_string_equal(text, "0,8-11,63");
    dcmi_cpuset_text(small, sizeof(small), &some);
    assert_string_equal(small, "0,8-11,...");
    dcmi_cpuset_text(text, sizeof(text), &none);
    assert_string_equal(text, "");
    dcmi_cpuset_text(text, sizeof(text), &all);
    assert_string_equal(text, "0-255");
}

/* The machine at hand: as many as the system itself says. */
static void test_here(void **state)
{
    (void)state;
    dcmi_topo_read(&topo, "");
    if (dcmi_cpuset_count(&topo.online) == 0)
        skip();
    assert_int_equal(dcmi_cpuset_count(&topo.online),
                     sysconf(_SC_NPROCESSORS_ONLN));
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, fresh_root, root_gone)
    const struct CMUnitTest tests[] = {
        CASE(test_no_sys),      CASE(test_one_node),
        CASE(test_two_sockets), CASE(test_limited),
        CASE(test_eight_nodes), CASE(test_memory_only_nodes),
        CASE(test_offline),     CASE(test_processors_only),
        CASE(test_bare),        CASE(test_nonsense),
        CASE(test_text),        CASE(test_here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
