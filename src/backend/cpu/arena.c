/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU backend's symmetric memory: one segment, one part a rank. */
#include <stdlib.h>

#include "backend/cpu/ctx.h"
#include "base/err.h"
#include "group/vote.h"

struct dcmi_cpu_arena {
    dcmi_cpu_arena *next;
    dcmi_segment *segment;
    size_t part_bytes;
    uint32_t number; /* the same on every rank */
};

static unsigned char *part(const dcmi_cpu_arena *a, int rank)
{
    return dcmi_segment_at(a->segment, (size_t)rank * a->part_bytes);
}

dcm_status dcmi_cpu_arena_new(void *ctx, void **arena_p, size_t bytes,
                              void **base_p)
{
    dcmi_cpu *c = ctx;
    dcmi_cpu_arena *a;
    dcm_status st;

    a = calloc(1, sizeof(*a));
    st = dcmi_group_vote(
        c->team->group,
        a != NULL ? DCM_OK : dcmi_err(DCM_E_NOMEM, "an arena's handle"), 0);
    if (st != DCM_OK || a == NULL) {
        free(a);
        return st;
    }
    a->part_bytes = bytes;
    a->number = ++c->arenas_made;
    st = dcmi_segment_new(&a->segment, c->team->group, "devcomm-arena",
                          bytes * (size_t)c->nranks, 0);
    if (st == DCM_OK) {
        st = dcmi_segment_reserve(a->segment, bytes * (size_t)c->rank, bytes);
        st = dcmi_group_vote(c->team->group, st, 0);
    }
    if (st != DCM_OK) {
        dcmi_segment_free(a->segment);
        free(a);
        return st;
    }
    /* Others' parts: reserved before their vote. */
    dcmi_segment_touch(a->segment, 0, bytes * (size_t)c->nranks);
    a->next = c->arenas;
    c->arenas = a;
    *base_p = part(a, c->rank);
    *arena_p = a;
    return DCM_OK;
}

void dcmi_cpu_arena_free(void *ctx, void *arena)
{
    dcmi_cpu *c = ctx;
    dcmi_cpu_arena **at;

    for (at = &c->arenas; *at != NULL; at = &(*at)->next) {
        if (*at == arena) {
            dcmi_cpu_arena *a = *at;

            *at = a->next;
            dcmi_segment_free(a->segment);
            free(a);
            return;
        }
    }
}

size_t dcmi_cpu_arena_total(const dcmi_cpu *c)
{
    size_t bytes = 0;

    for (const dcmi_cpu_arena *a = c->arenas; a != NULL; a = a->next)
        bytes += dcmi_segment_bytes(a->segment);
    return bytes;
}

uint32_t dcmi_cpu_arena_of(const dcmi_cpu *c, const void *at, size_t bytes,
                           uint64_t *offset_p)
{
    for (const dcmi_cpu_arena *a = c->arenas; a != NULL; a = a->next) {
        const uintptr_t base = (uintptr_t)part(a, c->rank);

        if (bytes > a->part_bytes || (uintptr_t)at < base ||
            (uintptr_t)at - base > a->part_bytes - bytes)
            continue;
        *offset_p = (uintptr_t)at - base;
        return a->number;
    }
    return 0;
}

void dcmi_cpu_arena_find(const dcmi_cpu *c, const dcm_coll *coll,
                         dcmi_header *header)
{
    const size_t bytes = coll->count * dcm_dtype_bytes(coll->dtype);
    uint64_t src = 0;
    uint64_t dst = 0;
    const uint32_t number = dcmi_cpu_arena_of(c, coll->src, bytes, &src);

    if (number == 0 || dcmi_cpu_arena_of(c, coll->dst, bytes, &dst) != number)
        return;
    header->arena = number;
    header->src_offset = src;
    header->dst_offset = dst;
}

unsigned char *dcmi_cpu_arena_at(const dcmi_cpu *c, uint32_t number, int rank,
                                 uint64_t offset)
{
    const dcmi_cpu_arena *a = c->arenas;

    while (a != NULL && a->number != number)
        a = a->next;
    return a != NULL ? part(a, rank) + offset : NULL;
}
