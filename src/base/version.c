/* SPDX-License-Identifier: Apache-2.0 */
/* The version of the library that is loaded. */
#include <devcomm/devcomm.h>

int dcm_version(void)
{
    return DCM_VERSION;
}
