/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing options: -n 4, -n4, --ranks 4, --ranks=4, -- ends them. */
#include "opt.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "cli.h"

enum {
    HELP_COLUMN = 26,
    MAX_OPTS = 32
};

static void print_option(const cli_opt *o)
{
    const char *text = o->help;
    char left[64];
    int n;

    n = snprintf(left, sizeof(left), "  %c%c%s--%s%s%s",
                 o->letter != 0 ? '-' : ' ', o->letter != 0 ? o->letter : ' ',
                 o->letter != 0 ? ", " : "  ", o->name,
                 o->arg != NULL ? " " : "", o->arg != NULL ? o->arg : "");
    (void)printf("%-*s%s", HELP_COLUMN, left, n < HELP_COLUMN ? "" : "  ");
    while (*text != '\0') {
        const size_t len = strcspn(text, "\n");

        (void)printf("%.*s\n", (int)len, text);
        text += len;
        if (*text != '\0') {
            text++;
            (void)printf("%*s", HELP_COLUMN, "");
        }
    }
}

static int print_help(const cli_spec *spec)
{
    static const cli_opt help = {'h',  "help", NULL, CLI_FLAG,
                                 NULL, 0,      0,    "print this"};

    (void)printf("usage: devcomm %s\n\n%s\n\n", spec->usage, spec->about);
    for (size_t i = 0; i < spec->nopts; i++)
        print_option(&spec->opts[i]);
    print_option(&help);
    if (spec->tail != NULL)
        (void)printf("\n%s\n", spec->tail);
    return CLI_OK;
}

static int wrong(const char *what, const char *word, const char *hint)
{
    const char *in = cli_name();

    cli_error("%s%s%s%s%s (devcomm%s%s -h lists the options)", what, word,
              hint != NULL ? "; did you mean --" : "", hint != NULL ? hint : "",
              hint != NULL ? "?" : "", in[0] != '\0' ? " " : "", in);
    return CLI_USAGE;
}

static int unknown(const cli_spec *spec, const char *word)
{
    const char *names[MAX_OPTS];
    size_t n = 0;

    while (n < spec->nopts && n < MAX_OPTS) {
        names[n] = spec->opts[n].name;
        n++;
    }
    if (strncmp(word, "--", 2) != 0)
        return wrong("unknown option ", word, NULL);
    return wrong("unknown option ", word, cli_suggest(word + 2, names, n));
}

static bool parse_seconds(const char *text, double *v_p)
{
    char *end;
    double v;

    if (*text < '0' || *text > '9')
        return false;
    v = strtod(text, &end);
    if (*end != '\0' || !isfinite(v))
        return false;
    *v_p = v;
    return true;
}

/* The value of an option that takes one. */
static int set_value(const cli_opt *o, const char *text)
{
    uint64_t number = 0;
    double v = 0.0;
    bool is_good;

    if (o->kind == CLI_TEXT) {
        memcpy(o->out, &text, sizeof(text));
        return CLI_GO_ON;
    }
    if (o->kind == CLI_SECONDS) {
        is_good = parse_seconds(text, &v);
    } else {
        is_good = o->kind == CLI_SIZE
                      ? dcmi_parse_bytes(text, SIZE_MAX, &number)
                      : dcmi_parse_u64(text, UINT32_MAX, &number);
        v = (double)number;
    }
    if (!is_good || v < o->min || v > o->max) {
        cli_error("--%s %s: not a %s from %g to %g", o->name, text,
                  o->kind == CLI_SIZE      ? "size"
                  : o->kind == CLI_SECONDS ? "time in seconds"
                                           : "number",
                  o->min, o->max);
        return CLI_USAGE;
    }
    if (o->kind == CLI_SECONDS)
        memcpy(o->out, &v, sizeof(v));
    else if (o->kind == CLI_SIZE)
        *(size_t *)o->out = (size_t)number;
    else
        *(unsigned *)o->out = (unsigned)number;
    return CLI_GO_ON;
}

/* The option that `word` names; *value_p: what stands behind it in the word. */
static const cli_opt *find(const cli_spec *spec, const char *word,
                           const char **value_p)
{
    const bool is_long = word[1] == '-';
    const size_t len = strcspn(word, "=");

    *value_p = NULL;
    for (size_t i = 0; i < spec->nopts; i++) {
        const cli_opt *o = &spec->opts[i];

        if (!is_long && o->letter == word[1]) {
            *value_p = word[2] != '\0' ? word + 2 : NULL;
            return o;
        }
        if (is_long && strlen(o->name) == len - 2 &&
            strncmp(o->name, word + 2, len - 2) == 0) {
            *value_p = word[len] == '=' ? word + len + 1 : NULL;
            return o;
        }
    }
    return NULL;
}

/* One option, at argv[*at_p]; moves on to what follows it. */
static int take_option(const cli_spec *spec, int argc, char **argv, int *at_p)
{
    const char *word = argv[(*at_p)++];
    const char *value;
    const cli_opt *o;

    if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0)
        return print_help(spec);
    o = find(spec, word, &value);
    if (o == NULL)
        return unknown(spec, word);
    if (o->kind == CLI_FLAG) {
        if (value != NULL)
            return wrong("takes no value: ", word, NULL);
        *(bool *)o->out = true;
        return CLI_GO_ON;
    }
    if (value == NULL && *at_p < argc)
        value = argv[(*at_p)++];
    if (value == NULL)
        return wrong("wants a value: ", word, NULL);
    return set_value(o, value);
}

int cli_parse(const cli_spec *spec, int argc, char **argv, int *n_p)
{
    bool is_over = false;
    int operands = 0;
    int at = 1;
    int rc;

    *n_p = 0;
    while (at < argc) {
        if (!is_over && strcmp(argv[at], "--") == 0) {
            is_over = true;
            at++;
        } else if (!is_over && argv[at][0] == '-' && argv[at][1] != '\0') {
            rc = take_option(spec, argc, argv, &at);
            if (rc != CLI_GO_ON)
                return rc;
        } else {
            argv[++operands] = argv[at++];
            is_over = is_over || spec->ends_at_operand;
        }
    }
    argv[operands + 1] = NULL; /* at most argv[argc] */
    *n_p = operands;
    return CLI_GO_ON;
}
