/* Finding and reading Lua files and prompts. Called by lua_host.c, host.c and cmd_scripts.c. Must not
 * keep what it read: a prompt that changes while the program runs is read anew. */
#include "scripts.h"

#include "buf.h"
#include "limits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES ((size_t)8192)
#define PLACES 4
#define YOUNG_US 100000

struct ah_scripts {
    char *dirs[PLACES]; /* 0 is the script's folder, given with each call */
};

static const char *const sources[PLACES] = {"folder", "dir", "environment", "installed"};

static char *copy_dir(const char *dir)
{
    return dir && dir[0] ? strdup(dir) : NULL;
}

struct ah_scripts *ah_scripts_new(const char *option_dir, const char *environment_dir,
                                  const char *installed_dir)
{
    struct ah_scripts *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->dirs[1] = copy_dir(option_dir);
    s->dirs[2] = copy_dir(environment_dir);
    s->dirs[3] = copy_dir(installed_dir);
    return s;
}

void ah_scripts_free(struct ah_scripts *s)
{
    if (!s)
        return;
    for (int i = 0; i < PLACES; i++)
        free(s->dirs[i]);
    free(s);
}

void ah_script_file_drop(struct ah_script_file *f)
{
    free(f->path);
    free(f->text);
    *f = (struct ah_script_file){0};
}

static const struct ah_embedded *find_embedded(const char *path)
{
    for (const struct ah_embedded *e = ah_embedded_files; e->path; e++)
        if (strcmp(e->path, path) == 0)
            return e;
    return NULL;
}

/* 0 read, 1 no such file, -1 err. */
static int read_file(const char *path, struct ah_buf *to, struct ah_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return 1;
        return ah_err_set(err, AH_IO, "cannot read %s: %s", path, strerror(errno));
    }
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        close(fd);
        return ah_err_set(err, AH_CONFIG, "%s is a folder; name a file in it", path);
    }
    for (;;) {
        char *room = ah_buf_reserve(to, 16384);
        ssize_t n = room ? read(fd, room, 16384) : -1;
        if (n < 0) {
            int why = errno;
            close(fd);
            if (to->failed)
                return ah_err_set(err, AH_LIMIT, "%s is larger than %zu MB", path,
                                  AH_SCRIPT_FILE_BYTES >> 20);
            return ah_err_set(err, AH_IO, "cannot read %s: %s", path, strerror(why));
        }
        if (n == 0)
            break;
        to->n += (size_t)n;
    }
    close(fd);
    ah_buf_reserve(to, 0);
    if (to->p)
        to->p[to->n] = '\0';
    return 0;
}

static int fill(struct ah_script_file *out, const char *path, const char *source, struct ah_buf *text,
                struct ah_error *err)
{
    out->path = strdup(path);
    out->text = ah_buf_take(text, &out->n);
    out->source = source;
    if (!out->path || !out->text || ah_hash_sha256_hex(out->text, out->n, out->sha256) != 0) {
        ah_script_file_drop(out);
        return ah_err_set(err, AH_MEMORY, "out of memory");
    }
    return 0;
}

static void join(char *out, const char *dir, const char *path)
{
    if (dir[0])
        snprintf(out, PATH_BYTES, "%s/%s", dir, path);
    else
        snprintf(out, PATH_BYTES, "%s", path);
}

int ah_scripts_read(struct ah_scripts *s, const char *folder, const char *path, struct ah_script_file *out,
                    struct ah_error *err)
{
    char full[PATH_BYTES];
    struct ah_buf text, tried;
    *out = (struct ah_script_file){0};
    ah_buf_init(&text, AH_SCRIPT_FILE_BYTES);
    ah_buf_init(&tried, sizeof err->message);
    int rc = 1;
    bool absolute = path[0] == '/';
    for (int i = 0; i < PLACES && rc == 1; i++) {
        const char *dir = absolute ? "" : i == 0 ? folder : s->dirs[i];
        if (!dir || (absolute && i > 0))
            continue;
        join(full, dir, path);
        rc = read_file(full, &text, err);
        if (rc == 0)
            rc = fill(out, full, sources[i], &text, err);
        else if (rc == 1)
            ah_buf_addf(&tried, "%s%s", tried.n ? ", " : "", full);
    }
    const struct ah_embedded *e = rc == 1 && !absolute ? find_embedded(path) : NULL;
    if (e) {
        snprintf(full, sizeof full, "embedded:%s", path);
        rc = ah_buf_add(&text, e->begin, (size_t)(e->end - e->begin));
        rc = rc == 0 ? fill(out, full, "embedded", &text, err) : ah_err_set(err, AH_MEMORY, "out of memory");
    }
    if (rc == 1)
        rc = ah_err_set(err, AH_CONFIG, "no file %s; looked for %s%s", path, ah_buf_str(&tried),
                        absolute ? "" : " and among the embedded ones");
    ah_buf_drop(&text);
    ah_buf_drop(&tried);
    return rc;
}

