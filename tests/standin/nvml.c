/* SPDX-License-Identifier: Apache-2.0 */
/* libnvidia-ml.so.1 for tests: the stand-in's devices, joined or not. */
#include <stdlib.h>

#define API __attribute__((visibility("default")))

API int nvmlInit_v2(void);
API int nvmlShutdown(void);
API int nvmlDeviceGetHandleByUUID(const char *uuid, void **device_p);
API int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **device_p);
API int nvmlDeviceGetP2PStatus(void *a, void *b, int capability, int *status_p);

static char devices[256];

int nvmlInit_v2(void)
{
    return getenv("STANDIN_NO_NVML") != NULL ? 1 : 0;
}

int nvmlShutdown(void)
{
    return 0;
}

/* Its last byte is the device's number. */
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device_p)
{
    static const char like[] = "GPU-7374616e-642d-696e-2064-6576696365";
    size_t i = 0;

    while (i < sizeof(like) - 1 && uuid[i] == like[i])
        i++;
    if (i < sizeof(like) - 1)
        return 1;
    *device_p = &devices[strtoul(uuid + i, NULL, 16) & 255];
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **device_p)
{
    if (i > 1)
        return 2;
    *device_p = &devices[i];
    return 0;
}

int nvmlDeviceGetP2PStatus(void *a, void *b, int capability, int *status_p)
{
    if (capability != 2 || a == b)
        return 1;
    *status_p = getenv("STANDIN_NO_NVLINK") != NULL ? 1 : 0;
    return 0;
}
