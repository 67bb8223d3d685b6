/* SPDX-License-Identifier: Apache-2.0 */
/* The table of mapped segments of this process, by inode. */
#define _GNU_SOURCE
#include "os/mapping.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/err.h"
#include "os/memfd.h"

struct dcmi_mapping {
    dcmi_mapping *next;
    dev_t device;
    ino_t inode;
    void *base;
    size_t bytes;
    unsigned users;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static dcmi_mapping *all;

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* A forked child, which puts its parent's mappings, must find the lock free. */
static void fork_prepare(void)
{
    (void)pthread_mutex_lock(&lock);
}

static void fork_release(void)
{
    (void)pthread_mutex_unlock(&lock);
}

/* Before life.c's, whose lock is taken before this one: forks go backwards. */
static void set_up(void)
{
    (void)pthread_atfork(fork_prepare, fork_release, fork_release);
}

/* With the lock held. */
static dcmi_mapping *find(const struct stat *s)
{
    for (dcmi_mapping *m = all; m != NULL; m = m->next) {
        if (m->device == s->st_dev && m->inode == s->st_ino)
            return m;
    }
    return NULL;
}

/* With the lock held. */
static dcm_status add(dcmi_mapping **mapping_p, int fd, size_t bytes,
                      const struct stat *s)
{
    dcmi_mapping *m = calloc(1, sizeof(*m));
    dcm_status st;

    if (m == NULL)
        return dcmi_err(DCM_E_NOMEM, "mapping of %zu bytes", bytes);
    st = dcmi_memfd_map(&m->base, fd, bytes);
    if (st != DCM_OK) {
        free(m);
        return st;
    }
    m->device = s->st_dev;
    m->inode = s->st_ino;
    m->bytes = bytes;
    m->next = all;
    all = m;
    *mapping_p = m;
    return DCM_OK;
}

dcm_status dcmi_mapping_get(dcmi_mapping **mapping_p, int fd, size_t bytes)
{
    dcmi_mapping *m;
    dcm_status st;
    struct stat s;

    st = dcmi_memfd_verify(fd, bytes);
    if (st != DCM_OK)
        return st;
    if (fstat(fd, &s) != 0)
        return dcmi_err_sys("segment");

    (void)pthread_once(&once, set_up);
    (void)pthread_mutex_lock(&lock);
    m = find(&s);
    if (m == NULL)
        st = add(&m, fd, bytes, &s);
    if (st == DCM_OK)
        m->users++;
    (void)pthread_mutex_unlock(&lock);

    if (st == DCM_OK)
        *mapping_p = m;
    return st;
}

dcmi_mapping *dcmi_mapping_ref(dcmi_mapping *mapping)
{
    (void)pthread_mutex_lock(&lock);
    mapping->users++;
    (void)pthread_mutex_unlock(&lock);
    return mapping;
}

dcmi_mapping *dcmi_mapping_at(const void *base)
{
    dcmi_mapping *m;

    (void)pthread_mutex_lock(&lock);
    m = all;
    while (m != NULL && m->base != base)
        m = m->next;
    if (m != NULL)
        m->users++;
    (void)pthread_mutex_unlock(&lock);
    return m;
}

void dcmi_mapping_put(dcmi_mapping *mapping)
{
    dcmi_mapping **at;

    if (mapping == NULL)
        return;
    (void)pthread_mutex_lock(&lock);
    mapping->users--;
    if (mapping->users == 0) {
        for (at = &all; *at != mapping; at = &(*at)->next)
            ;
        *at = mapping->next;
        dcmi_memfd_unmap(mapping->base, mapping->bytes);
        free(mapping);
    }
    (void)pthread_mutex_unlock(&lock);
}

void *dcmi_mapping_base(const dcmi_mapping *mapping)
{
    return mapping->base;
}

size_t dcmi_mapping_bytes(const dcmi_mapping *mapping)
{
    return mapping->bytes;
}
