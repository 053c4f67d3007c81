/* Opening and closing the journal: the folder and file, the schema and its migrations, memory when the file cannot be
 * used. Called by whoever holds a store (store.h). It must never wait longer than AH_STORE_WAIT_MS for a lock, nor open
 * a file that a newer agenthost wrote. */
#include "limits.h"
#include "log.h"
#include "loop.h"
#include "store_sql.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* migrations[v] leads from version v to v + 1. Never changed once released, only added to. */
static const char *const migrations[AH_STORE_VERSION] = {
    "CREATE TABLE event(seq INTEGER PRIMARY KEY, run INTEGER NOT NULL, span INTEGER NOT NULL,"
    " kind INTEGER NOT NULL, at INTEGER NOT NULL, body TEXT NOT NULL, refs BLOB);"
    "CREATE TABLE blob(n INTEGER PRIMARY KEY, sha256 BLOB NOT NULL, bytes TEXT NOT NULL);"
    "CREATE TABLE run(key INTEGER PRIMARY KEY, id TEXT NOT NULL, name TEXT NOT NULL, script TEXT NOT NULL,"
    " identifier TEXT NOT NULL, project TEXT NOT NULL, owner TEXT NOT NULL, dest INTEGER NOT NULL,"
    " pushed INTEGER NOT NULL DEFAULT 0, emulated INTEGER NOT NULL, state INTEGER NOT NULL,"
    " traced INTEGER NOT NULL, started INTEGER NOT NULL, ended INTEGER NOT NULL DEFAULT 0,"
    " first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',"
    " input_tokens INTEGER NOT NULL DEFAULT 0, output_tokens INTEGER NOT NULL DEFAULT 0,"
    " model_calls INTEGER NOT NULL DEFAULT 0, tool_calls INTEGER NOT NULL DEFAULT 0,"
    " errors INTEGER NOT NULL DEFAULT 0, spans INTEGER NOT NULL DEFAULT 0, cost REAL);"
    "CREATE UNIQUE INDEX run_id ON run(id);"
    "CREATE INDEX run_open ON run(owner) WHERE state = 0;"
    "CREATE TABLE effect(run INTEGER NOT NULL, n INTEGER NOT NULL, span INTEGER NOT NULL,"
    " class INTEGER NOT NULL, kind TEXT NOT NULL, what TEXT NOT NULL, args_sha256 BLOB NOT NULL,"
    " begin_seq INTEGER NOT NULL, end_seq INTEGER NOT NULL DEFAULT 0, issued INTEGER NOT NULL DEFAULT 0,"
    " completed INTEGER NOT NULL DEFAULT 0, status INTEGER NOT NULL DEFAULT 0,"
    " error INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(run, n)) WITHOUT ROWID;"
    "CREATE TABLE dest(n INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, workspace TEXT NOT NULL,"
    " emulator TEXT NOT NULL, position INTEGER NOT NULL, lease TEXT NOT NULL DEFAULT '',"
    " UNIQUE(endpoint, workspace, emulator));"
    "CREATE TABLE batch(id INTEGER PRIMARY KEY, dest INTEGER NOT NULL, attempts INTEGER NOT NULL,"
    " created INTEGER NOT NULL, items BLOB NOT NULL);"
    "CREATE TABLE exception(dest INTEGER NOT NULL, run INTEGER NOT NULL, span INTEGER NOT NULL,"
    " state INTEGER NOT NULL, start_seq INTEGER NOT NULL, end_seq INTEGER NOT NULL,"
    " patch INTEGER NOT NULL, due INTEGER NOT NULL, reason TEXT NOT NULL,"
    " PRIMARY KEY(dest, run, span)) WITHOUT ROWID;"
    "CREATE INDEX exception_due ON exception(dest, state, due);",
    "ALTER TABLE run ADD COLUMN resumed_by INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE approval(run INTEGER NOT NULL, seq INTEGER NOT NULL, asked INTEGER NOT NULL,"
    " sha256 TEXT NOT NULL, question TEXT NOT NULL, state INTEGER NOT NULL DEFAULT 0,"
    " reason TEXT NOT NULL DEFAULT '', decided INTEGER NOT NULL DEFAULT 0,"
    " PRIMARY KEY(run, seq)) WITHOUT ROWID;",
    "CREATE TABLE session(key INTEGER PRIMARY KEY, id TEXT NOT NULL, identifier TEXT NOT NULL,"
    " name TEXT NOT NULL, script TEXT NOT NULL, emulated INTEGER NOT NULL, started INTEGER NOT NULL,"
    " used INTEGER NOT NULL, tip INTEGER NOT NULL DEFAULT 0, writer TEXT NOT NULL DEFAULT '',"
    " forked_from TEXT NOT NULL DEFAULT '', forked_at INTEGER NOT NULL DEFAULT 0,"
    " UNIQUE(identifier, name));"
    "CREATE TABLE session_message(n INTEGER PRIMARY KEY, parent INTEGER NOT NULL, step INTEGER NOT NULL,"
    " at INTEGER NOT NULL, run INTEGER NOT NULL, body TEXT NOT NULL);",
};

