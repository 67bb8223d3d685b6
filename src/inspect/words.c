/* SPDX-License-Identifier: Apache-2.0 */
/* Times, ranks, operations and processes in words. */
#include "inspect/words.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"

const char *dcmi_say_time(char text[DCMI_WORDS], uint64_t ns)
{
    const double s = (double)ns / 1e9;

    if (s < 1.0)
        (void)snprintf(text, DCMI_WORDS, "%.0f ms", s * 1e3);
    else if (s < 120.0)
        (void)snprintf(text, DCMI_WORDS, "%.1f s", s);
    else if (s < 7200.0)
        (void)snprintf(text, DCMI_WORDS, "%.1f min", s / 60.0);
    else
        (void)snprintf(text, DCMI_WORDS, "%.1f h", s / 3600.0);
    return text;
}

const char *dcmi_say_bytes(char text[DCMI_WORDS], uint64_t count,
                           dcm_dtype dtype)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double v = (double)count * (double)dcm_dtype_bytes(dtype);
    size_t unit = 0;

    for (; v >= 1024 && unit < DCMI_ARRAY_LEN(units) - 1; unit++)
        v /= 1024;
    (void)snprintf(text, DCMI_WORDS, "%.4g %s", v, units[unit]);
    return text;
}

const char *dcmi_say_since(char text[DCMI_WORDS], uint64_t then, uint64_t now)
{
    if (then != 0)
        return dcmi_say_time(text, now > then ? now - then : 0);
    (void)snprintf(text, DCMI_WORDS, "an unknown time");
    return text;
}

/* Where the run of bits that begins at `first` ends. */
static int run_end(uint64_t ranks, int first)
{
    int last = first;

    while (last + 1 < 64 && (ranks >> (last + 1) & 1) != 0)
        last++;
    return last;
}

const char *dcmi_say_list(char text[DCMI_WORDS], uint64_t ranks)
{
    size_t used = 0;

    (void)snprintf(text, DCMI_WORDS, "-");
    for (int r = 0; r < 64 && used < DCMI_WORDS; r++) {
        const char *comma = used > 0 ? "," : "";
        const int last = run_end(ranks, r);

        if ((ranks >> r & 1) == 0)
            continue;
        if (last > r)
            used += (size_t)snprintf(text + used, DCMI_WORDS - used, "%s%d%s%d",
                                     comma, r, last > r + 1 ? "-" : ",", last);
        else
            used += (size_t)snprintf(text + used, DCMI_WORDS - used, "%s%d",
                                     comma, r);
        r = last;
    }
    return text;
}

const char *dcmi_say_ranks(char text[DCMI_WORDS], uint64_t ranks)
{
    const int n = __builtin_popcountll(ranks);
    char list[DCMI_WORDS];
    size_t used;
    int i = 0;

    if (n == 0) {
        (void)snprintf(text, DCMI_WORDS, "no rank");
        return text;
    }
    used = (size_t)snprintf(text, DCMI_WORDS, n > 1 ? "ranks " : "rank ");
    if (n > 2 &&
        run_end(ranks, __builtin_ctzll(ranks)) == 63 - __builtin_clzll(ranks)) {
        (void)snprintf(text + used, DCMI_WORDS - used, "%d to %d",
                       __builtin_ctzll(ranks), 63 - __builtin_clzll(ranks));
        return text;
    }
    if (n > 16) {
        (void)snprintf(text + used, DCMI_WORDS - used, "%.140s",
                       dcmi_say_list(list, ranks));
        return text;
    }
    for (uint64_t m = ranks; m != 0 && used < DCMI_WORDS; m &= m - 1, i++)
        used += (size_t)snprintf(text + used, DCMI_WORDS - used, "%s%d",
                                 i == 0       ? ""
                                 : i == n - 1 ? " and "
                                              : ", ",
                                 __builtin_ctzll(m));
    return text;
}

const char *dcmi_say_rank(char text[DCMI_WORDS], const dcmi_seen_comm *comm,
                          int rank)
{
    (void)snprintf(text, DCMI_WORDS, "rank %d (pid %d)", rank,
                   comm->rank[rank].pid);
    return text;
}

static bool has_root(dcm_coll_kind kind)
{
    return kind == DCM_COLL_REDUCE || kind == DCM_COLL_BROADCAST ||
           kind == DCM_COLL_GATHER || kind == DCM_COLL_SCATTER;
}

static bool has_operator(dcm_coll_kind kind)
{
    return kind == DCM_COLL_ALL_REDUCE || kind == DCM_COLL_REDUCE ||
           kind == DCM_COLL_REDUCE_SCATTER;
}

