/* How the trace's files keep members and write texts into events. Called by trace*.c. Must never write a text that
 * was not looked through for registered secrets, unless it is ours. */
#include "trace_put.h"

#include "limits.h"
#include "loop.h"
#include "secret.h"

#include <stdlib.h>
#include <string.h>

#define ISO_DIGITS 20                  /* where the six digits begin */
#define DEEP_COUNT (AH_JSON_DEPTH - 8) /* levels: what a value is put into has some, too */

/* --- small things -------------------------------------------------------------------------------- */

int64_t ah_trace_now(struct ah_trace *t)
{
    return ah_clock_wall_us(ah_loop_clock(t->core->loop));
}

/* "2026-11-22T10:00:00.000120Z", three times a span: so only the digits are made anew. */
void ah_trace_put_iso(struct ah_trace *t, int64_t us, char out[AH_CLOCK_ISO_BYTES])
{
    if (us < 0 || us / 1000000 != t->second || !t->iso[0]) {
        ah_clock_iso(us, t->iso);
        t->second = us / 1000000;
    }
    memcpy(out, t->iso, AH_TRACE_ISO_N + 1);
    int64_t digits = us < 0 ? 0 : us % 1000000;
    for (int i = ISO_DIGITS + 5; us >= 0 && i >= ISO_DIGITS; i--, digits /= 10)
        out[i] = (char)('0' + digits % 10);
}

void ah_trace_drop_members(struct ah_trace_members *m)
{
    for (size_t i = 0; i < m->count; i++) {
        free(m->list[i].key);
        free(m->list[i].json);
    }
    free(m->list);
    *m = (struct ah_trace_members){0};
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

void ah_trace_set_member(struct ah_trace_members *m, const char *key, const char *json, size_t n)
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
    struct ah_trace_member *list = realloc(m->list, (m->count + 1) * sizeof *list);
    m->list = list ? list : m->list;
    char *name = list ? strdup(key) : NULL;
    if (!name) {
        free(copy);
        return;
    }
    m->list[m->count++] = (struct ah_trace_member){name, copy, n};
}

void ah_trace_add_members(struct ah_trace_members *m, const char *json, size_t n)
{
    struct ah_json object;
    if (!json || ah_json_check(json, n, 0, &object, NULL) != 0 || object.type != AH_JSON_OBJECT)
        return;
    for (struct ah_json_iter it = ah_json_iter(object); ah_json_next(&it);) {
        char *key = ah_json_dup(it.key);
        if (key)
            ah_trace_set_member(m, key, it.value.p, it.value.n);
        free(key);
    }
}

void ah_trace_quote_members(struct ah_buf *to, const struct ah_trace_members *m, const char *comma)
{
    for (size_t i = 0; i < m->count; i++, comma = ",") {
        ah_buf_adds(to, comma);
        ah_json_quote(to, m->list[i].key, strlen(m->list[i].key));
        ah_buf_addc(to, ':');
        ah_buf_add(to, m->list[i].json, m->list[i].n);
    }
}

void ah_trace_add_tag(struct ah_buf *tags, const char *tag)
{
    struct ah_buf quoted;
    ah_buf_init(&quoted, AH_TRACE_SMALL_BYTES);
    ah_json_quote(&quoted, tag, strlen(tag));
    if (!quoted.failed && (!tags->n || !memmem(tags->p, tags->n, quoted.p, quoted.n))) {
        if (tags->n)
            ah_buf_addc(tags, ',');
        ah_buf_add(tags, quoted.p, quoted.n);
    }
    ah_buf_drop(&quoted);
}

/* --- writing with secrets masked ----------------------------------------------------------------- */

const char *ah_trace_mask(struct ah_trace *t, const char *p, size_t *n)
{
    if (!t->core->secrets || !ah_secret_found(t->core->secrets, p, *n))
        return p;
    ah_buf_clear(&t->masked);
    ah_secret_mask(t->core->secrets, p, *n, &t->masked);
    *n = t->masked.n;
    return ah_buf_str(&t->masked);
}

void ah_trace_put_str(struct ah_trace *t, const char *text, size_t n)
{
    const char *p = ah_trace_mask(t, text, &n);
    ah_store_put_str(t->store, p, n);
}

void ah_trace_put_text(struct ah_trace *t, const char *text)
{
    ah_trace_put_str(t, text, strlen(text));
}

/* Would it be too deep for readers once it is inside an event, and that inside a request? Few brackets need no look at
 * the levels. */
bool ah_trace_is_deep(const char *p, size_t n)
{
    const char *at = p, *end = p + n;
    int closed = 0, depth = 0;
    for (; closed <= DEEP_COUNT && (at = memchr(at, '}', (size_t)(end - at))) != NULL; at++)
        closed++;
    for (at = p; closed <= DEEP_COUNT && (at = memchr(at, ']', (size_t)(end - at))) != NULL; at++)
        closed++;
    bool text = false;
    for (at = p; closed > DEEP_COUNT && at < end && depth <= DEEP_COUNT; at++) {
        if (text && *at == '\\')
            at++;
        else if (*at == '"')
            text = !text;
        else if (!text)
            depth += *at == '{' || *at == '[' ? 1 : *at == '}' || *at == ']' ? -1 : 0;
    }
    return depth > DEEP_COUNT;
}

/* A JSON value. A mask inside a number makes it no JSON: then its text is kept as a string, and so is that of a value
 * that is too deep. */
void ah_trace_put_json(struct ah_trace *t, const char *json, size_t n, bool object)
{
    const char *p = ah_trace_mask(t, json, &n);
    bool deep = ah_trace_is_deep(p, n);
    if (deep || (p != json && ah_json_check(p, n, 0, NULL, NULL) != 0)) {
        ah_store_puts(t->store, !object ? "" : deep ? "{\"deep\":" : "{\"masked\":");
        ah_store_put_str(t->store, p, n);
        ah_store_puts(t->store, object ? "}" : "");
    } else if (object) {
        ah_store_put_object(t->store, p, n);
    } else {
        ah_store_put_json(t->store, p, n);
    }
}

void ah_trace_put_members(struct ah_trace *t, const struct ah_trace_members *m, const char *comma)
{
    for (size_t i = 0; i < m->count; i++, comma = ",") {
        ah_store_puts(t->store, comma);
        ah_trace_put_text(t, m->list[i].key);
        ah_store_puts(t->store, ":");
        ah_trace_put_json(t, m->list[i].json, m->list[i].n, false);
    }
}

void ah_trace_put_list(struct ah_trace *t, const char *key, const struct ah_buf *items)
{
    if (items->n == 0)
        return;
    size_t n = items->n;
    const char *p = ah_trace_mask(t, items->p, &n);
    ah_store_puts(t->store, key);
    ah_store_puts(t->store, "[");
    ah_store_put(t->store, p, n);
    ah_store_puts(t->store, "]");
}

/* The members in `members` as one object. */
void ah_trace_put_object(struct ah_trace *t, const struct ah_buf *members)
{
    struct ah_buf object;
    ah_buf_init(&object, AH_TRACE_MASKED_BYTES);
    ah_buf_addc(&object, '{');
    ah_buf_add(&object, ah_buf_str(members), members->n);
    ah_buf_addc(&object, '}');
    if (object.failed || members->failed)
        ah_store_puts(t->store, "{}");
    else
        ah_trace_put_json(t, object.p, object.n, true);
    ah_buf_drop(&object);
}

void ah_trace_put_field(struct ah_store *store, const char *key, const char *value, size_t n)
{
    ah_store_puts(store, key);
    ah_store_put(store, value, n);
    ah_store_puts(store, "\"");
}
