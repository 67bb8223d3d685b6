/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What send and recv go through: a channel from each rank to each, itself included,
 * apart from the epochs and rings of the collectives.  message.c drives them.
 *
 * Layout          A channel is, in the sender's region, 16 lines that carry their
 *                 flags and the count `staged`; behind the sender's rings, a ring
 *                 of PIECES pieces, which takes memory with the first message that
 *                 needs it; in the receiver's region, the counts `taken` (lines)
 *                 and `drained` (pieces).  All count from the channel's beginning.
 * Writers and     Lines, pieces and `staged`: the sender.  `taken` and `drained`:
 * readers         the receiver.
 * Ordering        Line n has flag n << 32 | what it says.  A message that fits the
 *                 lines is written into them, the flags last.  Any other is one
 *                 line, with its count and with `staged` as it was then, and pieces;
 *                 the ring has its memory before that line is posted.  The sender
 *                 writes line n when `taken` has reached n - 16, and piece k when
 *                 `drained` has reached k - PIECES + 1: the receiver has read what
 *                 lay there, since it counts after it has copied (release), and the
 *                 sender reads the count (acquire) before it writes.
 * Wrap            A line can hold number n - 16 or n alone when n is awaited, so 32
 *                 bits compared for equality are enough; 0, of a line never
 *                 written, is awaited first after 2^32 lines.  Counts have 64 bits.
 * Reset           None.
 * When a peer     Waits go through the team's watch, for the ranks of all messages
 * dies            that are not done.  What a rank posted before it died arrives.
 */
#include <string.h>

#include "backend/cpu/ctx.h"
#include "base/compiler.h"
#include "base/err.h"

enum {
    LINES_BYTES = DCMI_PAIR_LINES * DCMI_LINE_DATA, /* longer ones: pieces */
    /* Beyond what caches keep, dst is written past them. */
    STREAM_MIN = 8 * 1024 * 1024,
};

/* The flag's low half: bit 31 tells mail; type; count of a mail. */
enum {
    DTYPE_AT = 16
};

typedef struct announcement {
    uint64_t count;
    uint64_t staged;
} announcement;

static size_t bytes_of(const dcm_coll *coll)
{
    return coll->count * dcm_dtype_bytes(coll->dtype);
}

static uint64_t flag_of(uint64_t line, const dcm_coll *coll)
{
    const uint32_t type = (uint32_t)coll->dtype << DTYPE_AT;

    return line << 32 | (bytes_of(coll) <= LINES_BYTES
                             ? DCMI_MAIL_BIT | type | (uint32_t)coll->count
                             : type);
}

static size_t lines_of(size_t bytes)
{
    return bytes <= DCMI_LINE_DATA
               ? 1
               : (bytes + DCMI_LINE_DATA - 1) / DCMI_LINE_DATA;
}

static dcmi_line *line_at(dcmi_pair *pair, uint64_t n)
{
    return &pair->line[n % DCMI_PAIR_LINES];
}

static unsigned char *piece_at(const dcmi_cpu *c, int from, int to, uint64_t k)
{
    return (unsigned char *)c->region[from] + c->pairs_offset +
           ((size_t)to * DCMI_PAIR_PIECES + k % DCMI_PAIR_PIECES) *
               c->pair_piece;
}

static size_t piece_bytes(const dcmi_cpu *c, size_t left)
{
    return left < c->pair_piece ? left : c->pair_piece;
}

/* ---- sending -------------------------------------------------------------- */

/* Whether the receiver has left room for `more` beyond `used`. */
static bool has_room(const _Atomic uint64_t *count, uint64_t *known,
                     uint64_t used, uint64_t more, uint64_t room)
{
    if (DCMI_LIKELY(used + more - *known <= room))
        return true;
    *known = atomic_load_explicit(count, memory_order_acquire);
    return used + more - *known <= room;
}

/* The memory of a channel's pieces. */
static DCMI_COLD dcm_status open_pieces(dcmi_cpu *c, int to)
{
    const size_t offset = (size_t)c->rank * c->region_bytes + c->pairs_offset;
    const size_t bytes = DCMI_PAIR_PIECES * c->pair_piece;
    const dcm_status st =
        dcmi_segment_reserve(c->segment, offset + (size_t)to * bytes, bytes);

    if (st != DCM_OK)
        return dcmi_team_fail(c->team, st, c->rank);
    c->to[to].is_open = true;
    return DCM_OK;
}

