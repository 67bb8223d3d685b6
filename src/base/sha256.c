/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 and HMAC, plain C: a few hundred bytes a group are hashed. */
#include "base/sha256.h"

#include <string.h>

/* Fractional parts of the cube roots of the first 64 primes. */
static const uint32_t k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
    0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
    0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

static uint32_t load(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 |
           (uint32_t)at[2] << 8 | at[3];
}

static void store(uint8_t *at, uint32_t v)
{
    at[0] = (uint8_t)(v >> 24);
    at[1] = (uint8_t)(v >> 16);
    at[2] = (uint8_t)(v >> 8);
    at[3] = (uint8_t)v;
}

static void schedule(uint32_t w[64], const uint8_t *block)
{
    for (int i = 0; i < 16; i++)
        w[i] = load(block + (size_t)4 * (size_t)i);
    for (int i = 16; i < 64; i++) {
        const uint32_t a = w[i - 15];
        const uint32_t b = w[i - 2];

        w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[i - 7] +
               (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
}

static void compress(uint32_t h[8], const uint8_t *block)
{
    uint32_t w[64];
    uint32_t v[8]; /* a .. h of the standard */

    schedule(w, block);
    memcpy(v, h, sizeof(v));
    for (int i = 0; i < 64; i++) {
        const uint32_t s1 =
            rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
        const uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        const uint32_t t1 = v[7] + s1 + choice + k[i] + w[i];
        const uint32_t s0 =
            rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
        const uint32_t most = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);

        memmove(v + 1, v, 7 * sizeof(v[0]));
        v[4] += t1;
        v[0] = t1 + s0 + most;
    }
    for (int i = 0; i < 8; i++)
        h[i] += v[i];
}

void dcmi_sha256_init(dcmi_sha256 *s)
{
    /* Fractional parts of the square roots of the first 8 primes. */
    static const uint32_t h[8] = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
    };

    memcpy(s->h, h, sizeof(s->h));
    s->bytes = 0;
}

void dcmi_sha256_add(dcmi_sha256 *s, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;

    while (n > 0) {
        const size_t used = (size_t)(s->bytes % DCMI_SHA256_BLOCK);
        const size_t room = DCMI_SHA256_BLOCK - used;
        const size_t part = n < room ? n : room;

        memcpy(s->block + used, at, part);
        s->bytes += part;
        at += part;
        n -= part;
        if (part == room)
            compress(s->h, s->block);
    }
}

void dcmi_sha256_end(dcmi_sha256 *s, uint8_t digest[DCMI_SHA256_BYTES])
{
    static const uint8_t padding[DCMI_SHA256_BLOCK] = {0x80};
    const uint64_t bits = s->bytes * 8;
    const size_t used = (size_t)(s->bytes % DCMI_SHA256_BLOCK);
    uint8_t length[8];

    store(length, (uint32_t)(bits >> 32));
    store(length + 4, (uint32_t)bits);
    dcmi_sha256_add(s, padding,
                    (used < 56 ? 56 : DCMI_SHA256_BLOCK + 56) - used);
    dcmi_sha256_add(s, length, sizeof(length));
    for (int i = 0; i < 8; i++)
        store(digest + (size_t)4 * (size_t)i, s->h[i]);
}

/* Volatile: the compiler must not leave these stores out. */
static void wipe(uint8_t bytes[DCMI_SHA256_BLOCK])
{
    volatile uint8_t *at = bytes;

    for (size_t i = 0; i < DCMI_SHA256_BLOCK; i++)
        at[i] = 0;
}

void dcmi_hmac_init(dcmi_hmac *m, const void *key, size_t key_bytes)
{
    uint8_t pad[DCMI_SHA256_BLOCK] = {0};

    if (key_bytes > sizeof(pad)) {
        dcmi_sha256_init(&m->inner);
        dcmi_sha256_add(&m->inner, key, key_bytes);
        dcmi_sha256_end(&m->inner, pad);
    } else if (key_bytes > 0) {
        memcpy(pad, key, key_bytes);
    }
    for (size_t i = 0; i < sizeof(pad); i++) {
        m->outer_pad[i] = pad[i] ^ 0x5c;
        pad[i] ^= 0x36;
    }
    dcmi_sha256_init(&m->inner);
    dcmi_sha256_add(&m->inner, pad, sizeof(pad));
    wipe(pad);
}

void dcmi_hmac_add(dcmi_hmac *m, const void *bytes, size_t n)
{
    dcmi_sha256_add(&m->inner, bytes, n);
}

void dcmi_hmac_end(dcmi_hmac *m, uint8_t mac[DCMI_SHA256_BYTES])
{
    uint8_t digest[DCMI_SHA256_BYTES];

    dcmi_sha256_end(&m->inner, digest);
    dcmi_sha256_init(&m->inner);
    dcmi_sha256_add(&m->inner, m->outer_pad, sizeof(m->outer_pad));
    dcmi_sha256_add(&m->inner, digest, sizeof(digest));
    dcmi_sha256_end(&m->inner, mac);
    wipe(m->outer_pad);
}

bool dcmi_equal_secret(const void *a, const void *b, size_t n)
{
    const volatile uint8_t *x = a;
    const volatile uint8_t *y = b;
    unsigned differs = 0;

    for (size_t i = 0; i < n; i++)
        differs |= (unsigned)(x[i] ^ y[i]);
    return differs == 0;
}
