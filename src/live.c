/* Lock files that say which processes are alive. Called by store.c when a journal is opened, and when
 * it meets runs of others. Must never take its own file for a dead one's. */
#include "live.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file is locked under a hidden name before it gets its own, so that nobody sees it unlocked. */
static int make_locked(const char *hidden, const char *final)
{
    int fd = open(hidden, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    if (fd < 3) { /* a closed stdin: 0 is our closed state, and 1 and 2 are printed to */
        int higher = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        close(fd);
        fd = higher;
    }
    if (fd >= 0 && fchmod(fd, 0600) == 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && rename(hidden, final) == 0)
        return fd;
    int why = errno;
    unlink(hidden);
    if (fd >= 0)
        close(fd);
    errno = why;
    return -1;
}

int ah_live_open(struct ah_live *l, const char *dir, const char *id, struct ah_error *err)
{
    char hidden[sizeof l->dir + 64], final[sizeof l->dir + 64];
    *l = (struct ah_live){0};
    snprintf(l->dir, sizeof l->dir, "%s/live", dir);
    snprintf(l->id, sizeof l->id, "%s", id);
    if (mkdir(l->dir, 0700) == 0)
        (void)!chmod(l->dir, 0700);
    snprintf(hidden, sizeof hidden, "%s/.%s", l->dir, id);
    snprintf(final, sizeof final, "%s/%s", l->dir, id);
    int fd = make_locked(hidden, final);
    if (fd < 0) {
        *l = (struct ah_live){0};
        return ah_err_set(err, AH_IO, "cannot make the lock file %s: %s", final, strerror(errno));
    }
    l->fd = fd;
    return 0;
}

void ah_live_close(struct ah_live *l)
{
    if (l->fd > 0)
        ah_live_bury(l, l->id, l->fd);
    *l = (struct ah_live){0};
}

int ah_live_seize(const struct ah_live *l, const char *id)
{
    char path[sizeof l->dir + 64];
    if (!l->dir[0] || !ah_ids_is_uuid(id) || strcmp(id, l->id) == 0)
        return -1;
    snprintf(path, sizeof path, "%s/%s", l->dir, id);
    /* Without the file the process ended in order, or was buried: made anew, it serves as the lock. */
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    close(fd);
    return -1;
}

void ah_live_bury(const struct ah_live *l, const char *id, int fd)
{
    char path[sizeof l->dir + 64];
    snprintf(path, sizeof path, "%s/%s", l->dir, id);
    unlink(path);
    close(fd);
}
