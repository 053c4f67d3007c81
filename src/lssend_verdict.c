/* What an answer means for a batch: delivered, halved, made smaller, or sent again and when. Called when a request has
 * ended. Must never give up on trouble that time heals, and never park a run without a word of why. */
#include "fault.h"
#include "json.h"
#include "log.h"
#include "lssend_batch.h"

#include <stdio.h>
#include <string.h>

#define FIRST_WAIT_MS 500
#define LONGEST_WAIT_MS 60000
#define RATE_WAIT_MS 10000
#define USAGE_WAIT_MS 300000
#define SAY_AFTER_COUNT 3 /* failures in a row */

enum verdict { DELIVERED, SPLIT, AGAIN, KEY_REFUSED, OTHER_FORM, SMALLER };

/* LangSmith answers 202 with a JSON object. A page that answers 200 to everything is not LangSmith, and
 * has nothing. */
static bool is_ingested(const struct ah_http_res *res)
{
    struct ah_json answer;
    const char *p = ah_buf_str(&res->body);
    if (strspn(p, " \t\r\n") == res->body.n)
        return res->status != 200;
    return ah_json_check(p, res->body.n, 0, &answer, NULL) == 0 && answer.type == AH_JSON_OBJECT &&
           !ah_json_truthy(ah_json_get(answer, "error"));
}

static enum verdict judge(const struct ah_lssend_batch *b, const struct ah_http_op *h, const char *words)
{
    int status = h->op.err.kind == AH_NONE ? 200 : h->op.err.status;
    switch (status) {
    case 200:
        return is_ingested(&h->res) ? DELIVERED : AGAIN;
    case 401:
    case 403:
        return KEY_REFUSED;
    case 404:
    case 405:
        return !b->dest->info.multipart ? AGAIN : OTHER_FORM;
    case 409:
        return b->maybe || b->count == 1 ? DELIVERED : SPLIT;
    case 415:
        return b->packed ? OTHER_FORM : SPLIT;
    case 413:
        return b->count > 1 ? SPLIT : SMALLER;
    case 400:
    case 422:
        if (strstr(words, "NextPart: EOF")) /* a body that was cut on its way is nobody's fault */
            return AGAIN;
        if (b->count > 1)
            return SPLIT;
        return strstr(words, "exceeds maximum allowed size") ? SMALLER : b->packed ? OTHER_FORM : SPLIT;
    default:
        return AGAIN;
    }
}

static void deliver(struct ah_lssend_batch *b)
{
    struct ah_lssend_dest *d = b->dest;
    if (b->plain)
        d->info.coding = AH_LSPACK_NONE; /* it was the packing that it refused */
    d->worked = true;
    d->failures = 0;
    d->next_us = 0;
    d->asked = false;
    d->trouble[0] = '\0';
    ah_lssend_close_batch(b);
}

/* Halves take the place of the whole, in one transaction; a single one is the culprit. */
static void split_batch(struct ah_lssend_batch *b, const char *words)
{
    struct ah_lssend_dest *d = b->dest;
    size_t half = b->count / 2;
    if (b->count == 1) {
        ah_lssend_park(d, &b->items[0], words);
        ah_lssend_close_batch(b);
        return;
    }
    struct ah_lssend_batch *one = ah_lssend_make_batch(d, b->items, half);
    struct ah_lssend_batch *two = one ? ah_lssend_make_batch(d, b->items + half, b->count - half) : NULL;
    if (!two) {
        if (one)
            ah_store_batch_drop(d->sender->core->store, one->id);
        ah_lssend_free_batch(one);
        ah_lssend_delay(d, AH_LSSEND_TROUBLE_MS);
        return;
    }
    one->next = two;
    two->next = d->batches; /* first, so that few are open while the culprit is looked for */
    d->batches = one;
    ah_lssend_close_batch(b);
}

/* A run that is too large, alone: once more with its largest values cut. It is another batch: the one that was sent
 * is decided. */
static void shrink_batch(struct ah_lssend_batch *b, const char *words)
{
    struct ah_lssend_dest *d = b->dest;
    struct ah_store_item item = b->items[0];
    do
        item.cut++;
    while (item.cut <= AH_LSSEND_CUT_LEVELS && ah_lssend_room_of(item.cut) >= b->bytes);
    struct ah_lssend_batch *less = item.cut > AH_LSSEND_CUT_LEVELS ? NULL : ah_lssend_make_batch(d, &item, 1);
    if (!less) {
        split_batch(b, words); /* parks it */
        return;
    }
    less->next = d->batches;
    d->batches = less;
    ah_lssend_close_batch(b);
}

