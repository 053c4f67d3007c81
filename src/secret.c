/* The set of secret texts of one host, and the masking of them in everything that is written.
 *
 * Called by every layer that writes: log, journal, errors, answers. Must never print, and must never
 * leave a copy of a value in memory that was given back to the allocator.
 *
 * How it searches: no text is shorter than AH_SECRET_MIN_BYTES, so one that begins at any of the next
 * places has the pair of bytes at the end of that stretch among its first ones. A bitmap tells, with one
 * look-up a stretch, where none can begin; another, of the first two bytes, tells it place by place.
 * Where one may, a hash of four bytes leads to a chain of texts, longest first. */
#include "secret.h"

#include "buf.h"
#include "limits.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PREFIX_BYTES 4                          /* of the hash; every text is longer */
#define STRETCH_BYTES (AH_SECRET_MIN_BYTES - 1) /* places that one pair of bytes speaks for */
#define BUCKET_BITS 10
#define BUCKET_COUNT (1u << BUCKET_BITS)

/* One text to look for; lives in the chain of its bucket. */
struct pattern {
    struct pattern *next;
    const char *name; /* of its entry */
    size_t n;
    char p[];
};

/* One name. Older values stay in the list: their texts stay masked, and their pointers valid. */
struct entry {
    struct entry *next;
    char *name;
    char *value;
    size_t n;
    bool whole;  /* all its forms are registered */
    bool hidden; /* masked only */
};

struct ah_secrets {
    struct entry *entries; /* newest first */
    struct pattern *buckets[BUCKET_COUNT];
    uint64_t starts[65536 / 64];
    uint64_t within[65536 / 64]; /* pairs of bytes among the first AH_SECRET_MIN_BYTES of any text */
    size_t longest;              /* pattern */
    size_t longest_name;         /* for the size of a masked text */
};

/* What a form of JSON escapes beyond what it must. */
enum { ESCAPE_SLASH = 1, ESCAPE_HTML = 2, ESCAPE_UNICODE = 4 };

struct span {
    size_t at, n;
    const char *name;
};

struct ah_secrets *ah_secret_new(void)
{
    return calloc(1, sizeof(struct ah_secrets));
}

static void wipe_free(char *p, size_t n)
{
    if (p)
        explicit_bzero(p, n);
    free(p);
}

static void wipe_drop(struct ah_buf *b)
{
    if (b->p)
        explicit_bzero(b->p, b->cap);
    ah_buf_drop(b);
}

/* All memory at once: a buffer that grows would leave copies behind. */
static void wipe_init(struct ah_buf *b, size_t max)
{
    ah_buf_init(b, max);
    ah_buf_reserve(b, max);
}

static void free_entry(struct entry *e)
{
    free(e->name);
    wipe_free(e->value, e->n);
    free(e);
}

void ah_secret_free(struct ah_secrets *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < BUCKET_COUNT; i++) {
        for (struct pattern *q = s->buckets[i], *next; q; q = next) {
            next = q->next;
            explicit_bzero(q->p, q->n);
            free(q);
        }
    }
    for (struct entry *e = s->entries, *next; e; e = next) {
        next = e->next;
        free_entry(e);
    }
    free(s);
}

static size_t bucket_of(const char *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return (x * 2654435761u) >> (32 - BUCKET_BITS);
}

static unsigned pair_at(const char *p)
{
    return (unsigned)(unsigned char)p[0] << 8 | (unsigned char)p[1];
}

static bool has_pair(const uint64_t *set, unsigned pair)
{
    return set[pair / 64] >> (pair % 64) & 1;
}

static void add_pair(uint64_t *set, unsigned pair)
{
    set[pair / 64] |= UINT64_C(1) << (pair % 64);
}

static bool may_start(const struct ah_secrets *s, const char *p)
{
    return has_pair(s->starts, pair_at(p));
}

