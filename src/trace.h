/* Runs and spans, and the effects they have on the world: what the journal holds about a script.
 *
 * Knows no Lua and no service. Everything goes to store.c as events; nothing here waits or sends.
 * NULL spans are allowed everywhere and do nothing: a run without tracing has none, but its effects
 * are still journalled. Owner thread only. */
#ifndef AH_TRACE_H
#define AH_TRACE_H

#include "buf.h"
#include "core.h"
#include "err.h"
#include "ids.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ah_replay;
struct ah_trace; /* opaque, one per host */
struct ah_run;   /* opaque: one run of a script = one trace */
struct ah_span;  /* opaque, counted */

struct ah_trace *ah_trace_new(
    struct ah_core *core,
    struct ah_error *err);              /* needs loop, store, secrets, config, log; sets core->tracing */
void ah_trace_free(struct ah_trace *t); /* all runs must have ended */

/* Whose notes name the unsafe effects from now on; NULL: nobody's. */
void ah_trace_set_replay(struct ah_trace *t, struct ah_replay *replay);

/* --- runs ---------------------------------------------------------------------------------- */

struct ah_run_opts {
    const char *name;        /* of the root span: the script's name without folder and .lua */
    const char *script;      /* path as given, "" = none */
    const char *identifier;  /* whose accounts; NULL = not known yet */
    const char *project;     /* NULL = LANGSMITH_PROJECT / LANGCHAIN_PROJECT, else "default" */
    const char *const *tags; /* NULL-terminated, or NULL */
    const char *metadata;    /* JSON object text, or NULL */
    const char *inputs;      /* JSON object text, or NULL */
    size_t inputs_n;
    bool traced; /* false: --no-trace, no spans at all */
    /* The root's parent is a run of another process: its dotted_order, or NULL. What is none is ignored. */
    const char *parent;
    const char *reference_example_id; /* of a dataset, or NULL */
    const struct ah_run *around;      /* whose cleaner it takes over, or NULL */
};

/* Begins a run: a row, a root span of type chain, and a destination fixed from the configuration
 * (none when tracing is off: the spans stay local and leave only by `trace push`).
 * NULL: err. The caller holds the only reference; ah_run_end gives it back. */
struct ah_run *ah_run_start(struct ah_trace *t, const struct ah_run_opts *opts, struct ah_error *err);
/* Ends open spans (children first, as cancelled), then the root, then the run. `outputs` is JSON
 * object text or NULL; `failed` NULL = success. `run` is gone afterwards for the caller; spans that
 * others still hold stay valid and ignore everything. */
void ah_run_end(struct ah_run *run, const char *outputs, size_t n, const struct ah_error *failed);

/* Tasks hold the run they work for: a run that has ended stays valid until the last reference is gone
 * and ignores everything. NULL is fine. */
struct ah_run *ah_run_ref(struct ah_run *run);
void ah_run_unref(struct ah_run *run);

const char *ah_run_id(const struct ah_run *run);         /* UUID: root span id, agent_run_id */
const char *ah_run_trace_id(const struct ah_run *run);   /* the same, but for runs with a parent elsewhere */
const char *ah_run_identifier(const struct ah_run *run); /* "" = none */
int ah_run_set_identifier(struct ah_run *run, const char *identifier);
void ah_run_add_tags(struct ah_run *run, const char *const *tags); /* before it ends */
/* A JSON array, or nothing: the tags of `span`, which has its parents' too, or, where there is no span (NULL, or
 * the run is not traced), those of the run. Not masked. */
void ah_run_tags(const struct ah_run *run, const struct ah_span *span, struct ah_buf *to);
void ah_run_add_metadata(struct ah_run *run, const char *json, size_t n); /* merged by key */
void ah_run_set_name(struct ah_run *run, const char *name);
/* From now on what is sent and shown of the run's spans is what `fn` makes of it: `what` is "inputs", "outputs",
 * "error", "extra" or "events", the JSON is masked; -1: it is withheld. The journal keeps the text, too. Such a
 * run is sent when it ends, and by who knows no fn only what fn made. Runs inside get the same with
 * ah_run_opts.around. `free_arg` may be NULL. Called from where spans start and end; must not wait. */
struct ah_run_cleaner {
    int (*fn)(void *arg, const char *what, const char *json, size_t n, struct ah_buf *to);
    void (*free_arg)(void *arg);
    void *arg;
};
/* -1: AH_INVALID when something of the run may have been sent already, AH_MEMORY. */
int ah_run_set_cleaner(struct ah_run *run, const struct ah_run_cleaner *cleaner, struct ah_error *err);

struct ah_span *ah_run_root(struct ah_run *run); /* borrowed; NULL when not traced */
bool ah_run_sends(const struct ah_run *run);     /* has a destination */
void ah_run_keep_local(struct ah_run *run);      /* it has none from now on: its spans stay in the journal */
const char *ah_run_project(const struct ah_run *run);
const char *ah_run_name(const struct ah_run *run);
int64_t ah_run_key(const struct ah_run *run); /* in the journal */
bool ah_run_traced(const struct ah_run *run);

/* Sums over the run, for the tree at its end and for limits. */
struct ah_run_totals {
    int64_t input_tokens, output_tokens, model_calls, tool_calls, errors;
    double cost;     /* USD */
    bool cost_known; /* of every model call that was not refused; false: none, or one is unknown */
};
const struct ah_run_totals *ah_run_totals(const struct ah_run *run);

