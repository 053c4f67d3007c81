/* Plays every case of tests/cases/scalekit: the far end is the raw TCP double, which compares each byte of
 * what we send. Notes of a case say what is called (in order) and how the last call ends:
 *   @call get_account | get_or_create | get_link | get_tools | execute INPUT | row ROW ARGS | proxy METHOD PATH [BODY]
 *   @kind, @code, @detail of its error; @answer, @tools, @execution of its result; @requests that came. */
#include "../mock/tcp_double.h"
#include "config.h"
#include "http.h"
#include "log.h"
#include "loop.h"
#include "scalekit.h"
#include "secret.h"
#include "skproxy.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifndef AH_SCALEKIT_CASES
#define AH_SCALEKIT_CASES "tests/cases/scalekit"
#endif

struct world {
    struct ah_core core;
    struct ah_log log;
    struct ah_scalekit *sk;
};

static void open_world(struct world *w, int port)
{
    char url[64];
    struct ah_error err = {0};
    w->core.log = &w->log;
    w->core.secrets = ah_secret_new();
    w->core.config = ah_config_new(w->core.secrets, &w->log);
    w->core.loop = ah_loop_new(&err);
    w->core.http = ah_http_new(w->core.loop, &w->log, w->core.config, &err);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", port);
    ah_config_set_emulated(w->core.config, true); /* whatever is in the environment of the test */
    ah_config_set(w->core.config, "SCALEKIT_ENVIRONMENT_URL", url, AH_FROM_EMULATOR);
    ah_config_set(w->core.config, "SCALEKIT_CLIENT_ID", "skc_1", AH_FROM_EMULATOR);
    ah_config_set(w->core.config, "SCALEKIT_CLIENT_SECRET", "s+e/c%1&x", AH_FROM_EMULATOR);
    w->sk = ah_scalekit_new(&w->core, &err);
    assert_non_null(w->sk);
}

static void close_world(struct world *w)
{
    ah_scalekit_free(w->sk);
    assert_int_equal(ah_http_in_flight(w->core.http), 0);
    ah_http_free(w->core.http);
    ah_loop_free(w->core.loop);
    ah_config_free(w->core.config);
    ah_secret_free(w->core.secrets);
}

/* "ROW ARGS" */
static struct ah_scalekit_op *start_row(struct world *w, const char *words)
{
    char row[100];
    size_t n = strcspn(words, " ");
    snprintf(row, sizeof row, "%.*s", (int)n, words);
    const char *args = words + n + 1;
    return ah_scalekit_call(w->sk, &(struct ah_scalekit_who){0}, row, args, strlen(args), false, NULL);
}

/* "METHOD PATH [BODY]", with two headers of the caller. */
static struct ah_scalekit_op *start_proxy(struct world *w, const struct ah_scalekit_who *who,
                                          const char *words)
{
    char method[16], path[500];
    int n = 0;
    static const struct ah_http_header headers[] = {{"Content-Type", "text/plain"}, {"X-Own", "1"}};
    assert_int_equal(sscanf(words, "%15s %499s %n", method, path, &n), 2);
    struct ah_skproxy_req req = {.method = method,
                                 .path = path,
                                 .headers = headers,
                                 .header_count = 2,
                                 .body = words + n,
                                 .body_n = strlen(words + n),
                                 .has_body = words[n] != '\0'};
    return ah_skproxy_send(w->sk, who, &req, NULL);
}

static struct ah_scalekit_op *start(struct world *w, const char *call)
{
    struct ah_scalekit_who who = {.connection_name = "my gmail", .identifier = "\303\274ser&123"};
    if (strcmp(call, "get_account") == 0)
        return ah_scalekit_get_account(w->sk, &who, NULL);
    if (strcmp(call, "get_or_create") == 0)
        return ah_scalekit_get_or_create_account(w->sk, &who, NULL);
    if (strcmp(call, "get_link") == 0)
        return ah_scalekit_get_link(w->sk, &who, NULL, NULL, NULL);
    if (strcmp(call, "get_tools") == 0) {
        const char *const names[] = {"my gmail", NULL};
        return ah_scalekit_get_tools(w->sk, &who, &(struct ah_scalekit_filter){.connection_names = names},
                                     NULL);
    }
    if (strncmp(call, "row ", 4) == 0)
        return start_row(w, call + 4);
    if (strncmp(call, "proxy ", 6) == 0)
        return start_proxy(w, &who, call + 6);
    assert_memory_equal(call, "execute ", 8);
    who.account_id = "ca_1";
    struct ah_scalekit_exec exec = {.tool_name = "gmail_send_message",
                                    .input = call + 8,
                                    .input_n = strlen(call + 8),
                                    .effect = AH_EFFECT_UNSAFE};
    return ah_scalekit_execute(w->sk, &who, &exec, NULL);
}

