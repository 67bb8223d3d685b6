/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process holds, to see that nothing is left: descriptors and mappings.
 * And a child process to spoil.
 */
#ifndef DCM_TEST_LEAKS_H
#define DCM_TEST_LEAKS_H

#include "support.h"

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* Open descriptors of this process. */
static inline int test_count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = -1; /* the directory's own */

    die_unless(dir != NULL);
    for (const struct dirent *e; (e = readdir(dir)) != NULL;)
        n += e->d_name[0] != '.';
    (void)closedir(dir);
    return n;
}

/* Mappings of this process whose line in /proc/self/maps holds `text`. */
static inline int test_count_maps(const char *text)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[4096];
    int n = 0;

    die_unless(f != NULL);
    while (fgets(line, sizeof(line), f) != NULL)
        n += strstr(line, text) != NULL;
    (void)fclose(f);
    return n;
}

/*
 * Run fn(arg) in a child; its exit status: what fn returned, 128 and more when a
 * signal ended it.  A child that hangs is ended after `seconds` by SIGALRM.
 */
static inline int test_in_child(int (*fn)(void *arg), void *arg,
                                unsigned seconds)
{
    int status;
    pid_t pid;

    (void)fflush(NULL);
    pid = fork();
    die_unless(pid >= 0);
    if (pid == 0) {
        /* cmocka's handlers would go on with the tests. */
        (void)signal(SIGSEGV, SIG_DFL);
        (void)signal(SIGBUS, SIG_DFL);
        (void)signal(SIGILL, SIG_DFL);
        (void)signal(SIGFPE, SIG_DFL);
        (void)alarm(seconds);
        _exit(fn(arg));
    }
    die_unless(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#endif /* DCM_TEST_LEAKS_H */
