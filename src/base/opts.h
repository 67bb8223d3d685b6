/* SPDX-License-Identifier: Apache-2.0 */
/* Structs that begin with their size: older and newer callers, one rule. */
#ifndef DCMI_OPTS_H
#define DCMI_OPTS_H

#include <devcomm/devcomm.h>

/*
 * Copy a caller's struct into ours of `size` bytes, whose first field is a
 * size_t.  NULL gives all defaults (zeros).  An older, shorter struct gets
 * zeros for what it lacks; a newer, longer one is accepted only if what we do
 * not know is all zero, else E_ABI.  A size under sizeof(size_t) is E_INVAL.
 */
dcm_status dcmi_opts_copy(void *dst, size_t size, const void *src,
                          const char *what);

#endif /* DCMI_OPTS_H */
