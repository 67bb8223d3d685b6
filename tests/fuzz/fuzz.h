/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzz targets share.  A target is one file with fuzz_one(); with libFuzzer
 * it is driven by that, in every other build by replay.c, over the kept inputs.
 */
#ifndef DCM_TEST_FUZZ_H
#define DCM_TEST_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define fuzz_require(condition)                                                \
    do {                                                                       \
        if (!(condition))                                                      \
            abort();                                                           \
    } while (0)

/* The input, used up from its front. */
typedef struct fuzz_input {
    const uint8_t *at;
    size_t left;
} fuzz_input;

/* Up to `bytes` of it; the rest of `to` becomes zero. */
static inline void fuzz_take(fuzz_input *in, void *to, size_t bytes)
{
    const size_t n = in->left < bytes ? in->left : bytes;

    memset(to, 0, bytes);
    if (n > 0)
        memcpy(to, in->at, n);
    in->at += n;
    in->left -= n;
}

static inline uint8_t fuzz_byte(fuzz_input *in)
{
    uint8_t v;

    fuzz_take(in, &v, 1);
    return v;
}

/* Up to the next zero byte, at most `bytes` - 1, ended by one. */
static inline const char *fuzz_text(fuzz_input *in, char *to, size_t bytes)
{
    size_t n = 0;

    while (n + 1 < bytes && in->left > 0 && *in->at != '\0') {
        to[n++] = (char)*in->at++;
        in->left--;
    }
    if (in->left > 0 && *in->at == '\0') {
        in->at++;
        in->left--;
    }
    to[n] = '\0';
    return to;
}

/* A socket from which up to `bytes` of the input can be read, then its end. */
static inline int fuzz_socket(fuzz_input *in, size_t bytes)
{
    const size_t n = in->left < bytes ? in->left : bytes;
    int pair[2];

    fuzz_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                            0, pair) == 0);
    if (n > 0)
        fuzz_require(write(pair[1], in->at, n) == (ssize_t)n);
    in->at += n;
    in->left -= n;
    fuzz_require(shutdown(pair[1], SHUT_WR) == 0);
    (void)close(pair[1]);
    return pair[0];
}

#endif /* DCM_TEST_FUZZ_H */
