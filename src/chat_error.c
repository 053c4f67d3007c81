/* What a failed answer of a chat-completions service means: kind, code, sentence, worth a retry or not.
 * Called by chat.c and openai.c. Pure; must accept any bytes. See chat_error.h. */
#include "chat_error.h"

#include "buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_QUOTE_CHARS 200 /* of a body that is no JSON */
#define WAIT_MAX_MS ((double)INT64_C(1000) * 86400 * 365)

/* What could be read of a failure. */
struct failure {
    char message[2048], type[64], code[64], param[128];
    int status;
};

/* LiteLLM writes absent members as the texts "None" and "null". */
static void copy_present(struct ah_json v, char *out, size_t size)
{
    if (v.type == AH_JSON_NUMBER)
        snprintf(out, size, "%.*s", (int)(v.n < size ? v.n : size - 1), v.p);
    else
        ah_json_copy(v, out, size);
    if (strcmp(out, "None") == 0 || strcmp(out, "null") == 0)
        out[0] = '\0';
}

/* FastAPI: a text, or [{"loc": [...], "msg": "..."}]. */
static void read_detail(struct ah_json detail, struct failure *f)
{
    struct ah_json msg = ah_json_path(detail, "0", "msg", NULL);

    if (detail.type == AH_JSON_OBJECT)
        msg = ah_json_get(detail, "message");
    copy_present(detail.type == AH_JSON_STRING ? detail : msg, f->message, sizeof f->message);
}

static void read_object(struct ah_json v, struct failure *f)
{
    copy_present(ah_json_get(v, "message"), f->message, sizeof f->message);
    copy_present(ah_json_get(v, "type"), f->type, sizeof f->type);
    copy_present(ah_json_get(v, "code"), f->code, sizeof f->code);
    copy_present(ah_json_get(v, "param"), f->param, sizeof f->param);
}

static void read_value(struct ah_json body, struct failure *f)
{
    struct ah_json error = ah_json_get(body, "error");

    if (body.type == AH_JSON_STRING) {
        copy_present(body, f->message, sizeof f->message);
    } else if (error.type == AH_JSON_OBJECT) {
        read_object(error, f);
    } else {
        read_object(body, f);
        if (error.type == AH_JSON_STRING && f->message[0] == '\0')
            copy_present(ah_json_get(body, "error_description"), f->message, sizeof f->message);
        if (error.type == AH_JSON_STRING && f->message[0] == '\0')
            copy_present(error, f->message, sizeof f->message);
        else if (error.type == AH_JSON_STRING && f->code[0] == '\0')
            copy_present(error, f->code, sizeof f->code);
        if (f->message[0] == '\0')
            read_detail(ah_json_get(body, "detail"), f);
    }
    /* A status as a code: LiteLLM and OpenRouter. Inside a 200 it is the only status there is. */
    char *end;
    long status = strtol(f->code, &end, 10);

    if (f->code[0] != '\0' && *end == '\0' && status >= 400 && status <= 599) {
        if (f->status < 400)
            f->status = (int)status;
        f->code[0] = '\0';
    }
}

static bool holds_any(const char *text, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcasestr(text, *list) != NULL)
            return true;
    return false;
}

static bool is_any(const struct failure *f, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(f->code, *list) == 0 || strcmp(f->type, *list) == 0)
            return true;
    return false;
}

static bool is_overflow(const struct failure *f)
{
    static const char *const codes[] = {"context_length_exceeded", NULL};
    static const char *const texts[] = {"maximum context length",
                                        "exceeds the context window",
                                        "context_length_exceeded",
                                        "ContextWindowExceededError",
                                        "Input tokens exceed the configured limit",
                                        "exceeds the available context size",
                                        NULL};

    return is_any(f, codes) || holds_any(f->message, texts);
}

static bool is_quota(const struct failure *f)
{
    static const char *const codes[] = {"insufficient_quota",
                                        "credit_balance_exhausted",
                                        "organization_spend_limit_exceeded",
                                        "project_spend_limit_exceeded",
                                        "organization_usage_limit_exceeded",
                                        "budget_exceeded",
                                        NULL};
    static const char *const texts[] = {"BudgetExceeded", "Budget has been exceeded",
                                        "exceeded your current quota", "Request too large for", NULL};

    return is_any(f, codes) || holds_any(f->message, texts);
}

