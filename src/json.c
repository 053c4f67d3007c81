/* JSON: a strict scanner over bytes, ranges into what it accepted, and a writer into a buffer.
 *
 * Called by every layer from 2 up, in its hottest places. Must never allocate while reading (except to
 * compare the keys of large objects), never recurse over a text that was not checked, never look at the
 * locale, and never read a byte outside the range it was given. */
#include "json.h"

#include "buf.h"
#include "err.h"
#include "secret.h"

#include <assert.h>
#include <endian.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define SMALL_KEYS_COUNT 32  /* objects with more keys are sorted to find duplicates */
#define DIGITS_MAX_COUNT 800 /* more decimal digits never change a double (767), but whether any is not 0 */
#define NUMBER_BYTES 48      /* of a number that we write */
#define REPLACEMENT 0xfffdu

#define ONES UINT64_C(0x0101010101010101)
#define HIGH (ONES * 0x80)

/* --- bytes -------------------------------------------------------------------------------------- */

/* Eight bytes so that the first in memory is the lowest. */
static inline uint64_t load8(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

/* Marks above the first may be wrong (borrows travel up), the first never is. */
static inline unsigned first_byte(uint64_t marks)
{
    return (unsigned)__builtin_ctzll(marks) / 8;
}

/* The first byte of [p, end) that is a quote, a backslash, a control character or, with `high` = HIGH,
 * not ASCII. Sixteen at a time where the machine can; eight at a time, a byte is below k if subtracting k
 * borrows into its high bit. */
static inline const char *skip_plain(const char *p, const char *end, uint64_t high)
{
#ifdef __SSE2__
    const __m128i quotes = _mm_set1_epi8('"'), slashes = _mm_set1_epi8('\\'), top = _mm_set1_epi8(0x1f);
    for (; end - p >= 16; p += 16) {
        __m128i v;
        memcpy(&v, p, sizeof v);
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(v, quotes), _mm_cmpeq_epi8(v, slashes));
        hit = _mm_or_si128(hit, _mm_cmpeq_epi8(_mm_min_epu8(v, top), v));
        int marks = _mm_movemask_epi8(high ? _mm_or_si128(hit, v) : hit);
        if (marks)
            return p + __builtin_ctz((unsigned)marks);
    }
#endif
    while (end - p >= 8) {
        uint64_t v = load8(p);
        uint64_t quote = v ^ (ONES * '"'), slash = v ^ (ONES * '\\');
        uint64_t hit = ((v - ONES * 0x20) & ~v) | ((quote - ONES) & ~quote) | ((slash - ONES) & ~slash);
        hit = (hit & HIGH) | (v & high);
        if (hit)
            return p + first_byte(hit);
        p += 8;
    }
    for (; p < end; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < 0x20 || c == '"' || c == '\\' || (c >= 0x80 && high))
            break;
    }
    return p;
}

static inline const char *skip_ascii(const char *p, const char *end)
{
    while (end - p >= 8) {
        uint64_t marks = load8(p) & HIGH;
        if (marks)
            return p + first_byte(marks);
        p += 8;
    }
    while (p < end && (unsigned char)*p < 0x80)
        p++;
    return p;
}

static inline const char *skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
        p++;
    return p;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The character at p (Unicode 15, table 3-7). true: *n is its length. false: *n bytes are no
 * character: the longest beginning of one, so that each such piece becomes one U+FFFD. */
static bool measure_utf8(const char *p, const char *end, size_t *n)
{
    unsigned char c = (unsigned char)*p;
    unsigned char low = 0x80, top = 0xbf;
    size_t more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
    *n = 1;
    if (c < 0x80)
        return true;
    if (c < 0xc2 || c > 0xf4)
        return false;
    if (c == 0xe0)
        low = 0xa0;
    else if (c == 0xed)
        top = 0x9f;
    else if (c == 0xf0)
        low = 0x90;
    else if (c == 0xf4)
        top = 0x8f;
    for (; more > 0; more--, (*n)++, low = 0x80, top = 0xbf) {
        if (p + *n >= end || (unsigned char)p[*n] < low || (unsigned char)p[*n] > top)
            return false;
    }
    return true;
}

bool ah_json_is_utf8(const char *s, size_t n)
{
    const char *end = s + n;
    size_t len;
    for (s = skip_ascii(s, end); s < end; s = skip_ascii(s + len, end))
        if (!measure_utf8(s, end, &len))
            return false;
    return true;
}

