/* agenthost tools: the tools that a user may run, and one call of one of them. Data on stdout. */
#include "cmd_auth.h"
#include "near.h"
#include "scalekit.h"
#include "schema.h"
#include "skwire.h"

#include <stdlib.h>
#include <string.h>

#define ARGS_BYTES ((size_t)16 << 20)
#define TOOL_BYTES ((size_t)16 << 20)
#define LINE_BYTES 100 /* of a description in the list */

/* --- ls ----------------------------------------------------------------------------------------- */

/* The description's first line, cut. */
static void print_line(FILE *out, const struct ah_scalekit_tool *tool, int width)
{
    char name[256], text[LINE_BYTES];
    ah_json_copy(tool->name, name, sizeof name);
    ah_json_copy(tool->description, text, sizeof text);
    text[strcspn(text, "\r\n")] = '\0';
    fprintf(out, "%-*s  %s\n", width, name, text);
}

static void put_member(struct ah_json_writer *w, const char *key, struct ah_json v)
{
    if (v.type == AH_JSON_NONE)
        return;
    ah_json_key(w, key);
    ah_json_put(w, v);
}

static void put_tool(struct ah_json_writer *w, const struct ah_scalekit_tool *t)
{
    ah_json_object(w);
    put_member(w, "annotations", t->annotations);
    put_member(w, "connected_account_id", t->connected_account_id);
    if (t->connection_name) {
        ah_json_key(w, "connector");
        ah_json_put_str(w, t->connection_name);
    }
    put_member(w, "description", t->description);
    put_member(w, "input_schema", t->input_schema);
    put_member(w, "name", t->name);
    put_member(w, "provider", t->provider);
    put_member(w, "tags", t->tags);
    ah_json_end_object(w);
}

/* A line each. -1: a tool is too large. */
static int print_tools_json(FILE *out, const struct ah_scalekit_op *op)
{
    struct ah_buf b;
    bool failed = false;
    ah_buf_init(&b, TOOL_BYTES);
    for (size_t i = 0; i < op->tool_count && !failed; i++) {
        struct ah_json_writer w;
        ah_json_begin(&w, &b, NULL);
        put_tool(&w, &op->tools[i]);
        failed = b.failed;
        if (!failed)
            fprintf(out, "%s\n", ah_buf_str(&b));
        ah_buf_clear(&b);
    }
    ah_buf_drop(&b);
    return failed ? -1 : 0;
}

static void print_tools(struct ah_cmd_ctx *ctx, const struct ah_scalekit_op *op)
{
    int width = 0;
    for (size_t i = 0; i < op->tool_count; i++) {
        char name[256];
        ah_json_copy(op->tools[i].name, name, sizeof name);
        width = (int)strlen(name) > width ? (int)strlen(name) : width;
    }
    for (size_t i = 0; i < op->tool_count; i++)
        print_line(ctx->out, &op->tools[i], width);
    fprintf(stderr, "%zu tool%s for %s\n", op->tool_count, op->tool_count == 1 ? "" : "s", ctx->identifier);
}

static int run_ls(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    struct ah_error err = {0};
    const char **names = calloc((size_t)argc + 1, sizeof *names);
    for (int i = 0; names && i < argc; i++)
        names[i] = argv[i];
    struct ah_scalekit_who who = ah_cmd_auth_who(ctx, NULL);
    struct ah_scalekit_op *op = NULL;
    int code = 0;
    if (names)
        op = ah_scalekit_get_tools(ctx->scalekit, &who,
                                   &(struct ah_scalekit_filter){.connection_names = names}, &err);
    else
        ah_err_set(&err, AH_MEMORY, "out of memory");
    if (!op || ah_cmd_wait(ctx, &op->op) != 0)
        code = ah_cmd_auth_fail(ctx, op ? &op->op.err : &err);
    else if (ctx->json)
        code = print_tools_json(ctx->out, op) == 0 ? 0 : 1;
    else
        print_tools(ctx, op);
    ah_op_unref(op ? &op->op : NULL);
    ah_err_drop(&err);
    free(names);
    return code;
}

/* --- call --------------------------------------------------------------------------------------- */

