/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The error record: one fixed buffer a thread, so that reporting cannot fail.
 * The function that decides a failure writes it; callers pass the status on or
 * put context in front.
 */
#ifndef DCMI_ERR_H
#define DCMI_ERR_H

#include <devcomm/devcomm.h>

#include "base/compiler.h"

enum {
    DCMI_ERR_BYTES = 1024
};

/* Set this thread's message and return `st`. */
dcm_status dcmi_err(dcm_status st, const char *fmt, ...) DCMI_PRINTF(2, 3);

/* The same with ": strerror(errno)" behind it; ENOMEM becomes E_NOMEM. */
dcm_status dcmi_err_sys(const char *fmt, ...) DCMI_PRINTF(1, 2);

/* Put "context: " in front of the message that is there; returns `st`. */
dcm_status dcmi_err_at(dcm_status st, const char *fmt, ...) DCMI_PRINTF(2, 3);

void dcmi_err_clear(void);

#endif /* DCMI_ERR_H */
