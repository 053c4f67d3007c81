/* What a sender needs of the journal: destinations and their positions, leases, batches whose outcome is not known, and
 * exceptions. Called by lssend_*.c, and by cmd_trace.c for `trace push`. Must never flush by itself: what changes here is
 * written together with what else was queued in the same ready phase. */
#include "store_sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCAN_ROWS 20000 /* of one ah_store_read */

#define EVENT_FN int (*fn)(void *, const struct ah_store_event *)

int ah_store_dests(struct ah_store *s, int (*fn)(void *arg, const struct ah_store_dest *d), void *arg,
                   struct ah_error *err)
{
    sqlite3_stmt *st = ah_sql_prepare(s,
                                      "SELECT n, endpoint, workspace, emulator, position, lease FROM dest"
                                      " WHERE emulator IN ('', ?1) ORDER BY n",
                                      "t", s->live.id);
    int rc = st ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    s->reading++;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct ah_store_dest d = {.dest = sqlite3_column_int64(st, 0),
                                  .endpoint = ah_sql_text(st, 1),
                                  .workspace = ah_sql_text(st, 2),
                                  .emulated = *ah_sql_text(st, 3) != '\0',
                                  .position = sqlite3_column_int64(st, 4),
                                  .mine = strcmp(ah_sql_text(st, 5), s->live.id) == 0};
        if (fn(arg, &d) != 0)
            rc = SQLITE_DONE;
    }
    s->reading--;
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? 0 : ah_sql_fail(s, err, rc);
}

int64_t ah_store_dest_find(struct ah_store *s, const struct ah_store_where *where)
{
    int64_t dest;
    ah_sql_int(s, &dest, 0, S_DEST_FIND, "ttt", where->endpoint, where->workspace,
               where->emulated ? s->live.id : "");
    return dest;
}

bool ah_store_is_free(struct ah_store *s, const char *owner)
{
    if (!*owner || strcmp(owner, s->live.id) == 0 || s->memory)
        return true;
    int fd = ah_live_seize(&s->live, owner);
    if (fd < 0)
        return false;
    ah_live_bury(&s->live, owner, fd);
    return true;
}

int ah_store_lease(struct ah_store *s, int64_t dest, bool *got, struct ah_error *err)
{
    char owner[AH_UUID_BYTES] = "";
    *got = false;
    int rc = ah_sql_begin(s);
    if (ah_sql_is_busy(rc))
        return 0;
    sqlite3_stmt *st = rc == SQLITE_OK ? ah_sql_take(s, S_LEASE) : NULL;
    if (st) {
        sqlite3_bind_int64(st, 1, dest);
        if (sqlite3_step(st) == SQLITE_ROW) {
            snprintf(owner, sizeof owner, "%s", ah_sql_text(st, 0));
            ah_sql_give(s, S_LEASE, st);
            *got = ah_store_is_free(s, owner);
        } else {
            ah_sql_give(s, S_LEASE, st);
        }
    }
    if (*got)
        rc = ah_sql_do(s, S_LEASE_SET, "it", dest, s->live.id);
    rc = ah_sql_end(s, rc);
    if (rc != SQLITE_OK)
        *got = false;
    s->leases |= *got;
    return rc == SQLITE_OK || ah_sql_is_busy(rc) ? 0 : ah_sql_fail(s, err, rc);
}

static int queue_ints(struct ah_store *s, enum ah_store_change type, int64_t a, int64_t b, int64_t c)
{
    struct ah_queued *op = ah_queue_add(&s->q, (int)type, 0, NULL);
    if (op) {
        op->i[0] = a;
        op->i[1] = b;
        op->i[2] = c;
    }
    return ah_store_queued(s, op);
}

int ah_store_lease_drop(struct ah_store *s, int64_t dest)
{
    return queue_ints(s, Q_LEASE_OUT, dest, 0, 0);
}

int ah_store_advance(struct ah_store *s, int64_t dest, int64_t position)
{
    return queue_ints(s, Q_ADVANCE, dest, position, 0);
}

