/* SHA-256, one shot. Called by scripts.c and lua_host.c. */
#include "hash.h"

#include <openssl/evp.h>

int ah_hash_sha256(const void *p, size_t n, unsigned char out[32])
{
    return EVP_Digest(p, n, out, NULL, EVP_sha256(), NULL) == 1 ? 0 : -1;
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
