/* agenthost session: conversations that several runs go on with, in the local journal. Lists and shows them, forks and
 * removes them; the runs write them (agent.session). Runs nothing. */
#include "cmd.h"
#include "cmd_columns.h"
#include "store.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES ((size_t)64 << 20)
#define RESULT_SHOWN_BYTES 400 /* of a tool's result */

struct chosen {
    int64_t key, tip;
};

static int take_key(void *arg, const struct ah_store_session *s)
{
    *(struct chosen *)arg = (struct chosen){s->key, s->tip};
    return 1;
}

/* Of the user that was named, else of whoever has one of this name. */
static int find(struct ah_cmd_ctx *ctx, const char *name, struct chosen *to, struct ah_error *err)
{
    return ah_store_session_find(ctx->core->store, ctx->options->user, name, take_key, to, err);
}

/* --- ls ---------------------------------------------------------------------------------------------------- */

struct listing {
    struct ah_cmd_ctx *ctx;
    int count;
};

static void print_json(FILE *out, const struct ah_store_session *s)
{
    struct ah_buf b;
    struct ah_json_writer w;
    ah_buf_init(&b, LINE_BYTES);
    ah_json_begin(&w, &b, NULL);
    ah_store_session_put(s, &w);
    fprintf(out, "%s\n", ah_buf_str(&b));
    ah_buf_drop(&b);
}

static int print_session(void *arg, const struct ah_store_session *s)
{
    struct listing *l = arg;
    FILE *out = l->ctx->out;
    char used[AH_COLUMNS_TIME_BYTES];
    l->count++;
    if (l->ctx->json) {
        print_json(out, s);
        return 0;
    }
    if (l->count == 1)
        fprintf(out, "%-24s  %-16s  %5s  %-19s  SCRIPT\n", "NAME", "IDENTIFIER", "STEPS", "LAST USED");
    ah_cmd_columns_time(s->used, used);
    ah_cmd_columns_cell(out, s->name, 24);
    ah_cmd_columns_cell(out, *s->identifier ? s->identifier : "-", 16);
    fprintf(out, "%5lld  %-19s  %s%s%s", (long long)s->steps, used, s->script,
            s->emulated ? " (emulated)" : "", s->busy ? " (a run is at it)" : "");
    if (s->forked_from[0])
        fprintf(out, " (fork of %s at step %lld)", s->forked_from, (long long)s->forked_at);
    fputc('\n', out);
    return 0;
}

static int run_ls(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    struct listing l = {.ctx = ctx};
    struct ah_error err = {0};
    (void)argc;
    (void)argv;
    if (ah_store_sessions(ctx->core->store, ctx->options->user, NULL, print_session, &l, &err) != 0)
        return ah_cmd_fail(ctx, &err);
    if (l.count == 0)
        fputs("no session is kept; begin one with: agenthost run --session NAME FILE.lua\n", stderr);
    return 0;
}

/* --- show ---------------------------------------------------------------------------------------------------- */

static void print_content(FILE *out, struct ah_json message, bool whole)
{
    struct ah_buf text;
    struct ah_json content = ah_json_get(message, "content");
    ah_buf_init(&text, LINE_BYTES);
    if (ah_json_str(content, &text) != 0 && content.type != AH_JSON_NULL)
        ah_buf_add(&text, content.p, content.n); /* parts: pictures and such */
    size_t n = whole || text.n <= RESULT_SHOWN_BYTES ? text.n : RESULT_SHOWN_BYTES;
    while (n < text.n && n > 0 && ((unsigned char)text.p[n] & 0xc0) == 0x80)
        n--;
    ah_cmd_columns_text(out, ah_buf_str(&text), n);
    if (n < text.n)
        fprintf(out, " … (%zu bytes)", text.n);
    fputc('\n', out);
    ah_buf_drop(&text);
}

static void print_message(FILE *out, int64_t step, struct ah_json message)
{
    char role[32], name[128];
    ah_json_copy(ah_json_get(message, "role"), role, sizeof role);
    bool result = strcmp(role, "tool") == 0;
    if (result)
        fputs("      ", out);
    else
        fprintf(out, "%4lld  ", (long long)step);
    ah_json_copy(ah_json_get(message, "name"), name, sizeof name);
    fprintf(out, "%s: ", result && *name ? name : role);
    print_content(out, message, !result);
    for (struct ah_json_iter it = ah_json_iter(ah_json_get(message, "tool_calls")); ah_json_next(&it);) {
        struct ah_json args = ah_json_get(it.value, "args");
        ah_json_copy(ah_json_get(it.value, "name"), name, sizeof name);
        fprintf(out, "      calls %s ", name);
        ah_cmd_columns_text(out, args.p, args.n);
        fputc('\n', out);
    }
}

