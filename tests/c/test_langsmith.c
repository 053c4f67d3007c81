/* The sender of spans against a LangSmith on the same loop that knows which runs it has: nothing is lost,
 * nothing is sent differently the second time, and one bad span does not keep the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config.h"
#include "hash.h"
#include "http.h"
#include "json.h"
#include "langsmith.h"
#include "log.h"
#include "loop.h"
#include "lswire.h"
#include "secret.h"
#include "server.h"
#include "store.h"
#include "trace.h"
#include "tracing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define REQUESTS 400
#define TURNS 200000 /* a test that needs more hangs */
#define KEY "lsv2_pt_0123456789"

/* What the server does with the next uploads; then it takes all. */
struct step {
    int status; /* 0: takes it; -1: never answers */
    const char *headers, *body;
};

struct fixture {
    struct ah_core core;
    struct ah_log log;
    struct ah_buf lines;
    struct ah_server *server;
    struct ah_langsmith *ls;
    char dir[64];
    struct step steps[8];
    int step_count, requests, uploads, reads;
    char *bodies[REQUESTS], *headers[REQUESTS], *paths[REQUESTS];
    size_t sizes[REQUESTS];
    struct ah_buf posts, patches; /* ids that were taken, one after the other */
    const char *culprit;          /* an id that is refused with 422 */
    bool no_multipart;
    const char *info; /* of GET /info, or NULL for 404 */
    int infos, packed;
    bool refuse_packed;     /* with 415 */
    size_t largest;         /* a body above it is refused with 413; 0: none is */
    const char *answers[8]; /* of GET: the run, or NULL for 404 */
    struct ah_exchange *held[8];
    int held_count;
};

/* --- the far end ------------------------------------------------------------------------------------ */

/* Ids of the main parts of one kind, joined. */
static void collect(const char *body, size_t n, const char *kind, struct ah_buf *to)
{
    char mark[32];
    snprintf(mark, sizeof mark, "name=\"%s.", kind);
    for (const char *p = body; (p = memmem(p, n - (size_t)(p - body), mark, strlen(mark))); p++) {
        const char *id = p + strlen(mark);
        if (id[36] == '"') {
            ah_buf_add(to, id, 36);
            ah_buf_addc(to, ' ');
        }
    }
}

static void collect_json(struct ah_json list, struct ah_buf *to)
{
    for (struct ah_json_iter it = ah_json_iter(list); ah_json_next(&it);) {
        ah_json_str(ah_json_get(it.value, "id"), to);
        ah_buf_addc(to, ' ');
    }
}

static bool any_known(const struct ah_buf *ids, const struct ah_buf *known)
{
    for (size_t i = 0; i + 36 < ids->n; i += 37)
        if (known->n && memmem(known->p, known->n, ids->p + i, 36))
            return true;
    return false;
}

/* Takes all of an upload or none. */
static int take_upload(struct fixture *f, const struct ah_server_req *req)
{
    struct ah_buf posts, patches;
    struct ah_json body;
    ah_buf_init(&posts, 1 << 20);
    ah_buf_init(&patches, 1 << 20);
    if (strcmp(req->path, "/runs/batch") == 0) {
        assert_int_equal(ah_json_check(req->body, req->body_n, 0, &body, NULL), 0);
        collect_json(ah_json_get(body, "post"), &posts);
        collect_json(ah_json_get(body, "patch"), &patches);
    } else {
        collect(req->body, req->body_n, "post", &posts);
        collect(req->body, req->body_n, "patch", &patches);
    }
    int status = 202;
    if (f->culprit && memmem(req->body, req->body_n, f->culprit, strlen(f->culprit)))
        status = 422;
    else if (any_known(&posts, &f->posts) || any_known(&patches, &f->patches))
        status = 409;
    if (status == 202) {
        ah_buf_add(&f->posts, ah_buf_str(&posts), posts.n);
        ah_buf_add(&f->patches, ah_buf_str(&patches), patches.n);
    }
    ah_buf_drop(&posts);
    ah_buf_drop(&patches);
    return status;
}

/* The body as it was before it was packed: malloc'd. */
static char *unpack(struct fixture *f, const struct ah_server_req *req, size_t *n)
{
    enum { ROOM = 64 << 20 };
    char *to = malloc(ROOM);
    if (strstr(req->headers, "content-encoding: zstd")) {
        *n = ZSTD_decompress(to, ROOM, req->body, req->body_n);
        assert_false(ZSTD_isError(*n));
        f->packed++;
    } else if (strstr(req->headers, "content-encoding: gzip")) {
        z_stream z = {.next_in = (Bytef *)(uintptr_t)req->body,
                      .avail_in = (uInt)req->body_n,
                      .next_out = (Bytef *)to,
                      .avail_out = ROOM};
        assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
        assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
        *n = z.total_out;
        inflateEnd(&z);
        f->packed++;
    } else {
        memcpy(to, req->body ? req->body : "", req->body_n);
        *n = req->body_n;
    }
    to[*n] = '\0';
    return to;
}

static void on_request(void *arg, struct ah_exchange *x, const struct ah_server_req *req)
{
    static const char refusal[] = "{\"error\":\"Unprocessable entity: bad " KEY "\"}";
    struct fixture *f = arg;
    if (strcmp(req->path, "/info") == 0) {
        f->infos++;
        ah_exchange_reply(x, f->info ? 200 : 404, NULL, f->info ? f->info : "",
                          f->info ? strlen(f->info) : 0);
        ah_exchange_unref(x);
        return;
    }
    int i = f->requests++, was_packed = f->packed;
    struct ah_server_req plain = *req;
    assert_true(i < REQUESTS);
    f->bodies[i] = unpack(f, req, &f->sizes[i]);
    plain.body = f->bodies[i];
    plain.body_n = f->sizes[i];
    f->headers[i] = strdup(req->headers);
    f->paths[i] = strdup(req->path);
    if (strcmp(req->method, "GET") == 0) {
        const char *answer = f->answers[f->reads++];
        ah_exchange_reply(x, answer ? 200 : 404, "content-type: application/json\n", answer ? answer : "{}",
                          strlen(answer ? answer : "{}"));
    } else if (f->no_multipart && strcmp(req->path, "/runs/multipart") == 0) {
        ah_exchange_reply(x, 404, NULL, "not found", 9);
    } else {
        int u = f->uploads++;
        const struct step *s = u < f->step_count ? &f->steps[u] : &(struct step){0};
        int status = s->status                                    ? s->status
                     : f->refuse_packed && f->packed > was_packed ? 415
                     : f->largest && plain.body_n > f->largest    ? 413
                                                                  : take_upload(f, &plain);
        const char *body = s->body ? s->body : status == 422 ? refusal : "{}";
        if (status == -1)
            f->held[f->held_count++] = ah_exchange_ref(x);
        else
            ah_exchange_reply(x, status, s->headers, body, strlen(body));
    }
    ah_exchange_unref(x);
}

/* --- the near end -------------------------------------------------------------------------------------- */

static void on_line(void *arg, enum ah_log_level level, const char *line, size_t n)
{
    struct fixture *f = arg;
    (void)level;
    ah_buf_add(&f->lines, line, n);
    ah_buf_addc(&f->lines, '\n');
}

static void open_host(struct fixture *f)
{
    struct ah_error err = {0};
    struct ah_store_opts opts = {.dir = f->dir};
    f->core.secrets = ah_secret_new();
    f->log.secrets = f->core.secrets;
    f->core.config = ah_config_new(f->core.secrets, &f->log);
    f->core.http = ah_http_new(f->core.loop, &f->log, f->core.config, &err);
    f->core.store = ah_store_open(&opts, f->core.loop, &f->log, &err);
    assert_non_null(f->core.store);
    f->core.trace = ah_trace_new(&f->core, &err);
    f->ls = ah_langsmith_new(&f->core, &err);
    assert_non_null(f->ls);
}

