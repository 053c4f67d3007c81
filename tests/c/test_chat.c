/* Chat answers: every stream of tests/fixtures/openai, whole and split at every byte, and cut at every
 * byte; whole answers; failures; requests made from scripts' tools and messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "chat.h"
#include "chat_error.h"
#include "chat_request.h"
#include "ids.h"
#include "sse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- streams ------------------------------------------------------------------------------------ */

static char *read_fixture(const char *name, size_t *n)
{
    char path[4096];
    snprintf(path, sizeof path, TESTS_FOLDER "/fixtures/openai/%s.sse", name);
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("cannot open %s", path);
    char *p = malloc((size_t)1 << 20);
    assert_non_null(p);
    *n = fread(p, 1, (size_t)1 << 20, f);
    fclose(f);
    return p;
}

struct reading {
    struct ah_chat chat;
    struct ah_error err;
    struct ah_error event_err;
};

static int on_event(void *arg, const struct ah_sse_event *ev)
{
    struct reading *r = arg;
    return ah_chat_event(&r->chat, ev->name, ev->data, ev->n, &r->event_err);
}

/* Feeds p in two pieces as openai.c does. 0: the answer is complete. */
static int read_stream(struct reading *r, struct ah_ids *ids, const char *p, size_t n, size_t split)
{
    struct ah_sse s;
    struct ah_error err = {0};
    memset(r, 0, sizeof *r);
    ah_chat_init(&r->chat, ids);
    r->chat.streamed = true;
    ah_sse_init(&s, on_event, r);
    int rc = ah_sse_feed(&s, p, split, &err);
    if (rc == 0)
        rc = ah_sse_feed(&s, p + split, n - split, &err);
    if (rc == 0)
        rc = ah_sse_end(&s, ah_chat_complete, &err);
    if (rc != 0 && err.kind == AH_TRUNCATED && ah_chat_finished(&r->chat))
        rc = 0;
    if (r->event_err.kind != AH_NONE)
        ah_err_move(&r->err, &r->event_err);
    else if (rc != 0)
        ah_err_move(&r->err, &err);
    ah_err_drop(&err);
    ah_sse_drop(&s);
    return rc == 0 ? ah_chat_end(&r->chat, &r->err) : -1;
}

static void drop_reading(struct reading *r)
{
    ah_chat_drop(&r->chat);
    ah_err_drop(&r->err);
    ah_err_drop(&r->event_err);
}

/* A whole outcome in one line, so that a row of the table below is one text. */
static void describe(const struct reading *r, int rc, char *out, size_t size)
{
    const struct ah_chat_choice *ch = ah_chat_first(&r->chat);
    struct ah_json usage = {0};
    struct ah_chat_tokens t = {0};
    struct ah_buf b;
    int at = 0;
    if (rc != 0) {
        snprintf(out, size, "error %s%s%s", ah_err_kind_name(r->err.kind),
                 ch && ch->content.n ? " after: " : "", ch && ch->content.n ? ah_buf_str(&ch->content) : "");
        return;
    }
    at += snprintf(out, size, "%s", ah_chat_finish_name(ch->finish));
    if (r->chat.flagged)
        at += snprintf(out + at, size - (size_t)at, " flagged");
    if (ch->content.n)
        at += snprintf(out + at, size - (size_t)at, " | %s", ch->content.p);
    if (ch->has_refusal)
        at += snprintf(out + at, size - (size_t)at, " | refusal %s", ch->refusal.p);
    for (size_t i = 0; i < ch->call_count; i++) {
        const struct ah_chat_call *c = &ch->calls[i];
        bool invented = strlen(ah_buf_str(&c->id)) == 29 && strncmp(c->id.p, "call_", 5) == 0;
        at += snprintf(out + at, size - (size_t)at, " | %s %s %s%s%s%s",
                       invented ? "invented" : ah_buf_str(&c->id), ah_buf_str(&c->name),
                       c->args ? c->args : "", c->invalid ? "INVALID" : "", c->repaired ? " repaired" : "",
                       c->unwrapped ? " unwrapped" : "");
    }
    ah_buf_init(&b, 4096);
    if (r->chat.usage.n && ah_json_check(r->chat.usage.p, r->chat.usage.n, 0, &usage, NULL) == 0 &&
        ah_chat_usage(usage, r->chat.tier, &b, &t) == 0)
        snprintf(out + at, size - (size_t)at, " | %d+%d", (int)t.input, (int)t.output);
    ah_buf_drop(&b);
}

