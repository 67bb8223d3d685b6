/* SPDX-License-Identifier: Apache-2.0 */
/* devcomm inspect: who is where in a job that is slow, hung or dying. */
#define _GNU_SOURCE
#include "inspect.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/parse.h"
#include "cli.h"
#include "opt.h"

enum {
    APART_MS = 100,
    INSPECT_NOTHING = 3, /* there is nothing to read, or no such job */
};

/* Choose by a process's number. */
static int choose_pid(dcmi_sight *sight, const char *text, int pid)
{
    if (dcmi_sight_choose_pid(sight, pid))
        return CLI_GO_ON;
    if (kill(pid, 0) != 0 && errno == ESRCH)
        cli_error("there is no process %s, and no job that it was in is left: "
                  "a job whose processes are all gone leaves nothing to read",
                  text);
    else
        cli_error("process %s and what it started take part in nothing of "
                  "devcomm's that this user may read",
                  text);
    return INSPECT_NOTHING;
}

static int choose_job(dcmi_sight *sight, const char *name)
{
    const char *jobs[INSPECT_MOST_JOBS];
    const size_t n = dcmi_sight_match(sight, name, jobs, INSPECT_MOST_JOBS);

    if (n == 1) {
        dcmi_sight_choose_job(sight, jobs[0]);
        return CLI_GO_ON;
    }
    if (n == 0) {
        cli_error("no job of this user on this machine is called %s; a job "
                  "whose processes are all gone leaves nothing to read",
                  name);
        return INSPECT_NOTHING;
    }
    cli_error("%s may be any of these:", name);
    for (size_t i = 0; i < n && i < INSPECT_MOST_JOBS; i++)
        (void)fprintf(stderr, "  %s\n", jobs[i]);
    return INSPECT_NOTHING;
}

static int show(const dcmi_sight *sight, unsigned last, bool is_json)
{
    dcmi_verdict *comms = calloc(sight->n_comms + 1, sizeof(*comms));
    dcmi_verdict *groups = calloc(1, sizeof(*groups));
    inspect_report report = {.sight = sight, .last = last};
    bool is_bad;

    if (comms == NULL || groups == NULL) {
        cli_error("out of memory");
        free(comms);
        free(groups);
        return CLI_FAIL;
    }
    dcmi_judge_groups(groups, sight);
    is_bad = groups->is_bad;
    for (size_t i = 0; i < sight->n_comms; i++) {
        if (!sight->is_chosen[i])
            continue;
        dcmi_judge_comm(&comms[i], sight->comms[i]);
        is_bad = is_bad || comms[i].is_bad;
    }
    report.groups = groups;
    report.comms = comms;
    (void)gethostname(report.host, sizeof(report.host) - 1);
    if (is_json)
        inspect_json(&report);
    else
        inspect_print(&report);
    free(comms);
    free(groups);
    return is_bad ? CLI_FAIL : CLI_OK;
}

static int list(const dcmi_sight *sight, bool is_json)
{
    if (is_json)
        inspect_json_jobs(sight);
    else
        inspect_print_jobs(sight);
    return CLI_OK;
}

static int inspect(const char *target, unsigned last, bool is_json)
{
    dcmi_sight sight;
    const char *why;
    uint64_t pid = 0;
    int rc = CLI_GO_ON;

    if (dcmi_sight_new(&sight, target != NULL ? APART_MS : 0) != DCM_OK) {
        cli_error_dcm("looking at the processes of this machine");
        return CLI_FAIL;
    }
    if (target == NULL)
        rc = list(&sight, is_json);
    else if (dcmi_parse_u64(target, INT_MAX, &pid))
        rc = choose_pid(&sight, target, (int)pid);
    else
        rc = choose_job(&sight, target);
    why = dcmi_sight_unread(&sight);
    if (rc != CLI_GO_ON && sight.n_unread > 0)
        why = sight.unread[0].why;
    if (why != NULL)
        cli_error("not everything could be read: %s", why);
    if (rc == CLI_GO_ON)
        rc = show(&sight, last, is_json);
    dcmi_sight_free(&sight);
    return rc;
}

int cli_inspect(int argc, char **argv)
{
    bool is_json = false;
    unsigned last = 0;
    const cli_opt opts[] = {
        {'l', "last", "N", CLI_NUMBER, &last, 1, DCMI_RECORD_OPS,
         "list the last N operations, the ranks side by side"},
        {'j', "json", NULL, CLI_FLAG, &is_json, 0, 0, "print JSON"},
    };
    const cli_spec spec = {
        .usage = "inspect [options] [PID | JOB]",
        .about =
            "Say where each rank of a job is, who waits for whom, and who is "
            "to blame. PID: a\nrank, living or dead, or the launcher. JOB: its "
            "name, or a part of it. Without\neither, list this user's jobs on "
            "this machine.",
        .opts = opts,
        .nopts = DCMI_ARRAY_LEN(opts),
        .tail = "The exit status is 0 when nothing is wrong, 1 when a rank is "
                "dead or stopped, the\nranks disagree, the communicator has "
                "failed or somebody has waited for a second,\n3 when there is "
                "nothing to read.",
    };
    int operands;
    const int rc = cli_parse(&spec, argc, argv, &operands);

    if (rc != CLI_GO_ON)
        return rc;
    if (operands > 1) {
        cli_error("what is %s for? one process or job at a time", argv[2]);
        return CLI_USAGE;
    }
    return inspect(operands == 1 ? argv[1] : NULL, last, is_json);
}
