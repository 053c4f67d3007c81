/* JSON Schemas as OpenAI's strict mode takes them. Called by lua_schema.c and lua_openai.c. Pure. It must never
 * make a schema accept what the given one refuses, but for null in the place of what is optional. See strict.h. */
#include "strict.h"
#include "schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 100
#define PATH_BYTES 256
#define DESCRIPTION_BYTES ((size_t)1 << 20)
#define NOTES_BYTES ((size_t)4096) /* what goes into a description */

struct strict {
    struct ah_json_writer w;
    struct ah_json root;
    struct ah_error *err;
    int depth;
    char path[PATH_BYTES];
};

static int put_schema(struct strict *s, struct ah_json v, bool nullable);

static bool key_is(struct ah_json key, const char *const *list)
{
    for (; *list; list++)
        if (ah_json_is(key, *list))
            return true;
    return false;
}

static size_t enter(struct strict *s, struct ah_json key)
{
    size_t was = strlen(s->path);
    char text[80];
    ah_json_copy(key, text, sizeof text);
    snprintf(s->path + was, sizeof s->path - was, "%s%s", was ? "." : "", text);
    return was;
}

static int refuse(struct strict *s, const char *what, const char *instead)
{
    return ah_err_set(s->err, AH_INVALID, "the schema%s%s cannot be strict: %s; %s", s->path[0] ? " at " : "",
                      s->path, what, instead);
}

/* What strict mode has no word for, and nothing can be done about. */
static int check_words(struct strict *s, struct ah_json v)
{
    static const char *const never[] = {"not",
                                        "if",
                                        "then",
                                        "else",
                                        "prefixItems",
                                        "dependentRequired",
                                        "dependencies",
                                        "contains",
                                        "dependentSchemas",
                                        "propertyNames",
                                        "patternProperties",
                                        "unevaluatedProperties",
                                        NULL};
    char name[40];
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);) {
        if (!key_is(it.key, never))
            continue;
        ah_json_copy(it.key, name, sizeof name);
        char what[64];
        snprintf(what, sizeof what, "it has '%s'", name);
        return refuse(s, what, "leave it out, or give strict = false");
    }
    struct ah_json more = ah_json_get(v, "additionalProperties");
    if (more.type == AH_JSON_OBJECT)
        return refuse(s, "it is a map with any keys",
                      "write a list of { key, value } instead, or give strict = "
                      "false");
    if (ah_json_count(ah_json_get(v, "allOf")) > 1)
        return refuse(s, "it has 'allOf'", "write the schemas as one, or give strict = false");
    if (ah_json_get(v, "anyOf").type != AH_JSON_NONE && ah_json_get(v, "oneOf").type != AH_JSON_NONE)
        return refuse(s, "it has 'anyOf' and 'oneOf'", "write one of them, or give strict = false");
    return 0;
}

static bool has_any(struct ah_json v, const char *const *list)
{
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);)
        if (key_is(it.key, list))
            return true;
    return false;
}

/* --- what is told in words ---------------------------------------------------------------------------- */

static bool is_format(struct ah_json v)
{
    static const char *const formats[] = {"date-time", "time", "date", "duration", "email",
                                          "hostname",  "ipv4", "ipv6", "uuid",     NULL};
    return key_is(v, formats);
}

/* Members that leave the schema for its description. */
static bool is_told(struct ah_json key, struct ah_json v)
{
    static const char *const told[] = {"default",       "minLength",     "maxLength",
                                       "minProperties", "maxProperties", "examples",
                                       "uniqueItems",   "example",       NULL};
    return key_is(key, told) || (ah_json_is(key, "format") && !is_format(v));
}

