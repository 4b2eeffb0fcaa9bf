/*
 * test_redis_failure.c - the link against a redis-server that is frozen, killed, locked or demoted.
 * Bounds in time are generous: they tell "in time" from "not at all".
 */
#include "redis_harness.h"

static void test_frozen(void) {
    struct call calls[3], call, late = {0};
    uint64_t began;
    int i;

    open_up();
    call = ask("SET frozen 1");
    memset(calls, 0, sizeof calls);
    server_freeze();
    began = now();
    for (i = 0; i < 3; i++) CHECK(send_call(&calls[i], "INCR frozen"));
    stores__redis_flush(link_.redis);
    TURN_UNTIL(link_.downs, 20000);
    CHECK(now() - began >= 50);
    CHECK(now() - began < 5000);
    for (i = 0; i < 3; i++) {
        CHECK_INT(calls[i].done, 1);
        CHECK_INT(calls[i].nulls, 1);
    }
    CHECK(strstr(link_.why, "silent") != NULL);
    CHECK_INT(stores__redis_stats(link_.redis)->timeouts, 1);

    /* Down: NULL on the next turn, at once. */
    began = now();
    CHECK(send_call(&late, "INCR frozen"));
    CHECK_INT(late.done, 0);
    stores__redis_flush(link_.redis);
    uv_run(&loop, UV_RUN_NOWAIT);
    CHECK_INT(late.nulls, 1);
    CHECK(now() - began < 1000);
    TURN_UNTIL(false, 1300); /* an attempt that is accepted by the kernel, and not answered */
    CHECK_INT(link_.ups, 1);
    CHECK_INT(link_.downs, 1);

    server_thaw();
    TURN_UNTIL(link_.ups == 2, 20000);
    CHECK_INT(link_.ups, 2);
    for (i = 0; i < 3; i++) CHECK_INT(calls[i].done, 1);
    call = ask("ECHO back");
    CHECK_STR(call.text, "back");
    close_link();
}

/* The host does not turn its loop for longer than the deadline: no timeout. */
static void test_busy_host(void) {
    struct call call = {0};

    open_up();
    CHECK(send_call(&call, "ECHO patience"));
    stores__redis_flush(link_.redis);
    usleep(200000);
    TURN_UNTIL(call.done, 20000);
    CHECK_STR(call.text, "patience");
    CHECK_INT(link_.downs, 0);
    close_link();

    open_link();
    usleep(100000);
    TURN_UNTIL(link_.ups, 20000);
    CHECK_INT(link_.downs, 0);
    close_link();
}

/* Answers keep coming, each within the deadline, all of them together well beyond it. */
static void test_slow_but_alive(void) {
    static struct call calls[4];
    uint64_t began = now();
    int i;

    config.timeout_ms = 500;
    open_up();
    memset(calls, 0, sizeof calls);
    for (i = 0; i < 4; i++) CHECK(send_call(&calls[i], "BLPOP nothing 0.2"));
    stores__redis_flush(link_.redis);
    TURN_UNTIL(calls[3].done, 20000);
    CHECK(now() - began > 700);
    for (i = 0; i < 4; i++) CHECK_INT(calls[i].nulls, 0);
    CHECK_INT(link_.downs, 0);
    close_link();
    config.timeout_ms = 50;
}

static void test_killed(void) {
    char run_id[41];
    struct call call = {0};
    uint64_t began;

    open_up();
    memcpy(run_id, link_.run_id, sizeof run_id);
    server_freeze();
    CHECK(send_call(&call, "INCR n"));
    stores__redis_flush(link_.redis);
    server_kill();
    TURN_UNTIL(link_.downs, 20000);
    CHECK_INT(call.nulls, 1);
    CHECK_INT(call.done, 1);
    server_start("", "");
    began = now();
    TURN_UNTIL(link_.ups == 2, 20000);
    CHECK_INT(link_.ups, 2);
    CHECK(now() - began < 5000);
    CHECK(strcmp(run_id, link_.run_id) != 0);
    CHECK_STR(link_.run_id, stores__redis_run_id(link_.redis));
    memset(&call, 0, sizeof call);
    send_script(&call, "s", "5"); /* the new server does not know the script */
    stores__redis_flush(link_.redis);
    TURN_UNTIL(call.done, 20000);
    CHECK_INT(call.integer, 5);
    close_link();
}

static void test_absent(void) {
    struct stores__redis_config old = config;
    struct call call = {0};

    config.path = "/nonexistent/redis.sock";
    open_link();
    CHECK(send_call(&call, "PING"));
    stores__redis_flush(link_.redis);
    CHECK_INT(call.done, 0);
    TURN_UNTIL(link_.downs, 20000);
    CHECK_INT(call.nulls, 1);
    CHECK(strstr(link_.why, "/nonexistent/redis.sock") != NULL);
    TURN_UNTIL(stores__redis_stats(link_.redis)->failures > 3, 20000);
    CHECK_INT(link_.downs, 1);
    stores__redis_nudge(link_.redis);
    close_link();
    config = old;
}

static void test_passwords(void) {
    struct stores__redis_config old = config;
    struct call call;

    server_kill();
    server_start("--requirepass", "correct");
    config.password = "s3cret";
    open_link();
    TURN_UNTIL(link_.downs, 20000);
    CHECK(strstr(link_.why, "password") && strstr(link_.why, "WRONGPASS"));
    CHECK(strstr(link_.why, "s3cret") == NULL);
    close_link();
    config.password = NULL;
    open_link();
    TURN_UNTIL(link_.downs, 20000);
    CHECK(strstr(link_.why, "wants a password") != NULL);
    close_link();
    config.password = "correct";
    config.db = 3;
    open_up();
    call = ask("CLIENT LIST");
    CHECK_INT(call.errors, 0);
    close_link();
    config.username = "default";
    open_up();
    close_link();
    config.db = 1000;
    open_link();
    TURN_UNTIL(link_.downs, 20000);
    CHECK(strstr(link_.why, "database") != NULL);
    close_link();
    config = old;
    server_kill();
    server_start("", "");
}

static void test_replica(void) {
    struct call call;

    open_up();
    call = ask("REPLICAOF 127.0.0.1 1");
    CHECK_STR(call.text, "OK");
    call = ask("SET x 1");
    CHECK_INT(call.errors, 1);
    CHECK(strncmp(call.text, "READONLY", 8) == 0);
    TURN_UNTIL(link_.downs, 20000);
    CHECK(strstr(link_.why, "READONLY") != NULL);
    TURN_UNTIL(strstr(stores__redis_why(link_.redis), "is a replica"), 20000);
    CHECK(strstr(stores__redis_why(link_.redis), "is a replica") != NULL);
    CHECK_INT(link_.ups, 1);
    server_command("REPLICAOF", "NO", "ONE");
    TURN_UNTIL(link_.ups == 2, 20000);
    CHECK_INT(link_.ups, 2);
    close_link();

    /* The same from inside a script. */
    open_up();
    call = ask("REPLICAOF 127.0.0.1 1");
    memset(&call, 0, sizeof call);
    send_script(&call, "s", "1");
    stores__redis_flush(link_.redis);
    TURN_UNTIL(link_.downs, 20000);
    CHECK_INT(call.errors, 1);
    CHECK_INT(link_.downs, 1);
    close_link();
    server_command("REPLICAOF", "NO", "ONE");
}

int main(void) {
    begin();
    test_frozen();
    test_busy_host();
    test_slow_but_alive();
    test_killed();
    test_absent();
    test_passwords();
    test_replica();
    end();
    return check_report();
}
