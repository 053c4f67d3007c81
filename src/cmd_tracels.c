/* agenthost trace ls: the runs of this machine, chosen by what is known of them. The choosing is Lua
 * (scripts/reading/where.lua): an expression of the user's runs there, sandboxed. Changes nothing. */
#include "clock.h"
#include "cmd_columns.h"
#include "cmd_trace.h"
#include "json.h"
#include "loop.h"
#include "lsspans.h"
#include "secret.h"
#include "shapes.h"
#include "tracing.h"
#include "tree.h"

#include <stdlib.h>
#include <string.h>

#define LIMIT_MAX 100000
#define SCAN_COUNT 10000 /* runs that are looked at when there is something to choose by */
#define SHORT_N 8        /* of an id: its end, the beginning is the time */
#define RUN_BYTES ((size_t)1 << 30)

struct ls_values {
    bool failed;
    long limit;
    const char *name, *where, *text, *script, *status;
    const char *tags[AH_OPTIONS_REPEAT_MAX + 1], *meta[AH_OPTIONS_REPEAT_MAX + 1];
    double since, slower, dearer;
};

/* A run that may be listed: its line, and what it is chosen by. */
struct row {
    char *line, *json;
};
struct listing {
    struct ah_cmd_ctx *ctx;
    const struct ls_values *values;
    struct row *rows;
    size_t count, cap;
    size_t max;
    bool failed;
};

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

static void print_row(FILE *out, const struct ah_store_run *run, const char *delivery, const char *note)
{
    char started[AH_COLUMNS_TIME_BYTES], duration[32], tokens[32] = "-", cost[AH_TREE_MONEY_BYTES] = "-";
    ah_cmd_columns_time(run->started, started);
    put_duration(run, duration, sizeof duration);
    if (run->totals.model_calls)
        snprintf(tokens, sizeof tokens, "%lld",
                 (long long)(run->totals.input_tokens + run->totals.output_tokens));
    if (run->totals.cost_known)
        ah_tree_money(run->totals.cost, cost);
    ah_cmd_columns_cell(out, run->id + strlen(run->id) - SHORT_N, SHORT_N);
    ah_cmd_columns_cell(out, run->name, 24);
    ah_cmd_columns_cell(out, *run->identifier ? run->identifier : "-", 16);
    fprintf(out, "%-19s  %9s  %8s  %9s  %-7s  %s%s%s\n", started, duration, tokens, cost, delivery,
            run->state == AH_RUN_DONE ? "" : ah_cmd_trace_state_name(run->state), *note ? " " : "", note);
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
    put_text(w, "state", ah_cmd_trace_state_name(run->state));
    put_number(w, "tool_calls", run->totals.tool_calls);
}

/* --- what a run is chosen by ------------------------------------------------------------------------------ */

struct looking {
    struct ah_json_writer *w;
    const char *text;
    bool hide_metadata, root, found;
};

static void put_field(struct ah_json_writer *w, const char *key, struct ah_json v)
{
    if (v.type == AH_JSON_NONE)
        return;
    ah_json_key(w, key);
    ah_json_put(w, v);
}

/* Of the root: tags, metadata and the error; of all: whether they hold the text. */
static int look_at_span(void *arg, struct ah_lswire_run *run)
{
    struct looking *l = arg;
    struct ah_json extra = ah_json_get(run->field[AH_LSWIRE_EXTRA], "metadata");
    if (!l->root) {
        put_field(l->w, "tags", run->field[AH_LSWIRE_TAGS]);
        if (!l->hide_metadata)
            put_field(l->w, "metadata", extra.type ? extra : run->field[AH_LSWIRE_METADATA]);
        put_field(l->w, "error",
                  run->field[AH_LSWIRE_ERROR]); /* as the anonymizer made it, if there is one */
    }
    l->root = true;
    for (int f = AH_LSWIRE_NAME; l->text && f <= AH_LSWIRE_ERROR; f++) {
        struct ah_json v = run->field[f];
        l->found |= v.n && memmem(v.p, v.n, l->text, strlen(l->text));
    }
    return l->found || !l->text;
}

static bool has_choice(const struct ls_values *v)
{
    return v->where || v->text || v->script || v->status || v->tags[0] || v->meta[0] || v->since > 0 ||
           v->slower > 0 || v->dearer > 0;
}

static int copy_reason(void *arg, const struct ah_store_except *e)
{
    char *reason = arg;
    snprintf(reason, 300, "%.299s", e->reason);
    return 1;
}

struct refused {
    int64_t run;
    char reason[300];
};

static int find_reason(void *arg, const struct ah_store_except *e)
{
    struct refused *r = arg;
    return e->item.run == r->run ? copy_reason(r->reason, e) : 0;
}

