/* Allocation-failure sweep. Each case runs again and again, and in round n the n-th allocation fails, until a
 * round ends without one: once among Lua's own allocations, once among those of our C code (malloc, calloc,
 * realloc, strdup and strndup are wrapped by the linker; see tests/CMakeLists.txt), each time as one failure and as
 * no memory from there on. After every round nothing may be left: no C block, no op, no task, no
 * registry reference, no value on the stack. A binding and a C function that leak are planted, and must be
 * found. */
#include "rig.h"

#include "dotenv.h"
#include "err.h"
#include "json.h"
#include "multipart.h"
#include "op.h"
#include "sse.h"
#include "url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* --- allocations that fail -------------------------------------------------------------------------------------- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
void __wrap_free(void *p);

enum side { SIDE_LUA, SIDE_C };

static struct {
    bool on;
    enum side side;
    bool for_good; /* no memory from the n-th on; else only the n-th fails */
    long left;     /* until the failure; < 0: it has been */
    long failures;
    void *retried; /* Lua tries a failed allocation again after a collection: that fails too */
    size_t retried_n;
    bool retry;
} plan;

static long blocks; /* C blocks now alive, of our code */

static bool fails_now(enum side side)
{
    if (!plan.on || plan.side != side)
        return false;
    if (plan.left < 0)
        return plan.for_good;
    if (plan.left-- > 0)
        return false;
    return true;
}

static void *count_block(void *p)
{
    blocks += p != NULL;
    return p;
}

void *__wrap_malloc(size_t n)
{
    if (fails_now(SIDE_C)) {
        plan.failures++;
        return NULL;
    }
    return count_block(__real_malloc(n));
}

void *__wrap_calloc(size_t count, size_t n)
{
    if (fails_now(SIDE_C)) {
        plan.failures++;
        return NULL;
    }
    return count_block(__real_calloc(count, n));
}

void *__wrap_realloc(void *p, size_t n)
{
    if (fails_now(SIDE_C)) {
        plan.failures++;
        return NULL;
    }
    return p ? __real_realloc(p, n) : count_block(__real_realloc(p, n));
}

char *__wrap_strdup(const char *s)
{
    if (fails_now(SIDE_C)) {
        plan.failures++;
        return NULL;
    }
    return count_block(__real_strdup(s));
}

char *__wrap_strndup(const char *s, size_t n)
{
    if (fails_now(SIDE_C)) {
        plan.failures++;
        return NULL;
    }
    return count_block(__real_strndup(s, n));
}

void __wrap_free(void *p)
{
    blocks -= p != NULL;
    __real_free(p);
}

static void *sweep_alloc(void *arg, void *p, size_t old, size_t wanted)
{
    (void)arg;
    if (wanted == 0) {
        __real_free(p);
        return NULL;
    }
    if (!p || wanted > old) { /* only growth may fail; Lua relies on it */
        bool again = plan.retry && plan.retried == p && plan.retried_n == wanted;
        plan.retry = false;
        if (again)
            return NULL;
        if (fails_now(SIDE_LUA)) {
            plan.failures++;
            plan.retry = true;
            plan.retried = p;
            plan.retried_n = wanted;
            return NULL;
        }
    }
    return __real_realloc(p, wanted);
}

static void begin_failing(enum side side, bool for_good, long n)
{
    plan.failures = 0;
    plan.retry = false;
    plan.side = side;
    plan.for_good = for_good;
    plan.left = n;
    plan.on = true;
}

/* Whether an allocation failed since begin_failing. */
static bool end_failing(void)
{
    plan.on = false;
    plan.retry = false;
    return plan.failures > 0;
}

/* --- the sweep over bindings ---------------------------------------------------------------------------------------- */

enum strict { AFTER_CLOSE, AFTER_COLLECT, AT_ONCE };

struct lua_case {
    const char *name;
    enum strict strict; /* when no C block may be left: at once means with the collector stopped */
    const char *code;
    bool held; /* the write barrier stays shut: what is sent waits, and is cancelled */
    bool run;  /* in a run that is traced */
};

