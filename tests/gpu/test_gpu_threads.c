/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranks that are threads of one process, each with a device, or several to one.
 *
 *     test_gpu_threads [RANKS]
 */
#include "gpu/ranks.h"

#include <pthread.h>

enum {
    MOST = 8,
    COUNT = 5000,
    CALLS = 200
};

typedef struct one {
    gpu_rank r;
    dcm_comm *comm;
    dcmi_cu_ptr at;
    float v[COUNT];
} one;

static one all[MOST];
static int n_ranks;

static void upload(one *o)
{
    for (int i = 0; i < COUNT; i++)
        o->v[i] = (float)(i + o->r.rank);
    gpu_do(o->r.cuda->ctx_set(o->r.ctx));
    o->at = gpu_alloc(&o->r, sizeof(o->v));
    gpu_do(o->r.cuda->copy_to(o->at, o->v, sizeof(o->v)));
    gpu_do(o->r.cuda->ctx_sync());
}

static void call(one *o)
{
    gpu_die_unless(dcm_all_reduce(o->comm, gpu_at(o->at, 0), gpu_at(o->at, 0),
                                  COUNT, DCM_F32, DCM_MAX,
                                  o->r.stream) == DCM_OK);
}

static void check(one *o)
{
    gpu_do(o->r.cuda->ctx_set(o->r.ctx));
    gpu_do(o->r.cuda->stream_sync(o->r.stream));
    gpu_die_unless(dcm_comm_check(o->comm) == DCM_OK);
    gpu_do(o->r.cuda->copy_from(o->v, o->at, sizeof(o->v)));
    for (int i = 0; i < COUNT; i++)
        gpu_die_unless((int)o->v[i] == i + n_ranks - 1);
    gpu_do(o->r.cuda->mem_free(o->at));
}

static void *thread_main(void *arg)
{
    one *o = arg;

    gpu_open(&o->r);
    upload(o);
    gpu_die_unless(dcm_comm_new(&o->comm, o->r.group, NULL) == DCM_OK);
    for (int i = 0; i < CALLS; i++)
        call(o);
    check(o);
    gpu_die_unless(dcm_comm_finalize(o->comm, 0) == DCM_OK);
    dcm_comm_free(o->comm);
    gpu_close(&o->r);
    return NULL;
}

static void threads(dcm_group **groups)
{
    pthread_t t[MOST];

    for (int i = 0; i < n_ranks; i++) {
        all[i].r = (gpu_rank){.rank = i, .nranks = n_ranks, .group = groups[i]};
        gpu_die_unless(pthread_create(&t[i], NULL, thread_main, &all[i]) == 0);
    }
    for (int i = 0; i < n_ranks; i++)
        gpu_die_unless(pthread_join(t[i], NULL) == 0);
    printf("%d ranks in threads: right\n", n_ranks);
}

int main(int argc, char **argv)
{
    const int devices = gpu_count();
    dcm_group *groups[MOST];

    /*
     * Streams of one context that share one of its few queues run one behind the
     * other; ranks that wait for each other must not.
     */
    (void)setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
    if (devices == 0) {
        printf("no GPU: skipped\n");
        return GPU_SKIP;
    }
    n_ranks = argc > 1 ? atoi(argv[1]) : devices;
    n_ranks = n_ranks < 2 ? 2 : n_ranks > MOST ? MOST : n_ranks;
    gpu_die_unless(dcm_group_new_local(groups, n_ranks, NULL) == DCM_OK);
    threads(groups);
    for (int i = 0; i < n_ranks; i++)
        dcm_group_free(groups[i]);
    return 0;
}
