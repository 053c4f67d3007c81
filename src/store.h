/* The journal: one SQLite file that is trace store, spool to LangSmith, and memory for resume.
 *
 * What a run does is queued here as events and written in one short transaction: at the end of each
 * turn of the loop, at AH_JOURNAL_EVENTS_COUNT events, at AH_JOURNAL_AGE_MS, at exit. Nothing waits
 * on a lock: when another process writes, the queue is kept and requests are held back. When the file
 * cannot be used, the same schema lives in memory. Only store*.c see sqlite3.h. Owner thread
 * only (its checkpoint thread has a connection of its own). Knows no Lua and no service.
 *
 * Who calls: trace.c writes; langsmith.c sends; tree.c and cmd_trace.c read. */
#ifndef AH_STORE_H
#define AH_STORE_H

#include "buf.h"
#include "err.h"
#include "ids.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ah_store; /* opaque, one per host */
struct ah_json_writer;
struct ah_loop;
struct ah_log;

#define AH_STORE_VERSION 3 /* PRAGMA user_version; older files are migrated, newer ones refused */

/* --- opening ------------------------------------------------------------------------------- */

struct ah_store_opts {
    const char *dir;       /* NULL: ah_store_default_dir */
    bool memory;           /* no file at all (--no-journal without a place, tests) */
    bool need_file;        /* commands that read: no memory instead; NULL and an error */
    bool allow_no_journal; /* --no-journal: unsafe effects are allowed without a file */
    bool quiet;            /* an unusable file is not announced */
    size_t memory_bytes;   /* 0: AH_JOURNAL_MEMORY_BYTES */
    int64_t max_pages;     /* of the file, 0: no limit. Tests make a full disk with it */
};

/* $AGENTHOST_HOME, else $XDG_STATE_HOME/agenthost, else ~/.local/state/agenthost. -1: AH_CONFIG. */
int ah_store_default_dir(char *out, size_t size, struct ah_error *err);

/* Opens or makes DIR/journal.db (0700, 0600), takes this process's live lock, ends the runs of crashed
 * processes, and sets the loop's commit callback (loop may be NULL: then only ah_store_flush
 * commits). A file that is locked for 2 s, read-only, full, damaged or of a newer version: said once
 * (AH_ONCE_JOURNAL), and the journal is in memory. NULL: no memory, or need_file. */
struct ah_store *ah_store_open(const struct ah_store_opts *opts, struct ah_loop *loop, struct ah_log *log,
                               struct ah_error *err);
/* Commits what is queued (waits up to 2 s for a lock), gives the live lock back. */
void ah_store_close(struct ah_store *s);

/* Whether what is committed survives this process. */
bool ah_store_durable(const struct ah_store *s);
/* Whether an unsafe effect may leave: durable, or allow_no_journal. */
bool ah_store_allows_unsafe(const struct ah_store *s);
/* Why the journal is in memory (a sentence); "" when it is durable or was asked to be in memory. */
const char *ah_store_trouble(const struct ah_store *s);
const char *ah_store_path(const struct ah_store *s); /* "" in memory */
const char *ah_store_live_id(const struct ah_store *s);
/* The counters of this process, for tests, `doctor` and benches. */
struct ah_store_stats {
    uint64_t commits, full_commits, busy, events, blobs, blobs_known, dropped;
    uint64_t pushed; /* runs that were given to a destination at their end */
    size_t queued;
};
const struct ah_store_stats *ah_store_stats(const struct ah_store *s);

/* --- the queue ------------------------------------------------------------------------------- */

enum ah_store_result {
    AH_STORE_OK = 0,   /* all is written (or nothing was queued) */
    AH_STORE_BUSY = 1, /* another process writes; the queue is kept, try again soon */
};
/* Writes the queue now. A file that fails for good is replaced by memory, so this never fails otherwise. */
enum ah_store_result ah_store_flush(struct ah_store *s);
/* The same, waiting up to `ms` for a lock; then the queue is kept and BUSY answered. For exits. */
enum ah_store_result ah_store_flush_wait(struct ah_store *s, int64_t ms);
/* Told before everything is written: fn may queue what belongs to it. One; NULL takes it away. */
void ah_store_before_commit(struct ah_store *s, void (*fn)(void *arg), void *arg);
/* Told after every commit that wrote something, with the newest seq: fn must only queue (a timer, an
 * ah_loop_ready). One listener; NULL takes it away. */
