/* The content of a message in parts: texts, pictures, sounds, files. Pure. Called by chat_request.c. */
#ifndef AH_CHAT_PARTS_H
#define AH_CHAT_PARTS_H

#include "err.h"
#include "json.h"

/* Checks what is surely wrong of an array of parts; types that are not known pass: gateways have more. `at`
 * is the message's number, from 1. -1: AH_INVALID names message and part, and says how it is written. */
int ah_chat_parts_check(struct ah_json parts, size_t at, struct ah_error *err);

#endif