static size_t write_utf8(uint32_t point, char out[4])
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (char)(0xc0 | point >> 6);
        out[1] = (char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (char)(0xe0 | point >> 12);
        out[1] = (char)(0x80 | (point >> 6 & 0x3f));
        out[2] = (char)(0x80 | (point & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | point >> 18);
    out[1] = (char)(0x80 | (point >> 12 & 0x3f));
    out[2] = (char)(0x80 | (point >> 6 & 0x3f));
    out[3] = (char)(0x80 | (point & 0x3f));
    return 4;
}

/* Four hexadecimal digits; -1: they are not. */
static int32_t read_hex4(const char *p, const char *end)
{
    if (end - p < 4)
        return -1;
    int32_t v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = is_digit(c)            ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

/* The character that the escape at *p (a backslash) stands for. A surrogate without its other half is
 * U+FFFD. Broken escapes do not reach this point; if they did, a byte is stepped over. */
static uint32_t read_escape(const char **p, const char *end)
{
    const char *at = *p + 1;
    *p = at < end ? at + 1 : end;
    switch (at < end ? *at : '\0') {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'u':
        break;
    default:
        return at < end ? (unsigned char)*at : REPLACEMENT;
    }
    int32_t unit = read_hex4(at + 1, end);
    if (unit < 0)
        return REPLACEMENT;
    *p = at + 5;
    if (unit < 0xd800 || unit > 0xdfff)
        return (uint32_t)unit;
    if (unit < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        int32_t low = read_hex4(*p + 2, end);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *p += 6;
            return 0x10000u + ((uint32_t)(unit - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
        }
    }
    return REPLACEMENT;
}

/* --- checking ----------------------------------------------------------------------------------- */

struct scan {
    const char *start, *p, *end;
    int flags;
    struct ah_error *err;
    struct ah_json key; /* the newest */
    unsigned depth;
    const char *open[AH_JSON_DEPTH]; /* the brackets that are not closed yet */
};

enum step { BROKEN, VALUE_NEXT, VALUE_DONE };

__attribute__((format(printf, 3, 4))) static int fail_at(struct scan *s, const char *at, const char *fmt, ...)
{
    size_t line = 1, column = 1;
    for (const char *p = s->start; p < at; p++) {
        if (*p == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)*p & 0xc0) != 0x80) {
            column++;
        }
    }
    char reason[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(reason, sizeof reason, fmt, args);
    va_end(args);
    return ah_err_set(s->err, AH_PROTOCOL, "not valid JSON at line %zu, column %zu: %s", line, column,
                      reason);
}

static int scan_escape(struct scan *s, bool is_key)
{
    const char *at = s->p;
    if (s->end - at < 2)
        return fail_at(s, s->end, "the text ends inside a string");
    if (at[1] != 'u') {
        if (!at[1] || !strchr("\"\\/bfnrt", at[1]))
            return fail_at(s, at, "a backslash that begins no escape (a backslash itself is written \\\\)");
        s->p += 2;
        return 0;
    }
    int32_t unit = read_hex4(at + 2, s->end);
    if (unit < 0)
        return fail_at(s, at, "\\u needs four hexadecimal digits");
    if (unit == 0 && is_key)
        return fail_at(s, at, "a key must not hold NUL");
    s->p += 6;
    return 0;
}

/* s->p is at the opening quote. */
static int scan_string(struct scan *s, bool is_key)
{
    s->p++;
    for (;;) {
        s->p = skip_plain(s->p, s->end, 0);
        if (s->p == s->end)
            return fail_at(s, s->end, "the text ends inside a string");
        if (*s->p == '"') {
            s->p++;
            return 0;
        }
        if (*s->p == '\\') {
            if (scan_escape(s, is_key) != 0)
                return -1;
            continue;
        }
        if (!(s->flags & AH_JSON_RAW_CONTROLS))
            return fail_at(s, s->p, "control character %d inside a string (it must be escaped)", *s->p);
        if (*s->p == '\0' && is_key)
            return fail_at(s, s->p, "a key must not hold NUL");
        s->p++;
    }
}

static int scan_digits(struct scan *s)
{
    if (s->p == s->end || !is_digit(*s->p))
        return fail_at(s, s->p, "a digit is missing in a number");
    while (s->p < s->end && is_digit(*s->p))
        s->p++;
    return 0;
}

static int scan_number(struct scan *s)
{
    if (*s->p == '-')
        s->p++;
    if (s->p < s->end && *s->p == 'I')
        return fail_at(s, s->p, "NaN and Infinity are not JSON");
    const char *first = s->p;
    if (scan_digits(s) != 0)
        return -1;
    if (*first == '0' && s->p - first > 1)
        return fail_at(s, first, "a number must not begin with 0");
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (scan_digits(s) != 0)
            return -1;
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
            s->p++;
        return scan_digits(s);
    }
    return 0;
}

static int scan_word(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
        return fail_at(s, s->p, "a value was expected (true, false and null are the only words)");
    s->p += n;
    return 0;
}

/* A key and its colon; s->p is where the key must begin. */
static int scan_key(struct scan *s)
{
    s->p = skip_space(s->p, s->end);
    if (s->p == s->end)
        return fail_at(s, s->p, "the text ends inside an object");
    if (*s->p != '"')
        return fail_at(s, s->p, *s->p == '}' ? "a comma before '}'" : "a key in double quotes was expected");
    const char *first = s->p;
    if (scan_string(s, true) != 0)
        return -1;
    s->key = (struct ah_json){first, (size_t)(s->p - first), AH_JSON_STRING};
    s->p = skip_space(s->p, s->end);
    if (s->p == s->end)
        return fail_at(s, s->p, "the text ends inside an object");
    if (*s->p != ':')
        return fail_at(s, s->p, "':' was expected after a key");
    s->p++;
    return 0;
}

static int compare_strings(struct ah_json a, struct ah_json b);

static int compare_keys(const void *a, const void *b)
{
    return compare_strings(*(const struct ah_json *)a, *(const struct ah_json *)b);
}

static const struct ah_json *find_twin(struct ah_json *keys, size_t n)
{
    if (n > SMALL_KEYS_COUNT) {
        qsort(keys, n, sizeof *keys, compare_keys);
        for (size_t i = 1; i < n; i++)
            if (compare_strings(keys[i - 1], keys[i]) == 0)
                return keys[i - 1].p > keys[i].p ? &keys[i - 1] : &keys[i];
        return NULL;
    }
    for (size_t i = 1; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (compare_strings(keys[i], keys[k]) == 0)
                return &keys[i];
    return NULL;
}

/* [from, s->p) is an object that was accepted. Keys are compared as they decode. */
static int check_unique(struct scan *s, const char *from)
{
    struct ah_json few[SMALL_KEYS_COUNT], *keys = few;
    struct ah_json object = {.p = from, .n = (size_t)(s->p - from), .type = AH_JSON_OBJECT};
    size_t count = ah_json_count(object), n = 0;
    if (count > SMALL_KEYS_COUNT) {
        keys = malloc(count * sizeof *keys);
        if (!keys)
            return ah_err_set(s->err, AH_MEMORY, "out of memory while checking JSON for duplicate keys");
    }
    for (struct ah_json_iter it = ah_json_iter(object); ah_json_next(&it);)
        keys[n++] = it.key;
    const struct ah_json *twin = find_twin(keys, n);
    int rc = 0;
    if (twin) {
        char name[64];
        ah_json_copy(*twin, name, sizeof name);
        rc = fail_at(s, twin->p, "the key \"%s\" appears twice in one object", name);
    }
    if (keys != few)
        free(keys);
    return rc;
}

static enum step close_bracket(struct scan *s)
{
    s->p++;
    s->depth--;
    if ((s->flags & AH_JSON_UNIQUE_KEYS) && *s->open[s->depth] == '{' &&
        check_unique(s, s->open[s->depth]) != 0)
        return BROKEN;
    return VALUE_DONE;
}

static enum step open_bracket(struct scan *s)
{
    bool object = *s->p == '{';
    if (s->depth == AH_JSON_DEPTH) {
        fail_at(s, s->p, "nested deeper than %d levels", AH_JSON_DEPTH);
        return BROKEN;
    }
    s->open[s->depth++] = s->p++;
    s->p = skip_space(s->p, s->end);
    if (s->p < s->end && *s->p == (object ? '}' : ']'))
        return close_bracket(s);
    if (object && scan_key(s) != 0)
        return BROKEN;
    return VALUE_NEXT;
}

static int fail_value(struct scan *s)
{
    const char *reason = "a value was expected";
    if (*s->p == 'N' || *s->p == 'I')
        reason = "NaN and Infinity are not JSON";
    else if (*s->p == '\'')
        reason = "strings need double quotes";
    else if (*s->p == ']' && s->depth > 0)
        reason = "a comma before ']'";
    else if (*s->p == '/')
        reason = "JSON has no comments";
    else if (s->p == s->start && s->end - s->p >= 3 && memcmp(s->p, "\xef\xbb\xbf", 3) == 0)
        reason = "the text begins with a byte-order mark";
    return fail_at(s, s->p, "%s", reason);
}

/* s->p is where a value must begin. */
static enum step scan_value(struct scan *s)
{
    int rc;
    s->p = skip_space(s->p, s->end);
    if (s->p == s->end) {
        fail_at(s, s->p,
                s->p == skip_space(s->start, s->end) ? "there is no value" : "the text ends before a value");
        return BROKEN;
    }
    switch (*s->p) {
    case '{':
    case '[':
        return open_bracket(s);
    case '"':
        rc = scan_string(s, false);
        break;
    case 't':
        rc = scan_word(s, "true");
        break;
    case 'f':
        rc = scan_word(s, "false");
        break;
    case 'n':
        rc = scan_word(s, "null");
        break;
    default:
        rc = *s->p == '-' || is_digit(*s->p) ? scan_number(s) : fail_value(s);
    }
    return rc == 0 ? VALUE_DONE : BROKEN;
}

/* After a value inside of brackets: the next member, or the end of one level. */
static enum step scan_separator(struct scan *s)
{
    bool object = *s->open[s->depth - 1] == '{';
    s->p = skip_space(s->p, s->end);
    if (s->p == s->end) {
        fail_at(s, s->p, "the text ends inside an %s", object ? "object" : "array");
        return BROKEN;
    }
    if (*s->p == (object ? '}' : ']'))
        return close_bracket(s);
    if (*s->p != ',') {
        fail_at(s, s->p, object ? "',' or '}' was expected" : "',' or ']' was expected");
        return BROKEN;
    }
    s->p++;
    if (object && scan_key(s) != 0)
        return BROKEN;
    return VALUE_NEXT;
}

static struct ah_json token_at(const char *p, const char *end);

/* Without the brackets, which would be kilobytes to clear. */
static void begin_scan(struct scan *s, const char *p, size_t n, int flags, struct ah_error *err)
{
    s->start = s->p = p ? p : ""; /* NULL: an empty buffer's */
    s->end = s->p + (p ? n : 0);
    s->flags = flags;
    s->err = err;
    s->depth = 0;
}

/* A whole value, however deep. */
static enum step scan_whole(struct scan *s)
{
    unsigned depth = s->depth;
    enum step step = scan_value(s);
    while (step == VALUE_NEXT || (step == VALUE_DONE && s->depth > depth))
        step = step == VALUE_NEXT ? scan_value(s) : scan_separator(s);
    return step;
}

int ah_json_check(const char *p, size_t n, int flags, struct ah_json *out, struct ah_error *err)
{
    if (out)
        *out = (struct ah_json){0};
    struct scan s;
    begin_scan(&s, p, n, flags, err);
    const char *first = skip_space(s.p, s.end);
    if (scan_whole(&s) == BROKEN)
        return -1;
    const char *last = s.p;
    s.p = skip_space(s.p, s.end);
    if (s.p != s.end)
        return fail_at(&s, s.p, "something follows the value");
    if (out) {
        *out = token_at(first, last);
        out->n = (size_t)(last - first);
    }
    return 0;
}

static enum ah_json_type type_at(char c)
{
    switch (c) {
    case '{':
        return AH_JSON_OBJECT;
    case '[':
        return AH_JSON_ARRAY;
    case '"':
        return AH_JSON_STRING;
    case 't':
        return AH_JSON_TRUE;
    case 'f':
        return AH_JSON_FALSE;
    case 'n':
        return AH_JSON_NULL;
    default:
        return AH_JSON_NUMBER;
    }
}

int ah_json_check_members(const char *p, size_t n, void (*fn)(void *, struct ah_json, struct ah_json),
                          void *arg, struct ah_error *err)
{
    struct scan s;
    begin_scan(&s, p, n, 0, err);
    s.p = skip_space(s.p, s.end);
    if (s.p == s.end || *s.p != '{')
        return fail_at(&s, s.p, "an object was expected");
    enum step step = scan_value(&s);
    while (step == VALUE_NEXT) {
        struct ah_json key = s.key;
        const char *first = skip_space(s.p, s.end);
        step = scan_whole(&s);
        if (step != VALUE_DONE)
            break;
        fn(arg, key, (struct ah_json){first, (size_t)(s.p - first), type_at(*first)});
        step = scan_separator(&s);
    }
    if (step == BROKEN)
        return -1;
    s.p = skip_space(s.p, s.end);
    return s.p == s.end ? 0 : fail_at(&s, s.p, "something follows the value");
}

/* --- ranges ------------------------------------------------------------------------------------- */

/* Behind the closing quote of the string at p. */
static const char *skip_string(const char *p, const char *end)
{
    for (p = skip_plain(p + 1, end, 0); p < end; p = skip_plain(p, end, 0)) {
        if (*p == '"')
            return p + 1;
        p += *p == '\\' && end - p > 1 ? 2 : 1;
    }
    return end;
}

#ifdef __SSE2__
/* Where in a container 64 bytes begin. */
struct nesting {
    size_t depth;
    uint64_t in_string; /* all bits or none: the first byte is inside a string */
    uint64_t escaped;   /* 1: the first byte stands behind a backslash */
};

/* A bit for each of 64 bytes that is `c`. */
static inline uint64_t mark_bytes(const __m128i v[4], char c)
{
    const __m128i wanted = _mm_set1_epi8(c);
    uint64_t marks = 0;
    for (int i = 0; i < 4; i++)
        marks |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v[i], wanted)) << (16 * i);
    return marks;
}

