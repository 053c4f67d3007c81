/* LangSmith's wire form: runs as multipart parts or as JSON objects. Called by lssend_*.c and langsmith.c.
 * Must not look at a clock or at settings: the same events make the same bytes, whoever sends them. */
#include "lswire.h"

#include "err.h"
#include "hash.h"
#include "lscut.h"
#include "multipart.h"
#include "shapes.h"
#include "url.h"
#include "version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_CHARACTERS 128 /* the service refuses more */
#define STAMP_N 22          /* 20261122T100000000120Z */
#define UUID_N (AH_UUID_BYTES - 1)
#define SEGMENT_N (STAMP_N + UUID_N)

#define RUNTIME                                                                                              \
    "\"runtime\":{\"library\":\"agenthost\",\"platform\":\"linux\",\"runtime\":\"lua\","                     \
    "\"runtime_version\":\"5.4\",\"sdk\":\"agenthost\",\"sdk_version\":\"" AH_VERSION "\"}"

static const char *const keys[AH_LSWIRE_FIELDS] = {
    [AH_LSWIRE_ID] = "id",
    [AH_LSWIRE_TRACE_ID] = "trace_id",
    [AH_LSWIRE_PARENT] = "parent_run_id",
    [AH_LSWIRE_DOTTED] = "dotted_order",
    [AH_LSWIRE_NAME] = "name",
    [AH_LSWIRE_RUN_TYPE] = "run_type",
    [AH_LSWIRE_START_TIME] = "start_time",
    [AH_LSWIRE_END_TIME] = "end_time",
    [AH_LSWIRE_EXAMPLE] = "reference_example_id",
    [AH_LSWIRE_TAGS] = "tags",
    [AH_LSWIRE_METADATA] = "metadata",
    [AH_LSWIRE_INPUTS] = "inputs",
    [AH_LSWIRE_OUTPUTS] = "outputs",
    [AH_LSWIRE_EVENTS] = "events",
    [AH_LSWIRE_EXTRA] = "extra",
    [AH_LSWIRE_ERROR] = "error",
    [AH_LSWIRE_ATTACHMENTS] = "attachments",
    [AH_LSWIRE_CLEAN] = "clean",
};

/* --- reading and checking ------------------------------------------------------------------------- */

static enum ah_lswire_field find_field(struct ah_json key)
{
    for (int i = 0; key.n > 3 && i < AH_LSWIRE_FIELDS; i++)
        if (keys[i][0] == key.p[1] && strncmp(keys[i], key.p + 1, key.n - 2) == 0 &&
            keys[i][key.n - 2] == '\0')
            return (enum ah_lswire_field)i;
    return AH_LSWIRE_FIELDS;
}

static void take_field(void *arg, struct ah_json key, struct ah_json value)
{
    struct ah_lswire_run *run = arg;
    enum ah_lswire_field f = find_field(key);
    if (f < AH_LSWIRE_FIELDS && value.type != AH_JSON_NULL)
        run->field[f] = value;
}

static int read_body(struct ah_lswire_run *run, const char *p, size_t n, struct ah_error *err)
{
    if (ah_json_check_members(p, n, take_field, run, NULL) != 0)
        return ah_err_set(err, AH_INVALID, "the journal's text of this span is damaged");
    return 0;
}

static bool is_uuid(struct ah_json v)
{
    char text[AH_UUID_BYTES + 1];
    if (v.type != AH_JSON_STRING || v.n != UUID_N + 2)
        return false;
    ah_json_copy(v, text, sizeof text);
    return ah_ids_is_uuid(text);
}

static bool same_text(struct ah_json a, const char *p)
{
    return a.n == UUID_N + 2 && memcmp(a.p + 1, p, UUID_N) == 0;
}

static bool is_stamp(const char *p)
{
    for (int i = 0; i < STAMP_N; i++) {
        bool fine = i == 8 ? p[i] == 'T' : i == STAMP_N - 1 ? p[i] == 'Z' : p[i] >= '0' && p[i] <= '9';
        if (!fine)
            return false;
    }
    return true;
}

