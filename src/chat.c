/* The answer of a chat-completions service, assembled from one body or from a stream's events.
 * Called by openai.c; knows no transport, no clock, no Lua. See chat.h. */
#include "chat.h"

#include "chat_error.h"
#include "ids.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SNIPPET_CHARS 160 /* of a text quoted in a message */

/* --- life -------------------------------------------------------------------------------------- */

void ah_chat_init(struct ah_chat *c, struct ah_ids *ids)
{
    memset(c, 0, sizeof *c);
    c->ids = ids;
    ah_buf_init(&c->usage, AH_CHAT_TEXT_BYTES);
}

static void drop_call(struct ah_chat_call *call)
{
    ah_buf_drop(&call->id);
    ah_buf_drop(&call->name);
    ah_buf_drop(&call->raw);
    free(call->args);
    free(call->invalid);
}

static void drop_choice(struct ah_chat_choice *ch)
{
    for (size_t i = 0; i < ch->call_count; i++)
        drop_call(&ch->calls[i]);
    free(ch->calls);
    ah_buf_drop(&ch->content);
    ah_buf_drop(&ch->refusal);
    ah_buf_drop(&ch->reasoning);
}

void ah_chat_drop(struct ah_chat *c)
{
    for (size_t i = 0; i < c->choice_count; i++)
        drop_choice(&c->choices[i]);
    free(c->choices);
    ah_buf_drop(&c->usage);
    memset(c, 0, sizeof *c);
}

void ah_chat_reset(struct ah_chat *c)
{
    struct ah_ids *ids = c->ids;
    void (*on_delta)(void *, const struct ah_chat_delta *) = c->on_delta;
    void *arg = c->arg;

    ah_chat_drop(c);
    ah_chat_init(c, ids);
    c->on_delta = on_delta;
    c->arg = arg;
}

static int fail_memory(struct ah_error *err)
{
    return ah_err_set(err, AH_MEMORY, "out of memory while reading the model's answer");
}

/* A buffer refused bytes: it is full, or there is no memory. */
static int fail_full(const struct ah_buf *b, struct ah_error *err)
{
    if (b->n < b->max / 2)
        return fail_memory(err);
    return ah_err_set(err, AH_LIMIT, "the model's answer is larger than %zu bytes", b->max);
}

/* --- finding the place a piece belongs to ----------------------------------------------------------- */

static struct ah_chat_choice *find_choice(struct ah_chat *c, int64_t index, struct ah_error *err)
{
    for (size_t i = 0; i < c->choice_count; i++)
        if (c->choices[i].index == index)
            return &c->choices[i];
    if (c->choice_count == AH_CHAT_CHOICES_COUNT) {
        ah_err_set(err, AH_LIMIT, "the answer has more than %d choices", AH_CHAT_CHOICES_COUNT);
        return NULL;
    }
    struct ah_chat_choice *more = realloc(c->choices, (c->choice_count + 1) * sizeof *more);

    if (more == NULL) {
        fail_memory(err);
        return NULL;
    }
    c->choices = more;
    struct ah_chat_choice *ch = &more[c->choice_count++];

    memset(ch, 0, sizeof *ch);
    ch->index = index;
    ah_buf_init(&ch->content, AH_CHAT_TEXT_BYTES);
    ah_buf_init(&ch->refusal, AH_CHAT_TEXT_BYTES);
    ah_buf_init(&ch->reasoning, AH_CHAT_TEXT_BYTES);
    return ch;
}

static struct ah_chat_call *add_call(struct ah_chat_choice *ch, struct ah_error *err)
{
    if (ch->call_count == AH_CHAT_CALLS_COUNT) {
        ah_err_set(err, AH_LIMIT, "the model asked for more than %d tool calls at once", AH_CHAT_CALLS_COUNT);
        return NULL;
    }
    if (ch->call_count == ch->call_cap) {
        size_t cap = ch->call_cap != 0 ? ch->call_cap * 2 : 4;
        struct ah_chat_call *more = realloc(ch->calls, cap * sizeof *more);

        if (more == NULL) {
            fail_memory(err);
            return NULL;
        }
        ch->calls = more;
        ch->call_cap = cap;
    }
    struct ah_chat_call *call = &ch->calls[ch->call_count++];

    memset(call, 0, sizeof *call);
    ah_buf_init(&call->id, AH_CHAT_NAME_BYTES);
    ah_buf_init(&call->name, AH_CHAT_NAME_BYTES);
    ah_buf_init(&call->raw, AH_CHAT_TEXT_BYTES);
    return call;
}

