/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devcomm queue stat: find the segments of live queues by their memfd names in
 * /proc/PID/fd, map them for reading, and print what they say.  The memory is its
 * writer's: everything is copied before it is looked at.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/parse.h"
#include "cli.h"
#include "opt.h"
#include "os/ident.h"
#include "queue.h"
#include "queue/queue.h"

enum {
    QUEUES_MOST = 256
};

typedef struct seen {
    int n;
    ino_t inode[QUEUES_MOST];
} seen;

static const char prefix[] = "/memfd:devcomm-queue-";

static const char *state_name(int state)
{
    static const char *const names[] = {"none", "expected", "waiting",
                                        "busy", "dead",     "dropped"};

    return state >= 0 && (size_t)state < DCMI_ARRAY_LEN(names) ? names[state]
                                                               : "?";
}

static void print_reader(const dcm_queue_reader *r)
{
    if (r->state == DCM_QUEUE_NONE)
        return;
    (void)printf("%8d %8d  %-9s %10" PRIu64 "  ", r->reader, r->pid,
                 state_name(r->state), r->lag);
    if (r->seen_ns == UINT64_MAX)
        (void)printf("never\n");
    else
        (void)printf("%.3f s ago\n", (double)r->seen_ns / 1e9);
}

static void print_queue(const dcmi_queue_frame *f,
                        const dcmi_queue_descriptor *d)
{
    dcm_queue_reader readers[DCM_QUEUE_MAX_READERS];
    char name[sizeof(d->name)];
    char bytes[32];
    uint64_t records;
    int places;

    memcpy(name, d->name, sizeof(name));
    name[sizeof(name) - 1] = '\0';
    for (char *c = name; *c != '\0'; c++)
        *c = isprint((unsigned char)*c) ? *c : '?';
    places = dcmi_queue_describe(f, &records, readers, DCM_QUEUE_MAX_READERS);
    (void)printf(
        "queue %s: writer pid %d (%s), %" PRIu64 " records, %s of %s\n",
        name[0] != '\0' ? name : "without a name", d->writer_pid,
        dcmi_process_runs(d->writer_pid, d->writer_start) ? "alive" : "gone",
        records, cli_bytes(bytes, d->geometry.arena_bytes),
        d->geometry.kind == DCMI_QUEUE_CHUNKS ? "chunks" : "ring");
    (void)printf("%8s %8s  %-9s %10s  %s\n", "reader", "pid", "state", "lag",
                 "last seen");
    for (int r = 0; r < places; r++)
        print_reader(&readers[r]);
}

/* Print the queue behind `fd`, once; false: it is none, or not the wanted one. */
static bool show(int fd, const char *name, seen *s)
{
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW;
    dcmi_queue_descriptor d;
    dcmi_queue_frame *f;
    struct stat st;
    bool is_it;

    if (fstat(fd, &st) != 0 || (size_t)st.st_size < sizeof(*f) ||
        (fcntl(fd, F_GET_SEALS) & seals) != seals)
        return false;
    for (int i = 0; i < s->n; i++) {
        if (s->inode[i] == st.st_ino)
            return false;
    }
    f = mmap(NULL, sizeof(*f), PROT_READ, MAP_SHARED, fd, 0);
    if (f == MAP_FAILED)
        return false;
    memcpy(&d, (const void *)&f->descriptor, sizeof(d));
    is_it = d.magic == DCMI_QUEUE_MAGIC && d.layout == DCMI_QUEUE_LAYOUT &&
            (name == NULL || strncmp(d.name, name, sizeof(d.name)) == 0);
    if (is_it) {
        print_queue(f, &d);
        if (s->n < QUEUES_MOST)
            s->inode[s->n++] = st.st_ino;
    }
    (void)munmap(f, sizeof(*f));
    return is_it;
}

static bool is_number(const char *text)
{
    return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

/* All queues that process `pid` has open; false: it cannot be looked at. */
static bool look_at(const char *pid, const char *name, seen *s)
{
    char path[512];
    char target[sizeof(prefix)];
    struct dirent *e;
    DIR *dir;
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    dir = opendir(path);
    if (dir == NULL)
        return false;
    for (e = readdir(dir); e != NULL; e = readdir(dir)) {
        (void)snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, e->d_name);
        if (readlink(path, target, sizeof(prefix) - 1) !=
                (ssize_t)sizeof(prefix) - 1 ||
            memcmp(target, prefix, sizeof(prefix) - 1) != 0)
            continue;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
            continue;
        (void)show(fd, name, s);
        (void)close(fd);
    }
    (void)closedir(dir);
    return true;
}

static void look_everywhere(const char *name, seen *s)
{
    DIR *dir = opendir("/proc");
    struct dirent *e;

    if (dir == NULL)
        return;
    for (e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (is_number(e->d_name))
            (void)look_at(e->d_name, name, s);
    }
    (void)closedir(dir);
}

int queue_stat(int argc, char **argv)
{
    static const cli_spec spec = {
        .usage = "queue stat PID|NAME",
        .about = "Show a live queue of this user: its writer, and where each "
                 "reader is.",
    };
    int n;
    int status = cli_parse(&spec, argc, argv, &n);
    seen s = {.n = 0};

    if (status != CLI_GO_ON)
        return status;
    if (n != 1) {
        cli_error("one PID or NAME is needed");
        return CLI_USAGE;
    }
    if (!is_number(argv[1])) {
        look_everywhere(argv[1], &s);
    } else if (!look_at(argv[1], NULL, &s)) {
        cli_error("process %s: %s", argv[1], strerror(errno));
        return CLI_FAIL;
    }
    if (s.n == 0) {
        cli_error("%s has no queue that this user can see", argv[1]);
        return CLI_FAIL;
    }
    return CLI_OK;
}
