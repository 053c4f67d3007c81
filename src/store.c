/* The journal in SQLite: its queue and the commit. trace*.c write through it; the other halves are store_open.c,
 * store_sql.c, store_checkpoint.c, store_memory.c, store_read.c, store_send.c, store_recover.c and store_gc.c.
 *
 * Must never wait for a lock while the loop runs (but for BACKLOG_MS, see there), never hold a transaction open across a return (but
 * for callbacks of reads), and never lose what is queued because the file is busy or broken: then the
 * same schema lives in memory. */
#include "fault.h"
#include "limits.h"
#include "store_sql.h"

#include <string.h>
#include <unistd.h>

/* A script that says so much without waiting, while the file is locked, is slowed down: memory stays small, and less
 * is lost if the process dies. */
#define BACKLOG_BYTES ((size_t)2 << 20)
#define BACKLOG_MS 20
#define GIVE_UP_US (30 * 1000000LL) /* locked that long is locked for good */

/* --- the commit */

/* Rows go in groups: a statement for each costs SQLite more than the row. */
static size_t group_of(size_t rows)
{
    return rows >= AH_SQL_GROUP_COUNT ? AH_SQL_GROUP_COUNT : 1;
}

static int write_blob_group(struct ah_store *s, struct ah_queued_blob *b, size_t count)
{
    enum ah_sql id = count > 1 ? S_BLOBS_IN : S_BLOB_IN;
    sqlite3_stmt *st = ah_sql_take(s, id);
    for (size_t i = 0; st && i < count; i++, b++) {
        b->row = ++s->last_blob;
        sqlite3_bind_text64(st, (int)i + 1, s->q.texts.p + b->at, b->n, SQLITE_STATIC, SQLITE_UTF8);
    }
    return ah_sql_step(s, id, st);
}

static int write_blobs(struct ah_store *s)
{
    int rc = ah_sql_int(s, &s->last_blob, 0, S_MAX_BLOB, "");
    for (size_t i = 0, n; rc == SQLITE_OK && i < s->q.blobs_count; i += n) {
        n = group_of(s->q.blobs_count - i);
        rc = write_blob_group(s, &s->q.blobs[i], n);
    }
    return rc;
}

/* refs of a row: of an end first its start's seq, then the texts' numbers. */
static void add_refs(struct ah_store *s, const struct ah_queued *op, int64_t start)
{
    if (op->i[2] == AH_EV_SPAN_END)
        ah_sql_put_number(&s->refs, start);
    for (size_t k = 0; k < op->refs_count; k++) {
        int64_t ref = s->q.refs[op->refs + k];
        ah_sql_put_number(&s->refs, ref > 0 ? ref : s->q.blobs[-1 - ref].row);
    }
}

/* Gives the event its number. */
static int number_event(struct ah_store *s, const struct ah_queued *op)
{
    int64_t seq = ++s->last_seq, start = 0;
    if (op->i[2] == AH_EV_SPAN_START && ah_openspan_add(&s->open, op->i[0], op->i[1], seq, op->i[3]) != 0)
        return SQLITE_NOMEM;
    if (op->i[2] == AH_EV_SPAN_END)
        start = ah_openspan_seq(&s->open, op->i[0], op->i[1]);
    add_refs(s, op, start);
    return s->refs.failed ? SQLITE_NOMEM : SQLITE_OK;
}

static void bind_event(struct ah_store *s, sqlite3_stmt *st, int k, const struct ah_queued *op,
                       const char *refs, size_t refs_n)
{
    for (int i = 0; i < 4; i++)
        sqlite3_bind_int64(st, k++, op->i[i]);
    sqlite3_bind_text64(st, k++, s->q.bytes.p + op->at, op->n, SQLITE_STATIC, SQLITE_UTF8);
    sqlite3_bind_blob64(st, k, refs, refs_n, SQLITE_STATIC);
}

