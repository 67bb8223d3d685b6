/* SPDX-License-Identifier: Apache-2.0 */
/* Copies with vectors, of any alignment.  Included after gnu.h. */
#ifndef DCMI_REDUCE_COPY_H
#define DCMI_REDUCE_COPY_H

/* Shorter copies are not worth an aligned destination. */
enum {
    COPY_ALIGN_FROM = 8 * VEC_BYTES
};

/* Four vectors, and all loads before the first store. */
DCMI_INLINE void copy_four(unsigned char *to, const unsigned char *from,
                           bool is_stream)
{
    vec x[4];

    VEC_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = load_vec(from + i * VEC_BYTES);
    VEC_UNROLL
    for (int i = 0; i < 4; i++) {
        if (is_stream)
            stream_vec(to + i * VEC_BYTES, x[i]);
        else
            store_vec(to + i * VEC_BYTES, x[i]);
    }
}

static void copy(void *dst, const void *src, size_t bytes)
{
    unsigned char *to = dst;
    const unsigned char *from = src;
    size_t at = 0;
    vec last;

    if (bytes < VEC_BYTES) {
        if (bytes > 0)
            store_part(to, load_part(from, bytes), bytes);
        return;
    }
    /* The last vector overlaps those before it, and so does the first one. */
    last = load_vec(from + bytes - VEC_BYTES);
    if (bytes >= COPY_ALIGN_FROM) {
        store_vec(to, load_vec(from));
        at = VEC_BYTES - (uintptr_t)to % VEC_BYTES;
    }
    for (; bytes - at >= 4 * VEC_BYTES; at += 4 * VEC_BYTES)
        copy_four(to + at, from + at, false);
    for (; bytes - at > VEC_BYTES; at += VEC_BYTES)
        store_vec(to + at, load_vec(from + at));
    store_vec(to + bytes - VEC_BYTES, last);
}

/* Whole lines with non-temporal stores, what is before and behind without. */
static void copy_stream(void *dst, const void *src, size_t bytes)
{
    unsigned char *to = dst;
    const unsigned char *from = src;
    size_t at = -(uintptr_t)to % DCMI_LINE;

    if (bytes < 2 * DCMI_LINE) {
        copy(dst, src, bytes);
        return;
    }
    copy(to, from, at);
    for (; bytes - at >= 4 * VEC_BYTES; at += 4 * VEC_BYTES)
        copy_four(to + at, from + at, true);
    while (bytes - at >= DCMI_LINE) {
        for (const size_t end = at + DCMI_LINE; at < end; at += VEC_BYTES)
            stream_vec(to + at, load_vec(from + at));
    }
    copy(to + at, from + at, bytes - at);
}

static void warm(void *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += DCMI_LINE)
        __builtin_prefetch((const unsigned char *)at + i, 1);
}

#endif /* DCMI_REDUCE_COPY_H */