/* Registers one text for `e`. A text that is there already keeps its first name. */
static int add_pattern(struct ah_secrets *s, const struct entry *e, const char *p, size_t n)
{
    if (n < AH_SECRET_MIN_BYTES)
        return 0;
    struct pattern **at = &s->buckets[bucket_of(p)];
    while (*at && (*at)->n > n)
        at = &(*at)->next;
    for (const struct pattern *q = *at; q && q->n == n; q = q->next)
        if (memcmp(q->p, p, n) == 0)
            return 0;
    struct pattern *q = malloc(sizeof *q + n);
    if (!q)
        return -1;
    *q = (struct pattern){.next = *at, .name = e->name, .n = n};
    memcpy(q->p, p, n);
    *at = q;
    add_pair(s->starts, pair_at(p));
    for (size_t i = 0; i < STRETCH_BYTES; i++)
        add_pair(s->within, pair_at(p + i));
    if (n > s->longest)
        s->longest = n;
    return 0;
}

/* One code point from p[0..n), or the bare byte where it is not UTF-8 (*len = 1). */
static uint32_t read_point(const char *p, size_t n, size_t *len)
{
    unsigned char c = (unsigned char)p[0];
    size_t more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc0 ? 1 : 0;
    *len = 1;
    if (!more || more >= n)
        return c;
    uint32_t point = c & (0x3fu >> more);
    for (size_t i = 1; i <= more; i++) {
        if (((unsigned char)p[i] & 0xc0) != 0x80)
            return c;
        point = point << 6 | ((unsigned char)p[i] & 0x3fu);
    }
    *len = more + 1;
    return point;
}

static void add_unicode(struct ah_buf *to, uint32_t point)
{
    if (point >= 0x10000) {
        point -= 0x10000;
        ah_buf_addf(to, "\\u%04x", 0xd800u + (point >> 10 & 0x3ffu));
        point = 0xdc00u + (point & 0x3ffu);
    }
    ah_buf_addf(to, "\\u%04x", point);
}

/* The inside of a JSON string, as writers of several manners make it. */
static void escape_json(const char *p, size_t n, unsigned manner, struct ah_buf *to)
{
    static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t point = read_point(p + i, n - i, &len);
        const char *found = NULL;
        for (const char *q = shorts; *q && !found; q += 2)
            if (point == (unsigned char)*q)
                found = q;
        if (found) {
            ah_buf_addc(to, '\\');
            ah_buf_addc(to, found[1]);
        } else if (point == '/' && (manner & ESCAPE_SLASH)) {
            ah_buf_adds(to, "\\/");
        } else if (point < 0x20 ||
                   ((manner & ESCAPE_HTML) && point < 0x80 && point && strchr("<>&", (int)point)) ||
                   ((manner & ESCAPE_UNICODE) && point >= 0x7f && len > 1)) {
            add_unicode(to, point);
        } else {
            ah_buf_add(to, p + i, len);
        }
    }
}

static int add_json_forms(struct ah_secrets *s, const struct entry *e, const char *p, size_t n)
{
    static const unsigned char manners[] = {
        0,
        ESCAPE_SLASH,
        ESCAPE_HTML,
        ESCAPE_UNICODE,
        ESCAPE_SLASH | ESCAPE_UNICODE,
        ESCAPE_HTML | ESCAPE_UNICODE,
    };
    struct ah_buf once, twice;
    wipe_init(&once, 6 * n);
    wipe_init(&twice, 12 * n);
    int rc = 0;
    for (size_t i = 0; i < sizeof manners && rc == 0; i++) {
        ah_buf_clear(&once);
        ah_buf_clear(&twice);
        escape_json(p, n, manners[i], &once);
        /* A tool's arguments are JSON inside a JSON string. */
        escape_json(ah_buf_str(&once), once.n, 0, &twice);
        rc = once.failed || twice.failed ? -1 : add_pattern(s, e, once.p, once.n);
        if (rc == 0)
            rc = add_pattern(s, e, twice.p, twice.n);
    }
    wipe_drop(&once);
    wipe_drop(&twice);
    return rc;
}

