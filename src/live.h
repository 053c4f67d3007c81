/* Is a process alive: each holds a lock on DIR/live/<uuid> as long as it runs. The kernel frees the
 * lock whatever way the process ends. Used by store.c only. */
#ifndef AH_LIVE_H
#define AH_LIVE_H

#include "err.h"
#include "ids.h"

struct ah_live {
    int fd; /* 0: closed state; never stdin, see ah_live_open */
    char id[AH_UUID_BYTES];
    char dir[4096]; /* DIR/live */
};

/* Makes DIR/live (0700) and a locked file named `id` in it. -1: AH_IO. */
int ah_live_open(struct ah_live *l, const char *dir, const char *id, struct ah_error *err);
void ah_live_close(struct ah_live *l); /* removes the file */

/* Takes the lock of a process that is gone. fd >= 0: it is gone and nobody else deals with it (give it
 * to ah_live_bury or close it); -1: it lives, or somebody else is at it. */
int ah_live_seize(const struct ah_live *l, const char *id);
void ah_live_bury(const struct ah_live *l, const char *id, int fd); /* removes its file, frees the lock */

#endif