static char *take(struct ah_buf *b)
{
    char *text = ah_buf_take(b, NULL);
    ah_buf_drop(b);
    return text;
}

/* Without what looks like a credential. */
static char *take_shown(struct ah_buf *b)
{
    struct ah_buf shown;
    ah_buf_init(&shown, RUN_BYTES);
    ah_shapes_mask(ah_buf_str(b), b->n, &shown);
    ah_buf_drop(b);
    return take(&shown);
}

static int keep_run(void *arg, const struct ah_store_run *run)
{
    struct listing *l = arg;
    struct ah_cmd_ctx *ctx = l->ctx;
    enum ah_delivery delivery = ah_store_delivery(ctx->core->store, run);
    bool bad = run->state == AH_RUN_FAILED || run->state == AH_RUN_CRASHED || delivery == AH_SENT_PARKED;
    if (l->values->failed && !bad)
        return 0;
    if (l->count == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct row *rows = realloc(l->rows, cap * sizeof *rows);
        l->failed = !rows;
        if (!rows)
            return 1;
        l->rows = rows;
        l->cap = cap;
    }
    struct ah_buf b;
    struct ah_json_writer w;
    struct refused refused = {.run = run->key};
    struct ah_tracing_rules rules;
    ah_tracing_rules(ctx->core->tracing, &rules);
    struct looking look = {.w = &w, .text = l->values->text, .hide_metadata = rules.hide_metadata};
    ah_buf_init(&b, RUN_BYTES);
    ah_json_begin(&w, &b, ctx->core->secrets);
    put_run(&w, run, ah_cmd_trace_delivery_name(delivery));
    if (delivery == AH_SENT_PARKED)
        ah_store_exceptions(ctx->core->store, run->dest, AH_EXCEPT_PARKED, 0, 0, find_reason, &refused, NULL);
    if (*refused.reason)
        put_text(&w, "refused", refused.reason);
    if (ctx->json || has_choice(l->values))
        ah_lsspans_each(ctx->core->store, run->key, run->project, look_at_span, &look, NULL);
    if (!look.root && *run->error)
        put_text(&w, "error", run->error);
    ah_json_end_object(&w);
    if (l->values->text && !look.found) {
        ah_buf_drop(&b);
        return 0;
    }
    struct row *row = &l->rows[l->count++];
    *row = (struct row){.json = rules.hide_tokens ? take_shown(&b) : take(&b)};
    size_t size = 0;
    FILE *line = ctx->json ? NULL : open_memstream(&row->line, &size);
    if (line) {
        print_row(line, run, ah_cmd_trace_delivery_name(delivery), refused.reason);
        fclose(line);
    }
    return l->count >= l->max;
}

/* --- choosing and printing --------------------------------------------------------------------------------- */

static void put_list(struct ah_json_writer *w, const char *key, const char *const *list)
{
    ah_json_key(w, key);
    ah_json_array(w);
    for (; *list; list++)
        ah_json_put_str(w, *list);
    ah_json_end_array(w);
}

static void put_amount(struct ah_json_writer *w, const char *key, double v)
{
    if (v > 0) {
        ah_json_key(w, key);
        ah_json_put_num(w, v);
    }
}

/* The answer of reading.where: a list of booleans, one a row. NULL: err. */
static char *choose(struct listing *l, struct ah_error *err)
{
    const struct ls_values *v = l->values;
    struct ah_buf b;
    struct ah_json_writer w;
    ah_buf_init(&b, RUN_BYTES);
    ah_json_begin(&w, &b, NULL);
    ah_json_object(&w);
    if (v->where)
        put_text(&w, "where", v->where);
    if (v->script)
        put_text(&w, "script", v->script);
    if (v->status)
        put_text(&w, "status", v->status);
    put_list(&w, "tags", v->tags);
    put_list(&w, "meta", v->meta);
    put_amount(&w, "since", v->since);
    put_amount(&w, "slower", v->slower);
    put_amount(&w, "dearer", v->dearer);
    put_number(&w, "now", ah_clock_wall_us(ah_loop_clock(l->ctx->core->loop)) / 1000000);
    ah_json_key(&w, "runs");
    ah_json_array(&w);
    for (size_t i = 0; i < l->count; i++)
        ah_json_put_raw(&w, l->rows[i].json, strlen(l->rows[i].json));
    ah_json_end_array(&w);
    ah_json_end_object(&w);
    char *answer = ah_host_call(l->ctx->host, "reading.where", "choose", ah_buf_str(&b), err);
    ah_buf_drop(&b);
    return answer;
}

