/* Finds texts that look like credentials. Called by lswire.c (upload) and by what shows traces; the journal
 * keeps the text. Must not need memory, must stay linear in the text, and must leave JSON text valid: no
 * match begins or ends inside an escape, or runs over the end of a JSON string.
 *
 * A false alarm hides something that a person wanted to read, so each shape asks for more than its prefix:
 * a length, or letters and digits mixed as chance mixes them. */
#include "shapes.h"

#include "buf.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#define VALUE_MAX 4096 /* of a password; longer is no password */
#define PEM_MAX 16384

struct text {
    const char *p;
    size_t n;
};

/* What was found at a place: [skip..skip+n) from there is to be hidden. */
struct match {
    const char *kind;
    size_t skip, n;
};

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

static bool is_token(char c)
{
    return is_word(c) || c == '-';
}

static char at(struct text t, size_t i)
{
    return i < t.n ? t.p[i] : '\0';
}

/* Whether a word may begin at i: not in the middle of another. The letter of an escape is none: \n, \u000a,
 * %3D. */
static bool begins_word(struct text t, size_t i)
{
    if (i == 0 || !is_token(t.p[i - 1]))
        return true;
    if (i >= 2 && t.p[i - 2] == '\\' && strchr("nrtbf", t.p[i - 1]))
        return true;
    if (i >= 3 && t.p[i - 3] == '%' && isxdigit((unsigned char)t.p[i - 2]) &&
        isxdigit((unsigned char)t.p[i - 1]))
        return true;
    return i >= 6 && t.p[i - 6] == '\\' && t.p[i - 5] == 'u';
}

static bool has(struct text t, size_t i, const char *prefix)
{
    size_t n = strlen(prefix);
    return i + n <= t.n && memcmp(t.p + i, prefix, n) == 0;
}

static size_t run_of(struct text t, size_t i, bool (*fits)(char), const char *others)
{
    size_t n = 0;
    while (i + n < t.n && t.p[i + n] && (fits(t.p[i + n]) || strchr(others, t.p[i + n])))
        n++;
    return n;
}

static bool is_alnum(char c)
{
    return isalnum((unsigned char)c) != 0;
}

/* Letters of both cases and digits: chance makes them, people seldom do. */
static bool is_mixed(const char *p, size_t n)
{
    bool lower = false, upper = false, digit = false;
    for (size_t i = 0; i < n; i++) {
        lower |= islower((unsigned char)p[i]) != 0;
        upper |= isupper((unsigned char)p[i]) != 0;
        digit |= isdigit((unsigned char)p[i]) != 0;
    }
    return lower && upper && digit;
}

static bool has_digit(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isdigit((unsigned char)p[i]))
            return true;
    return false;
}

/* --- keys by their prefix ---------------------------------------------------------------------------- */

/* A prefix, then at least `min` characters of a token (`exact`: and no more). */
struct prefix {
    const char *text, *kind;
    size_t min;
    bool exact;
    const char *others; /* beside letters, digits, _ and - */
};

static const struct prefix prefixes[] = {
    {"sk-ant-", "anthropic-key", 20, false, ""},
    {"sk-proj-", "openai-key", 20, false, ""},
    {"sk-svcacct-", "openai-key", 20, false, ""},
    {"sk-admin-", "openai-key", 20, false, ""},
    {"lsv2_pt_", "langsmith-key", 32, false, ""},
    {"lsv2_sk_", "langsmith-key", 32, false, ""},
    {"ls__", "langsmith-key", 16, false, ""},
    {"ghp_", "github-token", 36, false, ""},
    {"gho_", "github-token", 36, false, ""},
    {"ghu_", "github-token", 36, false, ""},
    {"ghs_", "github-token", 36, false, ""},
    {"ghr_", "github-token", 36, false, ""},
    {"github_pat_", "github-token", 60, false, ""},
    {"glpat-", "gitlab-token", 20, false, ""},
    {"AKIA", "aws-key-id", 16, true, ""},
    {"ASIA", "aws-key-id", 16, true, ""},
    {"ABIA", "aws-key-id", 16, true, ""},
    {"ACCA", "aws-key-id", 16, true, ""},
    {"AIza", "google-key", 35, true, ""},
    {"ya29.", "google-token", 30, false, "."},
    {"xoxb-", "slack-token", 20, false, ""},
    {"xoxa-", "slack-token", 20, false, ""},
    {"xoxp-", "slack-token", 20, false, ""},
    {"xoxr-", "slack-token", 20, false, ""},
    {"xoxs-", "slack-token", 20, false, ""},
    {"xapp-", "slack-token", 20, false, ""},
    {"sk_live_", "stripe-key", 16, false, ""},
    {"sk_test_", "stripe-key", 16, false, ""},
    {"rk_live_", "stripe-key", 16, false, ""},
    {"rk_test_", "stripe-key", 16, false, ""},
    {"npm_", "npm-token", 36, true, ""},
    {"pypi-AgEIcHlwaS", "pypi-token", 16, false, ""},
    {"SG.", "sendgrid-key", 60, false, "."},
    {NULL, NULL, 0, false, NULL},
};

