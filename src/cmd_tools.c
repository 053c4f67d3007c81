/* agenthost tools: the tools that a user may run, and one call of one of them. Data on stdout. */
#include "cmd_auth.h"
#include "near.h"
#include "scalekit.h"
#include "skwire.h"

#include <stdlib.h>
#include <string.h>

#define ARGS_BYTES ((size_t)16 << 20)
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

static int print_tools_json(FILE *out, const struct ah_scalekit_op *op)
{
    struct ah_buf b;
    struct ah_json_writer w;
    ah_buf_init(&b, (size_t)256 << 20);
    ah_json_begin(&w, &b, NULL);
    ah_json_array(&w);
    for (size_t i = 0; i < op->tool_count; i++) {
        const struct ah_scalekit_tool *t = &op->tools[i];
        ah_json_object(&w);
        put_member(&w, "annotations", t->annotations);
        put_member(&w, "tags", t->tags);
        put_member(&w, "connected_account_id", t->connected_account_id);
        if (t->connection_name) {
            ah_json_key(&w, "connector");
            ah_json_put_str(&w, t->connection_name);
        }
        put_member(&w, "description", t->description);
        put_member(&w, "input_schema", t->input_schema);
        put_member(&w, "name", t->name);
        put_member(&w, "provider", t->provider);
        ah_json_end_object(&w);
    }
    ah_json_end_array(&w);
    bool failed = b.failed;
    fprintf(out, "%s\n", failed ? "[]" : ah_buf_str(&b));
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
    for (int i = 0; i < argc; i++)
        if (argv[i][0] == '-')
            return ah_cmd_usage("tools", "tools ls takes names of connections only");
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

struct call {
    const char *tool, *connection, *json; /* json: --args */
    char named[420];                      /* the connection in CONNECTION/TOOL */
    struct ah_buf args;
    struct ah_json_writer w;
    bool pairs; /* --arg was given */
};

/* k=v: v is JSON if it reads as such, else a string. -1: no '='. */
static int add_pair(struct call *c, const char *pair)
{
    const char *eq = strchr(pair, '=');
    struct ah_json v;
    if (!eq || eq == pair)
        return -1;
    if (!c->pairs) {
        ah_json_begin(&c->w, &c->args, NULL);
        ah_json_object(&c->w);
        c->pairs = true;
    }
    ah_json_keyn(&c->w, pair, (size_t)(eq - pair));
    if (ah_json_check(eq + 1, strlen(eq + 1), 0, &v, NULL) == 0)
        ah_json_put(&c->w, v);
    else
        ah_json_put_str(&c->w, eq + 1);
    return 0;
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

/* 0: read; else an exit code, and the reason was printed. */
static int read_words(struct call *c, int argc, char **argv)
{
    static const char *const options[] = {"--arg", "--args", "--connection", NULL};
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i], *next = i + 1 < argc ? argv[i + 1] : NULL;
        bool option =
            strcmp(word, "--arg") == 0 || strcmp(word, "--args") == 0 || strcmp(word, "--connection") == 0;
        if (option && !next)
            return ah_cmd_usage("tools", "an option of tools call lacks its value");
        if (strcmp(word, "--arg") == 0 && add_pair(c, next) != 0)
            return ah_cmd_usage("tools", "--arg takes NAME=VALUE");
        if (strcmp(word, "--args") == 0)
            c->json = next;
        else if (strcmp(word, "--connection") == 0)
            c->connection = next;
        else if (!option && (word[0] == '-' || c->tool))
            return ah_cmd_unknown("tools", word, options);
        else if (!option)
            c->tool = word;
        i += option;
    }
    if (!c->tool)
        return ah_cmd_usage("tools", "tools call needs the name of a tool");
    split_name(c);
    if (c->json && c->pairs)
        return ah_cmd_usage("tools", "give either --args or --arg, not both");
    return 0;
}

/* The arguments as one JSON object in c->args. */
static int finish_args(struct call *c)
{
    struct ah_json v;
    struct ah_error err = {0};
    if (c->pairs)
        ah_json_end_object(&c->w);
    else
        ah_buf_adds(&c->args, c->json ? c->json : "{}");
    if (ah_json_check(ah_buf_str(&c->args), c->args.n, AH_JSON_UNIQUE_KEYS, &v, &err) == 0 &&
        v.type == AH_JSON_OBJECT)
        return 0;
    char text[1200];
    snprintf(text, sizeof text, "the arguments are not one JSON object%s%s", err.kind ? ": " : "",
             err.kind ? err.message : "");
    ah_err_drop(&err);
    return ah_cmd_usage("tools", text);
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

static int call_tool(struct ah_cmd_ctx *ctx, struct call *c)
{
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
    struct call c = {0};
    ah_buf_init(&c.args, ARGS_BYTES);
    int code = read_words(&c, argc, argv);
    if (code == 0)
        code = finish_args(&c);
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
    if (argc != 1 || argv[0][0] == '-')
        return ah_cmd_usage("tools", "tools show needs the name of a tool");
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

int ah_cmd_tools_run(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    static const char *const names[] = {"call", "ls", "show", NULL};
    static int (*const runs[])(struct ah_cmd_ctx *, int, char **) = {run_call, run_ls, run_show};
    if (argc < 1)
        return ah_cmd_usage("tools", "tools needs a sub-command");
    for (size_t i = 0; names[i]; i++)
        if (strcmp(argv[0], names[i]) == 0)
            return runs[i](ctx, argc - 1, argv + 1);
    return ah_cmd_unknown("tools", argv[0], names);
}
