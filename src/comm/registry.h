/* SPDX-License-Identifier: Apache-2.0 */
/* The backends of this process. */
#ifndef DCMI_REGISTRY_H
#define DCMI_REGISTRY_H

#include <devcomm/backend.h>

enum {
    DCMI_MAX_BACKENDS = 16
};

/* Backend `i`, in order of preference on equal scores; NULL past the last. */
const dcm_backend_ops *dcmi_backend_nth(size_t i);
const dcm_backend_ops *dcmi_backend_find(const char *name);

/* Load what DEVCOMM_BACKEND_PATH names, once; the outcome is remembered. */
dcm_status dcmi_backend_load_env(void);

#endif /* DCMI_REGISTRY_H */
