/* SPDX-License-Identifier: Apache-2.0 */
/* Threads as ranks. */
#include "support.h"

#include <pthread.h>

typedef struct thread_arg {
    int rank;
    dcm_group *group;
    test_rank_fn fn;
    void *arg;
} thread_arg;

static void *thread_main(void *arg)
{
    const thread_arg *a = arg;

    a->fn(a->rank, a->group, a->arg);
    return NULL;
}

void test_run_threads(int nranks, test_rank_fn fn, void *arg)
{
    pthread_t threads[DCM_MAX_RANKS];
    thread_arg args[DCM_MAX_RANKS];
    dcm_group *groups[DCM_MAX_RANKS];

    die_unless(dcm_group_new_local(groups, nranks, NULL) == DCM_OK);
    for (int r = 0; r < nranks; r++) {
        args[r] = (thread_arg){r, groups[r], fn, arg};
        die_unless(pthread_create(&threads[r], NULL, thread_main, &args[r]) ==
                   0);
    }
    for (int r = 0; r < nranks; r++)
        die_unless(pthread_join(threads[r], NULL) == 0);
    for (int r = 0; r < nranks; r++)
        dcm_group_free(groups[r]);
}