/* Bits of what stands behind a backslash that is not itself escaped. */
static inline uint64_t mark_escaped(uint64_t slashes, uint64_t *carried)
{
    uint64_t escaped = *carried;
    *carried = 0;
    for (slashes &= ~escaped; slashes;) {
        uint64_t first = slashes & -slashes;
        escaped |= first << 1;
        *carried = first >> 63;
        slashes &= ~(first | first << 1);
    }
    return escaped;
}

/* Bits from each opening quote to before its closing one. */
static inline uint64_t mark_strings(uint64_t quotes)
{
    for (unsigned by = 1; by < 64; by *= 2)
        quotes ^= quotes << by;
    return quotes;
}

/* Behind the bracket that ends the container, when it is among the 64 bytes at p; else NULL. */
static inline const char *skip_block(const char *p, struct nesting *at)
{
    __m128i v[4];
    memcpy(v, p, sizeof v);
    uint64_t slashes = mark_bytes(v, '\\');
    uint64_t escaped = slashes | at->escaped ? mark_escaped(slashes, &at->escaped) : 0;
    uint64_t strings = mark_strings(mark_bytes(v, '"') & ~escaped) ^ at->in_string;
    at->in_string = 0 - (strings >> 63);
    for (int i = 0; i < 4; i++)
        v[i] = _mm_or_si128(v[i], _mm_set1_epi8(0x20)); /* [ and ] become { and } */
    uint64_t closing = mark_bytes(v, '}') & ~strings;
    for (uint64_t left = closing | (mark_bytes(v, '{') & ~strings); left; left &= left - 1) {
        if (!(closing & left & -left))
            at->depth++;
        else if (--at->depth == 0)
            return p + __builtin_ctzll(left) + 1;
    }
    return NULL;
}
#endif

