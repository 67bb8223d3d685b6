/* SPDX-License-Identifier: Apache-2.0 */
/* The handle: who the writer is, and how its segment is opened from its bytes. */
#define _GNU_SOURCE
#include "queue/queue.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "os/ident.h"
#include "os/sock.h"

#define PASSPORT_MAGIC 0x6c646e6871636364ull /* "dccqhndl" */

_Static_assert(sizeof(dcmi_queue_passport) + sizeof(uint64_t) <=
                   DCM_QUEUE_HANDLE_BYTES,
               "the handle holds it and a checksum");

static uint64_t checksum(const unsigned char *bytes)
{
    return dcmi_hash(0, bytes, DCM_QUEUE_HANDLE_BYTES - sizeof(uint64_t));
}

dcm_status dcmi_queue_passport_write(const dcm_queue *q, void *handle,
                                     size_t bytes)
{
    dcmi_queue_passport pass;
    uint64_t sum;
    struct stat s;

    if (handle == NULL || bytes < DCM_QUEUE_HANDLE_BYTES)
        return dcmi_err(DCM_E_INVAL, "queue: a handle takes %d bytes, not %zu",
                        DCM_QUEUE_HANDLE_BYTES, bytes);
    if (fstat(q->fd, &s) != 0)
        return dcmi_err_sys("queue: its segment");
    memset(&pass, 0, sizeof(pass));
    pass.magic = PASSPORT_MAGIC;
    pass.layout = DCMI_QUEUE_LAYOUT;
    pass.pid = q->writer.pid;
    pass.start_time = q->writer.start_time;
    pass.pid_namespace = dcmi_pid_namespace();
    pass.host = dcmi_host_hint();
    pass.inode = (uint64_t)s.st_ino;
    pass.fd = q->fd;
    pass.id = q->id;
    pass.ticket = q->ticket;
    pass.g = q->g;
    if (q->remote != NULL)
        pass.remote = *dcmi_remote_where(q);
    memset(handle, 0, DCM_QUEUE_HANDLE_BYTES);
    memcpy(handle, &pass, sizeof(pass));
    sum = checksum(handle);
    memcpy((char *)handle + DCM_QUEUE_HANDLE_BYTES - sizeof(sum), &sum,
           sizeof(sum));
    return DCM_OK;
}

static dcm_status check_geometry(const dcmi_queue_geometry *g)
{
    dcmi_queue_geometry again;
    dcm_status st;

    if (g->kind > DCMI_QUEUE_CHUNKS)
        return dcmi_err(DCM_E_INVAL, "queue: a handle of kind %u", g->kind);
    st = dcmi_queue_geometry_make(
        &again, (dcmi_queue_kind)g->kind, g->arena_bytes, g->max_record,
        g->nreaders > DCM_QUEUE_MAX_READERS ? -1 : (int)g->nreaders);
    if (st != DCM_OK)
        return st;
    if (memcmp(&again, g, sizeof(again)) != 0)
        return dcmi_err(DCM_E_INVAL, "queue: the handle's sizes do not fit "
                                     "together");
    return DCM_OK;
}

dcm_status dcmi_queue_passport_read(dcmi_queue_passport *pass,
                                    const void *handle, size_t bytes)
{
    uint64_t sum;

    if (handle == NULL || bytes != DCM_QUEUE_HANDLE_BYTES)
        return dcmi_err(DCM_E_INVAL, "queue: a handle has %d bytes, not %zu",
                        DCM_QUEUE_HANDLE_BYTES, bytes);
    memcpy(pass, handle, sizeof(*pass));
    memcpy(&sum, (const char *)handle + bytes - sizeof(sum), sizeof(sum));
    if (pass->magic != PASSPORT_MAGIC || sum != checksum(handle))
        return dcmi_err(DCM_E_INVAL, "queue: these bytes are no handle");
    if (pass->layout != DCMI_QUEUE_LAYOUT)
        return dcmi_err(DCM_E_ABI,
                        "queue: handle of layout %u, this library "
                        "has %u",
                        pass->layout, DCMI_QUEUE_LAYOUT);
    if (pass->pid <= 0 || pass->fd < 0)
        return dcmi_err(DCM_E_INVAL, "queue: a handle of process %d, file %d",
                        (int)pass->pid, (int)pass->fd);
    return check_geometry(&pass->g);
}

/*
 * The writer's descriptor, by number: it is opened only where its name says that
 * it is a queue, and the inode that it is this one.
 */
static int open_by_proc(const dcmi_queue_passport *pass)
{
    static const char prefix[] = "/memfd:devcomm-queue-";
    char target[sizeof(prefix)];
    char path[64];
    struct stat s;
    ssize_t n;
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pass->pid,
                   (int)pass->fd);
    n = readlink(path, target, sizeof(prefix) - 1);
    if (n != (ssize_t)sizeof(prefix) - 1 ||
        memcmp(target, prefix, sizeof(prefix) - 1) != 0)
        return -1;
    fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && (fstat(fd, &s) != 0 || (uint64_t)s.st_ino != pass->inode)) {
        dcmi_close(fd);
        fd = -1;
    }
    return fd;
}

dcm_status dcmi_queue_passport_open(dcm_queue *q,
                                    const dcmi_queue_passport *pass, int fd,
                                    uint64_t timeout_ns)
{
    const bool is_same_namespace =
        pass->pid_namespace == dcmi_pid_namespace() && pass->pid_namespace != 0;
    dcm_status st;

    q->fd = fd;
    q->g = pass->g;
    q->id = pass->id;
    q->ticket = pass->ticket;
    q->writer = (dcmi_process){.pid = pass->pid, .fd = -1, .is_self = true};
    if (is_same_namespace) {
        dcmi_process_open(&q->writer, pass->pid, pass->start_time);
        if (dcmi_process_is_gone(&q->writer))
            return dcmi_err(DCM_E_PEER, "queue: its writer (pid %d) is gone",
                            (int)pass->pid);
        if (fd < 0)
            fd = open_by_proc(pass);
    }
    if (fd < 0) {
        st = dcmi_queue_door_knock(&fd, q, timeout_ns);
        if (st != DCM_OK)
            return st;
    }
    return dcmi_queue_frame_open(q, fd);
}
