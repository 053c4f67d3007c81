/* The program: arguments, signals, exit codes. The only file with process-wide state: the interrupt
 * flag and the pipe of the signal handler; and the only one that changes the process (signals, limits), which
 * the library must not. Each sub-command is a file of its own. */
#include "cmd.h"
#include "config.h"
#include "json.h"
#include "log.h"
#include "loop.h"
#include "op.h"
#include "secret.h"
#include "version.h"

#include <errno.h>
#include <fcntl.h>
#include <lua.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define SAME_SIGNAL_MS 100
#define EXIT_USAGE 2
#define HELP_BYTES ((size_t)65536)
#define STUCK_S 5 /* from the first signal to the end, when the loop does not turn */

static volatile int interrupted; /* signals seen */
static int signal_pipe[2] = {-1, -1};
static struct ah_host *volatile host_to_stop; /* the open one */

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

static void print_help(FILE *to, const struct ah_options_found *f)
{
    struct ah_buf b;
    ah_buf_init(&b, HELP_BYTES);
    ah_options_help(f, &b);
    if (f->depth == 1)
        fputs("agenthost runs AI agents written as Lua scripts.\n\n"
              "  agenthost FILE.lua [ARGS...]     the same as: agenthost run FILE.lua [ARGS...]\n\n",
              to);
    fputs(ah_buf_str(&b), to);
    if (f->depth == 1)
        fputs("  --                        what follows is the script's\n\n"
              "Options may stand before or after a command's own words; `agenthost help COMMAND` has each "
              "command's.\n"
              "With --json a list is one JSON value a line, all else one value; an error is {\"error\":...} "
              "there.\n\n"
              "Exit codes: 0 ok, 1 script error, 2 usage, 3 configuration, 4 service or network, 5 model "
              "refused,\n"
              "10 waiting for approval, 11 waiting for authorization, 12 loop detected, 13 step limit,\n"
              "14 token or money budget, 15 time limit, 16 outcome of an unsafe call unknown, 130 "
              "interrupted.\n",
              to);
    ah_buf_drop(&b);
}

static int run_help(struct ah_cmd_ctx *ctx, int argc, char **argv)
{
    struct ah_options_found found;
    struct ah_error err = {0};
    ah_options_find(&ah_cmd_root, &argc, argv, &found);
    if (!found.unknown && argc > 0)
        found.unknown = argv[0];
    if (!found.unknown) {
        print_help(ctx->out, &found);
        return 0;
    }
    struct ah_cmd_ctx asked = *ctx; /* about what was asked for */
    asked.found = &found;
    ah_options_unknown(&found, &err);
    return ah_cmd_usage(&asked, err.message);
}

static const struct ah_command cmd_version = {
    .name = "version", .summary = "print the version", .run = run_version};
static const struct ah_command cmd_help = {.name = "help",
                                           .words = "[COMMAND...]",
                                           .summary = "this, or the words and options of one command",
                                           .max_words = -1,
                                           .complete = AH_COMPLETE_COMMAND,
                                           .run = run_help};

static const struct ah_command *const commands[] = {
    &ah_cmd_run,    &ah_cmd_demo,    &ah_cmd_emulate,    &ah_cmd_resume, &ah_cmd_approve, &ah_cmd_session,
    &ah_cmd_trace,  &ah_cmd_auth,    &ah_cmd_tools,      &ah_cmd_doctor, &ah_cmd_check,   &ah_cmd_new,
    &ah_cmd_config, &ah_cmd_scripts, &ah_cmd_completion, &cmd_version,   &cmd_help,       NULL};

