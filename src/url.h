/* URLs: splitting, joining, comparing origins, percent-encoding. Pure, and strict: what we send must
 * mean the same to libcurl, to a proxy and to the server. */
#ifndef AH_URL_H
#define AH_URL_H

#include <stdbool.h>
#include <stddef.h>

struct ah_buf;
struct ah_error;

/* Ranges into the text that was parsed. */
struct ah_url_part {
    const char *p;
    size_t n;
};
struct ah_url {
    bool tls;                /* https */
    struct ah_url_part host; /* without the brackets of an IPv6 address */
    int port;                /* given or the scheme's own */
    bool has_userinfo;
    struct ah_url_part userinfo, path, query; /* path starts with '/', or is empty; query without '?' */
};

/* http and https only; ASCII without control characters, spaces or backslashes; whole %XX escapes; a
 * host name, four numbers or an IPv6 address in brackets; a fragment is an error.
 * -1: AH_CONFIG with a sentence that quotes the URL without its userinfo. */
int ah_url_parse(const char *s, size_t n, struct ah_url *out, struct ah_error *err);
bool ah_url_same_origin(const struct ah_url *a, const struct ah_url *b);
/* localhost, 127.0.0.0/8, ::1 */
bool ah_url_is_loopback(const struct ah_url *u);
/* base without trailing slashes + "/" + path without leading ones. The base may have a path, and a
 * query, which then follows the path. */
int ah_url_join(const char *base, const char *path, struct ah_buf *to);
/* Everything but A-Z a-z 0-9 - . _ ~ becomes %XX. */
int ah_url_encode(const char *s, size_t n, struct ah_buf *to);
/* Appends "?k=v" or "&k=v", both encoded; `to` must hold a URL already. */
int ah_url_add_query(struct ah_buf *to, const char *key, const char *value, size_t n);
/* %XX decoded; '+' is a space when `form`. -1: a broken escape. */
int ah_url_decode(const char *s, size_t n, bool form, struct ah_buf *to);

#endif
