/* Scalekit: requests as bytes, refusals as errors, and the flows against a far end on this machine that
 * expects exact requests in order and answers from a list. */
#include "config.h"
#include "http.h"
#include "log.h"
#include "loop.h"
#include "scalekit.h"
#include "secret.h"
#include "server.h"
#include "skhook.h"
#include "skproxy.h"
#include "skrows.h"
#include "skwire.h"
#include "store.h"
#include "trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TURNS 20000

/* --- a far end that follows a list ---------------------------------------------------------------- */

struct step {
    const char *request; /* "GET /path?query" or "POST /path BODY"; NULL ends the list */
    int status;
    const char *answer;
};

struct far {
    struct ah_core core;
    struct ah_log log;
    struct ah_server *server;
    struct ah_scalekit *sk;
    const struct step *steps;
    int at, tokens, token_status;
    const char *token_answer;
    char bearer[64]; /* of the last call */
    char wrong[4200];
    char said[2048]; /* by the log */
    bool hold;       /* the next token request is answered by hand */
    struct ah_exchange *held;
};

static void reply(struct ah_exchange *x, int status, const char *body)
{
    ah_exchange_reply(x, status, "content-type: application/json\n", body, strlen(body));
    ah_exchange_unref(x);
}

static void reply_token(struct far *f, struct ah_exchange *x, const struct ah_server_req *req)
{
    char body[256];
    const char *want = "grant_type=client_credentials&client_id=skc_1&client_secret=test%2Fsecret%2B1";
    if (strlen(want) != req->body_n || memcmp(want, req->body, req->body_n) != 0 ||
        strstr(req->headers, "authorization:"))
        snprintf(f->wrong, sizeof f->wrong, "token: %.*s", (int)req->body_n, req->body);
    f->tokens++;
    snprintf(body, sizeof body,
             "{\"access_token\":\"token-number-%d\",\"token_type\":\"Bearer\",\"expires_in\":86399}",
             f->tokens);
    if (f->hold)
        f->held = x;
    else
        reply(x, f->token_status ? f->token_status : 200, f->token_answer ? f->token_answer : body);
}

static void on_request(void *arg, struct ah_exchange *x, const struct ah_server_req *req)
{
    struct far *f = arg;
    char got[2048];
    if (strcmp(req->path, "/oauth/token") == 0) {
        reply_token(f, x, req);
        return;
    }
    snprintf(got, sizeof got, "%s %s%s%s%s%.*s", req->method, req->path, req->query[0] ? "?" : "", req->query,
             req->body_n ? " " : "", (int)req->body_n, req->body);
    const char *bearer = strstr(req->headers, "authorization: Bearer ");
    snprintf(f->bearer, sizeof f->bearer, "%.*s", bearer ? (int)strcspn(bearer + 22, "\n") : 0,
             bearer ? bearer + 22 : "");
    const struct step *s = f->steps ? &f->steps[f->at] : NULL;
    if (!s || !s->request || strcmp(s->request, got) != 0) {
        if (!f->wrong[0])
            snprintf(f->wrong, sizeof f->wrong, "got    %s\nwanted %s", got,
                     s && s->request ? s->request : "nothing");
        reply(x, 599, "{}");
        return;
    }
    f->at++;
    if (s->status == 0) { /* cut: no answer at all */
        ah_exchange_begin(x, 200, "content-length: 10\n", NULL, NULL);
        ah_exchange_abort(x);
        ah_exchange_unref(x);
    } else {
        reply(x, s->status, s->answer);
    }
}

static void on_log(void *arg, enum ah_log_level level, const char *line, size_t n)
{
    struct far *f = arg;
    size_t at = strlen(f->said);
    (void)level;
    snprintf(f->said + at, sizeof f->said - at, "%.*s\n", (int)n, line);
}

static int open_far(void **state)
{
    struct far *f = calloc(1, sizeof *f);
    struct ah_error err = {0};
    char url[64];
    f->log = (struct ah_log){.level = AH_LOG_WARN, .sink = on_log, .arg = f};
    f->core.log = &f->log;
    f->core.secrets = ah_secret_new();
    f->log.secrets = f->core.secrets;
    f->core.config = ah_config_new(f->core.secrets, &f->log);
    f->core.loop = ah_loop_new(&err);
    f->core.http = ah_http_new(f->core.loop, &f->log, f->core.config, &err);
    struct ah_server_opts opts = {.on_request = on_request, .arg = f};
    f->server = ah_server_open(f->core.loop, &opts, &err);
    ah_server_background(f->server, true);
    snprintf(url, sizeof url, "http://127.0.0.1:%d//", ah_server_port(f->server));
    ah_config_set_emulated(f->core.config, true); /* whatever is in the environment of the test */
    ah_config_set(f->core.config, "SCALEKIT_ENV_URL", url, AH_FROM_EMULATOR);
    ah_config_set(f->core.config, "SCALEKIT_CLIENT_ID", "skc_1", AH_FROM_EMULATOR);
    ah_config_set(f->core.config, "SCALEKIT_CLIENT_SECRET", "test/secret+1", AH_FROM_EMULATOR);
    f->sk = ah_scalekit_new(&f->core, &err);
    *state = f;
    return f->sk ? 0 : -1;
}

static int close_far(void **state)
{
    struct far *f = *state;
    ah_scalekit_free(f->sk);
    ah_server_close(f->server);
    for (int i = 0; i < 100 && ah_loop_turn(f->core.loop, 0); i++)
        ;
    int left = ah_http_in_flight(f->core.http);
    ah_http_free(f->core.http);
    ah_loop_free(f->core.loop);
    ah_config_free(f->core.config);
    ah_secret_free(f->core.secrets);
    free(f);
    return left;
}

static void wait_for(struct far *f, struct ah_scalekit_op *op)
{
    for (int i = 0; i < TURNS && !op->op.done; i++)
        ah_loop_turn(f->core.loop, 100);
    assert_true(op->op.done);
}

/* The far end was asked for exactly these. */
static void check_far(struct far *f)
{
    assert_string_equal(f->wrong, "");
    assert_null(f->steps[f->at].request);
}

static void check_error(struct ah_scalekit_op *op, enum ah_kind kind, const char *message)
{
    if (op->op.err.kind != kind || !strstr(op->op.err.message, message))
        print_message("%s: %s\n", ah_err_kind_name(op->op.err.kind), op->op.err.message);
    assert_string_equal(ah_err_kind_name(op->op.err.kind), ah_err_kind_name(kind));
    assert_non_null(strstr(op->op.err.message, message));
}

static const char *detail_of(struct ah_scalekit_op *op)
{
    return op->op.err.detail ? op->op.err.detail : "";
}

static const struct ah_scalekit_who gmail = {.connection_name = "gmail", .identifier = "user_123"};

#define DETAILS "GET /api/v1/connected_accounts/details?connector=gmail&identifier=user_123"
#define BY_ID "GET /api/v1/connected_accounts/details?id=ca_1"
#define CREATE                                                                                               \
    "POST /api/v1/connected_accounts "                                                                       \
    "{\"connector\":\"gmail\",\"identifier\":\"user_123\",\"connected_account\":{}}"
#define MAGIC                                                                                                \
    "POST /api/v1/connected_accounts/magic_link {\"connector\":\"gmail\",\"identifier\":\"user_123\"}"
#define MAGIC_ID "POST /api/v1/connected_accounts/magic_link {\"id\":\"ca_1\"}"
#define LINK "{\"link\":\"https://x/magicLink/1\",\"expiry\":\"2999-01-01T00:00:00Z\"}"
#define ACCOUNT(status)                                                                                      \
    "{\"connected_account\":{\"id\":\"ca_1\",\"identifier\":\"user_123\",\"connector\":\"gmail\","           \
    "\"provider\":\"GMAIL\",\"status\":\"" status "\"}}"
#define NOT_FOUND                                                                                            \
    "{\"code\":5,\"message\":\"resource not "                                                                \
    "found\",\"details\":[{\"@type\":\"type.googleapis.com/x.ErrorInfo\","                                   \
    "\"error_code\":\"RESOURCE_NOT_FOUND\"}]}"
#define INFO(code, rest)                                                                                     \
    "{\"code\":13,\"message\":\"tool execution failed\",\"details\":[{\"@type\":\"y\"},{\"@type\":"          \
    "\"type.googleapis.com/scalekit.v1.errdetails.ErrorInfo\",\"error_code\":\"" code "\"" rest "}]}"
#define TOOL_INFO                                                                                            \
    ",\"tool_error_info\":{\"execution_id\":\"exec_81\",\"tool_error_code\":\"C\",\"tool_error_message\":"   \
    "\"went "                                                                                                \
    "wrong\"}"
#define CONNECTIONS "GET /api/v1/connections/app?page_size=30"
#define CONNECTION_LIST(a, b)                                                                                \
    "{\"connections\":[{\"key_id\":\"" a "\",\"provider_key\":\"GMAIL\"},{\"key_id\":\"" b                   \
    "\",\"provider_key\":\"SLACK\"}],\"next_page_token\":\"\"}"
#define EXECUTE                                                                                              \
    "POST /api/v1/execute_tool {\"tool_name\":\"gmail_fetch_mails\",\"params\":{\"max_results\":3.0},"       \
    "\"connected_account_id\":\"ca_1\"}"
#define ACCOUNTS "GET /api/v1/connected_accounts?identifier=user_123&page_size=99"
#define ACCOUNT_LIST(status)                                                                                 \
    "{\"connected_accounts\":[{\"id\":\"ca_1\",\"identifier\":\"user_123\",\"connector\":\"gmail\","         \
    "\"status\":"                                                                                            \
    "\"" status "\"}],\"next_page_token\":\"\"}"
#define SCOPED "GET /api/v1/tools/scoped?identifier=user_123&filter.connection_names=gmail&page_size=100"
#define TOOL(name)                                                                                           \
    "{\"tool\":{\"provider\":\"GMAIL\",\"definition\":{\"name\":\"" name "\",\"description\":\"d\","         \
    "\"input_schema\":{\"type\":\"object\",\"x\":1.50},\"annotations\":{\"read_only_hint\":true}}},"         \
    "\"identifier\":\"user_123\",\"connected_account_id\":\"ca_1\"}"

