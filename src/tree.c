/* Draws the tree of a run from its events. Called by main (end of a run) and cmd_trace. Must not change
 * the journal. */
#include "tree.h"

#include "buf.h"
#include "json.h"
#include "shapes.h"
#include "store.h"

#include <stdlib.h>
#include <string.h>

#define LINE_BYTES ((size_t)8 << 10)
#define MASKED_BYTES ((size_t)1 << 20)
#define NAME_COLUMNS 34
#define ERROR_BYTES 100
#define DEPTH_MAX 64
#define STEM_BYTES ((DEPTH_MAX + 2) * 8) /* what is drawn before a name: at most 7 bytes a level */

struct node {
    int64_t span, start, end; /* end 0: open */
    char id[AH_UUID_BYTES], parent_id[AH_UUID_BYTES];
    char name[128], model[64], error[ERROR_BYTES + 8];
    bool waits; /* the error is that a person must act first */
    bool llm;
    int64_t input, output;   /* -1: not known */
    double cost;             /* < 0: not known */
    int parent, child, next; /* indexes, -1 = none; children in order of start */
    int last_child;
};

struct tree {
    struct node *nodes;
    int count, cap;
    bool failed;
    const struct ah_tree_opts *opts;
    FILE *to;
    int left; /* lines that may still be printed */
};

static int find_id(const struct tree *t, const char *id)
{
    if (t->count && strcmp(t->nodes[0].id, id) == 0) /* most are the root's own */
        return 0;
    for (int i = t->count - 1; *id && i >= 0; i--)
        if (strcmp(t->nodes[i].id, id) == 0)
            return i;
    return -1;
}

static int find_span(const struct tree *t, int64_t span)
{
    int guess = (int)span - 1; /* spans are numbered in order of start */
    if (guess >= 0 && guess < t->count && t->nodes[guess].span == span)
        return guess;
    for (int i = 0; i < t->count; i++)
        if (t->nodes[i].span == span)
            return i;
    return -1;
}

static struct node *add_node(struct tree *t)
{
    if (t->count == t->cap) {
        int cap = t->cap ? t->cap * 2 : 32;
        struct node *nodes = realloc(t->nodes, (size_t)cap * sizeof *nodes);
        if (!nodes)
            return NULL;
        t->nodes = nodes;
        t->cap = cap;
    }
    struct node *n = &t->nodes[t->count++];
    *n = (struct node){
        .input = -1, .output = -1, .cost = -1, .parent = -1, .child = -1, .next = -1, .last_child = -1};
    return n;
}

/* A text as it may be shown. Masked before it is cut: half a token is not known as one. */
static void copy_shown(const struct tree *t, struct ah_json v, char *out, size_t size)
{
    if (!t->opts->hide_tokens || !ah_shapes_found(v.p, v.n)) {
        ah_json_copy(v, out, size);
        return;
    }
    struct ah_buf b;
    struct ah_json masked;
    *out = '\0';
    ah_buf_init(&b, MASKED_BYTES);
    if (ah_shapes_mask(v.p, v.n, &b) == 0 && ah_json_check(b.p, b.n, 0, &masked, NULL) == 0)
        ah_json_copy(masked, out, size);
    ah_buf_drop(&b);
}

static int read_start(struct tree *t, const struct ah_store_event *ev, struct ah_json body)
{
    struct node *n = add_node(t);
    if (!n)
        return -1;
    n->span = ev->span;
    n->start = ev->at;
    ah_json_copy(ah_json_get(body, "id"), n->id, sizeof n->id);
    ah_json_copy(ah_json_get(body, "parent_run_id"), n->parent_id, sizeof n->parent_id);
    copy_shown(t, ah_json_get(body, "name"), n->name, sizeof n->name);
    n->llm = ah_json_is(ah_json_get(body, "run_type"), "llm");
    if (n->llm)
        copy_shown(t, ah_json_path(body, "inputs", "model", NULL), n->model, sizeof n->model);
    return 0;
}

