/* The journal's memory before it is written. Called by store.c for every event, so it must stay cheap:
 * no allocation per event, one hash per long text. Must never lose the order of changes. */
#include "queue.h"

#include "clock.h"
#include "json.h"
#include "limits.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_BYTES ((size_t)256 << 20)    /* of bodies, and of texts */
#define QUEUE_KEEP_BYTES ((size_t)1 << 20) /* memory kept from one commit to the next */
#define KNOWN_COUNT 16384u                 /* recent hashes; a power of two */
#define KNOWN_AGE_US (600 * 1000000LL)     /* older texts are stored again: gc may have taken them */
#define RECENT_BYTES ((size_t)32 << 10)    /* of a text that is kept to be compared */
#define MESSAGE_MIN_BYTES 96 /* messages are named again each turn, so even short ones are worth a row */

int ah_queue_init(struct ah_queue *q)
{
    *q = (struct ah_queue){0};
    ah_buf_init(&q->bytes, QUEUE_BYTES);
    ah_buf_init(&q->texts, QUEUE_BYTES);
    q->known = calloc(KNOWN_COUNT, sizeof *q->known);
    q->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    q->ctx = EVP_MD_CTX_new();
    if (q->known && q->md && q->ctx)
        return 0;
    ah_queue_drop(q);
    return -1;
}

void ah_queue_drop(struct ah_queue *q)
{
    ah_buf_drop(&q->bytes);
    ah_buf_drop(&q->texts);
    free(q->ops);
    free(q->refs);
    free(q->blobs);
    free(q->known);
    for (size_t i = 0; i < AH_QUEUE_RECENT_COUNT; i++)
        free(q->recent[i].p);
    EVP_MD_free(q->md);
    EVP_MD_CTX_free(q->ctx);
    *q = (struct ah_queue){0};
}

void ah_queue_sha256(struct ah_queue *q, const void *p, size_t n, unsigned char out[32])
{
    unsigned int length = 0;
    if (EVP_DigestInit_ex2(q->ctx, q->md, NULL) != 1 || EVP_DigestUpdate(q->ctx, p, n) != 1 ||
        EVP_DigestFinal_ex(q->ctx, out, &length) != 1)
        memset(out, 0, 32);
}

static struct ah_recent *recent_of(struct ah_queue *q, const char *p, size_t n)
{
    uint64_t head, middle, tail;
    memcpy(&head, p, sizeof head);
    memcpy(&middle, p + n / 2, sizeof middle);
    memcpy(&tail, p + n - sizeof tail, sizeof tail);
    uint64_t h = (head ^ middle * 31 ^ tail * 961 ^ n) * UINT64_C(0x9e3779b97f4a7c15);
    return &q->recent[h >> 32 & (AH_QUEUE_RECENT_COUNT - 1)];
}

/* The hash of a text. What comes again and again (the tools, the system prompt) is known by its bytes,
 * which are quicker to compare than to hash. */
static void hash_text(struct ah_queue *q, const char *p, size_t n, unsigned char sha[32])
{
    if (n < AH_BLOB_MIN_BYTES || n > RECENT_BYTES) {
        ah_queue_sha256(q, p, n, sha);
        return;
    }
    struct ah_recent *r = recent_of(q, p, n);
    if (r->n != n || memcmp(r->p, p, n) != 0) {
        char *copy = r->n == n ? r->p : malloc(n);
        ah_queue_sha256(q, p, n, sha);
        if (!copy)
            return;
        if (copy != r->p)
            free(r->p);
        *r = (struct ah_recent){.p = copy, .n = n};
        memcpy(r->p, p, n);
        memcpy(r->sha, sha, sizeof r->sha);
        return;
    }
    memcpy(sha, r->sha, sizeof r->sha);
}

static size_t home_of(const unsigned char *sha)
{
    size_t h;
    memcpy(&h, sha, sizeof h);
    return h & (KNOWN_COUNT - 1);
}