/* --- pure ---------------------------------------------------------------------------------------- */

static int build(const char *row, const char *args, struct ah_buf *url, struct ah_buf *body,
                 struct ah_error *err)
{
    struct ah_json v;
    ah_buf_init(url, AH_SKWIRE_URL_BYTES);
    ah_buf_init(body, AH_SKWIRE_BODY_BYTES);
    if (ah_json_check(args, strlen(args), 0, &v, NULL) != 0)
        fail_msg("%s", args);
    return ah_skwire_build(ah_skwire_row(row), "https://h", v, url, body, err);
}

/* 'x' as "x": JSON that can be read here. */
static void with_quotes(const char *s, char *out, size_t size)
{
    snprintf(out, size, "%s", s);
    for (char *p = out; (p = strchr(p, '\'')) != NULL;)
        *p = '"';
}

struct build_case {
    const char *row, *args, *url, *body, *error;
};

static void check_builds(const struct build_case *cases, size_t count);

static void test_build(void **state)
{
    (void)state;
    static const struct build_case cases[] = {
        {"list_scoped_tools",
         "{\"identifier\":\"a b&c=\\u00e9\",\"tool_names\":[\"x\",\"y "
         "z\"],\"providers\":[],\"page_size\":100,"
         "\"connection_names\":\"gmail\",\"page_token\":\"a+/=\"}",
         "https://h/api/v1/tools/"
         "scoped?identifier=a%20b%26c%3D%C3%A9&filter.tool_names=x&filter.tool_names=y%20z"
         "&filter.connection_names=gmail&page_size=100&page_token=a%2B%2F%3D",
         "", NULL},
        {"execute_tool",
         "{\"tool_name\":\"t\",\"tool_input\":{\"b\":1.0,\"a\":[ ]},\"connected_account_id\":\"ca\"}",
         "https://h/api/v1/execute_tool",
         "{\"tool_name\":\"t\",\"params\":{\"b\":1.0,\"a\":[ ]},\"connected_account_id\":\"ca\"}", NULL},
        {"execute_tool", "{\"tool_name\":\"t\",\"tool_input\":{},\"identifier\":\"\"}",
         "https://h/api/v1/execute_tool", "{\"tool_name\":\"t\"}", NULL},
        {"execute_tool", "{\"tool_input\":{}}", NULL, NULL, "tool_name of execute_tool is missing"},
        {"execute_tool", "{\"tool_name\":\"\"}", NULL, NULL, "tool_name of execute_tool must not be empty"},
        {"execute_tool", "{\"tool_name\":\"t\",\"tool_input\":[]}", NULL, NULL, "must be an object"},
        {"execute_tool", "{\"tool_name\":\"t\",\"params\":{}}", NULL, NULL, "takes no field 'params'"},
        {"get_connected_account_details", "{\"connection_name\":\"gm/ail\"}", NULL, NULL,
         "only these characters: a-zA-Z0-9_: -"},
        {"get_connected_account_details", "{\"identifier\":\"a\\u0000b\"}", NULL, NULL, "NUL"},
        {"get_connected_account_details", "{\"identifier\":7}", NULL, NULL, "must be a string"},
        {"get_connected_account_details", "{\"id\":\"ca_34567890123456789012345678901x\"}", NULL, NULL,
         "at most 32"},
        {"list_connected_accounts", "{\"page_size\":100}", NULL, NULL, "from 0 to 99"},
        {"list_connected_accounts", "{\"page_size\":1.5}", NULL, NULL, "an integer"},
        {"list_scoped_tools", "{\"identifier\":\"u\",\"tool_names\":[1]}", NULL, NULL, "must be a string"},
        {"list_scoped_tools", "{}", NULL, NULL, "identifier of list_scoped_tools is missing"},
    };
    check_builds(cases, sizeof cases / sizeof *cases);
}

/* Every way that a row places its arguments, and every kind of limit. */
static void test_build_rows(void **state)
{
    (void)state;
    static const struct build_case cases[] = {
        {"create_connected_account", "{'connection_name':'gmail','identifier':'u'}",
         "https://h/api/v1/connected_accounts",
         "{'connector':'gmail','identifier':'u','connected_account':{}}", NULL},
        {"create_connected_account",
         "{'connection_name':'c','identifier':'u','api_config':{'base_url':'x'},'authorization_details':"
         "{'oauth_token':{'access_token':'a','refresh_token':'','scopes':'one'}}}",
         "https://h/api/v1/connected_accounts",
         "{'connector':'c','identifier':'u','connected_account':{'authorization_details':{'oauth_token':"
         "{'access_token':'a','scopes':['one']}},'api_config':{'base_url':'x'}}}",
         NULL},
        {"create_connected_account",
         "{'connection_name':'c','identifier':'u','authorization_details':{'oauth_token':{}}}",
         "https://h/api/v1/connected_accounts",
         "{'connector':'c','identifier':'u','connected_account':{'authorization_details':{'oauth_token':{}}}"
         "}",
         NULL},
        {"update_connected_account",
         "{'id':'ca_1','authorization_details':{'static_auth':{'details':{'api_key':'k'}}}}",
         "https://h/api/v1/connected_accounts",
         "{'id':'ca_1','connected_account':{'authorization_details':{'static_auth':{'details':{'api_key':"
         "'k'}}}}}",
         NULL},
        {"update_connected_account", "{'id':'ca_1','authorization_details':{'google_dwd':{'subject':'a@b'}}}",
         "https://h/api/v1/connected_accounts",
         "{'id':'ca_1','connected_account':{'authorization_details':{'google_dwd':{'subject':'a@b'}}}}",
         NULL},
        {"update_connected_account", "{'id':'ca_1','authorization_details':{}}", NULL, NULL,
         "authorization_details of update_connected_account must have exactly one member"},
        {"update_connected_account",
         "{'id':'ca_1','authorization_details':{'oauth_token':{},'google_dwd':{'subject':'s'}}}", NULL, NULL,
         "exactly one member"},
        {"update_connected_account", "{'id':'ca_1','authorization_details':{'static_auth':{'api_key':'k'}}}",
         NULL, NULL, "static_auth takes no field 'api_key'"},
        {"update_connected_account", "{'id':'ca_1','authorization_details':{'google_dwd':{}}}", NULL, NULL,
         "subject of google_dwd is missing"},
        {"update_connected_account", "{'id':'acc_1'}", NULL, NULL, "must begin with ca_"},
        {"delete_connected_account", "{'identifier':'u'}", NULL, NULL, "must know which account"},
        {"delete_connected_account", "{'connection_name':'c','identifier':'u'}",
         "https://h/api/v1/connected_accounts:delete", "{'connector':'c','identifier':'u'}", NULL},
        {"disconnect_connected_account", "{'id':'ca_1'}",
         "https://h/api/v1/connected_accounts/ca_1:disconnect", "{}", NULL},
        {"disconnect_connected_account", "{'id':'..'}", NULL, NULL, "must be an id"},
        {"get_connected_account_by_id", "{'id':'a/b'}", "https://h/api/v1/connected_accounts/a%2Fb", "",
         NULL},
        {"search_connected_accounts", "{'query':'ab'}", NULL, NULL, "at least 3 characters"},
        {"search_connected_accounts", "{'query':'abc','page_size':31}", NULL, NULL, "from 0 to 30"},
        {"search_connected_accounts", "{'query':'\u00e4b '}",
         "https://h/api/v1/connected_accounts:search?query=%C3%A4b%20", "", NULL},
        {"list_connected_accounts", "{'connection_names':['a','b'],'query':''}",
         "https://h/api/v1/connected_accounts?connection_names=a&connection_names=b", "", NULL},
        {"verify_connected_account_user", "{'auth_request_id':'r','identifier':'  '}", NULL, NULL,
         "must not be empty"},
        {"get_authorization_link",
         "{'connection_name':'c','identifier':'u','user_verify_url':'javascript:x'}", NULL, NULL,
         "must begin with http://|https://"},
        {"create_connection", "{'provider_key':'GMAIL','key_id':'gmail'}",
         "https://h/api/v1/connections?flags.is_app=true", "{'provider_key':'GMAIL','key_id':'gmail'}", NULL},
        {"update_connection", "{'connection_id':'conn_1','connection':{'debug_enabled':true}}",
         "https://h/api/v1/connections/conn_1", "{'debug_enabled':true}", NULL},
        {"enable_connection", "{'connection_id':'conn_1'}", "https://h/api/v1/connections/conn_1:enable", "",
         NULL},
        {"list_providers", "{'provider_type':'CUSTOM'}",
         "https://h/api/v1/providers?filter.provider_type=CUSTOM", "", NULL},
        {"list_providers", "{'provider_type':'custom'}", NULL, NULL, "one of DEFAULT|CUSTOM|ALL"},
        {"create_custom_provider",
         "{'display_name':'My CRM','auth_patterns':[{'type':'BEARER','fields':[]}],'proxy_url':'https://x'"
         ",'proxy_enabled':false,'metadata':{'region':'eu'}}",
         "https://h/api/v1/custom-providers",
         "{'display_name':'My CRM','auth_patterns':[{'type':'BEARER','fields':[]}],'proxy_url':'https://x'"
         ",'proxy_enabled':false,'metadata':{'region':'eu'}}",
         NULL},
        {"create_custom_provider", "{'display_name':'My-CRM','auth_patterns':[{}]}", NULL, NULL,
         "only these characters"},
        {"create_custom_provider", "{'display_name':'C','auth_patterns':{}}", NULL, NULL,
         "at least 1 element"},
        {"create_custom_provider", "{'display_name':'C','auth_patterns':['x']}", NULL, NULL,
         "must be an object"},
        {"create_custom_provider", "{'display_name':'C','auth_patterns':[{}],'proxy_url':'http://x'}", NULL,
         NULL, "must begin with https://"},
        {"create_custom_provider", "{'display_name':'C','auth_patterns':[{}],'metadata':{'ab':'x'}}", NULL,
         NULL, "a name of metadata must have at least 3"},
        {"create_custom_provider", "{'display_name':'C','auth_patterns':[{}],'metadata':{'abc':1}}", NULL,
         NULL, "a value of metadata must be a string"},
        {"update_custom_provider",
         "{'identifier':'CRM:1','display_name':'C','auth_patterns':[{'type':'BASIC'}]}",
         "https://h/api/v1/custom-providers/CRM%3A1",
         "{'display_name':'C','auth_patterns':[{'type':'BASIC'}]}", NULL},
        {"list_tools", "{'summary':true,'tool_names':['a','b'],'connection_name':'c'}",
         "https://h/api/v1/tools?filter.summary=true&filter.tool_name=a&filter.tool_name=b"
         "&filter.connector=c",
         "", NULL},
        {"list_tools", "{'summary':'yes'}", NULL, NULL, "true or false"},
        {"create_tool", "{'tool':{'definition':{}}}", "https://h/api/v1/tools", "{'definition':{}}", NULL},
        {"delete_tool", "{'id':'x'}", NULL, NULL, "must begin with tol_"},
        {"set_default_tool", "{'name':'t','schema_version':'1','tool_version':'12345678901'}", NULL, NULL,
         "at most 10"},
        {"create_mcp_config",
         "{'name':'daily-1','connection_tool_mappings':[{'connection_name':'gmail','tools':{}},"
         "{'connection_name':'slack','tools':['a']}]}",
         "https://h/api/v1/mcp/configs",
         "{'name':'daily-1','connection_tool_mappings':[{'connection_name':'gmail'},"
         "{'connection_name':'slack','tools':['a']}]}",
         NULL},
        {"create_mcp_config", "{'name':'Daily'}", NULL, NULL, "only these characters: a-z0-9_-"},
        {"create_mcp_config", "{'name':'d','connection_tool_mappings':[{'tools':[]}]}", NULL, NULL,
         "connection_name of connection_tool_mappings is missing"},
        {"create_mcp_config",
         "{'name':'d','connection_tool_mappings':[1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6]}",
         NULL, NULL, "at most 25 elements, not 26"},
        {"create_mcp_session_token", "{'mcp_config_id':'cfg_1','identifier':'u','expiry':3600}",
         "https://h/api/v1/mcp/configs/cfg_1/tokens", "{'identifier':'u','expiry':'3600s'}", NULL},
        {"create_mcp_session_token", "{'mcp_config_id':'cfg_1','identifier':'u','expiry':59}", NULL, NULL,
         "from 60 to 86400"},
        {"list_mcp_connected_accounts", "{'config_id':'cfg_1','identifier':'u','include_auth_link':true}",
         "https://h/api/v1/mcp/configs/cfg_1/connected_accounts",
         "{'identifier':'u','include_auth_link':true}", NULL},
        {"get_mcp_instance_auth_state", "{'instance_id':'inst_1','include_auth_links':true}",
         "https://h/api/v1/mcp/instances/inst_1:get_auth_state?include_auth_links=true", "", NULL},
        {"list_tool_calls", "{'status':['success','oops']}", NULL, NULL, "one of success|"},
        {"list_tool_calls", "{'start_time':'yesterday'}", NULL, NULL, "a time like"},
        {"list_tool_calls", "{'start_time':'2026-11-22T10:00:00+01:00','page_size':100}",
         "https://h/api/v1/agentkit/"
         "tool_call_logs?start_time=2026-11-22T10%3A00%3A00%2B01%3A00&page_size=100",
         "", NULL},
        {"list_events", "{'page_size':5}", "https://h/api/v1/events?page_size=5", "{}", NULL},
        {"list_events", "{'event_types':'connected_account.created'}", "https://h/api/v1/events",
         "{'event_types':['connected_account.created']}", NULL},
    };
    check_builds(cases, sizeof cases / sizeof *cases);
}

