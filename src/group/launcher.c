/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the launcher left in the environment: rank, number of ranks, address.
 *
 * The first of the table below whose rank variable is set wins: launchers are
 * started by each other (torchrun by srun, mpirun by sbatch), and the table goes
 * from the innermost to the outermost.  DEVCOMM_ADDR alone replaces the address
 * that would be derived.  docs/launchers.md has the derivations; no launcher but
 * `devcomm run` has a secret that would do as a token.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/env.h"
#include "base/err.h"
#include "base/parse.h"
#include "group/boot.h"
#include "os/ancestor.h"
#include "os/ident.h"

enum {
    /* Ports below those that Linux gives to who connects (32768 and up). */
    FIRST_PORT = 20000,
    NPORTS = 12768,
};

typedef struct launcher {
    const char *name;
    const char *rank; /* the variables */
    const char *nranks;
    const char *better;     /* than nranks, where it is set; NULL: none */
    const char *local_rank; /* both NULL: there are none */
    const char *nlocal;
    /* Whether the variables are this launcher's, not another's leftovers. */
    bool (*is_it)(void);
    dcm_status (*address)(dcmi_launch *l, int nlocal);
} launcher;

/* The value, or NULL when unset or empty. */
static const char *get(const char *name)
{
    const char *v = getenv(name);

    return v != NULL && v[0] != '\0' ? v : NULL;
}

static dcm_status get_int(int *v_p, const char *name)
{
    const char *text = get(name);
    uint64_t v;

    if (text == NULL)
        return dcmi_err(DCM_E_INVAL, "%s is not set", name);
    if (!dcmi_parse_u64(text, INT_MAX, &v))
        return dcmi_err(DCM_E_INVAL, "%s=\"%s\" is not a number", name, text);
    *v_p = (int)v;
    return DCM_OK;
}

static dcm_status put_address(dcmi_launch *l, const char *fmt, ...)
    DCMI_PRINTF(2, 3);

static dcm_status put_address(dcmi_launch *l, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(l->address, sizeof(l->address), fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof(l->address))
        return dcmi_err(DCM_E_INVAL, "%s: an address of %d bytes", l->launcher,
                        n);
    return DCM_OK;
}

/* Hash of the texts with a mark between them; NULL counts as empty. */
static uint64_t hash_of(const char *a, const char *b, const char *c)
{
    const char *const texts[] = {a, b, c};
    uint64_t h = 0;

    for (size_t i = 0; i < DCMI_ARRAY_LEN(texts); i++) {
        const char *t = texts[i] != NULL ? texts[i] : "";

        h = dcmi_hash(h, t, strlen(t) + 1);
    }
    return h;
}

static unsigned port_of(uint64_t hash, unsigned taken)
{
    unsigned port = FIRST_PORT + (unsigned)(hash % NPORTS);

    if (port == taken)
        port = port > FIRST_PORT ? port - 1 : port + 1;
    return port;
}

static dcm_status unknown_leader(const dcmi_launch *l)
{
    return dcmi_err(DCM_E_UNSUP,
                    "%s does not tell on which of several hosts rank 0 is: set "
                    "DEVCOMM_ADDR=tcp:HOST:PORT, and DEVCOMM_TOKEN, on all "
                    "ranks",
                    l->launcher);
}

/* ---- torchrun ------------------------------------------------------------- */

static bool is_loopback_name(const char *host)
{
    return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "::1") == 0;
}

static dcm_status torchrun_address(dcmi_launch *l, int nlocal)
{
    const char *host = get("MASTER_ADDR");
    const char *job = get("TORCHELASTIC_RUN_ID");
    const char *port_text = get("MASTER_PORT");
    dcm_status st;
    int port;

    st = get_int(&port, "MASTER_PORT");
    if (st != DCM_OK)
        return st;
    if (host == NULL)
        return dcmi_err(DCM_E_INVAL, "RANK is set, but MASTER_ADDR is not");
    if (nlocal == l->nranks || is_loopback_name(host))
        return put_address(l, "unix:torchrun-%d-%016" PRIx64, port,
                           hash_of(host, port_text, job));
    /* MASTER_PORT itself is taken by torchrun's own store. */
    return put_address(
        l, strchr(host, ':') != NULL ? "tcp:[%s]:%u" : "tcp:%s:%u", host,
        port_of(hash_of("torchrun", port_text, job), (unsigned)port));
}

