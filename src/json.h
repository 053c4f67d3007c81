/* JSON as ranges of bytes. Pure: no I/O, no clock, no Lua.
 *
 * A text is checked once, strictly (ah_json_check); after that every value is a range into it and
 * nothing is decoded that nobody looks at. Writing goes straight into a buffer. One meaning for all
 * of the program, row by row in docs/json.md. */
#ifndef AH_JSON_H
#define AH_JSON_H

#include "limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ah_buf;
struct ah_error;
struct ah_secrets;

enum ah_json_type {
    AH_JSON_NONE = 0, /* absent: what a look-up answers when there is nothing */
    AH_JSON_NULL,
    AH_JSON_FALSE,
    AH_JSON_TRUE,
    AH_JSON_NUMBER,
    AH_JSON_STRING,
    AH_JSON_ARRAY,
    AH_JSON_OBJECT,
};

/* A value: its bytes without surrounding white space, inside a text that ah_json_check accepted.
 * All-zero is "absent". Borrowed: valid as long as the text is. */
struct ah_json {
    const char *p;
    size_t n;
    enum ah_json_type type;
};

/* --- reading ------------------------------------------------------------------------------- */

enum {
    AH_JSON_UNIQUE_KEYS = 1, /* duplicate keys are an error (tool arguments); else the last wins */
    AH_JSON_RAW_CONTROLS = 2 /* raw control characters in strings are accepted (a model's arguments) */
};

/* Checks the whole text: RFC 8259, one value, nothing after it but white space, depth at most
 * AH_JSON_DEPTH, no NUL in keys (raw or escaped), no NaN or Infinity. Bad UTF-8 and lone surrogates
 * pass (they read as U+FFFD). 0: *out (may be NULL) is the value. -1: err is AH_PROTOCOL with line,
 * column and reason. A byte-order mark is refused. */
int ah_json_check(const char *p, size_t n, int flags, struct ah_json *out, struct ah_error *err);
/* The same for an object whose members are wanted at once: fn gets each as it is found, in the same pass. After -1 what
 * fn got is worth nothing. */
int ah_json_check_members(const char *p, size_t n,
                          void (*fn)(void *arg, struct ah_json key, struct ah_json value), void *arg,
                          struct ah_error *err);

/* Member of an object by its decoded key; absent when v is no object or has no such key. */
struct ah_json ah_json_get(struct ah_json v, const char *key);
/* Several members in one pass: to[i] is what ah_json_get(v, keys[i]) answers. `keys` ends with NULL and
 * names none twice. */
void ah_json_pick(struct ah_json v, const char *const *keys, struct ah_json *to);
/* Steps down keys: ah_json_path(v, "choices", "0", "message", NULL); a decimal key indexes arrays. */
struct ah_json ah_json_path(struct ah_json v, ...) __attribute__((sentinel));
struct ah_json ah_json_at(struct ah_json v, size_t index); /* element of an array, from 0 */
size_t ah_json_count(struct ah_json v);                    /* members or elements; else 0 */

/* for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);) ... it.key (objects), it.value */
struct ah_json_iter {
    struct ah_json key, value; /* key is a string value (with its quotes); absent in arrays */
    const char *at, *end;
};
struct ah_json_iter ah_json_iter(struct ah_json v);
bool ah_json_next(struct ah_json_iter *it);

/* One step through a checked text, for who reads all of it in one pass: a scalar whole, or only the
 * bracket that opens an array or object (n is 1, type says which), or absent at the bracket that closes
 * one. White space, commas and colons are stepped over; keys come as strings before their values. */
struct ah_json ah_json_token(const char **at, const char *end);

bool ah_json_is(struct ah_json v, const char *text); /* a string that decodes to exactly `text` */
/* Appends the decoded bytes of a string (U+FFFD for what is not Unicode). -1: not a string, or `to`
 * is full. A decoded string may hold NUL. */
int ah_json_str(struct ah_json v, struct ah_buf *to);
/* Decoded copy in `out`, cut at a character, always NUL-terminated; "" when v is no string. */
void ah_json_copy(struct ah_json v, char *out, size_t size);
/* malloc'd, NUL-terminated decoded copy, or NULL (no string, no memory). */
char *ah_json_dup(struct ah_json v);
/* A string whose bytes between the quotes are its decoded bytes already (no escapes, all UTF-8). */
bool ah_json_is_plain(struct ah_json v);
/* Decodes a string in pieces, for who has no ah_buf: *at starts behind the first quote, `end` is at the
 * last. Fills at most `size` bytes (>= 4), whole characters; returns how many, 0 at the end. */
size_t ah_json_decode(const char **at, const char *end, char *out, size_t size);
/* An integer that fits (no fraction, no exponent). false: is none, *out untouched. */
bool ah_json_int(struct ah_json v, int64_t *out);
bool ah_json_num(struct ah_json v, double *out); /* any number */
bool ah_json_bool(struct ah_json v, bool otherwise);
/* null, false, "", 0 and absent are false; all else true. For `error` members. */
bool ah_json_truthy(struct ah_json v);

/* --- writing ------------------------------------------------------------------------------- */

/* A writer into a buffer: commas and quotes come by themselves. Misuse (value without key in an
 * object) is an assertion. Failure is sticky in the buffer. With `mask`, registered secrets are
 * replaced in the same pass. */
enum { AH_JSON_SAW_BAD_UTF8 = 1, AH_JSON_SAW_NUL = 2 };
struct ah_json_writer {
    struct ah_buf *to;
    const struct ah_secrets *mask;
    unsigned depth;                       /* more than AH_JSON_DEPTH fails the buffer */
    bool fresh;                           /* nothing written yet at this level */
    bool keyed;                           /* a key waits for its value */
    unsigned seen;                        /* AH_JSON_SAW_..., of all strings since it was last set to 0 */
    uint64_t objects[AH_JSON_DEPTH / 64]; /* a bit a level: object, not array */
};

void ah_json_begin(struct ah_json_writer *w, struct ah_buf *to, const struct ah_secrets *mask);
void ah_json_object(struct ah_json_writer *w);
void ah_json_array(struct ah_json_writer *w);
void ah_json_end_object(struct ah_json_writer *w);
void ah_json_end_array(struct ah_json_writer *w);
void ah_json_key(struct ah_json_writer *w, const char *key);
void ah_json_keyn(struct ah_json_writer *w, const char *key, size_t n);
void ah_json_put_null(struct ah_json_writer *w);
void ah_json_put_bool(struct ah_json_writer *w, bool v);
void ah_json_put_int(struct ah_json_writer *w, int64_t v);
/* Shortest of 15, 16 or 17 digits that reads back to the same double, always with a point or an
 * exponent ("1.0"); NaN and infinities become null. */
void ah_json_put_num(struct ah_json_writer *w, double v);
void ah_json_put_str(struct ah_json_writer *w, const char *s);
/* Bytes that are not UTF-8 become U+FFFD here (services' texts); luajson refuses them. */
void ah_json_put_strn(struct ah_json_writer *w, const char *s, size_t n);
/* A value that is JSON already (checked by the caller), as it came; with `mask`, strings and numbers that
 * hold a secret are written anew. Absent (NULL or empty) writes null. */
void ah_json_put_raw(struct ah_json_writer *w, const char *p, size_t n);
void ah_json_put(struct ah_json_writer *w, struct ah_json v);

/* Appends "text" quoted and escaped to any buffer; the one escaping routine of the program. */
int ah_json_quote(struct ah_buf *to, const char *s, size_t n);
bool ah_json_is_utf8(const char *s, size_t n);

#endif
