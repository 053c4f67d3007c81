/* Model calls against a server on the same loop: what is sent, what is repeated and what is not, what
 * becomes of answers of every form, and that nothing is left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config.h"
#include "http.h"
#include "log.h"
#include "loop.h"
#include "openai.h"
#include "secret.h"
#include "server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 8
#define TURNS 100000 /* a test that needs more hangs */

/* One answer of the server. */
struct step {
    int status;
    const char *headers, *body;
    enum { WHOLE, TORN, OPEN } mode; /* TORN: no clean end; OPEN: no end at all */
};

struct fixture {
    struct ah_core core;
    struct ah_log log;
    struct ah_server *server;
    struct ah_openai *o;
    char base[64];
    struct step steps[STEPS];
    int step_count, requests;
    char *bodies[STEPS], *headers[STEPS];
    struct ah_exchange *open;
    struct ah_buf deltas, lines;
};

static void on_line(void *arg, enum ah_log_level level, const char *line, size_t n)
{
    struct fixture *f = arg;
    (void)level;
    ah_buf_add(&f->lines, line, n);
}

static void on_request(void *arg, struct ah_exchange *x, const struct ah_server_req *req)
{
    struct fixture *f = arg;
    int i = f->requests++;
    assert_true(i < STEPS && i < f->step_count);
    assert_string_equal(req->path, "/v1/chat/completions");
    f->bodies[i] = strndup(req->body ? req->body : "", req->body_n);
    f->headers[i] = strdup(req->headers);
    const struct step *s = &f->steps[i];
    const char *body = s->body ? s->body : "";
    const char *headers = s->headers ? s->headers : "content-type: application/json\n";
    if (s->mode == WHOLE) {
        ah_exchange_reply(x, s->status ? s->status : 500, headers, body, strlen(body));
    } else {
        ah_exchange_begin(x, s->status ? s->status : 500, headers, NULL, NULL);
        ah_exchange_write(x, body, strlen(body));
        if (s->mode == TORN)
            ah_exchange_abort(x);
        else
            f->open = ah_exchange_ref(x);
    }
    ah_exchange_unref(x);
}

static int set_up(void **state)
{
    static const char *const names[] = {
        "OPENAI_API_KEY",  "OPENAI_BASE_URL", "OPENAI_API_BASE",   "LITELLM_BASE_URL",
        "LITELLM_API_KEY", "OPENAI_ORG_ID",   "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS",
        "HTTP_PROXY",      "http_proxy",      "ALL_PROXY",         "all_proxy"};
    struct fixture *f = calloc(1, sizeof *f);
    struct ah_error err = {0};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    ah_buf_init(&f->lines, 1 << 16);
    ah_buf_init(&f->deltas, 1 << 16);
    f->log = (struct ah_log){.level = AH_LOG_WARN, .sink = on_line, .arg = f};
    f->core.log = &f->log;
    f->core.secrets = ah_secret_new();
    f->core.config = ah_config_new(f->core.secrets, &f->log);
    f->core.loop = ah_loop_new(&err);
    f->core.http = ah_http_new(f->core.loop, &f->log, f->core.config, &err);
    f->o = ah_openai_new(&f->core);
    struct ah_server_opts opts = {.on_request = on_request, .arg = f};
    f->server = ah_server_open(f->core.loop, &opts, &err);
    assert_non_null(f->server);
    ah_server_background(f->server, true);
    snprintf(f->base, sizeof f->base, "http://127.0.0.1:%d/v1", ah_server_port(f->server));
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ah_http_in_flight(f->core.http), 0);
    ah_openai_free(f->o);
    if (f->open)
        ah_exchange_unref(f->open);
    ah_http_free(f->core.http);
    ah_server_close(f->server);
    while (ah_loop_turn(f->core.loop, 0))
        ;
    ah_loop_free(f->core.loop);
    ah_config_free(f->core.config);
    ah_secret_free(f->core.secrets);
    for (int i = 0; i < STEPS; i++) {
        free(f->bodies[i]);
        free(f->headers[i]);
    }
    ah_buf_drop(&f->lines);
    ah_buf_drop(&f->deltas);
    free(f);
    return 0;
}

