/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue as its reader is handed it: the handle, damaged but for its checksum, then
 * the segment that it names, damaged too.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>

#include "fuzz/fuzz.h"
#include "os/ident.h"
#include "os/sock.h"
#include "queue/queue.h"

enum {
    SEGMENT_MOST = 1 << 20
};

static void damage(fuzz_input *in, unsigned char *bytes, size_t n)
{
    for (int i = fuzz_byte(in) % 16; i > 0; i--) {
        uint16_t at;

        fuzz_take(in, &at, sizeof(at));
        bytes[at % n] = fuzz_byte(in);
    }
}

static void make_handle(fuzz_input *in, unsigned char *handle, int fd)
{
    static dcm_queue q;
    const uint64_t sizes[2] = {4096, 3 * 512};
    const int kind = fuzz_byte(in) % 2;
    uint64_t sum;

    memset(&q, 0, sizeof(q));
    q.fd = fd;
    fuzz_require(dcmi_queue_geometry_make(&q.g, (dcmi_queue_kind)kind,
                                          sizes[kind], 512, 3) == DCM_OK);
    fuzz_require(dcmi_queue_passport_write(&q, handle,
                                           DCM_QUEUE_HANDLE_BYTES) == DCM_OK);
    damage(in, handle, DCM_QUEUE_HANDLE_BYTES);
    sum = dcmi_hash(0, handle, DCM_QUEUE_HANDLE_BYTES - sizeof(sum));
    memcpy(handle + DCM_QUEUE_HANDLE_BYTES - sizeof(sum), &sum, sizeof(sum));
}

static void fill_segment(fuzz_input *in, int fd,
                         const dcmi_queue_passport *pass)
{
    static union {
        dcmi_queue_descriptor d;
        unsigned char bytes[8192];
    } head;

    memset(&head, 0, sizeof(head));
    atomic_store(&head.d.magic, DCMI_QUEUE_MAGIC);
    head.d.layout = DCMI_QUEUE_LAYOUT;
    head.d.id = pass->id;
    head.d.geometry = pass->g;
    damage(in, head.bytes, sizeof(head.bytes));
    fuzz_require(ftruncate(fd, (off_t)pass->g.total_bytes) == 0);
    fuzz_require(pwrite(fd, &head, sizeof(head), 0) == sizeof(head));
    fuzz_require(
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static dcm_queue q;
    fuzz_input in = {data, bytes};
    unsigned char handle[DCM_QUEUE_HANDLE_BYTES];
    dcm_queue_reader readers[DCM_QUEUE_MAX_READERS];
    dcmi_queue_passport pass;
    uint64_t records;
    int fd;

    fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    fuzz_require(fd >= 0);
    make_handle(&in, handle, fd);
    if (dcmi_queue_passport_read(&pass, handle, sizeof(handle)) == DCM_OK &&
        pass.g.total_bytes <= SEGMENT_MOST && pass.g.total_bytes >= 8192) {
        memset(&q, 0, sizeof(q));
        q.g = pass.g;
        q.id = pass.id;
        fill_segment(&in, fd, &pass);
        if (dcmi_queue_frame_open(&q, fd) == DCM_OK) {
            const int n = dcmi_queue_describe(q.frame, &records, readers,
                                              DCM_QUEUE_MAX_READERS);

            fuzz_require(n >= 0 && n <= DCM_QUEUE_MAX_READERS);
        }
        dcmi_mapping_put(q.mapping);
    }
    (void)close(fd);
    return 0;
}
