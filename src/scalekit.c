/* Scalekit AgentKit as flows of calls: accounts, links, waiting for consent, tools, and running them. Called
 * by lua_scalekit.c and the sub-commands. Each flow is a small state machine on skcall.h. Must never send
 * execute_tool twice for one order, and never put a token, a link or a secret into a message. */
#include "scalekit.h"

#include "clock.h"
#include "limits.h"
#include "near.h"
#include "skcall.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define POLL_MS 1000
#define NEAREST_COUNT 5
#define SHOWN_COUNT 10 /* names in a message; detail holds up to DETAIL_COUNT */
#define DETAIL_COUNT 50
#define KEY_BYTES 600

/* --- small helpers ------------------------------------------------------------------------------ */

static const char *text_or(const char *s, const char *otherwise)
{
    return s && s[0] ? s : otherwise;
}

static void pair_key(char key[KEY_BYTES], const char *connection, const char *identifier)
{
    snprintf(key, KEY_BYTES, "%s\n%s", connection, identifier);
}

/* Notes which account stands behind a connection and an identifier. */
static void remember_account(struct ah_scalekit *sk, struct ah_json account)
{
    static const char *const keys[] = {"connector", "identifier", "id", NULL};
    struct ah_json found[3];
    char connection[420], identifier[120], id[128], key[KEY_BYTES];
    ah_json_pick(account, keys, found);
    ah_json_copy(found[0], connection, sizeof connection);
    ah_json_copy(found[1], identifier, sizeof identifier);
    ah_json_copy(found[2], id, sizeof id);
    if (!connection[0] || !identifier[0] || !id[0])
        return;
    pair_key(key, connection, identifier);
    ah_skcall_remember(sk->ids, key, id);
    ah_skcall_remember(sk->names, id, connection);
}

/* A call with its arguments as text (malloc'd, taken over), begun. NULL: err. */
static struct ah_op *start_call(struct ah_skcall_flow *f, const char *row, char *args, struct ah_error *err)
{
    struct ah_scalekit_who who = ah_skcall_who(f);
    struct ah_skcall *c = args ? ah_skcall_make(f->sk, &who, row, args, strlen(args), err) : NULL;
    if (args)
        explicit_bzero(args, strlen(args)); /* it may hold an account's secrets */
    free(args);
    if (c)
        ah_skcall_begin(c);
    return c ? &c->flow.pub.op : NULL;
}

static struct ah_op *list_accounts(struct ah_skcall_flow *f, const char *identifier, struct ah_error *err)
{
    struct ah_buf b;
    struct ah_scalekit_who who = ah_skcall_who(f);
    ah_buf_init(&b, AH_SKWIRE_BODY_BYTES);
    ah_buf_adds(&b, "{");
    if (identifier) {
        ah_buf_adds(&b, "\"identifier\":");
        ah_json_quote(&b, identifier, strlen(identifier));
        ah_buf_addc(&b, ',');
    }
    ah_buf_adds(&b, "\"page_size\":99}");
    char *args = ah_buf_take(&b, NULL);
    ah_buf_drop(&b);
    return ah_skcall_list(f->sk, &who, "list_connected_accounts", args, err);
}

static const struct ah_op_class account_class = {"looking up the connected account", ah_skcall_cancel,
                                                 ah_skcall_free};
static const struct ah_op_class link_class = {"making the authorization link", ah_skcall_cancel,
                                              ah_skcall_free};
static const struct ah_op_class wait_class = {"waiting for the account", ah_skcall_cancel, ah_skcall_free};
static const struct ah_op_class tools_class = {"listing the tools", ah_skcall_cancel, ah_skcall_free};
static const struct ah_op_class execute_class = {"the tool call", ah_skcall_cancel, ah_skcall_free};
static const struct ah_op_class explain_class = {"explaining a failure", ah_skcall_cancel, ah_skcall_free};

/* --- any call ------------------------------------------------------------------------------------ */

struct ah_scalekit_op *ah_scalekit_call(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                        const char *row, const char *args, size_t n, bool pages,
                                        struct ah_error *err)
{
    struct ah_skcall *c = ah_skcall_make(sk, who, row, args, n, err);
    if (!c)
        return NULL;
    if (!pages || !c->row->items) {
        ah_skcall_begin(c);
        return &c->flow.pub;
    }
    c->flow.pub.op.done = true; /* it has only checked the arguments */
    ah_op_unref(&c->flow.pub.op);
    struct ah_json object = {0};
    ah_json_check(args, n, 0, &object, NULL);
    return (struct ah_scalekit_op *)ah_skcall_list(sk, who, row, strndup(object.p, object.n), err);
}

/* --- why something was not found ---------------------------------------------------------------- */

/* Ends with an error always: `why`, made clearer by what the environment really holds. */
struct explain {
    struct ah_skcall_flow flow;
    struct ah_error why;
    char status[40];
    char *names[DETAIL_COUNT + 1];
    size_t name_count;
    bool exists, complete; /* the name is there; all names were seen */
};

static void drop_explain(struct ah_skcall_flow *f)
{
    struct explain *e = (struct explain *)f;
    for (size_t i = 0; i < e->name_count; i++)
        free(e->names[i]);
    ah_err_drop(&e->why);
}

static void add_known_name(struct explain *e, struct ah_json name)
{
    char *s = ah_json_dup(name);
    bool seen = !s || !s[0];
    if (s && strcmp(s, e->flow.connection) == 0)
        e->exists = true;
    for (size_t i = 0; i < e->name_count && !seen; i++)
        seen = strcmp(e->names[i], s) == 0;
    if (seen || e->name_count == DETAIL_COUNT)
        free(s);
    else
        e->names[e->name_count++] = s;
}

/* Names that are near, and those of the provider that the word names ("gmail" for GMAIL). */
static size_t choose_names(struct explain *e, struct ah_scalekit_op *list, const char **out)
{
    size_t n = ah_near_several(e->flow.connection, (const char *const *)e->names, out, NEAREST_COUNT);
    for (size_t i = 0; i < list->item_count && n < NEAREST_COUNT; i++) {
        char provider[64], name[420];
        ah_json_copy(ah_json_get(list->items[i], "provider_key"), provider, sizeof provider);
        ah_json_copy(ah_json_get(list->items[i], "key_id"), name, sizeof name);
        if (!provider[0] || strcasecmp(provider, e->flow.connection) != 0)
            continue;
        for (size_t k = 0; k < e->name_count; k++) {
            bool seen = strcmp(e->names[k], name) != 0;
            for (size_t j = 0; j < n && !seen; j++)
                seen = strcmp(out[j], name) == 0;
            if (!seen) {
                out[n++] = e->names[k];
                break;
            }
        }
    }
    return n;
}

static void put_list(struct ah_json_writer *w, const char *key, const char *const *names, size_t n)
{
    ah_json_key(w, key);
    ah_json_array(w);
    for (size_t i = 0; i < n; i++)
        ah_json_put_str(w, names[i]);
    ah_json_end_array(w);
}

