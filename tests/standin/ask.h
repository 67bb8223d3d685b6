/* SPDX-License-Identifier: Apache-2.0 */
/* What tests ask of the stand-in. */
#ifndef DCM_STANDIN_ASK_H
#define DCM_STANDIN_ASK_H

#include "gpu/ranks.h"
#include "standin/standin.h"

/* A function of the library by its name, into a pointer to it. */
void ask_find(void *fn_p, const char *name);

standin_counts ask_count(void);
/* All counts are as they were. */
void ask_must_equal(const standin_counts *was, const char *when);

void ask_hold(dcmi_cu_stream stream);
void ask_let_go(void);

#endif /* DCM_STANDIN_ASK_H */
