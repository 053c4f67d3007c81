/* The raw TCP double: parsing of case files, and the thread that plays them. For tests only; prints
 * nothing, ends nothing but its own thread. */
#include "tcp_double.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 20000
#define REQUEST_BYTES ((size_t)64 << 20)
#define PARKED 64
#define STAR 0x100  /* any bytes of one line */
#define LINES 0x101 /* any number of lines */
#define PORT 0x102  /* the double's own port, in digits */

enum verb { CONNECTION, EXPECT, SEND, SPLIT, SLEEP, CLOSE, RESET, HALF_CLOSE, STALL };

struct step {
    enum verb verb;
    int line;
    long number;     /* split, sleep */
    uint16_t *units; /* expect, send: bytes and the codes above */
    size_t n, cap;
};

struct double_script {
    struct step *steps;
    size_t n;
    char **notes;
    size_t notes_n;
};

/* --- parsing --------------------------------------------------------------------------------- */

static void *grow(void *p, size_t n, size_t size)
{
    p = realloc(p, n * size);
    if (!p)
        abort();
    return p;
}

static void add_unit(struct step *s, int unit)
{
    if (s->n == s->cap)
        s->units = grow(s->units, s->cap = s->cap ? 2 * s->cap : 256, sizeof *s->units);
    s->units[s->n++] = (uint16_t)unit;
}

static int hex(char c)
{
    const char *digits = "0123456789abcdef", *p = c ? strchr(digits, tolower((unsigned char)c)) : NULL;
    return p ? (int)(p - digits) : -1;
}

/* Text with \r \n \t \\ \* \$ \xHH; '*' in what is expected, $PORT in both. */
static bool add_text(struct step *s, const char *p)
{
    for (; *p; p++) {
        if (*p == '\\' && p[1] == 'x' && hex(p[2]) >= 0 && hex(p[3]) >= 0) {
            add_unit(s, hex(p[2]) * 16 + hex(p[3]));
            p += 3;
        } else if (*p == '\\') {
            static const char from[] = "rnt\\*$0", to[] = "\r\n\t\\*$";
            const char *at = p[1] ? strchr(from, p[1]) : NULL;
            if (!at)
                return false;
            add_unit(s, at[0] == '0' ? 0 : to[at - from]);
            p++;
        } else if (*p == '*' && s->verb == EXPECT) {
            add_unit(s, STAR);
        } else if (strncmp(p, "$PORT", 5) == 0) {
            add_unit(s, PORT);
            p += 4;
        } else {
            add_unit(s, (unsigned char)*p);
        }
    }
    return true;
}

static struct step *add_step(struct double_script *s, enum verb verb, int line)
{
    s->steps = grow(s->steps, s->n + 1, sizeof *s->steps);
    s->steps[s->n] = (struct step){.verb = verb, .line = line};
    return &s->steps[s->n++];
}

/* Lines of one kind that follow each other are one step. */
static struct step *same_step(struct double_script *s, enum verb verb, int line)
{
    if (s->n > 0 && s->steps[s->n - 1].verb == verb)
        return &s->steps[s->n - 1];
    return add_step(s, verb, line);
}

/* What follows '>' or '<': " line" (with CRLF), "| bytes" (without), "* COUNT BYTES" (to send). */
static bool parse_bytes(struct double_script *s, const char *p, int line)
{
    struct step *step = same_step(s, *p == '>' ? EXPECT : SEND, line);
    if (step->verb == EXPECT && strcmp(p, "> ...") == 0) {
        add_unit(step, LINES);
        return true;
    }
    if (p[1] == '*' && step->verb == SEND) {
        char *end;
        long count = strtol(p + 2, &end, 10);
        if (*end++ != ' ' || count <= 0)
            return false;
        while (count-- > 0)
            if (!add_text(step, end))
                return false;
        return true;
    }
    bool bare = p[1] == '|';
    if (p[1] && !bare && p[1] != ' ')
        return false;
    p += 1 + bare;
    if (!add_text(step, *p == ' ' ? p + 1 : p))
        return false;
    if (!bare) {
        add_unit(step, '\r');
        add_unit(step, '\n');
    }
    return true;
}

