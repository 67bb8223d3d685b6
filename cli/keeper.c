/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper: one loop over signals, the launcher's life and the ranks' output.
 *
 *   RUNNING  nobody has failed
 *   GRACE    a rank failed, or a signal asked for the end: the others may end
 *            by themselves until the grace period is over
 *   TERMED   they got SIGTERM, and some seconds
 *   KILLED   they got SIGKILL
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "launch.h"
#include "os/clock.h"

enum {
    KILL_AFTER_S = 2,
    JUDGE_S = 1,  /* how long a dying rank is waited for before judging */
    JUDGE_MS = 1, /* and looked at so often */
    FOREVER_MS = 3600000,
};

typedef enum phase {
    RUNNING,
    GRACE,
    TERMED,
    KILLED
} phase;

typedef struct end {
    int rank; /* -1: none */
    pid_t pid;
    int wait_status;
} end;

typedef struct keeper {
    launch_job job;
    pid_t *pid;       /* of each rank; 0: it has ended */
    tag_stream *tags; /* 2 a rank: output, errors */
    struct pollfd *fds;
    int n;
    int running;
    int signals;
    int life;
    phase phase;
    uint64_t next_ns; /* when the phase ends; 0: never */
    int asked_to_end; /* signals that did */
    int status;       /* of the job; meaningful once is_settled */
    bool is_settled;
    bool has_write_error;
    end suspect;       /* failed, but another may be the cause */
    uint64_t judge_ns; /* when the suspect is taken for it */
} keeper;

static uint64_t after(double seconds)
{
    return dcmi_now_ns() + (uint64_t)(seconds * 1e9);
}

static void send_all(const keeper *k, int sig)
{
    for (int r = 0; r < k->n; r++) {
        if (k->pid[r] > 0)
            (void)kill(k->pid[r], sig);
    }
}

/* "ranks 0, 3 and 4" of those that run. */
static void list_running(const keeper *k, char *text, size_t size)
{
    int left = k->running;
    size_t at;

    (void)snprintf(text, size, "rank%s", left == 1 ? "" : "s");
    for (int r = 0; r < k->n; r++) {
        if (k->pid[r] == 0)
            continue;
        at = strlen(text);
        (void)snprintf(text + at, size - at, " %d%s", r,
                       left > 2    ? ","
                       : left == 2 ? " and"
                                   : "");
        left--;
    }
}

static void begin_grace(keeper *k)
{
    if (k->phase != RUNNING)
        return;
    k->phase = GRACE;
    k->next_ns = after(k->job.opts->grace_s);
}

static void kill_now(keeper *k)
{
    k->phase = KILLED;
    k->next_ns = 0;
    send_all(k, SIGKILL);
}

/* A second SIGINT. */
static void kill_again(keeper *k)
{
    char who[512];

    list_running(k, who, sizeof(who));
    if (k->running > 0 && k->phase != KILLED)
        cli_error("SIGINT again: sending SIGKILL to %s", who);
    kill_now(k);
}

static void settle(keeper *k, int status)
{
    if (!k->is_settled)
        k->status = status;
    k->is_settled = true;
}

/* The phase is over. */
static void escalate(keeper *k)
{
    char who[512];

    list_running(k, who, sizeof(who));
    switch (k->phase) {
    case RUNNING: /* the job's own deadline */
        cli_error("the time of %g s is over: sending SIGTERM to %s",
                  k->job.opts->timeout_s, who);
        settle(k, LAUNCH_TIMEOUT);
        break;
    case GRACE:
        cli_error("%s did not end within %g s: sending SIGTERM", who,
                  k->job.opts->grace_s);
        break;
    case TERMED:
    case KILLED:
    default:
        cli_error("%s did not end %d s after SIGTERM: sending SIGKILL", who,
                  KILL_AFTER_S);
        kill_now(k);
        return;
    }
    k->phase = TERMED;
    k->next_ns = after(KILL_AFTER_S);
    send_all(k, SIGTERM);
}