/* Where a run's spans go, remembered: a scan asks for every row. Pushed runs go by exceptions only. */
static const struct ah_run_where *where_of(struct ah_store *s, int64_t key)
{
    struct ah_run_where *w = ah_store_where_slot(s, key);
    if (w->key == key)
        return w;
    sqlite3_stmt *st = ah_sql_take(s, S_RUN_WHERE);
    if (!st)
        return NULL;
    sqlite3_bind_int64(st, 1, key);
    free(w->project);
    *w = (struct ah_run_where){0};
    if (sqlite3_step(st) == SQLITE_ROW) {
        w->key = key;
        w->dest = sqlite3_column_int(st, 1) ? 0 : sqlite3_column_int64(st, 0);
        w->project = strdup(ah_sql_text(st, 2));
    }
    ah_sql_give(s, S_RUN_WHERE, st);
    return w;
}

bool ah_store_goes_to(struct ah_store *s, int64_t run, int64_t dest)
{
    ah_store_where_slot(s, run)->key = 0; /* another process may have changed it */
    const struct ah_run_where *w = where_of(s, run);
    return w && w->dest == dest;
}

int ah_store_read(struct ah_store *s, int64_t dest, int64_t after, int max_events, size_t max_bytes, EVENT_FN,
                  void *arg, int64_t *scanned, bool *more, struct ah_error *err)
{
    struct ah_buf body;
    ah_buf_init(&body, AH_STORE_BODY_BYTES);
    int events = 0, rows = 0;
    size_t bytes = 0;
    *scanned = after;
    *more = false;
    ah_store_forget_where(s);
    sqlite3_stmt *st = ah_sql_take(s, S_SCAN);
    int rc = st ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    if (st)
        sqlite3_bind_int64(st, 1, after);
    s->reading++;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        if (events >= max_events || bytes >= max_bytes || rows++ >= SCAN_ROWS) {
            *more = true;
            rc = SQLITE_DONE;
            break;
        }
        int kind = sqlite3_column_int(st, 3);
        const struct ah_run_where *w = where_of(s, sqlite3_column_int64(st, 1));
        if ((kind == AH_EV_SPAN_START || kind == AH_EV_SPAN_END) && w && w->dest == dest) {
            struct ah_store_event ev;
            if (ah_store_read_event(s, st, &body, &ev) != 0) {
                rc = body.failed ? SQLITE_NOMEM : SQLITE_CORRUPT;
                break;
            }
            ev.project = w->project ? w->project : "";
            events++;
            bytes += ev.n;
            if (fn(arg, &ev) != 0) {
                *more = true;
                rc = SQLITE_DONE;
                break;
            }
        }
        *scanned = sqlite3_column_int64(st, 0);
    }
    s->reading--;
    ah_sql_give(s, S_SCAN, st);
    ah_buf_drop(&body);
    return rc == SQLITE_DONE ? 0 : ah_sql_fail(s, err, rc);
}

/* `patch` and `cut` in one number. */
static int64_t pack_flags(const struct ah_store_item *item)
{
    return (int64_t)item->patch | (int64_t)item->cut << 1;
}

static void read_flags(struct ah_store_item *item, int64_t flags)
{
    item->patch = flags & 1;
    item->cut = (int)(flags >> 1);
}

static void put_items(struct ah_buf *to, const struct ah_store_item *items, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        ah_sql_put_number(to, items[k].run);
        ah_sql_put_number(to, items[k].span);
        ah_sql_put_number(to, items[k].start_seq);
        ah_sql_put_number(to, items[k].end_seq);
        ah_sql_put_number(to, pack_flags(&items[k]));
    }
}

/* malloc'd; at most n / 5 items. */
static struct ah_store_item *get_items(const unsigned char *p, size_t n, size_t *count)
{
    const unsigned char *end = p + n;
    struct ah_store_item *items = calloc(n / 5 + 1, sizeof *items);
    for (*count = 0; items && p < end && *count < n / 5; ++*count) {
        struct ah_store_item *item = &items[*count];
        item->run = ah_sql_get_number(&p, end);
        item->span = ah_sql_get_number(&p, end);
        item->start_seq = ah_sql_get_number(&p, end);
        item->end_seq = ah_sql_get_number(&p, end);
        read_flags(item, ah_sql_get_number(&p, end));
    }
    return items;
}

