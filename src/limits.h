/* Hard limits of the host, in one place. Every buffer gets its maximum here, at birth.
 * Names say the unit: _BYTES, _MS, _COUNT. Whoever may change one at run time says so beside it. */
#ifndef AH_LIMITS_H
#define AH_LIMITS_H

#define AH_JSON_DEPTH 128
#define AH_SSE_LINE_BYTES ((size_t)1 << 20)
#define AH_SSE_EVENT_BYTES ((size_t)8 << 20)
#define AH_HTTP_BODY_BYTES ((size_t)32 << 20) /* a request's max_body wins */
#define AH_HTTP_HEADER_BYTES ((size_t)64 << 10)
#define AH_HTTP_ERROR_BODY_BYTES ((size_t)64 << 10)    /* of a refused stream */
#define AH_HTTP_STREAM_QUEUE_BYTES ((size_t)256 << 10) /* then the sender is paused */
#define AH_SERVER_BODY_BYTES ((size_t)64 << 20)
#define AH_DOTENV_BYTES ((size_t)1 << 20)
#define AH_SCRIPT_FILE_BYTES ((size_t)16 << 20)

#define AH_HTTP_CONNECT_MS 5000
#define AH_HTTP_FIRST_BYTE_MS 120000
#define AH_HTTP_IDLE_MS 120000
#define AH_HTTP_TOTAL_MS 600000
#define AH_HTTP_UNSAFE_MAXAGE_S 15 /* a body that cannot rewind takes no older connection */
#define AH_RETRY_MAX 2
#define AH_RETRY_BASE_MS 500
#define AH_RETRY_CAP_MS 8000
#define AH_RETRY_AFTER_MAX_MS 120000

#define AH_JOURNAL_EVENTS_COUNT 64                 /* then the queue is committed at once */
#define AH_JOURNAL_AGE_MS 5                        /* the same, by age */
#define AH_JOURNAL_MEMORY_BYTES ((size_t)64 << 20) /* journal in memory, when no file can be used */
#define AH_BLOB_MIN_BYTES 512                      /* shorter texts stay inside their event */
#define AH_SECRET_MIN_BYTES 8
#define AH_TRACE_EARLY_MS 5000 /* a span that is open for longer is sent before it ends */

#define AH_LUA_MEMORY_BYTES ((size_t)1 << 30) /* --memory */
#define AH_LUA_INSTRUCTIONS 500000000L        /* between two waits; --instructions */

#endif
