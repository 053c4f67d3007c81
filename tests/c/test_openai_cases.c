/* Plays every case of tests/cases/openai: model calls against the raw TCP double, request bytes exact.
 * What must come of a call stands in the case's '@' lines. */
#include "config.h"
#include "http.h"
#include "log.h"
#include "loop.h"
#include "openai.h"
#include "secret.h"

#include "../mock/tcp_double.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifndef AH_CASES
#define AH_CASES "tests/cases/openai"
#endif
#define FILES 256

struct want {
    char base[256], body[4096], text[1024], kind[32], message[256], detail[1024], provider[256], finish[32];
    char calls[4][256]; /* "name arguments" */
    int call_count;
    bool stream, checks_cost, again, responses;
    long input, output, attempts, requests, waited;
    double cost;
};

static void copy(char *to, size_t size, const char *from)
{
    assert_true(strlen(from) < size);
    strcpy(to, from);
}

static void read_note(const char *note, struct want *w, struct ah_config *config)
{
    char word[64], value[4096] = "", name[64];
    int at = 0;
    assert_int_equal(sscanf(note, "%63s %n", word, &at), 1);
    copy(value, sizeof value, strlen(note) > strlen(word) ? note + strlen(word) + 1 : "");
    if (strcmp(word, "base") == 0)
        copy(w->base, sizeof w->base, value);
    else if (strcmp(word, "body") == 0)
        copy(w->body, sizeof w->body, value);
    else if (strcmp(word, "stream") == 0)
        w->stream = true;
    else if (strcmp(word, "api") == 0)
        w->responses = strcmp(value, "responses") == 0;
    else if (strcmp(word, "again") == 0)
        w->again = true;
    else if (strcmp(word, "provider") == 0)
        copy(w->provider, sizeof w->provider, value);
    else if (strcmp(word, "finish") == 0)
        copy(w->finish, sizeof w->finish, value);
    else if (strcmp(word, "call") == 0 && w->call_count < 4)
        copy(w->calls[w->call_count++], sizeof w->calls[0], value);
    else if (strcmp(word, "text") == 0)
        copy(w->text, sizeof w->text, value);
    else if (strcmp(word, "kind") == 0)
        copy(w->kind, sizeof w->kind, value);
    else if (strcmp(word, "message") == 0)
        copy(w->message, sizeof w->message, value);
    else if (strcmp(word, "detail") == 0)
        copy(w->detail, sizeof w->detail, value);
    else if (strcmp(word, "tokens") == 0)
        assert_int_equal(sscanf(value, "%ld %ld", &w->input, &w->output), 2);
    else if (strcmp(word, "cost") == 0)
        w->checks_cost = sscanf(value, "%lf", &w->cost) == 1;
    else if (strcmp(word, "attempts") == 0)
        w->attempts = strtol(value, NULL, 10);
    else if (strcmp(word, "requests") == 0)
        w->requests = strtol(value, NULL, 10);
    else if (strcmp(word, "waited") == 0)
        w->waited = strtol(value, NULL, 10);
    else if (strcmp(word, "set") == 0 && sscanf(value, "%63s", name) == 1)
        ah_config_set(config, name, value + strlen(name) + 1, AH_FROM_FLAG);
    else
        fail_msg("unknown note: %s", note);
}

static bool differs(const char *what, bool same, const char *got)
{
    if (!same)
        print_error("    %s: got %s\n", what, got);
    return !same;
}

static bool check_calls(const struct want *w, const struct ah_chat_choice *ch)
{
    bool bad = differs("calls", (size_t)w->call_count == ch->call_count, "another number of calls");
    for (size_t i = 0; !bad && i < ch->call_count; i++) {
        char text[512];
        snprintf(text, sizeof text, "%s %s", ah_buf_str(&ch->calls[i].name),
                 ch->calls[i].args ? ch->calls[i].args : ch->calls[i].invalid);
        bad |= differs("call", strcmp(text, w->calls[i]) == 0, text);
    }
    return bad;
}