static bool is_filtered(const struct failure *f)
{
    static const char *const codes[] = {"content_filter", "content_policy_violation", NULL};
    static const char *const texts[] = {"ContentPolicyViolationError", NULL};

    return is_any(f, codes) || holds_any(f->message, texts);
}

/* The status a failure without one stands for, from its type or from LiteLLM's class names. */
static int guess_status(const struct failure *f)
{
    static const struct {
        const char *word;
        int status;
    } words[] = {{"RateLimitError", 429},
                 {"rate_limit", 429},
                 {"AuthenticationError", 401},
                 {"authentication_error", 401},
                 {"auth_error", 401},
                 {"invalid_api_key", 401},
                 {"PermissionDeniedError", 403},
                 {"NotFoundError", 404},
                 {"model_not_found", 404},
                 {"BadRequestError", 400},
                 {"invalid_request", 400},
                 {"UnprocessableEntity", 422},
                 {"server_error", 500},
                 {"InternalServerError", 500},
                 {"overloaded", 503},
                 {"ServiceUnavailableError", 503},
                 {"litellm.Timeout", 408}};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(f->code, words[i].word) != NULL || strstr(f->type, words[i].word) != NULL)
            return words[i].status;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strncmp(f->message, "litellm.", 8) == 0 && strstr(f->message, words[i].word) != NULL)
            return words[i].status;
    return 0;
}

static enum ah_kind kind_of_status(int status, bool *retryable)
{
    *retryable = status == 408 || status == 409 || status == 429 || status >= 500;
    switch (status) {
    case 429:
        return AH_RATE_LIMIT;
    case 401:
    case 403:
        return AH_AUTH;
    case 404:
        return AH_NOT_FOUND;
    case 400:
    case 413:
    case 422:
        return AH_INVALID;
    default:
        return AH_HTTP;
    }
}

static enum ah_kind classify(const struct failure *f, bool *retryable)
{
    *retryable = false;
    if (is_overflow(f))
        return AH_CONTEXT_OVERFLOW;
    if (is_quota(f))
        return AH_QUOTA;
    if (is_filtered(f))
        return AH_REFUSED;
    if (f->status == 400 && strcmp(f->type, "no_db_connection") == 0)
        return AH_AUTH; /* LiteLLM without a database knows its master key only */
    return kind_of_status(f->status != 0 ? f->status : guess_status(f), retryable);
}

/* What to do next, where that is not in the service's own text. */
static const char *advice_of(enum ah_kind kind)
{
    switch (kind) {
    case AH_AUTH:
        return "check the API key (OPENAI_API_KEY, or LITELLM_API_KEY) and what it may do";
    case AH_NOT_FOUND:
        return "check the model's name and the base URL";
    case AH_QUOTA:
        return "this is not healed by waiting: check plan, budget and the size of the request";
    case AH_CONTEXT_OVERFLOW:
        return "shorten the conversation or the tools' results";
    default:
        return NULL;
    }
}

static void write_message(const struct failure *f, struct ah_error *err)
{
    const char *advice = advice_of(err->kind);
    size_t n = strlen(f->message);
    char status[32] = "";

    while (n != 0 && (f->message[n - 1] == '.' || f->message[n - 1] == '\n' || f->message[n - 1] == ' '))
        n--;
    if (f->status != 0)
        snprintf(status, sizeof status, " (%d)", f->status);
    snprintf(err->message, sizeof err->message, "the model service failed%s: %.*s%s%s", status, (int)n,
             f->message, advice != NULL ? "; " : "", advice != NULL ? advice : "");
}

static void settle(struct failure *f, struct ah_error *err)
{
    bool retryable;
    int64_t wait;

    if (f->message[0] == '\0' && f->code[0] == '\0' && f->type[0] == '\0')
        snprintf(f->message, sizeof f->message, "no reason was given");
    else if (f->message[0] == '\0')
        snprintf(f->message, sizeof f->message, "%s", f->code[0] != '\0' ? f->code : f->type);
    err->kind = classify(f, &retryable);
    err->retryable = retryable;
    snprintf(err->code, sizeof err->code, "%s", f->code[0] != '\0' ? f->code : f->type);
    wait = retryable ? ah_chat_error_wait(f->message) : 0;
    if (wait > err->retry_after_ms)
        err->retry_after_ms = wait;
    if (f->status != 0)
        err->status = f->status;
    write_message(f, err);
}