static bool parse_line(struct double_script *s, const char *p, int line)
{
    static const struct {
        const char *word;
        enum verb verb;
        bool number;
    } words[] = {
        {"connection", CONNECTION, false}, {"split", SPLIT, true},    {"sleep", SLEEP, true},
        {"close", CLOSE, false},           {"reset", RESET, false},   {"half-close", HALF_CLOSE, false},
        {"stall", STALL, false},           {"request", EXPECT, false}};
    if (!*p || *p == '#')
        return true;
    if (*p == '@') {
        s->notes = grow(s->notes, s->notes_n + 1, sizeof *s->notes);
        s->notes[s->notes_n++] = strdup(p + 1);
        return true;
    }
    bool bytes = *p == '>' || *p == '<';
    if (s->n == 0 && strcmp(p, "connection") != 0)
        return false; /* everything happens on a connection */
    if (bytes)
        return parse_bytes(s, p, line);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i].word);
        if (strncmp(p, words[i].word, n) != 0 || (p[n] && p[n] != ' '))
            continue;
        struct step *step = add_step(s, words[i].verb, line);
        char *end = NULL;
        if (step->verb == EXPECT) /* "request": any one */
            add_unit(step, LINES);
        if (words[i].number)
            step->number = strtol(p + n, &end, 10);
        return words[i].number ? end != p + n && !*end && step->number >= 0 : !p[n];
    }
    return false;
}

struct double_script *double_parse(const char *text, char *error, size_t size)
{
    struct double_script *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    for (int line = 1; *text; line++) {
        size_t n = strcspn(text, "\n");
        char *copy = strndup(text, n);
        bool fine = copy && parse_line(s, copy, line);
        if (!fine) {
            snprintf(error, size, "line %d: cannot read '%s'", line, copy ? copy : "");
            free(copy);
            double_script_free(s);
            return NULL;
        }
        free(copy);
        text += n + (text[n] == '\n');
    }
    return s;
}

struct double_script *double_load(const char *path, char *error, size_t size)
{
    FILE *f = fopen(path, "rb");
    static const size_t max = (size_t)1 << 20;
    char *text = f ? calloc(1, max) : NULL;
    if (!text || fread(text, 1, max - 1, f) == 0) {
        snprintf(error, size, "%s: cannot be read", path);
        free(text);
        if (f)
            fclose(f);
        return NULL;
    }
    fclose(f);
    struct double_script *s = double_parse(text, error, size);
    free(text);
    return s;
}

void double_script_free(struct double_script *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++)
        free(s->steps[i].units);
    for (size_t i = 0; i < s->notes_n; i++)
        free(s->notes[i]);
    free(s->steps);
    free(s->notes);
    free(s);
}

const char *double_note(const struct double_script *s, size_t i)
{
    return i < s->notes_n ? s->notes[i] : NULL;
}

/* --- playing --------------------------------------------------------------------------------- */

struct conn {
    int fd; /* -1: closed */
    int number;
    char *in;
    size_t n;
    long split;
};

struct tcp_double {
    const struct double_script *script;
    int listener, port, stop[2];
    pthread_t thread;
    bool stopped;
    int requests;
    char differences[8192];
    struct conn parked[PARKED];
    size_t parked_n;
};

static void differ(struct tcp_double *d, const char *fmt, ...)
{
    size_t n = strlen(d->differences);
    va_list args;
    va_start(args, fmt);
    vsnprintf(d->differences + n, sizeof d->differences - n, fmt, args);
    va_end(args);
    n = strlen(d->differences);
    snprintf(d->differences + n, sizeof d->differences - n, "\n");
}

/* Waits for fd; false when the time is over or the double is to stop. */
static bool wait_for(struct tcp_double *d, int fd, short events, int ms)
{
    struct pollfd fds[2] = {{.fd = d->stop[0], .events = POLLIN}, {.fd = fd, .events = events}};
    int n = poll(fds, 2, ms);
    return n > 0 && !fds[0].revents;
}

static ssize_t receive(struct tcp_double *d, struct conn *c, int ms)
{
    char block[65536];
    if (!wait_for(d, c->fd, POLLIN, ms))
        return -1;
    ssize_t k = recv(c->fd, block, sizeof block, 0);
    if (k > 0 && c->n < REQUEST_BYTES) {
        c->in = grow(c->in, c->n + (size_t)k + 1, 1);
        memcpy(c->in + c->n, block, (size_t)k);
        c->n += (size_t)k;
        c->in[c->n] = '\0';
    }
    return k;
}

/* Length of a chunked body at p, 0: not whole yet. */
static size_t chunked_length(const char *p, size_t n)
{
    size_t at = 0;
    for (;;) {
        const char *eol = memchr(p + at, '\n', n - at);
        if (!eol)
            return 0;
        size_t size = strtoul(p + at, NULL, 16);
        at = (size_t)(eol - p) + 1 + size + 2;
        if (at > n)
            return 0;
        if (size == 0)
            return at;
    }
}

