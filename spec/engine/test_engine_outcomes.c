/*
 * test_engine_outcomes.c - what a call is told is what the server did: failures that come late, and
 * connections that are lost at a bad moment.
 */
#include <sys/socket.h>

#include "engine/engine.h"
#include "engine_harness.h"
#include "pg/wire.h"

/* Ends every connection of the engine as a broken network does: without a word. */
static void cut(stores_engine *engine) {
    for (int place = STORES__PG_IDLE; place < STORES__PG_CLOSING; place++) {
        struct stores__list *list = &engine->pool.places[place];
        for (struct stores__list *at = list->next; at != list; at = at->next) {
            struct stores__pg_conn *conn = STORES__CONTAINER(at, struct stores__pg_conn, link);
            if (conn->wire && conn->wire->pg) shutdown(PQsocket(conn->wire->pg), SHUT_RDWR);
        }
    }
}

static void test_deferred_constraint(bool cache) {
    stores_engine *engine = engine_new(cache);
    stores_change change = {
        .size = sizeof change, .kind = STORES_INSERT, .table = "children", .id = 1, .json = "{}"};
    stores_op *op;
    sql("CREATE TABLE IF NOT EXISTS children (id bigint PRIMARY KEY, value jsonb,"
        " parent bigint DEFAULT 0 REFERENCES docs DEFERRABLE INITIALLY DEFERRED)");
    /* a statement without BEGIN commits at the Sync */
    op = stores_write(engine, NULL, &change);
    CHECK_STR(code_of(op), "constraint");
    CHECK_STR(outcome_of(op), "none");
    stores_op_free(op);
    op = stores_query(engine, NULL, "INSERT INTO children VALUES (2, '{}')", NULL, NULL);
    CHECK_STR(code_of(op), "constraint");
    CHECK_STR(outcome_of(op), "none");
    stores_op_free(op);
    /* and what stands behind it on the connection gets its own answers */
    op = stores_find(engine, NULL, "docs", 3);
    CHECK_STR(code_of(op), "ok");
    CHECK_STR(document(op, 0), "{\"n\": 3}");
    stores_op_free(op);
    CHECK_STR(sql("SELECT count(*) FROM children"), "0");
    engine_close(engine);
}

/* Lock 9 is held here; waits for whoever has it, up to the end of its transaction. */
static void take_lock(void) {
    sql("SELECT pg_advisory_lock(9)");
}

/* Cuts the engine off from its statement, which waits for lock 9, and goes on then. */
static void cut_off(stores_engine *engine) {
    const char *waiting =
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    for (int tries = 0; tries < 1500 && strcmp(sql(waiting), "1") != 0; tries++) turn_for(20);
    CHECK_STR(sql(waiting), "1");
    cut(engine);
    sql("SELECT pg_advisory_unlock(9)");
}

static void test_lost_statements(void) {
    stores_engine *engine = engine_new(false), *caching = engine_new(true);
    stores_query_options simple = {.size = sizeof simple, .simple = true, .autocommit = true};
    stores_op *op;
    take_lock();
    op = stores_query(engine, NULL,
                      "INSERT INTO docs SELECT 201, '{}' FROM pg_advisory_xact_lock(9)", NULL,
                      NULL);
    cut_off(engine);
    CHECK_STR(code_of(op), "connection_lost");
    CHECK_STR(outcome_of(op), "unknown");
    CHECK(!stores_op_error(op)->retryable);
    stores_op_free(op);

    /* the first of them is done, and its COMMIT too */
    take_lock();
    op = stores_query(
        engine, NULL,
        "INSERT INTO docs VALUES (202, '{}'); COMMIT; SELECT pg_advisory_xact_lock(9)", NULL,
        &simple);
    cut_off(engine);
    CHECK_STR(code_of(op), "connection_lost");
    CHECK_STR(outcome_of(op), "unknown");
    stores_op_free(op);

    /* with a cache there is a BEGIN before it, and its COMMIT was never sent */
    take_lock();
    op = stores_query(caching, NULL,
                      "INSERT INTO docs SELECT 203, '{}' FROM pg_advisory_xact_lock(9)", NULL,
                      NULL);
    cut_off(caching);
    CHECK_STR(code_of(op), "connection_lost");
    CHECK_STR(outcome_of(op), "none");
    stores_op_free(op);
    take_lock();
    sql("SELECT pg_advisory_unlock(9)");
    CHECK_STR(sql("SELECT string_agg(id::text, ',' ORDER BY id) FROM docs WHERE id > 200"),
              "201,202");
    sql("DELETE FROM docs WHERE id > 200");
    engine_close(engine);
    engine_close(caching);
}

