/* SPDX-License-Identifier: Apache-2.0 */
/* Writing cards. */
#include "group/card.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/log.h"
#include "os/clock.h"
#include "os/ident.h"
#include "os/memfd.h"

/* A card that cannot be written says what it said before. */
static DCMI_COLD void show(const dcmi_card *card)
{
    if (card->fd >= 0)
        (void)!pwrite(card->fd, &card->page, sizeof(card->page), 0);
}

void dcmi_card_open(dcmi_card *card, int rank, int nranks, const char *job,
                    const char *name, uint64_t deadline_ns)
{
    dcmi_card_page *p = &card->page;

    memset(card, 0, sizeof(*card));
    card->fd = -1;
    if (dcmi_memfd_create(&card->fd, DCMI_CARD_MEMFD, dcmi_page_bytes()) !=
        DCM_OK) {
        dcmi_log(DCM_LOG_WARN,
                 "rank %d: devcomm inspect will not see this group while it "
                 "forms: %s",
                 rank, dcm_errmsg());
        return;
    }
    p->magic = DCMI_CARD_MAGIC;
    p->layout = DCMI_CARD_LAYOUT;
    p->pid = (int32_t)getpid();
    p->rank = rank;
    p->nranks = nranks;
    p->start_time = dcmi_start_time(p->pid);
    p->deadline_ns = deadline_ns;
    (void)snprintf(p->job, sizeof(p->job), "%s", job);
    (void)snprintf(p->name, sizeof(p->name), "%s", name);
    p->come = 1ull << rank;
    p->pid_of[rank] = p->pid;
    dcmi_card_step_to(card, DCMI_CARD_MEETING);
}

void dcmi_card_come(dcmi_card *card, int rank, int pid)
{
    card->page.come |= 1ull << rank;
    card->page.pid_of[rank] = pid;
    show(card);
}

void dcmi_card_step_to(dcmi_card *card, dcmi_card_step step)
{
    card->page.step = step;
    card->page.since_ns = dcmi_now_ns();
    show(card);
}
