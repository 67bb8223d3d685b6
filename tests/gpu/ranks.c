/* SPDX-License-Identifier: Apache-2.0 */
/* Processes as ranks on GPUs. */
#define _GNU_SOURCE
#include "gpu/ranks.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The counts of a build for coverage are kept by exit() alone. */
static void end_rank(int status)
{
#ifdef DCM_TEST_COUNTS
    exit(status);
#else
    _exit(status);
#endif
}

static int count_devices(void)
{
    const dcmi_cuda *cuda;
    int n = 0;

    if (dcmi_cuda_get(&cuda, true) != DCM_OK ||
        cuda->device_count(&n) != DCMI_CU_OK)
        return 0;
    return n;
}

int gpu_count(void)
{
    pid_t pid;
    int status = 0;

    fflush(NULL);
    pid = fork(); /* a process that has used CUDA must not fork ranks */
    if (pid == 0)
        _exit(count_devices());
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status)
               ? WEXITSTATUS(status)
               : 0;
}

/* A rank of a PID namespace of its own sees its own processes in /proc. */
static void own_proc(void)
{
    if (getenv("DEVCOMM_TEST_OWN_PIDS") == NULL)
        return;
    /* Or the mount would be the whole machine's. */
    gpu_die_unless(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    gpu_die_unless(mount("proc", "/proc", "proc", 0, NULL) == 0);
}

static int rank_main(int rank, int n, const char *address, gpu_rank_fn fn,
                     void *arg)
{
    gpu_rank r = {.rank = rank, .nranks = n};
    int rc;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    own_proc();
    gpu_die_unless(dcm_group_new(&r.group, address, rank, n, NULL) == DCM_OK);
    rc = fn(&r, arg);
    dcm_group_free(r.group);
    fflush(NULL);
    return rc;
}

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int judge(int rank, int status, bool is_killed)
{
    if (is_killed)
        return (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ||
                       (WIFEXITED(status) && WEXITSTATUS(status) == GPU_KILLED)
                   ? 0
                   : 1;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    fprintf(stderr, "rank %d ended with status %#x\n", rank, (unsigned)status);
    return 1;
}

/* Ends as the rank did, which is the first process of a namespace. */
static pid_t fork_inside(void)
{
    pid_t rank;
    int status = 0;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    gpu_die_unless(unshare(CLONE_NEWPID | CLONE_NEWNS) == 0);
    rank = fork();
    if (rank == 0)
        return 0;
    gpu_die_unless(rank > 0 && waitpid(rank, &status, 0) == rank);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

static pid_t fork_rank(void)
{
    const pid_t pid = fork();

    return pid != 0 || getenv("DEVCOMM_TEST_OWN_PIDS") == NULL ? pid
                                                               : fork_inside();
}

void gpu_die(void)
{
    (void)kill(getpid(), SIGKILL);
    _exit(GPU_KILLED);
}

int gpu_run(int n, gpu_rank_fn fn, void *arg, uint64_t killed, unsigned seconds)
{
    static unsigned serial;
    const double end = now() + seconds;
    pid_t pid[64];
    int left = n;
    int bad = 0;
    char address[64];

    (void)snprintf(address, sizeof(address), "unix:gpu-test-%d-%u",
                   (int)getpid(), serial++);
    fflush(NULL);
    for (int i = 0; i < n; i++) {
        pid[i] = fork_rank();
        if (pid[i] < 0) {
            perror("starting a rank");
            left--;
            bad = 1;
        }
        if (pid[i] == 0)
            end_rank(rank_main(i, n, address, fn, arg));
    }
    while (left > 0) {
        const struct timespec nap = {.tv_nsec = 1000000};

        for (int i = 0; i < n; i++) {
            int status;

            if (pid[i] <= 0 || waitpid(pid[i], &status, WNOHANG) != pid[i])
                continue;
            pid[i] = 0;
            left--;
            bad |= judge(i, status, (killed >> i & 1) != 0);
        }
        if (now() > end) {
            fprintf(stderr, "%d ranks have not ended after %u s\n", left,
                    seconds);
            for (int i = 0; i < n; i++) {
                if (pid[i] > 0)
                    (void)kill(pid[i], SIGKILL);
            }
            return 1;
        }
        (void)nanosleep(&nap, NULL);
    }
    return bad;
}

void gpu_open(gpu_rank *r)
{
    int n = 0;

    gpu_die_unless(dcmi_cuda_get(&r->cuda, true) == DCM_OK);
    gpu_do(r->cuda->device_count(&n));
    gpu_do(r->cuda->device_get(&r->device, r->rank % n));
    gpu_do(r->cuda->primary_retain(&r->ctx, r->device));
    gpu_do(r->cuda->ctx_set(r->ctx));
    gpu_do(r->cuda->stream_create(&r->stream, DCMI_CU_STREAM_NON_BLOCKING));
}

void gpu_close(gpu_rank *r)
{
    gpu_do(r->cuda->stream_destroy(r->stream));
    gpu_do(r->cuda->primary_release(r->device));
}

double gpu_max(gpu_rank *r, double mine)
{
    double all[DCM_MAX_RANKS];
    double most = mine;

    gpu_die_unless(dcm_group_exchange(r->group, &mine, all, sizeof(mine), 0) ==
                   DCM_OK);
    for (int i = 0; i < r->nranks; i++)
        most = all[i] > most ? all[i] : most;
    return most;
}

void gpu_meet(gpu_rank *r)
{
    (void)gpu_max(r, 0);
}

dcmi_cu_ptr gpu_alloc(gpu_rank *r, size_t bytes)
{
    dcmi_cu_ptr p = 0;

    gpu_do(r->cuda->mem_alloc(&p, bytes));
    return p;
}

/* The smallest pieces that the driver maps, so that calls cross many borders. */
static size_t piece_bytes(gpu_rank *r, dcmi_cu_mem_prop *prop)
{
    size_t granule = 0;

    *prop = (dcmi_cu_mem_prop){
        .type = DCMI_CU_PINNED,
        .location = {DCMI_CU_ON_DEVICE, r->device},
    };
    gpu_do(r->cuda->mem_granularity(&granule, prop,
                                    DCMI_CU_GRANULARITY_RECOMMENDED));
    return granule;
}

dcmi_cu_ptr gpu_alloc_pieces(gpu_rank *r, size_t bytes)
{
    const dcmi_cu_access access = {{DCMI_CU_ON_DEVICE, r->device},
                                   DCMI_CU_READ_WRITE};
    dcmi_cu_mem_prop prop;
    const size_t piece = piece_bytes(r, &prop);
    const size_t all = (bytes + piece - 1) / piece * piece;
    dcmi_cu_ptr at = 0;
    dcmi_cu_mem mem;

    gpu_do(r->cuda->mem_reserve(&at, all, piece, 0, 0));
    for (size_t done = 0; done < all; done += piece) {
        gpu_do(r->cuda->mem_create(&mem, piece, &prop, 0));
        gpu_do(r->cuda->mem_map(at + done, piece, 0, mem, 0));
        gpu_do(r->cuda->mem_release(mem));
        gpu_do(r->cuda->mem_set_access(at + done, piece, &access, 1));
    }
    return at;
}

void gpu_free_pieces(gpu_rank *r, dcmi_cu_ptr at, size_t bytes)
{
    dcmi_cu_mem_prop prop;
    const size_t piece = piece_bytes(r, &prop);
    const size_t all = (bytes + piece - 1) / piece * piece;

    for (size_t done = 0; done < all; done += piece)
        gpu_do(r->cuda->mem_unmap(at + done, piece));
    gpu_do(r->cuda->mem_unreserve(at, all));
}