int ah_store_batch_save(struct ah_store *s, const struct ah_store_batch *b)
{
    struct ah_buf items;
    ah_buf_init(&items, AH_STORE_BODY_BYTES);
    put_items(&items, b->items, b->count);
    struct ah_queued *op = items.failed ? NULL : ah_queue_add_bytes(&s->q, Q_BATCH_IN, items.p, items.n);
    ah_buf_drop(&items);
    if (op) {
        int64_t i[] = {b->id, b->dest, b->attempts, b->created};
        memcpy(op->i, i, sizeof i);
    }
    return ah_store_queued(s, op);
}

int ah_store_batch_drop(struct ah_store *s, int64_t id)
{
    return queue_ints(s, Q_BATCH_OUT, id, 0, 0);
}

int ah_store_batches(struct ah_store *s, int64_t dest, int (*fn)(void *arg, const struct ah_store_batch *b),
                     void *arg, struct ah_error *err)
{
    sqlite3_stmt *st = ah_sql_prepare(
        s, "SELECT id, dest, attempts, created, items FROM batch WHERE dest = ?1 ORDER BY id", "i", dest);
    int rc = st ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    s->reading++;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct ah_store_batch b = {.id = sqlite3_column_int64(st, 0),
                                   .dest = sqlite3_column_int64(st, 1),
                                   .attempts = sqlite3_column_int(st, 2),
                                   .created = sqlite3_column_int64(st, 3)};
        b.items = get_items(sqlite3_column_blob(st, 4), (size_t)sqlite3_column_bytes(st, 4), &b.count);
        if (!b.items)
            rc = SQLITE_NOMEM;
        else if (fn(arg, &b) != 0)
            rc = SQLITE_DONE;
        free(b.items);
    }
    s->reading--;
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? 0 : ah_sql_fail(s, err, rc);
}

int ah_store_set_exception(struct ah_store *s, int64_t dest, const struct ah_store_except *e)
{
    struct ah_queued *op = ah_queue_add(&s->q, Q_EXCEPT_IN, 1, &e->reason);
    if (op) {
        int64_t i[] = {dest,
                       e->item.run,
                       e->item.span,
                       e->state,
                       e->item.start_seq,
                       e->item.end_seq,
                       pack_flags(&e->item),
                       e->due};
        memcpy(op->i, i, sizeof i);
    }
    return ah_store_queued(s, op);
}

int ah_store_clear_exception(struct ah_store *s, int64_t dest, int64_t run, int64_t span)
{
    return queue_ints(s, Q_EXCEPT_OUT, dest, run, span);
}

int ah_store_exceptions(struct ah_store *s, int64_t dest, enum ah_except_state state, int64_t due, int limit,
                        int (*fn)(void *arg, const struct ah_store_except *e), void *arg,
                        struct ah_error *err)
{
    sqlite3_stmt *st =
        ah_sql_prepare(s,
                       "SELECT run, span, start_seq, end_seq, patch, state, due, reason FROM exception"
                       " WHERE dest = ?1 AND (?2 = 0 OR state = ?2) AND (?3 = 0 OR state <> 2 OR due <= ?3)"
                       " ORDER BY start_seq LIMIT ?4",
                       "iiii", dest, (int64_t)state, due, (int64_t)(limit > 0 ? limit : -1));
    int rc = st ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    s->reading++;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct ah_store_except e = {.item = {.run = sqlite3_column_int64(st, 0),
                                             .span = sqlite3_column_int64(st, 1),
                                             .start_seq = sqlite3_column_int64(st, 2),
                                             .end_seq = sqlite3_column_int64(st, 3)},
                                    .state = (enum ah_except_state)sqlite3_column_int(st, 5),
                                    .due = sqlite3_column_int64(st, 6),
                                    .reason = ah_sql_text(st, 7)};
        read_flags(&e.item, sqlite3_column_int64(st, 4));
        if (fn(arg, &e) != 0)
            rc = SQLITE_DONE;
    }
    s->reading--;
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? 0 : ah_sql_fail(s, err, rc);
}

