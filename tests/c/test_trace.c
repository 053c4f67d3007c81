/* Runs, spans, effects: what reaches the journal, in what shape, masked, and where it would be sent. */
#include "buf.h"
#include "clock.h"
#include "config.h"
#include "json.h"
#include "log.h"
#include "loop.h"
#include "secret.h"
#include "store.h"
#include "trace.h"
#include "tracing.h"
#include "tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct ah_log quiet = {.level = AH_LOG_ERROR};
static struct ah_core core;

static const char *const variables[] = {
    "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING_V2", "LANGSMITH_TRACING",      "LANGCHAIN_TRACING",
    "LANGSMITH_API_KEY",    "LANGCHAIN_API_KEY",    "LANGSMITH_ENDPOINT",     "LANGCHAIN_ENDPOINT",
    "LANGSMITH_PROJECT",    "LANGCHAIN_PROJECT",    "LANGSMITH_WORKSPACE_ID", "LANGSMTIH_TRACING"};

static int set_up(void **state)
{
    struct ah_error err = {0};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
    core = (struct ah_core){.log = &quiet};
    core.loop = ah_loop_new(&err);
    core.secrets = ah_secret_new();
    core.config = ah_config_new(core.secrets, &quiet);
    core.store = ah_store_open(&(struct ah_store_opts){.memory = true, .allow_no_journal = true}, core.loop,
                               &quiet, &err);
    core.trace = ah_trace_new(&core, &err);
    *state = core.trace;
    return core.trace ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    ah_trace_free(core.trace);
    ah_store_close(core.store);
    ah_config_free(core.config);
    ah_secret_free(core.secrets);
    ah_loop_free(core.loop);
    return 0;
}

static void set(const char *name, const char *value)
{
    ah_config_set(core.config, name, value, AH_FROM_FLAG);
}

static void tracing_on(void)
{
    set("LANGSMITH_TRACING", "true");
    set("LANGSMITH_API_KEY", "lsv2_pt_0123456789");
}

static struct ah_run *start(const char *name)
{
    struct ah_run_opts o = {.name = name, .traced = true};
    struct ah_run *run = ah_run_start(core.trace, &o, NULL);
    assert_non_null(run);
    return run;
}

/* All events of a run, one JSON text a line. */
static int add_line(void *arg, const struct ah_store_event *ev)
{
    struct ah_error err = {0};
    if (ah_json_check(ev->body, ev->n, 0, NULL, &err) != 0)
        fail_msg("%s: %s", err.message, ev->body);
    ah_buf_addf(arg, "%d %s\n", (int)ev->kind, ev->body);
    return 0;
}

static char *lines_of(int64_t key)
{
    struct ah_buf b;
    ah_buf_init(&b, 64 << 20);
    assert_int_equal(ah_store_flush(core.store), AH_STORE_OK);
    assert_int_equal(ah_store_run_events(core.store, key, add_line, &b, NULL), 0);
    char *text = ah_buf_take(&b, NULL);
    assert_non_null(text);
    return text;
}

/* Line `index` as JSON, checked again so that ranges point into it. */
static struct ah_json line(char *text, int index)
{
    char *p = text;
    while (index-- > 0)
        p = strchr(p, '\n') + 1;
    struct ah_json v;
    assert_int_equal(ah_json_check(p + 2, strcspn(p, "\n") - 2, 0, &v, NULL), 0);
    return v;
}

static void expect(struct ah_json v, const char *path, const char *wanted)
{
    char key[64];
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        snprintf(key, sizeof key, "%.*s", (int)n, p);
        v = v.type == AH_JSON_ARRAY ? ah_json_at(v, strtoul(key, NULL, 10)) : ah_json_get(v, key);
        p += n + (p[n] == '/');
    }
    char got[512];
    snprintf(got, sizeof got, "%.*s", (int)v.n, v.p ? v.p : "");
    if (strcmp(got, wanted) != 0)
        fail_msg("%s: got %s, wanted %s", path, got, wanted);
}

