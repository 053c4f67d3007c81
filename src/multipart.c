/* multipart/form-data: the writer that LangSmith's ingestion wants, and a reader for the emulator.
 *
 * Called by langsmith.c and lua_server.c. Must never guess: a body that does not end in its closing
 * boundary is cut, whatever it holds. */
#include "multipart.h"

#include "buf.h"
#include "err.h"

#include <string.h>
#include <strings.h>

#define BOUNDARY_MAX_BYTES 70
#define HEADER_MAX_BYTES ((size_t)16 << 10)
#define LENGTH_DIGITS_COUNT 18

struct cursor {
    const char *p, *end;
    const char *boundary;
    size_t boundary_n;
    int number; /* of the part, for messages */
    struct ah_error *err;
};

/* What the headers of one part say; texts live in `pool`, as offsets + 1 while it grows. */
struct headers {
    struct ah_buf pool;
    size_t name, type, filename;
    long long length;
    bool encoded;
};

static void put_size(struct ah_buf *to, size_t n)
{
    char digits[24], *p = digits + sizeof digits;
    do
        *--p = (char)('0' + n % 10);
    while (n /= 10);
    ah_buf_add(to, p, (size_t)(digits + sizeof digits - p));
}

/* Without printf: a trace of 100,000 spans has half a million parts. */
int ah_multipart_add(struct ah_buf *to, const char *boundary, const char *name, const char *type,
                     const char *p, size_t n)
{
    if (strpbrk(name, "\"\\\r\n") || (type && strpbrk(type, "\r\n")))
        return -1;
    ah_buf_adds(to, "--");
    ah_buf_adds(to, boundary);
    ah_buf_adds(to, "\r\nContent-Disposition: form-data; name=\"");
    ah_buf_adds(to, name);
    ah_buf_adds(to, "\"\r\nContent-Type: ");
    ah_buf_adds(to, type ? type : "application/json");
    ah_buf_adds(to, "\r\nContent-Length: ");
    put_size(to, n);
    ah_buf_adds(to, "\r\n\r\n");
    ah_buf_add(to, p, n);
    return ah_buf_adds(to, "\r\n");
}

int ah_multipart_end(struct ah_buf *to, const char *boundary)
{
    return ah_buf_addf(to, "--%s--\r\n", boundary);
}

static const char *skip_blank(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    return p;
}

static bool is_token(char c)
{
    return (unsigned char)c > 0x20 && (unsigned char)c < 0x7f && !strchr("()<>@,;:\\\"/[]?=", c);
}

/* A parameter's value at p, unquoted, onto `to`. Returns what follows it, or NULL. A backslash is an
 * escape only before '"' and '\': browsers send file names with bare ones. */
static const char *read_value(const char *p, const char *end, struct ah_buf *to)
{
    if (p == end || *p != '"') {
        for (; p < end && is_token(*p); p++)
            ah_buf_addc(to, *p);
        return p;
    }
    for (p++; p < end && *p != '"'; p++) {
        if (*p == '\\' && p + 1 < end && (p[1] == '"' || p[1] == '\\'))
            p++;
        ah_buf_addc(to, *p);
    }
    return p < end ? p + 1 : NULL;
}

/* Whether the header value p..end has the parameter; its text is appended to `to`. */
static bool find_parameter(const char *p, const char *end, const char *wanted, struct ah_buf *to)
{
    size_t mark = to->n;
    while (p < end && *p != ';')
        p++;
    while (p && p < end && *p == ';') {
        p = skip_blank(p + 1, end);
        const char *key = p;
        while (p < end && is_token(*p))
            p++;
        size_t n = (size_t)(p - key);
        p = skip_blank(p, end);
        if (p == end || *p != '=')
            return false;
        p = read_value(skip_blank(p + 1, end), end, to);
        if (p && n == strlen(wanted) && strncasecmp(key, wanted, n) == 0)
            return !to->failed;
        if (to->p)
            to->p[to->n = mark] = '\0';
        if (p)
            p = skip_blank(p, end);
    }
    return false;
}

int ah_multipart_boundary(const char *content_type, char *out, size_t size)
{
    if (strncasecmp(content_type, "multipart/", 10) != 0)
        return -1;
    struct ah_buf b;
    ah_buf_init(&b, HEADER_MAX_BYTES);
    int rc = -1;
    if (find_parameter(content_type, content_type + strlen(content_type), "boundary", &b) && b.n >= 1 &&
        b.n <= BOUNDARY_MAX_BYTES && b.n < size && b.p[b.n - 1] != ' ' && !strpbrk(b.p, "\r\n")) {
        memcpy(out, b.p, b.n + 1);
        rc = 0;
    }
    ah_buf_drop(&b);
    return rc;
}

static int refuse_cut(struct cursor *c)
{
    return ah_err_set(c->err, AH_PROTOCOL, "multipart: NextPart: EOF");
}

static int refuse_part(struct cursor *c, const char *why)
{
    return ah_err_set(c->err, AH_PROTOCOL, "multipart: part %d: %s", c->number, why);
}

/* Whether a boundary line begins at p. *after: what follows it; NULL after the closing one.
 * A line that the end of the body cuts is none. */
static bool is_boundary(const struct cursor *c, const char *p, const char **after)
{
    size_t left = (size_t)(c->end - p);
    if (left < c->boundary_n + 4 || p[0] != '-' || p[1] != '-' ||
        memcmp(p + 2, c->boundary, c->boundary_n) != 0)
        return false;
    p += 2 + c->boundary_n;
    bool closing = p[0] == '-' && p[1] == '-';
    p = skip_blank(closing ? p + 2 : p, c->end);
    if (closing && p == c->end) {
        *after = NULL;
        return true;
    }
    if (c->end - p < 2 || p[0] != '\r' || p[1] != '\n')
        return false;
    *after = closing ? NULL : p + 2;
    return true;
}

