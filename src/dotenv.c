/* The grammar of .env files, in one pass.
 *
 * Called by config.c. Must never quote what it reads in a message: a line that is no pair may be a key
 * that was pasted in the wrong place. */
#include "dotenv.h"

#include "buf.h"
#include "err.h"
#include "limits.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define DOTENV_NAMES_COUNT 4096
#define DOTENV_POOL_BYTES (4 * AH_DOTENV_BYTES) /* expansion can make a file larger */
#define DOTENV_DEPTH 16                         /* of ${A:-${B:-...}} */

/* Where a pair of this text lies in the pool: name NUL value NUL. */
struct pair {
    size_t name, value;
};

struct parser {
    const char *p, *end;
    int line;
    struct ah_buf pool;
    struct pair *pairs;
    size_t count;
    const char *(*lookup)(void *arg, const char *name);
    int (*on_pair)(void *arg, int line, const char *name, const char *value, size_t n);
    void *arg;
    struct ah_error *err;
};

/* How the text being read ends, and whether it knows escapes. */
enum manner { UNQUOTED, QUOTED };

static int read_text(struct parser *ps, enum manner manner, int depth);

static int refuse(struct parser *ps, int line, const char *why)
{
    return ah_err_set(ps->err, AH_CONFIG, "line %d: %s", line, why);
}

static int refuse_pool(struct parser *ps)
{
    return refuse(ps, ps->line, "the values of this file are too large when expanded; shorten them");
}

