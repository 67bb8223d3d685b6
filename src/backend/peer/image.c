/* SPDX-License-Identifier: Apache-2.0 */
/* The image: embedded as data, the build says from where, or a file. */
#include "backend/peer/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/env.h"
#include "base/err.h"

enum {
    MOST_BYTES = 1 << 28
};

#ifdef DCMI_PEER_IMAGE
__asm__(".section .rodata\n"
        ".balign 64\n"
        "dcmi_peer_image_begin:\n"
        ".incbin \"" DCMI_PEER_IMAGE "\"\n"
        ".previous\n");

extern const char dcmi_peer_image_begin[];

static const void *built_in(void)
{
    return dcmi_peer_image_begin;
}
#else
static const void *built_in(void)
{
    return NULL;
}
#endif

bool dcmi_peer_image_is_there(void)
{
    return built_in() != NULL || dcmi_env_str(DCMI_ENV_GPU_IMAGE) != NULL;
}

/* A text ends with a zero. */
static dcm_status read_file(dcmi_peer_image *image, const char *path)
{
    FILE *f = NULL;
    struct stat s;
    size_t bytes;
    char *memory = NULL;
    dcm_status st;

    if (stat(path, &s) != 0) {
        st = dcmi_err_sys("GPU kernels of %s", path);
        goto out;
    }
    /* Before it is opened: a pipe would be waited for. */
    if (!S_ISREG(s.st_mode) || s.st_size <= 0 || s.st_size > MOST_BYTES) {
        st = dcmi_err(DCM_E_INVAL,
                      "GPU kernels of %s: not a file of up to %d bytes", path,
                      MOST_BYTES);
        goto out;
    }
    f = fopen(path, "re");
    if (f == NULL) {
        st = dcmi_err_sys("GPU kernels of %s", path);
        goto out;
    }
    bytes = (size_t)s.st_size;
    memory = calloc(1, bytes + 1);
    if (memory == NULL)
        st = dcmi_err(DCM_E_NOMEM, "GPU kernels of %s: %zu bytes", path, bytes);
    else if (fread(memory, 1, bytes, f) != bytes)
        st = dcmi_err_sys("GPU kernels of %s", path);
    else
        st = DCM_OK;
    if (st == DCM_OK)
        *image = (dcmi_peer_image){memory, memory};
    else
        free(memory);
out:
    if (f != NULL)
        (void)fclose(f);
    return st;
}

dcm_status dcmi_peer_image_get(dcmi_peer_image *image)
{
    const char *path = dcmi_env_str(DCMI_ENV_GPU_IMAGE);

    if (path != NULL)
        return read_file(image, path);
    if (built_in() == NULL)
        return dcmi_err(DCM_E_UNSUP, "built without GPU kernels");
    *image = (dcmi_peer_image){built_in(), NULL};
    return DCM_OK;
}

void dcmi_peer_image_put(dcmi_peer_image *image)
{
    free(image->memory);
    *image = (dcmi_peer_image){NULL, NULL};
}