static bool check(const struct want *w, const struct ah_openai_op *op)
{
    const struct ah_chat_choice *ch = ah_chat_first(&op->chat);
    const struct ah_error *err = &op->op.err;
    bool bad = false;
    char number[64];
    bad |= differs("kind", strcmp(ah_err_kind_name(err->kind), w->kind) == 0, err->message);
    if (err->kind == AH_NONE)
        bad |= differs("text", strcmp(ah_buf_str(&ch->content), w->text) == 0, ah_buf_str(&ch->content));
    if (err->kind == AH_NONE)
        bad |= check_calls(w, ch);
    if (w->finish[0])
        bad |= differs("finish", strcmp(ah_chat_finish_name(ch->finish), w->finish) == 0, ch->finish_text);
    bad |= differs("message", strstr(err->message, w->message) != NULL, err->message);
    if (w->detail[0])
        bad |= differs("detail", err->detail && strcmp(err->detail, w->detail) == 0,
                       err->detail ? err->detail : "(none)");
    snprintf(number, sizeof number, "%d", op->attempts);
    bad |= differs("attempts", !w->attempts || op->attempts == w->attempts, number);
    snprintf(number, sizeof number, "%d", (int)op->waited_ms);
    bad |= differs("waited", op->waited_ms >= w->waited, number);
    snprintf(number, sizeof number, "%d %d", (int)op->tokens.input, (int)op->tokens.output);
    bad |= differs("tokens", (op->tokens.input == w->input && op->tokens.output == w->output) || !w->input,
                   number);
    snprintf(number, sizeof number, "%g", op->cost);
    bad |= differs("cost", !w->checks_cost || op->cost == w->cost, number);
    return !bad;
}

static void ignore(void *arg, const struct ah_chat_delta *d)
{
    (void)arg;
    (void)d;
}

static bool call(struct ah_core *core, struct ah_openai *o, const struct want *w)
{
    struct ah_error err = {0};
    struct ah_openai_req req = {.base_url = w->base,
                                .api_key = "sk-case-0001",
                                .body = w->body,
                                .body_n = strlen(w->body),
                                .stream = w->stream,
                                .api = w->responses ? AH_OPENAI_RESPONSES : AH_OPENAI_CHAT,
                                .provider = w->provider[0] ? w->provider : NULL,
                                .retry = {.base_ms = 1, .cap_ms = 2}};
    req.on_delta = w->stream ? ignore : NULL;
    struct ah_openai_op *op = ah_openai_call(o, &req, &err);
    if (!op) {
        print_error("    not sent: %s\n", err.message);
        return false;
    }
    while (!op->op.done)
        ah_loop_turn(core->loop, 5);
    bool fine = check(w, op);
    ah_op_unref(&op->op);
    return fine;
}

static bool play(const char *path)
{
    char error[512];
    struct double_script *s = double_load(path, error, sizeof error);
    if (!s) {
        print_error("%s: %s\n", path, error);
        return false;
    }
    struct ah_error err = {0};
    struct ah_log log = {.level = AH_LOG_ERROR};
    struct ah_core core = {.log = &log, .secrets = ah_secret_new()};
    core.config = ah_config_new(core.secrets, &log);
    core.loop = ah_loop_new(&err);
    core.http = ah_http_new(core.loop, &log, core.config, &err);
    struct ah_openai *o = ah_openai_new(&core);
    struct tcp_double *d = double_start(s);
    struct want w = {.kind = "none", .base = "/v1"};
    char url[512];
    const char *note;
    for (size_t i = 0; (note = double_note(s, i)); i++)
        read_note(note, &w, core.config);
    snprintf(url, sizeof url, "http://127.0.0.1:%d%.200s", double_port(d), w.base);
    copy(w.base, sizeof w.base, url);
    bool fine = call(&core, o, &w);
    if (w.again) {
        w.attempts = 1;
        fine &= call(&core, o, &w);
    }
    ah_openai_free(o);
    ah_http_free(core.http);
    ah_loop_free(core.loop);
    ah_config_free(core.config);
    ah_secret_free(core.secrets);
    double_stop(d);
    if (w.requests && double_requests(d) != w.requests) {
        print_error("    %d requests came\n", double_requests(d));
        fine = false;
    }
    if (double_differences(d)[0]) {
        print_error("    %s", double_differences(d));
        fine = false;
    }
    double_free(d);
    double_script_free(s);
    if (!fine)
        print_error("  FAILED: %s\n", path);
    return fine;
}

static void test_all_cases(void **state)
{
    (void)state;
    char path[512];
    size_t played = 0, failed = 0;
    DIR *dir = opendir(AH_CASES);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir)) && played < FILES;) {
        size_t n = strlen(e->d_name);
        if (n <= 5 || strcmp(e->d_name + n - 5, ".case") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", AH_CASES, e->d_name);
        failed += !play(path);
        played++;
    }
    closedir(dir);
    assert_true(played >= 10);
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
