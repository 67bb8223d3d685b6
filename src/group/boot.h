/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How ranks exchange bytes before they share memory, and between hosts after.
 *
 * A boot connects all ranks of a group and offers one operation, merge.  Kinds:
 *   boot_local.c  all ranks inside this process
 *   boot_star.c   sockets (unix or TCP) from every rank to rank 0
 *   boot_fn.c     the caller's own all-gather
 */
#ifndef DCMI_BOOT_H
#define DCMI_BOOT_H

#include <devcomm/devcomm.h>

#include <stdbool.h>

#include "group/card.h"

typedef struct dcmi_boot dcmi_boot;

typedef struct dcmi_boot_ops {
    /*
     * Collective over the owners.  `all` holds `bytes` bytes a rank; entries of
     * the ranks that this rank owns (owner[r] == its rank) are filled in, and
     * all of them are on return.  At creation every rank owns itself; later a
     * host's leader owns the ranks of its host.  Ends by `deadline_ns` of
     * dcmi_now_ns() with E_TIMEOUT or E_PEER, which name the missing ranks; half
     * a second later at most, so that all ranks can be told the same names.
     * After a failure every later call returns the same.
     */
    dcm_status (*merge)(dcmi_boot *boot, void *all, size_t bytes,
                        const int *owner, uint64_t deadline_ns);
    /* From now on only owners take part: drop the other connections. */
    void (*keep)(dcmi_boot *boot, const int *owner);
    void (*close)(dcmi_boot *boot); /* local; frees it */
} dcmi_boot_ops;

struct dcmi_boot {
    const dcmi_boot_ops *ops;
    int rank;
    int nranks;
    bool needs_all; /* merge must be called by every rank, always */
    /* That the ranks meet here proves that they are on one host. */
    bool is_one_host;
};

typedef struct dcmi_boot_opts {
    const char *name;  /* of the group, never NULL */
    const char *token; /* NULL: none */
    bool allow_no_token;
    uint64_t deadline_ns; /* of dcmi_now_ns() */
    dcmi_card *card;      /* told who has come; NULL: none */
} dcmi_boot_opts;

/*
 * Meet at "unix:NAME" or "tcp:HOST:PORT" ("tcp:[V6]:PORT").  Rank 0 listens, the
 * others connect and try again until the deadline.  docs/bootstrap.md has the
 * protocol.  All ranks give the same token, or none.
 */
dcm_status dcmi_boot_star(dcmi_boot **boot_p, const char *address, int rank,
                          int nranks, const dcmi_boot_opts *opts);

dcm_status dcmi_boot_fn(dcmi_boot **boot_p, dcm_all_gather_fn fn, void *arg,
                        int rank, int nranks);

/* One boot a rank, all in this process: boots[0 .. nranks-1]. */
dcm_status dcmi_boot_local(dcmi_boot **boots, int nranks);

/* Room for "tcp:[HOST]:PORT" with the longest host name. */
enum {
    DCMI_ADDRESS_BYTES = 288
};

/* What the launcher left in the environment (launcher.c). */
typedef struct dcmi_launch {
    const char
        *launcher; /* "devcomm", "torchrun", "Open MPI", "PMI", "Slurm" */
    int rank;
    int nranks;
    char address[DCMI_ADDRESS_BYTES];
} dcmi_launch;

dcm_status dcmi_launch_read(dcmi_launch *launch);

#endif /* DCMI_BOOT_H */
