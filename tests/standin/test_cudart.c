/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runtime's wrapper, a process a case: none there, one to be opened, one that
 * the process has, two of them; its calls and its errors.
 *
 *     test_cudart FOLDER   with libcudart.so.13, and libcudart.so.11.0 in FOLDER/old
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/wait.h>

#include "device/cuda/runtime.h"
#include "gpu/ranks.h"

static char folder[400];
static int warnings;

static void note(void *arg, int level, const char *message)
{
    (void)arg;
    warnings += level == DCM_LOG_WARN && strstr(message, "two CUDA") != NULL;
}

static void load(const char *name)
{
    char path[500];

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    gpu_die_unless(dlopen(path, RTLD_NOW | RTLD_LOCAL) != NULL);
}

static void use(const dcmi_cudart *rt)
{
    const char text[] = "some bytes";
    char back[sizeof(text)];
    dcmi_cu_ipc handle;
    void *other;
    void *at;

    gpu_die_unless(rt->set_device(0) == 0 && rt->sync() == 0);
    gpu_die_unless(rt->malloc(&at, sizeof(text)) == 0);
    gpu_die_unless(rt->memset(at, 0, sizeof(text)) == 0);
    gpu_die_unless(
        rt->memcpy(at, text, sizeof(text), DCMI_CUDART_COPY_INFERRED) == 0);
    gpu_die_unless(rt->ipc_get(&handle, at) == 0);
    gpu_die_unless(rt->ipc_open(&other, handle, DCMI_CUDART_LAZY_PEER) == 0);
    gpu_die_unless(
        rt->memcpy(back, other, sizeof(text), DCMI_CUDART_COPY_INFERRED) == 0);
    gpu_die_unless(memcmp(back, text, sizeof(text)) == 0);
    gpu_die_unless(rt->ipc_close(other) == 0 && rt->free(at) == 0);
    gpu_die_unless(rt->reset() == 0);
    gpu_die_unless(dcmi_cudart_check(rt, rt->set_device(7), "device 7") ==
                   DCM_E_DEVICE);
    gpu_die_unless(strstr(dcm_errmsg(), "device 7: CUDA runtime error 101: "
                                        "invalid device") != NULL);
}

static void case_opened(void)
{
    const dcmi_cudart *rt;

    gpu_die_unless(dcmi_cudart_get(&rt) == DCM_OK);
    gpu_die_unless(rt->n_found == 0 &&
                   strcmp(rt->path, "libcudart.so.13") == 0);
    use(rt);
}

static void case_found(void)
{
    const dcmi_cudart *rt;

    load("old/libcudart.so.11.0");
    gpu_die_unless(dcmi_cudart_get(&rt) == DCM_OK);
    gpu_die_unless(rt->n_found == 1 &&
                   strstr(rt->path, "old/libcudart.so.11.0") != NULL);
    use(rt);
    gpu_die_unless(warnings == 0);
}

static void case_two(void)
{
    const dcmi_cudart *rt;

    load("libcudart.so.13");
    load("old/libcudart.so.11.0");
    gpu_die_unless(dcmi_cudart_get(&rt) == DCM_OK);
    gpu_die_unless(rt->n_found == 2 && warnings == 1);
    gpu_die_unless(strstr(rt->path, "/libcudart.so.13") != NULL);
    use(rt);
}

static int run_case(const char *name, void (*fn)(void))
{
    int status = 1;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        dcm_log_set(note, NULL, DCM_LOG_WARN);
        fn();
        _exit(0);
    }
    gpu_die_unless(pid > 0 && waitpid(pid, &status, 0) == pid);
    printf("%s: %s\n", name, status != 0 ? "FAILED" : "ok");
    return status != 0;
}

int main(int argc, char **argv)
{
    int bad = 0;

    gpu_die_unless(argc == 2);
    (void)snprintf(folder, sizeof(folder), "%s", argv[1]);
    bad |= run_case("opened", case_opened);
    bad |= run_case("found", case_found);
    bad |= run_case("two", case_two);
    return bad;
}
