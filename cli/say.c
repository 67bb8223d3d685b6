/* SPDX-License-Identifier: Apache-2.0 */
/* Messages, the end of standard output, and the signals of the command. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <devcomm/devcomm.h>

static const char *name = "";
static sigset_t first_mask;
static struct sigaction first_sigpipe;

void cli_name_set(const char *command)
{
    name = command;
}

const char *cli_name(void)
{
    return name;
}

void cli_error(const char *fmt, ...)
{
    char text[1600];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    /* One call, so that lines of several ranks do not mix. */
    (void)fprintf(stderr, "devcomm%s%s: %s\n", name[0] != '\0' ? " " : "", name,
                  text);
}

void cli_error_dcm(const char *what)
{
    cli_error("%s: %s", what, dcm_errmsg());
}

/* The status of a failed write to `what`. */
static int complain(const char *what, int err)
{
    if (err == EPIPE)
        return CLI_EPIPE;
    cli_error("cannot write %s: %s", what,
              err != 0 ? strerror(err) : "an earlier write failed");
    return CLI_FAIL;
}

int cli_finish(int status)
{
    const bool had_error = ferror(stdout) != 0;
    int failed = CLI_OK;

    errno = 0;
    if (fflush(stdout) != 0 || had_error)
        failed = complain("standard output", errno);
    return status != CLI_OK ? status : failed;
}

bool cli_close(FILE *file, const char *path)
{
    const bool had_error = ferror(file) != 0;

    errno = 0;
    if (fclose(file) == 0 && !had_error)
        return true;
    (void)complain(path, errno == EPIPE ? 0 : errno);
    return false;
}

void cli_prepare(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    int fd;

    /* Else the next file or pipe would be taken for standard output. */
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        (void)close(fd);

    (void)sigprocmask(SIG_SETMASK, NULL, &first_mask);
    /* A closed pipe is an error of the write, told from the others. */
    (void)sigaction(SIGPIPE, &ignore, &first_sigpipe);
}

void cli_signals_restore(void)
{
    (void)sigaction(SIGPIPE, &first_sigpipe, NULL);
    (void)sigprocmask(SIG_SETMASK, &first_mask, NULL);
}
