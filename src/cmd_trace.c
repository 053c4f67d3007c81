/* agenthost trace: what the journal holds about runs, sending it, and checking that it arrived. What was
 * asked for goes to stdout, what is said about it to stderr. Changes nothing but `push`. */
#include "cmd_trace.h"
#include "langsmith.h"
#include "lsspans.h"
#include "op.h"
#include "spantext.h"
#include "store.h"
#include "trace.h"
#include "tracing.h"
#include "tree.h"

#include <stdlib.h>
#include <string.h>

#define PUSH_MS 30000
#define WAIT_MAX_S 86400
#define VERIFY_S "15"
#define EXIT_UNDELIVERED 4
#define RUN_BYTES ((size_t)1 << 30)

const char *ah_cmd_trace_delivery_name(enum ah_delivery d)
{
    static const char *const names[] = {[AH_SENT_LOCAL] = "local",
                                        [AH_SENT_WAITING] = "unsent",
                                        [AH_SENT_ALL] = "sent",
                                        [AH_SENT_PARKED] = "parked"};
    return names[d];
}

const char *ah_cmd_trace_state_name(enum ah_store_run_state s)
{
    static const char *const names[] = {
        [AH_RUN_OPEN] = "open",       [AH_RUN_DONE] = "done",       [AH_RUN_FAILED] = "failed",
        [AH_RUN_CRASHED] = "crashed", [AH_RUN_WAITING] = "waiting", [AH_RUN_RESUMED] = "resumed"};
    return names[s];
}

struct finding {
    struct ah_store *store;
    struct ah_cmd_trace_run *to;
};

static int copy_run(void *arg, const struct ah_store_run *run)
{
    struct finding *f = arg;
    *f->to = (struct ah_cmd_trace_run){.key = run->key,
                                       .dest = run->dest,
                                       .first_seq = run->first_seq,
                                       .traced = run->traced,
                                       .emulated = run->emulated,
                                       .state = run->state};
    f->to->delivery = ah_store_delivery(f->store, run);
    snprintf(f->to->id, sizeof f->to->id, "%s", run->id);
    snprintf(f->to->name, sizeof f->to->name, "%s", run->name);
    snprintf(f->to->project, sizeof f->to->project, "%s", run->project);
    return 0;
}

int ah_cmd_trace_find(struct ah_cmd_ctx *ctx, const char *id, struct ah_cmd_trace_run *to,
                      struct ah_error *err)
{
    struct finding f = {ctx->core->store, to};
    return ah_store_run_find(ctx->core->store, id, copy_run, &f, err);
}

/* --- show ------------------------------------------------------------------------------------------------ */

static void print_value(FILE *out, const char *what, const struct ah_lswire_run *run, enum ah_lswire_field f)
{
    struct ah_buf value, lines;
    struct ah_json v;
    if (run->field[f].type == AH_JSON_NONE)
        return;
    ah_buf_init(&value, RUN_BYTES);
    ah_buf_init(&lines, RUN_BYTES);
    ah_lswire_value(&value, run, f);
    if (ah_json_check(ah_buf_str(&value), value.n, 0, &v, NULL) == 0)
        ah_spantext_put(&lines, what, v);
    fputs(ah_buf_str(&lines), out);
    ah_buf_drop(&value);
    ah_buf_drop(&lines);
}

static void print_io(FILE *out, const struct ah_lswire_run *run)
{
    char name[400] = "", type[32];
    struct ah_buf b;
    struct ah_json seen;
    ah_buf_init(&b, RUN_BYTES);
    ah_lswire_value(&b, run, AH_LSWIRE_NAME);
    if (ah_json_check(b.p, b.n, 0, &seen, NULL) == 0)
        ah_json_copy(seen, name, sizeof name);
    ah_buf_drop(&b);
    ah_json_copy(run->field[AH_LSWIRE_RUN_TYPE], type, sizeof type);
    fprintf(out, "\n%s (%s)\n", name, type);
    print_value(out, "inputs", run, AH_LSWIRE_INPUTS);
    print_value(out, "outputs", run, AH_LSWIRE_OUTPUTS);
    print_value(out, "error", run, AH_LSWIRE_ERROR);
}

static void print_span(struct ah_cmd_ctx *ctx, const struct ah_lswire_run *run)
{
    struct ah_buf b;
    if (!ctx->json) {
        print_io(ctx->out, run);
        return;
    }
    ah_buf_init(&b, RUN_BYTES);
    ah_lswire_object(&b, run);
    fprintf(ctx->out, "%s\n", ah_buf_str(&b));
    ah_buf_drop(&b);
}

static int show_span(void *arg, struct ah_lswire_run *run)
{
    struct ah_cmd_ctx *ctx = arg;
    ah_tracing_rules(ctx->core->tracing, &run->rules);
    print_span(ctx, run);
    return 0;
}

struct show_values {
    bool io;
};
static const struct ah_option show_options[] = {
    {.name = "--io",
     .kind = AH_OPTION_FLAG,
     .offset = offsetof(struct show_values, io),
     .help = "also what went in and came out of each span"},
    {0},
};