/* Length of the whole request at the start of c->in; 0: not there yet. */
static size_t request_length(const struct conn *c)
{
    const char *head_end = c->n ? memmem(c->in, c->n, "\r\n\r\n", 4) : NULL;
    if (!head_end)
        return 0;
    size_t head = (size_t)(head_end - c->in) + 4, body = 0;
    for (const char *p = c->in; p < head_end; p = strchr(p, '\n') + 1) {
        if (strncasecmp(p, "content-length:", 15) == 0)
            body = strtoul(p + 15, NULL, 10);
        if (strncasecmp(p, "transfer-encoding: chunked", 26) == 0) {
            body = chunked_length(c->in + head, c->n - head);
            if (body == 0)
                return 0;
        }
    }
    return c->n - head >= body ? head + body : 0;
}

struct match {
    const struct step *step;
    const char *text;
    size_t n, furthest;
    size_t unit; /* where in the pattern the furthest place was */
    int port;
};

static bool match_from(struct match *m, size_t u, size_t at)
{
    for (; u < m->step->n; u++) {
        int unit = m->step->units[u];
        if (at > m->furthest || m->unit == 0) {
            m->furthest = at;
            m->unit = u;
        }
        if (unit == STAR || unit == LINES) {
            for (size_t end = at;; end++) {
                if ((unit == STAR || end == 0 || m->text[end - 1] == '\n' || end == m->n) &&
                    match_from(m, u + 1, end))
                    return true;
                if (end >= m->n || (unit == STAR && m->text[end] == '\r'))
                    return false;
            }
        }
        if (unit == PORT) {
            char digits[8];
            int k = snprintf(digits, sizeof digits, "%d", m->port);
            if (at + (size_t)k > m->n || memcmp(m->text + at, digits, (size_t)k) != 0)
                return false;
            at += (size_t)k;
            continue;
        }
        if (at >= m->n || (unsigned char)m->text[at] != unit)
            return false;
        at++;
    }
    if (at > m->furthest) {
        m->furthest = at;
        m->unit = u;
    }
    return at == m->n;
}

static void describe(struct tcp_double *d, const struct match *m, const struct conn *c)
{
    char want[64] = "", got[64] = "";
    for (size_t i = 0; m->unit + i < m->step->n && i < 40; i++) {
        int unit = m->step->units[m->unit + i];
        want[i] = (char)(unit > 255 ? '*' : unit < ' ' || unit > 126 ? '.' : unit);
    }
    for (size_t i = 0; m->furthest + i < m->n && i < 40; i++) {
        char ch = m->text[m->furthest + i];
        got[i] = (char)(ch < ' ' || ch > 126 ? '.' : ch);
    }
    int line = 1;
    for (size_t i = 0; i < m->furthest; i++)
        line += m->text[i] == '\n';
    differ(
        d,
        "connection %d, case line %d: request differs at byte %zu (line %d): expected '%s', got '%s'\n%.*s",
        c->number, m->step->line, m->furthest, line, want, got, (int)(m->n < 2000 ? m->n : 2000), m->text);
}

static void expect(struct tcp_double *d, struct conn *c, const struct step *step)
{
    size_t n;
    while ((n = request_length(c)) == 0)
        if (receive(d, c, PATIENCE_MS) <= 0) {
            differ(d, "connection %d, case line %d: no whole request came (%zu bytes)\n%.*s", c->number,
                   step->line, c->n, (int)(c->n < 2000 ? c->n : 2000), c->in ? c->in : "");
            return;
        }
    d->requests++;
    struct match m = {.step = step, .text = c->in, .n = n, .port = d->port};
    if (!match_from(&m, 0, 0))
        describe(d, &m, c);
    memmove(c->in, c->in + n, c->n - n + 1);
    c->n -= n;
}

static void send_bytes(struct tcp_double *d, struct conn *c, const char *p, size_t n)
{
    while (n > 0) {
        size_t piece = c->split > 0 && (size_t)c->split < n ? (size_t)c->split : n;
        if (!wait_for(d, c->fd, POLLOUT, PATIENCE_MS))
            return;
        ssize_t k = send(c->fd, p, piece, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k <= 0)
            return; /* the client left: its own outcome says whether that is right */
        p += k;
        n -= (size_t)k;
        if (c->split > 0)
            usleep(500);
    }
}

static void send_step(struct tcp_double *d, struct conn *c, const struct step *step)
{
    char *bytes = grow(NULL, step->n * 8 + 1, 1);
    size_t n = 0;
    for (size_t i = 0; i < step->n; i++) {
        if (step->units[i] == PORT)
            n += (size_t)sprintf(bytes + n, "%d", d->port);
        else
            bytes[n++] = (char)step->units[i];
    }
    send_bytes(d, c, bytes, n);
    free(bytes);
}

