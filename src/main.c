/* The program: arguments, signals, exit codes. The only file with process-wide state: the interrupt
 * flag and the pipe of the signal handler, and libcurl's global init. Each sub-command is a file of
 * its own. */
#include "cmd.h"
#include "config.h"
#include "log.h"
#include "loop.h"
#include "near.h"
#include "op.h"
#include "secret.h"
#include "version.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <lua.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define SAME_SIGNAL_MS 100
#define STUCK_S 5 /* from the first signal to the end, when the loop does not turn */

static volatile int interrupted; /* signals seen */
static int signal_pipe[2] = {-1, -1};

/* --- commands ------------------------------------------------------------------------------------------------ */

static int run_version(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    if (ctx->json)
        fprintf(ctx->out, "{\"version\":\"%s\",\"lua\":\"%s\"}\n", AH_VERSION, LUA_RELEASE);
    else
        fprintf(ctx->out, "agenthost %s (%s)\n", AH_VERSION, LUA_RELEASE);
    return 0;
}

static void print_help(FILE *to)
{
    fputs("agenthost runs AI agents written as Lua scripts.\n\n"
          "  agenthost FILE.lua [ARGS...]     the same as: agenthost run FILE.lua [ARGS...]\n\n"
          "Commands:\n",
          to);
    for (const struct ah_cmd *c = ah_cmds; c->name; c++)
        fprintf(to, "  %-9s %s\n", c->name, c->summary);
    fputs(
        "\nOptions (before or after a command's own words):\n"
        "  --emulate          run the built-in emulator and use only it: no account, no key\n"
        "  --user ID          whose accounts to use (else the script's identifier, else AGENTHOST_USER)\n"
        "  --model NAME       the model (else the script's, else the prompt's, else gpt-4o)\n"
        "  --project NAME     LangSmith project      --tag T   a tag (repeatable)\n"
        "  --meta K=V         metadata (repeatable)  --verify  read the trace back, exit 4 if it is not "
        "there\n"
        "  --env FILE         settings file instead of .env of the script's and the working folder\n"
        "  --scripts DIR      more Lua modules and prompts\n"
        "  --no-trace         no spans               --no-journal  allow unsafe calls without a journal\n"
        "  --json             machine-readable answer on stdout\n"
        "  --memory MB        of the scripts (1024)  --instructions N  without a wait (500000000; 0 = no "
        "limit)\n"
        "  -q, --quiet        no run tree            -v, --verbose     what the host does\n"
        "  --                 what follows is the script's\n\n"
        "Exit codes: 0 ok, 1 script error, 2 usage, 3 configuration, 4 service or network, 5 model refused,\n"
        "11 waiting for authorization, 13 step limit, 16 outcome of an unsafe call unknown, 130 "
        "interrupted.\n",
        to);
}

static void unknown_command(const char *word)
{
    const char *names[32] = {0};
    size_t n = 0;
    for (const struct ah_cmd *c = ah_cmds; c->name && n < 31; c++)
        names[n++] = c->name;
    const char *near = ah_near_best(word, names);
    fprintf(stderr, "agenthost: unknown command '%s'", word);
    if (near)
        fprintf(stderr, " (did you mean '%s'?)", near);
    fputs("; `agenthost help` lists them\n", stderr);
}

static int run_help(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    if (argc == 0) {
        print_help(ctx->out);
        return 0;
    }
    for (const struct ah_cmd *c = ah_cmds; c->name; c++) {
        if (strcmp(c->name, argv[0]) == 0) {
            fprintf(ctx->out, "usage: agenthost %s\n\n%s\n", c->usage, c->summary);
            return 0;
        }
    }
    unknown_command(argv[0]);
    return 2;
}