static bool is_blank(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != ' ' && p[i] != '\t' && p[i] != '\n' && p[i] != '\r')
            return false;
    return true;
}

/* One entry of delta.tool_calls (or of message.tool_calls). */
struct piece {
    bool indexed;
    int64_t index;
    struct ah_buf id, name; /* decoded; empty when absent */
    struct ah_json args;
    bool custom;
};

static bool same_text(const struct ah_buf *a, const struct ah_buf *b)
{
    return a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, a->n) == 0);
}

/* Whether nothing more belongs to a call: its arguments are a whole object. */
static bool call_is_closed(const struct ah_chat_call *call)
{
    struct ah_json v;

    return call->raw.n != 0 && call->raw.p[call->raw.n - 1] != ',' &&
           ah_json_check(call->raw.p, call->raw.n, AH_JSON_RAW_CONTROLS, &v, NULL) == 0 &&
           v.type == AH_JSON_OBJECT;
}

static bool piece_has_args(const struct piece *p)
{
    return p->args.type != AH_JSON_NONE && p->args.type != AH_JSON_NULL &&
           !(p->args.type == AH_JSON_STRING && p->args.n <= 2);
}

/* A named piece after a whole call, without an id to tell by, begins another call. */
static bool begins_anew(const struct ah_chat_call *call, const struct piece *p)
{
    if (p->name.n == 0 || p->id.n != 0 || call->raw.n == 0)
        return false;
    return (piece_has_args(p) || !same_text(&p->name, &call->name)) && call_is_closed(call);
}

static struct ah_chat_call *find_by_id(struct ah_chat_choice *ch, const struct piece *p)
{
    for (size_t i = ch->call_count; p->id.n != 0 && i-- > 0;)
        if (same_text(&ch->calls[i].id, &p->id) &&
            (!p->indexed || !ch->calls[i].indexed || ch->calls[i].index == p->index))
            return &ch->calls[i];
    return NULL;
}

static struct ah_chat_call *find_by_index(struct ah_chat_choice *ch, const struct piece *p)
{
    for (size_t i = ch->call_count; i-- > 0;) {
        struct ah_chat_call *call = &ch->calls[i];

        if (!call->indexed || call->index != p->index)
            continue;
        /* Gateways that send every call with one index tell them apart by id only. */
        if (p->id.n != 0 && call->id.n != 0 && !same_text(&call->id, &p->id))
            return find_by_id(ch, p);
        return call;
    }
    return find_by_id(ch, p);
}

static struct ah_chat_call *find_call(struct ah_chat_choice *ch, const struct piece *p)
{
    struct ah_chat_call *call;

    if (p->indexed)
        call = find_by_index(ch, p);
    else if (p->id.n != 0)
        call = find_by_id(ch, p);
    else
        call = ch->call_count != 0 ? &ch->calls[ch->call_count - 1] : NULL;
    return call != NULL && begins_anew(call, p) ? NULL : call;
}

/* --- one piece of a call ------------------------------------------------------------------------------ */

static int append_args(struct ah_chat_call *call, struct ah_json args, struct ah_error *err)
{
    int rc = 0;

    if (args.type == AH_JSON_STRING)
        rc = ah_json_str(args, &call->raw);
    else if (args.type != AH_JSON_NONE && args.type != AH_JSON_NULL)
        rc = ah_buf_add(&call->raw, args.p, args.n); /* an object where a string belongs: as it came */
    return rc == 0 ? 0 : fail_full(&call->raw, err);
}

/* id and name are set once: servers repeat them, and appending would double them. */
static int set_once(struct ah_buf *to, const struct ah_buf *from, bool more, struct ah_error *err)
{
    if (from->n == 0 || (to->n != 0 && (!more || same_text(to, from))))
        return 0;
    return ah_buf_add(to, from->p, from->n) == 0 ? 0 : fail_full(to, err);
}

static int merge_piece(struct ah_chat *c, struct ah_chat_choice *ch, const struct piece *p,
                       struct ah_error *err)
{
    struct ah_chat_call *call = c->whole ? NULL : find_call(ch, p);

    if (call == NULL && (call = add_call(ch, err)) == NULL)
        return -1;
    if (p->indexed && !call->indexed) {
        call->indexed = true;
        call->index = p->index;
    }
    call->custom |= p->custom;
    size_t before = call->raw.n;

