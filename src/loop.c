/* The loop: libuv behind the few words of loop.h. The only file that knows uv.h.
 *
 * Driven by host.c, one turn at a time. Callbacks of libuv only queue or call the small functions of
 * loop.h's users; it must never call Lua and never work with a journal transaction open. */
#include "loop.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define READY_ROUNDS 64 /* then poll once without waiting, so that a busy task starves nobody */
#define AFTER_COUNT 256 /* the same, of what waits for the others */
#define HELD_MS 2000    /* so long a journal that is locked holds up everything; then only what would leave */

struct ah_loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_timer_t turn;
    struct ah_ready ready, after, start; /* heads of circular lists */
    bool (*commit)(void *arg);
    void *commit_arg;
    int commit_retry_ms;
    uint64_t numbers;
    struct ah_clock clock;
    struct ah_ids ids;
    bool hurry, polling;
    bool fresh;      /* a watch that libuv tells the kernel of in its next poll only */
    bool held;       /* the last commit said "not now" */
    int64_t held_us; /* since when */
    int work;        /* items on other threads, or done and not yet reported */

    pthread_mutex_t lock; /* guards posts */
    struct ah_post *posts, **posts_tail;
};

static void list_init(struct ah_ready *head)
{
    head->next = head->prev = head;
}

static bool list_empty(const struct ah_ready *head)
{
    return head->next == head;
}

static void list_append(struct ah_ready *head, struct ah_ready *r)
{
    if (r->queued)
        return;
    r->queued = true;
    r->next = head;
    r->prev = head->prev;
    head->prev->next = r;
    head->prev = r;
}

static void list_unlink(struct ah_ready *r)
{
    if (!r->queued)
        return;
    r->prev->next = r->next;
    r->next->prev = r->prev;
    r->next = r->prev = NULL;
    r->queued = false;
}

/* Runs what is in the list now; what is queued meanwhile waits for the next round. */
static void list_run(struct ah_ready *head)
{
    if (list_empty(head))
        return;
    struct ah_ready now = *head;
    now.next->prev = now.prev->next = &now;
    list_init(head);
    while (!list_empty(&now)) {
        struct ah_ready *r = now.next;
        list_unlink(r);
        r->run(r); /* r may be gone after this */
    }
}

/* One of those that wait until nothing else is ready. */
static bool run_after(struct ah_loop *loop)
{
    if (list_empty(&loop->after))
        return false;
    struct ah_ready *r = loop->after.next;
    list_unlink(r);
    r->run(r);
    return true;
}

static void take_posts(struct ah_loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    struct ah_post *p = loop->posts;
    loop->posts = NULL;
    loop->posts_tail = &loop->posts;
    pthread_mutex_unlock(&loop->lock);
    while (p) {
        struct ah_post *next = p->next;
        bool heap = p->heap; /* one of somebody's own may be gone after fn */
        p->fn(p->arg);
        if (heap)
            free(p);
        p = next;
    }
}

static void on_wake(uv_async_t *async)
{
    (void)async; /* the ready phase takes the posts */
}

/* libuv runs timers before it polls, and would then wait for the next event: what a timer brought must not
 * lie there meanwhile. */
static void end_poll(struct ah_loop *loop)
{
    if (loop->polling)
        uv_stop(&loop->uv);
}

static void on_turn_timeout(uv_timer_t *t)
{
    uv_stop(t->loop);
}

struct ah_loop *ah_loop_new(struct ah_error *err)
{
    struct ah_loop *loop = calloc(1, sizeof *loop);
    if (!loop) {
        ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    list_init(&loop->ready);
    list_init(&loop->after);
    list_init(&loop->start);
    loop->posts_tail = &loop->posts;
    int rc = uv_loop_init(&loop->uv);
    if (rc < 0) {
        ah_err_set(err, AH_IO, "cannot make an event loop: %s", uv_strerror(rc));
        free(loop);
        return NULL;
    }
    pthread_mutex_init(&loop->lock, NULL);
    rc = uv_async_init(&loop->uv, &loop->wake, on_wake);
    if (rc < 0) {
        ah_err_set(err, AH_IO, "cannot make an event loop: %s", uv_strerror(rc));
        uv_loop_close(&loop->uv);
        pthread_mutex_destroy(&loop->lock);
        free(loop);
        return NULL;
    }
    uv_unref((uv_handle_t *)&loop->wake);
    uv_timer_init(&loop->uv, &loop->turn);
    uv_unref((uv_handle_t *)&loop->turn);
    loop->fresh = true; /* the one that wakes us */
    return loop;
}

void ah_loop_free(struct ah_loop *loop)
{
    if (!loop)
        return;
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->turn, NULL);
    do { /* work still on a thread ends here, and its done() runs: nothing is left behind */
        uv_run(&loop->uv, UV_RUN_DEFAULT);
        take_posts(loop);
        list_run(&loop->ready);
        run_after(loop);
    } while (loop->work > 0 || !list_empty(&loop->ready) || !list_empty(&loop->after));
    uv_loop_close(&loop->uv);
    pthread_mutex_destroy(&loop->lock);
    free(loop);
}

