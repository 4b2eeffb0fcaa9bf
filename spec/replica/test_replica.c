/*
 * test_replica.c - the C API of replicas, over what is none: a server that is the primary itself,
 * one that nobody reaches, and calls that leave. What standbys answer: replicas_spec.lua.
 */
#include "engine_harness.h"

static const char *nobody_keys[] = {"host", "port", "dbname", "user", NULL};
static const char *nobody_values[] = {"127.0.0.1", "1", "nobody", "postgres", NULL};

static stores_config config_with(const stores_replica *const *replicas, bool cache) {
    stores_config config = config_of(cache);
    config.replicas = replicas;
    return config;
}

static stores_replica itself(void) {
    stores_config config = config_of(false);
    stores_replica replica = STORES_REPLICA_INIT;
    replica.pg_keys = config.pg_keys;
    replica.pg_values = config.pg_values;
    return replica;
}

static stores_replica nobody(void) {
    stores_replica replica = STORES_REPLICA_INIT;
    replica.pg_keys = nobody_keys;
    replica.pg_values = nobody_values;
    replica.poolsize = 2;
    return replica;
}

struct seen {
    int count;
    char why[2][24];
};

static void see(void *arg, const char *name, const char *why, uint64_t reads, uint64_t fallbacks) {
    struct seen *seen = arg;
    CHECK(strchr(name, ':') != NULL);
    CHECK_INT(reads, 0);
    CHECK(fallbacks > 0);
    snprintf(seen->why[seen->count++ % 2], sizeof seen->why[0], "%s", why);
}

static const stores_call from_replica = {.size = sizeof from_replica, .read = STORES_READ_REPLICA};

static void read_all(stores_engine *engine) {
    static const int64_t ids[] = {1, 2, 2, 3000};
    stores_query_options options = STORES_QUERY_OPTIONS_INIT;
    options.readonly = true;
    CHECK_STR(end_of(stores_find(engine, &from_replica, "docs", 1)), "ok");
    CHECK_STR(end_of(stores_find_many(engine, &from_replica, "docs", ids, 4)), "ok");
    CHECK_STR(end_of(stores_select(engine, &from_replica, "docs", "SELECT count(*) FROM %T", NULL)),
              "ok");
    CHECK_STR(end_of(stores_query(engine, &from_replica, "SELECT 1", NULL, &options)), "ok");
    options.simple = true;
    CHECK_STR(end_of(stores_query(engine, &from_replica, "SELECT 1; SELECT 2", NULL, &options)),
              "ok");
    CHECK_STR(end_of(stores_query(engine, &from_replica, "SELECT 1 / 0", NULL, &options)),
              "invalid_argument");
}

static void test_no_standbys(bool cache) {
    stores_replica first = itself(), second = nobody();
    const stores_replica *replicas[] = {&first, &second, NULL};
    stores_config config = config_with(replicas, cache);
    stores_engine *engine = engine_with(&config);
    struct seen seen = {0};
    for (int i = 0; i < 3; i++) read_all(engine);
    stores_replicas(engine, see, &seen);
    CHECK_INT(seen.count, 2);
    CHECK_STR(seen.why[0], "promoted");
    CHECK_STR(seen.why[1], "down");
    CHECK_INT(figure(engine, "replicas_alone"), 2);
    CHECK_INT(figure(engine, "replica_reads"), 0);
    CHECK(figure(engine, "replica_away") > 0);
    engine_close(engine);
}

static void test_tokens(void) {
    stores_replica replica = nobody();
    const stores_replica *replicas[] = {&replica, NULL};
    stores_config config = config_with(replicas, false);
    stores_engine *engine = engine_with(&config);
    char token[STORES_TOKEN_SIZE], later[STORES_TOKEN_SIZE];
    stores_change change = STORES_CHANGE_INIT;
    change.kind = STORES_UPDATE;
    change.table = "docs";
    change.id = 1;
    change.json = "{\"n\": 7}";
    CHECK(!stores_token(engine, token));
    CHECK_STR(token, "");
    /* a lone write, which commits itself, tells where that was */
    CHECK_STR(end_of(stores_write(engine, NULL, &change)), "ok");
    CHECK(stores_token(engine, token));
    stores_wrote_elsewhere(engine);
    CHECK(!stores_token(engine, later));
    CHECK_STR(end_of(stores_find(engine, &from_replica, "docs", 1)), "ok");
    CHECK(stores_token(engine, later));
    CHECK(strcmp(token, later) <= 0);
    stores_call call = from_replica;
    call.after_token = token;
    CHECK_STR(end_of(stores_find(engine, &call, "docs", 1)), "ok");
    call.after_token = "5.00000001.00000000000000FF";
    CHECK_STR(end_of(stores_find(engine, &call, "docs", 1)), "ok");
    call.after_token = "none";
    CHECK_STR(end_of(stores_find(engine, &call, "docs", 1)), "invalid_argument");
    engine_close(engine);
    config.after_token = "none";
    stores_error error = STORES_ERROR_INIT;
    CHECK(stores_engine_new(&config, &error) == NULL);
    CHECK_STR(stores_code_name(error.code), "invalid_option");
    config.after_token = later;
    engine = engine_with(&config);
    CHECK_STR(end_of(stores_find(engine, &from_replica, "docs", 1)), "ok");
    engine_close(engine);
}