static void print_row_json(FILE *out, const struct ah_store_message *m)
{
    struct ah_buf b;
    struct ah_json_writer w;
    ah_buf_init(&b, LINE_BYTES);
    ah_json_begin(&w, &b, NULL);
    ah_store_message_put(m, &w);
    fprintf(out, "%s\n", ah_buf_str(&b));
    ah_buf_drop(&b);
}

static int print_row(void *arg, const struct ah_store_message *m)
{
    struct ah_cmd_ctx *ctx = arg;
    struct ah_json v;
    if (ctx->json) {
        print_row_json(ctx->out, m);
        return 0;
    }
    if (ah_json_check(m->body, m->n, 0, &v, NULL) != 0)
        return 0;
    if (v.type != AH_JSON_ARRAY) {
        print_message(ctx->out, m->step, v);
        return 0;
    }
    fprintf(ctx->out, "%4lld  made shorter, to:\n", (long long)m->step);
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);)
        print_message(ctx->out, m->step, it.value);
    return 0;
}

static int run_show(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    struct chosen c = {0};
    struct ah_error err = {0};
    (void)argc;
    if (find(ctx, argv[0], &c, &err) != 0 ||
        ah_store_session_read(ctx->core->store, c.tip, print_row, ctx, &err) != 0)
        return ah_cmd_fail_word(ctx, &err);
    return 0;
}

/* --- fork, rm ------------------------------------------------------------------------------------------------ */

struct fork_values {
    long at;
};
static const struct ah_option fork_options[] = {
    {.name = "--at",
     .kind = AH_OPTION_COUNT,
     .offset = offsetof(struct fork_values, at),
     .argument = "STEP",
     .min = 1,
     .help = "the last step that both have (all, if not given)"},
    {0},
};

static int run_fork(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    const struct fork_values *v = ctx->values;
    struct chosen c = {0};
    struct ah_error err = {0};
    (void)argc;
    if (find(ctx, argv[0], &c, &err) != 0 ||
        ah_store_session_fork(ctx->core->store, c.key, v->at, argv[1], &err) != 0)
        return ah_cmd_fail_word(ctx, &err);
    return 0;
}

static int run_rm(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    struct chosen c = {0};
    struct ah_error err = {0};
    (void)argc;
    if (find(ctx, argv[0], &c, &err) != 0 || ah_store_session_remove(ctx->core->store, c.key, &err) != 0)
        return ah_cmd_fail_word(ctx, &err);
    return 0;
}

/* --- the table --------------------------------------------------------------------------------------------- */

#define READS .missing = "which session? (agenthost session ls)", .needs_host = true, .reads_journal = true

static const struct ah_command session_ls = {
    READS, .name = "ls", .summary = "the sessions of this machine (of one user: --user)", .run = run_ls};
static const struct ah_command session_show = {READS,
                                               .name = "show",
                                               .words = "NAME",
                                               .min_words = 1,
                                               .max_words = 1,
                                               .complete = AH_COMPLETE_SESSION,
                                               .summary = "what was said, step by step",
                                               .run = run_show};
static const struct ah_command session_fork = {READS,
                                               .name = "fork",
                                               .words = "NAME NEW",
                                               .min_words = 2,
                                               .max_words = 2,
                                               .complete = AH_COMPLETE_SESSION,
                                               .summary = "another session with the same beginning",
                                               .options = fork_options,
                                               .values = sizeof(struct fork_values),
                                               .run = run_fork};
static const struct ah_command session_rm = {READS,
                                             .name = "rm",
                                             .words = "NAME",
                                             .min_words = 1,
                                             .max_words = 1,
                                             .complete = AH_COMPLETE_SESSION,
                                             .summary = "forget it; forks of it stay",
                                             .run = run_rm};
static const struct ah_command *const subs[] = {&session_ls, &session_show, &session_fork, &session_rm, NULL};

const struct ah_command ah_cmd_session = {
    .name = "session", .summary = "conversations that several runs go on with", .subs = subs};
