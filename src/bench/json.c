/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON writer. */
#include "bench/json.h"

#include <inttypes.h>
#include <math.h>

/* Bytes of the UTF-8 sequence at `s`; 0: not one. */
static int utf8_len(const unsigned char *s)
{
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    int n;

    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    /* Neither over-long nor a surrogate nor beyond U+10FFFF. */
    if (s[0] == 0xe0)
        low = 0xa0;
    if (s[0] == 0xf0)
        low = 0x90;
    if (s[0] == 0xed)
        high = 0x9f;
    if (s[0] == 0xf4)
        high = 0x8f;
    if (s[1] < low || s[1] > high)
        return 0;
    for (int i = 2; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    return n;
}

static void put_escaped(FILE *f, unsigned char c)
{
    switch (c) {
    case '"':
        (void)fputs("\\\"", f);
        break;
    case '\\':
        (void)fputs("\\\\", f);
        break;
    case '\n':
        (void)fputs("\\n", f);
        break;
    case '\t':
        (void)fputs("\\t", f);
        break;
    default:
        if (c < 0x20)
            (void)fprintf(f, "\\u%04x", (unsigned)c);
        else
            (void)fputc(c, f);
        break;
    }
}

static void put_string(FILE *f, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;

    (void)fputc('"', f);
    while (*s != '\0') {
        const int n = utf8_len(s);

        if (n == 0)
            (void)fputs("\xef\xbf\xbd", f);
        else if (n == 1)
            put_escaped(f, *s);
        else
            (void)fwrite(s, 1, (size_t)n, f);
        s += n == 0 ? 1 : n;
    }
    (void)fputc('"', f);
}

/* Comma, line and key in front of a value. */
static void begin(dcmi_jw *w, const char *key)
{
    if (w->has_members[w->depth])
        (void)fputc(',', w->file);
    w->has_members[w->depth] = true;
    if (w->depth > 0)
        (void)fprintf(w->file, "\n%*s", 2 * w->depth, "");
    if (key != NULL) {
        put_string(w->file, key);
        (void)fputs(": ", w->file);
    }
}

static void open_level(dcmi_jw *w, const char *key, char c)
{
    begin(w, key);
    (void)fputc(c, w->file);
    if (w->depth < DCMI_JSON_DEPTH)
        w->depth++;
    w->has_members[w->depth] = false;
}

static void close_level(dcmi_jw *w, char c)
{
    const bool had = w->has_members[w->depth];

    if (w->depth > 0)
        w->depth--;
    if (had)
        (void)fprintf(w->file, "\n%*s", 2 * w->depth, "");
    (void)fputc(c, w->file);
    if (w->depth == 0)
        (void)fputc('\n', w->file);
}

void dcmi_jw_object(dcmi_jw *w, const char *key)
{
    open_level(w, key, '{');
}

void dcmi_jw_array(dcmi_jw *w, const char *key)
{
    open_level(w, key, '[');
}

void dcmi_jw_end_object(dcmi_jw *w)
{
    close_level(w, '}');
}

void dcmi_jw_end_array(dcmi_jw *w)
{
    close_level(w, ']');
}

void dcmi_jw_str(dcmi_jw *w, const char *key, const char *v)
{
    begin(w, key);
    if (v == NULL)
        (void)fputs("null", w->file);
    else
        put_string(w->file, v);
}

void dcmi_jw_num(dcmi_jw *w, const char *key, double v)
{
    begin(w, key);
    if (isfinite(v))
        (void)fprintf(w->file, "%.9g", v);
    else
        (void)fputs("null", w->file);
}

void dcmi_jw_u64(dcmi_jw *w, const char *key, uint64_t v)
{
    begin(w, key);
    (void)fprintf(w->file, "%" PRIu64, v);
}

void dcmi_jw_bool(dcmi_jw *w, const char *key, bool v)
{
    begin(w, key);
    (void)fputs(v ? "true" : "false", w->file);
}
