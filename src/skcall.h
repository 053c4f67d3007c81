/* What flows of Scalekit calls stand on: one call, lists of pages, and a small state machine over ops.
 * Private to scalekit.c and skproxy.c. */
#ifndef AH_SKCALL_H
#define AH_SKCALL_H

#include "http.h"
#include "scalekit.h"
#include "skwire.h"

#define AH_SKCALL_HEADERS_MAX 64   /* of a caller, through the proxy */
#define AH_SKCALL_KNOWN_SLOTS 1024 /* direct-mapped: a collision only costs one more look-up */

/* connection and identifier -> account id, and account id -> connection. */
struct ah_skcall_known {
    char *key, *value;
};

struct ah_scalekit {
    struct ah_core *core;
    char *base; /* checked environment URL; NULL until the first call */
    char *id, *secret;
    char *token; /* "Bearer ..." */
    int64_t token_until_us;
    unsigned token_round;       /* how often a token came */
    struct ah_op *token_op;     /* the one request that is under way */
    int64_t token_asked_us;     /* when it began */
    struct ah_op **token_waits; /* latches of the calls that wait for it */
    size_t wait_count, wait_cap;
    struct ah_skcall_known ids[AH_SKCALL_KNOWN_SLOTS], names[AH_SKCALL_KNOWN_SLOTS];
};

/* --- flows ---------------------------------------------------------------------------------------- */

struct ah_skcall_flow {
    struct ah_scalekit_op pub; /* first */
    struct ah_scalekit *sk;
    struct ah_run *run;
    struct ah_span *span;
    int64_t call;
    struct ah_op *child; /* what it waits for */
    bool held;           /* it was cancelled and keeps itself until its child has ended */
    void (*next)(struct ah_skcall_flow *f, struct ah_op *child);
    void (*ended)(struct ah_skcall_flow *f); /* told once, right after the end; may be NULL */
    void (*drop)(struct ah_skcall_flow *f);  /* frees what the kind holds beyond this; may be NULL */
    char *connection, *identifier, *account;
    struct ah_op *kept; /* a child whose bytes the results point to */
};

/* A zeroed flow of `size` bytes (struct ah_skcall_flow first). NULL: err. */
void *ah_skcall_new(struct ah_scalekit *sk, const struct ah_op_class *cls, size_t size,
                    const struct ah_scalekit_who *who, struct ah_error *err);
void ah_skcall_cancel(struct ah_op *op); /* for the classes of flows */
void ah_skcall_free(struct ah_op *op);
/* Takes over the reference of `child`, and tells `next` when it is done; NULL with *err ends the flow. */
void ah_skcall_run(struct ah_skcall_flow *f, struct ah_op *child, struct ah_error *err,
                   void (*next)(struct ah_skcall_flow *, struct ah_op *));
void ah_skcall_finish(struct ah_skcall_flow *f, struct ah_error *err); /* moves err */
void ah_skcall_fail(struct ah_skcall_flow *f, const struct ah_error *why);
void ah_skcall_fail_memory(struct ah_skcall_flow *f);
/* Results of `child` now live in `f`. */
void ah_skcall_keep(struct ah_skcall_flow *f, struct ah_op *child);
struct ah_scalekit_who ah_skcall_who(const struct ah_skcall_flow *f);

/* --- calls ----------------------------------------------------------------------------------------- */

struct ah_skcall {
    struct ah_skcall_flow flow;
    const struct ah_skwire_row *row;
    struct ah_buf url, body, text; /* text: the answer, to which results point */
    unsigned round;                /* of the token it was sent with */
    bool renewed;
    /* of the proxy: set before it begins; header texts live in `header_text` */
    char method[16]; /* "" = the row's */
    const struct ah_http_header *headers;
    size_t header_count;
    char *header_text;
    bool has_body;
    int64_t total_ms;
    int status;
    /* how its intent is journalled */
    enum ah_effect_class effect_class;
    struct ah_effect *effect;
    const char *effect_kind;
    char *what, *args;
    size_t args_n;
};

/* Reads the settings, once. */
int ah_skcall_settings(struct ah_scalekit *sk, struct ah_error *err);
/* A call that is built but not begun. NULL: err. */
struct ah_skcall *ah_skcall_make(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                 const char *row_name, const char *args, size_t n, struct ah_error *err);
void ah_skcall_begin(struct ah_skcall *c);
/* All pages of a list call: an op with items. Takes over `args` (malloc'd, a JSON object without white
 * space around it). */
struct ah_op *ah_skcall_list(struct ah_scalekit *sk, const struct ah_scalekit_who *who, const char *row,
                             char *args, struct ah_error *err);
void ah_skcall_drop(struct ah_scalekit *sk); /* everything but sk itself */

/* --- small things ----------------------------------------------------------------------------------- */

bool ah_skcall_copy(char **to, const char *s); /* NULL stays NULL; false: no memory */
void ah_skcall_remember(struct ah_skcall_known *table, const char *key, const char *value);
const char *ah_skcall_recall(const struct ah_skcall_known *table, const char *key);
void ah_skcall_forget(struct ah_skcall_known *table, const char *key);

/* A JSON object of string members that are not NULL: args of small calls and details of errors. */
struct ah_skcall_member {
    const char *key, *value;
};

char *ah_skcall_object(const struct ah_skcall_member *m, size_t count);

#define AH_SKCALL_OBJECT(...)                                                                                \
    ah_skcall_object((const struct ah_skcall_member[]){__VA_ARGS__},                                         \
                     sizeof((const struct ah_skcall_member[]){__VA_ARGS__}) /                                \
                         sizeof(struct ah_skcall_member))

#endif