static bool is_unreserved(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c && strchr("-._~", c));
}

/* Strict (as url.c), as encodeURIComponent, as Python's quote, as forms; hex in both cases. */
static int add_url_forms(struct ah_secrets *s, const struct entry *e, const char *p, size_t n)
{
    static const char *const kept[] = {"", "!'()*", "/", "+"};
    struct ah_buf b;
    wipe_init(&b, 3 * n);
    int rc = 0;
    for (size_t k = 0; k < 2 * (sizeof kept / sizeof kept[0]) && rc == 0; k++) {
        const char *keep = kept[k / 2];
        const char *hex = k % 2 ? "0123456789abcdef" : "0123456789ABCDEF";
        ah_buf_clear(&b);
        for (size_t i = 0; i < n; i++) {
            unsigned char c = (unsigned char)p[i];
            if (c == ' ' && keep[0] == '+') {
                ah_buf_addc(&b, '+');
            } else if (is_unreserved(c) || (c && keep[0] != '+' && strchr(keep, c))) {
                ah_buf_addc(&b, (char)c);
            } else {
                char escape[3] = {'%', hex[c >> 4], hex[c & 15]};
                ah_buf_add(&b, escape, sizeof escape);
            }
        }
        rc = b.failed ? -1 : add_pattern(s, e, b.p, b.n);
    }
    wipe_drop(&b);
    return rc;
}

/* The base64 of `skip` zero bytes and then the value, without padding, in one of two alphabets. */
static void encode_base64(const char *p, size_t n, size_t skip, const char *last_two, struct ah_buf *to)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < skip + n; i++) {
        bits = bits << 8 | (i < skip ? 0u : (unsigned char)p[i - skip]);
        held += 8;
        for (; held >= 6; held -= 6) {
            uint32_t six = bits >> (held - 6) & 63;
            ah_buf_addc(to, six < 62 ? letters[six] : last_two[six - 62]);
        }
    }
    if (held) {
        uint32_t six = bits << (6 - held) & 63;
        ah_buf_addc(to, six < 62 ? letters[six] : last_two[six - 62]);
    }
}

/* `Authorization: Basic` holds base64("name:value"), and the name is not known here. But base64 turns
 * three bytes into four letters, so what comes before the value matters only by its length modulo 3:
 * for each of the three the letters made of the value's bits alone are always the same. They are
 * registered, and so is the longer text that stands when the value is the last thing encoded (its
 * last letter is then known too, and the padding). What may be left over at an edge is one letter
 * that holds two or four bits of the value. */
static int add_base64_forms(struct ah_secrets *s, const struct entry *e, const char *p, size_t n)
{
    struct ah_buf b;
    wipe_init(&b, (n + 2) / 3 * 4 + 8);
    int rc = 0;
    for (size_t k = 0; k < 6 && rc == 0; k++) {
        size_t skip = k / 2;
        size_t first = (8 * skip + 5) / 6, inner = 8 * (skip + n) / 6;
        ah_buf_clear(&b);
        encode_base64(p, n, skip, k % 2 ? "-_" : "+/", &b);
        size_t whole = b.n;
        while (b.n % 4)
            ah_buf_addc(&b, '=');
        if (b.failed) {
            rc = -1;
            break;
        }
        if (add_pattern(s, e, b.p + first, inner - first) != 0 ||
            add_pattern(s, e, b.p + first, whole - first) != 0 ||
            add_pattern(s, e, b.p + first, b.n - first) != 0)
            rc = -1;
    }
    wipe_drop(&b);
    return rc;
}

static int add_forms(struct ah_secrets *s, const struct entry *e)
{
    if (add_pattern(s, e, e->value, e->n) != 0 || add_json_forms(s, e, e->value, e->n) != 0)
        return -1;
    return add_url_forms(s, e, e->value, e->n) == 0 ? add_base64_forms(s, e, e->value, e->n) : -1;
}