static void drop(struct conn *c, bool reset)
{
    struct linger now = {.l_onoff = 1};
    if (c->fd >= 0 && reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    if (c->fd >= 0)
        close(c->fd);
    free(c->in);
    *c = (struct conn){.fd = -1};
}

/* A client that sends on a connection whose script has ended does what it should not. */
static void look_at_parked(struct tcp_double *d, struct conn *c)
{
    ssize_t k = receive(d, c, 0);
    if (k > 0) {
        while (request_length(c) == 0 && receive(d, c, 200) > 0) {}
        d->requests += request_length(c) > 0;
        differ(d, "connection %d: more came after its script had ended: %.200s", c->number, c->in);
    }
    drop(c, false);
}

/* Waits for the next connection; -1: to stop. */
static int next_connection(struct tcp_double *d)
{
    for (;;) {
        struct pollfd fds[2 + PARKED] = {{.fd = d->stop[0], .events = POLLIN},
                                         {.fd = d->listener, .events = POLLIN}};
        for (size_t i = 0; i < d->parked_n; i++)
            fds[2 + i] = (struct pollfd){.fd = d->parked[i].fd, .events = POLLIN};
        poll(fds, 2 + d->parked_n, -1);
        for (size_t i = 0; i < d->parked_n; i++)
            if (fds[2 + i].fd >= 0 && fds[2 + i].revents)
                look_at_parked(d, &d->parked[i]);
        if (fds[0].revents)
            return -1;
        if (fds[1].revents)
            return accept(d->listener, NULL, NULL);
    }
}

static void play_step(struct tcp_double *d, struct conn *c, const struct step *step)
{
    char block[4096];
    switch (step->verb) {
    case EXPECT:
        expect(d, c, step);
        break;
    case SEND:
        send_step(d, c, step);
        break;
    case SPLIT:
        c->split = step->number;
        break;
    case SLEEP:
        wait_for(d, -1, 0, (int)step->number);
        break;
    case HALF_CLOSE:
        shutdown(c->fd, SHUT_WR);
        break;
    case STALL: /* until the client gives up */
        while (wait_for(d, c->fd, POLLIN, PATIENCE_MS) && recv(c->fd, block, sizeof block, 0) > 0) {}
        break;
    case CLOSE:
    case RESET:
        drop(c, step->verb == RESET);
        break;
    case CONNECTION:
        break;
    }
}

static void *play(void *arg)
{
    struct tcp_double *d = arg;
    const struct step *step = d->script->steps, *end = step + d->script->n;
    int number = 0, fd;
    while ((fd = next_connection(d)) >= 0) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct conn c = {.fd = fd, .number = ++number};
        if (step == end) {
            while (request_length(&c) == 0 && receive(d, &c, 200) > 0) {}
            d->requests += request_length(&c) > 0;
            if (c.n > 0) /* one that carries nothing does no harm */
                differ(d, "connection %d came unasked: %.200s", number, c.in);
            drop(&c, false);
            continue;
        }
        for (step++; step < end && step->verb != CONNECTION; step++)
            if (c.fd >= 0)
                play_step(d, &c, step);
        if (c.fd >= 0 && d->parked_n < PARKED)
            d->parked[d->parked_n++] = c;
        else
            drop(&c, false);
    }
    if (step < end)
        differ(d, "case line %d: this connection never came", step->line);
    return NULL;
}

struct tcp_double *double_start(const struct double_script *s)
{
    struct tcp_double *d = calloc(1, sizeof *d);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    if (!d || pipe(d->stop) != 0)
        abort();
    d->script = s;
    d->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (d->listener < 0 || bind(d->listener, (struct sockaddr *)&at, n) != 0 ||
        listen(d->listener, 64) != 0 || getsockname(d->listener, (struct sockaddr *)&at, &n) != 0)
        abort();
    d->port = ntohs(at.sin_port);
    if (pthread_create(&d->thread, NULL, play, d) != 0)
        abort();
    return d;
}

int double_port(const struct tcp_double *d)
{
    return d->port;
}

void double_stop(struct tcp_double *d)
{
    if (d->stopped)
        return;
    d->stopped = true;
    if (write(d->stop[1], "", 1) != 1)
        abort();
    pthread_join(d->thread, NULL);
    for (size_t i = 0; i < d->parked_n; i++)
        drop(&d->parked[i], false);
    close(d->listener);
    close(d->stop[0]);
    close(d->stop[1]);
}

int double_requests(const struct tcp_double *d)
{
    return d->requests;
}

const char *double_differences(const struct tcp_double *d)
{
    return d->differences;
}

void double_free(struct tcp_double *d)
{
    if (!d)
        return;
    double_stop(d);
    free(d);
}