/* Lower case and digits only: AKIA... is upper case, words in capitals are not digits. */
static bool is_key_id(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isupper((unsigned char)p[i]) && !isdigit((unsigned char)p[i]))
            return false;
    return true;
}

static bool match_prefix(struct text t, size_t i, struct match *m)
{
    for (const struct prefix *x = prefixes; x->text; x++) {
        if (t.p[i] != x->text[0] || !has(t, i, x->text))
            continue;
        size_t head = strlen(x->text), n = run_of(t, i + head, is_token, x->others);
        const char *rest = t.p + i + head;
        if (n < x->min || (x->exact && n != x->min) || !has_digit(rest, n))
            continue;
        if (strcmp(x->kind, "aws-key-id") == 0 && !is_key_id(rest, n))
            continue;
        *m = (struct match){x->kind, 0, head + n};
        return true;
    }
    /* The plain sk- of many services: long, or mixed. */
    if (has(t, i, "sk-")) {
        size_t n = run_of(t, i + 3, is_token, "");
        if (n >= 20 &&
            (is_mixed(t.p + i + 3, n) || (run_of(t, i + 3, is_alnum, "") >= 32 && has_digit(t.p + i, n)))) {
            *m = (struct match){"api-key", 0, n + 3};
            return true;
        }
    }
    return false;
}

/* Three base64url parts, the first of which begins {" */
static bool match_jwt(struct text t, size_t i, struct match *m)
{
    size_t n = 0;
    if (!has(t, i, "eyJ"))
        return false;
    for (int part = 0; part < 3; part++) {
        size_t k = run_of(t, i + n, is_token, "");
        if (k < (part == 2 ? 8u : 10u) || (part < 2 && at(t, i + n + k) != '.'))
            return false;
        n += k + (part < 2);
    }
    *m = (struct match){"jwt", 0, n};
    return true;
}

static bool match_pem(struct text t, size_t i, struct match *m)
{
    static const char begin[] = "-----BEGIN ", end[] = "PRIVATE KEY";
    if (!has(t, i, begin))
        return false;
    size_t n = sizeof begin - 1, label = run_of(t, i + n, is_alnum, " ");
    if (label < sizeof end - 1 || !memmem(t.p + i + n, label, end, sizeof end - 1))
        return false;
    /* Up to what no such text holds: the quote that ends a JSON string, or the end mark. */
    n += label + run_of(t, i + n + label, is_token, "");
    while (n < PEM_MAX && i + n < t.n && (is_token(t.p[i + n]) || strchr("+/=\\\r\n\t :,.", t.p[i + n]))) {
        if (t.p[i + n] == '\\' && !strchr("nrt\\/", at(t, i + n + 1)))
            break;
        if (has(t, i + n, "-----END ")) {
            n += 9;
            n += run_of(t, i + n, is_alnum, " ");
            n += run_of(t, i + n, is_token, "");
            break;
        }
        n++;
    }
    while (n > 0 && t.p[i + n - 1] == '\\') /* of an escape that goes on */
        n--;
    *m = (struct match){"private-key", 0, n};
    return true;
}

/* "Bearer x", "Basic x": the word stays. */
static bool match_scheme(struct text t, size_t i, struct match *m)
{
    size_t word = strncasecmp(t.p + i, "bearer", t.n - i < 6 ? t.n - i : 6) == 0 ? 6 : 0;
    if (!word || i + word >= t.n)
        return false;
    size_t gap = has(t, i + word, "%20") ? 3 : run_of(t, i + word, is_token, "") ? 0 : at(t, i + word) == ' ';
    size_t n = gap ? run_of(t, i + word + gap, is_token, ".+/=~") : 0;
    if (n < 16 || !has_digit(t.p + i + word + gap, n))
        return false;
    *m = (struct match){"bearer", word + gap, n};
    return true;
}

