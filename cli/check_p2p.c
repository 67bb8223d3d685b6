/* SPDX-License-Identifier: Apache-2.0 */
/* devcomm check --p2p: a communicator of a thread a device, which tests itself. */
#include "check.h"

#include <devcomm/devcomm.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "device/cuda/driver.h"
#include "os/clock.h"
#include "topo/links.h"

enum {
    MOST = 16,
    COUNT = 1024,
    TEXT = 600
};

typedef struct rank {
    const dcmi_cuda *cuda;
    dcm_group *group;
    dcmi_cu_uuid uuid;
    int index;
    dcm_status st;
    char text[TEXT];
} rank;

/* In the device's context: what the communicator says of itself, or the failure. */
static void make(rank *r)
{
    dcm_comm_opts opts = DCM_COMM_OPTS_INIT;
    dcm_comm *comm;

    opts.backend = "peer";
    opts.timeout_ms = CHECK_DEADLINE_MS;
    r->st = dcm_comm_new(&comm, r->group, &opts);
    if (r->st == DCM_OK)
        r->st = dcm_comm_explain(comm, r->text, sizeof(r->text), NULL, NULL,
                                 COUNT, DCM_F32, DCM_SUM);
    if (r->st != DCM_OK)
        (void)snprintf(r->text, sizeof(r->text), "%s", dcm_errmsg());
    else
        dcm_comm_free(comm);
}

static void *rank_main(void *arg)
{
    rank *r = arg;
    dcmi_cu_device device = 0;
    dcmi_cu_ctx ctx = NULL;

    if (r->cuda->device_get(&device, r->index) == DCMI_CU_OK)
        (void)r->cuda->device_uuid(&r->uuid, device);
    /* Without a context creation says so, on all ranks. */
    if (r->cuda->primary_retain(&ctx, device) == DCMI_CU_OK)
        (void)r->cuda->ctx_set(ctx);
    make(r);
    if (ctx != NULL)
        (void)r->cuda->primary_release(device);
    return NULL;
}

static check_verdict judge(check_line *line, const rank *ranks, int n,
                           double ms)
{
    static const char host[] = "staging in host memory: ";
    const char *why = strstr(ranks[0].text, host);
    dcmi_cu_uuid uuids[MOST];

    for (int i = 0; i < n; i++) {
        if (ranks[i].st != DCM_OK)
            return check_say(line, CHECK_FAIL, "%s", ranks[i].text);
        uuids[i] = ranks[i].uuid;
    }
    if (why != NULL)
        return check_say(line, CHECK_SKIP, "through host memory: %.*s",
                         (int)strcspn(why + sizeof(host) - 1, ";"),
                         why + sizeof(host) - 1);
    return check_say(line, CHECK_OK,
                     "%d devices, all pairs: writes, order, reads, atomics, "
                     "all_reduce; %.1f ms; %s",
                     n, ms, dcmi_links_words(dcmi_links_look(uuids, n)));
}

static check_verdict run(check_line *line, const dcmi_cuda *cuda, int n)
{
    const uint64_t start = dcmi_now_ns();
    dcm_group *groups[MOST];
    rank ranks[MOST];
    pthread_t threads[MOST];
    int started = 0;

    if (dcm_group_new_local(groups, n, NULL) != DCM_OK)
        return check_say_dcm(line, "a group of threads");
    memset(ranks, 0, sizeof(ranks));
    for (int i = 0; i < n; i++) {
        ranks[i].cuda = cuda;
        ranks[i].group = groups[i];
        ranks[i].index = i;
        ranks[i].st = DCM_E_SYS;
        (void)snprintf(ranks[i].text, sizeof(ranks[i].text), "no thread");
        if (started == i &&
            pthread_create(&threads[i], NULL, rank_main, &ranks[i]) == 0)
            started++;
    }
    for (int i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL);
    for (int i = 0; i < n; i++)
        dcm_group_free(groups[i]);
    return judge(line, ranks, n, (double)(dcmi_now_ns() - start) * 1e-6);
}

check_verdict check_p2p(check_line *line)
{
    const dcmi_cuda *cuda;
    int n = 0;

    if (dcmi_cuda_get(&cuda, true) != DCM_OK)
        return check_say(line, CHECK_SKIP, "%s", dcm_errmsg());
    if (cuda->device_count(&n) != DCMI_CU_OK || n < 2)
        return check_say(line, CHECK_SKIP, "%d device%s: there are no pairs", n,
                         n == 1 ? "" : "s");
    return run(line, cuda, n < MOST ? n : MOST);
}
