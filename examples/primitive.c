/* Primitives of one's own: scripts read a thermometer and turn a heater, both hardware that answers slowly, while
 * their other tasks go on. Built against the installed library by tests/cli/install_test.sh:
 *   cc primitive.c $(pkg-config --cflags --libs agenthost) -pthread -o primitive */
#include <agenthost/ext.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char script[] = "local task, heater = require 'host.task', require 'host.ext.heater'\n"
                             "local reads = task.all {\n" /* both at once */
                             "  function() return heater.read('kitchen') end,\n"
                             "  function() return heater.read('cellar') end,\n"
                             "}\n"
                             "local coldest = reads[1].celsius < reads[2].celsius and reads[1] or reads[2]\n"
                             "assert(heater.turn(coldest.room, true))\n"
                             "local _, err = heater.turn('attic', true)\n"
                             "return ('%s: %d F, heated; attic: %s'):format(coldest.room, "
                             "heater.fahrenheit(coldest.celsius), err.kind)\n";

/* A function that answers at once is one of Lua's C API. */
static int l_fahrenheit(lua_State *L)
{
    lua_pushinteger(L, luaL_checkinteger(L, 1) * 9 / 5 + 32);
    return 1;
}

/* A primitive: what it needs of its arguments is in its data. */
struct job {
    char room[32];
    int on;
};

static void check_read(lua_State *L, struct ah_ext_op *op)
{
    struct job *job = ah_ext_data(op);
    snprintf(job->room, sizeof job->room, "%s", luaL_checkstring(L, 1));
}

static void check_turn(lua_State *L, struct ah_ext_op *op)
{
    check_read(L, op);
    luaL_checktype(L, 2, LUA_TBOOLEAN);
    ((struct job *)ah_ext_data(op))->on = lua_toboolean(L, 2);
}

/* The work, on a thread of its own: no Lua here. Each ends its op exactly once. */
static void *read_sensor(void *arg)
{
    struct ah_ext_op *op = arg;
    const struct job *job = ah_ext_data(op);
    char json[128];
    usleep(10000);
    snprintf(json, sizeof json, "{\"room\":\"%s\",\"celsius\":%d}", job->room,
             strcmp(job->room, "cellar") == 0 ? 5 : 20);
    ah_ext_finish(op, json, strlen(json));
    return NULL;
}

static void *turn_heater(void *arg)
{
    struct ah_ext_op *op = arg;
    const struct job *job = ah_ext_data(op);
    usleep(10000);
    if (strcmp(job->room, "attic") == 0)
        ah_ext_fail(op, "not_found", "there is no heater in the attic; use kitchen or cellar");
    else
        ah_ext_finish(op, "true", 4);
    return NULL;
}

static void start_thread(struct ah_ext_op *op, void *(*work)(void *))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, op) == 0)
        pthread_detach(thread);
    else
        ah_ext_fail(op, "io", "no thread could be started");
}

static void start_read(struct ah_ext_op *op)
{
    start_thread(op, read_sensor);
}

static void start_turn(struct ah_ext_op *op)
{
    start_thread(op, turn_heater);
}

int main(void)
{
    static const luaL_Reg functions[] = {{"fahrenheit", l_fahrenheit}, {NULL, NULL}};
    const struct ah_ext_primitive primitives[] = {
        {.size = sizeof primitives[0],
         .name = "read",
         .effect = AH_EXT_READ,
         .data_size = sizeof(struct job),
         .check = check_read,
         .start = start_read},
        {.size = sizeof primitives[0],
         .name = "turn",
         .effect = AH_EXT_UNSAFE, /* journalled on disk before it starts */
         .data_size = sizeof(struct job),
         .check = check_turn,
         .start = start_turn},
    };
    struct ah_host_error error;
    struct ah_host_opts opts = {.size = sizeof opts, .flags = AH_HOST_NO_DOTENV | AH_HOST_NEED_JOURNAL};
    struct ah_host *h = ah_host_new(&opts, &error);
    if (!h || ah_ext_add_functions(h, "heater", functions, &error) != 0 ||
        ah_ext_add_primitive(h, "heater", &primitives[0], &error) != 0 ||
        ah_ext_add_primitive(h, "heater", &primitives[1], &error) != 0) {
        fprintf(stderr, "%s: %s\n", error.kind, error.message);
        ah_host_free(h);
        return 1;
    }
    struct ah_host_run_opts run = {
        .size = sizeof run, .path = "heating.lua", .source = script, .source_n = strlen(script)};
    const struct ah_host_result *result = ah_host_run(h, &run);
    int failed = result->error.kind[0] != '\0';
    printf("%s\n", failed ? result->error.message : result->answer);
    ah_host_free(h);
    return failed;
}
