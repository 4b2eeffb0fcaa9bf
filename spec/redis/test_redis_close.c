/*
 * test_redis_close.c - the link closed, or sent to, from inside its own callbacks.
 */
#include "redis_harness.h"

static struct call second;

static void send_second(struct call *call) {
    (void)call;
    if (!second.done) CHECK(send_call(&second, "ECHO second"));
    stores__redis_flush(link_.redis);
}

static void close_inside(struct call *call) {
    (void)call;
    stores__redis_close(link_.redis, on_closed, &link_);
}

static void test_reentrance(void) {
    struct call calls[3];
    int i;

    /* A send and a flush inside done. */
    open_up();
    memset(calls, 0, sizeof calls);
    memset(&second, 0, sizeof second);
    calls[0].then = send_second;
    for (i = 0; i < 2; i++) CHECK(send_call(&calls[i], "ECHO first"));
    stores__redis_flush(link_.redis);
    TURN_UNTIL(second.done, 20000);
    CHECK_STR(second.text, "second");
    CHECK(second.order > calls[1].order);

    /* A send inside a done(NULL) comes back on a turn of its own. */
    server_freeze();
    memset(calls, 0, sizeof calls);
    memset(&second, 0, sizeof second);
    calls[0].then = send_second;
    CHECK(send_call(&calls[0], "ECHO x"));
    stores__redis_flush(link_.redis);
    TURN_UNTIL(calls[0].done, 20000);
    CHECK_INT(calls[0].nulls, 1);
    CHECK_INT(second.done, 0);
    uv_run(&loop, UV_RUN_NOWAIT);
    CHECK_INT(second.nulls, 1);
    server_thaw();
    TURN_UNTIL(link_.ups == 2, 20000);

    /* A close inside done, with more replies in the same read. */
    memset(calls, 0, sizeof calls);
    calls[0].then = close_inside;
    for (i = 0; i < 3; i++) CHECK(send_call(&calls[i], "ECHO bye"));
    stores__redis_flush(link_.redis);
    TURN_UNTIL(link_.closes, 20000);
    CHECK_INT(link_.closes, 1);
    CHECK_STR(calls[0].text, "bye");
    CHECK_INT(calls[1].nulls, 1);
    CHECK_INT(calls[2].nulls, 1);

    /* A close inside done(NULL), with others behind it; and inside up(). */
    open_up();
    server_freeze();
    memset(calls, 0, sizeof calls);
    calls[1].then = close_inside;
    for (i = 0; i < 3; i++) CHECK(send_call(&calls[i], "ECHO bye"));
    stores__redis_flush(link_.redis);
    TURN_UNTIL(link_.closes, 20000);
    CHECK_INT(link_.closes, 1);
    for (i = 0; i < 3; i++) CHECK_INT(calls[i].nulls, 1);
    server_thaw();

    open_link();
    link_.close_on_up = true;
    memset(calls, 0, sizeof calls);
    CHECK(send_call(&calls[0], "ECHO never"));
    TURN_UNTIL(link_.closes, 20000);
    CHECK_INT(link_.closes, 1);
    CHECK_INT(calls[0].nulls, 1);
}

static void test_close(void) {
    struct call calls[4], scripted = {0};
    int i;

    open_up();
    memset(calls, 0, sizeof calls);
    for (i = 0; i < 2; i++) CHECK(send_call(&calls[i], "INCR n"));
    send_script(&scripted, "s", "1");
    stores__redis_flush(link_.redis);
    for (i = 2; i < 4; i++) CHECK(send_call(&calls[i], "INCR n")); /* not even flushed */
    stores__redis_close(link_.redis, on_closed, &link_);
    for (i = 0; i < 4; i++) CHECK_INT(calls[i].done, 0);
    CHECK(!send_call(&second, "INCR n"));
    stores__redis_flush(link_.redis);
    TURN_UNTIL(link_.closes, 20000);
    for (i = 0; i < 4; i++) {
        CHECK_INT(calls[i].done, 1);
        CHECK_INT(calls[i].nulls, 1);
    }
    CHECK_INT(scripted.nulls, 1);
    CHECK_INT(link_.closes, 1);
}

int main(void) {
    begin();
    test_reentrance();
    test_close();
    end();
    return check_report();
}
