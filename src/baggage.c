/* LangSmith's baggage. Called by lua_trace.c. Must not fail for what others wrote: a header of a stranger is no
 * reason to refuse a request. */
#include "baggage.h"

#include "buf.h"
#include "url.h"

#include <string.h>

#define ITEM_BYTES ((size_t)64 << 10)

static void put_item(struct ah_buf *to, size_t begin, const char *key, const char *p, size_t n)
{
    if (to->n > begin)
        ah_buf_addc(to, ',');
    ah_buf_adds(to, key);
    ah_buf_addc(to, '=');
    ah_url_encode(p, n, to);
}

int ah_baggage_write(struct ah_json metadata, struct ah_json tags, const char *project, struct ah_buf *to)
{
    size_t begin = to->n;
    struct ah_buf list;
    ah_buf_init(&list, ITEM_BYTES);
    if (ah_json_count(metadata) > 0)
        put_item(to, begin, "langsmith-metadata", metadata.p, metadata.n);
    for (struct ah_json_iter it = ah_json_iter(tags); tags.type == AH_JSON_ARRAY && ah_json_next(&it);) {
        if (list.n)
            ah_buf_addc(&list, ',');
        ah_json_str(it.value, &list);
    }
    if (list.n && !list.failed)
        put_item(to, begin, "langsmith-tags", list.p, list.n);
    if (*project)
        put_item(to, begin, "langsmith-project", project, strlen(project));
    ah_buf_drop(&list);
    return to->failed ? -1 : 0;
}

static bool cut_item(const char **p, size_t *n, const char *key)
{
    size_t k = strlen(key);
    if (*n <= k || memcmp(*p, key, k) != 0 || (*p)[k] != '=')
        return false;
    *p += k + 1;
    *n -= k + 1;
    return true;
}

static void read_metadata(const struct ah_buf *text, struct ah_buf *to)
{
    struct ah_json v;
    if (ah_json_check(ah_buf_str(text), text->n, 0, &v, NULL) != 0 || v.type != AH_JSON_OBJECT)
        return;
    ah_buf_clear(to);
    ah_buf_add(to, v.p, v.n);
}

static void read_tags(const struct ah_buf *text, struct ah_buf *to)
{
    const char *p = ah_buf_str(text), *end = p + text->n;
    ah_buf_clear(to);
    for (const char *comma; p < end; p = comma + 1) {
        comma = memchr(p, ',', (size_t)(end - p));
        comma = comma ? comma : end;
        if (comma > p) {
            ah_buf_addc(to, to->n ? ',' : '[');
            ah_json_quote(to, p, (size_t)(comma - p));
        }
    }
    if (to->n)
        ah_buf_addc(to, ']');
}

void ah_baggage_read(const char *p, size_t n, struct ah_buf *metadata, struct ah_buf *tags,
                     struct ah_buf *project)
{
    struct ah_buf text;
    ah_buf_init(&text, ITEM_BYTES);
    for (const char *end = p + n, *comma; p < end; p = comma + 1) {
        comma = memchr(p, ',', (size_t)(end - p));
        comma = comma ? comma : end;
        const char *item = p, *stop = comma;
        while (item < stop && *item == ' ')
            item++;
        while (stop > item && stop[-1] == ' ')
            stop--;
        size_t length = (size_t)(stop - item);
        int what = cut_item(&item, &length, "langsmith-metadata")  ? 1
                   : cut_item(&item, &length, "langsmith-tags")    ? 2
                   : cut_item(&item, &length, "langsmith-project") ? 3
                                                                   : 0;
        ah_buf_clear(&text);
        if (!what || ah_url_decode(item, length, false, &text) != 0)
            continue;
        if (what == 1)
            read_metadata(&text, metadata);
        else if (what == 2)
            read_tags(&text, tags);
        else if (ah_json_is_utf8(ah_buf_str(&text), text.n) && !memchr(ah_buf_str(&text), 0, text.n)) {
            ah_buf_clear(project);
            ah_buf_add(project, ah_buf_str(&text), text.n);
        }
    }
    ah_buf_drop(&text);
}
