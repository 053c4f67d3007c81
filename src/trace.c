/* The trace of a host and its runs: how one begins, what it knows, how it ends. Called by services, host.c and
 * lua_trace.c. The other halves are trace_span.c (a span's life), trace_event.c (what the journal is told of it),
 * trace_send.c (what may leave, and where to), trace_effect.c, and trace_put.c with what they share.
 *
 * Must never wait, never send, and never fail a caller because tracing does. */
#include "loop.h"
#include "secret.h"
#include "trace_put.h"
#include "tracing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ABOVE_BYTES 8192

struct ah_trace *ah_trace_new(struct ah_core *core, struct ah_error *err)
{
    struct ah_trace *t = calloc(1, sizeof *t);
    if (t) {
        t->core = core;
        t->store = core->store;
        ah_buf_init(&t->masked, AH_TRACE_MASKED_BYTES);
        core->tracing = ah_tracing_new(core->config, core->secrets);
    }
    if (!t || !core->tracing) {
        ah_trace_free(t);
        ah_err_set(err, AH_MEMORY, "no memory for tracing");
        return NULL;
    }
    return t;
}

void ah_trace_set_replay(struct ah_trace *t, struct ah_replay *replay)
{
    t->replay = replay;
}

void ah_trace_free(struct ah_trace *t)
{
    if (!t)
        return;
    ah_buf_drop(&t->masked);
    ah_tracing_free(t->core->tracing);
    t->core->tracing = NULL;
    free(t);
}

/* --- runs ---------------------------------------------------------------------------------------- */

struct ah_run *ah_run_ref(struct ah_run *run)
{
    if (run)
        run->refs++;
    return run;
}

void ah_run_unref(struct ah_run *run)
{
    if (!run || --run->refs > 0)
        return;
    free(run->name);
    free(run->identifier);
    free(run->project);
    free(run->above);
    free(run->example);
    ah_trace_unref_cleaner(run->cleaner);
    ah_buf_drop(&run->inputs);
    ah_buf_drop(&run->tags);
    free(run);
}

/* The time at the head of a segment: 20261122T100000000120Z. */
static bool read_stamp(const char *p, int64_t *us)
{
    char iso[AH_CLOCK_ISO_BYTES];
    snprintf(iso, sizeof iso, "%.4s-%.2s-%.2s%.3s:%.2s:%.2s.%.7s", p, p + 4, p + 6, p + 8, p + 11, p + 13,
             p + 15);
    return ah_clock_parse_iso(iso, strlen(iso), us) == 0;
}

/* Puts the run below a run of another process. What is no dotted_order is left out: a header must not make a
 * script fail. */
static int set_above(struct ah_run *run, const char *dotted)
{
    enum { SEGMENT_N = AH_TRACE_DOTTED_N + AH_UUID_BYTES - 1 };
    size_t n = dotted ? strlen(dotted) : 0, segments = (n + 1) / (SEGMENT_N + 1);
    int64_t at = 0;
    if (n == 0 || n > ABOVE_BYTES || (n + 1) % (SEGMENT_N + 1) != 0)
        return 0;
    for (size_t i = 0; i < segments; i++) {
        const char *p = dotted + i * (SEGMENT_N + 1);
        char id[AH_UUID_BYTES];
        snprintf(id, sizeof id, "%.*s", AH_UUID_BYTES - 1, p + AH_TRACE_DOTTED_N);
        if (!read_stamp(p, &at) || !ah_ids_is_uuid(id) || (i && p[-1] != '.'))
            return 0;
    }
    run->above = strdup(dotted);
    if (!run->above)
        return -1;
    snprintf(run->trace_id, sizeof run->trace_id, "%.*s", AH_UUID_BYTES - 1, dotted + AH_TRACE_DOTTED_N);
    if (at > run->start_us)
        run->start_us = at; /* its clock is ahead of ours */
    return 0;
}

static struct ah_run *new_run(struct ah_trace *t, const struct ah_run_opts *opts, const char *project)
{
    struct ah_run *run = calloc(1, sizeof *run);
    if (!run)
        return NULL;
    run->refs = 1;
    run->trace = t;
    run->traced = opts->traced;
    ah_buf_init(&run->tags, AH_TRACE_SMALL_BYTES);
    run->start_us = ah_trace_now(t);
    run->began_us = ah_clock_mono_us();
    run->key = ah_store_new_key(t->store);
    ah_ids_uuid7(ah_loop_ids(t->core->loop), run->start_us, run->id);
    run->name = strdup(opts->name && *opts->name ? opts->name : "run");
    run->identifier = strdup(opts->identifier ? opts->identifier : "");
    run->project = strdup(opts->project && *opts->project ? opts->project : project);
    snprintf(run->trace_id, sizeof run->trace_id, "%s", run->id);
    if (opts->reference_example_id && ah_ids_is_uuid(opts->reference_example_id))
        run->example = strdup(opts->reference_example_id);
    if (run->name && run->identifier && run->project && set_above(run, opts->parent) == 0)
        return run;
    ah_run_unref(run);
    return NULL;
}

static void start_root(struct ah_run *run, const struct ah_run_opts *opts)
{
    struct ah_span *root = ah_trace_new_span(run, NULL, AH_SPAN_CHAIN, run->name, run->start_us, run->id);
    run->root = root;
    if (!root)
        return;
    ah_run_add_tags(run, opts->tags);
    ah_span_metadata_str(root, "revision_id", ah_tracing_revision(run->trace->core->tracing));
    if (opts->metadata)
        ah_trace_add_members(&root->metadata, opts->metadata, strlen(opts->metadata));
    ah_buf_init(&run->inputs, AH_TRACE_MASKED_BYTES);
    if (opts->inputs)
        ah_buf_add(&run->inputs, opts->inputs, opts->inputs_n);
    ah_trace_write_start(root, NULL, opts->inputs, opts->inputs_n);
}

