/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rank 0's reception: whoever connects is a guest until it has proved that it is
 * a rank.  Guests are never waited for.
 */
#ifndef DCMI_STAR_GUEST_H
#define DCMI_STAR_GUEST_H

#include "group/star.h"

enum {
    DCMI_STAR_MOST_GUESTS = 64
};

typedef struct dcmi_star_guest {
    int fd; /* -1: a free place */
    uint64_t until_ns;
    bool is_challenged;
    size_t got; /* bytes of the record that comes next */
    union {
        dcmi_star_hello hello;
        dcmi_star_proof proof;
    } in;
    dcmi_star_talk talk;
} dcmi_star_guest;

typedef struct dcmi_star_reception {
    dcmi_star *star;
    int listener;
    uint64_t missing; /* ranks */
    dcmi_star_guest guests[DCMI_STAR_MOST_GUESTS];
    unsigned n_refused;
    char refused[400]; /* who was the last, and why */
} dcmi_star_reception;

/* Read what has come from a guest; it may be a member, or gone, afterwards. */
void dcmi_star_hear(dcmi_star_reception *c, dcmi_star_guest *g);

void dcmi_star_dismiss(dcmi_star_guest *g);

#endif /* DCMI_STAR_GUEST_H */