static const struct {
    const char *file, *want;
} streams[] = {
    {"golden_two_calls",
     "tool_calls | call_a1 gmail_fetch_mails {\"query\":\"is:unread\",\"max_results\":3} | "
     "call_b2 slack_list_channels {} | 120+42"},
    {"golden_two_calls_crlf",
     "tool_calls | call_a1 gmail_fetch_mails {\"query\":\"is:unread\",\"max_results\":3} "
     "| call_b2 slack_list_channels {} | 120+42"},
    {"golden_two_calls_cr",
     "tool_calls | call_a1 gmail_fetch_mails {\"query\":\"is:unread\",\"max_results\":3} | "
     "call_b2 slack_list_channels {} | 120+42"},
    {"golden_two_calls_nospace",
     "tool_calls | call_a1 gmail_fetch_mails "
     "{\"query\":\"is:unread\",\"max_results\":3} | call_b2 slack_list_channels {} "
     "| 120+42"},
    {"golden_two_calls_bom",
     "tool_calls | call_a1 gmail_fetch_mails {\"query\":\"is:unread\",\"max_results\":3} "
     "| call_b2 slack_list_channels {} | 120+42"},
    {"golden_text", "stop | You have 3 unread e-mails. Grüße 📬 | 31+9"},
    {"x_cut", "error truncated after: *"},
    {"x_nofinish", "tool_calls flagged | call_* gmail_fetch_mails {*}*"},
    {"x_err", "error * after: *"},
    {"x_err_event", "error rate_limit after: *"},
    {"x_err_string", "error *"},
    {"x_err_detail", "error *"},
    {"chat_trunc", "length | call_* * INVALID*"},
    {"x_filter", "content_filter | call_* * INVALID*"},
    {"x_empty", "tool_calls | call_* * {}*"},
    {"x_null_arguments", "tool_calls | call_* * {}*"},
    {"x_list", "tool_calls | call_* * INVALID*"},
    {"x_ctl", "tool_calls | call_* * {*line one\\u000aline two*} repaired*"},
    {"x_double_encoded", "tool_calls | call_* * {*} unwrapped*"},
    {"x_object_arguments", "tool_calls | call_* * {\"query\":\"is:unread\",\"max_results\":3}*"},
    {"x_noindex", "tool_calls | call_* * {*} | call_* * {*}*"},
    {"x_sameindex", "tool_calls | call_* * {*} | call_* * {*}*"},
    {"x_sameindex_in_chunk", "tool_calls | call_* * {\"max_results\":3}*"},
    {"x_interleaved",
     "tool_calls | call_* * {\"query\":\"is:unread\",\"max_results\":3} | call_* * {\"limit\":5}*"},
    {"x_repeated_id", "tool_calls | call_a gmail_fetch_mails {*}*"},
    {"x_noid", "tool_calls | invented * {*}*"},
    {"x_split_name", "tool_calls | call_* gmail_fetch_mails {*}*"},
    {"x_refusal", "stop | refusal I'm sorry, I can't help with that.*"},
    {"x_comment", "stop | You have 3 unread e-mails. Grüße 📬*"},
    {"x_nodone", "stop | You have 3 unread e-mails. Grüße 📬"},
    {"x_one_newline", "stop*"},
    {"x_no_newline", "stop | You have 3 unread e-mails. Grüße 📬*"},
    {"x_half_event", "error truncated*"},
    {"x_multiline_data", "stop | two lines*"},
    {"x_after_done", "stop | You have 3 unread e-mails. Grüße 📬*"},
    {"usage_on_finish", "stop*| 12+3"},
    {"usage_on_every_chunk", "stop*| 12+3"},
    {"no_choices_key", "stop*| 12+3"},
    {"azure_first_chunk", "stop | You have 3 unread e-mails. Grüße 📬*"},
};

/* '*' stands for anything, also nothing. */
static bool fits(const char *text, const char *pattern)
{
    if (*pattern == '\0')
        return *text == '\0';
    if (*pattern != '*')
        return *text == *pattern && fits(text + 1, pattern + 1);
    for (;; text++) {
        if (fits(text, pattern + 1))
            return true;
        if (*text == '\0')
            return false;
    }
}

static void test_streams_split_at_every_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++) {
        size_t n;
        char *p = read_fixture(streams[i].file, &n), first[4096], got[4096];
        for (size_t split = 0; split <= n; split++) {
            struct ah_ids ids = {0};
            struct reading r;
            ah_ids_seed(&ids, 1);
            int rc = read_stream(&r, &ids, p, n, split);
            describe(&r, rc, got, sizeof got);
            if (split == 0)
                memcpy(first, got, sizeof first);
            if (!fits(got, streams[i].want))
                fail_msg("%s split at %zu\n got:  %s\n want: %s", streams[i].file, split, got,
                         streams[i].want);
            assert_string_equal(got, first);
            if (rc != 0)
                assert_true(r.err.message[0] != '\0');
            drop_reading(&r);
        }
        free(p);
    }
}

/* Wherever a stream is cut: no call survives that the whole stream does not hold, and the text is a
 * beginning of the whole text. */
static void test_streams_cut_at_every_byte(void **state)
{
    (void)state;
    static const char *const names[] = {"golden_two_calls", "golden_text", "x_interleaved", "x_ctl"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t n;
        char *p = read_fixture(names[i], &n);
        struct ah_ids ids = {0};
        struct reading whole, r;
        ah_ids_seed(&ids, 1);
        assert_int_equal(read_stream(&whole, &ids, p, n, 0), 0);
        const struct ah_chat_choice *all = ah_chat_first(&whole.chat);
        size_t complete = 0;
        for (size_t cut = 0; cut < n; cut++) {
            int rc = read_stream(&r, &ids, p, cut, 0);
            const struct ah_chat_choice *ch = ah_chat_first(&r.chat);
            if (rc != 0) {
                assert_int_equal(r.err.kind, AH_TRUNCATED);
                assert_int_equal(complete, 0); /* once complete, always complete */
            } else {
                complete++;
                assert_int_equal(ch->call_count, all->call_count);
                assert_int_equal(ch->content.n, all->content.n);
                for (size_t k = 0; k < ch->call_count; k++)
                    assert_string_equal(ch->calls[k].args, all->calls[k].args);
            }
            if (ch && ch->content.n)
                assert_memory_equal(ch->content.p, all->content.p, ch->content.n);
            drop_reading(&r);
        }
        assert_true(complete > 0);
        drop_reading(&whole);
        free(p);
    }
}