#define AT(field) offsetof(struct ah_cmd_options, field)
static const struct ah_option common_options[] = {
    {.name = "--emulate",
     .kind = AH_OPTION_FLAG,
     .offset = AT(emulate),
     .help = "run the built-in emulator and use only it: no account, no key",
     .heading = "Options of every command"},
    {.name = "--user",
     .kind = AH_OPTION_TEXT,
     .offset = AT(user),
     .argument = "ID",
     .help = "whose accounts to use (else the script's identifier, else AGENTHOST_USER)"},
    {.name = "--project",
     .kind = AH_OPTION_TEXT,
     .offset = AT(project),
     .argument = "NAME",
     .help = "LangSmith project"},
    {.name = "--env",
     .kind = AH_OPTION_TEXT,
     .offset = AT(env_file),
     .argument = "FILE",
     .complete = AH_COMPLETE_FILE,
     .help = "settings file instead of .env of the script's and the working folder"},
    {.name = "--scripts",
     .kind = AH_OPTION_TEXT,
     .offset = AT(scripts_dir),
     .argument = "DIR",
     .complete = AH_COMPLETE_DIR,
     .help = "more Lua modules and prompts"},
    {.name = "--scenario",
     .kind = AH_OPTION_TEXT,
     .offset = AT(scenario),
     .argument = "FILE.lua",
     .complete = AH_COMPLETE_SCRIPT,
     .help = "what the emulator holds and does (docs/emulator.md)"},
    {.name = "--json",
     .kind = AH_OPTION_FLAG,
     .offset = AT(json),
     .help = "machine-readable answer on stdout"},
    {.name = "--quiet",
     .letter = 'q',
     .kind = AH_OPTION_FLAG,
     .offset = AT(quiet),
     .help = "no run tree; errors only"},
    {.name = "--verbose",
     .letter = 'v',
     .kind = AH_OPTION_FLAG,
     .offset = AT(verbose),
     .help = "what the host does"},
    {.name = "--no-journal",
     .kind = AH_OPTION_FLAG,
     .offset = AT(no_journal),
     .help = "allow unsafe calls without a journal"},
    {.name = "--model",
     .kind = AH_OPTION_TEXT,
     .offset = AT(model),
     .argument = "NAME",
     .help = "the model (else the script's, else the prompt's, else gpt-4o)",
     .heading = "Options of runs"},
    {.name = "--session",
     .kind = AH_OPTION_TEXT,
     .offset = AT(session),
     .argument = "NAME",
     .complete = AH_COMPLETE_SESSION,
     .help = "the conversation that this run goes on with, or begins"},
    {.name = "--continue",
     .letter = 'c',
     .kind = AH_OPTION_FLAG,
     .offset = AT(go_on),
     .help = "go on with this script's and user's last session; with --session: it must be there"},
    {.name = "--stream",
     .kind = AH_OPTION_FLAG,
     .offset = AT(stream),
     .help = "show the answer as it is written"},
    {.name = "--tag",
     .kind = AH_OPTION_LIST,
     .offset = AT(tags),
     .argument = "T",
     .help = "a tag of the trace (repeatable)"},
    {.name = "--meta",
     .kind = AH_OPTION_PAIRS,
     .offset = AT(meta),
     .argument = "key=value",
     .help = "metadata of the trace (repeatable)"},
    {.name = "--no-trace", .kind = AH_OPTION_FLAG, .offset = AT(no_trace), .help = "no spans"},
    {.name = "--flush",
     .kind = AH_OPTION_SECONDS,
     .offset = AT(flush),
     .argument = "S",
     .preset = "5",
     .max = 86400,
     .help = "how long traces may be sent at the end; the rest goes with the next run"},
    {.name = "--verify",
     .kind = AH_OPTION_FLAG,
     .offset = AT(verify),
     .help = "read the trace back, exit 4 if it is not there"},
    {.name = "--approve",
     .kind = AH_OPTION_TEXT,
     .offset = AT(approve),
     .argument = "ask|auto|deny|unsafe-only",
     .help = "which tool calls a person must allow (unsafe-only on a terminal, else deny: exit 10)"},
    {.name = "--max-steps",
     .kind = AH_OPTION_COUNT,
     .offset = AT(max_steps),
     .argument = "N",
     .min = 1,
     .help = "model calls of an agent (else the script's, else 25)"},
    {.name = "--max-tokens",
     .kind = AH_OPTION_COUNT,
     .offset = AT(max_tokens),
     .argument = "N",
     .min = 1,
     .help = "of all agents of the run together"},
    {.name = "--max-cost",
     .kind = AH_OPTION_AMOUNT,
     .offset = AT(max_cost),
     .argument = "USD",
     .help = "of all agents of the run together"},
    {.name = "--max-time",
     .kind = AH_OPTION_SECONDS,
     .offset = AT(max_time),
     .argument = "S",
     .help = "of all agents of the run together"},
    {.name = "--auth-timeout",
     .kind = AH_OPTION_SECONDS,
     .offset = AT(auth_timeout),
     .argument = "S",
     .preset = "-1",
     .help = "how long to wait for a user who must authorize (300 on a terminal, else 0)"},
    {.name = "--open",
     .kind = AH_OPTION_FLAG,
     .offset = AT(open),
     .help = "open the links for users who must authorize in a browser"},
    {.name = "--memory",
     .kind = AH_OPTION_COUNT,
     .offset = AT(memory_mb),
     .argument = "MB",
     .help = "of the scripts (1024)"},
    {.name = "--instructions",
     .kind = AH_OPTION_COUNT,
     .offset = AT(instructions),
     .argument = "N",
     .preset = "-1",
     .help = "without a wait (500000000; 0 = no limit)"},
    {0},
};