static const char *skip_container(const char *p, const char *end)
{
    size_t depth = 0;
#ifdef __SSE2__
    struct nesting at = {0};
    for (const char *behind; end - p >= 64; p += 64)
        if ((behind = skip_block(p, &at)))
            return behind;
    if (at.in_string) /* p is the string's first byte, as it were */
        p = skip_string(at.escaped ? p : p - 1, end);
    depth = at.depth;
#endif
    while (p < end) {
        switch (*p) {
        case '"':
            p = skip_string(p, end);
            continue;
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            if (--depth == 0)
                return p + 1;
            break;
        default:
            break;
        }
        p++;
    }
    return end;
}

static const char *skip_scalar(const char *p, const char *end)
{
    while (p < end && *p != ',' && *p != ']' && *p != '}' && *p != ':' && skip_space(p, end) == p)
        p++;
    return p;
}

/* The token at p, which is no space. Containers: only their first byte. */
static struct ah_json token_at(const char *p, const char *end)
{
    if (p >= end || *p == '}' || *p == ']')
        return (struct ah_json){0};
    struct ah_json v = {.p = p, .n = 1, .type = type_at(*p)};
    if (v.type == AH_JSON_STRING)
        v.n = (size_t)(skip_string(p, end) - p);
    else if (v.type != AH_JSON_OBJECT && v.type != AH_JSON_ARRAY)
        v.n = (size_t)(skip_scalar(p, end) - p);
    return v;
}

static const char *skip_between(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r' || *p == ',' || *p == ':'))
        p++;
    return p;
}

struct ah_json ah_json_token(const char **at, const char *end)
{
    const char *p = skip_between(*at, end);
    struct ah_json v = token_at(p, end);
    *at = v.type != AH_JSON_NONE ? p + v.n : p < end ? p + 1 : end;
    return v;
}

struct ah_json_iter ah_json_iter(struct ah_json v)
{
    struct ah_json_iter it = {0};
    if ((v.type == AH_JSON_ARRAY || v.type == AH_JSON_OBJECT) && v.n >= 2) {
        it.at = v.p + 1;
        it.end = v.p + v.n - 1;
    }
    return it;
}

static struct ah_json take_value(const char **at, const char *end)
{
    struct ah_json v = ah_json_token(at, end);
    if (v.type == AH_JSON_ARRAY || v.type == AH_JSON_OBJECT) {
        *at = skip_container(v.p, end);
        v.n = (size_t)(*at - v.p);
    }
    return v;
}

bool ah_json_next(struct ah_json_iter *it)
{
    it->key = it->value = (struct ah_json){0};
    if (it->at == it->end)
        return false;
    if (*it->end == '}')
        it->key = take_value(&it->at, it->end);
    it->value = take_value(&it->at, it->end);
    return it->value.type != AH_JSON_NONE;
}