static void count_delta(void *arg, const struct ah_chat_delta *d)
{
    struct ah_buf *seen = arg;
    static const char marks[] = "cruf";
    ah_buf_addc(seen, marks[d->kind]);
    if (d->kind == AH_CHAT_CALL)
        ah_buf_addf(seen, "%zu", d->call);
    ah_buf_addc(seen, '<');
    ah_buf_add(seen, d->text, d->n);
    ah_buf_addc(seen, '>');
}

static void test_deltas(void **state)
{
    (void)state;
    static const char *const events[] = {
        "{\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}",
        "{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}},{\"index\":0,\"delta\":{\"content\":"
        "\"a\"}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"x\",\"function\":{"
        "\"name\":\"f\","
        "\"arguments\":\"\"}}]}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{}"
        "\"}}]}}]}",
        "[DONE]",
        "this is not read",
    };
    struct ah_ids ids = {0};
    struct ah_buf seen;
    struct ah_chat c;
    struct ah_error err = {0};
    ah_ids_seed(&ids, 1);
    ah_buf_init(&seen, 4096);
    ah_chat_init(&c, &ids);
    c.on_delta = count_delta;
    c.arg = &seen;
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        assert_int_equal(ah_chat_event(&c, NULL, events[i], strlen(events[i]), &err), 0);
    assert_int_equal(ah_chat_end(&c, &err), 0);
    assert_string_equal(ah_buf_str(&seen), "c<a>u<hm>f0<>f0<{}>");
    assert_true(c.flagged);
    assert_int_equal(c.choice_count, 2);
    ah_buf_drop(&seen);
    ah_chat_drop(&c);
}

/* --- calls that are told apart ------------------------------------------------------------------------ */

static void read_calls(const char *const *entries, const char *finish, char *out, size_t size)
{
    struct ah_ids ids = {0};
    struct reading r = {0};
    char event[2048];
    ah_ids_seed(&ids, 1);
    ah_chat_init(&r.chat, &ids);
    for (; *entries; entries++) {
        snprintf(event, sizeof event, "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[%s]}}]}",
                 *entries);
        assert_int_equal(ah_chat_event(&r.chat, NULL, event, strlen(event), &r.err), 0);
    }
    snprintf(event, sizeof event, "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"%s\"}]}",
             finish);
    assert_int_equal(ah_chat_event(&r.chat, NULL, event, strlen(event), &r.err), 0);
    describe(&r, ah_chat_end(&r.chat, &r.err), out, size);
    drop_reading(&r);
}

#define CALLS(want, finish, ...)                                                                             \
    do {                                                                                                     \
        static const char *const entries[] = {__VA_ARGS__, NULL};                                            \
        char got[4096];                                                                                      \
        read_calls(entries, finish, got, sizeof got);                                                        \
        assert_string_equal(got, want);                                                                      \
    } while (0)

static void test_calls(void **state)
{
    (void)state;
    /* whole calls without index and id */
    CALLS("tool_calls | invented f {\"a\":1} | invented f {\"a\":2}", "tool_calls",
          "{\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}",
          "{\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":2}\"}}");
    /* the same with one index for all */
    CALLS("tool_calls | invented f {\"a\":1} | invented g {}", "tool_calls",
          "{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":{\"a\":1}}}",
          "{\"index\":0,\"function\":{\"name\":\"g\",\"arguments\":{}}}");
    /* a name on every piece of one call, no id, no index */
    CALLS("tool_calls | invented f {\"a\":1}", "tool_calls",
          "{\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\"\"}}",
          "{\"function\":{\"name\":\"f\",\"arguments\":\":1}\"}}", "{\"function\":{\"name\":\"f\"}}");
    /* the id comes late; the index starts at one */
    CALLS("tool_calls | late f {}", "tool_calls",
          "{\"index\":1,\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}",
          "{\"index\":1,\"id\":\"late\",\"function\":{\"arguments\":\"}\"}}");
    /* two calls of one id cannot both be answered */
    CALLS("tool_calls | a f {} | invented g {}", "tool_calls",
          "{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}",
          "{\"index\":1,\"id\":\"a\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}");
    /* ids that are numbers, an index that is none, pieces that are no objects */
    CALLS("tool_calls | 7 f {}", "tool_calls",
          "{\"index\":null,\"id\":7,\"function\":{\"name\":\"f\",\"arguments\":null}},3,null,[]");
    /* free-text tools are not offered */
    CALLS("tool_calls | a t INVALID", "tool_calls",
          "{\"index\":0,\"id\":\"a\",\"type\":\"custom\",\"custom\":{\"name\":\"t\",\"input\":\"x\"}}");
    /* no name */
    CALLS("tool_calls | a  INVALID", "tool_calls",
          "{\"index\":0,\"id\":\"a\",\"function\":{\"arguments\":\"{}\"}}");
    /* cut arguments are never mended, whatever the finish_reason says */
    CALLS("stop | a f INVALID", "stop",
          "{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":\\\"half\"}}");
    CALLS("stop | a f INVALID", "stop",
          "{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1,\\\"a\\\":2}"
          "\"}}");
    CALLS("stop | a f INVALID", "stop",
          "{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"\\\"text\\\"\"}}");
    CALLS("stop | a f INVALID", "stop",
          "{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"17\"}}");
    CALLS("other | a f {}", "end_turn",
          "{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\" \\n\"}}");
    CALLS("length | a f INVALID | b g INVALID", "length",
          "{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},"
          "{\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":\"{\"}}");
}