/* Spec 2.3, each of its rules; NULL: all is well. */
static const char *fault_of_order(const struct ah_lswire_run *run)
{
    struct ah_json v = run->field[AH_LSWIRE_DOTTED], parent = run->field[AH_LSWIRE_PARENT];
    if (v.type != AH_JSON_STRING || v.n < 2)
        return "it has no dotted_order";
    const char *p = v.p + 1, *before = NULL;
    size_t n = v.n - 2, segments = (n + 1) / (SEGMENT_N + 1);
    if (segments == 0 || (n + 1) % (SEGMENT_N + 1) != 0)
        return "its dotted_order has a segment of the wrong length";
    for (size_t i = 0; i < segments; i++, before = p, p += SEGMENT_N + 1) {
        if (!is_stamp(p) || (i + 1 < segments && p[SEGMENT_N] != '.'))
            return "its dotted_order has a wrong time";
        if (before && memcmp(p, before, STAMP_N - 1) < 0)
            return "it begins before its parent does";
        if (i == 0 && !same_text(run->field[AH_LSWIRE_TRACE_ID], p + STAMP_N))
            return "its trace_id is not that of its dotted_order";
    }
    p -= SEGMENT_N + 1;
    if (!same_text(run->field[AH_LSWIRE_ID], p + STAMP_N))
        return "its id is not that of its dotted_order";
    if ((segments > 1) != (parent.type != AH_JSON_NONE))
        return segments > 1 ? "it has no parent_run_id" : "a root has a parent_run_id";
    if (segments > 1 && !same_text(parent, p - (SEGMENT_N + 1) + STAMP_N))
        return "its parent_run_id is not that of its dotted_order";
    return NULL;
}

static bool is_type(struct ah_json v)
{
    static const char *const types[] = {"tool",      "chain",  "llm",    "retriever",
                                        "embedding", "prompt", "parser", NULL};
    for (size_t i = 0; types[i]; i++)
        if (ah_json_is(v, types[i]))
            return true;
    return false;
}

static bool is_none_or(struct ah_json v, enum ah_json_type type)
{
    return v.type == AH_JSON_NONE || v.type == type;
}

static const char *fault_of(const struct ah_lswire_run *run)
{
    const struct ah_json *f = run->field;
    if (!is_uuid(f[AH_LSWIRE_ID]) || !is_uuid(f[AH_LSWIRE_TRACE_ID]))
        return "its id or trace_id is no UUID";
    if (f[AH_LSWIRE_PARENT].type != AH_JSON_NONE && !is_uuid(f[AH_LSWIRE_PARENT]))
        return "its parent_run_id is no UUID";
    if (f[AH_LSWIRE_NAME].type != AH_JSON_STRING || !is_type(f[AH_LSWIRE_RUN_TYPE]))
        return "it has no name or no known run_type";
    if (f[AH_LSWIRE_START_TIME].type != AH_JSON_STRING || !is_none_or(f[AH_LSWIRE_END_TIME], AH_JSON_STRING))
        return "its times are no texts";
    if (!is_none_or(f[AH_LSWIRE_INPUTS], AH_JSON_OBJECT) || !is_none_or(f[AH_LSWIRE_OUTPUTS], AH_JSON_OBJECT))
        return "its inputs or outputs are no object";
    if (!is_none_or(f[AH_LSWIRE_EXTRA], AH_JSON_OBJECT) || !is_none_or(f[AH_LSWIRE_METADATA], AH_JSON_OBJECT))
        return "its metadata are no object";
    if (!is_none_or(f[AH_LSWIRE_TAGS], AH_JSON_ARRAY) || !is_none_or(f[AH_LSWIRE_EVENTS], AH_JSON_ARRAY))
        return "its tags or events are no list";
    if (!is_none_or(f[AH_LSWIRE_ERROR], AH_JSON_STRING))
        return "its error is no text";
    if (f[AH_LSWIRE_EXAMPLE].type != AH_JSON_NONE && !is_uuid(f[AH_LSWIRE_EXAMPLE]))
        return "its reference_example_id is no UUID";
    return fault_of_order(run);
}