/* Whatever a row says, it can be built and names things that are there. */
static void test_rows(void **state)
{
    (void)state;
    for (const struct ah_skwire_row *r = ah_skrows_all(); r->name; r++) {
        assert_ptr_equal(ah_skwire_row(r->name), r);
        assert_true(r->path[0] == '/' && r->does && r->fields);
        assert_true(!r->items == !r->iterates);
        for (const char *p = strchr(r->path, '{'); p; p = strchr(p + 1, '{')) {
            bool there = false;
            for (const struct ah_skwire_field *f = r->fields; f->name; f++)
                there |= f->place == AH_SKWIRE_PATH && strncmp(f->name, p + 1, strcspn(p + 1, "}")) == 0;
            assert_true(there);
        }
        if (r->items)
            assert_true(r->effect == AH_SKWIRE_READS && r->resend);
        if (r->effect == AH_SKWIRE_UNSAFE)
            assert_false(r->resend);
    }
}

static void check_builds(const struct build_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct ah_buf url, body;
        struct ah_error err = {0};
        char args[1000], want[1000];
        with_quotes(cases[i].args, args, sizeof args);
        with_quotes(cases[i].body ? cases[i].body : "", want, sizeof want);
        int r = build(cases[i].row, args, &url, &body, &err);
        if (r != (cases[i].error ? -1 : 0))
            fail_msg("%s: %s", args, err.message);
        if (cases[i].error) {
            if (!strstr(err.message, cases[i].error))
                print_message("%s\n", err.message);
            assert_int_equal(err.kind, AH_INVALID);
            assert_non_null(strstr(err.message, cases[i].error));
        } else {
            assert_string_equal(ah_buf_str(&url), cases[i].url);
            assert_string_equal(ah_buf_str(&body), want);
        }
        ah_err_drop(&err);
        ah_buf_drop(&url);
        ah_buf_drop(&body);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *row;
        int status;
        const char *body;
        enum ah_kind kind;
        bool retryable, token;
        const char *code, *message;
    } cases[] = {
        {"execute_tool", 404, NOT_FOUND, AH_NOT_FOUND, false, false, "RESOURCE_NOT_FOUND",
         "resource not found"},
        {"execute_tool", 401, "{\"code\":16,\"message\":\"Token empty\"}", AH_AUTH, false, true, "",
         "Token empty"},
        {"execute_tool", 401, INFO("UNAUTHENTICATED", ""), AH_AUTH, false, true, "UNAUTHENTICATED",
         "SCALEKIT_CLIENT"},
        {"execute_tool", 401, INFO("TOKEN_GONE", ""), AH_AUTH, false, false, "TOKEN_GONE", "401"},
        {"execute_tool", 401, INFO("TOOL_ERROR", TOOL_INFO), AH_TOOL_ERROR, false, false, "TOOL_ERROR",
         "new "},
        {"execute_tool", 403, INFO("TOOL_ERROR", TOOL_INFO), AH_TOOL_ERROR, false, false, "TOOL_ERROR",
         "scope"},
        {"execute_tool", 429, INFO("TOOL_ERROR", TOOL_INFO), AH_TOOL_ERROR, true, false, "TOOL_ERROR",
         "went wrong"},
        {"execute_tool", 500, INFO("TOOL_ERROR", TOOL_INFO), AH_TOOL_ERROR, false, false, "TOOL_ERROR",
         "(C)"},
        {"execute_tool", 500, INFO("INTERNAL", ""), AH_OUTCOME_UNKNOWN, false, false, "INTERNAL",
         "may have run"},
        {"execute_tool", 503, "", AH_OUTCOME_UNKNOWN, false, false, "", "503"},
        {"execute_tool", 429, INFO("RATE_LIMITED", ""), AH_RATE_LIMIT, true, false, "RATE_LIMITED", "wait"},
        {"list_scoped_tools", 503, "<html><body>Bad\n\tday</body></html>", AH_HTTP, true, false, "",
         "(Bad day)"},
        {"list_scoped_tools", 500, "{}", AH_HTTP, false, false, "", "500;"},
        {"list_scoped_tools", 401, "{\"detail\":\"no\",\"code\":\"UNAUTHORIZED\"}", AH_AUTH, false, false,
         "UNAUTHORIZED", "(no)"},
        {"create_connected_account", 400,
         INFO("X", ",\"validation_error_info\":{\"field_violations\":[{\"field\":\"connector\","
                   "\"description\":\"bad "
                   "name\"}]}"),
         AH_INVALID, false, false, "X", "connector: bad name"},
        {"token", 401, "{\"error\":\"invalid_client\",\"error_description\":\"no such client\"}", AH_AUTH,
         false, false, "invalid_client", "no such client"},
        {"token", 400, "{\"error\":\"invalid_client\"}", AH_AUTH, false, false, "invalid_client",
         "SCALEKIT_CLIENT_ID"},
        {"token", 404, "not here", AH_NOT_FOUND, false, false, "", "SCALEKIT_ENVIRONMENT_URL"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ah_error err = {.kind = AH_HTTP, .attempts = 3, .retry_after_ms = 7};
        ah_skwire_refusal(ah_skwire_row(cases[i].row), cases[i].status, cases[i].body, strlen(cases[i].body),
                          &err);
        if (!strstr(err.message, cases[i].message))
            print_message("%zu: %s\n", i, err.message);
        assert_string_equal(ah_err_kind_name(err.kind), ah_err_kind_name(cases[i].kind));
        assert_int_equal(err.status, cases[i].status);
        assert_int_equal(err.retryable, cases[i].retryable);
        assert_int_equal(ah_skwire_is_token_refused(&err), cases[i].token);
        assert_string_equal(err.code, cases[i].code);
        assert_non_null(strstr(err.message, cases[i].message));
        assert_int_equal(err.attempts, 3);
        assert_int_equal(err.retry_after_ms, 7);
        if (err.kind == AH_TOOL_ERROR)
            assert_string_equal(err.detail, "{\"execution_id\":\"exec_81\",\"tool_error_code\":\"C\","
                                            "\"tool_error_message\":\"went wrong\"}");
        ah_err_drop(&err);
    }
}

/* --- settings -------------------------------------------------------------------------------------- */

static void check_settings(struct far *f, const char *message)
{
    struct ah_error err = {0};
    assert_null(ah_scalekit_get_account(f->sk, &gmail, &err));
    assert_int_equal(err.kind, AH_CONFIG);
    if (!strstr(err.message, message))
        print_message("%s\n", err.message);
    assert_non_null(strstr(err.message, message));
    ah_err_drop(&err);
}

