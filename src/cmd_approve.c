/* agenthost approve: a person's answer to a call that waits for it, given from another terminal or later. */
#include "cmd.h"
#include "json.h"
#include "store.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_COUNT 50

struct values {
    const char *deny;
};

static const struct ah_option options[] = {
    {.name = "--deny",
     .kind = AH_OPTION_TEXT,
     .offset = offsetof(struct values, deny),
     .argument = "REASON",
     .help = "refuse the call; the model is told why"},
    {0},
};

struct waiting {
    struct ah_cmd_ctx *ctx;
    int64_t run, seq; /* of the one that was found last */
    int count, closed;
    enum ah_store_run_state state; /* of the run */
    bool print;
    char id[AH_UUID_BYTES];
};

static int take_run(void *arg, const struct ah_store_run *run)
{
    struct waiting *w = arg;
    w->run = run->key;
    w->state = run->state;
    memcpy(w->id, run->id, sizeof w->id);
    return 1;
}

static int take_question(void *arg, const struct ah_store_approval *a)
{
    struct waiting *w = arg, owner = {.run = 0};
    w->closed += a->state != AH_APPROVAL_OPEN;
    if (a->state != AH_APPROVAL_OPEN)
        return 0;
    ah_store_run_at(w->ctx->core->store, a->run, take_run, &owner, NULL);
    if (owner.state == AH_RUN_DONE) /* it came to its end without an answer */
        return 0;
    w->count++;
    w->seq = a->seq;
    w->run = a->run;
    w->state = owner.state;
    if (w->print && w->count <= SHOWN_COUNT)
        fprintf(w->ctx->out, "%s %lld %s\n", owner.id, (long long)a->seq, a->question);
    return 0;
}

static int list_all(struct ah_cmd_ctx *ctx)
{
    struct waiting w = {.ctx = ctx, .print = true};
    struct ah_error err = {0};
    if (ah_store_approvals(ctx->core->store, 0, 0, 0, take_question, &w, &err) != 0)
        return ah_cmd_fail(ctx, &err);
    if (w.count == 0)
        fputs("no call waits for approval\n", stderr);
    return 0;
}

/* The call that is meant: by its number, else the only one that waits. */
static int find_question(struct ah_cmd_ctx *ctx, const char *run, const char *seq, struct waiting *w,
                         struct ah_error *err)
{
    struct ah_store *s = ctx->core->store;
    char *end = NULL;
    int64_t number = seq ? strtoll(seq, &end, 10) : 0, key;
    if (seq && (*end || number <= 0))
        return ah_err_set(err, AH_INVALID, "'%s' is no number of a call: `agenthost approve` lists them",
                          seq);
    if (ah_store_run_find(s, run, take_run, w, err) != 0)
        return -1;
    for (key = w->run; key && w->count == 0;) {
        if (ah_store_approvals(s, key, number, 0, take_question, w, err) != 0 ||
            ah_store_resumed_by(s, key, &key, err) != 0)
            return -1;
    }
    if (w->count == 0 && number && w->closed)
        return ah_err_set(err, AH_NOT_FOUND, "somebody has decided about call %s of the run %s", seq, w->id);
    if (w->count == 0 && number)
        return ah_err_set(
            err, AH_NOT_FOUND,
            "call %s of the run %s does not wait for approval: `agenthost approve` lists what does", seq,
            w->id);
    if (w->count == 0)
        return ah_err_set(err, AH_NOT_FOUND, "no call of the run %s waits for approval", w->id);
    if (w->count > 1) {
        w->print = true;
        ah_store_approvals(s, w->run, 0, 0, take_question, w, NULL);
        return ah_err_set(err, AH_CONFIG,
                          "several calls of this run wait: say which one (its number is the second word)");
    }
    return 0;
}

static int run_approve(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    const char *deny = ((const struct values *)ctx->values)->deny;
    struct waiting w = {.ctx = ctx};
    struct ah_error err = {0};
    bool changed = false;
    if (argc == 0)
        return list_all(ctx);
    if (find_question(ctx, argv[0], argc > 1 ? argv[1] : NULL, &w, &err) != 0 ||
        ah_store_decide(ctx->core->store, w.run, w.seq, deny ? AH_APPROVAL_NO : AH_APPROVAL_YES, deny,
                        &changed, &err) != 0)
        return ah_cmd_fail_word(ctx, &err);
    if (!changed) {
        ah_err_set(&err, AH_CONFIG, "somebody else has just decided about this call");
        return ah_cmd_fail(ctx, &err);
    }
    fprintf(stderr, "%s. %s: agenthost resume %s\n", deny ? "denied" : "approved",
            w.state == AH_RUN_OPEN ? "The run is going on; should it stop" : "To go on", w.id);
    return 0;
}

const struct ah_command ah_cmd_approve = {.name = "approve",
                                          .words = "[RUN [SEQ]]",
                                          .summary = "allow or refuse a call that waits for a person",
                                          .max_words = 2,
                                          .complete = AH_COMPLETE_RUN,
                                          .options = options,
                                          .values = sizeof(struct values),
                                          .run = run_approve,
                                          .needs_host = true,
                                          .reads_journal = true};