static void post_mail(dcmi_pair *pair, dcmi_end *end, const dcm_coll *coll)
{
    const unsigned char *from = coll->src;
    size_t left = bytes_of(coll);

    for (size_t n = lines_of(left); n > 0; n--) {
        const size_t here = left < DCMI_LINE_DATA ? left : DCMI_LINE_DATA;
        dcmi_line *line;

        end->lines++;
        line = line_at(pair, end->lines);
        if (here > 0)
            memcpy(line->data, from, here);
        atomic_store_explicit(&line->flag, flag_of(end->lines, coll),
                              memory_order_release);
        from += here;
        left -= here;
    }
}

static void post_piece(dcmi_cpu *c, int to, const dcm_coll *coll)
{
    dcmi_end *end = &c->to[to];
    const size_t bytes = piece_bytes(c, bytes_of(coll) - end->at);
    unsigned char *slot = piece_at(c, c->rank, to, end->pieces);
    const unsigned char *from = (const unsigned char *)coll->src + end->at;

    if (c->is_far) {
        c->simd->copy_stream(slot, from, bytes);
        dcmi_stream_fence();
    } else {
        c->simd->copy(slot, from, bytes);
    }
    end->at += bytes;
    end->pieces++;
    atomic_store_explicit(&c->region[c->rank]->pair[to].staged, end->pieces,
                          memory_order_release);
}

/* Tell of the message; with it goes the first piece, so that one look finds both. */
static void announce(dcmi_cpu *c, int to, const dcm_coll *coll)
{
    dcmi_pair *pair = &c->region[c->rank]->pair[to];
    dcmi_end *end = &c->to[to];
    dcmi_line *line = line_at(pair, end->lines + 1);
    announcement a = {.count = coll->count};

    if (has_room(&c->region[to]->pair[c->rank].drained, &end->pieces_known,
                 end->pieces, 1, DCMI_PAIR_PIECES))
        post_piece(c, to, coll);
    a.staged = end->pieces;
    memcpy(line->data, &a, sizeof(a));
    end->lines++;
    atomic_store_explicit(&line->flag, flag_of(end->lines, coll),
                          memory_order_release);
    end->is_announced = true;
}

dcm_status dcmi_cpu_send_some(dcmi_cpu *c, const dcm_coll *coll, bool *moved_p,
                              bool *done_p)
{
    const int to = coll->root;
    const dcmi_pair *theirs = &c->region[to]->pair[c->rank];
    dcmi_pair *ours = &c->region[c->rank]->pair[to];
    dcmi_end *end = &c->to[to];
    const size_t bytes = bytes_of(coll);
    const bool is_mail = bytes <= LINES_BYTES;
    dcm_status st = DCM_OK;

    if (!end->is_announced) {
        if (!has_room(&theirs->taken, &end->lines_known, end->lines,
                      is_mail ? lines_of(bytes) : 1, DCMI_PAIR_LINES))
            return DCM_OK;
        if (is_mail) {
            post_mail(ours, end, coll);
            *done_p = true;
        } else {
            if (!end->is_open)
                st = open_pieces(c, to);
            if (st != DCM_OK)
                return st;
            announce(c, to, coll);
        }
    } else if (has_room(&theirs->drained, &end->pieces_known, end->pieces, 1,
                        DCMI_PAIR_PIECES)) {
        post_piece(c, to, coll);
    } else {
        return DCM_OK;
    }
    dcmi_bells_ring(&c->team->shared->bells, c->nranks);
    *moved_p = true;
    *done_p = *done_p || end->at == bytes;
    return DCM_OK;
}

/* ---- receiving ------------------------------------------------------------ */

static DCMI_COLD dcm_status mismatch(dcmi_cpu *c, const dcm_coll *coll,
                                     uint64_t flag, uint64_t count)
{
    const uint32_t type = (uint32_t)flag >> DTYPE_AT & 15;
    char name[64];

    return dcmi_team_fail(
        c->team,
        dcmi_err(DCM_E_MISMATCH,
                 "%s sends %llu %s, where this rank %d receives %zu %s",
                 dcmi_group_name_rank(c->team->group, coll->root, name,
                                      sizeof(name)),
                 (unsigned long long)count, dcm_dtype_str((dcm_dtype)type),
                 c->rank, coll->count, dcm_dtype_str(coll->dtype)),
        coll->root);
}

/* Let the sender have the lines again. */
static void give_lines(dcmi_cpu *c, int from)
{
    atomic_store_explicit(&c->region[c->rank]->pair[from].taken,
                          c->from[from].lines, memory_order_release);
    dcmi_bells_ring(&c->team->shared->bells, c->nranks);
}