static void say_names(char *out, size_t size, const char *const *names, size_t n)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < n && i < SHOWN_COUNT && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s'%s'", i ? ", " : "", names[i]);
    if (n > SHOWN_COUNT && at < size)
        snprintf(out + at, size - at, " and %zu more", n - SHOWN_COUNT);
}

static void set_unknown_connection(struct explain *e, struct ah_scalekit_op *list, struct ah_error *err)
{
    const char *near[NEAREST_COUNT];
    size_t n = choose_names(e, list, near);
    char shown[500];
    int status = e->why.status;
    if (n)
        say_names(shown, sizeof shown, near, n);
    else
        say_names(shown, sizeof shown, (const char *const *)e->names, e->name_count);
    ah_err_set(err, AH_UNKNOWN_CONNECTION,
               "Scalekit knows no connection '%s'; %s %s (names are case-sensitive, as the dashboard's "
               "Connections page shows them)",
               e->flow.connection,
               n             ? "did you mean"
               : e->complete ? "there are:"
                             : "known are:",
               e->name_count ? shown : "none");
    err->status = status;
    struct ah_buf b;
    struct ah_json_writer w;
    ah_buf_init(&b, AH_SKWIRE_BODY_BYTES);
    ah_json_begin(&w, &b, NULL);
    ah_json_object(&w);
    ah_json_key(&w, "connection");
    ah_json_put_str(&w, e->flow.connection);
    put_list(&w, "connections", (const char *const *)e->names, e->name_count);
    put_list(&w, "did_you_mean", near, n);
    ah_json_end_object(&w);
    ah_err_take_detail(err, ah_buf_take(&b, NULL));
    ah_buf_drop(&b);
}

static void set_no_account(struct explain *e, struct ah_error *err)
{
    int status = e->why.status;
    ah_err_set(
        err, AH_NOT_FOUND,
        "'%s' has no connected account at the connection '%s'; make one with "
        "get_or_create_connected_account or `agenthost auth link %s`, then open its authorization link",
        text_or(e->flow.identifier, "?"), e->flow.connection, e->flow.connection);
    err->status = status;
    ah_err_take_detail(
        err, AH_SKCALL_OBJECT({"connection", e->flow.connection}, {"identifier", e->flow.identifier}));
}

static void conclude_missing(struct explain *e, struct ah_scalekit_op *list)
{
    struct ah_error err = {0};
    if (e->exists)
        set_no_account(e, &err);
    else if (e->complete || e->name_count)
        set_unknown_connection(e, list, &err);
    else
        ah_err_copy(&err, &e->why);
    ah_skcall_finish(&e->flow, &err);
}

static void on_account_names(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct explain *e = (struct explain *)f;
    struct ah_scalekit_op *list = (struct ah_scalekit_op *)child;
    for (size_t i = 0; child->err.kind == AH_NONE && i < list->item_count; i++)
        add_known_name(e, ah_json_get(list->items[i], "connector"));
    conclude_missing(e, list);
}

static void on_connection_names(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct explain *e = (struct explain *)f;
    struct ah_scalekit_op *list = (struct ah_scalekit_op *)child;
    if (child->err.kind != AH_NONE) { /* a preview call, it may be refused: the accounts know names, too */
        struct ah_error err = {0};
        struct ah_op *accounts = list_accounts(f, NULL, &err);
        ah_skcall_run(f, accounts, &err, on_account_names);
        return;
    }
    e->complete = true;
    for (size_t i = 0; i < list->item_count; i++)
        add_known_name(e, ah_json_get(list->items[i], "key_id"));
    conclude_missing(e, list);
}

static struct explain *new_explain(struct ah_skcall_flow *parent, const char *connection,
                                   const struct ah_error *why, struct ah_error *err)
{
    struct ah_scalekit_who who = ah_skcall_who(parent);
    who.connection_name = connection;
    struct explain *e = ah_skcall_new(parent->sk, &explain_class, sizeof *e, &who, err);
    if (!e)
        return NULL;
    e->flow.drop = drop_explain;
    if (why)
        ah_err_copy(&e->why, why);
    return e;
}

static void on_explained(struct ah_skcall_flow *f, struct ah_op *child)
{
    ah_skcall_fail(f, &child->err);
}

/* Ends `f` with `why`, after a look at which connections there are. */
static void fail_missing_name(struct ah_skcall_flow *f, const char *connection, const struct ah_error *why)
{
    struct ah_error err = {0};
    if (!connection || !connection[0]) {
        ah_skcall_fail(f, why);
        return;
    }
    struct explain *e = new_explain(f, connection, why, &err);
    if (e) {
        struct ah_scalekit_who who = ah_skcall_who(&e->flow);
        struct ah_error none = {0};
        struct ah_op *list =
            ah_skcall_list(f->sk, &who, "list_connections", strdup("{\"page_size\":30}"), &none);
        ah_skcall_run(&e->flow, list, &none, on_connection_names);
    }
    ah_skcall_run(f, e ? &e->flow.pub.op : NULL, &err, on_explained);
}

/* --- accounts that are there but not ACTIVE ------------------------------------------------------ */

static const char *say_status(const char *status)
{
    if (strcmp(status, "PENDING_AUTH") == 0)
        return "nobody has given consent yet: open the authorization link";
    if (strcmp(status, "PENDING_VERIFICATION") == 0)
        return "consent was given, but the user is not verified: the page at user_verify_url must call "
               "user/verify, or switch the environment to \"Scalekit users only\"";
    if (strcmp(status, "EXPIRED") == 0)
        return "its authorization has expired: open a new authorization link";
    if (strcmp(status, "DISCONNECTED") == 0)
        return "it was disconnected: open a new authorization link";
    return "open a new authorization link";
}

static void set_inactive(struct explain *e, const char *link, enum ah_kind kind, struct ah_error *err)
{
    ah_err_set(err, kind, "the account of '%s' at '%s' is %s, not ACTIVE; %s",
               text_or(e->flow.identifier, text_or(e->flow.account, "?")), text_or(e->flow.connection, "?"),
               text_or(e->status, "not there"), say_status(e->status));
    ah_err_take_detail(err, AH_SKCALL_OBJECT({"status", e->status}, {"account_status", e->status},
                                             {"connection", e->flow.connection},
                                             {"identifier", e->flow.identifier}, {"link", link}));
}

static char *account_args(const struct ah_skcall_flow *f)
{
    bool by_id = f->account && f->account[0];
    return AH_SKCALL_OBJECT({"connection_name", by_id ? NULL : f->connection},
                            {"identifier", by_id ? NULL : f->identifier}, {"id", by_id ? f->account : NULL});
}

static void on_inactive_link(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct explain *e = (struct explain *)f;
    struct ah_error err = {0};
    char *link = NULL;
    if (child->err.kind == AH_NONE)
        link = ah_json_dup(ah_json_get(((struct ah_scalekit_op *)child)->answer, "link"));
    set_inactive(e, link, e->why.kind, &err);
    free(link);
    ah_skcall_finish(f, &err);
}

