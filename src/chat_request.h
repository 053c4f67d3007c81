/* The request of a chat-completions service, made from what scripts give. Pure: JSON in, JSON out.
 *
 * Tools and messages come in our own shape or in OpenAI's; what leaves is OpenAI's, complete, and such
 * that the service will not refuse it for its form. Called by lua_openai.c. */
#ifndef AH_CHAT_REQUEST_H
#define AH_CHAT_REQUEST_H

#include "buf.h"
#include "err.h"
#include "json.h"

#define AH_CHAT_REQUEST_TOOLS_COUNT 128
#define AH_CHAT_REQUEST_NAME_BYTES 64

/* Names of tools as scripts know them, and as the service takes them ([a-zA-Z0-9_-], 1-64). */
struct ah_chat_name {
    char *name, *wire;
    size_t name_n;
};
struct ah_chat_names {
    struct ah_chat_name *items;
    size_t count, cap;
};
void ah_chat_names_drop(struct ah_chat_names *names);
/* The script's name of a wire name; NULL: not one of ours. */
const struct ah_chat_name *ah_chat_names_of_wire(const struct ah_chat_names *names, const char *wire,
                                                 size_t n);
const struct ah_chat_name *ah_chat_names_of(const struct ah_chat_names *names, const char *name, size_t n);
/* The form a name takes when nothing collides; `hashed`: always with the hash. */
void ah_chat_names_fit(const char *name, size_t n, bool hashed, char out[AH_CHAT_REQUEST_NAME_BYTES + 1]);

/* `tools`: an array of {name, description?, parameters? | input_schema?, strict?} or of wire tools.
 * Appends the wire array to `to` and fills names (all-zero before). -1: AH_NO_TOOLS for none,
 * AH_LIMIT for too many (with counts per source when the tools tell theirs), AH_INVALID for the rest. */
int ah_chat_request_tools(struct ah_json tools, struct ah_chat_names *names, struct ah_buf *to,
                          struct ah_error *err);
/* `messages`: an array of messages in our shape or the wire's. Appends the wire array. -1: AH_INVALID, with
 * the place ("messages[3]: ..."), also for tool calls without answers and answers without calls. */
int ah_chat_request_messages(struct ah_json messages, const struct ah_chat_names *names, struct ah_buf *to,
                             struct ah_error *err);
/* tool_choice: "auto", "none", "required", "any", a tool's name, or an object, as JSON. */
int ah_chat_request_choice(struct ah_json choice, const struct ah_chat_names *names, struct ah_buf *to,
                           struct ah_error *err);

#endif
