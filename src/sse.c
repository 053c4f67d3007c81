/* Server-sent events: cuts bytes into lines, lines into fields, fields into events.
 *
 * Called by http.c for every piece of a streaming body. Must never look at what an event means, and
 * must give the same events however the bytes were cut into pieces. */
#include "sse.h"

#include "err.h"
#include "limits.h"

#include <stdlib.h>
#include <string.h>

#define RETRY_DIGITS_COUNT 12

void ah_sse_init(struct ah_sse *s, int (*on_event)(void *, const struct ah_sse_event *), void *arg)
{
    *s = (struct ah_sse){.retry_ms = -1, .on_event = on_event, .arg = arg};
    ah_buf_init(&s->line, AH_SSE_LINE_BYTES);
    ah_buf_init(&s->data, AH_SSE_EVENT_BYTES);
    ah_buf_init(&s->name, AH_SSE_LINE_BYTES);
}

void ah_sse_drop(struct ah_sse *s)
{
    ah_buf_drop(&s->line);
    ah_buf_drop(&s->data);
    ah_buf_drop(&s->name);
    free(s->id);
    *s = (struct ah_sse){0};
}

static int refuse_size(struct ah_error *err, const char *what, size_t max)
{
    return ah_err_set(err, AH_LIMIT, "The event stream holds %s of more than %zu bytes, so it was given up.",
                      what, max);
}

static int take_data(struct ah_sse *s, const char *p, size_t n, struct ah_error *err)
{
    if (s->has_data)
        ah_buf_addc(&s->data, '\n');
    s->has_data = true;
    ah_buf_add(&s->data, p, n);
    return s->data.failed ? refuse_size(err, "an event", AH_SSE_EVENT_BYTES) : 0;
}

static int take_id(struct ah_sse *s, const char *p, size_t n, struct ah_error *err)
{
    if (memchr(p, '\0', n))
        return 0;
    char *id = strndup(p, n);
    if (!id)
        return ah_err_set(err, AH_MEMORY, "Out of memory while reading an event stream.");
    free(s->id);
    s->id = id;
    return 0;
}

static void take_retry(struct ah_sse *s, const char *p, size_t n)
{
    int64_t ms = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9' || i == RETRY_DIGITS_COUNT)
            return;
        ms = ms * 10 + (p[i] - '0');
    }
    if (n)
        s->retry_ms = ms;
}

static int dispatch(struct ah_sse *s, struct ah_error *err)
{
    int stop = 0;
    if (s->has_data) {
        const char *name = ah_buf_str(&s->name); /* read up to a NUL, if it holds one */
        struct ah_sse_event ev = {
            .name = name[0] ? name : "message",
            .data = ah_buf_str(&s->data),
            .n = s->data.n,
        };
        stop = s->on_event(s->arg, &ev);
    }
    s->has_data = false;
    ah_buf_clear(&s->data);
    ah_buf_clear(&s->name);
    return stop ? ah_err_set(err, AH_CANCELLED, "The reader of the event stream stopped it.") : 0;
}

static bool is_field(const char *p, size_t n, const char *field)
{
    return strlen(field) == n && memcmp(p, field, n) == 0;
}

static int take_line(struct ah_sse *s, const char *p, size_t n, struct ah_error *err)
{
    if (!s->past_bom && n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
        p += 3;
        n -= 3;
    }
    s->past_bom = true;
    if (n == 0)
        return dispatch(s, err);
    if (p[0] == ':') {
        s->comments++;
        return 0;
    }
    const char *colon = memchr(p, ':', n);
    size_t field = colon ? (size_t)(colon - p) : n;
    const char *value = colon ? colon + 1 : p + n;
    if (value < p + n && *value == ' ')
        value++;
    size_t rest = n - (size_t)(value - p);
    if (is_field(p, field, "data"))
        return take_data(s, value, rest, err);
    if (is_field(p, field, "event")) {
        ah_buf_clear(&s->name);
        if (ah_buf_add(&s->name, value, rest) != 0)
            return ah_err_set(err, AH_MEMORY, "Out of memory while reading an event stream.");
    } else if (is_field(p, field, "id")) {
        return take_id(s, value, rest, err);
    } else if (is_field(p, field, "retry")) {
        take_retry(s, value, rest);
    }
    return 0;
}

int ah_sse_feed(struct ah_sse *s, const char *p, size_t n, struct ah_error *err)
{
    const char *end = p + n;
    while (p < end) {
        if (s->last_cr && *p == '\n')
            p++;
        s->last_cr = false;
        const char *eol = p;
        while (eol < end && *eol != '\n' && *eol != '\r')
            eol++;
        size_t len = (size_t)(eol - p);
        if (s->line.n + len > AH_SSE_LINE_BYTES)
            return refuse_size(err, "a line", AH_SSE_LINE_BYTES);
        if ((eol == end || s->line.n) && ah_buf_add(&s->line, p, len) != 0)
            return ah_err_set(err, AH_MEMORY, "Out of memory while reading an event stream.");
        if (eol == end)
            return 0;
        s->last_cr = *eol == '\r';
        /* A line that lies whole in this piece is read where it lies. */
        int rc = s->line.n ? take_line(s, s->line.p, s->line.n, err) : take_line(s, p, len, err);
        ah_buf_clear(&s->line);
        if (rc != 0)
            return -1;
        p = eol + 1;
    }
    return 0;
}

int ah_sse_end(struct ah_sse *s, bool (*complete)(const char *data, size_t n), struct ah_error *err)
{
    bool cut_line = false;
    if (s->line.n > 0) {
        uint64_t comments = s->comments;
        int rc = take_line(s, s->line.p, s->line.n, err);
        ah_buf_clear(&s->line);
        if (rc != 0)
            return -1;
        cut_line = s->comments == comments;
    }
    if (s->has_data && complete && complete(ah_buf_str(&s->data), s->data.n))
        return dispatch(s, err);
    bool pending = s->has_data || s->name.n > 0 || cut_line;
    s->has_data = false;
    ah_buf_clear(&s->data);
    ah_buf_clear(&s->name);
    if (!pending)
        return 0;
    return ah_err_set(err, AH_TRUNCATED, "The event stream ended in the middle of an event.");
}
