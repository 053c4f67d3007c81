/* A child process that speaks lines over stdin and stdout: MCP servers, and whatever else a host starts.
 *
 * What is sent is queued and leaves after the next commit, like requests. It gets no variable of ours but a few
 * harmless ones and those that are named: secrets are never inherited. It runs in a session of its own, so Ctrl-C
 * reaches it through us only. No signal handler is needed (pidfd). Owner thread only. Knows no Lua. */
#ifndef AH_CHILD_H
#define AH_CHILD_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>

struct ah_child; /* opaque */
struct ah_loop;
struct ah_log;

struct ah_child_opts {
    const char *const *argv; /* NULL-terminated; argv[0] is looked for in PATH */
    const char *const *env;  /* "NAME=value", beside PATH, HOME, USER, LANG, TMPDIR ...; NULL = none */
    const char *dir;         /* where it runs; NULL = here */
    size_t line_bytes;       /* the longest line that is taken; 0 = AH_CHILD_LINE_BYTES */
    struct ah_log *log;      /* its stderr, a line each, at debug level; NULL = nowhere */
    /* A line of its stdout, without the line's end, borrowed until the return. From the poll phase: queue only. */
    void (*on_line)(void *arg, const char *line, size_t n);
    /* Once, when it has ended and its last line was read, or its output cannot be used any more. `why` says how, with
     * its last words on stderr. The child stays valid until ah_child_free. */
    void (*on_end)(void *arg, const struct ah_error *why);
    void *arg;
};

#define AH_CHILD_LINE_BYTES ((size_t)64 << 20)
#define AH_CHILD_QUEUE_BYTES ((size_t)64 << 20) /* waiting to be read by it */

/* NULL: AH_CONFIG (no such program), AH_IO. */
struct ah_child *ah_child_start(struct ah_loop *loop, const struct ah_child_opts *opts, struct ah_error *err);
/* A line for its stdin; '\n' is added. -1: AH_IO, it has ended or reads nothing more. */
int ah_child_send(struct ah_child *c, const char *line, size_t n, struct ah_error *err);
/* Asks it to end: closes its stdin; SIGTERM after 2 s, SIGKILL after 4 s. on_end tells when it has. */
void ah_child_close(struct ah_child *c);
bool ah_child_ended(const struct ah_child *c);
/* Takes it away, without calling back: one that still runs is given 300 ms to end by itself, then killed with all
 * that it started. NULL is fine. */
void ah_child_free(struct ah_child *c);

#endif
