/* The answer to GET /info. Called by lssend_post.c. Must never trust a number: a limit of nothing would send nothing. */
#include "lsinfo.h"

#include "json.h"
#include "lswire.h"

#define BYTES_MIN 65536

void ah_lsinfo_default(struct ah_lsinfo *info)
{
    *info = (struct ah_lsinfo){
        .runs_max = AH_LSWIRE_RUNS_COUNT, .bytes_max = AH_LSWIRE_BATCH_BYTES, .multipart = true};
}

static size_t bounded(struct ah_json v, size_t otherwise, size_t least, size_t most)
{
    int64_t n;
    if (!ah_json_int(v, &n) || n < 1)
        return otherwise;
    return (size_t)n < least ? least : (size_t)n > most ? most : (size_t)n;
}

int ah_lsinfo_read(struct ah_lsinfo *info, const char *body, size_t n)
{
    struct ah_json v;
    if (ah_json_check(body ? body : "", n, 0, &v, NULL) != 0 || v.type != AH_JSON_OBJECT)
        return -1;
    struct ah_json batch = ah_json_get(v, "batch_ingest_config"), flags = ah_json_get(v, "instance_flags");
    info->runs_max = bounded(ah_json_get(batch, "size_limit"), info->runs_max, 1, AH_LSWIRE_RUNS_MAX);
    info->bytes_max =
        bounded(ah_json_get(batch, "size_limit_bytes"), info->bytes_max, BYTES_MIN, AH_LSWIRE_BODY_BYTES / 2);
    info->multipart = ah_json_bool(ah_json_get(batch, "use_multipart_endpoint"), info->multipart);
    info->coding = ah_json_bool(ah_json_get(flags, "zstd_compression_enabled"), false) ? AH_LSPACK_ZSTD
                   : ah_json_bool(ah_json_get(flags, "gzip_body_enabled"), false)      ? AH_LSPACK_GZIP
                                                                                       : AH_LSPACK_NONE;
    return 0;
}