static const struct lua_case lua_cases[] = {
    {.name = "json.decode",
     .strict = AT_ONCE,
     .code = "local v = assert(json.decode('{\"a\":[1,2.5,\"x\\\\u00fc\",null,true],\"b\":{\"c\":[]}}'))\n"
             "assert(v.a[3] == 'x\\u{fc}' and json.is_array(v.b.c))\n"
             "assert(not json.decode('{') and not json.decode('{\"a\":1,\"a\":2}', {unique_keys=true}))\n"
             "assert(not json.decode('\"\\n\"') and json.decode('\"\\n\"', {raw_controls=true}) == '\\n')"},
    {.name = "json.encode",
     .strict = AT_ONCE,
     .code = "local t = {b={1,2,3},a={c='x',d=json.null},e=json.array{},f=1.5,g=true}\n"
             "assert(json.encode(t) == "
             "'{\"a\":{\"c\":\"x\",\"d\":null},\"b\":[1,2,3],\"e\":[],\"f\":1.5,\"g\":true}')\n"
             "assert(not json.encode(print)) assert(not json.encode(0/0)) assert(not json.encode('\\xff'))\n"
             "local c = {} c.c = c assert(not json.encode(c))\n"
             "assert(#json.encode(('x'):rep(5000)) == 5002)"},
    {.name = "host: sha256, uuid, random, time, log",
     .strict = AT_ONCE,
     .code = "assert(#host.sha256('abc') == 64) assert(#host.uuid() == 36)\n"
             "assert(host.random() < 1 and host.random(5) <= 5 and host.time() > 0)\n"
             "host.log('debug', {}) assert(not host.emulated()) assert(host.config('NO_SUCH_NAME') == nil)"},
    {.name = "host.sorted_pairs",
     .strict = AT_ONCE,
     .code = "local n = 0 for k, v in host.sorted_pairs{a=1,b=2,c=3,1,2,3,[true]=1} do n = n + 1 end "
             "assert(n == 7)"},
    {.name = "secrets",
     .strict = AT_ONCE,
     .code = "local s = 'Bearer ' .. host.secret('SOME_API_KEY') .. '!' .. 1\n"
             "assert(tostring(s) == 'Bearer [secret:SOME_API_KEY]!1')\n"
             "assert(not pcall(host.config, 'SOME_API_KEY'))"},
    {.name = "misuse raises",
     .strict = AT_ONCE,
     .code =
         "for _, f in ipairs{http.request, json.decode, host.sha256, task.spawn, task.all, task.timeout} do\n"
         "  assert(not pcall(f, true)) end\n"
         "assert(not pcall(http.request, {url='http://x/', heders={}}))\n"
         "assert(not pcall(http.request, {url='http://x/', timeout={conect=1}}))"},
    {.name = "spawn and wait",
     .strict = AFTER_COLLECT,
     .code = "local function f(...) task.sleep(0) return ... end\n"
             "local a, b, c = task.spawn(f, 1, nil, 3):wait() assert(a == 1 and b == nil and c == 3)\n"
             "local ok, err = pcall(function() task.spawn(function() error{mine=1} end):wait() end)\n"
             "assert(not ok and (err.mine == 1 or tostring(err):find 'memory'))"},
    {.name = "all, race, timeout",
     .strict = AFTER_COLLECT,
     .code = "local function f() task.sleep(0) return 1 end\n"
             "local r = task.all{f, f, task.spawn(f)} assert(#r == 3)\n"
             "assert(task.race{f, function() task.sleep(100) end} == 1)\n"
             "local v, err = task.timeout(0, task.sleep, 100) assert(v == nil and err.kind == 'timeout')\n"
             "assert(task.timeout(100, f) == 1)\n"
             "assert(not pcall(task.all, {f, function() error 'x' end, function() task.sleep(100) end}))"},
    {.name = "cancel",
     .strict = AFTER_COLLECT,
     .code = "local closed\n"
             "local t = task.spawn(function()\n"
             "  local c <close> = setmetatable({}, {__close=function() closed = true end})\n"
             "  for v in coroutine.wrap(function() task.sleep(100) end) do end end)\n"
             "coroutine.yield() coroutine.yield() t:cancel() assert(t:done())"},
    {.name = "waits through coroutines",
     .strict = AFTER_COLLECT,
     .code =
         "local n = 0\n"
         "for v in coroutine.wrap(function()\n"
         "  for w in coroutine.wrap(function() for i = 1, 2 do task.sleep(0) coroutine.yield(i) end end) do\n"
         "    task.sleep(0) coroutine.yield(w) end end) do n = n + v end\n"
         "assert(n == 3)\n"
         "local co = coroutine.create(function() task.sleep(0) error 'x' end)\n"
         "assert(not coroutine.resume(co))"},
    {.name = "a wait that is refused",
     .strict = AT_ONCE,
     .code = "assert(not pcall(string.gsub, 'x', 'x', function() task.sleep(0) end))\n"
             "assert(not pcall(table.sort, {2, 1}, function() task.sleep(0) end))"},
    {.name = "http.request, to the send",
     .strict = AT_ONCE,
     .held = true,
     .code =
         "http.request{url='http://127.0.0.1:9/p', method='POST', query={a={1,2},b='\\u{fc}',c=true},\n"
         "  headers={['X-A']={'1','2'},Accept='x'}, json={a={1,2,3},b='x'}, timeout={connect=1,total=2},\n"
         "  retry={max=1,base=0.1,cap=1}, idempotent=true, max_body=1000}"},
    {.name = "http.request, a form, in a run",
     .strict = AFTER_CLOSE,
     .held = true,
     .run = true,
     .code = "http.post('http://127.0.0.1:9/p', {form={a={1,2},b='x y'}, retry=false, timeout=5})"},
    {.name = "http.request, a stream",
     .strict = AT_ONCE,
     .held = true,
     .code = "http.get('http://127.0.0.1:9/p', {stream=true, headers={a='b'}})"},
    {.name = "http.request, refused before it is sent",
     .strict = AT_ONCE,
     .code =
         "local function bad(o) local r, err = http.request(o) assert(r == nil and err.kind, err) end\n"
         "bad{url='no url'} bad{url='http://x/', headers={['a b']='c'}} bad{url='http://x/', json=print}\n"
         "bad{url='http://x/', headers={a=host.secret'NOT_SET_API_KEY'}} bad{url='http://x/', method='G T', "
         "stream=true}"},
    {.name = "trace.span and traceable",
     .strict = AFTER_CLOSE,
     .run = true,
     .code = "local v = trace.span('outer', {run_type='tool', inputs={a=1}, tags={'t'}, metadata={m=1}}, "
             "function()\n"
             "  trace.set{metadata={k='v'}, tags={'u'}} trace.tags('x', 'y') trace.metadata{z=1}\n"
             "  assert(trace.current()) task.sleep(0) return {r=1} end)\n"
             "assert(v.r == 1)\n"
             "assert(trace.traceable(function(a) return a end, {name='f'})(5) == 5)\n"
             "assert(not pcall(trace.span, 'bad', {}, function() error 'x' end))"},
};

