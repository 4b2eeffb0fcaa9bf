/*
 * test_redis_link.c - the link against a real redis-server, while all is well.
 */
#include "redis_harness.h"

#define MANY 2000

static void test_pipeline(void) {
    static struct call calls[MANY];
    struct stores__redis_stats before;
    struct call call;
    int i, wrong = 0;

    open_up();
    CHECK_INT(strlen(link_.run_id), 40);
    CHECK_STR(stores__redis_run_id(link_.redis), link_.run_id);
    CHECK(!link_.evicts_any);
    call = ask("SET n 0");
    CHECK_STR(call.text, "OK");
    memset(calls, 0, sizeof calls);
    before = *stores__redis_stats(link_.redis);
    for (i = 0; i < MANY; i++) CHECK(send_call(&calls[i], "INCR n"));
    CHECK_INT(stores__redis_pending(link_.redis), MANY);
    stores__redis_flush(link_.redis);
    CHECK_INT(calls[0].done, 0);
    TURN_UNTIL(calls[MANY - 1].done, 20000);
    for (i = 0; i < MANY; i++) wrong += calls[i].done != 1 || calls[i].integer != i + 1;
    CHECK_INT(wrong, 0);
    CHECK_INT(stores__redis_pending(link_.redis), 0);
    CHECK_INT(stores__redis_stats(link_.redis)->round_trips - before.round_trips, 1);
    CHECK_INT(stores__redis_stats(link_.redis)->commands - before.commands, MANY);
    CHECK(stores__redis_stats(link_.redis)->bytes_out > before.bytes_out + MANY * 10);
    stores__redis_flush(link_.redis); /* nothing to do */
    CHECK_INT(stores__redis_stats(link_.redis)->round_trips - before.round_trips, 1);
    call = ask("GET");
    CHECK_INT(call.errors, 1);
    CHECK_INT(stores__redis_state(link_.redis), STORES__REDIS_UP);
    close_link();
}

static struct redisReply *taken;

static void take(struct stores__redis_req *req, struct redisReply **reply) {
    struct call *call = STORES__CONTAINER(req, struct call, req);

    call->done++;
    taken = *reply;
    *reply = NULL;
}

/* More than the socket takes at once, either way; the reply is taken and freed later. */
static void test_large(void) {
    size_t size = 32 * 1024 * 1024, lens[3] = {3, 3, size};
    char *value = malloc(size);
    const char *argv[3] = {"SET", "big", value};
    struct call set = {.req = {.done = on_done}}, get = {.req = {.done = take}}, after = {0};

    memset(value, 'v', size);
    config.timeout_ms = 60000; /* how fast it is is no matter */
    open_up();
    CHECK(stores__redis_send(link_.redis, &set.req, 3, argv, lens));
    argv[0] = "GET";
    CHECK(stores__redis_send(link_.redis, &get.req, 2, argv, lens));
    CHECK(send_call(&after, "DEL big"));
    stores__redis_flush(link_.redis);
    TURN_UNTIL(after.done, 60000);
    CHECK_STR(set.text, "OK");
    CHECK_INT(get.done, 1);
    CHECK_INT(after.integer, 1);
    CHECK(taken && taken->len == size && memcmp(taken->str, value, size) == 0);
    stores__redis_reply_free(taken);
    lens[2] = (size_t)600 << 20;
    argv[0] = "SET";
    CHECK(!stores__redis_send(link_.redis, &set.req, 3, argv, lens)); /* longer than Redis takes */
    CHECK_INT(stores__redis_pending(link_.redis), 0);
    free(value);
    close_link();
    config.timeout_ms = 50;
}

/* What is queued while the socket still has to take the rest of a flush leaves with that rest, and
 * its answer was asked for, though nobody has flushed it. */
static void test_behind_a_rest(void) {
    size_t size = 8 * 1024 * 1024, lens[3] = {3, 3, size};
    char *value = malloc(size);
    const char *argv[3] = {"SET", "big", value};
    struct call set = {.req = {.done = on_done}}, behind[3] = {0};

    memset(value, 'v', size);
    config.timeout_ms = 60000;
    open_up();
    CHECK(stores__redis_send(link_.redis, &set.req, 3, argv, lens));
    stores__redis_flush(link_.redis);
    for (int i = 0; i < 3; i++) CHECK(send_call(&behind[i], "INCR rest"));
    TURN_UNTIL(behind[2].done, 60000);
    CHECK_STR(set.text, "OK");
    for (int i = 0; i < 3; i++) CHECK_INT(behind[i].integer, i + 1);
    CHECK_INT(link_.downs, 0);
    CHECK_STR(ask("DEL big rest").text, "");
    free(value);
    close_link();
    config.timeout_ms = 50;
}

