/* SPDX-License-Identifier: Apache-2.0 */
/* Walking up the process tree by /proc/PID/stat. */
#define _GNU_SOURCE
#include "os/ancestor.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    MOST_GENERATIONS = 64
};

/* Command name and parent of process `pid`. */
static bool read_stat(int pid, char name[16], int *parent_p)
{
    char path[64];
    char text[512];
    const char *begin;
    char *end;
    size_t n;
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    f = fopen(path, "re");
    if (f == NULL)
        return false;
    n = fread(text, 1, sizeof(text) - 1, f);
    (void)fclose(f);
    text[n] = '\0';

    /* "PID (NAME) STATE PARENT ..."; the name may hold anything. */
    begin = strchr(text, '(');
    end = strrchr(text, ')');
    if (begin == NULL || end == NULL || end < begin || strlen(end) < 5)
        return false;
    *end = '\0';
    (void)snprintf(name, 16, "%s", begin + 1);
    *parent_p = (int)strtol(end + 4, NULL, 10);
    return true;
}

int dcmi_ancestor_named(const char *name)
{
    int pid = (int)getppid();
    char its_name[16];
    int parent;

    for (int i = 0; i < MOST_GENERATIONS && pid > 0; i++) {
        if (!read_stat(pid, its_name, &parent))
            return 0;
        if (strcmp(its_name, name) == 0)
            return pid;
        pid = parent;
    }
    return 0;
}