static int write_event_group(struct ah_store *s, const struct ah_queued *op, size_t count)
{
    enum ah_sql id = count > 1 ? S_EVENTS_IN : S_EVENT_IN;
    size_t ends[AH_SQL_GROUP_COUNT];
    int rc = SQLITE_OK;
    ah_buf_clear(&s->refs);
    for (size_t i = 0; rc == SQLITE_OK && i < count; i++) {
        rc = number_event(s, &op[i]);
        ends[i] = s->refs.n;
    }
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_stmt *st = ah_sql_take(s, id);
    const char *refs = ah_buf_str(&s->refs);
    for (size_t i = 0, from = 0; st && i < count; from = ends[i++])
        bind_event(s, st, (int)i * 6 + 1, &op[i], refs + from, ends[i] - from);
    return ah_sql_step(s, id, st);
}

static int write_events(struct ah_store *s, const struct ah_queued *op, size_t count)
{
    int rc = SQLITE_OK;
    for (size_t i = 0, n; rc == SQLITE_OK && i < count; i += n) {
        n = group_of(count - i);
        rc = write_event_group(s, op + i, n);
    }
    return rc;
}

struct ah_run_where *ah_store_where_slot(struct ah_store *s, int64_t key)
{
    return &s->cache[((uint64_t)key * 0x9e3779b97f4a7c15u) >> 56];
}

void ah_store_forget_where(struct ah_store *s)
{
    for (size_t i = 0; i < AH_STORE_RUN_CACHE; i++)
        s->cache[i].key = 0;
}

int ah_store_need_dest(struct ah_store *s, const char *endpoint, const char *workspace, bool emulated,
                       int64_t *dest)
{
    const char *emulator = emulated ? s->live.id : "";
    *dest = 0;
    if (!*endpoint)
        return SQLITE_OK;
    int rc = ah_sql_int(s, dest, 0, S_DEST_FIND, "ttt", endpoint, workspace, emulator);
    if (rc != SQLITE_OK || *dest)
        return rc;
    rc = ah_sql_do(s, S_DEST_IN, "ttti", endpoint, workspace, emulator, s->last_seq);
    *dest = sqlite3_last_insert_rowid(s->db);
    return rc;
}

static int write_run(struct ah_store *s, const struct ah_queued *op)
{
    const char *text[7];
    for (int i = 0; i < 7; i++)
        text[i] = ah_queue_text(&s->q, op, i);
    int64_t dest;
    int rc = ah_store_need_dest(s, text[5], text[6], op->i[3] != 0, &dest);
    if (rc != SQLITE_OK)
        return rc;
    return ah_sql_do(s, S_RUN_IN, "iiiiiitttttt", op->i[0], op->i[1], op->i[2], op->i[3], dest,
                     s->last_seq + 1, text[0], text[1], text[2], text[3], text[4], s->live.id);
}

static int write_op(struct ah_store *s, const struct ah_queued *op)
{
    const int64_t *i = op->i;
    switch ((enum ah_store_change)op->type) {
    case Q_EVENT:
        return write_events(s, op, 1);
    case Q_RUN_BEGIN:
        return write_run(s, op);
    case Q_RUN_END:
        return ah_sql_do(s, S_RUN_END, "iiiiiiiiiidttt", i[0], i[1], i[2], i[3], i[4], i[5], i[6], i[7], i[8],
                         s->last_seq, op->d, ah_queue_text(&s->q, op, 0), ah_queue_text(&s->q, op, 1),
                         ah_queue_text(&s->q, op, 2));
    case Q_RUN_LOCAL:
        ah_store_where_slot(s, i[0])->key = 0;
        return ah_sql_do(s, S_RUN_LOCAL, "i", i[0]);
    case Q_RUN_SEND:
        return ah_store_send_run(
            s, i[0],
            &(struct ah_store_where){ah_queue_text(&s->q, op, 0), ah_queue_text(&s->q, op, 1), i[1] != 0});
    case Q_EFFECT_BEGIN:
        return ah_sql_do(s, S_EFFECT_IN, "iiiiibtt", i[0], i[1], i[2], i[3], s->last_seq + 1,
                         (const char *)&i[4], (size_t)32, ah_queue_text(&s->q, op, 0),
                         ah_queue_text(&s->q, op, 1));
    case Q_EFFECT_END:
        return ah_sql_do(s, S_EFFECT_END, "iiiiiii", i[0], i[1], i[2], i[3], i[4], i[5], s->last_seq + 1);
    case Q_ADVANCE:
        return ah_sql_do(s, S_ADVANCE, "ii", i[0], i[1]);
    case Q_BATCH_IN:
        return ah_sql_do(s, S_BATCH_IN, "iiiib", i[0], i[1], i[2], i[3], s->q.bytes.p + op->at, op->n);
    case Q_BATCH_OUT:
        return ah_sql_do(s, S_BATCH_OUT, "i", i[0]);
    case Q_EXCEPT_IN:
        return ah_sql_do(s, S_EXCEPT_IN, "iiiiiiiit", i[0], i[1], i[2], i[3], i[4], i[5], i[6], i[7],
                         ah_queue_text(&s->q, op, 0));
    case Q_EXCEPT_OUT:
        return ah_sql_do(s, S_EXCEPT_OUT, "iii", i[0], i[1], i[2]);
    case Q_LEASE_OUT:
        return ah_sql_do(s, S_LEASE_OUT, "it", i[0], s->live.id);
    }
    return SQLITE_OK;
}

