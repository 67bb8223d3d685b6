/* SPDX-License-Identifier: Apache-2.0 */
/* The segment: how large, where is what, made and checked. */
#include "queue/queue.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "os/ident.h"
#include "os/memfd.h"
#include "os/sock.h"

enum {
    PAGE = 4096, /* of the layout; mappings round up to the system's */
    BYTES_A_SLOT = 256,
    CHUNKS_MOST = 1 << 20,
};

#define RING_MOST   (1ull << 40)
#define RECORD_MOST (1ull << 48)

static uint64_t round_up(uint64_t v, uint64_t to)
{
    return (v + to - 1) / to * to;
}

static uint64_t power_of_two(uint64_t v)
{
    uint64_t p = PAGE;

    while (p < v)
        p *= 2;
    return p;
}

static uint64_t clamp(uint64_t v, uint64_t least, uint64_t most)
{
    return v < least ? least : v > most ? most : v;
}

dcm_status dcmi_queue_geometry_make(dcmi_queue_geometry *g,
                                    dcmi_queue_kind kind, uint64_t bytes,
                                    uint64_t max_record, int nreaders)
{
    if (nreaders < 0 || nreaders > DCM_QUEUE_MAX_READERS)
        return dcmi_err(DCM_E_INVAL, "queue: %d readers; 0 to %d are possible",
                        nreaders, DCM_QUEUE_MAX_READERS);
    if (bytes > RING_MOST)
        return dcmi_err(DCM_E_INVAL,
                        "queue: ring of %llu bytes; the most is "
                        "2^40",
                        (unsigned long long)bytes);
    if (max_record == 0 || max_record > RECORD_MOST)
        return dcmi_err(DCM_E_INVAL,
                        "queue: longest record of %llu bytes; the most is 2^48",
                        (unsigned long long)max_record);
    if (kind == DCMI_QUEUE_CHUNKS &&
        (bytes % max_record != 0 || bytes / max_record == 0 ||
         bytes / max_record > CHUNKS_MOST))
        return dcmi_err(DCM_E_INVAL, "queue: %llu bytes in chunks of %llu",
                        (unsigned long long)bytes,
                        (unsigned long long)max_record);
    memset(g, 0, sizeof(*g));
    g->kind = (uint32_t)kind;
    g->nreaders = (uint32_t)nreaders;
    g->max_record = max_record;
    if (kind == DCMI_QUEUE_CHUNKS) {
        g->arena_bytes = bytes;
        g->nslots = bytes / max_record;
    } else {
        g->arena_bytes = power_of_two(bytes);
        g->nslots = clamp(g->arena_bytes / BYTES_A_SLOT, DCMI_QUEUE_SLOTS_LEAST,
                          DCMI_QUEUE_SLOTS_MOST);
    }
    g->slots_at = round_up(sizeof(dcmi_queue_frame), PAGE);
    g->arena_at =
        round_up(g->slots_at + g->nslots * sizeof(dcmi_queue_slot), PAGE);
    g->total_bytes = round_up(g->arena_at + g->arena_bytes, dcmi_page_bytes());
    return DCM_OK;
}

/* Private copies of where everything is. */
static void take_places(dcm_queue *q)
{
    char *base = dcmi_mapping_base(q->mapping);

    q->frame = (dcmi_queue_frame *)(void *)base;
    q->slots = (dcmi_queue_slot *)(void *)(base + q->g.slots_at);
    q->arena = (unsigned char *)base + q->g.arena_at;
    q->slot_mask = q->g.nslots - 1; /* for records only, as arena_mask */
    q->arena_mask = q->g.arena_bytes - 1;
}

static void fill(dcm_queue *q)
{
    dcmi_queue_descriptor *d = &q->frame->descriptor;
    const uint64_t expected = (uint64_t)DCMI_ENTRY_EXPECTED << 32;

    d->layout = DCMI_QUEUE_LAYOUT;
    d->writer_pid = q->writer.pid;
    d->writer_start = q->writer.start_time;
    d->id = q->id;
    d->geometry = q->g;
    memcpy(d->name, q->name, sizeof(d->name));
    for (uint32_t r = 0; r < q->g.nreaders; r++)
        atomic_store_explicit(&q->frame->entry[r].who, expected,
                              memory_order_relaxed);
    atomic_store_explicit(&q->frame->head.used, (1ull << q->g.nreaders) - 1,
                          memory_order_relaxed);
    atomic_store_explicit(&d->magic, DCMI_QUEUE_MAGIC, memory_order_release);
}

dcm_status dcmi_queue_frame_create(dcm_queue *q)
{
    char name[96];
    dcm_status st;

    st = dcmi_random(&q->id, sizeof(q->id));
    if (st != DCM_OK)
        return st;
    (void)snprintf(name, sizeof(name), "devcomm-queue-%s", q->name);
    st = dcmi_memfd_create(&q->fd, name, q->g.total_bytes);
    if (st == DCM_OK)
        st = dcmi_memfd_reserve(q->fd, 0, q->g.total_bytes);
    if (st == DCM_OK)
        st = dcmi_mapping_get(&q->mapping, q->fd, q->g.total_bytes);
    if (st != DCM_OK)
        return st;
    take_places(q);
    dcmi_memfd_populate(q->frame, q->g.total_bytes);
    fill(q);
    dcmi_queue_show_cpus(q);
    return DCM_OK;
}

dcm_status dcmi_queue_frame_open(dcm_queue *q, int fd)
{
    const dcmi_queue_descriptor *d;
    dcmi_queue_descriptor copy;
    dcm_status st;

    q->fd = fd;
    st = dcmi_mapping_get(&q->mapping, fd, q->g.total_bytes);
    if (st != DCM_OK)
        return st;
    d = dcmi_mapping_base(q->mapping);
    if (atomic_load_explicit(&d->magic, memory_order_acquire) !=
        DCMI_QUEUE_MAGIC)
        return dcmi_err(DCM_E_INVAL, "queue: the segment is no queue's");
    memcpy(&copy, (const void *)d, sizeof(copy));
    if (copy.layout != DCMI_QUEUE_LAYOUT)
        return dcmi_err(DCM_E_ABI, "queue: layout %u, this library has %u",
                        copy.layout, DCMI_QUEUE_LAYOUT);
    if (memcmp(&copy.id, &q->id, sizeof(copy.id)) != 0 ||
        memcmp(&copy.geometry, &q->g, sizeof(copy.geometry)) != 0)
        return dcmi_err(DCM_E_INVAL, "queue: the segment is another queue's "
                                     "than the handle's");
    copy.name[sizeof(copy.name) - 1] = '\0';
    memcpy(q->name, copy.name, sizeof(q->name));
    take_places(q);
    dcmi_memfd_populate(q->frame, q->g.total_bytes);
    return DCM_OK;
}
