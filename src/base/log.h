/* SPDX-License-Identifier: Apache-2.0 */
/* Log messages: to the caller's function, or nowhere.  Never in a hot path. */
#ifndef DCMI_LOG_H
#define DCMI_LOG_H

#include "base/compiler.h"

void dcmi_log(int level, const char *fmt, ...) DCMI_PRINTF(2, 3);

#endif /* DCMI_LOG_H */
