/* LangSmith's wire form of runs (spec/langsmith-api.md 2 and 3). Pure: bytes in, bytes out.
 *
 * A run is made from its two events in the journal; their values are passed on as the bytes they are.
 * The same events always make the same bytes: a batch that is sent again must not differ. Called by
 * lssend_*.c and langsmith.c. */
#ifndef AH_LSWIRE_H
#define AH_LSWIRE_H

#include "buf.h"
#include "ids.h"
#include "json.h"
#include "tracing.h"

#include <stdbool.h>
#include <stdint.h>

#define AH_LSWIRE_BOUNDARY_BYTES 32
#define AH_LSWIRE_RUNS_COUNT 100                 /* in one request: the service's default */
#define AH_LSWIRE_RUNS_MAX 500                   /* the most that it may allow */
#define AH_LSWIRE_BATCH_BYTES ((size_t)20971520) /* the same; one larger run goes alone */
#define AH_LSWIRE_BODY_BYTES ((size_t)192 << 20) /* no request is larger than this */

enum ah_lswire_field {
    AH_LSWIRE_ID,
    AH_LSWIRE_TRACE_ID,
    AH_LSWIRE_PARENT,
    AH_LSWIRE_DOTTED,
    AH_LSWIRE_NAME,
    AH_LSWIRE_RUN_TYPE,
    AH_LSWIRE_START_TIME,
    AH_LSWIRE_END_TIME,
    AH_LSWIRE_EXAMPLE,
    AH_LSWIRE_TAGS,
    AH_LSWIRE_METADATA,
    AH_LSWIRE_INPUTS,
    AH_LSWIRE_OUTPUTS,
    AH_LSWIRE_EVENTS,
    AH_LSWIRE_EXTRA,
    AH_LSWIRE_ERROR,
    AH_LSWIRE_ATTACHMENTS,
    AH_LSWIRE_CLEAN, /* what the script's anonymizer made of the others: it alone is written */
    AH_LSWIRE_FIELDS
};

/* One run: what the start said, overlaid by what the end said. Borrows the texts it was read from. */
struct ah_lswire_run {
    struct ah_json field[AH_LSWIRE_FIELDS];
    const char *project;           /* session_name */
    bool new_inputs;               /* the end replaced the start's */
    bool patch;                    /* its create was sent before */
    struct ah_tracing_rules rules; /* applied to what is written */
    const char *remap; /* NULL, or from which other ids are made: a copy of a run in another project */
    size_t share;      /* larger values are cut to this; 0: none is */
    char id[AH_UUID_BYTES];
};

/* `end` NULL: has not ended. Checks what the service would refuse: one bad run refuses a whole batch.
 * -1: AH_INVALID with a sentence. */
int ah_lswire_read(struct ah_lswire_run *run, const char *start, size_t start_n, const char *end,
                   size_t end_n, struct ah_error *err);

/* Of a run with an anonymizer: what that did not see is withheld. For spans whose texts do not say so themselves. */
void ah_lswire_withhold(struct ah_lswire_run *run);

/* The run gets other ids, always the same ones for the same `project` (borrowed), as the SDKs do it for copies. */
void ah_lswire_remap(struct ah_lswire_run *run, const char *project);

/* Makes its values small enough for `room` bytes, the largest first; a marker says what is missing (lscut.h). */
void ah_lswire_cut(struct ah_lswire_run *run, size_t room);

/* Appends a field's JSON as it may be seen, by run->rules. */
void ah_lswire_value(struct ah_buf *to, const struct ah_lswire_run *run, enum ah_lswire_field f);

/* The run as one JSON object, with all its fields in place. */
void ah_lswire_object(struct ah_buf *to, const struct ah_lswire_run *run);

/* A request body that runs are added to. All-zero is a dropped one. */
struct ah_lswire_body {
    struct ah_buf to;
    struct ah_buf patches, scratch;
    size_t runs;
    char boundary[AH_LSWIRE_BOUNDARY_BYTES]; /* "" = JSON for /runs/batch */
};
void ah_lswire_begin(struct ah_lswire_body *b, int64_t batch, bool multipart);
/* Appends a run. 1: not added, it would be larger than `max` (0: than any request may be). -1: no memory. */
int ah_lswire_add(struct ah_lswire_body *b, const struct ah_lswire_run *run, size_t max);
int ah_lswire_finish(struct ah_lswire_body *b); /* b->to is the body. -1: no memory */
void ah_lswire_drop(struct ah_lswire_body *b);

/* What a refusal says: {"error":...}, {"detail":...} or the first line of other text. */
void ah_lswire_words(const char *body, size_t n, char *out, size_t size);
/* The address of LangSmith's pages for an API address (spec 6.5), without a trailing slash. -1: cut. */
int ah_lswire_host(const char *endpoint, char *out, size_t size);

#endif
