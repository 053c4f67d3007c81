/* dotenv: the grammar row by row, and what each error says. */
#include "dotenv.h"

#include "buf.h"
#include "err.h"
#include "limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int on_line(void *arg, int line, const char *name, const char *value, size_t n)
{
    (void)value;
    (void)n;
    ah_buf_addf(arg, "%s:%d ", name, line);
    return 0;
}

static int on_pair(void *arg, int line, const char *name, const char *value, size_t n)
{
    (void)line;
    assert_int_equal(strlen(value), n);
    ah_buf_addf(arg, "%s=<%s>\n", name, value);
    return strcmp(name, "STOP") == 0;
}

static const char *on_lookup(void *arg, const char *name)
{
    (void)arg;
    if (strcmp(name, "HOME") == 0)
        return "/home/me";
    return strcmp(name, "EMPTY") == 0 ? "" : NULL;
}

static int parse(const char *p, size_t n, struct ah_buf *to, struct ah_error *err)
{
    ah_buf_init(to, 64 << 20);
    return ah_dotenv_parse(p, n, on_lookup, on_pair, to, err);
}

static void expect(const char *text, const char *pairs)
{
    struct ah_buf b;
    struct ah_error err = {0};
    if (parse(text, strlen(text), &b, &err) != 0)
        fail_msg("%s: %s", text, err.message);
    assert_string_equal(ah_buf_str(&b), pairs);
    ah_buf_drop(&b);
}

static void expect_error(const char *text, const char *start, const char *hint)
{
    struct ah_buf b;
    struct ah_error err = {0};
    if (parse(text, strlen(text), &b, &err) == 0)
        fail_msg("taken: %s", text);
    assert_int_equal(err.kind, AH_CONFIG);
    if (strncmp(err.message, start, strlen(start)) != 0 || !strstr(err.message, hint))
        fail_msg("%s: %s", text, err.message);
    ah_buf_drop(&b);
}

static void test_lines(void **state)
{
    (void)state;
    expect("", "");
    expect("\n \n\t\r\n# comment\n  # another = one\n", "");
    expect("A=1", "A=<1>\n");
    expect("A=1\nB=2\n", "A=<1>\nB=<2>\n");
    expect("A=1\r\nB=2\r\n", "A=<1>\nB=<2>\n");
    expect("\xef\xbb\xbf"
           "A=1\n",
           "A=<1>\n");
    expect("  A = 1  \n", "A=<1>\n");
}

static void test_unquoted(void **state)
{
    (void)state;
    expect("A=\nB= \nC=\t\r\n", "A=<>\nB=<>\nC=<>\n");
    expect("A=a b  c \n", "A=<a b  c>\n");
    expect("A=a # comment\nB=a#b\nC=a#b #c\n", "A=<a>\nB=<a#b>\nC=<a#b>\n");
    expect("A=#x\nB= # x\nC=##x #\nD=\t#\n", "A=<#x>\nB=<>\nC=<##x>\nD=<>\n");
    expect("A=it's\nB=a\"b\nC=a=b==\n", "A=<it's>\nB=<a\"b>\nC=<a=b==>\n");
    expect("A=C:\\n\\new\n", "A=<C:\\n\\new>\n"); /* no escapes outside double quotes */
    expect("_a1=x\nA=1\nA=2\n", "_a1=<x>\nA=<1>\nA=<2>\n");
    expect("A=\xc3\xa9 \xff\n", "A=<\xc3\xa9 \xff>\n");
}

static void test_export(void **state)
{
    (void)state;
    expect("export A=1\nexport\tB=2\n  export   C=3\n", "A=<1>\nB=<2>\nC=<3>\n");
    expect("export=1\nexport =2\nexported=3\n", "export=<1>\nexport=<2>\nexported=<3>\n");
    expect_error("export A\n", "line 1: ", "NAME=value");
    expect_error("export\n", "line 1: ", "NAME=value");
}

