/*
 * test_held_close.c - an engine is closed while its writer waits for one that holds the row, after
 * every number of turns: nothing is left behind, and what the caller was told is true.
 * Asan pass alone: what is looked for is memory.
 */
#include "engine_harness.h"

enum { STEPS = 24 };

static uv_loop_t aside; /* of the holder: it hears of nothing while nobody turns it */

static void turn_aside(void) {
    uv_run(&aside, UV_RUN_NOWAIT);
    usleep(200);
}

static stores_engine *holder_new(void) {
    stores_config config = config_of(true);
    uv_loop_init(&aside);
    config.loop = &aside;
    stores_engine *holder = engine_with(&config);
    CHECK(stores_hold(holder, "docs"));
    return holder;
}

/* Reads the row until that is done from memory. */
static void hold_row(stores_engine *holder, int64_t id) {
    uint64_t until = uv_hrtime() + UINT64_C(20000000000);
    stores_held found = STORES_HELD_INIT;
    while (stores_held_find(holder, "docs", id, &found) < 0 && uv_hrtime() < until) {
        stores_op *op = stores_find(holder, NULL, "docs", id);
        while (!stores_op_done(op) && uv_hrtime() < until) turn_aside();
        stores_op_free(op);
        turn_aside();
    }
    CHECK(stores_held_find(holder, "docs", id, &found) == 1);
    stores_held unsized = {0};
    CHECK_INT(stores_held_find(holder, "docs", id, &unsized), -1);
}

static void close_holder(stores_engine *holder) {
    int closed = 0;
    stores_engine_close(holder, count_close, &closed);
    for (int i = 0; i < 20000 && closed == 0; i++) turn_aside();
    CHECK_INT(closed, 1);
    CHECK_INT(uv_loop_close(&aside), 0);
}

/* Closes while the write waits, some turns after it began to. */
static void test_close(stores_engine *holder, int steps) {
    char text[40], told[40];
    stores_engine *writer = engine_new(true);
    snprintf(text, sizeof text, "{\"n\": %d}", 1000 + steps);
    stores_change change = change_of(STORES_UPDATE, 7, text);
    CHECK_STR(end_of(stores_find(writer, NULL, "docs", 8)), "ok");
    hold_row(holder, 7);
    stores_op *op = stores_write(writer, NULL, &change);
    TURN_UNTIL(figure(writer, "held_waits") > 0 || stores_op_done(op), 15000);
    for (int i = 0; i < steps; i++) turn();
    engine_close(writer);
    CHECK(stores_op_done(op));
    const char *outcome = outcome_of(op);
    snprintf(told, sizeof told, "%s", sql("SELECT value FROM docs WHERE id = 7"));
    if (strcmp(outcome, "none") == 0) CHECK(strcmp(told, text) != 0);
    if (strcmp(outcome, "success") == 0) CHECK_STR(told, text);
    stores_op_free(op);
}

int main(void) {
    if (!servers_open()) return 1;
    stores_engine *holder = holder_new();
    for (int steps = 0; steps < STEPS; steps++) test_close(holder, steps);
    close_holder(holder);
    servers_close();
    return check_report();
}