/* The entry that answers for a name. */
static struct entry *find_answer(const struct ah_secrets *s, const char *name)
{
    struct entry *e = s ? s->entries : NULL;
    while (e && (e->hidden || strcmp(e->name, name) != 0))
        e = e->next;
    return e;
}

/* Takes the entry of this name and value, if there is one, out of the list. */
static struct entry *unlink_entry(struct ah_secrets *s, const char *name, const char *value, size_t n)
{
    for (struct entry **at = &s->entries; *at; at = &(*at)->next) {
        struct entry *e = *at;
        if (e->n == n && memcmp(e->value, value, n) == 0 && strcmp(e->name, name) == 0) {
            *at = e->next;
            return e;
        }
    }
    return NULL;
}

static struct entry *new_entry(const char *name, const char *value, size_t n)
{
    struct entry *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->name = strdup(name);
    e->value = malloc(n + 1);
    if (!e->name || !e->value) {
        free_entry(e);
        return NULL;
    }
    memcpy(e->value, value, n);
    e->value[n] = '\0';
    e->n = n;
    return e;
}

static int put(struct ah_secrets *s, const char *name, const char *value, size_t n, bool hidden)
{
    struct entry *e = unlink_entry(s, name, value, n);
    if (!e && !(e = new_entry(name, value, n)))
        return -1;
    /* In the list before its texts: they borrow its name, even if memory ends half-way. */
    e->hidden = hidden;
    e->next = s->entries;
    s->entries = e;
    size_t name_len = strlen(name);
    if (name_len > s->longest_name)
        s->longest_name = name_len;
    if (!e->whole)
        e->whole = n < AH_SECRET_MIN_BYTES || add_forms(s, e) == 0;
    return e->whole ? 0 : -1;
}

int ah_secret_add(struct ah_secrets *s, const char *name, const char *value, size_t n)
{
    return put(s, name, value, n, false);
}

int ah_secret_hide(struct ah_secrets *s, const char *name, const char *value, size_t n)
{
    return put(s, name, value, n, true);
}

void ah_secret_forget(struct ah_secrets *s, const char *name)
{
    for (struct entry *e; (e = find_answer(s, name)) != NULL;)
        e->hidden = true;
}

const char *ah_secret_get(const struct ah_secrets *s, const char *name, size_t *n)
{
    const struct entry *e = find_answer(s, name);
    if (n)
        *n = e ? e->n : 0;
    return e ? e->value : NULL;
}

bool ah_secret_is_name(const char *variable)
{
    static const char *const ends[] = {"_KEY", "_SECRET", "_TOKEN", "_PASSWORD"};
    size_t n = strlen(variable);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t m = strlen(ends[i]);
        if (n >= m && strcasecmp(variable + n - m, ends[i]) == 0)
            return true;
    }
    return false;
}

size_t ah_secret_longest(const struct ah_secrets *s)
{
    return s ? s->longest : 0;
}

/* The longest text that begins exactly at p. */
static const struct pattern *match_at(const struct ah_secrets *s, const char *p, size_t n)
{
    if (n < AH_SECRET_MIN_BYTES || !may_start(s, p))
        return NULL;
    for (const struct pattern *q = s->buckets[bucket_of(p)]; q; q = q->next)
        if (q->n <= n && memcmp(q->p, p, q->n) == 0)
            return q;
    return NULL;
}

/* The next stretch of p[0..n), from `from`, that registered texts cover. Texts that overlap make one
 * stretch, named after the longest of them: masking one alone would leave a piece of the other. */