static void serve(struct fixture *f, const struct step *steps, int count)
{
    for (int i = 0; i < STEPS; i++) {
        free(f->bodies[i]);
        free(f->headers[i]);
        f->bodies[i] = f->headers[i] = NULL;
    }
    memcpy(f->steps, steps, (size_t)count * sizeof *steps);
    f->step_count = count;
    f->requests = 0;
    ah_buf_clear(&f->deltas);
    ah_buf_clear(&f->lines);
}
#define SERVE(f, ...)                                                                                        \
    do {                                                                                                     \
        const struct step steps_[] = {__VA_ARGS__};                                                          \
        serve(f, steps_, (int)(sizeof steps_ / sizeof steps_[0]));                                           \
    } while (0)

static void on_delta(void *arg, const struct ah_chat_delta *d)
{
    struct fixture *f = arg;
    ah_buf_addc(&f->deltas, '<');
    ah_buf_add(&f->deltas, d->text, d->n);
    ah_buf_addc(&f->deltas, '>');
}

static struct ah_openai_op *start(struct fixture *f, const char *body, bool stream)
{
    struct ah_error err = {0};
    struct ah_openai_req req = {
        .base_url = f->base,
        .api_key = "sk-test-key-1",
        .body = body,
        .body_n = strlen(body),
        .stream = stream,
        .retry = {.base_ms = 1, .cap_ms = 2},
        .on_delta = stream ? on_delta : NULL,
        .arg = f,
    };
    struct ah_openai_op *op = ah_openai_call(f->o, &req, &err);
    if (!op)
        fail_msg("%s", err.message);
    return op;
}

static void wait_for(struct fixture *f, const struct ah_openai_op *op)
{
    for (int i = 0; !op->op.done && i < TURNS; i++)
        ah_loop_turn(f->core.loop, 2);
    assert_true(op->op.done);
}

static struct ah_openai_op *ask(struct fixture *f, const char *body, bool stream)
{
    struct ah_openai_op *op = start(f, body, stream);
    wait_for(f, op);
    return op;
}

#define BODY "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define EVENTS "content-type: text/event-stream; charset=utf-8\nx-request-id: req_9\n"
#define CHUNK(text)                                                                                          \
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define FINISH "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define DONE "data: [DONE]\n\n"
#define ANSWER                                                                                               \
    "{\"id\":\"chatcmpl-1\",\"model\":\"m-2026\",\"choices\":[{\"index\":0,\"message\":{\"role\":"           \
    "\"assistant\","                                                                                         \
    "\"content\":\"hello\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":5,\"completion_"       \
    "tokens\":7}}"

static void expect_answer(const struct ah_openai_op *op, const char *text)
{
    if (op->op.err.kind != AH_NONE)
        fail_msg("%s", op->op.err.message);
    assert_string_equal(ah_buf_str(&ah_chat_first(&op->chat)->content), text);
}

/* --- where calls go --------------------------------------------------------------------------------- */