static void test_quotes(void **state)
{
    (void)state;
    expect("A='a b # $HOME \\n \"'\n", "A=<a b # $HOME \\n \">\n");
    expect("A='' # c\nB=\"\"#c\n", "A=<>\nB=<>\n");
    expect("A=\" a\\n\\r\\t\\\\\\\"\\$HOME # \"\n", "A=< a\n\r\t\\\"$HOME # >\n");
    expect("A=\"\\x\\'\\\n\"\n", "A=<\\x\\'\\\n>\n"); /* unknown escapes stay */
    expect("A='one\ntwo\r\n'\nB=2\n", "A=<one\ntwo\r\n>\nB=<2>\n");
    expect("A=\"-----BEGIN\nabc=\n-----END\"\r\nB=2", "A=<-----BEGIN\nabc=\n-----END>\nB=<2>\n");
    expect("A= 'x' \r\nB =\"y\"", "A=<x>\nB=<y>\n");
}

static void test_expansion(void **state)
{
    (void)state;
    expect("A=$HOME/x\nB=${HOME}x\nC=\"$HOME\"\nD='$HOME'\n",
           "A=</home/me/x>\nB=</home/mex>\nC=</home/me>\nD=<$HOME>\n");
    expect("A=$NOPE.\nB=${NOPE}.\nC=$EMPTY.\n", "A=<.>\nB=<.>\nC=<.>\n");
    expect("A=${NOPE:-d e}\nB=${EMPTY:-d}\nC=${HOME:-d}\nD=${NOPE:-}\n",
           "A=<d e>\nB=<d>\nC=</home/me>\nD=<>\n");
    expect("A=${NOPE:-${ALSO:-x}$HOME}\nB=\"${NOPE:-a\\\"b\nc}\"\n", "A=<x/home/me>\nB=<a\"b\nc>\n");
    expect("A=1\nB=$A$A\nA=2\nC=${A}\n", "A=<1>\nB=<11>\nA=<2>\nC=<2>\n");
    expect("HOME=mine\nA=$HOME\n", "HOME=<mine>\nA=<mine>\n"); /* this text's lines win */
    expect("A=$A.\nB=${B:-new}\n", "A=<.>\nB=<new>\n");
    expect("A=$ $1 $$ a$\n", "A=<$ $1 $$ a$>\n");
    expect("A=$NOPE # c\nB=${NOPE:-a # b} # c\n", "A=<>\nB=<a # b>\n");
    struct ah_buf b;
    struct ah_error err = {0};
    ah_buf_init(&b, 1000);
    assert_int_equal(ah_dotenv_parse("A=$HOME.", 8, NULL, on_pair, &b, &err), 0); /* no lookup */
    assert_string_equal(b.p, "A=<.>\n");
    ah_buf_drop(&b);
}

static void test_errors(void **state)
{
    (void)state;
    expect_error("A=1\nnonsense\n", "line 2: ", "NAME=value");
    expect_error("A=1\n\nsk-abc\n", "line 3: ", "NAME=value");
    expect_error("1A=x\n", "line 1: ", "begin with a digit");
    expect_error("A-B=x\n", "line 1: ", "letters, digits");
    expect_error("A B=x\n", "line 1: ", "letters, digits");
    expect_error("\xc3\xa9=x\n", "line 1: ", "letters, digits");
    expect_error("=x\n", "line 1: ", "no name");
    expect_error("B=2\nA='x\ny\n", "line 2: ", "never closed");
    expect_error("B=2\nA=\"x\ny\n", "line 2: ", "never closed");
    expect_error("A=\"x\\\"\n", "line 1: ", "never closed");
    expect_error("A='a\nb' c\n", "line 2: ", "after the closing quote");
    expect_error("A=\"a\nb\" c\n", "line 2: ", "after the closing quote");
    expect_error("A=\"a\"'b'\n", "line 1: ", "after the closing quote");
    expect_error("A=${\n", "line 1: ", "single quotes");
    expect_error("A=${HOME\n", "line 1: ", "single quotes");
    expect_error("A=${HOME-x}\n", "line 1: ", "single quotes");
    expect_error("A=${1}\n", "line 1: ", "single quotes");
    expect_error("A=${X:-y\nB=1}\n", "line 1: ", "'}'");
    expect_error("A=\"${X:-y\"\n", "line 1: ", "'}'");
    expect_error("A=\"${X:-y", "line 1: ", "'}'");
    struct ah_buf b;
    struct ah_error err = {0};
    assert_int_equal(parse("A=1\nB=\0\n", 8, &b, &err), -1);
    assert_int_equal(strncmp(err.message, "line 2: ", 8), 0);
    assert_int_equal(b.n, 0); /* nothing of such a file */
    ah_buf_drop(&b);
    assert_int_equal(parse("A=1\nSTOP=1\nB=2", 14, &b, &err), -1);
    assert_int_equal(err.kind, AH_CANCELLED);
    assert_string_equal(b.p, "A=<1>\nSTOP=<1>\n");
    ah_buf_drop(&b);
}

