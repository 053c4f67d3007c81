/* agenthost trace diff, tail, export, gc: two runs beside each other, what happens now, runs for others, and less of
 * them. What is compared and how it is exported is Lua (scripts/reading). Changes nothing but `gc`. */
#include "clock.h"
#include "cmd_trace.h"
#include "json.h"
#include "loop.h"
#include "lsspans.h"
#include "op.h"
#include "shapes.h"
#include "tracing.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RUN_BYTES ((size_t)1 << 30)
#define POLL_MS 300
#define LINE_BYTES 400 /* of a text on a line */
#define DAY_US ((int64_t)86400 * 1000000)

/* --- runs as JSON --------------------------------------------------------------------------------------- */

struct writing {
    struct ah_cmd_ctx *ctx;
    struct ah_buf *to;
    const char *between;
    size_t begin;
};

static int write_span(void *arg, struct ah_lswire_run *run)
{
    struct writing *w = arg;
    ah_tracing_rules(w->ctx->core->tracing, &run->rules);
    if (w->to->n > w->begin)
        ah_buf_adds(w->to, w->between);
    ah_lswire_object(w->to, run);
    return w->to->failed;
}

/* The spans of a run, one object each, `between` between them. */
static int write_spans(struct ah_cmd_ctx *ctx, const char *id, const char *between, struct ah_buf *to,
                       struct ah_error *err)
{
    struct ah_cmd_trace_run run;
    struct writing w = {ctx, to, between, to->n};
    if (ah_cmd_trace_find(ctx, id, &run, err) != 0)
        return -1;
    if (ah_lsspans_each(ctx->core->store, run.key, run.project, write_span, &w, err) != 0)
        return -1;
    return to->failed ? ah_err_set(err, AH_MEMORY, "the run is too large") : 0;
}

/* The text that a function of scripts/reading makes; NULL: err. */
static char *call_text(struct ah_cmd_ctx *ctx, const char *module, const char *function,
                       const struct ah_buf *args, struct ah_error *err)
{
    struct ah_json v;
    char *answer = args->failed ? NULL : ah_host_call(ctx->host, module, function, ah_buf_str(args), err);
    char *text = answer && ah_json_check(answer, strlen(answer), 0, &v, err) == 0 ? ah_json_dup(v) : NULL;
    free(answer);
    if (!text && err->kind == AH_NONE)
        ah_err_set(err, AH_MEMORY, "the run is too large");
    return text;
}

/* rc: whether the runs were there. */
static int print_text(struct ah_cmd_ctx *ctx, int rc, char *text, struct ah_error *err)
{
    int code = 0;
    if (text)
        fputs(text, ctx->out);
    else if (rc != 0)
        code = ah_cmd_fail_word(ctx, err);
    else
        code = ah_cmd_fail(ctx, err);
    free(text);
    ah_err_drop(err);
    return code;
}

/* --- diff -------------------------------------------------------------------------------------------------- */

static int run_diff(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    struct ah_error err = {0};
    struct ah_buf args;
    char *text = NULL;
    (void)argc;
    ah_buf_init(&args, RUN_BYTES);
    ah_buf_adds(&args, "{\"a\":[");
    int rc = write_spans(ctx, argv[0], ",", &args, &err);
    ah_buf_adds(&args, "],\"b\":[");
    if (rc == 0)
        rc = write_spans(ctx, argv[1], ",", &args, &err);
    ah_buf_addf(&args, "],\"json\":%s}", ctx->json ? "true" : "false");
    if (rc == 0)
        text = call_text(ctx, "reading.diff", "text", &args, &err);
    ah_buf_drop(&args);
    return print_text(ctx, rc, text, &err);
}

/* --- export ------------------------------------------------------------------------------------------------ */

