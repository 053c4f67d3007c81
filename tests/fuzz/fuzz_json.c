/* Fuzzes json.c. Whatever comes: no read outside of the text, nothing but a clean refusal; what is
 * accepted survives a round trip through the writer; and two other parsers agree.
 *
 * Oracles: jansson and json-c (strict). Where they differ from us by design, the text is not compared:
 *   - NUL in keys: we refuse; json-c cuts keys there (jansson refuses, too)
 *   - bad UTF-8 and lone surrogates: we read U+FFFD; jansson refuses; json-c passes bytes through
 *   - numbers beyond 64 bits or beyond a double: we keep the text; jansson refuses, json-c saturates
 *   - a NUL byte between tokens: we refuse; jansson takes it for the end of the text
 *   - -0: an integer for us and jansson, both 0; json-c too
 *   - depth: all have limits; ours is 128, theirs are set above it
 *   - white space and trailing bytes: json-c stops behind the value, so its end is checked here
 *   - NaN and Infinity (in any case): json-c takes them even when strict; never what we accept
 *   - json-c takes a raw control character in a string, jansson does not: refused by us without the flag */
#include "buf.h"
#include "err.h"
#include "json.h"

/* The two share names, of which only jansson's are used here (link it first). */
#define json_object jsonc_object
#define json_object_get jsonc_object_get
#define json_object_iter jsonc_object_iter
#define json_object_iter_next jsonc_object_iter_next
#define json_type jsonc_type
#include <json-c/json.h>
#undef json_object
#undef json_object_get
#undef json_object_iter
#undef json_object_iter_next
#undef json_type

#include <jansson.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES ((size_t)1 << 20)
#define ORACLE_DEPTH 400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(x)                                                                                           \
    do {                                                                                                     \
        if (!(x)) {                                                                                          \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                          \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

static void write_again(struct ah_json_writer *w, struct ah_json v)
{
    int64_t whole;
    double number;
    switch (v.type) {
    case AH_JSON_OBJECT:
        ah_json_object(w);
        for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);) {
            char *key = ah_json_dup(it.key);
            REQUIRE(key);
            ah_json_key(w, key); /* no NUL inside: it was accepted */
            free(key);
            write_again(w, it.value);
        }
        ah_json_end_object(w);
        break;
    case AH_JSON_ARRAY:
        ah_json_array(w);
        for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);)
            write_again(w, it.value);
        ah_json_end_array(w);
        break;
    case AH_JSON_STRING: {
        struct ah_buf text;
        ah_buf_init(&text, 3 * v.n);
        REQUIRE(ah_json_str(v, &text) == 0);
        REQUIRE(ah_json_is_utf8(ah_buf_str(&text), text.n));
        if (ah_json_is_plain(v))
            REQUIRE(text.n == v.n - 2 && memcmp(ah_buf_str(&text), v.p + 1, text.n) == 0);
        ah_json_put_strn(w, ah_buf_str(&text), text.n);
        ah_buf_drop(&text);
        break;
    }
    case AH_JSON_NUMBER:
        if (ah_json_int(v, &whole))
            ah_json_put_int(w, whole);
        else if (ah_json_num(v, &number) && isfinite(number))
            ah_json_put_num(w, number);
        else
            ah_json_put(w, v);
        break;
    case AH_JSON_TRUE:
    case AH_JSON_FALSE:
        ah_json_put_bool(w, ah_json_bool(v, v.type == AH_JSON_FALSE));
        break;
    default:
        ah_json_put_null(w);
    }
}

/* The same members in the same order, each of the same meaning. */
static void require_same(struct ah_json a, struct ah_json b)
{
    REQUIRE(a.type == b.type);
    double x, y;
    if (a.type == AH_JSON_NUMBER) {
        REQUIRE(ah_json_num(a, &x) && ah_json_num(b, &y));
        REQUIRE(x == y);
    } else if (a.type == AH_JSON_STRING) {
        char *p = ah_json_dup(a), *q = ah_json_dup(b);
        REQUIRE(p && q && strcmp(p, q) == 0);
        free(p);
        free(q);
    }
    struct ah_json_iter i = ah_json_iter(a), k = ah_json_iter(b);
    for (;;) {
        bool more = ah_json_next(&i);
        REQUIRE(more == ah_json_next(&k));
        if (!more)
            break;
        require_same(i.key, k.key);
        require_same(i.value, k.value);
    }
}

