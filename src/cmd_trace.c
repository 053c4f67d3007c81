/* agenthost trace: what the journal holds about runs, sending it, and checking that it arrived. What was
 * asked for goes to stdout, what is said about it to stderr. Changes nothing but `push`. */
#include "clock.h"
#include "cmd.h"
#include "json.h"
#include "langsmith.h"
#include "lswire.h"
#include "op.h"
#include "store.h"
#include "trace.h"
#include "tracing.h"
#include "tree.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PUSH_MS 30000
#define WAIT_MAX_S 86400
#define VERIFY_S "15"
#define LIMIT_MAX 100000
#define EXIT_UNDELIVERED 4
#define SHORT_N 8 /* of an id: its end, the beginning is the time */
#define RUN_BYTES ((size_t)1 << 30)

static const char *const delivery_names[] = {[AH_SENT_LOCAL] = "local",
                                             [AH_SENT_WAITING] = "waiting",
                                             [AH_SENT_ALL] = "sent",
                                             [AH_SENT_PARKED] = "parked"};
static const char *const state_names[] = {
    [AH_RUN_OPEN] = "open", [AH_RUN_DONE] = "done", [AH_RUN_FAILED] = "failed", [AH_RUN_CRASHED] = "crashed"};

/* A run of the journal, copied. */
struct found {
    int64_t key, dest;
    char id[AH_UUID_BYTES], name[200], project[300];
    bool traced, emulated;
    enum ah_store_run_state state;
    enum ah_delivery delivery;
};

struct finding {
    struct ah_store *store;
    struct found *to;
};

static int copy_run(void *arg, const struct ah_store_run *run)
{
    struct finding *f = arg;
    *f->to = (struct found){.key = run->key,
                            .dest = run->dest,
                            .traced = run->traced,
                            .emulated = run->emulated,
                            .state = run->state};
    f->to->delivery = ah_store_delivery(f->store, run);
    snprintf(f->to->id, sizeof f->to->id, "%s", run->id);
    snprintf(f->to->name, sizeof f->to->name, "%s", run->name);
    snprintf(f->to->project, sizeof f->to->project, "%s", run->project);
    return 0;
}

static int find_run(struct ah_cmd_ctx *ctx, const char *id, struct found *to, struct ah_error *err)
{
    struct finding f = {ctx->core->store, to};
    return ah_store_run_find(ctx->core->store, id, copy_run, &f, err);
}

/* --- ls ------------------------------------------------------------------------------------------------ */

struct listing {
    struct ah_cmd_ctx *ctx;
    int rows;
};

