/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The base floor: error record, options, and the tables that bindings and files
 * on disk depend on.
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>

#include "base/err.h"
#include "base/opts.h"

/* ---- error record ----------------------------------------------------------- */

static void test_err_sets(void **state)
{
    (void)state;
    dcmi_err_clear();
    assert_string_equal(dcm_errmsg(), "");
    assert_int_equal(dcmi_err(DCM_E_BUSY, "port %d", 7), DCM_E_BUSY);
    assert_string_equal(dcm_errmsg(), "port 7");
    assert_int_equal(dcmi_err(DCM_E_INVAL, "%s", ""), DCM_E_INVAL);
    assert_string_equal(dcm_errmsg(), "");
}

static void fill(char *text, size_t bytes, char c)
{
    memset(text, c, bytes - 1);
    text[bytes - 1] = '\0';
}

static void test_err_truncates(void **state)
{
    char text[3 * DCMI_ERR_BYTES];

    (void)state;
    fill(text, sizeof(text), 'x');
    (void)dcmi_err(DCM_E_SYS, "%s", text);
    assert_int_equal(strlen(dcm_errmsg()), DCMI_ERR_BYTES - 1);
    errno = EIO;
    assert_int_equal(dcmi_err_sys("%s", text), DCM_E_SYS);
    assert_int_equal(strlen(dcm_errmsg()), DCMI_ERR_BYTES - 1);
    assert_int_equal(dcmi_err_at(DCM_E_SYS, "%s", text), DCM_E_SYS);
    assert_int_equal(strlen(dcm_errmsg()), DCMI_ERR_BYTES - 1);

    /* Both sides of the edge, and well beyond it. */
    for (size_t n = DCMI_ERR_BYTES - 4; n <= 2 * DCMI_ERR_BYTES;
         n += n < DCMI_ERR_BYTES + 4 ? 1 : 100) {
        fill(text, n, 'y');
        errno = ENOENT;
        assert_int_equal(dcmi_err_sys("%s", text), DCM_E_SYS);
        assert_in_range(strlen(dcm_errmsg()), DCMI_ERR_BYTES - 5,
                        DCMI_ERR_BYTES - 1);
        assert_int_equal(dcmi_err_at(DCM_E_SYS, "%s", text), DCM_E_SYS);
        assert_in_range(strlen(dcm_errmsg()), DCMI_ERR_BYTES - 5,
                        DCMI_ERR_BYTES - 1);
    }
}

static void test_err_sys(void **state)
{
    static const struct {
        int err;
        dcm_status st;
    } cases[] = {
        {ENOMEM, DCM_E_NOMEM}, {ENOSPC, DCM_E_NOMEM}, {EIO, DCM_E_SYS},
        {EINVAL, DCM_E_SYS},   {EMFILE, DCM_E_SYS},
    };
    char want[256];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        errno = cases[i].err;
        assert_int_equal(dcmi_err_sys("file %d", 3), cases[i].st);
        assert_int_equal(errno, cases[i].err);
        (void)snprintf(want, sizeof(want), "file 3: %s",
                       strerror(cases[i].err));
        assert_string_equal(dcm_errmsg(), want);
    }
    errno = 99999;
    assert_int_equal(dcmi_err_sys("odd"), DCM_E_SYS);
    assert_non_null(strstr(dcm_errmsg(), "99999"));
    assert_int_equal(errno, 99999);
}

static void test_err_at(void **state)
{
    char text[DCMI_ERR_BYTES];

    (void)state;
    (void)dcmi_err(DCM_E_PEER, "inner");
    assert_int_equal(dcmi_err_at(DCM_E_PEER, "middle %d", 2), DCM_E_PEER);
    (void)dcmi_err_at(DCM_E_PEER, "outer");
    assert_string_equal(dcm_errmsg(), "outer: middle 2: inner");

    /* A full record: the front stays, the end goes. */
    fill(text, sizeof(text), 'z');
    (void)dcmi_err(DCM_E_PEER, "%s", text);
    (void)dcmi_err_at(DCM_E_PEER, "front");
    assert_int_equal(strncmp(dcm_errmsg(), "front: zzz", 10), 0);
    assert_int_equal(strlen(dcm_errmsg()), DCMI_ERR_BYTES - 1);
}

