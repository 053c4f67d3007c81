/* Child processes: lines both ways, ends of every kind, what they inherit, what is left behind. */
#include "child.h"

#include "log.h"
#include "loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct ah_loop *loop;
static bool commits;

struct seen {
    char lines[4096];
    size_t bytes;
    int count, ends;
    struct ah_error why;
};

static bool on_commit(void *arg)
{
    (void)arg;
    return commits;
}

static int open_files(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d))
        n++;
    closedir(d);
    return n;
}

static int set_up(void **state)
{
    (void)state;
    struct ah_error err = {0};
    commits = true;
    loop = ah_loop_new(&err);
    ah_loop_set_commit(loop, on_commit, NULL, 1);
    return loop ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    ah_loop_free(loop);
    return waitpid(-1, NULL, WNOHANG) == -1 ? 0 : -1; /* nobody is left, not even a zombie */
}

static void on_line(void *arg, const char *line, size_t n)
{
    struct seen *s = arg;
    s->count++;
    s->bytes += n;
    size_t at = strlen(s->lines);
    snprintf(s->lines + at, sizeof s->lines - at, "%.*s|", (int)(n > 100 ? 100 : n), line);
}

static void on_end(void *arg, const struct ah_error *why)
{
    struct seen *s = arg;
    s->ends++;
    ah_err_copy(&s->why, why);
}

static struct ah_child *start(struct seen *s, const char *code, struct ah_child_opts opts)
{
    const char *argv[] = {"sh", "-c", code, NULL};
    struct ah_error err = {0};
    opts.argv = argv;
    opts.on_line = on_line;
    opts.on_end = on_end;
    opts.arg = s;
    struct ah_child *c = ah_child_start(loop, &opts, &err);
    if (!c)
        fail_msg("%s", err.message);
    return c;
}

/* Until it has ended, or so many lines have come. */
static void turn(struct seen *s, int lines)
{
    for (int i = 0; i < 2000 && !s->ends && s->count < lines; i++)
        ah_loop_turn(loop, 10);
}

static void send(struct ah_child *c, const char *line)
{
    struct ah_error err = {0};
    assert_int_equal(ah_child_send(c, line, strlen(line), &err), 0);
}

static void finish(struct ah_child *c, struct seen *s)
{
    ah_child_free(c);
    ah_err_drop(&s->why);
}

static void test_lines(void **state)
{
    (void)state;
    struct seen s = {0};
    struct ah_child *c = start(&s, "while read -r x; do echo \"got $x\"; done", (struct ah_child_opts){0});
    send(c, "one");
    send(c, "two words");
    turn(&s, 2);
    assert_string_equal(s.lines, "got one|got two words|");
    ah_child_close(c);
    turn(&s, 99);
    assert_int_equal(s.ends, 1);
    assert_non_null(strstr(s.why.message, "code 0"));
    assert_true(ah_child_ended(c));
    struct ah_error err = {0};
    assert_int_equal(ah_child_send(c, "x", 1, &err), -1);
    assert_int_equal(err.kind, AH_IO);
    ah_err_drop(&err);
    finish(c, &s);
}

static void test_write_barrier(void **state)
{
    (void)state;
    struct seen s = {0};
    struct ah_child *c = start(&s, "read -r x; echo \"$x\"", (struct ah_child_opts){0});
    commits = false; /* another process writes the journal */
    send(c, "early");
    for (int i = 0; i < 20; i++)
        ah_loop_turn(loop, 5);
    assert_int_equal(s.count, 0);
    commits = true;
    turn(&s, 1);
    assert_string_equal(s.lines, "early|");
    finish(c, &s);
}

/* More than a socket takes goes out bit by bit: what is queued meanwhile still waits for its own commit. */
static void test_barrier_behind_a_full_socket(void **state)
{
    (void)state;
    struct seen s = {0};
    struct ah_child *c = start(&s, "read -r go; echo ready; sleep 0.2; wc -c", (struct ah_child_opts){0});
    size_t n = (size_t)2 << 20;
    char *much = malloc(n + 1);
    assert_non_null(much);
    memset(much, 'x', n);
    much[n] = '\0';
    send(c, "go");
    send(c, much);
    turn(&s, 1);
    commits = false;
    send(c, "late");
    for (int i = 0; i < 100; i++)
        ah_loop_turn(loop, 5);
    ah_child_close(c); /* its stdin ends behind what may be written; "late" is not */
    for (int i = 0; i < 20; i++)
        ah_loop_turn(loop, 5);
    assert_int_equal(s.count, 1);
    commits = true;
    turn(&s, 2);
    assert_string_equal(s.lines, "ready|2097158|"); /* with both line ends and "late" */
    free(much);
    finish(c, &s);
}

