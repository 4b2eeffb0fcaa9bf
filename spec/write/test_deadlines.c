/*
 * test_deadlines.c - the deadline of a transaction: it is over then, whoever waits for what, and
 * keeps nothing from others. What has none lasts.
 */
#include "engine_harness.h"

enum { SHORT_MS = 300, SOON_MS = 5000 };

static const char is_idle[] =
    "SELECT 1/count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND state LIKE 'idle in transaction%'";

static stores_tx *tx_for(stores_engine *engine, uint64_t ms, bool session) {
    stores_tx_options options = STORES_TX_OPTIONS_INIT;
    options.timeout_ms = ms;
    options.session = session;
    return stores_tx_new(engine, &options);
}

static stores_op *ask(stores_tx *tx, const char *text, uint64_t ms) {
    stores_call call = STORES_CALL_INIT;
    call.timeout_ms = ms;
    return stores_tx_query(tx, &call, text, NULL, NULL);
}

static bool idles(stores_engine *engine) {
    return strcmp(end_of(stores_query(engine, NULL, is_idle, NULL, NULL)), "ok") == 0;
}

static void is_over(stores_engine *engine, stores_tx *tx) {
    TURN_UNTIL(figure(engine, "pool_checked_out") == 0, SOON_MS);
    CHECK(!idles(engine));
    CHECK_INT(stores_tx_levels(tx), -1);
    CHECK_STR(end_of(stores_tx_find(tx, NULL, "docs", 1, false)), "timeout");
    CHECK_STR(end_of(stores_tx_savepoint(tx, NULL)), "timeout");
    CHECK_STR(end_of(stores_tx_rollback_to(tx, NULL)), "timeout");
    stores_op *op = stores_tx_commit(tx, NULL);
    CHECK_STR(code_of(op), "timeout");
    CHECK_STR(outcome_of(op), "none");
    stores_op_free(op);
    stores_tx_free(tx);
}

static void test_idle(stores_engine *engine) {
    stores_tx *tx = tx_for(engine, SHORT_MS, false);
    stores_change change = change_of(STORES_UPDATE, 1, "{\"n\": 2}");
    CHECK_STR(end_of(stores_tx_write(tx, NULL, &change, false)), "ok");
    CHECK_STR(end_of(stores_tx_savepoint(tx, NULL)), "ok");
    CHECK(idles(engine));
    turn_for(SHORT_MS);
    is_over(engine, tx);
    stores_op *op = stores_find(engine, NULL, "docs", 1);
    CHECK_STR(code_of(op), "ok");
    CHECK_STR(document(op, 0), "{\"n\": 1}");
    stores_op_free(op);
}

static void test_idle_and_freed(stores_engine *engine) {
    for (int wait = 0; wait < 2; wait++) {
        stores_tx *tx = tx_for(engine, 20, false);
        CHECK_STR(end_of(ask(tx, "SELECT 1", 0)), "ok");
        turn_for(wait ? 25 : 19);
        stores_tx_free(tx);
        no_op_left(engine);
    }
}

static void test_longer_call(stores_engine *engine) {
    stores_tx *tx = tx_for(engine, SHORT_MS, false);
    CHECK_STR(end_of(ask(tx, "SELECT pg_sleep(0.6)", SOON_MS)), "ok");
    is_over(engine, tx);
    tx = tx_for(engine, SHORT_MS, false);
    CHECK_STR(end_of(ask(tx, "SELECT pg_sleep(0.6), 1/(random() * 0)::int", SOON_MS)),
              "invalid_argument");
    is_over(engine, tx);
}

static void test_late_commit(stores_engine *engine) {
    stores_tx *tx = tx_for(engine, SHORT_MS, false);
    stores_change change = change_of(STORES_UPDATE, 1, "{\"n\": 3}");
    stores_tx *holder = tx_for(engine, 2 * SHORT_MS, false);
    CHECK_STR(end_of(stores_tx_find(holder, NULL, "docs", 1, true)), "ok");
    stores_op *op = stores_tx_write(tx, NULL, &change, true);
    CHECK_STR(code_of(op), "timeout");
    CHECK_STR(outcome_of(op), "none");
    stores_op_free(op);
    is_over(engine, tx);
    is_over(engine, holder);
    op = stores_find(engine, NULL, "docs", 1);
    CHECK_STR(code_of(op), "ok");
    CHECK_STR(document(op, 0), "{\"n\": 1}");
    stores_op_free(op);
}

static void test_session(stores_engine *engine) {
    static const char lock[] = "SELECT pg_advisory_lock(1)";
    stores_tx *tx = tx_for(engine, SHORT_MS, true);
    CHECK_STR(end_of(ask(tx, lock, 0)), "ok");
    CHECK_STR(end_of(ask(tx, "BEGIN", 0)), "ok");
    turn_for(SHORT_MS);
    is_over(engine, tx);
    tx = tx_for(engine, 0, true);
    CHECK_STR(end_of(ask(tx, lock, SOON_MS)), "ok");
    stores_tx_free(tx);
    no_op_left(engine);
}

/* What a session wrote is committed by itself: that its time is over takes nothing back. */
static void test_late_write_of_a_session(stores_engine *engine) {
    stores_tx *tx = tx_for(engine, SHORT_MS, true);
    stores_tx *holder = tx_for(engine, 2 * SHORT_MS, false);
    stores_change change = change_of(STORES_UPDATE, 2, "{\"n\": 4}");
    CHECK_STR(end_of(stores_tx_find(holder, NULL, "docs", 2, true)), "ok");
    CHECK_STR(end_of(stores_tx_write(tx, NULL, &change, true)), "ok");
    is_over(engine, holder);
    CHECK_INT(stores_tx_levels(tx), -1);
    stores_tx_free(tx);
    stores_op *op = stores_find(engine, NULL, "docs", 2);
    CHECK_STR(code_of(op), "ok");
    CHECK_STR(document(op, 0), "{\"n\": 4}");
    stores_op_free(op);
}

static void test_none(stores_engine *engine) {
    static const uint64_t times[] = {0, UINT64_MAX, UINT64_MAX - 1};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        stores_tx *tx = tx_for(engine, times[i], false);
        CHECK_STR(end_of(stores_tx_find(tx, NULL, "docs", 1, true)), "ok");
        turn_for(50);
        CHECK(idles(engine));
        CHECK_STR(end_of(stores_tx_commit(tx, NULL)), "ok");
        stores_tx_free(tx);
    }
}

static void test_closing(void) {
    stores_engine *engine = engine_new(false);
    stores_tx *tx = tx_for(engine, 20, false);
    CHECK_STR(end_of(ask(tx, "SELECT 1", 0)), "ok");
    engine_close(engine);
    turn_for(25);
    stores_tx_free(tx);
}

int main(void) {
    if (!servers_open()) return 1;
    for (int cache = 0; cache < 2; cache++) {
        stores_engine *engine = engine_new(cache);
        test_idle(engine);
        test_idle_and_freed(engine);
        test_longer_call(engine);
        test_late_commit(engine);
        test_session(engine);
        test_none(engine);
        if (!cache) test_late_write_of_a_session(engine);
        engine_close(engine);
    }
    test_closing();
    servers_close();
    return check_report();
}
