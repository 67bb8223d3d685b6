/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 (FIPS 180-4) and HMAC-SHA-256 (RFC 2104): how ranks prove over TCP
 * that they know the job's token without sending it.
 */
#ifndef DCMI_SHA256_H
#define DCMI_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DCMI_SHA256_BYTES = 32,
    DCMI_SHA256_BLOCK = 64
};

typedef struct dcmi_sha256 {
    uint32_t h[8];
    uint64_t bytes; /* hashed so far */
    uint8_t block[DCMI_SHA256_BLOCK];
} dcmi_sha256;

void dcmi_sha256_init(dcmi_sha256 *s);
void dcmi_sha256_add(dcmi_sha256 *s, const void *bytes, size_t n);
void dcmi_sha256_end(dcmi_sha256 *s, uint8_t digest[DCMI_SHA256_BYTES]);

typedef struct dcmi_hmac {
    dcmi_sha256 inner;
    uint8_t outer_pad[DCMI_SHA256_BLOCK];
} dcmi_hmac;

void dcmi_hmac_init(dcmi_hmac *m, const void *key, size_t key_bytes);
void dcmi_hmac_add(dcmi_hmac *m, const void *bytes, size_t n);
/* Leaves nothing of the key in *m. */
void dcmi_hmac_end(dcmi_hmac *m, uint8_t mac[DCMI_SHA256_BYTES]);

/* Compare in a time that does not depend on where the bytes differ. */
bool dcmi_equal_secret(const void *a, const void *b, size_t n);

#endif /* DCMI_SHA256_H */
