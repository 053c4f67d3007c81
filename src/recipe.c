/* Recipes of runs as JSON. Called by runner.c and cmd_resume.c. Decides nothing. */
#include "recipe.h"

#include "replay.h"

#include <stdlib.h>
#include <string.h>

int ah_recipe_read(struct ah_core *core, int64_t run, struct ah_recipe *out, struct ah_error *err)
{
    struct ah_json object;
    int64_t port = 0;
    *out = (struct ah_recipe){.text = ah_replay_recipe(core->store, run, err)};
    if (!out->text)
        return -1;
    if (ah_json_check(out->text, strlen(out->text), 0, &object, err) != 0) {
        ah_recipe_drop(out);
        return -1;
    }
    out->args = ah_json_get(object, "args");
    out->command = ah_json_get(object, "command");
    ah_json_copy(ah_json_get(object, "script"), out->script, sizeof out->script);
    ah_json_copy(ah_json_get(object, "sha256"), out->sha256, sizeof out->sha256);
    ah_json_copy(ah_json_get(object, "user"), out->user, sizeof out->user);
    ah_json_int(ah_json_get(object, "seed"), &out->seed);
    ah_json_int(ah_json_get(object, "resumes"), &out->resumes);
    ah_json_int(ah_json_get(object, "base"), &out->base);
    ah_json_int(ah_json_get(object, "port"), &port);
    out->port = (int)port;
    return 0;
}

void ah_recipe_drop(struct ah_recipe *r)
{
    free(r->text);
    *r = (struct ah_recipe){0};
}

static void put_int(struct ah_json_writer *w, const char *key, int64_t v)
{
    ah_json_key(w, key);
    ah_json_put_int(w, v);
}

static void put_text(struct ah_json_writer *w, const char *key, const char *text)
{
    ah_json_key(w, key);
    ah_json_put_str(w, text);
}

void ah_recipe_write(struct ah_core *core, const struct ah_recipe *r, const char *const *args,
                     const char *command, struct ah_buf *to)
{
    struct ah_json_writer w;
    ah_json_begin(&w, to, core->secrets);
    ah_json_object(&w);
    ah_json_key(&w, "args");
    ah_json_array(&w);
    for (; *args; args++)
        ah_json_put_str(&w, *args);
    ah_json_end_array(&w);
    put_int(&w, "base", r->base);
    ah_json_key(&w, "command");
    ah_json_put_raw(&w, command ? command : "{}", command ? strlen(command) : 2);
    put_int(&w, "port", r->port);
    put_int(&w, "resumes", r->resumes);
    put_text(&w, "script", r->script);
    put_int(&w, "seed", r->seed);
    put_text(&w, "sha256", r->sha256);
    put_text(&w, "user", r->user);
    ah_json_end_object(&w);
}
