/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the bootstrap share. */
#ifndef DCM_TEST_BOOT_SUPPORT_H
#define DCM_TEST_BOOT_SUPPORT_H

#include "support.h"

#include <stdatomic.h>

#include "group/star.h"
#include "mp.h"

/* Memory that the test and its ranks share; zero in each test. */
typedef struct notes {
    _Atomic int stage;
    _Atomic int count;
    int status[MP_MOST_RANKS];
    char text[MP_MOST_RANKS][1024];
    _Atomic size_t recorded;
    uint8_t record[65536];
} notes;

extern notes *shared;

/* Fresh notes, and a fresh address of each kind. */
void fresh(void);
extern char unix_address[64];
extern char tcp_address[64];
int free_port(void);

/* dcmi_boot_star() with a time-out; `token` NULL: none. */
dcm_status meet(dcmi_boot **boot_p, const char *address, int rank, int nranks,
                uint32_t timeout_ms, const char *token);

/*
 * Exchange `bytes` a rank, check every byte, as ranks that own themselves
 * (width 1) or whose every width-th owns the next ones.
 */
dcm_status exchange(dcmi_boot *boot, size_t bytes, int width,
                    uint32_t timeout_ms);

/* Meet, exchange, close; any failure ends the rank. */
void meet_well(const char *address, int rank, int nranks, const char *token);

/*
 * Connect to rank 0's socket, or listen in its place, without the protocol;
 * `uid` is the user whose group it is.
 */
int raw_connect(const char *address, unsigned uid);
int raw_listen(const char *address, unsigned uid);
int raw_accept(int listener);

/* Send all, receive all; false when the other side has hung up. */
bool raw_send(int fd, const void *bytes, size_t n);
bool raw_recv(int fd, void *bytes, size_t n);

/* The first record of a rank, with a nonce of zeros. */
dcmi_star_hello raw_hello(void);

/* Keep a status and the error record for the test. */
void note(int rank, dcm_status st);

/* Wait, in a rank or in the test, until the ranks have come to a stage. */
void await_stage(int stage);

/* Assert that rank r failed with `want`, saying `text`. */
void assert_noted(int rank, dcm_status want, const char *text);

#endif /* DCM_TEST_BOOT_SUPPORT_H */