static void test_scripts(void) {
    struct call calls[4], call;
    int round, i;

    open_up();
    call = ask("DEL s");
    for (round = 0; round < 3; round++) {
        memset(calls, 0, sizeof calls);
        if (round == 2) call = ask("SCRIPT FLUSH"); /* the second round finds it loaded */
        for (i = 0; i < 4; i++) send_script(&calls[i], "s", "10");
        stores__redis_flush(link_.redis);
        TURN_UNTIL(calls[3].done, 20000);
        for (i = 0; i < 4; i++) {
            CHECK_INT(calls[i].done, 1);
            CHECK_INT(calls[i].errors, 0);
            CHECK_INT(calls[i].integer, 10 * (4 * round + i + 1));
        }
    }
    CHECK_INT(strlen(script.sha), 40);
    CHECK_INT(stores__redis_pending(link_.redis), 0);
    memset(&call, 0, sizeof call);
    send_script(&call, "s", "x"); /* fails in the script: an error reply like any other */
    stores__redis_flush(link_.redis);
    TURN_UNTIL(call.done, 20000);
    CHECK_INT(call.errors, 1);
    close_link();
}

/* Requests of before the first connection wait for it, in their order. */
static void test_early(void) {
    struct call set = {0}, get = {0};

    open_link();
    CHECK(stores__redis_state(link_.redis) != STORES__REDIS_UP);
    CHECK(send_call(&set, "SET early yes"));
    CHECK(send_call(&get, "GET early"));
    stores__redis_flush(link_.redis);
    TURN_UNTIL(get.done, 20000);
    CHECK_STR(set.text, "OK");
    CHECK_STR(get.text, "yes");
    CHECK(set.order < get.order);
    close_link();
}

static void test_tcp(void) {
    struct stores__redis_config unix_config = config;
    struct call call;

    config.path = NULL;
    config.host = "localhost"; /* may well resolve to ::1 first, where nobody listens */
    config.port = server.port;
    open_link();
    CHECK_INT(stores__redis_state(link_.redis), STORES__REDIS_RESOLVING);
    TURN_UNTIL(link_.ups, 20000);
    call = ask("ECHO tcp");
    CHECK_STR(call.text, "tcp");
    close_link();
    config.host = "127.0.0.1";
    open_up();
    close_link();
    config.host = "nowhere.invalid";
    open_link();
    TURN_UNTIL(link_.downs, 10000);
    CHECK(strstr(link_.why, "nowhere.invalid") != NULL);
    close_link();
    config.host = "localhost";
    open_link();
    close_link(); /* while the name is being resolved */
    config.host = "127.0.0.1";
    config.port = 1;
    open_link();
    TURN_UNTIL(link_.downs, 20000);
    CHECK(strstr(link_.why, "127.0.0.1:1") && strstr(link_.why, "refused"));
    close_link();
    config = unix_config;
}

static void test_policy(void) {
    open_up();
    ask("CONFIG SET maxmemory-policy allkeys-lru");
    close_link();
    open_up();
    CHECK(link_.evicts_any);
    ask("CONFIG SET maxmemory-policy volatile-lru");
    close_link();
    open_up();
    CHECK(!link_.evicts_any);
    close_link();
}

/* An idle link, up or down, keeps no loop alive. */
static void test_unreferenced(void) {
    uint64_t began;

    open_up();
    uv_unref((uv_handle_t *)&tick);
    CHECK_INT(uv_loop_alive(&loop), 0);
    began = now();
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(now() - began < 10000);
    uv_ref((uv_handle_t *)&tick);
    close_link();
}

int main(void) {
    begin();
    test_pipeline();
    test_large();
    test_behind_a_rest();
    test_scripts();
    test_early();
    test_tcp();
    test_policy();
    test_unreferenced();
    end();
    return check_report();
}
