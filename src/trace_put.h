/* What the trace's files share: the structs, how their members are kept, and how texts get into events with the
 * registered secrets masked. Private to trace*.c: everybody else sees trace.h. */
#ifndef AH_TRACE_PUT_H
#define AH_TRACE_PUT_H

#include "clock.h"
#include "json.h"
#include "store.h"
#include "trace.h"

#define AH_TRACE_MASKED_BYTES ((size_t)256 << 20)
#define AH_TRACE_SMALL_BYTES ((size_t)16 << 20)       /* tags, events, usage of one span */
enum { AH_TRACE_ISO_N = 27, AH_TRACE_DOTTED_N = 22 }; /* lengths: a time as ISO 8601, as in a dotted_order */

/* Members of an object, by key: metadata, extra. Later values replace earlier ones. */
struct ah_trace_member {
    char *key, *json;
    size_t n;
};
struct ah_trace_members {
    struct ah_trace_member *list;
    size_t count;
};

/* Counted: runs inside a run have the same. */
struct ah_trace_cleaner {
    int refs;
    bool busy; /* it runs: what it starts itself is withheld */
    struct ah_run_cleaner call;
};

struct ah_span {
    int refs;
    struct ah_run *run; /* counted */
    int64_t n;          /* 1 is the root */
    int64_t start_us;
    enum ah_span_type type;
    bool ended;
    char id[AH_UUID_BYTES];
    const char *name, *dotted; /* behind the span, in its own memory */
    size_t name_n, dotted_n;
    struct ah_span *next, *prev; /* the run's open spans, newest first; holds no reference */
    struct ah_trace_members metadata, extra;
    struct ah_buf tags, events, usage; /* members of JSON arrays; JSON object */
    struct ah_buf attachments;         /* members of a JSON object */
    struct ah_buf inputs;              /* JSON object that replaces the start's; empty = none */
    int64_t input_tokens, output_tokens;
    double cost;
    bool refused; /* a model call that its service did not do: costs nothing */
};

struct ah_run {
    int refs;
    struct ah_trace *trace;
    int64_t key, start_us, spans, effects;
    bool traced, sends, ended, renamed;
    char id[AH_UUID_BYTES], trace_id[AH_UUID_BYTES];
    char *name, *identifier, *project;
    char *above; /* dotted_order of a parent elsewhere, or NULL */
    char *example;
    bool sampled, wanted, kept_local; /* wanted: it would be sent, as far as its start says */
    bool unpriced;                    /* a model call costs nobody knows how much */
    bool shown;                       /* a span ended without a cleaner: it may have been sent */
    int64_t began_us;                 /* by a clock that nobody sets */
    struct ah_trace_cleaner *cleaner;
    struct ah_buf inputs; /* what the root began with */
    struct ah_buf tags;   /* members of a JSON array, where there is no root that has them */
    struct ah_span *root, *open;
    struct ah_run_totals totals;
};

struct ah_trace {
    struct ah_core *core;
    struct ah_store *store;
    struct ah_buf masked;
    struct ah_replay *replay;
    int64_t second; /* whose text `iso` is; times of one second differ in six digits */
    char iso[AH_CLOCK_ISO_BYTES];
};

/* --- trace_put.c */
int64_t ah_trace_now(struct ah_trace *t);
void ah_trace_put_iso(struct ah_trace *t, int64_t us, char out[AH_CLOCK_ISO_BYTES]);
/* Without memory the member is left out: a trace may lack something, a script must go on. */
void ah_trace_set_member(struct ah_trace_members *m, const char *key, const char *json, size_t n);
void ah_trace_add_members(struct ah_trace_members *m, const char *json, size_t n); /* of a JSON object */
void ah_trace_quote_members(struct ah_buf *to, const struct ah_trace_members *m, const char *comma);
void ah_trace_drop_members(struct ah_trace_members *m);
void ah_trace_add_tag(struct ah_buf *tags, const char *tag);
/* The text, or its masked copy (valid until the next call). */
const char *ah_trace_mask(struct ah_trace *t, const char *p, size_t *n);
/* Into the event that is begun, masked: a string, ... */
void ah_trace_put_str(struct ah_trace *t, const char *text, size_t n);
void ah_trace_put_text(struct ah_trace *t, const char *text);
/* Would this JSON be too deep to be read once it is inside an event? Then it is kept as a text. */
bool ah_trace_is_deep(const char *p, size_t n);
/* ... a JSON value, `object`: one whose long texts become blobs, ... */
void ah_trace_put_json(struct ah_trace *t, const char *json, size_t n, bool object);
/* ... members, behind `comma`, an array of `items`, an object of `members`. */
void ah_trace_put_members(struct ah_trace *t, const struct ah_trace_members *m, const char *comma);
void ah_trace_put_list(struct ah_trace *t, const char *key, const struct ah_buf *items);
void ah_trace_put_object(struct ah_trace *t, const struct ah_buf *members);
/* Not masked: what is ours, or was masked. `key` opens its quote. */
void ah_trace_put_field(struct ah_store *store, const char *key, const char *value, size_t n);

/* --- trace_send.c */
void ah_trace_unref_cleaner(struct ah_trace_cleaner *c);
/* Adds `"what":CLEAN` to the members in `to`. What cannot be cleaned is left out: it is withheld then. */
void ah_trace_clean_member(struct ah_run *run, const char *what, const char *json, size_t n,
                           struct ah_buf *to);
void ah_trace_put_clean(struct ah_run *run, const struct ah_buf *members);
void ah_trace_send_late(struct ah_run *run, bool failed); /* at its end */
void ah_trace_write_late(struct ah_run *run); /* the same for who finds the run if this process dies */

/* --- trace_span.c */
bool ah_trace_is_open(const struct ah_span *span); /* false for NULL */
struct ah_span *ah_trace_new_span(struct ah_run *run, const struct ah_span *parent, enum ah_span_type type,
                                  const char *name, int64_t start_us, const char *id);

/* --- trace_event.c */
void ah_trace_write_start(struct ah_span *s, const struct ah_span *parent, const char *inputs, size_t n);
void ah_trace_write_end(struct ah_span *span, int64_t now, const char *outputs, size_t n, const char *error);

#endif
