/* Child processes over socket pairs and a pidfd, all watched by the loop. Called by mcp.c and lua_host.c. Must not
 * block but in ah_child_free, and must not pass on what we hold: files are close-on-exec, variables are chosen. */
#include "child.h"

#include "buf.h"
#include "log.h"
#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_BYTES ((size_t)65536)
#define READS_PER_EVENT 16 /* then others have their turn */
#define STDERR_LINE_BYTES ((size_t)4096)
#define TERM_AFTER_MS 2000 /* from the closed stdin; as long again to SIGKILL */
#define FREE_WAIT_MS 300
#define ENV_MAX 128

static const char *const inherited[] = {"PATH", "HOME", "USER",   "LOGNAME", "SHELL", "LANG",
                                        "TERM", "TZ",   "TMPDIR", "LC_ALL",  NULL};

struct ah_child {
    struct ah_loop *loop;
    struct ah_log *log;
    pid_t pid;
    int pidfd, in, out, err; /* -1: closed */
    struct ah_watch exit_watch, in_watch, out_watch, err_watch;
    struct ah_ready start; /* what is queued leaves after the commit */
    struct ah_timer patience;
    struct ah_buf queue, line, words; /* for stdin; of stdout; of stderr */
    size_t cleared, scanned;          /* of queue: may be written, the commit was; of line: holds no end */
    char last[512];                   /* the last line of stderr */
    bool writing, closing, terminated, exited, told;
    int status;
    struct ah_error broken; /* why its output is not read any more */
    void (*on_line)(void *arg, const char *line, size_t n);
    void (*on_end)(void *arg, const struct ah_error *why);
    void *arg;
};

/* --- starting --------------------------------------------------------------------------------------- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* The list for posix_spawn: pointers into the environment and opts. */
static void choose_env(const char *const *given, const char *out[ENV_MAX], char *room, size_t size)
{
    size_t n = 0, at = 0;
    for (size_t i = 0; inherited[i]; i++) {
        const char *value = getenv(inherited[i]);
        int need = value ? snprintf(room + at, size - at, "%s=%s", inherited[i], value) : -1;
        if (need < 0 || (size_t)need >= size - at)
            continue;
        out[n++] = room + at;
        at += (size_t)need + 1;
    }
    for (; given && *given && n < ENV_MAX - 1; given++)
        out[n++] = *given;
    out[n] = NULL;
}

static int make_pair(int ours[1], int theirs[1])
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    ours[0] = pair[0];
    theirs[0] = pair[1];
    return fcntl(pair[0], F_SETFL, O_NONBLOCK);
}

static int spawn(const struct ah_child_opts *opts, const int theirs[3], pid_t *pid)
{
    const char *env[ENV_MAX];
    char room[16384];
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t all, none;
    choose_env(opts->env, env, room, sizeof room);
    if (posix_spawn_file_actions_init(&files) != 0)
        return ENOMEM;
    if (posix_spawnattr_init(&attr) != 0) {
        posix_spawn_file_actions_destroy(&files);
        return ENOMEM;
    }
    sigfillset(&all); /* what we ignore or block is our affair */
    sigemptyset(&none);
    int rc =
        posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    rc = rc ? rc : posix_spawnattr_setsigdefault(&attr, &all);
    rc = rc ? rc : posix_spawnattr_setsigmask(&attr, &none);
    for (int i = 0; i < 3 && rc == 0; i++)
        rc = posix_spawn_file_actions_adddup2(&files, theirs[i], i);
    if (rc == 0 && opts->dir)
        rc = posix_spawn_file_actions_addchdir_np(&files, opts->dir);
    if (rc == 0)
        rc = posix_spawnp(pid, opts->argv[0], &files, &attr, (char *const *)(uintptr_t)opts->argv,
                          (char *const *)(uintptr_t)env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return rc;
}

static void on_exit_ready(struct ah_watch *w, int events);
static void on_out(struct ah_watch *w, int events);
static void on_err(struct ah_watch *w, int events);
static void on_start(struct ah_ready *r);

static int watch_all(struct ah_child *c)
{
    return ah_watch_start(c->loop, &c->exit_watch, c->pidfd, AH_WATCH_READ, on_exit_ready, c) != 0 ||
                   ah_watch_start(c->loop, &c->out_watch, c->out, AH_WATCH_READ, on_out, c) != 0 ||
                   ah_watch_start(c->loop, &c->err_watch, c->err, AH_WATCH_READ, on_err, c) != 0
               ? -1
               : 0;
}

/* The pairs and the process. 0, or errno. */
static int start_process(struct ah_child *c, const struct ah_child_opts *opts)
{
    int theirs[3] = {-1, -1, -1};
    int rc = make_pair(&c->in, &theirs[0]) != 0 || make_pair(&c->out, &theirs[1]) != 0 ||
                     make_pair(&c->err, &theirs[2]) != 0
                 ? errno
                 : spawn(opts, theirs, &c->pid);
    for (int i = 0; i < 3; i++)
        close_fd(&theirs[i]);
    if (rc != 0) {
        c->pid = 0;
        return rc;
    }
    c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0); /* close-on-exec by itself */
    return c->pidfd < 0 ? errno : 0;
}

