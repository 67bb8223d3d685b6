/* SPDX-License-Identifier: Apache-2.0 */
/* From the command line to ranks that share a board and sit on their cores. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "board.h"
#include "data.h"

static cpu_set_t allowed; /* as the program was started */

void bp_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    exit(1);
}

/* ---- command line -------------------------------------------------------- */

static size_t number(const char *text)
{
    char *end = NULL;
    unsigned long long v;

    errno = 0;
    v = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0')
        bp_fail("not a number: %s", text);
    return (size_t)v;
}

static bp_dtype dtype(const char *text)
{
    if (strcmp(text, "f32") == 0)
        return BP_F32;
    if (strcmp(text, "bf16") == 0)
        return BP_BF16;
    bp_fail("no such type: %s", text);
}

static bp_op op(const char *text)
{
    for (int i = 0; i < BP_OPS; i++) {
        if (strcmp(text, bp_op_name((bp_op)i)) == 0)
            return (bp_op)i;
    }
    bp_fail("no such operation: %s", text);
}

static void parse_one(bp_plan *plan, const char *name, const char *value)
{
    if (strcmp(name, "--variant") == 0)
        plan->variant = value;
    else if (strcmp(name, "--board") == 0)
        plan->board = value;
    else if (strcmp(name, "--op") == 0)
        plan->op = op(value);
    else if (strcmp(name, "--dtype") == 0)
        plan->dtype = dtype(value);
    else if (strcmp(name, "--ranks") == 0)
        plan->nranks = (int)number(value);
    else if (strcmp(name, "--min") == 0)
        plan->min_bytes = number(value);
    else if (strcmp(name, "--max") == 0)
        plan->max_bytes = number(value);
    else if (strcmp(name, "--budget") == 0)
        plan->budget_ms = (int)number(value);
    else if (strcmp(name, "--limit") == 0)
        plan->limit_s = (int)number(value);
    else if (strcmp(name, "--float") == 0)
        plan->is_floating = (int)number(value);
    else if (strcmp(name, "--boost") == 0)
        plan->is_boosted = (int)number(value);
    else
        bp_fail("unknown option: %s", name);
}

void bp_parse(bp_plan *plan, const char *peer, int argc, char **argv)
{
    const bp_plan defaults = {
        .peer = peer,
        .variant = "default",
        .nranks = 2,
        .max_bytes = (size_t)64 << 20,
        .budget_ms = 500,
        .limit_s = 90,
    };

    *plan = defaults;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            bp_fail("%s wants a value", argv[i]);
        parse_one(plan, argv[i], argv[i + 1]);
    }
    if (plan->board == NULL)
        bp_fail("no --board FILE: start these programs with bench/peers/run");
    if (plan->nranks < 2 || plan->nranks > BP_MAX_RANKS)
        bp_fail("%d ranks: 2 to %d can be measured", plan->nranks,
                BP_MAX_RANKS);
}

/* ---- ranks --------------------------------------------------------------- */

int bp_fork(int nranks)
{
    const pid_t parent = getpid();

    for (int r = 1; r < nranks; r++) {
        const pid_t pid = fork();

        if (pid < 0)
            bp_fail("fork: %s", strerror(errno));
        if (pid == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent)
                exit(1);
            return r;
        }
    }
    return 0;
}

int bp_join(int rank)
{
    int worst = 0;
    int status;

    if (rank != 0)
        return 0;
    while (wait(&status) > 0) {
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            worst = 1;
    }
    return worst;
}

void bp_pin(bp_loop *l, int n)
{
    cpu_set_t set;
    int left = n;

    CPU_ZERO(&set);
    for (size_t c = 0; c < CPU_SETSIZE; c++) {
        if (CPU_ISSET(c, &allowed) && left-- == 0)
            CPU_SET(c, &set);
    }
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        bp_fail("rank %d cannot be pinned: %s", l->rank, strerror(errno));
}

/*
 * The highest priority that the system grants.  Where it groups processes by
 * session, the weight of the group decides and nice values count inside it
 * only, so both are raised.  Each rank does it: launchers make sessions.
 */
static void raise_priority(void)
{
    const int fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        /* Refused without privilege, then the figures are noisier. */
        if (write(fd, "-20", 3) != 3)
            errno = 0;
        (void)close(fd);
    }
    (void)setpriority(PRIO_PROCESS, 0, -20);
}

static bp_board *map_board(const char *path)
{
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat st;
    void *p;

    if (fd < 0 || fstat(fd, &st) != 0)
        bp_fail("%s: %s", path, strerror(errno));
    if ((size_t)st.st_size < sizeof(bp_board))
        bp_fail("%s: the board needs %zu bytes", path, sizeof(bp_board));
    p = mmap(NULL, sizeof(bp_board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        bp_fail("mapping %s: %s", path, strerror(errno));
    (void)close(fd);
    return p;
}

bp_loop *bp_open(const bp_plan *plan, int rank)
{
    bp_loop *l = calloc(1, sizeof(*l));

    if (l == NULL)
        bp_fail("out of memory");
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
        bp_fail("sched_getaffinity: %s", strerror(errno));
    l->plan = *plan;
    l->rank = rank;
    l->cores = CPU_COUNT(&allowed);
    l->is_crowded = plan->nranks > l->cores;
    l->board = map_board(plan->board);
    (void)alarm((unsigned)plan->limit_s);
    if (plan->is_boosted)
        raise_priority();
    if (l->is_crowded)
        l->plan.is_floating = 1;
    if (!l->plan.is_floating)
        bp_pin(l, rank);
    return l;
}

void bp_about(const bp_loop *l, const char *version)
{
    char text[80] = "";

    if (l->rank != 0)
        return;
    for (size_t i = 0; i + 1 < sizeof(text) && version[i] != '\0'; i++)
        text[i] = strchr("\t\n\"\\", version[i]) ? ' ' : version[i];
    (void)printf("{\"about\": \"%s\", \"version\": \"%s\"}\n", l->plan.peer,
                 text);
    (void)fflush(stdout);
}

/* ---- memory -------------------------------------------------------------- */

size_t bp_page_bytes(size_t bytes)
{
    return (bytes + BP_PAGE - 1) / BP_PAGE * BP_PAGE;
}

/* Small pages, each of them there before anything is timed. */
void *bp_pages(size_t bytes, int is_shared)
{
    const size_t n = bp_page_bytes(bytes);
    void *p =
        mmap(NULL, n, PROT_READ | PROT_WRITE,
             (is_shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        bp_fail("%zu bytes of memory: %s", n, strerror(errno));
    (void)madvise(p, n, MADV_NOHUGEPAGE);
    memset(p, 0, n);
    return p;
}