/* The service has no such address, or cannot unpack: the same runs at once in the other form. */
static void note_form(struct ah_lssend_batch *b, int status)
{
    if (status == 404 || status == 405)
        b->dest->info.multipart = false;
    else if (status == 415)
        b->dest->info.coding = AH_LSPACK_NONE;
    else
        b->plain = true;
}

/* 429 without Retry-After: 10 s; a plan that is used up: minutes; else ever longer. Without chance, so
 * that what scripts draw does not depend on the network: batches differ enough. */
static int64_t choose_wait(const struct ah_lssend_dest *d, const struct ah_lssend_batch *b,
                           const struct ah_error *err, const char *words)
{
    if (err->retry_after_ms > 0)
        return err->retry_after_ms;
    if (err->status == 429)
        return strstr(words, "usage limit") ? USAGE_WAIT_MS : RATE_WAIT_MS;
    int64_t ms = LONGEST_WAIT_MS;
    if (d->failures < 8)
        ms = (int64_t)FIRST_WAIT_MS << (d->failures - 1);
    ms = ms < LONGEST_WAIT_MS ? ms : LONGEST_WAIT_MS;
    return ms - ms / 4 * (b->id & 7) / 8;
}

static void keep_batch(struct ah_lssend_batch *b, const struct ah_http_op *h, const char *words)
{
    struct ah_lssend_dest *d = b->dest;
    const struct ah_error *err = &h->op.err;
    bool taken = err->status ? err->status >= 500 || err->status == 408 || err->status == 425
                             : h->res.first_byte_sent || h->res.answer_began;
    b->maybe |= taken;
    if (!b->maybe) {
        b->attempts--; /* nobody can have it: a 409 to the next one would mean something else */
        ah_lssend_save_batch(b);
    }
    d->failures++;
    d->asked = err->retry_after_ms > 0 || err->status == 429;
    ah_lssend_delay(d, choose_wait(d, b, err, words));
    const char *what =
        err->kind == AH_NONE ? "its answer is not LangSmith's; is LANGSMITH_ENDPOINT right?" : err->message;
    snprintf(d->trouble, sizeof d->trouble, "%.240s%s%.150s", what, *words ? ": " : "", words);
    if (d->failures == SAY_AFTER_COUNT)
        ah_log_once(d->sender->core->log, AH_ONCE_TRACE_DOWN, AH_LOG_WARN,
                    "traces cannot be sent to %s now (%s); they wait in the journal and are tried again",
                    d->endpoint, d->trouble);
}

static void note_key(struct ah_lssend_dest *d, int status, const char *words)
{
    struct ah_error err = {0};
    bool workspace = strstr(words, "org_scoped_key_requires_workspace") != NULL;
    ah_err_set(&err, AH_AUTH, "LangSmith at %.300s does not accept the key (%d %.150s): %s", d->endpoint,
               status, words,
               workspace ? "the key belongs to an organization, set LANGSMITH_WORKSPACE_ID"
                         : "check LANGSMITH_API_KEY, and that LANGSMITH_ENDPOINT is of the same region");
    err.status = status;
    ah_log_once(d->sender->core->log, AH_ONCE_TRACE_AUTH, AH_LOG_WARN,
                "%s. The traces stay in the journal and are sent when it does", err.message);
    ah_lssend_refuse_dest(d, &err);
}

void ah_lssend_take_answer(struct ah_op *op, void *arg)
{
    struct ah_lssend_batch *b = arg;
    struct ah_lssend_dest *d = b->dest;
    struct ah_lssend *s = d->sender;
    struct ah_http_op *h = (struct ah_http_op *)op;
    char words[AH_LSSEND_WORDS_BYTES];
    ah_lswire_words(h->res.body.p, h->res.body.n, words, sizeof words);
    b->op = NULL;
    d->in_flight--;
    s->in_flight--;
    ah_fault_at("verdict");
    switch (judge(b, h, words)) {
    case DELIVERED:
        deliver(b);
        break;
    case SPLIT:
        split_batch(b, *words ? words : op->err.message);
        break;
    case SMALLER:
        shrink_batch(b, *words ? words : op->err.message);
        break;
    case AGAIN:
        keep_batch(b, h, words);
        break;
    case KEY_REFUSED:
        note_key(d, op->err.status, words);
        break;
    case OTHER_FORM:
        note_form(b, op->err.status); /* and at once again */
        break;
    }
    ah_op_unref(op);
    ah_lssend_kick(s);
}