/* The binding that leaks: a block held over calls that may raise. */
static void *planted;

static int l_leaky(lua_State *L)
{
    planted = malloc(8);
    lua_newtable(L);
    lua_pushfstring(L, "a string that was not there before %d", 12345);
    free(planted);
    planted = NULL;
    return 1;
}

struct sweep {
    struct rig rig;
    long rounds, found;
    char first[256]; /* what was found first */
};

static void find(struct sweep *s, const char *name, const char *what, long n)
{
    if (getenv("SWEEP_ALL"))
        print_message("           %s: %s at %ld, %s%s\n", name, what, n, plan.side == SIDE_C ? "C" : "Lua",
                      plan.for_good ? ", for good" : "");
    if (s->found++ == 0)
        snprintf(s->first, sizeof s->first, "%s: %s when allocation %ld fails", name, what, n);
}

/* Runs the case once in a fresh state; true: an allocation failed. */
static bool run_round(struct sweep *s, const struct lua_case *c, enum side side, bool for_good, long n)
{
    struct rig *r = &s->rig;
    if (rig_open_lua(r, sweep_alloc, NULL) != 0)
        fail_msg("a state could not be made");
    lua_register(r->lua.L, "leaky", l_leaky);
    struct ah_run *run = NULL;
    if (c->run) {
        struct ah_run_opts opts = {.name = "sweep", .traced = true};
        run = ah_run_start(r->core.trace, &opts, NULL);
    }
    r->held = c->held;
    if (c->strict == AT_ONCE) {
        struct ah_task *warm = rig_start(r, c->code, run); /* metatables, strings: what is made once */
        if (warm && rig_turn(r, warm, c->held ? 3 : 1000)) {
            struct ah_error *err = &ah_task_end_op(warm)->err;
            if (err->kind != AH_NONE && !strstr(err->message, "leaky"))
                find(s, c->name, err->message, -1);
        }
        if (warm) {
            ah_task_cancel(warm);
            ah_task_unref(warm);
        }
        lua_settop(r->lua.L, 0);
        lua_gc(r->lua.L, LUA_GCCOLLECT, 0);
        lua_gc(r->lua.L, LUA_GCSTOP, 0);
        ah_loop_turn(r->core.loop, 0);
    }
    long before = blocks;
    int top = lua_gettop(r->lua.L);
    /* A finalizer for whose call Lua has no memory is lost, whatever it would have given back: none runs until then. */
    if (side == SIDE_LUA)
        lua_gc(r->lua.L, LUA_GCSTOP, 0);
    begin_failing(side, for_good, n);
    struct ah_task *task = rig_start(r, c->code, run);
    if (task)
        rig_turn(r, task, c->held ? 3 : 1000);
    else
        lua_pop(r->lua.L, 1);
    bool failed = end_failing();
    if (task && !c->held && !ah_task_done(task))
        find(s, c->name, "the task hangs", n);
    if (task && !failed && !c->held && ah_task_end_op(task)->err.kind != AH_NONE)
        find(s, c->name, ah_task_end_op(task)->err.message, n);
    if (task) {
        ah_task_cancel(task);
        ah_task_unref(task);
    }
    ah_tasks_cancel_all(r->lua.tasks);
    ah_loop_turn(r->core.loop, 0); /* libuv gives closed handles back here */
    /* When Lua has no memory for the stack of a closer, it drops the closer: then the finalizer does it. */
    if (c->strict == AFTER_COLLECT || (side == SIDE_LUA && failed && blocks != before))
        lua_gc(r->lua.L, LUA_GCCOLLECT, 0);
    ah_loop_turn(r->core.loop, 0);
    if (c->strict != AFTER_CLOSE && blocks != before)
        find(s, c->name, "C blocks are left", n);
    if (ah_tasks_alive(r->lua.tasks) != 0)
        find(s, c->name, "a task is alive", n);
    if (ah_http_in_flight(r->core.http) != 0)
        find(s, c->name, "a request is in flight", n);
    if (lua_gettop(r->lua.L) != top)
        find(s, c->name, "values are left on the stack", n);
    if (run)
        ah_run_end(run, NULL, 0, NULL);
    if (rig_close_lua(r) != 0)
        find(s, c->name, "registry references are left", n);
    r->held = false;
    ah_loop_turn(r->core.loop, 0);
    s->rounds++;
    return failed;
}

