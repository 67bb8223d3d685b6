/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The environment variables of the library, in one table: `devcomm info --env`,
 * devcomm(7) and the docs are printed from it.  They are read at creation,
 * never in a hot path.
 */
#ifndef DCMI_ENV_H
#define DCMI_ENV_H

#include <stdbool.h>
#include <stdint.h>

/* X(id, name, type, default as text, sentence) */
#define DCMI_ENV_MAP(X)                                                        \
    X(RANK, "DEVCOMM_RANK", "integer", "launcher's", "This process's rank.")   \
    X(NRANKS, "DEVCOMM_NRANKS", "integer", "launcher's",                       \
      "How many ranks the job has.")                                           \
    X(ADDR, "DEVCOMM_ADDR", "unix:NAME or tcp:HOST:PORT", "launcher's",        \
      "Where the ranks meet.")                                                 \
    X(TOKEN, "DEVCOMM_TOKEN", "string", "none",                                \
      "The job's secret: proves over TCP that a peer belongs to the job; "     \
      "never sent in clear.")                                                  \
    X(HOST, "DEVCOMM_HOST", "string", "found out",                             \
      "Forces a host identity: ranks with different ones do not share "        \
      "memory.")                                                               \
    X(TIMEOUT_MS, "DEVCOMM_TIMEOUT_MS", "milliseconds", "600000",              \
      "Deadline of every wait that is given none.")                            \
    X(LOG, "DEVCOMM_LOG", "error, warn or info", "none",                       \
      "Sends the library's messages to standard error.")                       \
    X(BACKEND, "DEVCOMM_BACKEND", "name", "the best that probes",              \
      "The backend that communicators use; fault:RULES:BACKEND spoils some "   \
      "of its calls.")                                                         \
    X(BACKEND_PATH, "DEVCOMM_BACKEND_PATH", "file:file:...", "none",           \
      "Backends to load besides the built-in ones.")                           \
    X(ALGO, "DEVCOMM_ALGO", "name", "the plan's",                              \
      "Forces an algorithm; refused where it cannot serve a call.")            \
    X(SPIN_US, "DEVCOMM_SPIN_US", "microseconds", "50",                        \
      "How long a wait spins before it yields and parks; 0: not at all.")      \
    X(CHECK_EVERY, "DEVCOMM_CHECK_EVERY", "operations", "0",                   \
      "Checks a known sum behind every so many operations; 0: never. Not "     \
      "with a forced algorithm.")                                              \
    X(STAGING_KIB, "DEVCOMM_CPU_STAGING_KIB", "KiB a rank", "4096",            \
      "CPU backend: staging memory that large messages rotate through.")       \
    X(SIMD, "DEVCOMM_CPU_SIMD", "scalar, base, avx2 or avx512",                \
      "the best the processor has",                                            \
      "CPU backend: the widest instructions to reduce with.")                  \
    X(STORES, "DEVCOMM_CPU_STORES", "auto, plain or stream", "auto",           \
      "CPU backend: how staging is written; auto probes the placement of "     \
      "the ranks.")                                                            \
    X(GPU_IMAGE, "DEVCOMM_GPU_IMAGE", "file", "the one built in",              \
      "GPU kernels to load instead: an image as the driver takes it.")         \
    X(GPU_VETO, "DEVCOMM_GPU_VETO", "list of same, fd, ipc, peer", "none",     \
      "Ways of sharing device memory to do without, for tests; peer: all of "  \
      "them.")

typedef enum dcmi_env {
#define DCMI_X(id, name, type, value, text) DCMI_ENV_##id,
    DCMI_ENV_MAP(DCMI_X)
#undef DCMI_X
    DCMI_ENV_COUNT
} dcmi_env;

typedef struct dcmi_env_entry {
    const char *name;
    const char *type;
    const char *fallback;
    const char *text;
} dcmi_env_entry;

const dcmi_env_entry *dcmi_env_entry_of(dcmi_env id);

/* The value, or NULL when unset or empty. */
const char *dcmi_env_str(dcmi_env id);

/*
 * The value as an unsigned number of at most `max`, or `fallback` when unset.
 * *ok_p becomes false, and the error record says why, when it is not one.
 */
uint64_t dcmi_env_u64(dcmi_env id, uint64_t fallback, uint64_t max, bool *ok_p);

#endif /* DCMI_ENV_H */
