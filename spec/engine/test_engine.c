/*
 * test_engine.c - every function of stores.h as a C program calls it: verbs, transactions,
 * sessions, listening, figures. Callbacks and loops: test_engine_loops.c.
 */
#include "engine_harness.h"

static void test_config(void) {
    stores_config config = config_of(false);
    stores_error error = STORES_ERROR_INIT;
    config.shard_count = 2;
    config.shard_id = 2;
    CHECK(stores_engine_new(&config, &error) == NULL);
    CHECK_INT(error.code, STORES_INVALID_OPTION);
    CHECK(strstr(error.message, "shard_id") != NULL);
    config = config_of(false);
    config.poolsize = -1;
    CHECK(stores_engine_new(&config, &error) == NULL);
    CHECK_INT(error.code, STORES_INVALID_OPTION);

    static const uint64_t wrong[] = {1, 199, 10001, UINT64_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        config = config_of(false);
        config.hold_lease_ms = wrong[i];
        CHECK(stores_engine_new(&config, &error) == NULL);
        CHECK_INT(error.code, STORES_INVALID_OPTION);
        CHECK(strstr(error.message, "hold_lease_ms") != NULL);
    }

    /* a time of 0 is the default */
    config = config_of(true);
    config.connect_timeout_ms = config.statement_timeout_ms = config.acquire_timeout_ms = 0;
    config.timeout_ms = config.redis_timeout_ms = config.redis_connect_timeout_ms = 0;
    config.ttl_ms = config.negative_ttl_ms = 0;
    config.idle_timeout_ms = config.max_age_ms = config.ping_after_ms = config.hold_lease_ms = 0;
    stores_engine *engine = engine_with(&config);
    CHECK_STR(end_of(stores_find(engine, NULL, "docs", 1)), "ok");
    TURN_UNTIL(figure(engine, "pool_idle") == 1, 20000);
    engine_close(engine);
}

static void test_reads(stores_engine *engine) {
    static const int64_t ids[] = {7, 8, 7, -1};
    const char *values[] = {"10", NULL};
    stores_params params = {.size = sizeof params, .count = 2, .values = values};
    stores_op *op = stores_find_many(engine, NULL, "docs", ids, 4);
    CHECK_STR(code_of(op), "ok");
    CHECK_INT(stores_op_document_count(op), 4);
    CHECK_STR(document(op, 0), "{\"n\": 7}");
    CHECK_STR(document(op, 1), "{\"n\": 8}");
    CHECK_STR(document(op, 2), "{\"n\": 7}");
    CHECK_STR(document(op, 3), "");
    stores_op_free(op);
    CHECK_STR(end_of(stores_find_many(engine, NULL, "docs", NULL, 0)), "ok");

    op = stores_select(engine, NULL, "docs",
                       "SELECT id, value FROM %T WHERE id < $1 AND $2::text IS NULL ORDER BY id",
                       &params);
    CHECK_STR(code_of(op), "ok");
    CHECK_INT(stores_op_rows(op), 9);
    CHECK_INT(stores_op_columns(op), 2);
    CHECK_STR(stores_op_column(op, 1), "value");
    CHECK_INT(stores_op_column_type(op, 0), 20);
    CHECK_STR(stores_op_value(op, 8, 0, NULL), "9");
    CHECK_INT(stores_op_source(op), 'p');
    stores_op_free(op);

    CHECK_STR(end_of(stores_find(engine, NULL, "no such name", 1)), "invalid_table");
    CHECK_STR(end_of(stores_find(engine, NULL, "missing", 1)), "table_not_found");
    op = stores_query(engine, NULL, "SELECT 1/0", NULL, NULL);
    CHECK_STR(code_of(op), "invalid_argument");
    CHECK_STR(stores_op_error(op)->sqlstate, "22012");
    CHECK_INT(stores_op_error(op)->position, 0);
    stores_op_free(op);
    op = stores_query(engine, NULL, "SELECT 1 + nothing", NULL, NULL);
    CHECK_STR(code_of(op), "query_failed");
    CHECK_STR(stores_op_error(op)->statement, "SELECT 1 + nothing");
    CHECK_INT(stores_op_error(op)->position, 12);
    stores_op_free(op);
}

