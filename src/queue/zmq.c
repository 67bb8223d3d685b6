/* SPDX-License-Identifier: Apache-2.0 */
/* Opening ZeroMQ, once a process; it stays open. */
#include "queue/zmq.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "base/err.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static dcmi_zmq table;
static const char *missing; /* NULL: everything is there */

static void load(void)
{
    void *dl = dlopen("libzmq.so.5", RTLD_NOW | RTLD_LOCAL);
    void *sym;

    if (dl == NULL) {
        missing = "libzmq.so.5";
        return;
    }
#define DCMI_X(returns, name, arguments)                                       \
    sym = dlsym(dl, "zmq_" #name);                                             \
    if (sym == NULL)                                                           \
        missing = "zmq_" #name;                                                \
    memcpy(&table.name##_fn, &sym, sizeof(sym)); /* C has no cast for this */
    DCMI_ZMQ_MAP(DCMI_X)
#undef DCMI_X
}

dcm_status dcmi_zmq_open(const dcmi_zmq **zmq_p)
{
    (void)pthread_once(&once, load);
    if (missing != NULL)
        return dcmi_err(DCM_E_UNSUP,
                        "queue: remote readers need ZeroMQ, and %s is not "
                        "there: install libzmq5 (Debian, Ubuntu) or zeromq",
                        missing);
    *zmq_p = &table;
    return DCM_OK;
}

dcm_status dcmi_zmq_err(const dcmi_zmq *zmq, const char *what)
{
    return dcmi_err(DCM_E_SYS, "queue: %s: %s", what,
                    zmq->strerror_fn(zmq->errno_fn()));
}
