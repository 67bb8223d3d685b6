/* SPDX-License-Identifier: Apache-2.0 */
/* The peer backend's table, and what it says of itself. */
#include "backend/peer/peer.h"

#include <stdio.h>
#include <string.h>

#include "backend/peer/ctx.h"
#include "memory/symmetric.h"

/* What every explanation ends with. */
static void say_staging(const dcmi_peer *c, char *text, size_t bytes)
{
    (void)snprintf(text, bytes, "%s; staging %s%s; dependent launch is %s",
                   c->sharing > 1 ? "; other ranks share the device" : "",
                   c->staging != NULL ? "shared by " : "in host memory: ",
                   c->staging != NULL ? dcmi_symmetric_how(c->staging)
                                      : c->why_staged,
                   c->has_dependent_launch ? "on" : "off");
}

static void explain_all_reduce(const dcmi_peer *c, char *text, size_t bytes,
                               const dcm_coll *coll)
{
    const size_t size = coll->count * dcm_dtype_bytes(coll->dtype);
    const dcmi_peer_algo algo = dcmi_peer_algo_of(c, coll);
    const uint64_t most = c->lay.most[algo];
    const uint64_t part = size < most ? size : most;
    const dcmi_peer_shape s =
        dcmi_peer_shape_of(&c->lay, algo, coll->dtype, coll->op, part, 16);

    (void)snprintf(
        text, bytes,
        "%s: %zu bytes on %d ranks, %s; %zu launches of at most %llu bytes, the "
        "first of %u blocks of %u threads; %s",
        dcmi_peer_algo_name(algo), size, c->nranks, c->device_name,
        most == 0 || size == 0 ? (size_t)1 : (size_t)((size + most - 1) / most),
        (unsigned long long)most, s.grid, s.threads,
        s.what == DCMI_PEER_ANY ? "arithmetic of any type and operator"
                                : "arithmetic of its own");
}

static dcm_status explain(void *ctx, char *text, size_t bytes,
                          const dcm_coll *coll)
{
    const dcmi_peer *c = ctx;
    size_t used;

    if (coll->kind == DCM_COLL_ALL_REDUCE)
        explain_all_reduce(c, text, bytes, coll);
    else if (coll->kind == DCM_COLL_BARRIER)
        (void)snprintf(text, bytes,
                       "barrier: a flag to and from each of %d ranks, %s",
                       c->nranks, c->device_name);
    else
        dcmi_peer_explain_moves(c, text, bytes, coll);
    used = strlen(text);
    say_staging(c, text + used, bytes - used);
    return DCM_OK;
}

/* Of the host's shared memory; of the devices': explain. */
static void footprint(void *ctx, size_t *now_p, size_t *most_p)
{
    const dcmi_peer *c = ctx;

    *now_p = c->host != NULL ? dcmi_segment_bytes(c->host) : 0;
    *most_p = *now_p;
}

const dcm_backend_ops dcmi_peer_backend = {
    .abi = DCM_BACKEND_ABI,
    .size = sizeof(dcm_backend_ops),
    .name = "peer",
    .probe = dcmi_peer_probe,
    .open = dcmi_peer_open,
    .close = dcmi_peer_close,
    .all_reduce = dcmi_peer_all_reduce,
    .barrier = dcmi_peer_barrier,
    .explain = explain,
    .footprint = footprint,
    .collective = dcmi_peer_collective,
    .messages = dcmi_peer_messages,
    .check = dcmi_peer_find_failure,
};
