/* options: reading by tables, presets, mistakes, usage and help. */
#include "options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct common {
    bool json;
    const char *user;
    const char *tags[AH_OPTIONS_REPEAT_MAX + 1];
};
struct own {
    bool all;
    long limit;
    double wait, timeout;
    const char *pairs[AH_OPTIONS_REPEAT_MAX + 1];
};

static int run(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    (void)ctx;
    (void)argv;
    return argc;
}

static const struct ah_option ls_options[] = {
    {.name = "--all", .letter = 'a', .offset = offsetof(struct own, all), .help = "all of them"},
    {.name = "--limit",
     .kind = AH_OPTION_COUNT,
     .offset = offsetof(struct own, limit),
     .argument = "N",
     .preset = "7",
     .min = 1,
     .max = 9,
     .help = "at most"},
    {.name = "--wait",
     .kind = AH_OPTION_SECONDS,
     .offset = offsetof(struct own, wait),
     .argument = "S",
     .preset = "-1",
     .bare = "300",
     .max = 1000,
     .help = "wait"},
    {.name = "--timeout",
     .kind = AH_OPTION_SECONDS,
     .offset = offsetof(struct own, timeout),
     .argument = "S",
     .help = "t"},
    {.name = "--arg",
     .kind = AH_OPTION_PAIRS,
     .offset = offsetof(struct own, pairs),
     .argument = "K=V",
     .help = "p"},
    {0},
};
static const struct ah_option common_options[] = {
    {.name = "--json", .offset = offsetof(struct common, json), .help = "as JSON", .heading = "Common"},
    {.name = "--user",
     .kind = AH_OPTION_TEXT,
     .offset = offsetof(struct common, user),
     .argument = "ID",
     .help = "who"},
    {.name = "--tag",
     .kind = AH_OPTION_LIST,
     .offset = offsetof(struct common, tags),
     .argument = "T",
     .help = "tag"},
    {0},
};
static const struct ah_command ls = {.name = "ls",
                                     .words = "[WORD]",
                                     .summary = "lists",
                                     .max_words = 1,
                                     .options = ls_options,
                                     .values = sizeof(struct own),
                                     .run = run};
static const struct ah_command show = {.name = "show",
                                       .words = "ID",
                                       .summary = "shows",
                                       .min_words = 1,
                                       .max_words = 1,
                                       .missing = "which?",
                                       .run = run};
static const struct ah_command *const subs[] = {&ls, &show, NULL};
static const struct ah_command trace = {.name = "trace", .summary = "of runs", .subs = subs};
static const struct ah_command go = {
    .name = "go", .words = "FILE", .summary = "goes", .max_words = -1, .run = run};
static const struct ah_command *const commands[] = {&trace, &go, NULL};
static const struct ah_command root = {
    .name = "prog", .summary = "x", .options = common_options, .subs = commands};

struct line {
    struct ah_options_found found;
    struct common common;
    struct own own;
    struct ah_error err;
    int argc, code;
    bool help;
    char *argv[100];
};

/* Words apart by one blank. */
static void read_line(struct line *l, const char *text)
{
    static char copy[1000];
    memset(l, 0, sizeof *l);
    snprintf(copy, sizeof copy, "%s", text);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        l->argv[l->argc++] = word;
    ah_options_find(&root, &l->argc, l->argv, &l->found);
    l->code = l->found.unknown
                  ? ah_options_unknown(&l->found, &l->err)
                  : ah_options_read(&l->found, &l->common, &l->own, &l->argc, l->argv, &l->help, &l->err);
}

static void test_values(void **state)
{
    (void)state;
    struct line l;
    read_line(&l, "--user me trace --json ls -a word --limit=3 --wait --tag x --tag=y=z --arg k=v --arg k2= "
                  "--timeout 0.5");
    assert_int_equal(l.code, 0);
    assert_ptr_equal(ah_options_last(&l.found), &ls);
    assert_int_equal(l.argc, 1);
    assert_string_equal(l.argv[0], "word");
    assert_null(l.argv[1]);
    assert_true(l.common.json && l.own.all);
    assert_string_equal(l.common.user, "me");
    assert_int_equal(l.own.limit, 3);
    assert_true(l.own.wait == 300 && l.own.timeout == 0.5);
    assert_string_equal(l.common.tags[1], "y=z");
    assert_null(l.common.tags[2]);
    assert_string_equal(l.own.pairs[1], "k2=");
}

static void test_units(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        double seconds;
    } rows[] = {{"trace ls --timeout 5", 5},
                {"trace ls --timeout 5s", 5},
                {"trace ls --timeout=250ms", 0.25},
                {"trace ls --timeout 1.5m", 90}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct line l;
        read_line(&l, rows[i].line);
        assert_int_equal(l.code, 0);
        assert_true(l.own.timeout == rows[i].seconds);
    }
}

static void test_presets(void **state)
{
    (void)state;
    struct line l;
    read_line(&l, "trace ls");
    assert_int_equal(l.code, 0);
    assert_int_equal(l.own.limit, 7);
    assert_true(l.own.wait == -1 && l.own.timeout == 0);
    read_line(&l, "trace ls --wait 5 word");
    assert_true(l.code == 0 && l.own.wait == 5 && l.argc == 1);
    read_line(&l, "trace ls --wait word");
    assert_true(l.code == 0 && l.own.wait == 300 && l.argc == 1);
    read_line(&l, "trace --limit 2 ls"); /* before the name of its command */
    assert_true(l.code == 0 && l.own.limit == 2 && l.argc == 0);
}

