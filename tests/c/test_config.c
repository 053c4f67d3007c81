/* config: which source wins, what is masked, what the emulator hides, and what "missing" says. */
#include "config.h"

#include "buf.h"
#include "log.h"
#include "secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char folder[64], one[80], two[80], none[80];
    struct ah_secrets *secrets;
    struct ah_log log;
    struct ah_buf said;
    struct ah_config *config;
};

static void on_line(void *arg, enum ah_log_level level, const char *line, size_t n)
{
    (void)level;
    ah_buf_add(arg, line, n);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    strcpy(f->folder, "/tmp/agenthost-config-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->one, sizeof f->one, "%s/one.env", f->folder);
    snprintf(f->two, sizeof f->two, "%s/two.env", f->folder);
    snprintf(f->none, sizeof f->none, "%s/none.env", f->folder);
    f->secrets = ah_secret_new();
    ah_buf_init(&f->said, 100000);
    f->log = (struct ah_log){.level = AH_LOG_WARN, .sink = on_line, .arg = &f->said, .secrets = f->secrets};
    clearenv();
    setenv("ENV_KEY", "environment-key", 1);
    setenv("OPENAI_API_KEY", "sk-real-key-000", 1);
    setenv("PLAIN", "  plain value ", 1);
    setenv("BLANK", " \t", 1);
    f->config = ah_config_new(f->secrets, &f->log);
    assert_non_null(f->config);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    ah_config_free(f->config);
    ah_secret_free(f->secrets);
    ah_buf_drop(&f->said);
    unlink(f->one);
    unlink(f->two);
    rmdir(f->folder);
    free(f);
    return 0;
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
}

static void load(struct fixture *f, const char *path)
{
    struct ah_error err = {0};
    if (ah_config_load(f->config, path, false, &err) != 0)
        fail_msg("%s", err.message);
}

static void expect(struct fixture *f, const char *name, const char *value, enum ah_config_source source)
{
    const char *got = ah_config_get(f->config, name);
    if (value) {
        assert_non_null(got);
        assert_string_equal(got, value);
    } else {
        assert_null(got);
    }
    assert_int_equal(ah_config_source_of(f->config, name), source);
}

static void expect_masked(struct fixture *f, const char *text, bool masked)
{
    assert_int_equal(ah_secret_found(f->secrets, text, strlen(text)), masked);
}

static void test_order(void **state)
{
    struct fixture *f = *state;
    write_file(f->one, "PLAIN=from one\nBLANK=from one\nA=1\nA=2\nB=one\n", 0600);
    write_file(f->two, "A=two\nB=two\nC=two\nD=$A-$PLAIN\n", 0600);
    load(f, f->one);
    load(f, f->two);
    expect(f, "PLAIN", "plain value", AH_FROM_ENVIRONMENT);
    expect(f, "BLANK", NULL, AH_FROM_NOWHERE); /* set to nothing: files do not override that */
    expect(f, "A", "2", AH_FROM_DOTENV);       /* the first file; in it the last line */
    expect(f, "B", "one", AH_FROM_DOTENV);
    expect(f, "C", "two", AH_FROM_DOTENV);
    expect(f, "D", "two-plain value", AH_FROM_DOTENV);
    expect(f, "E", NULL, AH_FROM_NOWHERE);
    assert_string_equal(ah_config_file_of(f->config, "B"), f->one);
    assert_string_equal(ah_config_file_of(f->config, "C"), f->two);
    assert_null(ah_config_file_of(f->config, "PLAIN"));
    assert_null(ah_config_file_of(f->config, "E"));
    const char *kept = ah_config_get(f->config, "PLAIN");
    assert_int_equal(ah_config_set(f->config, "PLAIN", " 'flag' ", AH_FROM_FLAG), 0);
    expect(f, "PLAIN", "flag", AH_FROM_FLAG);
    assert_string_equal(kept, "plain value"); /* answers stay valid */
    assert_int_equal(ah_config_set(f->config, "PLAIN", "again", AH_FROM_FLAG), 0);
    expect(f, "PLAIN", "again", AH_FROM_FLAG);
    assert_int_equal(ah_config_set(f->config, "X", "x", AH_FROM_DOTENV), -1);
    assert_int_equal(ah_config_set(f->config, "X", "x", AH_FROM_ENVIRONMENT), 0); /* in front of it */
    expect(f, "X", "x", AH_FROM_ENVIRONMENT);
    assert_null(getenv("X"));
    assert_int_equal(ah_config_set(f->config, "X", NULL, AH_FROM_FLAG), -1);
    assert_null(getenv("A")); /* the environment is left alone */
    assert_int_equal(f->said.n, 0);
}

static void test_trim(void **state)
{
    struct fixture *f = *state;
    static const char *const rows[][2] = {{" x ", "x"},     {"\"x\"", "x"},         {" ' x ' ", " x "},
                                          {"'x\"", "'x\""}, {"\"\"x\"\"", "\"x\""}, {"'", "'"},
                                          {"x\n", "x"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        setenv("T", rows[i][0], 1);
        assert_string_equal(ah_config_get(f->config, "T"), rows[i][1]);
    }
    static const char *const blank[] = {"", " ", "''", "\" \"", "\n"};
    for (size_t i = 0; i < sizeof blank / sizeof blank[0]; i++) {
        setenv("T", blank[i], 1);
        assert_null(ah_config_get(f->config, "T"));
    }
}

static void test_first(void **state)
{
    struct fixture *f = *state;
    const char *which = NULL;
    assert_string_equal(ah_config_first(f->config, &which, "NOPE", "BLANK", "PLAIN", "ENV_KEY", NULL),
                        "plain value");
    assert_string_equal(which, "PLAIN");
    which = "untouched";
    assert_null(ah_config_first(f->config, &which, "NOPE", "BLANK", NULL));
    assert_string_equal(which, "untouched");
    assert_string_equal(ah_config_first(f->config, NULL, "ENV_KEY", NULL), "environment-key");
}

static void test_secrets(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(ah_secret_get(f->secrets, "ENV_KEY", NULL), "environment-key");
    expect_masked(f, "plain value", false);
    write_file(f->one,
               "ENV_KEY=file-value-of-key\nDB_PASSWORD=' pass word '\nPIN_TOKEN=short\nNOTE=not-a-secret\n",
               0600);
    load(f, f->one);
    expect_masked(f, "<file-value-of-key>", true); /* overridden, and still masked */
    assert_string_equal(ah_secret_get(f->secrets, "ENV_KEY", NULL), "environment-key");
    assert_string_equal(ah_secret_get(f->secrets, "DB_PASSWORD", NULL), "pass word");
    assert_string_equal(ah_secret_get(f->secrets, "PIN_TOKEN", NULL), "short");
    expect_masked(f, "not-a-secret short", false);
    assert_int_equal(ah_config_set(f->config, "ENV_KEY", "value-of-a-flag", AH_FROM_FLAG), 0);
    assert_string_equal(ah_secret_get(f->secrets, "ENV_KEY", NULL), "value-of-a-flag");
    expect_masked(f, "value-of-a-flag", true);
    expect_masked(f, "environment-key", true);
}

static void test_emulated(void **state)
{
    struct fixture *f = *state;
    write_file(f->one, "SCALEKIT_CLIENT_SECRET=real-client-secret\nMINE=1\nCOPY=${LITELLM_API_KEY:-none}\n",
               0600);
    setenv("LITELLM_API_KEY", "sk-real-litellm", 1);
    assert_string_equal(ah_secret_get(f->secrets, "OPENAI_API_KEY", NULL), "sk-real-key-000");
    assert_int_equal(ah_config_set(f->config, "MINE", "emulator", AH_FROM_EMULATOR), 0);
    load(f, f->one);
    expect(f, "MINE", "1", AH_FROM_DOTENV); /* not yet emulated */
    ah_config_free(f->config);
    f->config = ah_config_new(f->secrets, &f->log);
    ah_config_set_emulated(f->config, true);
    assert_true(ah_config_emulated(f->config));
    load(f, f->one);
    expect(f, "OPENAI_API_KEY", NULL, AH_FROM_NOWHERE);
    expect(f, "SCALEKIT_CLIENT_SECRET", NULL, AH_FROM_NOWHERE);
    expect(f, "COPY", "none", AH_FROM_DOTENV); /* nor by expansion */
    expect(f, "MINE", "1", AH_FROM_DOTENV);
    expect(f, "ENV_KEY", "environment-key", AH_FROM_ENVIRONMENT);
    /* no handle gives a real key out, but all are masked */
    assert_null(ah_secret_get(f->secrets, "OPENAI_API_KEY", NULL));
    assert_null(ah_secret_get(f->secrets, "SCALEKIT_CLIENT_SECRET", NULL));
    expect_masked(f, "sk-real-key-000", true);
    expect_masked(f, "real-client-secret", true);
    assert_int_equal(ah_config_set(f->config, "OPENAI_API_KEY", "emulated-key", AH_FROM_EMULATOR), 0);
    expect(f, "OPENAI_API_KEY", "emulated-key", AH_FROM_EMULATOR);
    assert_string_equal(ah_secret_get(f->secrets, "OPENAI_API_KEY", NULL), "emulated-key");
    assert_int_equal(ah_config_set(f->config, "OPENAI_API_KEY", "from-the-flag", AH_FROM_FLAG), 0);
    expect(f, "OPENAI_API_KEY", "from-the-flag", AH_FROM_FLAG);
    ah_config_set_emulated(f->config, false);
    expect(f, "SCALEKIT_CLIENT_SECRET", "real-client-secret", AH_FROM_DOTENV);
    assert_string_equal(ah_secret_get(f->secrets, "SCALEKIT_CLIENT_SECRET", NULL), "real-client-secret");
    ah_config_set_emulated(f->config, true); /* a file that was loaded before */
    assert_null(ah_secret_get(f->secrets, "SCALEKIT_CLIENT_SECRET", NULL));
}

static void test_file_mode_is_warned_about(void **state)
{
    struct fixture *f = *state;
    write_file(f->one, "A_KEY=secret-in-a-file\n", 0644);
    write_file(f->two, "B=1\n", 0640);
    load(f, f->one);
    assert_non_null(strstr(f->said.p, "chmod 600"));
    assert_non_null(strstr(f->said.p, f->one));
    assert_null(strstr(f->said.p, "secret-in-a-file"));
    size_t n = f->said.n;
    load(f, f->two);
    assert_int_equal(f->said.n, n); /* said once */
}

static void test_bad_files(void **state)
{
    struct fixture *f = *state;
    struct ah_error err = {0};
    assert_int_equal(ah_config_load(f->config, f->none, true, &err), 0);
    assert_int_equal(ah_config_load(f->config, f->none, false, &err), -1);
    assert_int_equal(err.kind, AH_CONFIG);
    assert_non_null(strstr(err.message, f->none));
    assert_int_equal(ah_config_load(f->config, f->folder, true, &err), -1); /* a directory */
    assert_int_equal(err.kind, AH_CONFIG);
    write_file(f->one, "A=1\nB_KEY=half-a-secret\nnonsense\n", 0600);
    assert_int_equal(ah_config_load(f->config, f->one, true, &err), -1);
    assert_int_equal(err.kind, AH_CONFIG);
    assert_non_null(strstr(err.message, f->one));
    assert_non_null(strstr(err.message, "line 3: "));
    expect(f, "A", NULL, AH_FROM_NOWHERE); /* nothing of a broken file is used */
    expect_masked(f, "half-a-secret", true);
    FILE *file = fopen(f->two, "w");
    assert_non_null(file);
    for (int i = 0; i < (1 << 20) + 10; i++)
        fputc('#', file);
    fclose(file);
    chmod(f->two, 0600);
    assert_int_equal(ah_config_load(f->config, f->two, true, &err), -1);
    assert_non_null(strstr(err.message, "line 1: "));
    ah_err_drop(&err);
}

static void test_same_file_twice(void **state)
{
    struct fixture *f = *state;
    char again[100];
    snprintf(again, sizeof again, "%s/./one.env", f->folder);
    write_file(f->one, "A=1\n", 0600);
    load(f, f->one);
    write_file(f->one, "A=2\nB=2\n", 0600);
    load(f, f->one);
    load(f, again);
    expect(f, "A", "1", AH_FROM_DOTENV);
    expect(f, "B", NULL, AH_FROM_NOWHERE);
    struct ah_error err = {0};
    ah_config_missing(f->config, "B", &err);
    assert_null(strstr(err.message, again)); /* named once */
    assert_non_null(strstr(err.message, f->one));
    ah_err_drop(&err);
}

static void expect_missing(struct fixture *f, const char *names, const char *wanted)
{
    struct ah_error err = {0};
    assert_int_equal(ah_config_missing(f->config, names, &err), -1);
    assert_int_equal(err.kind, AH_CONFIG);
    assert_string_equal(err.message, wanted);
    ah_err_drop(&err);
}

static void test_missing(void **state)
{
    struct fixture *f = *state;
    char wanted[600];
    expect_missing(
        f, "X_KEY",
        "X_KEY is not set: not in the environment, and no .env file was read. Set it, or try --emulate "
        "(needs no account).");
    ah_config_load(f->config, f->none, true, NULL);
    write_file(f->one, "A=1\nY_KEY=\n", 0600);
    load(f, f->one);
    snprintf(wanted, sizeof wanted,
             "X_KEY is not set: not in the environment, not in %s (no such file), not in %s. Set it, or try "
             "--emulate "
             "(needs no account).",
             f->none, f->one);
    expect_missing(f, "X_KEY", wanted);
    snprintf(
        wanted, sizeof wanted,
        "BLANK and Y_KEY are not set: not in the environment, not in %s (no such file), not in %s. BLANK is "
        "there "
        "but empty in the environment. Y_KEY is there but empty in %s. Set them, or try --emulate (needs no "
        "account).",
        f->none, f->one, f->one);
    expect_missing(f, "BLANK and Y_KEY", wanted);
    ah_config_set_emulated(f->config, true);
    expect_missing(
        f, "OPENAI_API_KEY",
        "OPENAI_API_KEY is not set: with --emulate only flags and the emulator are asked. Give it as a flag, "
        "or run without --emulate.");
    struct ah_error err = {0};
    char long_name[1500];
    memset(long_name, 'X', sizeof long_name);
    long_name[sizeof long_name - 1] = '\0';
    assert_int_equal(ah_config_missing(f->config, long_name, &err), -1);
    assert_int_equal(err.kind, AH_CONFIG);
    ah_err_drop(&err);
}

static void on_name(void *arg, const char *name, const char *value)
{
    ah_buf_addf(arg, "%s=%s;", name, value);
}

static void test_each(void **state)
{
    struct fixture *f = *state;
    struct ah_buf b;
    ah_buf_init(&b, 1000);
    write_file(f->one, "LANG_B=1\nLANG_B=2\nLANG_A=no\nLANGUAGE=x\nLANG_EMPTY=\n", 0600);
    write_file(f->two, "LANG_B=3\n", 0600);
    setenv("LANG_A", "yes", 1);
    load(f, f->one);
    load(f, f->two);
    ah_config_set(f->config, "LANG_F", "flag", AH_FROM_FLAG);
    ah_config_each(f->config, "LANG_", on_name, &b);
    assert_non_null(strstr(b.p, "LANG_A=yes;"));
    assert_non_null(strstr(b.p, "LANG_B=2;"));
    assert_non_null(strstr(b.p, "LANG_F=flag;"));
    assert_int_equal(b.n, strlen("LANG_A=yes;LANG_B=2;LANG_F=flag;")); /* each once */
    ah_buf_clear(&b);
    ah_config_set_emulated(f->config, true);
    ah_config_each(f->config, "OPENAI_", on_name, &b);
    assert_int_equal(b.n, 0);
    ah_buf_drop(&b);
}

static void test_without_secrets_or_log(void **state)
{
    struct fixture *f = *state;
    struct ah_config *c = ah_config_new(NULL, NULL);
    write_file(f->one, "A_KEY=something-secret\n", 0644);
    assert_int_equal(ah_config_load(c, f->one, false, NULL), 0);
    assert_string_equal(ah_config_get(c, "A_KEY"), "something-secret");
    ah_config_free(c);
    ah_config_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void count_names(void *arg, const char *name, const char *value)
{
    (void)name;
    (void)value;
    ++*(int *)arg;
}

/* Without the environment only what was given counts; with emulation on, not even that for the services. */
static void test_alone(void **state)
{
    (void)state;
    int n = 0;
    setenv("AH_TEST_HERE", "1", 1);
    struct ah_config *c = ah_config_new_alone(NULL, NULL);
    assert_null(ah_config_get(c, "AH_TEST_HERE"));
    assert_null(ah_config_environment(c, "AH_TEST_HERE"));
    assert_int_equal(ah_config_set(c, "AH_TEST_GIVEN", "2", AH_FROM_ENVIRONMENT), 0);
    assert_int_equal(ah_config_set(c, "OPENAI_BASE_URL", "http://real", AH_FROM_ENVIRONMENT), 0);
    assert_string_equal(ah_config_get(c, "AH_TEST_GIVEN"), "2");
    ah_config_each(c, "AH_TEST_", count_names, &n);
    assert_int_equal(n, 1);
    ah_config_set_emulated(c, true);
    assert_null(ah_config_get(c, "OPENAI_BASE_URL"));
    ah_config_free(c);
    unsetenv("AH_TEST_HERE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_order),
        TEST(test_trim),
        TEST(test_first),
        TEST(test_secrets),
        TEST(test_emulated),
        TEST(test_file_mode_is_warned_about),
        TEST(test_bad_files),
        TEST(test_same_file_twice),
        TEST(test_missing),
        TEST(test_each),
        TEST(test_without_secrets_or_log),
        cmocka_unit_test(test_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
