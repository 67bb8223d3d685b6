/* SPDX-License-Identifier: Apache-2.0 */
/* Reading cards and halls: groups that form, and ranks that meet. */
#include "inspect/job.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "group/hall.h"
#include "os/sock.h"

enum {
    TRIES = 8
};

static void clean(char *text, size_t bytes)
{
    text[bytes - 1] = '\0';
    for (; *text != '\0'; text++) {
        if (isprint((unsigned char)*text) == 0)
            *text = '?';
    }
}

/* A card is written whole, in one call: two equal copies are a whole one. */
static dcm_status copy_card(dcmi_card_page *page, int fd)
{
    dcmi_card_page again;
    dcm_status st = dcmi_find_copy(page, fd, 0, sizeof(*page));

    for (int i = 0; i < TRIES && st == DCM_OK; i++) {
        st = dcmi_find_copy(&again, fd, 0, sizeof(again));
        if (st == DCM_OK && memcmp(page, &again, sizeof(again)) == 0)
            return DCM_OK;
        *page = again;
    }
    return st != DCM_OK ? st : dcmi_err(DCM_E_BUSY, "a card keeps changing");
}

dcm_status dcmi_seen_card_read(dcmi_seen_card *card, const dcmi_find *find)
{
    dcmi_card_page p;
    size_t bytes;
    dcm_status st;
    int fd;

    st = dcmi_find_open(&fd, &bytes, find);
    if (st != DCM_OK)
        return st;
    st = copy_card(&p, fd);
    dcmi_close(fd);
    if (st != DCM_OK)
        return st;
    if (p.magic != DCMI_CARD_MAGIC || p.layout != DCMI_CARD_LAYOUT)
        return dcmi_err(DCM_E_ABI, "process %d: another version's card",
                        find->pid);
    if (p.nranks < 1 || p.nranks > DCM_MAX_RANKS || p.rank < 0 ||
        p.rank >= p.nranks)
        return dcmi_err(DCM_E_INVAL, "process %d: a card of rank %d of %d",
                        find->pid, p.rank, p.nranks);
    memset(card, 0, sizeof(*card));
    card->pid = find->pid;
    card->rank = p.rank;
    card->nranks = p.nranks;
    card->step = (dcmi_card_step)p.step;
    card->since_ns = p.since_ns;
    card->deadline_ns = p.deadline_ns;
    card->come = p.come;
    if (p.nranks < 64)
        card->come &= (1ull << p.nranks) - 1;
    for (int r = 0; r < p.nranks; r++)
        card->pid_of[r] = p.pid_of[r] > 0 ? p.pid_of[r] : 0;
    clean(p.job, sizeof(p.job));
    clean(p.name, sizeof(p.name));
    memcpy(card->job, p.job, sizeof(card->job));
    memcpy(card->name, p.name, sizeof(card->name));
    dcmi_proc_look(&card->proc, find->pid, 0);
    return DCM_OK;
}

static void take_slot(dcmi_seen_hall *out, const dcmi_hall *hall, int slot)
{
    const dcmi_life_slot *life = &hall->life[slot];
    const uint64_t even = hall->slot[slot].posted[0] >> 16;
    const uint64_t odd = hall->slot[slot].posted[1] >> 16;

    out->seq[slot] = even > odd ? even : odd;
    if (life->state != DCMI_LIFE_EMPTY && life->pid > 0)
        out->pid[slot] = life->pid;
}

dcm_status dcmi_seen_hall_read(dcmi_seen_hall *out, const dcmi_find *find)
{
    dcmi_hall *hall;
    size_t bytes;
    dcm_status st;
    int fd;

    st = dcmi_find_open(&fd, &bytes, find);
    if (st != DCM_OK)
        return st;
    hall = aligned_alloc(DCMI_SECTOR, sizeof(*hall));
    if (hall == NULL)
        st = dcmi_err(DCM_E_NOMEM, "a copy of a hall");
    else
        st = dcmi_find_copy(hall, fd, 0, sizeof(*hall));
    dcmi_close(fd);
    if (st == DCM_OK &&
        (hall->magic != DCMI_HALL_MAGIC || hall->layout != DCMI_HALL_LAYOUT))
        st = dcmi_err(DCM_E_ABI, "process %d: another version's hall",
                      find->pid);
    if (st == DCM_OK && (hall->n_local < 1 || hall->n_local > hall->n_ranks ||
                         hall->n_ranks > DCM_MAX_RANKS))
        st = dcmi_err(DCM_E_INVAL, "process %d: a hall of %u of %u ranks",
                      find->pid, hall->n_local, hall->n_ranks);
    if (st == DCM_OK) {
        memset(out, 0, sizeof(*out));
        out->inode = find->inode;
        out->n_local = (int)hall->n_local;
        out->n_ranks = (int)hall->n_ranks;
        for (int i = 0; i < out->n_local; i++)
            take_slot(out, hall, i);
    }
    free(hall);
    return st;
}
