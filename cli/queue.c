/* SPDX-License-Identifier: Apache-2.0 */
/* devcomm queue: measure the broadcast queue, or look at a live one. */
#include "queue.h"

#include <stdio.h>
#include <string.h>

#include "cli.h"

static const char usage[] =
    "usage: devcomm queue bench [options]      measure the broadcast queue\n"
    "       devcomm queue stat PID|NAME        a live queue and its readers\n"
    "\n"
    "  devcomm queue bench -h   its options\n";

int cli_queue(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";

    if (strcmp(word, "bench") == 0)
        return queue_bench(argc - 1, argv + 1);
    if (strcmp(word, "stat") == 0)
        return queue_stat(argc - 1, argv + 1);
    if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) {
        (void)fputs(usage, stdout);
        return CLI_OK;
    }
    if (word[0] == '\0')
        (void)fputs(usage, stderr);
    else
        cli_error("bench or stat, not %s", word);
    return CLI_USAGE;
}
