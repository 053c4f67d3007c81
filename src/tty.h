/* A question to the person at the terminal, without holding up the loop. Called by lua_run.c. One at a time. Somebody
 * elsewhere may answer it, too: while it is open, the journal is looked at. */
#ifndef AH_TTY_H
#define AH_TTY_H

#include "hash.h"
#include "op.h"
#include "store.h"

/* Where in the journal the question waits. A decision counts only for this hash. */
struct ah_tty_place {
    struct ah_store *store; /* NULL: nobody else can answer */
    int64_t run, seq;
    char sha256[AH_HASH_HEX_BYTES];
};

/* Prints the text on stderr and waits for a line on stdin, which must be a terminal, or for a decision in the journal.
 * NULL: out of memory, or stdin cannot be waited for. */
struct ah_op *ah_tty_ask(struct ah_loop *loop, const char *text, const struct ah_tty_place *place);
/* The line without its end, once the op is done without error; "" at the end of the input; NULL: it was decided
 * elsewhere. */
const char *ah_tty_line(const struct ah_op *op);

#endif
