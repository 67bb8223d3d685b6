/* SPDX-License-Identifier: Apache-2.0 */
/* The name of a backend with faults: RULE+RULE..., a rule being WORD,WORD... */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/parse.h"
#include "comm/fault.h"

#define PREFIX "fault:"

enum {
    WORD_BYTES = 48,
    MOST_STALL_MS = 3600000
};

static const struct {
    const char *key;
    size_t offset;
    uint64_t least;
    uint64_t most;
} numbers[] = {
    {"rank", offsetof(dcmi_fault_rule, rank), 0, DCM_MAX_RANKS - 1},
    {"at", offsetof(dcmi_fault_rule, at), 1, UINT64_MAX},
    {"from", offsetof(dcmi_fault_rule, from), 1, UINT64_MAX},
    {"odds", offsetof(dcmi_fault_rule, odds), 1, UINT64_MAX},
    {"seed", offsetof(dcmi_fault_rule, seed), 0, UINT64_MAX},
    {"stall", offsetof(dcmi_fault_rule, stall_ms), 0, MOST_STALL_MS},
};

static const struct {
    const char *text;
    int call;
} calls[] = {
#define DCM_X(name, value, text) {text, DCM_COLL_##name},
    DCM_COLL_MAP(DCM_X)
#undef DCM_X
        {"open", DCMI_FAULT_OPEN},
    {"arena", DCMI_FAULT_ARENA},
};

/* By the names of the enumerators, in any case, without DCM_E_. */
static const struct {
    const char *text;
    dcm_status status;
} statuses[] = {
    {"inval", DCM_E_INVAL},     {"nomem", DCM_E_NOMEM},
    {"unsup", DCM_E_UNSUP},     {"sys", DCM_E_SYS},
    {"device", DCM_E_DEVICE},   {"peer", DCM_E_PEER},
    {"timeout", DCM_E_TIMEOUT}, {"abi", DCM_E_ABI},
    {"busy", DCM_E_BUSY},       {"mismatch", DCM_E_MISMATCH},
    {"aborted", DCM_E_ABORTED},
};

/* Each of these returns what is wrong with the value, or NULL. */

static const char *read_call(dcmi_fault_rule *rule, const char *value)
{
    for (size_t i = 0; i < DCMI_ARRAY_LEN(calls); i++) {
        if (strcmp(value, calls[i].text) == 0) {
            rule->call = calls[i].call;
            return NULL;
        }
    }
    return "no such call";
}

static const char *read_status(dcmi_fault_rule *rule, const char *value)
{
    for (size_t i = 0; i < DCMI_ARRAY_LEN(statuses); i++) {
        if (strcasecmp(value, statuses[i].text) == 0) {
            rule->status = statuses[i].status;
            return NULL;
        }
    }
    return "no such status";
}

static const char *read_number(dcmi_fault_rule *rule, size_t i,
                               const char *value)
{
    uint64_t v;

    if (!dcmi_parse_u64(value, numbers[i].most, &v) || v < numbers[i].least)
        return "not a number, or out of range";
    memcpy((char *)rule + numbers[i].offset, &v, sizeof(v));
    return NULL;
}

/* What a word makes the rule do; NONE: it is a condition. */
static dcmi_fault_deed deed_of(const char *key)
{
    static const struct {
        const char *key;
        dcmi_fault_deed deed;
    } deeds[] = {
        {"fail", DCMI_FAULT_FAIL},
        {"stall", DCMI_FAULT_STALL},
        {"die", DCMI_FAULT_DIE},
        {"flip", DCMI_FAULT_FLIP},
    };

    for (size_t i = 0; i < DCMI_ARRAY_LEN(deeds); i++) {
        if (strcmp(key, deeds[i].key) == 0)
            return deeds[i].deed;
    }
    return DCMI_FAULT_NONE;
}

static const char *read_value(dcmi_fault_rule *rule, const char *key,
                              const char *value)
{
    for (size_t i = 0; i < DCMI_ARRAY_LEN(numbers); i++) {
        if (strcmp(key, numbers[i].key) == 0)
            return read_number(rule, i, value);
    }
    if (strcmp(key, "call") == 0)
        return read_call(rule, value);
    if (strcmp(key, "fail") == 0)
        return read_status(rule, value);
    return "no such word";
}

static const char *read_word(dcmi_fault_rule *rule, const char *at, size_t len)
{
    char word[WORD_BYTES];
    char *value;
    dcmi_fault_deed deed;

    if (len == 0)
        return "a word is missing";
    if (len >= sizeof(word))
        return "too long";
    memcpy(word, at, len);
    word[len] = '\0';
    value = strchr(word, '=');
    if (value != NULL)
        *value++ = '\0';
    deed = deed_of(word);
    if (deed != DCMI_FAULT_NONE && rule->deed != DCMI_FAULT_NONE)
        return "a rule does one thing";
    if (deed != DCMI_FAULT_NONE)
        rule->deed = deed;
    if (deed == DCMI_FAULT_DIE || deed == DCMI_FAULT_FLIP)
        return value == NULL ? NULL : "takes no value";
    return value != NULL ? read_value(rule, word, value)
                         : "no such word, or its value is missing";
}

static dcm_status complain(const char *name, const char *at, size_t len,
                           const char *why)
{
    return dcmi_err(DCM_E_INVAL, "backend \"%s\": character %zu, \"%.*s\": %s",
                    name, (size_t)(at - name) + 1, (int)len, at, why);
}

/* One rule from *at_p, which is left behind it. */
static dcm_status read_rule(dcmi_fault_rule *rule, const char **at_p,
                            const char *name)
{
    const char *begin = *at_p;
    const char *at = begin;
    const char *why;
    size_t len;

    *rule = (dcmi_fault_rule){
        .rank = DCMI_FAULT_ANY_RANK,
        .from = 1,
        .odds = 1,
    };
    for (;; at++) {
        len = strcspn(at, ",+:");
        why = read_word(rule, at, len);
        if (why != NULL)
            return complain(name, at, len, why);
        at += len;
        if (*at != ',')
            break;
    }
    *at_p = at;
    if (rule->deed == DCMI_FAULT_NONE)
        return complain(name, begin, (size_t)(at - begin),
                        "says not what to do: fail, stall, die or flip");
    if (rule->deed == DCMI_FAULT_FLIP && rule->call >= DCMI_FAULT_OPEN)
        return complain(name, begin, (size_t)(at - begin),
                        "there is no result to flip a bit of");
    return DCM_OK;
}

dcm_status dcmi_faults_parse(dcmi_faults *faults, const char **backend_p,
                             const char *name)
{
    const char *begin;
    const char *at;
    dcm_status st;

    faults->n = 0;
    *backend_p = name;
    if (name == NULL || strncmp(name, PREFIX, strlen(PREFIX)) != 0)
        return DCM_OK;
    begin = name + strlen(PREFIX);
    if (strcspn(begin, ":") >= sizeof(faults->text))
        return dcmi_err(DCM_E_INVAL, "backend fault: rules of over %zu bytes",
                        sizeof(faults->text) - 1);
    for (at = begin;; at++) {
        if (faults->n == DCMI_MOST_FAULTS)
            return complain(name, at, strcspn(at, "+:"), "too many rules");
        st = read_rule(&faults->rule[faults->n], &at, name);
        if (st != DCM_OK)
            return st;
        faults->n++;
        if (*at != '+')
            break;
    }
    (void)snprintf(faults->text, sizeof(faults->text), "%.*s",
                   (int)(at - begin), begin);
    *backend_p = at[0] == ':' && at[1] != '\0' ? at + 1 : NULL;
    return DCM_OK;
}
