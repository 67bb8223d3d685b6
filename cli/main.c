/* SPDX-License-Identifier: Apache-2.0 */
/* The command: one table of sub-commands. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

static const cli_command commands[] = {
    {"run", "start N ranks of a program on this host", cli_run},
    {"info", "the machine, the backends, the environment", cli_info},
    {"check", "test what devcomm needs of this system", cli_check},
    {"bench", "measure a collective operation", cli_bench},
    {"inspect", "say where each rank of a hung job is", cli_inspect},
    {"queue", "measure the broadcast queue, or look at one", cli_queue},
};

static void print_usage(FILE *to)
{
    (void)fprintf(to, "usage: devcomm COMMAND [options]\n\n");
    for (size_t i = 0; i < DCMI_ARRAY_LEN(commands); i++)
        (void)fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].summary);
    (void)fprintf(to, "\n  devcomm COMMAND -h   help on a command\n"
                      "  devcomm --version    version and commit\n");
}

static int unknown(const char *word)
{
    const char *names[DCMI_ARRAY_LEN(commands)];
    const char *hint;

    for (size_t i = 0; i < DCMI_ARRAY_LEN(commands); i++)
        names[i] = commands[i].name;
    hint = cli_suggest(word, names, DCMI_ARRAY_LEN(names));
    cli_error("there is no command %s%s%s%s", word,
              hint != NULL ? "; did you mean " : "", hint != NULL ? hint : "",
              hint != NULL ? "?" : " (devcomm -h lists them)");
    return CLI_USAGE;
}

static int dispatch(int argc, char **argv)
{
    for (size_t i = 0; i < DCMI_ARRAY_LEN(commands); i++) {
        if (strcmp(argv[0], commands[i].name) == 0) {
            cli_name_set(commands[i].name);
            return commands[i].run(argc, argv);
        }
    }
    return unknown(argv[0]);
}

int main(int argc, char **argv)
{
    static char help[] = "-h";
    char *help_argv[] = {NULL, help, NULL};

    cli_prepare();
    if (argc < 2) {
        print_usage(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0 ||
        (strcmp(argv[1], "help") == 0 && argc == 2)) {
        print_usage(stdout);
        return cli_finish(CLI_OK);
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("devcomm %s (%s)\n", cli_version(), cli_commit());
        return cli_finish(CLI_OK);
    }
    if (strcmp(argv[1], "help") == 0) {
        help_argv[0] = argv[2];
        return cli_finish(dispatch(2, help_argv));
    }
    return cli_finish(dispatch(argc - 1, argv + 1));
}