    if (set_once(&call->id, &p->id, false, err) != 0 ||
        set_once(&call->name, &p->name, before == 0, err) != 0 || append_args(call, p->args, err) != 0)
        return -1;
    if (c->on_delta != NULL && ch == ah_chat_first(c)) {
        struct ah_chat_delta d = {.kind = AH_CHAT_CALL,
                                  .text = call->raw.p != NULL ? call->raw.p + before : "",
                                  .n = call->raw.n - before,
                                  .call = (size_t)(call - ch->calls),
                                  .c = call};
        c->on_delta(c->arg, &d);
    }
    return 0;
}

/* Some servers number their ids. */
static void read_text(struct ah_json v, struct ah_buf *to)
{
    if (v.type == AH_JSON_STRING)
        ah_json_str(v, to);
    else if (v.type == AH_JSON_NUMBER)
        ah_buf_add(to, v.p, v.n);
}

static int read_piece(struct ah_chat *c, struct ah_chat_choice *ch, struct ah_json entry,
                      struct ah_error *err)
{
    struct piece p = {0};
    struct ah_json fn = ah_json_get(entry, "function");
    struct ah_json custom = ah_json_get(entry, "custom");
    int rc;

    ah_buf_init(&p.id, AH_CHAT_NAME_BYTES);
    ah_buf_init(&p.name, AH_CHAT_NAME_BYTES);
    p.indexed = ah_json_int(ah_json_get(entry, "index"), &p.index);
    p.custom = custom.type == AH_JSON_OBJECT;
    read_text(ah_json_get(entry, "id"), &p.id);
    read_text(ah_json_get(p.custom ? custom : fn, "name"), &p.name);
    p.args = ah_json_get(p.custom ? custom : fn, p.custom ? "input" : "arguments");
    if (p.id.failed)
        rc = fail_full(&p.id, err);
    else if (p.name.failed)
        rc = fail_full(&p.name, err);
    else
        rc = merge_piece(c, ch, &p, err);
    ah_buf_drop(&p.id);
    ah_buf_drop(&p.name);
    return rc;
}

/* The form that tools replaced: {"name", "arguments"} without id or index; one call at most. */
static int read_function_call(struct ah_chat *c, struct ah_chat_choice *ch, struct ah_json v,
                              struct ah_error *err)
{
    struct piece p = {.indexed = true, .index = INT64_MIN, .args = ah_json_get(v, "arguments")};
    int rc;

    if (v.type != AH_JSON_OBJECT)
        return 0;
    ah_buf_init(&p.id, AH_CHAT_NAME_BYTES);
    ah_buf_init(&p.name, AH_CHAT_NAME_BYTES);
    read_text(ah_json_get(v, "name"), &p.name);
    rc = p.name.failed ? fail_full(&p.name, err) : merge_piece(c, ch, &p, err);
    ah_buf_drop(&p.name);
    return rc;
}

/* --- a delta or a message ------------------------------------------------------------------------------ */

static int append_text(struct ah_chat *c, const struct ah_chat_choice *ch, enum ah_chat_delta_kind kind,
                       struct ah_json v, struct ah_buf *to, struct ah_error *err)
{
    size_t before = to->n;

    if (v.type != AH_JSON_STRING)
        return 0;
    if (ah_json_str(v, to) != 0)
        return fail_full(to, err);
    if (c->on_delta != NULL && to->n != before && ch == ah_chat_first(c)) {
        struct ah_chat_delta d = {.kind = kind, .text = to->p + before, .n = to->n - before};
        c->on_delta(c->arg, &d);
    }
    return 0;
}

/* Content that comes as parts: their texts, one after another. */
static int append_parts(struct ah_chat *c, struct ah_chat_choice *ch, struct ah_json parts,
                        struct ah_error *err)
{
    for (struct ah_json_iter it = ah_json_iter(parts); ah_json_next(&it);) {
        struct ah_json refusal = ah_json_get(it.value, "refusal");

        if (append_text(c, ch, AH_CHAT_CONTENT, ah_json_get(it.value, "text"), &ch->content, err) != 0 ||
            append_text(c, ch, AH_CHAT_REFUSAL, refusal, &ch->refusal, err) != 0)
            return -1;
        ch->has_refusal |= refusal.type == AH_JSON_STRING;
        ch->has_content |= ah_json_get(it.value, "text").type == AH_JSON_STRING;
    }
    return 0;
}

static int read_reasoning(struct ah_chat *c, struct ah_chat_choice *ch, struct ah_json content,
                          struct ah_json other, struct ah_error *err)
{
    bool named_content = content.type == AH_JSON_STRING;

    ch->reasoning_content |= named_content;
    return append_text(c, ch, AH_CHAT_REASONING, named_content ? content : other, &ch->reasoning, err);
}

