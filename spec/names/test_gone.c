/*
 * test_gone.c - calls whose table is gone from the front of search_path, so that they begin anew:
 * memory that runs out at each of their allocations in turn, callers that leave and deadlines that
 * come at any moment of it, and an engine that closes. Each ends once, and keeps nothing.
 */
#include "engine_harness.h"
#include "no_memory.h"

enum { CALLS = 6, MOST = 400 };

static const char *const names[CALLS] = {"find", "find_many", "select", "update", "patch", "many"};

/* By the engine, which forgets what names meant. */
static void make_front(stores_engine *engine) {
    CHECK_STR(end_of(stores_query(engine, NULL,
                                  "CREATE TABLE app.docs (id bigint PRIMARY KEY, value jsonb)",
                                  NULL, NULL)),
              "ok");
    sql("INSERT INTO app.docs SELECT i, '{\"front\": 1}' FROM generate_series(1, 100) i");
}

static void take_front(void) {
    sql("DROP TABLE app.docs");
}

static stores_op *update(stores_engine *engine, int64_t id, const stores_call *call) {
    stores_change change = change_of(STORES_UPDATE, id, "{\"n\": 7}");
    return stores_write(engine, call, &change);
}

/* Row 1 of each is not read from the cache, nor the ones of writes that are made together. */
static stores_op *start(stores_engine *engine, int kind, uint64_t ms) {
    static const int64_t ids[] = {1, 2, 1};
    stores_call call = STORES_CALL_INIT;
    stores_params params = STORES_PARAMS_INIT;
    const char *value = "1";
    call.timeout_ms = ms;
    call.no_cache = true;
    params.count = 1;
    params.values = &value;
    switch (kind) {
    case 0: return stores_find(engine, &call, "docs", 1);
    case 1: return stores_find_many(engine, &call, "docs", ids, 3);
    case 2:
        return stores_select(engine, &call, "docs",
                             "SELECT id, value::text FROM %T WHERE id = $1::bigint", &params);
    case 4: return modify(engine, &call, 1);
    case 5: stores_op_free(update(engine, 2, &call)); /* fall through */
    default: return update(engine, 1, &call);
    }
}

static stores_engine *engine_in_app(bool cache) {
    stores_config config = config_of(cache);
    config.on_connect = "SET search_path = app, public";
    return engine_with(&config);
}

/* It knows the name, and its connections have planned the statements. */
static void meet(stores_engine *engine) {
    make_front(engine);
    for (int kind = 0; kind < CALLS; kind++) CHECK_STR(end_of(start(engine, kind, 0)), "ok");
    no_op_left(engine);
    CHECK_STR(sql("SELECT value->>'n' FROM app.docs WHERE id = 1"), "7");
    take_front();
}

static void test_begins_anew(stores_engine *engine) {
    for (int kind = 0; kind < CALLS; kind++) {
        meet(engine);
        stores_op *op = start(engine, kind, 0);
        stores_times times = STORES_TIMES_INIT;
        CHECK_STR(code_of(op), "ok");
        CHECK(stores_op_times(op, &times));
        CHECK(times.retries > 0);
        stores_op_free(op);
    }
    no_op_left(engine);
}

static void test_no_memory(stores_engine *engine) {
    for (int kind = 0; kind < CALLS; kind++) {
        bool met = true;
        int at;
        for (at = 1; met && at < MOST; at++) {
            meet(engine);
            stores_op *op = start(engine, kind, 0);
            fail_at = at;
            for (int i = 0; op != NULL && i < 100000 && !stores_op_done(op); i++) turn();
            met = fail_at == 0;
            fail_at = 0;
            CHECK(op != NULL && stores_op_done(op));
            stores_op_free(op);
            no_op_left(engine);
        }
        printf("%s: %d allocations\n", names[kind], at);
        CHECK(at > 2 && at < MOST);
    }
}

static void test_leaves(stores_engine *engine) {
    for (int kind = 0; kind < CALLS; kind++) {
        for (int turns = 0; turns < 40; turns += 3) {
            meet(engine);
            stores_op *op = start(engine, kind, 0);
            for (int i = 0; i < turns; i++) uv_run(&loop, UV_RUN_NOWAIT);
            stores_op_free(op);
            no_op_left(engine);
        }
    }
}

static void test_deadline(stores_engine *engine) {
    for (int kind = 0; kind < CALLS; kind++) {
        for (uint64_t ms = 1; ms < 12; ms += 2) {
            meet(engine);
            const char *end = end_of(start(engine, kind, ms));
            CHECK(strcmp(end, "ok") == 0 || strcmp(end, "timeout") == 0);
            no_op_left(engine);
        }
    }
}

static void test_closes(bool cache) {
    for (int kind = 0; kind < CALLS; kind++) {
        for (int turns = 0; turns < 24; turns += 6) {
            stores_engine *engine = engine_in_app(cache);
            meet(engine);
            stores_op *op = start(engine, kind, 0);
            for (int i = 0; i < turns; i++) turn();
            int closed = 0;
            stores_engine_close(engine, count_close, &closed);
            code_of(op);
            stores_op_free(op);
            TURN_UNTIL(closed == 1, 10000);
        }
    }
}

int main(void) {
    if (!servers_open()) return 1;
    sql("CREATE SCHEMA app");
    for (int cache = 0; cache < 2; cache++) {
        stores_engine *engine = engine_in_app(cache);
        test_begins_anew(engine);
        test_no_memory(engine);
        test_leaves(engine);
        test_deadline(engine);
        engine_close(engine);
        test_closes(cache);
    }
    servers_close();
    return check_report();
}
