/* SPDX-License-Identifier: Apache-2.0 */
/* The stand-in's own functions, by their names. */
#include "standin/ask.h"

#include <dlfcn.h>

void ask_find(void *fn_p, const char *name)
{
    void *dl = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    void *symbol;

    gpu_die_unless(dl != NULL);
    symbol = dlsym(dl, name);
    gpu_die_unless(symbol != NULL);
    memcpy(fn_p, &symbol, sizeof(symbol));
    (void)dlclose(dl);
}

standin_counts ask_count(void)
{
    standin_count_fn fn;
    standin_counts counts;

    ask_find(&fn, "standin_count");
    fn(&counts);
    return counts;
}

void ask_hold(dcmi_cu_stream stream)
{
    standin_hold_fn fn;

    ask_find(&fn, "standin_hold");
    gpu_do(fn(stream));
}

void ask_let_go(void)
{
    standin_let_go_fn fn;

    ask_find(&fn, "standin_let_go");
    fn();
}

void ask_must_equal(const standin_counts *was, const char *when)
{
    static const char *const names[] = {
#define STANDIN_X(NAME) #NAME,
        STANDIN_LIVE_MAP(STANDIN_X)
#undef STANDIN_X
    };
    const standin_counts now = ask_count();

    for (int i = 0; i < STANDIN_LIVE; i++) {
        if (now.of[i] != was->of[i])
            fprintf(stderr, "%s: %ld %s, not %ld\n", when, now.of[i], names[i],
                    was->of[i]);
        gpu_die_unless(now.of[i] == was->of[i]);
    }
}
