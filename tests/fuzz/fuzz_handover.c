/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handing a segment over: what a leader hears from whoever connects; what a member
 * is handed, as descriptors and as the head of a hall.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>

#include "fuzz/fuzz.h"
#include "group/hall.h"
#include "group/handover.h"
#include "os/mapping.h"
#include "os/memfd.h"
#include "os/sock.h"

static fuzz_input in;

dcm_status __wrap_dcmi_unix_accept(int *fd_p, int listener);

dcm_status __wrap_dcmi_unix_accept(int *fd_p, int listener)
{
    (void)listener;
    if (in.left == 0)
        return DCM_E_SYS;
    *fd_p = fuzz_socket(&in, sizeof(dcmi_handover_ticket) + sizeof(int32_t));
    return DCM_OK;
}

static dcm_status no_time(void *arg, bool expired)
{
    (void)arg;
    (void)expired;
    return DCM_E_TIMEOUT;
}

static const dcmi_watch at_once = {.check = no_time};

static void lead(void)
{
    dcmi_handover h = {.listener = -1, .link = -1};

    h.listener = open("/dev/null", O_RDONLY | O_CLOEXEC);
    fuzz_require(h.listener >= 0);
    (void)dcmi_handover_serve(&h, 0xe, h.listener, 4096, &at_once);
    dcmi_handover_close(&h);
}

/* A segment with the input in it, of this size and with these seals. */
static int segment(uint16_t bytes, bool is_sealed)
{
    const int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    fuzz_require(fd >= 0 && ftruncate(fd, bytes) == 0);
    if (in.left > 0)
        fuzz_require(pwrite(fd, in.at, in.left < bytes ? in.left : bytes, 0) >=
                     0);
    if (is_sealed)
        fuzz_require(fcntl(fd, F_ADD_SEALS,
                           F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
    return fd;
}

static void send_segment(int sock, uint64_t told, int fd)
{
    uint64_t start = 0;

    (void)dcmi_sock_send(sock, &told, sizeof(told), fd, &at_once, &start);
}

static void follow(void)
{
    dcmi_handover h = {.listener = -1, .link = -1};
    const uint8_t how = fuzz_byte(&in);
    dcmi_mapping *mapping;
    uint64_t told;
    uint16_t bytes;
    int pair[2];
    int fd = -1;

    fuzz_take(&in, &bytes, sizeof(bytes));
    fuzz_take(&in, &told, sizeof(told));
    if ((how & 1) != 0)
        told = bytes;
    fuzz_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                            0, pair) == 0);
    if ((how & 2) != 0)
        fd = segment(bytes, (how & 4) != 0);
    else if ((how & 4) != 0)
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    send_segment(pair[1], told, fd);
    dcmi_close(fd);
    (void)close(pair[1]);
    h.link = pair[0];
    if (dcmi_handover_receive(&h, &fd, &told, &at_once) == DCM_OK) {
        if (dcmi_mapping_get(&mapping, fd, (size_t)told) == DCM_OK) {
            if (told >= sizeof(dcmi_hall) &&
                dcmi_hall_check(dcmi_mapping_base(mapping), (size_t)told, 2,
                                2) == DCM_OK)
                fuzz_require(told == dcmi_hall_bytes(2, 2));
            dcmi_mapping_put(mapping);
        }
        (void)close(fd);
    }
    dcmi_handover_close(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    in = (fuzz_input){data, bytes};
    if (fuzz_byte(&in) % 2 == 0)
        lead();
    else
        follow();
    return 0;
}
