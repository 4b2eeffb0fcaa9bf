/*
 * test_glance.c - writes that are begun one after the other while the loop does not turn: no
 * callback runs inside of a call, and what servers have answered is taken where the host says so.
 */
#include "engine_harness.h"

enum { FEW = 4, MANY = 200, FIRST = 1000 };

static int done;
static stores_op *ops[FEW + MANY];

static void start(stores_engine *engine, int from, int count) {
    stores_call call = STORES_CALL_INIT;
    call.cb = count_up;
    call.arg = &done;
    for (int i = from; i < from + count; i++) {
        stores_change change = STORES_CHANGE_INIT;
        change.kind = STORES_INSERT;
        change.table = "docs";
        change.id = FIRST + i;
        change.json = "{}";
        ops[i] = stores_write(engine, &call, &change);
    }
}

static bool are_there(void) {
    return strcmp(sql("SELECT count(*) FROM docs WHERE id >= 1000 AND id < 1000 + 4"), "4") == 0;
}

static bool are_answered(void) {
    return strcmp(sql("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
                      " AND datname = current_database()"),
                  "1") == 0;
}

static void test_writes(stores_engine *engine) {
    uint64_t until;

    done = 0;
    start(engine, 0, FEW);
    stores_flush(engine);
    until = uv_hrtime() + (uint64_t)20000 * 1000000;
    while (!are_answered() && uv_hrtime() < until) usleep(1000);
    start(engine, FEW, MANY);
    CHECK_INT(done, 0);
    CHECK(!are_there());
    while (!are_there() && uv_hrtime() < until) {
        stores_glance(engine);
        usleep(1000);
    }
    CHECK(are_there());
    TURN_UNTIL(done == FEW + MANY, 20000);
    for (int i = 0; i < FEW + MANY; i++) {
        CHECK(stores_op_error(ops[i]) == NULL);
        stores_op_free(ops[i]);
    }
    sql("DELETE FROM docs WHERE id >= 1000");
}

/* There are connections, and what the table is, is known. */
static void warm(stores_engine *engine, bool cache) {
    stores_change change = STORES_CHANGE_INIT;

    change.kind = STORES_UPDATE;
    change.table = "docs";
    change.id = 1;
    change.json = "{}";
    do {
        stores_op *op = stores_write(engine, NULL, &change);
        CHECK_STR(code_of(op), "ok");
        stores_op_free(op);
    } while (cache && figure(engine, "intents") < 1);
    TURN_UNTIL(figure(engine, "pool_idle") > 0, 20000);
}

int main(void) {
    if (!servers_open()) return 1;
    for (int cache = 0; cache < 2; cache++) {
        stores_engine *engine = engine_new(cache);
        warm(engine, cache);
        test_writes(engine);
        engine_close(engine);
    }
    servers_close();
    return check_report();
}
