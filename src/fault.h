/* Faults on purpose, in test builds (AH_FAULTS) only: the process dies, or the disk is full, at a named point of the
 * code, so that tests can try them all. In other builds nothing of this exists.
 *
 *   AGENTHOST_FAULT=<point>:<n>[:<what>]  at the n-th passing of the point; point "any" counts all of them. `what`
 *                                         is kill (SIGKILL, the default), or full, damage: for who asks ah_fault_is.
 *   AGENTHOST_FAULT_CLOCK=<n>:<seconds>   from the n-th reading on the wall clock is so many seconds off (-3600)
 *
 * Tests: tests/faults. A point is one line, at a place where what was promised may be half done. */
#ifndef AH_FAULT_H
#define AH_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#ifdef AH_FAULTS
void ah_fault_at(const char *point);
bool ah_fault_is(const char *what); /* true once, after its point was passed */
int64_t ah_fault_clock(int64_t wall_us);
#else
static inline void ah_fault_at(const char *point)
{
    (void)point;
}
static inline bool ah_fault_is(const char *what)
{
    (void)what;
    return false;
}
static inline int64_t ah_fault_clock(int64_t wall_us)
{
    return wall_us;
}
#endif

#endif
