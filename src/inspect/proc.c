/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at other processes; nothing here waits for them or writes to them. */
#define _GNU_SOURCE
#include "inspect/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/err.h"
#include "group/card.h"
#include "group/hall.h"
#include "group/team.h"

enum {
    MOST_FDS = 65536, /* of one process that are looked at */
    FIELD_PARENT = 4, /* of /proc/PID/stat; the state is 3 */
    FIELD_START = 22,
    FIELD_CPU = 39,
};

/* The beginning of a small file, as text; false: it cannot be read. */
static bool read_text(char *text, size_t size, const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n;

    if (fd < 0)
        return false;
    do {
        n = read(fd, text, size - 1);
    } while (n < 0 && errno == EINTR);
    (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* Take the numbers that are wanted from what follows the state. */
static void read_fields(dcmi_proc *out, const char *at)
{
    for (int field = FIELD_PARENT; field <= FIELD_CPU; field++) {
        at = strchr(at, ' ');
        if (at == NULL)
            return;
        at++;
        if (field == FIELD_PARENT)
            out->parent = (int)strtol(at, NULL, 10);
        else if (field == FIELD_START)
            out->start_time = strtoull(at, NULL, 10);
        else if (field == FIELD_CPU)
            out->cpu = (int)strtol(at, NULL, 10);
    }
}

static void read_wchan(dcmi_proc *out, int pid, int tid)
{
    char path[64];
    size_t n;

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/wchan", pid, tid);
    if (!read_text(out->sleeps_in, sizeof(out->sleeps_in), path))
        return;
    for (n = 0; isalnum((unsigned char)out->sleeps_in[n]) != 0 ||
                out->sleeps_in[n] == '_';
         n++)
        ;
    out->sleeps_in[n] = '\0';
    if (strcmp(out->sleeps_in, "0") == 0) /* hidden, or it runs */
        out->sleeps_in[0] = '\0';
}

void dcmi_proc_look(dcmi_proc *out, int pid, int tid)
{
    char path[64];
    char text[1024];
    const char *name;
    const char *end;

    memset(out, 0, sizeof(*out));
    if (tid == 0)
        tid = pid;
    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
    if (!read_text(text, sizeof(text), path))
        return;
    name = strchr(text, '(');
    end = strrchr(text, ')'); /* the name before it may hold anything */
    if (name == NULL || end == NULL || end < name || end[1] != ' ')
        return;
    out->state = end[2];
    (void)snprintf(out->name, sizeof(out->name), "%.*s", (int)(end - name - 1),
                   name + 1);
    read_fields(out, end + 2);
    read_wchan(out, pid, tid);
}

static const struct {
    const char *link;
    dcmi_find_kind kind;
} names[] = {
    {"/memfd:" DCMI_CARD_MEMFD " (deleted)", DCMI_FIND_CARD},
    {"/memfd:" DCMI_HALL_MEMFD " (deleted)", DCMI_FIND_HALL},
    {"/memfd:" DCMI_TEAM_MEMFD " (deleted)", DCMI_FIND_TEAM},
};

static dcm_status add(dcmi_finds *finds, const dcmi_find *find)
{
    const size_t room = finds->room == 0 ? 64 : 2 * finds->room;
    dcmi_find *more;

    if (finds->count == finds->room) {
        more = realloc(finds->list, room * sizeof(*more));
        if (more == NULL)
            return dcmi_err(DCM_E_NOMEM, "a list of %zu segments", room);
        finds->list = more;
        finds->room = room;
    }
    finds->list[finds->count++] = *find;
    return DCM_OK;
}

/* What descriptor `name` of the process is, if it is one of ours. */
static dcm_status look_at_fd(dcmi_finds *finds, int dir, int pid,
                             const char *name)
{
    dcmi_find find = {.pid = pid, .fd = (int)strtol(name, NULL, 10)};
    struct stat s;
    char link[64];
    const ssize_t n = readlinkat(dir, name, link, sizeof(link) - 1);

    if (n <= 0)
        return DCM_OK;
    link[n] = '\0';
    for (size_t i = 0; i < DCMI_ARRAY_LEN(names); i++) {
        if (strcmp(link, names[i].link) != 0 || fstatat(dir, name, &s, 0) != 0)
            continue;
        find.kind = names[i].kind;
        find.inode = (uint64_t)s.st_ino;
        return add(finds, &find);
    }
    return DCM_OK;
}

static dcm_status look_at_process(dcmi_finds *finds, int pid)
{
    struct dirent *e;
    dcm_status st = DCM_OK;
    char path[64];
    DIR *dir;

    (void)snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    dir = opendir(path);
    if (dir == NULL) /* another user's, or it has just ended */
        return DCM_OK;
    for (int i = 0; st == DCM_OK && i < MOST_FDS; i++) {
        e = readdir(dir);
        if (e == NULL)
            break;
        if (e->d_name[0] != '.')
            st = look_at_fd(finds, dirfd(dir), pid, e->d_name);
    }
    (void)closedir(dir);
    return st;
}

dcm_status dcmi_finds_new(dcmi_finds *finds)
{
    struct dirent *e;
    dcm_status st = DCM_OK;
    DIR *proc = opendir("/proc");

    memset(finds, 0, sizeof(*finds));
    if (proc == NULL)
        return dcmi_err_sys("/proc");
    while (st == DCM_OK && (e = readdir(proc)) != NULL) {
        if (isdigit((unsigned char)e->d_name[0]) != 0)
            st = look_at_process(finds, (int)strtol(e->d_name, NULL, 10));
    }
    (void)closedir(proc);
    if (st != DCM_OK)
        dcmi_finds_free(finds);
    return st;
}

void dcmi_finds_free(dcmi_finds *finds)
{
    free(finds->list);
    memset(finds, 0, sizeof(*finds));
}

dcm_status dcmi_find_open(int *fd_p, size_t *bytes_p, const dcmi_find *find)
{
    char path[64];
    struct stat s;
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", find->pid, find->fd);
    /* What stands there now may be something else: it must not block. */
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno == ENOENT
                   ? dcmi_err(DCM_E_PEER, "process %d has closed it", find->pid)
                   : dcmi_err_sys("%s", path);
    if (fstat(fd, &s) != 0 || !S_ISREG(s.st_mode) || s.st_size < 0 ||
        (uint64_t)s.st_ino != find->inode) {
        (void)close(fd);
        return dcmi_err(DCM_E_PEER, "process %d has closed it", find->pid);
    }
    *fd_p = fd;
    *bytes_p = (size_t)s.st_size;
    return DCM_OK;
}

dcm_status dcmi_find_copy(void *to, int fd, size_t offset, size_t bytes)
{
    char *at = to;
    ssize_t n;

    while (bytes > 0) {
        n = pread(fd, at, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return dcmi_err_sys("reading a segment");
        if (n == 0)
            return dcmi_err(DCM_E_INVAL, "a segment ends %zu bytes early",
                            bytes);
        at += n;
        offset += (size_t)n;
        bytes -= (size_t)n;
    }
    return DCM_OK;
}