static void test_rest(void **state)
{
    (void)state;
    struct line l;
    read_line(&l, "go a - -- --json -- b");
    assert_int_equal(l.code, 0);
    assert_false(l.common.json);
    assert_int_equal(l.argc, 5);
    assert_string_equal(l.argv[1], "-");
    assert_string_equal(l.argv[2], "--json");
    assert_string_equal(l.argv[3], "--");
    read_line(&l, "-- trace ls"); /* what follows is nobody's command */
    assert_true(l.found.depth == 1 && !l.found.unknown);
    read_line(&l, "");
    assert_true(l.code == 0 && l.found.depth == 1);
    read_line(&l, "trace ls --help --nonsense");
    assert_true(l.code == 0 && l.help);
    read_line(&l, "go x -h");
    assert_true(l.code == 0 && l.help);
}

static void test_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *line, *message;
    } rows[] = {
        {"trcae", "unknown command 'trcae' (did you mean 'trace'?); `prog help` lists them"},
        {"trace sl", "unknown word 'sl' after trace (did you mean 'ls'?)"},
        {"trace", "trace needs a sub-command"},
        {"trace show", "which?"},
        {"trace show a b", "unknown word 'b' after trace show"},
        {"trace ls --limti 3",
         "unknown option '--limti' (did you mean '--limit'?); `prog help trace ls` lists them"},
        {"trace ls --usre=3",
         "unknown option '--usre=3' (did you mean '--user'?); `prog help trace ls` lists them"},
        {"go -z", "unknown option '-z'; `prog help go` lists them; put -- before a script's own options"},
        {"--jsno", "unknown option '--jsno' (did you mean '--json'?); `prog help` lists them"},
        {"trace ls --limit", "--limit needs a value: N"},
        {"trace ls --limit 0", "--limit takes a number, from 1 to 9, not '0'"},
        {"trace ls --limit 10", "--limit takes a number, from 1 to 9, not '10'"},
        {"trace ls --limit 3x", "--limit takes a number, from 1 to 9, not '3x'"},
        {"trace ls --limit=", "--limit takes a number, from 1 to 9, not ''"},
        {"trace ls --limit 99999999999999999999",
         "--limit takes a number, from 1 to 9, not '99999999999999999999'"},
        {"trace ls --wait 1001", "--wait takes seconds, from 0 to 1000, not '1001'"},
        {"trace ls --timeout nan", "--timeout takes seconds, not 'nan'"},
        {"trace ls --timeout -1", "--timeout takes seconds, not '-1'"},
        {"trace ls --timeout 5y", "--timeout takes seconds, not '5y'"},
        {"trace ls --timeout s", "--timeout takes seconds, not 's'"},
        {"trace ls --limit 3s", "--limit takes a number, from 1 to 9, not '3s'"},
        {"trace ls --arg =v", "--arg takes K=V, not '=v'"},
        {"trace ls --json=1", "--json takes no value"},
        {"trace show --limit 3 x", "unknown option '--limit'; `prog help trace show` lists them"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct line l;
        read_line(&l, rows[i].line);
        assert_int_equal(l.code, -1);
        assert_int_equal(l.err.kind, AH_CONFIG);
        assert_string_equal(l.err.message, rows[i].message);
    }
}

static void test_too_many(void **state)
{
    (void)state;
    struct ah_options_found found;
    struct common common = {0};
    struct ah_error err = {0};
    static char words[AH_OPTIONS_REPEAT_MAX + 2][12];
    char *argv[AH_OPTIONS_REPEAT_MAX + 3] = {0};
    int argc = 0;
    bool help;
    strcpy(words[argc], "go");
    argv[argc] = words[argc];
    for (argc = 1; argc < AH_OPTIONS_REPEAT_MAX + 2; argc++) {
        strcpy(words[argc], "--tag=x");
        argv[argc] = words[argc];
    }
    ah_options_find(&root, &argc, argv, &found);
    assert_int_equal(ah_options_read(&found, &common, NULL, &argc, argv, &help, &err), -1);
    assert_non_null(strstr(err.message, "more than 64 --tag"));
}

static void test_texts(void **state)
{
    (void)state;
    struct line l;
    struct ah_buf b;
    ah_buf_init(&b, 4096);
    read_line(&l, "trace ls");
    ah_options_usage(&l.found, &b);
    assert_string_equal(ah_buf_str(&b),
                        "prog trace ls [WORD] [--all] [--limit N] [--wait [S]] [--timeout S] [--arg K=V]");
    ah_buf_clear(&b);
    read_line(&l, "trace");
    ah_options_help(&l.found, &b);
    assert_string_equal(ah_buf_str(&b), "usage: prog trace ls [WORD] | show ID\n\nof runs\n\n"
                                        "  ls [WORD]                 lists\n"
                                        "      -a, --all             all of them\n"
                                        "      --limit N             at most (7)\n"
                                        "      --wait [S]            wait\n"
                                        "      --timeout S           t\n"
                                        "      --arg K=V             p\n"
                                        "  show ID                   shows\n"
                                        "\nOptions of every command: prog help\n");
    ah_buf_clear(&b);
    read_line(&l, "");
    ah_options_help(&l.found, &b);
    assert_string_equal(ah_buf_str(&b), "Commands:\n"
                                        "  trace                     of runs\n"
                                        "  go                        goes\n"
                                        "\nCommon:\n"
                                        "  --json                    as JSON\n"
                                        "  --user ID                 who\n"
                                        "  --tag T                   tag\n");
    ah_buf_drop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values), cmocka_unit_test(test_units),    cmocka_unit_test(test_presets),
        cmocka_unit_test(test_rest),   cmocka_unit_test(test_mistakes), cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
