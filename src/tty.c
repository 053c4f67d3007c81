/* Questions at the terminal. Called by lua_run.c. Must never block: the loop says when there is something to read. */
#include "tty.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES 65536

struct ask {
    struct ah_op op;
    struct ah_watch watch;
    size_t n;
    char line[LINE_BYTES];
};

static void cancel_ask(struct ah_op *op)
{
    ah_watch_stop(&((struct ask *)op)->watch);
    ah_op_finish(op, NULL);
}

static void free_ask(struct ah_op *op)
{
    ah_watch_stop(&((struct ask *)op)->watch);
    free(op);
}

static const struct ah_op_class ask_class = {"the question", cancel_ask, free_ask};

static void on_input(struct ah_watch *w, int events)
{
    struct ask *a = w->arg;
    (void)events;
    ssize_t got = read(STDIN_FILENO, a->line + a->n, LINE_BYTES - 1 - a->n);
    if (got > 0)
        a->n += (size_t)got;
    a->line[a->n] = '\0';
    char *end = strchr(a->line, '\n');
    if (!end && got > 0 && a->n < LINE_BYTES - 1)
        return;
    if (end)
        *end = '\0';
    ah_watch_stop(&a->watch);
    ah_op_finish(&a->op, NULL);
}

struct ah_op *ah_tty_ask(struct ah_loop *loop, const char *text)
{
    struct ask *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    ah_op_init(&a->op, &ask_class, loop);
    if (ah_watch_start(loop, &a->watch, STDIN_FILENO, AH_WATCH_READ, on_input, a) != 0) {
        free(a);
        return NULL;
    }
    fputs(text, stderr);
    fflush(stderr);
    return &a->op;
}

const char *ah_tty_line(const struct ah_op *op)
{
    return ((const struct ask *)op)->line;
}
