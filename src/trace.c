/* Runs, spans and effects, written into the journal as events. Called by services and by lua_trace.c.
 *
 * Spans carry everything that LangSmith wants of a run (spec/langsmith-api.md 2 and 4): the start
 * event what is known then, the end event all the rest, complete. Registered secrets are masked here.
 * Must never wait, never send, and never fail a caller because tracing does. */
#include "trace.h"

#include "buf.h"
#include "clock.h"
#include "hash.h"
#include "json.h"
#include "limits.h"
#include "log.h"
#include "loop.h"
#include "replay.h"
#include "secret.h"
#include "store.h"
#include "tracing.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MASKED_BYTES ((size_t)256 << 20)
#define ABOVE_BYTES 8192
#define TRACE_SPANS_COUNT 25000        /* LangSmith's limit of one trace */
#define SMALL_BYTES ((size_t)16 << 20) /* tags, events, usage of one span */
/* So long after its begin a run takes no first cleaner: its root is about to be sent. */
#define CLEANER_MS (AH_TRACE_EARLY_MS - 1000)
#define CLEANER_WAIT_MS 500

/* Members of an object, by key: metadata, extra. Later values replace earlier ones. */
struct member {
    char *key, *json;
    size_t n;
};
struct members {
    struct member *list;
    size_t count;
};

/* Counted: runs inside a run have the same. */
struct cleaner {
    int refs;
    bool busy; /* it runs: what it starts itself is withheld */
    struct ah_run_cleaner call;
};

struct ah_span {
    int refs;
    struct ah_run *run; /* counted */
    int64_t n;          /* 1 is the root */
    int64_t start_us;
    enum ah_span_type type;
    bool ended;
    char id[AH_UUID_BYTES];
    const char *name, *dotted; /* behind the span, in its own memory */
    size_t name_n, dotted_n;
    struct ah_span *next, *prev; /* the run's open spans, newest first; holds no reference */
    struct members metadata, extra;
    struct ah_buf tags, events, usage; /* members of JSON arrays; JSON object */
    struct ah_buf attachments;         /* members of a JSON object */
    struct ah_buf inputs;              /* JSON object that replaces the start's; empty = none */
    int64_t input_tokens, output_tokens;
    double cost;
};

struct ah_run {
    int refs;
    struct ah_trace *trace;
    int64_t key, start_us, spans, effects;
    bool traced, sends, ended, renamed;
    char id[AH_UUID_BYTES], trace_id[AH_UUID_BYTES];
    char *name, *identifier, *project;
    char *above; /* dotted_order of a parent elsewhere, or NULL */
    char *example;
    bool sampled, wanted, kept_local; /* wanted: it would be sent, as far as its start says */
    bool shown;                       /* a span ended without a cleaner: it may have been sent */
    int64_t began_us;                 /* by a clock that nobody sets */
    struct cleaner *cleaner;
    struct ah_buf inputs; /* what the root began with */
    struct ah_buf tags;   /* members of a JSON array, where there is no root that has them */
    struct ah_span *root, *open;
    struct ah_run_totals totals;
};

struct ah_trace {
    struct ah_core *core;
    struct ah_store *store;
    int runs;
    EVP_MD *md;
    EVP_MD_CTX *digest;
    struct ah_buf masked;
    struct ah_replay *replay;
    int64_t second; /* whose text `iso` is; times of one second differ in six digits */
    char iso[AH_CLOCK_ISO_BYTES];
};

struct ah_effect {
    struct ah_run *run; /* counted */
    int64_t n, span;
    bool answered; /* by an earlier process: there is nothing to journal */
    struct ah_effect_answer answer;
    char *body;
};

static const char *const type_names[] = {"chain",     "llm",    "tool",  "retriever",
                                         "embedding", "prompt", "parser"};

int ah_span_type_of(const char *name)
{
    for (size_t i = 0; name && i < sizeof type_names / sizeof *type_names; i++)
        if (strcmp(type_names[i], name) == 0)
            return (int)i;
    return -1;
}

/* --- small things ---------------------------------------------------------------------------- */

static int64_t wall_now(struct ah_trace *t)
{
    return ah_clock_wall_us(ah_loop_clock(t->core->loop));
}

enum { ISO_N = 27, DOTTED_N = 22, ISO_DIGITS = 20 }; /* lengths; where the six digits begin */

/* "2026-11-22T10:00:00.000120Z", three times a span: so only the digits are made anew. */
static void put_iso(struct ah_trace *t, int64_t us, char out[AH_CLOCK_ISO_BYTES])
{
    if (us < 0 || us / 1000000 != t->second || !t->iso[0]) {
        ah_clock_iso(us, t->iso);
        t->second = us / 1000000;
    }
    memcpy(out, t->iso, ISO_N + 1);
    int64_t digits = us < 0 ? 0 : us % 1000000;
    for (int i = ISO_DIGITS + 5; us >= 0 && i >= ISO_DIGITS; i--, digits /= 10)
        out[i] = (char)('0' + digits % 10);
}

/* The same as in a dotted_order: without the marks. */
static void put_dotted(struct ah_trace *t, int64_t us, char *out)
{
    char iso[AH_CLOCK_ISO_BYTES];
    put_iso(t, us, iso);
    for (const char *p = iso; *p; p++)
        if (*p != '-' && *p != ':' && *p != '.')
            *out++ = *p;
}

static void drop_members(struct members *m)
{
    for (size_t i = 0; i < m->count; i++) {
        free(m->list[i].key);
        free(m->list[i].json);
    }
    free(m->list);
    *m = (struct members){0};
}

static char *copy_bytes(const char *p, size_t n)
{
    char *copy = malloc(n + 1);
    if (copy) {
        memcpy(copy, p, n);
        copy[n] = '\0';
    }
    return copy;
}

