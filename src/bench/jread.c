/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON reader: recursive descent, at most DCMI_JSON_DEPTH deep.  Files come
 * from users, so anything that the RFC does not allow is an error.
 */
#include "bench/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

enum {
    FILE_MAX = 64 << 20
};

typedef struct reader {
    const char *at;
    const char *end;
    const char *start;
    int depth;
} reader;

static dcm_status read_value(reader *r, dcmi_json *v);

static dcm_status fail(const reader *r, const char *what)
{
    unsigned line = 1;

    for (const char *p = r->start; p < r->at; p++)
        line += *p == '\n';
    return dcmi_err(DCM_E_INVAL, "JSON line %u: %s", line, what);
}

static void skip_space(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' ||
                              *r->at == '\t' || *r->at == '\r'))
        r->at++;
}

/* Step over `c`, or stay. */
static bool take(reader *r, char c)
{
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static bool take_word(reader *r, const char *word)
{
    const size_t n = strlen(word);

    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n) != 0)
        return false;
    r->at += n;
    return true;
}

static bool take_digits(reader *r)
{
    const char *from = r->at;

    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        r->at++;
    return r->at > from;
}

static dcm_status read_number(reader *r, dcmi_json *v)
{
    const char *from = r->at;
    char text[64];
    bool is_good;

    (void)take(r, '-');
    is_good = take(r, '0') || take_digits(r);
    if (is_good && take(r, '.'))
        is_good = take_digits(r);
    if (is_good && (take(r, 'e') || take(r, 'E'))) {
        if (!take(r, '+'))
            (void)take(r, '-');
        is_good = take_digits(r);
    }
    if (!is_good)
        return fail(r, "no value");
    if ((size_t)(r->at - from) >= sizeof(text))
        return fail(r, "a number of more than 63 characters");

    memcpy(text, from, (size_t)(r->at - from));
    text[r->at - from] = '\0';
    v->kind = DCMI_JSON_NUM;
    v->num = strtod(text, NULL);
    return DCM_OK;
}

static bool take_hex4(reader *r, uint32_t *v_p)
{
    uint32_t v = 0;

    if (r->end - r->at < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        const char c = *r->at++;
        const char low = (char)(c | 0x20);

        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if (low >= 'a' && low <= 'f')
            v = v << 4 | (uint32_t)(low - 'a' + 10);
        else
            return false;
    }
    *v_p = v;
    return true;
}

static char *put_utf8(char *at, uint32_t c)
{
    if (c < 0x80) {
        *at++ = (char)c;
        return at;
    }
    if (c >= 0x10000) {
        *at++ = (char)(0xf0 | c >> 18);
        *at++ = (char)(0x80 | (c >> 12 & 0x3f));
    } else if (c >= 0x800) {
        *at++ = (char)(0xe0 | c >> 12);
    }
    if (c >= 0x800)
        *at++ = (char)(0x80 | (c >> 6 & 0x3f));
    else
        *at++ = (char)(0xc0 | c >> 6);
    *at++ = (char)(0x80 | (c & 0x3f));
    return at;
}