/* Ends `f` with AH_ACCOUNT_NOT_ACTIVE or AH_NEEDS_AUTH and a fresh link, if one can be had. */
static void fail_inactive(struct ah_skcall_flow *f, struct ah_json account, enum ah_kind kind)
{
    struct ah_error err = {0}, why = {.kind = kind};
    char connection[420], identifier[120];
    ah_json_copy(ah_json_get(account, "connector"), connection, sizeof connection);
    ah_json_copy(ah_json_get(account, "identifier"), identifier, sizeof identifier);
    struct explain *e = new_explain(f, text_or(connection, f->connection), &why, &err);
    if (e) {
        struct ah_error none = {0};
        ah_json_copy(ah_json_get(account, "status"), e->status, sizeof e->status);
        if (!e->flow.identifier && identifier[0])
            ah_skcall_copy(&e->flow.identifier, identifier);
        ah_skcall_run(&e->flow, start_call(&e->flow, "get_authorization_link", account_args(&e->flow), &none),
                      &none, on_inactive_link);
    }
    ah_skcall_run(f, e ? &e->flow.pub.op : NULL, &err, on_explained);
}

/* --- accounts ------------------------------------------------------------------------------------ */

struct account {
    struct ah_skcall_flow flow;
    bool create;  /* make it when it is not there */
    bool tried;   /* a create has left */
    bool updated; /* an update has left */
    char *given;  /* what to put into it: members of a JSON object, or NULL */
    struct ah_error why;
};

static void drop_account(struct ah_skcall_flow *f)
{
    struct account *a = (struct account *)f;
    if (a->given)
        explicit_bzero(a->given, strlen(a->given));
    free(a->given);
    ah_err_drop(&a->why);
}

/* 0: the answer's connected_account is the flow's answer. */
static int take_account(struct ah_skcall_flow *f, struct ah_op *child, struct ah_error *err)
{
    struct ah_json account = ah_json_get(((struct ah_scalekit_op *)child)->answer, "connected_account");
    if (account.type != AH_JSON_OBJECT)
        return ah_err_set(err, AH_PROTOCOL,
                          "Scalekit's answer holds no connected_account; check that "
                          "SCALEKIT_ENVIRONMENT_URL leads to Scalekit itself");
    ah_skcall_keep(f, child);
    f->pub.answer = account;
    remember_account(f->sk, account);
    return 0;
}

static bool is_active(struct ah_json account)
{
    return ah_json_is(ah_json_get(account, "status"), "ACTIVE");
}

static void ask_details(struct account *a);

static void on_created(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct account *a = (struct account *)f;
    struct ah_error err = {0};
    enum ah_kind kind = child->err.kind;
    if (kind == AH_NONE) {
        take_account(f, child, &err);
        ah_skcall_finish(f, &err);
    } else if (ah_skwire_is_duplicate(&child->err) || kind == AH_OUTCOME_UNKNOWN ||
               child->err.status >= 500) {
        a->updated = !ah_skwire_is_duplicate(&child->err) || a->why.kind != AH_NONE;
        ah_err_copy(&a->why, &child->err); /* somebody was faster, or we may have been heard: look again */
        ask_details(a);
    } else if (kind == AH_NOT_FOUND) {
        fail_missing_name(f, f->connection, &child->err);
    } else {
        ah_skcall_fail(f, &child->err);
    }
}

/* Creates or updates it, with what was given. */
static void put_account(struct account *a, const char *row)
{
    struct ah_skcall_flow *f = &a->flow;
    struct ah_error err = {0};
    struct ah_json given = {0};
    struct ah_buf b;
    struct ah_json_writer w;
    if (a->given)
        ah_json_check(a->given, strlen(a->given), 0, &given, NULL);
    ah_buf_init(&b, AH_SKWIRE_BODY_BYTES);
    ah_json_begin(&w, &b, NULL);
    ah_json_object(&w);
    ah_json_key(&w, "connection_name");
    ah_json_put_str(&w, f->connection);
    ah_json_key(&w, "identifier");
    ah_json_put_str(&w, f->identifier);
    for (struct ah_json_iter it = ah_json_iter(given); ah_json_next(&it);) {
        char name[64];
        ah_json_copy(it.key, name, sizeof name);
        ah_json_key(&w, name);
        ah_json_put(&w, it.value);
    }
    ah_json_end_object(&w);
    char *args = ah_buf_take(&b, NULL);
    ah_buf_drop(&b);
    ah_skcall_run(f, start_call(f, row, args, &err), &err, on_created);
}

static void create_account(struct account *a)
{
    a->tried = true;
    a->updated = true; /* it is given all there is */
    put_account(a, "create_connected_account");
}

static void update_account(struct account *a)
{
    a->tried = true;
    a->updated = true;
    put_account(a, "update_connected_account");
}

static void on_details(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct account *a = (struct account *)f;
    struct ah_error err = {0};
    if (child->err.kind == AH_NONE && a->given && !a->updated) {
        update_account(a);
    } else if (child->err.kind == AH_NONE) {
        take_account(f, child, &err);
        ah_skcall_finish(f, &err);
    } else if (child->err.kind == AH_NOT_FOUND && a->create && !a->tried) {
        create_account(a);
    } else if (child->err.kind == AH_NOT_FOUND && a->why.kind != AH_NONE) {
        ah_skcall_fail(f, &a->why);
    } else if (child->err.kind == AH_NOT_FOUND) {
        fail_missing_name(f, f->connection, &child->err);
    } else {
        ah_skcall_fail(f, &child->err);
    }
}

static void ask_details(struct account *a)
{
    struct ah_skcall_flow *f = &a->flow;
    struct ah_error err = {0};
    ah_skcall_run(f, start_call(f, "get_connected_account_details", account_args(f), &err), &err, on_details);
}

/* Whom it is about must be said: connection and identifier, or an account id. */
static int check_who(const struct ah_scalekit_who *who, bool id_will_do, struct ah_error *err)
{
    if (id_will_do && who->account_id && who->account_id[0])
        return 0;
    if (!who->connection_name || !who->connection_name[0])
        return ah_err_set(err, AH_INVALID,
                          "a connection_name is needed: the name that the dashboard's Connections "
                          "page shows");
    if (!who->identifier || !who->identifier[0])
        return ah_err_set(err, AH_CONFIG,
                          "an identifier is needed (whose account?): give identifier, --user, or "
                          "set AGENTHOST_USER");
    return 0;
}

static struct ah_scalekit_op *start_account(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                            bool create, const char *given, size_t n, struct ah_error *err)
{
    if (ah_skcall_settings(sk, err) != 0 || check_who(who, !create, err) != 0)
        return NULL;
    struct account *a = ah_skcall_new(sk, &account_class, sizeof *a, who, err);
    if (!a)
        return NULL;
    a->flow.drop = drop_account;
    a->create = create;
    a->given = given ? strndup(given, n) : NULL;
    if (given && !a->given)
        ah_skcall_fail_memory(&a->flow);
    else
        ask_details(a);
    return &a->flow.pub;
}

