/* One host, seen from inside: what the program's commands and src/ext.c need beside the public functions of
 * agenthost.h, which host.c implements. Layers 6 and 7 only. */
#ifndef AH_HOST_H
#define AH_HOST_H

#include "core.h"
#include "err.h"
#include "luax.h"

#include <agenthost/agenthost.h>

struct ah_op;

struct ah_core *ah_host_core(struct ah_host *h);
struct ah_lua *ah_host_lua(struct ah_host *h);
/* A caller's struct that begins with its size, into ours: what it does not have is zero; what we do not know must
 * be. `least` is the size in the first version. -1: err. */
int ah_host_read_sized(void *to, size_t known, size_t least, const void *from, const char *name,
                       struct ah_error *err);
void ah_host_tell(struct ah_host_error *to, const struct ah_error *err); /* NULL is fine */
/* Turns the loop until the op is done; ah_host_stop cancels it. */
void ah_host_wait(struct ah_host *h, struct ah_op *op);
/* Runs Lua code of the program itself (a module's function) as a task without a run: require(module)
 * [function](arg as JSON text) -> its result as JSON text (malloc'd). For emulate and commands. */
char *ah_host_call(struct ah_host *h, const char *module, const char *function, const char *json,
                   struct ah_error *err);

#endif
