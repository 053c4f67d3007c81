/* Signatures of Scalekit's webhooks. Called by lua_scalekit.c. Must compare in constant time, and look at
 * every signature of the list whatever the first ones say. */
#include "skhook.h"

#include "buf.h"
#include "hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "whsec_"
#define VERSION "v1,"
#define KEY_BYTES 256
#define MESSAGE_BYTES ((size_t)65 << 20)

static int read_key(const char *secret, unsigned char key[KEY_BYTES])
{
    size_t prefix = sizeof PREFIX - 1;
    return strncmp(secret, PREFIX, prefix) == 0
               ? ah_hash_base64_decode(secret + prefix, strlen(secret + prefix), key, KEY_BYTES)
               : -1;
}

/* A message with a wrong time is an old one that somebody repeats, or the clock is wrong. */
static int check_time(const char *timestamp, int64_t now_s, int64_t tolerance_s, struct ah_error *err)
{
    char *end;
    errno = 0;
    long long sent = strtoll(timestamp, &end, 10);
    if (end == timestamp || *end || errno || sent < 0)
        return ah_err_set(err, AH_AUTH, "the webhook's timestamp is no number of seconds; do not trust it");
    if (sent < now_s - tolerance_s || sent > now_s + tolerance_s)
        return ah_err_set(err, AH_AUTH,
                          "the webhook was sent more than %lld seconds away from now; it may be a repeated "
                          "one, or this machine's clock is wrong",
                          (long long)tolerance_s);
    return 0;
}

static int sign(const unsigned char *key, int key_n, const struct ah_skhook *h,
                char out[AH_HASH_BASE64_BYTES])
{
    struct ah_buf b;
    ah_buf_init(&b, MESSAGE_BYTES);
    ah_buf_addf(&b, "%s.%s.", h->id, h->timestamp);
    ah_buf_add(&b, h->body, h->body_n);
    int r = b.failed ? -1 : ah_hash_hmac_base64(key, (size_t)key_n, b.p, b.n, out);
    ah_buf_drop(&b);
    return r;
}

static bool is_signed(const char *signatures, const char *want)
{
    bool good = false;
    size_t n = strlen(want), version = sizeof VERSION - 1;
    for (const char *p = signatures; *p;) {
        size_t word = strcspn(p, " ");
        if (word == version + n && strncmp(p, VERSION, version) == 0)
            good |= ah_hash_is_same(p + version, want, n);
        p += word + (p[word] == ' ');
    }
    return good;
}

int ah_skhook_verify(const char *secret, const struct ah_skhook *hook, int64_t now_s, int64_t tolerance_s,
                     struct ah_error *err)
{
    unsigned char key[KEY_BYTES];
    char want[AH_HASH_BASE64_BYTES];
    int n = read_key(secret, key);
    if (n <= 0)
        return ah_err_set(err, AH_CONFIG,
                          "the webhook secret must be whsec_ and base64, as the dashboard shows it");
    int r = check_time(hook->timestamp, now_s, tolerance_s, err);
    if (r == 0 && sign(key, n, hook, want) != 0)
        r = ah_err_set(err, AH_MEMORY, "out of memory");
    else if (r == 0 && !is_signed(hook->signatures, want))
        r = ah_err_set(err, AH_AUTH,
                       "the webhook's signature does not fit its body and this secret; do not trust it");
    explicit_bzero(key, sizeof key);
    explicit_bzero(want, sizeof want);
    return r;
}
