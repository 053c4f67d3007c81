/* What a run that is resumed stands on beside its events: who goes on from whom, and what a person allowed. Called by
 * host.c, lua_run.c and the commands resume and approve. Written at once, each in a transaction of its own: people and
 * other processes wait for it. */
#include "store_sql.h"

#include <stdio.h>
#include <string.h>

int ah_store_claim(struct ah_store *s, int64_t run, int64_t by, bool *got, struct ah_error *err)
{
    *got = false;
    if (ah_store_flush_wait(s, AH_STORE_WAIT_MS) == AH_STORE_BUSY)
        return ah_sql_fail(s, err, SQLITE_BUSY);
    int rc = ah_sql_begin(s);
    if (rc == SQLITE_OK) {
        /* A claim whose run is not there (its process died before it wrote) is none. */
        rc = ah_sql_once(s, ah_sql_prepare(s,
                                           "UPDATE run SET resumed_by = ?2 WHERE key = ?1 AND state <> 0 AND"
                                           " NOT EXISTS (SELECT 1 FROM run n WHERE n.key = run.resumed_by)",
                                           "ii", run, by));
        *got = rc == SQLITE_OK && sqlite3_changes64(s->db) == 1;
        rc = ah_sql_end(s, rc);
    }
    return rc == SQLITE_OK ? 0 : ah_sql_fail(s, err, rc);
}

int ah_store_resumed_by(struct ah_store *s, int64_t run, int64_t *by, struct ah_error *err)
{
    *by = 0;
    sqlite3_stmt *st = ah_sql_prepare(
        s, "SELECT n.key FROM run r JOIN run n ON n.key = r.resumed_by WHERE r.key = ?1", "i", run);
    int rc = st ? sqlite3_step(st) : sqlite3_extended_errcode(s->db);
    if (rc == SQLITE_ROW)
        *by = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : ah_sql_fail(s, err, rc);
}

/* --- approvals ------------------------------------------------------------------------------------ */

bool ah_store_approval_holds(const struct ah_store_approval *a, const char *sha256)
{
    return (a->state == AH_APPROVAL_YES || a->state == AH_APPROVAL_NO) && strcmp(a->sha256, sha256) == 0;
}

int ah_store_ask(struct ah_store *s, const struct ah_store_approval *a, struct ah_error *err)
{
    int rc = ah_sql_begin_wait(s);
    if (rc == SQLITE_OK) { /* the same question keeps its answer; another one under its number begins anew */
        rc = ah_sql_once(
            s, ah_sql_prepare(
                   s,
                   "INSERT INTO approval(run, seq, asked, sha256, question) VALUES(?1, ?2, ?3, ?4, ?5)"
                   " ON CONFLICT(run, seq) DO UPDATE SET asked = ?3, sha256 = ?4, question = ?5,"
                   " state = 0, reason = '', decided = 0 WHERE sha256 <> ?4",
                   "iiitt", a->run, a->seq, a->asked, a->sha256, a->question));
        rc = ah_sql_end(s, rc);
    }
    return rc == SQLITE_OK ? 0 : ah_sql_fail(s, err, rc);
}

int ah_store_decide(struct ah_store *s, int64_t run, int64_t seq, enum ah_approval_state state,
                    const char *reason, bool *changed, struct ah_error *err)
{
    int rc = ah_sql_begin_wait(s);
    *changed = false;
    if (rc == SQLITE_OK) {
        rc = ah_sql_once(s, ah_sql_prepare(s,
                                           "UPDATE approval SET state = ?3, reason = ?4, decided = ?5"
                                           " WHERE run = ?1 AND seq = ?2 AND state = 0",
                                           "iiiti", run, seq, (int64_t)state, reason ? reason : "",
                                           ah_clock_wall_us(&s->clock)));
        *changed = rc == SQLITE_OK && sqlite3_changes64(s->db) == 1;
        rc = ah_sql_end(s, rc);
    }
    return rc == SQLITE_OK ? 0 : ah_sql_fail(s, err, rc);
}

int ah_store_approvals(struct ah_store *s, int64_t run, int64_t seq, int limit,
                       int (*fn)(void *arg, const struct ah_store_approval *a), void *arg,
                       struct ah_error *err)
{
    char text[250]; /* by the key where it is known: a question that is open is looked at again and again */
    snprintf(text, sizeof text,
             "SELECT run, seq, asked, sha256, question, state, reason, decided FROM approval"
             " WHERE %s AND %s ORDER BY asked DESC LIMIT ?3",
             run ? "run = ?1" : "?1 = 0", seq ? "seq = ?2" : "?2 = 0");
    sqlite3_stmt *st = ah_sql_prepare(s, text, "iii", run, seq, (int64_t)(limit > 0 ? limit : 1000));
    int rc = st ? SQLITE_ROW : sqlite3_extended_errcode(s->db);
    s->reading++;
    while (rc == SQLITE_ROW && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct ah_store_approval a = {.run = sqlite3_column_int64(st, 0),
                                      .seq = sqlite3_column_int64(st, 1),
                                      .asked = sqlite3_column_int64(st, 2),
                                      .sha256 = ah_sql_text(st, 3),
                                      .question = ah_sql_text(st, 4),
                                      .state = (enum ah_approval_state)sqlite3_column_int(st, 5),
                                      .reason = ah_sql_text(st, 6),
                                      .decided = sqlite3_column_int64(st, 7)};
        if (fn(arg, &a) != 0)
            rc = SQLITE_DONE;
    }
    s->reading--;
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? 0 : ah_sql_fail(s, err, rc);
}
