/* The sender: moves spans from the journal to LangSmith. Called by langsmith.c; lives in the loop by
 * itself, woken by the journal's commits. Keeps no spans: the journal is the queue. */
#ifndef AH_LSSEND_H
#define AH_LSSEND_H

#include "core.h"
#include "err.h"
#include "http.h"
#include "op.h"

#include <stdint.h>

struct ah_lssend; /* opaque */

struct ah_lssend *ah_lssend_new(struct ah_core *core, struct ah_error *err);
void ah_lssend_free(struct ah_lssend *s);
/* As ah_langsmith_flush, _waiting, _wake, _set_pace. */
struct ah_op *ah_lssend_flush(struct ah_lssend *s, int64_t timeout_ms);
int64_t ah_lssend_waiting(struct ah_lssend *s);
void ah_lssend_wake(struct ah_lssend *s);
void ah_lssend_set_pace(struct ah_lssend *s, int64_t gather_ms, int64_t early_ms);

/* What each request to LangSmith carries; values are borrowed. Returns how many. */
#define AH_LSSEND_HEADERS 4
size_t ah_lssend_headers(const char *key, const char *workspace, const char *content_type,
                         struct ah_http_header out[AH_LSSEND_HEADERS]);

#endif
