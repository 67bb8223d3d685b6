/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arenas: symmetric memory of a communicator, cut into blocks.
 *
 * The blocks of this rank's part are a list in order of address, kept outside the
 * shared memory, so that no peer can damage it.  First fit; neighbours that are
 * free are joined.  Equal calls give equal offsets on every rank.
 */
#include <stdlib.h>

#include "base/err.h"
#include "comm/comm.h"
#include "group/vote.h"
#include "os/memfd.h"

typedef struct block {
    struct block *next;
    size_t offset;
    size_t bytes;
    bool is_free;
} block;

struct dcm_arena {
    dcm_comm *comm;
    void *backend_arena;
    char *base;
    block *first;
};

static dcm_arena *handle_new(void)
{
    dcm_arena *a = calloc(1, sizeof(*a));

    if (a == NULL)
        return NULL;
    a->first = calloc(1, sizeof(*a->first));
    if (a->first == NULL) {
        free(a);
        return NULL;
    }
    return a;
}

static void handle_free(dcm_arena *arena)
{
    block *next;

    if (arena == NULL)
        return;
    for (block *b = arena->first; b != NULL; b = next) {
        next = b->next;
        free(b);
    }
    free(arena);
}

dcm_status dcm_arena_new(dcm_arena **arena_p, dcm_comm *comm, size_t bytes)
{
    const size_t page = dcmi_page_bytes();
    dcm_arena *a;
    void *base;
    dcm_status st;

    if (arena_p == NULL || comm == NULL || bytes == 0 ||
        bytes > PTRDIFF_MAX / DCM_MAX_RANKS - page)
        return dcmi_err(DCM_E_INVAL, "arena of %zu bytes", bytes);
    st = dcmi_comm_enter(comm);
    if (st != DCM_OK)
        return st;
    a = handle_new();
    if (a == NULL)
        st = dcmi_err(DCM_E_NOMEM, "an arena's handle");
    st = dcmi_group_vote(comm->group, st, comm->timeout_ms);
    bytes = (bytes + page - 1) / page * page;
    if (st == DCM_OK)
        st = comm->ops->arena_new(comm->ctx, &a->backend_arena, bytes, &base);
    if (st != DCM_OK) {
        handle_free(a);
        return st;
    }
    a->comm = comm;
    a->base = base;
    *a->first = (block){.bytes = bytes, .is_free = true};
    *arena_p = a;
    return DCM_OK;
}

void dcm_arena_free(dcm_arena *arena)
{
    if (arena == NULL)
        return;
    arena->comm->ops->arena_free(arena->comm->ctx, arena->backend_arena);
    handle_free(arena);
}

/* Cut `b` so that it has `need` bytes, when more than that is left. */
static dcm_status cut(block *b, size_t need)
{
    block *rest;

    if (b->bytes == need)
        return DCM_OK;
    rest = calloc(1, sizeof(*rest));
    if (rest == NULL)
        return dcmi_err(DCM_E_NOMEM, "arena block");
    *rest = (block){
        .next = b->next,
        .offset = b->offset + need,
        .bytes = b->bytes - need,
        .is_free = true,
    };
    b->next = rest;
    b->bytes = need;
    return DCM_OK;
}

dcm_status dcm_arena_alloc(dcm_arena *arena, void **ptr_p, size_t bytes)
{
    size_t largest = 0;
    size_t need;
    dcm_status st;

    if (arena == NULL || ptr_p == NULL || bytes > PTRDIFF_MAX - DCMI_SECTOR)
        return dcmi_err(DCM_E_INVAL, "arena block of %zu bytes", bytes);
    need = (bytes + DCMI_SECTOR - 1) & ~(size_t)(DCMI_SECTOR - 1);
    if (need == 0)
        need = DCMI_SECTOR;
    for (block *b = arena->first; b != NULL; b = b->next) {
        if (!b->is_free)
            continue;
        largest = b->bytes > largest ? b->bytes : largest;
        if (b->bytes < need)
            continue;
        st = cut(b, need);
        if (st != DCM_OK)
            return st;
        b->is_free = false;
        *ptr_p = arena->base + b->offset;
        return DCM_OK;
    }
    return dcmi_err(DCM_E_NOMEM,
                    "arena block of %zu bytes: the largest free "
                    "one has %zu",
                    bytes, largest);
}

static void join_next(block *b)
{
    block *next = b->next;

    if (next == NULL || !next->is_free)
        return;
    b->bytes += next->bytes;
    b->next = next->next;
    free(next);
}

void dcm_arena_release(dcm_arena *arena, void *ptr)
{
    block *before = NULL;

    if (arena == NULL || ptr == NULL)
        return;
    for (block *b = arena->first; b != NULL; before = b, b = b->next) {
        if (arena->base + b->offset != ptr || b->is_free)
            continue;
        b->is_free = true;
        join_next(b);
        if (before != NULL && before->is_free)
            join_next(before);
        return;
    }
}
