/* Unpacking of bodies, piece by piece, so that a small body that means gigabytes ends at the buffer's maximum. Called
 * by lua_server.c. Must never trust a size that the packed bytes announce. */
#include "unpack.h"

#include "buf.h"
#include "err.h"

#include <stdint.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define PIECE_BYTES ((size_t)64 << 10)
#define GZIP_WINDOW (15 + 16) /* zlib's word for a gzip header, and none else */

static int fail_limit(struct ah_error *err)
{
    return ah_err_set(err, AH_LIMIT, "The body is too long once it is unpacked.");
}

static int fail_damaged(struct ah_error *err, const char *coding)
{
    return ah_err_set(err, AH_PROTOCOL, "The body is not valid %s.", coding);
}

static int fail_cut(struct ah_error *err, const char *coding)
{
    return ah_err_set(err, AH_TRUNCATED, "The body's %s stops before its end.", coding);
}

/* Room for a piece more, less at the maximum. NULL: none is left. */
static char *room(struct ah_buf *to, size_t *n)
{
    *n = to->max - to->n < PIECE_BYTES ? to->max - to->n : PIECE_BYTES;
    return *n ? ah_buf_reserve(to, *n) : NULL;
}

static int unpack_zstd(ZSTD_DStream *z, const char *p, size_t n, struct ah_buf *to, struct ah_error *err)
{
    ZSTD_inBuffer in = {p, n, 0};
    size_t left = 1; /* 0: a frame has ended */
    for (bool full = false; in.pos < n || full;) {
        ZSTD_outBuffer out = {NULL, 0, 0};
        char spare = 0;
        out.dst = room(to, &out.size);
        if (!out.dst) { /* whether there is more */
            out.dst = &spare;
            out.size = 1;
        }
        left = ZSTD_decompressStream(z, &out, &in);
        if (ZSTD_isError(left))
            return fail_damaged(err, "zstd");
        if (out.dst == &spare && out.pos)
            return fail_limit(err);
        to->n += out.dst == &spare ? 0 : out.pos;
        full = out.pos == out.size && left != 0;
    }
    return left == 0 ? 0 : fail_cut(err, "zstd");
}

static int unpack_gzip(z_stream *z, struct ah_buf *to, struct ah_error *err)
{
    int rc = Z_OK;
    while (rc != Z_STREAM_END || z->avail_in > 0) {
        size_t n;
        unsigned char spare = 0;
        if (rc == Z_STREAM_END && inflateReset(z) != Z_OK) /* another member */
            return fail_damaged(err, "gzip");
        char *at = room(to, &n);
        z->next_out = at ? (Bytef *)at : &spare;
        z->avail_out = at ? (uInt)n : 1;
        uInt before = z->avail_out;
        rc = inflate(z, Z_NO_FLUSH);
        if (rc == Z_BUF_ERROR && z->avail_in == 0)
            return fail_cut(err, "gzip");
        if (rc != Z_OK && rc != Z_STREAM_END)
            return fail_damaged(err, "gzip");
        if (!at && z->avail_out == 0)
            return fail_limit(err);
        to->n += at ? before - z->avail_out : 0;
    }
    return 0;
}

bool ah_unpack_knows(const char *coding)
{
    return strcmp(coding, "zstd") == 0 || strcmp(coding, "gzip") == 0;
}

int ah_unpack_body(const char *coding, const char *p, size_t n, struct ah_buf *to, struct ah_error *err)
{
    int result = -1;
    if (n > UINT32_MAX)
        return fail_limit(err);
    if (strcmp(coding, "zstd") == 0) {
        ZSTD_DStream *z = ZSTD_createDStream();
        result =
            z ? unpack_zstd(z, p, n, to, err) : ah_err_set(err, AH_MEMORY, "No memory to unpack a body.");
        ZSTD_freeDStream(z);
    } else if (strcmp(coding, "gzip") == 0) {
        z_stream z = {.next_in = (Bytef *)(uintptr_t)p, .avail_in = (uInt)n};
        if (inflateInit2(&z, GZIP_WINDOW) != Z_OK)
            return ah_err_set(err, AH_MEMORY, "No memory to unpack a body.");
        result = unpack_gzip(&z, to, err);
        inflateEnd(&z);
    } else {
        ah_err_set(err, AH_PROTOCOL, "The coding \"%s\" of a body is not known; zstd and gzip are.", coding);
    }
    if (to->p)
        to->p[to->n] = '\0';
    return result == 0 && to->failed ? ah_err_set(err, AH_MEMORY, "No memory to unpack a body.") : result;
}
