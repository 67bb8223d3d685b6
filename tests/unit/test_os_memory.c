/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed segments, and the table of mappings of this process. */
#define _GNU_SOURCE
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"
#include "leaks.h"
#include "os/mapping.h"
#include "os/memfd.h"

static size_t page;

static int make(size_t pages)
{
    int fd;

    assert_ok(dcmi_memfd_create(&fd, "test-memfd", pages * page));
    return fd;
}

static long blocks_of(int fd)
{
    struct stat s;

    assert_int_equal(fstat(fd, &s), 0);
    return (long)s.st_blocks;
}

/* ---- memfd ------------------------------------------------------------------ */

static void test_sealed(void **state)
{
    const int fd = make(3);
    struct stat s;

    (void)state;
    assert_int_equal(fstat(fd, &s), 0);
    assert_int_equal(s.st_size, 3 * page);
    assert_int_equal(ftruncate(fd, (off_t)page), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, (off_t)(4 * page)), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fstat(fd, &s), 0);
    assert_int_equal(s.st_size, 3 * page);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_ok(dcmi_memfd_verify(fd, 3 * page));
    assert_int_equal(close(fd), 0);
}

static void test_reserve(void **state)
{
    const int fd = make(8);
    unsigned char *at;
    void *base;

    (void)state;
    assert_int_equal(blocks_of(fd), 0);
    assert_ok(dcmi_memfd_reserve(fd, 2 * page, 3 * page));
    assert_int_equal(blocks_of(fd) * 512, 3 * page);
    assert_ok(dcmi_memfd_reserve(fd, 2 * page, 3 * page)); /* again: no harm */
    assert_int_equal(blocks_of(fd) * 512, 3 * page);
    assert_ok(dcmi_memfd_map(&base, fd, 8 * page));
    at = base;
    dcmi_memfd_populate(at + 2 * page, 3 * page);
    for (size_t i = 2 * page; i < 5 * page; i++)
        assert_int_equal(at[i], 0);
    memset(at + 2 * page, 1, 3 * page);
    assert_int_equal(blocks_of(fd) * 512, 3 * page);
    dcmi_memfd_unmap(base, 8 * page);
    assert_int_equal(close(fd), 0);
}

static void test_reserve_refused(void **state)
{
    const int fd = make(1);

    (void)state;
    /* Beyond the sealed end. */
    assert_status(dcmi_memfd_reserve(fd, page, page), DCM_E_SYS, "reserving");
    assert_status(dcmi_memfd_reserve(-1, 0, page), DCM_E_SYS, "reserving");
    assert_int_equal(blocks_of(fd), 0);
    assert_int_equal(close(fd), 0);
}

/*
 * More than the machine has.  In a child that the kernel kills first, should the
 * library try all the same.
 */
static int reserve_all(void *arg)
{
    const size_t much = (size_t)1 << 44;
    FILE *f = fopen("/proc/self/oom_score_adj", "w");
    struct stat s;
    int fd;

    (void)arg;
    die_unless(f != NULL && fputs("1000", f) >= 0 && fclose(f) == 0);
    die_unless(dcmi_memfd_create(&fd, "test-huge", much) == DCM_OK);
    die_unless(dcmi_memfd_reserve(fd, 0, much) == DCM_E_NOMEM);
    die_unless(strstr(dcm_errmsg(), "17592186044416 bytes") != NULL);
    die_unless(fstat(fd, &s) == 0 && s.st_blocks == 0);
    return 0;
}

static void test_reserve_too_much(void **state)
{
    (void)state;
    assert_int_equal(test_in_child(reserve_all, NULL, 60), 0);
}

