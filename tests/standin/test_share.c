/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a pointer is, and sharing what it points to: every kind of memory, every
 * way, threads and processes, vetoes, and what is left afterwards.
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "memory/pointer.h"
#include "memory/share.h"
#include "standin/ask.h"

enum {
    BYTES = 10000,
    OFFSET = 4096, /* of the piece in its allocation */
    GRANULE = 2 << 20
};

typedef dcmi_cu_result (*managed_fn)(dcmi_cu_ptr *ptr_p, size_t bytes,
                                     unsigned flags);
typedef dcmi_cu_result (*pool_fn)(dcmi_cu_ptr *ptr_p, size_t bytes,
                                  dcmi_cu_stream stream);
typedef dcmi_cu_result (*pool_free_fn)(dcmi_cu_ptr ptr, dcmi_cu_stream stream);

static dcmi_cuda_home home_of(const gpu_rank *r)
{
    return (dcmi_cuda_home){r->cuda, r->ctx, r->device, false};
}

/* Memory of a kind; and its end. */
static dcmi_cu_ptr map_physical(const gpu_rank *r, int handle_types)
{
    const dcmi_cu_location here = {DCMI_CU_ON_DEVICE, r->device};
    const dcmi_cu_access access = {here, DCMI_CU_READ_WRITE};
    const dcmi_cu_mem_prop prop = {
        .type = DCMI_CU_PINNED,
        .handle_types = handle_types,
        .location = here,
    };
    dcmi_cu_mem mem;
    dcmi_cu_ptr at;

    gpu_do(r->cuda->mem_create(&mem, GRANULE, &prop, 0));
    gpu_do(r->cuda->mem_reserve(&at, GRANULE, 0, 0, 0));
    gpu_do(r->cuda->mem_map(at, GRANULE, 0, mem, 0));
    gpu_do(r->cuda->mem_set_access(at, GRANULE, &access, 1));
    gpu_do(r->cuda->mem_release(mem));
    return at;
}

static void unmap_physical(const gpu_rank *r, dcmi_cu_ptr at)
{
    gpu_do(r->cuda->mem_unmap(at, GRANULE));
    gpu_do(r->cuda->mem_unreserve(at, GRANULE));
}

/* ---- what a pointer is ---------------------------------------------------- */

static void must_be(const gpu_rank *r, dcmi_cu_ptr at, dcmi_pointer_kind kind,
                    bool has_ipc, bool has_fd)
{
    const dcmi_pointer p = dcmi_pointer_look(r->cuda, at + 100);

    if (p.kind != kind)
        fprintf(stderr, "%s, not %s\n", dcmi_pointer_words(p.kind),
                dcmi_pointer_words(kind));
    gpu_die_unless(p.kind == kind && p.has_ipc == has_ipc &&
                   p.has_fd == has_fd);
    if (kind != DCMI_POINTER_HOST)
        gpu_die_unless(p.base == at && p.bytes >= BYTES);
    if (kind != DCMI_POINTER_HOST && kind != DCMI_POINTER_PINNED)
        gpu_die_unless(p.device == r->device);
}