const struct ah_command ah_cmd_root = {.name = "agenthost",
                                       .summary = "runs AI agents written as Lua scripts",
                                       .options = common_options,
                                       .values = sizeof(struct ah_cmd_options),
                                       .subs = commands};

/* --- shared by the commands ------------------------------------------------------------------------------------ */

/* The loop turns: the orderly way works. */
static void on_interrupt(struct ah_watch *w, int events)
{
    char byte;
    (void)w;
    (void)events;
    while (read(signal_pipe[0], &byte, 1) > 0)
        ;
    alarm(0);
}

/* PREFIX/bin/agenthost has its scripts in PREFIX/share/agenthost/scripts. */
void ah_cmd_installed(char *out, size_t size)
{
    out[0] = '\0';
    ssize_t n = readlink("/proc/self/exe", out, size - 1);
    if (n <= 0)
        return;
    out[n] = '\0';
    char *slash = strrchr(out, '/');
    if (slash)
        *slash = '\0';
    slash = strrchr(out, '/');
    if (!slash || strcmp(slash, "/bin") != 0) {
        out[0] = '\0';
        return;
    }
    snprintf(slash, size - (size_t)(slash - out), "/share/agenthost/scripts");
}

static struct ah_watch interrupt_watch;

int ah_cmd_open(struct ah_cmd_ctx *ctx, const char *script_folder, bool emulate, bool reads_journal,
                int *code)
{
    const struct ah_cmd_options *o = ctx->options;
    struct ah_host_error error;
    char installed[4096];
    ah_cmd_installed(installed, sizeof installed);
    struct ah_host_opts opts = {
        .size = sizeof opts,
        .flags = (emulate ? AH_HOST_EMULATE : 0u) |
                 (ah_options_last(ctx->found)->no_journal ? AH_HOST_MEMORY : 0u) |
                 (reads_journal ? AH_HOST_NEED_JOURNAL : 0u) | (o->no_journal ? AH_HOST_NO_JOURNAL : 0u) |
                 (o->color ? AH_HOST_COLOR : 0u),
        .verbosity = o->quiet     ? -1
                     : o->verbose ? 1
                                  : 0,
        .env_file = o->env_file,
        .script_folder = script_folder,
        .scripts_dir = o->scripts_dir,
        .installed_dir = installed,
        .scenario = o->scenario,
        .emulator_port = ctx->emulator_port,
        .memory_bytes = (uint64_t)o->memory_mb << 20,
        .instructions = o->instructions < 0    ? 0
                        : o->instructions == 0 ? -1
                                               : o->instructions,
    };
    ctx->host = ah_host_new(&opts, &error);
    if (!ctx->host) {
        *code = ah_cmd_fail_as(ctx, error.kind, error.message);
        return -1;
    }
    ctx->core = ah_host_core(ctx->host);
    ctx->scalekit = ah_host_lua(ctx->host)->scalekit;
    ctx->langsmith = ah_host_lua(ctx->host)->langsmith;
    if (o->project)
        ah_config_set(ctx->core->config, "LANGSMITH_PROJECT", o->project, AH_FROM_FLAG);
    ctx->identifier = o->user ? o->user : ah_config_get(ctx->core->config, "AGENTHOST_USER");
    ah_watch_start(ctx->core->loop, &interrupt_watch, signal_pipe[0], AH_WATCH_READ, on_interrupt, NULL);
    ah_watch_background(&interrupt_watch, true);
    host_to_stop = ctx->host;
    if (interrupted) /* before there was a host */
        ah_host_stop(ctx->host);
    return 0;
}