const char *dcmi_say_call(char text[DCMI_WORDS], const dcmi_seen_op *op)
{
    const char *type = dcm_dtype_str(op->dtype);
    const char *reduction = dcm_op_str(op->op);
    char root[24] = "";

    if (op->kind == DCM_COLL_BARRIER) {
        (void)snprintf(text, DCMI_WORDS, "barrier");
        return text;
    }
    if (dcmi_seen_is_message(op))
        (void)snprintf(root, sizeof(root), " %s rank %d",
                       op->kind == DCM_COLL_SEND ? "to" : "from", op->root);
    if (has_root(op->kind))
        (void)snprintf(root, sizeof(root), ", root %d", op->root);
    (void)snprintf(
        text, DCMI_WORDS, "%s of %" PRIu64 " %s%s%s%s%s%s",
        dcmi_coll_str(op->kind), op->count, type != NULL ? type : "(no type)",
        has_operator(op->kind) ? ", " : "",
        !has_operator(op->kind) ? ""
        : reduction != NULL     ? reduction
                                : "(no operator)",
        root, op->is_ragged ? " in all, blocks of their own size" : "",
        op->has_rows ? ", by rows" : "");
    return text;
}

const char *dcmi_say_op(char text[DCMI_WORDS], const dcmi_seen_op *op)
{
    char call[DCMI_WORDS];

    if (op->number == 0)
        (void)snprintf(text, DCMI_WORDS, "a known sum's all_reduce");
    else if (dcmi_seen_is_message(op))
        (void)snprintf(text, DCMI_WORDS, "message %" PRIu64 " (%.100s)",
                       op->number, dcmi_say_call(call, op));
    else
        (void)snprintf(text, DCMI_WORDS, "operation %" PRIu64 " (%.100s)",
                       op->number, dcmi_say_call(call, op));
    return text;
}

const char *dcmi_say_life(char text[DCMI_WORDS], const dcmi_seen_rank *rank)
{
    const char *in = rank->proc.sleeps_in;

    switch (rank->life) {
    case DCMI_SEEN_RUNS:
        (void)snprintf(text, DCMI_WORDS, "runs on core %d", rank->proc.cpu);
        return text;
    case DCMI_SEEN_SLEEPS:
    case DCMI_SEEN_STUCK:
        (void)snprintf(text, DCMI_WORDS, "%s%s%s%s",
                       rank->life == DCMI_SEEN_STUCK
                           ? "is in the kernel and cannot be interrupted"
                           : "sleeps in a system call",
                       in[0] != '\0' ? " (" : "", in, in[0] != '\0' ? ")" : "");
        return text;
    case DCMI_SEEN_STOPPED:
        (void)snprintf(text, DCMI_WORDS, "%s",
                       rank->proc.state == 't' ? "is held by a debugger"
                                               : "is stopped by a signal");
        return text;
    case DCMI_SEEN_DEAD:
        (void)snprintf(text, DCMI_WORDS, "is dead");
        return text;
    case DCMI_SEEN_LEFT:
        (void)snprintf(text, DCMI_WORDS, "has freed its communicator");
        return text;
    case DCMI_SEEN_HIDDEN:
        (void)snprintf(text, DCMI_WORDS, "is in another PID namespace");
        return text;
    case DCMI_SEEN_UNKNOWN:
    default:
        (void)snprintf(text, DCMI_WORDS, "is not known");
        return text;
    }
}

const char *dcmi_life_word(const dcmi_seen_rank *rank)
{
    switch (rank->life) {
    case DCMI_SEEN_RUNS:
        return rank->wait.ranks != 0 ? "waits" : "runs";
    case DCMI_SEEN_SLEEPS:
        return rank->wait.ranks != 0 ? "waits" : "sleeps";
    case DCMI_SEEN_STUCK:
        return "stuck";
    case DCMI_SEEN_STOPPED:
        return "stopped";
    case DCMI_SEEN_DEAD:
        return "dead";
    case DCMI_SEEN_LEFT:
        return "left";
    case DCMI_SEEN_HIDDEN:
        return "hidden";
    case DCMI_SEEN_UNKNOWN:
    default:
        return "unknown";
    }
}

bool dcmi_same_call(const dcmi_seen_op *a, const dcmi_seen_op *b)
{
    /* In an all_to_all each rank has counts of its own. */
    const bool has_own_counts =
        a->kind == DCM_COLL_ALL_TO_ALL && a->is_ragged && b->is_ragged;

    return a->kind == b->kind && a->dtype == b->dtype && a->op == b->op &&
           a->root == b->root && a->is_ragged == b->is_ragged &&
           a->has_rows == b->has_rows &&
           (a->count == b->count || has_own_counts);
}
