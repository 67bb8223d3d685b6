/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a communicator's record; record.h says why the copies can be trusted. */
#include "inspect/comm.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "group/team.h"
#include "os/ident.h"
#include "os/sock.h"

enum {
    COPIES = 3
};

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

/* A text of `bytes` at most from outside, made safe to print. */
static void take_text(char *out, const void *from, size_t bytes)
{
    const char *text = from;
    size_t n = 0;

    for (; n < bytes && text[n] != '\0'; n++)
        out[n] = isprint((unsigned char)text[n]) != 0 ? text[n] : '?';
    out[n] = '\0';
}

static void take_name(char out[DCMI_SEEN_TEXT], const _Atomic uint64_t *words)
{
    const uint64_t v[2] = {load(&words[0]), load(&words[1])};

    take_text(out, v, sizeof(v));
}

static uint64_t not_later(uint64_t ns, uint64_t now_ns)
{
    return ns < now_ns ? ns : now_ns;
}

/* The clock's time of a stamp, by the rate since the record was made. */
static uint64_t time_of(uint64_t stamp, const dcmi_record *head,
                        const dcmi_seen_now *now)
{
    const double ticks = (double)now->stamp - (double)head->made_stamp;
    const double ns = (double)now->ns - (double)head->made_ns;
    double ago;

    if (stamp == 0 || stamp < head->made_stamp || ticks <= 0 || ns <= 0)
        return 0;
    if (stamp >= now->stamp)
        return now->ns;
    ago = (double)(now->stamp - stamp) * (ns / ticks);
    return ago < (double)now->ns ? now->ns - (uint64_t)ago : 0;
}

/* One line of a ring from its three copies; false: there is none. */
static bool take_op(dcmi_seen_op *out, const dcmi_record_op *const line[COPIES],
                    size_t place, const dcmi_record *head,
                    const dcmi_seen_now *now)
{
    const uint64_t serial = load(&line[0]->serial);
    const dcmi_record_op *o = line[1];
    const uint64_t call = load(&o->call);
    const uint64_t end = load(&o->end);

    if (serial == 0 || serial % DCMI_RECORD_OPS != place ||
        load(&o->serial) != serial || load(&line[2]->serial) != serial)
        return false;
    memset(out, 0, sizeof(*out));
    out->serial = serial;
    out->number = load(&o->number);
    out->count = load(&o->count);
    out->begun_ns = time_of(load(&o->begun), head, now);
    out->kind = (dcm_coll_kind)(call & 0xff);
    out->dtype = (dcm_dtype)(call >> 8 & 0xff);
    out->op = (dcm_op)(call >> 16 & 0xff);
    out->root = (int)(call >> 32 & 0xff);
    out->is_ragged = (call & DCMI_RECORD_RAGGED) != 0;
    out->has_rows = (call & DCMI_RECORD_ROWS) != 0;
    out->is_over = end != 0;
    out->status = end != 0 ? (dcm_status)(1 - (int)(end & 0xff)) : DCM_OK;
    if (load(&line[0]->begun) != 0)
        take_name(out->path, o->path);
    return true;
}

static int by_serial(const void *a, const void *b)
{
    const uint64_t x = ((const dcmi_seen_op *)a)->serial;
    const uint64_t y = ((const dcmi_seen_op *)b)->serial;

    return x > y ? -1 : x < y;
}

static void take_wait(dcmi_seen_wait *out,
                      const dcmi_record_wait *const wait[COPIES], int nranks,
                      uint64_t now_ns)
{
    const dcmi_record_wait *w = wait[1];
    const uint64_t seq = load(&wait[0]->seq);

    if (seq % 2 != 0 || load(&w->seq) != seq || load(&wait[2]->seq) != seq)
        return;
    out->ranks = load(&w->ranks);
    if (nranks < 64)
        out->ranks &= (1ull << nranks) - 1;
    out->number = load(&w->number);
    out->since_ns = not_later(load(&w->since_ns), now_ns);
    out->looked_ns = not_later(load(&w->looked_ns), now_ns);
    out->timeout_ns = load(&w->timeout_ns);
    out->tid = (int)(load(&w->tid) & INT32_MAX);
    take_name(out->op, w->op);
    take_name(out->phase, w->phase);
}

static int take_rank_number(int32_t rank, int nranks)
{
    return rank >= 0 && rank < nranks ? rank : -1;
}

static void take_failure(dcmi_seen_failure *out, const dcmi_record_failure *f,
                         int nranks, uint64_t now_ns)
{
    out->culprit = take_rank_number(f->culprit, nranks);
    out->reporter = take_rank_number(f->reporter, nranks);
    out->number = f->number;
    out->at_ns = not_later(f->at_ns, now_ns);
    out->waited_ns = f->waited_ns;
    take_text(out->op, f->op, sizeof(f->op));
    take_text(out->phase, f->phase, sizeof(f->phase));
    take_text(out->text, f->text, sizeof(f->text) - 1);
}

