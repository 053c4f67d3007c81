/* URLs, read strictly: what one reader takes for the host, every reader must take for the host.
 *
 * Called by http.c before anything is sent, by the services for their base URLs, by server.c for what
 * comes in. Must never resolve a name, and never put userinfo into a message. */
#include "url.h"

#include "buf.h"
#include "err.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define HOST_MAX_BYTES 253
#define QUOTE_MAX_BYTES 200
#define PORT_MAX 65535

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static const char *find_last(const char *p, size_t n, char c)
{
    while (n > 0)
        if (p[--n] == c)
            return p + n;
    return NULL;
}

/* The URL for a message: no query, and nothing that may be userinfo, even where the URL is so broken
 * that a password holds a slash. What is left is cut and made printable. */
static void quote_url(const char *s, size_t n, char *out, size_t size)
{
    const char *end = s + n, *slashes = NULL, *from = s;
    for (const char *p = s; p + 1 < end && !slashes; p++)
        if (p[0] == '/' && p[1] == '/')
            slashes = p;
    if (slashes)
        from = slashes + 2;
    size_t authority = 0, rest = (size_t)(end - from);
    while (authority < rest && !strchr("/?#", from[authority]))
        authority++;
    const char *at = find_last(from, rest, '@');
    bool hide = at && (at < from + authority || memchr(from, ':', authority));
    size_t k = 0;
    if (hide && slashes) {
        for (const char *p = s; p < from && k + 1 < size; p++)
            out[k++] = *p;
    }
    const char *p = hide ? at + 1 : s;
    for (; p < end && *p != '?' && k + 1 < size && k < QUOTE_MAX_BYTES; p++)
        out[k++] = *p;
    out[k] = '\0';
    for (char *q = out; *q; q++)
        if ((unsigned char)*q < 0x20 || (unsigned char)*q >= 0x7f)
            *q = '?';
}

static int refuse(const char *s, size_t n, struct ah_error *err, const char *why)
{
    char quoted[QUOTE_MAX_BYTES + 64];
    quote_url(s, n, quoted, sizeof quoted);
    return ah_err_set(err, AH_CONFIG, "The URL '%s' cannot be used: %s.", quoted, why);
}

/* NULL, or what is wrong with the bytes. */
static const char *check_bytes(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c == ' ')
            return "it holds a space; write %20";
        if (c < 0x20 || c == 0x7f)
            return "it holds a control character";
        if (c >= 0x80)
            return "it holds a character that is not ASCII; write it in %XX form (a host name in punycode)";
        if (c == '\\')
            return "it holds a backslash; write '/' or %5C";
        if (c == '#')
            return "it has a fragment ('#'), which is never sent; leave it away or write %23";
        if (c == '%' && (i + 2 >= n || hex_value(p[i + 1]) < 0 || hex_value(p[i + 2]) < 0))
            return "a '%' in it is not followed by two hexadecimal digits; write %25 for the sign itself";
    }
    return NULL;
}

static bool is_address(int family, const char *p, size_t n)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char address[sizeof(struct in6_addr)];
    if (n == 0 || n >= sizeof text)
        return false;
    memcpy(text, p, n);
    text[n] = '\0';
    return inet_pton(family, text, address) == 1;
}

/* Some readers take "127.1", "0x7f.1" and "2130706433" for addresses; others for names. */
static bool ends_in_number(const char *p, size_t n)
{
    if (n && p[n - 1] == '.')
        n--;
    size_t from = n;
    while (from > 0 && p[from - 1] != '.')
        from--;
    if (n - from >= 2 && p[from] == '0' && (p[from + 1] == 'x' || p[from + 1] == 'X'))
        return true;
    for (size_t i = from; i < n; i++)
        if (!is_digit(p[i]))
            return false;
    return from < n;
}

static const char *check_name(const char *p, size_t n)
{
    if (n == 0)
        return "it names no host";
    if (n > HOST_MAX_BYTES)
        return "its host name is too long";
    if (ends_in_number(p, n))
        return is_address(AF_INET, p, n) ? NULL
                                         : "its host is neither a name nor an IPv4 address of four numbers";
    for (size_t i = 0; i < n; i++) {
        if (!is_alnum(p[i]) && !strchr("-._", p[i]))
            return "its host name holds a character that no host name has";
        if (p[i] == '.' && (i == 0 || p[i - 1] == '.'))
            return "its host name has an empty part";
    }
    return NULL;
}

static const char *read_port(const char *p, size_t n, struct ah_url *u)
{
    int port = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_digit(p[i]) || i >= 5)
            return "its port is not a number from 1 to 65535";
        port = port * 10 + (p[i] - '0');
    }
    if (port < 1 || port > PORT_MAX)
        return "its port is not a number from 1 to 65535";
    u->port = port;
    return NULL;
}

