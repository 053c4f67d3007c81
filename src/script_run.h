/* What a running script may ask about itself: arguments, options, folder. Filled by runner.c, read by
 * lua_host.c. Plain data, layer 4. */
#ifndef AH_SCRIPT_RUN_H
#define AH_SCRIPT_RUN_H

#include <agenthost/agenthost.h>

struct ah_script_run {
    const char *path;                   /* as given */
    const char *folder;                 /* "." when the path has none */
    const char *name;                   /* without folder and .lua */
    const char *const *args;            /* NULL-terminated */
    const struct ah_host_pair *options; /* ends with a NULL name; flags that scripts may read */
    const char *identifier;             /* --user, or NULL */
};

#endif
