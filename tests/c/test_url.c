/* url: what is taken, what is refused, and that no message shows userinfo. */
#include "url.h"

#include "buf.h"
#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_part(struct ah_url_part part, const char *wanted)
{
    assert_int_equal(part.n, strlen(wanted));
    assert_memory_equal(part.p, wanted, part.n);
}

static struct ah_url parse(const char *s)
{
    struct ah_url u;
    struct ah_error err = {0};
    if (ah_url_parse(s, strlen(s), &u, &err) != 0)
        fail_msg("%s", err.message);
    return u;
}

static void test_parse(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        bool tls;
        const char *host;
        int port;
        const char *userinfo, *path, *query;
    } rows[] = {
        {"http://a", false, "a", 80, NULL, "", ""},
        {"HTTPS://A.b-c_d.example./x", true, "A.b-c_d.example.", 443, NULL, "/x", ""},
        {"https://h:8443/p/q?x=1&y=%20", true, "h", 8443, NULL, "/p/q", "x=1&y=%20"},
        {"http://h?q", false, "h", 80, NULL, "", "q"},
        {"http://h/?", false, "h", 80, NULL, "/", ""},
        {"http://127.0.0.1:65535/", false, "127.0.0.1", 65535, NULL, "/", ""},
        {"http://[::1]:1/x", false, "::1", 1, NULL, "/x", ""},
        {"http://[2001:db8::1]", false, "2001:db8::1", 80, NULL, "", ""},
        {"http://u:p%40@h/", false, "h", 80, "u:p%40", "/", ""},
        {"http://@h/", false, "h", 80, "", "/", ""},
        {"http://h/a@b?c@d:e", false, "h", 80, NULL, "/a@b", "c@d:e"},
        {"http://h/a?b?c/d", false, "h", 80, NULL, "/a", "b?c/d"},
        {"http://1.example", false, "1.example", 80, NULL, "", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ah_url u = parse(rows[i].url);
        assert_int_equal(u.tls, rows[i].tls);
        expect_part(u.host, rows[i].host);
        assert_int_equal(u.port, rows[i].port);
        assert_int_equal(u.has_userinfo, rows[i].userinfo != NULL);
        if (rows[i].userinfo)
            expect_part(u.userinfo, rows[i].userinfo);
        expect_part(u.path, rows[i].path);
        expect_part(u.query, rows[i].query);
    }
}

static void test_refuse(void **state)
{
    (void)state;
    static const struct {
        const char *url, *why;
    } rows[] = {
        {"", "http://"},
        {"h/x", "http://"},
        {"ftp://h", "http://"},
        {"http:/h", "http://"},
        {"http:h", "http://"},
        {" http://h", "http://"},
        {"http://", "no host"},
        {"http:///x", "no host"},
        {"http://:80/", "no host"},
        {"http://u@/", "no host"},
        {"http://h/a b", "space"},
        {"http://h/a\nb", "control"},
        {"http://h/\x7f", "control"},
        {"http://h\\@evil/", "backslash"},
        {"http://h/\xc3\xa9", "ASCII"},
        {"http://b\xc3\xbc"
         "cher.example/",
         "ASCII"},
        {"http://h/#top", "fragment"},
        {"http://h#@evil/", "fragment"},
        {"http://h/%", "%25"},
        {"http://h/%2", "%25"},
        {"http://h/%zz", "%25"},
        {"http://h/x?a=%g0", "%25"},
        {"http://h:0/", "port"},
        {"http://h:65536/", "port"},
        {"http://h:123456/", "port"},
        {"http://h:/", "port"},
        {"http://h:8o/", "port"},
        {"http://h:80:90/", "port"},
        {"http://a@b@h/", "'@'"},
        {"http://[::1/", "IPv6"},
        {"http://[]/", "IPv6"},
        {"http://[1.2.3.4]/", "IPv6"},
        {"http://[fe80::1%25eth0]/", "IPv6"},
        {"http://[::1]x/", "between"},
        {"http://::1/", "no host"},
        {"http://127.1/", "IPv4"},
        {"http://2130706433/", "IPv4"},
        {"http://0x7f.0.0.1/", "IPv4"},
        {"http://h.0x7f/", "IPv4"},
        {"http://1.2.3.256/", "IPv4"},
        {"http://1.2.3.4./", "IPv4"},
        {"http://.h/", "empty part"},
        {"http://a..b/", "empty part"},
        {"http://a,b/", "host name"},
        {"http://a%41/", "host name"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ah_url u;
        struct ah_error err = {0};
        if (ah_url_parse(rows[i].url, strlen(rows[i].url), &u, &err) == 0)
            fail_msg("taken: %s", rows[i].url);
        assert_int_equal(err.kind, AH_CONFIG);
        if (!strstr(err.message, rows[i].why))
            fail_msg("%s: %s", rows[i].url, err.message);
    }
    char nul[] = "http://h/a\0b";
    struct ah_url u;
    assert_int_equal(ah_url_parse(nul, sizeof nul - 1, &u, NULL), -1);
    char host[400] = "http://";
    memset(host + 7, 'a', 254);
    assert_int_equal(ah_url_parse(host, strlen(host), &u, NULL), -1);
}

static void test_messages_show_no_userinfo(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "http://user:hunter22@h:0/",  "http:/user:hunter22@h/",
        "user:hunter22@h/",           "http://user:hun/ter22hunter22@h/ ",
        "http://user:hunter22?x@h/ ", "http://user:hunter22#@h/",
        "http://user:hunter22@[::/",  "https://h/ ?key=hunter22",
        "http://hunter22@x@h/",       "ftp://user:hunter22@h/",
    };
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct ah_url u;
        struct ah_error err = {0};
        assert_int_equal(ah_url_parse(urls[i], strlen(urls[i]), &u, &err), -1);
        if (strstr(err.message, "hunter22"))
            fail_msg("%s", err.message);
    }
    struct ah_url u;
    struct ah_error err = {0};
    assert_int_equal(ah_url_parse("https://api.example.com/v1/x y?q=1", 34, &u, &err), -1);
    assert_non_null(strstr(err.message, "'https://api.example.com/v1/x y'"));
}