static void test_configuration(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *set[4][2];
        const char *base, *key;   /* explicit */
        const char *want, *where; /* want begins with '!': refused with this in the message */
    } rows[] = {
        {.set = {{0}}, .want = "!OPENAI_API_KEY"},
        {.set = {{"OPENAI_API_KEY", "sk-1"}}, .want = "https://api.openai.com/v1", .where = ""},
        {.set = {{"OPENAI_API_KEY", "sk-1"}, {"OPENAI_API_BASE", "https://b.example/v1"}},
         .want = "https://b.example/v1",
         .where = "OPENAI_API_BASE"},
        {.set = {{"OPENAI_API_KEY", "sk-1"},
                 {"OPENAI_API_BASE", "https://b.example"},
                 {"OPENAI_BASE_URL", "https://a.example"}},
         .want = "https://a.example",
         .where = "OPENAI_BASE_URL"},
        {.set = {{"OPENAI_BASE_URL", "https://a.example"},
                 {"LITELLM_BASE_URL", "http://litellm:4000"},
                 {"LITELLM_API_KEY", "sk-2"}},
         .want = "http://litellm:4000",
         .where = "LITELLM_BASE_URL"},
        {.set = {{"OPENAI_API_KEY", "sk-1"}, {"LITELLM_BASE_URL", "http://x"}},
         .want = "!LITELLM_API_KEY is not"},
        {.set = {{"OPENAI_API_KEY", "sk-1"}, {"LITELLM_API_KEY", "sk-2"}},
         .want = "!LITELLM_BASE_URL is not"},
        {.set = {{"OPENAI_BASE_URL", "http://localhost:11434/v1"}},
         .want = "http://localhost:11434/v1",
         .where = "OPENAI_BASE_URL"},
        {.set = {{"OPENAI_BASE_URL", "http://[::1]:1/v1"}},
         .want = "http://[::1]:1/v1",
         .where = "OPENAI_BASE_URL"},
        {.set = {{"OPENAI_BASE_URL", "https://a.example?x=1"}, {"OPENAI_API_KEY", "k"}}, .want = "!query"},
        {.set = {{"OPENAI_BASE_URL", "http://api.openai.com/v1"}, {"OPENAI_API_KEY", "k"}}, .want = "!https"},
        {.set = {{"OPENAI_BASE_URL", "not a url"}, {"OPENAI_API_KEY", "k"}}, .want = "!"},
        {.set = {{"OPENAI_BASE_URL", "https://a.example"}}, .want = "!OPENAI_API_KEY"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ah_error err = {0};
        struct ah_buf base;
        const char *where;
        ah_config_free(f->core.config);
        f->core.config = ah_config_new(f->core.secrets, &f->log);
        for (size_t k = 0; k < 4 && rows[i].set[k][0]; k++)
            ah_config_set(f->core.config, rows[i].set[k][0], rows[i].set[k][1], AH_FROM_FLAG);
        ah_buf_init(&base, 4096);
        int rc = ah_openai_where(f->o, &base, &where, &err);
        if (rows[i].want[0] == '!') {
            assert_int_equal(rc, -1);
            assert_int_equal(err.kind, AH_CONFIG);
            if (!strstr(err.message, rows[i].want + 1))
                fail_msg("row %zu: %s", i, err.message);
        } else {
            if (rc != 0)
                fail_msg("row %zu: %s", i, err.message);
            assert_string_equal(ah_buf_str(&base), rows[i].want);
            assert_string_equal(where, rows[i].where);
        }
        ah_err_drop(&err);
        ah_buf_drop(&base);
    }
    /* plain http outside of loopback is said once */
    assert_non_null(strstr(ah_buf_str(&f->lines), "plain http"));
    assert_null(strstr(strstr(ah_buf_str(&f->lines), "plain http") + 1, "plain http"));
    /* an explicit base and key need nothing else, not even a whole LiteLLM pair */
    struct ah_error err = {0};
    ah_config_set(f->core.config, "LITELLM_API_KEY", "sk-2", AH_FROM_FLAG);
    assert_int_equal(ah_openai_check(f->o, "https://a.example", "k", &err), 0);
    assert_int_equal(ah_openai_check(f->o, "https://a.example", "k\r\nx: y", &err), -1);
    ah_err_drop(&err);
}

