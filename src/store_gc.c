/* Collecting old runs: events, effects, and texts that nothing names any more. Called by `trace gc`, and by
 * store_memory.c when memory is full. Must never delete what waits to be sent (unless told), nor hold a lock for long. */
#include "store_sql.h"

#define GC_ROWS 4096                      /* a transaction of gc */
#define GC_BLOB_AGE_US (3600 * 1000000LL) /* younger texts may still be known to a queue (queue.c: 10 min) */

int64_t ah_store_used_bytes(struct ah_store *s)
{
    int64_t pages = 0, spare = 0, size = 0;
    ah_sql_ask(s->db, "PRAGMA page_count", &pages);
    ah_sql_ask(s->db, "PRAGMA freelist_count", &spare);
    ah_sql_ask(s->db, "PRAGMA page_size", &size);
    return (pages - spare) * size;
}

struct gc_pick {
    struct ah_store *s;
    const struct ah_store_gc *gc;
    int64_t over; /* bytes that must still go for the sake of max_bytes */
    int64_t per_event;
    int64_t runs;
    int rc;
};

/* An emulated run of a process that is gone can reach nobody: it counts as local. */
static bool may_collect(const struct gc_pick *p, const struct ah_store_run *run)
{
    if (run->state == AH_RUN_OPEN)
        return false;
    if (p->gc->undelivered || run->emulated)
        return true;
    enum ah_delivery d = ah_store_delivery(p->s, run);
    return d == AH_SENT_LOCAL || d == AH_SENT_ALL;
}

static int pick_run(void *arg, const struct ah_store_run *run)
{
    struct gc_pick *p = arg;
    bool old = p->gc->older_than > 0 && run->ended < p->gc->older_than;
    if ((!old && p->over <= 0) || !may_collect(p, run))
        return 0;
    p->over -= (run->last_seq - run->first_seq + 1) * p->per_event;
    p->rc =
        ah_sql_once(p->s, ah_sql_prepare(p->s, "INSERT OR IGNORE INTO temp.gone VALUES(?1)", "i", run->key));
    p->runs++;
    return p->rc != SQLITE_OK;
}

/* In slices, so that writers of other processes wait for milliseconds only. The newest row always
 * stays: seqs and blob numbers must never be given twice. */
static int delete_sliced(struct ah_store *s, const char *text, int64_t from, int64_t to, int64_t *deleted)
{
    int rc = SQLITE_OK;
    for (int64_t lo = from; rc == SQLITE_OK && lo < to; lo += GC_ROWS) {
        rc = ah_sql_begin(s);
        int64_t hi = lo + GC_ROWS < to ? lo + GC_ROWS : to;
        if (rc == SQLITE_OK) {
            rc = ah_sql_once(s, ah_sql_prepare(s, text, "ii", lo, hi));
            int64_t n = sqlite3_changes64(s->db);
            rc = ah_sql_end(s, rc);
            *deleted += rc == SQLITE_OK ? n : 0;
        }
    }
    return rc;
}

