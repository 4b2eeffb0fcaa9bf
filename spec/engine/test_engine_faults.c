/*
 * test_engine_faults.c - calls that are abandoned, engines that are closed, and connections that
 * are lost, each after every number of turns that a call takes. Each call ends exactly once or not
 * at all, what it is told is true, and nothing is left behind.
 * Asan pass alone: what is looked for is memory, and that pass looks at all the rest as well.
 */
#include <sys/socket.h>

#include "engine/engine.h"
#include "engine_harness.h"
#include "pg/wire.h"

enum { CALLS = 9, STEPS = 16 };

struct batch {
    stores_engine *engine;
    stores_tx *tx;
    stores_op *ops[CALLS];
    int calls_back[CALLS];
    int64_t inserted; /* the id of ops[3] */
};

struct watched {
    struct batch *batch;
    int index;
};

static struct watched watched[CALLS];

static void came_back(stores_op *op, void *arg) {
    struct watched *of = arg;
    CHECK(op == of->batch->ops[of->index]);
    of->batch->calls_back[of->index]++;
}

/* One call of each kind. */
static void start_calls(struct batch *batch, stores_engine *engine, int64_t id) {
    static const int64_t ids[] = {1, 2, 2, 1000000};
    static const char *tables[] = {"docs"};
    stores_call calls[CALLS];
    stores_query_options outside = {
        .size = sizeof outside, .autocommit = true, .invalidates = tables, .invalidates_count = 1};
    stores_query_options simple = {.size = sizeof simple, .simple = true};
    stores_change insert = change_of(STORES_INSERT, id, "{}");
    stores_change change = change_of(STORES_UPDATE, 3, "{\"n\": 3}");
    memset(batch, 0, sizeof *batch);
    batch->engine = engine;
    batch->inserted = id;
    for (int i = 0; i < CALLS; i++) {
        watched[i] = (struct watched){batch, i};
        calls[i] = (stores_call){
            .size = sizeof(stores_call), .cb = came_back, .arg = &watched[i], .timeout_ms = 10000};
    }
    batch->tx = stores_tx_new(engine, NULL);
    batch->ops[0] = stores_find(engine, &calls[0], "docs", 1);
    batch->ops[1] = stores_find_many(engine, &calls[1], "docs", ids, 4);
    batch->ops[2] = modify(engine, &calls[2], 2);
    batch->ops[3] = stores_write(engine, &calls[3], &insert);
    batch->ops[4] = stores_query(engine, &calls[4], "UPDATE docs SET value = value WHERE id = 4",
                                 NULL, NULL);
    batch->ops[5] = stores_query(engine, &calls[5], "UPDATE docs SET value = value WHERE id = 5",
                                 NULL, &outside);
    batch->ops[6] = stores_query(engine, &calls[6], "SELECT 1; SELECT 2", NULL, &simple);
    batch->ops[7] = stores_invalidate(engine, &calls[7], "docs", ids);
    batch->ops[8] = stores_tx_write(batch->tx, &calls[8], &change, true);
}

/* The first number of turns, and from one to the next: each is tried, half of them in each setting
 * of the engine; STORES_TEST_STEPS=all: every one in each. */
static int first_step(bool cache, bool warm) {
    return getenv("STORES_TEST_STEPS") == NULL && cache != warm;
}

static int next_step(void) {
    return getenv("STORES_TEST_STEPS") == NULL ? 2 : 1;
}

static void step(int count) {
    for (int i = 0; i < count; i++) turn();
}

static void warm_up(stores_engine *engine) {
    CHECK_STR(end_of(stores_find(engine, NULL, "docs", 50)), "ok");
}

