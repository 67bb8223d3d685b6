/* SPDX-License-Identifier: Apache-2.0 */
/* Identity of this process and of others, from /proc. */
#define _GNU_SOURCE
#include "os/ident.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"

dcm_status dcmi_random(void *bytes, size_t n)
{
    unsigned char *at = bytes;
    ssize_t got;

    while (n > 0) {
        got = getrandom(at, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return dcmi_err_sys("getrandom");
        at += got;
        n -= (size_t)got;
    }
    return DCM_OK;
}

uint64_t dcmi_hash(uint64_t seed, const void *bytes, size_t n)
{
    const unsigned char *at = bytes;
    uint64_t h = seed ^ 0xcbf29ce484222325ull;

    for (size_t i = 0; i < n; i++)
        h = (h ^ at[i]) * 0x100000001b3ull;
    return h;
}

static uint64_t inode_of(const char *path)
{
    struct stat s;

    return stat(path, &s) == 0 ? (uint64_t)s.st_ino : 0;
}

uint64_t dcmi_host_hint(void)
{
    char boot[64] = "";
    uint64_t h;
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

    if (f != NULL) {
        if (fgets(boot, sizeof(boot), f) == NULL)
            boot[0] = '\0';
        (void)fclose(f);
    }
    h = dcmi_hash(0, boot, strlen(boot));
    /* Abstract sockets are seen inside one network namespace only. */
    return h ^ (inode_of("/proc/self/ns/net") * 0x9e3779b97f4a7c15ull);
}

uint64_t dcmi_pid_namespace(void)
{
    return inode_of("/proc/self/ns/pid");
}

/* State and start time (fields 3 and 22) of /proc/PID/stat. */
static bool read_stat(int pid, char *state_p, uint64_t *start_p)
{
    char path[64];
    char text[1024];
    char *at;
    size_t n;
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    f = fopen(path, "re");
    if (f == NULL)
        return false;
    n = fread(text, 1, sizeof(text) - 1, f);
    (void)fclose(f);
    text[n] = '\0';

    at = strrchr(text, ')'); /* the name before it may hold anything */
    if (at == NULL || at[1] != ' ')
        return false;
    *state_p = at[2];
    at += 2;
    for (int field = 3; field < 22; field++) {
        at = strchr(at, ' ');
        if (at == NULL)
            return false;
        at++;
    }
    *start_p = strtoull(at, NULL, 10);
    return true;
}

uint64_t dcmi_start_time(int pid)
{
    uint64_t start;
    char state;

    return read_stat(pid, &state, &start) ? start : 0;
}

bool dcmi_process_runs(int pid, uint64_t start_time)
{
    uint64_t start;
    char state;

    return read_stat(pid, &state, &start) && start == start_time &&
           state != 'Z' && state != 'X';
}

dcmi_process_token dcmi_process_here(void)
{
    const int pid = getpid();

    return (dcmi_process_token){
        .name_space = dcmi_pid_namespace(),
        .start_time = dcmi_start_time(pid),
        .pid = (uint64_t)pid,
    };
}

uint32_t dcmi_tid(void)
{
    return (uint32_t)syscall(SYS_gettid);
}