/* Without memory the member is left out: a trace may lack something, a script must go on. */
static void set_member(struct members *m, const char *key, const char *json, size_t n)
{
    char *copy = copy_bytes(json, n);
    if (!copy)
        return;
    for (size_t i = 0; i < m->count; i++) {
        if (strcmp(m->list[i].key, key) == 0) {
            free(m->list[i].json);
            m->list[i].json = copy;
            m->list[i].n = n;
            return;
        }
    }
    struct member *list = realloc(m->list, (m->count + 1) * sizeof *list);
    m->list = list ? list : m->list;
    char *name = list ? strdup(key) : NULL;
    if (!name) {
        free(copy);
        return;
    }
    m->list[m->count++] = (struct member){name, copy, n};
}

static void add_members(struct members *m, const char *json, size_t n)
{
    struct ah_json object;
    if (!json || ah_json_check(json, n, 0, &object, NULL) != 0 || object.type != AH_JSON_OBJECT)
        return;
    for (struct ah_json_iter it = ah_json_iter(object); ah_json_next(&it);) {
        char *key = ah_json_dup(it.key);
        if (key)
            set_member(m, key, it.value.p, it.value.n);
        free(key);
    }
}

/* --- writing with secrets masked ------------------------------------------------------------------ */

/* The text, or its masked copy (valid until the next call). */
static const char *mask(struct ah_trace *t, const char *p, size_t *n)
{
    if (!t->core->secrets || !ah_secret_found(t->core->secrets, p, *n))
        return p;
    ah_buf_clear(&t->masked);
    ah_secret_mask(t->core->secrets, p, *n, &t->masked);
    *n = t->masked.n;
    return ah_buf_str(&t->masked);
}

static void put_str(struct ah_trace *t, const char *text, size_t n)
{
    const char *p = mask(t, text, &n);
    ah_store_put_str(t->store, p, n);
}

static void put_text(struct ah_trace *t, const char *text)
{
    put_str(t, text, strlen(text));
}

/* A JSON value. A mask inside a number makes it no JSON: then its text is kept as a string. */
static void put_json(struct ah_trace *t, const char *json, size_t n, bool object)
{
    const char *p = mask(t, json, &n);
    if (p != json && ah_json_check(p, n, 0, NULL, NULL) != 0) {
        ah_store_puts(t->store, object ? "{\"masked\":" : "");
        ah_store_put_str(t->store, p, n);
        ah_store_puts(t->store, object ? "}" : "");
    } else if (object) {
        ah_store_put_object(t->store, p, n);
    } else {
        ah_store_put_json(t->store, p, n);
    }
}

static void put_members(struct ah_trace *t, const struct members *m, const char *comma)
{
    for (size_t i = 0; i < m->count; i++, comma = ",") {
        ah_store_puts(t->store, comma);
        put_text(t, m->list[i].key);
        ah_store_puts(t->store, ":");
        put_json(t, m->list[i].json, m->list[i].n, false);
    }
}

static void add_texts(struct ah_buf *to, const struct members *m, const char *comma)
{
    for (size_t i = 0; i < m->count; i++, comma = ",") {
        ah_buf_adds(to, comma);
        ah_json_quote(to, m->list[i].key, strlen(m->list[i].key));
        ah_buf_addc(to, ':');
        ah_buf_add(to, m->list[i].json, m->list[i].n);
    }
}

static void put_list(struct ah_trace *t, const char *key, const struct ah_buf *items)
{
    if (items->n == 0)
        return;
    size_t n = items->n;
    const char *p = mask(t, items->p, &n);
    ah_store_puts(t->store, key);
    ah_store_puts(t->store, "[");
    ah_store_put(t->store, p, n);
    ah_store_puts(t->store, "]");
}

/* --- what may be seen of it ---------------------------------------------------------------------------- */

/* Adds `"what":CLEAN` to the members in `to`. What cannot be cleaned is left out: it is withheld then. */
static void clean_member(struct ah_run *run, const char *what, const char *json, size_t n, struct ah_buf *to)
{
    struct ah_trace *t = run->trace;
    struct cleaner *c = run->cleaner;
    struct ah_buf given, made;
    if (!json || !n || c->busy)
        return;
    ah_buf_init(&given, MASKED_BYTES);
    ah_buf_init(&made, MASKED_BYTES);
    const char *p = mask(t, json, &n);
    ah_buf_add(&given, p, n);
    c->busy = true;
    int rc = c->call.fn(c->call.arg, what, ah_buf_str(&given), given.n, &made);
    c->busy = false;
    if (rc == 0 && !given.failed && !made.failed &&
        ah_json_check(ah_buf_str(&made), made.n, 0, NULL, NULL) == 0) {
        ah_buf_adds(to, to->n ? "," : "");
        ah_json_quote(to, what, strlen(what));
        ah_buf_addc(to, ':');
        ah_buf_add(to, made.p, made.n);
    }
    ah_buf_drop(&given);
    ah_buf_drop(&made);
}

/* The members in `members` as one object. */
static void put_object(struct ah_trace *t, const struct ah_buf *members)
{
    struct ah_buf object;
    ah_buf_init(&object, MASKED_BYTES);
    ah_buf_addc(&object, '{');
    ah_buf_add(&object, ah_buf_str(members), members->n);
    ah_buf_addc(&object, '}');
    if (object.failed || members->failed)
        ah_store_puts(t->store, "{}");
    else
        put_json(t, object.p, object.n, true);
    ah_buf_drop(&object);
}

static void put_clean(struct ah_run *run, const struct ah_buf *members)
{
    if (!run->cleaner)
        return;
    ah_store_puts(run->trace->store, ",\"clean\":");
    put_object(run->trace, members);
}

/* --- the trace  --------------------------------------------------------------------- */

struct ah_trace *ah_trace_new(struct ah_core *core, struct ah_error *err)
{
    struct ah_trace *t = calloc(1, sizeof *t);
    if (t) {
        t->core = core;
        t->store = core->store;
        t->md = EVP_MD_fetch(NULL, "SHA256", NULL);
        t->digest = EVP_MD_CTX_new();
        ah_buf_init(&t->masked, MASKED_BYTES);
        core->tracing = ah_tracing_new(core->config, core->secrets);
    }
    if (!t || !t->md || !t->digest || !core->tracing) {
        ah_trace_free(t);
        ah_err_set(err, AH_MEMORY, "no memory for tracing");
        return NULL;
    }
    return t;
}

