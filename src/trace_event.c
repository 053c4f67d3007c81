/* The two events of a span: the start with what is known then, the end with all the rest, complete. They carry
 * everything that LangSmith wants of a run. Called by trace.c and trace_span.c. Must never begin an event before its
 * cleaner has run: a cleaner may write events of its own. */
#include "trace_put.h"

#include <stdio.h>
#include <string.h>

static const char *const type_names[] = {"chain",     "llm",    "tool",  "retriever",
                                         "embedding", "prompt", "parser"};

int ah_span_type_of(const char *name)
{
    for (size_t i = 0; name && i < sizeof type_names / sizeof *type_names; i++)
        if (strcmp(type_names[i], name) == 0)
            return (int)i;
    return -1;
}

static char *add_bytes(char *to, const char *p, size_t n)
{
    memcpy(to, p, n);
    return to + n;
}

#define ADD(to, literal) add_bytes(to, literal, sizeof literal - 1)

enum { HEAD_BYTES = 400 }; /* of what put_head writes beside the dotted_order */

/* What is known of every span and needs no mask, up to its name. */
static void put_head(struct ah_span *s, const char *parent_id)
{
    struct ah_store *store = s->run->trace->store;
    char *head = ah_store_room(store, HEAD_BYTES + s->dotted_n), *to = head;
    if (!head)
        return;
    to = add_bytes(ADD(to, "{\"id\":\""), s->id, AH_UUID_BYTES - 1);
    to = add_bytes(ADD(to, "\",\"trace_id\":\""), s->run->trace_id, AH_UUID_BYTES - 1);
    if (parent_id)
        to = add_bytes(ADD(to, "\",\"parent_run_id\":\""), parent_id, AH_UUID_BYTES - 1);
    to = add_bytes(ADD(to, "\",\"dotted_order\":\""), s->dotted, s->dotted_n);
    to = ADD(to, "\",\"name\":");
    ah_store_used(store, (size_t)(to - head));
}

/* ... and behind its name. */
static void put_type_and_start(struct ah_span *s)
{
    struct ah_store *store = s->run->trace->store;
    char iso[AH_CLOCK_ISO_BYTES], *head = ah_store_room(store, HEAD_BYTES), *to = head;
    if (!head)
        return;
    ah_trace_put_iso(s->run->trace, s->start_us, iso);
    to = ADD(to, ",\"run_type\":\"");
    to = add_bytes(to, type_names[s->type], strlen(type_names[s->type]));
    to = add_bytes(ADD(to, "\",\"start_time\":\""), iso, AH_TRACE_ISO_N);
    to = ADD(to, "\"");
    ah_store_used(store, (size_t)(to - head));
}

/* Of a root; the others repeat theirs at their end only. */
static void put_root(struct ah_span *s)
{
    struct ah_trace *t = s->run->trace;
    ah_trace_put_list(t, ",\"tags\":", &s->tags);
    if (s->run->example)
        ah_trace_put_field(t->store, ",\"reference_example_id\":\"", s->run->example, AH_UUID_BYTES - 1);
    if (s->metadata.count) {
        ah_store_puts(t->store, ",\"metadata\":{");
        ah_trace_put_members(t, &s->metadata, "");
        ah_store_puts(t->store, "}");
    }
}

void ah_trace_write_start(struct ah_span *s, const struct ah_span *parent, const char *inputs, size_t n)
{
    struct ah_trace *t = s->run->trace;
    const char *above = s->run->above, *parent_id = parent ? parent->id : NULL;
    struct ah_buf clean;
    ah_buf_init(&clean, AH_TRACE_MASKED_BYTES);
    if (s->run->cleaner) /* before the event is begun: it may write events of its own */
        ah_trace_clean_member(s->run, "inputs", inputs, n, &clean);
    if (!parent && above)
        parent_id = above + strlen(above) - (AH_UUID_BYTES - 1);
    ah_store_begin(t->store, s->run->key, s->n, AH_EV_SPAN_START, s->start_us);
    put_head(s, parent_id);
    ah_trace_put_str(t, s->name, s->name_n);
    put_type_and_start(s);
    if (!parent)
        put_root(s);
    ah_store_puts(t->store, ",\"inputs\":");
    ah_trace_put_json(t, inputs && n ? inputs : "{}", inputs && n ? n : 2, true);
    ah_trace_put_clean(s->run, &clean);
    ah_store_puts(t->store, "}");
    ah_store_end(t->store);
    ah_buf_drop(&clean);
}

