/* SPDX-License-Identifier: Apache-2.0 */
/* The two halves of `devcomm queue`. */
#ifndef DEVCOMM_CLI_QUEUE_H
#define DEVCOMM_CLI_QUEUE_H

int queue_bench(int argc, char **argv);
int queue_stat(int argc, char **argv);

#endif /* DEVCOMM_CLI_QUEUE_H */