enum ah_except_state ah_store_exception_of(struct ah_store *s, int64_t dest, int64_t run, int64_t span)
{
    int64_t state;
    ah_sql_int(s, &state, 0, S_EXCEPT, "iii", dest, run, span);
    return (enum ah_except_state)state;
}

static int count_items(void *arg, const struct ah_store_batch *b)
{
    *(int64_t *)arg += (int64_t)b->count;
    return 0;
}

static int count_rows(struct ah_store *s, int64_t *out, const char *text, int64_t dest)
{
    sqlite3_stmt *st = ah_sql_prepare(s, text, "i", dest);
    int rc = st ? sqlite3_step(st) : sqlite3_extended_errcode(s->db);
    if (rc == SQLITE_ROW)
        *out += sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return rc == SQLITE_ROW ? 0 : rc;
}

int ah_store_waiting(struct ah_store *s, int64_t dest, struct ah_store_waiting *out, struct ah_error *err)
{
    *out = (struct ah_store_waiting){0};
    int rc = count_rows(
        s, &out->spans,
        "SELECT count(*) FROM event e JOIN run r ON r.key = e.run WHERE e.seq >"
        " (SELECT position FROM dest WHERE n = ?1) AND e.kind = 2 AND r.dest = ?1 AND r.pushed = 0",
        dest);
    if (!rc)
        rc = count_rows(s, &out->spans, "SELECT count(*) FROM exception WHERE dest = ?1 AND state = 2", dest);
    if (!rc)
        rc =
            count_rows(s, &out->parked, "SELECT count(*) FROM exception WHERE dest = ?1 AND state = 3", dest);
    return rc ? ah_sql_fail(s, err, rc) : ah_store_batches(s, dest, count_items, &out->spans, err);
}

struct search {
    int64_t run;
    bool found;
};

static int search_batch(void *arg, const struct ah_store_batch *b)
{
    struct search *x = arg;
    for (size_t k = 0; k < b->count; k++)
        x->found |= b->items[k].run == x->run;
    return x->found;
}

enum ah_delivery ah_store_delivery(struct ah_store *s, const struct ah_store_run *run)
{
    int64_t parked = 0, others = 0, position = 0, pushed = 0;
    if (!run->dest || !run->traced)
        return AH_SENT_LOCAL;
    sqlite3_stmt *st =
        ah_sql_prepare(s,
                       "SELECT position, (SELECT pushed FROM run WHERE key = ?2),"
                       " (SELECT count(*) FROM exception WHERE dest = ?1 AND run = ?2 AND state = 3),"
                       " (SELECT count(*) FROM exception WHERE dest = ?1 AND run = ?2 AND state < 3)"
                       " FROM dest WHERE n = ?1",
                       "ii", run->dest, run->key);
    if (st && sqlite3_step(st) == SQLITE_ROW) {
        position = sqlite3_column_int64(st, 0);
        pushed = sqlite3_column_int64(st, 1);
        parked = sqlite3_column_int64(st, 2);
        others = sqlite3_column_int64(st, 3);
    }
    sqlite3_finalize(st);
    struct search x = {run->key, false};
    if (!others && (run->state != AH_RUN_OPEN))
        ah_store_batches(s, run->dest, search_batch, &x, NULL);
    if (run->state == AH_RUN_OPEN || others || x.found || (!pushed && position < run->last_seq))
        return AH_SENT_WAITING;
    return parked ? AH_SENT_PARKED : AH_SENT_ALL;
}

struct pushing {
    struct ah_store *s;
    int64_t dest;
    int rc;
};

static int push_event(void *arg, const struct ah_store_event *ev)
{
    struct pushing *p = arg;
    if (ev->kind == AH_EV_SPAN_END && p->rc == SQLITE_OK)
        p->rc = ah_sql_do(p->s, S_EXCEPT_IN, "iiiiiiiit", p->dest, ev->run, ev->span,
                          (int64_t)AH_EXCEPT_RETRY, ev->start_seq, ev->seq, (int64_t)0, (int64_t)0, "");
    return p->rc != SQLITE_OK;
}