struct export_values {
    const char *format, *to;
    const char *headers[AH_OPTIONS_REPEAT_MAX + 1];
};
static const struct ah_option export_options[] = {
    {.name = "--format",
     .kind = AH_OPTION_TEXT,
     .offset = offsetof(struct export_values, format),
     .argument = "FORMAT",
     .help = "jsonl (a span a line, as LangSmith has it) or otlp (OpenTelemetry, JSON)",
     .preset = "jsonl"},
    {.name = "--to",
     .kind = AH_OPTION_TEXT,
     .offset = offsetof(struct export_values, to),
     .argument = "URL",
     .help = "with otlp: send it there, http://localhost:4318/v1/traces"},
    {.name = "--header",
     .kind = AH_OPTION_PAIRS,
     .offset = offsetof(struct export_values, headers),
     .argument = "NAME=VALUE",
     .help = "with --to: a header (repeatable)"},
    {0},
};

static int export_lines(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    struct ah_error err = {0};
    int code = 0;
    for (int i = 0; i < argc && code == 0; i++) {
        struct ah_buf b;
        ah_buf_init(&b, RUN_BYTES);
        if (write_spans(ctx, argv[i], "\n", &b, &err) != 0)
            code = ah_cmd_fail_word(ctx, &err);
        else if (b.n)
            fprintf(ctx->out, "%s\n", ah_buf_str(&b));
        ah_buf_drop(&b);
    }
    ah_err_drop(&err);
    return code;
}

static int export_otlp(struct ah_cmd_ctx *ctx, const struct export_values *v, int argc, char **argv)
{
    struct ah_error err = {0};
    struct ah_buf args;
    char *text = NULL;
    int rc = 0;
    ah_buf_init(&args, RUN_BYTES);
    ah_buf_adds(&args, "{\"spans\":[");
    for (int i = 0; i < argc && rc == 0; i++) {
        ah_buf_adds(&args, i ? "," : "");
        rc = write_spans(ctx, argv[i], ",", &args, &err);
    }
    ah_buf_adds(&args, "],\"headers\":[");
    for (size_t i = 0; v->headers[i]; i++) {
        ah_buf_adds(&args, i ? "," : "");
        ah_json_quote(&args, v->headers[i], strlen(v->headers[i]));
    }
    ah_buf_adds(&args, "]");
    if (v->to) {
        ah_buf_adds(&args, ",\"to\":");
        ah_json_quote(&args, v->to, strlen(v->to));
    }
    ah_buf_adds(&args, "}");
    if (rc == 0)
        text = call_text(ctx, "reading.otlp", "export", &args, &err);
    ah_buf_drop(&args);
    return print_text(ctx, rc, text, &err);
}

static int run_export(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    const struct export_values *v = ctx->values;
    bool otlp = strcmp(v->format, "otlp") == 0;
    if (!otlp && strcmp(v->format, "jsonl") != 0)
        return ah_cmd_usage(ctx, "--format is jsonl or otlp");
    if (v->to && !otlp)
        return ah_cmd_usage(ctx, "--to goes with --format otlp");
    return otlp ? export_otlp(ctx, v, argc, argv) : export_lines(ctx, argc, argv);
}

/* --- tail --------------------------------------------------------------------------------------------------- */

struct tail_values {
    const char *run;
    double seconds;
};
static const struct ah_option tail_options[] = {
    {.name = "--for",
     .kind = AH_OPTION_SECONDS,
     .offset = offsetof(struct tail_values, seconds),
     .argument = "TIME",
     .help = "only so long; else until Ctrl-C"},
    {0},
};

/* One event, copied out of the journal. */
struct seen {
    struct ah_buf body;
    enum ah_event_kind kind;
    int64_t at, start_seq;
};

static int copy_event(void *arg, const struct ah_store_event *ev)
{
    struct seen *s = arg;
    s->kind = ev->kind;
    s->at = ev->at;
    s->start_seq = ev->start_seq;
    ah_buf_clear(&s->body);
    return ah_buf_add(&s->body, ev->body, ev->n);
}

/* 0: it is there. */
static int read_event(struct ah_cmd_ctx *ctx, int64_t seq, struct seen *to)
{
    struct ah_error err = {0};
    int rc = ah_store_event_at(ctx->core->store, seq, copy_event, to, &err);
    ah_err_drop(&err);
    return rc;
}