static void test_limits(void **state)
{
    (void)state;
    struct ah_ids ids = {0};
    struct ah_chat c;
    struct ah_error err = {0};
    char event[256];
    int rc = 0;
    ah_ids_seed(&ids, 1);
    ah_chat_init(&c, &ids);
    for (int i = 0; rc == 0 && i <= AH_CHAT_CALLS_COUNT; i++) {
        snprintf(event, sizeof event,
                 "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":%d,\"id\":\"c%d\"}]}}]}",
                 i, i);
        rc = ah_chat_event(&c, NULL, event, strlen(event), &err);
    }
    assert_int_equal(rc, -1);
    assert_int_equal(err.kind, AH_LIMIT);
    ah_err_drop(&err);
    ah_chat_reset(&c);
    assert_int_equal(c.choice_count, 0);
    ah_chat_drop(&c);
}

/* --- whole answers -------------------------------------------------------------------------------------- */

static enum ah_kind read_whole(const char *body, char *out, size_t size)
{
    struct ah_ids ids = {0};
    struct reading r = {0};
    ah_ids_seed(&ids, 1);
    ah_chat_init(&r.chat, &ids);
    int rc = ah_chat_whole(&r.chat, body, strlen(body), &r.err);
    if (rc == 0)
        rc = ah_chat_end(&r.chat, &r.err);
    describe(&r, rc, out, size);
    enum ah_kind kind = r.err.kind;
    drop_reading(&r);
    return kind;
}

static void test_whole(void **state)
{
    (void)state;
    char got[4096];
    read_whole(
        "{\"id\":\"i\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"hi\"},"
        "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2.0}}",
        got, sizeof got);
    assert_string_equal(got, "stop | hi | 1+2");
    read_whole(
        "\xef\xbb\xbf{\"choices\":[{\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":"
        "\"text\",\"text\":\"b\"}]},\"finish_reason\":null}]}",
        got, sizeof got);
    assert_string_equal(got, "stop flagged | ab");
    read_whole("{\"choices\":[{\"index\":0,\"message\":{\"content\":null,\"function_call\":{\"name\":\"f\","
               "\"arguments\":\"{}\"}},\"finish_reason\":\"function_call\"}]}",
               got, sizeof got);
    assert_string_equal(got, "tool_calls | invented f {}");
    /* Each entry is a call of its own, whatever its id; a second call with one id gets another. */
    read_whole("{\"choices\":[{\"index\":0,\"message\":{\"content\":null,\"tool_calls\":["
               "{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},"
               "{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}},"
               "{\"id\":\"\",\"type\":\"function\",\"function\":{\"name\":\"h\",\"arguments\":\"{}\"}}]},"
               "\"finish_reason\":\"tool_calls\"}]}",
               got, sizeof got);
    assert_string_equal(got, "tool_calls | c1 f {} | invented g {} | invented h {}");
    assert_int_equal(read_whole("{\"choices\":[]}", got, sizeof got), AH_PROTOCOL);
    assert_int_equal(read_whole("{\"choices\":null}", got, sizeof got), AH_PROTOCOL);
    assert_int_equal(read_whole("{}", got, sizeof got), AH_PROTOCOL);
    assert_int_equal(read_whole("", got, sizeof got), AH_PROTOCOL);
    assert_int_equal(read_whole("[]", got, sizeof got), AH_PROTOCOL);
    assert_int_equal(read_whole("<html>oops</html>", got, sizeof got), AH_PROTOCOL);
    assert_int_equal(read_whole("{\"error\":{\"message\":\"slow\",\"code\":429}}", got, sizeof got),
                     AH_RATE_LIMIT);
    assert_int_equal(
        read_whole("{\"error\":{\"message\":\"no\",\"code\":\"insufficient_quota\"},\"choices\":null}", got,
                   sizeof got),
        AH_QUOTA);
}

static void test_write(void **state)
{
    (void)state;
    size_t n;
    char *p = read_fixture("golden_two_calls", &n);
    struct ah_ids ids = {0};
    struct reading r;
    struct ah_buf b;
    struct ah_json v;
    ah_ids_seed(&ids, 1);
    ah_buf_init(&b, 1 << 16);
    assert_int_equal(read_stream(&r, &ids, p, n, 0), 0);
    assert_int_equal(ah_chat_write(&r.chat, false, &b), 0);
    assert_int_equal(ah_json_check(b.p, b.n, AH_JSON_UNIQUE_KEYS, &v, NULL), 0);
    assert_int_equal(ah_json_get(v, "usage").type, AH_JSON_NONE);
    assert_true(ah_json_is(ah_json_path(v, "choices", "0", "finish_reason", NULL), "tool_calls"));
    struct ah_json call = ah_json_path(v, "choices", "0", "message", "tool_calls", "1", NULL);
    assert_true(ah_json_is(ah_json_get(call, "id"), "call_b2"));
    assert_true(ah_json_is(ah_json_path(call, "function", "arguments", NULL), "{}"));
    ah_buf_clear(&b);
    assert_int_equal(ah_chat_write(&r.chat, true, &b), 0);
    assert_int_equal(ah_json_check(b.p, b.n, 0, &v, NULL), 0);
    assert_int_equal(ah_json_get(v, "usage").type, AH_JSON_OBJECT);
    /* what was written reads back as the same answer */
    struct reading again = {0};
    char one[4096], two[4096];
    ah_chat_init(&again.chat, &ids);
    assert_int_equal(ah_chat_whole(&again.chat, b.p, b.n, &again.err), 0);
    assert_int_equal(ah_chat_end(&again.chat, &again.err), 0);
    describe(&r, 0, one, sizeof one);
    describe(&again, 0, two, sizeof two);
    assert_string_equal(one, two);
    drop_reading(&again);
    drop_reading(&r);
    ah_buf_drop(&b);
    free(p);
}

