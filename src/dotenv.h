/* The grammar of .env files. Pure: no files, no environment.
 *
 * NAME=value lines; `export ` before a name; '#' comments on lines of their own or after white
 * space; 'single quotes' keep all bytes, may span lines; "double quotes" know \n \r \t \\ \" \$,
 * may span lines, and expand ${NAME}, ${NAME:-default}, $NAME, as unquoted values do; unquoted
 * values are trimmed; CRLF and a byte-order mark are accepted.
 * A name is letters, digits and '_'. `export NAME` without '=' is an error: there is no shell here
 * that could have the value. An unset or undefined name expands to "", and counts as unset for its
 * default; defaults may nest. '#' directly behind '=' belongs to the value. */
#ifndef AH_DOTENV_H
#define AH_DOTENV_H

#include <stddef.h>

struct ah_error;

/* Calls `lookup` for ${NAME} (answers NULL when unset; names of earlier lines of this text win) and
 * `on_pair` for each pair in order, with the line of its name. Non-zero from on_pair stops with -1, AH_CANCELLED.
 * -1: AH_CONFIG, and the message begins "line N: ". */
int ah_dotenv_parse(const char *p, size_t n, const char *(*lookup)(void *arg, const char *name),
                    int (*on_pair)(void *arg, int line, const char *name, const char *value, size_t n),
                    void *arg, struct ah_error *err);

#endif