static void test_much(void **state)
{
    (void)state;
    struct seen s = {0};
    struct ah_child *c = start(&s, "cat", (struct ah_child_opts){0});
    char *big = malloc(3000000);
    memset(big, 'x', 3000000);
    struct ah_error err = {0};
    for (int i = 0; i < 4; i++)
        assert_int_equal(ah_child_send(c, big, 3000000, &err), 0);
    turn(&s, 4);
    assert_int_equal(s.count, 4);
    assert_int_equal(s.bytes, 12000000);
    free(big);
    finish(c, &s);
}

static void test_ends(void **state)
{
    (void)state;
    static const struct {
        const char *code, *said, *lines;
    } rows[] = {
        {"echo first >&2; echo cannot go on >&2; exit 3", "ended with code 3; its last words: cannot go on",
         ""},
        {"kill -9 $$", "ended by signal 9", ""},
        {"printf 'last line\\nno end'; exit 0", "code 0", "last line|"},
        {"printf 'dos\\r\\n\\n\\nafter empty ones\\n'", "code 0", "dos|after empty ones|"},
        {"exec >&-; exec 2>&-; sleep 0.1; exit 4", "code 4", ""},
        {"(sleep 30) & echo parent; exit 5", "code 5", "parent|"}, /* a grandchild holds its output */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct seen s = {0};
        struct ah_child *c = start(&s, rows[i].code, (struct ah_child_opts){0});
        turn(&s, 99);
        assert_int_equal(s.ends, 1);
        assert_string_equal(s.lines, rows[i].lines);
        if (!strstr(s.why.message, rows[i].said))
            fail_msg("%s: %s", rows[i].code, s.why.message);
        finish(c, &s);
    }
}

static void test_stubborn(void **state)
{
    (void)state;
    struct seen s = {0}; /* ends at neither its closed stdin nor SIGTERM */
    struct ah_child *c =
        start(&s, "trap '' TERM; echo up; while :; do sleep 1; done", (struct ah_child_opts){0});
    turn(&s, 1);
    ah_child_close(c);
    turn(&s, 99);
    assert_int_equal(s.ends, 1);
    assert_non_null(strstr(s.why.message, "signal 9"));
    finish(c, &s);
}

static void test_free_while_it_runs(void **state)
{
    (void)state;
    int files = open_files();
    struct seen s = {0};
    struct ah_child *c = start(&s, "echo up; exec sleep 1000", (struct ah_child_opts){0});
    turn(&s, 1);
    finish(c, &s);
    assert_int_equal(s.ends, 0);
    c = start(&s, "sleep 1000", (struct ah_child_opts){0}); /* at once */
    finish(c, &s);
    for (int i = 0; i < 5; i++)
        ah_loop_turn(loop, 0);
    assert_int_equal(open_files(), files);
    ah_child_free(NULL);
}

static void test_long_line(void **state)
{
    (void)state;
    struct seen s = {0};
    struct ah_child *c = start(&s, "yes | head -c 300000 | tr -d '\\n'; sleep 1000",
                               (struct ah_child_opts){.line_bytes = 100000});
    turn(&s, 99);
    assert_int_equal(s.ends, 1);
    assert_int_equal(s.why.kind, AH_LIMIT);
    assert_int_equal(s.count, 0);
    finish(c, &s);
}

static void test_environment(void **state)
{
    (void)state;
    setenv("TEST_API_KEY", "secret-of-ours", 1);
    setenv("LANG", "C", 1);
    const char *env[] = {"GIVEN=yes", NULL};
    struct seen s = {0};
    struct ah_child *c = start(&s, "echo \"${TEST_API_KEY:-none} $GIVEN $LANG $(pwd) $PATH\" | cut -c1-30",
                               (struct ah_child_opts){.env = env, .dir = "/"});
    turn(&s, 1);
    assert_int_equal(strncmp(s.lines, "none yes C / /", 14), 0);
    unsetenv("TEST_API_KEY");
    finish(c, &s);
    /* Ours are close-on-exec: a second one holds no more files than the first. */
    const char *code = "ls /proc/self/fd | wc -l; exec sleep 1000";
    struct seen one = {0}, two = {0};
    c = start(&one, code, (struct ah_child_opts){0});
    turn(&one, 1);
    struct ah_child *other = start(&two, code, (struct ah_child_opts){0});
    turn(&two, 1);
    assert_string_equal(one.lines, two.lines);
    finish(c, &one);
    finish(other, &two);
}

static void test_cannot_start(void **state)
{
    (void)state;
    int files = open_files();
    struct ah_error err = {0};
    const char *argv[] = {"no-such-program-here", NULL};
    struct ah_child_opts opts = {.argv = argv};
    assert_null(ah_child_start(loop, &opts, &err));
    assert_int_equal(err.kind, AH_CONFIG);
    assert_non_null(strstr(err.message, "no-such-program-here"));
    argv[0] = "sh";
    opts.dir = "/no/such/folder";
    assert_null(ah_child_start(loop, &opts, &err));
    assert_int_not_equal(err.kind, AH_NONE);
    ah_err_drop(&err);
    assert_int_equal(open_files(), files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_write_barrier, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_barrier_behind_a_full_socket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_much, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stubborn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_free_while_it_runs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_environment, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cannot_start, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
