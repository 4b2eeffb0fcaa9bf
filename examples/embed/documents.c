/*
 * A C program that uses stores.h and nothing else: the engine has a loop of its own, and
 * stores_wait turns it until a call is done.
 *
 *   cc documents.c -o documents $(pkg-config --cflags --libs stores)
 *   ./documents HOST USER DATABASE REDIS_SOCKET
 *
 * HOST is a host name, or the folder of PostgreSQL's unix socket.
 */
#include <stdio.h>
#include <stdlib.h>
#include <stores.h>

static void fail(const char *what, const stores_error *error) {
    fprintf(stderr, "%s: %s: %s\n", what, stores_code_name(error->code), error->message);
    exit(1);
}

/* Waits for a call; what it holds lives until stores_op_free. */
static stores_op *finish(stores_engine *engine, const char *what, stores_op *op) {
    if (op == NULL) {
        fprintf(stderr, "%s: no memory\n", what);
        exit(1);
    }
    stores_wait(engine, op);
    if (stores_op_error(op) != NULL) fail(what, stores_op_error(op));
    return op;
}

static void run(stores_engine *engine, const char *sql) {
    stores_call call = STORES_CALL_INIT;
    stores_op_free(finish(engine, sql, stores_query(engine, &call, sql, NULL, NULL)));
}

static void show(stores_engine *engine, int64_t id) {
    stores_call call = STORES_CALL_INIT;
    stores_op *op = finish(engine, "find", stores_find(engine, &call, "boats", id));
    const char *text;
    size_t len;
    if (stores_op_document(op, 0, NULL, &text, &len)) {
        printf("found %.*s\n", (int)len, text);
    } else {
        printf("there is no such row\n");
    }
    stores_op_free(op);
}

/* One more berth, under the lock of the row: nobody changes it between the look and the write. */
static void rename_boat(stores_engine *engine, int64_t id) {
    stores_call call = STORES_CALL_INIT;
    stores_change change = {.size = sizeof change,
                            .kind = STORES_UPDATE,
                            .table = "boats",
                            .id = id,
                            .json = "{\"name\": \"Rocinante\"}"};
    stores_tx *tx = stores_tx_new(engine, NULL);
    if (tx == NULL) exit(1);
    stores_op *op = finish(engine, "lock", stores_tx_find(tx, &call, "boats", id, true));
    printf("locked %zu row\n", stores_op_document_count(op));
    stores_op_free(op);
    stores_op_free(finish(engine, "write", stores_tx_write(tx, &call, &change, true)));
    stores_tx_free(tx);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: documents HOST USER DATABASE REDIS_SOCKET\n");
        return 2;
    }
    const char *keys[] = {"host", "user", "dbname", NULL};
    const char *values[] = {argv[1], argv[2], argv[3], NULL};
    stores_config config = STORES_CONFIG_INIT;
    config.pg_keys = keys;
    config.pg_values = values;
    config.redis_path = argv[4];

    stores_error error = STORES_ERROR_INIT;
    stores_engine *engine = stores_engine_new(&config, &error);
    if (engine == NULL) fail("engine", &error);

    run(engine, "CREATE TABLE IF NOT EXISTS boats (id bigint PRIMARY KEY, value jsonb)");
    int64_t id = stores_generate_id(engine);
    stores_call call = STORES_CALL_INIT;
    stores_change insert = {.size = sizeof insert,
                            .kind = STORES_INSERT,
                            .table = "boats",
                            .id = id,
                            .json = "{\"name\": \"Nadir\"}"};
    stores_op_free(finish(engine, "insert", stores_write(engine, &call, &insert)));
    show(engine, id);
    rename_boat(engine, id);
    show(engine, id);

    stores_change delete = {
        .size = sizeof delete, .kind = STORES_DELETE, .table = "boats", .id = id};
    stores_op *op = finish(engine, "delete", stores_write(engine, &call, &delete));
    printf("deleted %lld row\n", (long long)stores_op_affected(op));
    stores_op_free(op);
    show(engine, id);

    stores_engine_close(engine, NULL, NULL);
    return 0;
}