struct call_values {
    const char *pairs[AH_OPTIONS_REPEAT_MAX + 1];
    const char *json, *connection;
    bool dry_run;
};
static const struct ah_option call_options[] = {
    {.name = "--arg",
     .kind = AH_OPTION_PAIRS,
     .offset = offsetof(struct call_values, pairs),
     .argument = "NAME=VALUE",
     .help = "an argument: JSON if it reads as such, else a text (repeatable)"},
    {.name = "--args",
     .kind = AH_OPTION_TEXT,
     .offset = offsetof(struct call_values, json),
     .argument = "JSON",
     .help = "all arguments, one object"},
    {.name = "--connection",
     .kind = AH_OPTION_TEXT,
     .offset = offsetof(struct call_values, connection),
     .argument = "NAME",
     .complete = AH_COMPLETE_CONNECTION,
     .help = "whose tool it is, when more than one has it"},
    {.name = "--dry-run",
     .kind = AH_OPTION_FLAG,
     .offset = offsetof(struct call_values, dry_run),
     .help = "check the arguments, print what would be sent, and send nothing"},
    {0},
};

struct call {
    const char *tool, *connection;
    char named[420]; /* the connection in CONNECTION/TOOL */
    struct ah_buf args;
};

/* k=v: v is JSON if it reads as such, else a string. */
static void put_pair(struct ah_json_writer *w, const char *pair)
{
    const char *value = strchr(pair, '=') + 1;
    struct ah_json v;
    ah_json_keyn(w, pair, (size_t)(value - 1 - pair));
    if (ah_json_check(value, strlen(value), 0, &v, NULL) == 0)
        ah_json_put(w, v);
    else
        ah_json_put_str(w, value);
}

/* CONNECTION/TOOL: no tool's name holds a slash. */
static void split_name(struct call *c)
{
    const char *slash = strchr(c->tool, '/');
    size_t n = slash ? (size_t)(slash - c->tool) : 0;
    if (!n || n >= sizeof c->named)
        return;
    snprintf(c->named, sizeof c->named, "%.*s", (int)n, c->tool);
    c->connection = c->named;
    c->tool = slash + 1;
}

static void put_pairs(struct ah_buf *out, const char *const *pairs)
{
    struct ah_json_writer w;
    ah_json_begin(&w, out, NULL);
    ah_json_object(&w);
    while (*pairs)
        put_pair(&w, *pairs++);
    ah_json_end_object(&w);
}

/* The arguments as one JSON object in c->args. 0, or an exit code: the reason was printed. */
static int read_args(struct ah_cmd_ctx *ctx, struct call *c)
{
    const struct call_values *values = ctx->values;
    struct ah_json v;
    struct ah_error err = {0};
    if (values->json && values->pairs[0])
        return ah_cmd_usage(ctx, "give either --args or --arg, not both");
    if (values->json)
        ah_buf_adds(&c->args, values->json);
    else
        put_pairs(&c->args, values->pairs);
    if (ah_json_check(ah_buf_str(&c->args), c->args.n, AH_JSON_UNIQUE_KEYS, &v, &err) == 0 &&
        v.type == AH_JSON_OBJECT)
        return 0;
    char text[1200];
    snprintf(text, sizeof text, "the arguments are not one JSON object%s%s", err.kind ? ": " : "",
             err.kind ? err.message : "");
    ah_err_drop(&err);
    return ah_cmd_usage(ctx, text);
}

static enum ah_effect_class class_of(const struct ah_scalekit_tool *tool)
{
    if (ah_json_bool(ah_json_get(tool->annotations, "read_only_hint"), false))
        return AH_EFFECT_READ;
    if (ah_json_bool(ah_json_get(tool->annotations, "idempotent_hint"), false))
        return AH_EFFECT_IDEMPOTENT;
    return AH_EFFECT_UNSAFE;
}

static struct ah_scalekit_op *find_tools(struct ah_cmd_ctx *ctx, const struct call *c, const char *tool,
                                         struct ah_error *err)
{
    const char *connections[] = {c->connection, NULL}, *tools[] = {tool, NULL};
    struct ah_scalekit_who who = ah_cmd_auth_who(ctx, NULL);
    struct ah_scalekit_filter filter = {.connection_names = connections, .tool_names = tools};
    struct ah_scalekit_op *op = ah_scalekit_get_tools(ctx->scalekit, &who, &filter, err);
    if (op && ah_cmd_wait(ctx, &op->op) != 0) {
        ah_err_copy(err, &op->op.err);
        ah_op_unref(&op->op);
        return NULL;
    }
    return op;
}