/* scheme://user:password@host */
static bool match_userinfo(struct text t, size_t i, struct match *m)
{
    static const char stop[] = " \t\r\n\"'\\/?#<>[]{}";
    if (!has(t, i, "://"))
        return false;
    size_t user = 3, n = 0;
    while (user < 200 && i + user < t.n && t.p[i + user] != ':' && t.p[i + user] != '@' &&
           !strchr(stop, t.p[i + user]))
        user++;
    if (at(t, i + user) != ':')
        return false;
    user++;
    while (n < VALUE_MAX && i + user + n < t.n && t.p[i + user + n] != '@' && t.p[i + user + n] &&
           !strchr(stop, t.p[i + user + n]))
        n++;
    if (n == 0 || at(t, i + user + n) != '@')
        return false;
    *m = (struct match){"password", user, n};
    return true;
}

static bool match_webhook(struct text t, size_t i, struct match *m)
{
    static const char host[] = "hooks.slack.com/services/";
    size_t n = has(t, i, host) ? run_of(t, i + sizeof host - 1, is_token, "/") : 0;
    if (n < 30)
        return false;
    *m = (struct match){"slack-webhook", sizeof host - 1, n};
    return true;
}

/* --- values behind a name ------------------------------------------------------------------------------ */

/* Letters only, compared without case, _, - and blanks between them. */
static const char *const names[] = {
    "password",     "passwd",    "clientsecret",    "secretkey", "secret",      "apikey",
    "privatekey",   "accesskey", "secretaccesskey", "authtoken", "accesstoken", "refreshtoken",
    "sessiontoken", "idtoken",   "bottoken",        "apitoken",  NULL};

/* How long one of the names is at i; 0: none. */
static size_t name_at(struct text t, size_t i)
{
    size_t best = 0;
    for (const char *const *name = names; *name; name++) {
        const char *p = *name;
        size_t n = 0;
        for (; *p && i + n < t.n; n++) {
            char c = t.p[i + n];
            if (tolower((unsigned char)c) == *p)
                p++;
            else if (n == 0 || (c != '_' && c != '-'))
                break;
        }
        if (!*p && n > best && !is_token(at(t, i + n)))
            best = n;
    }
    return best;
}

static size_t slashes_at(struct text t, size_t i)
{
    size_t n = 0;
    while (at(t, i + n) == '\\')
        n++;
    return n;
}

static size_t blanks_at(struct text t, size_t i)
{
    size_t n = 0;
    while (at(t, i + n) == ' ')
        n++;
    return n;
}

/* A mask, a variable, a placeholder. */
static bool is_no_value(struct text t, size_t i)
{
    static const char *const marks[] = {"[secret:", "[redacted", "***", "${", "{{", "<", "env.", "os.", NULL};
    for (const char *const *mark = marks; *mark; mark++)
        if (has(t, i, *mark))
            return true;
    return false;
}

/* A word, as a schema or a form says, is none. */
static bool looks_chosen(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isdigit((unsigned char)p[i]) || strchr("!$%&/+=#*^~@", p[i]))
            return true;
    return false;
}

/* Whether a JSON string ends at the " at i: then one of these follows. In other text it may be part of a value. */
static bool ends_string(struct text t, size_t i)
{
    return i + 1 >= t.n || strchr(",:]}", t.p[i + 1]);
}

/* A value in quotes that were escaped as often as the name's: it ends at the next such quote. */
static size_t quoted_value(struct text t, size_t i, size_t slashes, char quote)
{
    for (size_t n = 0; n < VALUE_MAX && i + n < t.n; n++) {
        if (isspace((unsigned char)t.p[i + n]))
            return 0;
        size_t k = slashes_at(t, i + n);
        if (at(t, i + n + k) == quote && k <= slashes)
            return n;
        if (at(t, i + n + k) == '"' && k == 0 && ends_string(t, i + n))
            return 0;
        n += k; /* and what it escapes */
    }
    return 0;
}