static void sweep_case(struct sweep *s, const struct lua_case *c)
{
    for (int mode = 0; mode < 4; mode++)
        for (long n = 0; run_round(s, c, mode < 2 ? SIDE_LUA : SIDE_C, mode % 2 == 1, n); n++)
            if (n > 20000)
                fail_msg("%s does not end", c->name);
}

static void test_bindings(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lua_cases / sizeof *lua_cases; i++) {
        struct sweep s = {0};
        long before = blocks;
        rig_open_core(&s.rig);
        sweep_case(&s, &lua_cases[i]);
        rig_close_core(&s.rig);
        print_message("           %-45s %5ld rounds\n", lua_cases[i].name, s.rounds);
        if (s.found)
            fail_msg("%s (and %ld more)", s.first, s.found - 1);
        assert_int_equal(blocks, before);
    }
}

static void test_planted_binding(void **state)
{
    (void)state;
    static const struct lua_case c = {.name = "leaky", .strict = AT_ONCE, .code = "leaky()"};
    struct sweep s = {0};
    rig_open_core(&s.rig);
    for (long n = 0; run_round(&s, &c, SIDE_LUA, false, n); n++) {
        free(planted);
        planted = NULL;
    }
    rig_close_core(&s.rig);
    assert_true(s.found > 0);
    assert_non_null(strstr(s.first, "C blocks are left"));
}

