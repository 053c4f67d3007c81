/* What the LANGSMITH_* and LANGCHAIN_* variables say about tracing (spec/langsmith-api.md 1): where runs go, which
 * of them, and what must not be seen of them. Reads settings, keeps nothing of a run.
 *
 * Who calls: trace*.c when a run starts and ends, lssend*.c when spans leave, cmd_*.c to say why nothing does. */
#ifndef AH_TRACING_H
#define AH_TRACING_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>

struct ah_tracing; /* opaque, one per host */
struct ah_config;
struct ah_secrets;

/* Both are borrowed and may be NULL. NULL: out of memory. */
struct ah_tracing *ah_tracing_new(struct ah_config *config, struct ah_secrets *secrets);
void ah_tracing_free(struct ah_tracing *t);

/* One destination. Texts are borrowed from t and the config, until the settings change. */
struct ah_tracing_where {
    const char *endpoint;  /* without trailing slashes; "" = nowhere */
    const char *workspace; /* "" = none */
    const char *project;   /* of a copy: "" = the run's own */
    const char *key;       /* NULL = none */
    const char *dest;      /* what the journal calls it: the endpoint; a copy's has "#project" behind it */
    bool emulated;
    bool copy; /* not the first of LANGSMITH_RUNS_ENDPOINTS */
    bool
        remap; /* a copy beside a primary: its runs get other ids also in the same project, as the SDKs do it */
};
#define AH_TRACING_TARGETS_COUNT 8
/* Where a run that starts now would send its spans. */
void ah_tracing_where(struct ah_tracing *t, struct ah_tracing_where *out);
/* The same as if tracing were switched on: for `trace push` and for reading back. endpoint "": no key, or
 * no usable address. */
void ah_tracing_target(struct ah_tracing *t, struct ah_tracing_where *out);

/* All destinations: the one above, and the copies. Returns how many. `switched`: only if tracing is on. */
size_t ah_tracing_targets(struct ah_tracing *t, bool switched,
                          struct ah_tracing_where out[AH_TRACING_TARGETS_COUNT]);

/* Why traces do not go to LangSmith although somebody seems to want them to (a misspelt variable, a value
 * that is not true, no key, a broken endpoint): a sentence. NULL: they go, or nobody asked. */
const char *ah_tracing_why_off(struct ah_tracing *t);
/* A setting that does not mean what its writer thinks, although traces go: a sentence, or NULL. */
const char *ah_tracing_complaint(struct ah_tracing *t);

/* Is this a LANGSMITH_ or LANGCHAIN_ name that its owners know, whether or not it is read here? */
bool ah_tracing_is_name(const char *name);

/* Whether a new trace is sent, by LANGSMITH_TRACING_SAMPLING_RATE; decided by its id, so no chance is drawn. */
bool ah_tracing_samples(struct ah_tracing *t, const char *trace_id);
/* AGENTHOST_TRACE_ERRORS: a failed run is sent also when it was not sampled. */
bool ah_tracing_keeps_errors(struct ah_tracing *t);

/* What must not be seen, at upload and where traces are shown; the journal keeps it. A value that is neither
 * true nor false hides. */
struct ah_tracing_rules {
    bool hide_inputs, hide_outputs, hide_metadata; /* {} in their place */
    bool hide_tokens;                              /* what looks like a credential (shapes.h) */
};
void ah_tracing_rules(struct ah_tracing *t, struct ah_tracing_rules *out);

/* LANGCHAIN_REVISION_ID and its twin, or NULL. */
const char *ah_tracing_revision(struct ah_tracing *t);

#endif
