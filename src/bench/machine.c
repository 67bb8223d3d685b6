/* SPDX-License-Identifier: Apache-2.0 */
/* The machine, from /proc, /sys and uname. */
#define _GNU_SOURCE
#include "bench/machine.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "os/limits.h"

/* What stands behind "key<space>*:" or "key " in the file; false: no such. */
static bool find_line(const char *path, const char *key, char *out, size_t size)
{
    char line[512];
    bool is_found = false;
    FILE *f = fopen(path, "re");

    if (f == NULL)
        return false;
    while (!is_found && fgets(line, sizeof(line), f) != NULL) {
        const size_t n = strlen(key);
        const char *at = line + n;

        if (strncmp(line, key, n) != 0)
            continue;
        at += strspn(at, " \t:");
        line[strcspn(line, "\n")] = '\0';
        (void)snprintf(out, size, "%s", at);
        is_found = true;
    }
    (void)fclose(f);
    return is_found;
}

static size_t meminfo(const char *key)
{
    char text[64];

    if (!find_line("/proc/meminfo", key, text, sizeof(text)))
        return 0;
    return (size_t)strtoull(text, NULL, 10) * 1024;
}

/* Numbers in a list such as "0-3,8". */
static int count_list(const char *path)
{
    char text[512] = "";
    char *at = text;
    int n = 0;
    FILE *f = fopen(path, "re");

    if (f == NULL)
        return 0;
    if (fgets(text, sizeof(text), f) == NULL)
        text[0] = '\0';
    (void)fclose(f);
    while (*at >= '0' && *at <= '9') {
        const long low = strtol(at, &at, 10);
        const long high = *at == '-' ? strtol(at + 1, &at, 10) : low;

        n += (int)(high - low + 1);
        at += *at == ',';
    }
    return n;
}

static void get_names(dcmi_machine *m)
{
    struct utsname u;

    if (uname(&u) != 0)
        memset(&u, 0, sizeof(u));
    (void)snprintf(m->kernel, sizeof(m->kernel), "%.24s %.40s %.24s", u.sysname,
                   u.release, u.machine);
    if (!find_line("/proc/cpuinfo", "model name", m->cpu, sizeof(m->cpu)) &&
        !find_line("/proc/cpuinfo", "Model", m->cpu, sizeof(m->cpu)))
        (void)snprintf(m->cpu, sizeof(m->cpu), "%.40s processor", u.machine);
}

void dcmi_machine_get(dcmi_machine *m)
{
    const size_t free_bytes = meminfo("MemAvailable");
    dcmi_cpuset set;

    memset(m, 0, sizeof(*m));
    get_names(m);
    dcmi_limits_affinity(&set);
    m->allowed = dcmi_cpuset_count(&set);
    m->quota = dcmi_limits_quota("");
    m->cores = m->quota < m->allowed ? m->quota : m->allowed;
    m->online = (int)sysconf(_SC_NPROCESSORS_ONLN);
    m->numa_nodes = count_list("/sys/devices/system/node/online");
    if (m->numa_nodes == 0)
        m->numa_nodes = 1;
    m->memory_bytes = meminfo("MemTotal");
    m->memory_left = dcmi_limits_memory_left("");
    if (free_bytes != 0 && free_bytes < m->memory_left)
        m->memory_left = free_bytes;
    if (getloadavg(&m->load, 1) != 1)
        m->load = -1.0;
}

void dcmi_machine_json(const dcmi_machine *m, dcmi_jw *w)
{
    dcmi_jw_str(w, "cpu", m->cpu);
    dcmi_jw_u64(w, "cores", (uint64_t)m->cores);
    dcmi_jw_u64(w, "cores_online", (uint64_t)m->online);
    dcmi_jw_u64(w, "cores_allowed", (uint64_t)m->allowed);
    dcmi_jw_num(w, "cores_quota",
                m->quota == INT_MAX ? (double)INFINITY : (double)m->quota);
    dcmi_jw_u64(w, "numa_nodes", (uint64_t)m->numa_nodes);
    dcmi_jw_u64(w, "memory_bytes", m->memory_bytes);
    dcmi_jw_u64(w, "memory_left_bytes", m->memory_left);
    dcmi_jw_str(w, "kernel", m->kernel);
    dcmi_jw_num(w, "load", m->load);
}