/* The state itself: what a host makes before any script runs. */
static void test_open(void **state)
{
    (void)state;
    struct rig r;
    rig_open_core(&r);
    for (int mode = 0; mode < 4; mode++) {
        bool failed = true;
        for (long n = 0; failed; n++) {
            long before = blocks;
            begin_failing(mode < 2 ? SIDE_LUA : SIDE_C, mode % 2 == 1, n);
            int rc = rig_open_lua(&r, sweep_alloc, NULL);
            failed = end_failing();
            assert_int_equal(failed ? rc : rc + 1, failed ? rc : 1);
            assert_int_equal(rig_close_lua(&r), 0);
            assert_int_equal(blocks, before);
        }
    }
    rig_close_core(&r);
}

/* --- the sweep over C ------------------------------------------------------------------------------------------------- */

/* Each answers 0, or -1 when it says that it failed; with *err it must name a kind. */
struct c_case {
    const char *name;
    int (*run)(struct rig *r, struct ah_error *err);
};

static int c_buf(struct rig *r, struct ah_error *err)
{
    struct ah_buf b;
    (void)r;
    ah_buf_init(&b, 1 << 20);
    for (int i = 0; i < 200; i++)
        ah_buf_addf(&b, "%d some text; ", i);
    ah_buf_consume(&b, 10);
    int rc = b.failed ? ah_err_set(err, AH_MEMORY, "failed") : 0;
    size_t n;
    char *taken = ah_buf_take(&b, &n);
    if (rc == 0 && !taken)
        rc = ah_err_set(err, AH_MEMORY, "failed");
    free(taken);
    ah_buf_drop(&b);
    return rc;
}

static int c_json(struct rig *r, struct ah_error *err)
{
    static const char text[] = "{\"a\":[1,2,{\"b\":\"x\\n\\u00fc\"}],\"key\":\"SECRET-VALUE-1\",\"n\":1e5}";
    struct ah_json v;
    struct ah_buf out;
    ah_buf_init(&out, 1 << 16);
    int rc = ah_json_check(text, sizeof text - 1, AH_JSON_UNIQUE_KEYS, &v, err);
    for (struct ah_json_iter it = ah_json_iter(rc == 0 ? v : (struct ah_json){0}); ah_json_next(&it);) {
        char *key = ah_json_dup(it.key);
        if (!key)
            rc = ah_err_set(err, AH_MEMORY, "no key");
        free(key);
    }
    struct ah_json_writer w;
    ah_json_begin(&w, &out, r->core.secrets);
    ah_json_object(&w);
    ah_json_key(&w, "text");
    ah_json_put_str(&w, text);
    ah_json_end_object(&w);
    if (rc == 0 && out.failed)
        rc = ah_err_set(err, AH_MEMORY, "no room");
    ah_buf_drop(&out);
    return rc;
}

static int on_event(void *arg, const struct ah_sse_event *ev)
{
    *(size_t *)arg += ev->n;
    return 0;
}