void ah_trace_set_replay(struct ah_trace *t, struct ah_replay *replay)
{
    t->replay = replay;
}

void ah_trace_free(struct ah_trace *t)
{
    if (!t)
        return;
    EVP_MD_free(t->md);
    EVP_MD_CTX_free(t->digest);
    ah_buf_drop(&t->masked);
    ah_tracing_free(t->core->tracing);
    t->core->tracing = NULL;
    free(t);
}

/* --- spans -------------------------------------------------------------------------------------- */

struct ah_run *ah_run_ref(struct ah_run *run)
{
    if (run)
        run->refs++;
    return run;
}

static void unref_cleaner(struct cleaner *c)
{
    if (!c || --c->refs > 0)
        return;
    if (c->call.free_arg)
        c->call.free_arg(c->call.arg);
    free(c);
}

void ah_run_unref(struct ah_run *run)
{
    if (!run || --run->refs > 0)
        return;
    free(run->name);
    free(run->identifier);
    free(run->project);
    free(run->above);
    free(run->example);
    unref_cleaner(run->cleaner);
    ah_buf_drop(&run->inputs);
    ah_buf_drop(&run->tags);
    free(run);
}

static void free_span(struct ah_span *s)
{
    struct ah_run *run = s->run;
    drop_members(&s->metadata);
    drop_members(&s->extra);
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

/* "PARENT.20261122T100000000120Z<id>" */
static void put_dotted_order(struct ah_trace *t, const char *above, size_t above_n, int64_t start_us,
                             const char *id, char *to)
{
    memcpy(to, above, above_n);
    if (above_n)
        to[above_n++] = '.';
    put_dotted(t, start_us, to + above_n);
    memcpy(to + above_n + DOTTED_N, id, AH_UUID_BYTES);
}

static void inherit(struct ah_span *s, const struct ah_span *parent)
{
    if (parent->tags.n)
        ah_buf_add(&s->tags, parent->tags.p, parent->tags.n);
    for (size_t i = 0; i < parent->metadata.count; i++)
        set_member(&s->metadata, parent->metadata.list[i].key, parent->metadata.list[i].json,
                   parent->metadata.list[i].n);
}

static struct ah_span *new_span(struct ah_run *run, const struct ah_span *parent, enum ah_span_type type,
                                const char *name, int64_t start_us, const char *id)
{
    const char *above = parent ? parent->dotted : run->above ? run->above : "";
    name = name && *name ? name : "span";
    size_t name_n = strlen(name), above_n = parent ? parent->dotted_n : strlen(above);
    size_t dotted_n = above_n + (above_n > 0) + DOTTED_N + AH_UUID_BYTES - 1;
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
                          .tags.max = SMALL_BYTES,
                          .events.max = SMALL_BYTES,
                          .usage.max = SMALL_BYTES,
                          .attachments.max = MASKED_BYTES};
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

static void put_field(struct ah_store *store, const char *key, const char *value, size_t n)
{
    ah_store_puts(store, key);
    ah_store_put(store, value, n);
    ah_store_puts(store, "\"");
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
    put_iso(s->run->trace, s->start_us, iso);
    to = ADD(to, ",\"run_type\":\"");
    to = add_bytes(to, type_names[s->type], strlen(type_names[s->type]));
    to = add_bytes(ADD(to, "\",\"start_time\":\""), iso, ISO_N);
    to = ADD(to, "\"");
    ah_store_used(store, (size_t)(to - head));
}

/* Of a root; the others repeat theirs at their end only. */
static void put_root(struct ah_span *s)
{
    struct ah_trace *t = s->run->trace;
    put_list(t, ",\"tags\":", &s->tags);
    if (s->run->example)
        put_field(t->store, ",\"reference_example_id\":\"", s->run->example, AH_UUID_BYTES - 1);
    if (s->metadata.count) {
        ah_store_puts(t->store, ",\"metadata\":{");
        put_members(t, &s->metadata, "");
        ah_store_puts(t->store, "}");
    }
}

static void write_start(struct ah_span *s, const struct ah_span *parent, const char *inputs, size_t n)
{
    struct ah_trace *t = s->run->trace;
    const char *above = s->run->above, *parent_id = parent ? parent->id : NULL;
    struct ah_buf clean;
    ah_buf_init(&clean, MASKED_BYTES);
    if (s->run->cleaner) /* before the event is begun: it may write events of its own */
        clean_member(s->run, "inputs", inputs, n, &clean);
    if (!parent && above)
        parent_id = above + strlen(above) - (AH_UUID_BYTES - 1);
    ah_store_begin(t->store, s->run->key, s->n, AH_EV_SPAN_START, s->start_us);
    put_head(s, parent_id);
    put_str(t, s->name, s->name_n);
    put_type_and_start(s);
    if (!parent)
        put_root(s);
    ah_store_puts(t->store, ",\"inputs\":");
    put_json(t, inputs && n ? inputs : "{}", inputs && n ? n : 2, true);
    put_clean(s->run, &clean);
    ah_store_puts(t->store, "}");
    ah_store_end(t->store);
    ah_buf_drop(&clean);
}

struct ah_span *ah_span_start(struct ah_run *run, struct ah_span *parent, enum ah_span_type type,
                              const char *name, const char *inputs, size_t n)
{
    if (!run || !run->traced || run->ended)
        return NULL;
    struct ah_trace *t = run->trace;
    struct ah_span *above = parent && parent->run == run ? parent : run->root;
    int64_t now = wall_now(t);
    if (above && now < above->start_us)
        now = above->start_us; /* LangSmith refuses a child that begins before its parent */
    char id[AH_UUID_BYTES];
    ah_ids_uuid7(ah_loop_ids(t->core->loop), now, id);
    struct ah_span *s = new_span(run, above, type, name, now, id);
    if (s && t->replay && ah_replay_is_past(t->replay))
        ah_span_metadata(s, "replayed", "true", 4); /* its calls were made, and counted, by the run before */
    if (s)
        write_start(s, above, inputs, n);
    return s;
}

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
    add_texts(metadata, &span->metadata, "");
}