static void take_rank(dcmi_seen_rank *out,
                      const dcmi_record *const head[COPIES], int r,
                      const dcmi_seen_now *now)
{
    const dcmi_record_rank *in[COPIES];
    const dcmi_record_wait *wait[COPIES];
    const int nranks = (int)head[0]->n_ranks;

    for (int i = 0; i < COPIES; i++) {
        in[i] = &head[i]->rank[r];
        wait[i] = &in[i]->wait;
    }
    if (in[0]->who.is_written != 0) {
        out->pid = in[1]->who.pid > 0 ? in[1]->who.pid : 0;
        out->tid = (int)(in[1]->who.tid & INT32_MAX);
        out->start_time = in[1]->who.start_time;
        out->pid_namespace = in[1]->who.pid_namespace;
    }
    take_wait(&out->wait, wait, nranks, now->ns);
    out->failure.status = (dcm_status)in[0]->failure.status;
    if (out->failure.status != DCM_OK)
        take_failure(&out->failure, &in[1]->failure, nranks, now->ns);
    for (size_t i = 0; i < DCMI_RECORD_OPS; i++) {
        const dcmi_record_op *const line[COPIES] = {
            &in[0]->op[i], &in[1]->op[i], &in[2]->op[i]};

        if (take_op(&out->op[out->n_ops], line, i, head[1], now))
            out->n_ops++;
    }
    qsort(out->op, out->n_ops, sizeof(out->op[0]), by_serial);
}

dcm_status dcmi_seen_decode(dcmi_seen_comm *comm, const void *const copies[3],
                            size_t bytes, const dcmi_seen_now *now)
{
    const dcmi_record *const head[COPIES] = {copies[0], copies[1], copies[2]};

    if (bytes < sizeof(dcmi_record) || head[0]->layout == 0)
        return dcmi_err(DCM_AGAIN, "there is no record yet");
    for (int i = 0; i < COPIES; i++) {
        if (head[i]->magic != DCMI_RECORD_MAGIC)
            return dcmi_err(DCM_E_INVAL, "no record: magic %#llx",
                            (unsigned long long)head[i]->magic);
        if (head[i]->layout != DCMI_RECORD_LAYOUT)
            return dcmi_err(DCM_E_ABI,
                            "record of layout %u; this command knows %u",
                            head[i]->layout, DCMI_RECORD_LAYOUT);
        if (head[i]->n_ranks < 1 || head[i]->n_ranks > DCM_MAX_RANKS ||
            head[i]->n_ranks != head[0]->n_ranks ||
            dcmi_record_bytes((int)head[i]->n_ranks) != bytes)
            return dcmi_err(DCM_E_INVAL, "record of %u ranks in %zu bytes",
                            head[i]->n_ranks, bytes);
    }
    memset(comm, 0, sizeof(*comm));
    comm->now_ns = now->ns;
    comm->nranks = (int)head[0]->n_ranks;
    comm->made_ns = not_later(head[1]->made_ns, now->ns);
    take_text(comm->backend, head[1]->backend, sizeof(head[1]->backend));
    take_text(comm->job, head[1]->job, sizeof(head[1]->job) - 1);
    for (int r = 0; r < comm->nranks; r++)
        take_rank(&comm->rank[r], head, r, now);
    return DCM_OK;
}

/* ---- from a process ------------------------------------------------------- */

static void take_team(dcmi_seen_comm *comm, const dcmi_team_shared *team)
{
    const dcmi_fail_word f = dcmi_team_fail_word(load(&team->fail));

    if (load(&team->fail) != 0) {
        comm->failure.status = f.status;
        comm->failure.culprit = take_rank_number(f.culprit, comm->nranks);
        comm->failure.reporter = take_rank_number(f.reporter, comm->nranks);
        comm->failure.number = f.epoch;
    }
    for (int r = 0; r < comm->nranks; r++) {
        dcmi_seen_rank *rank = &comm->rank[r];

        rank->is_leaving = team->slot[r].stage != DCMI_STAGE_IN;
        if (team->slot[r].stage == DCMI_STAGE_FREED)
            rank->life = DCMI_SEEN_LEFT;
    }
}

