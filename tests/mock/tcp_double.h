/* A far end that plays a script over raw TCP: exact bytes in, exact bytes out. See README.md. */
#ifndef TCP_DOUBLE_H
#define TCP_DOUBLE_H

#include <stddef.h>

struct double_script;
struct tcp_double;

/* NULL: the case is wrong; `error` says where. */
struct double_script *double_parse(const char *text, char *error, size_t size);
struct double_script *double_load(const char *path, char *error, size_t size);
void double_script_free(struct double_script *s);
/* The lines that start with '@', without it, in order: for who drives the client. NULL: no more. */
const char *double_note(const struct double_script *s, size_t i);

/* Listens on a free port of 127.0.0.1 and plays the script in a thread. The script must outlive it. */
struct tcp_double *double_start(const struct double_script *s);
int double_port(const struct tcp_double *d);
/* Ends the thread; after this the two below may be called. */
void double_stop(struct tcp_double *d);
int double_requests(const struct tcp_double *d);            /* how many whole requests came */
const char *double_differences(const struct tcp_double *d); /* "" when all was as the script says */
void double_free(struct tcp_double *d);

#endif