struct ah_scalekit_op *ah_scalekit_get_account(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                               struct ah_error *err)
{
    return start_account(sk, who, false, NULL, 0, err);
}

struct ah_scalekit_op *ah_scalekit_get_or_create_account(struct ah_scalekit *sk,
                                                         const struct ah_scalekit_who *who,
                                                         struct ah_error *err)
{
    return start_account(sk, who, true, NULL, 0, err);
}

struct ah_scalekit_op *ah_scalekit_put_account(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                               const char *given, size_t n, struct ah_error *err)
{
    struct ah_json object;
    if (ah_json_check(given, n, 0, &object, err) != 0)
        return NULL;
    return start_account(sk, who, true, ah_json_count(object) ? given : NULL, n, err);
}

/* --- links --------------------------------------------------------------------------------------- */

/* 0: link and expiry are in the flow's results. */
static int take_link(struct ah_skcall_flow *f, struct ah_op *child, struct ah_error *err)
{
    struct ah_json answer = ((struct ah_scalekit_op *)child)->answer, link = ah_json_get(answer, "link");
    if (link.n > sizeof f->pub.link || link.n <= 2)
        return ah_err_set(err, AH_PROTOCOL,
                          "Scalekit's answer holds no usable authorization link; try again");
    ah_json_copy(link, f->pub.link, sizeof f->pub.link);
    ah_json_copy(ah_json_get(answer, "expiry"), f->pub.expiry, sizeof f->pub.expiry);
    return 0;
}

static void on_link(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct ah_error err = {0};
    if (child->err.kind == AH_NOT_FOUND) {
        fail_missing_name(f, f->connection, &child->err);
    } else if (child->err.kind != AH_NONE) {
        ah_skcall_fail(f, &child->err);
    } else {
        if (take_link(f, child, &err) == 0) {
            f->pub.answer = ((struct ah_scalekit_op *)child)->answer;
            ah_skcall_keep(f, child);
        }
        ah_skcall_finish(f, &err);
    }
}

struct ah_scalekit_op *ah_scalekit_get_link(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                            const char *state, const char *user_verify_url,
                                            struct ah_error *err)
{
    if (ah_skcall_settings(sk, err) != 0 || check_who(who, true, err) != 0)
        return NULL;
    struct ah_skcall_flow *f = ah_skcall_new(sk, &link_class, sizeof *f, who, err);
    if (!f)
        return NULL;
    struct ah_error why = {0};
    char *args = AH_SKCALL_OBJECT({"connection_name", f->connection}, {"identifier", f->identifier},
                                  {"id", f->account}, {"state", state}, {"user_verify_url", user_verify_url});
    ah_skcall_run(f, start_call(f, "get_authorization_link", args, &why), &why, on_link);
    return &f->pub;
}

/* --- waiting for consent ---------------------------------------------------------------------------- */

struct wait {
    struct ah_skcall_flow flow;
    int64_t poll_ms;
    bool links;
};

static void look(struct wait *w);

static void on_slept(struct ah_skcall_flow *f, struct ah_op *child)
{
    (void)child;
    look((struct wait *)f);
}

/* Growing waits: 1, 2, 3, 5, 5 ... times poll_ms, never past the end. */
static void sleep_on(struct wait *w)
{
    static const int64_t steps[] = {1, 2, 3, 5};
    struct ah_skcall_flow *f = &w->flow;
    unsigned i = f->pub.wait.polls++;
    int64_t ms = w->poll_ms * steps[i < 4 ? i : 3];
    int64_t left = (f->pub.wait.deadline_us - ah_clock_mono_us()) / 1000 + 1;
    if (ms > left)
        ms = left > 0 ? left : 0;
    ah_skcall_run(f, ah_op_sleep(f->sk->core->loop, ms), NULL, on_slept);
}

static void on_fresh_link(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct ah_error err = {0};
    int64_t until = INT64_MAX;
    if (child->err.kind == AH_NOT_FOUND) {
        fail_missing_name(f, f->connection, &child->err);
        return;
    }
    if (child->err.kind != AH_NONE)
        ah_err_copy(&err, &child->err);
    else if (take_link(f, child, &err) == 0 && f->pub.expiry[0])
        ah_clock_parse_iso(f->pub.expiry, strlen(f->pub.expiry), &until);
    f->pub.wait.link_until_us = until;
    ah_skcall_finish(f, &err);
}

static void on_look(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct wait *w = (struct wait *)f;
    struct ah_error err = {0};
    struct ah_json account = {0};
    if (child->err.kind != AH_NONE && child->err.kind != AH_NOT_FOUND) {
        ah_skcall_fail(f, &child->err);
        return;
    }
    if (child->err.kind == AH_NONE) {
        if (take_account(f, child, &err) != 0) {
            ah_skcall_finish(f, &err);
            return;
        }
        account = f->pub.answer;
    }
    if (is_active(account)) {
        f->pub.active = true;
        ah_skcall_finish(f, NULL);
    } else if (ah_clock_mono_us() >= f->pub.wait.deadline_us) {
        fail_inactive(f, account, AH_NEEDS_AUTH);
    } else if (w->links && f->pub.wait.link_until_us <= ah_clock_wall_us(ah_loop_clock(f->sk->core->loop))) {
        struct ah_op *call = start_call(f, "get_authorization_link", account_args(f), &err);
        ah_skcall_run(f, call, &err, on_fresh_link);
    } else if (account.type == AH_JSON_NONE && !w->links) {
        fail_missing_name(f, f->connection, &child->err);
    } else {
        sleep_on(w);
    }
}

static void look(struct wait *w)
{
    struct ah_skcall_flow *f = &w->flow;
    struct ah_error err = {0};
    ah_skcall_run(f, start_call(f, "get_connected_account_details", account_args(f), &err), &err, on_look);
}

struct ah_scalekit_op *ah_scalekit_wait_active(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                               int64_t timeout_ms, int64_t poll_ms, bool links,
                                               const struct ah_scalekit_wait *wait, struct ah_error *err)
{
    if (ah_skcall_settings(sk, err) != 0 || check_who(who, true, err) != 0)
        return NULL;
    struct wait *w = ah_skcall_new(sk, &wait_class, sizeof *w, who, err);
    if (!w)
        return NULL;
    w->poll_ms = poll_ms > 0 ? poll_ms : POLL_MS;
    w->links = links;
    if (wait)
        w->flow.pub.wait = *wait;
    if (w->flow.pub.wait.deadline_us) {
        sleep_on(w); /* a link was just shown: give it time */
    } else {
        w->flow.pub.wait.deadline_us = ah_clock_mono_us() + timeout_ms * 1000;
        look(w);
    }
    return &w->flow.pub;
}

/* --- tools --------------------------------------------------------------------------------------- */

struct tools {
    struct ah_skcall_flow flow;
    char *args;           /* of list_scoped_tools */
    struct ah_json asked; /* the same, read */
    struct ah_error why;  /* what list_scoped_tools said */
    char **names;         /* connection names that tools point to */
    size_t name_count;
};