struct ah_run *ah_span_run(struct ah_span *span)
{
    return span ? span->run : NULL;
}

static bool is_open(const struct ah_span *span)
{
    return span && !span->ended;
}

void ah_span_metadata(struct ah_span *span, const char *key, const char *json, size_t n)
{
    if (is_open(span))
        set_member(&span->metadata, key, json, n);
}

void ah_span_metadata_str(struct ah_span *span, const char *key, const char *value)
{
    if (!is_open(span) || !value)
        return;
    struct ah_buf json;
    ah_buf_init(&json, SMALL_BYTES);
    if (ah_json_quote(&json, value, strlen(value)) == 0)
        set_member(&span->metadata, key, json.p, json.n);
    ah_buf_drop(&json);
}

void ah_span_extra(struct ah_span *span, const char *key, const char *json, size_t n)
{
    if (is_open(span))
        set_member(&span->extra, key, json, n);
}

static void add_tag(struct ah_buf *tags, const char *tag)
{
    struct ah_buf quoted;
    ah_buf_init(&quoted, SMALL_BYTES);
    ah_json_quote(&quoted, tag, strlen(tag));
    if (!quoted.failed && (!tags->n || !memmem(tags->p, tags->n, quoted.p, quoted.n))) {
        if (tags->n)
            ah_buf_addc(tags, ',');
        ah_buf_add(tags, quoted.p, quoted.n);
    }
    ah_buf_drop(&quoted);
}

void ah_span_tag(struct ah_span *span, const char *tag)
{
    if (is_open(span) && tag)
        add_tag(&span->tags, tag);
}

void ah_span_event(struct ah_span *span, const char *name)
{
    ah_span_event_with(span, name, NULL, 0);
}

void ah_span_event_with(struct ah_span *span, const char *name, const char *json, size_t n)
{
    if (!is_open(span))
        return;
    char iso[AH_CLOCK_ISO_BYTES];
    put_iso(span->run->trace, wall_now(span->run->trace), iso);
    ah_buf_adds(&span->events, span->events.n ? ",{\"name\":" : "{\"name\":");
    ah_json_quote(&span->events, name, strlen(name));
    ah_buf_addf(&span->events, ",\"time\":\"%s\"", iso);
    if (json && n) {
        ah_buf_adds(&span->events, ",\"kwargs\":");
        ah_buf_add(&span->events, json, n);
    }
    ah_buf_addc(&span->events, '}');
}

