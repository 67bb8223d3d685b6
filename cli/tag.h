/* SPDX-License-Identifier: Apache-2.0 */
/* Output of ranks, line by line with the rank in front. */
#ifndef DEVCOMM_CLI_TAG_H
#define DEVCOMM_CLI_TAG_H

#include <stdbool.h>
#include <stddef.h>

enum {
    TAG_LINE = 4096
};

typedef struct tag_stream {
    int fd; /* what the rank writes to; -1: closed */
    int to;
    int rank;
    bool is_inside; /* of a line longer than the buffer */
    size_t len;
    char line[TAG_LINE];
} tag_stream;

/*
 * Pass on what is there; closes the stream at its end.  Returns 0, or the errno
 * of a failed write: then the stream is closed too, so that the rank learns of
 * it by its own next write.
 */
int tag_pump(tag_stream *s);

#endif /* DEVCOMM_CLI_TAG_H */