static int range_of(struct ah_store *s, const char *text, int64_t *lo, int64_t *hi)
{
    *lo = *hi = 0;
    sqlite3_stmt *st = ah_sql_prepare(s, text, "");
    int rc = st ? sqlite3_step(st) : SQLITE_ERROR;
    if (rc == SQLITE_ROW) {
        *lo = sqlite3_column_int64(st, 0);
        *hi = sqlite3_column_int64(st, 1);
    }
    sqlite3_finalize(st);
    return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

/* Fills temp.used with every text that an event names. *horizon: the newest text that only old events
 * could have brought; later ones may be known to some process's queue. */
static int mark_blobs(struct ah_store *s, int64_t *horizon)
{
    int64_t young = ah_clock_wall_us(&s->clock) - GC_BLOB_AGE_US;
    sqlite3_stmt *st = ah_sql_prepare(s, "SELECT kind, at, refs FROM event WHERE length(refs) > 0", "");
    sqlite3_stmt *in = ah_sql_prepare(s, "INSERT OR IGNORE INTO temp.used VALUES(?1)", "");
    int rc = st && in ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    *horizon = 0;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        const unsigned char *p = sqlite3_column_blob(st, 2), *end = p + sqlite3_column_bytes(st, 2);
        if (sqlite3_column_int(st, 0) == AH_EV_SPAN_END)
            ah_sql_get_number(&p, end);
        while (p < end) {
            int64_t n = ah_sql_get_number(&p, end);
            if (sqlite3_column_int64(st, 1) < young && n > *horizon)
                *horizon = n;
            sqlite3_bind_int64(in, 1, n);
            sqlite3_step(in);
            sqlite3_reset(in);
        }
    }
    for (size_t i = 0; in && i < s->q.refs_count; i++) { /* what waits names texts as well */
        if (s->q.refs[i] < 0)
            continue;
        sqlite3_bind_int64(in, 1, s->q.refs[i]);
        sqlite3_step(in);
        sqlite3_reset(in);
    }
    sqlite3_finalize(st);
    sqlite3_finalize(in);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int collect_blobs(struct ah_store *s, int64_t horizon, int64_t *deleted)
{
    int64_t lo = 0, hi = 0, unused;
    int rc = mark_blobs(s, &unused);
    if (rc == SQLITE_OK)
        rc = range_of(s, "SELECT min(n), max(n) FROM blob", &lo, &hi);
    if (rc == SQLITE_OK && horizon < hi)
        hi = horizon + 1;
    if (rc == SQLITE_OK)
        rc = delete_sliced(s,
                           "DELETE FROM blob WHERE n >= ?1 AND n < ?2 AND n NOT IN (SELECT n FROM temp.used)",
                           lo, hi, deleted);
    return rc;
}

static int collect_all(struct ah_store *s, const struct ah_store_gc *gc, struct ah_store_gc_result *out)
{
    int64_t lo, hi, horizon = 0, none = 0, used = ah_store_used_bytes(s);
    int rc = range_of(s, "SELECT min(seq), max(seq) FROM event", &lo, &hi);
    struct gc_pick p = {.s = s, .gc = gc, .per_event = hi > lo ? used / (hi - lo + 1) : used};
    p.over = gc->max_bytes > 0 ? used - gc->max_bytes : 0;
    if (rc == SQLITE_OK)
        rc = mark_blobs(s, &horizon); /* before the old events go: they say how old a text is */
    if (rc == SQLITE_OK &&
        ah_store_each_run(s,
                          ah_sql_prepare(s,
                                         "SELECT " AH_RUN_COLUMNS
                                         " FROM run WHERE NOT EXISTS (SELECT 1 FROM run n WHERE"
                                         " n.key = run.resumed_by AND n.state <> 1) ORDER BY key",
                                         ""),
                          pick_run, &p, NULL) != 0)
        rc = SQLITE_ERROR;
    rc = rc == SQLITE_OK ? p.rc : rc;
    if (rc == SQLITE_OK && p.runs)
        rc = delete_sliced(
            s, "DELETE FROM event WHERE seq >= ?1 AND seq < ?2 AND run IN (SELECT key FROM temp.gone)", lo,
            hi, &out->events);
    /* In memory there is no other process, and room is needed now. */
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(s->db, "DELETE FROM temp.used", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = collect_blobs(s, s->memory ? INT64_MAX - 1 : horizon, &out->blobs);
    if (rc == SQLITE_OK)
        rc = delete_sliced(s, "DELETE FROM effect WHERE run IN (SELECT key FROM temp.gone) AND ?1 < ?2", 0, 1,
                           &none);
    if (rc == SQLITE_OK)
        rc = delete_sliced(s, "DELETE FROM approval WHERE run IN (SELECT key FROM temp.gone) AND ?1 < ?2", 0,
                           1, &none);
    if (rc == SQLITE_OK)
        rc = delete_sliced(s, "DELETE FROM exception WHERE run IN (SELECT key FROM temp.gone) AND ?1 < ?2", 0,
                           1, &none);
    if (rc == SQLITE_OK)
        rc = delete_sliced(s, "DELETE FROM run WHERE key IN (SELECT key FROM temp.gone) AND ?1 < ?2", 0, 1,
                           &out->runs);
    return rc;
}

int ah_store_gc(struct ah_store *s, const struct ah_store_gc *gc, struct ah_store_gc_result *out,
                struct ah_error *err)
{
    struct ah_store_gc_result none = {0};
    out = out ? out : &none;
    *out = none;
    int rc = sqlite3_exec(s->db,
                          "CREATE TEMP TABLE IF NOT EXISTS gone(key INTEGER PRIMARY KEY);"
                          "CREATE TEMP TABLE IF NOT EXISTS used(n INTEGER PRIMARY KEY);"
                          "DELETE FROM temp.gone; DELETE FROM temp.used",
                          NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = collect_all(s, gc, out);
    sqlite3_exec(s->db, "DROP TABLE IF EXISTS temp.gone; DROP TABLE IF EXISTS temp.used", NULL, NULL, NULL);
    if (s->memory)
        ah_queue_forget(&s->q);
    return rc == SQLITE_OK ? 0 : ah_sql_fail(s, err, rc);
}