static void test_settings(void **state)
{
    struct far *f = *state;
    struct ah_config *c = f->core.config;
    ah_config_set(c, "SCALEKIT_CLIENT_SECRET", "", AH_FROM_EMULATOR);
    check_settings(f, "SCALEKIT_CLIENT_SECRET");
    ah_config_set(c, "SCALEKIT_CLIENT_ID", " ", AH_FROM_EMULATOR);
    check_settings(f, "SCALEKIT_CLIENT_ID and SCALEKIT_CLIENT_SECRET");
    ah_config_set(c, "SCALEKIT_ENV_URL", "", AH_FROM_EMULATOR);
    check_settings(f, "SCALEKIT_CLIENT_ID, SCALEKIT_CLIENT_SECRET and SCALEKIT_ENVIRONMENT_URL");
    ah_config_set(c, "SCALEKIT_CLIENT_ID", "skc_1", AH_FROM_EMULATOR);
    ah_config_set(c, "SCALEKIT_CLIENT_SECRET", "test/secret+1", AH_FROM_EMULATOR);
    check_settings(f, "SCALEKIT_ENVIRONMENT_URL");
    ah_config_set(c, "SCALEKIT_ENV_URL", "http://env.example.com", AH_FROM_EMULATOR);
    check_settings(f, "https://");
    ah_config_set(c, "SCALEKIT_ENV_URL", "ftp://env.example.com", AH_FROM_EMULATOR);
    check_settings(f, "SCALEKIT_ENV_URL");
    ah_config_set(c, "SCALEKIT_ENV_URL", "https://me@env.example.com", AH_FROM_EMULATOR);
    check_settings(f, "plain URL");
}

static void test_misuse(void **state)
{
    struct far *f = *state;
    struct ah_error err = {0};
    assert_null(ah_scalekit_get_account(f->sk, &(struct ah_scalekit_who){.identifier = "u"}, &err));
    assert_non_null(strstr(err.message, "connection_name"));
    assert_null(ah_scalekit_get_account(f->sk, &(struct ah_scalekit_who){.connection_name = "gmail"}, &err));
    assert_non_null(strstr(err.message, "--user"));
    assert_null(ah_scalekit_call(f->sk, &gmail, "token", "{}", 2, false, &err));
    assert_null(ah_scalekit_call(f->sk, &gmail, "nonsense", "{}", 2, false, &err));
    assert_null(ah_scalekit_call(f->sk, &gmail, "list_connections", "{\"x\":1}", 7, false, &err));
    struct ah_scalekit_exec twice = {.tool_name = "t", .input = "{\"a\":1,\"a\":2}", .input_n = 13};
    assert_null(ah_scalekit_execute(f->sk, &gmail, &twice, &err));
    assert_int_equal(err.kind, AH_INVALID);
    ah_err_drop(&err);
    assert_int_equal(f->tokens, 0);
}

/* --- the token --------------------------------------------------------------------------------------- */

static void test_single_flight(void **state)
{
    struct far *f = *state;
    static const struct step steps[] = {{DETAILS, 200, ACCOUNT("ACTIVE")},
                                        {DETAILS, 200, ACCOUNT("ACTIVE")},
                                        {DETAILS, 200, ACCOUNT("ACTIVE")},
                                        {DETAILS, 200, ACCOUNT("ACTIVE")},
                                        {0}};
    struct ah_scalekit_op *ops[3];
    f->steps = steps;
    for (int i = 0; i < 3; i++)
        ops[i] = ah_scalekit_get_account(f->sk, &gmail, NULL);
    for (int i = 0; i < 3; i++) {
        wait_for(f, ops[i]);
        assert_int_equal(ops[i]->op.err.kind, AH_NONE);
        assert_true(ah_json_is(ah_json_get(ops[i]->answer, "status"), "ACTIVE"));
        ah_op_unref(&ops[i]->op);
    }
    struct ah_scalekit_op *later = ah_scalekit_get_account(f->sk, &gmail, NULL);
    wait_for(f, later);
    ah_op_unref(&later->op);
    assert_int_equal(f->tokens, 1);
    assert_string_equal(f->bearer, "token-number-1");
    assert_true(ah_secret_found(f->core.secrets, "x token-number-1 y", 18));
    check_far(f);
}

static void test_token_fails_for_all(void **state)
{
    struct far *f = *state;
    static const struct step steps[] = {{0}};
    f->steps = steps;
    f->token_status = 401;
    f->token_answer = "{\"error\":\"invalid_client\",\"error_description\":\"no\"}";
    struct ah_scalekit_op *a = ah_scalekit_get_account(f->sk, &gmail, NULL);
    struct ah_scalekit_op *b = ah_scalekit_get_link(f->sk, &gmail, NULL, NULL, NULL);
    wait_for(f, a);
    wait_for(f, b);
    check_error(a, AH_AUTH, "SCALEKIT_CLIENT_SECRET");
    check_error(b, AH_AUTH, "SCALEKIT_CLIENT_SECRET");
    assert_string_equal(a->op.err.code, "invalid_client");
    ah_op_unref(&a->op);
    ah_op_unref(&b->op);
    assert_int_equal(f->tokens, 1);
    f->token_status = 200; /* a body that is no token */
    f->token_answer = "<html>";
    a = ah_scalekit_get_account(f->sk, &gmail, NULL);
    wait_for(f, a);
    check_error(a, AH_PROTOCOL, "access_token");
    ah_op_unref(&a->op);
}

static void test_cancel_while_token_is_asked(void **state)
{
    struct far *f = *state;
    static const struct step steps[] = {{DETAILS, 200, ACCOUNT("ACTIVE")}, {0}};
    f->steps = steps;
    f->hold = true;
    struct ah_scalekit_op *a = ah_scalekit_get_account(f->sk, &gmail, NULL);
    struct ah_scalekit_op *b = ah_scalekit_get_account(f->sk, &gmail, NULL);
    while (!f->held)
        ah_loop_turn(f->core.loop, 100);
    ah_op_cancel(&a->op);
    ah_op_unref(&a->op);
    reply(f->held, 200, "{\"access_token\":\"token-by-hand\",\"expires_in\":600}");
    wait_for(f, b);
    assert_int_equal(b->op.err.kind, AH_NONE);
    ah_op_unref(&b->op);
    check_far(f);
}

static void test_renewal(void **state)
{
    struct far *f = *state;
    static const struct step steps[] = {
        {EXECUTE, 401, INFO("UNAUTHENTICATED", "")},
        {EXECUTE, 200, "{\"data\":{\"n\":3.0,\"e\":[]},\"execution_id\":\"exec_1\"}"},
        {DETAILS, 401, "{\"message\":\"expired\"}"},
        {DETAILS, 401, "{\"message\":\"expired\"}"},
        {0}};
    f->steps = steps;
    struct ah_scalekit_who who = gmail;
    who.account_id = "ca_1";
    struct ah_scalekit_exec exec = {.tool_name = "gmail_fetch_mails",
                                    .input = "{\"max_results\":3.0}",
                                    .input_n = 19,
                                    .effect = AH_EFFECT_UNSAFE};
    struct ah_scalekit_op *op = ah_scalekit_execute(f->sk, &who, &exec, NULL);
    wait_for(f, op);
    assert_int_equal(op->op.err.kind, AH_NONE);
    assert_int_equal(f->tokens, 2);
    assert_string_equal(f->bearer, "token-number-2");
    assert_string_equal(op->execution_id, "exec_1");
    assert_int_equal(op->answer.n, strlen("{\"n\":3.0,\"e\":[]}"));
    assert_memory_equal(op->answer.p, "{\"n\":3.0,\"e\":[]}", op->answer.n);
    ah_op_unref(&op->op);
    op = ah_scalekit_get_account(f->sk, &gmail, NULL); /* once, not for ever */
    wait_for(f, op);
    check_error(op, AH_AUTH, "expired");
    assert_int_equal(f->tokens, 3);
    ah_op_unref(&op->op);
    check_far(f);
}

/* --- accounts ------------------------------------------------------------------------------------------ */

typedef struct ah_scalekit_op *(*starter)(struct ah_scalekit *, const struct ah_scalekit_who *,
                                          struct ah_error *);

static struct ah_scalekit_op *run_steps(struct far *f, const struct step *steps, starter start)
{
    f->steps = steps;
    f->at = 0;
    struct ah_scalekit_op *op = start(f->sk, &gmail, NULL);
    assert_non_null(op);
    wait_for(f, op);
    return op;
}

static void test_get_or_create(void **state)
{
    struct far *f = *state;
    static const struct step made[] = {
        {DETAILS, 404, NOT_FOUND}, {CREATE, 201, ACCOUNT("PENDING_AUTH")}, {0}};
    static const struct step raced[] = {
        {DETAILS, 404, NOT_FOUND}, {CREATE, 409, "{}"}, {DETAILS, 200, ACCOUNT("ACTIVE")}, {0}};
    static const struct step raced_400[] = {{DETAILS, 404, NOT_FOUND},
                                            {CREATE, 400, INFO("RESOURCE_ALREADY_EXISTS", "")},
                                            {DETAILS, 200, ACCOUNT("ACTIVE")},
                                            {0}};
    static const struct step cut[] = {
        {DETAILS, 404, NOT_FOUND}, {CREATE, 0, NULL}, {DETAILS, 200, ACCOUNT("PENDING_AUTH")}, {0}};
    static const struct step lost[] = {
        {DETAILS, 404, NOT_FOUND}, {CREATE, 0, NULL}, {DETAILS, 404, NOT_FOUND}, {0}};
    static const struct step refused[] = {
        {DETAILS, 404, NOT_FOUND}, {CREATE, 400, "{\"message\":\"bad\"}"}, {0}};
    const struct step *good[] = {made, raced, raced_400, cut};
    for (size_t i = 0; i < 4; i++) {
        struct ah_scalekit_op *op = run_steps(f, good[i], ah_scalekit_get_or_create_account);
        assert_int_equal(op->op.err.kind, AH_NONE);
        assert_true(ah_json_is(ah_json_get(op->answer, "id"), "ca_1"));
        ah_op_unref(&op->op);
    }
    struct ah_scalekit_op *op = run_steps(f, lost, ah_scalekit_get_or_create_account);
    assert_int_equal(op->op.err.kind, AH_OUTCOME_UNKNOWN);
    ah_op_unref(&op->op);
    op = run_steps(f, refused, ah_scalekit_get_or_create_account);
    check_error(op, AH_INVALID, "bad");
    ah_op_unref(&op->op);
}

