/* Random bytes and UUIDv7. One struct ah_ids per host; seeded for the emulator and tests, else fed
 * by the kernel. All chance in the program comes from here, so that a replay can repeat it. */
#ifndef AH_IDS_H
#define AH_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ah_ids {
    unsigned char pool[1024];
    size_t left; /* unread bytes at the end of pool */
    bool seeded;
    uint64_t state; /* of the seeded generator (splitmix64) */
};

#define AH_UUID_BYTES 37 /* 36 characters and a NUL */

void ah_ids_seed(struct ah_ids *ids, uint64_t seed);
void ah_ids_random(struct ah_ids *ids, void *out, size_t n);
uint64_t ah_ids_u64(struct ah_ids *ids);
double ah_ids_unit(struct ah_ids *ids); /* [0, 1) */
/* Version 7, lower case, from a wall time in microseconds. */
void ah_ids_uuid7(struct ah_ids *ids, int64_t wall_us, char out[AH_UUID_BYTES]);
/* Fills `n` lower-case letters and digits and a NUL: out has n + 1 bytes. */
void ah_ids_token(struct ah_ids *ids, char *out, size_t n);
bool ah_ids_is_uuid(const char *s); /* 36 characters, any case, any version */

#endif
