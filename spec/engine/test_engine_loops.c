/*
 * test_engine_loops.c - how a C program waits: callbacks, loops of all three kinds, several engines
 * on one, and what outlives an engine.
 */
#include <poll.h>

#include "engine_harness.h"

/* ---- Callbacks ------------------------------------------------------------------------------- */

static int links;
static bool inside;

static void next_link(stores_op *op, void *arg) {
    stores_engine *engine = arg;
    stores_call call = {
        .size = sizeof call, .cb = next_link, .arg = engine, .no_cache = links % 2 == 0};
    CHECK(!inside);
    CHECK(stores_op_error(op) == NULL);
    stores_op_free(op);
    if (++links >= 20) return;
    inside = true;
    if (links % 4 == 3) {
        modify(engine, &call, 70);
    } else if (links % 4 == 2) {
        stores_query(engine, &call, "SELECT 1", NULL, NULL);
    } else {
        stores_find(engine, &call, "docs", 70);
    }
    inside = false;
}

static void fail_inside(stores_op *op, void *arg) {
    CHECK(!inside);
    CHECK_STR(stores_code_name(stores_op_error(op)->code), "invalid_table");
    ++*(int *)arg;
}

static stores_op *victim;

static void free_both(stores_op *op, void *arg) {
    ++*(int *)arg;
    stores_op_free(op);
    stores_op_free(victim);
}

static void test_callbacks(stores_engine *engine) {
    stores_call call = {.size = sizeof call, .cb = next_link, .arg = engine};
    int failed = 0, freed = 0;
    links = 0;
    stores_find(engine, &call, "docs", 70);
    TURN_UNTIL(links == 20, 10000);

    call = (stores_call){.size = sizeof(stores_call), .cb = fail_inside, .arg = &failed};
    inside = true;
    stores_op *op = stores_find(engine, &call, "1", 1);
    inside = false;
    CHECK_INT(failed, 0);
    TURN_UNTIL(failed == 1, 20000);
    stores_op_free(op);

    /* the first callback of a turn frees the op whose callback would be next */
    call = (stores_call){.size = sizeof(stores_call), .cb = free_both, .arg = &freed};
    stores_find(engine, &call, "docs", 71);
    victim = stores_find(engine, &call, "docs", 72);
    TURN_UNTIL(freed == 1, 20000);
    no_op_left(engine);
    CHECK_INT(freed, 1);
}

/* ---- Loops ----------------------------------------------------------------------------------- */

/* A host that knows nothing of libuv: a descriptor, a timeout and stores_pump. */
static void test_poll_loop(void) {
    stores_config config = config_of(true);
    int closed = 0;
    config.loop = NULL;
    stores_engine *engine = engine_with(&config);
    stores_call call = {.size = sizeof call, .cb = next_link, .arg = engine};
    uint64_t began = uv_hrtime();
    links = 0;
    stores_find(engine, &call, "docs", 70);
    for (int turns = 0; links < 20 && turns < 10000; turns++) {
        struct pollfd fd = {.fd = stores_backend_fd(engine), .events = POLLIN};
        poll(&fd, 1, stores_backend_timeout(engine));
        stores_pump(engine);
    }
    CHECK_INT(links, 20);
    CHECK(uv_hrtime() - began < UINT64_C(10000000000));

    /* a busy host's calls have their whole time all the same */
    call = (stores_call){.size = sizeof(stores_call), .timeout_ms = 2000, .no_cache = true};
    usleep(2200 * 1000);
    stores_op *op = stores_find(engine, &call, "docs", 1);
    stores_wait(engine, op);
    CHECK(stores_op_error(op) == NULL);
    stores_op_free(op);
    stores_engine_close(engine, count_close, &closed);
    CHECK_INT(closed, 1);
}

/* The last pump is the one that frees the engine. */
static void test_pump_to_the_end(void) {
    stores_engine *engine = engine_new(true);
    int closed = 0;
    CHECK_STR(end_of(stores_find(engine, NULL, "docs", 1)), "ok");
    stores_engine_close(engine, count_close, &closed);
    for (int i = 0; i < 10000 && closed == 0; i++) {
        stores_pump(engine);
        usleep(200);
    }
    CHECK_INT(closed, 1);
}

static void test_two_engines(void) {
    stores_engine *one = engine_new(true), *two = engine_new(true), *plain = engine_new(false);
    for (int i = 0; i < 20; i++) {
        stores_op *write = modify(i % 2 ? one : two, NULL, 80);
        CHECK_STR(end_of(write), "ok");
        stores_op *read = stores_find(i % 2 ? two : one, NULL, "docs", 80);
        CHECK_STR(code_of(read), "ok");
        CHECK_STR(document(read, 0), "{\"n\": 80, \"touched\": true}");
        stores_op_free(read);
    }
    stores_op *pending = stores_find(one, NULL, "docs", 81);
    engine_close(two);
    CHECK_STR(end_of(pending), "ok");
    CHECK_STR(end_of(stores_find(plain, NULL, "docs", 81)), "ok");
    engine_close(plain);
    engine_close(one);
}

/* ---- What outlives an engine ----------------------------------------------------------------- */

static void test_after_close(void) {
    stores_tx_options session = {.size = sizeof session, .session = true};
    stores_engine *engine = engine_new(true);
    stores_tx *open = stores_tx_new(engine, NULL), *fresh = stores_tx_new(engine, NULL);
    stores_tx *pinned = stores_tx_new(engine, &session), *given_up = stores_tx_new(engine, NULL);
    CHECK_STR(end_of(stores_tx_find(open, NULL, "docs", 90, true)), "ok");
    CHECK_STR(end_of(stores_tx_find(given_up, NULL, "docs", 91, true)), "ok");
    CHECK_STR(end_of(stores_tx_query(pinned, NULL, "SELECT 1", NULL, NULL)), "ok");
    stores_op *done = stores_find(engine, NULL, "docs", 92);
    CHECK_STR(code_of(done), "ok");
    stores_tx_free(given_up);
    engine_close(engine);
    CHECK_STR(document(done, 0), "{\"n\": 92}");
    stores_tx_free(open);
    stores_tx_free(pinned);
    stores_op_free(done);
    stores_tx_free(fresh);
    /* what was open is rolled back on the server as well */
    TURN_UNTIL(
        strcmp(sql("SELECT count(*) FROM pg_locks WHERE relation = 'docs'::regclass"), "0") == 0,
        5000);
}

int main(void) {
    if (!servers_open()) return 1;
    for (int cache = 0; cache < 2; cache++) {
        stores_engine *engine = engine_new(cache);
        test_callbacks(engine);
        no_op_left(engine);
        engine_close(engine);
    }
    test_poll_loop();
    test_pump_to_the_end();
    test_two_engines();
    test_after_close();
    servers_close();
    return check_report();
}
