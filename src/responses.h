/* OpenAI's Responses API behind the same chat: requests and answers translated. Pure.
 *
 * A chat request becomes a response request (stateless unless the script says `store`), and what comes back, whole
 * or as events, is fed to struct ah_chat as a chat completion, so that its rules hold here too. The items of the answer
 * are kept as they came: reasoning must be sent back with the calls that followed it. Called by openai.c. */
#ifndef AH_RESPONSES_H
#define AH_RESPONSES_H

#include "chat.h"
#include "provider.h"

/* A chat request as a request for a response, as this server takes it. -1: `to` is full. */
int ah_responses_write(const struct ah_provider *p, struct ah_json chat, bool stream, struct ah_buf *to);

#define AH_RESPONSES_ITEMS_COUNT 256
/* One answer that comes as events. */
struct ah_responses {
    struct ah_buf output;                /* its items: JSON array, closed at the end */
    struct ah_buf whole;                 /* the response object of the last event */
    bool told[AH_RESPONSES_ITEMS_COUNT]; /* a delta of this output_index came */
    size_t items;
};
void ah_responses_init(struct ah_responses *r);
void ah_responses_drop(struct ah_responses *r);

/* As ah_chat_event and ah_chat_whole, which they feed. */
int ah_responses_event(struct ah_responses *r, struct ah_chat *c, const char *name, const char *data,
                       size_t n, struct ah_error *err);
int ah_responses_whole(struct ah_responses *r, struct ah_chat *c, const char *body, size_t n,
                       struct ah_error *err);

#endif
