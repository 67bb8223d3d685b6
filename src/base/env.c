/* SPDX-License-Identifier: Apache-2.0 */
/* The environment table and its readers. */
#include "base/env.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/parse.h"

static const dcmi_env_entry table[] = {
#define DCMI_X(id, name, type, value, text) {name, type, value, text},
    DCMI_ENV_MAP(DCMI_X)
#undef DCMI_X
};

const dcmi_env_entry *dcmi_env_entry_of(dcmi_env id)
{
    return &table[id];
}

const char *dcmi_env_str(dcmi_env id)
{
    const char *v = getenv(table[id].name);

    return v != NULL && v[0] != '\0' ? v : NULL;
}

uint64_t dcmi_env_u64(dcmi_env id, uint64_t fallback, uint64_t max, bool *ok_p)
{
    const char *text = dcmi_env_str(id);
    uint64_t v;

    if (text == NULL)
        return fallback;
    if (!dcmi_parse_u64(text, max, &v)) {
        (void)dcmi_err(DCM_E_INVAL, "%s=\"%s\" is not a number up to %llu",
                       table[id].name, text, (unsigned long long)max);
        *ok_p = false;
        return fallback;
    }
    return v;
}
