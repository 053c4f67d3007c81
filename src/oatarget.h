/* Where calls of model services go: base URL, key, headers, and which kind of server it is. Private to
 * openai.c; reads settings, sends nothing, knows no Lua. */
#ifndef AH_OATARGET_H
#define AH_OATARGET_H

#include "buf.h"
#include "core.h"
#include "err.h"
#include "http.h"
#include "json.h"
#include "provider.h"

struct ah_oatarget {
    char *base, *key;    /* key NULL: none is sent */
    const char *setting; /* that said so; "" = the default, or the script */
    bool litellm;
    struct ah_provider provider; /* what the server is taken for */
};

/* base and key as in struct ah_openai_req. *http_warned: whether plain http was warned of already. -1:
 * AH_CONFIG, the sentence names what is missing. */
int ah_oatarget_find(struct ah_core *core, const char *base, const char *key, bool *http_warned,
                     struct ah_oatarget *t, struct ah_error *err);
void ah_oatarget_drop(struct ah_oatarget *t);

#define AH_OAHEADERS_COUNT 40 /* ours and those of OPENAI_CUSTOM_HEADERS */
struct ah_oaheaders {
    struct ah_http_header list[AH_OAHEADERS_COUNT];
    size_t count;
    struct ah_buf bearer; /* "Bearer KEY" */
    struct ah_buf tags;   /* "one,two" */
    char *custom;         /* OPENAI_CUSTOM_HEADERS, cut into strings */
};
/* What a call is, for its headers. */
struct ah_oaheaders_of {
    bool stream, has_body;
    const char *span_id; /* "" = none */
    struct ah_json tags; /* an array, for LiteLLM */
};
/* They borrow from the settings, the target and of->span_id. Drop them also after -1. */
int ah_oaheaders_make(struct ah_oaheaders *h, struct ah_core *core, const struct ah_oatarget *t,
                      const struct ah_oaheaders_of *of, struct ah_error *err);
void ah_oaheaders_drop(struct ah_oaheaders *h);

#endif
