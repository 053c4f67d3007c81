/* What a failed answer of a chat-completions service means. Pure.
 *
 * The services agree on little: OpenAI, LiteLLM, FastAPI, Ollama and proxies each have a body of
 * their own. One order of questions works on all of them: context overflow, then money, then the status. */
#ifndef AH_CHAT_ERROR_H
#define AH_CHAT_ERROR_H

#include "err.h"
#include "json.h"

/* Sets kind, code, message and retryable of *err from a body with a failing status; raises
 * retry_after_ms to what the text asks for. What the transport knows (status, request_id, attempts,
 * waited_ms, retry_after_ms) is kept. Any body will do: HTML, empty, cut. */
void ah_chat_error_read(int status, const char *body, size_t n, struct ah_error *err);
/* The same from a parsed value that came with status 200 (in a stream, or in place of an answer). */
void ah_chat_error_value(struct ah_json body, struct ah_error *err);
/* Whether a parsed answer is really a failure: a truthy `error`, or FastAPI's lone `detail`. */
bool ah_chat_error_is(struct ah_json body);
/* "try again in 1.574s", "... in 6m0s", "... in 20 seconds": milliseconds, rounded up; 0: none. */
int64_t ah_chat_error_wait(const char *message);
/* The same of a text that begins with it: "6m0s", "12ms". */
int64_t ah_chat_error_duration(const char *text);
/* The first member or item a 400 complains of ("stream_options"), "" when it does not say. */
void ah_chat_error_param(const char *body, size_t n, char *out, size_t size);

#endif