static void put_time(int64_t us, char *out, size_t size)
{
    time_t s = (time_t)(us / 1000000);
    struct tm tm;
    if (!localtime_r(&s, &tm) || strftime(out, size, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        snprintf(out, size, "-");
}

static void put_duration(const struct ah_store_run *run, char *out, size_t size)
{
    int64_t us = run->ended - run->started;
    if (!run->ended)
        snprintf(out, size, "running");
    else if (us < 10000000)
        snprintf(out, size, "%lld ms", (long long)(us / 1000));
    else
        snprintf(out, size, "%.1f s", (double)us / 1e6);
}

/* At most `columns` characters, so that rows stay in line. */
static void put_cell(FILE *out, const char *text, int columns)
{
    int n = 0;
    for (const char *p = text; *p && n < columns; n++) {
        size_t bytes = 1;
        while (((unsigned char)p[bytes] & 0xc0) == 0x80)
            bytes++;
        fwrite((unsigned char)*p < 0x20 ? "?" : p, 1, bytes, out);
        p += bytes;
    }
    fprintf(out, "%*s  ", columns - n, "");
}

static void print_row(FILE *out, const struct ah_store_run *run, const char *delivery)
{
    char started[32], duration[32], tokens[32] = "-", cost[32] = "-";
    put_time(run->started, started, sizeof started);
    put_duration(run, duration, sizeof duration);
    if (run->totals.model_calls)
        snprintf(tokens, sizeof tokens, "%lld",
                 (long long)(run->totals.input_tokens + run->totals.output_tokens));
    if (run->totals.cost_known)
        snprintf(cost, sizeof cost, "$%.4f", run->totals.cost);
    put_cell(out, run->id + strlen(run->id) - SHORT_N, SHORT_N);
    put_cell(out, run->name, 24);
    put_cell(out, *run->identifier ? run->identifier : "-", 16);
    fprintf(out, "%-19s  %9s  %8s  %9s  %-7s  %s\n", started, duration, tokens, cost, delivery,
            run->state == AH_RUN_DONE ? "" : state_names[run->state]);
}

static void put_text(struct ah_json_writer *w, const char *key, const char *text)
{
    ah_json_key(w, key);
    ah_json_put_str(w, text);
}

static void put_number(struct ah_json_writer *w, const char *key, int64_t v)
{
    ah_json_key(w, key);
    ah_json_put_int(w, v);
}

static void put_iso(struct ah_json_writer *w, const char *key, int64_t us)
{
    char iso[AH_CLOCK_ISO_BYTES];
    if (us == 0)
        return;
    ah_clock_iso(us, iso);
    put_text(w, key, iso);
}

static void put_run(struct ah_json_writer *w, const struct ah_store_run *run, const char *delivery)
{
    ah_json_object(w);
    if (run->totals.cost_known) {
        ah_json_key(w, "cost");
        ah_json_put_num(w, run->totals.cost);
    }
    put_text(w, "delivery", delivery);
    ah_json_key(w, "emulated");
    ah_json_put_bool(w, run->emulated);
    put_iso(w, "end_time", run->ended);
    if (*run->error)
        put_text(w, "error", run->error);
    put_number(w, "errors", run->totals.errors);
    put_text(w, "id", run->id);
    put_text(w, "identifier", run->identifier);
    put_number(w, "input_tokens", run->totals.input_tokens);
    put_number(w, "model_calls", run->totals.model_calls);
    put_text(w, "name", run->name);
    put_number(w, "output_tokens", run->totals.output_tokens);
    put_text(w, "project", run->project);
    put_text(w, "script", run->script);
    put_number(w, "spans", run->totals.spans);
    put_iso(w, "start_time", run->started);
    put_text(w, "state", state_names[run->state]);
    put_number(w, "tool_calls", run->totals.tool_calls);
    ah_json_end_object(w);
}

static int list_run(void *arg, const struct ah_store_run *run)
{
    struct listing *l = arg;
    FILE *out = l->ctx->out;
    const char *delivery = delivery_names[ah_store_delivery(l->ctx->core->store, run)];
    if (l->ctx->json) {
        struct ah_buf b;
        struct ah_json_writer w;
        ah_buf_init(&b, RUN_BYTES);
        ah_json_begin(&w, &b, l->ctx->core->secrets);
        put_run(&w, run, delivery);
        fprintf(out, "%s\n", ah_buf_str(&b));
        ah_buf_drop(&b);
    } else {
        if (l->rows == 0)
            fprintf(out, "%-8s  %-24s  %-16s  %-19s  %9s  %8s  %9s  %s\n", "ID", "NAME", "USER", "STARTED",
                    "TIME", "TOKENS", "COST", "SENT");
        print_row(out, run, delivery);
    }
    l->rows++;
    return 0;
}

struct ls_values {
    bool failed;
    long limit;
    const char *name;
};
static const struct ah_option ls_options[] = {
    {.name = "--failed",
     .kind = AH_OPTION_FLAG,
     .offset = offsetof(struct ls_values, failed),
     .help = "only runs that failed"},
    {.name = "--limit",
     .kind = AH_OPTION_COUNT,
     .offset = offsetof(struct ls_values, limit),
     .argument = "N",
     .min = 1,
     .max = LIMIT_MAX,
     .help = "at most so many, the newest"},
    {.name = "--name",
     .kind = AH_OPTION_TEXT,
     .offset = offsetof(struct ls_values, name),
     .argument = "NAME",
     .help = "only runs of that name"},
    {0},
};

static int run_ls(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    const struct ls_values *v = ctx->values;
    int code = 0;
    struct ah_store_filter filter = {.project = ctx->options->project,
                                     .identifier = ctx->options->user,
                                     .failed = v->failed,
                                     .limit = (int)v->limit,
                                     .name = v->name};
    struct listing l = {ctx, 0};
    struct ah_error err = {0};
    if (ah_store_runs(ctx->core->store, &filter, list_run, &l, &err) != 0)
        code = ah_cmd_fail(ctx, &err);
    else if (l.rows == 0 && !ctx->json)
        fputs("no runs in the journal that fit\n", stderr);
    ah_err_drop(&err);
    return code;
}

/* --- show ------------------------------------------------------------------------------------------------ */

/* The texts of a run's spans, in order of their starts. */
struct span {
    int64_t start_seq;
    char *start, *end;
    size_t start_n, end_n;
};
struct spans {
    struct span *list;
    size_t n, cap;
};

static char *copy_text(const char *p, size_t n)
{
    char *copy = malloc(n + 1);
    if (copy) {
        memcpy(copy, p, n);
        copy[n] = '\0';
    }
    return copy;
}

static struct span *find_span(struct spans *s, int64_t seq)
{
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (s->list[mid].start_seq < seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low < s->n && s->list[low].start_seq == seq ? &s->list[low] : NULL;
}

static int keep_event(void *arg, const struct ah_store_event *ev)
{
    struct spans *s = arg;
    if (ev->kind == AH_EV_SPAN_END) {
        struct span *span = find_span(s, ev->start_seq);
        if (!span)
            return 0;
        span->end = copy_text(ev->body, ev->n);
        span->end_n = ev->n;
        return span->end ? 0 : 1;
    }
    if (ev->kind != AH_EV_SPAN_START)
        return 0;
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        struct span *list = realloc(s->list, cap * sizeof *list);
        if (!list)
            return 1;
        s->list = list;
        s->cap = cap;
    }
    char *text = copy_text(ev->body, ev->n);
    if (!text)
        return 1;
    s->list[s->n++] = (struct span){.start_seq = ev->seq, .start = text, .start_n = ev->n};
    return 0;
}

static void drop_spans(struct spans *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->list[i].start);
        free(s->list[i].end);
    }
    free(s->list);
}

