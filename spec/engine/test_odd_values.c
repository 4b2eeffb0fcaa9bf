/*
 * test_odd_values.c - what programs pass by mistake, or for "no limit": times as large as there
 * are, and pointers that are missing.
 */
#include <stddef.h>

#include "engine_harness.h"

static void test_endless(void) {
    static const size_t times[] = {offsetof(stores_config, connect_timeout_ms),
                                   offsetof(stores_config, statement_timeout_ms),
                                   offsetof(stores_config, acquire_timeout_ms),
                                   offsetof(stores_config, idle_timeout_ms),
                                   offsetof(stores_config, max_age_ms),
                                   offsetof(stores_config, ping_after_ms),
                                   offsetof(stores_config, timeout_ms),
                                   offsetof(stores_config, redis_timeout_ms),
                                   offsetof(stores_config, redis_connect_timeout_ms),
                                   offsetof(stores_config, redis_keepalive_ms),
                                   offsetof(stores_config, ttl_ms),
                                   offsetof(stores_config, negative_ttl_ms)};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        stores_config config = config_of(true);
        *(uint64_t *)((char *)&config + times[i]) = UINT64_MAX;
        stores_engine *engine = engine_with(&config);
        stores_change change = {.size = sizeof change,
                                .kind = STORES_UPDATE,
                                .table = "docs",
                                .id = (int64_t)i + 1,
                                .json = "{}"};
        stores_call call = {.size = sizeof call, .timeout_ms = 20000};
        CHECK_STR(end_of(stores_find(engine, &call, "docs", 1)), "ok");
        TURN_UNTIL(figure(engine, "redis_up") == 1, 20000);
        CHECK_STR(end_of(stores_write(engine, &call, &change)), "ok");
        TURN_UNTIL(
            ((void)end_of(stores_find(engine, &call, "docs", 50)), figure(engine, "hits") > 0),
            20000);
        /* the connection that was used serves the next one */
        double connects = figure(engine, "pg_connects");
        CHECK_STR(end_of(stores_query(engine, &call, "SELECT 1", NULL, NULL)), "ok");
        CHECK_STR(end_of(stores_query(engine, &call, "SELECT 1", NULL, NULL)), "ok");
        CHECK(figure(engine, "pg_connects") <= connects + 1);
        stores_tx_options options = {.size = sizeof options, .timeout_ms = UINT64_MAX};
        stores_tx *tx = stores_tx_new(engine, &options);
        CHECK_STR(end_of(stores_tx_find(tx, &call, "docs", 1, true)), "ok");
        CHECK_STR(end_of(stores_tx_commit(tx, &call)), "ok");
        stores_tx_free(tx);
        engine_close(engine);
    }
}

static void notified(void *arg, const char *channel, const char *payload) {
    (void)arg;
    (void)channel;
    (void)payload;
}

static void test_nothing(void) {
    stores_error error = STORES_ERROR_INIT;
    stores_config config = config_of(false);
    config.pg_values = NULL;
    CHECK(stores_engine_new(&config, &error) == NULL);
    CHECK_INT(error.code, STORES_INVALID_OPTION);

    stores_engine *engine = engine_new(true);
    CHECK(stores_listen(engine, NULL, notified, NULL) == NULL);
    const char *tables[] = {"docs", NULL};
    stores_query_options options = {
        .size = sizeof options, .invalidates = tables, .invalidates_count = 2};
    CHECK_STR(end_of(stores_query(engine, NULL, "SELECT 1", NULL, &options)), "invalid_table");
    CHECK_STR(end_of(stores_invalidate(engine, NULL, NULL, NULL)), "invalid_table");
    CHECK_STR(end_of(stores_select(engine, NULL, NULL, NULL, NULL)), "invalid_table");
    CHECK(!stores_id_parse(NULL, 0, NULL, &error));
    CHECK_STR(end_of(stores_query(engine, NULL, NULL, NULL, NULL)), "ok");
    engine_close(engine);
}

int main(void) {
    if (!servers_open()) return 1;
    test_endless();
    test_nothing();
    servers_close();
    return check_report();
}
