/* What the host says to a person, on stderr: warnings, notices, and (with -v) what it does.
 * One struct per host. Every line is masked. Answers of scripts do not pass here. */
#ifndef AH_LOG_H
#define AH_LOG_H

#include <stdbool.h>
#include <stddef.h>

struct ah_secrets;

enum ah_log_level { AH_LOG_ERROR, AH_LOG_WARN, AH_LOG_INFO, AH_LOG_DEBUG };

struct ah_log {
    enum ah_log_level level; /* lines above it are dropped; -q: ERROR, default: WARN, -v: DEBUG */
    bool color;              /* only where stderr is a terminal and NO_COLOR is unset */
    const struct ah_secrets *secrets;
    /* A line without prefix and line end. NULL: stderr */
    void (*sink)(void *arg, enum ah_log_level level, const char *line, size_t n);
    void *arg;
    unsigned char once[32]; /* bits of ah_log_once */
};

/* Replaces control characters but line ends and tabs, in place: words of a service must not move a
 * terminal's cursor. */
void ah_log_plain(char *text, size_t n);

void ah_log_line(struct ah_log *log, enum ah_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same, but each `what` (0-255) is said at most once in the life of `log`. */
void ah_log_once(struct ah_log *log, unsigned what, enum ah_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The numbers of ah_log_once. */
enum {
    AH_ONCE_JOURNAL = 1,
    AH_ONCE_DOTENV_MODE,
    AH_ONCE_TRACING_OFF,
    AH_ONCE_TRACE_AUTH,
    AH_ONCE_TRACE_DOWN,
    AH_ONCE_RESOLVER,
    AH_ONCE_TRACE_REFUSED,
    AH_ONCE_TRACE_LONG,
    AH_ONCE_TRACE_FILES,
};

#endif