/* Only what the anonymizer made stays; what it never saw (a crash, an error of its own) is withheld. */
static void keep_clean(struct ah_lswire_run *run, struct ah_json start)
{
    static const enum ah_lswire_field texts[] = {AH_LSWIRE_INPUTS, AH_LSWIRE_OUTPUTS, AH_LSWIRE_EVENTS,
                                                 AH_LSWIRE_EXTRA, AH_LSWIRE_ERROR};
    static const struct ah_json empty = {"{}", 2, AH_JSON_OBJECT};
    static const struct ah_json withheld = {"\"[withheld]\"", 12, AH_JSON_STRING};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct ah_json *v = &run->field[texts[i]];
        struct ah_json given = ah_json_get(run->field[AH_LSWIRE_CLEAN], keys[texts[i]]);
        if (given.type == AH_JSON_NONE)
            given = ah_json_get(start, keys[texts[i]]);
        if (given.type != AH_JSON_NONE)
            *v = given;
        else if (v->type != AH_JSON_NONE && texts[i] != AH_LSWIRE_EVENTS)
            *v = texts[i] == AH_LSWIRE_ERROR ? withheld : empty;
        else
            *v = (struct ah_json){0};
    }
    run->field[AH_LSWIRE_METADATA] = run->field[AH_LSWIRE_ATTACHMENTS] = (struct ah_json){0};
    run->new_inputs = true;
}

void ah_lswire_withhold(struct ah_lswire_run *run)
{
    if (run->field[AH_LSWIRE_CLEAN].type == AH_JSON_NONE)
        keep_clean(run, (struct ah_json){0});
}

/* UUIDs are made anew from the old one and the project, as in the SDKs (spec 2.4): what another process says of its part
 * of a trace must fit. The time that a version 7 begins with stays. */
static void map_id(char id[AH_UUID_BYTES], const char *project)
{
    unsigned char h[16];
    struct ah_buf text;
    ah_buf_init(&text, 4096);
    ah_buf_addf(&text, "%s:%s", id, project);
    ah_hash_xxh128(ah_buf_str(&text), text.n, h);
    ah_buf_drop(&text);
    if (id[14] != '7')
        snprintf(id, AH_UUID_BYTES, "%02x%02x%02x%02x-%02x%02x-", h[10], h[11], h[12], h[13], h[14], h[15]);
    snprintf(id + 14, AH_UUID_BYTES - 14, "7%x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", h[0] & 15u, h[1],
             0x80u | (h[2] & 0x3fu), h[3], h[4], h[5], h[6], h[7], h[8], h[9]);
}

void ah_lswire_remap(struct ah_lswire_run *run, const char *project)
{
    run->remap = project;
    map_id(run->id, project);
}

/* A text with UUIDs, the first of them `at` bytes from its begin, then every SEGMENT_N + 1. */
static void put_mapped(struct ah_buf *to, struct ah_json v, size_t at, const char *project)
{
    size_t done = 0;
    for (; at + UUID_N <= v.n; at += SEGMENT_N + 1) {
        char id[AH_UUID_BYTES];
        memcpy(id, v.p + at, UUID_N);
        id[UUID_N] = '\0';
        map_id(id, project);
        ah_buf_add(to, v.p + done, at - done);
        ah_buf_adds(to, id);
        done = at + UUID_N;
    }
    ah_buf_add(to, v.p + done, v.n - done);
}

int ah_lswire_read(struct ah_lswire_run *run, const char *start, size_t start_n, const char *end,
                   size_t end_n, struct ah_error *err)
{
    *run = (struct ah_lswire_run){.project = ""};
    if (read_body(run, start, start_n, err) != 0)
        return -1;
    struct ah_json first = run->field[AH_LSWIRE_INPUTS], clean = run->field[AH_LSWIRE_CLEAN];
    if (end && read_body(run, end, end_n, err) != 0)
        return -1;
    run->new_inputs = run->field[AH_LSWIRE_INPUTS].p != first.p;
    if (run->field[AH_LSWIRE_CLEAN].type != AH_JSON_NONE)
        keep_clean(run, clean);
    const char *fault = fault_of(run);
    if (!fault && end && run->field[AH_LSWIRE_END_TIME].type == AH_JSON_NONE)
        fault = "it ended without an end_time";
    if (fault)
        return ah_err_set(err, AH_INVALID, "not sent, LangSmith would refuse it: %s", fault);
    ah_json_copy(run->field[AH_LSWIRE_ID], run->id, sizeof run->id);
    return 0;
}