/* The first line of an error, short. */
static void copy_error(const struct tree *t, struct ah_json error, char *out, size_t size)
{
    copy_shown(t, error, out, size - 4);
    size_t n = strlen(out), line = strcspn(out, "\r\n");
    out[line] = '\0';
    if (line < n || n >= ERROR_BYTES)
        strcat(out, "…");
}

static void read_end(struct tree *t, const struct ah_store_event *ev, struct ah_json body)
{
    int i = find_span(t, ev->span);
    if (i < 0)
        return;
    struct node *n = &t->nodes[i];
    struct ah_json totals = ah_json_get(body, "totals");
    n->end = ev->at;
    if (ah_json_get(body, "name").type == AH_JSON_STRING)
        copy_shown(t, ah_json_get(body, "name"), n->name, sizeof n->name);
    ah_json_int(ah_json_get(totals, "input_tokens"), &n->input);
    ah_json_int(ah_json_get(totals, "output_tokens"), &n->output);
    ah_json_num(ah_json_get(totals, "cost"), &n->cost);
    struct ah_json error = ah_json_get(body, "error"), clean = ah_json_get(body, "clean");
    if (error.type == AH_JSON_STRING && clean.type != AH_JSON_NONE) /* as the anonymizer made it */
        error = ah_json_get(clean, "error");
    if (error.type == AH_JSON_STRING)
        copy_error(t, error, n->error, sizeof n->error);
    else if (ah_json_get(body, "error").type == AH_JSON_STRING)
        snprintf(n->error, sizeof n->error, "[withheld]");
    n->waits = ah_json_path(body, "extra", "metadata", "waits_for", NULL).type != AH_JSON_NONE;
}

static int read_event(void *arg, const struct ah_store_event *ev)
{
    struct tree *t = arg;
    struct ah_json body;
    bool span = ev->kind == AH_EV_SPAN_START || ev->kind == AH_EV_SPAN_END;
    if (!span || ah_json_check(ev->body, ev->n, 0, &body, NULL) != 0)
        return 0;
    if (ev->kind == AH_EV_SPAN_END)
        read_end(t, ev, body);
    else if (read_start(t, ev, body) != 0)
        t->failed = true;
    return t->failed;
}

static void link_nodes(struct tree *t)
{
    for (int i = 0; i < t->count; i++) {
        int p = find_id(t, t->nodes[i].parent_id);
        t->nodes[i].parent = p;
        if (p < 0)
            continue;
        struct node *parent = &t->nodes[p];
        if (parent->last_child >= 0)
            t->nodes[parent->last_child].next = i;
        else
            parent->child = i;
        parent->last_child = i;
    }
}

/* --- printing ------------------------------------------------------------------------------------- */

/* Columns of a terminal, near enough: one per character. */
static int columns_of(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

/* Names come from scripts and services: nothing in them may steer the terminal. */
static void put_plain(struct ah_buf *b, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        bool c1 = c == 0xc2 && (unsigned char)s[1] >= 0x80 && (unsigned char)s[1] < 0xa0;
        if (c1)
            s++;
        ah_buf_addc(b, c < 32 || c == 127 || c1 ? '?' : *s);
    }
}

static void put_time(struct ah_buf *b, const struct node *n)
{
    if (!n->end) {
        ah_buf_adds(b, "   open");
        return;
    }
    int64_t us = n->end - n->start;
    double s = (double)us / 1e6;
    if (us < 1000)
        ah_buf_adds(b, "  <1 ms");
    else if (s < 1)
        ah_buf_addf(b, "%4d ms", (int)(us / 1000));
    else if (s < 100)
        ah_buf_addf(b, "%5.2f s", s);
    else
        ah_buf_addf(b, "%3d:%02d m", (int)(s / 60), (int)s % 60);
}

void ah_tree_money(double usd, char out[AH_TREE_MONEY_BYTES])
{
    if (usd > 0 && usd < 0.00005)
        snprintf(out, AH_TREE_MONEY_BYTES, "<$0.0001");
    else
        snprintf(out, AH_TREE_MONEY_BYTES, "$%.4f", usd);
}

