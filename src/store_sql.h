/* What the store's files share: the struct, its statements, and how SQL is run. Private to store*.c: everybody else
 * sees store.h. */
#ifndef AH_STORE_SQL_H
#define AH_STORE_SQL_H

#include "clock.h"
#include "live.h"
#include "openspan.h"
#include "queue.h"
#include "store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>

#define AH_STORE_WAIT_MS 2000 /* for a lock, where a person waits: opening, closing, push */
#define AH_STORE_PAGE_BYTES 16384
#define AH_SQL_GROUP_COUNT 8                    /* rows of one INSERT, where there are so many */
#define AH_STORE_BODY_BYTES ((size_t)512 << 20) /* of one expanded event */
#define AH_STORE_RUN_CACHE 256                  /* runs whose destination is remembered; a power of two */
#define AH_STORE_RETRY_MS 2                     /* the loop's next try after BUSY */

/* Statements that are kept prepared; their texts are in store_sql.c. */

enum ah_sql {
    S_BEGIN,
    S_COMMIT,
    S_ROLLBACK,
    S_MAX_SEQ,
    S_MAX_BLOB,
    S_BLOB_IN,
    S_BLOBS_IN, /* AH_SQL_GROUP_COUNT rows */
    S_BLOB,
    S_EVENT_IN,
    S_EVENTS_IN, /* the same */
    S_EVENT_AT,  /* with its number */
    S_EVENT,
    S_RUN_IN,
    S_RUN_END,
    S_RUN_LOCAL,
    S_RUN_WHERE,
    S_EFFECT_IN,
    S_EFFECT_END,
    S_DEST_FIND,
    S_DEST_IN,
    S_ADVANCE,
    S_BATCH_IN,
    S_BATCH_OUT,
    S_EXCEPT_IN,
    S_EXCEPT_OUT,
    S_EXCEPT,
    S_SCAN,
    S_LEASE,
    S_LEASE_SET,
    S_LEASE_OUT,
    S_COUNT
};

/* What is in the queue. */
enum ah_store_change {
    Q_EVENT,
    Q_RUN_BEGIN,
    Q_RUN_END,
    Q_RUN_LOCAL,
    Q_RUN_SEND,
    Q_EFFECT_BEGIN,
    Q_EFFECT_END,
    Q_ADVANCE,
    Q_BATCH_IN,
    Q_BATCH_OUT,
    Q_EXCEPT_IN,
    Q_EXCEPT_OUT,
    Q_LEASE_OUT
};

struct ah_run_where {
    int64_t key, dest;
    char *project;
};

struct ah_checkpointer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool running, asked, restart, stop; /* running: of the owner; the others under the lock */
    int at_pages, last_pages;           /* of the owner */
};

struct ah_store {
    sqlite3 *db;
    sqlite3_stmt *st[S_COUNT];
    struct ah_queue q;
    struct ah_loop *loop;
    struct ah_log *log;
    struct ah_store_opts opts;
    struct ah_live live;
    struct ah_ids ids;
    struct ah_clock clock;
    struct ah_openspans open;
    struct ah_buf refs; /* scratch of the commit */
    struct ah_run_where cache[AH_STORE_RUN_CACHE];
    struct ah_checkpointer ck;
    struct ah_store_stats stats;
    void (*before_commit)(void *arg);
    void *before_commit_arg;
    bool telling; /* it runs */
    void (*on_commit)(void *arg, int64_t seq);
    void *on_commit_arg;
    bool memory, safe_next, leases, sessions; /* the last two: this process has some */
    int reading; /* callbacks of reads are running, or what is queued belongs together: no flush */
    int wal_pages;
    int64_t queued_us; /* when the oldest event was queued */
    int64_t busy_us;   /* since when the file is locked; 0: it is not */
    int64_t last_key, last_seq, last_blob;
    char path[4200], trouble[600];
};