/* --- writing one run ------------------------------------------------------------------------------ */

static bool is_hidden(const struct ah_lswire_run *run, enum ah_lswire_field f)
{
    const struct ah_tracing_rules *r = &run->rules;
    return (f == AH_LSWIRE_INPUTS && r->hide_inputs) || (f == AH_LSWIRE_OUTPUTS && r->hide_outputs) ||
           (f == AH_LSWIRE_METADATA && r->hide_metadata);
}

/* Bytes of JSON, without what looks like a credential. */
static void put_text(struct ah_buf *to, const struct ah_lswire_run *run, const char *p, size_t n)
{
    if (run->rules.hide_tokens)
        ah_shapes_mask(p, n, to);
    else
        ah_buf_add(to, p, n);
}

/* A value as it may be seen. It is cut after that: half a credential would look like none. */
static void put_value(struct ah_buf *to, const struct ah_lswire_run *run, struct ah_json v)
{
    if (!run->share || v.n <= run->share) {
        put_text(to, run, v.p, v.n);
        return;
    }
    struct ah_buf text;
    struct ah_json seen = v;
    ah_buf_init(&text, AH_LSWIRE_BODY_BYTES * 2);
    put_text(&text, run, v.p, v.n);
    if (text.failed || ah_json_check(text.p, text.n, 0, &seen, NULL) != 0 ||
        ah_lscut_value(to, seen, run->share) != 0)
        to->failed = true;
    ah_buf_drop(&text);
}

void ah_lswire_value(struct ah_buf *to, const struct ah_lswire_run *run, enum ah_lswire_field f)
{
    if (is_hidden(run, f))
        ah_buf_adds(to, "{}");
    else if (run->remap && f <= AH_LSWIRE_DOTTED)
        put_mapped(to, run->field[f], f == AH_LSWIRE_DOTTED ? 1 + STAMP_N : 1, run->remap);
    else if (f < AH_LSWIRE_TAGS && f != AH_LSWIRE_NAME) /* ids, times: ours */
        ah_buf_add(to, run->field[f].p, run->field[f].n);
    else if (f < AH_LSWIRE_FIELDS)
        put_value(to, run, run->field[f]);
}

void ah_lswire_cut(struct ah_lswire_run *run, size_t room)
{
    size_t sizes[AH_LSWIRE_FIELDS];
    for (int f = 0; f < AH_LSWIRE_FIELDS; f++)
        sizes[f] = run->field[f].n;
    run->share = ah_lscut_share(sizes, AH_LSWIRE_FIELDS, room);
    if (run->share < AH_LSCUT_MIN_BYTES)
        run->share = AH_LSCUT_MIN_BYTES;
}

static void put_field(struct ah_buf *to, const struct ah_lswire_run *run, enum ah_lswire_field f)
{
    if (run->field[f].type == AH_JSON_NONE)
        return;
    ah_buf_adds(to, to->n && to->p[to->n - 1] == '{' ? "\"" : ",\"");
    ah_buf_adds(to, keys[f]);
    ah_buf_adds(to, "\":");
    ah_lswire_value(to, run, f);
}