void ah_store_on_commit(struct ah_store *s, void (*fn)(void *arg, int64_t seq), void *arg);

/* --- writing: runs, events, effects (trace*.c) ------------------------------------------------- */

/* Where a run's spans go. Fixed when the run starts; the key is never here. */
struct ah_store_where {
    const char *endpoint;  /* NULL or "": nowhere; the spans stay local. Without a trailing slash */
    const char *workspace; /* "" or NULL = none */
    bool emulated;         /* belongs to this process's emulator: only this process may send it */
};

enum ah_store_run_state {
    AH_RUN_OPEN,
    AH_RUN_DONE,
    AH_RUN_FAILED,
    AH_RUN_CRASHED,
    AH_RUN_WAITING, /* it stopped until a person has acted */
    AH_RUN_RESUMED, /* of a waiting one: another run went on from it. Only read, never written */
};

struct ah_store_totals {
    int64_t input_tokens, output_tokens, model_calls, tool_calls, errors, spans;
    double cost;
    bool cost_known;
};

struct ah_store_run_start {
    int64_t key; /* ah_store_new_key */
    const char *id, *name, *script, *identifier, *project;
    int64_t at; /* wall microseconds, as everywhere here */
    bool traced;
    struct ah_store_where where;
};
/* A key for a run: unique among processes without asking the file, ascending in time, > 0. */
int64_t ah_store_new_key(struct ah_store *s);
int ah_store_run_begin(struct ah_store *s, const struct ah_store_run_start *run);
/* name and identifier may have changed since the start. `error` NULL: done; else `waits`: for a person. */
int ah_store_run_end(struct ah_store *s, int64_t key, int64_t at, const char *name, const char *identifier,
                     const char *error, bool waits, const struct ah_store_totals *totals);

/* The run keeps its spans here after all: what was not taken into a batch yet is not sent. */
int ah_store_run_local(struct ah_store *s, int64_t key);

/* Bodies are one JSON object each:
 *   SPAN_START  {"id","trace_id","parent_run_id"?,"dotted_order","name","run_type","start_time","inputs"}
 *               root spans also "tags"?, "metadata"?
 *   SPAN_END    {"end_time","inputs"? (replaces the start's),"outputs"?,"error"?,"events"?,"extra"?,"tags"?,"name"?,
 *                "totals"?:{"input_tokens","output_tokens","cost"?}}
 *               extra = {"metadata":{...}, "tool_call_id":...}: complete, not a delta. "name" only when
 *               it changed after the start. "crashed":true when written by recovery. "totals" is for
 *               people (tree.c), not for upload.
 *   EFFECT_BEGIN {"n","class","kind","what","args"?}     EFFECT_END {"n","status","body"?,"error"?}
 * `span` is 1 for a run's root, then 2, 3 ... in order of start; 0: no span. Ids are UUIDs. */
enum ah_event_kind {
    AH_EV_SPAN_START = 1,
    AH_EV_SPAN_END = 2,
    AH_EV_EFFECT_BEGIN = 3,
    AH_EV_EFFECT_END = 4,
    AH_EV_RECIPE = 5, /* how a run was begun: arguments, options, seed (replay.c) */
    AH_EV_NOTES = 6,  /* {"notes":[...]}: what its script saw of the world, in order (replay.c) */
    /* {"clean":true|false,"to":[{"dest","workspace"},...]}: what is done with a run whose process dies: its open spans
     * were cleaned or not, and where it is sent as a whole (trace_send.c). The last one holds. */
    AH_EV_LATE = 7
};

/* When this is written, after the run's end, the whole run is to be sent to `where`; it becomes the run's own
 * destination if it has none. For what is decided at the end of a run, and for copies. Queued. */
int ah_store_run_send(struct ah_store *s, int64_t key, const struct ah_store_where *where);

/* One event: begin, any number of puts, end. Cheap: straight into the queue, no allocation per event.
 * Not nested. The caller has masked secrets. */