static void test_too_many_parameters(stores_engine *engine) {
    static const char *values[70000];
    stores_params params = {.size = sizeof params, .count = 70000, .values = values};
    stores_change change = {.size = sizeof change,
                            .kind = STORES_MODIFY,
                            .table = "docs",
                            .id = 1,
                            .expr = "value",
                            .params = &params};
    stores_tx *tx = stores_tx_new(engine, NULL);
    CHECK_STR(end_of(stores_select(engine, NULL, "docs", "SELECT 1", &params)), "invalid_argument");
    CHECK_STR(end_of(stores_query(engine, NULL, "SELECT 1", &params, NULL)), "invalid_argument");
    CHECK_STR(end_of(stores_write(engine, NULL, &change)), "invalid_argument");
    CHECK_STR(end_of(stores_tx_query(tx, NULL, "SELECT 1", &params, NULL)), "invalid_argument");
    CHECK_STR(end_of(stores_tx_select(tx, NULL, "docs", "SELECT 1", &params)), "invalid_argument");
    CHECK_STR(end_of(stores_tx_write(tx, NULL, &change, true)), "invalid_argument");
    stores_tx_free(tx);
}

static void test_cache(stores_engine *engine) {
    const int64_t id = 40;
    stores_op *op = NULL;
    for (int tries = 0; tries < 2000; tries++) {
        stores_op_free(op);
        op = stores_find(engine, NULL, "docs", id);
        code_of(op);
        if (stores_op_source(op) == 'c') break;
        turn_for(10);
    }
    CHECK_INT(stores_op_source(op), 'c');
    CHECK_STR(document(op, 0), "{\"n\": 40}");
    stores_op_free(op);
    sql("UPDATE docs SET value = '{\"n\": \"behind its back\"}' WHERE id = 40");
    CHECK_STR(end_of(stores_invalidate(engine, NULL, "docs", &id)), "ok");
    op = stores_find(engine, NULL, "docs", id);
    CHECK_STR(code_of(op), "ok");
    CHECK_STR(document(op, 0), "{\"n\": \"behind its back\"}");
    stores_op_free(op);
    CHECK_STR(end_of(stores_invalidate(engine, NULL, "docs", NULL)), "ok");
    op = stores_sweep(engine, NULL);
    CHECK_STR(code_of(op), "ok");
    CHECK(stores_op_affected(op) > 0);
    stores_op_free(op);
}

static stores_op *write_it(stores_engine *engine, stores_change_kind kind, int64_t id,
                           const char *json) {
    stores_change change = change_of(kind, id, json);
    change.want_document = true;
    return stores_write(engine, NULL, &change);
}

static void test_writes(stores_engine *engine) {
    int64_t id = stores_generate_id(engine);
    stores_op *op = write_it(engine, STORES_INSERT, id, "{\"a\":1}");
    CHECK_STR(code_of(op), "ok");
    CHECK(stores_op_inserted(op));
    CHECK_STR(document(op, 0), "{\"a\": 1}");
    stores_op_free(op);
    op = write_it(engine, STORES_INSERT, id, "{\"a\":2}");
    CHECK_STR(code_of(op), "duplicate");
    CHECK_STR(outcome_of(op), "none");
    stores_op_free(op);
    op = write_it(engine, STORES_UPSERT, id, "{\"a\":3}");
    CHECK_STR(code_of(op), "ok");
    CHECK(!stores_op_inserted(op));
    stores_op_free(op);
    op = write_it(engine, STORES_UPDATE, id + 1, "{}");
    CHECK_STR(code_of(op), "ok");
    CHECK_INT(stores_op_affected(op), 0);
    stores_op_free(op);
    op = modify(engine, NULL, id);
    CHECK_STR(code_of(op), "ok");
    CHECK_STR(document(op, 0), "{\"a\": 3, \"touched\": true}");
    stores_op_free(op);
    op = stores_find(engine, NULL, "docs", id);
    CHECK_STR(code_of(op), "ok");
    CHECK_STR(document(op, 0), "{\"a\": 3, \"touched\": true}");
    stores_op_free(op);
    op = write_it(engine, STORES_DELETE, id, NULL);
    CHECK_STR(code_of(op), "ok");
    CHECK_INT(stores_op_affected(op), 1);
    stores_op_free(op);
    op = stores_find(engine, NULL, "docs", id);
    CHECK_STR(code_of(op), "ok");
    CHECK_STR(document(op, 0), "");
    stores_op_free(op);
}