static void test_usage(void **state)
{
    (void)state;
    static const struct {
        const char *usage, *tier, *want;
        double cost;
    } rows[] = {
        {"{\"prompt_tokens\":91,\"completion_tokens\":17,\"total_tokens\":108,\"prompt_tokens_details\":{"
         "\"cached_tokens\":32,\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":4}}",
         "default",
         "{\"input_tokens\":91,\"output_tokens\":17,\"total_tokens\":108,\"input_token_details\":{\"audio\":"
         "0,"
         "\"cache_read\":32},\"output_token_details\":{\"reasoning\":4}}",
         -1},
        {"{\"prompt_tokens\":91,\"completion_tokens\":17,\"prompt_tokens_details\":{\"cached_tokens\":32},"
         "\"completion_tokens_details\":{\"reasoning_tokens\":4}}",
         "flex",
         "{\"input_tokens\":91,\"output_tokens\":17,\"total_tokens\":108,\"input_token_details\":{"
         "\"flex_cache_read\":32,\"flex\":59},\"output_token_details\":{\"flex_reasoning\":4,\"flex\":13}}",
         -1},
        {"{\"input_tokens\":3,\"output_tokens\":4,\"cost\":6.3e-05}", "",
         "{\"input_tokens\":3,\"output_tokens\":4,\"total_tokens\":7}", 6.3e-05},
        {"{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2,\"cost\":0,\"prompt_tokens_"
         "details\":null}",
         "", "{\"input_tokens\":1,\"output_tokens\":1,\"total_tokens\":2}", -1},
        {"{}", "", "", -1},
        {"{\"prompt_tokens\":\"x\"}", "", "", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ah_buf b;
        struct ah_json v;
        struct ah_chat_tokens t;
        ah_buf_init(&b, 4096);
        assert_int_equal(ah_json_check(rows[i].usage, strlen(rows[i].usage), 0, &v, NULL), 0);
        assert_int_equal(ah_chat_usage(v, rows[i].tier, &b, &t), rows[i].want[0] ? 0 : -1);
        assert_string_equal(ah_buf_str(&b), rows[i].want);
        assert_true(t.cost == rows[i].cost);
        ah_buf_drop(&b);
    }
}

/* --- failures ------------------------------------------------------------------------------------------------ */

static void test_errors(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *body;
        enum ah_kind kind;
        bool retryable;
        const char *code, *message; /* message: a part of it */
        int64_t wait;
    } rows[] = {
        {401,
         "{\"error\":{\"message\":\"Incorrect API key provided: "
         "sk-x****abcd.\",\"type\":\"invalid_request_error\","
         "\"param\":null,\"code\":\"invalid_api_key\"}}",
         AH_AUTH, false, "invalid_api_key", "Incorrect API key", 0},
        {404, "{\"error\":{\"message\":\"The model `X` does not exist\",\"code\":\"model_not_found\"}}",
         AH_NOT_FOUND, false, "model_not_found", "does not exist", 0},
        {429,
         "{\"error\":{\"message\":\"Rate limit reached for o4-mini: Limit 200000, Used 1. Please try again "
         "in "
         "1.574s. Visit ...\",\"type\":\"tokens\",\"code\":\"rate_limit_exceeded\"}}",
         AH_RATE_LIMIT, true, "rate_limit_exceeded", "Rate limit", 1574},
        {429,
         "{\"error\":{\"message\":\"Request too large for gpt-5 on tokens per min (TPM): Limit 30000, "
         "Requested "
         "36055.\",\"code\":\"rate_limit_exceeded\"}}",
         AH_QUOTA, false, "rate_limit_exceeded", "Request too large", 0},
        {429,
         "{\"error\":{\"message\":\"You exceeded your current "
         "quota\",\"type\":\"insufficient_quota\",\"code\":"
         "\"insufficient_quota\"}}",
         AH_QUOTA, false, "insufficient_quota", "quota", 0},
        {400, "{\"error\":{\"message\":\"too long\",\"code\":\"context_length_exceeded\"}}",
         AH_CONTEXT_OVERFLOW, false, "context_length_exceeded", "shorten", 0},
        {400,
         "{\"error\":{\"message\":\"This model's MAXIMUM context length is 8192 tokens.\",\"code\":null}}",
         AH_CONTEXT_OVERFLOW, false, "", "8192", 0},
        {400,
         "{\"error\":{\"message\":\"litellm.ContextWindowExceededError: litellm.BadRequestError: "
         "x\",\"type\":\"None\","
         "\"param\":\"None\",\"code\":\"400\"}}",
         AH_CONTEXT_OVERFLOW, false, "", "ContextWindow", 0},
        {429,
         "{\"error\":{\"message\":\"litellm.RateLimitError: "
         "x\",\"type\":null,\"param\":null,\"code\":\"429\"}}",
         AH_RATE_LIMIT, true, "", "RateLimitError", 0},
        {429,
         "{\"error\":{\"message\":\"Budget has been exceeded! Current cost: 1\",\"type\":\"budget_exceeded\","
         "\"code\":\"429\"}}",
         AH_QUOTA, false, "budget_exceeded", "Budget", 0},
        {400, "{\"error\":{\"message\":\"filtered\",\"code\":\"content_filter\"}}", AH_REFUSED, false,
         "content_filter", "filtered", 0},
        {422, "{\"detail\":[{\"loc\":[\"body\",\"model\"],\"msg\":\"field required\"}]}", AH_INVALID, false,
         "", "field required", 0},
        {404, "{\"detail\":\"Not Found\"}", AH_NOT_FOUND, false, "", "Not Found", 0},
        {400, "{\"error\":\"model 'x' not found, try pulling it first\"}", AH_INVALID, false, "", "pulling",
         0},
        {401, "{\"error\":\"invalid_token\",\"error_description\":\"expired\"}", AH_AUTH, false,
         "invalid_token", "expired", 0},
        {500, "{\"message\":\"oops\"}", AH_HTTP, true, "", "oops", 0},
        {502, "<html><head><title>502 Bad Gateway</title></head><body>\n\nx</body></html>", AH_HTTP, true, "",
         "502 Bad Gateway x", 0},
        {503, "", AH_HTTP, true, "", "503", 0},
        {500, "\xff\xfe\x01", AH_HTTP, true, "", "500", 0},
        {408, "{}", AH_HTTP, true, "", "408", 0},
        {409, "{}", AH_HTTP, true, "", "409", 0},
        {403, "{\"error\":{\"message\":\"no\",\"code\":\"unsupported_country_region_territory\"}}", AH_AUTH,
         false, "unsupported_country_region_territory", "no", 0},
        {402, "[]", AH_HTTP, false, "", "402", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ah_error err = {0};
        snprintf(err.request_id, sizeof err.request_id, "req_1");
        err.attempts = 3;
        ah_chat_error_read(rows[i].status, rows[i].body, strlen(rows[i].body), &err);
        if (err.kind != rows[i].kind || !strstr(err.message, rows[i].message))
            fail_msg("row %zu: %s: %s", i, ah_err_kind_name(err.kind), err.message);
        assert_int_equal(err.retryable, rows[i].retryable);
        assert_string_equal(err.code, rows[i].code);
        assert_int_equal(err.retry_after_ms, rows[i].wait);
        assert_int_equal(err.status, rows[i].status);
        assert_string_equal(err.request_id, "req_1");
        assert_int_equal(err.attempts, 3);
        ah_err_drop(&err);
    }
}

