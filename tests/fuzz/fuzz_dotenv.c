/* Any bytes: no crash; errors begin with a line; what is read, written again in quotes, reads the same. */
#include "buf.h"
#include "dotenv.h"
#include "err.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PAIRS_MAX_BYTES ((size_t)256 << 20)
#define FILE_MAX_BYTES ((size_t)900 << 10) /* what is written again must stay a .env file */

struct result {
    struct ah_buf pairs;  /* as they were read */
    struct ah_buf quoted; /* as a .env file */
};

static const char *on_lookup(void *arg, const char *name)
{
    (void)arg;
    return name[0] == 'H' ? "/home $NOT \"expanded\" 'again' \\n" : name[0] == 'E' ? "" : NULL;
}

static void check_name(const char *name)
{
    size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789");
    if (!n || name[n] || (name[0] >= '0' && name[0] <= '9'))
        abort();
}

static int on_pair(void *arg, int line, const char *name, const char *value, size_t n)
{
    struct result *r = arg;
    check_name(name);
    if (line < 1)
        abort();
    if (strlen(value) != n)
        abort();
    ah_buf_addf(&r->pairs, "%s=%zu:%s\n", name, n, value);
    if (!strchr(value, '\'')) {
        ah_buf_addf(&r->quoted, "%s='%s'\n", name, value);
        return 0;
    }
    ah_buf_addf(&r->quoted, "export %s = \"", name);
    for (; *value; value++) {
        if (strchr("\\\"$", *value))
            ah_buf_addc(&r->quoted, '\\');
        ah_buf_addc(&r->quoted, *value);
    }
    ah_buf_adds(&r->quoted, "\" # comment\n");
    return 0;
}

static int parse(const char *p, size_t n, struct result *r, struct ah_error *err)
{
    ah_buf_init(&r->pairs, PAIRS_MAX_BYTES);
    ah_buf_init(&r->quoted, PAIRS_MAX_BYTES);
    char *copy = malloc(n ? n : 1);
    if (!copy)
        abort();
    if (n)
        memcpy(copy, p, n);
    int rc = ah_dotenv_parse(copy, n, on_lookup, on_pair, r, err);
    free(copy);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct result first, second = {0};
    struct ah_error err = {0};
    int rc = parse((const char *)data, size, &first, &err);
    if (rc != 0 && (err.kind != AH_CONFIG || strncmp(err.message, "line ", 5) != 0))
        abort();
    if (first.pairs.failed || first.quoted.failed)
        abort();
    /* The pairs before an error are pairs as well. */
    if (first.quoted.n < FILE_MAX_BYTES) {
        ah_err_drop(&err);
        if (parse(ah_buf_str(&first.quoted), first.quoted.n, &second, &err) != 0)
            abort();
        if (second.pairs.n != first.pairs.n ||
            strcmp(ah_buf_str(&first.pairs), ah_buf_str(&second.pairs)) != 0)
            abort();
    }
    ah_err_drop(&err);
    ah_buf_drop(&first.pairs);
    ah_buf_drop(&first.quoted);
    ah_buf_drop(&second.pairs);
    ah_buf_drop(&second.quoted);
    return 0;
}
