/* How the store's files run SQL: the statements that are kept prepared, binding by letters, one place for each kind of
 * answer. Called by store*.c; it must never begin or end a transaction by itself. */
#include "store_sql.h"

#include <unistd.h>

#define EIGHT(row) row "," row "," row "," row "," row "," row "," row "," row

/* OR FAIL: whoever writes rolls all back when something fails, so SQLite need not copy pages for a part of it. */
static const char *const sql[S_COUNT] = {
    [S_BEGIN] = "BEGIN IMMEDIATE",
    [S_COMMIT] = "COMMIT",
    [S_ROLLBACK] = "ROLLBACK",
    [S_MAX_SEQ] = "SELECT max(seq) FROM event",
    [S_MAX_BLOB] = "SELECT max(n) FROM blob",
    /* Without their numbers: the next one is the newest and one, and SQLite need not look whether it is free. */
    [S_BLOB_IN] = "INSERT INTO blob(sha256, bytes) VALUES(x'', ?1)",
    [S_BLOBS_IN] = "INSERT OR FAIL INTO blob(sha256, bytes) VALUES" EIGHT("(x'', ?)"),
    [S_BLOB] = "SELECT bytes FROM blob WHERE n = ?1",
    [S_EVENT_IN] = "INSERT INTO event(run, span, kind, at, body, refs) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [S_EVENTS_IN] =
        "INSERT OR FAIL INTO event(run, span, kind, at, body, refs) VALUES" EIGHT("(?, ?, ?, ?, ?, ?)"),
    [S_EVENT_AT] =
        "INSERT INTO event(seq, run, span, kind, at, body, refs) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [S_EVENT] = "SELECT seq, run, span, kind, at, body, refs FROM event WHERE seq = ?1",
    [S_RUN_IN] =
        "INSERT OR IGNORE INTO run(key, started, traced, emulated, dest, first_seq, id, name, script,"
        " identifier, project, owner, state)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0)",
    [S_RUN_END] = "UPDATE run SET ended = ?2, state = ?3, input_tokens = ?4, output_tokens = ?5,"
                  " model_calls = ?6, tool_calls = ?7, errors = ?8, spans = ?9, last_seq = ?10,"
                  " cost = CASE WHEN ?11 < 0 THEN NULL ELSE ?11 END, name = ?12, identifier = ?13,"
                  " error = ?14 WHERE key = ?1 AND state = 0",
    [S_RUN_LOCAL] = "UPDATE run SET dest = 0 WHERE key = ?1",
    [S_RUN_WHERE] = "SELECT dest, pushed, project FROM run WHERE key = ?1",
    [S_EFFECT_IN] = "INSERT OR REPLACE INTO effect(run, n, span, class, begin_seq, args_sha256, kind, what)"
                    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [S_EFFECT_END] = "UPDATE effect SET issued = ?3, completed = ?4, status = ?5, error = ?6, end_seq = ?7"
                     " WHERE run = ?1 AND n = ?2",
    [S_DEST_FIND] = "SELECT n FROM dest WHERE endpoint = ?1 AND workspace = ?2 AND emulator = ?3",
    [S_DEST_IN] = "INSERT INTO dest(endpoint, workspace, emulator, position) VALUES(?1, ?2, ?3, ?4)",
    [S_ADVANCE] = "UPDATE dest SET position = max(position, ?2) WHERE n = ?1",
    [S_BATCH_IN] =
        "INSERT OR REPLACE INTO batch(id, dest, attempts, created, items) VALUES(?1, ?2, ?3, ?4, ?5)",
    [S_BATCH_OUT] = "DELETE FROM batch WHERE id = ?1",
    [S_EXCEPT_IN] = "INSERT OR REPLACE INTO exception(dest, run, span, state, start_seq, end_seq, patch, due,"
                    " reason) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [S_EXCEPT_OUT] = "DELETE FROM exception WHERE dest = ?1 AND run = ?2 AND span = ?3",
    [S_EXCEPT] = "SELECT state FROM exception WHERE dest = ?1 AND run = ?2 AND span = ?3",
    [S_SCAN] = "SELECT seq, run, span, kind, at, body, refs FROM event WHERE seq > ?1 ORDER BY seq",
    [S_LEASE] = "SELECT lease FROM dest WHERE n = ?1",
    [S_LEASE_SET] = "UPDATE dest SET lease = ?2 WHERE n = ?1",
    [S_LEASE_OUT] = "UPDATE dest SET lease = '' WHERE n = ?1 AND lease = ?2",
};

