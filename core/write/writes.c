#include "write/writes_internal.h"

#include "write/arguments.h"
#include "names/names.h"

static stores_outcome leave_write(stores_op *op) {
    struct stores__write *write = op->stage;
    write->op = NULL;
    if (write->segment != NULL) return STORES_OUTCOME_UNKNOWN; /* it is on its way */
    stores__write_free(write);
    return STORES_OUTCOME_NONE;
}

static void write_resolved(stores_op *op, struct stores__table *table) {
    struct stores__write *write = op->stage;
    struct stores__writes *writes = op->engine->writes;
    stores_error error;
    if (!stores__statement_bind(write->statement, table)) {
        stores__op_failf(op, STORES_NO_MEMORY, "no memory for a write");
        return;
    }
    if (!stores__commit_may_write(table, &error)) {
        stores__op_fail(op, &error);
        return;
    }
    op->dispose = NULL; /* from here on the write belongs to its queue or segment */
    write->queued_at = stores__now(op->engine);
    op->leave = leave_write;
    stores__list_append(&writes->queue, &write->link);
    stores__flush_at_end(writes->engine, &writes->flush);
}

static struct stores__write *write_new(struct stores__writes *writes,
                                       const struct stores__known_change *known) {
    struct stores__write *write = stores__spares_take(&writes->spares);
    if (write == NULL) return NULL;
    write->writes = writes;
    stores__list_init(&write->link);
    write->statement = stores__statement_new(known);
    if (write->statement != NULL) return write;
    stores__write_free(write);
    return NULL;
}

stores_op *stores_write(stores_engine *engine, const stores_call *call,
                        const stores_change *change) {
    struct stores__known_change known;
    stores_op *op = stores__op_new(engine, call);
    if (op == NULL || op->state != STORES__OP_PENDING) return op;
    if (!stores__change_fits(op, change, &known)) return op;
    struct stores__write *write = write_new(engine->writes, &known);
    if (write == NULL || !stores__op_docs(op, 1)) {
        if (write != NULL) stores__write_free(write);
        stores__op_failf(op, STORES_NO_MEMORY, "no memory for a write");
        return op;
    }
    write->op = op;
    op->stage = write;
    op->id = known.change->id;
    op->verb = stores__statement_verb(known.change->kind);
    op->resolved = write_resolved;
    op->dispose = stores__write_dispose;
    stores__table_resolve(op, write->statement->name);
    return op;
}

bool stores__writes_open(stores_engine *engine, const stores_config *config, stores_error *error) {
    struct stores__writes *writes = calloc(1, sizeof *writes);
    (void)config;
    if (writes == NULL) {
        stores__error_set(error, STORES_NO_MEMORY, "no memory");
        return false;
    }
    writes->engine = engine;
    writes->spares.size = sizeof(struct stores__write);
    writes->flush.run = stores__writes_flush;
    writes->watch.fire = stores__segments_look;
    stores__list_init(&writes->flush.link);
    stores__list_init(&writes->queue);
    stores__list_init(&writes->alone);
    stores__list_init(&writes->segments);
    engine->writes = writes;
    return true;
}

void stores__writes_free(stores_engine *engine) {
    for (int i = 0; engine->writes != NULL && i < STORES__PG_ARRAYS_MAX; i++) {
        stores__buf_free(&engine->writes->arrays[i]);
    }
    if (engine->writes != NULL) stores__spares_free(&engine->writes->spares);
    free(engine->writes);
    engine->writes = NULL;
}