static int read_message(struct ah_chat *c, struct ah_chat_choice *ch, struct ah_json m, struct ah_error *err)
{
    static const char *const keys[] = {"content",   "refusal",       "tool_calls", "reasoning_content",
                                       "reasoning", "function_call", NULL};
    struct ah_json found[6];

    ah_json_pick(m, keys, found);
    struct ah_json content = found[0], refusal = found[1], calls = found[2];

    ch->has_content |= content.type == AH_JSON_STRING;
    ch->has_refusal |= refusal.type == AH_JSON_STRING && refusal.n > 2;
    if (append_text(c, ch, AH_CHAT_CONTENT, content, &ch->content, err) != 0 ||
        append_text(c, ch, AH_CHAT_REFUSAL, refusal, &ch->refusal, err) != 0 ||
        read_reasoning(c, ch, found[3], found[4], err) != 0)
        return -1;
    if (content.type == AH_JSON_ARRAY && append_parts(c, ch, content, err) != 0)
        return -1;
    if (calls.type == AH_JSON_ARRAY)
        for (struct ah_json_iter it = ah_json_iter(calls); ah_json_next(&it);)
            if (it.value.type == AH_JSON_OBJECT && read_piece(c, ch, it.value, err) != 0)
                return -1;
    return read_function_call(c, ch, found[5], err);
}

static enum ah_chat_finish finish_of(const char *text)
{
    static const struct {
        const char *text;
        enum ah_chat_finish finish;
    } known[] = {{"stop", AH_CHAT_STOP},
                 {"length", AH_CHAT_LENGTH},
                 {"tool_calls", AH_CHAT_TOOL_CALLS},
                 {"function_call", AH_CHAT_TOOL_CALLS},
                 {"content_filter", AH_CHAT_CONTENT_FILTER}};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(text, known[i].text) == 0)
            return known[i].finish;
    return AH_CHAT_OTHER;
}

const char *ah_chat_finish_name(enum ah_chat_finish f)
{
    static const char *const names[] = {"", "stop", "length", "tool_calls", "content_filter", "other"};

    return names[f];
}

static int read_choice(struct ah_chat *c, struct ah_json v, bool delta, struct ah_error *err)
{
    int64_t index = 0;
    static const char *const keys[] = {"message", "delta", "finish_reason", "index", NULL};
    struct ah_json found[4];

    if (v.type != AH_JSON_OBJECT)
        return 0;
    ah_json_pick(v, keys, found);
    struct ah_json m = found[delta], finish = found[2];
    ah_json_int(found[3], &index);
    struct ah_chat_choice *ch = find_choice(c, index, err);

    if (ch == NULL)
        return -1;
    /* Some servers answer a stream with whole messages, and the other way round. */
    if (m.type != AH_JSON_OBJECT)
        m = found[!delta];
    if (m.type == AH_JSON_OBJECT && read_message(c, ch, m, err) != 0)
        return -1;
    if (finish.type == AH_JSON_STRING) {
        ah_json_copy(finish, ch->finish_text, sizeof ch->finish_text);
        ch->finish = finish_of(ch->finish_text);
    }
    return 0;
}

/* Its choices are for the caller. */
static int read_head(struct ah_chat *c, struct ah_json v, struct ah_json *choices, struct ah_error *err)
{
    static const char *const keys[] = {
        "service_tier", "system_fingerprint", "usage", "id", "object", "model", "created", "choices", NULL};
    struct ah_json found[8];

    ah_json_pick(v, keys, found);
    struct ah_json tier = found[0], print = found[1], usage = found[2];
    *choices = found[7];

    if (c->id[0] == '\0')
        ah_json_copy(found[3], c->id, sizeof c->id);
    if (c->object[0] == '\0')
        ah_json_copy(found[4], c->object, sizeof c->object);
    if (c->model[0] == '\0')
        ah_json_copy(found[5], c->model, sizeof c->model);
    if (!c->has_created)
        c->has_created = ah_json_int(found[6], &c->created);
    if (tier.type == AH_JSON_STRING) {
        ah_json_copy(tier, c->tier, sizeof c->tier);
        c->has_tier = true;
    }
    if (print.type == AH_JSON_STRING) {
        ah_json_copy(print, c->fingerprint, sizeof c->fingerprint);
        c->has_fingerprint = true;
    }
    if (usage.type != AH_JSON_OBJECT)
        return 0;
    ah_buf_clear(&c->usage); /* cumulative where it comes more than once: the last holds */
    return ah_buf_add(&c->usage, usage.p, usage.n) == 0 ? 0 : fail_full(&c->usage, err);
}

/* --- input ------------------------------------------------------------------------------------------ */

