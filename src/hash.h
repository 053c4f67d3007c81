/* SHA-256 of one run of bytes, and signatures made with it (OpenSSL). For names of texts: prompts, scripts;
 * for webhooks. And XXH3. */
#ifndef AH_HASH_H
#define AH_HASH_H

#include <stdbool.h>
#include <stddef.h>

#define AH_HASH_HEX_BYTES 65

int ah_hash_sha256(const void *p, size_t n, unsigned char out[32]); /* -1: no memory */
/* XXH3, 128 bits, as its makers write it down: the ids of copies and the choice of samples are made with it, as in
 * LangSmith's SDKs. No secret may hang on it. */
void ah_hash_xxh128(const void *p, size_t n, unsigned char out[16]);
int ah_hash_sha256_hex(const void *p, size_t n, char out[AH_HASH_HEX_BYTES]);

#define AH_HASH_BASE64_BYTES 45
/* HMAC-SHA256 as base64. -1: no memory. */
int ah_hash_hmac_base64(const void *key, size_t key_n, const void *p, size_t n,
                        char out[AH_HASH_BASE64_BYTES]);
/* Takes as long for a nearly right text as for a wrong one. */
bool ah_hash_is_same(const void *a, const void *b, size_t n);
/* (n + 2) / 3 * 4 characters and a NUL into out; how many characters, or -1 when they do not fit. */
int ah_hash_base64_encode(const void *p, size_t n, char *out, size_t size);
/* Decodes base64 with padding; how many bytes, or -1 when it is none or does not fit. */
int ah_hash_base64_decode(const char *s, size_t n, unsigned char *out, size_t size);

#endif
