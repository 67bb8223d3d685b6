/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines: one of every kind of option. */
#include "fuzz/fuzz.h"
#include "opt.h"

enum {
    MOST_WORDS = 12
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static bool flag;
    static const char *word;
    static unsigned number;
    static size_t size;
    static double seconds;
    static const cli_opt opts[] = {
        {'f', "flag", NULL, CLI_FLAG, &flag, 0, 0, "a flag"},
        {'t', "text", "TEXT", CLI_TEXT, &word, 0, 0, "a text"},
        {'n', "number", "N", CLI_NUMBER, &number, 1, 64, "a number"},
        {0, "size", "BYTES", CLI_SIZE, &size, 1, 1e12, "a size"},
        {'s', "seconds", "S", CLI_SECONDS, &seconds, 0, 1e4, "a time"},
    };
    fuzz_input in = {data, bytes};
    cli_spec spec = {
        .usage = "fuzz [options]",
        .about = "nothing",
        .opts = opts,
        .nopts = sizeof(opts) / sizeof(opts[0]),
    };
    char words[MOST_WORDS][96];
    char *argv[MOST_WORDS + 2];
    int argc = 1;
    int n = 0;

    argv[0] = words[0];
    (void)strcpy(words[0], "fuzz");
    spec.ends_at_operand = fuzz_byte(&in) % 2 == 1;
    number = 1;
    size = 1;
    seconds = 0;
    while (in.left > 0 && argc < MOST_WORDS) {
        (void)fuzz_text(&in, words[argc], sizeof(words[0]));
        argv[argc] = words[argc];
        argc++;
    }
    argv[argc] = NULL;
    if (cli_parse(&spec, argc, argv, &n) == CLI_GO_ON) {
        fuzz_require(n >= 0 && n < argc);
        fuzz_require(number >= 1 && number <= 64);
        fuzz_require(size >= 1 && size <= 1000000000000u);
        fuzz_require(seconds >= 0 && seconds <= 1e4);
    }
    return 0;
}
