/* Sessions in the journal: rows behind rows, forks that share them, one process at a time, and rows that are
 * damaged. Two stores of one folder stand for two processes: each has a lock of its own. */
#include "log.h"
#include "store.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char dir[64];

static void ignore(void *arg, enum ah_log_level level, const char *line, size_t n)
{
    (void)arg, (void)level, (void)line, (void)n;
}

static struct ah_log quiet = {.level = AH_LOG_ERROR, .sink = ignore};

static int new_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/ah-session-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static struct ah_store *open_store(void)
{
    struct ah_error err = {0};
    struct ah_store *s =
        ah_store_open(&(struct ah_store_opts){.dir = dir, .need_file = true}, NULL, &quiet, &err);
    assert_non_null(s);
    return s;
}

static const struct ah_store_session trip = {.identifier = "ann", .name = "trip", .script = "a.lua"};

static int64_t open_session(struct ah_store *s, const char *name)
{
    struct ah_store_session want = trip;
    struct ah_error err = {0};
    int64_t key = 0;
    want.name = name;
    if (ah_store_session_open(s, &want, false, &key, &err) != 0)
        fail_msg("%s", err.message);
    return key;
}

/* A body that begins with + belongs to the step before it. */
static int add(struct ah_store *s, int64_t key, int64_t *tip, struct ah_error *err, int count, ...)
{
    struct ah_store_message list[8] = {{0}};
    va_list args;
    va_start(args, count);
    for (int i = 0; i < count; i++) {
        list[i].body = va_arg(args, const char *);
        list[i].same_step = list[i].body[0] == '+';
        list[i].body += list[i].same_step;
        list[i].n = strlen(list[i].body);
    }
    va_end(args);
    return ah_store_session_append(s, key, *tip, list, (size_t)count, tip, err);
}

#define ADD(s, key, tip, ...)                                                                                \
    do {                                                                                                     \
        struct ah_error e_ = {0};                                                                            \
        const char *list_[] = {__VA_ARGS__};                                                                 \
        for (size_t i_ = 0; i_ < sizeof list_ / sizeof *list_; i_++)                                         \
            assert_int_equal(add(s, key, tip, &e_, 1, list_[i_]), 0);                                        \
    } while (0)

static int write_row(void *arg, const struct ah_store_message *m)
{
    char *to = arg;
    size_t at = strlen(to);
    snprintf(to + at, 500 - at, "%lld%s%.*s ", (long long)m->step, m->same_step ? "+" : "=", (int)m->n,
             m->body);
    return 0;
}

struct found {
    int count;
    bool busy;
    int64_t key, tip, steps, forked_at;
    char forked_from[40];
};

static int take(void *arg, const struct ah_store_session *session)
{
    struct found *f = arg;
    f->count++;
    f->busy = session->busy;
    f->key = session->key;
    f->tip = session->tip;
    f->steps = session->steps;
    f->forked_at = session->forked_at;
    snprintf(f->forked_from, sizeof f->forked_from, "%s", session->forked_from);
    return 0;
}

static struct found find(struct ah_store *s, const char *name)
{
    struct found f = {0};
    struct ah_error err = {0};
    assert_int_equal(ah_store_sessions(s, "ann", name, take, &f, &err), 0);
    return f;
}

static const char *text_of(struct ah_store *s, const char *name)
{
    static char text[500];
    struct ah_error err = {0};
    text[0] = '\0';
    assert_int_equal(ah_store_session_read(s, find(s, name).tip, write_row, text, &err), 0);
    return text;
}

