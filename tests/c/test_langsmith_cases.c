/* Plays every case of tests/cases/langsmith: the far end is the raw TCP double, which compares each byte of
 * what we send. Ids and times are fixed. Notes of a case say what is done, in order, and how it ends:
 *   @do run        a run with one tool span that failed
 *   @do flush MS   sends; its end is compared with @kind
 *   @do read       GET of the first run
 *   @kind of the last of them (none by default), @message part of its error, @parked reason of a span,
 *   @requests that came. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../mock/tcp_double.h"
#include "config.h"
#include "http.h"
#include "langsmith.h"
#include "log.h"
#include "loop.h"
#include "secret.h"
#include "store.h"
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef AH_LANGSMITH_CASES
#define AH_LANGSMITH_CASES "tests/cases/langsmith"
#endif

struct world {
    struct ah_core core;
    struct ah_log log;
    struct ah_langsmith *ls;
    char id[AH_UUID_BYTES];
    char parked[600];
};

static void open_world(struct world *w, int port)
{
    char url[64];
    struct ah_error err = {0};
    w->core.log = &w->log;
    w->core.secrets = ah_secret_new();
    w->core.config = ah_config_new(w->core.secrets, &w->log);
    w->core.loop = ah_loop_new(&err);
    ah_clock_fix(ah_loop_clock(w->core.loop), 1795341600000120, 1000); /* 2026-11-22T10:00:00.000120Z */
    ah_ids_seed(ah_loop_ids(w->core.loop), 7);
    w->core.http = ah_http_new(w->core.loop, &w->log, w->core.config, &err);
    w->core.store = ah_store_open(&(struct ah_store_opts){.memory = true}, w->core.loop, &w->log, &err);
    assert_non_null(w->core.store);
    w->core.trace = ah_trace_new(&w->core, &err);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", port);
    ah_config_set_emulated(w->core.config, true); /* whatever is in the environment of the test */
    ah_config_set(w->core.config, "LANGSMITH_ENDPOINT", url, AH_FROM_EMULATOR);
    ah_config_set(w->core.config, "LANGSMITH_API_KEY", "lsv2_pt_0123", AH_FROM_EMULATOR);
    ah_config_set(w->core.config, "LANGSMITH_TRACING", "true", AH_FROM_EMULATOR);
    ah_config_set(w->core.config, "LANGSMITH_PROJECT", "mail \"x\"", AH_FROM_EMULATOR);
    w->ls = ah_langsmith_new(&w->core, &err);
    assert_non_null(w->ls);
}

static void close_world(struct world *w)
{
    ah_langsmith_free(w->ls);
    ah_http_free(w->core.http);
    ah_loop_turn(w->core.loop, 0);
    ah_trace_free(w->core.trace);
    ah_store_close(w->core.store);
    ah_loop_free(w->core.loop);
    ah_config_free(w->core.config);
    ah_secret_free(w->core.secrets);
}

static void do_run(struct world *w)
{
    struct ah_error err = {0};
    struct ah_run_opts opts = {
        .name = "agent", .traced = true, .inputs = "{\"input\":\"\\u00fc\"}", .inputs_n = 18};
    struct ah_run *run = ah_run_start(w->core.trace, &opts, &err);
    assert_non_null(run);
    snprintf(w->id, sizeof w->id, "%s", ah_run_id(run));
    struct ah_span *s = ah_span_start(run, NULL, AH_SPAN_TOOL, "gmail_fetch_mails", "{ \"n\" : 3.0 }", 13);
    ah_span_metadata_str(s, "connection_name", "gmail");
    ah_span_end(s, NULL, 0, "ToolError: connection expired");
    ah_span_unref(s);
    ah_run_end(run, "{\"output\":\"none\"}", 17, NULL);
}

/* What is to be done, to its end. NULL: nothing that ends. */
static struct ah_op *do_step(struct world *w, const char *step)
{
    if (strcmp(step, "run") == 0) {
        do_run(w);
        return NULL;
    }
    struct ah_op *op = strcmp(step, "read") == 0
                           ? ah_langsmith_read_run(w->ls, w->id)
                           : ah_langsmith_flush(w->ls, strtol(step + strlen("flush "), NULL, 10));
    assert_non_null(op);
    while (!op->done)
        ah_loop_turn(w->core.loop, 1000);
    return op;
}

static const char *note_of(const struct double_script *s, const char *name, size_t i)
{
    size_t n = strlen(name);
    const char *note;
    for (size_t k = 0; (note = double_note(s, k)) != NULL; k++)
        if (strncmp(note, name, n) == 0 && note[n] == ' ' && i-- == 0)
            return note + n + 1;
    return NULL;
}

static int see_exception(void *arg, const struct ah_store_except *e)
{
    struct world *w = arg;
    snprintf(w->parked, sizeof w->parked, "%s", e->reason);
    return 0;
}

static int see_dest(void *arg, const struct ah_store_dest *d)
{
    struct world *w = arg;
    ah_store_exceptions(w->core.store, d->dest, AH_EXCEPT_PARKED, 0, 0, see_exception, w, NULL);
    return 0;
}

static bool holds(const char *path, const char *what, const char *want, const char *got)
{
    if (!want || strstr(got, want))
        return true;
    print_message("%s: %s is '%s', not '%s'\n", path, what, got, want);
    return false;
}

static bool play(const char *path)
{
    char error[512], requests[16];
    struct double_script *s = double_load(path, error, sizeof error);
    if (!s)
        print_message("%s: %s\n", path, error);
    assert_non_null(s);
    struct tcp_double *d = double_start(s);
    struct world w = {.log = {.level = AH_LOG_ERROR}};
    struct ah_error last = {0};
    open_world(&w, double_port(d));
    for (size_t i = 0; note_of(s, "do", i); i++) {
        struct ah_op *op = do_step(&w, note_of(s, "do", i));
        if (op)
            ah_err_copy(&last, &op->err);
        ah_op_unref(op);
    }
    ah_store_flush(w.core.store);
    ah_store_dests(w.core.store, see_dest, &w, NULL);
    const char *kind = note_of(s, "kind", 0);
    bool fine = holds(path, "kind", kind ? kind : "none", ah_err_kind_name(last.kind));
    fine &= holds(path, "message", note_of(s, "message", 0), last.message);
    fine &= holds(path, "parked", note_of(s, "parked", 0), w.parked);
    ah_err_drop(&last);
    close_world(&w);
    double_stop(d);
    snprintf(requests, sizeof requests, "%d", double_requests(d));
    fine &= holds(path, "requests", note_of(s, "requests", 0), requests);
    if (*double_differences(d))
        print_message("%s: %s\n", path, double_differences(d));
    fine &= *double_differences(d) == '\0';
    double_free(d);
    double_script_free(s);
    return fine;
}

static void test_cases(void **state)
{
    glob_t found = {0};
    int failed = 0;
    (void)state;
    assert_int_equal(glob(AH_LANGSMITH_CASES "/*.case", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++)
        failed += !play(found.gl_pathv[i]);
    print_message("%zu cases, %d failed\n", found.gl_pathc, failed);
    globfree(&found);
    assert_int_equal(failed, 0);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        int failed = 0;
        for (int i = 1; i < argc; i++)
            failed += !play(argv[i]);
        return failed != 0;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
