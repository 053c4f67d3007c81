/* Questions at the terminal. Called by lua_run.c. Must never block: the loop says when there is something to read. */
#include "tty.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define LINE_BYTES 65536
#define LOOK_MS 300

struct ask {
    struct ah_op op;
    struct ah_watch watch;
    struct ah_timer timer; /* asks for a look at the journal */
    struct ah_ready look;
    struct ah_tty_place place;
    bool decided; /* elsewhere */
    size_t n;
    char line[LINE_BYTES];
};

static void stop(struct ask *a)
{
    ah_watch_stop(&a->watch);
    ah_timer_stop(&a->timer);
    ah_loop_unready(a->op.loop, &a->look);
}

static void cancel_ask(struct ah_op *op)
{
    stop((struct ask *)op);
    ah_op_finish(op, NULL);
}

static void free_ask(struct ah_op *op)
{
    stop((struct ask *)op);
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
    stop(a);
    ah_op_finish(&a->op, NULL);
}

static int take_row(void *arg, const struct ah_store_approval *row)
{
    struct ask *a = arg;
    a->decided = ah_store_approval_holds(row, a->place.sha256);
    return 1;
}

static void on_time(struct ah_timer *t)
{
    struct ask *a = t->arg;
    ah_loop_ready(a->op.loop, &a->look);
}

static void look(struct ah_ready *ready)
{
    struct ask *a = (struct ask *)((char *)ready - offsetof(struct ask, look));
    ah_store_approvals(a->place.store, a->place.run, a->place.seq, 1, take_row, a, NULL);
    if (a->decided) {
        stop(a);
        tcflush(STDIN_FILENO, TCIFLUSH); /* what is half typed is no answer to the next question */
        ah_op_finish(&a->op, NULL);
    } else if (ah_timer_start(a->op.loop, &a->timer, LOOK_MS, on_time, a) == 0) {
        ah_timer_background(&a->timer, true);
    }
}

struct ah_op *ah_tty_ask(struct ah_loop *loop, const char *text, const struct ah_tty_place *place)
{
    struct ask *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    ah_op_init(&a->op, &ask_class, loop);
    a->place = *place;
    a->look.run = look;
    if (ah_watch_start(loop, &a->watch, STDIN_FILENO, AH_WATCH_READ, on_input, a) != 0) {
        free(a);
        return NULL;
    }
    fputs(text, stderr);
    fflush(stderr);
    if (place->store)
        ah_loop_ready(loop, &a->look);
    return &a->op;
}

const char *ah_tty_line(const struct ah_op *op)
{
    const struct ask *a = (const struct ask *)op;
    return a->decided ? NULL : a->line;
}
