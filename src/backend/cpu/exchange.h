/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One description for every collective but all_reduce and barrier: what this rank
 * stages for whom, and what it takes from whom.  exchange_plan.c makes it from a
 * call; mail.c and exchange.c carry it out.
 */
#ifndef DCMI_CPU_EXCHANGE_H
#define DCMI_CPU_EXCHANGE_H

#include "backend/cpu/ctx.h"

typedef struct dcmi_part {
    unsigned char *at; /* of `out`: only read */
    size_t bytes;
} dcmi_part;

typedef struct dcmi_exchange {
    dcmi_header header; /* the same on all ranks but for the arena */
    bool is_shared;  /* all readers read one lane, out[0]; else lane r is r's */
    bool is_staging; /* this rank stages */
    bool is_from_one;  /* no other than the root stages */
    bool is_reduction; /* what is read is reduced into in[rank] */
    bool is_ragged;    /* blocks differ, or lie in rows: no mail */
    bool is_large;     /* dst is written past the caches */
    bool is_private;   /* only a pair knows what passes between it */
    size_t most;       /* bytes of the largest lane; unused when private */
    size_t skip;      /* of this rank's lane in everyone's src, unless shared */
    size_t row;       /* in[]: bytes of a row */
    size_t pitch;     /* in[]: from row to row */
    uint64_t readers; /* a bit a rank that reads what this one stages */
    const unsigned char *own; /* this rank's part that it keeps; NULL: none */
    dcmi_part out[DCM_MAX_RANKS];
    dcmi_part in[DCM_MAX_RANKS]; /* bytes 0: nothing comes from there */
} dcmi_exchange;

/* One exchange under way, through staging; exchange.c tells. */
typedef struct dcmi_exchange_run {
    dcmi_cpu *c;
    const dcm_coll *coll;
    const dcmi_exchange *x;
    size_t lanes;
    size_t piece;    /* bytes of a lane in a slot */
    size_t ring;     /* where this message's slots are */
    size_t window;   /* slots */
    size_t n_out;    /* pieces that this rank stages */
    size_t n_in;     /* and takes */
    bool goes_round; /* there are more pieces than slots */
    bool keeps;      /* what it stages it also puts into its own dst */
    bool is_direct;  /* this rank's src is read where it is */
    uint64_t direct; /* the ranks whose src is */
    const unsigned char **direct_at; /* of those: this rank's lane */
} dcmi_exchange_run;

/* Counts of one that has staged, or read, all there is. */
#define DCMI_ALL_STAGED 0x7fffffffu
#define DCMI_ALL_READ   0xffffffffu

void dcmi_cpu_exchange_plan(const dcmi_cpu *c, const dcm_coll *coll,
                            dcmi_exchange *x);

/* Put bytes [offset, offset + bytes) of what comes from `rank` where they belong. */
void dcmi_cpu_exchange_put(const dcmi_cpu *c, const dcmi_exchange *x, int rank,
                           const unsigned char *from, size_t offset,
                           size_t bytes);

/* This rank's own part, when it does not lie there already; whether it does not. */
bool dcmi_cpu_exchange_keeps(const dcmi_cpu *c, const dcmi_exchange *x);
void dcmi_cpu_exchange_keep(const dcmi_cpu *c, const dcm_coll *coll,
                            const dcmi_exchange *x);

/* Reduce `bytes` at `offset` of the result, src[r] being there already. */
void dcmi_cpu_exchange_reduce(const dcmi_cpu *c, const dcm_coll *coll,
                              const dcmi_exchange *x, const void *const *src,
                              size_t offset, size_t bytes);

/*
 * exchange_meet.c: what peers look at before any piece, posted when no piece is sure
 * to follow; how many this rank has staged; to wait until everyone is in this
 * operation, and until those who read src where it is have done so.
 */
void dcmi_cpu_exchange_begin(const dcmi_exchange_run *u);
void dcmi_cpu_exchange_count(dcmi_cpu *c, uint32_t count);
dcm_status dcmi_cpu_exchange_meet(dcmi_exchange_run *u);
dcm_status dcmi_cpu_exchange_await_readers(const dcmi_exchange_run *u);

/* mail.c: whether lines carry it (alike on all ranks), and doing so. */
bool dcmi_cpu_mail_carries(const dcmi_cpu *c, const dcmi_exchange *x);
dcm_status dcmi_cpu_mail_exchange(dcmi_cpu *c, const dcm_coll *coll,
                                  const dcmi_exchange *x);

#endif /* DCMI_CPU_EXCHANGE_H */
