/* agenthost resume: goes on with a run that stopped, crashed or was interrupted. The script is run again over what
 * the journal says it saw; then it is live (docs/resume.md). */
#include "cmd.h"
#include "recipe.h"
#include "store.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct values {
    const char *assume;
};

static const struct ah_option options[] = {
    {.name = "--assume",
     .kind = AH_OPTION_TEXT,
     .offset = offsetof(struct values, assume),
     .argument = "done|retry|fail",
     .help =
         "of a call that may have been carried out: take it as done, send it again, or take it as failed"},
    {0},
};

struct chosen {
    int64_t key;
    enum ah_store_run_state state;
    char id[AH_UUID_BYTES];
};

static int take_run(void *arg, const struct ah_store_run *run)
{
    struct chosen *c = arg;
    c->key = run->key;
    c->state = run->state;
    memcpy(c->id, run->id, sizeof c->id);
    return 1;
}

/* The newest of the runs that went on from each other. */
static int find_tip(struct ah_store *s, const char *word, struct chosen *c, struct ah_error *err)
{
    int64_t by = 0;
    if (ah_store_run_find(s, word, take_run, c, err) != 0)
        return -1;
    do {
        if (ah_store_resumed_by(s, c->key, &by, err) != 0)
            return -1;
        if (by && ah_store_run_at(s, by, take_run, c, err) != 0)
            return -1;
    } while (by);
    if (c->state == AH_RUN_OPEN)
        return ah_err_set(err, AH_CONFIG, "the run %s is still going on", c->id);
    if (c->state == AH_RUN_DONE)
        return ah_err_set(err, AH_CONFIG, "the run %s has come to its end: there is nothing to resume",
                          c->id);
    return 0;
}

static bool is_assumption(const char *word)
{
    return strcmp(word, "done") == 0 || strcmp(word, "retry") == 0 || strcmp(word, "fail") == 0;
}

/* The words of the script, NULL-terminated; each malloc'd. */
static char **copy_words(struct ah_json list)
{
    size_t n = 0;
    char **words = calloc(ah_json_count(list) + 1, sizeof *words);
    for (struct ah_json_iter it = ah_json_iter(list); words && ah_json_next(&it);)
        if ((words[n] = ah_json_dup(it.value)))
            n++;
    return words;
}

static void free_words(char **words)
{
    for (char **w = words; words && *w; w++)
        free(*w);
    free(words);
}

static int run_again(struct ah_cmd_ctx *ctx, const struct chosen *run, const struct ah_recipe *recipe,
                     const char *assume)
{
    const struct ah_cmd_options *given = ctx->options;
    struct ah_cmd_again again;
    struct ah_error err = {0};
    char **words = copy_words(recipe->args);
    int code;
    ah_cmd_again_read(&again, recipe->command, given);
    if (!words) {
        code = ah_cmd_fail_as(ctx, "memory", "out of memory");
    } else if (again.folder[0] && chdir(again.folder) != 0) {
        ah_err_set(&err, AH_CONFIG, "the run began in the folder %.500s, which cannot be entered now",
                   again.folder);
        code = ah_cmd_fail(ctx, &err);
    } else {
        ctx->options = &again.options;
        code = ah_cmd_run_script(ctx, &(struct ah_cmd_script){.path = recipe->script,
                                                              .args = words,
                                                              .emulate = again.options.emulate,
                                                              .port = recipe->port,
                                                              .user = recipe->user,
                                                              .resumes = run->key,
                                                              .assume = assume});
        ctx->options = given;
    }
    free_words(words);
    ah_cmd_again_drop(&again);
    ah_err_drop(&err);
    return code;
}

static int run_resume(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    const char *assume = ((const struct values *)ctx->values)->assume;
    struct chosen run = {0};
    struct ah_recipe recipe = {0};
    struct ah_error err = {0};
    (void)argc;
    if (assume && !is_assumption(assume))
        return ah_cmd_usage(ctx, "--assume is done, retry or fail");
    int rc = find_tip(ctx->core->store, argv[0], &run, &err);
    if (rc == 0)
        rc = ah_recipe_read(ctx->core, run.key, &recipe, &err);
    ah_cmd_close(ctx); /* the run opens its own, by its own options */
    int code = rc == 0 ? run_again(ctx, &run, &recipe, assume) : ah_cmd_fail_word(ctx, &err);
    ah_recipe_drop(&recipe);
    ah_err_drop(&err);
    return code;
}

const struct ah_command ah_cmd_resume = {.name = "resume",
                                         .words = "RUN",
                                         .summary = "go on with a run that stopped or was interrupted",
                                         .missing = "which run? (agenthost trace ls --failed)",
                                         .min_words = 1,
                                         .max_words = 1,
                                         .complete = AH_COMPLETE_RUN,
                                         .options = options,
                                         .values = sizeof(struct values),
                                         .run = run_resume,
                                         .needs_host = true,
                                         .reads_journal = true};