/* Two places per hash. The slot that has it, else the older of the two. */
static struct ah_known *slot_of(struct ah_queue *q, const unsigned char *sha)
{
    struct ah_known *a = &q->known[home_of(sha)], *b = &q->known[home_of(sha) ^ 1];
    if (a->row && memcmp(a->sha, sha, sizeof a->sha) == 0)
        return a;
    if (b->row && memcmp(b->sha, sha, sizeof b->sha) == 0)
        return b;
    return !a->row || (b->row && a->at < b->at) ? a : b;
}

static void clear_buf(struct ah_buf *b)
{
    if (b->cap > QUEUE_KEEP_BYTES)
        ah_buf_drop(b);
    else
        ah_buf_clear(b);
    b->max = QUEUE_BYTES;
}

void ah_queue_forget(struct ah_queue *q)
{
    for (size_t i = 0; i < KNOWN_COUNT; i++)
        if (q->known[i].row > 0)
            q->known[i].row = 0;
}

void ah_queue_written(struct ah_queue *q, bool kept)
{
    for (size_t i = 0; !kept && i < KNOWN_COUNT; i++)
        if (q->known[i].row < 0)
            q->known[i].row = 0;
    for (size_t i = 0; kept && i < q->blobs_count; i++) {
        struct ah_known *k = slot_of(q, q->blobs[i].sha256);
        if (k->row == -1 - (int64_t)i)
            k->row = q->blobs[i].row;
    }
    clear_buf(&q->bytes);
    clear_buf(&q->texts);
    q->count = q->refs_count = q->blobs_count = q->events = 0;
    q->now = NULL;
}

/* The array with room for one more element, or NULL (then it is as before). */
static void *grow(void *array, size_t count, size_t *cap, size_t size)
{
    if (count < *cap)
        return array;
    size_t more = *cap ? *cap * 2 : 64;
    void *p = realloc(array, more * size);
    if (p)
        *cap = more;
    return p;
}

static struct ah_queued *add_op(struct ah_queue *q, int type)
{
    struct ah_queued *ops = grow(q->ops, q->count, &q->cap, sizeof *ops);
    if (!ops)
        return NULL;
    q->ops = ops;
    struct ah_queued *op = &q->ops[q->count++];
    *op = (struct ah_queued){.type = type, .at = q->bytes.n, .refs = q->refs_count};
    return op;
}

/* Takes the newest change back. Texts it brought stay: others may name them already. */
static void undo_op(struct ah_queue *q)
{
    struct ah_queued *op = &q->ops[--q->count];
    q->bytes.n = op->at;
    q->bytes.failed = false;
    q->refs_count = op->refs;
}

struct ah_queued *ah_queue_add(struct ah_queue *q, int type, int texts, const char *const *text)
{
    struct ah_queued *op = add_op(q, type);
    if (!op)
        return NULL;
    op->texts = texts;
    for (int i = 0; i < texts; i++) {
        const char *t = text[i] ? text[i] : "";
        ah_buf_add(&q->bytes, t, strlen(t) + 1);
    }
    if (q->bytes.failed) {
        undo_op(q);
        return NULL;
    }
    op->n = q->bytes.n - op->at;
    return op;
}

struct ah_queued *ah_queue_add_bytes(struct ah_queue *q, int type, const void *p, size_t n)
{
    struct ah_queued *op = add_op(q, type);
    if (!op)
        return NULL;
    if (ah_buf_add(&q->bytes, p, n) != 0) {
        undo_op(q);
        return NULL;
    }
    op->n = n;
    return op;
}

const char *ah_queue_text(const struct ah_queue *q, const struct ah_queued *op, int index)
{
    const char *p = q->bytes.p + op->at;
    while (index-- > 0)
        p += strlen(p) + 1;
    return p;
}

struct ah_queued *ah_queue_begin(struct ah_queue *q, int type)
{
    q->now = add_op(q, type);
    q->failed = !q->now;
    return q->now;
}

void ah_queue_put(struct ah_queue *q, const char *p, size_t n)
{
    if (!q->now || q->failed || n == 0)
        return;
    /* Only a raw control character inside a string can look like our mark: escape it. */
    const char *mark;
    while (n > 0 && (mark = memchr(p, AH_QUEUE_MARK, n)) != NULL) {
        size_t before = (size_t)(mark - p);
        ah_buf_add(&q->bytes, p, before);
        ah_buf_adds(&q->bytes, "\\u0001");
        p += before + 1;
        n -= before + 1;
    }
    if (n > 0)
        ah_buf_add(&q->bytes, p, n);
}

