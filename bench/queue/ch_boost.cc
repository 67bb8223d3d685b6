// SPDX-License-Identifier: Apache-2.0
// Boost: the message queue of Interprocess, and the lock-free ring of one reader
// (a stream of bytes whose both sides spin).
#include "channel.h"

#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>

#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <new>

namespace {

namespace ipc = boost::interprocess;

constexpr size_t kRingBytes = 8 << 20;
constexpr int kRecords = 10;

using ring =
    boost::lockfree::spsc_queue<char, boost::lockfree::capacity<kRingBytes>>;

ipc::message_queue *queues[BQ_READERS_MOST];
ring *rings[BQ_READERS_MOST];
size_t size;
int nreaders;

void name_of(char *name, size_t bytes, int reader)
{
    (void)snprintf(name, bytes, "devcomm-bench-%d-%d", (int)getpid(), reader);
}

bool make_mq(size_t bytes, int readers)
{
    char name[64];

    size = bytes;
    nreaders = readers;
    for (int r = 0; r < readers; r++) {
        name_of(name, sizeof(name), r);
        try {
            queues[r] =
                new ipc::message_queue(ipc::create_only, name, kRecords, bytes);
        } catch (const ipc::interprocess_exception &e) {
            (void)fprintf(stderr, "message_queue: %s\n", e.what());
            return false;
        }
    }
    return true;
}

bool nothing()
{
    return true;
}

bool no_reader(int)
{
    return true;
}

bool send_mq(const void *record)
{
    for (int r = 0; r < nreaders; r++)
        queues[r]->send(record, size, 0);
    return true;
}

bool receive_mq(int reader, void *record)
{
    ipc::message_queue::size_type got;
    unsigned priority;

    queues[reader]->receive(record, size, got, priority);
    return got == size;
}

void end_mq()
{
    char name[64];

    for (int r = 0; r < nreaders; r++) {
        name_of(name, sizeof(name), r);
        (void)ipc::message_queue::remove(name);
    }
}

bool make_ring(size_t bytes, int readers)
{
    size = bytes;
    nreaders = readers;
    for (int r = 0; r < readers; r++) {
        void *at = mmap(nullptr, sizeof(ring), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

        if (at == MAP_FAILED)
            return false;
        rings[r] = new (at) ring;
    }
    return true;
}

void rest()
{
    if (nreaders > 1)
        (void)sched_yield();
}

bool send_ring(const void *record)
{
    for (int r = 0; r < nreaders; r++) {
        const char *at = static_cast<const char *>(record);

        for (size_t left = size; left > 0;) {
            const size_t n = rings[r]->push(at, left);

            at += n;
            left -= n;
            if (n == 0)
                rest();
        }
    }
    return true;
}

bool receive_ring(int reader, void *record)
{
    char *at = static_cast<char *>(record);

    for (size_t left = size; left > 0;) {
        const size_t n = rings[reader]->pop(at, left);

        at += n;
        left -= n;
        if (n == 0)
            rest();
    }
    return true;
}

} // namespace

extern "C" {
const bq_channel bq_boost_mq = {
    "Boost mq", make_mq, nothing, no_reader, send_mq, receive_mq, end_mq,
};
const bq_channel bq_boost_spsc = {
    "Boost spsc", make_ring,    nothing, no_reader,
    send_ring,    receive_ring, nullptr,
};
}
