/* A span's life: begun, told things, ended once. Called by services, lua_trace.c, and trace.c for the roots. Must
 * never fail a caller because tracing does: without memory a span lacks something, a script goes on. */
#include "hash.h"
#include "log.h"
#include "loop.h"
#include "replay.h"
#include "trace_put.h"

#include <stdlib.h>
#include <string.h>

#define TRACE_SPANS_COUNT 25000 /* LangSmith's limit of one trace */

/* --- one span's life ----------------------------------------------------------------------------- */

static void free_span(struct ah_span *s)
{
    struct ah_run *run = s->run;
    ah_trace_drop_members(&s->metadata);
    ah_trace_drop_members(&s->extra);
    ah_buf_drop(&s->tags);
    ah_buf_drop(&s->events);
    ah_buf_drop(&s->usage);
    ah_buf_drop(&s->attachments);
    ah_buf_drop(&s->inputs);
    free(s);
    ah_run_unref(run);
}

struct ah_span *ah_span_ref(struct ah_span *span)
{
    if (span)
        span->refs++;
    return span;
}

/* An open span that nobody holds any more is still in its run's list, and ends with the run. */
void ah_span_unref(struct ah_span *span)
{
    if (span && --span->refs == 0 && span->ended)
        free_span(span);
}

static void link_open(struct ah_span *s)
{
    s->next = s->run->open;
    if (s->next)
        s->next->prev = s;
    s->run->open = s;
}

static void unlink_open(struct ah_span *s)
{
    if (s->prev)
        s->prev->next = s->next;
    else
        s->run->open = s->next;
    if (s->next)
        s->next->prev = s->prev;
    s->next = s->prev = NULL;
}

/* The same as in a dotted_order: without the marks. */
static void put_dotted(struct ah_trace *t, int64_t us, char *out)
{
    char iso[AH_CLOCK_ISO_BYTES];
    ah_trace_put_iso(t, us, iso);
    for (const char *p = iso; *p; p++)
        if (*p != '-' && *p != ':' && *p != '.')
            *out++ = *p;
}

/* "PARENT.20261122T100000000120Z<id>" */
static void put_dotted_order(struct ah_trace *t, const char *above, size_t above_n, int64_t start_us,
                             const char *id, char *to)
{
    memcpy(to, above, above_n);
    if (above_n)
        to[above_n++] = '.';
    put_dotted(t, start_us, to + above_n);
    memcpy(to + above_n + AH_TRACE_DOTTED_N, id, AH_UUID_BYTES);
}

static void inherit(struct ah_span *s, const struct ah_span *parent)
{
    if (parent->tags.n)
        ah_buf_add(&s->tags, parent->tags.p, parent->tags.n);
    for (size_t i = 0; i < parent->metadata.count; i++)
        ah_trace_set_member(&s->metadata, parent->metadata.list[i].key, parent->metadata.list[i].json,
                            parent->metadata.list[i].n);
}

struct ah_span *ah_trace_new_span(struct ah_run *run, const struct ah_span *parent, enum ah_span_type type,
                                  const char *name, int64_t start_us, const char *id)
{
    const char *above = parent ? parent->dotted : run->above ? run->above : "";
    name = name && *name ? name : "span";
    size_t name_n = strlen(name), above_n = parent ? parent->dotted_n : strlen(above);
    size_t dotted_n = above_n + (above_n > 0) + AH_TRACE_DOTTED_N + AH_UUID_BYTES - 1;
    struct ah_span *s = malloc(sizeof *s + name_n + 1 + dotted_n + 1);
    if (!s)
        return NULL;
    char *texts = (char *)(s + 1);
    *s = (struct ah_span){.refs = 1,
                          .run = run,
                          .type = type,
                          .start_us = start_us,
                          .cost = -1,
                          .name = texts,
                          .name_n = name_n,
                          .dotted = texts + name_n + 1,
                          .dotted_n = dotted_n,
                          .tags.max = AH_TRACE_SMALL_BYTES,
                          .events.max = AH_TRACE_MASKED_BYTES,
                          .usage.max = AH_TRACE_SMALL_BYTES,
                          .attachments.max = AH_TRACE_MASKED_BYTES};
    run->refs++;
    memcpy(s->id, id, AH_UUID_BYTES);
    memcpy(texts, name, name_n + 1);
    put_dotted_order(run->trace, above, above_n, start_us, id, texts + name_n + 1);
    if (parent)
        inherit(s, parent);
    s->n = ++run->spans;
    if (run->spans == TRACE_SPANS_COUNT + 1)
        ah_log_once(
            run->trace->core->log, AH_ONCE_TRACE_LONG, AH_LOG_WARN,
            "this trace has more than %d spans, and LangSmith may not show the rest: begin runs of their own "
            "(trace.run) for parts of the work",
            TRACE_SPANS_COUNT);
    link_open(s);
    return s;
}