static void print_value(FILE *out, const char *what, const struct ah_lswire_run *run, enum ah_lswire_field f)
{
    struct ah_buf b;
    if (run->field[f].type == AH_JSON_NONE)
        return;
    ah_buf_init(&b, RUN_BYTES);
    ah_lswire_value(&b, run, f);
    fprintf(out, "  %-8s %s\n", what, ah_buf_str(&b));
    ah_buf_drop(&b);
}

static void print_io(FILE *out, const struct ah_lswire_run *run)
{
    char name[400], type[32];
    ah_json_copy(run->field[AH_LSWIRE_NAME], name, sizeof name);
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

/* Each span, as it would be sent (--json: a line each), or what went in and came out. */
static int print_spans(struct ah_cmd_ctx *ctx, const struct found *found)
{
    struct spans s = {0};
    struct ah_error err = {0};
    int code = 0;
    if (ah_store_run_events(ctx->core->store, found->key, keep_event, &s, &err) != 0)
        code = ah_cmd_fail(ctx, &err);
    for (size_t i = 0; code == 0 && i < s.n; i++) {
        const struct span *span = &s.list[i];
        struct ah_lswire_run run;
        struct ah_error fault = {0};
        if (ah_lswire_read(&run, span->start, span->start_n, span->end, span->end_n, &fault) == 0) {
            run.project = found->project;
            ah_tracing_rules(ctx->core->tracing, &run.rules);
            print_span(ctx, &run);
        } else {
            fprintf(stderr, "agenthost: a span cannot be shown: %s\n", fault.message);
        }
        ah_err_drop(&fault);
    }
    drop_spans(&s);
    ah_err_drop(&err);
    return code;
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
    struct found found;
    struct ah_error err = {0};
    struct ah_tree_opts opts = {.color = ctx->options->color};
    int code = 0;
    (void)argc;
    if (find_run(ctx, argv[0], &found, &err) != 0) {
        code = ah_cmd_fail(ctx, &err);
    } else if (!ctx->json) {
        fprintf(ctx->out, "%s  %s  %s\n", found.id, state_names[found.state], delivery_names[found.delivery]);
        if (ah_tree_print(ctx->core->store, found.key, &opts, ctx->out, &err) != 0)
            code = ah_cmd_fail(ctx, &err);
    }
    if (code == 0 && (v->io || ctx->json))
        code = print_spans(ctx, &found);
    ah_err_drop(&err);
    return code;
}

/* --- push ------------------------------------------------------------------------------------------------ */

static int print_reason(void *arg, const struct ah_store_except *e)
{
    const struct found *found = arg;
    if (e->item.run != found->key)
        return 0;
    fprintf(stderr, "agenthost: LangSmith refuses a span of this run: %s\n", e->reason);
    return 1;
}

/* What became of a push; `late`: what stopped it. */
static int report_push(struct ah_cmd_ctx *ctx, struct found *found, const struct ah_error *late)
{
    struct ah_error err = {0};
    struct ah_tracing_where where;
    char id[AH_UUID_BYTES];
    snprintf(id, sizeof id, "%s", found->id);
    ah_store_flush_wait(ctx->core->store, 1000);
    find_run(ctx, id, found, &err);
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

static int push_found(struct ah_cmd_ctx *ctx, struct found *found)
{
    struct ah_tracing_where target;
    struct ah_error err = {0};
    ah_tracing_target(ctx->core->tracing, &target);
    struct ah_store_where where = {target.endpoint, target.workspace, target.emulated};
    if (ah_store_push(ctx->core->store, found->key, &where, ctx->options->project, &err) != 0) {
        int code = ah_cmd_fail(ctx, &err);
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
    struct found found;
    struct ah_error err = {0};
    int code = 0;
    (void)argc;
    if (find_run(ctx, argv[0], &found, &err) != 0)
        code = ah_cmd_fail(ctx, &err);
    else if (!found.traced)
        code = say_untraced();
    else
        code = push_found(ctx, &found);
    ah_err_drop(&err);
    return code;
}

/* --- verify ------------------------------------------------------------------------------------------------ */

/* Why a run of the journal cannot be at LangSmith, or NULL. */
static const char *why_not_sent(struct ah_cmd_ctx *ctx, const struct found *found)
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
    struct found found;
    struct ah_error err = {0};
    ah_store_flush_wait(ctx->core->store, 1000);
    if (find_run(ctx, run_id, &found, &err) == 0) {
        const char *why = why_not_sent(ctx, &found);
        if (why) {
            fprintf(stderr, "agenthost: nothing to verify: %s\n", why);
            return EXIT_UNDELIVERED;
        }
    }
    ah_err_drop(&err);
    return verify_run(ctx, run_id, timeout_ms, false);
}

static int verify_found(struct ah_cmd_ctx *ctx, const struct found *found, int64_t timeout_ms)
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
    struct found found;
    struct ah_error err = {0};
    int code = 0;
    int64_t ms = (int64_t)(v->timeout_s * 1000);
    (void)argc;
    if (find_run(ctx, argv[0], &found, &err) == 0)
        code = verify_found(ctx, &found, ms);
    else if (err.kind == AH_NOT_FOUND && ah_ids_is_uuid(argv[0])) /* of another machine */
        code = verify_run(ctx, argv[0], ms, true);
    else
        code = ah_cmd_fail(ctx, &err);
    ah_err_drop(&err);
    return code;
}

/* --- the table --------------------------------------------------------------------------------------------- */

#define ONE_RUN                                                                                              \
    .words = "RUN", .min_words = 1, .max_words = 1, .complete = AH_COMPLETE_RUN,                             \
    .missing = "which run? `agenthost trace ls` lists them; `last` is the newest", .needs_host = true,       \
    .reads_journal = true

static const struct ah_command trace_ls = {.name = "ls",
                                           .summary = "the runs of this machine, newest first",
                                           .options = ls_options,
                                           .values = sizeof(struct ls_values),
                                           .run = run_ls,
                                           .needs_host = true,
                                           .reads_journal = true};
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
static const struct ah_command *const subs[] = {&trace_ls, &trace_show, &trace_push, &trace_verify, NULL};

const struct ah_command ah_cmd_trace = {
    .name = "trace",
    .summary = "look at runs in the local journal, send them, check that they arrived",
    .subs = subs};
