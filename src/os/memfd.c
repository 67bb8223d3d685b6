/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed memfd segments. */
#define _GNU_SOURCE
#include "os/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "os/limits.h"

static const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

dcm_status dcmi_memfd_create(int *fd_p, const char *name, size_t bytes)
{
    struct rlimit limit;
    dcm_status st;
    int fd;
    int rc;

    /* Beyond this limit ftruncate() would raise SIGXFSZ, not return. */
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
        limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < bytes)
        return dcmi_err(DCM_E_NOMEM,
                        "segment %s of %zu bytes: the file size limit "
                        "(ulimit -f) is %llu bytes",
                        name, bytes, (unsigned long long)limit.rlim_cur);

    fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return dcmi_err_sys("memfd_create %s", name);
    do {
        rc = ftruncate(fd, (off_t)bytes);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0) {
        st = dcmi_err_sys("segment %s: sizing to %zu bytes", name, bytes);
        goto err_close;
    }
    if (fcntl(fd, F_ADD_SEALS, seals) != 0) {
        st = dcmi_err_sys("segment %s: sealing", name);
        goto err_close;
    }
    *fd_p = fd;
    return DCM_OK;

err_close:
    (void)close(fd);
    return st;
}

dcm_status dcmi_memfd_reserve(int fd, size_t offset, size_t bytes)
{
    const size_t left = dcmi_memory_left();
    int rc;

    /* Past a control group's limit the kernel kills instead of refusing. */
    if (bytes > left)
        return dcmi_err(DCM_E_NOMEM,
                        "reserving %zu bytes of shared memory: this control "
                        "group or system has only %zu left",
                        bytes, left);
    do {
        rc = fallocate(fd, 0, (off_t)offset, (off_t)bytes);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0)
        return dcmi_err_sys("reserving %zu bytes of shared memory", bytes);
    return DCM_OK;
}

dcm_status dcmi_memfd_verify(int fd, size_t bytes)
{
    struct stat s;
    int have;

    if (fstat(fd, &s) != 0)
        return dcmi_err_sys("received segment");
    have = fcntl(fd, F_GET_SEALS);
    if (have < 0 && errno == EINVAL)
        return dcmi_err(DCM_E_INVAL, "received segment is not a memfd");
    if (have < 0)
        return dcmi_err_sys("seals of a received segment");
    if ((have & seals) != seals)
        return dcmi_err(DCM_E_INVAL,
                        "received segment is not sealed (seals %#x)",
                        (unsigned)have);
    if ((size_t)s.st_size != bytes)
        return dcmi_err(DCM_E_INVAL, "received segment has %zu bytes, not %zu",
                        (size_t)s.st_size, bytes);
    return DCM_OK;
}

dcm_status dcmi_memfd_map(void **base_p, int fd, size_t bytes)
{
    void *base;

    base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return dcmi_err_sys("mapping a segment of %zu bytes", bytes);
    *base_p = base;
    return DCM_OK;
}

void dcmi_memfd_unmap(void *base, size_t bytes)
{
    (void)munmap(base, bytes);
}

void dcmi_memfd_populate(void *at, size_t bytes)
{
#ifdef MADV_POPULATE_WRITE
    (void)madvise(at, bytes, MADV_POPULATE_WRITE); /* since Linux 5.14 */
#else
    (void)at;
    (void)bytes;
#endif
}

size_t dcmi_page_bytes(void)
{
    const long v = sysconf(_SC_PAGESIZE);

    return v > 0 ? (size_t)v : 4096;
}

size_t dcmi_memory_left(void)
{
    return dcmi_limits_memory_left("");
}