static int run_show(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    const struct show_values *v = ctx->values;
    struct ah_cmd_trace_run found;
    struct ah_error err = {0};
    struct ah_tracing_rules rules;
    ah_tracing_rules(ctx->core->tracing, &rules);
    struct ah_tree_opts opts = {.color = ctx->options->color, .hide_tokens = rules.hide_tokens};
    int code = 0;
    (void)argc;
    if (ah_cmd_trace_find(ctx, argv[0], &found, &err) != 0) {
        code = ah_cmd_fail_word(ctx, &err);
    } else if (!ctx->json) {
        fprintf(ctx->out, "%s  %s  %s\n", found.id, ah_cmd_trace_state_name(found.state),
                ah_cmd_trace_delivery_name(found.delivery));
        if (ah_tree_print(ctx->core->store, found.key, &opts, ctx->out, &err) != 0)
            code = ah_cmd_fail(ctx, &err);
    }
    if (code == 0 && (v->io || ctx->json) &&
        ah_lsspans_each(ctx->core->store, found.key, found.project, show_span, ctx, &err) != 0)
        code = ah_cmd_fail(ctx, &err);
    ah_err_drop(&err);
    return code;
}

/* --- push ------------------------------------------------------------------------------------------------ */

static int print_reason(void *arg, const struct ah_store_except *e)
{
    const struct ah_cmd_trace_run *found = arg;
    if (e->item.run != found->key)
        return 0;
    fprintf(stderr, "agenthost: LangSmith refuses a span of this run: %s\n", e->reason);
    return 1;
}

/* What became of a push; `late`: what stopped it. */
static int report_push(struct ah_cmd_ctx *ctx, struct ah_cmd_trace_run *found, const struct ah_error *late)
{
    struct ah_error err = {0};
    struct ah_tracing_where where;
    char id[AH_UUID_BYTES];
    snprintf(id, sizeof id, "%s", found->id);
    ah_store_flush_wait(ctx->core->store, 1000);
    ah_cmd_trace_find(ctx, id, found, &err);
    ah_err_drop(&err);
    if (found->delivery == AH_SENT_ALL) {
        fprintf(ctx->out, "%s sent\n", found->id);
        return 0;
    }
    ah_tracing_target(ctx->core->tracing, &where);
    if (found->delivery == AH_SENT_PARKED)
        ah_store_exceptions(ctx->core->store, found->dest, AH_EXCEPT_PARKED, 0, 0, print_reason, found, NULL);
    else if (late->kind != AH_NONE)
        fprintf(stderr, "agenthost: %s\n", late->message);
    else
        fprintf(stderr,
                "agenthost: this run began with another LangSmith address than %s; set LANGSMITH_ENDPOINT "
                "(and its "
                "key) as they were then, and push again\n",
                *where.endpoint ? where.endpoint : "the default");
    return EXIT_UNDELIVERED;
}

static int push_found(struct ah_cmd_ctx *ctx, struct ah_cmd_trace_run *found)
{
    struct ah_tracing_where target;
    struct ah_error err = {0};
    ah_tracing_target(ctx->core->tracing, &target);
    struct ah_store_where where = {target.endpoint, target.workspace, target.emulated};
    if (ah_store_push(ctx->core->store, found->key, &where, ctx->options->project, &err) != 0) {
        int code = ah_cmd_fail_word(ctx, &err);
        ah_err_drop(&err);
        return code;
    }
    ah_langsmith_wake(ctx->langsmith);
    struct ah_op *op = ah_langsmith_flush(ctx->langsmith, PUSH_MS);
    if (!op)
        ah_err_set(&err, AH_MEMORY, "out of memory");
    else if (ah_cmd_wait(ctx, op) != 0)
        ah_err_copy(&err, &op->err);
    ah_op_unref(op);
    int code = report_push(ctx, found, &err);
    ah_err_drop(&err);
    return code;
}

static int say_untraced(void)
{
    fputs("agenthost: this run was not traced (--no-trace): it has no spans to send\n", stderr);
    return 1;
}

static int run_push(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    struct ah_cmd_trace_run found;
    struct ah_error err = {0};
    int code = 0;
    (void)argc;
    if (ah_cmd_trace_find(ctx, argv[0], &found, &err) != 0)
        code = ah_cmd_fail_word(ctx, &err);
    else if (!found.traced)
        code = say_untraced();
    else
        code = push_found(ctx, &found);
    ah_err_drop(&err);
    return code;
}

/* --- verify ------------------------------------------------------------------------------------------------ */

/* Why a run of the journal cannot be at LangSmith, or NULL. */
static const char *why_not_sent(struct ah_cmd_ctx *ctx, const struct ah_cmd_trace_run *found)
{
    if (!found->traced)
        return "it was not traced (--no-trace)";
    if (found->dest)
        return NULL;
    const char *why = ah_tracing_why_off(ctx->core->tracing);
    return why ? why
               : "tracing to LangSmith was off: set LANGSMITH_TRACING=true, or `agenthost trace push` it";
}