static bool match_named(struct text t, size_t i, struct match *m)
{
    size_t n = name_at(t, i);
    if (!n)
        return false;
    size_t slashes = slashes_at(t, i + n);
    bool in_quotes = at(t, i + n + slashes) == '"' || at(t, i + n + slashes) == '\'';
    n += in_quotes ? slashes + 1 : 0;
    n += blanks_at(t, i + n);
    char sign = at(t, i + n);
    if (sign != '=' && sign != ':')
        return false;
    n++;
    n += blanks_at(t, i + n);
    slashes = slashes_at(t, i + n);
    char quote = at(t, i + n + slashes);
    if (quote == '"' || quote == '\'') {
        n += slashes + 1;
        size_t k = is_no_value(t, i + n) ? 0 : quoted_value(t, i + n, slashes, quote);
        if (k < 8 || !looks_chosen(t.p + i + n, k))
            return false;
        *m = (struct match){"secret", n, k};
        return true;
    }
    size_t k = slashes ? 0 : run_of(t, i + n, is_token, "./+=~!$%*^");
    if (k < 8 || !has_digit(t.p + i + n, k) || is_no_value(t, i + n))
        return false;
    *m = (struct match){"secret", n, k};
    return true;
}

/* --- the search ------------------------------------------------------------------------------------------ */

/* Most places of a text are looked at only here. Every shape has three characters, so one of the pairs behind its first
 * stands at every second place: tables say whether two characters may be the second and third of a shape, or its first
 * and second; and then, whether three may begin one. Case does not count, nor do signs: `match_at` is exact. */
#define BIT(c) (1u << (((c)-1) & 31))
#define OF(c) BIT(c)
#define TWO(c, set) [c] = (set), [(c)-32] = (set)
static const uint32_t seconds[256] = {
    TWO('a', OF('b') | OF('c') | OF('i') | OF('k') | OF('p') | OF('s') | OF('u')), /* AKIA, apikey */
    TWO('b', OF('e') | OF('o')),                                                   /* bearer, bottoken */
    TWO('c', OF('l')),                                                             /* clientsecret */
    TWO('e', OF('y')),                                                             /* eyJ */
    TWO('g', OF('h') | OF('i') | OF('l')),                                         /* ghp_, glpat- */
    TWO('h', OF('o')),                                                             /* hooks.slack.com */
    TWO('i', OF('d')),                                                             /* idtoken */
    TWO('l', OF('s')),                                                             /* lsv2_ */
    TWO('n', OF('p')),                                                             /* npm_ */
    TWO('p', OF('a') | OF('r') | OF('y')),                                         /* password, pypi- */
    TWO('r', OF('e') | OF('k')),                                                   /* refreshtoken, rk_ */
    TWO('s', OF('e') | OF('g') | OF('k')),                                         /* secret, SG., sk- */
    TWO('x', OF('a') | OF('o')),                                                   /* xapp-, xoxb- */
    TWO('y', OF('a')),                                                             /* ya29. */
    ['-'] = OF('m'), /* "--": '-' is 'm' less 64 */
    [':'] = OF('o'), /* ":/": '/' is 'o' less 64 */
};
/* The third, by the first. A name's letters may have _ or - between them. */
#define SIGNS (OF('_') | OF('-'))
static const uint32_t thirds[256] = {
    TWO('a', OF('c') | OF('i') | OF('t') | OF('z') | SIGNS),
    TWO('b', OF('a') | OF('t') | SIGNS),
    TWO('c', OF('i') | SIGNS),
    TWO('e', OF('j')),
    TWO('g', OF('o') | OF('p') | OF('r') | OF('s') | OF('t') | OF('u')),
    TWO('h', OF('o')),
    TWO('i', OF('t') | SIGNS),
    TWO('l', OF('v') | OF('_')),
    TWO('n', OF('m')),
    TWO('p', OF('i') | OF('p') | OF('s') | SIGNS),
    TWO('r', OF('f') | OF('_') | SIGNS),
    TWO('s', OF('.') | OF('c') | OF('s') | SIGNS),
    TWO('x', OF('p') | OF('x')),
    TWO('y', OF('2')),
    ['-'] = OF('-'),
    [':'] = OF('/'),
};
/* The third, by the second. */
static const uint32_t behind[256] = {
    TWO('a', OF('2') | OF('p') | OF('s') | SIGNS),             /* ya29., xapp-, password */
    TWO('b', OF('i')),                                         /* ABIA */
    TWO('c', OF('c') | SIGNS),                                 /* ACCA, accesskey */
    TWO('d', OF('t') | SIGNS),                                 /* idtoken */
    TWO('e', OF('a') | OF('c') | OF('f') | OF('s') | SIGNS),   /* bearer, secret, refreshtoken */
    TWO('g', OF('.')),                                         /* SG. */
    TWO('h', OF('o') | OF('p') | OF('r') | OF('s') | OF('u')), /* ghp_ */
    TWO('i', OF('t') | OF('z')),                               /* github_pat_, AIza */
    TWO('k', OF('i') | OF('-') | OF('_')),                     /* AKIA, sk-, rk_ */
    TWO('l', OF('i') | OF('p') | SIGNS),                       /* clientsecret, glpat- */
    TWO('o', OF('o') | OF('t') | OF('x') | SIGNS),             /* hooks, bottoken, xoxb- */
    TWO('p', OF('i') | OF('m') | SIGNS),                       /* apikey, npm_ */
    TWO('r', OF('i') | SIGNS),                                 /* privatekey */
    TWO('s', OF('i') | OF('v') | OF('_')),                     /* ASIA, lsv2_, ls__ */
    TWO('u', OF('t') | SIGNS),                                 /* authtoken */
    TWO('y', OF('j') | OF('p')),                               /* eyJ, pypi- */
    ['-'] = OF('-'),
    ['/'] = OF('/'),
};
#define FOUR(c) BIT(c), BIT((c) + 1), BIT((c) + 2), BIT((c) + 3)
#define SIXTEEN(c) FOUR(c), FOUR((c) + 4), FOUR((c) + 8), FOUR((c) + 12)
#define SIXTY_FOUR(c) SIXTEEN(c), SIXTEEN((c) + 16), SIXTEEN((c) + 32), SIXTEEN((c) + 48)
static const uint32_t bits[256] = {SIXTY_FOUR(0), SIXTY_FOUR(64), SIXTY_FOUR(128), SIXTY_FOUR(192)};
#undef BIT
#undef OF
#undef TWO
#undef SIGNS
#undef FOUR
#undef SIXTEEN
#undef SIXTY_FOUR

