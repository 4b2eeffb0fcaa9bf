/*
 * stores_tx_bulk: many rows by one statement, and COPY, whose data are more than a socket takes at
 * once. Whatever ends it, the connection goes back, and what was not committed is not there.
 */
#include "engine_harness.h"

enum { ROWS = 20000, LINE = 300 };

static int64_t ids[ROWS];
static char data[ROWS * LINE];
static size_t data_len;

static void make_data(int64_t first) {
    data_len = 0;
    for (int i = 0; i < ROWS; i++) {
        ids[i] = first + i;
        data_len += (size_t)snprintf(data + data_len, LINE,
                                     "%lld\t{\"n\": %d, \"text\": \"%0200d\"}\n", (long long)ids[i],
                                     i, i);
    }
}

static stores_bulk copy_of(size_t len) {
    stores_bulk bulk = STORES_BULK_INIT;
    bulk.table = "docs";
    bulk.sql = "COPY %T (id, value) FROM STDIN";
    bulk.data = data;
    bulk.len = len;
    bulk.ids = ids;
    bulk.id_count = ROWS;
    return bulk;
}

static int64_t count_from(stores_engine *engine, int64_t first) {
    char sql[100];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM docs WHERE id >= %lld", (long long)first);
    stores_query_options options = STORES_QUERY_OPTIONS_INIT;
    options.readonly = true;
    stores_op *op = stores_query(engine, NULL, sql, NULL, &options);
    stores_wait(engine, op);
    int64_t count = strtoll(stores_op_value(op, 0, 0, NULL), NULL, 10);
    stores_op_free(op);
    return count;
}

static void test_copies(stores_engine *engine) {
    make_data(1000000);
    stores_tx *tx = stores_tx_new(engine, NULL);
    stores_bulk bulk = copy_of(data_len);
    stores_op *op = stores_tx_bulk(tx, NULL, &bulk);
    stores_wait(engine, op);
    CHECK(stores_op_error(op) == NULL);
    CHECK_INT(stores_op_affected(op), ROWS);
    stores_op_free(op);
    CHECK_INT(count_from(engine, 1000000), 0);
    CHECK_STR(end_of(stores_tx_commit(tx, NULL)), "ok");
    stores_tx_free(tx);
    CHECK_INT(count_from(engine, 1000000), ROWS);
    CHECK_STR(end_of(stores_find(engine, NULL, "docs", 1000000 + ROWS / 2)), "ok");
}

static void test_statements(stores_engine *engine) {
    stores_tx *tx = stores_tx_new(engine, NULL);
    stores_bulk bulk = STORES_BULK_INIT;
    const char *values[] = {"{1000000,1000001,7}"};
    stores_params params = STORES_PARAMS_INIT;
    params.count = 1;
    params.values = values;
    bulk.kind = STORES_DELETE;
    bulk.table = "docs";
    bulk.sql = "DELETE FROM %T WHERE id = ANY($1::bigint[]) AND id > 100 RETURNING id";
    bulk.params = &params;
    stores_op *op = stores_tx_bulk(tx, NULL, &bulk);
    stores_wait(engine, op);
    CHECK(stores_op_error(op) == NULL);
    CHECK_INT(stores_op_rows(op), 2);
    CHECK_INT(stores_op_affected(op), 2);
    stores_op_free(op);
    CHECK_STR(end_of(stores_tx_commit(tx, NULL)), "ok");
    stores_tx_free(tx);
    CHECK_INT(count_from(engine, 1000000), ROWS - 2);
}

static void test_refusals(stores_engine *engine) {
    stores_tx *tx = stores_tx_new(engine, NULL);
    stores_bulk bulk = copy_of(0);
    bulk.kind = STORES_MODIFY;
    CHECK_STR(end_of(stores_tx_bulk(tx, NULL, &bulk)), "invalid_argument");
    bulk = copy_of(0);
    bulk.sql = NULL;
    CHECK_STR(end_of(stores_tx_bulk(tx, NULL, &bulk)), "invalid_argument");
    bulk = copy_of(0);
    bulk.size = 3;
    CHECK_STR(end_of(stores_tx_bulk(tx, NULL, &bulk)), "invalid_argument");
    bulk = copy_of(0);
    bulk.id_count = 0; /* nothing to copy */
    CHECK_STR(end_of(stores_tx_bulk(tx, NULL, &bulk)), "ok");
    bulk.sql = "COPY %T (id, value) TO STDOUT";
    const char *code = end_of(stores_tx_bulk(tx, NULL, &bulk));
    CHECK(strcmp(code, "ok") != 0);
    stores_tx_free(tx);
}

enum ending { ENDS_BADLY, IS_FREED, IS_FREED_SENT, TIMES_OUT, LOSES_CONNECTION, ENDINGS };

/* A COPY that does not end well. */
static void end_copy(stores_engine *engine, enum ending ending, int64_t first) {
    make_data(first);
    stores_tx *tx = stores_tx_new(engine, NULL);
    stores_bulk bulk = copy_of(data_len);
    stores_call call = STORES_CALL_INIT;
    stores_op *op;
    switch (ending) {
    case ENDS_BADLY:
        data[data_len / 2] = '\1'; /* no JSON has that */
        CHECK_STR(end_of(stores_tx_bulk(tx, NULL, &bulk)), "invalid_argument");
        break;
    case IS_FREED: stores_op_free(stores_tx_bulk(tx, NULL, &bulk)); break;
    case IS_FREED_SENT:
        op = stores_tx_bulk(tx, NULL, &bulk);
        for (int i = 0; i < 3; i++) turn();
        stores_op_free(op);
        break;
    case TIMES_OUT:
        call.timeout_ms = 5;
        CHECK_STR(end_of(stores_tx_bulk(tx, &call, &bulk)), "timeout");
        break;
    default:
        bulk.table = "deadly";
        CHECK_STR(end_of(stores_tx_bulk(tx, NULL, &bulk)), "connection_lost");
    }
    stores_tx_free(tx);
    TURN_UNTIL(figure(engine, "pool_checked_out") == 0, 20000);
    CHECK_INT(count_from(engine, first), 0);
}

static const char deadly[] =
    "CREATE TABLE IF NOT EXISTS deadly (id bigint PRIMARY KEY, value jsonb);"
    "CREATE OR REPLACE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " IF NEW.id % 1000 = 900 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;"
    " RETURN NEW; END $$;"
    "CREATE OR REPLACE TRIGGER die BEFORE INSERT ON deadly FOR EACH ROW EXECUTE FUNCTION die()";

int main(void) {
    if (!servers_open()) return 1;
    for (int cache = 0; cache < 2; cache++) {
        stores_engine *engine = engine_new(cache);
        stores_query_options options = STORES_QUERY_OPTIONS_INIT;
        options.simple = true;
        CHECK_STR(end_of(stores_query(engine, NULL, deadly, NULL, &options)), "ok");
        CHECK_STR(end_of(stores_query(engine, NULL, "DELETE FROM docs WHERE id > 100", NULL, NULL)),
                  "ok");
        test_copies(engine);
        test_statements(engine);
        test_refusals(engine);
        for (int i = 0; i < 3 * ENDINGS; i++) {
            end_copy(engine, (enum ending)(i % ENDINGS), 2000000 + i);
        }
        no_op_left(engine);
        engine_close(engine);
    }
    servers_close();
    return check_report();
}
