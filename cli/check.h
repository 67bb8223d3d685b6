/* SPDX-License-Identifier: Apache-2.0 */
/* The tests of `devcomm check`, one function each. */
#ifndef DEVCOMM_CLI_CHECK_H
#define DEVCOMM_CLI_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/compiler.h"

typedef enum check_verdict {
    CHECK_OK,
    CHECK_FAIL, /* devcomm does not work here */
    CHECK_SKIP, /* not there, and devcomm does without it */
    CHECK_NOTE, /* good to know */
} check_verdict;

enum {
    CHECK_TEXT = 256,
    CHECK_DEADLINE_MS = 5000
};

typedef struct check_line {
    char text[CHECK_TEXT];
} check_line;

typedef check_verdict (*check_fn)(check_line *line);

/* Fill in the line and return the verdict. */
check_verdict check_say(check_line *line, check_verdict v, const char *fmt, ...)
    DCMI_PRINTF(3, 4);

/* The same with the library's message. */
check_verdict check_say_dcm(check_line *line, const char *what);

/* fork(); the child gets SIGKILL when this process ends. */
pid_t check_fork(void);

/* Its exit status; it is killed, and -1 returned, after the deadline. */
int check_join(pid_t pid);

/* Memory that a forked child shares, zero; NULL: none. */
void *check_shared(size_t bytes);

/* check_mem.c */
check_verdict check_memfd(check_line *line);
check_verdict check_shm(check_line *line);
check_verdict check_memory(check_line *line);
check_verdict check_rlimits(check_line *line);
check_verdict check_cores(check_line *line);

/* check_proc.c */
check_verdict check_sockets(check_line *line);
check_verdict check_fd_passing(check_line *line);
check_verdict check_robust(check_line *line);
check_verdict check_futex(check_line *line);

/* check_sandbox.c */
check_verdict check_membarrier(check_line *line);
check_verdict check_pidfd(check_line *line);
check_verdict check_proc_fd(check_line *line);
check_verdict check_pinning(check_line *line);
check_verdict check_sandbox(check_line *line);

/* check_p2p.c */
check_verdict check_p2p(check_line *line);

/* check_ranks.c */
check_verdict check_all_reduce(check_line *line);

#endif /* DEVCOMM_CLI_CHECK_H */