static bool match_at(struct text t, size_t i, struct match *m)
{
    char c = t.p[i];
    if (c == ':')
        return match_userinfo(t, i, m);
    if (c == '-')
        return at(t, i + 1) == '-' && match_pem(t, i, m);
    if (!isalpha((unsigned char)c))
        return false;
    bool begins = begins_word(t, i);
    if (begins &&
        (match_prefix(t, i, m) || match_jwt(t, i, m) || match_scheme(t, i, m) || match_webhook(t, i, m)))
        return true;
    /* dbPassword, DB_PASSWORD, aws-secret: a part of a name is enough. */
    bool part = begins || at(t, i - 1) == '_' || at(t, i - 1) == '-' ||
                (isupper((unsigned char)c) && islower((unsigned char)t.p[i - 1]));
    return part && strchr("pcsabrPCSABRiI", c) && match_named(t, i, m);
}

static bool may_begin(struct text t, size_t i)
{
    const unsigned char *p = (const unsigned char *)t.p + i;
    return i + 2 < t.n && seconds[p[0]] & bits[p[1]] && thirds[p[0]] & bits[p[2]];
}

static bool find(struct text t, size_t from, size_t *where, struct match *m)
{
    for (size_t i = from; i + 2 < t.n; i += 2) {
        unsigned char a = (unsigned char)t.p[i + 1], b = (unsigned char)t.p[i + 2];
        if (!((seconds[a] | behind[a]) & bits[b]))
            continue;
        for (size_t k = i; k <= i + 1; k++) {
            if (may_begin(t, k) && match_at(t, k, m)) {
                *where = k;
                return true;
            }
        }
    }
    return false;
}

bool ah_shapes_found(const char *p, size_t n)
{
    struct match m;
    size_t where;
    return find((struct text){p, n}, 0, &where, &m);
}

int ah_shapes_mask(const char *p, size_t n, struct ah_buf *to)
{
    struct text t = {p, n};
    struct match m;
    size_t done = 0, where;
    while (find(t, done, &where, &m)) {
        ah_buf_add(to, p + done, where + m.skip - done);
        ah_buf_addf(to, "[redacted:%s]", m.kind);
        done = where + m.skip + m.n;
    }
    ah_buf_add(to, p + done, n - done);
    return to->failed ? -1 : 0;
}
