/*
 * test_interface.c - what programs were built against, and what a library of another version makes
 * of it: the numbers of codes and enums, where the fields of structs lie, and structs of other
 * sizes.
 *
 * What stands in these lists was told to somebody. More may follow, at the end of a list and of a
 * struct; a line that has to be changed breaks programs that exist.
 */
#include "base/sized.h"

#include "check.h"

/* ---- Numbers --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int number;
} codes[] = {
    {"ok", 0},
    {"invalid_argument", 1},
    {"invalid_option", 2},
    {"invalid_id", 3},
    {"invalid_table", 4},
    {"invalid_document", 5},
    {"id_mismatch", 6},
    {"empty_criteria", 7},
    {"wrong_shard", 8},
    {"not_found", 9},
    {"table_not_found", 10},
    {"duplicate", 11},
    {"constraint", 12},
    {"path_blocked", 13},
    {"not_a_document", 14},
    {"too_large", 15},
    {"unreadable", 16},
    {"unsupported", 17},
    {"foreign_coroutine", 18},
    {"forked", 19},
    {"closed", 20},
    {"tx_busy", 21},
    {"tx_ended", 22},
    {"self_deadlock", 23},
    {"acquire_timeout", 24},
    {"pool_full", 25},
    {"timeout", 26},
    {"canceled", 27},
    {"connect_failed", 28},
    {"auth_failed", 29},
    {"connection_lost", 30},
    {"serialization", 31},
    {"deadlock", 32},
    {"lock_timeout", 33},
    {"read_only", 34},
    {"server_full", 35},
    {"query_failed", 36},
    {"cache_failure", 37},
    {"abandoned", 38},
    {"migration_changed", 39},
    {"migration_failed", 40},
    {"no_memory", 41},
    {"internal", 42},
    {"conflict", 43},
    {"newer_version", 44},
    {"not_indexed", 45},
    {"shard_mismatch", 46},
    {"not_migrated", 47},
    {"moved", 48},
};

static void test_codes(void) {
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        CHECK_INT(codes[i].number, i);
        CHECK_STR(stores_code_name((stores_code)codes[i].number), codes[i].name);
    }
#define STORES_X(NAME, number, name, http, retryable, text)                                        \
    CHECK_STR(stores_code_name(STORES_##NAME), name);                                              \
    CHECK_INT(STORES_##NAME, number);
    STORES_ERRORS(STORES_X)
#undef STORES_X
    CHECK_STR(stores_code_name((stores_code)INT32_MAX), "internal");
    CHECK_STR(stores_code_name((stores_code)INT32_MIN), "internal");
}

static void test_enums(void) {
    CHECK_INT(STORES_OUTCOME_NONE, 0);
    CHECK_INT(STORES_OUTCOME_COMMITTED, 1);
    CHECK_INT(STORES_OUTCOME_UNKNOWN, 2);
    CHECK_INT(STORES_CACHE_FAILURE_BYPASS, 0);
    CHECK_INT(STORES_CACHE_FAILURE_ERROR, 1);
    CHECK_INT(STORES_INSERT, 0);
    CHECK_INT(STORES_UPDATE, 1);
    CHECK_INT(STORES_UPSERT, 2);
    CHECK_INT(STORES_DELETE, 3);
    CHECK_INT(STORES_MODIFY, 4);
    CHECK_INT(STORES_READ_COMMITTED, 0);
    CHECK_INT(STORES_REPEATABLE_READ, 1);
    CHECK_INT(STORES_SERIALIZABLE, 2);
}

/* ---- Fields ---------------------------------------------------------------------------------- */