static void test_requests(void **state)
{
    struct fixture *f = *state;
    ah_config_set(f->core.config, "OPENAI_ORG_ID", "org-1", AH_FROM_FLAG);
    ah_config_set(f->core.config, "OPENAI_PROJECT_ID", "proj-1", AH_FROM_FLAG);
    ah_config_set(f->core.config, "OPENAI_CUSTOM_HEADERS", "X-Mine: a b\n\naccept: mine/1", AH_FROM_FLAG);
    SERVE(f, {200, NULL, ANSWER, WHOLE});
    struct ah_openai_op *op = ask(f, BODY, false);
    expect_answer(op, "hello");
    assert_string_equal(f->bodies[0], BODY);
    assert_non_null(strstr(f->headers[0], "authorization: Bearer sk-test-key-1\n"));
    assert_non_null(strstr(f->headers[0], "content-type: application/json\n"));
    assert_non_null(strstr(f->headers[0], "openai-organization: org-1\n"));
    assert_non_null(strstr(f->headers[0], "openai-project: proj-1\n"));
    assert_non_null(strstr(f->headers[0], "x-mine: a b\n"));
    assert_non_null(strstr(f->headers[0], "accept: mine/1\n"));
    assert_non_null(strstr(f->headers[0], "user-agent: agenthost/"));
    assert_null(strstr(f->headers[0], "expect:"));
    assert_true(op->has_usage);
    assert_int_equal(op->tokens.input, 5);
    assert_int_equal(op->tokens.output, 7);
    assert_true(op->cost < 0);
    assert_int_equal(op->attempts, 1);
    ah_op_unref(&op->op);

    SERVE(f, {200, EVENTS, CHUNK("he") CHUNK("llo") FINISH DONE, WHOLE});
    op = ask(f, BODY, true);
    expect_answer(op, "hello");
    assert_string_equal(f->bodies[0],
                        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"stream\":"
                        "true,\"stream_options\":{\"include_usage\":true}}");
    assert_string_equal(ah_buf_str(&f->deltas), "<he><llo>");
    assert_string_equal(op->request_id, "req_9");
    ah_op_unref(&op->op);

    struct ah_error err = {0};
    ah_config_set(f->core.config, "OPENAI_CUSTOM_HEADERS", "nonsense", AH_FROM_FLAG);
    struct ah_openai_req req = {.base_url = f->base, .body = BODY, .body_n = sizeof BODY - 1};
    assert_null(ah_openai_call(f->o, &req, &err));
    assert_int_equal(err.kind, AH_CONFIG);
    assert_non_null(strstr(err.message, "line 1"));
    static const char *const bad[] = {"", "{", "[]", "{}", "{\"model\":\"m\",\"stream\":true}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        req.body = bad[i];
        req.body_n = strlen(bad[i]);
        assert_null(ah_openai_call(f->o, &req, &err));
        ah_err_drop(&err);
    }
}

static void test_no_key_on_loopback(void **state)
{
    struct fixture *f = *state;
    struct ah_error err = {0};
    SERVE(f, {200, "content-type: application/json\nx-litellm-response-cost: 6.3e-05\n", ANSWER, WHOLE});
    struct ah_openai_req req = {.base_url = f->base, .body = BODY, .body_n = sizeof BODY - 1};
    struct ah_openai_op *op = ah_openai_call(f->o, &req, &err);
    assert_non_null(op);
    wait_for(f, op);
    expect_answer(op, "hello");
    assert_null(strstr(f->headers[0], "authorization"));
    assert_true(op->cost == 6.3e-05);
    ah_op_unref(&op->op);
}

/* --- what a server may not know ------------------------------------------------------------------------- */

static void test_quirks(void **state)
{
    struct fixture *f = *state;
    static const char no_options[] = "{\"error\":{\"message\":\"Unrecognized argument: stream_options\"}}";
    SERVE(f, {400, NULL, no_options, WHOLE}, {200, EVENTS, CHUNK("a") FINISH DONE, WHOLE},
          {200, EVENTS, CHUNK("b") FINISH DONE, WHOLE});
    struct ah_openai_op *op = ask(f, BODY, true);
    expect_answer(op, "a");
    assert_int_equal(op->attempts, 2);
    assert_non_null(strstr(f->bodies[0], "stream_options"));
    assert_null(strstr(f->bodies[1], "stream_options"));
    assert_non_null(strstr(f->bodies[1], "\"stream\":true"));
    ah_op_unref(&op->op);
    op = ask(f, BODY, true); /* remembered */
    expect_answer(op, "b");
    assert_null(strstr(f->bodies[2], "stream_options"));
    ah_op_unref(&op->op);

    static const char no_max[] =
        "{\"error\":{\"message\":\"Unsupported parameter: 'max_tokens'\",\"param\":\"max_tokens\","
        "\"code\":\"unsupported_parameter\"}}";
    static const char body[] = "{\"model\":\"o9\",\"max_tokens\":10,\"messages\":[]}";
    SERVE(f, {400, NULL, no_max, WHOLE}, {200, NULL, ANSWER, WHOLE}, {200, NULL, ANSWER, WHOLE},
          {400, NULL, no_max, WHOLE});
    op = ask(f, body, false);
    expect_answer(op, "hello");
    assert_string_equal(f->bodies[0], body);
    assert_string_equal(f->bodies[1], "{\"model\":\"o9\",\"max_completion_tokens\":10,\"messages\":[]}");
    ah_op_unref(&op->op);
    op = ask(f, body, false);
    assert_string_equal(f->bodies[2], f->bodies[1]);
    ah_op_unref(&op->op);
    op = ask(f, body, false); /* refused again though renamed: an error, and no endless exchange */
    assert_int_equal(op->op.err.kind, AH_INVALID);
    assert_int_equal(f->requests, 4);
    ah_op_unref(&op->op);
}