static bool is_failure(const end *e)
{
    return !WIFEXITED(e->wait_status) || WEXITSTATUS(e->wait_status) != 0;
}

static int exit_status(const end *e)
{
    return WIFEXITED(e->wait_status) ? WEXITSTATUS(e->wait_status)
                                     : 128 + WTERMSIG(e->wait_status);
}

static void report(const keeper *k, const end *e)
{
    char text[32];

    if (WIFSIGNALED(e->wait_status))
        cli_error("rank %d (pid %d) was killed by %s%s", e->rank, (int)e->pid,
                  cli_signal_name(text, sizeof(text), WTERMSIG(e->wait_status)),
                  WCOREDUMP(e->wait_status) ? " (core dumped)" : "");
    else if (!k->job.opts->is_quiet)
        cli_error("rank %d (pid %d) exited with status %d", e->rank,
                  (int)e->pid, WEXITSTATUS(e->wait_status));
}

static int rank_of(const keeper *k, pid_t pid)
{
    for (int r = 0; r < k->n; r++) {
        if (k->pid[r] == pid)
            return r;
    }
    return -1; /* something that a rank left behind */
}

/*
 * Killed by what no program does to itself on purpose.  abort() is not of that
 * kind: some programs end so when a peer is gone.
 */
static bool is_hard(const end *e)
{
    return WIFSIGNALED(e->wait_status) && WTERMSIG(e->wait_status) != SIGABRT;
}

static void judge(keeper *k)
{
    if (!k->is_settled)
        report(k, &k->suspect);
    settle(k, exit_status(&k->suspect));
    k->suspect.rank = -1;
}

/*
 * A process that was killed closes its files and frees its locks before it can
 * be waited for, and its memory after that: peers may have seen it and exited
 * by then.  So while a rank is dying the verdict waits.
 */
static void consider(keeper *k)
{
    bool is_open = false;

    if (k->suspect.rank < 0)
        return;
    for (int r = 0; r < k->n && !is_hard(&k->suspect); r++)
        is_open = is_open || (k->pid[r] > 0 && launch_is_dying(k->pid[r]));
    if (!is_open || dcmi_now_ns() >= k->judge_ns)
        judge(k);
}

/* Take all that ended; of several failures a hard one is the cause. */
static void reap(keeper *k)
{
    end e;

    while ((e.pid = waitpid(-1, &e.wait_status, WNOHANG)) > 0) {
        e.rank = rank_of(k, e.pid);
        if (e.rank < 0)
            continue;
        k->pid[e.rank] = 0;
        k->running--;
        if (!is_failure(&e))
            continue;
        begin_grace(k);
        if (k->is_settled)
            continue;
        if (k->suspect.rank < 0)
            k->judge_ns = after(JUDGE_S);
        if (k->suspect.rank < 0 || (is_hard(&e) && !is_hard(&k->suspect)))
            k->suspect = e;
    }
    consider(k);
}

static void on_signal(keeper *k)
{
    struct signalfd_siginfo s;
    int sig;

    while (read(k->signals, &s, sizeof(s)) == (ssize_t)sizeof(s)) {
        sig = (int)s.ssi_signo;
        if (sig == SIGCHLD)
            continue; /* the loop reaps in any case */
        if (s.ssi_code != SI_KERNEL)
            send_all(k, sig);
        if (sig == SIGUSR1 || sig == SIGUSR2 || sig == SIGALRM)
            continue;
        if (++k->asked_to_end > 1 && sig == SIGINT)
            kill_again(k);
        else
            begin_grace(k);
    }
}

static void pump(keeper *k, tag_stream *s)
{
    const int err = tag_pump(s);

    if (err == 0)
        return;
    if (err != EPIPE && !k->has_write_error)
        cli_error("cannot write the output of rank %d: %s", s->rank,
                  strerror(err));
    k->has_write_error = k->has_write_error || err != EPIPE;
}

