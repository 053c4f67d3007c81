/* What of a run may be seen elsewhere, and where it goes: its cleaner, and the destinations that are decided when it
 * ends. Called by trace*.c, and by lua_anonymize.c to set a cleaner. Must never send, and never let a text out of a run
 * with a cleaner that the cleaner did not make. */
#include "limits.h"
#include "trace_put.h"
#include "tracing.h"

#include <stdlib.h>
#include <string.h>

/* So long after its begin a run takes no first cleaner: its root is about to be sent. */
#define CLEANER_MS (AH_TRACE_EARLY_MS - 1000)
#define CLEANER_WAIT_MS 500

/* --- what may be seen ---------------------------------------------------------------------------- */

void ah_trace_unref_cleaner(struct ah_trace_cleaner *c)
{
    if (!c || --c->refs > 0)
        return;
    if (c->call.free_arg)
        c->call.free_arg(c->call.arg);
    free(c);
}

void ah_trace_clean_member(struct ah_run *run, const char *what, const char *json, size_t n,
                           struct ah_buf *to)
{
    struct ah_trace *t = run->trace;
    struct ah_trace_cleaner *c = run->cleaner;
    struct ah_buf given, made;
    if (!json || !n || c->busy)
        return;
    ah_buf_init(&given, AH_TRACE_MASKED_BYTES);
    ah_buf_init(&made, AH_TRACE_MASKED_BYTES);
    const char *p = ah_trace_mask(t, json, &n);
    ah_buf_add(&given, p, n);
    c->busy = true;
    int rc = c->call.fn(c->call.arg, what, ah_buf_str(&given), given.n, &made);
    c->busy = false;
    if (rc == 0 && !given.failed && !made.failed &&
        ah_json_check(ah_buf_str(&made), made.n, 0, NULL, NULL) == 0) {
        ah_buf_adds(to, to->n ? "," : "");
        ah_json_quote(to, what, strlen(what));
        ah_buf_addc(to, ':');
        ah_buf_add(to, made.p, made.n);
    }
    ah_buf_drop(&given);
    ah_buf_drop(&made);
}

void ah_trace_put_clean(struct ah_run *run, const struct ah_buf *members)
{
    if (!run->cleaner)
        return;
    ah_store_puts(run->trace->store, ",\"clean\":");
    ah_trace_put_object(run->trace, members);
}

/* Whether a sender may have taken something of it: what has ended at once, what is open after a while. */
static bool may_be_sent(const struct ah_run *run)
{
    return run->shown || ah_clock_mono_us() - run->began_us > CLEANER_MS * 1000;
}

/* From now on it has no destination, until it ends at least. */
static void hold_back(struct ah_run *run)
{
    if (run->sends)
        ah_store_run_local(run->trace->store, run->key);
    run->sends = false;
    ah_trace_write_late(run);
}

int ah_run_set_cleaner(struct ah_run *run, const struct ah_run_cleaner *cleaner, struct ah_error *err)
{
    if (run->ended)
        return ah_err_set(err, AH_INVALID, "the run has ended");
    if (!run->cleaner && may_be_sent(run))
        return ah_err_set(
            err, AH_INVALID,
            "the anonymizer comes too late: what this run has done may have been sent without it. Set it "
            "before the run's first span ends and in its first seconds, or hide texts from the start "
            "with LANGSMITH_HIDE_INPUTS and LANGSMITH_HIDE_OUTPUTS");
    struct ah_trace_cleaner *c = calloc(1, sizeof *c);
    if (!c)
        return ah_err_set(err, AH_MEMORY, "no memory for an anonymizer");
    *c = (struct ah_trace_cleaner){.refs = 1, .call = *cleaner};
    ah_trace_unref_cleaner(run->cleaner);
    run->cleaner = c;
    hold_back(run);
    ah_store_flush_wait(run->trace->store,
                        CLEANER_WAIT_MS); /* before a sender thinks that it is open for long */
    return 0;
}

/* --- where it goes ------------------------------------------------------------------------------- */

/* Where the run goes when it has ended, besides where its spans go as they come: what could not be decided before (a
 * failed run that was not sampled), a run with a cleaner, which goes as a whole so that nobody sends what is not clean;
 * and the copies. *first: whether it has no other destination. */
static size_t late_targets(const struct ah_run *run, bool failed,
                           struct ah_tracing_where list[AH_TRACING_TARGETS_COUNT], bool *first)
{
    struct ah_tracing *tracing = run->trace->core->tracing;
    *first = run->cleaner && run->wanted;
    if (run->traced && !run->sampled && failed)
        *first = ah_tracing_keeps_errors(tracing);
    *first &= !run->kept_local;
    if (!run->sends && !*first)
        return 0;
    size_t n = ah_tracing_targets(tracing, true, list);
    if (*first || !n)
        return n;
    memmove(list, list + 1, --n * sizeof *list);
    return n;
}

void ah_trace_send_late(struct ah_run *run, bool failed)
{
    struct ah_tracing_where list[AH_TRACING_TARGETS_COUNT];
    bool first;
    size_t n = late_targets(run, failed, list, &first);
    for (size_t i = 0; i < n; i++)
        ah_store_run_send(run->trace->store, run->key,
                          &(struct ah_store_where){list[i].dest, list[i].workspace, list[i].emulated});
    run->sends |= first && n > 0;
}

/* The same for who finds the run if this process dies; an emulated one goes to no other process. */
void ah_trace_write_late(struct ah_run *run)
{
    struct ah_store *store = run->trace->store;
    struct ah_tracing_where list[AH_TRACING_TARGETS_COUNT];
    bool first;
    size_t n = run->traced ? late_targets(run, true, list, &first) : 0;
    if (!n && !run->cleaner && !run->kept_local)
        return;
    ah_store_begin(store, run->key, 0, AH_EV_LATE, ah_trace_now(run->trace));
    ah_store_puts(store, run->cleaner ? "{\"clean\":true,\"to\":[" : "{\"clean\":false,\"to\":[");
    for (size_t i = 0; i < n && !list[0].emulated; i++) {
        ah_store_puts(store, i ? ",{\"dest\":" : "{\"dest\":");
        ah_trace_put_text(run->trace, list[i].dest);
        ah_store_puts(store, ",\"workspace\":");
        ah_trace_put_text(run->trace, list[i].workspace);
        ah_store_puts(store, "}");
    }
    ah_store_puts(store, "]}");
    ah_store_end(store);
}

void ah_run_keep_local(struct ah_run *run)
{
    if (run->ended || run->kept_local)
        return;
    run->kept_local = true;
    hold_back(run);
}

bool ah_run_sends(const struct ah_run *run)
{
    return run->sends;
}
