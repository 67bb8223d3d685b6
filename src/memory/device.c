/* SPDX-License-Identifier: Apache-2.0 */
/* Physical memory mapped at addresses of its own, or a plain allocation. */
#include "memory/device.h"

#include <stdlib.h>

#include "base/err.h"

static dcm_status map_physical(dcmi_device_mem *o, const dcmi_cuda_home *home,
                               size_t bytes)
{
    const dcmi_cuda *cuda = home->cuda;
    const dcmi_cu_location here = {DCMI_CU_ON_DEVICE, home->device};
    const dcmi_cu_access access = {here, DCMI_CU_READ_WRITE};
    const dcmi_cu_mem_prop prop = {
        .type = DCMI_CU_PINNED,
        .handle_types = o->kind == DCMI_DEVICE_BY_FD ? DCMI_CU_POSIX_FD : 0,
        .location = here,
    };
    size_t granule = 0;
    dcmi_cu_mem mem = 0;
    dcmi_cu_ptr at = 0;
    dcmi_cu_result r;

    r = cuda->mem_granularity(&granule, &prop, DCMI_CU_GRANULARITY_RECOMMENDED);
    if (r != DCMI_CU_OK || granule == 0)
        return dcmi_cuda_err(cuda, r, "granularity of device memory");
    o->bytes = (bytes + granule - 1) / granule * granule;
    r = cuda->mem_create(&mem, o->bytes, &prop, 0);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "%zu bytes of device memory", o->bytes);
    r = cuda->mem_reserve(&at, o->bytes, granule, 0, 0);
    if (r != DCMI_CU_OK)
        goto out;
    r = cuda->mem_map(at, o->bytes, 0, mem, 0);
    if (r != DCMI_CU_OK)
        goto err_unreserve;
    r = cuda->mem_set_access(at, o->bytes, &access, 1);
    if (r != DCMI_CU_OK)
        goto err_unmap;
    o->base = at;
    goto out;

err_unmap:
    (void)cuda->mem_unmap(at, o->bytes);
err_unreserve:
    (void)cuda->mem_unreserve(at, o->bytes);
out:
    (void)cuda->mem_release(mem); /* the mapping keeps it */
    return r == DCMI_CU_OK ? DCM_OK
                           : dcmi_cuda_err(cuda, r,
                                           "mapping %zu bytes of "
                                           "device memory",
                                           o->bytes);
}

dcm_status dcmi_device_mem_new(dcmi_device_mem **mem_p,
                               const dcmi_cuda_home *home, size_t bytes,
                               dcmi_device_kind kind)
{
    dcmi_device_mem *o = calloc(1, sizeof(*o));
    dcmi_cu_result r;
    dcm_status st = DCM_OK;

    if (o == NULL)
        return dcmi_err(DCM_E_NOMEM, "device memory's handle");
    o->cuda = home->cuda;
    o->bytes = bytes;
    o->kind = kind;
    o->users = 1;
    if (kind == DCMI_DEVICE_PLAIN) {
        r = home->cuda->mem_alloc(&o->base, bytes);
        if (r != DCMI_CU_OK)
            st = dcmi_cuda_err(home->cuda, r, "%zu bytes of device memory",
                               bytes);
    } else {
        st = map_physical(o, home, bytes);
    }
    if (st != DCM_OK) {
        free(o);
        return st;
    }
    *mem_p = o;
    return DCM_OK;
}

void dcmi_device_mem_ref(dcmi_device_mem *mem)
{
    atomic_fetch_add_explicit(&mem->users, 1, memory_order_relaxed);
}

void dcmi_device_mem_put(dcmi_device_mem *mem)
{
    if (mem == NULL ||
        atomic_fetch_sub_explicit(&mem->users, 1, memory_order_acq_rel) != 1)
        return;
    if (mem->kind == DCMI_DEVICE_PLAIN) {
        (void)mem->cuda->mem_free(mem->base);
    } else {
        (void)mem->cuda->mem_unmap(mem->base, mem->bytes);
        (void)mem->cuda->mem_unreserve(mem->base, mem->bytes);
    }
    free(mem);
}