struct ah_run *ah_run_start(struct ah_trace *t, const struct ah_run_opts *opts, struct ah_error *err)
{
    struct ah_tracing_where where;
    ah_tracing_where(t->core->tracing, &where);
    struct ah_run *run = new_run(t, opts, where.project);
    if (!run) {
        ah_err_set(err, AH_MEMORY, "no memory for a run");
        return NULL;
    }
    run->sampled = run->traced && ah_tracing_samples(t->core->tracing, run->trace_id);
    if (opts->around && opts->around->cleaner) {
        run->cleaner = opts->around->cleaner;
        run->cleaner->refs++;
    }
    run->wanted = run->sampled && *where.endpoint;
    run->sends = run->wanted && !run->cleaner;
    struct ah_store_run_start row = {
        .key = run->key,
        .id = run->id,
        .name = run->name,
        .script = opts->script,
        .identifier = run->identifier,
        .project = run->project,
        .at = run->start_us,
        .traced = run->traced,
        .where = {run->sends ? where.endpoint : "", run->sends ? where.workspace : "", where.emulated}};
    ah_store_run_begin(t->store, &row);
    if (run->traced)
        start_root(run, opts);
    else
        ah_run_add_tags(run, opts->tags);
    ah_trace_write_late(run);
    return run;
}

static struct ah_store_totals sum_of(const struct ah_run *run)
{
    const struct ah_run_totals *s = &run->totals;
    return (struct ah_store_totals){.input_tokens = s->input_tokens,
                                    .output_tokens = s->output_tokens,
                                    .model_calls = s->model_calls,
                                    .tool_calls = s->tool_calls,
                                    .errors = s->errors,
                                    .spans = run->spans,
                                    .cost = s->cost,
                                    .cost_known = s->cost_known};
}

void ah_run_end(struct ah_run *run, const char *outputs, size_t n, const struct ah_error *failed)
{
    if (!run)
        return;
    struct ah_trace *t = run->trace;
    char message[sizeof failed->message] = "";
    if (failed) { /* masked here: a secret that the message's end cuts is no whole one any more */
        snprintf(message, sizeof message, "%s", failed->message);
        ah_secret_mask_str(t->core->secrets, message, sizeof message);
    }
    const char *error = failed ? (*message ? message : ah_err_kind_name(failed->kind)) : NULL;
    int code = failed ? ah_err_exit_code(failed->kind) : 0;
    bool waits = code == 10 || code == 11; /* it goes on when a person has acted */
    if (waits)
        ah_span_metadata_str(run->root, "waits_for", ah_err_kind_name(failed->kind));
    while (run->open && run->open != run->root) /* newest first: children before parents */
        ah_span_end(run->open, NULL, 0, "Cancelled");
    ah_span_end(run->root, outputs, n, error);
    run->ended = true;
    struct ah_store_totals sum = sum_of(run);
    size_t error_n = error ? strlen(error) : 0;
    const char *masked = error ? ah_trace_mask(t, error, &error_n) : NULL;
    ah_store_run_end(t->store, run->key, ah_trace_now(t), run->name, run->identifier, masked, waits, &sum);
    ah_trace_send_late(run, failed != NULL);
    ah_span_unref(run->root);
    run->root = NULL;
    ah_run_unref(run);
}

const char *ah_run_id(const struct ah_run *run)
{
    return run->id;
}

const char *ah_run_trace_id(const struct ah_run *run)
{
    return run->trace_id;
}

const char *ah_run_identifier(const struct ah_run *run)
{
    return run->identifier;
}

const char *ah_run_name(const struct ah_run *run)
{
    return run->name;
}

int64_t ah_run_key(const struct ah_run *run)
{
    return run->key;
}

bool ah_run_traced(const struct ah_run *run)
{
    return run->traced;
}

const char *ah_run_project(const struct ah_run *run)
{
    return run->project;
}

struct ah_span *ah_run_root(struct ah_run *run)
{
    return run->root;
}

const struct ah_run_totals *ah_run_totals(const struct ah_run *run)
{
    return &run->totals;
}

static int replace_text(char **slot, const char *text)
{
    char *copy = strdup(text ? text : "");
    if (!copy)
        return -1;
    free(*slot);
    *slot = copy;
    return 0;
}

int ah_run_set_identifier(struct ah_run *run, const char *identifier)
{
    return run->ended ? 0 : replace_text(&run->identifier, identifier);
}

void ah_run_add_tags(struct ah_run *run, const char *const *tags)
{
    for (; tags && *tags; tags++) {
        if (run->root)
            ah_span_tag(run->root, *tags);
        else if (!run->ended)
            ah_trace_add_tag(&run->tags, *tags);
    }
}

void ah_run_tags(const struct ah_run *run, const struct ah_span *span, struct ah_buf *to)
{
    const struct ah_span *from = span ? span : run ? run->root : NULL;
    const struct ah_buf *tags = from ? &from->tags : run ? &run->tags : NULL;
    if (tags && tags->n)
        ah_buf_addf(to, "[%s]", ah_buf_str(tags));
}

void ah_run_add_metadata(struct ah_run *run, const char *json, size_t n)
{
    if (ah_trace_is_open(run->root))
        ah_trace_add_members(&run->root->metadata, json, n);
}

void ah_run_set_name(struct ah_run *run, const char *name)
{
    if (!run->ended && *name && replace_text(&run->name, name) == 0)
        run->renamed = true;
}