/* HTML and other texts: one line of it, without tags. */
static void quote_body(const char *p, size_t n, char *out, size_t size)
{
    size_t at = 0;
    bool tag = false, space = true;

    for (size_t i = 0; i < n && at + 1 < size && at < BODY_QUOTE_CHARS; i++) {
        unsigned char c = (unsigned char)p[i];

        if (c == '<')
            tag = true;
        if (!tag && c > ' ' && c != 0x7f) {
            out[at++] = (char)c;
            space = false;
        } else if (!space) {
            out[at++] = ' ';
            space = true;
        }
        if (c == '>')
            tag = false;
    }
    /* Not inside a character. */
    while (at != 0 && !ah_json_is_utf8(out, at))
        at--;
    out[at] = '\0';
}

void ah_chat_error_read(int status, const char *body, size_t n, struct ah_error *err)
{
    struct failure f = {.status = status};
    struct ah_json v;

    if (ah_json_check(body != NULL ? body : "", n, 0, &v, NULL) == 0)
        read_value(v, &f);
    else
        quote_body(body, n, f.message, sizeof f.message);
    settle(&f, err);
}

void ah_chat_error_value(struct ah_json body, struct ah_error *err)
{
    struct failure f = {0};

    if (err == NULL)
        return;
    read_value(body, &f);
    settle(&f, err);
}

bool ah_chat_error_is(struct ah_json body)
{
    static const char *const keys[] = {"error", "object", "choices", "detail", NULL};
    struct ah_json found[4];

    ah_json_pick(body, keys, found);
    if (ah_json_truthy(found[0]) || ah_json_is(found[1], "error"))
        return true;
    return found[2].type == AH_JSON_NONE && ah_json_truthy(found[3]);
}

void ah_chat_error_param(const char *body, size_t n, char *out, size_t size)
{
    struct failure f = {0};
    struct ah_json v;

    out[0] = '\0';
    if (ah_json_check(body != NULL ? body : "", n, 0, &v, NULL) != 0)
        return;
    read_value(v, &f);
    snprintf(out, size, "%s", f.param);
    if (out[0] == '\0' && strstr(f.message, "stream_options") != NULL)
        snprintf(out, size, "stream_options");
    else if (out[0] == '\0' && strstr(f.message, "encoding_format") != NULL)
        snprintf(out, size, "encoding_format");
    else if (out[0] == '\0' && strstr(f.message, "Unsupported parameter: 'max_tokens'") != NULL)
        snprintf(out, size, "max_tokens"); /* as a gateway wraps it */
}

/* --- "try again in ..." ------------------------------------------------------------------------------ */

/* Milliseconds of a unit at *p, or 0; moves *p behind it. */
static double read_unit(const char **p)
{
    static const struct {
        const char *word;
        double ms;
    } units[] = {{"milliseconds", 1}, {"seconds", 1e3}, {"second", 1e3}, {"minutes", 6e4}, {"minute", 6e4},
                 {"hours", 36e5},     {"hour", 36e5},   {"days", 864e5}, {"day", 864e5},   {"ms", 1},
                 {"s", 1e3},          {"m", 6e4},       {"h", 36e5},     {"d", 864e5}};
    const char *at = *p + strspn(*p, " ");

    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t n = strlen(units[i].word);

        if (strncmp(at, units[i].word, n) == 0) {
            *p = at + n;
            return units[i].ms;
        }
    }
    return 0;
}

int64_t ah_chat_error_wait(const char *message)
{
    static const char lead[] = "try again in ";
    const char *p = strcasestr(message, lead);

    return p != NULL ? ah_chat_error_duration(p + sizeof lead - 1) : 0;
}

int64_t ah_chat_error_duration(const char *p)
{
    double sum = 0;

    while (*p >= '0' && *p <= '9') {
        double value = 0, place = 1, unit;

        for (; *p >= '0' && *p <= '9'; p++)
            value = value * 10 + (*p - '0');
        if (*p == '.')
            for (p++; *p >= '0' && *p <= '9'; p++)
                value += (*p - '0') * (place /= 10);
        if ((unit = read_unit(&p)) == 0)
            break;
        sum += value * unit;
    }
    if (!(sum > 0 && sum < WAIT_MAX_MS))
        return 0;
    /* Up, but not for the noise of decimal fractions. */
    int64_t ms = (int64_t)sum;

    return sum - (double)ms > 1e-6 ? ms + 1 : ms;
}