static void shape_of_spans(void **state)
{
    (void)state;
    ah_clock_fix(ah_loop_clock(core.loop), 1795341600000120, 1000);
    const char *const tags[] = {"a", "b", "a", NULL};
    struct ah_run_opts o = {.name = "digest",
                            .tags = tags,
                            .metadata = "{\"k\":1}",
                            .inputs = "{\"input\":\"x\"}",
                            .inputs_n = 13,
                            .traced = true};
    struct ah_run *run = ah_run_start(core.trace, &o, NULL);
    int64_t key = ah_run_key(run);
    char id[AH_UUID_BYTES];
    snprintf(id, sizeof id, "%s", ah_run_id(run));
    assert_string_equal(ah_span_id(ah_run_root(run)), id);
    struct ah_span *s = ah_span_start(run, NULL, AH_SPAN_LLM, "ChatOpenAI", NULL, 0);
    ah_span_metadata_str(s, "ls_provider", "openai");
    ah_span_metadata(s, "n", "[1]", 3);
    ah_span_extra(s, "tool_call_id", "\"c\"", 3);
    ah_span_event_with(s, "new_token", "{\"i\":1}", 7);
    ah_span_usage(s, "{\"input_tokens\":3}", 18, 3, 4, 0.25);
    ah_span_end(s, "{\"id\":1}", 8, NULL);
    ah_span_end(s, NULL, 0, "twice"); /* ignored */
    ah_span_metadata_str(s, "late", "x");
    ah_span_unref(s);
    ah_run_set_name(run, "renamed");
    ah_span_set_inputs(ah_run_root(run), "{\"input\":\"y\"}", 13);
    const struct ah_run_totals *sum = ah_run_totals(run);
    assert_int_equal(sum->input_tokens, 3);
    assert_int_equal(sum->output_tokens, 4);
    assert_int_equal(sum->model_calls, 1);
    assert_true(sum->cost_known && sum->cost == 0.25);
    struct ah_error failed = {.kind = AH_SCRIPT, .message = "boom"};
    ah_run_end(run, NULL, 0, &failed);

    char *text = lines_of(key), wanted[300];
    expect(line(text, 0), "name", "\"digest\"");
    expect(line(text, 0), "run_type", "\"chain\"");
    expect(line(text, 0), "start_time", "\"2026-11-22T10:00:00.000120Z\"");
    expect(line(text, 0), "tags", "[\"a\",\"b\"]");
    expect(line(text, 0), "metadata/k", "1");
    expect(line(text, 0), "inputs/input", "\"x\"");
    expect(line(text, 0), "parent_run_id", "");
    snprintf(wanted, sizeof wanted, "\"20261122T100000000120Z%s\"", id);
    expect(line(text, 0), "dotted_order", wanted);
    snprintf(wanted, sizeof wanted, "\"%s\"", id);
    expect(line(text, 1), "parent_run_id", wanted);
    expect(line(text, 1), "trace_id", wanted);
    expect(line(text, 1), "run_type", "\"llm\"");
    expect(line(text, 1), "inputs", "{}");
    expect(line(text, 2), "outputs", "{\"id\":1,\"usage_metadata\":{\"input_tokens\":3}}");
    expect(line(text, 2), "extra/metadata/usage_metadata/input_tokens", "3");
    expect(line(text, 2), "extra/metadata/n/0", "1");
    expect(line(text, 2), "extra/metadata/late", "");
    expect(line(text, 2), "extra/tool_call_id", "\"c\"");
    expect(line(text, 2), "events/0/name", "\"new_token\"");
    expect(line(text, 2), "events/0/kwargs/i", "1");
    expect(line(text, 2), "error", "");
    /* What its parent has; said at its end only. */
    expect(line(text, 1), "tags", "");
    expect(line(text, 1), "metadata", "");
    expect(line(text, 2), "tags", "[\"a\",\"b\"]");
    expect(line(text, 2), "extra/metadata/k", "1");
    expect(line(text, 3), "inputs/input", "\"y\"");
    expect(line(text, 3), "extra/metadata/usage_metadata", "");
    expect(line(text, 3), "name", "\"renamed\"");
    expect(line(text, 3), "error", "\"boom\"");
    expect(line(text, 3), "tags", "[\"a\",\"b\"]");
    free(text);
}

