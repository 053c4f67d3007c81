/* agenthost doctor: one line for each thing that must be right, and what to do where it is not. Asks the
 * services for real, but makes nothing there except a test span. */
#include "cmd.h"
#include "config.h"
#include "http.h"
#include "json.h"
#include "langsmith.h"
#include "limits.h"
#include "op.h"
#include "openai.h"
#include "scalekit.h"
#include "store.h"
#include "trace.h"
#include "tracing.h"

#include <stdlib.h>
#include <string.h>

#define ASK_MS 10000

struct report {
    struct ah_cmd_ctx *ctx;
    int worst; /* exit code of the worst finding */
};

/* Marks: "ok", "off" (not set up, and not needed), "bad". */
static void say(struct report *r, const char *mark, const char *what, const char *text, int code)
{
    if (code > 0 && r->worst == 0)
        r->worst = code;
    if (r->ctx->json) {
        struct ah_buf b;
        struct ah_json_writer w;
        ah_buf_init(&b, AH_SERVER_BODY_BYTES);
        ah_json_begin(&w, &b, r->ctx->core->secrets);
        ah_json_object(&w);
        ah_json_key(&w, "check");
        ah_json_put_str(&w, what);
        ah_json_key(&w, "state");
        ah_json_put_str(&w, mark);
        ah_json_key(&w, "text");
        ah_json_put_str(&w, text);
        ah_json_end_object(&w);
        fprintf(r->ctx->out, "%s\n", ah_buf_str(&b));
        ah_buf_drop(&b);
    } else {
        fprintf(r->ctx->out, "%-4s %-10s %s\n", mark, what, text);
    }
    fflush(r->ctx->out);
}

static void say_error(struct report *r, const char *what, struct ah_error *err)
{
    say(r, "bad", what, err->message, ah_err_exit_code(err->kind));
    ah_err_drop(err);
}

static void check_journal(struct report *r)
{
    char text[4200];
    const char *trouble = ah_store_trouble(r->ctx->core->store);
    if (trouble[0]) {
        say(r, "bad", "journal", trouble, 3);
        return;
    }
    snprintf(text, sizeof text, "%s", ah_store_path(r->ctx->core->store));
    say(r, "ok", "journal", text, 0);
}

static void check_scalekit(struct report *r)
{
    struct ah_error err = {0};
    struct ah_scalekit_who who = {.identifier = r->ctx->identifier};
    if (!ah_config_get(r->ctx->core->config, "SCALEKIT_CLIENT_ID") &&
        !ah_config_get(r->ctx->core->config, "SCALEKIT_CLIENT_SECRET")) {
        say(r, "off", "scalekit",
            "not set up: SCALEKIT_CLIENT_ID, SCALEKIT_CLIENT_SECRET and "
            "SCALEKIT_ENVIRONMENT_URL are needed for connectors",
            0);
        return;
    }
    struct ah_scalekit_op *op = ah_scalekit_call(r->ctx->scalekit, &who, "list_connected_accounts",
                                                 "{\"page_size\":1}", 15, false, &err);
    if (!op) {
        say_error(r, "scalekit", &err);
        return;
    }
    if (ah_cmd_wait(r->ctx, &op->op) != 0) {
        ah_err_copy(&err, &op->op.err);
        say_error(r, "scalekit", &err);
    } else {
        say(r, "ok", "scalekit", "the credentials are good and the API answers", 0);
    }
    ah_op_unref(&op->op);
}

/* GET {base}/models with the key, where the server has it; a 404 still shows that the key was read. */
static void check_model(struct report *r)
{
    struct ah_error err = {0};
    struct ah_buf base;
    const char *setting = "";
    ah_buf_init(&base, AH_HTTP_HEADER_BYTES);
    if (ah_openai_check(r->ctx->host ? ah_host_lua(r->ctx->host)->openai : NULL, NULL, NULL, &err) != 0 ||
        ah_openai_where(ah_host_lua(r->ctx->host)->openai, &base, &setting, &err) != 0) {
        say_error(r, "model", &err);
        ah_buf_drop(&base);
        return;
    }
    struct ah_openai_req req = {
        .body =
            "{\"model\":\"gpt-4o\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":\"ping\"}]}",
        .total_ms = ASK_MS,
        .retry = {.max = -1},
    };
    char body[512];
    if (r->ctx->options->model) {
        struct ah_buf b;
        struct ah_json_writer w;
        ah_buf_init(&b, sizeof body);
        ah_json_begin(&w, &b, NULL);
        ah_json_put_str(&w, r->ctx->options->model);
        snprintf(body, sizeof body,
                 "{\"model\":%s,\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":\"ping\"}]}",
                 ah_buf_str(&b));
        ah_buf_drop(&b);
        req.body = body;
    }
    req.body_n = strlen(req.body);
    struct ah_openai_op *op = ah_openai_call(ah_host_lua(r->ctx->host)->openai, &req, &err);
    char text[1200];
    if (!op || ah_cmd_wait(r->ctx, &op->op) != 0) {
        if (op)
            ah_err_copy(&err, &op->op.err);
        say_error(r, "model", &err);
    } else {
        snprintf(text, sizeof text, "%.1000s answers%s%s", ah_buf_str(&base), setting[0] ? ", from " : "",
                 setting);
        say(r, "ok", "model", text, 0);
    }
    if (op)
        ah_op_unref(&op->op);
    ah_buf_drop(&base);
}

static void check_tracing(struct report *r)
{
    struct ah_tracing_where where;
    struct ah_error err = {0};
    const char *why = ah_tracing_why_off(r->ctx->core->tracing);
    ah_tracing_where(r->ctx->core->tracing, &where);
    if (why) {
        say(r, "bad", "tracing", why, 3);
        return;
    }
    if (!where.endpoint[0]) {
        say(r, "off", "tracing",
            "traces stay in the journal: set LANGSMITH_TRACING=true and LANGSMITH_API_KEY to "
            "send them to LangSmith",
            0);
        return;
    }
    struct ah_op *op = ah_langsmith_ping(r->ctx->langsmith);
    if (!op) {
        ah_err_set(&err, AH_MEMORY, "out of memory");
        say_error(r, "tracing", &err);
        return;
    }
    if (ah_cmd_wait(r->ctx, op) != 0) {
        ah_err_copy(&err, &op->err);
        say_error(r, "tracing", &err);
    } else {
        char text[1200];
        snprintf(text, sizeof text, "a test span was sent to %.500s (project %.200s) and read back",
                 where.endpoint, where.project);
        say(r, "ok", "tracing", text, 0);
    }
    ah_op_unref(op);
}

static void check_user(struct report *r)
{
    char text[300];
    if (!r->ctx->identifier) {
        say(r, "off", "user", "no --user and no AGENTHOST_USER: scripts must name an identifier themselves",
            0);
        return;
    }
    snprintf(text, sizeof text, "%.200s", r->ctx->identifier);
    say(r, "ok", "user", text, 0);
}

static int run_doctor(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    struct report r = {.ctx = ctx};
    (void)argc;
    (void)argv;
    check_journal(&r);
    check_user(&r);
    check_scalekit(&r);
    check_model(&r);
    check_tracing(&r);
    return r.worst;
}

const struct ah_command ah_cmd_doctor = {
    .name = "doctor",
    .summary = "check settings, services, journal and tracing, and say what to do",
    .run = run_doctor,
    .needs_host = true};