static void put_name(struct ah_buf *to, const struct ah_lswire_run *run)
{
    struct ah_json v = run->field[AH_LSWIRE_NAME];
    struct ah_buf text;
    ah_buf_adds(to, ",\"name\":");
    if (v.n <= NAME_CHARACTERS + 2) { /* with its quotes: cannot be too long */
        put_text(to, run, v.p, v.n);
        return;
    }
    struct ah_buf seen; /* masked before it is cut */
    ah_buf_init(&seen, AH_LSWIRE_BODY_BYTES);
    put_text(&seen, run, v.p, v.n);
    ah_buf_init(&text, AH_LSWIRE_BODY_BYTES);
    if (ah_json_check(seen.p, seen.n, 0, &v, NULL) != 0 || ah_json_str(v, &text) != 0)
        to->failed = true;
    if (ah_lscut_text(to, ah_buf_str(&text), text.n, NAME_CHARACTERS) != 0)
        to->failed = true;
    ah_buf_drop(&text);
    ah_buf_drop(&seen);
}

/* The object up to, but without, its closing brace; without the fields that are parts of their own. */
static void put_main(struct ah_buf *to, const struct ah_lswire_run *run)
{
    ah_buf_addc(to, '{');
    for (int f = AH_LSWIRE_ID; f < AH_LSWIRE_NAME; f++)
        put_field(to, run, (enum ah_lswire_field)f);
    put_name(to, run);
    for (int f = AH_LSWIRE_RUN_TYPE; f < AH_LSWIRE_TAGS; f++)
        put_field(to, run, (enum ah_lswire_field)f);
    ah_buf_adds(to, ",\"session_name\":");
    ah_json_quote(to, run->project, strlen(run->project));
    put_field(to, run, AH_LSWIRE_TAGS);
}

static void put_extra(struct ah_buf *to, const struct ah_lswire_run *run)
{
    struct ah_json extra = run->field[AH_LSWIRE_EXTRA];
    ah_buf_addc(to, '{');
    if (ah_json_get(extra, "runtime").type == AH_JSON_NONE)
        ah_buf_adds(to, RUNTIME);
    if (extra.type == AH_JSON_NONE) /* the end carries all there is; a create has only these */
        put_field(to, run, AH_LSWIRE_METADATA);
    for (struct ah_json_iter it = ah_json_iter(extra); extra.type == AH_JSON_OBJECT && ah_json_next(&it);) {
        ah_buf_adds(to, to->p && to->p[to->n - 1] == '{' ? "" : ",");
        put_text(to, run, it.key.p, it.key.n);
        ah_buf_addc(to, ':');
        if (run->rules.hide_metadata && find_field(it.key) == AH_LSWIRE_METADATA)
            ah_buf_adds(to, "{}");
        else
            put_value(to, run, it.value);
    }
    ah_buf_addc(to, '}');
}

/* A patch repeats no inputs that the create had. */
static bool has_inputs(const struct ah_lswire_run *run)
{
    return run->field[AH_LSWIRE_INPUTS].type != AH_JSON_NONE && (!run->patch || run->new_inputs);
}

void ah_lswire_object(struct ah_buf *to, const struct ah_lswire_run *run)
{
    put_main(to, run);
    if (has_inputs(run))
        put_field(to, run, AH_LSWIRE_INPUTS);
    put_field(to, run, AH_LSWIRE_OUTPUTS);
    put_field(to, run, AH_LSWIRE_EVENTS);
    ah_buf_adds(to, ",\"extra\":");
    put_extra(to, run);
    put_field(to, run, AH_LSWIRE_ERROR);
    ah_buf_addc(to, '}');
}

/* Whether ah_lswire_value would copy it as it is: most values, which then go straight into the body. */
static bool is_seen_whole(const struct ah_lswire_run *run, enum ah_lswire_field f)
{
    struct ah_json v = run->field[f];
    return !is_hidden(run, f) && (!run->share || v.n <= run->share) &&
           !(run->rules.hide_tokens && ah_shapes_found(v.p, v.n));
}

static void add_part(struct ah_lswire_body *b, const struct ah_lswire_run *run, const char *field,
                     const char *p, size_t n)
{
    char name[96];
    char *at = stpcpy(name, run->patch ? "patch." : "post.");
    at = stpcpy(at, run->id);
    if (*field)
        stpcpy(stpcpy(at, "."), field);
    ah_multipart_add(&b->to, b->boundary, name, NULL, p, n);
}