static int verify_run(struct ah_cmd_ctx *ctx, const char *id, int64_t timeout_ms, bool print)
{
    struct ah_error err = {0};
    int code = 0;
    struct ah_op *op = ah_langsmith_verify(ctx->langsmith, id, timeout_ms);
    if (!op || ah_cmd_wait(ctx, op) != 0) {
        ah_err_set(&err, AH_MEMORY, "out of memory");
        code = ah_cmd_fail(ctx, op ? &op->err : &err);
    } else {
        struct ah_json run = ah_langsmith_run(op);
        char *url = ah_langsmith_run_url(ctx->langsmith, run);
        fprintf(stderr, "verified: the run is at LangSmith%s%s\n", url ? ": " : "", url ? url : "");
        if (print && ctx->json)
            fprintf(ctx->out, "%.*s\n", (int)run.n, run.p);
        free(url);
    }
    ah_op_unref(op);
    ah_err_drop(&err);
    return code;
}

int ah_cmd_verify(struct ah_cmd_ctx *ctx, const char *run_id, int64_t timeout_ms)
{
    struct ah_cmd_trace_run found;
    struct ah_error err = {0};
    ah_store_flush_wait(ctx->core->store, 1000);
    if (ah_cmd_trace_find(ctx, run_id, &found, &err) == 0) {
        const char *why = why_not_sent(ctx, &found);
        if (why) {
            fprintf(stderr, "agenthost: nothing to verify: %s\n", why);
            return EXIT_UNDELIVERED;
        }
    }
    ah_err_drop(&err);
    return verify_run(ctx, run_id, timeout_ms, false);
}

static int verify_found(struct ah_cmd_ctx *ctx, const struct ah_cmd_trace_run *found, int64_t timeout_ms)
{
    const char *why = why_not_sent(ctx, found);
    if (found->emulated)
        why =
            "it was emulated, and its emulator ended with it: `agenthost run --emulate --verify` does it at "
            "once";
    if (why) {
        fprintf(stderr, "agenthost: this run cannot be verified: %s\n", why);
        return EXIT_UNDELIVERED;
    }
    if (found->delivery == AH_SENT_WAITING) {
        struct ah_op *op = ah_langsmith_flush(ctx->langsmith, timeout_ms);
        if (op)
            ah_cmd_wait(ctx, op);
        ah_op_unref(op);
    }
    return verify_run(ctx, found->id, timeout_ms, true);
}

struct verify_values {
    double timeout_s;
};
static const struct ah_option verify_options[] = {
    {.name = "--timeout",
     .kind = AH_OPTION_SECONDS,
     .offset = offsetof(struct verify_values, timeout_s),
     .argument = "SECONDS",
     .preset = VERIFY_S,
     .max = WAIT_MAX_S,
     .help = "how long to wait for it"},
    {0},
};

static int run_verify(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    const struct verify_values *v = ctx->values;
    struct ah_cmd_trace_run found;
    struct ah_error err = {0};
    int code = 0;
    int64_t ms = (int64_t)(v->timeout_s * 1000);
    (void)argc;
    if (ah_cmd_trace_find(ctx, argv[0], &found, &err) == 0)
        code = verify_found(ctx, &found, ms);
    else if (err.kind == AH_NOT_FOUND && ah_ids_is_uuid(argv[0])) /* of another machine */
        code = verify_run(ctx, argv[0], ms, true);
    else
        code = ah_cmd_fail_word(ctx, &err);
    ah_err_drop(&err);
    return code;
}

/* --- the table --------------------------------------------------------------------------------------------- */

#define ONE_RUN                                                                                              \
    .words = "RUN", .min_words = 1, .max_words = 1, .complete = AH_COMPLETE_RUN,                             \
    .missing = "which run? `agenthost trace ls` lists them; `last` is the newest", .needs_host = true,       \
    .reads_journal = true

static const struct ah_command trace_show = {ONE_RUN,
                                             .name = "show",
                                             .summary = "one run as a tree",
                                             .options = show_options,
                                             .values = sizeof(struct show_values),
                                             .run = run_show};
static const struct ah_command trace_push = {
    ONE_RUN, .name = "push", .summary = "send it to LangSmith, also when it was not to be sent then",
    .run = run_push};
static const struct ah_command trace_verify = {ONE_RUN,
                                               .name = "verify",
                                               .summary = "wait until LangSmith has it; else exit 4",
                                               .options = verify_options,
                                               .values = sizeof(struct verify_values),
                                               .run = run_verify};
static const struct ah_command *const subs[] = {
    &ah_cmd_tracels,          &trace_show,          &ah_cmd_traceread_diff,
    &ah_cmd_traceread_tail,   &trace_push,          &trace_verify,
    &ah_cmd_traceread_export, &ah_cmd_traceread_gc, NULL};

const struct ah_command ah_cmd_trace = {
    .name = "trace",
    .summary = "look at runs in the local journal, send them, check that they arrived",
    .subs = subs};
