/* Sessions: conversations that several runs go on with. Called by lua_session.c and cmd_session.c. Written at once,
 * each change in a transaction of its own, behind what is queued: so the notes of a run are never older than what it
 * did here. It must not look into messages. */
#include "json.h"
#include "store_sql.h"

#include <stdio.h>
#include <string.h>

/* --- looking ---------------------------------------------------------------------------------------- */

static int take_session(struct ah_store *s, sqlite3_stmt *st,
                        int (*fn)(void *arg, const struct ah_store_session *session), void *arg)
{
    const char *writer = ah_sql_text(st, 12);
    struct ah_store_session row = {.key = sqlite3_column_int64(st, 0),
                                   .tip = sqlite3_column_int64(st, 1),
                                   .steps = sqlite3_column_int64(st, 2),
                                   .started = sqlite3_column_int64(st, 3),
                                   .used = sqlite3_column_int64(st, 4),
                                   .forked_at = sqlite3_column_int64(st, 5),
                                   .identifier = ah_sql_text(st, 7),
                                   .name = ah_sql_text(st, 8),
                                   .script = ah_sql_text(st, 9),
                                   .forked_from = ah_sql_text(st, 10),
                                   .emulated = sqlite3_column_int(st, 11) != 0};
    snprintf(row.id, sizeof row.id, "%s", ah_sql_text(st, 6));
    row.busy = *writer && (strcmp(writer, s->live.id) == 0 || !ah_store_is_free(s, writer));
    return fn(arg, &row);
}

int ah_store_sessions(struct ah_store *s, const char *identifier, const char *name,
                      int (*fn)(void *arg, const struct ah_store_session *session), void *arg,
                      struct ah_error *err)
{
    sqlite3_stmt *st = ah_sql_prepare(
        s,
        "SELECT s.key, s.tip, ifnull(m.step, 0), s.started, s.used, s.forked_at, s.id, s.identifier, s.name,"
        " s.script, s.forked_from, s.emulated, s.writer FROM session s"
        " LEFT JOIN session_message m ON m.n = s.tip"
        " WHERE (?1 OR s.identifier = ?2) AND (?3 OR s.name = ?4) ORDER BY s.used DESC, s.key DESC",
        "itit", (int64_t)(identifier == NULL), identifier, (int64_t)(name == NULL), name);
    int rc = st ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    s->reading++;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW)
        if (take_session(s, st, fn, arg) != 0)
            rc = SQLITE_DONE;
    s->reading--;
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? 0 : ah_sql_fail(s, err, rc);
}

static void put_text(struct ah_json_writer *w, const char *key, const char *text)
{
    ah_json_key(w, key);
    ah_json_put_str(w, text);
}

static void put_seconds(struct ah_json_writer *w, const char *key, int64_t us)
{
    ah_json_key(w, key);
    ah_json_put_num(w, (double)us / 1e6);
}

static void put_flag(struct ah_json_writer *w, const char *key, bool on)
{
    ah_json_key(w, key);
    ah_json_put_bool(w, on);
}

static void put_count(struct ah_json_writer *w, const char *key, int64_t n)
{
    ah_json_key(w, key);
    ah_json_put_int(w, n);
}

void ah_store_session_put(const struct ah_store_session *session, struct ah_json_writer *w)
{
    ah_json_object(w);
    put_flag(w, "busy", session->busy);
    put_flag(w, "emulated", session->emulated);
    if (session->forked_from[0]) {
        put_count(w, "forked_at", session->forked_at);
        put_text(w, "forked_from", session->forked_from);
    }
    put_text(w, "id", session->id);
    put_text(w, "identifier", session->identifier);
    put_text(w, "name", session->name);
    put_text(w, "script", session->script);
    put_seconds(w, "started", session->started);
    put_count(w, "steps", session->steps);
    put_seconds(w, "used", session->used);
    ah_json_end_object(w);
}

void ah_store_message_put(const struct ah_store_message *m, struct ah_json_writer *w)
{
    ah_json_object(w);
    put_seconds(w, "at", m->at);
    ah_json_key(w, m->body[0] == '[' ? "messages" : "message");
    ah_json_put_raw(w, m->body, m->n);
    put_count(w, "step", m->step);
    ah_json_end_object(w);
}

