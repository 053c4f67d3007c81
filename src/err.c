/* Errors as values: setting, copying, naming, and the exit code that each kind means.
 * Called by every layer. Never prints, never ends the process. */
#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int exit_code;
} kinds[AH_KIND_COUNT] = {
    [AH_NONE] = {"none", 0},
    [AH_NETWORK] = {"network", 4},
    [AH_TIMEOUT] = {"timeout", 4},
    [AH_HTTP] = {"http", 4},
    [AH_PROTOCOL] = {"protocol", 4},
    [AH_TRUNCATED] = {"truncated", 4},
    [AH_LIMIT] = {"limit", 4},
    [AH_CANCELLED] = {"cancelled", 130},
    [AH_AUTH] = {"auth", 4},
    [AH_CONFIG] = {"config", 3},
    [AH_NOT_FOUND] = {"not_found", 4},
    [AH_INVALID] = {"invalid", 4},
    [AH_RATE_LIMIT] = {"rate_limit", 4},
    [AH_QUOTA] = {"quota", 4},
    [AH_CONTEXT_OVERFLOW] = {"context_overflow", 4},
    [AH_REFUSED] = {"refused", 5},
    [AH_INVALID_OUTPUT] = {"invalid_output", 5},
    [AH_NEEDS_AUTH] = {"needs_auth", 11},
    [AH_ACCOUNT_NOT_ACTIVE] = {"account_not_active", 11},
    [AH_UNKNOWN_CONNECTION] = {"unknown_connection", 4},
    [AH_NO_TOOLS] = {"no_tools", 4},
    [AH_TOOL_ERROR] = {"tool_error", 4},
    [AH_OUTCOME_UNKNOWN] = {"outcome_unknown", 16},
    [AH_STEP_LIMIT] = {"step_limit", 13},
    [AH_BUDGET] = {"budget", 14},
    [AH_TIME_LIMIT] = {"time_limit", 15},
    [AH_LOOP] = {"loop", 12},
    [AH_NEEDS_APPROVAL] = {"needs_approval", 10},
    [AH_JOURNAL] = {"journal", 3},
    [AH_IO] = {"io", 3},
    [AH_DIVERGED] = {"diverged", 1},
    [AH_MEMORY] = {"memory", 1},
    [AH_SCRIPT] = {"script", 1},
};

int ah_err_set(struct ah_error *err, enum ah_kind kind, const char *fmt, ...)
{
    if (!err)
        return -1;
    ah_err_drop(err);
    err->kind = kind;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    return -1;
}

void ah_err_take_detail(struct ah_error *err, char *json)
{
    if (!err) {
        free(json);
        return;
    }
    free(err->detail);
    err->detail = json;
}

void ah_err_copy(struct ah_error *to, const struct ah_error *from)
{
    if (!to || to == from)
        return;
    ah_err_drop(to);
    *to = *from;
    to->detail = from->detail ? strdup(from->detail) : NULL;
}

void ah_err_move(struct ah_error *to, struct ah_error *from)
{
    if (to == from)
        return;
    if (to) {
        ah_err_drop(to);
        *to = *from;
        from->detail = NULL;
    }
    ah_err_drop(from);
}

void ah_err_drop(struct ah_error *err)
{
    if (!err)
        return;
    free(err->detail);
    *err = (struct ah_error){0};
}

const char *ah_err_kind_name(enum ah_kind kind)
{
    return (unsigned)kind < AH_KIND_COUNT ? kinds[kind].name : "none";
}

enum ah_kind ah_err_kind_of(const char *name)
{
    for (int i = 1; i < AH_KIND_COUNT; i++)
        if (name && strcmp(kinds[i].name, name) == 0)
            return (enum ah_kind)i;
    return AH_NONE;
}

int ah_err_exit_code(enum ah_kind kind)
{
    return (unsigned)kind < AH_KIND_COUNT ? kinds[kind].exit_code : 1;
}
