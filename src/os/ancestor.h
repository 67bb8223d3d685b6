/* SPDX-License-Identifier: Apache-2.0 */
/* The processes that this one descends from. */
#ifndef DCMI_ANCESTOR_H
#define DCMI_ANCESTOR_H

/*
 * Process id of the nearest ancestor whose command name (as in /proc/PID/comm,
 * at most 15 characters) is `name`; 0: none that can be seen.
 */
int dcmi_ancestor_named(const char *name);

#endif /* DCMI_ANCESTOR_H */
