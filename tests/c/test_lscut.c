/* Values made small: what comes out is JSON of the same kind, not larger than asked by much, always the same, and says
 * what is missing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hash.h"
#include "lscut.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOM ((size_t)64 << 20)
#define SLACK 400 /* a marker in each of the innermost lists */

static struct ah_json check(const char *p, size_t n)
{
    struct ah_json v;
    assert_int_equal(ah_json_check(p, n, 0, &v, NULL), 0);
    return v;
}

/* Cuts, checks what must hold of every cut value, and hands the text over. */
static char *cut(const char *json, size_t n, size_t room)
{
    struct ah_buf to, again;
    struct ah_json v = check(json, n), out;
    ah_buf_init(&to, ROOM);
    ah_buf_init(&again, ROOM);
    assert_int_equal(ah_lscut_value(&to, v, room), 0);
    assert_int_equal(ah_lscut_value(&again, v, room), 0);
    assert_int_equal(to.n, again.n);
    assert_memory_equal(to.p, again.p, to.n);
    out = check(to.p, to.n);
    if (v.type == AH_JSON_OBJECT || v.type == AH_JSON_ARRAY)
        assert_int_equal(out.type, v.type);
    if (n <= room)
        assert_memory_equal(to.p, json, n);
    else
        assert_true(to.n <= room + SLACK || to.n <= n);
    ah_buf_drop(&again);
    return ah_buf_take(&to, NULL);
}

static char *repeat(const char *head, const char *part, size_t times, const char *tail)
{
    size_t head_n = strlen(head), part_n = strlen(part);
    char *text = malloc(head_n + part_n * times + strlen(tail) + 1);
    memcpy(text, head, head_n);
    for (size_t i = 0; i < times; i++)
        memcpy(text + head_n + i * part_n, part, part_n);
    strcpy(text + head_n + times * part_n, tail);
    return text;
}

/* The marker names the whole text as it is when decoded. */
static void test_text(void **state)
{
    (void)state;
    static const struct {
        const char *part, *decoded;
    } rows[] = {{"x", "x"},
                {"\\n", "\n"},
                {"\303\244", "\303\244"},
                {"\\u00e4", "\303\244"},
                {"\\ud83d\\ude00", "\360\237\230\200"},
                {"\360\237\230\200", "\360\237\230\200"},
                {"\\\\", "\\"},
                {"\\\"", "\""}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        char *json = repeat("\"", rows[r].part, 5000, "\"");
        char *decoded = repeat("", rows[r].decoded, 5000, ""), hex[AH_HASH_HEX_BYTES], mark[128];
        ah_hash_sha256_hex(decoded, strlen(decoded), hex);
        snprintf(mark, sizeof mark, " [cut: %zu bytes, sha256 %s]\"", strlen(decoded), hex);
        for (size_t room = AH_LSCUT_MIN_BYTES; room < AH_LSCUT_MIN_BYTES + 24; room++) {
            char *text = cut(json, strlen(json), room);
            assert_true(strlen(text) <= room);
            assert_string_equal(text + strlen(text) - strlen(mark), mark);
            assert_null(strstr(text, "\357\277\275")); /* no character was torn */
            free(text);
        }
        free(json);
        free(decoded);
    }
}

static void test_small_ones_stay(void **state)
{
    (void)state;
    char *json =
        repeat("{\"a\":1,\"long\":{\"text\":\"", "0123456789", 100000, "\",\"b\":[true]},\"c\":\"end\"}");
    char *text = cut(json, strlen(json), 4000);
    assert_non_null(strstr(text, "{\"a\":1,\"long\":{\"text\":\"0123"));
    assert_non_null(strstr(text, "[cut: 1000000 bytes, sha256 "));
    assert_non_null(strstr(text, "\"b\":[true]},\"c\":\"end\"}"));
    free(text);
    free(json);
}

static void test_many(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"[0", ",1234567", "]"}, {"{\"a\":0", ",\"b\":[{\"c\":null}]", "}"}, {"[[]", ",[[[\"deep\"]]]", "]"}};
    for (size_t r = 0; r < 3; r++) {
        char *json = repeat(rows[r][0], rows[r][1], 50000, rows[r][2]);
        for (size_t room = 300; room < 100000; room = room * 3) {
            char *text = cut(json, strlen(json), room);
            assert_non_null(strstr(text, " of 50001 are not here [cut: "));
            assert_true(strlen(text) <= room + SLACK);
            free(text);
        }
        free(json);
    }
}

static void test_deep(void **state)
{
    (void)state;
    char *head = repeat("", "{\"k\":[", 63, "\""), *tail = repeat("\"", "]}", 63, "");
    char *json = repeat(head, "d", 200000, tail);
    char *text = cut(json, strlen(json), 2000);
    assert_non_null(strstr(text, "[cut: 200000 bytes, sha256 "));
    assert_true(strlen(text) < 4000);
    free(text);
    free(json);
    free(head);
    free(tail);
}

static void test_odd(void **state)
{
    (void)state;
    char *number = repeat("", "9", 5000, ""), *key = repeat("{\"", "k", 5000, "\":1,\"z\":2}");
    char *text = cut(number, strlen(number), 300);
    assert_non_null(strstr(text, "\"[cut: 5000 bytes, sha256 "));
    free(text);
    text = cut(key, strlen(key), 300);
    assert_non_null(strstr(text, "{\"...\":\"2 of 2 are not here [cut: "));
    free(text);
    free(number);
    free(key);
}

static void test_name(void **state)
{
    (void)state;
    static const char *const parts[] = {"x", "\303\244", "\360\237\230\200"};
    for (size_t r = 0; r < 3; r++)
        for (size_t n = 126; n < 131; n++) {
            struct ah_buf to;
            char *name = repeat("", parts[r], n, "");
            ah_buf_init(&to, ROOM);
            assert_int_equal(ah_lscut_text(&to, name, strlen(name), 128), 0);
            struct ah_json v = check(to.p, to.n);
            size_t characters = 0;
            for (size_t i = 1; i + 1 < v.n; i++)
                characters += ((unsigned char)v.p[i] & 0xc0) != 0x80;
            assert_int_equal(characters, n < 128 ? n : 128);
            assert_int_equal(strstr(to.p, "[cut: ") != NULL, n > 128);
            ah_buf_drop(&to);
            free(name);
        }
}

static void test_share(void **state)
{
    (void)state;
    static const size_t sizes[] = {10, 1000, 20, 3000};
    assert_true(ah_lscut_share(sizes, 4, 4030) >= 3000); /* all fit */
    assert_int_equal(ah_lscut_share(sizes, 4, 2030), 1000);
    assert_int_equal(ah_lscut_share(sizes, 4, 230), 100);
    assert_int_equal(ah_lscut_share(sizes, 4, 0), 0);
    assert_int_equal(ah_lscut_share(NULL, 0, 7), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),  cmocka_unit_test(test_small_ones_stay),
        cmocka_unit_test(test_many),  cmocka_unit_test(test_deep),
        cmocka_unit_test(test_odd),   cmocka_unit_test(test_name),
        cmocka_unit_test(test_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
