/* Proxy addresses and no_proxy lists, read once per host and compared once per request. Must not open
 * anything and must not put a part of an address into a message. */
#include "proxy.h"

#include "buf.h"
#include "err.h"
#include "limits.h"
#include "url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ADDRESS_BYTES ((size_t)4096)

/* --- addresses --------------------------------------------------------------------------------------- */

static bool is_scheme(const char *p, size_t n)
{
    static const char *const names[] = {"http", "https", "socks4", "socks4a", "socks5", "socks5h"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (strlen(names[k]) == n && strncasecmp(names[k], p, n) == 0)
            return true;
    return false;
}

/* host[:port], as a URL has it. */
static bool is_place(const char *p)
{
    char url[512];
    struct ah_url u;
    struct ah_error err = {0};
    int n = snprintf(url, sizeof url, "http://%s", p);
    bool good = n < (int)sizeof url && !strpbrk(p, "/?#@") && ah_url_parse(url, (size_t)n, &u, &err) == 0;
    ah_err_drop(&err);
    return good;
}

static char *decode(const char *p, size_t n)
{
    struct ah_buf out;
    ah_buf_init(&out, ADDRESS_BYTES);
    char *text = ah_url_decode(p, n, false, &out) == 0 && !memchr(ah_buf_str(&out), '\0', out.n)
                     ? strndup(ah_buf_str(&out), out.n)
                     : NULL;
    ah_buf_drop(&out);
    return text;
}

/* name[:password] */
static bool read_user(struct ah_proxy *p, const char *text, size_t n)
{
    const char *colon = memchr(text, ':', n);
    p->user = decode(text, colon ? (size_t)(colon - text) : n);
    p->password = colon ? decode(colon + 1, n - (size_t)(colon - text) - 1) : NULL;
    return p->user && (p->password || !colon);
}

static bool read_address(struct ah_proxy *p, const char *value)
{
    const char *scheme_end = strstr(value, "://"), *rest = scheme_end ? scheme_end + 3 : value;
    const char *scheme = scheme_end ? value : "http";
    size_t scheme_n = scheme_end ? (size_t)(scheme_end - value) : 4, n = strlen(rest);
    if (!is_scheme(scheme, scheme_n) || strlen(value) >= ADDRESS_BYTES)
        return false;
    const char *at = strrchr(rest, '@');
    if (at && !read_user(p, rest, (size_t)(at - rest)))
        return false;
    const char *place = at ? at + 1 : rest;
    n -= (size_t)(place - rest);
    if (n > 0 && place[n - 1] == '/')
        n--;
    p->address = malloc(scheme_n + 3 + n + 1);
    if (!p->address)
        return false;
    memcpy(p->address, scheme, scheme_n);
    memcpy(p->address + scheme_n, "://", 3);
    memcpy(p->address + scheme_n + 3, place, n);
    p->address[scheme_n + 3 + n] = '\0';
    return is_place(p->address + scheme_n + 3);
}

int ah_proxy_parse(struct ah_proxy *p, const char *variable, const char *value, struct ah_error *err)
{
    *p = (struct ah_proxy){.variable = variable};
    if (read_address(p, value))
        return 0;
    ah_proxy_drop(p);
    return ah_err_set(err, AH_CONFIG,
                      "%s does not hold the address of a proxy: write it as http://host:port or "
                      "http://name:password@host:port (%%XX for other characters)",
                      variable);
}

static void drop_secret(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

void ah_proxy_drop(struct ah_proxy *p)
{
    free(p->address);
    drop_secret(p->user);
    drop_secret(p->password);
    *p = (struct ah_proxy){0};
}

bool ah_proxy_is_name(const char *variable)
{
    static const char *const names[] = {"http_proxy", "https_proxy", "all_proxy"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (strcasecmp(variable, names[k]) == 0)
            return true;
    return false;
}

/* --- exceptions -------------------------------------------------------------------------------------- */

/* 4 or 16 bytes; 0: a name. */
static int read_bytes(const char *text, unsigned char to[16])
{
    return inet_pton(AF_INET, text, to) == 1 ? 4 : inet_pton(AF_INET6, text, to) == 1 ? 16 : 0;
}

static bool is_in_network(const char *host, char *network)
{
    unsigned char a[16], b[16];
    char *slash = strchr(network, '/'), *end = NULL;
    if (slash)
        *slash = '\0';
    int n = read_bytes(host, a);
    if (n == 0 || read_bytes(network, b) != n)
        return false;
    long bits = slash ? strtol(slash + 1, &end, 10) : n * 8;
    if (bits < 0 || bits > n * 8 || (slash && (end == slash + 1 || *end)))
        return false;
    int whole = (int)bits / 8, rest = (int)bits % 8;
    return memcmp(a, b, (size_t)whole) == 0 && (rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0);
}

/* "example.com" and ".example.com" are the host and all below it. */
static bool is_in_domain(const char *host, const char *domain)
{
    while (*domain == '.')
        domain++;
    size_t n = strlen(host), d = strlen(domain);
    return d > 0 && n >= d && strcasecmp(host + n - d, domain) == 0 && (n == d || host[n - d - 1] == '.');
}

static void unbracket(char *entry)
{
    size_t n = strlen(entry);
    if (entry[0] == '[' && n > 1 && entry[n - 1] == ']') {
        memmove(entry, entry + 1, n - 2);
        entry[n - 2] = '\0';
    }
}

bool ah_proxy_is_exempt(const char *list, const struct ah_url *u)
{
    char host[256], entry[256];
    if (ah_url_is_loopback(u))
        return true;
    if (!list || u->host.n >= sizeof host)
        return false;
    memcpy(host, u->host.p, u->host.n);
    host[u->host.n] = '\0';
    for (size_t n; *list; list += n) {
        list += strspn(list, ", \t");
        n = strcspn(list, ", \t");
        if (n == 0 || n >= sizeof entry)
            continue;
        memcpy(entry, list, n);
        entry[n] = '\0';
        unbracket(entry);
        if (strcmp(entry, "*") == 0 || is_in_domain(host, entry) || is_in_network(host, entry))
            return true;
    }
    return false;
}
