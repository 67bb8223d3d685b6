/* SPDX-License-Identifier: Apache-2.0 */
/* The version of these headers; dcm_version() gives that of the library. */
#ifndef DCM_VERSION_H
#define DCM_VERSION_H

#define DCM_VERSION_MAJOR 0
#define DCM_VERSION_MINOR 1
#define DCM_VERSION_PATCH 0

#define DCM_VERSION                                                            \
    (DCM_VERSION_MAJOR * 10000 + DCM_VERSION_MINOR * 100 + DCM_VERSION_PATCH)

#endif /* DCM_VERSION_H */