static int c_sse(struct rig *r, struct ah_error *err)
{
    static const char text[] = "event: a\ndata: first line\ndata: second line\n\ndata: {\"x\":1}\n\n: c\n\n";
    struct ah_sse sse;
    size_t got = 0;
    (void)r;
    ah_sse_init(&sse, on_event, &got);
    int rc = 0;
    for (size_t i = 0; i < sizeof text - 1 && rc == 0; i++)
        rc = ah_sse_feed(&sse, text + i, 1, err);
    if (rc == 0)
        rc = ah_sse_end(&sse, NULL, err);
    ah_sse_drop(&sse);
    return rc;
}

static int c_url(struct rig *r, struct ah_error *err)
{
    struct ah_url u;
    struct ah_buf b;
    (void)r;
    ah_buf_init(&b, 1 << 16);
    int rc = ah_url_parse("https://u:p@host.example:8443/a/b?c=d", 37, &u, err);
    ah_url_join("http://h/base/?k=v", "/x", &b);
    for (int i = 0; i < 50; i++)
        ah_url_add_query(&b, "k\xc3\xbc", "v &", 3);
    ah_url_decode("a%20b+c", 7, true, &b);
    if (rc == 0 && b.failed)
        rc = ah_err_set(err, AH_MEMORY, "no room");
    ah_buf_drop(&b);
    return rc;
}

static int on_part(void *arg, const struct ah_multipart_part *p)
{
    *(size_t *)arg += p->n;
    return 0;
}

static int c_multipart(struct rig *r, struct ah_error *err)
{
    struct ah_buf b;
    size_t got = 0;
    (void)r;
    ah_buf_init(&b, 1 << 16);
    for (int i = 0; i < 10; i++)
        ah_multipart_add(&b, "boundary", "part.of.it", "application/json", "{\"a\":1}", 7);
    ah_multipart_end(&b, "boundary");
    int rc = b.failed ? ah_err_set(err, AH_MEMORY, "no room")
                      : ah_multipart_read(b.p, b.n, "boundary", on_part, &got, err);
    ah_buf_drop(&b);
    return rc;
}

static const char *look_up(void *arg, const char *name)
{
    (void)arg; /* the secrets: take_setting uses them */
    return strcmp(name, "HOME") == 0 ? "/home/somebody" : NULL;
}

static int take_setting(void *arg, int line, const char *name, const char *value, size_t n)
{
    (void)line;
    return ah_secret_add(arg, name, value, n);
}

static int c_dotenv(struct rig *r, struct ah_error *err)
{
    static const char text[] =
        "A=1\nexport B=\"two ${A} ${HOME}\\n\"\nC='three'\nLONG_KEY=\"many\nlines\"\n# end\n";
    (void)r;
    struct ah_secrets *s = ah_secret_new();
    if (!s)
        return ah_err_set(err, AH_MEMORY, "no secrets");
    int rc = ah_dotenv_parse(text, sizeof text - 1, look_up, take_setting, s, err);
    ah_secret_free(s);
    return rc;
}

static int c_secret(struct rig *r, struct ah_error *err)
{
    (void)r;
    struct ah_secrets *s = ah_secret_new();
    if (!s)
        return ah_err_set(err, AH_MEMORY, "no secrets");
    int rc = 0;
    for (int i = 0; i < 5 && rc == 0; i++) {
        char name[32], value[64];
        snprintf(name, sizeof name, "NAME_%d_KEY", i);
        snprintf(value, sizeof value, "value number %d with \"quotes\"", i);
        rc = ah_secret_add(s, name, value, strlen(value));
    }
    struct ah_buf b;
    ah_buf_init(&b, 1 << 16);
    if (rc == 0)
        rc = ah_secret_mask(s, "text with value number 3 with \"quotes\" inside", 46, &b);
    if (rc == 0 && strstr(ah_buf_str(&b), "number 3"))
        fail_msg("a secret got through");
    if (rc != 0)
        ah_err_set(err, AH_MEMORY, "secret");
    ah_buf_drop(&b);
    ah_secret_forget(s, "NAME_2_KEY");
    ah_secret_free(s);
    return rc;
}