static void test_ended_by_text(void) {
    stores_engine *engine = engine_new(true), *other = engine_new(true);
    stores_query_options simple = {.size = sizeof simple, .simple = true};
    stores_tx *tx = stores_tx_new(engine, NULL);
    stores_op *op;
    CHECK_STR(end_of(stores_find(other, NULL, "docs", 5)), "ok");
    CHECK_STR(end_of(stores_find(engine, NULL, "docs", 5)), "ok");
    CHECK_STR(end_of(stores_tx_query(tx, NULL,
                                     "UPDATE docs SET value = '{\"by\": \"text\"}' WHERE id = 5",
                                     NULL, NULL)),
              "ok");
    /* refused before it is sent: the transaction goes on */
    op = stores_tx_query(tx, NULL, "COMMIT", NULL, NULL);
    CHECK_STR(code_of(op), "unsupported");
    CHECK_STR(outcome_of(op), "none");
    stores_op_free(op);
    CHECK_STR(end_of(stores_tx_query(tx, NULL, "SELECT 1", NULL, NULL)), "ok");
    CHECK_STR(end_of(stores_tx_commit(tx, NULL)), "ok");
    stores_tx_free(tx);
    CHECK_STR(end_of(stores_find(other, NULL, "docs", 5)), "ok");
    op = stores_query(engine, NULL,
                      "UPDATE docs SET value = '{\"n\": 5}' WHERE id = 5; COMMIT; SELECT 1/0", NULL,
                      &simple);
    CHECK_STR(code_of(op), "unsupported");
    CHECK_STR(outcome_of(op), "none");
    stores_op_free(op);
    engine_close(engine);
    engine_close(other);
}

/* Writes to a locked row run alone until the lock is free; the others go on meanwhile. */
static void test_locked_rows(bool cache) {
    stores_engine *engine = engine_new(cache);
    stores_tx *tx = stores_tx_new(engine, NULL);
    stores_op *blocked[6], *beside, *behind;
    CHECK_STR(end_of(stores_tx_find(tx, NULL, "docs", 10, true)), "ok");
    for (int i = 0; i < 6; i++) blocked[i] = modify(engine, NULL, 10);
    beside = modify(engine, NULL, 11);
    turn_for(150);
    behind = modify(engine, NULL, 12);
    TURN_UNTIL(stores_op_done(beside), 20000);
    TURN_UNTIL(stores_op_done(behind), 20000);
    for (int i = 0; i < 6; i++) CHECK(!stores_op_done(blocked[i]));
    CHECK_STR(end_of(stores_tx_rollback(tx, NULL)), "ok");
    for (int i = 0; i < 6; i++) {
        CHECK_STR(code_of(blocked[i]), "ok");
        CHECK_INT(stores_op_document_count(blocked[i]), 1);
        CHECK_STR(document(blocked[i], 0), "{\"n\": 10, \"touched\": true}");
        stores_op_free(blocked[i]);
    }
    CHECK_STR(end_of(beside), "ok");
    CHECK_STR(end_of(behind), "ok");
    stores_tx_free(tx);
    no_op_left(engine);
    engine_close(engine);
}

/* A write that ran in a segment that was rolled back answers with what its second run did. */
static void test_second_run(void) {
    stores_engine *engine = engine_new(true);
    stores_tx *tx = stores_tx_new(engine, NULL);
    stores_change gone = change_of(STORES_DELETE, 20, NULL);
    CHECK_STR(end_of(stores_tx_write(tx, NULL, &gone, false)), "ok");
    stores_op *first = modify(engine, NULL, 19), *second = modify(engine, NULL, 20);
    turn_for(200);
    CHECK_STR(end_of(stores_tx_commit(tx, NULL)), "ok");
    CHECK_STR(code_of(first), "ok");
    CHECK_STR(document(first, 0), "{\"n\": 19, \"touched\": true}");
    CHECK_STR(code_of(second), "ok");
    CHECK_INT(stores_op_affected(second), 0);
    CHECK_STR(document(second, 0), "");
    stores_op_free(first);
    stores_op_free(second);
    stores_tx_free(tx);
    engine_close(engine);
}

/* Reads that keep the only connection busy leave it to a query all the same, and go on after it. */
static void test_fairness(void) {
    stores_config config = config_of(false);
    stores_op *finds[150], *query = NULL;
    int count = 0, during = 0;
    config.poolsize = 1;
    sql("CREATE VIEW slow AS SELECT docs.id, docs.value FROM docs, pg_sleep(0.02)");
    stores_engine *engine = engine_with(&config);
    while (count < 150) {
        finds[count++] = stores_find(engine, NULL, "slow", 1);
        if (count == 10) query = stores_query(engine, NULL, "SELECT 1", NULL, NULL);
        turn_for(10);
        if (query != NULL && !stores_op_done(query)) during++;
    }
    CHECK(during < 100);
    CHECK_STR(end_of(query), "ok");
    for (int i = 0; i < count; i++) CHECK_STR(end_of(finds[i]), "ok");
    no_op_left(engine);
    engine_close(engine);
}