static void children_never_begin_before_parents(void **state)
{
    (void)state;
    struct ah_run *run = start("x");
    struct ah_span *s = ah_span_start(run, NULL, AH_SPAN_TOOL, "t", NULL, 0);
    ah_clock_fix(ah_loop_clock(core.loop), 1000000, 1); /* the clock goes far back */
    struct ah_span *c = ah_span_start(run, s, AH_SPAN_TOOL, "c", NULL, 0);
    int64_t key = ah_run_key(run);
    ah_span_unref(s);
    ah_span_unref(c);
    ah_run_end(run, NULL, 0, NULL);
    char *text = lines_of(key), parent[300], child[400];
    ah_json_copy(ah_json_get(line(text, 1), "dotted_order"), parent, sizeof parent);
    ah_json_copy(ah_json_get(line(text, 2), "dotted_order"), child, sizeof child);
    size_t n = strlen(parent);
    assert_int_equal(n, 2 * 58 + 1);
    assert_int_equal(strncmp(parent, child, n), 0);
    assert_int_equal(strncmp(child + n - 58, child + n + 1, 22), 0); /* the same time */
    free(text);
}

static void open_spans_end_with_the_run(void **state)
{
    (void)state;
    struct ah_run *run = start("x");
    int64_t key = ah_run_key(run);
    struct ah_span *a = ah_span_start(run, NULL, AH_SPAN_CHAIN, "a", NULL, 0);
    struct ah_span *b = ah_span_start(run, a, AH_SPAN_CHAIN, "b", NULL, 0);
    ah_span_unref(b);
    ah_run_end(run, NULL, 0, NULL);
    ah_span_end(a, NULL, 0, NULL); /* too late, and harmless */
    assert_null(ah_span_start(ah_span_run(a), a, AH_SPAN_CHAIN, "z", NULL, 0));
    ah_span_unref(a);
    char *text = lines_of(key);
    expect(line(text, 3), "error", "\"Cancelled\"");
    expect(line(text, 4), "error", "\"Cancelled\"");
    expect(line(text, 5), "error", "");
    free(text);
}

static void nothing_is_traced_when_off(void **state)
{
    (void)state;
    struct ah_run_opts o = {.name = "x", .traced = false};
    struct ah_run *run = ah_run_start(core.trace, &o, NULL);
    int64_t key = ah_run_key(run);
    assert_null(ah_run_root(run));
    struct ah_span *s = ah_span_start(run, NULL, AH_SPAN_TOOL, "t", NULL, 0);
    assert_null(s);
    ah_span_metadata_str(s, "a", "b");
    ah_span_end(s, NULL, 0, NULL);
    struct ah_effect *e = ah_effect_begin(run, s, AH_EFFECT_UNSAFE, 0, "tool", "send", "{\"a\":1}", 7, NULL);
    assert_non_null(e);
    ah_effect_end(e, 1, 2, 200, "not json", 8, NULL);
    ah_run_add_tags(run, (const char *const[]){"t", NULL});
    ah_run_end(run, NULL, 0, NULL);
    char *text = lines_of(key);
    expect(line(text, 0), "args/a", "1");
    expect(line(text, 0), "class", "\"unsafe\"");
    expect(line(text, 1), "body", "\"not json\"");
    free(text);
}

static int see_effect(void *arg, const struct ah_store_effect *e)
{
    *(struct ah_store_effect *)arg = *e;
    return 0;
}

