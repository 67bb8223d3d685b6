/* SPDX-License-Identifier: Apache-2.0 */
/* Words for people: suggestions, sizes, quoting, names of signals. */
#include "cli.h"

#include <ctype.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include <devcomm/version.h>

#include "devcomm_commit.h" /* made by the build */

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

enum {
    WORD_MAX = 32,
    FAR = 99
};

const char *cli_version(void)
{
    return TEXT(DCM_VERSION_MAJOR) "." TEXT(DCM_VERSION_MINOR) "." TEXT(
        DCM_VERSION_PATCH);
}

const char *cli_commit(void)
{
    return DCMI_COMMIT;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Characters to insert, remove, change or swap to make one of the other. */
static size_t distance(const char *a, const char *b)
{
    size_t row[3][WORD_MAX + 1]; /* the last two rows and the new one */
    const size_t la = strlen(a);
    const size_t lb = strlen(b);

    if (la > WORD_MAX || lb > WORD_MAX)
        return FAR;
    for (size_t j = 0; j <= lb; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t *now = row[i % 3];
        const size_t *last = row[(i - 1) % 3];
        const size_t *before = row[(i + 1) % 3];

        now[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            now[j] = least(last[j] + 1, now[j - 1] + 1);
            now[j] = least(now[j], last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], before[j - 2] + 1);
        }
    }
    return row[la % 3][lb];
}

const char *cli_suggest(const char *word, const char *const *names, size_t n)
{
    const size_t len = strlen(word);
    const char *best = NULL;
    size_t best_distance = len < 4 ? 2 : 3; /* nearer than this */

    for (size_t i = 0; i < n; i++) {
        size_t d = distance(word, names[i]);

        if (len >= 2 && strncmp(word, names[i], len) == 0)
            d = 0; /* the beginning of it */
        if (d < best_distance) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}

const char *cli_bytes(char *text, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    uint64_t v = bytes;

    while (v >= 1024 && v % 1024 == 0 && unit < 4) {
        v /= 1024;
        unit++;
    }
    if (v < 10240) {
        (void)snprintf(text, 32, "%" PRIu64 " %s", v, units[unit]);
        return text;
    }
    /* No round number: one decimal of the unit that fits. */
    unit = 0;
    v = bytes;
    while (v >= 10240 && unit < 4) {
        v /= 1024;
        unit++;
    }
    (void)snprintf(text, 32, "%.1f %s",
                   (double)bytes / (double)(1ull << 10 * unit), units[unit]);
    return text;
}

static bool is_plain(const char *word)
{
    if (*word == '\0')
        return false;
    for (; *word != '\0'; word++) {
        if (!isalnum((unsigned char)*word) &&
            strchr("-_./:=,+%@", *word) == NULL)
            return false;
    }
    return true;
}

/* What does not fit is left out. */
static void append(char *text, size_t size, const char *piece)
{
    const size_t at = strlen(text);

    (void)snprintf(text + at, size - at, "%s", piece);
}

void cli_quote(char *text, size_t size, char *const *argv, int argc)
{
    text[0] = '\0';
    for (int i = 0; i < argc; i++) {
        if (i > 0)
            append(text, size, " ");
        if (is_plain(argv[i])) {
            append(text, size, argv[i]);
            continue;
        }
        append(text, size, "'");
        for (const char *c = argv[i]; *c != '\0'; c++) {
            const char one[2] = {*c, '\0'};

            append(text, size, *c == '\'' ? "'\\''" : one);
        }
        append(text, size, "'");
    }
}

const char *cli_signal_name(char *text, size_t size, int sig)
{
    static const struct {
        int sig;
        const char *name;
    } names[] = {
        {SIGHUP, "SIGHUP"},   {SIGINT, "SIGINT"},   {SIGQUIT, "SIGQUIT"},
        {SIGILL, "SIGILL"},   {SIGTRAP, "SIGTRAP"}, {SIGABRT, "SIGABRT"},
        {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},   {SIGKILL, "SIGKILL"},
        {SIGSEGV, "SIGSEGV"}, {SIGPIPE, "SIGPIPE"}, {SIGALRM, "SIGALRM"},
        {SIGTERM, "SIGTERM"}, {SIGUSR1, "SIGUSR1"}, {SIGUSR2, "SIGUSR2"},
        {SIGXCPU, "SIGXCPU"}, {SIGXFSZ, "SIGXFSZ"}, {SIGSYS, "SIGSYS"},
    };

    for (size_t i = 0; i < DCMI_ARRAY_LEN(names); i++) {
        if (names[i].sig == sig)
            return names[i].name;
    }
    (void)snprintf(text, size, "signal %d", sig);
    return text;
}