static void add_file(struct ah_lswire_body *b, const struct ah_lswire_run *run, const char *name,
                     const char *type, const char *p, size_t n)
{
    struct ah_buf seen;
    if (!run->rules.hide_tokens || !ah_shapes_found(p, n)) {
        ah_multipart_add(&b->to, b->boundary, name, type, p, n);
        return;
    }
    ah_buf_init(&seen, AH_LSWIRE_BODY_BYTES);
    if (ah_shapes_mask(p, n, &seen) == 0)
        ah_multipart_add(&b->to, b->boundary, name, type, seen.p, seen.n);
    ah_buf_drop(&seen);
}

/* Raw bytes, each a part of its own. They may hold what is hidden elsewhere: then none goes. */
static void add_attachments(struct ah_lswire_body *b, const struct ah_lswire_run *run)
{
    struct ah_json list = run->field[AH_LSWIRE_ATTACHMENTS];
    if (run->rules.hide_inputs || run->rules.hide_outputs)
        return;
    for (struct ah_json_iter it = ah_json_iter(list); list.type == AH_JSON_OBJECT && ah_json_next(&it);) {
        struct ah_json data = ah_json_get(it.value, "data");
        char file[160], name[256], type[128];
        size_t size = data.n / 4 * 3;
        ah_json_copy(it.key, file, sizeof file);
        ah_json_copy(ah_json_get(it.value, "type"), type, sizeof type);
        snprintf(name, sizeof name, "attachment.%s.%s", run->id, file);
        ah_buf_clear(&b->scratch);
        char *bytes = data.n > 2 ? ah_buf_reserve(&b->scratch, size) : NULL;
        int n = bytes ? ah_hash_base64_decode(data.p + 1, data.n - 2, (unsigned char *)bytes, size) : 0;
        if (n >= 0)
            add_file(b, run, name, type, bytes ? bytes : "", (size_t)n);
    }
}

/* Main first, then inputs, outputs, events, extra, error: the service reads in order (spec 3.4). */
static void add_parts(struct ah_lswire_body *b, const struct ah_lswire_run *run)
{
    ah_buf_clear(&b->scratch);
    put_main(&b->scratch, run);
    if (!run->patch) { /* a part less for the service to read; in a patch it must replace what the create had */
        ah_buf_adds(&b->scratch, ",\"extra\":");
        put_extra(&b->scratch, run);
    }
    ah_buf_addc(&b->scratch, '}');
    add_part(b, run, "", b->scratch.p, b->scratch.n);
    for (int f = AH_LSWIRE_INPUTS; f <= AH_LSWIRE_ERROR; f++) {
        struct ah_json v = run->field[f];
        if (f == AH_LSWIRE_EXTRA ? !run->patch
                                 : v.type == AH_JSON_NONE || (f == AH_LSWIRE_INPUTS && !has_inputs(run)))
            continue;
        if (f != AH_LSWIRE_EXTRA && is_seen_whole(run, (enum ah_lswire_field)f)) {
            add_part(b, run, keys[f], v.p, v.n);
            continue;
        }
        ah_buf_clear(&b->scratch);
        if (f == AH_LSWIRE_EXTRA)
            put_extra(&b->scratch, run);
        else
            ah_lswire_value(&b->scratch, run, (enum ah_lswire_field)f);
        add_part(b, run, keys[f], b->scratch.p, b->scratch.n);
    }
    add_attachments(b, run);
}

/* --- a body of many ------------------------------------------------------------------------------- */

void ah_lswire_begin(struct ah_lswire_body *b, int64_t batch, bool multipart)
{
    *b = (struct ah_lswire_body){0};
    ah_buf_init(&b->to, AH_LSWIRE_BODY_BYTES);
    ah_buf_init(&b->patches, AH_LSWIRE_BODY_BYTES);
    ah_buf_init(&b->scratch, AH_LSWIRE_BODY_BYTES);
    /* The same for each resend. "CR LF --" cannot be inside JSON, so no part can hold it. */
    if (multipart)
        snprintf(b->boundary, sizeof b->boundary, "agenthost-%016llx", (unsigned long long)batch);
    else
        ah_buf_adds(&b->to, "{\"post\":[");
}

