/* Time, as the host sees it: wall time that never goes backwards inside one process, and a
 * monotonic clock for waits. A fixed clock can be set, for the emulator, tests and (later) replay;
 * no other file reads the system's clocks. */
#ifndef AH_CLOCK_H
#define AH_CLOCK_H

#include <stddef.h>
#include <stdint.h>

struct ah_clock {
    int64_t last_us;  /* the newest wall time given out */
    int64_t fixed_us; /* != 0: wall time starts here and moves by step_us a reading */
    int64_t step_us;
};

/* Microseconds since 1970. Never smaller than an earlier answer of the same clock. */
int64_t ah_clock_wall_us(struct ah_clock *c);
/* Microseconds from an arbitrary start; for durations. */
int64_t ah_clock_mono_us(void);
void ah_clock_fix(struct ah_clock *c, int64_t start_us, int64_t step_us);

#define AH_CLOCK_ISO_BYTES 32
/* "2026-11-22T10:00:00.000120Z": always six fraction digits. Returns the length. */
size_t ah_clock_iso(int64_t us, char out[AH_CLOCK_ISO_BYTES]);
/* "20261122T100000000120Z", the form of LangSmith's dotted_order. Returns the length. */
size_t ah_clock_dotted(int64_t us, char out[AH_CLOCK_ISO_BYTES]);
/* Reads RFC 3339 with 0-9 fraction digits and Z or an offset. -1: not such a text. */
int ah_clock_parse_iso(const char *s, size_t n, int64_t *us);

#endif