static void round_trip(struct ah_json v)
{
    struct ah_buf once, twice;
    struct ah_json_writer w;
    struct ah_json again;
    ah_buf_init(&once, 8 * v.n + 64);
    ah_buf_init(&twice, 8 * v.n + 64);
    ah_json_begin(&w, &once, NULL);
    write_again(&w, v);
    REQUIRE(!once.failed && ah_json_check(once.p, once.n, 0, &again, NULL) == 0);
    require_same(v, again);
    ah_json_begin(&w, &twice, NULL);
    write_again(&w, again);
    REQUIRE(once.n == twice.n && memcmp(once.p, twice.p, once.n) == 0);
    ah_buf_drop(&once);
    ah_buf_drop(&twice);
}

/* --- oracles ---------------------------------------------------------------------------------- */

struct oddities {
    bool replaced; /* U+FFFD: bad UTF-8 or a lone surrogate, or a real one */
    bool large;    /* a number beyond what the oracles hold */
    bool nul;      /* in a string */
};

static void find_oddities(struct ah_json v, struct oddities *o)
{
    int64_t whole;
    double number;
    if (v.type == AH_JSON_STRING) {
        struct ah_buf text;
        ah_buf_init(&text, 3 * v.n);
        REQUIRE(ah_json_str(v, &text) == 0);
        o->replaced |= memmem(ah_buf_str(&text), text.n, "\xef\xbf\xbd", 3) != NULL;
        o->nul |= memchr(ah_buf_str(&text), 0, text.n) != NULL;
        ah_buf_drop(&text);
    } else if (v.type == AH_JSON_NUMBER) {
        bool integral = true;
        for (size_t i = 0; i < v.n; i++)
            integral = integral && v.p[i] != '.' && v.p[i] != 'e' && v.p[i] != 'E';
        o->large |= integral && !ah_json_int(v, &whole);
        o->large |= ah_json_num(v, &number) && (!isfinite(number) || (number != 0 && fabs(number) < 1e-300));
    }
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);) {
        find_oddities(it.key, o);
        find_oddities(it.value, o);
    }
}

static void same_as_jansson(struct ah_json v, json_t *j)
{
    int64_t whole;
    double number;
    switch (v.type) {
    case AH_JSON_NULL:
        REQUIRE(json_is_null(j));
        break;
    case AH_JSON_TRUE:
        REQUIRE(json_is_true(j));
        break;
    case AH_JSON_FALSE:
        REQUIRE(json_is_false(j));
        break;
    case AH_JSON_NUMBER:
        if (ah_json_int(v, &whole))
            REQUIRE(json_is_integer(j) && json_integer_value(j) == whole);
        else
            REQUIRE(json_is_real(j) && ah_json_num(v, &number) && json_real_value(j) == number);
        break;
    case AH_JSON_STRING: {
        struct ah_buf text;
        ah_buf_init(&text, 3 * v.n);
        REQUIRE(ah_json_str(v, &text) == 0);
        REQUIRE(json_is_string(j) && json_string_length(j) == text.n &&
                memcmp(json_string_value(j), ah_buf_str(&text), text.n) == 0);
        ah_buf_drop(&text);
        break;
    }
    case AH_JSON_ARRAY: {
        size_t i = 0;
        REQUIRE(json_is_array(j) && json_array_size(j) == ah_json_count(v));
        for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);)
            same_as_jansson(it.value, json_array_get(j, i++));
        break;
    }
    case AH_JSON_OBJECT: {
        const char *key;
        json_t *member;
        REQUIRE(json_is_object(j));
        json_object_foreach(j, key, member) /* both: the last of equal keys */
            same_as_jansson(ah_json_get(v, key), member);
        for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);) {
            char *name = ah_json_dup(it.key);
            REQUIRE(name && json_object_get(j, name));
            free(name);
        }
        break;
    }
    case AH_JSON_NONE:
        REQUIRE(v.type != AH_JSON_NONE);
    }
}