int ah_store_default_dir(char *out, size_t size, struct ah_error *err)
{
    const char *own = getenv("AGENTHOST_HOME"), *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n;
    if (own && *own)
        n = snprintf(out, size, "%s", own);
    else if (state && *state == '/') /* the XDG rule: relative paths are ignored */
        n = snprintf(out, size, "%s/agenthost", state);
    else if (home && *home)
        n = snprintf(out, size, "%s/.local/state/agenthost", home);
    else
        return ah_err_set(err, AH_CONFIG, "no place for the journal: set AGENTHOST_HOME to a folder");
    if (n < 0 || (size_t)n >= size)
        return ah_err_set(err, AH_CONFIG,
                          "the folder of the journal has too long a name: set AGENTHOST_HOME");
    return 0;
}

/* Every missing folder of the path, for its owner only, whatever the umask. */
static int make_folders(const char *path)
{
    char part[4096];
    int n = snprintf(part, sizeof part, "%s", path);
    if (n < 1 || (size_t)n >= sizeof part) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (char *at = part + 1;; at++) {
        if (*at != '/' && *at != '\0')
            continue;
        char c = *at;
        *at = '\0';
        if (mkdir(part, 0700) == 0)
            (void)!chmod(part, 0700);
        else if (errno != EEXIST && (c == '\0' || (errno != EACCES && errno != EROFS && errno != EPERM)))
            return -1;
        *at = c;
        if (c == '\0')
            break;
    }
    struct stat st;
    if (stat(part, &st) != 0)
        return -1;
    if (S_ISDIR(st.st_mode))
        return 0;
    errno = ENOTDIR;
    return -1;
}

/* The file exists and is 0600 before SQLite sees it; WAL and shared memory take its mode. */
static int make_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        if (errno != EEXIST)
            return -1;
        (void)!chmod(path, 0600);
        return 0;
    }
    (void)!fchmod(fd, 0600);
    close(fd);
    return 0;
}

/* Brings the schema to AH_STORE_VERSION. Another process may do the same at the same time. */
static int migrate(sqlite3 *db, char *why, size_t size)
{
    int64_t version = 0, tables = 0;
    int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = ah_sql_ask(db, "PRAGMA user_version", &version);
    if (rc == SQLITE_OK)
        rc = ah_sql_ask(db, "SELECT count(*) FROM sqlite_master", &tables);
    if (rc == SQLITE_OK && version == 0 && tables > 0) {
        snprintf(why, size, "it is another program's database");
        rc = SQLITE_MISMATCH;
    }
    for (; rc == SQLITE_OK && version < AH_STORE_VERSION; version++)
        rc = sqlite3_exec(db, migrations[version], NULL, NULL, NULL);
    char text[64];
    snprintf(text, sizeof text, "PRAGMA user_version = %d", AH_STORE_VERSION);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, text, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    if (rc != SQLITE_OK && !sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

static int set_up(sqlite3 *db, int64_t max_pages, char *why, size_t size)
{
    char text[160];
    int64_t version = 0;
    snprintf(text, sizeof text, "PRAGMA page_size = %d; PRAGMA temp_store = MEMORY", AH_STORE_PAGE_BYTES);
    int rc = sqlite3_exec(db, text, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = ah_sql_ask(db, "PRAGMA user_version", &version);
    if (rc == SQLITE_OK && version > AH_STORE_VERSION) {
        snprintf(why, size,
                 "it was written by a newer agenthost (journal version %lld, this one knows %d): update "
                 "agenthost, or set AGENTHOST_HOME to another folder",
                 (long long)version, AH_STORE_VERSION);
        return SQLITE_MISMATCH;
    }
    if (rc == SQLITE_OK && max_pages > 0) {
        snprintf(text, sizeof text, "PRAGMA max_page_count = %lld", (long long)max_pages);
        rc = sqlite3_exec(db, text, NULL, NULL, NULL);
    }
    return rc;
}

static int use_wal(sqlite3 *db)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, "PRAGMA journal_mode = WAL", -1, &st, NULL);
    if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        const unsigned char *mode = sqlite3_column_text(st, 0);
        rc = mode && strcmp((const char *)mode, "wal") == 0 ? SQLITE_OK : SQLITE_CANTOPEN;
    }
    sqlite3_finalize(st);
    return rc;
}

