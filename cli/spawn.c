/* SPDX-License-Identifier: Apache-2.0 */
/* Starting one rank. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cli.h"
#include "launch.h"
#include "os/ident.h"

bool launch_job_init(launch_job *job, const launch_opts *opts)
{
    uint64_t random[3];

    if (dcmi_random(random, sizeof(random)) != DCM_OK) {
        cli_error_dcm("the job's name");
        return false;
    }
    job->opts = opts;
    job->keeper = getpid();
    /* Names of sockets are public, so this one tells nothing of the token. */
    (void)snprintf(job->address, sizeof(job->address),
                   "unix:devcomm-run-%016" PRIx64, random[0]);
    (void)snprintf(job->token, sizeof(job->token), "%016" PRIx64 "%016" PRIx64,
                   random[1], random[2]);
    return true;
}

static bool set_number(const char *name, int v)
{
    char text[16];

    (void)snprintf(text, sizeof(text), "%d", v);
    return setenv(name, text, 1) == 0;
}

static bool set_environment(const launch_job *job, int rank)
{
    return set_number("DEVCOMM_RANK", rank) &&
           set_number("DEVCOMM_NRANKS", job->opts->nranks) &&
           setenv("DEVCOMM_ADDR", job->address, 1) == 0 &&
           setenv("DEVCOMM_TOKEN", job->token, 1) == 0;
}

/* Standard input goes to rank 0 alone: two readers would each get half. */
static bool set_files(int rank, int out, int err)
{
    int null;

    if (out >= 0 &&
        (dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0))
        return false;
    if (rank == 0)
        return true;
    null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return null >= 0 && dup2(null, STDIN_FILENO) >= 0;
}

/* In the new process.  Ends in the program, or with errno told to `report`. */
static _Noreturn void become_rank(const launch_job *job, int rank, int report,
                                  int out, int err)
{
    int failed = EINVAL;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* The keeper may have died before that. */
    if (getppid() != job->keeper)
        _exit(LAUNCH_SELF);
    if (set_files(rank, out, err) && set_environment(job, rank)) {
        cli_signals_restore();
        (void)execvp(job->opts->path, job->opts->argv);
    }
    failed = errno;
    (void)!write(report, &failed, sizeof(failed));
    _exit(LAUNCH_SELF);
}

static int open_tag(tag_stream *s, int rank, int to, int *child_end_p)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return errno;
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    memset(s, 0, offsetof(tag_stream, line));
    s->fd = ends[0];
    s->to = to;
    s->rank = rank;
    *child_end_p = ends[1];
    return 0;
}

static void close_end(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

/* What the new process tells of its exec(): nothing if it worked. */
static int read_report(int fd)
{
    int failed = 0;
    ssize_t n;

    do {
        n = read(fd, &failed, sizeof(failed));
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof(failed) ? failed : 0;
}

int launch_spawn(const launch_job *job, int rank, pid_t *pid_p, tag_stream *out,
                 tag_stream *err)
{
    int report[2] = {-1, -1};
    int out_end = -1;
    int err_end = -1;
    int failed = 0;
    pid_t pid = -1;

    if (job->opts->is_tagged) {
        failed = open_tag(out, rank, STDOUT_FILENO, &out_end);
        if (failed == 0)
            failed = open_tag(err, rank, STDERR_FILENO, &err_end);
    }
    if (failed == 0 && pipe2(report, O_CLOEXEC) != 0)
        failed = errno;
    if (failed == 0) {
        pid = fork();
        if (pid == 0)
            become_rank(job, rank, report[1], out_end, err_end);
        failed = pid < 0 ? errno : 0;
    }
    close_end(out_end);
    close_end(err_end);
    close_end(report[1]);
    if (pid > 0) {
        *pid_p = pid;
        failed = read_report(report[0]);
    }
    close_end(report[0]);
    if (failed == 0)
        return 0;
    if (pid < 0) {
        cli_error("starting rank %d: %s", rank, strerror(failed));
        return LAUNCH_SELF;
    }
    cli_error("%s: %s", job->opts->path, strerror(failed));
    return failed == ENOENT ? LAUNCH_NOENT : LAUNCH_NOEXEC;
}
