/* JSON Schema: values checked, and answers of the strict mode read back. Called by lua_schema.c and
 * lua_openai.c. Pure; never follows a $ref out of the schema. See schema.h. */
#include "schema.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 100 /* also of $refs that lead in a circle */
#define PATH_BYTES 256
#define STEPS_COUNT 200000 /* of one check: a schema may be written to take for ever */
#define NAME_BYTES 80
#define QUOTE_BYTES 160 /* of allowed values in a fault */

struct check {
    struct ah_json root;
    struct ah_buf *faults;
    size_t count;
    int depth, *steps;
    bool strict; /* null in the place of what is optional is fine */
    char path[PATH_BYTES];
};

static void check_value(struct check *c, struct ah_json schema, struct ah_json v);

/* --- faults ----------------------------------------------------------------------------------------- */

static void add_fault(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add_fault(struct check *c, const char *fmt, ...)
{
    va_list args;
    if (c->count++ >= AH_SCHEMA_FAULTS_COUNT || !c->faults)
        return;
    const char *quote = c->path[0] ? "'" : "";
    ah_buf_addf(c->faults, "%s%s%s%s ", c->faults->n ? "\n" : "", quote, c->path[0] ? c->path : "the value",
                quote);
    va_start(args, fmt);
    ah_buf_vaddf(c->faults, fmt, args);
    va_end(args);
}

/* Steps into a member or element; leave() steps back. */
static size_t enter(struct check *c, struct ah_json key, size_t index)
{
    size_t was = strlen(c->path);
    char name[NAME_BYTES];
    if (key.type == AH_JSON_STRING) {
        ah_json_copy(key, name, sizeof name);
        snprintf(c->path + was, sizeof c->path - was, "%s%s", was ? "." : "", name);
    } else {
        snprintf(c->path + was, sizeof c->path - was, "[%zu]", index + 1);
    }
    return was;
}

static void leave(struct check *c, size_t was)
{
    c->path[was] = '\0';
}

/* --- values ------------------------------------------------------------------------------------------- */

static bool same_string(struct ah_json a, struct ah_json b)
{
    struct ah_buf text;
    ah_buf_init(&text, a.n * 3 + 1);
    bool same = ah_json_str(a, &text) == 0 && !memchr(ah_buf_str(&text), '\0', text.n) &&
                ah_json_is(b, ah_buf_str(&text));
    ah_buf_drop(&text);
    return same;
}

static bool same_value(struct ah_json a, struct ah_json b, int depth)
{
    double x, y;
    if (depth > DEPTH)
        return false;
    if (a.type == AH_JSON_NUMBER && b.type == AH_JSON_NUMBER)
        return ah_json_num(a, &x) && ah_json_num(b, &y) && x == y;
    if (a.type != b.type)
        return false;
    if (a.type == AH_JSON_STRING)
        return same_string(a, b);
    if (a.type != AH_JSON_ARRAY && a.type != AH_JSON_OBJECT)
        return true;
    if (ah_json_count(a) != ah_json_count(b))
        return false;
    struct ah_json_iter other = ah_json_iter(b);
    for (struct ah_json_iter it = ah_json_iter(a); ah_json_next(&it);) {
        if (a.type == AH_JSON_ARRAY) {
            if (!ah_json_next(&other) || !same_value(it.value, other.value, depth + 1))
                return false;
            continue;
        }
        char *key = ah_json_dup(it.key);
        bool same = key && same_value(it.value, ah_json_get(b, key), depth + 1);
        free(key);
        if (!same)
            return false;
    }
    return true;
}

static bool is_integer(struct ah_json v)
{
    double x;
    return ah_json_num(v, &x) && x == floor(x);
}

static bool is_empty(struct ah_json v)
{
    return (v.type == AH_JSON_ARRAY || v.type == AH_JSON_OBJECT) && ah_json_count(v) == 0;
}

static bool has_type(struct ah_json v, struct ah_json name)
{
    static const struct {
        const char *name;
        enum ah_json_type type;
    } types[] = {{"string", AH_JSON_STRING},
                 {"number", AH_JSON_NUMBER},
                 {"object", AH_JSON_OBJECT},
                 {"array", AH_JSON_ARRAY},
                 {"null", AH_JSON_NULL}};
    if (ah_json_is(name, "boolean"))
        return v.type == AH_JSON_TRUE || v.type == AH_JSON_FALSE;
    if (ah_json_is(name, "integer"))
        return is_integer(v);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (ah_json_is(name, types[i].name))
            return v.type == types[i].type || (types[i].type == AH_JSON_ARRAY && is_empty(v)) ||
                   (types[i].type == AH_JSON_OBJECT && is_empty(v));
    return true; /* of a type that nobody knows */
}

static void check_type(struct check *c, struct ah_json type, struct ah_json v)
{
    char names[NAME_BYTES] = "";
    size_t at = 0;
    if (type.type == AH_JSON_STRING) {
        ah_json_copy(type, names, sizeof names);
        if (!has_type(v, type))
            add_fault(c, "must be of type %s", names);
        return;
    }
    for (struct ah_json_iter it = ah_json_iter(type); ah_json_next(&it);) {
        char name[32];
        if (has_type(v, it.value))
            return;
        ah_json_copy(it.value, name, sizeof name);
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", at ? " or " : "", name);
        if (at >= sizeof names)
            at = sizeof names - 1;
    }
    if (at)
        add_fault(c, "must be of type %s", names);
}

static void check_enum(struct check *c, struct ah_json list, struct ah_json v)
{
    if (ah_json_count(list) == 0)
        return;
    for (struct ah_json_iter it = ah_json_iter(list); ah_json_next(&it);)
        if (same_value(it.value, v, 0))
            return;
    add_fault(c, "must be one of %.*s", (int)(list.n < QUOTE_BYTES ? list.n : QUOTE_BYTES), list.p);
}

static void check_number(struct check *c, struct ah_json schema, struct ah_json v)
{
    static const char *const keys[] = {"minimum",          "maximum",    "exclusiveMinimum",
                                       "exclusiveMaximum", "multipleOf", NULL};
    struct ah_json found[5];
    double x, y;
    if (!ah_json_num(v, &x))
        return;
    ah_json_pick(schema, keys, found);
    if (ah_json_num(found[0], &y) && x < y)
        add_fault(c, "must be at least %.*s", (int)found[0].n, found[0].p);
    if (ah_json_num(found[1], &y) && x > y)
        add_fault(c, "must be at most %.*s", (int)found[1].n, found[1].p);
    if (ah_json_num(found[2], &y) && x <= y)
        add_fault(c, "must be greater than %.*s", (int)found[2].n, found[2].p);
    if (ah_json_num(found[3], &y) && x >= y)
        add_fault(c, "must be less than %.*s", (int)found[3].n, found[3].p);
    if (ah_json_num(found[4], &y) && y > 0 && fabs(x / y - nearbyint(x / y)) > 1e-9)
        add_fault(c, "must be a multiple of %.*s", (int)found[4].n, found[4].p);
}

static size_t count_characters(struct ah_json v)
{
    char block[256];
    const char *at = v.p + 1, *end = v.p + v.n - 1;
    size_t count = 0, n;
    while ((n = ah_json_decode(&at, end, block, sizeof block)) != 0)
        for (size_t i = 0; i < n; i++)
            count += ((unsigned char)block[i] & 0xc0) != 0x80;
    return count;
}

/* The bounds of how much there is of something. */
static void check_count(struct check *c, struct ah_json schema, const char *min, const char *max,
                        size_t count, const char *what)
{
    int64_t bound;
    if (ah_json_int(ah_json_get(schema, min), &bound) && (int64_t)count < bound)
        add_fault(c, "must have at least %d %s", (int)bound, what);
    if (ah_json_int(ah_json_get(schema, max), &bound) && (int64_t)count > bound)
        add_fault(c, "must have at most %d %s", (int)bound, what);
}

static void check_array(struct check *c, struct ah_json schema, struct ah_json v)
{
    struct ah_json items = ah_json_get(schema, "items");
    size_t i = 0;
    check_count(c, schema, "minItems", "maxItems", ah_json_count(v), "items");
    for (struct ah_json_iter it = ah_json_iter(v); items.type == AH_JSON_OBJECT && ah_json_next(&it); i++) {
        size_t was = enter(c, (struct ah_json){0}, i);
        check_value(c, items, it.value);
        leave(c, was);
    }
}

static void check_required(struct check *c, struct ah_json schema, struct ah_json v)
{
    for (struct ah_json_iter it = ah_json_iter(ah_json_get(schema, "required")); ah_json_next(&it);) {
        char *name = ah_json_dup(it.value);
        if (name && ah_json_get(v, name).type == AH_JSON_NONE) {
            size_t was = enter(c, it.value, 0);
            add_fault(c, "is missing");
            leave(c, was);
        }
        free(name);
    }
}

static bool is_listed(struct ah_json list, const char *name)
{
    for (struct ah_json_iter it = ah_json_iter(list); ah_json_next(&it);)
        if (ah_json_is(it.value, name))
            return true;
    return false;
}

static void check_object(struct check *c, struct ah_json schema, struct ah_json v)
{
    struct ah_json properties = ah_json_get(schema, "properties");
    struct ah_json more = ah_json_get(schema, "additionalProperties");
    check_count(c, schema, "minProperties", "maxProperties", ah_json_count(v), "members");
    check_required(c, schema, v);
    for (struct ah_json_iter it = ah_json_iter(v); v.type == AH_JSON_OBJECT && ah_json_next(&it);) {
        char *name = ah_json_dup(it.key);
        struct ah_json property = name ? ah_json_get(properties, name) : (struct ah_json){0};
        size_t was = enter(c, it.key, 0);
        bool filled_in = c->strict && name && it.value.type == AH_JSON_NULL &&
                         property.type == AH_JSON_OBJECT && !is_listed(ah_json_get(schema, "required"), name);
        if (property.type == AH_JSON_NONE && more.type == AH_JSON_FALSE)
            add_fault(c, "is not known here");
        else if (!filled_in)
            check_value(c, property.type != AH_JSON_NONE ? property : more, it.value);
        leave(c, was);
        free(name);
    }
}

/* --- schemas in schemas --------------------------------------------------------------------------------- */

/* ~1 and ~0 of a JSON pointer. */
static void unescape(char *step)
{
    char *to = step;
    for (; *step; step++)
        if (step[0] == '~' && (step[1] == '0' || step[1] == '1'))
            *to++ = *++step == '1' ? '/' : '~';
        else
            *to++ = *step;
    *to = '\0';
}

struct ah_json ah_schema_find(struct ah_json root, struct ah_json ref)
{
    char path[PATH_BYTES], *save = NULL;
    ah_json_copy(ref, path, sizeof path);
    if (path[0] != '#' || (path[1] != '\0' && path[1] != '/'))
        return (struct ah_json){0};
    for (char *step = strtok_r(path + 1, "/", &save); step; step = strtok_r(NULL, "/", &save)) {
        unescape(step);
        root =
            root.type == AH_JSON_ARRAY ? ah_json_at(root, strtoul(step, NULL, 10)) : ah_json_get(root, step);
    }
    return root;
}

/* How many faults a value has by another schema, told to nobody. */
static size_t try_value(const struct check *c, struct ah_json schema, struct ah_json v)
{
    struct check quiet = {.root = c->root, .depth = c->depth, .steps = c->steps, .strict = c->strict};
    check_value(&quiet, schema, v);
    return quiet.count;
}

/* One fits: fine. None: the faults by the only one that was meant, where there is one. */
static void check_choice(struct check *c, struct ah_json list, struct ah_json v, bool only_one)
{
    size_t fits = 0, best_count = 0;
    struct ah_json best = {0};
    if (ah_json_count(list) == 0)
        return;
    for (struct ah_json_iter it = ah_json_iter(list); ah_json_next(&it);) {
        struct ah_json type = ah_json_get(it.value, "type");
        struct check quiet = {0};
        size_t count = try_value(c, it.value, v);
        fits += count == 0;
        check_type(&quiet, type, v);
        count += quiet.count * AH_SCHEMA_FAULTS_COUNT * 2; /* of another type: not what was meant */
        if (!ah_json_is(type, "null") && (best.type == AH_JSON_NONE || count < best_count)) {
            best = it.value;
            best_count = count;
        }
    }
    if (fits == 0 && best.type == AH_JSON_OBJECT)
        check_value(c, best, v);
    else if (fits == 0)
        add_fault(c, "is none of what it may be");
    else if (only_one && fits > 1)
        add_fault(c, "is more than one of what it may be");
}

static void check_combined(struct check *c, struct ah_json schema, struct ah_json v)
{
    static const char *const keys[] = {"$ref", "anyOf", "oneOf", "allOf", "not", NULL};
    struct ah_json found[5];
    ah_json_pick(schema, keys, found);
    if (found[0].type == AH_JSON_STRING)
        check_value(c, ah_schema_find(c->root, found[0]), v);
    check_choice(c, found[1], v, false);
    check_choice(c, found[2], v, true);
    for (struct ah_json_iter it = ah_json_iter(found[3]); ah_json_next(&it);)
        check_value(c, it.value, v);
    if (found[4].type == AH_JSON_OBJECT && try_value(c, found[4], v) == 0)
        add_fault(c, "is what it must not be");
}

static void check_value(struct check *c, struct ah_json schema, struct ah_json v)
{
    static const char *const keys[] = {"type", "enum", "const", "nullable", NULL};
    struct ah_json found[4];
    if (schema.type == AH_JSON_FALSE)
        add_fault(c, "must not be there");
    if (schema.type != AH_JSON_OBJECT || c->count > AH_SCHEMA_FAULTS_COUNT)
        return;
    if (++c->depth > DEPTH || --*c->steps < 0) {
        add_fault(c, "lies too deep");
        c->depth--;
        return;
    }
    ah_json_pick(schema, keys, found);
    if (v.type != AH_JSON_NULL || found[3].type != AH_JSON_TRUE) {
        size_t before = c->count;
        check_type(c, found[0], v);
        check_enum(c, found[1], v);
        if (found[2].type != AH_JSON_NONE && !same_value(found[2], v, 0))
            add_fault(c, "must be %.*s", (int)(found[2].n < QUOTE_BYTES ? found[2].n : QUOTE_BYTES),
                      found[2].p);
        if (c->count == before) {
            check_combined(c, schema, v);
            if (v.type == AH_JSON_NUMBER)
                check_number(c, schema, v);
            if (v.type == AH_JSON_STRING)
                check_count(c, schema, "minLength", "maxLength", count_characters(v), "characters");
            if (v.type == AH_JSON_ARRAY || (is_empty(v) && ah_json_is(found[0], "array")))
                check_array(c, schema, v);
            else if (v.type == AH_JSON_OBJECT)
                check_object(c, schema, v);
        }
    }
    c->depth--;
}

size_t ah_schema_check(struct ah_json schema, struct ah_json value, struct ah_buf *faults)
{
    int steps = STEPS_COUNT;
    struct check c = {.root = schema, .faults = faults, .steps = &steps};
    check_value(&c, schema, value);
    return c.count < AH_SCHEMA_FAULTS_COUNT ? c.count : AH_SCHEMA_FAULTS_COUNT;
}

/* --- back from the strict mode ----------------------------------------------------------------------------- */

struct prune {
    struct ah_json root;
    struct ah_json_writer w;
    int depth, steps;
};

/* Of a union the branch that the value fits in its strict form; when it fits none, the first of its type. */
static struct ah_json branch_for(struct prune *p, struct ah_json list, struct ah_json v)
{
    struct ah_json found = {0};
    for (struct ah_json_iter it = ah_json_iter(list); ah_json_next(&it);) {
        struct check quiet = {.root = p->root}, whole = {.root = p->root, .steps = &p->steps, .strict = true};
        check_type(&quiet, ah_json_get(it.value, "type"), v);
        if (quiet.count == 0)
            check_value(&whole, it.value, v);
        if (quiet.count == 0 && whole.count == 0)
            return it.value;
        if (quiet.count == 0 && found.type == AH_JSON_NONE)
            found = it.value;
    }
    return found;
}

/* The schema that describes this value: through $ref, and the branch that fits. */
static struct ah_json schema_for(struct prune *p, struct ah_json schema, struct ah_json v)
{
    for (int i = 0; i < DEPTH; i++) {
        static const char *const unions[] = {"anyOf", "oneOf", "allOf"};
        struct ah_json ref = ah_json_get(schema, "$ref"), found = {0};
        if (ref.type == AH_JSON_STRING)
            found = ah_schema_find(p->root, ref);
        for (size_t k = 0; k < 3 && found.type == AH_JSON_NONE; k++)
            found = branch_for(p, ah_json_get(schema, unions[k]), v);
        if (found.type == AH_JSON_NONE)
            return schema;
        schema = found;
    }
    return schema;
}

static void prune_value(struct prune *p, struct ah_json schema, struct ah_json v);

static void prune_object(struct prune *p, struct ah_json schema, struct ah_json v)
{
    struct ah_json properties = ah_json_get(schema, "properties"), required = ah_json_get(schema, "required");
    ah_json_object(&p->w);
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);) {
        char *name = ah_json_dup(it.key);
        struct ah_json property = name ? ah_json_get(properties, name) : (struct ah_json){0};
        struct check quiet = {.root = p->root, .steps = &p->steps};
        bool filled_in =
            it.value.type == AH_JSON_NULL && property.type == AH_JSON_OBJECT && !is_listed(required, name);
        if (filled_in)
            check_value(&quiet, property, it.value);
        if (name && !(filled_in && quiet.count)) {
            ah_json_key(&p->w, name);
            prune_value(p, property, it.value);
        }
        free(name);
    }
    ah_json_end_object(&p->w);
}

static void prune_value(struct prune *p, struct ah_json schema, struct ah_json v)
{
    schema = schema_for(p, schema, v);
    if (schema.type != AH_JSON_OBJECT || p->depth > DEPTH ||
        (v.type != AH_JSON_OBJECT && v.type != AH_JSON_ARRAY)) {
        ah_json_put(&p->w, v);
        return;
    }
    p->depth++;
    if (v.type == AH_JSON_OBJECT) {
        prune_object(p, schema, v);
    } else {
        struct ah_json items = ah_json_get(schema, "items");
        ah_json_array(&p->w);
        for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);)
            prune_value(p, items, it.value);
        ah_json_end_array(&p->w);
    }
    p->depth--;
}

int ah_schema_prune(struct ah_json schema, struct ah_json value, struct ah_buf *to)
{
    struct prune p = {.root = schema, .steps = STEPS_COUNT};
    ah_json_begin(&p.w, to, NULL);
    prune_value(&p, schema, value);
    return to->failed ? -1 : 0;
}
