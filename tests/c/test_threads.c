/* Four hosts in four threads at once, each with the emulator and a journal of its own, and primitives that other
 * threads finish. Meant for the preset tsan, which sees what two threads share; the others run it, too. */
#include <agenthost/ext.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define THREADS 4
#define ROUNDS 2

struct job {
    pthread_t thread;
    char dir[80], trouble[1200];
    long long model_calls;
};

static const char script[] = "local task, slow = require 'host.task', require 'host.ext.slow'\n"
                             "local l = {} for i = 1, 10 do l[i] = function() return slow.add(i) end end\n"
                             "local sum = 0 for _, v in ipairs(task.all(l)) do sum = sum + v end\n"
                             "assert(sum == 65, sum)\n"
                             "return assert(dofile 'examples/gmail_digest.lua')\n";

static void *add_one(void *arg)
{
    char json[24];
    ah_ext_finish(arg, json, (size_t)snprintf(json, sizeof json, "%d", *(int *)ah_ext_data(arg) + 1));
    return NULL;
}

static void check_add(lua_State *L, struct ah_ext_op *op)
{
    *(int *)ah_ext_data(op) = (int)luaL_checkinteger(L, 1);
}

static void start_add(struct ah_ext_op *op)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, add_one, op) == 0)
        pthread_detach(thread);
    else
        ah_ext_fail(op, "io", "no thread");
}

static struct ah_host *open_host(struct job *job)
{
    struct ah_host_error error;
    const struct ah_ext_primitive add = {.size = sizeof add,
                                         .name = "add",
                                         .effect = AH_EXT_UNSAFE,
                                         .data_size = sizeof(int),
                                         .check = check_add,
                                         .start = start_add};
    struct ah_host_opts opts = {.size = sizeof opts,
                                .flags = AH_HOST_EMULATE | AH_HOST_NO_DOTENV | AH_HOST_NO_ENVIRONMENT,
                                .journal_dir = job->dir,
                                .verbosity = -1};
    struct ah_host *h = ah_host_new(&opts, &error);
    if (h && ah_ext_add_primitive(h, "slow", &add, &error) != 0) {
        ah_host_free(h);
        h = NULL;
    }
    if (!h)
        snprintf(job->trouble, sizeof job->trouble, "%s: %s", error.kind, error.message);
    return h;
}

static void *work(void *arg)
{
    struct job *job = arg;
    for (int i = 0; i < ROUNDS && !job->trouble[0]; i++) {
        struct ah_host *h = open_host(job);
        if (!h)
            break;
        struct ah_host_run_opts run = {.size = sizeof run,
                                       .path = "script.lua",
                                       .source = script,
                                       .source_n = strlen(script),
                                       .identifier = "user_123"};
        const struct ah_host_result *r = ah_host_run(h, &run);
        if (r->error.kind[0])
            snprintf(job->trouble, sizeof job->trouble, "%s: %s", r->error.kind, r->error.message);
        job->model_calls += r->model_calls;
        ah_host_flush(h, 1000);
        ah_host_free(h);
    }
    return NULL;
}

static void test_four(void **state)
{
    char folder[] = "/tmp/agenthost-test-XXXXXX", command[128];
    struct job jobs[THREADS];
    (void)state;
    memset(jobs, 0, sizeof jobs);
    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < THREADS; i++) {
        /* two and two share a journal: processes may, so threads may */
        snprintf(jobs[i].dir, sizeof jobs[i].dir, "%s/%d", folder, i / 2);
        assert_int_equal(pthread_create(&jobs[i].thread, NULL, work, &jobs[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(jobs[i].thread, NULL);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_string_equal(jobs[i].trouble, "");
        assert_int_equal(jobs[i].model_calls, 2 * ROUNDS);
    }
}

/* Stopped by a thread that is not the host's, again and again. */
static void *stop_often(void *arg)
{
    for (int i = 0; i < 50; i++) {
        ah_host_stop(arg);
        usleep(2000);
    }
    return NULL;
}

static void test_stop(void **state)
{
    pthread_t thread;
    (void)state;
    struct ah_host_opts opts = {.size = sizeof opts,
                                .flags = AH_HOST_MEMORY | AH_HOST_NO_DOTENV | AH_HOST_NO_JOURNAL,
                                .verbosity = -1};
    struct ah_host *h = ah_host_new(&opts, NULL);
    assert_non_null(h);
    assert_int_equal(pthread_create(&thread, NULL, stop_often, h), 0);
    struct ah_host_run_opts run = {
        .size = sizeof run, .path = "x.lua", .source = "while true do end", .source_n = 17};
    for (int i = 0; i < 10; i++)
        assert_string_equal(ah_host_run(h, &run)->error.kind, "cancelled");
    pthread_join(thread, NULL);
    ah_host_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_four),
        cmocka_unit_test(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