/* Three copies of the record, and then one of the team's words. */
static dcm_status copy_all(dcmi_seen_comm *comm, int fd, size_t file_bytes,
                           dcmi_team_shared *team)
{
    size_t at;
    size_t bytes;
    char *copies;
    dcmi_seen_now now;
    dcm_status st;

    st = dcmi_find_copy(team, fd, 0, sizeof(*team));
    if (st != DCM_OK)
        return st;
    if (team->magic == 0)
        return dcmi_err(DCM_AGAIN, "it is being made");
    if (team->magic != DCMI_TEAM_MAGIC || team->layout != DCMI_TEAM_LAYOUT)
        return dcmi_err(DCM_E_ABI,
                        "another version's: layout %u; this command knows %u",
                        team->layout, DCMI_TEAM_LAYOUT);
    if (team->n_ranks < 1 || team->n_ranks > DCM_MAX_RANKS)
        return dcmi_err(DCM_E_INVAL, "it is of %u ranks", team->n_ranks);
    at = dcmi_team_record_at((int)team->n_ranks);
    bytes = dcmi_record_bytes((int)team->n_ranks);
    if (file_bytes < at + bytes)
        return dcmi_err(DCM_E_INVAL, "%u ranks in %zu bytes", team->n_ranks,
                        file_bytes);
    copies = aligned_alloc(DCMI_SECTOR, COPIES * bytes);
    if (copies == NULL)
        return dcmi_err(DCM_E_NOMEM, "copies of a record of %zu bytes", bytes);
    for (size_t i = 0; i < COPIES && st == DCM_OK; i++)
        st = dcmi_find_copy(copies + i * bytes, fd, at, bytes);
    now = (dcmi_seen_now){.ns = dcmi_now_ns(), .stamp = dcmi_stamp()};
    if (st == DCM_OK)
        st = dcmi_seen_decode(comm,
                              (const void *const[COPIES]){
                                  copies, copies + bytes, copies + 2 * bytes},
                              bytes, &now);
    if (st == DCM_OK)
        st = dcmi_find_copy(team, fd, 0, sizeof(*team));
    if (st == DCM_OK)
        take_team(comm, team);
    free(copies);
    return st;
}

dcm_status dcmi_seen_read(dcmi_seen_comm *comm, const dcmi_find *find)
{
    dcmi_team_shared *team;
    size_t bytes;
    dcm_status st;
    int fd;

    st = dcmi_find_open(&fd, &bytes, find);
    if (st != DCM_OK)
        return st;
    team = aligned_alloc(DCMI_SECTOR, sizeof(*team));
    if (team == NULL)
        st = dcmi_err(DCM_E_NOMEM, "a copy of a team");
    else
        st = copy_all(comm, fd, bytes, team);
    free(team);
    dcmi_close(fd);
    if (st != DCM_OK)
        return dcmi_err_at(st, "communicator in process %d", find->pid);
    comm->inode = find->inode;
    dcmi_seen_lives(comm);
    return DCM_OK;
}

static dcmi_life_seen life_of(const dcmi_seen_rank *rank)
{
    const dcmi_proc *p = &rank->proc;

    if (rank->pid == 0)
        return DCMI_SEEN_UNKNOWN;
    if (rank->pid_namespace != dcmi_pid_namespace())
        return DCMI_SEEN_HIDDEN;
    if (p->state == 0 || p->state == 'Z' || p->state == 'X' ||
        (rank->start_time != 0 &&
         dcmi_start_time(rank->pid) != rank->start_time))
        return DCMI_SEEN_DEAD;
    if (p->state == 'T' || p->state == 't')
        return DCMI_SEEN_STOPPED;
    if (p->state == 'D')
        return DCMI_SEEN_STUCK;
    return p->state == 'R' ? DCMI_SEEN_RUNS : DCMI_SEEN_SLEEPS;
}

void dcmi_seen_lives(dcmi_seen_comm *comm)
{
    for (int r = 0; r < comm->nranks; r++) {
        dcmi_seen_rank *rank = &comm->rank[r];
        const int tid = rank->wait.tid != 0 ? rank->wait.tid : rank->tid;

        if (rank->life == DCMI_SEEN_LEFT || rank->pid == 0)
            continue;
        dcmi_proc_look(&rank->proc, rank->pid, tid);
        if (rank->proc.state == 0) /* that thread has ended */
            dcmi_proc_look(&rank->proc, rank->pid, 0);
        rank->life = life_of(rank);
    }
}

/* ---- questions ------------------------------------------------------------ */

bool dcmi_seen_is_common(const dcmi_seen_op *op)
{
    /* Refused arguments: it has not begun, and its number comes again. */
    return op->number != 0 && !dcmi_seen_is_message(op) &&
           !(op->is_over && op->status == DCM_E_INVAL);
}

const dcmi_seen_op *dcmi_seen_last(const dcmi_seen_rank *rank)
{
    for (size_t i = 0; i < rank->n_ops; i++) {
        if (dcmi_seen_is_common(&rank->op[i]))
            return &rank->op[i];
    }
    return NULL;
}

uint64_t dcmi_seen_at(const dcmi_seen_rank *rank)
{
    const dcmi_seen_op *o = dcmi_seen_last(rank);

    return o != NULL ? o->number : 0;
}

const dcmi_seen_op *dcmi_seen_number(const dcmi_seen_rank *rank,
                                     uint64_t number)
{
    for (size_t i = 0; i < rank->n_ops; i++) {
        if (rank->op[i].number == number && dcmi_seen_is_common(&rank->op[i]))
            return &rank->op[i];
    }
    return NULL;
}

bool dcmi_seen_is_inside(const dcmi_seen_rank *rank)
{
    return rank->n_ops > 0 && !rank->op[0].is_over;
}