static void drop_tools(struct ah_skcall_flow *f)
{
    struct tools *t = (struct tools *)f;
    for (size_t i = 0; i < t->name_count; i++)
        free(t->names[i]);
    free(t->names);
    free(t->args);
    ah_err_drop(&t->why);
}

/* One copy of each name; NULL: not known, or no memory. */
static const char *keep_name(struct tools *t, const char *name)
{
    for (size_t i = 0; name && i < t->name_count; i++)
        if (strcmp(t->names[i], name) == 0)
            return t->names[i];
    char **more = name ? realloc(t->names, (t->name_count + 1) * sizeof *more) : NULL;
    if (!more)
        return NULL;
    t->names = more;
    char *copy = strdup(name);
    if (copy)
        t->names[t->name_count++] = copy;
    return copy;
}

static bool is_absent(struct ah_json v)
{
    return v.type == AH_JSON_NONE || v.type == AH_JSON_NULL;
}

static void read_tool(struct tools *t, struct ah_json item, const char *only, struct ah_scalekit_tool *out)
{
    static const char *const outer[] = {"tool", "connected_account_id", "identifier", NULL};
    static const char *const middle[] = {"definition", "provider", "tags", NULL};
    static const char *const inner[] = {"name", "description", "annotations", "input_schema", "input", NULL};
    struct ah_json of_item[3], of_tool[3], defined[5];
    char id[128];
    ah_json_pick(item, outer, of_item);
    ah_json_pick(of_item[0], middle, of_tool);
    ah_json_pick(of_tool[0], inner, defined);
    out->name = defined[0];
    out->description = defined[1];
    out->annotations = defined[2];
    out->input_schema = is_absent(defined[3]) ? defined[4] : defined[3];
    out->provider = of_tool[1];
    out->tags = of_tool[2];
    out->connected_account_id = of_item[1];
    out->identifier = of_item[2];
    ah_json_copy(out->connected_account_id, id, sizeof id);
    out->connection_name = keep_name(t, only ? only : ah_skcall_recall(t->flow.sk->names, id));
}

/* Tools without a name cannot be called: they are left out. */
static int read_tools(struct tools *t, struct ah_scalekit_op *list)
{
    struct ah_json names = ah_json_get(t->asked, "connection_names");
    char *only = ah_json_count(names) == 1 ? ah_json_dup(ah_json_at(names, 0)) : NULL;
    struct ah_skcall_flow *f = &t->flow;
    f->pub.tools = calloc(list->item_count + 1, sizeof *f->pub.tools);
    for (size_t i = 0; f->pub.tools && i < list->item_count; i++) {
        struct ah_scalekit_tool *tool = &f->pub.tools[f->pub.tool_count];
        read_tool(t, list->items[i], only, tool);
        if (tool->name.type == AH_JSON_STRING && tool->name.n > 2)
            f->pub.tool_count++;
    }
    free(only);
    return f->pub.tools ? 0 : -1;
}

static void put_accounts(struct ah_json_writer *w, struct ah_scalekit_op *list)
{
    ah_json_key(w, "accounts");
    ah_json_array(w);
    for (size_t i = 0; i < list->item_count && i < DETAIL_COUNT; i++) {
        ah_json_object(w);
        ah_json_key(w, "connection");
        ah_json_put(w, ah_json_get(list->items[i], "connector"));
        ah_json_key(w, "id");
        ah_json_put(w, ah_json_get(list->items[i], "id"));
        ah_json_key(w, "status");
        ah_json_put(w, ah_json_get(list->items[i], "status"));
        ah_json_end_object(w);
    }
    ah_json_end_array(w);
}

static void say_accounts(char *out, size_t size, struct ah_scalekit_op *list, bool *inactive)
{
    size_t at = 0;
    *inactive = false;
    snprintf(out, size, "none");
    for (size_t i = 0; i < list->item_count && i < SHOWN_COUNT && at < size; i++) {
        char connection[80], status[40];
        ah_json_copy(ah_json_get(list->items[i], "connector"), connection, sizeof connection);
        ah_json_copy(ah_json_get(list->items[i], "status"), status, sizeof status);
        at += (size_t)snprintf(out + at, size - at, "%s%s (%s)", i ? ", " : "", connection, status);
        *inactive = *inactive || strcmp(status, "ACTIVE") != 0;
    }
}

/* "a, b", or `otherwise` for none. */
static void say_asked(char *out, size_t size, struct ah_json names, const char *otherwise)
{
    size_t at = 0;
    snprintf(out, size, "%s", otherwise);
    for (struct ah_json_iter it = ah_json_iter(names); ah_json_next(&it) && at < size;) {
        char name[80];
        ah_json_copy(it.value, name, sizeof name);
        at += (size_t)snprintf(out + at, size - at, "%s%s", at ? ", " : "", name);
    }
}

/* Zero tools is an error that names what was asked for and what is there. */
static void fail_no_tools(struct tools *t, struct ah_scalekit_op *list)
{
    struct ah_error err = {0};
    char seen[300], asked[200], wanted[200];
    bool inactive;
    struct ah_json names = ah_json_get(t->asked, "connection_names");
    say_asked(asked, sizeof asked, names, "all");
    say_asked(wanted, sizeof wanted, ah_json_get(t->asked, "tool_names"), "");
    say_accounts(seen, sizeof seen, list, &inactive);
    ah_err_set(&err, AH_NO_TOOLS,
               "there are no tools%s%s for '%s' (connections asked for: %s; accounts seen: %s); %s",
               wanted[0] ? " named " : "", wanted, t->flow.identifier, asked, seen,
               inactive || !list->item_count
                   ? "connect the account first (agenthost auth link CONNECTION) and wait until it is ACTIVE"
                   : "check the filter: connection, provider and tool names are matched exactly");
    struct ah_buf b;
    struct ah_json_writer w;
    ah_buf_init(&b, AH_SKWIRE_BODY_BYTES);
    ah_json_begin(&w, &b, NULL);
    ah_json_object(&w);
    put_accounts(&w, list);
    ah_json_key(&w, "connections");
    if (names.type == AH_JSON_ARRAY)
        ah_json_put(&w, names);
    else
        ah_json_put_raw(&w, "[]", 2);
    ah_json_key(&w, "identifier");
    ah_json_put_str(&w, t->flow.identifier);
    ah_json_end_object(&w);
    ah_err_take_detail(&err, ah_buf_take(&b, NULL));
    ah_buf_drop(&b);
    ah_skcall_finish(&t->flow, &err);
}

static struct ah_json find_account(struct ah_scalekit_op *list, const char *connection)
{
    for (size_t i = 0; i < list->item_count; i++)
        if (ah_json_is(ah_json_get(list->items[i], "connector"), connection))
            return list->items[i];
    return (struct ah_json){0};
}