/* The first boundary line that begins a line at or after c->p. Returns where the payload before it
 * ends (without the CRLF that belongs to the boundary), or NULL: there is none. */
static const char *find_boundary(const struct cursor *c, bool at_start, const char **after)
{
    if (at_start && is_boundary(c, c->p, after))
        return c->p;
    const char *p = c->p;
    while ((p = memmem(p, (size_t)(c->end - p), "\r\n--", 4)) != NULL) {
        if (is_boundary(c, p + 2, after))
            return p;
        p += 2;
    }
    return NULL;
}

static int read_length(struct cursor *c, const char *p, const char *end, struct headers *h)
{
    long long length = 0;
    if (p == end || end - p > LENGTH_DIGITS_COUNT)
        return refuse_part(c, "its length is not a number");
    for (; p < end; p++) {
        if (*p < '0' || *p > '9')
            return refuse_part(c, "its length is not a number");
        length = length * 10 + (*p - '0');
    }
    h->length = length;
    return 0;
}

/* Puts a parameter into the pool. Returns its place + 1, or 0: it is not there. */
static size_t pool_parameter(struct headers *h, const char *p, const char *end, const char *wanted)
{
    size_t place = h->pool.n;
    if (!find_parameter(p, end, wanted, &h->pool) || ah_buf_addc(&h->pool, '\0') != 0)
        return 0;
    return place + 1;
}

static int read_content_type(struct cursor *c, struct headers *h, const char *p, const char *end)
{
    h->type = h->pool.n + 1;
    ah_buf_add(&h->pool, p, (size_t)(end - p));
    ah_buf_addc(&h->pool, '\0');
    size_t mark = h->pool.n;
    size_t length = pool_parameter(h, p, end, "length");
    if (!length || h->length >= 0)
        return 0;
    return read_length(c, h->pool.p + mark, h->pool.p + h->pool.n - 1, h);
}

static int read_header(struct cursor *c, struct headers *h, const char *p, const char *end)
{
    const char *colon = memchr(p, ':', (size_t)(end - p));
    if (!colon || colon == p || !is_token(p[0]))
        return refuse_part(c, "malformed MIME header line; it must read Name: value");
    size_t n = (size_t)(colon - p);
    const char *value = skip_blank(colon + 1, end);
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    if (n == 19 && strncasecmp(p, "Content-Disposition", n) == 0 && !h->name) {
        h->name = pool_parameter(h, value, end, "name");
        h->filename = pool_parameter(h, value, end, "filename");
    } else if (n == 12 && strncasecmp(p, "Content-Type", n) == 0 && !h->type) {
        return read_content_type(c, h, value, end);
    } else if (n == 14 && strncasecmp(p, "Content-Length", n) == 0) {
        return read_length(c, value, end, h);
    } else if (n == 16 && strncasecmp(p, "Content-Encoding", n) == 0) {
        h->encoded = true;
    }
    return 0;
}

/* From c->p to behind the empty line. */
static int read_headers(struct cursor *c, struct headers *h)
{
    const char *start = c->p;
    for (;;) {
        const char *eol = memmem(c->p, (size_t)(c->end - c->p), "\r\n", 2);
        if (!eol)
            return refuse_cut(c);
        const char *line = c->p;
        c->p = eol + 2;
        if (eol == line)
            return h->pool.failed ? refuse_part(c, "its headers are too long") : 0;
        if ((size_t)(c->p - start) > HEADER_MAX_BYTES)
            return refuse_part(c, "its headers are too long");
        if (memchr(line, '\0', (size_t)(eol - line)))
            return refuse_part(c, "a header holds a NUL byte");
        if (read_header(c, h, line, eol) != 0)
            return -1;
    }
}

static int read_part(struct cursor *c, struct headers *h, const char **after,
                     int (*on_part)(void *arg, const struct ah_multipart_part *part), void *arg)
{
    h->length = -1;
    ah_buf_init(&h->pool, 2 * HEADER_MAX_BYTES);
    if (read_headers(c, h) != 0)
        return -1;
    /* An empty payload may follow the empty line with no CRLF of its own. */
    const char *payload = c->p;
    const char *end = find_boundary(c, true, after);
    if (!end)
        return refuse_cut(c);
    struct ah_multipart_part part = {
        .name = h->name ? h->pool.p + h->name - 1 : "",
        .type = h->type ? h->pool.p + h->type - 1 : "",
        .filename = h->filename ? h->pool.p + h->filename - 1 : NULL,
        .length = h->length,
        .encoded = h->encoded,
        .p = payload,
        .n = (size_t)(end - payload),
    };
    return on_part(arg, &part) == 0 ? 0
                                    : ah_err_set(c->err, AH_CANCELLED, "The reader of the parts stopped.");
}

int ah_multipart_read(const char *body, size_t n, const char *boundary,
                      int (*on_part)(void *arg, const struct ah_multipart_part *part), void *arg,
                      struct ah_error *err)
{
    struct cursor c = {
        .p = body, .end = body + n, .boundary = boundary, .boundary_n = strlen(boundary), .err = err};
    const char *after = NULL;
    c.end = c.p + n;
    if (!find_boundary(&c, true, &after))
        return refuse_cut(&c);
    while (after) {
        struct headers h = {0};
        c.p = after;
        c.number++;
        int rc = read_part(&c, &h, &after, on_part, arg);
        ah_buf_drop(&h.pool);
        if (rc != 0)
            return -1;
    }
    return 0;
}