static void test_unknown_connection(void **state)
{
    struct far *f = *state;
    static const struct step renamed[] = {{DETAILS, 404, NOT_FOUND},
                                          {CREATE, 404, NOT_FOUND},
                                          {CONNECTIONS, 200, CONNECTION_LIST("gmail-b1f", "slack")},
                                          {0}};
    static const struct step by_provider[] = {
        {DETAILS, 404, NOT_FOUND}, {CONNECTIONS, 200, CONNECTION_LIST("MY_MAIL", "slack")}, {0}};
    static const struct step there[] = {
        {DETAILS, 404, NOT_FOUND}, {CONNECTIONS, 200, CONNECTION_LIST("gmail", "slack")}, {0}};
    static const struct step preview[] = {
        {DETAILS, 404, NOT_FOUND},
        {CONNECTIONS, 403, "{}"},
        {"GET /api/v1/connected_accounts?page_size=99", 200,
         "{\"connected_accounts\":[{\"connector\":\"gmail2\"},{\"connector\":\"gmail2\"}]}"},
        {0}};
    static const struct step blind[] = {{DETAILS, 404, NOT_FOUND},
                                        {CONNECTIONS, 404, "{}"},
                                        {"GET /api/v1/connected_accounts?page_size=99", 400, "{}"},
                                        {0}};
    struct ah_scalekit_op *op = run_steps(f, renamed, ah_scalekit_get_or_create_account);
    check_error(op, AH_UNKNOWN_CONNECTION, "did you mean 'gmail-b1f'");
    assert_non_null(strstr(detail_of(op), "\"did_you_mean\":[\"gmail-b1f\"]"));
    assert_non_null(strstr(detail_of(op), "\"connections\":[\"gmail-b1f\",\"slack\"]"));
    ah_op_unref(&op->op);
    op = run_steps(f, by_provider, ah_scalekit_get_account);
    check_error(op, AH_UNKNOWN_CONNECTION, "did you mean 'MY_MAIL'");
    ah_op_unref(&op->op);
    op = run_steps(f, there, ah_scalekit_get_account);
    check_error(op, AH_NOT_FOUND, "get_or_create_connected_account");
    ah_op_unref(&op->op);
    op = run_steps(f, preview, ah_scalekit_get_account);
    check_error(op, AH_UNKNOWN_CONNECTION, "did you mean 'gmail2'");
    ah_op_unref(&op->op);
    op = run_steps(f, blind, ah_scalekit_get_account);
    check_error(op, AH_NOT_FOUND, "resource not found");
    ah_op_unref(&op->op);
}

static void test_bad_answers(void **state)
{
    struct far *f = *state;
    static const char *const bodies[] = {"", "<html>", "[]", "{}", "{\"connected_account\":null}", "{\"a\":"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        const struct step steps[] = {{DETAILS, 200, bodies[i]}, {0}};
        struct ah_scalekit_op *op = run_steps(f, steps, ah_scalekit_get_account);
        check_error(op, AH_PROTOCOL, "check");
        ah_op_unref(&op->op);
    }
}

/* --- waiting --------------------------------------------------------------------------------------------- */

static void test_wait(void **state)
{
    struct far *f = *state;
    static const struct step steps[] = {
        {DETAILS, 200, ACCOUNT("PENDING_AUTH")},
        {MAGIC, 200, "{\"link\":\"https://x/1\",\"expiry\":\"2001-01-01T00:00:00Z\"}"},
        {DETAILS, 200, ACCOUNT("PENDING_AUTH")},
        {MAGIC, 200, LINK}, /* the first one had expired */
        {DETAILS, 200, ACCOUNT("PENDING_AUTH")},
        {DETAILS, 200, ACCOUNT("ACTIVE")},
        {0}};
    f->steps = steps;
    struct ah_scalekit_wait wait = {0};
    const char *links[] = {"https://x/1", "https://x/magicLink/1", ""};
    for (int i = 0; i < 3; i++) {
        struct ah_scalekit_op *op = ah_scalekit_wait_active(f->sk, &gmail, 60000, 1, true, &wait, NULL);
        wait_for(f, op);
        assert_int_equal(op->op.err.kind, AH_NONE);
        assert_string_equal(op->link, links[i]);
        assert_int_equal(op->active, i == 2);
        wait = op->wait;
        ah_op_unref(&op->op);
    }
    check_far(f);
}

static void test_wait_ends(void **state)
{
    struct far *f = *state;
    static const struct step steps[] = {
        {DETAILS, 200, ACCOUNT("PENDING_VERIFICATION")}, {MAGIC, 200, LINK}, {0}};
    f->steps = steps;
    struct ah_scalekit_op *op = ah_scalekit_wait_active(f->sk, &gmail, 0, 1, true, NULL, NULL);
    wait_for(f, op);
    check_error(op, AH_NEEDS_AUTH, "user/verify");
    assert_string_equal(detail_of(op),
                        "{\"status\":\"PENDING_VERIFICATION\",\"account_status\":"
                        "\"PENDING_VERIFICATION\",\"connection\":\"gmail\",\"identifier\":\"user_123\","
                        "\"link\":\"https://x/magicLink/1\"}");
    assert_null(strstr(op->op.err.message, "magicLink"));
    assert_int_equal(op->op.err.status, 0);
    ah_op_unref(&op->op);
    check_far(f);
}

static void test_cancel_wait(void **state)
{
    struct far *f = *state;
    static const struct step steps[] = {{DETAILS, 200, ACCOUNT("PENDING_AUTH")}, {0}};
    f->steps = steps;
    struct ah_scalekit_op *op = ah_scalekit_wait_active(f->sk, &gmail, 60000, 50000, false, NULL, NULL);
    while (f->at == 0)
        ah_loop_turn(f->core.loop, 100);
    for (int i = 0; i < 50; i++)
        ah_loop_turn(f->core.loop, 1);
    assert_false(op->op.done);
    ah_op_cancel(&op->op);
    wait_for(f, op);
    assert_int_equal(op->op.err.kind, AH_CANCELLED);
    ah_op_unref(&op->op);
    check_far(f);
}

/* --- tools ------------------------------------------------------------------------------------------------ */

static struct ah_scalekit_op *get_tools(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                        struct ah_error *err)
{
    static const char *const names[] = {"gmail", NULL};
    return ah_scalekit_get_tools(sk, who, &(struct ah_scalekit_filter){.connection_names = names}, err);
}

static struct ah_scalekit_op *get_all_tools(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                            struct ah_error *err)
{
    return ah_scalekit_get_tools(sk, who, &(struct ah_scalekit_filter){0}, err);
}

static void test_pages(void **state)
{
    struct far *f = *state;
    static const struct step steps[] = {
        {SCOPED, 200,
         "{\"tools\":[" TOOL("a") "," TOOL("") "],\"next_page_token\":\"p=2\",\"total_size\":4}"},
        {SCOPED "&page_token=p%3D2", 200, "{\"tools\":[],\"next_page_token\":\"p3\"}"},
        {SCOPED "&page_token=p3", 200, "{\"tools\":[" TOOL("b") "],\"next_page_token\":\"\"}"},
        {0}};
    struct ah_scalekit_op *op = run_steps(f, steps, get_tools);
    assert_int_equal(op->op.err.kind, AH_NONE);
    assert_int_equal(op->tool_count, 2);
    assert_true(ah_json_is(op->tools[0].name, "a"));
    assert_true(ah_json_is(op->tools[1].name, "b"));
    assert_string_equal(op->tools[1].connection_name, "gmail");
    assert_true(ah_json_is(op->tools[1].connected_account_id, "ca_1"));
    assert_int_equal(op->tools[0].input_schema.n, strlen("{\"type\":\"object\",\"x\":1.50}"));
    assert_memory_equal(op->tools[0].input_schema.p, "{\"type\":\"object\",\"x\":1.50}",
                        op->tools[0].input_schema.n);
    assert_non_null(strstr(f->said, "may be missing"));
    ah_op_unref(&op->op);
    static const struct step again[] = {
        {SCOPED, 200, "{\"tools\":[],\"next_page_token\":\"x\"}"},
        {SCOPED "&page_token=x", 200, "{\"tools\":[],\"next_page_token\":\"y\"}"},
        {SCOPED "&page_token=y", 200, "{\"tools\":[],\"next_page_token\":\"x\"}"},
        {0}};
    op = run_steps(f, again, get_tools);
    check_error(op, AH_PROTOCOL, "same page token twice");
    ah_op_unref(&op->op);
}

static void test_tools_without_filter(void **state)
{
    struct far *f = *state;
    static const struct step steps[] = {
        {ACCOUNTS, 200,
         "{\"connected_accounts\":[{\"id\":\"ca_1\",\"identifier\":\"user_123\",\"connector\":\"gmail\","
         "\"status\":"
         "\"ACTIVE\"},{\"id\":\"ca_2\",\"identifier\":\"user_123\",\"connector\":\"my "
         "slack\",\"status\":\"ACTIVE\"},"
         "{\"id\":\"ca_3\",\"identifier\":\"user_123\",\"connector\":\"old\",\"status\":\"EXPIRED\"}]}"},
        {"GET /api/v1/tools/"
         "scoped?identifier=user_123&filter.connection_names=gmail&filter.connection_names=my%20slack&page_"
         "size=100",
         200, "{\"tools\":[" TOOL("a") "]}"},
        {0}};
    struct ah_scalekit_op *op = run_steps(f, steps, get_all_tools);
    assert_int_equal(op->tool_count, 1);
    assert_string_equal(op->tools[0].connection_name, "gmail"); /* known from the accounts */
    ah_op_unref(&op->op);
    static const struct step none[] = {{ACCOUNTS, 200, ACCOUNT_LIST("PENDING_AUTH")}, {0}};
    op = run_steps(f, none, get_all_tools);
    check_error(op, AH_NO_TOOLS, "gmail (PENDING_AUTH)");
    ah_op_unref(&op->op);
}

