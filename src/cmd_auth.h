/* What cmd_auth.c shares with other sub-commands that meet accounts. */
#ifndef AH_CMD_AUTH_H
#define AH_CMD_AUTH_H

#include "cmd.h"

/* ah_cmd_fail, and below it the authorization link that came with the error, if one did. */
int ah_cmd_auth_fail(struct ah_cmd_ctx *ctx, const struct ah_error *err);
/* Whom the command is about: connection may be NULL. */
struct ah_scalekit_who;
struct ah_scalekit_who ah_cmd_auth_who(const struct ah_cmd_ctx *ctx, const char *connection);

#endif