/* --- failures and repetition ----------------------------------------------------------------------------------- */

static void test_repeated_or_not(void **state)
{
    struct fixture *f = *state;
    static const struct {
        struct step first;
        enum ah_kind kind; /* when it is not repeated; AH_NONE: it is, and then succeeds */
    } rows[] = {
        {{500, NULL, "{}", WHOLE}, AH_NONE},
        {{408, NULL, "", WHOLE}, AH_NONE},
        {{409, NULL, "", WHOLE}, AH_NONE},
        {{529, NULL, "", WHOLE}, AH_NONE},
        {{502, "content-type: text/html\n", "<html>x</html>", WHOLE}, AH_NONE},
        {{429, NULL,
          "{\"error\":{\"message\":\"Please try again in 3ms.\",\"code\":\"rate_limit_exceeded\"}}", WHOLE},
         AH_NONE},
        {{429, "retry-after-ms: 2\n", "{}", WHOLE}, AH_NONE},
        {{429, NULL, "{\"error\":{\"message\":\"x\",\"code\":\"insufficient_quota\"}}", WHOLE}, AH_QUOTA},
        {{429, NULL, "{\"error\":{\"message\":\"Request too large for gpt-5\"}}", WHOLE}, AH_QUOTA},
        {{429, "x-should-retry: true\n", "{\"error\":{\"message\":\"x\",\"type\":\"insufficient_quota\"}}",
          WHOLE},
         AH_QUOTA},
        {{429, NULL, "{\"error\":{\"message\":\"Please try again in 3h.\"}}", WHOLE}, AH_RATE_LIMIT},
        {{429, "retry-after: 300\n", "{}", WHOLE}, AH_RATE_LIMIT},
        {{500, "x-should-retry: false\n", "{}", WHOLE}, AH_HTTP},
        {{400, "x-should-retry: true\n", "{}", WHOLE}, AH_NONE},
        {{400, NULL, "{\"error\":{\"message\":\"x\",\"code\":\"context_length_exceeded\"}}", WHOLE},
         AH_CONTEXT_OVERFLOW},
        {{400, NULL, "{}", WHOLE}, AH_INVALID},
        {{401, NULL, "{}", WHOLE}, AH_AUTH},
        {{404, NULL, "{}", WHOLE}, AH_NOT_FOUND},
        {{307, "location: /elsewhere\n", "", WHOLE}, AH_HTTP},
        {{200, NULL, "{\"error\":{\"message\":\"x\",\"code\":503}}", WHOLE}, AH_NONE},
        {{200, NULL, "{\"error\":{\"message\":\"x\",\"code\":\"insufficient_quota\"}}", WHOLE}, AH_QUOTA},
        {{200, NULL, "{\"choices\":[]}", WHOLE}, AH_PROTOCOL},
        {{200, NULL, "{\"choices\":null}", WHOLE}, AH_PROTOCOL},
        {{200, NULL, "", WHOLE}, AH_PROTOCOL},
        {{200, "content-type: text/html\n", "<html>login</html>", WHOLE}, AH_PROTOCOL},
        {{200, NULL, "{\"choices\":[", TORN}, AH_NONE},
    };
    for (int stream = 0; stream < 2; stream++) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            SERVE(f, rows[i].first, {200, NULL, ANSWER, WHOLE});
            struct ah_openai_op *op = ask(f, BODY, stream == 1);
            if (op->op.err.kind != rows[i].kind)
                fail_msg("row %zu stream %d: %s: %s", i, stream, ah_err_kind_name(op->op.err.kind),
                         op->op.err.message);
            assert_int_equal(f->requests, rows[i].kind == AH_NONE ? 2 : 1);
            assert_int_equal(op->attempts, f->requests);
            if (rows[i].kind == AH_NONE)
                expect_answer(op, "hello");
            ah_op_unref(&op->op);
        }
    }
}