struct ah_span *ah_span_start(struct ah_run *run, struct ah_span *parent, enum ah_span_type type,
                              const char *name, const char *inputs, size_t n)
{
    if (!run || !run->traced || run->ended)
        return NULL;
    struct ah_trace *t = run->trace;
    struct ah_span *above = parent && parent->run == run ? parent : run->root;
    int64_t now = ah_trace_now(t);
    if (above && now < above->start_us)
        now = above->start_us; /* LangSmith refuses a child that begins before its parent */
    char id[AH_UUID_BYTES];
    ah_ids_uuid7(ah_loop_ids(t->core->loop), now, id);
    struct ah_span *s = ah_trace_new_span(run, above, type, name, now, id);
    if (s && t->replay && ah_replay_is_past(t->replay))
        ah_span_metadata(s, "replayed", "true", 4); /* its calls were made, and counted, by the run before */
    if (s)
        ah_trace_write_start(s, above, inputs, n);
    return s;
}

static void count_span(struct ah_span *s, bool failed)
{
    struct ah_run_totals *sum = &s->run->totals;
    sum->errors += failed && s != s->run->root;
    sum->tool_calls += s->type == AH_SPAN_TOOL;
    sum->input_tokens += s->input_tokens;
    sum->output_tokens += s->output_tokens;
    if (s->cost > 0)
        sum->cost += s->cost;
    if (s->type == AH_SPAN_LLM || s->type == AH_SPAN_EMBEDDING) {
        s->run->unpriced |= s->cost < 0 && !s->refused;
        sum->cost_known = !s->run->unpriced && (s->cost >= 0 || sum->cost_known);
        sum->model_calls++;
    }
}

/* outputs with "usage_metadata" as one more member. */
static void add_usage(const struct ah_span *s, const char *outputs, size_t n, struct ah_buf *to)
{
    struct ah_json object = {outputs, n, AH_JSON_OBJECT};
    while (n > 0 && outputs[n - 1] != '}')
        n--;
    if (n == 0) {
        ah_buf_adds(to, "{");
    } else if (ah_json_get(object, "usage_metadata").type != AH_JSON_NONE) {
        ah_buf_add(to, outputs, n);
        return;
    } else {
        ah_buf_add(to, outputs, n - 1);
        if (ah_json_count(object) > 0)
            ah_buf_addc(to, ',');
    }
    ah_buf_adds(to, "\"usage_metadata\":");
    ah_buf_add(to, s->usage.p, s->usage.n);
    ah_buf_addc(to, '}');
}

void ah_span_end(struct ah_span *span, const char *outputs, size_t n, const char *error)
{
    if (!ah_trace_is_open(span))
        return;
    struct ah_buf with_usage;
    ah_buf_init(&with_usage, AH_TRACE_MASKED_BYTES);
    if (span->usage.n) {
        ah_trace_set_member(&span->metadata, "usage_metadata", span->usage.p, span->usage.n);
        add_usage(span, outputs, outputs ? n : 0, &with_usage);
        if (!with_usage.failed) {
            outputs = with_usage.p;
            n = with_usage.n;
        }
    }
    span->ended = true; /* what cleans it may not end it again */
    span->run->shown |= !span->run->cleaner;
    count_span(span, error != NULL);
    ah_trace_write_end(span, ah_trace_now(span->run->trace), outputs, outputs ? n : 0, error);
    ah_buf_drop(&with_usage);
    unlink_open(span);
    if (span->refs == 0)
        free_span(span);
}

/* --- what is asked of it ------------------------------------------------------------------------- */

const char *ah_span_id(const struct ah_span *span)
{
    return span ? span->id : "";
}

const char *ah_span_name(const struct ah_span *span)
{
    return span ? span->name : "";
}

const char *ah_span_dotted_order(const struct ah_span *span)
{
    return span ? span->dotted : "";
}

void ah_span_baggage(const struct ah_span *span, struct ah_buf *tags, struct ah_buf *metadata)
{
    if (!span)
        return;
    if (span->tags.n)
        ah_buf_add(tags, span->tags.p, span->tags.n);
    ah_trace_quote_members(metadata, &span->metadata, "");
}

