/* SPDX-License-Identifier: Apache-2.0 */
/* Watching processes by pidfd. */
#define _GNU_SOURCE
#include "os/process.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/ident.h"

void dcmi_process_open(dcmi_process *p, int pid, uint64_t start_time)
{
    *p = (dcmi_process){.pid = pid, .fd = -1, .start_time = start_time};
    if (pid == getpid()) {
        p->is_self = true;
        return;
    }
    if (pid <= 0) {
        p->is_gone = true;
        return;
    }
    p->fd = (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec */
    /* Opened first, then looked up: so the pid cannot change in between. */
    if (start_time != 0 && dcmi_start_time(pid) != start_time)
        p->is_gone = true;
}

void dcmi_process_close(dcmi_process *p)
{
    if (p->fd >= 0)
        (void)close(p->fd);
    p->fd = -1;
}

bool dcmi_process_is_gone(dcmi_process *p)
{
    struct pollfd f = {.fd = p->fd, .events = POLLIN};

    if (p->is_gone || p->is_self)
        return p->is_gone;
    if (p->fd >= 0)
        p->is_gone = poll(&f, 1, 0) > 0;
    else if (p->start_time != 0)
        p->is_gone = !dcmi_process_runs(p->pid, p->start_time);
    else
        p->is_gone = kill(p->pid, 0) != 0 && dcmi_start_time(p->pid) == 0;
    return p->is_gone;
}