static bool commit_now(struct ah_loop *loop)
{
    return !loop->commit || loop->commit(loop->commit_arg);
}

static void poll_once(struct ah_loop *loop, int timeout_ms)
{
    /* A loop with nothing of its own would not wait, nor look at all. */
    uv_handle_t *alive = timeout_ms > 0    ? (uv_handle_t *)&loop->turn
                         : timeout_ms == 0 ? (uv_handle_t *)&loop->wake
                                           : NULL;
    loop->polling = true;
    loop->fresh = false;
    if (timeout_ms > 0) {
        uv_update_time(&loop->uv);
        uv_timer_start(&loop->turn, on_turn_timeout, (uint64_t)timeout_ms, 0);
    }
    if (alive)
        uv_ref(alive);
    uv_run(&loop->uv, timeout_ms == 0 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
    if (alive)
        uv_unref(alive);
    if (timeout_ms > 0)
        uv_timer_stop(&loop->turn);
    loop->polling = false;
}

static void run_all_ready(struct ah_loop *loop)
{
    int after = 0;
    for (int rounds = 0; rounds < READY_ROUNDS && after < AFTER_COUNT;) {
        take_posts(loop);
        if (!list_empty(&loop->ready)) {
            list_run(&loop->ready);
            rounds++;
        } else if (run_after(loop)) {
            rounds = 0;
            after++;
        } else {
            return;
        }
    }
}

static void commit_turn(struct ah_loop *loop)
{
    bool committed = commit_now(loop);
    if (!committed && !loop->held)
        loop->held_us = ah_clock_mono_us();
    loop->held = !committed;
}

/* A task's wait ends only when what it had ended before is kept: this is what the journal promises. */
static bool may_run(const struct ah_loop *loop)
{
    return !loop->held || ah_clock_mono_us() - loop->held_us >= HELD_MS * 1000;
}

bool ah_loop_turn(struct ah_loop *loop, int timeout_ms)
{
    bool ran = may_run(loop);
    if (ran)
        run_all_ready(loop);
    commit_turn(loop);
    if (!loop->held)
        list_run(&loop->start);
    else if (timeout_ms < 0 || timeout_ms > loop->commit_retry_ms)
        timeout_ms = loop->commit_retry_ms;
    bool ready = !list_empty(&loop->ready) || !list_empty(&loop->after);
    bool busy =
        loop->hurry || (may_run(loop) && (ready || !ran)) || (!loop->held && !list_empty(&loop->start));
    loop->hurry = false;
    poll_once(loop, busy ? 0 : timeout_ms);
    return uv_loop_alive(&loop->uv) || loop->work > 0 || !list_empty(&loop->ready) ||
           !list_empty(&loop->after) || !list_empty(&loop->start);
}

void ah_loop_hurry(struct ah_loop *loop)
{
    loop->hurry = true;
    end_poll(loop);
}

int ah_loop_fd(struct ah_loop *loop)
{
    return uv_backend_fd(&loop->uv);
}

static bool has_posts(struct ah_loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    bool any = loop->posts != NULL;
    pthread_mutex_unlock(&loop->lock);
    return any;
}

int ah_loop_timeout(struct ah_loop *loop)
{
    bool ready = !list_empty(&loop->ready) || !list_empty(&loop->after) || has_posts(loop);
    if (loop->fresh || loop->hurry || (ready && may_run(loop)) || (!loop->held && !list_empty(&loop->start)))
        return 0;
    uv_ref((uv_handle_t *)&loop->wake); /* a loop with nothing of its own would not wait at all */
    int ms = uv_backend_timeout(&loop->uv);
    uv_unref((uv_handle_t *)&loop->wake);
    return loop->held && (ms < 0 || ms > loop->commit_retry_ms) ? loop->commit_retry_ms : ms;
}

void ah_loop_wake(struct ah_loop *loop)
{
    uv_async_send(&loop->wake);
}

void ah_loop_ready(struct ah_loop *loop, struct ah_ready *r)
{
    list_append(&loop->ready, r);
    end_poll(loop);
}

void ah_loop_after(struct ah_loop *loop, struct ah_ready *r)
{
    list_append(&loop->after, r);
    end_poll(loop);
}

void ah_loop_unready(struct ah_loop *loop, struct ah_ready *r)
{
    (void)loop;
    list_unlink(r);
}

void ah_loop_set_commit(struct ah_loop *loop, bool (*commit)(void *arg), void *arg, int retry_ms)
{
    loop->commit = commit;
    loop->commit_arg = arg;
    loop->commit_retry_ms = retry_ms > 0 ? retry_ms : 1;
}

void ah_loop_start(struct ah_loop *loop, struct ah_ready *r)
{
    list_append(&loop->start, r);
    end_poll(loop);
}

void ah_loop_unstart(struct ah_loop *loop, struct ah_ready *r)
{
    (void)loop;
    list_unlink(r);
}

/* --- handles: one small heap block each, freed by libuv's close callback ------------------------ */

static void on_closed(uv_handle_t *h)
{
    free(h);
}

static void close_handle(void **impl)
{
    uv_handle_t *h = *impl;
    *impl = NULL;
    if (h) {
        h->data = NULL;
        uv_close(h, on_closed);
    }
}

static void set_background(void *impl, bool background)
{
    if (impl && background)
        uv_unref(impl);
    else if (impl)
        uv_ref(impl);
}

static void on_timer(uv_timer_t *uv)
{
    struct ah_timer *t = uv->data;
    if (t)
        t->fire(t);
}

int ah_timer_start(struct ah_loop *loop, struct ah_timer *t, int64_t ms, void (*fire)(struct ah_timer *),
                   void *arg)
{
    if (!t->impl) {
        uv_timer_t *uv = calloc(1, sizeof *uv);
        if (!uv)
            return -1;
        uv_timer_init(&loop->uv, uv);
        uv->data = t;
        t->impl = uv;
    }
    t->fire = fire;
    t->arg = arg;
    uv_update_time(&loop->uv); /* Lua may have run for long since the last poll */
    uv_timer_start(t->impl, on_timer, ms > 0 ? (uint64_t)ms : 0, 0);
    return 0;
}

void ah_timer_stop(struct ah_timer *t)
{
    close_handle(&t->impl);
}

void ah_timer_background(struct ah_timer *t, bool background)
{
    set_background(t->impl, background);
}

static void on_poll(uv_poll_t *uv, int status, int events)
{
    struct ah_watch *w = uv->data;
    if (!w)
        return;
    int seen = status < 0 ? AH_WATCH_ERROR : 0;
    if (events & UV_READABLE)
        seen |= AH_WATCH_READ;
    if (events & UV_WRITABLE)
        seen |= AH_WATCH_WRITE;
    w->on_ready(w, seen);
}

int ah_watch_start(struct ah_loop *loop, struct ah_watch *w, int fd, int events,
                   void (*on_ready)(struct ah_watch *, int), void *arg)
{
    w->on_ready = on_ready;
    w->arg = arg;
    if (!w->impl) {
        uv_poll_t *uv = calloc(1, sizeof *uv);
        if (!uv)
            return -1;
        if (uv_poll_init(&loop->uv, uv, fd) < 0) {
            free(uv);
            return -1;
        }
        uv->data = w;
        w->impl = uv;
    }
    int wanted = 0;
    if (events & AH_WATCH_READ)
        wanted |= UV_READABLE;
    if (events & AH_WATCH_WRITE)
        wanted |= UV_WRITABLE;
    loop->fresh = true;
    return uv_poll_start(w->impl, wanted, on_poll) < 0 ? -1 : 0;
}

void ah_watch_stop(struct ah_watch *w)
{
    if (w->impl)
        uv_poll_stop(w->impl);
    close_handle(&w->impl);
}

void ah_watch_background(struct ah_watch *w, bool background)
{
    set_background(w->impl, background);
}

/* --- other threads ------------------------------------------------------------------------------ */

void ah_loop_post_own(struct ah_loop *loop, struct ah_post *p)
{
    p->next = NULL;
    pthread_mutex_lock(&loop->lock);
    *loop->posts_tail = p;
    loop->posts_tail = &p->next;
    pthread_mutex_unlock(&loop->lock);
    uv_async_send(&loop->wake);
}

int ah_loop_post(struct ah_loop *loop, void (*fn)(void *arg), void *arg)
{
    struct ah_post *p = malloc(sizeof *p);
    if (!p)
        return -1;
    *p = (struct ah_post){.fn = fn, .arg = arg, .heap = true};
    ah_loop_post_own(loop, p);
    return 0;
}

struct work {
    uv_work_t uv;
    struct ah_ready ready;
    struct ah_loop *loop;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
};

static void on_work(uv_work_t *uv)
{
    struct work *w = uv->data;
    w->work(w->arg);
}

static void report_work(struct ah_ready *r)
{
    struct work *w = (struct work *)((char *)r - offsetof(struct work, ready));
    w->loop->work--;
    w->done(w->arg);
    free(w);
}

static void on_work_done(uv_work_t *uv, int status)
{
    (void)status; /* never cancelled */
    struct work *w = uv->data;
    ah_loop_ready(w->loop, &w->ready);
}

int ah_loop_work(struct ah_loop *loop, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
    struct work *w = calloc(1, sizeof *w);
    if (!w)
        return -1;
    *w = (struct work){.loop = loop, .work = work, .done = done, .arg = arg};
    w->uv.data = w;
    w->ready.run = report_work;
    if (uv_queue_work(&loop->uv, &w->uv, on_work, on_work_done) < 0) {
        free(w);
        return -1;
    }
    loop->work++;
    return 0;
}

uint64_t ah_loop_number(struct ah_loop *loop)
{
    return ++loop->numbers;
}

struct ah_clock *ah_loop_clock(struct ah_loop *loop)
{
    return &loop->clock;
}

struct ah_ids *ah_loop_ids(struct ah_loop *loop)
{
    return &loop->ids;
}