static void test_origin_and_loopback(void **state)
{
    (void)state;
    struct ah_url a = parse("https://Example.com/x"), b = parse("https://example.COM:443/y?z");
    assert_true(ah_url_same_origin(&a, &b));
    b = parse("http://example.com:443/");
    assert_false(ah_url_same_origin(&a, &b));
    b = parse("https://example.com:444/");
    assert_false(ah_url_same_origin(&a, &b));
    b = parse("https://example.com.evil/");
    assert_false(ah_url_same_origin(&a, &b));
    a = parse("http://[::1]/");
    b = parse("http://[0:0:0:0:0:0:0:1]/");
    assert_true(ah_url_same_origin(&a, &b));
    static const char *const yes[] = {"http://localhost/", "http://LOCALHOST:1", "http://127.0.0.1",
                                      "http://127.9.8.7",  "http://[::1]",       "http://[0::1]:80/"};
    static const char *const no[] = {"http://localhost.example", "http://128.0.0.1",
                                     "http://127.example",       "http://[::2]",
                                     "http://0.0.0.0",           "http://localhost@h/"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        a = parse(yes[i]);
        assert_true(ah_url_is_loopback(&a));
    }
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
        a = parse(no[i]);
        assert_false(ah_url_is_loopback(&a));
    }
}

static void test_join(void **state)
{
    (void)state;
    static const struct {
        const char *base, *path, *wanted;
    } rows[] = {
        {"http://h", "x", "http://h/x"},
        {"http://h/", "/x", "http://h/x"},
        {"http://h/v1//", "//chat/completions", "http://h/v1/chat/completions"},
        {"http://h/v1", "a?b=c", "http://h/v1/a?b=c"},
        {"http://h", "", "http://h/"},
        {"http://h/openai/?api-version=1", "/chat", "http://h/openai/chat?api-version=1"},
        {"http://h?v=1", "a?b=c", "http://h/a?b=c&v=1"},
        {"http://h?", "a", "http://h/a"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ah_buf b;
        ah_buf_init(&b, 1000);
        assert_int_equal(ah_url_join(rows[i].base, rows[i].path, &b), 0);
        assert_string_equal(b.p, rows[i].wanted);
        ah_buf_drop(&b);
    }
    struct ah_buf tight;
    ah_buf_init(&tight, 5);
    assert_int_equal(ah_url_join("http://h", "x", &tight), -1);
    ah_buf_drop(&tight);
}

static void test_escapes(void **state)
{
    (void)state;
    struct ah_buf b;
    ah_buf_init(&b, 1000);
    assert_int_equal(ah_url_encode("aZ09-._~ /?&=+%\0\xff", 17, &b), 0);
    assert_string_equal(b.p, "aZ09-._~%20%2F%3F%26%3D%2B%25%00%FF");
    ah_buf_clear(&b);
    assert_int_equal(ah_url_decode("a%20b+c%2b%2B%00", 16, false, &b), 0);
    assert_int_equal(b.n, 8);
    assert_memory_equal(b.p, "a b+c++\0", 8);
    ah_buf_clear(&b);
    assert_int_equal(ah_url_decode("a+b%2B", 6, true, &b), 0);
    assert_string_equal(b.p, "a b+");
    static const char *const broken[] = {"%", "%1", "a%", "%g1", "%1g", "%%20", "%-1"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        ah_buf_clear(&b);
        assert_int_equal(ah_url_decode(broken[i], strlen(broken[i]), false, &b), -1);
    }
    ah_buf_clear(&b);
    ah_buf_adds(&b, "http://h/x");
    assert_int_equal(ah_url_add_query(&b, "a b", "1&2", 3), 0);
    assert_int_equal(ah_url_add_query(&b, "c", "", 0), 0);
    assert_string_equal(b.p, "http://h/x?a%20b=1%262&c=");
    ah_buf_clear(&b);
    ah_buf_adds(&b, "http://h/?");
    assert_int_equal(ah_url_add_query(&b, "c", "d", 1), 0);
    assert_string_equal(b.p, "http://h/?c=d");
    ah_buf_drop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_refuse),
        cmocka_unit_test(test_messages_show_no_userinfo),
        cmocka_unit_test(test_origin_and_loopback),
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_escapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
