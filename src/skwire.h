/* Scalekit's wire: every call as a row of one table, requests as bytes, refusals as errors.
 *
 * Pure: no I/O, no clock, no Lua. Arguments of a call are one JSON object; the row says where each
 * member goes. A new call is a new row in skrows.c and nothing else. Called by skcall.c and scalekit.c. */
#ifndef AH_SKWIRE_H
#define AH_SKWIRE_H

#include "buf.h"
#include "err.h"
#include "json.h"

enum ah_skwire_place {
    AH_SKWIRE_QUERY,
    AH_SKWIRE_BODY,
    AH_SKWIRE_INNER, /* of the object row.inner in the body */
    AH_SKWIRE_WHOLE, /* the object is the body */
    AH_SKWIRE_PATH,
    AH_SKWIRE_FORM,
};
enum ah_skwire_type {
    AH_SKWIRE_STRING,
    AH_SKWIRE_STRINGS, /* one string or an array of them; in a query the key repeats */
    AH_SKWIRE_INT,
    AH_SKWIRE_BOOL,
    AH_SKWIRE_TIME,    /* RFC 3339 */
    AH_SKWIRE_SECONDS, /* an integer here, "60s" on the wire */
    AH_SKWIRE_OBJECT,
    AH_SKWIRE_ONE_OF,  /* an object with exactly one of the members `of` */
    AH_SKWIRE_OBJECTS, /* an array of objects */
    AH_SKWIRE_MAP,     /* names to strings: metadata */
};

/* One argument. Optional ones that are "", {} or [] are left out. */
struct ah_skwire_field {
    const char *name; /* of the argument; NULL ends the list */
    const char *wire; /* its key on the wire: "filter.providers"; NULL = name */
    enum ah_skwire_place place;
    enum ah_skwire_type type;
    bool required;
    bool own;            /* an identifier: the run's, when neither it nor an id is given */
    unsigned min, max;   /* characters of a string, elements of an array, value of a number; 0 = none */
    const char *chars;   /* the only ones allowed, as ranges: "a-z0-9_-" */
    const char *prefix;  /* one of these beginnings: "http://|https://" */
    const char *choices; /* one of these: "success|provider_error" */
    const struct ah_skwire_field *of; /* members of the object, or of each object of the array */
};

/* What a call does to the world: decides how its intent is journalled and what a 5xx means. */
enum ah_skwire_effect { AH_SKWIRE_READS, AH_SKWIRE_IDEMPOTENT, AH_SKWIRE_UNSAFE };

struct ah_skwire_row {
    const char *name;
    const char *method;
    const char *path;     /* may hold {name}s of PATH fields */
    const char *does;     /* for messages: "read the connected account" */
    const char *gives;    /* the member of the answer that scripts get; NULL: the whole answer */
    const char *items;    /* of a list call: the array in its answer; it is then read page by page */
    const char *iterates; /* the iterator over all items, as scripts call it */
    const char *inner;    /* the object in the body that holds INNER fields; sent even when empty */
    const char *secret;   /* a member of the answer that is a secret: it leaves as a name (sksecret.h) */
    bool resend;          /* may be sent again by itself after a failure that time heals */
    bool anonymous;       /* goes without a token */
    bool special;         /* scripts have a function of its own for it */
    bool empty_body;      /* sends {} */
    bool selects;         /* one account: by id, or by connection_name and whose it is */
    bool raw;             /* the proxy: answers are another service's, and taken as they come */
    enum ah_skwire_effect effect;
    int64_t total_ms; /* 0 = AH_SKWIRE_TOTAL_MS */
    const struct ah_skwire_field *fields;
};

#define AH_SKWIRE_TOTAL_MS 20000
#define AH_SKWIRE_TOOL_MS 60000 /* just under the service's own limit of 62 s */
#define AH_SKWIRE_BODY_BYTES ((size_t)16 << 20)
#define AH_SKWIRE_URL_BYTES ((size_t)64 << 10)

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
/* The same for an answer that came through the proxy: Scalekit's own refusals are told apart from those of
 * the connected service, which are AH_TOOL_ERROR ("the connected service answered ..."). */
void ah_skwire_proxy_refusal(const struct ah_skwire_row *row, bool unsafe, int status, const char *body,
                             size_t n, struct ah_error *err);
/* Whether a refusal means that our own token is not accepted, so that a new one may help. */
bool ah_skwire_is_token_refused(const struct ah_error *err);
/* Whether a refusal means that the account is there already. */
bool ah_skwire_is_duplicate(const struct ah_error *err);

/* The replacement for a tool name that the vendor's own pages use but that does not exist, or NULL. */
const char *ah_skwire_known_wrong(const char *tool_name);

#endif
