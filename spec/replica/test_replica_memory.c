/*
 * test_replica_memory.c - memory that runs out in an engine with replicas, at each of its
 * allocations in turn: when it is opened, and while a read is asked of them, the primary is asked
 * whether it has ended what they have shown, and answers. Every read ends, and the next one is as
 * ever.
 * Asan pass alone: what is looked for is memory, and that pass looks at all the rest as well.
 */
#include "engine_harness.h"
#include "no_memory.h"

enum { WAYS = 3, MOST = 400 };

static char token[200];
static stores_replica replica = STORES_REPLICA_INIT;
static const stores_replica *replicas[] = {&replica, &replica, NULL};

/* The primary itself as its replicas, and a token that has a doubt begin: of what is over */
static stores_config config_with_replicas(bool after_token) {
    stores_config config = config_of(false);
    replica.pg_keys = config.pg_keys;
    replica.pg_values = config.pg_values;
    config.replicas = replicas;
    if (after_token) config.after_token = token;
    return config;
}

static void write_token(void) {
    snprintf(token, sizeof token,
             "5.00000001.0000000000000001,%s.00000001.0000000000000001."
             "0000000000000001.0000000000000000",
             sql("SELECT system_identifier FROM pg_control_system()"));
}

static void test_opening(void) {
    stores_config config = config_with_replicas(true);
    bool made = false;
    int at = 1;
    for (; !made && at < MOST; at++) {
        stores_error error = STORES_ERROR_INIT;
        fail_at = at;
        stores_engine *engine = stores_engine_new(&config, &error);
        made = engine != NULL && fail_at > 0;
        fail_at = 0;
        if (engine != NULL) {
            engine_close(engine);
        } else {
            CHECK(error.code == STORES_NO_MEMORY || error.code == STORES_INTERNAL);
        }
    }
    CHECK(made);
    CHECK(at > 10);
    turn_for(5);
}

static stores_op *start(stores_engine *engine, int way) {
    static const int64_t ids[] = {1, 2, 2};
    stores_call call = {.size = sizeof call, .read = STORES_READ_REPLICA, .after_token = token};
    stores_query_options options = STORES_QUERY_OPTIONS_INIT;
    options.readonly = true;
    switch (way) {
    case 0: return stores_find_many(engine, &call, "docs", ids, 3);
    case 1: return stores_select(engine, &call, "docs", "SELECT id, value FROM %T", NULL);
    default: return stores_query(engine, &call, "SELECT 1", NULL, &options);
    }
}

static stores_engine *engine_after(bool met) {
    stores_config config = config_with_replicas(!met);
    stores_engine *engine = engine_with(&config);
    if (met) CHECK_STR(end_of(stores_find(engine, NULL, "docs", 1)), "ok");
    return engine;
}

/* One read with one fault. Whether it was met. */
static bool one_read(stores_engine *engine, int way, int at) {
    fail_at = at;
    stores_op *op = start(engine, way);
    if (op != NULL) TURN_UNTIL(stores_op_done(op), 30000);
    bool fault = fail_at == 0;
    fail_at = 0;
    if (!fault) CHECK_STR(code_of(op), "ok");
    stores_op_free(op);
    CHECK_STR(end_of(start(engine, way)), "ok");
    TURN_UNTIL(figure(engine, "ops") == 0, 30000);
    return fault;
}

/* By replicas that are left alone. */
static void test_reads(int way) {
    stores_engine *engine = engine_after(true);
    int at = 1;
    CHECK_STR(end_of(start(engine, way)), "ok");
    while (at < MOST && one_read(engine, way, at)) at++;
    CHECK(at > 5 && at < MOST);
    engine_close(engine);
}

/* By those that nobody has asked yet, of an engine that has met its primary or not. */
static void test_first_reads(bool met) {
    bool fault = true;
    int at = 1;
    for (; fault && at < MOST; at++) {
        stores_engine *engine = engine_after(met);
        fault = one_read(engine, 2, at);
        engine_close(engine);
    }
    CHECK(at > 5 && !fault);
}

int main(void) {
    if (!servers_open()) return 1;
    write_token();
    test_opening();
    for (int way = 0; way < WAYS; way++) test_reads(way);
    test_first_reads(true);
    test_first_reads(false);
    servers_close();
    return check_report();
}