static void effects_have_rows(void **state)
{
    (void)state;
    struct ah_run *run = start("x");
    int64_t key = ah_run_key(run);
    ah_secret_add(core.secrets, "K", "secretsecret", 12);
    struct ah_effect *e = ah_effect_begin(run, NULL, AH_EFFECT_UNSAFE, 0, "tool", "send secretsecret",
                                          "secretsecret", 12, NULL);
    ah_store_flush(core.store);
    struct ah_store_effect row = {0};
    assert_int_equal(ah_store_effects(core.store, key, see_effect, &row, NULL), 0);
    assert_int_equal(row.n, 1);
    assert_int_equal(row.end_seq, 0);
    assert_string_equal(row.what, "send [secret:K]");
    static const unsigned char sha[4] = {0x5f, 0x73, 0x65, 0xc0}; /* of the bytes before masking */
    assert_memory_equal(row.args_sha256, sha, sizeof sha);
    struct ah_error failed = {.kind = AH_OUTCOME_UNKNOWN, .message = "gone"};
    ah_effect_end(e, 7, 9, 0, NULL, 0, &failed);
    ah_store_flush(core.store);
    ah_store_effects(core.store, key, see_effect, &row, NULL);
    assert_int_equal(row.end_seq, row.begin_seq + 1);
    assert_int_equal(row.issued, 7);
    assert_int_equal(row.error, AH_OUTCOME_UNKNOWN);
    ah_run_end(run, NULL, 0, NULL);
    char *text = lines_of(key);
    assert_null(strstr(text, "secretsecret"));
    expect(line(text, 1), "args", "\"[secret:K]\"");
    expect(line(text, 2), "error/kind", "\"outcome_unknown\"");
    free(text);
}

static void unsafe_needs_a_journal(void **state)
{
    (void)state;
    struct ah_error err = {0};
    struct ah_store *s = ah_store_open(&(struct ah_store_opts){.memory = true}, NULL, &quiet, &err);
    struct ah_core other = core;
    other.store = s;
    struct ah_trace *t = ah_trace_new(&other, &err);
    struct ah_run_opts o = {.name = "x", .traced = true};
    struct ah_run *run = ah_run_start(t, &o, &err);
    assert_null(ah_effect_begin(run, NULL, AH_EFFECT_UNSAFE, 0, "tool", "send", NULL, 0, &err));
    assert_int_equal(err.kind, AH_JOURNAL);
    assert_non_null(strstr(err.message, "--no-journal"));
    struct ah_effect *e = ah_effect_begin(run, NULL, AH_EFFECT_READ, 0, "http", "GET x", NULL, 0, &err);
    assert_non_null(e);
    ah_effect_end(e, 1, 1, 200, NULL, 0, NULL);
    ah_run_end(run, NULL, 0, NULL);
    ah_trace_free(t);
    ah_store_close(s);
}

static void secrets_are_masked(void **state)
{
    (void)state;
    ah_secret_add(core.secrets, "KEY", "12345678", 8);
    ah_secret_add(core.secrets, "TOKEN", "tok-\"quoted\"-en", 15);
    struct ah_run *run = start("x");
    int64_t key = ah_run_key(run);
    const char *number = "{\"n\":12345678}", *escaped = "{\"t\":\"a tok-\\\"quoted\\\"-en b\"}";
    struct ah_span *s = ah_span_start(run, NULL, AH_SPAN_TOOL, "call 12345678", number, strlen(number));
    ah_span_metadata_str(s, "m", "12345678");
    ah_span_tag(s, "12345678");
    ah_span_end(s, escaped, strlen(escaped), "failed with 12345678");
    ah_span_unref(s);
    ah_run_end(run, NULL, 0, NULL);
    char *text = lines_of(key); /* each line is checked to be JSON */
    assert_null(strstr(text, "12345678"));
    assert_null(strstr(text, "quoted"));
    assert_non_null(strstr(text, "[secret:TOKEN]"));
    free(text);
}