static int fail_not_json(const char *what, const char *data, size_t n, struct ah_error *err)
{
    return ah_err_set(err, AH_PROTOCOL, "the model service sent %s that is not JSON: %.*s%s", what,
                      (int)(n < SNIPPET_CHARS ? n : SNIPPET_CHARS), data, n > SNIPPET_CHARS ? "..." : "");
}

int ah_chat_event(struct ah_chat *c, const char *name, const char *data, size_t n, struct ah_error *err)
{
    struct ah_json v;

    c->streamed = true;
    if (c->done || is_blank(data, n))
        return 0;
    if (n >= 6 && memcmp(data, "[DONE]", 6) == 0) {
        c->done = true;
        return 0;
    }
    if (ah_json_check(data, n, 0, &v, NULL) != 0)
        return fail_not_json("an event", data, n, err);
    if ((name != NULL && strcmp(name, "error") == 0) || ah_chat_error_is(v)) {
        ah_chat_error_value(v, err);
        return -1;
    }
    struct ah_json choices;

    if (read_head(c, v, &choices, err) != 0)
        return -1;
    if (choices.type == AH_JSON_ARRAY)
        for (struct ah_json_iter it = ah_json_iter(choices); ah_json_next(&it);)
            if (read_choice(c, it.value, true, err) != 0)
                return -1;
    return 0;
}

int ah_chat_whole(struct ah_chat *c, const char *body, size_t n, struct ah_error *err)
{
    struct ah_json v;

    if (n >= 3 && memcmp(body, "\xef\xbb\xbf", 3) == 0)
        body += 3, n -= 3; /* proxies of some vendors write one */
    if (is_blank(body, n))
        return ah_err_set(err, AH_PROTOCOL, "the model service answered with an empty body");
    if (ah_json_check(body, n, 0, &v, NULL) != 0)
        return fail_not_json("an answer", body, n, err);
    if (ah_chat_error_is(v)) {
        ah_chat_error_value(v, err);
        return -1;
    }
    struct ah_json choices;

    c->whole = true;
    if (read_head(c, v, &choices, err) != 0)
        return -1;
    if (choices.type != AH_JSON_ARRAY || ah_json_count(choices) == 0)
        return ah_err_set(err, AH_PROTOCOL,
                          "the model service answered without choices: %.*s%s; is the base URL one of "
                          "an OpenAI-compatible API?",
                          (int)(n < SNIPPET_CHARS ? n : SNIPPET_CHARS), body, n > SNIPPET_CHARS ? "..." : "");
    for (struct ah_json_iter it = ah_json_iter(choices); ah_json_next(&it);)
        if (read_choice(c, it.value, false, err) != 0)
            return -1;
    return 0;
}

bool ah_chat_complete(const char *data, size_t n)
{
    return (n >= 6 && memcmp(data, "[DONE]", 6) == 0) || ah_json_check(data, n, 0, NULL, NULL) == 0;
}

const struct ah_chat_choice *ah_chat_first(const struct ah_chat *c)
{
    for (size_t i = 0; i < c->choice_count; i++)
        if (c->choices[i].index == 0)
            return &c->choices[i];
    return c->choice_count != 0 ? &c->choices[0] : NULL;
}

bool ah_chat_finished(const struct ah_chat *c)
{
    const struct ah_chat_choice *ch = ah_chat_first(c);

    return c->done || (ch != NULL && ch->finish != AH_CHAT_UNFINISHED);
}

/* --- the end ------------------------------------------------------------------------------------------ */

/* Copies checked JSON and escapes the raw control characters inside its strings. */
static int escape_controls(const char *p, size_t n, struct ah_buf *to)
{
    bool in_string = false;

    for (size_t i = 0; i < n; i++) {
        unsigned char ch = (unsigned char)p[i];

        if (in_string && ch == '\\' && i + 1 < n) {
            ah_buf_add(to, p + i, 2);
            i++;
            continue;
        }
        if (ch == '"')
            in_string = !in_string;
        if (in_string && ch < 0x20)
            ah_buf_addf(to, "\\u%04x", (unsigned)ch);
        else
            ah_buf_addc(to, (char)ch);
    }
    return to->failed ? -1 : 0;
}

static int set_invalid(struct ah_chat_call *call, const char *why, struct ah_error *err)
{
    free(call->invalid);
    call->invalid = strdup(why);
    return call->invalid != NULL ? 0 : fail_memory(err);
}