static void put_description(struct strict *s, struct ah_json v)
{
    struct ah_json given = ah_json_get(v, "description");
    struct ah_buf text;
    char name[40];
    bool told = false;
    ah_buf_init(&text, DESCRIPTION_BYTES);
    if (given.type == AH_JSON_STRING)
        ah_json_str(given, &text);
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);) {
        if (!is_told(it.key, it.value) || it.value.n > NOTES_BYTES)
            continue;
        ah_json_copy(it.key, name, sizeof name);
        ah_buf_addf(&text, "%s%s: %.*s",
                    told     ? ", "
                    : text.n ? " ("
                             : "(",
                    name, (int)it.value.n, it.value.p);
        told = true;
    }
    if (told)
        ah_buf_addc(&text, ')');
    if (text.n) {
        ah_json_key(&s->w, "description");
        ah_json_put_strn(&s->w, ah_buf_str(&text), text.n);
    }
    ah_buf_drop(&text);
}

/* --- schemas -------------------------------------------------------------------------------------------- */

static bool is_required(struct ah_json schema, struct ah_json key)
{
    char *name = ah_json_dup(key);
    bool found = false;
    for (struct ah_json_iter it = ah_json_iter(ah_json_get(schema, "required"));
         name && !found && ah_json_next(&it);)
        found = ah_json_is(it.value, name);
    free(name);
    return found;
}

static void put_key(struct strict *s, struct ah_json key)
{
    char *name = ah_json_dup(key);
    ah_json_key(&s->w, name ? name : "");
    free(name);
}

static bool has_type(struct ah_json v, const char *name)
{
    struct ah_json type = ah_json_get(v, "type");
    if (ah_json_is(type, name))
        return true;
    for (struct ah_json_iter it = ah_json_iter(type); ah_json_next(&it);)
        if (ah_json_is(it.value, name))
            return true;
    return false;
}

static bool is_object(struct ah_json v)
{
    return has_type(v, "object") || (ah_json_get(v, "type").type == AH_JSON_NONE &&
                                     ah_json_get(v, "properties").type == AH_JSON_OBJECT);
}

/* A value that has what nobody may write would never be there. */
static int check_required(struct strict *s, struct ah_json v)
{
    char name[80], what[120];
    for (struct ah_json_iter it = ah_json_iter(ah_json_get(v, "required")); ah_json_next(&it);) {
        char *key = ah_json_dup(it.value);
        bool known = key && ah_json_get(ah_json_get(v, "properties"), key).type != AH_JSON_NONE;
        free(key);
        if (known)
            continue;
        ah_json_copy(it.value, name, sizeof name);
        snprintf(what, sizeof what, "it requires '%s'", name);
        return refuse(s, what, "name that in its properties, too");
    }
    return 0;
}

static int put_properties(struct strict *s, struct ah_json v)
{
    struct ah_json properties = ah_json_get(v, "properties");
    if (check_required(s, v) != 0)
        return -1;
    ah_json_key(&s->w, "properties");
    ah_json_object(&s->w);
    for (struct ah_json_iter it = ah_json_iter(properties); ah_json_next(&it);) {
        size_t was = enter(s, it.key);
        put_key(s, it.key);
        if (put_schema(s, it.value, !is_required(v, it.key)) != 0)
            return -1;
        s->path[was] = '\0';
    }
    ah_json_end_object(&s->w);
    ah_json_key(&s->w, "required");
    ah_json_array(&s->w);
    for (struct ah_json_iter it = ah_json_iter(properties); ah_json_next(&it);)
        ah_json_put(&s->w, it.key);
    ah_json_end_array(&s->w);
    ah_json_key(&s->w, "additionalProperties");
    ah_json_put_bool(&s->w, false);
    return 0;
}

static int put_list(struct strict *s, const char *key, struct ah_json list)
{
    ah_json_key(&s->w, key);
    ah_json_array(&s->w);
    for (struct ah_json_iter it = ah_json_iter(list); ah_json_next(&it);)
        if (put_schema(s, it.value, false) != 0)
            return -1;
    ah_json_end_array(&s->w);
    return 0;
}

static int put_definitions(struct strict *s, struct ah_json key, struct ah_json map)
{
    put_key(s, key);
    ah_json_object(&s->w);
    for (struct ah_json_iter it = ah_json_iter(map); ah_json_next(&it);) {
        size_t was = enter(s, it.key);
        put_key(s, it.key);
        if (put_schema(s, it.value, false) != 0)
            return -1;
        s->path[was] = '\0';
    }
    ah_json_end_object(&s->w);
    return 0;
}

