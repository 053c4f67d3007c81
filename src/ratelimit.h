/* One token bucket per model, shared by all who ask it, filled by what the service says of its limits. Pure: the
 * time is given. Called by openai.c.
 *
 * Who wants to send takes what the request needs, and is told how long to wait until the bucket has it: in the
 * order of asking, and rather than being refused. Before the service has said anything nobody waits. */
#ifndef AH_RATELIMIT_H
#define AH_RATELIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AH_RATELIMIT_MODELS_COUNT 64
#define AH_RATELIMIT_KEY_BYTES 256

/* Requests, or tokens. */
struct ah_ratelimit_bucket {
    bool known;
    double limit, left, per_ms; /* left may be below zero: somebody waits for it */
    double queued;              /* taken by those who wait: the service does not know of them */
    int64_t at_ms;              /* when `left` was true */
};
struct ah_ratelimit_model {
    char key[AH_RATELIMIT_KEY_BYTES]; /* base URL and model */
    struct ah_ratelimit_bucket requests, tokens;
    int64_t used_ms;
};
struct ah_ratelimit {
    struct ah_ratelimit_model models[AH_RATELIMIT_MODELS_COUNT];
    size_t count;
};

/* What the headers of an answer say; negative: not said. reset_ms: until the bucket is full. */
struct ah_ratelimit_told {
    double limit, left;
    int64_t reset_ms;
};
void ah_ratelimit_tell(struct ah_ratelimit *r, const char *key, int64_t now_ms,
                       const struct ah_ratelimit_told *requests, const struct ah_ratelimit_told *tokens);
/* Takes one request and its tokens; milliseconds to wait before sending, at most max_ms. */
int64_t ah_ratelimit_take(struct ah_ratelimit *r, const char *key, int64_t now_ms, double tokens,
                          int64_t max_ms);
/* Who was told to wait sends now, or never (cancelled: what it took comes back). */
void ah_ratelimit_leave(struct ah_ratelimit *r, const char *key, double tokens, bool cancelled);

#endif
