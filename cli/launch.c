/* SPDX-License-Identifier: Apache-2.0 */
/* The outer process of a job, and what it shares with the keeper. */
#define _GNU_SOURCE
#include "launch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "os/clock.h"

enum {
    SWEEP_MS = 5000
};

static const int passed_on[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM,
                                SIGUSR1, SIGUSR2, SIGALRM};

void launch_signals(sigset_t *set)
{
    struct sigaction old;

    (void)sigemptyset(set);
    (void)sigaddset(set, SIGCHLD);
    for (size_t i = 0; i < DCMI_ARRAY_LEN(passed_on); i++) {
        /* nohup, and a shell's background jobs, ignore some on purpose. */
        if (sigaction(passed_on[i], NULL, &old) == 0 &&
            old.sa_handler != SIG_IGN)
            (void)sigaddset(set, passed_on[i]);
    }
}

/* Field `field`, 4 or later, of /proc/PID/stat; -1: no such process. */
static long stat_field(pid_t pid, int field)
{
    char path[64];
    char text[512];
    const char *at;
    size_t n;
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    f = fopen(path, "re");
    if (f == NULL)
        return -1;
    n = fread(text, 1, sizeof(text) - 1, f);
    (void)fclose(f);
    text[n] = '\0';
    at = strrchr(text, ')'); /* the name before it may hold anything */
    if (at == NULL || at[1] == '\0')
        return -1;
    at++; /* to the blank in front of field 3 */
    for (int i = 3; i < field && at != NULL; i++)
        at = strchr(at + 1, ' ');
    return at != NULL ? strtol(at, NULL, 10) : -1;
}

static pid_t parent_of(pid_t pid)
{
    return (pid_t)stat_field(pid, 4);
}

/* A signal that ends a process is made SIGKILL of each of its threads. */
static bool has_sigkill(pid_t pid)
{
    uint64_t pending = 0;
    char path[64];
    char line[128];
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    f = fopen(path, "re");
    if (f == NULL)
        return false;
    while (fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, "SigPnd:", 7) == 0 ||
            strncmp(line, "ShdPnd:", 7) == 0)
            pending |= strtoull(line + 7, NULL, 16);
    }
    (void)fclose(f);
    return (pending >> (SIGKILL - 1) & 1) != 0;
}

bool launch_is_dying(pid_t pid)
{
    static const long exiting = 0x4; /* PF_EXITING of the kernel's flags */
    const long flags = stat_field(pid, 9);

    return (flags >= 0 && (flags & exiting) != 0) || has_sigkill(pid);
}

static void kill_children(void)
{
    const pid_t self = getpid();
    struct dirent *entry;
    DIR *proc = opendir("/proc");

    if (proc == NULL)
        return;
    while ((entry = readdir(proc)) != NULL) {
        const pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

        /* A child of ours stays one, dead or not, until we reap it. */
        if (pid > 0 && parent_of(pid) == self)
            (void)kill(pid, SIGKILL);
    }
    (void)closedir(proc);
}

void launch_sweep(void)
{
    const uint64_t end = dcmi_now_ns() + SWEEP_MS * DCMI_NS_PER_MS;
    pid_t pid;

    for (;;) {
        do {
            pid = waitpid(-1, NULL, WNOHANG);
        } while (pid > 0);
        if (pid < 0 || dcmi_now_ns() >= end)
            return;
        kill_children(); /* their children become ours by that */
        dcmi_nap_ns(DCMI_NS_PER_MS);
    }
}

/* The keeper's end as an exit status. */
static int status_of(int wait_status)
{
    char text[32];

    if (WIFEXITED(wait_status))
        return WEXITSTATUS(wait_status);
    cli_error("the keeper of the ranks was killed by %s",
              cli_signal_name(text, sizeof(text), WTERMSIG(wait_status)));
    return 128 + WTERMSIG(wait_status);
}

static int wait_keeper(pid_t keeper, const sigset_t *set)
{
    int wait_status;
    siginfo_t info;

    for (;;) {
        const int sig = sigwaitinfo(set, &info);

        if (sig == SIGCHLD && waitpid(keeper, &wait_status, WNOHANG) == keeper)
            return status_of(wait_status);
        /* From the kernel: the terminal's, which the keeper got as well. */
        if (sig > 0 && sig != SIGCHLD && info.si_code != SI_KERNEL)
            (void)kill(keeper, sig);
    }
}

int launch(const launch_opts *opts)
{
    struct sigaction normal = {.sa_handler = SIG_DFL};
    sigset_t set;
    pid_t keeper;
    int life[2];
    int status;

    (void)sigaction(SIGCHLD, &normal,
                    NULL); /* ignored, children reap themselves */
    launch_signals(&set);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    (void)fflush(NULL);

    if (pipe2(life, O_CLOEXEC) != 0) {
        cli_error("pipe: %s", strerror(errno));
        return LAUNCH_SELF;
    }
    keeper = fork();
    if (keeper == 0) {
        (void)close(life[1]);
        _exit(launch_keep(opts, life[0]));
    }
    (void)close(life[0]);
    if (keeper < 0) {
        cli_error("fork: %s", strerror(errno));
        return LAUNCH_SELF;
    }
    status = wait_keeper(keeper, &set);
    launch_sweep();
    (void)close(life[1]);
    return status;
}