int ah_span_attach(struct ah_span *span, const char *name, const char *type, const char *p, size_t n)
{
    if (!*name || strpbrk(name, ".\"\\\r\n") || strpbrk(type, "\"\\\r\n") || n > AH_ATTACHMENT_BYTES)
        return -1;
    if (!is_open(span))
        return 0;
    struct ah_buf *to = &span->attachments;
    p = mask(span->run->trace, p, &n); /* in base64 nobody would know it */
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
    if (!is_open(span))
        return;
    ah_buf_clear(&span->usage);
    ah_buf_add(&span->usage, usage_metadata, n);
    span->input_tokens = input_tokens;
    span->output_tokens = output_tokens;
    span->cost = cost;
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

static void put_extra(struct ah_span *s)
{
    struct ah_trace *t = s->run->trace;
    if (!s->metadata.count && !s->extra.count)
        return;
    ah_store_puts(t->store, ",\"extra\":{\"metadata\":{");
    put_members(t, &s->metadata, "");
    ah_store_puts(t->store, "}");
    put_members(t, &s->extra, ",");
    ah_store_puts(t->store, "}");
}

/* All that a span's end says, cleaned. */
static void clean_end(struct ah_span *s, const char *outputs, size_t n, const char *error, struct ah_buf *to)
{
    struct ah_buf text;
    if (s == s->run->root && !s->inputs.n) /* it began before anybody could say what may be seen */
        clean_member(s->run, "inputs", s->run->inputs.p, s->run->inputs.n, to);
    clean_member(s->run, "inputs", s->inputs.p, s->inputs.n, to);
    clean_member(s->run, "outputs", outputs, n, to);
    ah_buf_init(&text, MASKED_BYTES);
    if (error && ah_json_quote(&text, error, strlen(error)) == 0)
        clean_member(s->run, "error", text.p, text.n, to);
    ah_buf_clear(&text);
    ah_buf_adds(&text, "{\"metadata\":{");
    add_texts(&text, &s->metadata, "");
    ah_buf_addc(&text, '}');
    add_texts(&text, &s->extra, ",");
    ah_buf_addc(&text, '}');
    clean_member(s->run, "extra", text.p, text.n, to);
    ah_buf_clear(&text);
    if (s->events.n) {
        ah_buf_addf(&text, "[");
        ah_buf_add(&text, s->events.p, s->events.n);
        ah_buf_addc(&text, ']');
        clean_member(s->run, "events", text.p, text.n, to);
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

static void count_span(struct ah_span *s, bool failed)
{
    struct ah_run_totals *sum = &s->run->totals;
    sum->errors += failed && s != s->run->root;
    sum->tool_calls += s->type == AH_SPAN_TOOL;
    sum->input_tokens += s->input_tokens;
    sum->output_tokens += s->output_tokens;
    if (s->cost > 0)
        sum->cost += s->cost;
    if (s->type == AH_SPAN_LLM) {
        sum->cost_known = s->cost >= 0 && (sum->cost_known || sum->model_calls == 0);
        sum->model_calls++;
    }
}

void ah_span_set_inputs(struct ah_span *span, const char *inputs, size_t n)
{
    if (!is_open(span))
        return;
    ah_buf_drop(&span->inputs);
    ah_buf_init(&span->inputs, MASKED_BYTES);
    ah_buf_add(&span->inputs, inputs, n);
}

static void write_end(struct ah_span *span, int64_t now, const char *outputs, size_t n, const char *error)
{
    struct ah_trace *t = span->run->trace;
    char iso[AH_CLOCK_ISO_BYTES];
    struct ah_buf clean;
    ah_buf_init(&clean, MASKED_BYTES);
    if (span->run->cleaner)
        clean_end(span, outputs, n, error, &clean);
    put_iso(t, now > span->start_us ? now : span->start_us, iso);
    ah_store_begin(t->store, span->run->key, span->n, AH_EV_SPAN_END, now);
    put_field(t->store, "{\"end_time\":\"", iso, ISO_N);
    if (span->inputs.n) {
        ah_store_puts(t->store, ",\"inputs\":");
        put_json(t, span->inputs.p, span->inputs.n, true);
    }
    if (outputs && n) {
        ah_store_puts(t->store, ",\"outputs\":");
        put_json(t, outputs, n, true);
    }
    if (error) {
        ah_store_puts(t->store, ",\"error\":");
        put_text(t, error);
    }
    put_list(t, ",\"events\":", &span->events);
    put_list(t, ",\"tags\":", &span->tags);
    put_extra(span);
    if (span->attachments.n) {
        ah_store_puts(t->store, ",\"attachments\":");
        put_object(t, &span->attachments);
    }
    if (span == span->run->root && span->run->renamed) {
        ah_store_puts(t->store, ",\"name\":");
        put_text(t, span->run->name);
    }
    put_span_totals(span);
    put_clean(span->run, &clean);
    ah_store_puts(t->store, "}");
    ah_store_end(t->store);
    ah_buf_drop(&clean);
}

void ah_span_end(struct ah_span *span, const char *outputs, size_t n, const char *error)
{
    if (!is_open(span))
        return;
    struct ah_buf with_usage;
    ah_buf_init(&with_usage, MASKED_BYTES);
    if (span->usage.n) {
        set_member(&span->metadata, "usage_metadata", span->usage.p, span->usage.n);
        add_usage(span, outputs, outputs ? n : 0, &with_usage);
        if (!with_usage.failed) {
            outputs = with_usage.p;
            n = with_usage.n;
        }
    }
    span->ended = true; /* what cleans it may not end it again */
    span->run->shown |= !span->run->cleaner;
    count_span(span, error != NULL);
    write_end(span, wall_now(span->run->trace), outputs, outputs ? n : 0, error);
    ah_buf_drop(&with_usage);
    unlink_open(span);
    if (span->refs == 0)
        free_span(span);
}

/* --- runs --------------------------------------------------------------------------------------- */

/* The time at the head of a segment: 20261122T100000000120Z. */
static bool read_stamp(const char *p, int64_t *us)
{
    char iso[AH_CLOCK_ISO_BYTES];
    snprintf(iso, sizeof iso, "%.4s-%.2s-%.2s%.3s:%.2s:%.2s.%.7s", p, p + 4, p + 6, p + 8, p + 11, p + 13,
             p + 15);
    return ah_clock_parse_iso(iso, strlen(iso), us) == 0;
}

/* Puts the run below a run of another process. What is no dotted_order is left out: a header must not make a
 * script fail. */
static int set_above(struct ah_run *run, const char *dotted)
{
    enum { SEGMENT_N = DOTTED_N + AH_UUID_BYTES - 1 };
    size_t n = dotted ? strlen(dotted) : 0, segments = (n + 1) / (SEGMENT_N + 1);
    int64_t at = 0;
    if (n == 0 || n > ABOVE_BYTES || (n + 1) % (SEGMENT_N + 1) != 0)
        return 0;
    for (size_t i = 0; i < segments; i++) {
        const char *p = dotted + i * (SEGMENT_N + 1);
        char id[AH_UUID_BYTES];
        snprintf(id, sizeof id, "%.*s", AH_UUID_BYTES - 1, p + DOTTED_N);
        if (!read_stamp(p, &at) || !ah_ids_is_uuid(id) || (i && p[-1] != '.'))
            return 0;
    }
    run->above = strdup(dotted);
    if (!run->above)
        return -1;
    snprintf(run->trace_id, sizeof run->trace_id, "%.*s", AH_UUID_BYTES - 1, dotted + DOTTED_N);
    if (at > run->start_us)
        run->start_us = at; /* its clock is ahead of ours */
    return 0;
}

static struct ah_run *new_run(struct ah_trace *t, const struct ah_run_opts *opts, const char *project)
{
    struct ah_run *run = calloc(1, sizeof *run);
    if (!run)
        return NULL;
    run->refs = 1;
    run->trace = t;
    run->traced = opts->traced;
    ah_buf_init(&run->tags, SMALL_BYTES);
    run->start_us = wall_now(t);
    run->began_us = ah_clock_mono_us();
    run->key = ah_store_new_key(t->store);
    ah_ids_uuid7(ah_loop_ids(t->core->loop), run->start_us, run->id);
    run->name = strdup(opts->name && *opts->name ? opts->name : "run");
    run->identifier = strdup(opts->identifier ? opts->identifier : "");
    run->project = strdup(opts->project && *opts->project ? opts->project : project);
    snprintf(run->trace_id, sizeof run->trace_id, "%s", run->id);
    if (opts->reference_example_id && ah_ids_is_uuid(opts->reference_example_id))
        run->example = strdup(opts->reference_example_id);
    if (run->name && run->identifier && run->project && set_above(run, opts->parent) == 0)
        return run;
    ah_run_unref(run);
    return NULL;
}

static void start_root(struct ah_run *run, const struct ah_run_opts *opts)
{
    struct ah_span *root = new_span(run, NULL, AH_SPAN_CHAIN, run->name, run->start_us, run->id);
    run->root = root;
    if (!root)
        return;
    ah_run_add_tags(run, opts->tags);
    ah_span_metadata_str(root, "revision_id", ah_tracing_revision(run->trace->core->tracing));
    if (opts->metadata)
        add_members(&root->metadata, opts->metadata, strlen(opts->metadata));
    ah_buf_init(&run->inputs, MASKED_BYTES);
    if (opts->inputs)
        ah_buf_add(&run->inputs, opts->inputs, opts->inputs_n);
    write_start(root, NULL, opts->inputs, opts->inputs_n);
}

/* Where the run goes when it has ended, besides where its spans go as they come: what could not be decided before (a
 * failed run that was not sampled), a run with a cleaner, which goes as a whole so that nobody sends what is not clean;
 * and the copies. *first: whether it has no other destination. */
static size_t late_targets(const struct ah_run *run, bool failed,
                           struct ah_tracing_where list[AH_TRACING_TARGETS_COUNT], bool *first)
{
    struct ah_tracing *tracing = run->trace->core->tracing;
    *first = run->cleaner && run->wanted;
    if (run->traced && !run->sampled && failed)
        *first = ah_tracing_keeps_errors(tracing);
    *first &= !run->kept_local;
    if (!run->sends && !*first)
        return 0;
    size_t n = ah_tracing_targets(tracing, true, list);
    if (*first || !n)
        return n;
    memmove(list, list + 1, --n * sizeof *list);
    return n;
}

static void send_late(struct ah_run *run, bool failed)
{
    struct ah_tracing_where list[AH_TRACING_TARGETS_COUNT];
    bool first;
    size_t n = late_targets(run, failed, list, &first);
    for (size_t i = 0; i < n; i++)
        ah_store_run_send(run->trace->store, run->key,
                          &(struct ah_store_where){list[i].dest, list[i].workspace, list[i].emulated});
    run->sends |= first && n > 0;
}

/* The same for who finds the run if this process dies; an emulated one goes to no other process. */
static void write_late(struct ah_run *run)
{
    struct ah_store *store = run->trace->store;
    struct ah_tracing_where list[AH_TRACING_TARGETS_COUNT];
    bool first;
    size_t n = run->traced ? late_targets(run, true, list, &first) : 0;
    if (!n && !run->cleaner && !run->kept_local)
        return;
    ah_store_begin(store, run->key, 0, AH_EV_LATE, wall_now(run->trace));
    ah_store_puts(store, run->cleaner ? "{\"clean\":true,\"to\":[" : "{\"clean\":false,\"to\":[");
    for (size_t i = 0; i < n && !list[0].emulated; i++) {
        ah_store_puts(store, i ? ",{\"dest\":" : "{\"dest\":");
        put_text(run->trace, list[i].dest);
        ah_store_puts(store, ",\"workspace\":");
        put_text(run->trace, list[i].workspace);
        ah_store_puts(store, "}");
    }
    ah_store_puts(store, "]}");
    ah_store_end(store);
}

struct ah_run *ah_run_start(struct ah_trace *t, const struct ah_run_opts *opts, struct ah_error *err)
{
    struct ah_tracing_where where;
    ah_tracing_where(t->core->tracing, &where);
    struct ah_run *run = new_run(t, opts, where.project);
    if (!run) {
        ah_err_set(err, AH_MEMORY, "no memory for a run");
        return NULL;
    }
    run->sampled = run->traced && ah_tracing_samples(t->core->tracing, run->trace_id);
    if (opts->around && opts->around->cleaner) {
        run->cleaner = opts->around->cleaner;
        run->cleaner->refs++;
    }
    run->wanted = run->sampled && *where.endpoint;
    run->sends = run->wanted && !run->cleaner;
    struct ah_store_run_start row = {
        .key = run->key,
        .id = run->id,
        .name = run->name,
        .script = opts->script,
        .identifier = run->identifier,
        .project = run->project,
        .at = run->start_us,
        .traced = run->traced,
        .where = {run->sends ? where.endpoint : "", run->sends ? where.workspace : "", where.emulated}};
    ah_store_run_begin(t->store, &row);
    t->runs++;
    if (run->traced)
        start_root(run, opts);
    else
        ah_run_add_tags(run, opts->tags);
    write_late(run);
    return run;
}

static struct ah_store_totals sum_of(const struct ah_run *run)
{
    const struct ah_run_totals *s = &run->totals;
    return (struct ah_store_totals){.input_tokens = s->input_tokens,
                                    .output_tokens = s->output_tokens,
                                    .model_calls = s->model_calls,
                                    .tool_calls = s->tool_calls,
                                    .errors = s->errors,
                                    .spans = run->spans,
                                    .cost = s->cost,
                                    .cost_known = s->cost_known};
}

void ah_run_end(struct ah_run *run, const char *outputs, size_t n, const struct ah_error *failed)
{
    if (!run)
        return;
    struct ah_trace *t = run->trace;
    char message[sizeof failed->message] = "";
    if (failed) { /* masked here: a secret that the message's end cuts is no whole one any more */
        snprintf(message, sizeof message, "%s", failed->message);
        ah_secret_mask_str(t->core->secrets, message, sizeof message);
    }
    const char *error = failed ? (*message ? message : ah_err_kind_name(failed->kind)) : NULL;
    int code = failed ? ah_err_exit_code(failed->kind) : 0;
    if (code == 10 || code == 11) /* it goes on when a person has acted */
        ah_span_metadata_str(run->root, "waits_for", ah_err_kind_name(failed->kind));
    while (run->open && run->open != run->root) /* newest first: children before parents */
        ah_span_end(run->open, NULL, 0, "Cancelled");
    ah_span_end(run->root, outputs, n, error);
    run->ended = true;
    struct ah_store_totals sum = sum_of(run);
    size_t error_n = error ? strlen(error) : 0;
    const char *masked = error ? mask(t, error, &error_n) : NULL;
    ah_store_run_end(t->store, run->key, wall_now(t), run->name, run->identifier, masked, &sum);
    send_late(run, failed != NULL);
    t->runs--;
    ah_span_unref(run->root);
    run->root = NULL;
    ah_run_unref(run);
}

/* Whether a sender may have taken something of it: what has ended at once, what is open after a while. */
static bool may_be_sent(const struct ah_run *run)
{
    return run->shown || ah_clock_mono_us() - run->began_us > CLEANER_MS * 1000;
}

int ah_run_set_cleaner(struct ah_run *run, const struct ah_run_cleaner *cleaner, struct ah_error *err)
{
    if (run->ended)
        return ah_err_set(err, AH_INVALID, "the run has ended");
    if (!run->cleaner && may_be_sent(run))
        return ah_err_set(
            err, AH_INVALID,
            "the anonymizer comes too late: what this run has done may have been sent without it. Set it "
            "before the run's first span ends and in its first seconds, or hide texts from the start "
            "with LANGSMITH_HIDE_INPUTS and LANGSMITH_HIDE_OUTPUTS");
    struct cleaner *c = calloc(1, sizeof *c);
    if (!c)
        return ah_err_set(err, AH_MEMORY, "no memory for an anonymizer");
    *c = (struct cleaner){.refs = 1, .call = *cleaner};
    unref_cleaner(run->cleaner);
    run->cleaner = c;
    if (run->sends) {
        run->sends = false;
        ah_store_run_local(run->trace->store, run->key);
    }
    write_late(run);
    ah_store_flush_wait(run->trace->store,
                        CLEANER_WAIT_MS); /* before a sender thinks that it is open for long */
    return 0;
}

const char *ah_run_id(const struct ah_run *run)
{
    return run->id;
}

const char *ah_run_trace_id(const struct ah_run *run)
{
    return run->trace_id;
}

const char *ah_run_identifier(const struct ah_run *run)
{
    return run->identifier;
}

const char *ah_run_name(const struct ah_run *run)
{
    return run->name;
}

int64_t ah_run_key(const struct ah_run *run)
{
    return run->key;
}

bool ah_run_traced(const struct ah_run *run)
{
    return run->traced;
}

void ah_run_keep_local(struct ah_run *run)
{
    if (run->ended || run->kept_local)
        return;
    run->kept_local = true;
    if (run->sends)
        ah_store_run_local(run->trace->store, run->key);
    run->sends = false;
    write_late(run);
}

bool ah_run_sends(const struct ah_run *run)
{
    return run->sends;
}

const char *ah_run_project(const struct ah_run *run)
{
    return run->project;
}

struct ah_span *ah_run_root(struct ah_run *run)
{
    return run->root;
}

const struct ah_run_totals *ah_run_totals(const struct ah_run *run)
{
    return &run->totals;
}

static int replace_text(char **slot, const char *text)
{
    char *copy = strdup(text ? text : "");
    if (!copy)
        return -1;
    free(*slot);
    *slot = copy;
    return 0;
}

int ah_run_set_identifier(struct ah_run *run, const char *identifier)
{
    return run->ended ? 0 : replace_text(&run->identifier, identifier);
}

void ah_run_add_tags(struct ah_run *run, const char *const *tags)
{
    for (; tags && *tags; tags++) {
        if (run->root)
            ah_span_tag(run->root, *tags);
        else if (!run->ended)
            add_tag(&run->tags, *tags);
    }
}

void ah_run_tags(const struct ah_run *run, const struct ah_span *span, struct ah_buf *to)
{
    const struct ah_span *from = span ? span : run ? run->root : NULL;
    const struct ah_buf *tags = from ? &from->tags : run ? &run->tags : NULL;
    if (tags && tags->n)
        ah_buf_addf(to, "[%s]", ah_buf_str(tags));
}

void ah_run_add_metadata(struct ah_run *run, const char *json, size_t n)
{
    if (is_open(run->root))
        add_members(&run->root->metadata, json, n);
}

void ah_run_set_name(struct ah_run *run, const char *name)
{
    if (!run->ended && *name && replace_text(&run->name, name) == 0)
        run->renamed = true;
}

/* --- effects ------------------------------------------------------------------------------------ */

static void hash_args(struct ah_trace *t, const char *p, size_t n, unsigned char out[32])
{
    unsigned int length = 0;
    if (EVP_DigestInit_ex2(t->digest, t->md, NULL) != 1 || EVP_DigestUpdate(t->digest, p ? p : "", n) != 1 ||
        EVP_DigestFinal_ex(t->digest, out, &length) != 1)
        memset(out, 0, 32);
}

/* JSON as JSON, anything else as a string. */
static void put_any(struct ah_trace *t, const char *p, size_t n)
{
    struct ah_json value;
    if (ah_json_check(p, n, 0, &value, NULL) == 0) {
        put_json(t, value.p, value.n, value.type == AH_JSON_OBJECT);
        return;
    }
    struct ah_buf quoted;
    ah_buf_init(&quoted, MASKED_BYTES);
    const char *masked = mask(t, p, &n);
    if (ah_json_quote(&quoted, masked, n) == 0)
        ah_store_put_json(t->store, quoted.p, quoted.n);
    else
        ah_store_puts(t->store, "null");
    ah_buf_drop(&quoted);
}

static void write_intent(struct ah_effect *e, const struct ah_store_effect *row, const char *kind,
                         const char *what, const char *args, size_t n)
{
    static const char *const classes[] = {"read", "idempotent", "unsafe"};
    struct ah_trace *t = e->run->trace;
    char head[80];
    int head_n = snprintf(head, sizeof head, "{\"n\":%lld,\"class\":\"%s\",\"kind\":", (long long)e->n,
                          classes[row->cls]);
    ah_store_effect_begin(t->store, row);
    ah_store_begin(t->store, row->run, row->span, AH_EV_EFFECT_BEGIN, wall_now(t));
    ah_store_put(t->store, head, (size_t)head_n);
    put_text(t, kind);
    ah_store_puts(t->store, ",\"what\":");
    put_text(t, what);
    if (row->cls == AH_EFFECT_UNSAFE && args) { /* a person may have to decide what happened */
        ah_store_puts(t->store, ",\"args\":");
        put_any(t, args, n);
    }
    ah_store_puts(t->store, "}");
    /* Before the event is ended: that may commit. */
    if (row->cls == AH_EFFECT_UNSAFE)
        ah_store_make_safe(t->store);
    ah_store_end(t->store);
}

/* --- what an earlier process was answered */

static int take_answer(void *arg, const struct ah_store_event *ev)
{
    struct ah_effect *e = arg;
    struct ah_json end, body, err;
    if (ah_json_check(ev->body, ev->n, 0, &end, NULL) != 0)
        return 1;
    body = ah_json_get(end, "body");
    err = ah_json_get(end, "error");
    if (body.type == AH_JSON_STRING) {
        struct ah_buf text;
        ah_buf_init(&text, MASKED_BYTES);
        e->body =
            ah_json_str(body, &text) == 0 ? ah_buf_take(&text, &e->answer.n) : NULL; /* it may hold NUL */
        ah_buf_drop(&text);
    } else if (body.type != AH_JSON_NONE) {
        e->body = copy_bytes(body.p, body.n);
        e->answer.n = body.n;
    }
    e->answer.body = e->body ? e->body : "";
    if (err.type == AH_JSON_OBJECT) {
        char kind[64], message[sizeof e->answer.err.message];
        ah_json_copy(ah_json_get(err, "kind"), kind, sizeof kind);
        ah_json_copy(ah_json_get(err, "message"), message, sizeof message);
        enum ah_kind k = ah_err_kind_of(kind);
        ah_err_set(&e->answer.err, k == AH_NONE ? AH_HTTP : k, "%s", message);
        e->answer.err.status = e->answer.status;
    }
    return 1;
}

/* 0: it is new. 1: it was answered. -1: it was sent, and no answer is known. */
static int look_back(struct ah_effect *e, const struct ah_store_effect *row, int64_t call,
                     struct ah_error *err)
{
    struct ah_store_effect was;
    struct ah_trace *t = e->run->trace;
    enum ah_replay_fate fate = ah_replay_fate(t->replay, call, row->kind, row->what, row->args_sha256, &was);
    if (fate == AH_FATE_NEW)
        return 0;
    if (fate == AH_FATE_UNKNOWN) {
        ah_err_set(err, AH_OUTCOME_UNKNOWN,
                   "%.200s was sent before this run was interrupted, and no answer is known: it may have "
                   "been carried out, so it is not sent again",
                   row->what);
        snprintf(err->code, sizeof err->code, "%s", AH_EFFECT_BEFORE);
        return -1;
    }
    e->answered = true;
    e->answer.status = was.status;
    return ah_store_event_at(t->store, was.end_seq, take_answer, e, err) == 0 ? 1 : -1;
}

const struct ah_effect_answer *ah_effect_answer(const struct ah_effect *e)
{
    return e && e->answered ? &e->answer : NULL;
}

static void free_effect(struct ah_effect *e)
{
    ah_run_unref(e->run);
    ah_err_drop(&e->answer.err);
    free(e->body);
    free(e);
}

/* Numbers and journals it, unless an earlier process has. -1: it must not be sent. */
static int intend(struct ah_effect *e, enum ah_effect_class cls, int64_t call, const char *kind,
                  const char *what, const char *args, size_t n, struct ah_error *err)
{
    struct ah_trace *t = e->run->trace;
    struct ah_store_effect row = {.run = e->run->key, .span = e->span, .cls = (int)cls};
    size_t what_n = strlen(what);
    bool noted = t->replay && cls == AH_EFFECT_UNSAFE;
    hash_args(t, args, args ? n : 0, row.args_sha256);
    snprintf(row.kind, sizeof row.kind, "%s", kind);
    snprintf(row.what, sizeof row.what, "%s", mask(t, what, &what_n));
    int before = noted ? look_back(e, &row, call, err) : 0;
    if (before != 0)
        return before > 0 ? 0 : -1;
    e->n = row.n = ++e->run->effects;
    if (noted)
        ah_replay_intent(t->replay, call, row.run, row.n);
    else if (t->replay)
        ah_replay_flush(t->replay);
    write_intent(e, &row, kind, what, args, n);
    return 0;
}

struct ah_effect *ah_effect_begin(struct ah_run *run, struct ah_span *span, enum ah_effect_class cls,
                                  int64_t call, const char *kind, const char *what, const char *args,
                                  size_t n, struct ah_error *err)
{
    if (!run || run->ended)
        return NULL;
    struct ah_store *store = run->trace->store;
    if (cls == AH_EFFECT_UNSAFE && !ah_store_allows_unsafe(store)) {
        const char *why = ah_store_trouble(store);
        ah_err_set(err, AH_JOURNAL,
                   "%s. So %.200s is not called, because nothing would remember that it was: "
                   "mend the journal, or allow it with --no-journal",
                   *why ? why : "the journal is in memory only", what);
        return NULL;
    }
    struct ah_effect *e = calloc(1, sizeof *e);
    if (!e) {
        ah_err_set(err, AH_MEMORY, "no memory for the journal");
        return NULL;
    }
    e->run = ah_run_ref(run);
    e->span = span && span->run == run ? span->n : 0;
    if (intend(e, cls, call, kind, what, args, n, err) == 0)
        return e;
    free_effect(e);
    return NULL;
}

void ah_effect_end(struct ah_effect *e, uint64_t issued, uint64_t completed, int status, const char *body,
                   size_t n, const struct ah_error *failed)
{
    if (!e)
        return;
    if (e->answered) {
        free_effect(e);
        return;
    }
    struct ah_trace *t = e->run->trace;
    char head[64];
    int head_n = snprintf(head, sizeof head, "{\"n\":%lld,\"status\":%d", (long long)e->n, status);
    struct ah_store_effect row = {.run = e->run->key,
                                  .n = e->n,
                                  .issued = issued,
                                  .completed = completed,
                                  .status = status,
                                  .error = failed ? (int)failed->kind : 0};
    ah_store_effect_end(t->store, &row);
    ah_store_begin(t->store, e->run->key, e->span, AH_EV_EFFECT_END, wall_now(t));
    ah_store_put(t->store, head, (size_t)head_n);
    if (body) {
        ah_store_puts(t->store, ",\"body\":");
        put_any(t, body, n);
    }
    if (failed) {
        put_field(t->store, ",\"error\":{\"kind\":\"", ah_err_kind_name(failed->kind),
                  strlen(ah_err_kind_name(failed->kind)));
        ah_store_puts(t->store, ",\"message\":");
        put_text(t, failed->message);
        ah_store_puts(t->store, "}");
    }
    ah_store_puts(t->store, "}");
    ah_store_end(t->store);
    free_effect(e);
}
