/* SPDX-License-Identifier: Apache-2.0 */
/* devcomm info: the machine, the backends, what a communicator takes. */
#include <devcomm/backend.h>
#include <devcomm/devcomm.h>

#include <limits.h>
#include <string.h>

#include "backend/cpu/reduce/reduce.h"
#include "base/env.h"
#include "bench/json.h"
#include "bench/machine.h"
#include "cli.h"
#include "opt.h"
#include "os/clock.h"
#include "topology.h"

enum {
    MAX_SHOWN = 16,
    NRANKS = 2
};

typedef struct backend_fact {
    const char *name;
    int score;
    char why[DCM_BACKEND_WHY];
} backend_fact;

typedef struct facts {
    dcmi_machine machine;
    backend_fact backends[MAX_SHOWN];
    size_t nbackends;
    dcm_comm_info comm; /* of a communicator of two ranks */
    double comm_ms;     /* how long making one took */
    char no_comm[256];  /* why there is none, or "" */
} facts;

static void list_backends(facts *f, dcm_group *group)
{
    while (f->nbackends < MAX_SHOWN) {
        backend_fact *b = &f->backends[f->nbackends];

        if (dcm_backend_list(f->nbackends, group, &b->name, &b->score, b->why,
                             sizeof(b->why)) != DCM_OK)
            return;
        f->nbackends++;
    }
}

/* Make two ranks in this thread and ask. */
static dcm_status try_comm(facts *f)
{
    dcm_group *groups[NRANKS] = {NULL, NULL};
    dcm_comm *comms[NRANKS] = {NULL, NULL};
    uint64_t start;
    dcm_status st;

    st = dcm_group_new_local(groups, NRANKS, NULL);
    if (st != DCM_OK)
        return st;
    list_backends(f, groups[0]);
    start = dcmi_now_ns();
    st = dcm_comm_new_multi(comms, groups, NRANKS, NULL);
    f->comm_ms = (double)(dcmi_now_ns() - start) / (double)DCMI_NS_PER_MS;
    if (st == DCM_OK) {
        f->comm.size = sizeof(f->comm);
        dcm_comm_info_get(comms[0], &f->comm);
    }
    for (int r = 0; r < NRANKS; r++)
        dcm_comm_free(comms[r]);
    for (int r = 0; r < NRANKS; r++)
        dcm_group_free(groups[r]);
    return st;
}

static void collect(facts *f)
{
    memset(f, 0, sizeof(*f));
    dcmi_machine_get(&f->machine);
    if (try_comm(f) != DCM_OK)
        (void)snprintf(f->no_comm, sizeof(f->no_comm), "%.255s", dcm_errmsg());
}

static void print_machine(const dcmi_machine *m)
{
    const dcmi_reduce_ops *ops;
    char left[32];
    char all[32];

    (void)printf("machine\n");
    (void)printf("  processor   %s\n", m->cpu);
    (void)printf("  cores       %d usable: %d of %d online by affinity, ",
                 m->cores, m->allowed, m->online);
    if (m->quota == INT_MAX)
        (void)printf("no quota\n");
    else
        (void)printf("%d by the control group's quota\n", m->quota);
    (void)printf("  memory      %s left of %s\n",
                 cli_bytes(left, m->memory_left),
                 cli_bytes(all, m->memory_bytes));
    (void)printf("  kernel      %s\n", m->kernel);
    (void)printf("  reduction   ");
    for (size_t i = 0; (ops = dcmi_reduce_nth(i)) != NULL; i++)
        (void)printf("%s%s", i > 0 ? ", " : "", ops->name);
    ops = dcmi_reduce_select(NULL);
    (void)printf("; in use: %s\n", ops != NULL ? ops->name : "none");
}

static void print_comm(const facts *f)
{
    char now[32];
    char most[32];

    (void)printf("backends\n");
    for (size_t i = 0; i < f->nbackends; i++) {
        const backend_fact *b = &f->backends[i];

        (void)printf("  %-11s %s%s\n", b->name,
                     b->score > 0 ? "usable" : "not usable: ",
                     b->score > 0 ? "" : b->why);
    }
    (void)printf("communicator of %d ranks\n", NRANKS);
    if (f->no_comm[0] != '\0') {
        (void)printf("  none        %s\n", f->no_comm);
        return;
    }
    (void)printf("  backend     %s\n", f->comm.backend);
    (void)printf("  memory      %s shared now, at most %s\n",
                 cli_bytes(now, f->comm.shared_bytes),
                 cli_bytes(most, f->comm.reserve_bytes));
    (void)printf("  creation    %.2f ms, both ranks in one thread\n",
                 f->comm_ms);
}