/* Takes checked arguments as the call's, repaired where that was needed. */
static int take_args(struct ah_chat_call *call, struct ah_json v, bool raw_controls, struct ah_error *err)
{
    struct ah_buf b;

    ah_buf_init(&b, AH_CHAT_TEXT_BYTES * 2);
    int rc = raw_controls ? escape_controls(v.p, v.n, &b) : ah_buf_add(&b, v.p, v.n);

    call->args = rc == 0 ? ah_buf_take(&b, &call->args_n) : NULL;
    call->repaired |= raw_controls;
    ah_buf_drop(&b);
    return call->args != NULL ? 0 : fail_memory(err);
}

/* Strict; then once more with the one leniency worth having. Leaves the reason of the strict one. */
static int check_args(const char *p, size_t n, bool *raw_controls, struct ah_json *v, struct ah_error *why)
{
    *raw_controls = false;
    if (ah_json_check(p, n, AH_JSON_UNIQUE_KEYS, v, why) == 0)
        return 0;
    *raw_controls = true;
    if (ah_json_check(p, n, AH_JSON_UNIQUE_KEYS | AH_JSON_RAW_CONTROLS, v, NULL) != 0)
        return -1;
    ah_err_drop(why);
    return 0;
}

static const char *type_name(enum ah_json_type type)
{
    return type == AH_JSON_ARRAY ? "array" : type == AH_JSON_NUMBER ? "number" : "boolean";
}

/* A JSON string in place of the object: the object may be inside it. */
static int unwrap_args(struct ah_chat_call *call, struct ah_json v, struct ah_error *err)
{
    struct ah_buf b;
    struct ah_json inner;
    bool raw_controls;
    int rc;

    ah_buf_init(&b, AH_CHAT_TEXT_BYTES);
    if (ah_json_str(v, &b) != 0) {
        rc = fail_full(&b, err);
    } else if (b.n != 0 && check_args(b.p, b.n, &raw_controls, &inner, NULL) == 0 &&
               inner.type == AH_JSON_OBJECT) {
        call->unwrapped = true;
        rc = take_args(call, inner, raw_controls, err);
    } else {
        rc = set_invalid(call, "the arguments are a JSON string, not a JSON object", err);
    }
    ah_buf_drop(&b);
    return rc;
}

static int parse_args(struct ah_chat_call *call, struct ah_error *err)
{
    static const struct ah_json empty = {"{}", 2, AH_JSON_OBJECT};
    struct ah_error why = {0};
    struct ah_json v;
    bool raw_controls;
    int rc;

    if (is_blank(call->raw.p, call->raw.n))
        return take_args(call, empty, false, err);
    if (check_args(call->raw.p, call->raw.n, &raw_controls, &v, &why) != 0) {
        char text[sizeof why.message + 64];

        snprintf(text, sizeof text, "the arguments are not valid JSON: %s", why.message);
        rc = set_invalid(call, text, err);
    } else if (v.type == AH_JSON_NULL) {
        rc = take_args(call, empty, false, err);
    } else if (v.type == AH_JSON_OBJECT) {
        rc = take_args(call, v, raw_controls, err);
    } else if (v.type == AH_JSON_STRING) {
        rc = unwrap_args(call, v, err);
    } else {
        char text[96];

        snprintf(text, sizeof text, "the arguments are a JSON %s, not a JSON object", type_name(v.type));
        rc = set_invalid(call, text, err);
    }
    ah_err_drop(&why);
    return rc;
}

static int settle_call(struct ah_chat_call *call, enum ah_chat_finish finish, struct ah_error *err)
{
    if (finish == AH_CHAT_LENGTH)
        return set_invalid(
            call,
            "the answer was cut at its token limit (finish_reason length), so the arguments may "
            "be incomplete; the call was not run",
            err);
    if (finish == AH_CHAT_CONTENT_FILTER)
        return set_invalid(call,
                           "the answer was cut by a content filter (finish_reason content_filter), so the "
                           "arguments may be incomplete; the call was not run",
                           err);
    if (call->custom)
        return set_invalid(call, "a call of a free-text (custom) tool, which this host does not offer", err);
    if (call->name.n == 0)
        return set_invalid(call, "the call names no function", err);
    return parse_args(call, err);
}

static bool id_is_taken(const struct ah_chat_choice *ch, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (same_text(&ch->calls[k].id, &ch->calls[i].id))
            return true;
    return false;
}

static int settle_choice(struct ah_chat *c, struct ah_chat_choice *ch, struct ah_error *err)
{
    for (size_t i = 0; i < ch->call_count; i++) {
        struct ah_chat_call *call = &ch->calls[i];

        /* Without an id of its own a call cannot be paired with its result. */
        if (call->id.n == 0 || id_is_taken(ch, i)) {
            char token[25];

            ah_ids_token(c->ids, token, sizeof token - 1);
            ah_buf_clear(&call->id);
            if (ah_buf_addf(&call->id, "call_%s", token) != 0)
                return fail_memory(err);
        }
        if (settle_call(call, ch->finish, err) != 0)
            return -1;
    }
    return 0;
}

