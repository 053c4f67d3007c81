/* What one host consists of below Lua: the parts that services need, in one struct that host.c
 * fills and everybody borrows. No functions, no ownership. */
#ifndef AH_CORE_H
#define AH_CORE_H

struct ah_loop;
struct ah_http;
struct ah_store;
struct ah_trace;
struct ah_tracing;
struct ah_secrets;
struct ah_config;
struct ah_log;

struct ah_core {
    struct ah_loop *loop;
    struct ah_log *log;
    struct ah_secrets *secrets;
    struct ah_config *config;
    struct ah_http *http;
    struct ah_store *store; /* never NULL while scripts run: in memory when no file can be used */
    struct ah_trace *trace;
    struct ah_tracing *tracing; /* made and freed with trace */
};

#endif
