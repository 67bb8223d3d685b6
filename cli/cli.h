/* SPDX-License-Identifier: Apache-2.0 */
/* What the sub-commands share: messages, exit statuses, words for people. */
#ifndef DEVCOMM_CLI_H
#define DEVCOMM_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/compiler.h"

enum {
    CLI_OK = 0,
    CLI_FAIL = 1,    /* what was asked for went wrong or was found wrong */
    CLI_USAGE = 2,   /* the command line makes no sense */
    CLI_EPIPE = 141, /* nobody reads the output: as if killed by SIGPIPE */
};

typedef struct cli_command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv); /* argv[0] is the sub-command */
} cli_command;

int cli_run(int argc, char **argv);
int cli_info(int argc, char **argv);
int cli_check(int argc, char **argv);
int cli_inspect(int argc, char **argv);
int cli_bench(int argc, char **argv);
int cli_queue(int argc, char **argv);

/* "devcomm NAME: message" on standard error. */
void cli_name_set(const char *name);
const char *cli_name(void);
void cli_error(const char *fmt, ...) DCMI_PRINTF(1, 2);

/* The same with ": " and the library's message for this thread. */
void cli_error_dcm(const char *what);

/*
 * Flush standard output and turn a write error into an exit status: a full disk
 * is said and fails, a closed pipe is silent.
 */
int cli_finish(int status);

/* Close a file that was written; false, with a message, if anything failed. */
bool cli_close(FILE *file, const char *path);

/* At start: descriptors 0 to 2 are open, a closed pipe is an error. */
void cli_prepare(void);

/* The signal mask and SIGPIPE as they were at start, for a program to run. */
void cli_signals_restore(void);

/* The one of `names` that `word` may stand for; NULL: none is near. */
const char *cli_suggest(const char *word, const char *const *names, size_t n);

/* "64 MiB", "1000 B", ...; exact, into `text` of at least 32 bytes. */
const char *cli_bytes(char *text, uint64_t bytes);

/* As it could be typed: words joined, quoted where a shell wants it. */
void cli_quote(char *text, size_t size, char *const *argv, int argc);

const char *cli_version(void); /* "0.1.0" */
const char *cli_commit(void);

/* "SIGKILL", or "signal 42". */
const char *cli_signal_name(char *text, size_t size, int sig);

#endif /* DEVCOMM_CLI_H */
