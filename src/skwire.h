/* Scalekit's wire: every call as a row of one table, requests as bytes, refusals as errors.
 *
 * Pure: no I/O, no clock, no Lua. Arguments of a call are one JSON object; the row says where each
 * member goes. A new call is a new row in skwire.c and nothing else. Called by scalekit.c. */
#ifndef AH_SKWIRE_H
#define AH_SKWIRE_H

#include "buf.h"
#include "err.h"
#include "json.h"

enum ah_skwire_place { AH_SKWIRE_QUERY, AH_SKWIRE_BODY, AH_SKWIRE_PATH, AH_SKWIRE_FORM };
enum ah_skwire_type {
    AH_SKWIRE_STRING,
    AH_SKWIRE_NAME,    /* a string of letters, digits, '_', ':', ' ' and '-' */
    AH_SKWIRE_STRINGS, /* one string or an array of them; in a query the key repeats */
    AH_SKWIRE_INT,
    AH_SKWIRE_BOOL,
    AH_SKWIRE_OBJECT,
    AH_SKWIRE_ANY,
};

struct ah_skwire_field {
    const char *name; /* of the argument; NULL ends the list */
    const char *wire; /* its key on the wire: "filter.providers"; NULL = name */
    enum ah_skwire_place place;
    enum ah_skwire_type type;
    bool required;
    unsigned min, max; /* characters of a string, elements of an array, value of a number; 0 = none */
    bool skip_empty;   /* "", {} and [] are left out */
};

/* What a call does to the world: decides how its intent is journalled and what a 5xx means. */
enum ah_skwire_effect { AH_SKWIRE_READS, AH_SKWIRE_IDEMPOTENT, AH_SKWIRE_UNSAFE };

struct ah_skwire_row {
    const char *name;
    const char *method;
    const char *path;  /* may hold {name}s of PATH fields */
    const char *does;  /* for messages: "read the connected account" */
    const char *items; /* of a list call: the array in its answer; it is then read page by page */
    bool resend;       /* may be sent again by itself after a failure that time heals */
    bool anonymous;    /* goes without a token */
    enum ah_skwire_effect effect;
    int64_t total_ms; /* 0 = AH_SKWIRE_TOTAL_MS */
    const struct ah_skwire_field *fields;
};

#define AH_SKWIRE_TOTAL_MS 20000
#define AH_SKWIRE_TOOL_MS 60000 /* just under the service's own limit of 62 s */
#define AH_SKWIRE_BODY_BYTES ((size_t)16 << 20)
#define AH_SKWIRE_URL_BYTES ((size_t)64 << 10)

/* The table; a row with name NULL ends it. */
const struct ah_skwire_row *ah_skwire_rows(void);
const struct ah_skwire_row *ah_skwire_row(const char *name); /* NULL: no such call */

/* The URL and the body (empty: none) of a call. `args` is a checked JSON object. The buffers must be
 * initialised and empty. -1: AH_INVALID names the field that is missing, unknown or out of its limits. */
int ah_skwire_build(const struct ah_skwire_row *row, const char *base, struct ah_json args,
                    struct ah_buf *url, struct ah_buf *body, struct ah_error *err);
/* "application/json", "application/x-www-form-urlencoded", or NULL when the call has no body. */
const char *ah_skwire_content_type(const struct ah_skwire_row *row);

/* Reads a refusal (status >= 400) of any of the four shapes into err: kind, code, message, retryable,
 * request id and, for TOOL_ERROR, detail. What the transport had noted in err (attempts, waits,
 * retry_after_ms) is kept. */
void ah_skwire_refusal(const struct ah_skwire_row *row, int status, const char *body, size_t n,
                       struct ah_error *err);
/* Whether a refusal means that our own token is not accepted, so that a new one may help. */
bool ah_skwire_is_token_refused(const struct ah_error *err);
/* Whether a refusal means that the account is there already. */
bool ah_skwire_is_duplicate(const struct ah_error *err);

/* The replacement for a tool name that the vendor's own pages use but that does not exist, or NULL. */
const char *ah_skwire_known_wrong(const char *tool_name);

#endif
