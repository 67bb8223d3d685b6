/* SPDX-License-Identifier: Apache-2.0 */
/* Size, initialisation and checks of the hall; hall.h tells the protocol. */
#define _GNU_SOURCE
#include "group/hall.h"

#include <unistd.h>

#include "base/err.h"
#include "os/memfd.h"

size_t dcmi_hall_bytes(int n_local, int n_ranks)
{
    const size_t page = dcmi_page_bytes();
    size_t bytes = sizeof(dcmi_hall);

    bytes += 2 * (size_t)n_local * DCM_EXCHANGE_MAX;
    if (n_local < n_ranks)
        bytes += 2 * (size_t)n_ranks * DCM_EXCHANGE_MAX;
    return (bytes + page - 1) / page * page;
}

void dcmi_hall_init(dcmi_hall *hall, int n_local, int n_ranks)
{
    hall->magic = DCMI_HALL_MAGIC;
    hall->bytes = dcmi_hall_bytes(n_local, n_ranks);
    hall->n_local = (uint32_t)n_local;
    hall->n_ranks = (uint32_t)n_ranks;
    hall->creator_pid = (int32_t)getpid();
    atomic_store_explicit(&hall->layout, DCMI_HALL_LAYOUT,
                          memory_order_release);
}

dcm_status dcmi_hall_check(const dcmi_hall *hall, size_t bytes, int n_local,
                           int n_ranks)
{
    const uint32_t layout =
        atomic_load_explicit(&hall->layout, memory_order_acquire);

    if (hall->magic != DCMI_HALL_MAGIC)
        return dcmi_err(DCM_E_INVAL,
                        "received segment is no group's memory "
                        "(magic %#llx)",
                        (unsigned long long)hall->magic);
    if (layout != DCMI_HALL_LAYOUT)
        return dcmi_err(DCM_E_ABI,
                        "group memory has layout %u, this library "
                        "has %u",
                        layout, DCMI_HALL_LAYOUT);
    if (bytes != dcmi_hall_bytes(n_local, n_ranks) || hall->bytes != bytes ||
        hall->n_local != (uint32_t)n_local ||
        hall->n_ranks != (uint32_t)n_ranks)
        return dcmi_err(DCM_E_INVAL,
                        "group memory is for %u of %u ranks, not for %d of %d",
                        hall->n_local, hall->n_ranks, n_local, n_ranks);
    return DCM_OK;
}

void *dcmi_hall_payload(dcmi_hall *hall, int local, unsigned half)
{
    return (char *)hall + sizeof(*hall) +
           ((size_t)local * 2 + half) * DCM_EXCHANGE_MAX;
}

void *dcmi_hall_payload_all(dcmi_hall *hall, unsigned half)
{
    return (char *)hall + sizeof(*hall) +
           (2 * (size_t)hall->n_local + (size_t)half * hall->n_ranks) *
               DCM_EXCHANGE_MAX;
}
