/* Any bytes as a body: no crash, parts lie inside it. Any bytes as parts: what is written is read. */
#include "buf.h"
#include "err.h"
#include "multipart.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BODY_MAX_BYTES ((size_t)16 << 20)
#define PARTS_MAX 16

struct range {
    const char *p;
    size_t n;
};
struct parts {
    struct range parts[PARTS_MAX];
    size_t count, next;
};
struct body {
    const char *p;
    size_t n;
};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static int on_any(void *arg, const struct ah_multipart_part *part)
{
    const struct body *body = arg;
    check(part->p >= body->p && part->p + part->n <= body->p + body->n);
    check(part->name && part->type && part->length >= -1);
    return part->n == 4 && memcmp(part->p, "STOP", 4) == 0;
}

static void check_reading(const char *p, size_t n)
{
    static const char *const boundaries[] = {"B", "agenthost-7c0d", "-"};
    for (size_t i = 0; i < sizeof boundaries / sizeof boundaries[0]; i++) {
        struct body body = {p, n};
        struct ah_error err = {0};
        if (ah_multipart_read(p, n, boundaries[i], on_any, &body, &err) != 0)
            check(err.kind == AH_PROTOCOL || err.kind == AH_CANCELLED);
        ah_err_drop(&err);
    }
}

static int on_written(void *arg, const struct ah_multipart_part *part)
{
    struct parts *parts = arg;
    check(parts->next < parts->count);
    struct range *wanted = &parts->parts[parts->next++];
    char name[32] = "part.";
    name[5] = (char)('a' + parts->next);
    check(strcmp(part->name, name) == 0 && strcmp(part->type, "application/json") == 0 && !part->filename);
    check(!part->encoded && part->length == (long long)wanted->n);
    check(part->n == wanted->n && memcmp(part->p, wanted->p, part->n) == 0);
    return 0;
}

/* The input cut at its zero bytes, a part each. The boundary is one that the input does not hold. */
static void check_writing(const char *p, size_t n)
{
    static const char boundary[] = "zq9-boundary-of-the-fuzzer";
    struct parts parts = {0};
    struct ah_buf b;
    if (memmem(p, n, boundary, sizeof boundary - 1))
        return;
    ah_buf_init(&b, BODY_MAX_BYTES);
    for (const char *end = p + n; p < end && parts.count < PARTS_MAX;) {
        const char *cut = memchr(p, '\0', (size_t)(end - p));
        size_t len = cut ? (size_t)(cut - p) : (size_t)(end - p);
        char name[32] = "part.";
        parts.parts[parts.count++] = (struct range){p, len};
        name[5] = (char)('a' + parts.count);
        check(ah_multipart_add(&b, boundary, name, NULL, p, len) == 0);
        p += len + (cut ? 1 : 0);
    }
    check(ah_multipart_end(&b, boundary) == 0);
    check(ah_multipart_read(b.p, b.n, boundary, on_written, &parts, NULL) == 0);
    check(parts.next == parts.count);
    /* cut anywhere, it is not whole */
    size_t shorter = (size_t)(unsigned char)b.p[b.n / 2] * b.n / 256;
    struct body body = {b.p, shorter};
    struct ah_error err = {0};
    check(ah_multipart_read(b.p, shorter < b.n - 2 ? shorter : 0, boundary, on_any, &body, &err) == -1);
    ah_err_drop(&err);
    ah_buf_drop(&b);
}

static void check_boundary(const char *s)
{
    char out[71];
    if (ah_multipart_boundary(s, out, sizeof out) == 0)
        check(strlen(out) >= 1 && strlen(out) <= 70 && !strpbrk(out, "\r\n"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *s = malloc(size + 1);
    char *exact = malloc(size ? size : 1);
    if (!s || !exact)
        abort();
    if (size) {
        memcpy(s, data, size);
        memcpy(exact, data, size);
    }
    s[size] = '\0';
    check_reading(exact, size);
    check_writing(exact, size);
    check_boundary(s);
    free(s);
    free(exact);
    return 0;
}
