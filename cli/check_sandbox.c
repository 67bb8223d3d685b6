/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel or a sandbox may refuse, and what devcomm does then. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/pin.h"
#include "check.h"
#include "cli.h"
#include "os/clock.h"
#include "os/futex.h"
#include "os/sock.h"

check_verdict check_membarrier(check_line *line)
{
    dcmi_heavy_fence_join();
    if (dcmi_heavy_fence())
        return check_say(line, CHECK_OK,
                         "expedited: waking a parked rank costs no fence");
    return check_say(line, CHECK_SKIP,
                     "refused or not there; parked ranks look again by the "
                     "clock, after 0.5 to 20 ms");
}

static _Noreturn void stay(void)
{
    for (;;)
        dcmi_nap_ns(1000 * DCMI_NS_PER_MS);
}

check_verdict check_pidfd(check_line *line)
{
    struct pollfd p = {.fd = -1, .events = POLLIN};
    check_verdict v;
    pid_t pid = check_fork();

    if (pid == 0)
        stay();
    if (pid < 0)
        return check_say(line, CHECK_FAIL, "fork: %s", strerror(errno));
#ifdef SYS_pidfd_open
    p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
#else
    errno = ENOSYS;
#endif
    if (p.fd < 0)
        v = check_say(line, CHECK_SKIP,
                      "%s; a death is confirmed by /proc and "
                      "by the socket's hang-up",
                      strerror(errno));
    else if (kill(pid, SIGKILL) == 0 && poll(&p, 1, CHECK_DEADLINE_MS) == 1)
        v = check_say(line, CHECK_OK, "tells of a process's end");
    else
        v = check_say(line, CHECK_FAIL, "does not tell of a process's end");
    dcmi_close(p.fd);
    (void)kill(pid, SIGKILL);
    (void)check_join(pid);
    return v;
}

check_verdict check_proc_fd(check_line *line)
{
    check_verdict v;
    char path[64];
    pid_t pid = check_fork();

    if (pid == 0)
        stay();
    if (pid < 0)
        return check_say(line, CHECK_FAIL, "fork: %s", strerror(errno));
    (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    if (access(path, R_OK | X_OK) == 0)
        v = check_say(line, CHECK_OK,
                      "segments of a running job can be found "
                      "from outside");
    else
        v = check_say(line, CHECK_SKIP,
                      "%s; a running job cannot be looked "
                      "into from outside",
                      strerror(errno));
    (void)kill(pid, SIGKILL);
    (void)check_join(pid);
    return v;
}

check_verdict check_pinning(check_line *line)
{
    dcmi_cpuset allowed;
    int core;

    dcmi_limits_affinity(&allowed);
    core = dcmi_pin_pick(&allowed, 0, 1, "");
    if (core < 0 || !dcmi_pin_thread(core))
        return check_say(line, CHECK_SKIP,
                         "refused; devcomm bench runs "
                         "unpinned, its times vary more");
    dcmi_pin_restore(&allowed);
    return check_say(line, CHECK_OK, "a thread can be bound to a core");
}

/* The number behind "key:" in this process's status; -1: not there. */
static long status_number(const char *key)
{
    char text[256];
    long v = -1;
    FILE *f = fopen("/proc/self/status", "re");

    if (f == NULL)
        return -1;
    while (v < 0 && fgets(text, sizeof(text), f) != NULL) {
        if (strncmp(text, key, strlen(key)) == 0)
            v = strtol(text + strlen(key), NULL, 10);
    }
    (void)fclose(f);
    return v;
}

static long file_number(const char *path)
{
    long v = -1;
    FILE *f = fopen(path, "re");

    if (f == NULL)
        return -1;
    if (fscanf(f, "%ld", &v) != 1)
        v = -1;
    (void)fclose(f);
    return v;
}

check_verdict check_sandbox(check_line *line)
{
    const long seccomp = status_number("Seccomp:");
    const long yama = file_number("/proc/sys/kernel/yama/ptrace_scope");
    char scope[64] = "ptrace scope not set";

    if (yama >= 0)
        (void)snprintf(scope, sizeof(scope), "ptrace scope %ld", yama);
    return check_say(line, CHECK_NOTE,
                     "%s, %s; devcomm uses neither ptrace nor another "
                     "process's memory",
                     seccomp < 0    ? "seccomp unknown"
                     : seccomp == 0 ? "no seccomp filter"
                                    : "a seccomp filter is on",
                     scope);
}