/* The value of note `name` number `i`, or NULL. */
static const char *note_of(const struct double_script *s, const char *name, size_t i)
{
    size_t n = strlen(name);
    const char *note;
    for (size_t k = 0; (note = double_note(s, k)) != NULL; k++)
        if (strncmp(note, name, n) == 0 && note[n] == ' ' && i-- == 0)
            return note + n + 1;
    return NULL;
}

static bool is_as_said(const char *path, const char *what, const char *want, const char *got, size_t n)
{
    if (!want || (strlen(want) == n && memcmp(want, got, n) == 0))
        return true;
    print_message("%s: %s is %.*s\n   and not %s\n", path, what, (int)n, got, want);
    return false;
}

static bool check_end(const char *path, const struct double_script *s, const struct ah_scalekit_op *op)
{
    const struct ah_error *err = &op->op.err;
    const char *kind = note_of(s, "kind", 0), *got = ah_err_kind_name(err->kind);
    char tools[1000] = "";
    for (size_t i = 0; i < op->tool_count; i++) {
        char name[100];
        ah_json_copy(op->tools[i].name, name, sizeof name);
        strcat(strcat(tools, i ? " " : ""), name);
    }
    bool fine = is_as_said(path, "kind", kind ? kind : "none", got, strlen(got));
    fine &= is_as_said(path, "code", note_of(s, "code", 0), err->code, strlen(err->code));
    const char *detail = err->detail ? err->detail : "";
    fine &= is_as_said(path, "detail", note_of(s, "detail", 0), detail, strlen(detail));
    const char *answer = op->res ? ah_buf_str(&op->res->body) : op->answer.p ? op->answer.p : "";
    fine &=
        is_as_said(path, "answer", note_of(s, "answer", 0), answer, op->res ? op->res->body.n : op->answer.n);
    fine &= is_as_said(path, "tools", note_of(s, "tools", 0), tools, strlen(tools));
    fine &=
        is_as_said(path, "execution", note_of(s, "execution", 0), op->execution_id, strlen(op->execution_id));
    return fine;
}

static bool play(const char *path)
{
    char error[512];
    struct double_script *s = double_load(path, error, sizeof error);
    if (!s)
        print_message("%s: %s\n", path, error);
    assert_non_null(s);
    struct tcp_double *d = double_start(s);
    struct world w = {.log = {.level = AH_LOG_ERROR}};
    struct ah_scalekit_op *op = NULL;
    open_world(&w, double_port(d));
    for (size_t i = 0; note_of(s, "call", i); i++) {
        ah_op_unref(op ? &op->op : NULL);
        op = start(&w, note_of(s, "call", i));
        assert_non_null(op);
        while (!op->op.done)
            ah_loop_turn(w.core.loop, 1000);
    }
    assert_non_null(op);
    bool fine = check_end(path, s, op);
    ah_op_unref(&op->op);
    close_world(&w);
    double_stop(d);
    char requests[16];
    snprintf(requests, sizeof requests, "%d", double_requests(d));
    fine &= is_as_said(path, "requests", note_of(s, "requests", 0), requests, strlen(requests));
    fine &= is_as_said(path, "the difference", "", double_differences(d), strlen(double_differences(d)));
    double_free(d);
    double_script_free(s);
    return fine;
}

static void test_all_cases(void **state)
{
    (void)state;
    glob_t found;
    size_t failed = 0;
    assert_int_equal(glob(AH_SCALEKIT_CASES "/*.case", 0, NULL, &found), 0);
    assert_true(found.gl_pathc > 10);
    for (size_t i = 0; i < found.gl_pathc; i++)
        failed += !play(found.gl_pathv[i]);
    globfree(&found);
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