static int64_t number_of(const char *sql)
{
    char path[100];
    sqlite3 *db;
    sqlite3_stmt *st;
    snprintf(path, sizeof path, "%s/journal.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    int64_t n = sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int64(st, 0) : -1;
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

static void steps_in_order(void **state)
{
    (void)state;
    struct ah_store *s = open_store();
    struct ah_error err = {0};
    int64_t key = 0, tip = 0;
    assert_int_equal(ah_store_session_open(s, &trip, true, &key, &err), -1);
    assert_int_equal(err.kind, AH_NOT_FOUND);
    assert_int_equal(find(s, "trip").count, 0);
    key = open_session(s, "trip");
    assert_true(find(s, "trip").busy);
    assert_string_equal(text_of(s, "trip"), "");
    assert_int_equal(add(s, key, &tip, &err, 4, "1", "2", "+3", "+4"), 0);
    ADD(s, key, &tip, "5");
    assert_string_equal(text_of(s, "trip"), "1=1 2=2 2+3 2+4 3=5 ");
    assert_int_equal(find(s, "trip").steps, 3);
    ah_store_session_close(s, key);
    assert_false(find(s, "trip").busy);
    assert_int_equal(open_session(s, "trip"), key);
    ah_store_close(s);
}

static void forks_at_every_step(void **state)
{
    (void)state;
    static const char *const upto[] = {"1=1 2=2 2+3 3=4 ", "1=1 ", "1=1 2=2 2+3 ", "1=1 2=2 2+3 3=4 "};
    struct ah_store *s = open_store();
    struct ah_error err = {0};
    int64_t key = open_session(s, "trip"), tip = 0, other;
    char name[8];
    assert_int_equal(ah_store_session_fork(s, key, 0, "empty", &err), 0);
    assert_string_equal(text_of(s, "empty"), "");
    ADD(s, key, &tip, "1", "2", "+3", "4");
    for (int at = 0; at < 4; at++) {
        snprintf(name, sizeof name, "f%d", at);
        assert_int_equal(ah_store_session_fork(s, key, at, name, &err), 0);
        assert_string_equal(text_of(s, name), upto[at]);
        assert_int_equal(find(s, name).forked_at, at ? at : 3);
        assert_string_equal(find(s, name).forked_from, "trip");
        assert_false(find(s, name).busy);
    }
    assert_int_equal(ah_store_session_fork(s, key, 4, "far", &err), -1);
    assert_int_equal(err.kind, AH_CONFIG);
    assert_int_equal(ah_store_session_fork(s, key, -1, "far", &err), -1);
    assert_int_equal(ah_store_session_fork(s, key, 1, "f1", &err), -1);
    assert_int_equal(err.kind, AH_CONFIG);
    assert_int_equal(ah_store_session_fork(s, 12345, 1, "far", &err), -1);
    assert_int_equal(err.kind, AH_NOT_FOUND);
    assert_int_equal(find(s, "far").count, 0);
    other = open_session(s, "f2");
    int64_t end = find(s, "f2").tip;
    ADD(s, other, &end, "5");
    ADD(s, key, &tip, "6");
    assert_string_equal(text_of(s, "f2"), "1=1 2=2 2+3 3=5 ");
    assert_string_equal(text_of(s, "trip"), "1=1 2=2 2+3 3=4 4=6 ");
    ah_store_close(s);
}

static void removes_what_nobody_shares(void **state)
{
    (void)state;
    struct ah_store *s = open_store();
    struct ah_error err = {0};
    int64_t key = open_session(s, "trip"), tip = 0;
    ADD(s, key, &tip, "1", "2", "3");
    assert_int_equal(ah_store_session_fork(s, key, 2, "side", &err), 0);
    assert_int_equal(ah_store_session_remove(s, key, &err), 0);
    assert_int_equal(find(s, "trip").count, 0);
    assert_string_equal(text_of(s, "side"), "1=1 2=2 ");
    assert_int_equal(number_of("SELECT count(*) FROM session_message"), 2);
    assert_int_equal(add(s, key, &tip, &err, 1, "4"), -1);
    assert_int_equal(err.kind, AH_NOT_FOUND);
    assert_int_equal(ah_store_session_remove(s, find(s, "side").key, &err), 0);
    assert_int_equal(number_of("SELECT count(*) FROM session_message"), 0);
    assert_int_equal(ah_store_session_remove(s, key, &err), -1);
    ah_store_close(s);
}

static void one_process_at_a_time(void **state)
{
    (void)state;
    struct ah_store *s = open_store(), *other = open_store();
    struct ah_error err = {0};
    int64_t key = open_session(s, "trip"), tip = 0, key2 = 0, late = 0;
    ADD(s, key, &tip, "1");
    assert_int_equal(ah_store_session_open(other, &trip, false, &key2, &err), -1);
    assert_string_equal(err.code, "session_busy");
    late = tip;
    assert_int_equal(add(other, key, &late, &err, 1, "2"), -1);
    assert_string_equal(err.code, "session_busy");
    assert_int_equal(ah_store_session_remove(other, key, &err), -1);
    ah_store_session_close(other, key); /* not its own: stays */
    assert_true(find(other, "trip").busy);
    assert_int_equal(ah_store_session_fork(other, key, 1, "side", &err), 0);
    ah_store_close(s); /* as a process that ended without a word */
    assert_false(find(other, "trip").busy);
    assert_int_equal(ah_store_session_open(other, &trip, true, &key2, &err), 0);
    assert_int_equal(key2, key);
    ADD(other, key, &tip, "2");
    assert_string_equal(text_of(other, "trip"), "1=1 2=2 ");
    ah_store_close(other);
}

/* A run that is resumed adds what it had added already: once. What somebody else said since is not overwritten. */
static void adds_once(void **state)
{
    (void)state;
    struct ah_store *s = open_store();
    struct ah_error err = {0};
    int64_t key = open_session(s, "trip"), tip = 0, again, tries[] = {0, 0, 0};
    ADD(s, key, &tip, "1");
    again = tip;
    assert_int_equal(add(s, key, &tip, &err, 2, "2", "+3"), 0);
    assert_int_equal(add(s, key, &again, &err, 2, "2", "+3"), 0);
    assert_int_equal(again, tip);
    assert_string_equal(text_of(s, "trip"), "1=1 2=2 2+3 ");
    for (int i = 0; i < 3; i++)
        tries[i] = tip - 2;
    assert_int_equal(add(s, key, &tries[0], &err, 1, "2"), -1);
    assert_string_equal(err.code, "session_moved");
    assert_int_equal(add(s, key, &tries[1], &err, 2, "2", "+4"), -1);
    assert_int_equal(add(s, key, &tries[2], &err, 3, "2", "+3", "4"), -1);
    assert_string_equal(text_of(s, "trip"), "1=1 2=2 2+3 ");
    ah_store_close(s);
}

static void damaged_rows_are_said(void **state)
{
    (void)state;
    static const char *const harm[] = {
        "UPDATE session_message SET parent = n WHERE step = 2",
        "UPDATE session_message SET parent = n + 1 WHERE step = 2",
        "UPDATE session_message SET parent = 999 WHERE step = 1",
        "DELETE FROM session_message WHERE step = 1",
        "UPDATE session SET tip = 999",
        "UPDATE session_message SET body = '{\"role\":' WHERE step = 2",
        "UPDATE session_message SET body = '' WHERE step = 3",
    };
    static const int sound[] = {0, 0, 0, 0, 0, 1, 2}; /* the last step that can still be read */
    for (size_t i = 0; i < sizeof harm / sizeof *harm; i++) {
        struct ah_store *s = open_store();
        struct ah_error err = {0};
        char text[500] = "", place[40];
        int64_t key = open_session(s, "trip"), tip = 0;
        ADD(s, key, &tip, "1", "2", "3");
        ah_store_session_close(s, key);
        number_of(harm[i]);
        assert_int_equal(ah_store_session_read(s, find(s, "trip").tip, write_row, text, &err), -1);
        assert_int_equal(err.kind, AH_JOURNAL);
        snprintf(place, sizeof place, sound[i] ? "behind step %d" : "from its first step on", sound[i]);
        assert_non_null(strstr(err.message, place));
        if (sound[i]) {
            assert_int_equal(ah_store_session_fork(s, key, sound[i], "side", &err), 0);
            assert_int_equal(strlen(text_of(s, "side")), (size_t)sound[i] * 4);
            assert_int_equal(ah_store_session_remove(s, find(s, "side").key, &err), 0);
        } else {
            assert_int_equal(ah_store_session_fork(s, key, 1, "side", &err), i == 2 ? 0 : -1);
            assert_int_equal(find(s, "side").count, i == 2);
        }
        assert_int_equal(ah_store_session_remove(s, key, &err), 0);
        if (i == 2)
            assert_int_equal(ah_store_session_remove(s, find(s, "side").key, &err), 0);
        assert_int_equal(number_of("SELECT count(*) FROM session_message"), 0);
        ah_store_close(s);
    }
}

static void names_and_places(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "a\nb", "\x7f", "\xff", "\xed\xa0\x80"};
    struct ah_store *s = open_store();
    struct ah_error err = {0};
    struct ah_store_session want = trip;
    char longest[102];
    int64_t key;
    memset(longest, 'x', sizeof longest);
    longest[101] = '\0';
    for (size_t i = 0; i <= sizeof bad / sizeof *bad; i++) {
        want.name = i < sizeof bad / sizeof *bad ? bad[i] : longest;
        assert_int_equal(ah_store_session_open(s, &want, false, &key, &err), -1);
        assert_int_equal(err.kind, AH_CONFIG);
    }
    longest[100] = '\0';
    assert_int_equal(ah_store_session_open(s, &want, false, &key, &err), 0);
    want = trip;
    key = open_session(s, "trip");
    assert_int_equal(ah_store_session_fork(s, key, 0, "a\nb", &err), -1);
    want.emulated = true;
    assert_int_equal(ah_store_session_open(s, &want, false, &key, &err), -1);
    assert_non_null(strstr(err.message, "with real services"));
    want.identifier = "bob"; /* his own, of the same name */
    assert_int_equal(ah_store_session_open(s, &want, false, &key, &err), 0);
    struct found f = {0};
    assert_int_equal(ah_store_session_find(s, NULL, "trip", take, &f, &err), -1);
    assert_int_equal(err.kind, AH_CONFIG);
    assert_int_equal(ah_store_session_find(s, "bob", "trip", take, &f, &err), 0);
    ah_store_close(s);
    s = ah_store_open(&(struct ah_store_opts){.memory = true}, NULL, &quiet, &err);
    assert_int_equal(ah_store_session_open(s, &trip, false, &key, &err), -1);
    assert_int_equal(err.kind, AH_JOURNAL);
    ah_store_close(s);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, new_dir, remove_dir)
    const struct CMUnitTest tests[] = {
        TEST(steps_in_order),        TEST(forks_at_every_step), TEST(removes_what_nobody_shares),
        TEST(one_process_at_a_time), TEST(adds_once),           TEST(damaged_rows_are_said),
        TEST(names_and_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