static int with_file_limit(void *arg)
{
    const struct rlimit limit = {2 * page, RLIM_INFINITY};
    int fd;

    (void)arg;
    die_unless(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    die_unless(dcmi_memfd_create(&fd, "test-fsize", 3 * page) == DCM_E_NOMEM);
    die_unless(strstr(dcm_errmsg(), "test-fsize") != NULL);
    die_unless(strstr(dcm_errmsg(), "ulimit -f") != NULL);
    die_unless(dcmi_memfd_create(&fd, "test-fsize", 2 * page) == DCM_OK);
    die_unless(dcmi_memfd_reserve(fd, 0, 2 * page) == DCM_OK);
    return 0;
}

static void test_file_limit(void **state)
{
    (void)state;
    assert_int_equal(test_in_child(with_file_limit, NULL, 60), 0);
}

static int with_address_limit(void *arg)
{
    const size_t much = (size_t)1 << 30;
    FILE *f = fopen("/proc/self/statm", "r");
    dcmi_mapping *m = NULL;
    struct rlimit limit;
    unsigned long pages;
    void *base;
    int fd;

    (void)arg;
    die_unless(f != NULL && fscanf(f, "%lu", &pages) == 1 && fclose(f) == 0);
    limit = (struct rlimit){pages * page + much / 2, RLIM_INFINITY};
    die_unless(dcmi_memfd_create(&fd, "test-as", much) == DCM_OK);
    die_unless(setrlimit(RLIMIT_AS, &limit) == 0);
    die_unless(dcmi_memfd_map(&base, fd, much) == DCM_E_NOMEM);
    die_unless(dcmi_mapping_get(&m, fd, much) == DCM_E_NOMEM);
    die_unless(strstr(dcm_errmsg(), "1073741824") != NULL && m == NULL);
    return 0;
}

static void test_address_limit(void **state)
{
    (void)state;
    assert_int_equal(test_in_child(with_address_limit, NULL, 60), 0);
}

static int with_few_descriptors(void *arg)
{
    const struct rlimit limit = {3, 3};
    int fd;

    (void)arg;
    die_unless(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    die_unless(dcmi_memfd_create(&fd, "test-nofile", page) == DCM_E_SYS);
    die_unless(strstr(dcm_errmsg(), "test-nofile") != NULL);
    return 0;
}

static void test_descriptor_limit(void **state)
{
    (void)state;
    assert_int_equal(test_in_child(with_few_descriptors, NULL, 60), 0);
}

/* ---- what others send -------------------------------------------------------- */

/* A memfd of `bytes` with these seals. */
static int raw(unsigned flags, size_t bytes, int seals)
{
    const int fd = memfd_create("test-raw", flags);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    if (seals != 0)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void refused(int fd, size_t bytes, dcm_status want, const char *text)
{
    dcmi_mapping *m = NULL;

    assert_status(dcmi_memfd_verify(fd, bytes), want, text);
    assert_status(dcmi_mapping_get(&m, fd, bytes), want, text);
    assert_null(m);
    if (fd >= 0)
        (void)close(fd);
}

static void test_verify_refuses(void **state)
{
    static const int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    const int before = test_count_fds();
    FILE *file = tmpfile();
    int ends[2];

    (void)state;
    refused(raw(MFD_ALLOW_SEALING, page, 0), page, DCM_E_INVAL, "not sealed");
    refused(raw(0, page, 0), page, DCM_E_INVAL, "not sealed");
    refused(raw(MFD_ALLOW_SEALING, page, all & ~F_SEAL_SHRINK), page,
            DCM_E_INVAL, "not sealed");
    refused(raw(MFD_ALLOW_SEALING, page, all & ~F_SEAL_GROW), page, DCM_E_INVAL,
            "not sealed");
    refused(raw(MFD_ALLOW_SEALING, page, all & ~F_SEAL_SEAL), page, DCM_E_INVAL,
            "not sealed");
    refused(raw(MFD_ALLOW_SEALING, 0, all), page, DCM_E_INVAL, "has 0 bytes");
    refused(raw(MFD_ALLOW_SEALING, page - 1, all), page, DCM_E_INVAL, "bytes");
    refused(raw(MFD_ALLOW_SEALING, 2 * page, all), page, DCM_E_INVAL, "bytes");

    assert_non_null(file);
    assert_int_equal(ftruncate(fileno(file), (off_t)page), 0);
    refused(dup(fileno(file)), page, DCM_E_INVAL, "received segment");
    (void)fclose(file);
    assert_int_equal(pipe(ends), 0);
    refused(ends[0], page, DCM_E_INVAL, "not a memfd");
    refused(ends[1], page, DCM_E_INVAL, "not a memfd");
    refused(open("/", O_RDONLY), page, DCM_E_INVAL, "received segment");
    refused(ends[0], page, DCM_E_SYS, "received segment"); /* closed above */
    refused(-1, page, DCM_E_SYS, "received segment");
    assert_int_equal(test_count_fds(), before);
}

/* Sealed and of the right size, but not to be written. */
static void test_read_only(void **state)
{
    static const int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    dcmi_mapping *m = NULL;
    char path[64];
    int fd;
    int ro;

    (void)state;
    fd = raw(MFD_ALLOW_SEALING, page, all | F_SEAL_WRITE);
    assert_status(dcmi_mapping_get(&m, fd, page), DCM_E_SYS, "mapping");
    assert_int_equal(close(fd), 0);

    fd = make(1);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ro = open(path, O_RDONLY);
    assert_true(ro >= 0);
    assert_status(dcmi_mapping_get(&m, ro, page), DCM_E_SYS, "mapping");
    assert_int_equal(close(ro), 0);
    assert_int_equal(close(fd), 0);
    assert_null(m);
}

/* ---- mapping table ----------------------------------------------------------- */

static void test_one_address(void **state)
{
    const int fd = make(2);
    const int other = make(2);
    const int twin = dup(fd);
    dcmi_mapping *m[4];
    char *at;

    (void)state;
    assert_int_equal(test_count_maps("memfd:test-memfd"), 0);
    assert_ok(dcmi_mapping_get(&m[0], fd, 2 * page));
    assert_ok(dcmi_mapping_get(&m[1], twin, 2 * page));
    assert_ok(dcmi_mapping_get(&m[2], other, 2 * page));
    m[3] = dcmi_mapping_ref(m[0]);
    assert_ptr_equal(dcmi_mapping_base(m[0]), dcmi_mapping_base(m[1]));
    assert_ptr_equal(dcmi_mapping_base(m[0]), dcmi_mapping_base(m[3]));
    assert_ptr_not_equal(dcmi_mapping_base(m[0]), dcmi_mapping_base(m[2]));
    assert_int_equal(dcmi_mapping_bytes(m[0]), 2 * page);
    assert_int_equal(test_count_maps("memfd:test-memfd"), 2);

    /* It does not need the descriptor that it was made from. */
    assert_int_equal(close(fd), 0);
    assert_int_equal(close(twin), 0);
    at = dcmi_mapping_base(m[0]);
    at[page] = 1;
    dcmi_mapping_put(m[0]);
    dcmi_mapping_put(m[1]);
    assert_int_equal(at[page], 1);
    assert_int_equal(test_count_maps("memfd:test-memfd"), 2);
    dcmi_mapping_put(m[3]);
    assert_int_equal(test_count_maps("memfd:test-memfd"), 1);
    dcmi_mapping_put(m[2]);
    dcmi_mapping_put(NULL);
    assert_int_equal(test_count_maps("memfd:test-memfd"), 0);
    assert_int_equal(close(other), 0);
}

/* Put in another order than taken: the list loses its middle and its end. */
static void test_any_order(void **state)
{
    static const int order[] = {1, 3, 0, 2};
    dcmi_mapping *m[4];

    (void)state;
    for (int i = 0; i < 4; i++) {
        const int fd = make(1);

        assert_ok(dcmi_mapping_get(&m[i], fd, page));
        assert_int_equal(close(fd), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(test_count_maps("memfd:test-memfd"), 4 - i);
        dcmi_mapping_put(m[order[i]]);
    }
    assert_int_equal(test_count_maps("memfd:test-memfd"), 0);
}

typedef struct churn {
    int fd;
    int rounds; /* 0: until told to stop */
    atomic_bool stop;
    atomic_int inside;
} churn;

static void *get_and_put(void *arg)
{
    churn *c = arg;

    for (int i = 0; c->rounds != 0 ? i < c->rounds : !atomic_load(&c->stop);
         i++) {
        dcmi_mapping *m;
        atomic_int *word;

        die_unless(dcmi_mapping_get(&m, c->fd, page) == DCM_OK);
        word = dcmi_mapping_base(m);
        (void)atomic_fetch_add(word, 1);
        dcmi_mapping_put(m);
        (void)atomic_fetch_add(&c->inside, 1);
    }
    return NULL;
}

static void test_threads(void **state)
{
    churn c = {.fd = make(1), .rounds = test_is_thin() ? 300 : 5000};
    pthread_t threads[3];
    dcmi_mapping *m;

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, get_and_put, &c), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(test_count_maps("memfd:test-memfd"), 0);
    assert_ok(dcmi_mapping_get(&m, c.fd, page));
    assert_int_equal(*(int *)dcmi_mapping_base(m), 3 * c.rounds);
    dcmi_mapping_put(m);
    assert_int_equal(close(c.fd), 0);
}

static int get_once(void *arg)
{
    churn *c = arg;
    dcmi_mapping *m;

    die_unless(dcmi_mapping_get(&m, c->fd, page) == DCM_OK);
    dcmi_mapping_put(m);
    return 0;
}

/* A child must not inherit a lock that another thread held. */
static void test_fork_meanwhile(void **state)
{
    churn c = {.fd = make(1)};
    const int forks = test_is_thin() ? 20 : 200;
    pthread_t thread;

    (void)state;
    if (DCMI_ASAN || DCMI_TSAN)
        skip(); /* their allocators are not made for that */
    assert_int_equal(pthread_create(&thread, NULL, get_and_put, &c), 0);
    while (atomic_load(&c.inside) == 0)
        ;
    for (int i = 0; i < forks; i++)
        assert_int_equal(test_in_child(get_once, &c, 60), 0);
    atomic_store(&c.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(close(c.fd), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sealed),
        cmocka_unit_test(test_reserve),
        cmocka_unit_test(test_reserve_refused),
        cmocka_unit_test(test_reserve_too_much),
        cmocka_unit_test(test_file_limit),
        cmocka_unit_test(test_address_limit),
        cmocka_unit_test(test_descriptor_limit),
        cmocka_unit_test(test_verify_refuses),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_one_address),
        cmocka_unit_test(test_any_order),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_fork_meanwhile),
    };

    page = dcmi_page_bytes();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