static uint32_t read_utf8(const char **p, const char *end)
{
    size_t n;
    const unsigned char *at = (const unsigned char *)*p;
    bool valid = measure_utf8(*p, end, &n);
    *p += n;
    if (!valid)
        return REPLACEMENT;
    if (n == 1)
        return at[0];
    uint32_t point = at[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++)
        point = point << 6 | (at[i] & 0x3fu);
    return point;
}

/* The next decoded character inside of a string. */
static uint32_t read_point(const char **p, const char *end)
{
    return **p == '\\' ? read_escape(p, end) : read_utf8(p, end);
}

/* Whether [p, end), the inside of a JSON string, decodes to the bytes [s, s_end). */
static bool match_text(const char *p, const char *end, const char *s, const char *s_end)
{
    while (p < end && s < s_end) {
        if (*p == *s && (unsigned char)*p < 0x80 && *p != '\\') {
            p++;
            s++;
            continue;
        }
        if (*p != '\\' && (unsigned char)*p < 0x80)
            return false;
        char decoded[4];
        size_t n = write_utf8(read_point(&p, end), decoded);
        if ((size_t)(s_end - s) < n || memcmp(decoded, s, n) != 0)
            return false;
        s += n;
    }
    return p == end && s == s_end;
}

/* Order of the decoded texts: code points, which is the order of UTF-8 bytes. */
static int compare_strings(struct ah_json a, struct ah_json b)
{
    const char *p = a.p + 1, *p_end = a.p + a.n - 1;
    const char *q = b.p + 1, *q_end = b.p + b.n - 1;
    while (p < p_end && q < q_end) {
        uint32_t x = read_point(&p, p_end), y = read_point(&q, q_end);
        if (x != y)
            return x < y ? -1 : 1;
    }
    return (p < p_end) - (q < q_end);
}

/* Whether a key decodes to `name`. Most keys differ, or are the same bytes. */
static inline bool is_key(struct ah_json key, const char *name)
{
    const char *p = key.p + 1, *end = key.p + key.n - 1;
    for (; p < end && *p == *name && (unsigned char)*p < 0x80 && *p != '\\'; p++)
        name++;
    if (p == end)
        return *name == '\0';
    if (*p != '\\' && (unsigned char)*p < 0x80)
        return false;
    return match_text(p, end, name, name + strlen(name));
}

struct ah_json ah_json_get(struct ah_json v, const char *key)
{
    struct ah_json found = {0};
    if (v.type != AH_JSON_OBJECT)
        return found;
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);)
        if (is_key(it.key, key))
            found = it.value; /* the last one wins: no early end */
    return found;
}

void ah_json_pick(struct ah_json v, const char *const *keys, struct ah_json *to)
{
    for (size_t i = 0; keys[i]; i++)
        to[i] = (struct ah_json){0};
    if (v.type != AH_JSON_OBJECT)
        return;
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);)
        for (size_t i = 0; keys[i]; i++)
            if (is_key(it.key, keys[i])) {
                to[i] = it.value;
                break;
            }
}

struct ah_json ah_json_at(struct ah_json v, size_t index)
{
    if (v.type == AH_JSON_ARRAY)
        for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it); index--)
            if (index == 0)
                return it.value;
    return (struct ah_json){0};
}

static bool parse_index(const char *s, size_t *out)
{
    size_t v = 0;
    if (!*s)
        return false;
    for (; *s; s++) {
        if (!is_digit(*s) || v > (SIZE_MAX - 9) / 10)
            return false;
        v = v * 10 + (size_t)(*s - '0');
    }
    *out = v;
    return true;
}

struct ah_json ah_json_path(struct ah_json v, ...)
{
    va_list keys;
    va_start(keys, v);
    for (const char *key; v.type != AH_JSON_NONE && (key = va_arg(keys, const char *)) != NULL;) {
        size_t index;
        if (v.type == AH_JSON_ARRAY && parse_index(key, &index))
            v = ah_json_at(v, index);
        else
            v = ah_json_get(v, key);
    }
    va_end(keys);
    return v;
}

size_t ah_json_count(struct ah_json v)
{
    size_t n = 0;
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);)
        n++;
    return n;
}

/* --- strings ------------------------------------------------------------------------------------ */

static bool is_string(struct ah_json v)
{
    return v.type == AH_JSON_STRING && v.n >= 2;
}

bool ah_json_is(struct ah_json v, const char *text)
{
    return is_string(v) && match_text(v.p + 1, v.p + v.n - 1, text, text + strlen(text));
}

bool ah_json_is_plain(struct ah_json v)
{
    if (!is_string(v))
        return false;
    const char *end = v.p + v.n - 1;
    const char *p = skip_plain(v.p + 1, end, HIGH);
    for (size_t n; p < end; p = skip_plain(p + n, end, HIGH))
        if (*p == '\\' || !measure_utf8(p, end, &n))
            return false;
    return true;
}

size_t ah_json_decode(const char **at, const char *end, char *out, size_t size)
{
    size_t n = 0;
    const char *p = *at;
    while (p < end && n < size) {
        size_t room = size - n;
        size_t run = (size_t)(skip_plain(p, (size_t)(end - p) > room ? p + room : end, HIGH) - p);
        memcpy(out + n, p, run);
        n += run;
        p += run;
        if (p == end || n == size)
            break;
        const char *next = p;
        char decoded[4];
        size_t k = write_utf8(read_point(&next, end), decoded);
        if (k > size - n)
            break;
        memcpy(out + n, decoded, k);
        n += k;
        p = next;
    }
    *at = p;
    return n;
}

