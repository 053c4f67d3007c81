/* Money from tokens. Called by openai.c. Must never make up a price: what is not known is unknown, not zero. */
#include "oaprice.h"

#include <string.h>

/* One side of a call: all its tokens, and those of them that have a price of their own. */
struct side {
    const char *total, *details, *price, *special, *special_price, *audio_price;
};

static double number_of(struct ah_json object, const char *key, double otherwise)
{
    double v;
    return ah_json_num(ah_json_get(object, key), &v) && v >= 0 ? v : otherwise;
}

static double cost_of(const struct side *s, struct ah_json price, struct ah_json usage)
{
    struct ah_json details = ah_json_get(usage, s->details);
    double all = number_of(usage, s->total, -1), base = number_of(price, s->price, -1);
    double special = number_of(details, s->special, 0), audio = number_of(details, "audio", 0);
    double audio_price = number_of(price, s->audio_price, -1);
    if (all == 0)
        return 0;
    if (all < 0 || base < 0 || special + audio > all || (audio > 0 && audio_price < 0))
        return -1;
    for (struct ah_json_iter it = ah_json_iter(details); details.type == AH_JSON_OBJECT && ah_json_next(&it);)
        if (!ah_json_is(it.key, s->special) && !ah_json_is(it.key, "audio") && ah_json_truthy(it.value))
            return -1; /* priority, flex, images: not in the list */
    return ((all - special - audio) * base + special * number_of(price, s->special_price, base) +
            audio * (audio > 0 ? audio_price : 0)) /
           1e6;
}

static void put_cost(struct ah_buf *to, const char *key, double v)
{
    ah_buf_addf(to, ",\"%s\":%.10g", key, v);
}

int ah_oaprice_put_total(double total, struct ah_json usage, struct ah_buf *to)
{
    if (ah_json_count(usage) == 0)
        return -1;
    ah_buf_add(to, usage.p, usage.n - 1);
    put_cost(to, "total_cost", total);
    ah_buf_addc(to, '}');
    return to->failed ? -1 : 0;
}

double ah_oaprice_put(struct ah_json price, struct ah_json usage, struct ah_buf *to)
{
    static const struct side input = {"input_tokens", "input_token_details", "input",
                                      "cache_read",   "cached_input",        "audio_input"};
    static const struct side output = {"output_tokens", "output_token_details", "output",
                                       "reasoning",     "reasoning_output",     "audio_output"};
    double in = cost_of(&input, price, usage), out = cost_of(&output, price, usage);
    if (in < 0 || out < 0 || ah_json_count(usage) == 0)
        return -1;
    ah_buf_add(to, usage.p, usage.n - 1);
    put_cost(to, "input_cost", in);
    put_cost(to, "output_cost", out);
    put_cost(to, "total_cost", in + out);
    ah_buf_addc(to, '}');
    return to->failed ? -1 : in + out;
}
