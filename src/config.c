/* Settings by name, and where each came from.
 *
 * Called by core at start, then by the services and the commands. The only reader of the environment
 * and of .env files. Must never write the environment, and never put a value into a message. */
#include "config.h"

#include "buf.h"
#include "dotenv.h"
#include "limits.h"
#include "log.h"
#include "proxy.h"
#include "secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES ((size_t)64 << 10)
#define MISSING_MAX_BYTES 1000

/* One setting of a flag, of the emulator or of a file. A name that is replaced keeps its older entry:
 * answers that were given stay valid. */
struct setting {
    struct setting *next;
    enum ah_config_source source;
    const struct dotenv_file *file; /* of AH_FROM_DOTENV */
    int line;                       /* of the file */
    char *name;
    char *value; /* trimmed */
};

struct dotenv_file {
    struct dotenv_file *next;
    bool found;
    dev_t dev;
    ino_t ino;
    char path[];
};

struct ah_config {
    struct ah_secrets *secrets;
    struct ah_log *log;
    bool emulated;
    bool alone;                /* the process\'s environment is not read */
    struct setting *settings;  /* newest first */
    struct dotenv_file *files; /* in the order they were asked for */
    struct setting *kept;      /* values of the environment that were answered */
};

/* What is being read from a file: nothing of a file that has an error is used. */
struct reading {
    struct ah_config *config;
    struct dotenv_file *file;
    struct setting *settings; /* newest first */
};

