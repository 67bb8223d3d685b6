/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target on files and on all files of folders, where no fuzzer does. */
#include <dirent.h>
#include <fcntl.h>

#include "fuzz/fuzz.h"

enum {
    MOST_BYTES = 1 << 20
};

/* By open(2): a target may have its own fopen(). */
static int run_file(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *data = malloc(MOST_BYTES);
    ssize_t n;

    fuzz_require(data != NULL);
    n = fd >= 0 ? read(fd, data, MOST_BYTES) : -1;
    if (fd >= 0)
        (void)close(fd);
    if (n < 0) {
        perror(path);
        free(data);
        return -1;
    }
    /* Of its own size, so that a sanitizer sees what reads past it. */
    data = realloc(data, n > 0 ? (size_t)n : 1);
    fuzz_require(data != NULL);
    printf("%s\n", path);
    (void)fflush(stdout);
    (void)LLVMFuzzerTestOneInput(data, (size_t)n);
    free(data);
    return 1;
}

/* How many inputs there were; -1: one could not be read. */
static int run(const char *path)
{
    DIR *dir = opendir(path);
    char name[4096];
    int total = 0;

    if (dir == NULL)
        return run_file(path);
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        int n;

        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        n = run(name);
        if (n < 0) {
            total = -1;
            break;
        }
        total += n;
    }
    (void)closedir(dir);
    return total;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (run(argv[i]) <= 0) {
            fprintf(stderr, "%s: no inputs\n", argv[i]);
            return 1;
        }
    }
    return argc > 1 ? 0 : 2;
}
