/* Runs of processes that are gone: their open spans are ended once, at the last event's time. Called at opening, and by
 * long-lived processes again. Must never end a run whose process lives. */
#include "store_sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The open runs of one dead process, and what is open in them. */
struct crashed {
    int64_t *keys, *last_at; /* sorted by key */
    size_t count, cap;
    int64_t first_seq;
    struct ah_openspans open;
};

static size_t find_key(const struct crashed *c, int64_t key)
{
    size_t lo = 0, hi = c->count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (c->keys[mid] < key)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < c->count && c->keys[lo] == key ? lo : c->count;
}

static int add_key(struct crashed *c, int64_t key, int64_t started)
{
    if (c->count == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 64;
        int64_t *keys = realloc(c->keys, cap * sizeof *keys);
        if (keys)
            c->keys = keys;
        int64_t *at = keys ? realloc(c->last_at, cap * sizeof *at) : NULL;
        if (!at)
            return SQLITE_NOMEM;
        c->last_at = at;
        c->cap = cap;
    }
    c->keys[c->count] = key;
    c->last_at[c->count++] = started;
    return SQLITE_OK;
}

static int collect_runs(struct ah_store *s, const char *owner, struct crashed *c)
{
    sqlite3_stmt *st = ah_sql_prepare(
        s, "SELECT key, started, first_seq FROM run WHERE owner = ?1 AND state = 0 ORDER BY key", "t", owner);
    int rc = st ? SQLITE_OK : sqlite3_extended_errcode(s->db);
    while (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        int64_t first = sqlite3_column_int64(st, 2);
        if (!c->count || first < c->first_seq)
            c->first_seq = first;
        rc = add_key(c, sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1));
    }
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* One pass over the events since the first of these runs began. */
static int collect_spans(struct ah_store *s, struct crashed *c)
{
    sqlite3_stmt *st = ah_sql_prepare(
        s, "SELECT seq, run, span, kind, at FROM event WHERE seq >= ?1 ORDER BY seq", "i", c->first_seq);
    int rc = st ? SQLITE_OK : sqlite3_extended_errcode(s->db);
    while (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        int64_t seq = sqlite3_column_int64(st, 0), run = sqlite3_column_int64(st, 1);
        int64_t span = sqlite3_column_int64(st, 2), at = sqlite3_column_int64(st, 4);
        int kind = sqlite3_column_int(st, 3);
        size_t k = find_key(c, run);
        rc = SQLITE_OK;
        if (k == c->count)
            continue;
        if (at > c->last_at[k])
            c->last_at[k] = at;
        if (kind == AH_EV_SPAN_START && ah_openspan_add(&c->open, run, span, seq, at) != 0)
            rc = SQLITE_NOMEM;
        else if (kind == AH_EV_SPAN_END)
            ah_openspan_remove(&c->open, run, span);
    }
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Children before parents: they started later. */
static int later_first(const void *a, const void *b)
{
    int64_t x = ((const struct ah_openspan *)a)->seq, y = ((const struct ah_openspan *)b)->seq;
    return x < y ? 1 : x > y ? -1 : 0;
}

static int end_spans(struct ah_store *s, struct crashed *c)
{
    int rc = ah_sql_int(s, &s->last_seq, 0, S_MAX_SEQ, "");
    if (c->open.cap)
        qsort(c->open.slots, c->open.cap, sizeof *c->open.slots, later_first);
    for (size_t i = 0; rc == SQLITE_OK && i < c->open.cap && c->open.slots[i].seq; i++) {
        const struct ah_openspan *o = &c->open.slots[i];
        int64_t at = c->last_at[find_key(c, o->run)];
        char iso[AH_CLOCK_ISO_BYTES], body[200];
        ah_clock_iso(at, iso);
        int n = snprintf(body, sizeof body,
                         "{\"end_time\":\"%s\",\"error\":\"Crashed: the process ended before this did\","
                         "\"crashed\":true}",
                         iso);
        ah_buf_clear(&s->refs);
        ah_sql_put_number(&s->refs, o->seq);
        rc = ah_sql_do(s, S_EVENT_AT, "iiiiixb", ++s->last_seq, o->run, o->span, (int64_t)AH_EV_SPAN_END, at,
                       body, (size_t)n, s->refs.p, s->refs.n);
    }
    for (size_t k = 0; rc == SQLITE_OK && k < c->count; k++)
        rc = ah_sql_once(
            s, ah_sql_prepare(
                   s,
                   "UPDATE run SET state = 3, ended = ?2, last_seq = ?3,"
                   " error = 'Crashed: the process ended before this did' WHERE key = ?1 AND state = 0",
                   "iii", c->keys[k], c->last_at[k], s->last_seq));
    return rc;
}

/* In one transaction, so that two who find the same dead process end its runs once. */
static int end_crashed(struct ah_store *s, const char *owner, int *runs)
{
    struct crashed c = {0};
    int rc = ah_sql_begin(s);
    if (rc == SQLITE_OK) {
        rc = collect_runs(s, owner, &c);
        if (rc == SQLITE_OK && c.count)
            rc = collect_spans(s, &c);
        if (rc == SQLITE_OK && c.count)
            rc = end_spans(s, &c);
        rc = ah_sql_end(s, rc);
    }
    if (rc == SQLITE_OK)
        *runs += (int)c.count;
    free(c.keys);
    free(c.last_at);
    free(c.open.slots);
    return rc;
}

/* Owners of open runs, this process apart: at most `max`. */
static int list_owners(struct ah_store *s, char (*owners)[AH_UUID_BYTES], int max)
{
    int count = 0;
    sqlite3_stmt *st =
        ah_sql_prepare(s, "SELECT DISTINCT owner FROM run WHERE state = 0 AND owner <> ?1", "t", s->live.id);
    while (st && count < max && sqlite3_step(st) == SQLITE_ROW)
        snprintf(owners[count++], AH_UUID_BYTES, "%s", ah_sql_text(st, 0));
    sqlite3_finalize(st);
    return count;
}

int ah_store_recover(struct ah_store *s, int *runs, struct ah_error *err)
{
    enum { MAX_OWNERS = 256 };
    int ended = 0, rc = SQLITE_OK;
    char(*owners)[AH_UUID_BYTES] = s->memory ? NULL : calloc(MAX_OWNERS, sizeof *owners);
    int count = owners ? list_owners(s, owners, MAX_OWNERS) : 0;
    for (int i = 0; i < count && rc == SQLITE_OK; i++) {
        int fd = ah_live_seize(&s->live, owners[i]);
        if (fd < 0)
            continue;
        rc = end_crashed(s, owners[i], &ended);
        if (rc == SQLITE_OK)
            ah_live_bury(&s->live, owners[i], fd);
        else
            close(fd);
    }
    free(owners);
    if (runs)
        *runs = ended;
    return rc == SQLITE_OK ? 0 : ah_sql_fail(s, err, rc);
}