/* What the insert was told, against what the table holds. */
static void check_insert(const struct batch *batch) {
    char text[80];
    const stores_error *error = stores_op_error(batch->ops[3]);
    snprintf(text, sizeof text, "SELECT count(*) FROM docs WHERE id = %lld",
             (long long)batch->inserted);
    const char *there = sql(text);
    if (error == NULL || error->outcome == STORES_OUTCOME_COMMITTED) {
        CHECK_STR(there, "1");
    } else if (error->outcome == STORES_OUTCOME_NONE) {
        CHECK_STR(there, "0");
    }
}

static void test_abandon(bool cache, bool warm) {
    static int64_t id = 1000;
    for (int n = first_step(cache, warm); n < STEPS; n += next_step()) {
        stores_engine *engine = engine_new(cache);
        struct batch batch;
        if (warm) warm_up(engine);
        start_calls(&batch, engine, ++id);
        step(n);
        for (int i = 0; i < CALLS; i++) {
            bool done = stores_op_done(batch.ops[i]);
            stores_op_free(batch.ops[i]);
            CHECK_INT(batch.calls_back[i], done);
            batch.calls_back[i] = 0;
        }
        stores_tx_free(batch.tx);
        stores_flush(engine);
        no_op_left(engine);
        for (int i = 0; i < CALLS; i++) CHECK_INT(batch.calls_back[i], 0);
        /* the engine is as good as it was */
        CHECK_STR(end_of(modify(engine, NULL, 6)), "ok");
        CHECK_STR(end_of(stores_query(engine, NULL, "SELECT 1", NULL, NULL)), "ok");
        engine_close(engine);
    }
}

static void test_close(bool cache, bool warm, bool late) {
    static int64_t id = 2000;
    for (int n = first_step(cache, warm); n < STEPS; n += next_step()) {
        stores_engine *engine = engine_new(cache);
        struct batch batch;
        if (warm) warm_up(engine);
        start_calls(&batch, engine, ++id);
        step(n);
        int closed = 0;
        stores_engine_close(engine, count_close, &closed);
        if (late) {
            stores_op *op = stores_find(engine, NULL, "docs", 1);
            if (op != NULL) CHECK_STR(end_of(op), "closed");
        } else {
            stores_tx_free(batch.tx);
        }
        TURN_UNTIL(closed == 1, 15000);
        for (int i = 0; i < CALLS; i++) {
            const char *code = code_of(batch.ops[i]);
            CHECK_INT(batch.calls_back[i], 1);
            CHECK(strcmp(code, "ok") == 0 || strcmp(code, "closed") == 0);
        }
        check_insert(&batch);
        for (int i = 0; i < CALLS; i++) stores_op_free(batch.ops[i]);
        if (late) stores_tx_free(batch.tx); /* an engine lives as long as what was made of it */
    }
}

static void cut_postgres(stores_engine *engine) {
    for (int place = STORES__PG_CONNECTING; place < STORES__PG_CLOSING; place++) {
        struct stores__list *list = &engine->pool.places[place];
        for (struct stores__list *at = list->next; at != list; at = at->next) {
            struct stores__pg_conn *conn = STORES__CONTAINER(at, struct stores__pg_conn, link);
            if (conn->wire && conn->wire->pg) shutdown(PQsocket(conn->wire->pg), SHUT_RDWR);
        }
    }
}

static void test_loss(bool cache, bool postgres_too, bool redis_too, bool strict) {
    static int64_t id = 3000;
    for (int n = 0; n < STEPS; n++) {
        stores_config config = config_of(cache);
        struct batch batch;
        if (strict) config.on_cache_failure = STORES_CACHE_FAILURE_ERROR;
        stores_engine *engine = engine_with(&config);
        warm_up(engine);
        start_calls(&batch, engine, ++id);
        step(n);
        if (postgres_too) cut_postgres(engine);
        if (redis_too) server_command("CLIENT", "KILL", "TYPE normal");
        for (int i = 0; i < CALLS; i++) {
            code_of(batch.ops[i]);
            CHECK_INT(batch.calls_back[i], 1);
        }
        check_insert(&batch);
        for (int i = 0; i < CALLS; i++) stores_op_free(batch.ops[i]);
        stores_tx_free(batch.tx);
        stores_flush(engine);
        no_op_left(engine);
        engine_close(engine);
    }
}

