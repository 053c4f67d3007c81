/* agenthost new: a folder with an agent to begin with: script, prompt, tools, test, settings. The texts are scripts/new;
 * @NAME@ in them is the agent's name, @STUBS@ where the declarations for editors are. Never writes over anything. */
#include "cmd.h"
#include "scripts.h"

#include <ctype.h>
#include <dirent.h>
#include <string.h>

#define NAME_BYTES 64
#define FILE_BYTES ((size_t)65536)
#define STUBS_EVERYWHERE "/usr/local/share/agenthost/scripts/meta\", \"/usr/share/agenthost/scripts/meta"

/* From scripts/new to where it goes; @ is the name. */
static const char *const files[][2] = {
    {"new/script.lua", "@.lua"},       {"new/prompt.md", "prompts/@.md"}, {"new/tools.lua", "tools.lua"},
    {"new/test.lua", "@_test.lua"},    {"new/env", ".env.example"},       {"new/gitignore", ".gitignore"},
    {"new/luarc.json", ".luarc.json"},
};
#define FILE_COUNT (sizeof files / sizeof files[0])

struct agent {
    const char *folder;
    char name[NAME_BYTES], stubs[4200];
};

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* A name of a file and of a Lua module: letters, digits, _ and -, a letter first. */
static int check_name(const char *name, struct ah_error *err)
{
    bool good = isalpha((unsigned char)name[0]) && strlen(name) < NAME_BYTES;
    for (const char *p = name; *p && good; p++)
        good = isalnum((unsigned char)*p) || *p == '_' || *p == '-';
    if (!good)
        return ah_err_set(err, AH_CONFIG,
                          "'%.100s' is no name for an agent: letters, digits, _ and -, a letter first", name);
    return 0;
}

/* There may be an empty folder, as somebody has just made. */
static int check_folder(const char *folder, struct ah_error *err)
{
    DIR *dir = opendir(folder);
    bool empty = true;
    for (struct dirent *e; dir && empty && (e = readdir(dir));)
        empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
    if (dir)
        closedir(dir);
    return empty ? 0
                 : ah_err_set(err, AH_CONFIG, "%s is there already, and holds something: nothing was written",
                              folder);
}

/* `text` with each @WORD@ that is known in its place. */
static void fill(struct ah_buf *out, const char *text, const struct agent *a)
{
    for (const char *at; (at = strchr(text, '@')); text = at) {
        ah_buf_add(out, text, (size_t)(at - text));
        const char *value = strncmp(at, "@NAME@", 6) == 0    ? a->name
                            : strncmp(at, "@STUBS@", 7) == 0 ? a->stubs
                                                             : "@";
        ah_buf_adds(out, value);
        at += value == a->name ? 6 : value == a->stubs ? 7 : 1;
    }
    ah_buf_adds(out, text);
}

static int write_file(struct ah_cmd_ctx *ctx, const struct agent *a, const char *const file[2],
                      struct ah_error *err)
{
    struct ah_script_file template;
    struct ah_buf text, path;
    if (ah_scripts_read(ah_host_lua(ctx->host)->scripts, NULL, file[0], &template, err) != 0)
        return -1;
    ah_buf_init(&text, FILE_BYTES);
    ah_buf_init(&path, FILE_BYTES);
    fill(&text, template.text, a);
    const char *name = strchr(file[1], '@');
    size_t before = name ? (size_t)(name - file[1]) : strlen(file[1]);
    ah_buf_addf(&path, "%s/%.*s%s%s", a->folder, (int)before, file[1], name ? a->name : "",
                name ? name + 1 : "");
    int rc = text.failed || path.failed ? ah_err_set(err, AH_LIMIT, "%s is too large", file[0])
                                        : ah_scripts_write(ah_buf_str(&path), text.p, text.n, err);
    if (rc == 0 && !ctx->json)
        fprintf(ctx->out, "%s\n", ah_buf_str(&path));
    ah_buf_drop(&text);
    ah_buf_drop(&path);
    ah_script_file_drop(&template);
    return rc;
}

static int run_new(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    struct ah_error err = {0};
    struct agent a = {.folder = argv[0]};
    char installed[4096];
    (void)argc;
    size_t n = strlen(argv[0]);
    while (n > 1 && argv[0][n - 1] == '/')
        argv[0][--n] = '\0';
    snprintf(a.name, sizeof a.name, "%s", base_of(argv[0]));
    ah_cmd_installed(installed, sizeof installed);
    snprintf(a.stubs, sizeof a.stubs, installed[0] ? "%s/meta" : STUBS_EVERYWHERE, installed);
    int rc = check_name(base_of(argv[0]), &err) == 0 ? check_folder(a.folder, &err) : -1;
    for (size_t i = 0; i < FILE_COUNT && rc == 0; i++)
        rc = write_file(ctx, &a, files[i], &err);
    int code = rc == 0 ? 0 : ah_cmd_fail(ctx, &err);
    if (rc == 0 && ctx->json)
        fprintf(ctx->out, "{\"name\":\"%s\"}\n", a.name);
    else if (rc == 0 && !ctx->options->quiet)
        fprintf(stderr, "\nNow: cd %s && agenthost run --emulate %s.lua && agenthost run %s_test.lua\n",
                a.folder, a.name, a.name);
    ah_err_drop(&err);
    return code;
}

const struct ah_command ah_cmd_new = {
    .name = "new",
    .words = "NAME",
    .summary = "a folder with an agent to begin with: script, prompt, tools, test, settings",
    .min_words = 1,
    .max_words = 1,
    .missing = "what shall the agent be called?",
    .complete = AH_COMPLETE_DIR,
    .run = run_new,
    .needs_host = true,
    .no_journal = true};