const struct ah_cmd ah_cmds[] = {
    {.name = "run", .usage = "run FILE.lua [ARGS...]", .summary = "run a script", .run = ah_cmd_run_run},
    {.name = "demo",
     .usage = "demo [REQUEST...]",
     .summary = "an agent reads unread mail, on the emulator: no account, no key",
     .run = ah_cmd_demo_run},
    {.name = "emulate",
     .usage = "emulate [--port N] [--scenario FILE.lua] [--seed N] [--pending]",
     .summary = "Scalekit, OpenAI and LangSmith on this machine, for tests",
     .run = ah_cmd_emulate_run,
     .own_options = true},
    {.name = "trace",
     .usage = "trace ls | show ID [--io] | push ID | verify ID [--timeout S]",
     .summary = "look at runs in the local journal, send them, check that they arrived",
     .run = ah_cmd_trace_run,
     .needs_host = true,
     .reads_journal = true,
     .own_options = true},
    {.name = "auth",
     .usage = "auth ls [WORD] | status [CONNECTION] | link CONNECTION [--wait [SECONDS]] | verify "
              "AUTH_REQUEST_ID | revoke CONNECTION [--delete]",
     .summary = "connected accounts: their state, links to authorize them, and their end",
     .run = ah_cmd_auth_run,
     .needs_host = true,
     .own_options = true},
    {.name = "tools",
     .usage = "tools ls [CONNECTION...] | show [CONNECTION/]TOOL | call [CONNECTION/]TOOL [--arg k=v ...] "
              "[--args JSON] [--connection NAME]",
     .summary = "the tools a user may run; show one, call one",
     .run = ah_cmd_tools_run,
     .needs_host = true,
     .own_options = true},
    {.name = "doctor",
     .usage = "doctor",
     .summary = "check settings, services, journal and tracing, and say what to do",
     .run = ah_cmd_doctor_run,
     .needs_host = true},
    {.name = "scripts",
     .usage = "scripts ls | --copy DIR",
     .summary = "the Lua files and prompts inside the program; write them out for editing",
     .run = ah_cmd_scripts_run,
     .own_options = true},
    {.name = "version", .usage = "version", .summary = "print the version", .run = run_version},
    {.name = "help",
     .usage = "help [COMMAND]",
     .summary = "this, or the usage of one command",
     .run = run_help},
    {0},
};

static const struct ah_cmd *find_command(const char *name)
{
    for (const struct ah_cmd *c = ah_cmds; c->name; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

/* --- options ------------------------------------------------------------------------------------------------- */

enum option_kind { OPT_FLAG, OPT_TEXT, OPT_NUMBER, OPT_LIST };

struct option {
    const char *name;
    char letter;
    enum option_kind kind;
    size_t offset;
};

#define AT(field) offsetof(struct ah_cmd_options, field)
static const struct option option_table[] = {
    {"--json", 0, OPT_FLAG, AT(json)},
    {"--emulate", 0, OPT_FLAG, AT(emulate)},
    {"--no-trace", 0, OPT_FLAG, AT(no_trace)},
    {"--no-journal", 0, OPT_FLAG, AT(no_journal)},
    {"--quiet", 'q', OPT_FLAG, AT(quiet)},
    {"--verbose", 'v', OPT_FLAG, AT(verbose)},
    {"--verify", 0, OPT_FLAG, AT(verify)},
    {"--stream", 0, OPT_FLAG, AT(stream)},
    {"--env", 0, OPT_TEXT, AT(env_file)},
    {"--user", 0, OPT_TEXT, AT(user)},
    {"--model", 0, OPT_TEXT, AT(model)},
    {"--project", 0, OPT_TEXT, AT(project)},
    {"--scripts", 0, OPT_TEXT, AT(scripts_dir)},
    {"--scenario", 0, OPT_TEXT, AT(scenario)},
    {"--memory", 0, OPT_NUMBER, AT(memory_mb)},
    {"--instructions", 0, OPT_NUMBER, AT(instructions)},
    {"--tag", 0, OPT_LIST, AT(tags)},
    {"--meta", 0, OPT_LIST, AT(meta)},
};
#define OPTION_COUNT (sizeof option_table / sizeof option_table[0])

static const struct option *find_option(const char *word, size_t n)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *o = &option_table[i];
        if ((strlen(o->name) == n && strncmp(o->name, word, n) == 0) ||
            (o->letter && n == 2 && word[0] == '-' && word[1] == o->letter))
            return o;
    }
    return NULL;
}

static int set_number(long *to, const struct option *o, const char *value)
{
    char *end;
    long v = strtol(value, &end, 10);
    if (end == value || *end || v < 0) {
        fprintf(stderr, "agenthost: %s takes a number, not '%s'\n", o->name, value);
        return -1;
    }
    *to = v;
    return 0;
}

static int set_option(struct ah_cmd_options *to, const struct option *o, const char *value)
{
    void *field = (char *)to + o->offset;
    const char **list = field;
    size_t n = 0;
    switch (o->kind) {
    case OPT_FLAG:
        *(bool *)field = true;
        return 0;
    case OPT_TEXT:
        *(const char **)field = value;
        return 0;
    case OPT_NUMBER:
        return set_number(field, o, value);
    case OPT_LIST:
        while (list[n])
            n++;
        if (n >= AH_CMD_REPEAT_MAX) {
            fprintf(stderr, "agenthost: more than %d %s\n", AH_CMD_REPEAT_MAX, o->name);
            return -1;
        }
        list[n] = value;
        return 0;
    }
    return -1;
}

