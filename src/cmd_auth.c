/* agenthost auth: connected accounts: which there are, their state, links to authorize them, and their end. Links go to
 * stdout, so that they can be piped; what is said about them goes to stderr. */
#include "cmd_auth.h"

#include "scalekit.h"

#include <stdlib.h>
#include <string.h>

#define WAIT_S "300"
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
    static const char *const keys[] = {"connector", "status", "id", "provider", "identifier"};
    static const int widths[] = {20, 20, 28, 16, 0};
    for (size_t i = 0; i < 5; i++) {
        char text[420];
        ah_json_copy(ah_json_get(account, keys[i]), text, sizeof text);
        fprintf(out, "%-*s%s", widths[i], text[0] ? text : "-", i < 4 ? "  " : "\n");
    }
}

static void print_accounts(struct ah_cmd_ctx *ctx, const struct ah_json *accounts, size_t n)
{
    if (ctx->json) {
        for (size_t i = 0; i < n; i++) {
            print_json(ctx->out, accounts[i]);
            fputc('\n', ctx->out);
        }
        return;
    }
    fprintf(ctx->out, "%-20s  %-20s  %-28s  %-16s  %s\n", "CONNECTION", "STATUS", "ACCOUNT", "PROVIDER",
            "IDENTIFIER");
    for (size_t i = 0; i < n; i++)
        print_row(ctx->out, accounts[i]);
}

/* A call whose arguments are at most two texts and a page size (0: none). */
struct small_call {
    const char *row, *key, *value, *key2, *value2;
    int page_size;
};

static struct ah_scalekit_op *start_call(struct ah_cmd_ctx *ctx, const struct small_call *c,
                                         struct ah_error *err)
{
    struct ah_scalekit_who nobody = {0};
    struct ah_buf args;
    struct ah_json_writer w;
    ah_buf_init(&args, 16384);
    ah_json_begin(&w, &args, NULL);
    ah_json_object(&w);
    if (c->value) {
        ah_json_key(&w, c->key);
        ah_json_put_str(&w, c->value);
    }
    if (c->value2) {
        ah_json_key(&w, c->key2);
        ah_json_put_str(&w, c->value2);
    }
    if (c->page_size) {
        ah_json_key(&w, "page_size");
        ah_json_put_int(&w, c->page_size);
    }
    ah_json_end_object(&w);
    struct ah_scalekit_op *op = NULL;
    if (args.failed)
        ah_err_set(err, AH_LIMIT, "an argument is too long");
    else
        op = ah_scalekit_call(ctx->scalekit, &nobody, c->row, args.p, args.n, c->page_size > 0, err);
    ah_buf_drop(&args);
    return op;
}

static bool has_user(const struct ah_cmd_ctx *ctx, struct ah_error *err)
{
    if (ctx->identifier && ctx->identifier[0])
        return true;
    ah_err_set(err, AH_CONFIG, "whose account? Give --user ID or set AGENTHOST_USER");
    return false;
}

static struct ah_scalekit_op *list_accounts(struct ah_cmd_ctx *ctx, struct ah_error *err)
{
    struct small_call call = {"list_connected_accounts", "identifier", ctx->identifier, NULL, NULL, 99};
    return has_user(ctx, err) ? start_call(ctx, &call, err) : NULL;
}

/* Waits for the op and prints what went wrong. 0, or the exit code. Drops err. */
static int end_op(struct ah_cmd_ctx *ctx, struct ah_scalekit_op *op, struct ah_error *err)
{
    int code = 0;
    if (!op || ah_cmd_wait(ctx, &op->op) != 0)
        code = ah_cmd_auth_fail(ctx, op ? &op->op.err : err);
    ah_err_drop(err);
    return code;
}

/* --- ls ---------------------------------------------------------------------------------------- */