int ah_json_str(struct ah_json v, struct ah_buf *to)
{
    if (!is_string(v))
        return -1;
    if (ah_json_is_plain(v))
        return ah_buf_add(to, v.p + 1, v.n - 2);
    char piece[1024];
    const char *at = v.p + 1, *end = v.p + v.n - 1;
    for (size_t n; (n = ah_json_decode(&at, end, piece, sizeof piece)) > 0;)
        if (ah_buf_add(to, piece, n) != 0)
            return -1;
    return 0;
}

void ah_json_copy(struct ah_json v, char *out, size_t size)
{
    if (size == 0)
        return;
    size_t n = 0;
    if (is_string(v)) {
        const char *at = v.p + 1;
        n = ah_json_decode(&at, v.p + v.n - 1, out, size - 1);
    }
    out[n] = '\0';
}

char *ah_json_dup(struct ah_json v)
{
    struct ah_buf b;
    if (!is_string(v) || v.n > SIZE_MAX / 4)
        return NULL;
    ah_buf_init(&b, 3 * v.n); /* the worst: each bad byte becomes three */
    char *copy = ah_json_str(v, &b) == 0 ? ah_buf_take(&b, NULL) : NULL;
    ah_buf_drop(&b);
    return copy;
}

/* --- numbers ------------------------------------------------------------------------------------ */

bool ah_json_int(struct ah_json v, int64_t *out)
{
    if (v.type != AH_JSON_NUMBER || v.n == 0)
        return false;
    const char *p = v.p, *end = v.p + v.n;
    bool minus = *p == '-';
    uint64_t limit = minus ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    uint64_t sum = 0;
    for (p += minus; p < end; p++) {
        if (!is_digit(*p))
            return false;
        uint64_t d = (uint64_t)(*p - '0');
        if (sum > (limit - d) / 10)
            return false;
        sum = sum * 10 + d;
    }
    *out = minus ? (int64_t)(0 - sum) : (int64_t)sum;
    return true;
}

/* A decimal number taken apart: digits × 10^exponent, leading zeros left out. Digits beyond
 * DIGITS_MAX_COUNT are dropped, and stand as a last 1 if any was not 0: that decides all ties. */
struct decimal {
    bool minus;
    char digits[DIGITS_MAX_COUNT + 1 + 32]; /* and room for the exponent's text */
    size_t n;
    bool more;
    int64_t exponent;
};

static void add_digit(struct decimal *d, char c, bool fraction)
{
    if (d->n == 0 && c == '0') {
        d->exponent -= fraction;
    } else if (d->n < DIGITS_MAX_COUNT) {
        d->digits[d->n++] = c;
        d->exponent -= fraction;
    } else {
        d->more |= c != '0';
        d->exponent += !fraction;
    }
}

static void read_decimal(const char *p, const char *end, struct decimal *d)
{
    d->minus = p < end && *p == '-';
    d->n = 0;
    d->more = false;
    d->exponent = 0;
    p += d->minus;
    for (; p < end && is_digit(*p); p++)
        add_digit(d, *p, false);
    if (p < end && *p == '.')
        for (p++; p < end && is_digit(*p); p++)
            add_digit(d, *p, true);
    if (p < end && (*p == 'e' || *p == 'E')) {
        bool minus = ++p < end && *p == '-';
        int64_t e = 0;
        for (p += p < end && (*p == '-' || *p == '+'); p < end && is_digit(*p); p++)
            if (e < INT64_C(1000000000000000)) /* far beyond what any count of digits makes up for */
                e = e * 10 + (*p - '0');
        d->exponent += minus ? -e : e;
    }
    if (d->more) {
        d->digits[d->n++] = '1';
        d->exponent--;
    }
}

static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#define POWERS_MAX 22 /* the powers of ten that a double holds exactly */

/* Up to 15 digits and a small power are two exact doubles, so one operation rounds right. The rest goes
 * to strtod, as an integer with an exponent: no point, so no locale. */
static double read_double(const char *p, const char *end)
{
    struct decimal d;
    read_decimal(p, end, &d);
    double v = 0;
    if (d.n > 0 && d.n <= 15 && d.exponent >= -POWERS_MAX && d.exponent <= POWERS_MAX) {
        int64_t whole = 0;
        for (size_t i = 0; i < d.n; i++)
            whole = whole * 10 + (d.digits[i] - '0');
        v = d.exponent < 0 ? (double)whole / powers[-d.exponent] : (double)whole * powers[d.exponent];
    } else if (d.n > 0) {
        int64_t e = d.exponent > 100000 ? 100000 : d.exponent < -100000 ? -100000 : d.exponent;
        snprintf(d.digits + d.n, sizeof d.digits - d.n, "e%lld", (long long)e);
        v = strtod(d.digits, NULL);
    }
    return d.minus ? -v : v;
}

bool ah_json_num(struct ah_json v, double *out)
{
    if (v.type != AH_JSON_NUMBER)
        return false;
    *out = read_double(v.p, v.p + v.n);
    return true;
}

bool ah_json_bool(struct ah_json v, bool otherwise)
{
    return v.type == AH_JSON_TRUE || (v.type != AH_JSON_FALSE && otherwise);
}

bool ah_json_truthy(struct ah_json v)
{
    double number = 0;
    switch (v.type) {
    case AH_JSON_NONE:
    case AH_JSON_NULL:
    case AH_JSON_FALSE:
        return false;
    case AH_JSON_STRING:
        return v.n > 2;
    case AH_JSON_NUMBER:
        return ah_json_num(v, &number) && number != 0;
    default:
        return true;
    }
}

