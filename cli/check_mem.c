/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of memory, limits and cores. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "bench/machine.h"
#include "check.h"
#include "cli.h"
#include "os/memfd.h"
#include "os/sock.h"

enum {
    SEGMENT_BYTES = 2 << 20, /* what two ranks start with, at most */
    MEMORY_ENOUGH = 16 << 20,
    FILES_ENOUGH = 64,
};

static check_verdict try_segment(check_line *line, int fd)
{
    void *base;

    if (dcmi_memfd_reserve(fd, 0, SEGMENT_BYTES) != DCM_OK)
        return check_say_dcm(line, "reserving");
    if (dcmi_memfd_verify(fd, SEGMENT_BYTES) != DCM_OK)
        return check_say_dcm(line, "its seals");
    if (ftruncate(fd, 0) == 0)
        return check_say(line, CHECK_FAIL, "a sealed segment can be shrunk");
    if (dcmi_memfd_map(&base, fd, SEGMENT_BYTES) != DCM_OK)
        return check_say_dcm(line, "mapping");
    memset(base, 1, SEGMENT_BYTES);
    dcmi_memfd_unmap(base, SEGMENT_BYTES);
    return check_say(line, CHECK_OK,
                     "2 MiB made, reserved, sealed: shrinking is refused");
}

check_verdict check_memfd(check_line *line)
{
    check_verdict v;
    int fd;

    if (dcmi_memfd_create(&fd, "devcomm-check", SEGMENT_BYTES) != DCM_OK)
        return check_say_dcm(line, "making");
    v = try_segment(line, fd);
    dcmi_close(fd);
    return v;
}

check_verdict check_shm(check_line *line)
{
    struct statvfs s;
    char size[32];

    if (statvfs("/dev/shm", &s) != 0)
        return check_say(line, CHECK_NOTE,
                         "not there; devcomm does not use it");
    return check_say(line, CHECK_NOTE,
                     "%s; does not matter, segments are memfd",
                     cli_bytes(size, (uint64_t)s.f_blocks * s.f_frsize));
}

check_verdict check_memory(check_line *line)
{
    dcmi_machine m;
    char left[32];

    dcmi_machine_get(&m);
    return check_say(line,
                     m.memory_left >= MEMORY_ENOUGH ? CHECK_OK : CHECK_FAIL,
                     "%s left by the system and by control groups",
                     cli_bytes(left, m.memory_left));
}

static const char *limit_text(char *text, size_t size, rlim_t v)
{
    if (v == RLIM_INFINITY)
        (void)snprintf(text, size, "unlimited");
    else
        (void)snprintf(text, size, "%llu", (unsigned long long)v);
    return text;
}

check_verdict check_rlimits(check_line *line)
{
    struct rlimit files = {0, 0};
    struct rlimit size = {0, 0};
    struct rlimit space = {0, 0};
    char text[3][32];
    bool is_enough;

    if (getrlimit(RLIMIT_NOFILE, &files) != 0 ||
        getrlimit(RLIMIT_FSIZE, &size) != 0 ||
        getrlimit(RLIMIT_AS, &space) != 0)
        return check_say(line, CHECK_FAIL, "getrlimit: %s", strerror(errno));
    is_enough = files.rlim_cur >= FILES_ENOUGH &&
                size.rlim_cur >= SEGMENT_BYTES &&
                space.rlim_cur >= MEMORY_ENOUGH;
    return check_say(line, is_enough ? CHECK_OK : CHECK_FAIL,
                     "open files %s, file size %s, address space %s",
                     limit_text(text[0], sizeof(text[0]), files.rlim_cur),
                     limit_text(text[1], sizeof(text[1]), size.rlim_cur),
                     limit_text(text[2], sizeof(text[2]), space.rlim_cur));
}

check_verdict check_cores(check_line *line)
{
    dcmi_machine m;
    char quota[32] = "none";

    dcmi_machine_get(&m);
    if (m.quota != INT_MAX)
        (void)snprintf(quota, sizeof(quota), "%d", m.quota);
    return check_say(line, m.cores > 1 ? CHECK_OK : CHECK_NOTE,
                     "%d by affinity, quota %s: with more than %d rank%s "
                     "nobody spins",
                     m.allowed, quota, m.cores, m.cores == 1 ? "" : "s");
}
