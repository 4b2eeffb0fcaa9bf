/*
 * test_redis_keep.c - a link that nobody uses: it is asked whether it lives, and one that is dead
 * is made anew. The machine's sleep is the one thing that no server can play: the clock that counts
 * it is set forward.
 */
#include <time.h>

#include "redis_harness.h"

static long long slept_s; /* what CLOCK_BOOTTIME is ahead of the other clocks */

int __real_clock_gettime(clockid_t id, struct timespec *at);
int __wrap_clock_gettime(clockid_t id, struct timespec *at);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

static bool no_chunks; /* there is memory for a short reply alone */

int __wrap_clock_gettime(clockid_t id, struct timespec *at) {
    int result = __real_clock_gettime(id, at);

    if (id == CLOCK_BOOTTIME) at->tv_sec += slept_s;
    return result;
}

void *__wrap_malloc(size_t size) {
    return no_chunks && size > 16 * 1024 ? NULL : __real_malloc(size);
}

/* How many PINGs the server has had; each greeting has one. */
static int pings(void) {
    redisContext *context = redisConnectUnix(server.socket);
    redisReply *reply = redisCommand(context, "INFO commandstats");
    const char *at = strstr(reply->str, "cmdstat_ping:calls=");
    int count = at ? atoi(at + strlen("cmdstat_ping:calls=")) : 0;

    freeReplyObject(reply);
    redisFree(context);
    return count;
}

static void test_pings(void) {
    struct stores__redis_stats before;
    int asked;

    config.keepalive_ms = 20;
    config.timeout_ms = 60000; /* a link that a busy machine loses is no case here */
    open_up();
    ask("ECHO first");
    before = *stores__redis_stats(link_.redis);
    asked = pings();
    no_chunks = true; /* what holds a link is there when memory is not */
    TURN_UNTIL(stores__redis_stats(link_.redis)->bytes_in > before.bytes_in + 5 * 7, 60000);
    no_chunks = false;
    CHECK(pings() >= asked + 5);
    CHECK_INT(stores__redis_stats(link_.redis)->commands, before.commands);
    CHECK_INT(stores__redis_stats(link_.redis)->round_trips, before.round_trips);
    CHECK_INT(stores__redis_pending(link_.redis), 0);
    CHECK_STR(ask("ECHO between").text, "between");
    CHECK_INT(link_.downs, 0);
    close_link();
}

/* A link that is used is not asked, nor is one where that was switched off. */
static void test_no_pings(void) {
    uint64_t began;
    int asked;

    config.keepalive_ms = 2000;
    open_up();
    asked = pings();
    began = now();
    while (now() < began + 300) ask("ECHO busy");
    CHECK_INT(pings(), asked);
    close_link();

    config.keepalive_ms = UINT64_MAX;
    open_up();
    asked = pings();
    TURN_UNTIL(false, 200);
    CHECK_INT(pings(), asked);
    close_link();
    config.keepalive_ms = 0;
}

/* The loop ends, though a PING is to come. */
static void test_loop_ends(void) {
    config.keepalive_ms = 20;
    open_up();
    uv_timer_stop(&tick);
    CHECK_INT(uv_run(&loop, UV_RUN_DEFAULT), 0);
    uv_timer_start(&tick, on_tick, 5, 5);
    close_link();
    config.keepalive_ms = 0;
}

/* A server that is frozen is found out though nobody asks it anything. */
static void test_frozen(void) {
    config.keepalive_ms = 50;
    config.timeout_ms = 100;
    open_up();
    server_freeze();
    TURN_UNTIL(link_.downs, 10000);
    CHECK(strstr(link_.why, "silent") != NULL);
    CHECK_INT(stores__redis_stats(link_.redis)->timeouts, 1);
    server_thaw();
    TURN_UNTIL(link_.ups == 2, 10000);
    CHECK_INT(link_.ups, 2);
    close_link();
    config.keepalive_ms = 0;
    config.timeout_ms = 50;
}

/* Of a machine that slept the connection may be dead, and is made anew before that is said: to the
 * link it is as if it had been used a moment ago. */
static void test_slept(void) {
    struct call call;

    config.keepalive_ms = UINT64_MAX;
    config.timeout_ms = 1000;
    config.connect_timeout_ms = 20000;
    for (int sleeps = 0; sleeps < 2; sleeps++) {
        open_up();
        ask("ECHO before");
        slept_s += sleeps ? 3600 : 0;
        memset(&call, 0, sizeof call);
        server_freeze();
        CHECK(send_call(&call, "ECHO lost"));
        stores__redis_flush(link_.redis);
        TURN_UNTIL(call.done, 10000);
        CHECK_INT(call.nulls, 1);
        server_thaw();
        TURN_UNTIL(stores__redis_stats(link_.redis)->connects == 2, 10000);
        CHECK_INT(link_.downs, sleeps ? 0 : 1);
        CHECK_STR(ask("ECHO after").text, "after");
        close_link();
    }
    config.keepalive_ms = config.connect_timeout_ms = 0;
    config.timeout_ms = 50;
}

int main(void) {
    begin();
    test_pings();
    test_no_pings();
    test_loop_ends();
    test_frozen();
    test_slept();
    end();
    return check_report();
}