/* ---- Open MPI ------------------------------------------------------------- */

static dcm_status openmpi_address(dcmi_launch *l, int nlocal)
{
    const char *job = get("PMIX_NAMESPACE");

    if (job == NULL)
        job = get("OMPI_MCA_ess_base_jobid");
    if (job == NULL)
        return dcmi_err(DCM_E_INVAL, "OMPI_COMM_WORLD_RANK is set, but neither "
                                     "PMIX_NAMESPACE nor "
                                     "OMPI_MCA_ess_base_jobid");
    if (nlocal != l->nranks)
        return unknown_leader(l);
    return put_address(l, "unix:openmpi-%s", job);
}

/* ---- MPICH and others by Hydra -------------------------------------------- */

/* Slurm's own PMI sets PMI_RANK too, but does not tell the local ranks. */
static bool is_hydra(void)
{
    return get("MPI_LOCALNRANKS") != NULL || get("SLURM_PROCID") == NULL;
}

static dcm_status hydra_address(dcmi_launch *l, int nlocal)
{
    static const char *const proxies[] = {"hydra_pmi_proxy", "pmi_proxy"};
    int pid = 0;

    if (nlocal != l->nranks)
        return unknown_leader(l);
    /* Hydra gives a job no name: the proxy is one process for all its ranks. */
    for (size_t i = 0; i < DCMI_ARRAY_LEN(proxies) && pid == 0; i++)
        pid = dcmi_ancestor_named(proxies[i]);
    if (pid == 0)
        return dcmi_err(DCM_E_UNSUP, "PMI_RANK is set, but no ancestor of this "
                                     "process is Hydra's proxy: set "
                                     "DEVCOMM_ADDR on all ranks");
    return put_address(l, "unix:pmi-%d-%" PRIu64, pid, dcmi_start_time(pid));
}

/* ---- Slurm ---------------------------------------------------------------- */

/* A batch script has SLURM_PROCID too, but is no task of a step. */
static bool is_slurm_step(void)
{
    const char *step = get("SLURM_STEP_ID");
    uint64_t v;

    /* The highest numbers are Slurm's own: batch, interactive, extern. */
    return step != NULL && dcmi_parse_u64(step, 0xfffffff0u, &v);
}

/* The first name of "node[007-009,12]-ib,other". */
static bool first_host(char *host, size_t bytes, const char *list)
{
    size_t n = 0;

    while (*list != '\0' && *list != ',') {
        if (*list == '[') {
            for (list++; *list != '\0' && strchr("-,]", *list) == NULL;
                 list++) {
                if (n + 1 >= bytes)
                    return false;
                host[n++] = *list;
            }
            list = strchr(list, ']');
            if (list == NULL)
                return false;
        } else {
            if (n + 1 >= bytes)
                return false;
            host[n++] = *list;
        }
        list++;
    }
    host[n] = '\0';
    return n > 0;
}

static dcm_status slurm_address(dcmi_launch *l, int nlocal)
{
    const char *nodes_name = get("SLURM_STEP_NUM_NODES") != NULL
                                 ? "SLURM_STEP_NUM_NODES"
                                 : "SLURM_NNODES";
    const char *nodes = get("SLURM_STEP_NODELIST");
    const char *job = get("SLURM_JOB_ID");
    const char *step = get("SLURM_STEP_ID");
    char host[256];
    dcm_status st;
    int nnodes;

    (void)nlocal;
    if (job == NULL)
        return dcmi_err(DCM_E_INVAL,
                        "SLURM_PROCID is set, but SLURM_JOB_ID is not");
    st = get_int(&nnodes, nodes_name);
    if (st != DCM_OK)
        return st;
    if (nnodes == 1)
        return put_address(l, "unix:slurm-%s.%s", job, step);
    if (nodes == NULL)
        return unknown_leader(l);
    if (!first_host(host, sizeof(host), nodes))
        return dcmi_err(DCM_E_INVAL,
                        "SLURM_STEP_NODELIST=\"%s\" is no list of "
                        "hosts",
                        nodes);
    return put_address(l, "tcp:%s:%u", host,
                       port_of(hash_of("slurm", job, step), 0));
}

/* ---- all ------------------------------------------------------------------ */

static bool always(void)
{
    return true;
}

static dcm_status no_address(dcmi_launch *l, int nlocal)
{
    (void)l;
    (void)nlocal;
    return dcmi_err(DCM_E_INVAL, "DEVCOMM_RANK is set, but DEVCOMM_ADDR is "
                                 "not");
}