static void test_no_tools(void **state)
{
    struct far *f = *state;
    static const struct step empty[] = {{SCOPED, 200, "{}"}, {ACCOUNTS, 200, ACCOUNT_LIST("ACTIVE")}, {0}};
    static const struct step inactive[] = {
        {SCOPED, 404, NOT_FOUND}, {ACCOUNTS, 200, ACCOUNT_LIST("EXPIRED")}, {MAGIC, 200, LINK}, {0}};
    static const struct step missing[] = {{SCOPED, 404, NOT_FOUND},
                                          {ACCOUNTS, 200, "{}"},
                                          {CONNECTIONS, 200, CONNECTION_LIST("gmial", "slack")},
                                          {0}};
    static const struct step other[] = {
        {SCOPED, 400, "{\"message\":\"two accounts\"}"}, {ACCOUNTS, 200, ACCOUNT_LIST("ACTIVE")}, {0}};
    struct ah_scalekit_op *op = run_steps(f, empty, get_tools);
    check_error(op, AH_NO_TOOLS, "asked for: gmail; accounts seen: gmail (ACTIVE)");
    assert_string_equal(detail_of(op),
                        "{\"accounts\":[{\"connection\":\"gmail\",\"id\":\"ca_1\",\"status\":\"ACTIVE\"}],"
                        "\"connections\":[\"gmail\"],\"identifier\":\"user_123\"}");
    ah_op_unref(&op->op);
    op = run_steps(f, inactive, get_tools);
    check_error(op, AH_ACCOUNT_NOT_ACTIVE, "expired");
    assert_non_null(strstr(detail_of(op), "\"link\":\"https://x/magicLink/1\""));
    ah_op_unref(&op->op);
    op = run_steps(f, missing, get_tools);
    check_error(op, AH_UNKNOWN_CONNECTION, "'gmial'");
    ah_op_unref(&op->op);
    op = run_steps(f, other, get_tools);
    check_error(op, AH_INVALID, "two accounts");
    ah_op_unref(&op->op);
}

/* --- running tools ------------------------------------------------------------------------------------------ */

static struct ah_scalekit_op *execute_as(struct far *f, enum ah_effect_class effect, struct ah_error *err)
{
    struct ah_scalekit_exec exec = {
        .tool_name = "gmail_fetch_mails", .input = "{\"max_results\":3.0}", .input_n = 19, .effect = effect};
    return ah_scalekit_execute(f->sk, &gmail, &exec, err);
}

static struct ah_scalekit_op *run_execute(struct far *f, const struct step *steps,
                                          enum ah_effect_class effect)
{
    f->steps = steps;
    f->at = 0;
    struct ah_scalekit_op *op = execute_as(f, effect, NULL);
    assert_non_null(op);
    wait_for(f, op);
    return op;
}

#define RESOLVE                                                                                              \
    {                                                                                                        \
        DETAILS, 200, ACCOUNT("ACTIVE")                                                                      \
    }

static void test_execute(void **state)
{
    struct far *f = *state;
    static const struct step first[] = {RESOLVE, {EXECUTE, 200, "{\"execution_id\":\"e\"}"}, {0}};
    static const struct step second[] = {{EXECUTE, 200, "{\"data\":{\"a\":1.50},\"execution_id\":\"e2\"}"},
                                         {0}};
    struct ah_scalekit_op *op = run_execute(f, first, AH_EFFECT_UNSAFE);
    assert_int_equal(op->op.err.kind, AH_NONE);
    assert_memory_equal(op->answer.p, "{}", 2);
    ah_op_unref(&op->op);
    op = run_execute(f, second, AH_EFFECT_UNSAFE); /* the account is known now */
    assert_memory_equal(op->answer.p, "{\"a\":1.50}", op->answer.n);
    assert_string_equal(op->connected_account_id, "ca_1");
    ah_op_unref(&op->op);
}

static void test_execute_not_active(void **state)
{
    struct far *f = *state;
    static const struct step before[] = {{DETAILS, 200, ACCOUNT("EXPIRED")}, {MAGIC, 200, LINK}, {0}};
    struct ah_scalekit_op *op = run_execute(f, before, AH_EFFECT_UNSAFE);
    check_error(op, AH_ACCOUNT_NOT_ACTIVE, "EXPIRED, not ACTIVE");
    ah_op_unref(&op->op);
}

static void test_execute_refused(void **state)
{
    struct far *f = *state;
    static const struct step unknown_tool[] = {
        RESOLVE, {EXECUTE, 404, NOT_FOUND}, {BY_ID, 200, ACCOUNT("ACTIVE")}, {0}};
    static const struct step lapsed[] = {RESOLVE,
                                         {EXECUTE, 404, NOT_FOUND},
                                         {BY_ID, 200, ACCOUNT("DISCONNECTED")},
                                         {MAGIC_ID, 200, LINK},
                                         {0}};
    static const struct step upstream[] = {
        RESOLVE, {EXECUTE, 401, INFO("TOOL_ERROR", TOOL_INFO)}, {MAGIC_ID, 200, LINK}, {0}};
    struct ah_scalekit_op *op = run_execute(f, unknown_tool, AH_EFFECT_UNSAFE);
    check_error(op, AH_NOT_FOUND,
                "gmail_fetch_mails: cannot run the tool: Scalekit answered 404 (resource not found)");
    ah_op_unref(&op->op);
    op = run_execute(f, lapsed, AH_EFFECT_UNSAFE);
    check_error(op, AH_ACCOUNT_NOT_ACTIVE, "DISCONNECTED");
    ah_op_unref(&op->op);
    op = run_execute(f, upstream, AH_EFFECT_UNSAFE);
    check_error(op, AH_TOOL_ERROR, "new authorization link");
    assert_string_equal(op->execution_id, "exec_81");
    assert_non_null(strstr(detail_of(op), "\"link\":\"https://x/magicLink/1\""));
    assert_int_equal(f->tokens, 1); /* the account was refused, not we */
    ah_op_unref(&op->op);
}

static void test_execute_once(void **state)
{
    struct far *f = *state;
    static const struct step broken[] = {RESOLVE, {EXECUTE, 503, "{}"}, {0}};
    static const struct step cut[] = {{EXECUTE, 0, NULL}, {0}};
    static const struct step limited[] = {{EXECUTE, 429, INFO("RATE_LIMITED", "")}, {0}};
    struct ah_scalekit_op *op = run_execute(f, broken, AH_EFFECT_UNSAFE);
    check_error(op, AH_OUTCOME_UNKNOWN, "before you run it again");
    assert_false(op->op.err.retryable);
    ah_op_unref(&op->op);
    op = run_execute(f, cut, AH_EFFECT_UNSAFE);
    check_error(op, AH_OUTCOME_UNKNOWN, "before you run it again");
    ah_op_unref(&op->op);
    op = run_execute(f, cut, AH_EFFECT_READ);
    check_error(op, AH_NETWORK, "safe to try again");
    assert_true(op->op.err.retryable);
    ah_op_unref(&op->op);
    op = run_execute(f, limited, AH_EFFECT_UNSAFE);
    check_error(op, AH_RATE_LIMIT, "wait");
    ah_op_unref(&op->op);
}

/* --- the run: span, effect, agent_run_id ---------------------------------------------------------------------- */

struct journal {
    struct ah_store *store;
    char text[65536]; /* the bodies of all events */
};

static int add_event(void *arg, const struct ah_store_event *ev)
{
    struct journal *j = arg;
    size_t at = strlen(j->text);
    snprintf(j->text + at, sizeof j->text - at, "%.*s\n", (int)ev->n, ev->body);
    return 0;
}

static int find_run(void *arg, const struct ah_store_run *run)
{
    struct journal *j = arg;
    return ah_store_run_events(j->store, run->key, add_event, j, NULL);
}

static void check_journal(struct journal *j, const char *const *texts)
{
    ah_store_flush(j->store);
    j->text[0] = '\0';
    assert_int_equal(ah_store_run_find(j->store, "last", find_run, j, NULL), 0);
    for (; *texts; texts++) {
        if (!strstr(j->text, *texts))
            print_message("no %s in\n%s\n", *texts, j->text);
        assert_non_null(strstr(j->text, *texts));
    }
}

static void test_traced(void **state)
{
    struct far *f = *state;
    static struct journal j;
    char request[512];
    struct ah_store_opts opts = {.memory = true, .allow_no_journal = true, .quiet = true};
    j.store = f->core.store = ah_store_open(&opts, f->core.loop, &f->log, NULL);
    f->core.trace = ah_trace_new(&f->core, NULL);
    struct ah_run *run = ah_run_start(
        f->core.trace,
        &(struct ah_run_opts){.name = "r", .script = "", .identifier = "user_123", .traced = true}, NULL);
    assert_non_null(run);
    snprintf(
        request, sizeof request,
        "POST /api/v1/execute_tool {\"tool_name\":\"gmail_fetch_mails\",\"params\":{\"max_results\":3.0},"
        "\"connected_account_id\":\"ca_1\",\"agent_run_id\":\"%s\"}",
        ah_run_id(run));
    const struct step steps[] = {RESOLVE,
                                 {request, 200, "{\"data\":{\"n\":1.50},\"execution_id\":\"exec_7\"}"},
                                 {request, 500, INFO("TOOL_ERROR", TOOL_INFO)},
                                 {0}};
    f->steps = steps;
    struct ah_scalekit_who who = gmail;
    who.run = run;
    struct ah_scalekit_exec exec = {.tool_name = "gmail_fetch_mails",
                                    .input = "{\"max_results\":3.0}",
                                    .input_n = 19,
                                    .tool_call_id = "call_1",
                                    .effect = AH_EFFECT_UNSAFE};
    for (int i = 0; i < 2; i++) {
        struct ah_scalekit_op *op = ah_scalekit_execute(f->sk, &who, &exec, NULL);
        wait_for(f, op);
        assert_int_equal(op->op.err.kind, i == 0 ? AH_NONE : AH_TOOL_ERROR);
        ah_op_unref(&op->op);
    }
    check_far(f);
    assert_int_equal(ah_run_totals(run)->tool_calls, 2);
    assert_int_equal(ah_run_totals(run)->errors, 1);
    struct ah_scalekit_op *dropped = ah_scalekit_execute(f->sk, &who, &exec, NULL);
    ah_op_unref(&dropped->op); /* its span must end, too */
    for (int i = 0; i < 20; i++)
        ah_loop_turn(f->core.loop, 1);
    ah_run_end(run, NULL, 0, NULL);
    static const char *const texts[] = {"\"gmail_fetch_mails\"",
                                        "\"output\":{\"n\":1.50}",
                                        "\"connection_name\":\"gmail\"",
                                        "\"identifier\":\"user_123\"",
                                        "\"connected_account_id\":\"ca_1\"",
                                        "\"execution_id\":\"exec_7\"",
                                        "\"execution_id\":\"exec_81\"",
                                        "\"tool_call_id\":\"call_1\"",
                                        "\"max_results\":3.0",
                                        "went wrong",
                                        "was cancelled",
                                        NULL};
    check_journal(&j, texts);
    assert_null(strstr(j.text, "token-number"));
    assert_null(strstr(j.text, "test/secret"));
    ah_trace_free(f->core.trace);
    ah_store_close(f->core.store);
}