bool ah_sql_is_busy(int rc)
{
    return (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED;
}

sqlite3_stmt *ah_sql_take(struct ah_store *s, enum ah_sql id)
{
    sqlite3_stmt *st = s->st[id];
    if (st && !sqlite3_stmt_busy(st))
        return st;
    sqlite3_stmt *fresh = NULL;
    sqlite3_prepare_v3(s->db, sql[id], -1, st ? 0 : SQLITE_PREPARE_PERSISTENT, &fresh, NULL);
    if (!st)
        s->st[id] = fresh;
    return fresh;
}

void ah_sql_give(struct ah_store *s, enum ah_sql id, sqlite3_stmt *st)
{
    if (st && st != s->st[id]) {
        sqlite3_finalize(st);
    } else if (st) {
        sqlite3_reset(st); /* what is bound stays until it is bound anew: it is not looked at before */
    }
}

static void bind_args(sqlite3_stmt *st, const char *letters, va_list args)
{
    for (int k = 1; *letters; letters++, k++) {
        const char *p;
        size_t n;
        switch (*letters) {
        case 'i':
            sqlite3_bind_int64(st, k, va_arg(args, int64_t));
            break;
        case 'd':
            sqlite3_bind_double(st, k, va_arg(args, double));
            break;
        case 't':
            p = va_arg(args, const char *);
            sqlite3_bind_text(st, k, p ? p : "", -1, SQLITE_STATIC);
            break;
        case 'b':
        case 'x':
            p = va_arg(args, const char *);
            n = va_arg(args, size_t);
            if (*letters == 'x')
                sqlite3_bind_text64(st, k, p ? p : "", n, SQLITE_STATIC, SQLITE_UTF8);
            else
                sqlite3_bind_blob64(st, k, p ? p : "", n, SQLITE_STATIC);
            break;
        }
    }
}

/* Steps once; the row's first integer goes to *out. */
static int step_once(struct ah_store *s, enum ah_sql id, int64_t *out, const char *letters, va_list args)
{
    sqlite3_stmt *st = ah_sql_take(s, id);
    if (!st)
        return sqlite3_extended_errcode(s->db);
    bind_args(st, letters, args);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW && out)
        *out = sqlite3_column_int64(st, 0);
    if (rc == SQLITE_ROW || rc == SQLITE_DONE)
        rc = SQLITE_OK;
    ah_sql_give(s, id, st);
    return rc;
}

int ah_sql_step(struct ah_store *s, enum ah_sql id, sqlite3_stmt *st)
{
    int rc = st ? sqlite3_step(st) : sqlite3_extended_errcode(s->db);
    ah_sql_give(s, id, st);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int ah_sql_do(struct ah_store *s, enum ah_sql id, const char *letters, ...)
{
    va_list args;
    va_start(args, letters);
    int rc = step_once(s, id, NULL, letters, args);
    va_end(args);
    return rc;
}

int ah_sql_int(struct ah_store *s, int64_t *out, int64_t otherwise, enum ah_sql id, const char *letters, ...)
{
    *out = otherwise;
    va_list args;
    va_start(args, letters);
    int rc = step_once(s, id, out, letters, args);
    va_end(args);
    return rc;
}

sqlite3_stmt *ah_sql_prepare(struct ah_store *s, const char *text, const char *letters, ...)
{
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(s->db, text, -1, &st, NULL) != SQLITE_OK)
        return NULL;
    va_list args;
    va_start(args, letters);
    bind_args(st, letters, args);
    va_end(args);
    return st;
}

int ah_sql_once(struct ah_store *s, sqlite3_stmt *st)
{
    int rc = st ? sqlite3_step(st) : sqlite3_extended_errcode(s->db);
    sqlite3_finalize(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int ah_sql_fail(struct ah_store *s, struct ah_error *err, int rc)
{
    ah_err_set(err, AH_JOURNAL, "the journal %s cannot be read: %s", s->memory ? "in memory" : s->path,
               rc ? sqlite3_errstr(rc) : sqlite3_errmsg(s->db));
    if (err)
        err->retryable = ah_sql_is_busy(rc);
    return -1;
}

int ah_sql_begin(struct ah_store *s)
{
    return ah_sql_do(s, S_BEGIN, "");
}

int ah_sql_begin_wait(struct ah_store *s)
{
    int64_t until = ah_clock_mono_us() + AH_STORE_WAIT_MS * 1000;
    int rc = ah_store_flush_wait(s, AH_STORE_WAIT_MS) == AH_STORE_BUSY ? SQLITE_BUSY : ah_sql_begin(s);
    while (ah_sql_is_busy(rc) && ah_clock_mono_us() < until) {
        usleep(AH_STORE_RETRY_MS * 1000);
        rc = ah_sql_begin(s);
    }
    return rc;
}

int ah_sql_end(struct ah_store *s, int rc)
{
    if (rc == SQLITE_OK)
        rc = ah_sql_do(s, S_COMMIT, "");
    if (rc != SQLITE_OK && !sqlite3_get_autocommit(s->db))
        ah_sql_do(s, S_ROLLBACK, "");
    return rc;
}

int ah_sql_ask(sqlite3 *db, const char *text, int64_t *out)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, text, -1, &st, NULL);
    if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        *out = sqlite3_column_int64(st, 0);
        rc = SQLITE_OK;
    }
    sqlite3_finalize(st);
    return rc;
}

const char *ah_sql_text(sqlite3_stmt *st, int column)
{
    const unsigned char *p = sqlite3_column_text(st, column);
    return p ? (const char *)p : "";
}

/* --- numbers in few bytes */

void ah_sql_put_number(struct ah_buf *b, int64_t v)
{
    uint64_t u = (uint64_t)v;
    do {
        ah_buf_addc(b, (char)((u & 0x7f) | (u > 0x7f ? 0x80 : 0)));
        u >>= 7;
    } while (u);
}

int64_t ah_sql_get_number(const unsigned char **p, const unsigned char *end)
{
    uint64_t u = 0;
    for (int shift = 0; *p < end && shift < 64; shift += 7) {
        unsigned char c = *(*p)++;
        u |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80))
            break;
    }
    return (int64_t)u;
}
