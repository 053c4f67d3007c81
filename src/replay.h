/* What a script saw of the world, in the order in which it saw it: written while it runs, and given back when
 * the run is done again (docs/resume.md).
 *
 * A run's notes are one list. A value is something that was read at once (the time, a file's text); a call
 * is something that was waited for. While notes are left, values and results come from them and nothing
 * leaves this machine; behind the last one the run goes on live. What a script does that its notes do not
 * say is a divergence: the run stops and says the first difference. Knows no Lua. Called by luareplay.c
 * (which turns Lua values to JSON and back), trace_effect.c and host.c. Owner thread only. */
#ifndef AH_REPLAY_H
#define AH_REPLAY_H

#include "core.h"
#include "err.h"
#include "json.h"
#include "op.h"
#include "store.h"

struct ah_replay; /* opaque: one run of a script */
struct ah_call;   /* opaque: one call of it */

struct ah_replay *ah_replay_new(struct ah_core *core, struct ah_error *err);
void ah_replay_free(struct ah_replay *r); /* all calls must have been dropped */

/* --- the run ---------------------------------------------------------------------------------- */

/* Reads the notes of a run and of those that it went on from. Before ah_replay_begin. */
int ah_replay_load(struct ah_replay *r, int64_t run, struct ah_error *err);
/* The recipe of a run (JSON object text, malloc'd): what ah_replay_begin was given. NULL: err. */
char *ah_replay_recipe(struct ah_store *s, int64_t run, struct ah_error *err);
size_t ah_replay_length(const struct ah_replay *r); /* how many notes were read: "base" of the recipe */
/* From here on notes are written, as those of the run `run`. `recipe`: a JSON object (secrets masked); of it
 * only "resumes" (the key of the run that this one goes on from) and "base" are read here. */
void ah_replay_begin(struct ah_replay *r, int64_t run, uint64_t seed, const char *recipe, size_t n);
/* The run has ended (or is about to): whatever is noted is queued for the journal, and no more is noted. */
void ah_replay_end(struct ah_replay *r);
/* The script has ended with an error of this kind. If it is a call's that somebody can lift (an unknown outcome, an
 * account), a resumed run makes that call again instead of giving it the error. */
void ah_replay_note_failure(struct ah_replay *r, enum ah_kind kind);
/* A person stops the run: nothing more is noted, and nobody waits for notes any more. */
void ah_replay_interrupt(struct ah_replay *r);
/* What follows is only the run's last words: a resumed run goes on live from here. Intents are noted all the same. */
void ah_replay_stop_notes(struct ah_replay *r);
/* Before an intent: what was seen before it must be in the journal with it. */
void ah_replay_flush(struct ah_replay *r);
/* What a person says of calls whose outcome nobody knows: "done", "retry", "fail", or NULL. Borrowed. */
void ah_replay_assume(struct ah_replay *r, const char *word);
const char *ah_replay_assumed(const struct ah_replay *r);
/* That word, once, if this call's error is what the script ended with before; else NULL. */
const char *ah_replay_word(struct ah_replay *r, int64_t call);
/* From here on nothing is noted, and the run cannot be resumed beyond this point: it does what no notes can
 * hold (`why`, a literal). */
void ah_replay_close(struct ah_replay *r, const char *why);
const char *ah_replay_closed(const struct ah_replay *r); /* NULL: it can */

int64_t ah_replay_run(const struct ah_replay *r); /* whose notes are written: its key */
/* The question waits in the journal from here on, as this run's (row->run is filled in); and no more as one of the runs
 * before, under the same number. */
int ah_replay_ask(struct ah_replay *r, struct ah_store_approval *row, struct ah_error *err);
/* The approvals that were asked for under this call's number, in this run and those it goes on from. */
void ah_replay_each_approval(struct ah_replay *r, int64_t call,
                             int (*fn)(void *arg, const struct ah_store_approval *a), void *arg);
/* Notes are left: nothing is live yet. */
bool ah_replay_is_past(const struct ah_replay *r);
/* Seconds that the run has worked; the time between a stop and its resume does not count. `noted`: the name under
 * which the answers are noted as values. */
double ah_replay_worked(struct ah_replay *r, const char *noted);
/* How many calls were answered from notes. */
int64_t ah_replay_replayed(const struct ah_replay *r);
struct ah_ids *ah_replay_ids(struct ah_replay *r); /* the run's own source of chance */

/* The run must stop: it diverged, or all that it still waits for needs a person (then the error of the
 * call that was parked first). */
bool ah_replay_stopped(const struct ah_replay *r, const struct ah_error **why);
/* The script has ended: is anything left that it did before and did not do now? -1: diverged, err. */
int ah_replay_check_end(struct ah_replay *r, struct ah_error *err);

/* --- values ------------------------------------------------------------------------------------- */

/* 1: *out is what was noted (a JSON array, valid while r is). 0: read it, and note it. -1: diverged. */
int ah_replay_value(struct ah_replay *r, const char *name, struct ah_json *out);
void ah_replay_note(struct ah_replay *r, const char *name, const char *json, size_t n);

/* --- calls -------------------------------------------------------------------------------------- */

/* The next call of the script, with its arguments as JSON (secrets are masked here). NULL: diverged or no
 * memory (err). It is the caller's until ah_call_drop. */
struct ah_call *ah_replay_call(struct ah_replay *r, const char *name, const char *args, size_t n,
                               struct ah_error *err);
int64_t ah_call_number(const struct ah_call *c); /* 1, 2, 3 ... in order of issue: the same in each replay */
/* Not answered yet from notes, and not live: wait for ah_call_latch. */
bool ah_call_is_waiting(const struct ah_call *c);
struct ah_op *ah_call_latch(
    struct ah_call *c); /* borrowed; ends when the result is there, or the call live */
/* The result as noted (a JSON array, valid while the run's ah_replay is); absent: the call is live. */
struct ah_json ah_call_result(const struct ah_call *c);
/* The result of a live call: a JSON array. `at_once`: the script did not wait for it. */
void ah_call_end(struct ah_call *c, const char *json, size_t n, bool at_once);
/* Its result is an error of this kind, which may be what the script ends with. */
void ah_call_failed(struct ah_call *c, enum ah_kind kind);
/* Nobody waits for it any more (after ah_call_end, or at a cancel). NULL is fine. */
void ah_call_drop(struct ah_call *c);
/* It cannot be answered now: a person must act. When nothing else goes on, the run stops with `why` (moved);
 * the call has no result, so a resumed run comes to it again. */
void ah_call_park(struct ah_call *c, struct ah_error *why);

/* A stream began with this call; it is not whole until ah_replay_stream_end. One that the end of a process
 * cut is begun anew, unless something unsafe was sent after its beginning: then it ends as truncated. */
void ah_replay_stream_begin(struct ah_replay *r, int64_t call);
void ah_replay_stream_end(struct ah_replay *r, int64_t call);

/* --- unsafe effects ------------------------------------------------------------------------------- */

/* An unsafe effect of a call is about to be journalled as (run, n). */
void ah_replay_intent(struct ah_replay *r, int64_t call, int64_t run, int64_t n);

enum ah_replay_fate {
    AH_FATE_NEW,     /* was never sent */
    AH_FATE_KNOWN,   /* was answered: *effect says where in the journal */
    AH_FATE_UNKNOWN, /* was sent, and no answer is known */
};
/* What became of an effect of this call in the runs before. */
enum ah_replay_fate ah_replay_fate(struct ah_replay *r, int64_t call, const char *kind, const char *what,
                                   const unsigned char sha256[32], struct ah_store_effect *effect);

#endif
