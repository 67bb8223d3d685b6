/* SPDX-License-Identifier: Apache-2.0 */
/* NVML, opened for one look and closed again. */
#include "topo/links.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

enum {
    MOST = 64,
    UUID_TEXT = 48,
    CAPABILITY_NVLINK = 2 /* of nvmlDeviceGetP2PStatus; 0 in return: it is so */
};

/* X(member, symbol, arguments) */
#define NVML_MAP(X)                                                            \
    X(init, "nvmlInit_v2", (void))                                             \
    X(end, "nvmlShutdown", (void))                                             \
    X(find, "nvmlDeviceGetHandleByUUID", (const char *uuid, void **device_p))  \
    X(p2p, "nvmlDeviceGetP2PStatus",                                           \
      (void *a, void *b, int capability, int *status_p))

typedef struct nvml {
#define DCMI_X(member, symbol, args) int(*member) args;
    NVML_MAP(DCMI_X)
#undef DCMI_X
} nvml;

static bool resolve(nvml *ml, void *dl)
{
    void *symbol;

#define DCMI_X(member, name, args)                                             \
    symbol = dlsym(dl, name);                                                  \
    if (symbol == NULL)                                                        \
        return false;                                                          \
    memcpy(&ml->member, &symbol, sizeof(symbol));
    NVML_MAP(DCMI_X)
#undef DCMI_X
    return true;
}

/* "GPU-01234567-89ab-cdef-0123-456789abcdef" */
static void spell(char *text, const dcmi_cu_uuid *uuid)
{
    char *at = text + snprintf(text, UUID_TEXT, "GPU");

    for (int i = 0; i < 16; i++) {
        const bool is_cut = i == 0 || i == 4 || i == 6 || i == 8 || i == 10;

        at += snprintf(at, 4, "%s%02x", is_cut ? "-" : "", uuid->bytes[i]);
    }
}

static dcmi_links ask(const nvml *ml, const dcmi_cu_uuid *uuids, int n)
{
    void *devices[MOST];
    char text[UUID_TEXT];
    int joined = 0;
    int pairs = 0;
    int status;

    for (int i = 0; i < n; i++) {
        spell(text, &uuids[i]);
        if (ml->find(text, &devices[i]) != 0)
            return DCMI_LINKS_UNKNOWN;
    }
    for (int i = 0; i < n * n; i++) {
        if (i / n >= i % n || devices[i / n] == devices[i % n])
            continue;
        status = -1;
        if (ml->p2p(devices[i / n], devices[i % n], CAPABILITY_NVLINK,
                    &status) != 0)
            return DCMI_LINKS_UNKNOWN;
        pairs++;
        joined += status == 0;
    }
    if (joined == pairs)
        return DCMI_LINKS_FULL;
    return joined > 0 ? DCMI_LINKS_SOME : DCMI_LINKS_NONE;
}

dcmi_links dcmi_links_look(const dcmi_cu_uuid *uuids, int n)
{
    void *dl = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    dcmi_links links = DCMI_LINKS_UNKNOWN;
    nvml ml;

    if (dl == NULL)
        return DCMI_LINKS_UNKNOWN;
    if (n <= MOST && resolve(&ml, dl) && ml.init() == 0) {
        links = ask(&ml, uuids, n);
        (void)ml.end();
    }
    (void)dlclose(dl);
    return links;
}

const char *dcmi_links_words(dcmi_links links)
{
    switch (links) {
    case DCMI_LINKS_FULL:
        return "NVLink between all pairs";
    case DCMI_LINKS_SOME:
        return "NVLink between some pairs";
    case DCMI_LINKS_NONE:
        return "PCIe";
    case DCMI_LINKS_UNKNOWN:
    default:
        return "links unknown: NVML does not tell";
    }
}