/* A token by which a replica has shown up to that xid what the primary may not have ended. */
static const char *token_of(const char *xid) {
    static char token[STORES_TOKEN_SIZE];
    snprintf(token, sizeof token, "%s.00000001.0000000000000001.%s.0000000000000000",
             sql("SELECT system_identifier FROM pg_control_system()"), xid);
    return token;
}

/* Calls that are given up, and an engine that closes, while the primary is asked. */
static void test_doubting(void) {
    stores_replica second = nobody();
    const stores_replica *replicas[] = {&second, NULL};
    stores_config config = config_with(replicas, false);
    for (int turns = 0; turns < 24; turns++) {
        stores_engine *engine = engine_with(&config);
        stores_call call = from_replica;
        if (turns & 1) CHECK_STR(end_of(stores_find(engine, &from_replica, "docs", 1)), "ok");
        stores_op *ops[6];
        call.after_token = token_of("00000000FFFFFFFF");
        for (int i = 0; i < 3; i++) {
            ops[2 * i] = stores_find(engine, &call, "docs", i + 1);
            ops[2 * i + 1] = stores_select(engine, &call, "docs", "SELECT count(*) FROM %T", NULL);
        }
        for (int i = 0; i < turns; i++) turn();
        for (int i = 0; i < 4; i++) {
            CHECK(!stores_op_done(ops[i]));
            stores_op_free(ops[i]);
        }
        engine_close(engine);
        for (int i = 4; i < 6; i++) {
            CHECK_STR(end_of(ops[i]), "closed");
        }
    }
    stores_engine *engine = engine_with(&config);
    stores_call call = from_replica;
    call.after_token = token_of("0000000000000001");
    call.timeout_ms = 20000;
    for (int i = 0; i < 2; i++) CHECK_STR(end_of(stores_find(engine, &call, "docs", 1)), "ok");
    /* nobody runs from there on: what does not end in a moment is no commit */
    call.after_token = token_of("00000000FFFFFFFF");
    CHECK_STR(end_of(stores_find(engine, &call, "docs", 1)), "ok");
    call.timeout_ms = 300;
    CHECK_STR(end_of(stores_find(engine, &call, "docs", 1)), "timeout");
    TURN_UNTIL(figure(engine, "ops") == 0, 30000);
    engine_close(engine);
}

/* Calls that are given up, and an engine that closes, at any moment. */
static void test_leaving(void) {
    stores_replica first = itself(), second = nobody();
    const stores_replica *replicas[] = {&first, &second, NULL};
    stores_config config = config_with(replicas, false);
    for (int turns = 0; turns < 12; turns++) {
        stores_engine *engine = engine_with(&config);
        CHECK_STR(end_of(stores_find(engine, NULL, "docs", 1)), "ok");
        stores_op *ops[6];
        for (int i = 0; i < 3; i++) {
            ops[2 * i] = stores_find(engine, &from_replica, "docs", i + 1);
            ops[2 * i + 1] = stores_select(engine, &from_replica, "docs",
                                           "SELECT pg_sleep(0.01) FROM %T LIMIT 1", NULL);
        }
        for (int i = 0; i < turns; i++) turn();
        for (int i = 0; i < 4; i++) stores_op_free(ops[i]);
        engine_close(engine);
        CHECK(stores_op_done(ops[4]) && stores_op_done(ops[5]));
        stores_op_free(ops[4]);
        stores_op_free(ops[5]);
    }
}

static void test_wrong_ones(void) {
    stores_replica replica = itself();
    static const char *keys[] = {"host", "port", NULL}, *values[] = {"a", "none", NULL};
    const stores_replica *replicas[] = {&replica, NULL};
    stores_config config = config_with(replicas, false);
    stores_error error = STORES_ERROR_INIT;
    replica.pg_keys = keys;
    replica.pg_values = values;
    CHECK(stores_engine_new(&config, &error) == NULL);
    CHECK_STR(stores_code_name(error.code), "invalid_option");
    replica.size = 1;
    CHECK(stores_engine_new(&config, &error) == NULL);
    CHECK_STR(stores_code_name(error.code), "invalid_argument");
}

int main(void) {
    if (!servers_open()) return 1;
    test_no_standbys(false);
    test_no_standbys(true);
    test_tokens();
    test_leaving();
    test_doubting();
    test_wrong_ones();
    servers_close();
    return check_report();
}
