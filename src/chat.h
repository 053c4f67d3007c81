/* The answer of a chat-completions service, assembled: one JSON body, or the events of a stream.
 *
 * Pure: no I/O, no clock, no Lua; chance (ids that the service forgot) comes from the ah_ids given.
 * The rules, and what they are good for, are those of a stream that may be odd in every way known
 * (entries without index, one index for all calls, ids that come twice, arguments as objects, ends
 * without end mark): deltas become calls once, arguments are parsed once, after the end, strictly.
 * Called by openai.c. */
#ifndef AH_CHAT_H
#define AH_CHAT_H

#include "buf.h"
#include "err.h"
#include "json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ah_ids;

#define AH_CHAT_CALLS_COUNT 128   /* in one answer; the services' own limit */
#define AH_CHAT_CHOICES_COUNT 128 /* likewise */
#define AH_CHAT_TEXT_BYTES ((size_t)32 << 20)
#define AH_CHAT_NAME_BYTES ((size_t)4096) /* an id or a function's name */

/* A tool call that the model asks for. After ah_chat_end: either args or invalid is set. */
struct ah_chat_call {
    int64_t index; /* the service's own, when indexed */
    bool indexed;
    struct ah_buf id, name; /* name as the service knows it: chat_request.h maps it back */
    struct ah_buf raw;      /* arguments, byte for byte as the model wrote them */
    char *args;             /* the arguments as one JSON object, or NULL */
    size_t args_n;
    char *invalid;  /* why the call must not run, a sentence; or NULL */
    bool repaired;  /* raw control characters in strings were escaped in args */
    bool unwrapped; /* the arguments were a JSON string that held the object */
    bool custom;    /* a free-text tool's call */
};

enum ah_chat_finish {
    AH_CHAT_UNFINISHED, /* no finish_reason came */
    AH_CHAT_STOP,
    AH_CHAT_LENGTH,
    AH_CHAT_TOOL_CALLS,
    AH_CHAT_CONTENT_FILTER,
    AH_CHAT_OTHER
};

struct ah_chat_choice {
    int64_t index;
    struct ah_buf content, refusal, reasoning;
    bool has_content, has_refusal;
    bool reasoning_content; /* the member was called reasoning_content, not reasoning */
    char finish_text[32];   /* as it came */
    enum ah_chat_finish finish;
    struct ah_chat_call *calls;
    size_t call_count, call_cap;
};

enum ah_chat_delta_kind { AH_CHAT_CONTENT, AH_CHAT_REFUSAL, AH_CHAT_REASONING, AH_CHAT_CALL };
/* A piece of the first choice, as it arrives. */
struct ah_chat_delta {
    enum ah_chat_delta_kind kind;
    const char *text; /* of a call: its piece of the arguments */
    size_t n;
    size_t call;                  /* position of the call, from 0 */
    const struct ah_chat_call *c; /* the call so far, or NULL */
};

struct ah_chat {
    struct ah_ids *ids;
    void (*on_delta)(void *arg, const struct ah_chat_delta *d); /* may be NULL */
    void *arg;
    struct ah_chat_choice *choices;
    size_t choice_count;
    char id[128], object[48], model[128], tier[32], fingerprint[64];
    int64_t created;
    bool has_created, has_tier, has_fingerprint;
    struct ah_buf usage; /* JSON of the last usage that was not null */
    bool streamed;       /* began as a stream */
    bool whole;          /* no stream: each entry of tool_calls is a call of its own */
    bool done;           /* [DONE] was seen: nothing more is read */
    bool flagged;        /* complete, but without a finish_reason */
    bool ended;          /* ah_chat_end has settled it */
};

void ah_chat_init(struct ah_chat *c, struct ah_ids *ids);
void ah_chat_drop(struct ah_chat *c);
/* Forgets everything but ids, on_delta and arg: another attempt begins. */
void ah_chat_reset(struct ah_chat *c);

/* One event of a stream (`name` may be NULL; "error" makes it a failure). 0: taken (also when it brings nothing). -1: the stream failed: an error event
 * (classified as ah_chat_error_read does), something that is no JSON, or a limit. Events after [DONE]
 * are ignored. */
int ah_chat_event(struct ah_chat *c, const char *name, const char *data, size_t n, struct ah_error *err);
/* A whole answer that is no stream. -1: not JSON, an error in place of an answer, no choices. */
int ah_chat_whole(struct ah_chat *c, const char *body, size_t n, struct ah_error *err);
/* The input is over: decides and settles (ids, arguments). -1: AH_TRUNCATED (neither [DONE] nor
 * a finish_reason came) or AH_MEMORY. Once. */
int ah_chat_end(struct ah_chat *c, struct ah_error *err);
/* Whether the data of an unfinished last event is worth reading: for ah_sse_end. */
bool ah_chat_complete(const char *data, size_t n);
/* Whether nothing that matters can come any more: [DONE], or a finish_reason of the first choice. */
bool ah_chat_finished(const struct ah_chat *c);

/* The choice that feeds an agent: index 0, else the first; NULL before the first came. */
const struct ah_chat_choice *ah_chat_first(const struct ah_chat *c);
const char *ah_chat_finish_name(enum ah_chat_finish f); /* "stop", "tool_calls" ..., "other" */

/* The response as one JSON object without usage, as the services answer when nobody asks for a
 * stream: for spans and the journal. With `usage` the usage object is in it. */
int ah_chat_write(const struct ah_chat *c, bool usage, struct ah_buf *to);

/* Token counts of a usage object, and usage_metadata in LangSmith's words. */
struct ah_chat_tokens {
    int64_t input, output, total;
    double cost; /* usage.cost in USD; < 0: unknown */
};
/* 0: *to got the object. -1: `usage` holds no counts (to is untouched, tokens are zero). */
int ah_chat_usage(struct ah_json usage, const char *tier, struct ah_buf *to, struct ah_chat_tokens *tokens);

#endif
