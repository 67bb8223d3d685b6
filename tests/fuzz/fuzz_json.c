/* SPDX-License-Identifier: Apache-2.0 */
/* Results of `devcomm bench`, as --compare reads them. */
#include "bench/json.h"
#include "fuzz/fuzz.h"

static void look(const dcmi_json *json)
{
    (void)dcmi_json_num_of(json, "bytes", 0);
    (void)dcmi_json_str_of(json, "op", "");
    (void)dcmi_json_bool_of(json, "ok", false);
    for (const dcmi_json *j = json->first; j != NULL; j = j->next)
        look(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dcmi_json *json;

    if (dcmi_json_parse(&json, (const char *)data, bytes) == DCM_OK) {
        look(json);
        dcmi_json_free(json);
    }
    return 0;
}
