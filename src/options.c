/* The reader of command lines. Called by main.c with the tables of the commands. Must never print or exit: a mistake is
 * an error whose message the caller shows. */
#include "options.h"

#include "near.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 128 /* options or commands that a wrong name is compared with */
#define COLUMN 26     /* of the explanations in help */

const struct ah_command *ah_options_last(const struct ah_options_found *f)
{
    return f->path[f->depth - 1];
}

/* --- looking up -------------------------------------------------------------------------------- */

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1];
}

static bool is_named(const struct ah_option *o, const char *word)
{
    size_t n = strcspn(word, "=");
    if (word[1] != '-')
        return o->letter && word[1] == o->letter && !word[2];
    return strlen(o->name) == n && strncmp(o->name, word, n) == 0;
}

static const struct ah_option *find_option(const struct ah_option *list, const char *word)
{
    for (; list && list->name; list++)
        if (is_named(list, word))
            return list;
    return NULL;
}

static const struct ah_command *find_sub(const struct ah_command *c, const char *word)
{
    for (const struct ah_command *const *s = c->subs; s && *s; s++)
        if (strcmp((*s)->name, word) == 0)
            return *s;
    return NULL;
}

static bool is_number(const char *word)
{
    char *end;
    strtod(word, &end);
    return end != word && !*end;
}

/* Does the option at argv[i] take the word after it? */
static bool takes_next(const struct ah_option *o, const char *word, const char *next)
{
    bool joined = word[1] == '-' && strchr(word, '=');
    return o->kind != AH_OPTION_FLAG && !joined && next && (!o->bare || is_number(next));
}

/* An option that stands before the name of its command: any command's may. */
static const struct ah_option *find_ahead(const struct ah_command *root, const struct ah_command *at,
                                          const char *word)
{
    const struct ah_option *o = find_option(root->options, word);
    if (!o && at != root)
        o = find_option(at->options, word);
    for (const struct ah_command *const *s = at->subs; !o && at != root && *s; s++)
        o = find_option((*s)->options, word);
    return o;
}

void ah_options_find(const struct ah_command *root, int *argc, char **argv, struct ah_options_found *f)
{
    const struct ah_command *at = root;
    *f = (struct ah_options_found){.path = {root}, .depth = 1};
    for (int i = 0; i < *argc && at->subs && f->depth < AH_OPTIONS_DEPTH && strcmp(argv[i], "--") != 0;) {
        if (is_option(argv[i])) {
            const struct ah_option *o = find_ahead(root, at, argv[i]);
            i += 1 + (o && i + 1 < *argc && takes_next(o, argv[i], argv[i + 1]));
            continue;
        }
        const struct ah_command *sub = find_sub(at, argv[i]);
        if (!sub) {
            f->unknown = at->run ? NULL : argv[i];
            return;
        }
        memmove(&argv[i], &argv[i + 1], (size_t)(*argc - i) * sizeof argv[0]); /* with the NULL */
        (*argc)--;
        f->path[f->depth++] = at = sub;
    }
}

/* --- values ------------------------------------------------------------------------------------ */

static bool is_double(const struct ah_option *o)
{
    return o->kind == AH_OPTION_SECONDS || o->kind == AH_OPTION_AMOUNT;
}

static int refuse_number(const struct ah_option *o, const char *value, struct ah_error *err)
{
    const char *what = o->kind == AH_OPTION_SECONDS ? "seconds" : "a number";
    if (o->max)
        return ah_err_set(err, AH_CONFIG, "%s takes %s, from %ld to %ld, not '%.100s'", o->name, what, o->min,
                          o->max, value);
    return ah_err_set(err, AH_CONFIG, "%s takes %s, not '%.100s'", o->name, what, value);
}

/* "5", "5s", "500ms", "2m", "6h", "7d". */
static double unit_of(const struct ah_option *o, const char **end)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"s", 1}, {"ms", 0.001}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    for (size_t i = 0; o->kind == AH_OPTION_SECONDS && i < sizeof units / sizeof *units; i++)
        if (strcmp(*end, units[i].name) == 0) {
            *end += strlen(*end);
            return units[i].seconds;
        }
    return 1;
}

static int set_number(void *field, const struct ah_option *o, const char *value, struct ah_error *err)
{
    char *end;
    double amount = strtod(value, &end);
    if (is_double(o)) {
        const char *rest = end;
        amount *= unit_of(o, &rest);
        if (end == value || *rest ||
            !(amount >= (double)o->min && amount <= (double)(o->max ? o->max : INT_MAX)))
            return refuse_number(o, value, err);
        *(double *)field = amount;
        return 0;
    }
    long count = strtol(value, &end, 10);
    if (end == value || *end || count < o->min || count > (o->max ? o->max : LONG_MAX - 1))
        return refuse_number(o, value, err);
    *(long *)field = count;
    return 0;
}

