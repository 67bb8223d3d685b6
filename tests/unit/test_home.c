/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory on the node of the rank that uses it.  /sys is made to tell of a second
 * node, so that there is a choice; the answer is the node this machine has.
 */
#define _GNU_SOURCE
#include "support.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/numa.h"
#include "topo/home.h"
#include "topo/topo.h"

enum {
    FAR_CPUS = DCMI_CPU_WORDS - 1 /* the word of node 1's processors */
};

void __wrap_dcmi_topo_read_nodes(dcmi_topo_nodes *nodes, const char *root);
int __wrap_dcmi_numa_prefer(int node);
int __real_dcmi_numa_prefer(int node);
void __wrap_dcmi_numa_any(void);
void __real_dcmi_numa_any(void);

static int refusal; /* errno of dcmi_numa_prefer(); 0: ask the kernel */
static int preferred;
static int undone;

void __wrap_dcmi_topo_read_nodes(dcmi_topo_nodes *nodes, const char *root)
{
    (void)root;
    memset(nodes, 0, sizeof(*nodes));
    nodes->n = 2;
    for (int i = 0; i < 2; i++) {
        nodes->node[i].id = i;
        nodes->node[i].memory_bytes = 1 << 30;
    }
    for (int i = 0; i < FAR_CPUS; i++)
        nodes->node[0].cpus.word[i] = UINT64_MAX;
    nodes->node[1].cpus.word[FAR_CPUS] = UINT64_MAX;
}

int __wrap_dcmi_numa_prefer(int node)
{
    const int rc = refusal != 0 ? refusal : __real_dcmi_numa_prefer(node);

    preferred += rc == 0;
    return rc;
}

void __wrap_dcmi_numa_any(void)
{
    undone++;
    __real_dcmi_numa_any();
}

static int reset(void **state)
{
    (void)state;
    refusal = preferred = undone = 0;
    return 0;
}

static bool has_policies(void)
{
    int mode;

    return syscall(SYS_get_mempolicy, &mode, NULL, 0ul, NULL, 0ul) == 0;
}

static void check_explain(const char *want)
{
    dcm_group *groups[2];
    dcm_comm *comms[2];
    char text[1024];

    assert_ok(dcm_group_new_local(groups, 2, NULL));
    assert_ok(dcm_comm_new_multi(comms, groups, 2, NULL));
    assert_ok(dcm_comm_explain(comms[0], text, sizeof(text), NULL, NULL, 4,
                               DCM_F32, DCM_SUM));
    if (strstr(text, want) == NULL)
        fail_msg("no \"%s\" in \"%s\"", want, text);
    assert_non_null(strstr(text, "; ranks began on nodes 0,0; "));
    for (int r = 0; r < 2; r++)
        dcm_comm_free(comms[r]);
    for (int r = 0; r < 2; r++)
        dcm_group_free(groups[r]);
}

static void test_asked_for(void **state)
{
    (void)state;
    if (!has_policies())
        skip();
    check_explain("this rank's memory is asked for on node 0");
    assert_true(preferred >= 2); /* each rank's region, and what they share */
    assert_int_equal(undone, preferred);
    /* Nothing stays behind: a policy left over would count as the thread's. */
    assert_int_equal(__real_dcmi_numa_prefer(0), 0);
    __real_dcmi_numa_any();
}

static void test_refused(void **state)
{
    (void)state;
    refusal = EPERM;
    check_explain("this rank runs on node 0, where its memory may not be asked "
                  "for (Operation not permitted): the kernel decides");
    assert_int_equal(undone, 0);
}

static void test_own_policy(void **state)
{
    unsigned long mask[16] = {1};
    int mode = 0;

    (void)state;
    if (!has_policies())
        skip();
    assert_int_equal(
        syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, mask, 8 * sizeof(mask)), 0);
    check_explain("has a memory policy of its own");
    assert_int_equal(syscall(SYS_get_mempolicy, &mode, NULL, 0ul, NULL, 0ul),
                     0);
    assert_int_equal(mode, MPOL_INTERLEAVE);
    assert_int_equal(undone, 0);
    __real_dcmi_numa_any();
}

/* Where the pages of an arena are, by the kernel. */
static void test_pages(void **state)
{
    const size_t bytes = 64 * 1024;
    dcm_group *group;
    dcm_comm *comm;
    dcm_arena *arena;
    void *p;

    (void)state;
    if (!has_policies())
        skip();
    assert_ok(dcm_group_new_local(&group, 1, NULL));
    assert_ok(dcm_comm_new(&comm, group, NULL));
    preferred = 0;
    assert_ok(dcm_arena_new(&arena, comm, bytes));
    assert_int_equal(preferred, 1);
    assert_ok(dcm_arena_alloc(arena, &p, bytes));
    for (size_t at = 0; at < bytes; at += 4096)
        assert_int_equal(dcmi_numa_node_of((char *)p + at), 0);
    dcm_arena_free(arena);
    dcm_comm_free(comm);
    dcm_group_free(group);
}

static void test_not_a_node(void **state)
{
    (void)state;
    assert_int_equal(__real_dcmi_numa_prefer(-1), EINVAL);
    assert_int_equal(__real_dcmi_numa_prefer(1 << 20), EINVAL);
    assert_int_equal(dcmi_numa_node_of(NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_asked_for, reset),
        cmocka_unit_test_setup(test_refused, reset),
        cmocka_unit_test_setup(test_own_policy, reset),
        cmocka_unit_test_setup(test_pages, reset),
        cmocka_unit_test_setup(test_not_a_node, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