static size_t events_from(const struct ah_store *s, size_t i)
{
    size_t n = 0;
    while (i + n < s->q.count && s->q.ops[i + n].type == Q_EVENT)
        n++;
    return n;
}

static int write_ops(struct ah_store *s)
{
    int rc = SQLITE_OK;
    for (size_t i = 0, n; rc == SQLITE_OK && i < s->q.count; i += n ? n : 1) {
        n = events_from(s, i);
        rc = n ? write_events(s, &s->q.ops[i], n) : write_op(s, &s->q.ops[i]);
    }
    return rc;
}

static void set_sync(struct ah_store *s, bool full)
{
    if (!s->memory)
        sqlite3_exec(s->db, full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", NULL, NULL,
                     NULL);
}

static int write_queue(struct ah_store *s)
{
    bool full = s->safe_next;
    if (full)
        set_sync(s, true);
    ah_fault_at("begin");
    if (ah_fault_is("full"))
        sqlite3_exec(s->db, "PRAGMA max_page_count = 1", NULL, NULL, NULL); /* no page more than there are */
    int rc = ah_sql_begin(s);
    if (rc == SQLITE_OK) {
        rc = ah_sql_int(s, &s->last_seq, 0, S_MAX_SEQ, "");
        if (rc == SQLITE_OK && s->q.blobs_count)
            rc = write_blobs(s);
        if (rc == SQLITE_OK)
            rc = write_ops(s);
        ah_fault_at("commit");
        if (ah_fault_is("damage"))
            rc = SQLITE_CORRUPT;
        rc = ah_sql_end(s, rc);
        ah_fault_at("committed");
    }
    if (full)
        set_sync(s, false);
    return rc;
}

/* All is written: forget it, and tell. */
static void finish_commit(struct ah_store *s)
{
    for (size_t i = 0; i < s->q.count; i++) {
        const struct ah_queued *op = &s->q.ops[i];
        if (op->type == Q_EVENT && op->i[2] == AH_EV_SPAN_END)
            ah_openspan_remove(&s->open, op->i[0], op->i[1]);
    }
    s->stats.commits++;
    s->stats.full_commits += s->safe_next && !s->memory;
    s->stats.events += s->q.events;
    s->stats.blobs += s->q.blobs_count;
    s->stats.blobs_known = s->q.blobs_known;
    s->stats.queued = 0;
    s->safe_next = false;
    s->busy_us = 0;
    ah_queue_written(&s->q, true);
    ah_store_checkpoint_ask(s);
    if (s->on_commit)
        s->on_commit(s->on_commit_arg, s->last_seq);
}

static void drop_queue(struct ah_store *s)
{
    s->stats.dropped += s->q.events;
    s->stats.queued = 0;
    ah_queue_written(&s->q, false);
}