/* "type", with null beside it. */
static void put_type(struct strict *s, struct ah_json type, bool nullable)
{
    bool has_null = ah_json_is(type, "null");
    for (struct ah_json_iter it = ah_json_iter(type); ah_json_next(&it);)
        has_null |= ah_json_is(it.value, "null");
    ah_json_key(&s->w, "type");
    if (!nullable || has_null) {
        ah_json_put(&s->w, type);
        return;
    }
    ah_json_array(&s->w);
    if (type.type == AH_JSON_STRING)
        ah_json_put(&s->w, type);
    for (struct ah_json_iter it = ah_json_iter(type); ah_json_next(&it);)
        ah_json_put(&s->w, it.value);
    ah_json_put_str(&s->w, "null");
    ah_json_end_array(&s->w);
}

static int put_member(struct strict *s, struct ah_json key, struct ah_json v)
{
    static const char *const done[] = {"properties",
                                       "required",
                                       "additionalProperties",
                                       "type",
                                       "description",
                                       "nullable",
                                       "$schema",
                                       "$id",
                                       "$comment",
                                       "title",
                                       "unevaluatedProperties",
                                       NULL};
    static const char *const maps[] = {"$defs", "definitions", NULL};
    if (key_is(key, done) || is_told(key, v))
        return 0;
    if (key_is(key, maps))
        return put_definitions(s, key, v);
    if (ah_json_is(key, "anyOf") || ah_json_is(key, "oneOf"))
        return put_list(s, "anyOf", v);
    put_key(s, key);
    if (ah_json_is(key, "items"))
        return put_schema(s, v, false);
    ah_json_put(&s->w, v);
    return 0;
}

static int put_members(struct strict *s, struct ah_json v, bool nullable)
{
    bool object = is_object(v);
    struct ah_json type = ah_json_get(v, "type");
    if (object && type.type == AH_JSON_NONE)
        type = (struct ah_json){"\"object\"", 8, AH_JSON_STRING};
    if (object && ah_json_get(v, "properties").type == AH_JSON_NONE &&
        ah_json_get(v, "additionalProperties").type != AH_JSON_FALSE)
        return refuse(s, "it is an object without properties", "name them, or give strict = false");
    if (has_type(v, "array") && ah_json_get(v, "items").type == AH_JSON_NONE)
        return refuse(s, "it is a list of anything", "say with 'items' of what, or give strict = false");
    ah_json_object(&s->w);
    if (type.type != AH_JSON_NONE)
        put_type(s, type, nullable);
    put_description(s, v);
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);)
        if (put_member(s, it.key, it.value) != 0)
            return -1;
    if (object && put_properties(s, v) != 0)
        return -1;
    ah_json_end_object(&s->w);
    return 0;
}

/* A type can say null beside itself; everything else needs a choice. */
static bool says_null_by_type(struct ah_json v)
{
    return ah_json_get(v, "type").type != AH_JSON_NONE && ah_json_get(v, "enum").type == AH_JSON_NONE &&
           ah_json_get(v, "const").type == AH_JSON_NONE;
}

static bool allows_null(struct ah_json v)
{
    for (struct ah_json_iter it = ah_json_iter(ah_json_get(v, "anyOf")); ah_json_next(&it);)
        if (ah_json_is(ah_json_get(it.value, "type"), "null"))
            return true;
    return false;
}

static bool tells(struct ah_json v)
{
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);)
        if (ah_json_is(it.key, "description") || is_told(it.key, it.value))
            return true;
    return false;
}

static int put_reference(struct strict *s, struct ah_json ref)
{
    if (ah_schema_find(s->root, ref).type != AH_JSON_OBJECT)
        return refuse(s, "its $ref leads nowhere", "point it into this schema, as #/$defs/NAME");
    ah_json_object(&s->w);
    ah_json_key(&s->w, "$ref");
    ah_json_put(&s->w, ref);
    ah_json_end_object(&s->w);
    return 0;
}

