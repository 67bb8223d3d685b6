/* SPDX-License-Identifier: Apache-2.0 */
/* Options of a sub-command in one table: parsed and printed from it. */
#ifndef DEVCOMM_CLI_OPT_H
#define DEVCOMM_CLI_OPT_H

#include <stdbool.h>
#include <stddef.h>

typedef enum cli_kind {
    CLI_FLAG,    /* bool */
    CLI_TEXT,    /* const char * */
    CLI_NUMBER,  /* unsigned, min .. max */
    CLI_SIZE,    /* size_t, min .. max, with k, m or g behind it */
    CLI_SECONDS, /* double, min .. max; fractions allowed */
} cli_kind;

typedef struct cli_opt {
    char letter; /* 0: only the long form */
    const char *name;
    const char *arg; /* NULL for a flag */
    cli_kind kind;
    void *out;
    double min;
    double max;
    const char *help; /* one line; the second after a newline */
} cli_opt;

typedef struct cli_spec {
    const char *usage; /* "run -n N [options] [--] PROGRAM [ARGUMENT...]" */
    const char *about;
    const cli_opt *opts;
    size_t nopts;
    bool ends_at_operand; /* what follows belongs to a program */
    const char *tail;     /* printed under the options; NULL: nothing */
} cli_spec;

enum {
    CLI_GO_ON = -1
};

/*
 * Parse argv[1..].  Operands are moved to the front, argv[1] .. argv[*n_p].
 * Returns CLI_GO_ON, or the exit status: help was asked for, or the command
 * line is wrong and this was said.
 */
int cli_parse(const cli_spec *spec, int argc, char **argv, int *n_p);

#endif /* DEVCOMM_CLI_OPT_H */
