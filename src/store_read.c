/* Reading runs, events and effects. Called by tree.c, cmd_trace.c and whoever shows or resumes a run. Must never write,
 * and must survive what callbacks do: they may read and queue. */
#include "store_sql.h"

#include <stdio.h>
#include <string.h>

static int add_blob(struct ah_store *s, int64_t n, struct ah_buf *to)
{
    sqlite3_stmt *st = ah_sql_take(s, S_BLOB);
    if (!st)
        return -1;
    sqlite3_bind_int64(st, 1, n);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        ah_buf_add(to, sqlite3_column_blob(st, 0), (size_t)sqlite3_column_bytes(st, 0));
    else
        ah_buf_adds(to, "null"); /* lost with a damaged page: the rest is still worth reading */
    ah_sql_give(s, S_BLOB, st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : -1;
}

int ah_store_expand(struct ah_store *s, const char *body, size_t n, const unsigned char *refs, size_t refs_n,
                    struct ah_buf *to)
{
    const unsigned char *end = refs ? refs + refs_n : NULL;
    int result = 0;
    while (n > 0) {
        const char *mark = memchr(body, AH_QUEUE_MARK, n);
        size_t before = mark ? (size_t)(mark - body) : n;
        ah_buf_add(to, body, before);
        if (!mark)
            break;
        if (add_blob(s, refs < end ? ah_sql_get_number(&refs, end) : 0, to) != 0)
            result = -1;
        body += before + 1;
        n -= before + 1;
    }
    return to->failed ? -1 : result;
}

int ah_store_read_event(struct ah_store *s, sqlite3_stmt *st, struct ah_buf *body, struct ah_store_event *ev)
{
    *ev = (struct ah_store_event){.seq = sqlite3_column_int64(st, 0),
                                  .run = sqlite3_column_int64(st, 1),
                                  .span = sqlite3_column_int64(st, 2),
                                  .kind = (enum ah_event_kind)sqlite3_column_int(st, 3),
                                  .at = sqlite3_column_int64(st, 4),
                                  .project = ""};
    const unsigned char *refs = sqlite3_column_blob(st, 6);
    const unsigned char *end = refs ? refs + sqlite3_column_bytes(st, 6) : NULL;
    if (ev->kind == AH_EV_SPAN_END && refs)
        ev->start_seq = ah_sql_get_number(&refs, end);
    ah_buf_clear(body);
    const char *p = sqlite3_column_blob(st, 5);
    if (ah_store_expand(s, p, (size_t)sqlite3_column_bytes(st, 5), refs, (size_t)(end - refs), body) != 0)
        return -1;
    ev->body = ah_buf_str(body);
    ev->n = body->n;
    return 0;
}

static void read_run(sqlite3_stmt *st, struct ah_store_run *r)
{
    *r = (struct ah_store_run){.key = sqlite3_column_int64(st, 0),
                               .started = sqlite3_column_int64(st, 1),
                               .ended = sqlite3_column_int64(st, 2),
                               .first_seq = sqlite3_column_int64(st, 3),
                               .last_seq = sqlite3_column_int64(st, 4),
                               .name = ah_sql_text(st, 6),
                               .script = ah_sql_text(st, 7),
                               .identifier = ah_sql_text(st, 8),
                               .project = ah_sql_text(st, 9),
                               .error = ah_sql_text(st, 10),
                               .state = (enum ah_store_run_state)sqlite3_column_int(st, 11),
                               .traced = sqlite3_column_int(st, 12) != 0,
                               .emulated = sqlite3_column_int(st, 13) != 0,
                               .dest = sqlite3_column_int64(st, 14)};
    snprintf(r->id, sizeof r->id, "%s", ah_sql_text(st, 5));
    r->totals = (struct ah_store_totals){.input_tokens = sqlite3_column_int64(st, 15),
                                         .output_tokens = sqlite3_column_int64(st, 16),
                                         .model_calls = sqlite3_column_int64(st, 17),
                                         .tool_calls = sqlite3_column_int64(st, 18),
                                         .errors = sqlite3_column_int64(st, 19),
                                         .spans = sqlite3_column_int64(st, 20),
                                         .cost = sqlite3_column_double(st, 21),
                                         .cost_known = sqlite3_column_type(st, 21) != SQLITE_NULL};
}

#define RUN_FN int (*fn)(void *, const struct ah_store_run *)

int ah_store_each_run(struct ah_store *s, sqlite3_stmt *st, RUN_FN, void *arg, struct ah_error *err)
{
    int rc = st ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    s->reading++;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct ah_store_run r;
        read_run(st, &r);
        if (fn(arg, &r) != 0)
            rc = SQLITE_DONE;
    }
    s->reading--;
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? 0 : ah_sql_fail(s, err, rc);
}