int ah_chat_end(struct ah_chat *c, struct ah_error *err)
{
    struct ah_chat_choice *first = NULL;

    for (size_t i = 0; i < c->choice_count; i++)
        if (&c->choices[i] == ah_chat_first(c))
            first = &c->choices[i];
    if (c->ended)
        return 0;
    if (c->streamed && !ah_chat_finished(c))
        return ah_err_set(err, AH_TRUNCATED,
                          "the model's answer stopped before its end (no finish_reason and no [DONE] came); "
                          "the connection or a gateway cut it");
    if (first == NULL)
        return ah_err_set(err, AH_PROTOCOL, "the model service ended its stream without any choice");
    if (first->finish == AH_CHAT_UNFINISHED) {
        c->flagged = true;
        first->finish = first->call_count != 0 ? AH_CHAT_TOOL_CALLS : AH_CHAT_STOP;
    }
    for (size_t i = 0; i < c->choice_count; i++)
        if (settle_choice(c, &c->choices[i], err) != 0)
            return -1;
    c->ended = true;
    return 0;
}

/* --- output ------------------------------------------------------------------------------------------- */

static void put_buf(struct ah_json_writer *w, const struct ah_buf *b)
{
    ah_json_put_strn(w, ah_buf_str(b), b->n);
}

static void write_call(struct ah_json_writer *w, const struct ah_chat_call *call, size_t position)
{
    ah_json_object(w);
    ah_json_key(w, "index");
    ah_json_put_int(w, call->indexed && call->index >= 0 ? call->index : (int64_t)position);
    ah_json_key(w, "id");
    put_buf(w, &call->id);
    ah_json_key(w, "type");
    ah_json_put_str(w, call->custom ? "custom" : "function");
    ah_json_key(w, call->custom ? "custom" : "function");
    ah_json_object(w);
    ah_json_key(w, "name");
    put_buf(w, &call->name);
    ah_json_key(w, call->custom ? "input" : "arguments");
    put_buf(w, &call->raw);
    ah_json_end_object(w);
    ah_json_end_object(w);
}

static void write_message(struct ah_json_writer *w, const struct ah_chat_choice *ch)
{
    ah_json_object(w);
    ah_json_key(w, "role");
    ah_json_put_str(w, "assistant");
    ah_json_key(w, "content");
    if (ch->has_content)
        put_buf(w, &ch->content);
    else
        ah_json_put_null(w);
    if (ch->has_refusal) {
        ah_json_key(w, "refusal");
        put_buf(w, &ch->refusal);
    }
    if (ch->reasoning.n != 0) {
        ah_json_key(w, ch->reasoning_content ? "reasoning_content" : "reasoning");
        put_buf(w, &ch->reasoning);
    }
    if (ch->call_count != 0) {
        ah_json_key(w, "tool_calls");
        ah_json_array(w);
        for (size_t i = 0; i < ch->call_count; i++)
            write_call(w, &ch->calls[i], i);
        ah_json_end_array(w);
    }
    ah_json_end_object(w);
}

static void write_choice(struct ah_json_writer *w, const struct ah_chat_choice *ch)
{
    ah_json_object(w);
    ah_json_key(w, "index");
    ah_json_put_int(w, ch->index);
    ah_json_key(w, "finish_reason");
    if (ch->finish_text[0] != '\0')
        ah_json_put_str(w, ch->finish_text);
    else
        ah_json_put_null(w);
    ah_json_key(w, "message");
    write_message(w, ch);
    ah_json_end_object(w);
}

int ah_chat_write(const struct ah_chat *c, bool usage, struct ah_buf *to)
{
    struct ah_json_writer w;

    ah_json_begin(&w, to, NULL);
    ah_json_object(&w);
    ah_json_key(&w, "id");
    ah_json_put_str(&w, c->id);
    ah_json_key(&w, "object");
    ah_json_put_str(&w, c->object);
    if (c->has_created) {
        ah_json_key(&w, "created");
        ah_json_put_int(&w, c->created);
    }
    ah_json_key(&w, "model");
    ah_json_put_str(&w, c->model);
    ah_json_key(&w, "choices");
    ah_json_array(&w);
    for (size_t i = 0; i < c->choice_count; i++)
        write_choice(&w, &c->choices[i]);
    ah_json_end_array(&w);
    if (c->has_tier) {
        ah_json_key(&w, "service_tier");
        ah_json_put_str(&w, c->tier);
    }
    if (c->has_fingerprint) {
        ah_json_key(&w, "system_fingerprint");
        ah_json_put_str(&w, c->fingerprint);
    }
    if (usage && c->usage.n != 0) {
        ah_json_key(&w, "usage");
        ah_json_put_raw(&w, c->usage.p, c->usage.n);
    }
    ah_json_end_object(&w);
    return to->failed ? -1 : 0;
}

