/* The secrets of connected accounts: names instead of values. Called by skcall.c for every request and
 * answer, and by lua_scalekit.c to tell names from texts. Must never copy a value anywhere but into the set. */
#include "sksecret.h"

#include "hash.h"

#include <stdio.h>
#include <string.h>

#define NAME_BYTES 128 /* as handles hold it */
#define DETAILS "authorization_details"

bool ah_sksecret_is_public(const char *member)
{
    static const char *const names[] = {"scopes",  "domain",           "subject",
                                        "db_user", "token_expires_at", "expiry"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], member) == 0)
            return true;
    return false;
}

/* --- one value ------------------------------------------------------------------------------------- */

/* A name holds what a handle can: letters, digits and a few signs. Longer ones end in a hash. */
static int name_value(char name[NAME_BYTES], const char *account, const char *path)
{
    char hex[AH_HASH_HEX_BYTES];
    int n = snprintf(name, NAME_BYTES, "%s.%s", account[0] ? account : "account", path);
    if (n >= NAME_BYTES) {
        if (ah_hash_sha256_hex(path, strlen(path), hex) != 0)
            return -1;
        snprintf(name, NAME_BYTES, "%.40s.%.16s", account, hex);
    }
    for (char *p = name; *p; p++)
        if (!(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z') && !(*p >= '0' && *p <= '9') &&
            !strchr("_.-", *p))
            *p = '_';
    return 0;
}

static int add_value(struct ah_secrets *s, const char *name, struct ah_json v, bool hide)
{
    struct ah_buf text;
    ah_buf_init(&text, v.n + 1 + 3 * v.n); /* U+FFFD is longer than what it stands for */
    if (v.type == AH_JSON_STRING)
        ah_json_str(v, &text);
    else
        ah_buf_add(&text, v.p, v.n);
    int r = text.failed ? -1 : 0;
    if (r == 0 && text.n)
        r = hide ? ah_secret_hide(s, name, text.p, text.n) : ah_secret_add(s, name, text.p, text.n);
    if (text.p)
        explicit_bzero(text.p, text.n);
    ah_buf_drop(&text);
    return r;
}

static bool is_value(struct ah_json v)
{
    return v.type == AH_JSON_NUMBER || (v.type == AH_JSON_STRING && v.n > 2);
}

/* --- what we send ------------------------------------------------------------------------------------- */

static int hide_all(struct ah_secrets *s, struct ah_json v)
{
    if (is_value(v))
        return add_value(s, "authorization", v, true);
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);) {
        char member[64] = "";
        ah_json_copy(it.key, member, sizeof member);
        if (!ah_sksecret_is_public(member) && hide_all(s, it.value) != 0)
            return -1;
    }
    return 0;
}

int ah_sksecret_hide(struct ah_secrets *s, struct ah_json args)
{
    return hide_all(s, ah_json_get(args, DETAILS));
}

/* --- what we get -------------------------------------------------------------------------------------- */

struct taking {
    struct ah_secrets *secrets;
    const char *token; /* the row's own secret member, or NULL */
    char account[64];  /* whose details are read */
    char path[256];    /* inside the details; beyond its end, names become hashes of what fits */
    struct ah_json_writer w;
    bool found, failed;
};

static void put_name(struct taking *t, const char *name, struct ah_json v)
{
    char text[NAME_BYTES + 16];
    t->found = true;
    if (add_value(t->secrets, name, v, false) != 0)
        t->failed = true;
    snprintf(text, sizeof text, "[secret:%s]", name);
    ah_json_put_str(&t->w, text);
}

static void take_details(struct taking *t, struct ah_json v);

static void take_member(struct taking *t, const char *member, struct ah_json v)
{
    size_t n = strlen(t->path);
    if (ah_sksecret_is_public(member)) {
        ah_json_put(&t->w, v);
        return;
    }
    snprintf(t->path + n, sizeof t->path - n, "%s%s", n ? "." : "", member);
    take_details(t, v);
    t->path[n] = '\0';
}

/* Everything inside authorization_details. */
static void take_details(struct taking *t, struct ah_json v)
{
    char name[NAME_BYTES];
    if (v.type == AH_JSON_OBJECT) {
        ah_json_object(&t->w);
        for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);) {
            char member[128];
            ah_json_copy(it.key, member, sizeof member);
            ah_json_key(&t->w, member);
            take_member(t, member, it.value);
        }
        ah_json_end_object(&t->w);
    } else if (v.type == AH_JSON_ARRAY) {
        size_t i = 0;
        ah_json_array(&t->w);
        for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);) {
            char index[24];
            snprintf(index, sizeof index, "%zu", ++i);
            take_member(t, index, it.value);
        }
        ah_json_end_array(&t->w);
    } else if (is_value(v) && name_value(name, t->account, t->path) == 0) {
        put_name(t, name, v);
    } else if (is_value(v)) {
        t->failed = true;
    } else {
        ah_json_put(&t->w, v);
    }
}

/* A token that is asked for anew each time: its name must never lead to another one. */
static void take_token(struct taking *t, const char *member, struct ah_json v)
{
    char hex[AH_HASH_HEX_BYTES], name[NAME_BYTES];
    if (ah_hash_sha256_hex(v.p, v.n, hex) != 0)
        t->failed = true;
    snprintf(name, sizeof name, "mcp_%s.%.16s", member, hex);
    put_name(t, name, v);
}

static void take_any(struct taking *t, struct ah_json v);

static void take_object(struct taking *t, struct ah_json v)
{
    ah_json_object(&t->w);
    for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);) {
        char member[128];
        ah_json_copy(it.key, member, sizeof member);
        ah_json_keyn(&t->w, member, strlen(member));
        if (strcmp(member, DETAILS) == 0) {
            ah_json_copy(ah_json_get(v, "id"), t->account, sizeof t->account);
            take_details(t, it.value);
        } else if (t->token && strcmp(member, t->token) == 0 && is_value(it.value)) {
            take_token(t, member, it.value);
        } else {
            take_any(t, it.value);
        }
    }
    ah_json_end_object(&t->w);
}

static void take_any(struct taking *t, struct ah_json v)
{
    if (v.type == AH_JSON_OBJECT) {
        take_object(t, v);
    } else if (v.type == AH_JSON_ARRAY) {
        ah_json_array(&t->w);
        for (struct ah_json_iter it = ah_json_iter(v); ah_json_next(&it);)
            take_any(t, it.value);
        ah_json_end_array(&t->w);
    } else {
        ah_json_put(&t->w, v);
    }
}

int ah_sksecret_take(struct ah_secrets *s, const struct ah_skwire_row *row, struct ah_json answer,
                     struct ah_buf *out, bool *found, struct ah_error *err)
{
    *found = false;
    bool none = !row->secret && !memmem(answer.p, answer.n, DETAILS, sizeof DETAILS - 1);
    if (none || row->special)
        return 0; /* almost every answer; those of tools are theirs */
    struct taking t = {.secrets = s, .token = row->secret};
    ah_json_begin(&t.w, out, NULL);
    take_any(&t, answer);
    *found = t.found;
    if (t.failed || out->failed)
        return ah_err_set(err, AH_MEMORY, "out of memory");
    return 0;
}