void ah_queue_put_str(struct ah_queue *q, const char *p, size_t n)
{
    if (q->now && !q->failed)
        ah_json_quote(&q->bytes, p ? p : "", p ? n : 0);
}

static int put_ref(struct ah_queue *q, int64_t ref)
{
    int64_t *refs = grow(q->refs, q->refs_count, &q->refs_cap, sizeof *refs);
    if (!refs)
        return -1;
    q->refs = refs;
    q->refs[q->refs_count++] = ref;
    q->now->refs_count++;
    return ah_buf_addc(&q->bytes, AH_QUEUE_MARK);
}

/* A text that the journal does not have: kept until the commit. */
static int64_t keep_text(struct ah_queue *q, const char *p, size_t n, const unsigned char *sha)
{
    struct ah_queued_blob *blobs = grow(q->blobs, q->blobs_count, &q->blobs_cap, sizeof *blobs);
    if (!blobs)
        return 0;
    q->blobs = blobs;
    struct ah_queued_blob *b = &q->blobs[q->blobs_count];
    *b = (struct ah_queued_blob){.at = q->texts.n, .n = n};
    memcpy(b->sha256, sha, sizeof b->sha256);
    if (ah_buf_add(&q->texts, p, n) != 0) {
        q->texts.failed = false;
        return 0;
    }
    return -1 - (int64_t)q->blobs_count++;
}

void ah_queue_put_text(struct ah_queue *q, const char *p, size_t n, size_t min)
{
    if (n < min) {
        ah_queue_put(q, p, n);
        return;
    }
    if (!q->now || q->failed)
        return;
    unsigned char sha[32];
    hash_text(q, p, n, sha);
    int64_t now = ah_clock_mono_us();
    struct ah_known *k = slot_of(q, sha);
    bool known = k->row && memcmp(k->sha, sha, sizeof k->sha) == 0 && now - k->at < KNOWN_AGE_US;
    if (known) {
        q->blobs_known++;
    } else {
        int64_t row = keep_text(q, p, n, sha);
        if (row == 0) {
            q->failed = true;
            return;
        }
        k->row = row;
        k->at = now;
        memcpy(k->sha, sha, sizeof k->sha);
    }
    if (put_ref(q, k->row) != 0)
        q->failed = true;
}

static void put_messages(struct ah_queue *q, struct ah_json list)
{
    const char *comma = "[";
    for (struct ah_json_iter it = ah_json_iter(list); ah_json_next(&it); comma = ",") {
        ah_queue_put(q, comma, 1);
        ah_queue_put_text(q, it.value.p, it.value.n, MESSAGE_MIN_BYTES);
    }
    ah_queue_put(q, *comma == '[' ? "[]" : "]", *comma == '[' ? 2 : 1);
}

void ah_queue_put_object(struct ah_queue *q, const char *p, size_t n)
{
    if (n < AH_BLOB_MIN_BYTES) {
        ah_queue_put(q, p, n);
        return;
    }
    struct ah_json object = {p, n, AH_JSON_OBJECT};
    const char *comma = "{";
    for (struct ah_json_iter it = ah_json_iter(object); ah_json_next(&it); comma = ",") {
        ah_queue_put(q, comma, 1);
        ah_queue_put(q, it.key.p, it.key.n);
        ah_queue_put(q, ":", 1);
        if (it.value.type == AH_JSON_ARRAY && ah_json_is(it.key, "messages"))
            put_messages(q, it.value);
        else
            ah_queue_put_text(q, it.value.p, it.value.n, AH_BLOB_MIN_BYTES);
    }
    ah_queue_put(q, *comma == '{' ? "{}" : "}", *comma == '{' ? 2 : 1);
}

int ah_queue_end(struct ah_queue *q)
{
    struct ah_queued *op = q->now;
    q->now = NULL;
    if (!op)
        return -1;
    if (q->failed || q->bytes.failed) {
        undo_op(q);
        return -1;
    }
    op->n = q->bytes.n - op->at;
    q->events++;
    return 0;
}
