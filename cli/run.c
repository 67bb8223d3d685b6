/* SPDX-License-Identifier: Apache-2.0 */
/* devcomm run: start the ranks of a program on this host. */
#include <devcomm/devcomm.h>

#include "cli.h"
#include "launch.h"
#include "opt.h"

int cli_run(int argc, char **argv)
{
    unsigned nranks = 0;
    launch_opts o = {.grace_s = 10.0};
    const cli_opt opts[] = {
        {'n', "ranks", "N", CLI_NUMBER, &nranks, 1, DCM_MAX_RANKS,
         "how many ranks to start"},
        {'t', "timeout", "S", CLI_SECONDS, &o.timeout_s, 0, 1e9,
         "end the job after S seconds, with status 124"},
        {'g', "grace", "S", CLI_SECONDS, &o.grace_s, 0, 1e9,
         "after the first failure the other ranks have S seconds\n"
         "to end before they get SIGTERM (default 10)"},
        {0, "tag", NULL, CLI_FLAG, &o.is_tagged, 0, 0,
         "put \"[RANK] \" before every line of output"},
    };
    const cli_spec spec = {
        .usage = "run -n N [options] [--] PROGRAM [ARGUMENT...]",
        .about = "Start N ranks of a program on this host, pass signals on to "
                 "them, report who\nfailed first, and leave no process behind.",
        .opts = opts,
        .nopts = DCMI_ARRAY_LEN(opts),
        .ends_at_operand = true,
        .tail =
            "The exit status is that of the rank that failed first; 128 + "
            "the signal's number\nif one killed it. 125: devcomm run "
            "itself failed; 126, 127: PROGRAM cannot be run,\nis not there.",
    };
    int operands;
    const int rc = cli_parse(&spec, argc, argv, &operands);

    if (rc != CLI_GO_ON)
        return rc;
    if (nranks == 0) {
        cli_error("how many ranks? say -n N");
        return CLI_USAGE;
    }
    if (operands == 0) {
        cli_error("no program to run");
        return CLI_USAGE;
    }
    o.nranks = (int)nranks;
    o.path = argv[1];
    o.argv = argv + 1;
    return launch(&o);
}
