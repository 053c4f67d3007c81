/* agenthost trace: what the journal holds about runs. First version: compiles. */
#include "cmd.h"

int ah_cmd_verify(struct ah_cmd_ctx *ctx, const char *run_id, int64_t timeout_ms)
{
    (void)ctx;
    (void)run_id;
    (void)timeout_ms;
    return 0;
}

int ah_cmd_trace_run(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    (void)ctx;
    (void)argc;
    (void)argv;
    return ah_cmd_usage("trace", "not yet");
}