static int unknown_option(const char *word)
{
    const char *names[OPTION_COUNT + 1] = {0};
    for (size_t i = 0; i < OPTION_COUNT; i++)
        names[i] = option_table[i].name;
    const char *near = ah_near_best(word, names);
    fprintf(stderr, "agenthost: unknown option '%s'", word);
    if (near)
        fprintf(stderr, " (did you mean '%s'?)", near);
    fputs("; `agenthost help` lists them; put -- before a script's own options\n", stderr);
    return -1;
}

/* Takes the common options out of argv; the rest is left in order, without the "--". -1: said why. */
static int take_options(struct ah_cmd_options *to, int *argc, char **argv, const struct ah_cmd *cmd)
{
    int kept = 0;
    for (int i = 0; i < *argc; i++) {
        char *word = argv[i];
        if (strcmp(word, "--") == 0) {
            while (++i < *argc)
                argv[kept++] = argv[i];
            break;
        }
        if (word[0] != '-' || !word[1]) {
            argv[kept++] = word;
            continue;
        }
        char *equals = strncmp(word, "--", 2) == 0 ? strchr(word, '=') : NULL;
        const struct option *o = find_option(word, equals ? (size_t)(equals - word) : strlen(word));
        if (!o && cmd && cmd->own_options) {
            argv[kept++] = word;
            continue;
        }
        if (!o)
            return unknown_option(word);
        const char *value = equals ? equals + 1 : NULL;
        if (o->kind == OPT_FLAG && value) {
            fprintf(stderr, "agenthost: %s takes no value\n", o->name);
            return -1;
        }
        if (o->kind != OPT_FLAG && !value) {
            if (i + 1 >= *argc) {
                fprintf(stderr, "agenthost: %s needs a value\n", o->name);
                return -1;
            }
            value = argv[++i];
        }
        if (set_option(to, o, value) != 0)
            return -1;
    }
    argv[kept] = NULL;
    *argc = kept;
    return 0;
}

/* --- shared by the commands ------------------------------------------------------------------------------------ */

static void on_interrupt(struct ah_watch *w, int events)
{
    struct ah_host *host = w->arg;
    char byte;
    (void)events;
    while (read(signal_pipe[0], &byte, 1) > 0)
        ;
    alarm(0); /* the loop turns: the orderly way works */
    ah_host_stop(host);
}

static struct ah_watch interrupt_watch;

int ah_cmd_open(struct ah_cmd_ctx *ctx, const char *script_folder, bool emulate, bool reads_journal,
                int *code)
{
    const struct ah_cmd_options *o = ctx->options;
    struct ah_error err = {0};
    struct ah_host_opts opts = {
        .scripts_dir = o->scripts_dir,
        .env_file = o->env_file,
        .script_folder = script_folder,
        .program = ctx->program,
        .emulate = emulate,
        .scenario = o->scenario,
        .no_journal = o->no_journal,
        .read_journal = reads_journal,
        .verbosity = o->quiet     ? -1
                     : o->verbose ? 1
                                  : 0,
        .color = o->color,
        .memory_bytes = (size_t)o->memory_mb << 20,
        .instructions = o->instructions,
        .project = o->project,
    };
    ctx->host = ah_host_new(&opts, &err);
    if (!ctx->host) {
        *code = ah_cmd_fail(ctx, &err);
        ah_err_drop(&err);
        return -1;
    }
    ctx->core = ah_host_core(ctx->host);
    ctx->scalekit = ah_host_lua(ctx->host)->scalekit;
    ctx->langsmith = ah_host_lua(ctx->host)->langsmith;
    ctx->identifier = o->user ? o->user : ah_config_get(ctx->core->config, "AGENTHOST_USER");
    ah_host_set_interrupt(ctx->host, &interrupted);
    ah_watch_start(ctx->core->loop, &interrupt_watch, signal_pipe[0], AH_WATCH_READ, on_interrupt, ctx->host);
    ah_watch_background(&interrupt_watch, true);
    return 0;
}

void ah_cmd_close(struct ah_cmd_ctx *ctx)
{
    if (!ctx->host)
        return;
    ah_watch_stop(&interrupt_watch);
    ah_host_free(ctx->host);
    ctx->host = NULL;
    ctx->core = NULL;
}

int ah_cmd_wait(struct ah_cmd_ctx *ctx, struct ah_op *op)
{
    ah_host_wait(ctx->host, op);
    return op->err.kind == AH_NONE ? 0 : -1;
}

int ah_cmd_fail(struct ah_cmd_ctx *ctx, const struct ah_error *err)
{
    char message[sizeof err->message];
    memcpy(message, err->message, sizeof message);
    if (ctx->core) /* a script's own words may hold anything */
        ah_secret_mask_str(ctx->core->secrets, message, sizeof message);
    ah_log_plain(message, strlen(message));
    fprintf(stderr, "agenthost: %s\n", message[0] ? message : ah_err_kind_name(err->kind));
    return ah_err_exit_code(err->kind);
}