/* In bytes, where pointers have eight. spec/engine/header_spec.lua reads these lines, too. */
static void test_fields(void) {
#if UINTPTR_MAX == UINT64_MAX
#define FIELD(type, field, at) CHECK_INT(offsetof(type, field), at)
    FIELD(stores_error, size, 0);
    FIELD(stores_error, code, 8);
    FIELD(stores_error, outcome, 12);
    FIELD(stores_error, retryable, 16);
    FIELD(stores_error, shard, 20);
    FIELD(stores_error, sqlstate, 24);
    FIELD(stores_error, message, 32);
    FIELD(stores_error, detail, 544);
    FIELD(stores_error, hint, 1056);
    FIELD(stores_error, constraint, 1312);
    FIELD(stores_error, table, 1376);
    FIELD(stores_error, position, 1640);
    FIELD(stores_error, statement, 1644);
    FIELD(stores_config, size, 0);
    FIELD(stores_config, loop, 8);
    FIELD(stores_config, pg_keys, 16);
    FIELD(stores_config, pg_values, 24);
    FIELD(stores_config, poolsize, 32);
    FIELD(stores_config, max_waiters, 36);
    FIELD(stores_config, transaction_pooler, 40);
    FIELD(stores_config, connect_timeout_ms, 48);
    FIELD(stores_config, statement_timeout_ms, 56);
    FIELD(stores_config, acquire_timeout_ms, 64);
    FIELD(stores_config, min_idle, 72);
    FIELD(stores_config, idle_timeout_ms, 80);
    FIELD(stores_config, max_age_ms, 88);
    FIELD(stores_config, ping_after_ms, 96);
    FIELD(stores_config, on_connect, 104);
    FIELD(stores_config, timeout_ms, 112);
    FIELD(stores_config, no_cache, 120);
    FIELD(stores_config, redis_host, 128);
    FIELD(stores_config, redis_port, 136);
    FIELD(stores_config, redis_path, 144);
    FIELD(stores_config, redis_username, 152);
    FIELD(stores_config, redis_password, 160);
    FIELD(stores_config, redis_db, 168);
    FIELD(stores_config, redis_timeout_ms, 176);
    FIELD(stores_config, redis_connect_timeout_ms, 184);
    FIELD(stores_config, prefix, 192);
    FIELD(stores_config, ttl_ms, 200);
    FIELD(stores_config, negative_ttl_ms, 208);
    FIELD(stores_config, on_cache_failure, 216);
    FIELD(stores_config, unsafe_eviction, 220);
    FIELD(stores_config, no_segments, 221);
    FIELD(stores_config, simpleflake, 222);
    FIELD(stores_config, shard_id, 224);
    FIELD(stores_config, shard_count, 228);
    FIELD(stores_config, log, 232);
    FIELD(stores_config, log_arg, 240);
    FIELD(stores_config, redis_keepalive_ms, 248);
    FIELD(stores_config, redis_tls, 256);
    FIELD(stores_config, redis_sentinels, 264);
    FIELD(stores_config, redis_master, 272);
    FIELD(stores_config, sentinel_username, 280);
    FIELD(stores_config, sentinel_password, 288);
    FIELD(stores_config, sentinel_tls, 296);
    FIELD(stores_config, redis_cluster, 304);
    FIELD(stores_config, shard_strategy, 312);
    FIELD(stores_config, shard_cluster, 320);
    FIELD(stores_config, any_shard, 328);
    FIELD(stores_config, replicas, 336);
    FIELD(stores_config, max_lag_ms, 344);
    FIELD(stores_config, after_token, 352);
    FIELD(stores_config, hold_bytes, 360);
    FIELD(stores_config, breaker_ms, 368);
    FIELD(stores_config, hold_lease_ms, 376);
    FIELD(stores_replica, size, 0);
    FIELD(stores_replica, poolsize, 8);
    FIELD(stores_replica, pg_keys, 16);
    FIELD(stores_replica, pg_values, 24);
    FIELD(stores_tls, size, 0);
    FIELD(stores_tls, no_verify, 8);
    FIELD(stores_tls, ca, 16);
    FIELD(stores_tls, cert, 24);
    FIELD(stores_tls, key, 32);
    FIELD(stores_tls, server_name, 40);
    FIELD(stores_call, size, 0);
    FIELD(stores_call, timeout_ms, 8);
    FIELD(stores_call, no_cache, 16);
    FIELD(stores_call, inside, 24);
    FIELD(stores_call, cb, 32);
    FIELD(stores_call, arg, 40);
    FIELD(stores_call, read, 48);
    FIELD(stores_call, after_token, 56);
    FIELD(stores_call, no_hold, 64);
    FIELD(stores_params, size, 0);
    FIELD(stores_params, count, 8);
    FIELD(stores_params, values, 16);
    FIELD(stores_change, size, 0);
    FIELD(stores_change, kind, 8);
    FIELD(stores_change, want_document, 12);
    FIELD(stores_change, table, 16);
    FIELD(stores_change, id, 24);
    FIELD(stores_change, json, 32);
    FIELD(stores_change, expected, 40);
    FIELD(stores_change, expr, 48);
    FIELD(stores_change, params, 56);
    FIELD(stores_change, etag, 64);
    FIELD(stores_change, condition, 72);
    FIELD(stores_query_options, size, 0);
    FIELD(stores_query_options, autocommit, 8);
    FIELD(stores_query_options, readonly, 9);
    FIELD(stores_query_options, simple, 10);
    FIELD(stores_query_options, invalidates_count, 12);
    FIELD(stores_query_options, invalidates, 16);
    FIELD(stores_held, size, 0);
    FIELD(stores_held, text, 8);
    FIELD(stores_held, len, 16);
    FIELD(stores_held, marks, 24);
    FIELD(stores_held, slot, 32);
    FIELD(stores_times, size, 0);
    FIELD(stores_times, retries, 8);
    FIELD(stores_times, queue, 16);
    FIELD(stores_times, connect, 24);
    FIELD(stores_times, redis, 32);
    FIELD(stores_times, postgres, 40);
    FIELD(stores_tx_options, size, 0);
    FIELD(stores_tx_options, isolation, 8);
    FIELD(stores_tx_options, readonly, 12);
    FIELD(stores_tx_options, session, 13);
    FIELD(stores_tx_options, close, 14);
    FIELD(stores_tx_options, timeout_ms, 16);
    FIELD(stores_bulk, size, 0);
    FIELD(stores_bulk, kind, 8);
    FIELD(stores_bulk, table, 16);
    FIELD(stores_bulk, sql, 24);
    FIELD(stores_bulk, params, 32);
    FIELD(stores_bulk, data, 40);
    FIELD(stores_bulk, len, 48);
    FIELD(stores_bulk, ids, 56);
    FIELD(stores_bulk, id_count, 64);
    FIELD(stores_statement, size, 0);
    FIELD(stores_statement, sql, 8);
    FIELD(stores_statement, connection, 16);
    FIELD(stores_statement, rows, 24);
    FIELD(stores_statement, code, 32);
    FIELD(stores_statement, sqlstate, 36);
    FIELD(stores_statement, queue, 48);
    FIELD(stores_statement, postgres, 56);
#undef FIELD
#endif
}

