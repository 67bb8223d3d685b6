/* SPDX-License-Identifier: Apache-2.0 */
/* The ranks of `devcomm bench`. */
#ifndef DEVCOMM_CLI_RANKS_H
#define DEVCOMM_CLI_RANKS_H

#include "bench.h"

/* This process is the rank that the launcher's variables say. */
int ranks_process(const bench_conf *conf);

/* All ranks are threads of this process. */
int ranks_threads(const bench_conf *conf, int nranks);

#endif /* DEVCOMM_CLI_RANKS_H */
