/* SPDX-License-Identifier: Apache-2.0 */
/* Processes as ranks. */
#define _GNU_SOURCE
#include "support.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mp.h"

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

static void nap(void)
{
    const struct timespec t = {.tv_nsec = 500000};

    (void)nanosleep(&t, NULL);
}

static _Noreturn void become_rank(int rank, pid_t parent, int words, mp_fn fn,
                                  void *arg)
{
    /* cmocka catches these, to go on with the next test: not in a rank. */
    static const int caught[] = {SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGSYS};

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
        (void)signal(caught[i], SIG_DFL);
    (void)dup2(words, STDERR_FILENO);
    exit(fn(rank, arg)); /* not _exit(): sanitizers and gcov report at exit */
}

void mp_spawn(mp_world *mp, int n, mp_fn fn, void *arg)
{
    const pid_t parent = getpid();

    die_unless(n <= MP_MOST_RANKS);
    memset(mp, 0, sizeof(*mp));
    mp->n = n;
    (void)fflush(NULL);
    for (int r = 0; r < n; r++) {
        mp->words[r] = memfd_create("rank", MFD_CLOEXEC);
        die_unless(mp->words[r] >= 0);
        mp->pid[r] = fork();
        die_unless(mp->pid[r] >= 0);
        if (mp->pid[r] == 0)
            become_rank(r, parent, mp->words[r], fn, arg);
    }
}

void mp_kill(const mp_world *mp, int rank, int sig)
{
    if (!mp->has_ended[rank]) /* else the number may be another's by now */
        (void)kill(mp->pid[rank], sig);
}

static bool has_ended(mp_world *mp, int rank)
{
    pid_t pid;

    if (mp->has_ended[rank])
        return true;
    do {
        pid = waitpid(mp->pid[rank], &mp->status[rank], WNOHANG);
    } while (pid < 0 && errno == EINTR);
    die_unless(pid >= 0);
    mp->has_ended[rank] = pid > 0;
    return mp->has_ended[rank];
}

bool mp_alive(mp_world *mp)
{
    bool is_alive = true;

    nap();
    for (int r = 0; r < mp->n; r++)
        is_alive = !has_ended(mp, r) && is_alive;
    return is_alive;
}

static void tell(const mp_world *mp, int rank, const char *how, int number)
{
    char text[4096];
    ssize_t n;

    n = pread(mp->words[rank], text, sizeof(text) - 1, 0);
    text[n < 0 ? 0 : n] = '\0';
    fprintf(stderr, "rank %d (pid %d) ended %s %d\n%s", rank,
            (int)mp->pid[rank], how, number, text);
}

/* Kill those that are left; false when there were any. */
static bool reap(mp_world *mp)
{
    bool is_clean = true;

    for (int r = 0; r < mp->n; r++) {
        if (mp->has_ended[r])
            continue;
        is_clean = false;
        fprintf(stderr, "rank %d has not ended in time\n", r);
        (void)kill(mp->pid[r], SIGKILL);
        (void)waitpid(mp->pid[r], &mp->status[r], 0);
        mp->has_ended[r] = true;
    }
    return is_clean;
}

static bool is_as_meant(const mp_world *mp, int rank, bool is_victim)
{
    const int status = mp->status[rank];

    if (is_victim && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return true;
    if (!is_victim && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (WIFSIGNALED(status))
        tell(mp, rank, "by signal", WTERMSIG(status));
    else
        tell(mp, rank, "with status", WEXITSTATUS(status));
    return false;
}

void mp_await(mp_world *mp, int rank, uint32_t timeout_ms)
{
    const int64_t until = now_ms() + timeout_ms;

    while (!has_ended(mp, rank)) {
        if (now_ms() >= until) {
            (void)reap(mp);
            fail_msg("rank %d did not end in %u ms", rank, timeout_ms);
        }
        nap();
    }
}

void mp_wait(mp_world *mp, uint32_t timeout_ms, uint64_t killed)
{
    const int64_t until = now_ms() + timeout_ms;
    bool is_good;
    bool is_over;

    for (;;) {
        is_over = true;
        for (int r = 0; r < mp->n; r++)
            is_over = has_ended(mp, r) && is_over;
        if (is_over || now_ms() >= until)
            break;
        nap();
    }
    is_good = reap(mp);
    for (int r = 0; r < mp->n; r++) {
        const bool is_victim = r < 64 && (killed >> r & 1) != 0;

        is_good = is_as_meant(mp, r, is_victim) && is_good;
        (void)close(mp->words[r]);
    }
    if (!is_good)
        fail_msg("not all of %d ranks ended as they should", mp->n);
}