static void print_field(FILE *out, struct ah_json v, const char *before)
{
    struct ah_buf b;
    char *text = ah_json_dup(v);
    size_t n;
    ah_buf_init(&b, RUN_BYTES);
    if (text)
        ah_shapes_mask(text, strlen(text), &b); /* before it is cut: half a credential looks like none */
    for (n = 0; n < b.n; n++)
        b.p[n] = (unsigned char)b.p[n] < 32 || b.p[n] == 127 ? ' ' : b.p[n];
    if (n > LINE_BYTES)
        for (n = LINE_BYTES; n > 0 && ((unsigned char)b.p[n] & 0xc0) == 0x80; n--)
            ;
    fprintf(out, "%s%.*s", before, (int)n, ah_buf_str(&b));
    free(text);
    ah_buf_drop(&b);
}

static void print_event(struct ah_cmd_ctx *ctx, struct seen *ev)
{
    struct ah_json body, start = {0};
    struct seen first = {.kind = AH_EV_SPAN_START};
    char clock[32] = "";
    time_t s = (time_t)(ev->at / 1000000);
    struct tm tm;
    if ((ev->kind != AH_EV_SPAN_START && ev->kind != AH_EV_SPAN_END) ||
        ah_json_check(ah_buf_str(&ev->body), ev->body.n, 0, &body, NULL) != 0)
        return;
    ah_buf_init(&first.body, RUN_BYTES);
    if (ev->kind == AH_EV_SPAN_END && read_event(ctx, ev->start_seq, &first) == 0)
        ah_json_check(ah_buf_str(&first.body), first.body.n, 0, &start, NULL);
    if (localtime_r(&s, &tm))
        strftime(clock, sizeof clock, "%H:%M:%S", &tm);
    struct ah_json of = ev->kind == AH_EV_SPAN_END ? start : body;
    char trace[AH_UUID_BYTES] = "";
    ah_json_copy(ah_json_get(of, "trace_id"), trace, sizeof trace);
    fprintf(ctx->out, "%s  %s  %s", clock, trace + (strlen(trace) > 8 ? strlen(trace) - 8 : 0),
            ev->kind == AH_EV_SPAN_START ? "begins" : "ends  ");
    print_field(ctx->out, ah_json_get(of, "run_type"), "  ");
    print_field(ctx->out, ah_json_get(of, "name"), "  ");
    if (ev->kind == AH_EV_SPAN_END)
        fprintf(ctx->out, "  %lld ms", (long long)((ev->at - first.at) / 1000));
    struct ah_json error = ah_json_get(body, "error"), clean = ah_json_get(body, "clean");
    if (error.type == AH_JSON_STRING && clean.type == AH_JSON_NONE)
        print_field(ctx->out, error, "  error: ");
    else if (error.type == AH_JSON_STRING) /* what the anonymizer made of it, or nothing */
        print_field(ctx->out, ah_json_get(clean, "error"), "  error: ");
    fputc('\n', ctx->out);
    fflush(ctx->out);
    ah_buf_drop(&first.body);
}

static int run_tail(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    const struct tail_values *v = ctx->values;
    struct ah_error err = {0};
    struct ah_cmd_trace_run last = {0};
    struct seen ev = {.kind = AH_EV_SPAN_START};
    int64_t until = ah_clock_mono_us() + (int64_t)(v->seconds * 1e6), seq = 0;
    (void)argc;
    (void)argv;
    ah_buf_init(&ev.body, RUN_BYTES);
    if (ah_cmd_trace_find(ctx, "last", &last, &err) == 0)
        seq = last.first_seq;
    ah_err_drop(&err);
    while (seq && read_event(ctx, seq, &ev) == 0) /* what happened before is no news */
        seq++;
    if (!seq)
        seq = 1;
    while (!*ctx->interrupted && !ferror(ctx->out) && (v->seconds <= 0 || ah_clock_mono_us() < until)) {
        for (; read_event(ctx, seq, &ev) == 0; seq++)
            print_event(ctx, &ev);
        struct ah_op *pause = ah_op_sleep(ctx->core->loop, POLL_MS);
        if (!pause)
            break;
        ah_cmd_wait(ctx, pause);
        ah_op_unref(pause);
    }
    ah_buf_drop(&ev.body);
    return *ctx->interrupted ? 130 : 0;
}

