/* SPDX-License-Identifier: Apache-2.0 */
/* The error record of each thread, and the texts of the statuses. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char record[DCMI_ERR_BYTES];

dcm_status dcmi_err(dcm_status st, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(record, sizeof(record), fmt, ap);
    va_end(ap);
    return st;
}

dcm_status dcmi_err_sys(const char *fmt, ...)
{
    char text[128];
    const int err = errno;
    size_t used;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(record, sizeof(record), fmt, ap);
    va_end(ap);

    used = n < 0 ? 0 : (size_t)n;
    if (used < sizeof(record)) {
        /* The POSIX form: the GNU one returns a pointer instead. */
        if (strerror_r(err, text, sizeof(text)) != 0)
            (void)snprintf(text, sizeof(text), "errno %d", err);
        (void)snprintf(record + used, sizeof(record) - used, ": %s", text);
    }
    errno = err;
    return err == ENOMEM || err == ENOSPC ? DCM_E_NOMEM : DCM_E_SYS;
}

dcm_status dcmi_err_at(dcm_status st, const char *fmt, ...)
{
    char old[DCMI_ERR_BYTES];
    size_t used;
    va_list ap;
    int n;

    memcpy(old, record, sizeof(old));
    va_start(ap, fmt);
    n = vsnprintf(record, sizeof(record), fmt, ap);
    va_end(ap);

    used = n < 0 ? 0 : (size_t)n;
    if (used < sizeof(record))
        (void)snprintf(record + used, sizeof(record) - used, ": %s", old);
    return st;
}

void dcmi_err_clear(void)
{
    record[0] = '\0';
}

const char *dcm_errmsg(void)
{
    return record;
}

const char *dcm_status_str(dcm_status st)
{
    switch (st) {
#define DCM_X(name, value, text)                                               \
    case DCM_##name:                                                           \
        return text;
        DCM_STATUS_MAP(DCM_X)
#undef DCM_X
    default:
        return "unknown status";
    }
}
