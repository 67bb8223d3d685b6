/* SPDX-License-Identifier: Apache-2.0 */
/* Modules, whose image is a name, and launches of the kernels' host target. */
#include "standin/standin.h"

#include <stdlib.h>
#include <string.h>

/* How the image begins: kernels.standin. */
static const char magic[] = "stand-in: devcomm's kernels";

enum {
    MOST_GRID = 65535
};

typedef struct module {
    bool is_loaded;
} module;

dcmi_cu_result standin_module_load(dcmi_cu_module *module_p, const void *image)
{
    module *m;
    bool may;

    if (image == NULL || strncmp(image, magic, sizeof(magic) - 1) != 0)
        return STANDIN_BAD_IMAGE;
    if (standin_ctx_here() == NULL)
        return STANDIN_BAD_CONTEXT;
    m = calloc(1, sizeof(*m));
    if (m == NULL)
        return STANDIN_NOMEM;
    m->is_loaded = true;
    (void)pthread_mutex_lock(&standin_lock);
    may = standin_may();
    standin_live_add(STANDIN_MODULES, may);
    (void)pthread_mutex_unlock(&standin_lock);
    if (!may) {
        free(m);
        return STANDIN_CAPTURING;
    }
    *module_p = m;
    return DCMI_CU_OK;
}

dcmi_cu_result standin_module_unload(dcmi_cu_module loaded)
{
    bool may;

    (void)pthread_mutex_lock(&standin_lock);
    may = standin_may();
    standin_live_add(STANDIN_MODULES, may ? -1 : 0);
    (void)pthread_mutex_unlock(&standin_lock);
    if (!may)
        return STANDIN_CAPTURING;
    free(loaded);
    return DCMI_CU_OK;
}

/* A function's handle is the host function itself. */
dcmi_cu_result standin_module_function(dcmi_cu_function *fn_p,
                                       dcmi_cu_module loaded, const char *name)
{
    const module *m = loaded;
    const dcmk_host_fn fn = dcmk_host_kernel(name);

    if (!m->is_loaded || fn == NULL)
        return STANDIN_NOT_FOUND;
    memcpy(fn_p, &fn, sizeof(fn));
    return DCMI_CU_OK;
}

dcmi_cu_result standin_func_load(dcmi_cu_function fn)
{
    return fn != NULL ? DCMI_CU_OK : STANDIN_BAD_HANDLE;
}

dcmi_cu_result standin_func_attribute(int *value_p, int attribute,
                                      dcmi_cu_function fn)
{
    if (fn == NULL || attribute != DCMI_CU_FUNC_REGISTERS)
        return STANDIN_INVALID;
    *value_p = 32;
    return DCMI_CU_OK;
}

/* ---- launches ------------------------------------------------------------- */

typedef struct lane {
    const standin_op *op;
    uint32_t first; /* block; then every `lanes`-th */
    uint32_t lanes;
} lane;

static void *run_lane(void *arg)
{
    const lane *l = arg;
    const standin_op *op = l->op;

    for (uint32_t b = l->first; b < op->u.launch.grid; b += l->lanes) {
        const dcmk_block block = {b, op->u.launch.grid, op->u.launch.threads};

        op->u.launch.fn(&op->u.launch.args.a, &block);
    }
    return NULL;
}

/* Blocks in turn, or STANDIN_BLOCKS of them side by side. */
static void run_launch(standin_op *op)
{
    enum {
        MOST = 16
    };
    const long want = standin_setting("STANDIN_BLOCKS", 1);
    const uint32_t lanes = want < 1 ? 1 : want > MOST ? MOST : (uint32_t)want;
    pthread_t threads[MOST];
    lane l[MOST];
    uint32_t n = 0;

    for (uint32_t i = 0; i < lanes; i++)
        l[i] = (lane){op, i, lanes};
    while (n + 1 < lanes && n + 1 < op->u.launch.grid &&
           pthread_create(&threads[n], NULL, run_lane, &l[n + 1]) == 0)
        n++;
    (void)run_lane(&l[0]);
    for (uint32_t i = n + 1; i < lanes; i++)
        (void)run_lane(&l[i]);
    for (uint32_t i = 0; i < n; i++)
        (void)pthread_join(threads[i], NULL);
}

dcmi_cu_result standin_launch(const dcmi_cu_launch *how, dcmi_cu_function fn,
                              void **args, void **extra)
{
    standin_op op = {.run = run_launch};
    dcmi_cu_result r = STANDIN_INVALID;
    standin_stream *s;

    if (fn == NULL || extra != NULL || how->grid[0] == 0 ||
        how->grid[0] > MOST_GRID || how->grid[1] * how->grid[2] != 1 ||
        how->block[0] == 0 || how->block[0] > STANDIN_BLOCK ||
        how->block[1] * how->block[2] != 1)
        return STANDIN_INVALID;
    memcpy(&op.u.launch.fn, &fn, sizeof(fn));
    memcpy(&op.u.launch.args, args[0], dcmk_host_args_bytes(op.u.launch.fn));
    op.u.launch.grid = how->grid[0];
    op.u.launch.threads = how->block[0];
    (void)pthread_mutex_lock(&standin_lock);
    s = standin_stream_of(how->stream);
    if (s == NULL || s->ctx != standin_ctx_here())
        r = STANDIN_BAD_HANDLE;
    else
        r = standin_submit(s, &op);
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}