static int64_t us_of(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* The times of files move in steps of some milliseconds: a young file may be written again within one. */
static int write_stamp(const struct stat *st, char *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (us_of(now) - us_of(st->st_mtim) < YOUNG_US || us_of(now) - us_of(st->st_ctim) < YOUNG_US)
        return -1;
    snprintf(out, AH_SCRIPTS_STAMP_BYTES, "%jx.%jx.%jx.%jx.%jx", (uintmax_t)st->st_dev, (uintmax_t)st->st_ino,
             (uintmax_t)st->st_size, (uintmax_t)us_of(st->st_mtim), (uintmax_t)us_of(st->st_ctim));
    return 0;
}

int ah_scripts_stamp(struct ah_scripts *s, const char *folder, const char *path,
                     char out[AH_SCRIPTS_STAMP_BYTES])
{
    char full[PATH_BYTES];
    struct stat st;
    bool absolute = path[0] == '/';
    for (int i = 0; i < PLACES; i++) {
        const char *dir = absolute ? "" : i == 0 ? folder : s->dirs[i];
        if (!dir || (absolute && i > 0))
            continue;
        join(full, dir, path);
        if (stat(full, &st) == 0)
            return S_ISREG(st.st_mode) ? write_stamp(&st, out) : -1;
        if (errno != ENOENT && errno != ENOTDIR)
            return -1;
    }
    if (absolute || !find_embedded(path))
        return -1;
    snprintf(out, AH_SCRIPTS_STAMP_BYTES, "embedded");
    return 0;
}

static int is_shown(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* 0 or what told says; 1 when there is no such folder (told must not say 1); -1 err. */
static int list_dir(const char *path, int (*told)(void *arg, const char *name), void *arg,
                    struct ah_error *err)
{
    struct dirent **entries;
    int n = scandir(path, &entries, is_shown, by_bytes);
    if (n < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 1;
    if (n < 0)
        return ah_err_set(err, AH_IO, "cannot list %s: %s", path, strerror(errno));
    int rc = 0;
    for (int i = 0; i < n; i++) {
        if (rc == 0)
            rc = told(arg, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return rc;
}

int ah_scripts_list(struct ah_scripts *s, const char *folder, const char *path,
                    int (*told)(void *arg, const char *name), void *arg, struct ah_error *err)
{
    char full[PATH_BYTES];
    int rc = 1;
    bool absolute = path[0] == '/';
    for (int i = 0; i < PLACES && rc == 1; i++) {
        const char *dir = absolute ? "" : i == 0 ? folder : s->dirs[i];
        if (!dir || (absolute && i > 0))
            continue;
        join(full, dir, path);
        rc = list_dir(full, told, arg, err);
    }
    return rc == 1 ? ah_err_set(err, AH_CONFIG, "no folder %s beside the script or among its modules", path)
                   : rc;
}

void ah_scripts_split(const char *path, char *folder, size_t folder_size, char *name, size_t name_size)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    if (!slash)
        snprintf(folder, folder_size, ".");
    else
        snprintf(folder, folder_size, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    snprintf(name, name_size, "%s", base);
    size_t n = strlen(name);
    if (n > 4 && strcmp(name + n - 4, ".lua") == 0)
        name[n - 4] = '\0';
}

bool ah_scripts_exists(struct ah_scripts *s, const char *folder, const char *path)
{
    char full[PATH_BYTES];
    struct stat st;
    for (int i = 0; i < PLACES; i++) {
        const char *dir = path[0] == '/' ? "" : i == 0 ? folder : s->dirs[i];
        if (!dir)
            continue;
        join(full, dir, path);
        if (stat(full, &st) == 0 && S_ISREG(st.st_mode))
            return true;
    }
    return find_embedded(path) != NULL;
}

/* --- copying out -------------------------------------------------------------------------------------- */

static int make_parents(char *path, size_t from)
{
    for (char *slash = path + from; (slash = strchr(slash, '/')); slash++) {
        if (slash == path)
            continue;
        *slash = '\0';
        int rc = mkdir(path, 0777);
        *slash = '/';
        if (rc != 0 && errno != EEXIST)
            return -1;
    }
    return 0;
}

static int write_new(const char *path, const char *p, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return -1;
    while (n > 0) {
        ssize_t k = write(fd, p, n);
        if (k < 0) {
            int why = errno;
            close(fd);
            unlink(path);
            errno = why;
            return -1;
        }
        p += k;
        n -= (size_t)k;
    }
    return close(fd);
}

int ah_scripts_write(const char *path, const char *p, size_t n, struct ah_error *err)
{
    char full[PATH_BYTES];
    if ((size_t)snprintf(full, sizeof full, "%s", path) >= sizeof full)
        return ah_err_set(err, AH_CONFIG, "the path %.100s... is too long", path);
    if (make_parents(full, 0) != 0)
        return ah_err_set(err, AH_IO, "cannot make the folders of %s: %s", path, strerror(errno));
    if (write_new(full, p, n) == 0)
        return 0;
    if (errno == EEXIST)
        return ah_err_set(err, AH_CONFIG, "%s is there already: it is not written over", path);
    return ah_err_set(err, AH_IO, "cannot write %s: %s", path, strerror(errno));
}

int ah_scripts_copy(const char *dir, void (*told)(void *arg, const char *path, bool kept), void *arg,
                    struct ah_error *err)
{
    char full[PATH_BYTES];
    for (const struct ah_embedded *e = ah_embedded_files; e->path; e++) {
        snprintf(full, sizeof full, "%s/%s", dir, e->path);
        if (make_parents(full, 0) != 0)
            return ah_err_set(err, AH_IO, "cannot make the folders of %s: %s", full, strerror(errno));
        bool kept = false;
        if (write_new(full, e->begin, (size_t)(e->end - e->begin)) != 0) {
            if (errno != EEXIST)
                return ah_err_set(err, AH_IO, "cannot write %s: %s", full, strerror(errno));
            kept = true;
        }
        told(arg, full, kept);
    }
    return 0;
}
