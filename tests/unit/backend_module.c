/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backends in files of their own, for test_backends.c; the build makes one of each
 * kind:
 *   GOOD   complete, and it finds a reason not to serve
 *   INNER  the same under another name; OUTER is linked with it
 *   OUTER  no entry of its own
 *   EMPTY  an entry that returns NULL
 *   OLD    a table of another abi
 */
#include <devcomm/backend.h>

#include <stdio.h>

#if defined(BACKEND_GOOD)
#define NAME "good"
#define ABI  DCM_BACKEND_ABI
#elif defined(BACKEND_INNER)
#define NAME "inner"
#define ABI  DCM_BACKEND_ABI
#elif defined(BACKEND_OLD)
#define NAME "old"
#define ABI  (DCM_BACKEND_ABI + 98)
#endif

#if defined(BACKEND_INNER) || defined(BACKEND_OUTER)
DCM_API int backend_inner_number(void);
#endif

#if defined(BACKEND_INNER)
int backend_inner_number(void)
{
    return 7;
}
#endif

#if defined(NAME)
static dcm_status probe(int *score_p, dcm_group *group, char *why,
                        size_t why_bytes)
{
    (void)group;
    *score_p = 0;
    (void)snprintf(why, why_bytes, "%s serves nobody", NAME);
    return DCM_OK;
}

static dcm_status open_none(void **ctx_p, const dcm_backend_env *env)
{
    (void)ctx_p;
    (void)env;
    return DCM_E_UNSUP;
}

static void close_none(void *ctx)
{
    (void)ctx;
}

static dcm_status no_call(void *ctx, const dcm_coll *coll)
{
    (void)ctx;
    (void)coll;
    return DCM_E_UNSUP;
}

static const dcm_backend_ops ops = {
    .abi = ABI,
    .size = sizeof(ops),
    .name = NAME,
    .probe = probe,
    .open = open_none,
    .close = close_none,
    .all_reduce = no_call,
    .barrier = no_call,
};
#endif

#if defined(BACKEND_OUTER)
DCM_API int backend_outer_number(void);

int backend_outer_number(void)
{
    return backend_inner_number() + 1;
}
#else
DCM_API const dcm_backend_ops *dcm_backend_entry(void);

const dcm_backend_ops *dcm_backend_entry(void)
{
#if defined(NAME)
    return &ops;
#else
    return NULL;
#endif
}
#endif
