/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fibers on ucontext.  A round lets each unfinished fiber run until it yields
 * or ends.  When whole rounds pass without a wait having ended, the thread
 * yields and then naps: the others it waits for may need its core.
 */
#define _GNU_SOURCE
#include "os/fiber.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "base/compiler.h"
#include "base/err.h"
#include "os/clock.h"
#include "os/memfd.h"

#if DCMI_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#if DCMI_TSAN
#include <sanitizer/tsan_interface.h>
#endif

enum {
    STACK_BYTES = 256 * 1024, /* the deepest path takes about 40 KiB */
    IDLE_SPINS = 2000,        /* rounds before yielding, some 100 us */
    IDLE_YIELDS = 2000,       /* then rounds before napping, some ms */
    NAP_NS = 200000,
};

typedef struct fiber {
    ucontext_t context;
    void *stack; /* first page is the guard */
    dcmi_fiber_fn fn;
    void *arg;
    bool is_done;
    void *tsan;
} fiber;

typedef struct round {
    ucontext_t home;
    fiber *current;
    bool progress;
    void *tsan;
    const void *home_stack;
    size_t home_bytes;
} round;

static _Thread_local round *running;

/* Tell the sanitizers that this thread goes on on another stack. */
static void switch_begin(void **fake, const void *bottom, size_t bytes,
                         void *tsan)
{
#if DCMI_ASAN
    __sanitizer_start_switch_fiber(fake, bottom, bytes);
#else
    (void)fake;
    (void)bottom;
    (void)bytes;
#endif
#if DCMI_TSAN
    __tsan_switch_to_fiber(tsan, 0);
#else
    (void)tsan;
#endif
}

static void switch_end(void *fake, const void **bottom, size_t *bytes)
{
#if DCMI_ASAN
    __sanitizer_finish_switch_fiber(fake, bottom, bytes);
#else
    (void)fake;
    (void)bottom;
    (void)bytes;
#endif
}

static void *stack_bottom(const fiber *f)
{
    return (char *)f->stack + dcmi_page_bytes();
}

static void go_home(fiber *f)
{
    void *fake = NULL;

    /* A fiber that ends gives its fake stack back: NULL says so. */
    switch_begin(f->is_done ? NULL : &fake, running->home_stack,
                 running->home_bytes, running->tsan);
    (void)swapcontext(&f->context, &running->home);
    switch_end(fake, &running->home_stack, &running->home_bytes);
}

static void entry(void)
{
    fiber *f = running->current;

    switch_end(NULL, &running->home_stack, &running->home_bytes);
    f->fn(f->arg);
    f->is_done = true;
    running->progress = true;
    go_home(f);
}

static void resume(fiber *f)
{
    void *fake = NULL;

    running->current = f;
    switch_begin(&fake, stack_bottom(f), STACK_BYTES, f->tsan);
    (void)swapcontext(&running->home, &f->context);
    switch_end(fake, NULL, NULL);
}

static dcm_status fiber_init(fiber *f, dcmi_fiber_fn fn, void *arg)
{
    const size_t page = dcmi_page_bytes();

    f->stack = mmap(NULL, STACK_BYTES + page, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (f->stack == MAP_FAILED) {
        f->stack = NULL;
        return dcmi_err_sys("stack of %d bytes for a rank", STACK_BYTES);
    }
    (void)mprotect(f->stack, page, PROT_NONE);
    (void)getcontext(&f->context);
    f->context.uc_stack.ss_sp = stack_bottom(f);
    f->context.uc_stack.ss_size = STACK_BYTES;
    f->context.uc_link = NULL;
    f->fn = fn;
    f->arg = arg;
    makecontext(&f->context, entry, 0);
#if DCMI_TSAN
    f->tsan = __tsan_create_fiber(0);
#endif
    return DCM_OK;
}

static void fiber_fini(fiber *f)
{
    if (f->stack == NULL)
        return;
#if DCMI_TSAN
    __tsan_destroy_fiber(f->tsan);
#endif
    (void)munmap(f->stack, STACK_BYTES + dcmi_page_bytes());
}

static void idle(unsigned rounds)
{
    if (rounds < IDLE_SPINS)
        dcmi_relax();
    else if (rounds < IDLE_SPINS + IDLE_YIELDS)
        (void)sched_yield();
    else
        dcmi_nap_ns(NAP_NS);
}

static void run_all(fiber *fibers, int n)
{
    round r = {.progress = false};
    unsigned idle_rounds = 0;
    int left = n;

#if DCMI_TSAN
    r.tsan = __tsan_get_current_fiber();
#endif
    running = &r;
    while (left > 0) {
        r.progress = false;
        left = 0;
        for (int i = 0; i < n; i++) {
            if (fibers[i].is_done)
                continue;
            resume(&fibers[i]);
            left += fibers[i].is_done ? 0 : 1;
        }
        idle_rounds = r.progress ? 0 : idle_rounds + 1;
        if (idle_rounds > 0)
            idle(idle_rounds);
    }
    running = NULL;
}

dcm_status dcmi_fiber_run(dcmi_fiber_fn fn, void *const *args, int n)
{
    dcm_status st = DCM_OK;
    fiber *fibers;

    if (n == 1 || running != NULL) {
        for (int i = 0; i < n; i++)
            fn(args[i]);
        return DCM_OK;
    }
    fibers = calloc((size_t)n, sizeof(*fibers));
    if (fibers == NULL)
        return dcmi_err(DCM_E_NOMEM, "%d fibers", n);
    for (int i = 0; i < n && st == DCM_OK; i++)
        st = fiber_init(&fibers[i], fn, args[i]);
    if (st == DCM_OK)
        run_all(fibers, n);
    for (int i = 0; i < n; i++)
        fiber_fini(&fibers[i]);
    free(fibers);
    return st;
}

bool dcmi_fiber_active(void)
{
    return running != NULL;
}

void dcmi_fiber_yield(void)
{
    go_home(running->current);
}

void dcmi_fiber_progress(void)
{
    if (running != NULL)
        running->progress = true;
}
