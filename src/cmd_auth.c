/* agenthost auth: the state of a user's connected accounts, and links to authorize them. Links go to
 * stdout, so that they can be piped; what is said about them goes to stderr. */
#include "cmd_auth.h"

#include "scalekit.h"

#include <stdlib.h>
#include <string.h>

#define WAIT_S 300
#define WAIT_MAX_S 86400

struct ah_scalekit_who ah_cmd_auth_who(const struct ah_cmd_ctx *ctx, const char *connection)
{
    return (struct ah_scalekit_who){.connection_name = connection, .identifier = ctx->identifier};
}

int ah_cmd_auth_fail(struct ah_cmd_ctx *ctx, const struct ah_error *err)
{
    struct ah_json detail;
    char link[2048] = "";
    int code = ah_cmd_fail(ctx, err);
    if (err->detail && ah_json_check(err->detail, strlen(err->detail), 0, &detail, NULL) == 0)
        ah_json_copy(ah_json_get(detail, "link"), link, sizeof link);
    if (link[0] && !strstr(err->message, link))
        fprintf(stderr, "open %s\n", link);
    return code;
}

static void print_json(FILE *out, struct ah_json v)
{
    fwrite(v.p, 1, v.n, out);
}

/* --- status ------------------------------------------------------------------------------------ */

static void print_row(FILE *out, struct ah_json account)
{
    static const char *const keys[] = {"connector", "status", "id", "provider"};
    static const int widths[] = {20, 20, 28, 0};
    for (size_t i = 0; i < 4; i++) {
        char text[420];
        ah_json_copy(ah_json_get(account, keys[i]), text, sizeof text);
        fprintf(out, "%-*s%s", widths[i], text[0] ? text : "-", i < 3 ? "  " : "\n");
    }
}

static void print_accounts(struct ah_cmd_ctx *ctx, const struct ah_json *accounts, size_t n)
{
    if (ctx->json) {
        fputc('[', ctx->out);
        for (size_t i = 0; i < n; i++) {
            if (i)
                fputc(',', ctx->out);
            print_json(ctx->out, accounts[i]);
        }
        fputs("]\n", ctx->out);
        return;
    }
    fprintf(ctx->out, "%-20s  %-20s  %-28s  %s\n", "CONNECTION", "STATUS", "ACCOUNT", "PROVIDER");
    for (size_t i = 0; i < n; i++)
        print_row(ctx->out, accounts[i]);
}

static struct ah_scalekit_op *list_accounts(struct ah_cmd_ctx *ctx, struct ah_error *err)
{
    struct ah_scalekit_who nobody = {0};
    struct ah_buf args;
    struct ah_json_writer w;
    if (!ctx->identifier || !ctx->identifier[0]) {
        ah_err_set(err, AH_CONFIG, "whose accounts? Give --user ID or set AGENTHOST_USER");
        return NULL;
    }
    ah_buf_init(&args, 4096);
    ah_json_begin(&w, &args, NULL);
    ah_json_object(&w);
    ah_json_key(&w, "identifier");
    ah_json_put_str(&w, ctx->identifier);
    ah_json_key(&w, "page_size");
    ah_json_put_int(&w, 99);
    ah_json_end_object(&w);
    struct ah_scalekit_op *op = ah_scalekit_call(ctx->scalekit, &nobody, "list_connected_accounts",
                                                 ah_buf_str(&args), args.n, true, err);
    ah_buf_drop(&args);
    return op;
}

static int show_status(struct ah_cmd_ctx *ctx, const char *connection)
{
    struct ah_error err = {0};
    struct ah_scalekit_who who = ah_cmd_auth_who(ctx, connection);
    struct ah_scalekit_op *op =
        connection ? ah_scalekit_get_account(ctx->scalekit, &who, &err) : list_accounts(ctx, &err);
    int code = 0;
    if (!op || ah_cmd_wait(ctx, &op->op) != 0) {
        code = ah_cmd_auth_fail(ctx, op ? &op->op.err : &err);
    } else if (connection) {
        print_accounts(ctx, &op->answer, 1);
        if (!ah_json_is(ah_json_get(op->answer, "status"), "ACTIVE")) {
            fprintf(stderr, "agenthost: not ACTIVE: agenthost auth link %s --wait\n", connection);
            code = ah_err_exit_code(AH_ACCOUNT_NOT_ACTIVE);
        }
    } else {
        print_accounts(ctx, op->items, op->item_count);
        if (!op->item_count)
            fprintf(stderr, "agenthost: '%s' has no connected account: agenthost auth link CONNECTION\n",
                    ctx->identifier);
    }
    ah_op_unref(op ? &op->op : NULL);
    ah_err_drop(&err);
    return code;
}

