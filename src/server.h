/* HTTP server for the emulator and for scripts that serve (libmicrohttpd, external epoll in our
 * loop; seen only by server.c). No thread, no Lua. Requests are delivered whole, from the ready
 * phase; answers may be whole or streamed. */
#ifndef AH_SERVER_H
#define AH_SERVER_H

#include "buf.h"
#include "err.h"

struct ah_loop;
struct ah_server;   /* opaque */
struct ah_exchange; /* opaque: one request and its answer */

struct ah_server_req { /* borrowed: valid until ah_exchange_unref */
    const char *method;
    const char *path;  /* undecoded, without the query */
    const char *query; /* undecoded, without '?', "" when none */
    const char *version;
    const char *headers; /* "name: value\n" lines, names in lower case */
    const char *body;
    size_t body_n;
};

struct ah_server_opts {
    const char *address; /* NULL = 127.0.0.1 */
    int port;            /* 0 = any free one */
    size_t max_body;     /* 0 = AH_SERVER_BODY_BYTES; more is answered 413 */
    /* A whole request arrived. From the ready phase. The callee owns one reference of x. */
    void (*on_request)(void *arg, struct ah_exchange *x, const struct ah_server_req *req);
    void *arg;
};

struct ah_server *ah_server_open(struct ah_loop *loop, const struct ah_server_opts *opts,
                                 struct ah_error *err); /* NULL: AH_IO, e.g. port in use */
int ah_server_port(const struct ah_server *s);
/* A server in the background does not keep ah_loop_turn's answer true. */
void ah_server_background(struct ah_server *s, bool background);
/* Ends every exchange (open streams are cut), then the server. Exchanges stay valid until unref. */
void ah_server_close(struct ah_server *s);

/* Whole answer; copies. `headers` as "name: value\n" lines (Content-Length comes by itself). -1:
 * answered already, the client is gone, or a line is no header (then nothing was answered). Answers
 * leave in the start phase, after the journal's commit. */
int ah_exchange_reply(struct ah_exchange *x, int status, const char *headers, const char *body, size_t n);
/* Streamed answer: begin, any number of writes, end. on_room (may be NULL) is told, from the ready
 * phase, when the queue fell below half of AH_HTTP_STREAM_QUEUE_BYTES or the client left. A
 * content-length in `headers` is kept: ending short of it cuts the connection. */
int ah_exchange_begin(struct ah_exchange *x, int status, const char *headers, void (*on_room)(void *arg),
                      void *arg);
/* 0 taken; 1 taken, but wait for on_room before the next; -1 the client is gone. */
int ah_exchange_write(struct ah_exchange *x, const char *p, size_t n);
int ah_exchange_end(struct ah_exchange *x);
/* Cuts the connection: what was written so far is sent, then no clean end. For torn streams. */
void ah_exchange_abort(struct ah_exchange *x);
bool ah_exchange_gone(const struct ah_exchange *x);
/* on_room is not called any more: its arg is about to go. */
void ah_exchange_forget_room(struct ah_exchange *x);
struct ah_exchange *ah_exchange_ref(struct ah_exchange *x);
void ah_exchange_unref(struct ah_exchange *x); /* unanswered: 500 */

/* Whether a name is a header's name, and a value free of what could start another header. */
bool ah_server_is_header(const char *name, size_t name_n, const char *value, size_t value_n);

#endif
