/* SPDX-License-Identifier: Apache-2.0 */
/* The log callback, and the one that DEVCOMM_LOG asks for. */
#include "base/log.h"

#include <devcomm/devcomm.h>

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/env.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static dcm_log_fn log_fn;
static void *log_arg;
static int log_level;
static int is_set; /* by the caller; the environment no longer counts */

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* A forked child must find the lock free, whoever held it in its parent. */
static void fork_prepare(void)
{
    (void)pthread_mutex_lock(&lock);
}

static void fork_release(void)
{
    (void)pthread_mutex_unlock(&lock);
}

static void set_up(void)
{
    (void)pthread_atfork(fork_prepare, fork_release, fork_release);
}

static void to_stderr(void *arg, int level, const char *message)
{
    static const char *const names[] = {"?", "error", "warning", "info"};

    (void)arg;
    (void)fprintf(stderr, "devcomm: %s: %s\n",
                  names[level >= 1 && level <= 3 ? level : 0], message);
}

/* Called with the lock held. */
static void read_env(void)
{
    const char *v = dcmi_env_str(DCMI_ENV_LOG);

    is_set = 1;
    if (v == NULL)
        return;
    log_level = strcmp(v, "info") == 0   ? DCM_LOG_INFO
                : strcmp(v, "warn") == 0 ? DCM_LOG_WARN
                                         : DCM_LOG_ERROR;
    log_fn = to_stderr;
}

void dcm_log_set(dcm_log_fn fn, void *arg, int level)
{
    (void)pthread_once(&once, set_up);
    (void)pthread_mutex_lock(&lock);
    log_fn = fn;
    log_arg = arg;
    log_level = level;
    is_set = 1;
    (void)pthread_mutex_unlock(&lock);
}

void dcmi_log(int level, const char *fmt, ...)
{
    char text[1024];
    dcm_log_fn fn;
    void *arg;
    va_list ap;

    (void)pthread_once(&once, set_up);
    (void)pthread_mutex_lock(&lock);
    if (!is_set)
        read_env();
    fn = level <= log_level ? log_fn : NULL;
    arg = log_arg;
    (void)pthread_mutex_unlock(&lock);
    if (fn == NULL)
        return;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fn(arg, level, text);
}