static void put_numbers(struct ah_buf *b, const struct node *n)
{
    if (n->input >= 0 && n->llm)
        ah_buf_addf(b, "  %lld+%lld tok", (long long)n->input, (long long)n->output);
    else if (n->input >= 0)
        ah_buf_addf(b, "  %lld tok", (long long)(n->input + n->output));
    if (n->cost >= 0) {
        char money[AH_TREE_MONEY_BYTES];
        ah_tree_money(n->cost, money);
        ah_buf_addf(b, "  %s", money);
    }
}

static void print_line(struct tree *t, const struct node *n, const char *branch)
{
    struct ah_buf b;
    ah_buf_init(&b, LINE_BYTES);
    ah_buf_adds(&b, branch);
    put_plain(&b, n->name);
    if (*n->model) {
        ah_buf_addc(&b, ' ');
        put_plain(&b, n->model);
    }
    for (int at = columns_of(ah_buf_str(&b)); at < NAME_COLUMNS; at++)
        ah_buf_addc(&b, ' ');
    ah_buf_adds(&b, t->opts->color ? "\033[2m" : "");
    put_time(&b, n);
    put_numbers(&b, n);
    ah_buf_adds(&b, t->opts->color ? "\033[0m" : "");
    if (*n->error) {
        ah_buf_adds(&b, "  ");
        ah_buf_adds(&b, !t->opts->color ? "" : n->waits ? "\033[33m" : "\033[31m");
        ah_buf_adds(&b, n->waits ? "waiting: " : "error: ");
        put_plain(&b, n->error);
        ah_buf_adds(&b, t->opts->color ? "\033[0m" : "");
    }
    fprintf(t->to, "%s\n", ah_buf_str(&b));
    ah_buf_drop(&b);
}

/* Three columns more; DEPTH_MAX of them fit. */
static void join(char to[STEM_BYTES], const char *stem, const char *more)
{
    size_t n = strlen(stem), k = strlen(more);
    memcpy(to, stem, n);
    memcpy(to + n, more, k + 1);
}

static void print_node(struct tree *t, int i, const char *stem, int depth)
{
    const char *tee = t->opts->ascii ? "|- " : "├─ ", *corner = t->opts->ascii ? "`- " : "└─ ";
    const char *bar = t->opts->ascii ? "|  " : "│  ";
    for (int c = t->nodes[i].child; c >= 0 && depth < DEPTH_MAX; c = t->nodes[c].next) {
        char branch[STEM_BYTES], below[STEM_BYTES];
        bool last = t->nodes[c].next < 0;
        if (t->left-- <= 0)
            return;
        join(branch, stem, last ? corner : tee);
        join(below, stem, last ? "   " : bar);
        print_line(t, &t->nodes[c], branch);
        print_node(t, c, below, depth + 1);
    }
}

int ah_tree_print(struct ah_store *s, int64_t run, const struct ah_tree_opts *opts, FILE *to,
                  struct ah_error *err)
{
    static const struct ah_tree_opts plain = {0};
    struct tree t = {.opts = opts ? opts : &plain, .to = to};
    if (ah_store_run_events(s, run, read_event, &t, err) != 0 || t.failed) {
        free(t.nodes);
        return t.failed ? ah_err_set(err, AH_MEMORY, "no memory to draw the run") : -1;
    }
    link_nodes(&t);
    t.left = t.opts->max_spans > 0 ? t.opts->max_spans : 200;
    for (int i = 0; i < t.count; i++) {
        if (t.nodes[i].parent >= 0)
            continue;
        t.left--;
        print_line(&t, &t.nodes[i], "");
        print_node(&t, i, "", 0);
    }
    if (t.left < 0)
        fprintf(to, "… %d spans in all\n", t.count);
    if (t.count == 0)
        fprintf(to, "(no spans: this run was not traced)\n");
    free(t.nodes);
    return 0;
}