/* A message in lines, of which the first is there: all or nothing. */
static bool take_mail(dcmi_cpu *c, const dcm_coll *coll)
{
    dcmi_pair *theirs = &c->region[coll->root]->pair[c->rank];
    dcmi_end *end = &c->from[coll->root];
    const size_t n = lines_of(bytes_of(coll));
    const dcmi_line *last = line_at(theirs, end->lines + n);
    unsigned char *to = coll->dst;
    size_t left = bytes_of(coll);

    for (size_t i = 2; i <= n; i++)
        __builtin_prefetch(line_at(theirs, end->lines + i));
    /* Written last, so all are there with it. */
    if (atomic_load_explicit(&last->flag, memory_order_acquire) !=
        flag_of(end->lines + n, coll))
        return false;
    for (size_t i = 0; i < n; i++) {
        const size_t here = left < DCMI_LINE_DATA ? left : DCMI_LINE_DATA;

        end->lines++;
        if (here > 0)
            memcpy(to, line_at(theirs, end->lines)->data, here);
        to += here;
        left -= here;
    }
    give_lines(c, coll->root);
    return true;
}

static void take_piece(dcmi_cpu *c, const dcm_coll *coll)
{
    dcmi_end *end = &c->from[coll->root];
    const size_t bytes = bytes_of(coll);
    const size_t here = piece_bytes(c, bytes - end->at);
    const unsigned char *slot = piece_at(c, coll->root, c->rank, end->pieces);
    unsigned char *to = (unsigned char *)coll->dst + end->at;

    if (bytes >= STREAM_MIN)
        c->simd->copy_stream(to, slot, here);
    else
        c->simd->copy(to, slot, here);
    end->at += here;
    end->pieces++;
    if (bytes >= STREAM_MIN && end->at == bytes)
        dcmi_stream_fence();
    atomic_store_explicit(&c->region[c->rank]->pair[coll->root].drained,
                          end->pieces, memory_order_release);
    dcmi_bells_ring(&c->team->shared->bells, c->nranks);
}

/* The channel's next line, when it is there. */
static dcm_status take_line(dcmi_cpu *c, const dcm_coll *coll, bool *moved_p,
                            bool *done_p)
{
    dcmi_pair *theirs = &c->region[coll->root]->pair[c->rank];
    dcmi_end *end = &c->from[coll->root];
    const dcmi_line *line = line_at(theirs, end->lines + 1);
    const uint64_t flag =
        atomic_load_explicit(&line->flag, memory_order_acquire);
    announcement a;

    if (flag >> 32 != (uint32_t)(end->lines + 1))
        return DCM_OK;
    if ((flag & DCMI_MAIL_BIT) != 0) {
        if (DCMI_UNLIKELY(flag != flag_of(end->lines + 1, coll)))
            return mismatch(c, coll, flag, flag & ((1u << DTYPE_AT) - 1));
        *done_p = take_mail(c, coll);
        *moved_p = *moved_p || *done_p;
        return DCM_OK;
    }
    memcpy(&a, line->data, sizeof(a));
    if (DCMI_UNLIKELY(flag != flag_of(end->lines + 1, coll) ||
                      a.count != coll->count))
        return mismatch(c, coll, flag, a.count);
    if (!end->is_open) {
        dcmi_segment_touch(c->segment,
                           (size_t)(piece_at(c, coll->root, c->rank, 0) -
                                    (unsigned char *)c->region[0]),
                           DCMI_PAIR_PIECES * c->pair_piece);
        end->is_open = true;
    }
    end->lines++;
    end->pieces_known = a.staged;
    end->is_announced = true;
    give_lines(c, coll->root);
    *moved_p = true;
    return DCM_OK;
}

dcm_status dcmi_cpu_recv_some(dcmi_cpu *c, const dcm_coll *coll, bool *moved_p,
                              bool *done_p)
{
    const int from = coll->root;
    dcmi_end *end = &c->from[from];
    dcm_status st;

    if (!end->is_announced) {
        st = take_line(c, coll, moved_p, done_p);
        if (st != DCM_OK || !end->is_announced)
            return st;
    }
    if (end->pieces_known == end->pieces)
        end->pieces_known = atomic_load_explicit(
            &c->region[from]->pair[c->rank].staged, memory_order_acquire);
    if (end->pieces_known == end->pieces)
        return DCM_OK;
    take_piece(c, coll);
    *moved_p = true;
    *done_p = end->at == bytes_of(coll);
    return DCM_OK;
}