/* No such tool: the nearest of those that the user has. Nothing is said when the list cannot be had. */
static void suggest(struct ah_cmd_ctx *ctx, const struct call *c)
{
    struct ah_error err = {0};
    const char *near = ah_skwire_known_wrong(c->tool);
    char **names = NULL;
    struct ah_scalekit_op *op = near ? NULL : find_tools(ctx, c, NULL, &err);
    if (op)
        names = calloc(op->tool_count + 1, sizeof *names);
    for (size_t i = 0, n = 0; names && i < op->tool_count; i++)
        if ((names[n] = ah_json_dup(op->tools[i].name)) != NULL)
            n++;
    if (names)
        near = ah_near_best(c->tool, (const char *const *)names);
    if (near)
        fprintf(stderr, "did you mean '%s'?\n", near);
    for (size_t i = 0; names && names[i]; i++)
        free(names[i]);
    free(names);
    ah_op_unref(op ? &op->op : NULL);
    ah_err_drop(&err);
}

static void print_result(struct ah_cmd_ctx *ctx, const struct ah_scalekit_op *op)
{
    if (ctx->json) {
        struct ah_buf id;
        ah_buf_init(&id, 2048);
        ah_json_quote(&id, op->execution_id, strlen(op->execution_id));
        fprintf(ctx->out, "{\"data\":%.*s,\"execution_id\":%s}\n", (int)op->answer.n, op->answer.p,
                ah_buf_str(&id));
        ah_buf_drop(&id);
    } else {
        fprintf(ctx->out, "%.*s\n", (int)op->answer.n, op->answer.p);
    }
}

/* What execute_tool would be asked, once the arguments fit the tool's schema. */
static int print_request(struct ah_cmd_ctx *ctx, const struct call *c, const struct ah_scalekit_tool *tool,
                         const char *account_id)
{
    struct ah_error err = {0};
    struct ah_json args, none = {0};
    struct ah_buf out;
    struct ah_json_writer w;
    int code = 0;
    ah_buf_init(&out, 2 * ARGS_BYTES);
    if (ah_json_check(c->args.p, c->args.n, 0, &args, &err) != 0)
        args = none;
    if (!err.kind && ah_schema_check(tool->input_schema, args, &out) != 0)
        ah_err_set(&err, AH_INVALID, "the arguments do not fit %s: %s", c->tool, ah_buf_str(&out));
    if (err.kind) {
        code = ah_cmd_fail(ctx, &err);
    } else {
        ah_json_begin(&w, &out, ctx->core->secrets);
        ah_json_object(&w);
        ah_json_key(&w, "method");
        ah_json_put_str(&w, "POST");
        ah_json_key(&w, "path");
        ah_json_put_str(&w, "/api/v1/execute_tool");
        ah_json_key(&w, "body");
        ah_json_object(&w);
        ah_json_key(&w, "tool_name");
        ah_json_put_str(&w, c->tool);
        ah_json_key(&w, "params");
        ah_json_put(&w, args);
        ah_json_key(&w, "connected_account_id");
        ah_json_put_str(&w, account_id);
        ah_json_end_object(&w);
        ah_json_end_object(&w);
        fprintf(ctx->out, "%s\n", ah_buf_str(&out));
    }
    ah_buf_drop(&out);
    ah_err_drop(&err);
    return code;
}

static int call_tool(struct ah_cmd_ctx *ctx, struct call *c)
{
    const struct call_values *values = ctx->values;
    struct ah_error err = {0};
    char id[128];
    int code = 0;
    struct ah_scalekit_op *found = find_tools(ctx, c, c->tool, &err), *op = NULL;
    if (!found) {
        code = ah_cmd_auth_fail(ctx, &err);
        if (err.kind == AH_NO_TOOLS)
            suggest(ctx, c);
        ah_err_drop(&err);
        return code;
    }
    ah_json_copy(found->tools[0].connected_account_id, id, sizeof id);
    if (values->dry_run) {
        code = print_request(ctx, c, &found->tools[0], id);
        ah_op_unref(&found->op);
        return code;
    }
    struct ah_scalekit_who who =
        ah_cmd_auth_who(ctx, c->connection ? c->connection : found->tools[0].connection_name);
    who.account_id = id;
    struct ah_scalekit_exec exec = {
        .tool_name = c->tool, .input = c->args.p, .input_n = c->args.n, .effect = class_of(&found->tools[0])};
    op = ah_scalekit_execute(ctx->scalekit, &who, &exec, &err);
    if (!op || ah_cmd_wait(ctx, &op->op) != 0)
        code = ah_cmd_auth_fail(ctx, op ? &op->op.err : &err);
    else
        print_result(ctx, op);
    ah_op_unref(op ? &op->op : NULL);
    ah_op_unref(&found->op);
    ah_err_drop(&err);
    return code;
}

