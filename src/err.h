/* One error type for everything that can go wrong outside a script.
 *
 * Layers 0-3 fill a struct ah_error and return -1; layer 5 turns it into the Lua table that
 * scripts see. Nothing here allocates except `detail`, and all-zero means "no error". */
#ifndef AH_ERR_H
#define AH_ERR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The closed set of `kind`. Lua sees the lower-case name (ah_err_kind_name). */
enum ah_kind {
    AH_NONE = 0,
    AH_NETWORK,            /* could not reach the other side */
    AH_TIMEOUT,            /* connect, first byte, idle or total limit */
    AH_HTTP,               /* an answer with a status that means failure, not told apart further */
    AH_PROTOCOL,           /* an answer that is not what the protocol promises */
    AH_TRUNCATED,          /* a stream or body that stopped before its end */
    AH_LIMIT,              /* one of our own maxima */
    AH_CANCELLED,          /* somebody asked for it to stop */
    AH_AUTH,               /* 401/403: key wrong, missing or without right */
    AH_CONFIG,             /* a variable, file or option is missing or wrong */
    AH_NOT_FOUND,          /* 404 */
    AH_INVALID,            /* 400/422: the other side refuses this request as it is */
    AH_RATE_LIMIT,         /* 429 that time heals */
    AH_QUOTA,              /* money or plan used up: never retried */
    AH_CONTEXT_OVERFLOW,   /* more tokens than the model takes */
    AH_REFUSED,            /* the model declined, or a content filter did */
    AH_INVALID_OUTPUT,     /* what the model wrote cannot be used, however often it was told */
    AH_NEEDS_AUTH,         /* detail: link, connection, identifier */
    AH_ACCOUNT_NOT_ACTIVE, /* detail: status, connection, identifier, link? */
    AH_UNKNOWN_CONNECTION, /* detail: did_you_mean[] */
    AH_NO_TOOLS,           /* detail: connections[], accounts[] */
    AH_TOOL_ERROR,         /* detail: execution_id, tool_error_code, tool_error_message */
    AH_OUTCOME_UNKNOWN,    /* an unsafe call left and no answer came: it may have happened */
    AH_STEP_LIMIT,         /* the agent's steps are used up */
    AH_BUDGET,             /* its tokens, its money or its calls of one tool are */
    AH_TIME_LIMIT,         /* its time is */
    AH_LOOP,               /* it does the same again and again */
    AH_NEEDS_APPROVAL,     /* a person must allow a call first. detail: seq, sha256, tool */
    AH_JOURNAL,            /* the journal cannot be written */
    AH_IO,                 /* files, sockets, processes of this machine */
    AH_DIVERGED,           /* a resumed run does not do what it did before */
    AH_MEMORY,             /* out of memory */
    AH_SCRIPT,             /* the script itself failed (its traceback is in message) */
    AH_KIND_COUNT
};

struct ah_error {
    enum ah_kind kind;
    int status;             /* HTTP status, 0 = none */
    bool retryable;         /* the same request may succeed later */
    int attempts;           /* requests sent, 0 = none left this machine */
    int64_t waited_ms;      /* between attempts */
    int64_t retry_after_ms; /* what the other side asked for, 0 = nothing */
    char code[64];          /* the service's own code, "" = none */
    char request_id[128];   /* the service's id of the failed request, "" = none */
    char message[1024];     /* a sentence: what happened and what to do next. No secrets */
    char *detail;           /* malloc'd JSON object text with the fields named above, or NULL */
};

/* Sets kind and message and clears all else (frees detail). `err` may be NULL. Returns -1, so
 * that a function can end with `return ah_err_set(...)`. */
int ah_err_set(struct ah_error *err, enum ah_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Takes over `json` (malloc'd, may be NULL when memory is out). */
void ah_err_take_detail(struct ah_error *err, char *json);
/* Copies `from` over `to` (to is dropped first). */
void ah_err_copy(struct ah_error *to, const struct ah_error *from);
void ah_err_move(struct ah_error *to, struct ah_error *from);
void ah_err_drop(struct ah_error *err); /* back to all-zero */

const char *ah_err_kind_name(enum ah_kind kind);
enum ah_kind ah_err_kind_of(const char *name); /* AH_NONE: no such name */
int ah_err_exit_code(enum ah_kind kind);       /* design section 8 */

#endif