static int c_op(struct rig *r, struct ah_error *err)
{
    struct ah_op *sleep = ah_op_sleep(r->core.loop, 0), *latch = ah_op_latch(r->core.loop);
    int rc = sleep && latch ? 0 : ah_err_set(err, AH_MEMORY, "no op");
    for (int i = 0; i < 100 && rc == 0 && !sleep->done; i++)
        ah_loop_turn(r->core.loop, 1);
    ah_op_unref(sleep);
    ah_op_unref(latch);
    ah_loop_turn(r->core.loop, 0); /* libuv gives closed handles back here */
    return rc;
}

static int c_http(struct rig *r, struct ah_error *err)
{
    static const struct ah_http_header headers[] = {{"A", "b"}, {"Authorization", "Bearer x"}, {"Empty", ""}};
    struct ah_http_req req = {.url = "http://127.0.0.1:9/x",
                              .headers = headers,
                              .header_count = 3,
                              .body = "body",
                              .body_n = 4,
                              .has_body = true};
    r->held = true;
    struct ah_http_op *op = ah_http_send(r->core.http, &req, err);
    if (op)
        ah_loop_turn(r->core.loop, 0);
    r->held = false;
    ah_op_unref(op ? &op->op : NULL);
    ah_loop_turn(r->core.loop, 0);
    return op ? 0 : -1;
}

static int c_err(struct rig *r, struct ah_error *err)
{
    struct ah_error a = {0}, b = {0};
    (void)r;
    ah_err_set(&a, AH_NEEDS_AUTH, "x");
    ah_err_take_detail(&a, strdup("{\"link\":\"https://x\"}"));
    ah_err_copy(&b, &a);
    ah_err_move(err, &b);
    ah_err_drop(&a);
    return -1;
}

static int c_leaky(struct rig *r, struct ah_error *err)
{
    (void)r;
    char *one = malloc(4), *two = malloc(4);
    if (!one || !two) {
        planted = one ? one : two;
        return ah_err_set(err, AH_MEMORY, "out of memory");
    }
    free(one);
    free(two);
    return 0;
}

static const struct c_case c_cases[] = {
    {"buf", c_buf},        {"dotenv", c_dotenv}, {"err", c_err},
    {"http_send", c_http}, {"json", c_json},     {"multipart", c_multipart},
    {"op", c_op},          {"secret", c_secret}, {"sse", c_sse},
    {"url", c_url},
};

/* Answers how many rounds left something behind, or lied about failing. */
static long sweep_c(const struct c_case *c, char *what, size_t size)
{
    long found = 0, rounds = 0;
    for (int for_good = 0; for_good < 2; for_good++) {
        bool failed = true;
        for (long n = 0; failed; n++, rounds++) {
            struct rig r;
            rig_open_core(&r);
            struct ah_error err = {0};
            ah_loop_turn(r.core.loop, 0);
            long before = blocks;
            begin_failing(SIDE_C, for_good, n);
            int rc = c->run(&r, &err);
            failed = end_failing();
            const char *wrong = NULL;
            if (rc != 0 && err.kind == AH_NONE)
                wrong = "fails without a kind";
            if (c->run != c_err && !failed && rc != 0)
                wrong = "fails although all memory was there";
            ah_err_drop(&err);
            if (blocks != before)
                wrong = "C blocks are left";
            if (wrong && found++ == 0)
                snprintf(what, size, "%s: %s at allocation %ld", c->name, wrong, n);
            free(planted);
            planted = NULL;
            rig_close_core(&r);
        }
    }
    print_message("           %-45s %5ld rounds\n", c->name, rounds);
    return found;
}

static void test_c(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof c_cases / sizeof *c_cases; i++) {
        char what[256] = "";
        if (sweep_c(&c_cases[i], what, sizeof what) > 0)
            fail_msg("%s", what);
    }
}

static void test_planted_c(void **state)
{
    (void)state;
    static const struct c_case c = {"leaky", c_leaky};
    char what[256] = "";
    assert_true(sweep_c(&c, what, sizeof what) > 0);
    assert_non_null(strstr(what, "C blocks are left"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_planted_binding),
        cmocka_unit_test(test_planted_c),
        cmocka_unit_test(test_c),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_bindings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