void ah_store_begin(struct ah_store *s, int64_t run, int64_t span, enum ah_event_kind kind, int64_t at);
/* Bytes of JSON syntax and short values, as they are. */
void ah_store_put(struct ah_store *s, const char *p, size_t n);
/* The same of literals: without control characters. */
void ah_store_puts(struct ah_store *s, const char *text);
/* The same in one go: room for n bytes (NULL: no memory, the event is dropped at its end), then how many were used. */
char *ah_store_room(struct ah_store *s, size_t n);
void ah_store_used(struct ah_store *s, size_t n);
void ah_store_put_str(struct ah_store *s, const char *p, size_t n); /* quoted and escaped */
/* A JSON value that is stored once if it is long: AH_BLOB_MIN_BYTES. It must be valid JSON. */
void ah_store_put_json(struct ah_store *s, const char *p, size_t n);
/* A JSON object whose long members are stored one by one, and whose "messages" are stored message by
 * message: the next turn of the same conversation costs its new messages only. */
void ah_store_put_object(struct ah_store *s, const char *p, size_t n);
/* Queues it; commits when the queue is 64 events or 5 ms old. -1: no memory, the event is dropped. */
int ah_store_end(struct ah_store *s);
/* What is queued between these two is committed together, or not at all. */
void ah_store_hold(struct ah_store *s);
void ah_store_release(struct ah_store *s);
/* The next commit survives power loss (synchronous=FULL). */
void ah_store_make_safe(struct ah_store *s);

struct ah_store_effect {
    int64_t run, n, span; /* n: 1, 2, 3 ... within the run */
    int cls;              /* enum ah_effect_class of trace.h */
    char kind[16];
    char what[256];
    unsigned char args_sha256[32]; /* before masking */
    int64_t begin_seq, end_seq;    /* of its two events; end 0: the outcome is not known */
    uint64_t issued, completed;
    int status;
    int error; /* enum ah_kind, 0 = success */
};
/* The rows beside EFFECT_BEGIN and EFFECT_END; the seqs are filled in by the store: call each right
 * before the event it belongs to is begun. */
int ah_store_effect_begin(struct ah_store *s, const struct ah_store_effect *e);
int ah_store_effect_end(struct ah_store *s, const struct ah_store_effect *e);

/* --- reading: runs and events ------------------------------------------------------------------ */
/* Reads see what was committed. Callbacks get borrowed memory and answer 0 to go on; they may read
 * and queue, but must not close the store. Functions answer 0, or -1 with err (AH_JOURNAL). */

struct ah_store_run {
    int64_t key, started, ended; /* ended 0: open */
    int64_t first_seq, last_seq; /* of its events; last 0: open */
    char id[AH_UUID_BYTES];
    const char *name, *script, *identifier, *project; /* never NULL */
    const char *error;                                /* "" = none */
    enum ah_store_run_state state;
    bool traced, emulated;
    int64_t dest; /* 0: nowhere */
    struct ah_store_totals totals;
};

struct ah_store_filter {
    int64_t since, until; /* start time; 0 = open */
    const char *name;     /* exact, or NULL */
    const char *project;
    const char *identifier;
    bool failed; /* failed and crashed only */
    int limit;   /* 0 = 50 */
};
/* Newest first. */
int ah_store_runs(struct ah_store *s, const struct ah_store_filter *filter,
                  int (*fn)(void *arg, const struct ah_store_run *run), void *arg, struct ah_error *err);
/* By whole id, by a prefix or suffix (4 characters at least) that only one run has, or "last". Calls fn
 * once. -1: AH_NOT_FOUND, or AH_INVALID when several fit. */
int ah_store_run_find(struct ah_store *s, const char *id,
                      int (*fn)(void *arg, const struct ah_store_run *run), void *arg, struct ah_error *err);
/* The run of this key, if there is one. */
int ah_store_run_at(struct ah_store *s, int64_t key, int (*fn)(void *arg, const struct ah_store_run *run),
                    void *arg, struct ah_error *err);

struct ah_store_event {
    int64_t seq, run, span;
    enum ah_event_kind kind;
    int64_t at;
    int64_t start_seq; /* of a SPAN_END: its SPAN_START; else 0 */
    const char *body;  /* with all texts in place; NUL-terminated */
    size_t n;
    const char *project; /* of its run, where the destination is known (ah_store_read); else "" */
};
/* All events of a run in order. */
int ah_store_run_events(struct ah_store *s, int64_t key,
                        int (*fn)(void *arg, const struct ah_store_event *ev), void *arg,
                        struct ah_error *err);
