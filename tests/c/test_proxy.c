/* proxy: addresses as people write them, what is refused without being shown, and who needs none. */
#include "proxy.h"

#include "err.h"
#include "url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *value, *address, *user, *password;
    } rows[] = {
        {"http://proxy.example:3128", "http://proxy.example:3128", NULL, NULL},
        {"http://proxy.example:3128/", "http://proxy.example:3128", NULL, NULL},
        {"proxy.example:3128", "http://proxy.example:3128", NULL, NULL},
        {"proxy.example", "http://proxy.example", NULL, NULL},
        {"127.0.0.1:8080", "http://127.0.0.1:8080", NULL, NULL},
        {"http://[::1]:8080", "http://[::1]:8080", NULL, NULL},
        {"SOCKS5h://10.0.0.1:1080", "SOCKS5h://10.0.0.1:1080", NULL, NULL},
        {"https://p:443", "https://p:443", NULL, NULL},
        {"http://ann@p:1", "http://p:1", "ann", NULL},
        {"http://ann:@p:1", "http://p:1", "ann", ""},
        {"ann:secret@p:1", "http://p:1", "ann", "secret"},
        {"http://a%40b:s%3Ac%2f@p:1", "http://p:1", "a@b", "s:c/"},
        {"http://ann:p@ss@p:1", "http://p:1", "ann", "p@ss"},
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        struct ah_proxy p;
        struct ah_error err = {0};
        assert_int_equal(ah_proxy_parse(&p, "http_proxy", rows[k].value, &err), 0);
        assert_string_equal(p.variable, "http_proxy");
        assert_string_equal(p.address, rows[k].address);
        for (int which = 0; which < 2; which++) {
            const char *got = which ? p.password : p.user, *want = which ? rows[k].password : rows[k].user;
            assert_int_equal(got != NULL, want != NULL);
            if (want)
                assert_string_equal(got, want);
        }
        ah_proxy_drop(&p);
        assert_null(p.address);
    }
}

static void test_refused_addresses(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "http://",
        "http:///",
        "ftp://LEAK:LEAK@p:1",
        "gopher://p",
        "http://LEAK:LEAK@",
        "http://LEAK:LEAK@p:0x1",
        "http://LEAK:LEAK@p:99999",
        "http://LEAK:LEAK@p:1/path",
        "http://LEAK:LEAK@p:1?q",
        "http://LEAK:LEAK@p q:1",
        "http://LEAK:L%EXAK@p:1",
        "http://LEAK:L%00EAK@p:1",
        "http://LEAK:LEAK@[::1:1",
        "://p:1",
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        struct ah_proxy p;
        struct ah_error err = {0};
        if (ah_proxy_parse(&p, "https_proxy", rows[k], &err) != -1)
            fail_msg("taken: %s", rows[k]);
        assert_int_equal(err.kind, AH_CONFIG);
        assert_non_null(strstr(err.message, "https_proxy"));
        assert_null(strstr(err.message, "LEAK"));
        assert_null(p.address);
        assert_null(p.password);
    }
    char *huge = calloc(1, 10000);
    memset(huge, 'a', 9999);
    struct ah_proxy p;
    assert_int_equal(ah_proxy_parse(&p, "https_proxy", huge, NULL), -1);
    free(huge);
}

static void test_names(void **state)
{
    (void)state;
    assert_true(ah_proxy_is_name("http_proxy"));
    assert_true(ah_proxy_is_name("HTTPS_PROXY"));
    assert_true(ah_proxy_is_name("ALL_PROXY"));
    assert_false(ah_proxy_is_name("no_proxy"));
    assert_false(ah_proxy_is_name("_proxy"));
}

static void test_exceptions(void **state)
{
    (void)state;
    static const struct {
        const char *list, *url;
        bool exempt;
    } rows[] = {
        {NULL, "http://example.com/", false},
        {"", "http://example.com/", false},
        {NULL, "http://localhost/", true},
        {NULL, "http://127.9.9.9:80/", true},
        {NULL, "https://[::1]/", true},
        {"*", "http://example.com/", true},
        {"example.com", "http://example.com/", true},
        {"EXAMPLE.com", "http://api.example.COM/", true},
        {".example.com", "http://example.com/", true},
        {"example.com", "http://badexample.com/", false},
        {"api.example.com", "http://example.com/", false},
        {"a, ,b example.com", "http://example.com/", true},
        {".", "http://example.com/", false},
        {"10.0.0.1", "http://10.0.0.1/", true},
        {"10.0.0.1", "http://10.0.0.11/", false},
        {"10.0.0.0/8", "http://10.200.3.4/", true},
        {"10.0.0.0/8", "http://11.0.0.1/", false},
        {"192.168.4.0/22", "http://192.168.7.9/", true},
        {"192.168.4.0/22", "http://192.168.8.9/", false},
        {"10.0.0.0/33", "http://10.0.0.1/", false},
        {"10.0.0.0/", "http://10.0.0.0/", false},
        {"10.0.0.0/8x", "http://10.0.0.1/", false},
        {"0.0.0.0/0", "http://8.8.8.8/", true},
        {"fd00::/8", "http://[fd12::1]/", true},
        {"fd00::/8", "http://[fe80::1]/", false},
        {"fd00::/8", "http://10.0.0.1/", false},
        {"[fd12::1]", "http://[FD12:0::1]/", true},
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        struct ah_url u;
        assert_int_equal(ah_url_parse(rows[k].url, strlen(rows[k].url), &u, NULL), 0);
        if (ah_proxy_is_exempt(rows[k].list, &u) != rows[k].exempt)
            fail_msg("%s, %s", rows[k].list ? rows[k].list : "(none)", rows[k].url);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_refused_addresses),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_exceptions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