static int open_db(struct ah_store *s, char *why, size_t size)
{
    int rc = sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, AH_STORE_WAIT_MS);
    if (sqlite3_db_readonly(s->db, "main") == 1)
        return SQLITE_READONLY;
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    rc = set_up(s->db, s->opts.max_pages, why, size);
    int64_t until = ah_clock_mono_us() + AH_STORE_WAIT_MS * 1000;
    while (rc == SQLITE_OK && ah_sql_is_busy(rc = use_wal(s->db)) && ah_clock_mono_us() < until) {
        usleep(2000); /* two processes make the same new file: here no busy handler is asked */
        rc = SQLITE_OK;
    }
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(s->db, "PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = NORMAL", NULL, NULL,
                          NULL);
    if (rc == SQLITE_OK)
        rc = migrate(s->db, why, size);
    if (rc == SQLITE_OK) {
        ah_store_checkpoint_watch(s);
        sqlite3_busy_timeout(s->db, 0);
    }
    return rc;
}

void ah_store_close_db(struct ah_store *s)
{
    for (int i = 0; i < S_COUNT; i++) {
        sqlite3_finalize(s->st[i]);
        s->st[i] = NULL;
    }
    sqlite3_close_v2(s->db);
    s->db = NULL;
}

const char *ah_store_say_code(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "another program keeps it locked: end that program, or set AGENTHOST_HOME to another folder";
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return "it is read-only: change its rights, or set AGENTHOST_HOME to another folder";
    case SQLITE_FULL:
        return "the disk is full: make room, or set AGENTHOST_HOME to another folder";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return "it is damaged: move it away to begin a new one";
    case SQLITE_CANTOPEN:
        return "it cannot be opened there: set AGENTHOST_HOME to a folder of yours";
    default:
        return sqlite3_errstr(rc);
    }
}

static int open_file(struct ah_store *s, char *why, size_t size)
{
    char dir[4096], id[AH_UUID_BYTES];
    struct ah_error err = {0};
    if (s->opts.dir)
        snprintf(dir, sizeof dir, "%s", s->opts.dir);
    else if (ah_store_default_dir(dir, sizeof dir, &err) != 0) {
        snprintf(why, size, "%.200s", err.message);
        return -1;
    }
    snprintf(s->path, sizeof s->path, "%s/journal.db", dir);
    if (make_folders(dir) != 0 || make_file(s->path) != 0) {
        snprintf(why, size, "%s", strerror(errno));
        return -1;
    }
    snprintf(id, sizeof id, "%s", s->live.id);
    if (ah_live_open(&s->live, dir, id, &err) != 0) {
        snprintf(why, size, "%.200s", err.message);
        snprintf(s->live.id, sizeof s->live.id, "%s", id);
        return -1;
    }
    int rc = open_db(s, why, size);
    if (rc != SQLITE_OK) {
        if (!*why)
            snprintf(why, size, "%s", ah_store_say_code(rc));
        ah_store_close_db(s);
        ah_live_close(&s->live);
        snprintf(s->live.id, sizeof s->live.id, "%s", id);
        return -1;
    }
    return 0;
}