static void cut_back(struct ah_buf *b, size_t n)
{
    b->n = n;
    b->failed = false;
    if (b->p)
        b->p[n] = '\0';
}

int ah_lswire_add(struct ah_lswire_body *b, const struct ah_lswire_run *run, size_t max)
{
    size_t to_n = b->to.n, patches_n = b->patches.n;
    struct ah_buf *list = run->patch ? &b->patches : &b->to;
    if (b->boundary[0]) {
        add_parts(b, run);
    } else {
        if (list->n && list->p[list->n - 1] == '}')
            ah_buf_addc(list, ',');
        ah_lswire_object(list, run);
    }
    bool failed = b->to.failed || b->patches.failed || b->scratch.failed;
    if (!failed && (!max || b->to.n + b->patches.n <= max)) {
        b->runs++;
        return 0;
    }
    cut_back(&b->to, to_n);
    cut_back(&b->patches, patches_n);
    ah_buf_clear(&b->scratch);
    return failed && !b->runs ? -1 : 1;
}

int ah_lswire_finish(struct ah_lswire_body *b)
{
    if (b->boundary[0]) {
        ah_multipart_end(&b->to, b->boundary);
    } else {
        ah_buf_adds(&b->to, "],\"patch\":[");
        ah_buf_add(&b->to, ah_buf_str(&b->patches), b->patches.n);
        ah_buf_adds(&b->to, "]}");
    }
    return b->to.failed ? -1 : 0;
}

void ah_lswire_drop(struct ah_lswire_body *b)
{
    ah_buf_drop(&b->to);
    ah_buf_drop(&b->patches);
    ah_buf_drop(&b->scratch);
    *b = (struct ah_lswire_body){0};
}

/* --- answers -------------------------------------------------------------------------------------- */

void ah_lswire_words(const char *body, size_t n, char *out, size_t size)
{
    struct ah_json v;
    out[0] = '\0';
    if (ah_json_check(body ? body : "", n, 0, &v, NULL) == 0) {
        struct ah_json text = ah_json_get(v, "error");
        if (text.type == AH_JSON_NONE)
            text = ah_json_get(v, "detail");
        if (text.type == AH_JSON_STRING)
            ah_json_copy(text, out, size);
        else if (text.type != AH_JSON_NONE)
            snprintf(out, size, "%.*s", (int)(text.n < 400 ? text.n : 400), text.p);
        return;
    }
    size_t kept = 0, max = size - 1 < 400 ? size - 1 : 400;
    bool tag = false; /* a page of a proxy: only its words */
    for (size_t i = 0; i < n && kept < max && body[i] != '\r' && body[i] != '\n'; i++) {
        if (body[i] == '<' || body[i] == '>')
            tag = body[i] == '<';
        else if (!tag)
            out[kept++] = body[i];
    }
    out[kept] = '\0';
}

static bool begins(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool cut_end(char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    if (n < k || strcmp(s + n - k, end) != 0)
        return false;
    s[n - k] = '\0';
    return true;
}

int ah_lswire_host(const char *endpoint, char *out, size_t size)
{
    static const char *const regions[] = {"eu", "aws", "apac", "dev", "beta", NULL};
    struct ah_url u;
    if (ah_url_parse(endpoint, strlen(endpoint), &u, NULL) != 0 ||
        (size_t)snprintf(out, size, "%s", endpoint) >= size)
        return -1;
    if (cut_end(out, "/api/v1") || cut_end(out, "/api") || ah_url_is_loopback(&u))
        return 0;
    for (size_t i = 0; regions[i]; i++) {
        size_t n = strlen(regions[i]);
        if (u.host.n > n && begins(u.host.p, regions[i]) && u.host.p[n] == '.') {
            snprintf(out, size, "https://%s.smith.langchain.com", regions[i]);
            return 0;
        }
    }
    snprintf(out, size, "https://smith.langchain.com");
    return 0;
}