static void where_traces_go(void **state)
{
    (void)state;
    struct ah_tracing_where w;
    ah_tracing_where(core.tracing, &w);
    assert_string_equal(w.endpoint, "");
    assert_string_equal(w.project, "default");
    assert_null(ah_tracing_why_off(core.tracing));
    set("LANGCHAIN_API_KEY", "lsv2_pt_0123456789");
    assert_non_null(strstr(ah_tracing_why_off(core.tracing), "LANGSMITH_TRACING=true"));
    set("LANGCHAIN_TRACING_V2", "TRUE");
    ah_tracing_where(core.tracing, &w);
    assert_string_equal(w.endpoint, "https://api.smith.langchain.com");
    assert_null(ah_tracing_why_off(core.tracing));
    struct ah_run *run = start("x");
    assert_true(ah_run_sends(run));
    ah_run_end(run, NULL, 0, NULL);
    set("LANGSMITH_ENDPOINT", "http://127.0.0.1:9//");
    set("LANGSMITH_PROJECT", "mails");
    ah_tracing_where(core.tracing, &w);
    assert_string_equal(w.endpoint, "http://127.0.0.1:9");
    assert_string_equal(w.project, "mails");
    set("LANGSMITH_ENDPOINT", "nonsense");
    assert_non_null(strstr(ah_tracing_why_off(core.tracing), "LANGSMITH_ENDPOINT"));
    ah_tracing_where(core.tracing, &w);
    assert_string_equal(w.endpoint, "");
    set("LANGSMITH_TRACING_V2", "yes"); /* the first that is set decides */
    assert_non_null(strstr(ah_tracing_why_off(core.tracing), "\"yes\""));
    set("LANGSMITH_TRACING_V2", "false");
    assert_null(ah_tracing_why_off(core.tracing));
}

static void no_key(void **state)
{
    (void)state;
    set("LANGSMITH_TRACING", "true");
    assert_non_null(strstr(ah_tracing_why_off(core.tracing), "LANGSMITH_API_KEY"));
}

static void misspelt(void **state)
{
    (void)state;
    set("LANGSMTIH_TRACING", "true");
    const char *why = ah_tracing_why_off(core.tracing);
    assert_non_null(why);
    assert_non_null(strstr(why, "LANGSMTIH_TRACING"));
    assert_non_null(strstr(why, "LANGSMITH_TRACING?"));
}

static void draws_the_tree(void **state)
{
    (void)state;
    ah_clock_fix(ah_loop_clock(core.loop), 1795341600000000, 30000);
    struct ah_run *run = start("gmail_digest");
    int64_t key = ah_run_key(run);
    struct ah_span *m = ah_span_start(run, NULL, AH_SPAN_LLM, "ChatOpenAI", "{\"model\":\"gpt-4o\"}", 18);
    ah_span_usage(m, "{}", 2, 412, 37, 0.0031);
    ah_span_end(m, NULL, 0, NULL);
    ah_span_unref(m);
    struct ah_span *a = ah_span_start(run, NULL, AH_SPAN_CHAIN, "outer\033[31m", NULL, 0);
    struct ah_span *b = ah_span_start(run, a, AH_SPAN_TOOL, "inner", NULL, 0);
    ah_span_end(b, NULL, 0, "first line\nsecond");
    ah_span_end(a, NULL, 0, NULL);
    ah_span_unref(a);
    ah_span_unref(b);
    ah_run_end(run, NULL, 0, NULL);
    ah_store_flush(core.store);
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    assert_int_equal(ah_tree_print(core.store, key, NULL, f, NULL), 0);
    fclose(f);
    assert_string_equal(text, "gmail_digest                       210 ms  449 tok  $0.0031\n"
                              "├─ ChatOpenAI gpt-4o                30 ms  412+37 tok  $0.0031\n"
                              "└─ outer?[31m                       90 ms\n"
                              "   └─ inner                         30 ms  error: first line…\n");
    free(text);
}

