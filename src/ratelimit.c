/* One token bucket per model, filled by what the service says. Called by openai.c. Pure; never waits itself, and
 * never holds anybody back before the service has named its limits. See ratelimit.h. */
#include "ratelimit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MINUTE_MS 60000.0 /* what limits are counted by */

static struct ah_ratelimit_model *find(struct ah_ratelimit *r, const char *key)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->models[i].key, key) == 0)
            return &r->models[i];
    return NULL;
}

/* The place of a new model: a free one, or that of who was not asked for longest. */
static struct ah_ratelimit_model *add(struct ah_ratelimit *r, const char *key)
{
    struct ah_ratelimit_model *m = &r->models[0];
    if (r->count < AH_RATELIMIT_MODELS_COUNT)
        m = &r->models[r->count++];
    else
        for (size_t i = 1; i < r->count; i++)
            if (r->models[i].used_ms < m->used_ms)
                m = &r->models[i];
    memset(m, 0, sizeof *m);
    snprintf(m->key, sizeof m->key, "%s", key);
    return m;
}

static void fill(struct ah_ratelimit_bucket *b, int64_t now_ms)
{
    if (now_ms > b->at_ms)
        b->left += (double)(now_ms - b->at_ms) * b->per_ms;
    if (b->left > b->limit)
        b->left = b->limit;
    b->at_ms = now_ms;
}

static void tell(struct ah_ratelimit_bucket *b, int64_t now_ms, const struct ah_ratelimit_told *told)
{
    if (!(told->limit > 0 && told->left >= 0) || isinf(told->limit) || isinf(told->left))
        return;
    b->known = true;
    b->limit = told->limit;
    b->left = told->left - b->queued;
    b->at_ms = now_ms;
    b->per_ms = told->limit / MINUTE_MS;
    if (told->reset_ms > 0 && told->left < told->limit)
        b->per_ms = (told->limit - told->left) / (double)told->reset_ms;
}

void ah_ratelimit_tell(struct ah_ratelimit *r, const char *key, int64_t now_ms,
                       const struct ah_ratelimit_told *requests, const struct ah_ratelimit_told *tokens)
{
    struct ah_ratelimit_model *m = find(r, key);
    if (strlen(key) >= AH_RATELIMIT_KEY_BYTES ||
        (!(requests->limit > 0 && requests->left >= 0) && !(tokens->limit > 0 && tokens->left >= 0)))
        return;
    if (!m)
        m = add(r, key);
    m->used_ms = now_ms;
    tell(&m->requests, now_ms, requests);
    tell(&m->tokens, now_ms, tokens);
}

/* More than the whole bucket holds is asked for as the whole bucket: the service may refuse it by itself. */
static double need_of(const struct ah_ratelimit_bucket *b, double need)
{
    return b->known && need > b->limit ? b->limit : need;
}

static double take(struct ah_ratelimit_bucket *b, int64_t now_ms, double need)
{
    if (!b->known)
        return 0;
    fill(b, now_ms);
    b->left -= need_of(b, need);
    return b->left < 0 && b->per_ms > 0 ? -b->left / b->per_ms : 0;
}

int64_t ah_ratelimit_take(struct ah_ratelimit *r, const char *key, int64_t now_ms, double tokens,
                          int64_t max_ms)
{
    struct ah_ratelimit_model *m = find(r, key);
    if (!m)
        return 0;
    m->used_ms = now_ms;
    double wait = take(&m->requests, now_ms, 1), other = take(&m->tokens, now_ms, tokens);
    if (other > wait)
        wait = other;
    if (wait < 1 || max_ms < 1)
        return 0;
    m->requests.queued += need_of(&m->requests, 1);
    m->tokens.queued += need_of(&m->tokens, tokens);
    return wait < (double)max_ms ? (int64_t)wait + 1 : max_ms;
}

static void leave(struct ah_ratelimit_bucket *b, double need, bool cancelled)
{
    need = need_of(b, need);
    b->queued = b->queued > need ? b->queued - need : 0;
    if (cancelled && b->known)
        b->left += need;
}

void ah_ratelimit_leave(struct ah_ratelimit *r, const char *key, double tokens, bool cancelled)
{
    struct ah_ratelimit_model *m = find(r, key);
    if (!m)
        return;
    leave(&m->requests, 1, cancelled);
    leave(&m->tokens, tokens, cancelled);
}