static void test_drop_at_every_turn(void **state)
{
    struct far *f = *state;
    static const struct step steps[] = {{DETAILS, 404, NOT_FOUND},
                                        {CREATE, 409, "{}"},
                                        {DETAILS, 404, NOT_FOUND},
                                        {CONNECTIONS, 200, CONNECTION_LIST("a", "b")},
                                        {0}};
    for (int turns = 0; turns < 60; turns++) {
        f->steps = steps;
        f->at = 0;
        f->wrong[0] = '\0';
        struct ah_scalekit_op *op = ah_scalekit_get_or_create_account(f->sk, &gmail, NULL);
        for (int i = 0; i < turns; i++)
            ah_loop_turn(f->core.loop, 1);
        ah_op_unref(&op->op);
        for (int i = 0; i < 20; i++)
            ah_loop_turn(f->core.loop, 1);
        assert_int_equal(ah_http_in_flight(f->core.http), 0);
    }
}

static void test_call(void **state)
{
    struct far *f = *state;
    static const struct step steps[] = {
        {"GET /api/v1/tools/available?identifier=u&page_size=2", 200,
         "{\"tools\":[1,2],\"next_page_token\":\"n\"}"},
        {"GET /api/v1/tools/available?identifier=u&page_size=2&page_token=n", 200, "{\"tools\":[3]}"},
        {0}};
    f->steps = steps;
    const char *args = " {\"identifier\":\"u\",\"page_size\":2} ";
    struct ah_scalekit_op *op = ah_scalekit_call(f->sk, &(struct ah_scalekit_who){0}, "list_available_tools",
                                                 args, strlen(args), true, NULL);
    wait_for(f, op);
    check_far(f);
    assert_int_equal(op->item_count, 3);
    ah_op_unref(&op->op);
}

/* --- the rest of the surface ------------------------------------------------------------------------- */

static void assert_answer(const struct ah_scalekit_op *op, const char *want)
{
    char got[2000];
    snprintf(got, sizeof got, "%.*s", (int)op->answer.n, op->answer.p);
    assert_string_equal(got, want);
}

static struct ah_scalekit_op *call(struct far *f, const char *row, const char *args)
{
    struct ah_error err = {0};
    char text[1000];
    with_quotes(args, text, sizeof text);
    struct ah_scalekit_op *op =
        ah_scalekit_call(f->sk, &(struct ah_scalekit_who){0}, row, text, strlen(text), false, &err);
    if (!op)
        fail_msg("%s", err.message);
    wait_for(f, op);
    return op;
}

/* Values of authorization details never reach a caller: they are in the set of secrets, under a name. */
static void test_secrets(void **state)
{
    struct far *f = *state;
    static const struct step steps[] = {
        {"GET /api/v1/connected_accounts/auth?connector=gmail&identifier=u", 200,
         "{\"connected_account\":{\"authorization_details\":{\"oauth_token\":{\"access_token\":\"live-"
         "t\\u006fken-1\",\"refresh_token\":\"\",\"scopes\":[\"mail\"],\"domain\":\"d\"}},\"id\":\"ca_1\","
         "\"status\":\"ACTIVE\"}}"},
        {"GET /api/v1/connected_accounts/auth?id=ca_2", 200,
         "{\"connected_account\":{\"id\":\"ca_2\",\"authorization_details\":{\"static_auth\":{\"details\":"
         "{\"api key\":\"key-number-22\",\"pin\":12345678,\"list\":[\"in-a-list-3\"],\"on\":true}}}}}"},
        {"POST /api/v1/mcp/configs/cfg_1/tokens {\"identifier\":\"u\"}", 200,
         "{\"token\":\"session-token-1\",\"expires_at\":\"2026-11-22T10:00:00Z\"}"},
        {"POST /api/v1/mcp/configs/cfg_1/tokens {\"identifier\":\"v\"}", 200,
         "{\"token\":\"session-token-2\",\"expires_at\":\"2026-11-22T10:00:00Z\"}"},
        {0}};
    f->steps = steps;
    size_t n;
    struct ah_scalekit_op *op =
        call(f, "get_connected_account_auth", "{'connection_name':'gmail','identifier':'u'}");
    assert_answer(op,
                  "{\"connected_account\":{\"authorization_details\":{\"oauth_token\":{\"access_token\":"
                  "\"[secret:ca_1.oauth_token.access_token]\",\"refresh_token\":\"\",\"scopes\":[\"mail\"],"
                  "\"domain\":\"d\"}},\"id\":\"ca_1\",\"status\":\"ACTIVE\"}}");
    assert_string_equal(ah_secret_get(f->core.secrets, "ca_1.oauth_token.access_token", &n), "live-token-1");
    assert_true(ah_secret_found(f->core.secrets, "xlive-token-1x", 14));
    ah_op_unref(&op->op);
    op = call(f, "get_connected_account_auth", "{'id':'ca_2'}");
    assert_answer(op,
                  "{\"connected_account\":{\"id\":\"ca_2\",\"authorization_details\":{\"static_auth\":"
                  "{\"details\":{\"api key\":\"[secret:ca_2.static_auth.details.api_key]\",\"pin\":"
                  "\"[secret:ca_2.static_auth.details.pin]\",\"list\":[\"[secret:ca_2.static_auth.details."
                  "list.1]\"],\"on\":true}}}}}");
    assert_string_equal(ah_secret_get(f->core.secrets, "ca_2.static_auth.details.pin", &n), "12345678");
    ah_op_unref(&op->op);
    char first[300];
    op = call(f, "create_mcp_session_token", "{'mcp_config_id':'cfg_1','identifier':'u'}");
    ah_json_copy(ah_json_get(op->answer, "token"), first, sizeof first);
    assert_memory_equal(first, "[secret:mcp_token.", 18);
    assert_null(memmem(op->answer.p, op->answer.n, "session-token", 13));
    ah_op_unref(&op->op);
    op = call(f, "create_mcp_session_token", "{'mcp_config_id':'cfg_1','identifier':'v'}");
    assert_false(ah_json_is(ah_json_get(op->answer, "token"), first)); /* one user's name, one user's token */
    ah_op_unref(&op->op);
    check_far(f);
}

static struct ah_scalekit_op *proxy(struct far *f, const struct ah_skproxy_req *req)
{
    struct ah_error err = {0};
    struct ah_scalekit_who who = {.connection_name = "gmail", .identifier = "u"};
    struct ah_scalekit_op *op = ah_skproxy_send(f->sk, &who, req, &err);
    if (!op)
        fail_msg("%s", err.message);
    wait_for(f, op);
    return op;
}

static void check_refused(struct far *f, const struct ah_skproxy_req *req, enum ah_kind kind,
                          const char *says)
{
    struct ah_scalekit_op *op = proxy(f, req);
    if (op->op.err.kind != kind || !strstr(op->op.err.message, says))
        fail_msg("%s: %s", ah_err_kind_name(op->op.err.kind), op->op.err.message);
    assert_non_null(op->res);
    ah_op_unref(&op->op);
}

#define MINE "{\"detail\":\"token\",\"code\":\"UNAUTHORIZED\"}"

