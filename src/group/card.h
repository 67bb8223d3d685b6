/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A card: what a process shows of a group while the ranks still gather, when there
 * is no hall yet; afterwards it tells which job the process belongs to.
 *
 * Layout          One page of memory of this process alone, found from outside by
 *                 its name in /proc/PID/fd.
 * Writers and     Its process writes it, whole, with pwrite(2); readers copy it
 * readers         with pread(2) until two copies are equal.
 * When a rank     its card goes with it: rank 0's says who had come.
 * dies
 */
#ifndef DCMI_CARD_H
#define DCMI_CARD_H

#include <devcomm/devcomm.h>

#define DCMI_CARD_MAGIC  0x6472616363636364ull /* "dccccard" */
#define DCMI_CARD_LAYOUT 1u
#define DCMI_CARD_MEMFD  "devcomm-card"

enum {
    DCMI_CARD_JOB = 288,
    DCMI_CARD_NAME = 72,
};

typedef enum dcmi_card_step {
    DCMI_CARD_MEETING = 1,  /* rank 0 waits for the others, they reach for it */
    DCMI_CARD_BUILDING = 2, /* all have come; they set up the hall */
    DCMI_CARD_MADE = 3,
} dcmi_card_step;

typedef struct dcmi_card_page {
    uint64_t magic;
    uint32_t layout;
    int32_t pid;
    int32_t rank;
    int32_t nranks;
    uint32_t step; /* dcmi_card_step */
    uint32_t reserved;
    uint64_t start_time;
    uint64_t since_ns; /* of dcmi_now_ns(): when this step began */
    uint64_t deadline_ns;
    uint64_t come;                 /* rank 0's: the ranks that have come */
    int32_t pid_of[DCM_MAX_RANKS]; /* and who they are */
    char job[DCMI_CARD_JOB];       /* the address; "": none */
    char name[DCMI_CARD_NAME];     /* of the group */
} dcmi_card_page;

_Static_assert(sizeof(dcmi_card_page) == 680, "read by other versions");

typedef struct dcmi_card {
    int fd; /* -1: there is none, and calls do nothing */
    dcmi_card_page page;
} dcmi_card;

/* Without memory or descriptors there is no card: that is logged, no failure. */
void dcmi_card_open(dcmi_card *card, int rank, int nranks, const char *job,
                    const char *name, uint64_t deadline_ns);
void dcmi_card_come(dcmi_card *card, int rank, int pid);
void dcmi_card_step_to(dcmi_card *card, dcmi_card_step step);

#endif /* DCMI_CARD_H */
