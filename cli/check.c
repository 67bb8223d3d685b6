/* SPDX-License-Identifier: Apache-2.0 */
/* devcomm check: test what devcomm needs of this system, a line each. */
#define _GNU_SOURCE
#include "check.h"

#include <devcomm/devcomm.h>

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "opt.h"
#include "os/clock.h"

check_verdict check_say(check_line *line, check_verdict v, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(line->text, sizeof(line->text), fmt, ap);
    va_end(ap);
    return v;
}

check_verdict check_say_dcm(check_line *line, const char *what)
{
    return check_say(line, CHECK_FAIL, "%s: %s", what, dcm_errmsg());
}

pid_t check_fork(void)
{
    const pid_t parent = getpid();
    pid_t pid;

    (void)fflush(NULL);
    pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(CLI_FAIL);
    }
    return pid;
}

int check_join(pid_t pid)
{
    const uint64_t end = dcmi_now_ns() + CHECK_DEADLINE_MS * DCMI_NS_PER_MS;
    int status = 0;
    pid_t got;

    do {
        got = waitpid(pid, &status, WNOHANG);
        if (got == 0)
            dcmi_nap_ns(DCMI_NS_PER_MS / 2);
    } while (got == 0 && dcmi_now_ns() < end);
    if (got == 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, &status, 0);
        return -1;
    }
    return got == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void *check_shared(size_t bytes)
{
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return base == MAP_FAILED ? NULL : base;
}

typedef struct check {
    const char *name;
    check_fn fn;
} check;

static const check checks[] = {
    {"cores", check_cores},
    {"memory", check_memory},
    {"limits", check_rlimits},
    {"/dev/shm", check_shm},
    {"memfd", check_memfd},
    {"sockets", check_sockets},
    {"descriptor passing", check_fd_passing},
    {"robust mutex", check_robust},
    {"futex", check_futex},
    {"membarrier", check_membarrier},
    {"pidfd", check_pidfd},
    {"/proc/PID/fd", check_proc_fd},
    {"pinning", check_pinning},
    {"sandbox", check_sandbox},
    {"all_reduce, 2 ranks", check_all_reduce},
};

static check_verdict run_check(const check *c)
{
    static const char *const words[] = {
        [CHECK_OK] = "ok",
        [CHECK_FAIL] = "FAIL",
        [CHECK_SKIP] = "skip",
        [CHECK_NOTE] = "note",
    };
    check_line line = {""};
    const check_verdict v = c->fn(&line);

    (void)printf("%-5s %-20s %s\n", words[v], c->name, line.text);
    (void)fflush(stdout);
    return v;
}

int cli_check(int argc, char **argv)
{
    static const check p2p = {"peer access", check_p2p};
    bool is_p2p = false;
    const cli_opt opts[] = {
        {0, "p2p", NULL, CLI_FLAG, &is_p2p, 0, 0,
         "also test access between accelerators"},
    };
    const cli_spec spec = {
        .usage = "check [--p2p]",
        .about = "Test what devcomm needs of this system and say what is "
                 "missing. \"skip\" is what\ndevcomm does without, \"note\" "
                 "what is good to know.",
        .opts = opts,
        .nopts = DCMI_ARRAY_LEN(opts),
        .tail = "The exit status is 0 if nothing failed, else 1.",
    };
    int failed = 0;
    int operands;
    const int rc = cli_parse(&spec, argc, argv, &operands);

    if (rc != CLI_GO_ON)
        return rc;
    if (operands > 0) {
        cli_error("what is %s for?", argv[1]);
        return CLI_USAGE;
    }
    for (size_t i = 0; i < DCMI_ARRAY_LEN(checks); i++)
        failed += run_check(&checks[i]) == CHECK_FAIL;
    if (is_p2p)
        failed += run_check(&p2p) == CHECK_FAIL;
    if (failed > 0)
        (void)printf("%d failed\n", failed);
    return failed > 0 ? CLI_FAIL : CLI_OK;
}