struct ah_child *ah_child_start(struct ah_loop *loop, const struct ah_child_opts *opts, struct ah_error *err)
{
    struct ah_child *c = calloc(1, sizeof *c);
    if (!c) {
        ah_err_set(err, AH_MEMORY, "out of memory");
        return NULL;
    }
    c->loop = loop;
    c->log = opts->log;
    c->on_line = opts->on_line;
    c->on_end = opts->on_end;
    c->arg = opts->arg;
    c->start.run = on_start;
    c->pidfd = c->in = c->out = c->err = -1;
    ah_buf_init(&c->queue, AH_CHILD_QUEUE_BYTES);
    ah_buf_init(&c->line, opts->line_bytes ? opts->line_bytes : AH_CHILD_LINE_BYTES);
    ah_buf_init(&c->words, STDERR_LINE_BYTES);
    int rc = start_process(c, opts);
    if (rc == 0 && watch_all(c) != 0)
        rc = ENOMEM;
    if (rc == 0)
        return c;
    if (rc == ENOENT || rc == EACCES)
        ah_err_set(err, AH_CONFIG, "the program %s cannot be started (%s): is it installed, and in PATH?",
                   opts->argv[0], strerror(rc));
    else
        ah_err_set(err, AH_IO, "the program %s cannot be started: %s", opts->argv[0], strerror(rc));
    ah_child_free(c);
    return NULL;
}

/* --- ending ------------------------------------------------------------------------------------------- */

static void describe_end(struct ah_child *c, struct ah_error *why)
{
    const char *said = c->last[0] ? "; its last words: " : "";
    if (c->broken.kind != AH_NONE)
        ah_err_copy(why, &c->broken);
    else if (WIFSIGNALED(c->status))
        ah_err_set(why, AH_IO, "the process was ended by signal %d%s%s", WTERMSIG(c->status), said, c->last);
    else
        ah_err_set(why, AH_IO, "the process ended with code %d%s%s", WEXITSTATUS(c->status), said, c->last);
}

/* Once: when it has ended and nothing more comes, or what came cannot be used. */
static void tell_end(struct ah_child *c)
{
    if (c->told || !((c->exited && c->out < 0) || c->broken.kind != AH_NONE))
        return;
    c->told = true;
    struct ah_error why = {0};
    describe_end(c, &why);
    if (c->on_end)
        c->on_end(c->arg, &why);
    ah_err_drop(&why);
}

static void close_out(struct ah_child *c)
{
    ah_watch_stop(&c->out_watch);
    close_fd(&c->out);
}

static void close_err(struct ah_child *c)
{
    ah_watch_stop(&c->err_watch);
    close_fd(&c->err);
}

static void stop_writing(struct ah_child *c)
{
    ah_watch_stop(&c->in_watch);
    ah_loop_unstart(c->loop, &c->start);
    close_fd(&c->in);
    ah_buf_clear(&c->queue);
    c->cleared = 0;
    c->writing = false;
}

static void on_exit_ready(struct ah_watch *w, int events)
{
    struct ah_child *c = w->arg;
    (void)events;
    if (waitpid(c->pid, &c->status, WNOHANG) <= 0)
        return;
    ah_watch_stop(&c->exit_watch);
    stop_writing(c);
    on_err(&c->err_watch, 0); /* what it wrote last; a grandchild may hold the other ends open for ever */
    on_out(&c->out_watch, 0);
    c->exited = true;
    ah_timer_stop(&c->patience);
    close_out(c);
    close_err(c);
    tell_end(c);
}

static void signal_all(struct ah_child *c, int signal)
{
    if (!c->exited && c->pid > 0)
        kill(-c->pid, signal); /* its session: also what it started */
}

static void on_patience(struct ah_timer *t)
{
    struct ah_child *c = t->arg;
    signal_all(c, c->terminated ? SIGKILL : SIGTERM);
    if (!c->terminated && ah_timer_start(c->loop, &c->patience, TERM_AFTER_MS, on_patience, c) != 0)
        signal_all(c, SIGKILL);
    c->terminated = true;
}

void ah_child_close(struct ah_child *c)
{
    if (c->closing || c->exited)
        return;
    c->closing = true;
    if (c->queue.n == 0)
        stop_writing(c);
    if (ah_timer_start(c->loop, &c->patience, TERM_AFTER_MS, on_patience, c) != 0)
        signal_all(c, SIGKILL);
}

bool ah_child_ended(const struct ah_child *c)
{
    return c->exited;
}

static bool wait_exit(struct ah_child *c, int ms)
{
    struct pollfd p = {.fd = c->pidfd, .events = POLLIN};
    return poll(&p, 1, ms) > 0 && waitpid(c->pid, &c->status, WNOHANG) > 0;
}