/* 30,000 spans: the queue and the map stay small, the journal has them all. */
static void many_spans(void **state)
{
    (void)state;
    tracing_on();
    struct ah_run *run = start("x");
    int64_t key = ah_run_key(run);
    for (int i = 0; i < 3000; i++) {
        struct ah_span *s = ah_span_start(run, NULL, AH_SPAN_TOOL, "t", "{\"a\":1}", 7);
        ah_span_end(s, "{}", 2, NULL);
        ah_span_unref(s);
        assert_true(ah_store_stats(core.store)->queued <= 66);
    }
    ah_run_end(run, NULL, 0, NULL);
    char *text = lines_of(key);
    size_t lines = 0;
    for (char *p = text; (p = strchr(p, '\n')) != NULL; p++)
        lines++;
    assert_int_equal(lines, 6002);
    free(text);
}

static void count_line(void *arg, enum ah_log_level level, const char *line, size_t n)
{
    (void)level;
    (void)n;
    *(int *)arg += strstr(line, "more than 25000 spans") != NULL;
}

/* Of a run's calls each must have a price, also those that are no chat; one that was refused has none. */
static void cost_of_a_run(void **state)
{
    (void)state;
    static const struct {
        const char
            *calls;  /* m: a model, e: embeddings, each for 0.25; M, E: for nobody knows what; r: refused */
        double cost; /* < 0: unknown */
    } rows[] = {{"", -1},   {"m", 0.25}, {"e", 0.25}, {"me", 0.5},  {"M", -1},    {"mM", -1},  {"Mm", -1},
                {"mE", -1}, {"Em", -1},  {"r", -1},   {"rm", 0.25}, {"mr", 0.25}, {"rMm", -1}, {"rme", 0.5}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ah_run *run = start("costs");
        for (const char *call = rows[i].calls; *call; call++) {
            bool embeds = *call == 'e' || *call == 'E';
            struct ah_span *s =
                ah_span_start(run, NULL, embeds ? AH_SPAN_EMBEDDING : AH_SPAN_LLM, "call", NULL, 0);
            if (*call == 'r')
                ah_span_refused(s);
            else
                ah_span_usage(s, "{\"input_tokens\":3}", 18, 3, 0, *call == 'm' || *call == 'e' ? 0.25 : -1);
            ah_span_end(s, NULL, 0, *call == 'r' ? "refused" : NULL);
            ah_span_unref(s);
        }
        const struct ah_run_totals *sum = ah_run_totals(run);
        assert_int_equal(sum->cost_known, rows[i].cost >= 0);
        if (sum->cost_known && sum->cost != rows[i].cost)
            fail_msg("%s: %g", rows[i].calls, sum->cost);
        assert_int_equal(sum->model_calls, strlen(rows[i].calls));
        ah_run_end(run, NULL, 0, NULL);
    }
}

/* What LangSmith may not show is said once, at the first span too many; the spans are journalled all the same. */
static void long_traces_are_warned_of(void **state)
{
    (void)state;
    int said = 0;
    struct ah_log log = {.level = AH_LOG_WARN, .sink = count_line, .arg = &said};
    core.log = &log;
    struct ah_run *run = start("long"); /* its root is the first span */
    for (int i = 1; i < 25000; i++) {
        struct ah_span *s = ah_span_start(run, NULL, AH_SPAN_TOOL, "s", NULL, 0);
        ah_span_end(s, NULL, 0, NULL);
        ah_span_unref(s);
    }
    assert_int_equal(said, 0);
    for (int i = 0; i < 3; i++) {
        struct ah_span *s = ah_span_start(run, NULL, AH_SPAN_TOOL, "s", NULL, 0);
        assert_non_null(s);
        ah_span_unref(s);
        assert_int_equal(said, 1);
    }
    ah_run_end(run, NULL, 0, NULL);
    core.log = &quiet;
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(shape_of_spans),
        TEST(children_never_begin_before_parents),
        TEST(open_spans_end_with_the_run),
        TEST(nothing_is_traced_when_off),
        TEST(effects_have_rows),
        TEST(unsafe_needs_a_journal),
        TEST(secrets_are_masked),
        TEST(where_traces_go),
        TEST(no_key),
        TEST(misspelt),
        TEST(draws_the_tree),
        TEST(many_spans),
        TEST(cost_of_a_run),
        TEST(long_traces_are_warned_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