static int run_call(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    const struct call_values *v = ctx->values;
    struct call c = {.tool = argv[0], .connection = v->connection};
    (void)argc;
    split_name(&c);
    ah_buf_init(&c.args, ARGS_BYTES);
    int code = read_args(ctx, &c);
    if (code == 0)
        code = call_tool(ctx, &c);
    ah_buf_drop(&c.args);
    return code;
}

/* --- show --------------------------------------------------------------------------------------- */

static bool is_required(struct ah_json schema, struct ah_json name)
{
    struct ah_json required = ah_json_get(schema, "required");
    for (struct ah_json_iter it = ah_json_iter(required); ah_json_next(&it);)
        if (it.value.n == name.n && memcmp(it.value.p, name.p, name.n) == 0)
            return true;
    return false;
}

static void print_argument(FILE *out, struct ah_json schema, struct ah_json_iter *it)
{
    char name[256], type[40], text[400];
    ah_json_copy(it->key, name, sizeof name);
    ah_json_copy(ah_json_get(it->value, "type"), type, sizeof type);
    ah_json_copy(ah_json_get(it->value, "description"), text, sizeof text);
    text[strcspn(text, "\r\n")] = '\0';
    fprintf(out, "  %-24s  %-8s  %-8s  %s\n", name, type[0] ? type : "any",
            is_required(schema, it->key) ? "required" : "", text);
}

static void print_tool(FILE *out, const struct ah_scalekit_tool *tool)
{
    char name[256], provider[64], *text = ah_json_dup(tool->description);
    static const char *const classes[] = {"reads", "may be repeated", "changes something"};
    enum ah_effect_class class = class_of(tool);
    ah_json_copy(tool->name, name, sizeof name);
    ah_json_copy(tool->provider, provider, sizeof provider);
    fprintf(out, "%s (%s%s%s; %s)\n", name, provider, tool->connection_name ? ", connection " : "",
            tool->connection_name ? tool->connection_name : "",
            classes[class == AH_EFFECT_READ         ? 0
                    : class == AH_EFFECT_IDEMPOTENT ? 1
                                                    : 2]);
    if (text)
        fprintf(out, "\n%s\n", text);
    struct ah_json properties = ah_json_get(tool->input_schema, "properties");
    fputs(ah_json_count(properties) ? "\narguments\n" : "\nno arguments\n", out);
    for (struct ah_json_iter it = ah_json_iter(properties); ah_json_next(&it);)
        print_argument(out, tool->input_schema, &it);
    free(text);
}

/* show [CONNECTION/]TOOL: what it does and takes. */
static int run_show(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    struct call c = {0};
    struct ah_error err = {0};
    int code = 0;
    (void)argc;
    c.tool = argv[0];
    split_name(&c);
    struct ah_scalekit_op *found = find_tools(ctx, &c, c.tool, &err);
    if (!found) {
        code = ah_cmd_auth_fail(ctx, &err);
        if (err.kind == AH_NO_TOOLS)
            suggest(ctx, &c);
    } else if (ctx->json) {
        code = print_tools_json(ctx->out, found) == 0 ? 0 : 1;
    } else {
        print_tool(ctx->out, &found->tools[0]);
    }
    ah_op_unref(found ? &found->op : NULL);
    ah_err_drop(&err);
    return code;
}

/* --- the table ---------------------------------------------------------------------------------- */

static const struct ah_command tools_ls = {.name = "ls",
                                           .words = "[CONNECTION...]",
                                           .max_words = -1,
                                           .complete = AH_COMPLETE_CONNECTION,
                                           .summary = "the tools that the user may run",
                                           .run = run_ls,
                                           .needs_host = true};
static const struct ah_command tools_show = {.name = "show",
                                             .words = "[CONNECTION/]TOOL",
                                             .min_words = 1,
                                             .max_words = 1,
                                             .missing = "tools show needs the name of a tool",
                                             .summary = "what one does and takes",
                                             .run = run_show,
                                             .needs_host = true};
static const struct ah_command tools_call = {.name = "call",
                                             .words = "[CONNECTION/]TOOL",
                                             .min_words = 1,
                                             .max_words = 1,
                                             .missing = "tools call needs the name of a tool",
                                             .summary = "run one; its answer is printed",
                                             .options = call_options,
                                             .values = sizeof(struct call_values),
                                             .run = run_call,
                                             .needs_host = true};
static const struct ah_command *const subs[] = {&tools_ls, &tools_show, &tools_call, NULL};

const struct ah_command ah_cmd_tools = {
    .name = "tools", .summary = "the tools a user may run; show one, call one", .subs = subs};