void ah_cmd_close(struct ah_cmd_ctx *ctx)
{
    if (!ctx->host)
        return;
    host_to_stop = NULL;
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

/* A program that reads stdout learns of the error too. */
static void print_json_error(struct ah_cmd_ctx *ctx, const char *kind, const char *message, int code)
{
    struct ah_buf b;
    struct ah_json_writer w;
    if (!ctx->json || ctx->said)
        return;
    ctx->said = true;
    ah_buf_init(&b, HELP_BYTES);
    ah_json_begin(&w, &b, ctx->core ? ctx->core->secrets : NULL);
    ah_json_object(&w);
    ah_json_key(&w, "error");
    ah_json_object(&w);
    ah_json_key(&w, "kind");
    ah_json_put_str(&w, kind);
    ah_json_key(&w, "message");
    ah_json_put_str(&w, message);
    ah_json_end_object(&w);
    ah_json_key(&w, "exit_code");
    ah_json_put_int(&w, code);
    ah_json_end_object(&w);
    fprintf(ctx->out, "%s\n", ah_buf_str(&b));
    ah_buf_drop(&b);
}

static int fail(struct ah_cmd_ctx *ctx, const char *kind, const char *said, int code)
{
    char message[sizeof((struct ah_error *)0)->message];
    snprintf(message, sizeof message, "%s", said);
    if (ctx->core) /* a script's own words may hold anything */
        ah_secret_mask_str(ctx->core->secrets, message, sizeof message);
    ah_log_plain(message, strlen(message));
    print_json_error(ctx, kind, message, code);
    fprintf(stderr, "agenthost: %s\n", message[0] ? message : kind);
    return code;
}

int ah_cmd_fail_as(struct ah_cmd_ctx *ctx, const char *kind, const char *said)
{
    return fail(ctx, kind, said, ah_err_exit_code(ah_err_kind_of(kind)));
}

int ah_cmd_fail(struct ah_cmd_ctx *ctx, const struct ah_error *err)
{
    return ah_cmd_fail_as(ctx, ah_err_kind_name(err->kind), err->message);
}

int ah_cmd_fail_word(struct ah_cmd_ctx *ctx, const struct ah_error *err)
{
    bool ours = err->status == 0 && (err->kind == AH_NOT_FOUND || err->kind == AH_INVALID);
    return ours ? fail(ctx, ah_err_kind_name(err->kind), err->message, EXIT_USAGE) : ah_cmd_fail(ctx, err);
}

int ah_cmd_usage(struct ah_cmd_ctx *ctx, const char *message)
{
    struct ah_buf b;
    print_json_error(ctx, "usage", message, EXIT_USAGE);
    ah_buf_init(&b, HELP_BYTES);
    ah_options_usage(ctx->found, &b);
    fprintf(stderr, "agenthost: %s\nusage: %s\n", message, ah_buf_str(&b));
    ah_buf_drop(&b);
    return EXIT_USAGE;
}

/* --- main -------------------------------------------------------------------------------------------------------- */

/* Once: stop in order. Twice: leave now; what the journal has is safe. Two within a moment are one (a
 * terminal signals the group, a supervisor the process). When the loop does not turn in the meantime, one
 * long C call of a script keeps it: then the alarm ends the process. */
static void on_signal(int signum)
{
    static struct timespec last;
    struct timespec now;
    int saved = errno;
    (void)signum;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long since_ms = (now.tv_sec - last.tv_sec) * 1000 + (now.tv_nsec - last.tv_nsec) / 1000000;
    if (interrupted && since_ms < SAME_SIGNAL_MS)
        return;
    last = now;
    if (interrupted++)
        _exit(130);
    alarm(STUCK_S);
    if (host_to_stop)
        ah_host_stop(host_to_stop);
    ssize_t ignored = write(signal_pipe[1], "!", 1);
    (void)ignored;
    errno = saved;
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

/* Each connection is one. */
static void raise_file_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
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

/* `| head -n 1` has read enough: nobody need be told. A full disk is another matter. */
static bool reader_left(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return poll(&out, 1, 0) == 1 && (out.revents & POLLERR);
}

static int dispatch(struct ah_cmd_ctx *ctx, const struct ah_command *cmd, int argc, char **argv)
{
    int code = 0;
    if (cmd->needs_host && ah_cmd_open(ctx, NULL, ctx->options->emulate, cmd->reads_journal, &code) != 0)
        return code;
    code = cmd->run(ctx, argc, argv);
    ah_cmd_close(ctx);
    if ((fflush(stdout) != 0 || ferror(stdout)) && !reader_left()) {
        fputs("agenthost: the answer could not be written to standard output\n", stderr);
        return code ? code : 3;
    }
    return code;
}

/* Is it meant without more ado: a file instead of a command's name? */
static bool is_script(const char *word)
{
    return ends_with(word, ".lua") || access(word, R_OK) == 0;
}

/* Known before anything else is read, so that a mistake in the words is told the same way. */
static bool wants_json(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

static int run_command(struct ah_cmd_ctx *ctx, const struct ah_command *cmd, int argc, char **argv)
{
    forbid_cores();
    raise_file_limit();
    if (set_signals() != 0) {
        fputs("agenthost: cannot start: no pipe\n", stderr);
        return 3;
    }
    return dispatch(ctx, cmd, argc, argv);
}

/* Reads the command's words and options, and runs it. `own`: room for its options, all-zero. */
static int read_and_run(struct ah_cmd_ctx *ctx, struct ah_cmd_options *options, void *own, int argc,
                        char **argv)
{
    const struct ah_command *cmd = ah_options_last(ctx->found);
    struct ah_error err = {0};
    bool help;
    if (ah_options_read(ctx->found, options, own, &argc, argv, &help, &err) != 0)
        return ah_cmd_usage(ctx, err.message);
    if (help || cmd == &ah_cmd_root) {
        print_help(help ? stdout : stderr, ctx->found);
        return help ? 0 : EXIT_USAGE;
    }
    const char *no_color = getenv("NO_COLOR");
    options->color = isatty(2) && !(no_color && no_color[0]);
    ctx->values = own;
    return run_command(ctx, cmd, argc, argv);
}

int main(int argc, char **argv)
{
    struct ah_options_found found;
    struct ah_cmd_options options = {0};
    struct ah_error err = {0};
    struct ah_cmd_ctx ctx = {.options = &options,
                             .found = &found,
                             .out = stdout,
                             .program = argc > 0 ? argv[0] : "agenthost",
                             .interrupted = &interrupted};
    argc -= argc > 0;
    argv += ctx.program == argv[0];
    ctx.json = wants_json(argc, argv);
    if (argc > 0 && (strcmp(argv[0], "--version") == 0 || strcmp(argv[0], "-V") == 0))
        return run_version(&ctx, 0, argv);
    ah_options_find(&ah_cmd_root, &argc, argv, &found);
    if (found.depth == 1 && found.unknown && is_script(found.unknown))
        found.path[found.depth++] = &ah_cmd_run;
    else if (found.unknown) {
        ah_options_unknown(&found, &err);
        return ah_cmd_usage(&ctx, err.message);
    }
    void *own = calloc(1, ah_options_last(&found)->values + 1);
    int code = own ? read_and_run(&ctx, &options, own, argc, argv) : 3;
    free(own);
    return code;
}