static int add_to_list(const char **list, const struct ah_option *o, const char *value, struct ah_error *err)
{
    size_t n = 0;
    while (list[n])
        n++;
    if (n >= AH_OPTIONS_REPEAT_MAX)
        return ah_err_set(err, AH_CONFIG, "more than %d %s", AH_OPTIONS_REPEAT_MAX, o->name);
    const char *equals = strchr(value, '=');
    if (o->kind == AH_OPTION_PAIRS && (!equals || equals == value))
        return ah_err_set(err, AH_CONFIG, "%s takes %s, not '%.100s'", o->name, o->argument, value);
    list[n] = value;
    return 0;
}

static int set_value(void *values, const struct ah_option *o, const char *value, struct ah_error *err)
{
    void *field = (char *)values + o->offset;
    switch (o->kind) {
    case AH_OPTION_FLAG:
        *(bool *)field = true;
        return 0;
    case AH_OPTION_TEXT:
        *(const char **)field = value;
        return 0;
    case AH_OPTION_COUNT:
    case AH_OPTION_SECONDS:
    case AH_OPTION_AMOUNT:
        return set_number(field, o, value, err);
    case AH_OPTION_LIST:
    case AH_OPTION_PAIRS:
        return add_to_list(field, o, value, err);
    }
    return -1;
}

/* What the program itself says is not checked: -1 may mean "not given". */
static void set_presets(void *values, const struct ah_option *list)
{
    for (; list && list->name; list++) {
        void *field = (char *)values + list->offset;
        if (list->preset && is_double(list))
            *(double *)field = strtod(list->preset, NULL);
        else if (list->preset && list->kind == AH_OPTION_COUNT)
            *(long *)field = strtol(list->preset, NULL, 10);
        else if (list->preset)
            *(const char **)field = list->preset;
    }
}

/* --- mistakes ---------------------------------------------------------------------------------- */

struct names {
    const char *list[NAMES_MAX + 1];
    size_t n;
};

static void add_options(struct names *to, const struct ah_option *list)
{
    for (; list && list->name && to->n < NAMES_MAX; list++)
        to->list[to->n++] = list->name;
}

static void add_subs(struct names *to, const struct ah_command *c)
{
    for (const struct ah_command *const *s = c->subs; s && *s && to->n < NAMES_MAX; s++)
        to->list[to->n++] = (*s)->name;
}

static void put_hint(char *out, size_t size, const char *word, const struct names *names)
{
    const char *near = ah_near_best(word, names->list);
    out[0] = '\0';
    if (near)
        snprintf(out, size, " (did you mean '%s'?)", near);
}

/* "trace ls"; of the program: "". */
static void put_path(const struct ah_options_found *f, char *out, size_t size)
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 1; i < f->depth && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", i > 1 ? " " : "", f->path[i]->name);
}

static int refuse_option(const struct ah_options_found *f, const char *word, struct ah_error *err)
{
    struct names names = {0};
    char hint[200], path[100], name[100];
    if (f->depth > 1)
        add_options(&names, ah_options_last(f)->options);
    add_options(&names, f->path[0]->options);
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word, "="), word);
    put_hint(hint, sizeof hint, name, &names);
    put_path(f, path, sizeof path);
    return ah_err_set(err, AH_CONFIG, "unknown option '%.100s'%s; `%s help%s%s` lists them%s", word, hint,
                      f->path[0]->name, path[0] ? " " : "", path,
                      ah_options_last(f)->max_words < 0 ? "; put -- before a script's own options" : "");
}

static int refuse_word(const struct ah_options_found *f, const char *word, struct ah_error *err)
{
    struct names names = {0};
    char hint[200], path[100];
    add_subs(&names, ah_options_last(f));
    put_hint(hint, sizeof hint, word, &names);
    put_path(f, path, sizeof path);
    if (f->depth == 1)
        return ah_err_set(err, AH_CONFIG, "unknown command '%.100s'%s; `%s help` lists them", word, hint,
                          f->path[0]->name);
    return ah_err_set(err, AH_CONFIG, "unknown word '%.100s' after %s%s", word, path, hint);
}

int ah_options_unknown(const struct ah_options_found *f, struct ah_error *err)
{
    return refuse_word(f, f->unknown, err);
}

static int check_words(const struct ah_options_found *f, int argc, char **argv, struct ah_error *err)
{
    const struct ah_command *c = ah_options_last(f);
    char path[100];
    put_path(f, path, sizeof path);
    if (f->depth == 1)
        return 0; /* no command: main.c says what there is */
    if (!c->run)
        return ah_err_set(err, AH_CONFIG, "%s needs a sub-command", path);
    if (argc < c->min_words)
        return ah_err_set(err, AH_CONFIG, "%s", c->missing);
    return c->max_words >= 0 && argc > c->max_words ? refuse_word(f, argv[c->max_words], err) : 0;
}

/* --- reading ----------------------------------------------------------------------------------- */

