/* The thread that moves the WAL's pages into the file, so that no fsync of theirs is on the loop. Woken by store.c after
 * a commit. It must never touch the owner's connection or its queue. */
#include "store_sql.h"

#include <signal.h>

#define CHECKPOINT_PAGES 128 /* of the WAL: then the thread is woken */
#define RESTART_PAGES 1024   /* then writers are held up for the last of it, so that the WAL begins anew */

/* WAL pages are moved into the file here, with a connection of its own, so that no fsync is on the
 * loop. The connection must have read once before it can checkpoint. */
static void checkpoint(sqlite3 *db, bool restart)
{
    int log = 0, moved = 0;
    sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, &log, &moved);
    if (restart)
        sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_RESTART, &log, &moved);
}

static void *run_checkpoints(void *arg)
{
    struct ah_store *s = arg;
    struct ah_checkpointer *ck = &s->ck;
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(s->path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK) {
        sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        sqlite3_busy_timeout(db, 50);
        sqlite3_exec(db, "PRAGMA wal_autocheckpoint = 0; SELECT count(*) FROM sqlite_master", NULL, NULL,
                     NULL);
    }
    pthread_mutex_lock(&ck->lock);
    for (;;) {
        while (!ck->asked && !ck->stop)
            pthread_cond_wait(&ck->wake, &ck->lock);
        if (!ck->asked)
            break;
        bool restart = ck->restart;
        ck->asked = ck->restart = false;
        pthread_mutex_unlock(&ck->lock);
        if (db)
            checkpoint(db, restart);
        pthread_mutex_lock(&ck->lock);
    }
    pthread_mutex_unlock(&ck->lock);
    sqlite3_close(db);
    return NULL;
}

static int start_checkpointer(struct ah_store *s)
{
    struct ah_checkpointer *ck = &s->ck;
    sigset_t all, before;
    pthread_mutex_init(&ck->lock, NULL);
    pthread_cond_init(&ck->wake, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals belong to the loop's thread */
    ck->running = pthread_create(&ck->thread, NULL, run_checkpoints, s) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ck->running ? 0 : -1;
}

void ah_store_checkpoint_ask(struct ah_store *s)
{
    struct ah_checkpointer *ck = &s->ck;
    if (s->wal_pages < ck->last_pages)
        ck->at_pages = 0; /* the WAL began anew */
    ck->last_pages = s->wal_pages;
    if (s->memory || s->wal_pages < CHECKPOINT_PAGES || s->wal_pages < ck->at_pages)
        return;
    ck->at_pages = s->wal_pages + CHECKPOINT_PAGES;
    if (!ck->running && start_checkpointer(s) != 0)
        return;
    pthread_mutex_lock(&ck->lock);
    ck->asked = true;
    ck->restart = s->wal_pages >= RESTART_PAGES;
    pthread_cond_signal(&ck->wake);
    pthread_mutex_unlock(&ck->lock);
}

void ah_store_checkpoint_stop(struct ah_store *s)
{
    struct ah_checkpointer *ck = &s->ck;
    if (!ck->running)
        return;
    pthread_mutex_lock(&ck->lock);
    ck->stop = true;
    pthread_cond_signal(&ck->wake);
    pthread_mutex_unlock(&ck->lock);
    pthread_join(ck->thread, NULL);
    pthread_mutex_destroy(&ck->lock);
    pthread_cond_destroy(&ck->wake);
    *ck = (struct ah_checkpointer){0};
}

static int on_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
    (void)db;
    (void)name;
    ((struct ah_store *)arg)->wal_pages = pages;
    return SQLITE_OK;
}

void ah_store_checkpoint_watch(struct ah_store *s)
{
    sqlite3_wal_hook(s->db, on_wal, s);
}