/* One event by its number. -1: AH_NOT_FOUND (collected), AH_JOURNAL. */
int ah_store_event_at(struct ah_store *s, int64_t seq, int (*fn)(void *arg, const struct ah_store_event *ev),
                      void *arg, struct ah_error *err);
int ah_store_effects(struct ah_store *s, int64_t run, int (*fn)(void *arg, const struct ah_store_effect *e),
                     void *arg, struct ah_error *err);

/* --- resuming and approving (store_effect.c) ------------------------------------------------------- */

/* `by` goes on from `run`. *got false: the run is alive, or somebody else did so first. Both are in the file
 * then. */
int ah_store_claim(struct ah_store *s, int64_t run, int64_t by, bool *got, struct ah_error *err);
/* The run that goes on from it; 0: none. */
int ah_store_resumed_by(struct ah_store *s, int64_t run, int64_t *by, struct ah_error *err);

enum ah_approval_state {
    AH_APPROVAL_OPEN,
    AH_APPROVAL_YES,
    AH_APPROVAL_NO,
    AH_APPROVAL_CLOSED /* nobody is asked any more: answered at its terminal, or asked anew by a run that goes on */
};
struct ah_store_approval {
    int64_t run, seq;     /* seq: the number of the call that asked (replay.h) */
    int64_t asked;        /* wall microseconds */
    const char *sha256;   /* of exactly what is asked; a decision holds for nothing else */
    const char *question; /* JSON object, secrets masked */
    enum ah_approval_state state;
    const char *reason; /* "" = none */
    int64_t decided;    /* 0: not yet */
};
/* It is a decision, and about exactly this. */
bool ah_store_approval_holds(const struct ah_store_approval *a, const char *sha256);
/* A question that waits for a person. Asked again: the same keeps its answer, a changed one loses it. */
int ah_store_ask(struct ah_store *s, const struct ah_store_approval *a, struct ah_error *err);
/* Only an open one can be decided, by one: *changed. */
int ah_store_decide(struct ah_store *s, int64_t run, int64_t seq, enum ah_approval_state state,
                    const char *reason, bool *changed, struct ah_error *err);
/* Newest first. run 0: of all runs; seq 0: all; limit 0: 1000. */
int ah_store_approvals(struct ah_store *s, int64_t run, int64_t seq, int limit,
                       int (*fn)(void *arg, const struct ah_store_approval *a), void *arg,
                       struct ah_error *err);

/* --- sessions (store_session.c) ------------------------------------------------------------------- */
/* A conversation that several runs go on with. Its messages are rows that are only added to, each naming the one
 * before it; a session is a name for the newest of its rows. So a fork is another name for some row, and copies
 * nothing. A step is what may end a conversation: one message, or an answer with the results of its calls. Each
 * identifier has names of its own. All is written at once, and refused where the journal is in memory. */

#define AH_SESSION_NAME_BYTES 100

struct ah_store_session {
    int64_t key, tip; /* tip: its newest row, 0 = none */
    int64_t steps, started, used;
    int64_t forked_at;                      /* the step that it was forked at, 0: it was begun */
    char id[AH_UUID_BYTES];                 /* the thread's, in traces */
    const char *identifier, *name, *script; /* "" = nobody's; of the run that began it */
    const char *forked_from;                /* the name it had then; "" */
    bool emulated;
    bool busy; /* a run goes on with it now */
};
/* Newest use first. identifier, name NULL: all. */
int ah_store_sessions(struct ah_store *s, const char *identifier, const char *name,
                      int (*fn)(void *arg, const struct ah_store_session *session), void *arg,
                      struct ah_error *err);
/* As a JSON object: id, identifier, name, script, steps, started, used (seconds), emulated, busy, and of a fork
 * forked_from, forked_at. */
void ah_store_session_put(const struct ah_store_session *session, struct ah_json_writer *w);
/* The one of this name; identifier NULL: anybody's. -1: AH_NOT_FOUND, AH_CONFIG when several fit. */
int ah_store_session_find(struct ah_store *s, const char *identifier, const char *name,
                          int (*fn)(void *arg, const struct ah_store_session *session), void *arg,
                          struct ah_error *err);