static void close_host(struct fixture *f)
{
    ah_langsmith_free(f->ls);
    ah_http_free(f->core.http);
    ah_loop_turn(f->core.loop, 0);
    ah_trace_free(f->core.trace);
    ah_store_close(f->core.store);
    ah_config_free(f->core.config);
    ah_secret_free(f->core.secrets);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct ah_error err = {0};
    char url[64];
    ah_buf_init(&f->lines, 1 << 16);
    ah_buf_init(&f->posts, 1 << 20);
    ah_buf_init(&f->patches, 1 << 20);
    f->log = (struct ah_log){.level = AH_LOG_WARN, .sink = on_line, .arg = f};
    f->core.log = &f->log;
    f->core.loop = ah_loop_new(&err);
    struct ah_server_opts opts = {.on_request = on_request, .arg = f};
    f->server = ah_server_open(f->core.loop, &opts, &err);
    assert_non_null(f->server);
    ah_server_background(f->server, true);
    snprintf(f->dir, sizeof f->dir, "/tmp/agenthost-ls-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", ah_server_port(f->server));
    static const char *const names[] = {"LANGSMITH_TRACING_V2",
                                        "LANGCHAIN_TRACING_V2",
                                        "LANGCHAIN_TRACING",
                                        "LANGCHAIN_API_KEY",
                                        "LANGSMITH_PROJECT",
                                        "LANGCHAIN_PROJECT",
                                        "http_proxy",
                                        "ALL_PROXY",
                                        "all_proxy"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    setenv("LANGSMITH_TRACING", "true", 1);
    setenv("LANGSMITH_API_KEY", KEY, 1);
    setenv("LANGSMITH_ENDPOINT", url, 1);
    setenv("LANGSMITH_WORKSPACE_ID", "ws-1", 1);
    open_host(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];
    close_host(f);
    for (int i = 0; i < f->held_count; i++)
        ah_exchange_unref(f->held[i]);
    ah_server_close(f->server);
    while (ah_loop_turn(f->core.loop, 0))
        ;
    ah_loop_free(f->core.loop);
    for (int i = 0; i < f->requests; i++) {
        free(f->bodies[i]);
        free(f->headers[i]);
        free(f->paths[i]);
    }
    ah_buf_drop(&f->lines);
    ah_buf_drop(&f->posts);
    ah_buf_drop(&f->patches);
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static void steps_are(struct fixture *f, const struct step *steps, int count)
{
    memcpy(f->steps, steps, (size_t)count * sizeof *steps);
    f->step_count = count;
}
#define STEPS(f, ...)                                                                                        \
    steps_are(f, (struct step[]){__VA_ARGS__},                                                               \
              (int)(sizeof((struct step[]){__VA_ARGS__}) / sizeof(struct step)))

static enum ah_kind wait_op(struct fixture *f, struct ah_op *op)
{
    assert_non_null(op);
    for (int i = 0; i < TURNS && !op->done; i++)
        ah_loop_turn(f->core.loop, 100);
    assert_true(op->done);
    enum ah_kind kind = op->err.kind;
    ah_op_unref(op);
    return kind;
}

static enum ah_kind flush(struct fixture *f, int64_t ms)
{
    return wait_op(f, ah_langsmith_flush(f->ls, ms));
}

/* A run named "root" with `spans` children; its key. */
static int64_t run_spans(struct fixture *f, int spans, char *id)
{
    struct ah_error err = {0};
    static const char *const tags[] = {"red", NULL};
    struct ah_run_opts opts = {
        .name = "root", .traced = true, .tags = tags, .inputs = "{\"a\":1}", .inputs_n = 7};
    struct ah_run *run = ah_run_start(f->core.trace, &opts, &err);
    assert_non_null(run);
    int64_t key = ah_run_key(run);
    if (id)
        strcpy(id, ah_run_id(run));
    for (int i = 0; i < spans; i++) {
        struct ah_span *s = ah_span_start(run, NULL, AH_SPAN_TOOL, "child", "{\"x\":[]}", 8);
        ah_span_end(s, "{\"y\":3.0}", 9, i % 2 ? "boom" : NULL);
        ah_span_unref(s);
    }
    ah_run_end(run, "{\"out\":null}", 12, NULL);
    return key;
}

static int count_ids(const struct ah_buf *ids)
{
    for (size_t i = 0; i + 36 < ids->n; i += 37)
        for (size_t k = i + 37; k + 36 < ids->n; k += 37)
            assert_memory_not_equal(ids->p + i, ids->p + k, 36);
    return (int)(ids->n / 37);
}

struct seen {
    struct ah_store *store;
    int batches, exceptions, mine;
    char reason[600];
    enum ah_except_state state;
    enum ah_delivery delivery;
};

static int see_batch(void *arg, const struct ah_store_batch *b)
{
    (void)b;
    ((struct seen *)arg)->batches++;
    return 0;
}

static int see_exception(void *arg, const struct ah_store_except *e)
{
    struct seen *s = arg;
    s->exceptions++;
    s->state = e->state;
    snprintf(s->reason, sizeof s->reason, "%s", e->reason);
    return 0;
}

static int see_dest(void *arg, const struct ah_store_dest *d)
{
    struct seen *s = arg;
    s->mine += d->mine;
    ah_store_batches(s->store, d->dest, see_batch, s, NULL);
    ah_store_exceptions(s->store, d->dest, 0, 0, 0, see_exception, s, NULL);
    return 0;
}

static int see_run(void *arg, const struct ah_store_run *run)
{
    struct seen *s = arg;
    s->delivery = ah_store_delivery(s->store, run);
    return 0;
}

/* What is left in the journal. */
static struct seen look(struct fixture *f)
{
    struct seen s = {.store = f->core.store};
    assert_int_equal(ah_store_flush(s.store), AH_STORE_OK);
    assert_int_equal(ah_store_dests(s.store, see_dest, &s, NULL), 0);
    ah_store_run_find(s.store, "last", see_run, &s, NULL);
    return s;
}

static void assert_all_sent(struct fixture *f)
{
    struct seen s = look(f);
    assert_int_equal(s.batches, 0);
    assert_int_equal(s.exceptions, 0);
    assert_int_equal(s.mine, 0); /* the lease is given back */
    assert_int_equal(s.delivery, AH_SENT_ALL);
    assert_int_equal(ah_langsmith_waiting(f->ls), 0);
}

/* --- tests ------------------------------------------------------------------------------------------------- */

static void test_one_request(void **state)
{
    struct fixture *f = *state;
    run_spans(f, 1, NULL);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(f->requests, 1);
    assert_int_equal(count_ids(&f->posts), 2);
    assert_string_equal(f->paths[0], "/runs/multipart");
    assert_non_null(strstr(f->headers[0], "x-api-key: " KEY "\n"));
    assert_non_null(strstr(f->headers[0], "x-tenant-id: ws-1\n"));
    assert_non_null(
        strstr(f->bodies[0], "\"session_name\":\"default\",\"tags\":[\"red\"],\"extra\":{\"runtime\":"));
    assert_non_null(strstr(f->bodies[0], "\r\n\r\n{\"y\":3.0}\r\n")); /* as the bytes it was */
    assert_non_null(strstr(f->bodies[0], "\"runtime\":{\"library\":\"agenthost\""));
    assert_null(strstr(f->bodies[0], KEY));
    assert_all_sent(f);
    assert_int_equal(flush(f, 5000), AH_NONE); /* nothing to do: no request */
    assert_int_equal(f->requests, 1);
}

static void test_by_itself(void **state)
{
    struct fixture *f = *state;
    ah_langsmith_set_pace(f->ls, 1, 5000);
    run_spans(f, 3, NULL);
    for (int i = 0; i < TURNS && count_ids(&f->posts) < 4; i++)
        ah_loop_turn(f->core.loop, 100);
    assert_int_equal(count_ids(&f->posts), 4);
}

static void test_pages(void **state)
{
    struct fixture *f = *state;
    run_spans(f, 450, NULL);
    assert_int_equal(flush(f, 20000), AH_NONE);
    assert_int_equal(count_ids(&f->posts), 451);
    assert_int_equal(f->requests, 5);
    assert_all_sent(f);
}

/* The answer never comes, the process goes: the next sends the same bytes, and 409 says that they arrived. */
static void test_resend_is_the_same(void **state)
{
    struct fixture *f = *state;
    STEPS(f, {.status = -1}, {.status = 409});
    run_spans(f, 5, NULL);
    assert_int_equal(flush(f, 300), AH_TIMEOUT);
    assert_true(ah_langsmith_waiting(f->ls) > 0);
    close_host(f);
    open_host(f);
    run_spans(f, 1, NULL); /* must not be merged into it */
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(f->requests, 3);
    assert_int_equal(f->sizes[0], f->sizes[1]);
    assert_memory_equal(f->bodies[0], f->bodies[1], f->sizes[0]);
    assert_string_equal(f->headers[0], f->headers[1]);
    assert_int_equal(count_ids(&f->posts), 2);
    assert_all_sent(f);
}

/* 5xx and 429 are tried again with the same bytes; Retry-After is obeyed by not coming earlier. */
static void test_later(void **state)
{
    struct fixture *f = *state;
    STEPS(f, {503, "retry-after-ms: 10\n", NULL}, {429, "retry-after-ms: 10\n", "{\"error\":\"Too many\"}"},
          {500, "retry-after-ms: 10\n", "<html>"},
          {422, "retry-after-ms: 10\n", "{\"error\":\"multipart: NextPart: EOF\"}"});
    run_spans(f, 2, NULL);
    assert_int_equal(flush(f, 20000), AH_NONE);
    assert_int_equal(f->requests, 5);
    for (int i = 1; i < 5; i++)
        assert_string_equal(f->bodies[0], f->bodies[i]);
    assert_all_sent(f);
}

/* A page that answers 200 to everything has nothing: the spans are kept. */
static void test_not_langsmith(void **state)
{
    struct fixture *f = *state;
    STEPS(f, {200, NULL, "<html>welcome</html>"}, {200, NULL, "{\"error\":\"no\"}"});
    run_spans(f, 2, NULL);
    assert_int_equal(flush(f, 20000), AH_NONE);
    assert_int_equal(f->requests, 3);
    assert_string_equal(f->bodies[0], f->bodies[2]);
    assert_all_sent(f);
}

static void test_no_hope(void **state)
{
    struct fixture *f = *state;
    STEPS(f, {429, "retry-after: 3600\n", "{}"});
    run_spans(f, 2, NULL);
    assert_int_equal(flush(f, 100000), AH_TIMEOUT); /* at once: it would not help to wait */
    assert_int_equal(flush(f, 100000), AH_TIMEOUT);
    assert_int_equal(f->requests, 1);
    assert_int_equal(look(f).batches, 1);
}

/* Somebody has one of our runs: the others are not lost with it, and nothing is sent twice for good. */
static void test_conflict(void **state)
{
    struct fixture *f = *state;
    char id[AH_UUID_BYTES];
    run_spans(f, 7, id);
    ah_buf_add(&f->posts, id, 36);
    ah_buf_addc(&f->posts, ' ');
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(count_ids(&f->posts), 8);
    assert_all_sent(f);
}

/* 429 was no taking: the 409 after it is not ours, and does not mean that all arrived. */
static void test_conflict_after_429(void **state)
{
    struct fixture *f = *state;
    char id[AH_UUID_BYTES];
    STEPS(f, {429, "retry-after-ms: 5\n", "{}"});
    run_spans(f, 3, id);
    ah_buf_add(&f->posts, id, 36);
    ah_buf_addc(&f->posts, ' ');
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(count_ids(&f->posts), 4);
    assert_all_sent(f);
}

/* What the service says of itself is asked beside the second upload, and obeyed from then on. */
static void test_info(void **state)
{
    struct fixture *f = *state;
    f->info =
        "{\"batch_ingest_config\":{\"size_limit\":50,\"size_limit_bytes\":\"many\"},\"instance_flags\":[]}";
    run_spans(f, 4, NULL);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(f->infos, 0);
    run_spans(f, 600, NULL);
    assert_int_equal(flush(f, 20000), AH_NONE);
    assert_int_equal(f->infos, 1);
    assert_int_equal(count_ids(&f->posts), 606);
    assert_true(f->requests >= 10); /* of 100 they would have been 8 */
    assert_all_sent(f);
}

static void send_packed(struct fixture *f, const char *info, const char *coding)
{
    f->info = info;
    run_spans(f, 600, NULL);
    assert_int_equal(flush(f, 20000), AH_NONE);
    assert_true(f->packed >= 2);
    int named = 0;
    for (int i = 0; i < f->requests; i++)
        named += strstr(f->headers[i], coding) && strstr(f->headers[i], "x-pre-compressed-size: ");
    assert_int_equal(named, f->packed);
    assert_int_equal(count_ids(&f->posts), 601);
    assert_all_sent(f);
}

static void test_packed_zstd(void **state)
{
    send_packed(*state, "{\"instance_flags\":{\"zstd_compression_enabled\":true,\"gzip_body_enabled\":true}}",
                "content-encoding: zstd");
}

static void test_packed_gzip(void **state)
{
    send_packed(*state, "{\"instance_flags\":{\"gzip_body_enabled\":true}}", "content-encoding: gzip");
}

/* Something on the way cannot unpack: it is sent as it is, and nothing is parked. */
static void test_packed_refused(void **state)
{
    struct fixture *f = *state;
    f->info = "{\"instance_flags\":{\"zstd_compression_enabled\":true}}";
    f->refuse_packed = true;
    run_spans(f, 600, NULL);
    assert_int_equal(flush(f, 20000), AH_NONE);
    assert_true(f->packed >= 1 && f->packed <= 2);
    assert_int_equal(count_ids(&f->posts), 601);
    assert_all_sent(f);
}

/* A span that is refused for its size goes with its largest value cut, and says so; its small ones are whole. */
static void test_too_large(void **state)
{
    enum { LONG = 3000000 };
    struct fixture *f = *state;
    struct ah_error err = {0};
    char hex[AH_HASH_HEX_BYTES], mark[120];
    char *value = malloc(LONG + 1), *text = malloc(LONG + 64);
    memset(value, 'm', LONG);
    value[LONG] = '\0';
    ah_hash_sha256_hex(value, LONG, hex);
    snprintf(mark, sizeof mark, "mm [cut: %d bytes, sha256 %s]\"", LONG, hex);
    snprintf(text, LONG + 64, "{\"o\":{\"t\":\"%s\"},\"k\":1}", value);
    free(value);
    struct ah_run_opts opts = {.name = "root", .traced = true};
    struct ah_run *run = ah_run_start(f->core.trace, &opts, &err);
    struct ah_span *s = ah_span_start(run, NULL, AH_SPAN_TOOL, "large", "{\"in\":\"small\"}", 14);
    ah_span_end(s, text, strlen(text), NULL);
    ah_span_unref(s);
    ah_run_end(run, NULL, 0, NULL);
    f->largest = 100000;
    assert_int_equal(flush(f, 10000), AH_NONE);
    assert_int_equal(count_ids(&f->posts), 2);
    assert_all_sent(f);
    const char *taken = NULL;
    for (int i = 0; i < f->requests; i++)
        taken = f->sizes[i] < f->largest && strstr(f->bodies[i], "large") ? f->bodies[i] : taken;
    assert_non_null(taken);
    assert_non_null(strstr(taken, mark));
    assert_non_null(strstr(taken, "\"k\":1"));
    assert_non_null(strstr(taken, "\"in\":\"small\""));
    free(text);
}

static void test_culprit(void **state)
{
    struct fixture *f = *state;
    struct ah_error err = {0};
    char id[AH_UUID_BYTES], part[64];
    int64_t key = run_spans(f, 9, id);
    snprintf(part, sizeof part, "name=\"post.%s\"", id);
    f->culprit = part;
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(count_ids(&f->posts), 9);
    struct seen s = look(f);
    assert_int_equal(s.batches, 0);
    assert_int_equal(s.exceptions, 1);
    assert_int_equal(s.state, AH_EXCEPT_PARKED);
    assert_non_null(strstr(s.reason, "Unprocessable entity: bad [secret:LANGSMITH_API_KEY]"));
    assert_int_equal(s.delivery, AH_SENT_PARKED);
    assert_non_null(strstr(ah_buf_str(&f->lines), "does not take a span"));
    int requests = f->requests;
    assert_int_equal(flush(f, 5000), AH_NONE); /* it is not tried again by itself */
    assert_int_equal(f->requests, requests);
    f->culprit = NULL;
    assert_int_equal(ah_store_push(f->core.store, key, &(struct ah_store_where){0}, NULL, &err), 0);
    ah_langsmith_wake(f->ls);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(count_ids(&f->posts), 10);
    assert_all_sent(f);
}

/* What LangSmith would refuse for sure is not even sent. */
static void test_checked_before(void **state)
{
    struct fixture *f = *state;
    struct ah_store *s = f->core.store;
    struct ah_error err = {0};
    char body[512];
    static const char id[] = "01a202b2-c500-7a1b-8a1b-2c3d4e5f6071";
    struct ah_run_opts opts = {.name = "root", .traced = true};
    struct ah_run *run = ah_run_start(f->core.trace, &opts, &err);
    ah_store_begin(s, ah_run_key(run), 77, AH_EV_SPAN_START, 1);
    snprintf(body, sizeof body,
             "{\"id\":\"%s\",\"trace_id\":\"%s\",\"dotted_order\":\"20261122T100000000Z%s\",\"name\":\"n\","
             "\"run_type\":\"chain\",\"start_time\":\"2026-11-22T10:00:00.000Z\",\"inputs\":{}}",
             id, id, id);
    ah_store_puts(s, body);
    ah_store_end(s);
    ah_store_flush(s);
    ah_store_begin(s, ah_run_key(run), 77, AH_EV_SPAN_END, 2);
    ah_store_puts(s, "{\"end_time\":\"2026-11-22T10:00:01.000000Z\"}");
    ah_store_end(s);
    ah_run_end(run, NULL, 0, NULL);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(f->requests, 1);
    assert_null(strstr(f->bodies[0], id));
    assert_int_equal(count_ids(&f->posts), 1);
    struct seen seen = look(f);
    assert_int_equal(seen.state, AH_EXCEPT_PARKED);
    assert_non_null(strstr(seen.reason, "dotted_order"));
}

static void test_key_refused(void **state)
{
    struct fixture *f = *state;
    STEPS(f, {403, NULL, "{\"error\":\"Forbidden\"}\n"});
    run_spans(f, 2, NULL);
    assert_int_equal(flush(f, 5000), AH_AUTH);
    assert_int_equal(flush(f, 5000), AH_AUTH);
    assert_int_equal(f->requests, 1);
    assert_non_null(strstr(ah_buf_str(&f->lines), "does not accept the key (403 Forbidden)"));
    assert_null(strstr(ah_buf_str(&f->lines), KEY));
    struct seen s = look(f);
    assert_int_equal(s.mine, 0); /* another process may have a better key */
    assert_int_equal(s.batches, 1);
    ah_langsmith_wake(f->ls);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(f->requests, 2);
    assert_string_equal(f->bodies[0], f->bodies[1]);
    assert_all_sent(f);
}

static void test_long_open(void **state)
{
    struct fixture *f = *state;
    struct ah_error err = {0};
    struct ah_run_opts opts = {.name = "root", .traced = true, .inputs = "{\"a\":1}", .inputs_n = 7};
    ah_langsmith_set_pace(f->ls, 1, 20);
    struct ah_run *run = ah_run_start(f->core.trace, &opts, &err);
    for (int i = 0; i < TURNS && f->uploads < 1; i++)
        ah_loop_turn(f->core.loop, 100);
    assert_int_equal(count_ids(&f->posts), 1);
    assert_null(strstr(f->bodies[0], "end_time"));
    assert_non_null(strstr(f->bodies[0], ".inputs\""));
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(look(f).state, AH_EXCEPT_CREATED);
    ah_run_end(run, "{\"b\":2}", 7, NULL);
    ah_store_flush(f->core.store);
    close_host(f); /* whoever comes next knows that its create was sent */
    open_host(f);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(f->requests, 2);
    assert_int_equal(count_ids(&f->posts), 1);
    assert_int_equal(count_ids(&f->patches), 1);
    assert_non_null(strstr(f->bodies[1], "\"end_time\""));
    assert_non_null(strstr(f->bodies[1], ".outputs\""));
    assert_null(strstr(f->bodies[1], ".inputs\""));
    assert_all_sent(f);
}

/* A create that was refused does not leave its end alone. */
static void test_long_open_refused(void **state)
{
    struct fixture *f = *state;
    struct ah_error err = {0};
    struct ah_run_opts opts = {.name = "root", .traced = true};
    ah_langsmith_set_pace(f->ls, 1, 20);
    STEPS(f, {400, NULL, "{\"error\":\"no\"}"});
    struct ah_run *run = ah_run_start(f->core.trace, &opts, &err);
    for (int i = 0; i < TURNS && f->uploads < 1; i++)
        ah_loop_turn(f->core.loop, 100);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(look(f).state, AH_EXCEPT_PARKED);
    ah_run_end(run, NULL, 0, NULL);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(count_ids(&f->posts), 1);
    assert_int_equal(count_ids(&f->patches), 0);
    assert_all_sent(f);
}

static bool in_bodies(const struct fixture *f, const char *text)
{
    for (int i = 0; i < f->requests; i++)
        if (memmem(f->bodies[i], f->sizes[i], text, strlen(text)))
            return true;
    return false;
}

static void test_no_multipart(void **state)
{
    struct fixture *f = *state;
    f->no_multipart = true;
    run_spans(f, 2, NULL);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(f->requests, 2);
    assert_string_equal(f->paths[1], "/runs/batch");
    assert_non_null(strstr(f->bodies[1], "\"error\":\"boom\"}"));
    assert_int_equal(count_ids(&f->posts), 3);
    run_spans(f, 0, NULL);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(f->requests, 3); /* it is not asked for again */
    assert_all_sent(f);
    assert_null(strstr(ah_buf_str(&f->lines), "files that are attached"));
    for (int i = 0; i < 2; i++) {
        struct ah_run *run =
            ah_run_start(f->core.trace, &(struct ah_run_opts){.name = "r", .traced = true}, NULL);
        ah_span_attach(ah_run_root(run), "a", "text/plain", "some text", 9);
        ah_run_end(run, NULL, 0, NULL);
    }
    assert_int_equal(flush(f, 5000), AH_NONE);
    const char *said = strstr(ah_buf_str(&f->lines), "files that are attached to spans stay in the journal");
    assert_non_null(said);
    assert_null(strstr(said + 1, "files that are attached")); /* once */
    assert_false(in_bodies(f, "c29tZSB0ZXh0") || in_bodies(f, "some text"));
}

static void test_switched_off(void **state)
{
    struct fixture *f = *state;
    struct ah_error err = {0};
    close_host(f);
    setenv("LANGSMITH_TRACING", "false", 1);
    open_host(f);
    int64_t key = run_spans(f, 2, NULL);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(f->requests, 0);
    assert_int_equal(look(f).delivery, AH_SENT_LOCAL);
    struct ah_tracing_where target;
    ah_tracing_target(f->core.tracing, &target);
    struct ah_store_where where = {target.endpoint, target.workspace, false};
    assert_int_equal(ah_store_push(f->core.store, key, &where, "pushed", &err), 0);
    ah_langsmith_wake(f->ls);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(count_ids(&f->posts), 3);
    assert_non_null(strstr(f->bodies[0], "\"session_name\":\"pushed\""));
    assert_all_sent(f);
}

/* A destination of another address is not ours, whatever key we have. */
static void test_other_address(void **state)
{
    struct fixture *f = *state;
    run_spans(f, 2, NULL);
    close_host(f);
    setenv("LANGSMITH_ENDPOINT", "http://127.0.0.1:1", 1);
    open_host(f);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(ah_langsmith_waiting(f->ls), 0);
    run_spans(f, 1, NULL);
    assert_int_equal(flush(f, 1200), AH_TIMEOUT); /* nobody listens */
    assert_int_equal(ah_langsmith_waiting(f->ls), 2);
    assert_int_equal(f->requests, 0);
}

static void test_cancelled(void **state)
{
    struct fixture *f = *state;
    STEPS(f, {.status = -1});
    run_spans(f, 2, NULL);
    struct ah_op *op = ah_langsmith_flush(f->ls, 60000);
    for (int i = 0; i < TURNS && f->uploads < 1; i++)
        ah_loop_turn(f->core.loop, 100);
    ah_op_cancel(op);
    assert_int_equal(wait_op(f, op), AH_CANCELLED);
    op = ah_langsmith_flush(f->ls, 60000);
    close_host(f); /* with an upload in flight and somebody who waits */
    assert_int_equal(op->err.kind, AH_CANCELLED);
    ah_op_unref(op);
    open_host(f);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_string_equal(f->bodies[0], f->bodies[1]);
}

#define RUN_ID "01a202b2-c500-7a1b-8a1b-2c3d4e5f6071"

static void test_verify(void **state)
{
    struct fixture *f = *state;
    f->answers[1] = "{\"id\":\"" RUN_ID "\",\"status\":\"pending\",\"end_time\":null}";
    f->answers[2] = "{\"id\":\"" RUN_ID "\",\"status\":\"success\",\"end_time\":\"2026-11-22T10:00:00\","
                    "\"app_path\":\"/o/1/r/2\"}";
    struct ah_op *op = ah_langsmith_verify(f->ls, RUN_ID, 15000);
    assert_int_equal(wait_op(f, ah_op_ref(op)), AH_NONE);
    assert_int_equal(f->reads, 3);
    assert_string_equal(f->paths[0], "/runs/" RUN_ID);
    char *url = ah_langsmith_run_url(f->ls, ah_langsmith_run(op));
    assert_non_null(strstr(url, "http://127.0.0.1:"));
    assert_non_null(strstr(url, "/o/1/r/2"));
    free(url);
    ah_op_unref(op);
}

static void test_verify_fails(void **state)
{
    struct fixture *f = *state;
    struct ah_op *op = ah_langsmith_verify(f->ls, RUN_ID, 250);
    assert_int_equal(wait_op(f, ah_op_ref(op)), AH_NOT_FOUND);
    assert_non_null(strstr(op->err.message, "is not at LangSmith"));
    assert_int_equal(ah_langsmith_run(op).type, AH_JSON_NONE);
    ah_op_unref(op);
    assert_int_equal(wait_op(f, ah_langsmith_read_run(f->ls, "../info")), AH_INVALID);
    assert_int_equal(wait_op(f, ah_langsmith_read_run(f->ls, RUN_ID)), AH_NOT_FOUND);
    f->answers[f->reads] = "<html>";
    assert_int_equal(wait_op(f, ah_langsmith_read_run(f->ls, RUN_ID)), AH_PROTOCOL);
    close_host(f);
    unsetenv("LANGSMITH_API_KEY");
    open_host(f);
    assert_int_equal(wait_op(f, ah_langsmith_read_run(f->ls, RUN_ID)), AH_CONFIG);
    op = ah_langsmith_verify(f->ls, RUN_ID, 60000);
    ah_op_cancel(op);
    ah_op_unref(op);
}

static void test_ping(void **state)
{
    struct fixture *f = *state;
    STEPS(f, {403, NULL, "{\"error\":\"Forbidden\"}"});
    struct ah_op *op = ah_langsmith_ping(f->ls);
    assert_int_equal(wait_op(f, ah_op_ref(op)), AH_AUTH);
    assert_non_null(strstr(op->err.message, "does not accept the key (403 Forbidden)"));
    ah_op_unref(op);
    assert_int_equal(count_ids(&f->posts), 0);
}

/* --- which runs, to whom, and what of them ---------------------------------------------------------------------- */

static bool in_headers(const struct fixture *f, const char *text)
{
    for (int i = 0; i < f->requests; i++)
        if (strstr(f->headers[i], text))
            return true;
    return false;
}

/* Two destinations at one address: each with its key and project, each once, the copy with ids of its own. */
static void test_copies(void **state)
{
    struct fixture *f = *state;
    char list[400], id[AH_UUID_BYTES];
    snprintf(list, sizeof list,
             "[{\"api_url\":\"http://127.0.0.1:%d\",\"api_key\":\"lsv2_copy\",\"project_name\":\"two\"},"
             "{\"api_url\":\"http://127.0.0.1:%d/\",\"api_key\":\"lsv2_first\",\"primary\":true}]",
             ah_server_port(f->server), ah_server_port(f->server));
    setenv("LANGSMITH_RUNS_ENDPOINTS", list, 1);
    run_spans(f, 1, id);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(count_ids(&f->posts), 4);
    assert_true(in_headers(f, "lsv2_copy") && in_headers(f, "lsv2_first"));
    assert_true(in_bodies(f, "\"session_name\":\"two\"") && in_bodies(f, "\"session_name\":\"default\""));
    for (int i = 0; i < f->requests; i++) /* the copy names the first's ids nowhere */
        if (memmem(f->bodies[i], f->sizes[i], "\"two\"", 5))
            assert_null(memmem(f->bodies[i], f->sizes[i], id, 36));
    int requests = f->requests;
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(f->requests, requests);
    /* Without a primary: a copy into the run's own project has its ids, one without a project is in the run's. */
    snprintf(list, sizeof list,
             "[{\"api_url\":\"http://127.0.0.1:%d\",\"api_key\":\"lsv2_a\",\"workspace_id\":\"ws-a\"},"
             "{\"api_url\":\"http://127.0.0.1:%d\",\"api_key\":\"lsv2_b\",\"workspace_id\":\"ws-b\"}]",
             ah_server_port(f->server), ah_server_port(f->server));
    setenv("LANGSMITH_RUNS_ENDPOINTS", list, 1);
    ah_buf_clear(&f->posts); /* it is one server: the second would be a conflict */
    struct ah_run_opts opts = {.name = "r", .traced = true, .project = "own"};
    struct ah_run *run = ah_run_start(f->core.trace, &opts, NULL);
    strcpy(id, ah_run_id(run));
    ah_run_end(run, NULL, 0, NULL);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(f->requests, requests + 2);
    for (int i = requests; i < f->requests; i++)
        assert_true(memmem(f->bodies[i], f->sizes[i], id, 36) &&
                    memmem(f->bodies[i], f->sizes[i], "\"session_name\":\"own\"", 20));
    assert_true(in_headers(f, "x-tenant-id: ws-a") && in_headers(f, "x-tenant-id: ws-b"));
    unsetenv("LANGSMITH_RUNS_ENDPOINTS");
}

static void test_sampling(void **state)
{
    struct fixture *f = *state;
    struct ah_error failed = {.kind = AH_SCRIPT, .message = "no luck"};
    struct ah_run_opts opts = {.name = "r", .traced = true};
    setenv("LANGSMITH_TRACING_SAMPLING_RATE", "0", 1);
    run_spans(f, 2, NULL);
    ah_run_end(ah_run_start(f->core.trace, &opts, NULL), NULL, 0, &failed);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(f->requests, 0);
    setenv("AGENTHOST_TRACE_ERRORS", "true", 1);
    run_spans(f, 2, NULL);
    ah_run_end(ah_run_start(f->core.trace, &opts, NULL), NULL, 0, &failed);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(count_ids(&f->posts), 1);
    assert_true(in_bodies(f, "no luck"));
    unsetenv("LANGSMITH_TRACING_SAMPLING_RATE");
    unsetenv("AGENTHOST_TRACE_ERRORS");
}

/* Puts "clean" where "dirty" was; refuses outputs that say "secretly". */
static int clean_text(void *arg, const char *what, const char *json, size_t n, struct ah_buf *to)
{
    (void)what;
    ++*(int *)arg;
    if (memmem(json, n, "secretly", 8))
        return -1;
    for (const char *p = json, *end = json + n; p < end;) {
        bool found = end - p >= 5 && memcmp(p, "dirty", 5) == 0;
        ah_buf_add(to, found ? "clean" : p, found ? 5 : 1);
        p += found ? 5 : 1;
    }
    return to->failed ? -1 : 0;
}

static void note_free(void *arg)
{
    *(int *)arg += 1000;
}

/* An anonymizer's run leaves when it ends, and only as it was made. */
static void test_cleaner(void **state)
{
    struct fixture *f = *state;
    int calls = 0;
    struct ah_run_opts opts = {.name = "r",
                               .traced = true,
                               .inputs = "{\"i\":\"dirty 0\"}",
                               .inputs_n = 15,
                               .metadata = "{\"m\":\"dirty m\"}"};
    struct ah_run_cleaner cleaner = {clean_text, note_free, &calls};
    ah_langsmith_set_pace(f->ls, 1, 1);
    struct ah_run *run = ah_run_start(f->core.trace, &opts, NULL);
    assert_int_equal(ah_run_set_cleaner(run, &cleaner, NULL), 0);
    struct ah_span *s = ah_span_start(run, NULL, AH_SPAN_TOOL, "one", "{\"i\":\"dirty 1\"}", 15);
    ah_span_end(s, "{\"o\":\"dirty 2\"}", 15, "dirty 3");
    ah_span_unref(s);
    s = ah_span_start(run, NULL, AH_SPAN_TOOL, "two", "{\"i\":4}", 7);
    ah_span_end(s, "{\"o\":\"secretly 5\"}", 18, NULL);
    ah_span_unref(s);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(f->requests, 0);
    ah_run_end(run, "{\"o\":\"dirty 6\"}", 15, NULL);
    assert_true(calls >= 1000);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(count_ids(&f->posts), 3);
    assert_false(in_bodies(f, "dirty") || in_bodies(f, "secretly"));
    static const char *const there[] = {"clean 0",   "clean 1", "clean 2", "clean 3",
                                        "{\"i\":4}", "clean 6", "clean m"};
    for (size_t i = 0; i < sizeof there / sizeof *there; i++)
        if (!in_bodies(f, there[i]))
            fail_msg("%s is not there", there[i]);
}

/* Set when a sender has read the root's begin, but sent nothing: nothing of it leaves before the end. Later than that it
 * is refused. */
static void test_cleaner_late(void **state)
{
    struct fixture *f = *state;
    int calls = 0;
    struct ah_error err = {0};
    struct ah_run_opts opts = {.name = "r", .traced = true, .inputs = "{\"i\":\"dirty 0\"}", .inputs_n = 15};
    struct ah_run_cleaner cleaner = {clean_text, note_free, &calls};
    struct ah_run *run = ah_run_start(f->core.trace, &opts, NULL);
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_int_equal(ah_run_set_cleaner(run, &cleaner, &err), 0);
    ah_langsmith_set_pace(f->ls, 1, 1);
    struct ah_run *other =
        ah_run_start(f->core.trace, &(struct ah_run_opts){.name = "o", .traced = true}, NULL);
    for (int i = 0; i < 50 && !f->requests; i++)
        flush(f, 20);
    assert_int_equal(count_ids(&f->posts), 1); /* the other one's root, which is open for long */
    assert_false(in_bodies(f, "dirty"));
    ah_run_end(run, NULL, 0, NULL);
    struct ah_span *s = ah_span_start(other, NULL, AH_SPAN_TOOL, "one", NULL, 0);
    assert_int_equal(ah_run_set_cleaner(other, &cleaner, &err),
                     0); /* it is said once more when s has ended */
    ah_span_end(s, NULL, 0, NULL);
    ah_span_unref(s);
    assert_int_equal(ah_run_set_cleaner(other, &cleaner, &err), 0);
    ah_run_end(other, NULL, 0, NULL);
    other = ah_run_start(f->core.trace, &opts, NULL);
    s = ah_span_start(other, NULL, AH_SPAN_TOOL, "one", "{\"i\":1}", 7);
    ah_span_end(s, NULL, 0, NULL);
    ah_span_unref(s);
    assert_int_equal(ah_run_set_cleaner(other, &cleaner, &err), -1);
    assert_int_equal(err.kind, AH_INVALID);
    assert_non_null(strstr(err.message, "too late"));
    ah_err_drop(&err);
    ah_run_end(other, NULL, 0, NULL);
    assert_int_equal(flush(f, 5000), AH_NONE);
}

/* What a process that is killed left: the copies, the run with a cleaner, the failed one that was not sampled. Only the
 * first had been sent. */
static void test_crash(void **state)
{
    struct fixture *f = *state;
    char list[400];
    int calls = 0;
    struct ah_run_opts opts = {.name = "r", .traced = true, .inputs = "{\"i\":\"dirty 0\"}", .inputs_n = 15};
    struct ah_run_cleaner cleaner = {clean_text, note_free, &calls};
    snprintf(list, sizeof list,
             "[{\"api_url\":\"http://127.0.0.1:%d\",\"api_key\":\"lsv2_first\"},"
             "{\"api_url\":\"http://127.0.0.1:%d\",\"api_key\":\"lsv2_copy\",\"project_name\":\"two\"}]",
             ah_server_port(f->server), ah_server_port(f->server));
    setenv("LANGSMITH_RUNS_ENDPOINTS", list, 1);
    close_host(f);
    pid_t pid = fork();
    if (pid == 0) {
        struct ah_core core = {.loop = f->core.loop, .log = &f->log};
        struct ah_store_opts o = {.dir = f->dir};
        core.secrets = ah_secret_new();
        core.config = ah_config_new(core.secrets, &f->log);
        core.store = ah_store_open(&o, NULL, &f->log, NULL);
        core.trace = core.store ? ah_trace_new(&core, NULL) : NULL;
        if (!core.trace)
            _exit(1);
        struct ah_run *one = ah_run_start(core.trace, &opts, NULL),
                      *two = ah_run_start(core.trace, &opts, NULL);
        if (ah_run_set_cleaner(two, &cleaner, NULL) != 0)
            _exit(2);
        ah_span_unref(ah_span_start(two, NULL, AH_SPAN_TOOL, "open", "{\"i\":\"dirty 1\"}", 15));
        setenv("LANGSMITH_TRACING_SAMPLING_RATE", "0", 1);
        setenv("AGENTHOST_TRACE_ERRORS", "true", 1);
        ah_run_start(core.trace, &(struct ah_run_opts){.name = "failed", .traced = true}, NULL);
        ah_store_flush(core.store);
        _exit(one ? 0 : 3);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    open_host(f);
    assert_int_equal(flush(f, 5000), AH_NONE);
    /* One root, a root and a span, one root: each at both. */
    assert_int_equal(count_ids(&f->posts), 8);
    int raw = 0;
    for (int i = 0; i < f->requests; i++)
        for (const char *p = f->bodies[i];
             (p = memmem(p, f->sizes[i] - (size_t)(p - f->bodies[i]), "dirty", 5)); p++)
            raw++;
    assert_int_equal(raw, 2); /* of the one without a cleaner */
    assert_true(in_bodies(f, "clean 1") && in_bodies(f, "\"failed\""));
    unsetenv("LANGSMITH_RUNS_ENDPOINTS");
}

/* A run below another process's, with a file. */
static void test_below(void **state)
{
    static const char above[] = "20261122T100000000120Z" RUN_ID;
    static const char *const none[] = {"", "x", "20261122T100000000120Z", "20261122T100000000120Z" RUN_ID ".",
                                       "20261322T100000000120Z" RUN_ID};
    struct fixture *f = *state;
    struct ah_run_opts opts = {.name = "r", .traced = true, .parent = above, .reference_example_id = RUN_ID};
    struct ah_run *run = ah_run_start(f->core.trace, &opts, NULL);
    assert_string_equal(ah_run_trace_id(run), RUN_ID);
    assert_int_equal(strncmp(ah_span_dotted_order(ah_run_root(run)), above, strlen(above)), 0);
    assert_int_equal(ah_span_attach(ah_run_root(run), "a.png", "image/png", "x", 1), -1);
    assert_int_equal(ah_span_attach(ah_run_root(run), "a", "image/png", "\0\1\r\n", 4), 0);
    ah_run_end(run, NULL, 0, NULL);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) { /* a header that is none changes nothing */
        opts.parent = none[i];
        run = ah_run_start(f->core.trace, &opts, NULL);
        assert_string_equal(ah_run_trace_id(run), ah_run_id(run));
        ah_run_end(run, NULL, 0, NULL);
    }
    assert_int_equal(flush(f, 5000), AH_NONE);
    assert_true(
        in_bodies(f, "\"trace_id\":\"" RUN_ID "\",\"parent_run_id\":\"" RUN_ID "\",\"dotted_order\":\""));
    assert_true(in_bodies(f, "\"reference_example_id\":\"" RUN_ID "\""));
    assert_true(in_bodies(f, ".a\"\r\nContent-Type: image/png\r\nContent-Length: 4\r\n\r\n"));
}

/* --- the wire form ------------------------------------------------------------------------------------------- */

#define ID "01a202b2-c890-7c3d-ac3d-4e5f60718293"
#define ROOT "20261122T100000000120Z" RUN_ID
#define CHILD ROOT ".20261122T100000912004Z" ID

static char *object_of(const char *start, const char *end, bool patch)
{
    struct ah_lswire_run run;
    struct ah_error err = {0};
    struct ah_buf b;
    ah_buf_init(&b, 1 << 16);
    if (ah_lswire_read(&run, start, strlen(start), end, end ? strlen(end) : 0, &err) != 0) {
        ah_buf_adds(&b, err.message);
    } else {
        run.project = "p";
        run.patch = patch;
        ah_lswire_object(&b, &run);
        assert_int_equal(ah_json_check(b.p, b.n, AH_JSON_UNIQUE_KEYS, NULL, NULL), 0);
    }
    char *text = ah_buf_take(&b, NULL);
    ah_buf_drop(&b);
    return text;
}

#define START(dotted, more)                                                                                  \
    "{\"id\":\"" ID "\",\"trace_id\":\"" RUN_ID "\",\"parent_run_id\":\"" RUN_ID                             \
    "\",\"dotted_order\":\"" dotted                                                                          \
    "\",\"name\":\"n\",\"run_type\":\"tool\",\"start_time\":\"2026-11-22T10:00:00.912004Z\"" more "}"
#define END(more) "{\"end_time\":\"2026-11-22T10:00:01.390000Z\"" more "}"

static void assert_object(const char *start, const char *end, bool patch, const char *part, bool there)
{
    char *text = object_of(start, end, patch);
    if ((strstr(text, part) != NULL) != there)
        fail_msg("%s %s in %s", part, there ? "is not" : "is", text);
    free(text);
}

static void test_wire(void **state)
{
    (void)state;
    static const char start[] =
        START(CHILD, ",\"inputs\":{\"a\":1.0},\"tags\":[\"t\"],\"metadata\":{\"m\":1}");
    /* The end of a crashed run says nothing of tags and metadata: the start's hold. */
    assert_object(start, END(""), false, "\"tags\":[\"t\"]", true);
    assert_object(start, END(""), false, "\"metadata\":{\"m\":1}", true);
    assert_object(start, END(",\"extra\":{\"metadata\":{}}"), false, "\"m\":1", false);
    assert_object(start, END(",\"extra\":{}"), false, "\"sdk\":\"agenthost\"", true);
    assert_object(start, END(",\"extra\":{\"runtime\":{\"sdk\":\"own\"}}"), false, "\"sdk\":\"agenthost\"",
                  false);
    assert_object(start, END(",\"inputs\":{\"b\":2}"), false, "\"inputs\":{\"b\":2}", true);
    assert_object(start, END(""), true, "\"inputs\"", false);
    assert_object(start, END(",\"inputs\":{\"b\":2}"), true, "\"inputs\":{\"b\":2}", true);
    assert_object(start, NULL, false, "end_time", false);
    assert_object(start, END(",\"totals\":{\"cost\":1}"), false, "totals", false);
    /* An anonymized run whose process died: what nobody cleaned is not written. */
    static const char cleaned[] =
        START(CHILD, ",\"inputs\":{\"a\":\"raw\"},\"clean\":{\"inputs\":{\"a\":\"made\"}}");
    assert_object(cleaned, END(",\"error\":\"raw\""), false, "raw", false);
    assert_object(cleaned, END(",\"error\":\"raw\""), false, "made", true);
    assert_object(cleaned, END(",\"outputs\":{\"b\":\"raw\"}"), false, "\"outputs\":{}", true);
    char name[700] = END(",\"name\":\"");
    name[strlen(name) - 1] = '\0'; /* the brace */
    for (int i = 0; i < 200; i++)
        strcat(name, "\303\244");
    strcat(name, "\"}");
    char *text = object_of(start, name, false);
    struct ah_json v;
    assert_int_equal(ah_json_check(text, strlen(text), 0, &v, NULL), 0);
    char cut[600];
    ah_json_copy(ah_json_get(v, "name"), cut, sizeof cut);
    assert_non_null(strstr(cut, " [cut: 400 bytes, sha256 "));
    size_t characters = 0;
    for (const char *p = cut; *p; p++)
        characters += ((unsigned char)*p & 0xc0) != 0x80;
    assert_int_equal(characters, 128);
    free(text);
}

/* The ids of copies, as npm langsmith 0.12.0 makes them. */
static void test_wire_ids(void **state)
{
    (void)state;
    char parts[160 * 2 + 1] = "";
    for (int i = 0; i < 160; i++)
        strcat(parts, "\303\274");
    static const char v7[] = "019c0711-e1aa-7223-bf21-12119afe80f7";
    const struct {
        const char *id, *project, *made;
    } rows[] = {
        {v7, "other-key", "019c0711-e1aa-7614-833c-500ba8e2e686"},
        {v7, "replica-project", "019c0711-e1aa-7817-8301-943c0df9a3cd"},
        {"01900000-0000-7000-8000-000000000000", "test", "01900000-0000-7132-8131-f80e352488a3"},
        {"0b5f1a0e-1c2d-4e3f-8a9b-0c1d2e3f4a5b", "p", "286639b7-288b-7ac4-8d18-5f0726d55d4f"},
        {v7, parts, "019c0711-e1aa-7125-a42b-a9a47c279c74"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ah_lswire_run run = {0};
        strcpy(run.id, rows[i].id);
        ah_lswire_remap(&run, rows[i].project);
        assert_string_equal(run.id, rows[i].made);
    }
}

/* What is hidden is hidden in both forms of a body, and nothing else is. */
static void test_wire_hides(void **state)
{
    (void)state;
    static const char start[] =
        START(CHILD, ",\"inputs\":{\"q\":\"ghp_abcdefghij0123456789ABCDEFGHIJ012345\"}");
    static const char end[] = END(",\"outputs\":{\"password\":\"a\\\"b/c+1\"},\"error\":\"no: "
                                  "http://u:pw1@h/\",\"events\":[{\"name\":\"e\","
                                  "\"time\":\"t\"}],\"extra\":{\"metadata\":{\"url\":\"https://x/"
                                  "?api_key=abcd1234efgh\"},\"tool_call_id\":\"c\"}");
    static const struct {
        struct ah_tracing_rules rules;
        const char *there[4], *gone[4];
    } rows[] = {
        {{0}, {"ghp_", "a\\\"b/c+1", "u:pw1@", "abcd1234efgh"}, {"redacted"}},
        {{.hide_tokens = true},
         {"[redacted:github-token]", "\"password\":\"[redacted:secret]\"", "u:[redacted:password]@",
          "api_key=[redacted:secret]"},
         {"ghp_", "b/c+1", "pw1", "abcd1234efgh"}},
        {{.hide_inputs = true}, {"a\\\"b/c+1", "abcd1234efgh", "tool_call_id"}, {"ghp_"}},
        {{.hide_outputs = true}, {"ghp_", "pw1", "abcd1234efgh"}, {"b/c+1"}},
        {{.hide_metadata = true}, {"ghp_", "b/c+1", "tool_call_id", "\"metadata\":{}"}, {"abcd1234efgh"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int multipart = 0; multipart < 2; multipart++) {
            struct ah_lswire_run run;
            struct ah_lswire_body body;
            struct ah_error err = {0};
            assert_int_equal(ah_lswire_read(&run, start, strlen(start), end, strlen(end), &err), 0);
            run.project = "p";
            run.rules = rows[i].rules;
            ah_lswire_begin(&body, 1, multipart);
            assert_int_equal(ah_lswire_add(&body, &run, 0), 0);
            assert_int_equal(ah_lswire_finish(&body), 0);
            for (size_t k = 0; k < 4; k++) {
                if (rows[i].there[k] && !strstr(body.to.p, rows[i].there[k]))
                    fail_msg("row %zu: %s is not in %s", i, rows[i].there[k], body.to.p);
                if (rows[i].gone[k] && strstr(body.to.p, rows[i].gone[k]))
                    fail_msg("row %zu: %s is in %s", i, rows[i].gone[k], body.to.p);
            }
            if (!multipart)
                assert_int_equal(ah_json_check(body.to.p, body.to.n, 0, NULL, NULL), 0);
            ah_lswire_drop(&body);
        }
    }
}

static void test_wire_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *start, *end, *why;
    } rows[] = {
        {"[]", NULL, "damaged"},
        {"{", NULL, "damaged"},
        {START(CHILD, ",\"id\":\"x\""), NULL, "no UUID"},
        {START(CHILD, ",\"run_type\":\"task\""), NULL, "run_type"},
        {START(CHILD, ",\"inputs\":[]"), NULL, "no object"},
        {START(CHILD, ""), END(",\"outputs\":3"), "no object"},
        {START(CHILD, ""), END(",\"events\":{}"), "no list"},
        {START(CHILD, ""), END(",\"error\":{}"), "no text"},
        {START(CHILD, ""), "{}", "without an end_time"},
        {START(ROOT, ""), NULL, "id is not that"},
        {START(ROOT ".20261122T100000912Z" ID, ""), NULL, "wrong length"},
        {START(ROOT ".20261122T0999x9912004Z" ID, ""), NULL, "wrong time"},
        {START(ROOT ".20261122T090000912004Z" ID, ""), NULL, "before its parent"},
        {START(CHILD, ",\"trace_id\":\"" ID "\""), NULL, "trace_id is not that"},
        {START(CHILD, ",\"parent_run_id\":\"" ID "\""), NULL, "parent_run_id is not that"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_object(rows[i].start, rows[i].end, false, rows[i].why, true);
}

static void test_words(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"{\"error\":\"Forbidden\"}\n", "Forbidden"},
        {"{\"detail\":\"Run not found\"}", "Run not found"},
        {"{\"detail\":[{\"msg\":\"x\"}]}", "[{\"msg\":\"x\"}]"},
        {"<html>\r\n<body>", ""},
        {"<html><h1>413 Too Large</h1>\r\n", "413 Too Large"},
        {"", ""},
        {"3", ""},
    };
    static const char *const hosts[][2] = {
        {"https://api.smith.langchain.com", "https://smith.langchain.com"},
        {"https://eu.api.smith.langchain.com", "https://eu.smith.langchain.com"},
        {"https://ls.example.com/api/v1", "https://ls.example.com"},
        {"https://ls.example.com/api", "https://ls.example.com"},
        {"http://127.0.0.1:4000", "http://127.0.0.1:4000"},
    };
    char out[400];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ah_lswire_words(rows[i][0], strlen(rows[i][0]), out, sizeof out);
        assert_string_equal(out, rows[i][1]);
    }
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        assert_int_equal(ah_lswire_host(hosts[i][0], out, sizeof out), 0);
        assert_string_equal(out, hosts[i][1]);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_one_request),
        TEST(test_by_itself),
        TEST(test_pages),
        TEST(test_resend_is_the_same),
        TEST(test_later),
        TEST(test_not_langsmith),
        TEST(test_no_hope),
        TEST(test_conflict),
        TEST(test_conflict_after_429),
        TEST(test_info),
        TEST(test_packed_zstd),
        TEST(test_packed_gzip),
        TEST(test_packed_refused),
        TEST(test_too_large),
        TEST(test_culprit),
        TEST(test_checked_before),
        TEST(test_key_refused),
        TEST(test_long_open),
        TEST(test_long_open_refused),
        TEST(test_no_multipart),
        TEST(test_switched_off),
        TEST(test_other_address),
        TEST(test_cancelled),
        TEST(test_verify),
        TEST(test_verify_fails),
        TEST(test_ping),
        TEST(test_copies),
        TEST(test_sampling),
        TEST(test_cleaner),
        TEST(test_cleaner_late),
        TEST(test_crash),
        TEST(test_below),
        cmocka_unit_test(test_wire),
        cmocka_unit_test(test_wire_ids),
        cmocka_unit_test(test_wire_hides),
        cmocka_unit_test(test_wire_refuses),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
