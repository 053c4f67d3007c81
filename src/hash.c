/* SHA-256, HMAC and XXH3, one shot. Called by scripts.c, lua_host.c, skhook.c, lswire.c, trace_*.c and tracing.c. */
#include "hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <limits.h>
#include <string.h>

#define XXH_INLINE_ALL /* no library is needed where the program runs */
#include <xxhash.h>

int ah_hash_sha256(const void *p, size_t n, unsigned char out[32])
{
    return EVP_Digest(p, n, out, NULL, EVP_sha256(), NULL) == 1 ? 0 : -1;
}

void ah_hash_xxh128(const void *p, size_t n, unsigned char out[16])
{
    XXH128_canonical_t made;
    XXH128_canonicalFromHash(&made, XXH3_128bits(p, n));
    memcpy(out, made.digest, sizeof made.digest);
}

int ah_hash_sha256_hex(const void *p, size_t n, char out[AH_HASH_HEX_BYTES])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char sum[32];
    if (ah_hash_sha256(p, n, sum) != 0)
        return -1;
    for (int i = 0; i < 32; i++) {
        out[2 * i] = hex[sum[i] >> 4];
        out[2 * i + 1] = hex[sum[i] & 15];
    }
    out[64] = '\0';
    return 0;
}

int ah_hash_hmac_base64(const void *key, size_t key_n, const void *p, size_t n,
                        char out[AH_HASH_BASE64_BYTES])
{
    unsigned char sum[32];
    if (key_n > INT_MAX || !HMAC(EVP_sha256(), key, (int)key_n, p, n, sum, NULL))
        return -1;
    EVP_EncodeBlock((unsigned char *)out, sum, sizeof sum);
    return 0;
}

bool ah_hash_is_same(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}

int ah_hash_base64_encode(const void *p, size_t n, char *out, size_t size)
{
    if (n > INT_MAX / 2 || (n + 2) / 3 * 4 >= size)
        return -1;
    return EVP_EncodeBlock((unsigned char *)out, p, (int)n);
}

int ah_hash_base64_decode(const char *s, size_t n, unsigned char *out, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t pad = n > 1 && s[n - 1] == '=' ? 1 + (s[n - 2] == '=') : 0;
    if (n == 0 || n % 4 || n / 4 * 3 > size)
        return -1;
    for (size_t i = 0; i < n - pad; i++)
        if (!s[i] || !strchr(digits, s[i]))
            return -1;
    int got = EVP_DecodeBlock(out, (const unsigned char *)s, (int)n);
    return got < 0 ? -1 : got - (int)pad;
}