static void ask_jansson(const char *p, size_t n, bool ours, struct ah_json v, const struct oddities *o,
                        bool deep)
{
    json_error_t error;
    json_t *j = json_loadb(p, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (ours && j)
        same_as_jansson(v, j);
    else if (ours)
        REQUIRE(o->replaced || o->large);
    else
        REQUIRE(!j || deep || memchr(p, 0, n));
    json_decref(j);
}

static void same_as_json_c(struct ah_json v, struct jsonc_object *j)
{
    int64_t whole;
    double number;
    switch (v.type) {
    case AH_JSON_NULL:
        REQUIRE(j == NULL);
        break;
    case AH_JSON_TRUE:
    case AH_JSON_FALSE:
        REQUIRE(json_object_is_type(j, json_type_boolean));
        REQUIRE((bool)json_object_get_boolean(j) == (v.type == AH_JSON_TRUE));
        break;
    case AH_JSON_NUMBER:
        if (ah_json_int(v, &whole))
            REQUIRE(json_object_is_type(j, json_type_int) && json_object_get_int64(j) == whole);
        else
            REQUIRE(ah_json_num(v, &number) && json_object_get_double(j) == number);
        break;
    case AH_JSON_STRING: {
        struct ah_buf text;
        ah_buf_init(&text, 3 * v.n);
        REQUIRE(ah_json_str(v, &text) == 0 && json_object_is_type(j, json_type_string));
        REQUIRE((size_t)json_object_get_string_len(j) == text.n &&
                memcmp(json_object_get_string(j), ah_buf_str(&text), text.n) == 0);
        ah_buf_drop(&text);
        break;
    }
    case AH_JSON_ARRAY: {
        size_t i = 0;
        REQUIRE(json_object_is_type(j, json_type_array) && json_object_array_length(j) == ah_json_count(v));
        for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);)
            same_as_json_c(it.value, json_object_array_get_idx(j, i++));
        break;
    }
    default:
        REQUIRE(json_object_is_type(j, json_type_object));
        for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);) {
            struct jsonc_object *member;
            char *name = ah_json_dup(it.key);
            REQUIRE(name && json_object_object_get_ex(j, name, &member));
            same_as_json_c(ah_json_get(v, name), member); /* of equal keys the last, for both */
            free(name);
        }
    }
}

/* Only acceptance and value of what we accept: json-c is lax in ways that would hide everything else. */
static void ask_json_c(const char *p, size_t n, struct ah_json v, const struct oddities *o)
{
    if (o->replaced || o->large)
        return;
    struct json_tokener *t = json_tokener_new_ex(ORACLE_DEPTH);
    REQUIRE(t);
    json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
    char *text = malloc(n + 2);
    REQUIRE(text);
    memcpy(text, p, n);
    memcpy(text + n, "\n", 2); /* a number at the end needs something behind it */
    struct jsonc_object *j = json_tokener_parse_ex(t, text, (int)n + 1);
    REQUIRE(json_tokener_get_error(t) == json_tokener_success);
    same_as_json_c(v, j);
    json_object_put(j);
    free(text);
    json_tokener_free(t);
}

static void next_member(void *arg, struct ah_json key, struct ah_json value)
{
    struct ah_json_iter *it = arg;
    if (!it->at) /* the text is not known to be an object */
        return;
    REQUIRE(ah_json_next(it));
    REQUIRE(it->key.p == key.p && it->key.n == key.n);
    REQUIRE(it->value.p == value.p && it->value.n == value.n && it->value.type == value.type);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ah_json v;
    struct ah_error err = {0};
    if (size > TEXT_BYTES)
        return 0;
    const char *p = (const char *)data;
    bool ours = ah_json_check(p, size, 0, &v, &err) == 0;
    bool unique = ah_json_check(p, size, AH_JSON_UNIQUE_KEYS, NULL, NULL) == 0;
    bool raw = ah_json_check(p, size, AH_JSON_RAW_CONTROLS, NULL, NULL) == 0;
    REQUIRE((!unique || ours) && (!ours || raw)); /* each flag moves the border one way only */
    REQUIRE(ours ? err.kind == AH_NONE : err.kind == AH_PROTOCOL && err.message[0]);
    bool object = ours && v.type == AH_JSON_OBJECT;
    struct ah_json_iter it = object ? ah_json_iter(v) : (struct ah_json_iter){0};
    REQUIRE((ah_json_check_members(p, size, next_member, &it, NULL) == 0) == object);
    REQUIRE(!ah_json_next(&it));
    struct oddities o = {0};
    bool deep = strstr(err.message, "nested deeper") != NULL;
    if (ours) {
        find_oddities(v, &o);
        round_trip(v);
        char name[9];
        ah_json_copy(v, name, sizeof name);
        REQUIRE(ah_json_is_utf8(name, strlen(name)));
        if (!o.nul)
            ask_json_c(p, size, v, &o);
    }
    ask_jansson(p, size, ours, v, &o, deep);
    return 0;
}
