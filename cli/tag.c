/* SPDX-License-Identifier: Apache-2.0 */
/* Tagged output: whole lines go out in one write, so that they do not mix. */
#include "tag.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int write_all(int fd, const char *at, size_t n)
{
    while (n > 0) {
        const ssize_t done = write(fd, at, n);

        if (done >= 0) {
            at += done;
            n -= (size_t)done;
        } else if (errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};

            (void)poll(&p, 1, -1);
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

/* Write `n` bytes of the buffer as a line, or as a part of one. */
static int put(tag_stream *s, size_t n, bool is_end)
{
    char text[TAG_LINE + 32];
    int head = 0;

    if (!s->is_inside)
        head = snprintf(text, 32, "[%d] ", s->rank);
    memcpy(text + head, s->line, n);
    n += (size_t)head;
    if (is_end)
        text[n++] = '\n';
    s->is_inside = !is_end;
    return write_all(s->to, text, n);
}

static int put_lines(tag_stream *s)
{
    char *end;
    int err = 0;

    while (err == 0 && (end = memchr(s->line, '\n', s->len)) != NULL) {
        const size_t n = (size_t)(end - s->line);

        err = put(s, n, true);
        s->len -= n + 1;
        memmove(s->line, end + 1, s->len);
    }
    if (err == 0 && s->len == sizeof(s->line)) {
        err = put(s, s->len, false);
        s->len = 0;
    }
    return err;
}

static void shut(tag_stream *s)
{
    (void)close(s->fd);
    s->fd = -1;
}

int tag_pump(tag_stream *s)
{
    const ssize_t n = read(s->fd, s->line + s->len, sizeof(s->line) - s->len);
    int err = 0;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n > 0) {
        s->len += (size_t)n;
        err = put_lines(s);
    } else if (s->len > 0 || s->is_inside) {
        err = put(s, s->len, true); /* a last line without its end */
        s->len = 0;
    }
    if (n <= 0 || err != 0)
        shut(s);
    return err;
}