struct ah_run *ah_span_run(struct ah_span *span)
{
    return span ? span->run : NULL;
}

/* --- what is said of it -------------------------------------------------------------------------- */

bool ah_trace_is_open(const struct ah_span *span)
{
    return span && !span->ended;
}

void ah_span_metadata(struct ah_span *span, const char *key, const char *json, size_t n)
{
    if (ah_trace_is_open(span))
        ah_trace_set_member(&span->metadata, key, json, n);
}

void ah_span_metadata_str(struct ah_span *span, const char *key, const char *value)
{
    if (!ah_trace_is_open(span) || !value)
        return;
    struct ah_buf json;
    ah_buf_init(&json, AH_TRACE_SMALL_BYTES);
    if (ah_json_quote(&json, value, strlen(value)) == 0)
        ah_trace_set_member(&span->metadata, key, json.p, json.n);
    ah_buf_drop(&json);
}

void ah_span_extra(struct ah_span *span, const char *key, const char *json, size_t n)
{
    if (ah_trace_is_open(span))
        ah_trace_set_member(&span->extra, key, json, n);
}

void ah_span_set_inputs(struct ah_span *span, const char *inputs, size_t n)
{
    if (!ah_trace_is_open(span))
        return;
    ah_buf_drop(&span->inputs);
    ah_buf_init(&span->inputs, AH_TRACE_MASKED_BYTES);
    ah_buf_add(&span->inputs, inputs, n);
}

void ah_span_tag(struct ah_span *span, const char *tag)
{
    if (ah_trace_is_open(span) && tag)
        ah_trace_add_tag(&span->tags, tag);
}

void ah_span_event(struct ah_span *span, const char *name)
{
    ah_span_event_with(span, name, NULL, 0);
}

void ah_span_event_with(struct ah_span *span, const char *name, const char *json, size_t n)
{
    if (!ah_trace_is_open(span))
        return;
    char iso[AH_CLOCK_ISO_BYTES];
    ah_trace_put_iso(span->run->trace, ah_trace_now(span->run->trace), iso);
    size_t before = span->events.n;
    ah_buf_adds(&span->events, span->events.n ? ",{\"name\":" : "{\"name\":");
    ah_json_quote(&span->events, name, strlen(name));
    ah_buf_addf(&span->events, ",\"time\":\"%s\"", iso);
    if (json && n) {
        bool deep = ah_trace_is_deep(json, n);
        ah_buf_adds(&span->events, deep ? ",\"kwargs\":{\"deep\":" : ",\"kwargs\":");
        if (deep)
            ah_json_quote(&span->events, json, n);
        else
            ah_buf_add(&span->events, json, n);
        ah_buf_adds(&span->events, deep ? "}" : "");
    }
    if (ah_buf_addc(&span->events, '}') != 0) /* half an event would make the whole span unreadable */
        span->events.n = before;
}

int ah_span_attach(struct ah_span *span, const char *name, const char *type, const char *p, size_t n)
{
    if (!*name || strpbrk(name, ".\"\\\r\n") || strpbrk(type, "\"\\\r\n") || n > AH_ATTACHMENT_BYTES)
        return -1;
    if (!ah_trace_is_open(span))
        return 0;
    struct ah_buf *to = &span->attachments;
    p = ah_trace_mask(span->run->trace, p, &n); /* in base64 nobody would know it */
    ah_buf_adds(to, to->n ? "," : "");
    ah_json_quote(to, name, strlen(name));
    ah_buf_adds(to, ":{\"type\":");
    ah_json_quote(to, type, strlen(type));
    ah_buf_adds(to, ",\"data\":\"");
    size_t size = (n + 2) / 3 * 4 + 1;
    char *data = ah_buf_reserve(to, size);
    int got = data ? ah_hash_base64_encode(p, n, data, size) : -1;
    to->n += got > 0 ? (size_t)got : 0;
    ah_buf_adds(to, "\"}");
    return 0;
}

void ah_span_usage(struct ah_span *span, const char *usage_metadata, size_t n, int64_t input_tokens,
                   int64_t output_tokens, double cost)
{
    if (!ah_trace_is_open(span))
        return;
    ah_buf_clear(&span->usage);
    ah_buf_add(&span->usage, usage_metadata, n);
    span->input_tokens = input_tokens;
    span->output_tokens = output_tokens;
    span->cost = cost;
}

void ah_span_refused(struct ah_span *span)
{
    if (ah_trace_is_open(span))
        span->refused = true;
}
