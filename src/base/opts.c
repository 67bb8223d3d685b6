/* SPDX-License-Identifier: Apache-2.0 */
/* The one rule for structs that begin with their size. */
#include "base/opts.h"

#include <string.h>

#include "base/err.h"

enum {
    SANE_BYTES = 4096
}; /* no options struct is larger: a wild size */

dcm_status dcmi_opts_copy(void *dst, size_t size, const void *src,
                          const char *what)
{
    const unsigned char *bytes = src;
    size_t theirs;

    memset(dst, 0, size);
    if (src == NULL)
        return DCM_OK;

    memcpy(&theirs, src, sizeof(theirs));
    if (theirs < sizeof(size_t) || theirs > SANE_BYTES)
        return dcmi_err(DCM_E_INVAL, "%s: size %zu is not set or wild", what,
                        theirs);
    for (size_t i = size; i < theirs; i++) {
        if (bytes[i] != 0)
            return dcmi_err(DCM_E_ABI,
                            "%s: byte %zu is set, and this library (%d) knows "
                            "only %zu bytes",
                            what, i, DCM_VERSION, size);
    }
    memcpy(dst, src, theirs < size ? theirs : size);
    return DCM_OK;
}