static int kinds_rank(gpu_rank *r, void *arg)
{
    managed_fn managed;
    pool_fn pool;
    pool_free_fn pool_free;
    standin_counts was;
    dcmi_cu_ptr at;
    void *host;

    (void)arg;
    gpu_open(r);
    ask_find(&managed, "cuMemAllocManaged");
    ask_find(&pool, "cuMemAllocAsync");
    ask_find(&pool_free, "cuMemFreeAsync");
    was = ask_count();
    at = gpu_alloc(r, BYTES);
    must_be(r, at, DCMI_POINTER_DEVICE, true, false);
    gpu_do(r->cuda->mem_free(at));
    must_be(r, at, DCMI_POINTER_HOST, false, false);
    gpu_do(managed(&at, BYTES, 1));
    must_be(r, at, DCMI_POINTER_MANAGED, false, false);
    gpu_do(r->cuda->mem_free(at));
    gpu_do(pool(&at, BYTES, r->stream));
    must_be(r, at, DCMI_POINTER_POOL, false, false);
    gpu_do(pool_free(at, r->stream));
    gpu_do(r->cuda->host_alloc(&host, BYTES, DCMI_CU_HOST_PORTABLE));
    must_be(r, (uintptr_t)host, DCMI_POINTER_PINNED, false, false);
    gpu_do(r->cuda->host_free(host));
    at = map_physical(r, DCMI_CU_POSIX_FD);
    must_be(r, at, DCMI_POINTER_MAPPED, false, true);
    unmap_physical(r, at);
    at = map_physical(r, 0); /* an allocator that did not think of sharing */
    must_be(r, at, DCMI_POINTER_MAPPED, false, false);
    unmap_physical(r, at);
    host = malloc(BYTES);
    must_be(r, (uintptr_t)host, DCMI_POINTER_HOST, false, false);
    free(host);
    ask_must_equal(&was, "after looking");
    gpu_close(r);
    return 0;
}

/* ---- sharing -------------------------------------------------------------- */

static unsigned char value(int rank, int round, size_t i)
{
    return (unsigned char)(rank * 37 + round * 11 + (int)(i % 251));
}

/* Every rank writes its own piece and reads all others'. */
static void use(gpu_rank *r, const dcmi_share *s, dcmi_cu_ptr mine, int round)
{
    static _Thread_local unsigned char v[BYTES];

    for (size_t i = 0; i < BYTES; i++)
        v[i] = value(r->rank, round, i);
    gpu_do(r->cuda->copy_to(mine, v, BYTES));
    gpu_meet(r);
    for (int p = 0; p < r->nranks; p++) {
        gpu_do(r->cuda->copy_from(v, dcmi_share_at(s, p), BYTES));
        for (size_t i = 0; i < BYTES; i++)
            gpu_die_unless(v[i] == value(p, round, i));
    }
    gpu_meet(r);
}

static dcm_status share(gpu_rank *r, dcmi_share **s_p,
                        const dcmi_cuda_home *home, dcmi_cu_ptr at)
{
    return dcmi_share_new(s_p, r->group, home, at, BYTES, DCMI_SHARE_ANY, 0);
}

/* Two pieces of one allocation, which is opened once. */
static void share_both(gpu_rank *r, dcmi_cu_ptr at, dcmi_share_way how)
{
    const dcmi_cuda_home home = home_of(r);
    dcmi_share *one;
    dcmi_share *two;

    gpu_die_unless(share(r, &one, &home, at + OFFSET) == DCM_OK);
    gpu_die_unless(share(r, &two, &home, at + 3 * OFFSET + 64) == DCM_OK);
    gpu_die_unless(dcmi_share_how(one) == how && dcmi_share_how(two) == how);
    use(r, one, at + OFFSET, 1);
    use(r, two, at + 3 * OFFSET + 64, 2);
    dcmi_share_free(one);
    use(r, two, at + 3 * OFFSET + 64, 3);
    dcmi_share_free(two);
}

static void refuse(gpu_rank *r, dcmi_cu_ptr at, const char *words)
{
    const dcmi_cuda_home home = home_of(r);
    dcmi_share *s;

    gpu_die_unless(share(r, &s, &home, at) == DCM_E_UNSUP);
    if (strstr(dcm_errmsg(), words) == NULL)
        fprintf(stderr, "%s\n", dcm_errmsg());
    gpu_die_unless(strstr(dcm_errmsg(), words) != NULL);
}