/* A $ref, or all of one: the service takes nothing beside a $ref, so what is said of it goes around it. */
static int put_wrapped(struct strict *s, struct ah_json v, struct ah_json one, bool nullable)
{
    struct ah_json ref = ah_json_get(v, "$ref");
    bool wrap = tells(v) || (nullable && ref.type != AH_JSON_NONE);
    if (wrap) {
        ah_json_object(&s->w);
        put_description(s, v);
        ah_json_key(&s->w, "anyOf");
        ah_json_array(&s->w);
    }
    int rc = ref.type != AH_JSON_NONE ? put_reference(s, ref) : put_schema(s, one, nullable && !wrap);
    if (wrap && rc == 0) {
        if (nullable)
            ah_json_put_raw(&s->w, "{\"type\":\"null\"}", 15);
        ah_json_end_array(&s->w);
        ah_json_end_object(&s->w);
    }
    return rc;
}

static int check_wrapped(struct strict *s, struct ah_json v)
{
    static const char *const plain[] = {"$ref",       "allOf",    "description", "nullable",
                                        "title",      "$comment", "$schema",     "$id",
                                        "deprecated", "readOnly", "writeOnly",   NULL};
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);)
        if (!key_is(it.key, plain) && !is_told(it.key, it.value))
            return refuse(s, "it says more beside its $ref or allOf", "write the schemas as one");
    return 0;
}

static int put_schema(struct strict *s, struct ah_json v, bool nullable)
{
    static const char *const says[] = {"type", "$ref",  "anyOf",      "oneOf", "allOf",
                                       "enum", "const", "properties", NULL};
    struct ah_json all = ah_json_get(v, "allOf");
    if (v.type != AH_JSON_OBJECT)
        return refuse(s, "it says nothing of the value", "give it a type");
    if (++s->depth > DEPTH)
        return refuse(s, "it lies too deep", "make it flatter");
    if (check_words(s, v) != 0)
        return -1;
    if (!has_any(v, says))
        return refuse(s, "it says nothing of the value", "give it a type");
    nullable |= ah_json_get(v, "nullable").type == AH_JSON_TRUE;
    int rc;
    if (ah_json_count(all) == 1 || ah_json_get(v, "$ref").type != AH_JSON_NONE) {
        rc = check_wrapped(s, v) == 0 ? put_wrapped(s, v, ah_json_at(all, 0), nullable) : -1;
    } else if (!nullable || says_null_by_type(v) || allows_null(v)) {
        rc = put_members(s, v, nullable);
    } else {
        ah_json_object(&s->w);
        ah_json_key(&s->w, "anyOf");
        ah_json_array(&s->w);
        rc = put_members(s, v, false);
        if (rc == 0) {
            ah_json_put_raw(&s->w, "{\"type\":\"null\"}", 15);
            ah_json_end_array(&s->w);
            ah_json_end_object(&s->w);
        }
    }
    s->depth--;
    return rc;
}

int ah_strict_write(struct ah_json schema, struct ah_buf *to, struct ah_error *err)
{
    struct strict s = {.err = err, .root = schema};
    size_t was = to->n;
    if (!ah_json_is(ah_json_get(schema, "type"), "object") &&
        (ah_json_get(schema, "type").type != AH_JSON_NONE ||
         ah_json_get(schema, "properties").type != AH_JSON_OBJECT))
        return refuse(&s, "it is no object", "write { type = \"object\", properties = { ... } } around it");
    if (ah_json_get(schema, "anyOf").type != AH_JSON_NONE ||
        ah_json_get(schema, "oneOf").type != AH_JSON_NONE)
        return refuse(&s, "it is a choice at the top", "put the choice into a property");
    ah_json_begin(&s.w, to, NULL);
    int rc = put_schema(&s, schema, false);
    if (rc == 0 && to->failed)
        rc = ah_err_set(err, AH_LIMIT, "the schema is too large");
    if (rc != 0)
        to->n = was < to->n ? was : to->n;
    return rc;
}
