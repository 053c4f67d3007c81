/* Cutting of values that LangSmith would refuse. Called by lswire.c. Must keep JSON valid, and objects objects: inputs
 * and outputs that are none would be refused too. */
#include "lscut.h"

#include "hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK_BYTES 128
#define SMALL_BYTES 48 /* of a key, or of what stands in a long list: never worth cutting */
#define STEPS_COUNT 40 /* of a search that halves */
#define DECODED_BYTES ((size_t)256 << 20)

static int format_mark(char out[MARK_BYTES], const char *p, size_t n)
{
    char hex[AH_HASH_HEX_BYTES] = "";
    ah_hash_sha256_hex(p, n, hex);
    return snprintf(out, MARK_BYTES, "[cut: %zu bytes, sha256 %s]", n, hex);
}

static bool goes_on(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* How many bytes hold at most `max` characters. */
static size_t cut_characters(const char *p, size_t n, size_t max)
{
    size_t i = 0;
    for (; i < n; i++)
        if (!goes_on(p[i]) && max-- == 0)
            break;
    return i;
}

int ah_lscut_text(struct ah_buf *to, const char *text, size_t n, size_t characters)
{
    char mark[MARK_BYTES], joined[1024];
    size_t whole = cut_characters(text, n, characters);
    if (whole == n)
        return ah_json_quote(to, text, n);
    size_t mark_n = (size_t)format_mark(mark, text, n);
    size_t keep = mark_n + 1 < characters ? cut_characters(text, n, characters - mark_n - 1) : 0;
    if (keep + mark_n + 2 > sizeof joined) {
        keep = sizeof joined - mark_n - 2;
        while (keep > 0 && goes_on(text[keep]))
            keep--;
    }
    int joined_n = snprintf(joined, sizeof joined, "%.*s %s", (int)keep, text, mark);
    return ah_json_quote(to, joined, (size_t)joined_n);
}

size_t ah_lscut_share(const size_t *sizes, size_t n, size_t room)
{
    size_t low = 0, high = room;
    for (int step = 0; step < STEPS_COUNT && low < high; step++) {
        size_t mid = low + (high - low + 1) / 2, sum = 0;
        for (size_t i = 0; i < n && sum <= room; i++)
            sum += sizes[i] < mid ? sizes[i] : mid;
        if (sum <= room)
            low = mid;
        else
            high = mid - 1;
    }
    return low;
}

/* A text that is as long as a file: its beginning and the marker. The bytes between the quotes are kept as they are,
 * up to a place where nothing is torn: no character, and no escape. */
static int cut_string(struct ah_buf *to, struct ah_json v, size_t room)
{
    struct ah_buf text;
    char mark[MARK_BYTES];
    ah_buf_init(&text, DECODED_BYTES);
    if (ah_json_str(v, &text) != 0) {
        ah_buf_drop(&text);
        return -1;
    }
    int mark_n = format_mark(mark, ah_buf_str(&text), text.n);
    ah_buf_drop(&text);
    size_t keep = room > (size_t)mark_n + 3 ? room - (size_t)mark_n - 3 : 0, at = 1, safe = 1;
    while (at < v.n - 1 && at - 1 <= keep) {
        safe = at;
        at += v.p[at] != '\\' ? 1 : v.p[at + 1] == 'u' ? 6 : 2;
        while (at < v.n - 1 && goes_on(v.p[at]))
            at++;
    }
    /* The first half of a pair means nothing alone. */
    if (safe >= 7 && v.p[safe - 6] == '\\' && v.p[safe - 5] == 'u' && strchr("dD", v.p[safe - 4]) &&
        strchr("89abAB", v.p[safe - 3]))
        safe -= 6;
    ah_buf_add(to, v.p, safe);
    ah_buf_adds(to, safe > 1 ? " " : "");
    ah_buf_add(to, mark, (size_t)mark_n);
    return ah_buf_addc(to, '"');
}

/* What is left out of a list or an object, as its last member. */
static void put_rest(struct ah_buf *to, struct ah_json v, size_t kept, size_t count)
{
    char mark[MARK_BYTES];
    format_mark(mark, v.p, v.n);
    if (kept)
        ah_buf_addc(to, ',');
    ah_buf_addf(to, "%s\"%zu of %zu are not here %s\"", v.type == AH_JSON_OBJECT ? "\"...\":" : "",
                count - kept, count, mark);
}

static int cut_members(struct ah_buf *to, struct ah_json v, size_t room)
{
    size_t count = ah_json_count(v), i = 0, kept = 0, used = 2;
    size_t *sizes = calloc(count ? count : 1, sizeof *sizes);
    if (!sizes)
        return -1;
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it); i++)
        sizes[i] = it.key.n + it.value.n + 2;
    size_t share = ah_lscut_share(sizes, count, room > 2 ? room - 2 : 0);
    bool all = share >= AH_LSCUT_MIN_BYTES;
    share = all ? share : AH_LSCUT_MIN_BYTES;
    size_t most = all ? SIZE_MAX : room > 2 * AH_LSCUT_MIN_BYTES ? room - AH_LSCUT_MIN_BYTES : 0;
    int result = ah_buf_addc(to, v.type == AH_JSON_OBJECT ? '{' : '[');
    i = 0;
    for (struct ah_json_iter it = ah_json_iter(v); result == 0 && ah_json_next(&it); i++) {
        size_t n = sizes[i] < share ? sizes[i] : share;
        if (it.key.n > share - SMALL_BYTES || used + n > most)
            break;
        if (kept++)
            ah_buf_addc(to, ',');
        if (it.key.n) {
            ah_buf_add(to, it.key.p, it.key.n);
            ah_buf_addc(to, ':');
        }
        size_t before = to->n;
        result = ah_lscut_value(to, it.value, n > it.key.n + 2 ? n - it.key.n - 2 : 0);
        used += to->n - before + it.key.n + 2;
    }
    free(sizes);
    if (result == 0 && kept < count)
        put_rest(to, v, kept, count);
    ah_buf_addc(to, v.type == AH_JSON_OBJECT ? '}' : ']');
    return result == 0 && !to->failed ? 0 : -1;
}

int ah_lscut_value(struct ah_buf *to, struct ah_json v, size_t room)
{
    if (v.n <= room || v.n <= AH_LSCUT_MIN_BYTES)
        return ah_buf_add(to, v.p, v.n);
    if (v.type == AH_JSON_STRING)
        return cut_string(to, v, room);
    if (v.type == AH_JSON_OBJECT || v.type == AH_JSON_ARRAY)
        return cut_members(to, v, room);
    char mark[MARK_BYTES]; /* a number of thousands of digits */
    int n = format_mark(mark, v.p, v.n);
    return ah_json_quote(to, mark, (size_t)n);
}