/* A message may be shown to anyone: it never quotes the file. */
static void test_errors_show_no_text(void **state)
{
    (void)state;
    static const char *const texts[] = {"hunter22",     "hunter 22=hunter22", "A='hunter22",
                                        "A=${hunter22", "A='x' hunter22",     "hunter22-x=y"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct ah_buf b;
        struct ah_error err = {0};
        assert_int_equal(parse(texts[i], strlen(texts[i]), &b, &err), -1);
        assert_null(strstr(err.message, "hunter"));
        ah_buf_drop(&b);
    }
}

static void test_limits(void **state)
{
    (void)state;
    struct ah_buf text, b;
    struct ah_error err = {0};
    ah_buf_init(&text, 2 * AH_DOTENV_BYTES);
    ah_buf_adds(&text, "A=");
    while (text.n < AH_DOTENV_BYTES)
        ah_buf_addc(&text, 'x');
    assert_int_equal(parse(text.p, text.n, &b, &err), 0);
    ah_buf_drop(&b);
    ah_buf_addc(&text, 'x');
    assert_int_equal(parse(text.p, text.n, &b, &err), -1);
    assert_int_equal(strncmp(err.message, "line 1: ", 8), 0);
    ah_buf_drop(&b);
    ah_buf_clear(&text);
    ah_buf_adds(&text, "A=xxxxxxxxxxxxxxxx\n"); /* each line doubles the last */
    for (int i = 0; i < 40; i++)
        ah_buf_adds(&text, "A=$A$A\n");
    assert_int_equal(parse(text.p, text.n, &b, &err), -1);
    assert_non_null(strstr(err.message, "too large"));
    ah_buf_drop(&b);
    ah_buf_clear(&text);
    for (int i = 0; i < 5000; i++)
        ah_buf_addf(&text, "A%d=\n", i);
    assert_int_equal(parse(text.p, text.n, &b, &err), -1);
    assert_int_equal(strncmp(err.message, "line 4097: ", 11), 0);
    ah_buf_drop(&b);
    ah_buf_clear(&text);
    ah_buf_adds(&text, "A=");
    for (int i = 0; i < 1000; i++)
        ah_buf_adds(&text, "${X:-");
    assert_int_equal(parse(text.p, text.n, &b, &err), -1);
    assert_non_null(strstr(err.message, "deep"));
    ah_buf_drop(&b);
    ah_buf_drop(&text);
    ah_err_drop(&err);
}

static void test_line_numbers(void **state)
{
    (void)state;
    struct ah_buf b;
    static const char text[] = "# c\nA=1\r\n\nB=\"x\ny\"\nexport C='\n\n'\nD=";
    ah_buf_init(&b, 4096);
    assert_int_equal(ah_dotenv_parse(text, sizeof text - 1, on_lookup, on_line, &b, NULL), 0);
    assert_string_equal(ah_buf_str(&b), "A:2 B:4 C:6 D:9 ");
    ah_buf_drop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line_numbers), cmocka_unit_test(test_lines),
        cmocka_unit_test(test_unquoted),     cmocka_unit_test(test_export),
        cmocka_unit_test(test_quotes),       cmocka_unit_test(test_expansion),
        cmocka_unit_test(test_errors),       cmocka_unit_test(test_errors_show_no_text),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