static int count_session(void *arg, const struct ah_store_session *session)
{
    (void)session;
    return ++*(int *)arg > 1;
}

int ah_store_session_find(struct ah_store *s, const char *identifier, const char *name,
                          int (*fn)(void *arg, const struct ah_store_session *session), void *arg,
                          struct ah_error *err)
{
    int count = 0;
    if (ah_store_sessions(s, identifier, name, count_session, &count, err) != 0)
        return -1;
    if (count > 1)
        return ah_err_set(err, AH_CONFIG, "several users have a session '%s': say whose it is with --user ID",
                          name);
    if (count == 0)
        return ah_err_set(err, AH_NOT_FOUND, "there is no session '%s'%s%s (agenthost session ls)", name,
                          identifier && *identifier ? " of " : "", identifier ? identifier : "");
    return ah_store_sessions(s, identifier, name, fn, arg, err);
}

struct reader {
    int (*fn)(void *arg, const struct ah_store_message *m);
    void *arg;
    int64_t last; /* step */
    size_t count;
    bool damaged;
};

/* Columns: parent, step, at, run, body. Not 0: enough. What is no beginning, or no JSON, is nobody's message. */
static int take_message(struct reader *r, sqlite3_stmt *st)
{
    struct ah_json v;
    struct ah_store_message m = {.step = sqlite3_column_int64(st, 1),
                                 .at = sqlite3_column_int64(st, 2),
                                 .run = sqlite3_column_int64(st, 3),
                                 .body = ah_sql_text(st, 4),
                                 .n = (size_t)sqlite3_column_bytes(st, 4)};
    r->damaged =
        (r->count == 0 && sqlite3_column_int64(st, 0) != 0) || ah_json_check(m.body, m.n, 0, &v, NULL) != 0;
    if (r->damaged)
        return 1;
    m.same_step = m.step == r->last;
    r->last = m.step;
    r->count++;
    return r->fn(r->arg, &m);
}

static int fail_damaged(struct ah_error *err, int64_t last)
{
    if (last == 0)
        return ah_err_set(
            err, AH_JOURNAL,
            "the session is damaged from its first step on: remove it (agenthost session rm NAME)");
    return ah_err_set(
        err, AH_JOURNAL,
        "the session is damaged behind step %lld: fork it there (agenthost session fork NAME NEW "
        "--at %lld), or remove it",
        (long long)last, (long long)last);
}

int ah_store_session_read(struct ah_store *s, int64_t tip,
                          int (*fn)(void *arg, const struct ah_store_message *m), void *arg,
                          struct ah_error *err)
{
    sqlite3_stmt *st = ah_sql_prepare(
        s,
        "WITH RECURSIVE line(n, parent) AS ("
        " SELECT n, parent FROM session_message WHERE n = ?1 UNION ALL"
        " SELECT m.n, m.parent FROM session_message m JOIN line ON m.n = line.parent"
        " AND m.n < line.n)"
        " SELECT m.parent, m.step, m.at, m.run, m.body FROM line JOIN session_message m USING(n)"
        " ORDER BY m.n",
        "i", tip);
    int rc = st ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    struct reader r = {.fn = fn, .arg = arg};
    s->reading++;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW)
        if (take_message(&r, st) != 0)
            rc = SQLITE_DONE;
    s->reading--;
    sqlite3_finalize(st);
    if (rc != SQLITE_DONE)
        return ah_sql_fail(s, err, rc);
    if (r.damaged || (tip && !r.count))
        return fail_damaged(err, r.last);
    return 0;
}

/* --- changing ----------------------------------------------------------------------------------------- */

/* What a transaction saw of a session. */
struct state {
    int64_t key, tip, steps;
    bool emulated;
    char writer[AH_UUID_BYTES], name[AH_SESSION_NAME_BYTES + 1];
};

static int begin(struct ah_store *s, struct ah_error *err)
{
    if (s->memory)
        return ah_err_set(err, AH_JOURNAL, "a session cannot be kept: the journal is in memory. %s",
                          s->trouble);
    int rc = ah_sql_begin_wait(s);
    return rc == SQLITE_OK ? 0 : ah_sql_fail(s, err, rc);
}

