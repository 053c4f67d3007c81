/* The loop: the order of a turn, what may be queued from where, timers, sockets, other threads. */
#include "loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static char trail[256];

static void mark(char c)
{
    size_t n = strlen(trail);
    if (n + 1 < sizeof trail)
        trail[n] = c, trail[n + 1] = '\0';
}

struct item {
    struct ah_ready r;
    struct ah_loop *loop;
    char name;
    int again;
    struct item *other;
};

static void run_item(struct ah_ready *r)
{
    struct item *i = (struct item *)r;
    mark(i->name);
    if (i->again-- > 0)
        ah_loop_ready(i->loop, &i->r);
    if (i->other)
        ah_loop_unready(i->loop, &i->other->r);
}

static bool commits = true;

static bool on_commit(void *arg)
{
    (void)arg;
    mark('|');
    return commits;
}

static int open_loop(void **state)
{
    struct ah_error err = {0};
    trail[0] = '\0';
    commits = true;
    *state = ah_loop_new(&err);
    return *state ? 0 : -1;
}

static int close_loop(void **state)
{
    ah_loop_free(*state);
    return 0;
}

static void test_order(void **state)
{
    struct ah_loop *loop = *state;
    ah_loop_set_commit(loop, on_commit, NULL, 1);
    struct item a = {{.run = run_item}, loop, 'a', 2, NULL}, b = {{.run = run_item}, loop, 'b', 0, NULL},
                s = {{.run = run_item}, loop, 's', 0, NULL};
    ah_loop_start(loop, &s.r);
    ah_loop_ready(loop, &a.r);
    ah_loop_ready(loop, &b.r);
    ah_loop_ready(loop, &b.r); /* once at a time */
    ah_loop_turn(loop, 0);
    assert_string_equal(trail, "abaa|s"); /* re-queued runs in the same turn, after the others */
    trail[0] = '\0';
    commits = false;
    ah_loop_start(loop, &s.r);
    assert_true(ah_loop_turn(loop, 0));
    assert_true(ah_loop_turn(loop, 1000));
    assert_string_equal(trail, "||"); /* held back */
    commits = true;
    ah_loop_turn(loop, 0);
    assert_string_equal(trail, "|||s");
    trail[0] = '\0';
    ah_loop_start(loop, &s.r);
    ah_loop_unstart(loop, &s.r);
    assert_false(ah_loop_turn(loop, 0)); /* nothing is left */
    assert_string_equal(trail, "|");
}

/* What a task had ended before a wait must be kept before the wait ends. */
static void test_held(void **state)
{
    struct ah_loop *loop = *state;
    ah_loop_set_commit(loop, on_commit, NULL, 1);
    static struct item a, b; /* outlive a failed assertion */
    a = (struct item){{.run = run_item}, loop, 'a', 0, NULL};
    b = (struct item){{.run = run_item}, loop, 'b', 0, NULL};
    commits = false;
    ah_loop_ready(loop, &a.r);
    ah_loop_turn(loop, 0);
    ah_loop_ready(loop, &b.r);
    assert_int_equal(ah_loop_timeout(loop), 1); /* a try, not a spin */
    assert_true(ah_loop_turn(loop, -1));
    assert_true(ah_loop_turn(loop, 0));
    assert_string_equal(trail, "a|||");
    commits = true;
    assert_true(ah_loop_turn(loop, -1)); /* b is ready now */
    assert_int_equal(ah_loop_timeout(loop), 0);
    assert_false(ah_loop_turn(loop, 0));
    assert_string_equal(trail, "a||||b|");
}

static void test_unready(void **state)
{
    struct ah_loop *loop = *state;
    struct item c = {{.run = run_item}, loop, 'c', 0, NULL}, b = {{.run = run_item}, loop, 'b', 0, NULL},
                a = {{.run = run_item}, loop, 'a', 0, &c};
    ah_loop_ready(loop, &a.r);
    ah_loop_ready(loop, &b.r);
    ah_loop_ready(loop, &c.r);
    ah_loop_turn(loop, 0);
    assert_string_equal(trail, "ab"); /* also out of the round that runs */
    ah_loop_unready(loop, &c.r);
}

/* What is ready for ever does not keep timers from firing. */
static void on_timer(struct ah_timer *t)
{
    mark('t');
    ah_timer_stop(t);
}

static void test_busy(void **state)
{
    struct ah_loop *loop = *state;
    struct item a = {{.run = run_item}, loop, '.', 1 << 30, NULL};
    struct ah_timer t = {0};
    ah_timer_start(loop, &t, 1, on_timer, NULL);
    ah_loop_ready(loop, &a.r);
    for (int i = 0; i < 100000 && t.impl; i++) {
        trail[0] = '\0';
        ah_loop_turn(loop, 1000);
    }
    assert_null(t.impl);
    ah_loop_unready(loop, &a.r);
}

static void fire(struct ah_timer *t)
{
    mark(*(char *)t->arg);
}