static void *other_thread(void *arg)
{
    (void)arg;
    die_unless(dcm_errmsg()[0] == '\0');
    (void)dcmi_err(DCM_E_SYS, "theirs");
    die_unless(strcmp(dcm_errmsg(), "theirs") == 0);
    return NULL;
}

static void test_err_per_thread(void **state)
{
    pthread_t thread;

    (void)state;
    (void)dcmi_err(DCM_E_SYS, "mine");
    assert_int_equal(pthread_create(&thread, NULL, other_thread, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(dcm_errmsg(), "mine");
}

/* ---- options ---------------------------------------------------------------- */

typedef struct ours {
    size_t size;
    int a;
    int b;
    void *c;
} ours;

/* What a caller of the next version hands in. */
typedef struct newer {
    ours known;
    int d;
    int e;
} newer;

static void test_opts_defaults(void **state)
{
    ours o;

    (void)state;
    memset(&o, 0xa5, sizeof(o));
    assert_ok(dcmi_opts_copy(&o, sizeof(o), NULL, "ours"));
    assert_int_equal(o.size, 0);
    assert_int_equal(o.a, 0);
    assert_int_equal(o.b, 0);
    assert_null(o.c);
}

static void test_opts_sizes(void **state)
{
    ours in = {.size = sizeof(in), .a = 1, .b = 2, .c = &in};
    ours o;

    (void)state;
    assert_ok(dcmi_opts_copy(&o, sizeof(o), &in, "ours"));
    assert_int_equal(o.a, 1);
    assert_int_equal(o.b, 2);
    assert_ptr_equal(o.c, &in);

    /* Older: it ends before b. */
    in.size = offsetof(ours, b);
    memset(&o, 0xa5, sizeof(o));
    assert_ok(dcmi_opts_copy(&o, sizeof(o), &in, "ours"));
    assert_int_equal(o.a, 1);
    assert_int_equal(o.b, 0);
    assert_null(o.c);

    in.size = sizeof(size_t);
    assert_ok(dcmi_opts_copy(&o, sizeof(o), &in, "ours"));
    assert_int_equal(o.a, 0);
}

/* Beyond the struct lies what a read by a wild size would find. */
static void test_opts_wild(void **state)
{
    static const size_t sizes[] = {
        0, 1, sizeof(size_t) - 1, 4097, SIZE_MAX / 2, SIZE_MAX,
    };
    ours *in = calloc(1, sizeof(*in));
    ours o;

    (void)state;
    assert_non_null(in);
    in->a = 1;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        in->size = sizes[i];
        assert_status(dcmi_opts_copy(&o, sizeof(o), in, "some_opts"),
                      DCM_E_INVAL, "some_opts: size");
    }
    free(in);
}

static void test_opts_newer(void **state)
{
    newer in = {.known = {.size = sizeof(in), .a = 1}};
    ours o;

    (void)state;
    assert_ok(dcmi_opts_copy(&o, sizeof(o), &in, "ours"));
    assert_int_equal(o.a, 1);

    in.e = 1;
    assert_status(dcmi_opts_copy(&o, sizeof(o), &in, "ours"), DCM_E_ABI,
                  "ours: byte");
    in.e = 0;
    in.d = 0x40;
    assert_status(dcmi_opts_copy(&o, sizeof(o), &in, "ours"), DCM_E_ABI,
                  "ours: byte");

    /* Set, but outside what the caller says it has. */
    in.known.size = offsetof(newer, d);
    assert_ok(dcmi_opts_copy(&o, sizeof(o), &in, "ours"));
}

static void test_opts_unaligned(void **state)
{
    char space[sizeof(ours) + 1];
    const ours in = {.size = sizeof(in), .b = 9};
    ours o;

    (void)state;
    memcpy(space + 1, &in, sizeof(in));
    assert_ok(dcmi_opts_copy(&o, sizeof(o), space + 1, "ours"));
    assert_int_equal(o.b, 9);
}

/* ---- tables ----------------------------------------------------------------- */

/*
 * Released values: bindings and recorded failures hold them.  A line may be
 * added at the end, never changed.
 */
static void test_status_values(void **state)
{
    static const struct {
        dcm_status st;
        int value;
    } released[] = {
        {DCM_OK, 0},          {DCM_AGAIN, 1},    {DCM_E_INVAL, -1},
        {DCM_E_NOMEM, -2},    {DCM_E_UNSUP, -3}, {DCM_E_SYS, -4},
        {DCM_E_DEVICE, -5},   {DCM_E_PEER, -6},  {DCM_E_TIMEOUT, -7},
        {DCM_E_ABI, -8},      {DCM_E_BUSY, -9},  {DCM_E_MISMATCH, -10},
        {DCM_E_ABORTED, -11},
    };
    static const int listed[] = {
#define DCM_X(name, value, text) value,
        DCM_STATUS_MAP(DCM_X)
#undef DCM_X
    };
    const size_t n = sizeof(listed) / sizeof(listed[0]);

    (void)state;
    assert_int_equal(sizeof(released) / sizeof(released[0]), n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(released[i].st, released[i].value);
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(listed[i], listed[k]);
    }
}

static void test_status_texts(void **state)
{
    static const int unknown[] = {2, -12, INT32_MAX, INT32_MIN};

    (void)state;
#define DCM_X(name, value, text)                                               \
    assert_string_equal(dcm_status_str(DCM_##name), text);                     \
    assert_true((text)[0] != '\0');
    DCM_STATUS_MAP(DCM_X)
#undef DCM_X
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        assert_string_equal(dcm_status_str((dcm_status)unknown[i]),
                            "unknown status");
}

static void test_dtypes(void **state)
{
    static const struct {
        dcm_dtype dtype;
        int value;
        size_t bytes;
        const char *text;
    } released[] = {
        {DCM_F64, 0, 8, "f64"},       {DCM_F32, 1, 4, "f32"},
        {DCM_F16, 2, 2, "f16"},       {DCM_BF16, 3, 2, "bf16"},
        {DCM_F8E4M3, 4, 1, "f8e4m3"}, {DCM_F8E5M2, 5, 1, "f8e5m2"},
        {DCM_I8, 6, 1, "i8"},         {DCM_U8, 7, 1, "u8"},
        {DCM_I32, 8, 4, "i32"},       {DCM_U32, 9, 4, "u32"},
        {DCM_I64, 10, 8, "i64"},      {DCM_U64, 11, 8, "u64"},
    };
    static const int unknown[] = {-1, DCM_NDTYPES, 255, INT32_MAX, INT32_MIN};

    (void)state;
    assert_int_equal(sizeof(released) / sizeof(released[0]), DCM_NDTYPES);
    for (size_t i = 0; i < DCM_NDTYPES; i++) {
        assert_int_equal(released[i].dtype, released[i].value);
        assert_int_equal(dcm_dtype_bytes(released[i].dtype), released[i].bytes);
        assert_string_equal(dcm_dtype_str(released[i].dtype), released[i].text);
    }
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        assert_int_equal(dcm_dtype_bytes((dcm_dtype)unknown[i]), 0);
        assert_null(dcm_dtype_str((dcm_dtype)unknown[i]));
    }
}

static void test_ops(void **state)
{
    static const char *const released[] = {"sum", "prod", "min", "max", "avg"};
    static const int unknown[] = {-1, DCM_NOPS, 255, INT32_MAX, INT32_MIN};

    (void)state;
    assert_int_equal(sizeof(released) / sizeof(released[0]), DCM_NOPS);
    assert_int_equal(DCM_SUM, 0);
    assert_int_equal(DCM_AVG, 4);
    for (int i = 0; i < DCM_NOPS; i++)
        assert_string_equal(dcm_op_str((dcm_op)i), released[i]);
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        assert_null(dcm_op_str((dcm_op)unknown[i]));
}

static void test_version(void **state)
{
    (void)state;
    assert_int_equal(dcm_version(), DCM_VERSION);
    assert_int_equal(DCM_VERSION, DCM_VERSION_MAJOR * 10000 +
                                      DCM_VERSION_MINOR * 100 +
                                      DCM_VERSION_PATCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_err_sets),
        cmocka_unit_test(test_err_truncates),
        cmocka_unit_test(test_err_sys),
        cmocka_unit_test(test_err_at),
        cmocka_unit_test(test_err_per_thread),
        cmocka_unit_test(test_opts_defaults),
        cmocka_unit_test(test_opts_sizes),
        cmocka_unit_test(test_opts_wild),
        cmocka_unit_test(test_opts_newer),
        cmocka_unit_test(test_opts_unaligned),
        cmocka_unit_test(test_status_values),
        cmocka_unit_test(test_status_texts),
        cmocka_unit_test(test_dtypes),
        cmocka_unit_test(test_ops),
        cmocka_unit_test(test_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
