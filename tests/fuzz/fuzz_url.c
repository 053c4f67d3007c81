/* Any bytes: decode(encode(x)) is x; a URL that is taken is put together from its parts again, joined
 * with a path it stays on its host, and no message shows userinfo. */
#include "buf.h"
#include "err.h"
#include "url.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TEXT_MAX_BYTES ((size_t)16 << 20)

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_escapes(const char *p, size_t n)
{
    struct ah_buf encoded, decoded;
    ah_buf_init(&encoded, TEXT_MAX_BYTES);
    ah_buf_init(&decoded, TEXT_MAX_BYTES);
    check(ah_url_encode(p, n, &encoded) == 0);
    for (size_t i = 0; i < encoded.n; i++)
        check(encoded.p[i] > ' ' && encoded.p[i] < 0x7f && !strchr("/?#&=+@:\\\"", encoded.p[i]));
    for (int form = 0; form < 2; form++) {
        ah_buf_clear(&decoded);
        check(ah_url_decode(ah_buf_str(&encoded), encoded.n, form, &decoded) == 0);
        check(decoded.n == n && (n == 0 || memcmp(decoded.p, p, n) == 0));
    }
    ah_buf_clear(&decoded);
    if (ah_url_decode(p, n, false, &decoded) == 0)
        check(decoded.n <= n);
    ah_buf_drop(&encoded);
    ah_buf_drop(&decoded);
}

static void check_inside(struct ah_url_part part, const char *s, size_t n)
{
    check(part.p >= s && part.p <= s + n && part.n <= n && part.p + part.n <= s + n);
}

static void add_part(struct ah_buf *to, struct ah_url_part part)
{
    ah_buf_add(to, part.p, part.n);
}

static void check_parts(const char *s, size_t n, const struct ah_url *u)
{
    check_inside(u->host, s, n);
    check_inside(u->path, s, n);
    check_inside(u->query, s, n);
    check(u->host.n > 0 && u->port >= 1 && u->port <= 65535);
    check(u->path.n == 0 || u->path.p[0] == '/');
    bool brackets = memchr(u->host.p, ':', u->host.n) != NULL;
    struct ah_buf b;
    ah_buf_init(&b, TEXT_MAX_BYTES);
    ah_buf_adds(&b, u->tls ? "https://" : "http://");
    if (u->has_userinfo) {
        check_inside(u->userinfo, s, n);
        add_part(&b, u->userinfo);
        ah_buf_addc(&b, '@');
    }
    ah_buf_adds(&b, brackets ? "[" : "");
    add_part(&b, u->host);
    ah_buf_addf(&b, brackets ? "]:%d" : ":%d", u->port);
    add_part(&b, u->path);
    if (u->query.n) {
        ah_buf_addc(&b, '?');
        add_part(&b, u->query);
    }
    struct ah_url again;
    check(ah_url_parse(b.p, b.n, &again, NULL) == 0);
    check(ah_url_same_origin(u, &again) && ah_url_is_loopback(u) == ah_url_is_loopback(&again));
    check(again.path.n == u->path.n && memcmp(again.path.p, u->path.p, u->path.n) == 0);
    check(again.query.n == u->query.n && memcmp(again.query.p, u->query.p, u->query.n) == 0);
    ah_buf_drop(&b);
}

static void check_join(const char *s, const struct ah_url *u)
{
    struct ah_buf b;
    struct ah_url joined;
    ah_buf_init(&b, TEXT_MAX_BYTES);
    check(ah_url_join(s, "/v1/x", &b) == 0);
    check(ah_url_add_query(&b, "k", "\0 &=", 4) == 0);
    check(ah_url_parse(b.p, b.n, &joined, NULL) == 0);
    check(ah_url_same_origin(u, &joined));
    check(joined.path.n >= 5 && memcmp(joined.path.p + joined.path.n - 5, "/v1/x", 5) == 0);
    ah_buf_drop(&b);
}

/* A password put into the URL in front of whatever the input is must not be said. */
static void check_silence(const char *p, size_t n)
{
    struct ah_buf b;
    struct ah_url u;
    struct ah_error err = {0};
    ah_buf_init(&b, TEXT_MAX_BYTES);
    ah_buf_adds(&b, "http://me:hunter22");
    ah_buf_add(&b, p, n);
    ah_buf_adds(&b, "@host\n");
    check(ah_url_parse(b.p, b.n, &u, &err) == -1 && err.kind == AH_CONFIG);
    check(!strstr(err.message, "hunter22"));
    ah_err_drop(&err);
    ah_buf_drop(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *s = malloc(size + 1);
    if (!s)
        abort();
    if (size)
        memcpy(s, data, size);
    s[size] = '\0';
    struct ah_url u;
    struct ah_error err = {0};
    check_escapes(s, size);
    if (ah_url_parse(s, size, &u, &err) == 0) {
        check(strlen(s) == size);
        check_parts(s, size, &u);
        check_join(s, &u);
    } else {
        check(err.kind == AH_CONFIG && strlen(err.message) > 20);
    }
    check_silence(s, size);
    ah_err_drop(&err);
    free(s);
    return 0;
}