/* Ends the transaction; `failed`: it has been said why. */
static int end(struct ah_store *s, int rc, bool failed, struct ah_error *err)
{
    rc = ah_sql_end(s, failed ? SQLITE_ABORT : rc);
    if (failed)
        return -1;
    return rc == SQLITE_OK ? 0 : ah_sql_fail(s, err, rc);
}

static int read_state(struct ah_store *s, sqlite3_stmt *st, struct state *to)
{
    int rc = st ? sqlite3_step(st) : sqlite3_extended_errcode(s->db);
    *to = (struct state){0};
    if (rc == SQLITE_ROW) {
        to->key = sqlite3_column_int64(st, 0);
        to->tip = sqlite3_column_int64(st, 1);
        to->steps = sqlite3_column_int64(st, 2);
        to->emulated = sqlite3_column_int(st, 3) != 0;
        snprintf(to->writer, sizeof to->writer, "%s", ah_sql_text(st, 4));
        snprintf(to->name, sizeof to->name, "%s", ah_sql_text(st, 5));
    }
    sqlite3_finalize(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

#define STATE                                                                                                \
    "SELECT s.key, s.tip, ifnull(m.step, 0), s.emulated, s.writer, s.name FROM session s"                    \
    " LEFT JOIN session_message m ON m.n = s.tip WHERE "

static int state_of(struct ah_store *s, int64_t key, struct state *to, struct ah_error *err)
{
    int rc = read_state(s, ah_sql_prepare(s, STATE "s.key = ?1", "i", key), to);
    if (rc != SQLITE_OK)
        return ah_sql_fail(s, err, rc);
    if (!to->key)
        return ah_err_set(err, AH_NOT_FOUND, "the session is gone: somebody has removed it");
    return 0;
}

static int fail_coded(struct ah_error *err, const char *code)
{
    if (err)
        snprintf(err->code, sizeof err->code, "%s", code);
    return -1;
}

static int check_free(struct ah_store *s, const struct state *now, struct ah_error *err)
{
    if (ah_store_is_free(s, now->writer))
        return 0;
    ah_err_set(err, AH_CONFIG,
               "another run goes on with the session '%s' now: wait until it has ended, or fork the session",
               now->name);
    return fail_coded(err, "session_busy");
}

static int check_name(const char *name, struct ah_error *err)
{
    size_t n = strlen(name);
    bool odd = n == 0 || n > AH_SESSION_NAME_BYTES || !ah_json_is_utf8(name, n);
    for (const char *p = name; *p; p++)
        odd |= (unsigned char)*p < ' ' || *p == 0x7f;
    return odd ? ah_err_set(err, AH_CONFIG,
                            "the name of a session is 1 to %d bytes of text, without control characters",
                            AH_SESSION_NAME_BYTES)
               : 0;
}

static int take_over(struct ah_store *s, const struct state *now, const struct ah_store_session *want,
                     struct ah_error *err)
{
    if (check_free(s, now, err) != 0)
        return -1;
    if (now->emulated != want->emulated)
        return ah_err_set(
            err, AH_CONFIG,
            "the session '%s' was begun %s: what was said there is not true here. Take another name",
            want->name, now->emulated ? "on the emulator" : "with real services");
    int rc = ah_sql_once(s, ah_sql_prepare(s, "UPDATE session SET writer = ?2, used = ?3 WHERE key = ?1",
                                           "iti", now->key, s->live.id, ah_clock_wall_us(&s->clock)));
    return rc == SQLITE_OK ? 0 : ah_sql_fail(s, err, rc);
}

static int make_session(struct ah_store *s, const struct ah_store_session *want, int64_t *key,
                        struct ah_error *err)
{
    char id[AH_UUID_BYTES];
    int64_t now = ah_clock_wall_us(&s->clock);
    ah_ids_uuid7(&s->ids, now, id);
    *key = ah_store_new_key(s);
    int rc = ah_sql_once(
        s, ah_sql_prepare(
               s,
               "INSERT INTO session(key, id, identifier, name, script, emulated, started, used, writer)"
               " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8)",
               "ittttiit", *key, id, want->identifier, want->name, want->script, (int64_t)want->emulated, now,
               s->live.id));
    return rc == SQLITE_OK ? 0 : ah_sql_fail(s, err, rc);
}

int ah_store_session_open(struct ah_store *s, const struct ah_store_session *want, bool must_exist,
                          int64_t *key, struct ah_error *err)
{
    struct state now;
    bool failed;
    if (check_name(want->name, err) != 0 || begin(s, err) != 0)
        return -1;
    int rc = read_state(
        s, ah_sql_prepare(s, STATE "s.identifier = ?1 AND s.name = ?2", "tt", want->identifier, want->name),
        &now);
    *key = now.key;
    if (rc != SQLITE_OK)
        return end(s, rc, false, err);
    if (now.key)
        failed = take_over(s, &now, want, err) != 0;
    else if (must_exist)
        failed = ah_err_set(err, AH_NOT_FOUND, "there is no session '%s'%s%s (agenthost session ls)",
                            want->name, *want->identifier ? " of " : "", want->identifier) != 0;
    else
        failed = make_session(s, want, key, err) != 0;
    s->sessions |= !failed;
    return end(s, SQLITE_OK, failed, err);
}

void ah_store_session_close(struct ah_store *s, int64_t key)
{
    if (s->memory || !s->sessions || s->reading || ah_sql_begin_wait(s) != SQLITE_OK)
        return;
    int rc = ah_sql_once(s, ah_sql_prepare(s, "UPDATE session SET writer = '' WHERE key = ?1 AND writer = ?2",
                                           "it", key, s->live.id));
    ah_sql_end(s, rc);
}

/* Whether the rows behind `tip` are just these: a run that crashed had added them. */
static int is_added(struct ah_store *s, int64_t newest, int64_t tip, const struct ah_store_message *list,
                    size_t count, bool *added)
{
    sqlite3_stmt *st =
        ah_sql_prepare(s,
                       "WITH RECURSIVE line(n, parent) AS ("
                       " SELECT n, parent FROM session_message WHERE n = ?1 UNION ALL"
                       " SELECT m.n, m.parent FROM session_message m JOIN line ON m.n = line.parent"
                       " AND m.n < line.n WHERE line.parent <> ?2)"
                       " SELECT m.parent, m.body FROM line JOIN session_message m USING(n) ORDER BY m.n",
                       "ii", newest, tip);
    size_t i = 0;
    int rc = st ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    *added = true;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        *added &= i > 0 || sqlite3_column_int64(st, 0) == tip;
        *added &= i < count && strcmp(ah_sql_text(st, 1), list[i].body) == 0;
        i++;
    }
    *added &= i == count;
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int add_rows(struct ah_store *s, const struct state *now, const struct ah_store_message *list,
                    size_t count, int64_t *tip)
{
    int64_t step = now->steps, at = ah_clock_wall_us(&s->clock);
    int rc = SQLITE_OK;
    for (size_t i = 0; rc == SQLITE_OK && i < count; i++) {
        step += !list[i].same_step || step == 0;
        rc = ah_sql_once(
            s, ah_sql_prepare(
                   s, "INSERT INTO session_message(parent, step, at, run, body) VALUES(?1, ?2, ?3, ?4, ?5)",
                   "iiiix", *tip, step, at, list[i].run, list[i].body, list[i].n));
        *tip = sqlite3_last_insert_rowid(s->db);
    }
    if (rc == SQLITE_OK)
        rc = ah_sql_once(
            s, ah_sql_prepare(s, "UPDATE session SET tip = ?2, used = ?3, writer = ?4 WHERE key = ?1", "iiit",
                              now->key, *tip, at, s->live.id));
    return rc;
}

int ah_store_session_append(struct ah_store *s, int64_t key, int64_t tip, const struct ah_store_message *list,
                            size_t count, int64_t *new_tip, struct ah_error *err)
{
    struct state now;
    bool added = false, failed;
    int rc = SQLITE_OK;
    if (begin(s, err) != 0)
        return -1;
    failed = state_of(s, key, &now, err) != 0 || check_free(s, &now, err) != 0;
    *new_tip = now.tip;
    if (!failed && now.tip != tip)
        rc = is_added(s, now.tip, tip, list, count, &added);
    if (!failed && rc == SQLITE_OK && now.tip != tip && !added) {
        failed = true;
        ah_err_set(err, AH_CONFIG,
                   "another run went on with the session '%s' in the meantime: fork it to go on from here",
                   now.name);
        fail_coded(err, "session_moved");
    }
    if (!failed && rc == SQLITE_OK && !added)
        rc = add_rows(s, &now, list, count, new_tip);
    s->sessions |= !failed;
    return end(s, rc, failed, err);
}

/* The last row of a step. */
static int row_of_step(struct ah_store *s, int64_t tip, int64_t step, int64_t *row)
{
    sqlite3_stmt *st =
        ah_sql_prepare(s,
                       "WITH RECURSIVE line(n, parent, step) AS ("
                       " SELECT n, parent, step FROM session_message WHERE n = ?1 UNION ALL"
                       " SELECT m.n, m.parent, m.step FROM session_message m JOIN line ON m.n = line.parent"
                       " AND m.n < line.n)"
                       " SELECT max(n) FROM line WHERE step = ?2",
                       "ii", tip, step);
    int rc = st ? sqlite3_step(st) : sqlite3_extended_errcode(s->db);
    *row = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
    sqlite3_finalize(st);
    return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

static int insert_fork(struct ah_store *s, int64_t key, const char *name, int64_t tip, int64_t at,
                       struct ah_error *err)
{
    char id[AH_UUID_BYTES];
    int64_t now = ah_clock_wall_us(&s->clock);
    ah_ids_uuid7(&s->ids, now, id);
    int rc = ah_sql_once(
        s, ah_sql_prepare(s,
                          "INSERT INTO session(key, id, identifier, name, script, emulated, started, used,"
                          " tip, forked_from, forked_at)"
                          " SELECT ?2, ?3, identifier, ?4, script, emulated, ?5, ?5, ?6, name, ?7"
                          " FROM session WHERE key = ?1",
                          "iittiii", key, ah_store_new_key(s), id, name, now, tip, at));
    if ((rc & 0xff) == SQLITE_CONSTRAINT)
        return ah_err_set(err, AH_CONFIG, "there is a session '%s' already: take another name", name);
    return rc == SQLITE_OK ? 0 : ah_sql_fail(s, err, rc);
}

int ah_store_session_fork(struct ah_store *s, int64_t key, int64_t at, const char *name, struct ah_error *err)
{
    struct state now;
    int64_t row = 0;
    if (check_name(name, err) != 0 || begin(s, err) != 0)
        return -1;
    bool failed = state_of(s, key, &now, err) != 0;
    if (!failed && (at < 0 || at > now.steps))
        failed = ah_err_set(err, AH_CONFIG, "the session '%s' has %lld step%s, so there is no step %lld",
                            now.name, (long long)now.steps, now.steps == 1 ? "" : "s", (long long)at) != 0;
    at = at ? at : now.steps;
    int rc = failed ? SQLITE_OK : row_of_step(s, now.tip, at, &row);
    if (!failed && rc == SQLITE_OK && at && !row)
        failed = fail_damaged(err, 0) != 0;
    if (!failed && rc == SQLITE_OK)
        failed = insert_fork(s, key, name, row, at, err) != 0;
    return end(s, rc, failed, err);
}

int ah_store_session_remove(struct ah_store *s, int64_t key, struct ah_error *err)
{
    struct state now;
    if (begin(s, err) != 0)
        return -1;
    bool failed = state_of(s, key, &now, err) != 0 || check_free(s, &now, err) != 0;
    int rc = failed ? SQLITE_OK
                    : ah_sql_once(s, ah_sql_prepare(s, "DELETE FROM session WHERE key = ?1", "i", key));
    if (!failed && rc == SQLITE_OK)
        rc = ah_sql_once(s, ah_sql_prepare(s,
                                           "DELETE FROM session_message WHERE n NOT IN ("
                                           "WITH RECURSIVE kept(n) AS ("
                                           " SELECT tip FROM session UNION SELECT m.parent"
                                           " FROM session_message m JOIN kept ON m.n = kept.n)"
                                           " SELECT n FROM kept)",
                                           ""));
    return end(s, rc, failed, err);
}