/* Prepared statements that are gone, on every connection at once and in a full cache, heal. */
static void test_forgotten_statements(void) {
    stores_engine *engine = engine_new(false);
    stores_query_options outside = {.size = sizeof outside, .autocommit = true};
    char expr[64];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 300; i++) {
            stores_change change = {.size = sizeof change,
                                    .kind = STORES_MODIFY,
                                    .table = "docs",
                                    .id = 30,
                                    .expr = expr};
            snprintf(expr, sizeof expr, "jsonb_build_object('n', %d)", i);
            stores_op *op = stores_write(engine, NULL, &change);
            CHECK_STR(code_of(op), "ok");
            CHECK_INT(stores_op_affected(op), 1);
            stores_op_free(op);
        }
        CHECK_STR(end_of(stores_query(engine, NULL, "DEALLOCATE ALL", NULL, &outside)), "ok");
        stores_change change = {.size = sizeof change,
                                .kind = STORES_MODIFY,
                                .table = "docs",
                                .id = 30,
                                .expr = "'{\"m\": 1}'"};
        stores_op *op = stores_write(engine, NULL, &change);
        CHECK_STR(code_of(op), "ok");
        CHECK_STR(document(op, 0), "{\"m\": 1}");
        stores_op_free(op);
        CHECK_STR(sql("SELECT value FROM docs WHERE id = 30"), "{\"m\": 1}");
    }
    engine_close(engine);
}

/* A full cache of statements sends DEALLOCATE: never into a transaction that has failed. */
static void test_savepoint_in_full_cache(void) {
    stores_config config = config_of(true);
    config.poolsize = 1;
    stores_engine *engine = engine_with(&config);
    char expr[64];
    for (int i = 0; i < 260; i++) {
        stores_change change = {
            .size = sizeof change, .kind = STORES_MODIFY, .table = "docs", .id = 31, .expr = expr};
        snprintf(expr, sizeof expr, "jsonb_build_object('n', %d)", i);
        CHECK_STR(end_of(stores_write(engine, NULL, &change)), "ok");
    }
    stores_tx *tx = stores_tx_new(engine, NULL);
    CHECK_STR(end_of(stores_tx_query(tx, NULL, "SELECT 1", NULL, NULL)), "ok");
    CHECK_STR(end_of(stores_tx_savepoint(tx, NULL)), "ok");
    CHECK_STR(end_of(stores_tx_query(tx, NULL, "SELECT 1/0", NULL, NULL)), "invalid_argument");
    CHECK_STR(end_of(stores_tx_rollback_to(tx, NULL)), "ok");
    CHECK_STR(end_of(stores_tx_query(tx, NULL, "SELECT 1/0", NULL, NULL)), "invalid_argument");
    stores_op *op = stores_tx_commit(tx, NULL);
    CHECK(strcmp(code_of(op), "ok") != 0);
    CHECK_STR(outcome_of(op), "none");
    stores_op_free(op);
    stores_tx_free(tx);
    engine_close(engine);
}

/* A host that takes connections and says nothing does not stand before the next one for ever. */
static void test_silent_host(void) {
    static const char *keys[] = {"host", "port", "user", "dbname", NULL};
    char hosts[300], ports[32];
    const char *values[] = {hosts, ports, "postgres", postgres.database, NULL};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    stores_config config = config_of(false);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 8) == 0);
    getsockname(fd, (struct sockaddr *)&address, &size);
    snprintf(hosts, sizeof hosts, "127.0.0.1,%s", postgres.host);
    snprintf(ports, sizeof ports, "%d,5432", ntohs(address.sin_port));
    config.pg_keys = keys;
    config.pg_values = values;
    config.connect_timeout_ms = 200;
    stores_engine *engine = engine_with(&config);
    CHECK_STR(end_of(stores_find(engine, NULL, "docs", 1)), "connect_failed");
    CHECK_STR(end_of(stores_find(engine, NULL, "docs", 1)), "ok");
    engine_close(engine);
    close(fd);
}

int main(void) {
    if (!servers_open()) return 1;
    test_deferred_constraint(false);
    test_deferred_constraint(true);
    test_lost_statements();
    test_ended_by_text();
    test_locked_rows(false);
    test_locked_rows(true);
    test_second_run();
    test_fairness();
    test_forgotten_statements();
    test_savepoint_in_full_cache();
    test_silent_host();
    servers_close();
    return check_report();
}