/* Redis gone for good, at each step: the calls go on without it. */
static void test_no_redis(void) {
    static int64_t id = 4000;
    for (int n = 0; n < STEPS; n += 3) {
        stores_engine *engine = engine_new(true);
        struct batch batch;
        warm_up(engine);
        start_calls(&batch, engine, ++id);
        step(n);
        server_kill();
        for (int i = 0; i < CALLS; i++) {
            code_of(batch.ops[i]);
            CHECK_INT(batch.calls_back[i], 1);
        }
        check_insert(&batch);
        for (int i = 0; i < CALLS; i++) stores_op_free(batch.ops[i]);
        stores_tx_free(batch.tx);
        stores_flush(engine);
        no_op_left(engine);
        engine_close(engine);
        CHECK(server_start("", ""));
    }
}

/* What the epoch of the one table is; its key is <prefix>{<oid>}. */
static redisReply *get_epoch(redisContext *redis, char key[64]) {
    redisReply *keys = redisCommand(redis, "KEYS unit/{*}");
    redisReply *now = NULL;
    key[0] = '\0';
    if (keys != NULL && keys->type == REDIS_REPLY_ARRAY && keys->elements == 1) {
        snprintf(key, 64, "%s", keys->element[0]->str);
        now = redisCommand(redis, "GET %s", key);
    }
    freeReplyObject(keys);
    return now;
}

/* The epoch of docs, as one of a timeline that nobody has heard of. */
static void set_odd_epoch(void) {
    char key[64];
    redisContext *redis = redisConnectUnix(server.socket);
    redisReply *now = get_epoch(redis, key);
    CHECK(now != NULL && now->type == REDIS_REPLY_STRING && now->len > 9);
    if (now != NULL && now->type == REDIS_REPLY_STRING && now->len > 9) {
        memcpy(now->str + now->len - 9, "FFFFFFFF", 8); /* a + is the last */
        freeReplyObject(redisCommand(redis, "SET %s %s", key, now->str));
    }
    freeReplyObject(now);
    redisFree(redis);
}

static bool epoch_is_there(void) {
    redisContext *redis = redisConnectUnix(server.socket);
    char key[64];
    redisReply *now = get_epoch(redis, key);
    bool there = now != NULL && now->type == REDIS_REPLY_STRING && now->str[0] == 'V';
    freeReplyObject(now);
    redisFree(redis);
    return there;
}

/* A commit waits to know the epoch, with nothing under way but its timer, as the engine closes. */
static void test_close_while_epoch_is_unknown(void) {
    stores_config config = config_of(true);
    config.prefix = "unit/";
    config.poolsize = 1; /* no other connection tells the timeline */
    stores_engine *engine = engine_with(&config);
    warm_up(engine);
    /* the link may be up later than the first calls */
    for (int i = 0; i < 1000 && !epoch_is_there(); i++) {
        end_of(stores_find(engine, NULL, "docs", 1));
        turn_for(5);
    }
    set_odd_epoch();
    stores_op *op = modify(engine, NULL, 7);
    turn_for(100);
    CHECK(!stores_op_done(op));
    engine_close(engine);
    CHECK_STR(end_of(op), "closed");
}

int main(void) {
    if (!servers_open()) return 1;
    for (int warm = 0; warm < 2; warm++) {
        for (int cache = 0; cache < 2; cache++) {
            test_abandon(cache, warm);
            test_close(cache, warm, false);
            test_close(cache, warm, true);
        }
    }
    test_loss(false, true, false, false);
    test_loss(true, true, false, false);
    test_loss(true, false, true, false);
    test_loss(true, false, true, true);
    test_loss(true, true, true, false);
    test_no_redis();
    test_close_while_epoch_is_unknown();
    servers_close();
    return check_report();
}