static void test_waits(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {
        {"Please try again in 20ms.", 20},
        {"try again in 6m0s", 360000},
        {"TRY AGAIN IN 1h2m3.5s. Visit", 3723500},
        {"try again in 20 seconds", 20000},
        {"try again in 1.0005s", 1001},
        {"try again in 12", 0},
        {"try again in a while", 0},
        {"try again in ", 0},
        {"try again in 99999999999999999999999999999d", 0},
        {"nothing", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(ah_chat_error_wait(rows[i].text), rows[i].ms);
}

static void test_param(void **state)
{
    (void)state;
    char out[64];
    static const char a[] = "{\"error\":{\"message\":\"x\",\"param\":\"max_tokens\"}}";
    static const char b[] =
        "{\"error\":{\"message\":\"Unrecognized request argument supplied: stream_options\"}}";
    ah_chat_error_param(a, sizeof a - 1, out, sizeof out);
    assert_string_equal(out, "max_tokens");
    ah_chat_error_param(b, sizeof b - 1, out, sizeof out);
    assert_string_equal(out, "stream_options");
    ah_chat_error_param("x", 1, out, sizeof out);
    assert_string_equal(out, "");
}

/* --- requests -------------------------------------------------------------------------------------------------- */

static struct ah_json parse(const char *text)
{
    struct ah_json v;
    struct ah_error err = {0};
    if (ah_json_check(text, strlen(text), 0, &v, &err) != 0)
        fail_msg("%s: %s", err.message, text);
    return v;
}

static void test_names(void **state)
{
    (void)state;
    char out[AH_CHAT_REQUEST_NAME_BYTES + 1], longer[80], other[AH_CHAT_REQUEST_NAME_BYTES + 1];
    ah_chat_names_fit("get-sum", 7, false, out);
    assert_string_equal(out, "get-sum");
    ah_chat_names_fit("gmail.fetch/mails", 17, false, out);
    assert_string_equal(out, "gmail_fetch_mails");
    memset(longer, 'a', sizeof longer);
    ah_chat_names_fit(longer, 64, false, out);
    assert_int_equal(strlen(out), 64);
    assert_null(strchr(out, '_'));
    ah_chat_names_fit(longer, 65, false, out);
    ah_chat_names_fit(longer, 66, false, other);
    assert_int_equal(strlen(out), 64);
    assert_int_equal(out[55], '_');
    assert_string_not_equal(out, other);
    ah_chat_names_fit("", 0, false, out);
    assert_int_equal(strlen(out), 9);

    struct ah_chat_names names = {0};
    struct ah_buf b;
    struct ah_error err = {0};
    ah_buf_init(&b, 1 << 16);
    /* the mapped one gives way to the one that fits, though it comes first */
    assert_int_equal(
        ah_chat_request_tools(parse("[{\"name\":\"a.b\"},{\"name\":\"a/b\"},{\"name\":\"a_b\"}]"), &names, &b,
                              &err),
        0);
    assert_int_equal(names.count, 3);
    assert_string_equal(ah_chat_names_of(&names, "a_b", 3)->wire, "a_b");
    assert_string_equal(ah_chat_names_of_wire(&names, "a_b", 3)->name, "a_b");
    const struct ah_chat_name *dot = ah_chat_names_of(&names, "a.b", 3),
                              *slash = ah_chat_names_of(&names, "a/b", 3);
    assert_string_not_equal(dot->wire, slash->wire);
    assert_string_equal(ah_chat_names_of_wire(&names, dot->wire, strlen(dot->wire))->name, "a.b");
    ah_chat_names_drop(&names);
    ah_buf_drop(&b);
}

static void check_tools(const char *in, const char *want)
{
    struct ah_chat_names names = {0};
    struct ah_error err = {0};
    struct ah_buf b;
    ah_buf_init(&b, 1 << 16);
    if (ah_chat_request_tools(parse(in), &names, &b, &err) != 0)
        fail_msg("%s", err.message);
    assert_string_equal(ah_buf_str(&b), want);
    ah_chat_names_drop(&names);
    ah_buf_drop(&b);
}

static void refuse_tools(const char *in, enum ah_kind kind, const char *part)
{
    struct ah_chat_names names = {0};
    struct ah_error err = {0};
    struct ah_buf b;
    ah_buf_init(&b, 1 << 16);
    assert_int_equal(ah_chat_request_tools(parse(in), &names, &b, &err), -1);
    assert_int_equal(err.kind, kind);
    if (!strstr(err.message, part))
        fail_msg("%s", err.message);
    ah_err_drop(&err);
    ah_chat_names_drop(&names);
    ah_buf_drop(&b);
}

static void test_tools(void **state)
{
    (void)state;
    check_tools("[{\"name\":\"f\"}]", "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{"
                                      "\"properties\":{},\"type\":\"object\"}}}]");
    check_tools(
        "[{\"name\":\"f\",\"description\":\"d\",\"input_schema\":{\"type\":\"object\",\"properties\":{\"a\":{"
        "\"type\":\"string\"}},\"required\":[\"a\"]},\"strict\":false,\"provider\":\"gmail\"}]",
        "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\",\"parameters\":{\"type\":"
        "\"object\",\"properties\":{\"a\":{\"type\":\"string\"}},\"required\":[\"a\"]},\"strict\":false}}]");
    /* a script's empty tables, also inside; a property may be called "required" */
    check_tools(
        "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"required\":{"
        "\"type\":\"object\",\"properties\":[],\"required\":{}}},\"required\":{}}}}]",
        "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"required\":{"
        "\"type\":\"object\",\"properties\":{},\"required\":[]}},\"required\":[],\"type\":\"object\"}}}]");
    check_tools("[{\"name\":\"f\",\"parameters\":[]}]",
                "[{\"type\":\"function\",\"function\":{\"name\":\"f\","
                "\"parameters\":{\"properties\":{},\"type\":\"object\"}}}]");
    refuse_tools("[]", AH_NO_TOOLS, "no tools");
    refuse_tools("{}", AH_NO_TOOLS, "no tools");
    refuse_tools("[1]", AH_INVALID, "tool 1");
    refuse_tools("[{\"name\":\"\"}]", AH_INVALID, "no name");
    refuse_tools("[{\"name\":\"f\"},{\"name\":\"f\"}]", AH_INVALID, "two tools");
    refuse_tools("[{\"name\":\"f\",\"parameters\":7}]", AH_INVALID, "'f'");
    refuse_tools("[{\"name\":\"f\",\"parameters\":{\"type\":\"array\"}}]", AH_INVALID, "type object");

    struct ah_buf many;
    ah_buf_init(&many, 1 << 16);
    ah_buf_addc(&many, '[');
    for (int i = 0; i < 142; i++)
        ah_buf_addf(&many, "%s{\"name\":\"t%d\",\"connector\":\"%s\"}", i ? "," : "", i,
                    i < 90 ? "gmail" : "slack");
    ah_buf_addc(&many, ']');
    refuse_tools(ah_buf_str(&many), AH_LIMIT, "142 tools are more than the 128");
    refuse_tools(ah_buf_str(&many), AH_LIMIT, "gmail 90, slack 52");
    ah_buf_drop(&many);
}

static void test_choice(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want; /* want NULL: refused */
    } rows[] = {
        {"\"auto\"", "\"auto\""},
        {"\"none\"", "\"none\""},
        {"\"any\"", "\"required\""},
        {"true", "\"required\""},
        {"\"a.b\"", "{\"type\":\"function\",\"function\":{\"name\":\"a_b\"}}"},
        {"{\"type\":\"function\",\"function\":{\"name\":\"a.b\"}}",
         "{\"type\":\"function\",\"function\":{\"name\":\"a_b\"}}"},
        {"{\"type\":\"allowed_tools\"}", "{\"type\":\"allowed_tools\"}"},
        {"\"a.c\"", NULL},
        {"7", NULL},
    };
    struct ah_chat_names names = {0};
    struct ah_error err = {0};
    struct ah_buf b;
    ah_buf_init(&b, 1 << 16);
    assert_int_equal(ah_chat_request_tools(parse("[{\"name\":\"a.b\"}]"), &names, &b, &err), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ah_buf_clear(&b);
        int rc = ah_chat_request_choice(parse(rows[i].in), &names, &b, &err);
        assert_int_equal(rc, rows[i].want ? 0 : -1);
        if (rows[i].want)
            assert_string_equal(ah_buf_str(&b), rows[i].want);
        else
            assert_int_equal(err.kind, AH_INVALID);
        ah_err_drop(&err);
    }
    ah_chat_names_drop(&names);
    ah_buf_drop(&b);
}

#define CALL_A "{\"id\":\"a\",\"name\":\"f.g\",\"args\":{\"x\":1},\"arguments\":\"{ \\\"x\\\" : 1 }\"}"
#define CALL_B "{\"id\":\"b\",\"name\":\"f\",\"args\":{},\"arguments\":\"\"}"
#define ANSWER(id) "{\"role\":\"tool\",\"tool_call_id\":\"" id "\",\"content\":\"r\"}"

static void test_messages(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want; /* want begins with '!': refused, and the rest is a part of the message */
    } rows[] = {
        {"[{\"role\":\"user\",\"content\":\"hi\",\"mine\":1}]", "[{\"role\":\"user\",\"content\":\"hi\"}]"},
        {"[{\"role\":\"system\",\"content\":\"s\",\"name\":\"n\"},{\"role\":\"user\",\"content\":[{\"type\":"
         "\"text\","
         "\"text\":\"t\"}]}]",
         "[{\"role\":\"system\",\"content\":\"s\",\"name\":\"n\"},{\"role\":\"user\",\"content\":[{\"type\":"
         "\"text\","
         "\"text\":\"t\"}]}]"},
        /* our own answer back: the model's bytes stay, names are mapped, own members are left out */
        {"[{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[" CALL_A "," CALL_B
         "],\"usage_metadata\":{},\"cost\":1}," ANSWER("b") "," ANSWER("a") "]",
         "[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\","
         "\"function\":{"
         "\"name\":\"f_g\",\"arguments\":\"{ \\\"x\\\" : 1 "
         "}\"}},{\"id\":\"b\",\"type\":\"function\",\"function\":{"
         "\"name\":\"f\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"content\":\"r\",\"tool_call_id\":"
         "\"b\"},{"
         "\"role\":\"tool\",\"content\":\"r\",\"tool_call_id\":\"a\"}]"},
        /* arguments only as a table; calls that were invalid go back as they were */
        {"[{\"role\":\"assistant\",\"tool_calls\":{},\"invalid_tool_calls\":[{\"id\":\"a\",\"name\":\"f\","
         "\"arguments\":\"{cut\",\"error\":\"e\"}]}," ANSWER("a") "]",
         "[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\","
         "\"function\":{"
         "\"name\":\"f\",\"arguments\":\"{cut\"}}]},{\"role\":\"tool\",\"content\":\"r\",\"tool_call_id\":"
         "\"a\"}]"},
        {"[{\"role\":\"assistant\",\"content\":\"t\",\"tool_calls\":[{\"id\":\"a\",\"name\":\"f\",\"args\":{"
         "\"y\":2}}]}," ANSWER("a") "]",
         "[{\"role\":\"assistant\",\"content\":\"t\",\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\","
         "\"function\":{"
         "\"name\":\"f\",\"arguments\":\"{\\\"y\\\":2}\"}}]},{\"role\":\"tool\",\"content\":\"r\",\"tool_"
         "call_id\":"
         "\"a\"}]"},
        /* the wire's own shape, with a gateway's extra */
        {"[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\","
         "\"function\":{"
         "\"name\":\"f\",\"arguments\":\"{}\"},\"extra_content\":{\"s\":1}}]}," ANSWER("a") "]",
         "[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\","
         "\"extra_content\":{\"s\":1},\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},{\"role\":"
         "\"tool\","
         "\"content\":\"r\",\"tool_call_id\":\"a\"}]"},
        {"[{\"role\":\"assistant\",\"refusal\":\"no\",\"tool_calls\":[]}]",
         "[{\"role\":\"assistant\",\"content\":\"\",\"refusal\":\"no\"}]"},
        {"[]", "!at least one"},
        {"{}", "!at least one"},
        {"[{\"content\":\"x\"}]", "!message 1 has no role"},
        {"[{\"role\":\"human\",\"content\":\"x\"}]", "!'human'"},
        {"[{\"role\":\"user\"}]", "!message 1 has no content"},
        {"[{\"role\":\"user\",\"content\":[]}]", "!string or an array"},
        {"[{\"role\":\"user\",\"content\":{\"a\":1}}]", "!json.encode"},
        {"[{\"role\":\"assistant\"}]", "!message 1 has no content"},
        {"[{\"role\":\"tool\",\"content\":\"r\"}]", "!no tool_call_id"},
        {"[" ANSWER("a") "]", "!does not ask for"},
        {"[{\"role\":\"assistant\",\"tool_calls\":[" CALL_A "," CALL_B "]}," ANSWER("a") "]",
         "!tool calls b of message 1"},
        {"[{\"role\":\"assistant\",\"tool_calls\":[" CALL_A "," CALL_B
         "]},{\"role\":\"user\",\"content\":\"x\"}]",
         "!tool calls a, b of message 1"},
        {"[{\"role\":\"assistant\",\"tool_calls\":[" CALL_A "]}," ANSWER("a") "," ANSWER("a") "]",
         "!second time"},
        {"[{\"role\":\"assistant\",\"tool_calls\":[" CALL_A
         "]}," ANSWER("a") ",{\"role\":\"user\",\"content\":\"x\"}," ANSWER("a") "]",
         "!does not ask for"},
        {"[{\"role\":\"assistant\",\"tool_calls\":[" CALL_A "," CALL_A "]}]", "!two tool calls of id 'a'"},
        {"[{\"role\":\"assistant\",\"tool_calls\":[{\"name\":\"f\"}]}]", "!without an id"},
        {"[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\"}]}]", "!without a name"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ah_error err = {0};
        struct ah_buf b;
        ah_buf_init(&b, 1 << 16);
        int rc = ah_chat_request_messages(parse(rows[i].in), NULL, &b, &err);
        if (rows[i].want[0] == '!') {
            assert_int_equal(rc, -1);
            assert_int_equal(err.kind, AH_INVALID);
            if (!strstr(err.message, rows[i].want + 1))
                fail_msg("row %zu: %s", i, err.message);
        } else {
            if (rc != 0)
                fail_msg("row %zu: %s", i, err.message);
            assert_string_equal(ah_buf_str(&b), rows[i].want);
        }
        ah_err_drop(&err);
        ah_buf_drop(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams_split_at_every_byte),
        cmocka_unit_test(test_streams_cut_at_every_byte),
        cmocka_unit_test(test_deltas),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_waits),
        cmocka_unit_test(test_param),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_tools),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