/* One option, at argv[i]: how many words it is. 0: err. */
static int read_option(const struct ah_options_found *f, void *common, void *own, char **argv, int left,
                       struct ah_error *err)
{
    const char *word = argv[0], *equals = word[1] == '-' ? strchr(word, '=') : NULL;
    const struct ah_option *o = f->depth > 1 ? find_option(ah_options_last(f)->options, word) : NULL;
    void *values = o ? own : common;
    if (!o)
        o = find_option(f->path[0]->options, word);
    if (!o) {
        refuse_option(f, word, err);
        return 0;
    }
    if (o->kind == AH_OPTION_FLAG && equals) {
        ah_err_set(err, AH_CONFIG, "%s takes no value", o->name);
        return 0;
    }
    bool next = takes_next(o, word, left > 1 ? argv[1] : NULL);
    const char *value = equals ? equals + 1 : next ? argv[1] : o->bare;
    if (o->kind != AH_OPTION_FLAG && !value) {
        ah_err_set(err, AH_CONFIG, "%s needs a value: %s", o->name, o->argument);
        return 0;
    }
    return set_value(values, o, value, err) == 0 ? 1 + next : 0;
}

int ah_options_read(const struct ah_options_found *f, void *common, void *own, int *argc, char **argv,
                    bool *help, struct ah_error *err)
{
    int kept = 0;
    *help = false;
    set_presets(common, f->path[0]->options);
    if (f->depth > 1)
        set_presets(own, ah_options_last(f)->options);
    for (int i = 0; i < *argc;) {
        if (strcmp(argv[i], "--") == 0) {
            while (++i < *argc)
                argv[kept++] = argv[i];
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *help = true;
            return 0;
        } else if (is_option(argv[i])) {
            int n = read_option(f, common, own, argv + i, *argc - i, err);
            if (n == 0)
                return -1;
            i += n;
        } else {
            argv[kept++] = argv[i++];
        }
    }
    argv[kept] = NULL;
    *argc = kept;
    return check_words(f, kept, argv, err);
}

/* --- usage and help ---------------------------------------------------------------------------- */

static void put_words(struct ah_buf *out, const struct ah_command *c)
{
    ah_buf_addf(out, "%s%s%s", c->name, c->words ? " " : "", c->words ? c->words : "");
}

static void put_argument(struct ah_buf *out, const struct ah_option *o)
{
    ah_buf_adds(out, o->name);
    if (o->kind != AH_OPTION_FLAG)
        ah_buf_addf(out, o->bare ? " [%s]" : " %s", o->argument);
}

void ah_options_usage(const struct ah_options_found *f, struct ah_buf *out)
{
    const struct ah_command *c = ah_options_last(f);
    for (size_t i = 0; i + 1 < f->depth; i++)
        ah_buf_addf(out, "%s ", f->path[i]->name);
    if (f->depth == 1) {
        ah_buf_addf(out, "%s COMMAND [OPTIONS]", c->name);
        return;
    }
    put_words(out, c);
    const char *between = " ";
    for (const struct ah_command *const *s = c->subs; s && *s; s++, between = " | ") {
        ah_buf_adds(out, between);
        put_words(out, *s);
    }
    for (const struct ah_option *o = c->options; o && o->name; o++) {
        ah_buf_adds(out, between[1] == '|' && o == c->options ? " | " : " [");
        put_argument(out, o);
        ah_buf_adds(out, between[1] == '|' && o == c->options ? "" : "]");
    }
}

/* The explanation, in its column. */
static void put_explained(struct ah_buf *out, size_t begin, const char *text, const char *preset)
{
    size_t n = out->n - begin;
    ah_buf_addf(out, "%*s  %s", n < COLUMN ? (int)(COLUMN - n) : 0, "", text);
    if (preset && preset[0] != '-')
        ah_buf_addf(out, " (%s)", preset);
    ah_buf_addc(out, '\n');
}

static void put_options(struct ah_buf *out, const struct ah_option *o, const char *indent)
{
    for (; o && o->name; o++) {
        if (o->heading)
            ah_buf_addf(out, "\n%s:\n", o->heading);
        size_t begin = out->n;
        ah_buf_adds(out, indent);
        if (o->letter)
            ah_buf_addf(out, "-%c, ", o->letter);
        put_argument(out, o);
        put_explained(out, begin, o->help, o->preset);
    }
}

static void put_subs(struct ah_buf *out, const struct ah_command *c, bool with_options)
{
    for (const struct ah_command *const *s = c->subs; s && *s; s++) {
        size_t begin = out->n;
        ah_buf_adds(out, "  ");
        if (with_options)
            put_words(out, *s);
        else
            ah_buf_adds(out, (*s)->name);
        put_explained(out, begin, (*s)->summary, NULL);
        if (with_options)
            put_options(out, (*s)->options, "      ");
    }
}

void ah_options_help(const struct ah_options_found *f, struct ah_buf *out)
{
    const struct ah_command *c = ah_options_last(f);
    if (f->depth == 1) {
        ah_buf_adds(out, "Commands:\n");
        put_subs(out, c, false);
        put_options(out, c->options, "  ");
        return;
    }
    ah_buf_adds(out, "usage: ");
    ah_options_usage(f, out);
    ah_buf_addf(out, "\n\n%s\n", c->summary);
    if (c->subs || c->options)
        ah_buf_addc(out, '\n');
    put_subs(out, c, true);
    put_options(out, c->options, "  ");
    ah_buf_addf(out, "\nOptions of every command: %s help\n", f->path[0]->name);
}