/* --- spans --------------------------------------------------------------------------------- */

enum ah_span_type {
    AH_SPAN_CHAIN,
    AH_SPAN_LLM,
    AH_SPAN_TOOL,
    AH_SPAN_RETRIEVER,
    AH_SPAN_EMBEDDING,
    AH_SPAN_PROMPT,
    AH_SPAN_PARSER
};
/* -1: no such name ("chain", "llm", "tool", ...). */
int ah_span_type_of(const char *name);

/* A child of `parent` (of the root when NULL), with the tags and metadata that its parent has now, as the
 * SDKs do it: so a thread's id is on each of its runs. `inputs` is JSON object text; registered secrets are
 * masked here. One reference for the caller. NULL when the run is not traced or memory is out. */
struct ah_span *ah_span_start(struct ah_run *run, struct ah_span *parent, enum ah_span_type type,
                              const char *name, const char *inputs, size_t n);
struct ah_span *ah_span_ref(struct ah_span *span);
void ah_span_unref(struct ah_span *span);           /* does not end it */
const char *ah_span_id(const struct ah_span *span); /* UUID; "" for NULL */
struct ah_run *ah_span_run(struct ah_span *span);
const char *ah_span_name(const struct ah_span *span); /* "" for NULL */
/* For the header langsmith-trace; "" for NULL. Borrowed. */
const char *ah_span_dotted_order(const struct ah_span *span);
/* Its tags, as members of a JSON array, and a metadata member by member, for the header baggage. */
void ah_span_baggage(const struct ah_span *span, struct ah_buf *tags, struct ah_buf *metadata);
/* Before the end; later calls are ignored. */
void ah_span_metadata(struct ah_span *span, const char *key, const char *json, size_t n);
void ah_span_metadata_str(struct ah_span *span, const char *key, const char *value);
void ah_span_extra(struct ah_span *span, const char *key, const char *json,
                   size_t n); /* beside metadata: tool_call_id */
/* Replaces what the span began with, where that was not known at its start (the task of a root). */
void ah_span_set_inputs(struct ah_span *span, const char *inputs, size_t n);
void ah_span_tag(struct ah_span *span, const char *tag);
void ah_span_event(struct ah_span *span, const char *name); /* "new_token": now */
/* The same with a JSON object that says more, or NULL. */
void ah_span_event_with(struct ah_span *span, const char *name, const char *json, size_t n);
/* Tokens (usage_metadata JSON of spec/langsmith-api.md 4.2) and cost in USD (< 0: unknown). Written to
 * outputs.usage_metadata and extra.metadata.usage_metadata at the end. */
void ah_span_usage(struct ah_span *span, const char *usage_metadata, size_t n, int64_t input_tokens,
                   int64_t output_tokens, double cost);
/* The service refused this model call: it makes the run's cost no unknown one. */
void ah_span_refused(struct ah_span *span);
/* A file that belongs to it: sent as a part of its own. -1: the name holds a dot, quote or backslash, or it is
 * larger than AH_ATTACHMENT_BYTES. */
#define AH_ATTACHMENT_BYTES ((size_t)16 << 20)
int ah_span_attach(struct ah_span *span, const char *name, const char *type, const char *p, size_t n);
/* Ends it once; a second call is ignored. `outputs` JSON object text or NULL. `error` NULL = success;
 * else the text for LangSmith's `error` field. */
void ah_span_end(struct ah_span *span, const char *outputs, size_t n, const char *error);

/* --- effects ------------------------------------------------------------------------------- */

enum ah_effect_class { AH_EFFECT_READ, AH_EFFECT_IDEMPOTENT, AH_EFFECT_UNSAFE };
struct ah_effect; /* opaque: one call that reaches outside */
/* `code` of AH_OUTCOME_UNKNOWN: an earlier process had sent it, this one has not. */
#define AH_EFFECT_BEFORE "sent_before"

/* Journals the intent of a call before it is queued: `kind` is "http", "model", "tool", "api"; `what`
 * is the method and URL, or the tool's name; `args` is what is sent (hashed before masking). An unsafe
 * intent is committed with synchronous=FULL. NULL with AH_JOURNAL: the journal is unusable and the
 * call is unsafe (unless --no-journal). `run` NULL (the host's own calls): NULL without an error.
 * `call`: the number of the noted call that it belongs to (luareplay.h), 0 = none. In a resumed run, an unsafe
 * effect that an earlier process had begun: its answer (ah_effect_answer), or NULL with AH_OUTCOME_UNKNOWN. */
struct ah_effect *ah_effect_begin(struct ah_run *run, struct ah_span *span, enum ah_effect_class cls,
                                  int64_t call, const char *kind, const char *what, const char *args,
                                  size_t n, struct ah_error *err);
/* What an earlier process, of the run that this one goes on from, was answered: then nothing is to be sent. */
struct ah_effect_answer {
    int status;
    const char *body; /* malloc'd, as long as the effect is not ended */
    size_t n;
    struct ah_error err; /* kind AH_NONE: success */
};
/* NULL: there is none. */
const struct ah_effect_answer *ah_effect_answer(const struct ah_effect *e);
/* The outcome: a result (`body`, may be NULL), or an error; AH_OUTCOME_UNKNOWN is kept as such.
 * Frees it. NULL is fine. issued/completed are the op's two numbers. */
void ah_effect_end(struct ah_effect *e, uint64_t issued, uint64_t completed, int status, const char *body,
                   size_t n, const struct ah_error *failed);

#endif