/* --- usage ---------------------------------------------------------------------------------------------- */

/* A count, whole or written as a float (some gateways do). */
static bool read_count(struct ah_json v, int64_t *out)
{
    double d;

    if (ah_json_int(v, out))
        return *out >= 0;
    if (!ah_json_num(v, &d) || !(d >= 0 && d < 9e15))
        return false;
    *out = (int64_t)d;
    return true;
}

/* Each count under the name of one API, and of the other. */
static bool first_count(const struct ah_json names[2], int64_t *out)
{
    return read_count(names[0], out) || read_count(names[1], out);
}

struct detail {
    const char *from, *to;
    bool tiered; /* takes the tier's prefix, and is taken off the tier's own count */
};

/* A *_token_details object; with tier priority or flex its keys carry the tier, and the tier itself
 * has the rest. Nothing is written when nothing is known. */
static void write_details(struct ah_json_writer *w, const char *name, struct ah_json from,
                          const struct detail *rows, size_t count, const char *tier, int64_t all)
{
    bool tiered = strcmp(tier, "priority") == 0 || strcmp(tier, "flex") == 0, open = false;
    int64_t rest = all, v;

    for (size_t i = 0; i <= count; i++) {
        char key[64];

        if (i < count) {
            if (!read_count(ah_json_get(from, rows[i].from), &v))
                continue;
            snprintf(key, sizeof key, "%s%s%s", tiered && rows[i].tiered ? tier : "",
                     tiered && rows[i].tiered ? "_" : "", rows[i].to);
            if (rows[i].tiered)
                rest -= v;
        } else {
            if (!tiered)
                break;
            snprintf(key, sizeof key, "%s", tier);
            v = rest > 0 ? rest : 0;
        }
        if (!open) {
            ah_json_key(w, name);
            ah_json_object(w);
            open = true;
        }
        ah_json_key(w, key);
        ah_json_put_int(w, v);
    }
    if (open)
        ah_json_end_object(w);
}

static struct ah_json first_details(const struct ah_json names[2])
{
    return names[0].type == AH_JSON_OBJECT ? names[0] : names[1];
}

int ah_chat_usage(struct ah_json usage, const char *tier, struct ah_buf *to, struct ah_chat_tokens *tokens)
{
    static const struct detail input[] = {{"audio_tokens", "audio", false},
                                          {"cached_tokens", "cache_read", true}};
    static const struct detail output[] = {{"audio_tokens", "audio", false},
                                           {"reasoning_tokens", "reasoning", true}};
    static const char *const keys[] = {"prompt_tokens",
                                       "input_tokens",
                                       "completion_tokens",
                                       "output_tokens",
                                       "prompt_tokens_details",
                                       "input_tokens_details",
                                       "completion_tokens_details",
                                       "output_tokens_details",
                                       "total_tokens",
                                       "cost",
                                       NULL};
    struct ah_json found[10];
    struct ah_json_writer w;
    double cost;

    ah_json_pick(usage, keys, found);
    *tokens = (struct ah_chat_tokens){.cost = -1};
    if (ah_json_num(found[9], &cost) && cost > 0)
        tokens->cost = cost; /* zero means unmeasured, not free */
    bool in = first_count(found, &tokens->input);
    bool out = first_count(found + 2, &tokens->output);

    if (!in && !out)
        return -1;
    if (!read_count(found[8], &tokens->total))
        tokens->total = tokens->input + tokens->output;
    ah_json_begin(&w, to, NULL);
    ah_json_object(&w);
    ah_json_key(&w, "input_tokens");
    ah_json_put_int(&w, tokens->input);
    ah_json_key(&w, "output_tokens");
    ah_json_put_int(&w, tokens->output);
    ah_json_key(&w, "total_tokens");
    ah_json_put_int(&w, tokens->total);
    write_details(&w, "input_token_details", first_details(found + 4), input, 2, tier, tokens->input);
    write_details(&w, "output_token_details", first_details(found + 6), output, 2, tier, tokens->output);
    ah_json_end_object(&w);
    return to->failed ? -1 : 0;
}