/* Takes the session for this process until it is closed; one that is not there is begun (identifier, name, script
 * and emulated of `want`), or AH_NOT_FOUND with `must_exist`. AH_CONFIG: another process has it (code
 * session_busy), or it began on the emulator and this run is real, or the other way round. */
int ah_store_session_open(struct ah_store *s, const struct ah_store_session *want, bool must_exist,
                          int64_t *key, struct ah_error *err);
void ah_store_session_close(struct ah_store *s, int64_t key);

struct ah_store_message {
    int64_t step, at, run;
    const char *body; /* JSON: a message; or an array, which stands for all that was before it */
    size_t n;
    bool same_step; /* of the message before it: a result of its call */
};
/* As a JSON object: step, at (seconds), and message, or messages. */
void ah_store_message_put(const struct ah_store_message *m, struct ah_json_writer *w);
/* Adds rows behind `tip`, all or none. AH_CONFIG: another process has the session (session_busy), or went on with
 * it (session_moved). What is there already, because a process ended between this and its note, is not added
 * again. */
int ah_store_session_append(struct ah_store *s, int64_t key, int64_t tip, const struct ah_store_message *list,
                            size_t count, int64_t *new_tip, struct ah_error *err);
/* The rows up to `tip` in order. */
int ah_store_session_read(struct ah_store *s, int64_t tip,
                          int (*fn)(void *arg, const struct ah_store_message *m), void *arg,
                          struct ah_error *err);
/* at: the last step that it shares; 0: all. AH_CONFIG: the name is taken, or no such step. */
int ah_store_session_fork(struct ah_store *s, int64_t key, int64_t at, const char *name,
                          struct ah_error *err);
/* The name, and the rows that nothing else leads to. AH_CONFIG: a process has it. */
int ah_store_session_remove(struct ah_store *s, int64_t key, struct ah_error *err);

/* --- sending (langsmith.c) ----------------------------------------------------------------------
 *
 * A destination has a position: every event up to it was taken into a batch, or needs none. Beside
 * the position there are batches whose outcome is not known, and exceptions: single spans that are not
 * where the position says. A sender's life:
 *
 *   dests -> lease -> open batches (resend them as they are) -> read after the position ->
 *   { batch_save + advance + set_exception; ah_http_send }  ... the loop's barrier commits the first
 *   three in one transaction before the request leaves ...  answer -> { batch_drop + exceptions }.
 *
 * Everything that changes here is queued, never flushed by itself, and so written together with what
 * else was queued in the same ready phase. Only the lease answers at once. */

struct ah_store_dest {
    int64_t dest;
    const char *endpoint, *workspace; /* "" = none */
    bool emulated;
    int64_t position;
    bool mine; /* this process holds the lease */
};
/* Destinations this process may send: all but other processes' emulated ones. Whether there is a key
 * for them is the caller's to know. */
int ah_store_dests(struct ah_store *s, int (*fn)(void *arg, const struct ah_store_dest *d), void *arg,
                   struct ah_error *err);
/* 0 when no committed run names it. */
int64_t ah_store_dest_find(struct ah_store *s, const struct ah_store_where *where);

/* One sender at a time among processes; a dead owner's lease is free. *got false: somebody else has
 * it, or the file is busy: ask again later. Leases end with the process. */
int ah_store_lease(struct ah_store *s, int64_t dest, bool *got, struct ah_error *err);
int ah_store_lease_drop(struct ah_store *s, int64_t dest); /* queued */

/* Whether the run's spans are sent to dest as they come, as the file says now. */
bool ah_store_goes_to(struct ah_store *s, int64_t run, int64_t dest);

/* Span events (SPAN_START, SPAN_END) after `after` of runs that go to `dest`, in order, at most
 * max_events of them and about max_bytes of bodies; scans at most 20,000 rows. *scanned: the seq up to
 * which there is nothing else for dest (= position for ah_store_advance). *more: there is more to scan. */
int ah_store_read(struct ah_store *s, int64_t dest, int64_t after, int max_events, size_t max_bytes,
                  int (*fn)(void *arg, const struct ah_store_event *ev), void *arg, int64_t *scanned,
                  bool *more, struct ah_error *err);
int ah_store_advance(struct ah_store *s, int64_t dest, int64_t position); /* queued; never backwards */

