/* The journal's memory before it is written. Called by store.c for every event, so it must stay cheap:
 * no allocation per event, one short hash per long text. Must never lose the order of changes. */
#include "queue.h"

#include "clock.h"
#include "ids.h"
#include "json.h"
#include "limits.h"

#include <stdlib.h>
#include <string.h>

#define QUEUE_BYTES ((size_t)256 << 20)    /* of bodies, and of texts */
#define QUEUE_KEEP_BYTES ((size_t)1 << 20) /* memory kept from one commit to the next */
#define KNOWN_COUNT 16384u                 /* recent hashes; a power of two */
#define KNOWN_AGE_US (600 * 1000000LL)     /* older texts are stored again: gc may have taken them */
#define MESSAGE_MIN_BYTES 96 /* messages are named again each turn, so even short ones are worth a row */

int ah_queue_init(struct ah_queue *q)
{
    *q = (struct ah_queue){0};
    ah_buf_init(&q->bytes, QUEUE_BYTES);
    ah_buf_init(&q->texts, QUEUE_BYTES);
    q->known = calloc(KNOWN_COUNT, sizeof *q->known);
    struct ah_ids ids = {0}; /* chance of its own: what a script draws does not depend on it */
    ah_ids_random(&ids, q->key, sizeof q->key);
    return q->known ? 0 : -1;
}

void ah_queue_drop(struct ah_queue *q)
{
    ah_buf_drop(&q->bytes);
    ah_buf_drop(&q->texts);
    free(q->ops);
    free(q->refs);
    free(q->blobs);
    free(q->known);
    *q = (struct ah_queue){0};
}

#define ROTATE(x, n) ((x) << (n) | (x) >> (64 - (n)))

static void mix(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = ROTATE(v[1], 13) ^ v[0];
    v[3] = ROTATE(v[3], 16) ^ v[2];
    v[0] = ROTATE(v[0], 32) + v[3];
    v[2] += v[1];
    v[3] = ROTATE(v[3], 21) ^ v[0];
    v[1] = ROTATE(v[1], 17) ^ v[2];
    v[2] = ROTATE(v[2], 32);
}

/* SipHash-1-3, 128 bits, with a key of this process: nobody can write two texts that are taken for one, and it costs a
 * tenth of SHA-256. It names texts in memory only. */
static void hash_bytes(const struct ah_queue *q, const void *p, size_t n, struct ah_sip *out)
{
    uint64_t v[4] = {q->key[0] ^ UINT64_C(0x736f6d6570736575),
                     q->key[1] ^ UINT64_C(0x646f72616e646f6d) ^ 0xee,
                     q->key[0] ^ UINT64_C(0x6c7967656e657261), q->key[1] ^ UINT64_C(0x7465646279746573)};
    const unsigned char *at = p, *end = at + (n & ~(size_t)7);
    uint64_t word;
    for (; at < end; at += 8) {
        memcpy(&word, at, 8);
        v[3] ^= word;
        mix(v);
        v[0] ^= word;
    }
    word = (uint64_t)n << 56;
    for (size_t i = 0; i < (n & 7); i++)
        word |= (uint64_t)end[i] << (8 * i);
    v[3] ^= word;
    mix(v);
    v[0] ^= word;
    v[2] ^= 0xee;
    for (int i = 0; i < 3; i++)
        mix(v);
    out->half[0] = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    for (int i = 0; i < 3; i++)
        mix(v);
    out->half[1] = v[0] ^ v[1] ^ v[2] ^ v[3];
}

static size_t home_of(const struct ah_sip *hash)
{
    return hash->half[0] & (KNOWN_COUNT - 1);
}

static bool is_same(const struct ah_sip *a, const struct ah_sip *b)
{
    return a->half[0] == b->half[0] && a->half[1] == b->half[1];
}

/* Two places per hash. The slot that has it, else the older of the two. */
static struct ah_known *slot_of(struct ah_queue *q, const struct ah_sip *hash)
{
    struct ah_known *a = &q->known[home_of(hash)], *b = &q->known[home_of(hash) ^ 1];
    if (a->row && is_same(&a->hash, hash))
        return a;
    if (b->row && is_same(&b->hash, hash))
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
        struct ah_known *k = slot_of(q, &q->blobs[i].hash);
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

char *ah_queue_room(struct ah_queue *q, size_t n)
{
    return q->now && !q->failed ? ah_buf_reserve(&q->bytes, n) : NULL;
}

void ah_queue_used(struct ah_queue *q, size_t n)
{
    q->bytes.n += n;
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
static int64_t keep_text(struct ah_queue *q, const char *p, size_t n, const struct ah_sip *hash)
{
    struct ah_queued_blob *blobs = grow(q->blobs, q->blobs_count, &q->blobs_cap, sizeof *blobs);
    if (!blobs)
        return 0;
    q->blobs = blobs;
    struct ah_queued_blob *b = &q->blobs[q->blobs_count];
    *b = (struct ah_queued_blob){.hash = *hash, .at = q->texts.n, .n = n};
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
    struct ah_sip hash;
    hash_bytes(q, p, n, &hash);
    int64_t now = ah_clock_mono_us();
    struct ah_known *k = slot_of(q, &hash);
    bool known = k->row && is_same(&k->hash, &hash) && now - k->at < KNOWN_AGE_US;
    if (known) {
        q->blobs_known++;
    } else {
        int64_t row = keep_text(q, p, n, &hash);
        if (row == 0) {
            q->failed = true;
            return;
        }
        k->row = row;
        k->at = now;
        k->hash = hash;
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