static int wait_ms(const keeper *k)
{
    const uint64_t now = dcmi_now_ns();

    if (k->suspect.rank >= 0)
        return JUDGE_MS;
    if (k->next_ns == 0)
        return FOREVER_MS;
    if (k->next_ns <= now)
        return 0;
    if ((k->next_ns - now) / DCMI_NS_PER_MS >= FOREVER_MS)
        return FOREVER_MS;
    return (int)((k->next_ns - now) / DCMI_NS_PER_MS) + 1;
}

/* Wait for something and see to it. */
static void turn(keeper *k, int timeout_ms)
{
    const int ntags = k->job.opts->is_tagged ? 2 * k->n : 0;

    k->fds[0] = (struct pollfd){.fd = k->signals, .events = POLLIN};
    k->fds[1] = (struct pollfd){.fd = k->life, .events = 0};
    for (int i = 0; i < ntags; i++) /* closed ones, -1, are passed over */
        k->fds[2 + i] = (struct pollfd){.fd = k->tags[i].fd, .events = POLLIN};
    if (poll(k->fds, (nfds_t)(2 + ntags), timeout_ms) <= 0)
        return;
    if (k->fds[0].revents != 0)
        on_signal(k);
    if (k->fds[1].revents != 0) {
        k->life = -1; /* the launcher is gone, and nobody waits for us */
        kill_now(k);
    }
    for (int i = 0; i < ntags; i++) {
        if (k->tags[i].fd >= 0 && k->fds[2 + i].revents != 0)
            pump(k, &k->tags[i]);
    }
}

static void start_ranks(keeper *k)
{
    for (int r = 0; r < k->n && k->phase == RUNNING; r++) {
        const int status = launch_spawn(&k->job, r, &k->pid[r], &k->tags[2 * r],
                                        &k->tags[2 * r + 1]);

        k->running += k->pid[r] > 0;
        if (status != 0) {
            settle(k, status);
            kill_now(k);
        }
    }
}

static void run_ranks(keeper *k)
{
    k->next_ns = k->job.opts->timeout_s > 0 ? after(k->job.opts->timeout_s) : 0;
    start_ranks(k);
    reap(k);
    while (k->running > 0) {
        turn(k, wait_ms(k));
        reap(k);
        if (k->running > 0 && k->next_ns != 0 && dcmi_now_ns() >= k->next_ns)
            escalate(k);
    }
    /* Whatever they left behind would keep the pipes of the tags open. */
    launch_sweep();
    for (int i = 0; k->job.opts->is_tagged && i < 2 * k->n; i++) {
        while (k->tags[i].fd >= 0)
            pump(k, &k->tags[i]);
    }
}

static bool open_keeper(keeper *k, const launch_opts *opts, int life_fd)
{
    const size_t n = (size_t)opts->nranks;
    sigset_t set;

    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    launch_signals(&set);
    k->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    k->life = life_fd;
    k->n = opts->nranks;
    k->pid = calloc(n, sizeof(*k->pid));
    k->tags = calloc(2 * n, sizeof(*k->tags));
    k->fds = calloc(2 + 2 * n, sizeof(*k->fds));
    if (k->signals < 0 || k->pid == NULL || k->tags == NULL || k->fds == NULL) {
        cli_error("starting the keeper: %s", strerror(errno));
        return false;
    }
    for (size_t i = 0; i < 2 * n; i++)
        k->tags[i].fd = -1;
    return launch_job_init(&k->job, opts);
}

int launch_keep(const launch_opts *opts, int life_fd)
{
    keeper k = {.phase = RUNNING, .suspect = {.rank = -1}};

    if (open_keeper(&k, opts, life_fd)) {
        run_ranks(&k);
        if (k.has_write_error)
            settle(&k, CLI_FAIL);
    } else {
        settle(&k, LAUNCH_SELF);
    }
    free(k.fds);
    free(k.tags);
    free(k.pid);
    return k.is_settled ? k.status : CLI_OK;
}