int ah_store_runs(struct ah_store *s, const struct ah_store_filter *filter, RUN_FN, void *arg,
                  struct ah_error *err)
{
    static const struct ah_store_filter all = {0};
    const struct ah_store_filter *f = filter ? filter : &all;
    sqlite3_stmt *st = ah_sql_prepare(
        s,
        "SELECT " AH_RUN_COLUMNS " FROM run WHERE (?1 = 0 OR started >= ?1) AND (?2 = 0 OR started <= ?2)"
        " AND (?3 = 0 OR state >= 2) AND (?4 = '' OR name = ?4) AND (?5 = '' OR project = ?5)"
        " AND (?6 = '' OR identifier = ?6) ORDER BY key DESC LIMIT ?7",
        "iiittti", f->since, f->until, (int64_t)f->failed, f->name, f->project, f->identifier,
        (int64_t)(f->limit > 0 ? f->limit : 50));
    return ah_store_each_run(s, st, fn, arg, err);
}

struct finding {
    RUN_FN;
    void *arg;
    int count;
};

static int count_run(void *arg, const struct ah_store_run *run)
{
    (void)run;
    ((struct finding *)arg)->count++;
    return 0;
}

#define RUN_FIND                                                                                             \
    " FROM run WHERE CASE WHEN ?1 = 'last' THEN key = (SELECT max(key) FROM run)"                            \
    " ELSE id = ?1 OR (length(?1) >= 4 AND (substr(id, 1, length(?1)) = ?1 OR substr(id, -length(?1)) = "    \
    "?1))"                                                                                                   \
    " END LIMIT 2"

int ah_store_run_find(struct ah_store *s, const char *id, RUN_FN, void *arg, struct ah_error *err)
{
    char low[AH_UUID_BYTES + 1] = "";
    for (size_t i = 0; i < AH_UUID_BYTES && id[i]; i++)
        low[i] = id[i] >= 'A' && id[i] <= 'F' ? (char)(id[i] + 32) : id[i];
    struct finding f = {fn, arg, 0};
    if (ah_store_each_run(s, ah_sql_prepare(s, "SELECT " AH_RUN_COLUMNS RUN_FIND, "t", low), count_run, &f,
                          err) != 0)
        return -1;
    if (f.count == 0 && strcmp(id, "last") == 0)
        return ah_err_set(err, AH_NOT_FOUND, "there is no run in the journal yet");
    if (f.count == 0 && strlen(id) < 4)
        return ah_err_set(err, AH_NOT_FOUND,
                          "'%.40s' is too short: give at least four characters of the run's id", id);
    if (f.count == 0)
        return ah_err_set(err, AH_NOT_FOUND, "no run '%.40s' in the journal: 'agenthost trace ls' lists them",
                          id);
    if (f.count > 1)
        return ah_err_set(err, AH_INVALID, "more than one run fits '%.40s': give more of its id", id);
    return ah_store_each_run(s, ah_sql_prepare(s, "SELECT " AH_RUN_COLUMNS RUN_FIND, "t", low), fn, arg, err);
}