static void test_timers(void **state)
{
    struct ah_loop *loop = *state;
    struct ah_timer a = {0}, b = {0}, c = {0};
    assert_false(ah_loop_turn(loop, 0));
    ah_timer_stop(&a); /* all-zero is fine */
    ah_timer_background(&a, true);
    ah_timer_start(loop, &b, 20, fire, "b");
    ah_timer_start(loop, &a, 2, fire, "a");
    ah_timer_start(loop, &c, 3, fire, "c");
    ah_timer_start(loop, &c, 60000, fire, "c"); /* set anew */
    while (strlen(trail) < 2)
        assert_true(ah_loop_turn(loop, 1000));
    assert_string_equal(trail, "ab");
    ah_timer_background(&c, true);
    ah_timer_stop(&a);
    ah_timer_stop(&b);
    ah_loop_turn(loop, 0);
    assert_false(ah_loop_turn(loop, 0)); /* a background timer is nothing to wait for */
    ah_timer_stop(&c);
    ah_timer_start(loop, &c, -5, fire, "d"); /* past: at once */
    ah_loop_turn(loop, 1000);
    assert_string_equal(trail, "abd");
    ah_timer_stop(&c);
}

static void on_watch(struct ah_watch *w, int events)
{
    char buf[16];
    if (events & AH_WATCH_READ) {
        mark('r');
        if (read(*(int *)w->arg, buf, sizeof buf) <= 0)
            mark('e');
        ah_watch_stop(w);
    }
    if (events & AH_WATCH_WRITE)
        mark('w');
}

static void test_watch(void **state)
{
    struct ah_loop *loop = *state;
    int fds[2];
    struct ah_watch w = {0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(ah_watch_start(loop, &w, -1, AH_WATCH_READ, on_watch, &fds[0]), -1);
    assert_null(w.impl);
    assert_int_equal(ah_watch_start(loop, &w, fds[0], AH_WATCH_READ, on_watch, &fds[0]), 0);
    ah_loop_turn(loop, 1);
    assert_string_equal(trail, "");
    assert_int_equal(write(fds[1], "x", 1), 1);
    while (!trail[0])
        ah_loop_turn(loop, 1000);
    assert_string_equal(trail, "r");
    assert_int_equal(ah_watch_start(loop, &w, fds[0], AH_WATCH_WRITE, on_watch, &fds[0]), 0);
    while (!trail[1])
        ah_loop_turn(loop, 1000);
    assert_int_equal(trail[1], 'w');
    ah_watch_stop(&w);
    ah_watch_stop(&w);
    close(fds[0]);
    close(fds[1]);
}

static atomic_int posted;

static void on_post(void *arg)
{
    posted += *(int *)arg;
}

static void *post_many(void *arg)
{
    static int one = 1;
    for (int i = 0; i < 1000; i++)
        if (ah_loop_post(arg, on_post, &one) != 0)
            abort();
    return NULL;
}

static void test_post(void **state)
{
    struct ah_loop *loop = *state;
    pthread_t threads[4];
    struct ah_timer alive = {0};
    posted = 0;
    ah_timer_start(loop, &alive, 600000, fire, "x");
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, loop), 0);
    for (int i = 0; i < 100000 && posted < 4000; i++)
        ah_loop_turn(loop, 100);
    assert_int_equal(posted, 4000);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ah_timer_stop(&alive);
    static int one = 1;
    ah_loop_post(loop, on_post, &one); /* runs when the loop is freed: nothing is lost */
}

static pthread_t owner;

static void work(void *arg)
{
    assert_false(pthread_equal(pthread_self(), owner));
    usleep(2000);
    ++*(int *)arg;
}

static void done(void *arg)
{
    assert_true(pthread_equal(pthread_self(), owner));
    *(int *)arg += 10;
}

static void test_work(void **state)
{
    struct ah_loop *loop = *state;
    static int a, b;
    a = b = 0;
    owner = pthread_self();
    assert_int_equal(ah_loop_work(loop, work, done, &a), 0);
    while (ah_loop_turn(loop, 1000)) /* it counts as something left */
        ;
    assert_int_equal(a, 11);
    assert_int_equal(ah_loop_work(loop, work, done, &b), 0);
    ah_loop_free(loop); /* waits for the thread, and done is called */
    assert_int_equal(b, 11);
    struct ah_error err = {0};
    *state = ah_loop_new(&err);
}

static void test_numbers(void **state)
{
    struct ah_loop *loop = *state;
    assert_int_equal(ah_loop_number(loop), 1);
    assert_int_equal(ah_loop_number(loop), 2);
    assert_true(ah_loop_fd(loop) >= 0);
    assert_ptr_equal(ah_loop_clock(loop), ah_loop_clock(loop));
    ah_loop_hurry(loop);
    struct ah_timer t = {0};
    ah_timer_start(loop, &t, 600000, fire, "x");
    ah_loop_turn(loop, -1); /* would wait ten minutes */
    ah_timer_stop(&t);
    ah_loop_free(NULL);
}

#define UNIT(f) cmocka_unit_test_setup_teardown(f, open_loop, close_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {UNIT(test_order), UNIT(test_held),   UNIT(test_unready),
                                       UNIT(test_busy),  UNIT(test_timers), UNIT(test_watch),
                                       UNIT(test_post),  UNIT(test_work),   UNIT(test_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
