/* Ops: one end, one waiter told from the ready phase, references that free at the right time. */
#include "op.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct ah_loop *loop;
static int told, freed, cancels;

struct probe {
    struct ah_op op;
    bool late; /* cancel does not end it at once */
};

static void cancel_probe(struct ah_op *op)
{
    cancels++;
    if (!((struct probe *)op)->late)
        ah_op_finish(op, NULL);
}

static void free_probe(struct ah_op *op)
{
    freed++;
    free(op);
}

static const struct ah_op_class probe_class = {"the probe", cancel_probe, free_probe};

static struct ah_op *probe(void)
{
    struct probe *p = calloc(1, sizeof *p);
    ah_op_init(&p->op, &probe_class, loop);
    return &p->op;
}

static void tell(struct ah_op *op, void *arg)
{
    assert_true(op->done);
    told += *(int *)arg;
}

static int one = 1, ten = 10;

static int set_up(void **state)
{
    struct ah_error err = {0};
    (void)state;
    loop = ah_loop_new(&err);
    told = freed = cancels = 0;
    return loop ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    ah_loop_free(loop);
    return 0;
}

static void test_finish(void **state)
{
    (void)state;
    struct ah_op *op = probe();
    struct ah_error err = {0};
    ah_op_wait(op, tell, &one);
    ah_err_set(&err, AH_IO, "first");
    ah_op_finish(op, &err);
    assert_int_equal(told, 0); /* never from inside */
    ah_err_set(&err, AH_NETWORK, "second");
    ah_err_take_detail(&err, strdup("{}"));
    ah_op_finish(op, &err); /* ignored, and dropped */
    ah_loop_turn(loop, 0);
    ah_loop_turn(loop, 0);
    assert_int_equal(told, 1);
    assert_string_equal(op->err.message, "first");
    assert_true(op->completed > op->issued);
    ah_op_wait(op, tell, &ten); /* a finished op tells whoever comes late */
    assert_int_equal(told, 1);
    ah_loop_turn(loop, 0);
    assert_int_equal(told, 11);
    ah_op_cancel(op);
    assert_int_equal(cancels, 0);
    assert_int_equal(freed, 0);
    ah_op_unref(op);
    assert_int_equal(freed, 1);
    ah_op_unref(NULL);
}

static void test_waiter_leaves(void **state)
{
    (void)state;
    struct ah_op *op = probe();
    ah_op_wait(op, tell, &one);
    ah_op_finish(op, NULL);
    ah_op_wait(op, NULL, NULL); /* told already queued: taken back */
    ah_loop_turn(loop, 0);
    assert_int_equal(told, 0);
    ah_op_wait(op, tell, &one);
    ah_op_wait(op, tell, &ten); /* the newer one is told, once */
    ah_loop_turn(loop, 0);
    assert_int_equal(told, 10);
    ah_op_wait(op, tell, &one);
    ah_op_unref(op); /* the queue holds it */
    assert_int_equal(freed, 0);
    ah_loop_turn(loop, 0);
    assert_int_equal(told, 11);
    assert_int_equal(freed, 1);
}

static void test_cancel(void **state)
{
    (void)state;
    struct ah_op *op = probe();
    ah_op_wait(op, tell, &one);
    ah_op_cancel(op);
    ah_op_cancel(op);
    assert_int_equal(cancels, 1);
    assert_int_equal(op->err.kind, AH_CANCELLED);
    assert_string_equal(op->err.message, "the probe was cancelled");
    ah_loop_turn(loop, 0);
    assert_int_equal(told, 1);
    ah_op_unref(op);

    op = probe();
    ((struct probe *)op)->late = true;
    ah_op_cancel(op);
    assert_false(op->done);
    struct ah_error err = {0};
    ah_err_set(&err, AH_NETWORK, "something else");
    ah_op_finish(op, &err);
    assert_int_equal(op->err.kind, AH_CANCELLED); /* it was asked for */
    ah_op_unref(op);

    op = probe();
    ((struct probe *)op)->late = true;
    ah_op_cancel(op);
    ah_err_set(&err, AH_OUTCOME_UNKNOWN, "it may have happened");
    ah_op_finish(op, &err);
    assert_int_equal(op->err.kind, AH_OUTCOME_UNKNOWN); /* more than that it was cancelled */
    ah_op_unref(op);
    assert_int_equal(freed, 3);
}

static void test_unref_cancels(void **state)
{
    (void)state;
    struct ah_op *op = probe();
    ah_op_wait(op, tell, &one);
    ah_op_unref(ah_op_ref(op));
    assert_int_equal(cancels, 0);
    ah_op_unref(op);
    assert_int_equal(cancels, 1);
    assert_int_equal(freed, 1);
    ah_loop_turn(loop, 0);
    assert_int_equal(told, 0); /* the waiter held no reference: it is not told */
}

static void test_sleep_and_latch(void **state)
{
    (void)state;
    struct ah_op *a = ah_op_sleep(loop, 1), *b = ah_op_sleep(loop, 600000), *l = ah_op_latch(loop);
    assert_true(a->issued < b->issued);
    while (!a->done)
        ah_loop_turn(loop, 1000);
    assert_int_equal(a->err.kind, AH_NONE);
    ah_op_cancel(b);
    assert_int_equal(b->err.kind, AH_CANCELLED);
    ah_op_wait(l, tell, &one);
    ah_op_finish(l, NULL);
    ah_loop_turn(loop, 0);
    assert_int_equal(told, 1);
    ah_op_unref(a);
    ah_op_unref(b);
    ah_op_unref(l);
    ah_op_unref(ah_op_sleep(loop, 600000));
    ah_op_unref(ah_op_latch(loop));
    ah_loop_turn(loop, 0);
    assert_false(ah_loop_turn(loop, 0));
}

#define UNIT(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {UNIT(test_finish), UNIT(test_waiter_leaves), UNIT(test_cancel),
                                       UNIT(test_unref_cancels), UNIT(test_sleep_and_latch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