/* All variables, or those that are set. */
static void print_env(bool is_all)
{
    bool is_none = true;

    (void)printf("environment\n");
    for (int i = 0; i < DCMI_ENV_COUNT; i++) {
        const dcmi_env_entry *e = dcmi_env_entry_of((dcmi_env)i);
        const char *v = dcmi_env_str((dcmi_env)i);

        if (!is_all && v == NULL)
            continue;
        is_none = false;
        if (i == DCMI_ENV_TOKEN && v != NULL)
            v = "(hidden)";
        (void)printf("  %s%s%s\n", e->name, v != NULL ? "=" : "",
                     v != NULL ? v : "");
        if (is_all)
            (void)printf("      %s\n      %s; default: %s\n", e->text, e->type,
                         e->fallback);
    }
    if (is_none)
        (void)printf("  no DEVCOMM_ variable is set (--env lists them)\n");
}

static void json_backends(const facts *f, dcmi_jw *w)
{
    dcmi_jw_array(w, "backends");
    for (size_t i = 0; i < f->nbackends; i++) {
        const backend_fact *b = &f->backends[i];

        dcmi_jw_object(w, NULL);
        dcmi_jw_str(w, "name", b->name);
        dcmi_jw_bool(w, "usable", b->score > 0);
        dcmi_jw_num(w, "score", b->score);
        dcmi_jw_str(w, "why", b->score > 0 ? NULL : b->why);
        dcmi_jw_end_object(w);
    }
    dcmi_jw_end_array(w);
}

static void json_comm(const facts *f, dcmi_jw *w)
{
    dcmi_jw_object(w, "communicator");
    dcmi_jw_u64(w, "ranks", NRANKS);
    if (f->no_comm[0] != '\0') {
        dcmi_jw_str(w, "error", f->no_comm);
    } else {
        dcmi_jw_str(w, "backend", f->comm.backend);
        dcmi_jw_u64(w, "shared_bytes", f->comm.shared_bytes);
        dcmi_jw_u64(w, "reserve_bytes", f->comm.reserve_bytes);
        dcmi_jw_num(w, "creation_ms", f->comm_ms);
    }
    dcmi_jw_end_object(w);
}

static void json_env(dcmi_jw *w)
{
    dcmi_jw_array(w, "environment");
    for (int i = 0; i < DCMI_ENV_COUNT; i++) {
        const dcmi_env_entry *e = dcmi_env_entry_of((dcmi_env)i);
        const char *v = dcmi_env_str((dcmi_env)i);

        dcmi_jw_object(w, NULL);
        dcmi_jw_str(w, "name", e->name);
        dcmi_jw_str(w, "type", e->type);
        dcmi_jw_str(w, "default", e->fallback);
        dcmi_jw_str(w, "text", e->text);
        dcmi_jw_str(w, "value",
                    i == DCMI_ENV_TOKEN && v != NULL ? "(hidden)" : v);
        dcmi_jw_end_object(w);
    }
    dcmi_jw_end_array(w);
}

static void print_json(const facts *f)
{
    dcmi_jw w = {.file = stdout};
    const dcmi_reduce_ops *ops;

    dcmi_jw_object(&w, NULL);
    dcmi_jw_str(&w, "version", cli_version());
    dcmi_jw_str(&w, "commit", cli_commit());
    dcmi_jw_object(&w, "machine");
    dcmi_machine_json(&f->machine, &w);
    dcmi_jw_array(&w, "reduction");
    for (size_t i = 0; (ops = dcmi_reduce_nth(i)) != NULL; i++)
        dcmi_jw_str(&w, NULL, ops->name);
    dcmi_jw_end_array(&w);
    dcmi_jw_end_object(&w);
    cli_topology_json(&w);
    json_backends(f, &w);
    json_comm(f, &w);
    json_env(&w);
    dcmi_jw_end_object(&w);
}

int cli_info(int argc, char **argv)
{
    bool is_json = false;
    bool is_env = false;
    const cli_opt opts[] = {
        {'j', "json", NULL, CLI_FLAG, &is_json, 0, 0, "print JSON"},
        {'e', "env", NULL, CLI_FLAG, &is_env, 0, 0,
         "print the environment variables only, all of them"},
    };
    const cli_spec spec = {
        .usage = "info [--json] [--env]",
        .about = "Print what devcomm finds on this machine: processor, limits, "
                 "backends and why one\nis not usable, memory that a "
                 "communicator takes, environment variables.",
        .opts = opts,
        .nopts = DCMI_ARRAY_LEN(opts),
    };
    facts f;
    int operands;
    const int rc = cli_parse(&spec, argc, argv, &operands);

    if (rc != CLI_GO_ON)
        return rc;
    if (operands > 0) {
        cli_error("what is %s for?", argv[1]);
        return CLI_USAGE;
    }
    if (is_env && !is_json) {
        print_env(true);
        return CLI_OK;
    }
    collect(&f);
    if (is_json) {
        print_json(&f);
    } else {
        (void)printf("devcomm %s (%s)\n", cli_version(), cli_commit());
        print_machine(&f.machine);
        cli_topology_print();
        print_comm(&f);
        print_env(false);
    }
    return f.no_comm[0] == '\0' ? CLI_OK : CLI_FAIL;
}
