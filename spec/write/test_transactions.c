/* Transactions of every ending, under the leak checker of the build, or ten thousand of them under
 * valgrind: what is started is freed, whoever ends it. STORES_TEST_TRANSACTIONS: another number of
 * them.
 * Asan pass alone: what is looked for is memory, and that pass looks at all the rest as well. */
#include "engine_harness.h"

enum ending {
    END_COMMITS,
    END_COMMITS_WITH_WRITE,
    END_ROLLS_BACK,
    END_FAILS, /* a statement of it */
    END_IS_FREED, /* while it is open */
    END_IS_FREED_WAITING, /* while an op of it is under way */
    END_NEVER_BEGINS,
    ENDINGS,
    /* these take a cancel or a new connection each, and are fewer */
    END_TIMES_OUT = ENDINGS,
    END_LOSES_CONNECTION
};

static const char suicide[] = "SELECT pg_terminate_backend(pg_backend_pid())";

static enum ending ending_of(int i) {
    if (i % 50 == 0) return i % 100 ? END_TIMES_OUT : END_LOSES_CONNECTION;
    return (enum ending)(i % ENDINGS);
}

static void step(stores_tx *tx, int64_t id) {
    stores_change change = change_of(STORES_UPDATE, id, "{\"n\": 1}");
    CHECK_STR(end_of(stores_tx_find(tx, NULL, "docs", id, true)), "ok");
    CHECK_STR(end_of(stores_tx_write(tx, NULL, &change, false)), "ok");
    CHECK_STR(end_of(stores_tx_savepoint(tx, NULL)), "ok");
    CHECK_STR(end_of(stores_tx_rollback_to(tx, NULL)), "ok");
}

static void run(stores_engine *engine, enum ending ending, int64_t id) {
    stores_tx_options options = {.size = sizeof options, .isolation = STORES_READ_COMMITTED};
    stores_tx *tx = stores_tx_new(engine, &options);
    stores_change change = change_of(STORES_UPDATE, id, "{\"n\": 2}");
    if (ending != END_NEVER_BEGINS && ending != END_COMMITS_WITH_WRITE && id % 4 == 0) step(tx, id);
    switch (ending) {
    case END_COMMITS:
        CHECK_STR(end_of(stores_tx_find(tx, NULL, "docs", id, false)), "ok");
        CHECK_STR(end_of(stores_tx_commit(tx, NULL)), "ok");
        break;
    case END_COMMITS_WITH_WRITE:
        CHECK_STR(end_of(stores_tx_write(tx, NULL, &change, true)), "ok");
        break;
    case END_ROLLS_BACK:
        CHECK_STR(end_of(stores_tx_write(tx, NULL, &change, false)), "ok");
        CHECK_STR(end_of(stores_tx_rollback(tx, NULL)), "ok");
        break;
    case END_FAILS:
        CHECK_STR(end_of(stores_tx_query(tx, NULL, "SELECT nothing", NULL, NULL)), "query_failed");
        CHECK_STR(end_of(stores_tx_commit(tx, NULL)), "query_failed");
        break;
    case END_IS_FREED: CHECK_STR(end_of(stores_tx_write(tx, NULL, &change, false)), "ok"); break;
    case END_IS_FREED_WAITING: {
        stores_op *op = stores_tx_write(tx, NULL, &change, false);
        if (id % 2) turn();
        stores_op_free(op);
        break;
    }
    case END_TIMES_OUT: {
        stores_call call = {.size = sizeof call, .timeout_ms = 2};
        CHECK_STR(end_of(stores_tx_write(tx, NULL, &change, false)), "ok");
        CHECK_STR(end_of(stores_tx_query(tx, &call, "SELECT pg_sleep(9)", NULL, NULL)), "timeout");
        break;
    }
    case END_LOSES_CONNECTION:
        CHECK_STR(end_of(stores_tx_write(tx, NULL, &change, false)), "ok");
        CHECK_STR(end_of(stores_tx_query(tx, NULL, suicide, NULL, NULL)), "connection_lost");
        break;
    default: break;
    }
    stores_tx_free(tx);
}

int main(void) {
    const char *number = getenv("STORES_TEST_TRANSACTIONS"), *pass = getenv("STORES_TEST_PASS");
    int count = number ? atoi(number) : pass && strcmp(pass, "valgrind") != 0 ? 2000 : 10000;
    if (!servers_open()) return 1;
    for (int cache = 0; cache < 2; cache++) {
        stores_engine *engine = engine_new(cache);
        for (int i = 0; i < count / 2; i++) run(engine, ending_of(i), i % 100 + 1);
        TURN_UNTIL(figure(engine, "transactions") == 0, 10000);
        TURN_UNTIL(figure(engine, "pool_checked_out") == 0, 10000);
        CHECK_INT(figure(engine, "ops"), 0);
        CHECK_INT(figure(engine, "pool_waiters"), 0);
        CHECK(figure(engine, "pool_idle") <= 4);
        engine_close(engine);
    }
    servers_close();
    return check_report();
}