/* What follows a backslash and a u; two of them make one character. */
static dcm_status read_unicode(reader *r, char **to)
{
    uint32_t c;
    uint32_t low;

    if (!take_hex4(r, &c))
        return fail(r, "\\u without four hexadecimal digits");
    if (c >= 0xd800 && c < 0xe000) {
        if (c >= 0xdc00 || !take_word(r, "\\u") || !take_hex4(r, &low) ||
            low < 0xdc00 || low >= 0xe000)
            return fail(r, "half a surrogate pair");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    if (c == 0)
        return fail(r, "a string with a zero byte");
    *to = put_utf8(*to, c);
    return DCM_OK;
}

static dcm_status read_escape(reader *r, char **to)
{
    static const char from[] = "\"\\/bfnrt";
    static const char into[] = "\"\\/\b\f\n\r\t";
    const char *which;

    if (take(r, 'u'))
        return read_unicode(r, to);
    which = r->at < r->end && *r->at != '\0' ? strchr(from, *r->at) : NULL;
    if (which == NULL)
        return fail(r, "an unknown escape");
    r->at++;
    *(*to)++ = into[which - from];
    return DCM_OK;
}

static dcm_status read_string(reader *r, char **str_p)
{
    const char *close;
    dcm_status st = DCM_OK;
    char *str;
    char *to;

    if (!take(r, '"'))
        return fail(r, "no string");
    /* An escape never becomes longer than it was. */
    for (close = r->at; close < r->end && *close != '"'; close++) {
        if (*close == '\\' && close + 1 < r->end)
            close++;
    }
    if (close == r->end)
        return fail(r, "a string without end");
    str = malloc((size_t)(close - r->at) + 1);
    if (str == NULL)
        return dcmi_err(DCM_E_NOMEM, "a JSON string");

    to = str;
    while (st == DCM_OK && r->at < close) {
        if ((unsigned char)*r->at < 0x20)
            st = fail(r, "a control character in a string");
        else if (take(r, '\\'))
            st = read_escape(r, &to);
        else
            *to++ = *r->at++;
    }
    if (st != DCM_OK) {
        free(str);
        return st;
    }
    *to = '\0';
    r->at = close + 1;
    *str_p = str;
    return DCM_OK;
}

static dcm_status read_key(reader *r, dcmi_json *member)
{
    dcm_status st;

    skip_space(r);
    st = read_string(r, &member->key);
    if (st != DCM_OK)
        return st;
    skip_space(r);
    return take(r, ':') ? DCM_OK : fail(r, "no colon after a key");
}

static dcm_status read_members(reader *r, dcmi_json *v, char close)
{
    dcmi_json **tail = &v->first;
    dcm_status st = DCM_OK;

    r->at++;
    if (++r->depth > DCMI_JSON_DEPTH)
        return fail(r, "nested too deep");
    v->kind = close == '}' ? DCMI_JSON_OBJECT : DCMI_JSON_ARRAY;
    skip_space(r);
    if (take(r, close)) {
        r->depth--;
        return DCM_OK;
    }
    do {
        *tail = calloc(1, sizeof(**tail));
        if (*tail == NULL)
            return dcmi_err(DCM_E_NOMEM, "a JSON value");
        if (close == '}')
            st = read_key(r, *tail);
        if (st == DCM_OK)
            st = read_value(r, *tail);
        if (st != DCM_OK)
            return st;
        tail = &(*tail)->next;
        skip_space(r);
    } while (take(r, ','));
    r->depth--;
    return take(r, close) ? DCM_OK : fail(r, "no comma and no end");
}

static dcm_status read_value(reader *r, dcmi_json *v)
{
    skip_space(r);
    if (r->at == r->end)
        return fail(r, "the text ends early");
    switch (*r->at) {
    case '{':
        return read_members(r, v, '}');
    case '[':
        return read_members(r, v, ']');
    case '"':
        v->kind = DCMI_JSON_STR;
        return read_string(r, &v->str);
    default:
        break;
    }
    v->kind = DCMI_JSON_BOOL;
    v->is_true = take_word(r, "true");
    if (v->is_true || take_word(r, "false"))
        return DCM_OK;
    v->kind = DCMI_JSON_NULL;
    return take_word(r, "null") ? DCM_OK : read_number(r, v);
}

dcm_status dcmi_json_parse(dcmi_json **json_p, const char *text, size_t bytes)
{
    reader r = {.at = text, .end = text + bytes, .start = text};
    dcmi_json *json = calloc(1, sizeof(*json));
    dcm_status st;

    if (json == NULL)
        return dcmi_err(DCM_E_NOMEM, "a JSON value");
    st = read_value(&r, json);
    skip_space(&r);
    if (st == DCM_OK && r.at != r.end)
        st = fail(&r, "more after the value");
    if (st != DCM_OK) {
        dcmi_json_free(json);
        return st;
    }
    *json_p = json;
    return DCM_OK;
}

void dcmi_json_free(dcmi_json *json)
{
    while (json != NULL) {
        dcmi_json *next = json->next;

        dcmi_json_free(json->first);
        free(json->str);
        free(json->key);
        free(json);
        json = next;
    }
}

dcm_status dcmi_json_read(dcmi_json **json_p, const char *path)
{
    dcm_status st = DCM_OK;
    char *text = NULL;
    char *larger;
    size_t size = 0;
    size_t n = 0;
    FILE *f = fopen(path, "re");

    if (f == NULL)
        return dcmi_err_sys("%s", path);
    while (st == DCM_OK && !feof(f) && !ferror(f)) {
        if (n == size) {
            size = size == 0 ? 1 << 16 : 2 * size;
            larger = size <= FILE_MAX ? realloc(text, size) : NULL;
            if (larger == NULL) {
                st = dcmi_err(DCM_E_NOMEM, "%s: more than %zu bytes", path, n);
                break;
            }
            text = larger;
        }
        n += fread(text + n, 1, size - n, f);
    }
    if (ferror(f))
        st = dcmi_err_sys("reading %s", path);
    (void)fclose(f);
    if (st == DCM_OK) {
        st = dcmi_json_parse(json_p, text, n);
        if (st != DCM_OK)
            st = dcmi_err_at(st, "%s", path);
    }
    free(text);
    return st;
}

const dcmi_json *dcmi_json_get(const dcmi_json *json, const char *key)
{
    if (json == NULL || json->kind != DCMI_JSON_OBJECT)
        return NULL;
    for (const dcmi_json *m = json->first; m != NULL; m = m->next) {
        if (strcmp(m->key, key) == 0)
            return m;
    }
    return NULL;
}

double dcmi_json_num_of(const dcmi_json *json, const char *key, double fallback)
{
    const dcmi_json *v = dcmi_json_get(json, key);

    return v != NULL && v->kind == DCMI_JSON_NUM ? v->num : fallback;
}

const char *dcmi_json_str_of(const dcmi_json *json, const char *key,
                             const char *fallback)
{
    const dcmi_json *v = dcmi_json_get(json, key);

    return v != NULL && v->kind == DCMI_JSON_STR ? v->str : fallback;
}

bool dcmi_json_bool_of(const dcmi_json *json, const char *key, bool fallback)
{
    const dcmi_json *v = dcmi_json_get(json, key);

    return v != NULL && v->kind == DCMI_JSON_BOOL ? v->is_true : fallback;
}
