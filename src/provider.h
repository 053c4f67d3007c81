/* How servers that speak OpenAI's protocol differ, as switches, and requests written by them. Pure.
 *
 * A row of one table per server that is known; a script may set each switch (`provider = {...}`), and
 * openai.c flips one when a server refuses what it says. Requests come in OpenAI's own form and leave in
 * the server's. Called by oatarget.c, openai.c and lua_oaopts.c. */
#ifndef AH_PROVIDER_H
#define AH_PROVIDER_H

#include "buf.h"
#include "err.h"
#include "json.h"
#include "url.h"

enum ah_provider_word {
    AH_PROVIDER_AS_GIVEN, /* sent as the script wrote it */
    AH_PROVIDER_FIRST,    /* max_tokens; system */
    AH_PROVIDER_SECOND,   /* max_completion_tokens; developer */
};

struct ah_provider {
    const char *name; /* of the row */
    /* What the limit of an answer, and the role of instructions, are called. */
    enum ah_provider_word max_tokens, system_role;
    bool stream_usage;        /* stream_options.include_usage is understood */
    bool strict;              /* `strict` of tools and schemas is understood */
    bool parallel_tool_calls; /* the parameter is understood */
    bool null_content;        /* of an assistant message with calls: null, else "" */
    bool nested_schema;       /* response_format has OpenAI's member json_schema, else `schema` beside type */
    bool base64;              /* embeddings may be asked for as base64 */
};

/* NULL: no such row. "openai", "litellm", "ollama", "llama.cpp", "vllm", "openrouter", "deepseek", "mistral", "other". */
const struct ah_provider *ah_provider_named(const char *name);
/* By host and port; `other` for all that is not known. */
const struct ah_provider *ah_provider_of(const struct ah_url *base);
bool ah_provider_is_openai(struct ah_url_part host);
/* A row's name as a JSON string, or an object with any of the switches and `name` over what *p holds. -1:
 * AH_INVALID names the switch and what it may be. */
int ah_provider_set(struct ah_provider *p, struct ah_json given, struct ah_error *err);
/* A chat request as this server takes it; `stream` adds what asks for a stream. -1: `to` is full. */
int ah_provider_write(const struct ah_provider *p, struct ah_json body, bool stream, struct ah_buf *to);
/* The same of embeddings: vectors as base64 where nobody says otherwise. */
int ah_provider_write_embeddings(const struct ah_provider *p, struct ah_json body, struct ah_buf *to);

#endif