void ah_child_free(struct ah_child *c)
{
    if (!c)
        return;
    stop_writing(c);
    ah_timer_stop(&c->patience);
    ah_watch_stop(&c->exit_watch);
    close_out(c);
    close_err(c);
    if (c->pid > 0 && !c->exited && (c->pidfd < 0 || !wait_exit(c, FREE_WAIT_MS))) {
        signal_all(c, SIGKILL);
        while (waitpid(c->pid, &c->status, 0) < 0 && errno == EINTR)
            continue;
    }
    close_fd(&c->pidfd);
    ah_buf_drop(&c->queue);
    ah_buf_drop(&c->line);
    ah_buf_drop(&c->words);
    ah_err_drop(&c->broken);
    free(c);
}

/* --- reading ------------------------------------------------------------------------------------------- */

static void break_output(struct ah_child *c, enum ah_kind kind, const char *why)
{
    ah_err_set(&c->broken, kind, "%s", why);
    close_out(c);
    ah_child_close(c);
    tell_end(c);
}

/* Hands out whole lines. on_line may free nothing: the child lives until its owner says so. */
static void take_lines(struct ah_child *c)
{
    size_t from = 0, look = c->scanned;
    for (;;) {
        const char *end = look < c->line.n ? memchr(c->line.p + look, '\n', c->line.n - look) : NULL;
        if (!end)
            break;
        size_t n = (size_t)(end - (c->line.p + from));
        size_t shown = n > 0 && c->line.p[from + n - 1] == '\r' ? n - 1 : n;
        if (c->on_line && shown > 0)
            c->on_line(c->arg, c->line.p + from, shown);
        from += n + 1;
        look = from;
    }
    ah_buf_consume(&c->line, from);
    c->scanned = c->line.n;
}

static void on_out(struct ah_watch *w, int events)
{
    struct ah_child *c = w->arg;
    (void)events;
    for (int i = 0; c->out >= 0 && i < READS_PER_EVENT; i++) {
        char *room = ah_buf_reserve(&c->line, READ_BYTES);
        if (!room) {
            break_output(c, AH_LIMIT, "the process wrote a line that is too long");
            return;
        }
        ssize_t n = read(c->out, room, READ_BYTES);
        if (n > 0) {
            c->line.n += (size_t)n;
            take_lines(c);
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        close_out(c); /* its end; whether it has exited, the pidfd says */
        tell_end(c);
    }
}

static void keep_words(struct ah_child *c)
{
    snprintf(c->last, sizeof c->last, "%s", ah_buf_str(&c->words));
    ah_log_plain(c->last, strlen(c->last));
    if (c->log)
        ah_log_line(c->log, AH_LOG_DEBUG, "process %d: %s", (int)c->pid, c->last);
    ah_buf_clear(&c->words);
}

static void on_err(struct ah_watch *w, int events)
{
    struct ah_child *c = w->arg;
    char piece[4096];
    (void)events;
    if (c->err < 0)
        return;
    ssize_t n = read(c->err, piece, sizeof piece);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close_err(c);
        return;
    }
    for (ssize_t i = 0; i < n; i++) {
        if (piece[i] == '\n' && c->words.n > 0)
            keep_words(c);
        else if (piece[i] != '\n')
            ah_buf_addc(&c->words, piece[i]); /* the rest of a line that is too long is left out */
    }
}

/* --- writing ------------------------------------------------------------------------------------------- */

static void write_queue(struct ah_child *c);

static void on_in(struct ah_watch *w, int events)
{
    (void)events;
    write_queue(w->arg);
}

/* No further than `cleared`: what came later waits for its own commit, which may fail and be tried again. */
static void write_queue(struct ah_child *c)
{
    while (c->in >= 0 && c->cleared > 0) {
        ssize_t n = send(c->in, c->queue.p, c->cleared, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            ah_buf_consume(&c->queue, (size_t)n);
            c->cleared -= (size_t)n;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            if (!c->writing)
                c->writing = ah_watch_start(c->loop, &c->in_watch, c->in, AH_WATCH_WRITE, on_in, c) == 0;
            return;
        }
        stop_writing(c); /* it reads nothing more; that it ends is told apart */
        return;
    }
    if (c->writing) {
        ah_watch_stop(&c->in_watch);
        c->writing = false;
    }
    if (c->closing && c->queue.n == 0)
        stop_writing(c);
}

static void on_start(struct ah_ready *r)
{
    struct ah_child *c = (struct ah_child *)(void *)((char *)r - offsetof(struct ah_child, start));
    c->cleared = c->queue.n;
    write_queue(c);
}

int ah_child_send(struct ah_child *c, const char *line, size_t n, struct ah_error *err)
{
    if (c->in < 0 || c->closing)
        return ah_err_set(err, AH_IO, "the process has ended%s%s", c->last[0] ? "; its last words: " : "",
                          c->last);
    size_t before = c->queue.n;
    if (ah_buf_add(&c->queue, line, n) != 0 || ah_buf_addc(&c->queue, '\n') != 0) {
        c->queue.n = before;
        c->queue.failed = false;
        return ah_err_set(err, AH_LIMIT, "the process does not read what it is sent: %zu MB wait",
                          before >> 20);
    }
    ah_loop_start(c->loop, &c->start);
    return 0;
}