/* The list was refused: is one of the connections unknown, without account, or not ACTIVE? */
static void on_accounts_for_refusal(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct tools *t = (struct tools *)f;
    struct ah_scalekit_op *list = (struct ah_scalekit_op *)child;
    struct ah_json names = ah_json_get(t->asked, "connection_names");
    for (struct ah_json_iter it = ah_json_iter(names); child->err.kind == AH_NONE && ah_json_next(&it);) {
        char *name = ah_json_dup(it.value);
        struct ah_json account = name ? find_account(list, name) : (struct ah_json){0};
        bool known = account.type == AH_JSON_OBJECT;
        if (known && is_active(account)) {
            free(name);
            continue;
        }
        ah_skcall_keep(f, child);
        if (known)
            fail_inactive(f, account, AH_ACCOUNT_NOT_ACTIVE);
        else
            fail_missing_name(f, name, &t->why);
        free(name);
        return;
    }
    ah_skcall_fail(f, &t->why);
}

static void on_accounts_for_nothing(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct ah_scalekit_op none = {0};
    fail_no_tools((struct tools *)f, child->err.kind == AH_NONE ? (struct ah_scalekit_op *)child : &none);
}

static void on_tools(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct tools *t = (struct tools *)f;
    struct ah_error err = {0};
    enum ah_kind kind = child->err.kind;
    if (kind == AH_NOT_FOUND || kind == AH_INVALID) {
        ah_err_copy(&t->why, &child->err);
        ah_skcall_run(f, list_accounts(f, f->identifier, &err), &err, on_accounts_for_refusal);
    } else if (kind != AH_NONE) {
        ah_skcall_fail(f, &child->err);
    } else if (read_tools(t, (struct ah_scalekit_op *)child) != 0) {
        ah_skcall_fail_memory(f);
    } else if (f->pub.tool_count == 0) {
        ah_skcall_run(f, list_accounts(f, f->identifier, &err), &err, on_accounts_for_nothing);
    } else {
        ah_skcall_keep(f, child);
        f->pub.answer = ((struct ah_scalekit_op *)child)->answer;
        ah_skcall_finish(f, NULL);
    }
}

static void put_names(struct ah_json_writer *w, const char *key, const char *const *names)
{
    if (!names || !names[0])
        return;
    size_t n = 0;
    while (names[n])
        n++;
    put_list(w, key, names, n);
}

static char *scoped_args(const char *identifier, const struct ah_scalekit_filter *filter)
{
    struct ah_buf b;
    struct ah_json_writer w;
    ah_buf_init(&b, AH_SKWIRE_BODY_BYTES);
    ah_json_begin(&w, &b, NULL);
    ah_json_object(&w);
    ah_json_key(&w, "identifier");
    ah_json_put_str(&w, identifier);
    put_names(&w, "providers", filter->providers);
    put_names(&w, "tool_names", filter->tool_names);
    put_names(&w, "connection_names", filter->connection_names);
    ah_json_key(&w, "page_size");
    ah_json_put_int(&w, 100);
    ah_json_end_object(&w);
    char *args = ah_buf_take(&b, NULL);
    ah_buf_drop(&b);
    return args;
}

static void ask_tools(struct tools *t, const struct ah_scalekit_filter *filter)
{
    struct ah_skcall_flow *f = &t->flow;
    struct ah_error err = {0};
    struct ah_scalekit_who who = ah_skcall_who(f);
    t->args = scoped_args(f->identifier, filter);
    if (t->args)
        ah_json_check(t->args, strlen(t->args), 0, &t->asked, NULL);
    struct ah_op *list = NULL;
    if (t->args)
        list = ah_skcall_list(f->sk, &who, "list_scoped_tools", strdup(t->args), &err);
    ah_skcall_run(f, list, &err, on_tools);
}

/* The service wants a filter: the connections of the identifier's active accounts. */
static void on_own_accounts(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct tools *t = (struct tools *)f;
    struct ah_scalekit_op *list = (struct ah_scalekit_op *)child;
    if (child->err.kind != AH_NONE) {
        ah_skcall_fail(f, &child->err);
        return;
    }
    for (size_t i = 0; i < list->item_count; i++) {
        char connection[420];
        remember_account(f->sk, list->items[i]);
        ah_json_copy(ah_json_get(list->items[i], "connector"), connection, sizeof connection);
        if (connection[0] && is_active(list->items[i]))
            keep_name(t, connection);
    }
    if (t->name_count == 0) {
        fail_no_tools(t, list);
        return;
    }
    const char **names = calloc(t->name_count + 1, sizeof *names);
    if (!names) {
        ah_skcall_fail_memory(f);
        return;
    }
    for (size_t i = 0; i < t->name_count; i++)
        names[i] = t->names[i];
    ask_tools(t, &(struct ah_scalekit_filter){.connection_names = names});
    free(names);
}

static bool has_names(const char *const *names)
{
    return names && names[0];
}

struct ah_scalekit_op *ah_scalekit_get_tools(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                             const struct ah_scalekit_filter *filter, struct ah_error *err)
{
    if (ah_skcall_settings(sk, err) != 0)
        return NULL;
    if (!who->identifier || !who->identifier[0]) {
        ah_err_set(err, AH_CONFIG,
                   "an identifier is needed (whose tools?): give identifier, --user, or set "
                   "AGENTHOST_USER");
        return NULL;
    }
    struct tools *t = ah_skcall_new(sk, &tools_class, sizeof *t, who, err);
    if (!t)
        return NULL;
    t->flow.drop = drop_tools;
    if (has_names(filter->connection_names) || has_names(filter->providers) ||
        has_names(filter->tool_names)) {
        ask_tools(t, filter);
    } else {
        struct ah_error why = {0};
        ah_skcall_run(&t->flow, list_accounts(&t->flow, who->identifier, &why), &why, on_own_accounts);
    }
    return &t->flow.pub;
}

/* --- running a tool --------------------------------------------------------------------------------- */

struct execute {
    struct ah_skcall_flow flow;
    struct ah_span *tool_span;
    char *tool, *input, *tool_call_id;
    size_t input_n;
    enum ah_effect_class effect;
    int64_t timeout_ms;
    bool moved; /* the account was looked up anew */
    struct ah_error why;
};

static void send_tool(struct execute *e);

static void drop_execute(struct ah_skcall_flow *f)
{
    struct execute *e = (struct execute *)f;
    ah_span_unref(e->tool_span);
    free(e->tool);
    free(e->input);
    free(e->tool_call_id);
    ah_err_drop(&e->why);
}

static void start_span(struct execute *e)
{
    struct ah_skcall_flow *f = &e->flow;
    if (!f->run)
        return;
    e->tool_span = ah_span_start(f->run, f->span, AH_SPAN_TOOL, e->tool, e->input, e->input_n);
    if (!e->tool_span || !e->tool_call_id)
        return;
    struct ah_buf b;
    ah_buf_init(&b, AH_SKWIRE_BODY_BYTES);
    if (ah_json_quote(&b, e->tool_call_id, strlen(e->tool_call_id)) == 0)
        ah_span_extra(e->tool_span, "tool_call_id", b.p, b.n);
    ah_buf_drop(&b);
}