static bool is_service_name(const char *name)
{
    static const char *const prefixes[] = {"SCALEKIT_", "OPENAI_", "LITELLM_", "LANGSMITH_", "LANGCHAIN_"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Without white space around it, then without one pair of quotes. malloc'd. */
static char *trim_copy(const char *value)
{
    const char *end = value + strlen(value);
    while (value < end && is_space(*value))
        value++;
    while (end > value && is_space(end[-1]))
        end--;
    if (end - value >= 2 && (*value == '"' || *value == '\'') && end[-1] == *value) {
        value++;
        end--;
    }
    return strndup(value, (size_t)(end - value));
}

static bool is_blank(const char *value)
{
    while (is_space(*value))
        value++;
    return *value == '\0';
}

static void free_settings(struct setting *list)
{
    for (struct setting *next; list; list = next) {
        next = list->next;
        if (list->value)
            explicit_bzero(list->value, strlen(list->value));
        free(list->value);
        free(list->name);
        free(list);
    }
}

static struct setting *push_setting(struct setting **list, const char *name, const char *value)
{
    struct setting *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->name = strdup(name);
    s->value = trim_copy(value);
    if (!s->name || !s->value) {
        free_settings(s);
        return NULL;
    }
    s->next = *list;
    *list = s;
    return s;
}

static const struct setting *find_setting(const struct ah_config *c, const char *name,
                                          enum ah_config_source source)
{
    for (const struct setting *s = c->settings; s; s = s->next)
        if (s->source == source && strcmp(s->name, name) == 0)
            return s;
    return NULL;
}

/* Of several files the first one that was loaded; inside a file the last line. The list is newest
 * first, so the first line met of each file is its last one. */
static const struct setting *find_dotenv(const struct ah_config *c, const char *name)
{
    const struct setting *found = NULL;
    for (const struct setting *s = c->settings; s; s = s->next)
        if (s->source == AH_FROM_DOTENV && strcmp(s->name, name) == 0 && (!found || found->file != s->file))
            found = s;
    return found;
}

const char *ah_config_environment(const struct ah_config *c, const char *name)
{
    return c->alone ? NULL : getenv(name);
}

static char **environment_of(const struct ah_config *c)
{
    return c->alone ? NULL : environ;
}

/* A trimmed copy of a variable, the same pointer for the same value. */
static const struct setting *find_environment(struct ah_config *c, const char *name)
{
    const struct setting *given = find_setting(c, name, AH_FROM_ENVIRONMENT);
    if (given)
        return given;
    const char *raw = ah_config_environment(c, name);
    char *value = raw ? trim_copy(raw) : NULL;
    if (!value)
        return NULL;
    struct setting *s = c->kept;
    while (s && (strcmp(s->name, name) != 0 || strcmp(s->value, value) != 0))
        s = s->next;
    if (!s && (s = push_setting(&c->kept, name, raw)) != NULL)
        s->source = AH_FROM_ENVIRONMENT;
    explicit_bzero(value, strlen(value));
    free(value);
    return s;
}

/* The setting in force, blank or not. */
static const struct setting *find_any(struct ah_config *c, const char *name)
{
    const struct setting *s = find_setting(c, name, AH_FROM_FLAG);
    if (!s && c->emulated)
        s = find_setting(c, name, AH_FROM_EMULATOR);
    if (s || (c->emulated && is_service_name(name)))
        return s;
    s = find_environment(c, name);
    return s ? s : find_dotenv(c, name);
}

static const struct setting *find_set(struct ah_config *c, const char *name)
{
    const struct setting *s = find_any(c, name);
    return s && !is_blank(s->value) ? s : NULL;
}

static void hide_text(struct ah_config *c, const char *name, const char *text)
{
    if (text && strlen(text) >= AH_SECRET_MIN_BYTES &&
        ah_secret_hide(c->secrets, name, text, strlen(text)) != 0 && c->log)
        ah_log_line(c->log, AH_LOG_ERROR, "out of memory: the value of %s will not be masked", name);
}

static void hide_value(struct ah_config *c, const char *name, const char *value)
{
    struct ah_proxy proxy = {0};
    char *text = c->secrets && (ah_secret_is_name(name) || ah_proxy_is_name(name)) ? trim_copy(value) : NULL;
    if (text && ah_secret_is_name(name))
        hide_text(c, name, text);
    else if (text && ah_proxy_parse(&proxy, name, text, NULL) == 0)
        hide_text(c, name, proxy.password);
    ah_proxy_drop(&proxy);
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

/* Makes ah_secret_get answer what is in force, or nothing. */
static void settle_secret(struct ah_config *c, const char *name)
{
    if (!c->secrets || !ah_secret_is_name(name))
        return;
    const struct setting *s = find_set(c, name);
    ah_secret_forget(c->secrets, name);
    if (s)
        ah_secret_add(c->secrets, name, s->value, strlen(s->value));
}

static void settle_secrets(struct ah_config *c)
{
    for (char **e = environment_of(c); e && *e; e++) {
        const char *equals = strchr(*e, '=');
        char *name = equals ? strndup(*e, (size_t)(equals - *e)) : NULL;
        if (name) {
            hide_value(c, name, equals + 1);
            settle_secret(c, name);
        }
        free(name);
    }
    for (const struct setting *s = c->settings; s; s = s->next)
        settle_secret(c, s->name);
}

static struct ah_config *new_config(struct ah_secrets *secrets, struct ah_log *log, bool alone)
{
    struct ah_config *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->secrets = secrets;
    c->log = log;
    c->alone = alone;
    settle_secrets(c);
    return c;
}

struct ah_config *ah_config_new(struct ah_secrets *secrets, struct ah_log *log)
{
    return new_config(secrets, log, false);
}

struct ah_config *ah_config_new_alone(struct ah_secrets *secrets, struct ah_log *log)
{
    return new_config(secrets, log, true);
}

void ah_config_free(struct ah_config *c)
{
    if (!c)
        return;
    free_settings(c->settings);
    free_settings(c->kept);
    for (struct dotenv_file *f = c->files, *next; f; f = next) {
        next = f->next;
        free(f);
    }
    free(c);
}

/* ---- .env files ---- */

static int refuse_file(const char *path, int why, struct ah_error *err)
{
    return ah_err_set(err, AH_CONFIG,
                      "Cannot read the settings file %s: %s. Check the path, or leave it away.", path,
                      strerror(why));
}

static int read_bytes(int fd, const char *path, struct ah_buf *to, struct ah_error *err)
{
    for (;;) {
        size_t left = AH_DOTENV_BYTES + 1 - to->n;
        if (left == 0)
            return 0; /* the parser says that it is too large */
        char *into = ah_buf_reserve(to, left < READ_BYTES ? left : READ_BYTES);
        if (!into)
            return ah_err_set(err, AH_MEMORY, "Out of memory while reading %s.", path);
        ssize_t n = read(fd, into, left < READ_BYTES ? left : READ_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return refuse_file(path, errno, err);
        if (n == 0)
            return 0;
        to->n += (size_t)n;
    }
}

/* ${NAME} in a file: real keys of the services are not read while emulating. */
static const char *lookup_name(void *arg, const char *name)
{
    struct reading *r = arg;
    const struct setting *s = find_any(r->config, name);
    return s ? s->value : NULL;
}

static int take_pair(void *arg, int line, const char *name, const char *value, size_t n)
{
    (void)n; /* a value holds no NUL */
    struct reading *r = arg;
    hide_value(r->config, name, value);
    struct setting *s = push_setting(&r->settings, name, value);
    if (!s)
        return -1;
    s->source = AH_FROM_DOTENV;
    s->file = r->file;
    s->line = line;
    return 0;
}

static int parse_file(struct ah_config *c, struct dotenv_file *file, const struct ah_buf *text,
                      struct ah_error *err)
{
    struct reading r = {.config = c, .file = file};
    struct ah_error why = {0};
    if (ah_dotenv_parse(ah_buf_str(text), text->n, lookup_name, take_pair, &r, &why) != 0) {
        if (why.kind == AH_CONFIG)
            ah_err_set(err, AH_CONFIG, "%s, %s.", file->path, why.message);
        else
            ah_err_set(err, AH_MEMORY, "Out of memory while reading %s.", file->path);
        ah_err_drop(&why);
        free_settings(r.settings);
        return -1;
    }
    struct setting **last = &r.settings;
    while (*last)
        last = &(*last)->next;
    *last = c->settings;
    c->settings = r.settings;
    return 0;
}

static int load_open(struct ah_config *c, struct dotenv_file *file, int fd, struct ah_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return refuse_file(file->path, errno, err);
    for (const struct dotenv_file *f = c->files; f; f = f->next)
        if (f->found && f->dev == st.st_dev && f->ino == st.st_ino)
            return 0; /* the same file by another path */
    file->dev = st.st_dev;
    file->ino = st.st_ino;
    if (c->log && S_ISREG(st.st_mode) && (st.st_mode & 077))
        ah_log_once(c->log, AH_ONCE_DOTENV_MODE, AH_LOG_WARN,
                    "%s can be read by other users of this machine; run: chmod 600 '%s'", file->path,
                    file->path);
    struct ah_buf text;
    ah_buf_init(&text, AH_DOTENV_BYTES + 1);
    int rc = read_bytes(fd, file->path, &text, err);
    if (rc == 0)
        rc = parse_file(c, file, &text, err);
    if (text.p)
        explicit_bzero(text.p, text.cap);
    ah_buf_drop(&text);
    file->found = rc == 0;
    return rc;
}

static struct dotenv_file *add_file(struct ah_config *c, const char *path)
{
    struct dotenv_file **last = &c->files;
    for (; *last; last = &(*last)->next)
        if (strcmp((*last)->path, path) == 0)
            return *last;
    struct dotenv_file *file = calloc(1, sizeof *file + strlen(path) + 1);
    if (file) {
        memcpy(file->path, path, strlen(path) + 1);
        *last = file;
    }
    return file;
}

int ah_config_load(struct ah_config *c, const char *path, bool optional, struct ah_error *err)
{
    struct dotenv_file *file = add_file(c, path);
    if (!file)
        return ah_err_set(err, AH_MEMORY, "Out of memory while reading %s.", path);
    if (file->found)
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 && optional && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (fd < 0)
        return refuse_file(path, errno, err);
    int rc = load_open(c, file, fd, err);
    close(fd);
    if (rc == 0)
        settle_secrets(c);
    return rc;
}

/* ---- asking and setting ---- */

int ah_config_set(struct ah_config *c, const char *name, const char *value, enum ah_config_source source)
{
    if (!value || (source != AH_FROM_FLAG && source != AH_FROM_EMULATOR && source != AH_FROM_ENVIRONMENT))
        return -1;
    struct setting *s = push_setting(&c->settings, name, value);
    if (!s)
        return -1;
    s->source = source;
    hide_value(c, name, value);
    settle_secret(c, name);
    return 0;
}

void ah_config_set_emulated(struct ah_config *c, bool emulated)
{
    c->emulated = emulated;
    settle_secrets(c);
}

bool ah_config_emulated(const struct ah_config *c)
{
    return c->emulated;
}

bool ah_config_is_secret(struct ah_config *c, const char *name)
{
    const char *proxy = ah_proxy_is_name(name) ? ah_config_get(c, name) : NULL;
    return ah_secret_is_name(name) || (proxy && strchr(proxy, '@'));
}

const char *ah_config_get(struct ah_config *c, const char *name)
{
    const struct setting *s = find_set(c, name);
    return s ? s->value : NULL;
}

const char *ah_config_first(struct ah_config *c, const char **which, ...)
{
    const char *value = NULL, *name;
    va_list args;
    va_start(args, which);
    while (!value && (name = va_arg(args, const char *)) != NULL) {
        value = ah_config_get(c, name);
        if (value && which)
            *which = name;
    }
    va_end(args);
    return value;
}

enum ah_config_source ah_config_source_of(struct ah_config *c, const char *name)
{
    const struct setting *s = find_set(c, name);
    return s ? s->source : AH_FROM_NOWHERE;
}

bool ah_config_is_file(const struct ah_config *c, const char *path)
{
    bool found = false;
    for (const struct dotenv_file *f = c->files; f && !found; f = f->next) {
        char *full = realpath(f->path, NULL);
        found = full && strcmp(full, path) == 0;
        free(full);
    }
    return found;
}

const char *ah_config_file_of(struct ah_config *c, const char *name)
{
    const struct setting *s = find_set(c, name);
    return s && s->file ? s->file->path : NULL;
}

/* ---- saying what is missing ---- */

/* The one in force first; then the rest, strongest first. */
size_t ah_config_givens(struct ah_config *c, const char *name, struct ah_config_given *out, size_t max)
{
    const struct setting *all[4 + AH_CONFIG_GIVEN_COUNT] = {find_setting(c, name, AH_FROM_FLAG),
                                                            find_setting(c, name, AH_FROM_EMULATOR),
                                                            find_environment(c, name)};
    const struct setting *force = find_any(c, name);
    size_t n = 0, last = 3;
    for (const struct dotenv_file *f = c->files; f && last < AH_CONFIG_GIVEN_COUNT; f = f->next)
        for (const struct setting *s = c->settings; s; s = s->next)
            if (s->file == f && s->source == AH_FROM_DOTENV && strcmp(s->name, name) == 0) {
                all[last++] = s;
                break; /* the newest: its last line */
            }
    for (size_t i = 0; i < last && n < max; i++) {
        if (!all[i] || (all[i]->source == AH_FROM_EMULATOR && !c->emulated))
            continue;
        out[n++] = (struct ah_config_given){.source = all[i]->source,
                                            .file = all[i]->file ? all[i]->file->path : NULL,
                                            .line = all[i]->line,
                                            .value = all[i]->value,
                                            .in_force = all[i] == force};
    }
    return n;
}

static size_t name_length(const char *p)
{
    return strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
}

/* A name that is there with nothing in it is the commonest surprise: the files are not asked then. */
static void say_blank(struct ah_config *c, const char *names, struct ah_buf *to)
{
    for (const char *p = names; *p;) {
        size_t n = name_length(p);
        char *name = n > 2 ? strndup(p, n) : NULL;
        const struct setting *s = name ? find_any(c, name) : NULL;
        if (s && is_blank(s->value))
            ah_buf_addf(to, " %s is there but empty in %s.", name,
                        s->source == AH_FROM_FLAG       ? "a flag"
                        : s->source == AH_FROM_EMULATOR ? "the emulator's settings"
                        : s->file                       ? s->file->path
                                                        : "the environment");
        free(name);
        p += n ? n : 1;
    }
}

/* Another path of a file that is in the list already. */
static bool is_repeated(const struct ah_config *c, const struct dotenv_file *file)
{
    struct stat st;
    if (file->found || stat(file->path, &st) != 0)
        return false;
    for (const struct dotenv_file *f = c->files; f; f = f->next)
        if (f->found && f->dev == st.st_dev && f->ino == st.st_ino)
            return true;
    return false;
}

int ah_config_missing(struct ah_config *c, const char *names, struct ah_error *err)
{
    struct ah_buf b;
    ah_buf_init(&b, MISSING_MAX_BYTES);
    const char *verb = strstr(names, " and ") ? "are" : "is";
    if (c->emulated) {
        ah_buf_addf(&b, "%s %s not set: with --emulate only flags and the emulator are asked.", names, verb);
        say_blank(c, names, &b);
        ah_buf_adds(&b, " Give it as a flag, or run without --emulate.");
    } else {
        ah_buf_addf(&b, "%s %s not set: not in the environment", names, verb);
        for (const struct dotenv_file *f = c->files; f; f = f->next)
            if (!is_repeated(c, f))
                ah_buf_addf(&b, ", not in %s%s", f->path, f->found ? "" : " (no such file)");
        ah_buf_adds(&b, c->files ? "." : ", and no .env file was read.");
        say_blank(c, names, &b);
        ah_buf_addf(&b, " Set %s, or try --emulate (needs no account).", verb[0] == 'a' ? "them" : "it");
    }
    if (b.failed) /* paths of unusual length */
        ah_err_set(err, AH_CONFIG,
                   "%s %s not set. Set %s in the environment or in a .env file, or try --emulate.", names,
                   verb, verb[0] == 'a' ? "them" : "it");
    else
        ah_err_set(err, AH_CONFIG, "%s", ah_buf_str(&b));
    ah_buf_drop(&b);
    return -1;
}

void ah_config_each(struct ah_config *c, const char *prefix,
                    void (*fn)(void *arg, const char *name, const char *value), void *arg)
{
    size_t n = strlen(prefix);
    for (char **e = environment_of(c); e && *e; e++) {
        const char *equals = strchr(*e, '=');
        if (!equals || strncmp(*e, prefix, n) != 0)
            continue;
        char *name = strndup(*e, (size_t)(equals - *e));
        const char *value = name ? ah_config_get(c, name) : NULL;
        if (value)
            fn(arg, name, value);
        free(name);
    }
    for (const struct setting *s = c->settings; s; s = s->next) {
        const struct setting *force = strncmp(s->name, prefix, n) == 0 && !ah_config_environment(c, s->name)
                                          ? find_set(c, s->name)
                                          : NULL;
        if (force == s)
            fn(arg, s->name, s->value);
    }
}