/* All that ended of a run is to be sent to `where`. */
static int retry_spans(struct ah_store *s, int64_t run, const struct ah_store_where *where, int64_t *dest)
{
    struct pushing p = {s, 0, SQLITE_OK};
    int rc = ah_sql_int(s, &s->last_seq, 0, S_MAX_SEQ, "");
    if (rc == SQLITE_OK)
        rc = ah_store_need_dest(s, where->endpoint, where->workspace ? where->workspace : "", where->emulated,
                                &p.dest);
    if (rc == SQLITE_OK && ah_store_run_events(s, run, push_event, &p, NULL) != 0)
        rc = SQLITE_ERROR;
    *dest = p.dest;
    return rc == SQLITE_OK ? p.rc : rc;
}

/* A run that never had a destination gets one; one that has keeps it and its refused spans go again. */
static int push_spans(struct ah_store *s, int64_t run, int64_t had, const struct ah_store_where *where,
                      const char *project)
{
    int64_t dest;
    if (had)
        return ah_sql_once(
            s, ah_sql_prepare(
                   s, "UPDATE exception SET state = 2, due = 0 WHERE dest = ?1 AND run = ?2 AND state = 3",
                   "ii", had, run));
    int rc = retry_spans(s, run, where, &dest);
    if (rc != SQLITE_OK)
        return rc;
    return ah_sql_once(s,
                       ah_sql_prepare(s,
                                      "UPDATE run SET dest = ?2, pushed = 1,"
                                      " project = CASE WHEN ?3 = '' THEN project ELSE ?3 END WHERE key = ?1",
                                      "iit", run, dest, project));
}

int ah_store_send_run(struct ah_store *s, int64_t run, const struct ah_store_where *where)
{
    int64_t dest;
    int rc = retry_spans(s, run, where, &dest);
    if (rc == SQLITE_OK)
        rc = ah_sql_once(s,
                         ah_sql_prepare(s, "UPDATE run SET dest = ?2, pushed = 1 WHERE key = ?1 AND dest = 0",
                                        "ii", run, dest));
    ah_store_where_slot(s, run)->key = 0;
    s->stats.pushed++;
    return rc;
}

int ah_store_push(struct ah_store *s, int64_t run, const struct ah_store_where *where, const char *project,
                  struct ah_error *err)
{
    int64_t state = -1, emulated = 0, had = 0;
    sqlite3_stmt *st = ah_sql_prepare(s, "SELECT state, emulated, dest FROM run WHERE key = ?1", "i", run);
    if (st && sqlite3_step(st) == SQLITE_ROW) {
        state = sqlite3_column_int64(st, 0);
        emulated = sqlite3_column_int64(st, 1);
        had = sqlite3_column_int64(st, 2);
    }
    sqlite3_finalize(st);
    if (state < 0)
        return ah_err_set(err, AH_NOT_FOUND, "no such run in the journal: 'agenthost trace ls' lists them");
    if (state == AH_RUN_OPEN)
        return ah_err_set(err, AH_INVALID, "this run has not ended yet: push it afterwards");
    if (emulated && !where->emulated)
        return ah_err_set(err, AH_INVALID, "this run was emulated: it goes to its emulator and nowhere else");
    if (!had && (!where->endpoint || !*where->endpoint))
        return ah_err_set(err, AH_CONFIG, "no LangSmith to push to: set LANGSMITH_API_KEY");
    sqlite3_busy_timeout(s->db, AH_STORE_WAIT_MS); /* a person waits for this, not a script */
    int rc = ah_sql_begin(s);
    if (rc == SQLITE_OK)
        rc = ah_sql_end(s, push_spans(s, run, had, where, project));
    sqlite3_busy_timeout(s->db, 0);
    ah_store_where_slot(s, run)->key = 0;
    if (rc != SQLITE_OK)
        return ah_sql_fail(s, err, rc);
    if (s->on_commit)
        s->on_commit(s->on_commit_arg, s->last_seq);
    return 0;
}
