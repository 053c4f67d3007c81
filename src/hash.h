/* SHA-256 of one run of bytes (OpenSSL). For names of texts: prompts, scripts. The journal's hot path
 * keeps a context of its own. */
#ifndef AH_HASH_H
#define AH_HASH_H

#include <stddef.h>

#define AH_HASH_HEX_BYTES 65

int ah_hash_sha256(const void *p, size_t n, unsigned char out[32]); /* -1: no memory */
int ah_hash_sha256_hex(const void *p, size_t n, char out[AH_HASH_HEX_BYTES]);

#endif