static void print_rows(struct listing *l, struct ah_json chosen)
{
    FILE *out = l->ctx->out;
    long left = l->values->limit ? l->values->limit : 50, printed = 0;
    for (size_t i = 0; i < l->count && printed < left; i++) {
        if (chosen.type == AH_JSON_ARRAY && ah_json_at(chosen, i).type != AH_JSON_TRUE)
            continue;
        if (printed++ == 0 && !l->ctx->json)
            fprintf(out, "%-8s  %-24s  %-16s  %-19s  %9s  %8s  %9s  %s\n", "ID", "NAME", "USER", "STARTED",
                    "TIME", "TOKENS", "COST", "SENT");
        if (l->ctx->json)
            fprintf(out, "%s\n", l->rows[i].json ? l->rows[i].json : "{}");
        else
            fputs(l->rows[i].line ? l->rows[i].line : "", out);
    }
    if (printed == 0 && !l->ctx->json)
        fputs("no runs in the journal that fit\n", stderr);
}

static int run_ls(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    const struct ls_values *v = ctx->values;
    struct ah_store_filter filter = {.project = ctx->options->project,
                                     .identifier = ctx->options->user,
                                     .name = v->name,
                                     .limit = SCAN_COUNT};
    struct listing l = {.ctx = ctx, .values = v, .max = v->limit ? (size_t)v->limit : 50};
    struct ah_error err = {0};
    struct ah_json chosen = {0};
    char *answer = NULL;
    int code = 0;
    if (l.max > SCAN_COUNT)
        filter.limit = (int)l.max;
    if (has_choice(v))
        l.max = SCAN_COUNT;
    if (ah_store_runs(ctx->core->store, &filter, keep_run, &l, &err) != 0)
        code = ah_cmd_fail(ctx, &err);
    else if (has_choice(v) && !(answer = choose(&l, &err)))
        code = ah_cmd_fail_word(ctx, &err);
    if (answer)
        ah_json_check(answer, strlen(answer), 0, &chosen, NULL);
    if (code == 0)
        print_rows(&l, chosen);
    for (size_t i = 0; i < l.count; i++) {
        free(l.rows[i].line);
        free(l.rows[i].json);
    }
    free(l.rows);
    free(answer);
    ah_err_drop(&err);
    return code;
}

#define AT(field) offsetof(struct ls_values, field)
static const struct ah_option ls_options[] = {
    {.name = "--failed",
     .kind = AH_OPTION_FLAG,
     .offset = AT(failed),
     .help = "only runs that failed, crashed, or that LangSmith refuses: with its words"},
    {.name = "--limit",
     .kind = AH_OPTION_COUNT,
     .offset = AT(limit),
     .argument = "N",
     .min = 1,
     .max = LIMIT_MAX,
     .help = "at most so many, the newest"},
    {.name = "--name",
     .kind = AH_OPTION_TEXT,
     .offset = AT(name),
     .argument = "NAME",
     .help = "only runs of that name"},
    {.name = "--script",
     .kind = AH_OPTION_TEXT,
     .offset = AT(script),
     .argument = "PATH",
     .help = "of a script whose path ends so"},
    {.name = "--status",
     .kind = AH_OPTION_TEXT,
     .offset = AT(status),
     .argument = "STATUS",
     .help = "open, done, failed, crashed, waiting (for a person), resumed; local, unsent, sent, parked"},
    {.name = "--since",
     .kind = AH_OPTION_SECONDS,
     .offset = AT(since),
     .argument = "AGE",
     .help = "begun in the last 90s, 15m, 6h"},
    {.name = "--slower",
     .kind = AH_OPTION_SECONDS,
     .offset = AT(slower),
     .argument = "TIME",
     .help = "that took so long, or longer"},
    {.name = "--dearer",
     .kind = AH_OPTION_AMOUNT,
     .offset = AT(dearer),
     .argument = "USD",
     .help = "that cost so much, or more"},
    {.name = "--text",
     .kind = AH_OPTION_TEXT,
     .offset = AT(text),
     .argument = "TEXT",
     .help = "with this text in a span"},
    {.name = "--where",
     .kind = AH_OPTION_TEXT,
     .offset = AT(where),
     .argument = "EXPR",
     .help = "a Lua expression: 'cost > 0.1 and tags.red'"},
    {.name = "--with-tag",
     .kind = AH_OPTION_LIST,
     .offset = AT(tags),
     .argument = "TAG",
     .help = "with that tag (repeatable)"},
    {.name = "--with-meta",
     .kind = AH_OPTION_PAIRS,
     .offset = AT(meta),
     .argument = "K=V",
     .help = "with that metadata (repeatable)"},
    {0},
};
#undef AT

const struct ah_command ah_cmd_tracels = {.name = "ls",
                                          .summary = "the runs of this machine, newest first",
                                          .options = ls_options,
                                          .values = sizeof(struct ls_values),
                                          .run = run_ls,
                                          .needs_host = true,
                                          .reads_journal = true};