static bool is_name_start(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

static bool is_name_byte(char c)
{
    return is_name_start(c) || (c >= '0' && c <= '9');
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static void skip_blank(struct parser *ps)
{
    while (ps->p < ps->end && is_blank(*ps->p))
        ps->p++;
}

static void skip_line(struct parser *ps)
{
    while (ps->p < ps->end && *ps->p != '\n')
        ps->p++;
}

static size_t name_length(const char *p, const char *end)
{
    const char *q = p;
    if (q < end && is_name_start(*q))
        while (q < end && is_name_byte(*q))
            q++;
    return (size_t)(q - p);
}

static int add_byte(struct parser *ps, char c)
{
    return ah_buf_addc(&ps->pool, c) == 0 ? 0 : refuse_pool(ps);
}

/* The value of p[0..n): this text's own lines first, the last one first. "" is as good as unset. */
static const char *find_value(struct parser *ps, const char *p, size_t n)
{
    for (size_t i = ps->count; i > 0; i--) {
        const char *name = ps->pool.p + ps->pairs[i - 1].name;
        if (strlen(name) == n && memcmp(name, p, n) == 0)
            return ps->pool.p + ps->pairs[i - 1].value;
    }
    char *name = ps->lookup ? strndup(p, n) : NULL;
    const char *value = name ? ps->lookup(ps->arg, name) : NULL;
    free(name);
    return value ? value : "";
}

static int add_value(struct parser *ps, const char *value)
{
    /* The value may lie in the pool, which moves when it grows. */
    size_t n = strlen(value);
    bool ours = ps->pool.p && value >= ps->pool.p && value < ps->pool.p + ps->pool.n;
    size_t at = ours ? (size_t)(value - ps->pool.p) : 0;
    char *to = ah_buf_reserve(&ps->pool, n);
    if (!to)
        return refuse_pool(ps);
    memcpy(to, ours ? ps->pool.p + at : value, n);
    ps->pool.n += n;
    ps->pool.p[ps->pool.n] = '\0';
    return 0;
}

/* ${NAME} or ${NAME:-default}; ps->p stands behind "${". */
static int read_braces(struct parser *ps, enum manner manner, int depth)
{
    const char *name = ps->p;
    size_t n = name_length(name, ps->end);
    ps->p += n;
    if (n && ps->p < ps->end && *ps->p == '}') {
        ps->p++;
        return add_value(ps, find_value(ps, name, n));
    }
    if (!n || ps->end - ps->p < 2 || ps->p[0] != ':' || ps->p[1] != '-')
        return refuse(ps, ps->line,
                      "'${' must go on as ${NAME} or ${NAME:-default}; to keep the text as it is, put the "
                      "value in 'single quotes'");
    if (depth >= DOTENV_DEPTH)
        return refuse(ps, ps->line, "defaults of ${NAME:-default} are nested too deeply");
    ps->p += 2;
    /* The default is read in any case, to find its end, and dropped if it is not wanted. */
    size_t mark = ps->pool.n;
    if (read_text(ps, manner, depth + 1) != 0)
        return -1;
    ps->p++;
    if (*find_value(ps, name, n) == '\0')
        return 0;
    ps->pool.n = mark;
    return add_value(ps, find_value(ps, name, n));
}

/* ps->p stands on '$'. */
static int read_dollar(struct parser *ps, enum manner manner, int depth)
{
    ps->p++;
    if (ps->p < ps->end && *ps->p == '{') {
        ps->p++;
        return read_braces(ps, manner, depth);
    }
    const char *name = ps->p;
    size_t n = name_length(name, ps->end);
    if (!n)
        return add_byte(ps, '$');
    ps->p += n;
    return add_value(ps, find_value(ps, name, n));
}

/* ps->p stands on a backslash inside double quotes. One that escapes nothing is a backslash. */
static int read_escape(struct parser *ps)
{
    static const char known[] = "n\nr\rt\t\\\\\"\"$$";
    char next = ps->p + 1 < ps->end ? ps->p[1] : '\0';
    for (const char *q = known; *q && next; q += 2) {
        if (*q == next) {
            ps->p += 2;
            return add_byte(ps, q[1]);
        }
    }
    ps->p++;
    return add_byte(ps, '\\');
}

/* Appends to the pool until the end of the text: its quote, the end of the line or a comment; inside a
 * default ('depth' > 0) its closing brace. Stops before that byte. */
static int read_text(struct parser *ps, enum manner manner, int depth)
{
    char close = depth ? '}' : manner == QUOTED ? '"' : '\n';
    bool after_blank = false;
    while (ps->p < ps->end && *ps->p != close) {
        char c = *ps->p;
        int rc = 0;
        if (c == '\n' && manner == UNQUOTED)
            return refuse(ps, ps->line, "the '}' of a ${NAME:-default} is missing");
        if (c == '"' && manner == QUOTED)
            return refuse(ps, ps->line, "the '}' of a ${NAME:-default} is missing before the closing quote");
        if (c == '#' && after_blank)
            return 0;
        after_blank = !depth && manner == UNQUOTED && is_blank(c);
        if (c == '$') {
            rc = read_dollar(ps, manner, depth);
        } else if (c == '\\' && manner == QUOTED) {
            rc = read_escape(ps);
        } else {
            ps->line += c == '\n';
            ps->p++;
            rc = add_byte(ps, c);
        }
        if (rc != 0)
            return -1;
    }
    if (ps->p == ps->end && depth)
        return refuse(ps, ps->line, "the '}' of a ${NAME:-default} is missing");
    return 0;
}

/* After a closing quote: nothing but a comment. */
static int read_rest(struct parser *ps)
{
    skip_blank(ps);
    if (ps->p < ps->end && *ps->p == '#')
        skip_line(ps);
    if (ps->p < ps->end && *ps->p != '\n')
        return refuse(
            ps, ps->line,
            "something stands after the closing quote; put the whole value inside one pair of quotes");
    return 0;
}

static int read_single(struct parser *ps)
{
    const char *close = memchr(ps->p + 1, '\'', (size_t)(ps->end - ps->p - 1));
    if (!close)
        return refuse(ps, ps->line, "a single quote ' is opened and never closed");
    for (ps->p++; ps->p < close; ps->p++) {
        ps->line += *ps->p == '\n';
        if (add_byte(ps, *ps->p) != 0)
            return -1;
    }
    ps->p++;
    return read_rest(ps);
}

static int read_double(struct parser *ps)
{
    int line = ps->line;
    ps->p++;
    if (read_text(ps, QUOTED, 0) != 0)
        return -1;
    if (ps->p == ps->end)
        return refuse(ps, line, "a double quote \" is opened and never closed");
    ps->p++;
    return read_rest(ps);
}

static int read_unquoted(struct parser *ps)
{
    size_t mark = ps->pool.n;
    if (read_text(ps, UNQUOTED, 0) != 0)
        return -1;
    skip_line(ps);
    while (ps->pool.n > mark && is_blank(ps->pool.p[ps->pool.n - 1]))
        ps->pool.n--;
    return 0;
}

static int read_value(struct parser *ps)
{
    /* Blanks behind '=' belong to no value; but a '#' that follows one begins a comment. */
    const char *from = ps->p;
    skip_blank(ps);
    if (ps->p < ps->end && *ps->p == '\'')
        return read_single(ps);
    if (ps->p < ps->end && *ps->p == '"')
        return read_double(ps);
    if (ps->p > from && ps->p < ps->end && *ps->p == '#')
        skip_line(ps);
    return read_unquoted(ps);
}

static bool line_has(const struct parser *ps, char c)
{
    for (const char *p = ps->p; p < ps->end && *p != '\n'; p++)
        if (*p == c)
            return true;
    return false;
}

/* Up to behind '='; the name goes into the pool. */
static int read_name(struct parser *ps)
{
    static const char word[] = "export";
    if ((size_t)(ps->end - ps->p) > strlen(word) && memcmp(ps->p, word, strlen(word)) == 0 &&
        is_blank(ps->p[strlen(word)])) {
        const char *start = ps->p;
        ps->p += strlen(word);
        skip_blank(ps);
        if (ps->p < ps->end && *ps->p == '=') /* a variable of that name */
            ps->p = start;
    }
    const char *name = ps->p;
    size_t n = name_length(name, ps->end);
    ps->p += n;
    skip_blank(ps);
    if (ps->p == ps->end || *ps->p != '=') {
        return refuse(ps, ps->line,
                      line_has(ps, '=')
                          ? "a name may hold only letters, digits and '_', and may not begin with a digit"
                          : "there is no '='; write NAME=value, or '#' before a comment");
    }
    if (!n)
        return refuse(ps, ps->line, "there is no name before '='; write NAME=value");
    ps->p++;
    ah_buf_add(&ps->pool, name, n);
    return add_byte(ps, '\0');
}

static int read_pair(struct parser *ps)
{
    if (ps->count == DOTENV_NAMES_COUNT)
        return refuse(ps, ps->line, "the file holds too many names; split it or remove some");
    struct pair pair = {.name = ps->pool.n};
    int line = ps->line;
    if (read_name(ps) != 0)
        return -1;
    pair.value = ps->pool.n;
    if (read_value(ps) != 0)
        return -1;
    size_t n = ps->pool.n - pair.value;
    if (add_byte(ps, '\0') != 0)
        return -1;
    ps->pairs[ps->count++] = pair;
    if (ps->on_pair(ps->arg, line, ps->pool.p + pair.name, ps->pool.p + pair.value, n) != 0)
        return ah_err_set(ps->err, AH_CANCELLED, "line %d: the reader of the pairs stopped.", ps->line);
    return 0;
}

static int read_lines(struct parser *ps)
{
    while (ps->p < ps->end) {
        skip_blank(ps);
        if (ps->p < ps->end && *ps->p == '#')
            skip_line(ps);
        if (ps->p < ps->end && *ps->p != '\n' && read_pair(ps) != 0)
            return -1;
        /* Every value ends at the end of its line. */
        if (ps->p < ps->end) {
            ps->p++;
            ps->line++;
        }
    }
    return 0;
}

static int line_of(const char *p, const char *at)
{
    int line = 1;
    for (; p < at; p++)
        line += *p == '\n';
    return line;
}

int ah_dotenv_parse(const char *p, size_t n, const char *(*lookup)(void *arg, const char *name),
                    int (*on_pair)(void *arg, int line, const char *name, const char *value, size_t n),
                    void *arg, struct ah_error *err)
{
    struct parser ps = {.line = 1, .lookup = lookup, .on_pair = on_pair, .arg = arg, .err = err};
    if (n == 0)
        return 0;
    if (n > AH_DOTENV_BYTES)
        return ah_err_set(err, AH_CONFIG, "line 1: the file has more than %zu bytes; is it a .env file?",
                          AH_DOTENV_BYTES);
    const char *nul = memchr(p, '\0', n);
    if (nul)
        return refuse(&ps, line_of(p, nul), "there is a NUL byte; save the file as plain UTF-8 text");
    if (n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
        p += 3;
        n -= 3;
    }
    ps.p = p;
    ps.end = p + n;
    ps.pairs = calloc(DOTENV_NAMES_COUNT, sizeof *ps.pairs);
    if (!ps.pairs)
        return ah_err_set(err, AH_MEMORY, "line 1: out of memory.");
    ah_buf_init(&ps.pool, DOTENV_POOL_BYTES);
    ah_buf_reserve(&ps.pool, n + 1); /* enough unless something expands: no copies of it are left behind */
    int rc = read_lines(&ps);
    if (ps.pool.p)
        explicit_bzero(ps.pool.p, ps.pool.cap);
    ah_buf_drop(&ps.pool);
    free(ps.pairs);
    return rc;
}
