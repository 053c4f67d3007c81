/* A question to the person at the terminal, without holding up the loop. Called by lua_run.c. One at a time. */
#ifndef AH_TTY_H
#define AH_TTY_H

#include "op.h"

/* Prints the text on stderr and waits for a line on stdin, which must be a terminal. NULL: out of memory, or stdin
 * cannot be waited for. */
struct ah_op *ah_tty_ask(struct ah_loop *loop, const char *text);
/* The line without its end, once the op is done without error; "" at the end of the input. */
const char *ah_tty_line(const struct ah_op *op);

#endif
