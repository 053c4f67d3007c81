/* What went in and out of a span, for people: a conversation as its messages, the tools that were offered as their
 * names, all else as the JSON it is (`--json` has every member). Called by `trace show --io`. Pure. */
#ifndef AH_SPANTEXT_H
#define AH_SPANTEXT_H

#include "json.h"

struct ah_buf;

/* Appends "  label    ..." and more lines of the same indent, each with its end. `v` is checked JSON; nothing in it
 * can steer a terminal. Absent: nothing. */
void ah_spantext_put(struct ah_buf *to, const char *label, struct ah_json v);

#endif
