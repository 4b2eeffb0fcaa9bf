/*
 * test_held_memory.c - memory runs out at each allocation in turn, of who writes a held table and
 * holds it, and of who holds it: what is read from memory is what is stored, what a caller was told
 * is true, and the table is held and written on afterwards.
 * Asan pass alone: what is looked for is memory.
 */
#include "engine_harness.h"
#include "no_memory.h"

enum { WRITES = 40, READS = 40 };

static stores_engine *one, *other; /* both hold the table; the first one writes */

static stores_engine *holder_new(void) {
    stores_config config = config_of(true);
    config.hold_lease_ms = 300;
    stores_engine *engine = engine_with(&config);
    CHECK(stores_hold(engine, "docs"));
    return engine;
}

/* What is read from memory; "": it is not known there. */
static const char *in_memory(stores_engine *engine, int64_t id) {
    static char copy[64];
    stores_held found = STORES_HELD_INIT;
    copy[0] = '\0';
    if (stores_held_find(engine, "docs", id, &found) == 1) {
        snprintf(copy, sizeof copy, "%.*s", (int)found.len, found.text);
    }
    return copy;
}

static void hold_row(stores_engine *engine, int64_t id) {
    uint64_t until = uv_hrtime() + UINT64_C(20000000000);
    while (in_memory(engine, id)[0] == '\0' && uv_hrtime() < until) {
        CHECK_STR(end_of(stores_find(engine, NULL, "docs", id)), "ok");
        turn();
    }
    CHECK(in_memory(engine, id)[0] != '\0');
}

static void is_fresh(stores_engine *engine, int64_t id, const char *stored) {
    const char *text = in_memory(engine, id);
    if (text[0] != '\0') CHECK_STR(text, stored);
}

static void test_writes(void) {
    int reached = 0;
    for (int at = 1; at <= WRITES; at++) {
        char text[40], stored[64];
        hold_row(one, 7);
        hold_row(other, 7);
        snprintf(text, sizeof text, "{\"n\": %d}", 1000 + at);
        stores_change change = change_of(STORES_UPDATE, 7, text);
        fail_at = at;
        stores_op *op = stores_write(one, NULL, &change);
        if (op != NULL) TURN_UNTIL(stores_op_done(op), 20000);
        reached += fail_at == 0;
        fail_at = 0;
        snprintf(stored, sizeof stored, "%s", sql("SELECT value FROM docs WHERE id = 7"));
        is_fresh(one, 7, stored);
        is_fresh(other, 7, stored);
        const char *outcome = op != NULL ? outcome_of(op) : "none";
        if (strcmp(outcome, "none") == 0) CHECK(strcmp(stored, text) != 0);
        if (strcmp(outcome, "success") == 0) CHECK_STR(stored, text);
        if (strcmp(outcome, "committed") == 0) CHECK_STR(stored, text);
        stores_op_free(op);
    }
    CHECK(reached > 10);
    no_op_left(one);
}

/* Of who holds the row while another one writes it, and reads it again. */
static void test_reads(void) {
    for (int at = 1; at <= READS; at++) {
        char text[40];
        hold_row(other, 8);
        snprintf(text, sizeof text, "{\"n\": %d}", 2000 + at);
        stores_change change = change_of(STORES_UPDATE, 8, text);
        CHECK_STR(end_of(stores_write(one, NULL, &change)), "ok");
        fail_at = at;
        stores_op *op = stores_find(other, NULL, "docs", 8);
        if (op != NULL) TURN_UNTIL(stores_op_done(op), 20000);
        for (int i = 0; i < 5; i++) turn();
        fail_at = 0;
        is_fresh(other, 8, text);
        if (op != NULL && stores_op_error(op) == NULL) CHECK_STR(document(op, 0), text);
        stores_op_free(op);
    }
    no_op_left(other);
}

/* There is none at all for a while: the lease runs out, or is given up. */
static void test_none(void) {
    char stored[64];
    hold_row(other, 9);
    all_fail = true;
    for (int i = 0; i < 50; i++) {
        in_memory(other, 9);
        turn();
    }
    all_fail = false;
    stores_change change = change_of(STORES_UPDATE, 9, "{\"n\": 9000}");
    CHECK_STR(end_of(stores_write(one, NULL, &change)), "ok");
    snprintf(stored, sizeof stored, "%s", sql("SELECT value FROM docs WHERE id = 9"));
    is_fresh(other, 9, stored);
    hold_row(other, 9);
    is_fresh(other, 9, stored);
}

int main(void) {
    if (!servers_open()) return 1;
    one = holder_new();
    other = holder_new();
    test_writes();
    test_reads();
    test_none();
    engine_close(one);
    engine_close(other);
    servers_close();
    return check_report();
}
