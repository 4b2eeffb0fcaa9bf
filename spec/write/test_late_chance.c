/*
 * test_late_chance.c - transactions whose deadline comes at any moment of theirs: of calls that are
 * left or go on, of savepoints, COPYs and sessions, freed or kept, and of an engine that closes.
 */
#include "engine_harness.h"

enum { RUNS = 160, CALLS = 7 };

static unsigned chance = 12345;

static unsigned pick(unsigned n) {
    chance = chance * 1103515245u + 12345u;
    return (chance >> 16) % n;
}

static char rows[20000];
static int64_t ids[400];

static stores_op *copy(stores_tx *tx, const stores_call *call, int base) {
    stores_bulk bulk = STORES_BULK_INIT;
    size_t len = 0;
    for (int i = 0; i < 400; i++) {
        ids[i] = base + i;
        len += (size_t)snprintf(rows + len, sizeof rows - len, "%d\t{\"n\": 1}\n", base + i);
    }
    bulk.kind = STORES_INSERT;
    bulk.table = "docs";
    bulk.sql = "COPY %T (id, value) FROM STDIN";
    bulk.data = rows;
    bulk.len = len;
    bulk.ids = ids;
    bulk.id_count = 400;
    return stores_tx_bulk(tx, call, &bulk);
}

static stores_op *start(stores_tx *tx, const stores_call *call, int run) {
    char name[32];
    stores_change change = change_of(STORES_UPDATE, 1 + run % 50, "{\"n\": -1}");
    snprintf(name, sizeof name, "docs%d", (int)pick(6));
    switch (pick(10)) {
    case 0: return stores_tx_savepoint(tx, call);
    case 1: return stores_tx_rollback_to(tx, call);
    case 2: return stores_tx_release(tx, call);
    case 3: return stores_tx_query(tx, call, "SELECT 1/0", NULL, NULL);
    case 4: return stores_tx_query(tx, call, "SELECT pg_sleep(0.004)", NULL, NULL);
    case 5: return copy(tx, call, 1000 + 400 * run);
    case 6: return stores_tx_find(tx, call, name, 1, true); /* no such table, or one to be asked */
    case 7: return stores_tx_rollback(tx, call);
    default: return stores_tx_write(tx, call, &change, pick(12) == 0);
    }
}

static void one(stores_engine *engine, int run, bool closes) {
    stores_tx_options options = STORES_TX_OPTIONS_INIT;
    stores_call call = STORES_CALL_INIT;
    stores_op *ops[CALLS] = {0};
    int closed = 0;
    bool closing = false;
    options.timeout_ms = 1 + pick(14);
    options.session = pick(8) == 0;
    stores_tx *tx = stores_tx_new(engine, &options);
    for (int i = 0; i < CALLS; i++) {
        call.timeout_ms = pick(5) == 0 ? 1 + pick(5) : 5000;
        ops[i] = start(tx, &call, run);
        int until = pick(3) == 0 ? (int)pick(12) : 2000;
        for (int k = 0; k < until && !stores_op_done(ops[i]); k++) turn();
        if (pick(6) == 0) {
            stores_op_free(ops[i]);
            ops[i] = NULL;
        }
        if (closes && pick(CALLS) == 0 && !closing) {
            closing = true;
            stores_engine_close(engine, count_close, &closed);
        }
    }
    if (pick(3)) turn_for((int)pick(6));
    if (closes && !closing) {
        closing = true;
        stores_engine_close(engine, count_close, &closed);
    }
    if (pick(2)) turn();
    if (pick(2)) {
        stores_tx_free(tx);
        for (int i = 0; i < CALLS; i++) stores_op_free(ops[i]);
    } else {
        for (int i = 0; i < CALLS; i++) stores_op_free(ops[i]);
        if (!closes) TURN_UNTIL(figure(engine, "pool_checked_out") == 0, 10000);
        stores_tx_free(tx);
    }
    if (closes) {
        TURN_UNTIL(closed == 1, 10000);
    } else {
        no_op_left(engine);
    }
}

/* Transactions that were begun before now end, in whatever state they are: a server that runs a
 * statement of a connection that was closed idles for a moment behind it. */
static void all_end(void) {
    char begun[200];
    snprintf(begun, sizeof begun,
             "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
             " AND pid <> pg_backend_pid() AND xact_start < '%s'",
             sql("SELECT clock_timestamp()"));
    TURN_UNTIL(strcmp(sql(begun), "0") == 0, 20000);
}

int main(void) {
    if (!servers_open()) return 1;
    sql("CREATE TABLE docs1 AS TABLE docs; CREATE TABLE docs2 AS TABLE docs;"
        "CREATE TABLE docs3 AS TABLE docs");
    for (int cache = 0; cache < 2; cache++) {
        stores_engine *engine = engine_new(cache);
        for (int run = 0; run < RUNS; run++) {
            one(engine, run, false);
            all_end();
            stores_op *op = stores_find(engine, NULL, "docs", 1 + run % 50);
            CHECK_STR(code_of(op), "ok");
            char want[64];
            char text[100];
            snprintf(text, sizeof text, "SELECT value FROM docs WHERE id = %d", 1 + run % 50);
            snprintf(want, sizeof want, "%s", sql(text));
            CHECK_STR(document(op, 0), want);
            stores_op_free(op);
        }
        engine_close(engine);
        for (int run = 0; run < RUNS / 4; run++) {
            engine = engine_new(cache);
            one(engine, run, true);
        }
    }
    servers_close();
    return check_report();
}