static void tell_before(struct ah_store *s)
{
    if (!s->before_commit || s->telling || s->reading || s->q.now)
        return;
    s->telling = true; /* what it queues may commit */
    s->before_commit(s->before_commit_arg);
    s->telling = false;
}

enum ah_store_result ah_store_flush(struct ah_store *s)
{
    tell_before(s);
    if (s->q.count == 0)
        return AH_STORE_OK;
    if (s->reading || s->q.now)
        return AH_STORE_BUSY;
    for (int tries = 0; tries < 4; tries++) {
        int rc = write_queue(s);
        if (rc == SQLITE_OK) {
            finish_commit(s);
            return AH_STORE_OK;
        }
        int64_t now = ah_clock_mono_us();
        if (ah_sql_is_busy(rc) || (rc & 0xff) == SQLITE_NOMEM) {
            s->stats.busy++;
            s->busy_us = s->busy_us ? s->busy_us : now;
            if (now - s->busy_us < GIVE_UP_US)
                return AH_STORE_BUSY;
        }
        if (!s->memory ? ah_store_go_memory(s, rc) != 0 : !ah_store_make_room(s))
            break;
    }
    drop_queue(s);
    return AH_STORE_OK;
}

enum ah_store_result ah_store_flush_wait(struct ah_store *s, int64_t ms)
{
    int64_t until = ah_clock_mono_us() + ms * 1000;
    enum ah_store_result r;
    while ((r = ah_store_flush(s)) == AH_STORE_BUSY && !s->reading && ah_clock_mono_us() < until)
        usleep(AH_STORE_RETRY_MS * 1000);
    return r;
}

void ah_store_before_commit(struct ah_store *s, void (*fn)(void *arg), void *arg)
{
    s->before_commit = fn;
    s->before_commit_arg = arg;
}

void ah_store_on_commit(struct ah_store *s, void (*fn)(void *arg, int64_t seq), void *arg)
{
    s->on_commit = fn;
    s->on_commit_arg = arg;
}

/* --- writing */

int64_t ah_store_new_key(struct ah_store *s)
{
    int64_t key = (ah_clock_wall_us(&s->clock) << 11) | (int64_t)(ah_ids_u64(&s->ids) & 2047);
    if (key <= s->last_key)
        key = s->last_key + 1 + (int64_t)(ah_ids_u64(&s->ids) & 255);
    s->last_key = key;
    return key;
}

int ah_store_queued(struct ah_store *s, const struct ah_queued *op)
{
    s->stats.queued = s->q.count;
    return op ? 0 : -1;
}

int ah_store_run_begin(struct ah_store *s, const struct ah_store_run_start *r)
{
    const char *text[7] = {r->id,      r->name,           r->script,         r->identifier,
                           r->project, r->where.endpoint, r->where.workspace};
    struct ah_queued *op = ah_queue_add(&s->q, Q_RUN_BEGIN, 7, text);
    if (op) {
        op->i[0] = r->key;
        op->i[1] = r->at;
        op->i[2] = r->traced;
        op->i[3] = r->where.emulated;
    }
    return ah_store_queued(s, op);
}

int ah_store_run_end(struct ah_store *s, int64_t key, int64_t at, const char *name, const char *identifier,
                     const char *error, bool waits, const struct ah_store_totals *t)
{
    const char *text[3] = {name, identifier, error};
    struct ah_queued *op = ah_queue_add(&s->q, Q_RUN_END, 3, text);
    if (op) {
        int64_t i[] = {key,
                       at,
                       !error  ? AH_RUN_DONE
                       : waits ? AH_RUN_WAITING
                               : AH_RUN_FAILED,
                       t->input_tokens,
                       t->output_tokens,
                       t->model_calls,
                       t->tool_calls,
                       t->errors,
                       t->spans};
        memcpy(op->i, i, sizeof i);
        op->d = t->cost_known ? t->cost : -1;
    }
    return ah_store_queued(s, op);
}

int ah_store_run_local(struct ah_store *s, int64_t key)
{
    struct ah_queued *op = ah_queue_add(&s->q, Q_RUN_LOCAL, 0, NULL);
    if (op)
        op->i[0] = key;
    return ah_store_queued(s, op);
}

