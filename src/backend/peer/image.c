/* SPDX-License-Identifier: Apache-2.0 */
/* The image: embedded as data, the build says from where, or a file. */
#include "backend/peer/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"
#include "base/err.h"
#include "os/sock.h"

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
static dcm_status read_all(char *to, size_t bytes, int fd, const char *path)
{
    size_t got = 0;

    while (got < bytes) {
        const ssize_t n = read(fd, to + got, bytes - got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return dcmi_err_sys("GPU kernels of %s", path);
        if (n == 0)
            return dcmi_err(DCM_E_SYS, "GPU kernels of %s: %zu bytes of %zu",
                            path, got, bytes);
        got += (size_t)n;
    }
    to[bytes] = '\0';
    return DCM_OK;
}

static dcm_status read_file(dcmi_peer_image *image, const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat s;
    char *memory;
    dcm_status st;

    if (fd < 0 || fstat(fd, &s) != 0) {
        st = dcmi_err_sys("GPU kernels of %s", path);
        goto out;
    }
    if (!S_ISREG(s.st_mode) || s.st_size <= 0 || s.st_size > MOST_BYTES) {
        st = dcmi_err(DCM_E_INVAL,
                      "GPU kernels of %s: not a file of up to %d "
                      "bytes",
                      path, MOST_BYTES);
        goto out;
    }
    memory = malloc((size_t)s.st_size + 1);
    if (memory == NULL) {
        st = dcmi_err(DCM_E_NOMEM, "GPU kernels of %s: %lld bytes", path,
                      (long long)s.st_size);
        goto out;
    }
    st = read_all(memory, (size_t)s.st_size, fd, path);
    if (st == DCM_OK)
        *image = (dcmi_peer_image){memory, memory};
    else
        free(memory);
out:
    dcmi_close(fd);
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