/* The id of the execution, wherever the answer or the error has it. */
static void note_execution(struct execute *e)
{
    struct ah_scalekit_op *pub = &e->flow.pub;
    struct ah_json detail;
    const char *text = pub->op.err.detail;
    if (!pub->execution_id[0] && text && ah_json_check(text, strlen(text), 0, &detail, NULL) == 0)
        ah_json_copy(ah_json_get(detail, "execution_id"), pub->execution_id, sizeof pub->execution_id);
}

static void note_metadata(struct ah_span *span, const char *key, const char *value)
{
    if (value && value[0])
        ah_span_metadata_str(span, key, value);
}

static void end_execute(struct ah_skcall_flow *f)
{
    struct execute *e = (struct execute *)f;
    const struct ah_error *err = &f->pub.op.err;
    note_execution(e);
    if (!e->tool_span)
        return;
    note_metadata(e->tool_span, "connection_name",
                  f->connection ? f->connection
                                : ah_skcall_recall(f->sk->names, f->pub.connected_account_id));
    note_metadata(e->tool_span, "identifier", f->identifier);
    note_metadata(e->tool_span, "connected_account_id", f->pub.connected_account_id);
    note_metadata(e->tool_span, "execution_id", f->pub.execution_id);
    struct ah_buf b;
    ah_buf_init(&b, AH_HTTP_BODY_BYTES + 64);
    if (err->kind == AH_NONE) {
        ah_buf_adds(&b, "{\"output\":");
        ah_buf_add(&b, f->pub.answer.p, f->pub.answer.n);
        ah_buf_addc(&b, '}');
    }
    ah_span_end(e->tool_span, b.failed ? NULL : b.p, b.failed ? 0 : b.n,
                err->kind == AH_NONE ? NULL : err->message);
    ah_buf_drop(&b);
}

/* The tool's name into the sentence; and a call that only reads has no unknown outcome. */
static void word_failure(struct execute *e, struct ah_error *err)
{
    char said[sizeof err->message];
    const char *better = ah_skwire_known_wrong(e->tool);
    snprintf(said, sizeof said, "%s", err->message);
    if (err->kind == AH_OUTCOME_UNKNOWN && e->effect != AH_EFFECT_UNSAFE) {
        err->kind = err->status ? AH_HTTP : AH_NETWORK;
        err->retryable = true;
        snprintf(said, sizeof said, "no answer came%s; it is safe to try again",
                 err->status ? " but a failure of the service" : "");
    }
    if (err->kind == AH_OUTCOME_UNKNOWN && !err->code[0] && err->status == 0)
        snprintf(said, sizeof said,
                 "it left this machine and no answer came: it may have run, so look before you "
                 "run it again");
    snprintf(err->message, sizeof err->message, "%s: %.*s%s%s%s", e->tool, (int)(sizeof said - 200), said,
             better && err->kind != AH_TOOL_ERROR ? " (the tool's real name is " : "",
             better && err->kind != AH_TOOL_ERROR ? better : "",
             better && err->kind != AH_TOOL_ERROR ? ")" : "");
}

static void fail_execute(struct execute *e)
{
    struct ah_error err = {0};
    ah_err_copy(&err, &e->why);
    ah_skcall_finish(&e->flow, &err);
}

/* The connected service refused the account: a new link goes with the error. */
static void on_link_for_tool(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct execute *e = (struct execute *)f;
    struct ah_json link = {0};
    if (child->err.kind == AH_NONE)
        link = ah_json_get(((struct ah_scalekit_op *)child)->answer, "link");
    if (link.type == AH_JSON_STRING && e->why.detail) {
        struct ah_buf b;
        ah_buf_init(&b, AH_SKWIRE_BODY_BYTES);
        ah_buf_add(&b, e->why.detail, strlen(e->why.detail) - 1);
        ah_buf_adds(&b, ",\"link\":");
        ah_buf_add(&b, link.p, link.n);
        ah_buf_addc(&b, '}');
        char *detail = ah_buf_take(&b, NULL);
        if (detail)
            ah_err_take_detail(&e->why, detail);
        ah_buf_drop(&b);
    }
    fail_execute(e);
}

/* The user has another account there by now (made anew, since a run was stopped): the call was refused and did
 * nothing, so it is made with that one. */
static void on_found_again(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct execute *e = (struct execute *)f;
    struct ah_json account = ((struct ah_scalekit_op *)child)->answer;
    char id[sizeof f->pub.connected_account_id] = "";
    if (child->err.kind == AH_NONE && is_active(account))
        ah_json_copy(ah_json_get(account, "id"), id, sizeof id);
    if (!id[0]) {
        fail_missing_name(f, f->connection, &e->why);
        return;
    }
    snprintf(f->pub.connected_account_id, sizeof f->pub.connected_account_id, "%s", id);
    send_tool(e);
}

static void look_again(struct execute *e)
{
    struct ah_skcall_flow *f = &e->flow;
    struct ah_error err = {0};
    e->moved = true;
    free(f->account);
    f->account = NULL;
    struct ah_scalekit_who who = ah_skcall_who(f);
    struct ah_scalekit_op *op = ah_scalekit_get_account(f->sk, &who, &err);
    ah_skcall_run(f, op ? &op->op : NULL, &err, on_found_again);
}

/* "resource not found" and its kin: what is the account's state? */
static void on_state_for_tool(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct execute *e = (struct execute *)f;
    struct ah_json account = {0};
    if (child->err.kind == AH_NONE)
        account = ah_json_get(((struct ah_scalekit_op *)child)->answer, "connected_account");
    if (account.type == AH_JSON_OBJECT && !is_active(account)) {
        ah_skcall_keep(f, child);
        fail_inactive(f, account, AH_ACCOUNT_NOT_ACTIVE);
    } else if (child->err.kind == AH_NOT_FOUND && f->connection && f->identifier && !e->moved && e->input) {
        look_again(e);
    } else if (child->err.kind == AH_NOT_FOUND && f->connection) {
        fail_missing_name(f, f->connection, &e->why);
    } else {
        fail_execute(e);
    }
}

static void forget_account(struct execute *e)
{
    struct ah_skcall_flow *f = &e->flow;
    char key[KEY_BYTES];
    if (f->connection && f->identifier) {
        pair_key(key, f->connection, f->identifier);
        ah_skcall_forget(f->sk->ids, key);
    }
}

static void explain_failure(struct execute *e, const struct ah_error *why)
{
    struct ah_skcall_flow *f = &e->flow;
    struct ah_error err = {0};
    bool tool_error = why->kind == AH_TOOL_ERROR;
    bool about_account = why->kind == AH_NOT_FOUND || (why->kind == AH_INVALID && why->status == 400) ||
                         (why->kind == AH_AUTH && why->status == 401 && !ah_skwire_is_token_refused(why));
    ah_err_copy(&e->why, why);
    word_failure(e, &e->why);
    free(f->account);
    f->account = strdup(f->pub.connected_account_id); /* both questions are about the account that was used */
    if (!f->account) {
        ah_skcall_fail_memory(f);
    } else if (tool_error && why->status == 401) {
        ah_skcall_run(f, start_call(f, "get_authorization_link", account_args(f), &err), &err,
                      on_link_for_tool);
    } else if (about_account) {
        forget_account(e);
        ah_skcall_run(f, start_call(f, "get_connected_account_details", account_args(f), &err), &err,
                      on_state_for_tool);
    } else {
        fail_execute(e);
    }
}