int ah_store_run_at(struct ah_store *s, int64_t key, RUN_FN, void *arg, struct ah_error *err)
{
    return ah_store_each_run(
        s, ah_sql_prepare(s, "SELECT " AH_RUN_COLUMNS " FROM run WHERE key = ?1", "i", key), fn, arg, err);
}

#define EVENT_FN int (*fn)(void *, const struct ah_store_event *)

static int each_event(struct ah_store *s, sqlite3_stmt *st, EVENT_FN, void *arg, int *count,
                      struct ah_error *err)
{
    struct ah_buf body;
    ah_buf_init(&body, AH_STORE_BODY_BYTES);
    int rc = st ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    s->reading++;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct ah_store_event ev;
        if (ah_store_read_event(s, st, &body, &ev) != 0)
            rc = body.failed ? SQLITE_NOMEM : SQLITE_CORRUPT;
        else if ((*count)++, fn(arg, &ev) != 0)
            rc = SQLITE_DONE;
    }
    s->reading--;
    ah_buf_drop(&body);
    return rc == SQLITE_DONE ? 0 : ah_sql_fail(s, err, rc);
}

int ah_store_run_events(struct ah_store *s, int64_t key, EVENT_FN, void *arg, struct ah_error *err)
{
    int count = 0;
    sqlite3_stmt *st =
        ah_sql_prepare(s,
                       "SELECT e.seq, e.run, e.span, e.kind, e.at, e.body, e.refs FROM run r JOIN event e"
                       " ON e.seq >= r.first_seq AND (r.last_seq = 0 OR e.seq <= r.last_seq)"
                       " AND e.run = r.key WHERE r.key = ?1 ORDER BY e.seq",
                       "i", key);
    int result = each_event(s, st, fn, arg, &count, err);
    sqlite3_finalize(st);
    return result;
}

int ah_store_event_at(struct ah_store *s, int64_t seq, EVENT_FN, void *arg, struct ah_error *err)
{
    int count = 0;
    sqlite3_stmt *st = ah_sql_take(s, S_EVENT);
    if (st)
        sqlite3_bind_int64(st, 1, seq);
    int result = each_event(s, st, fn, arg, &count, err);
    ah_sql_give(s, S_EVENT, st);
    if (result == 0 && count == 0)
        return ah_err_set(err, AH_NOT_FOUND, "event %lld is not in the journal any more", (long long)seq);
    return result;
}

int ah_store_effects(struct ah_store *s, int64_t run, int (*fn)(void *arg, const struct ah_store_effect *e),
                     void *arg, struct ah_error *err)
{
    sqlite3_stmt *st =
        ah_sql_prepare(s,
                       "SELECT run, n, span, class, kind, what, args_sha256, begin_seq, end_seq, issued,"
                       " completed, status, error FROM effect WHERE run = ?1 ORDER BY n",
                       "i", run);
    int rc = st ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    s->reading++;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct ah_store_effect e = {.run = sqlite3_column_int64(st, 0),
                                    .n = sqlite3_column_int64(st, 1),
                                    .span = sqlite3_column_int64(st, 2),
                                    .cls = sqlite3_column_int(st, 3),
                                    .begin_seq = sqlite3_column_int64(st, 7),
                                    .end_seq = sqlite3_column_int64(st, 8),
                                    .issued = (uint64_t)sqlite3_column_int64(st, 9),
                                    .completed = (uint64_t)sqlite3_column_int64(st, 10),
                                    .status = sqlite3_column_int(st, 11),
                                    .error = sqlite3_column_int(st, 12)};
        snprintf(e.kind, sizeof e.kind, "%s", ah_sql_text(st, 4));
        snprintf(e.what, sizeof e.what, "%s", ah_sql_text(st, 5));
        if (sqlite3_column_bytes(st, 6) == (int)sizeof e.args_sha256)
            memcpy(e.args_sha256, sqlite3_column_blob(st, 6), sizeof e.args_sha256);
        if (fn(arg, &e) != 0)
            rc = SQLITE_DONE;
    }
    s->reading--;
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? 0 : ah_sql_fail(s, err, rc);
}