int ah_cmd_unknown(const char *command, const char *word, const char *const *names)
{
    const char *near = ah_near_best(word, names);
    fprintf(stderr, "agenthost: unknown word '%s' after %s", word, command);
    if (near)
        fprintf(stderr, " (did you mean '%s'?)", near);
    fputc('\n', stderr);
    return ah_cmd_usage(command, NULL);
}

int ah_cmd_usage(const char *command, const char *message)
{
    const struct ah_cmd *c = find_command(command);
    if (message)
        fprintf(stderr, "agenthost: %s\n", message);
    fprintf(stderr, "usage: agenthost %s\n", c ? c->usage : "COMMAND [OPTIONS]");
    return 2;
}

/* --- main -------------------------------------------------------------------------------------------------------- */

/* Once: stop in order. Twice: leave now; what the journal has is safe. Two within a moment are one (a
 * terminal signals the group, a supervisor the process). When the loop does not turn in the meantime, one
 * long C call of a script keeps it: then the alarm ends the process. */
static void on_signal(int signum)
{
    static struct timespec last;
    struct timespec now;
    (void)signum;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long since_ms = (now.tv_sec - last.tv_sec) * 1000 + (now.tv_nsec - last.tv_nsec) / 1000000;
    if (interrupted && since_ms < SAME_SIGNAL_MS)
        return;
    last = now;
    if (interrupted++)
        _exit(130);
    alarm(STUCK_S);
    ssize_t ignored = write(signal_pipe[1], "!", 1);
    (void)ignored;
}

static void on_alarm(int signum)
{
    static const char text[] =
        "agenthost: interrupted; the script did not come back from a long call, so it ends here\n";
    (void)signum;
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    _exit(130);
}

/* A core file would hold every key. */
static void forbid_cores(void)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
}

static int set_signals(void)
{
    if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
        return -1;
    struct sigaction sa = {.sa_handler = on_signal};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    signal(SIGALRM, on_alarm);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error of write(), which the journal handles */
    return 0;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n > k && strcmp(s + n - k, end) == 0;
}

static int dispatch(struct ah_cmd_ctx *ctx, const struct ah_cmd *cmd, int argc, char **argv)
{
    int code = 0;
    if (cmd->needs_host && ah_cmd_open(ctx, NULL, ctx->options->emulate, cmd->reads_journal, &code) != 0)
        return code;
    code = cmd->run(ctx, argc, argv);
    ah_cmd_close(ctx);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fputs("agenthost: the answer could not be written to standard output\n", stderr);
        return code ? code : 3;
    }
    return code;
}

/* The command's name is the first word that is no common option (and no value of one); a file means
 * `run`. NULL: there is no word, or (*said) it is none that we know. */
static const struct ah_cmd *find_word(int *argc, char **argv, bool *said)
{
    *said = false;
    for (int i = 0; i < *argc; i++) {
        if (argv[i][0] == '-' && argv[i][1]) {
            const struct option *o = find_option(argv[i], strlen(argv[i]));
            i += o && o->kind != OPT_FLAG;
            continue;
        }
        const struct ah_cmd *cmd = find_command(argv[i]);
        if (cmd) {
            memmove(&argv[i], &argv[i + 1], (size_t)(*argc - i) * sizeof argv[0]);
            (*argc)--;
        } else if (ends_with(argv[i], ".lua") || access(argv[i], R_OK) == 0) {
            cmd = find_command("run");
        } else {
            unknown_command(argv[i]);
            *said = true;
        }
        return cmd;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct ah_cmd_options options = {0};
    struct ah_cmd_ctx ctx = {
        .options = &options, .out = stdout, .program = argv[0], .interrupted = &interrupted};
    bool said;
    argc--;
    argv++;
    if (argc > 0 && (strcmp(argv[0], "--version") == 0 || strcmp(argv[0], "-V") == 0))
        return run_version(&ctx, 0, argv);
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
        print_help(stdout);
        return 0;
    }
    const struct ah_cmd *cmd = find_word(&argc, argv, &said);
    if (said)
        return 2;
    if (take_options(&options, &argc, argv, cmd) != 0)
        return 2;
    if (!cmd) {
        print_help(stderr);
        return 2;
    }
    ctx.json = options.json;
    const char *no_color = getenv("NO_COLOR");
    options.color = isatty(2) && !(no_color && no_color[0]);
    forbid_cores();
    if (set_signals() != 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        fputs("agenthost: cannot start: no pipe, or libcurl refused\n", stderr);
        return 3;
    }
    int code = dispatch(&ctx, cmd, argc, argv);
    curl_global_cleanup();
    return code;
}