static size_t write_digits(uint64_t v, char *out)
{
    char reversed[24];
    size_t n = 0;
    do {
        reversed[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    for (size_t i = 0; i < n; i++)
        out[i] = reversed[n - 1 - i];
    return n;
}

/* Few digits behind the point: if whole / 10^places gives the same double, then those digits read back
 * to it (both are exact), and no shorter text does. 0: not such a number. */
static size_t write_short(double v, char *out)
{
    if (!(v >= 1e-4 && v < 1e15))
        return 0;
    for (int places = 1; places <= 9; places++) {
        double whole = rint(v * powers[places]);
        if (whole >= 1e15)
            return 0;
        if (whole / powers[places] != v)
            continue;
        uint64_t scale = (uint64_t)powers[places], digits = (uint64_t)whole;
        size_t n = write_digits(digits / scale, out);
        out[n++] = '.';
        for (uint64_t rest = digits % scale; scale > 1; rest %= scale) {
            scale /= 10;
            out[n++] = (char)('0' + rest / scale);
        }
        return n;
    }
    return 0;
}

/* printf writes the locale's point, whatever it is. */
static size_t write_printf(double v, int precision, char *out)
{
    char text[NUMBER_BYTES];
    snprintf(text, sizeof text, "%.*g", precision, v);
    size_t n = 0;
    bool point = false, has_point = false;
    for (const char *p = text; *p; p++) {
        bool other = !is_digit(*p) && *p != 'e' && *p != '+' && *p != '-';
        if (other && !point)
            out[n++] = '.';
        else if (!other)
            out[n++] = *p;
        has_point |= other || *p == 'e';
        point = other;
    }
    if (!has_point) {
        out[n++] = '.';
        out[n++] = '0';
    }
    return n;
}

static size_t write_double(double v, char *out)
{
    size_t n = 0;
    if (signbit(v)) {
        *out++ = '-';
        v = -v;
        n = 1;
    }
    if (v < 1e15 && v == floor(v)) {
        size_t k = write_digits((uint64_t)v, out);
        memcpy(out + k, ".0", 2);
        return n + k + 2;
    }
    size_t k = write_short(v, out);
    for (int precision = 15; k == 0; precision++) {
        size_t m = write_printf(v, precision, out);
        if (precision == 17 || read_double(out, out + m) == v)
            k = m;
    }
    return n + k;
}

/* --- writing ------------------------------------------------------------------------------------ */

static void quote_special(struct ah_buf *to, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    size_t n = 2;
    switch (c) {
    case '"':
    case '\\':
        escape[1] = (char)c;
        break;
    case '\b':
        escape[1] = 'b';
        break;
    case '\f':
        escape[1] = 'f';
        break;
    case '\n':
        escape[1] = 'n';
        break;
    case '\r':
        escape[1] = 'r';
        break;
    case '\t':
        escape[1] = 't';
        break;
    default:
        n = 6;
    }
    ah_buf_add(to, escape, n);
}

static unsigned quote_rest(struct ah_buf *to, const char *s, const char *p, const char *end)
{
    const char *run = s;
    unsigned seen = 0;
    for (size_t n; p < end; p = skip_plain(p + n, end, HIGH)) {
        n = 1;
        unsigned char c = (unsigned char)*p;
        if (c >= 0x80 && measure_utf8(p, end, &n))
            continue;
        ah_buf_add(to, run, (size_t)(p - run));
        run = p + n;
        if (c >= 0x80) {
            seen |= AH_JSON_SAW_BAD_UTF8;
            ah_buf_add(to, "\xef\xbf\xbd", 3);
        } else {
            if (c == 0)
                seen |= AH_JSON_SAW_NUL;
            quote_special(to, c);
        }
    }
    ah_buf_add(to, run, (size_t)(end - run));
    return seen;
}

/* [comma] "text" [colon]. Most texts are plain, and cost one look and one copy. */
static inline unsigned quote_text(struct ah_buf *to, bool comma, const char *s, size_t n, bool colon)
{
    char *out = n > SIZE_MAX - 4 ? NULL : ah_buf_reserve(to, n + 2 + comma + colon);
    if (!out) {
        to->failed = true;
        return 0;
    }
    char *first = out;
    const char *end = s + n;
    const char *p = n ? skip_plain(s, end, HIGH) : end;
    if (comma)
        *out++ = ',';
    *out++ = '"';
    if (p != end) {
        to->n += (size_t)(out - first);
        unsigned seen = quote_rest(to, s, p, end);
        ah_buf_add(to, "\":", colon ? 2 : 1);
        return seen;
    }
    if (n)
        memcpy(out, s, n);
    out += n;
    *out++ = '"';
    if (colon)
        *out++ = ':';
    *out = '\0';
    to->n += (size_t)(out - first);
    return 0;
}

int ah_json_quote(struct ah_buf *to, const char *s, size_t n)
{
    quote_text(to, false, s, n, false);
    return to->failed ? -1 : 0;
}

/* Only assertions ask. */
__attribute__((unused)) static bool is_object_level(const struct ah_json_writer *w)
{
    unsigned level = w->depth - 1;
    return w->depth > 0 && level < AH_JSON_DEPTH && (w->objects[level / 64] >> (level % 64) & 1);
}

/* Before each value: whether a comma belongs there. */
static bool start_value(struct ah_json_writer *w)
{
    if (w->keyed) {
        w->keyed = false;
        return false;
    }
    assert(!is_object_level(w) && "a value in an object needs a key");
    assert((w->depth > 0 || w->fresh) && "one text holds one value");
    bool comma = !w->fresh;
    w->fresh = false;
    return comma;
}

static void separate_value(struct ah_json_writer *w)
{
    if (start_value(w))
        ah_buf_addc(w->to, ',');
}

void ah_json_begin(struct ah_json_writer *w, struct ah_buf *to, const struct ah_secrets *mask)
{
    *w = (struct ah_json_writer){.to = to, .mask = mask, .fresh = true};
}

static void open_level(struct ah_json_writer *w, bool object)
{
    separate_value(w);
    unsigned level = w->depth++;
    w->fresh = true;
    if (level >= AH_JSON_DEPTH) {
        w->to->failed = true;
        return;
    }
    uint64_t bit = UINT64_C(1) << (level % 64);
    if (object)
        w->objects[level / 64] |= bit;
    else
        w->objects[level / 64] &= ~bit;
    ah_buf_addc(w->to, object ? '{' : '[');
}

static void close_level(struct ah_json_writer *w, char bracket)
{
    assert(w->depth > 0 && !w->keyed && "nothing to close, or a key without a value");
    w->depth--;
    w->fresh = false;
    ah_buf_addc(w->to, bracket);
}

void ah_json_object(struct ah_json_writer *w)
{
    open_level(w, true);
}

void ah_json_array(struct ah_json_writer *w)
{
    open_level(w, false);
}

void ah_json_end_object(struct ah_json_writer *w)
{
    assert((is_object_level(w) || w->depth > AH_JSON_DEPTH) && "the open level is an array");
    close_level(w, '}');
}

void ah_json_end_array(struct ah_json_writer *w)
{
    assert(!is_object_level(w) && "the open level is an object");
    close_level(w, ']');
}

/* The masked text is quoted, not the other way round: "[secret:NAME]" may need escapes, too. */
static void write_masked(struct ah_json_writer *w, bool comma, const char *s, size_t n, bool colon)
{
    struct ah_buf masked;
    ah_buf_init(&masked, w->to->max);
    if (ah_secret_mask(w->mask, s, n, &masked) == 0)
        w->seen |= quote_text(w->to, comma, ah_buf_str(&masked), masked.n, colon);
    else
        w->to->failed = true;
    ah_buf_drop(&masked);
}

static void write_string(struct ah_json_writer *w, bool comma, const char *s, size_t n, bool colon)
{
    if (w->mask && n > 0 && ah_secret_found(w->mask, s, n))
        write_masked(w, comma, s, n, colon);
    else
        w->seen |= quote_text(w->to, comma, s, n, colon);
}

void ah_json_keyn(struct ah_json_writer *w, const char *key, size_t n)
{
    assert((is_object_level(w) || w->depth > AH_JSON_DEPTH) && !w->keyed && "a key belongs in an object");
    bool comma = !w->fresh;
    w->fresh = false;
    w->keyed = true;
    write_string(w, comma, key, n, true);
}

void ah_json_key(struct ah_json_writer *w, const char *key)
{
    ah_json_keyn(w, key, strlen(key));
}

void ah_json_put_null(struct ah_json_writer *w)
{
    separate_value(w);
    ah_buf_add(w->to, "null", 4);
}

void ah_json_put_bool(struct ah_json_writer *w, bool v)
{
    separate_value(w);
    ah_buf_adds(w->to, v ? "true" : "false");
}

/* A number may be a secret, too: a password of digits. It then becomes a string. */
static void write_number(struct ah_json_writer *w, const char *text, size_t n)
{
    if (w->mask && ah_secret_found(w->mask, text, n))
        write_masked(w, false, text, n, false);
    else
        ah_buf_add(w->to, text, n);
}

void ah_json_put_int(struct ah_json_writer *w, int64_t v)
{
    char text[NUMBER_BYTES];
    size_t n = 0;
    separate_value(w);
    if (v < 0)
        text[n++] = '-';
    n += write_digits(v < 0 ? 0 - (uint64_t)v : (uint64_t)v, text + n);
    write_number(w, text, n);
}

void ah_json_put_num(struct ah_json_writer *w, double v)
{
    char text[NUMBER_BYTES];
    if (!isfinite(v)) {
        ah_json_put_null(w);
        return;
    }
    separate_value(w);
    write_number(w, text, write_double(v, text));
}

void ah_json_put_strn(struct ah_json_writer *w, const char *s, size_t n)
{
    bool comma = start_value(w);
    write_string(w, comma, s, n, false);
}

void ah_json_put_str(struct ah_json_writer *w, const char *s)
{
    ah_json_put_strn(w, s, strlen(s));
}

/* A scalar of a raw value, which may hold a secret in an escaped form of its own. */
static void copy_masked(struct ah_json_writer *w, struct ah_json v)
{
    if (v.type == AH_JSON_NUMBER) {
        write_number(w, v.p, v.n);
        return;
    }
    if (v.type != AH_JSON_STRING) {
        ah_buf_add(w->to, v.p, v.n);
        return;
    }
    if (ah_json_is_plain(v) && !ah_secret_found(w->mask, v.p + 1, v.n - 2)) {
        ah_buf_add(w->to, v.p, v.n);
        return;
    }
    struct ah_buf text;
    ah_buf_init(&text, SIZE_MAX / 2);
    if (ah_json_str(v, &text) != 0)
        w->to->failed = true;
    else if (ah_secret_found(w->mask, text.p ? text.p : "", text.n))
        write_masked(w, false, text.p, text.n, false);
    else
        ah_buf_add(w->to, v.p, v.n);
    ah_buf_drop(&text);
}

/* Everything but strings and numbers as it came, token by token. */
static void write_raw_masked(struct ah_json_writer *w, const char *p, size_t n)
{
    const char *at = p, *end = p + n;
    while (at < end) {
        const char *from = at;
        struct ah_json v = ah_json_token(&at, end);
        if (v.type == AH_JSON_NONE || v.type == AH_JSON_ARRAY || v.type == AH_JSON_OBJECT) {
            ah_buf_add(w->to, from, (size_t)(at - from));
            continue;
        }
        ah_buf_add(w->to, from, (size_t)(v.p - from));
        copy_masked(w, v);
    }
}

void ah_json_put_raw(struct ah_json_writer *w, const char *p, size_t n)
{
    if (!p || n == 0) {
        ah_json_put_null(w);
        return;
    }
    separate_value(w);
    if (w->mask && (memchr(p, '\\', n) || ah_secret_found(w->mask, p, n)))
        write_raw_masked(w, p, n);
    else
        ah_buf_add(w->to, p, n);
}

void ah_json_put(struct ah_json_writer *w, struct ah_json v)
{
    ah_json_put_raw(w, v.type == AH_JSON_NONE ? NULL : v.p, v.n);
}
