/* The options of a run as JSON, kept in the journal, so that `agenthost resume` begins it the same way. Called by
 * cmd_run.c and cmd_resume.c. By the table of common options: a new one is kept by itself. */
#include "cmd.h"
#include "json.h"

#include <stdlib.h>
#include <string.h>

/* How an answer is shown is the affair of whoever asks now. */
static const char *const not_kept[] = {"--json", "--quiet", "--verbose", "--flush", "--verify", NULL};

static bool is_kept(const struct ah_option *o)
{
    for (const char *const *name = not_kept; *name; name++)
        if (strcmp(*name, o->name) == 0)
            return false;
    return true;
}

static double preset_of(const struct ah_option *o)
{
    return o->preset ? strtod(o->preset, NULL) : 0;
}

static const void *place_of(const struct ah_option *o, const struct ah_cmd_options *options)
{
    return (const char *)options + o->offset;
}

static bool is_given(const struct ah_option *o, const struct ah_cmd_options *options)
{
    const void *p = place_of(o, options);
    switch (o->kind) {
    case AH_OPTION_FLAG:
        return *(const bool *)p;
    case AH_OPTION_TEXT:
    case AH_OPTION_LIST:
    case AH_OPTION_PAIRS:
        return *(const char *const *)p != NULL;
    case AH_OPTION_COUNT:
        return (double)*(const long *)p != preset_of(o);
    default:
        return *(const double *)p < preset_of(o) || *(const double *)p > preset_of(o);
    }
}

static void put_value(const struct ah_option *o, const struct ah_cmd_options *options,
                      struct ah_json_writer *w)
{
    const void *p = place_of(o, options);
    ah_json_key(w, o->name);
    switch (o->kind) {
    case AH_OPTION_FLAG:
        ah_json_put_bool(w, true);
        break;
    case AH_OPTION_TEXT:
        ah_json_put_str(w, *(const char *const *)p);
        break;
    case AH_OPTION_LIST:
    case AH_OPTION_PAIRS:
        ah_json_array(w);
        for (const char *const *word = p; *word; word++)
            ah_json_put_str(w, *word);
        ah_json_end_array(w);
        break;
    case AH_OPTION_COUNT:
        ah_json_put_int(w, *(const long *)p);
        break;
    default:
        ah_json_put_num(w, *(const double *)p);
    }
}

void ah_cmd_again_write(const struct ah_cmd_options *options, bool emulate, const char *folder,
                        struct ah_buf *to)
{
    struct ah_json_writer w;
    ah_json_begin(&w, to, NULL);
    ah_json_object(&w);
    for (const struct ah_option *o = ah_cmd_root.options; o->name; o++)
        if (is_kept(o) && is_given(o, options) && strcmp(o->name, "--emulate") != 0)
            put_value(o, options, &w);
    if (emulate) {
        ah_json_key(&w, "--emulate");
        ah_json_put_bool(&w, true);
    }
    ah_json_key(&w, "folder");
    ah_json_put_str(&w, folder);
    ah_json_end_object(&w);
}

static const char *keep(struct ah_cmd_again *a, struct ah_json v)
{
    char *text = a->count < AH_CMD_AGAIN_TEXTS ? ah_json_dup(v) : NULL;
    if (text)
        a->texts[a->count++] = text;
    return text;
}

static void take_value(struct ah_cmd_again *a, const struct ah_option *o, struct ah_json v)
{
    void *p = (char *)&a->options + o->offset;
    int64_t count;
    size_t n = 0;
    switch (o->kind) {
    case AH_OPTION_FLAG:
        *(bool *)p = ah_json_bool(v, false);
        break;
    case AH_OPTION_TEXT:
        *(const char **)p = keep(a, v);
        break;
    case AH_OPTION_LIST:
    case AH_OPTION_PAIRS:
        for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it) && n < AH_OPTIONS_REPEAT_MAX;)
            ((const char **)p)[n++] = keep(a, it.value);
        break;
    case AH_OPTION_COUNT:
        if (ah_json_int(v, &count))
            *(long *)p = (long)count;
        break;
    default:
        ah_json_num(v, p);
    }
}

void ah_cmd_again_read(struct ah_cmd_again *a, struct ah_json command, const struct ah_cmd_options *now)
{
    *a = (struct ah_cmd_again){.options = *now};
    for (const struct ah_option *o = ah_cmd_root.options; o->name; o++) {
        struct ah_json v = ah_json_get(command, o->name);
        if (v.type != AH_JSON_NONE && is_kept(o) && !is_given(o, now))
            take_value(a, o, v);
    }
    ah_json_copy(ah_json_get(command, "folder"), a->folder, sizeof a->folder);
}

void ah_cmd_again_drop(struct ah_cmd_again *a)
{
    for (size_t i = 0; i < a->count; i++)
        free(a->texts[i]);
    a->count = 0;
}