/* One run (LangSmith's word) of a batch: a create (start only), a whole (both, patch false), or a
 * patch (both, patch true). */
struct ah_store_item {
    int64_t run, span;
    int64_t start_seq, end_seq; /* end 0: has not ended */
    bool patch;
    int cut; /* how small its values are made; 0: whole */
};
struct ah_store_batch {
    int64_t id, dest;
    int attempts;    /* requests that were sent */
    int64_t created; /* wall microseconds */
    struct ah_store_item *items;
    size_t count;
};
/* Inserts or replaces by id (a new id: ah_store_new_key). Copies. Queued. */
int ah_store_batch_save(struct ah_store *s, const struct ah_store_batch *b);
int ah_store_batch_drop(struct ah_store *s, int64_t id); /* its outcome is known. Queued */
/* Batches of a destination whose outcome is not known, oldest first: resend, byte for byte. */
int ah_store_batches(struct ah_store *s, int64_t dest, int (*fn)(void *arg, const struct ah_store_batch *b),
                     void *arg, struct ah_error *err);

enum ah_except_state {
    AH_EXCEPT_CREATED = 1, /* its create was sent; its end goes as a patch, then the row is cleared */
    AH_EXCEPT_RETRY = 2,   /* to be sent (again) although the position passed it; from `due` on */
    AH_EXCEPT_PARKED = 3   /* refused for good, with the reason; `trace push` makes it RETRY */
};
struct ah_store_except {
    struct ah_store_item item;
    enum ah_except_state state;
    int64_t due;        /* RETRY: not before, wall microseconds */
    const char *reason; /* PARKED; else "" */
};
int ah_store_set_exception(struct ah_store *s, int64_t dest, const struct ah_store_except *e); /* queued */
int ah_store_clear_exception(struct ah_store *s, int64_t dest, int64_t run, int64_t span);     /* queued */
/* state 0: any. due: RETRY rows due until then; 0: all. limit 0: all. */
int ah_store_exceptions(struct ah_store *s, int64_t dest, enum ah_except_state state, int64_t due, int limit,
                        int (*fn)(void *arg, const struct ah_store_except *e), void *arg,
                        struct ah_error *err);
/* The exception of one span: its state, or 0. Sees what was committed. */
enum ah_except_state ah_store_exception_of(struct ah_store *s, int64_t dest, int64_t run, int64_t span);

/* How many spans still have to reach dest: ended after the position, in open batches, or RETRY.
 * PARKED ones are counted apart. */
struct ah_store_waiting {
    int64_t spans, parked;
};
int ah_store_waiting(struct ah_store *s, int64_t dest, struct ah_store_waiting *out, struct ah_error *err);

enum ah_delivery { AH_SENT_LOCAL, AH_SENT_WAITING, AH_SENT_ALL, AH_SENT_PARKED };
/* How far the sending of a run got: nowhere to go, some spans wait, all arrived, some were refused. */
enum ah_delivery ah_store_delivery(struct ah_store *s, const struct ah_store_run *run);
/* `trace push`: gives a run without a destination (or with refused spans) to `where`, all its spans to
 * be sent (the position does not matter). An emulated run: AH_INVALID. Written at once. */
int ah_store_push(struct ah_store *s, int64_t run, const struct ah_store_where *where, const char *project,
                  struct ah_error *err);

/* --- housekeeping ------------------------------------------------------------------------------- */

struct ah_store_gc {
    int64_t older_than; /* wall microseconds: delivered (or local) runs that ended before; 0: by size only */
    int64_t max_bytes;  /* then oldest first until the file holds less; 0: no limit */
    bool undelivered;   /* also runs that still wait */
};
struct ah_store_gc_result {
    int64_t runs, events, blobs;
};
/* Removes ended runs with their events, effects, and texts that nothing names. BUSY: AH_JOURNAL,
 * retryable. */
int ah_store_gc(struct ah_store *s, const struct ah_store_gc *gc, struct ah_store_gc_result *out,
                struct ah_error *err);
/* Ends the open runs of processes that are gone: their open spans, once, at the last event's time.
 * ah_store_open does it; long-lived processes may again. *runs (may be NULL): how many. */
int ah_store_recover(struct ah_store *s, int *runs, struct ah_error *err);

#endif