static void put_extra(struct ah_span *s)
{
    struct ah_trace *t = s->run->trace;
    if (!s->metadata.count && !s->extra.count)
        return;
    ah_store_puts(t->store, ",\"extra\":{\"metadata\":{");
    ah_trace_put_members(t, &s->metadata, "");
    ah_store_puts(t->store, "}");
    ah_trace_put_members(t, &s->extra, ",");
    ah_store_puts(t->store, "}");
}

/* All that a span's end says, cleaned. */
static void clean_end(struct ah_span *s, const char *outputs, size_t n, const char *error, struct ah_buf *to)
{
    struct ah_buf text;
    if (s == s->run->root && !s->inputs.n) /* it began before anybody could say what may be seen */
        ah_trace_clean_member(s->run, "inputs", s->run->inputs.p, s->run->inputs.n, to);
    ah_trace_clean_member(s->run, "inputs", s->inputs.p, s->inputs.n, to);
    ah_trace_clean_member(s->run, "outputs", outputs, n, to);
    ah_buf_init(&text, AH_TRACE_MASKED_BYTES);
    if (error && ah_json_quote(&text, error, strlen(error)) == 0)
        ah_trace_clean_member(s->run, "error", text.p, text.n, to);
    ah_buf_clear(&text);
    ah_buf_adds(&text, "{\"metadata\":{");
    ah_trace_quote_members(&text, &s->metadata, "");
    ah_buf_addc(&text, '}');
    ah_trace_quote_members(&text, &s->extra, ",");
    ah_buf_addc(&text, '}');
    ah_trace_clean_member(s->run, "extra", text.p, text.n, to);
    ah_buf_clear(&text);
    if (s->events.n) {
        ah_buf_addf(&text, "[");
        ah_buf_add(&text, s->events.p, s->events.n);
        ah_buf_addc(&text, ']');
        ah_trace_clean_member(s->run, "events", text.p, text.n, to);
    }
    ah_buf_drop(&text);
}

static void put_totals(struct ah_trace *t, int64_t input, int64_t output, double cost)
{
    char text[160];
    int n = snprintf(text, sizeof text, ",\"totals\":{\"input_tokens\":%lld,\"output_tokens\":%lld",
                     (long long)input, (long long)output);
    ah_store_put(t->store, text, (size_t)n);
    if (cost >= 0) {
        n = snprintf(text, sizeof text, ",\"cost\":%.10g", cost);
        ah_store_put(t->store, text, (size_t)n);
    }
    ah_store_puts(t->store, "}");
}

static void put_span_totals(struct ah_span *s)
{
    const struct ah_run_totals *sum = &s->run->totals;
    if (s == s->run->root) {
        if (sum->model_calls)
            put_totals(s->run->trace, sum->input_tokens, sum->output_tokens,
                       sum->cost_known ? sum->cost : -1);
    } else if (s->usage.n || s->cost >= 0) {
        put_totals(s->run->trace, s->input_tokens, s->output_tokens, s->cost);
    }
}

void ah_trace_write_end(struct ah_span *span, int64_t now, const char *outputs, size_t n, const char *error)
{
    struct ah_trace *t = span->run->trace;
    char iso[AH_CLOCK_ISO_BYTES];
    struct ah_buf clean;
    ah_buf_init(&clean, AH_TRACE_MASKED_BYTES);
    if (span->run->cleaner)
        clean_end(span, outputs, n, error, &clean);
    ah_trace_put_iso(t, now > span->start_us ? now : span->start_us, iso);
    ah_store_begin(t->store, span->run->key, span->n, AH_EV_SPAN_END, now);
    ah_trace_put_field(t->store, "{\"end_time\":\"", iso, AH_TRACE_ISO_N);
    if (span->inputs.n) {
        ah_store_puts(t->store, ",\"inputs\":");
        ah_trace_put_json(t, span->inputs.p, span->inputs.n, true);
    }
    if (outputs && n) {
        ah_store_puts(t->store, ",\"outputs\":");
        ah_trace_put_json(t, outputs, n, true);
    }
    if (error) {
        ah_store_puts(t->store, ",\"error\":");
        ah_trace_put_text(t, error);
    }
    ah_trace_put_list(t, ",\"events\":", &span->events);
    ah_trace_put_list(t, ",\"tags\":", &span->tags);
    put_extra(span);
    if (span->attachments.n) {
        ah_store_puts(t->store, ",\"attachments\":");
        ah_trace_put_object(t, &span->attachments);
    }
    if (span == span->run->root && span->run->renamed) {
        ah_store_puts(t->store, ",\"name\":");
        ah_trace_put_text(t, span->run->name);
    }
    put_span_totals(span);
    ah_trace_put_clean(span->run, &clean);
    ah_store_puts(t->store, "}");
    ah_store_end(t->store);
    ah_buf_drop(&clean);
}
