/* Packing of bodies with zstd or gzip, on libuv's threads. Called by lssend_post.c. What runs on the thread touches its own
 * job only; the level is the lowest: a trace packs well at any, and the machine is the agents'. */
#include "lspack.h"

#include "loop.h"

#include <stdbool.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#define GZIP_WINDOW (15 + 16) /* zlib's word for a gzip header */
#define GZIP_MEMORY 8

struct ah_lspack {
    struct ah_buf body, packed;
    enum ah_lspack_coding coding;
    bool forgotten;
    void (*done)(void *arg, struct ah_buf *body, enum ah_lspack_coding coding, size_t raw_n);
    void *arg;
};

const char *ah_lspack_name(enum ah_lspack_coding coding)
{
    static const char *const names[] = {"identity", "zstd", "gzip"};
    return names[coding];
}

static int pack_zstd(struct ah_lspack *p)
{
    char *to = ah_buf_reserve(&p->packed, ZSTD_compressBound(p->body.n));
    if (!to)
        return -1;
    size_t n = ZSTD_compress(to, ZSTD_compressBound(p->body.n), p->body.p, p->body.n, 1);
    if (ZSTD_isError(n))
        return -1;
    p->packed.n = n;
    return 0;
}

static int pack_gzip(struct ah_lspack *p)
{
    z_stream z = {0};
    if (p->body.n > UINT32_MAX / 2 ||
        deflateInit2(&z, 1, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
        return -1;
    uLong bound = deflateBound(&z, (uLong)p->body.n);
    char *to = ah_buf_reserve(&p->packed, bound);
    z.next_in = (Bytef *)p->body.p;
    z.avail_in = (uInt)p->body.n;
    z.next_out = (Bytef *)to;
    z.avail_out = (uInt)bound;
    int rc = to ? deflate(&z, Z_FINISH) : Z_MEM_ERROR;
    p->packed.n = to ? z.total_out : 0;
    deflateEnd(&z);
    return rc == Z_STREAM_END ? 0 : -1;
}

static void pack_body(void *arg)
{
    struct ah_lspack *p = arg;
    int result = p->coding == AH_LSPACK_ZSTD ? pack_zstd(p) : pack_gzip(p);
    if (result != 0 || p->packed.n >= p->body.n)
        p->coding = AH_LSPACK_NONE;
}

static void end_job(void *arg)
{
    struct ah_lspack *p = arg;
    if (!p->forgotten)
        p->done(p->arg, p->coding == AH_LSPACK_NONE ? &p->body : &p->packed, p->coding, p->body.n);
    ah_buf_drop(&p->body);
    ah_buf_drop(&p->packed);
    free(p);
}

struct ah_lspack *ah_lspack_start(struct ah_loop *loop, enum ah_lspack_coding coding, struct ah_buf *body,
                                  void (*done)(void *arg, struct ah_buf *body, enum ah_lspack_coding coding,
                                               size_t raw_n),
                                  void *arg)
{
    struct ah_lspack *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    *p = (struct ah_lspack){.coding = coding, .done = done, .arg = arg};
    p->body = *body;
    ah_buf_init(&p->packed,
                body->n + body->n / 2 + AH_LSPACK_MIN_BYTES); /* room for the worst case's bound */
    if (ah_loop_work(loop, pack_body, end_job, p) != 0) {
        free(p);
        return NULL;
    }
    size_t max = body->max;
    *body = (struct ah_buf){0};
    ah_buf_init(body, max);
    return p;
}

void ah_lspack_forget(struct ah_lspack *p)
{
    if (p)
        p->forgotten = true;
}
