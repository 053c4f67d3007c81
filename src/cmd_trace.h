/* What the files of `agenthost trace` share. Layer 7. */
#ifndef AH_CMD_TRACE_H
#define AH_CMD_TRACE_H

#include "cmd.h"
#include "store.h"

/* A run of the journal, copied. */
struct ah_cmd_trace_run {
    int64_t key, dest, first_seq;
    char id[AH_UUID_BYTES], name[200], project[300];
    bool traced, emulated;
    enum ah_store_run_state state;
    enum ah_delivery delivery;
};
/* By id, a part of it, or "last". -1: err. */
int ah_cmd_trace_find(struct ah_cmd_ctx *ctx, const char *id, struct ah_cmd_trace_run *to,
                      struct ah_error *err);
const char *ah_cmd_trace_delivery_name(enum ah_delivery d);
const char *ah_cmd_trace_state_name(enum ah_store_run_state s);

/* Sub-commands in files of their own: cmd_tracels.c, cmd_traceread.c. */
extern const struct ah_command ah_cmd_tracels, ah_cmd_traceread_diff, ah_cmd_traceread_tail,
    ah_cmd_traceread_export, ah_cmd_traceread_gc;

#endif
