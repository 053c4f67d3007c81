/* LangSmith: sends what the journal holds about runs, and reads runs back.
 *
 * A layer-3 service: knows no Lua. The journal is the queue; nothing of a span is kept here but the
 * batches in flight. What a sender promises (design section 5): a batch that was sent keeps its
 * membership until its outcome is known and is resent byte for byte; a create that was sent is never
 * merged again; what the server refuses is found by halving and parked with its words; trouble that
 * time heals is tried for ever. It never talks to a destination for which this process has no key.
 *
 * Who calls: host.c makes it; it then works by itself, woken by the journal's commits. cmd_*.c and
 * lua_langsmith.c flush, read and verify. Must be freed before http and store are. */
#ifndef AH_LANGSMITH_H
#define AH_LANGSMITH_H

#include "core.h"
#include "err.h"
#include "json.h"
#include "op.h"

#include <stdint.h>

struct ah_langsmith; /* opaque, one per host */

#define AH_LANGSMITH_VERIFY_MS 15000

/* core must have loop, log, config, http, store and trace; it is borrowed. The store's commit listener
 * is taken. */
struct ah_langsmith *ah_langsmith_new(struct ah_core *core, struct ah_error *err);
/* Cancels what is in flight: its batches stay in the journal and are resent by who comes next. */
void ah_langsmith_free(struct ah_langsmith *ls);

/* Sends at once, without the delay that gathers spans, and ends when nothing that this process may send
 * waits (spans that were refused for good do not wait). AH_TIMEOUT after timeout_ms; AH_AUTH or another
 * error when the destination takes nothing and waiting would not help. Several may run. NULL: no memory. */
struct ah_op *ah_langsmith_flush(struct ah_langsmith *ls, int64_t timeout_ms);
/* Spans that this process may send and that have not arrived. */
int64_t ah_langsmith_waiting(struct ah_langsmith *ls);
/* Forgets what it knows about a destination's refusals (401, 403) and looks at the journal anew: after
 * ah_store_push, or when the settings have changed. */
void ah_langsmith_wake(struct ah_langsmith *ls);

/* How long spans are gathered before they are sent, and how long one is open before its create goes
 * alone (250 ms and 5 s): tests hurry. */
void ah_langsmith_set_pace(struct ah_langsmith *ls, int64_t gather_ms, int64_t early_ms);

/* Reads a run as the server has it (GET /runs/{id}). AH_CONFIG: no endpoint or no key. NULL: no memory. */
struct ah_op *ah_langsmith_read_run(struct ah_langsmith *ls, const char *run_id);
/* Reads until the run is there and has ended. AH_NOT_FOUND after timeout_ms, with a sentence that says
 * what was seen. */
struct ah_op *ah_langsmith_verify(struct ah_langsmith *ls, const char *run_id, int64_t timeout_ms);
/* Any other call of LangSmith's API. `path` goes behind the endpoint ("sessions?limit=1"); `v2`: behind /api/v2.
 * `body` (copied) makes it a POST, which must be one that may be repeated: the client chooses the ids. A 404 is asked
 * again for `wait_ms`: what was just sent may not be there yet. NULL: no memory. */
struct ah_langsmith_call {
    const char *path, *body;
    size_t body_n;
    bool v2;
    int64_t wait_ms;
};
struct ah_op *ah_langsmith_ask(struct ah_langsmith *ls, const struct ah_langsmith_call *call);
/* Of a finished read, verify or ask: what came, borrowed from the op; absent when it failed. */
struct ah_json ah_langsmith_run(const struct ah_op *op);
/* Where a person sees a run: malloc'd; NULL when that cannot be known. `run` is what a read gave. */
char *ah_langsmith_run_url(struct ah_langsmith *ls, struct ah_json run);

/* Sends one finished test run, past the journal, and reads it back: for `doctor`. NULL: no memory. */
struct ah_op *ah_langsmith_ping(struct ah_langsmith *ls);

#endif
