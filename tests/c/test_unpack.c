/* unpack: what zlib and zstd packed comes back; several frames; every cut; damage; bombs end at the buffer's maximum. */
#include "unpack.h"

#include "buf.h"
#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

#define BIG ((size_t)3 << 20)

static const char *const codings[] = {"zstd", "gzip"};

static void pack(const char *coding, const char *p, size_t n, struct ah_buf *to)
{
    size_t room = n + n / 2 + 1024;
    char *at = ah_buf_reserve(to, room);
    assert_non_null(at);
    if (strcmp(coding, "zstd") == 0) {
        size_t got = ZSTD_compress(at, room, p, n, 1);
        assert_false(ZSTD_isError(got));
        to->n += got;
        return;
    }
    z_stream z = {.next_in = (Bytef *)(uintptr_t)p,
                  .avail_in = (uInt)n,
                  .next_out = (Bytef *)at,
                  .avail_out = (uInt)room};
    assert_int_equal(deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    to->n += z.total_out;
    deflateEnd(&z);
}

static enum ah_kind unpack(const char *coding, const char *p, size_t n, size_t max, struct ah_buf *out)
{
    struct ah_error err = {0};
    ah_buf_init(out, max);
    int rc = ah_unpack_body(coding, p, n, out, &err);
    enum ah_kind kind = err.kind;
    assert_int_equal(rc == 0, kind == AH_NONE);
    ah_err_drop(&err);
    return kind;
}

static void test_whole(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 1000, 64 << 10, (64 << 10) + 1, BIG};
    char *data = malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        data[i] = (char)(i * 2654435761u >> 13);
    for (size_t c = 0; c < 2; c++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct ah_buf packed, out;
            ah_buf_init(&packed, 2 * BIG);
            pack(codings[c], data, sizes[i], &packed);
            assert_int_equal(unpack(codings[c], packed.p, packed.n, sizes[i] ? sizes[i] : 1, &out), AH_NONE);
            assert_int_equal(out.n, sizes[i]);
            assert_memory_equal(ah_buf_str(&out), data, sizes[i]);
            ah_buf_drop(&out);
            if (sizes[i]) { /* one byte less is too little room */
                assert_int_equal(unpack(codings[c], packed.p, packed.n, sizes[i] - 1, &out), AH_LIMIT);
                ah_buf_drop(&out);
            }
            ah_buf_drop(&packed);
        }
    }
    free(data);
}

static void test_several(void **state)
{
    (void)state;
    for (size_t c = 0; c < 2; c++) {
        struct ah_buf packed, out;
        ah_buf_init(&packed, 1 << 16);
        pack(codings[c], "one ", 4, &packed);
        pack(codings[c], "two", 3, &packed);
        assert_int_equal(unpack(codings[c], packed.p, packed.n, 100, &out), AH_NONE);
        assert_string_equal(ah_buf_str(&out), "one two");
        ah_buf_drop(&out);
        ah_buf_drop(&packed);
    }
}

static void test_cut_and_damaged(void **state)
{
    (void)state;
    const char text[] =
        "the quick brown fox jumps over the lazy dog, the quick brown fox jumps over the lazy dog";
    for (size_t c = 0; c < 2; c++) {
        struct ah_buf packed, out;
        ah_buf_init(&packed, 1 << 16);
        pack(codings[c], text, sizeof text, &packed);
        for (size_t n = 0; n < packed.n; n++) {
            assert_int_equal(unpack(codings[c], packed.p, n, 1000, &out), AH_TRUNCATED);
            ah_buf_drop(&out);
        }
        ah_buf_adds(&packed, "trailing bytes");
        assert_int_equal(unpack(codings[c], packed.p, packed.n, 1000, &out), AH_PROTOCOL);
        ah_buf_drop(&out);
        assert_int_equal(unpack(codings[c], "no such thing", 13, 1000, &out), AH_PROTOCOL);
        ah_buf_drop(&out);
        ah_buf_drop(&packed);
    }
    struct ah_buf out;
    assert_int_equal(unpack("br", "x", 1, 1000, &out), AH_PROTOCOL);
    ah_buf_drop(&out);
    assert_true(ah_unpack_knows("gzip") && ah_unpack_knows("zstd") && !ah_unpack_knows("identity"));
}

static void test_bomb(void **state)
{
    (void)state;
    enum { BYTES = 64 << 20, ROOM = 1 << 20 };
    char *zeros = calloc(1, BYTES);
    for (size_t c = 0; c < 2; c++) {
        struct ah_buf packed, out;
        ah_buf_init(&packed, (size_t)2 * BYTES);
        pack(codings[c], zeros, BYTES, &packed);
        assert_int_equal(unpack(codings[c], packed.p, packed.n, ROOM, &out), AH_LIMIT);
        assert_true(out.n <= ROOM && out.cap <= 2 * ROOM);
        ah_buf_drop(&out);
        ah_buf_drop(&packed);
    }
    free(zeros);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_several),
        cmocka_unit_test(test_cut_and_damaged),
        cmocka_unit_test(test_bomb),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