static void test_transactions(stores_engine *engine) {
    static const int64_t ids[] = {60, 61};
    stores_tx_options options = {.size = sizeof options, .isolation = STORES_REPEATABLE_READ};
    stores_query_options simple = {.size = sizeof simple, .simple = true};
    stores_change change = change_of(STORES_UPDATE, 60, "{\"n\": 600}");
    stores_tx *tx = stores_tx_new(engine, &options);
    stores_op *busy = stores_tx_find(tx, NULL, "docs", 60, true), *op;
    CHECK_STR(end_of(stores_tx_find(tx, NULL, "docs", 60, true)), "tx_busy");
    CHECK_STR(end_of(busy), "ok");
    CHECK_STR(end_of(stores_tx_savepoint(tx, NULL)), "ok");
    CHECK_STR(end_of(stores_tx_write(tx, NULL, &change, false)), "ok");
    op = stores_tx_find_many(tx, NULL, "docs", ids, 2);
    CHECK_STR(code_of(op), "ok");
    CHECK_STR(document(op, 0), "{\"n\": 600}");
    stores_op_free(op);
    CHECK_STR(end_of(stores_tx_rollback_to(tx, NULL)), "ok");
    CHECK_STR(end_of(stores_tx_rollback_to(tx, NULL)), "invalid_argument");
    CHECK_STR(end_of(stores_tx_savepoint(tx, NULL)), "ok");
    CHECK_STR(end_of(stores_tx_release(tx, NULL)), "ok");
    op = stores_tx_select(tx, NULL, "docs", "SELECT id, value::text FROM %T WHERE id = 60", NULL);
    CHECK_STR(code_of(op), "ok");
    CHECK_STR(stores_op_value(op, 0, 1, NULL), "{\"n\": 60}");
    stores_op_free(op);
    op = stores_tx_query(tx, NULL, "SELECT 1; SELECT 2", NULL, &simple);
    CHECK_STR(code_of(op), "ok");
    CHECK_STR(stores_op_value(op, 0, 0, NULL), "2");
    stores_op_free(op);
    CHECK_STR(end_of(stores_tx_commit(tx, NULL)), "ok");
    CHECK_STR(end_of(stores_tx_commit(tx, NULL)), "tx_ended");
    stores_tx_free(tx);

    tx = stores_tx_new(engine, NULL);
    CHECK_STR(end_of(stores_tx_write(tx, NULL, &change, false)), "ok");
    CHECK_STR(end_of(stores_tx_rollback(tx, NULL)), "ok");
    stores_tx_free(tx);
    tx = stores_tx_new(engine, NULL);
    CHECK_STR(end_of(stores_tx_write(tx, NULL, &change, true)), "ok");
    stores_tx_free(tx);
    CHECK_STR(sql("SELECT value FROM docs WHERE id = 60"), "{\"n\": 600}");
    CHECK_STR(end_of(write_it(engine, STORES_UPDATE, 60, "{\"n\": 60}")), "ok");
}

static void test_sessions(stores_engine *engine) {
    stores_tx_options options = {.size = sizeof options, .session = true};
    stores_change change = change_of(STORES_DELETE, 60, NULL);
    for (int i = 0; i < 3; i++) {
        stores_tx *tx = stores_tx_new(engine, &options);
        CHECK_STR(end_of(stores_tx_query(tx, NULL, "SELECT pg_advisory_lock(7)", NULL, NULL)),
                  "ok");
        CHECK_STR(end_of(stores_tx_write(tx, NULL, &change, false)), "unsupported");
        if (i == 1) CHECK_STR(end_of(stores_tx_rollback(tx, NULL)), "ok");
        stores_tx_free(tx);
        stores_flush(engine);
    }
    no_op_left(engine);
}

static bool is_cached(stores_engine *engine, int64_t id, const char *json) {
    stores_op *op = stores_find(engine, NULL, "docs", id);
    bool is = strcmp(code_of(op), "ok") == 0 && strcmp(document(op, 0), json) == 0 &&
              stores_op_source(op) == 'c';
    stores_op_free(op);
    return is;
}

/* What is not cached itself may have rows of what is. */
static void test_session_writes(stores_engine *engine) {
    stores_tx_options options = {.size = sizeof options, .session = true};
    stores_change change = change_of(STORES_UPDATE, 60, "{\"n\": 61}");
    change.table = "by_view";
    sql("CREATE VIEW by_view AS SELECT id, value FROM docs");
    TURN_UNTIL(is_cached(engine, 60, "{\"n\": 60}"), 20000);
    stores_tx *tx = stores_tx_new(engine, &options);
    CHECK_STR(end_of(stores_tx_write(tx, NULL, &change, false)), "ok");
    stores_tx_free(tx);
    TURN_UNTIL(is_cached(engine, 60, "{\"n\": 61}"), 10000);
    sql("DROP VIEW by_view");
    CHECK_STR(end_of(write_it(engine, STORES_UPDATE, 60, "{\"n\": 60}")), "ok");
    no_op_left(engine);
}

static int notified, gaps;

static void on_notice(void *arg, const char *channel, const char *payload) {
    (void)arg;
    if (channel == NULL) {
        gaps++;
    } else if (strcmp(channel, "C \"1\"") == 0 && strcmp(payload, "hello") == 0) {
        notified++;
    }
}

