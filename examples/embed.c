/* A program with an agent inside: it runs a script of its own on the emulator of the services, first to its end, then
 * from a poll() loop as a program has one. Built against the installed library by tests/cli/install_test.sh:
 *   cc embed.c $(pkg-config --cflags --libs agenthost) -o embed */
#include <agenthost/agenthost.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

static const char script[] = "local agent = require 'agent'\n"
                             "print('reading mail for ' .. require('host.script').identifier())\n"
                             "return agent { connectors = { 'gmail' } }\n";

/* What the host has to say, and what scripts print, comes here instead of the terminal. */
static void on_log(void *arg, int level, const char *line, size_t n)
{
    (void)arg;
    fprintf(stderr, "log %d: %.*s\n", level, (int)n, line);
}

static void on_output(void *arg, int stream, const char *text, size_t n)
{
    (void)arg;
    fprintf(stream == 1 ? stdout : stderr, "script: %.*s", (int)n, text);
}

static int show(const struct ah_host_result *r)
{
    if (r->error.kind[0]) {
        fprintf(stderr, "%s: %s\n", r->error.kind, r->error.message);
        return 1;
    }
    printf("%s\n(%lld model calls, %lld tool calls, run %.8s...)\n", r->answer ? r->answer : "(no answer)",
           (long long)r->model_calls, (long long)r->tool_calls, r->run_id);
    return 0;
}

/* The caller's loop: here with one descriptor, in a real program with many. */
static const struct ah_host_result *run_by_poll(struct ah_host *h, const struct ah_host_run_opts *run)
{
    if (ah_host_start(h, run) == 0) {
        while (ah_host_step(h, 0)) {
            struct pollfd fds[] = {{.fd = ah_host_fd(h), .events = POLLIN}};
            poll(fds, 1, ah_host_timeout(h));
        }
    }
    return ah_host_result(h);
}

int main(void)
{
    struct ah_host_error error;
    struct ah_host_opts opts = {
        .size = sizeof opts,
        .flags = AH_HOST_EMULATE | AH_HOST_MEMORY | AH_HOST_NO_JOURNAL, /* no account, no key, no file */
        .on_log = on_log,
        .on_output = on_output,
    };
    struct ah_host *h = ah_host_new(&opts, &error);
    if (!h) {
        fprintf(stderr, "%s: %s\n", error.kind, error.message);
        return 1;
    }
    const char *args[] = {"Fetch my last 3 unread emails and summarize them", NULL};
    struct ah_host_run_opts run = {
        .size = sizeof run,
        .path = "mail.lua", /* its name; nothing is read */
        .source = script,
        .source_n = strlen(script),
        .args = args,
        .identifier = "user_123",
    };
    int failed = show(ah_host_run(h, &run));
    failed |= show(run_by_poll(h, &run));
    ah_host_free(h);
    return failed;
}
