/* Faults on purpose (test builds). Called from the points themselves. Must never do anything unless the environment
 * asks for it; owner thread only. The one place outside main.c that counts for the whole process: a fault is of it. */
#include "fault.h"

#ifdef AH_FAULTS
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    bool read, due;
    char point[32], what[16];
    long left, clock_left;
    int64_t clock_us;
} fault;

static void read_settings(void)
{
    const char *text = getenv("AGENTHOST_FAULT"), *clock = getenv("AGENTHOST_FAULT_CLOCK");
    long seconds = 0;
    fault.read = true;
    snprintf(fault.what, sizeof fault.what, "kill");
    if (text && sscanf(text, "%31[^:]:%ld:%15s", fault.point, &fault.left, fault.what) < 2)
        fault.left = 0;
    if (clock && sscanf(clock, "%ld:%ld", &fault.clock_left, &seconds) == 2)
        fault.clock_us = seconds * INT64_C(1000000);
}

void ah_fault_at(const char *point)
{
    if (!fault.read)
        read_settings();
    if (fault.left <= 0 || (strcmp(fault.point, "any") != 0 && strcmp(fault.point, point) != 0))
        return;
    if (--fault.left > 0)
        return;
    dprintf(STDERR_FILENO, "fault: %s at %s\n", fault.what, point);
    if (strcmp(fault.what, "kill") == 0)
        raise(SIGKILL);
    fault.due = true;
}

bool ah_fault_is(const char *what)
{
    if (!fault.due || strcmp(fault.what, what) != 0)
        return false;
    fault.due = false;
    return true;
}

int64_t ah_fault_clock(int64_t wall_us)
{
    if (!fault.read)
        read_settings();
    if (fault.clock_us == 0 || --fault.clock_left > 0)
        return wall_us;
    fault.clock_left = 0;
    return wall_us + fault.clock_us;
}
#else
typedef int ah_fault_nothing; /* a file of C is never empty */
#endif
