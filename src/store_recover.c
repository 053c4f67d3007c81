/* Runs of processes that are gone: their open spans are ended once, at the last event's time, and what was to be sent at
 * their end is sent. Called at opening, and by
 * long-lived processes again. Must never end a run whose process lives. */
#include "json.h"
#include "store_sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The open runs of one dead process, and what is open in them. */
struct crashed {
    struct crashed_run {
        int64_t key, last_at, late; /* late: its AH_EV_LATE, 0 = none */
        bool clean;
    } * runs; /* sorted by key */
    size_t count, cap;
    int64_t first_seq;
    struct ah_openspans open;
};

static size_t find_key(const struct crashed *c, int64_t key)
{
    size_t lo = 0, hi = c->count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (c->runs[mid].key < key)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < c->count && c->runs[lo].key == key ? lo : c->count;
}

static int add_key(struct crashed *c, int64_t key, int64_t started)
{
    if (c->count == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 64;
        struct crashed_run *runs = realloc(c->runs, cap * sizeof *runs);
        if (!runs)
            return SQLITE_NOMEM;
        c->runs = runs;
        c->cap = cap;
    }
    c->runs[c->count++] = (struct crashed_run){.key = key, .last_at = started};
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
        if (at > c->runs[k].last_at)
            c->runs[k].last_at = at;
        if (kind == AH_EV_LATE)
            c->runs[k].late = seq;
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

/* What its last AH_EV_LATE says. */
struct late {
    struct ah_store *s;
    struct crashed_run *run;
    bool sends; /* after the end; before it only `clean` is read */
    int rc;
};

static int take_late(void *arg, const struct ah_store_event *ev)
{
    struct late *l = arg;
    struct ah_json body;
    if (ah_json_check(ev->body, ev->n, 0, &body, NULL) != 0)
        return 1;
    l->run->clean = ah_json_truthy(ah_json_get(body, "clean"));
    for (struct ah_json_iter it = ah_json_iter(ah_json_get(body, "to"));
         l->sends && l->rc == SQLITE_OK && ah_json_next(&it);) {
        char *dest = ah_json_dup(ah_json_get(it.value, "dest"));
        char *workspace = ah_json_dup(ah_json_get(it.value, "workspace"));
        l->rc = dest && workspace
                    ? ah_store_send_run(l->s, l->run->key, &(struct ah_store_where){dest, workspace, false})
                    : SQLITE_NOMEM;
        free(dest);
        free(workspace);
    }
    return 1;
}

static int read_late(struct ah_store *s, struct crashed *c, bool sends)
{
    struct late l = {.s = s, .sends = sends};
    for (size_t k = 0; l.rc == SQLITE_OK && k < c->count; k++) {
        l.run = &c->runs[k];
        if (l.run->late && ah_store_event_at(s, l.run->late, take_late, &l, NULL) != 0)
            l.rc = SQLITE_ERROR;
    }
    return l.rc;
}

static int end_spans(struct ah_store *s, struct crashed *c)
{
    int rc = ah_sql_int(s, &s->last_seq, 0, S_MAX_SEQ, "");
    if (c->open.cap)
        qsort(c->open.slots, c->open.cap, sizeof *c->open.slots, later_first);
    for (size_t i = 0; rc == SQLITE_OK && i < c->open.cap && c->open.slots[i].seq; i++) {
        const struct ah_openspan *o = &c->open.slots[i];
        const struct crashed_run *run = &c->runs[find_key(c, o->run)];
        int64_t at = run->last_at;
        char iso[AH_CLOCK_ISO_BYTES], body[200];
        ah_clock_iso(at, iso);
        int n = snprintf(body, sizeof body,
                         "{\"end_time\":\"%s\",\"error\":\"Crashed: the process ended before this did\","
                         "\"crashed\":true%s}",
                         iso, run->clean ? ",\"clean\":{}" : "");
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
                   "iii", c->runs[k].key, c->runs[k].last_at, s->last_seq));
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
            rc = read_late(s, &c, false);
        if (rc == SQLITE_OK && c.count)
            rc = end_spans(s, &c);
        if (rc == SQLITE_OK && c.count)
            rc = read_late(s, &c, true);
        rc = ah_sql_end(s, rc);
    }
    if (rc == SQLITE_OK)
        *runs += (int)c.count;
    free(c.runs);
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