static void test_streams(void **state)
{
    struct fixture *f = *state;
    static const char limited[] = "data: {\"error\":{\"message\":\"slow\",\"code\":\"429\"}}\n\n";
    static const struct {
        struct step steps[3];
        int requests;
        enum ah_kind kind;
        const char *text; /* of the answer, or of the error's detail */
    } rows[] = {
        /* cut before anything was given out: once more; cut again: an error */
        {{{200, EVENTS, ": hello\n\n", WHOLE}, {200, EVENTS, CHUNK("a") FINISH, WHOLE}}, 2, AH_NONE, "a"},
        {{{200, EVENTS, "", WHOLE}, {200, EVENTS, "", WHOLE}}, 2, AH_TRUNCATED, NULL},
        {{{200, EVENTS, "data: {\"choices\":[]}\n\n", TORN}, {200, EVENTS, CHUNK("a") DONE, WHOLE}},
         2,
         AH_NONE,
         "a"},
        /* cut after it: never */
        {{{200, EVENTS, CHUNK("a"), WHOLE}}, 1, AH_TRUNCATED, "{\"partial\":\"a\"}"},
        {{{200, EVENTS, CHUNK("a"), TORN}}, 1, AH_TRUNCATED, "{\"partial\":\"a\"}"},
        /* torn after all that matters had come */
        {{{200, EVENTS, CHUNK("a") FINISH, TORN}}, 1, AH_NONE, "a"},
        {{{200, EVENTS, CHUNK("a") FINISH "data: {\"choi", WHOLE}}, 1, AH_NONE, "a"},
        /* failures as events */
        {{{200, EVENTS, limited, WHOLE}, {200, EVENTS, CHUNK("a") DONE, WHOLE}}, 2, AH_NONE, "a"},
        {{{200, EVENTS, CHUNK("a") "data: {\"error\":{\"message\":\"slow\",\"code\":\"429\"}}\n\n", WHOLE}},
         1,
         AH_RATE_LIMIT,
         "{\"partial\":\"a\"}"},
        {{{200, EVENTS, "event: error\ndata: {\"message\":\"odd\"}\n\n", WHOLE}}, 1, AH_HTTP, NULL},
        {{{200, EVENTS, "data: <html>\n\n", WHOLE}}, 1, AH_PROTOCOL, NULL},
        /* a whole answer to a request for a stream, and no content type at all */
        {{{200, NULL, ANSWER, WHOLE}}, 1, AH_NONE, "hello"},
        {{{200, "x-a: b\n", ANSWER, WHOLE}}, 1, AH_NONE, "hello"},
        {{{200, "x-a: b\n", CHUNK("a") DONE, WHOLE}}, 1, AH_NONE, "a"},
        {{{200, EVENTS, DONE, WHOLE}}, 1, AH_PROTOCOL, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        serve(f, rows[i].steps, 3);
        struct ah_openai_op *op = ask(f, BODY, true);
        if (op->op.err.kind != rows[i].kind || f->requests != rows[i].requests)
            fail_msg("row %zu: %d requests, %s: %s", i, f->requests, ah_err_kind_name(op->op.err.kind),
                     op->op.err.message);
        if (rows[i].kind == AH_NONE)
            expect_answer(op, rows[i].text);
        else if (rows[i].text)
            assert_string_equal(op->op.err.detail, rows[i].text);
        else
            assert_null(op->op.err.detail);
        ah_op_unref(&op->op);
    }
    /* events for who asked for none */
    SERVE(f, {200, EVENTS, CHUNK("a") CHUNK("b") FINISH DONE, WHOLE});
    struct ah_openai_op *op = ask(f, BODY, false);
    expect_answer(op, "ab");
    ah_op_unref(&op->op);
}

static void test_server_that_does_not_close(void **state)
{
    struct fixture *f = *state;
    SERVE(f, {200, EVENTS, CHUNK("a") FINISH DONE, OPEN});
    struct ah_openai_op *op = ask(f, BODY, true);
    expect_answer(op, "a");
    ah_op_unref(&op->op);
}

static void test_cancel(void **state)
{
    struct fixture *f = *state;
    /* before anything left */
    SERVE(f, {200, NULL, ANSWER, WHOLE});
    struct ah_openai_op *op = start(f, BODY, false);
    ah_op_cancel(&op->op);
    assert_true(op->op.done);
    assert_int_equal(op->op.err.kind, AH_CANCELLED);
    ah_op_unref(&op->op);
    for (int i = 0; i < 20; i++)
        ah_loop_turn(f->core.loop, 0);
    assert_int_equal(f->requests, 0);
    /* while the stream flows; the last reference going is a cancel too */
    for (int way = 0; way < 2; way++) {
        if (f->open)
            ah_exchange_unref(f->open);
        f->open = NULL;
        SERVE(f, {200, EVENTS, CHUNK("a"), OPEN});
        op = start(f, BODY, true);
        for (int i = 0; !f->deltas.n && i < TURNS; i++)
            ah_loop_turn(f->core.loop, 2);
        assert_string_equal(ah_buf_str(&f->deltas), "<a>");
        if (way == 0) {
            ah_openai_forget(op);
            ah_op_cancel(&op->op);
            assert_int_equal(op->op.err.kind, AH_CANCELLED);
        }
        ah_op_unref(&op->op);
        assert_int_equal(ah_http_in_flight(f->core.http), 0);
    }
}

static bool always_full(void *arg)
{
    return *(bool *)arg;
}

static void test_back_pressure(void **state)
{
    struct fixture *f = *state;
    struct ah_error err = {0};
    bool full = true;
    SERVE(f, {200, EVENTS, CHUNK("a") FINISH DONE, WHOLE});
    struct ah_openai_req req = {.base_url = f->base,
                                .body = BODY,
                                .body_n = sizeof BODY - 1,
                                .stream = true,
                                .is_full = always_full,
                                .arg = &full};
    struct ah_openai_op *op = ah_openai_call(f->o, &req, &err);
    assert_non_null(op);
    for (int i = 0; i < 200; i++)
        ah_loop_turn(f->core.loop, 1);
    assert_false(op->op.done);
    full = false;
    ah_openai_resume(op);
    wait_for(f, op);
    expect_answer(op, "a");
    ah_op_unref(&op->op);
}

static void test_secret_in_message(void **state)
{
    struct fixture *f = *state;
    ah_secret_add(f->core.secrets, "KEY", "sk-test-key-1", 13);
    SERVE(f, {401, NULL, "{\"error\":{\"message\":\"bad key sk-test-key-1\"}}", WHOLE});
    struct ah_openai_op *op = ask(f, BODY, false);
    assert_int_equal(op->op.err.kind, AH_AUTH);
    assert_null(strstr(op->op.err.message, "sk-test-key-1"));
    assert_non_null(strstr(op->op.err.message, "[secret:KEY]"));
    ah_op_unref(&op->op);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_configuration),
        TEST(test_requests),
        TEST(test_no_key_on_loopback),
        TEST(test_quirks),
        TEST(test_repeated_or_not),
        TEST(test_streams),
        TEST(test_server_that_does_not_close),
        TEST(test_cancel),
        TEST(test_back_pressure),
        TEST(test_secret_in_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