/* --- store_sql.c: running SQL. Codes are SQLite's. */
bool ah_sql_is_busy(int rc);
/* A cached statement, or a fresh one while the cached one is in use further up. give ends its use. */
sqlite3_stmt *ah_sql_take(struct ah_store *s, enum ah_sql id);
void ah_sql_give(struct ah_store *s, enum ah_sql id, sqlite3_stmt *st);
/* Letters bind the arguments: i int64_t, t text (NULL is ""), b bytes and length, x text and length, d double. */
int ah_sql_do(struct ah_store *s, enum ah_sql id, const char *letters, ...);
/* Steps what was taken and bound by hand, and gives it back. `st` NULL: it could not be taken. */
int ah_sql_step(struct ah_store *s, enum ah_sql id, sqlite3_stmt *st);
/* The one integer that a statement answers; `otherwise` when there is no row. */
int ah_sql_int(struct ah_store *s, int64_t *out, int64_t otherwise, enum ah_sql id, const char *letters, ...);
/* A statement that is used rarely; the caller finalizes it, or hands it to ah_sql_once. */
sqlite3_stmt *ah_sql_prepare(struct ah_store *s, const char *text, const char *letters, ...);
int ah_sql_once(struct ah_store *s, sqlite3_stmt *st);
int ah_sql_ask(sqlite3 *db, const char *text, int64_t *out);
int ah_sql_fail(struct ah_store *s, struct ah_error *err, int rc); /* -1, err filled */
int ah_sql_begin(struct ah_store *s);
int ah_sql_begin_wait(struct ah_store *s); /* the same, for AH_STORE_WAIT_MS, what is queued written before */
int ah_sql_end(struct ah_store *s, int rc); /* commits when rc is SQLITE_OK, else rolls back */
const char *ah_sql_text(sqlite3_stmt *st, int column);
/* Numbers in few bytes. */
void ah_sql_put_number(struct ah_buf *b, int64_t v);
int64_t ah_sql_get_number(const unsigned char **p, const unsigned char *end);

/* --- store.c */
int ah_store_queued(struct ah_store *s, const struct ah_queued *op); /* counts; -1 for NULL */
/* The row of a destination, made when it is new: it begins at the newest event. */
int ah_store_need_dest(struct ah_store *s, const char *endpoint, const char *workspace, bool emulated,
                       int64_t *dest);
/* Where a run's spans go, as a reader remembered it; key 0: forget. */
struct ah_run_where *ah_store_where_slot(struct ah_store *s, int64_t key);
void ah_store_forget_where(struct ah_store *s); /* all of them: other processes change runs, too */

/* --- store_open.c */
int ah_store_open_memory(struct ah_store *s, struct ah_error *err);
void ah_store_close_db(struct ah_store *s);
const char *ah_store_say_code(int rc); /* what SQLite's code means to a person */
void ah_store_announce(struct ah_store *s, const char *why);

/* --- store_checkpoint.c */
void ah_store_checkpoint_watch(struct ah_store *s);
void ah_store_checkpoint_ask(struct ah_store *s); /* after a commit */
void ah_store_checkpoint_stop(struct ah_store *s);

/* --- store_memory.c */
int ah_store_go_memory(struct ah_store *s, int rc); /* the file is given up; -1: no memory */
bool ah_store_make_room(struct ah_store *s);        /* the memory is full */

/* --- store_read.c */
#define AH_RUN_COLUMNS                                                                                       \
    "key, started, ended, first_seq, last_seq, id, name, script, identifier, project, error,"                \
    " CASE WHEN state = 4 AND EXISTS (SELECT 1 FROM run n WHERE n.key = run.resumed_by) THEN 5 ELSE state"   \
    " END, traced,"                                                                                          \
    " emulated, dest, input_tokens, output_tokens, model_calls, tool_calls, errors, spans, cost"
/* Steps through a statement of AH_RUN_COLUMNS and finalizes it. */
int ah_store_each_run(struct ah_store *s, sqlite3_stmt *st, int (*fn)(void *, const struct ah_store_run *),
                      void *arg, struct ah_error *err);
/* A body with its texts in place. */
int ah_store_expand(struct ah_store *s, const char *body, size_t n, const unsigned char *refs, size_t refs_n,
                    struct ah_buf *to);
/* Columns: seq, run, span, kind, at, body, refs. */
int ah_store_read_event(struct ah_store *s, sqlite3_stmt *st, struct ah_buf *body, struct ah_store_event *ev);

/* --- store_send.c */
/* Whether the process that holds something is gone. Inside a write transaction. */
bool ah_store_is_free(struct ah_store *s, const char *owner);
int ah_store_send_run(struct ah_store *s, int64_t run, const struct ah_store_where *where);

/* --- store_gc.c */
int64_t ah_store_used_bytes(struct ah_store *s);

#endif
