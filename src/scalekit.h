/* Scalekit AgentKit: connected accounts, authorization links, tools, and running them as a user.
 *
 * Every function that starts something answers an op, or NULL with *err (settings missing, wrong
 * arguments, out of memory). Results are read from the op once it is done and live as long as it.
 * One access token serves all; it is asked for once, however many calls wait for it. Knows no Lua. */
#ifndef AH_SCALEKIT_H
#define AH_SCALEKIT_H

#include "core.h"
#include "json.h"
#include "op.h"
#include "trace.h"

struct ah_scalekit; /* opaque, one per host; settings are read when the first call is made */

struct ah_scalekit *ah_scalekit_new(struct ah_core *core, struct ah_error *err);
void ah_scalekit_free(struct ah_scalekit *sk); /* all ops must be done */

/* For whom and on whose behalf. All may be NULL where a function does not need them; texts are copied. */
struct ah_scalekit_who {
    struct ah_run *run;   /* NULL: the host's own call, not journalled */
    struct ah_span *span; /* parent of the tool span */
    int64_t call;         /* the noted call that it belongs to, 0 = none (trace.h) */
    const char *connection_name, *identifier;
    const char *account_id; /* instead of the two */
};

/* A tool as get_tools answers it; ranges into the op. Absent ranges have type AH_JSON_NONE. */
struct ah_scalekit_tool {
    struct ah_json name, description, input_schema, annotations, tags, provider;
    struct ah_json connected_account_id, identifier;
    const char *connection_name; /* NULL: not known */
};

struct ah_http_res;

struct ah_scalekit_op {
    struct ah_op op;                /* first */
    const struct ah_http_res *res;  /* of skproxy.h: what the connected service answered; NULL: nothing */
    struct ah_json answer;          /* see each function */
    const struct ah_json *items;    /* of a list */
    struct ah_scalekit_tool *tools; /* of get_tools */
    size_t item_count, tool_count;
    char execution_id[128];         /* of execute */
    char connected_account_id[128]; /* of execute: the account that was used */
    bool active;                    /* of wait_active: the account is; else show the link */
    char link[2048], expiry[64];    /* of get_link and wait_active */
    struct ah_scalekit_wait {       /* of wait_active: hand it to the next call as it is */
        int64_t deadline_us, link_until_us;
        unsigned polls;
    } wait;
};

/* Any row of the table (skwire.h) with a JSON object of arguments. answer: the whole answer. A list call
 * is read to its last page when `pages`: then items. */
struct ah_scalekit_op *ah_scalekit_call(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                        const char *row, const char *args, size_t n, bool pages,
                                        struct ah_error *err);

/* answer: the connected account, an object. By connection and identifier, or by account id. Unknown
 * names end as AH_UNKNOWN_CONNECTION or AH_NOT_FOUND that say what is there. */
struct ah_scalekit_op *ah_scalekit_get_account(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                               struct ah_error *err);
struct ah_scalekit_op *ah_scalekit_get_or_create_account(struct ah_scalekit *sk,
                                                         const struct ah_scalekit_who *who,
                                                         struct ah_error *err);
/* The same, and authorization_details and api_config of `given` (a JSON object) go to the account, new or
 * there already. */
struct ah_scalekit_op *ah_scalekit_put_account(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                               const char *given, size_t n, struct ah_error *err);
/* link and expiry. `state` and `user_verify_url` may be NULL. */
struct ah_scalekit_op *ah_scalekit_get_link(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                            const char *state, const char *user_verify_url,
                                            struct ah_error *err);

/* Waits until the account is ACTIVE (active, answer = the account). With `links` it also ends, with active
 * false, whenever there is a link to show: at first, and when the last one has expired. Show it, then call
 * again with `wait` = the old op's wait:
 *     op = wait_active(.., &(struct ah_scalekit_wait){0}); until done: show op->link; op = wait_active(.., &op->wait)
 * When the time is over: AH_NEEDS_AUTH with a fresh link. poll_ms: the first wait between two looks (0 =
 * one second); it grows to five times that. */
struct ah_scalekit_op *ah_scalekit_wait_active(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                               int64_t timeout_ms, int64_t poll_ms, bool links,
                                               const struct ah_scalekit_wait *wait, struct ah_error *err);

/* All pages of the tools that who->identifier may run; lists end with NULL and may be NULL. Without any,
 * the connections of all the identifier's active accounts. Zero tools: AH_NO_TOOLS. */
struct ah_scalekit_filter {
    const char *const *connection_names, *const *providers, *const *tool_names;
};
struct ah_scalekit_op *ah_scalekit_get_tools(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                             const struct ah_scalekit_filter *filter, struct ah_error *err);

/* Runs a tool, once. Makes the tool span. answer: `data` as it came; execution_id. Without account_id, the
 * account of connection_name and identifier is looked up first. `input` is a checked JSON object. */
struct ah_scalekit_exec {
    const char *tool_name, *input, *tool_call_id; /* tool_call_id may be NULL */
    size_t input_n;
    enum ah_effect_class effect;
    int64_t timeout_ms; /* 0 = 60 s */
};
struct ah_scalekit_op *ah_scalekit_execute(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                           const struct ah_scalekit_exec *exec, struct ah_error *err);

#endif