static void test_proxy(void **state)
{
    struct far *f = *state;
    static const struct step steps[] = {
        {"GET /proxy/gmail/v1/users/me/profile?a=1", 200, "not json"},
        {"GET /proxy/a", 401, MINE}, /* ours: renewed, and sent again */
        {"GET /proxy/a", 200, "{}"},
        {"POST /proxy/b x", 401, MINE}, /* it never reached the service, so it may go again; but only once */
        {"POST /proxy/b x", 401, MINE},
        {"GET /proxy/c", 401, "{\"error\":{\"code\":401,\"message\":\"Invalid Credentials\"}}"},
        {"POST /api/v1/connected_accounts/magic_link {\"connector\":\"gmail\",\"identifier\":\"u\"}", 200,
         "{\"link\":\"https://link\"}"},
        {"GET /proxy/d", 404, "{\"message\":\"Not Found\"}"},
        {"GET /proxy/e", 404,
         "{\"code\":5,\"message\":\"no account\",\"details\":[{\"@type\":"
         "\"type.googleapis.com/scalekit.v1.errdetails.ErrorInfo\"}]}"},
        {"POST /proxy/f", 502, "<html>bad</html>"},
        {"DELETE /proxy/g", 503, ""},
        {"GET /proxy/h", 400, "{\"message\":\"proxy not enabled for provider GMAIL\"}"},
        {"PUT /proxy/i part", 308, ""},
        {0}};
    f->steps = steps;
    struct ah_scalekit_op *op = proxy(f, &(struct ah_skproxy_req){.path = "/gmail/v1/users/me/profile?a=1"});
    assert_int_equal(op->op.err.kind, AH_NONE);
    assert_string_equal(ah_buf_str(&op->res->body), "not json");
    ah_op_unref(&op->op);
    op = proxy(f, &(struct ah_skproxy_req){.path = "/a"});
    assert_int_equal(op->op.err.kind, AH_NONE);
    assert_int_equal(f->tokens, 2);
    ah_op_unref(&op->op);
    struct ah_skproxy_req post = {.path = "/b", .body = "x", .body_n = 1, .has_body = true};
    check_refused(f, &post, AH_AUTH, "SCALEKIT_CLIENT");
    assert_int_equal(f->tokens, 3);
    op = proxy(f, &(struct ah_skproxy_req){.path = "/c"});
    assert_int_equal(op->op.err.kind, AH_TOOL_ERROR);
    assert_non_null(strstr(op->op.err.message, "Invalid Credentials"));
    assert_string_equal(op->op.err.detail,
                        "{\"connection\":\"gmail\",\"identifier\":\"u\",\"link\":\"https://link\"}");
    assert_int_equal(f->tokens, 3);
    ah_op_unref(&op->op);
    check_refused(f, &(struct ah_skproxy_req){.path = "/d"}, AH_TOOL_ERROR, "answered 404 (Not Found)");
    check_refused(f, &(struct ah_skproxy_req){.path = "/e"}, AH_NOT_FOUND, "Scalekit answered 404");
    check_refused(f, &(struct ah_skproxy_req){.path = "/f", .method = "POST"}, AH_OUTCOME_UNKNOWN, "502");
    check_refused(f, &(struct ah_skproxy_req){.path = "/g", .method = "DELETE"}, AH_TOOL_ERROR, "503");
    check_refused(f, &(struct ah_skproxy_req){.path = "/h"}, AH_CONFIG, "proxy is off");
    struct ah_skproxy_req put = {
        .path = "/i", .method = "PUT", .body = "part", .body_n = 4, .has_body = true};
    op = proxy(f, &put);
    assert_int_equal(op->op.err.kind, AH_NONE);
    assert_int_equal(op->res->status, 308);
    ah_op_unref(&op->op);
    check_far(f);
}

static void test_proxy_rules(void **state)
{
    struct far *f = *state;
    static const char *const good[] = {
        "/a",     "/",    "/a...b/c", "/a%20b", "/x?q=../..%2f&y=%2e", "/.well-known/x",
        "/a/b.c", "/%25", "/a%2540"};
    static const char *const bad[] = {"a",          "",         "//evil/x",  "https://evil/", "/a/../b",
                                      "/..",        "/.",       "/./a",      "/a/..;x/b",     "/a/%2e%2e/b",
                                      "/a%2Fb",     "/a%5cb",   "/a\\b",     "/a#b",          "/a b",
                                      "/a\r\nX: y", "/a%0d%0a", "/a%252fb",  "/a%25252eb",    "/a%",
                                      "/a%4",       "/a%zz",    "/\303\274", "/a?b#c",        "/a?b c"};
    static const char *const headers[] = {
        "Authorization", "connection_name", "Connection_Name",  "IDENTIFIER",
        "host",          "Content-Length",  "transfer-encoding"};
    struct ah_error err = {0};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (ah_skproxy_check_path(good[i], &err) != 0)
            fail_msg("%s: %s", good[i], err.message);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (ah_skproxy_check_path(bad[i], &err) == 0 || err.kind != AH_INVALID)
            fail_msg("%s", bad[i]);
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        assert_int_equal(ah_skproxy_check_header(headers[i], &err), -1);
    assert_int_equal(ah_skproxy_check_header("X-Goog", &err), 0);
    struct ah_scalekit_who who = {.connection_name = "gmail", .identifier = "u"};
    struct ah_skproxy_req req = {.path = "/a", .method = "GET", .has_body = true};
    assert_null(ah_skproxy_send(f->sk, &who, &req, &err));
    assert_non_null(strstr(err.message, "no body"));
    req = (struct ah_skproxy_req){.path = "/a", .method = "CONNECT"};
    assert_null(ah_skproxy_send(f->sk, &who, &req, &err));
    who.identifier = NULL;
    req.method = "GET";
    assert_null(ah_skproxy_send(f->sk, &who, &req, &err));
    assert_int_equal(err.kind, AH_CONFIG);
    ah_err_drop(&err);
}

/* What is given reaches an account that is new, one that is there, and one that somebody else just made. */
static void test_put_account(void **state)
{
    struct far *f = *state;
#define DETAILS_OF "GET /api/v1/connected_accounts/details?connector=gmail&identifier=u"
#define GIVEN                                                                                                \
    "{\"connector\":\"gmail\",\"identifier\":\"u\",\"connected_account\":{\"authorization_details\":"        \
    "{\"oauth_token\":{\"access_token\":\"given-secret-1\"}}}}"
    static const struct step steps[] = {
        {DETAILS_OF, 404, NOT_FOUND},
        {"POST /api/v1/connected_accounts " GIVEN, 201, "{\"connected_account\":{\"id\":\"ca_1\"}}"},
        {DETAILS_OF, 200, "{\"connected_account\":{\"id\":\"ca_1\"}}"},
        {"PUT /api/v1/connected_accounts " GIVEN, 200, "{\"connected_account\":{\"id\":\"ca_1\"}}"},
        {DETAILS_OF, 404, NOT_FOUND},
        {"POST /api/v1/connected_accounts " GIVEN, 409, "{}"},
        {DETAILS_OF, 200, "{\"connected_account\":{\"id\":\"ca_1\"}}"},
        {"PUT /api/v1/connected_accounts " GIVEN, 200, "{\"connected_account\":{\"id\":\"ca_1\"}}"},
        {0}};
    const char *given = "{\"authorization_details\":{\"oauth_token\":{\"access_token\":\"given-secret-1\"}}}";
    struct ah_scalekit_who who = {.connection_name = "gmail", .identifier = "u"};
    f->steps = steps;
    for (int i = 0; i < 3; i++) {
        struct ah_scalekit_op *op = ah_scalekit_put_account(f->sk, &who, given, strlen(given), NULL);
        wait_for(f, op);
        if (op->op.err.kind != AH_NONE)
            fail_msg("%d: %s", i, op->op.err.message);
        ah_op_unref(&op->op);
    }
    check_far(f);
    assert_true(ah_secret_found(f->core.secrets, "given-secret-1", 14)); /* so it is masked in the journal */
}

static void test_webhook(void **state)
{
    (void)state;
    /* openssl dgst -sha256 -hmac over "msg_1.1700000000.{\"a\":1}" with the key "a secret key of 24 b" */
    const char *secret = "whsec_YSBzZWNyZXQga2V5IG9mIDI0IGI=";
    struct ah_skhook hook = {"msg_1", "1700000000",
                             "v1,AAAA v0,x v1,anAAXPKL415iM8TERZ4tdgVrTljKW07Pey+eYmyhqoY=", "{\"a\":1}", 7};
    struct ah_error err = {0};
    assert_int_equal(ah_skhook_verify(secret, &hook, 1700000300, 300, &err), 0);
    hook.signatures = "v1,anAAXPKL415iM8TERZ4tdgVrTljKW07Pey+eYmyhqoY=";
    assert_int_equal(ah_skhook_verify(secret, &hook, 1699999700, 300, &err), 0);
    assert_int_equal(ah_skhook_verify(secret, &hook, 1700000301, 300, &err), -1);
    assert_int_equal(err.kind, AH_AUTH);
    assert_int_equal(ah_skhook_verify(secret, &hook, 1699999699, 300, &err), -1);
    struct ah_skhook other = hook;
    other.body_n = 6;
    assert_int_equal(ah_skhook_verify(secret, &other, 1700000000, 300, &err), -1);
    other = hook;
    other.id = "msg_2";
    assert_int_equal(ah_skhook_verify(secret, &other, 1700000000, 300, &err), -1);
    other = hook;
    other.signatures = "";
    assert_int_equal(ah_skhook_verify(secret, &other, 1700000000, 300, &err), -1);
    other.signatures = "v2,anAAXPKL415iM8TERZ4tdgVrTljKW07Pey+eYmyhqoY=";
    assert_int_equal(ah_skhook_verify(secret, &other, 1700000000, 300, &err), -1);
    other = hook;
    other.timestamp = "1700000000x";
    assert_int_equal(ah_skhook_verify(secret, &other, 1700000000, 300, &err), -1);
    static const char *const bad[] = {"", "whsec_", "YSBzZWNyZXQ=", "whsec_!!!!", "whsec_YSBz\nWNy"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(ah_skhook_verify(bad[i], &hook, 1700000000, 300, &err), -1);
        assert_int_equal(err.kind, AH_CONFIG);
    }
    ah_err_drop(&err);
}

#define FAR_TEST(name) cmocka_unit_test_setup_teardown(name, open_far, close_far)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_build),
        cmocka_unit_test(test_build_rows),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_refusals),
        FAR_TEST(test_settings),
        FAR_TEST(test_misuse),
        FAR_TEST(test_single_flight),
        FAR_TEST(test_token_fails_for_all),
        FAR_TEST(test_cancel_while_token_is_asked),
        FAR_TEST(test_renewal),
        FAR_TEST(test_get_or_create),
        FAR_TEST(test_unknown_connection),
        FAR_TEST(test_bad_answers),
        FAR_TEST(test_wait),
        FAR_TEST(test_wait_ends),
        FAR_TEST(test_cancel_wait),
        FAR_TEST(test_pages),
        FAR_TEST(test_tools_without_filter),
        FAR_TEST(test_no_tools),
        FAR_TEST(test_execute),
        FAR_TEST(test_execute_not_active),
        FAR_TEST(test_execute_refused),
        FAR_TEST(test_execute_once),
        FAR_TEST(test_traced),
        FAR_TEST(test_drop_at_every_turn),
        FAR_TEST(test_call),
        FAR_TEST(test_secrets),
        FAR_TEST(test_proxy),
        FAR_TEST(test_proxy_rules),
        FAR_TEST(test_put_account),
        cmocka_unit_test(test_webhook),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