static bool find_span(const struct ah_secrets *s, const char *p, size_t n, size_t from, struct span *out)
{
    if (!s || s->longest == 0 || n < AH_SECRET_MIN_BYTES)
        return false;
    const struct pattern *q = NULL;
    size_t last = n - AH_SECRET_MIN_BYTES;
    for (; from <= last; from++) {
        /* The pair at the end of the stretch lies in p: from + STRETCH_BYTES <= n - 1. */
        while (from <= last && !has_pair(s->within, pair_at(p + from + STRETCH_BYTES - 1)))
            from += STRETCH_BYTES;
        if (from > last)
            break;
        if (may_start(s, p + from) && (q = match_at(s, p + from, n - from)) != NULL)
            break;
    }
    if (!q)
        return false;
    const struct pattern *best = q;
    size_t end = from + q->n;
    for (size_t i = from + 1; i < end; i++) {
        q = match_at(s, p + i, n - i);
        if (!q)
            continue;
        if (q->n > best->n)
            best = q;
        if (i + q->n > end)
            end = i + q->n;
    }
    *out = (struct span){.at = from, .n = end - from, .name = best->name};
    return true;
}

bool ah_secret_found(const struct ah_secrets *s, const char *p, size_t n)
{
    struct span span;
    return find_span(s, p, n, 0, &span);
}

int ah_secret_mask(const struct ah_secrets *s, const char *p, size_t n, struct ah_buf *to)
{
    size_t done = 0;
    for (struct span span; find_span(s, p, n, done, &span); done = span.at + span.n) {
        ah_buf_add(to, p + done, span.at - done);
        ah_buf_adds(to, "[secret:");
        ah_buf_adds(to, span.name);
        ah_buf_addc(to, ']');
    }
    return done < n ? ah_buf_add(to, p + done, n - done) : to->failed ? -1 : 0;
}

/* Whether p[0..n) begins a text; n is too short for the hash. */
static bool begins(const struct ah_secrets *s, const char *p, size_t n)
{
    if (n == 1) {
        const uint64_t *pairs = s->starts + pair_at((const char[]){*p, 0}) / 64;
        return (pairs[0] | pairs[1] | pairs[2] | pairs[3]) != 0;
    }
    if (n == 2 || !may_start(s, p))
        return may_start(s, p);
    for (size_t i = 0; i < BUCKET_COUNT; i++)
        for (const struct pattern *q = s->buckets[i]; q; q = q->next)
            if (memcmp(q->p, p, n) == 0)
                return true;
    return false;
}

size_t ah_secret_tail(const struct ah_secrets *s, const char *p, size_t n)
{
    size_t longest = ah_secret_longest(s), i = n >= longest ? n - longest : 0;
    if (!longest)
        return 0;
    for (; i + PREFIX_BYTES <= n; i++) {
        if (!may_start(s, p + i))
            continue;
        for (const struct pattern *q = s->buckets[bucket_of(p + i)]; q; q = q->next)
            if (q->n > n - i && memcmp(q->p, p + i, n - i) == 0)
                return n - i;
    }
    for (; i < n; i++)
        if (begins(s, p + i, n - i))
            return n - i;
    return 0;
}

void ah_secret_mask_str(const struct ah_secrets *s, char *text, size_t size)
{
    if (!s || size == 0)
        return;
    size_t n = strnlen(text, size - 1);
    text[n] = '\0';
    /* A text that fills its memory was probably cut, and may end in a piece of a secret. */
    bool hide_tail = n == size - 1 && ah_secret_tail(s, text, n) > 0;
    if (hide_tail)
        n -= ah_secret_tail(s, text, n);
    text[n] = '\0';
    if (!ah_secret_found(s, text, n))
        return;
    struct ah_buf b;
    ah_buf_init(&b, n + (n / AH_SECRET_MIN_BYTES + 1) * (s->longest_name + sizeof "[secret:]"));
    /* Better no text than one with a secret in it. */
    size_t m = ah_secret_mask(s, text, n, &b) == 0 ? b.n : 0;
    if (m > size - 1)
        m = size - 1;
    while (m > 0 && m < b.n && ((unsigned char)b.p[m] & 0xc0) == 0x80)
        m--;
    if (m)
        memcpy(text, b.p, m);
    text[m] = '\0';
    ah_buf_drop(&b);
}