static const char *read_authority(const char *p, size_t n, struct ah_url *u)
{
    const char *at = find_last(p, n, '@');
    if (at) {
        u->has_userinfo = true;
        u->userinfo = (struct ah_url_part){p, (size_t)(at - p)};
        if (memchr(p, '@', u->userinfo.n))
            return "there is more than one '@' before the host; write %40";
        n -= u->userinfo.n + 1;
        p = at + 1;
    }
    const char *after;
    if (n && p[0] == '[') {
        const char *close = memchr(p, ']', n);
        if (!close || !is_address(AF_INET6, p + 1, (size_t)(close - p - 1)))
            return "what stands in brackets is not an IPv6 address";
        u->host = (struct ah_url_part){p + 1, (size_t)(close - p - 1)};
        after = close + 1;
    } else {
        const char *colon = memchr(p, ':', n);
        after = colon ? colon : p + n;
        u->host = (struct ah_url_part){p, (size_t)(after - p)};
        const char *why = check_name(u->host.p, u->host.n);
        if (why)
            return why;
    }
    if (after == p + n)
        return NULL;
    if (*after != ':')
        return "something stands between the host and the path";
    return read_port(after + 1, (size_t)(p + n - after - 1), u);
}

int ah_url_parse(const char *s, size_t n, struct ah_url *out, struct ah_error *err)
{
    struct ah_url u = {0};
    size_t i;
    if (n >= 7 && strncasecmp(s, "http://", 7) == 0) {
        i = 7;
        u.port = 80;
    } else if (n >= 8 && strncasecmp(s, "https://", 8) == 0) {
        i = 8;
        u.tls = true;
        u.port = 443;
    } else {
        return refuse(s, n, err, "it must begin with http:// or https://");
    }
    const char *why = check_bytes(s, n);
    size_t start = i;
    while (i < n && s[i] != '/' && s[i] != '?')
        i++;
    if (!why)
        why = read_authority(s + start, i - start, &u);
    if (why)
        return refuse(s, n, err, why);
    const char *mark = memchr(s + i, '?', n - i);
    size_t path_end = mark ? (size_t)(mark - s) : n;
    u.path = (struct ah_url_part){s + i, path_end - i};
    u.query = mark ? (struct ah_url_part){mark + 1, n - path_end - 1} : (struct ah_url_part){s + n, 0};
    *out = u;
    return 0;
}

static bool read_address6(struct ah_url_part host, struct in6_addr *to)
{
    char text[INET6_ADDRSTRLEN];
    if (host.n >= sizeof text || !memchr(host.p, ':', host.n))
        return false;
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    return inet_pton(AF_INET6, text, to) == 1;
}

bool ah_url_same_origin(const struct ah_url *a, const struct ah_url *b)
{
    struct in6_addr x, y;
    if (a->tls != b->tls || a->port != b->port)
        return false;
    if (read_address6(a->host, &x) && read_address6(b->host, &y))
        return memcmp(&x, &y, sizeof x) == 0;
    return a->host.n == b->host.n && strncasecmp(a->host.p, b->host.p, a->host.n) == 0;
}

bool ah_url_is_loopback(const struct ah_url *u)
{
    struct in6_addr address;
    if (read_address6(u->host, &address))
        return IN6_IS_ADDR_LOOPBACK(&address);
    if (u->host.n == 9 && strncasecmp(u->host.p, "localhost", 9) == 0)
        return true;
    return u->host.n > 4 && memcmp(u->host.p, "127.", 4) == 0 && is_address(AF_INET, u->host.p, u->host.n);
}

int ah_url_join(const char *base, const char *path, struct ah_buf *to)
{
    /* A base may carry a query (Azure's api-version): it stays behind the path. */
    const char *base_query = strchr(base, '?');
    size_t n = base_query ? (size_t)(base_query - base) : strlen(base);
    while (n > 0 && base[n - 1] == '/')
        n--;
    while (*path == '/')
        path++;
    ah_buf_add(to, base, n);
    ah_buf_addc(to, '/');
    ah_buf_adds(to, path);
    if (base_query && base_query[1]) {
        ah_buf_addc(to, strchr(path, '?') ? '&' : '?');
        ah_buf_adds(to, base_query + 1);
    }
    return to->failed ? -1 : 0;
}

int ah_url_encode(const char *s, size_t n, struct ah_buf *to)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (is_alnum((char)c) || (c && strchr("-._~", c))) {
            ah_buf_addc(to, (char)c);
        } else {
            char escape[3] = {'%', hex[c >> 4], hex[c & 15]};
            ah_buf_add(to, escape, sizeof escape);
        }
    }
    return to->failed ? -1 : 0;
}

int ah_url_add_query(struct ah_buf *to, const char *key, const char *value, size_t n)
{
    if (!to->n || !memchr(to->p, '?', to->n))
        ah_buf_addc(to, '?');
    else if (to->p[to->n - 1] != '?' && to->p[to->n - 1] != '&')
        ah_buf_addc(to, '&');
    ah_url_encode(key, strlen(key), to);
    ah_buf_addc(to, '=');
    return ah_url_encode(value, n, to);
}

int ah_url_decode(const char *s, size_t n, bool form, struct ah_buf *to)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '%') {
            if (i + 2 >= n || hex_value(s[i + 1]) < 0 || hex_value(s[i + 2]) < 0)
                return -1;
            ah_buf_addc(to, (char)(hex_value(s[i + 1]) << 4 | hex_value(s[i + 2])));
            i += 2;
        } else {
            ah_buf_addc(to, form && s[i] == '+' ? ' ' : s[i]);
        }
    }
    return to->failed ? -1 : 0;
}