/* --- gc ------------------------------------------------------------------------------------------------------- */

struct gc_values {
    double days;
    long megabytes;
    bool undelivered;
};
static const struct ah_option gc_options[] = {
    {.name = "--older",
     .kind = AH_OPTION_AMOUNT,
     .offset = offsetof(struct gc_values, days),
     .argument = "DAYS",
     .help = "runs that ended before that"},
    {.name = "--size",
     .kind = AH_OPTION_COUNT,
     .offset = offsetof(struct gc_values, megabytes),
     .argument = "MB",
     .min = 1,
     .max = 1000000,
     .help = "then the oldest, until the journal holds less"},
    {.name = "--undelivered",
     .kind = AH_OPTION_FLAG,
     .offset = offsetof(struct gc_values, undelivered),
     .help = "also runs that wait to be sent"},
    {0},
};

static int run_gc(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    const struct gc_values *v = ctx->values;
    struct ah_error err = {0};
    struct ah_store_gc_result done = {0};
    struct ah_store_gc gc = {.max_bytes = v->megabytes * 1048576, .undelivered = v->undelivered};
    int code = 0;
    (void)argc;
    (void)argv;
    if (v->days <= 0 && !v->megabytes)
        return ah_cmd_usage(ctx, "say what may go: --older DAYS, --size MB");
    if (v->days > 0)
        gc.older_than =
            ah_clock_wall_us(ah_loop_clock(ctx->core->loop)) - (int64_t)(v->days * (double)DAY_US);
    if (ah_store_gc(ctx->core->store, &gc, &done, &err) != 0)
        code = ah_cmd_fail(ctx, &err);
    else
        fprintf(ctx->out,
                ctx->json ? "{\"runs\":%lld,\"events\":%lld,\"texts\":%lld}\n"
                          : "%lld runs, %lld events, %lld texts removed\n",
                (long long)done.runs, (long long)done.events, (long long)done.blobs);
    ah_err_drop(&err);
    return code;
}

/* --- the commands ---------------------------------------------------------------------------------------------- */

const struct ah_command ah_cmd_traceread_diff = {.name = "diff",
                                                 .words = "RUN RUN",
                                                 .summary = "what differs: prompts, models, tools, answers",
                                                 .missing = "which two runs? `agenthost trace ls` lists them",
                                                 .min_words = 2,
                                                 .max_words = 2,
                                                 .complete = AH_COMPLETE_RUN,
                                                 .run = run_diff,
                                                 .needs_host = true,
                                                 .reads_journal = true};
const struct ah_command ah_cmd_traceread_tail = {.name = "tail",
                                                 .summary = "spans of all processes as they begin and end",
                                                 .options = tail_options,
                                                 .values = sizeof(struct tail_values),
                                                 .run = run_tail,
                                                 .needs_host = true,
                                                 .reads_journal = true};
const struct ah_command ah_cmd_traceread_export = {.name = "export",
                                                   .words = "RUN...",
                                                   .summary = "runs as JSON lines, or to OpenTelemetry",
                                                   .missing = "which runs? `agenthost trace ls` lists them",
                                                   .min_words = 1,
                                                   .max_words = -1,
                                                   .complete = AH_COMPLETE_RUN,
                                                   .options = export_options,
                                                   .values = sizeof(struct export_values),
                                                   .run = run_export,
                                                   .needs_host = true,
                                                   .reads_journal = true};
const struct ah_command ah_cmd_traceread_gc = {.name = "gc",
                                               .summary = "remove old runs from the journal",
                                               .options = gc_options,
                                               .values = sizeof(struct gc_values),
                                               .run = run_gc,
                                               .needs_host = true,
                                               .reads_journal = true};