static void share_all(gpu_rank *r, bool is_threads)
{
    const dcmi_share_way mapped = is_threads ? DCMI_SHARE_SAME : DCMI_SHARE_FD;
    const dcmi_share_way plain = is_threads ? DCMI_SHARE_SAME : DCMI_SHARE_IPC;
    dcmi_cu_ptr at = map_physical(r, DCMI_CU_POSIX_FD);
    dcmi_cu_ptr other = gpu_alloc(r, 8 * BYTES);

    share_both(r, at, mapped);
    share_both(r, other, plain);
    refuse(r, r->rank == 1 ? other + 8 * BYTES : other, "ends behind");
    if (!is_threads) {
        /* Each way serves one rank, none both. */
        refuse(r, r->rank == 0 ? at : other, "another kind");
        unmap_physical(r, at);
        at = map_physical(r, 0);
        refuse(r, at, "makes no handle");
    }
    gpu_meet(r);
    unmap_physical(r, at);
    gpu_do(r->cuda->mem_free(other));
}

static int processes_rank(gpu_rank *r, void *arg)
{
    standin_counts was;

    (void)arg;
    gpu_open(r);
    was = ask_count();
    share_all(r, false);
    ask_must_equal(&was, "after sharing");
    gpu_close(r);
    return 0;
}

static void *thread_main(void *arg)
{
    gpu_rank *r = arg;

    gpu_open(r);
    share_all(r, true);
    gpu_meet(r);
    gpu_close(r);
    return NULL;
}

static void test_threads(int n)
{
    dcm_group *groups[4];
    gpu_rank ranks[4];
    pthread_t t[4];

    gpu_die_unless(dcm_group_new_local(groups, n, NULL) == DCM_OK);
    for (int i = 0; i < n; i++) {
        ranks[i] = (gpu_rank){.rank = i, .nranks = n, .group = groups[i]};
        gpu_die_unless(pthread_create(&t[i], NULL, thread_main, &ranks[i]) ==
                       0);
    }
    for (int i = 0; i < n; i++)
        gpu_die_unless(pthread_join(t[i], NULL) == 0);
    for (int i = 0; i < n; i++)
        dcm_group_free(groups[i]);
}

/* Vetoes of one rank bind all; a word that is none is an error of all. */
static int vetoes_rank(gpu_rank *r, void *arg)
{
    dcmi_cuda_home home;
    dcmi_cu_ptr at;
    dcmi_share *s;

    (void)arg;
    gpu_open(r);
    home = home_of(r);
    at = gpu_alloc(r, BYTES + OFFSET);
    (void)setenv("DEVCOMM_GPU_VETO", r->rank == 1 ? "fd,ipc" : "same", 1);
    refuse(r, at, "ipc: rank 1: DEVCOMM_GPU_VETO names it");
    (void)setenv("DEVCOMM_GPU_VETO", r->rank == 0 ? "peer" : "", 1);
    refuse(r, at, "ipc: rank 0: DEVCOMM_GPU_VETO names it");
    (void)setenv("DEVCOMM_GPU_VETO", r->rank == 0 ? "ipcs" : "", 1);
    gpu_die_unless(share(r, &s, &home, at) == DCM_E_INVAL);
    (void)setenv("DEVCOMM_GPU_VETO", "same,fd", 1);
    share_both(r, gpu_alloc(r, 8 * BYTES), DCMI_SHARE_IPC);
    gpu_close(r);
    return 0;
}

static int run_case(const char *name, int n, gpu_rank_fn fn)
{
    const int bad = gpu_run(n, fn, NULL, 0, 60);

    printf("%s: %s\n", name, bad != 0 ? "FAILED" : "ok");
    return bad;
}

int main(void)
{
    int bad = 0;

    gpu_die_unless(gpu_count() == 2);
    bad |= run_case("kinds of memory", 1, kinds_rank);
    bad |= run_case("processes", 2, processes_rank);
    bad |= run_case("three processes on two devices", 3, processes_rank);
    bad |= run_case("vetoes", 2, vetoes_rank);
    test_threads(2);
    test_threads(4);
    printf("threads: ok\n");
    return bad;
}
