/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 and HMAC against the vectors of FIPS 180 and RFC 4231. */
#include "support.h"

#include "base/sha256.h"

static void hex_of(char *text, const uint8_t *bytes)
{
    for (int i = 0; i < DCMI_SHA256_BYTES; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

/* `part` bytes at a time, so that every way to fill a block occurs. */
static void assert_digest(const char *text, size_t n, size_t part,
                          const char *want)
{
    uint8_t digest[DCMI_SHA256_BYTES];
    char hex[2 * DCMI_SHA256_BYTES + 1];
    dcmi_sha256 s;

    dcmi_sha256_init(&s);
    for (size_t at = 0; at < n; at += part)
        dcmi_sha256_add(&s, text + at, n - at < part ? n - at : part);
    dcmi_sha256_end(&s, digest);
    hex_of(hex, digest);
    assert_string_equal(hex, want);
}

static void test_fips(void **state)
{
    static const struct {
        const char *text;
        const char *digest;
    } vectors[] = {
        {"",
         "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc",
         "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijkl"
         "mnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        const size_t n = strlen(vectors[i].text);

        for (size_t part = 1; part <= n + 1; part++)
            assert_digest(vectors[i].text, n, part, vectors[i].digest);
    }
}

static void test_million(void **state)
{
    char *text = malloc(1000000);

    (void)state;
    assert_non_null(text);
    memset(text, 'a', 1000000);
    assert_digest(
        text, 1000000, 4099,
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(text);
}

/* Fill with one byte: most of the RFC's keys and texts are so. */
static const uint8_t *fill(uint8_t *space, uint8_t value, size_t n)
{
    memset(space, value, n);
    return space;
}

static void assert_hmac(const void *key, size_t key_bytes, const void *text,
                        size_t bytes, const char *want)
{
    uint8_t mac[DCMI_SHA256_BYTES];
    char hex[2 * DCMI_SHA256_BYTES + 1];
    dcmi_hmac m;

    dcmi_hmac_init(&m, key, key_bytes);
    dcmi_hmac_add(&m, text, bytes / 2);
    dcmi_hmac_add(&m, (const char *)text + bytes / 2, bytes - bytes / 2);
    dcmi_hmac_end(&m, mac);
    hex_of(hex, mac);
    hex[strlen(want)] = '\0'; /* one vector is cut */
    assert_string_equal(hex, want);
}

static void test_rfc_4231(void **state)
{
    static const char larger[] = "Test Using Larger Than Block-Size Key - Hash "
                                 "Key First";
    static const char both[] =
        "This is a test using a larger than block-size key and a larger than "
        "block-size data. The key needs to be hashed before being used by the "
        "HMAC algorithm.";
    uint8_t key[131];
    uint8_t text[64];

    (void)state;
    assert_hmac(
        fill(key, 0x0b, 20), 20, "Hi There", 8,
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    assert_hmac(
        "Jefe", 4, "what do ya want for nothing?", 28,
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    assert_hmac(
        fill(key, 0xaa, 20), 20, fill(text, 0xdd, 50), 50,
        "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    for (uint8_t i = 0; i < 25; i++)
        key[i] = (uint8_t)(i + 1);
    assert_hmac(
        key, 25, fill(text, 0xcd, 50), 50,
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
    assert_hmac(fill(key, 0x0c, 20), 20, "Test With Truncation", 20,
                "a3b6167473100ee06e0c796c2955552b");
    assert_hmac(
        fill(key, 0xaa, 131), 131, larger, strlen(larger),
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    assert_hmac(
        fill(key, 0xaa, 131), 131, both, strlen(both),
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");
}

static void test_key_is_wiped(void **state)
{
    uint8_t mac[DCMI_SHA256_BYTES];
    dcmi_hmac m;

    (void)state;
    dcmi_hmac_init(&m, "key", 3);
    dcmi_hmac_end(&m, mac);
    for (size_t i = 0; i < sizeof(m.outer_pad); i++)
        assert_int_equal(m.outer_pad[i], 0);
}

static void test_equal(void **state)
{
    uint8_t a[32] = {0};
    uint8_t b[32] = {0};

    (void)state;
    assert_true(dcmi_equal_secret(a, b, sizeof(a)));
    for (size_t i = 0; i < sizeof(a); i++) {
        b[i] = 0x80;
        assert_false(dcmi_equal_secret(a, b, sizeof(a)));
        assert_true(dcmi_equal_secret(a, b, i));
        b[i] = 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fips),     cmocka_unit_test(test_million),
        cmocka_unit_test(test_rfc_4231), cmocka_unit_test(test_key_is_wiped),
        cmocka_unit_test(test_equal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