static void on_executed(struct ah_skcall_flow *f, struct ah_op *child)
{
    static const char *const keys[] = {"execution_id", "data", NULL};
    struct execute *e = (struct execute *)f;
    struct ah_json found[2], answer = ((struct ah_scalekit_op *)child)->answer;
    if (child->err.kind != AH_NONE) {
        struct ah_skcall *c = (struct ah_skcall *)child;
        e->input = c->args; /* back */
        c->args = NULL;
        explain_failure(e, &child->err);
        return;
    }
    ah_skcall_keep(f, child);
    ah_json_pick(answer, keys, found);
    ah_json_copy(found[0], f->pub.execution_id, sizeof f->pub.execution_id);
    f->pub.answer = found[1];
    if (is_absent(f->pub.answer))
        f->pub.answer = (struct ah_json){"{}", 2, AH_JSON_OBJECT}; /* default values may be left out */
    ah_skcall_finish(f, NULL);
}

static char *execute_args(const struct execute *e)
{
    const struct ah_skcall_flow *f = &e->flow;
    struct ah_buf b;
    struct ah_json_writer w;
    ah_buf_init(&b, AH_SKWIRE_BODY_BYTES);
    ah_json_begin(&w, &b, NULL);
    ah_json_object(&w);
    ah_json_key(&w, "tool_name");
    ah_json_put_str(&w, e->tool);
    ah_json_key(&w, "tool_input");
    ah_json_put_raw(&w, e->input, e->input_n);
    ah_json_key(&w, "connected_account_id");
    ah_json_put_str(&w, f->pub.connected_account_id);
    if (f->run) {
        ah_json_key(&w, "agent_run_id");
        ah_json_put_str(&w, ah_run_id(f->run));
    }
    ah_json_end_object(&w);
    char *args = ah_buf_take(&b, NULL);
    ah_buf_drop(&b);
    return args;
}

static void send_tool(struct execute *e)
{
    struct ah_skcall_flow *f = &e->flow;
    struct ah_error err = {0};
    struct ah_scalekit_who who = ah_skcall_who(f);
    if (e->tool_span)
        who.span = e->tool_span;
    char *args = execute_args(e);
    struct ah_skcall *c = args ? ah_skcall_make(f->sk, &who, "execute_tool", args, strlen(args), &err) : NULL;
    free(args);
    if (c) {
        c->effect_class = e->effect;
        c->effect_kind = "tool";
        c->what = strdup(e->tool);
        c->args = e->input; /* moved */
        c->args_n = e->input_n;
        e->input = NULL;
        if (e->timeout_ms > 0)
            c->total_ms = e->timeout_ms;
        ah_skcall_begin(c);
    }
    ah_skcall_run(f, c ? &c->flow.pub.op : NULL, &err, on_executed);
}

static void on_resolved(struct ah_skcall_flow *f, struct ah_op *child)
{
    struct ah_json account = ((struct ah_scalekit_op *)child)->answer;
    if (child->err.kind != AH_NONE) {
        ah_skcall_fail(f, &child->err);
    } else if (!is_active(account)) {
        ah_skcall_keep(f, child);
        fail_inactive(f, account, AH_ACCOUNT_NOT_ACTIVE);
    } else {
        ah_json_copy(ah_json_get(account, "id"), f->pub.connected_account_id,
                     sizeof f->pub.connected_account_id);
        send_tool((struct execute *)f);
    }
}

static void begin_execute(struct execute *e)
{
    struct ah_skcall_flow *f = &e->flow;
    struct ah_error err = {0};
    char key[KEY_BYTES];
    const char *id = f->account;
    if (!id || !id[0]) {
        pair_key(key, f->connection, f->identifier);
        id = ah_skcall_recall(f->sk->ids, key);
    }
    if (id && id[0]) {
        snprintf(f->pub.connected_account_id, sizeof f->pub.connected_account_id, "%s", id);
        send_tool(e);
        return;
    }
    struct ah_scalekit_who who = ah_skcall_who(f);
    struct ah_scalekit_op *op = ah_scalekit_get_account(f->sk, &who, &err);
    ah_skcall_run(f, op ? &op->op : NULL, &err, on_resolved);
}

static int check_exec(const struct ah_scalekit_who *who, const struct ah_scalekit_exec *exec,
                      struct ah_error *err)
{
    struct ah_json input;
    if (!exec->tool_name || !exec->tool_name[0])
        return ah_err_set(err, AH_INVALID, "a tool_name is needed: one of those that get_tools lists");
    if (ah_json_check(exec->input, exec->input_n, AH_JSON_UNIQUE_KEYS, &input, err) != 0) {
        if (err)
            err->kind = AH_INVALID;
        return -1;
    }
    if (input.type != AH_JSON_OBJECT)
        return ah_err_set(err, AH_INVALID, "the input of %s must be a JSON object", exec->tool_name);
    return check_who(who, true, err);
}

struct ah_scalekit_op *ah_scalekit_execute(struct ah_scalekit *sk, const struct ah_scalekit_who *who,
                                           const struct ah_scalekit_exec *exec, struct ah_error *err)
{
    if (ah_skcall_settings(sk, err) != 0 || check_exec(who, exec, err) != 0)
        return NULL;
    struct execute *e = ah_skcall_new(sk, &execute_class, sizeof *e, who, err);
    if (!e)
        return NULL;
    e->flow.drop = drop_execute;
    e->effect = exec->effect;
    e->timeout_ms = exec->timeout_ms;
    e->input = malloc(exec->input_n + 1);
    e->input_n = exec->input_n;
    if (!e->input || !ah_skcall_copy(&e->tool, exec->tool_name) ||
        !ah_skcall_copy(&e->tool_call_id, exec->tool_call_id)) {
        e->flow.pub.op.done = true;
        ah_op_unref(&e->flow.pub.op);
        ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    memcpy(e->input, exec->input, exec->input_n);
    e->input[exec->input_n] = '\0';
    e->flow.ended = end_execute;
    start_span(e);
    begin_execute(e);
    return &e->flow.pub;
}

/* --- the whole ------------------------------------------------------------------------------------- */

struct ah_scalekit *ah_scalekit_new(struct ah_core *core, struct ah_error *err)
{
    struct ah_scalekit *sk = calloc(1, sizeof *sk);
    if (!sk)
        ah_err_set(err, AH_MEMORY, "out of memory");
    else
        sk->core = core;
    return sk;
}

void ah_scalekit_free(struct ah_scalekit *sk)
{
    if (!sk)
        return;
    ah_skcall_drop(sk);
    free(sk);
}