static void test_listen(stores_engine *engine) {
    stores_listener *listener = stores_listen(engine, "C \"1\"", on_notice, NULL);
    CHECK(listener != NULL);
    TURN_UNTIL(strcmp(sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
                          " AND state = 'idle'"),
                      "1") == 0,
               5000);
    sql("NOTIFY \"C \"\"1\"\"\", 'hello'");
    TURN_UNTIL(notified == 1, 20000);
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'");
    TURN_UNTIL(gaps == 1, 20000);
    stores_unlisten(listener);
    stores_unlisten(stores_listen(engine, "other", on_notice, NULL));
    no_op_left(engine);
    CHECK(stores_listen(engine, "", on_notice, NULL) == NULL);
}

static void count_verb(void *arg, const char *name, const uint64_t *counts, const double *bounds,
                       int buckets, double sum) {
    (void)name;
    if (counts[buckets - 1] > 0 || bounds[0] <= 0 || sum < 0) return;
    ++*(int *)arg;
}

static void count_turning(void *arg, const char *table, uint64_t ms, const char *writers) {
    (void)ms;
    if (table[0] != '\0' && writers[0] == '{') ++*(int *)arg;
}

static void on_statement(void *arg, const stores_statement *statement) {
    CHECK(statement->queue >= 0 && statement->postgres > 0 && statement->connection > 0);
    CHECK_INT(statement->code, STORES_OK);
    CHECK_STR(statement->sqlstate, "");
    if (strncmp(statement->sql, "SELECT id, value", 16) == 0) *(int64_t *)arg += statement->rows;
}

static void test_statements(stores_engine *engine) {
    int64_t rows = 0;
    stores_call call = {.size = sizeof call, .no_cache = true};
    stores_watch_statements(engine, on_statement, &rows);
    CHECK_STR(end_of(stores_find(engine, &call, "docs", 1)), "ok");
    CHECK_INT(rows, 1);
    stores_watch_statements(engine, NULL, NULL);
    CHECK_STR(end_of(stores_find(engine, &call, "docs", 1)), "ok");
    CHECK_INT(rows, 1);
}

static void test_figures(stores_engine *engine) {
    stores_times times = STORES_TIMES_INIT;
    int verbs = 0, turning = 0;
    stores_time_calls(engine, true);
    stores_call call = {.size = sizeof call, .no_cache = true};
    stores_op *op = stores_find(engine, &call, "docs", 1);
    CHECK_STR(code_of(op), "ok");
    stores_op_times(op, &times);
    CHECK(times.queue >= 0 && times.connect >= 0 && times.redis >= 0 && times.postgres > 0);
    CHECK_INT(times.retries, 0);
    stores_op_free(op);
    stores_time_calls(engine, false);
    stores_latency(engine, count_verb, &verbs);
    CHECK(verbs > 0);
    CHECK(figure(engine, "calls") > 0);
    CHECK_STR(end_of(stores_invalidate(engine, NULL, "docs", NULL)), "ok");
    stores_turning(engine, count_turning, &turning);
    CHECK(turning <= 1);
    CHECK(stores_engine_loop(engine) == &loop);
}

static void test_ids(void) {
    int64_t id = 0;
    stores_error error = STORES_ERROR_INIT;
    CHECK(stores_id_parse("-5", 2, &id, NULL));
    CHECK_INT(id, -5);
    CHECK(!stores_id_parse("05", 2, &id, &error));
    CHECK_INT(error.code, STORES_INVALID_ID);
    CHECK_INT(stores_shard_of(-1, 4), 3);
    CHECK_INT(stores_flake_time(stores_flake_at(INT64_C(1700000000123))), INT64_C(1700000000123));
    CHECK_INT(stores_simpleflake_time(stores_simpleflake_at(INT64_C(1700000000123))),
              INT64_C(1700000000123));
    CHECK_STR(stores_code_name(STORES_NOT_FOUND), "not_found");
    CHECK_INT(stores_code_http(STORES_NOT_FOUND), 404);
    CHECK_STR(stores_outcome_name(STORES_OUTCOME_UNKNOWN), "unknown");
}

int main(void) {
    if (!servers_open()) return 1;
    test_config();
    for (int cache = 0; cache < 2; cache++) {
        stores_engine *engine = engine_new(cache);
        test_reads(engine);
        test_too_many_parameters(engine);
        test_writes(engine);
        test_transactions(engine);
        if (cache) test_cache(engine);
        if (cache) test_sessions(engine);
        if (cache) test_session_writes(engine);
        if (cache) test_listen(engine);
        test_figures(engine);
        test_statements(engine);
        no_op_left(engine);
        engine_close(engine);
    }
    test_ids();
    servers_close();
    return check_report();
}
