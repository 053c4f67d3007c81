/* The same schema in memory, when the file fails for good while it is used. Called by store.c's commit. It must carry
 * over what is open and what is queued, and must never drop an event that still fits. */
#include "store_sql.h"

#include <stdlib.h>
#include <string.h>

/* Texts that the queue names and only the old file has. Lost ones read as null. */
static int carry_texts(struct ah_store *s, struct ah_store *from)
{
    for (size_t i = 0; i < s->q.refs_count; i++) {
        if (s->q.refs[i] < 0)
            continue;
        sqlite3_stmt *st = from->db ? ah_sql_take(from, S_BLOB) : NULL;
        const char *text = "null";
        size_t n = 4;
        if (st) {
            sqlite3_bind_int64(st, 1, s->q.refs[i]);
            if (sqlite3_step(st) == SQLITE_ROW) {
                text = sqlite3_column_blob(st, 0);
                n = (size_t)sqlite3_column_bytes(st, 0);
            }
        }
        int rc = ah_sql_int(s, &s->last_blob, 0, S_MAX_BLOB, "");
        if (rc == SQLITE_OK)
            rc = ah_sql_do(s, S_BLOB_IN, "x", text, n);
        s->last_blob++;
        if (st)
            ah_sql_give(from, S_BLOB, st);
        if (rc != SQLITE_OK)
            return -1;
        s->q.refs[i] = s->last_blob;
    }
    return 0;
}

static void carry_rows(struct ah_store *s, struct ah_store *from, const char *read, const char *write)
{
    sqlite3_stmt *in = ah_sql_prepare(from, read, "t", s->live.id), *out = ah_sql_prepare(s, write, "");
    while (in && out && sqlite3_step(in) == SQLITE_ROW) {
        for (int c = 0; c < sqlite3_column_count(in); c++)
            sqlite3_bind_value(out, c + 1, sqlite3_column_value(in, c));
        sqlite3_step(out);
        sqlite3_reset(out);
    }
    sqlite3_finalize(in);
    sqlite3_finalize(out);
}

/* Starts of spans that are open now: their ends come to the new journal. */
static void carry_starts(struct ah_store *s, struct ah_store *from)
{
    struct ah_buf body;
    ah_buf_init(&body, AH_STORE_BODY_BYTES);
    for (size_t i = 0; i < s->open.cap; i++) {
        sqlite3_stmt *st = s->open.slots[i].seq ? ah_sql_take(from, S_EVENT) : NULL;
        if (!st)
            continue;
        sqlite3_bind_int64(st, 1, s->open.slots[i].seq);
        if (sqlite3_step(st) == SQLITE_ROW) {
            ah_buf_clear(&body);
            ah_store_expand(from, sqlite3_column_blob(st, 5), (size_t)sqlite3_column_bytes(st, 5),
                            sqlite3_column_blob(st, 6), (size_t)sqlite3_column_bytes(st, 6), &body);
            ah_sql_do(s, S_EVENT_AT, "iiiiixb", sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1),
                      sqlite3_column_int64(st, 2), sqlite3_column_int64(st, 3), sqlite3_column_int64(st, 4),
                      ah_buf_str(&body), body.n, "", (size_t)0);
        }
        ah_sql_give(from, S_EVENT, st);
    }
    ah_buf_drop(&body);
}

#define RUN_ALL                                                                                              \
    "key, id, name, script, identifier, project, owner, dest, pushed, emulated, state, traced, started,"     \
    " first_seq"

static int64_t newest_seq(struct ah_store *s)
{
    int64_t seq = 0;
    ah_sql_int(s, &seq, 0, S_MAX_SEQ, "");
    return seq;
}

/* What is open now and what is queued goes on in memory. What the file holds stays there for the next process. */
int ah_store_go_memory(struct ah_store *s, int rc)
{
    struct ah_store *from = calloc(1, sizeof *from);
    if (!from)
        return -1;
    ah_store_checkpoint_stop(s);
    from->db = s->db;
    memcpy(from->st, s->st, sizeof s->st);
    memset(s->st, 0, sizeof s->st);
    s->db = NULL;
    ah_store_announce(s, ah_store_say_code(rc));
    s->busy_us = 0;
    int result = ah_store_open_memory(s, NULL);
    if (result == 0) {
        sqlite3_exec(s->db, "BEGIN", NULL, NULL, NULL);
        carry_starts(s, from);
        carry_rows(s, from, "SELECT " RUN_ALL " FROM run WHERE state = 0 AND owner = ?1",
                   "INSERT INTO run(" RUN_ALL
                   ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)");
        carry_rows(s, from, "SELECT n, endpoint, workspace, emulator, position FROM dest WHERE ?1 <> ''",
                   "INSERT INTO dest(n, endpoint, workspace, emulator, position) VALUES(?1, ?2, ?3, ?4, ?5)");
        carry_rows(
            s, from,
            "SELECT e.* FROM exception e JOIN run r ON r.key = e.run WHERE r.state = 0 AND r.owner = ?1",
            "INSERT INTO exception VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
        /* A position is a seq of the file; here the next event follows what was carried over. */
        ah_sql_once(s, ah_sql_prepare(s, "UPDATE dest SET position = ?1", "i", newest_seq(s)));
        result = carry_texts(s, from);
        sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL);
    }
    if (result == 0) {
        ah_queue_forget(&s->q);
        ah_store_close_db(from);
    } else {
        ah_store_close_db(s);
        s->db = from->db;
        memcpy(s->st, from->st, sizeof s->st);
        s->memory = false;
    }
    free(from);
    return result;
}

/* The memory is full: the oldest ended runs go, sent or not. */
bool ah_store_make_room(struct ah_store *s)
{
    struct ah_store_gc_result r = {0};
    struct ah_store_gc gc = {.max_bytes = ah_store_used_bytes(s) / 2, .undelivered = true};
    return ah_store_gc(s, &gc, &r, NULL) == 0 && r.events > 0;
}