int ah_store_open_memory(struct ah_store *s, struct ah_error *err)
{
    char why[200] = "";
    size_t bytes = s->opts.memory_bytes ? s->opts.memory_bytes : AH_JOURNAL_MEMORY_BYTES;
    int rc = sqlite3_open_v2(":memory:", &s->db,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK)
        rc = set_up(s->db, (int64_t)(bytes / AH_STORE_PAGE_BYTES), why, sizeof why);
    if (rc == SQLITE_OK)
        rc = migrate(s->db, why, sizeof why);
    s->memory = true;
    if (rc == SQLITE_OK)
        return 0;
    ah_store_close_db(s);
    return ah_err_set(err, AH_MEMORY, "no memory for a journal: %s", sqlite3_errstr(rc));
}

void ah_store_announce(struct ah_store *s, const char *why)
{
    snprintf(s->trouble, sizeof s->trouble, "the journal %.300s cannot be used: %.200s", s->path, why);
    if (!s->opts.quiet && s->log)
        ah_log_once(s->log, AH_ONCE_JOURNAL, AH_LOG_WARN,
                    "%s. Traces are kept in memory and end with this process%s", s->trouble,
                    s->opts.allow_no_journal ? "" : "; unsafe calls are refused (--no-journal allows them)");
}

static bool commit_turn(void *arg)
{
    return ah_store_flush(arg) == AH_STORE_OK;
}

static struct ah_store *give_up(struct ah_store *s)
{
    s->loop = NULL;
    ah_store_close(s);
    return NULL;
}

struct ah_store *ah_store_open(const struct ah_store_opts *opts, struct ah_loop *loop, struct ah_log *log,
                               struct ah_error *err)
{
    struct ah_store *s = calloc(1, sizeof *s);
    if (!s || ah_queue_init(&s->q) != 0) {
        free(s);
        ah_err_set(err, AH_MEMORY, "no memory for the journal");
        return NULL;
    }
    s->opts = *opts;
    s->log = log;
    ah_buf_init(&s->refs, AH_STORE_BODY_BYTES);
    ah_ids_uuid7(&s->ids, ah_clock_wall_us(&s->clock), s->live.id);
    char why[400] = "";
    if (opts->memory) {
        if (ah_store_open_memory(s, err) != 0)
            return give_up(s);
    } else if (open_file(s, why, sizeof why) != 0) {
        if (opts->need_file) {
            ah_err_set(err, AH_JOURNAL, "the journal %.300s cannot be used: %.300s", s->path, why);
            return give_up(s);
        }
        ah_store_announce(s, why);
        if (ah_store_open_memory(s, err) != 0)
            return give_up(s);
    } else {
        ah_store_recover(s, NULL, NULL); /* a busy file: the next process does it */
    }
    s->opts.dir = NULL; /* the caller's memory */
    s->loop = loop;
    if (loop)
        ah_loop_set_commit(loop, commit_turn, s, AH_STORE_RETRY_MS);
    return s;
}

void ah_store_close(struct ah_store *s)
{
    if (!s)
        return;
    if (s->loop)
        ah_loop_set_commit(s->loop, NULL, NULL, AH_STORE_RETRY_MS);
    s->on_commit = NULL;
    if (s->db) {
        ah_store_flush_wait(s, AH_STORE_WAIT_MS);
        ah_store_checkpoint_stop(s);
        if (s->leases)
            ah_sql_once(s, ah_sql_prepare(s, "UPDATE dest SET lease = '' WHERE lease = ?1", "t", s->live.id));
        if (s->sessions)
            ah_sql_once(
                s, ah_sql_prepare(s, "UPDATE session SET writer = '' WHERE writer = ?1", "t", s->live.id));
        ah_store_close_db(s);
    }
    ah_live_close(&s->live);
    ah_queue_drop(&s->q);
    ah_buf_drop(&s->refs);
    free(s->open.slots);
    for (int i = 0; i < AH_STORE_RUN_CACHE; i++)
        free(s->cache[i].project);
    free(s);
}

bool ah_store_durable(const struct ah_store *s)
{
    return !s->memory;
}

bool ah_store_allows_unsafe(const struct ah_store *s)
{
    return !s->memory || s->opts.allow_no_journal;
}

const char *ah_store_trouble(const struct ah_store *s)
{
    return s->trouble;
}

const char *ah_store_path(const struct ah_store *s)
{
    return s->memory ? "" : s->path;
}

const char *ah_store_live_id(const struct ah_store *s)
{
    return s->live.id;
}

const struct ah_store_stats *ah_store_stats(const struct ah_store *s)
{
    return &s->stats;
}