/* --- link -------------------------------------------------------------------------------------- */

static void print_link(struct ah_cmd_ctx *ctx, const struct ah_scalekit_op *op)
{
    if (ctx->json) {
        struct ah_buf b;
        ah_buf_init(&b, 16384);
        ah_buf_adds(&b, "{\"expiry\":");
        ah_json_quote(&b, op->expiry, strlen(op->expiry));
        ah_buf_adds(&b, ",\"link\":");
        ah_json_quote(&b, op->link, strlen(op->link));
        fprintf(ctx->out, "%s}\n", ah_buf_str(&b));
        ah_buf_drop(&b);
    } else {
        fprintf(ctx->out, "%s\n", op->link);
        fflush(ctx->out);
        if (op->expiry[0])
            fprintf(stderr, "expires %s\n", op->expiry);
    }
    fflush(ctx->out);
}

static void print_active(struct ah_cmd_ctx *ctx, const struct ah_scalekit_op *op, const char *connection)
{
    if (ctx->json) {
        print_json(ctx->out, op->answer);
        fputc('\n', ctx->out);
    } else {
        fprintf(stderr, "%s: ACTIVE for %s\n", connection, ctx->identifier);
    }
}

/* Shows each link until the account is ACTIVE or the time is over. */
static int wait_active(struct ah_cmd_ctx *ctx, const char *connection, int64_t timeout_ms)
{
    struct ah_error err = {0};
    struct ah_scalekit_who who = ah_cmd_auth_who(ctx, connection);
    struct ah_scalekit_wait wait = {0};
    for (bool active = false; !active;) {
        struct ah_scalekit_op *op =
            ah_scalekit_wait_active(ctx->scalekit, &who, timeout_ms, 0, true, &wait, &err);
        if (!op || ah_cmd_wait(ctx, &op->op) != 0) {
            int code = ah_cmd_auth_fail(ctx, op ? &op->op.err : &err);
            ah_op_unref(op ? &op->op : NULL);
            ah_err_drop(&err);
            return code;
        }
        active = op->active;
        wait = op->wait;
        if (active)
            print_active(ctx, op, connection);
        else
            print_link(ctx, op);
        ah_op_unref(&op->op);
    }
    return 0;
}

static int show_link(struct ah_cmd_ctx *ctx, const char *connection)
{
    struct ah_error err = {0};
    struct ah_scalekit_who who = ah_cmd_auth_who(ctx, connection);
    struct ah_scalekit_op *op = ah_scalekit_get_link(ctx->scalekit, &who, NULL, NULL, &err);
    int code = 0;
    if (!op || ah_cmd_wait(ctx, &op->op) != 0)
        code = ah_cmd_auth_fail(ctx, op ? &op->op.err : &err);
    else
        print_link(ctx, op);
    ah_op_unref(op ? &op->op : NULL);
    ah_err_drop(&err);
    return code;
}

/* link CONNECTION [--wait [SECONDS]], in any order. */
static int run_link(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    const char *connection = NULL;
    bool wait = false;
    double seconds = WAIT_S;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--wait") == 0) {
            char *end = NULL;
            wait = true;
            double given = i + 1 < argc ? strtod(argv[i + 1], &end) : 0;
            if (i + 1 < argc && end != argv[i + 1] && *end == '\0') {
                seconds = given;
                i++;
            }
        } else if (argv[i][0] == '-' || connection) {
            static const char *const names[] = {"--wait", NULL};
            return ah_cmd_unknown("auth", argv[i], names);
        } else {
            connection = argv[i];
        }
    }
    if (!connection)
        return ah_cmd_usage("auth", "auth link needs the name of a connection");
    if (!(seconds >= 0 && seconds <= WAIT_MAX_S))
        return ah_cmd_usage("auth", "--wait takes seconds, from 0 to 86400");
    return wait ? wait_active(ctx, connection, (int64_t)(seconds * 1000)) : show_link(ctx, connection);
}

int ah_cmd_auth_run(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    static const char *const names[] = {"link", "status", NULL};
    if (argc < 1)
        return ah_cmd_usage("auth", "auth needs a sub-command");
    if (strcmp(argv[0], "link") == 0)
        return run_link(ctx, argc - 1, argv + 1);
    if (strcmp(argv[0], "status") != 0)
        return ah_cmd_unknown("auth", argv[0], names);
    if (argc > 2 || (argc == 2 && argv[1][0] == '-'))
        return ah_cmd_usage("auth", "auth status takes at most the name of a connection");
    return show_status(ctx, argc == 2 ? argv[1] : NULL);
}