/* ---- Sizes ----------------------------------------------------------------------------------- */

/* A call as the program of a newer version has it. */
struct newer_call {
    stores_call call;
    uint64_t later, more;
};

/* And one of today as a library knows it that has grown since. */
struct grown_call {
    stores_call call;
    void *later;
};

static void test_same_version(void) {
    stores_error error;
    stores_call call = {.size = sizeof call, .timeout_ms = 7}, own;
    CHECK(stores__call_given(&call, &own, &error) == &call);
}

static void test_newer_program(void) {
    stores_error error;
    stores_call own;
    struct newer_call newer = {.call = {.size = sizeof newer, .timeout_ms = 7, .no_cache = true}};
    const stores_call *known = stores__call_given(&newer.call, &own, &error);
    CHECK(known == &own);
    CHECK_INT(own.size, sizeof own);
    CHECK_INT(own.timeout_ms, 7);
    CHECK(own.no_cache);

    /* what it asks for and nobody here knows is not left out in silence */
    newer.more = 1;
    CHECK(stores__call_given(&newer.call, &own, &error) == NULL);
    CHECK_INT(error.code, STORES_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "byte 80 of a stores_call is set") != NULL);
    CHECK(strstr(error.message, STORES_VERSION) != NULL);
}

static void test_older_program(void) {
    static const struct stores__sized grown = {"stores_call", sizeof(stores_call),
                                               sizeof(struct grown_call)};
    stores_error error;
    stores_call call = {.size = sizeof call, .timeout_ms = 7};
    struct grown_call own;
    memset(&own, 1, sizeof own);
    CHECK(stores__sized_take(&grown, &call, &own, &error) == &own);
    CHECK_INT(own.call.size, sizeof own);
    CHECK_INT(own.call.timeout_ms, 7);
    CHECK(own.later == NULL);
}

static void test_no_size(void) {
    static const size_t none[] = {0, 1, offsetof(stores_call, arg) + 7, 4097, (size_t)-1};
    stores_error error;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        stores_call call = {.size = none[i], .timeout_ms = 7}, own;
        CHECK(stores__call_given(&call, &own, &error) == NULL);
        CHECK_INT(error.code, STORES_INVALID_ARGUMENT);
        CHECK(strstr(error.message, "size of a stores_call") != NULL);
        CHECK_INT(own.timeout_ms, 0);
    }
}

/* Memory of a caller that is smaller than what the library would write. */
static void test_older_room(void) {
    static const struct stores__sized grown = {"stores_times", sizeof(stores_times),
                                               sizeof(stores_times) + 16};
    char own[sizeof(stores_times) + 16];
    struct {
        stores_times times;
        char behind[16];
    } room = {.times = STORES_TIMES_INIT};
    memset(own, 1, sizeof own);
    CHECK(stores__sized_give(&grown, &room.times, own));
    CHECK_INT(room.times.size, sizeof room.times);
    CHECK_INT(room.times.retries, 0x01010101);
    for (size_t i = 0; i < sizeof room.behind; i++) CHECK_INT(room.behind[i], 0);
    room.times.size = 3;
    CHECK(!stores__sized_give(&grown, &room.times, own));
}

static void test_errors(void) {
    int64_t id;
    stores_error error = STORES_ERROR_INIT;
    CHECK(!stores_id_parse("x", 1, &id, &error));
    CHECK_INT(error.code, STORES_INVALID_ID);
    CHECK_INT(error.size, sizeof error);
    CHECK(!stores_id_parse("x", 1, &id, NULL));
    CHECK(stores_id_parse("77", 2, &id, &error));
    CHECK_INT(id, 77);

    /* one that was never begun is told so */
    memset(&error, 0, sizeof error);
    CHECK(!stores_id_parse("x", 1, &id, &error));
    CHECK_INT(error.code, STORES_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "size of a stores_error is 0") != NULL);
    CHECK_INT(error.size, 0);
}

int main(void) {
    CHECK_STR(stores_version(), STORES_VERSION);
    test_codes();
    test_enums();
    test_fields();
    test_same_version();
    test_newer_program();
    test_older_program();
    test_no_size();
    test_older_room();
    test_errors();
    return check_report();
}