/* All accounts of the environment, those that match a word, or with --user those of one user. */
static int run_ls(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    struct ah_error err = {0};
    const char *user = ctx->options->user, *word = argc ? argv[0] : NULL;
    struct small_call list = {"list_connected_accounts", "identifier", user, "query", word, 99};
    struct small_call search = {"search_connected_accounts", "query", word, NULL, NULL, 30};
    struct ah_scalekit_op *op = start_call(ctx, word && !user ? &search : &list, &err);
    int code = end_op(ctx, op, &err);
    if (code == 0) {
        print_accounts(ctx, op->items, op->item_count);
        fprintf(stderr, "%zu account%s\n", op->item_count, op->item_count == 1 ? "" : "s");
    }
    ah_op_unref(op ? &op->op : NULL);
    return code;
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

struct link_values {
    double wait_s; /* < 0: only the link */
};
static const struct ah_option link_options[] = {
    {.name = "--wait",
     .kind = AH_OPTION_SECONDS,
     .offset = offsetof(struct link_values, wait_s),
     .argument = "SECONDS",
     .preset = "-1",
     .bare = WAIT_S,
     .max = WAIT_MAX_S,
     .help = "until the account is active (" WAIT_S "), with a new link when one expires"},
    {0},
};

static int run_link(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    const struct link_values *v = ctx->values;
    (void)argc;
    return v->wait_s < 0 ? show_link(ctx, argv[0]) : wait_active(ctx, argv[0], (int64_t)(v->wait_s * 1000));
}

/* --- verify, revoke ------------------------------------------------------------------------------- */

/* The end of custom verification: says that this user is the one who gave consent. */
static int run_verify(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    struct ah_error err = {0};
    struct ah_scalekit_op *op = NULL;
    char url[2048];
    (void)argc;
    struct small_call call = {
        "verify_connected_account_user", "auth_request_id", argv[0], "identifier", ctx->identifier, 0};
    if (has_user(ctx, &err))
        op = start_call(ctx, &call, &err);
    int code = end_op(ctx, op, &err);
    if (code == 0 && ctx->json) {
        print_json(ctx->out, op->answer);
        fputc('\n', ctx->out);
    } else if (code == 0) {
        ah_json_copy(ah_json_get(op->answer, "post_user_verify_redirect_url"), url, sizeof url);
        fprintf(ctx->out, "%s\n", url);
    }
    ah_op_unref(op ? &op->op : NULL);
    return code;
}

static int end_account(struct ah_cmd_ctx *ctx, const char *connection, const char *id, bool delete)
{
    struct ah_error err = {0};
    struct small_call call = {
        delete ? "delete_connected_account" : "disconnect_connected_account", "id", id, NULL, NULL, 0};
    struct ah_scalekit_op *op = start_call(ctx, &call, &err);
    int code = end_op(ctx, op, &err);
    if (code == 0 && ctx->json) {
        print_json(ctx->out, op->answer);
        fputc('\n', ctx->out);
    } else if (code == 0) {
        fprintf(stderr, "%s: %s for %s (%s)\n", connection, delete ? "deleted" : "disconnected",
                ctx->identifier, id);
    }
    ah_op_unref(op ? &op->op : NULL);
    return code;
}

struct revoke_values {
    bool delete;
};
static const struct ah_option revoke_options[] = {
    {.name = "--delete",
     .kind = AH_OPTION_FLAG,
     .offset = offsetof(struct revoke_values, delete),
     .help = "for good: else it can be linked again"},
    {0},
};

/* Disconnects the account, which can be linked again; or deletes it. */
static int run_revoke(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    const struct revoke_values *v = ctx->values;
    const char *connection = argv[0];
    (void)argc;
    struct ah_error err = {0};
    struct ah_scalekit_who who = ah_cmd_auth_who(ctx, connection);
    struct ah_scalekit_op *op = ah_scalekit_get_account(ctx->scalekit, &who, &err);
    int code = end_op(ctx, op, &err);
    if (code == 0) {
        char id[128];
        ah_json_copy(ah_json_get(op->answer, "id"), id, sizeof id);
        code = end_account(ctx, connection, id, v->delete);
    }
    ah_op_unref(op ? &op->op : NULL);
    return code;
}

static int run_status(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    return show_status(ctx, argc == 1 ? argv[0] : NULL);
}

/* --- the table ------------------------------------------------------------------------------------ */

static const struct ah_command auth_ls = {.name = "ls",
                                          .words = "[WORD]",
                                          .max_words = 1,
                                          .summary =
                                              "accounts of the environment, of --user, or that match a word",
                                          .run = run_ls,
                                          .needs_host = true};
static const struct ah_command auth_status = {.name = "status",
                                              .words = "[CONNECTION]",
                                              .max_words = 1,
                                              .complete = AH_COMPLETE_CONNECTION,
                                              .summary =
                                                  "the user's accounts; one: fails unless it is ACTIVE",
                                              .run = run_status,
                                              .needs_host = true};
static const struct ah_command auth_link = {.name = "link",
                                            .words = "CONNECTION",
                                            .min_words = 1,
                                            .max_words = 1,
                                            .missing = "auth link needs the name of a connection",
                                            .complete = AH_COMPLETE_CONNECTION,
                                            .summary = "the link at which the user allows access",
                                            .options = link_options,
                                            .values = sizeof(struct link_values),
                                            .run = run_link,
                                            .needs_host = true};
static const struct ah_command auth_verify = {
    .name = "verify",
    .words = "AUTH_REQUEST_ID",
    .min_words = 1,
    .max_words = 1,
    .missing = "auth verify needs the auth_request_id that user_verify_url was given",
    .summary = "end of custom verification: this user is who gave consent",
    .run = run_verify,
    .needs_host = true};
static const struct ah_command auth_revoke = {.name = "revoke",
                                              .words = "CONNECTION",
                                              .min_words = 1,
                                              .max_words = 1,
                                              .missing = "auth revoke needs the name of a connection",
                                              .complete = AH_COMPLETE_CONNECTION,
                                              .summary = "disconnect the user's account",
                                              .options = revoke_options,
                                              .values = sizeof(struct revoke_values),
                                              .run = run_revoke,
                                              .needs_host = true};
static const struct ah_command *const subs[] = {&auth_ls,     &auth_status, &auth_link,
                                                &auth_verify, &auth_revoke, NULL};

const struct ah_command ah_cmd_auth = {
    .name = "auth",
    .summary = "connected accounts: their state, links to authorize them, and their end",
    .subs = subs};