static const launcher launchers[] = {
    {"devcomm", "DEVCOMM_RANK", "DEVCOMM_NRANKS", NULL, NULL, NULL, always,
     no_address},
    {"torchrun", "RANK", "WORLD_SIZE", NULL, "LOCAL_RANK", "LOCAL_WORLD_SIZE",
     always, torchrun_address},
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", NULL,
     "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", always,
     openmpi_address},
    {"PMI", "PMI_RANK", "PMI_SIZE", NULL, "MPI_LOCALRANKID", "MPI_LOCALNRANKS",
     is_hydra, hydra_address},
    /* srun --preserve-env leaves the allocation's SLURM_NTASKS. */
    {"Slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", NULL,
     NULL, is_slurm_step, slurm_address},
};

static const char *nranks_name(const launcher *it)
{
    return it->better != NULL && get(it->better) != NULL ? it->better
                                                         : it->nranks;
}

static dcm_status nobody(void)
{
    for (size_t i = 0; i < DCMI_ARRAY_LEN(launchers); i++) {
        const char *name = nranks_name(&launchers[i]);

        if (get(name) != NULL && launchers[i].is_it())
            return dcmi_err(DCM_E_INVAL, "%s is set, but %s is not", name,
                            launchers[i].rank);
    }
    return dcmi_err(DCM_E_INVAL,
                    "%sno launcher has started this process: set DEVCOMM_RANK, "
                    "DEVCOMM_NRANKS and DEVCOMM_ADDR, or start it with devcomm "
                    "run, torchrun, mpirun, mpiexec or srun",
                    dcmi_env_str(DCMI_ENV_ADDR) != NULL
                        ? "DEVCOMM_ADDR is set, but not DEVCOMM_RANK, and "
                        : "");
}

/* *nlocal_p: how many ranks this host has; 0: not known to be all. */
static dcm_status read_local(int *nlocal_p, const launcher *it,
                             const dcmi_launch *l)
{
    dcm_status st;
    int rank = 0;
    int n;

    *nlocal_p = 0;
    if (it->nlocal == NULL || get(it->nlocal) == NULL)
        return DCM_OK;
    st = get_int(&n, it->nlocal);
    if (st == DCM_OK && get(it->local_rank) != NULL)
        st = get_int(&rank, it->local_rank);
    if (st != DCM_OK)
        return st;
    if (n < 1 || n > l->nranks)
        return dcmi_err(DCM_E_INVAL, "%s=%d contradicts %s=%d", it->nlocal, n,
                        nranks_name(it), l->nranks);
    if (rank >= n)
        return dcmi_err(DCM_E_INVAL, "%s=%d contradicts %s=%d", it->local_rank,
                        rank, it->nlocal, n);
    *nlocal_p = n;
    return DCM_OK;
}

dcm_status dcmi_launch_read(dcmi_launch *launch)
{
    const char *address = dcmi_env_str(DCMI_ENV_ADDR);
    dcmi_launch l = {.launcher = NULL};
    const launcher *it = launchers;
    const launcher *end = launchers + DCMI_ARRAY_LEN(launchers);
    dcm_status st;
    int nlocal;

    while (it < end && (get(it->rank) == NULL || !it->is_it()))
        it++;
    /* A half-set DEVCOMM_* is a mistake, not another launcher's business. */
    if (it != launchers && dcmi_env_str(DCMI_ENV_NRANKS) != NULL)
        return dcmi_err(DCM_E_INVAL,
                        "DEVCOMM_NRANKS is set, but DEVCOMM_RANK is not");
    if (it == end)
        return nobody();
    l.launcher = it->name;
    st = get_int(&l.rank, it->rank);
    if (st == DCM_OK)
        st = get_int(&l.nranks, nranks_name(it));
    if (st != DCM_OK)
        return dcmi_err_at(st, "%s", it->name);
    if (l.rank >= l.nranks)
        return dcmi_err(DCM_E_INVAL, "%s=%d contradicts %s=%d", it->rank,
                        l.rank, nranks_name(it), l.nranks);
    st = read_local(&nlocal, it, &l);
    if (st == DCM_OK)
        st = address != NULL ? put_address(&l, "%s", address)
                             : it->address(&l, nlocal);
    if (st != DCM_OK)
        return st;
    *launch = l;
    return DCM_OK;
}