int ah_store_run_send(struct ah_store *s, int64_t key, const struct ah_store_where *where)
{
    const char *text[2] = {where->endpoint, where->workspace};
    struct ah_queued *op = ah_queue_add(&s->q, Q_RUN_SEND, 2, text);
    if (op) {
        op->i[0] = key;
        op->i[1] = where->emulated;
    }
    return ah_store_queued(s, op);
}

void ah_store_begin(struct ah_store *s, int64_t run, int64_t span, enum ah_event_kind kind, int64_t at)
{
    if (s->q.events == 0)
        s->queued_us = ah_clock_mono_us();
    struct ah_queued *op = ah_queue_begin(&s->q, Q_EVENT);
    if (!op)
        return;
    op->i[0] = run;
    op->i[1] = span;
    op->i[2] = kind;
    op->i[3] = at;
}

void ah_store_put(struct ah_store *s, const char *p, size_t n)
{
    ah_queue_put(&s->q, p, n);
}

void ah_store_puts(struct ah_store *s, const char *text)
{
    size_t n = strlen(text);
    char *to = ah_queue_room(&s->q, n);
    if (to) {
        memcpy(to, text, n);
        ah_queue_used(&s->q, n);
    }
}

char *ah_store_room(struct ah_store *s, size_t n)
{
    return ah_queue_room(&s->q, n);
}

void ah_store_used(struct ah_store *s, size_t n)
{
    ah_queue_used(&s->q, n);
}

void ah_store_put_str(struct ah_store *s, const char *p, size_t n)
{
    ah_queue_put_str(&s->q, p, n);
}

void ah_store_put_json(struct ah_store *s, const char *p, size_t n)
{
    ah_queue_put_text(&s->q, p, n, AH_BLOB_MIN_BYTES);
}

void ah_store_put_object(struct ah_store *s, const char *p, size_t n)
{
    ah_queue_put_object(&s->q, p, n);
}

int ah_store_end(struct ah_store *s)
{
    int result = ah_queue_end(&s->q);
    s->stats.queued = s->q.count;
    if (result != 0)
        s->stats.dropped++;
    int64_t now = ah_clock_mono_us();
    bool due = s->q.events >= AH_JOURNAL_EVENTS_COUNT || now - s->queued_us >= AH_JOURNAL_AGE_MS * 1000;
    /* While the file is locked the loop's commit tries again; not every event does. */
    if (due && !s->reading && (!s->busy_us || now - s->queued_us >= AH_STORE_RETRY_MS * 1000)) {
        if (ah_store_flush(s) == AH_STORE_BUSY) {
            if (s->q.bytes.n + s->q.texts.n > BACKLOG_BYTES)
                ah_store_flush_wait(s, BACKLOG_MS);
            s->queued_us = ah_clock_mono_us();
        }
    }
    return result;
}

void ah_store_hold(struct ah_store *s)
{
    s->reading++;
}

void ah_store_release(struct ah_store *s)
{
    s->reading--;
}

void ah_store_make_safe(struct ah_store *s)
{
    s->safe_next = true;
}

int ah_store_effect_begin(struct ah_store *s, const struct ah_store_effect *e)
{
    const char *text[2] = {e->kind, e->what};
    struct ah_queued *op = ah_queue_add(&s->q, Q_EFFECT_BEGIN, 2, text);
    if (op) {
        int64_t i[] = {e->run, e->n, e->span, e->cls};
        memcpy(op->i, i, sizeof i);
        memcpy(&op->i[4], e->args_sha256, sizeof e->args_sha256);
    }
    return ah_store_queued(s, op);
}

int ah_store_effect_end(struct ah_store *s, const struct ah_store_effect *e)
{
    struct ah_queued *op = ah_queue_add(&s->q, Q_EFFECT_END, 0, NULL);
    if (op) {
        int64_t i[] = {e->run, e->n, (int64_t)e->issued, (int64_t)e->completed, e->status, e->error};
        memcpy(op->i, i, sizeof i);
    }
    return ah_store_queued(s, op);
}
