/* Proxies as the usual variables name them: reading an address, and the hosts that are reached without.
 * Pure. Called by http.c, which chooses, and by config.c, which hides the password. An address is shown
 * without its name and password, also when it is wrong. */
#ifndef AH_PROXY_H
#define AH_PROXY_H

#include <stdbool.h>

struct ah_error;
struct ah_url;

struct ah_proxy {
    const char *variable;  /* where it stands, borrowed; NULL: no proxy */
    char *address;         /* scheme://host:port */
    char *user, *password; /* decoded; NULL: none */
};

/* [scheme://][name[:password]@]host[:port][/]; http (also without a scheme), https, socks4, socks4a,
 * socks5 or socks5h. -1: AH_CONFIG with a sentence that names the variable and not its value. */
int ah_proxy_parse(struct ah_proxy *p, const char *variable, const char *value, struct ah_error *err);
void ah_proxy_drop(struct ah_proxy *p);
/* Whether a variable names a proxy: http_proxy, HTTPS_PROXY, all_proxy ... and not no_proxy. */
bool ah_proxy_is_name(const char *variable);
/* Whether a host is reached without one: each on this machine is, and those of a no_proxy list: host
 * names with their sub-domains, addresses, networks (10.0.0.0/8), or "*". `list` may be NULL. */
bool ah_proxy_is_exempt(const char *list, const struct ah_url *u);

#endif
