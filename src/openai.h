/* Calls of OpenAI, and of every server that speaks the same: LiteLLM, Ollama, vLLM.
 *
 * One function starts a call; the op that it answers holds the assembled message, or the answer's JSON,
 * when it is done.
 * Each call is a span in the shape of wrap_openai and an effect in the journal, made here. Knows no Lua;
 * decides nothing about agents. Called by lua_openai.c and lua_oaplain.c. */
#ifndef AH_OPENAI_H
#define AH_OPENAI_H

#include "chat.h"
#include "core.h"
#include "http.h"
#include "op.h"
#include "trace.h"

struct ah_openai; /* opaque, one per host */

struct ah_openai *ah_openai_new(struct ah_core *core); /* NULL: out of memory. Reads nothing yet */
void ah_openai_free(struct ah_openai *o);

/* Whether a call could be made: resolves base URL and key. -1: AH_CONFIG, the sentence names what is
 * missing. base_url and api_key as in struct ah_openai_req. */
int ah_openai_check(struct ah_openai *o, const char *base_url, const char *api_key, struct ah_error *err);
/* Where calls go, and the name of the setting that says so ("" = the default); for `doctor`. */
int ah_openai_where(struct ah_openai *o, struct ah_buf *base_url, const char **setting, struct ah_error *err);

enum ah_openai_api {
    AH_OPENAI_CHAT,
    AH_OPENAI_RESPONSES,
    AH_OPENAI_EMBEDDINGS,
    AH_OPENAI_MODERATIONS,
    AH_OPENAI_MODELS
};

/* What is asked for. Everything is copied but the callbacks and arg. */
struct ah_openai_req {
    const char *base_url; /* NULL: LITELLM_BASE_URL, OPENAI_BASE_URL, OPENAI_API_BASE, api.openai.com */
    const char *api_key;  /* NULL: the one that belongs to the base URL */
    enum ah_openai_api api;
    const char *id;       /* of one model; NULL: all of them */
    const char *provider; /* JSON of ah_provider_set, or NULL: what is known of the server */
    const char *price;    /* JSON of what tokens cost (oaprice.h), or NULL: unknown */
    const char *body;     /* the request as a JSON object, without stream; NULL: of models */
    size_t body_n;
    bool stream;
    int64_t connect_ms, first_byte_ms, idle_ms, total_ms; /* as in http.h */
    struct ah_http_retry retry;
    struct ah_run *run;      /* NULL: no effect is journalled */
    struct ah_span *parent;  /* NULL: the run's root */
    const char *name;        /* of the span; NULL = ChatOpenAI */
    const char *prompt_file; /* NULL or where the prompt came from, and its hash */
    const char *prompt_sha256;
    /* Pieces as they arrive, of streams; from the poll phase: copy, call no Lua. May be NULL. */
    void (*on_delta)(void *arg, const struct ah_chat_delta *d);
    /* True: the reader has enough; nothing more is read until ah_openai_resume. May be NULL. */
    bool (*is_full)(void *arg);
    void *arg;
};

struct ah_openai_op {
    struct ah_op op;     /* first. On failure op.err.detail may hold {"partial": text} */
    struct ah_chat chat; /* the answer: ah_chat_first() once op is done without error */
    struct ah_buf body;  /* the answer as it came, where it is no stream: one JSON object */
    struct ah_chat_tokens tokens;
    bool has_usage;
    struct ah_buf usage_metadata; /* JSON, in LangSmith's words; empty when nothing is known */
    struct ah_buf gateway;        /* JSON: what LiteLLM's headers say of the call; empty: nothing */
    double cost;                  /* USD; < 0: unknown */
    int attempts;
    int64_t waited_ms;
    char request_id[128];
};

/* Queues it: nothing leaves before the journal has it. NULL: err. One reference for the caller. */
struct ah_openai_op *ah_openai_call(struct ah_openai *o, const struct ah_openai_req *req,
                                    struct ah_error *err);
/* The items of a response, a JSON array, to be sent back with it; empty: there are none. */
const struct ah_buf *ah_openai_items(const struct ah_openai_op *op);
void ah_openai_resume(struct ah_openai_op *op);
/* The reader is about to go: no callback is called any more. */
void ah_openai_forget(struct ah_openai_op *op);

#endif
