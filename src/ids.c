/* Chance and identifiers. Called by trace, services and bindings; asks the kernel in blocks. */
#include "ids.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void ah_ids_seed(struct ah_ids *ids, uint64_t seed)
{
    *ids = (struct ah_ids){.seeded = true, .state = seed};
}

static uint64_t next_seeded(struct ah_ids *ids)
{
    uint64_t z = (ids->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void refill(struct ah_ids *ids)
{
    size_t got = 0;
    while (got < sizeof ids->pool) {
        ssize_t n = getrandom(ids->pool + got, sizeof ids->pool - got, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            abort(); /* no kernel without random bytes reaches this point; ids must never repeat */
        got += (size_t)n;
    }
    ids->left = sizeof ids->pool;
}

void ah_ids_random(struct ah_ids *ids, void *out, size_t n)
{
    unsigned char *to = out;
    while (n > 0) {
        size_t k;
        if (ids->seeded) {
            uint64_t v = next_seeded(ids);
            k = n < sizeof v ? n : sizeof v;
            memcpy(to, &v, k);
        } else {
            if (ids->left == 0)
                refill(ids);
            k = n < ids->left ? n : ids->left;
            unsigned char *from = ids->pool + sizeof ids->pool - ids->left;
            memcpy(to, from, k);
            memset(from, 0, k);
            ids->left -= k;
        }
        to += k;
        n -= k;
    }
}

uint64_t ah_ids_u64(struct ah_ids *ids)
{
    uint64_t v;
    ah_ids_random(ids, &v, sizeof v);
    return v;
}

double ah_ids_unit(struct ah_ids *ids)
{
    return (double)(ah_ids_u64(ids) >> 11) * 0x1p-53;
}

void ah_ids_uuid7(struct ah_ids *ids, int64_t wall_us, char out[AH_UUID_BYTES])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char id[16];
    uint64_t ms = (uint64_t)wall_us / 1000;
    ah_ids_random(ids, id + 6, sizeof id - 6);
    for (int i = 0; i < 6; i++)
        id[i] = (unsigned char)(ms >> (40 - 8 * i));
    id[6] = (unsigned char)((id[6] & 0x0f) | 0x70);
    id[8] = (unsigned char)((id[8] & 0x3f) | 0x80);
    char *to = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *to++ = '-';
        *to++ = hex[id[i] >> 4];
        *to++ = hex[id[i] & 15];
    }
    *to = '\0';
}

void ah_ids_token(struct ah_ids *ids, char *out, size_t n)
{
    static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    for (size_t i = 0; i < n; i++)
        out[i] = letters[ah_ids_u64(ids) % (sizeof letters - 1)];
    out[n] = '\0';
}

bool ah_ids_is_uuid(const char *s)
{
    for (int i = 0; i < AH_UUID_BYTES - 1; i++) {
        char c = s[i];
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (dash ? c != '-' : !hex)
            return false;
    }
    return s[AH_UUID_BYTES - 1] == '\0';
}
